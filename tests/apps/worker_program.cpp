// A user's own worker, for the tests: the shape that README and worker_main.hpp show.
#include "dagverk/worker/worker_main.hpp"

#include <cstdlib>
#include <stdexcept>
#include <string>

int main(int argc, char** argv) {
  return dagverk::worker::worker_main(argc, argv, [](dagverk::jobs::JobRegistry& jobs) {
    jobs.define("Join", [](dagverk::jobs::JobContext& job, const std::string& text, int number) {
      job.set_result(text + " and " + std::to_string(number));
    });
    jobs.define("Report", [](dagverk::jobs::JobContext& job) {
      job.log("half of it");
      job.progress(0.5, "half");
    });
    jobs.define("Crash", [] { std::abort(); });
    jobs.define("Fail", [] { throw std::runtime_error("on purpose"); }, {.retry = {.max_retries = 0}});
  });
}
