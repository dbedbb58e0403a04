#pragma once

#include "jobs/run_notes.hpp"

#include "dagverk/base/clock.hpp"
#include "dagverk/base/mutex.hpp"
#include "dagverk/jobs/command_spec.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace dagverk::jobs {

/// Reads what a running command writes: lines of the protocol go to the run's notes, the rest is its result or its log.
///
/// Semantics: a line of the protocol begins with `@dagverk ` and one of `progress`, `status`, `log`, `result`,
///            `snooze`. What is none, or says something impossible, is an ordinary line. Nothing that is read here
///            decides about the job, but for the delay of a snooze.
/// Threads:   any; after `close` it does nothing any more, so that it may outlive the node that `notes` belong to.
/// Bounds:    of each line the first 8 KiB; of ordinary output the limit.
class OutputReader {
 public:
  static constexpr std::size_t line_size_limit = std::size_t{8} * 1024;

  OutputReader(const CommandSpec& command, std::shared_ptr<RunNotes> notes);

  void take_output(std::string_view piece);
  void take_error(std::string_view piece);  ///< lines of the log; for CommandOutput::log only
  /// The outputs have ended: their last lines may have no end of their own.
  void finish();
  void close();

  /// What the command gave as its result, else what it wrote, cut and marked.
  [[nodiscard]] std::string result() const;
  /// How long it wants its job to wait.
  [[nodiscard]] std::optional<Duration> snooze_delay() const;

 private:
  struct Line {
    std::string text;
    bool cut = false;  // more came
  };

  void take(std::string_view piece, Line& line, bool is_output) DAGVERK_REQUIRES(mutex_);
  void end_line(Line& line, bool is_output, bool has_end) DAGVERK_REQUIRES(mutex_);
  [[nodiscard]] bool hear(std::string_view line) DAGVERK_REQUIRES(mutex_);
  [[nodiscard]] bool hear_progress(std::string_view rest) DAGVERK_REQUIRES(mutex_);

  const CommandOutput use_;
  const std::size_t kept_limit_;
  const std::shared_ptr<RunNotes> notes_;  // shared with the node's book of what the store does not have yet
  mutable Mutex mutex_;
  bool closed_ DAGVERK_GUARDED_BY(mutex_) = false;
  Line output_ DAGVERK_GUARDED_BY(mutex_);
  Line error_ DAGVERK_GUARDED_BY(mutex_);
  std::string kept_ DAGVERK_GUARDED_BY(mutex_);  // ordinary output, at most one byte over the limit
  std::optional<std::string> result_ DAGVERK_GUARDED_BY(mutex_);
  std::optional<Duration> snooze_ DAGVERK_GUARDED_BY(mutex_);
};

}  // namespace dagverk::jobs
