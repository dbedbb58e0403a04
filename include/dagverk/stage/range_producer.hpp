#pragma once

#include "dagverk/runtime/runtime_base.hpp"
#include "dagverk/stage/producer.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <type_traits>
#include <utility>

namespace dagverk {

/// What a RangeProducer does when its last consumer has left.
enum class LastCancel : std::uint8_t {
  go_on,  ///< it waits for the next consumer
  stop,   ///< it ends `normal`
};

struct RangeProducerOptions {
  std::string name = {};  ///< registered; empty: none
  bool link = true;       ///< linked to the process that starts it; one started from outside has nobody to link to
  LastCancel last_cancel = LastCancel::go_on;
  ProducerOptions producer = {};
};

/// A producer of the elements of a range, in order, each once.
///
/// Semantics: GenStage's from_enumerable. Takes exactly as many elements from the range as are asked for; nothing is
///            taken before. When the range has ended it emits what it took last and, once all has been sent, ends
///            `normal`: a consumer sees all events, then the end. Start it with `range_producer` or
///            `generator_producer`.
/// Threads:   as GenServer: the range's iterators run in this process. One that blocks blocks this stage alone, and its
///            thread.
/// Errors:    what the range throws ends this stage with that error, behind the elements taken before.
/// Bounds:    batches of at most 65,536 elements.
template <std::ranges::view View>
  requires std::ranges::input_range<View>
class RangeProducer final : public Producer<RangeProducer<View>, std::ranges::range_value_t<View>> {
  using Out = std::ranges::range_value_t<View>;
  using Base = Producer<RangeProducer<View>, Out>;

 public:
  explicit RangeProducer(View range, const RangeProducerOptions& options = {})
      : RangeProducer(std::move(range), demand_dispatcher<Out>(), options) {}
  RangeProducer(View range, std::unique_ptr<Dispatcher<Out>> dispatcher, const RangeProducerOptions& options = {})
      : Base(std::move(dispatcher), options.producer), range_(std::move(range)), last_cancel_(options.last_cancel) {}

  void handle_demand(std::uint64_t count) {
    while (count != 0 && !ended_) {
      const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(count, batch_max));
      take(part);
      count -= part;
    }
    if (ended_) Base::stop_when_drained();
  }
  void handle_cancel(const SubscriptionInfo& /*info*/, const SubscriptionEnd& /*why*/) {
    if (last_cancel_ == LastCancel::stop && Base::consumer_count() == 0) this_process::stop();
  }

 private:
  static constexpr std::size_t batch_max = 65'536;
  static constexpr std::size_t reserve_max = 1024;

  void take(std::size_t count) {
    BatchBuilder<Out> taken(std::min(count, reserve_max));
    try {
      if (!at_) {
        at_.emplace(std::ranges::begin(range_));
      } else {
        ++*at_;  // not right after an element was taken: finding the next one may take long
      }
      for (;;) {
        if (*at_ == std::ranges::end(range_)) {
          ended_ = true;
          break;
        }
        taken.emplace(**at_);
        if (taken.size() == count) break;
        ++*at_;
      }
    } catch (...) {
      Base::emit(taken.build());
      throw;
    }
    Base::emit(taken.build());
  }

  View range_;
  std::optional<std::ranges::iterator_t<View>> at_;  // at the element that was taken last
  LastCancel last_cancel_;
  bool ended_ = false;
};

namespace detail {

/// What a function gives until it gives nothing, as a range.
template <class Function>
class GeneratedView : public std::ranges::view_interface<GeneratedView<Function>> {
 public:
  using Value = typename std::invoke_result_t<Function&>::value_type;

  class Iterator {
   public:
    using value_type = Value;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    explicit Iterator(GeneratedView& owner) noexcept : owner_(&owner) {}
    [[nodiscard]] Value&& operator*() const noexcept { return std::move(*owner_->current_); }
    Iterator& operator++() {
      owner_->current_ = (*owner_->function_)();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& it, std::default_sentinel_t /*end*/) noexcept { return it.at_end(); }

   private:
    [[nodiscard]] bool at_end() const noexcept { return !owner_->current_.has_value(); }

    GeneratedView* owner_;
  };

  explicit GeneratedView(Function function) : function_(std::make_unique<Function>(std::move(function))) {}
  [[nodiscard]] Iterator begin() {
    current_ = (*function_)();
    return Iterator(*this);
  }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  std::unique_ptr<Function> function_;  // a view can be assigned, a closure cannot
  std::optional<Value> current_;
};

template <class Function>
concept GeneratorFunction = std::move_constructible<Function> && requires(Function& function) {
  typename std::invoke_result_t<Function&>::value_type;
  requires std::same_as<std::invoke_result_t<Function&>,
                        std::optional<typename std::invoke_result_t<Function&>::value_type>>;
};

[[nodiscard]] inline StartOptions range_start_options(const RangeProducerOptions& options) {
  StartOptions start;
  start.name = options.name;
  if (options.link && this_process::inside()) start.parent = this_process::pid();
  return start;
}

}  // namespace detail

template <class Range>
using RangeProducerOf = RangeProducer<std::views::all_t<Range>>;
template <class Function>
using GeneratorProducerOf = RangeProducer<detail::GeneratedView<Function>>;

/// Starts a producer of `range`, from outside of processes. A range that is an lvalue is borrowed and must outlive the
/// stage; any other is kept. Errors: as RuntimeBase::start_with.
template <std::ranges::viewable_range Range>
[[nodiscard]] Result<ServerRef<RangeProducerOf<Range>>> range_producer(RuntimeBase& runtime, Range&& range,
                                                                       const RangeProducerOptions& options = {}) {
  return runtime.start_with<RangeProducerOf<Range>>(detail::range_start_options(options),
                                                    std::views::all(std::forward<Range>(range)), options);
}
/// As above, with a dispatcher of one's choice.
template <std::ranges::viewable_range Range>
[[nodiscard]] Result<ServerRef<RangeProducerOf<Range>>> range_producer(
    RuntimeBase& runtime, Range&& range, std::unique_ptr<Dispatcher<std::ranges::range_value_t<Range>>> dispatcher,
    const RangeProducerOptions& options = {}) {
  return runtime.start_with<RangeProducerOf<Range>>(detail::range_start_options(options),
                                                    std::views::all(std::forward<Range>(range)), std::move(dispatcher),
                                                    options);
}
/// As above, inside a process: `co_await range_producer(std::views::iota(0, 10))`. Options stand in a variable.
template <std::ranges::viewable_range Range>
[[nodiscard]] auto range_producer(Range&& range) {
  const RangeProducerOptions options;
  return this_process::start_with<RangeProducerOf<Range>>(detail::range_start_options(options),
                                                          std::views::all(std::forward<Range>(range)), options);
}
template <std::ranges::viewable_range Range>
[[nodiscard]] auto range_producer(Range&& range, const RangeProducerOptions& options) {
  return this_process::start_with<RangeProducerOf<Range>>(detail::range_start_options(options),
                                                          std::views::all(std::forward<Range>(range)), options);
}

/// Starts a producer of what `function()` returns, a `std::optional`, until it is empty.
template <detail::GeneratorFunction Function>
[[nodiscard]] Result<ServerRef<GeneratorProducerOf<Function>>> generator_producer(
    RuntimeBase& runtime, Function function, const RangeProducerOptions& options = {}) {
  return runtime.start_with<GeneratorProducerOf<Function>>(
      detail::range_start_options(options), detail::GeneratedView<Function>(std::move(function)), options);
}
/// As above, inside a process: `co_await generator_producer(std::move(function))`.
template <class Function>
  requires(!std::is_lvalue_reference_v<Function> && detail::GeneratorFunction<Function>)
[[nodiscard]] auto generator_producer(Function&& function, const RangeProducerOptions& options) {
  return this_process::start_with<GeneratorProducerOf<Function>>(
      detail::range_start_options(options), detail::GeneratedView<Function>(std::forward<Function>(function)), options);
}
template <class Function>
  requires(!std::is_lvalue_reference_v<Function> && detail::GeneratorFunction<Function>)
[[nodiscard]] auto generator_producer(Function&& function) {
  const RangeProducerOptions options;
  return generator_producer(std::forward<Function>(function), options);
}

}  // namespace dagverk
