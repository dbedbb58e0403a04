#pragma once

#include "dagverk/base/concat.hpp"
#include "dagverk/event/detail/event_source.hpp"
#include "dagverk/event/event_handler.hpp"
#include "dagverk/event/event_manager.hpp"
#include "dagverk/event/overflow_rule.hpp"
#include "dagverk/stage/stream.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

namespace dagverk {

/// How a stream takes a manager's events.
template <class E>
struct EventStreamOptions {
  /// The name of its handler. Empty: one that no other handler has.
  std::string name = {};
  /// What becomes of events that come faster than they are read: any rule of the stages'. With `wait` it takes part in
  /// the staged manager's shared line, or holds up the serial manager, and so everybody who waits for these.
  Overflow<E> overflow = KeepNewest{keep_newest_default};
  /// Other kinds are not for this stream, nor are events that `selector` rejects.
  EventKinds kinds = EventKinds::all();
  std::function<bool(const E&)> selector = {};
  /// Events that are fetched ahead of the reader, which no rule sheds any more; 1 to `handler_batch_limit`.
  std::size_t prefetch = 100;
  /// A read that waits for an event for this long fails with `timeout` and ends the stream. Zero: no limit.
  Duration timeout = Duration::zero();
};

namespace detail {

/// A stream and the handler that feeds it, not yet added.
template <class E>
struct EventStreamParts {
  Stream<E> stream;
  HandlerSpec<E> feed;
};

template <class E>
[[nodiscard]] Result<EventStreamParts<E>> make_event_stream(const EventManager<E>& manager,
                                                            EventStreamOptions<E> options) {
  if (options.prefetch == 0 || options.prefetch > handler_batch_limit) {
    return Error(ErrorCode::configuration,
                 concat("event stream: prefetch must be 1..", handler_batch_limit, ", got ", options.prefetch));
  }
  // Where handlers have no lines of their own, the rule holds between the source and the reader.
  const bool own_line = manager.has_handler_lines();
  const bool sheds = !own_line && !options.overflow.waits();
  StreamOptions<E> reading;
  reading.subscription.max_demand = static_cast<std::int64_t>(options.prefetch);
  reading.timeout = options.timeout;
  if (sheds) {
    const auto possible = options.overflow.make(manager.runtime().clock());
    if (!possible) return possible.error();
    reading.subscription.overflow = options.overflow;
  }

  const Pid pid = manager.runtime().new_process();
  static_cast<void>(send(pid, make_start<EventSource<E>>(StartOptions(), manager.pid(), sheds)));
  const ServerRef<EventSource<E>> source(pid);

  std::string name = options.name.empty() ? concat("stream ", pid.number()) : std::move(options.name);
  HandlerOptions feeding{.kinds = options.kinds, .batch_max = options.prefetch};
  if (options.overflow.waits()) feeding.overflow = WaitWhenFull{};
  HandlerSpec<E> feed = event_handler<EventFeed<E>>(std::move(name), feeding, source, sheds);
  feed.selector = std::move(options.selector);
  feed.overflow = std::move(options.overflow);
  feed.owned_by(source);

  Result<Stream<E>> stream = dagverk::stream(source, std::move(reading));
  if (!stream) return stream.error();
  stream->open();
  return EventStreamParts<E>{std::move(*stream), std::move(feed)};
}

template <class E>
Async<Result<Stream<E>>> add_event_stream(EventManager<E>& manager, EventStreamParts<E> parts) {
  Async<Result<void>> adding = manager.add_handler(std::move(parts.feed));
  Result<void> added = co_await adding;
  if (!added) co_return added.error();
  co_return std::move(parts.stream);
}

template <class E>
Async<Result<Stream<E>>> no_event_stream(Error error) {
  co_return error;
}

}  // namespace detail

/// The events that `manager` takes from now on, read as any stream: `next` and `next_batch` in a process, a range
/// (`blocking`) or `next_batch_blocking` outside of processes.
///
/// Semantics: GenEvent.stream. The stream is a handler of the manager, called `options.name`, from the return of this
///            function on: its events wait by its rule until they are read, and sync_notify says `handled` of an event
///            that was fetched for it. It ends where the manager stops or the handler is removed or replaced, behind
///            what had come before; a stop of the manager waits for what is not read yet, up to its limit. When the
///            manager is killed it fails with that reason, and what was not fetched is lost.
///            Destroyed, closed or failed, it takes its handler and its processes with it.
/// Threads:   as Stream: one reader at a time. One made inside a process ends with that process.
/// Errors:    as EventManager::add_handler; `configuration` for a prefetch out of range, and for a rule that the
///            manager does not offer (the supervised one has no `wait`).
/// Lifetime:  the manager may end before the stream.
/// Bounds:    what the rule keeps, and at most twice `prefetch` events that are fetched and not read. Drops are counted
///            in the manager's figures of the handler; under the serial manager, whose handlers have no lines, on the
///            edge that `RuntimeBase::snapshot` shows.
template <class E>
  requires std::copy_constructible<E>
[[nodiscard]] Result<Stream<E>> event_stream_blocking(EventManager<E>& manager, EventStreamOptions<E> options = {}) {
  if (this_process::inside()) return Error(ErrorCode::wrong_thread, "inside a process, await event_stream");
  Result<detail::EventStreamParts<E>> parts = detail::make_event_stream(manager, std::move(options));
  if (!parts) return parts.error();
  Result<void> added = manager.add_handler_blocking(std::move(parts->feed));
  if (!added) return added.error();
  return std::move(parts->stream);
}

/// As above, inside a process: `Result<Stream<E>> events = co_await event_stream(manager, std::move(options))`.
template <class E>
  requires std::copy_constructible<E>
[[nodiscard]] Async<Result<Stream<E>>> event_stream(EventManager<E>& manager, EventStreamOptions<E>&& options) {
  Result<detail::EventStreamParts<E>> parts = detail::make_event_stream(manager, std::move(options));
  return parts ? detail::add_event_stream(manager, std::move(*parts)) : detail::no_event_stream<E>(parts.error());
}
template <class E>
  requires std::copy_constructible<E>
[[nodiscard]] Async<Result<Stream<E>>> event_stream(EventManager<E>& manager) {
  EventStreamOptions<E> options;
  return event_stream(manager, std::move(options));
}

}  // namespace dagverk
