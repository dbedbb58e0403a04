// What do messages, calls and processes cost? Each figure is one the peers' programs print under a similar name.

#include "bench_report.hpp"
#include "resident_memory.hpp"

#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/runtime/runtime.hpp"

#include <algorithm>
#include <atomic>
#include <malloc.h>
#include <memory>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <vector>

namespace dagverk::bench {
namespace {

using namespace std::chrono_literals;

/// Adds up what it gets; the total is checked at the end of each round.
class Sink : public GenServer<Sink> {
 public:
  struct Hit {
    std::uint64_t value;
  };
  struct Total {
    using Reply = std::uint64_t;
  };
  void handle_cast(Hit hit) { total_ += hit.value; }
  std::uint64_t handle_call(Total) { return total_; }

 private:
  std::uint64_t total_ = 0;
};

/// Casts in bursts, so that others get their turn between them.
class Source : public GenServer<Source> {
 public:
  struct Go {
    using Reply = std::uint64_t;
    ServerRef<Sink> sink;
    std::uint64_t count;
  };
  struct Burst {};

  void handle_call(Go go, From<Go> from) {
    go_ = go;
    from_ = std::move(from);
    self().cast(Burst{});
  }
  void handle_cast(Burst) {
    const std::uint64_t burst = std::min<std::uint64_t>(go_.count, 256);
    for (std::uint64_t sent = 0; sent < burst; ++sent) go_.sink.cast(Sink::Hit{1});
    go_.count -= burst;
    if (go_.count == 0) {
      from_.reply(1);
    } else {
      self().cast(Burst{});
    }
  }

 private:
  Go go_{};
  From<Go> from_;
};

class Caller : public GenServer<Caller> {
 public:
  struct Go {
    using Reply = std::uint64_t;
    ServerRef<Sink> sink;
    std::uint64_t count;
  };
  Async<std::uint64_t> handle_call(Go go) {
    std::uint64_t answered = 0;
    for (std::uint64_t call = 0; call < go.count; ++call) {
      Result<std::uint64_t> total = co_await go.sink.call<Sink::Total>();
      answered += total.has_value() ? 1 : 0;
    }
    co_return answered;
  }
};

/// Keeps at most 100 short processes outstanding.
class Spawner : public GenServer<Spawner> {
 public:
  struct Go {
    using Reply = std::uint64_t;
    std::uint64_t count;
  };
  struct More {};

  void handle_call(Go go, From<Go> from) {
    left_ = go.count;
    wanted_ = ended_.load() + go.count;
    from_ = std::move(from);
    self().cast(More{});
  }
  void handle_cast(More) {
    while (left_ > 0 && started_ - ended_.load(std::memory_order_relaxed) < 100) {
      ++started_;
      --left_;
      runtime().spawn([this] { ended_.fetch_add(1, std::memory_order_relaxed); });
    }
    if (ended_.load() < wanted_) {
      self().cast(More{});
    } else {
      from_.reply(ended_.load());
    }
  }

 private:
  std::uint64_t left_ = 0;
  std::uint64_t started_ = 0;
  std::uint64_t wanted_ = 0;
  std::atomic<std::uint64_t> ended_{0};
  From<Go> from_;
};

/// A mailbox that never runs empty.
class Busy : public GenServer<Busy> {
 public:
  struct Again {};
  struct Stop {};
  void init() { self().cast(Again{}); }
  void handle_cast(Again) { self().cast(Again{}); }
  void handle_cast(Stop) { stop(); }
};

/// Sends itself a note through a ready process and tells how long it waited.
class Idle : public GenServer<Idle> {};

void check(bool as_expected, const char* what) {
  if (as_expected) return;
  std::fprintf(stderr, "dagverk_bench: %s: the total is wrong\n", what);
  std::exit(1);
}

void wait_for_total(ServerRef<Sink> sink, std::uint64_t total) {
  std::uint64_t seen = 0;
  while (seen < total) seen = sink.call_blocking_within<Sink::Total>(60s).value_or(0);
  check(seen == total, "casts");
}

double cast_figure(Runtime& runtime, unsigned sources, std::uint64_t count) {
  ServerRef<Sink> sink = runtime.start<Sink>().value();
  std::vector<ServerRef<Source>> senders;
  senders.reserve(sources);
  for (unsigned index = 0; index < sources; ++index) senders.push_back(runtime.start<Source>().value());
  const double taken = seconds([&] {
    std::vector<std::thread> threads;
    threads.reserve(senders.size());
    for (const ServerRef<Source>& sender : senders) {
      threads.emplace_back(
          [&, sender] { check(sender.call_blocking_within<Source::Go>(60s, sink, count).has_value(), "casts"); });
    }
    for (std::thread& thread : threads) thread.join();
    wait_for_total(sink, sources * count);
  });
  return static_cast<double>(sources * count) / taken;
}

double call_figure(Runtime& runtime, unsigned pairs, std::uint64_t count) {
  std::vector<std::thread> threads;
  std::vector<std::pair<ServerRef<Caller>, ServerRef<Sink>>> all;
  all.reserve(pairs);
  threads.reserve(pairs);
  for (unsigned index = 0; index < pairs; ++index) {
    all.emplace_back(runtime.start<Caller>().value(), runtime.start<Sink>().value());
  }
  const double taken = seconds([&] {
    for (const auto& [caller, sink] : all) {
      threads.emplace_back([caller, sink, count] {
        check(caller.call_blocking_within<Caller::Go>(60s, sink, count).value_or(0) == count, "calls");
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
  return static_cast<double>(pairs * count) / taken;
}

double spawn_figure(Runtime& runtime, std::uint64_t count) {
  ServerRef<Spawner> spawner = runtime.start<Spawner>().value();
  const double taken =
      seconds([&] { check(spawner.call_blocking_within<Spawner::Go>(60s, count).value_or(0) == count, "spawns"); });
  return static_cast<double>(count) / taken;
}

void idle_bytes(BenchReport& report) {
  if (!report.wants("runtime.idle_bytes") && !report.wants("runtime.start_stop_million")) return;
  constexpr std::size_t count = 1'000'000;
  Runtime runtime;
  std::vector<ServerRef<Idle>> all;
  all.reserve(count);
  const std::size_t before = resident_bytes();
  const auto start_all = [&all]() -> Async<Result<std::size_t>> {
    for (std::size_t index = 0; index < count; ++index) {
      Result<ServerRef<Idle>> started = co_await this_process::start<Idle>();
      all.push_back(started.value());
    }
    co_return all.size();
  };
  double bytes = 0;
  const double taken = seconds([&] {
    check(runtime.run(start_all()).value_or(0) == count, "idle processes");
    bytes = static_cast<double>(resident_bytes() - before) / static_cast<double>(count);
    runtime.stop(60s);
  });
  if (report.wants("runtime.idle_bytes")) BenchReport::print("runtime.idle_bytes", bytes, "B");
  if (report.wants("runtime.start_stop_million")) BenchReport::print("runtime.start_stop_million", taken, "s");
}

void snapshots(BenchReport& report) {
  if (!report.wants("runtime.snapshot_100k") && !report.wants("runtime.snapshot_cast_ratio")) return;
  constexpr std::size_t count = 100'000;
  Runtime runtime(RuntimeOptions{.workers = 2});
  const auto start_all = []() -> Async<Result<std::size_t>> {
    std::size_t started = 0;
    for (; started < count; ++started) {
      StartOptions options;
      if (started % 2 == 0) options.name = "idle " + std::to_string(started);
      Result<ServerRef<Idle>> one = co_await this_process::start_with<Idle>(std::move(options));
      if (!one) co_return one.error();
    }
    co_return started;
  };
  check(runtime.run(start_all()).value_or(0) == count, "processes to look at");
  std::vector<double> times;
  constexpr int rounds = 9;
  times.reserve(rounds);
  for (int round = 0; round < rounds; ++round) {
    times.push_back(seconds([&] { check(runtime.snapshot().processes.size() >= count, "snapshot"); }) * 1e3);
  }
  std::sort(times.begin(), times.end());
  BenchReport::print("runtime.snapshot_100k", times[times.size() / 2], "ms");
  // Casts with and without a snapshot every second, in turns, so that the machine's moods hit both.
  std::vector<double> without;
  std::vector<double> with;
  for (int round = 0; round < 3; ++round) {
    without.push_back(cast_figure(runtime, 1, 60'000'000));
    std::atomic<bool> done{false};
    std::thread observer([&] {
      while (!done.load()) {
        check(runtime.snapshot().processes.size() >= count, "snapshot");
        for (int wait = 0; wait < 100 && !done.load(); ++wait) sleep_for(10ms);
      }
    });
    with.push_back(cast_figure(runtime, 1, 60'000'000));
    done = true;
    observer.join();
  }
  std::sort(without.begin(), without.end());
  std::sort(with.begin(), with.end());
  BenchReport::print("runtime.snapshot_cast_ratio", with[1] / without[1], "ratio");
}

/// Starts timers that are far off, and cancels them in another order.
class Alarm : public GenServer<Alarm> {
 public:
  struct Ring {};
  struct Cost {
    using Reply = std::pair<double, double>;  // nanoseconds to start one, to cancel one
    std::size_t pending;
    std::size_t rounds;
  };
  void handle_info(Ring /*ring*/) {}
  std::pair<double, double> handle_call(Cost cost) {
    double starting = 0;
    double cancelling = 0;
    std::vector<TimerRef> timers;
    timers.reserve(cost.pending);
    for (std::size_t round = 0; round < cost.rounds; ++round) {
      timers.clear();
      starting += seconds([&] {
        for (std::size_t index = 0; index < cost.pending; ++index) {
          timers.push_back(send_after(1h + (index * 7919 % cost.pending) * 1ms, Ring{}));
        }
      });
      std::size_t cancelled = 0;
      cancelling += seconds([&] {
        for (const TimerRef& timer : timers) cancelled += this_process::cancel_timer(timer).has_value() ? 1 : 0;
      });
      check(cancelled == cost.pending, "timers");
    }
    const double all = static_cast<double>(cost.pending * cost.rounds) / 1e9;
    return {starting / all, cancelling / all};
  }
};

void timers(BenchReport& report) {
  if (!report.wants("runtime.timer_")) return;
  Runtime runtime(RuntimeOptions{.workers = 1});
  ServerRef<Alarm> alarm = runtime.start<Alarm>().value();
  const auto print = [&](const char* pending_name, std::size_t pending, std::size_t rounds) {
    const auto cost = alarm.call_blocking_within<Alarm::Cost>(60s, pending, rounds).value();
    BenchReport::print(concat("runtime.timer_start.", pending_name), cost.first, "ns");
    BenchReport::print(concat("runtime.timer_cancel.", pending_name), cost.second, "ns");
  };
  print("1k", 1'000, 1'000);
  print("1m", 1'000'000, 3);
}

void busy_neighbour(BenchReport& report) {
  if (!report.wants("runtime.busy_neighbour.p99")) return;
  Runtime runtime(RuntimeOptions{.workers = 1});
  ServerRef<Busy> busy = runtime.start<Busy>().value();
  ServerRef<Sink> sink = runtime.start<Sink>().value();
  // On one worker: from making the other ready to its answer, both waits behind the busy one included.
  const auto ask = [sink]() -> Async<Result<std::vector<double>>> {
    std::vector<double> waits;
    for (int call = 0; call < 50'000; ++call) {
      const SteadyTime begin = system_clock().steady_now();
      Result<std::uint64_t> answer = co_await sink.call<Sink::Total>();
      if (answer) waits.push_back(static_cast<double>((system_clock().steady_now() - begin).count()) / 2);
    }
    co_return waits;
  };
  Result<std::vector<double>> waits = runtime.run(ask());
  check(waits.has_value(), "busy neighbour");
  std::sort(waits->begin(), waits->end());
  BenchReport::print("runtime.busy_neighbour.p99", (*waits)[waits->size() * 99 / 100], "ns");
  busy.cast(Busy::Stop{});
}

void parked_calls(BenchReport& report) {
  if (!report.wants("runtime.call_from_thread_parked")) return;
  Runtime runtime;
  ServerRef<Sink> sink = runtime.start<Sink>().value();
  std::vector<double> waits;
  for (int call = 0; call < 500; ++call) {
    sleep_for(3ms);  // so that the workers have parked
    waits.push_back(seconds([&] { check(sink.call_blocking<Sink::Total>().has_value(), "parked call"); }) * 1e6);
  }
  std::sort(waits.begin(), waits.end());
  BenchReport::print("runtime.call_from_thread_parked", waits[waits.size() / 2], "us");
}

}  // namespace

void runtime_benchmarks(BenchReport& report) {
  {
    Runtime runtime(RuntimeOptions{.workers = 2});
    report.run("runtime.cast_1to1", "1/s", [&] { return cast_figure(runtime, 1, 20'000'000); });
    report.run("runtime.cast_2to1", "1/s", [&] { return cast_figure(runtime, 2, 10'000'000); });
    report.run("runtime.cast_from_thread", "1/s", [&] {
      ServerRef<Sink> sink = runtime.start<Sink>().value();
      constexpr std::uint64_t count = 10'000'000;
      return static_cast<double>(count) / seconds([&] {
               for (std::uint64_t cast = 0; cast < count; ++cast) sink.cast(Sink::Hit{1});
               wait_for_total(sink, count);
             });
    });
    report.run("runtime.call", "1/s", [&] { return call_figure(runtime, 1, 3'000'000); });
    report.run("runtime.call_two_pairs", "1/s", [&] { return call_figure(runtime, 2, 3'000'000); });
    report.run("runtime.call_from_thread", "1/s", [&] {
      ServerRef<Sink> sink = runtime.start<Sink>().value();
      constexpr int count = 300'000;
      return count / seconds([&] {
               for (int call = 0; call < count; ++call) check(sink.call_blocking<Sink::Total>().has_value(), "calls");
             });
    });
    report.run("runtime.spawn_exit", "1/s", [&] { return spawn_figure(runtime, 2'000'000); });
  }
  {
    Runtime runtime(RuntimeOptions{.workers = 1});
    report.run("runtime.cast_1to1.W1", "1/s", [&] { return cast_figure(runtime, 1, 20'000'000); });
    report.run("runtime.call.W1", "1/s", [&] { return call_figure(runtime, 1, 3'000'000); });
    report.run("runtime.spawn_exit.W1", "1/s", [&] { return spawn_figure(runtime, 2'000'000); });
  }
  timers(report);
  snapshots(report);
  parked_calls(report);
  busy_neighbour(report);
  idle_bytes(report);
}

}  // namespace dagverk::bench
