#pragma once

#include "dagverk/stage/detail/stage_log.hpp"
#include "dagverk/stage/dispatcher.hpp"

#include <algorithm>
#include <cstddef>
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
/// Bounds:    an ask costs one pass over the subscriptions when the asker was the last of the slowest, else a constant.
template <class Event>
class BroadcastDispatcher final : public Dispatcher<Event> {
 public:
  [[nodiscard]] Result<void> subscribe(Outlet<Event>& outlet) override {
    for (const Outlet<Event>* other : outlets_) {
      if (other->consumer() == outlet.consumer()) return Error(ErrorCode::already_exists, "already_subscribed");
    }
    outlet.word = position_;
    outlets_.push_back(&outlet);
    if (outlet.options().selector) ++selectors_;
    find_slowest();
    return {};
  }

  void ask(Outlet<Event>& outlet, std::uint64_t count) override {
    const bool was_slowest = outlet.word == lowest_;
    outlet.word += count;
    if (was_slowest && --slowest_ == 0) find_slowest();
  }

  void cancel(Outlet<Event>& outlet) override {
    std::erase(outlets_, &outlet);
    if (outlet.options().selector) --selectors_;
    if (outlet.word == lowest_ && --slowest_ == 0) find_slowest();
  }

  [[nodiscard]] std::uint64_t demand() const noexcept override { return outlets_.empty() ? 0 : lowest_ - position_; }

  void dispatch(Batch<Event>& events) override {
    while (!events.empty()) {
      const std::uint64_t count = std::min<std::uint64_t>(demand(), events.size());
      if (count == 0) return;
      position_ += count;
      Batch<Event> common = events.split_front(static_cast<std::size_t>(count));
      if (selectors_ != 0) {
        deliver_selected(common);
        continue;  // what selectors rejected may have left demand for more
      }
      const std::size_t last = outlets_.size() - 1;
      for (std::size_t index = 0; index < last; ++index) outlets_[index]->deliver(common);
      outlets_[last]->deliver(std::move(common));  // a single consumer becomes the only holder
    }
  }

 private:
  void find_slowest() noexcept {
    lowest_ = std::numeric_limits<std::uint64_t>::max();
    slowest_ = 0;
    for (const Outlet<Event>* outlet : outlets_) {
      if (outlet->word < lowest_) {
        lowest_ = outlet->word;
        slowest_ = 0;
      }
      if (outlet->word == lowest_) ++slowest_;
    }
  }

  void deliver_selected(const Batch<Event>& common) {
    std::vector<std::pair<Outlet<Event>*, ExitReason>> failed;
    for (Outlet<Event>* outlet : outlets_) {
      if (!outlet->options().selector) {
        outlet->deliver(common);
        continue;
      }
      if constexpr (std::is_copy_constructible_v<Event>) {
        Batch<Event> selected;
        try {
          selected = select(common, outlet->options().selector);
        } catch (...) {
          failed.emplace_back(outlet, detail::reason_of_thrown());
          continue;
        }
        outlet->word += common.size() - selected.size();
        outlet->deliver(std::move(selected));
      } else {
        failed.emplace_back(outlet, ExitReason::custom("a selector needs events that can be copied"));
      }
    }
    for (auto& [outlet, reason] : failed) {
      std::erase(outlets_, outlet);
      --selectors_;
      outlet->fail(std::move(reason));
    }
    find_slowest();
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

  // An outlet's word is the position up to which it may be sent events, counted over all that were dispatched (and
  // beyond, for those that its selector rejected).
  std::vector<Outlet<Event>*> outlets_;
  std::uint64_t position_ = 0;
  std::uint64_t lowest_ = std::numeric_limits<std::uint64_t>::max();  // the smallest word
  std::size_t slowest_ = 0;                                           // how many outlets have it
  std::size_t selectors_ = 0;
};

template <class Event>
[[nodiscard]] std::unique_ptr<Dispatcher<Event>> broadcast_dispatcher() {
  return std::make_unique<BroadcastDispatcher<Event>>();
}

}  // namespace dagverk
