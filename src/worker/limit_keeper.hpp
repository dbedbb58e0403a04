#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/job_store.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/worker/configuration.hpp"

#include <string>
#include <vector>

namespace dagverk::worker {

/// Puts the limits of configurations into a worker's store. What is limited there by others stays limited.
///
/// Lifetime: borrows both.
class LimitKeeper {
 public:
  LimitKeeper(RuntimeBase& runtime, jobs::JobStore& store) : runtime_(runtime), store_(store) {}

  /// The keys of those that were not in the store like that: `limits.api`. Blocks. Errors: the store's, with the limit
  /// and its place; those before it are put.
  [[nodiscard]] Result<std::vector<std::string>> put(const Configuration& configuration);

 private:
  RuntimeBase& runtime_;
  jobs::JobStore& store_;
};

}  // namespace dagverk::worker
