// Does the SQLite store get slower as jobs pile up? Takes, counts and pages of a listing with a thousand, a hundred
// thousand and ten million jobs waiting; and how long takes wait while a million due jobs are promoted.

#include "bench_report.hpp"
#include "store_size.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stores/sqlite/sqlite_store.hpp"

#include <sqlite3.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

namespace dagverk::bench {
namespace {

using namespace std::chrono_literals;

/// A store file in the working directory that is filled by SQL, which is what makes ten million jobs affordable.
class FilledStore {
 public:
  FilledStore(RuntimeBase& runtime, std::uint64_t count, bool due) {
    options_.path = concat("dagverk_bench_size_", ::getpid(), ".db");
    options_.journal = false;
    options_.lease = 1h;
    remove_files();
    open(runtime);
    store_.reset();
    fill(count, due);
    open(runtime);
  }
  FilledStore(const FilledStore&) = delete;
  FilledStore& operator=(const FilledStore&) = delete;
  ~FilledStore() {
    store_.reset();
    remove_files();
  }
  jobs::JobStore& operator*() noexcept { return *store_; }

 private:
  void open(RuntimeBase& runtime) {
    auto opened = stores::SqliteStore::open(runtime, options_);
    DAGVERK_ASSERT(opened.has_value());
    store_ = std::move(*opened);
  }

  void fill(std::uint64_t count, bool due) const {
    const int state = due ? 1 : 0;
    const std::string sql = concat(
        "PRAGMA synchronous = OFF; PRAGMA cache_size = -200000; BEGIN IMMEDIATE;"
        "INSERT INTO dagverk_queue(id, name, ",
        due ? "scheduled" : "ready", ", enqueued) VALUES(1, 'default', ", count, ", ", count,
        ");"
        "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i <= ",
        count,
        ") INSERT INTO dagverk_job(id, state, queue, rank, flags, due_us, enqueued_us, jid, class, payload) SELECT i, ",
        state, ", 1, 1, 0, ", due ? "1000000 + i" : "NULL",
        ", 1000000 + i, printf('%012x%012x', i, i * 7919 % 1000003), 'Noop', randomblob(200) FROM n;"
        "UPDATE dagverk_meta SET next_id = ",
        count + 10, ", queues = 1; COMMIT; PRAGMA wal_checkpoint(TRUNCATE);");
    sqlite3* handle = nullptr;
    DAGVERK_ASSERT(sqlite3_open(options_.path.c_str(), &handle) == SQLITE_OK);
    const int code = sqlite3_exec(handle, sql.c_str(), nullptr, nullptr, nullptr);
    DAGVERK_ASSERT(code == SQLITE_OK);
    sqlite3_close(handle);
  }

  void remove_files() const {
    std::error_code ignored;
    for (const char* suffix : {"", "-wal", "-shm", ".nodes"})
      std::filesystem::remove_all(options_.path + suffix, ignored);
  }

  stores::SqliteOptions options_;
  std::unique_ptr<stores::SqliteStore> store_;
};

void at_size(std::string_view size, std::uint64_t count) {
  Runtime runtime({.logger = &null_logger()});
  FilledStore store(runtime, count, false);
  // Cursors are `state:queue:rank:id`.
  measure_at_size("sqlite", size, count, runtime, *store, [](std::uint64_t jobs) { return concat("0:1:1:", jobs); });
}

void promotion(std::uint64_t total) {
  Runtime runtime({.logger = &null_logger()});
  FilledStore store(runtime, total, true);
  measure_promotion("sqlite", total, runtime, *store);
}

}  // namespace

void store_size_benchmarks(BenchReport& report) {
  if (report.wants("store.sqlite.at_size.1e3")) at_size("1e3", 1'000);
  if (report.wants("store.sqlite.at_size.1e5")) at_size("1e5", 100'000);
  // Needs five gigabytes and a minute to fill: only for who asks for it by name.
  if (report.asked_for("store.sqlite.at_size.1e7")) at_size("1e7", 10'000'000);
  if (report.asked_for("store.sqlite.promote_million")) promotion(1'000'000);
}

}  // namespace dagverk::bench
