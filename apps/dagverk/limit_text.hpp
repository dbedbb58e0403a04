#pragma once

#include "command.hpp"
#include "output.hpp"
#include "session.hpp"

#include "dagverk/jobs/limits.hpp"
#include "dagverk/worker/limit_words.hpp"

#include <span>
#include <string>
#include <string_view>

/// Limits as people write and read them.
namespace dagverk::app {

using worker::limit_name;
using worker::limit_word;
using worker::LimitName;

/// The limit of `--concurrency`, `--rate`, `--kind`, `--max-waiting` and `--when-full`; none of its parts when none of
/// them is given. Errors:
/// `invalid_argument`, with the flag.
[[nodiscard]] Result<jobs::Limit> limit_of(const ParsedLine& line, LimitName name);
extern const std::span<const OptionSyntax> limit_options;

/// Errors: `not_found`, with the nearest name.
[[nodiscard]] Result<jobs::LimitInfo> limit_named(Session& session, std::string_view word);

/// `100/1h bucket`, or `-`.
[[nodiscard]] std::string rate_text(const jobs::Limit& limit);
/// `10000 refuse`, `10000 divert:spare`, or `-`.
[[nodiscard]] std::string bound_text(const jobs::Limit& limit);
[[nodiscard]] JsonObject limit_json(const jobs::LimitInfo& info);

/// Puts it, and tells.
[[nodiscard]] ExitCode put_limit(Session& session, Output& out, const jobs::Limit& limit);

}  // namespace dagverk::app
