#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace dagverk {

/// What went wrong, as far as a program can act on it. The message says the rest.
enum class ErrorCode : std::uint8_t {
  internal,          ///< a promise of ours is broken; please report it
  invalid_argument,  ///< the caller passed something outside the documented range
  not_found,         ///< the thing named does not exist
  already_exists,    ///< the thing named exists already (a name, an id, a jid)
  timeout,           ///< the deadline passed first
  cancelled,         ///< somebody asked for the operation to stop
  no_process,        ///< the process addressed does not run (any more)
  exited,            ///< the process ended before it answered; the message has its reason
  calling_self,      ///< a process called itself and would wait for ever
  wrong_type,        ///< the name belongs to a process of another type
  wrong_thread,      ///< the operation is not allowed on this thread (e.g. blocking on a worker)
  ignored,           ///< the server's init chose not to run
  mailbox_full,      ///< the receiver's mailbox is at its bound
  shutting_down,     ///< the runtime or the component is stopping
  unavailable,       ///< a store or peer cannot be reached now; trying again may help
  outcome_unknown,   ///< a write was sent and its reply lost: it may have happened or not
  refused,           ///< refused by a rule (duplicate, limit, fencing token)
  malformed_job,     ///< a job's bytes are not a job
  malformed,         ///< other bytes from outside do not have the promised form
  too_large,         ///< over a documented size limit
  io,                ///< the operating system reported an I/O failure
  store_full,        ///< no room left in the store
  store_newer,       ///< the store was written by a newer version than this program knows
  not_a_store,       ///< the file or server is not a store of ours
  permission,        ///< the operating system or the store denied access
  configuration,     ///< configuration is wrong; the message names field, value and range
  unsupported,       ///< this build or this store cannot do it
};

/// The name of `code` as written in logs, e.g. `not_found`.
[[nodiscard]] std::string_view to_string(ErrorCode code) noexcept;

/// Why an operation failed: a code for programs and a sentence for people.
///
/// Semantics: a value; copies share one immutable message. Converts to any failed `Result<T>`, so `return Error{…};`
///            works.
/// Threads:   distinct copies may be used on distinct threads.
/// Errors:    copying never throws.
/// Bounds:    two words.
class Error {
 public:
  Error(ErrorCode code, std::string message);
  explicit Error(ErrorCode code) noexcept : code_(code) {}

  Error(const Error& other) noexcept;
  Error(Error&& other) noexcept;
  Error& operator=(const Error& other) noexcept;
  Error& operator=(Error&& other) noexcept;
  ~Error();

  [[nodiscard]] ErrorCode code() const noexcept { return code_; }

  /// The sentence, or the code's name when there is none. Valid as long as this object or a copy lives.
  [[nodiscard]] std::string_view message() const noexcept;

  /// A copy whose message begins with `context` and a colon: `decoding job payload: missing "jid"`.
  [[nodiscard]] Error with(std::string_view context) const;

  template <class T>
  // NOLINTNEXTLINE(google-explicit-constructor): `return Error{…};` is the point of this class.
  operator std::expected<T, Error>() const& {
    return std::unexpected<Error>(*this);
  }
  template <class T>
  // NOLINTNEXTLINE(google-explicit-constructor): as above.
  operator std::expected<T, Error>() && {
    return std::unexpected<Error>(std::move(*this));
  }

  friend bool operator==(const Error& a, const Error& b) noexcept {
    return a.code_ == b.code_ && a.message() == b.message();
  }

 private:
  struct Text;

  ErrorCode code_;
  Text* text_ = nullptr;  // shared by copies, counted in Text; null when there is only the code
};

static_assert(sizeof(Error) <= 16, "an Error travels in every failed Result");

}  // namespace dagverk
