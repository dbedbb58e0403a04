// The pipeline on real threads: callers that race, threads that end, backends that really block, real crashes.

#include "log/line_stamps.hpp"
#include "log/thread_ring.hpp"

#include "dagverk/log/backends/file.hpp"
#include "dagverk/log/log.hpp"
#include "dagverk/runtime/runtime.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <latch>
#include <map>
#include <memory>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

struct Counts {
  std::atomic<std::uint64_t> lines{0};
  std::map<std::uint32_t, std::int64_t> last_of_thread;  // the backend's thread alone
  bool in_order = true;
};

/// Counts lines and looks at each thread's order.
class Counting final : public LogBackend {
 public:
  explicit Counting(Counts* counts) : counts_(*counts) {}
  WriteOutcome write(const LogBatch& batch) override {
    for (std::size_t index = 0; index < batch.size(); ++index) {
      const LogLine line = batch[index];
      if (line.name != "test") continue;  // a notice
      LogFields fields = line.fields;
      const std::int64_t number = fields.next()->integer();
      const auto [last, first] = counts_.last_of_thread.try_emplace(line.thread_id, -1);
      counts_.in_order = counts_.in_order && number > last->second;
      last->second = number;
      counts_.lines.fetch_add(1);
    }
    return {.written = batch.size()};
  }

 private:
  Counts& counts_;
};

/// Blocks its thread for real at its first batch.
class Stalled final : public LogBackend {
 public:
  Stalled(std::latch* inside, std::latch* release) : inside_(*inside), release_(*release) {}
  WriteOutcome write(const LogBatch& batch) override {
    if (!inside_.try_wait()) inside_.count_down();
    release_.wait();
    return {.written = batch.size()};
  }

 private:
  std::latch& inside_;
  std::latch& release_;
};

void log_from_threads(const LogPipeline& /*pipeline*/, const Log& log, int threads, int lines) {
  std::vector<std::thread> callers;
  callers.reserve(static_cast<std::size_t>(threads));
  for (int thread = 0; thread < threads; ++thread) {
    callers.emplace_back([&log, lines] {
      for (int line = 0; line < lines; ++line) log.info("line", {{"n", line}});
    });
  }
  for (std::thread& caller : callers) caller.join();
}

TEST(LogThreads, every_call_is_written_or_counted_also_of_threads_that_have_ended) {
  Counts counts;
  Runtime runtime({.workers = 2, .logger = &null_logger()});
  const std::unique_ptr<LogPipeline> pipeline = LogPipeline::start(runtime, {.thread_buffer_bytes = 64 << 10}).value();
  pipeline->add_backend(log_backend<Counting>("counting", &counts)).value();
  const Log log(*pipeline, "test");
  for (int round = 0; round < 5; ++round) log_from_threads(*pipeline, log, 4, 5000);
  pipeline->flush(60s).value();
  const LogStats stats = pipeline->stats();
  EXPECT_EQ(stats.called, 100'000U);
  EXPECT_EQ(stats.buffered, 0U);
  EXPECT_EQ(stats.called, stats.collected + stats.dropped_full);
  const BackendStats& backend = *stats.find("counting");
  EXPECT_TRUE(backend.balanced());
  EXPECT_EQ(backend.offered, stats.collected);
  EXPECT_EQ(counts.lines.load(), backend.written);
  EXPECT_EQ(counts.lines.load() + backend.dropped.total() + stats.dropped_full, 100'000U);
  EXPECT_TRUE(counts.in_order);
  EXPECT_TRUE(pipeline->stop());
}

TEST(LogThreads, a_stalled_backend_costs_neither_callers_nor_the_other_backend_anything) {
  Counts counts;
  std::latch inside(1);
  std::latch release(1);
  Runtime runtime({.workers = 2, .logger = &null_logger()});
  const std::unique_ptr<LogPipeline> pipeline = LogPipeline::start(runtime, {.thread_buffer_bytes = 8 << 20}).value();
  BackendSpec stalled = log_backend<Stalled>("stalled", &inside, &release);
  stalled.overload = BoundedQueue{.lines_max = 100};
  pipeline->add_backend(std::move(stalled)).value();
  pipeline->add_backend(log_backend<Counting>("counting", &counts)).value();
  const Log log(*pipeline, "test");
  log.info("line", {{"n", 0}});
  inside.wait();  // it hangs in its first batch from here on
  log_from_threads(*pipeline, log, 2, 20'000);
  EXPECT_EQ(pipeline->flush(500ms).error().code(), ErrorCode::timeout);
  const LogStats meanwhile = pipeline->stats();
  const BackendStats& hung = *meanwhile.find("stalled");
  EXPECT_TRUE(hung.balanced());
  EXPECT_LE(hung.queued, 101U);
  EXPECT_EQ(meanwhile.find("counting")->dropped.total(), 0U);
  release.count_down();
  pipeline->flush(60s).value();
  const LogStats stats = pipeline->stats();
  EXPECT_EQ(counts.lines.load(), stats.collected);
  EXPECT_EQ(stats.collected + stats.dropped_full, 40'001U);
  EXPECT_TRUE(stats.find("stalled")->balanced());
  EXPECT_EQ(stats.find("stalled")->queued, 0U);
}

TEST(LogThreads, a_caller_in_sync_mode_waits_until_its_line_is_written) {
  Counts counts;
  Runtime runtime({.workers = 2, .logger = &null_logger()});
  const std::unique_ptr<LogPipeline> pipeline = LogPipeline::start(runtime).value();
  BackendSpec spec = log_backend<Counting>("counting", &counts);
  spec.overload = DiscardThresholds{.sync_threshold = 0, .discard_threshold = 1000};
  pipeline->add_backend(std::move(spec)).value();
  const Log log(*pipeline, "test");
  log.info("line", {{"n", 0}});
  pipeline->flush(60s).value();
  for (int line = 1; line <= 100; ++line) {
    log.info("line", {{"n", line}});
    EXPECT_EQ(counts.lines.load(), static_cast<std::uint64_t>(line) + 1);
  }
}

TEST(LogThreads, a_line_that_another_threads_line_caused_comes_after_it) {
  Counts counts;  // both threads log as one: their numbers must rise
  Runtime runtime({.workers = 2, .logger = &null_logger()});
  const std::unique_ptr<LogPipeline> pipeline = LogPipeline::start(runtime, {.thread_buffer_bytes = 4 << 20}).value();
  struct Rising final : LogBackend {
    explicit Rising(Counts* of) : counts(*of) {}
    WriteOutcome write(const LogBatch& batch) override {
      for (std::size_t index = 0; index < batch.size(); ++index) {
        LogFields fields = batch[index].fields;
        const std::int64_t number = fields.next()->integer();
        counts.in_order = counts.in_order && number == static_cast<std::int64_t>(counts.lines.fetch_add(1));
      }
      return {.written = batch.size()};
    }
    Counts& counts;
  };
  pipeline->add_backend(log_backend<Rising>("rising", &counts)).value();
  const Log log(*pipeline, "test");
  constexpr int lines = 20'000;
  std::atomic<int> turn{0};
  const auto play = [&](int parity) {
    for (int line = parity; line < lines; line += 2) {
      for (int now = turn.load(); now != line; now = turn.load()) turn.wait(now);
      log.info("line", {{"n", line}});
      turn.store(line + 1);
      turn.notify_all();
    }
  };
  std::thread odd([&] { play(1); });
  play(0);
  odd.join();
  pipeline->flush(60s).value();
  EXPECT_TRUE(counts.in_order);
  EXPECT_EQ(counts.lines.load(), static_cast<std::uint64_t>(lines));
}

TEST(LogThreads, a_line_always_wakes_a_collector_that_goes_to_sleep) {
  Counts counts;
  Runtime runtime({.workers = 2, .logger = &null_logger()});
  const std::unique_ptr<LogPipeline> pipeline = LogPipeline::start(runtime, {.linger = 0ms}).value();
  pipeline->add_backend(log_backend<Counting>("counting", &counts)).value();
  const Log log(*pipeline, "test");
  const SteadyTime deadline = system_clock().steady_now() + 60s;
  for (std::uint64_t line = 0; line < 2000; ++line) {
    log.info("line", {{"n", line}});
    while (counts.lines.load() <= line) {
      ASSERT_LT(system_clock().steady_now(), deadline) << "line " << line << " waits, and nobody comes for it";
      std::this_thread::yield();
    }
  }
}

TEST(LineStamps, what_the_processor_counts_becomes_the_clocks_time) {
  detail::LineStamps stamps(system_clock());
  std::int64_t last = stamps.now();
  for (int round = 0; round < 1000; ++round) {
    const std::int64_t before = system_clock().steady_now().time_since_epoch().count();
    const std::int64_t stamp = stamps.now();
    const std::int64_t after = system_clock().steady_now().time_since_epoch().count();
    const detail::StampScale scale = stamps.scale();
    EXPECT_GE(stamp, last);
    EXPECT_LE(stamp, scale.stamp);
    constexpr std::int64_t tolerance_ns = 100'000;
    EXPECT_GE(scale.steady_ns_of(stamp), before - tolerance_ns);
    EXPECT_LE(scale.steady_ns_of(stamp), after + tolerance_ns);
    last = stamp;
  }
}

TEST(ThreadRing, publishes_lines_with_and_without_the_kernels_barrier) {
  for (const bool barrier : {false, detail::ProgramBarrier::available()}) {
    detail::ThreadRing ring(4096, 7, barrier);
    for (std::uint64_t line = 0; line < 1000; ++line) {  // around the ring many times
      char* const place = ring.reserve(96);
      ASSERT_NE(place, nullptr);
      detail::header_at(place).size = 96;
      detail::header_at(place).stamp = static_cast<std::int64_t>(line);
      ring.commit();
      std::uint64_t at = ring.head();
      ASSERT_NE(at, ring.tail());
      EXPECT_EQ(detail::header_at(ring.record_at(at)).stamp, static_cast<std::int64_t>(line));
      ring.release(at + 96, 1);
    }
    EXPECT_EQ(ring.pushed.load(), 1000U);
    EXPECT_EQ(ring.taken(), 1000U);
  }
}

TEST(LogThreads, start_and_stop_while_threads_log) {
  Runtime runtime({.workers = 2, .logger = &null_logger()});
  for (int round = 0; round < 20; ++round) {
    Counts counts;
    const std::unique_ptr<LogPipeline> pipeline = LogPipeline::start(runtime).value();
    const Log log(*pipeline, "test");
    std::thread caller([&log] {
      for (int line = 0; line < 2000; ++line) log.info("line", {{"n", line}});
    });
    pipeline->add_backend(log_backend<Counting>("a", &counts)).value();
    EXPECT_TRUE(pipeline->remove_backend("a", 60s));
    EXPECT_TRUE(pipeline->stop(60s));
    caller.join();
    const LogStats stats = pipeline->stats();
    EXPECT_EQ(stats.called, stats.collected + stats.dropped_full + stats.dropped_by_mode);
  }
}

// --- crashes ---------------------------------------------------------------------------------------------------------

LogPipeline* crashing_pipeline = nullptr;

void on_fatal_signal(int signal) {
  crashing_pipeline->write_out_after_crash();
  struct sigaction usual{};
  usual.sa_handler = SIG_DFL;
  static_cast<void>(::sigaction(signal, &usual, nullptr));
  static_cast<void>(::raise(signal));
}

/// Logs ten lines that nobody has collected yet, then dies of `signal`. In a process of its own.
[[noreturn]] void die(const std::string& path, int signal) {
  Runtime runtime({.workers = 1, .logger = &null_logger()});
  // Looking is so rare that what is logged is still in this thread's buffer when the signal comes.
  const std::unique_ptr<LogPipeline> pipeline =
      LogPipeline::start(runtime, {.poll_interval = 1h, .linger = 2h}).value();
  BackendSpec spec = file_backend("file", {.path = path});
  spec.format = LineFormat::message_only();
  pipeline->add_backend(std::move(spec)).value();
  struct sigaction fatal{};
  fatal.sa_handler = on_fatal_signal;
  for (const int one : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE}) static_cast<void>(::sigaction(one, &fatal, nullptr));
  crashing_pipeline = pipeline.get();
  const Log log(*pipeline, "test");
  log.info("collected");
  if (!pipeline->flush(60s)) ::_exit(1);
  for (int line = 0; line < 10; ++line) log.info("last words", {{"n", line}});
  std::thread([&] { log.warning("of another thread\n"); }).join();
  if (signal == SIGABRT) std::abort();
  static_cast<void>(::raise(signal));
  ::_exit(0);
}

class LogCrash : public testing::TestWithParam<int> {};

TEST_P(LogCrash, what_is_queued_is_written_out) {
  char name[] = "/tmp/dagverk_log_crash_XXXXXX";
  const int file = ::mkstemp(name);
  ASSERT_GE(file, 0);
  ::close(file);
  const pid_t child = ::fork();  // this thread is the only one
  if (child == 0) die(name, GetParam());
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), GetParam());
  std::ifstream written(name);
  std::vector<std::string> lines;
  for (std::string line; std::getline(written, line);) lines.push_back(line);
  ::unlink(name);
  ASSERT_EQ(lines.size(), 12U);
  EXPECT_EQ(lines[0], "collected");
  EXPECT_EQ(
      std::count_if(lines.begin(), lines.end(), [](const auto& line) { return line.starts_with("last words n="); }),
      10);
  EXPECT_EQ(std::count(lines.begin(), lines.end(), "of another thread\\n"), 1);
}

[[noreturn]] void log_until_killed(const std::string& path) {
  Runtime runtime({.workers = 1, .logger = &null_logger()});
  const std::unique_ptr<LogPipeline> pipeline = LogPipeline::start(runtime).value();
  BackendSpec spec = file_backend("file", {.path = path});
  spec.format = LineFormat::message_only();
  pipeline->add_backend(std::move(spec)).value();
  const Log log(*pipeline, "test");
  for (std::uint64_t line = 0;; ++line) log.info("a line", {{"n", line}, {"end", true}});
}

TEST(LogKill, what_is_on_disk_is_whole_lines_and_the_next_program_begins_a_new_one) {
  char name[] = "/tmp/dagverk_log_kill_XXXXXX";
  const int file = ::mkstemp(name);
  ASSERT_GE(file, 0);
  const pid_t child = ::fork();  // this thread is the only one
  if (child == 0) log_until_killed(name);
  const SteadyTime deadline = system_clock().steady_now() + 60s;
  while (::lseek(file, 0, SEEK_END) < (1 << 20) && system_clock().steady_now() < deadline) std::this_thread::yield();
  ::kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_GE(::lseek(file, 0, SEEK_END), 1 << 20);
  // As if the kernel had been stopped in the middle of the last line, which it may be.
  ASSERT_EQ(::ftruncate(file, ::lseek(file, 0, SEEK_END) - 3), 0);
  ::close(file);
  {
    Runtime runtime({.workers = 1, .logger = &null_logger()});
    const std::unique_ptr<LogPipeline> pipeline = LogPipeline::start(runtime).value();
    BackendSpec spec = file_backend("file", {.path = name});
    spec.format = LineFormat::message_only();
    pipeline->add_backend(std::move(spec)).value();
    Log(*pipeline, "test").info("afterwards");
    EXPECT_TRUE(pipeline->stop(60s));
  }
  std::ifstream written(name);
  std::vector<std::string> lines;
  for (std::string line; std::getline(written, line);) lines.push_back(line);
  ::unlink(name);
  ASSERT_GT(lines.size(), 1000U);
  EXPECT_EQ(lines.back(), "afterwards");
  for (std::size_t index = 0; index + 2 < lines.size(); ++index) {
    const std::string& line = lines[index];
    const bool notice = line.starts_with("log.lines_lost count=") && line.ends_with("Z");  // of the flood's
    ASSERT_TRUE(notice || (line.starts_with("a line n=") && line.ends_with(" end=true"))) << line;
  }
}

INSTANTIATE_TEST_SUITE_P(Signals, LogCrash, testing::Values(SIGSEGV, SIGABRT, SIGBUS), [](const auto& signal) {
  return signal.param == SIGSEGV   ? std::string("SIGSEGV")
         : signal.param == SIGABRT ? std::string("SIGABRT")
                                   : std::string("SIGBUS");
});

}  // namespace
}  // namespace dagverk
