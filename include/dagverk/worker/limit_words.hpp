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

}  // namespace dagverk::worker
