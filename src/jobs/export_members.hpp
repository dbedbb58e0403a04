#pragma once

#include "jobs/json_text.hpp"

#include "dagverk/base/clock.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

/// The members of the lines that carry jobs out of a store and back.
namespace dagverk::jobs {

/// A member whose bytes must come back as they are: a text, or under its name and `_hex` when it is not UTF-8. `line`
/// has its opening bracket.
void append_bytes(std::string& line, std::string_view name, std::string_view bytes);
void append_number(std::string& line, std::string_view name, std::int64_t number);
[[nodiscard]] std::int64_t micros_of(WallTime time);

// Errors: `malformed_job`, naming the member, with what it needs.
[[nodiscard]] Error malformed_line(std::string_view what);
[[nodiscard]] Error unknown_member(const json::Item& item);
[[nodiscard]] Result<std::string> text_of(const json::Item& item);
[[nodiscard]] Result<std::string> hex_of(const json::Item& item);
[[nodiscard]] Result<std::int64_t> number_of(const json::Item& item, std::int64_t least, std::int64_t most);
[[nodiscard]] Result<WallTime> time_of(const json::Item& item);
[[nodiscard]] Result<bool> truth_of(const json::Item& item);

/// The one of `all` that the member names. `needs`: all of them, for people.
template <class Value, std::size_t Count>
[[nodiscard]] Result<Value> word_of(const json::Item& item, const Value (&all)[Count], std::string_view needs) {
  const Result<std::string> word = text_of(item);
  if (!word) return word.error();
  for (const Value value : all) {
    if (*word == to_string(value)) return value;
  }
  return malformed_line(concat("member ", item.key, ": needs ", needs, ", got ", json::shown(*word)));
}

template <class Value, class Target>
[[nodiscard]] Result<void> keep(Result<Value> value, Target& into) {
  if (!value) return value.error();
  into = std::move(*value);
  return {};
}

}  // namespace dagverk::jobs
