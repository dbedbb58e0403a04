#include "report/reporter.hpp"

#include "report/event_assembler.hpp"
#include "report/text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/event/supervised_event_manager.hpp"
#include "dagverk/runtime/runtime.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace dagverk::detail {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t batch_events_max = 256;
constexpr std::size_t under_way_bytes_max = std::size_t{512} * 1024;
// A record makes two events at most: fewer are under way than any formatter's queue takes.
static_assert(2 * under_way_bytes_max / record_size_min < formatter_queue_limit);
constexpr Duration quick_limit = 50ms;
constexpr Duration late_poll = 100us;
constexpr int last_records_limit_ms = 2000;

void say(const std::string& line) {
  std::fprintf(stderr, "report: %s\n", line.c_str());
  std::fflush(stderr);
}

/// The formatters and what they are given.
class Formatting {
 public:
  /// `limit`: how long one that makes no headway is waited for.
  Formatting(std::vector<FormatterSpec> formatters, Duration limit)
      : limit_(limit), runtime_({.workers = 1, .logger = &null_logger()}), events_(runtime_) {
    for (FormatterSpec& formatter : formatters) {
      const std::string name = formatter.name;
      if (const Result<void> added = events_.add_handler_blocking(std::move(formatter)); !added) {
        say(concat("the formatter ", name, " could not start and is left out: ", added.error().message()));
      }
    }
  }

  /// What the formatters want now.
  [[nodiscard]] EventKinds wanted() const noexcept {
    EventKinds kinds = EventKinds::none();
    for (unsigned kind = 0; kind < EventKind<TestEvent>::count; ++kind) {
      if (events_.wants(kind)) kinds = kinds | EventKinds::from_word(std::uint64_t{1} << kind);
    }
    return kinds;
  }

  /// Gives the formatters `events`, made of `size_bytes` of records. When much waits for them, this waits for them
  /// first; for one that hangs, once.
  void publish(Batch<TestEvent> events, std::size_t size_bytes) {
    if (under_way_bytes_ != 0 && under_way_bytes_ + size_bytes > under_way_bytes_max) {
      wait_for_late();
      under_way_bytes_ = 0;
    }
    under_way_bytes_ += size_bytes;
    events_.notify(std::move(events));
  }

  /// Ends the formatters, after a last event, and says who was dropped and why.
  void finish(SuiteFinished last) {
    static_cast<void>(events_.sync_notify_blocking(std::move(last), quick_limit).has_value());
    wait_for_late();
    if (!hung_) static_cast<void>(events_.stop_blocking(limit_).has_value());
  }
  /// Whether a formatter does not come back, and neither would this object's destructor.
  [[nodiscard]] bool hung() const noexcept { return hung_; }

 private:
  /// Drops those that have thrown; returns when the others have nothing left, or one of them hangs.
  void wait_for_late() {
    const SteadyTime until = system_clock().steady_now() + limit_;
    while (!hung_) {
      const Result<EventStats> stats = events_.stats_blocking();
      if (!stats) return;
      const HandlerStats* late = nullptr;
      for (const HandlerStats& formatter : stats->handlers) {
        if (formatter.state == HandlerState::failed || formatter.state == HandlerState::stopped) {
          drop(formatter);
        } else if (formatter.buffered != 0) {
          late = &formatter;
        }
      }
      if (late == nullptr) return;
      if (system_clock().steady_now() >= until) {
        hung_ = true;
        say(concat("the formatter ", late->name, " hangs, its report is not complete; ", late->buffered,
                   " events wait"));
      }
      sleep_for(late_poll);
    }
  }

  void drop(const HandlerStats& formatter) {
    say(concat("the formatter ", formatter.name, " was dropped after ", formatter.delivered,
               " events, its report is not complete: ", printable(formatter.last_error, true)));
    static_cast<void>(events_.remove_handler_blocking(formatter.name).has_value());
  }

  const Duration limit_;
  Runtime runtime_;
  SupervisedEventManager<TestEvent> events_;
  std::size_t under_way_bytes_ = 0;
  bool hung_ = false;
};

/// The reporter's ends of the stream and of the guard's message. Passes on what comes in.
class Intake {
 public:
  Intake(const ReporterInput& input, EventAssembler& assembler, Formatting& formatting)
      : input_(input), assembler_(assembler), formatting_(formatting) {}

  /// Waits for more; false once the program has ended and all it told is here.
  [[nodiscard]] bool wait() {
    pollfd ends[2] = {{.fd = stream_open_ ? input_.records : -1, .events = POLLIN, .revents = 0},
                      {.fd = input_.end, .events = POLLIN, .revents = 0}};
    if (::poll(ends, 2, -1) < 0) return errno == EINTR;
    if (ends[0].revents != 0) stream_open_ = receive();
    if (ends[1].revents == 0) return true;
    read_end();
    return false;
  }

  [[nodiscard]] const std::optional<ProgramEnd>& end() const noexcept { return end_; }
  [[nodiscard]] bool broken() const noexcept { return reader_.broken(); }

 private:
  /// False at the end of the stream.
  bool receive() {
    char bytes[65536];
    const ssize_t size = ::recv(input_.records, bytes, sizeof bytes, MSG_DONTWAIT);
    if (size < 0) return errno == EAGAIN || errno == EINTR;
    if (size == 0) return false;
    received_ += static_cast<std::uint64_t>(size);
    take(std::string_view(bytes, static_cast<std::size_t>(size)));
    return true;
  }

  void take(std::string_view bytes) {
    reader_.add(bytes);
    std::size_t size_bytes = 0;
    while (const std::optional<TestRecord> record = reader_.next()) {
      assembler_.add(*record);
      size_bytes += encoded_size(*record);
      if (assembler_.size() < batch_events_max) continue;
      formatting_.publish(assembler_.take(), std::exchange(size_bytes, 0));
    }
    formatting_.publish(assembler_.take(), size_bytes);
  }

  /// The guard has spoken or is dead, so the program is (about to be) dead too: what it told is in the stream or in the
  /// tail. A child that it left behind may hold the stream open, hence the limit.
  void read_end() {
    ProgramEnd end;
    if (::read(input_.end, &end, sizeof end) == static_cast<ssize_t>(sizeof end)) end_ = end;
    pollfd stream{.fd = input_.records, .events = POLLIN, .revents = 0};
    while (stream_open_ && ::poll(&stream, 1, end_ ? 0 : last_records_limit_ms) > 0) stream_open_ = receive();
    take(input_.tail->after(received_));
  }

  ReporterInput input_;
  EventAssembler& assembler_;
  Formatting& formatting_;
  RecordReader reader_;
  std::uint64_t received_ = 0;
  std::optional<ProgramEnd> end_;
  bool stream_open_ = true;
};

}  // namespace

std::string signal_name(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name == nullptr ? concat("signal ", signal) : concat("SIG", name);
}

void run_reporter(const ReporterInput& input, std::vector<FormatterSpec> formatters, std::string program) {
  const Clock& clock = system_clock();
  EventAssembler assembler(std::move(program), clock.wall_now(), clock.steady_now());
  Formatting formatting(std::move(formatters), input.formatter_limit);
  assembler.want(formatting.wanted());
  Intake intake(input, assembler, formatting);
  while (intake.wait()) {
  }
  if (intake.broken()) say("the test program has overwritten its memory: the reports end early");
  const ProgramEnd end = intake.end().value_or(ProgramEnd{.signal = SIGKILL});
  SuiteFinished last =
      assembler.end(clock.steady_now(), end.signal == 0 ? "" : signal_name(end.signal), end.exit_status);
  formatting.publish(assembler.take(), 0);
  formatting.finish(std::move(last));
  if (::write(input.done, "", 1) != 1) say("the guard has ended before the reports were written");
  if (formatting.hung()) ::_exit(0);
}

}  // namespace dagverk::detail
