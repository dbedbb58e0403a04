#pragma once

namespace dagverk {

/// A serial executor outside of the scheduler: the place for what blocks (a database writer, a network loop).
///
/// Semantics: `ring` makes the lane run its `work` function soon; rings that come before a run merge into it, a ring
///            during a run causes another one. Runs never overlap. Results go back to processes through a `Completer`.
///            On the threaded runtime a lane is an OS thread. On the deterministic runtime `work` runs on the test's
///            thread at a moment drawn from the seed, so what a lane does is part of the replay.
/// Threads:   `ring` from any thread.
/// Errors:    `work` must not throw; an exception out of it ends the program.
/// Lifetime:  owned by whoever opened it. The destructor waits for a running `work` and runs it once more if it was
///            rung; it must go before its runtime.
class ExternalLane {
 public:
  ExternalLane() = default;
  ExternalLane(const ExternalLane&) = delete;
  ExternalLane& operator=(const ExternalLane&) = delete;
  virtual ~ExternalLane() = default;

  virtual void ring() noexcept = 0;
};

}  // namespace dagverk
