#include "log/backend_queue.hpp"

#include <algorithm>
#include <chrono>
#include <utility>
#include <variant>

namespace dagverk::detail {

namespace {

constexpr std::uint64_t flush_at_a_time = 5000;  // as logger_olp
constexpr Duration loss_notice_interval = std::chrono::seconds(1);
constexpr std::size_t notices_max = 64;

}  // namespace

std::uint64_t BackendQueue::length() const { return queued_ + (in_hand_ ? in_hand_->lines : 0); }

LogMode BackendQueue::level_of(std::uint64_t length) const noexcept {
  std::uint64_t sync = 0;
  std::uint64_t drop = 0;
  if (const auto* olp = std::get_if<OverloadProtection>(&rule_)) {
    sync = olp->sync_mode_qlen;
    drop = olp->drop_mode_qlen;
  } else if (const auto* thresholds = std::get_if<DiscardThresholds>(&rule_)) {
    sync = thresholds->sync_threshold;
    drop = thresholds->discard_threshold;
  } else {
    return LogMode::async;
  }
  if (length >= drop) return LogMode::drop;
  return length >= sync ? LogMode::sync : LogMode::async;
}

void BackendQueue::set_mode(LogMode mode) {
  const LogMode before = mode_seen_.exchange(mode, std::memory_order_relaxed);
  if (before == mode) return;
  const bool entered = mode == LogMode::drop;
  if (!entered && before != LogMode::drop) return;
  if (std::holds_alternative<DiscardThresholds>(rule_)) {
    if (!entered || discarding_) return;  // the periodic check looks whether it is over
    discarding_ = true;
    notices_.push_back({QueueNotice::Kind::above_discard, length(), {}, {}});
  } else if (notices_.size() < notices_max) {
    notices_.push_back({QueueNotice::Kind::mode_changed, entered ? 1U : 0U, {}, {}});
  }
}

void BackendQueue::lose(std::uint64_t& counter, std::uint64_t count, SteadyTime from, SteadyTime to) {
  if (count == 0) return;
  counter += count;
  if (loss_.count == 0) loss_.from = from;
  loss_.count += count;
  loss_.to = to;
}

void BackendQueue::push(const std::shared_ptr<const LogChunk>& chunk, std::uint32_t skip, std::uint32_t lines) {
  if (lines == 0) return;
  entries_.push_back({chunk, severity_min_, skip, lines, {}});
  queued_ += lines;
  bytes_ += chunk->room;
}

std::uint64_t BackendQueue::remove_oldest(std::uint64_t count) {
  std::uint64_t removed = 0;
  while (removed < count && !entries_.empty()) {
    QueueEntry& front = entries_.front();
    const auto part = static_cast<std::uint32_t>(std::min<std::uint64_t>(front.lines, count - removed));
    front.skip += part;
    front.lines -= part;
    removed += part;
    if (front.lines != 0) break;
    bytes_ -= front.chunk->room;
    FlushTickets& heirs = in_hand_ ? in_hand_->tickets : released_;  // in hand: older lines are not settled yet
    heirs.insert(heirs.end(), front.tickets.begin(), front.tickets.end());
    entries_.pop_front();
  }
  queued_ -= removed;
  return removed;
}

std::optional<Pid> BackendQueue::call_backend() {
  if (called_ || suspended_ || !pid_) return std::nullopt;
  called_ = true;
  return pid_;
}

std::optional<Pid> BackendQueue::offer(const std::shared_ptr<const LogChunk>& chunk, SteadyTime now) {
  FlushTickets released;
  const MutexLock lock(mutex_);
  const std::uint32_t lines = chunk->lines_from(severity_min_);
  if (lines == 0) return std::nullopt;
  offered_ += lines;
  if (closed_) {
    dropped_.down += lines;
    return std::nullopt;
  }
  if (const auto* bounded = std::get_if<BoundedQueue>(&rule_)) {
    offer_bounded(*bounded, chunk, lines, now);
  } else if (const auto* thresholds = std::get_if<DiscardThresholds>(&rule_)) {
    offer_thresholds(*thresholds, chunk, lines, now);
  } else {
    offer_protected(chunk, lines, now);
  }
  released.swap(released_);
  return call_backend();
}

void BackendQueue::offer_bounded(const BoundedQueue& rule, const std::shared_ptr<const LogChunk>& chunk,
                                 std::uint32_t lines, SteadyTime now) {
  const std::uint64_t in_hand = in_hand_ ? in_hand_->lines : 0;
  const std::uint64_t room_max = rule.lines_max > in_hand ? rule.lines_max - in_hand : 0;
  if (!rule.keep_newest) {
    std::uint64_t room = room_max > queued_ ? room_max - queued_ : 0;
    if (bytes_ + chunk->room > rule.bytes_max && !entries_.empty()) room = 0;
    const auto kept = static_cast<std::uint32_t>(std::min<std::uint64_t>(lines, room));
    push(chunk, 0, kept);
    lose(dropped_.queue_full, lines - kept, now, now);
    return;
  }
  const auto kept = static_cast<std::uint32_t>(std::min<std::uint64_t>(lines, room_max));
  std::uint64_t lost = lines - kept;
  if (queued_ + kept > room_max) lost += remove_oldest(queued_ + kept - room_max);
  while (!entries_.empty() && bytes_ + chunk->room > rule.bytes_max) lost += remove_oldest(entries_.front().lines);
  push(chunk, lines - kept, kept);
  lose(dropped_.queue_full, lost, now, now);
}

void BackendQueue::offer_protected(const std::shared_ptr<const LogChunk>& chunk, std::uint32_t lines, SteadyTime now) {
  if (mode() == LogMode::drop) {
    lose(dropped_.overload, lines, now, now);
    return;
  }
  push(chunk, 0, lines);
  set_mode(std::max(mode(), level_of(length())));
}

void BackendQueue::offer_thresholds(const DiscardThresholds& rule, const std::shared_ptr<const LogChunk>& chunk,
                                    std::uint32_t lines, SteadyTime now) {
  const std::uint64_t queued = length();
  const std::uint64_t room = rule.discard_threshold > queued ? rule.discard_threshold - queued : 0;
  const auto kept = static_cast<std::uint32_t>(std::min<std::uint64_t>(lines, room));
  push(chunk, 0, kept);
  attempted_ += lines - kept;
  lose(dropped_.overload, lines - kept, now, now);
  set_mode(level_of(length()));
}

void BackendQueue::note_lost_before(std::uint64_t count, SteadyTime from, SteadyTime to) {
  const MutexLock lock(mutex_);
  std::uint64_t counted_elsewhere = 0;
  lose(counted_elsewhere, count, from, to);
}

std::optional<Pid> BackendQueue::add_ticket(std::shared_ptr<FlushTicket> ticket) {
  const MutexLock lock(mutex_);
  if (closed_) return std::nullopt;
  if (!entries_.empty()) {
    entries_.back().tickets.push_back(std::move(ticket));
    return call_backend();
  }
  if (in_hand_) in_hand_->tickets.push_back(std::move(ticket));
  return std::nullopt;
}

std::uint64_t BackendQueue::begin(Pid pid) {
  std::optional<QueueEntry> abandoned;
  const MutexLock lock(mutex_);
  if (in_hand_) dropped_.crashed += in_hand_->lines;
  abandoned.swap(in_hand_);
  pid_ = pid;
  called_ = true;  // it looks at once
  return ++incarnation_;
}

void BackendQueue::looking() noexcept {
  const MutexLock lock(mutex_);
  called_ = false;
}

BackendQueue::Taken BackendQueue::take(std::uint64_t incarnation, SteadyTime now) {
  FlushTickets released;
  const MutexLock lock(mutex_);
  Taken taken;
  if (incarnation != incarnation_ || suspended_) return taken;
  if (const auto* olp = std::get_if<OverloadProtection>(&rule_)) {
    protect(*olp, taken, now);
    released.swap(released_);
    if (taken.killed) return taken;
  } else {
    set_mode(level_of(length()));
  }
  taken.notices = std::exchange(notices_, {});
  take_loss_notice(taken, now);
  if (!entries_.empty()) {
    in_hand_ = std::move(entries_.front());
    entries_.pop_front();
    bytes_ -= in_hand_->chunk->room;
    queued_ -= in_hand_->lines;
    if (const auto* olp = std::get_if<OverloadProtection>(&rule_); olp != nullptr && olp->burst_limit_enable) {
      const std::uint32_t admitted = admit(*olp, in_hand_->lines, now);
      dropped_.burst += in_hand_->lines - admitted;
      in_hand_->lines = admitted;
    }
    taken.entry = QueueEntry{in_hand_->chunk, in_hand_->severity_min, in_hand_->skip, in_hand_->lines, {}};
  }
  return taken;
}

void BackendQueue::protect(const OverloadProtection& rule, Taken& taken, SteadyTime now) {
  const std::uint64_t lines = queued_;
  if (rule.overload_kill_enable && (lines > rule.overload_kill_qlen || bytes_ > rule.overload_kill_mem_size)) {
    taken.killed = "overloaded: " + std::to_string(lines) + " lines, " + std::to_string(bytes_) + " bytes queued";
    lose(dropped_.flushed, remove_oldest(lines), now, now);
    set_mode(LogMode::async);
    pid_ = Pid();
    return;
  }
  if (lines >= rule.flush_qlen) {
    const std::uint64_t flushed = remove_oldest(flush_at_a_time);
    dropped_.flushed += flushed;
    notices_.push_back({QueueNotice::Kind::flushed, flushed, now, now});
    set_mode(LogMode::async);
    return;
  }
  set_mode(level_of(lines));
}

std::uint32_t BackendQueue::admit(const OverloadProtection& rule, std::uint32_t lines, SteadyTime now) {
  if (!burst_start_ || now - *burst_start_ >= rule.burst_limit_window_time) {
    burst_start_ = now;
    burst_count_ = 0;
  }
  const std::uint64_t left = rule.burst_limit_max_count - std::min(burst_count_, rule.burst_limit_max_count);
  const auto admitted = static_cast<std::uint32_t>(std::min<std::uint64_t>(lines, left));
  burst_count_ += admitted;
  return admitted;
}

void BackendQueue::take_loss_notice(Taken& taken, SteadyTime now) {
  if (loss_.count == 0) return;
  const auto* bounded = std::get_if<BoundedQueue>(&rule_);
  const bool over = bounded == nullptr ? mode() != LogMode::drop : queued_ <= bounded->lines_max / 2;
  if (!over && loss_told_at_ != SteadyTime{} && now - loss_told_at_ < loss_notice_interval) return;
  if (!over && loss_told_at_ == SteadyTime{}) {
    loss_told_at_ = now;  // the loss has just begun: tell of it when it is over, or in a while
    return;
  }
  loss_told_at_ = over ? SteadyTime{} : now;
  taken.notices.push_back(std::exchange(loss_, {}));
}

FlushTickets BackendQueue::settle(std::uint64_t incarnation, std::uint64_t written, std::uint64_t own,
                                  std::optional<std::string> error, SteadyTime now) {
  const MutexLock lock(mutex_);
  if (incarnation != incarnation_ || !in_hand_) return {};
  written_ += written;
  dropped_.own += own;
  lose(dropped_.failed, in_hand_->lines - written - own, now, now);
  if (error) last_error_ = std::move(*error);
  FlushTickets done = std::move(in_hand_->tickets);
  in_hand_.reset();
  set_mode(level_of(queued_));
  return done;
}

void BackendQueue::lose_in_hand(std::uint64_t incarnation, std::string error) {
  FlushTickets done;  // let go of after the lock: whoever waits is told
  const MutexLock lock(mutex_);
  if (incarnation != incarnation_) return;
  last_error_ = std::move(error);
  pid_ = Pid();
  if (!in_hand_) return;
  dropped_.crashed += in_hand_->lines;
  done = std::move(in_hand_->tickets);
  in_hand_.reset();
}

void BackendQueue::put_back(const QueueNotice& notice, SteadyTime now) {
  const MutexLock lock(mutex_);
  if (notice.kind == QueueNotice::Kind::lines_lost) {
    if (loss_.count == 0) loss_.to = notice.to;
    loss_.from = notice.from;
    loss_.count += notice.count;
    loss_told_at_ = now;
  } else if (notices_.size() < notices_max) {
    notices_.insert(notices_.begin(), notice);
  }
}

void BackendQueue::idle() {
  const MutexLock lock(mutex_);
  burst_count_ = 0;
  if (queued_ == 0 && !in_hand_) set_mode(LogMode::async);
}

bool BackendQueue::periodic_check() {
  const MutexLock lock(mutex_);
  if (!discarding_) return false;
  if (mode() == LogMode::drop) {
    notices_.push_back({QueueNotice::Kind::above_discard, length() + attempted_, {}, {}});
  } else {
    discarding_ = false;
    attempted_ = 0;
    notices_.push_back({QueueNotice::Kind::below_discard, 0, {}, {}});
  }
  return true;
}

bool BackendQueue::notices_wait() const {
  const MutexLock lock(mutex_);
  return !notices_.empty() || loss_.count != 0;
}

bool BackendQueue::empty() const {
  const MutexLock lock(mutex_);
  return entries_.empty();
}

void BackendQueue::set_severity_min(LogSeverity severity) {
  const MutexLock lock(mutex_);
  severity_min_ = severity;
  severity_seen_.store(severity, std::memory_order_relaxed);
}

std::optional<Pid> BackendQueue::set_suspended(bool suspended) {
  const MutexLock lock(mutex_);
  suspended_ = suspended;
  return suspended ? std::nullopt : call_backend();
}

void BackendQueue::set_last_error(std::string error) {
  const MutexLock lock(mutex_);
  last_error_ = std::move(error);
}

void BackendQueue::close() {
  std::deque<QueueEntry> left;  // let go of after the lock
  std::optional<QueueEntry> in_hand;
  const MutexLock lock(mutex_);
  closed_ = true;
  ++incarnation_;
  pid_ = Pid();
  dropped_.down += length();
  left.swap(entries_);
  in_hand.swap(in_hand_);
  queued_ = 0;
  bytes_ = 0;
  mode_seen_.store(LogMode::async, std::memory_order_relaxed);
}

void BackendQueue::detach(std::uint64_t incarnation) {
  const MutexLock lock(mutex_);
  if (incarnation == incarnation_) pid_ = Pid();
}

Pid BackendQueue::pid() const {
  const MutexLock lock(mutex_);
  return pid_;
}

bool BackendQueue::suspended() const {
  const MutexLock lock(mutex_);
  return suspended_;
}

void BackendQueue::fill(BackendStats& stats) const {
  const MutexLock lock(mutex_);
  stats.mode = mode();
  stats.offered = offered_;
  stats.written = written_;
  stats.queued = length();
  stats.dropped = dropped_;
  stats.last_error = last_error_;
}

}  // namespace dagverk::detail
