#pragma once

#include "dagverk/base/mutex.hpp"
#include "dagverk/runtime/detail/process_core.hpp"

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

namespace dagverk::detail {

struct ProcessExtra;

/// What snapshots read of a process and its messages do not need. Beside the slots, one for each.
struct ProcessStats {
  std::atomic<std::uint64_t> busy_cycles{0};
  std::atomic<std::uint64_t> active_ms{0};    // when it last left a thread, on the runtime's coarse clock
  std::atomic<ProcessExtra*> extra{nullptr};  // while a snapshot may look into it; see ExtraReaders
  std::atomic<std::uint32_t> high_water{0};
  std::atomic<std::uint32_t> first_generation{0};  // of the slot in its present runtime
};
static_assert(sizeof(ProcessStats) == 32, "with its slot, an idle process costs 224 bytes");

/// The statistics of a process' slot. Written by whoever runs the process.
[[nodiscard]] ProcessStats& stats_of(ProcessCore& core) noexcept;

/// Lets snapshots look into what processes own and free at any time.
///
/// Semantics: while somebody reads, what is retired stays until the reading ends.
/// Threads:   any; readers exclude one another.
class ExtraReaders {
 public:
  ExtraReaders() = default;
  ExtraReaders(const ExtraReaders&) = delete;
  ExtraReaders& operator=(const ExtraReaders&) = delete;
  ~ExtraReaders();

  /// Runs `read`, during which nothing that it finds in a `ProcessStats::extra` is freed.
  template <class Read>
  void read(Read&& read) {
    MutexLock one_reader(reader_mutex_);
    reading_.store(true);
    read();
    reading_.store(false);
    free_retired();
  }
  /// Unpublishes and frees `extra`, now or after the reading that is going on.
  void retire(ProcessStats& stats, ProcessExtra* extra) noexcept;

 private:
  void free_retired() noexcept;

  Mutex reader_mutex_;
  std::atomic<bool> reading_{false};
  Mutex retired_mutex_;
  std::vector<ProcessExtra*> retired_ DAGVERK_GUARDED_BY(retired_mutex_);
};

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

/// Owns the slots of all processes of a runtime. Slots are reused.
///
/// Semantics: a slab of slots outlives its table: the next runtime's table takes it over, and generations go on where
///            they were. So a Pid that outlives its runtime finds nobody, and touches no freed memory.
/// Threads:   any.
/// Bounds:    grows with the number of processes at its peak; the program keeps the address space of the slabs of all
///            runtimes it ever had at once, but not their memory.
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
    std::vector<ProcessCore*> slabs;
    {
      MutexLock lock(mutex_);
      slabs = slabs_;
    }
    for (ProcessCore* slab : slabs) {
      for (std::size_t index = 0; index < slots_per_slab; ++index) visit(slab[index]);
    }
  }

  [[nodiscard]] ExtraReaders& extra_readers() noexcept { return extra_readers_; }

  static constexpr std::size_t slots_per_slab = 256;

 private:
  static constexpr std::size_t cache_batch = 64;

  [[nodiscard]] ProcessCore* make_slab(std::size_t number);
  void refill(std::vector<ProcessCore*>& spare, std::size_t count);

  RuntimeBase& runtime_;
  mutable Mutex mutex_;
  std::vector<ProcessCore*> slabs_ DAGVERK_GUARDED_BY(mutex_);  // the first slot of each
  std::vector<ProcessCore*> spare_ DAGVERK_GUARDED_BY(mutex_);
  std::vector<SlotCache*> caches_ DAGVERK_GUARDED_BY(mutex_);
  std::atomic<std::int64_t> in_use_elsewhere_{0};  // by threads without a cache
  ExtraReaders extra_readers_;
};

}  // namespace dagverk::detail
