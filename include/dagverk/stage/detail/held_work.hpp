#pragma once

#include "dagverk/stage/batch.hpp"
#include "dagverk/stage/buffer_keep.hpp"
#include "dagverk/stage/detail/held_node.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <variant>

namespace dagverk::detail {

/// What a producer puts off while it accumulates demand: demand, batches and infos, in the order in which they came.
///
/// Bounds: `trim` keeps the events to a limit. Demand and infos take one place each, as many as were sent; an automatic
///         subscription asks once and then waits.
template <class Event>
class HeldWork {
 public:
  using Item = std::variant<std::uint64_t, Batch<Event>, HeldNode>;

  [[nodiscard]] bool empty() const noexcept { return items_.empty(); }
  [[nodiscard]] std::size_t events() const noexcept { return events_; }
  /// Demand that waits to be passed on.
  [[nodiscard]] std::uint64_t demand() const noexcept { return demand_; }

  void add_demand(std::uint64_t count) {
    demand_ += count;
    items_.emplace_back(count);
  }
  void add_info(HeldNode info) { items_.emplace_back(std::move(info)); }
  void add_events(Batch<Event> events) {
    events_ += events.size();
    items_.emplace_back(std::move(events));
  }

  /// Gives up the newest or the oldest events beyond `limit`. Returns how many.
  std::size_t trim(std::size_t limit, BufferKeep keep) {
    const std::size_t excess = events_ - std::min(events_, limit);
    std::size_t left = excess;
    if (keep == BufferKeep::oldest) {
      for (auto item = items_.rbegin(); left != 0; ++item) left -= cut(*item, left, false);
    } else {
      for (auto item = items_.begin(); left != 0; ++item) left -= cut(*item, left, true);
    }
    events_ -= excess;
    std::erase_if(items_, [](const Item& item) {
      const auto* events = std::get_if<Batch<Event>>(&item);
      return events != nullptr && events->empty();
    });
    return excess;
  }

  [[nodiscard]] std::optional<Item> pop() {
    if (items_.empty()) return std::nullopt;
    std::optional<Item> first(std::move(items_.front()));
    items_.pop_front();
    if (const auto* demand = std::get_if<std::uint64_t>(&*first); demand != nullptr) demand_ -= *demand;
    if (const auto* events = std::get_if<Batch<Event>>(&*first); events != nullptr) events_ -= events->size();
    return first;
  }

 private:
  /// Takes up to `count` events off one end of an item; returns how many.
  static std::size_t cut(Item& item, std::size_t count, bool front) {
    auto* events = std::get_if<Batch<Event>>(&item);
    if (events == nullptr) return 0;
    const std::size_t gone = std::min(count, events->size());
    if (front) {
      static_cast<void>(events->split_front(gone));
    } else {
      *events = events->split_front(events->size() - gone);
    }
    return gone;
  }

  std::deque<Item> items_;
  std::size_t events_ = 0;
  std::uint64_t demand_ = 0;
};

}  // namespace dagverk::detail
