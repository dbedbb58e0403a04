#pragma once

#include "dagverk/stage/detail/stream_server.hpp"

#include <cstddef>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

namespace dagverk {

template <class Event>
class BlockingEvents;

/// The events of one or more producers, pulled by whoever reads: a process or a thread outside.
///
/// Semantics: GenStage.stream. Nothing happens before the first read; then a process of the stream's own subscribes to
///            the producers and asks as any consumer does (see SubscribeOptions), each part's ask when the next part is
///            read. Events of one producer come in emission order. When a producer ends or cancels, what it sent before
///            is read first; then StreamOptions::cancel decides: the stream fails with that reason, or goes on without
///            that producer. It ends when no producer is left.
/// Threads:   one reader at a time: one process, by `next` and `next_batch`, or one thread outside of processes, by
///            what ends in `blocking`.
/// Errors:    reading gives `no_process` when a producer was not there, `exited` for any other failure (end_reason has
///            it), `timeout` after StreamOptions::timeout, `wrong_thread` for blocking reads inside a process.
/// Lifetime:  movable while nobody reads. Destroyed early, or with its process, it cancels its subscriptions with
///            `normal` and its own process ends, without anybody waiting for it; `close` waits.
/// Bounds:    at most max_demand events per producer are on their way or fetched and not read.
template <class Event>
class [[nodiscard]] Stream {
  using Server = detail::StreamServer<Event>;

 public:
  explicit Stream(std::vector<ProducerRef<Event>> producers, StreamOptions<Event> options)
      : producers_(std::move(producers)), options_(std::move(options)) {}
  Stream(Stream&& other) noexcept
      : producers_(std::move(other.producers_)),
        options_(std::move(other.options_)),
        server_(std::exchange(other.server_, std::nullopt)),
        batch_(std::move(other.batch_)),
        index_(std::exchange(other.index_, 0)),
        ended_(std::exchange(other.ended_, true)),
        error_(std::move(other.error_)),
        end_reason_(std::move(other.end_reason_)) {}
  Stream& operator=(Stream&&) = delete;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() {
    if (server_ && !ended_) server_->cast(typename Server::CloseNow{});
  }

  /// Subscribes now and not at the first read: what is emitted from now on waits for the reader.
  void open() {
    if (!server_ && !ended_ && !producers_.empty()) server_ = Server::start(producers_, options_);
  }

  /// The next event; nothing at the end: `Result<std::optional<Event>> event = co_await stream.next();`.
  [[nodiscard]] Async<Result<std::optional<Event>>> next() {
    if (index_ == batch_.size()) {
      Async<Result<Batch<Event>>> reading = next_batch();
      Result<Batch<Event>> read = co_await reading;
      if (!read) co_return read.error();
      if (read->empty()) co_return std::optional<Event>();
      batch_ = std::move(*read);
      index_ = 0;
    }
    co_return take_one();
  }

  /// The next events, as they were sent; an empty batch at the end. Events that `next` has fetched come first.
  [[nodiscard]] Async<Result<Batch<Event>>> next_batch() {
    if (std::optional<Result<Batch<Event>>> known = read_known()) co_return std::move(*known);
    Result<Part> part = co_await server_->template call_within<typename Server::Next>(Duration::zero());
    co_return finish_read(std::move(part));
  }
  /// As `next_batch`, from outside of processes: blocks this thread.
  [[nodiscard]] Result<Batch<Event>> next_batch_blocking() {
    if (this_process::inside()) return Error(ErrorCode::wrong_thread, "inside a process, await next_batch");
    if (std::optional<Result<Batch<Event>>> known = read_known()) return std::move(*known);
    return finish_read(server_->template call_blocking_within<typename Server::Next>(Duration::zero()));
  }

  /// All events as a range, for one loop outside of processes: `for (const Event& event : stream.blocking())`. It ends
  /// where the stream ends or fails; `result` tells which. Leaving the loop early leaves the stream open.
  [[nodiscard]] BlockingEvents<Event> blocking() noexcept { return BlockingEvents<Event>(*this); }

  /// Ends the stream: when this has returned its subscriptions are cancelled and its process has ended, or both will
  /// be when a producer that keeps silent for 5 s comes back. Reading gives nothing more.
  [[nodiscard]] Async<Result<void>> close() {
    if (!begin_close()) co_return Result<void>();
    const Pid server = server_->pid();
    server_->cast(typename Server::CloseNow{});
    Async<Result<ExitReason>> ending = this_process::wait_for_exit(server, Duration::zero());
    Result<ExitReason> ended = co_await ending;
    co_return Result<void>();
  }
  Result<void> close_blocking() {
    if (this_process::inside()) return Error(ErrorCode::wrong_thread, "inside a process, await close");
    if (!begin_close()) return {};
    Result<void> closed = server_->template call_blocking_within<typename Server::Close>(Duration::zero());
    if (!closed && closed.error().code() != ErrorCode::shutting_down) return {};  // it has ended before us
    return closed;
  }

  /// Nothing while it can be read or has ended; why it failed otherwise.
  [[nodiscard]] Result<void> result() const {
    if (error_) return *error_;
    return {};
  }
  /// The reason of the producer that made the stream fail.
  [[nodiscard]] const std::optional<ExitReason>& end_reason() const noexcept { return end_reason_; }

 private:
  friend class BlockingEvents<Event>;
  using Part = detail::StreamPart<Event>;

  /// What can be said without asking: the end, or what was fetched already. Starts the stream's process otherwise.
  [[nodiscard]] std::optional<Result<Batch<Event>>> read_known() {
    if (index_ < batch_.size()) {
      Batch<Event> rest = std::move(batch_);
      static_cast<void>(rest.split_front(std::exchange(index_, 0)));
      return rest;
    }
    if (error_) return *error_;
    if (ended_ || producers_.empty()) return Batch<Event>();
    open();
    return std::nullopt;
  }

  [[nodiscard]] Result<Batch<Event>> finish_read(Result<Part> part) {
    if (!part) {
      error_ = part.error();
      return part.error();
    }
    if (part->failure) {
      end_reason_ = std::move(part->failure);
      error_ = detail::stream_error(*end_reason_);
      ended_ = true;
      return *error_;
    }
    if (part->events.empty()) ended_ = true;
    return std::move(part->events);
  }

  [[nodiscard]] std::optional<Event> take_one() {
    const std::size_t index = index_++;
    if (const std::span<Event> own = batch_.mutable_events(); !own.empty()) return std::move(own[index]);
    if constexpr (std::is_copy_constructible_v<Event>) {
      return batch_[index];
    } else {
      DAGVERK_ASSERT(batch_.unique());
      return std::nullopt;
    }
  }

  /// False when there is no process to end.
  [[nodiscard]] bool begin_close() noexcept {
    batch_.reset();
    index_ = 0;
    return !std::exchange(ended_, true) && server_;
  }

  std::vector<ProducerRef<Event>> producers_;
  StreamOptions<Event> options_;
  std::optional<ServerRef<Server>> server_;  // from the first read on
  Batch<Event> batch_;                       // fetched by `next`, from index_ on not yet given
  std::size_t index_ = 0;
  bool ended_ = false;
  std::optional<Error> error_;
  std::optional<ExitReason> end_reason_;
};

/// The range that Stream::blocking gives. An input range: one pass.
template <class Event>
class BlockingEvents {
 public:
  class Iterator {
   public:
    using value_type = Event;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    explicit Iterator(BlockingEvents& owner) noexcept : owner_(&owner) {}
    [[nodiscard]] const Event& operator*() const noexcept { return owner_->batch_[owner_->index_]; }
    Iterator& operator++() {
      if (++owner_->index_ == owner_->batch_.size()) owner_->fetch();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& it, std::default_sentinel_t /*end*/) noexcept { return it.at_end(); }

   private:
    [[nodiscard]] bool at_end() const noexcept { return owner_->index_ == owner_->batch_.size(); }

    BlockingEvents* owner_;
  };

  explicit BlockingEvents(Stream<Event>& stream) noexcept : stream_(&stream) {}
  BlockingEvents(BlockingEvents&& other) = delete;
  BlockingEvents& operator=(BlockingEvents&&) = delete;
  /// What this loop has fetched and not looked at is read next.
  ~BlockingEvents() {
    if (index_ == batch_.size()) return;
    static_cast<void>(batch_.split_front(index_ + 1));  // the loop was left at this one
    stream_->batch_ = std::move(batch_);
    stream_->index_ = 0;
  }

  [[nodiscard]] Iterator begin() {
    fetch();
    return Iterator(*this);
  }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  void fetch() {
    index_ = 0;
    Result<Batch<Event>> read = stream_->next_batch_blocking();
    if (!read && !stream_->error_) stream_->error_ = read.error();
    batch_ = read ? std::move(*read) : Batch<Event>();
  }

  Stream<Event>* stream_;
  Batch<Event> batch_;
  std::size_t index_ = 0;
};

/// A stream of the events of `producers`. Errors: `invalid_argument` for bad demand, here and not when it is read.
template <class Event>
[[nodiscard]] Result<Stream<Event>> stream(std::vector<ProducerRef<Event>> producers,
                                           StreamOptions<Event> options = {}) {
  const SubscribeOptions<Event>& asked = options.subscription;
  Result<detail::DemandRange> range = detail::check_demand(asked.max_demand, asked.min_demand);
  if (!range) return range.error();
  return Stream<Event>(std::move(producers), std::move(options));
}
template <detail::ProducingStage Stage>
[[nodiscard]] Result<Stream<typename Stage::Output>> stream(ServerRef<Stage> producer,
                                                            StreamOptions<typename Stage::Output> options = {}) {
  std::vector<ProducerRef<typename Stage::Output>> producers{producer};
  return stream(std::move(producers), std::move(options));
}

}  // namespace dagverk
