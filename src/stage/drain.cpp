#include "dagverk/stage/drain.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <algorithm>

namespace dagverk {

namespace {

using Call = detail::CallNode<detail::DrainCall, void>;

/// Events on their way to a stage, and events that wait in it.
struct Left {
  std::uint64_t incoming = 0;
  std::uint64_t waiting = 0;
};

/// Read off the counters, so that a stage that hangs can be looked at, too.
Left left_of(const StageRef& stage, const Snapshot& snapshot) {
  Left left;
  const std::string number = concat("#", stage.pid().number());
  for (const EdgeInfo& edge : snapshot.edges) {
    const bool between = edge.name.find(" -> ") != std::string::npos;
    if (between && edge.name.ends_with(number)) left.incoming += edge.buffered;
    if (!between && edge.name.starts_with(concat(stage.ops().name, number, " "))) left.waiting += edge.buffered;
  }
  return left;
}

/// What a stage that did not say that it is drained waits for.
std::string reason_of(const Left& left, const Error& error) {
  if (error.code() != ErrorCode::timeout) return concat("not running: ", error.message());
  if (left.waiting != 0 && left.incoming != 0) {
    return concat("at the deadline: ", left.waiting, " waited for demand, ", left.incoming, " were not handled");
  }
  if (left.waiting != 0) return concat("at the deadline: ", left.waiting, " waited for demand");
  if (left.incoming != 0) return concat("at the deadline: ", left.incoming, " were not handled");
  return "at the deadline: it had not said that it was done";
}

}  // namespace

bool DrainReport::drained() const noexcept {
  return std::ranges::all_of(stages, [](const StageDrain& stage) { return stage.drained; });
}

std::string DrainReport::to_string() const {
  std::string text;
  for (const StageDrain& stage : stages) text += concat(stage.name, "#", stage.pid.number(), ": ", stage.why, "\n");
  return text;
}

Async<Result<DrainReport>> drain(std::vector<StageRef> stages, Duration limit) {
  RuntimeBase& runtime = this_process::runtime();
  const SteadyTime begin = runtime.clock().steady_now();
  for (const StageRef& stage : stages) {
    if (stage.ops().halt == nullptr) continue;
    static_cast<void>(detail::send(stage.pid(), detail::make_node<detail::HaltCast>(*stage.ops().halt)));
  }
  std::vector<Result<void>> answers;
  for (const StageRef& stage : stages) {
    const Duration left = limit - (runtime.clock().steady_now() - begin);
    if (left <= Duration::zero()) {
      answers.emplace_back(Error(ErrorCode::timeout));
      continue;
    }
    detail::Node* request = detail::make_node<Call::Payload>(*stage.ops().drain, std::in_place);
    detail::CallAwaiter<detail::DrainCall, void> asking(stage.pid(), request, left);
    Result<void> answer = co_await asking;
    answers.push_back(std::move(answer));
  }
  const Snapshot snapshot = runtime.snapshot();
  DrainReport report;
  for (std::size_t index = 0; index < stages.size(); ++index) {
    const Left left = left_of(stages[index], snapshot);
    StageDrain stage{std::string(stages[index].ops().name), stages[index].pid(), false, left.incoming + left.waiting,
                     "drained"};
    const Result<void>& answer = answers[index];
    stage.drained = answer || (answer.error().code() != ErrorCode::timeout && stage.left == 0);
    if (!answer) stage.why = reason_of(left, answer.error());
    report.stages.push_back(std::move(stage));
  }
  report.took = runtime.clock().steady_now() - begin;
  co_return std::move(report);
}

Result<DrainReport> drain_blocking(RuntimeBase& runtime, std::vector<StageRef> stages, Duration limit) {
  return runtime.run(drain(std::move(stages), limit));
}

}  // namespace dagverk
