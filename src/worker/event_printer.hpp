#pragma once

#include "dagverk/base/mutex.hpp"
#include "dagverk/jobs/event_sink.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <thread>

namespace dagverk::worker {

/// How events look on standard output.
enum class EventForm : std::uint8_t {
  none,   ///< not at all
  lines,  ///< for people: time, what, class, jid
  json,   ///< one JSON object a line
};

/// `event` in one line for people, without a newline; control characters escaped.
[[nodiscard]] std::string event_line(const jobs::Event& event);

/// Prints what happens on standard output, from a thread of its own: whoever reports an event never waits for a slow
/// terminal.
///
/// Threads:  `notify` from any thread.
/// Bounds:   10,000 events wait at most; newer ones are dropped and counted, and the count is printed on standard error
///           at the end.
/// Lifetime: the destructor prints what waits.
class EventPrinter final : public jobs::EventSink {
 public:
  /// `closed` is called once, on the printer's thread, when nobody reads any more.
  EventPrinter(EventForm form, std::function<void()> closed);
  ~EventPrinter() override;

  [[nodiscard]] bool wants(std::size_t kind) const noexcept override;
  void notify(jobs::Event event) noexcept override;

 private:
  void run();

  const EventForm form_;
  const std::function<void()> closed_;
  Mutex mutex_;
  Condition changed_;
  std::deque<jobs::Event> waiting_ DAGVERK_GUARDED_BY(mutex_);
  std::uint64_t dropped_ DAGVERK_GUARDED_BY(mutex_) = 0;
  bool stopping_ DAGVERK_GUARDED_BY(mutex_) = false;
  bool nobody_reads_ DAGVERK_GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace dagverk::worker
