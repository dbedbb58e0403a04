#pragma once

#include "bench_report.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_client.hpp"
#include "dagverk/jobs/node.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stores/sqlite/sqlite_store.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <latch>
#include <memory>
#include <string>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace dagverk::bench {

inline constexpr std::size_t concurrency = 100;

/// A store file of its own in the working directory, whose disk is the one that is measured.
class NodeStore {
 public:
  NodeStore(RuntimeBase& runtime, bool journal) {
    options_.path = concat("dagverk_bench_node_", ::getpid(), ".db");
    options_.journal = journal;
    remove_files();
    auto opened = stores::SqliteStore::open(runtime, options_);
    DAGVERK_ASSERT(opened.has_value());
    store_ = std::move(*opened);
  }
  NodeStore(const NodeStore&) = delete;
  NodeStore& operator=(const NodeStore&) = delete;
  ~NodeStore() {
    store_.reset();
    remove_files();
  }
  jobs::JobStore& operator*() noexcept { return *store_; }

 private:
  void remove_files() const {
    std::error_code ignored;
    for (const char* suffix : {"", "-wal", "-shm", ".nodes"})
      std::filesystem::remove_all(options_.path + suffix, ignored);
  }

  stores::SqliteOptions options_;
  std::unique_ptr<stores::SqliteStore> store_;
};

inline std::unique_ptr<jobs::Node> start_node(RuntimeBase& runtime, jobs::JobStore& store, jobs::JobRegistry registry,
                                              jobs::EventSink* events = nullptr) {
  jobs::NodeOptions options;
  options.events = events;
  options.pools.push_back({.queues = {"default"}, .concurrency = concurrency});
  auto node = jobs::Node::start(runtime, store, std::move(registry), std::move(options));
  DAGVERK_ASSERT(node.has_value());
  return std::move(*node);
}

inline Async<void> enqueue_many(jobs::JobClient& client, std::size_t count) {
  for (std::size_t index = 0; index < count; ++index) {
    jobs::NewJob job;
    job.job_class = "Noop";
    job.args_json = "[1,\"two\"]";
    const Result<std::string> jid = co_await client.enqueue(std::move(job));
    DAGVERK_ASSERT(jid.has_value());
  }
}

/// Sends no-op jobs through a whole node, from 64 clients that enqueue one at a time, and checks that all of them ran.
class JobLoad {
 public:
  /// `events`: where the node's events go; null: nowhere.
  JobLoad(Runtime& runtime, bool journal, jobs::EventSink* events)
      : store_(runtime, journal), client_(runtime, *store_), runtime_(runtime), events_(events) {}

  /// Jobs a second, from the first enqueue until the last end is stored.
  [[nodiscard]] double run() {
    constexpr std::size_t producers = 64;
    constexpr std::size_t each = 1500;
    constexpr std::size_t total = producers * each;
    std::atomic<std::size_t> runs{0};
    std::latch all_ran(1);
    jobs::JobRegistry registry;
    registry.define("Noop", [&](int, const std::string&) {
      if (++runs == total) all_ran.count_down();
    });
    const std::unique_ptr<jobs::Node> node = start_node(runtime_, *store_, std::move(registry), events_);
    const double taken = seconds([&] {
      for (std::size_t producer = 0; producer < producers; ++producer) {
        runtime_.spawn([this] { return enqueue_many(client_, each); });
      }
      all_ran.wait();
      node->stop(std::chrono::seconds(10));
    });
    const auto totals = runtime_.run((*store_).totals());
    DAGVERK_ASSERT(totals.has_value() && totals->counts.finished == total && totals->counts.balanced());
    return static_cast<double>(total) / taken;
  }

 private:
  NodeStore store_;
  jobs::JobClient client_;
  Runtime& runtime_;
  jobs::EventSink* events_;
};

}  // namespace dagverk::bench
