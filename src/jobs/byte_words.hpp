#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

/// Eight bytes of text at a time. Each question is answered with marks: the highest bit of a byte. Those of the first
/// byte that is marked, and of all before it, are right; later ones may be marked in error.
namespace dagverk::jobs::words {

inline constexpr std::ptrdiff_t size = 8;

[[nodiscard]] constexpr std::uint64_t in_each(unsigned char byte) noexcept { return 0x0101010101010101U * byte; }

/// The eight bytes from `at` on, the first one lowest.
[[nodiscard]] inline std::uint64_t load(const char* at) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, at, sizeof word);
  if constexpr (std::endian::native == std::endian::big) word = std::byteswap(word);
  return word;
}

/// `limit` is at most 0x80.
[[nodiscard]] constexpr std::uint64_t below(std::uint64_t word, unsigned char limit) noexcept {
  return (word - in_each(limit)) & ~word & in_each(0x80);
}

[[nodiscard]] constexpr std::uint64_t equal(std::uint64_t word, char byte) noexcept {
  return below(word ^ in_each(static_cast<unsigned char>(byte)), 1);
}

/// `below` and twice `equal`, with fewer steps.
[[nodiscard]] constexpr std::uint64_t below_or_either(std::uint64_t word, unsigned char limit, unsigned char one,
                                                      unsigned char other) noexcept {
  const std::uint64_t borrows =
      (word - in_each(limit)) | ((word ^ in_each(one)) - in_each(1)) | ((word ^ in_each(other)) - in_each(1));
  return borrows & ~word & in_each(0x80);
}

/// What is no decimal digit.
[[nodiscard]] constexpr std::uint64_t no_digit(std::uint64_t word) noexcept {
  const std::uint64_t value = word ^ in_each('0');
  return (((value & in_each(0x7F)) + in_each(0x80 - 10)) | value) & in_each(0x80);
}

/// How many bytes stand before the first one that is marked; there is one.
[[nodiscard]] constexpr std::ptrdiff_t before_first(std::uint64_t marks) noexcept {
  return std::countr_zero(marks) / 8;
}

}  // namespace dagverk::jobs::words
