#include "process_table.hpp"

#include <new>

namespace dagverk::detail {

ProcessTable::~ProcessTable() {
  MutexLock lock(mutex_);
  for (const Slab& slab : slabs_) {
    for (std::size_t index = 0; index < slots_per_slab; ++index) slab.first[index].~ProcessCore();
    ::operator delete(slab.first, std::align_val_t{alignof(ProcessCore)});
  }
}

void ProcessTable::refill(std::vector<ProcessCore*>& spare, std::size_t count) {
  MutexLock lock(mutex_);
  if (spare_.empty()) {
    auto* first = static_cast<ProcessCore*>(
        ::operator new(sizeof(ProcessCore) * slots_per_slab, std::align_val_t{alignof(ProcessCore)}));
    const auto base = static_cast<std::uint32_t>(slabs_.size() * slots_per_slab);
    for (std::size_t index = 0; index < slots_per_slab; ++index) {
      auto* core = new (first + index) ProcessCore(runtime_);
      core->index = base + static_cast<std::uint32_t>(index);
    }
    slabs_.push_back({first});
    // Last first, so that slots are handed out in order of address.
    for (std::size_t index = slots_per_slab; index > 0; --index) spare_.push_back(first + index - 1);
  }
  for (std::size_t taken = 0; taken < count && !spare_.empty(); ++taken) {
    spare.push_back(spare_.back());
    spare_.pop_back();
  }
}

void ProcessTable::add_cache(SlotCache& cache) {
  MutexLock lock(mutex_);
  caches_.push_back(&cache);
}

std::size_t ProcessTable::in_use() const noexcept {
  MutexLock lock(mutex_);
  std::int64_t sum = in_use_elsewhere_.load(std::memory_order_relaxed);
  for (const SlotCache* cache : caches_) sum += cache->in_use.load(std::memory_order_relaxed);
  return sum > 0 ? static_cast<std::size_t>(sum) : 0;
}

namespace {

void count_use(std::int64_t by) noexcept {
  std::atomic<std::int64_t>& in_use = current_slot_cache->in_use;
  in_use.store(in_use.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

}  // namespace

ProcessCore& ProcessTable::take() {
  if (current_slot_cache_owner == this) {
    count_use(1);
    std::vector<ProcessCore*>& spare = current_slot_cache->spare;
    if (spare.empty()) refill(spare, cache_batch);
    ProcessCore& core = *spare.back();
    spare.pop_back();
    return core;
  }
  in_use_elsewhere_.fetch_add(1, std::memory_order_relaxed);
  std::vector<ProcessCore*> one;
  refill(one, 1);
  return *one.back();
}

void ProcessTable::give(ProcessCore& core) noexcept {
  if (current_slot_cache_owner == this) {
    count_use(-1);
    std::vector<ProcessCore*>& spare = current_slot_cache->spare;
    spare.push_back(&core);
    if (spare.size() < 2 * cache_batch) return;
    MutexLock lock(mutex_);
    spare_.insert(spare_.end(), spare.end() - cache_batch, spare.end());
    spare.resize(spare.size() - cache_batch);
    return;
  }
  in_use_elsewhere_.fetch_sub(1, std::memory_order_relaxed);
  MutexLock lock(mutex_);
  spare_.push_back(&core);
}

}  // namespace dagverk::detail
