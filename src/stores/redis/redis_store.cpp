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
bool RedisStore::keeps_metrics() const noexcept { return engine_->keeps_metrics(); }
jobs::JobStore::Reply<jobs::DuePage> RedisStore::peek_due(WallTime now, std::size_t limit) {
  return engine_->peek_due(now, limit);
}
jobs::JobStore::Outcomes RedisStore::promote(std::vector<jobs::Promotion> promotions) {
  return engine_->promote(std::move(promotions));
}
jobs::JobStore::Reply<jobs::NodeEpoch> RedisStore::register_node(jobs::NodeSpec spec) {
  return engine_->register_node(std::move(spec));
}
jobs::JobStore::Reply<jobs::HeartbeatReply> RedisStore::heartbeat(jobs::NodeEpoch node, jobs::Heartbeat beat) {
  return engine_->heartbeat(node, std::move(beat));
}
jobs::JobStore::Reply<jobs::ItemOutcome> RedisStore::send_signal(std::string identity, jobs::NodeSignal signal) {
  return engine_->send_signal(std::move(identity), signal);
}
jobs::JobStore::Reply<std::size_t> RedisStore::retire_node(jobs::NodeEpoch node) { return engine_->retire_node(node); }
jobs::JobStore::Reply<jobs::RescueReport> RedisStore::rescue_dead_nodes(jobs::NodeEpoch rescuer, std::size_t limit) {
  return engine_->rescue_dead_nodes(rescuer, limit);
}
jobs::JobStore::Reply<std::vector<jobs::NodeInfo>> RedisStore::list_nodes() { return engine_->list_nodes(); }
jobs::JobStore::Reply<std::vector<jobs::NodeJob>> RedisStore::node_jobs(std::string identity, std::size_t limit) {
  return engine_->node_jobs(std::move(identity), limit);
}
jobs::JobStore::Reply<bool> RedisStore::put_limit(jobs::Limit limit) { return engine_->put_limit(std::move(limit)); }
jobs::JobStore::Reply<bool> RedisStore::remove_limit(jobs::LimitScope scope, std::string name) {
  return engine_->remove_limit(scope, std::move(name));
}
jobs::JobStore::Reply<std::vector<jobs::LimitInfo>> RedisStore::list_limits() { return engine_->list_limits(); }
jobs::JobStore::Reply<bool> RedisStore::reset_limit(jobs::LimitScope scope, std::string name) {
  return engine_->reset_limit(scope, std::move(name));
}
std::optional<WallTime> RedisStore::next_turn() const noexcept { return engine_->next_turn(); }
jobs::JobStore::Reply<bool> RedisStore::put_cron(jobs::CronEntry entry) { return engine_->put_cron(std::move(entry)); }
jobs::JobStore::Reply<bool> RedisStore::remove_cron(std::string name) { return engine_->remove_cron(std::move(name)); }
jobs::JobStore::Reply<jobs::CronTable> RedisStore::list_cron() { return engine_->list_cron(); }
jobs::JobStore::Reply<bool> RedisStore::pause_cron(std::string name, std::string by, std::string reason) {
  return engine_->pause_cron(std::move(name), std::move(by), std::move(reason));
}
jobs::JobStore::Reply<bool> RedisStore::resume_cron(std::string name) { return engine_->resume_cron(std::move(name)); }
jobs::JobStore::Reply<jobs::CronLead> RedisStore::lead_cron(std::string identity, Duration lease) {
  return engine_->lead_cron(std::move(identity), lease);
}
jobs::JobStore::Reply<jobs::CronFired> RedisStore::fire_cron(jobs::CronFire fire) {
  return engine_->fire_cron(std::move(fire));
}
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
jobs::JobStore::Outcomes RedisStore::cancel(std::vector<std::string> jids, std::string detail) {
  return engine_->cancel(std::move(jids), std::move(detail));
}
jobs::JobStore::Reply<std::optional<jobs::HeldLock>> RedisStore::find_lock(std::string key) {
  return engine_->find_lock(std::move(key));
}
jobs::JobStore::Reply<jobs::LockPage> RedisStore::list_locks(std::string cursor, std::size_t limit) {
  return engine_->list_locks(std::move(cursor), limit);
}
jobs::JobStore::Reply<bool> RedisStore::release_lock(std::string key) { return engine_->release_lock(std::move(key)); }
jobs::JobStore::Outcomes RedisStore::forget_cancels(std::vector<std::string> jids) {
  return engine_->forget_cancels(std::move(jids));
}
jobs::JobStore::Outcomes RedisStore::keep_records(std::vector<jobs::RecordUpdate> updates) {
  return engine_->keep_records(std::move(updates));
}
jobs::JobStore::Reply<std::optional<std::string>> RedisStore::read_record(std::string jid) {
  return engine_->read_record(std::move(jid));
}
jobs::JobStore::Outcomes RedisStore::move(std::vector<jobs::MoveJob> jobs) { return engine_->move(std::move(jobs)); }
jobs::JobStore::Reply<std::size_t> RedisStore::clear_queue(std::string queue, std::size_t limit, std::string detail) {
  return engine_->clear_queue(std::move(queue), limit, std::move(detail));
}
jobs::JobStore::Reply<bool> RedisStore::pause_queue(std::string queue, std::string by, std::string reason) {
  return engine_->pause_queue(std::move(queue), std::move(by), std::move(reason));
}
jobs::JobStore::Reply<bool> RedisStore::resume_queue(std::string queue) {
  return engine_->resume_queue(std::move(queue));
}
jobs::JobStore::Reply<std::vector<jobs::QueueInfo>> RedisStore::queues(std::string after, std::size_t limit) {
  return engine_->queues(std::move(after), limit);
}
jobs::JobStore::Reply<jobs::StoreTotals> RedisStore::totals() { return engine_->totals(); }
jobs::JobStore::Reply<std::optional<std::string>> RedisStore::write_refusal() { return engine_->write_refusal(); }
jobs::JobStore::Outcomes RedisStore::restore(std::vector<jobs::StoredJob> jobs, std::string detail) {
  return engine_->restore(std::move(jobs), std::move(detail));
}
jobs::JobStore::Reply<std::vector<jobs::StoreFinding>> RedisStore::check() { return engine_->look_for_faults(); }
jobs::JobStore::Reply<std::string> RedisStore::backup(std::string file) { return engine_->backup(std::move(file)); }
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
