// A program that logs through spdlog keeps its calls: three lines send them to supervised backends that cannot hurt it.

#include "dagverk/log/backends/console.hpp"
#include "dagverk/log/backends/file.hpp"
#include "dagverk/log/log.hpp"
#include "dagverk/log/spdlog_sink.hpp"
#include "dagverk/runtime/runtime.hpp"

#include <spdlog/spdlog.h>

#include <cstdio>

int main() {
  dagverk::Runtime runtime;
  auto pipeline = dagverk::LogPipeline::start(runtime).value();
  pipeline->add_backend(dagverk::console_backend("console", {.to_stdout = true})).value();
  spdlog::set_default_logger(dagverk::spdlog_logger(*pipeline, "app"));

  spdlog::info("hello {} of {}", 1, 2);

  // A full disk: the lines are counted, nobody waits, and the console does not notice.
  pipeline->add_backend(dagverk::json_file_backend("audit", {.path = "/dev/full"})).value();

  // The front of our own keeps the fields' types and formats nothing on the caller.
  const dagverk::Log log(*pipeline, "mail");
  log.warning("delivery.failed", {{"to", "a@example.org"}, {"attempt", 3}});

  if (!pipeline->flush()) return 1;
  for (const dagverk::BackendStats& backend : pipeline->stats().backends) {
    std::printf("%-8s written %lu, lost %lu %s\n", backend.name.c_str(), backend.written, backend.dropped.total(),
                backend.last_error.c_str());
  }
  spdlog::shutdown();  // before the pipeline goes
}
