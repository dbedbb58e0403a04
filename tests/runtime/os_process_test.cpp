#include "dagverk/runtime/os_process.hpp"

#include "support/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <string_view>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

using Spawner = std::unique_ptr<OsProcessSpawner>;

[[nodiscard]] Spawner make_spawner(const OsProcessSpawnerOptions& options = {}, const Clock& clock = system_clock()) {
  auto spawner = OsProcessSpawner::create(options, clock);
  EXPECT_TRUE(spawner) << spawner.error().message();
  return std::move(spawner.value());
}

struct Running {
  OsProcessId id;
  std::future<OsProcessResult> result;
};

[[nodiscard]] Running start(OsProcessSpawner& spawner, OsProcessOptions options) {
  std::promise<OsProcessResult> promise;
  Running running{.id = {}, .result = promise.get_future()};
  auto id = spawner.start(std::move(options), [promise = std::move(promise)](OsProcessResult result) mutable {
    promise.set_value(std::move(result));
  });
  EXPECT_TRUE(id) << id.error().message();
  running.id = id.value();
  return running;
}

[[nodiscard]] OsProcessResult run(OsProcessOptions options) {
  const Spawner spawner = make_spawner();
  return start(*spawner, std::move(options)).result.get();
}

[[nodiscard]] OsProcessOptions shell(std::string script, std::vector<std::string> arguments = {}) {
  OsProcessOptions options;
  options.argv = {"/bin/sh", "-c", std::move(script), "sh"};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  return options;
}

[[nodiscard]] ErrorCode start_error(OsProcessOptions options) {
  const Spawner spawner = make_spawner();
  const auto id = spawner->start(std::move(options), [](OsProcessResult) { ADD_FAILURE() << "called after an error"; });
  return id ? ErrorCode::internal : id.error().code();
}

/// Out of line, since GCC 12 takes the bytes of a constant length for an overflow of the options (bug 105651).
[[nodiscard]] __attribute__((noinline)) std::string letters(std::size_t count) {
  std::string text;
  text.resize(count, 'x');
  return text;
}

/// A named pipe by which children report: an event to wait for.
class Fifo {
 public:
  Fifo() : path_(folder_.file("fifo")) {
    EXPECT_EQ(::mkfifo(path_.c_str(), 0600), 0);
    fd_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);  // for writing, too, so that it never reaches an end
    EXPECT_GE(fd_, 0);
  }
  ~Fifo() { ::close(fd_); }
  Fifo(const Fifo&) = delete;
  Fifo& operator=(const Fifo&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string read_line() {
    std::string line;
    char letter = 0;
    while (::read(fd_, &letter, 1) == 1 && letter != '\n') line += letter;
    return line;
  }

 private:
  TemporaryFolder folder_;
  std::string path_;
  int fd_ = -1;
};

/// The machine's clock, moved ahead by hand.
class JumpingClock final : public Clock {
 public:
  [[nodiscard]] SteadyTime steady_now() const noexcept override { return system_clock().steady_now() + ahead_.load(); }
  [[nodiscard]] WallTime wall_now() const noexcept override { return system_clock().wall_now() + ahead_.load(); }
  void jump(Duration by) { ahead_.store(ahead_.load() + by); }

 private:
  std::atomic<Duration> ahead_{Duration::zero()};
};

/// Makes us the parent of orphans, so that their end can be waited for.
void adopt_orphans() { ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0); }

/// The signal that ended the process, our child or adopted; 0 when it exited.
[[nodiscard]] int wait_for_signal_of(pid_t pid) {
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

[[nodiscard]] std::size_t open_descriptors() {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) count += entry.path().empty() ? 0 : 1;
  return count;
}

// --- input, output, endings
// --------------------------------------------------------------------------------------------------

TEST(OsProcess, one_mebibyte_travels_through_cat) {
  OsProcessOptions options;
  options.argv = {"cat"};
  for (std::size_t index = 0; index < 1024UL * 1024UL; ++index) {
    options.standard_input += static_cast<char>((index * 31 + index / 251) % 256);
  }
  const std::string sent = options.standard_input;

  const OsProcessResult result = run(std::move(options));

  EXPECT_TRUE(result.succeeded()) << describe(result);
  EXPECT_TRUE(result.standard_output.bytes == sent);
  EXPECT_FALSE(result.standard_output.cut());
  EXPECT_EQ(result.standard_input_unsent_bytes, 0U);
  EXPECT_GT(result.os_pid, 0);
  EXPECT_GT(result.wall_time, Duration::zero());
  EXPECT_GT(result.resident_size_max_bytes, 0U);
}

TEST(OsProcess, an_exit_code_arrives_with_both_outputs) {
  const OsProcessResult result = run(shell("echo out; echo err >&2; exit 3"));

  EXPECT_EQ(result.end, OsProcessEnd::exited);
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_FALSE(result.succeeded());
  EXPECT_EQ(result.standard_output.bytes, "out\n");
  EXPECT_EQ(result.standard_error.bytes, "err\n");
  EXPECT_TRUE(result.standard_output.complete);
  EXPECT_EQ(describe(result), "exited with code 3");
}

TEST(OsProcess, a_segmentation_fault_is_reported_as_its_signal) {
  const OsProcessResult result = run(shell("echo before; kill -SEGV $$"));

  EXPECT_EQ(result.end, OsProcessEnd::signalled);
  EXPECT_EQ(result.signal, SIGSEGV);
  EXPECT_FALSE(result.core_dumped);
  EXPECT_EQ(result.standard_output.bytes, "before\n");
  EXPECT_EQ(describe(result), "killed by signal 11 (SEGV)");
}

TEST(OsProcess, without_input_it_reads_an_end_at_once) {
  OsProcessOptions options;
  options.argv = {"cat"};
  EXPECT_TRUE(run(std::move(options)).succeeded());
}

TEST(OsProcess, a_child_that_closes_its_input_early_hangs_nobody) {
  OsProcessOptions options = shell("exec <&-; exit 5");
  options.standard_input = letters(4UL * 1024UL * 1024UL);

  const OsProcessResult result = run(std::move(options));

  EXPECT_EQ(result.exit_code, 5);
  EXPECT_GT(result.standard_input_unsent_bytes, 3UL * 1024UL * 1024UL);
}

TEST(OsProcess, a_child_that_never_reads_hangs_nobody) {
  const Spawner spawner = make_spawner();
  Fifo fifo;
  OsProcessOptions options = shell(R"(echo ready >"$1"; exec sleep 1000)", {fifo.path()});
  options.standard_input = letters(4UL * 1024UL * 1024UL);
  Running deaf = start(*spawner, std::move(options));
  EXPECT_EQ(fifo.read_line(), "ready");

  EXPECT_EQ(start(*spawner, shell("exit 6")).result.get().exit_code, 6);
  ASSERT_TRUE(spawner->terminate(deaf.id));

  EXPECT_EQ(deaf.result.get().signal, SIGTERM);
}

TEST(OsProcess, output_beyond_its_limit_is_drained_and_counted) {
  OsProcessOptions head = shell("head -c 3000000 /dev/zero; seq 1 100000 >&2");
  head.standard_output = {.limit_bytes = 1000};
  head.standard_error = {.limit_bytes = 7, .keep = OutputKeep::tail};

  const OsProcessResult result = run(std::move(head));

  EXPECT_TRUE(result.succeeded());
  EXPECT_EQ(result.standard_output.bytes, std::string(1000, '\0'));
  EXPECT_EQ(result.standard_output.size_bytes, 3'000'000U);
  EXPECT_TRUE(result.standard_output.cut());
  EXPECT_EQ(result.standard_error.bytes, "100000\n");
  EXPECT_EQ(result.standard_error.size_bytes, 588'895U);
}

TEST(OsProcess, a_limit_of_zero_keeps_nothing) {
  OsProcessOptions options = shell("echo out; echo err >&2");
  options.standard_output.limit_bytes = 0;
  options.standard_error.limit_bytes = 0;

  const OsProcessResult result = run(std::move(options));

  EXPECT_EQ(result.standard_output.bytes, "");
  EXPECT_EQ(result.standard_error.bytes, "");
  EXPECT_EQ(result.standard_output.size_bytes, 4U);
  EXPECT_EQ(result.standard_error.size_bytes, 4U);
}

TEST(OsProcess, argument_bytes_arrive_unchanged) {
  std::vector<std::string> arguments = {
      "$HOME; rm -rf *", "`id` $(id) | & > < ' \" \\", "line\nline\r\n\t", "", "--help", "-", "\xff\xfe\x01"};
  for (int index = 0; index < 10; ++index) arguments.emplace_back(100'000, static_cast<char>('a' + index));
  std::string expected;
  for (const std::string& argument : arguments) expected += argument + '\0';

  OsProcessOptions options = shell(R"(printf '%s\0' "$@")", arguments);
  options.standard_output.limit_bytes = 2UL * 1024UL * 1024UL;
  const OsProcessResult result = run(std::move(options));

  EXPECT_TRUE(result.standard_output.bytes == expected);
}

// --- what is refused
// ---------------------------------------------------------------------------------------------------------

TEST(OsProcess, mistakes_are_errors_before_anything_starts) {
  const TemporaryFolder folder;
  std::ofstream(folder.file("plain")) << "text";

  EXPECT_EQ(start_error({}), ErrorCode::invalid_argument);
  EXPECT_EQ(start_error({.argv = {""}}), ErrorCode::invalid_argument);
  EXPECT_EQ(start_error({.argv = {"no-such-program-anywhere"}}), ErrorCode::not_found);
  EXPECT_EQ(start_error({.argv = {"/no/such/program"}}), ErrorCode::not_found);
  EXPECT_EQ(start_error({.argv = {folder.file("plain")}}), ErrorCode::permission);
  EXPECT_EQ(start_error({.argv = {"/tmp"}}), ErrorCode::permission);
  EXPECT_EQ(start_error({.argv = {"true", std::string("a\0b", 3)}}), ErrorCode::invalid_argument);
  EXPECT_EQ(start_error({.argv = {"true", std::string(128UL * 1024UL, 'a')}}), ErrorCode::too_large);
  EXPECT_EQ(start_error({.argv = std::vector<std::string>(100, std::string(100'000, 'a'))}), ErrorCode::not_found);
  OsProcessOptions long_argv{.argv = std::vector<std::string>(100, std::string(100'000, 'a'))};
  long_argv.argv.front() = "true";
  EXPECT_EQ(start_error(std::move(long_argv)), ErrorCode::too_large);
  EXPECT_EQ(start_error({.argv = {"true"}, .working_directory = "/no/such/folder"}), ErrorCode::not_found);
  EXPECT_EQ(start_error({.argv = {"true"}, .working_directory = folder.file("plain")}), ErrorCode::not_found);
  EXPECT_EQ(start_error({.argv = {"true"}, .environment_set = {{"A=B", "c"}}}), ErrorCode::invalid_argument);
  EXPECT_EQ(start_error({.argv = {"true"}, .environment_set = {{"A", std::string("\0", 1)}}}),
            ErrorCode::invalid_argument);
  EXPECT_EQ(start_error({.argv = {"true"}, .timeout = -1s}), ErrorCode::invalid_argument);
  EXPECT_EQ(start_error({.argv = {"true"}, .kill_grace = -1s}), ErrorCode::invalid_argument);
  EXPECT_EQ(start_error({.argv = {"true"}, .limits = {.cpu_time = 0s}}), ErrorCode::invalid_argument);
  EXPECT_EQ(OsProcessSpawner::create({.running_limit = 0}).error().code(), ErrorCode::configuration);
  EXPECT_EQ(OsProcessSpawner::create({.drain_limit = -1s}).error().code(), ErrorCode::configuration);
}

TEST(OsProcess, a_file_the_kernel_cannot_execute_is_not_started_and_never_given_to_a_shell) {
  const TemporaryFolder folder;
  const std::string path = folder.file("script_without_interpreter");
  std::ofstream(path) << "echo a shell ran this\n";
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);

  const OsProcessResult result = run({.argv = {path}});

  EXPECT_EQ(result.end, OsProcessEnd::not_started);
  ASSERT_TRUE(result.error);
  EXPECT_EQ(result.error->code(), ErrorCode::malformed);
  EXPECT_NE(result.error->message().find(path), std::string_view::npos);
  EXPECT_EQ(result.standard_output.size_bytes, 0U);
  EXPECT_EQ(result.os_pid, 0);
}

TEST(OsProcess, relative_entries_of_path_are_passed_over) {
  const TemporaryFolder folder;
  const std::string path = folder.file("only_here");
  std::filesystem::copy_file("/bin/true", path);
  const std::string before = ::getenv("PATH");
  const std::string relative = std::filesystem::relative(folder.path()).string();

  ::setenv("PATH", (relative + "::/usr/bin").c_str(), 1);
  EXPECT_EQ(start_error({.argv = {"only_here"}}), ErrorCode::not_found);
  EXPECT_TRUE(run({.argv = {relative + "/only_here"}, .working_directory = "/"}).succeeded());
  ::setenv("PATH", folder.path().c_str(), 1);
  EXPECT_TRUE(run({.argv = {"only_here"}}).succeeded());
  ::setenv("PATH", before.c_str(), 1);
}

TEST(OsProcess, more_children_than_the_limit_are_refused_until_one_has_ended) {
  const Spawner spawner = make_spawner({.running_limit = 1});
  std::promise<Result<OsProcessId>> second;
  auto first = spawner->start({.argv = {"sleep", "1000"}}, [&](OsProcessResult) {
    second.set_value(spawner->start({.argv = {"true"}}, [](OsProcessResult) {}));
  });
  ASSERT_TRUE(first);

  EXPECT_EQ(spawner->start({.argv = {"true"}}, [](OsProcessResult) {}).error().code(), ErrorCode::refused);
  EXPECT_EQ(spawner->running_count(), 1U);
  ASSERT_TRUE(spawner->terminate(*first));

  EXPECT_TRUE(second.get_future().get());
}

// --- the child's surroundings
// ------------------------------------------------------------------------------------------------

TEST(OsProcess, only_allowed_and_given_variables_reach_the_child) {
  ::setenv("DAGVERK_TEST_ALLOWED", "yes", 1);
  ::setenv("DAGVERK_TEST_SECRET", "no", 1);
  ::setenv("DAGVERK_TEST_CHANGED", "before", 1);
  const OsProcessResult result =
      run({.argv = {"env"},
           .environment_inherit = {"DAGVERK_TEST_ALLOWED", "DAGVERK_TEST_CHANGED", "DAGVERK_TEST_ABSENT"},
           .environment_set = {{"DAGVERK_TEST_CHANGED", "after"}, {"DAGVERK_TEST_NEW", "a=b c"}}});
  ::unsetenv("DAGVERK_TEST_ALLOWED");
  ::unsetenv("DAGVERK_TEST_SECRET");
  ::unsetenv("DAGVERK_TEST_CHANGED");

  EXPECT_EQ(result.standard_output.bytes,
            "DAGVERK_TEST_ALLOWED=yes\nDAGVERK_TEST_CHANGED=after\nDAGVERK_TEST_NEW=a=b c\n");
}

TEST(OsProcess, no_descriptor_is_inherited) {
  const int inheritable = ::fcntl(STDERR_FILENO, F_DUPFD, 50);
  ASSERT_GE(inheritable, 50);

  const OsProcessResult result = run({.argv = {"ls", "/proc/self/fd"}});
  ::close(inheritable);

  EXPECT_EQ(result.standard_output.bytes, "0\n1\n2\n3\n");  // 3 is the folder that ls reads
}

TEST(OsProcess, it_works_in_a_program_without_standard_descriptors) {
  const int kept[] = {::fcntl(0, F_DUPFD_CLOEXEC, 50), ::fcntl(1, F_DUPFD_CLOEXEC, 50),
                      ::fcntl(2, F_DUPFD_CLOEXEC, 50)};
  for (int fd = 0; fd < 3; ++fd) ::close(fd);
  OsProcessOptions options = shell("cat; echo err >&2");
  options.standard_input = "in";
  const OsProcessResult result = run(std::move(options));
  for (int fd = 0; fd < 3; ++fd) {
    if (kept[fd] < 0) continue;
    ::dup2(kept[fd], fd);
    ::close(kept[fd]);
  }

  EXPECT_EQ(result.standard_output.bytes, "in");
  EXPECT_EQ(result.standard_error.bytes, "err\n");
}

TEST(OsProcess, signals_are_back_to_default_and_privileges_cannot_grow) {
  std::signal(SIGUSR1, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  const OsProcessResult result = run({.argv = {"cat", "/proc/self/status"}});
  std::signal(SIGUSR1, SIG_DFL);
  std::signal(SIGPIPE, SIG_DFL);

  const std::string& status = result.standard_output.bytes;
  EXPECT_NE(status.find("SigBlk:\t0000000000000000\n"), std::string::npos) << status;
  EXPECT_NE(status.find("SigIgn:\t0000000000000000\n"), std::string::npos) << status;
  EXPECT_NE(status.find("NoNewPrivs:\t1\n"), std::string::npos) << status;
}

TEST(OsProcess, the_child_leads_its_own_group_in_its_own_folder) {
  const OsProcessResult result = run({.argv = {"cat", "self/stat"}, .working_directory = "/proc"});

  // pid (comm) state ppid pgrp …
  const std::string pid = std::to_string(result.os_pid);
  EXPECT_TRUE(
      result.standard_output.bytes.starts_with(pid + " (cat) R " + std::to_string(::getpid()) + " " + pid + " "))
      << result.standard_output.bytes;
}

TEST(OsProcess, resource_limits_hold_in_the_child) {
  OsProcessOptions options = shell("ulimit -t; ulimit -v; ulimit -n; ulimit -f; ulimit -c");
  options.limits = {.cpu_time = 1500ms,
                    .address_space_bytes = 512UL * 1024UL * 1024UL,
                    .open_files_count = 17,
                    .file_size_bytes = 512UL * 1000UL};

  const OsProcessResult result = run(std::move(options));

  EXPECT_EQ(result.standard_output.bytes, "2\n524288\n17\n1000\n0\n");
}

// --- ending children
// ---------------------------------------------------------------------------------------------------------

TEST(OsProcess, a_timeout_ends_the_child) {
  const OsProcessResult result = run({.argv = {"sleep", "1000"}, .timeout = 20ms});

  EXPECT_TRUE(result.timed_out);
  EXPECT_FALSE(result.cancelled);
  EXPECT_EQ(result.signal, SIGTERM);
  EXPECT_GE(result.wall_time, 20ms);
  EXPECT_EQ(describe(result), "killed by signal 15 (TERM) after its timeout");
}

TEST(OsProcess, a_timeout_without_grace_kills_at_once) {
  const OsProcessResult result = run({.argv = {"sleep", "1000"}, .timeout = 1ms, .kill_grace = 0s});

  EXPECT_TRUE(result.timed_out);
  EXPECT_EQ(result.signal, SIGKILL);
}

TEST(OsProcess, a_child_that_survives_sigterm_is_killed_after_the_grace) {
  JumpingClock clock;
  const Spawner spawner = make_spawner({}, clock);
  Fifo fifo;
  OsProcessOptions options =
      shell(R"(exec 3>"$1"; trap 'echo term >&3' TERM; echo ready >&3; while :; do :; done)", {fifo.path()});
  options.timeout = 1h;
  options.kill_grace = 1h;
  Running running = start(*spawner, std::move(options));

  EXPECT_EQ(fifo.read_line(), "ready");
  clock.jump(1h);
  ASSERT_TRUE(spawner->kill(running.id, SIGCONT));  // harmless; makes the spawner look at the clock
  EXPECT_EQ(fifo.read_line(), "term");
  clock.jump(1h);
  ASSERT_TRUE(spawner->kill(running.id, SIGCONT));

  const OsProcessResult result = running.result.get();
  EXPECT_TRUE(result.timed_out);
  EXPECT_EQ(result.signal, SIGKILL);
}

TEST(OsProcess, a_child_may_end_well_after_sigterm) {
  const Spawner spawner = make_spawner();
  Fifo fifo;
  Running running =
      start(*spawner, shell(R"(trap 'echo bye; exit 0' TERM; echo ready >"$1"; while :; do :; done)", {fifo.path()}));
  EXPECT_EQ(fifo.read_line(), "ready");

  ASSERT_TRUE(spawner->terminate(running.id));

  const OsProcessResult result = running.result.get();
  EXPECT_TRUE(result.cancelled);
  EXPECT_FALSE(result.succeeded());
  EXPECT_EQ(result.end, OsProcessEnd::exited);
  EXPECT_EQ(result.standard_output.bytes, "bye\n");
  EXPECT_EQ(describe(result), "exited with code 0 after being asked to end");
}

TEST(OsProcess, a_stopped_child_sees_sigterm) {
  const Spawner spawner = make_spawner();
  Fifo fifo;
  Running running =
      start(*spawner, shell(R"(trap 'exit 9' TERM; echo $$ >"$1"; kill -STOP $$; while :; do :; done)", {fifo.path()}));
  const int pid = std::stoi(fifo.read_line());
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED), 0);

  ASSERT_TRUE(spawner->terminate(running.id));

  EXPECT_EQ(running.result.get().exit_code, 9);
}

TEST(OsProcess, kill_sends_the_signal_given) {
  const Spawner spawner = make_spawner();
  Running running = start(*spawner, {.argv = {"sleep", "1000"}});

  EXPECT_EQ(spawner->kill(running.id, 0).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(spawner->kill(running.id, 65).error().code(), ErrorCode::invalid_argument);
  ASSERT_TRUE(spawner->kill(running.id, SIGUSR1));

  const OsProcessResult result = running.result.get();
  EXPECT_EQ(result.signal, SIGUSR1);
  EXPECT_FALSE(result.cancelled);
  EXPECT_EQ(spawner->kill(running.id, SIGUSR1).error().code(), ErrorCode::no_process);
  EXPECT_EQ(spawner->terminate(running.id).error().code(), ErrorCode::no_process);
  EXPECT_EQ(spawner->os_pid(running.id), std::nullopt);
}

TEST(OsProcess, a_child_asked_to_end_before_its_start_never_runs) {
  const Spawner spawner = make_spawner();
  const TemporaryFolder folder;
  std::promise<void> blocked;
  std::promise<void> release;
  ASSERT_TRUE(spawner->start({.argv = {"true"}}, [&](OsProcessResult) {
    blocked.set_value();
    release.get_future().wait();
  }));
  blocked.get_future().wait();

  Running running = start(*spawner, {.argv = {"touch", folder.file("ran")}});
  ASSERT_TRUE(spawner->terminate(running.id));
  release.set_value();

  const OsProcessResult result = running.result.get();
  EXPECT_EQ(result.end, OsProcessEnd::not_started);
  EXPECT_TRUE(result.cancelled);
  EXPECT_EQ(result.error->code(), ErrorCode::cancelled);
  EXPECT_FALSE(std::filesystem::exists(folder.file("ran")));
}

TEST(OsProcess, what_is_left_of_the_group_dies_with_the_child) {
  adopt_orphans();
  const OsProcessResult result = run(shell("sleep 1000 & echo $!; exit 4"));

  EXPECT_EQ(result.exit_code, 4);
  EXPECT_TRUE(result.standard_output.complete);
  EXPECT_EQ(wait_for_signal_of(std::stoi(result.standard_output.bytes)), SIGKILL);
}

TEST(OsProcess, a_timeout_reaches_the_whole_group) {
  adopt_orphans();
  const Spawner spawner = make_spawner();
  Fifo fifo;
  Running running = start(*spawner, shell(R"(sleep 1000 & echo $! >"$1"; wait)", {fifo.path()}));
  const pid_t grandchild = std::stoi(fifo.read_line());

  ASSERT_TRUE(spawner->terminate(running.id));

  EXPECT_EQ(running.result.get().signal, SIGTERM);
  EXPECT_NE(wait_for_signal_of(grandchild), 0);  // SIGTERM, or the SIGKILL that follows the child's own end
}

TEST(OsProcess, a_descendant_that_left_the_group_cannot_hold_the_result_back) {
  adopt_orphans();
  const Spawner spawner = make_spawner({.drain_limit = 5ms});
  Fifo fifo;
  Running running = start(*spawner, shell(R"(setsid sh -c 'echo $$ >"$1"; exec sleep 1000' sh "$1" &
                                              read pid <"$1"; echo $pid)",
                                          {fifo.path()}));

  const OsProcessResult result = running.result.get();

  EXPECT_TRUE(result.succeeded());
  EXPECT_FALSE(result.standard_output.complete);
  const pid_t escaped = std::stoi(result.standard_output.bytes);
  EXPECT_EQ(::kill(escaped, SIGKILL), 0);
  EXPECT_EQ(wait_for_signal_of(escaped), SIGKILL);
}

TEST(OsProcess, a_child_dies_with_the_program_that_started_it) {
  adopt_orphans();
  Fifo fifo;
  const pid_t program = ::fork();
  ASSERT_GE(program, 0);
  if (program == 0) {
    const Spawner spawner = make_spawner();
    const auto id = spawner->start(shell(R"(echo $$ >"$1"; exec sleep 1000)", {fifo.path()}), [](OsProcessResult) {});
    if (!id) ::_exit(1);
    for (;;) ::pause();
  }
  const pid_t child = std::stoi(fifo.read_line());

  ASSERT_EQ(::kill(program, SIGKILL), 0);

  EXPECT_EQ(wait_for_signal_of(program), SIGKILL);
  EXPECT_EQ(wait_for_signal_of(child), SIGKILL);
}

TEST(OsProcess, a_status_taken_by_somebody_else_is_reported_as_lost) {
  const Spawner spawner = make_spawner();
  Running robbed = start(*spawner, {.argv = {"sleep", "1000"}});
  std::promise<void> blocked;
  std::promise<void> release;
  ASSERT_TRUE(spawner->start({.argv = {"true"}}, [&](OsProcessResult) {
    blocked.set_value();
    release.get_future().wait();
  }));
  blocked.get_future().wait();

  const pid_t pid = spawner->os_pid(robbed.id).value();
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  EXPECT_EQ(wait_for_signal_of(pid), SIGKILL);
  release.set_value();

  const OsProcessResult result = robbed.result.get();
  EXPECT_EQ(result.end, OsProcessEnd::lost);
  EXPECT_EQ(result.error->code(), ErrorCode::outcome_unknown);
}

TEST(OsProcess, ignored_sigchld_is_refused_with_its_reason) {
  const Spawner spawner = make_spawner();
  std::signal(SIGCHLD, SIG_IGN);
  const auto created = OsProcessSpawner::create();
  const OsProcessResult result = start(*spawner, {.argv = {"true"}}).result.get();
  std::signal(SIGCHLD, SIG_DFL);

  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().code(), ErrorCode::configuration);
  EXPECT_EQ(result.end, OsProcessEnd::not_started);
  EXPECT_EQ(result.error->code(), ErrorCode::configuration);
}

// --- many, and the end
// -------------------------------------------------------------------------------------------------------

TEST(OsProcess, two_hundred_children_run_at_once) {
  const Spawner spawner = make_spawner();
  Fifo fifo;
  std::vector<Running> children;
  for (int index = 0; index < 200; ++index) {
    OsProcessOptions options = shell(R"(read word; echo "$word"; echo x >>"$1"; exec sleep 1000)", {fifo.path()});
    options.standard_input = std::to_string(index) + "\n";
    children.push_back(start(*spawner, std::move(options)));
  }
  for (int index = 0; index < 200; ++index) EXPECT_EQ(fifo.read_line(), "x");
  EXPECT_EQ(spawner->running_count(), 200U);

  for (const Running& child : children) ASSERT_TRUE(spawner->terminate(child.id));

  for (int index = 0; index < 200; ++index) {
    const OsProcessResult result = children.at(static_cast<std::size_t>(index)).result.get();
    EXPECT_TRUE(result.cancelled);
    EXPECT_EQ(result.signal, SIGTERM);
    EXPECT_EQ(result.standard_output.bytes, std::to_string(index) + "\n");
  }
  EXPECT_EQ(spawner->running_count(), 0U);
}

TEST(OsProcess, starts_from_several_threads_all_complete) {
  const Spawner spawner = make_spawner();
  std::atomic<int> succeeded{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int index = 0; index < 25; ++index) {
        if (start(*spawner, {.argv = {"true"}}).result.get().succeeded()) ++succeeded;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(succeeded.load(), 100);
}

TEST(OsProcess, no_descriptor_leaks) {
  const std::size_t before = open_descriptors();
  {
    const Spawner spawner = make_spawner();
    for (int index = 0; index < 20; ++index) {
      OsProcessOptions options = shell("exec <&-; echo out; exit 1");
      options.standard_input = letters(100'000);
      EXPECT_EQ(start(*spawner, std::move(options)).result.get().exit_code, 1);
    }
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST(OsProcess, running_out_of_descriptors_fails_softly_and_passes) {
  const Spawner spawner = make_spawner();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int free_fd = ::dup(STDERR_FILENO);
  ::close(free_fd);
  // Room for none; for the pipes but not for the pidfd; for each number in between.
  for (rlim_t room = 0; room <= 4; ++room) {
    rlimit tight = before;
    tight.rlim_cur = static_cast<rlim_t>(free_fd) + room;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
    const OsProcessResult result = start(*spawner, {.argv = {"sleep", "1000"}}).result.get();
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_EQ(result.end, OsProcessEnd::not_started) << room;
    ASSERT_TRUE(result.error);
    EXPECT_EQ(result.error->code(), ErrorCode::unavailable) << result.error->message();
  }

  EXPECT_TRUE(start(*spawner, {.argv = {"true"}}).result.get().succeeded());
}

TEST(OsProcess, stop_kills_what_runs_and_may_be_called_twice) {
  Spawner spawner = make_spawner();
  Fifo fifo;
  std::vector<Running> children;
  for (int index = 0; index < 5; ++index) {
    children.push_back(start(*spawner, shell(R"(trap '' TERM; echo ready >"$1"; sleep 1000)", {fifo.path()})));
  }
  for (int index = 0; index < 5; ++index) EXPECT_EQ(fifo.read_line(), "ready");

  spawner->stop();

  EXPECT_EQ(spawner->running_count(), 0U);
  for (Running& child : children) {
    const OsProcessResult result = child.result.get();
    EXPECT_TRUE(result.cancelled);
    EXPECT_EQ(result.signal, SIGKILL);
  }
  EXPECT_EQ(spawner->start({.argv = {"true"}}, [](OsProcessResult) {}).error().code(), ErrorCode::shutting_down);
  spawner->stop();
}

TEST(OsProcess, each_accepted_start_is_answered_once_when_stop_comes_in_between) {
  for (int round = 0; round < 10; ++round) {
    const Spawner spawner = make_spawner();
    std::atomic<int> answered{0};
    std::atomic<int> accepted{0};
    std::promise<void> first;
    std::thread starter([&] {
      for (int index = 0; index < 100; ++index) {
        if (spawner->start({.argv = {"sleep", "1000"}}, [&](OsProcessResult) { ++answered; })) ++accepted;
        if (index == 0) first.set_value();
      }
    });
    first.get_future().wait();
    std::thread stopper([&] { spawner->stop(); });
    spawner->stop();
    EXPECT_EQ(spawner->running_count(), 0U);
    stopper.join();
    starter.join();
    EXPECT_EQ(answered.load(), accepted.load());
    EXPECT_GE(accepted.load(), 1);
  }
}

TEST(OsProcess, stop_from_a_callback_stops_without_waiting_for_itself) {
  const Spawner spawner = make_spawner();
  Running other = start(*spawner, {.argv = {"sleep", "1000"}});
  ASSERT_TRUE(spawner->start({.argv = {"true"}}, [&](OsProcessResult) { spawner->stop(); }));

  EXPECT_TRUE(other.result.get().cancelled);
}

}  // namespace
}  // namespace dagverk
