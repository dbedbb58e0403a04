// [jobs.NAME]: classes of jobs that are commands.

#include "worker/file_reader.hpp"

#include "dagverk/jobs/job_names.hpp"
#include "dagverk/worker/command_line.hpp"
#include "dagverk/worker/duration_text.hpp"

#include <charconv>
#include <chrono>
#include <map>
#include <system_error>

namespace dagverk::worker {
namespace {

constexpr std::string_view job_keys[] = {"run",     "timeout",     "queue",      "retries",    "delays",
                                         "dead",    "cwd",         "env",        "env_set",    "limits",
                                         "output",  "output_kept", "exit_codes", "kill_grace", "snooze",
                                         "journal", "expires_in",  "retry_for",  "limit",      "unique"};
constexpr std::string_view unique_keys[] = {"until", "for", "key", "conflict"};
constexpr std::pair<std::string_view, jobs::LockUntil> lock_ends[] = {
    {"started", jobs::LockUntil::started}, {"done", jobs::LockUntil::done}, {"period", jobs::LockUntil::period}};
constexpr std::pair<std::string_view, jobs::LockConflict> lock_conflicts[] = {
    {"refuse", jobs::LockConflict::refuse},
    {"replace", jobs::LockConflict::replace},
    {"reschedule", jobs::LockConflict::reschedule}};
constexpr std::string_view limit_allowed = R"("NAME" of a limit, or "NAME:{0}" for each value of an argument)";
constexpr std::string_view os_limit_keys[] = {"cpu", "memory", "open_files", "file_size"};
constexpr std::pair<std::string_view, jobs::CommandOutput> command_outputs[] = {
    {"result", jobs::CommandOutput::result}, {"log", jobs::CommandOutput::log}, {"plain", jobs::CommandOutput::plain}};
constexpr std::pair<std::string_view, jobs::CommandExit> command_exits[] = {{"done", jobs::CommandExit::done},
                                                                            {"retry", jobs::CommandExit::retry},
                                                                            {"snooze", jobs::CommandExit::snooze},
                                                                            {"discard", jobs::CommandExit::discard},
                                                                            {"bury", jobs::CommandExit::bury}};
constexpr std::string_view run_allowed = R"(a list of texts, the executable first, such as ["sha256sum", "--", "{0}"])";

class JobSection : FileReader {
 public:
  JobSection(const FileReader& file, std::vector<JobSettings>& into) : FileReader(file), into_(into) {}

  void read(const toml::table& table) {
    for (const auto& [name, node] : in_order(table)) {
      const std::string key = concat("jobs.", name);
      const auto* job = table_or_mistake(*node, key, "a table with run = [\"executable\", …]");
      if (job == nullptr) continue;
      if (const auto good = jobs::check_class_name(name); !good) {
        mistake(*node, key, good.error().message());
      } else if (into_.size() == job_settings_limit) {
        mistake(*node, key, concat("more than ", job_settings_limit, " job classes"));
        return;
      } else {
        read_job(name, *job);
      }
    }
  }

 private:
  void read_job(const std::string& name, const toml::table& table) {
    JobSettings job{.name = name, .place = place(table)};
    const std::string prefix = concat("jobs.", name);
    for (const auto& [key, node] : in_order(table)) {
      // [jobs.Mail.Send] is a table in a table to TOML.
      const bool is_group = key == "env_set" || key == "limits" || key == "exit_codes" || key == "unique";
      if (node->is_table() && !is_group) {
        mistake(*node, concat(prefix, ".", key),
                concat("a class name with dots needs quotes: [jobs.\"", name, ".", key, "\"]"));
        return;
      }
      read_job_key(job, concat(prefix, ".", key), key, *node);
    }
    if (job.command.run.empty()) {
      mistake(table, prefix, concat("has no run; it says what to execute: ", run_allowed));
    }
    into_.push_back(std::move(job));
  }

  void read_job_key(JobSettings& job, const std::string& full_key, std::string_view key, const toml::node& node) {
    if (key == "run") {
      if (auto words = texts(node); words && !words->empty() && !words->front().empty()) {
        job.command.run = std::move(*words);
        std::string& executable = job.command.run.front();
        if (executable.find('/') != std::string::npos) executable = path_below(folder(), executable);
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
      job.command.working_directory = path_below(folder(), text->get());
    } else if (key == "env") {
      auto names = texts(node);
      if (!names) return wrong(node, full_key, R"(a list of variables to pass on, such as ["PATH", "HOME"])");
      job.command.environment_inherit = std::move(*names);
    } else if (key == "env_set") {
      read_environment(node, full_key, job.command.environment_set);
    } else if (key == "limits") {
      if (const auto* table = table_or_mistake(node, full_key, R"(a table such as { memory = "512MiB" })")) {
        for (const auto& [name, limit] : in_order(*table)) read_os_limit(*limit, full_key, name, job.command.limits);
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
    } else if (key == "limit") {
      read_limit_key(node, full_key, job.options);
    } else if (key == "unique") {
      if (const auto* table = table_or_mistake(node, full_key, R"(a table such as { until = "done", for = "1h" })")) {
        read_unique(*table, full_key, job.options.unique.emplace());
      }
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

  /// `api`, or `api:{0}`.
  void read_limit_key(const toml::node& node, const std::string& key, jobs::JobOptions& into) {
    const auto* text = node.as_string();
    const std::string_view word = text == nullptr ? std::string_view() : std::string_view(text->get());
    const std::size_t colon = word.find(':');
    if (colon != std::string_view::npos) {
      const std::string_view argument = word.substr(colon + 1);
      std::size_t index = 0;
      const bool braces = argument.size() > 2 && argument.starts_with('{') && argument.ends_with('}');
      const char* const end = argument.data() + argument.size() - 1;
      const auto read = braces ? std::from_chars(argument.data() + 1, end, index) : std::from_chars_result{};
      if (!braces || read.ec != std::errc() || read.ptr != end) return wrong(node, key, limit_allowed);
      into.limit_argument = index;
    }
    into.limit = word.substr(0, colon);
    const auto good = jobs::check_limit_name(jobs::LimitScope::key, into.limit);
    if (!good) wrong(node, key, limit_allowed);
  }

  void read_unique(const toml::table& table, const std::string& group, jobs::UniqueLock& into) {
    for (const auto& [key, node] : in_order(table)) {
      const std::string full_key = concat(group, ".", key);
      if (key == "until") {
        read_word(*node, full_key, into.until, lock_ends);
      } else if (key == "conflict") {
        read_word(*node, full_key, into.conflict, lock_conflicts);
      } else if (key == "for") {
        read_duration(*node, full_key, into.expiry, std::chrono::milliseconds(1), jobs::lock_expiry_limit,
                      R"(a duration from "1ms" to "366d", such as "24h")");
      } else if (key == "key") {
        const auto* text = node->as_string();
        if (text == nullptr || text->get().empty() || text->get().size() > jobs::lock_key_size_limit) {
          wrong(*node, full_key, concat("a text of 1 to ", jobs::lock_key_size_limit, " bytes"));
        } else {
          into.key = text->get();
        }
      } else {
        unknown_key(*node, full_key, key, unique_keys);
      }
    }
  }

  void read_os_limit(const toml::node& node, const std::string& group, const std::string& key, OsProcessLimits& into) {
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
      unknown_key(node, full_key, key, os_limit_keys);
    }
  }

  void read_exit_code(const toml::node& node, const std::string& key, std::string_view code_text,
                      std::map<int, jobs::CommandExit>& into) {
    int code = 0;
    const auto [end, fault] = std::from_chars(code_text.data(), code_text.data() + code_text.size(), code);
    if (fault != std::errc() || end != code_text.data() + code_text.size() || code < 1 || code > 255) {
      mistake(node, key, "is no exit code; allowed: 1 to 255");
      return;
    }
    read_word(node, key, into[code], command_exits);
  }

  void read_delays(const toml::node& node, std::string_view key, std::vector<Duration>& into) {
    constexpr std::string_view allowed = R"(a list of durations of at most "366d", such as ["1s", "10s", "5m"])";
    const auto list = texts(node);
    if (!list || list->empty()) return wrong(node, key, allowed);
    for (const std::string& text : *list) {
      const auto parsed = parse_duration(text);
      if (!parsed || *parsed > jobs::retry_delay_max) {
        mistake(node, key, concat("got ", shown(text), "; allowed: ", allowed));
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
      mistake(node, key, concat("is not a table; allowed: ", allowed));
      return;
    }
    for (const auto& [name, value] : in_order(*table)) {
      const auto* text = value->as_string();
      const bool bad_name = name.empty() || name.find_first_of(std::string_view("=\0", 2)) != std::string::npos;
      if (text == nullptr || bad_name || text->get().find('\0') != std::string::npos) {
        mistake(*value, concat(key, ".", printable(name, 60)), concat("allowed: ", allowed));
      } else {
        into.emplace_back(name, text->get());
      }
    }
  }

  std::vector<JobSettings>& into_;
};

}  // namespace

void read_job_section(const FileReader& file, const toml::table& table, std::vector<JobSettings>& into) {
  JobSection(file, into).read(table);
}

}  // namespace dagverk::worker
