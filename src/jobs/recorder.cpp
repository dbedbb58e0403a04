#include "jobs/recorder.hpp"

#include "jobs/run_notes.hpp"

#include <memory>
#include <utility>
#include <vector>

namespace dagverk::jobs {

Async<void> Recorder::handle_info(Tick /*tick*/) {
  [[maybe_unused]] const bool stored = co_await flush();  // else with the next tick
  send_after(interval, Tick{});
}

Async<bool> Recorder::handle_call(Drain /*drain*/) { return flush(); }

Async<bool> Recorder::flush() {
  while (true) {
    const std::vector<std::shared_ptr<RunNotes>> changed = env_->notes.take(batch_limit);
    if (changed.empty()) co_return true;
    std::vector<RecordUpdate> batch;
    batch.reserve(changed.size());
    for (const std::shared_ptr<RunNotes>& notes : changed) batch.push_back(notes->take());
    const Result<std::vector<ItemOutcome>> stored = co_await env_->store.keep_records(std::move(batch));
    if (stored) continue;
    ++env_->counters.store_errors;
    env_->runtime.logger().warning("record.failed", {{"error", stored.error().message()}});
    for (const std::shared_ptr<RunNotes>& notes : changed) notes->put_back();
    co_return false;
  }
}

}  // namespace dagverk::jobs
