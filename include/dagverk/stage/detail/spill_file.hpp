#pragma once

#include "dagverk/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

namespace dagverk::detail {

/// A line of byte strings in a file that is a ring: the oldest is taken first, and the room of what was taken is used
/// again. It is read ahead, many entries at a time.
///
/// Threads:  not thread-safe. Blocks for as long as the system's cache makes it.
/// Errors:   `io` with the system's message; `too_large` never: ask `fits_behind` before appending.
/// Lifetime: the file has no name in its directory, so that nothing is left behind.
/// Bounds:   `bytes_max` bytes, 4 per entry besides its own; 64 KiB in memory, or one entry when that is longer.
class SpillFile {
 public:
  /// Makes the file in `directory`, or in that for temporary files.
  [[nodiscard]] static Result<SpillFile> make(const std::string& directory, std::uint64_t bytes_max);

  SpillFile(SpillFile&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)),
        bytes_max_(other.bytes_max_),
        window_(std::move(other.window_)),
        window_at_(other.window_at_),
        head_(other.head_),
        tail_(other.tail_),
        count_(other.count_) {}
  SpillFile& operator=(SpillFile&&) = delete;
  SpillFile(const SpillFile&) = delete;
  SpillFile& operator=(const SpillFile&) = delete;
  ~SpillFile();

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  /// Whether an entry of `size` bytes would fit into the empty file.
  [[nodiscard]] bool could_fit(std::size_t size) const noexcept {
    return size <= std::numeric_limits<std::uint32_t>::max() && header + size <= bytes_max_;
  }

  /// Entries that are appended together, by one write.
  class Block {
   public:
    /// Bounds: an entry of 4 GiB or more does not go into any file; ask `could_fit`.
    void add(std::string_view entry);
    [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
    [[nodiscard]] std::size_t size_bytes() const noexcept { return bytes_.size(); }
    void clear() noexcept {
      bytes_.clear();
      count_ = 0;
    }

   private:
    friend class SpillFile;
    std::string bytes_;
    std::uint64_t count_ = 0;
  };
  /// Whether an entry of `size` bytes fits behind those of `block`.
  [[nodiscard]] bool fits_behind(const Block& block, std::size_t size) const noexcept {
    return could_fit(size) && tail_ - head_ + block.size_bytes() + header + size <= bytes_max_;
  }
  [[nodiscard]] Result<void> append(const Block& block);
  /// Takes the oldest entry into `entry`.
  [[nodiscard]] Result<void> take(std::string& entry);
  [[nodiscard]] Result<void> drop_oldest();
  /// Forgets everything; how many entries that were.
  std::uint64_t clear() noexcept;

 private:
  static constexpr std::uint64_t header = 4;
  static constexpr std::uint64_t window_max = std::uint64_t{1} << 16U;

  SpillFile(int descriptor, std::uint64_t bytes_max) noexcept : descriptor_(descriptor), bytes_max_(bytes_max) {}

  [[nodiscard]] Result<void> write_at(std::uint64_t position, const char* bytes, std::size_t size);
  [[nodiscard]] Result<void> read_at(std::uint64_t position, char* bytes, std::size_t size) const;
  /// What stands at `position`; valid until the next call.
  [[nodiscard]] Result<std::string_view> bytes_at(std::uint64_t position, std::size_t size);
  [[nodiscard]] Result<std::uint32_t> oldest_size();
  void advance(std::uint64_t bytes) noexcept;

  int descriptor_;
  std::uint64_t bytes_max_;
  std::string window_;  // what was read ahead, and where from
  std::uint64_t window_at_ = 0;
  // Positions count all bytes ever written; modulo bytes_max_ they are places in the file.
  std::uint64_t head_ = 0;
  std::uint64_t tail_ = 0;
  std::uint64_t count_ = 0;
};

}  // namespace dagverk::detail
