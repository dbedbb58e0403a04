#include "report/report_file.hpp"
#include "report/text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/report/formatters.hpp"

#include <span>
#include <variant>

namespace dagverk {
namespace {

using detail::json_text;

std::string failures_json(const std::vector<TestFailure>& failures) {
  std::string text = "[";
  for (const TestFailure& failure : failures) {
    text += concat(text.size() > 1 ? "," : "", R"({"file":)", json_text(failure.file), R"(,"line":)", failure.line,
                   R"(,"message":)", json_text(failure.message), "}");
  }
  return text + "]";
}

std::string json_of(const SuiteStarted& event) {
  return concat(R"({"event":"suite_started","program":)", json_text(event.program), R"(,"framework":)",
                json_text(event.framework), R"(,"tests":)", event.test_count, R"(,"started_at_epoch_ns":)",
                event.started.time_since_epoch().count(), "}\n");
}
std::string json_of(const CaseStarted& event) {
  return concat(R"({"event":"case_started","case":)", json_text(event.name), "}\n");
}
std::string json_of(const TestStarted& event) {
  return concat(R"({"event":"test_started","case":)", json_text(event.test_case), R"(,"test":)", json_text(event.name),
                R"(,"file":)", json_text(event.file), R"(,"line":)", event.line, "}\n");
}
std::string json_of(const TestFinished& event) {
  return concat(R"({"event":"test_finished","case":)", json_text(event.test_case), R"(,"test":)", json_text(event.name),
                R"(,"state":")", to_string(event.state), R"(","elapsed_ns":)", event.elapsed.count(), R"(,"reason":)",
                json_text(event.reason), R"(,"failures":)") +
         failures_json(event.failures) + "}\n";
}
std::string json_of(const CaseFinished& event) {
  return concat(R"({"event":"case_finished","case":)", json_text(event.name), R"(,"elapsed_ns":)",
                event.elapsed.count(), R"(,"failures":)", failures_json(event.failures), "}\n");
}
std::string json_of(const SuiteFinished& event) {
  return concat(R"({"event":"suite_finished","elapsed_ns":)", event.elapsed.count(), R"(,"crash":)",
                json_text(event.crash), R"(,"not_run":)", event.not_run, R"(,"failures":)",
                failures_json(event.failures), "}\n");
}

/// What is there after each batch is in the file: a reader may follow it.
class JsonLines : public EventHandler<TestEvent> {
 public:
  explicit JsonLines(std::string path) : file_(std::move(path)) {}

  void init() { file_.open(); }

  void handle_batch(std::span<const TestEvent> events) {
    for (const TestEvent& event : events) {
      file_.write(std::visit([](const auto& happened) { return json_of(happened); }, event));
    }
    file_.flush();
  }

 private:
  detail::ReportFile file_;
};

}  // namespace

FormatterSpec json_lines_formatter(std::string path) {
  return event_handler<JsonLines>("jsonl", formatter_options(), std::move(path));
}

}  // namespace dagverk
