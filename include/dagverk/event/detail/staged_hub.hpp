#pragma once

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/event/detail/handler_process.hpp"
#include "dagverk/event/detail/staged_member.hpp"
#include "dagverk/event/event_handler.hpp"
#include "dagverk/event/event_stats.hpp"
#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/stage/batch.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::detail {

inline constexpr Duration handler_end_limit = std::chrono::seconds(5);
inline constexpr Duration handler_grace_at_stop = std::chrono::milliseconds(500);
inline constexpr std::size_t hub_block_events = 256;      ///< single events that become one batch at most
inline constexpr std::size_t shared_batch_events = 1024;  ///< larger batches are cut, so that a part pins no more

/// What publishers and the hub share: publishers never wait for the hub.
struct StagedShared {
  StagedShared() = default;
  StagedShared(const StagedShared&) = delete;
  StagedShared& operator=(const StagedShared&) = delete;
  ~StagedShared() { delete last_stats.load(); }

  std::atomic<std::uint64_t> wanted{0};     ///< kinds; 0 without handlers and after the end
  std::atomic<std::uint64_t> discarded{0};  ///< events
  std::atomic<std::uint64_t> refused{0};    ///< events turned away because too many were under way to the hub
  std::atomic<std::size_t> under_way{0};    ///< events of batches under way to the hub
  std::atomic<const EventStats*> last_stats{nullptr};  ///< the hub's last word; set once
};

struct StagedHubOptions {
  EventKinds kinds = EventKinds::all();
  std::size_t wait_events_max = 0;
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
  struct PublishOne {
    E event;
  };
  struct PublishBatch {
    Batch<E> events;
  };
  struct Flush {};
  struct Ask {
    std::uint64_t id;
    std::uint64_t start_number;
  };
  struct Add {
    using Reply = void;
    HandlerSpec<E> spec;
  };
  struct Remove {
    using Reply = HandlerStats;
    std::string name;
  };
  struct Restart {
    using Reply = void;
    std::string name;
  };
  struct Which {
    using Reply = std::vector<std::string>;
  };
  struct Stats {
    using Reply = EventStats;
  };
  struct Stop {
    using Reply = EventStats;
    Duration limit;
  };
  struct StopSoon {
    Duration limit;
  };
  struct End {};
  struct RestartDue {
    std::uint64_t id;
    std::uint64_t start_number;
  };
  struct EndDue {
    std::uint64_t id;
  };
  struct DrainDue {};

  StagedHub(StagedHubOptions options, std::shared_ptr<StagedShared> shared)
      : options_(options), shared_(std::move(shared)) {
    this_process::trap_exits();
    open_.reserve(hub_block_events);
  }

  // --- publishing ----------------------------------------------------------------------------------------------------
  void handle_cast(PublishOne one) {
    if (members_.empty() || stopping_) {
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
    if (members_.empty() || stopping_) {
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

  void handle_cast(Ask ask) {
    Member* asker = find(ask.id);
    if (asker == nullptr || asker->member.start_number != ask.start_number || !asker->member.pid) return;
    flush();
    asker->member.hand_done();
    if (asker->member.state == HandlerState::starting) asker->member.state = HandlerState::running;
    asker->added.reply(Result<void>());
    dispatch(*asker);
    advance_wait_line();
    asker->member.show_edge(line_);
    finish_if_drained(*asker);
    end_if_empty();
  }

  // --- handlers come and go ------------------------------------------------------------------------------------------
  void handle_call(Add add, From<Add> from) {
    flush();
    if (stopping_) {
      from.reply(Error(ErrorCode::shutting_down, "the event manager stops"));
      return;
    }
    if (Result<void> valid = check_spec(add.spec); !valid) {
      from.reply(valid.error());
      return;
    }
    const HandlerRestartPolicy policy = add.spec.options.restart;
    std::shared_ptr<EdgeCounters> edge =
        this->runtime().edges().add(concat("events ", this_process::pid().number(), " -> ", add.spec.name));
    auto entry = std::make_unique<Member>(next_id_++, std::move(add.spec), HandlerRestarts(policy), std::move(edge));
    entry->added = std::move(from);
    join_wait_line(entry->member);
    start_process(entry->member);
    members_.push_back(std::move(entry));
    publish_wanted();
  }

  void handle_call(const Remove& remove, From<Remove> from) {
    flush();
    Member* leaver = find(remove.name);
    if (leaver == nullptr || leaver->member.state == HandlerState::stopping) {
      from.reply(Error(ErrorCode::not_found, concat("no handler \"", remove.name, "\"")));
      return;
    }
    leaver->removed = std::move(from);
    begin_end(*leaver, handler_end_limit);
    publish_wanted();
    advance_wait_line();
    end_if_empty();
  }

  Result<void> handle_call(const Restart& restart) {
    flush();
    Member* found = find(restart.name);
    if (found == nullptr || found->member.state == HandlerState::stopping) {
      return Error(ErrorCode::not_found, concat("no handler \"", restart.name, "\""));
    }
    StagedMember<E>& member = found->member;
    this_process::cancel_timer(std::exchange(member.timer, TimerRef()));
    if (member.pid) give_up_process(member, HandLoss::consumer_down, "was restarted by hand");
    member.restarts_of.forget();
    ++member.restarts;
    if (!member.in_wait_line) join_wait_line(member);
    start_process(member);
    member.apply_rule();
    member.show_edge(line_);
    return {};
  }

  std::vector<std::string> handle_call(Which /*which*/) {
    std::vector<std::string> names;
    names.reserve(members_.size());
    for (const auto& entry : members_) names.push_back(entry->member.name());
    return names;
  }

  EventStats handle_call(Stats /*stats*/) {
    flush();
    return stats();
  }

  void handle_call(Stop stop, From<Stop> from) {
    stop_calls_.push_back(std::move(from));
    begin_stop(stop.limit);
  }
  void handle_cast(StopSoon stop) { begin_stop(stop.limit); }

  void handle_cast(End /*end*/) {
    publish_last_stats();
    for (From<Stop>& call : stop_calls_) call.reply(stats());
    stop_calls_.clear();
    this_process::stop(ExitReason::normal);
  }

  // --- what happens to them ------------------------------------------------------------------------------------------
  void handle_info(const Exit& exit) {
    Member* ended = find(exit.from);
    if (ended == nullptr) return;  // it was given up before
    flush();
    StagedMember<E>& member = ended->member;
    const HandlerProgress::View view = member.progress->view();
    if (member.state == HandlerState::stopping) {
      member.settle(view, HandLoss::shutdown);
      remove_entry(*ended);
    } else if (exit.reason.normal_ish()) {
      member.settle(view, HandLoss::consumer_down);
      member.last_error = "ended itself";
      give_up_restarts(*ended, HandlerState::stopped);
    } else {
      on_crash(*ended, exit.reason, view);
    }
    advance_wait_line();
    end_if_empty();
  }

  void handle_info(RestartDue due) {
    Member* entry = find(due.id);
    if (entry == nullptr || entry->member.start_number != due.start_number ||
        entry->member.state != HandlerState::restarting) {
      return;
    }
    ++entry->member.restarts;
    start_process(entry->member);
  }

  void handle_info(EndDue due) {
    Member* entry = find(due.id);
    if (entry == nullptr) return;
    give_up_process(entry->member, HandLoss::shutdown, "did not end in time");
    remove_entry(*entry);
    end_if_empty();
  }

  void handle_info(DrainDue /*due*/) {
    flush();
    for (Member* entry : entries()) begin_end(*entry, handler_grace_at_stop);
    end_if_empty();
  }

  void terminate(const ExitReason& /*reason*/) {
    // Without a `stop`: whatever waits is lost with us, and says so.
    shared_->wanted.store(0);
    flush();
    stopping_ = true;
    for (Member* entry : entries()) {
      StagedMember<E>& member = entry->member;
      if (member.pid) give_up_process(member, HandLoss::shutdown, "its manager ended");
      member.dropped.shutdown += member.waiting.clear();
      member.leave_wait_line(line_, member.dropped.shutdown);
      remove_entry(*entry);
    }
    publish_last_stats();
  }

 private:
  /// A subscription and who waits for news of it.
  struct Member {
    template <class... Args>
    explicit Member(Args&&... args) : member(std::forward<Args>(args)...) {}
    StagedMember<E> member;
    From<Add> added;
    From<Remove> removed;
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

  void spread(const Batch<E>& batch) {
    const std::size_t count = batch.size();
    if (count == 0) return;
    const SteadyTime now = this->runtime().clock().steady_now();
    published_ += count;
    std::size_t accepted = 0;
    bool somebody_waits = false;
    for (const auto& entry : members_) somebody_waits = somebody_waits || entry->member.in_wait_line;
    if (somebody_waits) {
      accepted = std::min(count, options_.wait_events_max - std::min(options_.wait_events_max, line_.events.size()));
      line_.events.push(batch.slice(0, accepted), now);
    }
    for (const auto& entry : members_) {
      StagedMember<E>& member = entry->member;
      if (member.state == HandlerState::stopping) continue;  // has left
      member.published += count;
      if (member.in_wait_line) {
        member.dropped.overflow += count - accepted;
      } else if (member.waits()) {
        member.dropped.consumer_down += count;  // failed: it must not hold up the others
      } else {
        member.waiting.push(batch, now);
        member.apply_rule();
      }
      dispatch(*entry);
      member.show_edge(line_);
    }
    if (somebody_waits) advance_wait_line();
  }

  void count_refused() {
    const std::uint64_t refused = shared_->refused.load(std::memory_order_relaxed);
    const std::uint64_t more = refused - std::exchange(refused_seen_, refused);
    if (more == 0) return;
    for (const auto& entry : members_) {
      if (entry->member.state == HandlerState::stopping) continue;
      entry->member.published += more;
      entry->member.dropped.ingress += more;
    }
  }

  /// Hands out what waits, when the handler has asked.
  void dispatch(Member& entry) {
    StagedMember<E>& member = entry.member;
    if (!member.asked || member.waiting.empty() || member.state != HandlerState::running) return;
    if (member.spec->options.blocking) {
      hand_to<true>(member);
    } else {
      hand_to<false>(member);
    }
  }
  template <bool OwnThread>
  static void hand_to(StagedMember<E>& member) {
    using Process = HandlerProcess<E, OwnThread>;
    ServerRef<Process>(member.pid).cast(typename Process::Next{member.next_hand()});
  }

  /// Moves the shared line on, as long as every handler in it has asked and has nothing else to do.
  void advance_wait_line() {
    while (!line_.events.empty()) {
      std::size_t most = line_.events.size();
      bool somebody = false;
      for (const auto& entry : members_) {
        const StagedMember<E>& member = entry->member;
        if (!member.in_wait_line) continue;
        if (!member.asked || !member.waiting.empty()) return;
        somebody = true;
        most = std::min(most, member.hand_max());
      }
      const std::uint64_t first = line_.first;
      const std::vector<TimedBatch<E>> taken = line_.events.take(somebody ? most : line_.events.size());
      line_.first += count_events(taken);
      for (const auto& entry : members_) {
        StagedMember<E>& member = entry->member;
        if (!member.in_wait_line) continue;
        std::vector<TimedBatch<E>> own = taken;
        drop_events(own, static_cast<std::size_t>(std::clamp(member.joined_at, first, line_.first) - first));
        member.waiting.push_front(std::move(own));
        dispatch(*entry);
        member.show_edge(line_);
      }
    }
  }

  // --- processes -----------------------------------------------------------------------------------------------------
  void start_process(StagedMember<E>& member) {
    ++member.start_number;
    member.state = HandlerState::starting;
    if (member.spec->options.blocking) {
      start_process_as<true>(member);
    } else {
      start_process_as<false>(member);
    }
  }
  template <bool OwnThread>
  void start_process_as(StagedMember<E>& member) {
    using Process = HandlerProcess<E, OwnThread>;
    StartOptions options;
    options.parent = this_process::pid();
    std::function<void()> ask = [hub = this->self(), id = member.id, number = member.start_number] {
      hub.cast(Ask{id, number});
    };
    const ServerRef<Process> process = start_unwaited<Process>(
        this->runtime(), std::move(options), &this->runtime().clock(), member.spec, member.progress, std::move(ask));
    member.pid = process.pid();
    process.cast(typename Process::Begin{});
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
      entry.added.reply(
          Error(ErrorCode::exited, concat("handler \"", member.name(), "\": init failed: ", member.last_error)));
      remove_entry(entry);
      publish_wanted();
      return;
    }
    member.apply_rule();
    const std::optional<Duration> delay = member.restarts_of.crashed(this->runtime().clock().steady_now());
    if (!delay) {
      this->runtime().logger().error("handler.failed", {{"handler", member.name()}, {"reason", member.last_error}});
      give_up_restarts(entry, HandlerState::failed);
      return;
    }
    member.state = HandlerState::restarting;
    member.timer = this->send_after(*delay, RestartDue{member.id, member.start_number});
    member.show_edge(line_);
  }

  /// The handler stays without a process until somebody asks for one. keep_newest goes on keeping.
  void give_up_restarts(Member& entry, HandlerState state) {
    StagedMember<E>& member = entry.member;
    member.state = state;
    if (entry.added) {
      entry.added.reply(Error(ErrorCode::exited, concat("handler \"", member.name(), "\" ended itself in init")));
      remove_entry(entry);
      publish_wanted();
      return;
    }
    if (member.waits()) {
      member.leave_wait_line(line_, member.dropped.consumer_down);
      member.dropped.consumer_down += member.waiting.clear();
    }
    member.show_edge(line_);
    finish_if_drained(entry);
  }

  /// Asks the handler to end; what waits for it is dropped. Without a process it is gone at once.
  void begin_end(Member& entry, Duration limit) {
    StagedMember<E>& member = entry.member;
    this_process::cancel_timer(std::exchange(member.timer, TimerRef()));
    member.leave_wait_line(line_, member.dropped.shutdown);
    member.dropped.shutdown += member.waiting.clear();
    member.state = HandlerState::stopping;
    if (!member.pid) {
      remove_entry(entry);
      return;
    }
    member.progress->ask_to_end();
    if (member.spec->options.blocking) {
      ServerRef<HandlerProcess<E, true>>(member.pid).cast(typename HandlerProcess<E, true>::Finish{});
    } else {
      ServerRef<HandlerProcess<E, false>>(member.pid).cast(typename HandlerProcess<E, false>::Finish{});
    }
    member.timer = this->send_after(limit, EndDue{member.id});
    member.show_edge(line_);
  }

  /// While the manager stops: a handler that has nothing left to do ends.
  void finish_if_drained(Member& entry) {
    StagedMember<E>& member = entry.member;
    if (!stopping_ || member.state == HandlerState::stopping) return;
    const bool idle = member.state == HandlerState::failed || member.state == HandlerState::stopped ||
                      (member.asked && member.waiting.empty() && member.waiting_in_line(line_) == 0);
    if (idle) begin_end(entry, handler_end_limit);
  }

  /// The last that is seen of a handler. Invalidates `entry`.
  void remove_entry(Member& entry) {
    StagedMember<E>& member = entry.member;
    this_process::cancel_timer(std::exchange(member.timer, TimerRef()));
    member.leave_wait_line(line_, member.dropped.shutdown);
    member.dropped.shutdown += member.waiting.clear();
    HandlerStats last = member.stats(line_, this->runtime().clock().steady_now());
    const bool by_request = entry.removed.reply(last);
    if (stopping_ && !by_request) last_figures_.push_back(std::move(last));
    std::erase_if(members_, [&](const std::unique_ptr<Member>& known) { return known.get() == &entry; });
  }

  void begin_stop(Duration limit) {
    flush();
    if (stopping_) return;
    stopping_ = true;
    shared_->wanted.store(0);
    this->send_after(limit, DrainDue{});
    for (Member* entry : entries()) finish_if_drained(*entry);
    advance_wait_line();
    end_if_empty();
  }

  /// A manager that stops has ended when its last handler has: behind everything that is queued, which is so counted.
  void end_if_empty() {
    if (!stopping_ || ending_ || !members_.empty()) return;
    ending_ = true;
    this->self().cast(End{});
  }

  void publish_last_stats() {
    if (shared_->last_stats.load() == nullptr) shared_->last_stats.store(new EventStats(stats()));
  }

  // --- looking things up ---------------------------------------------------------------------------------------------
  [[nodiscard]] EventStats stats() const {
    const SteadyTime now = this->runtime().clock().steady_now();
    EventStats stats;
    stats.published = published_;
    stats.discarded = shared_->discarded.load(std::memory_order_relaxed);
    stats.refused = shared_->refused.load(std::memory_order_relaxed);
    stats.handlers = last_figures_;
    for (const auto& entry : members_) stats.handlers.push_back(entry->member.stats(line_, now));
    return stats;
  }

  [[nodiscard]] Result<void> check_spec(const HandlerSpec<E>& spec) {
    if (spec.name.empty() || !spec.make) {
      return Error(ErrorCode::configuration, "a handler needs a name and a way to make it: see event_handler()");
    }
    if (find(spec.name) != nullptr) {
      return Error(ErrorCode::already_exists, concat("handler \"", spec.name, "\" exists"));
    }
    if (spec.options.batch_max == 0 || spec.options.batch_max > handler_batch_limit) {
      return Error(ErrorCode::configuration, concat("handler \"", spec.name, "\": batch_max must be 1..",
                                                    handler_batch_limit, ", got ", spec.options.batch_max));
    }
    return check(spec.options.overflow, spec.name);
  }

  void join_wait_line(StagedMember<E>& member) {
    member.in_wait_line = member.waits();
    member.joined_at = line_.end();
  }

  void publish_wanted() {
    EventKinds kinds = EventKinds::none();
    if (!stopping_) {
      for (const auto& entry : members_) {
        if (entry->member.state != HandlerState::stopping) kinds = kinds | entry->member.spec->options.kinds;
      }
    }
    shared_->wanted.store((kinds & options_.kinds).word());
  }

  /// For loops that may remove some on the way.
  [[nodiscard]] std::vector<Member*> entries() const {
    std::vector<Member*> all;
    all.reserve(members_.size());
    for (const auto& entry : members_) all.push_back(entry.get());
    return all;
  }
  template <class Matches>
  [[nodiscard]] Member* find_if(Matches matches) const {
    for (const auto& entry : members_) {
      if (matches(entry->member)) return entry.get();
    }
    return nullptr;
  }
  [[nodiscard]] Member* find(std::uint64_t id) const {
    return find_if([id](const StagedMember<E>& member) { return member.id == id; });
  }
  [[nodiscard]] Member* find(const std::string& name) const {
    return find_if([&name](const StagedMember<E>& member) { return member.name() == name; });
  }
  [[nodiscard]] Member* find(Pid pid) const {
    return find_if([pid](const StagedMember<E>& member) { return member.pid && member.pid == pid; });
  }

  StagedHubOptions options_;
  std::shared_ptr<StagedShared> shared_;  // with the manager and its publishers; ends with the last of them
  std::vector<E> open_;                   // single events that came since the last flush
  bool flush_is_coming_ = false;
  bool stopping_ = false;
  bool ending_ = false;
  std::vector<std::unique_ptr<Member>> members_;  // in order of addition
  WaitLine<E> line_;
  std::uint64_t next_id_ = 1;
  std::uint64_t published_ = 0;
  std::uint64_t refused_seen_ = 0;
  std::vector<From<Stop>> stop_calls_;
  std::vector<HandlerStats> last_figures_;  // of handlers that ended while the manager stops
};

}  // namespace dagverk::detail
