// Whole stores: jobs from elsewhere, looking for what is wrong, copies.

#include "stores/redis/engine.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/wire_time.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace dagverk::stores::redis {

using jobs::ChangeKind;
using jobs::ItemOutcome;
using jobs::JobState;
using jobs::JournalKind;
using Level = jobs::StoreFinding::Level;

namespace {

constexpr std::size_t scan_step = 1000;
constexpr std::size_t types_per_trip = 1000;
constexpr Duration save_look = std::chrono::milliseconds(50);

/// The journal row of a restored job.
JournalKind arrival(JobState state) noexcept {
  switch (state) {
    case JobState::scheduled: return JournalKind::scheduled;
    case JobState::retrying: return JournalKind::retried;
    case JobState::dead: return JournalKind::died;
    case JobState::ready:
    case JobState::running: break;
  }
  return JournalKind::enqueued;
}

/// The element of a job that was somewhere else: its bare payload wherever reading that says the same of it, so that
/// what others wrote, jobs or not, is again what they wrote.
std::string restored_element(const jobs::StoredJob& job, const jobs::CodecOptions& codec) {
  const bool in_queue = hint_of(job.state) == "q";
  const Element read = read_element(job.payload, in_queue ? job.queue : std::string(), job.queue, codec);
  const bool same = read.bare && read.payload == job.payload && read.jid == job.jid && read.queue == job.queue &&
                    read.class_name == job.class_name;
  if (same && job.limit_key.empty()) return job.journaled ? job.payload : concat(job.payload, unjournaled_mark);
  return make_element(job.payload, {job.jid, job.queue, job.class_name, job.journaled, job.enqueued_at, job.limit_key},
                      codec);
}

void note(std::vector<jobs::StoreFinding>& findings, Level level, std::string text) {
  if (findings.size() < jobs::finding_count_limit) findings.push_back({level, std::move(text)});
}

}  // namespace

Engine::Outcomes Engine::restore(std::vector<jobs::StoredJob> jobs, std::string detail) {
  if (auto ok = check_batch("restore", jobs.size()); !ok) co_return ok.error();
  for (const jobs::StoredJob& job : jobs) {
    if (auto ok = jobs::check(job, detail); !ok) co_return ok.error().with("restore");
  }
  net::RedisScriptCall call = call_of(scripts_->restore);
  call.arg(jobs.size()).arg(detail).arg(ttl_until({}));
  for (const jobs::StoredJob& job : jobs) {
    const std::string_view where = hint_of(job.state);
    const bool timed = where != "q" && job.due;
    std::optional<WallTime> remembered_from;
    if (timed && where == "d") {
      remembered_from = now() + std::min(options_.dead_age_limit, Duration(std::chrono::hours(24 * 3650)));
    } else if (timed) {
      remembered_from = job.due;
    }
    call.arg(job.jid).arg(job.queue).arg(where);
    call.arg(timed ? dagverk::jobs::epoch_seconds_text(*job.due) : std::string());
    call.arg(restored_element(job, options_.codec)).arg(where == "d" ? job.reason : std::string());
    call.arg(ttl_until(remembered_from)).arg(job.rescues);
    call.arg(told(job.journaled) ? concat(static_cast<int>(arrival(job.state))) : std::string()).arg(job.class_name);
  }
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error().with("restore");
  std::vector<ItemOutcome> outcomes;
  for (const net::RedisReply& item : reply->items()) {
    outcomes.push_back(item.integer_or(0) == 1 ? ItemOutcome::done : ItemOutcome::duplicate);
  }
  if (outcomes.size() != jobs.size()) co_return Error{ErrorCode::malformed, "restore: not an answer for each job"};
  hub_->tell(ChangeKind::ready);
  if (options_.journal) hub_->tell(ChangeKind::journal);
  co_return outcomes;
}

Engine::Reply<std::string> Engine::server_info() {
  net::RedisCommand command("INFO");
  const Result<net::RedisReply> reply = co_await ask(std::move(command));
  if (!reply) co_return reply.error();
  co_return std::string(reply->text());
}

Engine::Reply<std::optional<std::string>> Engine::write_refusal() {
  using Refusal = std::optional<std::string>;
  const Result<std::string> info = co_await server_info();
  if (!info) co_return info.error();
  const auto is = [&](std::string_view field, std::string_view value) { return info_field(*info, field) == value; };
  if (is("role", "slave") && !is("slave_read_only", "0")) co_return Refusal("the Redis server is a replica");
  if (is("aof_last_write_status", "err")) {
    co_return Refusal("the Redis server cannot write its append-only file, perhaps because its disk is full");
  }
  // A server that is full refuses new jobs only: those that are there are taken and settled.
  if (!is("rdb_last_bgsave_status", "err")) co_return Refusal();
  net::RedisCommand command("CONFIG", "GET", "stop-writes-on-bgsave-error");
  const Result<net::RedisReply> asked = co_await ask(std::move(command));
  if (!asked || asked->items().size() != 2 || asked->items()[1].text() != "yes") co_return Refusal();
  co_return Refusal("the Redis server could not save to its disk, and lets nothing be written until it can");
}

/// Keys that jobs are kept in, of another type than that needs. Answers how many.
Engine::Reply<std::size_t> Engine::find_odd_types(std::vector<jobs::StoreFinding>& findings) {
  const Result<std::vector<std::string>> queues = co_await names_in("queues");
  if (!queues && queues.error().code() != ErrorCode::wrong_type) co_return queues.error();
  std::vector<std::pair<std::string, std::string_view>> expected = {{"queues", "set"},
                                                                    {std::string(schedule_key), "zset"},
                                                                    {std::string(retry_key), "zset"},
                                                                    {std::string(dead_key), "zset"},
                                                                    {"dagverk:nodes", "set"},
                                                                    {"dagverk:cron", "hash"},
                                                                    {"dagverk:cron:at", "hash"},
                                                                    {"dagverk:cron:paused", "hash"},
                                                                    {"dagverk:cron:lead", "hash"},
                                                                    {"dagverk:bounds", "hash"},
                                                                    {"dagverk:unique", "hash"},
                                                                    {"dagverk:unique:held", "hash"},
                                                                    {"dagverk:unique:expires", "zset"},
                                                                    {"dagverk:unique:elements", "hash"},
                                                                    {std::string(total_key), "hash"},
                                                                    {std::string(jids_key), "hash"},
                                                                    {std::string(jids_before_key), "hash"},
                                                                    {std::string(journal_key), "stream"}};
  if (queues) {
    for (const std::string& queue : *queues) expected.emplace_back(queue_key(queue), "list");
  }
  std::size_t odd = 0;
  for (std::size_t first = 0; first < expected.size(); first += types_per_trip) {
    const std::size_t last = std::min(expected.size(), first + types_per_trip);
    net::RedisBatch batch;
    for (std::size_t index = first; index < last; ++index) batch.add(net::RedisCommand("TYPE", expected[index].first));
    const Result<std::vector<net::RedisReply>> types = co_await ask(std::move(batch));
    if (!types) co_return types.error();
    for (std::size_t index = first; index < last; ++index) {
      const std::string_view type = (*types)[index - first].text();
      if (type == "none" || type == expected[index].second) continue;
      ++odd;
      note(findings, Level::damage,
           concat("key ", expected[index].first, " is a ", type, " where a ", expected[index].second,
                  " belongs; find which program writes it, and rename or delete it"));
    }
  }
  co_return odd;
}

/// The names behind the prefix of `pattern` of all keys of that type, but for those that the set `known` has, in order.
Engine::Reply<std::size_t> Engine::find_strays(std::string pattern, std::string type, std::string known,
                                               std::vector<std::string>& strays) {
  const Result<std::vector<std::string>> names = co_await names_in(std::move(known));
  if (!names) co_return names.error();
  const std::size_t prefix = pattern.size() - 1;  // without the star
  std::set<std::string> found;
  std::string cursor = "0";
  do {
    net::RedisCommand command("SCAN", cursor, "MATCH", pattern, "TYPE", type, "COUNT", scan_step);
    Result<net::RedisReply> reply = co_await ask(std::move(command));
    if (!reply) co_return reply.error();
    std::vector<net::RedisReply> parts = reply->take_items();
    if (parts.size() != 2) co_return Error{ErrorCode::malformed, "check: SCAN answered with something else"};
    cursor = parts[0].text();
    for (const net::RedisReply& key : parts[1].items()) {
      std::string name(key.text().substr(std::min(prefix, key.text().size())));
      if (!std::ranges::binary_search(*names, name)) found.insert(std::move(name));
    }
  } while (cursor != "0");
  strays.assign(found.begin(), found.end());
  co_return strays.size();
}

Engine::Reply<std::vector<jobs::StoreFinding>> Engine::look_for_faults() {
  std::vector<jobs::StoreFinding> findings;
  const Result<std::size_t> odd = co_await find_odd_types(findings);
  if (!odd) co_return odd.error();
  if (*odd == 0) {
    std::vector<std::string> strays;
    const Result<std::size_t> nodes = co_await find_strays("dagverk:run:*", "hash", "dagverk:nodes", strays);
    if (!nodes) co_return nodes.error();
    for (const std::string& node : strays) {
      note(findings, Level::damage,
           concat("dagverk:run:", node, " holds jobs of a node that is not known, so nobody rescues them; ",
                  "SADD dagverk:nodes ", node, " gives them back"));
    }
    const Result<std::size_t> queues = co_await find_strays("queue:*", "list", "queues", strays);
    if (!queues) co_return queues.error();
    for (const std::string& queue : strays) {
      note(findings, Level::warning,
           concat("queue:", queue,
                  " holds jobs, but the set of queues does not name it, so no list shows it; SADD queues ", queue));
    }
  }
  const Result<std::string> info = co_await server_info();
  if (!info) co_return info.error();
  const auto is = [&](std::string_view field, std::string_view value) { return info_field(*info, field) == value; };
  if (const std::string_view policy = info_field(*info, "maxmemory_policy");
      !policy.empty() && policy != "noeviction") {
    note(findings, Level::warning,
         concat("the server evicts keys when it is full (maxmemory-policy ", policy,
                "), and with them jobs; set noeviction"));
  }
  if (is("role", "slave")) note(findings, Level::warning, "the server is a replica: nothing can be enqueued or taken");
  if (is("rdb_last_bgsave_status", "err")) {
    note(findings, Level::warning, "the server's last save failed; see its log, its disk may be full");
  }
  if (is("aof_last_write_status", "err")) {
    note(findings, Level::warning, "the server cannot write its append-only file; see its log, its disk may be full");
  }
  if (is("aof_enabled", "0")) {
    note(findings, Level::note,
         "the server keeps no append-only file: a crash loses what came since its last save; set appendonly yes");
  }
  co_return findings;
}

Engine::Reply<std::string> Engine::backup(std::string file) {
  if (!file.empty()) {
    co_return Error{ErrorCode::invalid_argument,
                    "backup: a Redis server saves to its own disk; name no file, or use dagverk store export"};
  }
  const auto saving = [](const std::string& info) { return info_field(info, "rdb_bgsave_in_progress") == "1"; };
  // A save that is under way may have begun before the latest change: wait for its end, then ask for one.
  while (true) {
    const Result<std::string> info = co_await server_info();
    if (!info) co_return info.error();
    if (!saving(*info)) {
      net::RedisCommand command("BGSAVE", "SCHEDULE");
      const Result<net::RedisReply> asked = co_await ask(std::move(command));
      if (asked) break;
      if (asked.error().message().find("in progress") == std::string_view::npos) co_return asked.error().with("backup");
    }
    co_await this_process::sleep(save_look);
  }
  while (true) {
    const Result<std::string> info = co_await server_info();
    if (!info) co_return info.error();
    // SCHEDULE: it begins when a rewrite of the append-only file has ended.
    if (!saving(*info) && info_field(*info, "aof_rewrite_in_progress") != "1") {
      if (info_field(*info, "rdb_last_bgsave_status") != "ok") {
        co_return Error{ErrorCode::io, "backup: the server could not save; see its log, its disk may be full"};
      }
      break;
    }
    co_await this_process::sleep(save_look);
  }
  net::RedisBatch batch;
  batch.add(net::RedisCommand("CONFIG", "GET", "dir")).add(net::RedisCommand("CONFIG", "GET", "dbfilename"));
  const Result<std::vector<net::RedisReply>> where = co_await ask(std::move(batch));
  if (where && (*where)[0].items().size() == 2 && (*where)[1].items().size() == 2) {
    co_return concat((*where)[0].items()[1].text(), "/", (*where)[1].items()[1].text());
  }
  co_return std::string("the server's snapshot file");  // managed servers do not tell
}

}  // namespace dagverk::stores::redis
