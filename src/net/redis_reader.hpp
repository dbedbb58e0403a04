#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/net/redis_reply.hpp"

#include <hiredis/read.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>

namespace dagverk::net {

/// Makes replies out of the bytes of a connection: hiredis' reader, with bounds on what one reply may take.
///
/// Errors:   `too_large`: the reply that is being read is over a bound; `malformed`: no RESP2. Final, both of them.
/// Bounds:   holds one reply and what was fed since; a string's length is looked at before its bytes are awaited, an
///           array's before its items. Arrays may be nested seven deep.
class RedisReader {
 public:
  RedisReader(std::size_t bytes_max, std::size_t items_max);
  RedisReader(const RedisReader&) = delete;
  RedisReader& operator=(const RedisReader&) = delete;
  ~RedisReader() = default;

  /// Takes a copy of `bytes`. Feed some ten KiB at a time, and take all replies in between: the reader moves the rest.
  void feed(std::string_view bytes);
  /// The next reply, or nothing until more is fed.
  [[nodiscard]] Result<std::optional<RedisReply>> next();

 private:
  struct Callbacks;
  struct Freed {
    void operator()(redisReader* reader) const noexcept { redisReaderFree(reader); }
  };

  [[nodiscard]] RedisReply* place(const redisReadTask& task);
  [[nodiscard]] Error fault() const;
  [[nodiscard]] bool waits_for_too_much() const noexcept;
  [[nodiscard]] Error too_large() const;

  const std::size_t bytes_max_;
  const std::size_t items_max_;
  std::size_t bytes_ = 0;  // of the reply that is being read
  std::size_t items_ = 0;
  bool over_ = false;
  RedisReply reply_;  // being read; its arrays grow at their ends
  std::unique_ptr<redisReader, Freed> reader_;
};

}  // namespace dagverk::net
