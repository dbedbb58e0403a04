#include "jobs/run_notes.hpp"

#include "jobs/cut_text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_context.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace dagverk::jobs {

void NoteBook::add(std::shared_ptr<RunNotes> notes) {
  std::shared_ptr<RunNotes> left_out;  // outlives the lock
  const MutexLock lock(mutex_);
  changed_.push_back(std::move(notes));
  if (changed_.size() <= limit) return;
  left_out = std::move(changed_.front());
  changed_.pop_front();
}

std::vector<std::shared_ptr<RunNotes>> NoteBook::take(std::size_t count) {
  std::vector<std::shared_ptr<RunNotes>> some;
  const MutexLock lock(mutex_);
  while (!changed_.empty() && some.size() < count) {
    some.push_back(std::move(changed_.front()));
    changed_.pop_front();
  }
  return some;
}

void RunNotes::progress(double fraction, std::optional<std::string_view> status) {
  {
    const MutexLock lock(mutex_);
    record_.progress = std::isnan(fraction) ? 0 : std::clamp(fraction, 0.0, 1.0);
    if (status) record_.status = cut_text(*status, status_size_limit);
  }
  changed();
}

void RunNotes::status(std::string_view text) {
  {
    const MutexLock lock(mutex_);
    record_.status = cut_text(text, status_size_limit);
  }
  changed();
}

void RunNotes::log(std::string_view line) {
  const bool cut = line.size() > log_line_size_limit;
  {
    const MutexLock lock(mutex_);
    record_.lines.push_back(
        {clock_.wall_now(), cut ? concat(line.substr(0, log_line_size_limit), cut_mark) : std::string(line)});
    if (record_.lines.size() > log_lines_limit) {
      record_.lines.erase(record_.lines.begin());
      ++record_.lines_dropped;
    }
  }
  changed();
}

void RunNotes::changed() {
  {
    const MutexLock lock(mutex_);
    record_.updated_at = clock_.wall_now();
    if (std::exchange(changed_, true)) return;
  }
  book_.add(shared_from_this());
}

RecordUpdate RunNotes::take() {
  JobRecord record;
  {
    const MutexLock lock(mutex_);
    changed_ = false;
    record_.attempt = job_->job->attempt();
    record = record_;
  }
  return {.jid = job_->taken.jid, .execution = job_->taken.token.execution, .record = to_json(record)};
}

void RunNotes::put_back() {
  {
    const MutexLock lock(mutex_);
    if (std::exchange(changed_, true)) return;
  }
  book_.add(shared_from_this());
}

void JobContext::progress(double fraction) {
  if (notes_) notes_->progress(fraction, std::nullopt);
}
void JobContext::progress(double fraction, std::string_view status) {
  if (notes_) notes_->progress(fraction, status);
}
void JobContext::log(std::string_view line) {
  if (notes_) notes_->log(line);
}
void JobContext::set_result(std::string text) {
  result_ = text.size() > result_text_size_limit ? cut_text(text, result_text_size_limit) : std::move(text);
}

}  // namespace dagverk::jobs
