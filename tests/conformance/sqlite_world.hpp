#pragma once

#include "conformance/store_world.hpp"
#include "stores/sqlite/engine.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/base/random.hpp"

#include <filesystem>
#include <unistd.h>

namespace dagverk::conformance {

/// Both clocks of a store, moved by hand.
class HandClock final : public Clock, public BootClock {
 public:
  [[nodiscard]] SteadyTime steady_now() const noexcept override { return SteadyTime(since_boot_); }
  [[nodiscard]] WallTime wall_now() const noexcept override { return wall_; }
  [[nodiscard]] Duration since_boot() const noexcept override { return since_boot_; }
  [[nodiscard]] const std::string& boot_id() const noexcept override { return boot_id_; }

  void advance(Duration by) {
    since_boot_ += by;
    wall_ += by;
  }
  void move_wall(Duration by) { wall_ += by; }
  void reboot(std::string boot_id) {
    boot_id_ = std::move(boot_id);
    since_boot_ = std::chrono::seconds(1);
  }

 private:
  Duration since_boot_ = std::chrono::hours(1);
  WallTime wall_ = WallTime(std::chrono::seconds(1'795'219'126));
  std::string boot_id_ = "boot-1";
};

/// A folder of its own, removed at the end. In memory where that is to be had: no test here rests on the disk's speed.
class ScratchFolder {
 public:
  ScratchFolder() : path_(parent() / concat("dagverk-", random_hex(8))) { std::filesystem::create_directory(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] std::string file(std::string_view name) const { return (path_ / name).string(); }

 private:
  static std::filesystem::path parent() {
    return ::access("/dev/shm", W_OK) == 0 ? std::filesystem::path("/dev/shm") : std::filesystem::temp_directory_path();
  }

  std::filesystem::path path_;
};

/// The engine itself: what the store does, without its threads.
class EngineSession final : public StoreSession {
 public:
  explicit EngineSession(std::unique_ptr<stores::Engine> engine) : engine_(std::move(engine)) {}

  Outcomes enqueue(Batch<jobs::EnqueueRequest> jobs) override { return run(stores::op::Enqueue{std::move(jobs)}); }
  Result<Batch<jobs::TakenJob>> take(jobs::TakeRequest request) override {
    return run(stores::op::Take{std::move(request)});
  }
  Outcomes settle(Batch<jobs::Settlement> settlements) override {
    return run(stores::op::Settle{std::move(settlements)});
  }
  Result<jobs::DuePage> peek_due(WallTime now, std::size_t limit) override {
    return run(stores::op::PeekDue{now, limit});
  }
  Outcomes promote(Batch<jobs::Promotion> promotions) override {
    return run(stores::op::Promote{std::move(promotions)});
  }
  Result<jobs::NodeEpoch> register_node(jobs::NodeSpec spec) override {
    return run(stores::op::RegisterNode{std::move(spec)});
  }
  Result<std::size_t> renew_lease(jobs::NodeEpoch node) override { return run(stores::op::RenewLease{node, {}}); }
  Result<std::size_t> retire_node(jobs::NodeEpoch node) override { return run(stores::op::RetireNode{node}); }
  Result<jobs::RescueReport> rescue_dead_nodes(jobs::NodeEpoch rescuer, std::size_t limit) override {
    return run(stores::op::Rescue{rescuer, limit});
  }
  Result<Batch<jobs::NodeInfo>> list_nodes() override { return run(stores::op::ListNodes{}); }
  Result<std::optional<jobs::StoredJob>> find(std::string jid) override {
    return run(stores::op::Find{std::move(jid)});
  }
  Result<jobs::JobPage> list(jobs::ListQuery query) override { return run(stores::op::List{std::move(query)}); }
  Outcomes retry_now(Batch<jobs::RetryNow> jobs) override { return run(stores::op::MoveNow{std::move(jobs)}); }
  Outcomes remove(Batch<std::string> jids) override { return run(stores::op::Remove{std::move(jids), {}}); }
  Result<Batch<jobs::QueueInfo>> queues(std::string after, std::size_t limit) override {
    return run(stores::op::Queues{std::move(after), limit});
  }
  Result<jobs::StoreTotals> totals() override { return run(stores::op::Totals{}); }
  Result<jobs::JournalPage> read_journal(jobs::JournalQuery query) override {
    return run(stores::op::ReadJournal{std::move(query)});
  }
  Result<jobs::JournalCursor> journal_end() override { return run(stores::op::JournalEnd{}); }

 private:
  template <class Operation>
  Result<typename Operation::Reply> run(Operation operation) {
    auto result = engine_->run(std::move(operation));
    engine_->checkpoint_if_due();
    return result;
  }

  std::unique_ptr<stores::Engine> engine_;
};

class EngineWorld final : public StoreWorld {
 public:
  std::unique_ptr<StoreSession> open(StoreLimits limits) override {
    stores::SqliteOptions options;
    options.path = folder_.file("jobs.db");
    options.journal = limits.journal;
    options.journal_rows_limit = limits.journal_rows_limit;
    options.journal_age_limit = limits.journal_age_limit;
    options.dead_count_limit = limits.dead_count_limit;
    options.dead_age_limit = limits.dead_age_limit;
    options.clock = &clock_;
    options.boot_clock = &clock_;
    return std::make_unique<EngineSession>(stores::Engine::open(std::move(options)).value());
  }
  using StoreWorld::open;
  void advance(Duration by) override { clock_.advance(by); }
  [[nodiscard]] WallTime now() const override { return clock_.wall_now(); }
  [[nodiscard]] Duration lease() const override { return stores::SqliteOptions().lease; }

 private:
  ScratchFolder folder_;
  HandClock clock_;
};

}  // namespace dagverk::conformance
