#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/log.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/jobs/job_registry.hpp"
#include "dagverk/jobs/limits.hpp"
#include "dagverk/jobs/node_options.hpp"
#include "dagverk/jobs/wire_time.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// What a worker and the command are told: flags, then `DAGVERK_*`, then a TOML file, then defaults. Every key has its
/// row in docs/reference/configuration.md.
namespace dagverk::worker {

/// Who gave a setting its value; the later ones win.
enum class Origin : std::uint8_t { built_in, redis_url, file, environment, flag };

[[nodiscard]] std::string_view to_string(Origin origin) noexcept;

/// Where exactly: `dagverk.toml:4`, `DAGVERK_STORE`, `--store`; empty for defaults.
struct SettingOrigin {
  Origin kind = Origin::built_in;
  std::string place = {};
};

/// One queue that the worker serves, by a pool of its own.
struct QueueSettings {
  std::string name;
  std::size_t concurrency = 0;
  SettingOrigin origin = {};
};

/// One pool of the file: `[pools.NAME]`.
struct PoolSettings {
  std::string name;
  std::vector<jobs::PoolQueue> queues = {};
  std::size_t concurrency = 0;
  std::size_t threads = 0;  ///< as jobs::PoolOptions
  SettingOrigin origin = {};
};

/// One command job of the file: `[jobs.Name]`.
struct JobSettings {
  std::string name;
  jobs::CommandSpec command = {};
  jobs::JobOptions options = {};
  std::string place = {};  ///< `dagverk.toml:7`
};

/// One job of the file that recurs: `[cron.NAME]`.
struct CronSettings {
  jobs::CronSpec spec;
  std::string class_name = {};
  std::string args_json = "[]";
  std::string file = {};   ///< as it is named to people
  std::string place = {};  ///< `dagverk.toml:7`
};

/// One limit of the file: `[limits.NAME]`. Workers put it into the store when they start.
struct LimitSettings {
  jobs::Limit limit;
  std::string place = {};  ///< `dagverk.toml:7`
};

/// Which event manager brings a worker's events to their handlers.
enum class EventManagerKind : std::uint8_t { staged, supervised, serial };

/// Everything that can be configured, complete and checked.
///
/// Bounds: a file has at most configuration_size_limit bytes, 1000 queues, 1000 pools, 10,000 job classes,
///         1000 jobs that recur and 1000 limits.
struct Configuration {
  std::string file = {};         ///< the file that was read; empty: none
  std::string store_path = {};   ///< the SQLite file; absolute, or relative to the working directory. Empty: Redis
  std::string redis_url = {};    ///< where jobs are when not in a file; may hold a password: show shown_store
  bool store_is_default = true;  ///< nobody named a store: its folder is made when it is missing

  std::size_t concurrency = 10;                      ///< of queues that state none
  Duration stop_timeout = std::chrono::seconds(25);  ///< how long running jobs may go on after SIGTERM
  LogLevel log_level = LogLevel::info;               ///< of a worker's log
  std::string log_to = "console";                    ///< a worker's log backends, as backend_from_text; with commas
  std::string socket = "auto";                       ///< a worker's: `auto`, `none`, or a path as `store_path`
  EventManagerKind event_manager = EventManagerKind::staged;
  bool journal = true;                   ///< false: no job is journaled
  std::size_t journal_rows = 1'000'000;  ///< the oldest go first
  Duration journal_age = std::chrono::hours(7 * 24);
  std::size_t dead_jobs = 10'000;  ///< the oldest go first
  Duration dead_age = std::chrono::hours(180 * 24);
  std::string metrics = "none";                  ///< on Redis: whose metrics pages show our runs: `7`, `8`, `none`
  Duration heartbeat = std::chrono::seconds(5);  ///< of a worker
  std::string tag = {};                          ///< of a worker, for people: which program, which release

  /// Verk's delays before a retry, and, unless they are set, its limits of the dead set: 100 jobs, 7 days.
  bool verk_compatible = false;
  jobs::UnknownClass unknown_class = jobs::UnknownClass::retry;       ///< what a worker does with it
  jobs::TimestampFormat timestamps = jobs::TimestampFormat::seconds;  ///< how a worker writes times into payloads

  std::vector<QueueSettings> queues = {};  ///< each with a pool of its own; in the order of the file or the flags
  std::vector<PoolSettings> pools = {};    ///< in the order of the file; never both none of these and no queues
  std::vector<JobSettings> jobs = {};      ///< in the order of the file
  std::vector<CronSettings> cron = {};     ///< in the order of the file
  std::vector<LimitSettings> limits = {};  ///< in the order of the file

  /// Where each scalar setting came from, by its key: `store`, `journal.age`, …
  std::map<std::string, SettingOrigin, std::less<>> origins = {};
  /// What is odd but no mistake, for people.
  std::vector<std::string> warnings = {};

  [[nodiscard]] const JobSettings* find_job(std::string_view name) const noexcept;
};

inline constexpr std::size_t configuration_size_limit = std::size_t{1} << 20U;

/// A setting from the command line.
struct FlagValue {
  std::string key;  ///< `store`, `concurrency`, `queue` (NAME or NAME:N), `stop_timeout`, `log_level`, …
  std::string value;
  std::string flag;  ///< as people know it: `--store`
};

/// Where a configuration is made from. Nothing else is looked at, so that tests decide about the world.
struct ConfigurationSources {
  std::optional<std::string> file = {};  ///< `--config`; none: `dagverk.toml` in the working directory, when it exists
  std::string working_directory = {};    ///< empty: the program's
  std::map<std::string, std::string, std::less<>> environment = {};
  std::vector<FlagValue> flags = {};
};

/// The program's own environment.
[[nodiscard]] std::map<std::string, std::string, std::less<>> current_environment();

/// Reads, merges and checks. Relative paths of a file count from the file's folder: the store, `cwd`, and executables
/// with a slash.
///
/// Errors: `configuration`: one line for each mistake, at most 20, with file, line, key, value and what is allowed.
///         `invalid_argument` when only flags are wrong. Passwords of URLs are never shown. A file that others than its
///         owner may write is refused.
[[nodiscard]] Result<Configuration> load_configuration(const ConfigurationSources& sources);

/// A worker's pools: one for each of its queues, then those of the file.
[[nodiscard]] std::vector<jobs::PoolOptions> pools_of(const Configuration& configuration);

/// Defines the file's command jobs, and its jobs that recur. Errors: `already_exists`-like mistakes are the registry's:
/// ask its `check`.
void define_commands(const Configuration& configuration, jobs::JobRegistry& registry);

/// The store for people: `sqlite:FILE`, or the URL of a Redis server without passwords.
[[nodiscard]] std::string shown_store(const Configuration& configuration);

/// `url` without the password that it may carry.
[[nodiscard]] std::string redacted_url(std::string_view url);

}  // namespace dagverk::worker
