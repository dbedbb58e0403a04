// How long after another OS process' enqueue has returned does a lonely job start here: enqueued through a store, and
// in a transaction of an application's own, of which nobody is told?

#include "job_load.hpp"

#include "dagverk/stores/sqlite/sqlite_transactional_client.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace dagverk::bench {
namespace {

std::int64_t steady_ns() { return system_clock().steady_now().time_since_epoch().count(); }

void write_all(int pipe, std::int64_t value) {
  DAGVERK_ASSERT(::write(pipe, &value, sizeof(value)) == static_cast<ssize_t>(sizeof(value)));
}
bool read_all(int pipe, std::int64_t& value) {
  return ::read(pipe, &value, sizeof(value)) == static_cast<ssize_t>(sizeof(value));
}

/// Enqueues a job for each word from `orders`, and answers with the time at which that had returned.
void serve_store(const std::string& path, int orders, int answers) {
  Runtime runtime({.logger = &null_logger()});
  auto store = stores::SqliteStore::open(runtime, {.path = path});
  DAGVERK_ASSERT(store.has_value());
  jobs::JobClient client(runtime, **store);
  for (std::int64_t order = 0; read_all(orders, order);) {
    DAGVERK_ASSERT(client.enqueue_class("Noop").has_value());
    write_all(answers, steady_ns());
  }
}

void serve_transactions(const std::string& path, int orders, int answers) {
  sqlite3* handle = nullptr;
  DAGVERK_ASSERT(sqlite3_open(path.c_str(), &handle) == SQLITE_OK);
  sqlite3_busy_timeout(handle, 10'000);
  {
    auto client = stores::SqliteTransactionalClient::attach(handle);
    DAGVERK_ASSERT(client.has_value());
    for (std::int64_t order = 0; read_all(orders, order);) {
      DAGVERK_ASSERT(sqlite3_exec(handle, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK);
      DAGVERK_ASSERT((*client)->enqueue_class("Noop").has_value());
      DAGVERK_ASSERT(sqlite3_exec(handle, "COMMIT", nullptr, nullptr, nullptr) == SQLITE_OK);
      write_all(answers, steady_ns());
    }
  }
  sqlite3_close(handle);
}

/// Another OS process that enqueues on demand. Made before any thread of ours.
class OtherProcess {
 public:
  explicit OtherProcess(bool transactions) : path_(concat("dagverk_bench_start_", ::getpid(), ".db")) {
    int to[2];
    int from[2];
    DAGVERK_ASSERT(::pipe(to) == 0 && ::pipe(from) == 0);
    child_ = ::fork();
    DAGVERK_ASSERT(child_ >= 0);
    if (child_ == 0) {
      ::close(to[1]);
      std::int64_t first = 0;
      if (read_all(to[0], first)) (transactions ? serve_transactions : serve_store)(path_, to[0], from[1]);
      ::_exit(0);
    }
    ::close(to[0]);
    orders_ = to[1];
    answers_ = from[0];
  }
  OtherProcess(const OtherProcess&) = delete;
  OtherProcess& operator=(const OtherProcess&) = delete;
  ~OtherProcess() {
    ::close(orders_);
    ::waitpid(child_, nullptr, 0);
    std::error_code ignored;
    for (const char* suffix : {"", "-wal", "-shm", ".nodes"}) std::filesystem::remove_all(path_ + suffix, ignored);
  }

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// From now on the file is there.
  void begin() const { write_all(orders_, 0); }
  void order() const { write_all(orders_, 1); }
  [[nodiscard]] std::int64_t returned_at() const {
    std::int64_t at = 0;
    DAGVERK_ASSERT(read_all(answers_, at));
    return at;
  }

 private:
  std::string path_;
  pid_t child_ = -1;
  int orders_ = -1;
  int answers_ = -1;
};

void measure(BenchReport& report, const std::string& name, bool transactions) {
  if (!report.wants(name)) return;
  constexpr int count = 400;
  const OtherProcess other(transactions);
  std::vector<double> waits;
  {
    Runtime runtime({.logger = &null_logger()});
    auto store = stores::SqliteStore::open(runtime, {.path = other.path()});
    DAGVERK_ASSERT(store.has_value());
    other.begin();
    std::atomic<std::int64_t> started{0};
    jobs::JobRegistry registry;
    registry.define("Noop", [&] {
      started = steady_ns();
      started.notify_one();
    });
    const std::unique_ptr<jobs::Node> node = start_node(runtime, **store, std::move(registry));
    for (int index = 0; index < count; ++index) {
      started = 0;
      other.order();
      started.wait(0);
      waits.push_back(static_cast<double>(std::max<std::int64_t>(started.load() - other.returned_at(), 0)) / 1e3);
    }
    node->stop(std::chrono::seconds(10));
  }
  std::ranges::sort(waits);
  report.print(name + ".p50", waits[count / 2], "us");
  report.print(name + ".p99", waits[count * 99 / 100], "us");
}

}  // namespace

void start_latency_benchmarks(BenchReport& report) {
  measure(report, "jobs.sqlite.start_from_process", false);
  measure(report, "jobs.sqlite.start_from_transaction", true);
}

}  // namespace dagverk::bench
