#include "output.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/time_text.hpp"

#include <algorithm>
#include <cstdlib>
#include <unistd.h>

namespace dagverk::app {
namespace {

constexpr std::string_view digits = "0123456789abcdef";

/// Columns that a text takes: its characters, not its bytes.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}

std::size_t valid_utf8(std::string_view text, std::size_t at) {
  // printable() shows valid characters above ASCII unchanged, and everything else as \xNN.
  const auto byte = static_cast<unsigned char>(text[at]);
  const std::size_t size = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
  const std::string_view character = text.substr(at, size);
  if (byte == 0xc2 && character.size() == 2 && (static_cast<unsigned char>(character[1]) & 0xe0U) == 0x80U) return 2;
  if (byte == 0xe2 && character.size() == 3 && (character[1] & 0xc0) == 0x80 && (character[2] & 0xc0) == 0x80) return 3;
  return worker::printable(character) == character ? size : 0;
}

}  // namespace

std::string json_text(std::string_view value) {
  std::string out = "\"";
  for (std::size_t at = 0; at < value.size();) {
    const auto byte = static_cast<unsigned char>(value[at]);
    if (byte >= 0x80) {
      const std::size_t size = valid_utf8(value, at);
      out += size > 0 ? value.substr(at, size) : "\xef\xbf\xbd";
      at += std::max<std::size_t>(size, 1);
      continue;
    }
    if (byte == '"' || byte == '\\') {
      out += '\\';
      out += value[at];
    } else if (byte == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += concat("\\u00", digits[byte >> 4U], digits[byte & 15U]);
    } else {
      out += value[at];
    }
    ++at;
  }
  return out + "\"";
}

std::string json_list(const std::vector<std::string>& values) {
  std::string out = "[";
  for (const std::string& value : values) out += concat(out.size() == 1 ? "" : ",", value);
  return out + "]";
}

void JsonObject::key(std::string_view name) { members_ += concat(members_.empty() ? "" : ",", json_text(name), ":"); }
JsonObject& JsonObject::text(std::string_view name, std::string_view value) { return raw(name, json_text(value)); }
JsonObject& JsonObject::number(std::string_view name, std::uint64_t value) { return raw(name, concat(value)); }
JsonObject& JsonObject::boolean(std::string_view name, bool value) { return raw(name, concat(value)); }
JsonObject& JsonObject::time(std::string_view name, std::optional<WallTime> value) {
  return value ? text(name, worker::utc_text(*value)) : *this;
}
JsonObject& JsonObject::raw(std::string_view name, std::string_view json) {
  key(name);
  members_ += json;
  return *this;
}

void Output::configure(const worker::ParsedLine& line) {
  json_ = line.has("json");
  plain_ = line.has("plain");
  quiet_ = line.has("quiet");
  const char* no_colour = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  const bool dumb = terminal == nullptr || std::string_view(terminal) == "dumb";
  const char* force = std::getenv("CLICOLOR_FORCE");
  const bool forced = force != nullptr && *force != '\0' && std::string_view(force) != "0";
  colour_ = !json_ && !plain_ && (no_colour == nullptr || *no_colour == '\0') &&
            (forced || (!dumb && ::isatty(STDOUT_FILENO) != 0));
}

bool Output::print(std::string_view text) {
  erase();
  if (state_ == worker::Written::all) state_ = worker::write_all(STDOUT_FILENO, text);
  return state_ == worker::Written::all;
}

void Output::tell(std::string_view member, std::string_view name, std::string_view outcome, std::string_view sentence) {
  if (json_) {
    print(JsonObject().text(member, name).text("outcome", outcome).str() + "\n");
  } else if (plain_) {
    print(concat(worker::printable(name), "\t", outcome, "\n"));
  } else {
    print(concat(worker::printable(name), ": ", sentence, "\n"));
  }
}

void Output::heading(std::vector<std::string> cells) {
  if (json_ || plain_) return;
  has_heading_ = true;
  rows_.insert(rows_.begin(), std::move(cells));
}

void Output::row(std::vector<std::string> cells) {
  for (std::string& cell : cells) cell = worker::printable(cell);
  rows_.push_back(std::move(cells));
}

bool Output::end_table() {
  std::vector<std::size_t> widths;
  for (const auto& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t column = 0; column < row.size(); ++column) {
      widths[column] = std::max(widths[column], width_of(row[column]));
    }
  }
  std::string text;
  for (std::size_t index = 0; index < rows_.size(); ++index) {
    std::string line;
    for (std::size_t column = 0; column < rows_[index].size(); ++column) {
      const std::string& cell = rows_[index][column];
      const bool last = column + 1 == rows_[index].size();
      line += cell;
      if (!last) line += plain_ ? "\t" : std::string(widths[column] - width_of(cell) + 2, ' ');
    }
    if (!plain_) line.resize(line.find_last_not_of(' ') + 1);
    const bool bold = colour_ && has_heading_ && index == 0;
    text += bold ? concat("\x1b[1m", line, "\x1b[0m\n") : line + "\n";
  }
  rows_.clear();
  has_heading_ = false;
  return print(text);
}

void Output::say(std::string_view text) const {
  if (!quiet_) complain(text);
}
void Output::complain(std::string_view text) const {
  erase();
  worker::say("dagverk", text);
}

bool Output::can_draw() const {
  const char* terminal = std::getenv("TERM");
  return !quiet_ && terminal != nullptr && std::string_view(terminal) != "dumb" && ::isatty(STDERR_FILENO) != 0;
}
void Output::draw(std::string_view line) const {
  drawn_ = worker::write_all(STDERR_FILENO, concat("\r", line, "\x1b[K")) == worker::Written::all;
}
void Output::erase() const {
  if (drawn_) static_cast<void>(worker::write_all(STDERR_FILENO, "\r\x1b[K"));
  drawn_ = false;
}

worker::ExitCode Output::fail(const Error& error) const {
  complain(worker::as_errors(error.message()));
  return worker::exit_code_of(error);
}

worker::ExitCode Output::finish(worker::ExitCode code) {
  if (state_ != worker::Written::failed) return code;
  complain("error: standard output could not be written");
  return code == worker::ExitCode::done ? worker::ExitCode::failed : code;
}

}  // namespace dagverk::app
