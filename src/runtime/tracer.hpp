#pragma once

#include "dagverk/runtime/detail/process_core.hpp"
#include "dagverk/runtime/trace.hpp"

#include <cstdint>
#include <string_view>

namespace dagverk::detail {

/// The trace of one process. Belongs to it; `ProcessCore::traced` says that there is one.
class Tracer {
 public:
  explicit Tracer(TraceSink sink) noexcept : sink_(std::move(sink)) {}

  void received(ProcessCore& core, const Node& node, std::uint64_t depth);
  /// Runs `node`'s handler and tells of it. As NodeOps::run.
  [[nodiscard]] bool run(Node* node, ProcessCore& core);
  void exited(RuntimeBase& runtime, Pid pid, const ExitReason& reason);

 private:
  /// False when the sink threw: nothing more is told.
  void tell(RuntimeBase& runtime, const TraceEvent& event) noexcept;

  TraceSink sink_;
  bool broken_ = false;
  std::string_view callback_;  // the message of the callback that is suspended
  SteadyTime callback_began_{};
};

/// Begins (with a sink) or ends the trace of its receiver.
[[nodiscard]] Node* make_trace_signal(Pid pid, RuntimeBase& runtime, TraceSink sink);

}  // namespace dagverk::detail
