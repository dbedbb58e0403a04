#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/mutex.hpp"
#include "dagverk/net/redis_command.hpp"
#include "dagverk/stores/redis/redis_options.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace dagverk::stores::redis {

inline constexpr std::size_t histogram_size = 26;

/// What happened to the runs of one class.
struct ClassMetrics {
  std::uint64_t processed = 0;  ///< runs that ended, well or not
  std::uint64_t failed = 0;
  std::uint64_t micros = 0;                               ///< of those that ended well
  std::array<std::uint64_t, histogram_size> histogram{};  ///< of those, too

  ClassMetrics& operator+=(const ClassMetrics& other) noexcept;
};
using MetricsByClass = std::map<std::string, ClassMetrics, std::less<>>;

/// Sidekiq's metrics of the runs that this store was told of, between two flushes.
///
/// Threads: any.
/// Bounds:  metrics_class_limit classes; of others nothing is kept.
class Metrics {
 public:
  void add(std::string_view job_class, Duration took, bool failed);
  /// What was added since the last time.
  [[nodiscard]] MetricsByClass take();
  /// What `take` gave could not be written.
  void put_back(const MetricsByClass& metrics);

 private:
  Mutex mutex_;
  MetricsByClass metrics_ DAGVERK_GUARDED_BY(mutex_);
};
inline constexpr std::size_t metrics_class_limit = 1000;

/// Which of Sidekiq's 26 counters a run of that length belongs to; the first ends at 20 ms.
[[nodiscard]] std::size_t histogram_bucket(Duration took) noexcept;

/// The commands by which a Sidekiq of that generation writes them, at `now`.
[[nodiscard]] net::RedisBatch metrics_commands(const MetricsByClass& metrics, MetricsFormat format, WallTime now);

}  // namespace dagverk::stores::redis
