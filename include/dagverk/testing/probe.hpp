#pragma once

#include "dagverk/base/mutex.hpp"
#include "dagverk/runtime/gen_server.hpp"

#include <concepts>
#include <cstddef>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

namespace dagverk::testing {

/// What a Probe has received: shared by the probe, which writes, and the test, which reads.
template <class... Messages>
class ProbeLog {
 public:
  using Any = std::variant<Messages...>;

  void add(Any message) {
    MutexLock lock(mutex_);
    messages_.push_back(std::move(message));
  }
  [[nodiscard]] std::size_t size() const {
    MutexLock lock(mutex_);
    return messages_.size();
  }
  /// Everything so far, in order of arrival.
  [[nodiscard]] std::vector<Any> all() const {
    MutexLock lock(mutex_);
    return messages_;
  }
  /// The messages of one type, in order of arrival.
  template <class Message>
  [[nodiscard]] std::vector<Message> of() const {
    std::vector<Message> found;
    MutexLock lock(mutex_);
    for (const Any& message : messages_) {
      if (const Message* one = std::get_if<Message>(&message); one != nullptr) found.push_back(*one);
    }
    return found;
  }
  void clear() {
    std::vector<Any> old;  // outlives the lock: its destructor is the test's
    MutexLock lock(mutex_);
    old.swap(messages_);
  }

 private:
  mutable Mutex mutex_;
  std::vector<Any> messages_ DAGVERK_GUARDED_BY(mutex_);
};

/// A process that writes down every message of these types, whether cast or sent as info; `Down` and `Exit` may be
/// among them, and with `Exit` it traps exits.
///
/// Semantics: copyable messages only. Start one with `start_probe`.
template <class... Messages>
class Probe : public GenServer<Probe<Messages...>> {
 public:
  using Log = ProbeLog<Messages...>;

  struct Watch {  ///< a cast: monitor this one
    Pid other;
  };
  struct LinkTo {  ///< a cast: link with this one
    Pid other;
  };

  explicit Probe(std::shared_ptr<Log> log) : log_(std::move(log)) {}

  void init() {
    if constexpr ((std::same_as<Messages, Exit> || ...)) this_process::trap_exits();
  }
  template <class Message>
    requires(std::same_as<Message, Messages> || ...)
  void handle_cast(Message message) {
    log_->add(std::move(message));
  }
  void handle_cast(Watch watch) { static_cast<void>(this_process::monitor(watch.other)); }
  void handle_cast(LinkTo link) { this_process::link(link.other); }
  template <class Message>
    requires(std::same_as<Message, Messages> || ...)
  void handle_info(Message message) {
    log_->add(std::move(message));
  }

 private:
  std::shared_ptr<Log> log_;  // shared with the test, see ProbeLog
};

/// A running Probe and what it has received.
template <class... Messages>
struct StartedProbe {
  ServerRef<Probe<Messages...>> ref;
  std::shared_ptr<ProbeLog<Messages...>> log;

  [[nodiscard]] Pid pid() const noexcept { return ref.pid(); }
  void watch(Pid other) const { ref.cast(typename Probe<Messages...>::Watch{other}); }
  void link(Pid other) const { ref.cast(typename Probe<Messages...>::LinkTo{other}); }
};

/// Starts a probe; blocks. Errors: as RuntimeBase::start.
template <class... Messages>
[[nodiscard]] Result<StartedProbe<Messages...>> start_probe(RuntimeBase& runtime) {
  auto log = std::make_shared<ProbeLog<Messages...>>();
  Result<ServerRef<Probe<Messages...>>> started = runtime.start<Probe<Messages...>>(log);
  if (!started) return started.error();
  return StartedProbe<Messages...>{*started, std::move(log)};
}

}  // namespace dagverk::testing
