// Nodes: registration, leases, signals, and the rescue of what dead ones leave behind.

#include "testing_jobs/memory_jobs.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/node_status.hpp"
#include "dagverk/jobs/store_bounds.hpp"

#include <algorithm>

namespace dagverk::testing_jobs {

using jobs::ItemOutcome;
using jobs::JobState;
using jobs::JournalKind;

namespace {

/// What others see of a status: it goes as text from OS process to OS process.
jobs::NodeStatus as_seen(std::string_view identity, const jobs::NodeStatus& status) {
  jobs::NodeStatus seen = jobs::parse_node_info(jobs::node_info_json(identity, status));
  seen.quiet = status.quiet;
  seen.busy = status.busy;
  seen.resident_bytes = status.resident_bytes;
  seen.round_trip = status.round_trip;
  return seen;
}

}  // namespace

Result<jobs::NodeEpoch> MemoryJobs::register_node(const jobs::NodeSpec& spec) {
  if (auto ok = jobs::check(spec); !ok) return ok.error();
  const jobs::NodeEpoch epoch = next_number();
  Node& node = nodes_[epoch];
  node.info.epoch = epoch;
  node.info.name = spec.name;
  node.info.detail = spec.detail;
  node.info.registered_at = now_;
  node.info.identity = spec.identity.empty() ? concat("node:", epoch) : spec.identity;
  node.store = store_;
  node.lease_until = steady_now_ + options_->lease;
  return epoch;
}

void MemoryJobs::end_nodes_of(std::uint64_t store) noexcept {
  for (auto& [epoch, node] : nodes_) {
    if (node.store == store) node.dead = true;
  }
}

Result<void> MemoryJobs::check_may_take(jobs::NodeEpoch epoch) const {
  const auto node = nodes_.find(epoch);
  if (node == nodes_.end() || node->second.dead) {
    return Error{ErrorCode::refused,
                 concat("node ", epoch, ": not registered, or found dead and rescued; register again")};
  }
  if (is_dead(node->second)) {
    return Error{ErrorCode::refused, concat("node ", epoch, ": its lease has run out; renew it first")};
  }
  return {};
}

Result<jobs::HeartbeatReply> MemoryJobs::heartbeat(jobs::NodeEpoch epoch, const jobs::Heartbeat& beat) {
  if (auto ok = jobs::check(beat); !ok) return ok.error();
  const auto found = nodes_.find(epoch);
  if (found == nodes_.end() || found->second.dead) {
    return Error{ErrorCode::refused,
                 concat("node ", epoch, ": found dead by another node, which has its jobs now; register again")};
  }
  Node& node = found->second;
  node.lease_until = steady_now_ + options_->lease;
  node.info.beat_at = now_;
  node.info.status = as_seen(node.info.identity, beat.status);
  if (beat.detail) node.info.detail = *beat.detail;
  jobs::HeartbeatReply reply;
  hand_signals(node, beat.signals_seen, reply);
  const std::size_t wishes = std::min(cancels_.size(), jobs::cancel_wishes_limit);
  reply.cancels.assign(cancels_.begin(), cancels_.begin() + static_cast<std::ptrdiff_t>(wishes));
  std::erase_if(records_, [&](const auto& entry) { return entry.second.updated_at < now_ - jobs::record_age_limit; });
  forget_expired_locks();
  reply.trimmed = trim_dead() + trim_journal();  // what has no other occasion: limits by age
  return reply;
}

/// Forgets the signals that the node has seen, and gives it the others, under a number that it shall name next time.
void MemoryJobs::hand_signals(const Node& node, std::uint64_t seen, jobs::HeartbeatReply& reply) {
  const std::string& identity = node.info.identity;
  std::erase_if(signals_, [&](const Signal& signal) {
    if (signal.sent_at < now_ - jobs::node_signal_age_limit) return true;
    return signal.identity == identity && signal.told != 0 && signal.told <= seen;
  });
  const std::uint64_t number = next_number();
  for (Signal& signal : signals_) {
    if (signal.identity != identity) continue;
    signal.told = number;
    reply.signals.push_back(signal.signal);
    reply.signals_number = number;
  }
}

Result<ItemOutcome> MemoryJobs::send_signal(const std::string& identity, jobs::NodeSignal signal) {
  const bool known =
      std::ranges::any_of(nodes_, [&](const auto& node) { return node.second.info.identity == identity; });
  if (!known) return ItemOutcome::missing;
  signals_.push_back({identity, signal, now_});
  const auto same = [&](const Signal& other) { return other.identity == identity; };
  if (static_cast<std::size_t>(std::ranges::count_if(signals_, same)) > jobs::node_signals_limit) {
    signals_.erase(std::ranges::find_if(signals_, same));
  }
  return ItemOutcome::done;
}

Result<std::size_t> MemoryJobs::retire_node(jobs::NodeEpoch epoch) {
  const auto node = nodes_.find(epoch);
  if (node == nodes_.end()) {
    return Error{ErrorCode::not_found, concat("node ", epoch, ": not registered, or rescued by another node")};
  }
  const std::vector<Job*> held = held_by(epoch, std::numeric_limits<std::size_t>::max());
  for (Job* const job : held) {
    give_back(*job);
    note(*job, JournalKind::requeued, {});
  }
  nodes_.erase(node);
  return held.size();
}

Result<jobs::RescueReport> MemoryJobs::rescue_dead_nodes(jobs::NodeEpoch rescuer, std::size_t limit) {
  if (auto ok = jobs::check_batch("rescue", limit); !ok) return ok.error();
  jobs::RescueReport report;
  for (auto at = nodes_.begin(); at != nodes_.end();) {
    const jobs::NodeEpoch epoch = at->first;
    Node& node = at->second;
    // The rescuer itself runs, whatever its lease says; another node may see it otherwise.
    if (!is_dead(node) || (epoch == rescuer && !node.dead)) {
      ++at;
      continue;
    }
    report.nodes.push_back(epoch);
    for (Job* const job : held_by(epoch, limit - report.jobs.size())) {
      const bool quarantined = rescue(*job);
      report.jobs.push_back({job->stored.jid, job->stored.queue, job->stored.class_name, epoch, quarantined});
    }
    if (!held_by(epoch, 1).empty()) {
      node.dead = true;  // so that it cannot renew between two slices
      report.more = true;
      break;
    }
    at = nodes_.erase(at);
  }
  static_cast<void>(trim_dead());
  return report;
}

/// From the hands of a dead node to the front of its queue, or to the dead set when that was once too often: then true.
bool MemoryJobs::rescue(Job& job) {
  ++counts_of(job).rescued;
  ++job.stored.rescues;
  job.rescued_at.push_back(now_);
  while (job.rescued_at.size() > jobs::rescue_count_limit) job.rescued_at.pop_front();
  const bool quarantine =
      job.rescued_at.size() == jobs::rescue_count_limit && job.rescued_at.front() >= now_ - jobs::rescue_window;
  if (!quarantine) {
    give_back(job);
    note(job, JournalKind::rescued, {});
    return false;
  }
  leave(job);
  ++counts_of(job).died;
  ++counts_of(job).quarantined;
  job.stored.due = now_;
  job.stored.reason = concat("quarantined: the nodes that ran it died ", jobs::rescue_count_limit, " times within ",
                             std::chrono::duration_cast<std::chrono::hours>(jobs::rescue_window).count(), " hours");
  enter(job, JobState::dead);
  note(job, JournalKind::quarantined, {});
  return true;
}

Result<std::vector<jobs::NodeInfo>> MemoryJobs::list_nodes() const {
  std::vector<jobs::NodeInfo> nodes;
  for (const auto& [epoch, node] : nodes_) {
    if (nodes.size() == jobs::batch_count_limit) break;
    jobs::NodeInfo& info = nodes.emplace_back(node.info);
    info.lease_left = node.dead ? Duration(-1) : node.lease_until - steady_now_;
    info.running = held_by(epoch, std::numeric_limits<std::size_t>::max()).size();
  }
  return nodes;
}

Result<std::vector<jobs::NodeJob>> MemoryJobs::node_jobs(const std::string& identity, std::size_t limit) const {
  if (auto ok = jobs::check_batch("node_jobs", limit); !ok) return ok.error();
  std::vector<jobs::NodeJob> found;
  for (const auto& [epoch, node] : nodes_) {
    if (node.info.identity != identity) continue;
    for (const Job* const job : held_by(epoch, limit - found.size())) {
      found.push_back({jobs::worker_name(job->execution), job->stored.queue, job->stored.payload,
                       job->stored.started_at.value_or(WallTime())});
    }
  }
  return found;
}

}  // namespace dagverk::testing_jobs
