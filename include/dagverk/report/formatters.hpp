#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/event/event_handler.hpp"
#include "dagverk/report/test_event.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk {

/// A formatter is an event handler that turns a run's events into a report: temporary, so that one which throws is
/// dropped for the rest of the run, and with a thread of its own, because it writes files.
using FormatterSpec = HandlerSpec<TestEvent>;

/// Events that wait for a formatter that is slower than the tests; the reporter waits before it gives it more.
inline constexpr std::size_t formatter_queue_limit = 65'536;

/// The options of a formatter, for one of your own: `event_handler<MyFormatter>("mine", formatter_options(), …)`.
[[nodiscard]] HandlerOptions formatter_options();

struct ConsoleReportOptions {
  enum class Colour : std::uint8_t { never, always, when_terminal };
  /// when_terminal: only when standard output is a terminal, and NO_COLOR is not set.
  Colour colour = Colour::when_terminal;
  /// The slowest tests that are listed at the end, of those that took a millisecond or more. 0: none.
  std::size_t slowest_max = 5;
  /// Lines of source shown before and after the one that failed. 0: only that line.
  std::uint32_t context_lines = 2;
  /// Where to: a file that is truncated. Empty: standard output.
  std::string path = {};
};

/// For people: a line for each case, failures with the source around them, the slowest tests, how to run what failed.
[[nodiscard]] FormatterSpec console_formatter(ConsoleReportOptions options = {});
/// JUnit XML, complete when the run ends: one `testsuite` a case, kept in memory until that case ends.
[[nodiscard]] FormatterSpec junit_formatter(std::string path);
/// TAP version 14. An empty path: standard output.
[[nodiscard]] FormatterSpec tap_formatter(std::string path);
/// One JSON object a line for each event. An empty path: standard output.
[[nodiscard]] FormatterSpec json_lines_formatter(std::string path);
/// The names of the tests that failed, `Case.test` a line, for DAGVERK_REPORT_RERUN. Written when the run ends; tests
/// of an earlier run that were not run this time stay listed. (ExUnit's failures manifest.)
[[nodiscard]] FormatterSpec failure_manifest(std::string path);

/// The tests listed in a manifest, in order. Errors: `not_found`, `io`.
[[nodiscard]] Result<std::vector<std::string>> read_failure_manifest(const std::string& path);

/// A formatter that DAGVERK_REPORT may name: `make` gets what stands behind the colon, empty when there is none.
struct NamedFormatter {
  std::string name = {};
  bool needs_path = false;
  bool takes_path = true;  ///< one that may do without a path then writes to standard output
  std::function<FormatterSpec(std::string path)> make = {};
};

/// console, junit, tap, jsonl and failed.
[[nodiscard]] std::vector<NamedFormatter> built_in_formatters();

/// The formatters that `text` asks for: `console,junit:out.xml,tap,jsonl:events.jsonl`. In a path `%p` is the process
/// id and `%b` the program's name, so that programs that run side by side write files of their own.
/// Errors: `configuration` for an unknown name, a path that is missing or not taken, one path named twice, or a file
///         that cannot be written; it says what to type.
[[nodiscard]] Result<std::vector<FormatterSpec>> formatters_from_text(
    std::string_view text, const std::vector<NamedFormatter>& known = built_in_formatters());

}  // namespace dagverk
