#pragma once

#include "dagverk/base/result.hpp"
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
struct RenewLease {
  using Reply = std::size_t;  // how many rows housekeeping trimmed on the way
  static constexpr Access access = Access::relaxed;
  jobs::NodeEpoch node;
  std::optional<std::string> detail;
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
struct ReadJournal {
  using Reply = jobs::JournalPage;
  static constexpr Access access = Access::read;
  jobs::JournalQuery query;
};
struct JournalEnd {
  using Reply = jobs::JournalCursor;
  static constexpr Access access = Access::read;
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

  [[nodiscard]] Result<typename Operation::Reply>& result() noexcept { return result_; }

 protected:
  Operation operation_;
  Result<typename Operation::Reply> result_ = Error(ErrorCode::internal);
};

}  // namespace dagverk::stores
