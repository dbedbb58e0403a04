#include "report/asked_for.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace dagverk::detail {
namespace {

/// Whether `text` names a formatter without the file that it could write to: it writes to standard output.
bool takes_output(std::string_view text, const std::vector<NamedFormatter>& known) {
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    if (std::any_of(known.begin(), known.end(), [part](const NamedFormatter& formatter) {
          return formatter.name == part && formatter.takes_path;
        })) {
      return true;
    }
  }
  return false;
}

}  // namespace

void give_up(const Error& error) {
  std::fprintf(stderr, "report: %s\n", std::string(error.message()).c_str());
  std::exit(2);
}

std::optional<std::vector<std::string>> tests_asked_for() {
  const char* path = std::getenv("DAGVERK_REPORT_RERUN");
  if (path == nullptr || *path == '\0') return std::nullopt;
  Result<std::vector<std::string>> failed = read_failure_manifest(path);
  if (!failed) {
    give_up(failed.error().with("DAGVERK_REPORT_RERUN must name a file that DAGVERK_REPORT=failed:PATH has written"));
  }
  if (failed->empty()) std::fprintf(stderr, "report: nothing has failed according to %s: no test is run\n", path);
  return std::move(*failed);
}

AskedFor reports_asked_for(const std::vector<NamedFormatter>& known) {
  Result<std::vector<FormatterSpec>> formatters = formatters_from_environment(known);
  if (!formatters) give_up(formatters.error());
  if (formatters->empty()) return {};
  const char* text = std::getenv("DAGVERK_REPORT");
  const bool output = text != nullptr && takes_output(text, known);
  const Result<Duration> limit = formatter_limit_from_environment();
  if (!limit) give_up(limit.error());
  Result<std::unique_ptr<TestRecorder>> recorder = split_off_reporter(
      {.formatters = std::move(*formatters), .program = program_invocation_short_name, .formatter_limit = *limit});
  if (!recorder) give_up(recorder.error());
  ::unsetenv("DAGVERK_REPORT");
  ::unsetenv("DAGVERK_REPORT_LIMIT_MS");
  ::unsetenv("DAGVERK_REPORT_RERUN");
  return {.recorder = std::move(*recorder), .takes_output = output};
}

}  // namespace dagverk::detail
