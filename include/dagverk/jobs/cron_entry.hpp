#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/jobs/store_types.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What a store keeps of jobs that recur. Schedules, zones and arguments are text to it: see `cron_schedule.hpp`.
namespace dagverk::jobs {

/// What becomes of slots that came while no node could fire them. The numbers are stored; never reuse one.
enum class MissedRuns : std::uint8_t {
  skip = 0,  ///< nothing
  once = 1,  ///< one run, for the latest slot
  all = 2,   ///< a run for each, the latest cron_missed_limit of them
};

[[nodiscard]] std::string_view to_string(MissedRuns rule) noexcept;
[[nodiscard]] std::optional<MissedRuns> missed_runs_from_text(std::string_view text) noexcept;

/// A job that recurs.
struct CronEntry {
  std::string name;               ///< 1..255 bytes, without control characters; unique in its store
  std::string schedule;           ///< see CronSchedule
  std::string zone = "UTC";       ///< likewise
  std::string class_name;         ///< obeys check_class_name
  std::string queue = "default";  ///< obeys check_queue_name
  std::string args_json = "[]";   ///< the arguments of each job; at most cron_arguments_size_limit
  MissedRuns missed = MissedRuns::once;
  std::string origin = {};  ///< for people: who put it: `program`, a file, a person. At most 255 bytes
  WallTime last_slot{};     ///< the slots after this one are yet to come
  std::optional<QueuePause> pause = std::nullopt;  ///< set: no slot is fired
  std::uint64_t revision = 0;                      ///< of its latest change of any kind; never used for anything else
};

/// Whether a store takes the entry, and whether its schedule, its zone and its arguments say something. Blocks, as
/// CronSchedule::parse. Errors: `invalid_argument`, `too_large`.
[[nodiscard]] Result<void> check_cron(const CronEntry& entry);

/// All entries, by name.
struct CronTable {
  std::vector<CronEntry> entries;
  std::uint64_t version = 0;  ///< the latest revision of any entry, removed ones included
};

/// Fires an entry: its jobs are enqueued and `slot` becomes its last one.
struct CronFire {
  std::string name;
  std::uint64_t revision = 0;          ///< as the caller saw it
  WallTime slot;                       ///< later than its last one
  std::vector<EnqueueRequest> jobs{};  ///< at most batch_count_limit; none: the slots up to this one are passed over
};

struct CronFired {
  ItemOutcome outcome = ItemOutcome::done;  ///< done; refused: it has changed, or is paused; missing: there is no such
  std::uint64_t revision = 0;               ///< done: the entry's, and the table's version, from now on
};

/// Who is to fire, for now.
struct CronLead {
  bool leads = false;         ///< whoever asked
  std::string leader = {};    ///< empty: nobody
  std::uint64_t version = 0;  ///< of the table
  WallTime now;               ///< the store's
};

inline constexpr std::size_t cron_entry_count_limit = 1000;
inline constexpr std::size_t cron_arguments_size_limit = std::size_t{16} << 10U;
inline constexpr std::size_t cron_missed_limit = 100;
/// For so long a leader that is not heard of keeps others from leading, at most.
inline constexpr Duration cron_lead_limit = std::chrono::seconds(30);

}  // namespace dagverk::jobs
