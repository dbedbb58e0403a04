// The same on Redis: a server of our own on the loopback interface, without persistence, filled through the store.

#include "bench_report.hpp"
#include "store_size.hpp"
#include "support/redis_server.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stores/redis/redis_store.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace dagverk::bench {
namespace {

using namespace std::chrono_literals;

class FilledStore {
 public:
  FilledStore(RuntimeBase& runtime, std::uint64_t count, std::optional<WallTime> due) {
    stores::RedisStoreOptions options;
    options.journal = false;
    options.lease = 1h;
    store_ = stores::open_redis_store(runtime, server_.url(), std::move(options)).value();
    for (std::uint64_t done = 0; done < count;) {
      std::vector<jobs::EnqueueRequest> batch;
      for (; batch.size() < jobs::batch_count_limit && done < count; ++done) {
        batch.push_back(sized_job(concat("e", done)));
        batch.back().due = due;
      }
      DAGVERK_ASSERT(runtime.run(store_->enqueue(std::move(batch))).has_value());
    }
  }

  jobs::JobStore& operator*() noexcept { return *store_; }

 private:
  RedisServer server_;
  std::unique_ptr<jobs::JobStore> store_;
};

void at_size(std::string_view size, std::uint64_t count) {
  Runtime runtime({.logger = &null_logger()});
  FilledStore store(runtime, count, std::nullopt);
  // Cursors are `state:offset:score:anchors:queue`.
  measure_at_size("redis", size, count, runtime, *store,
                  [](std::uint64_t jobs) { return concat("0:", jobs, ":::default"); });
}

void promotion(std::uint64_t total) {
  Runtime runtime({.logger = &null_logger()});
  FilledStore store(runtime, total, system_clock().wall_now() - 1s);
  measure_promotion("redis", total, runtime, *store);
}

}  // namespace

void store_size_redis_benchmarks(BenchReport& report) {
  if (!RedisServer::available()) return;
  if (report.wants("store.redis.at_size.1e3")) at_size("1e3", 1'000);
  if (report.wants("store.redis.at_size.1e5")) at_size("1e5", 100'000);
  // Needs some gigabytes and a minute to fill: only for who asks for it by name.
  if (report.asked_for("store.redis.at_size.1e7")) at_size("1e7", 10'000'000);
  if (report.asked_for("store.redis.promote_million")) promotion(1'000'000);
}

}  // namespace dagverk::bench
