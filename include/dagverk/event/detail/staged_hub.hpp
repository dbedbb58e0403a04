#pragma once

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/event/detail/handler_process.hpp"
#include "dagverk/event/detail/hub_messages.hpp"
#include "dagverk/event/detail/staged_lines.hpp"
#include "dagverk/event/event_handler.hpp"
#include "dagverk/event/event_stats.hpp"
#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/stage/batch.hpp"

#include <algorithm>
#include <any>
#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::detail {

inline constexpr std::size_t hub_block_events = 256;  ///< single events that become one batch at most

struct StagedHubOptions {
  EventKinds kinds = EventKinds::all();
  std::size_t wait_events_max = 0;
  bool may_wait = true;  ///< whether the rule `wait` is offered
  /// Of a hub that belongs to another process, and ends with it.
  Pid front = {};
  /// Called when a handler goes, before anybody else learns of it.
  std::function<void()> gone = {};
};

/// The staged manager's process: holds what waits for each handler and hands it out when the handler asks.
///
/// Semantics: a broadcast stage whose consumers each have a buffer of their own, except those with the rule `wait`. An
///            event is stored once, in a batch that every buffer refers to. Runs no code of handlers.
/// Threads:   a GenServer; traps exits and is the parent of the handlers' processes.
/// Bounds:    per handler its overflow rule; for all `wait` handlers `wait_events_max`; plus, for each of these, the
///            rest of one batch at most.
template <class E>
class StagedHub : public GenServer<StagedHub<E>> {
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
  static constexpr bool has_handler_lines = true;
  static constexpr Duration stop_grace = 2 * handler_end_limit;
  struct Flush {};
  struct Ask {
    std::uint64_t id;
    std::uint64_t start_number;
  };
  struct Inherit {
    std::uint64_t id;  ///< of the handler that leaves it
    std::any what;
  };
  struct End {};
  /// What another process was asked, and whoever asks is to be answered by this one.
  template <class Call>
  struct Forwarded {
    Call call;
    From<Call> from;
  };
  /// Events that were turned away from the handler before they came here.
  struct TurnedAway {
    std::string name;
    DropCounts counts;
  };
  /// Whether `pid` is a handler's process.
  struct Runs {
    using Reply = bool;
    Pid pid;
  };
  struct RestartDue {
    std::uint64_t id;
    std::uint64_t start_number;
  };
  struct StopDue {
    std::uint64_t id;
    std::uint64_t start_number;
  };
  struct EndDue {
    std::uint64_t id;
  };
  struct DrainDue {};
  struct SyncDue {
    std::shared_ptr<SyncTicket> ticket;
  };

  StagedHub(const StagedHubOptions& options, std::shared_ptr<HubShared> shared)
      : options_(options), lines_(options.wait_events_max), shared_(std::move(shared)) {
    this_process::trap_exits();
    open_.reserve(hub_block_events);
    if (options_.front) front_ = this_process::monitor(options_.front);
  }

  // --- publishing ----------------------------------------------------------------------------------------------------
  void handle_cast(PublishOne one) {
    if (lines_.empty() || stopping_) {
      shared_->discarded.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    open_.push_back(std::move(one.event));
    if (open_.size() >= hub_block_events) {
      flush();
    } else if (!flush_is_coming_) {
      flush_is_coming_ = true;
      this->self().cast(Flush{});  // comes after everything that is queued now
    }
  }
  void handle_cast(const PublishBatch& batch) {
    shared_->under_way.fetch_sub(batch.events.size(), std::memory_order_relaxed);
    if (lines_.empty() || stopping_) {
      shared_->discarded.fetch_add(batch.events.size(), std::memory_order_relaxed);
      return;
    }
    flush();
    spread(batch.events);
  }
  void handle_cast(Flush /*flush*/) {
    flush_is_coming_ = false;
    flush();
  }

  void handle_call(Ack ack, From<Ack> from) {
    flush();
    if (lines_.empty() || stopping_) {
      shared_->discarded.fetch_add(1, std::memory_order_relaxed);
      from.reply({});
      return;
    }
    if (blocked_.empty() && lines_.has_room()) {
      spread(batch_of(std::move(ack.event)));
      from.reply({});
    } else if (blocked_.size() < options_.wait_events_max) {
      blocked_.push_back({std::move(ack.event), std::move(from)});
    } else {
      from.reply(Error(ErrorCode::refused, concat(blocked_.size(), " publishers wait already for room")));
    }
  }

  void handle_call(Sync sync, From<Sync> from) {
    flush();
    if (lines_.empty() || stopping_) {
      shared_->discarded.fetch_add(1, std::memory_order_relaxed);
      from.reply(std::vector<HandlerOutcome>());
      return;
    }
    auto ticket = std::make_shared<SyncTicket>(
        [from = std::move(from)](std::vector<HandlerOutcome> outcomes) mutable { from.reply(std::move(outcomes)); });
    for (const auto& entry : lines_.entries()) {
      if (entry->member.state != HandlerState::stopping) ticket->expect(entry->member.id, entry->member.name());
    }
    if (sync.limit > Duration::zero()) ticket->timer = this->send_after(sync.limit, SyncDue{ticket});
    spread(batch_of(std::move(sync.event)), ticket);
    for (const auto& entry : lines_.entries()) {
      const StagedMember<E>& member = entry->member;
      if (member.rests() || is_caller(member, sync.caller)) ticket->leave_pending(member.id);
    }
    ticket->answer_if_done();
  }
  void handle_info(const SyncDue& due) { due.ticket->answer(); }

  void handle_cast(Ask ask) {
    Member* asker = lines_.find(ask.id);
    if (asker == nullptr || asker->member.start_number != ask.start_number || !asker->member.pid) return;
    flush();
    asker->member.hand_done();
    if (asker->member.state == HandlerState::starting) asker->member.state = HandlerState::running;
    answer(*asker, {});
    lines_.dispatch(*asker);
    advance_wait_line();
    asker->member.show_edge(lines_.wait_line());
    finish_if_drained(*asker);
    end_if_empty();
  }

  // --- handlers come and go ------------------------------------------------------------------------------------------
  void handle_call(Add add, From<Add> from) {
    flush();
    Result<void> valid = check_new(add.spec);
    if (valid && lines_.find(add.spec.name) != nullptr) valid = handler_exists(add.spec.name);
    Result<RuleLine<E>> rule = make_rule(add.spec, valid);
    if (!rule) {
      tell_front();
      from.reply(rule.error());
      return;
    }
    Member& added = add_entry(std::move(add.spec), std::move(*rule), std::move(from));
    start_process(added.member);
  }

  void handle_call(Swap swap, From<Swap> from) {
    flush();
    Member* old = lines_.find(swap.name);
    if (old != nullptr && old->member.state == HandlerState::stopping) old = nullptr;
    const Member* same = lines_.find(swap.spec.name);
    Result<void> valid = check_new(swap.spec);
    if (valid && same != nullptr && same != old) valid = handler_exists(swap.spec.name);
    if (valid && old != nullptr && is_caller(old->member, swap.caller)) {
      valid = waits_for_itself(swap.name, "let another process swap it");
    }
    Result<RuleLine<E>> rule = make_rule(swap.spec, valid);
    if (!rule) {
      from.reply(rule.error());
      return;
    }
    Member& added = add_entry(std::move(swap.spec), std::move(*rule), std::move(from));
    if (old == nullptr) {
      start_process(added.member);
      return;
    }
    old->successor = added.member.id;
    old->gone = ExitReason::custom("swapped");
    begin_end(*old, handler_end_limit, ExitReason::normal);
    publish_wanted();
    advance_wait_line();
  }
  void handle_cast(Inherit inherit) {
    Member* old = lines_.find(inherit.id);
    if (old != nullptr) old->inheritance = std::move(inherit.what);
  }

  void handle_call(CallHandler call, From<CallHandler> from) {
    flush();
    Member* called = lines_.find(call.name);
    if (called == nullptr) {
      from.reply(no_handler(call.name));
      return;
    }
    const StagedMember<E>& member = called->member;
    if (is_caller(member, call.caller)) {
      from.reply(waits_for_itself(call.name, "it is in a callback already"));
      return;
    }
    if (!member.pid) {
      from.reply(
          Error(ErrorCode::unavailable, concat("handler \"", call.name, "\" is ", to_string(member.state), " now")));
      return;
    }
    auto reply = [from = std::move(from)](Result<void> done) mutable { from.reply(std::move(done)); };
    if (member.spec->options.blocking) {
      send_call<true>(member, std::move(call.call), std::move(reply));
    } else {
      send_call<false>(member, std::move(call.call), std::move(reply));
    }
  }

  void handle_call(const Remove& remove, From<Remove> from) {
    flush();
    Member* leaver = lines_.find(remove.name);
    if (leaver == nullptr || leaver->member.state == HandlerState::stopping) {
      from.reply(no_handler(remove.name));
      return;
    }
    if (is_caller(leaver->member, remove.caller)) {
      from.reply(waits_for_itself(remove.name, "use leave()"));
      return;
    }
    leaver->removed = std::move(from);
    begin_end(*leaver, handler_end_limit, ExitReason::normal);
    publish_wanted();
    advance_wait_line();
    end_if_empty();
  }

  Result<void> handle_call(const Restart& restart) {
    flush();
    Member* found = lines_.find(restart.name);
    if (found == nullptr || found->member.state == HandlerState::stopping) {
      return no_handler(restart.name);
    }
    StagedMember<E>& member = found->member;
    this_process::cancel_timer(std::exchange(member.timer, TimerRef()));
    if (member.pid) give_up_process(member, HandLoss::consumer_down, "was restarted by hand");
    answer_stops(*found, {});
    member.restarts_of.forget();
    ++member.restarts;
    if (!member.in_wait_line) lines_.join(member);
    member.repair_rule();
    start_process(member);
    member.apply_rule();
    member.show_edge(lines_.wait_line());
    return {};
  }

  void handle_call(const StopHandler& stop, From<StopHandler> from) {
    flush();
    Member* found = lines_.find(stop.name);
    if (found == nullptr || found->member.state == HandlerState::stopping) {
      from.reply(no_handler(stop.name));
      return;
    }
    StagedMember<E>& member = found->member;
    if (is_caller(member, stop.caller)) {
      from.reply(waits_for_itself(stop.name, "let another process stop it"));
      return;
    }
    const bool asked_already = !found->stops.empty();
    found->stops.push_back(std::move(from));
    if (asked_already) return;
    this_process::cancel_timer(std::exchange(member.timer, TimerRef()));
    if (!member.pid) {
      stopped_by_hand(*found);
      return;
    }
    member.progress->ask_to_end();
    ask_to_finish(member, ExitReason::normal, {});
    member.timer = this->send_after(handler_end_limit, StopDue{member.id, member.start_number});
  }

  std::vector<std::string> handle_call(Which /*which*/) {
    std::vector<std::string> names;
    names.reserve(lines_.entries().size());
    for (const auto& entry : lines_.entries()) {
      if (entry->member.state != HandlerState::stopping) names.push_back(entry->member.name());
    }
    return names;
  }

  EventStats handle_call(Stats /*stats*/) {
    flush();
    return stats();
  }

  void handle_call(Stop stop, From<Stop> from) {
    const auto own = std::ranges::find_if(lines_.entries(),
                                          [&](const auto& entry) { return is_caller(entry->member, stop.caller); });
    if (own != lines_.entries().end()) {
      from.reply(waits_for_itself((*own)->member.name(), "let another process stop the manager"));
      return;
    }
    stop_calls_.push_back(std::move(from));
    begin_stop(stop.limit);
  }
  void handle_cast(StopSoon stop) { begin_stop(stop.limit); }

  std::shared_ptr<HubShared> handle_call(Share /*share*/) { return shared_; }

  template <class Call>
  void handle_cast(Forwarded<Call> forwarded) {
    handle_call(std::move(forwarded.call), std::move(forwarded.from));
  }
  void handle_cast(const TurnedAway& turned_away) {
    if (Member* found = lines_.find(turned_away.name)) found->member.turn_away(turned_away.counts);
  }
  [[nodiscard]] bool handle_call(Runs runs) const {
    return std::ranges::any_of(lines_.entries(), [&](const auto& entry) { return is_caller(entry->member, runs.pid); });
  }

  void handle_info(EndSoon /*end*/) { end_when_alone(); }
  void handle_cast(End /*end*/) {
    publish_last_stats();
    for (From<Stop>& call : stop_calls_) call.reply(stats());
    stop_calls_.clear();
    this_process::stop(ExitReason::normal);
  }

  // --- what happens to them ------------------------------------------------------------------------------------------
  void handle_info(const Exit& exit) {
    Member* ended = lines_.find(exit.from);
    if (ended == nullptr) return;  // it was given up before
    flush();
    StagedMember<E>& member = ended->member;
    const HandlerProgress::View view = member.progress->view();
    if (member.state == HandlerState::stopping) {
      member.settle(view, HandLoss::shutdown);
      remove_entry(*ended);
    } else if (!ended->stops.empty()) {
      member.settle(view, exit.reason.kind() == ExitReason::Kind::error ? HandLoss::crashed : HandLoss::consumer_down);
      stopped_by_hand(*ended);
    } else if (handler_left(exit.reason) && !ended->added) {
      member.settle(view, HandLoss::shutdown);
      remove_entry(*ended);
      publish_wanted();
    } else if (exit.reason.normal_ish()) {
      member.settle(view, HandLoss::consumer_down);
      member.last_error = "ended itself";
      if (member.spec->options.restart_type == HandlerRestart::permanent && !ended->added) {
        restart_later(*ended);
      } else {
        give_up_restarts(*ended, HandlerState::stopped);
      }
    } else {
      on_crash(*ended, exit.reason, view);
    }
    advance_wait_line();
    end_if_empty();
  }

  /// An owner has ended: its handlers go with it.
  void handle_info(const Down& down) {
    if (options_.front && down.ref == front_) {
      this_process::stop(down.reason);
      return;
    }
    flush();
    for (Member* entry : lines_.copy()) {
      if (entry->owner != down.ref || entry->member.state == HandlerState::stopping) continue;
      entry->gone = ExitReason::shutdown;
      begin_end(*entry, handler_end_limit, ExitReason::shutdown);
    }
    publish_wanted();
    advance_wait_line();
    end_if_empty();
  }

  void handle_info(RestartDue due) {
    Member* entry = lines_.find(due.id);
    if (entry == nullptr || entry->member.start_number != due.start_number ||
        entry->member.state != HandlerState::restarting) {
      return;
    }
    ++entry->member.restarts;
    start_process(entry->member);
  }

  void handle_info(StopDue due) {
    Member* entry = lines_.find(due.id);
    if (entry == nullptr || entry->member.start_number != due.start_number || entry->stops.empty()) return;
    give_up_process(entry->member, HandLoss::consumer_down, "did not stop in time");
    stopped_by_hand(*entry);
    advance_wait_line();
  }

  void handle_info(EndDue due) {
    Member* entry = lines_.find(due.id);
    if (entry == nullptr) return;
    give_up_process(entry->member, HandLoss::shutdown, "did not end in time");
    remove_entry(*entry);
    end_if_empty();
  }

  void handle_info(DrainDue /*due*/) {
    flush();
    for (Member* entry : lines_.copy()) {
      if (entry->member.state == HandlerState::stopping) continue;
      begin_end(*entry, handler_grace_at_stop, ExitReason::shutdown);
    }
    end_if_empty();
  }

  void terminate(const ExitReason& /*reason*/) {
    // Without a `stop`: whatever waits is lost with us, and says so.
    shared_->wanted.store(0);
    flush();
    stopping_ = true;
    for (Member* entry : lines_.copy()) {
      StagedMember<E>& member = entry->member;
      if (member.pid) give_up_process(member, HandLoss::shutdown, "its manager ended");
      entry->successor = 0;
      member.dropped.shutdown += member.clear_waiting();
      member.leave_wait_line(lines_.wait_line(), member.dropped.shutdown);
      remove_entry(*entry);
    }
    publish_last_stats();
  }

 private:
  using Member = StagedEntry<E>;
  using Answer = typename Member::Answer;
  struct Blocked {
    E event;
    From<Ack> from;
  };

  // --- events --------------------------------------------------------------------------------------------------------
  /// Spreads the single events that came since the last time. First in everything that looks at handlers, so that
  /// figures and membership change between events only.
  void flush() {
    count_refused();
    if (open_.empty()) return;
    // A batch of exactly their number: one that waits long must not hold unused places.
    BatchBuilder<E> builder(open_.size());
    for (E& event : open_) builder.emplace(std::move(event));
    open_.clear();
    spread(builder.build());
  }

  [[nodiscard]] static Batch<E> batch_of(E&& event) {
    BatchBuilder<E> builder(1);
    builder.emplace(std::move(event));
    return builder.build();
  }
  void count_refused() {
    const std::uint64_t refused = shared_->refused.load(std::memory_order_relaxed);
    const std::uint64_t more = refused - std::exchange(refused_seen_, refused);
    if (more == 0) return;
    for (const auto& entry : lines_.entries()) {
      if (entry->member.state == HandlerState::stopping) continue;
      entry->member.published += more;
      entry->member.dropped.ingress += more;
    }
  }

  /// `ticket`: of a batch of one whose publisher waits.
  void spread(const Batch<E>& batch, const std::shared_ptr<SyncTicket>& ticket = {}) {
    if (batch.empty()) return;
    published_ += batch.size();
    lines_.spread(batch, this->runtime().clock().steady_now(), ticket);
    admit_blocked();
  }

  template <bool OwnThread>
  static void send_call(const StagedMember<E>& member, std::unique_ptr<HandlerCall> call, Answer reply) {
    using Process = HandlerProcess<E, OwnThread>;
    ServerRef<Process>(member.pid).cast(typename Process::Call{std::move(call), std::move(reply)});
  }

  void advance_wait_line() {
    lines_.advance();
    admit_blocked();
  }
  /// Takes the events of publishers that waited for room in the shared line.
  void admit_blocked() {
    if (admitting_) return;  // by the loop below
    admitting_ = true;
    while (!blocked_.empty() && lines_.has_room()) {
      Blocked next = std::move(blocked_.front());
      blocked_.pop_front();
      next.from.reply({});
      spread(batch_of(std::move(next.event)));
    }
    admitting_ = false;
  }

  // --- processes -----------------------------------------------------------------------------------------------------
  void start_process(StagedMember<E>& member, std::any inheritance = {}) {
    ++member.start_number;
    member.state = HandlerState::starting;
    if (member.spec->options.blocking) {
      start_process_as<true>(member, std::move(inheritance));
    } else {
      start_process_as<false>(member, std::move(inheritance));
    }
  }
  template <bool OwnThread>
  void start_process_as(StagedMember<E>& member, std::any inheritance) {
    using Process = HandlerProcess<E, OwnThread>;
    StartOptions options;
    options.parent = this_process::pid();
    std::function<void()> ask = [hub = this->self(), id = member.id, number = member.start_number] {
      hub.cast(Ask{id, number});
    };
    const ServerRef<Process> process = start_unwaited<Process>(
        this->runtime(), std::move(options), &this->runtime().clock(), member.spec, member.progress, std::move(ask));
    member.pid = process.pid();
    process.cast(typename Process::Begin{std::move(inheritance)});
  }

  /// Does without the member's process from now on, whatever it is at.
  void give_up_process(StagedMember<E>& member, HandLoss loss, std::string_view why) {
    const Pid process = member.pid;
    member.settle(member.progress->give_up(), loss);
    member.last_error = why;
    this->runtime().exit(process, ExitReason::kill);
  }

  void on_crash(Member& entry, const ExitReason& reason, const HandlerProgress::View& view) {
    StagedMember<E>& member = entry.member;
    const bool threw = reason.kind() == ExitReason::Kind::error;
    const bool retry = threw && member.spec->options.crashed_event == CrashedEvent::retry;
    member.settle(view, retry ? HandLoss::retried : threw ? HandLoss::crashed : HandLoss::consumer_down);
    member.last_error = reason.to_string();
    if (entry.added) {  // its first init: whoever adds it decides
      tell_front();
      answer(entry,
             Error(ErrorCode::exited, concat("handler \"", member.name(), "\": init failed: ", member.last_error)));
      remove_unseen(entry);
      return;
    }
    if (member.spec->options.restart_type == HandlerRestart::temporary) {
      this->runtime().logger().error("handler.failed", {{"handler", member.name()}, {"reason", member.last_error}});
      give_up_restarts(entry, HandlerState::failed);
    } else {
      restart_later(entry);
    }
  }

  void restart_later(Member& entry) {
    StagedMember<E>& member = entry.member;
    member.apply_rule();
    const std::optional<Duration> delay = member.restarts_of.crashed(this->runtime().clock().steady_now());
    if (!delay) {
      this->runtime().logger().error("handler.failed", {{"handler", member.name()}, {"reason", member.last_error}});
      give_up_restarts(entry, HandlerState::failed);
      return;
    }
    member.state = HandlerState::restarting;
    member.timer = this->send_after(*delay, RestartDue{member.id, member.start_number});
    member.show_edge(lines_.wait_line());
  }

  /// The handler stays without a process until somebody asks for one. keep_newest goes on keeping.
  void give_up_restarts(Member& entry, HandlerState state) {
    StagedMember<E>& member = entry.member;
    member.state = state;
    if (entry.added) {
      tell_front();
      answer(entry, Error(ErrorCode::exited, concat("handler \"", member.name(), "\" ended itself in init")));
      remove_unseen(entry);
      return;
    }
    if (member.waits()) {
      member.leave_wait_line(lines_.wait_line(), member.dropped.consumer_down);
      member.dropped.consumer_down += member.clear_waiting();
    }
    member.waiting.leave_pending();
    member.show_edge(lines_.wait_line());
    finish_if_drained(entry);
  }

  /// Somebody asked for its stop, and its process is over.
  void stopped_by_hand(Member& entry) {
    entry.member.last_error = "was stopped by hand";
    answer_stops(entry, {});
    give_up_restarts(entry, HandlerState::stopped);
  }
  static void answer_stops(Member& entry, const Result<void>& result) {
    for (From<StopHandler>& stop : std::exchange(entry.stops, {})) stop.reply(result);
  }

  /// Asks the handler to end, whose terminate gets `reason`; what waits for it is dropped. Without a process it is gone
  /// at once.
  void begin_end(Member& entry, Duration limit, const ExitReason& reason) {
    StagedMember<E>& member = entry.member;
    this_process::cancel_timer(std::exchange(member.timer, TimerRef()));
    member.leave_wait_line(lines_.wait_line(), member.dropped.shutdown);
    member.dropped.shutdown += member.clear_waiting();
    member.state = HandlerState::stopping;
    if (!member.pid) {
      remove_entry(entry);
      return;
    }
    std::move_only_function<void(std::any)> give;
    if (entry.successor == 0) {
      member.progress->ask_to_end();
    } else {  // it goes on until it has been asked what it leaves
      give = [hub = this->self(), id = member.id](std::any what) { hub.cast(Inherit{id, std::move(what)}); };
    }
    ask_to_finish(member, reason, std::move(give));
    member.timer = this->send_after(limit, EndDue{member.id});
    member.show_edge(lines_.wait_line());
  }
  static void ask_to_finish(const StagedMember<E>& member, const ExitReason& reason,
                            std::move_only_function<void(std::any)> give) {
    if (member.spec->options.blocking) {
      finish<true>(member, reason, std::move(give));
    } else {
      finish<false>(member, reason, std::move(give));
    }
  }
  template <bool OwnThread>
  static void finish(const StagedMember<E>& member, const ExitReason& reason,
                     std::move_only_function<void(std::any)> give) {
    using Process = HandlerProcess<E, OwnThread>;
    ServerRef<Process>(member.pid).cast(typename Process::Finish{reason, std::move(give)});
  }

  /// While the manager stops: a handler that has nothing left to do ends.
  void finish_if_drained(Member& entry) {
    StagedMember<E>& member = entry.member;
    if (!stopping_ || member.state == HandlerState::stopping) return;
    const bool idle = member.state == HandlerState::failed || member.state == HandlerState::stopped ||
                      (member.asked && member.waiting.empty() && member.waiting_in_line(lines_.wait_line()) == 0);
    if (idle) begin_end(entry, handler_end_limit, ExitReason::shutdown);
  }

  /// The last that is seen of a handler. Invalidates `entry`.
  void remove_entry(Member& entry) {
    StagedMember<E>& member = entry.member;
    this_process::cancel_timer(std::exchange(member.timer, TimerRef()));
    member.leave_wait_line(lines_.wait_line(), member.dropped.shutdown);
    member.dropped.shutdown += member.clear_waiting();
    HandlerStats last = member.stats(lines_.wait_line(), this->runtime().clock().steady_now());
    tell_front();
    const bool by_request = entry.removed.reply(last);
    answer_stops(entry, no_handler(member.name()));
    if (stopping_ && !by_request) last_figures_.push_back(std::move(last));
    if (entry.owner.id != 0) this_process::demonitor(entry.owner);
    if (member.spec->tell_owner) {
      const bool with_manager = stopping_ && entry.gone == ExitReason::normal && !by_request;
      member.spec->tell_owner(HandlerGone{member.name(), with_manager ? ExitReason::shutdown : entry.gone});
    }
    const std::uint64_t successor = entry.successor;
    std::any inheritance = std::move(entry.inheritance);
    lines_.erase(entry);
    Member* next = successor != 0 ? lines_.find(successor) : nullptr;
    if (next != nullptr && next->member.start_number == 0) start_process(next->member, std::move(inheritance));
  }
  /// Of a handler whose init never returned: nobody is told but who added it.
  void remove_unseen(Member& entry) {
    if (entry.owner.id != 0) this_process::demonitor(entry.owner);
    this_process::cancel_timer(std::exchange(entry.member.timer, TimerRef()));
    answer_stops(entry, no_handler(entry.member.name()));
    lines_.erase(entry);
    publish_wanted();
  }
  void tell_front() const {
    if (options_.gone) options_.gone();
  }
  static void answer(Member& entry, Result<void> result) {
    if (Answer waiting = std::exchange(entry.added, nullptr)) waiting(std::move(result));
  }

  /// A new handler, which has no process yet. `from`: who waits for its init.
  template <class Message>
  Member& add_entry(HandlerSpec<E>&& spec, RuleLine<E> rule, From<Message> from) {
    const HandlerRestartPolicy policy = spec.options.restart;
    const Pid owner = spec.owner;
    SharedEdge edge = this->runtime().edges().add(concat("events ", this_process::pid().number(), " -> ", spec.name));
    Member& added = lines_.add(next_id_++, std::move(spec), std::move(rule), HandlerRestarts(policy), std::move(edge));
    added.added = [from = std::move(from)](Result<void> result) mutable { from.reply(std::move(result)); };
    if (owner) added.owner = this_process::monitor(owner);
    publish_wanted();
    return added;
  }

  void begin_stop(Duration limit) {
    flush();
    if (stopping_) return;
    stopping_ = true;
    shared_->wanted.store(0);
    for (Blocked& waiting : blocked_) waiting.from.reply(Error(ErrorCode::shutting_down, "the event manager stops"));
    blocked_.clear();
    this->send_after(limit, DrainDue{});
    for (Member* entry : lines_.copy()) finish_if_drained(*entry);
    advance_wait_line();
    end_if_empty();
  }

  /// A manager that stops has ended when its last handler has: behind everything that is queued, which is so counted.
  void end_if_empty() {
    if (!stopping_ || ending_ || !lines_.empty()) return;
    ending_ = true;
    shared_->door.close();
    end_when_alone();
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

  [[nodiscard]] static bool is_caller(const StagedMember<E>& member, Pid caller) noexcept {
    return member.pid && member.pid == caller;
  }

  // --- looking things up ---------------------------------------------------------------------------------------------
  [[nodiscard]] EventStats stats() const {
    const SteadyTime now = this->runtime().clock().steady_now();
    EventStats stats;
    stats.published = published_;
    stats.discarded = shared_->discarded.load(std::memory_order_relaxed);
    stats.refused = shared_->refused.load(std::memory_order_relaxed);
    stats.handlers = last_figures_;
    for (const auto& entry : lines_.entries()) stats.handlers.push_back(entry->member.stats(lines_.wait_line(), now));
    return stats;
  }

  [[nodiscard]] Result<void> check_new(const HandlerSpec<E>& spec) const {
    if (stopping_) return Error(ErrorCode::shutting_down, "the event manager stops");
    if (!spec.overflow.waits()) return check_handler_spec(spec);
    if (!options_.may_wait && std::holds_alternative<WaitWhenFull>(spec.options.overflow)) {
      return Error(ErrorCode::configuration,
                   concat("handler \"", spec.name,
                          "\": the supervised manager has no rule `wait`: use keep_newest, or "
                          "the staged manager"));
    }
    if (!std::copy_constructible<E> && std::holds_alternative<Sample>(spec.options.overflow)) {
      return Error(ErrorCode::configuration,
                   concat("handler \"", spec.name,
                          "\": the rule `sample` copies events, and these cannot be copied: use keep_newest"));
    }
    return check_handler_spec(spec);
  }

  /// The queue of a handler that has a rule of its own, when the handler is `valid`.
  [[nodiscard]] Result<RuleLine<E>> make_rule(const HandlerSpec<E>& spec, const Result<void>& valid) const {
    if (!valid) return valid.error();
    Result<RuleLine<E>> rule = RuleLine<E>::make(spec.overflow, this->runtime().clock());
    if (rule) return rule;
    return Error(rule.error().code(), concat("handler \"", spec.name, "\": ", rule.error().message()));
  }

  void publish_wanted() {
    EventKinds kinds = EventKinds::none();
    if (!stopping_) {
      for (const auto& entry : lines_.entries()) {
        if (entry->member.state != HandlerState::stopping) kinds = kinds | entry->member.spec->options.kinds;
      }
    }
    shared_->wanted.store((kinds & options_.kinds).word());
  }

  const StagedHubOptions options_;
  StagedLines<E> lines_;
  std::shared_ptr<HubShared> shared_;  // with the manager and its publishers; ends with the last of them
  std::vector<E> open_;                // single events that came since the last flush
  bool flush_is_coming_ = false;
  bool admitting_ = false;
  bool stopping_ = false;
  bool ending_ = false;
  MonitorRef front_ = {};
  std::uint64_t next_id_ = 1;
  std::uint64_t published_ = 0;
  std::uint64_t refused_seen_ = 0;
  std::deque<Blocked> blocked_;  // publishers that wait for room in the line
  std::vector<From<Stop>> stop_calls_;
  std::vector<HandlerStats> last_figures_;  // of handlers that ended while the manager stops
};

}  // namespace dagverk::detail
