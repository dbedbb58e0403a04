// Real test programs that pass, fail and crash, and what their reports say.

#include "support/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace dagverk {
namespace {

struct Ended {
  int status = 0;
  std::string output;  ///< standard output and error, until the last process that has them is gone

  [[nodiscard]] bool says(std::string_view text) const { return output.find(text) != std::string::npos; }
  [[nodiscard]] int exit_status() const { return WIFEXITED(status) ? WEXITSTATUS(status) : -1; }
  [[nodiscard]] int signal() const { return WIFSIGNALED(status) ? WTERMSIG(status) : 0; }
};

Ended run(const std::string& command) {
  Ended ended;
  std::FILE* output = ::popen(("exec 2>&1; exec " + command).c_str(), "r");
  if (output == nullptr) return ended;
  char bytes[4096];
  for (std::size_t size = 0; (size = std::fread(bytes, 1, sizeof bytes, output)) != 0;)
    ended.output.append(bytes, size);
  ended.status = ::pclose(output);
  return ended;
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::size_t count(std::string_view text, std::string_view what) {
  std::size_t found = 0;
  for (std::size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

class Reports : public testing::Test {
 protected:
  [[nodiscard]] std::string path(const std::string& name) const { return folder_.file(name); }
  /// Runs the tests of the probe that `filter` chooses.
  [[nodiscard]] Ended probe(const std::string& report, const std::string& filter, const std::string& more = "") const {
    return run("env -u GTEST_FILTER -u GTEST_SHARD_INDEX -u GTEST_TOTAL_SHARDS DAGVERK_REPORT='" + report + "' " +
               more + " " + DAGVERK_REPORT_PROBE + (filter.empty() ? "" : " --gtest_filter='" + filter + "'"));
  }
  /// The JUnit report, which is valid.
  [[nodiscard]] std::string junit(const std::string& file) const {
    if (std::string_view(DAGVERK_XMLLINT).find("NOTFOUND") == std::string_view::npos) {
      const Ended check =
          run(std::string(DAGVERK_XMLLINT) + " --noout --schema " + DAGVERK_JUNIT_SCHEMA + " " + path(file));
      EXPECT_EQ(check.exit_status(), 0) << check.output;
    }
    return contents(path(file));
  }

 private:
  TemporaryFolder folder_;
};

TEST_F(Reports, all_formatters_report_the_same_run) {
  const Ended run = probe("console,junit:" + path("out.xml") + ",tap:" + path("out.tap") +
                              ",jsonl:" + path("out.jsonl") + ",failed:" + path("failed.txt"),
                          "Good.*:Bad.fails_twice:Bad.skips:Bad.DISABLED_never:AllDisabled.*:BadSetUp.*");
  EXPECT_EQ(run.exit_status(), 1);

  EXPECT_TRUE(run.says("ok   Good (2 tests")) << run.output;
  EXPECT_TRUE(run.says("FAIL Bad.fails_twice")) << run.output;
  EXPECT_TRUE(run.says("  EXPECT_EQ(1, 2) << \"first <&> ")) << "the source around the failure:\n" << run.output;
  EXPECT_TRUE(run.says("SKIP Bad.skips: no # printer")) << run.output;
  EXPECT_TRUE(run.says("FAILED: 5 tests in ")) << run.output;
  EXPECT_TRUE(run.says("2 passed, 2 failed, 1 skipped, 2 disabled, 0 not run")) << run.output;
  EXPECT_FALSE(run.says("[ RUN ")) << "GoogleTest's own output";
  EXPECT_FALSE(run.says("\033[")) << "colours, and this is no terminal";

  const std::string xml = junit("out.xml");
  EXPECT_EQ(count(xml, "<testsuite "), 4U) << xml;
  EXPECT_EQ(count(xml, "<skipped/>"), 3U) << xml;
  EXPECT_EQ(count(xml, "<failure "), 1U) << xml;
  EXPECT_EQ(count(xml, "&lt;&amp;&gt; &quot;quoted&quot;"), 1U) << xml;
  EXPECT_EQ(count(xml, "(outside of its tests)"), 1U) << xml;

  const std::string tap = contents(path("out.tap"));
  EXPECT_TRUE(tap.starts_with("TAP version 14\n")) << tap;
  EXPECT_EQ(count(tap, "\nok "), 5U) << tap;
  EXPECT_EQ(count(tap, "\nnot ok "), 3U) << tap;
  EXPECT_EQ(count(tap, "# SKIP no # printer\n"), 1U) << tap;
  EXPECT_TRUE(tap.ends_with("1..8\n")) << tap;

  const std::string lines = contents(path("out.jsonl"));
  EXPECT_TRUE(lines.starts_with("{\"event\":\"suite_started\",\"program\":\"report_probe\"")) << lines;
  EXPECT_EQ(count(lines, "\"event\":\"test_started\""), 5U) << lines;
  EXPECT_EQ(count(lines, "\"event\":\"test_finished\""), 7U) << lines;
  EXPECT_EQ(count(lines, "\"event\":\"suite_finished\""), 1U) << lines;
  EXPECT_EQ(count(contents(path("failed.txt")), "\nBad.fails_twice\n"), 1U);
}

TEST_F(Reports, without_a_wish_nothing_changes) {
  const Ended plain = probe("", "Good.*");
  EXPECT_EQ(plain.exit_status(), 0);
  EXPECT_TRUE(plain.says("[  PASSED  ] 2 tests.")) << plain.output;
  const Ended listed =
      run("env DAGVERK_REPORT=console " DAGVERK_REPORT_PROBE " --gtest_list_tests --gtest_filter='Good.*'");
  EXPECT_TRUE(listed.says("Good.\n  passes\n  passes_too\n")) << listed.output;
}

TEST_F(Reports, a_crash_leaves_every_report_complete_and_names_the_signal) {
  struct Case {
    const char* test;
    int signal;
    int exit_status;
    const char* reason;
  };
  for (const Case& crash :
       {Case{"segfaults", SIGSEGV, -1, "SIGSEGV"}, Case{"aborts", SIGABRT, -1, "SIGABRT"},
        Case{"is_killed", SIGKILL, -1, "SIGKILL"}, Case{"is_killed_with_its_guard", SIGKILL, -1, "SIGKILL"},
        Case{"leaves_by_exit", 0, 3, "exit(3)"}, Case{"leaves_a_child_behind", 0, 3, "exit(3)"}}) {
    SCOPED_TRACE(crash.test);
    const std::string name = crash.test;
    const Ended run = probe("console:" + path("console.txt") + ",junit:" + path("out.xml") + ",tap:" + path("out.tap") +
                                ",jsonl:" + path("out.jsonl") + ",failed:" + path("failed.txt"),
                            "Crash.before:Crash." + name + ":Crash.zzz_never_runs");
    EXPECT_EQ(run.signal(), crash.signal) << run.output;
    EXPECT_EQ(run.exit_status(), crash.exit_status) << run.output;
    const std::string xml = junit("out.xml");
    EXPECT_TRUE(xml.ends_with("</testsuites>\n")) << xml;
    EXPECT_EQ(count(xml, "<testcase name=\"before\" classname=\"Crash\""), 1U) << xml;
    EXPECT_EQ(count(xml, std::string("the test program ended in this test: ") + crash.reason),
              1U + (name != "segfaults"))
        << xml;
    EXPECT_EQ(count(xml, "said before the crash"), name == "segfaults" ? 2U : 0U) << xml;
    EXPECT_EQ(count(xml, "told by a fork"), 0U) << xml;
    const std::string text = contents(path("console.txt"));
    EXPECT_EQ(count(text, "CRASH Crash." + name), 1U) << text;
    EXPECT_EQ(count(text, "1 not run"), 1U) << text;
    EXPECT_EQ(count(contents(path("out.tap")), std::string("Bail out! the test program ended with ") + crash.reason),
              1U);
    EXPECT_EQ(count(contents(path("out.jsonl")), "\"state\":\"crashed\""), 1U);
    EXPECT_EQ(count(contents(path("failed.txt")), "Crash." + name + "\n"), 1U);
  }
}

TEST_F(Reports, only_what_failed_is_run_again) {
  const std::string manifest = path("failed.txt");
  EXPECT_EQ(probe("failed:" + manifest, "Bad.fails_twice:Good.*:BadSetUp.*").exit_status(), 1);
  const Ended again = probe("console,failed:" + manifest, "", "DAGVERK_REPORT_RERUN=" + manifest);
  EXPECT_TRUE(again.says("report_probe: 2 tests")) << again.output;
  const Ended missing = probe("console", "", "DAGVERK_REPORT_RERUN=/nowhere/failed.txt");
  EXPECT_EQ(missing.exit_status(), 2);
  EXPECT_TRUE(missing.says("DAGVERK_REPORT_RERUN must name a file that DAGVERK_REPORT=failed:PATH has written"))
      << missing.output;
}

TEST_F(Reports, a_formatter_that_throws_is_dropped_and_the_run_says_so) {
  const Ended run = probe("clumsy,unready,tap", "Good.*:Bad.fails_twice");
  EXPECT_EQ(run.exit_status(), 1);
  EXPECT_TRUE(run.says("report: the formatter clumsy was dropped after ")) << run.output;
  EXPECT_TRUE(run.says("dropped a\\ntray")) << run.output;
  EXPECT_TRUE(run.says("report: the formatter unready could not start")) << run.output;
  EXPECT_TRUE(run.says("\n1..3\n")) << "the others go on:\n" << run.output;
}

TEST_F(Reports, a_formatter_that_crashes_ends_the_reports_not_the_tests_and_the_run_says_so) {
  const Ended run = probe("deadly,junit:" + path("out.xml"), "Good.*:Bad.fails_twice");
  EXPECT_EQ(run.exit_status(), 1) << run.output;
  EXPECT_TRUE(run.says("3 tests from 2 test suites ran.")) << run.output;
  EXPECT_TRUE(run.says("report: the reporter has ended early, while at work: ")) << run.output;
  EXPECT_TRUE(run.says("deadly")) << run.output;

  const Ended crashed = probe("tap:" + path("out.tap") + ",wild", "Good.*");
  EXPECT_EQ(crashed.exit_status(), 0) << crashed.output;
  EXPECT_TRUE(crashed.says("report: the formatter wild has crashed (SIGSEGV) and taken the reporter with it"))
      << crashed.output;
}

TEST_F(Reports, a_formatter_that_hangs_is_waited_for_as_long_as_the_run_says_and_named) {
  const Ended run = probe("hanging,tap", "Good.*", "DAGVERK_REPORT_LIMIT_MS=100");
  EXPECT_EQ(run.exit_status(), 0) << run.output;
  EXPECT_TRUE(run.says("report: the formatter hanging hangs, its report is not complete; ")) << run.output;
  EXPECT_TRUE(run.says("\n1..2\n")) << "the others are not hurt:\n" << run.output;
  for (const char* wrong : {"soon", "0", "-1", "1.5", "99999999999999999999", "3600001"}) {
    const Ended refused = probe("tap", "Good.*", std::string("DAGVERK_REPORT_LIMIT_MS=") + wrong);
    EXPECT_EQ(refused.exit_status(), 2) << wrong;
    EXPECT_TRUE(refused.says("DAGVERK_REPORT_LIMIT_MS must be 1 to 3600000 milliseconds, got ")) << refused.output;
  }
}

TEST_F(Reports, the_frameworks_own_output_gives_way_only_to_one_on_standard_output) {
  for (const char* alone : {"console", "tap", "jsonl"}) EXPECT_FALSE(probe(alone, "Good.*").says("[ RUN ")) << alone;
  EXPECT_TRUE(probe("console:" + path("console.txt") + ",tap:" + path("out.tap"), "Good.*").says("[ RUN "));
}

TEST_F(Reports, a_full_disk_loses_that_report_and_says_so) {
  const Ended run = probe("junit:/dev/full,tap", "Good.*");
  EXPECT_EQ(run.exit_status(), 0);
  EXPECT_TRUE(run.says("the formatter junit was dropped")) << run.output;
  EXPECT_TRUE(run.says("cannot write /dev/full: No space left on device; free some space")) << run.output;
  EXPECT_TRUE(run.says("\n1..2\n")) << run.output;
}

TEST_F(Reports, a_wrong_wish_ends_the_program_before_its_first_test) {
  struct Wrong {
    const char* report;
    const char* says;
  };
  for (const Wrong& wrong :
       {Wrong{"consol", "there is no such formatter; known are console, junit:PATH, tap, jsonl, failed:PATH"},
        Wrong{"junit", "the file is missing; type junit:PATH"}, Wrong{"tap:", "the file is missing; type tap:PATH"},
        Wrong{"junit:/nowhere/out.xml", "cannot write this file: No such file or directory; name one in a directory"},
        Wrong{"junit:/", "cannot write this file: Is a directory"}, Wrong{"clumsy:x", "it takes no file; type clumsy"},
        Wrong{"tap:/dev/null,jsonl:/dev/null", "another formatter writes this file"}}) {
    const Ended run = probe(wrong.report, "Good.*");
    EXPECT_EQ(run.exit_status(), 2) << wrong.report;
    EXPECT_TRUE(run.says(wrong.says)) << run.output;
    EXPECT_FALSE(run.says("[ RUN ")) << run.output;
  }
}

TEST_F(Reports, odd_bytes_are_escaped_and_long_messages_cut) {
  const Ended run = probe("console,tap,junit:" + path("out.xml") + ",jsonl:" + path("out.jsonl"), "Bad.says_*");
  const std::string xml = junit("out.xml");
  EXPECT_EQ(count(xml, "bell \\x07, not UTF-8 \\xff\\xc0\\x80, end ]]&gt; \xf0\x9f\x98\x80"), 2U);
  EXPECT_EQ(count(xml, " bytes, cut]"), 1U);
  EXPECT_EQ(count(contents(path("out.jsonl")), "bell \\u0007, not UTF-8 \\\\xff\\\\xc0\\\\x80"), 1U);
  EXPECT_TRUE(run.says("bell \\x07, not UTF-8 \\xff")) << run.output.substr(0, 4000);
  for (const char* unwanted : {"\x07", "\xff"}) EXPECT_FALSE(run.says(unwanted));
}

TEST_F(Reports, tests_notice_nothing_of_guard_and_reporter) {
  const Ended run = probe("console", "Signals.*:DyingForks.*");
  EXPECT_EQ(run.exit_status(), 0) << run.output;
  EXPECT_TRUE(run.says("passed: 3 tests")) << run.output;
}

#if defined(DAGVERK_REPORT_CATCH_PROBE)
TEST_F(Reports, catch2_programs_report_too) {
  const std::string wish = "DAGVERK_REPORT='console,junit:" + path("out.xml") + ",failed:" + path("failed.txt") + "' ";
  const Ended good = run("env " + wish + DAGVERK_REPORT_CATCH_PROBE + " '[good],[bad]'");
  EXPECT_TRUE(good.exit_status() == 3 || good.exit_status() == 42)
      << "the number of failed assertions for Catch2 v2, 42 for v3:\n"
      << good.output;
  EXPECT_TRUE(good.says("FAIL catch_probe_program.fails twice")) << good.output;
  EXPECT_TRUE(good.says(": 3 tests in ")) << good.output;
  const std::string xml = junit("out.xml");
  EXPECT_EQ(count(xml, "<testcase name=\"passes, with a comma\" classname=\"catch_probe_program\""), 1U) << xml;
  EXPECT_EQ(count(xml, "CHECK( 2 == 4 )&#10;what was tried"), 1U) << xml;

  const Ended again = run("env DAGVERK_REPORT_RERUN=" + path("failed.txt") + " " + DAGVERK_REPORT_CATCH_PROBE);
  EXPECT_TRUE(again.says("test cases: 2 | 2 failed")) << again.output;

  const Ended listed = run("env " + wish + DAGVERK_REPORT_CATCH_PROBE + " --list-tests");
  EXPECT_FALSE(listed.says("passed: ")) << "no report for a list:\n" << listed.output;
  if (listed.says("skips")) {  // Catch2 v3
    const Ended skip = run("env " + wish + DAGVERK_REPORT_CATCH_PROBE + " '[skip]'");
    EXPECT_TRUE(skip.says("SKIP catch_probe_program.skips: no printer")) << skip.output;
  }

  const Ended crash = run("env " + wish + DAGVERK_REPORT_CATCH_PROBE + " '[good],[crash]'");
  EXPECT_EQ(crash.signal(), SIGABRT) << crash.output;
  EXPECT_EQ(count(junit("out.xml"), "type=\"SIGABRT\""), 1U);
  EXPECT_TRUE(crash.says("CRASH catch_probe_program.crashes")) << crash.output;
}
#endif

TEST_F(Reports, ten_thousand_tests_are_all_reported) {
  const Ended run = probe("junit:" + path("out.xml") + ",jsonl:" + path("%b-out.jsonl"), "Ten/*");
  EXPECT_EQ(run.exit_status(), 0);
  EXPECT_EQ(count(junit("out.xml"), "<testcase "), 10000U);
  EXPECT_EQ(count(contents(path("report_probe-out.jsonl")), "\"state\":\"passed\""), 10000U);
}

}  // namespace
}  // namespace dagverk
