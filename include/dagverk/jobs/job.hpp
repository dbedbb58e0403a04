#pragma once

#include "dagverk/base/clock.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dagverk::jobs {

/// What a payload's `retry` member says.
struct RetrySetting {
  enum class Kind : std::uint8_t {
    unset,    ///< absent or unreadable: as the class says
    off,      ///< `false`: never retried, and never kept in the dead set
    on,       ///< `true`: as the class says (25 times, unless it says otherwise)
    limited,  ///< a number: that many retries; 0 goes straight to the dead set
  };

  Kind kind = Kind::unset;
  std::uint32_t limit = 0;  ///< for `limited`

  [[nodiscard]] static constexpr RetrySetting off() noexcept { return {Kind::off, 0}; }
  [[nodiscard]] static constexpr RetrySetting on() noexcept { return {Kind::on, 0}; }
  [[nodiscard]] static constexpr RetrySetting limited(std::uint32_t retries) noexcept {
    return {Kind::limited, retries};
  }

  friend bool operator==(const RetrySetting&, const RetrySetting&) = default;
};

/// Whose conventions a payload follows where they disagree.
enum class JobDialect : std::uint8_t {
  sidekiq,  ///< `retry_count` is absent at birth and 0 after the first failure
  verk,     ///< `retry_count` is 0 at birth and 1 after the first failure; has `max_retry_count`, or `args` as a string
};

/// A job as it was read: the original payload bytes, and what we understand of them.
///
/// Semantics: immutable. The bytes are those that a store acknowledges, moves and keeps; a changed payload is made by
///            editing them (`job_codec.hpp`), never by encoding a Job. Where a member occurs twice, its last occurrence
///            counts, as for Sidekiq.
/// Threads:   may be read from several threads at once.
/// Lifetime:  views point into this object: they end with it, and when it is moved or assigned.
/// Bounds:    one copy of the payload, plus the decoded text of members that are written with escapes.
class Job {
 public:
  [[nodiscard]] std::string_view payload() const noexcept { return payload_; }

  /// Never empty; obeys `check_jid`.
  [[nodiscard]] std::string_view jid() const noexcept { return text(jid_); }
  /// The wire's `class`; obeys `check_class_name`.
  [[nodiscard]] std::string_view job_class() const noexcept { return text(class_); }
  /// Obeys `check_queue_name`. When the payload names none: the queue that it was taken from.
  [[nodiscard]] std::string_view queue() const noexcept { return text(queue_); }
  /// Whether the payload itself names its queue.
  [[nodiscard]] bool names_queue() const noexcept { return names_queue_; }
  /// The arguments as the text of a valid JSON array, spelled as in the payload.
  [[nodiscard]] std::string_view args_json() const noexcept { return text(args_); }

  [[nodiscard]] RetrySetting retry() const noexcept { return retry_; }
  /// Verk's limit of retries.
  [[nodiscard]] std::optional<std::uint32_t> max_retry_count() const noexcept { return max_retry_count_; }
  /// How long after the first failure retries go on; replaces the count (Sidekiq 8.1).
  [[nodiscard]] std::optional<Duration> retry_for() const noexcept { return retry_for_; }
  /// How long one run may take; absent: as the class says.
  [[nodiscard]] std::optional<Duration> timeout() const noexcept { return timeout_; }
  /// How long the job may wait in its queue before it is dropped unrun; absent: as the class says.
  [[nodiscard]] std::optional<Duration> expires_in() const noexcept { return expires_in_; }
  /// After this instant no run of the job, first or later, begins any more.
  [[nodiscard]] std::optional<WallTime> expires_at() const noexcept { return time(expires_at_); }
  /// The member as it stands; its meaning depends on the dialect. Sidekiq's Web lowers it by one, even to -1, for a
  /// retry by hand.
  [[nodiscard]] std::optional<std::int32_t> retry_count() const noexcept { return retry_count_; }
  [[nodiscard]] JobDialect dialect() const noexcept { return dialect_; }
  /// How often the job failed so far, in either dialect; a retry by hand takes one back.
  [[nodiscard]] std::uint32_t failure_count() const noexcept;
  /// Which run the next one is: 1 for a job that never failed.
  [[nodiscard]] std::uint32_t attempt() const noexcept { return failure_count() + 1; }
  /// The queue for retries, when it is not the queue the job was taken from.
  [[nodiscard]] std::optional<std::string_view> retry_queue() const noexcept { return optional_text(retry_queue_); }
  /// Whether the job may end in the dead set; absent: as the class says.
  [[nodiscard]] std::optional<bool> dead() const noexcept { return dead_; }

  [[nodiscard]] std::optional<WallTime> created_at() const noexcept { return time(created_at_); }
  [[nodiscard]] std::optional<WallTime> enqueued_at() const noexcept { return time(enqueued_at_); }
  /// When a client wants the job to run. Stores never hold it: the instant is the score of the schedule.
  [[nodiscard]] std::optional<WallTime> at() const noexcept { return time(at_); }
  [[nodiscard]] std::optional<WallTime> failed_at() const noexcept { return time(failed_at_); }
  [[nodiscard]] std::optional<WallTime> retried_at() const noexcept { return time(retried_at_); }

  /// The raw JSON array of tags.
  [[nodiscard]] std::optional<std::string_view> tags_json() const noexcept { return optional_text(tags_); }
  /// See EnqueueRequest.
  [[nodiscard]] std::optional<std::string_view> limit_key() const noexcept { return optional_text(limit_key_); }
  /// W3C trace context, as whoever enqueued the job wrote it.
  [[nodiscard]] std::optional<std::string_view> traceparent() const noexcept { return optional_text(traceparent_); }
  [[nodiscard]] std::optional<std::string_view> tracestate() const noexcept { return optional_text(tracestate_); }
  /// The class behind an ActiveJob envelope.
  [[nodiscard]] std::optional<std::string_view> wrapped() const noexcept { return optional_text(wrapped_); }
  /// These are shown, not acted on, and may hold bytes that are not UTF-8.
  [[nodiscard]] std::optional<std::string_view> error_message() const noexcept { return optional_text(error_message_); }
  [[nodiscard]] std::optional<std::string_view> error_class() const noexcept { return optional_text(error_class_); }
  /// As stored: base64 of zlib (Sidekiq) or plain text (Verk).
  [[nodiscard]] std::optional<std::string_view> error_backtrace() const noexcept {
    return optional_text(error_backtrace_);
  }

 private:
  friend class JobReader;  // fills the fields; in job_codec.cpp

  // Where a text is: in the payload as it stands, or decoded in extra_. Offsets stay right when the object moves.
  struct Text {
    std::uint32_t begin = 0;
    std::uint32_t size = 0;
    bool present = false;
    bool in_extra = false;
  };

  Job() = default;

  [[nodiscard]] std::string_view text(Text at) const noexcept {
    return std::string_view(at.in_extra ? extra_ : payload_).substr(at.begin, at.size);
  }
  [[nodiscard]] std::optional<std::string_view> optional_text(Text at) const noexcept {
    return at.present ? std::optional(text(at)) : std::nullopt;
  }
  // Most times are never asked for: one is read where it is.
  [[nodiscard]] std::optional<WallTime> time(Text at) const noexcept;

  std::string payload_;
  std::string extra_;
  Text jid_;
  Text class_;
  Text queue_;
  Text args_;
  Text retry_queue_;
  Text tags_;
  Text limit_key_;
  Text traceparent_;
  Text tracestate_;
  Text wrapped_;
  Text error_message_;
  Text error_class_;
  Text error_backtrace_;
  Text created_at_;
  Text enqueued_at_;
  Text at_;
  Text failed_at_;
  Text retried_at_;
  Text expires_at_;
  std::optional<Duration> expires_in_;
  std::optional<Duration> retry_for_;
  std::optional<Duration> timeout_;
  std::optional<std::uint32_t> max_retry_count_;
  std::optional<std::int32_t> retry_count_;
  RetrySetting retry_;
  std::optional<bool> dead_;
  JobDialect dialect_ = JobDialect::sidekiq;
  bool names_queue_ = false;
};

}  // namespace dagverk::jobs
