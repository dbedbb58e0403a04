#include "report/formatter_watch.hpp"

#include "report/reporter.hpp"

#include "dagverk/base/concat.hpp"

#include <any>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>
#include <sys/mman.h>

namespace dagverk::detail {
namespace {

constexpr int deadly_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

// Of the reporter's process, for its signal handler.
FormatterWatch::Shared* watched = nullptr;
struct sigaction actions_before[std::size(deadly_signals)];
constinit thread_local std::uint32_t place_at_work = 0;  // one more than the place of this thread's formatter

/// Notes where the signal came, and lets what was there before have it.
void note_crash(int signal) {
  if (place_at_work != 0) {
    watched->crashed.store(place_at_work);
    watched->signal.store(signal);
  }
  for (std::size_t index = 0; index < std::size(deadly_signals); ++index) {
    if (deadly_signals[index] == signal) ::sigaction(signal, &actions_before[index], nullptr);
  }
  static_cast<void>(::raise(signal));  // comes when this has returned
}

/// A formatter is at work, on this thread.
class AtWork {
 public:
  explicit AtWork(std::uint32_t place) noexcept : place_(place) {
    watched->at_work[place_].fetch_add(1, std::memory_order_relaxed);
    place_at_work = place_ + 1;
  }
  AtWork(const AtWork&) = delete;
  AtWork& operator=(const AtWork&) = delete;
  ~AtWork() {
    place_at_work = 0;
    watched->at_work[place_].fetch_sub(1, std::memory_order_relaxed);
  }

 private:
  std::uint32_t place_;
};

/// A formatter that says when it is at work.
class WatchedFormatter final : public HandlerBody<TestEvent> {
 public:
  WatchedFormatter(std::unique_ptr<HandlerBody<TestEvent>> formatter, std::uint32_t place)
      : formatter_(std::move(formatter)), place_(place) {}

  Async<void> init() override {
    const AtWork at_work(place_);
    co_await formatter_->init();
  }
  Async<void> terminate(const ExitReason& reason) override {
    const AtWork at_work(place_);
    co_await formatter_->terminate(reason);
  }
  Async<TurnEnd> run(HandlerWork<TestEvent>& work) override {
    const AtWork at_work(place_);
    const TurnEnd end = co_await formatter_->run(work);
    co_return end;
  }

  [[nodiscard]] bool handles_later() const noexcept override { return formatter_->handles_later(); }
  [[nodiscard]] bool handle(const TestEvent& event) override {
    const AtWork at_work(place_);
    return formatter_->handle(event);
  }
  Async<void> handle_later(const TestEvent& event) override {
    const AtWork at_work(place_);
    co_await formatter_->handle_later(event);
  }
  [[nodiscard]] bool left() const noexcept override { return formatter_->left(); }

  Async<Result<void>> call(HandlerCall& call, std::string_view handler_name) override {
    return formatter_->call(call, handler_name);
  }
  void on_down(const Down& down) override { formatter_->on_down(down); }
  void on_exit(const Exit& exit) override { formatter_->on_exit(exit); }
  [[nodiscard]] std::any hand_over() override { return formatter_->hand_over(); }
  void take_over(std::any inheritance) override { formatter_->take_over(std::move(inheritance)); }

 private:
  std::unique_ptr<HandlerBody<TestEvent>> formatter_;
  std::uint32_t place_;
};

}  // namespace

Result<FormatterWatch> FormatterWatch::make() {
  void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return Error{ErrorCode::io, concat("no shared memory: ", std::strerror(errno))};
  return FormatterWatch(::new (memory) Shared);
}

FormatterWatch::~FormatterWatch() {
  if (shared_ != nullptr) ::munmap(shared_, sizeof(Shared));
}

void FormatterWatch::watch(std::vector<FormatterSpec>& formatters) {
  watched = shared_;
  for (std::uint32_t place = 0; place < formatters.size() && place < formatters_max; ++place) {
    formatters[place].make = [make = std::move(formatters[place].make),
                              place]() -> std::unique_ptr<HandlerBody<TestEvent>> {
      const AtWork at_work(place);
      return std::make_unique<WatchedFormatter>(make(), place);
    };
  }
  struct sigaction action{};
  action.sa_handler = &note_crash;
  ::sigemptyset(&action.sa_mask);
  for (std::size_t index = 0; index < std::size(deadly_signals); ++index) {
    ::sigaction(deadly_signals[index], &action, &actions_before[index]);
  }
}

std::string FormatterWatch::verdict(const std::vector<std::string>& formatters) const {
  const std::uint32_t crashed = shared_->crashed.load();
  if (crashed != 0 && crashed <= formatters.size()) {
    return concat("the formatter ", formatters[crashed - 1], " has crashed (", signal_name(shared_->signal.load()),
                  ") and taken the reporter with it; no report is complete");
  }
  std::string at_work;
  for (std::size_t place = 0; place < formatters.size() && place < formatters_max; ++place) {
    if (shared_->at_work[place].load() != 0) at_work += concat(at_work.empty() ? "" : ", ", formatters[place]);
  }
  if (at_work.empty()) return "the reporter has ended early; no report is complete";
  return concat("the reporter has ended early, while at work: ", at_work, "; no report is complete");
}

}  // namespace dagverk::detail
