#pragma once

#include "log/backend_queue.hpp"

#include "dagverk/log/log_backend.hpp"

#include <atomic>
#include <cstdint>
#include <utility>

namespace dagverk::detail {

/// A backend, apart from its processes: what it was asked to be, and what waits for it.
struct BackendState {
  BackendState(BackendSpec wanted, std::uint8_t own_number)
      : spec(std::move(wanted)), number(own_number), queue(spec.overload, spec.severity_min) {}

  const BackendSpec spec;
  const std::uint8_t number;  ///< of its slot in the pipeline, plus one: the origin of what it logs
  BackendQueue queue;
  std::atomic<LogMode> mode_in_gate{LogMode::async};  ///< the queue's mode as callers know it
  // For the fatal-signal path.
  std::atomic<int> crash_descriptor{-1};
  std::atomic<bool> writing{false};
};

/// Whose lines the running thread writes; what it logs meanwhile is marked, so that no line begets lines for ever.
struct WritingContext {
  std::uint8_t origin = 0;    ///< a backend's number; 0: not inside a backend
  bool lines_inside = false;  ///< some of the lines were logged inside a backend themselves
};
extern thread_local constinit WritingContext writing_context;

}  // namespace dagverk::detail
