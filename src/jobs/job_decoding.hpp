#pragma once

#include "dagverk/jobs/job_codec.hpp"

#include <string>
#include <string_view>

namespace dagverk::jobs {

/// `decode_job` without a copy: the Job gets the bytes. After an error `payload` is as it was.
[[nodiscard]] Result<Job> decode_job_of(std::string& payload, std::string_view taken_from, const CodecOptions& options);

}  // namespace dagverk::jobs
