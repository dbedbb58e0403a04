#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk::jobs {

/// How long a job keeps others with its key out. Whatever it says, a lock ends with its expiry, and when somebody
/// deletes or cancels its job. The numbers are stored; never reuse one.
enum class LockUntil : std::uint8_t {
  started = 0,  ///< until a node takes the job
  done = 1,     ///< until the job has finished, was dropped, or died; a job that is tried again or rescued keeps it
  period = 2,   ///< until the expiry, however the job ends
};

/// What becomes of a job whose key another job holds.
enum class LockConflict : std::uint8_t {
  refuse,      ///< it is not put in
  replace,     ///< the other job is deleted if it waits, and this one is put in with the key; else refused
  reschedule,  ///< the other job, if it waits, gets this one's time, and this one is not put in; else refused
};

[[nodiscard]] std::string_view to_string(LockUntil until) noexcept;
[[nodiscard]] std::string_view to_string(LockConflict conflict) noexcept;

inline constexpr std::size_t lock_key_size_limit = 255;
inline constexpr Duration lock_expiry_limit = std::chrono::hours(366 * 24);
inline constexpr Duration lock_expiry_default = std::chrono::hours(24);

/// That a job is to be the only one with its key.
struct UniqueLock {
  /// 1 to lock_key_size_limit bytes, compared byte for byte; one name space for the whole store. Where a client is
  /// told of it, in a NewJob or in JobOptions, empty: `unique_key` of the job.
  std::string key{};
  LockUntil until = LockUntil::done;
  /// 1 ms to lock_expiry_limit, from when the store puts the job in, by the store's clock. To be longer than the job
  /// may wait, run and be tried again: when it has passed, another one with the key may run beside it.
  Duration expiry = lock_expiry_default;
  LockConflict conflict = LockConflict::refuse;
};

/// A key that is held, and by whom.
struct HeldLock {
  std::string key;
  std::string jid;  ///< of a job that waits, runs, or (LockUntil::period) may have ended
  LockUntil until = LockUntil::done;
  WallTime taken_at;
  WallTime expires_at;
};

/// Held keys, those first that expire first.
struct LockPage {
  std::vector<HeldLock> locks;
  std::string next{};  ///< where to go on; empty when the end was reached
};

/// Where a listing of held keys goes on. Texts of it are `LockPage::next`.
struct LockCursor {
  std::int64_t expires_us = 0;
  std::string key;

  /// An empty text is the beginning: behind what has expired at `now`. Errors: `invalid_argument`.
  [[nodiscard]] static Result<LockCursor> read(std::string_view text, WallTime now);
  [[nodiscard]] static std::string behind(const HeldLock& lock);
};

/// For stores: the journal detail of a job that another one of its key has pushed aside.
[[nodiscard]] std::string lock_detail(LockConflict conflict, std::string_view jid);

/// The key of a job that is to be the only one of its class with these arguments, whatever its queue: `CLASS:ARGUMENTS`
/// without the white space between JSON's tokens. Where that is over lock_key_size_limit, `CLASS:#` (the class cut at
/// 200 bytes) and 32 hexadecimal digits made of it. Numbers, escapes and the order of an object's members count as they
/// are spelled: `1` and `1.0` are two keys.
[[nodiscard]] std::string unique_key(std::string_view job_class, std::string_view args_json);

/// What a client says of a job that stayed out because of `held` (nothing: that lock is over by now).
[[nodiscard]] Error lock_refusal(std::string_view job_class, const UniqueLock& wanted,
                                 const std::optional<HeldLock>& held);

}  // namespace dagverk::jobs
