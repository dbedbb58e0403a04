#pragma once

#include "dagverk/event/event_outcome.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::detail {

/// One event whose publisher waits until every handler is done with it.
///
/// Threads: the hub's process.
class SyncTicket {
 public:
  using Answer = std::move_only_function<void(std::vector<HandlerOutcome>)>;

  explicit SyncTicket(Answer answer) : answer_(std::move(answer)) {}

  TimerRef timer;  ///< of its limit

  void expect(std::uint64_t handler, std::string name) {
    entries_.push_back({handler, false, false, false});
    outcomes_.push_back({std::move(name), EventFate::pending});
    ++open_;
  }
  void claim(std::uint64_t handler) noexcept {
    for (Entry& entry : entries_) entry.claimed = entry.claimed || entry.handler == handler;
  }
  void settle(std::uint64_t handler, EventFate fate) {
    for (std::size_t index = 0; index < entries_.size(); ++index) {
      if (entries_[index].handler == handler) settle_entry(index, fate);
    }
    answer_if_done();
  }
  /// Nobody waits for this handler any more: nothing happens to the event there until somebody asks for its start.
  void leave_pending(std::uint64_t handler) {
    for (Entry& entry : entries_) {
      if (entry.handler == handler) close(entry);
    }
    answer_if_done();
  }
  /// Those that have taken no receipt of their own will not get the event any more.
  void drop_unclaimed() {
    for (std::size_t index = 0; index < entries_.size(); ++index) {
      if (!entries_[index].claimed) settle_entry(index, EventFate::dropped);
    }
    answer_if_done();
  }
  void answer_if_done() {
    if (open_ == 0) answer();
  }
  /// Tells how far everybody is. Nothing after it is heard.
  void answer() {
    if (!answer_) return;
    if (this_process::inside()) this_process::cancel_timer(timer);
    std::exchange(answer_, nullptr)(std::move(outcomes_));
    entries_.clear();
  }

 private:
  struct Entry {
    std::uint64_t handler;
    bool claimed;
    bool settled;
    bool closed;  // nobody waits for it
  };
  void close(Entry& entry) noexcept {
    if (!std::exchange(entry.closed, true)) --open_;
  }
  void settle_entry(std::size_t index, EventFate fate) {
    Entry& entry = entries_[index];
    if (std::exchange(entry.settled, true)) return;
    entry.claimed = true;
    outcomes_[index].fate = fate;
    close(entry);
  }

  Answer answer_;
  std::vector<Entry> entries_;
  std::vector<HandlerOutcome> outcomes_;
  std::size_t open_ = 0;
};

/// Goes with the event through a handler's queue and hands; says what became of it when it ends with the last copy.
class SyncReceipt {
 public:
  /// Of one handler.
  SyncReceipt(std::shared_ptr<SyncTicket> ticket, std::uint64_t handler)
      : ticket_(std::move(ticket)), handler_(handler), own_(true) {
    ticket_->claim(handler);
  }
  /// Of all those in the shared line, until each takes its own.
  explicit SyncReceipt(std::shared_ptr<SyncTicket> ticket) : ticket_(std::move(ticket)) {}
  SyncReceipt(const SyncReceipt&) = delete;
  SyncReceipt& operator=(const SyncReceipt&) = delete;
  ~SyncReceipt() {
    if (own_) {
      ticket_->settle(handler_, fate_);
    } else {
      ticket_->drop_unclaimed();
    }
  }

  void set_fate(EventFate fate) noexcept { fate_ = fate; }
  void leave_pending() const { ticket_->leave_pending(handler_); }
  [[nodiscard]] std::shared_ptr<SyncReceipt> of_handler(std::uint64_t handler) const {
    return std::make_shared<SyncReceipt>(ticket_, handler);
  }

 private:
  std::shared_ptr<SyncTicket> ticket_;  // with the other handlers' receipts and the timer's message
  std::uint64_t handler_ = 0;
  bool own_ = false;
  EventFate fate_ = EventFate::dropped;
};

}  // namespace dagverk::detail
