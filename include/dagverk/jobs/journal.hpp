#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/job_events.hpp"
#include "dagverk/jobs/job_store.hpp"

#include <chrono>
#include <cstddef>

namespace dagverk::jobs {

/// The event that a journal row tells.
///
/// Semantics: what the row does not say is empty, and 1 for the attempt: a row of `started` has neither node nor
///            attempt. `quarantined` becomes JobDied, `snoozed` JobRetried, `retried_now` JobPromoted from `hand`,
///            `expired` and `trimmed` JobDiscarded with that reason.
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

}  // namespace dagverk::jobs
