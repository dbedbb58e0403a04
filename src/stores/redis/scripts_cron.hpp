#pragma once

#include "dagverk/net/redis_command.hpp"

namespace dagverk::stores::redis {

/// The scripts for jobs that recur; what each guarantees is said above its text in scripts_cron.cpp.
struct CronScripts {
  /// As Scripts.
  explicit CronScripts(bool may_drain);

  net::RedisScript put;
  net::RedisScript remove;
  net::RedisScript list;
  net::RedisScript pause;
  net::RedisScript resume;
  net::RedisScript lead;
  net::RedisScript fire;
};

}  // namespace dagverk::stores::redis
