#include "net/redis_watch.hpp"

#include "net/redis_attempt.hpp"

#include "dagverk/base/concat.hpp"

#include <utility>

namespace dagverk::net {

namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr std::size_t message_bytes_max = 1 << 16;
constexpr std::size_t message_items_max = 64;

}  // namespace

RedisSentinelWatch::RedisSentinelWatch(asio::io_context& io, const RedisOptions& options, TlsContext tls,
                                       std::function<void()> switched)
    : io_(io),
      options_(options),
      dial_options_{.dead_after = options.dead_after, .tls = std::move(tls), .tls_options = options.url.tls_options},
      switched_(std::move(switched)),
      reader_(message_bytes_max, message_items_max) {}

void RedisSentinelWatch::begin(const RedisAddress& sentinel) {
  dial_ = dial_tcp(io_, sentinel, dial_options_, [self = shared_from_this()](auto transport) {
    self->dial_ = nullptr;
    if (!transport) {
      self->alive_ = false;
      return;
    }
    self->transport_ = std::move(*transport);
    self->subscribe();
  });
}

void RedisSentinelWatch::cancel() noexcept {
  alive_ = false;
  switched_ = nullptr;
  if (dial_ != nullptr) std::exchange(dial_, nullptr)->cancel();
  if (transport_ != nullptr) std::exchange(transport_, nullptr)->close();
}

void RedisSentinelWatch::subscribe() {
  const RedisUrl& url = options_.url;
  if (!url.sentinel_password.empty()) auth_with(url.sentinel_user, url.sentinel_password).encode(out_);
  RedisCommand("SUBSCRIBE", "+switch-master").encode(out_);
  write_rest();
  read_more();
}

void RedisSentinelWatch::write_rest() {
  transport_->write_some(asio::buffer(out_.data() + written_, out_.size() - written_),
                         [self = shared_from_this(), transport = transport_](error_code failure, std::size_t size) {
                           if (failure || transport != self->transport_) return;  // the reading end finds it
                           self->written_ += size;
                           if (self->written_ < self->out_.size()) self->write_rest();
                         });
}

void RedisSentinelWatch::read_more() {
  transport_->read_some(asio::buffer(buffer_),
                        [self = shared_from_this(), transport = transport_](error_code failure, std::size_t size) {
                          if (transport != self->transport_) return;
                          if (!failure) self->reader_.feed(std::string_view(self->buffer_.data(), size));
                          while (!failure && self->transport_ != nullptr) {
                            const Result<std::optional<RedisReply>> reply = self->reader_.next();
                            if (reply && *reply && !(*reply)->is_error()) {
                              self->take(**reply);
                              continue;
                            }
                            if (reply && !*reply) return self->read_more();
                            break;  // refused, or not Redis'
                          }
                          self->cancel();
                        });
}

/// `message`, the channel, and `NAME OLD_HOST OLD_PORT NEW_HOST NEW_PORT`.
void RedisSentinelWatch::take(const RedisReply& reply) const {
  const std::span<const RedisReply> items = reply.items();
  if (items.size() != 3 || items[0].text() != "message") return;
  if (items[2].text().starts_with(concat(options_.url.master_name, " ")) && switched_) switched_();
}

}  // namespace dagverk::net
