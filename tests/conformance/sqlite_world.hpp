#pragma once

#include "conformance/store_world.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/base/random.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stores/sqlite/sqlite_store.hpp"

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

/// SQLite stores on one file and one runtime.
class SqliteWorld : public StoreWorld {
 public:
  std::unique_ptr<StoreSession> open(StoreLimits limits) override {
    stores::SqliteOptions options;
    options.path = folder_.file("jobs.db");
    options.journal = limits.journal;
    options.journal_rows_limit = limits.journal_rows_limit;
    options.journal_age_limit = limits.journal_age_limit;
    options.dead_count_limit = limits.dead_count_limit;
    options.dead_age_limit = limits.dead_age_limit;
    adjust(options);
    return std::make_unique<StoreSession>(runtime(), stores::SqliteStore::open(runtime(), std::move(options)).value());
  }
  using StoreWorld::open;
  [[nodiscard]] Duration lease() const override { return stores::SqliteOptions().lease; }

 protected:
  [[nodiscard]] virtual RuntimeBase& runtime() = 0;
  virtual void adjust(stores::SqliteOptions& options) = 0;

 private:
  ScratchFolder folder_;
};

/// The order of everything drawn from a seed, and virtual time.
class SqliteWorldDeterministic final : public SqliteWorld {
 public:
  void advance(Duration by) override { runtime_.advance(by); }
  [[nodiscard]] WallTime now() const override { return runtime_.clock().wall_now(); }

 private:
  [[nodiscard]] RuntimeBase& runtime() override { return runtime_; }
  void adjust(stores::SqliteOptions& /*options*/) override {}

  DeterministicRuntime runtime_;
};

/// Real threads, with clocks moved by hand.
class SqliteWorldThreaded final : public SqliteWorld {
 public:
  void advance(Duration by) override { clock_.advance(by); }
  [[nodiscard]] WallTime now() const override { return clock_.wall_now(); }

 private:
  [[nodiscard]] RuntimeBase& runtime() override { return runtime_; }
  void adjust(stores::SqliteOptions& options) override {
    options.clock = &clock_;
    options.boot_clock = &clock_;
  }

  HandClock clock_;
  Runtime runtime_{RuntimeOptions{.workers = 2}};
};

}  // namespace dagverk::conformance
