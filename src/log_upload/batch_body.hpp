#pragma once

#include "dagverk/log/backends/batching.hpp"
#include "dagverk/log_upload/http_transport.hpp"

#include <string>
#include <string_view>
#include <vector>

// Requests' bodies: what a far end reads. Lines' texts are valid UTF-8 without control characters: formats see to that.

namespace dagverk::detail {

/// Lines are JSON objects; the labels become their first members.
[[nodiscard]] std::string json_array_of(const UploadBatch& batch, const std::vector<LogLabel>& labels);
[[nodiscard]] std::string json_lines_of(const UploadBatch& batch, const std::vector<LogLabel>& labels);
/// One stream, or one for each level that occurs, with the level as the label `label_of_level`.
[[nodiscard]] std::string loki_push_of(const UploadBatch& batch, const std::vector<LogLabel>& labels,
                                       std::string_view label_of_level);

}  // namespace dagverk::detail
