// An event handler out of two stages: what is cast to the hub is heard by every listener, each in its own process.

#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stage/consumer.hpp"
#include "dagverk/stage/producer.hpp"

#include <cstdio>
#include <string>

struct Hub : dagverk::Producer<Hub, std::string> {
  Hub() : Producer(dagverk::broadcast_dispatcher<std::string>()) {}
  void handle_cast(std::string event) { emit(std::move(event)); }  // buffered until every listener has asked
};

struct Listener : dagverk::Consumer<Listener, std::string> {
  Listener(std::string name, dagverk::ServerRef<Hub> hub) : name_(std::move(name)), hub_(hub) {}
  void init() { subscribe_to(hub_).value(); }
  void handle_events(const dagverk::Batch<std::string>& events) {
    for (const std::string& event : events) std::printf("%s heard: %s\n", name_.c_str(), event.c_str());
    if (events.back() == "left") stop();
  }

  std::string name_;
  dagverk::ServerRef<Hub> hub_;
};

int main() {
  dagverk::Runtime runtime;
  const auto hub = runtime.start<Hub>().value();
  const auto logs = runtime.start<Listener>("logs", hub).value();
  const auto mail = runtime.start<Listener>("mail", hub).value();
  for (const char* event : {"signed up", "paid", "left"}) hub.cast(std::string(event));
  for (const dagverk::Pid listener : {logs.pid(), mail.pid()}) {
    if (!runtime.run(dagverk::this_process::wait_for_exit(listener, std::chrono::seconds(5)))) return 1;
  }
}
