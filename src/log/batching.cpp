#include "dagverk/log/backends/batching.hpp"

#include "log/record_encode.hpp"
#include "log/uploader.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace dagverk {

using detail::LogUploader;

namespace {

[[nodiscard]] std::uint64_t lines_in(const UploadBatch& batch) noexcept {
  return batch.lines.size() - (batch.shed_before.count != 0 ? 1U : 0U);
}

void add(ShedLines& to, const ShedLines& more) noexcept {
  if (more.count == 0) return;
  to.from = to.count == 0 ? more.from : std::min(to.from, more.from);
  to.to = to.count == 0 ? more.to : std::max(to.to, more.to);
  to.count += more.count;
}

[[nodiscard]] UploadLine shed_notice(const ShedLines& shed, const LineFormat& format, WallTime now) {
  const std::string from = log_time_text(shed.from);
  const std::string to = log_time_text(shed.to);
  const std::array<LogValue, 3> fields{{{"count", shed.count}, {"from", from}, {"to", to}}};
  const detail::RecordContent content{LogSeverity::warning, "dagverk", "log.lines_shed", fields};
  const detail::RecordPlan plan = detail::plan_record(content, 256);
  alignas(detail::record_align) std::array<char, detail::record_size_max(256)> bytes{};
  detail::encode_record(bytes.data(), plan, content);
  UploadLine line{now, LogSeverity::warning, {}};
  format.append(detail::decode_record(bytes.data(), now.time_since_epoch()), line.text);
  return line;
}

}  // namespace

// --- the queue -------------------------------------------------------------------------------------------------------

Result<std::shared_ptr<UploadQueue>> make_upload_queue(BatchingOptions options) {
  const auto wrong = [](std::string_view what) {
    return Error(ErrorCode::configuration, concat("log batches: ", what));
  };
  if (options.batch_lines_max == 0) return wrong("batch_lines_max must be 1 or more, got 0");
  if (options.batch_bytes_max == 0) return wrong("batch_bytes_max must be 1 or more, got 0");
  if (options.batch_age_max <= Duration::zero()) return wrong("batch_age_max must be more than 0");
  if (options.queue_batches_max == 0) return wrong("queue_batches_max must be 1 or more, got 0");
  if (options.send_timeout <= Duration::zero()) return wrong("send_timeout must be more than 0");
  if (options.retry_first <= Duration::zero() || options.retry_max < options.retry_first) {
    return wrong("retry_first must be more than 0 and at most retry_max");
  }
  if (options.retry_after_max < Duration::zero()) return wrong("retry_after_max must be 0 or more");
  if (options.drain_limit < Duration::zero()) return wrong("drain_limit must be 0 or more");
  return std::make_shared<UploadQueue>(options);
}

UploadStats UploadQueue::stats() const {
  const MutexLock lock(mutex_);
  UploadStats stats = stats_;
  if (in_hand_ != nullptr) stats.waiting += lines_in(*in_hand_);
  for (const std::shared_ptr<UploadBatch>& batch : waiting_) stats.waiting += lines_in(*batch);
  return stats;
}

void UploadQueue::forget(const UploadBatch& batch) {
  add(shed_, batch.shed_before);
  if (const std::uint64_t count = lines_in(batch); count != 0) {
    add(shed_, {count, batch.lines[batch.lines.size() - count].time, batch.lines.back().time});
  }
}

std::optional<Pid> UploadQueue::hand(UploadBatch batch) {
  auto handed = std::make_shared<UploadBatch>(std::move(batch));
  const MutexLock lock(mutex_);
  stats_.handed += handed->lines.size();
  if (closed_ || (waiting_.size() >= options_.queue_batches_max && !options_.keep_newest)) {
    stats_.shed += handed->lines.size();
    forget(*handed);
    return std::nullopt;
  }
  if (waiting_.size() >= options_.queue_batches_max) {
    stats_.shed += lines_in(*waiting_.front());
    forget(*waiting_.front());
    waiting_.pop_front();
  }
  waiting_.push_back(std::move(handed));
  if (called_ || !uploader_) return std::nullopt;
  called_ = true;
  return uploader_;
}

void UploadQueue::begin(Pid uploader) {
  const MutexLock lock(mutex_);
  uploader_ = uploader;
  called_ = true;  // it looks at once
}

std::shared_ptr<const UploadBatch> UploadQueue::take(const LineFormat& format, WallTime now) {
  const MutexLock lock(mutex_);
  if (in_hand_ != nullptr) return in_hand_;  // an earlier attempt, maybe of an earlier process, did not succeed
  if (waiting_.empty()) {
    called_ = false;
    return nullptr;
  }
  in_hand_ = std::move(waiting_.front());
  waiting_.pop_front();
  if (shed_.count != 0) {
    in_hand_->shed_before = std::exchange(shed_, {});
    in_hand_->lines.insert(in_hand_->lines.begin(), shed_notice(in_hand_->shed_before, format, now));
    in_hand_->bytes += in_hand_->lines.front().text.size();
  }
  return in_hand_;
}

void UploadQueue::sent() {
  const MutexLock lock(mutex_);
  if (in_hand_ == nullptr) return;
  stats_.sent += lines_in(*in_hand_);
  in_hand_.reset();
}

void UploadQueue::refused(std::string error) {
  const MutexLock lock(mutex_);
  if (in_hand_ == nullptr) return;
  ++stats_.failures;
  stats_.refused += lines_in(*in_hand_);
  stats_.last_error = std::move(error);
  forget(*in_hand_);
  in_hand_.reset();
}

void UploadQueue::failed(std::string error) {
  const MutexLock lock(mutex_);
  ++stats_.failures;
  stats_.last_error = std::move(error);
}

void UploadQueue::close() {
  const MutexLock lock(mutex_);
  closed_ = true;
  uploader_ = Pid();
  if (in_hand_ != nullptr) stats_.shed += lines_in(*in_hand_);
  for (const std::shared_ptr<UploadBatch>& batch : waiting_) stats_.shed += lines_in(*batch);
  in_hand_.reset();
  waiting_.clear();
}

// --- the uploader ----------------------------------------------------------------------------------------------------

namespace detail {

namespace {

[[nodiscard]] bool never_taken(ErrorCode code) noexcept {
  return code == ErrorCode::refused || code == ErrorCode::malformed || code == ErrorCode::too_large ||
         code == ErrorCode::unsupported;
}

}  // namespace

void LogUploader::init() {
  this_process::trap_exits();  // so that terminate runs when the supervisor stops it
  transport_ = make_transport_();
  queue_->begin(this_process::pid());
  self().cast(Wake{});
}

std::shared_ptr<const UploadBatch> LogUploader::next() { return queue_->take(format_, runtime().clock().wall_now()); }

Async<bool> LogUploader::send_oldest(std::shared_ptr<const UploadBatch> batch, Duration limit) {
  Async<Result<void>> sending = transport_->send(*batch, limit);
  const Result<void> sent = co_await std::move(sending);
  if (sent) {
    queue_->sent();
    pause_ = Duration::zero();
    co_return true;
  }
  std::string error(sent.error().message());
  if (never_taken(sent.error().code())) {
    queue_->refused(std::move(error));
    co_return true;
  }
  queue_->failed(std::move(error));
  co_return false;
}

// One batch for each message, and pauses by timer: between two messages it can be told to end.
Async<void> LogUploader::handle_cast(Wake /*wake*/) {
  std::shared_ptr<const UploadBatch> batch = next();
  if (batch == nullptr) co_return;
  const BatchingOptions& options = queue_->options();
  const bool done = co_await send_oldest(std::move(batch), options.send_timeout);
  if (done) {
    self().cast(Wake{});
    co_return;
  }
  pause_ = pause_ == Duration::zero() ? options.retry_first : std::min(2 * pause_, options.retry_max);
  const Duration asked = transport_->retry_after(runtime().clock().wall_now());
  send_after(std::max(pause_, std::min(asked, options.retry_after_max)), Retry{});
}

void LogUploader::handle_info(Retry /*retry*/) { self().cast(Wake{}); }

Async<void> LogUploader::terminate(const ExitReason& reason) {
  if (reason.kind() == ExitReason::Kind::error || transport_ == nullptr) co_return;  // it comes back: the batches wait
  const Clock& clock = runtime().clock();
  const SteadyTime deadline = clock.steady_now() + queue_->options().drain_limit;
  for (std::shared_ptr<const UploadBatch> batch = next(); batch != nullptr; batch = next()) {
    const Duration left = deadline - clock.steady_now();
    if (left <= Duration::zero()) break;
    const bool done = co_await send_oldest(batch, std::min(left, queue_->options().send_timeout));
    if (!done) break;
  }
}

}  // namespace detail

// --- the backend -----------------------------------------------------------------------------------------------------

namespace {

class BatchingBackend final : public LogBackend {
 public:
  explicit BatchingBackend(std::shared_ptr<UploadQueue> queue) : queue_(std::move(queue)) {}

  WriteOutcome write(const LogBatch& batch) override {
    const BatchingOptions& options = queue_->options();
    for (std::size_t index = 0; index < batch.size(); ++index) {
      const LogLine line = batch[index];
      UploadLine upload{line.time, line.severity, {}};
      batch.format(line, upload.text);
      if (!open_.lines.empty() && open_.bytes + upload.text.size() > options.batch_bytes_max) hand();
      if (open_.lines.empty()) opened_at_.reset();
      open_.bytes += upload.text.size();
      open_.lines.push_back(std::move(upload));
      if (open_.lines.size() >= options.batch_lines_max) hand();
    }
    return {.written = batch.size()};
  }

  [[nodiscard]] Duration tick_interval() const noexcept override { return queue_->options().batch_age_max / 4; }
  void tick(SteadyTime now) override {
    if (open_.lines.empty()) return;
    if (!opened_at_) opened_at_ = now;
    if (now - *opened_at_ >= queue_->options().batch_age_max / 2) hand();
  }
  void finish() override { hand(); }

 private:
  void hand() {
    if (open_.lines.empty()) return;
    const std::optional<Pid> uploader = queue_->hand(std::exchange(open_, {}));
    opened_at_.reset();
    if (uploader) ServerRef<LogUploader>(*uploader).cast(LogUploader::Wake{});
  }

  std::shared_ptr<UploadQueue> queue_;
  UploadBatch open_;
  std::optional<SteadyTime> opened_at_;  // as of the first tick that saw it
};

}  // namespace

BackendSpec batching_backend(std::string name, std::function<std::unique_ptr<LogTransport>()> make_transport,
                             std::shared_ptr<UploadQueue> queue, LineFormat format) {
  ChildOptions child;
  child.backoff = {.initial = queue->options().retry_first, .max = queue->options().retry_max};
  child.limit = RestartLimit{.max_restarts = 1'000'000};
  child.shutdown = Shutdown::after(queue->options().drain_limit + std::chrono::seconds(1));
  BackendSpec spec = log_backend<BatchingBackend>(std::move(name), queue);
  spec.format = format;
  spec.ended = [queue] { queue->close(); };  // a killed uploader has not
  spec.companions.push_back(
      child_spec_with<LogUploader>(child, "uploader", std::move(queue), std::move(make_transport), std::move(format)));
  return spec;
}

}  // namespace dagverk
