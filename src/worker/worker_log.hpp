#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/log/log_pipeline.hpp"
#include "dagverk/log/logger_relay.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/worker/configuration.hpp"

#include <memory>
#include <string>
#include <vector>

namespace dagverk::worker {

/// Where a worker's log lines go: through a pipeline on the worker's own runtime, whose backends the configuration
/// names. A slow terminal or a full disk costs lines, counted, and no job any time.
///
/// Semantics: until it is started and after it has gone, `relay` writes to standard error. When the program crashes,
///            what is queued is written out first.
/// Threads:   made and destroyed by main; lines come from anywhere.
/// Lifetime:  borrows runtime and relay. The destructor writes what waits, for 5 s at most, and stops the runtime:
///            nothing may log to a pipeline that has gone. One per program.
class WorkerLog {
 public:
  /// Errors: `configuration` for what no backend understands; those of a backend that cannot be opened, naming it.
  [[nodiscard]] static Result<std::unique_ptr<WorkerLog>> start(Runtime& runtime, LoggerRelay& relay,
                                                                const Configuration& configuration);
  WorkerLog(const WorkerLog&) = delete;
  WorkerLog& operator=(const WorkerLog&) = delete;
  ~WorkerLog();

  /// Files that somebody has moved are opened anew under their names.
  void reopen() noexcept { pipeline_->reopen(); }
  /// Of all backends, from now on.
  [[nodiscard]] Result<void> set_level(LogLevel level);

 private:
  WorkerLog(Runtime& runtime, LoggerRelay& relay, std::unique_ptr<LogPipeline> pipeline,
            std::vector<std::string> backends) noexcept;

  Runtime& runtime_;
  LoggerRelay& relay_;
  std::unique_ptr<LogPipeline> pipeline_;
  std::vector<std::string> backends_;
};

}  // namespace dagverk::worker
