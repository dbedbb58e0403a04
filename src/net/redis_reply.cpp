#include "dagverk/net/redis_reply.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>

namespace dagverk::net {

namespace {

constexpr std::size_t shown_max = 200;

[[nodiscard]] std::string_view name_of(RedisReply::Kind kind) noexcept {
  switch (kind) {
    case RedisReply::Kind::nil: return "nil";
    case RedisReply::Kind::integer: return "integer";
    case RedisReply::Kind::status: return "status";
    case RedisReply::Kind::error: return "error";
    case RedisReply::Kind::string: return "string";
    case RedisReply::Kind::array: return "array";
  }
  return "unknown";
}

/// Printable ASCII as it is, the rest as \xNN.
void append_escaped(std::string& out, std::string_view bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  for (const char byte : bytes) {
    const auto value = static_cast<unsigned char>(byte);
    if (value >= 0x20 && value < 0x7f) {
      out.push_back(byte);
    } else {
      out.append("\\x").push_back(digits[value >> 4U]);
      out.push_back(digits[value & 15U]);
    }
  }
}

void append_shown(std::string& out, const RedisReply& reply) {
  const std::string_view text = reply.text().substr(0, shown_max);
  switch (reply.kind()) {
    case RedisReply::Kind::nil: out.append("nil"); break;
    case RedisReply::Kind::integer: out.append(concat(reply.integer_or(0))); break;
    case RedisReply::Kind::status: append_escaped(out.append("+"), text); break;
    case RedisReply::Kind::error: append_escaped(out.append("-"), text); break;
    case RedisReply::Kind::string:
      append_escaped(out.append("\""), text);
      out.append(text.size() < reply.text().size() ? "..." : "\"");
      break;
    case RedisReply::Kind::array: {
      out.push_back('[');
      bool first = true;
      for (const RedisReply& item : reply.items()) {
        if (!first) out.append(", ");
        if (out.size() > shown_max) {
          out.append("...");
          break;
        }
        append_shown(out, item);
        first = false;
      }
      out.push_back(']');
      break;
    }
  }
}

/// The first word; of an error inside a script, as servers before 7.0 tell it, that error's own, if it has one:
/// `ERR Error running script (call to f_…): @user_script:10: WRONGTYPE Operation …`, or with the place told twice, and
/// `-OOM`.
[[nodiscard]] std::string_view deciding_word(std::string_view text) noexcept {
  constexpr std::string_view place = "@user_script:";
  const std::string_view outer = text.substr(0, text.find(' '));
  const std::size_t at = text.starts_with("ERR Error running script") ? text.find(place) : std::string_view::npos;
  if (at == std::string_view::npos) return outer;
  text.remove_prefix(at);
  while (text.starts_with(place)) {
    text.remove_prefix(place.size());
    text.remove_prefix(std::min(text.size(), text.find_first_not_of("0123456789: ")));
  }
  if (text.starts_with('-')) text.remove_prefix(1);
  const std::string_view inner = text.substr(0, text.find(' '));
  const auto is_capital = [](char byte) { return byte >= 'A' && byte <= 'Z'; };
  return !inner.empty() && std::ranges::all_of(inner, is_capital) ? inner : outer;
}

}  // namespace

Error RedisReply::unlike(std::string_view expected) const {
  if (is_error()) return redis_error(text());
  return Error(ErrorCode::malformed, concat("Redis: expected ", expected, ", got ", name_of(kind()),
                                            is_nil() ? "" : " ", is_nil() ? "" : shown()));
}

Result<std::int64_t> RedisReply::as_integer() const {
  if (const auto* const value = std::get_if<std::int64_t>(&value_)) return *value;
  return unlike("an integer");
}

Result<std::string_view> RedisReply::as_string() const {
  if (kind() == Kind::string || kind() == Kind::status) return text();
  return unlike("a string");
}

Result<std::span<const RedisReply>> RedisReply::as_array() const {
  if (kind() == Kind::array) return items();
  return unlike("an array");
}

std::int64_t RedisReply::integer_or(std::int64_t otherwise) const noexcept {
  const auto* const value = std::get_if<std::int64_t>(&value_);
  return value != nullptr ? *value : otherwise;
}

std::string_view RedisReply::text() const noexcept {
  if (const auto* const bytes = std::get_if<std::string>(&value_)) return *bytes;
  if (const auto* const status = std::get_if<Status>(&value_)) return status->text;
  if (const auto* const failure = std::get_if<Failure>(&value_)) return failure->text;
  return {};
}

std::span<const RedisReply> RedisReply::items() const noexcept {
  if (const auto* const items = std::get_if<std::vector<RedisReply>>(&value_)) return *items;
  return {};
}

std::string RedisReply::take_text() noexcept {
  std::string taken;
  if (auto* const bytes = std::get_if<std::string>(&value_)) taken = std::move(*bytes);
  if (auto* const status = std::get_if<Status>(&value_)) taken = std::move(status->text);
  if (auto* const failure = std::get_if<Failure>(&value_)) taken = std::move(failure->text);
  value_.emplace<std::monostate>();
  return taken;
}

std::vector<RedisReply> RedisReply::take_items() noexcept {
  std::vector<RedisReply> taken;
  if (auto* const items = std::get_if<std::vector<RedisReply>>(&value_)) taken = std::move(*items);
  value_.emplace<std::monostate>();
  return taken;
}

std::string RedisReply::shown() const {
  std::string out;
  append_shown(out, *this);
  return out;
}

Error redis_error(std::string_view text) {
  struct Row {
    std::string_view word;
    ErrorCode code;
  };
  static constexpr Row table[] = {
      {"ERR", ErrorCode::invalid_argument},     {"LOADING", ErrorCode::unavailable},
      {"BUSY", ErrorCode::unavailable},         {"MASTERDOWN", ErrorCode::unavailable},
      {"TRYAGAIN", ErrorCode::unavailable},     {"CLUSTERDOWN", ErrorCode::unavailable},
      {"NOREPLICAS", ErrorCode::unavailable},   {"READONLY", ErrorCode::unavailable},
      {"OOM", ErrorCode::store_full},           {"MISCONF", ErrorCode::store_full},
      {"NOAUTH", ErrorCode::permission},        {"WRONGPASS", ErrorCode::permission},
      {"NOPERM", ErrorCode::permission},        {"DENIED", ErrorCode::permission},
      {"WRONGTYPE", ErrorCode::wrong_type},     {"NOSCRIPT", ErrorCode::not_found},
      {"NOGROUP", ErrorCode::not_found},        {"BUSYKEY", ErrorCode::already_exists},
      {"BUSYGROUP", ErrorCode::already_exists}, {"UNBLOCKED", ErrorCode::cancelled},
      {"NOTBUSY", ErrorCode::cancelled},
  };
  const std::string_view word = deciding_word(text);
  const auto* const row =
      std::find_if(std::begin(table), std::end(table), [&](const Row& one) { return one.word == word; });
  std::string message("Redis: ");
  append_escaped(message, text.substr(0, 512));
  return Error(row != std::end(table) ? row->code : ErrorCode::refused, std::move(message));
}

}  // namespace dagverk::net
