#include "jobs/job_threads.hpp"

#include <algorithm>
#include <iterator>
#include <thread>
#include <utility>

namespace dagverk::jobs {

namespace {

constexpr Duration short_task = std::chrono::microseconds(10);      // about what waking a thread costs
constexpr Duration look_interval = std::chrono::microseconds(200);  // without a task begun: those at work are busy
constexpr int idle_looks_limit = 20;                                // the next burst may wake a thread of its own

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
  ExternalLane* lane = nullptr;
  {
    MutexLock lock(state_->mutex);
    lane = next_to_wake(*state_);
  }
  ring(*state_, lane);
}

ExternalLane* JobThreads::next_to_wake(State& state) {
  if (state.tasks.empty() || state.waking > 0) return nullptr;
  if (state.looking_on && state.awake > 1) return nullptr;
  if (state.resting.empty() || state.awake >= state.limit) {
    if (state.looking_on) state.called.notify_one();  // nobody else is there
    return nullptr;
  }
  const std::size_t index = state.resting.back();
  state.resting.pop_back();
  ++state.awake;
  ++state.waking;
  state.ringing.fetch_add(1);
  return state.threads[index].get();
}

void JobThreads::ring(State& state, ExternalLane* lane) {
  if (lane == nullptr) return;
  lane->ring();
  state.ringing.fetch_sub(1);  // from here on the lane may go
}

void JobThreads::submit(Task task) {
  std::vector<Task> tasks;
  tasks.push_back(std::move(task));
  submit(std::move(tasks));
}

void JobThreads::submit(std::vector<Task> tasks) {
  ExternalLane* lane = nullptr;
  {
    MutexLock lock(state_->mutex);
    if (state_->stopping) return;  // a task's destructor tells whoever waits for it
    std::ranges::move(tasks, std::back_inserter(state_->tasks));
    lane = next_to_wake(*state_);
  }
  ring(*state_, lane);
}

/// Of the ends that were kept back. Rarely from here: with the mutex held.
void JobThreads::tell(State& state) {
  if (state.untold != nullptr) std::exchange(state.untold, nullptr)->tasks_ended();
}

/// Waits until there is something to do that the other awake threads will not do soon by themselves, or nothing at all
/// for a while.
void JobThreads::look_on(State& state) {
  if (state.awake == 1) return;  // the first of a burst
  int idle = 0;
  while (!state.stopping && !state.looking_on && state.typical < short_task && idle < idle_looks_limit) {
    const std::uint64_t begun = state.begun;
    state.looking_on = true;
    state.called.wait_for(state.mutex, look_interval);
    state.looking_on = false;
    tell(state);  // perhaps it is a long one before which they were kept back
    idle = state.begun == begun ? idle + 1 : 0;
    if (state.tasks.empty() || state.begun != begun) continue;
    if (state.awake > 1) state.typical = look_interval;  // they are busy with something long
    return;
  }
}

void JobThreads::work(State& state, std::size_t index) {
  const Clock& clock = system_clock();
  bool first = true;
  SteadyTime begun_at{};
  Task task;
  for (;;) {
    std::shared_ptr<Listener> ended = std::move(task.listener);
    bool rests = false;
    ExternalLane* lane = nullptr;
    {
      MutexLock lock(state.mutex);
      if (first) {
        if (state.waking > 0) --state.waking;
        if (state.real_threads) look_on(state);
      } else if (state.real_threads) {
        const SteadyTime now = clock.steady_now();
        state.typical += (now - begun_at - state.typical) / 8;
        begun_at = now;
      }
      rests = state.tasks.empty() || state.stopping || state.awake > state.limit;
      if (!rests) {
        task = std::move(state.tasks.front());
        state.tasks.pop_front();
        ++state.begun;
        lane = next_to_wake(state);
        // The next one will soon have ended, too; if it has not, somebody will see that.
        if (ended != nullptr && ended == task.listener && state.looking_on && state.typical < short_task &&
            (state.untold == nullptr || state.untold == ended)) {
          state.untold.swap(ended);
          ended.reset();
        }
      }
      if (ended != nullptr && ended == state.untold) state.untold.reset();  // about to be told
      if (rests) {
        if (state.awake > 0) --state.awake;
        state.resting.push_back(index);
        state.changed.notify_all();
      }
    }
    ring(state, lane);
    if (ended != nullptr) ended->tasks_ended();
    if (rests) return;
    if (state.real_threads && (first || ended != nullptr)) begun_at = clock.steady_now();
    first = false;
    task.run();
    task.run = nullptr;
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
  while (state_->ringing.load() > 0) std::this_thread::yield();
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
