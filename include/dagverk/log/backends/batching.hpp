#pragma once

#include "dagverk/base/mutex.hpp"
#include "dagverk/log/log_backend.hpp"
#include "dagverk/runtime/async.hpp"
#include "dagverk/runtime/pid.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dagverk {

/// One line on its way to a network service.
struct UploadLine {
  WallTime time;
  LogSeverity severity = LogSeverity::info;
  std::string text;  ///< in the backend's format
};

/// Lines that were not sent.
struct ShedLines {
  std::uint64_t count = 0;
  WallTime from;  ///< of the first
  WallTime to;    ///< of the last
};

struct UploadBatch {
  std::vector<UploadLine> lines;
  std::size_t bytes = 0;  ///< of the texts
  ShedLines shed_before;  ///< when there are any, the first of `lines` tells of them
};

/// How batches reach a service: HTTP, a message queue, a test's vector.
///
/// Semantics: made anew for each start of the uploader. An exception crashes that alone; the batch is sent again.
/// Threads:   the uploader's process; must not block its thread: what waits is awaited.
/// Errors:    `refused`, `malformed`, `too_large`, `unsupported`: the batch will never be taken, it is given up and
///            counted. All others: it is tried again.
class LogTransport {
 public:
  LogTransport() = default;
  LogTransport(const LogTransport&) = delete;
  LogTransport& operator=(const LogTransport&) = delete;
  virtual ~LogTransport() = default;

  /// Sends `batch`, which stays valid until then; answers within `limit`.
  [[nodiscard]] virtual Async<Result<void>> send(const UploadBatch& batch, Duration limit) = 0;
  /// After a `send` that is to be tried again: how long the far end asked to be left alone, as of `now`. Zero: it did
  /// not say.
  [[nodiscard]] virtual Duration retry_after(WallTime /*now*/) const { return Duration::zero(); }
};

struct BatchingOptions {
  std::size_t batch_lines_max = 1000;
  std::size_t batch_bytes_max = 1 << 20;                  ///< a single longer line is a batch of its own
  Duration batch_age_max = std::chrono::seconds(1);       ///< a batch does not wait longer to be filled
  std::size_t queue_batches_max = 64;                     ///< that wait for the uploader
  bool keep_newest = true;                                ///< full: the oldest batch is shed; else the new one
  Duration send_timeout = std::chrono::seconds(10);       ///< for one attempt
  Duration retry_first = std::chrono::milliseconds(500);  ///< doubles with each failure
  Duration retry_max = std::chrono::seconds(30);
  /// A far end that asks for a longer pause than the one that is due gets it, but at most this one. 0: it never does.
  Duration retry_after_max = std::chrono::minutes(5);
  Duration drain_limit = std::chrono::seconds(5);  ///< at the end, for what still waits
};

/// What became of lines that were handed to an uploader. Always: handed == sent + shed + refused + waiting.
struct UploadStats {
  std::uint64_t handed = 0;
  std::uint64_t sent = 0;
  std::uint64_t shed = 0;      ///< the queue was full, or time ran out at the end
  std::uint64_t refused = 0;   ///< the far end will never take them
  std::uint64_t waiting = 0;   ///< in the queue, and in the uploader's hands
  std::uint64_t failures = 0;  ///< attempts
  std::string last_error = {};
};

/// The batches between a batching backend and its uploader. Outlives both processes; shows what became of lines.
///
/// Threads: any.
/// Bounds:  `queue_batches_max` and the one that is being sent.
class UploadQueue {
 public:
  explicit UploadQueue(BatchingOptions options) : options_(options) {}

  [[nodiscard]] UploadStats stats() const;

  // --- for the two processes -----------------------------------------------------------------------------------------
  [[nodiscard]] const BatchingOptions& options() const noexcept { return options_; }
  /// The uploader to wake, if it does not know yet.
  [[nodiscard]] std::optional<Pid> hand(UploadBatch batch);
  void begin(Pid uploader);
  /// The oldest batch, with a line about what was shed before it; the uploader's until one of the next three.
  [[nodiscard]] std::shared_ptr<const UploadBatch> take(const LineFormat& format, WallTime now);
  void sent();
  void refused(std::string error);
  void failed(std::string error);
  /// Whatever is left counts as shed.
  void close();

 private:
  /// `batch` is not sent: its lines, and those that it was to tell of, are told of later.
  void forget(const UploadBatch& batch) DAGVERK_REQUIRES(mutex_);

  const BatchingOptions options_;
  mutable Mutex mutex_;
  std::deque<std::shared_ptr<UploadBatch>> waiting_ DAGVERK_GUARDED_BY(mutex_);  // with the uploader's frame
  std::shared_ptr<UploadBatch> in_hand_ DAGVERK_GUARDED_BY(mutex_);
  ShedLines shed_ DAGVERK_GUARDED_BY(mutex_);  // not told of yet
  Pid uploader_ DAGVERK_GUARDED_BY(mutex_);
  bool called_ DAGVERK_GUARDED_BY(mutex_) = false;
  bool closed_ DAGVERK_GUARDED_BY(mutex_) = false;
  UploadStats stats_ DAGVERK_GUARDED_BY(mutex_);
};

/// Errors: `configuration`, naming the field.
[[nodiscard]] Result<std::shared_ptr<UploadQueue>> make_upload_queue(BatchingOptions options = {});

/// A backend that gathers lines into batches, by size and age, and hands them to an uploader: a process of its own that
/// sends them one after the other, tries again with a growing pause, and sheds by rule while the far end stalls.
///
/// Semantics: after lines were shed, the next batch that is sent begins with a line `log.lines_shed` with their count
///            and the times of the first and the last. For the pipeline a line is written once it is in a batch: what
///            becomes of it then, `queue->stats()` says.
[[nodiscard]] BackendSpec batching_backend(std::string name,
                                           std::function<std::unique_ptr<LogTransport>()> make_transport,
                                           std::shared_ptr<UploadQueue> queue, LineFormat format = LineFormat::json());

}  // namespace dagverk
