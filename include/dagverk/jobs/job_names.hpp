#pragma once

#include "dagverk/base/result.hpp"

#include <cstddef>
#include <string_view>

namespace dagverk::jobs {

inline constexpr std::size_t queue_name_size_limit = 128;
inline constexpr std::size_t class_name_size_limit = 255;
inline constexpr std::size_t jid_size_limit = 255;

/// Whether `name` may name a queue, on enqueue and when read from a store.
///
/// Semantics: 1 to 128 bytes of ASCII letters, digits, `_`, `.`, `:` and `-` (what Sidekiq's Web can show), beginning
///            with a letter, digit or `_`. Refused on top, because a key made with such a name belongs to somebody
///            else: names shaped like a date (`2026-11-21`: the daily counters `stat:processed:DATE`), and names that
///            begin with `sq_` (private lists of Sidekiq Pro). Names such as `retry`, `dead` or `processes` are
///            harmless: every key of a queue has a prefix.
/// Errors:    `invalid_argument`, with the name (shortened, escaped) and what is allowed.
[[nodiscard]] Result<void> check_queue_name(std::string_view name);

/// Whether `name` may name a job class. A class is looked up among the registered names, byte for byte; it is never
/// resolved to code.
///
/// Semantics: 1 to 255 bytes of ASCII letters, digits, `_`, `.`, `:`, `-` and `/`, beginning with a letter or `_`:
///            covers Ruby (`Mail::Send`), Elixir (`Elixir.Mail.Send`) and Python (`mail.send`) names.
/// Errors:    `invalid_argument`.
[[nodiscard]] Result<void> check_class_name(std::string_view name);

/// Whether `jid` may identify a job: 1 to 255 bytes of UTF-8 without control characters. Ours are 24 hexadecimal
/// digits; others' are kept. Errors: `invalid_argument`.
[[nodiscard]] Result<void> check_jid(std::string_view jid);

}  // namespace dagverk::jobs
