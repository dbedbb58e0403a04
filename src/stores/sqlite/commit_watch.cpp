#include "stores/sqlite/commit_watch.hpp"

#include "dagverk/base/assert.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>
#include <utility>

namespace dagverk::stores {

namespace {

constexpr Duration look_interval_min = std::chrono::microseconds(250);  // bounds what a flood of foreign commits costs
constexpr Duration look_again_for = std::chrono::milliseconds(100);     // the longest a commit's sync is waited for
constexpr Duration busy_interval = std::chrono::milliseconds(1);        // between looks while we commit ourselves
constexpr Duration retry_interval = std::chrono::seconds(1);            // between attempts to watch a missing file

timespec timespec_of(Duration time) noexcept {
  const auto nanoseconds = std::max<std::int64_t>(time.count(), 0);
  return {.tv_sec = nanoseconds / 1'000'000'000, .tv_nsec = nanoseconds % 1'000'000'000};
}

}  // namespace

struct CommitWatch::Round {
  bool listening = false;
  bool stop = false;
  SteadyTime now{};
  SteadyTime deaf_until{};                             // rings and writes wait until then
  SteadyTime own_writes_until{};                       // writes wait until then
  std::optional<SteadyTime> next_look = std::nullopt;  // unset: only rings and writes cause one
  SteadyTime written_at{};                             // the last write that was seen
  bool written = false;                                // since the last look
  bool rung = false;
  bool looked_quietly = false;  // nothing had been written between the last look and the one before
  std::uint64_t own_commits = 0;
  std::uint64_t found = 0;  // as of the last look
};

CommitWatch::CommitWatch(std::string wal_path, std::optional<Doorbell> bell, std::move_only_function<void()> look)
    : wal_path_(std::move(wal_path)),
      bell_(std::move(bell)),
      look_(std::move(look)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      inotify_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
  DAGVERK_ASSERT(wake_ >= 0);
  watch_file();
  thread_ = std::thread([this] { run(); });
}

CommitWatch::~CommitWatch() {
  stopping_.store(true);
  const std::uint64_t one = 1;
  const ssize_t written = ::write(wake_, &one, sizeof(one));
  DAGVERK_ASSERT(written == sizeof(one));
  thread_.join();
  if (inotify_ >= 0) ::close(inotify_);
  ::close(wake_);
}

bool CommitWatch::listen(bool waited_for) noexcept {
  waited_for_.store(waited_for);
  if (!waited_for || listening_.exchange(true)) return false;
  const std::uint64_t one = 1;
  const ssize_t written = ::write(wake_, &one, sizeof(one));
  DAGVERK_ASSERT(written == sizeof(one));
  return true;
}

void CommitWatch::run() {
  Round round;
  while (true) {
    wait(round);
    if (round.stop) return;
    if (!round.listening && !begin_listening(round)) continue;
    read_events(round);
    if ((round.written || round.rung) && !waited_for_.load()) {
      // Nobody minds. Whatever happens from here on is found by the look that the next one to wait begins with.
      listening_.store(false);
      if (!waited_for_.load() || listening_.exchange(true)) {
        round.listening = false;
        round.next_look.reset();
        continue;
      }
    }
    if (round.rung || (round.next_look && *round.next_look <= round.now)) look(round);
  }
}

/// Sleeps until there is something to do, and notes the time.
void CommitWatch::wait(Round& round) const noexcept {
  const Clock& clock = system_clock();
  std::optional<SteadyTime> until = round.next_look;
  for (const SteadyTime deaf_until : {round.deaf_until, round.own_writes_until}) {
    if (round.now < deaf_until) until = until ? std::min(*until, deaf_until) : deaf_until;
  }
  if (!until && round.listening && inotify_ >= 0 && watched_ < 0) until = round.now + retry_interval;
  const bool hear = round.listening && round.now >= round.deaf_until;
  const bool see = hear && round.now >= round.own_writes_until;
  std::array<pollfd, 3> files{pollfd{.fd = wake_, .events = POLLIN, .revents = 0},
                              pollfd{.fd = hear && bell_ ? bell_->descriptor() : -1, .events = POLLIN, .revents = 0},
                              pollfd{.fd = see ? inotify_ : -1, .events = POLLIN, .revents = 0}};
  const timespec timeout = timespec_of(until ? *until - clock.steady_now() : Duration{0});
  const int ready = ::ppoll(files.data(), files.size(), until ? &timeout : nullptr, nullptr);
  DAGVERK_ASSERT(ready >= 0 || errno == EINTR);
  if (ready > 0 && files[0].revents != 0) {
    std::uint64_t count = 0;
    const ssize_t taken = ::read(wake_, &count, sizeof(count));
    DAGVERK_ASSERT(taken == sizeof(count));
  }
  round.now = clock.steady_now();
  round.stop = stopping_.load();
}

bool CommitWatch::begin_listening(Round& round) noexcept {
  if (!listening_.load()) return false;
  round.listening = true;
  round.deaf_until = round.own_writes_until = round.now;
  // Something may have been written that was not committed when the lane looked.
  round.written_at = round.now;
  round.next_look = round.now + look_interval_min;
  return true;
}

void CommitWatch::read_events(Round& round) noexcept {
  if (round.now < round.deaf_until) return;
  if (bell_ && bell_->take_rings()) round.rung = true;
  if (watched_ < 0) watch_file();
  if (round.now < round.own_writes_until || !take_writes()) return;
  round.written = true;
  round.written_at = round.now;
  const std::uint64_t own_commits = own_commits_.load(std::memory_order_relaxed);
  if (std::exchange(round.own_commits, own_commits) == own_commits) {
    round.next_look = round.now;
    return;
  }
  // Probably our own. Each of our commits sees all that others committed before, so only later ones are to be found.
  round.next_look = round.now + busy_interval;
  round.own_writes_until = *round.next_look;
}

void CommitWatch::look(Round& round) {
  const std::uint64_t found = found_.load(std::memory_order_relaxed);
  const bool last_look_found = std::exchange(round.found, found) != found;
  // A write that the last look's finding does not explain would have been seen before that look, or after it.
  const bool done = last_look_found && round.looked_quietly && !round.written;
  const Duration since_write = round.now - round.written_at;
  round.looked_quietly = !round.written;
  round.written = false;
  round.rung = false;
  if (done || since_write >= look_again_for) {
    round.next_look.reset();
  } else {
    round.next_look = round.now + std::max(look_interval_min, since_write / 4);
  }
  round.deaf_until = std::max(round.deaf_until, round.now + look_interval_min);
  look_();
}

bool CommitWatch::take_writes() noexcept {
  if (inotify_ < 0) return false;
  bool any = false;
  alignas(inotify_event) std::array<char, 4096> bytes;
  // Equal events merge while they wait, so there are few.
  for (int slice = 0; slice < 16; ++slice) {
    const ssize_t size = ::read(inotify_, bytes.data(), bytes.size());
    if (size <= 0) break;
    any = true;
    for (std::size_t at = 0; at < static_cast<std::size_t>(size);) {
      const auto* const event = reinterpret_cast<const inotify_event*>(bytes.data() + at);
      if ((event->mask & IN_IGNORED) != 0) watched_ = -1;  // the file went; SQLite makes another
      at += sizeof(inotify_event) + event->len;
    }
  }
  return any;
}

void CommitWatch::watch_file() noexcept {
  if (inotify_ >= 0) watched_ = ::inotify_add_watch(inotify_, wal_path_.c_str(), IN_MODIFY);
}

}  // namespace dagverk::stores
