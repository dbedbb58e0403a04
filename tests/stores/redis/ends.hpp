#pragma once

#include "dagverk/jobs/event_sink.hpp"
#include "dagverk/jobs/job_events.hpp"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <string>

namespace dagverk::stores {

/// Counts the events that say that a job has ended somehow, and waits for them.
class Ends final : public jobs::EventSink {
 public:
  [[nodiscard]] bool wants(std::size_t kind) const noexcept override {
    return kind == jobs::event_kind<jobs::JobFinished> || kind == jobs::event_kind<jobs::JobRetried> ||
           kind == jobs::event_kind<jobs::JobDied>;
  }
  void notify(jobs::Event event) noexcept override {
    const std::lock_guard lock(mutex_);
    ended_.insert(jobs::job_of(event)->jid);
    changed_.notify_all();
  }
  /// False after a generous while.
  [[nodiscard]] bool wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), [&] { return ended_.size() >= count; });
  }
  [[nodiscard]] std::multiset<std::string> jids() const {
    const std::lock_guard lock(mutex_);
    return ended_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::multiset<std::string> ended_;
};

}  // namespace dagverk::stores
