#pragma once

#include "dagverk/stage/batch.hpp"
#include "dagverk/stage/partition_name.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

namespace dagverk {

/// What a rewriting hash gives: the event to send in place of the one that came, and its partition.
template <class Event, class Key>
struct Routed {
  Event event;
  Key partition;
};
template <class Event, class Key>
Routed(Event, Key) -> Routed<Event, Key>;

namespace detail {

inline constexpr std::size_t no_partition = std::numeric_limits<std::size_t>::max();           // for nobody
inline constexpr std::size_t unknown_partition = std::numeric_limits<std::size_t>::max() - 1;  // a mistake

/// std::hash, mixed, because that of a number is the number itself; the high half, which depends on every bit of it, is
/// scaled to the count.
template <class Event>
struct SpreadHash {
  std::size_t operator()(const Event& event, std::size_t count) const noexcept(noexcept(std::hash<Event>{}(event))) {
    const std::uint64_t mixed = static_cast<std::uint64_t>(std::hash<Event>{}(event)) * 0x9e3779b97f4a7c15U;
    return static_cast<std::size_t>(((mixed >> 32U) * count) >> 32U);
  }
};

template <class Hash, class Argument>
decltype(auto) call_hash(Hash& hash, Argument&& event, std::size_t count) {
  if constexpr (std::is_invocable_v<Hash&, Argument, std::size_t>) {
    return hash(std::forward<Argument>(event), count);
  } else {
    return hash(std::forward<Argument>(event));
  }
}
template <class Hash, class Event>
concept HashesEvent = std::is_invocable_v<Hash&, Event> || std::is_invocable_v<Hash&, Event, std::size_t>;

template <class T>
struct OptionalValue {
  using Type = T;
  static constexpr bool is_optional = false;
};
template <class T>
struct OptionalValue<std::optional<T>> {
  using Type = T;
  static constexpr bool is_optional = true;
};

template <class T>
concept RoutedEvent = requires(T routed) {
  routed.event;
  routed.partition;
};

/// How one hash is called and what its result means.
template <class Event, class Hash>
struct Routing {
  using Result = std::decay_t<decltype(call_hash(std::declval<Hash&>(), std::declval<Event>(), std::size_t{}))>;
  using Value = typename OptionalValue<Result>::Type;
  static constexpr bool rewrites = RoutedEvent<Value>;
  /// The hash always names a partition that is there, and neither it nor placing an event made from `Source` throws.
  template <class Source>
  static constexpr bool places_freely =
      std::is_same_v<Hash, SpreadHash<Event>> && std::is_nothrow_invocable_v<Hash&, const Event&, std::size_t> &&
      std::is_nothrow_constructible_v<Event, Source>;
  static_assert(rewrites || std::integral<Value> || std::is_enum_v<Value> ||
                    std::convertible_to<Value, std::string_view> || std::same_as<Value, PartitionName>,
                "a hash gives a partition (a number, an enumerator, a text or a PartitionName), Routed{event, "
                "partition}, or an optional of one of these");

  template <class Table>
  [[nodiscard]] static std::size_t index_of(const Table& table, Hash& hash, const Event& event, std::size_t count) {
    const auto result = call_hash(hash, event, count);
    if constexpr (OptionalValue<Result>::is_optional) {
      return result ? table.index_of(*result) : no_partition;
    } else {
      return table.index_of(result);
    }
  }

  /// The event in place of the one at `index`, or nothing.
  [[nodiscard]] static std::optional<Value> rewrite(Hash& hash, Batch<Event>& events, std::size_t index, bool unique,
                                                    std::size_t count) {
    constexpr bool takes_const =
        std::is_invocable_v<Hash&, const Event&> || std::is_invocable_v<Hash&, const Event&, std::size_t>;
    if constexpr (takes_const && !std::is_copy_constructible_v<Event>) {
      return call_hash(hash, std::as_const(events)[index], count);
    } else if (unique) {
      return call_hash(hash, std::move(events.mutable_events()[index]), count);
    } else if constexpr (takes_const) {
      return call_hash(hash, std::as_const(events)[index], count);
    } else if constexpr (std::is_copy_constructible_v<Event>) {
      return call_hash(hash, Event(std::as_const(events)[index]), count);
    } else {
      return std::nullopt;  // a move-only event that its producer shared: nobody can have it
    }
  }
};

}  // namespace detail
}  // namespace dagverk
