// Nodes: registration, leases, and the rescue of what dead ones leave behind.

#include "stores/redis/engine.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <utility>

namespace dagverk::stores::redis {

using jobs::ChangeKind;
using jobs::JobState;
using jobs::JournalKind;

namespace {

constexpr std::size_t dead_trim_limit = 100;  // per renewal, which has to stay short

/// How often at least dead nodes are looked for: others may have left one half rescued.
constexpr Duration rescue_look = std::chrono::seconds(5);

constexpr std::string_view quarantine_reason = "quarantined: the nodes that ran it died 3 times within 72 hours";

constexpr std::chrono::seconds process_ttl(60);  // as Sidekiq: then its readers forget a process
constexpr std::size_t identities_limit = 1000;
constexpr std::size_t work_bytes_limit = std::size_t{1} << 20U;  // of a heartbeat's jobs

/// Names of signals with blanks before each. What nobody knows is left out.
std::vector<jobs::NodeSignal> signals_of(std::string_view names) {
  std::vector<jobs::NodeSignal> signals;
  for (std::size_t at = 0; at < names.size();) {
    const std::size_t end = std::min(names.find(' ', at), names.size());
    if (const auto signal = jobs::node_signal_of(names.substr(at, end - at))) signals.push_back(*signal);
    at = end + 1;
  }
  return signals;
}

std::int64_t micros(Duration duration) { return duration / std::chrono::microseconds(1); }

/// Numbers from texts, ascending.
std::vector<std::uint64_t> numbers_of(std::span<const net::RedisReply> items) {
  std::vector<std::uint64_t> numbers;
  for (const net::RedisReply& item : items) {
    if (const auto number = number_of(item.text())) numbers.push_back(static_cast<std::uint64_t>(*number));
  }
  std::ranges::sort(numbers);
  return numbers;
}

}  // namespace

Engine::Reply<jobs::NodeEpoch> Engine::register_node(jobs::NodeSpec spec) {
  if (auto ok = jobs::check(spec); !ok) co_return ok.error();
  net::RedisScriptCall call = call_of(scripts_->node_register);
  call.arg(micros(options_.lease)).arg(spec.name).arg(spec.detail).arg(spec.identity);
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error();
  const auto node = number_of(reply->text());
  if (!node) co_return Error{ErrorCode::malformed, concat("register_node: the server answered ", reply->shown())};
  const auto epoch = static_cast<jobs::NodeEpoch>(*node);
  if (!spec.identity.empty()) {
    const MutexLock lock(mutex_);
    if (identities_.size() > identities_limit) identities_.clear();
    identities_.insert_or_assign(epoch, std::move(spec.identity));
  }
  co_return epoch;
}

Engine::Reply<jobs::HeartbeatReply> Engine::heartbeat(jobs::NodeEpoch node, jobs::Heartbeat beat) {
  if (auto ok = jobs::check(beat); !ok) co_return ok.error();
  const jobs::NodeStatus& status = beat.status;
  // `info` names the identity: only the server knows that of a node which has registered without one.
  net::RedisScriptCall call = call_of(scripts_->node_beat);
  call.arg(node).arg(micros(options_.lease)).arg(beat.detail ? 1 : 0).arg(beat.detail ? *beat.detail : std::string());
  call.arg(beat.signals_seen).arg(process_ttl.count()).arg(jobs::node_info_json(identity_of(node), status));
  call.arg(status.concurrency).arg(status.busy).arg(micros(status.round_trip)).arg(status.quiet ? "true" : "false");
  call.arg(status.resident_bytes / 1024);
  std::size_t work_bytes = 0;
  for (const jobs::NodeJob& job : beat.jobs) {
    const std::string value = jobs::node_job_json(job);
    work_bytes += value.size();
    if (work_bytes > work_bytes_limit) break;  // people see the first of them, and how many there are
    call.arg(job.worker).arg(value);
  }
  const Result<net::RedisReply> reply = co_await ask_apart(std::move(call));
  if (!reply) co_return reply.error();
  if (reply->items().size() != 2) {
    co_return Error{ErrorCode::refused, concat("node ", node,
                                               ": found dead by another node, which has its jobs now, or the server "
                                               "lost its data; register again")};
  }
  jobs::HeartbeatReply answer;
  answer.signals_number = static_cast<std::uint64_t>(number_of(reply->items()[0].text()).value_or(0));
  answer.signals = signals_of(reply->items()[1].text());
  if (auto flushed = co_await flush_metrics(); !flushed) {
    logger_.warning("store.metrics_failed", {{"error", flushed.error().message()}});
  }
  Result<std::vector<jobs::CancelWish>> wishes = co_await wishes_to_cancel();
  if (wishes) answer.cancels = std::move(*wishes);  // else with the next heartbeat
  // What has no other occasion: limits by age. The lease stands, whatever becomes of them.
  const Result<std::size_t> dead = co_await trim_dead(dead_trim_limit);
  const Result<std::size_t> rows = co_await trim_journal();
  if (!dead) logger_.warning("store.trim_failed", {{"error", dead.error().message()}});
  if (!rows) logger_.warning("store.trim_failed", {{"error", rows.error().message()}});
  answer.trimmed = dead.value_or(0) + rows.value_or(0);
  co_return answer;
}

std::string Engine::identity_of(jobs::NodeEpoch node) {
  const MutexLock lock(mutex_);
  const auto known = identities_.find(node);
  return known == identities_.end() ? concat("node:", node) : known->second;
}

Engine::Reply<jobs::ItemOutcome> Engine::send_signal(std::string identity, jobs::NodeSignal signal) {
  net::RedisScriptCall call = call_of(scripts_->node_signal);
  call.arg(identity).arg(jobs::wire_name(signal)).arg(jobs::node_signals_limit);
  call.arg(std::chrono::duration_cast<std::chrono::seconds>(jobs::node_signal_age_limit).count());
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error();
  co_return reply->integer_or(0) == 1 ? jobs::ItemOutcome::done : jobs::ItemOutcome::missing;
}

Engine::Reply<std::size_t> Engine::trim_journal() {
  std::size_t trimmed = 0;
  const std::int64_t oldest_us = micros_of(now()) - micros(options_.journal_age_limit);
  for (std::size_t rows = 1; options_.journal && rows <= jobs::batch_count_limit; rows *= jobs::batch_count_limit) {
    // One row tells whether there is anything to do; then a slice.
    net::RedisCommand command("XRANGE", journal_key, "-", "+", "COUNT", rows);
    const Result<net::RedisReply> reply = co_await ask(std::move(command));
    if (!reply) co_return reply.error();
    std::int64_t last_old = 0;
    for (const net::RedisReply& entry : reply->items()) {
      if (entry.items().size() != 2) continue;
      const std::span<const net::RedisReply> fields = entry.items()[1].items();
      if (fields.size() < 4 || number_of(fields[3].text()).value_or(oldest_us) >= oldest_us) break;
      const std::string_view id = entry.items()[0].text();
      last_old = number_of(id.substr(0, id.find('-'))).value_or(0);
    }
    if (last_old == 0) co_return trimmed;
    if (rows == 1) continue;
    net::RedisCommand trim("XTRIM", journal_key, "MINID", last_old + 1);
    const Result<net::RedisReply> done = co_await ask(std::move(trim));
    if (!done) co_return done.error();
    trimmed += static_cast<std::size_t>(std::max<std::int64_t>(0, done->integer_or(0)));
  }
  co_return trimmed;
}

void Engine::measure(const std::vector<jobs::Settlement>& settlements, const std::vector<bool>& happened) {
  using Action = jobs::Settlement::Action;
  for (std::size_t index = 0; index < settlements.size(); ++index) {
    const jobs::Settlement& settlement = settlements[index];
    if (!happened[index] || settlement.ran_class.empty()) continue;
    const bool failed = settlement.kind == JournalKind::retried || settlement.kind == JournalKind::died;
    if (failed || settlement.action == Action::finish) metrics_.add(settlement.ran_class, settlement.ran_for, failed);
  }
}

/// Figures for people: when it is not known whether they were written, they are not written again.
Engine::Reply<bool> Engine::flush_metrics() {
  const MetricsByClass metrics = metrics_.take();
  if (metrics.empty()) co_return false;
  net::RedisBatch batch = metrics_commands(metrics, options_.metrics, now());
  const Result<std::vector<net::RedisReply>> replies = co_await ask(std::move(batch));
  if (!replies) {
    if (replies.error().code() != ErrorCode::outcome_unknown) metrics_.put_back(metrics);
    co_return replies.error();
  }
  co_return true;
}

Engine::Reply<std::size_t> Engine::retire_node(jobs::NodeEpoch node) {
  if (auto flushed = co_await flush_metrics(); !flushed) {
    logger_.warning("store.metrics_failed", {{"error", flushed.error().message()}});
  }
  net::RedisScriptCall call = call_of(scripts_->node_retire);
  call.arg(node);
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error();
  const std::int64_t moved = reply->integer_or(-1);
  if (moved < 0) {
    co_return Error{ErrorCode::not_found, concat("node ", node, ": not registered, or rescued by another node")};
  }
  {
    const MutexLock lock(mutex_);
    std::erase_if(held_, [&](const auto& entry) { return entry.second.node == node; });
    identities_.erase(node);
  }
  if (moved > 0) hub_->tell(ChangeKind::ready);
  if (moved > 0 && options_.journal) hub_->tell(ChangeKind::journal);
  co_return static_cast<std::size_t>(moved);
}

Engine::Reply<std::vector<Engine::Rescues>> Engine::rescues_of(std::vector<std::string> jids) {
  std::vector<Rescues> rescues(jids.size());
  if (jids.empty()) co_return rescues;
  net::RedisCommand command("HMGET", "dagverk:rescued");
  for (const std::string& jid : jids) command.add(jid);
  const Result<net::RedisReply> reply = co_await ask(std::move(command));
  if (!reply) co_return reply.error();
  for (std::size_t index = 0; index < rescues.size() && index < reply->items().size(); ++index) {
    // `COUNT LAST BEFORE`, times in microseconds.
    const std::string_view text = reply->items()[index].text();
    const std::size_t first = text.find(' ');
    const std::size_t second = first == std::string_view::npos ? first : text.find(' ', first + 1);
    if (second == std::string_view::npos) continue;
    rescues[index] = {number_of(text.substr(0, first)).value_or(0),
                      number_of(text.substr(first + 1, second - first - 1)).value_or(0),
                      number_of(text.substr(second + 1)).value_or(0)};
  }
  co_return rescues;
}

Engine::Reply<jobs::RescueReport> Engine::rescue_dead_nodes(jobs::NodeEpoch rescuer, std::size_t limit) {
  if (auto ok = check_batch("rescue", limit); !ok) co_return ok.error();
  {
    // Nobody dies before a lease runs out: until then there is nothing to ask, however often callers look.
    const MutexLock lock(mutex_);
    if (rescuer == nobody_dead_for_ && now() < nobody_dead_before_) co_return jobs::RescueReport();
  }
  net::RedisScriptCall call = call_of(scripts_->nodes_condemn);
  call.arg(rescuer);
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error();
  std::span<const net::RedisReply> found = reply->items();
  if (found.empty()) co_return Error{ErrorCode::malformed, "rescue: an answer of another form"};
  const Duration first_end = std::chrono::microseconds(number_of(found[0].text()).value_or(0));
  found = found.subspan(1);
  {
    const MutexLock lock(mutex_);
    nobody_dead_for_ = rescuer;
    nobody_dead_before_ = now();
    if (found.empty()) {
      nobody_dead_before_ += first_end < Duration::zero() ? rescue_look : std::min(first_end, rescue_look);
    }
  }
  jobs::RescueReport report;
  for (const jobs::NodeEpoch node : numbers_of(found)) {
    report.nodes.push_back(node);
    const std::size_t before = report.jobs.size();
    const Result<std::size_t> left = co_await rescue_node(node, limit - before, report);
    if (!left) co_return left.error();
    if (*left == 0) {
      net::RedisScriptCall forget = call_of(scripts_->node_forget);
      forget.arg(node);
      const Result<net::RedisReply> forgotten = co_await ask(std::move(forget));
      if (!forgotten) co_return forgotten.error();
    } else if (report.jobs.size() == limit || report.jobs.size() > before) {
      report.more = true;
    }
    // Jobs that cannot go back, because their queue's key is no list, are tried again at the next occasion.
    if (report.jobs.size() == limit) break;
  }
  co_return report;
}

/// Moves at most `room` of a dead node's jobs, the latest first: each goes to the very front of its queue. Answers how
/// many are left.
Engine::Reply<std::size_t> Engine::rescue_node(jobs::NodeEpoch node, std::size_t room, jobs::RescueReport& report) {
  const std::string key = run_key(node);
  net::RedisCommand keys("HKEYS", key);
  const Result<net::RedisReply> all = co_await ask(std::move(keys));
  if (!all) co_return all.error();
  std::vector<std::uint64_t> executions = numbers_of(all->items());
  const std::size_t count = executions.size();
  const std::size_t some = std::min(count, room);
  if (some == 0) co_return count;
  executions.erase(executions.begin(), executions.end() - static_cast<std::ptrdiff_t>(some));
  std::ranges::reverse(executions);
  net::RedisCommand values("HMGET", key);
  for (const std::uint64_t execution : executions) values.add(execution);
  const Result<net::RedisReply> reply = co_await ask(std::move(values));
  if (!reply) co_return reply.error();
  struct Job {
    std::uint64_t execution;
    Element read;
  };
  std::vector<Job> jobs;
  std::vector<std::string> jids;
  for (std::size_t index = 0; index < some && index < reply->items().size(); ++index) {
    const std::optional<Running> running = read_running(reply->items()[index].text());
    if (!running) continue;
    jobs.push_back({executions[index], read_element(running->element, running->queue, {}, options_.codec)});
    jids.push_back(jobs.back().read.jid);
  }
  const Result<std::vector<Rescues>> rescues = co_await rescues_of(std::move(jids));
  if (!rescues) co_return rescues.error();
  const std::int64_t now_us = micros_of(now());
  std::vector<Change> changes;
  std::vector<bool> quarantines;
  for (std::size_t index = 0; index < jobs.size(); ++index) {
    const Element& read = jobs[index].read;
    const Rescues& past = (*rescues)[index];
    // The third rescue within the window: the two before are remembered with the job.
    static_assert(jobs::rescue_count_limit == 3);
    const bool quarantine = past.before_us != 0 && past.before_us >= now_us - micros(jobs::rescue_window);
    Change change{.key = key, .member = concat(jobs[index].execution), .jid = read.jid, .queue = read.queue};
    change.class_name = read.class_name;
    change.rescues = concat(past.count + 1, ' ', now_us, ' ', past.last_us);
    change.counts = {{read.queue, "running", -1}, {read.queue, "rescued", 1}};
    if (quarantine) {
      change.to = "Z";
      change.to_key = dead_key;
      change.score = "now";
      change.hint = "d";
      change.tail = concat(read.queue, "\n", quarantine_reason);
      change.ttl_seconds = ttl_until(now() + std::min(options_.dead_age_limit, longest_memory));
      change.statistics = "f";
      change.counts.insert(change.counts.end(),
                           {{read.queue, "died", 1}, {read.queue, "quarantined", 1}, {read.queue, "dead", 1}});
    } else {
      change.to = "R";
      change.to_key = queue_key(read.queue);
      change.hint = "q";
      change.tail = read.queue;
      change.ttl_seconds = ttl_until({});
    }
    if (told(read.journaled)) change.kind = quarantine ? JournalKind::quarantined : JournalKind::rescued;
    quarantines.push_back(quarantine);
    changes.push_back(std::move(change));
  }
  const Result<std::vector<bool>> happened = co_await change(std::move(changes));
  if (!happened) co_return happened.error();
  std::size_t moved = 0;
  std::vector<jobs::RescuedJob> rescued;
  for (std::size_t index = 0; index < jobs.size(); ++index) {
    if (!(*happened)[index]) continue;
    ++moved;
    Element& read = jobs[index].read;
    rescued.push_back(
        {std::move(read.jid), std::move(read.queue), std::move(read.class_name), node, quarantines[index]});
  }
  report.jobs.insert(report.jobs.end(), std::make_move_iterator(rescued.rbegin()),
                     std::make_move_iterator(rescued.rend()));
  co_return count - moved;
}

}  // namespace dagverk::stores::redis
