#include "dagverk/log/overload_rule.hpp"

#include "log/log_chunk.hpp"

#include "dagverk/base/concat.hpp"

namespace dagverk {

namespace {

[[nodiscard]] Error configuration(std::string message) { return {ErrorCode::configuration, std::move(message)}; }

Result<void> check_rule(const BoundedQueue& rule) {
  if (rule.lines_max == 0) return configuration("log queue: lines_max must be 1 or more, got 0");
  if (rule.bytes_max < 2 * detail::chunk_bytes) {
    return configuration(
        concat("log queue: bytes_max must be ", 2 * detail::chunk_bytes, " or more, got ", rule.bytes_max));
  }
  return {};
}

Result<void> check_rule(const OverloadProtection& rule) {
  if (rule.drop_mode_qlen <= 1 || rule.sync_mode_qlen > rule.drop_mode_qlen || rule.drop_mode_qlen > rule.flush_qlen) {
    return configuration(
        concat("invalid_olp_levels: 1 < drop_mode_qlen and sync_mode_qlen <= drop_mode_qlen <= flush_qlen "
               "must hold, got sync_mode_qlen ",
               rule.sync_mode_qlen, ", drop_mode_qlen ", rule.drop_mode_qlen, ", flush_qlen ", rule.flush_qlen));
  }
  if (rule.burst_limit_enable && rule.burst_limit_max_count == 0) {
    return configuration("invalid_olp_config: burst_limit_max_count must be 1 or more, got 0");
  }
  if (rule.burst_limit_enable && rule.burst_limit_window_time <= Duration::zero()) {
    return configuration("invalid_olp_config: burst_limit_window_time must be more than 0");
  }
  if (rule.overload_kill_restart_after && *rule.overload_kill_restart_after < Duration::zero()) {
    return configuration("invalid_olp_config: overload_kill_restart_after must be 0 or more");
  }
  return {};
}

Result<void> check_rule(const DiscardThresholds& rule) {
  if (rule.discard_threshold == 0 || rule.discard_threshold < rule.sync_threshold) {
    return configuration(
        concat("log thresholds: discard_threshold must be 1 or more and not below sync_threshold, got ",
               rule.discard_threshold, " and ", rule.sync_threshold));
  }
  if (rule.periodic_check <= Duration::zero())
    return configuration("log thresholds: periodic_check must be more than 0");
  return {};
}

}  // namespace

Result<void> check(const OverloadRule& rule) {
  return std::visit([](const auto& one) { return check_rule(one); }, rule);
}

std::string_view to_string(LogMode mode) noexcept {
  switch (mode) {
    case LogMode::async: return "async";
    case LogMode::sync: return "sync";
    case LogMode::drop: return "drop";
  }
  return "drop";
}

}  // namespace dagverk
