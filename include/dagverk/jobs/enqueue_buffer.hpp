#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/jobs/event_sink.hpp"
#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/jobs/job_store.hpp"
#include "dagverk/runtime/async.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dagverk::jobs {

struct EnqueueBufferOptions {
  std::size_t jobs_max = 10'000;                   ///< that may wait; 1 or more
  std::size_t bytes_max = std::size_t{64} << 20U;  ///< of their payloads and names; 1 or more
  /// Where waiting jobs are kept on disk, for one buffer at a time. Empty: in memory alone, and a program that ends
  /// before the store is back loses them.
  std::string file = {};
  CodecOptions codec = {};
  EventSink* events = nullptr;  ///< borrowed; hears of jobs that reach the store late; null: nobody listens
};

/// Counted since the buffer was opened: buffered + found = stored + superfluous + refused + waiting.
struct EnqueueBufferStats {
  std::uint64_t found = 0;        ///< in the file, when it was opened
  std::uint64_t buffered = 0;     ///< kept because the store was away
  std::uint64_t stored = 0;       ///< of these, put into the store
  std::uint64_t superfluous = 0;  ///< of these, not put in: the jid was there, or another job held the unique key
  std::uint64_t refused = 0;      ///< of these, those that the store would not take; each is logged
  std::uint64_t waiting = 0;
  std::uint64_t waiting_bytes = 0;
  std::uint64_t turned_away = 0;                      ///< not kept: the buffer was full, or its file failed
  std::optional<WallTime> away_since = std::nullopt;  ///< set while jobs wait: since the first of them
};

/// Keeps jobs for a store that is away, and brings them there when it is back.
///
///   auto buffer = EnqueueBuffer::open(runtime, store, {.file = "/var/lib/shop/enqueues"}).value();
///   JobClient client(runtime, store, {.buffer = buffer.get()});
///
/// Semantics: jobs go to the store directly while nothing waits here. When it cannot be reached, is full, or its answer
///            is lost, they wait here, and so do all later ones, so that they reach it in the order they came. The
///            store is tried again after 50 ms, then at growing intervals up to 5 s. At least once: a job whose answer
///            was lost, and that has run before it is tried again, runs twice.
/// Durable:   with a file, what waits is on the disk when `enqueue` returns, and is found by whoever opens it next.
/// Threads:   `enqueue` inside any process of the runtime; the others outside of one, `stats` anywhere. One thread of
///            its own, for the disk.
/// Errors:    jobs outside the bounds of store_types.hpp are refused at once. What the store refuses later for another
///            reason than being away is dropped, counted and logged (`enqueue.refused`) with the job; with a file it is
///            also appended to FILE.refused, as a line of an export.
/// Bounds:    jobs_max and bytes_max in memory; the file has at most twice that and 4 MiB.
/// Lifetime:  borrows runtime, store and events; outlives the clients that were given it.
class EnqueueBuffer {
 public:
  /// What became of a batch.
  struct Kept {
    std::vector<ItemOutcome> outcomes;  ///< as JobStore::enqueue; of buffered jobs `done`, whatever comes out later
    bool buffered = false;              ///< all of them wait here; else all of them were the store's to judge
  };

  /// Errors: `configuration` for a bound of 0; `already_exists` for a file that another buffer has open; `malformed`
  ///         for one that no buffer wrote, with the line; `io`.
  [[nodiscard]] static Result<std::unique_ptr<EnqueueBuffer>> open(RuntimeBase& runtime, JobStore& store,
                                                                   EnqueueBufferOptions options = {});
  EnqueueBuffer(const EnqueueBuffer&) = delete;
  EnqueueBuffer& operator=(const EnqueueBuffer&) = delete;
  /// As `close` without waiting.
  ~EnqueueBuffer();

  /// As JobStore::enqueue, unless the store is away. Errors: of an absent store when there is no room, with the reason.
  [[nodiscard]] Async<Result<Kept>> enqueue(std::vector<EnqueueRequest> jobs);

  [[nodiscard]] EnqueueBufferStats stats() const;

  /// Waits at most so long for the store to take what waits, then ends; says how many jobs were left: with a file they
  /// are in it, else they are lost, and logged (`enqueue.lost`). The second time: the same answer.
  std::size_t close(Duration limit);

 private:
  struct Parts;
  explicit EnqueueBuffer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace dagverk::jobs
