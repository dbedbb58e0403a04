// A user's worker binary, as small as it gets: what the kill test runs, kills and runs again.

#include "dagverk/base/clock.hpp"
#include "dagverk/worker/worker_main.hpp"

#include <chrono>

int main(int argc, char** argv) {
  return dagverk::worker::worker_main(argc, argv, [](dagverk::jobs::JobRegistry& registry) {
    // Long enough that a kill finds some in hand, short enough that 2,000 of them are soon done.
    registry.define("Step", [](int /*number*/) { dagverk::sleep_for(std::chrono::milliseconds(8)); });
  });
}
