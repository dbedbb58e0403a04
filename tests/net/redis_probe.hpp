#pragma once

#include "dagverk/net/redis_client.hpp"

#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace dagverk::net {

using Reply = Result<RedisReply>;
using Replies = Result<std::vector<RedisReply>>;

/// Sends, and waits for the answer.
[[nodiscard]] inline std::future<Reply> send_to(RedisClient& client, const RedisCommand& command, RedisCall call = {}) {
  auto promise = std::make_shared<std::promise<Reply>>();
  std::future<Reply> future = promise->get_future();
  client.send(command, call, [promise](Reply reply) { promise->set_value(std::move(reply)); });
  return future;
}

template <class... Words>
[[nodiscard]] Reply ask(RedisClient& client, std::string_view name, const Words&... words) {
  return send_to(client, RedisCommand(name, words...)).get();
}

[[nodiscard]] inline std::future<Reply> send_to(RedisClient& client, const RedisScriptCall& call) {
  auto promise = std::make_shared<std::promise<Reply>>();
  std::future<Reply> future = promise->get_future();
  client.send(call, [promise](Reply reply) { promise->set_value(std::move(reply)); });
  return future;
}

[[nodiscard]] inline Replies ask(RedisClient& client, RedisBatch batch) {
  std::promise<Replies> promise;
  client.send(std::move(batch), [&](Replies replies) { promise.set_value(std::move(replies)); });
  return promise.get_future().get();
}

[[nodiscard]] inline Replies transact(RedisClient& client, RedisBatch batch) {
  std::promise<Replies> promise;
  client.transact(std::move(batch), [&](Replies replies) { promise.set_value(std::move(replies)); });
  return promise.get_future().get();
}

/// What came, for messages: the reply as it shows itself, or `CODE: message`.
[[nodiscard]] inline std::string shown(const Reply& reply) {
  if (reply) return reply->shown();
  return std::string(to_string(reply.error().code())) + ": " + std::string(reply.error().message());
}

/// Looks until it is so; false after a minute.
template <class Condition>
[[nodiscard]] bool eventually(Condition&& condition) {
  const SteadyTime end = system_clock().steady_now() + std::chrono::minutes(1);
  while (!condition()) {
    if (system_clock().steady_now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

/// The states that a client went through.
class StateLog {
 public:
  [[nodiscard]] std::function<void(const RedisStateChange&)> listener() {
    return [this](const RedisStateChange& change) {
      const std::lock_guard lock(mutex_);
      changes_.push_back(change);
      changed_.notify_all();
    };
  }

  /// Waits until `state` was reached `times` times; false after a minute.
  [[nodiscard]] bool wait_for(RedisState state, std::size_t times = 1) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), [&] {
      std::size_t count = 0;
      for (const RedisStateChange& change : changes_) count += change.state == state ? 1U : 0U;
      return count >= times;
    });
  }
  [[nodiscard]] std::vector<RedisStateChange> changes() const {
    const std::lock_guard lock(mutex_);
    return changes_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<RedisStateChange> changes_;
};

}  // namespace dagverk::net
