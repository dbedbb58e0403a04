// A worker of your own: C++ functions as jobs, in a program with the command line of `dagverk work`.
#include "dagverk/worker/worker_main.hpp"

#include <fstream>
#include <stdexcept>
#include <string>

namespace jobs = dagverk::jobs;

int main(int argc, char** argv) {
  return dagverk::worker::worker_main(argc, argv, [](jobs::JobRegistry& registry) {
    registry.define("CountLines", [](jobs::JobContext& job, const std::string& path) {
      std::ifstream file(path);
      if (!file) throw std::runtime_error("cannot open " + path);  // the job has failed, and is tried again later
      int count = 0;
      for (std::string line; std::getline(file, line);) ++count;
      job.set_result(std::to_string(count));
    });
  });
}
