#pragma once

#include "dagverk/runtime/exit_reason.hpp"
#include "dagverk/runtime/pid.hpp"
#include "dagverk/runtime/snapshot.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <typeinfo>

namespace dagverk::detail {

/// A type as its program's text calls it.
[[nodiscard]] std::string readable_name(const std::type_info& type);
/// The exception being handled, as the reason a subscription ends with.
[[nodiscard]] ExitReason reason_of_thrown() noexcept;

/// The counters of an edge, listed in the running process' runtime.
[[nodiscard]] SharedEdge make_edge(EdgeName name);
/// The counters of a producer's buffer.
[[nodiscard]] SharedEdge make_buffer_edge(std::string_view producer_name, Pid producer);

/// A producer's full buffer gave up `count` events in one store operation.
void warn_discarded(std::string_view producer_name, std::uint64_t count);
/// A hash could not say where `count` events of one dispatch go; `reason` is that of the first.
void warn_unroutable(std::uint64_t count, std::string_view reason);
/// A spill file could not be written or read; `lost` events with it, at this time.
void warn_spill_failed(std::string_view what, std::string_view error, std::uint64_t lost);
/// A producer sent more than was asked for: `count` events where `asked` were to come.
void warn_excess(std::string_view consumer_name, std::uint64_t count, std::uint64_t asked);
void warn_no_producer(std::string_view consumer_name, std::string_view wanted);
void warn_refused(std::string_view producer_name, std::string_view reason);
/// Somebody told a consumer to subscribe and does not wait for the answer, which is an error.
void warn_not_subscribed(std::string_view consumer_name, std::string_view reason);

/// For counters with one writer: no locked instruction.
inline void add_to(std::atomic<std::uint64_t>& counter, std::uint64_t count) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
}

}  // namespace dagverk::detail
