#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/event/event_stats.hpp"
#include "dagverk/runtime/exit_reason.hpp"
#include "dagverk/runtime/snapshot.hpp"
#include "dagverk/stage/batch.hpp"
#include "dagverk/stage/detail/stage_log.hpp"
#include "dagverk/stage/overflow.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace dagverk::detail {

/// A handler's rule dropped everything: `reason` is what it threw, `lost` how many events went with it.
void report_rule_failed(const std::string& handler, const ExitReason& reason, std::uint64_t lost);

/// What waits for one handler under a rule of the stages': the rule's queue, with accounts that always add up.
///
/// Semantics: every event that goes in comes out, once, or waits, or is in the DropCounts; as `overflow` what the rule
///            itself does not explain. When the rule throws, what it held is dropped as `crashed` and a new queue
///            begins; while none can be made, so is what comes.
/// Threads:   the manager's process.
/// Bounds:    the rule's.
template <class E>
class RuleLine {
 public:
  /// Without a rule: never used, always empty.
  RuleLine() = default;

  /// Errors: those of the rule: a bound of zero, a file that cannot be made.
  [[nodiscard]] static Result<RuleLine> make(const Overflow<E>& rule, const Clock& clock) {
    RuleLine line;
    if (rule.waits()) return line;
    line.rule_ = rule;
    line.clock_ = &clock;
    Result<std::unique_ptr<OverflowQueue<E>>> queue = rule.make(clock);
    if (!queue) return queue.error();
    line.queue_ = std::move(*queue);
    line.ledger_ = std::make_unique<EdgeCounters>(std::string());
    return line;
  }

  [[nodiscard]] bool used() const noexcept { return !rule_.waits(); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  /// When the oldest event came, at the earliest: since then something has always waited here.
  [[nodiscard]] std::optional<SteadyTime> since() const noexcept {
    return empty() ? std::optional<SteadyTime>() : since_;
  }

  /// What the rule lets through of `events`, which came just now.
  [[nodiscard]] Batch<E> admit(Batch<E> events, const std::string& handler, DropCounts& dropped) {
    const std::size_t count = events.size();
    return guarded(count, handler, dropped,
                   [&](DropCounter& drops) { return queue_->admit(std::move(events), drops); });
  }
  void push(Batch<E> events, const std::string& handler, DropCounts& dropped) {
    if (empty()) since_ = clock_->steady_now();
    const std::size_t count = events.size();
    static_cast<void>(guarded(count, handler, dropped, [&](DropCounter& drops) {
      queue_->push(std::move(events), drops);
      return Batch<E>();
    }));
  }
  /// At most `count` events off the front; none when nothing is left.
  [[nodiscard]] Batch<E> take(std::size_t count, const std::string& handler, DropCounts& dropped) {
    Batch<E> taken;
    std::size_t before = 0;
    do {
      before = size_;
      taken = guarded(0, handler, dropped, [&](DropCounter& drops) { return queue_->take(count, drops); });
    } while (taken.empty() && !empty() && size_ < before);  // what could not be read is gone
    return taken;
  }
  /// Drops everything, for good; how much that was.
  std::size_t clear() noexcept {
    queue_.reset();
    return std::exchange(size_, 0);
  }
  /// Makes a queue where there is none.
  void repair() {
    if (used() && !queue_) begin_again();
  }

 private:
  /// Runs what may call the rule's own code, after `count` events have come; `work` returns those that it gives out.
  template <class Work>
  [[nodiscard]] Batch<E> guarded(std::size_t count, const std::string& handler, DropCounts& dropped, Work&& work) {
    if (!queue_) {
      dropped.crashed += count;
      return {};
    }
    const std::size_t had = size_ + count;
    std::optional<ExitReason> failed;
    try {
      DropCounter drops(*ledger_);
      Batch<E> given = work(drops);
      settle(had, given.size(), dropped);
      return given;
    } catch (...) {
      failed = reason_of_thrown();
    }
    size_ = 0;
    dropped.crashed += had;
    for (std::size_t reason = 0; reason < drop_reason_count; ++reason) counted_anew(static_cast<DropReason>(reason));
    report_rule_failed(handler, *failed, had);
    begin_again();
    return {};
  }

  void settle(std::size_t had, std::size_t given, DropCounts& dropped) {
    const std::size_t size = queue_->size();
    if (size + given > had) throw std::logic_error("an overflow rule has more events than it was given");
    std::uint64_t gone = had - given - size;
    size_ = size;
    const auto explain = [&](DropReason reason, std::uint64_t& counter) {
      const std::uint64_t counted = std::min(gone, counted_anew(reason));
      counter += counted;
      gone -= counted;
    };
    if (gone == 0) return;
    explain(DropReason::sampled, dropped.sampled);
    explain(DropReason::coalesced, dropped.coalesced);
    explain(DropReason::spill_failed, dropped.spill_failed);
    dropped.overflow += gone;
  }
  /// What the rule has counted since it was last asked.
  std::uint64_t counted_anew(DropReason reason) noexcept {
    const EdgeCounters::Drops* drops = ledger_->drops.load(std::memory_order_relaxed);
    if (drops == nullptr) return 0;
    const auto index = static_cast<std::size_t>(reason);
    const std::uint64_t total = (*drops)[index].load(std::memory_order_relaxed);
    return total - std::exchange(told_[index], total);
  }

  void begin_again() {
    queue_.reset();  // before the next one: it may hold a file
    Result<std::unique_ptr<OverflowQueue<E>>> queue = rule_.make(*clock_);
    if (queue) queue_ = std::move(*queue);
  }

  Overflow<E> rule_;
  const Clock* clock_ = nullptr;
  std::unique_ptr<OverflowQueue<E>> queue_;  // null: without a rule, or one could not be made
  std::unique_ptr<EdgeCounters> ledger_;     // what the rule counts; apart from the edge, which shows all drops
  std::array<std::uint64_t, drop_reason_count> told_{};
  std::size_t size_ = 0;
  SteadyTime since_{};
};

}  // namespace dagverk::detail
