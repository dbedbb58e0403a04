#include "dagverk/report/catch2.hpp"

#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

#include <string>
#include <vector>

namespace {

/// Whether the command line asks for something else than tests. Catch2 v2 and v3 have different wishes.
template <class Config>
bool only_lists(const Config& config) {
  bool lists = config.showHelp || config.listTests || config.listTags || config.listReporters;
  if constexpr (requires { config.listListeners; }) lists = lists || config.listListeners;
  if constexpr (requires { config.listTestNamesOnly; }) lists = lists || config.listTestNamesOnly;
  if constexpr (requires { config.libIdentify; }) lists = lists || config.libIdentify;
  return lists;
}

}  // namespace

int main(int argc, char** argv) {
  Catch::Session session;
  if (const int wrong = session.applyCommandLine(argc, argv); wrong != 0) return wrong;
  Catch::ConfigData& wanted = session.configData();
  if (only_lists(wanted)) return session.run();
  if (std::vector<std::string> failed = dagverk::failed_catch_tests(); !failed.empty()) wanted.testsOrTags = failed;
  dagverk::report_catch_tests();
  return session.run();
}
