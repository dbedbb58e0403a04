#include "report/report_file.hpp"
#include "report/text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/report/formatters.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <unistd.h>
#include <variant>

namespace dagverk {
namespace {

/// Remembers how each test of this run ended, and at the end replaces what the manifest said of them.
class Manifest : public EventHandler<TestEvent> {
 public:
  explicit Manifest(std::string path) : path_(std::move(path)) {}

  void init() {
    if (Result<std::vector<std::string>> earlier = read_failure_manifest(path_)) failed_ = std::move(*earlier);
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
    const std::string name = detail::printable(concat(test.test_case, ".", test.name), true);
    run_.insert(name);
    if (test.state == TestState::failed || test.state == TestState::invalid || test.state == TestState::crashed) {
      failed_now_.insert(name);
    } else {
      passed_in_case_.push_back(name);
    }
  }

  void write() {
    std::erase_if(failed_, [this](const std::string& name) { return run_.contains(name); });
    failed_.insert(failed_.end(), failed_now_.begin(), failed_now_.end());
    std::sort(failed_.begin(), failed_.end());
    detail::ReportFile file(path_);
    file.open();
    file.write("# Tests that failed. To run only these: DAGVERK_REPORT_RERUN=<this file> <the test program>\n");
    for (const std::string& name : failed_) file.write(name + "\n");
    file.flush();
  }

  std::string path_;
  std::vector<std::string> failed_;
  std::set<std::string> run_;
  std::set<std::string> failed_now_;
  std::vector<std::string> passed_in_case_;
};

}  // namespace

FormatterSpec failure_manifest(std::string path) {
  return event_handler<Manifest>("failed", formatter_options(), std::move(path));
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
