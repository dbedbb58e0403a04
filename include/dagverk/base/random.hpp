#pragma once

#include <cstdint>
#include <string>

namespace dagverk {

/// A small, fast, seedable generator (SplitMix64). The same seed gives the same numbers on every platform.
/// Not for secrets. Threads: not thread-safe.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed) {}

  [[nodiscard]] std::uint64_t next() noexcept {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31U);
  }

  /// A number in [0, bound); 0 when `bound` is 0. The bias is below 2^-32 for bounds below 2^32.
  [[nodiscard]] std::uint64_t below(std::uint64_t bound) noexcept { return bound == 0 ? 0 : next() % bound; }

 private:
  std::uint64_t state_;
};

/// `size_bytes` bytes from the operating system's generator as lower-case hexadecimal digits: for ids that must not
/// collide between machines, nor between a process and the one it forks off. At most 64 bytes.
[[nodiscard]] std::string random_hex(unsigned size_bytes);

/// A seed from the operating system's generator.
[[nodiscard]] std::uint64_t random_seed() noexcept;

}  // namespace dagverk
