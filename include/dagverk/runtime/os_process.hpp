#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/error.hpp"
#include "dagverk/base/result.hpp"

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dagverk {

/// Names one started OS process within its spawner. Never reused, unlike the kernel's process numbers.
struct OsProcessId {
  std::uint64_t value = 0;
  friend auto operator<=>(const OsProcessId&, const OsProcessId&) = default;
};

/// Which part of an output survives when it is longer than its limit.
enum class OutputKeep : std::uint8_t { head, tail };

/// How much of one output is kept. The rest is read and counted, so that the child never blocks on a full pipe.
struct OsProcessCapture {
  std::size_t limit_bytes = 1024UL * 1024UL;  ///< 0 keeps nothing
  OutputKeep keep = OutputKeep::head;
  /// Is given all that is written, piece by piece as it is read, before the limit cuts it. Called on the spawner's
  /// thread, for the last time before the result is delivered: must be short and must not throw.
  std::function<void(std::string_view piece)> tap = nullptr;
};

/// Resource limits of the child (setrlimit); absent means inherited. A limit above our own hard limit becomes that one.
struct OsProcessLimits {
  std::optional<Duration> cpu_time = {};  ///< rounded up to seconds; SIGXCPU at the limit, SIGKILL one second later
  std::optional<std::uint64_t> address_space_bytes = {};
  std::optional<std::uint64_t> open_files_count = {};
  std::optional<std::uint64_t> file_size_bytes = {};
  std::optional<std::uint64_t> core_size_bytes = 0;  ///< no core files, unless asked for

  friend bool operator==(const OsProcessLimits&, const OsProcessLimits&) = default;
};

/// What to run and within which bounds.
///
/// Semantics: never a shell. The child leads a process group of its own, has default signal dispositions, an empty
///            signal mask, no descriptor besides 0, 1 and 2, and is killed by the kernel when our program ends in
///            whatever way.
struct OsProcessOptions {
  /// The executable, then its arguments. A first element without '/' is searched in `PATH`; relative and empty entries
  /// of `PATH` are passed over. A relative path counts from our working directory, not from the child's.
  std::vector<std::string> argv = {};
  std::string working_directory = {};  ///< empty: ours
  /// Variables passed on from our environment, as it was when the spawner was created.
  std::vector<std::string> environment_inherit = {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"};
  /// Variables set for the child: name and value. Wins over inherited ones; the last of one name wins.
  std::vector<std::pair<std::string, std::string>> environment_set = {};
  std::string standard_input = {};  ///< fed as the child reads it, then closed; empty: /dev/null
  OsProcessCapture standard_output = {};
  OsProcessCapture standard_error = {.limit_bytes = 64UL * 1024UL, .keep = OutputKeep::tail};
  Duration timeout = Duration::zero();            ///< from the start of the child; zero: none
  Duration kill_grace = std::chrono::seconds(5);  ///< from SIGTERM to SIGKILL; zero: SIGKILL at once
  OsProcessLimits limits = {};
  bool no_new_privs = true;  ///< false lets set-user-ID programs work, which then escape the death signal
};

/// How a child came to its end.
enum class OsProcessEnd : std::uint8_t {
  exited,       ///< by exit; see `exit_code`
  signalled,    ///< by a signal; see `signal`
  not_started,  ///< it never ran; see `error`
  lost,         ///< another part of the program waited for it and took its status; see `error`
};

/// One captured output.
struct OsProcessOutput {
  std::string bytes;             ///< at most the limit
  std::uint64_t size_bytes = 0;  ///< all that was written
  bool complete = true;          ///< false when a descendant outside the group held it open past `drain_limit`

  [[nodiscard]] bool cut() const noexcept { return size_bytes > bytes.size(); }
};

struct OsProcessResult {
  OsProcessId id;
  OsProcessEnd end = OsProcessEnd::not_started;
  int exit_code = 0;  ///< of `exited`
  int signal = 0;     ///< of `signalled`
  bool core_dumped = false;
  bool timed_out = false;      ///< `timeout` passed and we asked it to end, whatever it then did
  bool cancelled = false;      ///< `terminate` or `stop` asked it to end, whatever it then did
  std::optional<Error> error;  ///< of `not_started` and `lost`
  OsProcessOutput standard_output;
  OsProcessOutput standard_error;
  std::uint64_t standard_input_unsent_bytes = 0;  ///< what it left unread, except for what the pipe still held
  int os_pid = 0;                                 ///< the kernel's number, free for reuse by now; 0 when it never ran
  Duration wall_time = Duration::zero();
  Duration user_time = Duration::zero();    ///< with the descendants it waited for
  Duration system_time = Duration::zero();  ///< likewise
  /// The largest resident size. Linux counts the moment before execution, so it is never below our own size at the
  /// start.
  std::uint64_t resident_size_max_bytes = 0;

  /// Exited with 0 without being asked to end.
  [[nodiscard]] bool succeeded() const noexcept {
    return end == OsProcessEnd::exited && exit_code == 0 && !timed_out && !cancelled;
  }
};

/// The end in words: `exited with code 3`, `killed by signal 11 (SEGV) after its timeout`.
[[nodiscard]] std::string describe(const OsProcessResult& result);

struct OsProcessSpawnerOptions {
  std::size_t running_limit = 256;  ///< children at once, 1..4096; each takes up to 4 descriptors of ours
  /// How long an output may stay open after the end of the child and its group.
  Duration drain_limit = std::chrono::milliseconds(200);
};

/// Starts OS processes, feeds and drains them, enforces their timeouts and waits for them, all on one thread of its
/// own.
///
/// Semantics: the thread that starts a child must outlive it, since the kernel ties the death signal to that thread;
///            hence one long-lived thread. Waiting is by pidfd: no signal handler is installed and other children of
///            the program are left alone. When a child ends, what remains of its process group is killed before its
///            result is delivered. Descendants that leave the group (setsid, setpgid) are out of reach. When our own
///            program is killed, its children are; their own children are not.
/// Threads:   all operations may be called from any thread; none waits for a child, except `stop` and the destructor.
///            Callbacks run on the spawner's thread, one at a time, without a lock held: they must be short, must not
///            throw and must not destroy the spawner. They may call every operation; `stop` then returns without
///            waiting.
/// Errors:    what can be known beforehand fails in `start`; what the kernel refuses later arrives as `not_started`.
/// Lifetime:  borrows `clock`, which must outlive it and move with real time.
/// Bounds:    `running_limit` children with their inputs and outputs; `start` refuses more. Needs Linux 5.9. SIGCHLD
///            must not be ignored (SIG_IGN, SA_NOCLDWAIT), for then the kernel throws results away.
class OsProcessSpawner {
 public:
  using Callback = std::move_only_function<void(OsProcessResult)>;

  /// Errors: `configuration` for a value out of range or ignored SIGCHLD; `unavailable` when descriptors, memory or
  ///         threads have run out.
  [[nodiscard]] static Result<std::unique_ptr<OsProcessSpawner>> create(const OsProcessSpawnerOptions& options = {},
                                                                        const Clock& clock = system_clock());
  OsProcessSpawner(const OsProcessSpawner&) = delete;
  OsProcessSpawner& operator=(const OsProcessSpawner&) = delete;
  ~OsProcessSpawner();

  /// Queues the start of a child; `done` is then called exactly once, and may be called before this returns. Looks at
  /// the file system for the executable and the working directory, and does not wait for the child to exist. Errors:
  /// `invalid_argument` (empty argv or name, NUL, negative duration), `not_found`, `permission` (not executable),
  /// `too_large` (arguments and environment), `refused` (`running_limit` reached), `shutting_down`. Then `done` is not
  /// called.
  [[nodiscard]] Result<OsProcessId> start(OsProcessOptions options, Callback done);

  /// Sends `signal` to the child's process group, after its start if that is still pending. The spawner does so soon
  /// after this returns, in order of the numbers when there are several; equal ones may merge, as pending signals do.
  /// Errors: `no_process` when its end is known, `invalid_argument` for a number outside 1..64.
  [[nodiscard]] Result<void> kill(OsProcessId id, int signal);

  /// Asks the child to end: SIGTERM to its group, SIGKILL after `kill_grace`. Repeating it changes nothing.
  /// Errors: `no_process` when its end is known.
  [[nodiscard]] Result<void> terminate(OsProcessId id);

  /// Kills all children, delivers their results and returns when all is down. May be called twice. Waits as long as the
  /// kernel needs to end a killed process, which is long only if a device or file system hangs.
  void stop();

  /// Children accepted whose end is not known yet.
  [[nodiscard]] std::size_t running_count() const;

  /// The kernel's number of a running child, for logs and tools; none before its start and after its end. To signal it,
  /// use `kill`: the number may be reused by the time it is read.
  [[nodiscard]] std::optional<int> os_pid(OsProcessId id) const;

 private:
  class Loop;
  explicit OsProcessSpawner(std::unique_ptr<Loop> loop);

  std::unique_ptr<Loop> loop_;
};

}  // namespace dagverk
