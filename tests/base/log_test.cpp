#include "dagverk/base/log.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <regex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk {
namespace {

/// What the standard-error logger writes while `talk` runs.
template <class Talk>
std::string written_by(Talk talk) {
  testing::internal::CaptureStderr();
  talk();
  return testing::internal::GetCapturedStderr();
}

TEST(StderrLogger, writes_time_level_event_and_fields_on_one_line) {
  const std::string line = written_by([] {
    stderr_logger().warning("process.stuck", {{"name", "uploader"}, {"since_ms", 104}, {"ratio", 0.5}, {"seen", true}});
  });
  const std::regex expected(
      R"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z warning process\.stuck name=uploader since_ms=104 ratio=0\.5 seen=true\n)");
  EXPECT_TRUE(std::regex_match(line, expected)) << line;
}

TEST(StderrLogger, no_value_can_forge_a_line_or_a_field) {
  const std::string line = written_by([] {
    stderr_logger().error("job.failed",
                          {{"text", "a\nb=\"c\\\x1b\x7f"}, {"empty", ""}, {"nul", std::string_view("\0", 1)}});
  });
  EXPECT_NE(line.find(R"( text="a\nb=\"c\\\x1b\x7f" empty="" nul="\x00")"), std::string::npos) << line;
  EXPECT_EQ(line.find('\n'), line.size() - 1);
}

TEST(StderrLogger, stays_silent_below_its_threshold) {
  const auto talk = [] {
    stderr_logger().debug("a.told");
    stderr_logger().info("b.told");
    stderr_logger().warning("c.told");
    stderr_logger().error("d.told");
  };
  const auto count = [&] {
    const std::string text = written_by(talk);
    return std::count(text.begin(), text.end(), '\n');
  };
  EXPECT_EQ(count(), 2);
  set_stderr_log_level(LogLevel::debug);
  EXPECT_EQ(count(), 4);
  set_stderr_log_level(LogLevel::error);
  EXPECT_EQ(count(), 1);
  set_stderr_log_level(LogLevel::warning);
}

TEST(NullLogger, discards_everything) {
  EXPECT_EQ(written_by([] { null_logger().error("job.failed", {{"jid", "1"}}); }), "");
}

TEST(Logger, hands_level_event_and_fields_to_its_sink) {
  struct Sink final : Logger {
    void write(LogLevel level, std::string_view event, std::span<const LogField> fields) noexcept override {
      lines.push_back(concat(to_string(level), " ", event));
      for (const LogField& field : fields) lines.push_back(concat(field.name, "=", field.value));
    }
    std::vector<std::string> lines;
  };
  Sink sink;
  sink.debug("a.done");
  sink.info("b.done", {{"n", 1}});
  sink.warning("c.done");
  sink.error("d.done");
  EXPECT_EQ(sink.lines,
            (std::vector<std::string>{"debug a.done", "info b.done", "n=1", "warning c.done", "error d.done"}));
}

}  // namespace
}  // namespace dagverk
