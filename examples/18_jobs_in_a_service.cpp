// A service with a supervision tree of its own: background jobs stand in it beside the service's servers, and may call
// them.

#include "dagverk/jobs/job_client.hpp"
#include "dagverk/jobs/journal.hpp"
#include "dagverk/jobs/node.hpp"
#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/runtime/supervisor.hpp"
#include "dagverk/stores/sqlite/sqlite_store.hpp"

#include <cstdio>
#include <filesystem>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
namespace jobs = dagverk::jobs;

/// One of the service's own servers.
class Prices : public dagverk::GenServer<Prices> {
 public:
  struct PriceOf {
    using Reply = int;
    std::string item;
  };
  int handle_call(const PriceOf& question) { return static_cast<int>(question.item.size()) * 100; }
};

jobs::JobRegistry define_jobs() {
  jobs::JobRegistry registry;
  registry.define("Poll", [](jobs::AsyncJobContext& job, std::string url) -> dagverk::Async<void> {
    for (int tries = 0; tries < 3; ++tries) {
      const bool go_on = co_await job.sleep(1ms);
      if (!go_on) co_return;  // it was asked to stop
    }
    job.set_result(url + " polled");
  });
  registry.define("Quote", [](jobs::AsyncJobContext& job, std::string item) -> dagverk::Async<dagverk::Result<void>> {
    const dagverk::Name<Prices> prices(dagverk::this_process::runtime(), "prices");
    const auto price = co_await prices.call<Prices::PriceOf>(item);
    if (!price) co_return price.error();  // the run has failed, and is tried again
    job.set_result(item + " costs " + std::to_string(*price));
    co_return dagverk::Result<void>();
  });
  return registry;
}

int fail(const dagverk::Error& error) {
  std::fprintf(stderr, "%s\n", std::string(error.message()).c_str());
  return 1;
}

int run(const std::string& file) {
  dagverk::Runtime runtime;
  auto store = dagverk::stores::SqliteStore::open(runtime, {.path = file});
  if (!store) return fail(store.error());
  jobs::NodeOptions options;
  options.pools.push_back({.queues = {{"critical", 3}, {"default", 1}}, .concurrency = 1000});
  options.stop_timeout = 10s;

  auto node = jobs::Node::prepare(runtime, **store, define_jobs(), std::move(options));
  if (!node) return fail(node.error());
  std::vector<dagverk::ChildSpec> children;
  children.push_back((*node)->child_spec("jobs"));
  children.push_back(dagverk::child_spec_with<Prices>({.registered = true}, "prices"));
  auto tree = dagverk::start_supervisor(runtime, {}, std::move(children));
  if (!tree) return fail(tree.error());

  jobs::JobClient client(runtime, **store);
  if (!client.enqueue_class("Poll", "https://example.org") || !client.enqueue_class("Quote", "tea")) return 1;
  jobs::JournalReader journal(**store);
  for (int finished = 0; finished < 2;) {
    const auto page = runtime.run(journal.next());
    if (!page) return fail(page.error());
    for (const jobs::JournalRow& row : page->rows) finished += row.kind == jobs::JournalKind::finished ? 1 : 0;
  }
  if (auto stopped = tree->stop_blocking(dagverk::ExitReason::shutdown, 1min); !stopped) return fail(stopped.error());
  for (const jobs::QueueStats& queue : (*node)->queue_stats()) {
    std::printf("%s: %d finished\n", queue.queue.c_str(), static_cast<int>(queue.finished));
  }
  return 0;
}

int main() {
  const auto folder = std::filesystem::temp_directory_path() / ("dagverk_service_" + std::to_string(::getpid()));
  std::filesystem::create_directory(folder);
  const int code = run((folder / "jobs.db").string());
  std::filesystem::remove_all(folder);
  return code;
}
