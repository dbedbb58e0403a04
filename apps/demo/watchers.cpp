#include "watchers.hpp"

#include <stdexcept>
#include <type_traits>
#include <variant>

namespace dagverk::demo {

void Stories::add(const jobs::Event& event) {
  const jobs::JobIdentity* job = jobs::job_of(event);
  if (job == nullptr) return;
  MutexLock lock(mutex_);
  JobStory& story = jobs_[job->jid];
  if (story.job_class.empty()) story.job_class = job->job_class;
  const bool ended_before = story.ended();
  std::visit(
      [&story](const auto& happened) {
        using Kind = std::decay_t<decltype(happened)>;
        if constexpr (std::is_same_v<Kind, jobs::JobStarted>) {
          if (story.started++ == 0) story.first_start = happened.started_at;
          if (story.rescued > 0 && story.rerun_start == WallTime()) story.rerun_start = happened.started_at;
        } else if constexpr (std::is_same_v<Kind, jobs::JobFinished>) {
          ++story.finished;
          story.output = happened.output;
        } else if constexpr (std::is_same_v<Kind, jobs::JobRetried>) {
          ++story.retried;
        } else if constexpr (std::is_same_v<Kind, jobs::JobRescued>) {
          ++story.rescued;
        } else if constexpr (std::is_same_v<Kind, jobs::JobRequeued>) {
          ++story.requeued;
        } else if constexpr (std::is_same_v<Kind, jobs::JobDied>) {
          ++story.died;
        }
      },
      event);
  if (!ended_before && story.ended()) ++ended_;
  changed_.notify_all();
}

Stories::Counts Stories::counts() const {
  MutexLock lock(mutex_);
  return {jobs_.size(), ended_};
}

std::map<std::string, JobStory> Stories::all() const {
  MutexLock lock(mutex_);
  return jobs_;
}

void Stories::wait(Duration limit) {
  MutexLock lock(mutex_);
  changed_.wait_for(mutex_, limit);
}

void Thrower::handle_event(const jobs::Event& /*event*/) {
  if (++*seen_ % 100 == 0) throw std::runtime_error("every hundredth event is too much");
}

}  // namespace dagverk::demo
