#pragma once

#include "worker/settings.hpp"

#include "dagverk/base/clock.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/base/result.hpp"

#include <toml++/toml.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// How the sections of the configuration file read their keys.
namespace dagverk::worker {

/// One file that is being read: reads values, and notes what is wrong with them, by file and line.
///
/// Lifetime: `mistakes` outlives it. A copy notes into the same.
class FileReader {
 public:
  /// `path` says what relative paths count from.
  FileReader(const std::string& path, std::string shown_path, Mistakes& mistakes);

  using Members = std::vector<std::pair<std::string, const toml::node*>>;
  /// Tables are sorted by key; people wrote them in another order.
  [[nodiscard]] static Members in_order(const toml::table& table);

  [[nodiscard]] const std::string& shown_path() const noexcept { return shown_path_; }
  [[nodiscard]] const std::string& folder() const noexcept { return folder_; }
  [[nodiscard]] std::string place(const toml::node& node) const;
  [[nodiscard]] SettingOrigin origin(const toml::node& node) const { return {Origin::file, place(node)}; }

  /// Notes that `key` has another value than one of those that are `allowed`.
  void wrong(const toml::node& node, std::string_view key, std::string_view allowed) const;
  void mistake(const toml::node& node, std::string_view key, std::string_view what) const;
  void unknown_key(const toml::node& node, std::string_view full_key, std::string_view key,
                   std::span<const std::string_view> known) const;

  /// Nothing, and a mistake, unless it is a table.
  [[nodiscard]] const toml::table* table_or_mistake(const toml::node& node, std::string_view key,
                                                    std::string_view allowed) const;
  /// None unless it is a list of texts without zero bytes.
  [[nodiscard]] static std::optional<std::vector<std::string>> texts(const toml::node& node);

  // Each leaves `into` alone, and notes a mistake, unless the value is allowed.
  void read_duration(const toml::node& node, std::string_view key, Duration& into, Duration min, Duration max,
                     std::string_view allowed) const;
  void read_size(const toml::node& node, std::string_view key, std::uint64_t& into, std::uint64_t min,
                 std::uint64_t max, std::string_view allowed) const;
  void read_queue_name(const toml::node& node, std::string_view key, std::string& into) const;
  template <class Value, std::size_t N>
  void read_word(const toml::node& node, std::string_view key, Value& into,
                 const std::pair<std::string_view, Value> (&words)[N]) const {
    const auto* text = node.as_string();
    std::string allowed;
    for (const auto& [word, value] : words) {
      if (text != nullptr && text->get() == word) {
        into = value;
        return;
      }
      allowed += concat(allowed.empty() ? "" : ", ", word);
    }
    wrong(node, key, allowed);
  }

 private:
  std::string shown_path_;
  std::string folder_;
  Mistakes* mistakes_;
};

// The sections; each appends what is right of it.
void read_job_section(const FileReader& file, const toml::table& table, std::vector<JobSettings>& into);
void read_cron_section(const FileReader& file, const toml::table& table, std::vector<CronSettings>& into);
void read_limit_section(const FileReader& file, const toml::table& table, std::vector<LimitSettings>& into);

}  // namespace dagverk::worker
