#pragma once

#include "dagverk/runtime/exit_reason.hpp"
#include "dagverk/stage/detail/stage_log.hpp"
#include "dagverk/stage/overflow.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

namespace dagverk::detail {

/// What a subscription with an overflow rule has between its dispatcher and its consumer.
///
/// Invariants: while the queue holds anything, nothing is open: what waits leaves as soon as it is asked for.
///             `granted`, what the dispatcher was asked for and has not delivered, is never more than `open`, unless
///             the dispatcher gives without having been asked.
template <class Port, class Event>
struct ElasticState {
  explicit ElasticState(std::unique_ptr<OverflowQueue<Event>> rule) noexcept : queue(std::move(rule)) {}

  std::unique_ptr<OverflowQueue<Event>> queue;
  std::uint64_t open = 0;     ///< asked for by the consumer and not sent yet
  std::uint64_t granted = 0;  ///< of these, asked of the dispatcher
  std::uint64_t posted = 0;   ///< sent to the consumer
  std::optional<ExitReason> failed;
  bool failure_told = false;

  void asked(Port& port, std::uint64_t count) {
    open += count;
    guarded(port, [&](DropCounter& drops) { pump(port, drops); });
  }

  void deliver(Port& port, Batch<Event> events) {
    const std::size_t size = events.size();
    granted -= std::min<std::uint64_t>(granted, size);
    const std::uint64_t open_before = open;
    guarded(port, [&](DropCounter& drops) {
      events = queue->admit(std::move(events), drops);
      if (queue->size() == 0 && open != 0) send(port, events.split_front(static_cast<std::size_t>(open)));
      if (!events.empty()) {
        queue->push(std::move(events), drops);
        pump(port, drops);
      }
    });
    // What the rule dropped used up some of what the dispatcher granted.
    if (failed || (open > granted && open_before - open < size)) port.settle_later();
  }

 private:
  void send(Port& port, Batch<Event> events) {
    open -= events.size();
    posted += events.size();
    if (!events.empty()) port.post(std::move(events));
  }
  void pump(Port& port, DropCounter& drops) {
    while (open != 0 && queue->size() != 0) send(port, queue->take(static_cast<std::size_t>(open), drops));
  }

  /// Runs what may call the rule's own code: what that throws ends this subscription and nothing else. From then on
  /// events are dropped until the producer has noticed.
  template <class Work>
  void guarded(Port& port, Work&& work) {
    DropCounter drops(*port.edge);
    if (failed) return;
    try {
      work(drops);
    } catch (...) {
      failed = reason_of_thrown();
    }
  }
};

}  // namespace dagverk::detail
