// Three handlers of one kind of event: a healthy one, a slow one, and one that crashes. Nobody notices but themselves.

#include "dagverk/event/staged_event_manager.hpp"
#include "dagverk/runtime/runtime.hpp"

#include <cstdio>
#include <stdexcept>

using namespace std::chrono_literals;
using dagverk::EventHandler;

struct Healthy : EventHandler<int> {
  void handle_event(const int& event) { sum += event; }
  long sum = 0;
};
struct Slow : EventHandler<int> {
  dagverk::Async<void> handle_event(const int&) { co_await dagverk::this_process::sleep(1ms); }
};
struct Crashing : EventHandler<int> {
  void handle_event(const int& event) {
    if (event % 100 == 0) throw std::runtime_error("a hundred is too much");
  }
};

int main() {
  dagverk::Runtime runtime({.logger = &dagverk::null_logger()});
  dagverk::StagedEventManager<int> events(runtime);
  const dagverk::HandlerOptions small{.overflow = dagverk::KeepNewest{50}};
  if (!events.add_handler_blocking(dagverk::event_handler<Healthy>("healthy"))) return 1;
  if (!events.add_handler_blocking(dagverk::event_handler<Slow>("slow", small))) return 1;
  if (!events.add_handler_blocking(dagverk::event_handler<Crashing>("crashing"))) return 1;
  for (int event = 1; event <= 1000; ++event) events.notify(event);
  const dagverk::EventStats last = events.stop_blocking(2s).value();
  for (const dagverk::HandlerStats& handler : last.handlers) {
    std::printf("%-9s published %4lu = delivered %4lu + dropped %3lu + buffered %lu, restarts %lu\n",
                handler.name.c_str(), handler.published, handler.delivered, handler.dropped.total(), handler.buffered,
                handler.restarts);
  }
}
