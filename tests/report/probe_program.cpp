// A test program for the tests of reports: some of its tests pass, some fail, some kill it. It has a main of its own,
// and five formatters that are no good.

#include "dagverk/event/event_handler.hpp"
#include "dagverk/report/gtest.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace {

TEST(Good, passes) { SUCCEED(); }
TEST(Good, passes_too) { SUCCEED(); }

TEST(Bad, fails_twice) {
  EXPECT_EQ(1, 2) << "first <&> \"quoted\"";
  EXPECT_EQ(3, 4);
}
TEST(Bad, skips) { GTEST_SKIP() << "no # printer"; }
TEST(Bad, DISABLED_never) { FAIL(); }
TEST(Bad, says_odd_bytes) { ADD_FAILURE() << "bell \x07, not UTF-8 \xff\xc0\x80, end ]]> \xf0\x9f\x98\x80"; }
TEST(Bad, says_much) { ADD_FAILURE() << std::string(std::size_t{3} << 20U, 'x'); }

TEST(AllDisabled, DISABLED_never) { FAIL(); }

class BadSetUp : public testing::Test {
 public:
  static void SetUpTestSuite() { ADD_FAILURE() << "no database"; }
};
TEST_F(BadSetUp, passes_by_itself) { SUCCEED(); }

/// By the signal's own action, whatever a sanitizer does with it.
void die_of(int signal) {
  static_cast<void>(std::signal(signal, SIG_DFL));
  static_cast<void>(std::raise(signal));
}

TEST(Crash, before) { SUCCEED(); }
TEST(Crash, segfaults) {
  ADD_FAILURE() << "said before the crash";
  die_of(SIGSEGV);
}
TEST(Crash, aborts) {
  static_cast<void>(std::signal(SIGABRT, SIG_DFL));
  std::abort();
}
TEST(Crash, is_killed) { die_of(SIGKILL); }
TEST(Crash, is_killed_with_its_guard) {
  ::kill(::getppid(), SIGKILL);
  for (;;) ::pause();
}
TEST(Crash, leaves_by_exit) { ::_exit(3); }
TEST(Crash, leaves_a_child_behind) {
  if (::fork() == 0) {
    ADD_FAILURE() << "told by a fork";
    for (const int file : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::close(file);
    ::alarm(5);  // outlives the tests by far, and nobody waits for it
    ::pause();
    ::_exit(0);
  }
  ::_exit(3);
}
TEST(Crash, zzz_never_runs) { SUCCEED(); }

TEST(Signals, reach_the_tests) {
  static volatile std::sig_atomic_t seen = 0;
  static_cast<void>(std::signal(SIGTERM, [](int) { seen = 1; }));
  ::kill(::getppid(), SIGTERM);
  while (seen == 0) ::poll(nullptr, 0, 10);  // a call in which the thread sanitizer, too, lets a signal through
  EXPECT_EQ(std::getenv("DAGVERK_REPORT"), nullptr);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "the tests have a child that is not theirs";
}

TEST(DyingForks, fast) { EXPECT_DEATH(std::abort(), ""); }
TEST(DyingForks, in_a_new_program) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(std::abort(), "");
}

class Empty : public testing::TestWithParam<int> {};
TEST_P(Empty, test) {}
INSTANTIATE_TEST_SUITE_P(Ten, Empty, testing::Range(0, 10000));

/// Throws at the first test that ends.
class Clumsy : public dagverk::EventHandler<dagverk::TestEvent> {
 public:
  void handle_event(const dagverk::TestEvent& event) {
    if (std::holds_alternative<dagverk::TestFinished>(event)) throw std::runtime_error("dropped a\ntray");
  }
};

class Unready : public dagverk::EventHandler<dagverk::TestEvent> {
 public:
  void init() { throw std::runtime_error("not today"); }
  void handle_event(const dagverk::TestEvent& /*event*/) {}
};

/// Takes the reporter with it.
class Deadly : public dagverk::EventHandler<dagverk::TestEvent> {
 public:
  void handle_event(const dagverk::TestEvent& /*event*/) { ::_exit(1); }
};

/// Crashes, and takes the reporter with it.
class Wild : public dagverk::EventHandler<dagverk::TestEvent> {
 public:
  void handle_event(const dagverk::TestEvent& event) {
    if (std::holds_alternative<dagverk::TestFinished>(event)) static_cast<void>(std::raise(SIGSEGV));
  }
};

/// Never comes back from the first test that ends.
class Hanging : public dagverk::EventHandler<dagverk::TestEvent> {
 public:
  void handle_event(const dagverk::TestEvent& event) {
    while (std::holds_alternative<dagverk::TestFinished>(event)) ::pause();
  }
};

/// A formatter without a file.
template <class Formatter>
dagverk::NamedFormatter own(const std::string& name) {
  return {.name = name, .takes_path = false, .make = [name](const std::string& /*path*/) {
            return dagverk::event_handler<Formatter>(name, dagverk::formatter_options());
          }};
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  std::vector<dagverk::NamedFormatter> known = dagverk::built_in_formatters();
  known.push_back(own<Clumsy>("clumsy"));
  known.push_back(own<Unready>("unready"));
  known.push_back(own<Deadly>("deadly"));
  known.push_back(own<Wild>("wild"));
  known.push_back(own<Hanging>("hanging"));
  dagverk::report_google_tests(known);
  return RUN_ALL_TESTS();
}
