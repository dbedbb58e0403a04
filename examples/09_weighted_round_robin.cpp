// A dispatcher of one's own in one file: consumers take turns, each as many events in a row as its weight says.

#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stage/consumer.hpp"
#include "dagverk/stage/producer.hpp"

#include <cstdio>

class WeightedRoundRobin final : public dagverk::Dispatcher<int> {
  using Outlet = dagverk::Outlet<int>;  // a subscription; its word is ours: here, what it may still be sent

 public:
  dagverk::Result<void> subscribe(Outlet& outlet) override {
    line_.push_back(&outlet);
    return {};
  }
  void ask(Outlet& outlet, std::uint64_t count) override { outlet.word += count, demand_ += count; }
  void cancel(Outlet& outlet) override {
    demand_ -= outlet.word;
    if (line_.front() == &outlet) turn_ = 0;
    std::erase(line_, &outlet);
  }
  [[nodiscard]] std::uint64_t demand() const noexcept override { return demand_; }
  void dispatch(dagverk::Batch<int>& events) override {
    while (!events.empty() && demand_ != 0) {
      Outlet& head = *line_.front();
      if (turn_ == 0) turn_ = *head.options().partition.number();  // the weight: a number of the consumer's choice
      const auto count = std::min<std::uint64_t>({turn_, head.word, events.size()});
      turn_ -= count, head.word -= count, demand_ -= count;
      head.deliver(events.split_front(count));
      if (turn_ != 0 && head.word != 0) continue;
      turn_ = 0;
      std::rotate(line_.begin(), line_.begin() + 1, line_.end());
    }
  }

 private:
  std::vector<Outlet*> line_;  // whose turn it is, first
  std::uint64_t turn_ = 0;     // what is left of it
  std::uint64_t demand_ = 0;   // of all together
};

struct Numbers : dagverk::Producer<Numbers, int> {
  Numbers() : Producer(std::make_unique<WeightedRoundRobin>()) {}
  void handle_cast(dagverk::Batch<int> numbers) { emit(std::move(numbers)); }
};

struct Worker : dagverk::Consumer<Worker, int> {
  Worker(dagverk::ServerRef<Numbers> numbers, unsigned weight) : numbers_(numbers), weight_(weight) {}
  void init() { subscribe_to(numbers_, {.max_demand = 3000, .min_demand = 0, .partition = weight_}).value(); }
  void handle_events(const dagverk::Batch<int>& some) {
    count_ += some.size();
    if (count_ < weight_ * 1000U) return;
    std::printf("weight %u: %zu of 4000 events\n", weight_, count_);
    stop();
  }

  dagverk::ServerRef<Numbers> numbers_;
  unsigned weight_;
  std::size_t count_ = 0;
};

int main() {
  dagverk::Runtime runtime;
  const auto numbers = runtime.start<Numbers>().value();
  const auto big = runtime.start<Worker>(numbers, 3U).value();
  const auto small = runtime.start<Worker>(numbers, 1U).value();
  numbers.cast(dagverk::make_batch_of(4000, [](std::size_t index) { return static_cast<int>(index); }));
  for (const dagverk::Pid worker : {big.pid(), small.pid()}) {
    if (!runtime.run(dagverk::this_process::wait_for_exit(worker, std::chrono::seconds(5)))) return 1;
  }
}
