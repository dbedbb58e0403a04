#pragma once

#include <atomic>

namespace dagverk::detail {

/// One half of a lopsided agreement between a thread that is often in a short section and others that rarely need to
/// keep it out: the frequent one pays a plain store and a plain load, the rare one makes every thread pass a barrier.
///
/// Semantics: of `store x; light(); load y` in one thread and `store y; heavy(); load x` in another, at least one load
///            sees the other's store. Where the kernel has no `membarrier`, `light` is the processor's own barrier.
/// Threads:   any.
class ProgramBarrier {
 public:
  /// True when the kernel lends us its barrier. Asked once.
  [[nodiscard]] static bool available() noexcept;

  /// Makes all running threads of this program pass a full barrier; some microseconds. Only when `available`.
  static void heavy() noexcept;
};

}  // namespace dagverk::detail
