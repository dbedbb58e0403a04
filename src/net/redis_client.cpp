#include "dagverk/net/redis_client.hpp"

#include "net/redis_session.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"

#include <exception>
#include <new>
#include <optional>
#include <utility>

namespace dagverk::net {

// --- the io thread ---------------------------------------------------------------------------------------------------

RedisIo::Loop::Loop(const RedisIoOptions& options)
    : clock_(options.clock != nullptr ? *options.clock : system_clock()),
      random_(options.seed != 0 ? options.seed : random_seed()),
      work_(boost::asio::make_work_guard(io_)) {}

RedisIo::Loop::~Loop() {
  DAGVERK_ASSERT(clients_.load() == 0);  // they would use what is gone
  work_.reset();
  io_.stop();
  if (thread_.joinable()) thread_.join();
}

void RedisIo::Loop::run() {
  thread_ = std::thread([this] { io_.run(); });
}

Result<std::unique_ptr<RedisIo>> RedisIo::start(RedisIoOptions options) {
  try {
    auto loop = std::make_unique<Loop>(options);
    loop->run();
    return std::unique_ptr<RedisIo>(new RedisIo(std::move(loop)));
  } catch (const std::exception& failure) {
    return Error(ErrorCode::io, concat("Redis: cannot start the io thread: ", failure.what()));
  }
}

RedisIo::RedisIo(std::unique_ptr<Loop> loop) noexcept : loop_(std::move(loop)) {}
RedisIo::~RedisIo() = default;

bool RedisIo::is_this_thread() const noexcept { return loop_->is_this_thread(); }

std::string_view to_string(RedisState state) noexcept {
  switch (state) {
    case RedisState::connecting: return "connecting";
    case RedisState::up: return "up";
    case RedisState::down: return "down";
    case RedisState::closed: return "closed";
  }
  return "unknown";
}

// --- the client ------------------------------------------------------------------------------------------------------

namespace {

[[nodiscard]] std::optional<Error> fault_of(const RedisOptions& options) {
  const auto wrong = [](std::string_view what) {
    return Error(ErrorCode::configuration, concat("Redis client: ", what));
  };
  const RedisUrl& url = options.url;
  if (url.kind == RedisUrl::Kind::unix_socket ? url.socket_path.empty() : url.addresses.empty()) {
    return wrong("url has no server; use parse_redis_url()");
  }
  if (url.kind == RedisUrl::Kind::sentinel && url.master_name.empty()) return wrong("url has no master_name");
  if (options.name.find_first_of(" \t\r\n") != std::string::npos) return wrong("name must have no blanks");
  if (options.connect_timeout <= Duration::zero()) return wrong("connect_timeout must be more than 0");
  if (options.reply_timeout <= Duration::zero()) return wrong("reply_timeout must be more than 0");
  if (options.wait_for_connection < Duration::zero()) return wrong("wait_for_connection must be 0 or more");
  if (options.reconnect_first <= Duration::zero()) return wrong("reconnect_first must be more than 0");
  if (options.reconnect_max < options.reconnect_first) return wrong("reconnect_max must not be below reconnect_first");
  if (options.dead_after < std::chrono::seconds(1)) return wrong("dead_after must be 1 s or more");
  if (options.sentinel_check < std::chrono::milliseconds(10)) return wrong("sentinel_check must be 10 ms or more");
  if (options.queued_bytes_max == 0) return wrong("queued_bytes_max must be 1 or more, got 0");
  if (options.commands_max == 0) return wrong("commands_max must be 1 or more, got 0");
  if (options.reply_bytes_max == 0 || options.reply_bytes_max > (std::size_t{1} << 40U)) {
    return wrong(concat("reply_bytes_max must be 1 to 2^40, got ", options.reply_bytes_max));
  }
  if (options.reply_items_max == 0) return wrong("reply_items_max must be 1 or more, got 0");
  return std::nullopt;
}

[[nodiscard]] RedisWaiter waiter_for(RedisClient::Done done, const RedisCall& call) {
  RedisWaiter waiter;
  waiter.done = std::move(done);
  waiter.reply_timeout = call.reply_timeout;
  return waiter;
}

[[nodiscard]] RedisWaiter waiter_for(RedisClient::BatchDone done, const RedisCall& call, std::size_t replies) {
  RedisWaiter waiter;
  waiter.more = std::make_unique<RedisWaiter::More>();
  waiter.more->done = std::move(done);
  waiter.more->replies.reserve(replies);
  waiter.reply_timeout = call.reply_timeout;
  waiter.replies = replies;
  return waiter;
}

}  // namespace

Result<std::unique_ptr<RedisClient>> RedisClient::start(RedisIo& io, RedisOptions options) {
  if (std::optional<Error> fault = fault_of(options)) return *fault;
  Result<TlsContext> tls = make_tls_context(options.url);
  if (!tls) return tls.error();
  auto session = std::make_shared<Session>(*io.loop_, std::move(options), std::move(*tls));
  io.loop_->client_came();
  session->begin();
  return std::unique_ptr<RedisClient>(new RedisClient(std::move(session)));
}

RedisClient::RedisClient(std::shared_ptr<Session> session) noexcept : session_(std::move(session)) {}

RedisClient::~RedisClient() {
  RedisIo::Loop& loop = session_->loop();
  DAGVERK_ASSERT(!loop.is_this_thread());  // it would wait for itself
  session_->stop();
  loop.client_went();
}

void RedisClient::send(const RedisCommand& command, RedisCall call, Done done) {
  session_->accept(waiter_for(std::move(done), call), command.size_bytes(),
                   [&](std::string& out) { command.encode(out); });
}

void RedisClient::send(const RedisScriptCall& script, RedisCall call, Done done) {
  RedisWaiter waiter = waiter_for(std::move(done), call);
  waiter.more = std::make_unique<RedisWaiter::More>();
  waiter.more->scripts.push_back({.index = 0, .call = script});
  session_->accept(std::move(waiter), script.size_bytes(), [&](std::string& out) { script.encode(out, false); });
}

void RedisClient::send(RedisBatch batch, RedisCall call, BatchDone done) {
  RedisWaiter waiter = waiter_for(std::move(done), call, batch.size_);
  if (batch.empty()) {
    session_->post_failure(Error(ErrorCode::invalid_argument, "Redis client: the batch is empty"), std::move(waiter));
    return;
  }
  waiter.more->scripts = std::move(batch.scripts_);
  session_->accept(std::move(waiter), batch.bytes_.size(), [&](std::string& out) { out.append(batch.bytes_); });
}

void RedisClient::transact(RedisBatch batch, RedisCall call, BatchDone done) {
  RedisWaiter waiter = waiter_for(std::move(done), call, batch.size_ + 2);
  if (batch.empty() || !batch.scripts_.empty()) {
    session_->post_failure(
        Error(ErrorCode::invalid_argument, "Redis client: the transaction is empty, or has a script: send that alone"),
        std::move(waiter));
    return;
  }
  const RedisCommand multi("MULTI");
  const RedisCommand exec("EXEC");
  waiter.more->transaction = true;
  session_->accept(std::move(waiter), batch.bytes_.size() + multi.size_bytes() + exec.size_bytes(),
                   [&](std::string& out) {
                     multi.encode(out);
                     out.append(batch.bytes_);
                     exec.encode(out);
                   });
}

void RedisClient::interrupt(RedisClient& other) { session_->interrupt(other.session_); }
void RedisClient::disconnect() { session_->disconnect(); }
RedisState RedisClient::state() const noexcept { return session_->state(); }
RedisStats RedisClient::stats() const { return session_->stats(); }

}  // namespace dagverk::net
