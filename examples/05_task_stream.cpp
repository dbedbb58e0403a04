// A hundred slow look-ups, four at a time, results in order; one of them fails, and that is one item.

#include "dagverk/runtime/runtime.hpp"
#include "dagverk/runtime/task_stream.hpp"

#include <cstdio>
#include <ranges>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;
using dagverk::Async;
using dagverk::Result;

Async<std::string> look_up(int number) {
  co_await dagverk::this_process::sleep(1ms);
  if (number == 42) throw std::runtime_error("nobody knows");
  co_return "entry " + std::to_string(number);
}

Async<Result<int>> look_up_all() {
  const dagverk::TaskStreamOptions options{.max_concurrency = 4};
  auto stream = dagverk::task::async_stream(std::views::iota(1, 101), look_up, options);
  int found = 0;
  for (;;) {
    auto item = co_await stream.next();
    if (!item) co_return item.error();  // the stream as a whole has failed
    if (!*item) co_return found;        // that was the last
    const Result<std::string>& entry = (*item)->result;
    if (!entry) std::printf("number %zu: %s\n", (*item)->index + 1, std::string(entry.error().message()).c_str());
    found += entry ? 1 : 0;
  }
}

int main() {
  dagverk::Runtime runtime({.logger = &dagverk::null_logger()});
  const Result<int> found = runtime.run(look_up_all());
  std::printf("found %d of 100\n", found.value_or(-1));
  return found == 99 ? 0 : 1;
}
