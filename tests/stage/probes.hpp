#pragma once

#include "stages.hpp"

#include "dagverk/stage/producer_consumer.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::stage_tests {

using Notes = std::vector<std::string>;
using Batches = std::vector<Ints>;
using Counts = std::vector<std::uint64_t>;

/// Asks, cancels and repeats itself as no stage would: a process that speaks the protocol by hand.
class RawConsumer : public GenServer<RawConsumer> {
 public:
  using Input = int;
  struct Subscribe {
    ProducerRef<int> producer;
    SubscribeOptions<int> options;
  };
  struct SubscribeAgain {};  // with the same id
  struct Ask {
    std::uint64_t count;
  };
  struct Cancel {
    ExitReason reason;
  };

  explicit RawConsumer(Seen& seen) : seen_(seen) {}

  void handle_cast(Subscribe subscribe) {
    ops_ = &subscribe.producer.ops();
    producer_ = subscribe.producer.pid();
    options_ = subscribe.options;
    id_ = SubscriptionId{runtime().next_ref()};
    edge_ = detail::make_edge(std::string("raw"));
    post_subscribe();
  }
  void handle_cast(SubscribeAgain /*again*/) { post_subscribe(); }
  void handle_cast(Ask ask) { post(*ops_->ask, detail::AskMessage{id_, ask.count}); }
  void handle_cast(Cancel cancel) { post(*ops_->cancel, detail::CancelMessage{id_, cancel.reason}); }
  void handle_info(const Note& note) { seen_.notes.push_back(concat("info ", note.text)); }

  void on_stage_message(detail::EventsMessage<int>&& message) {
    std::string note = "events";
    for (const int event : message.events) note += concat(" ", event);
    seen_.notes.push_back(std::move(note));
    seen_.batches.emplace_back(message.events.begin(), message.events.end());
    detail::add_to(edge_->delivered, message.events.size());
  }
  void on_stage_message(detail::EndedMessage&& message) {
    seen_.notes.push_back(concat("cancel ", message.reason.to_string()));
  }

 private:
  void post_subscribe() {
    post(*ops_->subscribe, detail::SubscribeMessage<int>{id_, this_process::pid(), &detail::consumer_ops<RawConsumer>,
                                                         detail::KeptOptions<int>(options_), edge_});
  }
  template <class Message>
  void post(const detail::NodeOps& ops, Message message) {
    static_cast<void>(detail::send(producer_, detail::make_node<Message>(ops, std::move(message))));
  }

  Seen& seen_;
  const detail::ProducerOps* ops_ = nullptr;
  Pid producer_;
  SubscribeOptions<int> options_;
  SubscriptionId id_;
  detail::SharedEdge edge_;  // as between two stages
};

/// Sends events to a consumer that no producer has emitted.
template <class Stage>
void send_raw_events(ServerRef<Stage> consumer, SubscriptionId id, const Ints& events) {
  detail::send_to_stage<Stage>(consumer.pid(), detail::EventsMessage<int>{id, make_batch(events)});
}

/// Emits each event it takes `copies` times, what one handle_events was given as one batch, and records.
class Multiplier : public ProducerConsumer<Multiplier, int, int> {
 public:
  struct CancelUpstream {
    ExitReason reason;
  };
  struct End {
    ExitReason reason;
  };

  explicit Multiplier(Seen& seen, int copies = 2, bool broadcast = false)
      : ProducerConsumer(broadcast ? broadcast_dispatcher<int>() : demand_dispatcher<int>()),
        seen_(seen),
        copies_(copies) {}
  Multiplier(Seen& seen, ProducerOptions options) : ProducerConsumer(options), seen_(seen), copies_(1) {}

  void handle_events(Batch<int> events) {
    seen_.batches.emplace_back(events.begin(), events.end());
    BatchBuilder<int> out;
    for (const int event : events) {
      for (int copy = 0; copy < copies_; ++copy) out.push(event);
    }
    emit(out.build());
  }
  void handle_subscribe(const SubscriptionInfo& info) {
    if (info.peer_side == StageSide::producer) upstream_ = info.id;
    seen_.notes.emplace_back(info.peer_side == StageSide::producer ? "to producer" : "by consumer");
  }
  void handle_cancel(const SubscriptionInfo& info, const SubscriptionEnd& why) {
    seen_.notes.push_back(note_of(info.peer_side == StageSide::producer ? "producer" : "consumer", why));
  }
  void handle_info(const Note& note) { seen_.notes.push_back(concat("info ", note.text)); }
  void handle_cast(const CancelUpstream& end) { cancel(upstream_, end.reason); }
  void handle_cast(const End& end) { stop(end.reason); }

 private:
  Seen& seen_;
  int copies_;
  SubscriptionId upstream_;
};

/// Each number `copies` times.
inline Ints copies_of(int first, int last, int copies = 2) {
  Ints numbers;
  for (int number = first; number <= last; ++number)
    numbers.insert(numbers.end(), static_cast<std::size_t>(copies), number);
  return numbers;
}

/// Where `batch` stands in `batches`; the end when it does not.
inline std::size_t place_of(const Batches& batches, const Ints& batch) {
  std::size_t place = 0;
  while (place < batches.size() && batches[place] != batch) ++place;
  return place;
}

}  // namespace dagverk::stage_tests
