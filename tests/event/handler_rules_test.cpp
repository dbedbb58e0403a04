// Rules that know the events: what waits for a handler is merged by key, goes to a file, or to a rule of one's own; on
// both managers that have a line for each handler, with accounts that add up.

#include "dagverk/base/log.hpp"
#include "dagverk/event/serial_event_manager.hpp"
#include "dagverk/event/staged_event_manager.hpp"
#include "dagverk/event/supervised_event_manager.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/stage/spill.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using Ints = std::vector<int>;

/// Whole tens are keys, the rest is what they stand for.
int key_of(int event) { return event / 10; }

/// How often each event was logged.
class LogCounts final : public Logger {
 public:
  void write(LogLevel /*level*/, std::string_view event, std::span<const LogField> /*fields*/) noexcept override {
    ++counts_[std::string(event)];
  }
  [[nodiscard]] std::size_t count(const std::string& event) { return counts_[event]; }

 private:
  std::map<std::string, std::size_t> counts_;
};

/// Takes 10 ms for each event.
class Slow : public EventHandler<int> {
 public:
  explicit Slow(Ints* seen) : seen_(*seen) {}
  Async<void> handle_event(const int& event) {
    co_await this_process::sleep(10ms);
    if (event < 0) throw std::runtime_error("less than zero");
    seen_.push_back(event);
  }

 private:
  Ints& seen_;
};

enum class Kind : std::uint8_t { serial, supervised, staged };

class HandlerRules : public testing::TestWithParam<Kind> {
 protected:
  [[nodiscard]] std::unique_ptr<EventManager<int>> manager(Kind kind) {
    if (kind == Kind::serial) return std::make_unique<SerialEventManager<int>>(runtime);
    if (kind == Kind::supervised) return std::make_unique<SupervisedEventManager<int>>(runtime);
    return std::make_unique<StagedEventManager<int>>(runtime);
  }
  [[nodiscard]] static HandlerSpec<int> slow(std::string name, Ints& seen, Overflow<int> rule,
                                             std::size_t batch_max = 1) {
    HandlerSpec<int> spec = event_handler<Slow>(std::move(name), HandlerOptions{.batch_max = batch_max}, &seen);
    spec.with_overflow(std::move(rule));
    return spec;
  }
  void add(HandlerSpec<int> spec) {
    const Result<void> added = events->add_handler_blocking(std::move(spec));
    ASSERT_TRUE(added) << added.error().message();
    runtime.run_until_idle();
  }
  void publish(const Ints& numbers) {
    for (const int number : numbers) {
      events->notify(number);
      runtime.run_until_idle();
    }
  }
  [[nodiscard]] HandlerStats stats(std::string_view name) {
    const EventStats all = events->stats_blocking().value();
    const HandlerStats* found = all.find(name);
    EXPECT_NE(found, nullptr) << name;
    if (found == nullptr) return {};
    EXPECT_TRUE(found->balanced());
    return *found;
  }

  LogCounts log;
  Ints seen;
  Ints other;
  DeterministicRuntime runtime{DeterministicOptions{.seed = 1, .logger = &log}};
  std::unique_ptr<EventManager<int>> events = manager(GetParam());
};

TEST_P(HandlerRules, coalesce_keeps_one_waiting_event_for_each_key) {
  add(slow("slow", seen, coalesce<int>(key_of, 2)));
  publish({10, 11, 20, 12, 30, 21});  // 10 is in hand; 11, 12 are one; then 20 and 12 wait, and 30 takes 20's place
  const HandlerStats busy = stats("slow");
  EXPECT_EQ(busy.overflow, "coalesce(2)");
  EXPECT_EQ(busy.buffered, 3U);
  EXPECT_EQ(busy.dropped.coalesced, 1U);
  EXPECT_EQ(busy.dropped.overflow, 2U);
  runtime.advance(1s);
  EXPECT_EQ(seen, (Ints{10, 30, 21}));
  const HandlerStats done = stats("slow");
  EXPECT_EQ(done.delivered, 3U);
  EXPECT_EQ(done.published, 6U);
  EXPECT_EQ(done.buffered, 0U);
}

TEST_P(HandlerRules, coalesce_merges_as_it_is_told) {
  add(slow("sum", seen, coalesce<int>([](int) { return 0; }, 1, [](int& older, int&& newer) { older += newer; })));
  events->notify(make_batch(Ints{1, 2, 3, 4}));
  runtime.advance(1s);
  EXPECT_EQ(seen, (Ints{1, 9}));
}

TEST_P(HandlerRules, spill_loses_nothing_before_its_file_is_full) {
  add(slow("all", seen, spill<int>({.events_in_memory = 3})));
  add(slow("some", other, spill<int>({.bytes_max = 5 * (4 + sizeof(int)), .events_in_memory = 2})));
  Ints numbers;
  for (int number = 1; number <= 20; ++number) numbers.push_back(number);
  publish(numbers);
  EXPECT_EQ(stats("all").buffered, 20U);
  EXPECT_EQ(stats("all").dropped.total(), 0U);
  EXPECT_EQ(stats("some").buffered, 8U);
  EXPECT_EQ(stats("some").dropped.overflow, 12U);
  runtime.advance(1s);
  EXPECT_EQ(seen, numbers);
  EXPECT_EQ(other, (Ints{1, 2, 3, 16, 17, 18, 19, 20}));
}

TEST_P(HandlerRules, what_cannot_be_read_back_is_counted_and_the_next_one_goes_on) {
  EventCodec<int> codec = bytes_codec<int>();
  const auto decode = codec.decode;
  codec.decode = [decode](std::string_view bytes) -> Result<int> {
    Result<int> event = decode(bytes);
    if (event && *event % 2 == 0) return Error(ErrorCode::malformed, "even");
    return event;
  };
  add(slow("odd", seen, spill<int>({.events_in_memory = 1}, codec)));
  publish({1, 3, 2, 4, 5});
  runtime.advance(1s);
  EXPECT_EQ(seen, (Ints{1, 3, 5}));
  EXPECT_EQ(stats("odd").dropped.spill_failed, 2U);
}

TEST_P(HandlerRules, a_rule_that_throws_drops_what_waits_and_hurts_nobody_else) {
  const auto key = [](int event) { return event < 100 ? event : throw std::runtime_error("no key"); };
  add(slow("thrower", seen, coalesce<int>(key, 10)));
  add(slow("healthy", other, spill<int>()));
  publish({1, 2, 3, 100, 4});
  runtime.advance(1s);
  EXPECT_EQ(seen, (Ints{1, 4}));
  EXPECT_EQ(other, (Ints{1, 2, 3, 100, 4}));
  EXPECT_EQ(stats("thrower").dropped.crashed, 3U);
  EXPECT_EQ(stats("thrower").state, HandlerState::running);
  EXPECT_EQ(log.count("handler.rule_failed"), 1U);
}

/// Says that it holds more than it was given; after `makes` times it cannot be made any more.
struct Liar final : OverflowQueue<int> {
  void push(Batch<int> /*events*/, DropCounter& /*drops*/) override { size_ = 7; }
  Batch<int> take(std::size_t /*count*/, DropCounter& /*drops*/) override { return {}; }
  [[nodiscard]] std::size_t size() const noexcept override { return size_; }
  std::size_t size_ = 0;
};

TEST_P(HandlerRules, one_that_lies_or_cannot_be_made_again_is_found_out) {
  int makes = 3;
  Overflow<int> rule("liar", [&makes](const Clock&) -> Result<std::unique_ptr<OverflowQueue<int>>> {
    if (--makes < 0) return Error(ErrorCode::io, "no more of them");
    return std::make_unique<Liar>();
  });
  add(slow("liar", seen, rule));
  publish({1, 2, 3, 4, 5});
  EXPECT_EQ(stats("liar").dropped.crashed, 4U);
  EXPECT_EQ(log.count("handler.rule_failed"), 3U) << "then there was no rule any more";
  makes = 1;
  EXPECT_TRUE(events->restart_handler_blocking("liar"));
  publish({6, 7});
  EXPECT_EQ(log.count("handler.rule_failed"), 4U);
  runtime.advance(1s);
  EXPECT_EQ(seen, (Ints{6}));
  EXPECT_EQ(stats("liar").dropped.consumer_down, 1U);
}

TEST_P(HandlerRules, what_waits_outlives_a_crash_and_a_stop_and_goes_first) {
  HandlerSpec<int> spec = slow("slow", seen, spill<int>({.events_in_memory = 1}));
  spec.options.crashed_event = CrashedEvent::skip;
  add(std::move(spec));
  publish({1, -1, 2, 3});
  runtime.advance(1s);
  EXPECT_EQ(seen, (Ints{1, 2, 3}));
  EXPECT_EQ(stats("slow").dropped.crashed, 1U);
  EXPECT_TRUE(events->stop_handler_blocking("slow"));
  publish({4, 5, 6});
  runtime.advance(1s);
  EXPECT_EQ(stats("slow").buffered, 3U);
  EXPECT_EQ(stats("slow").lag, 1s);
  EXPECT_TRUE(events->restart_handler_blocking("slow"));
  runtime.advance(1s);
  EXPECT_EQ(seen, (Ints{1, 2, 3, 4, 5, 6}));
  publish({7, 8, 9});
  const HandlerStats last = events->remove_handler_blocking("slow").value();
  EXPECT_TRUE(last.balanced());
  EXPECT_EQ(last.dropped.shutdown, 2U);
}

TEST_P(HandlerRules, a_stop_lets_the_handler_finish_what_waits) {
  add(slow("slow", seen, spill<int>({.events_in_memory = 1})));
  publish({1, 2, 3, 4});
  const EventStats last = events->stop_blocking(1s).value();
  EXPECT_EQ(seen, (Ints{1, 2, 3, 4}));
  EXPECT_EQ(last.find("slow")->delivered, 4U);
}

TEST_P(HandlerRules, a_publisher_that_waits_hears_at_once_of_a_handler_at_which_its_event_waits) {
  add(slow("slow", seen, coalesce<int>(key_of, 2)));
  EXPECT_EQ(events->sync_notify_blocking(10).value().at(0).fate, EventFate::handled);
  publish({11});
  EXPECT_EQ(events->sync_notify_blocking(12).value().at(0).fate, EventFate::pending);
  runtime.advance(1s);
  EXPECT_EQ(seen, (Ints{10, 11, 12}));
}

TEST_P(HandlerRules, a_rule_that_cannot_begin_refuses_the_handler) {
  const auto refused = [&](Overflow<int> rule) {
    const Result<void> added = events->add_handler_blocking(slow("x", seen, std::move(rule)));
    return added ? std::string() : std::string(added.error().message());
  };
  EXPECT_EQ(refused(coalesce<int>(key_of, 0)), "handler \"x\": coalesce: events_max must be 1 or more, got 0");
  EXPECT_NE(refused(spill<int>({.directory = "/nowhere/at/all"})).find("handler \"x\": spill: making a file"),
            std::string::npos);
  EXPECT_TRUE(events->which_handlers_blocking().value().empty());
}

std::string kind_name(const testing::TestParamInfo<Kind>& chosen) {
  return chosen.param == Kind::staged ? "Staged" : "Supervised";
}

INSTANTIATE_TEST_SUITE_P(Managers, HandlerRules, testing::Values(Kind::supervised, Kind::staged), kind_name);

using HandlerRulesSerial = HandlerRules;

TEST_P(HandlerRulesSerial, have_no_meaning_where_there_is_no_line_for_each_handler) {
  add(slow("slow", seen, coalesce<int>(key_of, 1)));
  events->notify(make_batch(Ints{10, 11, 12}));
  runtime.advance(1s);
  EXPECT_EQ(seen, (Ints{10, 11, 12}));
  EXPECT_EQ(stats("slow").overflow, "none");
}

INSTANTIATE_TEST_SUITE_P(Managers, HandlerRulesSerial, testing::Values(Kind::serial));

}  // namespace
}  // namespace dagverk
