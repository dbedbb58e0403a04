#pragma once

#include <cstddef>
#include <cstdint>

// Sanitizers must see every message and every coroutine frame as an allocation of its own.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DAGVERK_PLAIN_ALLOCATION 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define DAGVERK_PLAIN_ALLOCATION 1
#endif
#endif

namespace dagverk::detail {

/// Memory for messages and coroutine frames: per-thread 4 KiB chunks, bump-allocated, one count of live blocks each.
///
/// Semantics: a chunk is reused as a whole when its last block is freed, from whichever thread, so use leaves no
///            shuffled free lists behind. One long-lived block pins its chunk (4 KiB).
/// Threads:   any; a block may be freed on another thread than the one that allocated it.
/// Bounds:    blocks above `chunk_block_max` come from the heap. Chunks are kept for reuse at the program's peak.
inline constexpr std::size_t chunk_size = 4096;
inline constexpr std::size_t chunk_block_max = 1024;

[[nodiscard]] void* chunk_allocate(std::size_t size);
void chunk_free(void* block, std::size_t size) noexcept;

/// Frees blocks that came from chunks (never heap ones), `count` of them from the chunk of `block`, in one step.
void chunk_free_run(void* block, std::uint32_t count) noexcept;

/// True when both blocks lie in one chunk.
[[nodiscard]] inline bool same_chunk(const void* a, const void* b) noexcept {
  return (reinterpret_cast<std::uintptr_t>(a) ^ reinterpret_cast<std::uintptr_t>(b)) < chunk_size;
}

}  // namespace dagverk::detail
