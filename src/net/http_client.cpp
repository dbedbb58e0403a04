#include "dagverk/net/http_client.hpp"

#include "dagverk/base/concat.hpp"

#include <boost/asio/connect.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <exception>
#include <optional>
#include <system_error>
#include <thread>
#include <unordered_set>
#include <utility>

namespace dagverk::net {

namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

[[nodiscard]] bool same_name(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char one, unsigned char other) { return std::tolower(one) == std::tolower(other); });
}

[[nodiscard]] bool is_token(std::string_view text) noexcept {
  static constexpr std::string_view marks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char byte) {
    return byte < 0x80U && (std::isalnum(byte) != 0 || marks.find(static_cast<char>(byte)) != std::string_view::npos);
  });
}

[[nodiscard]] bool is_header_value(std::string_view text) noexcept {
  return std::none_of(text.begin(), text.end(),
                      [](unsigned char byte) { return (byte < 0x20U && byte != '\t') || byte == 0x7fU; });
}

[[nodiscard]] std::optional<Error> fault_of(const HttpRequest& request) {
  const auto wrong = [](std::string what) { return Error(ErrorCode::invalid_argument, std::move(what)); };
  if (!is_token(request.method)) return wrong(concat("HTTP request: the method \"", request.method, "\" is none"));
  if (request.url.host.empty()) return wrong("HTTP request: the URL has no host");
  if (request.url.target.empty() || request.url.target.find_first_of("\r\n \t") != std::string::npos) {
    return wrong("HTTP request: the path is empty, or has a blank");
  }
  for (const HttpHeader& header : request.headers) {
    if (!is_token(header.name)) return wrong(concat("HTTP request: \"", header.name, "\" is no header's name"));
    if (!is_header_value(header.value)) {
      return wrong(concat("HTTP request: the value of ", header.name, " has a control character"));
    }
  }
  return std::nullopt;
}

[[nodiscard]] std::string in_words(Duration time) {
  return concat(std::chrono::duration_cast<std::chrono::milliseconds>(time).count(), " ms");
}

}  // namespace

// --- one request -----------------------------------------------------------------------------------------------------

namespace {

/// One request on its connection. Everything runs on the loop's thread.
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  using Ended = std::function<void(const std::shared_ptr<Exchange>&)>;

  Exchange(asio::io_context& io, const HttpClientOptions& options, HttpRequest request, HttpClient::Done done)
      : options_(options),
        url_(std::move(request.url)),
        done_(std::move(done)),
        resolver_(io),
        socket_(io),
        total_timer_(io),
        phase_timer_(io),
        buffer_(options.header_bytes_max + options.answer_bytes_max) {
    request_.version(11);
    request_.method_string(request.method);
    request_.target(url_.target);
    request_.set(http::field::host, url_.authority());
    request_.set(http::field::user_agent, "dagverk");
    for (const HttpHeader& header : request.headers) request_.set(header.name, header.value);
    request_.set(http::field::connection, "close");
    request_.body() = std::move(request.body);
    if (!request_.body().empty() || request_.method() != http::verb::get) request_.prepare_payload();
    parser_.header_limit(static_cast<std::uint32_t>(options.header_bytes_max));
    parser_.body_limit(options.answer_bytes_max);
    if (request_.method() == http::verb::head) parser_.skip(true);
  }

  void begin(Duration limit, Ended ended) {
    ended_ = std::move(ended);
    total_timer_.expires_after(std::max(limit, Duration::zero()));
    total_timer_.async_wait([self = shared_from_this(), limit](error_code failure) {
      if (!failure) self->time_is_up(limit);
    });
    enter(Phase::connecting, options_.connect_timeout);
    error_code no_address;
    const asio::ip::address address = asio::ip::make_address(url_.host, no_address);
    if (!no_address) {
      socket_.async_connect({address, url_.port},
                            [self = shared_from_this()](error_code failure) { self->connected(failure); });
      return;
    }
    resolver_.async_resolve(
        url_.host, std::to_string(url_.port),
        [self = shared_from_this()](error_code failure, const auto& found) { self->resolved(failure, found); });
  }

  void fail(Error error) { finish(Result<HttpResponse>(std::move(error))); }

 private:
  enum class Phase : std::uint8_t { connecting, writing, reading };

  void enter(Phase phase, Duration limit) {
    phase_ = phase;
    phase_timer_.expires_after(limit);
    phase_timer_.async_wait([self = shared_from_this(), phase, limit](error_code failure) {
      if (!failure && self->phase_ == phase) self->time_is_up(limit);  // else it was overtaken by the next one
    });
  }

  void time_is_up(Duration limit) {
    const std::string_view what = phase_ == Phase::connecting ? "did not accept a connection"
                                  : phase_ == Phase::writing  ? "did not take the request"
                                                              : "did not answer";
    fail(Error(ErrorCode::timeout, concat(url_.authority(), " ", what, " within ", in_words(limit))));
  }

  void resolved(error_code failure, const asio::ip::tcp::resolver::results_type& found) {
    if (!done_) return;
    if (failure) {
      fail(Error(ErrorCode::unavailable, concat("the host ", url_.host, " is not found: ", failure.message())));
      return;
    }
    asio::async_connect(socket_, found, [self = shared_from_this()](error_code failed, const auto& /*endpoint*/) {
      self->connected(failed);
    });
  }

  /// The place of a TLS handshake, once there is a stream that wants one.
  void connected(error_code failure) {
    if (!done_) return;
    if (failure) {
      fail(Error(ErrorCode::unavailable,
                 concat("cannot connect to ", url_.host, " port ", url_.port, ": ", failure.message())));
      return;
    }
    enter(Phase::writing, options_.write_timeout);
    http::async_write(socket_, request_,
                      [self = shared_from_this()](error_code failed, std::size_t /*bytes*/) { self->written(failed); });
  }

  /// A far end may answer, and close, before it has read all of the request: its answer is looked for all the same.
  void written(error_code failure) {
    if (!done_) return;
    write_failure_ = failure;
    enter(Phase::reading, options_.read_timeout);
    http::async_read(socket_, buffer_, parser_,
                     [self = shared_from_this()](error_code failed, std::size_t /*bytes*/) { self->read(failed); });
  }

  void read(error_code failure) {
    if (!done_) return;
    if (!failure) {
      finish(answer());
    } else if (failure == http::error::body_limit) {
      fail(Error(ErrorCode::too_large,
                 concat("the answer of ", url_.authority(), " has more than ", options_.answer_bytes_max, " bytes")));
    } else if (failure == http::error::header_limit || failure == http::error::buffer_overflow) {
      fail(Error(ErrorCode::too_large, concat("the head of the answer of ", url_.authority(), " has more than ",
                                              options_.header_bytes_max, " bytes")));
    } else if (failure == http::error::end_of_stream || failure == http::error::partial_message ||
               failure.category() == boost::system::system_category() ||
               failure.category() == asio::error::get_misc_category()) {
      const error_code& first = write_failure_ ? write_failure_ : failure;
      fail(Error(ErrorCode::outcome_unknown,
                 concat(url_.authority(), " closed the connection before it had answered: ", first.message())));
    } else {
      fail(
          Error(ErrorCode::malformed, concat("the answer of ", url_.authority(), " is not HTTP: ", failure.message())));
    }
  }

  [[nodiscard]] HttpResponse answer() {
    http::response<http::string_body> message = parser_.release();
    HttpResponse response;
    response.status = message.result_int();
    response.reason = std::string(message.reason());
    for (const auto& field : message) {
      response.headers.push_back({std::string(field.name_string()), std::string(field.value())});
    }
    response.body = std::move(message.body());
    return response;
  }

  void finish(Result<HttpResponse> result) {
    if (!done_) return;
    HttpClient::Done done = std::exchange(done_, nullptr);
    error_code ignored;
    resolver_.cancel();
    ignored = socket_.close(ignored);
    total_timer_.cancel();
    phase_timer_.cancel();
    ended_(shared_from_this());
    done(std::move(result));
  }

  const HttpClientOptions& options_;
  HttpUrl url_;
  HttpClient::Done done_;  // empty once called
  Ended ended_;
  asio::ip::tcp::resolver resolver_;
  asio::ip::tcp::socket socket_;
  asio::steady_timer total_timer_;
  asio::steady_timer phase_timer_;
  boost::beast::flat_buffer buffer_;
  http::request<http::string_body> request_;
  http::response_parser<http::string_body> parser_;
  error_code write_failure_;
  Phase phase_ = Phase::connecting;
};

}  // namespace

// --- the client ------------------------------------------------------------------------------------------------------

/// The thread, and what it works at.
class HttpClient::Loop {
 public:
  explicit Loop(HttpClientOptions options) : options_(options), work_(asio::make_work_guard(io_)) {}
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop() { stop(); }

  void run() {
    thread_ = std::thread([this] { io_.run(); });
  }

  void send(HttpRequest request, Duration limit, Done done) {
    if (stopping_.load()) {
      post_failure(Error(ErrorCode::cancelled, "the HTTP client ends"), std::move(done));
      return;
    }
    if (std::optional<Error> fault = fault_of(request)) {
      post_failure(std::move(*fault), std::move(done));
      return;
    }
    if (under_way_.fetch_add(1) >= options_.requests_max) {
      under_way_.fetch_sub(1);
      post_failure(
          Error(ErrorCode::refused, concat("the HTTP client has ", options_.requests_max, " requests under way")),
          std::move(done));
      return;
    }
    auto exchange = std::make_shared<Exchange>(io_, options_, std::move(request), std::move(done));
    asio::post(io_, [this, exchange, limit] {
      exchanges_.insert(exchange);
      exchange->begin(limit, [this](const std::shared_ptr<Exchange>& ended) {
        exchanges_.erase(ended);
        under_way_.fetch_sub(1);
      });
    });
  }

  void stop() {
    if (!thread_.joinable()) return;
    stopping_.store(true);
    asio::post(io_, [this] {
      const std::unordered_set<std::shared_ptr<Exchange>> all = exchanges_;
      for (const std::shared_ptr<Exchange>& one : all) one->fail(Error(ErrorCode::cancelled, "the HTTP client ends"));
      asio::post(io_, [this] { io_.stop(); });  // after what those callbacks sent
    });
    thread_.join();
  }

 private:
  void post_failure(Error error, Done done) {
    asio::post(io_, [error = std::move(error), done = std::move(done)]() mutable {
      done(Result<HttpResponse>(std::move(error)));
    });
  }

  const HttpClientOptions options_;
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::atomic<std::size_t> under_way_{0};
  std::atomic<bool> stopping_{false};
  std::unordered_set<std::shared_ptr<Exchange>> exchanges_;  // with the operations under way; the thread's alone
  std::thread thread_;
};

std::string_view HttpResponse::header(std::string_view name) const noexcept {
  for (const HttpHeader& header : headers) {
    if (same_name(header.name, name)) return header.value;
  }
  return {};
}

Result<std::unique_ptr<HttpClient>> HttpClient::start(HttpClientOptions options) {
  const auto wrong = [](std::string_view what) {
    return Error(ErrorCode::configuration, concat("HTTP client: ", what));
  };
  if (options.connect_timeout <= Duration::zero()) return wrong("connect_timeout must be more than 0");
  if (options.write_timeout <= Duration::zero()) return wrong("write_timeout must be more than 0");
  if (options.read_timeout <= Duration::zero()) return wrong("read_timeout must be more than 0");
  if (options.header_bytes_max < 256 || options.header_bytes_max > (1U << 20U)) {
    return wrong(concat("header_bytes_max must be 256 to 1048576, got ", options.header_bytes_max));
  }
  if (options.requests_max == 0) return wrong("requests_max must be 1 or more, got 0");
  try {
    auto loop = std::make_unique<Loop>(options);
    loop->run();
    return std::unique_ptr<HttpClient>(new HttpClient(std::move(loop)));
  } catch (const std::exception& failure) {
    return Error(ErrorCode::io, concat("HTTP client: cannot start: ", failure.what()));
  }
}

HttpClient::HttpClient(std::unique_ptr<Loop> loop) noexcept : loop_(std::move(loop)) {}
HttpClient::~HttpClient() { loop_->stop(); }

void HttpClient::send(HttpRequest request, Duration limit, Done done) {
  loop_->send(std::move(request), limit, std::move(done));
}

}  // namespace dagverk::net
