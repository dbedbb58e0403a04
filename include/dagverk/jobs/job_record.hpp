#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What a job's run says about itself, for people: `JobContext::progress` and `log`, `dagverk job logs`.
namespace dagverk::jobs {

inline constexpr std::size_t log_line_size_limit = 500;  ///< bytes of one line; a longer one is cut, and marked
inline constexpr std::size_t log_lines_limit = 100;      ///< the latest of a run; older ones go, and are counted
inline constexpr std::size_t status_size_limit = 200;    ///< bytes
inline constexpr char cut_mark[] = " [cut]";             ///< behind a line that was cut

struct JobLogLine {
  WallTime at;
  std::string text;

  friend bool operator==(const JobLogLine&, const JobLogLine&) = default;
};

/// What the latest run that said something has said.
struct JobRecord {
  std::uint32_t attempt = 1;
  WallTime updated_at{};
  std::optional<double> progress = std::nullopt;  ///< 0 to 1
  std::string status{};
  std::vector<JobLogLine> lines{};  ///< the oldest first
  std::uint64_t lines_dropped = 0;

  friend bool operator==(const JobRecord&, const JobRecord&) = default;
};

/// As stores keep it: one JSON object of at most record_size_limit bytes; the oldest lines make room for the others.
[[nodiscard]] std::string to_json(const JobRecord& record);
/// Reads what `to_json` wrote. Errors: `malformed`.
[[nodiscard]] Result<JobRecord> job_record_from_json(std::string_view json);

}  // namespace dagverk::jobs
