#include "dagverk/testing_jobs/faulty_store.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <utility>

namespace dagverk::testing_jobs {

using jobs::JobStore;

StoreFault FaultyStore::judge(StoreOperation operation) {
  const std::size_t call = ++calls_[static_cast<std::size_t>(operation)];
  const Rule& rule = rule_of(operation);
  return rule ? rule(call) : StoreFault::none;
}

/// `call` does nothing until it is awaited.
template <class T>
Async<Result<T>> FaultyStore::pass(StoreOperation operation, Async<Result<T>> call) {
  const StoreFault fault = judge(operation);
  if (fault == StoreFault::before) co_return Error(ErrorCode::unavailable, "the store is away");
  if (fault == StoreFault::stall) co_await this_process::sleep(stall_);
  Result<T> result = co_await call;
  if (fault == StoreFault::after) co_return Error(ErrorCode::outcome_unknown, "the answer was lost");
  co_return result;
}

JobStore::Outcomes FaultyStore::enqueue(std::vector<jobs::EnqueueRequest> jobs) {
  return pass(StoreOperation::enqueue, store_.enqueue(std::move(jobs)));
}
JobStore::Reply<std::vector<jobs::TakenJob>> FaultyStore::take(jobs::TakeRequest request) {
  return pass(StoreOperation::take, store_.take(std::move(request)));
}
std::optional<WallTime> FaultyStore::next_turn() const noexcept { return store_.next_turn(); }
JobStore::Outcomes FaultyStore::settle(std::vector<jobs::Settlement> settlements) {
  return pass(StoreOperation::settle, store_.settle(std::move(settlements)));
}
JobStore::Reply<jobs::DuePage> FaultyStore::peek_due(WallTime now, std::size_t limit) {
  return pass(StoreOperation::peek_due, store_.peek_due(now, limit));
}
JobStore::Outcomes FaultyStore::promote(std::vector<jobs::Promotion> promotions) {
  return pass(StoreOperation::promote, store_.promote(std::move(promotions)));
}
JobStore::Reply<jobs::NodeEpoch> FaultyStore::register_node(jobs::NodeSpec spec) {
  return pass(StoreOperation::register_node, store_.register_node(std::move(spec)));
}
JobStore::Reply<jobs::HeartbeatReply> FaultyStore::heartbeat(jobs::NodeEpoch node, jobs::Heartbeat beat) {
  return pass(StoreOperation::heartbeat, store_.heartbeat(node, std::move(beat)));
}
JobStore::Reply<jobs::ItemOutcome> FaultyStore::send_signal(std::string identity, jobs::NodeSignal signal) {
  return pass(StoreOperation::send_signal, store_.send_signal(std::move(identity), signal));
}
JobStore::Reply<std::size_t> FaultyStore::retire_node(jobs::NodeEpoch node) {
  return pass(StoreOperation::retire_node, store_.retire_node(node));
}
JobStore::Reply<jobs::RescueReport> FaultyStore::rescue_dead_nodes(jobs::NodeEpoch rescuer, std::size_t limit) {
  return pass(StoreOperation::rescue_dead_nodes, store_.rescue_dead_nodes(rescuer, limit));
}
JobStore::Reply<std::vector<jobs::NodeInfo>> FaultyStore::list_nodes() {
  return pass(StoreOperation::list_nodes, store_.list_nodes());
}
JobStore::Reply<std::vector<jobs::NodeJob>> FaultyStore::node_jobs(std::string identity, std::size_t limit) {
  return pass(StoreOperation::node_jobs, store_.node_jobs(std::move(identity), limit));
}
JobStore::Reply<bool> FaultyStore::put_cron(jobs::CronEntry entry) {
  return pass(StoreOperation::put_cron, store_.put_cron(std::move(entry)));
}
JobStore::Reply<bool> FaultyStore::remove_cron(std::string name) {
  return pass(StoreOperation::remove_cron, store_.remove_cron(std::move(name)));
}
JobStore::Reply<jobs::CronTable> FaultyStore::list_cron() {
  return pass(StoreOperation::list_cron, store_.list_cron());
}
JobStore::Reply<bool> FaultyStore::pause_cron(std::string name, std::string by, std::string reason) {
  return pass(StoreOperation::pause_cron, store_.pause_cron(std::move(name), std::move(by), std::move(reason)));
}
JobStore::Reply<bool> FaultyStore::resume_cron(std::string name) {
  return pass(StoreOperation::resume_cron, store_.resume_cron(std::move(name)));
}
JobStore::Reply<jobs::CronLead> FaultyStore::lead_cron(std::string identity, Duration lease) {
  return pass(StoreOperation::lead_cron, store_.lead_cron(std::move(identity), lease));
}
JobStore::Reply<jobs::CronFired> FaultyStore::fire_cron(jobs::CronFire fire) {
  return pass(StoreOperation::fire_cron, store_.fire_cron(std::move(fire)));
}
JobStore::Reply<bool> FaultyStore::put_limit(jobs::Limit limit) {
  return pass(StoreOperation::put_limit, store_.put_limit(std::move(limit)));
}
JobStore::Reply<bool> FaultyStore::remove_limit(jobs::LimitScope scope, std::string name) {
  return pass(StoreOperation::remove_limit, store_.remove_limit(scope, std::move(name)));
}
JobStore::Reply<std::vector<jobs::LimitInfo>> FaultyStore::list_limits() {
  return pass(StoreOperation::list_limits, store_.list_limits());
}
JobStore::Reply<bool> FaultyStore::reset_limit(jobs::LimitScope scope, std::string name) {
  return pass(StoreOperation::reset_limit, store_.reset_limit(scope, std::move(name)));
}
JobStore::Reply<std::optional<jobs::StoredJob>> FaultyStore::find(std::string jid) {
  return pass(StoreOperation::find, store_.find(std::move(jid)));
}
JobStore::Reply<jobs::JobPage> FaultyStore::list(jobs::ListQuery query) {
  return pass(StoreOperation::list, store_.list(std::move(query)));
}
JobStore::Outcomes FaultyStore::retry_now(std::vector<jobs::RetryNow> jobs) {
  return pass(StoreOperation::retry_now, store_.retry_now(std::move(jobs)));
}
JobStore::Outcomes FaultyStore::remove(std::vector<std::string> jids, std::string detail) {
  return pass(StoreOperation::remove, store_.remove(std::move(jids), std::move(detail)));
}
JobStore::Outcomes FaultyStore::cancel(std::vector<std::string> jids, std::string detail) {
  return pass(StoreOperation::cancel, store_.cancel(std::move(jids), std::move(detail)));
}
JobStore::Reply<std::optional<jobs::HeldLock>> FaultyStore::find_lock(std::string key) {
  return pass(StoreOperation::find_lock, store_.find_lock(std::move(key)));
}
JobStore::Reply<jobs::LockPage> FaultyStore::list_locks(std::string cursor, std::size_t limit) {
  return pass(StoreOperation::list_locks, store_.list_locks(std::move(cursor), limit));
}
JobStore::Reply<bool> FaultyStore::release_lock(std::string key) {
  return pass(StoreOperation::release_lock, store_.release_lock(std::move(key)));
}
JobStore::Outcomes FaultyStore::forget_cancels(std::vector<std::string> jids) {
  return pass(StoreOperation::forget_cancels, store_.forget_cancels(std::move(jids)));
}
JobStore::Outcomes FaultyStore::keep_records(std::vector<jobs::RecordUpdate> updates) {
  return pass(StoreOperation::keep_records, store_.keep_records(std::move(updates)));
}
JobStore::Reply<std::optional<std::string>> FaultyStore::read_record(std::string jid) {
  return pass(StoreOperation::read_record, store_.read_record(std::move(jid)));
}
JobStore::Outcomes FaultyStore::move(std::vector<jobs::MoveJob> jobs) {
  return pass(StoreOperation::move, store_.move(std::move(jobs)));
}
JobStore::Reply<std::size_t> FaultyStore::clear_queue(std::string queue, std::size_t limit, std::string detail) {
  return pass(StoreOperation::clear_queue, store_.clear_queue(std::move(queue), limit, std::move(detail)));
}
JobStore::Reply<bool> FaultyStore::pause_queue(std::string queue, std::string by, std::string reason) {
  return pass(StoreOperation::pause_queue, store_.pause_queue(std::move(queue), std::move(by), std::move(reason)));
}
JobStore::Reply<bool> FaultyStore::resume_queue(std::string queue) {
  return pass(StoreOperation::resume_queue, store_.resume_queue(std::move(queue)));
}
JobStore::Reply<std::vector<jobs::QueueInfo>> FaultyStore::queues(std::string after, std::size_t limit) {
  return pass(StoreOperation::queues, store_.queues(std::move(after), limit));
}
JobStore::Reply<jobs::StoreTotals> FaultyStore::totals() { return pass(StoreOperation::totals, store_.totals()); }
JobStore::Outcomes FaultyStore::restore(std::vector<jobs::StoredJob> jobs, std::string detail) {
  return pass(StoreOperation::restore, store_.restore(std::move(jobs), std::move(detail)));
}
JobStore::Reply<std::vector<jobs::StoreFinding>> FaultyStore::check() {
  return pass(StoreOperation::check, store_.check());
}
JobStore::Reply<std::string> FaultyStore::backup(std::string file) {
  return pass(StoreOperation::backup, store_.backup(std::move(file)));
}
JobStore::Reply<jobs::JournalPage> FaultyStore::read_journal(jobs::JournalQuery query) {
  return pass(StoreOperation::read_journal, store_.read_journal(std::move(query)));
}
JobStore::Reply<jobs::JournalCursor> FaultyStore::journal_end() {
  return pass(StoreOperation::journal_end, store_.journal_end());
}

}  // namespace dagverk::testing_jobs
