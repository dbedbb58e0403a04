#include "dagverk/report/catch2.hpp"

#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

#include <string>

int main(int argc, char** argv) {
  Catch::Session session;
  if (const int wrong = session.applyCommandLine(argc, argv); wrong != 0) return wrong;
  Catch::ConfigData& wanted = session.configData();
  if (wanted.showHelp || wanted.listTests || wanted.listTags || wanted.listReporters) return session.run();
  for (const std::string& test : dagverk::failed_catch_tests()) wanted.testsOrTags.push_back(test);
  dagverk::report_catch_tests();
  return session.run();
}
