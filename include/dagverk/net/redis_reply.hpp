#pragma once

#include "dagverk/base/result.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace dagverk::net {

/// What a Redis server answered: one value of the protocol RESP2.
///
/// Semantics: a value. Replies are what strangers wrote: nothing here asserts on their shape. The `as_…` functions
///            say what was wrong, the plain ones answer with nothing.
class RedisReply {
 public:
  enum class Kind : std::uint8_t { nil, integer, status, error, string, array };

  RedisReply() = default;  ///< nil
  [[nodiscard]] static RedisReply of_integer(std::int64_t value) { return RedisReply(Made{}, value); }
  [[nodiscard]] static RedisReply of_status(std::string text) { return RedisReply(Made{}, Status{std::move(text)}); }
  [[nodiscard]] static RedisReply of_error(std::string text) { return RedisReply(Made{}, Failure{std::move(text)}); }
  [[nodiscard]] static RedisReply of_string(std::string bytes) { return RedisReply(Made{}, std::move(bytes)); }
  [[nodiscard]] static RedisReply of_array(std::vector<RedisReply> items) {
    return RedisReply(Made{}, std::move(items));
  }

  [[nodiscard]] Kind kind() const noexcept { return static_cast<Kind>(value_.index()); }
  [[nodiscard]] bool is_nil() const noexcept { return kind() == Kind::nil; }
  [[nodiscard]] bool is_error() const noexcept { return kind() == Kind::error; }

  /// Errors: `malformed`, saying what was expected and what came; for a reply of kind error, what `redis_error` says.
  [[nodiscard]] Result<std::int64_t> as_integer() const;
  /// The bytes of a string, or a status' text. Borrowed from this reply. Errors: as above.
  [[nodiscard]] Result<std::string_view> as_string() const;
  /// Borrowed from this reply. Errors: as above.
  [[nodiscard]] Result<std::span<const RedisReply>> as_array() const;

  [[nodiscard]] std::int64_t integer_or(std::int64_t otherwise) const noexcept;
  /// The bytes of a string, status or error; empty for the other kinds. Borrowed from this reply.
  [[nodiscard]] std::string_view text() const noexcept;
  /// The elements of an array; empty for the other kinds. Borrowed from this reply.
  [[nodiscard]] std::span<const RedisReply> items() const noexcept;
  /// As `text` and `items`, leaving the reply nil.
  [[nodiscard]] std::string take_text() noexcept;
  [[nodiscard]] std::vector<RedisReply> take_items() noexcept;

  /// For people and tests: `nil`, `5`, `+OK`, `-ERR no`, `"bytes"`, `[1, "two"]`; bytes escaped, at most about 200.
  [[nodiscard]] std::string shown() const;

  friend bool operator==(const RedisReply&, const RedisReply&) = default;

 private:
  friend class RedisReader;  // makes arrays grow
  struct Status {
    std::string text;
    friend bool operator==(const Status&, const Status&) = default;
  };
  struct Failure {
    std::string text;
    friend bool operator==(const Failure&, const Failure&) = default;
  };
  using Value = std::variant<std::monostate, std::int64_t, Status, Failure, std::string, std::vector<RedisReply>>;

  struct Made {};
  RedisReply(Made /*tag: nothing converts to a reply*/, Value value) : value_(std::move(value)) {}
  [[nodiscard]] Error unlike(std::string_view expected) const;

  Value value_;  // in the order of Kind
};

/// An error reply as an Error whose message is the server's text, control characters escaped. By its first word:
///
///     LOADING BUSY MASTERDOWN TRYAGAIN CLUSTERDOWN NOREPLICAS READONLY       unavailable: nothing was done, try again
///     OOM MISCONF                                                            store_full: nothing was done
///     NOAUTH WRONGPASS NOPERM DENIED                                         permission
///     WRONGTYPE  wrong_type     NOSCRIPT NOGROUP  not_found     BUSYKEY BUSYGROUP  already_exists
///     UNBLOCKED NOTBUSY  cancelled     ERR  invalid_argument     any other, e.g. a script's own  refused
[[nodiscard]] Error redis_error(std::string_view text);

}  // namespace dagverk::net
