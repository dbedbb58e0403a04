#pragma once

#include "net/redis_reader.hpp"
#include "net/redis_transport.hpp"

#include "dagverk/net/redis_client.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk::net {

/// AUTH, for a user or, when it is empty, for the default one.
[[nodiscard]] RedisCommand auth_with(const std::string& user, const std::string& password);

/// A connection that commands can be sent on: authenticated, in its database, and the server is not loading.
struct RedisReady {
  std::shared_ptr<RedisTransport> transport;
  std::string server;          ///< `host:port` or the socket's path
  std::int64_t client_id = 0;  ///< 0: the server does not tell
};

/// One try to get a ready connection: asks the Sentinels if there are some, connects, greets. For the io thread alone.
///
/// Errors: `permission`, `configuration`: trying again will not help, as far as one can see; `unavailable` otherwise.
/// Bounds: ends within the options' connect_timeout, of which each Sentinel gets an equal part.
class RedisAttempt : public std::enable_shared_from_this<RedisAttempt> {
 public:
  using Done = std::move_only_function<void(Result<RedisReady>)>;

  /// `options` outlive the attempt. `done` is called once, not from within `begin`, unless the attempt is cancelled.
  RedisAttempt(boost::asio::io_context& io, const RedisOptions& options, TlsContext tls, Done done);

  /// Only asks the Sentinels: `done` gets where the master is, as `server`, and no connection.
  void begin_asking(std::size_t first_sentinel);
  /// Asks the Sentinel at `first_sentinel` first, then the others, round.
  void begin(std::size_t first_sentinel);
  void cancel() noexcept;
  /// The Sentinel that answered last: the one to begin with next time.
  [[nodiscard]] std::size_t sentinel() const noexcept { return sentinel_; }

 private:
  enum class Step : std::uint8_t { auth, database, name, id, role, script, ping };
  using Then = std::move_only_function<void(Result<std::vector<RedisReply>>)>;

  void ask_sentinel();
  void sentinel_answered(Result<std::vector<RedisReply>> replies, bool with_auth);
  void next_sentinel(Error error);
  void connect_to(const RedisAddress& address);
  void connected(Result<std::shared_ptr<RedisTransport>> transport);
  void greet();
  void greeted(const std::vector<RedisReply>& replies);
  [[nodiscard]] Result<std::string> password() const;
  [[nodiscard]] std::optional<Error> fault_of(Step step, const RedisReply& reply);

  void exchange(std::string bytes, std::size_t replies, Then then);
  void write_rest();
  void read_more();
  [[nodiscard]] Error farewell(const boost::system::error_code& failure) const;
  void exchanged(Result<std::vector<RedisReply>> result);

  void finish(Result<RedisReady> result);
  void drop() noexcept;

  boost::asio::io_context& io_;
  const RedisOptions& options_;
  const RedisDialOptions dial_options_;
  Done done_;  // empty once called
  boost::asio::steady_timer total_timer_;
  boost::asio::steady_timer sentinel_timer_;
  bool asks_only_ = false;
  std::size_t sentinel_ = 0;
  std::size_t sentinels_asked_ = 0;
  std::shared_ptr<RedisDial> dial_;
  RedisReady ready_;
  std::vector<Step> steps_;

  Then then_;  // of the exchange under way
  std::string out_;
  std::size_t written_ = 0;
  std::size_t expected_ = 0;
  std::vector<RedisReply> replies_;
  std::unique_ptr<RedisReader> reader_;
  std::array<char, 4096> buffer_{};
};

}  // namespace dagverk::net
