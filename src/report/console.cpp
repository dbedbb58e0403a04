#include "report/report_file.hpp"
#include "report/text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/report/formatters.hpp"
#include "dagverk/report/test_statistics.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <unistd.h>
#include <variant>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

constexpr Duration status_every = 100ms;
constexpr Duration slow_from = 1ms;
constexpr std::size_t rerun_names_max = 20;
constexpr int ancestors_max = 5;

std::string for_people(Duration duration) {
  char text[32];
  const auto ns = static_cast<double>(duration.count());
  if (ns < 1e6) {
    std::snprintf(text, sizeof text, "%.0f us", ns / 1e3);
  } else if (ns < 1e9) {
    std::snprintf(text, sizeof text, "%.1f ms", ns / 1e6);
  } else {
    std::snprintf(text, sizeof text, "%.2f s", ns / 1e9);
  }
  return text;
}

std::string counted(std::uint64_t tests) { return concat(tests, tests == 1 ? " test" : " tests"); }

/// Compilers are given paths relative to the folder of the build, and programs lie somewhere below it.
std::ifstream open_source(const std::string& path) {
  std::ifstream file(path);
  if (file || path.starts_with('/')) return file;
  std::error_code error;
  std::filesystem::path folder = std::filesystem::read_symlink("/proc/self/exe", error);
  for (int up = 0; up < ancestors_max && !file.is_open() && folder.has_relative_path(); ++up) {
    folder = folder.parent_path();
    file.open(folder / path);
  }
  return file;
}

/// The lines around `line` of a source file, the one itself marked; empty when the file cannot be read.
std::string source_around(const std::string& path, std::uint32_t line, std::uint32_t around) {
  if (path.empty() || line == 0) return {};
  std::ifstream file = open_source(path);
  std::string text;
  std::uint32_t number = 0;
  for (std::string source; number < line + around && std::getline(file, source);) {
    ++number;
    if (number + around < line) continue;
    text += concat(number == line ? "    > " : "      ", number, " | ", detail::printable(source), "\n");
  }
  return number < line ? std::string() : text;
}

class Console : public EventHandler<TestEvent> {
 public:
  explicit Console(ConsoleReportOptions options) : options_(std::move(options)), file_(options_.path) {}

  void init() {
    file_.open();
    terminal_ = file_.is_terminal();
    const char* no_colour = std::getenv("NO_COLOR");
    const bool unwanted = no_colour != nullptr && *no_colour != '\0';
    coloured_ = options_.colour == ConsoleReportOptions::Colour::always ||
                (options_.colour == ConsoleReportOptions::Colour::when_terminal && terminal_ && !unwanted);
  }

  void handle_event(const TestEvent& event) {
    counter_.count(event);
    std::visit([this](const auto& happened) { on(happened); }, event);
  }

 private:
  struct Slow {
    std::string name;
    Duration elapsed;
  };

  void on(const SuiteStarted& suite) {
    test_count_ = suite.test_count;
    program_ = detail::printable(suite.program, true);
    framework_ = suite.framework;
    write(suite.test_count == 0 ? program_ + "\n" : concat(program_, ": ", counted(suite.test_count), "\n"));
  }

  void on(const CaseStarted& started) {
    name_ = detail::printable(started.name, true);
    before_ = counter_.counts();
  }

  void on(const TestStarted& test) {
    if (!terminal_) return;
    const SteadyTime now = system_clock().steady_now();
    if (now - status_at_ < status_every) return;
    status_at_ = now;
    std::string line = concat("[", counter_.counts().total, "/", test_count_, "] ",
                              detail::printable(concat(test.test_case, ".", test.name), true));
    line.resize(std::min<std::size_t>(line.size(), 78));
    write(concat("\r\033[K", line));
    status_shown_ = true;
  }

  void on(const TestFinished& test) {
    if (test.elapsed >= slow_from) note_slow(test);
    if (test.state == TestState::passed || test.state == TestState::excluded) return;
    const std::string name = detail::printable(concat(test.test_case, ".", test.name), true);
    if (test.state == TestState::skipped) {
      write(concat(yellow("SKIP "), name, test.reason.empty() ? "" : ": ", detail::printable(test.reason, true), "\n"));
      return;
    }
    failed_names_.push_back(name);
    std::string text =
        concat(red(test.state == TestState::crashed ? "CRASH " : "FAIL "), name, " (", for_people(test.elapsed), ")\n");
    for (const TestFailure& failure : test.failures) text += described(failure);
    if (test.state == TestState::invalid) text += "  it was not run: its case could not be set up\n";
    if (test.state == TestState::crashed) {
      text += concat("  the test program ended in this test: ", detail::printable(test.reason, true), "\n");
    }
    write(text);
  }

  void on(const CaseFinished& finished) {
    const TestCounts& now = counter_.counts();
    const std::uint64_t count = now.total - before_.total;
    const bool good = now.failures == before_.failures;
    std::string text;
    if (!finished.failures.empty()) {
      text = concat(red("FAIL "), name_, ", outside of its tests\n");
      for (const TestFailure& failure : finished.failures) text += described(failure);
    }
    text += concat(good && finished.failures.empty() ? green("ok   ") : red("FAIL "), name_, " (", counted(count), ", ",
                   for_people(finished.elapsed), ")\n");
    write(text);
  }

  void on(const SuiteFinished& finished) {
    std::string text;
    for (const TestFailure& failure : finished.failures)
      text += concat(red("FAIL "), "outside of all cases\n") + described(failure);
    if (!slowest_.empty()) text += "slowest tests:\n";
    for (const Slow& slow : slowest_) text += concat("  ", for_people(slow.elapsed), "  ", slow.name, "\n");
    const TestCounts& counts = counter_.counts();
    const bool good = counts.failures == 0 && finished.failures.empty() && finished.crash.empty();
    text += concat(good ? green("passed") : red("FAILED"), ": ", counted(counts.total - counts.excluded), " in ",
                   for_people(finished.elapsed), ": ", counts.passed(), " passed, ", counts.failures, " failed, ");
    text += concat(counts.skipped, " skipped, ", counts.excluded, " disabled, ", finished.not_run, " not run\n");
    if (!finished.crash.empty()) {
      text += concat(red("the test program ended with "), detail::printable(finished.crash, true), "\n");
    }
    write(text + rerun());
  }

  void note_slow(const TestFinished& test) {
    const auto place =
        std::find_if(slowest_.begin(), slowest_.end(), [&](const Slow& slow) { return slow.elapsed < test.elapsed; });
    slowest_.insert(place, Slow{detail::printable(concat(test.test_case, ".", test.name), true), test.elapsed});
    if (slowest_.size() > options_.slowest_max) slowest_.pop_back();
  }

  [[nodiscard]] std::string described(const TestFailure& failure) const {
    std::string text;
    if (!failure.file.empty()) {
      text = concat("  ", detail::printable(failure.file, true), ":", failure.line, "\n",
                    source_around(failure.file, failure.line, options_.context_lines));
    }
    std::istringstream lines(detail::printable(failure.message));
    for (std::string line; std::getline(lines, line);) text += concat("  ", line, "\n");
    return text;
  }

  /// How to run again what failed: by a filter when there is one, short enough to be typed, or by a manifest.
  [[nodiscard]] std::string rerun() const {
    if (failed_names_.empty()) return {};
    if (failed_names_.size() > rerun_names_max || framework_ != "GoogleTest") {
      return "to run only these again: add failed:failed.txt to DAGVERK_REPORT, then DAGVERK_REPORT_RERUN=failed.txt\n";
    }
    std::string names;
    for (const std::string& name : failed_names_) names += concat(names.empty() ? "" : ":", name);
    return concat("to run only these again: GTEST_FILTER='", names, "' ", program_, "\n");
  }

  [[nodiscard]] std::string colour(const char* code, std::string_view text) const {
    return coloured_ ? concat("\033[", code, "m", text, "\033[0m") : std::string(text);
  }
  [[nodiscard]] std::string red(std::string_view text) const { return colour("31", text); }
  [[nodiscard]] std::string green(std::string_view text) const { return colour("32", text); }
  [[nodiscard]] std::string yellow(std::string_view text) const { return colour("33", text); }

  void write(std::string_view text) {
    if (status_shown_) file_.write("\r\033[K");
    status_shown_ = false;
    file_.write(text);
    file_.flush();
  }

  ConsoleReportOptions options_;
  detail::ReportFile file_;
  TestCounter counter_;
  TestCounts before_;
  std::vector<Slow> slowest_;
  std::vector<std::string> failed_names_;
  std::string program_;
  std::string framework_;
  std::string name_;
  std::uint64_t test_count_ = 0;
  SteadyTime status_at_ = {};
  bool terminal_ = false;
  bool coloured_ = false;
  bool status_shown_ = false;
};

}  // namespace

FormatterSpec console_formatter(ConsoleReportOptions options) {
  HandlerOptions handler = formatter_options();
  if (!options.path.empty() || ::isatty(STDOUT_FILENO) != 1) {  // without a terminal there is no progress to show
    handler.kinds = EventKinds::of<TestEvent, SuiteStarted, CaseStarted, TestFinished, CaseFinished, SuiteFinished>();
  }
  return event_handler<Console>("console", handler, std::move(options));
}

}  // namespace dagverk
