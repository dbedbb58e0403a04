#include "dagverk/report/gtest.hpp"

#include <gtest/gtest.h>

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  dagverk::report_google_tests();
  return RUN_ALL_TESTS();
}
