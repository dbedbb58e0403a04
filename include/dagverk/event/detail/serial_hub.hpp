#pragma once

#include "dagverk/base/concat.hpp"
#include "dagverk/event/detail/beside_hub.hpp"
#include "dagverk/event/detail/hub_messages.hpp"
#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/stage/detail/stage_log.hpp"

#include <algorithm>
#include <any>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::detail {

struct SerialHubOptions {
  EventKinds kinds = EventKinds::all();
};

/// The serial manager's process: runs every handler itself, one after the other, event by event, but those that block:
/// these run beside it, each in a hub of its own.
///
/// Threads: a GenServer. While a handler's coroutine waits, everything waits.
template <class E>
class SerialHub : public GenServer<SerialHub<E>> {
 public:
  using PublishOne = typename HubMessages<E>::PublishOne;
  using PublishBatch = typename HubMessages<E>::PublishBatch;
  using Ack = typename HubMessages<E>::Ack;
  using Sync = typename HubMessages<E>::Sync;
  using Add = typename HubMessages<E>::Add;
  using Swap = typename HubMessages<E>::Swap;
  using Remove = typename HubMessages<E>::Remove;
  using Restart = typename HubMessages<E>::Restart;
  using StopHandler = typename HubMessages<E>::StopHandler;
  using CallHandler = typename HubMessages<E>::CallHandler;
  using Which = typename HubMessages<E>::Which;
  using Stats = typename HubMessages<E>::Stats;
  using Stop = typename HubMessages<E>::Stop;
  using StopSoon = typename HubMessages<E>::StopSoon;
  using EndSoon = typename HubMessages<E>::EndSoon;
  using Share = typename HubMessages<E>::Share;
  static constexpr bool has_handler_lines = false;
  static constexpr Duration stop_grace = 2 * handler_grace_at_stop;
  struct RunPending {};
  struct RemoveGone {};
  struct AddOwn {
    HandlerSpec<E> spec;
    From<Add> from;
  };
  struct RemoveOwn {
    std::string name;
    From<Remove> from;
  };
  struct CallOwn {
    CallHandler call;
    From<CallHandler> from;
  };
  struct BesideGone {
    std::uint64_t number;
  };
  struct StopFor {
    Pid caller;
    From<Stop> from;
  };
  struct EndAll {};
  struct End {};

  SerialHub(SerialHubOptions options, std::shared_ptr<HubShared> shared)
      : options_(options), shared_(std::move(shared)) {}

  // --- publishing ----------------------------------------------------------------------------------------------------
  void handle_cast(PublishOne one) {
    count_refused();
    if (later_count_ != 0) {
      pending_.push_back(std::move(one.event));
      this->continue_with(RunPending{});
    } else if (!handle_now(one.event)) {
      this->continue_with(RemoveGone{});
    }
  }
  Async<void> handle_cast(PublishBatch batch) {
    shared_->under_way.fetch_sub(batch.events.size(), std::memory_order_relaxed);
    count_refused();
    for (const E& event : batch.events) co_await handle(event, nullptr);
  }
  Async<void> handle_continue(RunPending /*run*/) {
    const std::vector<E> events = std::exchange(pending_, {});
    for (const E& event : events) co_await handle(event, nullptr);
  }
  Async<void> handle_continue(RemoveGone /*remove*/) { co_await remove_gone(); }

  void handle_call(Ack ack, From<Ack> from) {
    from.reply({});
    handle_cast(PublishOne{std::move(ack.event)});
  }
  Async<Result<std::vector<HandlerOutcome>>> handle_call(Sync sync) {
    count_refused();
    std::vector<HandlerOutcome> outcomes;
    co_await handle(sync.event, &outcomes);
    co_return outcomes;
  }

  // --- handlers come and go ------------------------------------------------------------------------------------------
  void handle_call(Add add, From<Add> from) {
    count_refused();
    Result<void> valid = check_new(add.spec);
    if (valid && find(add.spec.name) != nullptr) valid = handler_exists(add.spec.name);
    if (!valid) {
      from.reply(valid.error());
    } else if (add.spec.options.blocking) {
      add_beside(std::move(add), std::move(from));
    } else {
      this->continue_with(AddOwn{std::move(add.spec), std::move(from)});
    }
  }
  Async<void> handle_continue(AddOwn add) {
    std::any nothing;
    Async<Result<void>> adding = add_member(std::move(add.spec), std::move(nothing));
    Result<void> added = co_await adding;
    add.from.reply(std::move(added));
  }
  /// A handler beside us has gone, by itself or because it was removed.
  void handle_cast(BesideGone gone) {
    std::erase_if(members_, [&](const auto& member) { return member->beside && member->number == gone.number; });
    publish_wanted();
  }

  Async<Result<void>> handle_call(Swap swap) {
    count_refused();
    const Member* same = find(swap.spec.name);
    Member* old = find(swap.name);
    Result<void> valid = check_new(swap.spec);
    if (valid && same != nullptr && same != old) valid = handler_exists(swap.spec.name);
    if (valid && (swap.spec.options.blocking || (old != nullptr && old->beside))) {
      valid = Error(ErrorCode::unsupported,
                    concat("handler \"", swap.spec.name,
                           "\": under the serial manager none that blocks takes part in a swap; remove and add"));
    }
    if (!valid) co_return valid.error();
    std::any inheritance;
    if (old != nullptr) {
      inheritance = hand_over(*old);
      Async<HandlerStats> ending = end(*old, ExitReason::normal, ExitReason::custom("swapped"));
      static_cast<void>(co_await ending);
    }
    Async<Result<void>> adding = add_member(std::move(swap.spec), std::move(inheritance));
    Result<void> added = co_await adding;
    co_return added;
  }

  void handle_call(Remove remove, From<Remove> from) {
    count_refused();
    Member* leaver = find(remove.name);
    if (leaver == nullptr) {
      from.reply(no_handler(remove.name));
    } else if (leaver->beside) {
      pass_counts(*leaver);
      leaver->beside->forward(std::move(remove), std::move(from));
    } else {
      this->continue_with(RemoveOwn{std::move(remove.name), std::move(from)});
    }
  }
  Async<void> handle_continue(RemoveOwn remove) {
    Member* leaver = find(remove.name);
    DAGVERK_ASSERT(leaver != nullptr);
    Async<HandlerStats> ending = end(*leaver, ExitReason::normal, ExitReason::normal);
    HandlerStats last = co_await ending;
    remove.from.reply(std::move(last));
  }

  Async<Result<void>> handle_call(Restart restart) {
    Member* member = find(restart.name);
    if (member == nullptr) co_return no_handler(restart.name);
    if (member->beside) {
      const ServerRef<StagedHub<E>> hub = member->beside->ref();
      Result<void> again = co_await hub.template call<Restart>(std::move(restart.name));
      co_return again;
    }
    Async<void> terminating = terminate_body(*member, ExitReason::normal);
    co_await terminating;
    ++member->restarts;
    std::any nothing;
    Async<Result<void>> starting = start_body(*member, std::move(nothing));
    Result<void> started = co_await starting;
    if (!started) {
      member->body.reset();
      Async<HandlerStats> ending =
          end(*member, ExitReason::normal, ExitReason::custom(std::string(started.error().message())));
      static_cast<void>(co_await ending);
    }
    count_later();
    co_return started;
  }

  void handle_call(StopHandler stop, From<StopHandler> from) {
    Member* member = find(stop.name);
    if (member == nullptr) {
      from.reply(no_handler(stop.name));
    } else if (member->beside) {
      member->beside->forward(std::move(stop), std::move(from));
    } else {
      from.reply(Error(ErrorCode::unsupported,
                       concat("handler \"", stop.name, "\": the serial manager keeps no stopped handlers; remove it")));
    }
  }

  void handle_call(CallHandler call, From<CallHandler> from) {
    Member* member = find(call.name);
    if (member == nullptr) {
      from.reply(no_handler(call.name));
    } else if (member->beside) {
      member->beside->forward(std::move(call), std::move(from));
    } else {
      this->continue_with(CallOwn{std::move(call), std::move(from)});
    }
  }
  Async<void> handle_continue(CallOwn own) {
    Member* member = find(own.call.name);
    DAGVERK_ASSERT(member != nullptr);
    Result<void> done;
    try {
      Async<Result<void>> calling = member->body->call(*own.call.call, member->name());
      done = co_await calling;
    } catch (...) {
      member->crash = reason_of_thrown();
      done = Error(ErrorCode::exited, concat("handler \"", own.call.name, "\" crashed: ", member->crash->to_string()));
    }
    co_await remove_gone();
    own.from.reply(std::move(done));
  }

  std::vector<std::string> handle_call(Which /*which*/) {
    std::vector<std::string> names;
    names.reserve(members_.size());
    for (const auto& member : members_) names.push_back(member->name());
    return names;
  }
  Async<EventStats> handle_call(Stats /*stats*/) {
    count_refused();
    EventStats all = stats();
    for (const std::unique_ptr<Member>& member : members_) {
      if (!member->beside) continue;
      pass_counts(*member);
      const ServerRef<StagedHub<E>> hub = member->beside->ref();
      Result<EventStats> own = co_await hub.template call<Stats>();
      take_figures(all, member->name(), own);
    }
    co_return all;
  }

  void handle_call(Stop stop, From<Stop> from) { this->continue_with(StopFor{stop.caller, std::move(from)}); }
  Async<void> handle_continue(StopFor stop) {
    for (const std::unique_ptr<Member>& member : members_) {
      if (!member->beside) continue;
      const ServerRef<StagedHub<E>> hub = member->beside->ref();
      const Result<bool> asks = co_await hub.template call<typename StagedHub<E>::Runs>(stop.caller);
      if (!asks || !*asks) continue;
      shared_->patience_end.store(SteadyTime::max());
      stop.from.reply(waits_for_itself(member->name(), "let another process stop the manager"));
      co_return;
    }
    stop_calls_.push_back(std::move(stop.from));
    this->continue_with(EndAll{});
  }
  void handle_cast(StopSoon /*stop*/) { this->continue_with(EndAll{}); }
  /// The manager has ended behind everything that is queued by then, which is so counted.
  Async<void> handle_continue(EndAll /*end*/) {
    co_await end_all();
    if (std::exchange(ending_, true)) co_return;
    shared_->door.close();
    end_when_alone();
  }
  void handle_info(EndSoon /*end*/) { end_when_alone(); }
  void handle_cast(End /*end*/) {
    publish_last_stats();
    for (From<Stop>& call : stop_calls_) call.reply(stats());
    this_process::stop(ExitReason::normal);
  }

  std::shared_ptr<HubShared> handle_call(Share /*share*/) { return shared_; }

  // --- signals -------------------------------------------------------------------------------------------------------
  Async<void> handle_info(Down down) {
    bool of_owner = false;
    for (const auto& member : members_) {
      if (member->owner != down.ref) continue;
      of_owner = true;
      member->owner_ended = true;
    }
    if (!of_owner) {
      for (const auto& member : members_) {
        if (member->body) guarded(*member, [&] { member->body->on_down(down); });
      }
    }
    co_await remove_gone();
  }
  Async<void> handle_info(Exit exit) {
    for (const auto& member : members_) {
      if (member->body) guarded(*member, [&] { member->body->on_exit(exit); });
    }
    co_await remove_gone();
  }

  Async<void> terminate(const ExitReason& /*reason*/) {
    co_await end_all();
    publish_last_stats();
  }

 private:
  struct Member {
    Member(HandlerSpec<E> given, std::uint64_t events_before)
        : spec(std::make_shared<const HandlerSpec<E>>(std::move(given))), joined_at(events_before) {}

    [[nodiscard]] const std::string& name() const noexcept { return spec->name; }
    /// Between two events whatever was not dropped was delivered: nothing has to be counted at each.
    [[nodiscard]] HandlerStats stats(std::uint64_t events, HandlerState state) const {
      HandlerStats stats;
      stats.name = name();
      stats.state = state;
      stats.overflow = "none";
      stats.published = events - joined_at + dropped.ingress;
      stats.delivered = stats.published - dropped.total();
      stats.dropped = dropped;
      stats.restarts = restarts;
      return stats;
    }

    const std::shared_ptr<const HandlerSpec<E>> spec;  // the body may refer to it
    /// Whether events do not simply go to its body.
    const bool picky = spec->options.kinds != EventKinds::all() || spec->selector || spec->options.blocking;
    const std::uint64_t joined_at;  ///< events that were published before it came
    std::unique_ptr<HandlerBody<E>> body;
    std::unique_ptr<BesideHub<E>> beside;  ///< in place of a body; then `dropped` is what it was not told yet
    std::uint64_t number = 0;              ///< of those beside
    DropCounts dropped;
    std::uint64_t restarts = 0;
    MonitorRef owner = {};
    bool owner_ended = false;
    std::optional<ExitReason> crash;
  };

  // --- events --------------------------------------------------------------------------------------------------------
  /// Runs plain callbacks. False when a handler is to go.
  bool handle_now(const E& event) {
    if (members_.empty()) {
      shared_->discarded.fetch_add(1, std::memory_order_relaxed);
      return true;
    }
    if (out_of_patience()) [[unlikely]] {
      drop_late();
      return true;
    }
    ++published_;
    bool all_stay = true;
    for (const std::unique_ptr<Member>& each : members_) {
      Member& member = *each;
      try {
        if (member.picky && goes_elsewhere(member, event) != EventFate::handled) continue;
        all_stay = member.body->handle(event) && all_stay;
      } catch (...) {
        crashed(member);
        all_stay = false;
      }
    }
    return all_stay;
  }

  /// Runs all callbacks and removes whoever is to go. `outcomes`: null unless somebody waits for them.
  Async<void> handle(const E& event, std::vector<HandlerOutcome>* outcomes) {
    if (members_.empty()) {
      shared_->discarded.fetch_add(1, std::memory_order_relaxed);
      co_return;
    }
    if (out_of_patience()) [[unlikely]] {
      drop_late();
      for (const auto& member : members_) {
        if (outcomes != nullptr) outcomes->push_back({member->name(), EventFate::dropped});
      }
      co_return;
    }
    ++published_;
    for (const std::unique_ptr<Member>& each : members_) {
      Member& member = *each;
      EventFate fate = EventFate::handled;
      try {
        fate = goes_elsewhere(member, event);
        if (fate != EventFate::handled) {
          // nothing is left to do
        } else if (member.body->handles_later()) {
          co_await member.body->handle_later(event);
        } else {
          static_cast<void>(member.body->handle(event));  // who wants to leave is asked below
        }
      } catch (...) {
        crashed(member);
        fate = EventFate::crashed;
      }
      if (outcomes != nullptr) outcomes->push_back({member.name(), fate});
    }
    co_await remove_gone();
  }

  /// What becomes of an event that does not go to the member's body; `handled` when it does.
  [[nodiscard]] static EventFate goes_elsewhere(Member& member, const E& event) {
    const HandlerSpec<E>& spec = *member.spec;
    if (!spec.options.kinds.contains(EventKind<E>::of(event)) || (spec.selector && !spec.selector(event))) {
      ++member.dropped.filtered;
      return EventFate::filtered;
    }
    if (!member.beside) return EventFate::handled;
    if constexpr (std::copy_constructible<E>) {
      if (member.beside->publish(event)) return EventFate::pending;
    }
    ++member.dropped.ingress;
    return EventFate::dropped;
  }
  /// Whether who stops us does not want to wait any longer for what is still queued.
  [[nodiscard]] bool out_of_patience() const {
    const SteadyTime end = shared_->patience_end.load(std::memory_order_relaxed);
    return end != SteadyTime::max() && this->runtime().clock().steady_now() >= end;
  }
  void drop_late() {
    ++published_;
    for (const auto& member : members_) ++member->dropped.shutdown;
  }
  static void crashed(Member& member) noexcept {
    ++member.dropped.crashed;
    member.crash = reason_of_thrown();
  }
  template <class Work>
  static void guarded(Member& member, Work&& work) {
    try {
      work();
    } catch (...) {
      member.crash = reason_of_thrown();
    }
  }

  void count_refused() {
    const std::uint64_t refused = shared_->refused.load(std::memory_order_relaxed);
    const std::uint64_t more = refused - std::exchange(refused_seen_, refused);
    if (more == 0) [[likely]]
      return;
    for (const auto& member : members_) member->dropped.ingress += more;
  }

  // --- handlers ------------------------------------------------------------------------------------------------------
  Async<Result<void>> add_member(HandlerSpec<E> spec, std::any inheritance) {
    const Pid owner = spec.owner;
    auto member = std::make_unique<Member>(std::move(spec), published_);
    Async<Result<void>> starting = start_body(*member, std::move(inheritance));
    Result<void> started = co_await starting;
    if (!started) co_return started;
    if (owner) member->owner = this_process::monitor(owner);
    members_.push_back(std::move(member));
    count_later();
    publish_wanted();
    co_return started;
  }

  void add_beside(Add add, From<Add> from) {
    // It looks at the events itself, but for their kind.
    HandlerSpec<E> shown;
    shown.name = add.spec.name;
    shown.options = add.spec.options;
    auto member = std::make_unique<Member>(std::move(shown), published_);
    member->number = ++beside_count_;
    member->beside = std::make_unique<BesideHub<E>>(
        this->runtime(), [serial = this->self(), number = member->number] { serial.cast(BesideGone{number}); });
    member->beside->forward(std::move(add), std::move(from));
    members_.push_back(std::move(member));
    publish_wanted();
  }
  /// Tells the one beside us what it did not get.
  static void pass_counts(Member& member) {
    member.beside->ref().cast(
        typename StagedHub<E>::TurnedAway{member.name(), std::exchange(member.dropped, DropCounts())});
  }
  /// Puts the figures that `name`'s own hub has into `all`.
  static void take_figures(EventStats& all, const std::string& name, const Result<EventStats>& own) {
    const HandlerStats* const known = own ? own->find(name) : nullptr;
    if (known == nullptr) return;
    for (HandlerStats& shown : all.handlers) {
      if (shown.name == name) shown = *known;
    }
  }
  /// Ends the one beside us within what is left of the patience with us. Its last figures.
  Async<HandlerStats> end_beside(Member& member) {
    const SteadyTime now = this->runtime().clock().steady_now();
    const SteadyTime end = shared_->patience_end.load();
    const Duration limit = end == SteadyTime::max() ? Duration::zero() : std::max(end - now, Duration::zero());
    const ServerRef<StagedHub<E>> hub = member.beside->ref();
    pass_counts(member);
    Result<EventStats> last = co_await hub.template call_within<Stop>(limit + StagedHub<E>::stop_grace, limit, Pid());
    EventStats figures;
    figures.handlers.push_back(member.stats(published_, HandlerState::stopped));
    take_figures(figures, member.name(), last);
    co_return std::move(figures.handlers.front());
  }

  static Async<Result<void>> start_body(Member& member, std::any inheritance) {
    std::optional<ExitReason> failed;
    try {
      member.body = member.spec->make();
      if (inheritance.has_value()) member.body->take_over(std::move(inheritance));
      co_await member.body->init();
    } catch (...) {
      failed = reason_of_thrown();
    }
    if (failed) {
      co_return Error(ErrorCode::exited, concat("handler \"", member.name(), "\": init failed: ", failed->to_string()));
    }
    if (member.body->left()) {
      co_return Error(ErrorCode::exited, concat("handler \"", member.name(), "\" ended itself in init"));
    }
    co_return Result<void>();
  }

  [[nodiscard]] std::any hand_over(Member& member) {
    std::any what;
    guarded(member, [&] { what = member.body->hand_over(); });
    return what;
  }

  /// What terminate throws is reported, and changes nothing.
  Async<void> terminate_body(Member& member, ExitReason reason) {
    if (!member.body) co_return;
    std::optional<ExitReason> failed;
    try {
      co_await member.body->terminate(reason);
    } catch (...) {
      failed = reason_of_thrown();
    }
    if (failed) report(member, *failed);
  }

  /// Terminates a handler with `reason` and forgets it; its owner is told `gone`. Its last figures.
  Async<HandlerStats> end(Member& member, ExitReason reason, ExitReason gone) {
    Async<void> terminating = terminate_body(member, std::move(reason));
    co_await terminating;
    if (member.owner.id != 0) this_process::demonitor(member.owner);
    if (member.spec->tell_owner) member.spec->tell_owner(HandlerGone{member.name(), std::move(gone)});
    HandlerStats last = member.stats(published_, HandlerState::stopped);
    if (member.beside) {
      Async<HandlerStats> beside = end_beside(member);
      last = co_await beside;
    }
    std::erase_if(members_, [&](const std::unique_ptr<Member>& known) { return known.get() == &member; });
    count_later();
    publish_wanted();
    co_return last;
  }

  /// Ends those that crashed, left, or whose owner has ended.
  Async<void> remove_gone() {
    for (std::size_t index = 0; index < members_.size();) {
      Member& member = *members_[index];
      std::optional<ExitReason> why;
      if (member.crash) {
        report(member, *member.crash);
        why = *member.crash;
      } else if (member.owner_ended) {
        why = ExitReason::shutdown;
      } else if (member.body && member.body->left()) {
        why = ExitReason::normal;
      }
      if (!why) {
        ++index;
        continue;
      }
      Async<HandlerStats> ending = end(member, *why, *why);
      static_cast<void>(co_await ending);
    }
  }

  Async<void> end_all() {
    if (std::exchange(stopping_, true)) co_return;
    count_refused();
    shared_->wanted.store(0);
    while (!members_.empty()) {
      Async<HandlerStats> ending = end(*members_.front(), ExitReason::shutdown, ExitReason::shutdown);
      last_figures_.push_back(co_await ending);
    }
  }
  void end_when_alone() {
    if (shared_->door.busy()) {
      this->send_after(door_look_interval, EndSoon{});
    } else {
      this->self().cast(End{});
    }
  }
  void publish_last_stats() {
    if (shared_->last_stats.load() == nullptr) shared_->last_stats.store(new EventStats(stats()));
  }

  void report(const Member& member, const ExitReason& reason) const {
    this->runtime().logger().error("handler.failed", {{"handler", member.name()}, {"reason", reason.to_string()}});
  }

  [[nodiscard]] Result<void> check_new(const HandlerSpec<E>& spec) const {
    if (stopping_) return Error(ErrorCode::shutting_down, "the event manager stops");
    if (spec.options.blocking && !std::copy_constructible<E>) {
      return Error(ErrorCode::configuration,
                   concat("handler \"", spec.name,
                          "\" blocks: under the serial manager it needs copies of events, and these cannot be copied"));
    }
    return check_handler_spec(spec);
  }

  void count_later() {
    later_count_ = static_cast<std::size_t>(std::ranges::count_if(
        members_, [](const auto& member) { return member->body && member->body->handles_later(); }));
  }
  void publish_wanted() {
    EventKinds kinds = EventKinds::none();
    if (!stopping_) {
      for (const auto& member : members_) kinds = kinds | member->spec->options.kinds;
    }
    shared_->wanted.store((kinds & options_.kinds).word());
  }

  [[nodiscard]] EventStats stats() const {
    EventStats stats;
    stats.published = published_;
    stats.discarded = shared_->discarded.load(std::memory_order_relaxed);
    stats.refused = shared_->refused.load(std::memory_order_relaxed);
    stats.handlers = last_figures_;
    for (const auto& member : members_) stats.handlers.push_back(member->stats(published_, HandlerState::running));
    return stats;
  }
  [[nodiscard]] Member* find(const std::string& name) const {
    for (const auto& member : members_) {
      if (member->name() == name) return member.get();
    }
    return nullptr;
  }

  SerialHubOptions options_;
  std::shared_ptr<HubShared> shared_;             // with the manager and its publishers; ends with the last of them
  std::vector<std::unique_ptr<Member>> members_;  // in order of addition
  std::vector<E> pending_;                        // for callbacks that are coroutines
  std::size_t later_count_ = 0;                   // of handlers with such a callback
  bool stopping_ = false;
  bool ending_ = false;
  std::vector<From<Stop>> stop_calls_;
  std::uint64_t published_ = 0;
  std::uint64_t refused_seen_ = 0;
  std::uint64_t beside_count_ = 0;
  std::vector<HandlerStats> last_figures_;  // of handlers that ended with the manager
};

}  // namespace dagverk::detail
