#include "dagverk/log/log_pipeline.hpp"

#include "log/backend_server.hpp"
#include "log/collector.hpp"
#include "log/log_core.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/supervisor.hpp"

#include <bit>
#include <utility>

namespace dagverk {

using detail::BackendServer;
using detail::BackendState;
using detail::LogCollector;
using detail::LogCore;

namespace {

/// For the steps of an ending, which goes on whatever becomes of one of them.
template <class T>
void settled_either_way(const Result<T>& /*outcome*/) noexcept {}

Result<void> check(const LogOptions& options) {
  const auto wrong = [](std::string message) { return Error(ErrorCode::configuration, std::move(message)); };
  if (options.line_bytes_max < 64 || options.line_bytes_max > (std::size_t{16} << 20)) {
    return wrong(concat("log: line_bytes_max must be 64..16777216, got ", options.line_bytes_max));
  }
  if (!std::has_single_bit(options.thread_buffer_bytes) || options.thread_buffer_bytes < 4096 ||
      options.thread_buffer_bytes > (std::size_t{1} << 30)) {
    return wrong(
        concat("log: thread_buffer_bytes must be a power of two, 4096..1073741824, got ", options.thread_buffer_bytes));
  }
  if (options.thread_buffer_bytes < 4 * options.line_bytes_max) {
    return wrong(concat("log: thread_buffer_bytes must be at least four times line_bytes_max (", options.line_bytes_max,
                        "), got ", options.thread_buffer_bytes));
  }
  if (options.poll_interval <= Duration::zero()) return wrong("log: poll_interval must be more than 0");
  if (options.sync_timeout <= Duration::zero()) return wrong("log: sync_timeout must be more than 0");
  return {};
}

Result<void> check(const BackendSpec& spec) {
  if (spec.name.empty()) return Error(ErrorCode::configuration, "a log backend needs a name");
  if (!spec.make)
    return Error(ErrorCode::configuration, concat("log backend \"", spec.name, "\": has no way to be made"));
  if (Result<void> valid = check(spec.overload); !valid) {
    return valid.error().with(concat("log backend \"", spec.name, "\""));
  }
  return {};
}

[[nodiscard]] Error no_backend(std::string_view name) {
  return {ErrorCode::not_found, concat("there is no log backend \"", name, "\"")};
}

[[nodiscard]] std::string companion_id(const BackendSpec& spec, const ChildSpec& companion) {
  return companion.registered ? companion.id : concat(spec.name, "/", companion.id);
}

[[nodiscard]] std::string state_text(const std::vector<ChildInfo>& children, const BackendState& backend) {
  if (backend.queue.suspended()) return "suspended";
  for (const ChildInfo& child : children) {
    if (child.id != backend.spec.name) continue;
    switch (child.state) {
      case ChildState::running: return "running";
      case ChildState::stopped: return "stopped";
      case ChildState::restarting: return "restarting";
      case ChildState::failed: return "failed";
    }
  }
  return backend.queue.pid() ? "running" : "stopped";
}

}  // namespace

/// What our own code logs to.
class LogPipeline::LoggerOfPipeline final : public Logger {
 public:
  explicit LoggerOfPipeline(LogPipeline& pipeline) : pipeline_(pipeline) {}

  void write(LogLevel level, std::string_view event, std::span<const LogField> fields) noexcept override {
    const LogSeverity severity = severity_of(level);
    if (!pipeline_.wants(severity)) return;
    try {
      std::vector<LogValue> values;
      values.reserve(fields.size());
      for (const LogField& field : fields) values.emplace_back(field.name, field.value);
      pipeline_.write(severity, "dagverk", event, values);
    } catch (...) {
      pipeline_.write(severity, "dagverk", event);  // no memory for the fields
    }
  }

 private:
  LogPipeline& pipeline_;
};

LogPipeline::LogPipeline(std::shared_ptr<LogCore> core)
    : severity_min_(&core->severity_min()),
      core_(std::move(core)),
      logger_(std::make_unique<LoggerOfPipeline>(*this)) {}

Result<std::unique_ptr<LogPipeline>> LogPipeline::start(RuntimeBase& runtime, LogOptions options) {
  if (Result<void> valid = check(options); !valid) return valid.error();
  auto core = std::make_shared<LogCore>(runtime, options);
  Result<SupervisorRef> supervisor = start_supervisor(runtime);
  if (!supervisor) return supervisor.error();
  core->supervisor = *supervisor;
  ChildOptions child;
  child.backoff = {.initial = std::chrono::milliseconds(10), .max = std::chrono::seconds(1)};
  child.limit = RestartLimit{.max_restarts = 1'000'000};
  Result<ServerRef<LogCollector>> collector =
      supervisor->start_child_blocking(child_spec_with<LogCollector>(child, "collector", core));
  if (!collector) {
    settled_either_way(supervisor->stop_blocking());
    return collector.error();
  }
  return std::unique_ptr<LogPipeline>(new LogPipeline(std::move(core)));
}

LogPipeline::~LogPipeline() {
  if (this_process::inside()) {
    core_->close();
    core_->runtime().exit(core_->supervisor.pid(), ExitReason::shutdown);
    return;
  }
  settled_either_way(stop());
}

Logger& LogPipeline::logger() noexcept { return *logger_; }

// --- backends --------------------------------------------------------------------------------------------------------

Result<void> LogPipeline::add_backend(BackendSpec spec) {
  if (Result<void> allowed = core_->runtime().check_may_block(); !allowed) return allowed;
  if (Result<void> valid = check(spec); !valid) return valid;
  if (core_->closed()) return Error(ErrorCode::shutting_down, "the log pipeline has stopped");
  Result<std::shared_ptr<BackendState>> state = core_->add(std::move(spec));
  if (!state) return state.error();
  const BackendSpec& kept = (*state)->spec;
  const SupervisorRef supervisor = core_->supervisor;
  Result<void> started;
  std::size_t companions_started = 0;
  for (ChildSpec companion : kept.companions) {
    companion.id = companion_id(kept, companion);
    Result<Pid> pid = supervisor.start_child_blocking(std::move(companion));
    if (!pid) {
      started = pid.error();
      break;
    }
    ++companions_started;
  }
  if (started) {
    ChildOptions child;
    child.restart = Restart::transient;
    child.backoff = kept.backoff;
    child.limit = kept.restarts;
    Result<Pid> pid =
        supervisor.start_child_blocking(ChildSpec(child_spec_with<BackendServer>(child, kept.name, core_, *state)));
    if (!pid) started = pid.error().with(concat("log backend \"", kept.name, "\""));
  }
  if (started) return {};
  for (std::size_t index = companions_started; index-- > 0;) {
    const std::string id = companion_id(kept, kept.companions[index]);
    settled_either_way(supervisor.terminate_child_blocking(id));
    settled_either_way(supervisor.delete_child_blocking(id));
  }
  (*state)->queue.close();
  core_->remove(**state);
  return started;
}

Result<BackendStats> LogPipeline::remove_backend(std::string_view name, Duration limit) {
  if (Result<void> allowed = core_->runtime().check_may_block(); !allowed) return allowed.error();
  const std::shared_ptr<BackendState> state = core_->find(name);
  if (state == nullptr) return no_backend(name);
  const BackendSpec& spec = state->spec;
  const SupervisorRef supervisor = core_->supervisor;
  settled_either_way(
      ServerRef<LogCollector>(core_->collector()).call_blocking_within<LogCollector::Flush>(limit, false, state.get()));
  core_->remove(*state);
  settled_either_way(supervisor.terminate_child_blocking(spec.name));
  settled_either_way(supervisor.delete_child_blocking(spec.name));
  for (std::size_t index = spec.companions.size(); index-- > 0;) {
    const std::string id = companion_id(spec, spec.companions[index]);
    settled_either_way(supervisor.terminate_child_blocking(id));
    settled_either_way(supervisor.delete_child_blocking(id));
  }
  state->queue.close();
  if (spec.ended) spec.ended();
  BackendStats last;
  last.name = spec.name;
  last.state = "removed";
  state->queue.fill(last);
  return last;
}

Result<void> LogPipeline::restart_backend(std::string_view name) {
  if (Result<void> allowed = core_->runtime().check_may_block(); !allowed) return allowed;
  const std::shared_ptr<BackendState> state = core_->find(name);
  if (state == nullptr) return no_backend(name);
  if (Result<void> ended = core_->supervisor.terminate_child_blocking(name); !ended) return ended;
  Result<Pid> restarted = core_->supervisor.restart_child_blocking(name);
  if (!restarted) return restarted.error().with(concat("log backend \"", name, "\""));
  return {};
}

Result<void> LogPipeline::suspend_backend(std::string_view name) {
  const std::shared_ptr<BackendState> state = core_->find(name);
  if (state == nullptr) return no_backend(name);
  static_cast<void>(state->queue.set_suspended(true));
  return {};
}

Result<void> LogPipeline::resume_backend(std::string_view name) {
  const std::shared_ptr<BackendState> state = core_->find(name);
  if (state == nullptr) return no_backend(name);
  if (const std::optional<Pid> pid = state->queue.set_suspended(false)) {
    ServerRef<BackendServer>(*pid).cast(BackendServer::Work{});
  }
  return {};
}

Result<void> LogPipeline::set_severity_min(std::string_view name, LogSeverity severity) {
  const std::shared_ptr<BackendState> state = core_->find(name);
  if (state == nullptr) return no_backend(name);
  state->queue.set_severity_min(severity);
  core_->update_gate();
  return {};
}

std::vector<std::string> LogPipeline::which_backends() const {
  std::vector<std::string> names;
  for (const std::shared_ptr<BackendState>& backend : core_->backends()) names.push_back(backend->spec.name);
  return names;
}

Result<void> LogPipeline::flush(Duration limit) {
  if (Result<void> allowed = core_->runtime().check_may_block(); !allowed) return allowed;
  return ServerRef<LogCollector>(core_->collector())
      .call_blocking_within<LogCollector::Flush>(limit, false, static_cast<const BackendState*>(nullptr));
}

void LogPipeline::reopen() noexcept {
  try {
    for (const std::shared_ptr<BackendState>& backend : core_->backends()) {
      ServerRef<BackendServer>(backend->queue.pid()).cast(BackendServer::Reopen{});
    }
  } catch (...) {  // NOLINT(bugprone-empty-catch): no memory; the rotator asks again with its next file
  }
}

LogStats LogPipeline::stats() const {
  LogStats stats = core_->stats();
  if (core_->closed()) stats.dropped_by_mode += std::exchange(stats.buffered, 0);
  std::vector<ChildInfo> children;
  if (core_->runtime().check_may_block()) {
    if (Result<std::vector<ChildInfo>> known = core_->supervisor.which_children_blocking())
      children = std::move(*known);
  }
  for (const std::shared_ptr<BackendState>& backend : core_->backends()) {
    BackendStats one;
    one.name = backend->spec.name;
    one.state = state_text(children, *backend);
    for (const ChildInfo& child : children) {
      if (child.id == one.name) one.restarts = child.restarts;
    }
    backend->queue.fill(one);
    stats.backends.push_back(std::move(one));
  }
  return stats;
}

Result<void> LogPipeline::stop(Duration limit) {
  if (Result<void> allowed = core_->runtime().check_may_block(); !allowed) return allowed;
  if (core_->closed()) return {};
  core_->close();
  Result<void> flushed = flush(limit);
  settled_either_way(core_->supervisor.stop_blocking());
  for (const std::shared_ptr<BackendState>& backend : core_->backends()) {
    backend->queue.close();
    if (backend->spec.ended) backend->spec.ended();
  }
  return flushed;
}

void LogPipeline::write_out_after_crash() noexcept { core_->write_out_after_crash(); }

const BackendStats* LogStats::find(std::string_view name) const noexcept {
  for (const BackendStats& backend : backends) {
    if (backend.name == name) return &backend;
  }
  return nullptr;
}

LogLine LogBatch::operator[](std::size_t index) const noexcept {
  return detail::decode_record(records_[index], to_wall_);
}

}  // namespace dagverk
