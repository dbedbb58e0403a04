// A Catch2 program for the tests of reports.

#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_test_macros.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <csignal>

// Catch2 tells listeners of a crash from its own signal handler, where nothing may be allocated; the thread sanitizer
// rightly says so, but what these tests are about comes after.
#ifdef __has_feature
#if __has_feature(thread_sanitizer)
extern "C" const char* __tsan_default_options() { return "report_signal_unsafe=0"; }
#endif
#endif

// NOLINTBEGIN(bugprone-chained-comparison): Catch2's macros are chains
TEST_CASE("passes, with a comma", "[good]") { REQUIRE(1 + 1 == 2); }

TEST_CASE("fails twice", "[bad]") {
  CHECK(1 + 1 == 3);
  SECTION("inside") {
    INFO("what was tried");
    CHECK(2 == 4);
  }
}

TEST_CASE("fails, [oddly] and \"quoted\"", "[bad]") { FAIL("at once"); }

#ifdef SKIP
TEST_CASE("skips", "[skip]") { SKIP("no printer"); }
#endif
// NOLINTEND(bugprone-chained-comparison)

TEST_CASE("crashes", "[crash]") { static_cast<void>(std::raise(SIGABRT)); }
