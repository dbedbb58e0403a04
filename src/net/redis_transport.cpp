#include "net/redis_transport.hpp"

#include "dagverk/base/concat.hpp"

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <exception>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <optional>
#include <string_view>
#include <sys/socket.h>
#include <utility>

namespace dagverk::net {

namespace {

namespace asio = boost::asio;
namespace ssl = boost::asio::ssl;
using asio::ip::tcp;
using boost::system::error_code;
using Unix = asio::local::stream_protocol;

// --- streams ---------------------------------------------------------------------------------------------------------

template <class Stream>
class StreamTransport final : public RedisTransport {
 public:
  template <class... Args>
  explicit StreamTransport(Args&&... args) : stream_(std::forward<Args>(args)...) {}

  [[nodiscard]] Stream& stream() noexcept { return stream_; }

  void read_some(asio::mutable_buffer into, Handler handler) override {
    stream_.async_read_some(into, [self = shared_from_this(), handler = std::move(handler)](
                                      error_code failure, std::size_t size) mutable { handler(failure, size); });
  }

  void write_some(asio::const_buffer from, Handler handler) override {
    stream_.async_write_some(from, [self = shared_from_this(), handler = std::move(handler)](
                                       error_code failure, std::size_t size) mutable { handler(failure, size); });
  }

  void close() noexcept override {
    error_code ignored;
    ignored = stream_.lowest_layer().close(ignored);
  }

 private:
  Stream stream_;
};

using TcpTransport = StreamTransport<tcp::socket>;
using TlsTransport = StreamTransport<ssl::stream<tcp::socket>>;
using UnixTransport = StreamTransport<Unix::socket>;

// --- sockets ---------------------------------------------------------------------------------------------------------

void set_option(int socket, int level, int name, int value) noexcept {
  // A system that does not know the option leaves us its default: a peer that vanished is noticed later.
  static_cast<void>(::setsockopt(socket, level, name, &value, sizeof value));
}

/// Small writes go out at once; a peer that has vanished is noticed within `dead_after`, idle or not.
void tune(tcp::socket& socket, Duration dead_after) noexcept {
  const auto seconds = std::max<long long>(1, std::chrono::duration_cast<std::chrono::seconds>(dead_after).count());
  const int native = socket.native_handle();
  set_option(native, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(native, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(native, IPPROTO_TCP, TCP_KEEPIDLE, static_cast<int>(std::clamp<long long>(seconds / 2, 1, 3600)));
  set_option(native, IPPROTO_TCP, TCP_KEEPINTVL, static_cast<int>(std::clamp<long long>(seconds / 4, 1, 3600)));
  set_option(native, IPPROTO_TCP, TCP_KEEPCNT, 2);
  set_option(native, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(std::min<long long>(seconds, 3600) * 1000));
}

/// Has OpenSSL look for the host's name, or its address, in the certificate.
[[nodiscard]] bool expect_host(SSL* handle, const std::string& host) {
  error_code no_address;
  static_cast<void>(asio::ip::make_address(host, no_address));
  if (!no_address) return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(handle), host.c_str()) == 1;
  SSL_set_hostflags(handle, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  return SSL_set_tlsext_host_name(handle, host.c_str()) == 1 && SSL_set1_host(handle, host.c_str()) == 1;
}

// --- dialling --------------------------------------------------------------------------------------------------------

class TcpDial final : public RedisDial {
 public:
  TcpDial(asio::io_context& io, RedisAddress address, RedisDialOptions options, Done done)
      : address_(std::move(address)),
        options_(std::move(options)),
        done_(std::move(done)),
        resolver_(io),
        socket_(io) {}

  void begin() {
    error_code no_address;
    const asio::ip::address literal = asio::ip::make_address(address_.host, no_address);
    if (!no_address) {
      socket_.async_connect({literal, address_.port}, [self = me()](error_code failure) { self->connected(failure); });
      return;
    }
    resolver_.async_resolve(address_.host, std::to_string(address_.port),
                            [self = me()](error_code failure, const tcp::resolver::results_type& found) {
                              self->resolved(failure, found);
                            });
  }

  void cancel() noexcept override {
    done_ = nullptr;
    error_code ignored;
    resolver_.cancel();
    ignored = socket_.close(ignored);
    if (tls_ != nullptr) tls_->close();
  }

 private:
  [[nodiscard]] std::shared_ptr<TcpDial> me() { return std::static_pointer_cast<TcpDial>(shared_from_this()); }

  void resolved(error_code failure, const tcp::resolver::results_type& found) {
    if (!done_) return;
    if (failure) {
      fail(Error(ErrorCode::unavailable, concat("the host ", address_.host, " is not found: ", failure.message())));
      return;
    }
    asio::async_connect(socket_, found,
                        [self = me()](error_code failed, const auto& /*endpoint*/) { self->connected(failed); });
  }

  void connected(error_code failure) {
    if (!done_) return;
    if (failure) {
      fail(Error(ErrorCode::unavailable, concat("cannot connect to ", address_.text(), ": ", failure.message())));
      return;
    }
    tune(socket_, options_.dead_after);
    if (options_.tls == nullptr) {
      succeed(std::make_shared<TcpTransport>(std::move(socket_)));
      return;
    }
    tls_ = std::make_shared<TlsTransport>(std::move(socket_), *options_.tls);
    const std::string& name = options_.tls_options.server_name;
    if (options_.tls_options.verify &&
        !expect_host(tls_->stream().native_handle(), name.empty() ? address_.host : name)) {
      fail(Error(ErrorCode::configuration, concat(address_.text(), " is no name that a certificate can have")));
      return;
    }
    tls_->stream().async_handshake(ssl::stream_base::client,
                                   [self = me()](error_code failed) { self->shaken(failed); });
  }

  void shaken(error_code failure) {
    if (!done_) return;
    if (!failure) {
      succeed(std::move(tls_));
      return;
    }
    const long verified = SSL_get_verify_result(tls_->stream().native_handle());
    if (options_.tls_options.verify && verified != X509_V_OK) {
      fail(Error(ErrorCode::permission, concat("the certificate of ", address_.text(),
                                               " is not accepted: ", X509_verify_cert_error_string(verified))));
      return;
    }
    fail(tls_error(address_.text(), failure));
  }

  void succeed(std::shared_ptr<RedisTransport> transport) { std::exchange(done_, nullptr)(std::move(transport)); }
  void fail(Error error) {
    Done done = std::exchange(done_, nullptr);
    cancel();
    done(std::move(error));
  }

  const RedisAddress address_;
  const RedisDialOptions options_;
  Done done_;  // empty once called
  tcp::resolver resolver_;
  tcp::socket socket_;
  std::shared_ptr<TlsTransport> tls_;
};

class UnixDial final : public RedisDial {
 public:
  UnixDial(asio::io_context& io, std::string path, Done done)
      : path_(std::move(path)), done_(std::move(done)), socket_(io) {}

  void begin() {
    socket_.async_connect(Unix::endpoint(path_), [self = std::static_pointer_cast<UnixDial>(shared_from_this())](
                                                     error_code failure) { self->connected(failure); });
  }

  void cancel() noexcept override {
    done_ = nullptr;
    error_code ignored;
    ignored = socket_.close(ignored);
  }

 private:
  void connected(error_code failure) {
    if (!done_) return;
    Done done = std::exchange(done_, nullptr);
    if (!failure) {
      done(std::static_pointer_cast<RedisTransport>(std::make_shared<UnixTransport>(std::move(socket_))));
      return;
    }
    const bool denied = failure == asio::error::access_denied || failure == asio::error::no_permission;
    done(Error(denied ? ErrorCode::permission : ErrorCode::unavailable,
               concat("cannot connect to ", path_, ": ", failure.message())));
  }

  const std::string path_;
  Done done_;  // empty once called
  Unix::socket socket_;
};

// --- certificates ----------------------------------------------------------------------------------------------------

[[nodiscard]] std::optional<Error> load_files(ssl::context& context, const RedisTls& options) {
  const auto wrong = [](std::string_view field, const std::string& file, const error_code& failure) {
    return Error(ErrorCode::configuration, concat("Redis URL: ", field, " ", file, ": ", failure.message()));
  };
  error_code failure;
  if (options.verify && !options.ca_file.empty()) {
    failure = context.load_verify_file(options.ca_file, failure);
    if (failure) return wrong("tls_ca", options.ca_file, failure);
  } else if (options.verify) {
    failure = context.set_default_verify_paths(failure);
    if (failure) return wrong("tls_ca", "of the system", failure);
  }
  if (options.cert_file.empty()) return std::nullopt;
  failure = context.use_certificate_chain_file(options.cert_file, failure);
  if (failure) return wrong("tls_cert", options.cert_file, failure);
  failure = context.use_private_key_file(options.key_file, ssl::context::pem, failure);
  if (failure) return wrong("tls_key", options.key_file, failure);
  return std::nullopt;
}

}  // namespace

Result<TlsContext> make_tls_context(const RedisUrl& url) {
  if (!url.tls) return TlsContext();
  try {
    auto context = std::make_shared<ssl::context>(ssl::context::tls_client);
    if (SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION) != 1) {
      return Error(ErrorCode::unsupported, "Redis: this OpenSSL has no TLS 1.2");
    }
    if (std::optional<Error> fault = load_files(*context, url.tls_options)) return *fault;
    context->set_verify_mode(url.tls_options.verify ? ssl::verify_peer : ssl::verify_none);
    return context;
  } catch (const std::exception& failure) {
    return Error(ErrorCode::io, concat("Redis: cannot set up TLS: ", failure.what()));
  }
}

Error tls_error(const std::string& server, const error_code& failure) {
  ErrorCode code = ErrorCode::unavailable;
  if (failure.category() == asio::error::get_ssl_category()) {
    const int reason = ERR_GET_REASON(static_cast<unsigned long>(failure.value()));
    static constexpr int refusals[] = {SSL_R_CERTIFICATE_VERIFY_FAILED,       SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED,
                                       SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE,   SSL_R_SSLV3_ALERT_BAD_CERTIFICATE,
                                       SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED,
                                       SSL_R_TLSV1_ALERT_UNKNOWN_CA,          SSL_R_TLSV1_ALERT_ACCESS_DENIED};
    if (std::find(std::begin(refusals), std::end(refusals), reason) != std::end(refusals)) code = ErrorCode::permission;
  }
  return Error(code, concat("TLS with ", server, " failed: ", failure.message()));
}

std::shared_ptr<RedisDial> dial_tcp(asio::io_context& io, const RedisAddress& address, const RedisDialOptions& options,
                                    RedisDial::Done done) {
  auto dial = std::make_shared<TcpDial>(io, address, options, std::move(done));
  dial->begin();
  return dial;
}

std::shared_ptr<RedisDial> dial_unix(asio::io_context& io, const std::string& path, RedisDial::Done done) {
  auto dial = std::make_shared<UnixDial>(io, path, std::move(done));
  dial->begin();
  return dial;
}

}  // namespace dagverk::net
