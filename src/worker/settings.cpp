#include "worker/settings.hpp"

#include "worker/log_targets.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/net/redis_url.hpp"
#include "dagverk/worker/command_line.hpp"
#include "dagverk/worker/duration_text.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <chrono>
#include <optional>
#include <system_error>

namespace dagverk::worker {
namespace {

using Kind = SettingRow::Kind;

constexpr std::size_t mistakes_limit = 20;
constexpr std::string_view level_names[] = {"debug", "info", "warning", "error"};
constexpr std::string_view manager_names[] = {"staged", "supervised", "serial"};  // as in EventManagerKind
constexpr std::string_view metrics_names[] = {"none", "7", "8"};
constexpr std::string_view compatibility_names[] = {"sidekiq", "verk"};
constexpr std::string_view timestamp_names[] = {"seconds", "millis"};
constexpr std::string_view unknown_class_names[] = {"retry", "leave", "bury"};  // as in UnknownClass
constexpr std::string_view socket_words[] = {"auto", "none"};

std::int64_t number(const SettingValue& value) { return std::get<std::int64_t>(value); }
Duration duration(const SettingValue& value) { return Duration(number(value)); }

constexpr SettingRow rows[] = {
    {"concurrency", Kind::count, 1, concurrency_max, "a whole number from 1 to 1024",
     [](Configuration& c, const SettingValue& v) { c.concurrency = static_cast<std::size_t>(number(v)); }},
    {"stop_timeout", Kind::duration, 0, 86'400, R"(a duration from "0s" to "1d", such as "25s")",
     [](Configuration& c, const SettingValue& v) { c.stop_timeout = duration(v); }},
    {"log_level", Kind::choice, 0, 0, R"("debug", "info", "warning" or "error")",
     [](Configuration& c, const SettingValue& v) {
       const auto* const found = std::ranges::find(level_names, std::get<std::string>(v));
       c.log_level = static_cast<LogLevel>(found - std::begin(level_names));
     },
     level_names},
    {"log.to", Kind::log_targets, 0, 0,
     R"("console", "console:stdout", "file:PATH", "json:PATH", "syslog+udp://HOST:PORT" (or tcp), "http://HOST/PATH" )"
     R"(or "loki:http://HOST:PORT"; commas between)",
     [](Configuration& c, const SettingValue& v) { c.log_to = std::get<std::string>(v); }},
    {"socket", Kind::path, 0, 0, R"("auto", "none" or the path of a socket)",
     [](Configuration& c, const SettingValue& v) { c.socket = std::get<std::string>(v); }, socket_words},
    {"events.manager", Kind::choice, 0, 0, R"("staged", "supervised" or "serial")",
     [](Configuration& c, const SettingValue& v) {
       const auto* const found = std::ranges::find(manager_names, std::get<std::string>(v));
       c.event_manager = static_cast<EventManagerKind>(found - std::begin(manager_names));
     },
     manager_names},
    {"journal.enabled", Kind::boolean, 0, 0, "true or false",
     [](Configuration& c, const SettingValue& v) { c.journal = std::get<bool>(v); }},
    {"journal.rows", Kind::count, 1000, 1'000'000'000, "a whole number from 1000 to 1000000000",
     [](Configuration& c, const SettingValue& v) { c.journal_rows = static_cast<std::size_t>(number(v)); }},
    {"journal.age", Kind::duration, 60, 86'400 * 3650L, R"(a duration from "1m" to "3650d", such as "7d")",
     [](Configuration& c, const SettingValue& v) { c.journal_age = duration(v); }},
    {"dead.jobs", Kind::count, 1, 100'000'000, "a whole number from 1 to 100000000",
     [](Configuration& c, const SettingValue& v) { c.dead_jobs = static_cast<std::size_t>(number(v)); }},
    {"dead.age", Kind::duration, 60, 86'400 * 3650L, R"(a duration from "1m" to "3650d", such as "180d")",
     [](Configuration& c, const SettingValue& v) { c.dead_age = duration(v); }},
    {"metrics", Kind::choice, 0, 0, R"("none", "7" or "8")",
     [](Configuration& c, const SettingValue& v) { c.metrics = std::get<std::string>(v); }, metrics_names},
    {"heartbeat", Kind::duration, 1, 6, R"(a duration from "1s" to "6s", such as "5s")",
     [](Configuration& c, const SettingValue& v) { c.heartbeat = duration(v); }},
    {"tag", Kind::text, 0, 255, "a text of at most 255 bytes",
     [](Configuration& c, const SettingValue& v) { c.tag = std::get<std::string>(v); }},
    {"compatibility", Kind::choice, 0, 0, R"("sidekiq" or "verk")",
     [](Configuration& c, const SettingValue& v) { c.verk_compatible = std::get<std::string>(v) == "verk"; },
     compatibility_names},
    {"timestamps", Kind::choice, 0, 0, R"("seconds" or "millis")",
     [](Configuration& c, const SettingValue& v) {
       c.timestamps =
           std::get<std::string>(v) == "millis" ? jobs::TimestampFormat::millis : jobs::TimestampFormat::seconds;
     },
     timestamp_names},
    {"unknown_class", Kind::choice, 0, 0, R"("retry", "leave" or "bury")",
     [](Configuration& c, const SettingValue& v) {
       const auto* const found = std::ranges::find(unknown_class_names, std::get<std::string>(v));
       c.unknown_class = static_cast<jobs::UnknownClass>(found - std::begin(unknown_class_names));
     },
     unknown_class_names},
};

/// What the row's type makes of the value; none when it is not allowed.
std::optional<SettingValue> checked(const SettingRow& row, const SettingValue& value, const SettingOrigin& origin) {
  const bool typed = origin.kind == Origin::file;
  const std::string* text = std::get_if<std::string>(&value);
  switch (row.kind) {
    case Kind::path:
      if (text == nullptr || text->empty() || text->find('\0') != std::string::npos) return std::nullopt;
      return *text;
    case Kind::log_targets:
      if (text == nullptr || !are_log_targets(*text)) return std::nullopt;
      return *text;
    case Kind::text:
      if (text == nullptr || text->size() > static_cast<std::size_t>(row.max)) return std::nullopt;
      return *text;
    case Kind::choice:
      if (text == nullptr || std::ranges::find(row.words, *text) == row.words.end()) return std::nullopt;
      return *text;
    case Kind::boolean:
      if (const bool* given = std::get_if<bool>(&value)) return *given;
      if (typed || text == nullptr) return std::nullopt;
      if (*text == "true" || *text == "1") return true;
      if (*text == "false" || *text == "0") return false;
      return std::nullopt;
    case Kind::duration: {
      if (text == nullptr) return std::nullopt;
      const auto parsed = parse_duration(*text);
      if (!parsed || *parsed < std::chrono::seconds(row.min) || *parsed > std::chrono::seconds(row.max)) {
        return std::nullopt;
      }
      return parsed->count();
    }
    case Kind::count: {
      std::int64_t count = 0;
      if (const std::int64_t* given = std::get_if<std::int64_t>(&value)) {
        count = *given;
      } else {
        if (typed || text == nullptr) return std::nullopt;
        const char* const end = text->data() + text->size();
        const auto [parsed_end, fault] = std::from_chars(text->data(), end, count);
        if (fault != std::errc() || parsed_end != end) return std::nullopt;
      }
      if (count < row.min || count > row.max) return std::nullopt;
      return count;
    }
  }
  return std::nullopt;
}

bool is_redis(std::string_view url) {
  return url.starts_with("redis:") || url.starts_with("rediss:") || url.starts_with("redis-sentinel:") ||
         url.starts_with("rediss-sentinel:") || url.starts_with("unix:");
}

}  // namespace

std::span<const SettingRow> setting_rows() noexcept { return rows; }

std::string environment_name(std::string_view key) {
  std::string name = "DAGVERK_";
  for (const char c : key)
    name.push_back(c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
  return name;
}

void Mistakes::add(std::string_view place, std::string_view key, std::string_view what) {
  if (lines_.size() == mistakes_limit) {
    ++more_;
    return;
  }
  lines_.push_back(concat(place, key.empty() ? "" : ": ", key, ": ", what));
}

std::string Mistakes::text() const {
  std::string text;
  for (const std::string& line : lines_) text += (text.empty() ? "" : "\n") + line;
  if (more_ > 0) text += concat("\nand ", more_, " more");
  return text;
}

std::string shown(const SettingValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return concat("\"", printable(*text, 60), "\"");
  if (const auto* count = std::get_if<std::int64_t>(&value)) return concat(*count);
  return concat(std::get<bool>(value));
}

void apply_setting(const SettingRow& row, const SettingValue& value, const SettingOrigin& origin, Configuration& into,
                   Mistakes& mistakes) {
  // A flag or variable is known to people by its own name, which is its place.
  const std::string_view key = origin.kind == Origin::file ? row.key : std::string_view();
  const auto good = checked(row, value, origin);
  if (!good) {
    mistakes.add(origin.place, key, concat("got ", shown(value), "; allowed: ", row.allowed));
    return;
  }
  row.assign(into, *good);
  into.origins.insert_or_assign(std::string(row.key), origin);
}

void apply_store(std::string_view url, const SettingOrigin& origin, std::string_view folder, Configuration& into,
                 Mistakes& mistakes) {
  const std::string_view key = origin.kind == Origin::file ? "store" : std::string_view();
  const std::string got = concat("got \"", printable(redacted_url(url), 120), "\"; ");
  if (is_redis(url)) {
    if (const auto parsed = net::parse_redis_url(url); !parsed) {
      mistakes.add(origin.place, key, concat(got, parsed.error().message()));
      return;
    }
    into.redis_url = url;
    into.store_path.clear();
    into.store_is_default = false;
    into.origins.insert_or_assign("store", origin);
    return;
  }
  if (!url.starts_with("sqlite:")) {
    const bool a_path = url.find(':') == std::string_view::npos && !url.empty();
    mistakes.add(origin.place, key,
                 concat(got, "allowed: ", stores_allowed,
                        a_path ? concat("; did you mean sqlite:", printable(url, 60), "?") : ""));
    return;
  }
  const std::string_view path = url.substr(std::string_view("sqlite:").size());
  if (path.starts_with("//") || path.starts_with(":memory:") || path.find('\0') != std::string_view::npos) {
    mistakes.add(origin.place, key, concat(got, "allowed: sqlite:FILE, where FILE is the path of a file"));
    return;
  }
  into.redis_url.clear();
  into.store_is_default = path.empty();
  into.store_path = path.empty() ? std::string() : path_below(folder, path);
  into.origins.insert_or_assign("store", origin);
}

std::string path_below(std::string_view folder, std::string_view path) {
  if (folder.empty() || path.starts_with('/')) return std::string(path);
  return concat(folder, folder.ends_with('/') ? "" : "/", path);
}

}  // namespace dagverk::worker
