#pragma once

#include "conformance/sqlite_world.hpp"

#include "dagverk/base/mutex.hpp"
#include "dagverk/jobs/job_client.hpp"
#include "dagverk/jobs/journal.hpp"
#include "dagverk/jobs/node.hpp"
#include "dagverk/stores/sqlite/sqlite_store.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::jobs {

/// Keeps every event.
class EventRecorder final : public EventSink {
 public:
  [[nodiscard]] bool wants(std::size_t /*kind*/) const noexcept override { return true; }
  void notify(Event event) noexcept override {
    MutexLock lock(mutex_);
    events_.push_back(std::move(event));
  }

  [[nodiscard]] std::vector<Event> events() const {
    MutexLock lock(mutex_);
    return events_;
  }
  /// The names of the kinds that concern `jid`, sorted: events of different processes come in any order.
  [[nodiscard]] std::vector<std::string> story_of(std::string_view jid) const {
    std::vector<std::string> names;
    for (const Event& event : events()) {
      const JobIdentity* job = job_of(event);
      if (job != nullptr && job->jid == jid) names.emplace_back(kind_name(event));
    }
    std::ranges::sort(names);
    return names;
  }
  template <class Kind>
  [[nodiscard]] std::vector<Kind> all() const {
    std::vector<Kind> found;
    for (const Event& event : events()) {
      if (const Kind* kind = std::get_if<Kind>(&event)) found.push_back(*kind);
    }
    return found;
  }

 private:
  mutable Mutex mutex_;
  std::vector<Event> events_ DAGVERK_GUARDED_BY(mutex_);
};

/// A store on a file of its own, with what tests ask it; `Run` is the kind of runtime.
template <class Run>
class NodeWorld {
 public:
  template <class... Args>
  explicit NodeWorld(Args&&... args) : runtime(std::forward<Args>(args)...), store(open_store()) {}

  [[nodiscard]] std::unique_ptr<stores::SqliteStore> open_store() {
    stores::SqliteOptions options;
    options.path = folder.file("jobs.db");
    return stores::SqliteStore::open(runtime, std::move(options)).value();
  }

  [[nodiscard]] std::unique_ptr<Node> start(JobRegistry registry, std::size_t concurrency = 4,
                                            NodeOptions options = {}) {
    if (options.pools.empty()) options.pools.push_back({.queues = {"default"}, .concurrency = concurrency});
    options.events = &events;
    if (options.seed == 0) options.seed = 7;
    Result<std::unique_ptr<Node>> node = Node::start(runtime, *store, std::move(registry), std::move(options));
    if (!node) throw std::runtime_error(std::string(node.error().message()));
    return std::move(*node);
  }

  std::string enqueue(std::string job_class, std::string args_json = "[]", std::string queue = "default") {
    NewJob job;
    job.job_class = std::move(job_class);
    job.args_json = std::move(args_json);
    job.queue = std::move(queue);
    return client().enqueue_blocking(std::move(job)).value();
  }
  void enqueue_raw(std::string jid, std::string payload, std::string queue = "default") {
    std::vector<EnqueueRequest> batch;
    batch.push_back(
        {.jid = std::move(jid), .queue = std::move(queue), .class_name = "", .payload = std::move(payload)});
    if (runtime.run(store->enqueue(std::move(batch))).value().front() != ItemOutcome::done)
      throw std::logic_error("dup");
  }
  [[nodiscard]] JobClient client() { return JobClient(runtime, *store, {.events = &events}); }
  [[nodiscard]] std::optional<StoredJob> find(const std::string& jid) { return runtime.run(store->find(jid)).value(); }
  [[nodiscard]] QueueCounts totals() { return runtime.run(store->totals()).value().counts; }
  [[nodiscard]] std::vector<JournalRow> journal(const std::string& jid = {}) {
    std::vector<JournalRow> rows;
    for (JournalCursor cursor = 0;;) {
      JournalQuery query;
      query.after = cursor;
      query.limit = 1000;
      query.jid = jid;
      const JournalPage page = runtime.run(store->read_journal(std::move(query))).value();
      rows.insert(rows.end(), page.rows.begin(), page.rows.end());
      cursor = page.next;
      if (page.at_end) return rows;
    }
  }
  [[nodiscard]] std::vector<JournalKind> kinds(const std::string& jid) {
    std::vector<JournalKind> all;
    for (const JournalRow& row : journal(jid)) all.push_back(row.kind);
    return all;
  }

  conformance::ScratchFolder folder;
  EventRecorder events;
  Run runtime;
  std::unique_ptr<stores::SqliteStore> store;
};

}  // namespace dagverk::jobs
