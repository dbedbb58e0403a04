// Errors and results, text building, random numbers, clocks and assertions.
#include "dagverk/base/assert.hpp"
#include "dagverk/base/clock.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/base/demangle.hpp"
#include "dagverk/base/error.hpp"
#include "dagverk/base/random.hpp"
#include "dagverk/base/result.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/wait.h>
#include <thread>
#include <type_traits>
#include <typeinfo>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dagverk {
namespace {

using std::chrono_literals::operator""ms;

TEST(Error, a_bare_code_speaks_with_its_own_name) {
  const Error error{ErrorCode::not_found};
  EXPECT_EQ(error.code(), ErrorCode::not_found);
  EXPECT_EQ(error.message(), "not_found");
}

TEST(Error, an_empty_message_counts_as_none) { EXPECT_EQ((Error{ErrorCode::timeout, ""}).message(), "timeout"); }

TEST(Error, every_code_has_a_name_of_its_own) {
  std::set<std::string_view> names;
  const int last = static_cast<int>(ErrorCode::unsupported);
  for (int code = 0; code <= last; ++code) names.insert(to_string(static_cast<ErrorCode>(code)));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(last) + 1);
}

TEST(Error, copies_share_one_message_and_outlive_the_original) {
  std::vector<Error> copies;
  std::string_view text;
  {
    const Error original{ErrorCode::io, "writing the journal"};
    text = original.message();
    copies.assign(3, original);
  }
  for (const Error& copy : copies) EXPECT_EQ(copy.message().data(), text.data());
  EXPECT_EQ(copies.front().message(), "writing the journal");
}

TEST(Error, assignment_releases_the_old_message_and_survives_itself) {
  Error error{ErrorCode::io, "first"};
  const Error other{ErrorCode::timeout, "second"};
  error = other;
  EXPECT_EQ(error, other);
  const Error& self = error;
  error = self;
  EXPECT_EQ(error.message(), "second");
  error = Error{ErrorCode::refused, "third"};
  EXPECT_EQ(error.code(), ErrorCode::refused);
  EXPECT_EQ(error.message(), "third");
}

TEST(Error, a_moved_error_takes_the_message_along) {
  Error from{ErrorCode::refused, "duplicate jid"};
  const Error to = std::move(from);
  EXPECT_EQ(to.message(), "duplicate jid");
  EXPECT_TRUE(std::is_nothrow_move_constructible_v<Error>);
  EXPECT_TRUE(std::is_nothrow_copy_constructible_v<Error>);
}

TEST(Error, copies_may_be_released_on_several_threads) {
  const Error original{ErrorCode::io, "shared by threads"};
  std::vector<std::thread> threads;
  for (int index = 0; index < 4; ++index) {
    threads.emplace_back([copy = original] {
      for (int round = 0; round < 1000; ++round) {
        const Error another = copy;
        ASSERT_EQ(another.message(), "shared by threads");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Error, with_puts_the_context_in_front_and_keeps_the_code) {
  const Error inner{ErrorCode::malformed_job, R"(missing "jid")"};
  const Error outer = inner.with("decoding job payload").with("fetching");
  EXPECT_EQ(outer.message(), R"(fetching: decoding job payload: missing "jid")");
  EXPECT_EQ(outer.code(), ErrorCode::malformed_job);
  EXPECT_EQ(inner.message(), R"(missing "jid")");
  EXPECT_EQ(Error{ErrorCode::timeout}.with("asking").message(), "asking: timeout");
}

TEST(Error, equality_compares_code_and_message) {
  EXPECT_EQ((Error{ErrorCode::io, "a"}), (Error{ErrorCode::io, "a"}));
  EXPECT_NE((Error{ErrorCode::io, "a"}), (Error{ErrorCode::io, "b"}));
  EXPECT_NE((Error{ErrorCode::io, "a"}), (Error{ErrorCode::timeout, "a"}));
}

Result<int> number_or_error(bool fails) {
  if (fails) return Error{ErrorCode::not_found, "no number"};
  return 7;
}

Result<void> pass_on(const Error& error) { return error; }

TEST(Result, an_error_converts_to_any_failed_result) {
  EXPECT_EQ(number_or_error(false).value(), 7);
  const Result<int> failed = number_or_error(true);
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().message(), "no number");
  const Result<void> passed = pass_on(failed.error());
  ASSERT_FALSE(passed.has_value());
  EXPECT_EQ(passed.error(), failed.error());
}

TEST(Concat, joins_texts_and_numbers_without_separators) {
  const std::string owned = "mail";
  EXPECT_EQ(concat("queue \"", owned, "\": got ", 0, " of ", 5U, ' ', std::string_view("views"), ", ", true),
            "queue \"mail\": got 0 of 5 views, true");
  EXPECT_EQ(concat(), "");
  EXPECT_EQ(concat(""), "");
}

TEST(Concat, writes_the_widest_numbers_in_full) {
  EXPECT_EQ(concat(INT64_MIN), "-9223372036854775808");
  EXPECT_EQ(concat(UINT64_MAX), "18446744073709551615");
  EXPECT_EQ(concat(0.5), "0.5");
  EXPECT_EQ(concat(-2.2250738585072014e-308), "-2.2250738585072014e-308");
}

TEST(Concat, keeps_null_bytes_of_views) {
  const std::string_view bytes("a\0b", 3);
  EXPECT_EQ(concat(bytes, "c").size(), 4U);
}

TEST(Demangle, names_types_as_written_and_keeps_what_is_no_mangled_name) {
  EXPECT_EQ(demangle(typeid(std::runtime_error).name()), "std::runtime_error");
  EXPECT_EQ(demangle("_ZN7dagverk3endEv"), "dagverk::end()");
  EXPECT_EQ(demangle("main"), "main");
  EXPECT_EQ(demangle(""), "");
}

TEST(Random, the_same_seed_gives_the_same_numbers_everywhere) {
  // The first outputs of SplitMix64 for seed 0, as its authors publish them.
  Random random(0);
  EXPECT_EQ(random.next(), 0xe220a8397b1dcdafU);
  EXPECT_EQ(random.next(), 0x6e789e6aa1b965f4U);
  EXPECT_EQ(random.next(), 0x06c45d188009454fU);
}

TEST(Random, below_stays_in_range_and_reaches_all_of_it) {
  Random random(42);
  std::set<std::uint64_t> seen;
  for (int round = 0; round < 1000; ++round) seen.insert(random.below(6));
  EXPECT_EQ(seen, (std::set<std::uint64_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(random.below(1), 0U);
  EXPECT_EQ(random.below(0), 0U);
}

TEST(Random, hex_ids_have_two_lower_case_digits_per_byte_and_differ) {
  const std::string id = random_hex(12);
  EXPECT_EQ(id.size(), 24U);
  EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_NE(random_hex(12), random_hex(12));
  EXPECT_EQ(random_hex(0), "");
  EXPECT_NE(random_seed(), random_seed());
}

TEST(Random, a_process_and_the_one_it_forks_off_draw_different_ids) {
  (void)random_hex(1);  // what is drawn ahead now must not be drawn twice
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string id = random_hex(12);
    ::_exit(::write(pipe[1], id.data(), id.size()) == 24 ? 0 : 1);
  }
  ASSERT_GT(child, 0);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  std::string of_child(24, ' ');
  ASSERT_EQ(::read(pipe[0], of_child.data(), of_child.size()), 24);
  EXPECT_NE(of_child, random_hex(12));
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST(Clock, the_steady_clock_never_goes_back_and_a_sleep_lasts_long_enough) {
  const SteadyTime before = system_clock().steady_now();
  sleep_for(2ms);  // what is tested here
  EXPECT_GE(system_clock().steady_now() - before, 2ms);
}

TEST(Clock, the_wall_clock_is_past_the_day_this_was_written) {
  using std::chrono::year;
  const WallTime written = std::chrono::sys_days(year{2025} / 1 / 1);
  EXPECT_GT(system_clock().wall_now(), written);
}

TEST(AssertDeathTest, a_broken_promise_names_condition_and_place_and_aborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const int events = 0;
  EXPECT_DEATH(DAGVERK_ASSERT(events > 0), "assertion failed: events > 0\n  at .*base_test.cpp:[0-9]+ in ");
  EXPECT_DEATH((void)random_hex(65), "assertion failed: size_bytes <= 64");
}

TEST(Assert, a_kept_promise_costs_one_evaluation) {
  int evaluations = 0;
  DAGVERK_ASSERT(++evaluations == 1);
  EXPECT_EQ(evaluations, 1);
}

}  // namespace
}  // namespace dagverk
