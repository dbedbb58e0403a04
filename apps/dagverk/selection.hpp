#pragma once

#include "command.hpp"
#include "session.hpp"

#include "dagverk/jobs/store_types.hpp"

#include <cstddef>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Which jobs a command is about: named ones, or those in some states.
namespace dagverk::app {

/// `count` in -n. Errors: `invalid_argument`, naming the flag.
[[nodiscard]] Result<std::size_t> count_option(const ParsedLine& line, std::string_view option, std::size_t otherwise,
                                               std::size_t max);

/// `--state`, one or several with commas. Errors: `invalid_argument`, with the nearest state.
[[nodiscard]] Result<std::vector<jobs::JobState>> state_option(const ParsedLine& line,
                                                               std::vector<jobs::JobState> otherwise);

/// In the order of listings.
inline constexpr jobs::JobState every_state[] = {jobs::JobState::running, jobs::JobState::ready,
                                                 jobs::JobState::retrying, jobs::JobState::scheduled,
                                                 jobs::JobState::dead};
/// As `limit`: all of them.
inline constexpr std::size_t all_jobs = std::numeric_limits<std::size_t>::max() - 1;

/// Visits the jobs of these states, at most `limit`, state by state; `--queue` and `--class` narrow it down. Ends early
/// when `visit` returns false. Returns whether more would have come.
[[nodiscard]] Result<bool> visit_jobs(Session& session, const ParsedLine& line,
                                      const std::vector<jobs::JobState>& states, std::size_t limit,
                                      const std::function<bool(const jobs::StoredJob&)>& visit);

/// What a bulk change is about to touch.
struct Selection {
  std::vector<jobs::StoredJob> jobs;
  std::vector<std::string> missing;  ///< named, but not in the store
  bool by_name = false;
};

/// The jobs named by jid, or with --all those in the states of `--state`, at most --limit. Errors: `invalid_argument`
/// when neither or both are asked for.
[[nodiscard]] Result<Selection> select_jobs(Session& session, const ParsedLine& line,
                                            const std::vector<jobs::JobState>& states);

/// Says how many things will change, and asks when both ends are a terminal. True: go on. `careful`: without a
/// terminal, more than one needs --yes. `noun`: what one of them is called.
[[nodiscard]] bool confirmed(const ParsedLine& line, const Output& out, std::string_view verb, std::size_t count,
                             bool careful, std::string_view noun = "job");

/// Tells what became of each: one line per job that was left alone, JSON lines with --json. Returns the exit code.
[[nodiscard]] ExitCode report_outcomes(Output& out, std::string_view done_word, const Selection& selection,
                                       const std::vector<jobs::ItemOutcome>& outcomes);

/// A job as one JSON object, without payload.
[[nodiscard]] JsonObject job_json(const jobs::StoredJob& job);

extern const std::span<const OptionSyntax> bulk_options;
extern const std::span<const OptionSyntax> move_options;  ///< the same and --to

}  // namespace dagverk::app
