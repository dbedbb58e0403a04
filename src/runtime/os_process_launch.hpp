#pragma once

#include "dagverk/base/error.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/runtime/os_process.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace dagverk::detail {

/// Owns one file descriptor.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) noexcept : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    if (this != &other) {
      close();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~FileDescriptor() { close(); }

  void close() noexcept;
  [[nodiscard]] bool open() const noexcept { return fd_ >= 0; }
  [[nodiscard]] int get() const noexcept { return fd_; }

 private:
  int fd_ = -1;
};

/// A pipe, close-on-exec, both ends above the standard descriptors; our end does not block.
struct ChildPipe {
  FileDescriptor ours;
  FileDescriptor childs;
};
enum class PipeDirection : std::uint8_t { to_child, from_child };
[[nodiscard]] Result<ChildPipe> open_pipe(PipeDirection direction);

/// Moves `fd` above the standard descriptors, so that installing those in a child never overwrites it.
[[nodiscard]] Result<FileDescriptor> above_standard(FileDescriptor fd);

using Environment = std::map<std::string, std::string, std::less<>>;
[[nodiscard]] Environment read_environment();

/// One resource limit as the kernel wants it.
struct LaunchLimit {
  int resource = 0;
  std::uint64_t soft = 0;
  std::uint64_t hard = 0;
};

/// Everything the child needs between its birth and execve, made beforehand: there it may neither allocate nor lock.
/// Moving keeps the pointers valid, since they point into the vectors' elements.
struct LaunchPlan {
  LaunchPlan() = default;
  LaunchPlan(LaunchPlan&&) = default;
  LaunchPlan& operator=(LaunchPlan&&) = default;
  LaunchPlan(const LaunchPlan&) = delete;
  LaunchPlan& operator=(const LaunchPlan&) = delete;
  ~LaunchPlan() = default;

  std::vector<std::string> path;  // one element
  std::vector<std::string> arguments;
  std::vector<std::string> environment;
  std::vector<std::string> directory;  // one element, or none to stay
  std::vector<char*> argument_pointers;
  std::vector<char*> environment_pointers;
  std::vector<LaunchLimit> limits;
  bool no_new_privs = true;
};

/// Checks `options` (see OsProcessSpawner::start for the errors) and makes the plan.
[[nodiscard]] Result<LaunchPlan> make_plan(const OsProcessOptions& options, const Environment& ours);

/// The steps of a child before it executes, for the report of the one that failed.
enum class LaunchStep : std::uint8_t {
  none,
  death_signal,
  process_group,
  signals,
  directory,
  descriptors,
  limits,
  privileges,
  execute,
};

/// Where a child that cannot execute says so, in memory shared with it: the step in the upper half, errno in the lower;
/// 0 while all is well.
using LaunchReport = volatile std::uint32_t;
[[nodiscard]] Error report_error(std::uint32_t report, std::string_view path);

/// An `Error` for `error_number` while doing `what`.
[[nodiscard]] Error system_error(int error_number, std::string_view what);

struct ChildDescriptors {
  int input = -1;
  int output = -1;
  int error = -1;
};

/// Starts the child; returns its number, or -1 with errno. The calling thread must have all signals blocked and live as
/// long as the child may.
[[nodiscard]] pid_t launch(const LaunchPlan& plan, ChildDescriptors descriptors, LaunchReport& report) noexcept;

/// Whether the program discards the status of its children, so that no result could be had.
[[nodiscard]] bool child_status_discarded() noexcept;

}  // namespace dagverk::detail
