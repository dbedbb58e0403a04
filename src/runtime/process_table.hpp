#pragma once

#include "dagverk/base/mutex.hpp"
#include "dagverk/runtime/detail/process_core.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace dagverk::detail {

struct ProcessExtra;

/// Where the slots of processes live: as many as fit into 64 KiB, aligned to that, so that a slot's address tells where
/// the rest is.
struct Slab {
  static constexpr std::size_t bytes = std::size_t{1} << 16U;
  static constexpr std::size_t slots = 327;

  std::array<ProcessCore, slots>& cores() noexcept { return *reinterpret_cast<std::array<ProcessCore, slots>*>(this); }
  struct Rest {
    /// Cycles for which the processes have kept a thread. Neighbours, who run at the same time, are on different cache
    /// lines; each is written by whoever runs the process.
    std::array<std::atomic<std::uint64_t>, (slots + 7) / 8 * 8> busy_cycles;
    std::atomic<std::uint32_t> number;            // of the slab in its runtime
    std::atomic<std::uint32_t> first_generation;  // of its slots in their present runtime
  };
  Rest& rest() noexcept {
    return *reinterpret_cast<Rest*>(reinterpret_cast<char*>(this) + slots * sizeof(ProcessCore));
  }
};
static_assert(Slab::slots * sizeof(ProcessCore) + sizeof(Slab::Rest) <= Slab::bytes,
              "with all that, a slot costs 200 bytes");

[[nodiscard]] inline Slab& slab_of(const ProcessCore& core) noexcept {
  return *reinterpret_cast<Slab*>(reinterpret_cast<std::uintptr_t>(&core) & ~(Slab::bytes - 1));
}
[[nodiscard]] inline std::size_t index_in_slab(const ProcessCore& core) noexcept {
  return (reinterpret_cast<std::uintptr_t>(&core) & (Slab::bytes - 1)) / sizeof(ProcessCore);
}
[[nodiscard]] inline std::atomic<std::uint64_t>& busy_cycles_of(const ProcessCore& core) noexcept {
  auto& all = slab_of(core).rest().busy_cycles;
  const std::size_t lines = all.size() / 8;
  const std::size_t index = index_in_slab(core);
  return all[index % lines * 8 + index / lines];
}
/// Of the slot in its runtime; in the order of `ProcessTable::for_each`.
[[nodiscard]] inline std::uint64_t index_of(const ProcessCore& core) noexcept {
  return std::uint64_t{slab_of(core).rest().number.load(std::memory_order_relaxed)} * Slab::slots + index_in_slab(core);
}

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

  /// Runs `read`, during which nothing that it finds in a `ProcessCore::extra` is freed.
  template <class Read>
  void read(Read&& read) {
    MutexLock one_reader(reader_mutex_);
    reading_.store(true);
    read();
    reading_.store(false);
    free_retired();
  }
  /// Frees `extra`, which its process does not point to any more, now or after the reading that is going on.
  void retire(ProcessExtra* extra) noexcept;

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
    std::vector<Slab*> slabs;
    {
      MutexLock lock(mutex_);
      slabs = slabs_;
    }
    for (Slab* slab : slabs) {
      for (ProcessCore& core : slab->cores()) visit(core);
    }
  }

  [[nodiscard]] ExtraReaders& extra_readers() noexcept { return extra_readers_; }

 private:
  static constexpr std::size_t cache_batch = 64;

  [[nodiscard]] Slab* make_slab(std::size_t number);
  void refill(std::vector<ProcessCore*>& spare, std::size_t count);

  RuntimeBase& runtime_;
  mutable Mutex mutex_;
  std::vector<Slab*> slabs_ DAGVERK_GUARDED_BY(mutex_);
  std::vector<ProcessCore*> spare_ DAGVERK_GUARDED_BY(mutex_);
  std::vector<SlotCache*> caches_ DAGVERK_GUARDED_BY(mutex_);
  std::atomic<std::int64_t> in_use_elsewhere_{0};  // by threads without a cache
  ExtraReaders extra_readers_;
};

}  // namespace dagverk::detail
