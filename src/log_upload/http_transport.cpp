#include "dagverk/log_upload/http_transport.hpp"

#include "log_upload/batch_body.hpp"
#include "log_upload/retry_after.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/completion.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

namespace dagverk {

namespace {

/// What all transports of one backend share.
struct HttpTarget {
  std::unique_ptr<net::HttpClient> client;
  net::HttpRequest request;  ///< all but the body
  std::string url;
  std::function<std::string(const UploadBatch&)> body;
};

[[nodiscard]] bool worth_another_try(unsigned status) noexcept {
  constexpr unsigned request_timeout = 408;
  constexpr unsigned too_early = 425;
  constexpr unsigned too_many = 429;
  return status == request_timeout || status == too_early || status == too_many || status >= 500;
}

/// The start of an answer, on one line.
[[nodiscard]] std::string first_words(std::string_view body) {
  constexpr std::size_t size_max = 200;
  std::string words(body.substr(0, size_max));
  std::replace_if(words.begin(), words.end(), [](unsigned char byte) { return byte < 0x20U || byte >= 0x7fU; }, ' ');
  while (words.ends_with(' ')) words.pop_back();
  return words.empty() ? words : concat(": ", words);
}

[[nodiscard]] Result<void> verdict(const std::string& url, const net::HttpResponse& answer) {
  if (answer.status >= 200 && answer.status < 300) return {};
  const bool again = worth_another_try(answer.status);
  const std::string_view place = answer.header("Location");
  return Error(again ? ErrorCode::unavailable : ErrorCode::refused,
               concat("POST ", url, " was answered ", answer.status, answer.reason.empty() ? "" : " ", answer.reason,
                      place.empty() ? "" : " to ", place, first_words(answer.body)));
}

class HttpTransport final : public LogTransport {
 public:
  explicit HttpTransport(std::shared_ptr<HttpTarget> target) : target_(std::move(target)) {}

  Async<Result<void>> send(const UploadBatch& batch, Duration limit) override {
    retry_after_.clear();
    net::HttpRequest request = target_->request;
    request.body = target_->body(batch);
    CompletionPair<Result<net::HttpResponse>> pair = make_completion<Result<net::HttpResponse>>();
    target_->client->send(std::move(request), limit,
                          [completer = std::move(pair.completer)](Result<net::HttpResponse> result) mutable {
                            completer.complete(std::move(result));
                          });
    // The client keeps the limit; this one is for a client that has no time to.
    Completion<Result<net::HttpResponse>> answered = std::move(pair.completion).within(2 * limit);
    const Result<net::HttpResponse> answer = co_await std::move(answered);
    if (answer) {
      retry_after_ = answer->header("Retry-After");
      co_return verdict(target_->url, *answer);
    }
    const Error& error = answer.error();
    // The far end may have taken the batch and answered at too great length, or have been something else for a while.
    const bool of_answer = error.code() == ErrorCode::too_large || error.code() == ErrorCode::malformed ||
                           error.code() == ErrorCode::refused;
    if (of_answer) co_return Error(ErrorCode::outcome_unknown, std::string(error.message()));
    co_return error;
  }
  [[nodiscard]] Duration retry_after(WallTime now) const override { return detail::retry_after(retry_after_, now); }

 private:
  std::shared_ptr<HttpTarget> target_;  // with the other transports of its backend
  std::string retry_after_;             // of the last answer
};

[[nodiscard]] Result<LogTransportMaker> make_transports(const HttpUploadOptions& options, std::string_view content_type,
                                                        std::function<std::string(const UploadBatch&)> body) {
  Result<net::HttpUrl> url = net::parse_http_url(options.url);
  if (!url) return url.error().with("log upload");
  Result<std::unique_ptr<net::HttpClient>> client = net::HttpClient::start(options.client);
  if (!client) return client.error().with("log upload");
  auto target = std::make_shared<HttpTarget>();
  target->client = std::move(*client);
  target->request.url = std::move(*url);
  target->request.method = "POST";
  target->request.headers = options.headers;
  target->request.headers.push_back({"Content-Type", std::string(content_type)});
  target->url = options.url;
  target->body = std::move(body);
  return LogTransportMaker([target] { return std::make_unique<HttpTransport>(target); });
}

[[nodiscard]] bool is_label(std::string_view name) noexcept {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  return !name.empty() && letter(name.front()) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

[[nodiscard]] Error wrong_label(std::string_view name) {
  return Error(ErrorCode::configuration,
               concat("log upload: the label \"", name, "\" must be named [a-zA-Z_][a-zA-Z0-9_]*, e.g. app"));
}

}  // namespace

Result<LogTransportMaker> http_json_transport(const HttpUploadOptions& options) {
  for (const LogLabel& label : options.labels) {
    if (label.name.empty()) return Error(ErrorCode::configuration, "log upload: a label has no name");
  }
  const bool array = options.body == JsonBody::array;
  return make_transports(options, array ? "application/json" : "application/x-ndjson",
                         [labels = options.labels, array](const UploadBatch& batch) {
                           return array ? detail::json_array_of(batch, labels) : detail::json_lines_of(batch, labels);
                         });
}

Result<LogTransportMaker> loki_transport(const HttpUploadOptions& options) {
  for (const LogLabel& label : options.labels) {
    if (!is_label(label.name)) return wrong_label(label.name);
    if (label.name == options.label_of_level) {
      return Error(ErrorCode::configuration, concat("log upload: the label \"", label.name,
                                                    "\" is the level's; give label_of_level another name"));
    }
  }
  if (!options.label_of_level.empty() && !is_label(options.label_of_level)) return wrong_label(options.label_of_level);
  if (options.labels.empty() && options.label_of_level.empty()) {
    return Error(ErrorCode::configuration,
                 R"(log upload: Loki wants a label at least, e.g. .labels = {{"app", "shop"}})");
  }
  return make_transports(options, "application/json",
                         [labels = options.labels, level = options.label_of_level](const UploadBatch& batch) {
                           return detail::loki_push_of(batch, labels, level);
                         });
}

Result<BackendSpec> http_json_backend(std::string name, const HttpUploadOptions& options,
                                      std::shared_ptr<UploadQueue> queue) {
  Result<LogTransportMaker> transport = http_json_transport(options);
  if (!transport) return transport.error();
  return batching_backend(std::move(name), std::move(*transport), std::move(queue), LineFormat::json());
}

Result<BackendSpec> loki_backend(std::string name, const HttpUploadOptions& options, std::shared_ptr<UploadQueue> queue,
                                 LineFormat format) {
  Result<LogTransportMaker> transport = loki_transport(options);
  if (!transport) return transport.error();
  return batching_backend(std::move(name), std::move(*transport), std::move(queue), std::move(format));
}

}  // namespace dagverk
