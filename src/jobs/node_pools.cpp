#include "jobs/node_pools.hpp"

#include "jobs/job_threads.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_names.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <set>
#include <system_error>

namespace dagverk::jobs {

namespace {

constexpr Duration resting_limit = std::chrono::milliseconds(100);  // for a thread to leave a task that has returned

Error wrong(std::string_view pool, std::string_view field, std::size_t max, std::size_t got) {
  return Error{ErrorCode::configuration, concat("pool \"", pool, "\": ", field, " must be 1..", max, ", got ", got)};
}

Result<void> check_queue(const PoolOptions& pool, const PoolQueue& queue, std::set<std::string_view>& names) {
  if (auto checked = check_queue_name(queue.name); !checked) {
    return Error{ErrorCode::configuration, std::string(checked.error().message())};
  }
  if (queue.weight > queue_weight_max) {
    return wrong(pool.name, concat("weight of queue \"", queue.name, "\""), queue_weight_max, queue.weight);
  }
  if (!names.insert(queue.name).second) {
    return Error{ErrorCode::configuration,
                 concat("pool \"", pool.name, "\": queue \"", queue.name, "\" is there twice")};
  }
  return {};
}

}  // namespace

std::string_view to_string(QueueState state) noexcept {
  switch (state) {
    case QueueState::running: return "running";
    case QueueState::idle: return "idle";
    case QueueState::pausing: return "pausing";
    case QueueState::paused: return "paused";
  }
  return "unknown";
}

// --- the runs of a pool ---

void RunTable::insert(std::uint64_t execution, Run run) {
  MutexLock lock(mutex_);
  runs_.insert_or_assign(execution, std::move(run));
}

std::optional<Run> RunTable::take(std::uint64_t execution) {
  MutexLock lock(mutex_);
  const auto found = runs_.find(execution);
  if (found == runs_.end()) return std::nullopt;
  std::optional<Run> run(std::move(found->second));
  runs_.erase(found);
  return run;
}

std::optional<Run> RunTable::take(Pid process) {
  MutexLock lock(mutex_);
  for (auto found = runs_.begin(); found != runs_.end(); ++found) {
    if (found->second.process != process) continue;
    std::optional<Run> run(std::move(found->second));
    runs_.erase(found);
    return run;
  }
  return std::nullopt;
}

std::vector<Run> RunTable::take_all() {
  std::vector<Run> all;
  MutexLock lock(mutex_);
  all.reserve(runs_.size());
  for (auto& [execution, run] : runs_) all.push_back(std::move(run));
  runs_.clear();
  return all;
}

std::optional<std::stop_source> RunTable::time_out(std::uint64_t execution) {
  MutexLock lock(mutex_);
  const auto found = runs_.find(execution);
  if (found == runs_.end()) return std::nullopt;
  found->second.timed_out = true;
  return found->second.stop;
}

std::size_t RunTable::size() const {
  MutexLock lock(mutex_);
  return runs_.size();
}

std::optional<std::pair<std::uint64_t, std::stop_source>> RunTable::cancel(std::string_view jid) {
  MutexLock lock(mutex_);
  for (auto& [execution, run] : runs_) {
    if (run.job->taken.jid != jid || std::exchange(run.cancelled, true)) continue;
    return std::pair(execution, run.stop);
  }
  return std::nullopt;
}

JobPtr RunTable::job(std::uint64_t execution) const {
  MutexLock lock(mutex_);
  const auto found = runs_.find(execution);
  return found == runs_.end() ? nullptr : found->second.job;
}

std::size_t RunTable::overdue_count() const {
  MutexLock lock(mutex_);
  return static_cast<std::size_t>(
      std::ranges::count_if(runs_, [](const auto& entry) { return entry.second.stop.stop_requested(); }));
}

std::vector<RunView> RunTable::list(std::string_view queue, std::size_t limit) const {
  std::vector<RunView> found;
  MutexLock lock(mutex_);
  for (const auto& [execution, run] : runs_) {
    if (found.size() == limit) break;
    if (!queue.empty() && run.job->taken.queue != queue) continue;
    found.push_back({run.job, run.process, run.stop.stop_requested()});
  }
  return found;
}

std::vector<std::stop_source> RunTable::stops() const {
  std::vector<std::stop_source> all;
  MutexLock lock(mutex_);
  all.reserve(runs_.size());
  for (const auto& [execution, run] : runs_) all.push_back(run.stop);
  return all;
}

void PoolHands::show(std::shared_ptr<const RunTable> runs) {
  MutexLock lock(mutex_);
  runs_ = std::move(runs);
}

std::shared_ptr<const RunTable> PoolHands::runs() const {
  MutexLock lock(mutex_);
  return runs_;
}

// --- what users change ---

Result<std::size_t> NodePools::thread_count(const PoolOptions& pool) const {
  const std::size_t max = with_threads_ && pool.threads == 0 ? pool_threads_max : pool_concurrency_max;
  if (pool.concurrency < 1 || pool.concurrency > max) {
    const std::string_view hint = max == pool_threads_max ? "concurrency (without a number of threads)" : "concurrency";
    return wrong(pool.name, hint, max, pool.concurrency);
  }
  if (pool.threads > pool_threads_max) return wrong(pool.name, "threads", pool_threads_max, pool.threads);
  if (!with_threads_) return std::size_t{0};
  return pool.threads == 0 ? pool.concurrency : std::min(pool.threads, pool.concurrency);
}

Result<void> NodePools::check(PoolOptions& pool) const {
  if (pool.queues.empty()) return Error{ErrorCode::configuration, "a pool must serve at least one queue"};
  if (pool.name.empty()) pool.name = pool.queues.front().name;
  std::set<std::string_view> names;
  for (const PoolQueue& queue : pool.queues) {
    if (auto checked = check_queue(pool, queue, names); !checked) return checked;
  }
  return {};
}

Result<void> NodePools::check_new(const PoolOptions& pool) const {
  for (const PoolEntry& entry : pools_) {
    if (entry.options.name == pool.name) {
      return Error{ErrorCode::already_exists, concat("pool \"", pool.name, "\" is there already")};
    }
  }
  if (queues_.size() + pool.queues.size() > queue_count_limit) {
    return Error{ErrorCode::configuration, concat("a node knows at most ", queue_count_limit, " queues")};
  }
  return {};
}

Result<void> NodePools::add(PoolOptions pool) {
  if (auto checked = check(pool); !checked) return checked;
  const Result<std::size_t> count = thread_count(pool);
  if (!count) return count.error();
  {
    MutexLock lock(mutex_);
    if (auto checked = check_new(pool); !checked) return checked;
  }
  std::shared_ptr<JobThreads> threads;
  try {
    threads = JobThreads::open(runtime_, *count);
  } catch (const std::system_error& failed) {
    return Error{ErrorCode::unavailable, concat("starting the threads of pool \"", pool.name, "\": ", failed.what())};
  }
  auto hands = std::make_shared<PoolHands>(threads);
  Result<void> added;
  {
    MutexLock lock(mutex_);
    added = check_new(pool);
    if (added) {
      for (const PoolQueue& queue : pool.queues) {
        if (served(queue.name)) continue;
        QueueEntry& entry = queues_[queue.name];  // one that is added anew runs
        entry.paused = false;
        entry.settled = false;
      }
      pools_.push_back({++last_id_, std::move(pool), std::move(hands)});
      ++version_;
    }
  }
  if (!added) threads->stop(Duration::zero());  // somebody else was faster; none of them has worked
  return added;
}

Result<void> NodePools::remove(std::string_view name) {
  MutexLock lock(mutex_);
  PoolEntry* const entry = find(name);
  if (entry == nullptr) return Error{ErrorCode::not_found, concat("no pool \"", name, "\"")};
  ending_.push_back(entry->hands);
  pools_.erase(pools_.begin() + (entry - pools_.data()));
  ++version_;
  return {};
}

Result<void> NodePools::remove_queue(std::string_view queue) {
  MutexLock lock(mutex_);
  if (!served(queue)) return Error{ErrorCode::not_found, concat("no pool serves queue \"", queue, "\"")};
  for (PoolEntry& entry : pools_) {
    std::erase_if(entry.options.queues, [&](const PoolQueue& each) { return each.name == queue; });
    if (entry.options.queues.empty()) ending_.push_back(entry.hands);
  }
  std::erase_if(pools_, [](const PoolEntry& entry) { return entry.options.queues.empty(); });
  ++version_;
  return {};
}

Result<void> NodePools::resize(std::string_view name, std::size_t concurrency) {
  PoolOptions options;
  std::shared_ptr<PoolHands> hands;
  {
    MutexLock lock(mutex_);
    const PoolEntry* const entry = find(name);
    if (entry == nullptr) return Error{ErrorCode::not_found, concat("no pool \"", name, "\"")};
    options = entry->options;
    hands = entry->hands;
  }
  options.concurrency = concurrency;
  const Result<std::size_t> count = thread_count(options);
  if (!count) return count.error();
  try {
    hands->threads->resize(runtime_, *count);
  } catch (const std::system_error& failed) {
    return Error{ErrorCode::unavailable, concat("starting more threads of pool \"", name, "\": ", failed.what())};
  }
  MutexLock lock(mutex_);
  PoolEntry* const entry = find(name);
  if (entry == nullptr) return Error{ErrorCode::not_found, concat("no pool \"", name, "\"")};
  entry->options.concurrency = concurrency;
  ++version_;
  return {};
}

bool NodePools::set_paused(std::string_view queue, bool paused) {
  MutexLock lock(mutex_);
  if (!served(queue)) return false;
  QueueEntry& entry = queues_.find(queue)->second;
  if (entry.paused == paused) return true;
  entry.paused = paused;
  if (!quiet_) entry.settled = false;
  ++version_;
  return true;
}

void NodePools::set_quiet() {
  MutexLock lock(mutex_);
  if (std::exchange(quiet_, true)) return;
  ++version_;
}

bool NodePools::serves(std::string_view queue) const {
  MutexLock lock(mutex_);
  return served(queue);
}

// --- what the node's processes ask ---

NodePools::PoolEntry* NodePools::find(std::string_view name) {
  for (PoolEntry& entry : pools_) {
    if (entry.options.name == name) return &entry;
  }
  return nullptr;
}

bool NodePools::served(std::string_view queue) const {
  return std::ranges::any_of(pools_, [&](const PoolEntry& entry) {
    return std::ranges::any_of(entry.options.queues, [&](const PoolQueue& each) { return each.name == queue; });
  });
}

bool NodePools::open(std::string_view queue) const {
  const auto found = queues_.find(queue);
  return !quiet_ && (found == queues_.end() || !found->second.paused);
}

NodePools::Plan NodePools::plan() const {
  Plan plan;
  std::set<std::string_view> names;
  MutexLock lock(mutex_);
  plan.version = version_;
  for (const PoolEntry& entry : pools_) {
    Pool pool{
        .id = entry.id, .name = entry.options.name, .concurrency = entry.options.concurrency, .hands = entry.hands};
    for (const PoolQueue& queue : entry.options.queues) {
      pool.queues.push_back(queue.name);
      if (open(queue.name)) pool.open.push_back(queue);
      if (names.insert(queue.name).second) plan.queues.push_back({queue.name, open(queue.name)});
    }
    plan.pools.push_back(std::move(pool));
  }
  return plan;
}

bool NodePools::note_paused(const std::string& queue) {
  MutexLock lock(mutex_);
  if (!served(queue)) return true;
  QueueEntry& entry = queues_[queue];
  return !open(queue) && !std::exchange(entry.settled, true);
}

QueueRecord& NodePools::record(const std::string& queue) {
  MutexLock lock(mutex_);
  return queues_[queue].record;
}

void NodePools::pool_ended(const std::shared_ptr<PoolHands>& hands) {
  const std::size_t stuck = hands->threads->stop(resting_limit);
  MutexLock lock(mutex_);
  stuck_ += stuck;
  std::erase(ending_, hands);
}

// --- what anybody asks ---

std::vector<QueueStats> NodePools::queue_stats(std::string_view prefix) const {
  std::vector<QueueStats> all;
  MutexLock lock(mutex_);
  for (const auto& [name, entry] : queues_) {
    if (!name.starts_with(prefix) || !served(name)) continue;
    QueueStats stats{.queue = name,
                     .running = entry.record.running,
                     .finished = entry.record.finished,
                     .failed = entry.record.failed};
    if (open(name)) {
      stats.state = stats.running > 0 ? QueueState::running : QueueState::idle;
    } else {
      stats.state = entry.settled ? QueueState::paused : QueueState::pausing;
    }
    all.push_back(std::move(stats));
  }
  return all;
}

std::vector<PoolStats> NodePools::pool_stats() const {
  std::vector<PoolStats> all;
  MutexLock lock(mutex_);
  for (const PoolEntry& entry : pools_) {
    const std::shared_ptr<const RunTable> runs = entry.hands->runs();
    all.push_back({entry.options.name, entry.options.queues, entry.options.concurrency, runs ? runs->size() : 0,
                   runs ? runs->overdue_count() : 0});
  }
  return all;
}

std::vector<std::pair<std::string, std::shared_ptr<PoolHands>>> NodePools::all_hands() const {
  std::vector<std::pair<std::string, std::shared_ptr<PoolHands>>> all;
  MutexLock lock(mutex_);
  all.reserve(pools_.size() + ending_.size());
  for (const PoolEntry& entry : pools_) all.emplace_back(entry.options.name, entry.hands);
  for (const std::shared_ptr<PoolHands>& hands : ending_) all.emplace_back(std::string(), hands);
  return all;
}

std::vector<RunningJob> NodePools::running_jobs(std::string_view queue, std::size_t limit) const {
  std::vector<RunningJob> all;
  for (const auto& [pool, hands] : all_hands()) {
    const std::shared_ptr<const RunTable> runs = hands->runs();
    if (!runs) continue;
    for (const auto& [job, process, stop_requested] : runs->list(queue, limit - all.size())) {
      RunningJob running{.jid = job->taken.jid,
                         .job_class = std::string(job->job->job_class()),
                         .queue = job->taken.queue,
                         .pool = pool,
                         .attempt = job->job->attempt(),
                         .started_at = job->started_at,
                         .payload = std::string(job->job->payload()),
                         .process = process,
                         .stop_requested = stop_requested};
      all.push_back(std::move(running));
    }
  }
  std::ranges::sort(all, std::less<>(), &RunningJob::started_at);
  return all;
}

std::vector<RunView> NodePools::runs(std::size_t limit) const {
  std::vector<RunView> all;
  for (const auto& [pool, hands] : all_hands()) {
    const std::shared_ptr<const RunTable> table = hands->runs();
    if (!table) continue;
    std::vector<RunView> some = table->list({}, limit - all.size());
    all.insert(all.end(), std::make_move_iterator(some.begin()), std::make_move_iterator(some.end()));
  }
  std::ranges::sort(all, {}, [](const RunView& run) { return run.job->taken.token.execution; });
  return all;
}

bool NodePools::runs_job(std::string_view jid) const {
  return std::ranges::any_of(runs(std::numeric_limits<std::size_t>::max()),
                             [jid](const RunView& run) { return run.job->taken.jid == jid; });
}

bool NodePools::quiet() const {
  MutexLock lock(mutex_);
  return quiet_;
}

std::size_t NodePools::running_count() const {
  std::size_t count = 0;
  for (const auto& [pool, hands] : all_hands()) {
    if (const std::shared_ptr<const RunTable> runs = hands->runs()) count += runs->size();
  }
  return count;
}

std::size_t NodePools::stop_threads(Duration limit) {
  std::size_t stuck = 0;
  for (const auto& [pool, hands] : all_hands()) stuck += hands->threads->stop(limit);
  MutexLock lock(mutex_);
  return stuck + stuck_;
}

}  // namespace dagverk::jobs
