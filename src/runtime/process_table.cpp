#include "process_table.hpp"

#include "process_extra.hpp"
#include "tracer.hpp"

#include <algorithm>
#include <new>
#include <sys/mman.h>
#include <type_traits>
#include <utility>

namespace dagverk::detail {

namespace {

static_assert(std::is_trivially_destructible_v<ProcessCore> && std::is_trivially_destructible_v<ProcessStats>,
              "whoever holds a Pid from an earlier runtime still looks at the slot's generation");

constexpr std::size_t page_size = 4096;
constexpr std::size_t slots = ProcessTable::slots_per_slab;
constexpr std::size_t slab_bytes = slots * (sizeof(ProcessCore) + sizeof(ProcessStats));
static_assert(slab_bytes % page_size == 0);

/// The statistics of a slab, in an order that keeps those of neighbours, who run at the same time, on different cache
/// lines.
ProcessStats* stats_in(ProcessCore* slab, std::size_t index) noexcept {
  constexpr std::size_t lines = slots / 2;
  return reinterpret_cast<ProcessStats*>(slab + slots) + (index % lines) * 2 + index / lines;
}

/// Slabs that no runtime uses. Never destroyed: a Pid may be used until the program's last moment.
class SlabReserve {
 public:
  struct Slab {
    ProcessCore* memory;
    std::uint32_t generation;  // even, and not less than any in it
  };

  [[nodiscard]] Slab take() {
    {
      MutexLock lock(mutex_);
      if (!slabs_.empty()) {
        const Slab slab = slabs_.back();
        slabs_.pop_back();
        return slab;
      }
    }
    return {static_cast<ProcessCore*>(::operator new(slab_bytes, std::align_val_t{page_size})), 0};
  }

  void give(Slab slab) {
    MutexLock lock(mutex_);
    // The address space stays, and what is read there later is zero: nobody's generation.
    if (slabs_.size() >= kept_warm) ::madvise(slab.memory, slab_bytes, MADV_DONTNEED);
    slabs_.push_back(slab);
  }

 private:
  static constexpr std::size_t kept_warm = 16;

  Mutex mutex_;
  std::vector<Slab> slabs_ DAGVERK_GUARDED_BY(mutex_);
};

SlabReserve& reserve() {
  static auto* reserve = new SlabReserve;  // outlives every runtime on purpose, see the class
  return *reserve;
}

}  // namespace

ProcessStats& stats_of(ProcessCore& core) noexcept {
  const std::size_t index = core.index % slots;
  return *stats_in(&core - index, index);
}

ProcessExtra::ProcessExtra() = default;
ProcessExtra::~ProcessExtra() = default;

ProcessExtra& make_extra(ProcessCore& core) {
  core.extra = new ProcessExtra;
  stats_of(core).extra.store(core.extra);
  return *core.extra;
}

// ---- readers -------------------------------------------------------------------------------------------------------

ExtraReaders::~ExtraReaders() { free_retired(); }

void ExtraReaders::retire(ProcessStats& stats, ProcessExtra* extra) noexcept {
  // Sequentially consistent with read(): either it does not find the extra any more, or we see it reading.
  stats.extra.exchange(nullptr);
  if (!reading_.load()) {
    delete extra;
    return;
  }
  MutexLock lock(retired_mutex_);
  retired_.push_back(extra);
}

void ExtraReaders::free_retired() noexcept {
  std::vector<ProcessExtra*> done;
  {
    MutexLock lock(retired_mutex_);
    done.swap(retired_);
  }
  for (ProcessExtra* extra : done) delete extra;
}

// ---- the table -----------------------------------------------------------------------------------------------------

ProcessTable::~ProcessTable() {
  MutexLock lock(mutex_);
  for (ProcessCore* slab : slabs_) {
    std::uint32_t generation = 0;
    for (std::size_t index = 0; index < slots; ++index) {
      generation = std::max(generation, slab[index].generation.load(std::memory_order_relaxed));
      slab[index].runtime = nullptr;
    }
    reserve().give({slab, generation + generation % 2});
  }
}

ProcessCore* ProcessTable::make_slab(std::size_t number) {
  const SlabReserve::Slab slab = reserve().take();
  for (std::size_t index = 0; index < slots; ++index) {
    auto* core = new (slab.memory + index) ProcessCore(runtime_);
    core->index = static_cast<std::uint32_t>(number * slots + index);
    core->generation.store(slab.generation, std::memory_order_relaxed);
    auto* stats = new (stats_in(slab.memory, index)) ProcessStats;
    stats->first_generation.store(slab.generation, std::memory_order_relaxed);
  }
  return slab.memory;
}

void ProcessTable::refill(std::vector<ProcessCore*>& spare, std::size_t count) {
  MutexLock lock(mutex_);
  if (spare_.empty()) {
    ProcessCore* const slab = make_slab(slabs_.size());
    slabs_.push_back(slab);
    // Last first, so that slots are handed out in order of address.
    for (std::size_t index = slots; index > 0; --index) spare_.push_back(slab + index - 1);
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
