#include "dagverk/runtime/os_process.hpp"

#include "os_process_launch.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <limits>
#include <string_view>
#include <sys/resource.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace dagverk {

std::string describe(const OsProcessResult& result) {
  const char* why = result.timed_out ? " after its timeout" : result.cancelled ? " after being asked to end" : "";
  switch (result.end) {
    case OsProcessEnd::exited: return concat("exited with code ", result.exit_code, why);
    case OsProcessEnd::signalled: {
      const char* name = ::sigabbrev_np(result.signal);
      return concat("killed by signal ", result.signal, " (", name != nullptr ? name : "real-time", ")", why,
                    result.core_dumped ? ", core dumped" : "");
    }
    case OsProcessEnd::not_started:
      return concat("not started: ", result.error ? result.error->message() : "unknown reason");
    case OsProcessEnd::lost: return concat("lost: ", result.error ? result.error->message() : "unknown reason");
  }
  return {};
}

namespace detail {

namespace {

constexpr std::size_t string_size_limit = 128UL * 1024UL;          // Linux: one argument, with its NUL
constexpr std::size_t strings_size_limit = 6UL * 1024UL * 1024UL;  // Linux: all of them, whatever the stack's limit
constexpr std::size_t strings_size_reserve = 8UL * 1024UL;  // for what the kernel adds, and a script's interpreter
constexpr std::string_view default_search_path = "/usr/local/bin:/usr/bin:/bin";

[[nodiscard]] bool has_nul(std::string_view text) noexcept { return text.find('\0') != std::string_view::npos; }

// nullopt when `path` is an executable file.
[[nodiscard]] std::optional<Error> why_not_executable(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return system_error(errno, concat("executable \"", path, "\""));
  if (!S_ISREG(status.st_mode)) {
    return Error{ErrorCode::permission, concat("executable \"", path, "\" is not a regular file")};
  }
  if (::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) != 0) {
    return Error{ErrorCode::permission, concat("executable \"", path, "\" may not be executed by us; check its mode")};
  }
  return std::nullopt;
}

[[nodiscard]] Result<std::string> find_executable(const std::string& name, const Environment& ours) {
  if (name.find('/') != std::string::npos) {
    std::error_code failed;
    std::string path = std::filesystem::absolute(name, failed).string();
    if (failed) return system_error(failed.value(), concat("finding \"", name, "\" from the working directory"));
    if (const std::optional<Error> why = why_not_executable(path)) return *why;
    return path;
  }
  const auto path_entry = ours.find("PATH");
  const std::string_view search_path = path_entry == ours.end() ? default_search_path : path_entry->second;
  std::optional<Error> not_permitted;
  for (std::size_t begin = 0; begin <= search_path.size();) {
    const std::size_t end = std::min(search_path.find(':', begin), search_path.size());
    const std::string_view directory = search_path.substr(begin, end - begin);
    begin = end + 1;
    if (!directory.starts_with('/')) continue;  // what is found must not depend on where we happen to be
    std::string path = concat(directory, directory.ends_with('/') ? "" : "/", name);
    const std::optional<Error> why = why_not_executable(path);
    if (!why) return path;
    if (why->code() == ErrorCode::permission && !not_permitted) not_permitted = why;
  }
  if (not_permitted) return *not_permitted;
  return Error{ErrorCode::not_found, concat("executable \"", name, "\" is not in PATH (", search_path, ")")};
}

[[nodiscard]] Result<std::vector<std::string>> make_environment(const OsProcessOptions& options,
                                                                const Environment& ours) {
  Environment childs;
  for (const std::string& name : options.environment_inherit) {
    const auto entry = ours.find(name);
    if (entry != ours.end()) childs.insert(*entry);
  }
  for (const auto& [name, value] : options.environment_set) {
    if (name.empty() || has_nul(name) || name.find('=') != std::string::npos) {
      return Error{ErrorCode::invalid_argument, "environment_set: a name must not be empty nor contain '=' or NUL"};
    }
    if (has_nul(value)) {
      return Error{ErrorCode::invalid_argument, concat("environment_set: the value of \"", name, "\" contains NUL")};
    }
    childs.insert_or_assign(name, value);
  }
  std::vector<std::string> lines;
  lines.reserve(childs.size());
  for (const auto& [name, value] : childs) lines.push_back(concat(name, "=", value));
  return lines;
}

// nullopt when the kernel will accept argv and environment together.
[[nodiscard]] std::optional<Error> why_too_large(const LaunchPlan& plan) {
  std::size_t size_bytes = plan.path.front().size() + strings_size_reserve;
  for (const std::vector<std::string>* strings : {&plan.arguments, &plan.environment}) {
    for (const std::string& text : *strings) {
      if (text.size() >= string_size_limit) {
        return Error{ErrorCode::too_large, concat("an argument or variable must be below ", string_size_limit,
                                                  " bytes, got ", text.size(), "; pass it on standard input")};
      }
      size_bytes += text.size() + 1 + sizeof(char*);
    }
  }
  const long of_system = ::sysconf(_SC_ARG_MAX);
  const std::size_t limit =
      of_system > 0 ? std::min(strings_size_limit, static_cast<std::size_t>(of_system)) : string_size_limit;
  if (size_bytes <= limit) return std::nullopt;
  return Error{ErrorCode::too_large, concat("arguments and environment must be below ", limit, " bytes, got ",
                                            size_bytes, "; pass them on standard input")};
}

[[nodiscard]] Result<std::vector<LaunchLimit>> make_limits(const OsProcessLimits& wanted) {
  std::vector<LaunchLimit> limits;
  if (wanted.cpu_time) {
    if (*wanted.cpu_time <= Duration::zero()) {
      return Error{ErrorCode::invalid_argument, "limits.cpu_time must be positive"};
    }
    const auto seconds = static_cast<std::uint64_t>(std::chrono::ceil<std::chrono::seconds>(*wanted.cpu_time).count());
    limits.push_back({.resource = RLIMIT_CPU, .soft = seconds, .hard = seconds + 1});
  }
  const auto add = [&limits](int resource, const std::optional<std::uint64_t>& value) {
    if (value) limits.push_back({.resource = resource, .soft = *value, .hard = *value});
  };
  add(RLIMIT_AS, wanted.address_space_bytes);
  add(RLIMIT_NOFILE, wanted.open_files_count);
  add(RLIMIT_FSIZE, wanted.file_size_bytes);
  add(RLIMIT_CORE, wanted.core_size_bytes);
  return limits;
}

[[nodiscard]] std::vector<char*> pointers_to(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Result<LaunchPlan> make_plan(const OsProcessOptions& options, const Environment& ours) {
  if (options.argv.empty() || options.argv.front().empty()) {
    return Error{ErrorCode::invalid_argument, "argv must begin with an executable"};
  }
  for (std::size_t index = 0; index < options.argv.size(); ++index) {
    if (has_nul(options.argv[index])) {
      return Error{ErrorCode::invalid_argument, concat("argv[", index, "] contains NUL")};
    }
  }
  if (options.timeout < Duration::zero()) {
    return Error{ErrorCode::invalid_argument, "timeout must not be negative"};
  }
  if (options.kill_grace < Duration::zero()) {
    return Error{ErrorCode::invalid_argument, "kill_grace must not be negative"};
  }

  LaunchPlan plan;
  if (!options.working_directory.empty()) {
    if (has_nul(options.working_directory)) {
      return Error{ErrorCode::invalid_argument, "working_directory contains NUL"};
    }
    struct stat status{};
    if (::stat(options.working_directory.c_str(), &status) != 0) {
      return system_error(errno, concat("working directory \"", options.working_directory, "\""));
    }
    if (!S_ISDIR(status.st_mode)) {
      return Error{ErrorCode::not_found,
                   concat("working directory \"", options.working_directory, "\" is not a directory")};
    }
    plan.directory.push_back(options.working_directory);
  }
  Result<std::vector<LaunchLimit>> limits = make_limits(options.limits);
  if (!limits) return limits.error();
  plan.limits = std::move(*limits);
  Result<std::vector<std::string>> environment = make_environment(options, ours);
  if (!environment) return environment.error();
  plan.environment = std::move(*environment);
  Result<std::string> path = find_executable(options.argv.front(), ours);
  if (!path) return path.error();
  plan.path.push_back(std::move(*path));
  plan.arguments = options.argv;
  plan.no_new_privs = options.no_new_privs;
  if (const std::optional<Error> why = why_too_large(plan)) return *why;

  plan.argument_pointers = pointers_to(plan.arguments);
  plan.environment_pointers = pointers_to(plan.environment);
  return plan;
}

}  // namespace detail
}  // namespace dagverk
