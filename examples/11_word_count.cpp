// Counts the words of a text in four processes: a word always goes to the same one, so that nobody shares a count.

#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stage/consumer.hpp"
#include "dagverk/stage/dispatchers/partition.hpp"
#include "dagverk/stage/range_producer.hpp"

#include <fstream>
#include <map>

using Counts = std::map<std::string, int>;
struct Counter : dagverk::Consumer<Counter, std::string> {
  struct Ask {
    using Reply = Counts;
  };
  void handle_events(const dagverk::Batch<std::string>& words) {
    for (const std::string& word : words) ++counts_[word];
  }
  Counts handle_call(Ask) { return counts_; }
  Counts counts_;
};

int main(int argc, char** argv) {
  std::ifstream text(argc > 1 ? argv[1] : "LICENSE");
  std::ifstream again(argc > 1 ? argv[1] : "LICENSE");
  dagverk::Runtime runtime;
  auto four = dagverk::partition_dispatcher<std::string>(4);
  const auto words = dagverk::range_producer(runtime, std::views::istream<std::string>(text), std::move(four)).value();
  std::vector<dagverk::ServerRef<Counter>> counters;
  for (std::size_t number = 0; number < 4; ++number) {
    counters.push_back(runtime.start<Counter>().value());
    subscribe_blocking(counters[number], words, {.cancel = dagverk::CancelMode::temporary, .partition = number})
        .value();
  }
  if (!runtime.run(dagverk::this_process::wait_for_exit(words.pid(), {}))) return 1;  // all words are sent
  Counts counted, expected;
  for (const auto& counter : counters) counted.merge(counter.call_blocking<Counter::Ask>().value());
  for (std::string word; again >> word;) ++expected[word];
  return !expected.empty() && counted == expected ? 0 : 1;
}
