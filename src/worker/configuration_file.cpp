#include "worker/file_reader.hpp"
#include "worker/local_socket.hpp"
#include "worker/log_targets.hpp"
#include "worker/settings.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_names.hpp"
#include "dagverk/worker/command_line.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace dagverk::worker {
namespace {

constexpr std::string_view pool_keys[] = {"queues", "concurrency", "threads"};
constexpr std::string_view pool_queues_allowed =
    R"(a list of queues: ["high", "low"] in strict order, [["high", 3], ["low", 1]] by weights from 1 to 1000)";

/// The file's bytes. It decides what is executed, so nobody but its owner may have written it.
Result<std::string> read_guarded(const std::string& path, const std::string& shown_path) {
  const auto refuse = [&](std::string_view what) {
    return Error(ErrorCode::configuration, concat(printable(shown_path), ": ", what));
  };
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!file) return refuse(concat("cannot be read: ", std::strerror(errno)));
  struct stat status{};
  if (::fstat(file.number(), &status) != 0) return refuse(concat("cannot be read: ", std::strerror(errno)));
  if (!S_ISREG(status.st_mode)) return refuse("is not a regular file");
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return refuse(concat("others than its owner may write it, and it decides what is executed; ", "type: chmod go-w ",
                         printable(shown_path)));
  }
  std::string text;
  char buffer[65536];
  while (true) {
    const ssize_t count = ::read(file.number(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return refuse(concat("cannot be read: ", std::strerror(errno)));
    if (count == 0) return text;
    text.append(buffer, static_cast<std::size_t>(count));
    if (text.size() > configuration_size_limit) return refuse("is larger than 1 MiB");
  }
}

class Reader : FileReader {
 public:
  Reader(const FileReader& file, Configuration& configuration, Mistakes& mistakes)
      : FileReader(file), configuration_(configuration), mistakes_(mistakes) {}

  void read(const toml::table& root) {
    for (const auto& [key, node] : in_order(root)) {
      if (key == "store") {
        if (const auto* text = node->as_string()) {
          apply_store(text->get(), origin(*node), folder(), configuration_, mistakes_);
        } else {
          wrong(*node, key, stores_allowed);
        }
      } else if (key == "queues") {
        if (const auto* table = table_or_mistake(*node, key, "lines such as default = 10")) read_queues(*table);
      } else if (key == "pools") {
        if (const auto* table = table_or_mistake(*node, key, "tables such as [pools.main]")) read_pools(*table);
      } else if (key == "jobs") {
        if (const auto* table = table_or_mistake(*node, key, "tables such as [jobs.Checksum]")) {
          read_job_section(*this, *table, configuration_.jobs);
        }
      } else if (key == "cron") {
        if (const auto* table = table_or_mistake(*node, key, "tables such as [cron.nightly]")) {
          read_cron_section(*this, *table, configuration_.cron);
        }
      } else if (key == "limits") {
        if (const auto* table = table_or_mistake(*node, key, "tables such as [limits.api]")) {
          read_limit_section(*this, *table, configuration_.limits);
        }
      } else if (key == "journal" || key == "dead" || key == "events" || key == "log") {
        if (const auto* table = table_or_mistake(*node, key, concat("a table: [", key, "]"))) read_group(key, *table);
      } else {
        read_scalar(key, *node,
                    {"store", "queues", "pools", "jobs", "cron", "limits", "journal", "dead", "events", "log"});
      }
    }
  }

 private:
  void read_scalar(const std::string& key, const toml::node& node, std::vector<std::string_view> known,
                   std::string_view group = {}) {
    const std::string full_key = group.empty() ? key : concat(group, ".", key);
    for (const SettingRow& row : setting_rows()) {
      if (row.key != full_key) continue;
      if (const auto* text = node.as_string()) {
        apply_setting(row, located(row, text->get()), origin(node), configuration_, mistakes_);
      } else if (const auto* number = node.as_integer()) {
        apply_setting(row, number->get(), origin(node), configuration_, mistakes_);
      } else if (const auto* flag = node.as_boolean()) {
        apply_setting(row, flag->get(), origin(node), configuration_, mistakes_);
      } else {
        wrong(node, full_key, row.allowed);
      }
      return;
    }
    for (const SettingRow& row : setting_rows()) {
      const std::size_t dot = row.key.find('.');
      if (group.empty() && dot == std::string_view::npos) known.push_back(row.key);
      if (!group.empty() && row.key.substr(0, dot) == group) known.push_back(row.key.substr(dot + 1));
    }
    unknown_key(node, full_key, key, known);
  }

  /// The value with its paths counted from the file's folder.
  [[nodiscard]] std::string located(const SettingRow& row, const std::string& value) const {
    switch (row.kind) {
      case SettingRow::Kind::path:
        if (value.empty() || std::ranges::find(row.words, value) != row.words.end()) return value;
        return path_below(folder(), value);
      case SettingRow::Kind::log_targets: return are_log_targets(value) ? log_targets_below(folder(), value) : value;
      default: return value;
    }
  }

  void read_group(const std::string& group, const toml::table& table) {
    for (const auto& [key, node] : in_order(table)) read_scalar(key, *node, {}, group);
  }

  void read_queues(const toml::table& table) {
    for (const auto& [name, node] : in_order(table)) {
      const std::string key = concat("queues.", name);
      if (const auto good = jobs::check_queue_name(name); !good) {
        mistake(*node, key, good.error().message());
        continue;
      }
      const auto* number = node->as_integer();
      if (number == nullptr || number->get() < 1 || number->get() > static_cast<std::int64_t>(concurrency_max)) {
        wrong(*node, key, "its concurrency, a whole number from 1 to 1024");
        continue;
      }
      if (configuration_.queues.size() == queue_settings_limit) {
        mistake(*node, key, concat("more than ", queue_settings_limit, " queues"));
        return;
      }
      configuration_.queues.push_back({name, static_cast<std::size_t>(number->get()), origin(*node)});
    }
  }

  void read_pools(const toml::table& table) {
    for (const auto& [name, node] : in_order(table)) {
      const std::string key = concat("pools.", name);
      const auto* members = table_or_mistake(*node, key, "a table with queues = [\"NAME\", …]");
      if (members == nullptr) continue;
      if (const auto good = jobs::check_queue_name(name); !good) {
        mistake(*node, key, "the name of a pool is one that a queue may have");
      } else if (configuration_.pools.size() == queue_settings_limit) {
        mistake(*node, key, concat("more than ", queue_settings_limit, " pools"));
        return;
      } else {
        read_pool(name, *members);
      }
    }
  }

  void read_pool(const std::string& name, const toml::table& table) {
    PoolSettings pool{.name = name, .origin = origin(table)};
    const std::string prefix = concat("pools.", name);
    for (const auto& [key, node] : in_order(table)) {
      const std::string full_key = concat(prefix, ".", key);
      if (key == "queues") {
        read_pool_queues(*node, full_key, pool.queues);
      } else if (key == "concurrency" || key == "threads") {
        const bool threads = key == "threads";
        const std::size_t max = threads ? jobs::pool_threads_max : jobs::pool_concurrency_max;
        const auto* number = node->as_integer();
        if (number == nullptr || number->get() < 1 || number->get() > static_cast<std::int64_t>(max)) {
          wrong(*node, full_key, concat("a whole number from 1 to ", max));
        } else {
          (threads ? pool.threads : pool.concurrency) = static_cast<std::size_t>(number->get());
        }
      } else {
        unknown_key(*node, full_key, key, pool_keys);
      }
    }
    if (!table.contains("queues")) {
      mistake(table, prefix, concat("has no queues; it says what it serves: ", pool_queues_allowed));
    }
    configuration_.pools.push_back(std::move(pool));
  }

  void read_pool_queues(const toml::node& node, const std::string& key, std::vector<jobs::PoolQueue>& into) {
    const auto* list = node.as_array();
    if (list == nullptr || list->empty()) return wrong(node, key, pool_queues_allowed);
    for (const toml::node& element : *list) {
      std::optional<jobs::PoolQueue> queue = pool_queue(element);
      if (!queue) return wrong(element, key, pool_queues_allowed);
      if (const auto good = jobs::check_queue_name(queue->name); !good) {
        mistake(element, key, good.error().message());
        return;
      }
      if (std::ranges::any_of(into, [&](const jobs::PoolQueue& other) { return other.name == queue->name; })) {
        mistake(element, key, concat("queue \"", queue->name, "\" is there twice"));
        return;
      }
      into.push_back(std::move(*queue));
    }
  }

  /// `"high"` or `["high", 3]`.
  static std::optional<jobs::PoolQueue> pool_queue(const toml::node& node) {
    if (const auto* name = node.as_string()) return jobs::PoolQueue(name->get());
    const auto* pair = node.as_array();
    if (pair == nullptr || pair->size() != 2) return std::nullopt;
    const auto* name = pair->get(0)->as_string();
    const auto* weight = pair->get(1)->as_integer();
    if (name == nullptr || weight == nullptr || weight->get() < 1 || weight->get() > jobs::queue_weight_max) {
      return std::nullopt;
    }
    return jobs::PoolQueue(name->get(), static_cast<std::uint32_t>(weight->get()));
  }

  Configuration& configuration_;
  Mistakes& mistakes_;
};

}  // namespace

Result<void> read_configuration_text(std::string_view text, const std::string& path, const std::string& shown_path,
                                     Configuration& configuration, Mistakes& mistakes) {
  try {
    const toml::table root = toml::parse(text, std::string_view(shown_path));
    Reader(FileReader(path, shown_path, mistakes), configuration, mistakes).read(root);
  } catch (const toml::parse_error& error) {
    const auto at = error.source().begin;
    return Error(ErrorCode::configuration, concat(printable(shown_path), ":", at.line, ":", at.column,
                                                  ": is not TOML: ", printable(error.description(), 200)));
  }
  return {};
}

Result<void> read_configuration_file(const std::string& path, const std::string& shown_path,
                                     Configuration& configuration, Mistakes& mistakes) {
  const auto text = read_guarded(path, shown_path);
  if (!text) return text.error();
  return read_configuration_text(*text, path, shown_path, configuration, mistakes);
}

}  // namespace dagverk::worker
