#pragma once

#include "dagverk/base/concat.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/stage/buffer_keep.hpp"
#include "dagverk/stage/detail/spill_file.hpp"
#include "dagverk/stage/detail/stage_log.hpp"
#include "dagverk/stage/overflow.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace dagverk {

/// How events become bytes and come back.
///
/// Errors: `decode` says by its Result that bytes are no event; both may throw, which ends the subscription.
template <class Event>
struct EventCodec {
  /// Appends the event's bytes to `bytes`.
  std::function<void(const Event& event, std::string& bytes)> encode;
  std::function<Result<Event>(std::string_view bytes)> decode;
};

/// The codec of events that are their bytes: trivially copyable, without pointers.
template <class Event>
  requires std::is_trivially_copyable_v<Event> && std::is_default_constructible_v<Event>
[[nodiscard]] EventCodec<Event> bytes_codec() {
  return {[](const Event& event, std::string& bytes) {
            bytes.append(reinterpret_cast<const char*>(&event), sizeof(Event));
          },
          [](std::string_view bytes) -> Result<Event> {
            if (bytes.size() != sizeof(Event)) return Error(ErrorCode::malformed, "an event of another size");
            Event event;
            bytes.copy(reinterpret_cast<char*>(&event), sizeof(Event));
            return event;
          }};
}

struct SpillOptions {
  /// Where the file is made, without a name that others see; the system's directory for temporary files when empty. The
  /// file is gone when the subscription ends, and when the program does, however that comes.
  std::string directory = {};
  /// What the file may take, headers of 4 bytes per event included. Units: bytes.
  std::uint64_t bytes_max = std::uint64_t{64} << 20U;
  /// Which events a full file gives up.
  BufferKeep keep = BufferKeep::newest;
  /// As many events wait in memory before the file is used. 1 or more.
  std::size_t events_in_memory = 1000;
};

namespace detail {

/// Oldest first: events in memory, then those in the file. New ones go into memory only while the file is empty.
template <class Event>
class SpillQueue final : public OverflowQueue<Event> {
 public:
  SpillQueue(SpillFile file, EventCodec<Event> codec, const SpillOptions& options)
      : codec_(std::move(codec)),
        memory_(options.events_in_memory, BufferKeep::oldest),
        memory_max_(options.events_in_memory),
        keep_(options.keep),
        file_(std::move(file)) {}

  void push(Batch<Event> events, DropCounter& drops) override {
    if (file_.count() == 0) {
      static_cast<void>(memory_.store(events.split_front(memory_max_ - memory_.size())));
    }
    for (const Event& event : events) {
      bytes_.clear();
      codec_.encode(event, bytes_);
      if (!file_.fits_behind(block_, bytes_.size())) {
        write(drops);
        if (!make_room(drops)) continue;
      }
      block_.add(bytes_);
      if (block_.size_bytes() >= block_max) write(drops);
    }
    write(drops);
  }
  [[nodiscard]] Batch<Event> take(std::size_t count, DropCounter& drops) override {
    if (!memory_.empty()) return memory_.take(count);
    BatchBuilder<Event> read;
    while (file_.count() != 0 && read.size() < std::min(count, memory_max_)) {
      const Result<void> taken = file_.take(bytes_);
      if (!taken) {
        lose_all("read", taken.error(), drops);
        break;
      }
      Result<Event> event = codec_.decode(bytes_);
      if (event) {
        read.emplace(std::move(*event));
      } else {
        drops.add(DropReason::spill_failed, 1);
        warn_spill_failed("decode", event.error().message(), 1);
      }
    }
    return read.build();
  }
  [[nodiscard]] std::size_t size() const noexcept override {
    return memory_.size() + static_cast<std::size_t>(file_.count());
  }

 private:
  static constexpr std::size_t block_max = std::size_t{1} << 16U;

  /// Makes room for `bytes_`, or gives it up, as it was told. False: given up.
  [[nodiscard]] bool make_room(DropCounter& drops) {
    if (!file_.could_fit(bytes_.size()) || (keep_ == BufferKeep::oldest && !file_.fits_behind(block_, bytes_.size()))) {
      drops.add(DropReason::overflow, 1);
      return false;
    }
    while (!file_.fits_behind(block_, bytes_.size())) {
      if (Result<void> dropped = file_.drop_oldest(); !dropped) {
        lose_all("read", dropped.error(), drops);
        break;
      }
      drops.add(DropReason::overflow, 1);
    }
    return true;
  }
  /// Appends what was gathered.
  void write(DropCounter& drops) {
    if (block_.count() == 0) return;
    if (Result<void> written = file_.append(block_); !written) {
      drops.add(DropReason::spill_failed, block_.count());
      if (!std::exchange(write_failed_, true)) warn_spill_failed("write", written.error().message(), block_.count());
    } else {
      write_failed_ = false;
    }
    block_.clear();
  }
  void lose_all(std::string_view what, const Error& error, DropCounter& drops) {
    const std::uint64_t lost = file_.clear();  // what lies behind cannot be found any more
    drops.add(DropReason::spill_failed, lost);
    warn_spill_failed(what, error.message(), lost);
  }

  EventCodec<Event> codec_;
  EventBuffer<Event> memory_;
  std::size_t memory_max_;
  BufferKeep keep_;
  SpillFile file_;
  SpillFile::Block block_;  // what one push writes together
  std::string bytes_;
  bool write_failed_ = false;  // a failure was logged and nothing was written since
};

}  // namespace detail

/// The rule that lets events wait in a file when more wait than shall stay in memory.
///
/// Semantics: nothing is dropped before the file is full; then as SpillOptions::keep says, counted as `overflow`. What
///            cannot be written, read or decoded is dropped, counted as `spill_failed` and logged
///            (`stage.spill_failed`); the subscription goes on, and others do not notice.
/// Threads:   the file is written and read in the producer's process, through the system's cache, and never synced.
///            An emission costs one write per 64 KiB that exceeds memory; what an ask gets from the file, and what a
///            full file gives up, one read per 64 KiB. Some 10 µs each, see docs/decisions/015. A disk that stalls for
///            so long that the cache is full stalls the producer, and the thread it runs on: give a producer whose disk
///            may do so a thread of its own (`static constexpr bool blocking = true;`, see GenServer).
/// Errors:    a file that cannot be made refuses the subscription, with the path and the reason.
/// Bounds:    `events_in_memory` events, 64 KiB read ahead, and `bytes_max` bytes in the file.
template <class Event>
[[nodiscard]] Overflow<Event> spill(SpillOptions options, EventCodec<Event> codec) {
  using Queue = OverflowQueue<Event>;
  std::string name = concat("spill(", options.bytes_max, ")");
  auto make = [options = std::move(options),
               codec = std::move(codec)](const Clock& /*clock*/) -> Result<std::unique_ptr<Queue>> {
    if (options.events_in_memory == 0) return detail::bad_rule("spill", "events_in_memory");
    if (options.bytes_max == 0) return detail::bad_rule("spill", "bytes_max");
    Result<detail::SpillFile> file = detail::SpillFile::make(options.directory, options.bytes_max);
    if (!file) return file.error();
    return std::make_unique<detail::SpillQueue<Event>>(std::move(*file), codec, options);
  };
  return Overflow<Event>(std::move(name), std::move(make));
}
/// As above, for events that are their bytes.
template <class Event>
[[nodiscard]] Overflow<Event> spill(SpillOptions options = {}) {
  return spill<Event>(std::move(options), bytes_codec<Event>());
}

}  // namespace dagverk
