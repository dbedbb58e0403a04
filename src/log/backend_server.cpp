#include "log/backend_server.hpp"

#include "log/collector.hpp"
#include "log/record_encode.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <string>
#include <vector>

namespace dagverk::detail {

thread_local constinit WritingContext writing_context;

namespace {

constexpr Duration idle_after = std::chrono::milliseconds(100);  // as logger_olp
constexpr Duration notice_retry = std::chrono::seconds(1);
constexpr int entries_at_a_time = 8;

/// Marks what this thread logs as the backend's own.
class InsideBackend {
 public:
  InsideBackend(std::uint8_t origin, bool lines_inside) noexcept { writing_context = {origin, lines_inside}; }
  InsideBackend(const InsideBackend&) = delete;
  InsideBackend& operator=(const InsideBackend&) = delete;
  ~InsideBackend() { writing_context = {}; }
};

/// Tells the fatal-signal path that lines are in a backend's hands.
class Writing {
 public:
  Writing(std::atomic<bool>& writing, const std::atomic<bool>& crashing) noexcept : writing_(writing) {
    writing_.store(true);
    allowed_ = !crashing.load();
  }
  Writing(const Writing&) = delete;
  Writing& operator=(const Writing&) = delete;
  ~Writing() { writing_.store(false); }
  [[nodiscard]] bool allowed() const noexcept { return allowed_; }

 private:
  std::atomic<bool>& writing_;
  bool allowed_;
};

}  // namespace

InitResult BackendServer::init() {
  this_process::trap_exits();  // so that terminate runs when the supervisor stops it
  const InsideBackend inside(state_->number, true);
  backend_ = state_->spec.make();
  if (Result<void> opened = backend_->open(); !opened) {
    state_->queue.set_last_error(std::string(opened.error().message()));
    return InitResult::stop(ExitReason::custom(std::string(opened.error().message())));
  }
  state_->crash_descriptor.store(backend_->crash_descriptor());
  incarnation_ = state_->queue.begin(this_process::pid());
  self().cast(Work{});
  if (backend_->tick_interval() > Duration::zero()) send_after(backend_->tick_interval(), Tick{});
  if (const auto* rule = std::get_if<DiscardThresholds>(&state_->queue.rule())) {
    send_after(rule->periodic_check, PeriodicCheck{});
  }
  return InitResult::ok();
}

void BackendServer::handle_cast(Work /*work*/) {
  state_->queue.looking();
  for (int count = 0; count < entries_at_a_time; ++count) {
    const Writing writing(state_->writing, core_->crashing);
    if (!writing.allowed()) return;
    BackendQueue::Taken taken = state_->queue.take(incarnation_, runtime().clock().steady_now());
    if (taken.killed) {
      end_overloaded(*taken.killed);
      return;
    }
    try {
      for (const QueueNotice& notice : taken.notices) {
        if (!write_notice(notice)) state_->queue.put_back(notice, runtime().clock().steady_now());
      }
      if (taken.entry) write_entry(*taken.entry);
    } catch (const std::exception& failure) {
      state_->queue.lose_in_hand(incarnation_, failure.what());
      throw;
    } catch (...) {
      state_->queue.lose_in_hand(incarnation_, "an exception that is no std::exception");
      throw;
    }
    update_gate_if_changed();
    if (!taken.entry) {
      go_on_or_rest(false);
      return;
    }
  }
  go_on_or_rest(true);
}

void BackendServer::go_on_or_rest(bool found) {
  if (found) {
    self().cast(Work{});
    return;
  }
  last_work_ = runtime().clock().steady_now();
  if (idle_armed_) return;
  idle_armed_ = true;
  send_after(idle_after, Idle{});
}

void BackendServer::write_entry(const QueueEntry& entry) {
  std::vector<const char*> records;
  records.reserve(entry.lines);
  std::uint64_t own = 0;
  bool lines_inside = false;
  entry.chunk->for_each(entry.severity_min, entry.skip, entry.lines, [&](const char* record) {
    const std::uint8_t origin = header_at(record).origin;
    if (origin == state_->number) {
      ++own;
      return;
    }
    lines_inside = lines_inside || origin != 0;
    records.push_back(record);
  });
  const std::size_t count = records.size();
  const LogBatch batch(std::move(records), entry.chunk->to_wall, state_->spec.format);
  WriteOutcome outcome;
  if (count != 0) {
    const InsideBackend inside(state_->number, lines_inside);
    outcome = backend_->write(batch);
  }
  state_->crash_descriptor.store(backend_->crash_descriptor());
  std::optional<std::string> error;
  if (outcome.error) error = std::string(outcome.error->message());
  const FlushTickets done = state_->queue.settle(incarnation_, std::min<std::uint64_t>(outcome.written, count), own,
                                                 std::move(error), runtime().clock().steady_now());
  if (!done.empty() || state_->queue.empty()) {
    const InsideBackend inside(state_->number, true);
    backend_->flush();
  }
}

bool BackendServer::write_notice(const QueueNotice& notice) {
  const Clock& clock = runtime().clock();
  const SteadyTime now = clock.steady_now();
  const Duration to_wall = clock.wall_now().time_since_epoch() - now.time_since_epoch();
  const auto wall = [&](SteadyTime time) { return log_time_text(WallTime(time.time_since_epoch() + to_wall)); };
  const std::string from = wall(notice.from);
  const std::string to = wall(notice.to);
  std::vector<LogValue> fields;
  std::string_view text;
  switch (notice.kind) {
    case QueueNotice::Kind::lines_lost:
      text = "log.lines_lost";
      fields = {{"count", notice.count}, {"from", from}, {"to", to}};
      break;
    case QueueNotice::Kind::flushed:
      text = "log.queue_flushed";
      fields = {{"count", notice.count}};
      break;
    case QueueNotice::Kind::mode_changed:
      text = "log.mode_changed";
      fields = {{"mode", notice.count != 0 ? "drop" : "async"}};
      break;
    case QueueNotice::Kind::above_discard:
      text = "log.above_discard_threshold";
      fields = {{"lines", notice.count}};
      break;
    case QueueNotice::Kind::below_discard: text = "log.below_discard_threshold"; break;
  }
  const RecordContent content{LogSeverity::warning, "dagverk", text, fields};
  const RecordPlan plan = plan_record(content, 1024);
  alignas(record_align) std::array<char, record_size_max(1024)> bytes{};
  encode_record(bytes.data(), plan, content);
  header_at(bytes.data()).stamp = now.time_since_epoch().count();
  const LogBatch batch({bytes.data()}, to_wall, state_->spec.format);
  const InsideBackend inside(state_->number, true);
  return backend_->write(batch).written == 1;
}

void BackendServer::end_overloaded(const std::string& why) {
  state_->queue.set_last_error(why);
  update_gate_if_changed();
  const auto& rule = std::get<OverloadProtection>(state_->queue.rule());
  if (rule.overload_kill_restart_after) {
    ServerRef<LogCollector>(core_->collector())
        .cast(LogCollector::BackendKilled{state_->spec.name, *rule.overload_kill_restart_after});
  }
  stop(ExitReason::shutdown_with(why));
}

void BackendServer::update_gate_if_changed() {
  if (state_->queue.mode() != state_->mode_in_gate.load()) core_->update_gate();
}

void BackendServer::handle_cast(Reopen /*reopen*/) {
  const Writing writing(state_->writing, core_->crashing);
  if (!writing.allowed()) return;
  const InsideBackend inside(state_->number, true);
  state_->crash_descriptor.store(-1);
  if (Result<void> reopened = backend_->reopen(); !reopened) {
    state_->queue.set_last_error(std::string(reopened.error().message()));
    stop(ExitReason::custom(std::string(reopened.error().message())));
    return;
  }
  state_->crash_descriptor.store(backend_->crash_descriptor());
}

void BackendServer::handle_info(Idle /*idle*/) {
  idle_armed_ = false;
  const Duration quiet = runtime().clock().steady_now() - last_work_;
  if (quiet < idle_after) {
    idle_armed_ = true;
    send_after(idle_after - quiet, Idle{});
    return;
  }
  state_->queue.idle();
  update_gate_if_changed();
  if (!state_->queue.notices_wait()) return;
  if (quiet >= notice_retry) {
    self().cast(Work{});
  } else {
    idle_armed_ = true;
    send_after(notice_retry - quiet, Idle{});
  }
}

void BackendServer::handle_info(Tick /*tick*/) {
  {
    const Writing writing(state_->writing, core_->crashing);
    if (!writing.allowed()) return;
    const InsideBackend inside(state_->number, true);
    backend_->tick(runtime().clock().steady_now());
  }
  send_after(backend_->tick_interval(), Tick{});
}

void BackendServer::handle_info(PeriodicCheck /*check*/) {
  if (state_->queue.periodic_check()) self().cast(Work{});
  send_after(std::get<DiscardThresholds>(state_->queue.rule()).periodic_check, PeriodicCheck{});
}

void BackendServer::terminate(const ExitReason& /*reason*/) {
  state_->crash_descriptor.store(-1);
  state_->queue.detach(incarnation_);
  if (backend_ == nullptr) return;
  const InsideBackend inside(state_->number, true);
  backend_->flush();
  backend_->finish();
}

}  // namespace dagverk::detail
