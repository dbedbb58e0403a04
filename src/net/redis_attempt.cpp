#include "net/redis_attempt.hpp"

#include "dagverk/base/concat.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <utility>

namespace dagverk::net {

namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr std::size_t greeting_bytes_max = 1 << 16;
constexpr std::size_t greeting_items_max = 1 << 12;

[[nodiscard]] std::string in_words(Duration time) {
  return concat(std::chrono::duration_cast<std::chrono::milliseconds>(time).count(), " ms");
}

}  // namespace

RedisCommand auth_with(const std::string& user, const std::string& password) {
  return user.empty() ? RedisCommand("AUTH", password) : RedisCommand("AUTH", user, password);
}

RedisAttempt::RedisAttempt(asio::io_context& io, const RedisOptions& options, TlsContext tls, Done done)
    : io_(io),
      options_(options),
      dial_options_{.dead_after = options.dead_after, .tls = std::move(tls), .tls_options = options.url.tls_options},
      done_(std::move(done)),
      total_timer_(io),
      sentinel_timer_(io) {}

void RedisAttempt::begin_asking(std::size_t first_sentinel) {
  asks_only_ = true;
  begin(first_sentinel);
}

void RedisAttempt::begin(std::size_t first_sentinel) {
  total_timer_.expires_after(options_.connect_timeout);
  total_timer_.async_wait([self = shared_from_this()](error_code failure) {
    if (failure) return;
    const std::string who = self->ready_.server.empty() ? self->options_.url.shown() : self->ready_.server;
    self->finish(Error(ErrorCode::unavailable,
                       concat(who, " did not let us in within ", in_words(self->options_.connect_timeout))));
  });
  const RedisUrl& url = options_.url;
  switch (url.kind) {
    case RedisUrl::Kind::sentinel:
      sentinel_ = first_sentinel % url.addresses.size();
      ask_sentinel();
      break;
    case RedisUrl::Kind::tcp: connect_to(url.addresses.front()); break;
    case RedisUrl::Kind::unix_socket:
      ready_.server = url.socket_path;
      dial_ = dial_unix(io_, url.socket_path,
                        [self = shared_from_this()](auto transport) { self->connected(std::move(transport)); });
      break;
  }
}

void RedisAttempt::cancel() noexcept {
  done_ = nullptr;
  drop();
}

void RedisAttempt::drop() noexcept {
  total_timer_.cancel();
  sentinel_timer_.cancel();
  then_ = nullptr;
  if (dial_ != nullptr) std::exchange(dial_, nullptr)->cancel();
  if (ready_.transport != nullptr) std::exchange(ready_.transport, nullptr)->close();
}

void RedisAttempt::finish(Result<RedisReady> result) {
  if (!done_) return;
  Done done = std::exchange(done_, nullptr);
  drop();
  done(std::move(result));
}

// --- Sentinels -------------------------------------------------------------------------------------------------------

void RedisAttempt::ask_sentinel() {
  const RedisUrl& url = options_.url;
  const RedisAddress& address = url.addresses[sentinel_];
  ready_.server = address.text();
  sentinel_timer_.expires_after(options_.connect_timeout / static_cast<int>(url.addresses.size() + 1));
  sentinel_timer_.async_wait([self = shared_from_this(), asked = sentinels_asked_](error_code failure) {
    if (failure || asked != self->sentinels_asked_ || !self->done_) return;
    self->next_sentinel(
        Error(ErrorCode::unavailable, concat("the Sentinel ", self->ready_.server, " does not answer")));
  });
  dial_ = dial_tcp(io_, address, dial_options_, [self = shared_from_this()](auto transport) {
    self->dial_ = nullptr;
    if (!transport) {
      self->next_sentinel(std::move(transport.error()));
      return;
    }
    self->ready_.transport = std::move(*transport);
    const RedisUrl& where = self->options_.url;
    const bool with_auth = !where.sentinel_password.empty();
    std::string bytes;
    if (with_auth) auth_with(where.sentinel_user, where.sentinel_password).encode(bytes);
    RedisCommand("SENTINEL", "get-master-addr-by-name", where.master_name).encode(bytes);
    self->exchange(std::move(bytes), with_auth ? 2 : 1,
                   [self, with_auth](auto replies) { self->sentinel_answered(std::move(replies), with_auth); });
  });
}

void RedisAttempt::sentinel_answered(Result<std::vector<RedisReply>> replies, bool with_auth) {
  const std::string who = concat("the Sentinel ", ready_.server);
  if (!replies) {
    next_sentinel(replies.error().with(who));
    return;
  }
  if (with_auth && replies->front().is_error()) {
    next_sentinel(Error(ErrorCode::permission, concat(who, ": ", redis_error(replies->front().text()).message())));
    return;
  }
  const RedisReply& answer = replies->back();
  if (answer.is_error()) {
    next_sentinel(redis_error(answer.text()).with(who));
    return;
  }
  if (answer.is_nil()) {
    next_sentinel(Error(ErrorCode::configuration,
                        concat(who, " knows no master \"", options_.url.master_name, "\": see SENTINEL MASTERS")));
    return;
  }
  RedisAddress master;
  const auto parts = answer.items();
  const std::string_view port = parts.size() == 2 ? parts[1].text() : std::string_view();
  const char* const begin = port.data();  // NOLINT(bugprone-suspicious-stringview-data-usage): with its end
  const char* const end = begin + port.size();
  const auto parsed = std::from_chars(begin, end, master.port);
  if (port.empty() || parsed.ec != std::errc{} || parsed.ptr != end || parts[0].text().empty()) {
    next_sentinel(Error(ErrorCode::unavailable, concat(who, " gave no address: ", answer.shown())));
    return;
  }
  master.host = parts[0].text();
  ++sentinels_asked_;  // its timer is void
  sentinel_timer_.cancel();
  std::exchange(ready_.transport, nullptr)->close();
  if (asks_only_) {
    finish(RedisReady{.transport = nullptr, .server = master.text()});
  } else {
    connect_to(master);
  }
}

void RedisAttempt::next_sentinel(Error error) {
  ++sentinels_asked_;
  then_ = nullptr;
  if (dial_ != nullptr) std::exchange(dial_, nullptr)->cancel();
  if (ready_.transport != nullptr) std::exchange(ready_.transport, nullptr)->close();
  sentinel_ = (sentinel_ + 1) % options_.url.addresses.size();
  if (sentinels_asked_ < options_.url.addresses.size()) {
    ask_sentinel();
  } else {
    finish(std::move(error));
  }
}

// --- the server ------------------------------------------------------------------------------------------------------

void RedisAttempt::connect_to(const RedisAddress& address) {
  ready_.server = address.text();
  dial_ = dial_tcp(io_, address, dial_options_,
                   [self = shared_from_this()](auto transport) { self->connected(std::move(transport)); });
}

void RedisAttempt::connected(Result<std::shared_ptr<RedisTransport>> transport) {
  dial_ = nullptr;
  if (!transport) {
    finish(std::move(transport.error()));
    return;
  }
  ready_.transport = std::move(*transport);
  greet();
}

Result<std::string> RedisAttempt::password() const {
  const RedisUrl& url = options_.url;
  if (url.password_file.empty()) return url.password;
  std::ifstream file(url.password_file, std::ios::binary);
  std::string text(4096, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  text.resize(std::min(text.find_first_of("\r\n"), text.size()));
  if (file.bad() || text.empty()) {
    return Error(ErrorCode::configuration,
                 concat("the password file ", url.password_file, " cannot be read, or is empty"));
  }
  return text;
}

void RedisAttempt::greet() {
  const RedisUrl& url = options_.url;
  std::string bytes;
  const auto say = [&](Step step, const RedisCommand& command) {
    steps_.push_back(step);
    command.encode(bytes);
  };
  const Result<std::string> secret = password();
  if (!secret) {
    finish(secret.error());
    return;
  }
  if (!secret->empty()) say(Step::auth, auth_with(url.user, *secret));
  if (url.database != 0) say(Step::database, RedisCommand("SELECT", url.database));
  if (!options_.name.empty()) say(Step::name, RedisCommand("CLIENT", "SETNAME", options_.name));
  say(Step::id, RedisCommand("CLIENT", "ID"));
  if (options_.require_master || url.kind == RedisUrl::Kind::sentinel) say(Step::role, RedisCommand("ROLE"));
  for (const RedisScript& script : options_.scripts) say(Step::script, RedisCommand("SCRIPT", "LOAD", script.text()));
  say(Step::ping, RedisCommand("PING"));
  exchange(std::move(bytes), steps_.size(), [self = shared_from_this()](Result<std::vector<RedisReply>> replies) {
    if (!replies) {
      self->finish(replies.error().with(self->ready_.server));
    } else {
      self->greeted(*replies);
    }
  });
}

void RedisAttempt::greeted(const std::vector<RedisReply>& replies) {
  for (std::size_t at = 0; at < replies.size(); ++at) {
    if (const std::optional<Error> fault = fault_of(steps_[at], replies[at])) {
      finish(fault->with(ready_.server));
      return;
    }
  }
  RedisReady ready = std::move(ready_);
  ready_ = {};
  finish(std::move(ready));
}

std::optional<Error> RedisAttempt::fault_of(Step step, const RedisReply& reply) {
  if (step == Step::id) ready_.client_id = reply.integer_or(0);
  if (step == Step::name || step == Step::id) return std::nullopt;  // an ACL may forbid them; we do without
  if (step == Step::role && !reply.is_error()) {
    const auto items = reply.items();
    if (!items.empty() && items[0].text() == "master") return std::nullopt;
    return Error(ErrorCode::unavailable, "is not a master");
  }
  if (!reply.is_error()) return std::nullopt;
  Error error = redis_error(reply.text());
  if (error.code() == ErrorCode::unavailable) return error;  // LOADING, BUSY: whatever was asked
  switch (step) {
    case Step::auth: return Error(ErrorCode::permission, std::string(error.message()));
    case Step::database:
    case Step::script:
      if (error.code() != ErrorCode::invalid_argument) return error;
      return Error(ErrorCode::configuration,
                   concat(step == Step::script ? "a script does not load" : "the database cannot be selected", ": ",
                          error.message()));
    case Step::ping:
      // A server that cannot write (MISCONF) says so to PING, too, and an ACL may forbid it: both let us in.
      if (error.code() == ErrorCode::store_full || reply.text().starts_with("NOPERM")) return std::nullopt;
      return error;
    default: return error;
  }
}

// --- a few commands and their replies --------------------------------------------------------------------------------

void RedisAttempt::exchange(std::string bytes, std::size_t replies, Then then) {
  out_ = std::move(bytes);
  written_ = 0;
  expected_ = replies;
  replies_.clear();
  reader_ = std::make_unique<RedisReader>(greeting_bytes_max, greeting_items_max);
  then_ = std::move(then);
  write_rest();
  read_more();
}

void RedisAttempt::write_rest() {
  ready_.transport->write_some(
      asio::buffer(out_.data() + written_, out_.size() - written_),
      [self = shared_from_this(), transport = ready_.transport](error_code failure, std::size_t size) {
        // A failed write is not the end: the server may have said why it hangs up, which the reading end finds.
        if (failure || transport != self->ready_.transport || !self->then_) return;
        self->written_ += size;
        if (self->written_ < self->out_.size()) self->write_rest();
      });
}

void RedisAttempt::read_more() {
  ready_.transport->read_some(asio::buffer(buffer_), [self = shared_from_this(), transport = ready_.transport](
                                                         error_code failure, std::size_t size) {
    if (transport != self->ready_.transport || !self->then_) return;
    if (failure) {
      self->exchanged(self->farewell(failure));
      return;
    }
    self->reader_->feed(std::string_view(self->buffer_.data(), size));
    while (self->replies_.size() < self->expected_) {
      Result<std::optional<RedisReply>> reply = self->reader_->next();
      if (!reply) {
        self->exchanged(Error(ErrorCode::unavailable, std::string(reply.error().message())));
        return;
      }
      if (!*reply) break;
      self->replies_.push_back(std::move(**reply));
    }
    if (self->replies_.size() == self->expected_) {
      self->exchanged(std::move(self->replies_));
    } else {
      self->read_more();
    }
  });
}

/// Why a server hung up: what it said before, e.g. that it has too many clients; else what the system says.
Error RedisAttempt::farewell(const error_code& failure) const {
  if (!replies_.empty() && replies_.back().is_error()) {
    const Error said = redis_error(replies_.back().text());
    return said.code() == ErrorCode::permission ? said : Error(ErrorCode::unavailable, std::string(said.message()));
  }
  if (failure.category() == asio::error::get_ssl_category()) return tls_error(ready_.server, failure);
  return Error(ErrorCode::unavailable, concat("closed the connection: ", failure.message()));
}

void RedisAttempt::exchanged(Result<std::vector<RedisReply>> result) {
  std::exchange(then_, nullptr)(std::move(result));
}

}  // namespace dagverk::net
