#pragma once

#include "dagverk/base/mutex.hpp"
#include "dagverk/runtime/detail/process_core.hpp"

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

namespace dagverk::detail {

/// Spare slots that one thread keeps for itself, so that starting a process takes no lock.
struct SlotCache {
  std::vector<ProcessCore*> spare;
  std::atomic<std::int64_t> in_use{0};  // taken minus given back by this thread; written by it alone
};

/// The cache of the calling thread, and whose slots are in it; set by a runtime's own threads.
inline constinit thread_local SlotCache* current_slot_cache = nullptr;
inline constinit thread_local const void* current_slot_cache_owner = nullptr;

/// Set when the runtime of this thread was destroyed while the thread was stuck in a callback. Lives as long as the
/// program.
inline constinit thread_local const std::atomic<bool>* runtime_abandoned = nullptr;
/// Never returns when the runtime has gone under this thread.
void stay_if_abandoned() noexcept;
/// Gives an object up to threads that may still use it: it is never freed.
void keep_for_ever(void* object);

/// Owns the slots of all processes of a runtime. Slots are reused and live as long as the table.
///
/// Threads: any.
/// Bounds:  grows with the number of processes at its peak.
class ProcessTable {
 public:
  explicit ProcessTable(RuntimeBase& runtime) : runtime_(runtime) {}
  ProcessTable(const ProcessTable&) = delete;
  ProcessTable& operator=(const ProcessTable&) = delete;
  ~ProcessTable();

  [[nodiscard]] ProcessCore& take();
  void give(ProcessCore& core) noexcept;

  /// Makes a thread's cache count in `in_use`. It must live as long as the table is asked.
  void add_cache(SlotCache& cache);
  /// Slots taken and not given back. Exact when nothing starts or ends meanwhile.
  [[nodiscard]] std::size_t in_use() const noexcept;

  /// Visits every slot, used or not.
  template <class Visit>
  void for_each(Visit&& visit) const {
    std::vector<Slab> slabs;
    {
      MutexLock lock(mutex_);
      slabs = slabs_;
    }
    for (const Slab& slab : slabs) {
      for (std::size_t index = 0; index < slots_per_slab; ++index) visit(slab.first[index]);
    }
  }

 private:
  static constexpr std::size_t slots_per_slab = 256;
  static constexpr std::size_t cache_batch = 64;

  struct Slab {
    ProcessCore* first;
  };

  void refill(std::vector<ProcessCore*>& spare, std::size_t count);

  RuntimeBase& runtime_;
  mutable Mutex mutex_;
  std::vector<Slab> slabs_ DAGVERK_GUARDED_BY(mutex_);
  std::vector<ProcessCore*> spare_ DAGVERK_GUARDED_BY(mutex_);
  std::vector<SlotCache*> caches_ DAGVERK_GUARDED_BY(mutex_);
  std::atomic<std::int64_t> in_use_elsewhere_{0};  // by threads without a cache
};

}  // namespace dagverk::detail
