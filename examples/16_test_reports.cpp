// A GoogleTest program with reports, and a formatter of its own: DAGVERK_REPORT=dots,junit:out.xml example_16_test_reports

#include "dagverk/event/event_handler.hpp"
#include "dagverk/report/gtest.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <vector>

TEST(Sum, of_two_numbers) { EXPECT_EQ(1 + 2, 3); }
TEST(Sum, of_many_numbers) { EXPECT_EQ(1 + 2 + 3 + 4, 10); }

class Dots : public dagverk::EventHandler<dagverk::TestEvent> {
 public:
  void handle_event(const dagverk::TestEvent& event) {
    const auto* test = std::get_if<dagverk::TestFinished>(&event);
    if (test != nullptr) std::fputc(test->state == dagverk::TestState::passed ? '.' : 'F', stdout);
    if (std::holds_alternative<dagverk::SuiteFinished>(event)) std::puts("");
    std::fflush(stdout);
  }
};

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  std::vector<dagverk::NamedFormatter> formatters = dagverk::built_in_formatters();
  formatters.push_back({.name = "dots", .takes_path = false, .make = [](const std::string& /*path*/) {
                          return dagverk::event_handler<Dots>("dots", dagverk::formatter_options());
                        }});
  dagverk::report_google_tests(formatters);
  return RUN_ALL_TESTS();
}
