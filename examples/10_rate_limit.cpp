// Twenty-five requests to a service that allows a hundred per second: five at once, then one every ten milliseconds.

#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stage/range_producer.hpp"
#include "dagverk/stage/rate_limiter.hpp"
#include "dagverk/stage/stream.hpp"

#include <cstdio>
#include <ranges>

using namespace std::chrono_literals;

int main() {
  dagverk::Runtime runtime;
  const dagverk::SteadyTime begin = runtime.clock().steady_now();

  const auto requests = dagverk::range_producer(runtime, std::views::iota(1, 26)).value();
  const dagverk::RateLimit limit{.events = 100, .per = 1s, .burst = 5};
  const auto limiter = runtime.start<dagverk::RateLimiter<int>>(limit).value();
  if (!subscribe_blocking(limiter, requests)) return 1;

  auto allowed = dagverk::stream(limiter).value();
  int next = 1;
  for (const int request : allowed.blocking()) {
    if (request != next++) return 1;  // in order
  }
  if (!allowed.result()) return 1;  // it ended because the requests did

  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(runtime.clock().steady_now() - begin);
  std::printf("%d requests in %lld ms\n", next - 1, static_cast<long long>(took.count()));
  return next == 26 && took >= 200ms ? 0 : 1;
}
