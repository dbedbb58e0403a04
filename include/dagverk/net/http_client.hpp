#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/net/http_url.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk::net {

struct HttpHeader {
  std::string name;
  std::string value;
};

struct HttpRequest {
  HttpUrl url = {};
  std::string method = "GET";
  std::vector<HttpHeader> headers = {};  ///< besides Host, Content-Length, Connection and User-Agent
  std::string body = {};
};

struct HttpResponse {
  unsigned status = 0;
  std::string reason = {};  ///< the words behind the status; may be empty
  std::vector<HttpHeader> headers = {};
  std::string body = {};

  /// The first value of that name, in whatever case; empty when there is none.
  [[nodiscard]] std::string_view header(std::string_view name) const noexcept;
};

struct HttpClientOptions {
  Duration connect_timeout = std::chrono::seconds(5);  ///< for the name's resolution and the connection
  Duration write_timeout = std::chrono::seconds(10);   ///< for all of the request
  Duration read_timeout = std::chrono::seconds(10);    ///< for all of the answer
  std::size_t answer_bytes_max = 1 << 20;              ///< of an answer's body
  std::size_t header_bytes_max = 16 << 10;             ///< of an answer's head
  std::size_t requests_max = 64;                       ///< at once
};

/// Sends HTTP/1.1 requests and hands their answers to callbacks.
///
/// Semantics: a connection for each request (`Connection: close`). Follows no redirects, tries nothing again: a caller
///            knows what may be sent twice. An answer of any status is an answer, not an error.
/// Threads:   `send` from any. Callbacks run on the client's own thread, one after the other; they must not block, nor
///            throw, nor destroy the client.
/// Errors:    reach the callback, see `send`.
/// Lifetime:  the destructor ends what is under way with `cancelled`, and waits for callbacks (and for the system's
///            resolver, while it looks up a name).
/// Bounds:    `requests_max` requests; the sizes and times of the options.
class HttpClient {
 public:
  using Done = std::move_only_function<void(Result<HttpResponse>)>;

  /// Errors: `configuration`, naming the field; `io` when there can be no thread.
  [[nodiscard]] static Result<std::unique_ptr<HttpClient>> start(HttpClientOptions options = {});

  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  ~HttpClient();

  /// Sends `request`; `done` is called exactly once, within `limit`, never from inside this call.
  ///
  /// Errors: `unavailable`: no such host, or nobody listens there; `timeout`, with what was being waited for;
  ///         `outcome_unknown`: the connection broke after the request had begun; `too_large`, `malformed`: the answer;
  ///         `invalid_argument`: a header that is none; `refused`: `requests_max`; `cancelled`: the client ends.
  void send(HttpRequest request, Duration limit, Done done);

 private:
  class Loop;
  explicit HttpClient(std::unique_ptr<Loop> loop) noexcept;

  std::unique_ptr<Loop> loop_;  // with the requests under way
};

}  // namespace dagverk::net
