#pragma once

#include "dagverk/base/mutex.hpp"
#include "dagverk/jobs/job_store.hpp"
#include "dagverk/runtime/completion.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace dagverk::stores::redis {

/// Who waits for what kind of change, and how often each kind happened. Shared by the store, its watching connections
/// and the processes that wait, each of which may be gone before the others.
///
/// Threads: any. The lock is held for looking at the list alone: who is woken is woken after it.
/// Bounds:  an entry for each process that waits.
class ChangeHub {
 public:
  using Count = Result<std::uint64_t>;

  [[nodiscard]] std::uint64_t count(jobs::ChangeKind kind) const noexcept { return of(kind).load(); }

  /// Something of that kind happened.
  void tell(jobs::ChangeKind kind) {
    const std::uint64_t count = of(kind).fetch_add(1) + 1;
    std::vector<Waiter> woken;
    {
      const MutexLock lock(mutex_);
      for (std::size_t index = 0; index < waiters_.size();) {
        if (waiters_[index].kind == kind && waiters_[index].seen != count) {
          woken.push_back(std::move(waiters_[index]));
          if (index + 1 != waiters_.size()) waiters_[index] = std::move(waiters_.back());
          waiters_.pop_back();
        } else {
          ++index;
        }
      }
    }
    for (Waiter& waiter : woken) waiter.completer.complete(count);
  }

  /// From now on `tell` completes `completer`; at once if it was told since `seen`.
  void wait(std::uint64_t number, jobs::ChangeKind kind, std::uint64_t seen, Completer<Count> completer) {
    forget(number);
    {
      const MutexLock lock(mutex_);
      // Looked at under the lock: `tell` counts first and looks for waiters then, so one of the two sees the other.
      if (of(kind).load() == seen) {
        waiters_.push_back({number, kind, seen, std::move(completer)});
        return;
      }
    }
    completer.complete(count(kind));
  }

  void forget(std::uint64_t number) {
    Waiter gone;
    const MutexLock lock(mutex_);
    for (Waiter& waiter : waiters_) {
      if (waiter.number != number) continue;
      std::swap(waiter, gone);
      std::swap(waiter, waiters_.back());
      waiters_.pop_back();
      return;
    }
  }

  [[nodiscard]] std::uint64_t next_number() noexcept { return next_number_.fetch_add(1); }

 private:
  struct Waiter {
    std::uint64_t number = 0;
    jobs::ChangeKind kind = jobs::ChangeKind::ready;
    std::uint64_t seen = 0;
    Completer<Count> completer = {};
  };

  [[nodiscard]] std::atomic<std::uint64_t>& of(jobs::ChangeKind kind) noexcept {
    return counts_[static_cast<std::size_t>(kind)];
  }
  [[nodiscard]] const std::atomic<std::uint64_t>& of(jobs::ChangeKind kind) const noexcept {
    return counts_[static_cast<std::size_t>(kind)];
  }

  static_assert(static_cast<std::size_t>(jobs::ChangeKind::asked) == 2);
  std::array<std::atomic<std::uint64_t>, 3> counts_{};  // by kind
  std::atomic<std::uint64_t> next_number_{1};
  Mutex mutex_;
  std::vector<Waiter> waiters_ DAGVERK_GUARDED_BY(mutex_);
};

}  // namespace dagverk::stores::redis
