#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/log/backends/batching.hpp"
#include "dagverk/log/line_format.hpp"
#include "dagverk/log/log_backend.hpp"
#include "dagverk/net/http_client.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace dagverk {

/// A name and a value that go with every batch.
struct LogLabel {
  std::string name;
  std::string value;
};

/// How JSON objects are put together.
enum class JsonBody : std::uint8_t {
  array,  ///< `[{…},{…}]`, application/json
  lines,  ///< one object a line, application/x-ndjson
};

struct HttpUploadOptions {
  std::string url = {};                       ///< `http://HOST[:PORT]/PATH`
  std::vector<net::HttpHeader> headers = {};  ///< e.g. Authorization, or X-Scope-OrgID for Loki
  /// What the far end tells programs apart by. Loki: the stream's labels, named [a-zA-Z_][a-zA-Z0-9_]*. JSON: members
  /// before each object's own.
  std::vector<LogLabel> labels = {};
  JsonBody body = JsonBody::array;       ///< not for Loki
  std::string label_of_level = "level";  ///< for Loki: a stream for each level; empty: one stream, then with a label
  net::HttpClientOptions client = {};    ///< sizes, and limits of single steps; `send_timeout` is the whole's
};

/// Makes transports; one for each start of an uploader.
using LogTransportMaker = std::function<std::unique_ptr<LogTransport>()>;

/// Transports that POST each batch as JSON. The backend's format must be `LineFormat::json()`.
///
/// Semantics: 2xx: sent. 408, 425, 429 and 5xx: tried again, not before a `Retry-After` of the answer (seconds or a
///            date; at most `BatchingOptions::retry_after_max`). Any other status: the batch is given up, counted as
///            refused, and the status and the answer's first words stand in `UploadStats::last_error`. A batch whose
///            answer was lost is sent again: a line may arrive twice, never not at all.
/// Errors:    `configuration` and `unsupported`, with what to type.
[[nodiscard]] Result<LogTransportMaker> http_json_transport(const HttpUploadOptions& options);

/// Transports for Loki's push format (`/loki/api/v1/push`), of any line format. Statuses as above.
[[nodiscard]] Result<LogTransportMaker> loki_transport(const HttpUploadOptions& options);

/// A batching backend that POSTs JSON objects.
[[nodiscard]] Result<BackendSpec> http_json_backend(std::string name, const HttpUploadOptions& options,
                                                    std::shared_ptr<UploadQueue> queue);

/// A batching backend for Loki.
[[nodiscard]] Result<BackendSpec> loki_backend(std::string name, const HttpUploadOptions& options,
                                               std::shared_ptr<UploadQueue> queue,
                                               LineFormat format = LineFormat::json());

}  // namespace dagverk
