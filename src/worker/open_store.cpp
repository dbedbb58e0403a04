#include "dagverk/worker/open_store.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/stores/redis/redis_store.hpp"
#include "dagverk/stores/sqlite/sqlite_store.hpp"

#include <cerrno>
#include <cstring>
#include <string>
#include <sys/stat.h>
#include <utility>

namespace dagverk::worker {
namespace {

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

bool exists(const std::string& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

Result<void> make_folders(const std::string& folder) {
  for (std::size_t slash = folder.find('/', 1);; slash = folder.find('/', slash + 1)) {
    const std::string part = folder.substr(0, slash);
    if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
      const int error = errno;
      if (!exists(part)) {
        return Error(error == ENOSPC ? ErrorCode::store_full : ErrorCode::permission,
                     concat("store folder ", part, ": cannot be made: ", std::strerror(error),
                            "; name another place: --store sqlite:FILE"));
      }
    }
    if (slash == std::string::npos) return {};
  }
}

Result<std::unique_ptr<jobs::JobStore>> open_redis(RuntimeBase& runtime, const Configuration& configuration) {
  const auto set = [&](std::string_view key) { return configuration.origins.contains(key); };
  stores::RedisStoreOptions options;
  // A server's memory is dearer than a disk: its journal is kept when somebody asks for it.
  options.journal = configuration.journal && set("journal.enabled");
  if (set("journal.rows")) options.journal_rows_limit = configuration.journal_rows;
  options.journal_age_limit = configuration.journal_age;
  options.dead_count_limit = configuration.dead_jobs;
  options.dead_age_limit = configuration.dead_age;
  if (configuration.metrics == "7") options.metrics = stores::MetricsFormat::sidekiq_7;
  if (configuration.metrics == "8") options.metrics = stores::MetricsFormat::sidekiq_8;
  auto store = stores::open_redis_store(runtime, configuration.redis_url, std::move(options));
  if (!store) return store.error();
  return std::unique_ptr<jobs::JobStore>(std::move(*store));
}

}  // namespace

Result<std::unique_ptr<jobs::JobStore>> open_store(RuntimeBase& runtime, const Configuration& configuration,
                                                   MissingStore missing) {
  if (!configuration.redis_url.empty()) return open_redis(runtime, configuration);
  const std::string& path = configuration.store_path;
  const std::string folder = folder_of(path);
  if (configuration.store_is_default) {
    if (auto made = make_folders(folder); !made) return made.error();
  } else if (!exists(folder)) {
    return Error(ErrorCode::configuration, concat("store ", path,
                                                  ": its folder does not exist; make it, or name "
                                                  "another file"));
  } else if (missing == MissingStore::refuse && !exists(path)) {
    return Error(ErrorCode::not_found, concat("store ", path, ": does not exist; enqueueing or working makes it"));
  }
  stores::SqliteOptions options;
  options.path = path;
  options.journal = configuration.journal;
  options.journal_rows_limit = configuration.journal_rows;
  options.journal_age_limit = configuration.journal_age;
  options.dead_count_limit = configuration.dead_jobs;
  options.dead_age_limit = configuration.dead_age;
  auto store = stores::SqliteStore::open(runtime, std::move(options));
  if (!store) {
    // The folder is there: what is missing is the right or the means to make the file.
    const Error& error = store.error();
    return error.code() == ErrorCode::not_found ? Error(ErrorCode::io, std::string(error.message())) : error;
  }
  return std::unique_ptr<jobs::JobStore>(std::move(*store));
}

}  // namespace dagverk::worker
