#pragma once

#include "dagverk/base/random.hpp"
#include "dagverk/stage/dispatcher.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

namespace dagverk {

struct DemandDispatcherOptions {
  /// An ask for more is logged as greedy (and still served in full). 0: the first ask sets it.
  std::uint64_t max_demand = 0;
  /// Right before the first dispatch, those with demand are put into an order drawn from this seed, so that the first
  /// to subscribe does not always get the first events. Unset: they are not.
  std::optional<std::uint64_t> shuffle_seed = {};
};

namespace detail {
void warn_greedy_consumer(std::uint64_t asked, std::uint64_t max_demand);
}  // namespace detail

/// Each event goes to one consumer: the one with the most open demand.
///
/// Semantics: GenStage's DemandDispatcher. A small emission goes whole to the greediest consumer; equal demands take
///            turns. Events are cut out of the emitted batch, not copied, so move-only events work.
///            Events beyond what all have asked for go to elastic subscriptions (those with an overflow rule), a batch
///            to each in turn, rather than into the producer's buffer.
/// Bounds:    an ask or a delivery costs at most one pass over the subscriptions.
template <class Event>
class DemandDispatcher final : public Dispatcher<Event> {
 public:
  explicit DemandDispatcher(DemandDispatcherOptions options = {}) noexcept
      : max_demand_(options.max_demand), shuffle_seed_(options.shuffle_seed) {}

  [[nodiscard]] Result<void> subscribe(Outlet<Event>& outlet) override {
    outlet.word = 0;
    outlets_.push_back(&outlet);
    if (outlet.elastic()) elastic_.push_back(&outlet);
    return {};
  }

  void ask(Outlet<Event>& outlet, std::uint64_t count) override {
    if (max_demand_ == 0) max_demand_ = count;
    if (count > max_demand_) detail::warn_greedy_consumer(count, max_demand_);
    outlet.word += count;
    demand_ += count;
    const auto place = std::ranges::find(outlets_, &outlet);
    // It moves towards the front, behind those that have as much.
    const auto target =
        std::find_if(outlets_.begin(), place, [&](const Outlet<Event>* other) { return other->word < outlet.word; });
    std::rotate(target, place, place + 1);
  }

  void cancel(Outlet<Event>& outlet) override {
    demand_ -= outlet.word;
    std::erase(outlets_, &outlet);
    std::erase(elastic_, &outlet);
  }

  [[nodiscard]] std::uint64_t demand() const noexcept override { return demand_; }
  [[nodiscard]] std::uint64_t room() const noexcept override {
    return elastic_.empty() ? demand_ : std::numeric_limits<std::uint64_t>::max();
  }

  void dispatch(Batch<Event>& events) override {
    if (shuffle_seed_) shuffle();
    while (!events.empty() && demand_ != 0) {
      Outlet<Event>& head = *outlets_.front();
      const std::uint64_t count = std::min<std::uint64_t>(head.word, events.size());
      head.word -= count;
      demand_ -= count;
      sink(outlets_.begin());
      head.deliver(events.split_front(static_cast<std::size_t>(count)));
    }
    if (!events.empty() && !elastic_.empty()) {
      std::rotate(elastic_.begin(), elastic_.begin() + 1, elastic_.end());
      elastic_.back()->deliver(std::exchange(events, {}));
    }
  }

 private:
  using Outlets = std::vector<Outlet<Event>*>;

  /// Once: any order, but those that asked for nothing stay behind.
  void shuffle() {
    Random random(*std::exchange(shuffle_seed_, std::nullopt));
    const auto with_demand = static_cast<std::size_t>(
        std::ranges::count_if(outlets_, [](const Outlet<Event>* outlet) { return outlet->word != 0; }));
    for (std::size_t place = with_demand; place > 1; --place) {
      std::swap(outlets_[place - 1], outlets_[static_cast<std::size_t>(random.below(place))]);
    }
  }

  /// Moves the outlet at `place` behind all that have as much demand or more.
  void sink(typename Outlets::iterator place) {
    const Outlet<Event>* outlet = *place;
    const auto end =
        std::find_if(place + 1, outlets_.end(), [&](const Outlet<Event>* other) { return other->word < outlet->word; });
    std::rotate(place, place + 1, end);
  }

  Outlets outlets_;  // the most demand first; equals in the order in which they came to it
  Outlets elastic_;  // whose turn it is to take what nobody asked for, first
  std::uint64_t demand_ = 0;
  std::uint64_t max_demand_;
  std::optional<std::uint64_t> shuffle_seed_;
};

template <class Event>
[[nodiscard]] std::unique_ptr<Dispatcher<Event>> demand_dispatcher(DemandDispatcherOptions options = {}) {
  return std::make_unique<DemandDispatcher<Event>>(options);
}

}  // namespace dagverk
