#pragma once

#include "dagverk/net/redis_command.hpp"

namespace dagverk::stores::redis {

/// The scripts of the Redis store, one member each; what each guarantees is said above its text in scripts.cpp.
///
/// Arguments are key names, numbers and bytes. No script decodes or encodes a job.
struct Scripts {
  /// `may_drain`: the server (7.0 and later) can be asked to let a script run although its memory is full.
  explicit Scripts(bool may_drain);

  net::RedisScript enqueue;
  net::RedisScript take;
  net::RedisScript change;
  net::RedisScript slice;
  net::RedisScript peek;
  net::RedisScript node_register;
  net::RedisScript node_renew;
  net::RedisScript node_retire;
  net::RedisScript nodes_condemn;
  net::RedisScript node_forget;
};

/// What stands at the end of a bare element whose job is not journaled: white space that JSON allows there.
inline constexpr char unjournaled_mark[] = "\t \t";
/// How an element that is more than its payload begins; the next byte is `j` (journaled) or `n`.
inline constexpr char envelope_mark[] =
    "\x1e"
    "dgv1";

}  // namespace dagverk::stores::redis
