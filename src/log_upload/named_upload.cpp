#include "dagverk/log_upload/named_upload.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/log/backends/batching.hpp"
#include "dagverk/log/backends/named.hpp"
#include "dagverk/log_upload/http_transport.hpp"
#include "dagverk/net/http_url.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace dagverk {

namespace {

constexpr std::string_view loki_scheme = "loki:";
constexpr std::string_view forms = "http://HOST[:PORT]/PATH or loki:http://HOST[:PORT], both with #LABEL=VALUE&...";

[[nodiscard]] Error wrong(std::string_view text, std::string_view why) {
  return {ErrorCode::configuration, concat("log backend \"", text, "\": ", why)};
}

/// `app=shop&env=test`
[[nodiscard]] Result<std::vector<LogLabel>> labels_of(std::string_view text) {
  std::vector<LogLabel> labels;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('&'), text.size());
    const std::string_view label = text.substr(0, end);
    const std::size_t equals = label.find('=');
    if (equals == 0 || equals == std::string_view::npos) {
      return Error(ErrorCode::configuration,
                   concat("\"", label, "\" is no label; type #NAME=VALUE, several as #app=shop&env=test"));
    }
    labels.push_back({std::string(label.substr(0, equals)), std::string(label.substr(equals + 1))});
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return labels;
}

[[nodiscard]] Result<BackendSpec> upload_from(std::string name, std::string_view address, bool to_loki) {
  const std::size_t hash = std::min(address.find('#'), address.size());
  HttpUploadOptions options;
  options.url = address.substr(0, hash);
  const Result<net::HttpUrl> url = net::parse_http_url(options.url);
  if (!url) return url.error();
  if (to_loki && url->target == "/") {
    if (options.url.ends_with('/')) options.url.pop_back();
    options.url += "/loki/api/v1/push";
  }
  Result<std::vector<LogLabel>> labels = labels_of(address.substr(std::min(hash + 1, address.size())));
  if (!labels) return labels.error();
  options.labels = std::move(*labels);
  Result<std::shared_ptr<UploadQueue>> queue = make_upload_queue({.drain_limit = std::chrono::seconds(3)});
  if (!queue) return queue.error();
  return to_loki ? loki_backend(std::move(name), options, std::move(*queue))
                 : http_json_backend(std::move(name), options, std::move(*queue));
}

}  // namespace

Result<BackendSpec> any_backend_from_text(std::string name, std::string_view text) {
  const bool to_loki = text.starts_with(loki_scheme);
  if (to_loki || text.starts_with("http:") || text.starts_with("https:")) {
    const std::string_view address = to_loki ? text.substr(loki_scheme.size()) : text;
    Result<BackendSpec> spec = upload_from(std::move(name), address, to_loki);
    if (!spec && to_loki && !address.starts_with("http")) return wrong(text, concat("type ", forms));
    if (!spec) return spec.error().with(concat("log backend \"", text, "\""));
    return spec;
  }
  if (!has_log_backend_scheme(text)) return wrong(text, concat("is unknown: ", log_backend_texts, ", ", forms));
  return backend_from_text(std::move(name), text);
}

}  // namespace dagverk
