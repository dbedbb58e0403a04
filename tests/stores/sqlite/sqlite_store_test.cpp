// The store's threads: group commit, bounds, waits, and what is left when it goes. The engine behind it has tests of
// its own.

#include "dagverk/stores/sqlite/sqlite_store.hpp"

#include "conformance/sqlite_world.hpp"
#include "stores/sqlite/child_process.hpp"
#include "stores/sqlite/disk_faults.hpp"
#include "stores/sqlite/engine.hpp"

#include "dagverk/base/mutex.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sys/eventfd.h>

namespace dagverk::stores {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace): tests read better
using conformance::ScratchFolder;
using jobs::ChangeKind;

jobs::EnqueueRequest job(std::string jid, std::size_t size = 100) {
  jobs::EnqueueRequest request;
  request.jid = std::move(jid);
  request.queue = "default";
  request.class_name = "Work";
  request.payload.assign(size, 'x');
  return request;
}

Async<void> enqueue_one(jobs::JobStore& store, std::string jid, std::map<std::string, Result<std::size_t>>& results) {
  std::vector<jobs::EnqueueRequest> batch;
  batch.push_back(job(jid));
  const auto outcomes = co_await store.enqueue(std::move(batch));
  Result<std::size_t> result = std::size_t{0};
  if (outcomes) {
    result = outcomes->size();
  } else {
    result = outcomes.error();
  }
  results.emplace(jid, std::move(result));
}

class SqliteStoreOnLanes : public testing::Test {
 protected:
  SqliteOptions options() {
    SqliteOptions made;
    made.path = folder_.file("jobs.db");
    return made;
  }
  static std::unique_ptr<SqliteStore> open(RuntimeBase& runtime, SqliteOptions with) {
    auto store = SqliteStore::open(runtime, std::move(with));
    EXPECT_TRUE(store) << store.error().message();
    return store ? std::move(*store) : nullptr;
  }

  ScratchFolder folder_;
};

TEST_F(SqliteStoreOnLanes, many_callers_share_one_wait_for_the_disk) {
  DeterministicRuntime runtime({.seed = 7});
  const auto store = open(runtime, options());
  std::map<std::string, Result<std::size_t>> results;
  for (int index = 0; index < 64; ++index) {
    runtime.spawn([&, index] { return enqueue_one(*store, concat("j", index), results); });
  }
  disk_faults::reset();

  runtime.run_until_idle();

  EXPECT_EQ(results.size(), 64U);
  EXPECT_GE(disk_faults::syncs, 1U);
  EXPECT_LE(disk_faults::syncs, 32U) << "group commit";
  EXPECT_EQ(runtime.run(store->totals())->counts.ready, 64U);
}

TEST_F(SqliteStoreOnLanes, a_sync_that_fails_is_told_to_all_who_waited_for_it_and_the_next_ones_begin_a_new_log) {
  for (const std::uint64_t seed : {1U, 2U, 3U, 4U, 5U, 6U}) {
    SCOPED_TRACE(seed);
    SqliteOptions made = options();
    made.path = folder_.file(concat("failing", seed, ".db"));
    std::set<std::string> unknown;
    std::set<std::string> told;
    {
      DeterministicRuntime runtime({.seed = seed});
      const auto store = open(runtime, made);
      std::map<std::string, Result<std::size_t>> results;
      // The first commits of a file have a sync of SQLite's own, for the head of the log.
      ASSERT_TRUE(runtime.run(store->queues("", 1)));
      runtime.spawn([&] { return enqueue_one(*store, "first", results); });
      runtime.run_until_idle();
      disk_faults::reset();
      disk_faults::fail_sync_at = 1 + seed % 3;
      for (int wave = 0; wave < 10 && unknown.empty(); ++wave) {
        for (int index = 0; index < 10; ++index) {
          runtime.spawn([&, wave, index] { return enqueue_one(*store, concat("j", wave, "_", index), results); });
        }
        runtime.run_until_idle();
        ASSERT_EQ(results.size(), 11U + 10U * static_cast<unsigned>(wave)) << "nobody waits for ever";
        for (const auto& [jid, result] : results) {
          if (!result) {
            EXPECT_EQ(result.error().code(), ErrorCode::outcome_unknown) << result.error().message();
          }
          (result ? told : unknown).insert(jid);
        }
      }
      EXPECT_FALSE(unknown.empty());
      disk_faults::reset();
      runtime.spawn([&] { return enqueue_one(*store, "later", results); });
      runtime.run_until_idle();
      EXPECT_TRUE(results.at("later"));
      EXPECT_GE(runtime.run(store->totals())->counts.ready, told.size() + 1);
    }
    DeterministicRuntime runtime;
    const auto store = open(runtime, made);
    for (const std::string& jid : told) EXPECT_TRUE(runtime.run(store->find(jid))->has_value()) << jid;
  }
}

TEST_F(SqliteStoreOnLanes, whoever_is_told_has_had_a_sync_after_the_commit) {
  DeterministicRuntime runtime({.seed = 3});
  const auto store = open(runtime, options());
  std::map<std::string, Result<std::size_t>> results;
  for (const std::string jid : {"a", "b", "c"}) {
    const std::uint64_t syncs = disk_faults::syncs;
    const std::uint64_t ready = store->change_count(ChangeKind::ready);
    runtime.spawn([&] { return enqueue_one(*store, jid, results); });
    while (store->change_count(ChangeKind::ready) == ready) ASSERT_TRUE(runtime.step());
    EXPECT_FALSE(results.contains(jid)) << "committed, and not yet on the disk";
    runtime.run_until_idle();
    EXPECT_TRUE(results.at(jid));
    EXPECT_GT(disk_faults::syncs, syncs);
  }
}

TEST_F(SqliteStoreOnLanes, the_same_seed_gives_the_same_order) {
  const auto order = [&](std::uint64_t seed, std::string_view file) {
    DeterministicRuntime runtime({.seed = seed});
    SqliteOptions made;
    made.path = folder_.file(file);
    const auto store = open(runtime, made);
    std::map<std::string, Result<std::size_t>> results;
    for (int index = 0; index < 20; ++index) {
      runtime.spawn([&, index] { return enqueue_one(*store, concat("j", index), results); });
    }
    runtime.run_until_idle();
    std::vector<std::string> jids;
    const auto page = runtime.run(store->list({}));
    for (const jobs::StoredJob& stored : page->jobs) jids.push_back(stored.jid);
    return std::pair(runtime.order_hash(), jids);
  };

  EXPECT_EQ(order(5, "a.db"), order(5, "b.db"));
  EXPECT_NE(order(5, "c.db"), order(6, "d.db"));
}

TEST_F(SqliteStoreOnLanes, operations_over_the_bound_are_refused_and_told_so) {
  DeterministicRuntime runtime({.seed = 1});
  SqliteOptions small = options();
  small.waiting_count_limit = 3;
  const auto store = open(runtime, small);
  std::map<std::string, Result<std::size_t>> results;
  for (int index = 0; index < 12; ++index) {
    runtime.spawn([&, index] { return enqueue_one(*store, concat("j", index), results); });
  }
  runtime.run_until_idle();
  std::size_t done = 0;
  for (const auto& [jid, result] : results) {
    if (result) {
      ++done;
    } else {
      EXPECT_EQ(result.error().code(), ErrorCode::unavailable);
    }
  }
  EXPECT_EQ(results.size(), 12U);
  EXPECT_GE(done, 3U);
  EXPECT_LT(done, 12U);
  EXPECT_EQ(runtime.run(store->totals())->counts.ready, done);

  std::vector<jobs::EnqueueRequest> large;
  large.push_back(job("large", 1'000'000));
  small.path = folder_.file("tiny.db");
  small.waiting_size_limit = 1000;
  const auto tiny = open(runtime, small);
  EXPECT_TRUE(runtime.run(tiny->enqueue(std::move(large)))) << "alone, an operation may be as large as it likes";
}

TEST_F(SqliteStoreOnLanes, a_wait_ends_at_its_limit_and_a_foreign_commit_is_seen_within_the_poll_interval) {
  DeterministicRuntime runtime({.seed = 3});
  const auto store = open(runtime, options());
  const auto other = open(runtime, options());
  const std::uint64_t seen = store->change_count(ChangeKind::ready);
  const SteadyTime begin = runtime.clock().steady_now();

  EXPECT_EQ(runtime.run(store->wait_for_change(ChangeKind::ready, seen, 30s)).value(), seen);
  EXPECT_GE(runtime.clock().steady_now() - begin, 30s);

  std::optional<SteadyTime> woken;
  runtime.spawn([&]() -> Async<void> {
    const auto changed = co_await store->wait_for_change(ChangeKind::ready, seen, 1h);
    EXPECT_TRUE(changed && *changed != seen);
    woken = runtime.clock().steady_now();
  });
  runtime.run_until_idle();
  std::vector<jobs::EnqueueRequest> batch;
  batch.push_back(job("foreign"));
  const SteadyTime enqueued = runtime.clock().steady_now();
  ASSERT_TRUE(runtime.run(other->enqueue(std::move(batch))));
  runtime.advance(options().poll_interval * 2);
  ASSERT_TRUE(woken);
  EXPECT_LE(*woken - enqueued, options().poll_interval * 2);
}

/// Remembers the names of what was logged.
class LoggedNames final : public Logger {
 public:
  void write(LogLevel /*level*/, std::string_view event, std::span<const LogField> /*fields*/) noexcept override {
    const MutexLock lock(mutex_);
    names_.emplace(event);
  }
  [[nodiscard]] bool has(std::string_view event) const {
    const MutexLock lock(mutex_);
    return names_.contains(std::string(event));
  }

 private:
  mutable Mutex mutex_;
  std::set<std::string> names_ DAGVERK_GUARDED_BY(mutex_);
};

/// Another OS process that enqueues a job whenever it is told to.
class Enqueuer {
 public:
  explicit Enqueuer(const std::string& path)
      : gate_(::eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC)), child_([this, path](int pipe) { work(path, pipe); }) {}
  Enqueuer(const Enqueuer&) = delete;
  Enqueuer& operator=(const Enqueuer&) = delete;
  ~Enqueuer() {
    child_.kill();
    ::close(gate_);
  }
  void enqueue() const {
    const std::uint64_t one = 1;
    EXPECT_EQ(::write(gate_, &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
  }

 private:
  void work(const std::string& path, int pipe) const {
    SqliteOptions options;
    options.path = path;
    auto engine = Engine::open(options);
    if (!engine) return tell(pipe, "error");
    std::uint64_t number = 0;
    for (std::uint64_t taken = 0; ::read(gate_, &taken, sizeof(taken)) == static_cast<ssize_t>(sizeof(taken));) {
      op::Enqueue operation;
      operation.jobs.push_back(job(concat("foreign", ++number)));
      if (!(*engine)->run(std::move(operation))) return tell(pipe, "error");
    }
  }

  int gate_;
  Child child_;
};

/// Waits for commits of another process that only doorbell and watch can tell of.
void expect_woken(const SqliteOptions& options, const Enqueuer& enqueuer) {
  Runtime runtime(RuntimeOptions{.workers = 2});
  auto store = SqliteStore::open(runtime, options);
  ASSERT_TRUE(store) << store.error().message();
  for (int round = 0; round < 30; ++round) {
    const std::uint64_t seen = (*store)->change_count(ChangeKind::ready);
    enqueuer.enqueue();
    const auto changed = runtime.run((*store)->wait_for_change(ChangeKind::ready, seen, 60s));
    ASSERT_TRUE(changed && *changed != seen) << "round " << round;
  }
}

TEST_F(SqliteStoreOnLanes, a_commit_of_another_process_wakes_those_who_wait_without_any_polling) {
  const Enqueuer enqueuer(options().path);
  SqliteOptions patient = options();
  LoggedNames logged;
  patient.poll_interval = 1h;
  patient.logger = &logged;
  expect_woken(patient, enqueuer);
  EXPECT_FALSE(logged.has("store.doorbell_missing"));
  EXPECT_FALSE(std::filesystem::exists(options().path + ".nodes") &&
               !std::filesystem::is_empty(options().path + ".nodes"))
      << "a doorbell goes with its store";
}

TEST_F(SqliteStoreOnLanes, without_a_doorbell_the_watch_on_the_log_is_enough_and_the_log_says_so) {
  const Enqueuer enqueuer(options().path);
  std::ofstream(options().path + ".nodes") << "a file where the folder should be";
  SqliteOptions patient = options();
  LoggedNames logged;
  patient.poll_interval = 1h;
  patient.logger = &logged;
  expect_woken(patient, enqueuer);
  EXPECT_TRUE(logged.has("store.doorbell_missing"));
}

TEST_F(SqliteStoreOnLanes, whoever_ends_while_waiting_is_forgotten_and_the_store_may_go_before_those_who_wait) {
  DeterministicRuntime runtime({.seed = 4});
  auto store = open(runtime, options());
  std::vector<Pid> waiting;
  std::size_t cancelled = 0;
  for (int index = 0; index < 10; ++index) {
    waiting.push_back(runtime.spawn([&]() -> Async<void> {
      const std::uint64_t seen = store->change_count(ChangeKind::journal);
      const auto changed = co_await store->wait_for_change(ChangeKind::journal, seen, 1h);
      if (!changed && changed.error().code() == ErrorCode::cancelled) ++cancelled;
    }));
  }
  runtime.run_until_idle();
  for (int index = 0; index < 5; ++index) runtime.exit(waiting[static_cast<std::size_t>(index)], ExitReason::kill);
  runtime.advance(1s);

  store.reset();
  runtime.run_until_idle();

  EXPECT_EQ(cancelled, 5U);
  EXPECT_EQ(runtime.process_count(), 0U);
}

TEST_F(SqliteStoreOnLanes, closing_the_store_does_what_was_waiting) {
  std::map<std::string, Result<std::size_t>> results;
  std::size_t asked = 0;
  DeterministicRuntime runtime({.seed = 9});
  auto store = open(runtime, options());
  for (int index = 0; index < 10; ++index) {
    runtime.spawn([&, index] {
      ++asked;
      return enqueue_one(*store, concat("j", index), results);
    });
  }
  while (asked < 10) ASSERT_TRUE(runtime.step());
  ASSERT_LT(results.size(), 10U) << "some still wait";
  store.reset();
  runtime.run_until_idle();
  EXPECT_EQ(results.size(), 10U);

  const auto again = open(runtime, options());
  std::size_t promised = 0;
  for (const auto& [jid, result] : results) promised += result ? 1U : 0U;
  EXPECT_EQ(promised, 10U);
  EXPECT_EQ(runtime.run(again->totals())->counts.ready, promised);
}

TEST_F(SqliteStoreOnLanes, a_start_and_stop_storm_with_real_threads_loses_nothing) {
  std::size_t expected = 0;
  for (int round = 0; round < 20; ++round) {
    Runtime runtime(RuntimeOptions{.workers = 2});
    const auto store = open(runtime, options());
    std::atomic<std::size_t> done{0};
    std::vector<Pid> pids;
    for (int index = 0; index < 8; ++index) {
      const Pid pid = runtime.spawn([&, index, round]() -> Async<void> {
        for (int number = 0; number < 5; ++number) {
          std::vector<jobs::EnqueueRequest> batch;
          batch.push_back(job(concat("r", round, "_", index, "_", number)));
          const auto outcomes = co_await store->enqueue(std::move(batch));
          if (outcomes) ++done;
          const std::uint64_t seen = store->change_count(ChangeKind::ready);
          const auto changed = co_await store->wait_for_change(ChangeKind::ready, seen, 1ms);
          EXPECT_TRUE(changed);
        }
      });
      pids.push_back(pid);
    }
    for (const Pid pid : pids) {
      const auto ended = runtime.run(this_process::wait_for_exit(pid, 20s));
      EXPECT_TRUE(ended) << ended.error().message();
    }
    EXPECT_EQ(done.load(), 40U);
    expected += done.load();
    EXPECT_EQ(runtime.run(store->totals())->counts.ready, expected);
  }
}

TEST_F(SqliteStoreOnLanes, an_unusable_file_is_refused_at_open) {
  DeterministicRuntime runtime;
  SqliteOptions nowhere;
  nowhere.path = folder_.file("missing/jobs.db");
  EXPECT_EQ(SqliteStore::open(runtime, nowhere).error().code(), ErrorCode::not_found);
}

}  // namespace
}  // namespace dagverk::stores
