#pragma once

#include "dagverk/stage/options.hpp"

#include <atomic>
#include <cstdint>
#include <utility>

namespace dagverk::detail {

/// Options as subscriptions keep them: many have the same, which are there once. Empty, or one holder of a value that
/// nobody changes any more.
///
/// Threads: each object one at a time; the holders of one value any.
template <class Event>
class KeptOptions {
 public:
  KeptOptions() noexcept = default;
  explicit KeptOptions(SubscribeOptions<Event> options) : shared_(new Shared{std::move(options)}) {}
  KeptOptions(const KeptOptions& other) noexcept : shared_(other.shared_) {
    if (shared_ != nullptr) shared_->holders.fetch_add(1, std::memory_order_relaxed);  // there is one, who stays
  }
  KeptOptions(KeptOptions&& other) noexcept : shared_(std::exchange(other.shared_, nullptr)) {}
  KeptOptions& operator=(KeptOptions other) noexcept {
    std::swap(shared_, other.shared_);
    return *this;
  }
  ~KeptOptions() {
    // What each holder has read comes before the destruction.
    if (shared_ != nullptr && shared_->holders.fetch_sub(1, std::memory_order_acq_rel) == 1) delete shared_;
  }

  [[nodiscard]] explicit operator bool() const noexcept { return shared_ != nullptr; }
  [[nodiscard]] const SubscribeOptions<Event>& operator*() const noexcept { return shared_->options; }
  [[nodiscard]] const SubscribeOptions<Event>* operator->() const noexcept { return &shared_->options; }

 private:
  struct Shared {
    const SubscribeOptions<Event> options;
    std::atomic<std::uint32_t> holders{1};
  };
  Shared* shared_ = nullptr;
};

/// Whether two subscriptions are to be treated alike. With a selector never: nobody can look into it.
template <class Event>
[[nodiscard]] bool same_options(const SubscribeOptions<Event>& a, const SubscribeOptions<Event>& b) noexcept {
  // By all their names, so that a new option does not get forgotten here.
  const auto& [a_max, a_min, a_cancel, a_manual, a_selector, a_partition, a_overflow, a_unmerged, a_resubscribe] = a;
  const auto& [b_max, b_min, b_cancel, b_manual, b_selector, b_partition, b_overflow, b_unmerged, b_resubscribe] = b;
  return a_max == b_max && a_min == b_min && a_cancel == b_cancel && a_manual == b_manual && !a_selector &&
         !b_selector && a_partition == b_partition && a_overflow == b_overflow && a_unmerged == b_unmerged &&
         a_resubscribe == b_resubscribe;
}

/// Whether options hold nothing of the user's own, whose life must not be longer than the subscription's.
template <class Event>
[[nodiscard]] bool plain_options(const SubscribeOptions<Event>& options) noexcept {
  return !options.selector && options.overflow.waits();
}

}  // namespace dagverk::detail
