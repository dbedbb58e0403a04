#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/jobs/job_codec.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// What stands in Redis' lists and sets for a job. Facts for other programs: docs/reference/redis-keys.md.
///
/// A job whose payload says itself what its jid, class and queue are is *bare*: the payload is the element, as every
/// Sidekiq and Verk reads it. Anything else travels in an *envelope*, which only we read. Elements that others wrote
/// stay as they are.
namespace dagverk::stores::redis {

/// What an element says of its job.
struct Element {
  std::string jid;
  std::string queue;
  std::string class_name;
  std::string payload;
  std::optional<WallTime> enqueued_at;
  std::string limit_key;  ///< only where the element is marked to have one
  bool journaled = true;
  bool bare = true;
  bool oversized = false;  ///< this is a stand-in: the element itself is too large to be loaded
};

/// Reads an element. `place`: the queue it was found in; in a sorted set empty, and then `otherwise` counts when the
/// element names no queue. Bytes that are no job get a jid made of them, and no class.
[[nodiscard]] Element read_element(std::string_view element, std::string_view place, std::string_view otherwise,
                                   const jobs::CodecOptions& codec);

/// As `read_element` where there is a place, for those who read the payload next: what `decode_job` makes of it goes
/// into `job`, with the bytes; the payload is empty then. Nothing goes there when it is no job.
[[nodiscard]] Element decode_element(std::string element, std::string_view place, const jobs::CodecOptions& codec,
                                     std::optional<jobs::Job>& job);

/// What is known of a job beside its payload.
struct Label {
  std::string_view jid;
  std::string_view queue;
  std::string_view class_name;
  bool journaled = true;
  WallTime enqueued_at{};
  std::string_view limit_key = {};
};

/// The element of a job: bare where its payload says what the label says.
[[nodiscard]] std::string make_element(std::string_view payload, const Label& label, const jobs::CodecOptions& codec);

/// A number that names a member of a sorted set for as long as it stays there: made of its key, score and bytes.
[[nodiscard]] std::uint64_t handle_of(std::string_view key, std::string_view score, std::string_view element) noexcept;

/// 64 bits of the bytes. Not for secrets.
[[nodiscard]] std::uint64_t hash_of(std::string_view bytes, std::uint64_t seed = 0) noexcept;

/// `value` of a node's hash of running jobs: when it was taken, its queue, its element.
struct Running {
  WallTime started_at;
  std::string_view queue;
  std::string_view element;
};
[[nodiscard]] std::optional<Running> read_running(std::string_view value) noexcept;

[[nodiscard]] std::int64_t micros_of(WallTime time) noexcept;
[[nodiscard]] WallTime wall_of(std::int64_t micros) noexcept;
/// A number of digits alone, or nothing.
[[nodiscard]] std::optional<std::int64_t> number_of(std::string_view digits) noexcept;
/// A score as an instant, to the microsecond: what a double holds.
[[nodiscard]] WallTime score_time(std::string_view score) noexcept;

}  // namespace dagverk::stores::redis
