#pragma once

#include "dagverk/event/detail/handler_process.hpp"
#include "dagverk/event/detail/hub_messages.hpp"
#include "dagverk/event/event_manager.hpp"
#include "dagverk/runtime/this_process.hpp"

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

}  // namespace dagverk

namespace dagverk::detail {

/// A manager's process, and what it shares with publishers.
template <class Hub>
struct RunningHub {
  ServerRef<Hub> ref;
  std::shared_ptr<HubShared> shared;  // with the process and every manager object of it; ends with the last of them
};

/// How a manager's process starts: linked to the process that makes the manager, or to nobody.
[[nodiscard]] inline StartOptions hub_start(bool link) {
  StartOptions options;
  if (link && this_process::inside()) options.parent = this_process::pid();
  return options;
}

/// An event manager's object: everything that is the same whatever its process `Hub` does with events.
///
/// Semantics: Hub is a GenServer that takes the HubMessages and is constructed from its options and the shared part.
/// Threads:   as EventManager.
/// Lifetime:  borrows the runtime. The destructor of an owner stops the hub, as the managers say; that of an object
///            which was found by a name leaves it alone.
template <class E, class Hub>
class HubManager : public EventManager<E> {
 public:
  ~HubManager() override {
    if (!owns_ || !RuntimeBase::alive(hub_.pid())) return;
    limit_patience(event_stop_limit_default);
    if (this_process::inside()) {
      hub_.cast(typename Hub::StopSoon{event_stop_limit_default});
      return;
    }
    // What the last figures say is for those who call stop themselves.
    const Result<EventStats> stopped = hub_.template call_blocking_within<typename Hub::Stop>(
        stop_patience(event_stop_limit_default), event_stop_limit_default, Pid());
    if (!stopped) runtime_.exit(hub_.pid(), ExitReason::kill);
  }

  void notify(E event) override {
    if (!this->wants(EventKind<E>::of(event))) {
      shared_->discarded.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    if (hub_.pid().core()->mailbox_depth() >= shared_->ingress_max) [[unlikely]] {
      shared_->refused.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    if (!deliver(make_cast<Hub, typename Hub::PublishOne>(std::move(event)))) [[unlikely]] {
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
      if (events.stored_size() > shared_batch_events) {
        std::span<const E> rest = events.span();
        while (!rest.empty()) {
          const std::size_t count = std::min(rest.size(), shared_batch_events);
          publish(make_batch(rest.first(count)));
          rest = rest.subspan(count);
        }
        return;
      }
    }
    if (!events.empty()) publish(std::move(events));
  }

  [[nodiscard]] RuntimeBase& runtime() const noexcept override { return runtime_; }
  [[nodiscard]] Pid pid() const noexcept override { return hub_.pid(); }
  [[nodiscard]] bool has_handler_lines() const noexcept override { return Hub::has_handler_lines; }

 protected:
  HubManager(RuntimeBase& runtime, RunningHub<Hub> hub, bool owns)
      : EventManager<E>(std::shared_ptr<const std::atomic<std::uint64_t>>(hub.shared, &hub.shared->wanted)),
        runtime_(runtime),
        shared_(std::move(hub.shared)),
        hub_(hub.ref),
        owns_(owns) {}

  /// Starts a process without a name, which cannot fail; anywhere.
  template <class Options>
  [[nodiscard]] static RunningHub<Hub> begin(RuntimeBase& runtime, bool link, std::size_t ingress_max,
                                             Options options) {
    auto shared = std::make_shared<HubShared>(std::min(ingress_max, ingress_limit));
    const ServerRef<Hub> hub = start_unwaited<Hub>(runtime, hub_start(link), std::move(options), shared);
    return {hub, std::move(shared)};
  }

  [[nodiscard]] ServerRef<Hub> hub() const noexcept { return hub_; }

 private:
  /// False when the hub will not come to it: it has ended, or is about to.
  bool deliver(Node* message) noexcept {
    bool sent = false;
    const bool open = shared_->door.pass([&] {
      sent = send(hub_.pid(), message);
      return true;
    });
    if (!open) message->ops->discard(message, ExitReason::noproc);
    return sent;
  }

  void publish(Batch<E> part) {
    const std::size_t count = part.size();
    if (shared_->under_way.fetch_add(count, std::memory_order_relaxed) + count > shared_->ingress_max) {
      shared_->under_way.fetch_sub(count, std::memory_order_relaxed);
      shared_->refused.fetch_add(count, std::memory_order_relaxed);
      return;
    }
    if (!deliver(make_cast<Hub, typename Hub::PublishBatch>(std::move(part)))) {
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
        co_await hub_.template call_within<typename Hub::Remove>(2 * handler_end_limit, std::move(name), caller());
    co_return last;
  }
  Async<Result<void>> do_restart(std::string name) override {
    Result<void> restarted = co_await hub_.template call<typename Hub::Restart>(std::move(name));
    co_return restarted;
  }
  Async<Result<void>> do_stop_handler(std::string name) override {
    Result<void> stopped =
        co_await hub_.template call_within<typename Hub::StopHandler>(2 * handler_end_limit, std::move(name), caller());
    co_return stopped;
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
    if (caller() != hub_.pid()) limit_patience(limit);
    Result<EventStats> stats =
        co_await hub_.template call_within<typename Hub::Stop>(stop_patience(limit), sane(limit), caller());
    if (!stats && stats.error().code() == ErrorCode::timeout) runtime_.exit(hub_.pid(), ExitReason::kill);
    if (!stats) {
      if (shared_->last_stats.load() != nullptr) co_return last_stats();
    }
    co_return stats;
  }

  Async<Result<void>> do_ack(E event, Duration limit) override {
    if (!this->wants(EventKind<E>::of(event))) {
      shared_->discarded.fetch_add(1, std::memory_order_relaxed);
      co_return Result<void>();
    }
    Result<void> taken = co_await hub_.template call_within<typename Hub::Ack>(limit, std::move(event));
    co_return taken;
  }
  Async<Result<std::vector<HandlerOutcome>>> do_sync(E event, Duration limit) override {
    if (!this->wants(EventKind<E>::of(event))) {
      shared_->discarded.fetch_add(1, std::memory_order_relaxed);
      co_return std::vector<HandlerOutcome>();
    }
    // A hub that can answers at the limit; ours is for one that is busy itself.
    const Duration patience = limit > Duration::zero() ? limit + sync_patience : Duration::zero();
    Result<std::vector<HandlerOutcome>> outcomes =
        co_await hub_.template call_within<typename Hub::Sync>(patience, std::move(event), limit, caller());
    co_return outcomes;
  }
  Async<Result<void>> do_call(std::string name, std::unique_ptr<HandlerCall> call, Duration limit) override {
    Result<void> done = co_await hub_.template call_within<typename Hub::CallHandler>(limit, std::move(name),
                                                                                      std::move(call), caller());
    co_return done;
  }
  Async<Result<void>> do_swap(std::string name, HandlerSpec<E> spec) override {
    // The old one has its own limit to end in, the new one as long again.
    Result<void> swapped = co_await hub_.template call_within<typename Hub::Swap>(
        2 * handler_end_limit, std::move(name), std::move(spec), caller());
    co_return swapped;
  }

  /// In the awaitable operations, which run inside a process.
  [[nodiscard]] static Pid caller() noexcept { return this_process::pid(); }

  [[nodiscard]] EventStats last_stats() const {
    EventStats stats = *shared_->last_stats.load();
    stats.discarded = shared_->discarded.load(std::memory_order_relaxed);  // of those who publish after the end
    return stats;
  }

  static constexpr Duration sync_patience = std::chrono::milliseconds(100);
  /// A hub whose handlers have processes of their own answers a stop soon after the limit. One that runs handlers
  /// itself may not: then it is ended.
  [[nodiscard]] static Duration stop_patience(Duration limit) noexcept { return sane(limit) + Hub::stop_grace; }
  void limit_patience(Duration limit) noexcept { shared_->limit_patience(runtime_.clock().steady_now() + sane(limit)); }
  /// So that sums of it with points in time are points in time.
  [[nodiscard]] static Duration sane(Duration limit) noexcept {
    return std::clamp<Duration>(limit, Duration::zero(), std::chrono::hours(24 * 365));
  }

  RuntimeBase& runtime_;
  std::shared_ptr<HubShared> shared_;  // with the hub's process
  ServerRef<Hub> hub_;
  const bool owns_;
};

}  // namespace dagverk::detail
