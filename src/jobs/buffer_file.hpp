#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/store_types.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk::jobs {

/// The jobs of an EnqueueBuffer on disk: a line of an export for each, oldest first, and lines that say how many of the
/// oldest have gone. A last line without its end was never promised to anybody.
/// Threads: one at a time. Blocks for the disk.
class BufferFile {
 public:
  struct Opened;

  /// Makes it when it is not there.
  [[nodiscard]] static Result<Opened> open(const std::string& path);
  BufferFile(BufferFile&& other) noexcept;
  BufferFile& operator=(BufferFile&& other) noexcept;
  BufferFile(const BufferFile&) = delete;
  BufferFile& operator=(const BufferFile&) = delete;
  ~BufferFile();

  /// On the disk when it returns; nothing is there after an error.
  [[nodiscard]] Result<void> append(const std::vector<EnqueueRequest>& jobs);
  /// The `count` oldest have gone, and these are left. May be lost with the power, which repeats them.
  [[nodiscard]] Result<void> remove(std::size_t count, const std::deque<EnqueueRequest>& left);
  /// Adds a job to the file beside this one.
  [[nodiscard]] Result<void> put_aside(const EnqueueRequest& job);

 private:
  BufferFile(std::string path, int descriptor, std::uint64_t size) noexcept;

  [[nodiscard]] Result<void> write(std::string_view bytes);
  [[nodiscard]] Result<void> rewrite(const std::deque<EnqueueRequest>& left, std::uint64_t left_bytes);

  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

struct BufferFile::Opened {
  BufferFile file;
  std::deque<EnqueueRequest> waiting;
};

}  // namespace dagverk::jobs
