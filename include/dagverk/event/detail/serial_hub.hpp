#pragma once

#include "dagverk/base/concat.hpp"
#include "dagverk/event/detail/hub_messages.hpp"
#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/stage/detail/stage_log.hpp"

#include <algorithm>
#include <any>
#include <atomic>
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

/// The serial manager's process: runs every handler itself, one after the other, event by event.
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
  using Share = typename HubMessages<E>::Share;
  static constexpr bool has_handler_lines = false;
  struct RunPending {};
  struct RemoveGone {};
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
  Async<Result<void>> handle_call(Add add) {
    count_refused();
    Result<void> valid = check_new(add.spec);
    if (valid && find(add.spec.name) != nullptr) valid = handler_exists(add.spec.name);
    if (!valid) co_return valid.error();
    std::any nothing;
    Async<Result<void>> adding = add_member(std::move(add.spec), std::move(nothing));
    Result<void> added = co_await adding;
    co_return added;
  }

  Async<Result<void>> handle_call(Swap swap) {
    count_refused();
    const Member* same = find(swap.spec.name);
    Member* old = find(swap.name);
    Result<void> valid = check_new(swap.spec);
    if (valid && same != nullptr && same != old) valid = handler_exists(swap.spec.name);
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

  Async<Result<HandlerStats>> handle_call(Remove remove) {
    count_refused();
    Member* leaver = find(remove.name);
    if (leaver == nullptr) co_return no_handler(remove.name);
    Async<HandlerStats> ending = end(*leaver, ExitReason::normal, ExitReason::normal);
    HandlerStats last = co_await ending;
    co_return last;
  }

  Async<Result<void>> handle_call(Restart restart) {
    Member* member = find(restart.name);
    if (member == nullptr) co_return no_handler(restart.name);
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

  Result<void> handle_call(const StopHandler& stop) {
    if (find(stop.name) == nullptr) return no_handler(stop.name);
    return Error(ErrorCode::unsupported,
                 concat("handler \"", stop.name, "\": the serial manager keeps no stopped handlers; remove it"));
  }

  Async<Result<void>> handle_call(CallHandler call) {
    Member* member = find(call.name);
    if (member == nullptr) co_return no_handler(call.name);
    Result<void> done;
    try {
      Async<Result<void>> calling = member->body->call(*call.call, member->name());
      done = co_await calling;
    } catch (...) {
      member->crash = reason_of_thrown();
      done = Error(ErrorCode::exited, concat("handler \"", call.name, "\" crashed: ", member->crash->to_string()));
    }
    co_await remove_gone();
    co_return done;
  }

  std::vector<std::string> handle_call(Which /*which*/) {
    std::vector<std::string> names;
    names.reserve(members_.size());
    for (const auto& member : members_) names.push_back(member->name());
    return names;
  }
  EventStats handle_call(Stats /*stats*/) {
    count_refused();
    return stats();
  }

  void handle_call(Stop /*stop*/, From<Stop> from) {
    stop_calls_.push_back(std::move(from));
    this->continue_with(EndAll{});
  }
  void handle_cast(StopSoon /*stop*/) { this->continue_with(EndAll{}); }
  /// The manager has ended behind everything that is queued by then, which is so counted.
  Async<void> handle_continue(EndAll /*end*/) {
    co_await end_all();
    if (!std::exchange(ending_, true)) this->self().cast(End{});
  }
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
        guarded(*member, [&] { member->body->on_down(down); });
      }
    }
    co_await remove_gone();
  }
  Async<void> handle_info(Exit exit) {
    for (const auto& member : members_) {
      guarded(*member, [&] { member->body->on_exit(exit); });
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
    const bool picky = spec->options.kinds != EventKinds::all() || spec->selector;
    const std::uint64_t joined_at;  ///< events that were published before it came
    std::unique_ptr<HandlerBody<E>> body;
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
    ++published_;
    bool all_stay = true;
    for (const std::unique_ptr<Member>& each : members_) {
      Member& member = *each;
      try {
        if (member.picky && !accepts(member, event)) {
          ++member.dropped.filtered;
          continue;
        }
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
    ++published_;
    for (const std::unique_ptr<Member>& each : members_) {
      Member& member = *each;
      EventFate fate = EventFate::handled;
      try {
        if (!accepts(member, event)) {
          fate = EventFate::filtered;
        } else if (member.body->handles_later()) {
          co_await member.body->handle_later(event);
        } else {
          static_cast<void>(member.body->handle(event));  // who wants to leave is asked below
        }
      } catch (...) {
        crashed(member);
        fate = EventFate::crashed;
      }
      if (fate == EventFate::filtered) ++member.dropped.filtered;
      if (outcomes != nullptr) outcomes->push_back({member.name(), fate});
    }
    co_await remove_gone();
  }

  [[nodiscard]] static bool accepts(const Member& member, const E& event) {
    const HandlerSpec<E>& spec = *member.spec;
    return spec.options.kinds.contains(EventKind<E>::of(event)) && (!spec.selector || spec.selector(event));
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
      } else if (member.body->left()) {
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
  void publish_last_stats() {
    if (shared_->last_stats.load() == nullptr) shared_->last_stats.store(new EventStats(stats()));
  }

  void report(const Member& member, const ExitReason& reason) const {
    this->runtime().logger().error("handler.failed", {{"handler", member.name()}, {"reason", reason.to_string()}});
  }

  [[nodiscard]] Result<void> check_new(const HandlerSpec<E>& spec) const {
    if (stopping_) return Error(ErrorCode::shutting_down, "the event manager stops");
    if (spec.options.blocking) {
      return Error(ErrorCode::configuration,
                   concat("handler \"", spec.name, "\" blocks: the serial manager has no thread for it; use another"));
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
  std::vector<HandlerStats> last_figures_;  // of handlers that ended with the manager
};

}  // namespace dagverk::detail
