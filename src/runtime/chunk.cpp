#include "dagverk/runtime/detail/chunk.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/mutex.hpp"
#include "dagverk/runtime/detail/prefetch.hpp"

#include <atomic>
#include <new>
#include <vector>

namespace dagverk::detail {

#if defined(DAGVERK_PLAIN_ALLOCATION)

void* chunk_allocate(std::size_t size) { return ::operator new(size); }
void chunk_free(void* block, std::size_t /*size*/) noexcept { ::operator delete(block); }
void chunk_free_run(void* block, std::uint32_t count) noexcept {
  DAGVERK_ASSERT(count == 1);
  ::operator delete(block);
}

#else

namespace {

constexpr std::size_t block_alignment = 16;
constexpr std::int32_t owner_bias = 1 << 24;       // what the allocating thread holds until it leaves the chunk
constexpr std::ptrdiff_t prefetch_distance = 512;  // some ten small messages
constexpr std::size_t chunks_per_slab = 64;
constexpr std::size_t thread_cache_max = 128;  // spare chunks a thread keeps before it gives half of them away

struct Chunk {
  // Blocks still in use, plus owner_bias while a thread allocates from this chunk.
  std::atomic<std::int32_t> live{owner_bias};
  Chunk* next = nullptr;  // in a list of spare chunks
};
constexpr std::size_t first_offset = (sizeof(Chunk) + block_alignment - 1) / block_alignment * block_alignment;

Chunk* chunk_of(void* block) noexcept {
  return reinterpret_cast<Chunk*>(reinterpret_cast<std::uintptr_t>(block) & ~(std::uintptr_t{chunk_size} - 1));
}

/// Spare chunks of all threads. Never destroyed: detached threads may free messages after main has returned.
class ChunkReserve {
 public:
  Chunk* take() {
    {
      MutexLock lock(mutex_);
      if (Chunk* chunk = spare_; chunk != nullptr) {
        spare_ = chunk->next;
        return chunk;
      }
    }
    auto* memory = static_cast<char*>(::operator new(chunk_size * chunks_per_slab, std::align_val_t{chunk_size}));
    Chunk* list = nullptr;
    for (std::size_t index = 1; index < chunks_per_slab; ++index) {
      auto* chunk = new (memory + index * chunk_size) Chunk;
      chunk->next = list;
      list = chunk;
    }
    give(list);
    return new (memory) Chunk;
  }

  void give(Chunk* list) noexcept {
    if (list == nullptr) return;
    Chunk* last = list;
    while (last->next != nullptr) last = last->next;
    MutexLock lock(mutex_);
    last->next = spare_;
    spare_ = list;
  }

 private:
  Mutex mutex_;
  Chunk* spare_ DAGVERK_GUARDED_BY(mutex_) = nullptr;
};

ChunkReserve& reserve() {
  static auto* reserve = new ChunkReserve;  // outlives every thread on purpose, see the class
  return *reserve;
}

void recycle(Chunk* chunk) noexcept;

/// One thread's chunk to allocate from, and its spare ones.
struct ThreadChunks {
  char* next = nullptr;
  char* end = nullptr;
  std::int32_t allocated = 0;
  Chunk* spare = nullptr;
  std::size_t spare_count = 0;

  ThreadChunks() = default;
  ThreadChunks(const ThreadChunks&) = delete;
  ThreadChunks& operator=(const ThreadChunks&) = delete;
  ~ThreadChunks();

  void leave_chunk() noexcept {
    if (end == nullptr) return;
    Chunk* chunk = chunk_of(end - 1);
    const std::int32_t give_back = owner_bias - allocated;
    // acq_rel: whoever reuses the chunk sees every block's last use.
    if (chunk->live.fetch_sub(give_back, std::memory_order_acq_rel) == give_back) recycle(chunk);
    next = end = nullptr;
  }

  void* allocate_slow(std::size_t size) {
    leave_chunk();
    Chunk* chunk = spare;
    if (chunk != nullptr) {
      spare = chunk->next;
      --spare_count;
    } else {
      chunk = reserve().take();
    }
    chunk->live.store(owner_bias, std::memory_order_relaxed);
    next = reinterpret_cast<char*>(chunk) + first_offset;
    end = reinterpret_cast<char*>(chunk) + chunk_size;
    allocated = 1;
    void* block = next;
    next += size;
    return block;
  }
};

thread_local ThreadChunks thread_chunks;
thread_local bool thread_chunks_gone = false;

ThreadChunks::~ThreadChunks() {
  leave_chunk();
  reserve().give(spare);
  spare = nullptr;
  thread_chunks_gone = true;
}

void recycle(Chunk* chunk) noexcept {
  if (thread_chunks_gone) {
    chunk->next = nullptr;
    reserve().give(chunk);
    return;
  }
  ThreadChunks& mine = thread_chunks;
  chunk->next = mine.spare;
  mine.spare = chunk;
  if (++mine.spare_count < thread_cache_max) return;
  // Producers and consumers on different threads: hand half of what piled up to whoever needs it.
  Chunk* last = mine.spare;
  for (std::size_t index = 1; index < thread_cache_max / 2; ++index) last = last->next;
  Chunk* surplus = mine.spare;
  mine.spare = last->next;
  last->next = nullptr;
  mine.spare_count -= thread_cache_max / 2;
  reserve().give(surplus);
}

}  // namespace

void* chunk_allocate(std::size_t size) {
  size = (size + block_alignment - 1) & ~(block_alignment - 1);
  if (size > chunk_block_max) return ::operator new(size);
  if (thread_chunks_gone) {  // a message sent while the thread's own objects are torn down: a chunk for it alone
    Chunk* chunk = reserve().take();
    chunk->live.store(1, std::memory_order_relaxed);
    return reinterpret_cast<char*>(chunk) + first_offset;
  }
  ThreadChunks& mine = thread_chunks;
  if (static_cast<std::size_t>(mine.end - mine.next) < size) return mine.allocate_slow(size);
  void* block = mine.next;
  mine.next += size;
  ++mine.allocated;
  // The memory was last written by whoever handled its messages, often on another core.
  if (mine.end - mine.next > prefetch_distance) prefetch_to_write(mine.next + prefetch_distance);
  return block;
}

void chunk_free_run(void* block, std::uint32_t count) noexcept {
  Chunk* chunk = chunk_of(block);
  // Of the chunk this thread allocates from: what it allocated and freed again nobody else needs to hear of.
  if (!thread_chunks_gone) {
    ThreadChunks& mine = thread_chunks;
    const auto own = static_cast<std::int32_t>(count);
    if (mine.end != nullptr && chunk == chunk_of(mine.end - 1) && mine.allocated >= own) {
      mine.allocated -= own;
      // None left, and none was freed elsewhere: the chunk is as new, and warm.
      if (mine.allocated == 0) mine.next = reinterpret_cast<char*>(chunk) + first_offset;
      return;
    }
  }
  // acq_rel: publishes our last use of these blocks and, for the last one out, acquires everybody else's.
  const auto freed = static_cast<std::int32_t>(count);
  if (chunk->live.fetch_sub(freed, std::memory_order_acq_rel) == freed) recycle(chunk);
}

void chunk_free(void* block, std::size_t size) noexcept {
  size = (size + block_alignment - 1) & ~(block_alignment - 1);
  if (size > chunk_block_max) {
    ::operator delete(block);
  } else {
    chunk_free_run(block, 1);
  }
}

#endif

}  // namespace dagverk::detail
