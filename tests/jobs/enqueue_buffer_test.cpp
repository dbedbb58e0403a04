// Jobs enqueued while the store is away: none is lost, none stands before an earlier one, none is there twice.

#include "dagverk/jobs/enqueue_buffer.hpp"

#include "support/seed_count.hpp"
#include "support/temporary_folder.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/base/random.hpp"
#include "dagverk/jobs/job_client.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/testing_jobs/faulty_store.hpp"
#include "dagverk/testing_jobs/memory_job_store.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::jobs {
namespace {

using namespace std::chrono_literals;
using testing_jobs::FaultyStore;
using testing_jobs::MemoryJobStore;
using testing_jobs::StoreFault;
using testing_jobs::StoreOperation;

/// Refuses every batch with a job of queue "never".
class PickyStore final : public FaultyStore {
 public:
  using FaultyStore::FaultyStore;

  Outcomes enqueue(std::vector<EnqueueRequest> jobs) override {
    const bool refuses = std::ranges::any_of(jobs, [](const EnqueueRequest& job) { return job.queue == "never"; });
    if (refuses) co_return Error(ErrorCode::refused, "no more queues");
    Result<std::vector<ItemOutcome>> outcomes = co_await FaultyStore::enqueue(std::move(jobs));
    co_return outcomes;
  }
};

class Kinds final : public EventSink {
 public:
  [[nodiscard]] bool wants(std::size_t /*kind*/) const noexcept override { return true; }
  void notify(Event event) noexcept override { all.push_back(std::move(event)); }
  std::vector<Event> all;
};

/// A store that can be away, behind a client with a buffer.
class BufferWorld {
 public:
  explicit BufferWorld(EnqueueBufferOptions options = {}, std::optional<std::uint64_t> seed = {})
      : runtime({.seed = seed}) {
    options.events = &events;
    buffer = EnqueueBuffer::open(runtime, picky, std::move(options)).value();
    client = std::make_unique<JobClient>(runtime, picky, ClientOptions{.events = &events, .buffer = buffer.get()});
  }

  void away(StoreFault fault = StoreFault::before) {
    picky.set_rule(StoreOperation::enqueue, [fault](std::size_t) { return fault; });
  }
  void back() { away(StoreFault::none); }
  [[nodiscard]] Result<std::string> enqueue(std::string jid, std::string queue = "default") const {
    return client->enqueue_blocking(job_of(std::move(jid), std::move(queue)));
  }
  [[nodiscard]] static NewJob job_of(std::string jid, std::string queue = "default") {
    NewJob job;
    job.job_class = "Work";
    job.jid = std::move(jid);
    job.queue = std::move(queue);
    return job;
  }
  /// In the order in which they will be taken.
  [[nodiscard]] std::vector<std::string> ready() {
    const JobPage page = runtime.run(store.list({.state = JobState::ready, .limit = 1000})).value();
    std::vector<std::string> jids;
    for (const StoredJob& job : page.jobs) jids.push_back(job.jid);
    return jids;
  }

  Kinds events;
  DeterministicRuntime runtime;
  MemoryJobStore store{runtime};
  PickyStore picky{store};
  std::unique_ptr<EnqueueBuffer> buffer;
  std::unique_ptr<JobClient> client;
};

using Jids = std::vector<std::string>;

TEST(EnqueueBuffer, jobs_wait_for_a_store_that_is_away_and_reach_it_in_order) {
  BufferWorld world;
  ASSERT_EQ(world.enqueue("a"), "a");
  EXPECT_EQ(world.buffer->stats().buffered, 0U) << "straight into a store that is there";
  world.away();
  ASSERT_EQ(world.enqueue("b"), "b");
  std::vector<NewJob> bulk;
  bulk.push_back(BufferWorld::job_of("c"));
  bulk.push_back(BufferWorld::job_of("d"));
  const auto enqueued = world.client->enqueue_bulk_blocking(std::move(bulk)).value();
  ASSERT_EQ(enqueued.size(), 2U);
  EXPECT_TRUE(enqueued[0].buffered && enqueued[1].buffered);
  const auto calls = world.picky.calls(StoreOperation::enqueue);
  ASSERT_TRUE(world.client->enqueue_in_blocking(BufferWorld::job_of("later"), 1h));
  EXPECT_EQ(world.picky.calls(StoreOperation::enqueue), calls) << "nobody waits for a store that is known to be away";
  EXPECT_EQ(world.ready(), Jids{"a"});
  EXPECT_EQ(world.events.all.size(), 1U) << "of what is in the store, and nothing else";
  EXPECT_EQ(world.buffer->stats().waiting, 4U);
  EXPECT_TRUE(world.buffer->stats().away_since);

  world.back();
  world.runtime.advance(5s);
  EXPECT_EQ(world.ready(), (Jids{"a", "b", "c", "d"}));
  EXPECT_EQ(world.runtime.run(world.store.find("later")).value()->state, JobState::scheduled);
  EXPECT_EQ(world.events.all.size(), 5U);
  EXPECT_TRUE(std::holds_alternative<JobScheduled>(world.events.all.back()));
  EXPECT_EQ(job_of(world.events.all[1])->job_class, "Work");
  const EnqueueBufferStats stats = world.buffer->stats();
  EXPECT_EQ(stats.stored, 4U);
  EXPECT_EQ(stats.waiting + stats.waiting_bytes, 0U);
  EXPECT_FALSE(stats.away_since);
  ASSERT_EQ(world.enqueue("e"), "e");
  EXPECT_EQ(world.buffer->stats().buffered, 4U);
}

TEST(EnqueueBuffer, a_full_buffer_says_so_beside_why_the_store_is_away) {
  BufferWorld world({.jobs_max = 2});
  world.away();
  ASSERT_TRUE(world.enqueue("a") && world.enqueue("b"));
  const Result<std::string> third = world.enqueue("c");
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().code(), ErrorCode::unavailable);
  EXPECT_NE(third.error().message().find("has room for 2 jobs, and 2 wait there"), std::string::npos)
      << third.error().message();
  EXPECT_EQ(world.buffer->stats().turned_away, 1U);
  world.back();
  world.runtime.advance(5s);
  EXPECT_EQ(world.ready(), (Jids{"a", "b"}));

  BufferWorld small({.bytes_max = 300});
  small.away();
  ASSERT_TRUE(small.enqueue("a"));
  EXPECT_NE(small.enqueue("b").error().message().find("has room for 300 bytes"), std::string::npos);
  EXPECT_EQ(EnqueueBuffer::open(world.runtime, world.store, {.jobs_max = 0}).error().message(),
            "EnqueueBufferOptions::jobs_max: needs 1 or more, got 0");
}

TEST(EnqueueBuffer, a_job_whose_answer_was_lost_is_in_the_store_once) {
  BufferWorld world;
  world.away(StoreFault::after);
  ASSERT_TRUE(world.enqueue("a"));
  EXPECT_EQ(world.ready(), Jids{"a"});
  world.back();
  world.runtime.advance(5s);
  EXPECT_EQ(world.ready(), Jids{"a"});
  EXPECT_EQ(world.buffer->stats().superfluous, 1U);
  EXPECT_EQ(world.enqueue("a").error().code(), ErrorCode::already_exists);
}

TEST(EnqueueBuffer, a_job_that_is_refused_later_holds_up_no_other) {
  const TemporaryFolder folder;
  const std::string file = folder.file("enqueues");
  BufferWorld world({.file = file});
  EXPECT_EQ(world.enqueue("x", "never").error().code(), ErrorCode::refused) << "told at once by a store that is there";
  world.away();
  ASSERT_TRUE(world.enqueue("a") && world.enqueue("b", "never") && world.enqueue("c"));
  world.back();
  world.runtime.advance(5s);
  EXPECT_EQ(world.ready(), (Jids{"a", "c"}));
  EXPECT_EQ(world.buffer->stats().refused, 1U);
  EXPECT_EQ(world.buffer->stats().stored, 2U);
  std::ifstream aside(file + ".refused");
  std::string line;
  ASSERT_TRUE(std::getline(aside, line));
  EXPECT_NE(line.find(R"("jid":"b")"), std::string::npos) << line;
}

TEST(EnqueueBuffer, closing_waits_for_the_store_and_says_what_is_left) {
  BufferWorld world;
  world.away();
  ASSERT_TRUE(world.enqueue("a") && world.enqueue("b"));
  world.back();
  EXPECT_EQ(world.buffer->close(1min), 0U);
  EXPECT_EQ(world.ready(), (Jids{"a", "b"}));
  BufferWorld lost;
  lost.away();
  ASSERT_TRUE(lost.enqueue("a"));
  EXPECT_EQ(lost.buffer->close(1min), 1U);
  EXPECT_EQ(lost.buffer->close(1min), 1U);
  EXPECT_FALSE(lost.enqueue("b"));
}

// ---- on disk ----

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

TEST(EnqueueBuffer, a_file_keeps_what_waits_for_the_next_program) {
  const TemporaryFolder folder;
  const std::string file = folder.file("enqueues");
  {
    BufferWorld world({.file = file});
    world.away();
    ASSERT_TRUE(world.enqueue("a") && world.enqueue("b"));
    ASSERT_TRUE(world.client->enqueue_in_blocking(BufferWorld::job_of("later"), 1h));
    EXPECT_EQ(world.buffer->close(0s), 3U);
    const std::string other =
        std::string(EnqueueBuffer::open(world.runtime, world.store, {.file = folder.path()}).error().message());
    EXPECT_NE(other.find(folder.path()), std::string::npos) << "a folder is no file: " << other;
    EXPECT_EQ(EnqueueBuffer::open(world.runtime, world.store, {.file = file}).error().code(), ErrorCode::already_exists)
        << "one buffer at a time";
  }
  write_bytes(file, bytes_of(file) + R"({"state":"ready","jid":"half)");  // a crash in the middle of a line
  const std::string kept = bytes_of(file);
  BufferWorld world({.file = file});
  EXPECT_EQ(world.buffer->stats().found, 3U);
  world.runtime.advance(5s);
  EXPECT_EQ(world.ready(), (Jids{"a", "b"}));
  const auto later = world.runtime.run(world.store.find("later")).value();
  ASSERT_TRUE(later);
  EXPECT_EQ(later->state, JobState::scheduled);
  EXPECT_EQ(world.buffer->stats().stored, 3U);
  EXPECT_LT(bytes_of(file).size(), kept.size()) << "what the store has is not kept";
  EXPECT_EQ(std::ranges::count(bytes_of(file), '\n'), 1);
}

TEST(EnqueueBuffer, some_of_the_jobs_in_a_file_have_gone) {
  const TemporaryFolder folder;
  const std::string file = folder.file("enqueues");
  std::string first;
  {
    BufferWorld world({.file = file});
    world.away();
    std::vector<NewJob> bulk;
    for (int index = 0; index < 150; ++index) bulk.push_back(BufferWorld::job_of(concat("j", 100 + index)));
    ASSERT_TRUE(world.client->enqueue_bulk_blocking(std::move(bulk)));
    // One batch comes through, and then the store is away again.
    world.picky.set_rule(StoreOperation::enqueue, [calls = 0](std::size_t) mutable {
      return ++calls == 1 ? StoreFault::none : StoreFault::before;
    });
    world.runtime.advance(5s);
    EXPECT_EQ(world.ready().size(), 100U);
    EXPECT_EQ(world.buffer->stats().waiting, 50U);
    first = world.ready().back();
  }
  BufferWorld world({.file = file});
  EXPECT_EQ(world.buffer->stats().found, 50U);
  world.runtime.advance(1s);
  ASSERT_EQ(world.ready().size(), 50U);
  EXPECT_EQ(first, "j199");
  EXPECT_EQ(world.ready().front(), "j200");
}

TEST(EnqueueBuffer, a_file_that_no_buffer_wrote_is_left_alone) {
  const TemporaryFolder folder;
  const std::string file = folder.file("enqueues");
  DeterministicRuntime runtime;
  MemoryJobStore store(runtime);
  const std::string good = "{\"dagverk_buffer\":1}\n";
  const std::pair<std::string, std::string> cases[] = {
      {"precious", "is none: give another file"},
      {"precious\n", "line 1: no buffer wrote this"},
      {good + "precious\n", "line 2: "},
      {good + "{\"gone\":1}\n", "line 2: more jobs have gone than there were"},
      {good + "{\"dagverk_export_end\":1}\n", "line 2: not a job"},
  };
  for (const auto& [bytes, message] : cases) {
    write_bytes(file, bytes);
    const auto opened = EnqueueBuffer::open(runtime, store, {.file = file});
    ASSERT_FALSE(opened) << bytes;
    EXPECT_EQ(opened.error().code(), ErrorCode::malformed);
    EXPECT_NE(opened.error().message().find(message), std::string::npos) << opened.error().message();
    EXPECT_EQ(bytes_of(file), bytes);
  }
  EXPECT_EQ(EnqueueBuffer::open(runtime, store, {.file = folder.path() + "/none/enqueues"}).error().code(),
            ErrorCode::io);
}

TEST(EnqueueBuffer, a_file_that_is_never_empty_does_not_grow_for_ever) {
  const TemporaryFolder folder;
  const std::string file = folder.file("enqueues");
  BufferWorld world({.file = file});
  std::uintmax_t largest = 0;
  for (int round = 0; round < 4; ++round) {
    world.away();
    std::vector<NewJob> bulk;
    for (int index = 0; index < 101; ++index) {
      bulk.push_back(BufferWorld::job_of(concat("r", round, "_", index)));
      bulk.back().args_json = concat("[\"", std::string(30'000, 'x'), "\"]");
    }
    ASSERT_TRUE(world.client->enqueue_bulk_blocking(std::move(bulk)));
    largest = std::max(largest, std::filesystem::file_size(file));
    world.picky.set_rule(StoreOperation::enqueue, [calls = 0](std::size_t) mutable {
      return ++calls == 1 ? StoreFault::none : StoreFault::before;  // a batch, but not the rest
    });
    world.runtime.advance(6s);
    EXPECT_EQ(world.buffer->stats().waiting, static_cast<std::uint64_t>(round) + 1);
  }
  EXPECT_LT(largest, std::uintmax_t{8} << 20U)
      << "101 jobs of 30 KB each wait at most, four times as many went through";
  world.buffer->close(0s);
  world.buffer.reset();
  BufferWorld next({.file = file});
  EXPECT_EQ(next.buffer->stats().found, 4U);
  next.runtime.advance(1s);
  EXPECT_EQ(next.ready(), (Jids{"r3_97", "r3_98", "r3_99", "r3_100"}));
}

TEST(EnqueueBuffer, a_unique_lock_is_in_the_file_too) {
  const TemporaryFolder folder;
  const std::string file = folder.file("enqueues");
  EnqueueRequest job;
  job.jid = "j";
  job.queue = "default";
  job.payload = "{}";
  job.unique =
      UniqueLock{.key = "\xff\"k", .until = LockUntil::period, .expiry = 90s, .conflict = LockConflict::replace};
  {
    BufferWorld world({.file = file});
    world.away();
    std::vector<EnqueueRequest> batch{job};
    ASSERT_TRUE(world.runtime.run(world.buffer->enqueue(std::move(batch))).value().buffered);
  }
  DeterministicRuntime runtime;
  EnqueueRequest seen;
  class Seer final : public FaultyStore {
   public:
    Seer(JobStore& store, EnqueueRequest& into) : FaultyStore(store), into_(into) {}
    Outcomes enqueue(std::vector<EnqueueRequest> jobs) override {
      into_ = jobs.at(0);
      co_return std::vector<ItemOutcome>{ItemOutcome::locked};
    }

   private:
    EnqueueRequest& into_;
  };
  MemoryJobStore store(runtime);
  Seer seer(store, seen);
  const auto buffer = EnqueueBuffer::open(runtime, seer, {.file = file}).value();
  runtime.advance(1s);
  ASSERT_TRUE(seen.unique);
  EXPECT_EQ(seen.jid, "j");
  EXPECT_EQ(seen.unique->key, job.unique->key);
  EXPECT_EQ(seen.unique->until, LockUntil::period);
  EXPECT_EQ(seen.unique->expiry, Duration(90s));
  EXPECT_EQ(seen.unique->conflict, LockConflict::replace);
  EXPECT_EQ(buffer->stats().superfluous, 1U);
}

TEST(EnqueueBuffer, a_queue_at_its_bound_is_an_answer_and_the_job_is_put_aside) {
  const TemporaryFolder folder;
  const std::string file = folder.file("enqueues");
  BufferWorld world({.file = file});
  Limit limit{.scope = LimitScope::queue, .name = "small"};
  limit.bound = QueueBound{1, WhenFull::refuse, {}};
  ASSERT_TRUE(world.runtime.run(world.store.put_limit(limit)));
  ASSERT_TRUE(world.enqueue("a", "small"));
  const auto full = world.enqueue("b", "small");
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code(), ErrorCode::refused) << "the store is there, and says so at once";
  EXPECT_NE(full.error().message().find("queue small is full: its bound of 1 waiting jobs"), std::string_view::npos);
  EXPECT_EQ(world.buffer->stats().waiting, 0U);

  world.away();
  ASSERT_TRUE(world.enqueue("c", "small"));
  ASSERT_TRUE(world.enqueue("d"));
  world.back();
  world.runtime.advance(1min);
  const EnqueueBufferStats stats = world.buffer->stats();
  EXPECT_EQ(stats.waiting, 0U) << "not kept for ever";
  EXPECT_EQ(stats.refused, 1U);
  EXPECT_EQ(stats.stored, 1U);
  EXPECT_EQ(world.ready(), (Jids{"d", "a"}));
  EXPECT_TRUE(std::filesystem::exists(file + ".refused"));
}

// ---- property ----

TEST(EnqueueBuffer, whatever_the_store_does_every_job_is_there_once_and_in_order) {
  for (std::uint64_t seed = 1; seed <= seed_count(500); ++seed) {
    SCOPED_TRACE(concat("seed ", seed));
    Random random(seed);
    BufferWorld world({}, seed);
    const auto rule = [&random](std::size_t) {
      const std::uint64_t draw = random.below(4);
      return draw == 0 ? StoreFault::before : draw == 1 ? StoreFault::after : StoreFault::none;
    };
    Jids given;
    for (int step = 0; step < 20; ++step) {
      if (random.below(4) == 0) world.picky.set_rule(StoreOperation::enqueue, rule);
      if (random.below(4) == 0) world.away();
      if (random.below(4) == 0) world.runtime.advance(std::chrono::milliseconds(random.below(3000)));
      given.push_back(concat("j", 100 + step));
      ASSERT_EQ(world.enqueue(given.back()), given.back());
    }
    world.back();
    world.runtime.advance(10s);
    ASSERT_EQ(world.ready(), given);
    const EnqueueBufferStats stats = world.buffer->stats();
    ASSERT_EQ(stats.buffered, stats.stored + stats.superfluous);
  }
}

}  // namespace
}  // namespace dagverk::jobs
