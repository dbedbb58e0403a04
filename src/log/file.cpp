#include "dagverk/log/backends/file.hpp"

#include "log/descriptor_text.hpp"

#include "dagverk/base/concat.hpp"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace dagverk {

namespace {

constexpr Duration patience = std::chrono::seconds(5);  // with a pipe that nobody reads
constexpr unsigned files_kept_max = 1000;

/// Whether a file of that size ends inside of a line: its writer was killed, or its disk was full.
[[nodiscard]] bool ends_inside_a_line(const std::string& path, std::uint64_t size) noexcept {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (file < 0) return false;
  char last = '\n';
  const bool known = ::pread(file, &last, 1, static_cast<off_t>(size - 1)) == 1;
  ::close(file);
  return known && last != '\n';
}

}  // namespace

FileBackend::~FileBackend() { close_file(); }

Result<void> FileBackend::open() {
  if (options_.path.empty()) return Error(ErrorCode::configuration, "a log file needs a path");
  if (options_.files_kept > files_kept_max) {
    return Error(ErrorCode::configuration, concat("log file ", options_.path, ": files_kept must be 0..",
                                                  files_kept_max, ", got ", options_.files_kept));
  }
  if (options_.rotate_every < Duration::zero()) {
    return Error(ErrorCode::configuration, concat("log file ", options_.path, ": rotate_every must be 0 or more"));
  }
  return open_file();
}

Result<void> FileBackend::open_file() {
  // Not blocking: opening a pipe that nobody reads must fail, not hang. Of no account for files.
  descriptor_ = ::open(options_.path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                       static_cast<mode_t>(options_.mode));
  if (descriptor_ < 0) return detail::system_error("open the log file", options_.path, errno);
  struct stat found{};
  size_ = ::fstat(descriptor_, &found) == 0 && S_ISREG(found.st_mode) ? static_cast<std::uint64_t>(found.st_size) : 0;
  broken_line_ = size_ != 0 && ends_inside_a_line(options_.path, size_);
  period_ = 0;
  if (size_ != 0 && options_.rotate_every > Duration::zero()) {
    const Duration changed =
        std::chrono::seconds(found.st_mtim.tv_sec) + std::chrono::nanoseconds(found.st_mtim.tv_nsec);
    period_ = changed / options_.rotate_every;
  }
  return {};
}

void FileBackend::close_file() noexcept {
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
}

Result<void> FileBackend::reopen() {
  close_file();
  return open_file();
}

bool FileBackend::must_rotate(const LogLine& line, std::size_t line_size) {
  if (options_.rotate_every > Duration::zero()) {
    const std::int64_t period = line.time.time_since_epoch() / options_.rotate_every;
    const bool over = size_ != 0 && period > period_;
    if (period > period_) period_ = period;
    if (over) return true;
  }
  return options_.size_max != 0 && size_ != 0 && size_ + line_size > options_.size_max;
}

Result<void> FileBackend::rotate() {
  const auto old_name = [&](unsigned number) { return concat(options_.path, ".", number); };
  for (unsigned number = options_.files_kept; number > 1; --number) {
    if (std::rename(old_name(number - 1).c_str(), old_name(number).c_str()) != 0 && errno != ENOENT) {
      return detail::system_error("rename the log file", old_name(number - 1), errno);
    }
  }
  if (options_.files_kept == 0) {
    if (::ftruncate(descriptor_, 0) != 0) return detail::system_error("empty the log file", options_.path, errno);
    size_ = 0;
    return {};
  }
  if (std::rename(options_.path.c_str(), old_name(1).c_str()) != 0 && errno != ENOENT) {
    return detail::system_error("rename the log file", options_.path, errno);
  }
  const int before = std::exchange(descriptor_, -1);
  const std::int64_t period = period_;
  Result<void> opened = open_file();
  if (!opened) {
    descriptor_ = before;  // the old file under its new name is better than none
    return opened;
  }
  ::close(before);
  period_ = period;
  return {};
}

void FileBackend::write_text(WriteOutcome& outcome) {
  if (text_.empty()) return;
  detail::TextWritten done;
  if (broken_line_) {
    const detail::TextWritten newline = detail::write_text_to(descriptor_, "\n", patience);
    broken_line_ = newline.bytes == 0;
    size_ += newline.bytes;
    done.error = newline.error;
  }
  if (!broken_line_) done = detail::write_text_to(descriptor_, text_, patience);
  const std::size_t lines = detail::lines_within(line_ends_, done.bytes);
  outcome.written += lines;
  size_ += done.bytes;
  if (done.error != 0) {
    const std::size_t whole = lines == 0 ? 0 : line_ends_[lines - 1];
    broken_line_ = broken_line_ || done.bytes > whole;
    outcome.error = detail::system_error("write to the log file", options_.path, done.error);
  }
  text_.clear();
  line_ends_.clear();
}

WriteOutcome FileBackend::write(const LogBatch& batch) {
  WriteOutcome outcome;
  text_.clear();
  line_ends_.clear();
  std::uint64_t file_size = size_;
  for (std::size_t index = 0; index < batch.size(); ++index) {
    const LogLine line = batch[index];
    const std::size_t before = text_.size();
    batch.format(line, text_);
    text_.push_back('\n');
    const std::size_t line_size = text_.size() - before;
    std::swap(size_, file_size);  // as if what is gathered had been written
    const bool full = must_rotate(line, line_size);
    std::swap(size_, file_size);
    if (full) {
      const std::string last = text_.substr(before);
      text_.resize(before);
      write_text(outcome);
      if (Result<void> rotated = rotate(); !rotated) outcome.error = rotated.error();
      text_ = last;
      file_size = size_;
    }
    file_size += line_size;
    line_ends_.push_back(text_.size());
  }
  write_text(outcome);
  return outcome;
}

BackendSpec file_backend(std::string name, const FileOptions& options) {
  return log_backend<FileBackend>(std::move(name), options);
}

BackendSpec json_file_backend(std::string name, const FileOptions& options) {
  BackendSpec spec = file_backend(std::move(name), options);
  spec.format = LineFormat::json();
  return spec;
}

}  // namespace dagverk
