#include "jobs/queue_order.hpp"

#include <algorithm>
#include <utility>

namespace dagverk::jobs {

void QueueOrder::set(std::vector<PoolQueue> queues) {
  queues_ = std::move(queues);
  weighted_ =
      queues_.size() > 1 && std::ranges::any_of(queues_, [](const PoolQueue& queue) { return queue.weight > 0; });
  for (PoolQueue& queue : queues_) queue.weight = std::max<std::uint32_t>(queue.weight, 1);
}

std::vector<std::string> QueueOrder::next() {
  std::vector<std::string> order;
  order.reserve(queues_.size());
  if (!weighted_) {
    for (const PoolQueue& queue : queues_) order.push_back(queue.name);
    return order;
  }
  std::uint64_t weight_left = 0;
  std::vector<const PoolQueue*> left;
  left.reserve(queues_.size());
  for (const PoolQueue& queue : queues_) {
    left.push_back(&queue);
    weight_left += queue.weight;
  }
  while (!left.empty()) {
    std::uint64_t drawn = random_.below(weight_left);
    auto chosen = left.begin();
    while (drawn >= (*chosen)->weight) drawn -= (*chosen++)->weight;
    order.push_back((*chosen)->name);
    weight_left -= (*chosen)->weight;
    left.erase(chosen);
  }
  return order;
}

}  // namespace dagverk::jobs
