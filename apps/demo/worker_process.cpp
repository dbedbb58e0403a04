#include "worker_process.hpp"

#include <csignal>
#include <filesystem>
#include <system_error>
#include <utility>

namespace dagverk::demo {

Result<std::unique_ptr<WorkerProcess>> WorkerProcess::create(std::string config_file) {
  std::unique_ptr<WorkerProcess> worker(new WorkerProcess(std::move(config_file)));
  Result<std::unique_ptr<OsProcessSpawner>> spawner = OsProcessSpawner::create();
  if (!spawner) return spawner.error();
  worker->spawner_ = std::move(*spawner);
  return worker;
}

Result<void> WorkerProcess::start() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return Error(ErrorCode::io, "cannot find this program's own file: " + error.message());
  OsProcessOptions options;
  options.argv = {self.string(), "work", "--config", config_file_};
  {
    MutexLock lock(mutex_);
    result_.reset();
  }
  Result<OsProcessId> started = spawner_->start(std::move(options), [this](OsProcessResult result) {
    MutexLock lock(mutex_);
    result_ = std::move(result);
    changed_.notify_all();
  });
  if (!started) return started.error();
  id_ = *started;
  return {};
}

OsProcessResult WorkerProcess::wait() {
  MutexLock lock(mutex_);
  while (!result_) changed_.wait(mutex_);
  return *result_;
}

Result<void> WorkerProcess::kill() {
  Result<void> killed = spawner_->kill(id_, SIGKILL);
  if (!killed) return killed;
  static_cast<void>(wait());
  return {};
}

Result<OsProcessResult> WorkerProcess::stop() {
  Result<void> told = spawner_->kill(id_, SIGTERM);
  if (!told) return told.error();
  return wait();
}

std::optional<OsProcessResult> WorkerProcess::ended() {
  MutexLock lock(mutex_);
  return result_;
}

}  // namespace dagverk::demo
