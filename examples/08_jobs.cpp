// A service with background jobs inside: three kinds of job on an embedded store, and a look at what happened.

#include "dagverk/jobs/job_client.hpp"
#include "dagverk/jobs/journal.hpp"
#include "dagverk/jobs/node.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stores/sqlite/sqlite_store.hpp"

#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <unistd.h>

using namespace std::chrono_literals;
namespace jobs = dagverk::jobs;

jobs::JobRegistry define_jobs() {
  jobs::JobRegistry registry;
  registry.define("Greet", [](const std::string& name, int times) {
    for (int count = 0; count < times; ++count) std::printf("hello, %s\n", name.c_str());
  });
  registry.define("Flaky",
                  [](jobs::JobContext& job) {
                    if (job.attempt() < 3) throw std::runtime_error("not yet");
                    job.set_result("at last");
                  },
                  {.retry = {.max_retries = 5, .delays = {10ms, 20ms}}});
  registry.define_command("Checksum", {.run = {"sha256sum", "--", "{0}"}}, {.timeout = 30s});
  return registry;
}

int run(const std::string& file) {
  dagverk::Runtime runtime;
  auto store = dagverk::stores::SqliteStore::open(runtime, {.path = file});
  if (!store) return std::fprintf(stderr, "%s\n", std::string(store.error().message()).c_str()), 1;

  jobs::NodeOptions options;
  options.pools.push_back({.queues = {"default"}, .concurrency = 4});
  auto node = jobs::Node::start(runtime, **store, define_jobs(), std::move(options));
  if (!node) return std::fprintf(stderr, "%s\n", std::string(node.error().message()).c_str()), 1;

  jobs::JobClient client(runtime, **store);
  const bool enqueued = client.enqueue_class("Greet", "world", 1) && client.enqueue_class("Flaky") &&
                        client.enqueue_class("Checksum", "/etc/hostname");
  if (!enqueued) return 1;

  // The journal tells it all, here and in any other process that opens the file.
  jobs::JournalReader journal(**store);
  for (int finished = 0; finished < 3;) {
    const auto page = runtime.run(journal.next());
    if (!page) return 1;
    for (const jobs::JournalRow& row : page->rows) {
      finished += row.kind == jobs::JournalKind::finished ? 1 : 0;
      std::printf("%s %s\n", row.class_name.c_str(), std::string(jobs::to_string(row.kind)).c_str());
    }
  }
  return (*node)->stop(10s).retired ? 0 : 1;
}

int main() {
  const auto folder = std::filesystem::temp_directory_path() / ("dagverk_example_" + std::to_string(::getpid()));
  std::filesystem::create_directory(folder);
  const int code = run((folder / "jobs.db").string());
  std::filesystem::remove_all(folder);
  return code;
}
