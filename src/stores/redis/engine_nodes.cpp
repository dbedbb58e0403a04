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
  if (spec.name.size() > jobs::name_size_limit || spec.detail.size() > jobs::detail_size_limit) {
    co_return Error{ErrorCode::invalid_argument, "register_node: a name has at most 255 bytes, its detail 64 KiB"};
  }
  net::RedisScriptCall call = call_of(scripts_->node_register);
  call.arg(micros(options_.lease)).arg(spec.name).arg(spec.detail);
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error();
  const auto node = number_of(reply->text());
  if (!node) co_return Error{ErrorCode::malformed, concat("register_node: the server answered ", reply->shown())};
  co_return static_cast<jobs::NodeEpoch>(*node);
}

Engine::Reply<std::size_t> Engine::renew_lease(jobs::NodeEpoch node, std::optional<std::string> detail) {
  if (detail && detail->size() > jobs::detail_size_limit) {
    co_return Error{ErrorCode::invalid_argument, "renew_lease: the detail has at most 64 KiB"};
  }
  net::RedisScriptCall call = call_of(scripts_->node_renew);
  call.arg(node).arg(micros(options_.lease)).arg(detail ? 1 : 0).arg(detail ? *detail : std::string());
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error();
  if (reply->integer_or(0) != 1) {
    co_return Error{ErrorCode::refused, concat("node ", node,
                                               ": found dead by another node, which has its jobs now, or the server "
                                               "lost its data; register again")};
  }
  // What has no other occasion: limits by age. The lease stands, whatever becomes of them.
  const Result<std::size_t> dead = co_await trim_dead(dead_trim_limit);
  const Result<std::size_t> rows = co_await trim_journal();
  if (!dead) logger_.warning("store.trim_failed", {{"error", dead.error().message()}});
  if (!rows) logger_.warning("store.trim_failed", {{"error", rows.error().message()}});
  co_return dead.value_or(0) + rows.value_or(0);
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

Engine::Reply<std::size_t> Engine::retire_node(jobs::NodeEpoch node) {
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
      change.ttl_seconds = ttl_until(now() + std::min(options_.dead_age_limit, Duration(std::chrono::hours(87'600))));
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

Engine::Reply<std::vector<jobs::NodeInfo>> Engine::list_nodes() {
  net::RedisBatch first;
  first.add(net::RedisCommand("SMEMBERS", "dagverk:nodes"));
  first.add(net::RedisCommand("TIME"));
  const Result<std::vector<net::RedisReply>> found = co_await ask(std::move(first));
  if (!found) co_return found.error();
  std::vector<std::uint64_t> epochs = numbers_of((*found)[0].items());
  if (epochs.size() > jobs::batch_count_limit) epochs.resize(jobs::batch_count_limit);
  const std::span<const net::RedisReply> time = (*found)[1].items();
  std::int64_t now_us = micros_of(now());
  if (options_.clock == nullptr && time.size() == 2) {
    now_us = number_of(time[0].text()).value_or(0) * 1'000'000 + number_of(time[1].text()).value_or(0);
  }
  net::RedisBatch batch;
  for (const std::uint64_t epoch : epochs) {
    batch.add(net::RedisCommand("HMGET", concat("dagverk:node:", epoch), "lease", "name", "detail", "registered"));
    batch.add(net::RedisCommand("HLEN", run_key(epoch)));
  }
  const Result<std::vector<net::RedisReply>> replies = co_await ask(std::move(batch));
  if (!replies) co_return replies.error();
  std::vector<jobs::NodeInfo> nodes;
  for (std::size_t index = 0; index < epochs.size(); ++index) {
    const std::span<const net::RedisReply> fields = (*replies)[2 * index].items();
    if (fields.size() != 4 || fields[0].is_nil()) continue;
    const std::int64_t lease_us = number_of(fields[0].text()).value_or(0);
    jobs::NodeInfo& node = nodes.emplace_back();
    node.epoch = epochs[index];
    node.name = fields[1].text();
    node.detail = fields[2].text();
    node.registered_at = wall_of(number_of(fields[3].text()).value_or(0));
    node.lease_left = std::chrono::microseconds(lease_us == 0 ? -1 : lease_us - now_us);
    node.running = static_cast<std::uint64_t>(std::max<std::int64_t>(0, (*replies)[2 * index + 1].integer_or(0)));
  }
  co_return nodes;
}

}  // namespace dagverk::stores::redis
