#include "dagverk/stage/detail/spill_file.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <limits>
#include <system_error>
#include <unistd.h>

namespace dagverk::detail {

namespace {

Error failed(std::string_view what) {
  return Error(ErrorCode::io, concat(what, ": ", std::generic_category().message(errno)));
}

std::string temporary_directory() {
  const char* named = std::getenv("TMPDIR");  // NOLINT(concurrency-mt-unsafe): nobody here changes the environment
  return named != nullptr && *named != '\0' ? named : "/tmp";
}

}  // namespace

Result<SpillFile> SpillFile::make(const std::string& directory, std::uint64_t bytes_max) {
  const std::string place = directory.empty() ? temporary_directory() : directory;
  int descriptor = ::open(place.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
  if (descriptor < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {  // a file system without nameless files
    std::string name = place + "/dagverk-spill-XXXXXX";
    descriptor = ::mkostemp(name.data(), O_CLOEXEC);
    if (descriptor >= 0) ::unlink(name.c_str());
  }
  if (descriptor < 0) return failed(concat("spill: making a file in ", place));
  return SpillFile(descriptor, bytes_max);
}

SpillFile::~SpillFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void SpillFile::Block::add(std::string_view entry) {
  DAGVERK_ASSERT(entry.size() <= std::numeric_limits<std::uint32_t>::max());
  const auto size = static_cast<std::uint32_t>(entry.size());
  char prefix[header];
  std::memcpy(prefix, &size, header);
  bytes_.append(prefix, header);
  bytes_.append(entry);
  ++count_;
}

Result<void> SpillFile::append(const Block& block) {
  DAGVERK_ASSERT(tail_ - head_ + block.size_bytes() <= bytes_max_);
  if (Result<void> written = write_at(tail_, block.bytes_.data(), block.size_bytes()); !written) return written;
  tail_ += block.size_bytes();
  count_ += block.count();
  return {};
}

Result<void> SpillFile::take(std::string& entry) {
  const Result<std::uint32_t> size = oldest_size();
  if (!size) return size.error();
  const Result<std::string_view> bytes = bytes_at(head_ + header, *size);
  if (!bytes) return bytes.error();
  entry = *bytes;
  advance(header + *size);
  return {};
}

Result<void> SpillFile::drop_oldest() {
  const Result<std::uint32_t> size = oldest_size();
  if (!size) return size.error();
  advance(header + *size);
  return {};
}

std::uint64_t SpillFile::clear() noexcept {
  head_ = 0;
  tail_ = 0;
  window_.clear();
  return std::exchange(count_, 0);
}

void SpillFile::advance(std::uint64_t bytes) noexcept {
  head_ += bytes;
  if (--count_ == 0) clear();  // from the start again: a short line needs no more than its own length
}

Result<std::string_view> SpillFile::bytes_at(std::uint64_t position, std::size_t size) {
  if (position < window_at_ || position + size > window_at_ + window_.size()) {
    const auto ahead = static_cast<std::size_t>(std::min(window_max, tail_ - position));
    window_.resize(std::max(size, ahead));
    if (Result<void> read = read_at(position, window_.data(), window_.size()); !read) {
      window_.clear();
      return read.error();
    }
    window_at_ = position;
  }
  return std::string_view(window_).substr(static_cast<std::size_t>(position - window_at_), size);
}

Result<std::uint32_t> SpillFile::oldest_size() {
  DAGVERK_ASSERT(count_ != 0);
  const Result<std::string_view> prefix = bytes_at(head_, header);
  if (!prefix) return prefix.error();
  std::uint32_t size = 0;
  std::memcpy(&size, prefix->data(), header);
  if (header + size > tail_ - head_) return Error(ErrorCode::io, "spill: the file was changed by somebody else");
  return size;
}

Result<void> SpillFile::write_at(std::uint64_t position, const char* bytes, std::size_t size) {
  while (size != 0) {
    const std::uint64_t place = position % bytes_max_;
    const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(size, bytes_max_ - place));
    const ssize_t done = ::pwrite(descriptor_, bytes, part, static_cast<off_t>(place));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return failed("spill: writing");
    position += static_cast<std::uint64_t>(done);
    bytes += done;
    size -= static_cast<std::size_t>(done);
  }
  return {};
}

Result<void> SpillFile::read_at(std::uint64_t position, char* bytes, std::size_t size) const {
  while (size != 0) {
    const std::uint64_t place = position % bytes_max_;
    const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(size, bytes_max_ - place));
    const ssize_t done = ::pread(descriptor_, bytes, part, static_cast<off_t>(place));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return failed("spill: reading");
    if (done == 0) return Error(ErrorCode::io, "spill: reading: the file ends too early");
    position += static_cast<std::uint64_t>(done);
    bytes += done;
    size -= static_cast<std::size_t>(done);
  }
  return {};
}

}  // namespace dagverk::detail
