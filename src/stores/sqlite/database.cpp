#include "stores/sqlite/database.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace dagverk::stores {

namespace {

ErrorCode code_of_errno(int error) noexcept {
  switch (error) {
    case EACCES:
    case EPERM:
    case EROFS: return ErrorCode::permission;
    case ENOSPC:
    case EDQUOT: return ErrorCode::store_full;
    case ENOENT:
    case ENOTDIR: return ErrorCode::not_found;
    default: return ErrorCode::io;
  }
}

}  // namespace

Error SqlFailure::error(std::string_view path) const {
  switch (primary()) {
    case SQLITE_FULL:
      return {ErrorCode::store_full, concat("store ", path, ": no room left; free disk space or remove jobs")};
    case SQLITE_NOTADB:
      return {ErrorCode::not_a_store, concat("store ", path, ": this file is not a database; name another file")};
    case SQLITE_CORRUPT: return {ErrorCode::malformed, concat("store ", path, ": the file is damaged (", message, ")")};
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH: return {ErrorCode::permission, concat("store ", path, ": not writable (", message, ")")};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {ErrorCode::unavailable,
              concat("store ", path, ": another process has been writing for too long; try again")};
    case SQLITE_TOOBIG: return {ErrorCode::too_large, concat("store ", path, ": ", message)};
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN: return {ErrorCode::io, concat("store ", path, ": ", message)};
    default: return {ErrorCode::internal, concat("store ", path, ": ", message, " (SQLite code ", code, ")")};
  }
}

Database::Database(std::string path, const Clock& clock, Duration lock_wait)
    : path_(std::move(path)), clock_(clock), lock_wait_(lock_wait) {}

Database::~Database() {
  if (!borrowed_) sqlite3_close_v2(handle_);
}

std::unique_ptr<Database> Database::borrow(sqlite3* handle, const Clock& clock) {
  const char* const name = sqlite3_db_filename(handle, "main");
  std::unique_ptr<Database> database(new Database(name != nullptr ? name : "", clock, Duration{0}));
  database->handle_ = handle;
  database->borrowed_ = true;
  return database;
}

Result<std::unique_ptr<Database>> Database::open(const std::string& path, const Clock& clock, Duration lock_wait) {
  // Making the file ourselves gives it a private mode, which SQLite copies to the files beside it; asking for our
  // rights gives a precise reason, where SQLite would fall back to reading alone. Neither may open the file: closing it
  // again would drop the POSIX locks that other connections of this process hold on it.
  if (::mknod(path.c_str(), S_IFREG | 0600, 0) != 0 && errno != EEXIST) {
    const int error = errno;
    return Error{code_of_errno(error), concat("store ", path, ": cannot create the file: ", std::strerror(error))};
  }
  if (::faccessat(AT_FDCWD, path.c_str(), R_OK | W_OK, AT_EACCESS) != 0) {
    const int error = errno;
    return Error{code_of_errno(error), concat("store ", path, ": cannot read and write: ", std::strerror(error))};
  }
  std::unique_ptr<Database> database(new Database(path, clock, lock_wait));
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(path.c_str(), &database->handle_, flags, nullptr);
  if (code != SQLITE_OK) return SqlFailure{code, sqlite3_errstr(code)}.error(path);
  sqlite3_busy_handler(database->handle_, &Database::on_busy, database.get());
  // A hook of our own also ends SQLite's automatic checkpoints, which would run inside a commit that somebody waits
  // for.
  sqlite3_wal_hook(database->handle_, &Database::on_wal, database.get());
  sqlite3_db_config(database->handle_, SQLITE_DBCONFIG_LOOKASIDE, nullptr, 1200, 256);
  return database;
}

int Database::on_busy(void* self, int attempt) noexcept {
  auto& database = *static_cast<Database*>(self);
  const SteadyTime now = database.clock_.steady_now();
  if (attempt == 0) database.busy_since_ = now;
  // A virtual clock stands still while we wait here; the count of attempts bounds the wait then.
  constexpr int attempt_limit = 20'000;
  if (now - database.busy_since_ >= database.lock_wait_ || attempt >= attempt_limit) return 0;
  // Group commits hold the lock for well under a millisecond: begin short, so that two busy processes take turns.
  const auto pause = std::chrono::microseconds(std::min(20 << std::min(attempt, 6), 1000));
  sleep_for(pause);
  return 1;
}

int Database::on_wal(void* self, sqlite3* /*handle*/, const char* /*name*/, int pages) noexcept {
  static_cast<Database*>(self)->wal_pages_ = pages;
  return SQLITE_OK;
}

void Database::fail(int code) { throw SqlFailure{code, sqlite3_errmsg(handle_)}; }

void Database::execute(const char* sql) {
  const int code = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) fail(code);
}

std::int64_t Database::number(const char* sql) {
  Statement statement(*this, sql);
  Use use(statement);
  return use.step() ? use.integer_at(0) : 0;
}

std::string Database::text(const char* sql) {
  Statement statement(*this, sql);
  Use use(statement);
  return use.step() ? std::string(use.bytes_at(0)) : std::string();
}

std::string Database::file_path() const {
  const char* const name = sqlite3_db_filename(handle_, "main");
  return name == nullptr || *name == '\0' ? path_ : std::string(name);
}

std::int64_t Database::changes() noexcept { return sqlite3_changes64(handle_); }

bool Database::in_transaction() noexcept { return sqlite3_get_autocommit(handle_) == 0; }

void Database::checkpoint(bool restart) {
  const int mode = restart ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE;
  // A reader that stays for long must not hold up the writer: it is asked again after the next commits.
  const Duration patient = std::exchange(lock_wait_, std::min<Duration>(lock_wait_, std::chrono::milliseconds(20)));
  const int code = sqlite3_wal_checkpoint_v2(handle_, nullptr, mode, nullptr, nullptr);
  lock_wait_ = patient;
  // Busy means that a reader still needs old pages; the next checkpoint gets them.
  if (code != SQLITE_OK && (code & 0xff) != SQLITE_BUSY && (code & 0xff) != SQLITE_LOCKED) fail(code);
}

void Database::empty_wal() {
  const int code = sqlite3_wal_checkpoint_v2(handle_, nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  if (code != SQLITE_OK) fail(code);
  wal_pages_ = 0;
}

void Statement::prepare() {
  const int code = sqlite3_prepare_v3(database_.handle(), sql_, -1, SQLITE_PREPARE_PERSISTENT, &handle_, nullptr);
  if (code != SQLITE_OK) database_.fail(code);
}

Statement::~Statement() { sqlite3_finalize(handle_); }

Use::~Use() { sqlite3_reset(statement_.handle_); }

void Use::check(int code) {
  if (code != SQLITE_OK) statement_.database_.fail(code);
}

Use& Use::integer(std::int64_t value) {
  check(sqlite3_bind_int64(statement_.handle_, ++bound_, value));
  return *this;
}

Use& Use::text(std::string_view value) {
  // An empty view may carry a null pointer, which SQLite would bind as NULL.
  const char* data = value.data() != nullptr ? value.data() : "";
  check(sqlite3_bind_text64(statement_.handle_, ++bound_, data, value.size(), SQLITE_STATIC, SQLITE_UTF8));
  return *this;
}

Use& Use::blob(std::string_view value) {
  const char* data = value.data() != nullptr ? value.data() : "";
  check(sqlite3_bind_blob64(statement_.handle_, ++bound_, data, value.size(), SQLITE_STATIC));
  return *this;
}

Use& Use::null() {
  check(sqlite3_bind_null(statement_.handle_, ++bound_));
  return *this;
}

bool Use::step() {
  const int code = sqlite3_step(statement_.handle_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) statement_.database_.fail(code);
  return false;
}

void Use::run() {
  const bool row = step();
  DAGVERK_ASSERT(!row);
}

bool Use::is_null(int column) const noexcept { return sqlite3_column_type(statement_.handle_, column) == SQLITE_NULL; }

std::int64_t Use::integer_at(int column) const noexcept { return sqlite3_column_int64(statement_.handle_, column); }

std::string_view Use::bytes_at(int column) const noexcept {
  const void* data = sqlite3_column_blob(statement_.handle_, column);
  const int size = sqlite3_column_bytes(statement_.handle_, column);
  return data == nullptr ? std::string_view()
                         : std::string_view(static_cast<const char*>(data), static_cast<std::size_t>(size));
}

}  // namespace dagverk::stores
