#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/worker/configuration.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

/// The scalar settings as one table, for the file's reader, the environment and the flags alike.
namespace dagverk::worker {

/// A value as its source spells it: TOML knows types, flags and the environment have text alone.
using SettingValue = std::variant<std::string, std::int64_t, bool>;

struct SettingRow {
  enum class Kind : std::uint8_t { path, log_targets, count, duration, boolean, choice, text };

  std::string_view key;  ///< `journal.age`; in the environment DAGVERK_JOURNAL_AGE
  Kind kind;
  std::int64_t min = 0;  ///< count: the value; duration: seconds; text: bytes
  std::int64_t max = 0;
  std::string_view allowed;  ///< for people
  /// The value was checked: a string for path, log_targets and choice, an integer for counts and durations
  /// (nanoseconds).
  void (*assign)(Configuration& configuration, const SettingValue& value) = nullptr;
  /// choice: all there are; path: words that are no path.
  std::span<const std::string_view> words = {};
};

[[nodiscard]] std::span<const SettingRow> setting_rows() noexcept;

/// `DAGVERK_` and the key in capitals, with `_` for dots.
[[nodiscard]] std::string environment_name(std::string_view key);

/// Mistakes found so far, one line each.
class Mistakes {
 public:
  /// `place: key: what`, e.g. `dagverk.toml:4: journal.age: …`.
  void add(std::string_view place, std::string_view key, std::string_view what);
  [[nodiscard]] bool empty() const noexcept { return lines_.empty(); }
  [[nodiscard]] std::string text() const;

 private:
  std::vector<std::string> lines_;
  std::size_t more_ = 0;
};

/// A value for an error message: texts in quotes, cut and escaped.
[[nodiscard]] std::string shown(const SettingValue& value);

/// Gives the setting of `row` its value, or notes a mistake.
void apply_setting(const SettingRow& row, const SettingValue& value, const SettingOrigin& origin, Configuration& into,
                   Mistakes& mistakes);

inline constexpr std::string_view stores_allowed = "sqlite:FILE or redis://HOST:PORT/DATABASE";

/// A store's URL, taken apart: `store_path` or `redis_url` of `configuration` from now on. `folder`: what a relative
/// path counts from.
void apply_store(std::string_view url, const SettingOrigin& origin, std::string_view folder, Configuration& into,
                 Mistakes& mistakes);

/// `folder/path`, or `path` when it is absolute or there is no folder.
[[nodiscard]] std::string path_below(std::string_view folder, std::string_view path);

/// Reads a file's bytes into `configuration`, queues into `configuration.queues`; `path` says what relative paths count
/// from. Errors: `configuration` when the bytes are no TOML; what is wrong in them goes to `mistakes`.
[[nodiscard]] Result<void> read_configuration_text(std::string_view text, const std::string& path,
                                                   const std::string& shown_path, Configuration& configuration,
                                                   Mistakes& mistakes);

/// Reads the file into `configuration`, queues into `configuration.queues`. A pool without a concurrency has 0. Errors:
/// `configuration` when the file cannot be read at all; what is wrong in it goes to `mistakes`.
[[nodiscard]] Result<void> read_configuration_file(const std::string& path, const std::string& shown_path,
                                                   Configuration& configuration, Mistakes& mistakes);

inline constexpr std::size_t queue_settings_limit = 1000;
inline constexpr std::size_t job_settings_limit = 10'000;
inline constexpr std::size_t concurrency_max = 1024;

}  // namespace dagverk::worker
