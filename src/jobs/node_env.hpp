#pragma once

#include "jobs/node_pools.hpp"
#include "jobs/run_notes.hpp"

#include "dagverk/base/log.hpp"
#include "dagverk/jobs/job_registry.hpp"
#include "dagverk/jobs/job_store.hpp"
#include "dagverk/jobs/node_options.hpp"
#include "dagverk/runtime/os_process.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dagverk::jobs {

/// Nobody listens.
class NoEvents final : public EventSink {
 public:
  [[nodiscard]] bool wants(std::size_t /*kind*/) const noexcept override { return false; }
  void notify(Event /*event*/) noexcept override {}
};

/// The counters behind NodeStats; written by the node's processes, read by anybody.
struct NodeCounters {
  using Counter = std::atomic<std::uint64_t>;
  Counter started{0}, finished{0}, retried{0}, died{0}, discarded{0}, requeued{0}, lease_lost{0}, rescued{0},
      snoozed{0}, expired{0}, cancelled{0}, promoted{0}, store_errors{0}, restarts{0};

  [[nodiscard]] NodeStats read() const noexcept {
    return {.started = started,
            .finished = finished,
            .retried = retried,
            .died = died,
            .discarded = discarded,
            .requeued = requeued,
            .snoozed = snoozed,
            .expired = expired,
            .cancelled = cancelled,
            .lease_lost = lease_lost,
            .rescued = rescued,
            .promoted = promoted,
            .store_errors = store_errors,
            .restarts = restarts};
  }
};

/// What all processes of a node share and none of them changes, besides counters; what users change while the node
/// works is in its NodePools. Outlives restarts of the pipeline.
/// Shared by them and the Node; ends with the last, since a run may still be on its thread when all else is gone.
struct NodeEnv {
  NodeEnv(RuntimeBase& runtime_, JobStore& store_, JobRegistry registry_, NodeOptions options_)
      : runtime(runtime_),
        store(store_),
        registry(std::move(registry_)),
        options(std::move(options_)),
        pools(runtime_, registry.has_functions()) {}
  NodeEnv(const NodeEnv&) = delete;
  NodeEnv& operator=(const NodeEnv&) = delete;

  RuntimeBase& runtime;
  JobStore& store;
  const JobRegistry registry;
  const NodeOptions options;
  std::string name;
  std::string host;
  std::string identity;
  WallTime started_at{};
  NoEvents no_events;
  EventSink* events = &no_events;
  std::unique_ptr<OsProcessSpawner> own_spawner;  // null when borrowed or not needed
  OsProcessSpawner* spawner = nullptr;            // null without command jobs
  NodePools pools;
  NoteBook notes;
  std::atomic<NodeEpoch> epoch{0};           // of the latest registration; 0: none
  std::atomic<std::uint64_t> given_back{0};  // by registrations that have left in order
  std::atomic<bool> stopping{false};         // no registration begins any more
  NodeCounters counters;

  [[nodiscard]] WallTime now() const noexcept { return runtime.clock().wall_now(); }
};
using NodeEnvPtr = std::shared_ptr<NodeEnv>;  // see above

struct JobInHand;

/// Counts and tells that the end of a run will never be stored: the job is not, or soon not, ours any more.
void report_lost(const JobInHand& job, NodeEnv& env) noexcept;

/// Tells when an operation on the store begins to fail, and when it works again. Lives with the process that does it.
class StoreHealth {
 public:
  explicit StoreHealth(const char* operation) noexcept : operation_(operation) {}

  void failed(NodeEnv& env, const Error& error) {
    if (failing_since_) return;
    failing_since_ = env.now();
    if (!env.events->wants(event_kind<StoreTrouble>)) return;
    env.events->notify(StoreTrouble{env.name, *failing_since_, operation_, std::string(error.message())});
  }
  void works(NodeEnv& env) {
    if (!failing_since_) [[likely]]
      return;
    const WallTime since = *failing_since_;
    failing_since_.reset();
    if (!env.events->wants(event_kind<StoreRecovered>)) return;
    env.events->notify(StoreRecovered{env.name, env.now(), operation_, since});
  }

 private:
  const char* operation_;
  std::optional<WallTime> failing_since_;
};

/// So many jobs, or ends of runs, are worth a trip to the store: it costs little more than one for a single job.
inline constexpr std::size_t worth_a_trip = 16;

/// Whether what is waiting should go to the store now: at once when nothing is under way, and beside one other trip
/// when it is much, so that the store need not wait for us.
[[nodiscard]] constexpr bool may_go(std::size_t trips_under_way, std::size_t waiting) noexcept {
  return trips_under_way == 0 ? waiting > 0 : trips_under_way == 1 && waiting >= worth_a_trip;
}

/// Waits between tries of a store that fails: 50 ms, doubling to 5 s.
class Backoff {
 public:
  [[nodiscard]] Duration next() noexcept {
    const Duration now = delay_;
    delay_ = std::min<Duration>(delay_ * 2, std::chrono::seconds(5));
    return now;
  }
  void reset() noexcept { delay_ = first; }

 private:
  static constexpr Duration first = std::chrono::milliseconds(50);
  Duration delay_ = first;
};

}  // namespace dagverk::jobs
