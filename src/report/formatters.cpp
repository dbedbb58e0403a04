#include "dagverk/report/formatters.hpp"

#include "report/text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/report/test_recorder.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <set>
#include <string_view>
#include <system_error>
#include <unistd.h>

namespace dagverk {
namespace {

Error wrong(std::string_view part, const std::string& what) {
  return Error{ErrorCode::configuration, concat("DAGVERK_REPORT: \"", detail::printable(part, true), "\": ", what)};
}

std::string names_of(const std::vector<NamedFormatter>& known) {
  std::string names;
  for (const NamedFormatter& formatter : known) {
    names += concat(names.empty() ? "" : ", ", formatter.name, formatter.needs_path ? ":PATH" : "");
  }
  return names;
}

std::string expand(std::string_view path) {
  std::string out;
  for (std::size_t index = 0; index < path.size(); ++index) {
    const std::string_view two = path.substr(index, 2);
    if (two == "%p") {
      out += concat(::getpid());
    } else if (two == "%b") {
      out += program_invocation_short_name;
    } else {
      out += path[index];
      continue;
    }
    ++index;
  }
  return out;
}

/// Nothing, or why the file cannot be written.
std::string unwritable(const std::string& path) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0) return std::strerror(errno);
  ::close(file);
  return {};
}

Result<FormatterSpec> formatter_from(std::string_view part, const std::vector<NamedFormatter>& known,
                                     std::set<std::string>& paths) {
  const std::size_t colon = part.find(':');
  const std::string_view name = part.substr(0, colon);
  const auto found =
      std::find_if(known.begin(), known.end(), [&](const NamedFormatter& formatter) { return formatter.name == name; });
  if (found == known.end()) {
    return wrong(part, concat("there is no such formatter; known are ", names_of(known),
                              "; type e.g. DAGVERK_REPORT=console,junit:out.xml"));
  }
  const std::string path = colon == std::string_view::npos ? std::string() : expand(part.substr(colon + 1));
  if (path.empty() && (found->needs_path || colon != std::string_view::npos)) {
    return wrong(part, concat("the file is missing; type ", name, ":PATH"));
  }
  if (path.empty()) return found->make(path);
  if (!found->takes_path) return wrong(part, concat("it takes no file; type ", name));
  if (!paths.insert(path).second) return wrong(part, "another formatter writes this file; name a second one");
  if (const std::string why = unwritable(path); !why.empty()) {
    return wrong(part, concat("cannot write this file: ", why,
                              "; name one in a directory that is there and yours, e.g. ", name, ":/tmp/report"));
  }
  return found->make(path);
}

}  // namespace

HandlerOptions formatter_options() {
  return {.overflow = KeepNewest{formatter_queue_limit}, .restart_type = HandlerRestart::temporary, .blocking = true};
}

std::vector<NamedFormatter> built_in_formatters() {
  return {
      {.name = "console", .make = [](std::string path) { return console_formatter({.path = std::move(path)}); }},
      {.name = "junit", .needs_path = true, .make = junit_formatter},
      {.name = "tap", .make = tap_formatter},
      {.name = "jsonl", .make = json_lines_formatter},
      {.name = "failed", .needs_path = true, .make = failure_manifest},
  };
}

Result<std::vector<FormatterSpec>> formatters_from_text(std::string_view text,
                                                        const std::vector<NamedFormatter>& known) {
  std::vector<FormatterSpec> formatters;
  std::set<std::string> paths;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
    if (part.empty()) continue;
    Result<FormatterSpec> formatter = formatter_from(part, known, paths);
    if (!formatter) return formatter.error();
    const auto same = std::count_if(formatters.begin(), formatters.end(), [&](const FormatterSpec& other) {
      return other.name == formatter->name || other.name.starts_with(formatter->name + "#");
    });
    if (same != 0) formatter->name += concat("#", same + 1);
    formatters.push_back(std::move(*formatter));
  }
  return formatters;
}

Result<Duration> formatter_limit_from_environment() {
  const char* text = std::getenv("DAGVERK_REPORT_LIMIT_MS");
  if (text == nullptr || *text == '\0') return ReportOptions().formatter_limit;
  constexpr std::int64_t limit_max = std::chrono::duration_cast<std::chrono::milliseconds>(formatter_limit_max).count();
  const std::string_view digits = text;
  std::int64_t limit = 0;
  const auto [end, fault] = std::from_chars(digits.data(), digits.data() + digits.size(), limit);
  if (fault != std::errc() || end != digits.data() + digits.size() || limit < 1 || limit > limit_max) {
    return Error{ErrorCode::configuration, concat("DAGVERK_REPORT_LIMIT_MS must be 1 to ", limit_max,
                                                  " milliseconds, got \"", detail::printable(digits, true), "\"")};
  }
  return std::chrono::milliseconds(limit);
}

Result<std::vector<FormatterSpec>> formatters_from_environment(const std::vector<NamedFormatter>& known) {
  const char* text = std::getenv("DAGVERK_REPORT");
  return formatters_from_text(text == nullptr ? "" : text, known);
}

}  // namespace dagverk
