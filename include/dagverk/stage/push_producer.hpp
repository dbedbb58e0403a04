#pragma once

#include "dagverk/base/concat.hpp"
#include "dagverk/stage/producer.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <type_traits>
#include <utility>

namespace dagverk {

/// What becomes of a pushed event that cannot leave at once.
enum class PushRule : std::uint8_t {
  discard,      ///< it is dropped
  keep_newest,  ///< it is queued; when the queue is full the oldest event is dropped for it
  keep_oldest,  ///< it is queued; when the queue is full it is dropped
  wait,  ///< it is queued; when the queue is full, a `sync_notify` waits for room, and an `async_notify` is dropped
};

/// The queue of a PushProducer in one situation.
struct PushQueue {
  PushRule rule = PushRule::keep_newest;
  std::size_t size = 10'000;  ///< events queued at most, and, with PushRule::wait, calls that wait for room at most
};

struct PushOptions {
  PushQueue unheard = {};  ///< for what is pushed while nobody is subscribed
  PushQueue heard = {};    ///< for what is pushed while somebody is, and nobody has asked for it
};

/// What a PushProducer has done with all that was pushed: pushed = dispatched + discarded (three ways) + queued +
/// waiting.
struct PushCounts {
  std::uint64_t pushed = 0;
  std::uint64_t dispatched = 0;
  std::uint64_t discarded_unheard = 0;  ///< dropped by the rule `unheard`
  std::uint64_t discarded_heard = 0;    ///< dropped by the rule `heard`
  std::uint64_t discarded_halted = 0;   ///< pushed when the stage was being drained
  std::uint64_t queued = 0;             ///< now
  std::uint64_t waiting = 0;            ///< calls that wait for room now
};

/// A producer that is pushed events from anywhere and remembers who asked for how many.
///
/// Semantics: an event leaves at once when consumers have asked for it, else it is queued as PushOptions say and leaves
///            when they ask. Order is the order of pushes, whatever way they came. A rule is applied when an event is
///            pushed: what is queued when the last consumer leaves stays for the next one. Use it by `async_notify`,
///            `sync_notify` and `sync_notify_blocking`, which name the message they send.
/// Threads:   as GenServer; pushes come from any thread or process.
/// Errors:    a `sync_notify` gets `refused` when its event is dropped, `shutting_down` once the stage is drained.
/// Bounds:    PushQueue::size events queued and, with PushRule::wait, as many calls waiting. A call that timed out
///            keeps its place, and its event is dispatched all the same.
template <class Out>
class PushProducer final : public Producer<PushProducer<Out>, Out> {
  using Base = Producer<PushProducer<Out>, Out>;

 public:
  struct Push {
    Out event;
  };
  struct PushBatch {
    Batch<Out> events;
  };
  struct SyncPush {
    using Reply = void;
    Out event;
  };
  struct Counts {
    using Reply = PushCounts;
  };

  explicit PushProducer(PushOptions options = {}) : PushProducer(demand_dispatcher<Out>(), options) {}
  explicit PushProducer(std::unique_ptr<Dispatcher<Out>> dispatcher, PushOptions options = {})
      : Base(std::move(dispatcher)),
        options_(options),
        edge_(this_process::runtime().edges().add(
            concat(detail::type_name<PushProducer>(), "#", this_process::pid().number(), " queue"))) {}

  void handle_cast(Push&& push) { take(std::move(push.event)); }
  void handle_cast(PushBatch&& push) { take_all(std::move(push.events)); }
  void handle_call(SyncPush&& push, From<SyncPush> from) { take_sync(std::move(push.event), std::move(from)); }
  PushCounts handle_call(Counts /*call*/) {
    PushCounts counts = counts_;
    counts.queued = queue_.size();
    counts.waiting = waiting_.size();
    return counts;
  }

  // For the stage's base.
  void on_dispatchable() { give(); }
  [[nodiscard]] bool passed_on() const noexcept { return queue_.empty() && waiting_.empty(); }

 private:
  /// A call to be answered when the event with that number has left.
  struct Ticket {
    std::uint64_t number;
    From<SyncPush> from;
  };
  struct Waiting {
    Out event;
    From<SyncPush> from;
  };
  static constexpr std::size_t batch_max = 1024;

  [[nodiscard]] bool unheard() const noexcept { return Base::consumer_count() == 0; }
  [[nodiscard]] const PushQueue& queue_rule() const noexcept { return unheard() ? options_.unheard : options_.heard; }
  [[nodiscard]] bool leaves_at_once() const noexcept {
    return queue_.empty() && waiting_.empty() && Base::dispatchable() != 0;
  }

  void count_pushed(std::size_t count) {
    counts_.pushed += count;
    detail::add_to(edge_->sent, count);
  }
  void count_dispatched(std::size_t count) {
    counts_.dispatched += count;
    detail::add_to(edge_->delivered, count);
  }
  void count_discarded(std::size_t count) {
    if (count == 0) return;
    (Base::halted() ? counts_.discarded_halted
     : unheard()    ? counts_.discarded_unheard
                    : counts_.discarded_heard) += count;
    edge_->count_drop(DropReason::buffer_full, count);
    unlogged_ += count;
    const std::uint64_t discarded = counts_.discarded_unheard + counts_.discarded_heard + counts_.discarded_halted;
    if (discarded < next_log_) return;  // a line whenever the total has doubled
    next_log_ = 2 * discarded;
    detail::warn_discarded(detail::type_name<PushProducer>(), std::exchange(unlogged_, 0));
  }

  void take(Out&& event) {
    count_pushed(1);
    if (leaves_at_once()) {
      count_dispatched(1);
      Base::emit(std::move(event));
      return;
    }
    if (make_room()) queue_.push_back(std::move(event));
  }

  void take_all(Batch<Out> events) {
    count_pushed(events.size());
    if (leaves_at_once()) {
      Batch<Out> part = events.split_front(static_cast<std::size_t>(Base::dispatchable()));
      count_dispatched(part.size());
      Base::emit(std::move(part));
    }
    for (Out& event : events.take_events()) {
      if (make_room()) queue_.push_back(std::move(event));
    }
  }

  void take_sync(Out&& event, From<SyncPush> from) {
    count_pushed(1);
    if (leaves_at_once()) {
      count_dispatched(1);
      Base::emit(std::move(event));
      Base::flush();
      from.reply({});
      return;
    }
    if (Base::halted()) {
      count_discarded(1);
      from.reply(Error(ErrorCode::shutting_down, "the stage is being drained"));
      return;
    }
    const PushQueue& rule = queue_rule();
    admit_waiting();
    if (rule.rule == PushRule::wait && queue_.size() >= rule.size && waiting_.size() < rule.size) {
      waiting_.push_back(Waiting{std::move(event), std::move(from)});
      return;
    }
    if (!make_room()) {
      from.reply(Error(ErrorCode::refused, unheard() ? "nobody is subscribed" : "the queue of pushed events is full"));
      return;
    }
    tickets_.push_back(Ticket{left_ + queue_.size(), std::move(from)});
    queue_.push_back(std::move(event));
  }

  /// True when one more event may be queued. Otherwise the event is counted as discarded.
  bool make_room() {
    const PushQueue& rule = queue_rule();
    if (Base::halted() || rule.rule == PushRule::discard || rule.size == 0) {
      count_discarded(1);
      return false;
    }
    admit_waiting();
    if (queue_.size() < rule.size) return true;
    if (rule.rule != PushRule::keep_newest) {
      count_discarded(1);
      return false;
    }
    const std::size_t excess = queue_.size() + 1 - rule.size;
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(excess));
    left_ += excess;
    count_discarded(excess);
    answer(Error(ErrorCode::refused, "newer events pushed it out of the full queue"));
    return true;
  }

  /// Emits what consumers have asked for.
  void give() {
    admit_waiting();
    while (!queue_.empty()) {
      const std::size_t count = std::min({queue_.size(), batch_max, static_cast<std::size_t>(Base::dispatchable())});
      if (count == 0) return;
      BatchBuilder<Out> batch(count);
      for (std::size_t index = 0; index < count; ++index) batch.emplace(std::move(queue_[index]));
      queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count));
      left_ += count;
      count_dispatched(count);
      Base::emit(batch.build());
      answer({});
      admit_waiting();
    }
  }

  /// Answers the calls whose events have left the queue.
  void answer(const Result<void>& result) {
    while (!tickets_.empty() && tickets_.front().number < left_) {
      tickets_.front().from.reply(result);
      tickets_.pop_front();
    }
  }

  /// Calls that wait for room go before whatever comes now: all of them when the rule in force is not to wait for room
  /// but to make it.
  void admit_waiting() {
    const PushQueue& rule = queue_rule();
    const std::size_t room = std::max<std::size_t>(rule.size, 1);  // they were let in; a rule without room came later
    while (!waiting_.empty() && (queue_.size() < room || rule.rule == PushRule::keep_newest)) {
      tickets_.push_back(Ticket{left_ + queue_.size(), std::move(waiting_.front().from)});
      queue_.push_back(std::move(waiting_.front().event));
      waiting_.pop_front();
    }
  }

  const PushOptions options_;
  std::deque<Out> queue_;
  std::deque<Ticket> tickets_;   // of events in the queue, in its order
  std::deque<Waiting> waiting_;  // only while the queue is full
  std::uint64_t left_ = 0;       // events that have left the queue: the number of its first
  std::uint64_t unlogged_ = 0;
  std::uint64_t next_log_ = 1;
  PushCounts counts_;
  detail::SharedEdge edge_;  // shared with snapshots
};

/// Pushes an event, from anywhere, without waiting.
template <class Out>
void async_notify(ServerRef<PushProducer<Out>> producer, std::type_identity_t<Out> event) {
  producer.cast(typename PushProducer<Out>::Push{std::move(event)});
}
/// Pushes a batch. It leaves whole when consumers have asked for all of it.
template <class Out>
void async_notify(ServerRef<PushProducer<Out>> producer, Batch<std::type_identity_t<Out>> events) {
  producer.cast(typename PushProducer<Out>::PushBatch{std::move(events)});
}

/// Inside a process: `Result<void> sent = co_await sync_notify(producer, std::move(event));` resumes when the event was
/// dispatched to consumers that had asked for it. Errors: `refused` when it was dropped, and those of a call. After a
/// `timeout` the event keeps its place. Zero or less: no limit.
template <class Out>
[[nodiscard]] auto sync_notify(ServerRef<PushProducer<Out>> producer, std::type_identity_t<Out>&& event,
                               Duration timeout = call_timeout_default) {
  return producer.template call_within<typename PushProducer<Out>::SyncPush>(timeout, std::move(event));
}
/// As `sync_notify`, from outside of processes: blocks this thread.
template <class Out>
[[nodiscard]] Result<void> sync_notify_blocking(ServerRef<PushProducer<Out>> producer, std::type_identity_t<Out> event,
                                                Duration timeout = call_timeout_default) {
  return producer.template call_blocking_within<typename PushProducer<Out>::SyncPush>(timeout, std::move(event));
}

}  // namespace dagverk
