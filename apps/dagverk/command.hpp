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

/// One row of the command's table: what it takes and what it does. Lifetime: as of its syntax.
struct Command {
  CommandSyntax syntax;
  ExitCode (*run)(const ParsedLine& line, Output& out);
  /// For the reference: what exit codes mean here, beyond what they mean everywhere; `3 no such queue; 4 …`.
  std::string_view exits = {};
  /// For the reference: the members of a line of --json.
  std::string_view json = {};
};

// One per file in commands/.
extern const Command completion_command;
extern const Command config_check_command;
extern const Command limit_list_command;
extern const Command limit_remove_command;
extern const Command limit_reset_command;
extern const Command limit_set_command;
extern const Command limit_show_command;
extern const Command queue_limit_command;
extern const Command cron_add_command;
extern const Command cron_list_command;
extern const Command cron_next_command;
extern const Command cron_pause_command;
extern const Command cron_remove_command;
extern const Command cron_resume_command;
extern const Command cron_run_command;
extern const Command cron_show_command;
extern const Command dev_command;
extern const Command enqueue_command;
extern const Command events_tail_command;
extern const Command handler_list_command;
extern const Command handler_restart_command;
extern const Command handler_show_command;
extern const Command handler_start_command;
extern const Command handler_stop_command;
extern const Command help_command;
extern const Command job_cancel_command;
extern const Command job_delete_command;
extern const Command job_locks_command;
extern const Command job_logs_command;
extern const Command job_list_command;
extern const Command job_move_command;
extern const Command job_retry_command;
extern const Command job_show_command;
extern const Command job_unlock_command;
extern const Command job_why_command;
extern const Command node_list_command;
extern const Command node_quiet_command;
extern const Command node_show_command;
extern const Command node_stop_command;
extern const Command queue_clear_command;
extern const Command queue_list_command;
extern const Command queue_pause_command;
extern const Command queue_peek_command;
extern const Command queue_resume_command;
extern const Command queue_show_command;
extern const Command stats_command;
extern const Command store_backup_command;
extern const Command store_check_command;
extern const Command store_export_command;
extern const Command store_import_command;
extern const Command store_migrate_command;
extern const Command version_command;
extern const Command work_command;

/// All of them, in the order of the help.
[[nodiscard]] std::span<const Command* const> all_commands() noexcept;

/// The command's version: `0.1.0`.
[[nodiscard]] std::string_view version() noexcept;

/// What the verbs of a noun do together; empty when no verb follows this word.
[[nodiscard]] std::string_view noun_summary(std::string_view noun) noexcept;

/// The first page of the help: every command in a line.
[[nodiscard]] std::string overview();

}  // namespace dagverk::app
