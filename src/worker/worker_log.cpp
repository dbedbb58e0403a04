#include "worker/worker_log.hpp"

#include "worker/log_targets.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/log/severity.hpp"
#include "dagverk/log_upload/named_upload.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace dagverk::worker {
namespace {

constexpr Duration last_lines_limit = std::chrono::seconds(5);
constexpr std::array<int, 5> fatal_signals = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};

// For the handler of fatal signals: the program's one pipeline, and what was done at these signals before.
std::atomic<LogPipeline*> pipeline_of_program{nullptr};
std::array<struct sigaction, fatal_signals.size()> actions_before;

/// Writes out what is queued, once, and leaves the signal to whoever had it before.
void on_fatal_signal(int signal, siginfo_t* info, void* /*context*/) {
  if (LogPipeline* const pipeline = pipeline_of_program.exchange(nullptr)) pipeline->write_out_after_crash();
  for (std::size_t index = 0; index < fatal_signals.size(); ++index) {
    if (fatal_signals[index] == signal) ::sigaction(signal, &actions_before[index], nullptr);
  }
  // A fault comes again by itself when we return; a signal that was sent does not.
  if (info->si_code <= 0) std::raise(signal);
}

void watch_fatal_signals(LogPipeline& pipeline) {
  pipeline_of_program.store(&pipeline);
  struct sigaction action{};
  action.sa_sigaction = on_fatal_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigemptyset(&action.sa_mask);
  for (std::size_t index = 0; index < fatal_signals.size(); ++index) {
    ::sigaction(fatal_signals[index], &action, &actions_before[index]);
  }
}

void leave_fatal_signals() {
  pipeline_of_program.store(nullptr);
  for (std::size_t index = 0; index < fatal_signals.size(); ++index) {
    ::sigaction(fatal_signals[index], &actions_before[index], nullptr);
  }
}

}  // namespace

Result<std::unique_ptr<WorkerLog>> WorkerLog::start(Runtime& runtime, LoggerRelay& relay,
                                                    const Configuration& configuration) {
  auto pipeline = LogPipeline::start(runtime);
  if (!pipeline) return pipeline.error();
  std::vector<std::string> backends;
  for (const std::string_view target : log_targets(configuration.log_to)) {
    auto spec = any_backend_from_text(std::string(target), target);
    if (!spec) return spec.error();
    spec->severity_min = severity_of(configuration.log_level);
    backends.push_back(spec->name);
    if (auto added = (*pipeline)->add_backend(std::move(*spec)); !added) {
      return Error(ErrorCode::configuration, concat("log.to: ", target, ": ", added.error().message()));
    }
  }
  return std::unique_ptr<WorkerLog>(new WorkerLog(runtime, relay, std::move(*pipeline), std::move(backends)));
}

WorkerLog::WorkerLog(Runtime& runtime, LoggerRelay& relay, std::unique_ptr<LogPipeline> pipeline,
                     std::vector<std::string> backends) noexcept
    : runtime_(runtime), relay_(relay), pipeline_(std::move(pipeline)), backends_(std::move(backends)) {
  watch_fatal_signals(*pipeline_);
  relay_.relay_to(pipeline_->logger());
}

Result<void> WorkerLog::set_level(LogLevel level) {
  set_stderr_log_level(level);
  for (const std::string& backend : backends_) {
    if (auto set = pipeline_->set_severity_min(backend, severity_of(level)); !set) return set;
  }
  return {};
}

WorkerLog::~WorkerLog() {
  relay_.relay_to(stderr_logger());
  leave_fatal_signals();
  if (auto stopped = pipeline_->stop(last_lines_limit); !stopped) {
    stderr_logger().warning("log.lines_left", {{"reason", stopped.error().message()}});
  }
  // Whoever took the relay's old target a moment ago is done with it when the runtime's threads have ended.
  runtime_.stop(last_lines_limit);
}

}  // namespace dagverk::worker
