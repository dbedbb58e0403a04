#pragma once

// What the tests of every store share.

#include "conformance/store_world.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/base/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <set>

namespace dagverk::conformance {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace): tests read better
using jobs::ItemOutcome;
using jobs::JobState;
using jobs::JournalKind;
using jobs::Settlement;

class JobStoreConformance : public testing::TestWithParam<StoreFactory> {
 protected:
  using Outcomes = std::vector<ItemOutcome>;

  /// Lives a random life of so many steps, and its `end`, for each of 2,000 seeds in memory, 10 on other stores, in a
  /// world of its own. DAGVERK_SEED in the environment runs that seed alone. Stops at the first failure.
  template <class Life>
  void live(int steps, void (Life::*end)()) {
    const bool quick = std::string_view(GetParam().name) == "memory";
    const char* const given = std::getenv("DAGVERK_SEED");
    const std::uint64_t first = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
    const std::uint64_t seeds = given != nullptr ? 1 : quick ? 2000 : 10;
    for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
      SCOPED_TRACE(concat("DAGVERK_SEED=", seed));
      store_.reset();
      world_ = GetParam().make();
      Life life(*world_, seed);
      for (int step = 0; step < steps && !HasFailure(); ++step) life.step();
      if (!HasFailure()) (life.*end)();
      if (HasFailure()) return;
    }
  }

  static jobs::EnqueueRequest job(std::string jid, std::string queue = "default") {
    jobs::EnqueueRequest request;
    request.payload = concat(R"({"jid":")", jid, R"("})");
    request.jid = std::move(jid);
    request.queue = std::move(queue);
    request.class_name = "Work";
    return request;
  }

  void enqueue(StoreSession& store, std::vector<std::string> jids, const std::string& queue = "default") {
    std::vector<jobs::EnqueueRequest> batch;
    for (std::string& jid : jids) batch.push_back(job(std::move(jid), queue));
    const auto outcomes = store.enqueue(std::move(batch));
    ASSERT_TRUE(outcomes) << outcomes.error().message();
    for (const ItemOutcome outcome : *outcomes) ASSERT_EQ(outcome, ItemOutcome::done);
  }

  static jobs::NodeEpoch node(StoreSession& store, std::string name = "node") {
    const auto epoch = store.register_node({std::move(name), "{}"});
    EXPECT_TRUE(epoch) << epoch.error().message();
    return epoch.value_or(0);
  }

  static std::vector<jobs::TakenJob> take(StoreSession& store, jobs::NodeEpoch by, std::size_t max = 100,
                                          std::vector<std::string> queues = {"default"}) {
    auto taken = store.take({by, std::move(queues), max});
    EXPECT_TRUE(taken) << taken.error().message();
    return taken ? std::move(*taken) : std::vector<jobs::TakenJob>();
  }

  static std::vector<std::string> jids(const std::vector<jobs::TakenJob>& taken) {
    std::vector<std::string> names;
    for (const jobs::TakenJob& job : taken) names.push_back(job.jid);
    return names;
  }
  static std::vector<std::string> jids(const jobs::JobPage& page) {
    std::vector<std::string> names;
    for (const jobs::StoredJob& job : page.jobs) names.push_back(job.jid);
    return names;
  }

  static ItemOutcome settle(StoreSession& store, Settlement settlement) {
    std::vector<Settlement> batch;
    batch.push_back(std::move(settlement));
    const auto outcomes = store.settle(std::move(batch));
    EXPECT_TRUE(outcomes) << outcomes.error().message();
    return outcomes ? outcomes->front() : ItemOutcome::missing;
  }

  static std::optional<JobState> state_of(StoreSession& store, const std::string& jid) {
    const auto found = store.find(jid);
    EXPECT_TRUE(found) << found.error().message();
    if (!found || !*found) return std::nullopt;
    return (*found)->state;
  }

  static std::vector<jobs::JournalRow> whole_journal(StoreSession& store, std::string jid = {},
                                                     std::size_t limit = 100) {
    std::vector<jobs::JournalRow> rows;
    jobs::JournalCursor after = 0;
    while (true) {
      const auto page = store.read_journal({after, limit, jid});
      EXPECT_TRUE(page) << page.error().message();
      if (!page) return rows;
      rows.insert(rows.end(), page->rows.begin(), page->rows.end());
      after = page->next;
      if (page->at_end) return rows;
    }
  }

  static std::vector<JournalKind> kinds(const std::vector<jobs::JournalRow>& rows) {
    std::vector<JournalKind> list;
    for (const jobs::JournalRow& row : rows) list.push_back(row.kind);
    return list;
  }

  static jobs::QueueCounts counts(StoreSession& store) {
    const auto totals = store.totals();
    EXPECT_TRUE(totals) << totals.error().message();
    return totals ? totals->counts : jobs::QueueCounts();
  }

  void SetUp() override {
    if (!world_) GTEST_SKIP() << "the server of this store is not installed: ./dev setup";
    store_ = world_->open();
  }

  std::unique_ptr<StoreWorld> world_ = GetParam().make();
  std::unique_ptr<StoreSession> store_;
};

}  // namespace dagverk::conformance
