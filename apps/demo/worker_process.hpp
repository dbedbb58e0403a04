#pragma once

#include "dagverk/base/mutex.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/runtime/os_process.hpp"

#include <memory>
#include <optional>
#include <string>

namespace dagverk::demo {

/// The demo's workers: this binary again, as `work --config FILE`, one at a time.
class WorkerProcess {
 public:
  [[nodiscard]] static Result<std::unique_ptr<WorkerProcess>> create(std::string config_file);

  [[nodiscard]] Result<void> start();
  /// SIGKILL, and waits until it is gone.
  [[nodiscard]] Result<void> kill();
  /// SIGTERM, and waits until it has stopped in order. How it ended.
  [[nodiscard]] Result<OsProcessResult> stop();
  /// How it ended, when it has ended by itself; nothing while it runs.
  [[nodiscard]] std::optional<OsProcessResult> ended();

 private:
  explicit WorkerProcess(std::string config_file) : config_file_(std::move(config_file)) {}
  [[nodiscard]] OsProcessResult wait();

  std::string config_file_;
  Mutex mutex_;
  Condition changed_;
  std::optional<OsProcessResult> result_ DAGVERK_GUARDED_BY(mutex_);
  OsProcessId id_{};
  std::unique_ptr<OsProcessSpawner> spawner_;  // last: its callbacks use the others
};

}  // namespace dagverk::demo
