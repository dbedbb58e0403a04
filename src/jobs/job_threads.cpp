#include "jobs/job_threads.hpp"

#include <algorithm>
#include <utility>

namespace dagverk::jobs {

namespace {

constexpr Duration short_task = std::chrono::microseconds(10);      // about what waking a thread costs
constexpr Duration look_interval = std::chrono::microseconds(200);  // without a task begun: those at work are busy

}  // namespace

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
    if (state_->stopping) return;
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
  if (state.tasks.empty() || state.waking > 0) return;
  if (state.looking_on) {
    if (state.awake == 1) state.called.notify_one();  // nobody else is there
    return;
  }
  if (state.resting.empty() || state.awake >= state.limit) return;
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

/// Waits until there is something to do that the other awake threads will not do soon by themselves, or nothing at all.
void JobThreads::look_on(State& state) {
  while (!state.stopping && !state.looking_on && state.awake > 1 && state.typical < short_task) {
    const std::uint64_t begun = state.begun;
    state.looking_on = true;
    state.called.wait_for(state.mutex, look_interval);
    state.looking_on = false;
    if (state.tasks.empty() || state.begun != begun) continue;
    if (state.awake > 1) state.typical = look_interval;  // they are busy with something long
    return;
  }
}

void JobThreads::work(State& state, std::size_t index) {
  const Clock& clock = system_clock();
  bool first = true;
  SteadyTime begun_at{};
  for (;;) {
    Task task;
    {
      MutexLock lock(state.mutex);
      if (first) {
        if (state.waking > 0) --state.waking;
        if (state.real_threads) look_on(state);
      } else if (state.real_threads) {
        state.typical += (clock.steady_now() - begun_at - state.typical) / 8;
      }
      first = false;
      if (state.tasks.empty() || state.stopping || state.awake > state.limit) {
        if (state.awake > 0) --state.awake;
        state.resting.push_back(index);
        state.changed.notify_all();
        return;
      }
      task = std::move(state.tasks.front());
      state.tasks.pop_front();
      ++state.begun;
      wake_one(state);
    }
    if (state.real_threads) begun_at = clock.steady_now();
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
    state_->called.notify_all();
    while (state_->looking_on) state_->changed.wait_for(state_->mutex, look_interval);  // it has no task, and rests now
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
