#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dagverk::stores {

/// Rows of the journal that share a filter: those whose `seq` is the same without its last ten bits.
inline constexpr unsigned journal_block_bits = 10;
inline constexpr std::int64_t journal_block_size = std::int64_t{1} << journal_block_bits;

[[nodiscard]] constexpr std::int64_t journal_block_of(std::int64_t seq) noexcept { return seq >> journal_block_bits; }

/// Which jids a block of the journal may tell of: a Bloom filter.
///
/// Semantics: says "no" only when it is so; says "perhaps" wrongly for one jid in a hundred at worst, when each of the
///            block's rows is of another job. Its bytes are stored, so they never change their meaning.
class JournalFilter {
 public:
  static constexpr std::size_t size = 1280;  // bytes: ten bits a row

  void add(std::string_view jid) noexcept {
    Bits bits(jid);
    for (int probe = 0; probe < probes; ++probe) {
      const std::uint64_t bit = bits.next();
      bytes_[bit / 8] = static_cast<char>(static_cast<unsigned char>(bytes_[bit / 8]) | (1U << (bit % 8)));
    }
  }
  [[nodiscard]] std::string_view bytes() const noexcept { return {bytes_.data(), bytes_.size()}; }

  /// `stored`: bytes of a filter; what is none excludes nothing.
  [[nodiscard]] static bool may_have(std::string_view stored, std::string_view jid) noexcept {
    if (stored.size() != size) return true;
    Bits bits(jid);
    for (int probe = 0; probe < probes; ++probe) {
      const std::uint64_t bit = bits.next();
      if ((static_cast<unsigned char>(stored[bit / 8]) & (1U << (bit % 8))) == 0) return false;
    }
    return true;
  }

 private:
  static constexpr int probes = 4;

  /// The bits of a jid: FNV-1a of its bytes, mixed, walked in steps of its upper half.
  class Bits {
   public:
    explicit Bits(std::string_view jid) noexcept {
      std::uint64_t hash = 0xcbf29ce484222325;
      for (const char c : jid) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
      hash ^= hash >> 33U;
      hash *= 0xff51afd7ed558ccd;
      hash ^= hash >> 33U;
      at_ = hash & 0xffffffff;
      step_ = (hash >> 32U) | 1U;
    }
    std::uint64_t next() noexcept {
      at_ += step_;
      return at_ % (size * 8);
    }

   private:
    std::uint64_t at_ = 0;
    std::uint64_t step_ = 0;
  };

  std::array<char, size> bytes_{};
};

}  // namespace dagverk::stores
