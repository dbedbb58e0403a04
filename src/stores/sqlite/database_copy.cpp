#include "stores/sqlite/database_copy.hpp"

#include "dagverk/base/concat.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

namespace dagverk::stores {

namespace {

Error file_error(std::string_view what, const std::string& path) {
  const int error = errno;
  const ErrorCode code = error == ENOSPC || error == EDQUOT  ? ErrorCode::store_full
                         : error == EACCES || error == EPERM ? ErrorCode::permission
                                                             : ErrorCode::io;
  return {code, concat("backup ", path, ": ", what, ": ", std::strerror(error))};
}

/// Forces what is written under `path`, a file or a folder, onto the disk.
Result<void> sync_path(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return file_error("cannot be opened", path);
  const bool synced = ::fsync(descriptor) == 0;
  const int error = errno;
  ::close(descriptor);
  errno = error;
  if (!synced) return file_error("cannot be synced", path);
  return {};
}

}  // namespace

Result<void> copy_database(Database& source, const std::string& file) {
  struct stat status{};
  if (::lstat(file.c_str(), &status) == 0) {
    return Error{ErrorCode::already_exists, concat("backup ", file, ": exists; name another file")};
  }
  // Under another name until it is whole: a backup that broke off must not look like one.
  const std::string unfinished = concat(file, ".unfinished");
  const int made = ::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (made < 0) return file_error("cannot be made", unfinished);
  ::close(made);
  const auto give_up = [&](Error error) {
    ::unlink(unfinished.c_str());
    return error;
  };
  try {
    Statement copy(source, "VACUUM INTO ?1");
    Use(copy).text(unfinished).run();
  } catch (const SqlFailure& failure) {
    return give_up(failure.error(unfinished).with("backup"));
  }
  if (auto synced = sync_path(unfinished); !synced) return give_up(synced.error());
  // A link, for it never takes the place of a file that came meanwhile.
  if (::link(unfinished.c_str(), file.c_str()) != 0) {
    if (errno == EEXIST) {
      return give_up({ErrorCode::already_exists, concat("backup ", file, ": exists; name another file")});
    }
    return give_up(file_error("cannot be made", file));
  }
  ::unlink(unfinished.c_str());
  const std::string folder = std::filesystem::path(file).parent_path().string();
  return sync_path(folder.empty() ? "." : folder);
}

}  // namespace dagverk::stores
