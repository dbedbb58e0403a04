#pragma once

#include "dagverk/net/redis_command.hpp"

#include <string_view>

namespace dagverk::stores::redis {

/// What frees unique keys, for scripts that take or end jobs; its comment is beside its text.
[[nodiscard]] std::string_view unique_source();

/// The scripts about unique keys, one member each; what each guarantees is said above its text in scripts_unique.cpp.
struct UniqueScripts {
  explicit UniqueScripts(bool may_drain);

  net::RedisScript enqueue;
  net::RedisScript list;
  net::RedisScript release;
};

}  // namespace dagverk::stores::redis
