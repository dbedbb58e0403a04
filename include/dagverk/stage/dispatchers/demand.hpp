#pragma once

#include "dagverk/stage/dispatcher.hpp"

#include <algorithm>
#include <memory>
#include <vector>

namespace dagverk {

struct DemandDispatcherOptions {
  /// An ask for more is logged as greedy (and still served in full). 0: the first ask sets it.
  std::uint64_t max_demand = 0;
};

namespace detail {
void warn_greedy_consumer(std::uint64_t asked, std::uint64_t max_demand);
}  // namespace detail

/// Each event goes to one consumer: the one with the most open demand.
///
/// Semantics: GenStage's DemandDispatcher. A small emission goes whole to the greediest consumer; equal demands take
///            turns. Events are cut out of the emitted batch, not copied, so move-only events work.
/// Bounds:    an ask or a delivery costs at most one pass over the subscriptions.
template <class Event>
class DemandDispatcher final : public Dispatcher<Event> {
 public:
  explicit DemandDispatcher(DemandDispatcherOptions options = {}) noexcept : max_demand_(options.max_demand) {}

  [[nodiscard]] Result<void> subscribe(Outlet<Event>& outlet) override {
    outlet.word = 0;
    outlets_.push_back(&outlet);
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
  }

  [[nodiscard]] std::uint64_t demand() const noexcept override { return demand_; }

  void dispatch(Batch<Event>& events) override {
    while (!events.empty() && demand_ != 0) {
      Outlet<Event>& head = *outlets_.front();
      const std::uint64_t count = std::min<std::uint64_t>(head.word, events.size());
      head.word -= count;
      demand_ -= count;
      sink(outlets_.begin());
      head.deliver(events.split_front(static_cast<std::size_t>(count)));
    }
  }

 private:
  using Outlets = std::vector<Outlet<Event>*>;

  /// Moves the outlet at `place` behind all that have as much demand or more.
  void sink(typename Outlets::iterator place) {
    const Outlet<Event>* outlet = *place;
    const auto end =
        std::find_if(place + 1, outlets_.end(), [&](const Outlet<Event>* other) { return other->word < outlet->word; });
    std::rotate(place, place + 1, end);
  }

  Outlets outlets_;  // the most demand first; equals in the order in which they came to it
  std::uint64_t demand_ = 0;
  std::uint64_t max_demand_;
};

template <class Event>
[[nodiscard]] std::unique_ptr<Dispatcher<Event>> demand_dispatcher(DemandDispatcherOptions options = {}) {
  return std::make_unique<DemandDispatcher<Event>>(options);
}

}  // namespace dagverk
