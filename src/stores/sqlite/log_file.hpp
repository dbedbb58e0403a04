#pragma once

#include "dagverk/base/result.hpp"

#include <atomic>
#include <memory>
#include <string>

namespace dagverk::stores {

/// The write-ahead log of an open store, for syncing it beside the connection that writes it.
///
/// Semantics: after one sync that failed all later ones fail: the system may have forgotten what did not reach the
///            disk, and would report a success next time.
/// Threads:   `sync` one at a time; `failed` any.
/// Lifetime:  while a connection has the store open: SQLite removes the log with the last one.
class LogFile {
 public:
  /// Errors: `io`.
  [[nodiscard]] static Result<std::shared_ptr<LogFile>> open(const std::string& store_path);
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;
  ~LogFile();

  /// Blocks until all that has been written is on the disk. Errors: `outcome_unknown`.
  [[nodiscard]] Result<void> sync();
  [[nodiscard]] bool failed() const noexcept { return failed_.load(); }

 private:
  LogFile(std::string path, int descriptor) noexcept : path_(std::move(path)), descriptor_(descriptor) {}

  std::string path_;
  int descriptor_;
  std::atomic<bool> failed_{false};
};

}  // namespace dagverk::stores
