#include "dagverk/jobs/enqueue_buffer.hpp"

#include "jobs/buffer_server.hpp"
#include "jobs/store_away.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/store_bounds.hpp"
#include "dagverk/runtime/supervisor.hpp"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

namespace dagverk::jobs {

namespace {

constexpr Duration answer_slack = std::chrono::seconds(1);

Result<void> check(const EnqueueBufferOptions& options) {
  const auto zero = [](std::string_view what) {
    return Error{ErrorCode::configuration, concat("EnqueueBufferOptions::", what, ": needs 1 or more, got 0")};
  };
  if (options.jobs_max == 0) return zero("jobs_max");
  if (options.bytes_max == 0) return zero("bytes_max");
  return {};
}

}  // namespace

struct EnqueueBuffer::Parts {
  Parts(BufferCorePtr core_, std::string name) : core(std::move(core_)), server(core->runtime, std::move(name)) {}

  BufferCorePtr core;
  Name<BufferServer> server;
  SupervisorRef supervisor;
  std::optional<std::size_t> left;  // set by the close
};

EnqueueBuffer::EnqueueBuffer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

EnqueueBuffer::~EnqueueBuffer() { close(Duration::zero()); }

Result<std::unique_ptr<EnqueueBuffer>> EnqueueBuffer::open(RuntimeBase& runtime, JobStore& store,
                                                           EnqueueBufferOptions options) {
  if (auto checked = check(options); !checked) return checked.error();
  auto core = std::make_shared<BufferCore>(runtime, store, std::move(options));
  if (!core->options.file.empty()) {
    Result<BufferFile::Opened> opened = BufferFile::open(core->options.file);
    if (!opened) return opened.error();
    core->file.emplace(std::move(opened->file));
    core->jobs = std::move(opened->waiting);
    core->waiting = core->jobs.size();
    const MutexLock lock(core->mutex);
    core->stats.found = core->jobs.size();
    if (!core->jobs.empty()) core->stats.away_since = runtime.clock().wall_now();
  }
  auto parts = std::make_unique<Parts>(core, concat("dagverk.enqueue_buffer ", runtime.next_ref()));
  ChildSpec spec = child_spec_with<BufferServer>(ChildOptions{}, "buffer", core);
  spec.start = [start = std::move(spec.start), name = parts->server.text()](StartOptions start_options) {
    start_options.name = name;
    return start(std::move(start_options));
  };
  std::vector<ChildSpec> children;
  children.push_back(std::move(spec));
  Result<SupervisorRef> supervisor = start_supervisor(runtime, {}, std::move(children));
  if (!supervisor) return supervisor.error();
  parts->supervisor = *supervisor;
  return std::unique_ptr<EnqueueBuffer>(new EnqueueBuffer(std::move(parts)));
}

Async<Result<EnqueueBuffer::Kept>> EnqueueBuffer::enqueue(std::vector<EnqueueRequest> jobs) {
  BufferCore& core = *parts_->core;
  for (const EnqueueRequest& job : jobs) {
    if (auto checked = jobs::check(job); !checked) co_return checked.error();
  }
  Error why(ErrorCode::unavailable, "the store is away");
  if (core.waiting == 0) {
    std::vector<EnqueueRequest> direct = jobs;
    Result<std::vector<ItemOutcome>> outcomes = co_await core.store.enqueue(std::move(direct));
    if (outcomes) co_return Kept{.outcomes = std::move(*outcomes)};
    if (!means_away(outcomes.error().code())) co_return outcomes.error();
    why = outcomes.error();
  }
  const std::size_t count = jobs.size();
  const Result<void> kept = co_await parts_->server.call_within<BufferServer::Keep>(Duration::zero(), std::move(jobs));
  if (!kept) co_return Error{why.code(), concat(why.message(), "; not buffered: ", kept.error().message())};
  co_return Kept{.outcomes = std::vector<ItemOutcome>(count, ItemOutcome::done), .buffered = true};
}

EnqueueBufferStats EnqueueBuffer::stats() const {
  const BufferCore& core = *parts_->core;
  const MutexLock lock(core.mutex);
  EnqueueBufferStats stats = core.stats;
  stats.waiting = core.waiting;
  return stats;
}

std::size_t EnqueueBuffer::close(Duration limit) {
  Parts& parts = *parts_;
  if (parts.left) return *parts.left;
  BufferCore& core = *parts.core;
  if (core.waiting > 0 && limit > Duration::zero()) {
    if (const auto server = parts.server.resolve()) {
      const Result<bool> drained = server->call_blocking_within<BufferServer::Drain>(limit);
      static_cast<void>(drained.has_value());  // what is left is counted below
    }
  }
  const Result<void> down = parts.supervisor.stop_blocking(ExitReason::shutdown, answer_slack);
  if (!down) core.runtime.logger().error("enqueue.not_down", {{"error", down.error().message()}});
  parts.left = core.waiting;
  if (!core.file && *parts.left > 0) core.runtime.logger().error("enqueue.lost", {{"jobs", *parts.left}});
  return *parts.left;
}

}  // namespace dagverk::jobs
