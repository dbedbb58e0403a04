#pragma once

#include "dagverk/net/redis_command.hpp"

#include <string>

namespace dagverk::stores::redis {

/// The scripts for limits; what each guarantees is said above its text in scripts_limits.cpp.
struct LimitScripts {
  /// As Scripts.
  explicit LimitScripts(bool may_drain);

  net::RedisScript put;
  net::RedisScript remove;
  net::RedisScript list;
  net::RedisScript reset;
};

/// What scripts need that take jobs, or end their runs, after jids_source(); the texts say what is in it.
[[nodiscard]] std::string limits_source();
/// After that: what the script `take` needs beside.
[[nodiscard]] std::string holding_source();

}  // namespace dagverk::stores::redis
