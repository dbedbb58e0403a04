#include "dagverk/stage/detail/batch_memory.hpp"

#include "dagverk/runtime/detail/chunk.hpp"

#include <array>
#include <bit>
#include <new>
#include <utility>

namespace dagverk::detail {

#if defined(DAGVERK_PLAIN_ALLOCATION)

void* batch_allocate(std::size_t size) { return ::operator new(size); }
void batch_free(void* block, std::size_t /*size*/) noexcept { ::operator delete(block); }

#else

namespace {

constexpr std::size_t kept_block_max = 64 * 1024;
constexpr std::size_t kept_max = 256 * 1024;  // bytes that one thread keeps

// Four sizes to each doubling, so that no more than a fifth of a block is unused.
constexpr std::size_t size_step(std::size_t size) noexcept { return std::bit_floor(size - 1) / 4; }
constexpr std::size_t block_size(std::size_t size) noexcept {
  return (size + size_step(size) - 1) / size_step(size) * size_step(size);
}
constexpr std::size_t class_of(std::size_t block) noexcept {
  const std::size_t doublings = std::bit_width(block - 1) - std::bit_width(chunk_block_max);
  return doublings * 4 + (block - 1) / size_step(block) % 4;
}
constexpr std::size_t class_count = class_of(kept_block_max) + 1;
static_assert(class_of(block_size(chunk_block_max + 1)) == 0 && class_count == 24);
static_assert(class_of(block_size(1280)) == 0 && class_of(block_size(1281)) == 1 && class_of(block_size(2049)) == 4);

struct Block {
  Block* next;
};

/// The blocks that one thread keeps, the last freed first: it is the most likely to be in its cache.
struct ThreadBlocks {
  std::array<Block*, class_count> first{};
  std::size_t kept = 0;  // bytes

  ThreadBlocks() = default;
  ThreadBlocks(const ThreadBlocks&) = delete;
  ThreadBlocks& operator=(const ThreadBlocks&) = delete;
  ~ThreadBlocks();

  void let_go() noexcept {
    for (Block*& block : first) {
      while (block != nullptr) ::operator delete(std::exchange(block, block->next));
    }
    kept = 0;
  }
};

thread_local ThreadBlocks thread_blocks;
thread_local bool thread_blocks_gone = false;

ThreadBlocks::~ThreadBlocks() {
  let_go();
  thread_blocks_gone = true;
}

}  // namespace

void* batch_allocate(std::size_t size) {
  if (size <= chunk_block_max) return chunk_allocate(size);
  if (size > kept_block_max) return ::operator new(size);
  const std::size_t bytes = block_size(size);
  if (!thread_blocks_gone) {
    ThreadBlocks& mine = thread_blocks;
    if (Block*& first = mine.first[class_of(bytes)]; first != nullptr) {
      mine.kept -= bytes;
      return std::exchange(first, first->next);
    }
  }
  return ::operator new(bytes);
}

void batch_free(void* block, std::size_t size) noexcept {
  if (size <= chunk_block_max) {
    chunk_free(block, size);
    return;
  }
  const std::size_t bytes = block_size(size);
  if (size > kept_block_max || thread_blocks_gone) {
    ::operator delete(block);
    return;
  }
  ThreadBlocks& mine = thread_blocks;
  if (mine.kept + bytes > kept_max) mine.let_go();  // nobody takes them here any more, or not in these sizes
  mine.kept += bytes;
  Block*& first = mine.first[class_of(bytes)];
  first = new (block) Block{first};
}

#endif

}  // namespace dagverk::detail
