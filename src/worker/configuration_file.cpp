#include "worker/log_targets.hpp"
#include "worker/settings.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_names.hpp"
#include "dagverk/worker/command_line.hpp"
#include "dagverk/worker/duration_text.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <limits>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace dagverk::worker {
namespace {

constexpr std::string_view job_keys[] = {"run", "timeout", "queue",   "retries",    "delays", "dead",
                                         "cwd", "env",     "env_set", "kill_grace", "journal"};
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
      } else if (key == "jobs") {
        if (const auto* table = table_or_mistake(*node, key, "tables such as [jobs.Checksum]")) read_jobs(*table);
      } else if (key == "journal" || key == "dead" || key == "events" || key == "log") {
        if (const auto* table = table_or_mistake(*node, key, concat("a table: [", key, "]"))) read_group(key, *table);
      } else {
        read_scalar(key, *node, {"store", "queues", "jobs", "journal", "dead", "events", "log"});
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
      if (node->is_table() && key != "env_set") {
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
    } else {
      unknown_key(node, full_key, key, job_keys);
    }
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

Result<void> read_configuration_file(const std::string& path, const std::string& shown_path,
                                     Configuration& configuration, Mistakes& mistakes) {
  const auto text = read_guarded(path, shown_path);
  if (!text) return text.error();
  try {
    const toml::table root = toml::parse(std::string_view(*text), std::string_view(shown_path));
    Reader(path, shown_path, configuration, mistakes).read(root);
  } catch (const toml::parse_error& error) {
    const auto at = error.source().begin;
    return Error(ErrorCode::configuration, concat(printable(shown_path), ":", at.line, ":", at.column,
                                                  ": is not TOML: ", printable(error.description(), 200)));
  }
  return {};
}

}  // namespace dagverk::worker
