// Who is there: our nodes, and the processes of Sidekiq that share the server.

#include "stores/redis/engine.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/node_status.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace dagverk::stores::redis {

namespace {

constexpr Duration process_life = std::chrono::seconds(60);  // without a heartbeat
constexpr std::size_t process_fields = 7;

net::RedisCommand process_command(const std::string& identity) {
  return net::RedisCommand("HMGET", identity, "info", "busy", "beat", "quiet", "rss", "rtt_us", "dagverk");
}

std::uint64_t count_of(const net::RedisReply& field) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, number_of(field.text()).value_or(0)));
}

/// False: there is nothing of a process.
bool read_process(const net::RedisReply& reply, jobs::NodeInfo& node) {
  const std::span<const net::RedisReply> fields = reply.items();
  if (fields.size() != process_fields || fields[0].is_nil()) return false;
  node.status = jobs::parse_node_info(fields[0].text());
  node.status.busy = count_of(fields[1]);
  node.status.quiet = fields[3].text() == "true";
  node.status.resident_bytes = count_of(fields[4]) * 1024;
  node.status.round_trip = std::chrono::microseconds(std::min<std::uint64_t>(count_of(fields[5]), 86'400'000'000));
  if (!fields[2].is_nil()) node.beat_at = score_time(fields[2].text());
  return true;
}

}  // namespace

Engine::Reply<std::vector<jobs::NodeInfo>> Engine::list_nodes() {
  net::RedisBatch first;
  first.add(net::RedisCommand("SMEMBERS", "dagverk:nodes"));
  first.add(net::RedisCommand("TIME"));
  const Result<std::vector<net::RedisReply>> found = co_await ask(std::move(first));
  if (!found) co_return found.error();
  std::vector<std::uint64_t> epochs;
  for (const net::RedisReply& item : (*found)[0].items()) {
    if (const auto number = number_of(item.text())) epochs.push_back(static_cast<std::uint64_t>(*number));
  }
  std::ranges::sort(epochs);
  if (epochs.size() > jobs::batch_count_limit) epochs.resize(jobs::batch_count_limit);
  const std::span<const net::RedisReply> time = (*found)[1].items();
  std::int64_t now_us = micros_of(now());
  if (options_.clock == nullptr && time.size() == 2) {
    now_us = number_of(time[0].text()).value_or(0) * 1'000'000 + number_of(time[1].text()).value_or(0);
  }
  net::RedisBatch batch;
  for (const std::uint64_t epoch : epochs) {
    batch.add(net::RedisCommand("HMGET", concat("dagverk:node:", epoch), "lease", "name", "detail", "registered",
                                "identity"));
    batch.add(net::RedisCommand("HLEN", run_key(epoch)));
  }
  const Result<std::vector<net::RedisReply>> replies = co_await ask(std::move(batch));
  if (!replies) co_return replies.error();
  std::vector<jobs::NodeInfo> nodes;
  for (std::size_t index = 0; index < epochs.size(); ++index) {
    const std::span<const net::RedisReply> fields = (*replies)[2 * index].items();
    if (fields.size() != 5 || fields[0].is_nil()) continue;
    const std::int64_t lease_us = number_of(fields[0].text()).value_or(0);
    jobs::NodeInfo& node = nodes.emplace_back();
    node.epoch = epochs[index];
    node.name = fields[1].text();
    node.detail = fields[2].text();
    node.registered_at = wall_of(number_of(fields[3].text()).value_or(0));
    node.identity = fields[4].text();
    node.lease_left = std::chrono::microseconds(lease_us == 0 ? -1 : lease_us - now_us);
    node.running = static_cast<std::uint64_t>(std::max<std::int64_t>(0, (*replies)[2 * index + 1].integer_or(0)));
  }
  if (auto added = co_await add_processes(nodes, wall_of(now_us)); !added) co_return added.error();
  co_return nodes;
}

/// What `processes` and its hashes say: of our nodes, and of others' processes, which are added.
Engine::Reply<bool> Engine::add_processes(std::vector<jobs::NodeInfo>& nodes, WallTime now) {
  const Result<std::vector<std::string>> listed = co_await names_in("processes");
  if (!listed) co_return listed.error();
  std::vector<std::string> identities;
  std::set<std::string_view> ours;
  for (const jobs::NodeInfo& node : nodes) {
    identities.push_back(node.identity);
    ours.insert(node.identity);
  }
  const std::size_t own_count = identities.size();
  for (const std::string& identity : *listed) {
    if (identities.size() == jobs::batch_count_limit) break;
    if (!ours.contains(identity)) identities.push_back(identity);
  }
  net::RedisBatch batch;
  for (const std::string& identity : identities) batch.add(process_command(identity));
  const Result<std::vector<net::RedisReply>> replies = co_await ask(std::move(batch));
  if (!replies) co_return replies.error();
  for (std::size_t index = 0; index < identities.size(); ++index) {
    const net::RedisReply& reply = (*replies)[index];
    if (index < own_count) {
      // A process that registered again shows what its latest registration tells.
      if (const auto fields = reply.items();
          fields.size() == process_fields && !fields[6].is_nil() && count_of(fields[6]) == nodes[index].epoch) {
        read_process(reply, nodes[index]);
      }
      continue;
    }
    jobs::NodeInfo node;
    // One of ours that is no longer registered leaves its keys until they expire.
    if (!read_process(reply, node) || !reply.items()[6].is_nil()) continue;
    node.name = identities[index];
    node.identity = identities[index];
    node.foreign = true;
    node.registered_at = node.status.started_at;
    node.running = node.status.busy;
    node.lease_left = Duration(-1);
    if (node.beat_at) {  // which others wrote: any number at all
      constexpr Duration far = std::chrono::hours(24 * 365);
      node.lease_left = std::clamp(*node.beat_at, now - far, now + far) + process_life - now;
    }
    nodes.push_back(std::move(node));
  }
  co_return true;
}

Engine::Reply<std::vector<jobs::NodeJob>> Engine::node_jobs(std::string identity, std::size_t limit) {
  if (auto ok = check_batch("node_jobs", limit); !ok) co_return ok.error();
  std::vector<jobs::NodeJob> jobs;
  // Sidekiq up to 6.4.1 called it `:workers`.
  for (const std::string_view suffix : {":work", ":workers"}) {
    net::RedisCommand command("HGETALL", concat(identity, suffix));
    const Result<net::RedisReply> reply = co_await ask(std::move(command));
    if (!reply) co_return reply.error();
    const std::span<const net::RedisReply> items = reply->items();
    for (std::size_t index = 0; index + 1 < items.size() && jobs.size() < limit; index += 2) {
      auto job = jobs::parse_node_job(items[index].text(), items[index + 1].text());
      if (job) jobs.push_back(std::move(*job));
    }
    if (!jobs.empty()) break;
  }
  std::ranges::sort(jobs, {}, &jobs::NodeJob::started_at);
  co_return jobs;
}

}  // namespace dagverk::stores::redis
