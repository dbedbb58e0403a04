#pragma once

#include "dagverk/base/log.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/stage/consumer.hpp"
#include "dagverk/stage/producer.hpp"
#include "dagverk/stage/stage_control.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::stage_tests {

using Ints = std::vector<int>;

/// Keeps every log event as `name key=value …`.
class LogLines final : public Logger {
 public:
  void write(LogLevel /*level*/, std::string_view event, std::span<const LogField> fields) noexcept override {
    std::string line(event);
    for (const LogField& field : fields) line += concat(" ", field.name, "=", field.value);
    lines.push_back(std::move(line));
  }
  [[nodiscard]] std::size_t count(std::string_view text) const {
    std::size_t found = 0;
    for (const std::string& line : lines) found += line.find(text) != std::string::npos ? 1 : 0;
    return found;
  }
  std::vector<std::string> lines;
};

/// What a stage saw; lives in the test, written by one process on the test's own thread.
struct Seen {
  std::vector<Ints> batches;
  std::vector<std::uint64_t> demands;
  std::vector<std::string> notes;

  [[nodiscard]] Ints events() const {
    Ints all;
    for (const Ints& batch : batches) all.insert(all.end(), batch.begin(), batch.end());
    return all;
  }
};

inline Ints ints(int first, int last) {
  Ints numbers;
  for (int number = first; number <= last; ++number) numbers.push_back(number);
  return numbers;
}

inline std::string note_of(std::string_view what, const SubscriptionEnd& why) {
  return concat(what, why.down ? " down " : " cancel ", why.reason.to_string());
}

/// Comes to handle_info, and is noted.
struct Note {
  std::string text;
};

/// Emits what it is told to by casts, and records what is asked of it.
class Source : public Producer<Source, int> {
 public:
  struct Push {
    Ints events;
  };
  struct PushEach {
    Ints events;
  };
  struct PushAndReply {
    using Reply = int;
    Ints events;
  };
  struct Buffered {
    using Reply = std::size_t;
  };
  struct Consumers {
    using Reply = std::size_t;
  };
  struct CancelAll {
    std::string reason;
  };
  struct End {
    ExitReason reason;
  };
  struct Crash {};

  explicit Source(Seen& seen, ProducerOptions options = {}) : Producer(options), seen_(seen) {}
  Source(Seen& seen, bool broadcast, ProducerOptions options = {})
      : Producer(broadcast ? broadcast_dispatcher<int>() : demand_dispatcher<int>(), options), seen_(seen) {}
  Source(Seen& seen, DemandDispatcherOptions demand) : Producer(demand_dispatcher<int>(demand)), seen_(seen) {}
  Source(Seen& seen, std::unique_ptr<Dispatcher<int>> dispatcher, ProducerOptions options = {})
      : Producer(std::move(dispatcher), options), seen_(seen) {}

  void handle_cast(Push push) { emit(make_batch(push.events)); }
  void handle_cast(PushEach push) {
    for (const int event : push.events) emit(event);
  }
  int handle_call(PushAndReply push) {
    for (const int event : push.events) emit(event);
    return 7;
  }
  std::size_t handle_call(Buffered) { return buffered_count(); }
  std::size_t handle_call(Consumers) { return consumer_count(); }
  void handle_cast(CancelAll cancel) {
    for (const SubscriptionId id : std::exchange(ids_, {})) {
      cancel_consumer(id, ExitReason::custom(cancel.reason));
    }
  }
  void handle_cast(End end) { stop(end.reason); }
  void handle_cast(Crash) {
    emit(-1);
    throw std::runtime_error("source on fire");
  }
  void handle_demand(std::uint64_t count) { seen_.demands.push_back(count); }
  void handle_info(const Note& note) { seen_.notes.push_back(concat("info ", note.text, ", left ", buffered_count())); }
  void handle_subscribe(const SubscriptionInfo& info, const SubscribeOptions<int>& options) {
    ids_.push_back(info.id);
    seen_.notes.push_back(concat("subscribe ", options.max_demand));
  }
  void handle_cancel(const SubscriptionInfo& /*info*/, const SubscriptionEnd& why) {
    seen_.notes.push_back(note_of("end", why));
  }
  void terminate(const ExitReason& reason) { seen_.notes.push_back(concat("terminate ", reason.to_string())); }

 private:
  Seen& seen_;
  std::vector<SubscriptionId> ids_;
};

/// Answers every demand at once, counting from zero.
class Counter : public Producer<Counter, int> {
 public:
  explicit Counter(bool broadcast = false)
      : Producer(broadcast ? broadcast_dispatcher<int>() : demand_dispatcher<int>()) {}
  void handle_demand(std::uint64_t count) {
    emit(make_batch_of(count, [this](std::size_t) { return next_++; }));
  }

 private:
  int next_ = 0;
};

/// Records what it is sent, and asks by hand when its subscription is manual.
class Sink : public Consumer<Sink, int> {
 public:
  struct Ask {
    std::uint64_t count;
  };
  struct Cancel {
    ExitReason reason;
  };
  struct End {
    ExitReason reason;
  };
  struct Pending {
    using Reply = std::uint64_t;
  };
  struct Count {
    using Reply = std::size_t;
  };

  explicit Sink(Seen& seen) : seen_(seen) {}
  Sink(Seen& seen, ProducerRef<int> producer, SubscribeOptions<int> options = {}, int stop_at = -1)
      : seen_(seen), stop_at_(stop_at) {
    first_.emplace(producer, std::move(options));
  }

  void init() {
    if (first_) id_ = subscribe_to(first_->first, first_->second).value();
  }
  void handle_events(Batch<int> events) {
    seen_.batches.emplace_back(events.begin(), events.end());
    if (stop_at_ >= 0 && events.back() >= stop_at_) stop();
  }
  void handle_subscribe(const SubscriptionInfo& info) {
    id_ = info.id;
    seen_.notes.emplace_back("subscribe");
  }
  void handle_cancel(const SubscriptionInfo& /*info*/, const SubscriptionEnd& why) {
    seen_.notes.push_back(note_of("end", why));
  }
  void handle_info(const Note& note) { seen_.notes.push_back(concat("info ", note.text)); }
  void handle_cast(Ask ask_for) { ask(id_, ask_for.count); }
  void handle_cast(Cancel end) { cancel(id_, end.reason); }
  void handle_cast(End end) { stop(end.reason); }
  std::uint64_t handle_call(Pending) { return asked_of(id_); }
  std::size_t handle_call(Count) { return subscription_count(); }
  void terminate(const ExitReason& reason) { seen_.notes.push_back(concat("terminate ", reason.to_string())); }

 private:
  Seen& seen_;
  std::optional<std::pair<ProducerRef<int>, SubscribeOptions<int>>> first_;
  SubscriptionId id_;
  int stop_at_ = -1;
};

inline SubscribeOptions<int> demand(std::int64_t max, std::int64_t min) {
  SubscribeOptions<int> options;
  options.max_demand = max;
  options.min_demand = min;
  return options;
}
inline SubscribeOptions<int> manual(CancelMode mode = CancelMode::permanent) {
  SubscribeOptions<int> options;
  options.manual = true;
  options.cancel = mode;
  return options;
}
inline SubscribeOptions<int> ending(CancelMode mode) {
  SubscribeOptions<int> options;
  options.cancel = mode;
  return options;
}

/// A deterministic runtime with its log, and short names for what every test does.
struct World {
  LogLines log;
  DeterministicRuntime runtime{DeterministicOptions{.seed = {}, .logger = &log}};

  template <class... Args>
  ServerRef<Source> source(Args&&... args) {
    return runtime.start<Source>(std::forward<Args>(args)...).value();
  }
  template <class... Args>
  ServerRef<Sink> sink(Seen& seen, Args&&... args) {
    ServerRef<Sink> started = runtime.start<Sink>(std::ref(seen), std::forward<Args>(args)...).value();
    run();
    return started;
  }
  void run() { runtime.run_until_idle(); }
  template <class Server, class Message>
  void cast(ServerRef<Server> server, Message message) {
    server.cast(std::move(message));
    run();
  }
};

}  // namespace dagverk::stage_tests
