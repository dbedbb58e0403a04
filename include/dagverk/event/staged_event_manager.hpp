#pragma once

#include "dagverk/base/assert.hpp"
#include "dagverk/event/detail/staged_hub.hpp"
#include "dagverk/event/event_manager.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace dagverk {

/// The most messages that a manager's mailbox can count.
inline constexpr std::size_t ingress_limit = 1'000'000;

struct StagedEventOptions {
  /// Kinds that are produced at all; the others nobody gets, whatever handlers want.
  EventKinds kinds = EventKinds::all();
  /// Events that wait for all handlers with the rule `wait` together. 0: each is dropped for them at once, counted.
  std::size_t wait_events_max = 10'000;
  /// Messages (or events of published batches) under way to the manager; more are turned away, counted as `refused`
  /// and for each handler as `ingress`. Happens when publishers take every core from it. Bounds memory; at most
  /// `ingress_limit`.
  std::size_t ingress_max = 100'000;
};

/// The event manager whose handlers run concurrently, each on demand: the jobs' EventHub.
///
/// Semantics: a broadcast stage with one difference: each handler has its own place among the shared events and its own
///            overflow rule (keep_newest unless it says otherwise), so that one that is slow, hung or crashing costs
///            nobody else anything. Only handlers with the rule `wait` go at one pace, among themselves. A handler that
///            crashed resumes: what is buffered for it goes first.
/// Threads:   `notify` and `wants` from any thread or process, without a lock; otherwise as EventManager.
/// Errors:    as EventManager.
/// Lifetime:  borrows the runtime. The destructor stops it, waiting for handlers as `stop` does, unless it runs inside
///            a process: there it only asks for the stop, so `co_await stop()` first.
/// Bounds:    per handler its rule, for all `wait` handlers `wait_events_max`, on the way in `ingress_max`; batches of
///            more than 1,024 events are cut, so that what is kept of one pins no more than that.
template <class E>
class StagedEventManager final : public EventManager<E> {
  using Hub = detail::StagedHub<E>;

 public:
  /// Starts the manager; anywhere, also inside a process.
  explicit StagedEventManager(RuntimeBase& runtime, StagedEventOptions options = {})
      : StagedEventManager(runtime, options, std::make_shared<detail::StagedShared>()) {}

  ~StagedEventManager() override {
    if (!RuntimeBase::alive(hub_.pid())) return;
    if (this_process::inside()) {
      hub_.cast(typename Hub::StopSoon{event_stop_limit_default});
      return;
    }
    // The limit of the stop bounds the wait; what the last figures say is for those who call stop themselves.
    static_cast<void>(
        hub_.template call_blocking_within<typename Hub::Stop>(Duration::zero(), event_stop_limit_default));
  }

  void notify(E event) override {
    if (!this->wants(EventKind<E>::of(event))) {
      shared_->discarded.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    if (hub_.pid().core()->mailbox_depth() >= ingress_max_) [[unlikely]] {
      shared_->refused.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    if (!detail::send(hub_.pid(), detail::make_cast<Hub, typename Hub::PublishOne>(std::move(event)))) [[unlikely]] {
      shared_->discarded.fetch_add(1, std::memory_order_relaxed);
    }
  }

  /// As above, for many at once. A batch of at most 1,024 events is shared with every handler as it is; a larger one,
  /// or a slice of one, is copied into such (when events can be copied).
  void notify(Batch<E> events) override {
    if constexpr (std::is_copy_constructible_v<E>) {
      if (some_unwanted(events)) events = only_wanted(events);
    }
    if constexpr (std::is_copy_constructible_v<E>) {
      if (events.stored_size() > detail::shared_batch_events) {
        std::span<const E> rest = events.span();
        while (!rest.empty()) {
          const std::size_t count = std::min(rest.size(), detail::shared_batch_events);
          publish(make_batch(rest.first(count)));
          rest = rest.subspan(count);
        }
        return;
      }
    }
    if (!events.empty()) publish(std::move(events));
  }

  [[nodiscard]] RuntimeBase& runtime() const noexcept override { return runtime_; }
  /// The process that runs this manager; for tools.
  [[nodiscard]] Pid pid() const noexcept { return hub_.pid(); }

 private:
  StagedEventManager(RuntimeBase& runtime, StagedEventOptions options, std::shared_ptr<detail::StagedShared> shared)
      : EventManager<E>(std::shared_ptr<const std::atomic<std::uint64_t>>(shared, &shared->wanted)),
        runtime_(runtime),
        ingress_max_(std::min(options.ingress_max, ingress_limit)),
        shared_(std::move(shared)),
        hub_(detail::start_unwaited<Hub>(runtime, StartOptions(),
                                         detail::StagedHubOptions{options.kinds, options.wait_events_max}, shared_)) {}

  void publish(Batch<E> part) {
    const std::size_t count = part.size();
    if (shared_->under_way.fetch_add(count, std::memory_order_relaxed) + count > ingress_max_) {
      shared_->under_way.fetch_sub(count, std::memory_order_relaxed);
      shared_->refused.fetch_add(count, std::memory_order_relaxed);
      return;
    }
    if (!detail::send(hub_.pid(), detail::make_cast<Hub, typename Hub::PublishBatch>(std::move(part)))) {
      shared_->under_way.fetch_sub(count, std::memory_order_relaxed);
      shared_->discarded.fetch_add(count, std::memory_order_relaxed);
    }
  }

  [[nodiscard]] bool some_unwanted(const Batch<E>& events) const noexcept {
    const EventKinds kinds = EventKinds::from_word(shared_->wanted.load(std::memory_order_relaxed));
    if (kinds == EventKinds::all()) return false;
    return std::any_of(events.begin(), events.end(),
                       [&](const E& event) { return !kinds.contains(EventKind<E>::of(event)); });
  }
  [[nodiscard]] Batch<E> only_wanted(const Batch<E>& events) {
    BatchBuilder<E> builder;
    for (const E& event : events) {
      if (this->wants(EventKind<E>::of(event))) builder.emplace(event);
    }
    shared_->discarded.fetch_add(events.size() - builder.size(), std::memory_order_relaxed);
    return builder.build();
  }

  Async<Result<void>> do_add(HandlerSpec<E> spec) override {
    Result<void> added = co_await hub_.template call<typename Hub::Add>(std::move(spec));
    co_return added;
  }
  Async<Result<HandlerStats>> do_remove(std::string name) override {
    // The hub ends the handler within its own limit.
    Result<HandlerStats> last =
        co_await hub_.template call_within<typename Hub::Remove>(2 * detail::handler_end_limit, std::move(name));
    co_return last;
  }
  Async<Result<void>> do_restart(std::string name) override {
    Result<void> restarted = co_await hub_.template call<typename Hub::Restart>(std::move(name));
    co_return restarted;
  }
  Async<Result<std::vector<std::string>>> do_which() override {
    Result<std::vector<std::string>> names = co_await hub_.template call<typename Hub::Which>();
    co_return names;
  }
  Async<Result<EventStats>> do_stats() override {
    Result<EventStats> stats = co_await hub_.template call<typename Hub::Stats>();
    if (!stats) {
      if (shared_->last_stats.load() != nullptr) co_return last_stats();
    }
    co_return stats;
  }
  Async<Result<EventStats>> do_stop(Duration limit) override {
    Result<EventStats> stats = co_await hub_.template call_within<typename Hub::Stop>(Duration::zero(), limit);
    if (!stats) {
      if (shared_->last_stats.load() != nullptr) co_return last_stats();
    }
    co_return stats;
  }

  [[nodiscard]] EventStats last_stats() const {
    EventStats stats = *shared_->last_stats.load();
    stats.discarded = shared_->discarded.load(std::memory_order_relaxed);  // of those who publish after the end
    return stats;
  }

  RuntimeBase& runtime_;
  std::size_t ingress_max_;
  std::shared_ptr<detail::StagedShared> shared_;  // with the hub's process
  ServerRef<Hub> hub_;
};

}  // namespace dagverk
