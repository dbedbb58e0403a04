#include "net/redis_session.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>

namespace dagverk::net {

namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr std::size_t piece_max = 256 << 10;   // of a write: what is beyond it was surely not sent when one fails
constexpr std::size_t slice_max = 16 << 10;    // fed to the reader at once: it moves what it has not used
constexpr std::size_t capacity_max = 1 << 20;  // kept by an empty write buffer

[[nodiscard]] std::string in_words(Duration time) {
  return concat(std::chrono::duration_cast<std::chrono::milliseconds>(time).count(), " ms");
}

[[nodiscard]] bool says_read_only(std::string_view error) noexcept {
  return error.starts_with("READONLY") || error.find(": -READONLY ") != std::string_view::npos;
}

[[nodiscard]] bool is_noscript(const RedisReply& reply) noexcept {
  return reply.is_error() && reply.text().starts_with("NOSCRIPT");
}

}  // namespace

void RedisWaiter::fail(const Error& error) {
  if (more != nullptr && more->done) {
    more->done(error);
  } else {
    done(error);
  }
}

void RedisClient::Session::Queue::append(Queue&& other) {
  if (waiters.empty()) {
    std::swap(bytes, other.bytes);
    std::swap(waiters, other.waiters);
  } else {
    bytes.append(other.bytes);
    std::move(other.waiters.begin(), other.waiters.end(), std::back_inserter(waiters));
  }
  other.bytes.clear();
  other.waiters.clear();
}

RedisClient::Session::Session(RedisIo::Loop& loop, RedisOptions options, TlsContext tls)
    : loop_(loop),
      options_(std::move(options)),
      tls_(std::move(tls)),
      retry_timer_(loop.io()),
      check_timer_(loop.io()),
      tick_timer_(loop.io()),
      unblock_timer_(loop.io()) {}

// --- from any thread -------------------------------------------------------------------------------------------------

void RedisClient::Session::begin() {
  asio::post(loop_.io(), [self = shared_from_this()] { self->attempt(); });
}

std::optional<Error> RedisClient::Session::refusal_of(std::size_t size_bytes) const {
  if (closed_) return Error(ErrorCode::cancelled, "the Redis client ends");
  if (under_way_.load() >= options_.commands_max) {
    return Error(ErrorCode::refused, concat("the Redis client has ", options_.commands_max, " commands under way"));
  }
  if (queued_bytes_.load() + size_bytes > options_.queued_bytes_max) {
    return Error(ErrorCode::refused, concat("the Redis client has no room for ", size_bytes, " bytes: its bound is ",
                                            options_.queued_bytes_max));
  }
  return std::nullopt;
}

void RedisClient::Session::post_failure(Error error, RedisWaiter waiter) {
  posted_.fetch_add(1);
  asio::post(loop_.io(), [self = shared_from_this(), error = std::move(error), waiter = std::move(waiter)]() mutable {
    waiter.fail(error);
    self->posted_.fetch_sub(1);
  });
}

void RedisClient::Session::stop() {
  {
    const MutexLock lock(mutex_);
    closed_ = true;
  }
  std::promise<void> ended;
  std::future<void> wait = ended.get_future();
  asio::post(loop_.io(), [self = shared_from_this(), &ended] {
    self->stopping_ = true;
    self->retry_timer_.cancel();
    self->tick_timer_.cancel();
    self->unblock_timer_.cancel();
    if (self->attempt_ != nullptr) std::exchange(self->attempt_, nullptr)->cancel();
    if (self->watch_ != nullptr) std::exchange(self->watch_, nullptr)->cancel();
    const Error why(ErrorCode::cancelled, "the Redis client ends");
    if (self->link_ != nullptr) self->break_off(why);
    self->fail_queue(why);
    self->set_state(RedisState::closed, why);
    self->end(ended);
  });
  wait.wait();
}

/// Waits, turn by turn of the loop, for the callbacks of what was refused meanwhile.
void RedisClient::Session::end(std::promise<void>& ended) {
  if (posted_.load() > 0) {
    asio::post(loop_.io(), [self = shared_from_this(), &ended] { self->end(ended); });
  } else {
    ended.set_value();
  }
}

void RedisClient::Session::disconnect() {
  asio::post(loop_.io(), [self = shared_from_this()] {
    if (self->link_ != nullptr) self->break_off(Error(ErrorCode::unavailable, "the connection was given up"));
  });
}

RedisStats RedisClient::Session::stats() const {
  RedisStats stats;
  {
    const MutexLock lock(mutex_);
    stats.commands = commands_;
  }
  stats.replies = replies_.load();
  stats.lost = lost_.load();
  stats.bytes_out = bytes_out_.load();
  stats.bytes_in = bytes_in_.load();
  stats.writes = writes_.load();
  stats.connects = connects_.load();
  stats.scripts_resent = resent_.load();
  stats.queued_bytes = queued_bytes_.load();
  stats.under_way = under_way_.load();
  return stats;
}

// --- connecting ------------------------------------------------------------------------------------------------------

void RedisClient::Session::attempt() {
  if (stopping_) return;
  attempt_ = std::make_shared<RedisAttempt>(
      loop_.io(), options_, tls_,
      [self = shared_from_this()](Result<RedisReady> ready) { self->attempted(std::move(ready)); });
  attempt_->begin(sentinel_);
}

void RedisClient::Session::attempted(Result<RedisReady> ready) {
  sentinel_ = attempt_->sentinel();
  attempt_ = nullptr;
  if (!ready) {
    set_state(RedisState::down, ready.error());
    try_again_later(ready.error());
    return;
  }
  server_ = ready->server;
  link_ = std::make_shared<Link>(std::move(*ready), options_.reply_bytes_max, options_.reply_items_max);
  up_since_ = loop_.clock().steady_now();
  connects_.fetch_add(1);
  set_state(RedisState::up, last_error_);
  watch_sentinel();
  check_later();
  read();
  write();
}

/// A former master goes on for a while, and what it is told is lost: so the Sentinels are asked who it is now.
void RedisClient::Session::check_later() {
  if (options_.url.kind != RedisUrl::Kind::sentinel || stopping_) return;
  const auto most = static_cast<std::uint64_t>(options_.sentinel_check.count());
  check_timer_.expires_after(Duration(most - loop_.random().below(most / 4 + 1)));
  check_timer_.async_wait([self = shared_from_this()](error_code failure) {
    if (!failure && self->link_ != nullptr && !self->stopping_) self->check_now();
  });
}

void RedisClient::Session::check_now() {
  check_timer_.cancel();
  if (check_ != nullptr) std::exchange(check_, nullptr)->cancel();
  check_ = std::make_shared<RedisAttempt>(
      loop_.io(), options_, tls_,
      [self = shared_from_this()](const Result<RedisReady>& master) { self->checked(master); });
  check_->begin_asking(sentinel_);
}

/// The Sentinel that answered last tells of a failover in the moment it happens; asking is for when that is missed.
void RedisClient::Session::watch_sentinel() {
  if (options_.url.kind != RedisUrl::Kind::sentinel || stopping_ || (watch_ != nullptr && watch_->alive())) return;
  watch_ = std::make_shared<RedisSentinelWatch>(loop_.io(), options_, tls_,
                                                [self = shared_from_this()] { self->master_switched(); });
  watch_->begin(options_.url.addresses[sentinel_]);
}

void RedisClient::Session::master_switched() {
  if (stopping_) return;
  if (link_ != nullptr) {
    check_now();
  } else if (attempt_ == nullptr) {  // it waits before it tries again: no more
    retry_timer_.cancel();
    attempt();
  }
}

void RedisClient::Session::checked(const Result<RedisReady>& master) {
  sentinel_ = check_->sentinel();
  check_ = nullptr;
  if (master && master->server != server_) leaving_ = true;
  leave_if_drained();
  watch_sentinel();
  if (link_ != nullptr) check_later();
}

void RedisClient::Session::try_again_later(const Error& cause) {
  if (stopping_) return;
  last_error_ = cause;
  Duration base = options_.reconnect_first;
  for (unsigned doubled = 0; doubled < failures_ && base < options_.reconnect_max; ++doubled) base *= 2;
  base = std::min(base, options_.reconnect_max);
  ++failures_;
  const auto half = static_cast<std::uint64_t>(base.count()) / 2;
  retry_timer_.expires_after(Duration(half + loop_.random().below(half + 1)));
  retry_timer_.async_wait([self = shared_from_this()](error_code failure) {
    if (!failure) self->attempt();
  });
  // Nobody should wait for a password to become right.
  if (cause.code() == ErrorCode::permission || cause.code() == ErrorCode::configuration) fail_queue(cause);
  look();
}

void RedisClient::Session::set_state(RedisState state, const Error& cause) {
  if (state_.exchange(state) == state || !options_.on_state) return;
  options_.on_state({.state = state, .server = server_, .cause = cause});
}

// --- while up --------------------------------------------------------------------------------------------------------

void RedisClient::Session::read() {
  link_->ready.transport->read_some(
      asio::buffer(link_->buffer), [self = shared_from_this(), link = link_](error_code failure, std::size_t size) {
        if (link != self->link_) return;
        if (!failure) {
          self->received(link, size);
        } else if (failure.category() == asio::error::get_ssl_category()) {
          self->break_off(tls_error(self->server_, failure));
        } else {
          self->break_off(Error(ErrorCode::unavailable, concat("the connection is closed: ", failure.message())));
        }
      });
}

void RedisClient::Session::received(const std::shared_ptr<Link>& link, std::size_t size) {
  bytes_in_.fetch_add(size);
  const std::string_view bytes(link->buffer.data(), size);
  for (std::size_t at = 0; at < bytes.size(); at += slice_max) {
    link->reader.feed(bytes.substr(at, slice_max));
    for (;;) {
      Result<std::optional<RedisReply>> reply = link->reader.next();
      if (reply && !*reply) break;
      if (reply && sent_.empty()) {
        break_off(Error(ErrorCode::unavailable, concat("it spoke unasked: ", (*reply)->shown())));
        return;
      }
      if (!reply) {
        if (reply.error().code() == ErrorCode::too_large && !sent_.empty()) fail_head(reply.error());
        break_off(reply.error());
        return;
      }
      take_reply(std::move(**reply));
    }
  }
  leave_if_drained();
  if (link != link_) return;
  if (link->piece == 0 && !queue_.empty()) write();
  arm();
  read();
}

void RedisClient::Session::write() {
  if (link_ == nullptr || leaving_) {
    look();
    return;
  }
  DAGVERK_ASSERT(link_->piece == 0);
  take_inbox(true);
  if (queue_.empty()) return;
  if (link_->writing.capacity() > capacity_max) link_->writing = std::string();
  link_->writing.clear();
  std::swap(link_->writing, queue_.bytes);
  link_->written = 0;
  if (sent_.empty()) {
    head_since_ = loop_.clock().steady_coarse();
    std::swap(sent_, queue_.waiters);
  } else {
    std::move(queue_.waiters.begin(), queue_.waiters.end(), std::back_inserter(sent_));
    queue_.waiters.clear();
  }
  write_piece();
  arm();
}

void RedisClient::Session::write_piece() {
  link_->piece = std::min(piece_max, link_->writing.size() - link_->written);
  writes_.fetch_add(1);
  link_->ready.transport->write_some(
      asio::buffer(link_->writing.data() + link_->written, link_->piece),
      [self = shared_from_this(), link = link_](error_code failure, std::size_t size) {
        if (link != self->link_) return;
        if (failure) {
          self->break_off(Error(ErrorCode::unavailable, concat("the connection is closed: ", failure.message())));
          return;
        }
        link->written += size;
        link->piece = 0;
        self->queued_bytes_.fetch_sub(size);
        self->bytes_out_.fetch_add(size);
        if (link->written < link->writing.size()) {
          self->write_piece();
        } else {
          self->write();
        }
      });
}

void RedisClient::Session::leave_if_drained() {
  if (!leaving_ || link_ == nullptr || !sent_.empty()) return;
  break_off(Error(ErrorCode::unavailable, "it is not the master any more"));
}

/// Ends the connection: what may have been sent is lost, the rest waits for the next one.
void RedisClient::Session::break_off(const Error& cause) {
  const std::shared_ptr<Link> link = std::exchange(link_, nullptr);
  link->ready.transport->close();
  put_back_unsent(*link);
  std::deque<RedisWaiter> lost = std::exchange(sent_, {});
  lost_.fetch_add(lost.size());
  leaving_ = false;
  check_timer_.cancel();
  if (check_ != nullptr) std::exchange(check_, nullptr)->cancel();
  if (loop_.clock().steady_now() - up_since_ > 2 * options_.reconnect_max) failures_ = 0;  // else it comes and goes
  const Error why = cause.with(server_);
  set_state(RedisState::down, why);
  fail_all(std::move(lost), Error(ErrorCode::outcome_unknown, concat("the reply is lost: ", why.message())));
  try_again_later(why);
}

// --- queues ----------------------------------------------------------------------------------------------------------

/// Looks into the inbox: sends what is there, or has it wait.
void RedisClient::Session::look() {
  if (link_ != nullptr && !leaving_) {
    if (link_->piece == 0) write();  // else the end of the write under way looks
    return;
  }
  take_inbox(false);
  if (stopping_) {
    fail_queue(Error(ErrorCode::cancelled, "the Redis client ends"));
  } else {
    expire_queue();
    arm();
  }
}

void RedisClient::Session::take_inbox(bool stay_awake) {
  const MutexLock lock(mutex_);
  awake_ = stay_awake && !inbox_.empty();
  if (!inbox_.empty()) queue_.append(std::move(inbox_));
}

void RedisClient::Session::put_back_unsent(const Link& link) {
  const std::size_t unsure_end = link.written + link.piece;
  std::size_t begin = link.writing.size();
  const SteadyTime now = loop_.clock().steady_coarse();
  while (!sent_.empty() && begin >= unsure_end + sent_.back().size_bytes) {
    RedisWaiter waiter = std::move(sent_.back());
    sent_.pop_back();
    begin -= waiter.size_bytes;
    waiter.since = now;
    queue_.waiters.push_front(std::move(waiter));
  }
  queued_bytes_.fetch_sub(begin - link.written);
  queue_.bytes.insert(0, link.writing, begin);
}

/// Fails the first ones of the queue, up to the first that does not end.
template <class Ends>
void RedisClient::Session::end_front(const Ends& ends, const Error& error) {
  std::deque<RedisWaiter> ended;
  std::size_t bytes = 0;
  while (!queue_.empty() && ends(queue_.waiters.front())) {
    bytes += queue_.waiters.front().size_bytes;
    ended.push_back(std::move(queue_.waiters.front()));
    queue_.waiters.pop_front();
  }
  if (ended.empty()) return;
  queue_.bytes.erase(0, bytes);
  queued_bytes_.fetch_sub(bytes);
  fail_all(std::move(ended), error);
}

void RedisClient::Session::expire_queue() {
  if (link_ != nullptr || queue_.empty()) return;
  const SteadyTime latest = loop_.clock().steady_now() - options_.wait_for_connection;
  if (queue_.waiters.front().since > latest) return;
  end_front([&](const RedisWaiter& waiter) { return waiter.since <= latest; },
            Error(ErrorCode::unavailable, concat("not connected within ", in_words(options_.wait_for_connection), ": ",
                                                 last_error_.message())));
}

void RedisClient::Session::fail_queue(const Error& error) {
  take_inbox(false);
  queued_bytes_.fetch_sub(queue_.bytes.size());
  queue_.bytes.clear();
  fail_all(std::exchange(queue_.waiters, {}), error);
}

void RedisClient::Session::fail_all(std::deque<RedisWaiter> waiters, const Error& error) {
  under_way_.fetch_sub(waiters.size());
  for (RedisWaiter& waiter : waiters) waiter.fail(error);
}

/// Sees to it that `tick` runs when the next thing is due to be given up.
void RedisClient::Session::arm() {
  std::optional<SteadyTime> due;
  if (link_ != nullptr && !sent_.empty()) due = head_since_ + sent_.front().reply_timeout;
  if (link_ == nullptr && !queue_.empty()) due = queue_.waiters.front().since + options_.wait_for_connection;
  if (stopping_ || !due || (tick_at_ && *tick_at_ <= *due)) return;
  tick_at_ = due;
  tick_timer_.expires_after(std::max(Duration::zero(), *due - loop_.clock().steady_now()));
  tick_timer_.async_wait([self = shared_from_this()](error_code failure) {
    if (!failure) self->tick();
  });
}

void RedisClient::Session::tick() {
  tick_at_.reset();
  const SteadyTime now = loop_.clock().steady_now();
  if (link_ != nullptr && !sent_.empty() && head_since_ + sent_.front().reply_timeout <= now) {
    break_off(Error(ErrorCode::unavailable, concat("did not answer within ", in_words(sent_.front().reply_timeout))));
  }
  expire_queue();
  arm();
}

// --- replies ---------------------------------------------------------------------------------------------------------

void RedisClient::Session::take_reply(RedisReply reply) {
  RedisWaiter& head = sent_.front();
  if (reply.is_error() && says_read_only(reply.text())) leaving_ = true;
  replies_.fetch_add(1, std::memory_order_relaxed);  // a figure: orders nothing
  --head.replies;
  if (head.more == nullptr || !head.more->done) {
    finish_one(take_head(), std::move(reply));
    return;
  }
  RedisWaiter::More& more = *head.more;
  if (more.slots.empty()) {
    more.replies.push_back(std::move(reply));
  } else {
    more.replies[more.slots[more.slots.size() - 1 - head.replies]] = std::move(reply);
  }
  if (head.replies > 0) return;
  if (more.transaction) {
    finish_transaction(take_head());
  } else {
    finish_batch(take_head());
  }
}

RedisWaiter RedisClient::Session::take_head() {
  RedisWaiter head = std::move(sent_.front());
  sent_.pop_front();
  head_since_ = loop_.clock().steady_coarse();
  return head;
}

void RedisClient::Session::finish_one(RedisWaiter waiter, RedisReply reply) {
  if (waiter.more != nullptr && is_noscript(reply)) {
    const std::vector<RedisNumberedScript> scripts = std::move(waiter.more->scripts);
    waiter.more.reset();
    send_again(std::move(waiter), scripts);
    return;
  }
  under_way_.fetch_sub(1);
  if (reply.is_error()) {
    waiter.done(redis_error(reply.text()));
  } else {
    waiter.done(std::move(reply));
  }
}

void RedisClient::Session::finish_batch(RedisWaiter waiter) {
  RedisWaiter::More& more = *waiter.more;
  std::vector<RedisNumberedScript> unknown;
  more.slots.clear();
  for (RedisNumberedScript& script : more.scripts) {
    if (!is_noscript(more.replies[script.index])) continue;
    more.slots.push_back(script.index);
    unknown.push_back(std::move(script));
  }
  more.scripts.clear();
  if (!unknown.empty()) {
    send_again(std::move(waiter), unknown);
    return;
  }
  under_way_.fetch_sub(1);
  more.done(std::move(more.replies));
}

void RedisClient::Session::finish_transaction(RedisWaiter waiter) {
  RedisWaiter::More& more = *waiter.more;
  under_way_.fetch_sub(1);
  // MULTI and what was to be queued answer first: the first that was not explains why EXEC did nothing.
  for (const RedisReply& reply : more.replies) {
    if (!reply.is_error()) continue;
    more.done(redis_error(reply.text()));
    return;
  }
  if (more.replies.back().kind() != RedisReply::Kind::array) {
    more.done(Error(ErrorCode::refused, concat("Redis: EXEC answered ", more.replies.back().shown())));
    return;
  }
  more.done(more.replies.back().take_items());
}

/// Puts the scripts into the queue once more, with their texts; the waiter waits on.
void RedisClient::Session::send_again(RedisWaiter waiter, const std::vector<RedisNumberedScript>& scripts) {
  const std::size_t before = queue_.bytes.size();
  for (const RedisNumberedScript& script : scripts) script.call.encode(queue_.bytes, true);
  resent_.fetch_add(scripts.size());
  waiter.size_bytes = queue_.bytes.size() - before;
  waiter.replies = scripts.size();
  waiter.since = loop_.clock().steady_coarse();
  queued_bytes_.fetch_add(waiter.size_bytes);
  queue_.waiters.push_back(std::move(waiter));
}

void RedisClient::Session::fail_head(const Error& error) {
  RedisWaiter head = take_head();
  under_way_.fetch_sub(1);
  head.fail(error.with(server_));
}

// --- blocking commands -----------------------------------------------------------------------------------------------

void RedisClient::Session::interrupt(std::shared_ptr<Session> other) {
  DAGVERK_ASSERT(&other->loop_ == &loop_);
  DAGVERK_ASSERT(other.get() != this);  // what it sent would wait behind the call that it is to end
  std::uint64_t last = 0;               // what is sent after this call is not meant
  {
    const MutexLock lock(mutex_);
    last = commands_;
  }
  asio::post(loop_.io(), [self = shared_from_this(), other = std::move(other), last] {
    self->take_inbox(false);
    self->end_front([&](const RedisWaiter& waiter) { return waiter.number <= last; },
                    Error(ErrorCode::cancelled, "the call was interrupted before it was sent"));
    self->look();
    self->unblock(other, last);
  });
}

/// Ends the first call that is under way, if its number is not beyond `last`.
void RedisClient::Session::unblock(const std::shared_ptr<Session>& other, std::uint64_t last) {
  if (stopping_ || link_ == nullptr || sent_.empty() || sent_.front().number > last) return;
  if (link_->ready.client_id == 0) {
    break_off(Error(ErrorCode::unavailable, "interrupted"));
    return;
  }
  const RedisCommand command("CLIENT", "UNBLOCK", link_->ready.client_id);
  RedisWaiter waiter;
  waiter.done = [self = shared_from_this(), other, last](Result<RedisReply> reply) {
    if (reply && reply->integer_or(0) == 1) return;
    // 0: it does not block yet. No reply: `other` has lost its connection.
    const bool forbidden = !reply && reply.error().code() != ErrorCode::unavailable &&
                           reply.error().code() != ErrorCode::outcome_unknown &&
                           reply.error().code() != ErrorCode::refused;
    if (!forbidden) {
      self->unblock_later(other, last, reply ? std::chrono::milliseconds(2) : std::chrono::milliseconds(20));
    } else if (self->link_ != nullptr && !self->sent_.empty() && self->sent_.front().number <= last) {
      self->break_off(Error(ErrorCode::unavailable, "interrupted"));
    }
  };
  other->accept(std::move(waiter), command.size_bytes(), [&](std::string& out) { command.encode(out); });
}

void RedisClient::Session::unblock_later(const std::shared_ptr<Session>& other, std::uint64_t last, Duration wait) {
  unblock_timer_.expires_after(wait);
  unblock_timer_.async_wait([self = shared_from_this(), other, last](error_code failure) {
    if (!failure) self->unblock(other, last);
  });
}

}  // namespace dagverk::net
