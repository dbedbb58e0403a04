#pragma once

#include "log/log_chunk.hpp"

#include "dagverk/base/clock.hpp"
#include "dagverk/base/mutex.hpp"
#include "dagverk/log/log_stats.hpp"
#include "dagverk/log/overload_rule.hpp"
#include "dagverk/log/severity.hpp"
#include "dagverk/runtime/pid.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk::detail {

/// Somebody waits for lines to be settled; told when the last one lets go of it.
class FlushTicket {
 public:
  FlushTicket() = default;
  FlushTicket(const FlushTicket&) = delete;
  FlushTicket& operator=(const FlushTicket&) = delete;
  virtual ~FlushTicket() = default;
};
using FlushTickets = std::vector<std::shared_ptr<FlushTicket>>;

/// Something about its own queue that a backend has to write down.
struct QueueNotice {
  enum class Kind : std::uint8_t { lines_lost, mode_changed, flushed, above_discard, below_discard };
  Kind kind = Kind::lines_lost;
  std::uint64_t count = 0;  ///< lines; for mode_changed 1 when drop was entered, 0 when it was left
  SteadyTime from{};        ///< of the loss
  SteadyTime to{};
};

/// Some lines of a block.
struct QueueEntry {
  std::shared_ptr<const LogChunk> chunk;  // with other backends' queues
  LogSeverity severity_min = LogSeverity::trace;
  std::uint32_t skip = 0;  ///< lines of the backend's severities that are gone already
  std::uint32_t lines = 0;
  FlushTickets tickets = {};
};

/// What waits for one backend, under its overload rule. Outlives the backend's processes.
///
/// Threads: any; a lock held for some hundred nanoseconds, never across foreign code. The collector offers, one process
///          at a time takes and settles.
/// Bounds:  its rule. With OverloadProtection: `drop_mode_qlen` and one block.
class BackendQueue {
 public:
  BackendQueue(OverloadRule rule, LogSeverity severity_min)
      : rule_(rule), severity_seen_(severity_min), severity_min_(severity_min) {}

  // --- the collector -------------------------------------------------------------------------------------------------

  /// Takes a block's lines, or drops some. The process to tell that there is work, if it is not told yet.
  [[nodiscard]] std::optional<Pid> offer(const std::shared_ptr<const LogChunk>& chunk, SteadyTime now);
  /// Lines that were lost before they came here, for the notice alone.
  void note_lost_before(std::uint64_t count, SteadyTime from, SteadyTime to);
  /// `ticket` is let go of when all that was offered so far is settled. As offer.
  [[nodiscard]] std::optional<Pid> add_ticket(std::shared_ptr<FlushTicket> ticket);

  // --- the backend's process -----------------------------------------------------------------------------------------

  struct Taken {
    std::vector<QueueNotice> notices;
    std::optional<QueueEntry> entry;
    std::optional<std::string> killed;  ///< overloaded: why the backend must end
  };

  /// `pid` is the backend from now on; what an earlier one had in hand counts as crashed. Its number.
  [[nodiscard]] std::uint64_t begin(Pid pid);
  /// The backend is about to look: whoever offers from now on tells it again.
  void looking() noexcept;
  [[nodiscard]] Taken take(std::uint64_t incarnation, SteadyTime now);
  /// What became of the entry in hand: the rest of its lines are `failed`. Tickets that are done.
  [[nodiscard]] FlushTickets settle(std::uint64_t incarnation, std::uint64_t written, std::uint64_t own,
                                    std::optional<std::string> error, SteadyTime now);
  /// The entry in hand was lost with an exception. Nothing when `incarnation` is not the backend any more.
  void lose_in_hand(std::uint64_t incarnation, std::string error);
  /// The notice could not be written; it is tried again later.
  void put_back(const QueueNotice& notice, SteadyTime now);
  /// Nothing came for a while.
  void idle();
  /// Elixir's periodic look at discard mode.
  [[nodiscard]] bool periodic_check();
  [[nodiscard]] bool notices_wait() const;
  [[nodiscard]] bool empty() const;

  // --- others --------------------------------------------------------------------------------------------------------

  [[nodiscard]] LogMode mode() const noexcept { return mode_seen_.load(std::memory_order_relaxed); }
  [[nodiscard]] LogSeverity severity_min() const noexcept { return severity_seen_.load(std::memory_order_relaxed); }
  void set_severity_min(LogSeverity severity);
  [[nodiscard]] std::optional<Pid> set_suspended(bool suspended);
  void set_last_error(std::string error);
  /// Drops what waits and whatever comes, as `down`.
  void close();
  /// The process has ended, or must not be told of work.
  void detach(std::uint64_t incarnation);
  [[nodiscard]] Pid pid() const;
  [[nodiscard]] bool suspended() const;
  void fill(BackendStats& stats) const;
  [[nodiscard]] const OverloadRule& rule() const noexcept { return rule_; }

  /// For the fatal-signal path: calls `visit(entry)` for what is in hand and what waits. False without the lock.
  template <class Visit>
  bool visit_after_crash(Visit&& visit) const noexcept {
    for (int attempt = 0; !mutex_.try_lock(); ++attempt) {
      if (attempt == 1'000'000) return false;  // its holder is the thread that crashed
    }
    visit_entries(visit);
    mutex_.unlock();
    return true;
  }

 private:
  template <class Visit>
  void visit_entries(Visit&& visit) const DAGVERK_REQUIRES(mutex_) {
    if (in_hand_) visit(*in_hand_);
    for (const QueueEntry& entry : entries_) visit(entry);
  }

  [[nodiscard]] std::uint64_t length() const DAGVERK_REQUIRES(mutex_);
  [[nodiscard]] LogMode level_of(std::uint64_t length) const noexcept;
  void set_mode(LogMode mode) DAGVERK_REQUIRES(mutex_);
  void lose(std::uint64_t& counter, std::uint64_t count, SteadyTime from, SteadyTime to) DAGVERK_REQUIRES(mutex_);
  void push(const std::shared_ptr<const LogChunk>& chunk, std::uint32_t skip, std::uint32_t lines)
      DAGVERK_REQUIRES(mutex_);
  /// Removes at most `count` lines from the front; how many.
  std::uint64_t remove_oldest(std::uint64_t count) DAGVERK_REQUIRES(mutex_);
  void offer_bounded(const BoundedQueue& rule, const std::shared_ptr<const LogChunk>& chunk, std::uint32_t lines,
                     SteadyTime now) DAGVERK_REQUIRES(mutex_);
  void offer_protected(const std::shared_ptr<const LogChunk>& chunk, std::uint32_t lines, SteadyTime now)
      DAGVERK_REQUIRES(mutex_);
  void offer_thresholds(const DiscardThresholds& rule, const std::shared_ptr<const LogChunk>& chunk,
                        std::uint32_t lines, SteadyTime now) DAGVERK_REQUIRES(mutex_);
  [[nodiscard]] std::optional<Pid> call_backend() DAGVERK_REQUIRES(mutex_);
  void protect(const OverloadProtection& rule, Taken& taken, SteadyTime now) DAGVERK_REQUIRES(mutex_);
  std::uint32_t admit(const OverloadProtection& rule, std::uint32_t lines, SteadyTime now) DAGVERK_REQUIRES(mutex_);
  void take_loss_notice(Taken& taken, SteadyTime now) DAGVERK_REQUIRES(mutex_);

  const OverloadRule rule_;
  std::atomic<LogMode> mode_seen_{LogMode::async};
  std::atomic<LogSeverity> severity_seen_{LogSeverity::trace};
  mutable Mutex mutex_;
  LogSeverity severity_min_ DAGVERK_GUARDED_BY(mutex_);
  std::deque<QueueEntry> entries_ DAGVERK_GUARDED_BY(mutex_);
  std::optional<QueueEntry> in_hand_ DAGVERK_GUARDED_BY(mutex_);
  std::uint64_t queued_ DAGVERK_GUARDED_BY(mutex_) = 0;  // lines, without those in hand
  std::size_t bytes_ DAGVERK_GUARDED_BY(mutex_) = 0;     // of the entries' blocks
  std::uint64_t offered_ DAGVERK_GUARDED_BY(mutex_) = 0;
  std::uint64_t written_ DAGVERK_GUARDED_BY(mutex_) = 0;
  LogDrops dropped_ DAGVERK_GUARDED_BY(mutex_);
  std::string last_error_ DAGVERK_GUARDED_BY(mutex_);
  Pid pid_ DAGVERK_GUARDED_BY(mutex_);
  std::uint64_t incarnation_ DAGVERK_GUARDED_BY(mutex_) = 0;
  bool called_ DAGVERK_GUARDED_BY(mutex_) = false;  // the backend knows that there is work
  bool suspended_ DAGVERK_GUARDED_BY(mutex_) = false;
  bool closed_ DAGVERK_GUARDED_BY(mutex_) = false;
  QueueNotice loss_ DAGVERK_GUARDED_BY(mutex_);  // that has not been told of
  SteadyTime loss_told_at_ DAGVERK_GUARDED_BY(mutex_){};
  std::vector<QueueNotice> notices_ DAGVERK_GUARDED_BY(mutex_);
  std::uint64_t burst_count_ DAGVERK_GUARDED_BY(mutex_) = 0;
  std::optional<SteadyTime> burst_start_ DAGVERK_GUARDED_BY(mutex_);
  FlushTickets released_ DAGVERK_GUARDED_BY(mutex_);    // to be let go of after the lock
  bool discarding_ DAGVERK_GUARDED_BY(mutex_) = false;  // told of, not yet left
  std::uint64_t attempted_ DAGVERK_GUARDED_BY(mutex_) = 0;
};

}  // namespace dagverk::detail
