#pragma once

#include "dagverk/base/assert.hpp"
#include "dagverk/stage/detail/batch_memory.hpp"

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <new>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace dagverk {

template <class T>
class BatchBuilder;

namespace detail {

/// One allocation: this head, then `capacity` places for events, of which `size` are constructed.
template <class T>
struct BatchStorage {
  std::atomic<std::uint32_t> holders{1};
  std::uint32_t size = 0;
  std::uint32_t capacity = 0;

  static constexpr bool over_aligned = alignof(T) > 16;
  static constexpr std::size_t events_offset = (12 + alignof(T) - 1) / alignof(T) * alignof(T);
  static constexpr std::size_t capacity_max = std::numeric_limits<std::uint32_t>::max();

  [[nodiscard]] static std::size_t bytes(std::size_t capacity) noexcept { return events_offset + capacity * sizeof(T); }
  [[nodiscard]] T* events() noexcept {
    return std::launder(reinterpret_cast<T*>(reinterpret_cast<char*>(this) + events_offset));
  }

  [[nodiscard]] static BatchStorage* allocate(std::size_t capacity) {
    DAGVERK_ASSERT(capacity <= capacity_max);
    void* memory = nullptr;
    if constexpr (over_aligned) {
      memory = ::operator new(bytes(capacity), std::align_val_t{alignof(T)});
    } else {
      memory = batch_allocate(bytes(capacity));
    }
    auto* storage = new (memory) BatchStorage;
    storage->capacity = static_cast<std::uint32_t>(capacity);
    return storage;
  }

  static void destroy(BatchStorage* storage) noexcept {
    std::destroy_n(storage->events(), storage->size);
    const std::size_t capacity = storage->capacity;
    storage->~BatchStorage();
    if constexpr (over_aligned) {
      ::operator delete(storage, std::align_val_t{alignof(T)});
    } else {
      batch_free(storage, bytes(capacity));
    }
  }
};

}  // namespace detail

/// Events that travel together: one allocation, immutable while it is shared, so that a copy costs one count.
///
/// Semantics: a value that looks like a span of const events. Copies and slices share the events. Who holds a range
///            alone (`unique`) may change and move its events: `take_events`. Splitting a batch with `split_front`
///            keeps both parts unique; `slice` and copying do not, until the others are gone.
/// Threads:   distinct copies may be used on distinct threads; the events are freed by whoever lets go last.
/// Errors:    building may throw what copying an event throws. Everything else does not throw.
/// Bounds:    at most 2^32 - 1 events; 24 bytes per handle, 16 and the events per batch.
template <class T>
class Batch {
  static_assert(std::is_object_v<T> && std::is_nothrow_destructible_v<T>, "events are objects");

 public:
  using value_type = T;
  using const_iterator = const T*;
  using iterator = const_iterator;

  Batch() noexcept = default;  ///< empty, without an allocation
  Batch(const Batch& other) noexcept : storage_(other.storage_), first_(other.first_), size_(other.size_) {
    if (storage_ == nullptr) return;
    if (other.alone_.load(std::memory_order_relaxed)) other.alone_.store(false, std::memory_order_relaxed);
    alone_.store(false, std::memory_order_relaxed);
    storage_->holders.fetch_add(1, std::memory_order_relaxed);
  }
  Batch(Batch&& other) noexcept
      : storage_(std::exchange(other.storage_, nullptr)),
        first_(std::exchange(other.first_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        alone_(other.alone_.load(std::memory_order_relaxed)) {}
  Batch& operator=(Batch other) noexcept {
    swap(other);
    return *this;
  }
  ~Batch() { release(); }

  void swap(Batch& other) noexcept {
    std::swap(storage_, other.storage_);
    std::swap(first_, other.first_);
    std::swap(size_, other.size_);
    const bool alone = alone_.load(std::memory_order_relaxed);
    alone_.store(other.alone_.load(std::memory_order_relaxed), std::memory_order_relaxed);
    other.alone_.store(alone, std::memory_order_relaxed);
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  /// How many events this handle keeps in memory: a slice keeps all that were built with it.
  [[nodiscard]] std::size_t stored_size() const noexcept { return storage_ == nullptr ? 0 : storage_->size; }
  [[nodiscard]] const T* data() const noexcept { return first_; }
  [[nodiscard]] const T* begin() const noexcept { return first_; }
  [[nodiscard]] const T* end() const noexcept { return first_ + size_; }
  [[nodiscard]] const T& operator[](std::size_t index) const noexcept { return first_[index]; }
  [[nodiscard]] const T& front() const noexcept { return first_[0]; }
  [[nodiscard]] const T& back() const noexcept { return first_[size_ - 1]; }
  [[nodiscard]] std::span<const T> span() const noexcept { return {first_, size_}; }

  /// `count` events from `offset` on (fewer when there are not so many), without copying any.
  [[nodiscard]] Batch slice(std::size_t offset, std::size_t count = std::numeric_limits<std::size_t>::max()) const {
    if (offset >= size_ || count == 0) return {};
    Batch part(*this);
    part.first_ += offset;
    part.size_ = static_cast<std::uint32_t>(std::min<std::size_t>(count, size_ - offset));
    return part;
  }

  /// Cuts the first `count` events off into a batch of their own; this one keeps the rest. No event is copied, and
  /// parts of a unique batch are unique.
  [[nodiscard]] Batch split_front(std::size_t count) {
    if (count >= size_) return std::move(*this);
    if (count == 0) return {};
    const bool alone = alone_.load(std::memory_order_relaxed);
    Batch part(*this);
    part.size_ = static_cast<std::uint32_t>(count);
    first_ += count;
    size_ -= static_cast<std::uint32_t>(count);
    alone_.store(alone, std::memory_order_relaxed);
    part.alone_.store(alone, std::memory_order_relaxed);
    return part;
  }

  /// Calls `take(Batch)` `count` times, each time with the same events: cheaper than copying them as often, because the
  /// holders are counted once. `count` is 1 or more; the last is given this handle.
  template <class Take>
  void hand_out(std::size_t count, Take&& take) && {
    if (storage_ != nullptr && count > 1) {
      const auto more = static_cast<std::uint32_t>(count - 1);
      if (storage_->holders.load(std::memory_order_acquire) == 1) {
        storage_->holders.store(more + 1, std::memory_order_relaxed);  // nobody else holds any of it
      } else {
        storage_->holders.fetch_add(more, std::memory_order_relaxed);
      }
      alone_.store(false, std::memory_order_relaxed);
      struct Counted {
        ~Counted() {
          if (left != 0) storage->holders.fetch_sub(left, std::memory_order_acq_rel);  // `take` threw
        }
        Storage* storage;
        std::uint32_t left;
      } counted{storage_, more};
      while (counted.left != 0) {
        Batch copy;
        copy.storage_ = storage_;
        copy.first_ = first_;
        copy.size_ = size_;
        copy.alone_.store(false, std::memory_order_relaxed);
        --counted.left;
        take(std::move(copy));
      }
    }
    take(std::move(*this));
  }

  /// True when nobody else can see these events.
  [[nodiscard]] bool unique() const noexcept {
    // Acquire: what another holder read or did before it let go happened before we change anything.
    return storage_ == nullptr || alone_.load(std::memory_order_relaxed) ||
           storage_->holders.load(std::memory_order_acquire) == 1;
  }

  /// The events, to be changed or moved from, when this batch is unique; otherwise an empty span.
  [[nodiscard]] std::span<T> mutable_events() noexcept {
    if (!unique()) return {};
    return {first_, size_};
  }

  /// The events as values: moved out when this batch is unique, else copied. It is empty afterwards. A batch of a
  /// move-only type must be unique: that is so behind the demand and partition dispatchers, and not behind the
  /// broadcast dispatcher.
  [[nodiscard]] std::vector<T> take_events() {
    std::vector<T> events;
    events.reserve(size_);
    if (unique()) {
      for (T& event : std::span<T>(first_, size_)) events.push_back(std::move(event));
    } else if constexpr (std::is_copy_constructible_v<T>) {
      for (const T& event : *this) events.push_back(event);
    } else {
      DAGVERK_ASSERT(unique());
    }
    release();
    return events;
  }

  /// Lets go of the events.
  void reset() noexcept { release(); }

 private:
  friend class BatchBuilder<T>;
  using Storage = detail::BatchStorage<T>;

  explicit Batch(Storage* storage) noexcept : storage_(storage), first_(storage->events()), size_(storage->size) {}

  void release() noexcept {
    Storage* storage = std::exchange(storage_, nullptr);
    first_ = nullptr;
    size_ = 0;
    alone_.store(true, std::memory_order_relaxed);
    if (storage == nullptr) return;
    // The last holder need not count down. Acquire and release: whatever holders did comes before the destruction.
    if (storage->holders.load(std::memory_order_acquire) == 1 ||
        storage->holders.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      Storage::destroy(storage);
    }
  }

  Storage* storage_ = nullptr;
  T* first_ = nullptr;
  std::uint32_t size_ = 0;
  // No other handle covers an event of this range. Atomic because copying clears it, and a const batch may be copied
  // by several threads at once.
  mutable std::atomic<bool> alone_{true};
};

/// Collects events for one batch; building it copies none.
///
/// Semantics: grows by doubling. `build` hands the events over and leaves the builder empty.
/// Threads:   not thread-safe.
template <class T>
class BatchBuilder {
 public:
  BatchBuilder() noexcept = default;
  explicit BatchBuilder(std::size_t capacity) { reserve(capacity); }
  BatchBuilder(BatchBuilder&& other) noexcept : storage_(std::exchange(other.storage_, nullptr)) {}
  BatchBuilder& operator=(BatchBuilder&& other) noexcept {
    std::swap(storage_, other.storage_);
    return *this;
  }
  BatchBuilder(const BatchBuilder&) = delete;
  BatchBuilder& operator=(const BatchBuilder&) = delete;
  ~BatchBuilder() { clear(); }

  [[nodiscard]] std::size_t size() const noexcept { return storage_ == nullptr ? 0 : storage_->size; }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }

  void reserve(std::size_t capacity) {
    if (storage_ == nullptr || storage_->capacity < capacity) grow(capacity);
  }

  template <class... Args>
  T& emplace(Args&&... args) {
    if (storage_ == nullptr || storage_->size == storage_->capacity) [[unlikely]]
      return emplace_growing(std::forward<Args>(args)...);
    T* place = storage_->events() + storage_->size;
    std::construct_at(place, std::forward<Args>(args)...);
    ++storage_->size;
    return *place;
  }
  void push(T event) { emplace(std::move(event)); }

  /// Adds `count` events, the i-th built from `make(i)`.
  template <class Make>
  void append_of(std::size_t count, Make& make) {
    reserve(size() + count);
    if constexpr (std::is_nothrow_invocable_v<Make&, std::size_t> &&
                  std::is_nothrow_constructible_v<T, std::invoke_result_t<Make&, std::size_t>>) {
      T* const place = storage_->events() + storage_->size;  // nothing can throw: counted once, so that it vectorises
#pragma GCC unroll 4
      for (std::size_t index = 0; index < count; ++index) std::construct_at(place + index, make(index));
      storage_->size += static_cast<std::uint32_t>(count);
    } else {
      for (std::size_t index = 0; index < count; ++index) emplace(make(index));
    }
  }

  /// For code that fills in bulk: `count` places behind the events. Whoever constructs the first n of them says so by
  /// `constructed(n)` before anything else is done with the builder.
  [[nodiscard]] T* places(std::size_t count) {
    reserve(size() + count);
    return storage_->events() + storage_->size;
  }
  void constructed(std::size_t count) noexcept {
    if (count != 0) storage_->size += static_cast<std::uint32_t>(count);
  }

  /// The events so far, as one batch.
  [[nodiscard]] Batch<T> build() {
    if (empty()) return {};
    return Batch<T>(std::exchange(storage_, nullptr));
  }

  void clear() noexcept {
    if (storage_ != nullptr) Storage::destroy(std::exchange(storage_, nullptr));
  }

 private:
  using Storage = detail::BatchStorage<T>;
  static constexpr std::size_t first_capacity = 8;

  template <class... Args>
  T& emplace_growing(Args&&... args) {
    T event(std::forward<Args>(args)...);  // before growing: it may be made from an event in here
    grow(std::max(first_capacity, size() * 2));
    T* place = storage_->events() + storage_->size;
    std::construct_at(place, std::move(event));
    ++storage_->size;
    return *place;
  }

  void grow(std::size_t capacity) {
    Storage* larger = Storage::allocate(capacity);
    if (storage_ != nullptr) {
      // Moving an event must not throw half-way; a type that may is moved all the same and ends the process if it does.
      [&]() noexcept { std::uninitialized_move_n(storage_->events(), storage_->size, larger->events()); }();
      larger->size = storage_->size;
      Storage::destroy(storage_);
    }
    storage_ = larger;
  }

  Storage* storage_ = nullptr;
};

/// A batch of the events in `events`: copied from an lvalue, moved from an rvalue range that owns them.
template <std::ranges::input_range Range, class T = std::ranges::range_value_t<Range>>
[[nodiscard]] Batch<T> make_batch(Range&& events) {
  BatchBuilder<T> builder;
  if constexpr (std::ranges::sized_range<Range>) builder.reserve(std::ranges::size(events));
  for (auto&& event : events) {
    if constexpr (std::is_rvalue_reference_v<Range&&> && !std::ranges::borrowed_range<Range> &&
                  !std::is_const_v<std::remove_reference_t<Range>>) {
      builder.emplace(std::move(event));
    } else {
      builder.emplace(std::forward<decltype(event)>(event));
    }
  }
  return builder.build();
}
template <class T>
[[nodiscard]] Batch<T> make_batch(std::initializer_list<T> events) {
  return make_batch(std::span<const T>(events.begin(), events.size()));
}

/// A batch of `count` events, the i-th built from `make(i)`.
template <class Make>
[[nodiscard]] auto make_batch_of(std::size_t count, Make make) {
  using T = std::remove_cvref_t<std::invoke_result_t<Make&, std::size_t>>;
  BatchBuilder<T> builder;
  if (count != 0) builder.append_of(count, make);
  return builder.build();
}

}  // namespace dagverk
