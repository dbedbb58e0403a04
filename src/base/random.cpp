#include "dagverk/base/random.hpp"

#include "dagverk/base/assert.hpp"

#include <cstddef>
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

}  // namespace

std::string random_hex(unsigned size_bytes) {
  constexpr char digits[] = "0123456789abcdef";
  DAGVERK_ASSERT(size_bytes <= 64);
  unsigned char bytes[64];
  fill_from_system(bytes, size_bytes);
  std::string text;
  text.reserve(std::size_t{2} * size_bytes);
  for (unsigned index = 0; index < size_bytes; ++index) {
    text.push_back(digits[bytes[index] >> 4U]);
    text.push_back(digits[bytes[index] & 0xfU]);
  }
  return text;
}

std::uint64_t random_seed() noexcept {
  std::uint64_t seed = 0;
  fill_from_system(&seed, sizeof seed);
  return seed;
}

}  // namespace dagverk
