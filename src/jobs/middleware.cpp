#include "dagverk/jobs/middleware.hpp"

#include "dagverk/base/demangle.hpp"
#include "dagverk/jobs/detail/run_chain.hpp"
#include "dagverk/jobs/trace_context.hpp"

#include <algorithm>
#include <cxxabi.h>
#include <memory>
#include <ranges>
#include <typeinfo>
#include <utility>

namespace dagverk::jobs {

namespace {

bool is_lower_hex(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_id(std::string_view text) {
  return is_lower_hex(text) && text.find_first_not_of('0') != std::string_view::npos;
}

/// One layer: whatever it throws is its run's failure. It lives until its next one has ended, which it awaits.
Async<RunOutcome> guarded(const RunMiddleware& middleware, JobContext& context, const AsyncRunNext& next) {
  RunOutcome outcome;
  try {
    Async<RunOutcome> running = middleware.process(context, next);
    outcome = co_await running;
  } catch (const std::exception& error) {
    outcome = detail::failure_of_exception(&error);
  } catch (...) {
    outcome = detail::failure_of_exception(nullptr);
  }
  co_return outcome;
}

RunOutcome call_guarded(const RunMiddleware& middleware, JobContext& context, const RunNext& next) noexcept {
  try {
    return middleware.thread(context, next);
  } catch (const std::exception& error) {
    return detail::failure_of_exception(&error);
  } catch (...) {
    return detail::failure_of_exception(nullptr);
  }
}

struct Hooks {
  std::function<std::optional<RunOutcome>(JobContext&)> before;
  std::function<void(JobContext&, RunOutcome&)> after;
};

Async<RunOutcome> run_hooks(std::shared_ptr<const Hooks> hooks, JobContext& job, const AsyncRunNext& next) {
  if (hooks->before) {
    std::optional<RunOutcome> ended = hooks->before(job);
    if (ended) co_return std::move(*ended);
  }
  Async<RunOutcome> running = next();
  RunOutcome outcome = co_await running;
  if (hooks->after) hooks->after(job, outcome);
  co_return outcome;
}

}  // namespace

namespace detail {

RunOutcome failure_of_exception(const std::exception* error) {
  if (error != nullptr) return RunOutcome::failed(demangle(typeid(*error).name()), error->what());
  const std::type_info* const type = abi::__cxa_current_exception_type();
  return RunOutcome::failed(type != nullptr ? demangle(type->name()) : "unknown", "no std::exception");
}

RunOutcome run_inside(const std::vector<RunMiddleware>& middleware, JobContext& context, const RunNext& job) noexcept {
  std::vector<RunNext> layers;
  layers.reserve(middleware.size() + 1);  // each refers to the one made before it
  layers.push_back(job);
  for (const RunMiddleware& layer : std::views::reverse(middleware)) {
    if (!layer.thread) continue;
    layers.emplace_back([&layer, &context, &next = layers.back()] { return call_guarded(layer, context, next); });
  }
  return layers.back()();
}

Async<RunOutcome> run_inside_process(const std::vector<RunMiddleware>& middleware, JobContext& context,
                                     AsyncRunNext job) {
  std::vector<AsyncRunNext> layers;
  layers.reserve(middleware.size() + 1);  // each refers to the one made before it
  layers.push_back(std::move(job));
  for (const RunMiddleware& layer : std::views::reverse(middleware)) {
    if (!layer.process) continue;
    layers.emplace_back([&layer, &context, &next = layers.back()] { return guarded(layer, context, next); });
  }
  Async<RunOutcome> running = layers.back()();
  RunOutcome outcome = co_await running;
  co_return outcome;
}

}  // namespace detail

RunMiddleware around_runs(std::string name, std::function<std::optional<RunOutcome>(JobContext& job)> before,
                          std::function<void(JobContext& job, RunOutcome& outcome)> after) {
  // Shared by all runs of the middleware's copies; ends with the last.
  auto hooks = std::make_shared<const Hooks>(Hooks{std::move(before), std::move(after)});
  RunMiddleware middleware;
  middleware.name = std::move(name);
  middleware.thread = [hooks](JobContext& job, const RunNext& next) {
    if (hooks->before) {
      if (std::optional<RunOutcome> ended = hooks->before(job)) return std::move(*ended);
    }
    RunOutcome outcome = next();
    if (hooks->after) hooks->after(job, outcome);
    return outcome;
  };
  middleware.process = [hooks](JobContext& job, const AsyncRunNext& next) { return run_hooks(hooks, job, next); };
  return middleware;
}

bool is_traceparent(std::string_view text) noexcept {
  constexpr std::size_t size = 55;  // of version 00
  if (text.size() < size || text[2] != '-' || text[35] != '-' || text[52] != '-') return false;
  const std::string_view version = text.substr(0, 2);
  if (!is_lower_hex(version) || version == "ff") return false;
  if (version == "00" ? text.size() != size : text.size() > size && text[size] != '-') return false;
  return is_id(text.substr(3, 32)) && is_id(text.substr(36, 16)) && is_lower_hex(text.substr(53, 2));
}

TraceContext JobContext::trace() const {
  if (trace_) return *trace_;
  TraceContext trace;
  if (!job_.traceparent() || !is_traceparent(*job_.traceparent())) return trace;
  trace.parent = std::string(*job_.traceparent());
  const std::string_view state = job_.tracestate().value_or("");
  if (state.size() <= trace_state_size_limit) trace.state = std::string(state);
  return trace;
}

TraceContext current_trace() {
  const JobContext* const job = current_job();
  return job != nullptr ? job->trace() : TraceContext();
}

}  // namespace dagverk::jobs
