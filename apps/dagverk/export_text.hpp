#pragma once

#include "dagverk/jobs/job_export.hpp"

#include <string>
#include <string_view>

namespace dagverk::app {

/// `3 jobs`.
[[nodiscard]] std::string jobs_text(const jobs::ExportCounts& counts);
/// `1 limit, 2 cron entries`, behind `before`; without those of which there are none, and empty when there are none.
[[nodiscard]] std::string entries_text(const jobs::ExportCounts& counts, std::string_view before);

}  // namespace dagverk::app
