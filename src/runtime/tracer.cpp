#include "tracer.hpp"

#include "process_extra.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <exception>
#include <memory>
#include <utility>

namespace dagverk {

std::string_view to_string(TraceEvent::Kind kind) noexcept {
  switch (kind) {
    case TraceEvent::Kind::received: return "received";
    case TraceEvent::Kind::handled: return "handled";
    case TraceEvent::Kind::suspended: return "suspended";
    case TraceEvent::Kind::resumed: return "resumed";
    case TraceEvent::Kind::signal: return "signal";
    case TraceEvent::Kind::exited: return "exited";
  }
  return "?";
}

std::string to_text(const TraceEvent& event) {
  std::string text = concat("#", event.pid.number(), " ", to_string(event.kind));
  if (!event.message.empty()) text += concat(" ", event.message);
  if (event.kind == TraceEvent::Kind::handled) {
    text += concat(" ", std::chrono::duration_cast<std::chrono::microseconds>(event.duration).count(), " us");
  }
  if (event.failed) text += " and threw";
  if (event.kind == TraceEvent::Kind::exited) return text + concat(" ", event.reason.to_string());
  return text + concat(" depth ", event.depth);
}

namespace detail {

void Tracer::tell(RuntimeBase& runtime, const TraceEvent& event) noexcept {
  if (broken_) return;
  try {
    sink_(event);
  } catch (...) {
    broken_ = true;
    runtime.logger().warning("trace.failed", {{"pid", event.pid.number()}, {"event", to_string(event.kind)}});
  }
}

void Tracer::received(ProcessCore& core, const Node& node, std::uint64_t depth) {
  RuntimeBase& runtime = *core.runtime;
  const TraceEvent event{.kind = TraceEvent::Kind::received,
                         .pid = core.pid(),
                         .at = runtime.clock().steady_now(),
                         .message = node.ops->name,
                         .depth = depth};
  tell(runtime, event);
}

bool Tracer::run(Node* node, ProcessCore& core) {
  using Kind = TraceEvent::Kind;
  RuntimeBase& runtime = *core.runtime;
  const NodeClass node_class = node->ops->node_class;
  const bool was_suspended = core.suspended();
  const auto tell_now = [&](Kind kind, std::string_view message, SteadyTime began, bool failed) {
    const SteadyTime now = runtime.clock().steady_now();
    TraceEvent event{.kind = kind, .pid = core.pid(), .at = now, .message = message, .depth = core.mailbox_depth()};
    if (kind == Kind::handled) event.duration = now - began;
    event.failed = failed;
    tell(runtime, event);
  };
  const std::string_view name = node->ops->name;
  if (!was_suspended && node_class <= NodeClass::notice) {
    callback_ = name;
    callback_began_ = runtime.clock().steady_now();
  } else if (node_class == NodeClass::resume) {
    tell_now(Kind::resumed, name, {}, false);
  } else {
    tell_now(Kind::signal, name, {}, false);
  }
  const bool in_callback = was_suspended || node_class <= NodeClass::notice;
  bool done = false;
  try {
    done = node->ops->run(node, core);
  } catch (...) {
    if (in_callback) tell_now(Kind::handled, callback_, callback_began_, true);
    throw;
  }
  if (core.suspended()) {
    // A signal that changes nothing is not worth a second line.
    if (node_class <= NodeClass::notice || node_class == NodeClass::resume) {
      tell_now(Kind::suspended, callback_, {}, false);
    }
  } else if (in_callback) {
    tell_now(Kind::handled, callback_, callback_began_, false);
  }
  return done;
}

void Tracer::exited(RuntimeBase& runtime, Pid pid, const ExitReason& reason) {
  tell(runtime, TraceEvent{.kind = TraceEvent::Kind::exited,
                           .pid = pid,
                           .at = runtime.clock().steady_now(),
                           .message = {},
                           .reason = reason});
}

namespace {

struct TraceSignal {
  Pid pid;
  RuntimeBase* runtime;
  std::unique_ptr<Tracer> tracer;  // null: the trace ends
};

struct TraceNode {
  static void discard(Node* node, const ExitReason& reason) noexcept {
    auto& signal = payload_of<TraceSignal>(node);
    if (signal.tracer) signal.tracer->exited(*signal.runtime, signal.pid, reason);
    std::destroy_at(&signal);
    free_node(node);
  }
  static bool run(Node* node, ProcessCore& core) {
    // The one that ends may be in the middle of telling of this very message: it goes with the next one, or with the
    // process.
    ProcessExtra& extra = extra_of(core);
    std::unique_ptr<Tracer> before = std::exchange(extra.tracer, std::move(payload_of<TraceSignal>(node).tracer));
    core.traced = extra.tracer != nullptr;
    extra.former_tracer = std::move(before);
    std::destroy_at(&payload_of<TraceSignal>(node));
    return true;
  }
  static constexpr NodeOps ops{&run, &discard, "trace", NodeClass::signal};
};

}  // namespace

Node* make_trace_signal(Pid pid, RuntimeBase& runtime, TraceSink sink) {
  std::unique_ptr<Tracer> tracer = sink ? std::make_unique<Tracer>(std::move(sink)) : nullptr;
  return make_node<TraceSignal>(TraceNode::ops, pid, &runtime, std::move(tracer));
}

}  // namespace detail

Result<void> RuntimeBase::trace(Pid pid, TraceSink sink) {
  if (!alive(pid)) return Error(ErrorCode::no_process, "trace: the process has ended");
  static_cast<void>(detail::send(pid, detail::make_trace_signal(pid, *this, std::move(sink))));
  return {};
}

void RuntimeBase::stop_trace(Pid pid) {
  static_cast<void>(detail::send(pid, detail::make_trace_signal(pid, *this, nullptr)));
}

}  // namespace dagverk
