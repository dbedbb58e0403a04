#include "report/report_file.hpp"
#include "report/text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/report/formatters.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <unistd.h>
#include <variant>

namespace dagverk {
namespace {

/// Replaces what the manifest says of the tests of this run. Keeps the names of those that failed, now or earlier, and
/// of those that passed in the case that is running.
class Manifest : public EventHandler<TestEvent> {
 public:
  explicit Manifest(std::string path) : path_(std::move(path)) {}

  void init() {
    Result<std::vector<std::string>> earlier = read_failure_manifest(path_);
    if (earlier) failed_before_.insert(earlier->begin(), earlier->end());
  }

  void handle_event(const TestEvent& event) {
    if (const auto* test = std::get_if<TestFinished>(&event)) {
      note(*test);
    } else if (const auto* finished = std::get_if<CaseFinished>(&event)) {
      if (!finished->failures.empty()) failed_now_.insert(passed_in_case_.begin(), passed_in_case_.end());
      passed_in_case_.clear();
    } else if (std::holds_alternative<SuiteFinished>(event)) {
      write();
    }
  }

 private:
  void note(const TestFinished& test) {
    if (test.state == TestState::excluded) return;
    std::string name;
    detail::append_printable(name, test.test_case, true);
    name += '.';
    detail::append_printable(name, test.name, true);
    failed_before_.erase(name);
    switch (test.state) {
      case TestState::failed:
      case TestState::invalid:
      case TestState::crashed: failed_now_.insert(std::move(name)); break;
      case TestState::passed: passed_in_case_.push_back(std::move(name)); break;
      case TestState::skipped:
      case TestState::excluded: break;
    }
  }

  void write() {
    failed_now_.merge(failed_before_);
    detail::ReportFile file(path_);
    file.open();
    file.write("# Tests that failed. To run only these: DAGVERK_REPORT_RERUN=<this file> <the test program>\n");
    for (const std::string& name : failed_now_) file.write(name + "\n");
    file.flush();
  }

  std::string path_;
  std::set<std::string> failed_before_;  ///< and not run until now
  std::set<std::string> failed_now_;
  std::vector<std::string> passed_in_case_;
};

}  // namespace

FormatterSpec failure_manifest(std::string path) {
  HandlerOptions options = formatter_options();
  options.kinds = EventKinds::of<TestEvent, TestFinished, CaseFinished, SuiteFinished>();
  return event_handler<Manifest>("failed", options, std::move(path));
}

Result<std::vector<std::string>> read_failure_manifest(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    const int error = errno;
    return Error{error == ENOENT ? ErrorCode::not_found : ErrorCode::io,
                 concat("cannot read ", path, ": ", std::strerror(error))};
  }
  std::vector<std::string> names;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line.front() != '#') names.push_back(line);
  }
  if (file.bad()) return Error{ErrorCode::io, concat("cannot read ", path)};
  return names;
}

}  // namespace dagverk
