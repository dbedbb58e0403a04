#include "dagverk/base/mutex.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

namespace dagverk {
namespace {

using std::chrono_literals::operator""ms;

/// A counter that may be waited for.
class Gate {
 public:
  void arrive() {
    MutexLock lock(mutex_);
    ++count_;
    changed_.notify_all();
  }

  void wait_for_count(int count) {
    MutexLock lock(mutex_);
    while (count_ < count) changed_.wait(mutex_);
  }

  int count() {
    MutexLock lock(mutex_);
    return count_;
  }

  bool notified_within(Duration limit) {
    MutexLock lock(mutex_);
    return changed_.wait_for(mutex_, limit);
  }

  Mutex& mutex() { return mutex_; }

 private:
  Mutex mutex_;
  Condition changed_;
  int count_ DAGVERK_GUARDED_BY(mutex_) = 0;
};

bool is_free(Mutex& mutex) {
  if (!mutex.try_lock()) return false;
  mutex.unlock();
  return true;
}

TEST(Mutex, threads_take_turns) {
  Gate gate;
  std::vector<std::thread> threads;
  for (int index = 0; index < 4; ++index) {
    threads.emplace_back([&] {
      for (int round = 0; round < 1000; ++round) gate.arrive();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(gate.count(), 4000);
}

TEST(Mutex, try_lock_fails_while_another_thread_holds_it) {
  Mutex mutex;
  bool taken = true;
  {
    MutexLock lock(mutex);
    std::thread([&] { taken = is_free(mutex); }).join();
  }
  EXPECT_FALSE(taken);
  EXPECT_TRUE(is_free(mutex));
}

TEST(Condition, a_waiter_wakes_when_the_state_changes_and_holds_the_mutex_again) {
  Gate gate;
  std::thread arriving([&] {
    for (int round = 0; round < 10; ++round) gate.arrive();
  });
  gate.wait_for_count(10);
  arriving.join();
  EXPECT_EQ(gate.count(), 10);
  EXPECT_TRUE(is_free(gate.mutex()));  // released after the wait
}

TEST(Condition, a_bounded_wait_without_notification_ends_and_says_so) {
  Gate gate;
  bool notified = true;
  // A wake without cause is allowed; a hundred in a row are not.
  for (int round = 0; round < 100 && notified; ++round) notified = gate.notified_within(1ms);
  EXPECT_FALSE(notified);
  EXPECT_EQ(gate.count(), 0);
}

}  // namespace
}  // namespace dagverk
