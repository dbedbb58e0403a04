#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/worker/command_line.hpp"
#include "dagverk/worker/configuration.hpp"

#include <span>
#include <vector>

namespace dagverk::worker {

/// The options that every command has: --config, --store, --json, --plain, --quiet, -v, -h.
[[nodiscard]] std::span<const OptionSyntax> common_options() noexcept;

/// The configuration of a command: its common flags and `more` of its own, the program's environment, the file.
/// Errors: as `load_configuration`.
[[nodiscard]] Result<Configuration> configuration_of(const ParsedLine& line, std::vector<FlagValue> more = {});

}  // namespace dagverk::worker
