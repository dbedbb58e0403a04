#include "worker/reload.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/duration_text.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace dagverk::worker {
namespace {

constexpr std::string_view level_names[] = {"debug", "info", "warning", "error"};

const QueueSettings* find_queue(const Configuration& configuration, std::string_view name) {
  for (const QueueSettings& queue : configuration.queues) {
    if (queue.name == name) return &queue;
  }
  return nullptr;
}

bool same_jobs(const Configuration& left, const Configuration& right) {
  return std::ranges::equal(left.jobs, right.jobs, [](const JobSettings& one, const JobSettings& other) {
    return one.name == other.name && one.command == other.command && one.options.queue == other.options.queue &&
           one.options.timeout == other.options.timeout;
  });
}

/// Settings that a worker reads once.
std::vector<std::string> fixed_differences(const Configuration& running, const Configuration& fresh) {
  const std::pair<std::string_view, bool> rows[] = {
      {"store", running.store_path == fresh.store_path && running.redis_url == fresh.redis_url},
      {"log.to", running.log_to == fresh.log_to},
      {"socket", running.socket == fresh.socket},
      {"events.manager", running.event_manager == fresh.event_manager},
      {"journal.enabled", running.journal == fresh.journal},
      {"journal.rows", running.journal_rows == fresh.journal_rows},
      {"journal.age", running.journal_age == fresh.journal_age},
      {"dead.jobs", running.dead_jobs == fresh.dead_jobs},
      {"dead.age", running.dead_age == fresh.dead_age},
      {"metrics", running.metrics == fresh.metrics},
      {"heartbeat", running.heartbeat == fresh.heartbeat},
      {"tag", running.tag == fresh.tag},
      {"jobs", same_jobs(running, fresh)},
  };
  std::vector<std::string> keys;
  for (const auto& [key, same] : rows) {
    if (!same) keys.emplace_back(key);
  }
  for (const QueueSettings& queue : running.queues) {
    if (find_queue(fresh, queue.name) == nullptr) keys.push_back(concat("queues.", queue.name));
  }
  for (const QueueSettings& queue : fresh.queues) {
    if (find_queue(running, queue.name) == nullptr) keys.push_back(concat("queues.", queue.name));
  }
  return keys;
}

}  // namespace

Result<ReloadReport> apply_reload(Configuration& running, const Configuration& fresh, jobs::Node& node,
                                  LimitKeeper& limits, WorkerLog& log) {
  ReloadReport report;
  report.needs_restart = fixed_differences(running, fresh);
  if (running.log_level != fresh.log_level) {
    if (auto set = log.set_level(fresh.log_level); !set) return set.error();
    report.applied.push_back(concat("log_level ", level_names[static_cast<std::size_t>(running.log_level)], " -> ",
                                    level_names[static_cast<std::size_t>(fresh.log_level)]));
    running.log_level = fresh.log_level;
  }
  if (running.stop_timeout != fresh.stop_timeout) {
    report.applied.push_back(
        concat("stop_timeout ", duration_text(running.stop_timeout), " -> ", duration_text(fresh.stop_timeout)));
    running.stop_timeout = fresh.stop_timeout;
  }
  for (QueueSettings& queue : running.queues) {
    const QueueSettings* const wanted = find_queue(fresh, queue.name);
    if (wanted == nullptr || wanted->concurrency == queue.concurrency) continue;
    if (auto resized = node.resize(queue.name, wanted->concurrency); !resized) return resized.error();
    report.applied.push_back(concat("queues.", queue.name, " ", queue.concurrency, " -> ", wanted->concurrency));
    queue.concurrency = wanted->concurrency;
  }
  auto changed = limits.put(fresh);
  if (!changed) return changed.error();
  std::ranges::move(*changed, std::back_inserter(report.applied));
  running.limits = fresh.limits;
  return report;
}

}  // namespace dagverk::worker
