// The parts of reports: statistics, the manifest, the stream of records, texts.

#include "report/event_assembler.hpp"
#include "report/record_channel.hpp"
#include "report/test_record.hpp"
#include "report/text.hpp"

#include "dagverk/event/serial_event_manager.hpp"
#include "dagverk/event/supervised_event_manager.hpp"
#include "dagverk/report/formatters.hpp"
#include "dagverk/report/test_recorder.hpp"
#include "dagverk/report/test_statistics.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <latch>
#include <map>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace dagverk {
namespace {

using detail::EventAssembler;
using detail::RecordKind;
using detail::RecordReader;
using detail::TestRecord;

/// Notes what it sees, in short.
class Noting : public EventHandler<TestEvent> {
 public:
  explicit Noting(std::vector<std::string>* seen) : seen_(*seen) {}
  void handle_event(const TestEvent& event) {
    static constexpr const char* names[] = {"suite started", "case started",  "test started",
                                            "test finished", "case finished", "suite finished"};
    seen_.emplace_back(names[event.index()]);
  }

 private:
  std::vector<std::string>& seen_;
};

TestFinished ended(std::string name, TestState state) {
  return {.test_case = "Case", .name = std::move(name), .state = state};
}

std::string encoded(const TestRecord& record) {
  std::string bytes(detail::encoded_size(record), '\0');
  detail::encode(record, bytes.data());
  return bytes;
}

class Manifests : public testing::Test {
 protected:
  ~Manifests() override { ::unlink(path_.c_str()); }

  void run(const std::vector<TestFinished>& tests, bool wanted = true) {
    DeterministicRuntime runtime;
    SupervisedEventManager<TestEvent> events(runtime);
    FormatterSpec manifest = failure_manifest(path_);
    manifest.options.blocking = false;
    if (wanted) {
      ASSERT_TRUE(events.add_handler_blocking(std::move(manifest)));
    }
    for (const TestFinished& test : tests) events.notify(test);
    events.notify(SuiteFinished{});
    ASSERT_TRUE(events.stop_blocking());
  }

  std::string path_ = ::testing::TempDir() + "dagverk_manifest_" + std::to_string(::getpid());
};

TEST(TestEvents, CC_EXU_004_an_event_reaches_handlers_of_the_serial_manager_and_formatters) {
  DeterministicRuntime runtime;
  SerialEventManager<TestEvent> old_style(runtime);
  SupervisedEventManager<TestEvent> formatters(runtime);
  std::vector<std::string> old_seen;
  std::vector<std::string> seen;
  ASSERT_TRUE(old_style.add_handler_blocking(event_handler<Noting>("old", {}, &old_seen)));
  ASSERT_TRUE(formatters.add_handler_blocking(event_handler<Noting>("new", {}, &seen)));
  for (EventManager<TestEvent>* manager :
       {static_cast<EventManager<TestEvent>*>(&old_style), static_cast<EventManager<TestEvent>*>(&formatters)}) {
    manager->notify(TestEvent(TestStarted{.name = "one"}));
  }
  runtime.run_until_idle();
  EXPECT_EQ(old_seen, std::vector<std::string>{"test started"});
  EXPECT_EQ(seen, old_seen);
}

TEST(TestEvents, CC_EXU_005_a_case_starts_just_before_its_first_test) {
  EventAssembler assembler("program", {}, {});
  assembler.add({.kind = RecordKind::suite_started, .number = 1, .a = "GoogleTest"});
  assembler.add({.kind = RecordKind::case_started, .a = "Case"});
  assembler.add({.kind = RecordKind::test_started, .a = "Case", .b = "test"});
  assembler.add({.kind = RecordKind::test_finished});
  assembler.add({.kind = RecordKind::case_finished, .a = "Case"});
  assembler.add({.kind = RecordKind::suite_finished});
  const SuiteFinished last = assembler.end({}, "", 0);
  DeterministicRuntime runtime;
  SupervisedEventManager<TestEvent> events(runtime);
  std::vector<std::string> seen;
  ASSERT_TRUE(events.add_handler_blocking(event_handler<Noting>("noting", {}, &seen)));
  events.notify(assembler.take());
  events.notify(last);
  runtime.run_until_idle();
  EXPECT_EQ(seen, (std::vector<std::string>{"suite started", "case started", "test started", "test finished",
                                            "case finished", "suite finished"}));
}

TEST(TestEvents, CC_EXU_006_statistics_count_each_state) {
  DeterministicRuntime runtime;
  SupervisedEventManager<TestEvent> events(runtime);
  ASSERT_TRUE(events.add_handler_blocking(event_handler<TestStatistics>("statistics")));
  const auto notify = [&](int times, TestState state) {
    while (times-- > 0) events.notify(ended("test", state));
  };
  notify(4, TestState::passed);
  notify(2, TestState::failed);
  notify(1, TestState::skipped);
  notify(1, TestState::excluded);
  notify(1, TestState::invalid);
  const auto counts = events.call_blocking<TestStatistics, TestStatistics::Counts>("statistics");
  ASSERT_TRUE(counts);
  EXPECT_EQ(*counts, (TestCounts{.total = 9, .failures = 3, .skipped = 1, .excluded = 1}));
  EXPECT_EQ(counts->passed(), 4U);
}

TEST(TestEvents, a_case_that_fails_outside_of_its_tests_fails_those_that_passed) {
  TestCounter counter;
  counter.count(CaseStarted{});
  counter.count(ended("one", TestState::passed));
  counter.count(ended("two", TestState::failed));
  counter.count(CaseFinished{.failures = {{.message = "tear-down"}}});
  counter.count(CaseStarted{});
  counter.count(ended("three", TestState::passed));
  counter.count(CaseFinished{});
  EXPECT_EQ(counter.counts(), (TestCounts{.total = 3, .failures = 2}));
}

TEST(TestEvents, CC_EXU_008_raising_the_failure_counter_returns_what_it_was) {
  DeterministicRuntime runtime;
  SupervisedEventManager<TestEvent> events(runtime);
  ASSERT_TRUE(events.add_handler_blocking(event_handler<TestStatistics>("statistics")));
  for (const std::uint64_t before : {0U, 1U}) {
    const auto was = events.call_blocking<TestStatistics, TestStatistics::IncrementFailureCounter>("statistics");
    ASSERT_TRUE(was);
    EXPECT_EQ(*was, before);
  }
  const auto now = events.call_blocking<TestStatistics, TestStatistics::FailureCounter>("statistics");
  ASSERT_TRUE(now);
  EXPECT_EQ(*now, 2U);
}

TEST_F(Manifests, CC_EXU_009_is_written_when_asked_for_and_merged_with_the_run_before) {
  run({ended("a", TestState::failed)}, false);
  EXPECT_EQ(read_failure_manifest(path_).error().code(), ErrorCode::not_found);

  run({ended("a", TestState::failed), ended("b", TestState::crashed), ended("c", TestState::passed)});
  EXPECT_EQ(read_failure_manifest(path_), (std::vector<std::string>{"Case.a", "Case.b"}));

  run({ended("a", TestState::passed), ended("c", TestState::failed)});
  EXPECT_EQ(read_failure_manifest(path_), (std::vector<std::string>{"Case.b", "Case.c"})) << "b was not run";
}

TEST(TestRecords, come_out_as_they_went_in_however_the_stream_is_cut) {
  const std::string stream =
      encoded(
          {.kind = RecordKind::test_started, .steady_ns = 7, .number = 42, .a = "Case", .b = "test", .c = "a.cpp"}) +
      encoded({.kind = RecordKind::test_finished, .state = TestState::skipped, .a = "why"});
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    RecordReader reader;
    std::vector<std::string> seen;
    for (const std::string& piece : {stream.substr(0, cut), stream.substr(cut)}) {
      reader.add(piece);
      while (const auto record = reader.next()) {
        seen.push_back(std::string(record->a) + "|" + std::string(record->b) + "|" + std::string(record->c) + "|" +
                       std::to_string(record->number) + std::string(to_string(record->state)));
      }
    }
    EXPECT_EQ(seen, (std::vector<std::string>{"Case|test|a.cpp|42passed", "why|||0skipped"})) << cut;
  }
}

TEST(TestRecords, bytes_that_are_no_record_end_the_stream) {
  for (const std::string& bytes : {std::string(64, '\0'), std::string(64, '\xff')}) {
    RecordReader reader;
    reader.add(bytes);
    EXPECT_FALSE(reader.next());
    EXPECT_TRUE(reader.broken());
  }
}

TEST(TestRecords, whenever_the_sender_dies_the_tail_completes_what_was_sent) {
  const detail::SharedTail tail = std::move(detail::SharedTail::make().value());
  std::copy_n("abcdef", 6, tail->data);
  tail->base = 100;
  tail->length = 6;
  EXPECT_EQ(tail->after(100), "abcdef") << "nothing of it was sent";
  EXPECT_EQ(tail->after(104), "ef") << "it died while it sent";
  tail->length = 0;
  EXPECT_EQ(tail->after(106), "") << "all was sent, it died before it raised the base";
  tail->base = 106;
  EXPECT_EQ(tail->after(106), "");
}

TEST(TestRecords, what_threads_tell_at_once_arrives_whole_and_in_each_ones_order) {
  constexpr std::uint32_t threads = 4;
  constexpr std::uint32_t each = 5000;  // a megabyte: sent in many pieces, some of them in the middle of a record
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  std::map<std::string, std::uint32_t> seen;
  RecordReader reader;
  std::thread receiver([&] {
    char bytes[65536];
    for (ssize_t size = 0; (size = ::recv(ends[0], bytes, sizeof bytes, 0)) > 0;) {
      reader.add(std::string_view(bytes, static_cast<std::size_t>(size)));
      while (const auto record = reader.next()) {
        if (record->kind == RecordKind::suite_finished) continue;
        std::uint32_t& count = seen[std::string(record->a)];
        if (record->b == std::to_string(count)) ++count;
      }
    }
  });
  {
    detail::RecordWriter writer(std::move(detail::SharedTail::make().value()), ends[1]);
    std::vector<std::thread> tellers;
    for (std::uint32_t teller = 0; teller < threads; ++teller) {
      tellers.emplace_back([&writer, name = "teller " + std::to_string(teller)] {
        for (std::uint32_t index = 0; index < each; ++index) writer.test_excluded(name, std::to_string(index));
      });
    }
    for (std::thread& teller : tellers) teller.join();
    writer.suite_finished();
  }
  receiver.join();
  ::close(ends[0]);
  EXPECT_FALSE(reader.broken());
  EXPECT_EQ(seen.size(), threads);
  for (const auto& [name, count] : seen) EXPECT_EQ(count, each) << name;
}

TEST(TestRecords, a_run_takes_its_time_from_the_tests_not_from_a_reporter_that_is_ready_later) {
  EventAssembler assembler("program", WallTime(Duration(5'000)), SteadyTime(Duration(900)));
  assembler.add({.kind = RecordKind::suite_started, .steady_ns = 100});
  assembler.add({.kind = RecordKind::suite_finished, .steady_ns = 350});
  EXPECT_EQ(assembler.end(SteadyTime(Duration(1'000)), "", 0).elapsed, Duration(250));
  EXPECT_EQ(std::get<SuiteStarted>(assembler.take()[0]).started, WallTime(Duration(4'200)));
}

TEST(TestRecords, a_run_that_ends_in_the_middle_is_completed) {
  EventAssembler assembler("program", {}, {});
  assembler.add({.kind = RecordKind::suite_started, .number = 5, .a = "GoogleTest"});
  assembler.add({.kind = RecordKind::case_started, .a = "Case"});
  assembler.add({.kind = RecordKind::test_started, .steady_ns = 10, .a = "Case", .b = "test"});
  assembler.add({.kind = RecordKind::failed, .a = "a.cpp", .b = "early"});
  const SuiteFinished last = assembler.end(SteadyTime(Duration(25)), "SIGSEGV", 0);
  const Batch<TestEvent> events = assembler.take();
  ASSERT_EQ(events.size(), 5U);
  const auto& test = std::get<TestFinished>(events[3]);
  EXPECT_EQ(test.state, TestState::crashed);
  EXPECT_EQ(test.reason, "SIGSEGV");
  EXPECT_EQ(test.elapsed, Duration(15));
  EXPECT_EQ(test.failures.at(0).message, "early");
  EXPECT_EQ(std::get<CaseFinished>(events[4]).name, "Case");
  EXPECT_EQ(last.not_run, 4U);
  EXPECT_EQ(last.crash, "SIGSEGV");
}

TEST(TestRecords, events_that_nobody_wants_are_not_built) {
  EventAssembler assembler("program", {}, {});
  assembler.want(EventKinds::of<TestEvent, TestFinished>());
  assembler.add({.kind = RecordKind::case_started, .a = "Case"});
  assembler.add({.kind = RecordKind::test_started, .a = "Case", .b = "test"});
  EXPECT_EQ(assembler.size(), 0U);
  assembler.add({.kind = RecordKind::test_finished});
  const Batch<TestEvent> events = assembler.take();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(std::get<TestFinished>(events[0]).name, "test");
}

TEST(Reporter, is_not_split_off_once_there_are_threads) {
  std::latch done(1);
  std::thread first([&] { done.wait(); });
  std::thread second([&] { done.wait(); });
  const auto recorder = split_off_reporter({.formatters = {}, .program = "program"});
  done.count_down();
  first.join();
  second.join();
  ASSERT_FALSE(recorder);
  EXPECT_EQ(recorder.error().code(), ErrorCode::wrong_thread);
}

TEST(ReportTexts, are_sound_whatever_goes_in) {
  EXPECT_EQ(detail::printable("a\tb\nc\x1b[31m\x7f", false), "a\tb\nc\\x1b[31m\\x7f");
  EXPECT_EQ(detail::printable("a\nb", true), "a\\nb");
  EXPECT_EQ(detail::printable("\xc3\xa9 \xed\xa0\x80 \xef\xbf\xbf \xc2\x85"),
            "\xc3\xa9 \\xed\\xa0\\x80 \\xef\\xbf\\xbf \\xc2\\x85")
      << "surrogates, non-characters and the second block's controls are no text";
  EXPECT_EQ(detail::xml_text("<a b=\"&\">\n"), "&lt;a b=&quot;&amp;&quot;&gt;&#10;");
  EXPECT_EQ(detail::json_text("\"\\\n\x01\xff"), "\"\\\"\\\\\\n\\u0001\\\\xff\"");
  std::string tap = "# ";
  detail::append_tap(tap, "a # b \\ c\n");
  EXPECT_EQ(tap, "# a \\# b \\\\ c\\\\n");
  std::string times;
  for (const std::int64_t us : {-1L, 0L, 499L, 500L, 1'999'999L, 3'600'000'000L}) {
    detail::append_seconds(times += ' ', Duration(us * 1000));
  }
  EXPECT_EQ(times, " 0.000 0.000 0.000 0.001 2.000 3600.000");
}

}  // namespace
}  // namespace dagverk
