#pragma once

#include <charconv>
#include <concepts>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dagverk::net {

/// A command and its arguments, in the protocol's form. Arguments are bytes: anything may be in them.
///
///     RedisCommand("ZADD", key, 1.5, member)
class RedisCommand {
 public:
  template <class... Words>
  explicit RedisCommand(std::string_view name, const Words&... words) {
    add(name);
    (add(words), ...);
  }

  RedisCommand& add(std::string_view word) &;
  /// In decimal digits; floating point in the shortest form that reads back as the same number.
  template <class Number>
    requires((std::integral<Number> && !std::same_as<Number, bool> && !std::same_as<Number, char>) ||
             std::floating_point<Number>)
  RedisCommand& add(Number number) & {
    char digits[40];
    const auto end = std::to_chars(digits, digits + sizeof digits, number);
    return add(std::string_view(digits, static_cast<std::size_t>(end.ptr - digits)));
  }

  [[nodiscard]] std::size_t words() const noexcept { return words_; }  ///< with the name
  [[nodiscard]] std::string_view name() const noexcept;                ///< the first word
  /// How many bytes it takes on the wire.
  [[nodiscard]] std::size_t size_bytes() const noexcept;
  /// Appends its wire form.
  void encode(std::string& out) const;

 private:
  friend class RedisScriptCall;
  RedisCommand() = default;

  std::string body_ = {};  // the words, each with its length
  std::size_t words_ = 0;
};

/// A Lua script of ours. Fixed text: never made of data.
///
/// Semantics: a value; copies share the text. `sha1` is its name on the server.
/// Threads:   immutable.
class RedisScript {
 public:
  explicit RedisScript(std::string text);

  [[nodiscard]] std::string_view text() const noexcept;
  [[nodiscard]] std::string_view sha1() const noexcept;  ///< 40 lower-case hexadecimal digits

 private:
  struct Body;
  std::shared_ptr<const Body> body_;  // shared with calls under way, which may have to send the text
};

/// A script with its keys and arguments: `RedisScriptCall(take).key(queue).arg(50)`. Keys first.
class RedisScriptCall {
 public:
  explicit RedisScriptCall(RedisScript script) : script_(std::move(script)) {}

  RedisScriptCall& key(std::string_view key) &;
  RedisScriptCall&& key(std::string_view key) &&;
  template <class Word>
  RedisScriptCall& arg(const Word& word) & {
    arguments_.add(word);
    return *this;
  }
  template <class Word>
  RedisScriptCall&& arg(const Word& word) && {
    arguments_.add(word);
    return std::move(*this);
  }

  [[nodiscard]] const RedisScript& script() const noexcept { return script_; }
  /// About how many bytes it takes on the wire, by its SHA-1.
  [[nodiscard]] std::size_t size_bytes() const noexcept { return 80 + keys_.body_.size() + arguments_.body_.size(); }
  /// Appends its wire form: EVALSHA, or EVAL with the text.
  void encode(std::string& out, bool with_text) const;

 private:
  RedisScript script_;
  RedisCommand keys_ = RedisCommand();
  RedisCommand arguments_ = RedisCommand();
};

/// A script's place in a batch.
struct RedisNumberedScript {
  std::size_t index;
  RedisScriptCall call;
};

/// Commands that go out in one write, one after the other, and whose replies come back together.
class RedisBatch {
 public:
  RedisBatch& add(const RedisCommand& command) &;
  /// Not for `transact`: a script is atomic by itself.
  RedisBatch& add(RedisScriptCall call) &;

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::size_t size_bytes() const noexcept { return bytes_.size(); }

 private:
  friend class RedisClient;

  std::string bytes_ = {};
  std::size_t size_ = 0;
  std::vector<RedisNumberedScript> scripts_ =
      {};  // to be sent again with their text when the server does not know them
};

}  // namespace dagverk::net
