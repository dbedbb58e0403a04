#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/cron_entry.hpp"
#include "dagverk/jobs/limits.hpp"
#include "dagverk/jobs/store_types.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::stores {

class Engine;

/// What an operation needs from the disk.
enum class Access : std::uint8_t {
  read,     ///< changes nothing
  relaxed,  ///< changes; a power loss may undo it, which only takes the job back to where it was
  durable,  ///< changes; on the disk before anybody is told
};

// The operations of the store, one struct each; jobs/job_store.hpp says what they promise. `Reply` is what a success
// carries.
namespace op {

struct Enqueue {
  using Reply = std::vector<jobs::ItemOutcome>;
  static constexpr Access access = Access::durable;
  std::vector<jobs::EnqueueRequest> jobs;
  bool bounded = true;  // bounds of queues count
};
struct Take {
  using Reply = std::vector<jobs::TakenJob>;
  static constexpr Access access = Access::relaxed;
  jobs::TakeRequest request;
};
struct Settle {
  using Reply = std::vector<jobs::ItemOutcome>;
  static constexpr Access access = Access::durable;
  std::vector<jobs::Settlement> settlements;
};
struct PeekDue {
  using Reply = jobs::DuePage;
  static constexpr Access access = Access::read;
  WallTime now;
  std::size_t limit;
};
struct Promote {
  using Reply = std::vector<jobs::ItemOutcome>;
  static constexpr Access access = Access::relaxed;
  std::vector<jobs::Promotion> promotions;
};
struct RegisterNode {
  using Reply = jobs::NodeEpoch;
  static constexpr Access access = Access::relaxed;
  jobs::NodeSpec spec;
};
struct Beat {
  using Reply = jobs::HeartbeatReply;
  static constexpr Access access = Access::relaxed;
  jobs::NodeEpoch node;
  jobs::Heartbeat beat;
};
struct SendSignal {
  using Reply = jobs::ItemOutcome;
  static constexpr Access access = Access::relaxed;
  std::string identity;
  jobs::NodeSignal signal;
};
struct RetireNode {
  using Reply = std::size_t;  // how many of its jobs went back to their queues
  static constexpr Access access = Access::durable;
  jobs::NodeEpoch node;
};
struct Rescue {
  using Reply = jobs::RescueReport;
  static constexpr Access access = Access::relaxed;
  jobs::NodeEpoch rescuer;
  std::size_t limit;
};
struct ListNodes {
  using Reply = std::vector<jobs::NodeInfo>;
  static constexpr Access access = Access::read;
};
struct NodeJobs {
  using Reply = std::vector<jobs::NodeJob>;
  static constexpr Access access = Access::read;
  std::string identity;
  std::size_t limit;
};
struct PutCron {
  using Reply = bool;
  static constexpr Access access = Access::durable;
  jobs::CronEntry entry;
};
struct RemoveCron {
  using Reply = bool;
  static constexpr Access access = Access::durable;
  std::string name;
};
struct ListCron {
  using Reply = jobs::CronTable;
  static constexpr Access access = Access::read;
};
struct PauseCron {
  using Reply = bool;
  static constexpr Access access = Access::durable;
  std::string name;
  std::string by;
  std::string reason;
};
struct ResumeCron {
  using Reply = bool;
  static constexpr Access access = Access::durable;
  std::string name;
};
struct LeadCron {
  using Reply = jobs::CronLead;
  static constexpr Access access = Access::relaxed;
  std::string identity;
  Duration lease;
};
struct FireCron {
  using Reply = jobs::CronFired;
  static constexpr Access access = Access::durable;
  jobs::CronFire fire;
};
struct PutLimit {
  using Reply = bool;
  static constexpr Access access = Access::durable;
  jobs::Limit limit;
};
struct RemoveLimit {
  using Reply = bool;
  static constexpr Access access = Access::durable;
  jobs::LimitScope scope;
  std::string name;
};
struct ListLimits {
  using Reply = std::vector<jobs::LimitInfo>;
  static constexpr Access access = Access::read;
};
struct ResetLimit {
  using Reply = bool;
  static constexpr Access access = Access::durable;
  jobs::LimitScope scope;
  std::string name;
};
struct Find {
  using Reply = std::optional<jobs::StoredJob>;
  static constexpr Access access = Access::read;
  std::string jid;
};
struct List {
  using Reply = jobs::JobPage;
  static constexpr Access access = Access::read;
  jobs::ListQuery query;
};
struct MoveNow {
  using Reply = std::vector<jobs::ItemOutcome>;
  static constexpr Access access = Access::durable;
  std::vector<jobs::RetryNow> jobs;
};
struct Remove {
  using Reply = std::vector<jobs::ItemOutcome>;
  static constexpr Access access = Access::durable;
  std::vector<std::string> jids;
  std::string detail;
};
struct Cancel {
  using Reply = std::vector<jobs::ItemOutcome>;
  static constexpr Access access = Access::durable;
  std::vector<std::string> jids;
  std::string detail;
};
struct FindLock {
  using Reply = std::optional<jobs::HeldLock>;
  static constexpr Access access = Access::read;
  std::string key;
};
struct ListLocks {
  using Reply = jobs::LockPage;
  static constexpr Access access = Access::read;
  std::string cursor;
  std::size_t limit;
};
struct ReleaseLock {
  using Reply = bool;
  static constexpr Access access = Access::durable;
  std::string key;
};
struct ForgetCancels {
  using Reply = std::vector<jobs::ItemOutcome>;
  static constexpr Access access = Access::durable;
  std::vector<std::string> jids;
};
struct KeepRecords {
  using Reply = std::vector<jobs::ItemOutcome>;
  static constexpr Access access = Access::relaxed;
  std::vector<jobs::RecordUpdate> updates;
};
struct ReadRecord {
  using Reply = std::optional<std::string>;
  static constexpr Access access = Access::read;
  std::string jid;
};
struct Move {
  using Reply = std::vector<jobs::ItemOutcome>;
  static constexpr Access access = Access::durable;
  std::vector<jobs::MoveJob> jobs;
};
struct ClearQueue {
  using Reply = std::size_t;
  static constexpr Access access = Access::durable;
  std::string queue;
  std::size_t limit;
  std::string detail;
};
struct PauseQueue {
  using Reply = bool;
  static constexpr Access access = Access::durable;
  std::string queue;
  std::string by;
  std::string reason;
};
struct ResumeQueue {
  using Reply = bool;
  static constexpr Access access = Access::durable;
  std::string queue;
};
struct Queues {
  using Reply = std::vector<jobs::QueueInfo>;
  static constexpr Access access = Access::read;
  std::string after;
  std::size_t limit;
};
struct Totals {
  using Reply = jobs::StoreTotals;
  static constexpr Access access = Access::read;
};
struct Restore {
  using Reply = std::vector<jobs::ItemOutcome>;
  static constexpr Access access = Access::durable;
  std::vector<jobs::StoredJob> jobs;
  std::string detail;
};
struct Check {
  using Reply = std::vector<jobs::StoreFinding>;
  static constexpr Access access = Access::read;
};
struct Backup {
  using Reply = std::string;  // where the copy is
  static constexpr Access access = Access::read;
  std::string file;
};
struct ReadJournal {
  using Reply = jobs::JournalPage;
  static constexpr Access access = Access::read;
  jobs::JournalQuery query;
};
struct JournalEnd {
  using Reply = jobs::JournalCursor;
  static constexpr Access access = Access::read;
};
/// Makes this process' doorbell known to those who commit.
struct AddBell {
  using Reply = bool;  // false: too many are known already
  static constexpr Access access = Access::relaxed;
  std::string name;
};
struct RemoveBell {
  using Reply = bool;  // whether it was known
  static constexpr Access access = Access::relaxed;
  std::string name;
};

}  // namespace op

/// One operation on its way through the engine.
class Request {
 public:
  Request() = default;
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  virtual ~Request() = default;

  [[nodiscard]] virtual Access access() const noexcept = 0;
  /// Does the operation inside the open transaction and keeps its result. May be done again after a rollback; may throw
  /// SqlFailure.
  virtual void apply(Engine& engine) = 0;
  virtual void fail(const Error& error) = 0;
  [[nodiscard]] virtual bool succeeded() const noexcept = 0;
  /// Hands the kept result to whoever asked. Called once, after the commit.
  virtual void complete() noexcept {}
};

template <class Operation>
class OperationRequest : public Request {
 public:
  explicit OperationRequest(Operation operation) : operation_(std::move(operation)) {}

  [[nodiscard]] Access access() const noexcept final { return Operation::access; }
  void apply(Engine& engine) final;
  void fail(const Error& error) final { result_ = error; }
  [[nodiscard]] bool succeeded() const noexcept final { return result_.has_value(); }

  [[nodiscard]] Result<typename Operation::Reply>& result() noexcept { return result_; }

 protected:
  Operation operation_;
  Result<typename Operation::Reply> result_ = Error(ErrorCode::internal);
};

}  // namespace dagverk::stores
