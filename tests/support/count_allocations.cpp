#include "support/count_allocations.hpp"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <malloc.h>
#include <new>

namespace {

std::atomic<std::uint64_t> allocations{0};
std::atomic<std::uint64_t> bytes{0};

/// Of a block: what it can hold, and the word before it where malloc writes its size.
std::uint64_t bytes_of(void* memory) noexcept { return ::malloc_usable_size(memory) + sizeof(std::size_t); }

void release(void* memory) noexcept {
  if (memory != nullptr) bytes.fetch_sub(bytes_of(memory), std::memory_order_relaxed);
  std::free(memory);
}

void* allocate(std::size_t size, std::size_t alignment) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  // aligned_alloc wants a multiple of the alignment, which would round up what malloc need not.
  void* memory = alignment <= alignof(std::max_align_t)
                     ? std::malloc(size)
                     : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  bytes.fetch_add(bytes_of(memory), std::memory_order_relaxed);
  return memory;
}

}  // namespace

std::uint64_t dagverk::allocation_count() noexcept { return allocations.load(std::memory_order_relaxed); }
std::uint64_t dagverk::allocated_bytes() noexcept { return bytes.load(std::memory_order_relaxed); }

void* operator new(std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept { release(memory); }
void operator delete(void* memory, std::size_t /*size*/, std::align_val_t /*alignment*/) noexcept { release(memory); }
