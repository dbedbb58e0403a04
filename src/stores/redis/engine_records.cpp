// What runs say about themselves: a key for each jid, which the server forgets.

#include "stores/redis/engine.hpp"
#include "stores/redis/scripts_records.hpp"

#include "dagverk/base/concat.hpp"

#include <chrono>
#include <utility>

namespace dagverk::stores::redis {

using jobs::ItemOutcome;

namespace {

std::string record_key(std::string_view jid) { return concat("dagverk:record:", jid); }

}  // namespace

Engine::Outcomes Engine::keep_records(std::vector<jobs::RecordUpdate> updates) {
  if (auto ok = check_batch("keep_records", updates.size()); !ok) co_return ok.error();
  net::RedisScriptCall call(keep_records_script());
  for (const jobs::RecordUpdate& update : updates) {
    if (auto ok = jobs::check(update); !ok) co_return ok.error().with("keep_records");
    call.key(record_key(update.jid));
  }
  call.arg(std::chrono::duration_cast<std::chrono::seconds>(jobs::record_age_limit).count());
  for (const jobs::RecordUpdate& update : updates) call.arg(update.execution).arg(update.record);
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error();
  std::vector<ItemOutcome> outcomes;
  for (const net::RedisReply& item : reply->items()) {
    outcomes.push_back(item.integer_or(0) == 1 ? ItemOutcome::done : ItemOutcome::refused);
  }
  if (outcomes.size() != updates.size()) {
    co_return Error{ErrorCode::malformed, concat("keep_records: the server answered ", reply->shown())};
  }
  co_return outcomes;
}

Engine::Reply<std::optional<std::string>> Engine::read_record(std::string jid) {
  net::RedisCommand command("GET", record_key(jid));
  const Result<net::RedisReply> reply = co_await ask(std::move(command));
  if (!reply) co_return reply.error();
  if (reply->is_nil()) co_return std::optional<std::string>();
  const std::string_view text = reply->text();
  const std::size_t gap = text.find(' ');
  if (gap == std::string_view::npos) co_return std::optional<std::string>();  // somebody else's
  co_return std::optional<std::string>(text.substr(gap + 1));
}

}  // namespace dagverk::stores::redis
