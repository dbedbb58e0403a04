// How lines become text: escaping, cutting, patterns, JSON; and what is refused.

#include "log/line_text.hpp"
#include "log/record_encode.hpp"
#include "log_world.hpp"

#include "dagverk/log/backends/named.hpp"
#include "dagverk/log/line_format.hpp"
#include "dagverk/log/severity.hpp"

#include <gtest/gtest.h>

#include <charconv>
#include <limits>
#include <string>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

std::string formatted(const LineFormat& format, const LogLine& line) {
  std::string text;
  format.append(line, text);
  return text;
}

std::string escaped(std::string_view text, detail::Quoting quoting) {
  std::string out;
  detail::append_escaped(out, text, quoting);
  return out;
}

/// A line as it is after its way through a thread's buffer.
class KeptLine {
 public:
  KeptLine(std::string_view text, std::vector<LogValue> fields, std::size_t bytes_max = 8096) {
    const LogSource source{"src/a.cpp", "work", 7};
    const detail::RecordContent content{LogSeverity::warning, "app", text, fields, &source};
    const detail::RecordPlan plan = detail::plan_record(content, bytes_max);
    bytes_.resize(plan.size);
    detail::encode_record(bytes_.data(), plan, content);
    detail::header_at(bytes_.data()).stamp = 1'000;
    detail::header_at(bytes_.data()).thread_id = 42;
  }
  [[nodiscard]] LogLine line() const {
    return detail::decode_record(bytes_.data(), std::chrono::seconds(1'767'225'600));
  }

 private:
  std::vector<char> bytes_;
};

TEST(LineText, control_characters_cannot_forge_a_line) {
  EXPECT_EQ(escaped("a\nb\r\x1b[31m\x7f", detail::Quoting::none), R"(a\nb\r\x1b[31m\x7f)");
  EXPECT_EQ(escaped("say \"hi\" \\ now", detail::Quoting::quoted), R"(say \"hi\" \\ now)");
  EXPECT_EQ(escaped(std::string_view("\0\x01", 2), detail::Quoting::json), R"(\u0000\u0001)");
  EXPECT_EQ(escaped("\xc2\x9b"
                    "2J",
                    detail::Quoting::none),
            R"(\x9b2J)")
      << "a terminal takes U+009B for ESC [";
}

TEST(LineText, invalid_utf8_becomes_the_replacement_character) {
  EXPECT_EQ(escaped("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80", detail::Quoting::json),
            "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
  const std::string mark = "\xef\xbf\xbd";
  EXPECT_EQ(escaped("a\xff"
                    "b",
                    detail::Quoting::none),
            "a" + mark + "b");
  EXPECT_EQ(escaped("\xc0\xaf", detail::Quoting::none), mark + mark) << "longer than needed";
  EXPECT_EQ(escaped("\xed\xa0\x80", detail::Quoting::none), mark + mark + mark) << "half of a surrogate pair";
  EXPECT_EQ(escaped("\xf4\x90\x80\x80", detail::Quoting::none), mark + mark + mark + mark) << "beyond U+10FFFF";
  EXPECT_EQ(escaped("\xe2\x82", detail::Quoting::none), mark + mark) << "cut off";
}

TEST(LineText, a_cut_does_not_split_a_character) {
  EXPECT_EQ(detail::cut_size("abc", 5), 3U);
  EXPECT_EQ(detail::cut_size("ab\xe2\x82\xac", 4), 2U);
  EXPECT_EQ(detail::cut_size("ab\xe2\x82\xac", 5), 5U);
  EXPECT_EQ(detail::cut_size(std::string(9, '\x80'), 6), 6U) << "bytes that are no text are cut anywhere";
}

TEST(LineText, short_reals_are_written_as_to_chars_writes_them) {
  std::size_t fast = 0;
  const auto same = [&](double value) {
    char quick[48];
    detail::LineText text(quick, sizeof quick);
    detail::append_number(text, value);
    char usual[48];
    const char* const end = std::to_chars(usual, usual + sizeof usual, value).ptr;
    char ignored[48];
    fast += detail::write_short_real(ignored, value) != nullptr ? 1U : 0U;
    return std::string_view(quick, text.size()) == std::string_view(usual, static_cast<std::size_t>(end - usual));
  };
  std::uint64_t state = 1;
  for (int round = 0; round < 200'000; ++round) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    const auto thousandths = static_cast<double>((state >> 33U) % 110'000'000U);
    ASSERT_TRUE(same(thousandths / 1000)) << thousandths;
    ASSERT_TRUE(same(-thousandths / 1000)) << thousandths;
    ASSERT_TRUE(same(thousandths * 0.001)) << thousandths;  // not always the nearest number to its three decimals
  }
  EXPECT_GT(fast, 400'000U);
  for (int thousandths = 0; thousandths < 20'000; ++thousandths) ASSERT_TRUE(same(thousandths / 1000.0)) << thousandths;
  constexpr double infinity = std::numeric_limits<double>::infinity();
  for (const double value : {0.0, -0.0, 0.1 + 0.2, 1e-3, 9e-4, 1e4, 9e4, 99'999.999, 1e5, 1.5e300, 5e-324, infinity,
                             -infinity, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_TRUE(same(value)) << value;
  }
}

TEST(LineText, special_bytes_are_found_wherever_they_stand) {
  for (std::size_t size = 1; size < 26; ++size) {
    for (std::size_t at = 0; at < size; ++at) {
      for (int byte = 0; byte < 256; ++byte) {
        std::string text(size, 'x');
        text[at] = static_cast<char>(byte);
        for (const detail::Quoting quoting : {detail::Quoting::none, detail::Quoting::json}) {
          const bool special =
              byte < 0x20 || byte >= 0x7f || (quoting == detail::Quoting::json && (byte == '"' || byte == '\\'));
          ASSERT_EQ(detail::skip_plain(text, 0, quoting), special ? at : size) << byte << " at " << at;
        }
      }
    }
  }
}

TEST(LineFormat, lines_of_all_lengths_are_whole) {
  for (std::size_t size = 900; size < 1100; ++size) {  // around the room that is tried first
    const std::string text(size, 'x');
    const KeptLine kept(text, {{"n", 1}, {"took", 0.5}, {"who", "\n\n"}});
    EXPECT_EQ(formatted(LineFormat::message_only(), kept.line()), text + R"( n=1 took=0.5 who="\n\n")");
  }
}

TEST(LineFormat, the_time_is_right_on_both_sides_of_a_second) {
  LogLine line;
  line.time = WallTime(std::chrono::seconds(1'767'225'600) - 1us);
  const LineFormat time = LineFormat::pattern("{time}").value();
  EXPECT_EQ(formatted(time, line), "2025-12-31T23:59:59.999999Z");
  line.time += 1us;
  EXPECT_EQ(formatted(time, line), "2026-01-01T00:00:00.000000Z");
  line.time -= 999'999us;
  EXPECT_EQ(formatted(time, line), "2025-12-31T23:59:59.000001Z");
}

TEST(LineFormat, the_usual_pattern_shows_time_level_logger_message_and_fields) {
  const KeptLine kept("job.failed",
                      {{"jid", "a1"}, {"attempt", 3}, {"why", "no \"disk\""}, {"slow", true}, {"cost", 0.5}});
  EXPECT_EQ(
      formatted(LineFormat(), kept.line()),
      R"(2026-01-01T00:00:00.000001Z warning [app] job.failed jid=a1 attempt=3 why="no \"disk\"" slow=true cost=0.5)");
}

TEST(LineFormat, a_pattern_names_each_part) {
  const KeptLine kept("hello", {{"n", -1}, {"u", std::uint64_t{18'446'744'073'709'551'615U}}});
  const LineFormat format =
      LineFormat::pattern("{{{level}} {source} {function} {thread}|{name}|{message}{fields}").value();
  EXPECT_EQ(formatted(format, kept.line()), "{warning} src/a.cpp:7 work 42|app|hello n=-1 u=18446744073709551615");
}

TEST(LineFormat, json_is_one_object_per_line) {
  const KeptLine kept("say \"hi\"\n\xff", {{"n", 1}, {"x", std::numeric_limits<double>::infinity()}, {"t", "a\tb"}});
  EXPECT_EQ(formatted(LineFormat::json(), kept.line()),
            "{\"time\":\"2026-01-01T00:00:00.000001Z\",\"level\":\"warning\",\"logger\":\"app\","
            "\"message\":\"say \\\"hi\\\"\\n\xef\xbf\xbd\",\"fields\":{\"n\":1,\"x\":null,\"t\":\"a\\tb\"},"
            "\"source\":\"src/a.cpp:7\",\"thread\":42}");
}

TEST(LineFormat, the_fatal_signal_path_writes_the_same_bytes) {
  const KeptLine kept("a\nb", {{"n", 1}});
  for (const LineFormat& format : {LineFormat(), LineFormat::json(), LineFormat::message_only()}) {
    char out[512];
    const std::size_t size = format.write_to(kept.line(), out, sizeof out);
    EXPECT_EQ(std::string(out, size), formatted(format, kept.line()));
    EXPECT_EQ(format.write_to(kept.line(), out, 3), 3U) << "never more than there is room for";
  }
}

TEST(LineFormat, a_malformed_pattern_is_refused_with_its_place) {
  EXPECT_EQ(LineFormat::pattern("{time} {lvl}").error().message(),
            "log pattern \"{time} {lvl}\": {lvl} at column 8 is unknown: time, level, name, message, fields, source, "
            "function or thread");
  EXPECT_EQ(LineFormat::pattern("a {message").error().message(),
            "log pattern \"a {message\": the brace at column 3 is not closed");
  EXPECT_EQ(LineFormat::pattern("").error().code(), ErrorCode::configuration);
}

TEST(LogSeverity, reads_spdlogs_names_and_refuses_others) {
  EXPECT_EQ(parse_severity("warn").value(), LogSeverity::warning);
  EXPECT_EQ(parse_severity("critical").value(), LogSeverity::critical);
  EXPECT_EQ(parse_severity("loud").error().message(),
            "log level \"loud\" is unknown: trace, debug, info, warning, error or critical");
}

TEST(LogRecord, long_fields_are_cut_and_the_line_says_so) {
  const std::string large(200, 'x');
  const KeptLine kept("text", {{"a", 1}, {"b", large}, {"c", 2}}, 100);
  const LogLine line = kept.line();
  EXPECT_TRUE(line.cut);
  LogFields fields = line.fields;
  EXPECT_EQ(fields.left(), 2U) << "what follows the cut is left out";
  EXPECT_EQ(fields.next()->integer(), 1);
  const std::string_view cut = fields.next()->text();
  EXPECT_LT(cut.size(), 100U);
  EXPECT_GT(cut.size(), 50U);
}

TEST(LogPipeline, CC_LOG_006_a_long_message_is_cut_at_8096_bytes_and_marked) {
  LogWorld world;
  world.log.info(std::string(10'000, 'a'));
  world.log.info(std::string(1 << 20, 'b'));
  world.log.info(std::string(8096, 'c'));
  world.run();
  ASSERT_EQ(world.sheet.lines.size(), 3U);
  EXPECT_EQ(world.sheet.lines[0], std::string(8096, 'a') + " (truncated)");
  EXPECT_EQ(world.sheet.lines[1], std::string(8096, 'b') + " (truncated)");
  EXPECT_EQ(world.sheet.lines[2], std::string(8096, 'c'));
}

TEST(LogPipeline, lines_of_a_mebibyte_are_kept_where_the_limit_allows_them) {
  LogOptions options = LogWorld::quick();
  options.line_bytes_max = 1 << 20;
  options.thread_buffer_bytes = 4 << 20;
  LogWorld world(BoundedQueue{}, options);
  const std::string large(1 << 20, 'x');
  for (int count = 0; count < 3; ++count) world.log.info(large);
  world.run();
  ASSERT_EQ(world.sheet.lines.size(), 3U);
  EXPECT_EQ(world.sheet.lines[2].size(), large.size());
}

TEST(BackendFromText, CC_LOG_005_an_unknown_backend_is_refused_with_what_is_known) {
  EXPECT_EQ(backend_from_text("x", "postcard").error().message(),
            "log backend \"postcard\": is unknown: console, console:stdout, file:PATH, json:PATH, "
            "syslog+udp://HOST:PORT, syslog+tcp://HOST:PORT");
  for (const char* far : {"http://logs/in", "loki:http://logs:3100"}) {
    EXPECT_NE(backend_from_text("x", far).error().message().find("any_backend_from_text"), std::string_view::npos);
  }
  EXPECT_EQ(backend_from_text("x", "syslog+udp://host:99999").error().message(),
            "log backend \"syslog+udp://host:99999\": the port must be 1..65535");
  EXPECT_EQ(backend_from_text("x", "file:").error().code(), ErrorCode::configuration);
  EXPECT_EQ(backend_from_text("x", "syslog+tcp://:514").error().code(), ErrorCode::configuration);
  for (const char* known :
       {"console", "console:stdout", "file:a.log", "json:a.log", "syslog+udp://localhost", "syslog+tcp://[::1]:6514"}) {
    EXPECT_TRUE(backend_from_text("x", known)) << known;
  }
}

}  // namespace
}  // namespace dagverk
