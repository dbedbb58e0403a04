#pragma once

#include "bench_report.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_store.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

/// What a store costs as jobs pile up: the same steps for each kind of store.
namespace dagverk::bench {

/// How long each of many equal steps takes.
class Steps {
 public:
  template <class Work>
  void time(Work&& work) {
    microseconds_.push_back(seconds(work) * 1e6);
  }
  [[nodiscard]] double percentile(double part) {
    std::sort(microseconds_.begin(), microseconds_.end());
    return microseconds_[static_cast<std::size_t>(part * static_cast<double>(microseconds_.size() - 1))];
  }

 private:
  std::vector<double> microseconds_;
};

inline jobs::EnqueueRequest sized_job(std::string jid) {
  jobs::EnqueueRequest job;
  job.payload =
      concat(R"({"queue":"default","jid":")", jid, R"(","class":"Noop","args":[")", std::string(120, 'x'), R"("]})");
  job.jid = std::move(jid);
  job.queue = "default";
  job.class_name = "Noop";
  return job;
}

/// One enqueue, one take, one settlement, the counts and a page of a listing with `count` jobs waiting in the queue
/// default. `kind`: `sqlite`. `cursor_behind`: that of the page behind so many jobs.
inline void measure_at_size(std::string_view kind, std::string_view size, std::uint64_t count, RuntimeBase& runtime,
                            jobs::JobStore& store, const std::function<std::string(std::uint64_t)>& cursor_behind) {
  const auto node = runtime.run(store.register_node({"bench", {}}));
  DAGVERK_ASSERT(node.has_value());
  Steps enqueue;
  Steps take;
  Steps settle;
  Steps counts;
  Steps page;
  std::string cursor;
  constexpr int rounds = 300;
  for (int round = 0; round < rounds; ++round) {
    enqueue.time([&] {
      std::vector<jobs::EnqueueRequest> batch;
      batch.push_back(sized_job(concat("ffff", round)));
      DAGVERK_ASSERT(runtime.run(store.enqueue(std::move(batch))).has_value());
    });
    Result<std::vector<jobs::TakenJob>> taken = Error(ErrorCode::internal);
    take.time([&] { taken = runtime.run(store.take({*node, {"default"}, 1})); });
    DAGVERK_ASSERT(taken.has_value() && taken->size() == 1);
    settle.time([&] {
      std::vector<jobs::Settlement> settlements;
      settlements.push_back(jobs::Settlement::finish(taken->front().token));
      DAGVERK_ASSERT(runtime.run(store.settle(std::move(settlements))).has_value());
    });
    counts.time([&] {
      DAGVERK_ASSERT(runtime.run(store.totals()).has_value());
      DAGVERK_ASSERT(runtime.run(store.queues({}, 100)).has_value());
    });
    page.time([&] {
      jobs::ListQuery query{.queue = "default", .cursor = cursor};
      const auto listed = runtime.run(store.list(std::move(query)));
      DAGVERK_ASSERT(listed.has_value());
      // Some pages from the start, some from the middle, some near the end.
      cursor = cursor_behind(std::min(count * static_cast<std::uint64_t>(round % 10) / 10 + 1000, count));
    });
  }
  const auto print = [&](std::string_view what, Steps& steps) {
    BenchReport::print(concat("store.", kind, ".at_size.", size, ".", what, ".p50"), steps.percentile(0.5), "us");
    BenchReport::print(concat("store.", kind, ".at_size.", size, ".", what, ".p99"), steps.percentile(0.99), "us");
  };
  print("enqueue", enqueue);
  print("take", take);
  print("settle", settle);
  print("counts", counts);
  print("page", page);
}

inline Async<void> promote_all(jobs::JobStore& store, std::atomic<std::uint64_t>& promoted, std::uint64_t total) {
  while (promoted.load() < total) {
    const WallTime now = system_clock().wall_now();
    const auto due = co_await store.peek_due(now, 1000);
    DAGVERK_ASSERT(due.has_value() && !due->jobs.empty());
    std::vector<jobs::Promotion> promotions;
    promotions.reserve(due->jobs.size());
    for (const jobs::DueJob& job : due->jobs) promotions.push_back({job.handle, job.payload, {}});
    const auto outcomes = co_await store.promote(std::move(promotions));
    DAGVERK_ASSERT(outcomes.has_value());
    promoted += outcomes->size();
  }
}

/// `total` jobs are due at once: one process promotes them as a node does, while takes are timed.
inline void measure_promotion(std::string_view kind, std::uint64_t total, RuntimeBase& runtime, jobs::JobStore& store) {
  const auto node = runtime.run(store.register_node({"bench", {}}));
  DAGVERK_ASSERT(node.has_value());
  std::atomic<std::uint64_t> promoted{0};
  Steps take;
  const double taken_s = seconds([&] {
    const Pid promoter = runtime.spawn([&] { return promote_all(store, promoted, total); });
    while (promoted.load() < total) {
      Result<std::vector<jobs::TakenJob>> taken = Error(ErrorCode::internal);
      take.time([&] { taken = runtime.run(store.take({*node, {"default"}, 10})); });
      DAGVERK_ASSERT(taken.has_value());
      if (taken->empty()) continue;
      std::vector<jobs::Settlement> settlements;
      for (const jobs::TakenJob& job : *taken) settlements.push_back(jobs::Settlement::finish(job.token));
      DAGVERK_ASSERT(runtime.run(store.settle(std::move(settlements))).has_value());
    }
    DAGVERK_ASSERT(runtime.run(this_process::wait_for_exit(promoter, std::chrono::minutes(1))).has_value());
  });
  BenchReport::print(concat("store.", kind, ".promote_million"), taken_s, "s");
  BenchReport::print(concat("store.", kind, ".promote_million.take.p50"), take.percentile(0.5) / 1e3, "ms");
  BenchReport::print(concat("store.", kind, ".promote_million.take.p99"), take.percentile(0.99) / 1e3, "ms");
}

}  // namespace dagverk::bench
