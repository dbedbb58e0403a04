#include "jobs/keeper.hpp"

#include "jobs/job_dump.hpp"
#include "jobs/node_server.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <charconv>
#include <fcntl.h>
#include <limits>
#include <string_view>
#include <unistd.h>
#include <unordered_map>
#include <utility>

namespace dagverk::jobs {

namespace {

/// Memory of this OS process; 0 when it cannot be told.
std::uint64_t resident_bytes() noexcept {
  const int file = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  char text[128];
  const ssize_t size = ::read(file, text, sizeof text);
  ::close(file);
  if (size <= 0) return 0;
  const std::string_view line(text, static_cast<std::size_t>(size));
  const std::string_view second = line.substr(std::min(line.find(' '), line.size() - 1) + 1);
  std::uint64_t pages = 0;
  std::from_chars(second.data(), second.data() + second.size(), pages);
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

void Keeper::init() {
  send_after(Duration::zero(), Beat{});
  send_after(Duration::zero(), Rescue{});
}

Async<void> Keeper::handle_info(Beat /*beat*/) {
  const bool goes_on = co_await beat_once();
  if (goes_on) send_after(env_->options.heartbeat, Beat{});
}

Async<void> Keeper::handle_cast(BeatNow /*beat*/) { [[maybe_unused]] const bool goes_on = co_await beat_once(); }

/// False when the lease is lost.
Async<bool> Keeper::beat_once() {
  Heartbeat beat = compose();
  const SteadyTime began = env_->runtime.clock().steady_now();
  Result<HeartbeatReply> renewed = co_await env_->store.heartbeat(epoch_, std::move(beat));
  if (!renewed) {
    ++env_->counters.store_errors;
    env_->runtime.logger().warning("node.heartbeat_failed",
                                   {{"node", env_->name}, {"error", renewed.error().message()}});
    if (renewed.error().code() == ErrorCode::refused) {
      stop(ExitReason::custom(std::string(renewed.error().message())));
      co_return false;
    }
  } else {
    round_trip_ = env_->runtime.clock().steady_now() - began;
    signals_seen_ = renewed->signals_number;
    for (const NodeSignal signal : renewed->signals) obey(signal);
    if (!renewed->cancels.empty()) co_await hear_cancels(std::move(renewed->cancels));
  }
  co_return true;
}

/// Has what runs here asked to stop; of all others, any node looks what has become of them.
Async<void> Keeper::hear_cancels(std::vector<CancelWish> wishes) {
  std::unordered_map<std::string, JobPtr> here;
  for (RunView& run : env_->pools.runs(std::numeric_limits<std::size_t>::max())) {
    std::string jid = run.job->taken.jid;
    here.insert_or_assign(std::move(jid), std::move(run.job));
  }
  std::vector<CancelWish> elsewhere;
  std::vector<std::string> over;
  NodeServer::CancelRuns runs;
  for (CancelWish& wish : wishes) {
    const auto found = here.find(wish.jid);
    if (found == here.end()) {
      elsewhere.push_back(std::move(wish));
      continue;
    }
    const JobInHand& job = *found->second;
    const bool meant = birth_of(job.job->payload(), env_->options.codec) == wish.birth;
    (meant ? runs.jids : over).push_back(std::move(wish.jid));
  }
  if (!runs.jids.empty()) node_.cast(std::move(runs));
  co_await cancel_waiting(std::move(elsewhere), std::move(over));
}

/// Jobs that are to be cancelled and wait again: their nodes died, or they failed before their nodes had heard.
Async<void> Keeper::cancel_waiting(std::vector<CancelWish> wishes, std::vector<std::string> over) {
  std::vector<std::string> waiting;
  std::vector<JobIdentity> identities;
  for (CancelWish& wish : wishes) {
    std::string jid = wish.jid;
    const Result<std::optional<StoredJob>> found = co_await env_->store.find(std::move(jid));
    if (!found) co_return;  // with the next heartbeat
    const std::optional<StoredJob>& job = *found;
    if (!job || job->state == JobState::dead || birth_of(job->payload, env_->options.codec) != wish.birth) {
      over.push_back(std::move(wish.jid));
    } else if (job->state != JobState::running) {
      identities.push_back({.jid = wish.jid, .job_class = job->class_name, .queue = job->queue, .node = env_->name});
      waiting.push_back(std::move(wish.jid));
    }
  }
  if (!waiting.empty()) {
    const Result<std::vector<ItemOutcome>> cancelled = co_await env_->store.cancel(std::move(waiting), {});
    for (std::size_t index = 0; cancelled && index < identities.size(); ++index) {
      if ((*cancelled)[index] != ItemOutcome::done || !env_->events->wants(event_kind<JobCancelled>)) continue;
      env_->events->notify(JobCancelled{std::move(identities[index]), env_->now()});
    }
  }
  if (over.empty()) co_return;
  const Result<std::vector<ItemOutcome>> forgotten = co_await env_->store.forget_cancels(std::move(over));
  if (!forgotten) ++env_->counters.store_errors;
}

void AskedWatcher::init() {
  seen_ = env_->store.change_count(ChangeKind::asked);
  self().cast(Watch{});
}

Async<void> AskedWatcher::handle_cast(Watch /*watch*/) {
  const Result<std::uint64_t> asked =
      co_await env_->store.wait_for_change(ChangeKind::asked, seen_, env_->options.poll_interval);
  if (!asked) co_await this_process::sleep(env_->options.poll_interval);
  if (asked && std::exchange(seen_, *asked) != *asked) keeper_.cast(Keeper::BeatNow{});
  self().cast(Watch{});
}

void Keeper::obey(NodeSignal signal) {
  env_->runtime.logger().info("node.signalled", {{"node", env_->name}, {"signal", to_string(signal)}});
  if (signal == NodeSignal::dump) {
    write_dump(env_);
  } else if (signal == NodeSignal::stop && env_->options.on_stop_signal) {
    env_->options.on_stop_signal();
  } else {
    env_->pools.set_quiet();
    node_.cast(NodeServer::PlanChanged{});
  }
}

Heartbeat Keeper::compose() const {
  Heartbeat beat;
  beat.signals_seen = signals_seen_;
  NodeStatus& status = beat.status;
  status.host = env_->host;
  status.os_pid = ::getpid();
  status.started_at = env_->started_at;
  status.tag = env_->options.tag;
  status.labels = env_->options.labels;
  status.version = env_->options.version;
  status.embedded = !env_->options.on_stop_signal;
  status.quiet = env_->pools.quiet();
  status.busy = env_->pools.running_count();
  status.resident_bytes = resident_bytes();
  status.round_trip = round_trip_;
  for (const PoolStats& stats : env_->pools.pool_stats()) {
    PoolStatus& pool = status.pools.emplace_back();
    pool.name = stats.name;
    pool.concurrency = stats.concurrency;
    const bool weighted = std::ranges::any_of(stats.queues, [](const PoolQueue& queue) { return queue.weight > 0; });
    pool.mode = weighted ? QueueMode::weighted : QueueMode::strict;
    for (const PoolQueue& queue : stats.queues) {
      pool.queues.push_back({queue.name, weighted ? std::max<std::size_t>(1, queue.weight) : 0});
    }
    status.concurrency += pool.concurrency;
  }
  for (const RunView& run : env_->pools.runs(node_jobs_limit)) {
    const JobPtr& job = run.job;
    const TakenJob& taken = job->taken;
    std::string payload(job->job ? job->job->payload() : std::string_view(taken.payload));
    beat.jobs.push_back({worker_name(taken.token.execution), taken.queue, std::move(payload), job->started_at});
  }
  return beat;
}

Async<void> Keeper::handle_info(Rescue /*rescue*/) {
  for (bool more = true; more;) {
    const Result<RescueReport> rescued = co_await env_->store.rescue_dead_nodes(epoch_, batch_count_limit);
    if (!rescued) {
      ++env_->counters.store_errors;
      break;
    }
    report(*rescued);
    more = rescued->more;
  }
  send_after(env_->options.rescue_interval, Rescue{});
}

void Keeper::report(const RescueReport& rescued) {
  const WallTime now = env_->now();
  for (const NodeEpoch node : rescued.nodes) {
    env_->runtime.logger().info("node.found_dead", {{"epoch", node}, {"jobs", rescued.jobs.size()}});
    if (env_->events->wants(event_kind<NodeDown>)) {
      env_->events->notify(NodeDown{concat("epoch ", node), now, "its lock was free, or its lease had run out"});
    }
  }
  for (const RescuedJob& job : rescued.jobs) {
    ++env_->counters.rescued;
    JobIdentity identity{.jid = job.jid, .job_class = job.class_name, .queue = job.queue, .node = env_->name};
    if (job.quarantined) {
      if (!env_->events->wants(event_kind<JobDied>)) continue;
      env_->events->notify(JobDied{std::move(identity), now, "quarantined: the nodes that ran it kept dying"});
    } else if (env_->events->wants(event_kind<JobRescued>)) {
      env_->events->notify(JobRescued{std::move(identity), now, concat("epoch ", job.node)});
    }
  }
}

}  // namespace dagverk::jobs
