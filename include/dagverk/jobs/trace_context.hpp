#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace dagverk::jobs {

/// Where in a distributed trace something happens: the two headers of W3C Trace Context, as texts.
///
/// Semantics: we make no spans. What a client has goes into its jobs' payloads, and what a job has goes into the jobs
///            that it enqueues and into the environment of a command (TRACEPARENT, TRACESTATE).
struct TraceContext {
  std::string parent = {};  ///< `traceparent`; empty: none
  std::string state = {};   ///< `tracestate`; may be empty

  [[nodiscard]] bool empty() const noexcept { return parent.empty(); }

  friend bool operator==(const TraceContext&, const TraceContext&) = default;
};

inline constexpr std::size_t trace_state_size_limit = 512;  ///< bytes; a longer `tracestate` is left out, as W3C allows

/// Whether `text` is a `traceparent`: `00-` 32 hexadecimal digits `-` 16 `-` 2, in lower case, neither id all zeros; or
/// that with another version than `ff`, and possibly more behind it.
[[nodiscard]] bool is_traceparent(std::string_view text) noexcept;

/// That of the job which the calling thread, or the calling process, runs now; else empty.
[[nodiscard]] TraceContext current_trace();

}  // namespace dagverk::jobs
