#pragma once

#include "net/redis_reader.hpp"
#include "net/redis_transport.hpp"

#include "dagverk/net/redis_client.hpp"

#include <boost/asio/io_context.hpp>

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace dagverk::net {

/// Listens to one Sentinel for a failover of the master that the options name. For the io thread alone.
///
/// Semantics: one connection, subscribed to `+switch-master`. When it cannot be made, or ends, the watch is no longer
///            alive, in silence: whoever wants to know asks the Sentinels now and then, too, and makes another.
/// Bounds:    a message of 64 KiB; a longer one ends it.
class RedisSentinelWatch : public std::enable_shared_from_this<RedisSentinelWatch> {
 public:
  /// `switched` is called at each failover, until `cancel`. `options` outlive the watch.
  RedisSentinelWatch(boost::asio::io_context& io, const RedisOptions& options, TlsContext tls,
                     std::function<void()> switched);

  void begin(const RedisAddress& sentinel);
  void cancel() noexcept;
  [[nodiscard]] bool alive() const noexcept { return alive_; }

 private:
  void subscribe();
  void write_rest();
  void read_more();
  void take(const RedisReply& reply) const;

  boost::asio::io_context& io_;
  const RedisOptions& options_;
  const RedisDialOptions dial_options_;
  std::function<void()> switched_;
  bool alive_ = true;
  std::shared_ptr<RedisDial> dial_;
  std::shared_ptr<RedisTransport> transport_;
  std::string out_;
  std::size_t written_ = 0;
  RedisReader reader_;
  std::array<char, 4096> buffer_{};
};

}  // namespace dagverk::net
