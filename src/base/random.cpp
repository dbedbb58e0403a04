#include "dagverk/base/random.hpp"

#include "dagverk/base/assert.hpp"

#include <atomic>
#include <cstddef>
#include <pthread.h>
#include <sys/random.h>

namespace dagverk {

namespace {

void fill_from_system(void* buffer, std::size_t size_bytes) noexcept {
  auto* out = static_cast<unsigned char*>(buffer);
  while (size_bytes > 0) {
    const ssize_t got = ::getrandom(out, size_bytes, 0);
    if (got < 0) continue;  // EINTR; other failures do not exist on a kernel that has getrandom
    out += got;
    size_bytes -= static_cast<std::size_t>(got);
  }
}

/// How often this OS process has forked off from its parent: what was drawn before belongs to the parent.
constinit std::atomic<std::uint64_t> fork_count{0};

/// Bytes drawn ahead: a system call costs more than all the rest of an id.
struct Stock {
  unsigned char bytes[1024];
  std::size_t left = 0;
  std::uint64_t drawn_after_forks = 0;
};

/// The next `size_bytes` bytes of this thread's stock.
const unsigned char* draw(std::size_t size_bytes) noexcept {
  // Without memory for the handler there is none for the rest of the program, either.
  [[maybe_unused]] static const int registered = ::pthread_atfork(nullptr, nullptr, [] { ++fork_count; });
  thread_local Stock stock;
  const std::uint64_t forked = fork_count.load();
  if (stock.left < size_bytes || stock.drawn_after_forks != forked) {
    fill_from_system(stock.bytes, sizeof stock.bytes);
    stock.left = sizeof stock.bytes;
    stock.drawn_after_forks = forked;
  }
  stock.left -= size_bytes;
  return stock.bytes + stock.left;
}

}  // namespace

std::string random_hex(unsigned size_bytes) {
  constexpr char digits[] = "0123456789abcdef";
  DAGVERK_ASSERT(size_bytes <= 64);
  const unsigned char* const bytes = draw(size_bytes);
  std::string text(std::size_t{2} * size_bytes, '0');
  for (unsigned index = 0; index < size_bytes; ++index) {
    text[std::size_t{2} * index] = digits[bytes[index] >> 4U];
    text[std::size_t{2} * index + 1] = digits[bytes[index] & 0xfU];
  }
  return text;
}

std::uint64_t random_seed() noexcept {
  std::uint64_t seed = 0;
  fill_from_system(&seed, sizeof seed);
  return seed;
}

}  // namespace dagverk
