#include "jobs/export_members.hpp"

#include <charconv>
#include <chrono>
#include <limits>
#include <system_error>

namespace dagverk::jobs {

namespace {

constexpr std::string_view digits = "0123456789abcdef";

}  // namespace

std::int64_t micros_of(WallTime time) {
  return std::chrono::floor<std::chrono::microseconds>(time.time_since_epoch()).count();
}

void append_bytes(std::string& line, std::string_view name, std::string_view bytes) {
  line += line.size() > 1 ? "," : "";
  if (json::is_utf8(bytes)) {
    line += concat("\"", name, "\":");
    json::append_text(line, bytes);
    return;
  }
  line += concat("\"", name, "_hex\":\"");
  for (const char byte : bytes) {
    const auto value = static_cast<unsigned char>(byte);
    line += digits[value >> 4U];
    line += digits[value & 15U];
  }
  line += '"';
}

void append_number(std::string& line, std::string_view name, std::int64_t number) {
  line += concat(line.size() > 1 ? "," : "", "\"", name, "\":", number);
}

Error malformed_line(std::string_view what) { return {ErrorCode::malformed_job, std::string(what)}; }

Error unknown_member(const json::Item& item) {
  return malformed_line(concat("member ", json::shown(item.key), ": not known; was this written by a newer version?"));
}

Result<std::string> text_of(const json::Item& item) {
  std::string text;
  const bool is_text = json::kind_of(item.value) == json::Kind::text;
  if (is_text && json::decode_text(item.value.substr(1, item.value.size() - 2), text)) return text;
  return malformed_line(concat("member ", item.key, ": needs a text, got ", json::shown(item.value)));
}

Result<std::string> hex_of(const json::Item& item) {
  auto text = text_of(item);
  if (!text) return text;
  std::string bytes;
  bytes.reserve(text->size() / 2);
  for (std::size_t at = 0; at < text->size(); at += 2) {
    const std::size_t high = digits.find((*text)[at]);
    const std::size_t low = at + 1 < text->size() ? digits.find((*text)[at + 1]) : std::string_view::npos;
    if (high == std::string_view::npos || low == std::string_view::npos) {
      return malformed_line(concat("member ", item.key, ": needs pairs of the digits 0-9 and a-f"));
    }
    bytes += static_cast<char>(16 * high + low);
  }
  return bytes;
}

Result<std::int64_t> number_of(const json::Item& item, std::int64_t least, std::int64_t most) {
  std::int64_t number = 0;
  const char* const begin = item.value.data();
  const char* const end = begin + item.value.size();
  const auto [rest, error] = std::from_chars(begin, end, number);
  if (error == std::errc{} && rest == end && number >= least && number <= most) return number;
  return malformed_line(concat("member ", item.key, ": needs a whole number from ", least, " to ", most, ", got ",
                               json::shown(item.value)));
}

Result<WallTime> time_of(const json::Item& item) {
  constexpr std::int64_t furthest = std::numeric_limits<std::int64_t>::max() / 1000;
  const auto micros = number_of(item, -furthest, furthest);
  if (!micros) return micros.error();
  return WallTime(std::chrono::microseconds(*micros));
}

Result<bool> truth_of(const json::Item& item) {
  if (item.value == "true" || item.value == "false") return item.value == "true";
  return malformed_line(concat("member ", item.key, ": needs true or false, got ", json::shown(item.value)));
}

}  // namespace dagverk::jobs
