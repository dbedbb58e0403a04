#include "dagverk/stores/redis/redis_store.hpp"

#include "stores/redis/engine.hpp"

#include <utility>

namespace dagverk::stores {

RedisStore::RedisStore(std::unique_ptr<redis::Engine> engine) noexcept : engine_(std::move(engine)) {}
RedisStore::~RedisStore() = default;

Result<std::unique_ptr<RedisStore>> RedisStore::open(RuntimeBase& runtime, RedisStoreOptions options) {
  auto engine = redis::Engine::open(runtime, std::move(options));
  if (!engine) return engine.error();
  return std::unique_ptr<RedisStore>(new RedisStore(std::move(*engine)));
}

Result<std::unique_ptr<RedisStore>> open_redis_store(RuntimeBase& runtime, std::string_view url,
                                                     RedisStoreOptions options) {
  auto parsed = net::parse_redis_url(url);
  if (!parsed) return parsed.error();
  options.connection.url = std::move(*parsed);
  return RedisStore::open(runtime, std::move(options));
}

jobs::JobStore::Outcomes RedisStore::enqueue(std::vector<jobs::EnqueueRequest> jobs) {
  return engine_->enqueue(std::move(jobs));
}
jobs::JobStore::Reply<std::vector<jobs::TakenJob>> RedisStore::take(jobs::TakeRequest request) {
  return engine_->take(std::move(request));
}
jobs::JobStore::Outcomes RedisStore::settle(std::vector<jobs::Settlement> settlements) {
  return engine_->settle(std::move(settlements));
}
jobs::JobStore::Reply<jobs::DuePage> RedisStore::peek_due(WallTime now, std::size_t limit) {
  return engine_->peek_due(now, limit);
}
jobs::JobStore::Outcomes RedisStore::promote(std::vector<jobs::Promotion> promotions) {
  return engine_->promote(std::move(promotions));
}
jobs::JobStore::Reply<jobs::NodeEpoch> RedisStore::register_node(jobs::NodeSpec spec) {
  return engine_->register_node(std::move(spec));
}
jobs::JobStore::Reply<std::size_t> RedisStore::renew_lease(jobs::NodeEpoch node, std::optional<std::string> detail) {
  return engine_->renew_lease(node, std::move(detail));
}
jobs::JobStore::Reply<std::size_t> RedisStore::retire_node(jobs::NodeEpoch node) { return engine_->retire_node(node); }
jobs::JobStore::Reply<jobs::RescueReport> RedisStore::rescue_dead_nodes(jobs::NodeEpoch rescuer, std::size_t limit) {
  return engine_->rescue_dead_nodes(rescuer, limit);
}
jobs::JobStore::Reply<std::vector<jobs::NodeInfo>> RedisStore::list_nodes() { return engine_->list_nodes(); }
jobs::JobStore::Reply<std::optional<jobs::StoredJob>> RedisStore::find(std::string jid) {
  return engine_->find(std::move(jid));
}
jobs::JobStore::Reply<jobs::JobPage> RedisStore::list(jobs::ListQuery query) { return engine_->list(std::move(query)); }
jobs::JobStore::Outcomes RedisStore::retry_now(std::vector<jobs::RetryNow> jobs) {
  return engine_->retry_now(std::move(jobs));
}
jobs::JobStore::Outcomes RedisStore::remove(std::vector<std::string> jids, std::string detail) {
  return engine_->remove(std::move(jids), std::move(detail));
}
jobs::JobStore::Reply<std::vector<jobs::QueueInfo>> RedisStore::queues(std::string after, std::size_t limit) {
  return engine_->queues(std::move(after), limit);
}
jobs::JobStore::Reply<jobs::StoreTotals> RedisStore::totals() { return engine_->totals(); }
jobs::JobStore::Reply<jobs::JournalPage> RedisStore::read_journal(jobs::JournalQuery query) {
  return engine_->read_journal(std::move(query));
}
jobs::JobStore::Reply<jobs::JournalCursor> RedisStore::journal_end() { return engine_->journal_end(); }
std::uint64_t RedisStore::change_count(jobs::ChangeKind kind) const noexcept { return engine_->change_count(kind); }
jobs::JobStore::Reply<std::uint64_t> RedisStore::wait_for_change(jobs::ChangeKind kind, std::uint64_t seen,
                                                                 Duration limit) {
  return engine_->wait_for_change(kind, seen, limit);
}

}  // namespace dagverk::stores
