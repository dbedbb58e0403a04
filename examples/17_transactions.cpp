// An application whose orders and jobs live in one SQLite file: an order and its receipt are one change, and so are a
// payment and the end of the job that made it.

#include "dagverk/jobs/job_client.hpp"
#include "dagverk/jobs/node.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stores/sqlite/sqlite_store.hpp"
#include "dagverk/stores/sqlite/sqlite_transactional_client.hpp"

#include <sqlite3.h>

#include <cstdio>
#include <filesystem>
#include <latch>
#include <memory>
#include <stdexcept>
#include <string>
#include <unistd.h>

using namespace std::chrono_literals;
namespace jobs = dagverk::jobs;
namespace stores = dagverk::stores;

/// The application's own connection, one for each thread that needs one.
class Orders {
 public:
  explicit Orders(const std::string& file) {
    if (sqlite3_open(file.c_str(), &connection_) != SQLITE_OK) throw std::runtime_error("cannot open " + file);
    sqlite3_busy_timeout(connection_, 10'000);
    auto attached = stores::SqliteTransactionalClient::attach(connection_);
    if (!attached) throw std::runtime_error(std::string(attached.error().message()));
    jobs_ = std::move(*attached);
  }
  Orders(const Orders&) = delete;
  Orders& operator=(const Orders&) = delete;
  ~Orders() {
    jobs_.reset();
    sqlite3_close(connection_);
  }

  void execute(const char* sql) {
    if (sqlite3_exec(connection_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
      throw std::runtime_error(sqlite3_errmsg(connection_));
    }
  }

  bool place(int order) {
    execute("BEGIN IMMEDIATE");
    execute(("INSERT INTO orders(id, paid) VALUES(" + std::to_string(order) + ", 0)").c_str());
    const auto jid = jobs_->enqueue_class("Pay", order);
    execute(jid && order != 13 ? "COMMIT" : "ROLLBACK");  // nobody wants order 13, nor its job
    jobs_->committed();
    return jid.has_value();
  }

  void pay(jobs::JobContext& job, int order) {
    execute("BEGIN IMMEDIATE");
    execute(("UPDATE orders SET paid = paid + 1 WHERE id = " + std::to_string(order)).c_str());
    const auto completed = jobs_->complete(job);
    execute(completed ? "COMMIT" : "ROLLBACK");
    if (!completed) throw std::runtime_error(std::string(completed.error().message()));
  }

 private:
  sqlite3* connection_ = nullptr;
  std::unique_ptr<stores::SqliteTransactionalClient> jobs_;
};

int run(const std::string& file) {
  dagverk::Runtime runtime;
  auto store = stores::SqliteStore::open(runtime, {.path = file});
  if (!store) return std::fprintf(stderr, "%s\n", std::string(store.error().message()).c_str()), 1;
  Orders orders(file);
  orders.execute("CREATE TABLE orders(id INTEGER PRIMARY KEY, paid INTEGER)");

  std::latch paid(2);
  jobs::JobRegistry registry;
  registry.define("Pay", [&](jobs::JobContext& job, int order) {
    Orders(file).pay(job, order);
    paid.count_down();
  });
  jobs::NodeOptions options;
  options.pools.push_back({.queues = {"default"}, .concurrency = 2});
  auto node = jobs::Node::start(runtime, **store, std::move(registry), std::move(options));
  if (!node) return std::fprintf(stderr, "%s\n", std::string(node.error().message()).c_str()), 1;

  for (const int order : {12, 13, 14}) {
    if (!orders.place(order)) return 1;
  }
  paid.wait();
  const jobs::NodeStopReport report = (*node)->stop(10s);
  std::printf("jobs finished: %d, run again: %d\n", static_cast<int>(report.stats.finished),
              static_cast<int>(report.stats.retried));
  return report.retired ? 0 : 1;
}

int main() {
  const auto folder = std::filesystem::temp_directory_path() / ("dagverk_example_17_" + std::to_string(::getpid()));
  std::filesystem::create_directory(folder);
  const int code = run((folder / "orders.db").string());
  std::filesystem::remove_all(folder);
  return code;
}
