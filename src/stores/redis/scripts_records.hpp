#pragma once

#include "dagverk/net/redis_command.hpp"

namespace dagverk::stores::redis {

/// Keeps what runs say about themselves; what it guarantees is said above its text. Threads: any.
[[nodiscard]] const net::RedisScript& keep_records_script();

}  // namespace dagverk::stores::redis
