#pragma once

#include "dagverk/base/assert.hpp"
#include "dagverk/event/detail/backlog.hpp"
#include "dagverk/event/detail/handler_progress.hpp"
#include "dagverk/event/detail/rule_line.hpp"
#include "dagverk/event/event_handler.hpp"
#include "dagverk/event/event_stats.hpp"
#include "dagverk/event/restart_policy.hpp"
#include "dagverk/runtime/pid.hpp"
#include "dagverk/runtime/snapshot.hpp"
#include "dagverk/runtime/this_process.hpp"
#include "dagverk/stage/batch.hpp"
#include "dagverk/stage/overflow.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace dagverk::detail {

/// The line that the handlers with the rule `wait` share. Positions count the events that it accepted, from 0.
template <class E>
struct WaitLine {
  Backlog<E> events;
  std::uint64_t first = 0;  ///< position of the oldest event that waits

  [[nodiscard]] std::uint64_t end() const noexcept { return first + events.size(); }
};

/// Why a member's process is settled: what the event counts as that it had in hand.
enum class HandLoss : std::uint8_t { crashed, retried, consumer_down, shutdown };

/// One handler's subscription to the staged manager: its demand, what waits for it, what it holds, and its accounts.
///
/// Threads: the hub's process.
template <class E>
class StagedMember {
 public:
  StagedMember(std::uint64_t member_id, HandlerSpec<E> given, RuleLine<E> rule, HandlerRestarts history,
               SharedEdge edge_counters)
      : id(member_id),
        spec(std::make_shared<const HandlerSpec<E>>(std::move(given))),
        restarts_of(std::move(history)),
        edge(std::move(edge_counters)),
        bound_(bound_of(rule.used() ? OverflowRule(WaitWhenFull{}) : spec->options.overflow)),
        rule_(std::move(rule)) {
    if (rule_.used()) return;
    if (const auto* sample = std::get_if<Sample>(&spec->options.overflow)) sample_.emplace(*sample);
  }

  const std::uint64_t id;
  const std::shared_ptr<const HandlerSpec<E>> spec;  // shared with the handler's process, which may outlive us
  HandlerRestarts restarts_of;
  const SharedEdge edge;  // shared with snapshots of the runtime

  HandlerState state = HandlerState::starting;
  std::uint64_t start_number = 0;  ///< of its process: what an earlier one still says is not heard
  Pid pid;                         ///< none while no process of it lives
  std::shared_ptr<HandlerProgress> progress = std::make_shared<HandlerProgress>();
  bool asked = false;  ///< has demand: its hands are empty
  bool in_wait_line = false;
  std::uint64_t joined_at = 0;  ///< the position in the wait line from which on events are its own
  TimerRef timer;

  Backlog<E> waiting;
  std::vector<TimedBatch<E>> in_hand;
  std::size_t in_hand_count = 0;

  std::uint64_t published = 0;
  std::uint64_t delivered = 0;
  DropCounts dropped;
  std::uint64_t restarts = 0;
  std::string last_error;

  [[nodiscard]] const std::string& name() const noexcept { return spec->name; }
  [[nodiscard]] bool waits() const noexcept {
    return !rule_.used() && std::holds_alternative<WaitWhenFull>(spec->options.overflow);
  }
  /// Without a process until somebody asks for one.
  [[nodiscard]] bool rests() const noexcept { return state == HandlerState::failed || state == HandlerState::stopped; }
  [[nodiscard]] std::size_t hand_max() const noexcept {
    const std::size_t most = spec->options.batch_max;
    return bound_.keeps_oldest ? most : std::min(most, std::max<std::size_t>(1, bound_.events_max / 2));
  }
  [[nodiscard]] std::size_t left_in_hand() const noexcept { return in_hand_count - progress->view().settled(); }
  [[nodiscard]] std::size_t waiting_in_line(const WaitLine<E>& line) const noexcept {
    return in_wait_line ? line.end() - std::max(line.first, joined_at) : 0;
  }

  /// Events that were for it and never came here.
  void turn_away(const DropCounts& counts) noexcept {
    published += counts.total();
    dropped += counts;
  }

  /// Has `batch`, which came at `now`, wait as its rule says. `ticket`: of a publisher that waits; else null.
  void accept(const Batch<E>& batch, SteadyTime now, const std::shared_ptr<SyncTicket>& ticket) {
    if (rule_.used()) {
      accept_by_rule(batch, now, ticket);
      return;
    }
    Batch<E> chosen = sample_ ? choose(batch, now) : batch;
    dropped.sampled += batch.size() - chosen.size();
    if (chosen.empty()) {
      if (ticket) ticket->settle(id, EventFate::filtered);
      return;
    }
    waiting.push(std::move(chosen), now, ticket ? std::make_shared<SyncReceipt>(ticket, id) : nullptr);
    apply_rule();
  }
  /// What it holds and what waits are at most its bound together; one event may always wait, unless the oldest stay.
  void apply_rule() {
    if (waiting.size() <= bound_.events_max && in_hand_count <= bound_.events_max - waiting.size()) return;
    const std::size_t held = left_in_hand();
    const std::size_t room_min = bound_.keeps_oldest ? 0 : 1;
    const std::size_t room = bound_.events_max > held ? bound_.events_max - held : room_min;
    if (waiting.size() <= room) return;
    const std::size_t excess = waiting.size() - room;
    if (bound_.keeps_oldest) {
      waiting.drop_newest(excess);
    } else {
      waiting.drop_oldest(excess);
    }
    dropped.overflow += excess;
  }

  /// Has what waits under a rule of its own wait for its hands, when these are empty.
  void refill() {
    if (rule_.empty() || !asked || !waiting.empty()) return;
    const SteadyTime at = rule_.since().value();
    waiting.push(rule_.take(hand_max(), name(), dropped), at);
  }
  /// Drops what waits for it, in the shared line not; how much that was.
  [[nodiscard]] std::uint64_t clear_waiting() noexcept { return waiting.clear() + rule_.clear(); }
  /// It begins anew: so does a rule that could not.
  void repair_rule() { rule_.repair(); }

  /// Takes the next events for its hands; they go to its process.
  [[nodiscard]] std::vector<Batch<E>> next_hand() {
    in_hand = waiting.take_hand(hand_max());
    in_hand_count = count_events(in_hand);
    asked = false;
    std::vector<Batch<E>> batches;
    batches.reserve(in_hand.size());
    for (const TimedBatch<E>& batch : in_hand) batches.push_back(batch.events);
    return batches;
  }

  /// It asked again: everything in its hands is done.
  void hand_done() {
    const HandlerProgress::View view = progress->view();
    DAGVERK_ASSERT(view.settled() == in_hand_count);
    tell_settled(view);
    delivered += view.delivered;
    dropped.filtered += view.filtered;
    in_hand.clear();
    in_hand_count = 0;
    progress->restart_count();
    asked = true;
  }

  /// Its process is over, or no longer counts, at `view`: settles what it held and puts the rest back to the front.
  void settle(const HandlerProgress::View& view, HandLoss loss) {
    delivered += view.delivered;
    dropped.filtered += view.filtered;
    tell_settled(view);
    if (loss == HandLoss::crashed && view.failing_count != 0 && view.settled() == 0 && waited_for()) {
      in_hand.front().receipt->set_fate(EventFate::crashed);
    }
    std::vector<TimedBatch<E>> rest = std::move(in_hand);
    drop_events(rest, view.settled());
    const std::size_t rest_count = in_hand_count - view.settled();
    in_hand.clear();
    in_hand_count = 0;
    progress = std::make_shared<HandlerProgress>();  // a process that was given up keeps the old one to itself
    asked = false;
    pid = Pid();
    if (loss == HandLoss::shutdown) {
      dropped.shutdown += rest_count;
      return;
    }
    if (loss == HandLoss::retried || view.failing_count == 0) {
      waiting.push_front(std::move(rest));
      return;
    }
    // What the failing callback looked at is dropped; what lies before and behind it waits again.
    Backlog<E> again;
    again.push_front(std::move(rest));
    std::vector<TimedBatch<E>> before = again.take(view.failing_offset);
    const std::size_t lost = std::min(view.failing_count, again.size());
    again.drop_oldest(lost);
    waiting.push_front(again.take(again.size()));
    waiting.push_front(std::move(before));
    (loss == HandLoss::crashed ? dropped.crashed : dropped.consumer_down) += lost;
  }

  void leave_wait_line(const WaitLine<E>& line, std::uint64_t& reason) {
    reason += waiting_in_line(line);
    in_wait_line = false;
  }

  [[nodiscard]] HandlerStats stats(const WaitLine<E>& line, SteadyTime now) const {
    const HandlerProgress::View view = progress->view();
    HandlerStats stats;
    stats.name = name();
    stats.state = state;
    stats.overflow = rule_.used() ? std::string(spec->overflow.name()) : to_string(spec->options.overflow);
    stats.published = published;
    stats.delivered = delivered + view.delivered;
    stats.dropped = dropped;
    stats.dropped.filtered += view.filtered;
    stats.buffered = in_hand_count - view.settled() + waiting.size() + rule_.size() + waiting_in_line(line);
    stats.restarts = restarts;
    stats.last_error = last_error;
    if (const std::optional<SteadyTime> oldest = oldest_event(view.settled(), line)) stats.lag = now - *oldest;
    DAGVERK_ASSERT(stats.balanced());
    return stats;
  }

  /// Brings the figures of its edge up to date, for snapshots of the runtime.
  void show_edge(const WaitLine<E>& line) const {
    edge->asked.store(delivered + dropped.filtered + in_hand_count + (asked ? hand_max() : 0),
                      std::memory_order_relaxed);
    edge->delivered.store(delivered, std::memory_order_relaxed);
    edge->dropped.store(dropped.total(), std::memory_order_relaxed);
    edge->buffered.store(in_hand_count + waiting.size() + rule_.size() + waiting_in_line(line),
                         std::memory_order_relaxed);
  }

 private:
  /// An idle handler gets events at once, as they are; all others go through the rule, in order.
  void accept_by_rule(const Batch<E>& batch, SteadyTime now, const std::shared_ptr<SyncTicket>& ticket) {
    Batch<E> rest = rule_.admit(batch, name(), dropped);
    if (rest.empty()) {
      if (ticket) ticket->settle(id, EventFate::filtered);
      return;
    }
    if (asked && waiting.empty() && rule_.empty()) {
      waiting.push(rest.split_front(hand_max()), now, ticket ? std::make_shared<SyncReceipt>(ticket, id) : nullptr);
    }
    if (rest.empty()) return;
    if (ticket) ticket->settle(id, EventFate::pending);  // it may be merged: nobody can say when this one is done
    rule_.push(std::move(rest), name(), dropped);
  }

  [[nodiscard]] Batch<E> choose(const Batch<E>& batch, SteadyTime now) {
    if constexpr (std::copy_constructible<E>) {
      return pick_events(batch, [this, now](const E& /*event*/) { return sample_->chooses(now); });
    } else {
      DAGVERK_ASSERT(false && "a sample of events that cannot be copied is refused when its handler is added");
      return batch;
    }
  }

  /// Whether what it holds is one event whose publisher waits.
  [[nodiscard]] bool waited_for() const noexcept { return in_hand.size() == 1 && in_hand.front().receipt; }
  void tell_settled(const HandlerProgress::View& view) const {
    if (!waited_for() || view.settled() == 0) return;
    in_hand.front().receipt->set_fate(view.filtered != 0 ? EventFate::filtered : EventFate::handled);
  }

  [[nodiscard]] std::optional<SteadyTime> oldest_event(std::size_t settled, const WaitLine<E>& line) const {
    for (const TimedBatch<E>& batch : in_hand) {
      if (settled < batch.events.size()) return batch.at;
      settled -= batch.events.size();
    }
    if (!waiting.empty()) return waiting.oldest();
    if (!rule_.empty()) return rule_.since();
    if (waiting_in_line(line) == 0) return std::nullopt;
    return line.events.came_at(static_cast<std::size_t>(std::max(line.first, joined_at) - line.first));
  }

  const RuleBound bound_;
  RuleLine<E> rule_;                    // with a rule that knows the events
  std::optional<SampleChoice> sample_;  // with the rule `sample`
};

}  // namespace dagverk::detail
