#include "dagverk/jobs/why.hpp"

#include "jobs/node_classes.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/jobs/journal.hpp"
#include "dagverk/jobs/limits.hpp"
#include "dagverk/jobs/wire_time.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>
#include <variant>
#include <vector>

namespace dagverk::jobs {
namespace {

constexpr Duration silence_worth_telling = std::chrono::seconds(10);  // two heartbeats, as nodes do by default
constexpr Duration sample_limit = std::chrono::seconds(10);
constexpr std::size_t names_shown = 5;
constexpr std::size_t looks_limit = 3;  // at a job that moves while it is looked at

/// What is known of a job that is in the store, and the answer.
struct Look {
  JobStore& store;
  WallTime now;
  WhyOptions options;
  StoredJob job;
  std::vector<NodeInfo> nodes = {};  // all, the lost ones included
  std::optional<QueueInfo> queue = std::nullopt;
  WhyReport report = {};
  bool moved = false;  // the job is not where it was at first: look again
};

/// True: this is the reason, and the report says so.
using Holds = Async<Result<bool>>;
using Reason = Holds (*)(Look& look);

bool tell(Look& look, WhyReason reason, std::string text) {
  look.report.reason = reason;
  look.report.text = std::move(text);
  return true;
}

std::string span_text(Duration span) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(span).count();
  if (seconds < 1) return "less than 1s";
  if (seconds < 60) return concat(seconds, "s");
  if (seconds < 3600) return concat(seconds / 60, "m ", seconds % 60, "s");
  if (seconds < 86'400) return concat(seconds / 3600, "h ", seconds / 60 % 60, "m");
  return concat(seconds / 86'400, "d ", seconds / 3600 % 24, "h");
}

std::string counted(std::size_t count, std::string_view noun) {
  return concat(count, " ", noun, count == 1 ? "" : "s");
}

/// `a, b and 3 others`.
std::string names_text(const std::vector<std::string>& names) {
  std::string text;
  const std::size_t shown = std::min(names.size(), names_shown);
  for (std::size_t index = 0; index < shown; ++index) text += concat(index == 0 ? "" : ", ", names[index]);
  if (names.size() > shown) text += concat(" and ", counted(names.size() - shown, "other"));
  return text;
}

bool alive(const NodeInfo& node) { return node.lease_left >= Duration::zero(); }

bool serves(const NodeInfo& node, std::string_view queue) {
  return std::ranges::any_of(node.status.pools, [&](const PoolStatus& pool) {
    return std::ranges::any_of(pool.queues, [&](const ServedQueue& served) { return served.name == queue; });
  });
}

/// The living nodes that serve the job's queue.
std::vector<const NodeInfo*> servers_of(const Look& look) {
  std::vector<const NodeInfo*> servers;
  for (const NodeInfo& node : look.nodes) {
    if (alive(node) && serves(node, look.job.queue)) servers.push_back(&node);
  }
  return servers;
}

std::size_t living_nodes(const Look& look) {
  return static_cast<std::size_t>(std::ranges::count_if(look.nodes, alive));
}

// --- the reasons ---

Holds is_running(Look& look) {
  const StoredJob& job = look.job;
  if (job.state != JobState::running) co_return false;
  WhyReport& report = look.report;
  report.since = job.started_at;
  const auto node = std::ranges::find_if(look.nodes, [&](const NodeInfo& at) { return at.epoch == job.node; });
  const bool rescuers = std::ranges::any_of(
      look.nodes, [&](const NodeInfo& at) { return !at.foreign && alive(at) && at.epoch != job.node; });
  const std::string_view rescue = rescuers ? "another node is about to rescue the job"
                                           : "no other node is there, and the job is rescued as soon as one starts";
  if (node == look.nodes.end()) {
    co_return tell(look, WhyReason::node_lost, concat("The node that ran the job has left the store; ", rescue, "."));
  }
  report.who = node->identity;
  if (!alive(*node)) {
    report.since = node->beat_at;
    co_return tell(
        look, WhyReason::node_lost,
        concat("The node that ran the job, ", node->identity, ", is lost",
               node->beat_at ? concat(", last heard at ", utc_text(*node->beat_at)) : "", "; ", rescue, "."));
  }
  const std::string since = job.started_at ? concat(" since ", utc_text(*job.started_at)) : "";
  if (node->beat_at && look.now - *node->beat_at > silence_worth_telling) {
    report.since = node->beat_at;
    report.until = look.now + node->lease_left;
    co_return tell(look, WhyReason::node_silent,
                   concat("The job runs", since, " on node ", node->identity, ", which was last heard at ",
                          utc_text(*node->beat_at), " and is given up at ", utc_text(*report.until),
                          " unless it is heard before."));
  }
  co_return tell(look, WhyReason::running, concat("The job is running", since, " on node ", node->identity, "."));
}

Holds is_dead(Look& look) {
  if (look.job.state != JobState::dead) co_return false;
  look.report.since = look.job.due;
  co_return tell(look, WhyReason::dead,
                 concat("The job is dead", look.job.due ? concat(" since ", utc_text(*look.job.due)) : "",
                        look.job.reason.empty() ? "" : ": ", look.job.reason,
                        look.job.reason.empty() ? "." : "; job retry gives it another attempt."));
}

Holds is_not_due(Look& look) {
  const StoredJob& job = look.job;
  const bool waits = job.state == JobState::scheduled || job.state == JobState::retrying;
  if (!waits || !job.due || *job.due <= look.now) co_return false;
  look.report.until = job.due;
  const std::string due = concat(utc_text(*job.due), ", in ", span_text(*job.due - look.now));
  if (job.state == JobState::scheduled) {
    co_return tell(look, WhyReason::scheduled, concat("The job is scheduled: it is due at ", due, "."));
  }
  const Result<Job> decoded = decode_job(job.payload, job.queue);
  if (!decoded || !decoded->error_class() || decoded->failure_count() == 0) {
    co_return tell(look, WhyReason::retrying, concat("The job was put back, and is due at ", due, "."));
  }
  const std::string_view said = decoded->error_message().value_or("");
  co_return tell(look, WhyReason::retrying,
                 concat("Attempt ", decoded->failure_count(), " failed with ", *decoded->error_class(),
                        said.empty() ? "" : ": ", said, "; the next one is due at ", due, "."));
}

/// The limit of that name, and what is in use of it under `key`.
struct LimitLook {
  Limit limit;
  LimitUse use;
};

Async<Result<std::optional<LimitLook>>> limit_of(JobStore& store, LimitScope scope, std::string name, std::string key) {
  const Result<std::vector<LimitInfo>> limits = co_await store.list_limits();
  if (!limits) co_return limits.error();
  for (const LimitInfo& info : *limits) {
    if (info.limit.scope != scope || info.limit.name != name) continue;
    for (const LimitUse& use : info.uses) {
      if (use.key == key) co_return std::optional(LimitLook{info.limit, use});
    }
  }
  co_return std::optional<LimitLook>();
}

/// `10 jobs per 1m 0s`.
std::string rate_text(const Rate& rate) {
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(rate.per).count();
  return concat(counted(static_cast<std::size_t>(rate.count), "job"), " per ",
                rate.per < std::chrono::seconds(1) ? concat(milliseconds, "ms") : span_text(rate.per));
}

/// The last row about a job, of those that are kept.
Async<Result<std::optional<JournalRow>>> last_row_of(JobStore& store, std::string jid) {
  std::optional<JournalRow> last;
  JournalQuery query;
  query.jid = std::move(jid);
  query.limit = batch_count_limit;
  while (true) {
    JournalQuery asked = query;
    const Result<JournalPage> page = co_await store.read_journal(std::move(asked));
    if (!page) co_return page.error();
    if (!page->rows.empty()) last = page->rows.back();
    if (page->at_end) co_return last;
    query.after = page->next;
  }
}

/// The first jobs that run with that limit key.
Async<Result<std::vector<std::string>>> holders_of(JobStore& store, std::string key) {
  ListQuery query;
  query.state = JobState::running;
  query.limit = batch_count_limit;
  const Result<JobPage> page = co_await store.list(std::move(query));
  if (!page) co_return page.error();
  std::vector<std::string> jids;
  for (const StoredJob& job : page->jobs) {
    if (job.limit_key == key && jids.size() < names_shown) jids.push_back(job.jid);
  }
  co_return jids;
}

/// A job whose key is at its limit waits in the schedule, as the journal's last word about it says.
Holds is_held_back(Look& look) {
  const StoredJob& job = look.job;
  if (job.state != JobState::scheduled || job.limit_key.empty()) co_return false;
  std::string jid = job.jid;
  const Result<std::optional<JournalRow>> last = co_await last_row_of(look.store, std::move(jid));
  if (!last) co_return last.error();
  if (!*last || (*last)->kind != JournalKind::limited) co_return false;
  std::string name(limit_name_of(job.limit_key));
  std::string key = job.limit_key;
  const auto limit = co_await limit_of(look.store, LimitScope::key, std::move(name), std::move(key));
  if (!limit) co_return limit.error();
  look.report.since = (*last)->at;
  if (!*limit) co_return false;
  const LimitLook& held = **limit;
  if (held.limit.concurrency && held.use.running >= static_cast<std::uint64_t>(*held.limit.concurrency)) {
    key = job.limit_key;
    Result<std::vector<std::string>> holders = co_await holders_of(look.store, std::move(key));
    if (!holders) co_return holders.error();
    look.report.holders = std::move(*holders);
    const auto slots = static_cast<std::size_t>(*held.limit.concurrency);
    co_return tell(look, WhyReason::limit_full,
                   concat("The job waits because limit ", held.limit.name, " lets ", counted(slots, "job"), " of key ",
                          job.limit_key, " run at once, and ", held.use.running, slots == 1 ? " does" : " do",
                          look.report.holders.empty() ? "" : concat(": ", names_text(look.report.holders)), "."));
  }
  if (!held.limit.rate || !job.due || *job.due <= look.now) co_return false;
  look.report.until = job.due;
  co_return tell(
      look, WhyReason::rate_limited,
      concat("The job waits for its turn under limit ", held.limit.name, ", ", rate_text(*held.limit.rate), " of key ",
             job.limit_key, ": at ", utc_text(*job.due), ", in ", span_text(*job.due - look.now), "."));
}

/// Of a ready job.
Holds queue_is_limited(Look& look) {
  std::string name = look.job.queue;
  std::string key = look.job.queue;
  const auto limit = co_await limit_of(look.store, LimitScope::queue, std::move(name), std::move(key));
  if (!limit) co_return limit.error();
  if (!*limit) co_return false;
  const LimitLook& held = **limit;
  if (held.limit.concurrency && held.use.running >= static_cast<std::uint64_t>(*held.limit.concurrency)) {
    const auto slots = static_cast<std::size_t>(*held.limit.concurrency);
    co_return tell(look, WhyReason::limit_full,
                   concat("The job waits because queue ", look.job.queue, " is limited to ", counted(slots, "job"),
                          " at once, and ", held.use.running, slots == 1 ? " runs." : " run."));
  }
  if (!held.use.next_token_at || *held.use.next_token_at <= look.now) co_return false;
  look.report.until = held.use.next_token_at;
  co_return tell(look, WhyReason::rate_limited,
                 concat("The job waits because queue ", look.job.queue, " is limited to ",
                        rate_text(held.limit.rate.value_or(Rate{})), ", which are used up until ",
                        utc_text(*held.use.next_token_at), "."));
}

Holds store_refuses(Look& look) {
  const Result<std::optional<std::string>> refusal = co_await look.store.write_refusal();
  if (!refusal) co_return refusal.error();
  if (!*refusal) co_return false;
  co_return tell(look, WhyReason::store_refuses,
                 concat("The job waits because the store lets nothing be written: ", **refusal, "."));
}

Holds is_due(Look& look) {
  const StoredJob& job = look.job;
  if (job.state != JobState::scheduled && job.state != JobState::retrying) co_return false;
  look.report.since = job.due;
  const std::string since = job.due ? concat(" since ", utc_text(*job.due)) : "";
  co_return tell(look, WhyReason::not_promoted,
                 living_nodes(look) > 0
                     ? concat("The job is due", since, "; a node is about to put it into its queue.")
                     : concat("The job is due", since, ", but no node works on the store to put it into its queue."));
}

Holds is_paused(Look& look) {
  if (!look.queue || !look.queue->pause) co_return false;
  const QueuePause& pause = *look.queue->pause;
  look.report.since = pause.since;
  look.report.who = pause.by;
  co_return tell(look, WhyReason::queue_paused,
                 concat("The job waits because queue ", look.job.queue, " is paused",
                        pause.by.empty() ? "" : concat(" by ", pause.by),
                        pause.since ? concat(" since ", utc_text(*pause.since)) : "",
                        pause.reason.empty() ? "" : concat(": ", pause.reason), "."));
}

Holds has_no_server(Look& look) {
  const std::size_t living = living_nodes(look);
  if (living == 0) {
    co_return tell(look, WhyReason::no_node,
                   concat("The job waits because no node works on the store",
                          look.nodes.empty() ? "."
                                             : concat("; ", counted(look.nodes.size(), "node"), " of it ",
                                                      look.nodes.size() == 1 ? "is lost." : "are lost.")));
  }
  if (!servers_of(look).empty()) co_return false;
  std::vector<std::string> served;
  std::size_t untold = 0;
  for (const NodeInfo& node : look.nodes) {
    if (!alive(node)) continue;
    if (!node.beat_at) ++untold;
    for (const PoolStatus& pool : node.status.pools) {
      for (const ServedQueue& queue : pool.queues) {
        if (std::ranges::find(served, queue.name) == served.end()) served.push_back(queue.name);
      }
    }
  }
  std::string text = concat("The job waits because no node is known to serve queue ", look.job.queue);
  if (!served.empty()) text += concat("; served are ", names_text(served));
  if (untold > 0) text += concat("; ", counted(untold, "node"), " did not say yet what it serves");
  co_return tell(look, WhyReason::queue_not_served, text + ".");
}

Holds all_are_quiet(Look& look) {
  const std::vector<const NodeInfo*> servers = servers_of(look);
  if (!std::ranges::all_of(servers, [](const NodeInfo* node) { return node->status.quiet; })) co_return false;
  std::vector<std::string> names;
  names.reserve(servers.size());
  for (const NodeInfo* node : servers) names.push_back(node->identity);
  co_return tell(look, WhyReason::nodes_quiet,
                 concat("The job waits because no node that serves queue ", look.job.queue,
                        " takes more jobs: quiet are ", names_text(names), "."));
}

Holds nobody_knows_the_class(Look& look) {
  std::size_t asked = 0;
  for (const NodeInfo* node : servers_of(look)) {
    if (node->status.quiet) continue;
    const auto classes = classes_in_detail(node->detail);
    if (node->foreign || !classes) co_return false;
    if (std::ranges::find(*classes, look.job.class_name) != classes->end()) co_return false;
    ++asked;
  }
  co_return tell(
      look, WhyReason::class_unknown,
      concat("The job has nobody to run it: ",
             asked == 1 ? "the node that serves" : concat("none of the ", asked, " nodes that serve"), " queue ",
             look.job.queue, asked == 1 ? " does not know class " : " knows class ", look.job.class_name, "."));
}

std::uint64_t ended(const QueueCounts& counts) {
  return counts.finished + counts.retried + counts.died + counts.discarded + counts.expired;
}

/// The queue of that name; nothing when the store does not know it.
Async<Result<std::optional<QueueInfo>>> queue_named(JobStore& store, std::string name) {
  // From just before it: a store lists its queues by name.
  std::string after = name.substr(0, name.size() - 1);
  while (true) {
    std::string from = after;
    const Result<std::vector<QueueInfo>> page = co_await store.queues(std::move(from), batch_count_limit);
    if (!page) co_return page.error();
    for (const QueueInfo& queue : *page) {
      if (queue.name == name) co_return std::optional(queue);
    }
    if (page->size() < batch_count_limit) co_return std::optional<QueueInfo>();
    after = page->back().name;
  }
}

/// How many jobs of the queue end in a second, by looking at its counts twice. Nothing when nobody wants to wait.
Async<Result<std::optional<double>>> watch(Look& look) {
  if (look.options.sample <= Duration::zero() || !look.queue) co_return std::optional<double>();
  const Duration span = std::min(look.options.sample, sample_limit);
  const std::uint64_t before = ended(look.queue->counts);
  co_await this_process::sleep(span);
  std::string name = look.job.queue;
  const Result<std::optional<QueueInfo>> later = co_await queue_named(look.store, std::move(name));
  if (!later) co_return later.error();
  if (!*later) co_return std::optional<double>();
  const std::uint64_t after = ended((*later)->counts);
  co_return std::optional(static_cast<double>(after - std::min(before, after)) /
                          std::chrono::duration<double>(span).count());
}

/// `12.5`.
std::string tenths_text(double value) {
  const auto tenths = static_cast<std::uint64_t>(std::llround(value * 10));
  return concat(tenths / 10, ".", tenths % 10);
}

Holds waits_for_its_turn(Look& look) {
  ListQuery query;
  query.state = JobState::ready;
  query.queue = look.job.queue;
  query.limit = batch_count_limit;
  const Result<JobPage> page = co_await look.store.list(std::move(query));
  if (!page) co_return page.error();
  const auto found = std::ranges::find_if(page->jobs, [&](const StoredJob& job) { return job.jid == look.job.jid; });
  const bool seen = found != page->jobs.end();
  if (!seen && page->next.empty()) {
    look.moved = true;
    co_return false;
  }
  const auto ahead = static_cast<std::size_t>(found - page->jobs.begin());
  if (seen && ahead == 0) {
    std::uint64_t busy = 0;
    std::uint64_t places = 0;
    const std::vector<const NodeInfo*> servers = servers_of(look);
    for (const NodeInfo* node : servers) {
      if (node->status.quiet) continue;
      busy += node->status.busy;
      places += node->status.concurrency;
    }
    co_return tell(look, WhyReason::next,
                   concat("The job is the next one of queue ", look.job.queue, ", which ",
                          counted(servers.size(), "node"), servers.size() == 1 ? " serves; " : " serve; ",
                          std::min(busy, places), " of ", places, " places are busy."));
  }
  const Result<std::optional<double>> rate = co_await watch(look);
  if (!rate) co_return rate.error();
  look.report.ahead = ahead;
  look.report.ended_per_second = *rate;
  std::string text =
      concat("The job waits behind ", seen ? "" : "more than ", counted(ahead, "other"), " in queue ", look.job.queue);
  if (*rate && **rate > 0) {
    text += concat(", of which ", tenths_text(**rate), " a second come to an end: its turn is in about ",
                   span_text(std::chrono::duration_cast<Duration>(
                       std::chrono::duration<double>(static_cast<double>(ahead) / **rate))));
  } else if (*rate) {
    text += concat(", of which none came to an end within ", span_text(std::min(look.options.sample, sample_limit)));
  }
  co_return tell(look, WhyReason::waits_behind, text + ".");
}

/// In order of precedence. What comes after `is_due` is asked of ready jobs only.
constexpr Reason reasons[] = {
    is_running,    is_dead,       is_held_back,           is_not_due,       store_refuses,      is_due, is_paused,
    has_no_server, all_are_quiet, nobody_knows_the_class, queue_is_limited, waits_for_its_turn,
};

// --- a job that is not there ---

std::string gone_text(const JournalRow& row) {
  const std::string at = concat(" at ", utc_text(row.at), ".");
  switch (row.kind) {
    case JournalKind::finished: return concat("The job is done: it finished", at);
    case JournalKind::expired: return concat("The job was dropped because it was too old to be run", at);
    case JournalKind::deleted: return concat("The job was deleted by a person", at);
    case JournalKind::trimmed:
      return concat("The job was dropped from the dead ones, which were too many or too old", at);
    case JournalKind::cancelled: return concat("The job was cancelled", at);
    case JournalKind::dropped: return concat("The job made room for another in its queue, which was full,", at);
    case JournalKind::discarded: {
      const Event event = event_of(row);
      const auto* discarded = std::get_if<JobDiscarded>(&event);
      const bool why = discarded != nullptr && !discarded->reason.empty();
      return concat("The job was discarded", why ? concat(" (", discarded->reason, ")") : "", at);
    }
    default: return concat("The job has left the store; the last that the journal knows is ", to_string(row.kind), at);
  }
}

Async<Result<WhyReport>> explain_gone(JobStore& store, std::string jid) {
  std::string asked = jid;
  const Result<std::optional<JournalRow>> found = co_await last_row_of(store, std::move(asked));
  if (!found) co_return found.error();
  const std::optional<JournalRow>& last = *found;
  if (!last) {
    co_return Error{ErrorCode::not_found, concat("no job ", jid, " in the store, and nothing about it in the journal")};
  }
  WhyReport report{.jid = std::move(jid)};
  report.queue = last->queue;
  report.class_name = last->class_name;
  report.reason = WhyReason::gone;
  report.since = last->at;
  report.text = gone_text(*last);
  co_return report;
}

/// A look at a job that is there; none when it moved meanwhile.
Async<Result<std::optional<WhyReport>>> explain_job(Look& look) {
  look.report.jid = look.job.jid;
  look.report.state = look.job.state;
  look.report.queue = look.job.queue;
  look.report.class_name = look.job.class_name;
  Result<std::vector<NodeInfo>> nodes = co_await look.store.list_nodes();
  if (!nodes) co_return nodes.error();
  look.nodes = std::move(*nodes);
  std::string name = look.job.queue;
  Result<std::optional<QueueInfo>> queue = co_await queue_named(look.store, std::move(name));
  if (!queue) co_return queue.error();
  look.queue = std::move(*queue);
  for (const Reason reason : reasons) {
    const Result<bool> holds = co_await reason(look);
    if (!holds) co_return holds.error();
    if (*holds) co_return std::optional(std::move(look.report));
  }
  co_return std::optional<WhyReport>();
}

}  // namespace

std::string_view to_string(WhyReason reason) noexcept {
  switch (reason) {
    case WhyReason::gone: return "gone";
    case WhyReason::running: return "running";
    case WhyReason::node_silent: return "node_silent";
    case WhyReason::node_lost: return "node_lost";
    case WhyReason::dead: return "dead";
    case WhyReason::limit_full: return "limit_full";
    case WhyReason::rate_limited: return "rate_limited";
    case WhyReason::scheduled: return "scheduled";
    case WhyReason::retrying: return "retrying";
    case WhyReason::store_refuses: return "store_refuses";
    case WhyReason::not_promoted: return "not_promoted";
    case WhyReason::queue_paused: return "queue_paused";
    case WhyReason::no_node: return "no_node";
    case WhyReason::queue_not_served: return "queue_not_served";
    case WhyReason::nodes_quiet: return "nodes_quiet";
    case WhyReason::class_unknown: return "class_unknown";
    case WhyReason::waits_behind: return "waits_behind";
    case WhyReason::next: return "next";
  }
  return "unknown";
}

Async<Result<WhyReport>> explain(JobStore& store, std::string jid, WallTime now, WhyOptions options) {
  for (std::size_t looks = 0; looks < looks_limit; ++looks) {
    std::string sought = jid;
    Result<std::optional<StoredJob>> found = co_await store.find(std::move(sought));
    if (!found) co_return found.error();
    if (!*found) break;
    Look look{.store = store, .now = now, .options = options, .job = std::move(**found)};
    Result<std::optional<WhyReport>> report = co_await explain_job(look);
    if (!report) co_return report.error();
    if (*report) co_return std::move(**report);
  }
  Result<WhyReport> report = co_await explain_gone(store, std::move(jid));
  co_return report;
}

}  // namespace dagverk::jobs
