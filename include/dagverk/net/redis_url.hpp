#pragma once

#include "dagverk/base/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk::net {

struct RedisAddress {
  std::string host = {};  ///< a name or an address; IPv6 without its brackets
  std::uint16_t port = 6379;

  /// `host:port`, with brackets around IPv6.
  [[nodiscard]] std::string text() const;
  friend bool operator==(const RedisAddress&, const RedisAddress&) = default;
};

/// How a TLS connection is made. The server's certificate is always checked unless `verify` is switched off.
struct RedisTls {
  bool verify = true;            ///< the certificate's chain and name; false only where the user wrote `insecure`
  std::string ca_file = {};      ///< PEM; empty: the system's authorities
  std::string cert_file = {};    ///< PEM, ours, for servers that ask for one; with `key_file`
  std::string key_file = {};     ///< PEM, not encrypted
  std::string server_name = {};  ///< the name to find in the certificate; empty: the host that was connected to
};

/// Where a Redis server is and how one gets in.
///
/// Semantics: a passive value. `password` and its like are never part of `shown()`.
struct RedisUrl {
  enum class Kind : std::uint8_t {
    tcp,          ///< `addresses[0]`
    unix_socket,  ///< `socket_path`
    sentinel,     ///< `addresses` are Sentinels, which know where `master_name` is
  };

  Kind kind = Kind::tcp;
  std::vector<RedisAddress> addresses = {};
  std::string socket_path = {};
  std::string master_name = {};
  std::string user = {};           ///< ACL user; empty: the default user
  std::string password = {};       ///< empty: none is sent, unless there is a password_file
  std::string password_file = {};  ///< read at each connect, so that it may be replaced; its first line
  std::string sentinel_user = {};
  std::string sentinel_password = {};
  unsigned database = 0;
  bool tls = false;  ///< for the server and the Sentinels alike
  RedisTls tls_options = {};

  /// The URL for people: without passwords. E.g. `rediss://jobs@db:6380/2`, `redis-sentinel://a:26379,b:26379/main/0`.
  [[nodiscard]] std::string shown() const;
};

/// Takes a URL apart:
///
///     redis://[[USER]:PASSWORD@]HOST[:6379][/DATABASE]     rediss:// the same over TLS
///     unix://[[USER]:PASSWORD@]/PATH/TO/SOCKET[?db=DATABASE]
///     redis-sentinel://[[USER]:PASSWORD@]HOST[:26379],HOST…/MASTER[/DATABASE]     rediss-sentinel:// over TLS
///
/// Options follow after `?`, joined by `&`: `db`, `user`, `password`, `password_file`; with TLS `tls_ca`, `tls_cert`,
/// `tls_key` (files), `tls_name`, `tls_verify=full|insecure`; for Sentinels `sentinel_user`, `sentinel_password`. User,
/// password, paths and values may be %-escaped. Without a host: 127.0.0.1.
///
/// Errors: `configuration`, with what is wrong and the form to type, and without any password.
[[nodiscard]] Result<RedisUrl> parse_redis_url(std::string_view text);

/// The URL in the variable that REDIS_PROVIDER names, else in REDIS_URL, else redis://127.0.0.1:6379/0.
///
/// Errors: `configuration`, naming the variable.
[[nodiscard]] Result<RedisUrl> redis_url_from_environment();

}  // namespace dagverk::net
