// What do handlers that hang or throw cost the jobs beside them, and does their trouble pile up in memory?

#include "job_load.hpp"
#include "resident_memory.hpp"

#include "dagverk/event/staged_event_manager.hpp"
#include "dagverk/jobs/event_hub.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <latch>
#include <optional>
#include <span>
#include <stdexcept>
#include <vector>

namespace dagverk::bench {
namespace {

using namespace std::chrono_literals;

/// Reads every event.
class Healthy : public EventHandler<jobs::Event> {
 public:
  void handle_batch(std::span<const jobs::Event> events) {
    for (const jobs::Event& event : events) sum_ += event.index();
  }

 private:
  std::size_t sum_ = 0;
};

/// Never returns from its tenth event, until the measurement is over.
class Hung : public EventHandler<jobs::Event> {
 public:
  static constexpr bool blocking = true;
  explicit Hung(std::latch& over) : over_(over) {}
  void handle_event(const jobs::Event& /*event*/) {
    if (++seen_ == 10) over_.wait();
  }

 private:
  std::latch& over_;
  int seen_ = 0;
};

class Throwing : public EventHandler<jobs::Event> {
 public:
  void handle_event(const jobs::Event& /*event*/) {
    if (++seen_ % 100 == 0) throw std::runtime_error("a hundred");
  }

 private:
  int seen_ = 0;
};

enum class Watchers : std::uint8_t { none, healthy, troubled };

/// A hub with a healthy handler and, if wanted, one that hangs and one that throws, whose trouble must reach nobody.
class Hub {
 public:
  Hub(RuntimeBase& runtime, Watchers watchers) : hub_(runtime), sink_(hub_) {
    add(event_handler<Healthy>("healthy"));
    if (watchers != Watchers::troubled) return;
    HandlerOptions often;
    often.restart.crashes_max = 0;
    often.restart.delay_first = 1ms;
    often.restart.delay_max = 1ms;
    add(event_handler<Hung>("hung", HandlerOptions(), std::ref(over_)));
    add(event_handler<Throwing>("throwing", often));
  }
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;
  ~Hub() {
    over_.count_down();
    const Result<EventStats> stats = hub_.stop_blocking(10s);
    DAGVERK_ASSERT(stats.has_value());
    for (const HandlerStats& handler : stats->handlers) DAGVERK_ASSERT(handler.balanced());
  }

  [[nodiscard]] jobs::EventSink& sink() noexcept { return sink_; }
  [[nodiscard]] EventStats stats() { return hub_.stats_blocking().value(); }

 private:
  void add(HandlerSpec<jobs::Event> spec) { DAGVERK_ASSERT(hub_.add_handler_blocking(std::move(spec)).has_value()); }

  std::latch over_{1};
  StagedEventManager<jobs::Event> hub_;
  jobs::EventHubSink sink_;
};

double jobs_per_second(Watchers watchers) {
  Runtime runtime({.logger = &null_logger()});
  std::optional<Hub> hub;
  if (watchers != Watchers::none) hub.emplace(runtime, watchers);
  return JobLoad(runtime, false, hub ? &hub->sink() : nullptr).run();
}

/// Job throughput as ratios: with the troubled handlers to without them, and with a healthy one to with none. All three
/// are measured in turn, so that what else the machine does hits them alike.
void handlers_cost(BenchReport& report) {
  constexpr int rounds = 5;
  std::vector<double> trouble;
  std::vector<double> watching;
  for (int round = 0; round < rounds; ++round) {
    const double none = jobs_per_second(Watchers::none);
    const double healthy = jobs_per_second(Watchers::healthy);
    const double troubled = jobs_per_second(Watchers::troubled);
    trouble.push_back(troubled / healthy);
    watching.push_back(healthy / none);
  }
  std::ranges::sort(trouble);
  std::ranges::sort(watching);
  if (report.wants("handlers.cost")) BenchReport::print("handlers.cost", trouble[rounds / 2], "ratio");
  if (report.wants("handlers.watching")) BenchReport::print("handlers.watching", watching[rounds / 2], "ratio");
}

/// How much resident memory grows over 100,000 events beside a handler that hangs, once what it keeps is full.
double memory_growth() {
  constexpr std::size_t warm_up = 100'000;
  constexpr std::size_t counted = 100'000;
  constexpr std::size_t burst = 500;
  Runtime runtime({.logger = &null_logger()});
  Hub hub(runtime, Watchers::troubled);
  jobs::JobFinished event;
  event.job = {.jid = "0123456789abcdef01234567", .job_class = "Noop", .queue = "default", .node = "node"};
  std::size_t before = 0;
  for (std::size_t sent = 0; sent < warm_up + counted; sent += burst) {
    if (sent == warm_up) before = resident_bytes();
    for (std::size_t index = 0; index < burst; ++index) hub.sink().notify(event);
    while (hub.stats().find("healthy")->buffered != 0) {
    }
  }
  const std::size_t after = resident_bytes();
  return after > before ? static_cast<double>(after - before) / 1024 : 0;
}

}  // namespace

void handlers_benchmarks(BenchReport& report) {
  if (report.wants("handlers.cost") || report.wants("handlers.watching")) handlers_cost(report);
  report.run("handlers.memory_growth", "KiB", [] { return memory_growth(); });
}

}  // namespace dagverk::bench
