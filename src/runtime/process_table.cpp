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

static_assert(std::is_trivially_destructible_v<ProcessCore>,
              "whoever holds a Pid from an earlier runtime still looks at the slot's generation");

/// Slabs that no runtime uses. Never destroyed: a Pid may be used until the program's last moment.
class SlabReserve {
 public:
  struct Spare {
    Slab* slab;
    std::uint32_t generation;  // even, and not less than any in it
  };

  [[nodiscard]] Spare take() {
    MutexLock lock(mutex_);
    if (slabs_.empty()) {
      // Many at once: what the allocator writes before and behind an aligned block costs two pages.
      auto* memory = static_cast<char*>(::operator new(Slab::bytes * batch, std::align_val_t{Slab::bytes}));
      for (std::size_t index = batch; index > 0; --index) {
        slabs_.push_back({reinterpret_cast<Slab*>(memory + (index - 1) * Slab::bytes), 0});
      }
    }
    const Spare spare = slabs_.back();
    slabs_.pop_back();
    return spare;
  }

  void give(Spare spare) {
    MutexLock lock(mutex_);
    // The address space stays, and what is read there later is zero: nobody's generation.
    if (slabs_.size() >= kept_warm) ::madvise(spare.slab, Slab::bytes, MADV_DONTNEED);
    slabs_.push_back(spare);
  }

 private:
  static constexpr std::size_t batch = 16;
  static constexpr std::size_t kept_warm = batch;

  Mutex mutex_;
  std::vector<Spare> slabs_ DAGVERK_GUARDED_BY(mutex_);
};

SlabReserve& reserve() {
  static auto* reserve = new SlabReserve;  // outlives every runtime on purpose, see the class
  return *reserve;
}

}  // namespace

ProcessExtra::ProcessExtra() = default;
ProcessExtra::~ProcessExtra() = default;

ProcessExtra& make_extra(ProcessCore& core) {
  core.extra = new ProcessExtra;
  return *core.extra;
}

// ---- readers -------------------------------------------------------------------------------------------------------

ExtraReaders::~ExtraReaders() { free_retired(); }

void ExtraReaders::retire(ProcessExtra* extra) noexcept {
  // Sequentially consistent with read(): either it does not find the extra any more, or we see it reading.
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
  for (Slab* slab : slabs_) {
    std::uint32_t generation = 0;
    for (ProcessCore& core : slab->cores()) {
      generation = std::max(generation, core.generation.load(std::memory_order_relaxed));
      core.runtime = nullptr;
    }
    reserve().give({slab, generation + generation % 2});
  }
}

Slab* ProcessTable::make_slab(std::size_t number) {
  const auto [slab, generation] = reserve().take();
  auto* const first = reinterpret_cast<ProcessCore*>(slab);
  for (std::size_t index = 0; index < Slab::slots; ++index) {
    auto* core = new (first + index) ProcessCore(runtime_);
    core->generation.store(generation, std::memory_order_relaxed);
  }
  auto* rest = new (&slab->rest()) Slab::Rest{};
  rest->number.store(static_cast<std::uint32_t>(number), std::memory_order_relaxed);
  rest->first_generation.store(generation, std::memory_order_relaxed);
  return slab;
}

void ProcessTable::refill(std::vector<ProcessCore*>& spare, std::size_t count) {
  MutexLock lock(mutex_);
  if (spare_.empty()) {
    Slab* const slab = make_slab(slabs_.size());
    slabs_.push_back(slab);
    // Last first, so that slots are handed out in order of address.
    for (std::size_t index = Slab::slots; index > 0; --index) spare_.push_back(&slab->cores()[index - 1]);
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
