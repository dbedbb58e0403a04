#pragma once

#include "dagverk/base/random.hpp"
#include "dagverk/jobs/node_options.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace dagverk::jobs {

/// In which order a pool looks into its queues: see PoolOptions. Threads: not thread-safe.
class QueueOrder {
 public:
  explicit QueueOrder(std::uint64_t seed) : random_(seed) {}

  void set(std::vector<PoolQueue> queues);
  [[nodiscard]] bool empty() const noexcept { return queues_.empty(); }

  /// All queues, each once, for one take. Weighted: drawn one after the other, each by its share of the weight that is
  /// left, which is what shuffling a list with each name `weight` times and dropping the repetitions amounts to.
  [[nodiscard]] std::vector<std::string> next();

 private:
  Random random_;
  std::vector<PoolQueue> queues_;
  bool weighted_ = false;
};

}  // namespace dagverk::jobs
