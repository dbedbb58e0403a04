#pragma once

#include "dagverk/event/detail/handler_call.hpp"
#include "dagverk/event/detail/publisher_door.hpp"
#include "dagverk/event/event_handler.hpp"
#include "dagverk/event/event_outcome.hpp"
#include "dagverk/event/event_stats.hpp"
#include "dagverk/runtime/pid.hpp"
#include "dagverk/stage/batch.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace dagverk::detail {

inline constexpr Duration handler_end_limit = std::chrono::seconds(5);
inline constexpr Duration handler_grace_at_stop = std::chrono::milliseconds(500);
inline constexpr Duration door_look_interval = std::chrono::milliseconds(1);
inline constexpr std::size_t shared_batch_events = 1024;  ///< larger batches are cut, so that a part pins no more

/// What publishers and a manager's process share: publishers never wait for it.
struct HubShared {
  explicit HubShared(std::size_t ingress) noexcept : ingress_max(ingress) {}
  HubShared(const HubShared&) = delete;
  HubShared& operator=(const HubShared&) = delete;
  ~HubShared() { delete last_stats.load(); }

  const std::size_t ingress_max;            ///< messages, or events of batches, under way to the hub
  std::atomic<std::uint64_t> wanted{0};     ///< kinds; 0 without handlers and after the end
  std::atomic<std::uint64_t> discarded{0};  ///< events
  std::atomic<std::uint64_t> refused{0};    ///< events turned away because too many were under way to the hub
  std::atomic<std::size_t> under_way{0};    ///< events of batches under way to the hub
  std::atomic<const EventStats*> last_stats{nullptr};  ///< the hub's last word; set once
  PublisherDoor door;                                  ///< closed before the hub ends
  /// When whoever stops the manager has no more patience; for a hub that is still on its way through its mailbox.
  std::atomic<SteadyTime> patience_end{SteadyTime::max()};

  /// Has no effect when somebody else has less patience.
  void limit_patience(SteadyTime end) noexcept {
    SteadyTime known = patience_end.load(std::memory_order_relaxed);
    while (end < known && !patience_end.compare_exchange_weak(known, end)) {
    }
  }
};

/// What a manager's object says to its process, whatever kind of manager it is. EventManager says what each does.
template <class E>
struct HubMessages {
  struct PublishOne {
    E event;
  };
  struct PublishBatch {
    Batch<E> events;
  };
  struct Ack {
    using Reply = void;
    E event;
  };
  // `caller` is the process that waits for the answer: a handler may not wait for its own end.
  struct Sync {
    using Reply = std::vector<HandlerOutcome>;
    E event;
    Duration limit;
    Pid caller;
  };
  struct Add {
    using Reply = void;
    HandlerSpec<E> spec;
  };
  struct Swap {
    using Reply = void;
    std::string name;
    HandlerSpec<E> spec;
    Pid caller;
  };
  struct Remove {
    using Reply = HandlerStats;
    std::string name;
    Pid caller;
  };
  struct Restart {
    using Reply = void;
    std::string name;
  };
  struct StopHandler {
    using Reply = void;
    std::string name;
    Pid caller;
  };
  struct CallHandler {
    using Reply = void;
    std::string name;
    std::unique_ptr<HandlerCall> call;
    Pid caller;
  };
  struct Which {
    using Reply = std::vector<std::string>;
  };
  struct Stats {
    using Reply = EventStats;
  };
  struct Stop {
    using Reply = EventStats;
    Duration limit;
    Pid caller;
  };
  struct StopSoon {
    Duration limit;
  };
  struct EndSoon {};  ///< once no publisher is at the closed door
  struct Share {      ///< from those who found the manager by its name
    using Reply = std::shared_ptr<HubShared>;
  };
};

/// Errors: `configuration` when a part is missing or out of range.
template <class E>
[[nodiscard]] Result<void> check_handler_spec(const HandlerSpec<E>& spec) {
  if (spec.name.empty() || !spec.make) {
    return Error(ErrorCode::configuration, "a handler needs a name and a way to make it: see event_handler()");
  }
  if (spec.options.batch_max == 0 || spec.options.batch_max > handler_batch_limit) {
    return Error(ErrorCode::configuration, concat("handler \"", spec.name, "\": batch_max must be 1..",
                                                  handler_batch_limit, ", got ", spec.options.batch_max));
  }
  return check(spec.options.overflow, spec.name);
}
[[nodiscard]] inline Error handler_exists(std::string_view name) {
  return Error(ErrorCode::already_exists, concat("handler \"", name, "\" exists"));
}
[[nodiscard]] inline Error no_handler(std::string_view name) {
  return Error(ErrorCode::not_found, concat("no handler \"", name, "\""));
}
/// A handler asked for what cannot be before its callback has returned, and would wait for that.
[[nodiscard]] inline Error waits_for_itself(std::string_view name, std::string_view instead) {
  return Error(ErrorCode::calling_self, concat("handler \"", name, "\" would wait for itself: ", instead));
}

}  // namespace dagverk::detail
