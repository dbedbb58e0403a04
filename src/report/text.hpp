#pragma once

#include "dagverk/base/clock.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace dagverk::detail {

/// `text` as valid UTF-8 for people: bytes that are not UTF-8 and control characters become `\xNN`. Line ends and tabs
/// stay, unless `one_line`: then they become `\n` and `\t`.
void append_printable(std::string& out, std::string_view text, bool one_line = false);
[[nodiscard]] std::string printable(std::string_view text, bool one_line = false);

/// As `printable`, with XML's characters escaped; fit for elements and attributes.
void append_xml(std::string& out, std::string_view text);
[[nodiscard]] std::string xml_text(std::string_view text);
/// As a JSON string, with its quotes. Bytes that are not UTF-8 become `\\xNN`, control characters JSON's escapes.
void append_json(std::string& out, std::string_view text);
[[nodiscard]] std::string json_text(std::string_view text);
/// As a TAP description: on one line, with `#` and `\` escaped.
void append_tap(std::string& out, std::string_view text);

void append_number(std::string& out, std::uint64_t number);
/// Seconds with three digits behind the point, as JUnit's readers want them: `0.125`. A negative duration is 0.
void append_seconds(std::string& out, Duration duration);

}  // namespace dagverk::detail
