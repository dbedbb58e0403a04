#pragma once

#include "dagverk/runtime/child_spec.hpp"
#include "dagverk/runtime/restart_policy.hpp"
#include "dagverk/stage/consumer.hpp"
#include "dagverk/stage/detail/drain_state.hpp"

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace dagverk {

/// How a ConsumerSupervisor makes a process of an event. Built by `child_running` or `child_server`.
///
/// Threads:  a value; copies share what they were built from, which must bear being copied by several supervisors.
template <class In>
class EventChild {
 public:
  using Start = std::move_only_function<std::pair<Pid, MonitorRef>(In event) const>;

  explicit EventChild(Start start) : start_(std::make_shared<const Start>(std::move(start))) {}

  /// Starts a process for the event, linked to and watched by the calling one. Returns it and its monitor.
  [[nodiscard]] std::pair<Pid, MonitorRef> start(In event) const { return (*start_)(std::move(event)); }

 private:
  std::shared_ptr<const Start> start_;  // shared by copies; immutable
};

/// Each event is handled by `body(event)`, plain or Async<void>, in a process of its own that ends with it.
/// Threads: `body` is copied into every process; what it refers to must bear that.
template <class In, class Body>
[[nodiscard]] EventChild<In> child_running(Body body) {
  return EventChild<In>([body = std::move(body)](In event) {
    const Pid child = this_process::runtime().new_process();
    child.core()->has_parent.store(true, std::memory_order_relaxed);
    const MonitorRef monitor = this_process::monitor(child);
    this_process::link(child);
    static_cast<void>(detail::send(
        child, detail::make_spawn([body, event = std::move(event)]() mutable { return body(std::move(event)); })));
    return std::pair(child, monitor);
  });
}

/// Each event starts a server, constructed as `Server(args…, event)`; it lives until it stops.
template <class In, class Server, class... Args>
[[nodiscard]] EventChild<In> child_server(Args... args) {
  return EventChild<In>([... args = std::move(args)](In event) {
    StartOptions options;
    options.parent = this_process::pid();
    const Pid child = this_process::runtime().new_process(detail::process_type<Server>.blocking);
    const MonitorRef monitor = this_process::monitor(child);
    detail::add_link(child);
    // Nobody waits for the answer: a start that fails is a child that ends.
    static_cast<void>(detail::send(child, detail::make_start<Server>(std::move(options), args..., std::move(event))));
    return std::pair(child, monitor);
  });
}

struct ConsumerSupervisorOptions {
  /// How the children are stopped when the supervisor ends: all at once, and within this time all together.
  Shutdown shutdown = Shutdown::after(std::chrono::seconds(5));
  /// Whether a child that has ended by itself is started again, at once, with the same event: `temporary`: never;
  /// `transient`: unless it ended normal-ish. Not `permanent`, by which an event would never be done.
  Restart restart = Restart::temporary;
  /// More restarts than this, of all children, end the supervisor with `shutdown`.
  RestartLimit limit = {};
};

/// A consumer that starts one process per event, and never has more of them than it asked for.
///
/// Semantics: GenStage's ConsumerSupervisor. A child that has ended for good frees its place; a restarted one keeps
///            it. A start that fails is a child that ends. Of each subscription at most max_demand children live; once
///            no more than min_demand are running or still to come, what is missing to max_demand is asked for
///            (GenStage counts freed places instead). A subscription's end leaves its children running; the
///            supervisor's own ends them. Subscribe it with `subscribe_blocking` and the like; what it is given to
///            subscribe to at its start it subscribes to again when a supervisor restarts it.
/// Threads:   as GenServer; children run wherever the runtime runs them.
/// Errors:    a child's crash is logged by the runtime and hurts nobody else. Options out of range, of a subscription
///            too, or `transient` for events that cannot be copied, fail the start; so does, with `no_process`, a name
///            to subscribe to that nobody holds, unless that subscription is temporary or has a back-off.
/// Bounds:    max_demand children per subscription, and what StartChild adds.
template <class In>
class ConsumerSupervisor final : public GenServer<ConsumerSupervisor<In>>,
                                 public detail::ConsumerSide<ConsumerSupervisor<In>, In> {
  using Side = detail::ConsumerSide<ConsumerSupervisor<In>, In>;

 public:
  static constexpr ChildType child_type = ChildType::supervisor;

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
  /// Asks a child to end, for good: with `shutdown`, or `kill` where that is how children are stopped. False: not a
  /// child. Its place is free once it has ended.
  struct TerminateChild {
    using Reply = bool;
    Pid child;
  };

  explicit ConsumerSupervisor(EventChild<In> child, ConsumerSupervisorOptions options = {},
                              std::vector<SubscribeTo<In>> at_start = {})
      : child_(std::move(child)), options_(options), at_start_(std::move(at_start)) {
    check_options();
    this_process::trap_exits();  // children are linked, so that they cannot outlive this process
  }

  void init() {
    for (SubscribeTo<In>& wanted : std::exchange(at_start_, {})) {
      using Call = detail::SubscribeCall<In>;
      const Result<SubscriptionId> made =
          Side::on_stage_message(Call{std::move(wanted.producer), std::move(wanted.options)});
      if (made) continue;
      if (made.error().code() == ErrorCode::invalid_argument) {
        throw std::invalid_argument(std::string(made.error().message()));
      }
      detail::warn_not_subscribed(detail::type_name<ConsumerSupervisor>(), made.error().message());
    }
  }

  void handle_events(Batch<In> events, const SubscriptionInfo& info) {
    Slots* slots = slots_of(info.id);
    std::vector<In> taken = events.take_events();
    for (In& event : taken) {
      start_child(std::move(event), info.id);
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
  Pid handle_call(StartChild call) { return start_child(std::move(call.event), {}); }
  bool handle_call(TerminateChild call) {
    const auto known =
        std::ranges::find_if(children_, [&](const auto& entry) { return entry.second.pid == call.child; });
    if (known == children_.end()) return false;
    known->second.event.reset();  // it is not started again, however it ends
    this_process::exit(call.child, first_word());
    return true;
  }

  /// For drain.hpp: answers when no child runs.
  void begin_drain(From<detail::DrainCall> from) {
    drain_.waiting.push_back(std::move(from));
    if (children_.empty()) drain_.answer();
  }

  /// Ends the children, all at once; kills those that do not end in time.
  Async<void> terminate(const ExitReason& /*reason*/) {
    const Shutdown shutdown = options_.shutdown;
    std::vector<Pid> pids;
    for (const auto& [monitor, child] : children_) pids.push_back(child.pid);
    for (const Pid child : pids) this_process::exit(child, first_word());
    if (shutdown.kills_at_once()) co_return;
    const SteadyTime now = this_process::runtime().clock().steady_now();
    const SteadyTime deadline = shutdown.unlimited() ? now : now + shutdown.limit();
    for (const Pid child : pids) {
      const Duration left = deadline - this_process::runtime().clock().steady_now();
      if (shutdown.unlimited() || left > Duration::zero()) {
        Async<Result<ExitReason>> end =
            this_process::wait_for_exit(child, shutdown.unlimited() ? Duration::zero() : left);
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
    std::unique_ptr<In> event;  // to start it again with; null: it is not
  };

  void check_options() const {
    if (options_.restart == Restart::permanent) {
      throw std::invalid_argument("restart: must be temporary or transient, got permanent");
    }
    if (options_.restart == Restart::transient && !std::copy_constructible<In>) {
      throw std::invalid_argument("restart: transient needs events that can be copied");
    }
    if (!options_.shutdown.kills_at_once() && options_.shutdown.limit() < Duration::zero()) {
      throw std::invalid_argument("shutdown: must not be less than zero");
    }
    if (Result<void> good = check(options_.limit); !good) {
      throw std::invalid_argument(std::string(good.error().message()));
    }
  }

  /// What a child that is to end is told first.
  [[nodiscard]] ExitReason first_word() const {
    return options_.shutdown.kills_at_once() ? ExitReason::kill : ExitReason::shutdown;
  }

  Pid start_child(In event, SubscriptionId subscription) {
    std::unique_ptr<In> kept;
    if constexpr (std::copy_constructible<In>) {
      if (options_.restart == Restart::transient) kept = std::make_unique<In>(event);
    }
    const auto [child, monitor] = child_.start(std::move(event));
    children_.emplace(monitor.id, Child{child, subscription, std::move(kept)});
    return child;
  }

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
    const std::unique_ptr<In> event = std::move(child->second.event);
    children_.erase(child);
    if (event && !down.reason.normal_ish()) {
      if (restarts_.admit(options_.limit, this_process::runtime().clock().steady_now())) {
        start_child(std::move(*event), id);
      } else {
        this_process::stop(ExitReason::shutdown);
      }
      return;
    }
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
  std::vector<SubscribeTo<In>> at_start_;  // until init
  std::vector<Slots> slots_;
  detail::DrainState drain_;
  RestartHistory restarts_;
  std::map<std::uint64_t, Child> children_;  // by monitor, so in order of start
};

}  // namespace dagverk
