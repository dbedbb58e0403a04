#include "jobs/command_line.hpp"

#include "jobs/json_text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/arguments.hpp"
#include "dagverk/jobs/retry_policy.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
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

/// An argument inside a script is code. `sh -c 'grep "$1" log' sh {0}` passes it as a value.
Result<void> check_shell(const std::vector<std::string>& run) {
  constexpr std::string_view shells[] = {"sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "fish", "csh", "tcsh"};
  const std::string_view name = std::string_view(run.front()).substr(run.front().rfind('/') + 1);
  if (std::ranges::find(shells, name) == std::end(shells)) return {};
  for (std::size_t index = 1; index < run.size() && run[index].starts_with('-'); ++index) {
    const std::string_view option = run[index];
    const bool script_follows = !option.starts_with("--") && option.find('c') != std::string_view::npos;
    if (!script_follows || index + 1 == run.size() || !next_placeholder(run[index + 1], 0)) continue;
    return Error{ErrorCode::configuration,
                 concat("run must not put an argument into a script, where it would be code: \"", run[index + 1],
                        "\"; write $1 there and add \"", name, R"(", "{0}" behind it)")};
  }
  return {};
}

Result<void> check_environment(const CommandSpec& command) {
  const auto good = [](std::string_view name) {
    return !name.empty() && name.find_first_of(std::string_view("=\0", 2)) == std::string_view::npos;
  };
  for (const std::string& name : command.environment_inherit) {
    if (!good(name)) return Error{ErrorCode::configuration, concat("\"", name, "\" is not the name of a variable")};
  }
  for (const auto& [name, value] : command.environment_set) {
    if (!good(name)) return Error{ErrorCode::configuration, concat("\"", name, "\" is not the name of a variable")};
    if (value.find('\0') != std::string::npos) {
      return Error{ErrorCode::configuration, concat("the value of ", name, " must not contain NUL")};
    }
  }
  return {};
}

/// Below these nothing can even be started.
Result<void> check_limits(const OsProcessLimits& limits) {
  if (limits.cpu_time && *limits.cpu_time < std::chrono::seconds(1)) {
    return Error{ErrorCode::configuration, "limits: CPU time must be at least 1 s"};
  }
  if (limits.address_space_bytes && *limits.address_space_bytes < std::uint64_t{1} << 20U) {
    return Error{ErrorCode::configuration, "limits: memory must be at least 1 MiB"};
  }
  if (limits.open_files_count && *limits.open_files_count < 8) {
    return Error{ErrorCode::configuration, "limits: open files must be at least 8"};
  }
  return {};
}

}  // namespace

Result<void> check_command(const CommandSpec& command) {
  const auto wrong = [](std::string what) { return Error{ErrorCode::configuration, std::move(what)}; };
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
  if (command.kill_grace < Duration::zero()) return wrong("kill_grace must not be negative");
  if (command.snooze_delay < Duration::zero() || command.snooze_delay > retry_delay_max) {
    return wrong("snooze_delay must be from 0 s to 366 days");
  }
  for (const auto& [code, meaning] : command.exit_codes) {
    if (code < 1 || code > 255) return wrong(concat("exit_codes: a code must be from 1 to 255, got ", code));
  }
  if (command.working_directory.find('\0') != std::string::npos) return wrong("working_directory must not contain NUL");
  if (auto good = check_shell(command.run); !good) return good.error();
  if (auto good = check_environment(command); !good) return good.error();
  return check_limits(command.limits);
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
