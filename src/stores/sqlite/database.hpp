#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/error.hpp"
#include "dagverk/base/result.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace dagverk::stores {

/// What SQLite said when a call failed. Thrown inside this room only; the engine turns it into an `Error`.
struct SqlFailure {
  int code = 0;  // extended result code
  std::string message;

  /// The code without its extension: SQLITE_FULL, SQLITE_IOERR, …
  [[nodiscard]] int primary() const noexcept { return code & 0xff; }
  /// For callers of the store: a code they can act on and what to do.
  [[nodiscard]] Error error(std::string_view path) const;
};

/// One connection to a database file.
///
/// Semantics: waits for the locks of other connections up to `lock_wait`, polling with short sleeps; then SQLITE_BUSY.
/// Threads:   one at a time.
/// Errors:    `open` returns them; everything else throws `SqlFailure`.
class Database {
 public:
  /// Opens `path`, creating it (mode 0600) when it is missing.
  [[nodiscard]] static Result<std::unique_ptr<Database>> open(const std::string& path, const Clock& clock,
                                                              Duration lock_wait);
  /// Somebody else's connection: it is not closed here, and keeps its own way of waiting for locks.
  [[nodiscard]] static std::unique_ptr<Database> borrow(sqlite3* handle, const Clock& clock);
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database();

  void execute(const char* sql);
  /// The first column of the first row as a number; 0 when there is none.
  [[nodiscard]] std::int64_t number(const char* sql);
  [[nodiscard]] std::string text(const char* sql);
  [[nodiscard]] std::int64_t changes() noexcept;
  [[nodiscard]] bool in_transaction() noexcept;
  /// Pages in the WAL after the latest commit of this connection.
  [[nodiscard]] int wal_pages() const noexcept { return wal_pages_; }
  /// Copies the WAL into the database file; `restart` also waits for readers, so that the next commit begins a fresh
  /// WAL.
  void checkpoint(bool restart);
  /// Empties the WAL and syncs both files, or throws.
  void empty_wal();

  [[nodiscard]] sqlite3* handle() noexcept { return handle_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// The absolute path without symbolic links, which is the same for all who have the file open.
  [[nodiscard]] std::string file_path() const;
  [[noreturn]] void fail(int code);

 private:
  Database(std::string path, const Clock& clock, Duration lock_wait);

  static int on_busy(void* self, int attempt) noexcept;
  static int on_wal(void* self, sqlite3* handle, const char* name, int pages) noexcept;

  std::string path_;
  const Clock& clock_;
  Duration lock_wait_;
  SteadyTime busy_since_{};
  sqlite3* handle_ = nullptr;
  bool borrowed_ = false;
  int wal_pages_ = 0;
};

/// A statement, prepared when it is first used. Use it through `Use`.
///
/// Lifetime: `sql` outlives it.
class Statement {
 public:
  Statement(Database& database, const char* sql) noexcept : database_(database), sql_(sql) {}
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  ~Statement();

 private:
  friend class Use;

  void prepare();

  Database& database_;
  const char* sql_;
  sqlite3_stmt* handle_ = nullptr;
};

/// One execution of a statement: bind from left to right, step, read columns. Its end resets the statement.
///
/// Lifetime: bound texts are not copied; they must live until the end. Columns are valid until the next step.
class Use {
 public:
  explicit Use(Statement& statement) : statement_(statement) {
    if (statement_.handle_ == nullptr) statement_.prepare();
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  ~Use();

  Use& integer(std::int64_t value);
  Use& number(std::uint64_t value) { return integer(static_cast<std::int64_t>(value)); }
  Use& text(std::string_view value);
  Use& blob(std::string_view value);
  Use& null();

  /// True when a row is there.
  bool step();
  /// Steps once; for statements that give no rows.
  void run();

  [[nodiscard]] bool is_null(int column) const noexcept;
  [[nodiscard]] std::int64_t integer_at(int column) const noexcept;
  [[nodiscard]] std::uint64_t number_at(int column) const noexcept {
    return static_cast<std::uint64_t>(integer_at(column));
  }
  [[nodiscard]] std::string_view bytes_at(int column) const noexcept;

 private:
  void check(int code);

  Statement& statement_;
  int bound_ = 0;
};

}  // namespace dagverk::stores
