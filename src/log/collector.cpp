#include "log/collector.hpp"

#include "log/backend_server.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace dagverk::detail {

namespace {

constexpr std::size_t chunks_at_a_time = 16;

class ReplyWhenSettled final : public FlushTicket {
 public:
  explicit ReplyWhenSettled(From<LogCollector::Flush> from) : from_(std::move(from)) {}
  ReplyWhenSettled(const ReplyWhenSettled&) = delete;
  ReplyWhenSettled& operator=(const ReplyWhenSettled&) = delete;
  ~ReplyWhenSettled() override { static_cast<void>(from_.reply(Result<void>())); }

 private:
  From<LogCollector::Flush> from_;
};

void tell(const std::optional<Pid>& backend) {
  if (backend) ServerRef<BackendServer>(*backend).cast(BackendServer::Work{});
}

Async<void> restart_backend_soon(SupervisorRef supervisor, std::string name) {
  // When it fails, the backend was removed meanwhile, or it did not open: it is shown as stopped, with its error.
  static_cast<void>(co_await supervisor.restart_child(name));
}

}  // namespace

void LogCollector::init() {
  core_->set_collector(this_process::pid());
  self().cast(More{});
}

void LogCollector::handle_cast(Drain /*drain*/) { work(); }
void LogCollector::handle_cast(More /*more*/) { work(); }
void LogCollector::handle_info(Poll poll) {
  if (poll.number == poll_number_) work();
}

void LogCollector::work() {
  core_->collecting.store(true);
  if (core_->crashing.load()) {
    core_->collecting.store(false);
    return;
  }
  const std::size_t lines = drain(chunks_at_a_time);
  core_->collecting.store(false);
  sleep_or_poll(lines);
}

void LogCollector::sleep_or_poll(std::size_t lines) {
  const SteadyTime now = runtime().clock().steady_now();
  ++poll_number_;  // an older poll that is still to come is not needed
  if (lines != 0) last_line_ = now;
  if (lines >= chunk_lines_max || (lines != 0 && core_->options().linger == Duration::zero())) {
    self().cast(More{});
    return;
  }
  if (now - last_line_ < core_->options().linger) {
    send_after(core_->options().poll_interval, Poll{poll_number_});
    return;
  }
  core_->asleep.store(true);
  if (ProgramBarrier::available()) ProgramBarrier::heavy();
  refresh();
  const bool missed =
      std::any_of(rings_.begin(), rings_.end(), [](const auto& ring) { return ring->tail() != ring->head(); });
  // A line that was committed before `asleep` was set is seen here; a later one sees `asleep`.
  if (missed && core_->asleep.exchange(false)) self().cast(More{});
}

void LogCollector::refresh() {
  if (const std::uint64_t generation = core_->rings_generation(); generation != rings_generation_) {
    rings_generation_ = generation;
    rings_ = core_->rings();
  }
  if (const std::uint64_t generation = core_->backends_generation(); generation != backends_generation_) {
    backends_generation_ = generation;
    backends_ = core_->backends();
  }
}

std::size_t LogCollector::drain(std::size_t chunks_max) {
  core_->looks.fetch_add(1, std::memory_order_relaxed);
  refresh();
  const StampScale scale = core_->stamps().scale();  // before the tails are read
  const SteadyTime now{Duration(scale.steady_ns)};
  const Duration to_wall = runtime().clock().wall_now().time_since_epoch() - now.time_since_epoch();
  cursors_.clear();
  for (const std::shared_ptr<ThreadRing>& ring : rings_) {
    const bool last = ring->owner_gone.load();  // before the tail: whatever comes after it is not there
    cursors_.push_back({ring->head(), ring->tail(), nullptr, 0});
    if (last && cursors_.back().at == cursors_.back().end) {
      core_->retire(ring);
    } else {
      advance(cursors_.size() - 1, scale.stamp);
    }
  }
  std::size_t lines = 0;
  for (std::size_t count = 0; count < chunks_max; ++count) {
    auto chunk = std::make_shared<LogChunk>();
    chunk->to_wall = to_wall;
    if (!fill_chunk(*chunk, scale)) break;
    lines += chunk->lines;
    hand_on(chunk, now);
    for (std::size_t index = 0; index < rings_.size(); ++index) {
      Cursor& cursor = cursors_[index];
      if (cursor.lines != 0) rings_[index]->release(cursor.at, std::exchange(cursor.lines, 0));
    }
  }
  report_full_buffers(now);
  return lines;
}

void LogCollector::advance(std::size_t index, std::int64_t stamp_max) {
  Cursor& cursor = cursors_[index];
  cursor.record = nullptr;
  if (cursor.at == cursor.end) return;
  const char* record = rings_[index]->record_at(cursor.at);
  if (header_at(record).stamp <= stamp_max) cursor.record = record;
}

bool LogCollector::fill_chunk(LogChunk& chunk, const StampScale& scale) {
  constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();
  while (chunk.lines < chunk_lines_max) {
    std::size_t oldest = cursors_.size();
    std::int64_t oldest_stamp = never;
    std::int64_t next_stamp = never;  // the oldest of the other rings
    for (std::size_t index = 0; index < cursors_.size(); ++index) {
      if (cursors_[index].record == nullptr) continue;
      const std::int64_t stamp = header_at(cursors_[index].record).stamp;
      if (oldest == cursors_.size() || stamp < oldest_stamp) {
        next_stamp = oldest_stamp;
        oldest_stamp = stamp;
        oldest = index;
      } else {
        next_stamp = std::min(next_stamp, stamp);
      }
    }
    if (oldest == cursors_.size()) break;
    Cursor& cursor = cursors_[oldest];
    while (cursor.record != nullptr && header_at(cursor.record).stamp <= next_stamp && chunk.lines < chunk_lines_max) {
      const RecordHeader& header = header_at(cursor.record);
      if (chunk.bytes == nullptr) {
        chunk.room = std::max<std::size_t>(chunk_bytes, header.size);
        chunk.bytes = std::unique_ptr<char[]>(new char[chunk.room]);
      }
      if (chunk.size + header.size > chunk.room) return true;
      char* const copy = chunk.bytes.get() + chunk.size;
      std::memcpy(copy, cursor.record, header.size);
      header_at(copy).stamp = scale.steady_ns_of(header.stamp);
      chunk.size += header.size;
      ++chunk.lines;
      ++chunk.lines_of[header.severity];
      ++cursor.lines;
      cursor.at += header.size;
      advance(oldest, scale.stamp);
    }
  }
  return chunk.lines != 0;
}

void LogCollector::hand_on(const std::shared_ptr<const LogChunk>& chunk, SteadyTime now) {
  bool modes_changed = false;
  for (const std::shared_ptr<BackendState>& backend : backends_) {
    const LogMode before = backend->queue.mode();
    tell(backend->queue.offer(chunk, now));
    modes_changed = modes_changed || backend->queue.mode() != before;
  }
  if (modes_changed) core_->update_gate();
}

void LogCollector::report_full_buffers(SteadyTime now) {
  const std::uint64_t full = core_->dropped_full();
  if (full > full_told_) {
    for (const std::shared_ptr<BackendState>& backend : backends_) {
      backend->queue.note_lost_before(full - full_told_, last_look_, now);
    }
    full_told_ = full;
  }
  last_look_ = now;
}

void LogCollector::handle_call(Flush flush, From<Flush> from) {
  const auto ticket = std::make_shared<ReplyWhenSettled>(std::move(from));
  if (core_->crashing.load()) return;
  core_->collecting.store(true);
  while (drain(chunks_at_a_time) != 0) {
  }
  core_->collecting.store(false);
  for (const std::shared_ptr<BackendState>& backend : backends_) {
    // Not only those in sync mode by now: what made the caller wait may just have been written.
    const bool never_waited_for =
        std::holds_alternative<BoundedQueue>(backend->queue.rule()) || backend->queue.mode() == LogMode::drop;
    if (flush.only_sync && never_waited_for) continue;
    if (flush.only != nullptr && flush.only != backend.get()) continue;
    tell(backend->queue.add_ticket(ticket));
  }
}

void LogCollector::handle_cast(BackendKilled killed) {
  send_after(killed.restart_after, RestartDue{std::move(killed.name)});
}

void LogCollector::handle_info(const RestartDue& due) {
  const SupervisorRef supervisor = core_->supervisor;
  runtime().spawn([supervisor, name = due.name] { return restart_backend_soon(supervisor, name); });
}

}  // namespace dagverk::detail
