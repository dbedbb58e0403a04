#include "dagverk/worker/command_line.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <cstdint>

namespace dagverk::worker {
namespace {

using Options = std::span<const OptionSyntax>;

const OptionSyntax* find_long(Options own, Options common, std::string_view name) {
  for (const Options options : {own, common}) {
    for (const OptionSyntax& option : options) {
      if (option.name == name) return &option;
    }
  }
  return nullptr;
}

const OptionSyntax* find_short(Options own, Options common, char letter) {
  for (const Options options : {own, common}) {
    for (const OptionSyntax& option : options) {
      if (option.short_name == letter) return &option;
    }
  }
  return nullptr;
}

bool is_negative_number(std::string_view word) {
  return word.size() >= 2 && word[0] == '-' && (word[1] == '.' || (word[1] >= '0' && word[1] <= '9'));
}

Error unknown_option(const CommandSyntax& syntax, Options common, std::string_view word) {
  std::vector<std::string> names;
  for (const Options options : {syntax.options, common}) {
    for (const OptionSyntax& option : options) names.push_back(concat("--", option.name));
  }
  const std::vector<std::string_view> candidates(names.begin(), names.end());
  std::string message = concat("unknown option \"", printable(word, 60), "\"");
  if (const auto near = nearest_word(word, candidates)) message += concat("; did you mean ", *near, "?");
  return {ErrorCode::invalid_argument, message};
}

// Edit distance in which a swap of two neighbours counts once.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> cost(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) {
    for (std::size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      const std::size_t replaced = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

// The size of the UTF-8 sequence at the beginning of `text`; 0 when its bytes are none.
std::size_t utf8_size(std::string_view text) {
  const auto byte = [&](std::size_t at) { return static_cast<std::uint8_t>(text[at]); };
  const std::uint8_t first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < size) return 0;
  for (std::size_t at = 1; at < size; ++at) {
    if ((byte(at) & 0xc0U) != 0x80U) return 0;
  }
  if (first == 0xe0 && byte(1) < 0xa0) return 0;  // longer than it needs to be
  if (first == 0xed && byte(1) > 0x9f) return 0;  // a surrogate
  if (first == 0xf0 && byte(1) < 0x90) return 0;
  if (first == 0xf4 && byte(1) > 0x8f) return 0;
  return size;
}

std::string option_column(const OptionSyntax& option) {
  std::string column = option.short_name == '\0' ? "    " : concat("-", option.short_name, ", ");
  column += concat("--", option.name);
  if (!option.value.empty()) column += concat(" ", option.value);
  return column;
}

}  // namespace

std::optional<std::string_view> ParsedLine::value(std::string_view option) const noexcept {
  std::optional<std::string_view> last;
  for (const auto& [name, given] : options_) {
    if (name == option) last = given;
  }
  return last;
}

std::vector<std::string> ParsedLine::values(std::string_view option) const {
  std::vector<std::string> all;
  for (const auto& [name, given] : options_) {
    if (name == option) all.push_back(given);
  }
  return all;
}

Result<ParsedLine> parse_command_line(const CommandSyntax& syntax, std::span<const OptionSyntax> common,
                                      std::span<const std::string> words) {
  ParsedLine line;
  std::optional<Error> mistake;
  const auto wrong = [&](Error error) {
    if (!mistake) mistake = std::move(error);
  };
  bool options_ended = false;
  for (std::size_t index = 0; index < words.size(); ++index) {
    const std::string_view word = words[index];
    if (options_ended || word.size() < 2 || word[0] != '-' || is_negative_number(word)) {
      line.arguments_.emplace_back(word);
      continue;
    }
    if (word == "--") {
      options_ended = true;
      continue;
    }
    const auto take_value = [&](const OptionSyntax& option, std::optional<std::string_view> joined) {
      if (joined) {
        line.options_.emplace_back(option.name, *joined);
      } else if (index + 1 < words.size()) {
        line.options_.emplace_back(option.name, words[++index]);
      } else {
        wrong({ErrorCode::invalid_argument, concat("--", option.name, " needs a value: ", option.value)});
      }
    };
    if (word.starts_with("--")) {
      const std::size_t equals = word.find('=');
      const OptionSyntax* option = find_long(syntax.options, common, word.substr(2, equals - 2));
      if (option == nullptr) {
        wrong(unknown_option(syntax, common, word.substr(0, equals)));
      } else if (!option->value.empty()) {
        take_value(*option, equals == std::string_view::npos ? std::nullopt : std::optional(word.substr(equals + 1)));
      } else if (equals != std::string_view::npos) {
        wrong({ErrorCode::invalid_argument, concat("--", option->name, " takes no value")});
      } else {
        line.options_.emplace_back(option->name, "");
      }
      continue;
    }
    for (std::size_t at = 1; at < word.size(); ++at) {
      const OptionSyntax* option = find_short(syntax.options, common, word[at]);
      if (option == nullptr) {
        wrong(unknown_option(syntax, common, at == 1 ? word : concat("-", word[at])));
        break;
      }
      if (!option->value.empty()) {
        take_value(*option, at + 1 < word.size() ? std::optional(word.substr(at + 1)) : std::nullopt);
        break;
      }
      line.options_.emplace_back(option->name, "");
    }
  }
  if (line.has("help")) return line;
  if (mistake) return *mistake;
  if (line.arguments_.size() < syntax.arguments_min) {
    return Error(ErrorCode::invalid_argument, concat("missing argument: ", syntax.arguments));
  }
  if (line.arguments_.size() > syntax.arguments_max) {
    return Error(ErrorCode::invalid_argument,
                 concat("unexpected argument \"", printable(line.arguments_[syntax.arguments_max], 60), "\""));
  }
  return line;
}

std::string help_text(std::string_view program, const CommandSyntax& syntax, std::span<const OptionSyntax> common) {
  std::string text = concat("usage: ", program, syntax.name.empty() ? "" : " ", syntax.name);
  if (!syntax.arguments.empty()) text += concat(" ", syntax.arguments);
  text += concat(" [OPTION…]\n\n", syntax.summary, "\n");
  if (!syntax.notes.empty()) text += concat(syntax.notes, "\n");
  std::size_t width = 0;
  for (const OptionSyntax& option : syntax.options) width = std::max(width, option_column(option).size());
  if (!syntax.options.empty()) text += "\n";
  for (const OptionSyntax& option : syntax.options) {
    std::string column = option_column(option);
    column.resize(width, ' ');
    text += concat("  ", column, "  ", option.help, "\n");
  }
  if (!common.empty()) {
    std::string line = "\nEverywhere:";
    for (const OptionSyntax& option : common) {
      line += option.short_name == '\0' ? concat(" --", option.name) : concat(" -", option.short_name);
      if (!option.value.empty()) line += concat(" ", option.value);
    }
    text += concat(line, "\n");
  }
  if (!syntax.examples.empty()) text += concat("\nExamples:\n", syntax.examples, "\n");
  return text;
}

std::optional<std::string_view> nearest_word(std::string_view word, std::span<const std::string_view> candidates) {
  if (word.empty() || word.size() > 64) return std::nullopt;
  std::optional<std::string_view> nearest;
  std::size_t nearest_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string_view candidate : candidates) {
    std::size_t candidate_distance = distance(word, candidate);
    // Somebody who typed the beginning knew what they wanted.
    if (word.size() >= 3 && candidate.starts_with(word)) candidate_distance = 1;
    if (candidate_distance < nearest_distance) {
      nearest = candidate;
      nearest_distance = candidate_distance;
    }
  }
  return nearest;
}

std::string printable(std::string_view text, std::size_t size_limit) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  std::size_t at = 0;
  while (at < text.size()) {
    if (at >= size_limit) return out + "…";
    const auto byte = static_cast<std::uint8_t>(text[at]);
    const std::size_t size = utf8_size(text.substr(at));
    const bool c1_control = size == 2 && byte == 0xc2 && static_cast<std::uint8_t>(text[at + 1]) < 0xa0;
    // U+202A…U+202E and U+2066…U+2069 turn the direction of what follows.
    const bool turns = size == 3 && byte == 0xe2 &&
                       ((text[at + 1] == '\x80' && text[at + 2] >= '\xaa' && text[at + 2] <= '\xae') ||
                        (text[at + 1] == '\x81' && text[at + 2] >= '\xa6' && text[at + 2] <= '\xa9'));
    if (size > 0 && byte >= 0x20 && byte != 0x7f && !c1_control && !turns) {
      out.append(text.substr(at, size));
      at += size;
      continue;
    }
    for (std::size_t count = std::max<std::size_t>(size, 1); count > 0; --count, ++at) {
      const auto bad = static_cast<std::uint8_t>(text[at]);
      out += concat("\\x", digits[bad >> 4U], digits[bad & 15U]);
    }
  }
  return out;
}

}  // namespace dagverk::worker
