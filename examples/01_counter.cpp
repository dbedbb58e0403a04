// A counter that crashes on bad input, and a supervisor that starts it afresh. Its name outlives its crashes.

#include "dagverk/runtime/runtime.hpp"
#include "dagverk/runtime/supervisor.hpp"

#include <iostream>
#include <stdexcept>

using namespace dagverk;

class Counter : public GenServer<Counter> {
 public:
  struct Add {
    int by;
  };
  struct Total {
    using Reply = int;
  };
  void handle_cast(Add add) {
    if (add.by < 0) throw std::invalid_argument("the counter only counts up");
    total_ += add.by;
  }
  [[nodiscard]] int handle_call(Total /*ask*/) const { return total_; }

 private:
  int total_ = 0;
};

int main() {
  Runtime runtime;
  start_supervisor(runtime, {}, {child_spec_with<Counter>({.registered = true}, "counter")}).value();
  const Name<Counter> counter(runtime, "counter");
  counter.cast(Counter::Add{2});
  std::cout << "before: " << counter.call_blocking<Counter::Total>().value() << '\n';
  counter.cast(Counter::Add{-1});  // it crashes, and is started again
  Result<int> total = counter.call_blocking<Counter::Total>();
  while (!total) total = counter.call_blocking<Counter::Total>();  // who asked the crashed one is told so
  std::cout << "after: " << *total << '\n';
}
