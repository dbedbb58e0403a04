#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/limits.hpp"

#include <string>
#include <string_view>

/// Limits as people write and read them: on command lines and in configuration files alike.
namespace dagverk::worker {

/// Which limit a word means: `queue:NAME` that of a queue, anything else a key limit.
struct LimitName {
  jobs::LimitScope scope = jobs::LimitScope::key;
  std::string name;
};
[[nodiscard]] LimitName limit_name(std::string_view word);
/// The word that means `limit`.
[[nodiscard]] std::string limit_word(const jobs::Limit& limit);

/// How many may begin in a time: `100/1m`. Its kind is the usual one, and its range unchecked.
/// Errors: `invalid_argument`, with what is allowed but without the text itself, which the caller shows in its own way.
[[nodiscard]] Result<jobs::Rate> parse_rate(std::string_view text);
/// `100/1m bucket`.
[[nodiscard]] std::string rate_text(const jobs::Rate& rate);

/// What becomes of a job for which there is no room: `refuse`, `drop-oldest` or `divert:QUEUE`. Whatever else leaves
/// `into` alone, and is false.
[[nodiscard]] bool read_when_full(std::string_view word, jobs::QueueBound& into);
inline constexpr std::string_view when_full_words[] = {"refuse", "drop-oldest", "divert:QUEUE"};
/// `10000 divert:slow`.
[[nodiscard]] std::string bound_text(const jobs::QueueBound& bound);

}  // namespace dagverk::worker
