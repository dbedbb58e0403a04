#pragma once

#include "dagverk/event/detail/handler_process.hpp"
#include "dagverk/event/detail/hub_messages.hpp"
#include "dagverk/event/detail/staged_member.hpp"
#include "dagverk/event/detail/sync_ticket.hpp"

#include <algorithm>
#include <any>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::detail {

/// A handler's subscription and who waits for news of it.
template <class E>
struct StagedEntry {
  using Answer = std::move_only_function<void(Result<void>)>;

  template <class... Args>
  explicit StagedEntry(Args&&... args) : member(std::forward<Args>(args)...) {}

  StagedMember<E> member;
  Answer added;
  From<typename HubMessages<E>::Remove> removed;
  std::vector<From<typename HubMessages<E>::StopHandler>> stops;  // who waits until it has stopped; then it stays
  MonitorRef owner = {};                                          // of its owner; 0 without
  std::uint64_t successor = 0;                                    // the handler that waits for its place; 0 without
  std::any inheritance;                                           // what it leaves to that one
  ExitReason gone = ExitReason::normal;
};

/// Who subscribes, what waits for each, and how events get from there into the handlers' hands.
///
/// Threads: the hub's process.
/// Bounds:  per handler its overflow rule; `wait_events_max` for those with the rule `wait` together.
template <class E>
class StagedLines {
 public:
  using Entry = StagedEntry<E>;

  explicit StagedLines(std::size_t wait_events_max) : wait_events_max_(wait_events_max) {}

  // --- handlers ------------------------------------------------------------------------------------------------------
  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  /// In order of addition.
  [[nodiscard]] const std::vector<std::unique_ptr<Entry>>& entries() const noexcept { return entries_; }
  /// For loops that may remove some on the way.
  [[nodiscard]] std::vector<Entry*> copy() const {
    std::vector<Entry*> all;
    all.reserve(entries_.size());
    for (const auto& entry : entries_) all.push_back(entry.get());
    return all;
  }
  template <class... Args>
  Entry& add(Args&&... args) {
    Entry& added = *entries_.emplace_back(std::make_unique<Entry>(std::forward<Args>(args)...));
    join(added.member);
    return added;
  }
  void erase(const Entry& entry) {
    std::erase_if(entries_, [&](const std::unique_ptr<Entry>& known) { return known.get() == &entry; });
  }
  /// From now on it waits with the others, if that is its rule.
  void join(StagedMember<E>& member) {
    member.in_wait_line = member.waits();
    member.joined_at = line_.end();
  }

  [[nodiscard]] Entry* find(std::uint64_t id) const {
    return find_if([id](const StagedMember<E>& member) { return member.id == id; });
  }
  /// One that stays before one that goes.
  [[nodiscard]] Entry* find(const std::string& name) const {
    Entry* staying = find_if([&name](const StagedMember<E>& member) {
      return member.name() == name && member.state != HandlerState::stopping;
    });
    if (staying != nullptr) return staying;
    return find_if([&name](const StagedMember<E>& member) { return member.name() == name; });
  }
  [[nodiscard]] Entry* find(Pid pid) const {
    return find_if([pid](const StagedMember<E>& member) { return member.pid && member.pid == pid; });
  }

  // --- events --------------------------------------------------------------------------------------------------------
  [[nodiscard]] const WaitLine<E>& wait_line() const noexcept { return line_; }
  /// Whether one more event would not be dropped for those who wait.
  [[nodiscard]] bool has_room() const noexcept {
    return wait_events_max_ == 0 || line_.events.size() < wait_events_max_ || !somebody_waits();
  }

  /// `ticket`: of a batch of one whose publisher waits; else null.
  void spread(const Batch<E>& batch, SteadyTime now, const std::shared_ptr<SyncTicket>& ticket) {
    const std::size_t count = batch.size();
    std::size_t accepted = 0;
    const bool shared = somebody_waits();
    if (shared) {
      accepted = std::min(count, wait_events_max_ - std::min(wait_events_max_, line_.events.size()));
      line_.events.push(batch.slice(0, accepted), now, ticket ? std::make_shared<SyncReceipt>(ticket) : nullptr);
    }
    for (const auto& entry : entries_) {
      StagedMember<E>& member = entry->member;
      if (member.state == HandlerState::stopping) continue;  // has left
      member.published += count;
      if (member.in_wait_line) {
        member.dropped.overflow += count - accepted;
        if (ticket && accepted == 0) ticket->settle(member.id, EventFate::dropped);
      } else if (member.waits()) {
        member.dropped.consumer_down += count;  // failed: it must not hold up the others
        if (ticket) ticket->settle(member.id, EventFate::dropped);
      } else {
        member.accept(batch, now, ticket);
      }
      dispatch(*entry);
      member.show_edge(line_);
    }
    if (shared) advance();
  }

  /// Hands out what waits, when the handler has asked.
  void dispatch(Entry& entry) {
    StagedMember<E>& member = entry.member;
    member.refill();
    if (!member.asked || member.waiting.empty() || member.state != HandlerState::running) return;
    if (member.spec->options.blocking) {
      hand_to<true>(member);
    } else {
      hand_to<false>(member);
    }
  }

  /// Moves the shared line on, as long as every handler in it has asked and has nothing else to do.
  void advance() {
    while (!line_.events.empty()) {
      std::size_t most = line_.events.size();
      bool somebody = false;
      for (const auto& entry : entries_) {
        const StagedMember<E>& member = entry->member;
        if (!member.in_wait_line) continue;
        if (!member.asked || !member.waiting.empty()) return;
        somebody = true;
        most = std::min(most, member.hand_max());
      }
      hand_out(line_.events.take(somebody ? most : line_.events.size()));
    }
  }

 private:
  [[nodiscard]] bool somebody_waits() const noexcept {
    return std::ranges::any_of(entries_, [](const auto& entry) { return entry->member.in_wait_line; });
  }
  template <class Matches>
  [[nodiscard]] Entry* find_if(Matches matches) const {
    for (const auto& entry : entries_) {
      if (matches(entry->member)) return entry.get();
    }
    return nullptr;
  }

  template <bool OwnThread>
  static void hand_to(StagedMember<E>& member) {
    using Process = HandlerProcess<E, OwnThread>;
    ServerRef<Process>(member.pid).cast(typename Process::Next{member.next_hand()});
  }
  /// What was taken off the shared line goes to everybody in it.
  void hand_out(const std::vector<TimedBatch<E>>& taken) {
    const std::uint64_t first = line_.first;
    line_.first += count_events(taken);
    for (const auto& entry : entries_) {
      StagedMember<E>& member = entry->member;
      if (!member.in_wait_line) continue;
      std::vector<TimedBatch<E>> own = taken;
      drop_events(own, static_cast<std::size_t>(std::clamp(member.joined_at, first, line_.first) - first));
      for (TimedBatch<E>& batch : own) {
        if (batch.receipt) batch.receipt = batch.receipt->of_handler(member.id);
      }
      member.waiting.push_front(std::move(own));
      dispatch(*entry);
      member.show_edge(line_);
    }
  }

  const std::size_t wait_events_max_;
  std::vector<std::unique_ptr<Entry>> entries_;
  WaitLine<E> line_;
};

}  // namespace dagverk::detail
