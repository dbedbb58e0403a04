#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/net/redis_command.hpp"
#include "dagverk/net/redis_reply.hpp"
#include "dagverk/net/redis_url.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace dagverk::net {

struct RedisIoOptions {
  const Clock* clock = nullptr;  ///< null: the system's; outlives the RedisIo
  std::uint64_t seed = 0;        ///< of the jitter; 0: drawn from the operating system
};

/// The thread that RedisClients do their input and output on. One is enough for a program: some 10^5 replies/s.
///
/// Threads:  clients may be started and destroyed from any thread but this one.
/// Lifetime: outlives its clients. The destructor waits for the thread (and for the system's resolver, while it looks
///           up a name).
class RedisIo {
 public:
  /// Errors: `io` when there can be no thread.
  [[nodiscard]] static Result<std::unique_ptr<RedisIo>> start(RedisIoOptions options = {});

  RedisIo(const RedisIo&) = delete;
  RedisIo& operator=(const RedisIo&) = delete;
  ~RedisIo();

  /// Whether the caller runs on this thread, that is, in a callback.
  [[nodiscard]] bool is_this_thread() const noexcept;

 private:
  friend class RedisClient;
  class Loop;
  explicit RedisIo(std::unique_ptr<Loop> loop) noexcept;

  std::unique_ptr<Loop> loop_;
};

enum class RedisState : std::uint8_t {
  connecting,  ///< never was up yet
  up,          ///< greeted, authenticated, and not loading
  down,        ///< was up, or could not be; it is tried again
  closed,      ///< the client ends
};
[[nodiscard]] std::string_view to_string(RedisState state) noexcept;

struct RedisStateChange {
  RedisState state = RedisState::connecting;
  std::string server = {};  ///< `host:port` or the socket's path; of a Sentinel's master, once known
  Error cause = Error(ErrorCode::unavailable);  ///< why it is down
};

struct RedisOptions {
  RedisUrl url = {};                                         ///< parse_redis_url("redis://…")
  std::string name = "dagverk";                              ///< in CLIENT LIST; no blanks
  Duration connect_timeout = std::chrono::seconds(5);        ///< one attempt, with Sentinel, TLS and greeting
  Duration reply_timeout = std::chrono::seconds(5);          ///< for a reply, once it is the next one due
  Duration wait_for_connection = std::chrono::seconds(2);    ///< of a command that cannot be sent; 0: not at all
  Duration reconnect_first = std::chrono::milliseconds(20);  ///< doubled at each failure; jitter takes up to half
  Duration reconnect_max = std::chrono::seconds(1);
  Duration dead_after = std::chrono::seconds(10);  ///< an idle peer that vanished (TCP keepalive)
  /// How often Sentinels are asked whether the master has changed, in case their telling so at once (`+switch-master`)
  /// was missed.
  Duration sentinel_check = std::chrono::seconds(3);
  std::size_t queued_bytes_max = 64 << 20;  ///< not yet written
  std::size_t commands_max = 1 << 17;       ///< sent or queued, and not yet answered; a batch is one
  std::size_t reply_bytes_max = 64 << 20;   ///< of one reply, all its strings
  std::size_t reply_items_max = 1 << 20;    ///< of one reply, all its arrays
  bool require_master = false;              ///< only a master will do; with Sentinels always
  std::vector<RedisScript> scripts = {};    ///< loaded at each connect
  /// Told of each change, on the io thread; must not block, nor throw, nor destroy the client.
  std::function<void(const RedisStateChange&)> on_state = {};
};

/// How one call differs from the client's options.
struct RedisCall {
  Duration reply_timeout = Duration::zero();  ///< 0: the option's. Of a blocking command: its own wait and some more
};

/// Figures of a client, since its start.
struct RedisStats {
  std::uint64_t commands = 0;  ///< accepted
  std::uint64_t replies = 0;
  std::uint64_t lost = 0;  ///< ended as outcome_unknown
  std::uint64_t bytes_out = 0;
  std::uint64_t bytes_in = 0;
  std::uint64_t writes = 0;  ///< system calls: commands / writes is how many share one
  std::uint64_t connects = 0;
  std::uint64_t scripts_resent = 0;  ///< NOSCRIPT
  std::size_t queued_bytes = 0;
  std::size_t under_way = 0;
};

/// One connection to a Redis server, kept up: pipelined, with TLS, Unix sockets, ACL users and Sentinels.
///
/// Semantics: commands go out in the order of `send`, many in one write, without waiting for replies; the server does
///            them in that order. When the connection breaks, it is made again after a wait with jitter, and the URL's
///            host or Sentinels are asked anew; so after READONLY, which a former master says, and when the Sentinels
///            name another master: replies under way are awaited first. What had not been handed to the system is then
///            sent; what had is never sent twice. No RESP3, no subscriptions.
///            Commands that change the connection (SELECT, MULTI, SUBSCRIBE, CLIENT REPLY …) are not for `send`.
/// Threads:   everything from any thread. Callbacks run on the RedisIo's thread, one after the other, in the order of
///            the replies; they may send, but must not block, nor throw, nor destroy a client.
/// Errors:    reach the callback. `unavailable`: was not sent, or the server did not do it now (LOADING, BUSY, …);
///            `outcome_unknown`: was sent, and the connection broke, or no reply came in time, or it was not Redis':
///            done or not; `too_large`: was sent and done, but its reply is over a limit: the connection breaks;
///            `permission`: wrong user or password, or the server's certificate is not what it should be;
///            `refused`: queued_bytes_max or commands_max; `cancelled`: the client ended before it was sent;
///            others as `redis_error` says. Everything but outcome_unknown and too_large means: not done.
/// Lifetime:  the destructor ends what is under way (`cancelled`, or `outcome_unknown` if sent), waits for callbacks.
/// Bounds:    the options'. A reply's length is looked at before its memory is taken.
class RedisClient {
 public:
  using Done = std::move_only_function<void(Result<RedisReply>)>;
  /// A reply for each command of the batch, in their order. Error replies are among them.
  using BatchDone = std::move_only_function<void(Result<std::vector<RedisReply>>)>;

  /// Begins to connect, and does not wait for it: send a PING to see.
  ///
  /// Errors: `configuration`, naming the field; `io`: a file of the TLS options cannot be read.
  [[nodiscard]] static Result<std::unique_ptr<RedisClient>> start(RedisIo& io, RedisOptions options);

  RedisClient(const RedisClient&) = delete;
  RedisClient& operator=(const RedisClient&) = delete;
  ~RedisClient();

  /// Sends a command; `done` is called exactly once, never from inside this call. An error reply is an Error.
  void send(const RedisCommand& command, Done done) { send(command, RedisCall{}, std::move(done)); }
  void send(const RedisCommand& command, RedisCall call, Done done);

  /// Runs a script by its SHA-1. A server that does not know it (NOSCRIPT) is sent the text, once; that call then comes
  /// after what was sent meanwhile. An error reply is an Error.
  void send(const RedisScriptCall& script, Done done) { send(script, RedisCall{}, std::move(done)); }
  void send(const RedisScriptCall& script, RedisCall call, Done done);

  /// Sends a batch: nothing comes between its commands on this connection; others' commands may, on the server.
  /// Scripts that the server does not know are sent again with their text, after the batch.
  /// Errors: one for all, when there is not a reply for each; `invalid_argument` for an empty batch.
  void send(RedisBatch batch, BatchDone done) { send(std::move(batch), RedisCall{}, std::move(done)); }
  void send(RedisBatch batch, RedisCall call, BatchDone done);

  /// Sends a batch inside MULTI and EXEC: all or nothing, nothing in between. The replies are EXEC's.
  /// Errors: what the server said to the first command it would not queue: nothing was done then; `invalid_argument`
  ///         for an empty batch or one with scripts.
  void transact(RedisBatch batch, BatchDone done) { transact(std::move(batch), RedisCall{}, std::move(done)); }
  void transact(RedisBatch batch, RedisCall call, BatchDone done);

  /// Ends the blocking command (BLMOVE, BRPOP …) that this client waits for, losing nothing: CLIENT UNBLOCK, sent by
  /// `other`, lets it answer nil at once, unless it has just got something. A client that blocks should have nothing
  /// else under way. What is queued and not sent ends with `cancelled`. Where the server forbids CLIENT UNBLOCK: as
  /// `disconnect`. Without a command under way: nothing. `other` is a client of the same server and RedisIo.
  void interrupt(RedisClient& other);

  /// Breaks the connection: what was sent ends with `outcome_unknown`. It is made again.
  void disconnect();

  [[nodiscard]] RedisState state() const noexcept;
  [[nodiscard]] RedisStats stats() const;

 private:
  friend class RedisIo;
  class Session;
  explicit RedisClient(std::shared_ptr<Session> session) noexcept;

  std::shared_ptr<Session> session_;  // shared with its operations on the io thread, which end with it
};

}  // namespace dagverk::net
