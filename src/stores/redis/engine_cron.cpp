// Jobs that recur: their table, who fires them, and firing.

#include "stores/redis/engine.hpp"
#include "stores/redis/scripts_cron.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <utility>

namespace dagverk::stores::redis {

using jobs::ChangeKind;
using jobs::ItemOutcome;

namespace {

std::string says(const jobs::CronEntry& entry) {
  return concat(entry.schedule, "\n", entry.zone, "\n", entry.class_name, "\n", entry.queue, "\n",
                jobs::to_string(entry.missed), "\n", entry.origin, "\n", entry.args_json);
}

/// Cuts off what is before `mark`. Without one, all of it.
std::string_view cut(std::string_view& text, char mark) {
  const std::size_t end = std::min(text.find(mark), text.size());
  const std::string_view head = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return head;
}

jobs::CronEntry entry_of(std::string name, std::string_view text, std::string_view state, std::string_view pause) {
  jobs::CronEntry entry;
  entry.name = std::move(name);
  entry.schedule = cut(text, '\n');
  entry.zone = cut(text, '\n');
  entry.class_name = cut(text, '\n');
  entry.queue = cut(text, '\n');
  entry.missed = jobs::missed_runs_from_text(cut(text, '\n')).value_or(jobs::MissedRuns::once);
  entry.origin = cut(text, '\n');
  entry.args_json = text;
  entry.revision = static_cast<std::uint64_t>(number_of(cut(state, ' ')).value_or(0));
  entry.last_slot = wall_of(number_of(state).value_or(0));
  if (pause.empty()) return entry;
  entry.pause.emplace();
  entry.pause->since = wall_of(number_of(cut(pause, ' ')).value_or(0));
  const std::size_t by_size =
      static_cast<std::size_t>(std::max<std::int64_t>(number_of(cut(pause, ' ')).value_or(0), 0));
  entry.pause->by = pause.substr(0, by_size);
  entry.pause->reason = pause.substr(std::min(by_size, pause.size()));
  return entry;
}

Error no_such_entry(std::string_view name) {
  return {ErrorCode::not_found, concat("there is no cron entry \"", name, "\"")};
}

}  // namespace

Engine::Reply<bool> Engine::put_cron(jobs::CronEntry entry) {
  if (auto ok = check(entry); !ok) co_return ok.error().with("put_cron");
  net::RedisScriptCall call = call_of(cron_scripts_->put);
  call.arg(entry.name).arg(says(entry)).arg(micros_of(entry.last_slot));
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error().with("put_cron");
  co_return reply->integer_or(0) == 1;
}

Engine::Reply<bool> Engine::remove_cron(std::string name) {
  if (auto ok = jobs::check_cron_name(name); !ok) co_return ok.error().with("remove_cron");
  net::RedisScriptCall call = call_of(cron_scripts_->remove);
  call.arg(name);
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error().with("remove_cron");
  co_return reply->integer_or(0) == 1;
}

Engine::Reply<jobs::CronTable> Engine::list_cron() {
  net::RedisScriptCall call = call_of(cron_scripts_->list);
  Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error().with("list_cron");
  std::vector<net::RedisReply> items = reply->take_items();
  if (items.empty()) co_return Error{ErrorCode::malformed, "list_cron: an answer of another form"};
  jobs::CronTable table;
  table.version = static_cast<std::uint64_t>(number_of(items.front().text()).value_or(0));
  for (std::size_t index = 1; index + 4 <= items.size(); index += 4) {
    table.entries.push_back(
        entry_of(items[index].take_text(), items[index + 1].text(), items[index + 2].text(), items[index + 3].text()));
  }
  std::ranges::sort(table.entries, {}, &jobs::CronEntry::name);
  co_return table;
}

Engine::Reply<bool> Engine::pause_cron(std::string name, std::string by, std::string reason) {
  if (auto ok = jobs::check_cron_pause(name, by, reason); !ok) co_return ok.error().with("pause_cron");
  net::RedisScriptCall call = call_of(cron_scripts_->pause);
  call.arg(name).arg(by).arg(reason);
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error().with("pause_cron");
  if (reply->integer_or(0) < 0) co_return no_such_entry(name);
  co_return reply->integer_or(0) == 1;
}

Engine::Reply<bool> Engine::resume_cron(std::string name) {
  if (auto ok = jobs::check_cron_name(name); !ok) co_return ok.error().with("resume_cron");
  net::RedisScriptCall call = call_of(cron_scripts_->resume);
  call.arg(name);
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error().with("resume_cron");
  if (reply->integer_or(0) < 0) co_return no_such_entry(name);
  co_return reply->integer_or(0) == 1;
}

Engine::Reply<jobs::CronLead> Engine::lead_cron(std::string identity, Duration lease) {
  if (auto ok = jobs::check_cron_lead(identity, lease); !ok) co_return ok.error().with("lead_cron");
  net::RedisScriptCall call = call_of(cron_scripts_->lead);
  call.arg(identity).arg(std::chrono::floor<std::chrono::microseconds>(lease).count());
  Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error().with("lead_cron");
  std::vector<net::RedisReply> items = reply->take_items();
  if (items.size() != 3) co_return Error{ErrorCode::malformed, "lead_cron: an answer of another form"};
  jobs::CronLead lead;
  lead.leader = items[0].take_text();
  lead.leads = lead.leader == identity;
  lead.version = static_cast<std::uint64_t>(number_of(items[1].text()).value_or(0));
  lead.now = wall_of(number_of(items[2].text()).value_or(0));
  co_return lead;
}

Engine::Reply<jobs::CronFired> Engine::fire_cron(jobs::CronFire fire) {
  if (auto ok = check(fire); !ok) co_return ok.error().with("fire_cron");
  net::RedisScriptCall call = call_of(cron_scripts_->fire);
  call.arg(fire.name).arg(fire.revision).arg(micros_of(fire.slot)).arg(fire.jobs.empty() ? 0 : 1);
  if (!fire.jobs.empty()) add_new_jobs(call, fire.jobs);
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error().with("fire_cron");
  if (reply->items().size() != 2) co_return Error{ErrorCode::malformed, "fire_cron: an answer of another form"};
  const std::int64_t outcome = reply->items()[0].integer_or(0);
  jobs::CronFired fired;
  fired.outcome = outcome > 0 ? ItemOutcome::done : outcome < 0 ? ItemOutcome::missing : ItemOutcome::refused;
  fired.revision = static_cast<std::uint64_t>(number_of(reply->items()[1].text()).value_or(0));
  if (fired.outcome == ItemOutcome::done && !fire.jobs.empty()) {
    hub_->tell(ChangeKind::ready);
    if (options_.journal) hub_->tell(ChangeKind::journal);
  }
  co_return fired;
}

}  // namespace dagverk::stores::redis
