// How many no-op jobs a second does one OS process drain from a filled queue on Redis, how fast do jobs get in, how
// soon does one start, and what does that cost the server? Everything at least once, journal off, a server of our own
// on the loopback interface without persistence. What a bare loop of the same server does stands beside it.

#include "bench_report.hpp"
#include "support/redis_server.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_client.hpp"
#include "dagverk/jobs/limits.hpp"
#include "dagverk/jobs/middleware.hpp"
#include "dagverk/jobs/node.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/runtime/task.hpp"
#include "dagverk/stores/redis/redis_store.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <future>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dagverk::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t batch = 100;  // jobs of one take, of one acknowledgement and of one enqueue
constexpr std::size_t pool = 100;
constexpr std::size_t threads_default = 10;

jobs::NewJob noop_job() {
  jobs::NewJob job;
  job.job_class = "Noop";
  job.args_json = R"([1,"string",{"mike":"bob"}])";
  return job;
}

/// What a job carries beside its work.
enum class Dress : std::uint8_t { plain, dressed };

/// A server, a store on it, and a connection beside it for looking.
class RedisBench {
 public:
  explicit RedisBench(unsigned workers = 2, bool journal = false)
      : runtime_({.workers = workers, .logger = &null_logger()}), io_(net::RedisIo::start().value()) {
    net::RedisOptions options;
    options.url = net::parse_redis_url(server_.url()).value();
    client_ = net::RedisClient::start(*io_, std::move(options)).value();
    stores::RedisStoreOptions store_options;
    store_options.journal = journal;
    store_ = stores::open_redis_store(runtime_, server_.url(), std::move(store_options)).value();
  }

  net::RedisReply ask(const net::RedisCommand& command) { return send_and_wait(command); }
  net::RedisReply ask(const net::RedisScriptCall& call) { return send_and_wait(call); }

  /// Seconds of CPU that the server has used so far.
  double server_cpu() {
    const net::RedisReply reply = ask(net::RedisCommand("INFO", "cpu"));
    const std::string text(reply.text());
    double sum = 0;
    for (const std::string_view field : {"\nused_cpu_sys:", "\nused_cpu_user:"}) {
      const std::size_t at = text.find(field);
      DAGVERK_ASSERT(at != std::string::npos);
      sum += std::strtod(text.c_str() + at + field.size(), nullptr);
    }
    return sum;
  }

  /// Puts `count` jobs into the queue `default`. Dressed: each has a unique key of its own, and one of ten limit keys,
  /// whose rate is never used up.
  void fill(std::size_t count, Dress dress = Dress::plain) {
    if (dress == Dress::dressed) {
      jobs::Limit limit{.scope = jobs::LimitScope::key, .name = "bench"};
      limit.rate = jobs::Rate{.count = 1'000'000, .per = 100s};
      DAGVERK_ASSERT(runtime_.run(store_->put_limit(limit)).has_value());
    }
    jobs::JobClient client(runtime_, *store_);
    for (std::size_t done = 0; done < count; done += jobs::batch_count_limit) {
      std::vector<jobs::NewJob> jobs(std::min(jobs::batch_count_limit, count - done), noop_job());
      for (std::size_t index = 0; dress == Dress::dressed && index < jobs.size(); ++index) {
        jobs[index].unique = jobs::UniqueLock{.key = concat("bench ", done + index)};
        jobs[index].limit_key = concat("bench:", index % 10);
      }
      DAGVERK_ASSERT(client.enqueue_bulk_blocking(std::move(jobs)).has_value());
    }
  }

  void check_finished(std::size_t count) {
    const auto totals = runtime_.run(store_->totals());
    DAGVERK_ASSERT(totals.has_value() && totals->counts.finished == count && totals->counts.balanced());
  }

  Runtime& runtime() noexcept { return runtime_; }
  jobs::JobStore& store() noexcept { return *store_; }
  [[nodiscard]] std::string url() const { return server_.url(); }

 private:
  template <class Request>
  net::RedisReply send_and_wait(const Request& request) {
    std::promise<Result<net::RedisReply>> said;
    client_->send(request, [&said](Result<net::RedisReply> reply) { said.set_value(std::move(reply)); });
    return said.get_future().get().value();
  }

  RedisServer server_;
  Runtime runtime_;
  std::unique_ptr<net::RedisIo> io_;
  std::unique_ptr<net::RedisClient> client_;
  std::unique_ptr<stores::RedisStore> store_;
};

/// Does nothing before and after each run.
jobs::RunMiddleware idle_middleware(std::string name) {
  return jobs::around_runs(
      std::move(name), [](jobs::JobContext&) { return std::optional<jobs::RunOutcome>(); },
      [](jobs::JobContext&, jobs::RunOutcome&) {});
}

std::unique_ptr<jobs::Node> start_redis_node(RuntimeBase& runtime, jobs::JobStore& store, jobs::JobRegistry registry,
                                             std::size_t concurrency, Dress dress = Dress::plain) {
  jobs::NodeOptions options;
  if (dress == Dress::dressed) options.middleware = {idle_middleware("outer"), idle_middleware("inner")};
  options.pools.push_back({.queues = {"default"}, .concurrency = concurrency});
  auto node = jobs::Node::start(runtime, store, std::move(registry), std::move(options));
  DAGVERK_ASSERT(node.has_value());
  return std::move(*node);
}

enum class Kind : std::uint8_t { async, thread };

struct Drained {
  double jobs_per_second = 0;
  double server_us_per_job = 0;
};

/// A node drains a filled queue, from its start until the last end is stored.
Drained drain_by_node(std::size_t concurrency, std::size_t count, Kind kind, bool journal = false,
                      Dress dress = Dress::plain) {
  RedisBench bench(2, journal);
  bench.fill(count, dress);
  std::atomic<std::size_t> runs{0};
  std::latch all_ran(1);
  jobs::JobRegistry registry;
  if (kind == Kind::async) {
    registry.define("Noop", [&](int, const std::string&, const jobs::RawJson&) -> Async<void> {
      if (++runs == count) all_ran.count_down();
      co_return;
    });
  } else {
    registry.define("Noop", [&](int, const std::string&, const jobs::RawJson&) {
      if (++runs == count) all_ran.count_down();
    });
  }
  const double cpu = bench.server_cpu();
  std::unique_ptr<jobs::Node> node;
  const double taken = seconds([&] {
    node = start_redis_node(bench.runtime(), bench.store(), std::move(registry), concurrency, dress);
    all_ran.wait();
    node->stop(10s);
  });
  const double used = bench.server_cpu() - cpu;
  node.reset();
  bench.check_finished(count);
  return {static_cast<double>(count) / taken, used * 1e6 / static_cast<double>(count)};
}

Async<Result<std::uint64_t>> take_and_settle(jobs::JobStore& store, jobs::NodeEpoch node, std::size_t count) {
  std::uint64_t done = 0;
  while (done < count) {
    jobs::TakeRequest request{node, {"default"}, batch};
    const auto taken = co_await store.take(std::move(request));
    if (!taken) co_return taken.error();
    std::vector<jobs::Settlement> settlements;
    for (const jobs::TakenJob& job : *taken) settlements.push_back(jobs::Settlement::finish(job.token));
    const auto settled = co_await store.settle(std::move(settlements));
    if (!settled) co_return settled.error();
    done += taken->size();
  }
  co_return done;
}

/// The store alone: one loop that takes a batch and acknowledges it.
Drained drain_by_store(std::size_t count) {
  RedisBench bench;
  bench.fill(count);
  const auto node = bench.runtime().run(bench.store().register_node({"bench", {}}));
  DAGVERK_ASSERT(node.has_value());
  const double cpu = bench.server_cpu();
  const double taken = seconds([&] {
    const auto done = bench.runtime().run(take_and_settle(bench.store(), *node, count));
    DAGVERK_ASSERT(done.has_value() && *done == count);
  });
  const double used = bench.server_cpu() - cpu;
  bench.check_finished(count);
  return {static_cast<double>(count) / taken, used * 1e6 / static_cast<double>(count)};
}

/// What the server does for a client that acknowledges by bytes and takes 50, in one script, and nothing else.
Drained drain_raw(std::size_t count) {
  constexpr std::size_t at_once = 50;
  RedisBench bench;
  bench.fill(count);
  const net::RedisScript script(
      "for i=2,#ARGV do redis.call('LREM',KEYS[2],-1,ARGV[i]) end local o={} for i=1,tonumber(ARGV[1]) do local "
      "j=redis.call('LMOVE',KEYS[1],KEYS[2],'RIGHT','LEFT') if not j then break end o[i]=j end return o");
  const double cpu = bench.server_cpu();
  std::size_t done = 0;
  const double taken = seconds([&] {
    net::RedisReply last;
    do {
      net::RedisScriptCall call(script);
      call.key("queue:default").key("inprogress").arg(at_once);
      for (const net::RedisReply& job : last.items()) call.arg(job.text());
      done += last.items().size();
      last = bench.ask(call);
    } while (!last.items().empty());
  });
  DAGVERK_ASSERT(done == count);
  return {static_cast<double>(count) / taken, (bench.server_cpu() - cpu) * 1e6 / static_cast<double>(count)};
}

Async<Result<std::uint64_t>> enqueue_in_bulk(jobs::JobClient& client, std::size_t count) {
  std::uint64_t done = 0;
  while (done < count) {
    std::vector<jobs::NewJob> jobs(jobs::batch_count_limit, noop_job());
    const auto enqueued = co_await client.enqueue_bulk(std::move(jobs));
    if (!enqueued) co_return enqueued.error();
    done += enqueued->size();
  }
  co_return done;
}

/// Two producers, each with one bulk of 1,000 under way.
double enqueue_bulk() {
  constexpr std::size_t each = 200'000;
  RedisBench bench;
  jobs::JobClient client(bench.runtime(), bench.store());
  std::latch ended(2);
  const double taken = seconds([&] {
    for (int producer = 0; producer < 2; ++producer) {
      bench.runtime().spawn([&]() -> Async<void> {
        const auto done = co_await enqueue_in_bulk(client, each);
        DAGVERK_ASSERT(done.has_value());
        ended.count_down();
      });
    }
    ended.wait();
  });
  DAGVERK_ASSERT(bench.ask(net::RedisCommand("LLEN", "queue:default")).integer_or(0) == 2 * each);
  return 2.0 * static_cast<double>(each) / taken;
}

Async<Result<std::uint64_t>> enqueue_one_by_one(jobs::JobClient& client, std::size_t count) {
  constexpr std::size_t window = 1'000;
  std::uint64_t done = 0;
  std::vector<Task<std::string>> under_way;
  while (done < count) {
    for (std::size_t index = 0; index < window; ++index) {
      under_way.push_back(task::async([&client] { return client.enqueue(noop_job()); }));
    }
    for (Task<std::string>& one : under_way) {
      const Result<std::string> jid = co_await one.await();
      if (!jid) co_return jid.error();
      ++done;
    }
    under_way.clear();
  }
  co_return done;
}

/// One thread of a runtime enqueues jobs singly and awaits their jids later, 1,000 at a time.
double enqueue_each() {
  constexpr std::size_t count = 100'000;
  RedisBench bench(1);
  jobs::JobClient client(bench.runtime(), bench.store());
  const double taken = seconds([&] {
    const auto done = bench.runtime().run(enqueue_one_by_one(client, count));
    DAGVERK_ASSERT(done.has_value() && *done == count);
  });
  return static_cast<double>(count) / taken;
}

/// Lonely jobs, 1,000 a second: from asking to enqueue one to its first instruction, in microseconds, ascending.
std::vector<double> start_latencies() {
  constexpr int count = 2'000;
  RedisBench bench;
  std::atomic<std::int64_t> started{0};
  jobs::JobRegistry registry;
  registry.define("Noop", [&] {
    started = system_clock().steady_now().time_since_epoch().count();
    started.notify_one();
  });
  const std::unique_ptr<jobs::Node> node =
      start_redis_node(bench.runtime(), bench.store(), std::move(registry), threads_default);
  jobs::JobClient client(bench.runtime(), bench.store());
  std::vector<double> waits;
  for (int index = 0; index < count; ++index) {
    started = 0;
    const std::int64_t begin = system_clock().steady_now().time_since_epoch().count();
    DAGVERK_ASSERT(client.enqueue_class("Noop").has_value());
    started.wait(0);
    waits.push_back(static_cast<double>(started.load() - begin) / 1e3);
    while (system_clock().steady_now().time_since_epoch().count() - begin < 1'000'000) sleep_for(100us);
  }
  std::ranges::sort(waits);
  return waits;
}

/// The most memory that a worker in an OS process of its own ever had in RAM, in MiB: 10 threads drain a filled queue.
double worker_rss() {
  constexpr std::size_t count = 50'000;
  RedisBench bench;
  bench.fill(count);
  const std::string command = concat("/proc/", ::getpid(), "/exe ", redis_worker_flag, ' ', bench.url(), ' ', count);
  std::FILE* const worker = ::popen(command.c_str(), "r");
  DAGVERK_ASSERT(worker != nullptr);
  char line[64] = {};
  DAGVERK_ASSERT(std::fgets(line, sizeof line, worker) != nullptr);
  DAGVERK_ASSERT(::pclose(worker) == 0);
  bench.check_finished(count);
  return std::strtod(line, nullptr);
}

}  // namespace

int run_redis_worker(std::string_view url, std::size_t count) {
  Runtime runtime({.logger = &null_logger()});
  auto store = stores::open_redis_store(runtime, url);
  DAGVERK_ASSERT(store.has_value());
  std::atomic<std::size_t> runs{0};
  std::latch all_ran(1);
  jobs::JobRegistry registry;
  registry.define("Noop", [&](int, const std::string&, const jobs::RawJson&) {
    if (++runs == count) all_ran.count_down();
  });
  const std::unique_ptr<jobs::Node> node = start_redis_node(runtime, **store, std::move(registry), threads_default);
  all_ran.wait();
  node->stop(10s);
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) std::printf("%.2f\n", std::strtod(line.c_str() + 6, nullptr) / 1024);
  }
  return 0;
}

void jobs_redis_benchmarks(BenchReport& report) {
  constexpr std::size_t count = 200'000;
  if (!RedisServer::available()) {
    std::fprintf(stderr, "# jobs.redis.*: %s\n", RedisServer::missing);
    return;
  }
  report.run("jobs.redis.noop", "jobs/s", [] { return drain_by_node(pool, count, Kind::async).jobs_per_second; });
  report.run("jobs.redis.noop_dressed", "jobs/s",
             [] { return drain_by_node(pool, count, Kind::async, false, Dress::dressed).jobs_per_second; });
  report.run("jobs.redis.noop_journaled", "jobs/s",
             [] { return drain_by_node(pool, count, Kind::async, true).jobs_per_second; });
  report.run("jobs.redis.noop_default", "jobs/s",
             [] { return drain_by_node(threads_default, count, Kind::thread).jobs_per_second; });
  report.run("jobs.redis.cpu_per_job", "us", [] { return drain_by_node(pool, count, Kind::async).server_us_per_job; });
  report.run("jobs.redis.dressed_cpu_per_job", "us",
             [] { return drain_by_node(pool, count, Kind::async, false, Dress::dressed).server_us_per_job; });
  report.run("jobs.redis.store", "jobs/s", [] { return drain_by_store(count).jobs_per_second; });
  report.run("jobs.redis.store_cpu_per_job", "us", [] { return drain_by_store(count).server_us_per_job; });
  report.run("jobs.redis.raw", "jobs/s", [] { return drain_raw(count).jobs_per_second; });
  report.run("jobs.redis.raw_cpu_per_job", "us", [] { return drain_raw(count).server_us_per_job; });
  report.run("jobs.worker.rss", "MiB", [] { return worker_rss(); });
  report.run("jobs.redis.enqueue_bulk", "jobs/s", [] { return enqueue_bulk(); });
  report.run("jobs.redis.enqueue_each", "jobs/s", [] { return enqueue_each(); });
  if (report.wants("jobs.redis.start.p50") || report.wants("jobs.redis.start.p99")) {
    const std::vector<double> waits = start_latencies();
    BenchReport::print("jobs.redis.start.p50", waits[waits.size() / 2], "us");
    BenchReport::print("jobs.redis.start.p99", waits[waits.size() * 99 / 100], "us");
  }
}

}  // namespace dagverk::bench
