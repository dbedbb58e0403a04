// [cron.NAME]: jobs that recur.

#include "worker/file_reader.hpp"

#include "dagverk/jobs/arguments.hpp"
#include "dagverk/worker/command_line.hpp"

#include <algorithm>

namespace dagverk::worker {
namespace {

constexpr std::string_view cron_keys[] = {"schedule", "class", "args", "zone", "queue", "missed"};
constexpr std::string_view cron_args_allowed = R"(a list of texts, numbers, true and false, such as ["all", 7])";

class CronSection : FileReader {
 public:
  CronSection(const FileReader& file, std::vector<CronSettings>& into) : FileReader(file), into_(into) {}

  void read(const toml::table& table) {
    for (const auto& [name, node] : in_order(table)) {
      const std::string key = concat("cron.", name);
      const auto* members = table_or_mistake(*node, key, R"(a table with schedule = "0 3 * * *" and class = "NAME")");
      if (members == nullptr) continue;
      if (into_.size() == jobs::cron_entry_count_limit) {
        mistake(*node, key, concat("more than ", jobs::cron_entry_count_limit, " jobs that recur"));
        return;
      }
      read_cron(name, *members);
    }
  }

 private:
  void read_cron(const std::string& name, const toml::table& table) {
    CronSettings cron;
    cron.spec.name = name;
    cron.file = printable(shown_path(), 200);
    cron.place = place(table);
    const std::string prefix = concat("cron.", name);
    bool good = true;
    for (const auto& [key, node] : in_order(table)) {
      good = read_cron_key(cron, concat(prefix, ".", key), key, *node) && good;
    }
    for (const std::string_view needed : {"schedule", "class"}) {
      if (table.contains(needed)) continue;
      mistake(table, prefix, concat("has no ", needed));
      good = false;
    }
    if (good) into_.push_back(std::move(cron));
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

  std::vector<CronSettings>& into_;
};

}  // namespace

void read_cron_section(const FileReader& file, const toml::table& table, std::vector<CronSettings>& into) {
  CronSection(file, into).read(table);
}

}  // namespace dagverk::worker
