#pragma once

#include "dagverk/jobs/store_types.hpp"
#include "dagverk/net/redis_command.hpp"

#include <cstddef>
#include <string>
#include <string_view>

namespace dagverk::stores::redis {

/// The scripts of the Redis store, one member each; what each guarantees is said above its text in scripts.cpp.
///
/// Arguments are key names, numbers and bytes. No script decodes or encodes a job.
struct Scripts {
  /// `may_drain`: the server (7.0 and later) can be asked to let a script run although its memory is full.
  explicit Scripts(bool may_drain);

  net::RedisScript enqueue;
  net::RedisScript restore;
  net::RedisScript take;
  net::RedisScript change;
  net::RedisScript slice;
  net::RedisScript peek;
  net::RedisScript node_register;
  net::RedisScript node_beat;
  net::RedisScript node_signal;
  net::RedisScript node_retire;
  net::RedisScript nodes_condemn;
  net::RedisScript node_forget;
  net::RedisScript queue_pause;
  net::RedisScript queue_resume;
};

/// Makes a script that changes something: `text` after what all of them share. `drains`: it must run although the
/// server's memory is full.
[[nodiscard]] net::RedisScript changing_script(std::string_view text, bool may_drain, bool drains);
/// Functions for what is known of jids.
[[nodiscard]] std::string_view jids_source();
/// What the script `enqueue` does, for those that enqueue as part of a larger step: its arguments are those of
/// Engine::add_new_jobs, and a table with the field `err` is returned before anything has changed. Bounds of queues do
/// not count.
[[nodiscard]] std::string enqueue_source();
/// What every script begins with that puts jobs in: what is known of jids, and what could fail.
[[nodiscard]] std::string admission_source();

/// What stands at the end of a bare element whose job is not journaled: white space that JSON allows there.
inline constexpr char unjournaled_mark[] = "\t \t";
/// What stands at the end of a bare element whose job has a limit key, before the mark above: white space, too.
inline constexpr char limited_mark[] = "\t\t ";
/// How an element that is more than its payload begins; the next byte is `j` (journaled) or `n`, in capitals when the
/// job has a limit key.
inline constexpr char envelope_mark[] =
    "\x1e"
    "dgv1";
/// How the stand-in begins that scripts show for an element over `element_size_limit`: `SIZE SCORE` follow, or `SIZE -`
/// in a list. Nothing in a store begins so.
inline constexpr char stand_in_mark[] =
    "\x1e"
    "dgvX";

/// An element may be so large: the largest payload in an envelope with the longest names. What is larger was put there
/// by somebody else, is never loaded, and goes to the dead set when its turn comes.
inline constexpr std::size_t element_size_limit = jobs::payload_size_limit + 1024;
static_assert(element_size_limit > jobs::payload_size_limit + 3 * jobs::name_size_limit + 100);

}  // namespace dagverk::stores::redis
