#include "stores/redis/metrics.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace dagverk::stores::redis {

namespace {

constexpr std::array<std::int64_t, histogram_size - 1> bounds_ms = {
    20,   30,   45,   65,    100,   150,   225,   335,   500,    750,    1100,   1700,  2500,
    3800, 5750, 8500, 13000, 20000, 30000, 45000, 65000, 100000, 150000, 225000, 335000};
constexpr int short_ttl = 8 * 3600;
constexpr int long_ttl = 72 * 3600;

/// The parts of an instant in UTC that the keys are made of.
struct Moment {
  int year;
  unsigned month;
  unsigned day;
  std::int64_t hour;
  std::int64_t minute;
};

Moment moment_of(WallTime time) {
  using std::chrono::days;
  const auto midnight = std::chrono::floor<days>(time);
  const std::chrono::year_month_day date(midnight);
  const std::int64_t minutes = std::chrono::floor<std::chrono::minutes>(time - midnight).count();
  return {static_cast<int>(date.year()), static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
          minutes / 60, minutes % 60};
}

template <class Number>
std::string two(Number number) {
  return concat(number < 10 ? "0" : "", number);
}

void add_counts(net::RedisBatch& batch, const std::string& key, int ttl, const MetricsByClass& metrics) {
  for (const auto& [name, counts] : metrics) {
    if (counts.micros > 0) {
      batch.add(net::RedisCommand("HINCRBY", key, concat(name, "|ms"), (counts.micros + 500) / 1000));
    }
    if (counts.failed > 0) batch.add(net::RedisCommand("HINCRBY", key, concat(name, "|f"), counts.failed));
    batch.add(net::RedisCommand("HINCRBY", key, concat(name, "|p"), counts.processed));
  }
  batch.add(net::RedisCommand("EXPIRE", key, ttl));
}

void add_histogram(net::RedisBatch& batch, const std::string& key, const ClassMetrics& counts) {
  net::RedisCommand command("BITFIELD", key, "OVERFLOW", "SAT");
  bool any = false;
  for (std::size_t index = 0; index < histogram_size; ++index) {
    if (counts.histogram[index] == 0) continue;
    any = true;
    command.add("INCRBY").add("u16").add(concat('#', index)).add(counts.histogram[index]);
  }
  if (!any) return;
  batch.add(command);
  batch.add(net::RedisCommand("EXPIRE", key, short_ttl));
}

}  // namespace

ClassMetrics& ClassMetrics::operator+=(const ClassMetrics& other) noexcept {
  processed += other.processed;
  failed += other.failed;
  micros += other.micros;
  for (std::size_t index = 0; index < histogram_size; ++index) histogram[index] += other.histogram[index];
  return *this;
}

void Metrics::add(std::string_view job_class, Duration took, bool failed) {
  const MutexLock lock(mutex_);
  auto found = metrics_.find(job_class);
  if (found == metrics_.end()) {
    if (metrics_.size() == metrics_class_limit) return;
    found = metrics_.emplace(std::string(job_class), ClassMetrics()).first;
  }
  ClassMetrics& counts = found->second;
  ++counts.processed;
  if (failed) {
    ++counts.failed;
    return;
  }
  const Duration length = std::max(took, Duration::zero());
  counts.micros += static_cast<std::uint64_t>(length / std::chrono::microseconds(1));
  ++counts.histogram[histogram_bucket(length)];
}

MetricsByClass Metrics::take() {
  const MutexLock lock(mutex_);
  return std::exchange(metrics_, {});
}

void Metrics::put_back(const MetricsByClass& metrics) {
  const MutexLock lock(mutex_);
  for (const auto& [name, counts] : metrics) {
    if (metrics_.contains(name) || metrics_.size() < metrics_class_limit) metrics_[name] += counts;
  }
}

std::size_t histogram_bucket(Duration took) noexcept {
  const auto* const bound =
      std::ranges::find_if(bounds_ms, [took](std::int64_t limit) { return took < std::chrono::milliseconds(limit); });
  return static_cast<std::size_t>(bound - bounds_ms.begin());
}

net::RedisBatch metrics_commands(const MetricsByClass& metrics, MetricsFormat format, WallTime now) {
  net::RedisBatch batch;
  if (metrics.empty() || format == MetricsFormat::none) return batch;
  const Moment at = moment_of(now);
  if (format == MetricsFormat::sidekiq_7) {
    for (const auto& [name, counts] : metrics) {
      add_histogram(batch, concat(name, '-', two(at.day), '-', two(at.hour), ':', at.minute), counts);
    }
    add_counts(batch, concat("j|", at.year, two(at.month), two(at.day), '|', at.hour, ':', at.minute), short_ttl,
               metrics);
    return batch;
  }
  for (const auto& [name, counts] : metrics) {
    add_histogram(batch, concat("h|", name, '-', at.day, '-', at.hour, ':', at.minute), counts);
  }
  const std::string day = concat("j|", two(at.year % 100), two(at.month), two(at.day), '|', at.hour, ':');
  add_counts(batch, concat(day, at.minute / 10), long_ttl, metrics);
  add_counts(batch, concat(day, two(at.minute)), short_ttl, metrics);
  return batch;
}

}  // namespace dagverk::stores::redis
