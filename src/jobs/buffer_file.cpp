#include "jobs/buffer_file.hpp"

#include "jobs/buffered_job.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_export.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <filesystem>
#include <string_view>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace dagverk::jobs {
namespace {

constexpr std::string_view head = "{\"dagverk_buffer\":1}\n";
constexpr std::string_view gone_begin = "{\"gone\":";
constexpr std::uint64_t slack = std::uint64_t{4} << 20U;

Error failed(std::string_view what, const std::string& path) {
  return {ErrorCode::io,
          concat("buffer of enqueues: cannot ", what, " ", path, ": ", std::generic_category().message(errno))};
}

/// Closes what was opened when something after it fails.
class Descriptor {
 public:
  explicit Descriptor(int descriptor) noexcept : descriptor_(descriptor) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  [[nodiscard]] int get() const noexcept { return descriptor_; }
  [[nodiscard]] int release() noexcept { return std::exchange(descriptor_, -1); }

 private:
  int descriptor_;
};

Result<void> write_all(int descriptor, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t done = ::write(descriptor, bytes.data(), bytes.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return failed("write", path);
    bytes.remove_prefix(static_cast<std::size_t>(done));
  }
  return {};
}

Result<void> sync(int descriptor, const std::string& path) {
  if (::fdatasync(descriptor) == 0) return {};
  return failed("sync", path);
}

/// A new name is on the disk when its folder is.
Result<void> sync_folder_of(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const std::string name = folder.empty() ? "." : folder.string();
  const Descriptor opened(::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.get() < 0 || ::fsync(opened.get()) != 0) return failed("sync the folder of", path);
  return {};
}

/// Opens, and locks against other buffers. The name may have gone to another file between the two steps.
Result<int> open_locked(const std::string& path) {
  for (;;) {
    Descriptor opened(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (opened.get() < 0) return failed("open", path);
    if (::flock(opened.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return failed("lock", path);
      return Error{ErrorCode::already_exists, concat("buffer of enqueues: another program has ", path,
                                                     " open; give each program a file of its own")};
    }
    struct stat ours{};
    struct stat named{};
    if (::fstat(opened.get(), &ours) != 0) return failed("look at", path);
    if (!S_ISREG(ours.st_mode)) {
      return Error{ErrorCode::io, concat("buffer of enqueues: ", path, " is no regular file")};
    }
    if (::stat(path.c_str(), &named) == 0 && ours.st_ino == named.st_ino && ours.st_dev == named.st_dev) {
      return opened.release();
    }
  }
}

Result<std::string> read_all(int descriptor, const std::string& path) {
  std::string bytes;
  constexpr std::size_t step = std::size_t{1} << 20U;
  for (std::size_t size = 0;;) {
    bytes.resize(size + step);
    const ssize_t got = ::pread(descriptor, bytes.data() + size, step, static_cast<off_t>(size));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed("read", path);
    size += static_cast<std::size_t>(got);
    bytes.resize(size);
    if (got == 0) return bytes;
  }
}

/// How many have gone, when the line says so.
std::optional<std::size_t> gone_of(std::string_view line) {
  if (!line.starts_with(gone_begin) || !line.ends_with('}')) return std::nullopt;
  line.remove_prefix(gone_begin.size());
  line.remove_suffix(1);
  std::size_t count = 0;
  const auto [rest, error] = std::from_chars(line.data(), line.data() + line.size(), count);
  if (error != std::errc{} || rest != line.data() + line.size()) return std::nullopt;
  return count;
}

/// The jobs that the whole lines of a file leave.
Result<std::deque<EnqueueRequest>> jobs_of(std::string_view bytes, const std::string& path) {
  const auto wrong = [&](std::size_t line, std::string_view why) {
    return Error{ErrorCode::malformed, concat("buffer of enqueues: ", path, " line ", line, ": ", why,
                                              "; move the file away to begin anew, its other lines are jobs")};
  };
  std::deque<EnqueueRequest> waiting;
  std::size_t number = 0;
  while (!bytes.empty()) {
    const std::string_view line = bytes.substr(0, bytes.find('\n'));
    bytes.remove_prefix(line.size() + 1);
    ++number;
    if (number == 1) {
      if (line != head.substr(0, head.size() - 1)) return wrong(1, "no buffer wrote this");
      continue;
    }
    if (const std::optional<std::size_t> gone = gone_of(line)) {
      if (*gone > waiting.size()) return wrong(number, "more jobs have gone than there were");
      waiting.erase(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(*gone));
      continue;
    }
    Result<EnqueueRequest> job = read_buffered_job(line);
    if (!job) return wrong(number, job.error().message());
    waiting.push_back(std::move(*job));
  }
  return waiting;
}

}  // namespace

BufferFile::BufferFile(std::string path, int descriptor, std::uint64_t size) noexcept
    : path_(std::move(path)), descriptor_(descriptor), size_(size) {}

BufferFile::BufferFile(BufferFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}

BufferFile& BufferFile::operator=(BufferFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

BufferFile::~BufferFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<BufferFile::Opened> BufferFile::open(const std::string& path) {
  const Result<int> locked = open_locked(path);
  if (!locked) return locked.error();
  Opened opened{.file = BufferFile(path, *locked, 0), .waiting = {}};
  const Result<std::string> bytes = read_all(*locked, path);
  if (!bytes) return bytes.error();
  const std::size_t whole = bytes->rfind('\n') + 1;  // 0 when there is none
  if (whole == 0 && !head.starts_with(*bytes)) {
    return Error{ErrorCode::malformed, concat("buffer of enqueues: ", path, " is none: give another file")};
  }
  Result<std::deque<EnqueueRequest>> waiting = jobs_of(std::string_view(*bytes).substr(0, whole), path);
  if (!waiting) return waiting.error();
  opened.waiting = std::move(*waiting);
  opened.file.size_ = whole;
  if (whole < bytes->size() && ::ftruncate(*locked, static_cast<off_t>(whole)) != 0) return failed("shorten", path);
  if (whole == 0) {
    if (auto begun = opened.file.write(head); !begun) return begun.error();
    if (auto synced = sync_folder_of(path); !synced) return synced.error();
  }
  return opened;
}

Result<void> BufferFile::write(std::string_view bytes) {
  Result<void> written = write_all(descriptor_, bytes, path_);
  if (written) written = sync(descriptor_, path_);
  if (written) {
    size_ += bytes.size();
    return {};
  }
  if (::ftruncate(descriptor_, static_cast<off_t>(size_)) != 0) {
    return written.error().with("and half of a line is left");
  }
  return written;
}

Result<void> BufferFile::append(const std::vector<EnqueueRequest>& jobs) {
  std::string lines;
  for (const EnqueueRequest& job : jobs) {
    lines += buffered_line(job);
    lines += '\n';
  }
  return write(lines);
}

Result<void> BufferFile::remove(std::size_t count, const std::deque<EnqueueRequest>& left) {
  if (left.empty()) {
    if (::ftruncate(descriptor_, static_cast<off_t>(head.size())) != 0) return failed("shorten", path_);
    size_ = head.size();
    return {};
  }
  std::uint64_t left_bytes = 0;
  for (const EnqueueRequest& job : left) left_bytes += buffered_size(job);
  if (size_ > 2 * left_bytes + slack) return rewrite(left, left_bytes);
  const std::string line = concat(gone_begin, count, "}\n");
  if (auto written = write_all(descriptor_, line, path_); !written) {
    if (::ftruncate(descriptor_, static_cast<off_t>(size_)) != 0) {
      return written.error().with("and half of a line is left");
    }
    return written;
  }
  size_ += line.size();
  return {};
}

Result<void> BufferFile::rewrite(const std::deque<EnqueueRequest>& left, std::uint64_t left_bytes) {
  const std::string name = path_ + ".new";
  Descriptor made(::open(name.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  if (made.get() < 0) return failed("make", name);
  if (::flock(made.get(), LOCK_EX | LOCK_NB) != 0) return failed("lock", name);
  std::string bytes(head);
  bytes.reserve(left_bytes);
  for (const EnqueueRequest& job : left) {
    bytes += buffered_line(job);
    bytes += '\n';
  }
  if (auto written = write_all(made.get(), bytes, name); !written) return written;
  if (auto synced = sync(made.get(), name); !synced) return synced;
  if (::rename(name.c_str(), path_.c_str()) != 0) return failed("rename", name);
  ::close(std::exchange(descriptor_, made.release()));
  size_ = bytes.size();
  return sync_folder_of(path_);
}

Result<void> BufferFile::put_aside(const EnqueueRequest& job) {
  const std::string name = path_ + ".refused";
  const Descriptor opened(::open(name.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (opened.get() < 0) return failed("open", name);
  if (auto written = write_all(opened.get(), buffered_line(job) + "\n", name); !written) return written;
  return sync(opened.get(), name);
}

}  // namespace dagverk::jobs
