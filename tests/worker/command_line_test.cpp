#include "dagverk/worker/command_line.hpp"

#include "dagverk/worker/duration_text.hpp"
#include "dagverk/worker/exit_code.hpp"
#include "dagverk/worker/time_text.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

namespace dagverk::worker {
namespace {

using namespace std::chrono_literals;
using Words = std::vector<std::string>;

constexpr OptionSyntax own_options[] = {{'q', "queue", "NAME", "the queue"}, {'a', "all", {}, "all of them"}};
constexpr OptionSyntax shared_options[] = {{'v', "verbose", {}, "talk"}, {'h', "help", {}, "help"}};
constexpr CommandSyntax syntax{.name = "enqueue",
                               .arguments = "CLASS [ARG…]",
                               .summary = "Enqueues.",
                               .arguments_min = 1,
                               .arguments_max = 4,
                               .options = own_options,
                               .examples = "  one\n  two"};

Result<ParsedLine> parse(const Words& words) { return parse_command_line(syntax, shared_options, words); }

std::string mistake(const Words& words) {
  const auto line = parse(words);
  return line ? "none" : std::string(line.error().message());
}

TEST(CommandLine, arguments_arrive_byte_for_byte) {
  const Words words = {"Resize", "[1,2]", "[]", "-5"};
  const auto line = parse(words);
  ASSERT_TRUE(line) << line.error().message();
  EXPECT_EQ(line->arguments(), words);
  EXPECT_EQ(parse({"A", "{}", "-", ""})->arguments(), (Words{"A", "{}", "-", ""}));
}

TEST(CommandLine, options_have_four_spellings_and_mix_with_arguments) {
  for (const Words& words : {Words{"A", "-q", "mail"}, Words{"-qmail", "A"}, Words{"--queue", "mail", "A"},
                             Words{"A", "--queue=mail"}, Words{"-avqmail", "A"}}) {
    const auto line = parse(words);
    ASSERT_TRUE(line) << words.front() << line.error().message();
    EXPECT_EQ(line->value("queue"), "mail");
    EXPECT_EQ(line->arguments(), Words{"A"});
  }
  EXPECT_TRUE(parse({"-av", "A"})->has("all"));
  EXPECT_TRUE(parse({"-av", "A"})->has("verbose"));
  EXPECT_FALSE(parse({"A"})->has("all"));
  EXPECT_EQ(parse({"A", "-q", "x", "-q", "y"})->values("queue"), (Words{"x", "y"}));
  EXPECT_EQ(parse({"A", "--queue="})->value("queue"), "");
}

TEST(CommandLine, two_dashes_end_the_options) {
  const auto line = parse({"A", "--", "--all", "--"});
  ASSERT_TRUE(line);
  EXPECT_EQ(line->arguments(), (Words{"A", "--all", "--"}));
  EXPECT_FALSE(line->has("all"));
}

TEST(CommandLine, a_mistake_names_the_word_and_what_is_near) {
  EXPECT_EQ(mistake({"A", "--queu", "x"}), R"(unknown option "--queu"; did you mean --queue?)");
  EXPECT_EQ(mistake({"A", "--xyzzy=1"}), R"(unknown option "--xyzzy")");
  EXPECT_EQ(mistake({"A", "-z"}), R"(unknown option "-z")");
  EXPECT_EQ(mistake({"A", "-q"}), "--queue needs a value: NAME");
  EXPECT_EQ(mistake({"A", "--all=yes"}), "--all takes no value");
  EXPECT_EQ(mistake({}), "missing argument: CLASS [ARG…]");
  EXPECT_EQ(mistake({"A", "1", "2", "3", "4"}), R"(unexpected argument "4")");
  EXPECT_EQ(mistake({"A", "--\x1b[31m"}), R"(unknown option "--\x1b[31m")");
}

TEST(CommandLine, help_wins_over_mistakes) {
  const auto line = parse({"--nonsense", "-h"});
  ASSERT_TRUE(line);
  EXPECT_TRUE(line->has("help"));
}

TEST(CommandLine, the_help_has_usage_options_and_examples) {
  const std::string text = help_text("dagverk", syntax, shared_options);
  EXPECT_EQ(text,
            "usage: dagverk enqueue CLASS [ARG…] [OPTION…]\n\nEnqueues.\n\n"
            "  -q, --queue NAME  the queue\n  -a, --all         all of them\n\n"
            "Everywhere: -v -h\n\nExamples:\n  one\n  two\n");
}

TEST(CommandLine, the_nearest_word_is_near_or_none) {
  const std::string_view words[] = {"stats", "enqueue", "job", "queue"};
  EXPECT_EQ(nearest_word("stast", words), "stats");  // a swap counts once
  EXPECT_EQ(nearest_word("enq", words), "enqueue");
  EXPECT_EQ(nearest_word("jobb", words), "job");
  EXPECT_EQ(nearest_word("frobnicate", words), std::nullopt);
  EXPECT_EQ(nearest_word("", words), std::nullopt);
}

TEST(Printable, nothing_can_move_a_cursor_or_turn_the_text) {
  EXPECT_EQ(printable("plain Ärger 漢字 🙂"), "plain Ärger 漢字 🙂");
  EXPECT_EQ(printable("\x1b[2J\n\x7f"), R"(\x1b[2J\x0a\x7f)");
  EXPECT_EQ(printable("a\xff\xc3"), R"(a\xff\xc3)");
  EXPECT_EQ(printable("\xc2\x9b"), R"(\xc2\x9b)");          // a control character above ASCII
  EXPECT_EQ(printable("\xe2\x80\xae"), R"(\xe2\x80\xae)");  // turns the direction of writing
  EXPECT_EQ(printable("\xed\xa0\x80"), R"(\xed\xa0\x80)");  // a surrogate is no character
  EXPECT_EQ(printable("abcdef", 3), "abc…");
}

TEST(DurationText, reads_what_people_write) {
  const std::pair<std::string_view, Duration> good[] = {
      {"30s", 30s}, {"5m", 5min}, {"1h30m", 90min}, {"250ms", 250ms}, {"7d", 168h}, {"0s", 0s}, {"1m500ms", 60500ms}};
  for (const auto& [text, duration] : good) {
    const auto parsed = parse_duration(text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_EQ(*parsed, duration) << text;
    EXPECT_EQ(duration_text(duration), text);
  }
  for (const std::string_view bad : {"", "30", "s", "30 s", "1.5s", "-5s", "+5s", "30m1h", "1s1s", "5x", "5S", "s5"}) {
    EXPECT_FALSE(parse_duration(bad)) << bad;
  }
}

TEST(TimeText, reads_what_people_write) {
  const auto at = [](std::string_view text) { return utc_text(parse_time(text).value()); };
  EXPECT_EQ(at("2026-11-21T09:30:00Z"), "2026-11-21T09:30:00.000Z");
  EXPECT_EQ(at("2026-11-21 09:30:00.125z"), "2026-11-21T09:30:00.125Z");
  EXPECT_EQ(at("2026-11-21T09:30+01:00"), "2026-11-21T08:30:00.000Z");
  EXPECT_EQ(at("2026-11-21T09:30:00-0530"), "2026-11-21T15:00:00.000Z");
  EXPECT_EQ(at("1795219126"), "2026-11-20T23:58:46.000Z");
  EXPECT_EQ(at("0.5"), "1970-01-01T00:00:00.500Z");
  for (const std::string_view bad : {"", "tomorrow", "2026-13-01T00:00Z", "2026-02-30T00:00Z", "2026-11-21T24:00Z",
                                     "2026-11-21", "2026-11-21T09:30:00X", "2026-11-21T09:30:00.Z", "-5"}) {
    EXPECT_FALSE(parse_time(bad)) << bad;
  }
}

TEST(ExitCodes, tell_a_script_what_to_do) {
  EXPECT_EQ(exit_code_of(Error(ErrorCode::malformed_job)), ExitCode::usage);
  EXPECT_EQ(exit_code_of(Error(ErrorCode::not_found)), ExitCode::not_found);
  EXPECT_EQ(exit_code_of(Error(ErrorCode::already_exists)), ExitCode::refused);
  EXPECT_EQ(exit_code_of(Error(ErrorCode::unavailable)), ExitCode::unreachable);
  EXPECT_EQ(exit_code_of(Error(ErrorCode::store_full)), ExitCode::store_io);
  EXPECT_EQ(exit_code_of(Error(ErrorCode::timeout)), ExitCode::try_again);
  EXPECT_EQ(exit_code_of(Error(ErrorCode::store_newer)), ExitCode::configuration);
  EXPECT_EQ(exit_code_of(Error(ErrorCode::internal)), ExitCode::failed);
}

}  // namespace
}  // namespace dagverk::worker
