#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// How many jobs of a queue, or of a key, run at once, how many begin in a time, and how many wait: kept in the store,
/// and true of all nodes together.
namespace dagverk::jobs {

/// What a limit is of. The numbers are stored; never reuse one.
enum class LimitScope : std::uint8_t {
  queue = 0,  ///< all jobs of one queue together
  key = 1,    ///< jobs whose limit key is NAME or NAME:KEY: those of each key together
};

[[nodiscard]] std::string_view to_string(LimitScope scope) noexcept;

/// How what begins is counted. The numbers are stored; never reuse one.
enum class RateKind : std::uint8_t {
  /// A bucket of `count` tokens, full at first, which gets one more every `per` / `count`, rounded up to microseconds:
  /// in any stretch of time T at most `count` + T * `count` / `per` begin.
  token_bucket = 0,
  /// At most `count` in each window of `per`. Windows stand still: the first begins with 1970 UTC, so that those of an
  /// hour are a clock's hours.
  window = 1,
};

[[nodiscard]] std::string_view to_string(RateKind kind) noexcept;
[[nodiscard]] std::optional<RateKind> rate_kind_from_text(std::string_view text) noexcept;

/// How many may begin in a time.
struct Rate {
  std::int64_t count = 1;                  ///< 1..rate_count_limit
  Duration per = std::chrono::seconds(1);  ///< 1 ms to 366 days, and at least 100 us for each of `count`
  RateKind kind = RateKind::token_bucket;

  friend bool operator==(const Rate&, const Rate&) = default;
};

/// What becomes of a job that is enqueued into a queue at its bound. The numbers are stored; never reuse one.
enum class WhenFull : std::uint8_t {
  refuse = 0,       ///< it is not put in: ItemOutcome::queue_full
  drop_oldest = 1,  ///< it is, and one that waits leaves the store (JournalKind::dropped)
  divert = 2,       ///< it goes into another queue (JournalKind::diverted)
};

[[nodiscard]] std::string_view to_string(WhenFull when_full) noexcept;

/// How many jobs wait in a queue, and what becomes of those for which there is no room.
///
/// Semantics: counts ready jobs, and is kept where an enqueue would add one. Whatever the store has promised to keep
///            comes back above the bound: jobs whose time has come, or was brought forward, or that were given back,
///            rescued, retried, moved or imported, and those that a cron entry enqueues. Of a queue above its bound
///            one job is dropped for each that comes in: of those with the lowest priority the one which would be
///            taken next. A diverted job that finds the other queue at its own bound follows that one's rule.
struct QueueBound {
  std::int64_t most = 1;  ///< 1..queue_bound_limit
  WhenFull when_full = WhenFull::refuse;
  std::string divert_to{};  ///< divert: another queue, which does not itself divert; else empty

  friend bool operator==(const QueueBound&, const QueueBound&) = default;
};

/// A limit. At least one of its parts is there.
///
/// Semantics: a job has a slot while it is running: from its being taken until it is settled, or its node retired or
///            rescued. A token is used up when it is taken, and does not come back. Of a queue at its limit nothing is
///            taken. A job whose key is at its limit is moved into the schedule when its turn to be taken comes, so
///            that it is in nobody's way (JournalKind::limited): for a token until that which is its turn's comes; for
///            a slot until one becomes free, which promotes the first that waits to the front of its queue.
struct Limit {
  LimitScope scope = LimitScope::queue;
  std::string name;                                        ///< 1..255 bytes; of a key limit without a colon
  std::optional<std::int64_t> concurrency = std::nullopt;  ///< slots, 1..limit_concurrency_limit
  std::optional<Rate> rate = std::nullopt;
  std::optional<QueueBound> bound = std::nullopt;  ///< of a queue only

  friend bool operator==(const Limit&, const Limit&) = default;
};

struct LimitInfo;

/// What a store refuses as a limit. Errors: `invalid_argument`, with the part and its range.
[[nodiscard]] Result<void> check(const Limit& limit);
/// What a store refuses because of another limit: of two queues one diverts to the other, which diverts itself. Errors:
/// `refused`, with both.
[[nodiscard]] Result<void> check_beside(const Limit& limit, const Limit& other);
[[nodiscard]] Result<void> check_limit_name(LimitScope scope, std::string_view name);
/// NAME or NAME:KEY, at most 255 bytes. Errors: `invalid_argument`.
[[nodiscard]] Result<void> check_limit_key(std::string_view key);
/// The detail of a journal row that says which limit held a job back: `{"limit":"NAME"}`.
[[nodiscard]] std::string limited_detail(const Limit& limit);
/// The detail of a journal row that says for whom a job was dropped: `{"for":"JID"}`.
[[nodiscard]] std::string dropped_detail(std::string_view jid);
/// The detail of a journal row that says where a job was to go: `{"from":"QUEUE"}`.
[[nodiscard]] std::string diverted_detail(std::string_view queue);
/// Why a job was not enqueued: `refused`, with the queue, its bound if that is known, and what to do.
[[nodiscard]] Error full_refusal(std::string_view queue, const std::vector<LimitInfo>& limits);
/// The name of the limit that a key is kept to.
[[nodiscard]] constexpr std::string_view limit_name_of(std::string_view key) noexcept {
  return key.substr(0, key.find(':'));
}

/// How much of a limit is in use, for one queue or one key.
struct LimitUse {
  std::string key;            ///< the queue, or the whole limit key
  std::uint64_t running = 0;  ///< slots in use
  std::uint64_t waiting = 0;  ///< of a queue: ready; of a key: moved into the schedule until their turn comes
  std::optional<std::int64_t> tokens = std::nullopt;     ///< left; none: it has no rate
  std::optional<WallTime> next_token_at = std::nullopt;  ///< when there are none left: when the next one comes
  std::uint64_t refused = 0;                             ///< of a queue, as in QueueCounts
  std::uint64_t dropped = 0;                             ///< likewise
  std::uint64_t diverted = 0;                            ///< likewise
};

struct LimitInfo {
  Limit limit;
  std::vector<LimitUse> uses;  ///< of the queue, or of keys of which some run or wait, at most limit_uses_limit
};

inline constexpr std::int64_t rate_count_limit = 1'000'000;
inline constexpr std::int64_t limit_concurrency_limit = 1'000'000;
inline constexpr std::int64_t queue_bound_limit = 1'000'000'000;
inline constexpr std::size_t limit_count_limit = 1000;  ///< limits in a store
inline constexpr std::size_t limit_uses_limit = 100;
/// Jobs that one take moves into the schedule at most, because their keys are at their limits.
inline constexpr std::size_t limit_moves_limit = 1000;
/// For so long a job waits whose key has no slot, unless one becomes free before.
inline constexpr Duration limit_slot_wait = std::chrono::minutes(5);
inline constexpr Duration rate_spacing_min = std::chrono::microseconds(100);

/// What is used up of a rate: what stores keep, as two numbers. Times are microseconds of the store's clock.
///
/// Semantics: when that clock is put back, nothing is given out a second time, and what was used up counts as used up
///            from then on: never more than is allowed, and never longer than until the bucket is full again, or the
///            next window begins.
class RateMeter {
 public:
  /// `at_us`, `used`: as kept; of a meter that was never used 0 and 0.
  RateMeter(const Rate& rate, std::int64_t at_us, std::int64_t used, std::int64_t now_us) noexcept;

  [[nodiscard]] std::int64_t tokens() const noexcept;
  void use(std::int64_t tokens) noexcept;
  /// When there is one: now, or later.
  [[nodiscard]] std::int64_t next_us() const noexcept;
  /// The turn after that of the last one that waits. Those of one window are a microsecond apart.
  [[nodiscard]] std::int64_t turn_after(std::int64_t last_us) const noexcept;

  [[nodiscard]] std::int64_t at_us() const noexcept { return at_us_; }  ///< bucket: when it is full; window: its begin
  [[nodiscard]] std::int64_t used() const noexcept { return used_; }

 private:
  [[nodiscard]] std::int64_t per_us() const noexcept;
  [[nodiscard]] std::int64_t spacing_us() const noexcept;

  Rate rate_;
  std::int64_t now_us_;
  std::int64_t at_us_;
  std::int64_t used_;
};

}  // namespace dagverk::jobs
