#pragma once

#include "jobs/settling.hpp"

#include "dagverk/base/mutex.hpp"
#include "dagverk/jobs/job_record.hpp"
#include "dagverk/jobs/store_types.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk::jobs {

class RunNotes;

/// The runs of a node that have said something which the store does not have yet. Outlives the node's processes.
///
/// Threads: any.
/// Bounds:  each run is there once; of more than 10,000 the oldest is left out, and what it said last is not kept.
class NoteBook {
 public:
  static constexpr std::size_t limit = 10'000;

  void add(std::shared_ptr<RunNotes> notes);
  [[nodiscard]] std::vector<std::shared_ptr<RunNotes>> take(std::size_t count);

 private:
  Mutex mutex_;
  std::deque<std::shared_ptr<RunNotes>> changed_ DAGVERK_GUARDED_BY(mutex_);  // shared with the runs
};

/// What one run says about itself.
///
/// Threads: any.
class RunNotes : public std::enable_shared_from_this<RunNotes> {
 public:
  RunNotes(NoteBook& book, const Clock& clock, JobPtr job) : book_(book), clock_(clock), job_(std::move(job)) {}

  void progress(double fraction, std::optional<std::string_view> status);
  void status(std::string_view text);
  void log(std::string_view line);

  /// For the store, as of now.
  [[nodiscard]] RecordUpdate take();
  /// The store did not get it.
  void put_back();

 private:
  void changed();

  NoteBook& book_;  // the node's, which outlives its runs
  const Clock& clock_;
  const JobPtr job_;
  Mutex mutex_;
  JobRecord record_ DAGVERK_GUARDED_BY(mutex_);
  bool changed_ DAGVERK_GUARDED_BY(mutex_) = false;  // and in the book
};

}  // namespace dagverk::jobs
