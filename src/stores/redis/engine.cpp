// Talking to the server, the script that changes places, and waiting for changes.

#include "stores/redis/engine.hpp"

#include "stores/redis/scripts.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <set>
#include <utility>

namespace dagverk::stores::redis {

using jobs::ChangeKind;
using jobs::JobState;

namespace {

constexpr int oldest_major = 6;
constexpr int oldest_minor = 2;
constexpr int draining_major = 7;
constexpr Duration watch_wait = std::chrono::seconds(60);  // then the server answers that nothing came
constexpr Duration watch_connect = std::chrono::seconds(5);
constexpr std::size_t unwatched_limit = 1000;
constexpr Duration watch_slack = std::chrono::seconds(5);  // for its answer

/// `2026-11-21`, as the names of Sidekiq's daily counters end.
std::string day_of(WallTime time) {
  const std::chrono::year_month_day day(std::chrono::floor<std::chrono::days>(time));
  const auto two = [](unsigned number) { return concat(number < 10 ? "0" : "", number); };
  return concat(static_cast<int>(day.year()), '-', two(static_cast<unsigned>(day.month())), '-',
                two(static_cast<unsigned>(day.day())));
}

}  // namespace

std::string queue_key(std::string_view queue) { return concat("queue:", queue); }
std::string job_key(std::string_view jid) { return concat("dagverk:job:", jid); }
std::string run_key(jobs::NodeEpoch node) { return concat("dagverk:run:", node); }

std::string_view hint_of(JobState state) {
  switch (state) {
    case JobState::scheduled: return "s";
    case JobState::retrying: return "r";
    case JobState::dead: return "d";
    case JobState::ready:
    case JobState::running: break;
  }
  return "q";
}

std::string_view state_count(std::string_view key) {
  if (key == schedule_key) return "scheduled";
  return key == retry_key ? "retrying" : "dead";
}

std::string_view info_field(std::string_view info, std::string_view field) {
  const std::string begin = concat("\n", field, ":");
  const std::size_t at = info.find(begin);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = info.substr(at + begin.size());
  return rest.substr(0, rest.find_first_of("\r\n"));
}

Engine::Engine(RuntimeBase& runtime, RedisStoreOptions options)
    : runtime_(runtime),
      options_(std::move(options)),
      logger_(options_.logger != nullptr ? *options_.logger : runtime.logger()) {}

Engine::~Engine() {
  std::map<std::string, Watch> watches;
  {
    const MutexLock lock(mutex_);
    watches.swap(watches_);
  }
  watches.clear();  // waits for their callbacks
  std::unique_ptr<net::RedisClient> beat_client;
  {
    const MutexLock lock(beat_mutex_);
    beat_client.swap(beat_client_);
  }
  beat_client.reset();
  client_.reset();
}

Result<std::unique_ptr<Engine>> Engine::open(RuntimeBase& runtime, RedisStoreOptions options) {
  if (runtime.deterministic()) {
    return Error{ErrorCode::unsupported, "a Redis store needs a real server, which a deterministic runtime has not"};
  }
  auto engine = std::make_unique<Engine>(runtime, std::move(options));
  RedisStoreOptions& opened = engine->options_;
  if (opened.io == nullptr) {
    auto io = net::RedisIo::start();
    if (!io) return io.error();
    engine->own_io_ = std::move(*io);
    opened.io = engine->own_io_.get();
  }
  auto client = net::RedisClient::start(*opened.io, opened.connection);
  if (!client) return client.error();
  engine->client_ = std::move(*client);
  const Duration limit = opened.connection.connect_timeout + opened.connection.reply_timeout;
  const Result<std::uint64_t> seen = runtime.run(engine->look_at_server(), limit);
  if (!seen) return seen.error().with(concat("store ", opened.connection.url.shown()));
  return engine;
}

Engine::Reply<std::uint64_t> Engine::look_at_server() {
  const Result<std::string> said = co_await server_info();
  if (!said) co_return said.error();
  const std::string_view info = *said;
  const std::string_view version = info_field(info, "redis_version");
  int major = 0;
  int minor = 0;
  const auto [dot, error] = std::from_chars(version.data(), version.data() + version.size(), major);
  if (error == std::errc{} && dot != version.data() + version.size()) {
    std::from_chars(dot + 1, version.data() + version.size(), minor);
  }
  if (major < oldest_major || (major == oldest_major && minor < oldest_minor)) {
    co_return Error{ErrorCode::unsupported, concat("the server is Redis ", version, "; 6.2 or later is needed")};
  }
  const std::string_view policy = info_field(info, "maxmemory_policy");
  if (!policy.empty() && policy != "noeviction") {
    logger_.warning("store.evicts", {{"server", options_.connection.url.shown()}, {"policy", policy}});
  }
  scripts_.emplace(major >= draining_major);
  cron_scripts_.emplace(major >= draining_major);
  unique_scripts_.emplace(major >= draining_major);
  limit_scripts_.emplace(major >= draining_major);
  co_return std::uint64_t{0};
}

template <class Request>
Engine::Reply<net::RedisReply> Engine::ask_for_one(net::RedisClient* client, Request request) {
  auto ends = make_completion<Result<net::RedisReply>>();
  client->send(request, [completer = std::move(ends.completer)](Result<net::RedisReply> reply) mutable {
    completer.complete(std::move(reply));
  });
  Result<net::RedisReply> reply = co_await std::move(ends.completion);
  co_return reply;
}

Engine::Reply<net::RedisReply> Engine::ask(net::RedisCommand command) {
  return ask_for_one(client_.get(), std::move(command));
}
Engine::Reply<net::RedisReply> Engine::ask(net::RedisScriptCall call) {
  return ask_for_one(client_.get(), std::move(call));
}
Engine::Reply<net::RedisReply> Engine::ask_apart(net::RedisScriptCall call) {
  return ask_for_one(beat_client(), std::move(call));
}

net::RedisClient* Engine::beat_client() {
  const MutexLock lock(beat_mutex_);
  if (!beat_client_) {
    auto client = net::RedisClient::start(*options_.io, options_.connection);
    if (!client) return client_.get();  // the options were good once; without memory or threads the other one must do
    beat_client_ = std::move(*client);
  }
  return beat_client_.get();
}

Engine::Reply<std::vector<net::RedisReply>> Engine::ask(net::RedisBatch batch) {
  if (batch.empty()) co_return std::vector<net::RedisReply>();
  auto ends = make_completion<Result<std::vector<net::RedisReply>>>();
  client_->send(std::move(batch),
                [completer = std::move(ends.completer)](Result<std::vector<net::RedisReply>> replies) mutable {
                  completer.complete(std::move(replies));
                });
  Result<std::vector<net::RedisReply>> replies = co_await std::move(ends.completion);
  co_return replies;
}

Engine::Reply<std::vector<std::string>> Engine::names_in(std::string key) {
  net::RedisCommand command("SMEMBERS", key);
  const Result<net::RedisReply> reply = co_await ask(std::move(command));
  if (!reply) co_return reply.error();
  std::vector<std::string> names;
  for (const net::RedisReply& item : reply->items()) names.emplace_back(item.text());
  std::ranges::sort(names);
  co_return names;
}

Engine::Reply<Engine::Members> Engine::slice(std::string key, char kind, std::size_t first, std::size_t count,
                                             std::string bound) {
  net::RedisScriptCall call(scripts_->slice);
  call.key(key).arg(std::string_view(&kind, 1)).arg(first).arg(count).arg(jobs::take_size_limit);
  // A bound is one score, or `LOW HIGH`.
  const std::size_t blank = bound.find(' ');
  if (!bound.empty()) {
    call.arg(std::string_view(bound).substr(0, blank));
    call.arg(blank == std::string::npos ? std::string_view(bound) : std::string_view(bound).substr(blank + 1));
  }
  Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error();
  Members members;
  std::vector<net::RedisReply> items = reply->take_items();
  const std::size_t step = kind == 'l' ? 1 : 2;
  for (std::size_t index = 0; index + step <= items.size(); index += step) {
    members.emplace_back(items[index].take_text(), step == 2 ? items[index + 1].take_text() : std::string());
  }
  co_return members;
}

net::RedisScriptCall Engine::call_of(const net::RedisScript& script) const {
  net::RedisScriptCall call(script);
  call.arg(options_.clock != nullptr ? micros_of(options_.clock->wall_now()) : 0);
  call.arg(options_.journal ? options_.journal_rows_limit : std::size_t{0});
  return call;
}

Engine::Reply<std::vector<bool>> Engine::change(std::vector<Change> changes, std::vector<EndedRuns> ended) {
  std::size_t count = changes.size();
  for (const EndedRuns& runs : ended) count += runs.executions.size();
  if (count == 0) co_return std::vector<bool>();
  net::RedisScriptCall call = call_of(scripts_->change);
  std::set<std::string_view> sets;
  for (const Change& item : changes) {
    if (item.to == "Z") sets.insert(item.to_key);
  }
  call.arg(sets.size());
  for (const std::string_view key : sets) call.arg(key);
  call.arg(day_of(now())).arg(ended.size()).arg(changes.size());
  for (const EndedRuns& runs : ended) {
    call.arg(run_key(runs.node)).arg(runs.queue).arg(runs.field).arg(runs.executions.size());
    for (const std::uint64_t execution : runs.executions) call.arg(execution);
    for (const std::string& jid : runs.jids) call.arg(jid);
  }
  bool ready = false;
  bool journaled = false;
  for (const Change& item : changes) {
    call.arg(std::string_view(&item.from, 1)).arg(item.key).arg(item.member);
    call.arg(item.to).arg(item.to_key).arg(item.element).arg(item.score).arg(item.jid);
    call.arg(item.hint).arg(item.tail).arg(item.ttl_seconds).arg(item.rescues);
    if (item.from == 'l') {
      call.arg(concat(item.from_left ? "1 " : "-1 ", item.reach));
    } else {
      call.arg(item.statistics);
    }
    call.arg(item.counts.size());
    for (const Change::Count& one : item.counts) call.arg(one.queue).arg(one.field).arg(one.by);
    call.arg(item.kind ? concat(static_cast<int>(*item.kind)) : std::string());
    if (item.kind) call.arg(item.queue).arg(item.class_name).arg(item.detail);
    ready = ready || item.to == "L" || item.to == "R";
    journaled = journaled || item.kind.has_value();
  }
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error();
  std::vector<bool> happened(count, true);
  for (const net::RedisReply& item : reply->items()) {
    const std::int64_t number = item.integer_or(0);
    if (number < 1 || static_cast<std::size_t>(number) > count) {
      co_return Error{ErrorCode::malformed, concat("store: item ", number, " of ", count, " is said to be left alone")};
    }
    happened[static_cast<std::size_t>(number) - 1] = false;
  }
  if (ready) hub_->tell(ChangeKind::ready);
  if (journaled) hub_->tell(ChangeKind::journal);
  co_return happened;
}

std::int64_t Engine::ttl_until(std::optional<WallTime> due) const {
  using std::chrono::seconds;
  const auto memory = std::chrono::ceil<seconds>(options_.jid_memory).count();
  if (!due) return std::max<std::int64_t>(1, memory);
  // In seconds before the subtraction: a far time must not overflow.
  const auto left = std::chrono::floor<seconds>(*due).time_since_epoch().count() -
                    std::chrono::floor<seconds>(now()).time_since_epoch().count();
  return std::max<std::int64_t>(1, memory) + std::max<std::int64_t>(0, left);
}

// --- waiting for changes ---

namespace {

/// A caller's being there, as the hub knows it: ends with the wait, however that ends.
class Presence {
 public:
  explicit Presence(std::shared_ptr<ChangeHub> hub) : hub_(std::move(hub)), number_(hub_->next_number()) {}
  Presence(const Presence&) = delete;
  Presence& operator=(const Presence&) = delete;
  ~Presence() { hub_->forget(number_); }
  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }

 private:
  std::shared_ptr<ChangeHub> hub_;  // a process that waits may end after the store has
  std::uint64_t number_;
};

}  // namespace

Engine::Reply<std::uint64_t> Engine::wait_for_change(ChangeKind kind, std::uint64_t seen, Duration limit) {
  const Clock& steady = runtime_.clock();
  // Queues that were found empty are watched; the poll is for the others.
  const Duration interval = kind == ChangeKind::ready ? 4 * options_.poll_interval : options_.poll_interval;
  const SteadyTime deadline = steady.steady_now() + std::clamp(limit, Duration{0}, Duration(std::chrono::hours(24)));
  const Presence presence(hub_);
  while (true) {
    const std::uint64_t count = hub_->count(kind);
    const Duration left = deadline - steady.steady_now();
    if (count != seen || left <= Duration{0}) co_return count;
    if (kind == ChangeKind::ready) watch_queues();
    auto ends = make_completion<ChangeHub::Count>();
    hub_->wait(presence.number(), kind, seen, std::move(ends.completer));
    auto bounded = std::move(ends.completion).within(std::min(left, interval));
    const ChangeHub::Count changed = co_await std::move(bounded);
    if (changed || changed.error().code() != ErrorCode::timeout) co_return changed;
    if (kind == ChangeKind::asked) continue;  // told by this object alone; nodes of others hear with their heartbeats
    if (const Result<bool> looked = co_await look_for_changes(interval); !looked) co_return looked.error();
  }
}

/// Asks for other processes' changes, unless somebody has just done so.
Engine::Reply<bool> Engine::look_for_changes(Duration interval) {
  {
    const MutexLock lock(mutex_);
    const SteadyTime now = runtime_.clock().steady_now();
    if (now - looked_ < interval * 3 / 4) co_return false;
    looked_ = now;
  }
  net::RedisCommand command("HMGET", total_key, "ready", "journal");
  const Result<net::RedisReply> reply = co_await ask(std::move(command));
  if (!reply) co_return reply.error();
  if (reply->items().size() != 2) co_return Error{ErrorCode::malformed, "store: HMGET answered with something else"};
  co_return note_changes(reply->items()[0], reply->items()[1]);
}

/// Compares the server's counts with those of the last time, and wakes who waits for what has changed.
bool Engine::note_changes(const net::RedisReply& ready_count, const net::RedisReply& journal_count) {
  const auto ready = static_cast<std::uint64_t>(number_of(ready_count.text()).value_or(0));
  const auto journal = static_cast<std::uint64_t>(number_of(journal_count.text()).value_or(0));
  bool ready_changed = false;
  bool journal_changed = false;
  {
    const MutexLock lock(mutex_);
    ready_changed = std::exchange(remote_ready_, ready) != ready;
    journal_changed = std::exchange(remote_journal_, journal) != journal;
  }
  if (ready_changed) hub_->tell(ChangeKind::ready);
  if (journal_changed) hub_->tell(ChangeKind::journal);
  return ready_changed || journal_changed;
}

/// Queues that were found empty, and of which nobody tells when something comes. They are looked at once, until a take
/// finds them empty again.
std::vector<std::string> Engine::unwatched_queues() {
  const MutexLock lock(mutex_);
  looked_ = runtime_.clock().steady_now();
  std::vector<std::string> queues(unwatched_.begin(), unwatched_.end());
  for (const auto& [queue, watch] : watches_) {
    if (*watch.state == WatchState::ended) queues.push_back(queue);
  }
  return queues;
}

/// Has the server tell when something comes into a queue that was empty when last asked. The command moves the next
/// job onto its own place, so whatever happens to the connection, the job is where it was.
void Engine::watch_queues() {
  const MutexLock lock(mutex_);
  for (const std::string& queue : empty_queues_) {
    auto known = watches_.find(queue);
    if (known == watches_.end()) {
      if (watches_.size() >= options_.watched_queues_limit) {
        if (unwatched_.size() < unwatched_limit) unwatched_.insert(queue);
        continue;
      }
      net::RedisOptions connection = options_.connection;
      connection.wait_for_connection = watch_connect;
      connection.reply_bytes_max = element_size_limit;  // what is larger says as well that something came
      auto client = net::RedisClient::start(*options_.io, std::move(connection));
      if (!client) continue;  // the poll is there too
      known =
          watches_
              .emplace(queue, Watch{std::move(*client), std::make_shared<std::atomic<WatchState>>(WatchState::idle)})
              .first;
    }
    Watch& watch = known->second;
    if (watch.state->exchange(WatchState::waiting) == WatchState::waiting) continue;
    const std::string key = queue_key(queue);
    const net::RedisCommand command("BLMOVE", key, key, "RIGHT", "RIGHT",
                                    std::chrono::duration_cast<std::chrono::seconds>(watch_wait).count());
    watch.client->send(command, net::RedisCall{.reply_timeout = watch_wait + watch_slack},
                       [hub = hub_, state = watch.state](const Result<net::RedisReply>& reply) {
                         const bool came = reply ? !reply->is_nil() : reply.error().code() == ErrorCode::too_large;
                         state->store(came ? WatchState::idle : WatchState::ended);
                         if (came) hub->tell(ChangeKind::ready);
                       });
  }
  empty_queues_.clear();
}

}  // namespace dagverk::stores::redis
