#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/store_types.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

/// Jobs as lines of text, to carry them from one store to another: what `dagverk store export` writes.
///
///   {"dagverk_export":1,"store":"sqlite:jobs.db","at_us":1795219324380605}
///   {"state":"ready","jid":"…","queue":"default","class":"Resize","payload":"{…}","enqueued_at_us":…}
///   {"dagverk_export_end":2}
///
/// Semantics: each line is a JSON object. A payload is a text, so that it comes back byte for byte; a text that is not
///            UTF-8 stands in hexadecimal under its name and `_hex`. The last line says how many jobs there are: a file
///            that was cut short has none.
/// Units:     times are microseconds since 1970.
/// Threads:   any.
namespace dagverk::jobs {

/// Grows when an older reader would misunderstand what a newer writer writes.
inline constexpr unsigned export_version = 1;

/// Bytes of a line: the payload, each of whose bytes may become six, and all the rest.
inline constexpr std::size_t export_line_limit = 6 * payload_size_limit + (std::size_t{1} << 20U);

/// The first line. `store`: where the jobs come from, for people; without passwords.
[[nodiscard]] std::string export_head(std::string_view store, WallTime at);
/// A job's line. What only its store understands (handle, node, when it was started) is left out.
[[nodiscard]] std::string export_line(const StoredJob& job);
/// The last line.
[[nodiscard]] std::string export_end(std::size_t jobs);

/// What a line of an export is.
struct ExportLine {
  enum class Kind : std::uint8_t { head, job, end };
  Kind kind = Kind::job;
  StoredJob job = {};    ///< of a job's line
  std::size_t jobs = 0;  ///< of the last line
};

/// Errors: `malformed_job`: no such line, with what is wrong with it; an unknown member is refused, for what it says
///         would be lost. `unsupported`: of a newer version. `too_large`.
[[nodiscard]] Result<ExportLine> read_export_line(std::string_view line);

}  // namespace dagverk::jobs
