#include "command.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/common_options.hpp"
#include "dagverk/worker/terminal.hpp"
#include "dagverk/worker/worker_main.hpp"

#include <algorithm>
#include <csignal>
#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::app {

std::span<const Command* const> all_commands() noexcept {
  static constexpr const Command* commands[] = {
      &dev_command,           &work_command,         &enqueue_command,
      &job_list_command,      &job_show_command,     &job_why_command,
      &job_logs_command,      &job_retry_command,    &job_move_command,
      &job_cancel_command,    &job_delete_command,   &job_locks_command,
      &job_unlock_command,    &queue_list_command,   &queue_show_command,
      &queue_peek_command,    &queue_pause_command,  &queue_resume_command,
      &queue_clear_command,   &queue_limit_command,  &limit_list_command,
      &limit_show_command,    &limit_set_command,    &limit_remove_command,
      &limit_reset_command,   &cron_list_command,    &cron_show_command,
      &cron_next_command,     &cron_run_command,     &cron_pause_command,
      &cron_resume_command,   &cron_add_command,     &cron_remove_command,
      &node_list_command,     &node_show_command,    &node_quiet_command,
      &node_stop_command,     &handler_list_command, &handler_show_command,
      &handler_start_command, &handler_stop_command, &handler_restart_command,
      &events_tail_command,   &stats_command,        &store_export_command,
      &store_import_command,  &store_check_command,  &store_backup_command,
      &store_migrate_command, &config_check_command, &completion_command,
      &version_command,       &help_command,
  };
  return commands;
}

std::string_view noun_summary(std::string_view noun) noexcept {
  if (noun == "job") return "Lists, shows, explains, retries, moves and deletes jobs.";
  if (noun == "queue") return "Lists, shows, pauses, limits and clears queues.";
  if (noun == "limit") return "Lists, sets and removes limits of queues and keys.";
  if (noun == "cron") return "Lists, adds, pauses and removes jobs that recur.";
  if (noun == "node") return "Shows, quiets and stops the nodes that work on the jobs.";
  if (noun == "store") return "Moves, checks and copies whole stores.";
  if (noun == "handler") return "Shows and controls the event handlers of running nodes.";
  return {};
}

std::string overview() {
  std::string text = "usage: dagverk COMMAND [OPTION…]\n\n";
  std::vector<std::pair<std::string, std::string_view>> rows;  // a command, or a noun with its verbs
  for (const Command* command : all_commands()) {
    const std::string_view name = command->syntax.name;
    const std::string_view noun = name.substr(0, name.find(' '));
    if (noun.size() < name.size() && !rows.empty() && rows.back().first.starts_with(concat(noun, " "))) {
      rows.back().first += concat("|", name.substr(noun.size() + 1));
      rows.back().second = noun_summary(noun);
    } else {
      rows.emplace_back(name, command->syntax.summary);
    }
  }
  std::size_t width = 0;
  for (const auto& row : rows) width = std::max(width, row.first.size());
  for (auto& [name, summary] : rows) {
    name.resize(width, ' ');
    text += concat("  ", name, "  ", summary, "\n");
  }
  return text +
         "\nEach command has --help. The store is sqlite:FILE, by --store, DAGVERK_STORE or dagverk.toml.\n"
         "\nExamples:\n  dagverk dev\n  dagverk enqueue echo hello\n";
}

namespace {

/// Whether verbs follow this word.
bool is_noun(std::string_view word) {
  return std::ranges::any_of(
      all_commands(), [&](const Command* command) { return command->syntax.name.starts_with(concat(word, " ")); });
}

/// `--json stats` means `stats --json`: options before the command go behind it.
std::vector<std::string> options_last(std::vector<std::string> words) {
  std::vector<std::string> leading;
  std::size_t index = 0;
  while (index < words.size() && words[index].size() > 1 && words[index].front() == '-') {
    const std::string& word = words[index++];
    leading.push_back(word);
    const bool takes_value = word == "--config" || word == "--store";
    if (takes_value && index < words.size()) leading.push_back(words[index++]);
  }
  std::vector<std::string> ordered;
  std::size_t command_words = 0;  // the options go before whatever `--` might end them
  for (; index < words.size() && command_words < 1; ++index, ++command_words) ordered.push_back(words[index]);
  if (command_words == 0) return leading;
  if (is_noun(ordered.front()) && index < words.size()) ordered.push_back(words[index++]);
  ordered.insert(ordered.end(), leading.begin(), leading.end());
  ordered.insert(ordered.end(), words.begin() + static_cast<std::ptrdiff_t>(index), words.end());
  return ordered;
}

/// Plural nouns are accepted: `jobs list`.
void make_singular(std::vector<std::string>& words) {
  if (words.empty()) return;
  if (words.front() == "jobs") words.front() = "job";
  if (words.front() == "queues") words.front() = "queue";
  if (words.front() == "crons") words.front() = "cron";
  if (words.front() == "nodes") words.front() = "node";
  if (words.front() == "handlers") words.front() = "handler";
  if (words.front() == "event") words.front() = "events";
  if (words.front() == "stores") words.front() = "store";
}

std::string quoted(std::string_view word) { return concat("\"", worker::printable(word, 60), "\""); }

ExitCode unknown_command(const std::vector<std::string>& words, const Output& out) {
  std::vector<std::string_view> nouns;
  std::vector<std::string_view> verbs;
  for (const Command* command : all_commands()) {
    const std::string_view name = command->syntax.name;
    const std::size_t space = name.find(' ');
    nouns.push_back(name.substr(0, space));
    if (space != std::string_view::npos && name.substr(0, space) == words.front())
      verbs.push_back(name.substr(space + 1));
  }
  if (verbs.empty()) {
    const auto near = worker::nearest_word(words.front(), nouns);
    out.complain(concat("error: unknown command ", quoted(words.front()),
                        near ? concat("; did you mean \"", *near, "\"?") : "; dagverk help lists all"));
    return ExitCode::usage;
  }
  std::string known;
  for (const std::string_view verb : verbs) known += concat(known.empty() ? "" : ", ", verb);
  if (words.size() < 2 || words[1].starts_with('-')) {
    out.complain(concat("error: ", words.front(), " what? ", known));
    return ExitCode::usage;
  }
  const auto near = worker::nearest_word(words[1], verbs);
  out.complain(concat("error: ", words.front(), " has no ", quoted(words[1]), "; ",
                      near ? concat("did you mean \"", words.front(), " ", *near, "\"?") : concat("it has: ", known)));
  return ExitCode::usage;
}

ExitCode run(std::vector<std::string> words, Output& out) {
  words = options_last(std::move(words));
  make_singular(words);
  const auto has = [&](std::string_view one, std::string_view other) {
    return !words.empty() && (words.front() == one || words.front() == other);
  };
  if (words.empty()) {
    out.complain(overview());
    return ExitCode::usage;
  }
  if (has("--help", "-h")) words = {"help"};
  if (has("--version", "-V")) words.front() = "version";
  // `job --help`: the verbs of a noun.
  if (words.size() == 2 && (words[1] == "--help" || words[1] == "-h") && is_noun(words[0])) {
    words = {"help", words[0]};
  }

  for (const Command* command : all_commands()) {
    const std::string_view name = command->syntax.name;
    const std::size_t space = name.find(' ');
    const std::size_t name_words = space == std::string_view::npos ? 1 : 2;
    if (words.size() < name_words || words[0] != name.substr(0, space)) continue;
    if (name_words == 2 && words[1] != name.substr(space + 1)) continue;
    const std::span<const std::string> rest = std::span(words).subspan(name_words);
    const auto line = worker::parse_command_line(command->syntax, worker::common_options(), rest);
    if (!line) {
      out.complain(concat("error: ", line.error().message(), "\nusage: dagverk ", name,
                          command->syntax.arguments.empty() ? "" : " ", command->syntax.arguments,
                          " [OPTION…]; --help explains"));
      return ExitCode::usage;
    }
    out.configure(*line);
    if (line->has("help")) {
      out.print(worker::help_text("dagverk", command->syntax, worker::common_options()));
      return ExitCode::done;
    }
    return command->run(*line, out);
  }
  return unknown_command(words, out);
}

}  // namespace
}  // namespace dagverk::app

int main(int argc, char** argv) {
  using dagverk::app::ExitCode;
  using dagverk::worker::worker_main;
  if (argc > 1 && argv[1] == dagverk::worker::reserved_argument) return worker_main(argc, argv, nullptr);
  dagverk::worker::claim_standard_descriptors();
  std::signal(SIGPIPE, SIG_IGN);
  dagverk::app::Output out;
  try {
    std::vector<std::string> words(argv + (argc > 0 ? 1 : 0), argv + argc);
    dagverk::worker::hide_passwords(argc, argv);
    const ExitCode code = dagverk::app::run(std::move(words), out);
    return static_cast<int>(out.finish(code));
  } catch (const std::exception& exception) {
    out.complain(dagverk::concat("error: ", exception.what()));
    return static_cast<int>(ExitCode::failed);
  }
}
