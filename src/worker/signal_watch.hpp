#pragma once

#include "dagverk/base/result.hpp"

#include <initializer_list>

namespace dagverk::worker {

/// The signals of a program, read one after the other by its main thread. For programs, never for the library.
///
/// Semantics: from construction on the signals are blocked in this thread and in those it starts, so none gets lost or
///            interrupts anybody; SIGPIPE is ignored. A SIGHUP that was
///            ignored stays so. Children of OsProcessSpawner begin with an empty mask.
/// Threads:   made before any other thread of the program. `wake` from any thread; `next` from one.
/// Lifetime:  one per program; the mask stays as it is.
class SignalWatch {
 public:
  explicit SignalWatch(std::initializer_list<int> signals);
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;
  ~SignalWatch();

  /// Waits for a signal and returns its number, or 0 after `wake`.
  [[nodiscard]] int next() noexcept;
  void wake() noexcept;

 private:
  int signals_ = -1;
  int wakes_ = -1;
};

}  // namespace dagverk::worker
