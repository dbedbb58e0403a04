#pragma once

#include "dagverk/stage/detail/stage_log.hpp"
#include "dagverk/stage/dispatcher.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace dagverk {

/// Every event goes to every consumer, in the same batch.
///
/// Semantics: GenStage's BroadcastDispatcher: events leave when every consumer has open demand, so the slowest governs,
///            and one that has subscribed and not yet asked holds all up. A consumer may subscribe once; a second
///            subscription is refused with `already_subscribed`. A selector that rejects events gets its demand for
///            them back. Unlike GenStage: buffered events always go first, a common ask is served from the buffer, a
///            consumer whose selector accepts nothing of a batch gets no message, and a selector that throws ends its
///            own subscription alone.
///            Elastic subscriptions (those with an overflow rule) get events when they are emitted, hold up nobody and
///            are held up by nobody; of what was emitted before they came they get what no other consumer is there
///            for. Without any other consumer, demand is what the most eager of them has asked for.
/// Bounds:    an ask costs one pass over the subscriptions when the asker was the last of the slowest, else a constant.
template <class Event>
class BroadcastDispatcher final : public Dispatcher<Event> {
 public:
  [[nodiscard]] Result<void> subscribe(Outlet<Event>& outlet) override {
    if (has_consumer(waiting_, outlet.consumer()) || has_consumer(elastic_, outlet.consumer())) {
      return Error(ErrorCode::already_exists, "already_subscribed");
    }
    if (outlet.elastic()) {
      outlet.word = not_announced_to;
      elastic_.push_back(&outlet);
      return {};
    }
    outlet.word = position_;
    waiting_.push_back(&outlet);
    if (outlet.options().selector) ++selectors_;
    find_slowest();
    return {};
  }

  void ask(Outlet<Event>& outlet, std::uint64_t count) override {
    if (outlet.elastic()) return;  // it says itself what is open
    const bool was_slowest = outlet.word == lowest_;
    outlet.word += count;
    if (was_slowest && --slowest_ == 0) find_slowest();
  }

  void cancel(Outlet<Event>& outlet) override {
    if (outlet.elastic()) {
      std::erase(elastic_, &outlet);
    } else {
      forget_waiting(outlet);
    }
  }

  [[nodiscard]] std::uint64_t demand() const noexcept override {
    if (!waiting_.empty()) return lowest_ - position_;
    std::uint64_t most = 0;
    for (const Outlet<Event>* outlet : elastic_) most = std::max(most, outlet->open_demand());
    return most;
  }
  [[nodiscard]] std::uint64_t room() const noexcept override {
    if (!waiting_.empty()) return lowest_ - position_;
    return elastic_.empty() ? 0 : std::numeric_limits<std::uint64_t>::max();
  }

  void announce(const Batch<Event>& events) override {
    for (Outlet<Event>* outlet : elastic_) outlet->word = announced_to;
    deliver_to(elastic_, events);
    let_go_of_failed();
  }

  void dispatch(Batch<Event>& events) override {
    if (waiting_.empty() && !elastic_.empty()) {
      give_to_new_elastic(std::exchange(events, {}));
      return;
    }
    while (!events.empty() && !waiting_.empty()) {
      const std::uint64_t count = std::min<std::uint64_t>(lowest_ - position_, events.size());
      if (count == 0) return;
      position_ += count;
      Batch<Event> common = events.split_front(static_cast<std::size_t>(count));
      if (selectors_ != 0) {
        deliver_to(waiting_, common);
        let_go_of_failed();
        find_slowest();
        continue;  // what selectors rejected may have left demand for more
      }
      std::size_t next = 0;  // a single consumer becomes the only holder
      std::move(common).hand_out(waiting_.size(),
                                 [&](Batch<Event> part) { waiting_[next++]->deliver(std::move(part)); });
    }
  }

 private:
  using Outlets = std::vector<Outlet<Event>*>;
  static constexpr std::uint64_t not_announced_to = 0;
  static constexpr std::uint64_t announced_to = 1;

  [[nodiscard]] static bool has_consumer(const Outlets& outlets, Pid consumer) noexcept {
    return std::ranges::any_of(outlets, [&](const Outlet<Event>* outlet) { return outlet->consumer() == consumer; });
  }

  void forget_waiting(Outlet<Event>& outlet) {
    std::erase(waiting_, &outlet);
    if (outlet.options().selector) --selectors_;
    if (outlet.word == lowest_ && --slowest_ == 0) find_slowest();
  }

  void find_slowest() noexcept {
    lowest_ = std::numeric_limits<std::uint64_t>::max();
    slowest_ = 0;
    for (const Outlet<Event>* outlet : waiting_) {
      if (outlet->word < lowest_) {
        lowest_ = outlet->word;
        slowest_ = 0;
      }
      if (outlet->word == lowest_) ++slowest_;
    }
  }

  /// Events that nobody waits for: to those that have seen nothing newer.
  void give_to_new_elastic(const Batch<Event>& events) {
    Outlets fresh = elastic_;
    std::erase_if(fresh, [](const Outlet<Event>* outlet) { return outlet->word == announced_to; });
    deliver_to(fresh, events);
    let_go_of_failed();
  }

  void deliver_to(const Outlets& outlets, const Batch<Event>& events) {
    for (Outlet<Event>* outlet : outlets) {
      if (outlet->options().selector) {
        deliver_selected(*outlet, events);
      } else {
        outlet->deliver(events);
      }
    }
  }

  void deliver_selected(Outlet<Event>& outlet, const Batch<Event>& events) {
    if constexpr (std::is_copy_constructible_v<Event>) {
      Batch<Event> selected;
      try {
        selected = select(events, outlet.options().selector);
      } catch (...) {
        failed_.emplace_back(&outlet, detail::reason_of_thrown());
        return;
      }
      if (!outlet.elastic()) outlet.word += events.size() - selected.size();
      outlet.deliver(std::move(selected));
    } else {
      failed_.emplace_back(&outlet, ExitReason::custom("a selector needs events that can be copied"));
    }
  }

  void let_go_of_failed() {
    for (auto& [outlet, reason] : std::exchange(failed_, {})) {
      cancel(*outlet);
      outlet->fail(std::move(reason));
    }
  }

  /// The events that `selector` wants; all of them without a copy.
  static Batch<Event> select(const Batch<Event>& common, const std::function<bool(const Event&)>& selector) {
    std::size_t index = 0;
    while (index < common.size() && selector(common[index])) ++index;
    if (index == common.size()) return common;
    BatchBuilder<Event> chosen;
    for (std::size_t earlier = 0; earlier < index; ++earlier) chosen.emplace(common[earlier]);
    for (++index; index < common.size(); ++index) {
      if (selector(common[index])) chosen.emplace(common[index]);
    }
    return chosen.build();
  }

  // The word of an outlet that waits is the position up to which it may be sent events, counted over all that were
  // dispatched (and beyond, for those that its selector rejected). That of an elastic one says whether it was announced
  // anything yet.
  Outlets waiting_;
  Outlets elastic_;
  std::uint64_t position_ = 0;
  std::uint64_t lowest_ = std::numeric_limits<std::uint64_t>::max();  // the smallest word of those that wait
  std::size_t slowest_ = 0;                                           // how many have it
  std::size_t selectors_ = 0;                                         // of those that wait
  std::vector<std::pair<Outlet<Event>*, ExitReason>> failed_;
};

template <class Event>
[[nodiscard]] std::unique_ptr<Dispatcher<Event>> broadcast_dispatcher() {
  return std::make_unique<BroadcastDispatcher<Event>>();
}

}  // namespace dagverk
