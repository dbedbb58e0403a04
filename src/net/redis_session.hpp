#pragma once

#include "net/redis_attempt.hpp"
#include "net/redis_loop.hpp"
#include "net/redis_reader.hpp"
#include "net/redis_transport.hpp"
#include "net/redis_watch.hpp"

#include "dagverk/base/mutex.hpp"
#include "dagverk/net/redis_client.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::net {

/// One call under way: a command, a script, a batch or a transaction, and who waits for it.
struct RedisWaiter {
  /// What only a few calls need.
  struct More {
    RedisClient::BatchDone done = {};               ///< instead of the waiter's, for batches
    std::vector<RedisReply> replies = {};           ///< of a batch, so far
    std::vector<std::size_t> slots = {};            ///< where the replies go; empty: one after the other
    std::vector<RedisNumberedScript> scripts = {};  ///< that may have to be sent again; a lone call's has index 0
    bool transaction = false;
  };

  RedisClient::Done done = {};
  std::unique_ptr<More> more = {};
  std::uint64_t number = 0;  ///< of the call, counted from 1
  SteadyTime since = {};     ///< accepted, or put back
  Duration reply_timeout = Duration::zero();
  std::size_t size_bytes = 0;
  std::size_t replies = 1;  ///< still to come

  void fail(const Error& error);
};

/// The client's life on the io thread, and the queue into it.
///
/// What was accepted goes through three places: `inbox_` (any thread, under the mutex), `queue_` (not yet handed to the
/// system), `sent_` (in the order of the replies). Bytes go along: `Queue::bytes` holds just those of its waiters.
class RedisClient::Session : public std::enable_shared_from_this<Session> {
 public:
  Session(RedisIo::Loop& loop, RedisOptions options, TlsContext tls);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() = default;

  // From any thread.
  void begin();
  void stop();
  /// Queues a call of about `size_bytes`; `encode` appends its bytes.
  template <class Encode>
  void accept(RedisWaiter waiter, std::size_t size_bytes, const Encode& encode);
  void interrupt(std::shared_ptr<Session> other);
  void disconnect();
  [[nodiscard]] RedisState state() const noexcept { return state_.load(); }
  [[nodiscard]] RedisStats stats() const;
  [[nodiscard]] const RedisOptions& options() const noexcept { return options_; }
  [[nodiscard]] RedisIo::Loop& loop() noexcept { return loop_; }
  void post_failure(Error error, RedisWaiter waiter);

 private:
  struct Queue {
    std::string bytes;
    std::deque<RedisWaiter> waiters;

    [[nodiscard]] bool empty() const noexcept { return waiters.empty(); }
    void append(Queue&& other);
  };
  /// One connection while it is up. Operations under way keep it, and see that it is not the session's any more.
  struct Link {
    Link(RedisReady made, std::size_t bytes_max, std::size_t items_max)
        : ready(std::move(made)), reader(bytes_max, items_max) {}

    RedisReady ready;
    RedisReader reader;
    std::string writing;      // handed over piece by piece
    std::size_t written = 0;  // of `writing`
    std::size_t piece = 0;    // being handed over; 0: no write is under way
    std::array<char, 65536> buffer{};
  };

  template <class Encode>
  [[nodiscard]] std::optional<Error> put_into_inbox(RedisWaiter& waiter, std::size_t size_bytes, const Encode& encode,
                                                    bool& wake);
  [[nodiscard]] std::optional<Error> refusal_of(std::size_t size_bytes) const DAGVERK_REQUIRES(mutex_);
  void end(std::promise<void>& ended);

  // connecting
  void attempt();
  void attempted(Result<RedisReady> ready);
  void try_again_later(const Error& cause);
  void check_later();
  void check_now();
  void watch_sentinel();
  void master_switched();
  void checked(const Result<RedisReady>& master);
  void set_state(RedisState state, const Error& cause);

  // while up
  void read();
  void received(const std::shared_ptr<Link>& link, std::size_t size);
  void write();
  void write_piece();
  void break_off(const Error& cause);
  void leave_if_drained();

  // queues
  void look();
  void take_inbox(bool stay_awake);
  void put_back_unsent(const Link& link);
  void expire_queue();
  template <class Ends>
  void end_front(const Ends& ends, const Error& error);
  void fail_queue(const Error& error);
  void fail_all(std::deque<RedisWaiter> waiters, const Error& error);
  void arm();
  void tick();

  // replies
  void take_reply(RedisReply reply);
  [[nodiscard]] RedisWaiter take_head();
  void finish_one(RedisWaiter waiter, RedisReply reply);
  void finish_batch(RedisWaiter waiter);
  void finish_transaction(RedisWaiter waiter);
  void send_again(RedisWaiter waiter, const std::vector<RedisNumberedScript>& scripts);
  void fail_head(const Error& error);

  void unblock(const std::shared_ptr<Session>& other, std::uint64_t last);
  void unblock_later(const std::shared_ptr<Session>& other, std::uint64_t last, Duration wait);

  RedisIo::Loop& loop_;
  const RedisOptions options_;
  const TlsContext tls_;

  mutable Mutex mutex_;
  Queue inbox_ DAGVERK_GUARDED_BY(mutex_);
  bool awake_ DAGVERK_GUARDED_BY(mutex_) = false;  // the io thread will look into the inbox
  bool closed_ DAGVERK_GUARDED_BY(mutex_) = false;
  std::uint64_t commands_ DAGVERK_GUARDED_BY(mutex_) = 0;
  std::atomic<std::size_t> under_way_{0};
  std::atomic<std::size_t> queued_bytes_{0};  // in the inbox, the queue, and the rest of what is being written
  std::atomic<std::size_t> posted_{0};        // failures on their way to their callbacks
  std::atomic<RedisState> state_{RedisState::connecting};
  std::atomic<std::uint64_t> replies_{0}, lost_{0}, bytes_out_{0}, bytes_in_{0}, writes_{0}, connects_{0}, resent_{0};

  // The io thread's alone.
  Queue queue_;
  std::deque<RedisWaiter> sent_;
  std::shared_ptr<Link> link_;
  std::shared_ptr<RedisAttempt> attempt_;
  std::shared_ptr<RedisAttempt> check_;  // asks the Sentinels
  std::shared_ptr<RedisSentinelWatch> watch_;
  boost::asio::steady_timer retry_timer_;
  boost::asio::steady_timer check_timer_;
  boost::asio::steady_timer tick_timer_;
  boost::asio::steady_timer unblock_timer_;
  std::optional<SteadyTime> tick_at_;
  SteadyTime up_since_{};
  bool stopping_ = false;
  bool leaving_ = false;     // it is not the master any more: go as soon as nothing is under way
  SteadyTime head_since_{};  // when the reply to sent_.front() became the next one due
  unsigned failures_ = 0;    // in a row
  std::size_t sentinel_ = 0;
  std::string server_;
  Error last_error_{ErrorCode::unavailable};
};

template <class Encode>
void RedisClient::Session::accept(RedisWaiter waiter, std::size_t size_bytes, const Encode& encode) {
  waiter.since = loop_.clock().steady_coarse();
  if (waiter.reply_timeout <= Duration::zero()) waiter.reply_timeout = options_.reply_timeout;
  bool wake = false;
  if (std::optional<Error> refusal = put_into_inbox(waiter, size_bytes, encode, wake)) {
    post_failure(std::move(*refusal), std::move(waiter));
  } else if (wake) {
    boost::asio::post(loop_.io(), [self = shared_from_this()] { self->look(); });
  }
}

/// Takes the waiter, unless there is a refusal.
template <class Encode>
std::optional<Error> RedisClient::Session::put_into_inbox(RedisWaiter& waiter, std::size_t size_bytes,
                                                          const Encode& encode, bool& wake) {
  const MutexLock lock(mutex_);
  if (std::optional<Error> refusal = refusal_of(size_bytes)) return refusal;
  const std::size_t before = inbox_.bytes.size();
  encode(inbox_.bytes);
  waiter.size_bytes = inbox_.bytes.size() - before;
  queued_bytes_.fetch_add(waiter.size_bytes);
  under_way_.fetch_add(1);
  waiter.number = ++commands_;
  inbox_.waiters.push_back(std::move(waiter));
  wake = !std::exchange(awake_, true);
  return std::nullopt;
}

}  // namespace dagverk::net
