#include "dagverk/stage/detail/stage_log.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/base/demangle.hpp"
#include "dagverk/runtime/this_process.hpp"
#include "dagverk/stage/dispatchers/demand.hpp"

#include <cxxabi.h>
#include <exception>
#include <typeinfo>
#include <utility>

namespace dagverk::detail {

std::string readable_name(const std::type_info& type) { return demangle(type.name()); }

ExitReason reason_of_thrown() noexcept {
  const std::type_info* type = abi::__cxa_current_exception_type();
  std::string name = type != nullptr ? readable_name(*type) : "unknown";
  try {
    throw;
  } catch (const std::exception& error) {
    return ExitReason::error(std::move(name), error.what());
  } catch (...) {
    return ExitReason::error(std::move(name), {});
  }
}

SharedEdge make_edge(EdgeName name) { return this_process::runtime().edges().add(std::move(name)); }

SharedEdge make_buffer_edge(std::string_view producer_name, Pid producer) {
  return make_edge(concat(producer_name, "#", producer.number(), " buffer"));
}

void warn_discarded(std::string_view producer_name, std::uint64_t count) {
  this_process::runtime().logger().warning(
      "stage.events_discarded", {{"stage", producer_name}, {"pid", this_process::pid().number()}, {"count", count}});
}

void warn_unroutable(std::uint64_t count, std::string_view reason) {
  this_process::runtime().logger().warning(
      "stage.events_unroutable", {{"pid", this_process::pid().number()}, {"count", count}, {"reason", reason}});
}

void warn_spill_failed(std::string_view what, std::string_view error, std::uint64_t lost) {
  this_process::runtime().logger().warning(
      "stage.spill_failed",
      {{"pid", this_process::pid().number()}, {"operation", what}, {"reason", error}, {"lost", lost}});
}

void warn_excess(std::string_view consumer_name, std::uint64_t count, std::uint64_t asked) {
  this_process::runtime().logger().error(
      "stage.events_in_excess",
      {{"stage", consumer_name}, {"pid", this_process::pid().number()}, {"count", count}, {"asked", asked}});
}

void warn_not_subscribed(std::string_view consumer_name, std::string_view reason) {
  this_process::runtime().logger().error("stage.not_subscribed", {{"stage", consumer_name}, {"reason", reason}});
}

void warn_no_producer(std::string_view consumer_name, std::string_view wanted) {
  this_process::runtime().logger().warning("stage.producer_missing", {{"stage", consumer_name}, {"reason", wanted}});
}

void warn_refused(std::string_view producer_name, std::string_view reason) {
  this_process::runtime().logger().warning("stage.subscription_refused",
                                           {{"stage", producer_name}, {"reason", reason}});
}

void warn_greedy_consumer(std::uint64_t asked, std::uint64_t max_demand) {
  this_process::runtime().logger().warning("stage.greedy_ask", {{"asked", asked}, {"maximum", max_demand}});
}

}  // namespace dagverk::detail
