#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/cron_entry.hpp"
#include "dagverk/jobs/limits.hpp"
#include "dagverk/jobs/store_types.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

/// Jobs, limits and cron entries as lines of text, to carry them from one store to another: what `dagverk store export`
/// writes.
///
///   {"dagverk_export":2,"store":"sqlite:jobs.db","at_us":1795219324380605}
///   {"limit":"key","name":"api","concurrency":2,"rate_count":100,"rate_per_us":60000000,"rate_kind":"bucket"}
///   {"limit":"queue","name":"mail","bound":1000,"when_full":"divert","divert_to":"spare"}
///   {"cron":"nightly","schedule":"30 2 * * *","zone":"UTC","class":"Report",…,"last_slot_us":1795140000000000}
///   {"state":"ready","jid":"…","queue":"default","class":"Resize","payload":"{…}","enqueued_at_us":…}
///   {"dagverk_export_end":1,"limits":2,"cron":1}
///
/// Semantics: each line is a JSON object, whose first member says what it is: what is neither of these is a job. Limits
///            and cron entries stand in front of the jobs. A payload is a text, so that it comes back byte for byte; a
///            text that is not UTF-8 stands in hexadecimal under its name and `_hex`. The last line says how many there
///            are of each: a file that was cut short has none.
/// Units:     times are microseconds since 1970.
/// Threads:   any.
namespace dagverk::jobs {

/// Grows when an older reader would misunderstand what a newer writer writes.
/// 1: jobs alone. 2: limits and cron entries, too.
inline constexpr unsigned export_version = 2;

/// Bytes of a line: the payload, each of whose bytes may become six, and all the rest.
inline constexpr std::size_t export_line_limit = 6 * payload_size_limit + (std::size_t{1} << 20U);

/// The first line. `store`: where the jobs come from, for people; without passwords.
[[nodiscard]] std::string export_head(std::string_view store, WallTime at);
/// A job's line. What only its store understands (handle, node, when it was started) is left out.
[[nodiscard]] std::string export_line(const StoredJob& job);
/// A limit's line. What is used of it is left out.
[[nodiscard]] std::string export_line(const Limit& limit);
/// A cron entry's line, with its last slot, so that no slot is fired twice. Left out: since when it is paused, and its
/// revision.
[[nodiscard]] std::string export_line(const CronEntry& entry);

/// How many lines of each kind there are.
struct ExportCounts {
  std::size_t jobs = 0;
  std::size_t limits = 0;
  std::size_t cron = 0;

  friend bool operator==(const ExportCounts&, const ExportCounts&) = default;
};

/// The last line.
[[nodiscard]] std::string export_end(const ExportCounts& counts);

/// What a line of an export is.
struct ExportLine {
  enum class Kind : std::uint8_t { head, limit, cron, job, end };
  Kind kind = Kind::job;
  StoredJob job = {};        ///< of a job's line
  Limit limit = {};          ///< of a limit's
  CronEntry cron = {};       ///< of a cron entry's; of its pause, whose wish it was and why
  ExportCounts counts = {};  ///< of the last line
};

/// Errors: `malformed_job`: no such line, with what is wrong with it; an unknown member is refused, for what it says
///         would be lost, and so is a limit or a cron entry that no store would take, or whose schedule says nothing.
///         `unsupported`: of a newer version. `too_large`. Blocks on a cron entry, as CronSchedule::parse.
[[nodiscard]] Result<ExportLine> read_export_line(std::string_view line);

}  // namespace dagverk::jobs
