#pragma once

#include "conformance/sqlite_world.hpp"
#include "conformance/store_world.hpp"
#include "support/redis_server.hpp"

#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stores/redis/redis_store.hpp"

#include <future>

namespace dagverk::conformance {

/// The server that all tests of a program share: each world begins with an empty one.
inline RedisServer& shared_redis_server() {
  static RedisServer server;
  return server;
}

/// Redis stores on one real server and one runtime, with a clock moved by hand in place of the server's.
class RedisWorld final : public StoreWorld {
 public:
  RedisWorld() : io_(net::RedisIo::start().value()) {
    net::RedisOptions options;
    options.url = net::parse_redis_url(shared_redis_server().url()).value();
    client_ = net::RedisClient::start(*io_, std::move(options)).value();
    static_cast<void>(ask(net::RedisCommand("FLUSHALL")));
  }

  std::unique_ptr<StoreSession> open(StoreLimits limits) override {
    stores::RedisStoreOptions options;
    options.journal = limits.journal;
    options.journal_rows_limit = limits.journal_rows_limit;
    options.journal_age_limit = limits.journal_age_limit;
    options.dead_count_limit = limits.dead_count_limit;
    options.dead_age_limit = limits.dead_age_limit;
    options.clock = &clock_;
    options.io = io_.get();
    options.poll_interval = std::chrono::milliseconds(50);
    return std::make_unique<StoreSession>(
        runtime_, stores::open_redis_store(runtime_, shared_redis_server().url(), std::move(options)).value());
  }
  using StoreWorld::open;
  void advance(Duration by) override { clock_.advance(by); }
  [[nodiscard]] WallTime now() const override { return clock_.wall_now(); }
  [[nodiscard]] Duration lease() const override { return stores::RedisStoreOptions().lease; }

  /// What the server says to a command of anybody's.
  net::RedisReply ask(const net::RedisCommand& command) {
    std::promise<Result<net::RedisReply>> said;
    client_->send(command, [&said](Result<net::RedisReply> reply) { said.set_value(std::move(reply)); });
    return said.get_future().get().value();
  }
  [[nodiscard]] Runtime& runtime() noexcept { return runtime_; }
  [[nodiscard]] HandClock& clock() noexcept { return clock_; }
  [[nodiscard]] net::RedisIo& io() noexcept { return *io_; }

 private:
  HandClock clock_;
  std::unique_ptr<net::RedisIo> io_;
  std::unique_ptr<net::RedisClient> client_;
  Runtime runtime_{RuntimeOptions{.workers = 2}};
};

}  // namespace dagverk::conformance
