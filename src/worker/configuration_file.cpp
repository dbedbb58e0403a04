#include "worker/log_targets.hpp"
#include "worker/settings.hpp"
#include "worker/size_text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/arguments.hpp"
#include "dagverk/jobs/job_names.hpp"
#include "dagverk/worker/command_line.hpp"
#include "dagverk/worker/duration_text.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <limits>
#include <map>
#include <optional>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace dagverk::worker {
namespace {

constexpr std::string_view job_keys[] = {"run",        "timeout",    "queue",   "retries", "delays",     "dead",
                                         "cwd",        "env",        "env_set", "limits",  "output",     "output_kept",
                                         "exit_codes", "kill_grace", "snooze",  "journal", "expires_in", "retry_for"};
constexpr std::string_view limit_keys[] = {"cpu", "memory", "open_files", "file_size"};
constexpr std::string_view cron_keys[] = {"schedule", "class", "args", "zone", "queue", "missed"};
constexpr std::string_view cron_args_allowed = R"(a list of texts, numbers, true and false, such as ["all", 7])";
constexpr std::string_view pool_keys[] = {"queues", "concurrency", "threads"};
constexpr std::string_view pool_queues_allowed =
    R"(a list of queues: ["high", "low"] in strict order, [["high", 3], ["low", 1]] by weights from 1 to 1000)";
constexpr std::pair<std::string_view, jobs::CommandOutput> command_outputs[] = {
    {"result", jobs::CommandOutput::result}, {"log", jobs::CommandOutput::log}, {"plain", jobs::CommandOutput::plain}};
constexpr std::pair<std::string_view, jobs::CommandExit> command_exits[] = {{"done", jobs::CommandExit::done},
                                                                            {"retry", jobs::CommandExit::retry},
                                                                            {"snooze", jobs::CommandExit::snooze},
                                                                            {"discard", jobs::CommandExit::discard},
                                                                            {"bury", jobs::CommandExit::bury}};
constexpr std::string_view run_allowed = R"(a list of texts, the executable first, such as ["sha256sum", "--", "{0}"])";

struct Descriptor {
  int number = -1;
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
};

/// The file's bytes. It decides what is executed, so nobody but its owner may have written it.
Result<std::string> read_guarded(const std::string& path, const std::string& shown_path) {
  const auto refuse = [&](std::string_view what) {
    return Error(ErrorCode::configuration, concat(printable(shown_path), ": ", what));
  };
  Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.number < 0) return refuse(concat("cannot be read: ", std::strerror(errno)));
  struct stat status{};
  if (::fstat(file.number, &status) != 0) return refuse(concat("cannot be read: ", std::strerror(errno)));
  if (!S_ISREG(status.st_mode)) return refuse("is not a regular file");
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return refuse(concat("others than its owner may write it, and it decides what is executed; ", "type: chmod go-w ",
                         printable(shown_path)));
  }
  std::string text;
  char buffer[65536];
  while (true) {
    const ssize_t count = ::read(file.number, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return refuse(concat("cannot be read: ", std::strerror(errno)));
    if (count == 0) return text;
    text.append(buffer, static_cast<std::size_t>(count));
    if (text.size() > configuration_size_limit) return refuse("is larger than 1 MiB");
  }
}

/// A value for an error message: simple ones as they are, others by their kind.
std::string got(const toml::node& node) {
  if (const auto* text = node.as_string()) return concat("got ", shown(SettingValue(text->get())));
  if (const auto* number = node.as_integer()) return concat("got ", number->get());
  if (const auto* number = node.as_floating_point()) return concat("got ", number->get());
  if (const auto* flag = node.as_boolean()) return concat("got ", flag->get());
  if (const auto* list = node.as_array()) return list->empty() ? "got an empty list" : "got a list";
  if (node.is_table()) return "got a table";
  return "got a date or time";
}

class Reader {
 public:
  Reader(const std::string& path, std::string shown_path, Configuration& configuration, Mistakes& mistakes)
      : shown_path_(std::move(shown_path)), configuration_(configuration), mistakes_(mistakes) {
    const std::size_t slash = path.rfind('/');
    if (slash != std::string::npos) folder_ = path.substr(0, std::max<std::size_t>(slash, 1));
  }

  void read(const toml::table& root) {
    for (const auto& [key, node] : in_order(root)) {
      if (key == "store") {
        if (const auto* text = node->as_string()) {
          apply_store(text->get(), origin(*node), folder_, configuration_, mistakes_);
        } else {
          wrong(*node, key, stores_allowed);
        }
      } else if (key == "queues") {
        if (const auto* table = table_or_mistake(*node, key, "lines such as default = 10")) read_queues(*table);
      } else if (key == "pools") {
        if (const auto* table = table_or_mistake(*node, key, "tables such as [pools.main]")) read_pools(*table);
      } else if (key == "jobs") {
        if (const auto* table = table_or_mistake(*node, key, "tables such as [jobs.Checksum]")) read_jobs(*table);
      } else if (key == "cron") {
        if (const auto* table = table_or_mistake(*node, key, "tables such as [cron.nightly]")) read_crons(*table);
      } else if (key == "journal" || key == "dead" || key == "events" || key == "log") {
        if (const auto* table = table_or_mistake(*node, key, concat("a table: [", key, "]"))) read_group(key, *table);
      } else {
        read_scalar(key, *node, {"store", "queues", "pools", "jobs", "cron", "journal", "dead", "events", "log"});
      }
    }
  }

 private:
  using Members = std::vector<std::pair<std::string, const toml::node*>>;

  /// Tables are sorted by key; people wrote them in another order.
  static Members in_order(const toml::table& table) {
    Members members;
    for (const auto& [key, node] : table) members.emplace_back(std::string(key.str()), &node);
    std::ranges::sort(members, [](const auto& a, const auto& b) {
      const auto x = a.second->source().begin;
      const auto y = b.second->source().begin;
      return x.line != y.line ? x.line < y.line : x.column < y.column;
    });
    return members;
  }

  [[nodiscard]] std::string place(const toml::node& node) const {
    return concat(printable(shown_path_), ":", node.source().begin.line);
  }
  [[nodiscard]] SettingOrigin origin(const toml::node& node) const { return {Origin::file, place(node)}; }

  void wrong(const toml::node& node, std::string_view key, std::string_view allowed) {
    mistakes_.add(place(node), printable(key, 300), concat(got(node), "; allowed: ", allowed));
  }

  const toml::table* table_or_mistake(const toml::node& node, std::string_view key, std::string_view allowed) {
    if (!node.is_table()) wrong(node, key, allowed);
    return node.as_table();
  }

  void unknown_key(const toml::node& node, std::string_view full_key, std::string_view key,
                   std::span<const std::string_view> known) {
    std::string what = "no such key";
    if (const auto near = nearest_word(key, known)) {
      what += concat("; did you mean ", *near, "?");
    } else {
      what += "; allowed: ";
      for (std::size_t index = 0; index < known.size(); ++index) what += concat(index == 0 ? "" : ", ", known[index]);
    }
    mistakes_.add(place(node), printable(full_key, 300), what);
  }

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
        return path_below(folder_, value);
      case SettingRow::Kind::log_targets: return are_log_targets(value) ? log_targets_below(folder_, value) : value;
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
        mistakes_.add(place(*node), printable(key, 300), good.error().message());
        continue;
      }
      const auto* number = node->as_integer();
      if (number == nullptr || number->get() < 1 || number->get() > static_cast<std::int64_t>(concurrency_max)) {
        wrong(*node, key, "its concurrency, a whole number from 1 to 1024");
        continue;
      }
      if (configuration_.queues.size() == queue_settings_limit) {
        mistakes_.add(place(*node), key, concat("more than ", queue_settings_limit, " queues"));
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
        mistakes_.add(place(*node), printable(key, 300), "the name of a pool is one that a queue may have");
      } else if (configuration_.pools.size() == queue_settings_limit) {
        mistakes_.add(place(*node), key, concat("more than ", queue_settings_limit, " pools"));
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
      mistakes_.add(place(table), prefix, concat("has no queues; it says what it serves: ", pool_queues_allowed));
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
        mistakes_.add(place(element), key, good.error().message());
        return;
      }
      if (std::ranges::any_of(into, [&](const jobs::PoolQueue& other) { return other.name == queue->name; })) {
        mistakes_.add(place(element), key, concat("queue \"", queue->name, "\" is there twice"));
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

  void read_jobs(const toml::table& table) {
    for (const auto& [name, node] : in_order(table)) {
      const std::string key = concat("jobs.", name);
      const auto* job = table_or_mistake(*node, key, "a table with run = [\"executable\", …]");
      if (job == nullptr) continue;
      if (const auto good = jobs::check_class_name(name); !good) {
        mistakes_.add(place(*node), printable(key, 300), good.error().message());
      } else if (configuration_.jobs.size() == job_settings_limit) {
        mistakes_.add(place(*node), key, concat("more than ", job_settings_limit, " job classes"));
        return;
      } else {
        read_job(name, *job);
      }
    }
  }

  void read_job(const std::string& name, const toml::table& table) {
    JobSettings job{.name = name, .place = place(table)};
    const std::string prefix = concat("jobs.", name);
    for (const auto& [key, node] : in_order(table)) {
      // [jobs.Mail.Send] is a table in a table to TOML.
      const bool is_group = key == "env_set" || key == "limits" || key == "exit_codes";
      if (node->is_table() && !is_group) {
        mistakes_.add(place(*node), printable(concat(prefix, ".", key), 300),
                      concat("a class name with dots needs quotes: [jobs.\"", name, ".", key, "\"]"));
        return;
      }
      read_job_key(job, concat(prefix, ".", key), key, *node);
    }
    if (job.command.run.empty()) {
      mistakes_.add(job.place, prefix, concat("has no run; it says what to execute: ", run_allowed));
    }
    configuration_.jobs.push_back(std::move(job));
  }

  void read_job_key(JobSettings& job, const std::string& full_key, std::string_view key, const toml::node& node) {
    if (key == "run") {
      if (auto words = texts(node); words && !words->empty() && !words->front().empty()) {
        job.command.run = std::move(*words);
        std::string& executable = job.command.run.front();
        if (executable.find('/') != std::string::npos) executable = path_below(folder_, executable);
      } else {
        job.command.run = {"missing"};  // already a mistake; keeps the registry from repeating it
        wrong(node, full_key, run_allowed);
      }
    } else if (key == "timeout") {
      read_duration(node, full_key, job.options.timeout, std::chrono::milliseconds(1), std::chrono::hours(24 * 366),
                    R"(a duration from "1ms" to "366d", such as "30s", "5m", "1h30m")");
    } else if (key == "expires_in") {
      read_duration(node, full_key, job.options.expires_in, std::chrono::milliseconds(1), std::chrono::hours(24 * 366),
                    R"(a duration from "1ms" to "366d", such as "10m")");
    } else if (key == "retry_for") {
      read_duration(node, full_key, job.options.retry.retry_for, std::chrono::seconds(1), std::chrono::hours(24 * 366),
                    R"(a duration from "1s" to "366d", such as "2d")");
    } else if (key == "kill_grace") {
      read_duration(node, full_key, job.command.kill_grace, Duration::zero(), std::chrono::hours(1),
                    R"(a duration from "0s" to "1h", such as "5s")");
    } else if (key == "queue") {
      read_queue_name(node, full_key, job.options.queue);
    } else if (key == "retries") {
      const auto* number = node.as_integer();
      if (number == nullptr || number->get() < 0 || number->get() > 10'000) {
        wrong(node, full_key, "a whole number from 0 (never again) to 10000");
      } else {
        job.options.retry.max_retries = static_cast<std::uint32_t>(number->get());
      }
    } else if (key == "delays") {
      read_delays(node, full_key, job.options.retry.delays);
    } else if (key == "dead" || key == "journal") {
      const auto* flag = node.as_boolean();
      if (flag == nullptr) return wrong(node, full_key, "true or false");
      (key == "dead" ? job.options.retry.dead : job.options.journaled) = flag->get();
    } else if (key == "cwd") {
      const auto* text = node.as_string();
      if (text == nullptr || text->get().empty()) return wrong(node, full_key, "the path of a folder");
      job.command.working_directory = path_below(folder_, text->get());
    } else if (key == "env") {
      auto names = texts(node);
      if (!names) return wrong(node, full_key, R"(a list of variables to pass on, such as ["PATH", "HOME"])");
      job.command.environment_inherit = std::move(*names);
    } else if (key == "env_set") {
      read_environment(node, full_key, job.command.environment_set);
    } else if (key == "limits") {
      if (const auto* table = table_or_mistake(node, full_key, R"(a table such as { memory = "512MiB" })")) {
        for (const auto& [name, limit] : in_order(*table)) read_limit(*limit, full_key, name, job.command.limits);
      }
    } else if (key == "exit_codes") {
      if (const auto* table = table_or_mistake(node, full_key, R"(a table such as { 75 = "snooze" })")) {
        for (const auto& [code, meaning] : in_order(*table)) {
          read_exit_code(*meaning, concat(full_key, ".", code), code, job.command.exit_codes);
        }
      }
    } else if (key == "snooze") {
      read_duration(node, full_key, job.command.snooze_delay, Duration::zero(), std::chrono::hours(24 * 366),
                    R"(a duration from "0s" to "366d", such as "10m")");
    } else if (key == "output") {
      read_word(node, full_key, job.command.output, command_outputs);
    } else if (key == "output_kept") {
      std::uint64_t size_bytes = job.command.output_kept_bytes;
      read_size(node, full_key, size_bytes, 0, jobs::result_text_size_limit, R"(a size from "0B" to "1KiB")");
      job.command.output_kept_bytes = static_cast<std::size_t>(size_bytes);
    } else {
      unknown_key(node, full_key, key, job_keys);
    }
  }

  void read_crons(const toml::table& table) {
    for (const auto& [name, node] : in_order(table)) {
      const std::string key = concat("cron.", name);
      const auto* members = table_or_mistake(*node, key, R"(a table with schedule = "0 3 * * *" and class = "NAME")");
      if (members == nullptr) continue;
      if (configuration_.cron.size() == jobs::cron_entry_count_limit) {
        mistakes_.add(place(*node), key, concat("more than ", jobs::cron_entry_count_limit, " jobs that recur"));
        return;
      }
      read_cron(name, *members);
    }
  }

  void read_cron(const std::string& name, const toml::table& table) {
    CronSettings cron;
    cron.spec.name = name;
    cron.file = printable(shown_path_, 200);
    cron.place = place(table);
    const std::string prefix = concat("cron.", name);
    bool good = true;
    for (const auto& [key, node] : in_order(table)) {
      good = read_cron_key(cron, concat(prefix, ".", key), key, *node) && good;
    }
    for (const std::string_view needed : {"schedule", "class"}) {
      if (table.contains(needed)) continue;
      mistakes_.add(place(table), prefix, concat("has no ", needed));
      good = false;
    }
    if (good) configuration_.cron.push_back(std::move(cron));
  }

  /// False after a mistake.
  bool read_cron_key(CronSettings& cron, const std::string& full_key, std::string_view key, const toml::node& node) {
    if (std::ranges::find(cron_keys, key) == std::end(cron_keys)) {
      unknown_key(node, full_key, key, cron_keys);
      return false;
    }
    if (key == "args") return read_cron_args(cron.args_json, full_key, node);
    const auto* text = node.as_string();
    if (text == nullptr) {
      wrong(node, full_key, key == "schedule" ? R"(a line such as "30 2 * * MON-FRI" or "@daily")" : "a text");
      return false;
    }
    if (key == "schedule") cron.spec.schedule = text->get();
    if (key == "class") cron.class_name = text->get();
    if (key == "zone") cron.spec.zone = text->get();
    if (key == "queue") cron.spec.queue = text->get();
    if (key == "missed") {
      const auto rule = jobs::missed_runs_from_text(text->get());
      if (!rule) {
        wrong(node, full_key, "skip, once, all");
        return false;
      }
      cron.spec.missed = *rule;
    }
    return true;
  }

  bool read_cron_args(std::string& into, const std::string& full_key, const toml::node& node) {
    const auto* list = node.as_array();
    std::string json = "[";
    Result<void> written;
    for (std::size_t index = 0; list != nullptr && written && index < list->size(); ++index) {
      const toml::node& element = *list->get(index);
      if (index > 0) json += ",";
      if (const auto* text = element.as_string()) {
        written = jobs::write_json(json, text->get());
      } else if (const auto* number = element.as_integer()) {
        written = jobs::write_json(json, number->get());
      } else if (const auto* real = element.as_floating_point()) {
        written = jobs::write_json(json, real->get());
      } else if (const auto* flag = element.as_boolean()) {
        written = jobs::write_json(json, flag->get());
      } else {
        written = Error(ErrorCode::invalid_argument);
      }
    }
    if (list == nullptr || !written) {
      wrong(node, full_key, cron_args_allowed);
      return false;
    }
    into = json + "]";
    return true;
  }

  static std::optional<std::vector<std::string>> texts(const toml::node& node) {
    const auto* list = node.as_array();
    if (list == nullptr) return std::nullopt;
    std::vector<std::string> all;
    for (const toml::node& element : *list) {
      const auto* text = element.as_string();
      if (text == nullptr || text->get().find('\0') != std::string::npos) return std::nullopt;
      all.push_back(text->get());
    }
    return all;
  }

  void read_duration(const toml::node& node, std::string_view key, Duration& into, Duration min, Duration max,
                     std::string_view allowed) {
    const auto* text = node.as_string();
    const auto parsed =
        text == nullptr ? Result<Duration>(Error(ErrorCode::invalid_argument)) : parse_duration(text->get());
    if (!parsed || *parsed < min || *parsed > max) return wrong(node, key, allowed);
    into = *parsed;
  }

  void read_size(const toml::node& node, std::string_view key, std::uint64_t& into, std::uint64_t min,
                 std::uint64_t max, std::string_view allowed) {
    const auto* text = node.as_string();
    const std::optional<std::uint64_t> size_bytes = text == nullptr ? std::nullopt : parse_size(text->get());
    if (!size_bytes || *size_bytes < min || *size_bytes > max) return wrong(node, key, allowed);
    into = *size_bytes;
  }

  template <class Value, std::size_t N>
  void read_word(const toml::node& node, std::string_view key, Value& into,
                 const std::pair<std::string_view, Value> (&words)[N]) {
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

  void read_limit(const toml::node& node, const std::string& group, const std::string& key, OsProcessLimits& into) {
    constexpr std::uint64_t size_max = std::uint64_t{1} << 50U;
    const std::string full_key = concat(group, ".", key);
    if (key == "cpu") {
      into.cpu_time = std::chrono::seconds(1);
      read_duration(node, full_key, *into.cpu_time, std::chrono::seconds(1), std::chrono::hours(24 * 366),
                    R"(a duration of CPU time from "1s" to "366d", such as "30s")");
    } else if (key == "memory") {
      read_size(node, full_key, into.address_space_bytes.emplace(size_max), std::uint64_t{1} << 20U, size_max,
                R"(a size from "1MiB" to "1024TiB", such as "512MiB")");
    } else if (key == "file_size") {
      read_size(node, full_key, into.file_size_bytes.emplace(size_max), 0, size_max,
                R"(a size from "0B" to "1024TiB", such as "100MiB")");
    } else if (key == "open_files") {
      const auto* number = node.as_integer();
      if (number == nullptr || number->get() < 8 || number->get() > 1'048'576) {
        wrong(node, full_key, "a whole number from 8 to 1048576");
      } else {
        into.open_files_count = static_cast<std::uint64_t>(number->get());
      }
    } else {
      unknown_key(node, full_key, key, limit_keys);
    }
  }

  void read_exit_code(const toml::node& node, const std::string& key, std::string_view code_text,
                      std::map<int, jobs::CommandExit>& into) {
    int code = 0;
    const auto [end, fault] = std::from_chars(code_text.data(), code_text.data() + code_text.size(), code);
    if (fault != std::errc() || end != code_text.data() + code_text.size() || code < 1 || code > 255) {
      mistakes_.add(place(node), printable(key, 300), "is no exit code; allowed: 1 to 255");
      return;
    }
    read_word(node, key, into[code], command_exits);
  }

  void read_queue_name(const toml::node& node, std::string_view key, std::string& into) {
    const auto* text = node.as_string();
    if (text == nullptr) return wrong(node, key, "the name of a queue");
    if (const auto good = jobs::check_queue_name(text->get()); !good) {
      mistakes_.add(place(node), key, good.error().message());
      return;
    }
    into = text->get();
  }

  void read_delays(const toml::node& node, std::string_view key, std::vector<Duration>& into) {
    constexpr std::string_view allowed = R"(a list of durations of at most "366d", such as ["1s", "10s", "5m"])";
    const auto list = texts(node);
    if (!list || list->empty()) return wrong(node, key, allowed);
    for (const std::string& text : *list) {
      const auto parsed = parse_duration(text);
      if (!parsed || *parsed > jobs::retry_delay_max) {
        mistakes_.add(place(node), key, concat("got ", shown(text), "; allowed: ", allowed));
        return;
      }
      into.push_back(*parsed);
    }
  }

  // Values may be secrets: they are never shown.
  void read_environment(const toml::node& node, const std::string& key,
                        std::vector<std::pair<std::string, std::string>>& into) {
    constexpr std::string_view allowed = "NAME = \"text\" for each variable";
    const auto* table = node.as_table();
    if (table == nullptr) {
      mistakes_.add(place(node), key, concat("is not a table; allowed: ", allowed));
      return;
    }
    for (const auto& [name, value] : in_order(*table)) {
      const auto* text = value->as_string();
      const bool bad_name = name.empty() || name.find_first_of(std::string_view("=\0", 2)) != std::string::npos;
      if (text == nullptr || bad_name || text->get().find('\0') != std::string::npos) {
        mistakes_.add(place(*value), concat(key, ".", printable(name, 60)), concat("allowed: ", allowed));
      } else {
        into.emplace_back(name, text->get());
      }
    }
  }

  std::string shown_path_;
  std::string folder_;
  Configuration& configuration_;
  Mistakes& mistakes_;
};

}  // namespace

Result<void> read_configuration_text(std::string_view text, const std::string& path, const std::string& shown_path,
                                     Configuration& configuration, Mistakes& mistakes) {
  try {
    const toml::table root = toml::parse(text, std::string_view(shown_path));
    Reader(path, shown_path, configuration, mistakes).read(root);
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
