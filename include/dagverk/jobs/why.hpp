#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/jobs/job_store.hpp"
#include "dagverk/runtime/async.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Why a job is not running, in one sentence: for `dagverk job why`, for pages and programs.
namespace dagverk::jobs {

/// What keeps a job from running, in order of precedence: the first that holds is told (a queue's limit after
/// class_unknown).
enum class WhyReason : std::uint8_t {
  gone,              ///< it has left the store; the journal says how
  running,           ///< nothing does: a node runs it
  node_silent,       ///< a node runs it that has not been heard for long; its lease holds
  node_lost,         ///< the node that ran it is lost; it waits for its rescue
  dead,              ///< waits for a person
  limit_full,        ///< as many of its key, or of its queue, run as a limit allows
  rate_limited,      ///< as many of its key, or of its queue, have begun as a limit allows
  scheduled,         ///< its time has not come
  retrying,          ///< it failed or was put back, and its next attempt has not come
  store_refuses,     ///< the store lets nothing be written
  not_promoted,      ///< its time has come; a node is about to put it into its queue, or none is there
  queue_paused,      ///< by a person's wish
  no_node,           ///< nobody works on the store
  queue_not_served,  ///< by none of the nodes
  nodes_quiet,       ///< those that serve the queue take no more jobs
  class_unknown,     ///< no node that serves the queue knows its class
  waits_behind,      ///< others come first
  next,              ///< nothing does: it is the next one of its queue
};

/// As in the sentence's JSON: `queue_paused`.
[[nodiscard]] std::string_view to_string(WhyReason reason) noexcept;

struct WhyReport {
  std::string jid;
  std::optional<JobState> state = std::nullopt;  ///< none: it has left the store
  std::string queue{};
  std::string class_name{};
  WhyReason reason = WhyReason::next;
  /// One sentence, true when it was asked. Holds names and texts as jobs and people gave them, control characters
  /// included.
  std::string text{};
  std::optional<WallTime> since = std::nullopt;       ///< when it came about: paused, started, died, left, last heard
  std::optional<WallTime> until = std::nullopt;       ///< when it ends by itself: due, rescued
  std::string who{};                                  ///< the node that runs it, or who paused its queue
  std::vector<std::string> holders{};                 ///< limit_full of a key: jobs that have its slots
  std::optional<std::uint64_t> ahead = std::nullopt;  ///< waits_behind: how many come first, at least
  std::optional<double> ended_per_second = std::nullopt;  ///< of its queue, while `sample` passed
};

struct WhyOptions {
  /// For so long the queue is watched when others come first, to tell how fast they go; zero: it is not. At most 10 s.
  Duration sample = Duration::zero();
};

/// Looks for what keeps a job from running.
///
/// Semantics: changes nothing. It looks several times, so what it says may be of two moments that lie milliseconds
///            apart (with a sample: so far apart). Which classes a node knows is told by nodes of this version; where
///            one does not tell, no class counts as unknown.
/// Threads:   called in a process of the store's runtime.
/// Errors:    the store's; `not_found` when the job is neither in the store nor in its journal. A store that cannot be
///            written is a reason and no error, as far as it lets itself be read.
/// Bounds:    one page of jobs, of nodes, of limits and of the job's journal, and of queues as many as it needs to find
///            one.
/// Lifetime:  borrows `store`.
[[nodiscard]] Async<Result<WhyReport>> explain(JobStore& store, std::string jid, WallTime now, WhyOptions options = {});

}  // namespace dagverk::jobs
