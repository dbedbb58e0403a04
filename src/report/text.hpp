#pragma once

#include <string>
#include <string_view>

namespace dagverk::detail {

/// `text` as valid UTF-8 for people: bytes that are not UTF-8 and control characters become `\xNN`. Line ends and tabs
/// stay, unless `one_line`: then they become `\n` and `\t`.
[[nodiscard]] std::string printable(std::string_view text, bool one_line = false);

/// As `printable`, with XML's characters escaped; fit for elements and attributes.
[[nodiscard]] std::string xml_text(std::string_view text);
/// As a JSON string, with its quotes. Bytes that are not UTF-8 become `\\xNN`, control characters JSON's escapes.
[[nodiscard]] std::string json_text(std::string_view text);
/// As a TAP description: on one line, with `#` and `\` escaped.
[[nodiscard]] std::string tap_text(std::string_view text);

}  // namespace dagverk::detail
