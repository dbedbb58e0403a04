// The ready-made backends against real files and sockets: rotation, full disks, wrong paths, missing far ends.

#include "log_world.hpp"
#include "support/temporary_folder.hpp"

#include "dagverk/log/backends/console.hpp"
#include "dagverk/log/backends/file.hpp"
#include "dagverk/log/backends/syslog.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <netinet/in.h>
#include <poll.h>
#include <sstream>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

std::string content(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

BackendSpec plain(BackendSpec spec) {
  spec.format = LineFormat::message_only();
  return spec;
}

TEST(FileBackend, appends_to_what_is_there) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.log");
  std::ofstream(path) << "before\n";
  LogWorld world(LogWorld::quick());
  world.pipeline->add_backend(plain(file_backend("file", {.path = path}))).value();
  world.log.info("one");
  world.log.info("two\nthree", {{"n", 2}});
  world.run();
  EXPECT_EQ(content(path), "before\none\ntwo\\nthree n=2\n");
}

TEST(FileBackend, rotates_by_size_and_keeps_as_many_files_as_asked) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.log");
  LogWorld world(LogWorld::quick());
  world.pipeline->add_backend(plain(file_backend("file", {.path = path, .size_max = 30, .files_kept = 2}))).value();
  for (int line = 10; line < 22; ++line) world.log.info("line " + std::to_string(line));  // 8 bytes each, 3 to a file
  world.run();
  EXPECT_EQ(content(path), "line 19\nline 20\nline 21\n");
  EXPECT_EQ(content(path + ".1"), "line 16\nline 17\nline 18\n");
  EXPECT_EQ(content(path + ".2"), "line 13\nline 14\nline 15\n");
  EXPECT_FALSE(fs::exists(path + ".3"));
  EXPECT_EQ(world.stats("file").written, 12U);
}

TEST(FileBackend, without_old_files_a_rotation_empties_the_file) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.log");
  LogWorld world(LogWorld::quick());
  world.pipeline->add_backend(plain(file_backend("file", {.path = path, .size_max = 30, .files_kept = 0}))).value();
  for (int line = 10; line < 15; ++line) world.log.info("line " + std::to_string(line));
  world.run();
  EXPECT_EQ(content(path), "line 13\nline 14\n");
  EXPECT_FALSE(fs::exists(path + ".1"));
}

TEST(FileBackend, rotates_by_time_at_the_borders_of_the_period) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.log");
  LogWorld world(LogWorld::quick());
  world.pipeline->add_backend(plain(file_backend("file", {.path = path, .rotate_every = 24h}))).value();
  world.runtime.advance(23h);
  world.log.info("evening");
  world.run();
  world.runtime.advance(59min);
  world.log.info("late");
  world.run();
  EXPECT_FALSE(fs::exists(path + ".1"));
  world.runtime.advance(1min);
  world.log.info("morning");
  world.run();
  EXPECT_EQ(content(path), "morning\n");
  EXPECT_EQ(content(path + ".1"), "evening\nlate\n");
}

TEST(FileBackend, reopen_goes_on_under_the_name_after_somebody_moved_the_file) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.log");
  LogWorld world(LogWorld::quick());
  world.pipeline->add_backend(plain(file_backend("file", {.path = path}))).value();
  world.log.info("old");
  world.run();
  fs::rename(path, path + ".moved");
  world.log.info("still there");
  world.run();
  world.pipeline->reopen();
  world.run();
  world.log.info("new");
  world.run();
  EXPECT_EQ(content(path + ".moved"), "old\nstill there\n");
  EXPECT_EQ(content(path), "new\n");
}

TEST(FileBackend, what_cannot_be_opened_is_refused_with_the_reason) {
  const TemporaryFolder folder;
  LogWorld world(LogWorld::quick());
  const auto refused = [&](const std::string& path) {
    const Result<void> added = world.pipeline->add_backend(file_backend("file", {.path = path}));
    return added ? std::string() : std::string(added.error().message());
  };
  EXPECT_NE(refused(folder.file("none/a.log")).find("No such file or directory"), std::string::npos);
  EXPECT_NE(refused(folder.file("")).find("Is a directory"), std::string::npos);
  EXPECT_NE(refused("").find("needs a path"), std::string::npos);
  const std::string pipe = folder.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_NE(refused(pipe).find("cannot open the log file"), std::string::npos)
      << "a pipe that nobody reads must not hang";
}

TEST(FileBackend, a_full_disk_costs_counted_lines_and_nothing_else) {
  LogWorld world;
  world.pipeline->add_backend(plain(file_backend("full", {.path = "/dev/full"}))).value();
  for (int line = 0; line < 1000; ++line) world.log.info("line");
  world.run();
  const BackendStats stats = world.stats("full");
  EXPECT_EQ(stats.written, 0U);
  EXPECT_EQ(stats.dropped.failed, 1000U);
  EXPECT_EQ(stats.state, "running");
  EXPECT_NE(stats.last_error.find("No space left on device"), std::string::npos) << stats.last_error;
  EXPECT_EQ(world.sheet.lines.size(), 1000U);
  world.runtime.advance(10s);
  EXPECT_TRUE(world.stats("full").balanced());
}

/// A folder on a disk of its own with room for 64 KiB: a tmpfs where we may mount one, which the test's output says if
/// not; then a limit of the kernel on the size of files, which is another error for the same loss.
class SmallDisk {
 public:
  SmallDisk() {
    if (::mount("none", folder_.path().c_str(), "tmpfs", 0, "size=64k") == 0) {
      mounted_ = true;
      return;
    }
    std::printf("[     NOTE ] no file system may be mounted (%s): the disk is a limit on the size of files\n",
                std::strerror(errno));
    xfsz_before_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &limit_before_);
    const rlimit small{64 << 10, limit_before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk() {
    if (mounted_) {
      ::umount2(folder_.path().c_str(), MNT_DETACH);
    } else {
      ::setrlimit(RLIMIT_FSIZE, &limit_before_);
      std::signal(SIGXFSZ, xfsz_before_);
    }
  }
  [[nodiscard]] std::string operator/(std::string_view name) const { return folder_.file(name); }
  [[nodiscard]] std::string_view full_error() const { return mounted_ ? "No space left on device" : "File too large"; }
  void make_room() const {
    if (mounted_) {
      EXPECT_EQ(::mount("none", folder_.path().c_str(), "tmpfs", MS_REMOUNT, "size=4m"), 0);
    } else {
      ::setrlimit(RLIMIT_FSIZE, &limit_before_);
    }
  }

 private:
  TemporaryFolder folder_;
  bool mounted_ = false;
  rlimit limit_before_{};
  sighandler_t xfsz_before_ = SIG_DFL;
};

struct LinesInFile {
  std::vector<std::int64_t> whole;  ///< the numbers of whole lines, as they stand there
  std::size_t notices = 0;
  std::size_t broken = 0;
};

LinesInFile lines_in(const std::string& path, std::string_view number_after, std::string_view end) {
  LinesInFile lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t at = line.find(number_after);
    if (line.find("log.lines_lost") != std::string::npos) {
      ++lines.notices;
    } else if (at == std::string::npos || !line.ends_with(end)) {
      ++lines.broken;
    } else {
      lines.whole.push_back(std::atoll(line.c_str() + at + number_after.size()));
    }
  }
  return lines;
}

TEST(FileBackend, on_a_disk_that_fills_up_losses_are_counted_and_writing_goes_on_when_there_is_room) {
  const SmallDisk disk;
  LogWorld world;
  world.pipeline->add_backend(plain(file_backend("text", {.path = disk / "a.log"}))).value();
  world.pipeline->add_backend(json_file_backend("json", {.path = disk / "a.json"})).value();
  const std::string padding(100, 'x');
  int next = 0;
  const auto log = [&](int count) {
    for (int line = 0; line < count; ++line) world.log.info("line", {{"n", next++}, {"pad", padding}, {"end", true}});
    world.run();
  };
  for (int round = 0; round < 20; ++round) log(100);
  for (const char* name : {"text", "json"}) {
    const BackendStats stats = world.stats(name);
    EXPECT_GT(stats.written, 0U) << name;
    EXPECT_GT(stats.dropped.failed, 0U) << name;
    EXPECT_EQ(stats.written + stats.dropped.failed, 2000U) << name;
    EXPECT_NE(stats.last_error.find(disk.full_error()), std::string::npos) << stats.last_error;
    EXPECT_EQ(stats.state, "running");
    EXPECT_EQ(stats.restarts, 0U);
  }
  EXPECT_EQ(world.sheet.lines.size(), 2000U) << "the other backend has all of them";

  disk.make_room();
  log(10);
  world.runtime.advance(2s);
  log(10);
  const LinesInFile text = lines_in(disk / "a.log", "line n=", " end=true");
  const LinesInFile json = lines_in(disk / "a.json", R"({"n":)", "}");
  for (const auto& [name, lines] : {std::pair("text", &text), std::pair("json", &json)}) {
    const BackendStats stats = world.stats(name);
    // The line that hit the end of the disk stands on a line of its own; it may lack nothing but the newline.
    EXPECT_GE(lines->whole.size(), stats.written) << name << ": what counts as written is there, whole";
    EXPECT_LE(lines->whole.size() + lines->broken, stats.written + 1) << name;
    EXPECT_TRUE(std::is_sorted(lines->whole.begin(), lines->whole.end())) << name;
    ASSERT_GE(lines->whole.size(), 20U) << name;
    EXPECT_EQ(*(lines->whole.end() - 20), 2000) << name << ": from the first line on for which there was room";
    EXPECT_EQ(lines->whole.back(), 2019) << name;
    EXPECT_GE(lines->notices, 1U) << name << ": the loss is told of";
    EXPECT_TRUE(stats.balanced());
  }
}

TEST(FileBackend, a_line_of_a_mebibyte_with_bad_bytes_is_one_line_everywhere) {
  const TemporaryFolder folder;
  LogOptions options = LogWorld::quick();
  options.line_bytes_max = 1 << 20;
  options.thread_buffer_bytes = 8 << 20;
  LogWorld world(BoundedQueue{}, options);
  world.pipeline->add_backend(plain(file_backend("text", {.path = folder.file("a.log")}))).value();
  world.pipeline->add_backend(json_file_backend("json", {.path = folder.file("a.json")})).value();
  std::string large(1 << 20, 'x');
  large.replace(1000, 7, "\n\x1b[2J\xff\t");
  large.replace(large.size() - 4, 4, "\xe2\x82 \r");
  world.log.info(large);
  world.log.info("after");
  world.run();
  const std::string text = content(folder.file("a.log"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
  EXPECT_EQ(text.substr(1000, 14), "\\n\\x1b[2J\xef\xbf\xbd\\t");
  EXPECT_TRUE(text.ends_with("\xef\xbf\xbd \\r\nafter\n")) << text.substr(text.size() - 40);
  EXPECT_GT(text.size(), large.size());
  const std::string json = content(folder.file("a.json"));
  EXPECT_EQ(std::count(json.begin(), json.end(), '\n'), 2);
  EXPECT_NE(json.find("\\n\\u001b[2J\xef\xbf\xbd\\t"), std::string::npos);
  EXPECT_EQ(json.find('\xff'), std::string::npos);
  EXPECT_EQ(world.stats("text").written, 2U);
  EXPECT_EQ(world.stats("json").written, 2U);
}

TEST(FileBackend, json_lines) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.json");
  LogWorld world(LogWorld::quick());
  world.pipeline->add_backend(json_file_backend("json", {.path = path})).value();
  world.pipeline->write(LogSeverity::info, {}, "hello", std::vector<LogValue>{{"n", 1}});
  world.run();
  const std::string text = content(path);
  EXPECT_TRUE(
      text.starts_with("{\"time\":\"2026-01-01T00:00:00.000000Z\",\"level\":\"info\",\"message\":\"hello\","
                       "\"fields\":{\"n\":1},\"thread\":"))
      << text;
  EXPECT_TRUE(text.ends_with("}\n"));
}

/// Puts another file in the place of standard error or output for its life.
class Redirected {
 public:
  Redirected(int descriptor, int with) : descriptor_(descriptor), before_(::dup(descriptor)) {
    ::dup2(with, descriptor);
  }
  Redirected(const Redirected&) = delete;
  Redirected& operator=(const Redirected&) = delete;
  ~Redirected() {
    ::dup2(before_, descriptor_);
    ::close(before_);
  }

 private:
  int descriptor_;
  int before_;
};

TEST(ConsoleBackend, colors_lines_only_when_asked_or_on_a_terminal) {
  const TemporaryFolder folder;
  const std::string path = folder.file("out");
  const int file = ::open(path.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
  LogWorld world(LogWorld::quick());
  world.pipeline->add_backend(plain(console_backend("plain"))).value();
  world.pipeline->add_backend(plain(console_backend("red", {.color = ConsoleOptions::Color::always}))).value();
  {
    const Redirected redirected(STDERR_FILENO, file);
    world.pipeline->suspend_backend("red").value();
    world.log.error("x\x1b[2J");
    world.run();
    world.pipeline->resume_backend("red").value();
    world.run();
  }
  ::close(file);
  EXPECT_EQ(content(path), "x\\x1b[2J\n\x1b[31mx\\x1b[2J\x1b[0m\n");
}

TEST(ConsoleBackend, a_reader_that_has_gone_costs_lines_not_the_program) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ::close(ends[0]);
  LogWorld world;
  world.pipeline->add_backend(console_backend("console")).value();
  {
    const Redirected redirected(STDERR_FILENO, ends[1]);
    for (int line = 0; line < 10; ++line) world.log.info("line");
    world.run();
  }
  ::close(ends[1]);
  EXPECT_EQ(world.stats("console").dropped.failed, 10U);
  EXPECT_NE(world.stats("console").last_error.find("Broken pipe"), std::string::npos);
}

// --- syslog ----------------------------------------------------------------------------------------------------------

/// A loopback socket with a port of its own.
class Receiver {
 public:
  explicit Receiver(int type) : socket_(::socket(AF_INET, type | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    if (type == SOCK_STREAM) {
      EXPECT_EQ(::listen(socket_, 8), 0);
    }
    socklen_t size = sizeof address;
    EXPECT_EQ(::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;
  ~Receiver() { ::close(socket_); }

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] std::string datagram() const {
    char bytes[10'000];
    const ssize_t size = ::recv(socket_, bytes, sizeof bytes, MSG_DONTWAIT);
    return size < 0 ? std::string() : std::string(bytes, static_cast<std::size_t>(size));
  }
  [[nodiscard]] int accepted() const { return ::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC); }

 private:
  int socket_;
  std::uint16_t port_ = 0;
};

SyslogOptions syslog_to(std::uint16_t port, SyslogTransport transport) {
  SyslogOptions options;
  options.port = port;
  options.transport = transport;
  options.app_name = "my app";
  options.hostname = "host";
  options.send_timeout = 200ms;
  return options;
}

TEST(SyslogBackend, sends_rfc_5424_over_udp) {
  const Receiver receiver(SOCK_DGRAM);
  LogWorld world(LogWorld::quick());
  world.pipeline->add_backend(syslog_backend("syslog", syslog_to(receiver.port(), SyslogTransport::udp))).value();
  world.log.error("job.failed\n", {{"jid", "a1"}});
  world.run();
  EXPECT_EQ(receiver.datagram(), "<11>1 2026-01-01T00:00:00.000000Z host my_app " + std::to_string(::getpid()) +
                                     " test - job.failed\\n jid=a1");
  SyslogOptions small = syslog_to(receiver.port(), SyslogTransport::udp);
  small.datagram_bytes_max = 480;
  world.pipeline->remove_backend("syslog").value();
  world.pipeline->add_backend(syslog_backend("small", small)).value();
  world.log.info(std::string(8096, 'x'));
  world.run();
  EXPECT_EQ(receiver.datagram().size(), 480U);
}

TEST(SyslogBackend, sends_counted_octets_over_tcp) {
  const Receiver receiver(SOCK_STREAM);
  LogWorld world(LogWorld::quick());
  world.pipeline->add_backend(syslog_backend("syslog", syslog_to(receiver.port(), SyslogTransport::tcp))).value();
  world.log.info("one");
  world.log.info("two");
  world.run();
  EXPECT_EQ(world.stats("syslog").written, 2U) << world.stats("syslog").last_error;
  const int connection = receiver.accepted();
  char bytes[1000];
  const ssize_t size = ::recv(connection, bytes, sizeof bytes, 0);
  ::close(connection);
  const std::string head = "<14>1 2026-01-01T00:00:00.000000Z host my_app " + std::to_string(::getpid()) + " test - ";
  const std::string length = std::to_string(head.size() + 3) + " ";
  EXPECT_EQ(std::string(bytes, static_cast<std::size_t>(size)), length + head + "one" + length + head + "two");
}

TEST(SyslogBackend, a_tcp_receiver_that_hangs_up_and_comes_back_gets_lines_again) {
  const Receiver receiver(SOCK_STREAM);
  LogWorld world(LogWorld::quick());
  world.pipeline->add_backend(syslog_backend("syslog", syslog_to(receiver.port(), SyslogTransport::tcp))).value();
  world.log.info("first");
  world.run();
  const linger at_once{.l_onoff = 1, .l_linger = 0};  // a reset: what is sent next fails
  const int first = receiver.accepted();
  ::setsockopt(first, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  ::close(first);
  for (int line = 0; line < 5; ++line) {
    world.log.info("second");
    world.run();
  }
  const BackendStats stats = world.stats("syslog");
  EXPECT_EQ(stats.written + stats.dropped.failed, 6U);
  EXPECT_LE(stats.dropped.failed, 1U) << "only what was sent to nobody";
  EXPECT_EQ(stats.restarts, 0U);
  const int again = receiver.accepted();
  char bytes[2000];
  const ssize_t size = ::recv(again, bytes, sizeof bytes, 0);
  ::close(again);
  ASSERT_GT(size, 0);
  const std::string text(bytes, static_cast<std::size_t>(size));
  EXPECT_TRUE(text.ends_with(" second")) << text;
}

TEST(SyslogBackend, lines_of_a_mebibyte_go_over_tcp_whole_with_their_length) {
  const Receiver receiver(SOCK_STREAM);
  LogOptions options = LogWorld::quick();
  options.line_bytes_max = 1 << 20;
  options.thread_buffer_bytes = 8 << 20;
  LogWorld world(BoundedQueue{}, options);
  SyslogOptions patient = syslog_to(receiver.port(), SyslogTransport::tcp);
  patient.send_timeout = 60s;
  world.pipeline->add_backend(syslog_backend("syslog", patient)).value();
  std::string received;
  std::thread reader([&] {
    const int connection = receiver.accepted();
    std::vector<char> bytes(1 << 16);
    for (ssize_t size = 1; size > 0;) {
      size = ::recv(connection, bytes.data(), bytes.size(), 0);
      if (size > 0) received.append(bytes.data(), static_cast<std::size_t>(size));
    }
    ::close(connection);
  });
  world.log.info(std::string(1 << 20, 'x'));
  world.run();
  EXPECT_EQ(world.pipeline->remove_backend("syslog").value().written, 1U);  // and hangs up
  reader.join();
  const std::size_t blank = received.find(' ');
  ASSERT_NE(blank, std::string::npos);
  EXPECT_EQ(received.substr(0, blank), std::to_string(received.size() - blank - 1));
  EXPECT_TRUE(received.ends_with(std::string(1 << 20, 'x')));
}

TEST(SyslogBackend, a_port_that_nobody_listens_on_costs_counted_lines) {
  std::uint16_t port = 0;
  {
    const Receiver receiver(SOCK_STREAM);
    port = receiver.port();
  }
  for (const SyslogTransport transport : {SyslogTransport::tcp, SyslogTransport::udp}) {
    LogWorld world;
    world.pipeline->add_backend(syslog_backend("syslog", syslog_to(port, transport))).value();
    for (int line = 0; line < 20; ++line) {
      world.log.info("line");
      if (transport == SyslogTransport::udp) world.run();
    }
    world.run();
    const BackendStats stats = world.stats("syslog");
    EXPECT_GT(stats.dropped.failed, 0U);
    EXPECT_EQ(stats.written + stats.dropped.failed, 20U);
    EXPECT_NE(stats.last_error.find("Connection refused"), std::string::npos) << stats.last_error;
    EXPECT_EQ(world.sheet.lines.size(), 20U);
  }
}

TEST(SyslogBackend, a_far_end_that_accepts_and_never_reads_costs_counted_lines_after_the_limit) {
  const Receiver receiver(SOCK_STREAM);
  LogOptions options = LogWorld::quick();
  options.thread_buffer_bytes = 32 << 20;
  LogWorld world(BoundedQueue{}, options);
  world.pipeline->add_backend(syslog_backend("syslog", syslog_to(receiver.port(), SyslogTransport::tcp))).value();
  const std::string large(8000, 'x');
  for (int line = 0; line < 2000; ++line) world.log.info(large);  // far more than sockets buffer
  world.run();
  const BackendStats stats = world.stats("syslog");
  EXPECT_GT(stats.dropped.failed, 0U);
  EXPECT_GT(stats.written, 0U);
  EXPECT_EQ(stats.written + stats.dropped.failed, 2000U);
  EXPECT_EQ(world.sheet.lines.size(), 2000U);
}

TEST(SyslogBackend, options_out_of_range_are_refused) {
  LogWorld world(LogWorld::quick());
  SyslogOptions options;
  options.facility = 24;
  const Result<void> added = world.pipeline->add_backend(syslog_backend("syslog", options));
  ASSERT_FALSE(added);
  EXPECT_NE(added.error().message().find("facility must be 0..23, got 24"), std::string_view::npos);
}

}  // namespace
}  // namespace dagverk
