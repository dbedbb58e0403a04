#include "jobs/command_output.hpp"

#include "jobs/cut_text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_record.hpp"
#include "dagverk/jobs/retry_policy.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>
#include <utility>

namespace dagverk::jobs {

namespace {

constexpr std::string_view prefix = "@dagverk ";

std::string_view without_spaces(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// The first word, and the rest without the spaces around it.
std::pair<std::string_view, std::string_view> split_word(std::string_view text) {
  text = without_spaces(text);
  const std::size_t end = std::min(text.find_first_of(" \t"), text.size());
  return {text.substr(0, end), without_spaces(text.substr(end))};
}

/// A plain decimal number, at least 0, and what stands behind it.
std::optional<std::pair<double, std::string_view>> split_number(std::string_view text) {
  double number = 0;
  if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;  // no sign, no "inf"
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (fault != std::errc() || !std::isfinite(number)) return std::nullopt;
  return std::pair{number, text.substr(static_cast<std::size_t>(end - text.data()))};
}

/// `90`, `90s`, `1.5m`, `2h`, `1d`; at most as long as any job may wait.
std::optional<Duration> parse_delay(std::string_view text) {
  const auto parts = split_number(text);
  if (!parts) return std::nullopt;
  const auto [number, unit] = *parts;
  double unit_s = 1;
  if (unit == "m") {
    unit_s = 60;
  } else if (unit == "h") {
    unit_s = 3600;
  } else if (unit == "d") {
    unit_s = 86400;
  } else if (!unit.empty() && unit != "s") {
    return std::nullopt;
  }
  const std::chrono::duration<double> delay(number * unit_s);
  if (delay > retry_delay_max) return std::nullopt;
  return std::chrono::duration_cast<Duration>(delay);
}

}  // namespace

OutputReader::OutputReader(const CommandSpec& command, std::shared_ptr<RunNotes> notes)
    : use_(command.output),
      kept_limit_(std::min(command.output_kept_bytes, result_text_size_limit)),
      notes_(std::move(notes)) {}

void OutputReader::take_output(std::string_view piece) {
  const MutexLock lock(mutex_);
  take(piece, output_, true);
}

void OutputReader::take_error(std::string_view piece) {
  const MutexLock lock(mutex_);
  take(piece, error_, false);
}

void OutputReader::finish() {
  const MutexLock lock(mutex_);
  if (closed_) return;
  if (!output_.text.empty()) end_line(output_, true, false);
  if (!error_.text.empty()) end_line(error_, false, false);
}

void OutputReader::close() {
  const MutexLock lock(mutex_);
  closed_ = true;
}

std::string OutputReader::result() const {
  const MutexLock lock(mutex_);
  return result_ ? cut_text(*result_, result_text_size_limit) : cut_text(kept_, kept_limit_);
}

std::optional<Duration> OutputReader::snooze_delay() const {
  const MutexLock lock(mutex_);
  return snooze_;
}

void OutputReader::take(std::string_view piece, Line& line, bool is_output) {
  while (!closed_ && !piece.empty()) {
    const std::size_t end = piece.find('\n');
    const std::string_view part = piece.substr(0, end);
    const std::size_t room = line_size_limit - line.text.size();
    line.text.append(part.substr(0, room));
    line.cut = line.cut || part.size() > room;
    if (end == std::string_view::npos) return;
    end_line(line, is_output, true);
    piece.remove_prefix(end + 1);
  }
}

void OutputReader::end_line(Line& line, bool is_output, bool has_end) {
  const Line ended = std::exchange(line, {});
  std::string_view text = ended.text;
  const bool heard = is_output && use_ != CommandOutput::plain && hear(text);
  if (heard) return;
  if (use_ == CommandOutput::log) {
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (!text.empty()) notes_->log(text);
    return;
  }
  // One byte too many says that there was more.
  const auto keep = [this](std::string_view more)
                        DAGVERK_REQUIRES(mutex_) { kept_.append(more.substr(0, kept_limit_ + 1 - kept_.size())); };
  keep(text);
  if (has_end) keep("\n");
}

bool OutputReader::hear(std::string_view line) {
  if (!line.starts_with(prefix)) return false;
  if (line.ends_with('\r')) line.remove_suffix(1);
  const auto [word, rest] = split_word(line.substr(prefix.size()));
  if (word == "progress") return hear_progress(rest);
  if (word == "status") {
    notes_->status(rest);
  } else if (word == "log") {
    notes_->log(rest);
  } else if (word == "result") {
    result_ = std::string(rest);
  } else if (word == "snooze") {
    const std::optional<Duration> delay = parse_delay(rest);
    if (!delay) return false;
    snooze_ = delay;
  } else {
    return false;
  }
  return true;
}

bool OutputReader::hear_progress(std::string_view rest) {
  const auto [amount, status] = split_word(rest);
  const auto parts = split_number(amount);
  if (!parts) return false;
  const bool percent = parts->second == "%";
  const double fraction = percent ? parts->first / 100 : parts->first;
  if ((!percent && !parts->second.empty()) || fraction > 1) return false;
  notes_->progress(fraction, status.empty() ? std::nullopt : std::optional(status));
  return true;
}

}  // namespace dagverk::jobs
