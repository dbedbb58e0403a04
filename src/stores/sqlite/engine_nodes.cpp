// Nodes: registration, leases, and the rescue of what dead ones leave behind.

#include "stores/sqlite/engine.hpp"
#include "stores/sqlite/engine_internal.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/base/random.hpp"
#include "dagverk/jobs/node_status.hpp"
#include "dagverk/jobs/store_bounds.hpp"

#include <algorithm>

namespace dagverk::stores {

using jobs::JobState;
using jobs::JournalKind;

Result<op::RegisterNode::Reply> Engine::apply(const op::RegisterNode& operation) {
  const jobs::NodeSpec& spec = operation.spec;
  if (auto ok = jobs::check(spec); !ok) return ok.error();
  // Locked before the row exists, so that nobody ever sees the row of a living node without its lock.
  const std::string lock_name = random_hex(8);
  auto lock = NodeLock::create(file_path_, lock_name);
  if (!lock) return lock.error();
  const jobs::NodeEpoch node = next_id();
  new_locks_.emplace_back(node, std::move(*lock));
  Use(statements_->node_insert)
      .number(node)
      .text(lock_name)
      .text(spec.name)
      .text(spec.detail)
      .text(options_.boot_clock->boot_id())
      .integer(boot_now_us_ + micros_of(options_.lease))
      .integer(now_us_)
      .text(spec.identity.empty() ? concat("node:", node) : spec.identity)
      .run();
  return node;
}

Result<op::Beat::Reply> Engine::apply(const op::Beat& operation) {
  const jobs::Heartbeat& beat = operation.beat;
  if (auto ok = jobs::check(beat); !ok) return ok.error();
  std::string identity;
  {
    Use use(statements_->node_row);
    if (!use.number(operation.node).step() || use.integer_at(2) != 0 ||
        use.bytes_at(0) != options_.boot_clock->boot_id()) {
      return Error{ErrorCode::refused, concat("node ", operation.node,
                                              ": found dead by another node, which has its jobs now; register again")};
    }
    identity = use.bytes_at(4);
  }
  const jobs::NodeStatus& status = beat.status;
  Use(statements_->node_renew)
      .integer(boot_now_us_ + micros_of(options_.lease))
      .number(operation.node)
      .text(jobs::node_info_json(identity, status))
      .integer(status.quiet ? 1 : 0)
      .number(status.busy)
      .number(status.resident_bytes)
      .integer(micros_of(status.round_trip))
      .integer(now_us_)
      .run();
  if (beat.detail) Use(statements_->node_detail).text(*beat.detail).number(operation.node).run();
  jobs::HeartbeatReply reply;
  hand_signals(identity, beat.signals_seen, reply);
  {
    Use use(statements_->cancel_list);
    use.number(jobs::cancel_wishes_limit);
    while (use.step()) reply.cancels.push_back({std::string(use.bytes_at(0)), std::string(use.bytes_at(1))});
  }
  // What has no other occasion: limits by age. In slices, so that a heartbeat stays short.
  Use(statements_->record_trim_age).integer(now_us_ - micros_of(jobs::record_age_limit)).run();
  Use(statements_->record_trim_count).number(record_count_limit).run();
  if (unique_held_ > 0) forget_expired_locks(jobs::batch_count_limit);
  Use(statements_->rate_trim).integer(now_us_).run();
  reply.trimmed =
      trim_dead(100) + trim_journal(jobs::batch_count_limit, true) + trim_journal(jobs::batch_count_limit, false);
  return reply;
}

/// Forgets the signals that the node has seen, and gives it the others, under a number that it shall name next time.
void Engine::hand_signals(std::string_view identity, std::uint64_t seen, jobs::HeartbeatReply& reply) {
  Use(statements_->signal_expire).integer(now_us_ - micros_of(jobs::node_signal_age_limit)).run();
  if (seen != 0) Use(statements_->signal_seen).text(identity).number(seen).run();
  {
    Use use(statements_->signal_list);
    use.text(identity);
    while (use.step()) reply.signals.push_back(static_cast<jobs::NodeSignal>(use.integer_at(0)));
  }
  if (reply.signals.empty()) return;
  reply.signals_number = next_id();
  Use(statements_->signal_told).text(identity).number(reply.signals_number).run();
}

Result<op::SendSignal::Reply> Engine::apply(const op::SendSignal& operation) {
  {
    Use use(statements_->node_known);
    if (!use.text(operation.identity).step()) return jobs::ItemOutcome::missing;
  }
  Use(statements_->signal_insert)
      .text(operation.identity)
      .integer(static_cast<std::int64_t>(operation.signal))
      .integer(now_us_)
      .run();
  Use(statements_->signal_trim).text(operation.identity).number(jobs::node_signals_limit).run();
  return jobs::ItemOutcome::done;
}

Result<op::RetireNode::Reply> Engine::apply(const op::RetireNode& operation) {
  {
    Use use(statements_->node_row);
    if (!use.number(operation.node).step()) {
      return Error{ErrorCode::not_found,
                   concat("node ", operation.node, ": not registered, or rescued by another node")};
    }
  }
  std::vector<std::int64_t> ids;
  {
    Use use(statements_->job_of_node);
    use.number(operation.node).number(jobs::batch_count_limit);
    while (use.step()) ids.push_back(use.integer_at(0));
  }
  JobRow row;
  for (const std::int64_t id : ids) {
    if (load_job(id, row)) give_back(row, JournalKind::requeued, {});
  }
  retired_nodes_.push_back(operation.node);
  if (ids.size() < jobs::batch_count_limit) {
    Use(statements_->node_delete).number(operation.node).run();
  } else {
    Use(statements_->node_mark).number(operation.node).run();  // whoever rescues next moves the rest
  }
  return ids.size();
}

bool Engine::is_dead(std::int64_t node, std::string_view lock_name, std::string_view boot_id,
                     std::int64_t lease_boot_us, bool marked) {
  if (marked || boot_id != options_.boot_clock->boot_id() || lease_boot_us < boot_now_us_) return true;
  if (locks_.contains(static_cast<jobs::NodeEpoch>(node))) return false;
  // Without the file only the lease decides: somebody may have removed the folder under a living node.
  return NodeLock::probe(file_path_, lock_name) == NodeLock::Holder::dead;
}

Result<op::Rescue::Reply> Engine::apply(const op::Rescue& operation) {
  if (operation.limit < 1 || operation.limit > jobs::batch_count_limit) {
    return Error{ErrorCode::invalid_argument, concat("rescue: the limit must be 1..", jobs::batch_count_limit)};
  }
  struct DeadNode {
    std::int64_t id;
    std::string lock_name;
    bool marked;
  };
  std::vector<DeadNode> dead;
  {
    Use use(statements_->node_list);
    while (use.step()) {
      const std::int64_t id = use.integer_at(0);
      const bool marked = use.integer_at(4) != 0;
      // The rescuer itself runs, whatever its lease says; another node may see it otherwise.
      if (static_cast<jobs::NodeEpoch>(id) == operation.rescuer && !marked) continue;
      if (is_dead(id, use.bytes_at(1), use.bytes_at(2), use.integer_at(3), marked)) {
        dead.push_back({id, std::string(use.bytes_at(1)), marked});
      }
    }
  }
  jobs::RescueReport report;
  JobRow row;
  for (const DeadNode& node : dead) {
    report.nodes.push_back(static_cast<jobs::NodeEpoch>(node.id));
    const std::size_t room = operation.limit - report.jobs.size();
    std::vector<std::int64_t> ids;
    if (room > 0) {
      Use use(statements_->job_of_node);
      use.integer(node.id).number(room);
      while (use.step()) ids.push_back(use.integer_at(0));
    }
    for (const std::int64_t id : ids) {
      if (!load_job(id, row)) continue;
      // The third rescue within the window: the two before are remembered with the job.
      static_assert(jobs::rescue_count_limit == 3);
      const bool quarantine =
          row.rescued_before_us != 0 && row.rescued_before_us >= now_us_ - micros_of(jobs::rescue_window);
      const JobState state = quarantine ? JobState::dead : JobState::ready;
      {
        Use use(statements_->job_rescue);
        use.integer(static_cast<std::int64_t>(state)).integer(rank_in_front(row.rank));
        if (quarantine) {
          use.integer(now_us_).text("quarantined: the nodes that ran it died 3 times within 72 hours");
        } else {
          use.null().null();
        }
        use.integer(row.rescues + 1).integer(now_us_).integer(row.rescued_us).integer(id).run();
      }
      Queue& queue = queue_of(row.queue);
      count_state(queue, JobState::running, -1);
      free_key_slot(row.limit_key);
      count_state(queue, state, 1);
      count(queue, Count::rescued);
      if (quarantine) {
        count(queue, Count::died);
        count(queue, Count::quarantined);
      }
      journal(row.journaled(), quarantine ? JournalKind::quarantined : JournalKind::rescued, queue, row.jid,
              row.class_name, {});
      report.jobs.push_back({row.jid, queue.name, row.class_name, static_cast<jobs::NodeEpoch>(node.id), quarantine});
    }
    if (ids.size() == room) {
      // Perhaps not all of them yet. The mark makes its death final, so that it cannot renew between two slices.
      if (!node.marked) Use(statements_->node_mark).integer(node.id).run();
      report.more = true;
      if (room == 0) break;
    } else {
      Use(statements_->node_delete).integer(node.id).run();
      stale_locks_.push_back(node.lock_name);
    }
  }
  return report;
}

Result<op::AddBell::Reply> Engine::apply(const op::AddBell& operation) {
  own_bell_ = operation.name;
  update_bells();
  if (bells_.size() >= bell_count_limit) {
    ring_bells();  // whoever is gone is found out by this, and makes room
    update_bells();
    if (bells_.size() >= bell_count_limit) return false;
  }
  Use(statements_->bell_insert).text(operation.name).run();
  Use(statements_->bell_changed).run();
  bell_changes_ = ~std::uint64_t{0};
  return true;
}

Result<op::RemoveBell::Reply> Engine::apply(const op::RemoveBell& operation) {
  Use(statements_->bell_delete).text(operation.name).run();
  const bool known = database_->changes() > 0;
  if (known) Use(statements_->bell_changed).run();
  return known;
}

Result<op::ListNodes::Reply> Engine::apply(const op::ListNodes& /*operation*/) {
  std::vector<jobs::NodeInfo> nodes;
  const std::int64_t boot_now_us = micros_of(options_.boot_clock->since_boot());
  Use use(statements_->node_list);
  while (use.step()) {
    jobs::NodeInfo& node = nodes.emplace_back();
    node.epoch = use.number_at(0);
    const bool this_boot = use.bytes_at(2) == options_.boot_clock->boot_id();
    node.lease_left = std::chrono::microseconds(
        this_boot && use.integer_at(4) == 0 ? sane_micros(use.integer_at(3)) - boot_now_us : -1);
    node.name = use.bytes_at(5);
    node.detail = use.bytes_at(6);
    node.registered_at = wall_of(use.integer_at(7));
    node.identity = use.bytes_at(8);
    node.status = jobs::parse_node_info(use.bytes_at(9));
    node.status.quiet = use.integer_at(10) != 0;
    node.status.busy = use.number_at(11);
    node.status.resident_bytes = use.number_at(12);
    node.status.round_trip = std::chrono::microseconds(sane_micros(use.integer_at(13)));
    if (!use.is_null(14)) node.beat_at = wall_of(use.integer_at(14));
    Use count(statements_->job_count_of_node);
    if (count.number(node.epoch).step()) node.running = count.number_at(0);
  }
  return nodes;
}

Result<op::NodeJobs::Reply> Engine::apply(const op::NodeJobs& operation) {
  if (auto ok = jobs::check_batch("node_jobs", operation.limit); !ok) return ok.error();
  std::vector<jobs::NodeJob> jobs;
  Use use(statements_->node_jobs);
  use.text(operation.identity).number(operation.limit);
  while (use.step()) {
    jobs.push_back({jobs::worker_name(use.number_at(0)), std::string(use.bytes_at(1)), std::string(use.bytes_at(2)),
                    wall_of(use.integer_at(3))});
  }
  return jobs;
}

}  // namespace dagverk::stores
