#include "stores/sqlite/log_file.hpp"

#include "dagverk/base/concat.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>
#include <utility>

namespace dagverk::stores {

Result<std::shared_ptr<LogFile>> LogFile::open(const std::string& store_path) {
  std::string path = concat(store_path, "-wal");
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    const int error = errno;
    return Error{ErrorCode::io, concat("store ", store_path, ": cannot open its log: ", std::strerror(error))};
  }
  return std::shared_ptr<LogFile>(new LogFile(std::move(path), descriptor));
}

LogFile::~LogFile() { ::close(descriptor_); }

Result<void> LogFile::sync() {
  if (!failed_.load() && ::fdatasync(descriptor_) == 0) return {};
  const int error = failed_.exchange(true) ? EIO : errno;
  return Error{ErrorCode::outcome_unknown,
               concat(path_, ": the disk failed during a commit (", std::strerror(error), ")")};
}

}  // namespace dagverk::stores
