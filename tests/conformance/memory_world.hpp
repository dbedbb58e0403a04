#pragma once

#include "conformance/store_world.hpp"

#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/testing_jobs/memory_job_store.hpp"

namespace dagverk::conformance {

/// Memory stores on the same jobs and one deterministic runtime.
class MemoryWorld final : public StoreWorld {
 public:
  std::unique_ptr<StoreSession> open(StoreLimits limits) override {
    testing_jobs::MemoryStoreOptions options;
    options.journal = limits.journal;
    options.journal_rows_limit = limits.journal_rows_limit;
    options.journal_age_limit = limits.journal_age_limit;
    options.dead_count_limit = limits.dead_count_limit;
    options.dead_age_limit = limits.dead_age_limit;
    return std::make_unique<StoreSession>(runtime_, first_.open_another(options));
  }
  using StoreWorld::open;
  void advance(Duration by) override { runtime_.advance(by); }
  [[nodiscard]] WallTime now() const override { return runtime_.clock().wall_now(); }
  [[nodiscard]] Duration lease() const override { return testing_jobs::MemoryStoreOptions().lease; }

 private:
  DeterministicRuntime runtime_;
  testing_jobs::MemoryJobStore first_{runtime_};
};

}  // namespace dagverk::conformance
