#include "parker.hpp"

#include "dagverk/runtime/detail/call.hpp"

#include <ctime>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace dagverk::detail {

namespace {

static_assert(sizeof(std::atomic<int>) == sizeof(int), "a futex is the atomic's own word");

void futex_wait(std::atomic<int>& word, int expected, Duration limit) noexcept {
  std::timespec timeout{};
  std::timespec* timeout_or_none = nullptr;
  if (limit != Duration::max()) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit);
    timeout.tv_sec = seconds.count();
    timeout.tv_nsec = (limit - seconds).count();
    timeout_or_none = &timeout;
  }
  // Wakes early on a signal, a time-out or a changed word: callers look again.
  ::syscall(SYS_futex, reinterpret_cast<int*>(&word), FUTEX_WAIT_PRIVATE, expected, timeout_or_none, nullptr, 0);
}

void futex_wake_one(std::atomic<int>& word) noexcept {
  ::syscall(SYS_futex, reinterpret_cast<int*>(&word), FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

}  // namespace

void Parker::park(Duration limit) noexcept {
  if (limit <= Duration::zero()) return;
  // From empty to parked, unless a permit is there already.
  int state = empty;
  if (!state_.compare_exchange_strong(state, parked)) {
    state_.store(empty);
    return;
  }
  futex_wait(state_, parked, limit);
  state_.exchange(empty);
}

void Parker::unpark() noexcept {
  if (state_.exchange(permit) == parked) futex_wake_one(state_);
}

void BlockingWaiter::drop_owner() noexcept {
  if (owners_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (Node* reply = take(); reply != nullptr) reply->ops->discard(reply, ExitReason::normal);  // nobody took it
  delete this;
}

void BlockingWaiter::deliver(Node* reply) noexcept {
  reply_.store(reply);
  if (parked_.load() != 0) {
    parked_.store(0);
    futex_wake_one(parked_);
  }
}

Node* BlockingWaiter::take() noexcept { return reply_.exchange(nullptr, std::memory_order_acq_rel); }

void BlockingWaiter::park(Duration limit) noexcept {
  parked_.store(1);
  // Sequentially consistent with deliver(): either it sees us parked or we see its reply.
  if (reply_.load() == nullptr && !interrupted_.load()) futex_wait(parked_, 1, limit);
  parked_.store(0);
}

void BlockingWaiter::interrupt() noexcept {
  interrupted_.store(true);
  if (parked_.load() != 0) {
    parked_.store(0);
    futex_wake_one(parked_);
  }
}

}  // namespace dagverk::detail
