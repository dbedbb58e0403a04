#pragma once

#include "dagverk/base/clock.hpp"

#include <condition_variable>
#include <mutex>

// Clang's thread-safety analysis; other compilers see nothing. libstdc++'s own mutex carries no annotations, so guarded
// fields need the classes below.
#if defined(__clang__)
#define DAGVERK_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define DAGVERK_THREAD_ANNOTATION(x)
#endif
#define DAGVERK_GUARDED_BY(mutex) DAGVERK_THREAD_ANNOTATION(guarded_by(mutex))
#define DAGVERK_REQUIRES(mutex) DAGVERK_THREAD_ANNOTATION(requires_capability(mutex))
#define DAGVERK_EXCLUDES(mutex) DAGVERK_THREAD_ANNOTATION(locks_excluded(mutex))

namespace dagverk {

/// A plain mutex whose guarded fields the compiler checks: `int count_ DAGVERK_GUARDED_BY(mutex_);`.
class DAGVERK_THREAD_ANNOTATION(capability("mutex")) Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  ~Mutex() = default;

  void lock() DAGVERK_THREAD_ANNOTATION(acquire_capability()) { mutex_.lock(); }
  void unlock() DAGVERK_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }
  [[nodiscard]] bool try_lock() DAGVERK_THREAD_ANNOTATION(try_acquire_capability(true)) { return mutex_.try_lock(); }

 private:
  friend class Condition;
  std::mutex mutex_;
};

/// Holds a `Mutex` for a scope.
class DAGVERK_THREAD_ANNOTATION(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) DAGVERK_THREAD_ANNOTATION(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_.lock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;
  ~MutexLock() DAGVERK_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }

 private:
  Mutex& mutex_;
};

/// A condition variable for `Mutex`. Waits may wake without cause: wait in a loop on the guarded state.
class Condition {
 public:
  void notify_one() noexcept { condition_.notify_one(); }
  void notify_all() noexcept { condition_.notify_all(); }

  void wait(Mutex& mutex) DAGVERK_REQUIRES(mutex) {
    std::unique_lock<std::mutex> held(mutex.mutex_, std::adopt_lock);
    condition_.wait(held);
    held.release();
  }

  /// Returns false when `limit` passed without a notification.
  bool wait_for(Mutex& mutex, Duration limit) DAGVERK_REQUIRES(mutex) {
    std::unique_lock<std::mutex> held(mutex.mutex_, std::adopt_lock);
    const std::cv_status status = condition_.wait_for(held, limit);
    held.release();
    return status == std::cv_status::no_timeout;
  }

 private:
  std::condition_variable condition_;
};

}  // namespace dagverk
