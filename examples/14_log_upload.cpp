// Log lines go to Grafana Loki in batches. While it is away, lines are kept, then shed and counted; the program goes on.
//
//     14_log_upload [URL]      http://127.0.0.1:3100/loki/api/v1/push unless another one is given

#include "dagverk/log/log.hpp"
#include "dagverk/log_upload/http_transport.hpp"
#include "dagverk/runtime/runtime.hpp"

#include <cstdio>

int main(int argc, char** argv) {
  const char* const url = argc > 1 ? argv[1] : "http://127.0.0.1:3100/loki/api/v1/push";
  dagverk::Runtime runtime;
  auto pipeline = dagverk::LogPipeline::start(runtime).value();

  auto queue = dagverk::make_upload_queue({.batch_lines_max = 500}).value();
  auto loki = dagverk::loki_backend("loki", {.url = url, .labels = {{"app", "shop"}}}, queue);
  if (!loki) {
    std::printf("%s\n", std::string(loki.error().message()).c_str());  // what is wrong with the URL, and what to type
    return 2;
  }
  pipeline->add_backend(std::move(*loki)).value();

  const dagverk::Log log(*pipeline, "mail");
  log.warning("delivery.failed", {{"to", "a@example.org"}, {"attempt", 3}});

  if (!pipeline->stop()) return 1;  // the uploader has `drain_limit` for what still waits
  const dagverk::UploadStats stats = queue->stats();
  std::printf("sent %lu, shed %lu, refused %lu %s\n", stats.sent, stats.shed, stats.refused, stats.last_error.c_str());
}
