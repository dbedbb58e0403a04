// [limits.NAME]: limits of keys and queues.

#include "worker/file_reader.hpp"

#include "dagverk/jobs/job_names.hpp"
#include "dagverk/worker/limit_words.hpp"

namespace dagverk::worker {
namespace {

constexpr std::string_view limit_keys[] = {"concurrency", "rate", "kind", "max_waiting", "when_full"};
constexpr std::string_view rate_allowed = R"(a count and a time, such as "100/1m")";

class LimitSection : FileReader {
 public:
  LimitSection(const FileReader& file, std::vector<LimitSettings>& into) : FileReader(file), into_(into) {}

  void read(const toml::table& table) {
    for (const auto& [word, node] : in_order(table)) {
      const std::string key = concat("limits.", word);
      const auto* members = table_or_mistake(*node, key, R"(a table with concurrency = 5 or rate = "100/1m")");
      if (members == nullptr) continue;
      if (into_.size() == jobs::limit_count_limit) {
        return mistake(*node, key, concat("more than ", jobs::limit_count_limit, " limits"));
      }
      read_limit(word, *members);
    }
  }

 private:
  void read_limit(const std::string& word, const toml::table& table) {
    const std::string prefix = concat("limits.", word);
    LimitName name = limit_name(word);
    LimitSettings settings{.limit = {.scope = name.scope, .name = std::move(name.name)}, .place = place(table)};
    const auto named = settings.limit.scope == jobs::LimitScope::queue
                           ? jobs::check_queue_name(settings.limit.name)
                           : jobs::check_limit_name(settings.limit.scope, settings.limit.name);
    if (!named) return mistake(table, prefix, named.error().message());
    bool good = true;
    for (const auto& [key, node] : in_order(table)) {
      good = read_key(settings.limit, concat(prefix, ".", key), key, *node) && good;
    }
    if (const auto* const kind = table.get("kind")) good = read_kind(settings.limit, prefix, *kind) && good;
    if (const auto* const rule = table.get("when_full")) good = read_rule(settings.limit, prefix, *rule) && good;
    if (!good) return;
    if (const auto allowed = jobs::check(settings.limit); !allowed) {
      return mistake(table, prefix, allowed.error().message());
    }
    into_.push_back(std::move(settings));
  }

  /// False after a mistake.
  bool read_key(jobs::Limit& limit, const std::string& full_key, std::string_view key, const toml::node& node) {
    if (key == "concurrency") {
      const auto* number = node.as_integer();
      if (number == nullptr) return wrong(node, full_key, "a whole number from 1 to 1000000"), false;
      limit.concurrency = number->get();
    } else if (key == "max_waiting") {
      const auto* number = node.as_integer();
      if (number == nullptr) return wrong(node, full_key, "a whole number from 1 to 1000000000"), false;
      limit.bound.emplace().most = number->get();
    } else if (key == "rate") {
      const auto* text = node.as_string();
      const auto rate = text == nullptr ? Error(ErrorCode::invalid_argument) : parse_rate(text->get());
      if (!rate) return wrong(node, full_key, rate_allowed), false;
      limit.rate = *rate;
    } else if (key != "kind" && key != "when_full") {
      return unknown_key(node, full_key, key, limit_keys), false;
    }
    return true;
  }

  /// Behind the others, for it is one of the rate, wherever it stands.
  bool read_kind(jobs::Limit& limit, const std::string& prefix, const toml::node& node) {
    if (!limit.rate) return mistake(node, concat(prefix, ".kind"), "is one of a rate; name that, too"), false;
    const auto* text = node.as_string();
    const auto kind = text == nullptr ? std::nullopt : jobs::rate_kind_from_text(text->get());
    if (!kind) return wrong(node, concat(prefix, ".kind"), "bucket, window"), false;
    limit.rate->kind = *kind;
    return true;
  }

  bool read_rule(jobs::Limit& limit, const std::string& prefix, const toml::node& node) {
    const std::string key = concat(prefix, ".when_full");
    if (!limit.bound) return mistake(node, key, "is one of a max_waiting; name that, too"), false;
    const auto* text = node.as_string();
    if (text != nullptr && read_when_full(text->get(), *limit.bound)) return true;
    return wrong(node, key, "refuse, drop-oldest, divert:QUEUE"), false;
  }

  std::vector<LimitSettings>& into_;
};

}  // namespace

void read_limit_section(const FileReader& file, const toml::table& table, std::vector<LimitSettings>& into) {
  LimitSection(file, into).read(table);
}

}  // namespace dagverk::worker
