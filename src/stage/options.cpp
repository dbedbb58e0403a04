#include "dagverk/stage/options.hpp"

#include "dagverk/base/concat.hpp"

namespace dagverk::detail {

Result<DemandRange> check_demand(std::int64_t max_demand, std::optional<std::int64_t> min_demand) {
  if (max_demand < 1) {
    return Error(ErrorCode::invalid_argument,
                 concat("expected :max_demand to be equal to or greater than 1, got: ", max_demand));
  }
  const std::int64_t min = min_demand.value_or(max_demand / 2);
  if (min < 0) {
    return Error(ErrorCode::invalid_argument,
                 concat("expected :min_demand to be equal to or greater than 0, got: ", min));
  }
  if (min >= max_demand) {
    return Error(ErrorCode::invalid_argument,
                 concat("expected :min_demand to be equal to or less than ", max_demand - 1, ", got: ", min));
  }
  return DemandRange{static_cast<std::uint64_t>(min), static_cast<std::uint64_t>(max_demand)};
}

Result<void> check_resubscribe(const RestartBackoff& backoff) {
  if (Result<void> checked = check(backoff); !checked) return checked.error().with("resubscribe");
  if (backoff.initial == Duration::zero()) {
    return Error(ErrorCode::invalid_argument, "resubscribe: backoff.initial must be more than zero");
  }
  return {};
}

}  // namespace dagverk::detail
