#pragma once

#include "dagverk/base/random.hpp"
#include "dagverk/net/redis_client.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <atomic>
#include <thread>

namespace dagverk::net {

/// The io thread, and what its clients share.
class RedisIo::Loop {
 public:
  explicit Loop(const RedisIoOptions& options);
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop();

  void run();
  [[nodiscard]] boost::asio::io_context& io() noexcept { return io_; }
  [[nodiscard]] const Clock& clock() const noexcept { return clock_; }
  [[nodiscard]] Random& random() noexcept { return random_; }  ///< the io thread's alone
  [[nodiscard]] bool is_this_thread() const noexcept { return thread_.get_id() == std::this_thread::get_id(); }

  void client_came() noexcept { clients_.fetch_add(1); }
  void client_went() noexcept { clients_.fetch_sub(1); }

 private:
  const Clock& clock_;
  Random random_;
  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::atomic<int> clients_{0};
  std::thread thread_;
};

}  // namespace dagverk::net
