#pragma once

#include "dagverk/base/concat.hpp"
#include "dagverk/stage/consumer.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

namespace dagverk {

/// How a stream reads its producers.
template <class Event>
struct StreamOptions {
  /// What becomes of the stream when a producer ends: `permanent`: it fails, even with `normal`; `transient`: it fails
  /// unless that was `normal`, `shutdown` or `shutdown_with`; `temporary`: it goes on with the others. (GenStage's
  /// default is permanent; a finite producer then fails every stream at its end.)
  CancelMode cancel = CancelMode::transient;
  /// Demand, selector and the like of each subscription. Its own `cancel` and `manual` are not looked at.
  SubscribeOptions<Event> subscription = {};
  /// What each producer does with demand, once all are subscribed to: those that have accumulated it for this go on.
  DemandFlow demand = DemandFlow::forward;
  /// A read that waits for an event for this long fails with `timeout` and ends the stream. Zero or less: no limit.
  Duration timeout = Duration::zero();
};

namespace detail {

/// What one read gives: events, or the end (no events), or why the stream failed.
template <class Event>
struct StreamPart {
  Batch<Event> events;
  std::optional<ExitReason> failure;
};

[[nodiscard]] inline Error stream_error(const ExitReason& reason) {
  if (reason.kind() == ExitReason::Kind::noproc) return Error(ErrorCode::no_process, "a stream's producer is gone");
  return Error(ErrorCode::exited, concat("a stream's producer ended: ", reason.to_string()));
}

/// The process of a stream: subscribes, fetches, and hands over part by part.
///
/// Semantics: the ask for a part follows when the next part is read. Ends of subscriptions take effect behind the
///            events that came before them. It ends with its owner, the process that reads it.
/// Bounds:    max_demand events per producer.
template <class Event>
class StreamServer final : public Consumer<StreamServer<Event>, Event> {
  using Base = Consumer<StreamServer<Event>, Event>;

 public:
  struct Next {
    using Reply = StreamPart<Event>;
  };
  /// Answered when all subscriptions are over.
  struct Close {
    using Reply = void;
  };
  struct CloseNow {};
  struct GiveUp {};
  struct ReadDue {
    std::uint64_t read;
  };

  /// Starts one; nobody waits for its init, which cannot fail.
  [[nodiscard]] static ServerRef<StreamServer> start(const std::vector<ProducerRef<Event>>& producers,
                                                     const StreamOptions<Event>& options) {
    const Pid owner = this_process::inside() ? this_process::pid() : Pid();
    const Pid pid = producers.front().pid().core()->runtime->new_process();
    static_cast<void>(send(pid, make_start<StreamServer>(StartOptions(), producers, options, owner)));
    return ServerRef<StreamServer>(pid);
  }

  StreamServer(std::vector<ProducerRef<Event>> producers, StreamOptions<Event> options, Pid owner)
      : producers_(std::move(producers)), options_(std::move(options)) {
    if (owner) owner_ = this_process::monitor(owner);
  }

  void init() {
    for (const ProducerRef<Event>& producer : producers_) {
      SubscribeOptions<Event> subscription = options_.subscription;
      subscription.cancel = CancelMode::temporary;
      static_cast<void>(Base::subscribe_to(producer, std::move(subscription)));  // demand was checked before
    }
    for (const ProducerRef<Event>& producer : producers_) {
      const NodeOps* ops = producer.ops().demand;
      if (ops == nullptr) continue;
      static_cast<void>(send(producer.pid(), make_node<SetDemandCast>(*ops, SetDemandCast{options_.demand})));
    }
  }

  DemandMode handle_subscribe(const SubscriptionInfo& info, const SubscribeOptions<Event>& options) {
    const auto max = static_cast<std::uint64_t>(options.max_demand);
    const auto min = static_cast<std::uint64_t>(options.min_demand.value_or(options.max_demand / 2));
    sources_.push_back(Source{info.id, min, max, max});
    Base::ask(info.id, max);
    return DemandMode::manual;
  }
  void handle_events(Batch<Event> events, const SubscriptionInfo& info) {
    if (closing_) return;
    queue_.push_back(Entry{info.id, std::move(events), std::nullopt});
    feed();
  }
  void handle_cancel(const SubscriptionInfo& info, const SubscriptionEnd& why) {
    if (closing_) {
      forget(info.id);
      end_when_closed();
      return;
    }
    queue_.push_back(Entry{info.id, {}, why.reason});
    feed();
  }

  void handle_call(Next /*call*/, From<Next> from) {
    reader_ = std::move(from);
    ++reads_;
    this_process::cancel_timer(std::exchange(timer_, TimerRef()));
    ask_for_last();
    feed();
    if (reader_ && options_.timeout > Duration::zero()) timer_ = Base::send_after(options_.timeout, ReadDue{reads_});
  }
  void handle_call(Close /*call*/, From<Close> from) {
    closer_ = std::move(from);
    close();
  }
  void handle_cast(CloseNow /*cast*/) { close(); }
  void handle_info(GiveUp /*timer*/) { this_process::stop(); }
  void handle_info(ReadDue due) {
    if (!reader_ || due.read != reads_) return;
    reader_.reply(Error(ErrorCode::timeout, "no event came in time for a read of a stream"));
    close();
  }
  void handle_info(const Down& down) {
    if (down.ref == owner_) close();
  }
  void terminate(const ExitReason& /*reason*/) {
    if (closer_) closer_.reply({});
  }

 private:
  static constexpr std::chrono::seconds close_max{5};

  struct Source {
    SubscriptionId id;
    std::uint64_t min;
    std::uint64_t max;
    std::uint64_t pending;  // asked, and not read
  };
  struct Entry {
    SubscriptionId id;
    Batch<Event> events;
    std::optional<ExitReason> end;
  };

  [[nodiscard]] Source* find(SubscriptionId id) noexcept {
    const auto place = std::ranges::find_if(sources_, [&](const Source& source) { return source.id == id; });
    return place == sources_.end() ? nullptr : &*place;
  }
  void forget(SubscriptionId id) {
    std::erase_if(sources_, [&](const Source& source) { return source.id == id; });
  }

  /// The ask point of the part that was read last.
  void ask_for_last() {
    Source* source = find(last_);
    if (source == nullptr) return;
    source->pending -= std::min<std::uint64_t>(source->pending, std::exchange(last_size_, 0));
    if (source->pending > source->min) return;
    Base::ask(source->id, source->max - source->pending);
    source->pending = source->max;
  }

  /// Answers the reader, if there is one, when there is something to tell.
  void feed() {
    while (reader_ && !closing_) {
      if (queue_.empty()) {
        if (!sources_.empty()) return;
        reader_.reply(StreamPart<Event>{});
        close();
        return;
      }
      Entry& entry = queue_.front();
      if (entry.end) {
        const ExitReason reason = *std::exchange(entry.end, std::nullopt);
        forget(entry.id);
        queue_.pop_front();
        if (!fails(reason)) continue;
        reader_.reply(StreamPart<Event>{{}, reason});
        close();
        return;
      }
      const Source* source = find(entry.id);
      const auto part_max = static_cast<std::size_t>(source->max - source->min);
      last_ = entry.id;
      Batch<Event> part = entry.events.split_front(part_max);
      last_size_ = part.size();
      if (entry.events.empty()) queue_.pop_front();
      reader_.reply(StreamPart<Event>{std::move(part), std::nullopt});
    }
  }
  [[nodiscard]] bool fails(const ExitReason& reason) const noexcept {
    return options_.cancel == CancelMode::permanent ||
           (options_.cancel == CancelMode::transient && !reason.normal_ish());
  }

  void close() {
    if (std::exchange(closing_, true)) return;
    for (const Entry& entry : queue_) {
      if (entry.end) forget(entry.id);
    }
    queue_.clear();
    for (const Source& source : sources_) Base::cancel(source.id);
    if (!sources_.empty()) Base::send_after(close_max, GiveUp{});
    end_when_closed();
  }
  void end_when_closed() {
    if (sources_.empty()) this_process::stop();
  }

  std::vector<ProducerRef<Event>> producers_;
  StreamOptions<Event> options_;
  MonitorRef owner_;
  std::vector<Source> sources_;  // subscriptions, until their end was read
  std::deque<Entry> queue_;
  SubscriptionId last_;  // of the part that was read last
  std::size_t last_size_ = 0;
  std::uint64_t reads_ = 0;
  TimerRef timer_;  // of the read that waits
  From<Next> reader_;
  From<Close> closer_;
  bool closing_ = false;
};

}  // namespace detail
}  // namespace dagverk
