#pragma once

#include "os_process_launch.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/mutex.hpp"
#include "dagverk/runtime/os_process.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/types.h>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace dagverk {

namespace detail {

constexpr int signal_max = 64;
constexpr std::size_t read_size_bytes = 64UL * 1024UL;

/// The words in which children report a failed start, in memory that stays shared even where vfork is fork.
class ReportBoard {
 public:
  ReportBoard() = default;
  ReportBoard(const ReportBoard&) = delete;
  ReportBoard& operator=(const ReportBoard&) = delete;
  ~ReportBoard() {
    if (words_ != nullptr) ::munmap(words_, size_bytes_);
  }

  [[nodiscard]] bool open(std::size_t count) {
    size_bytes_ = count * sizeof(std::uint32_t);
    void* memory = ::mmap(nullptr, size_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    words_ = static_cast<std::uint32_t*>(memory);
    for (std::size_t index = count; index > 0; --index) free_.push_back(index - 1);
    return true;
  }
  [[nodiscard]] std::size_t take() {
    DAGVERK_ASSERT(!free_.empty());  // there are as many words as children
    const std::size_t index = free_.back();
    free_.pop_back();
    at(index) = 0;
    return index;
  }
  void give_back(std::size_t index) { free_.push_back(index); }
  [[nodiscard]] LaunchReport& at(std::size_t index) { return words_[index]; }

 private:
  std::uint32_t* words_ = nullptr;
  std::size_t size_bytes_ = 0;
  std::vector<std::size_t> free_;
};

/// One output of a child, read into its result.
struct OutputStream {
  FileDescriptor pipe;
  OsProcessCapture capture;
  OsProcessOutput kept;

  void take(std::string_view piece) {
    kept.size_bytes += piece.size();
    if (capture.tap) capture.tap(piece);
    if (capture.keep == OutputKeep::head) {
      kept.bytes.append(piece.substr(0, capture.limit_bytes - std::min(capture.limit_bytes, kept.bytes.size())));
      return;
    }
    kept.bytes.append(piece);
    // Cutting at twice the limit moves each byte at most once.
    if (kept.bytes.size() / 2 > capture.limit_bytes) cut_front();
  }
  void cut_front() {
    if (kept.bytes.size() > capture.limit_bytes) kept.bytes.erase(0, kept.bytes.size() - capture.limit_bytes);
  }
};

/// A child that waits for its turn to be started.
struct Pending {
  OsProcessId id;
  LaunchPlan plan;
  OsProcessOptions options;
  OsProcessSpawner::Callback done;
};

enum class Phase : std::uint8_t {
  running,
  terminating,  // SIGTERM is sent
  killed,       // SIGKILL is sent
  draining,     // the child has ended; somebody still holds an output open
};

struct Child {
  OsProcessResult result;
  OsProcessSpawner::Callback done;
  std::string path;
  Duration kill_grace{};
  pid_t pid = -1;
  FileDescriptor pidfd;
  FileDescriptor input;
  std::string input_bytes;
  std::size_t input_sent = 0;
  OutputStream output;
  OutputStream error;
  std::size_t report = 0;
  SteadyTime started;
  std::optional<SteadyTime> deadline;
  Phase phase = Phase::running;
};

/// Which descriptor of a child an epoll event is about; the two low bits of its key.
enum class Source : std::uint8_t { ended, input, output, error };
/// The key of the event by which other threads wake the loop.
constexpr std::uint64_t wake_key = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t source_bits = 2;

[[nodiscard]] inline Error status_discarded_error() {
  return Error{
      ErrorCode::configuration,
      "SIGCHLD is ignored in this program (SIG_IGN or SA_NOCLDWAIT), so results of children are lost; restore SIG_DFL"};
}

}  // namespace detail

/// The spawner's inside: requests from any thread (os_process_spawner.cpp), carried out by one (os_process_loop.cpp).
class OsProcessSpawner::Loop {
 public:
  Loop(const OsProcessSpawnerOptions& options, const Clock& clock) : options_(options), clock_(clock) {}
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop() { DAGVERK_ASSERT(!thread_.joinable()); }  // destroyed from a callback, or not stopped

  [[nodiscard]] Result<void> open();
  [[nodiscard]] Result<OsProcessId> start(OsProcessOptions options, Callback done);
  [[nodiscard]] Result<void> kill(OsProcessId id, int signal);
  [[nodiscard]] Result<void> terminate(OsProcessId id);
  void stop();
  [[nodiscard]] std::size_t running_count() const;
  [[nodiscard]] std::optional<int> os_pid(OsProcessId id) const;

 private:
  /// What other threads want of one child, until the loop takes it.
  struct Request {
    std::unique_ptr<detail::Pending> pending;
    std::uint64_t signals = 0;  // bit n-1: signal n
    bool terminate = false;
    bool listed = false;  // in requested_
    int os_pid = 0;
  };

  void list(std::uint64_t key, Request& request) DAGVERK_REQUIRES(mutex_);
  void wake() noexcept;

  void run() noexcept;
  void take_requests();
  void take_request(std::uint64_t key);
  void launch_some();
  void launch(detail::Pending pending);
  [[nodiscard]] Result<void> launch_child(detail::Child& child, const detail::LaunchPlan& plan, bool has_input);
  void wait_and_handle(int timeout_ms);
  void handle(std::uint64_t key, detail::Source source);
  [[nodiscard]] int timeout_ms() const;
  void fire_deadlines();

  void feed(detail::Child& child);
  void read_output(detail::OutputStream& stream, std::size_t reads_max);
  void handle_ended(detail::Child& child);
  void begin_termination(detail::Child& child);
  void signal_group(const detail::Child& child, int signal);
  void kill_everything();
  void refuse(detail::Pending pending, Error error, bool cancelled);
  void finish(detail::Child& child);
  void deliver(OsProcessResult result, Callback done);

  void set_deadline(detail::Child& child, SteadyTime from, Duration after);
  void clear_deadline(detail::Child& child);
  [[nodiscard]] bool watch(int fd, std::uint32_t events, std::uint64_t key, detail::Source source);
  void drop(detail::FileDescriptor& fd);

  const OsProcessSpawnerOptions options_;
  const Clock& clock_;
  detail::Environment environment_;
  detail::FileDescriptor epoll_;
  detail::FileDescriptor wake_;
  detail::FileDescriptor null_input_;

  mutable Mutex mutex_;
  Condition stopped_condition_;
  std::unordered_map<std::uint64_t, Request> live_ DAGVERK_GUARDED_BY(mutex_);  // at most running_limit
  std::vector<std::uint64_t> requested_ DAGVERK_GUARDED_BY(mutex_);             // each live child at most once
  std::uint64_t last_id_ DAGVERK_GUARDED_BY(mutex_) = 0;
  bool stopping_ DAGVERK_GUARDED_BY(mutex_) = false;
  bool joining_ DAGVERK_GUARDED_BY(mutex_) = false;
  bool stopped_ DAGVERK_GUARDED_BY(mutex_) = false;

  // Of the loop's thread alone.
  detail::ReportBoard reports_;
  std::deque<detail::Pending> waiting_;
  std::unordered_map<std::uint64_t, std::unique_ptr<detail::Child>> children_;
  std::set<std::pair<SteadyTime, std::uint64_t>> deadlines_;
  std::vector<char> read_buffer_ = std::vector<char>(detail::read_size_bytes);
  bool killing_ = false;

  std::thread thread_;
  std::thread::id thread_id_;  // kept apart, because join changes thread_
};

}  // namespace dagverk
