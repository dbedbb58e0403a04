#include "jobs/command_line.hpp"

#include "jobs/json_text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/arguments.hpp"

#include <cstddef>
#include <optional>

namespace dagverk::jobs {

namespace {

constexpr std::size_t index_digits_limit = 3;

struct Placeholder {
  std::size_t begin;
  std::size_t end;
  std::size_t index;
};

/// The first `{digits}` at or after `from`. Other braces are ordinary characters.
std::optional<Placeholder> next_placeholder(std::string_view text, std::size_t from) {
  for (std::size_t begin = text.find('{', from); begin != std::string_view::npos; begin = text.find('{', begin + 1)) {
    std::size_t at = begin + 1;
    std::size_t index = 0;
    while (at < text.size() && at - begin <= index_digits_limit && text[at] >= '0' && text[at] <= '9') {
      index = index * 10 + static_cast<std::size_t>(text[at++] - '0');
    }
    if (at > begin + 1 && at < text.size() && text[at] == '}') return Placeholder{begin, at + 1, index};
  }
  return std::nullopt;
}

std::string text_of(std::string_view json) {
  if (json::kind_of(json) != json::Kind::text) return std::string(json);
  std::string text;
  (void)json::decode_text(json.substr(1, json.size() - 2), text);
  return text;
}

Error refused(std::size_t index, std::string_view job_class, std::string_view why) {
  return Error{ErrorCode::invalid_argument, concat("argument ", index + 1, " of ", job_class, " ", why)};
}

Result<std::string> expand(std::string_view element, const JobArguments& arguments, std::string_view job_class,
                           bool after_options) {
  std::string out;
  std::size_t done = 0;
  while (const std::optional<Placeholder> found = next_placeholder(element, done)) {
    out.append(element.substr(done, found->begin - done));
    done = found->end;
    if (found->index >= arguments.size()) {
      return refused(found->index, job_class, concat("is missing: its command has {", found->index, "}"));
    }
    const std::string value = text_of(arguments.raw(found->index));
    if (value.find('\0') != std::string::npos) {
      return refused(found->index, job_class, "contains a NUL, which no command line can carry");
    }
    if (out.empty() && !after_options && value.starts_with('-')) {
      return refused(found->index, job_class,
                     R"(begins with "-" and could be taken for an option; put "--" before it in the command)");
    }
    out.append(value);
  }
  out.append(element.substr(done));
  return out;
}

}  // namespace

Result<void> check_command(const CommandSpec& command) {
  if (command.run.empty() || command.run.front().empty()) {
    return Error{ErrorCode::configuration, "run must name an executable"};
  }
  if (next_placeholder(command.run.front(), 0)) {
    return Error{ErrorCode::configuration, concat("run must begin with an executable's name, not with an argument: \"",
                                                  command.run.front(), "\"")};
  }
  for (const std::string& element : command.run) {
    if (element.find('\0') != std::string::npos) return Error{ErrorCode::configuration, "run must not contain NUL"};
  }
  if (command.kill_grace < Duration::zero()) {
    return Error{ErrorCode::configuration, "kill_grace must not be negative"};
  }
  return {};
}

Result<std::vector<std::string>> expand_command(const CommandSpec& command, std::string_view args_json,
                                                std::string_view job_class) {
  const Result<JobArguments> arguments = JobArguments::parse(args_json, job_class);
  if (!arguments) return arguments.error();
  std::vector<std::string> argv;
  argv.reserve(command.run.size());
  bool after_options = false;
  for (const std::string& element : command.run) {
    Result<std::string> expanded = expand(element, *arguments, job_class, after_options);
    if (!expanded) return expanded.error();
    argv.push_back(std::move(*expanded));
    if (element == "--") after_options = true;
  }
  return argv;
}

}  // namespace dagverk::jobs
