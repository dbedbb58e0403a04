#pragma once

#include "dagverk/stage/consumer.hpp"
#include "dagverk/stage/detail/drain_state.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <type_traits>
#include <utility>
#include <vector>

namespace dagverk {

/// How a ConsumerSupervisor makes a process of an event. Built by `child_running` or `child_server`.
template <class In>
struct EventChild {
  /// Starts a process for the event, linked to and watched by the calling one. Returns it and its monitor.
  std::move_only_function<std::pair<Pid, MonitorRef>(In event)> start;
};

/// Each event is handled by `body(event)`, plain or Async<void>, in a process of its own that ends with it.
/// Threads: `body` is copied into every process; what it refers to must bear that.
template <class In, class Body>
[[nodiscard]] EventChild<In> child_running(Body body) {
  return {[body = std::move(body)](In event) {
    const Pid child = this_process::runtime().new_process();
    child.core()->has_parent.store(true, std::memory_order_relaxed);
    const MonitorRef monitor = this_process::monitor(child);
    this_process::link(child);
    static_cast<void>(detail::send(
        child, detail::make_spawn([body, event = std::move(event)]() mutable { return body(std::move(event)); })));
    return std::pair(child, monitor);
  }};
}

/// Each event starts a server, constructed as `Server(args…, event)`; it lives until it stops.
template <class In, class Server, class... Args>
[[nodiscard]] EventChild<In> child_server(Args... args) {
  return {[... args = std::move(args)](In event) {
    StartOptions options;
    options.parent = this_process::pid();
    const Pid child = this_process::runtime().new_process(detail::process_type<Server>.blocking);
    const MonitorRef monitor = this_process::monitor(child);
    detail::add_link(child);
    // Nobody waits for the answer: a start that fails is a child that ends.
    static_cast<void>(detail::send(child, detail::make_start<Server>(std::move(options), args..., std::move(event))));
    return std::pair(child, monitor);
  }};
}

struct ConsumerSupervisorOptions {
  /// How long children may take to end when the supervisor ends, before they are killed; all of them together.
  Duration shutdown = std::chrono::seconds(5);
};

/// A consumer that starts one process per event, and never has more of them than it asked for.
///
/// Semantics: GenStage's ConsumerSupervisor with temporary children: a child that ends, however it ends, frees its
///            place; its event is not handled again. Of each subscription at most max_demand children live; once no
///            more than min_demand are running or still to come, what is missing to max_demand is asked for (GenStage
///            counts freed places instead). A subscription's end leaves its children running; the supervisor's own
///            ends them. Subscribe it with `subscribe_blocking` and the like.
/// Threads:   as GenServer; children run wherever the runtime runs them.
/// Errors:    a child's crash is logged by the runtime and hurts nobody else.
/// Bounds:    max_demand children per subscription, and what StartChild adds.
template <class In>
class ConsumerSupervisor final : public GenServer<ConsumerSupervisor<In>>,
                                 public detail::ConsumerSide<ConsumerSupervisor<In>, In> {
  using Side = detail::ConsumerSide<ConsumerSupervisor<In>, In>;

 public:
  /// How many children run.
  struct CountChildren {
    using Reply = std::size_t;
  };
  struct WhichChildren {
    using Reply = std::vector<Pid>;
  };
  /// Starts a child that belongs to no subscription and costs none of its demand.
  struct StartChild {
    using Reply = Pid;
    In event;
  };
  /// Asks a child to end (`shutdown`). False: not a child. Its place is free once it has ended.
  struct TerminateChild {
    using Reply = bool;
    Pid child;
  };

  explicit ConsumerSupervisor(EventChild<In> child, ConsumerSupervisorOptions options = {})
      : child_(std::move(child)), options_(options) {
    this_process::trap_exits();  // children are linked, so that they cannot outlive this process
  }

  void handle_events(Batch<In> events, const SubscriptionInfo& info) {
    Slots* slots = slots_of(info.id);
    std::vector<In> taken = events.take_events();
    for (In& event : taken) {
      const auto [child, monitor] = child_.start(std::move(event));
      children_.emplace(monitor.id, Child{child, info.id});
      if (slots != nullptr) ++slots->running;
    }
  }
  DemandMode handle_subscribe(const SubscriptionInfo& info, const SubscribeOptions<In>& options) {
    const auto max = static_cast<std::uint64_t>(options.max_demand);
    const auto min = static_cast<std::uint64_t>(options.min_demand.value_or(options.max_demand / 2));
    slots_.push_back(Slots{info.id, min, max, 0});
    Side::ask(info.id, max);
    return DemandMode::manual;
  }
  void handle_cancel(const SubscriptionInfo& info, const SubscriptionEnd& /*why*/) {
    std::erase_if(slots_, [&](const Slots& slots) { return slots.id == info.id; });
  }

  std::size_t handle_call(CountChildren /*call*/) { return children_.size(); }
  std::vector<Pid> handle_call(WhichChildren /*call*/) {
    std::vector<Pid> pids;
    for (const auto& [monitor, child] : children_) pids.push_back(child.pid);
    return pids;
  }
  Pid handle_call(StartChild call) {
    const auto [child, monitor] = child_.start(std::move(call.event));
    children_.emplace(monitor.id, Child{child, {}});
    return child;
  }
  bool handle_call(TerminateChild call) {
    const bool known =
        std::ranges::any_of(children_, [&](const auto& entry) { return entry.second.pid == call.child; });
    if (known) this_process::exit(call.child, ExitReason::shutdown);
    return known;
  }

  /// For drain.hpp: answers when no child runs.
  void begin_drain(From<detail::DrainCall> from) {
    drain_.waiting.push_back(std::move(from));
    if (children_.empty()) drain_.answer();
  }

  /// Ends the children, all at once; kills those that do not end in time.
  Async<void> terminate(const ExitReason& /*reason*/) {
    const SteadyTime deadline = this_process::runtime().clock().steady_now() + options_.shutdown;
    std::vector<Pid> pids;
    for (const auto& [monitor, child] : children_) pids.push_back(child.pid);
    for (const Pid child : pids) this_process::exit(child, ExitReason::shutdown);
    for (const Pid child : pids) {
      const Duration left = deadline - this_process::runtime().clock().steady_now();
      if (left > Duration::zero()) {
        Async<Result<ExitReason>> end = this_process::wait_for_exit(child, left);
        Result<ExitReason> ended = co_await end;
        if (ended) continue;
      }
      this_process::exit(child, ExitReason::kill);
    }
  }

 private:
  struct Slots {
    SubscriptionId id;
    std::uint64_t min;
    std::uint64_t max;
    std::uint64_t running;
  };
  struct Child {
    Pid pid;
    SubscriptionId subscription;
  };

  [[nodiscard]] Slots* slots_of(SubscriptionId id) noexcept {
    const auto slots = std::ranges::find_if(slots_, [&](const Slots& candidate) { return candidate.id == id; });
    return slots == slots_.end() ? nullptr : &*slots;
  }

  void on_down(detail::ProcessCore& core, const Down& down) override {
    if (Side::consumer_saw_down(down)) return;
    const auto child = children_.find(down.ref.id);
    if (child == children_.end()) {
      GenServer<ConsumerSupervisor>::on_down(core, down);
      return;
    }
    const SubscriptionId id = child->second.subscription;
    children_.erase(child);
    if (children_.empty()) drain_.answer();
    Slots* slots = slots_of(id);
    if (slots == nullptr) return;
    --slots->running;
    const std::uint64_t busy = slots->running + Side::asked_of(id);
    if (busy <= slots->min) Side::ask(id, slots->max - busy);
  }
  void on_exit(detail::ProcessCore& /*core*/, const Exit& /*exit*/) override {}  // of children: their Downs say it all

  EventChild<In> child_;
  ConsumerSupervisorOptions options_;
  std::vector<Slots> slots_;
  detail::DrainState drain_;
  std::map<std::uint64_t, Child> children_;  // by monitor, so in order of start
};

}  // namespace dagverk
