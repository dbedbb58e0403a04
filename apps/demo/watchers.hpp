#pragma once

#include "dagverk/base/mutex.hpp"
#include "dagverk/event/event_handler.hpp"
#include "dagverk/jobs/job_events.hpp"

#include <cstdint>
#include <latch>
#include <map>
#include <set>
#include <string>

namespace dagverk::demo {

/// What happened to one job, folded from its events.
struct JobStory {
  std::string job_class;
  std::uint32_t started = 0;
  std::uint32_t finished = 0;
  std::uint32_t retried = 0;
  std::uint32_t rescued = 0;
  std::uint32_t requeued = 0;
  std::uint32_t died = 0;
  WallTime first_start{};
  WallTime rerun_start{};  ///< of the first run after a rescue
  std::string output;

  /// Every run ended in exactly one way.
  [[nodiscard]] bool explained() const noexcept { return started == finished + retried + rescued + requeued + died; }
  [[nodiscard]] bool ended() const noexcept { return finished + died > 0; }
};

/// What the healthy handler has seen, shared with the main thread.
class Stories {
 public:
  void add(const jobs::Event& event);

  struct Counts {
    std::uint64_t jobs = 0;
    std::uint64_t ended = 0;
  };
  [[nodiscard]] Counts counts() const;
  [[nodiscard]] std::map<std::string, JobStory> all() const;
  /// Blocks until something was added, at most `limit`.
  void wait(Duration limit);

 private:
  mutable Mutex mutex_;
  Condition changed_;
  std::map<std::string, JobStory> jobs_ DAGVERK_GUARDED_BY(mutex_);
  std::uint64_t ended_ DAGVERK_GUARDED_BY(mutex_) = 0;
};

/// Writes down every event.
class Healthy : public EventHandler<jobs::Event> {
 public:
  explicit Healthy(Stories* stories) : stories_(stories) {}
  void handle_event(const jobs::Event& event) { stories_->add(event); }

 private:
  Stories* stories_;  // the program's
};

/// Takes nine events and never comes back from the tenth.
class Hung : public EventHandler<jobs::Event> {
 public:
  static constexpr bool blocking = true;
  explicit Hung(std::latch* never) : never_(never) {}
  void handle_event(const jobs::Event& /*event*/) {
    if (++seen_ == 10) never_->wait();
  }

 private:
  std::latch* never_;  // the program's
  int seen_ = 0;
};

/// Throws at every hundredth event.
class Thrower : public EventHandler<jobs::Event> {
 public:
  explicit Thrower(std::uint64_t* seen) : seen_(seen) {}
  void handle_event(const jobs::Event& event);

 private:
  std::uint64_t* seen_;  // the program's: outlives the handler's crashes, touched by one handler at a time
};

}  // namespace dagverk::demo
