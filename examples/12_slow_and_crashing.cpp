// One of three listeners is slow and one crashes. The third hears every event, and the slow one the newest.

#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stage/consumer.hpp"
#include "dagverk/stage/push_producer.hpp"

#include <stdexcept>

using namespace std::chrono_literals;
using Hub = dagverk::PushProducer<int>;

struct Healthy : dagverk::Consumer<Healthy, int> {
  struct Heard {
    using Reply = std::size_t;
  };
  void handle_events(const dagverk::Batch<int>& events) { heard_ += events.size(); }
  std::size_t handle_call(Heard) { return heard_; }
  std::size_t heard_ = 0;
};
struct Crashing : dagverk::Consumer<Crashing, int> {
  void handle_events(const dagverk::Batch<int>&) { throw std::runtime_error("I do not like it"); }
};
struct Slow : dagverk::Consumer<Slow, int> {
  dagverk::Async<void> handle_events(dagverk::Batch<int>) { co_await dagverk::this_process::sleep(1h); }
};

int main() {
  dagverk::Runtime runtime({.logger = &dagverk::null_logger()});
  const auto hub = runtime.start<Hub>(dagverk::broadcast_dispatcher<int>()).value();
  const auto healthy = runtime.start<Healthy>().value();
  if (!subscribe_blocking(healthy, hub)) return 1;
  if (!subscribe_blocking(runtime.start<Crashing>().value(), hub)) return 1;
  if (!subscribe_blocking(runtime.start<Slow>().value(), hub, {.overflow = dagverk::KeepNewest{100}})) return 1;
  for (int event = 1; event < 5'000; ++event) async_notify(hub, event);
  if (!sync_notify_blocking(hub, 5'000)) return 1;  // it has left, behind all others
  return healthy.call_blocking<Healthy::Heard>().value_or(0) == 5'000 ? 0 : 1;
}
