#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/net/redis_url.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/system/error_code.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace dagverk::net {

/// A connected stream of bytes: TCP, TLS over TCP, or a Unix socket. For the io thread alone.
///
/// Lifetime: an operation under way keeps the transport; its buffer is the caller's to keep until the handler has run.
class RedisTransport : public std::enable_shared_from_this<RedisTransport> {
 public:
  using Handler = std::move_only_function<void(boost::system::error_code, std::size_t)>;

  RedisTransport() = default;
  RedisTransport(const RedisTransport&) = delete;
  RedisTransport& operator=(const RedisTransport&) = delete;
  virtual ~RedisTransport() = default;

  virtual void read_some(boost::asio::mutable_buffer into, Handler handler) = 0;
  virtual void write_some(boost::asio::const_buffer from, Handler handler) = 0;
  /// Operations under way end with an error, soon.
  virtual void close() noexcept = 0;
};

using TlsContext = std::shared_ptr<boost::asio::ssl::context>;  // shared with the connections that were made with it

/// TLS 1.2 or newer. Null when the URL wants none. Errors: `configuration`, naming the file.
[[nodiscard]] Result<TlsContext> make_tls_context(const RedisUrl& url);

/// Why TLS failed: `permission` when the certificate is not accepted, by us or by the server; else `unavailable`.
[[nodiscard]] Error tls_error(const std::string& server, const boost::system::error_code& failure);

/// Makes a connection to one place. For the io thread alone.
///
/// Errors: `unavailable`: nobody listens there, or no such host; `permission`: a certificate, or a socket file.
class RedisDial : public std::enable_shared_from_this<RedisDial> {
 public:
  using Done = std::move_only_function<void(Result<std::shared_ptr<RedisTransport>>)>;

  RedisDial() = default;
  RedisDial(const RedisDial&) = delete;
  RedisDial& operator=(const RedisDial&) = delete;
  virtual ~RedisDial() = default;

  /// Ends it; its `done` is never called then.
  virtual void cancel() noexcept = 0;
};

struct RedisDialOptions {
  Duration dead_after;
  TlsContext tls;  ///< null: none
  RedisTls tls_options;
};

/// Begins to connect; `done` is called once, later, unless the dial is cancelled.
[[nodiscard]] std::shared_ptr<RedisDial> dial_tcp(boost::asio::io_context& io, const RedisAddress& address,
                                                  const RedisDialOptions& options, RedisDial::Done done);
[[nodiscard]] std::shared_ptr<RedisDial> dial_unix(boost::asio::io_context& io, const std::string& path,
                                                   RedisDial::Done done);

}  // namespace dagverk::net
