#include "log/log_core.hpp"

#include "log/collector.hpp"
#include "log/record_encode.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <poll.h>
#include <unistd.h>
#include <utility>

namespace dagverk::detail {

namespace {

std::atomic<std::uint64_t> next_core_id{1};  // so that a thread's memory of a pipeline never fits another one

/// The buffers of one thread, one per pipeline that it logs to.
class RingsOfThread {
 public:
  RingsOfThread() = default;
  RingsOfThread(const RingsOfThread&) = delete;
  RingsOfThread& operator=(const RingsOfThread&) = delete;
  ~RingsOfThread();

  [[nodiscard]] ThreadRing* find(std::uint64_t core_id) const noexcept {
    for (const auto& [id, ring] : rings_) {
      if (id == core_id) return ring.get();
    }
    return nullptr;
  }
  void add(std::uint64_t core_id, std::shared_ptr<ThreadRing> ring) {
    std::erase_if(rings_, [](const auto& entry) { return entry.second->reader_gone.load(); });
    rings_.emplace_back(core_id, std::move(ring));
  }

 private:
  std::vector<std::pair<std::uint64_t, std::shared_ptr<ThreadRing>>> rings_;  // with their pipelines
};

/// What a log call looks at first: no destructor, so no guard.
struct LastRing {
  std::uint64_t core_id;
  ThreadRing* ring;
  bool thread_ends;  ///< its RingsOfThread is gone
};
thread_local constinit LastRing last_ring{0, nullptr, false};
thread_local RingsOfThread rings_of_thread;

RingsOfThread::~RingsOfThread() {
  last_ring = {0, nullptr, true};
  for (const auto& [id, ring] : rings_) ring->owner_gone.store(true);
}

}  // namespace

LogCore::LogCore(RuntimeBase& runtime, LogOptions options)
    : runtime_(runtime),
      options_(options),
      id_(next_core_id.fetch_add(1)),
      stamps_(runtime.clock()),
      crash_buffer_(new char[crash_buffer_bytes]) {}

LogCore::~LogCore() {
  for (const std::shared_ptr<ThreadRing>& ring : rings_) ring->reader_gone.store(true);
}

// --- callers ---------------------------------------------------------------------------------------------------------

namespace {

/// Leaves the core to others for about a tenth of a millisecond: time for the collector to empty some buffers.
void give_way() noexcept {
  constexpr timespec pause{.tv_sec = 0, .tv_nsec = 50'000};  // and the kernel's timer slack
  const int error = errno;
  static_cast<void>(::ppoll(nullptr, 0, &pause, nullptr));
  errno = error;
}

}  // namespace

void write_line(LogCore& core, LogSeverity severity, std::string_view name, std::string_view text,
                std::span<const LogValue> fields, const LogSource& source) noexcept {
  core.write({severity, name, text, fields, &source});
}

inline void LogCore::write(const RecordContent& content) noexcept {
  if (static_cast<std::uint8_t>(content.severity) >= log_severity_count) [[unlikely]]
    return;
  ThreadRing* ring = last_ring.core_id == id_ ? last_ring.ring : ring_of_this_thread();
  if (ring == nullptr) [[unlikely]] {
    count_lost_without_ring();
    return;
  }
  write_to(*ring, content);
  // A destructor of another thread-local object logs: this buffer was for that one line.
  if (last_ring.thread_ends) [[unlikely]]
    ring->owner_gone.store(true);
}

inline void LogCore::write_to(ThreadRing& ring, const RecordContent& content) noexcept {
  const LogMode mode = gate_.load(std::memory_order_relaxed);
  if (mode == LogMode::drop) [[unlikely]] {
    ThreadRing::add(ring.dropped_by_mode, 1);
    return;
  }
  if (writing_context.lines_inside) [[unlikely]] {
    ThreadRing::add(ring.dropped_inside, 1);
    return;
  }
  const RecordPlan plan = plan_record(content, options_.line_bytes_max);
  char* place = ring.reserve(plan.size);
  if (place == nullptr) [[unlikely]] {
    place = reserve_after_a_pause(ring, plan.size);
    if (place == nullptr) return;
  }
  encode_record(place, plan, content);
  RecordHeader& header = header_at(place);
  header.origin = writing_context.origin;
  header.thread_id = ring.thread_id();
  header.stamp = stamps_.now();
  ring.commit();
  if (asleep.load(std::memory_order_relaxed)) [[unlikely]]  // see commit()
    wake_collector();
  if (mode == LogMode::sync) [[unlikely]]
    wait_until_written();
}

char* LogCore::reserve_after_a_pause(ThreadRing& ring, std::uint32_t size) noexcept {
  // Once per look of the collector: it may be waiting for the very core that this thread keeps busy.
  char* place = nullptr;
  const std::uint64_t look = looks.load(std::memory_order_relaxed);
  if (ring.gave_way_at != look) {
    ring.gave_way_at = look;
    urge_collector();
    give_way();
    place = ring.reserve(size);
  }
  if (place == nullptr) ThreadRing::add(ring.dropped_full, 1);
  return place;
}

ThreadRing* LogCore::ring_of_this_thread() noexcept {
  try {
    if (!last_ring.thread_ends) {
      if (ThreadRing* known = rings_of_thread.find(id_); known != nullptr) {
        last_ring = {id_, known, false};
        return known;
      }
    }
    auto ring = std::make_shared<ThreadRing>(options_.thread_buffer_bytes, static_cast<std::uint32_t>(::gettid()));
    {
      const MutexLock lock(mutex_);
      rings_.push_back(ring);
      rings_generation_.fetch_add(1);
    }
    if (last_ring.thread_ends) return ring.get();  // the core keeps it until it has no owner
    rings_of_thread.add(id_, ring);
    last_ring = {id_, ring.get(), false};
    return ring.get();
  } catch (...) {
    return nullptr;  // no memory: counted by the caller
  }
}

void LogCore::wake_collector() noexcept {
  if (asleep.exchange(false)) urge_collector();
}

void LogCore::urge_collector() noexcept {
  try {
    ServerRef<LogCollector>(collector()).cast(LogCollector::Drain{});
  } catch (...) {
    asleep.store(true);  // no memory: the next line tries again
  }
}

void LogCore::wait_until_written() noexcept {
  if (this_process::inside()) return;  // a process never keeps its thread waiting, nor waits for itself
  try {
    // Whatever becomes of the wait, the call is over.
    [[maybe_unused]] const Result<void> waited =
        ServerRef<LogCollector>(collector())
            .call_blocking_within<LogCollector::Flush>(options_.sync_timeout, true, nullptr);
  } catch (...) {  // NOLINT(bugprone-empty-catch): no memory: as if the wait had timed out
  }
}

// --- the collector ---------------------------------------------------------------------------------------------------

std::vector<std::shared_ptr<ThreadRing>> LogCore::rings() const {
  const MutexLock lock(mutex_);
  return rings_;
}

void LogCore::retire(const std::shared_ptr<ThreadRing>& ring) {
  const MutexLock lock(mutex_);
  if (std::erase(rings_, ring) == 0) return;
  retired_.called += ring->pushed.load();
  retired_.collected += ring->taken();
  retired_.dropped_full += ring->dropped_full.load();
  retired_.dropped_by_mode += ring->dropped_by_mode.load();
  retired_.dropped_inside += ring->dropped_inside.load();
  rings_generation_.fetch_add(1);
}

std::vector<std::shared_ptr<BackendState>> LogCore::backends() const {
  const MutexLock lock(mutex_);
  return backends_;
}

std::uint64_t LogCore::dropped_full() const {
  const MutexLock lock(mutex_);
  std::uint64_t count = retired_.dropped_full + lost_without_ring_.load();
  for (const std::shared_ptr<ThreadRing>& ring : rings_) count += ring->dropped_full.load();
  return count;
}

void LogCore::set_collector(Pid pid) {
  const MutexLock lock(mutex_);
  collector_ = pid;
}

Pid LogCore::collector() const {
  const MutexLock lock(mutex_);
  return collector_;
}

// --- backends --------------------------------------------------------------------------------------------------------

Result<std::shared_ptr<BackendState>> LogCore::add(BackendSpec spec) {
  std::shared_ptr<BackendState> added;
  {
    const MutexLock lock(mutex_);
    for (const std::shared_ptr<BackendState>& backend : backends_) {
      if (backend->spec.name == spec.name) {
        return Error(ErrorCode::already_exists, concat("there is a log backend \"", spec.name, "\" already"));
      }
    }
    const auto free = std::find(numbers_used_.begin(), numbers_used_.end(), false);
    if (free == numbers_used_.end()) {
      return Error(ErrorCode::refused, concat("a log pipeline has at most ", log_backends_max, " backends"));
    }
    *free = true;
    const auto number = static_cast<std::uint8_t>(free - numbers_used_.begin() + 1);
    added = std::make_shared<BackendState>(std::move(spec), number);
    backends_.push_back(added);
    backends_generation_.fetch_add(1);
  }
  update_gate();
  return added;
}

void LogCore::remove(const BackendState& backend) {
  {
    const MutexLock lock(mutex_);
    std::erase_if(backends_, [&](const auto& one) { return one.get() == &backend; });
    numbers_used_[backend.number - 1U] = false;
    backends_generation_.fetch_add(1);
  }
  update_gate();
}

std::shared_ptr<BackendState> LogCore::find(std::string_view name) const {
  const MutexLock lock(mutex_);
  for (const std::shared_ptr<BackendState>& backend : backends_) {
    if (backend->spec.name == name) return backend;
  }
  return nullptr;
}

void LogCore::update_gate() {
  const MutexLock lock(mutex_);
  std::uint8_t least = log_severity_count;
  bool all_drop = !backends_.empty();
  bool some_sync = false;
  for (const std::shared_ptr<BackendState>& backend : backends_) {
    const LogMode mode = backend->queue.mode();
    backend->mode_in_gate.store(mode);
    all_drop = all_drop && mode == LogMode::drop;
    some_sync = some_sync || mode == LogMode::sync;
    least = std::min(least, static_cast<std::uint8_t>(backend->queue.severity_min()));
  }
  severity_min_.store(least, std::memory_order_relaxed);
  const LogMode open = some_sync ? LogMode::sync : LogMode::async;
  gate_.store(all_drop || closed_.load() ? LogMode::drop : open, std::memory_order_relaxed);
}

LogStats LogCore::stats() const {
  const MutexLock lock(mutex_);
  LogStats stats = retired_;
  std::uint64_t pushed = retired_.called;
  for (const std::shared_ptr<ThreadRing>& ring : rings_) {
    const std::uint64_t taken = ring->taken();  // before `pushed`: never more
    pushed += ring->pushed.load();
    stats.collected += taken;
    stats.dropped_full += ring->dropped_full.load();
    stats.dropped_by_mode += ring->dropped_by_mode.load();
    stats.dropped_inside += ring->dropped_inside.load();
  }
  stats.dropped_full += lost_without_ring_.load();
  stats.buffered = pushed - stats.collected;
  stats.called = pushed + stats.dropped_full + stats.dropped_by_mode + stats.dropped_inside;
  stats.threads = rings_.size();
  return stats;
}

// --- after a crash ---------------------------------------------------------------------------------------------------

namespace {

void write_all(int descriptor, const char* bytes, std::size_t count) noexcept {
  while (count != 0) {
    const ssize_t written = ::write(descriptor, bytes, count);
    if (written < 0) {
      if (errno == EINTR) continue;
      return;
    }
    bytes += written;
    count -= static_cast<std::size_t>(written);
  }
}

}  // namespace

void LogCore::write_out_after_crash() noexcept {
  if (crashing.exchange(true)) return;
  for (int attempt = 0; !mutex_.try_lock(); ++attempt) {
    if (attempt == 1'000'000) return;  // its holder is the thread that crashed
  }
  for (int millis = 0; millis < 100; ++millis) {
    bool busy = collecting.load();
    for (const std::shared_ptr<BackendState>& backend : backends_) busy = busy || backend->writing.load();
    if (!busy) break;
    static_cast<void>(::poll(nullptr, 0, 1));
  }
  for (const std::shared_ptr<BackendState>& backend : backends_) write_out(*backend);
  mutex_.unlock();
}

void LogCore::write_out(const BackendState& backend) noexcept {
  const int descriptor = backend.crash_descriptor.load();
  if (descriptor < 0) return;
  backend.queue.visit_after_crash([&](const QueueEntry& entry) {
    entry.chunk->for_each(entry.severity_min, entry.skip, entry.lines, [&](const char* record) {
      write_out_line(backend, descriptor, record, entry.chunk->to_wall);
    });
  });
  const StampScale scale = stamps_.scale();
  const Duration to_wall = runtime_.clock().wall_now().time_since_epoch() - Duration(scale.steady_ns);
  for (const std::shared_ptr<ThreadRing>& ring : rings_) {
    for (std::uint64_t at = ring->head(), end = ring->tail(); at != end;) {
      const char* record = ring->record_at(at);
      const Duration since(scale.steady_ns_of(header_at(record).stamp) - header_at(record).stamp);
      write_out_line(backend, descriptor, record, to_wall + since);
      at += header_at(record).size;
    }
  }
}

void LogCore::write_out_line(const BackendState& backend, int descriptor, const char* record,
                             Duration to_wall) noexcept {
  const RecordHeader& header = header_at(record);
  if (header.origin == backend.number) return;
  if (header.severity < static_cast<std::uint8_t>(backend.queue.severity_min())) return;
  const LogLine line = decode_record(record, to_wall);
  const std::size_t size = backend.spec.format.write_to(line, crash_buffer_.get(), crash_buffer_bytes - 1);
  crash_buffer_[size] = '\n';
  write_all(descriptor, crash_buffer_.get(), size + 1);
}

}  // namespace dagverk::detail
