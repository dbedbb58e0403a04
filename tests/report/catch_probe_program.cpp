// A Catch2 program for the tests of reports.

#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_test_macros.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <csignal>

TEST_CASE("passes, with a comma", "[good]") { REQUIRE(1 + 1 == 2); }

TEST_CASE("fails twice", "[bad]") {
  CHECK(1 + 1 == 3);
  SECTION("inside") {
    INFO("what was tried");
    CHECK(2 == 4);
  }
}

TEST_CASE("crashes", "[crash]") { static_cast<void>(std::raise(SIGSEGV)); }
