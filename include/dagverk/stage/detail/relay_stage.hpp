#pragma once

#include "dagverk/base/concat.hpp"
#include "dagverk/stage/consumer.hpp"
#include "dagverk/stage/producer.hpp"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace dagverk::detail {

/// The end of a subscription to a producer, which takes effect when the stage says so.
struct RelayEnd {
  SubscriptionId id;
  SubscriptionEnd why;
  bool harmless;
};

/// What stages have in common that take events and pass them on by a rule of their own: they keep what they have taken,
/// emit what leaves at once (`dispatchable`), and ask for exactly what they want (`ask_each`).
///
/// Semantics: `Derived` has `take(Batch<In>)` for what came; `on_upstream_end(RelayEnd)`, which calls `finish` when
///            what came before has been dealt with; and `on_dispatchable()`, called when events would leave at once.
/// Bounds:    a subscription's max_demand is never exceeded by what was asked and has not come.
template <class Derived, class In, class Out>
class RelayStage : public GenServer<Derived>, public ConsumerSide<Derived, In>, public ProducerSide<Derived, Out> {
  using Taking = ConsumerSide<Derived, In>;
  using Giving = ProducerSide<Derived, Out>;

 public:
  // For the two sides, not for users.
  DemandMode handle_subscribe(const SubscriptionInfo& info, const SubscribeOptions<In>& options) {
    if (info.peer_side == StageSide::producer) {
      sources_.push_back(Source{info.id, static_cast<std::uint64_t>(options.max_demand), 0});
      self().on_dispatchable();
    }
    return DemandMode::manual;
  }
  void handle_events(Batch<In> events, const SubscriptionInfo& info) {
    for (Source& source : sources_) {
      if (source.id == info.id) source.asked -= std::min<std::uint64_t>(source.asked, events.size());
    }
    self().take(std::move(events));
  }

 protected:
  explicit RelayStage(std::unique_ptr<Dispatcher<Out>> dispatcher)
      : Giving(std::move(dispatcher), {.buffer_size = ProducerOptions::unbounded}),
        kept_edge_(this_process::runtime().edges().add(
            concat(type_name<Derived>(), "#", this_process::pid().number(), " kept"))) {}

  /// How many events this stage keeps, for snapshots.
  void show_kept(std::uint64_t count) noexcept { kept_edge_->buffered.store(count, std::memory_order_relaxed); }

  /// Asks every producer for so much that `count` events are on their way from it.
  void ask_each(std::uint64_t count) {
    for (Source& source : sources_) {
      const std::uint64_t wanted = std::min(count, source.max);
      if (wanted <= source.asked) continue;
      Taking::ask(source.id, wanted - source.asked);
      source.asked = wanted;
    }
  }

  /// Lets the end of a subscription take effect: handle_cancel, then what its CancelMode says.
  void finish(const RelayEnd& end) { Taking::end(end.id, end.why, end.harmless); }

  using Giving::on_stage_message;
  using Giving::queue_info;
  using Taking::on_stage_message;
  void on_stage_message(EndedMessage&& message) {
    ended(RelayEnd{message.id, SubscriptionEnd{false, std::move(message.reason)}, message.harmless});
  }

 private:
  friend struct StageAccess;

  struct Source {
    SubscriptionId id;
    std::uint64_t max;
    std::uint64_t asked;  // and not come
  };

  [[nodiscard]] Derived& self() noexcept { return static_cast<Derived&>(*this); }

  void ended(RelayEnd end) {
    std::erase_if(sources_, [&](const Source& source) { return source.id == end.id; });
    self().on_upstream_end(std::move(end));
  }

  void on_leave(ProcessCore& /*core*/) final { Giving::leave(); }
  void on_down(ProcessCore& core, const Down& down) final {
    if (Giving::producer_saw_down(down)) return;
    const SubscriptionId id = Taking::ended_by(down);
    if (id.value == 0) {
      GenServer<Derived>::on_down(core, down);
    } else {
      ended(RelayEnd{id, SubscriptionEnd{true, down.reason}, false});
    }
  }

  std::vector<Source> sources_;
  SharedEdge kept_edge_;  // shared with snapshots
};

}  // namespace dagverk::detail
