#pragma once

#include "dagverk/stage/dispatchers/demand.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace dagverk::detail {

/// An event was delivered as often as it may be. `thrown`: its handler threw; otherwise there is none.
void warn_dead_letter(bool thrown);

/// The demand dispatcher, telling its stage which subscription was delivered what, and when one is over.
template <class Event>
class AckDispatcher final : public Dispatcher<Event> {
 public:
  /// `Stage` has on_delivered(SubscriptionId, const Batch<Event>&) and on_holder_left(SubscriptionId).
  template <class Stage>
  explicit AckDispatcher(Stage& stage)
      : delivered_([&stage](SubscriptionId id, const Batch<Event>& events) { stage.on_delivered(id, events); }),
        left_([&stage](SubscriptionId id) { stage.on_holder_left(id); }) {}

  [[nodiscard]] Result<void> subscribe(Outlet<Event>& outlet) override {
    watched_.push_back(std::make_unique<Watched>(*this, outlet));
    return inner_.subscribe(*watched_.back());
  }
  void ask(Outlet<Event>& outlet, std::uint64_t count) override { inner_.ask(**find(outlet), count); }
  void cancel(Outlet<Event>& outlet) override {
    const auto place = find(outlet);
    inner_.cancel(**place);
    watched_.erase(place);
    left_(outlet.id());
  }
  [[nodiscard]] std::uint64_t demand() const noexcept override { return inner_.demand(); }
  void dispatch(Batch<Event>& events) override { inner_.dispatch(events); }

 private:
  /// An outlet as the inner dispatcher sees it.
  struct Watched final : Outlet<Event> {
    Watched(AckDispatcher& dispatcher, Outlet<Event>& outlet)
        : Outlet<Event>(outlet.id(), outlet.consumer(), dispatcher.plain_), owner(dispatcher), real(outlet) {}
    void deliver(Batch<Event> events) override {
      owner.delivered_(real.id(), events);
      real.deliver(std::move(events));
    }
    [[nodiscard]] std::uint64_t open_demand() const noexcept override { return real.open_demand(); }
    void fail(ExitReason reason) override { real.fail(std::move(reason)); }

    AckDispatcher& owner;
    Outlet<Event>& real;
  };
  using Outlets = std::vector<std::unique_ptr<Watched>>;

  [[nodiscard]] typename Outlets::iterator find(const Outlet<Event>& outlet) noexcept {
    return std::ranges::find_if(watched_, [&](const auto& watched) { return &watched->real == &outlet; });
  }

  // Of all outlets that the inner dispatcher sees: it has no rules to know of.
  const KeptOptions<Event> plain_{SubscribeOptions<Event>()};
  DemandDispatcher<Event> inner_;
  Outlets watched_;
  std::function<void(SubscriptionId, const Batch<Event>&)> delivered_;
  std::function<void(SubscriptionId)> left_;
};

}  // namespace dagverk::detail
