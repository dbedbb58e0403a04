#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/store_types.hpp"

#include <cstddef>
#include <string>
#include <string_view>

namespace dagverk::jobs {

/// A job to enqueue as a line of an export, and back. One with a unique lock stands in an object with that.
[[nodiscard]] std::string buffered_line(const EnqueueRequest& job);
/// Errors: `malformed_job`, `too_large`, `unsupported`.
[[nodiscard]] Result<EnqueueRequest> read_buffered_job(std::string_view line);

/// What a job counts for in a buffer.
[[nodiscard]] std::size_t buffered_size(const EnqueueRequest& job) noexcept;

}  // namespace dagverk::jobs
