#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/jobs/job.hpp"
#include "dagverk/jobs/unique_lock.hpp"
#include "dagverk/jobs/wire_time.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// Payload bytes to Job and back. Facts and differences from Sidekiq and Verk: docs/reference/wire-format.md.
namespace dagverk::jobs {

/// What recording a failure adds to a payload at most, in bytes.
inline constexpr std::size_t failure_headroom = std::size_t{64} << 10U;

/// How large and how deep a payload may be, and how times are written.
struct CodecOptions {
  /// Bytes; at most 1 GiB. A payload that carries `failed_at` may be larger by `failure_headroom`: our own error text
  /// must not make a job unreadable.
  std::size_t payload_size_limit = std::size_t{1} << 20U;
  unsigned depth_limit = 128;  ///< nested arrays and objects, the payload itself included; at most 512
  TimestampFormat timestamps = TimestampFormat::seconds;
};

/// Reads a payload. `taken_from` is the queue it was found in, which counts when the payload names none.
///
/// Errors: `too_large` over the size limit, else `malformed_job` with what is wrong and where. The caller still has the
///         bytes.
[[nodiscard]] Result<Job> decode_job(std::string_view payload, std::string_view taken_from = "default",
                                     const CodecOptions& options = {});

/// `decode_job` without a copy: the Job gets the bytes, and `payload` is empty then. After an error it is as it was.
[[nodiscard]] Result<Job> decode_job_of(std::string& payload, std::string_view taken_from = "default",
                                        const CodecOptions& options = {});

/// Whether two readers accept the same payloads: how they write times does not matter.
[[nodiscard]] bool read_alike(const CodecOptions& one, const CodecOptions& other) noexcept;

/// What a store needs to know of a payload: views into it, and no copies.
struct JobHead {
  std::string_view jid;
  std::string_view job_class;
  std::string_view queue;      ///< empty: the payload names none
  std::string_view limit_key;  ///< empty: none
  std::optional<WallTime> created_at;
  std::optional<WallTime> enqueued_at;
};

/// Reads the head of a payload that is written in the ordinary way, without a copy. Nothing for any other, a malformed
/// one among them: `decode_job` says what that is. What this accepts, that reads alike.
[[nodiscard]] std::optional<JobHead> read_job_head(std::string_view payload, const CodecOptions& options = {});

/// A job that a client wants to run. Members are written in Sidekiq's order.
struct NewJob {
  std::string job_class;
  std::string args_json = "[]";  ///< see `encode_arguments`
  std::string queue = "default";
  std::string jid = {};  ///< empty: from the generator
  RetrySetting retry = RetrySetting::on();
  std::optional<std::chrono::seconds> retry_for = {};  ///< 1 to 1e9 s
  std::string retry_queue = {};                        ///< empty: none
  std::vector<std::string> tags = {};
  std::optional<bool> dead = {};
  Duration timeout = Duration::zero();      ///< of one run, up to 1e9 s; zero: as the class says
  Duration expires_in = Duration::zero();   ///< how long it may wait in its queue; zero: as the class says
  std::optional<WallTime> expires_at = {};  ///< no run begins later
  std::optional<UniqueLock> unique = {};    ///< the only one with its key; absent: as the class says
  std::string limit_key = {};               ///< NAME or NAME:KEY, kept to the key limit NAME; empty: as the class says
  bool scheduled = false;                   ///< filed for later: without `enqueued_at`
  std::vector<std::pair<std::string, std::string>> members = {};  ///< any others: name and JSON text; see `set_member`
};

/// Sets a member of `job` that NewJob has no field for, in place of one of that name. `json` is read on its own when
/// the job is encoded: one JSON value. A name that Sidekiq, Verk or we give a meaning to is refused then.
void set_member(NewJob& job, std::string name, std::string json);
/// Null when there is none of that name. Lifetime: until the members change.
[[nodiscard]] const std::string* find_member(const NewJob& job, std::string_view name) noexcept;
/// At most so many members may be added to a job.
inline constexpr std::size_t new_members_limit = 64;

/// Where new ids come from. `random_jid` is the one for real use; tests give their own.
using JidGenerator = std::function<std::string()>;

/// 24 lower-case hexadecimal digits, as Sidekiq's: 6 bytes of the machine's wall time in milliseconds, then 6 random
/// ones. Ids that grow with time keep a store's index warm: with 100,000 jobs waiting, wholly random ones cost two
/// thirds of the throughput.
[[nodiscard]] std::string random_jid();

/// Makes the payload of a new job, created (and, unless scheduled, enqueued) at `now`, and reads it back.
/// Errors: `invalid_argument` for a member outside its range, `malformed_job` for arguments that are no JSON array,
///         `too_large`.
[[nodiscard]] Result<Job> encode_new_job(const NewJob& job, WallTime now, const JidGenerator& make_jid = random_jid,
                                         const CodecOptions& options = {});

/// A job that somebody else wrote, ready to be stored.
struct PreparedJob {
  Job job;
  std::optional<WallTime> due;  ///< set when it belongs into the schedule
};

/// Completes a job object that has at least `class` and `args`, as a client's push does: adds `queue`
/// (`queue_default`), `jid`, `retry` and `created_at` where they are missing or null, takes out `at`, and either stamps
/// `enqueued_at` or, when `at` lies after `now`, removes it. All other bytes stay as they are. Errors: `malformed_job`,
/// also for an `at` that is no time; `too_large`.
[[nodiscard]] Result<PreparedJob> prepare_job(std::string_view json, WallTime now,
                                              std::string_view queue_default = "default",
                                              const JidGenerator& make_jid = random_jid,
                                              const CodecOptions& options = {});

/// Members that we may write into a payload. All others pass through untouched.
enum class OwnedMember : std::uint8_t {
  queue,
  jid,
  retry,
  at,
  created_at,
  enqueued_at,
  failed_at,
  retried_at,
  retry_count,
  error_message,
  error_class,
  error_backtrace,
  traceparent,
  tracestate,
};

/// A list of changes to members that we own.
///
/// Semantics: `set` gives an existing member a new value where it stands, or appends the member; `remove` takes it out
///            with one comma. All other bytes keep their place and spelling: white space, number forms, escapes,
///            members that occur twice. An edited member that occurs several times stays only where it was last. A
///            later change of the same member replaces an earlier one.
/// Errors:    none until `edit_job`. Texts that are not UTF-8 are scrubbed: U+FFFD for each wrong byte.
class JobEdit {
 public:
  JobEdit& set(OwnedMember member, std::string_view text);
  JobEdit& set(OwnedMember member, std::int64_t number);
  JobEdit& set(OwnedMember member, bool value);
  JobEdit& set(OwnedMember member, WallTime time, TimestampFormat format = TimestampFormat::seconds);
  JobEdit& remove(OwnedMember member);
  // Without these, a literal would become a bool.
  JobEdit& set(OwnedMember member, const char* text) { return set(member, std::string_view(text)); }
  JobEdit& set(OwnedMember member, int number) { return set(member, std::int64_t{number}); }

  [[nodiscard]] bool empty() const noexcept { return changes_.empty(); }

 private:
  friend Result<std::string> edit_job(std::string_view payload, const JobEdit& edit, const CodecOptions& options);

  struct Change {
    OwnedMember member;
    std::optional<std::string> value;  // JSON text; none removes
  };

  JobEdit& put(OwnedMember member, std::optional<std::string> value);

  std::vector<Change> changes_;
};

/// The payload with `edit` applied. Errors: `malformed_job` when the payload is no JSON object, `too_large` when it is
/// over the limit.
[[nodiscard]] Result<std::string> edit_job(std::string_view payload, const JobEdit& edit,
                                           const CodecOptions& options = {});

inline constexpr std::size_t error_message_characters_limit = 10'000;
inline constexpr std::size_t error_class_characters_limit = 255;

/// Why a run failed, for the payload.
struct JobFailure {
  std::string error_class;  ///< cut to 255 characters
  std::string message;      ///< cut to 10,000 characters
  WallTime failed_at;
};

/// The payload of `job` after one more failure, for the retry set or the dead set: `error_message`, `error_class`,
/// `retry_count` in the job's own dialect, `failed_at` at the first failure and `retried_at` at later ones, `queue`
/// changed to `retry_queue` where that is set.
[[nodiscard]] Result<std::string> failed_payload(const Job& job, const JobFailure& failure,
                                                 const CodecOptions& options = {});

/// The payload of `job` when it moves from the schedule, the retry set or the dead set to its queue: a fresh
/// `enqueued_at`.
[[nodiscard]] Result<std::string> enqueued_payload(const Job& job, WallTime now, const CodecOptions& options = {});

/// The same for a job of the retry set that a person runs at once: `retry_count` goes down by one, so that this run
/// uses up no retry.
[[nodiscard]] Result<std::string> retried_by_hand_payload(const Job& job, WallTime now,
                                                          const CodecOptions& options = {});

/// What tells a job from a later one of the same jid, whatever happens to its payload: when it was created. Empty when
/// the payload does not say so, or is no job.
[[nodiscard]] std::string birth_of(std::string_view payload, const CodecOptions& options = {});

/// `payload` for another queue: where it is a job its `queue` says so, and all other bytes stay; what is no job stays
/// as it is.
[[nodiscard]] std::string payload_in_queue(std::string_view payload, std::string_view queue,
                                           const CodecOptions& options = {});

}  // namespace dagverk::jobs
