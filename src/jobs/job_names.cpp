#include "dagverk/jobs/job_names.hpp"

#include "jobs/byte_words.hpp"
#include "jobs/json_text.hpp"

#include "dagverk/base/concat.hpp"

#include <array>
#include <cstddef>
#include <string>

namespace dagverk::jobs {

namespace {

constexpr bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// Bytes, as a set.
struct ByteSet {
  std::array<bool, 256> has{};

  [[nodiscard]] constexpr bool holds_all_of(std::string_view text) const noexcept {
    for (const char c : text) {
      if (!has[static_cast<unsigned char>(c)]) return false;
    }
    return true;
  }
};

constexpr ByteSet letters_digits_and(std::string_view punctuation) noexcept {
  ByteSet set;
  for (std::size_t byte = 0; byte < set.has.size(); ++byte) {
    const char c = static_cast<char>(byte);
    set.has[byte] = is_letter(c) || json::is_digit(c) || punctuation.find(c) != std::string_view::npos;
  }
  return set;
}

constexpr ByteSet of_queue_names = letters_digits_and("_.:-");
constexpr ByteSet of_class_names = letters_digits_and("_.:-/");

bool is_printable_ascii(std::string_view text) noexcept {
  const char* at = text.data();
  const char* const end = at + text.size();
  for (; end - at >= words::size; at += words::size) {
    const std::uint64_t word = words::load(at);
    if ((words::below(word, 0x20) | words::equal(word, 0x7F) | (word & words::in_each(0x80))) != 0) return false;
  }
  for (; at != end; ++at) {
    if (*at < 0x20 || *at >= 0x7F) return false;
  }
  return true;
}

// YYYY-MM-DD, whether or not the calendar has that day.
bool is_date_shaped(std::string_view name) noexcept {
  if (name.size() != 10) return false;
  for (std::size_t index = 0; index < name.size(); ++index) {
    const bool dash = index == 4 || index == 7;
    if (dash ? name[index] != '-' : !json::is_digit(name[index])) return false;
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
  if (!of_queue_names.holds_all_of(name)) {
    return refused("queue", name, "may have letters, digits, '_', '.', ':' and '-' only");
  }
  if (!is_letter(name.front()) && !json::is_digit(name.front()) && name.front() != '_') {
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
  if (!of_class_names.holds_all_of(name)) {
    return refused("class", name, "may have letters, digits, '_', '.', ':', '-' and '/' only");
  }
  if (!is_letter(name.front()) && name.front() != '_') return refused("class", name, "must begin with a letter or '_'");
  return {};
}

Result<void> check_jid(std::string_view jid) {
  if (jid.empty() || jid.size() > jid_size_limit) {
    return refused("jid", jid, concat("must have 1 to ", jid_size_limit, " bytes, has ", jid.size()));
  }
  if (is_printable_ascii(jid)) return {};
  if (!json::is_utf8(jid)) return refused("jid", jid, "must be UTF-8");
  for (const char c : jid) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
      return refused("jid", jid, "must not have control characters");
  }
  return {};
}

}  // namespace dagverk::jobs
