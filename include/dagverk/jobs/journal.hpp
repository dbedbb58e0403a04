#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/job_events.hpp"
#include "dagverk/jobs/job_store.hpp"
#include "dagverk/stage/producer.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace dagverk::jobs {

/// The event that a journal row tells.
///
/// Semantics: what the row does not say is empty, and 1 for the attempt: a row of `started` has neither node nor
///            attempt. `quarantined` becomes JobDied, `snoozed` JobRetried, `retried_now` JobPromoted from `hand`,
///            `dropped` and `trimmed` JobDiscarded with that reason, `diverted` JobMoved.
[[nodiscard]] Event event_of(const JournalRow& row);

/// Reads the journal from a cursor on, in any OS process that has the store open.
///
/// Semantics: `next` answers as soon as there are rows; after `wait` without any it answers with an empty page. A page
///            says when rows were trimmed before they could be read (`gap`). Keep `cursor()` to go on later.
/// Threads:   belongs to one process of the runtime; one `next` at a time.
/// Errors:    the store's, unchanged; asking again is safe.
/// Lifetime:  borrows the store.
/// Bounds:    a page has at most batch_count_limit rows.
class JournalReader {
 public:
  explicit JournalReader(JobStore& store, JournalCursor after = 0) noexcept : store_(store), cursor_(after) {}

  [[nodiscard]] Async<Result<JournalPage>> next(std::size_t limit = 100, Duration wait = std::chrono::seconds(1));

  /// Everything up to here has been read.
  [[nodiscard]] JournalCursor cursor() const noexcept { return cursor_; }

 private:
  JobStore& store_;
  JournalCursor cursor_;
};

/// The journal as a stage: emits its rows, in order, as many as its consumers ask for.
///
///   auto journal = runtime.start<JournalProducer>(std::ref(*store), cursor);
///
/// Semantics: starts after `after` (0: the oldest row kept) and never ends. What it emitted without being asked anew is
///            nothing: with no demand it reads nothing. A store that fails is asked again with growing pauses.
///            `Position` answers up to where it has emitted; keep it to go on later.
/// Threads:   as every stage; start it in any OS process that has the store open.
/// Lifetime:  borrows the store.
/// Bounds:    one page of rows at a time.
class JournalProducer : public Producer<JournalProducer, JournalRow> {
 public:
  struct Position {
    using Reply = JournalCursor;
  };
  struct Read {};

  explicit JournalProducer(JobStore& store, JournalCursor after = 0) noexcept : reader_(store, after) {}

  void handle_demand(std::uint64_t count);
  JournalCursor handle_call(Position position);
  Async<void> handle_cast(Read read);
  void handle_info(Read read);

 private:
  void read_soon();

  JournalReader reader_;
  std::uint64_t demand_ = 0;
  Duration pause_{0};
  bool read_sent_ = false;
};

}  // namespace dagverk::jobs
