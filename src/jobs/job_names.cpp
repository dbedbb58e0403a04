#include "dagverk/jobs/job_names.hpp"

#include "jobs/json_text.hpp"

#include "dagverk/base/concat.hpp"

#include <string>

namespace dagverk::jobs {

namespace {

constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
constexpr bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool consists_of(std::string_view name, std::string_view punctuation) noexcept {
  for (const char c : name) {
    if (!is_letter(c) && !is_digit(c) && punctuation.find(c) == std::string_view::npos) return false;
  }
  return true;
}

// YYYY-MM-DD, whether or not the calendar has that day.
bool is_date_shaped(std::string_view name) noexcept {
  if (name.size() != 10) return false;
  for (std::size_t index = 0; index < name.size(); ++index) {
    const bool dash = index == 4 || index == 7;
    if (dash ? name[index] != '-' : !is_digit(name[index])) return false;
  }
  return true;
}

Error refused(std::string_view what, std::string_view name, std::string_view rule) {
  return Error{ErrorCode::invalid_argument, concat(what, " \"", json::shown(name), "\" ", rule)};
}

}  // namespace

Result<void> check_queue_name(std::string_view name) {
  if (name.empty() || name.size() > queue_name_size_limit) {
    return refused("queue", name, concat("must have 1 to ", queue_name_size_limit, " bytes, has ", name.size()));
  }
  if (!consists_of(name, "_.:-")) {
    return refused("queue", name, "may have letters, digits, '_', '.', ':' and '-' only");
  }
  if (!is_letter(name.front()) && !is_digit(name.front()) && name.front() != '_') {
    return refused("queue", name, "must begin with a letter, a digit or '_'");
  }
  if (is_date_shaped(name))
    return refused("queue", name, "has the form of a date, which belongs to the daily counters");
  if (name.starts_with("sq_")) return refused("queue", name, "begins with \"sq_\", which belongs to Sidekiq Pro");
  return {};
}

Result<void> check_class_name(std::string_view name) {
  if (name.empty() || name.size() > class_name_size_limit) {
    return refused("class", name, concat("must have 1 to ", class_name_size_limit, " bytes, has ", name.size()));
  }
  if (!consists_of(name, "_.:-/")) {
    return refused("class", name, "may have letters, digits, '_', '.', ':', '-' and '/' only");
  }
  if (!is_letter(name.front()) && name.front() != '_') return refused("class", name, "must begin with a letter or '_'");
  return {};
}

Result<void> check_jid(std::string_view jid) {
  if (jid.empty() || jid.size() > jid_size_limit) {
    return refused("jid", jid, concat("must have 1 to ", jid_size_limit, " bytes, has ", jid.size()));
  }
  if (!json::is_utf8(jid)) return refused("jid", jid, "must be UTF-8");
  for (const char c : jid) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
      return refused("jid", jid, "must not have control characters");
  }
  return {};
}

}  // namespace dagverk::jobs
