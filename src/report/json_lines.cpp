#include "report/report_file.hpp"
#include "report/text.hpp"

#include "dagverk/report/formatters.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace dagverk {
namespace {

/// Appends members to an object; the braces are the caller's.
class JsonObject {
 public:
  explicit JsonObject(std::string& out) : out_(out) {}

  void text(std::string_view name, std::string_view value) {
    member(name);
    detail::append_json(out_, value);
  }
  void number(std::string_view name, std::uint64_t value) {
    member(name);
    detail::append_number(out_, value);
  }
  void elapsed(Duration duration) { number("elapsed_ns", static_cast<std::uint64_t>(duration.count())); }
  void failures(const std::vector<TestFailure>& failures) {
    member("failures");
    out_ += '[';
    for (const TestFailure& failure : failures) {
      out_ += &failure == failures.data() ? "{" : ",{";
      JsonObject object(out_);
      object.text("file", failure.file);
      object.number("line", failure.line);
      object.text("message", failure.message);
      out_ += '}';
    }
    out_ += ']';
  }

 private:
  void member(std::string_view name) {
    if (!std::exchange(first_, false)) out_ += ',';
    out_ += '"';
    out_ += name;
    out_ += "\":";
  }

  std::string& out_;
  bool first_ = true;
};

void describe(JsonObject& object, const SuiteStarted& event) {
  object.text("event", "suite_started");
  object.text("program", event.program);
  object.text("framework", event.framework);
  object.number("tests", event.test_count);
  object.number("started_at_epoch_ns", static_cast<std::uint64_t>(event.started.time_since_epoch().count()));
}
void describe(JsonObject& object, const CaseStarted& event) {
  object.text("event", "case_started");
  object.text("case", event.name);
}
void describe(JsonObject& object, const TestStarted& event) {
  object.text("event", "test_started");
  object.text("case", event.test_case);
  object.text("test", event.name);
  object.text("file", event.file);
  object.number("line", event.line);
}
void describe(JsonObject& object, const TestFinished& event) {
  object.text("event", "test_finished");
  object.text("case", event.test_case);
  object.text("test", event.name);
  object.text("state", to_string(event.state));
  object.elapsed(event.elapsed);
  object.text("reason", event.reason);
  object.failures(event.failures);
}
void describe(JsonObject& object, const CaseFinished& event) {
  object.text("event", "case_finished");
  object.text("case", event.name);
  object.elapsed(event.elapsed);
  object.failures(event.failures);
}
void describe(JsonObject& object, const SuiteFinished& event) {
  object.text("event", "suite_finished");
  object.elapsed(event.elapsed);
  object.text("crash", event.crash);
  object.number("not_run", event.not_run);
  object.failures(event.failures);
}

/// What is there after each batch is in the file: a reader may follow it.
class JsonLines : public EventHandler<TestEvent> {
 public:
  explicit JsonLines(std::string path) : file_(std::move(path)) {}

  void init() { file_.open(); }

  void handle_batch(std::span<const TestEvent> events) {
    std::string& out = file_.kept();
    for (const TestEvent& event : events) {
      out += '{';
      JsonObject object(out);
      std::visit([&object](const auto& happened) { describe(object, happened); }, event);
      out += "}\n";
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
