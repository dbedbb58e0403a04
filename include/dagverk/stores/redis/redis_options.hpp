#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/log.hpp"
#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/net/redis_client.hpp"

#include <cstddef>
#include <cstdint>

namespace dagverk::stores {

/// Whose metrics pages are to show the runs of our jobs: Sidekiq changed the keys.
enum class MetricsFormat : std::uint8_t { none, sidekiq_7, sidekiq_8 };

/// How to open a Redis store.
///
/// Lifetime: the clock, the logger and the io thread must outlive the store.
struct RedisStoreOptions {
  net::RedisOptions connection = {};  ///< the server; its scripts are the store's own affair

  bool journal = false;                                     ///< true: a row for each change, in the change's own step
  std::size_t journal_rows_limit = 100'000;                 ///< the oldest go first; kept in the server's memory
  Duration journal_age_limit = std::chrono::hours(7 * 24);  ///< trimmed by and by, with lease renewals

  std::size_t dead_count_limit = 10'000;                   ///< as Sidekiq; the oldest go first, counted as trimmed
  Duration dead_age_limit = std::chrono::hours(180 * 24);  ///< as Sidekiq

  /// How long a jid is known after the last change of its job, at least (a job with a due time: that long after it).
  /// Within it enqueueing the jid again is refused as a duplicate. It must end some time: other programs may take the
  /// job without a word.
  Duration jid_memory = std::chrono::hours(7 * 24);

  /// How long a node may be silent, by the server's clock, before others may rescue its jobs. Renew at least three
  /// times as often.
  Duration lease = std::chrono::seconds(20);

  /// How soon the journal rows of other OS processes are noticed while somebody waits for some; their jobs four times
  /// as late, except those that come into a queue in which this store last found nothing: they are noticed at once.
  Duration poll_interval = std::chrono::milliseconds(500);
  std::size_t watched_queues_limit = 16;  ///< queues noticed at once, a connection each

  /// Elements that `find`, `remove`, `move` and `retry_now` look at for jobs of which it is not known where they are,
  /// and how far from both ends of its queue a job may be to be taken out of it.
  std::size_t search_limit = 1'000'000;

  /// Counts and lengths of runs, by class and minute, written with each heartbeat and when a node retires.
  MetricsFormat metrics = MetricsFormat::none;

  jobs::CodecOptions codec = {};  ///< how payloads are read
  net::RedisIo* io = nullptr;     ///< null: a thread of its own
  const Clock* clock = nullptr;   ///< null: the server's time, as it should be. Else what tests move by hand
  Logger* logger = nullptr;       ///< null: the runtime's
};

}  // namespace dagverk::stores
