// Limits: what they are, and what is used of them.

#include "stores/redis/engine.hpp"
#include "stores/redis/scripts_limits.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <utility>

namespace dagverk::stores::redis {

using jobs::ChangeKind;
using jobs::Limit;
using jobs::LimitScope;

namespace {

std::string id_of(LimitScope scope, std::string_view name) {
  return concat(scope == LimitScope::queue ? "q:" : "k:", name);
}

/// `SLOTS COUNT MICROSECONDS KIND`.
std::string says(const Limit& limit) {
  const jobs::Rate rate = limit.rate.value_or(jobs::Rate{0});
  return concat(limit.concurrency.value_or(0), ' ', rate.count, ' ', rate.per / std::chrono::microseconds(1), ' ',
                rate.kind == jobs::RateKind::window ? 'w' : 'b');
}

/// `MOST RULE`, or `MOST v QUEUE`; empty: it has none.
std::string bound_text(const Limit& limit) {
  if (!limit.bound) return {};
  switch (limit.bound->when_full) {
    case jobs::WhenFull::refuse: return concat(limit.bound->most, " r");
    case jobs::WhenFull::drop_oldest: return concat(limit.bound->most, " d");
    case jobs::WhenFull::divert: break;
  }
  return concat(limit.bound->most, " v ", limit.bound->divert_to);
}

/// Cuts off what is before the next blank.
std::string_view cut(std::string_view& text) {
  const std::size_t end = std::min(text.find(' '), text.size());
  const std::string_view head = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return head;
}

Limit limit_of(std::string_view id, std::string_view text) {
  Limit limit;
  limit.scope = id.starts_with("k:") ? LimitScope::key : LimitScope::queue;
  limit.name = id.substr(std::min<std::size_t>(2, id.size()));
  const std::int64_t slots = number_of(cut(text)).value_or(0);
  const std::int64_t count = number_of(cut(text)).value_or(0);
  const std::int64_t per_us = number_of(cut(text)).value_or(0);
  if (slots > 0) limit.concurrency = slots;
  if (count > 0) {
    limit.rate = jobs::Rate{count, wall_of(per_us).time_since_epoch(),
                            cut(text) == "w" ? jobs::RateKind::window : jobs::RateKind::token_bucket};
  }
  return limit;
}

std::optional<jobs::QueueBound> bound_of(std::string_view text) {
  const auto most = number_of(cut(text));
  if (!most) return std::nullopt;
  const std::string_view rule = cut(text);
  if (rule == "v") return jobs::QueueBound{*most, jobs::WhenFull::divert, std::string(text)};
  return jobs::QueueBound{*most, rule == "d" ? jobs::WhenFull::drop_oldest : jobs::WhenFull::refuse, {}};
}

std::uint64_t natural_of(const net::RedisReply& item) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, number_of(item.text()).value_or(0)));
}

jobs::LimitUse use_of(std::span<const net::RedisReply> items) {
  jobs::LimitUse use;
  use.key = items[0].text();
  use.running = natural_of(items[1]);
  use.waiting = natural_of(items[2]);
  if (items.size() > 7) {
    use.refused = natural_of(items[5]);
    use.dropped = natural_of(items[6]);
    use.diverted = natural_of(items[7]);
  }
  if (items[3].text().empty()) return use;
  use.tokens = number_of(items[3].text()).value_or(0);
  if (*use.tokens == 0) use.next_token_at = wall_of(number_of(items[4].text()).value_or(0));
  return use;
}

}  // namespace

/// Answers what the script did, and has everybody here look.
Engine::Reply<bool> Engine::change_limits(net::RedisScriptCall call) {
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error();
  const bool done = reply->integer_or(0) == 1;
  if (done) hub_->tell(ChangeKind::ready);
  co_return done;
}

Engine::Reply<bool> Engine::put_limit(Limit limit) {
  if (auto ok = jobs::check(limit); !ok) co_return ok.error().with("put_limit");
  net::RedisScriptCall call = call_of(limit_scripts_->put);
  call.arg(id_of(limit.scope, limit.name)).arg(says(limit)).arg(jobs::limit_count_limit).arg(bound_text(limit));
  const Result<bool> done = co_await change_limits(std::move(call));
  if (!done) co_return done.error().with("put_limit");
  co_return *done;
}

Engine::Reply<bool> Engine::remove_limit(LimitScope scope, std::string name) {
  if (auto ok = jobs::check_limit_name(scope, name); !ok) co_return ok.error().with("remove_limit");
  net::RedisScriptCall call = call_of(limit_scripts_->remove);
  call.arg(id_of(scope, name));
  const Result<bool> done = co_await change_limits(std::move(call));
  if (!done) co_return done.error().with("remove_limit");
  co_return *done;
}

Engine::Reply<bool> Engine::reset_limit(LimitScope scope, std::string name) {
  if (auto ok = jobs::check_limit_name(scope, name); !ok) co_return ok.error().with("reset_limit");
  net::RedisScriptCall call = call_of(limit_scripts_->reset);
  call.arg(id_of(scope, name));
  const Result<bool> done = co_await change_limits(std::move(call));
  if (!done) co_return done.error().with("reset_limit");
  co_return *done;
}

Engine::Reply<std::vector<jobs::LimitInfo>> Engine::list_limits() {
  net::RedisScriptCall call = call_of(limit_scripts_->list);
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error().with("list_limits");
  std::vector<jobs::LimitInfo> list;
  for (const net::RedisReply& item : reply->items()) {
    const std::span<const net::RedisReply> parts = item.items();
    if (parts.size() != 4) co_return Error{ErrorCode::malformed, "list_limits: an answer of another form"};
    jobs::LimitInfo& info = list.emplace_back(limit_of(parts[0].text(), parts[1].text()));
    info.limit.bound = bound_of(parts[3].text());
    for (const net::RedisReply& use : parts[2].items()) {
      if (use.items().size() >= 5) info.uses.push_back(use_of(use.items()));
    }
    std::ranges::sort(info.uses, {}, &jobs::LimitUse::key);
  }
  std::ranges::sort(list, {}, [](const jobs::LimitInfo& info) { return std::pair(info.limit.scope, info.limit.name); });
  co_return list;
}

/// What a take has found of limits: how many queues were at theirs, and when the first of their rates lets one go.
void Engine::note_limits(bool held_back, std::int64_t turn_us, std::int64_t server_now_us) {
  held_back_.store(held_back, std::memory_order_relaxed);
  if (turn_us == 0) return;
  const MutexLock lock(mutex_);
  const WallTime local = now();
  next_turn_.note(local + std::chrono::microseconds(turn_us - server_now_us), local);
}

}  // namespace dagverk::stores::redis
