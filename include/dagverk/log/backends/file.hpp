#pragma once

#include "dagverk/log/log_backend.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace dagverk {

struct FileOptions {
  std::string path;
  std::uint64_t size_max = 0;  ///< bytes; a line that would exceed it begins a new file. 0: no limit
  Duration rotate_every{0};    ///< a new file when this period of UTC has passed, e.g. 24 h at midnight. 0: never
  unsigned files_kept = 5;     ///< old ones, `path.1` the youngest. 0: a rotation empties the file
  unsigned mode = 0640;        ///< of a new file
};

/// Appends lines to a file. Rotates by size, by time, and by `reopen` after somebody else has moved the file.
///
/// Errors: `open` names the path and the reason. A full disk costs the lines that do not fit (`failed`); it goes on
///         when there is room, on a new line.
/// Bounds: one file of `size_max` and `files_kept` old ones; the largest single line beyond that.
class FileBackend final : public LogBackend {
 public:
  explicit FileBackend(FileOptions options) : options_(std::move(options)) {}
  FileBackend(const FileBackend&) = delete;
  FileBackend& operator=(const FileBackend&) = delete;
  ~FileBackend() override;

  [[nodiscard]] Result<void> open() override;
  [[nodiscard]] WriteOutcome write(const LogBatch& batch) override;
  [[nodiscard]] Result<void> reopen() override;
  [[nodiscard]] int crash_descriptor() const noexcept override { return descriptor_; }

 private:
  [[nodiscard]] Result<void> open_file();
  void close_file() noexcept;
  [[nodiscard]] bool must_rotate(const LogLine& line, std::size_t line_size);
  [[nodiscard]] Result<void> rotate();
  void write_text(WriteOutcome& outcome);

  FileOptions options_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
  std::int64_t period_ = 0;   // of the lines in the file, since the epoch
  bool broken_line_ = false;  // the last write ended inside of a line
  std::string text_;
  std::vector<std::size_t> line_ends_;
};

[[nodiscard]] BackendSpec file_backend(std::string name, const FileOptions& options);
/// As file_backend, one JSON object a line.
[[nodiscard]] BackendSpec json_file_backend(std::string name, const FileOptions& options);

}  // namespace dagverk
