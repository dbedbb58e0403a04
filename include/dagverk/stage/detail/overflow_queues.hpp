#pragma once

#include "dagverk/base/concat.hpp"
#include "dagverk/stage/detail/event_buffer.hpp"
#include "dagverk/stage/overflow.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>

namespace dagverk {
namespace detail {

[[nodiscard]] inline Error bad_rule(std::string_view rule, std::string_view what) {
  return Error(ErrorCode::configuration, concat(rule, ": ", what, " must be 1 or more, got 0"));
}

/// keep_newest and keep_oldest.
template <class Event>
class BoundedQueue : public OverflowQueue<Event> {
 public:
  BoundedQueue(std::size_t events_max, BufferKeep keep) noexcept : buffer_(events_max, keep) {}

  void push(Batch<Event> events, DropCounter& drops) final {
    drops.add(DropReason::overflow, buffer_.store(std::move(events)));
  }
  [[nodiscard]] Batch<Event> take(std::size_t count, DropCounter& /*drops*/) final { return buffer_.take(count); }
  [[nodiscard]] std::size_t size() const noexcept final { return buffer_.size(); }

 private:
  EventBuffer<Event> buffer_;
};

/// The events that `wanted` accepts: all of them without a copy, moved out when nobody else sees them.
template <class Event, class Wanted>
[[nodiscard]] Batch<Event> pick_events(Batch<Event> events, Wanted&& wanted) {
  const std::size_t size = events.size();
  std::size_t all_until = 0;
  while (all_until < size && wanted(events[all_until])) ++all_until;
  if (all_until == size) return events;
  const bool unique = events.unique();
  BatchBuilder<Event> chosen;
  const auto take = [&](std::size_t index) {
    if (unique) {
      chosen.emplace(std::move(events.mutable_events()[index]));
    } else {
      chosen.emplace(events[index]);
    }
  };
  for (std::size_t index = 0; index < all_until; ++index) take(index);
  for (std::size_t index = all_until + 1; index < size; ++index) {
    if (wanted(events[index])) take(index);
  }
  return chosen.build();
}

/// Which events a sample is made of.
///
/// Threads: not thread-safe.
class SampleChoice {
 public:
  explicit SampleChoice(Sample rule) noexcept : rule_(rule) {}

  /// Whether the next event, which came at `now`, is one of them.
  [[nodiscard]] bool chooses(SteadyTime now) noexcept {
    if (seen_++ % rule_.every != 0) return false;
    if (rule_.interval <= Duration::zero()) return true;
    if (sent_before_ && now - last_ < rule_.interval) return false;
    sent_before_ = true;
    last_ = now;
    return true;
  }
  /// Whether `chooses` looks at the time.
  [[nodiscard]] bool needs_time() const noexcept { return rule_.interval > Duration::zero(); }

 private:
  Sample rule_;
  std::uint64_t seen_ = 0;
  SteadyTime last_{};
  bool sent_before_ = false;
};

template <class Event>
class SampleQueue final : public BoundedQueue<Event> {
 public:
  SampleQueue(Sample rule, const Clock& clock) noexcept
      : BoundedQueue<Event>(rule.events_max, BufferKeep::newest), choice_(rule), clock_(clock) {}

  [[nodiscard]] Batch<Event> admit(Batch<Event> events, DropCounter& drops) override {
    const std::size_t before = events.size();
    const SteadyTime now = choice_.needs_time() ? clock_.steady_now() : SteadyTime{};
    Batch<Event> chosen = pick_events(std::move(events), [&](const Event&) { return choice_.chooses(now); });
    drops.add(DropReason::sampled, before - chosen.size());
    return chosen;
  }

 private:
  SampleChoice choice_;
  const Clock& clock_;
};

template <class Event, class KeyOf, class Merge>
class CoalesceQueue final : public OverflowQueue<Event> {
  using Key = std::decay_t<std::invoke_result_t<const KeyOf&, const Event&>>;
  struct Entry {
    Key key;
    Event event;
  };

 public:
  CoalesceQueue(KeyOf key_of, Merge merge, std::size_t events_max)
      : key_of_(std::move(key_of)), merge_(std::move(merge)), events_max_(events_max) {}

  void push(Batch<Event> events, DropCounter& drops) override {
    if (events.unique()) {
      for (Event& event : events.mutable_events()) add(std::move(event), drops);
    } else {
      for (const Event& event : events) add(Event(event), drops);
    }
  }
  [[nodiscard]] Batch<Event> take(std::size_t count, DropCounter& /*drops*/) override {
    BatchBuilder<Event> taken(std::min(count, line_.size()));
    while (!line_.empty() && taken.size() < count) {
      taken.emplace(std::move(line_.front().event));
      pop_oldest();
    }
    return taken.build();
  }
  [[nodiscard]] std::size_t size() const noexcept override { return line_.size(); }

 private:
  void add(Event event, DropCounter& drops) {
    Key key = key_of_(std::as_const(event));
    if (const auto known = index_.find(key); known != index_.end()) {
      merge_(known->second->event, std::move(event));
      line_.splice(line_.end(), line_, known->second);  // as new as what was merged into it: nothing is overtaken
      drops.add(DropReason::coalesced, 1);
      return;
    }
    if (line_.size() == events_max_) {
      pop_oldest();
      drops.add(DropReason::overflow, 1);
    }
    line_.push_back(Entry{std::move(key), std::move(event)});
    index_.emplace(line_.back().key, std::prev(line_.end()));
  }
  void pop_oldest() {
    index_.erase(line_.front().key);
    line_.pop_front();
  }

  KeyOf key_of_;
  Merge merge_;
  std::size_t events_max_;
  std::list<Entry> line_;  // oldest first
  std::unordered_map<Key, typename std::list<Entry>::iterator> index_;
};

/// The newer event takes the older one's place.
struct NewerWins {
  template <class Event>
  void operator()(Event& older, Event&& newer) const {
    older = std::forward<Event>(newer);
  }
};

}  // namespace detail

template <class Event>
Overflow<Event>::Overflow(KeepNewest rule)
    : Overflow(concat("keep_newest(", rule.events_max, ")"), [rule](const Clock&) -> Result<std::unique_ptr<Queue>> {
        if (rule.events_max == 0) return detail::bad_rule("keep_newest", "events_max");
        return std::make_unique<detail::BoundedQueue<Event>>(rule.events_max, BufferKeep::newest);
      }) {}

template <class Event>
Overflow<Event>::Overflow(KeepOldest rule)
    : Overflow(concat("keep_oldest(", rule.events_max, ")"), [rule](const Clock&) -> Result<std::unique_ptr<Queue>> {
        if (rule.events_max == 0) return detail::bad_rule("keep_oldest", "events_max");
        return std::make_unique<detail::BoundedQueue<Event>>(rule.events_max, BufferKeep::oldest);
      }) {}

template <class Event>
Overflow<Event>::Overflow(Sample rule)
  requires std::copy_constructible<Event>
    : Overflow(concat("sample(1/", rule.every, ")"), [rule](const Clock& clock) -> Result<std::unique_ptr<Queue>> {
        if (rule.every == 0) return detail::bad_rule("sample", "every");
        if (rule.events_max == 0) return detail::bad_rule("sample", "events_max");
        return std::make_unique<detail::SampleQueue<Event>>(rule, clock);
      }) {}

/// The rule that keeps one waiting event for each key: a newer one of the same key is merged into it by
/// `merge(older, newer)`, counted as `coalesced`, and takes its place at the end of the line. Of more than `events_max`
/// keys the one whose event is oldest is dropped.
///
/// Semantics: `key_of(event)` gives something that std::hash takes; `merge(Event& older, Event&& newer)` changes
///            `older`, by default to `newer`. Both run in the producer's process, and only for events that have to
///            wait: with open demand they are sent as they are.
/// Bounds:    `events_max` events, 1 or more.
template <class Event, class KeyOf, class Merge = detail::NewerWins>
  requires std::copy_constructible<Event>
[[nodiscard]] Overflow<Event> coalesce(KeyOf key_of, std::size_t events_max, Merge merge = {}) {
  using Queue = OverflowQueue<Event>;
  return Overflow<Event>(
      concat("coalesce(", events_max, ")"), [=](const Clock& /*clock*/) -> Result<std::unique_ptr<Queue>> {
        if (events_max == 0) return detail::bad_rule("coalesce", "events_max");
        return std::make_unique<detail::CoalesceQueue<Event, KeyOf, Merge>>(key_of, merge, events_max);
      });
}

}  // namespace dagverk
