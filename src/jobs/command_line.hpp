#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/job_registry.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace dagverk::jobs {

/// Whether `command` can be run at all, as far as its text says. Errors: `configuration`.
[[nodiscard]] Result<void> check_command(const CommandSpec& command);

/// The argument vector of one run: each `{n}` replaced by one argument. Errors: `invalid_argument`, naming the argument
/// (counted from 1) and the class: missing, with a NUL, or beginning with `-` where an option could stand.
[[nodiscard]] Result<std::vector<std::string>> expand_command(const CommandSpec& command, std::string_view args_json,
                                                              std::string_view job_class);

}  // namespace dagverk::jobs
