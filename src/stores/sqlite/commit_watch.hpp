#pragma once

#include "stores/sqlite/doorbell.hpp"

#include "dagverk/base/clock.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <thread>

namespace dagverk::stores {

/// Notices that other OS processes commit to the store's file, while somebody waits for that.
///
/// Semantics: calls `look` when the doorbell rang, and when the WAL was written. A commit can be seen only some time
///            after its last write, namely when it is on the disk; so after a write it looks again and again, at first
///            every quarter of a millisecond, later less often, for a tenth of a second. While its own process commits
///            all the time, which shows what others did anyway, it looks every millisecond.
/// Threads:   `look` is called on a thread of its own; it must not block. Everything else by the store's lane.
/// Lifetime:  the destructor ends the thread.
class CommitWatch {
 public:
  CommitWatch(std::string wal_path, std::optional<Doorbell> bell, std::move_only_function<void()> look);
  CommitWatch(const CommitWatch&) = delete;
  CommitWatch& operator=(const CommitWatch&) = delete;
  ~CommitWatch();

  /// False when the system gives no more watches: then only the doorbell is heard.
  [[nodiscard]] bool watches_wal() const noexcept { return inotify_ >= 0; }

  /// Whether anybody waits. Returns true when it had not been listening until now: then look once.
  bool listen(bool waited_for) noexcept;
  void committed_ourselves() noexcept { own_commits_.fetch_add(1, std::memory_order_relaxed); }
  /// A look has shown something new.
  void found() noexcept { found_.fetch_add(1, std::memory_order_relaxed); }

 private:
  /// What the thread knows.
  struct Round;

  void run();
  void wait(Round& round) const noexcept;
  [[nodiscard]] bool begin_listening(Round& round) noexcept;
  void read_events(Round& round) noexcept;
  void look(Round& round);
  [[nodiscard]] bool take_writes() noexcept;
  void watch_file() noexcept;

  const std::string wal_path_;
  const std::optional<Doorbell> bell_;
  std::move_only_function<void()> look_;
  int wake_ = -1;     // eventfd
  int inotify_ = -1;  // -1: none
  int watched_ = -1;  // -1: the file was not there

  // Between the lane and the thread. Sequentially consistent: either the thread sees that somebody waits before it
  // stops listening, or the lane sees that it stopped.
  std::atomic<bool> waited_for_{false};
  std::atomic<bool> listening_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<std::uint64_t> own_commits_{0};
  std::atomic<std::uint64_t> found_{0};

  std::thread thread_;  // last: it uses the others
};

}  // namespace dagverk::stores
