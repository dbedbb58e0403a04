#include "jobs/job_threads.hpp"

#include <algorithm>
#include <utility>

namespace dagverk::jobs {

std::shared_ptr<JobThreads> JobThreads::open(RuntimeBase& runtime, std::size_t limit) {
  std::shared_ptr<JobThreads> threads(new JobThreads);
  threads->state_->real_threads = !runtime.deterministic();
  threads->resize(runtime, limit);
  return threads;
}

void JobThreads::resize(RuntimeBase& runtime, std::size_t limit) {
  std::size_t missing = 0;
  {
    MutexLock lock(state_->mutex);
    state_->limit = limit;
    missing = limit - std::min(limit, state_->threads.size());
  }
  for (; missing > 0; --missing) {
    std::size_t index = 0;
    {
      MutexLock lock(state_->mutex);
      index = state_->threads.size();
      state_->threads.emplace_back();
    }
    std::unique_ptr<ExternalLane> lane =
        runtime.open_lane("job thread", [state = state_, index] { work(*state, index); });
    MutexLock lock(state_->mutex);
    state_->threads[index] = std::move(lane);
    state_->resting.push_back(index);
  }
  MutexLock lock(state_->mutex);
  wake_one(*state_);
}

void JobThreads::wake_one(State& state) {
  if (state.tasks.empty() || state.waking > 0 || state.resting.empty() || state.awake >= state.limit) return;
  const std::size_t index = state.resting.back();
  state.resting.pop_back();
  ++state.awake;
  ++state.waking;
  state.threads[index]->ring();  // takes the lane's own lock for a moment, and runs nothing
}

void JobThreads::submit(Task task) {
  MutexLock lock(state_->mutex);
  if (state_->stopping) return;  // the task's destructor tells whoever waits for it
  state_->tasks.push_back(std::move(task));
  wake_one(*state_);
}

void JobThreads::work(State& state, std::size_t index) {
  bool first = true;
  for (;;) {
    Task task;
    {
      MutexLock lock(state.mutex);
      if (first && state.waking > 0) --state.waking;
      first = false;
      if (state.tasks.empty() || state.stopping || state.awake > state.limit) {
        if (state.awake > 0) --state.awake;
        state.resting.push_back(index);
        state.changed.notify_all();
        return;
      }
      task = std::move(state.tasks.front());
      state.tasks.pop_front();
      wake_one(state);
    }
    task();
  }
}

std::size_t JobThreads::stop(Duration limit) {
  std::deque<Task> dropped;
  std::vector<std::unique_ptr<ExternalLane>> threads;
  std::vector<std::size_t> resting;
  {
    MutexLock lock(state_->mutex);
    state_->stopping = true;
    dropped.swap(state_->tasks);
    const SteadyTime deadline = system_clock().steady_now() + limit;
    for (SteadyTime now = system_clock().steady_now(); state_->real_threads && state_->awake > 0 && now < deadline;
         now = system_clock().steady_now()) {
      state_->changed.wait_for(state_->mutex, deadline - now);
    }
    threads.swap(state_->threads);
    resting = state_->resting;
  }
  std::size_t stuck = 0;
  for (std::size_t index = 0; state_->real_threads && index < threads.size(); ++index) {
    if (!threads[index] || std::ranges::find(resting, index) != resting.end()) continue;
    // Its task never returned: closing the lane would wait for it. The thread and its lane stay until the program ends.
    [[maybe_unused]] const ExternalLane* given_up = threads[index].release();
    ++stuck;
  }
  return stuck;
}

}  // namespace dagverk::jobs
