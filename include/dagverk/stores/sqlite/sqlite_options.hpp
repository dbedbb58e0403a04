#pragma once

#include "dagverk/base/boot_clock.hpp"
#include "dagverk/base/clock.hpp"
#include "dagverk/base/log.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

namespace dagverk::stores {

/// How to open a SQLite store.
///
/// Lifetime: the clocks and the logger must outlive the store.
struct SqliteOptions {
  std::string path;  ///< the database file; created when missing, its folder is not. Node locks and doorbells live in
                     ///< the folder `<path>.nodes`

  bool journal = true;                                      ///< false: no journal rows at all, whatever the jobs say
  std::size_t journal_rows_limit = 1'000'000;               ///< the oldest go first; about 150 bytes each
  Duration journal_age_limit = std::chrono::hours(7 * 24);  ///< trimmed by and by, with lease renewals

  std::size_t dead_count_limit = 10'000;                   ///< as Sidekiq; the oldest go first, counted as trimmed
  Duration dead_age_limit = std::chrono::hours(180 * 24);  ///< as Sidekiq

  /// Bytes in use at which enqueues fail with `store_full`, so that jobs cannot fill the disk; whatever works on jobs
  /// that are there goes on, and may use a little more. 0: the disk is the limit.
  std::uint64_t size_limit = 0;

  /// How long a node may be silent before others may rescue its jobs. Renew at least three times as often. A node that
  /// died (and did not just stall) is noticed at once, by its lock.
  Duration lease = std::chrono::seconds(20);

  Duration lock_wait =
      std::chrono::seconds(10);  ///< how long to wait for another process that writes; then `unavailable`

  /// Operations that may wait for the writer, and their bytes; more are refused with `unavailable`.
  std::size_t waiting_count_limit = 16'384;
  std::size_t waiting_size_limit = std::size_t{256} << 20U;
  std::size_t batch_count_limit = 512;  ///< operations in one transaction at most: bounds the lock's hold

  /// While somebody waits for a change the file is asked this often, whether a doorbell rang or not. The doorbell and
  /// the watch on the log are what makes waits short; this is for where the system gives neither.
  Duration poll_interval = std::chrono::seconds(1);

  const Clock* clock = nullptr;           ///< null: the runtime's
  const BootClock* boot_clock = nullptr;  ///< null: the machine's; on a deterministic runtime, its clock
  Logger* logger = nullptr;               ///< null: the runtime's
};

}  // namespace dagverk::stores
