#pragma once

#include "output.hpp"

#include "dagverk/worker/command_line.hpp"
#include "dagverk/worker/exit_code.hpp"

#include <span>
#include <string_view>

namespace dagverk::app {

using worker::CommandSyntax;
using worker::ExitCode;
using worker::OptionSyntax;
using worker::ParsedLine;

/// One row of the command's table: what it takes and what it does.
struct Command {
  CommandSyntax syntax;
  ExitCode (*run)(const ParsedLine& line, Output& out);
};

// One per file in commands/.
extern const Command config_check_command;
extern const Command dev_command;
extern const Command enqueue_command;
extern const Command events_tail_command;
extern const Command handler_list_command;
extern const Command handler_restart_command;
extern const Command handler_show_command;
extern const Command handler_start_command;
extern const Command handler_stop_command;
extern const Command help_command;
extern const Command job_delete_command;
extern const Command job_list_command;
extern const Command job_retry_command;
extern const Command job_show_command;
extern const Command queue_list_command;
extern const Command stats_command;
extern const Command version_command;
extern const Command work_command;

/// All of them, in the order of the help.
[[nodiscard]] std::span<const Command* const> all_commands() noexcept;

/// The command's version: `0.1.0`.
[[nodiscard]] std::string_view version() noexcept;

/// The first page of the help: every command in a line.
[[nodiscard]] std::string overview();

}  // namespace dagverk::app
