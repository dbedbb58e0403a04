// What tools see of a runtime: its processes and the edges between its stages.

#include "dagverk/runtime/snapshot.hpp"

#include "process_extra.hpp"
#include "process_table.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <ranges>
#include <string>
#include <unordered_map>
#include <utility>

namespace dagverk {

std::string_view to_string(DropReason reason) noexcept {
  switch (reason) {
    case DropReason::buffer_full: return "buffer_full";
    case DropReason::overflow: return "overflow";
    case DropReason::sampled: return "sampled";
    case DropReason::coalesced: return "coalesced";
    case DropReason::spill_failed: return "spill_failed";
    case DropReason::unroutable: return "unroutable";
    case DropReason::partition_removed: return "partition_removed";
    case DropReason::consumer_down: return "consumer_down";
  }
  return "unknown";
}

namespace detail {

static_assert(sizeof(EdgeName) >= 32 && sizeof(EdgeCounters) >= 80, "what two stages write is 64 bytes apart");
static_assert(sizeof(EdgeCounters) <= 104, "there may be many idle edges");

std::string EdgeName::to_string() const {
  if (const auto* text = std::get_if<std::unique_ptr<const std::string>>(&name_); text != nullptr) return **text;
  const auto& stages = std::get<Stages>(name_);
  return concat(*stages.producer_kind, "#", stages.producer, " -> ", *stages.consumer_kind, "#", stages.consumer);
}

void EdgeCounters::count_drop(DropReason reason, std::uint64_t count) {
  if (count == 0) return;
  Drops* table = drops.load(std::memory_order_relaxed);
  if (table == nullptr) {
    table = new Drops{};
    drops.store(table, std::memory_order_release);  // pairs with the acquire in EdgeTable::list
  }
  std::atomic<std::uint64_t>& of_reason = (*table)[static_cast<std::size_t>(reason)];
  of_reason.store(of_reason.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
  dropped.store(dropped.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
}

EdgeTimes& EdgeCounters::made_times() {
  EdgeTimes* made = times.load(std::memory_order_relaxed);
  if (made == nullptr) {
    made = new EdgeTimes;
    times.store(made, std::memory_order_release);  // pairs with the acquires of lag_at and blocked_at
  }
  return *made;
}

void EdgeCounters::begin_step(std::uint64_t now_ms) {
  EdgeTimes& made = made_times();
  made.sent_ms = now_ms;
  const std::uint64_t done = delivered.load(std::memory_order_relaxed) + dropped.load(std::memory_order_relaxed);
  MutexLock lock(made.mutex);
  std::array<EdgeTimes::Step, EdgeTimes::steps_max>& steps = made.steps;
  std::size_t over = 0;  // so many steps have no event on its way any more
  while (over + 1 < made.step_count && steps[over + 1].sent_before <= done) ++over;
  std::move(steps.begin() + static_cast<std::ptrdiff_t>(over),
            steps.begin() + static_cast<std::ptrdiff_t>(made.step_count), steps.begin());
  made.step_count -= over;
  // The longer the lag, the longer the steps.
  if (made.step_count > 1) {
    const std::uint64_t last_ms = steps[made.step_count - 1].began_ms;
    if (now_ms - last_ms < (now_ms - steps[0].began_ms) / 8) return;
  }
  if (made.step_count == steps.size()) {  // every second one, but for the oldest, is joined with the one before it
    for (std::size_t index = 1; index < steps.size() / 2; ++index) steps[index] = steps[index * 2];
    made.step_count = steps.size() / 2;
  }
  steps[made.step_count++] = {now_ms, sent.load(std::memory_order_relaxed)};
}

void EdgeCounters::note_blocked(bool blocked, std::uint64_t now_ms) {
  if (!blocked && times.load(std::memory_order_relaxed) == nullptr) return;
  EdgeTimes& made = made_times();
  const std::uint64_t since = made.blocked_since_ms.load(std::memory_order_relaxed);
  if (blocked == (since != 0)) return;
  if (!blocked) {
    made.blocked_ms.store(made.blocked_ms.load(std::memory_order_relaxed) + now_ms + 1 - since,
                          std::memory_order_relaxed);
  }
  made.blocked_since_ms.store(blocked ? now_ms + 1 : 0, std::memory_order_relaxed);
}

Duration EdgeCounters::lag_at(std::uint64_t done, std::uint64_t now_ms) const {
  const EdgeTimes* made = times.load(std::memory_order_acquire);
  if (made == nullptr) return Duration::zero();
  std::uint64_t began_ms = now_ms;
  MutexLock lock(made->mutex);
  for (std::size_t index = 0; index < made->step_count; ++index) {
    if (index == 0 || made->steps[index].sent_before <= done) began_ms = made->steps[index].began_ms;
  }
  return std::chrono::milliseconds(now_ms - std::min(now_ms, began_ms));
}

Duration EdgeCounters::blocked_at(std::uint64_t now_ms) const noexcept {
  const EdgeTimes* made = times.load(std::memory_order_acquire);
  if (made == nullptr) return Duration::zero();
  const std::uint64_t since = made->blocked_since_ms.load(std::memory_order_relaxed);
  const std::uint64_t running = since == 0 ? 0 : now_ms + 1 - std::min(now_ms + 1, since);
  return std::chrono::milliseconds(made->blocked_ms.load(std::memory_order_relaxed) + running);
}

void EdgeTable::let_go() const {
  std::erase_if(edges_, [](const SharedEdge& edge) { return edge.alone(); });
}

SharedEdge EdgeTable::add(EdgeName name) {
  SharedEdge edge(std::move(name));
  MutexLock lock(mutex_);
  if (edges_.size() >= sweep_at_) {  // now and then: what adding one costs must not grow with those that are there
    let_go();
    sweep_at_ = std::max<std::size_t>(16, edges_.size() * 2);
  }
  edges_.push_back(edge);
  return edge;
}

std::vector<EdgeInfo> EdgeTable::list(std::uint64_t now_ms) const {
  std::vector<EdgeInfo> infos;
  MutexLock lock(mutex_);
  let_go();
  for (const SharedEdge& edge : edges_) {
    EdgeInfo info;
    info.name = edge->name.to_string();
    info.asked = edge->asked.load(std::memory_order_relaxed);
    info.delivered = edge->delivered.load(std::memory_order_relaxed);
    info.dropped = edge->dropped.load(std::memory_order_relaxed);
    info.buffered = edge->buffered.load(std::memory_order_relaxed);
    const std::uint64_t sent = edge->sent.load(std::memory_order_relaxed);
    const std::uint64_t done = info.delivered + info.dropped;
    if (sent > done) {
      info.buffered += sent - done;
      info.lag = edge->lag_at(done, now_ms);
    }
    info.blocked = edge->blocked_at(now_ms);
    if (const EdgeCounters::Drops* drops = edge->drops.load(std::memory_order_acquire); drops != nullptr) {
      for (std::size_t reason = 0; reason < drops->size(); ++reason) {
        const std::uint64_t count = (*drops)[reason].load(std::memory_order_relaxed);
        if (count != 0) info.drops.push_back({static_cast<DropReason>(reason), count});
      }
    }
    infos.push_back(std::move(info));
  }
  return infos;
}

}  // namespace detail

// ---- taking one ----------------------------------------------------------------------------------------------------

std::optional<ProcessInfo> RuntimeBase::look_at(detail::ProcessCore& core, std::uint64_t now_ms) const {
  const std::uint32_t generation = core.generation.load(std::memory_order_acquire);
  if (generation % 2 == 0) return std::nullopt;
  ProcessInfo info;
  info.pid = Pid(&core, generation);
  const detail::ProcessType* type = core.type.load(std::memory_order_relaxed);
  info.kind = type != nullptr ? type->name : std::string_view("process");
  const detail::NodeOps* ops = core.current_ops.load(std::memory_order_relaxed);
  if (core.mailbox.is_idle()) {
    info.state = ops != nullptr ? ProcessState::waiting : ProcessState::idle;
    if (ops != nullptr) info.handles = ops->name;
  } else {
    info.state = ProcessState::ready;  // unless a thread says that it runs it
  }
  info.mailbox_depth = core.mailbox_depth();
  info.mailbox_high_water = core.high_water.load(std::memory_order_relaxed);
  info.handled = core.handled_count.load(std::memory_order_relaxed);
  info.dropped = core.dropped_count.load(std::memory_order_relaxed);
  info.busy = busy_time(detail::busy_cycles_of(core).load(std::memory_order_relaxed));
  // Modulo 497 days. Before its first turn has ended nothing is known.
  const auto for_cs = static_cast<std::uint32_t>(now_ms / 10) - core.active_cs.load(std::memory_order_relaxed);
  if (info.handled != 0 && for_cs < UINT32_MAX / 2)
    info.in_state = std::chrono::milliseconds(std::uint64_t{for_cs} * 10);
  // Sequentially consistent with ExtraReaders::retire: what is found here stays until the reading ends.
  if (const detail::ProcessExtra* extra = core.extra.seen(); extra != nullptr) {
    info.links = extra->links.seen_size();
    info.monitors = extra->monitors.monitor_count();
    info.monitored = extra->monitors.watcher_count();
    if (extra->facts.has_name()) info.name = extra->facts.name();
    if (extra->facts.has_parent()) {
      info.parent = extra->facts.parent();
      info.child_id = extra->facts.child_id();
      info.restarts = extra->facts.restarts();
    }
  }
  // It may have ended meanwhile, and another begun: then nothing of this is worth anything.
  if (core.generation.load(std::memory_order_acquire) != generation) return std::nullopt;
  return info;
}

Snapshot RuntimeBase::snapshot() const {
  Snapshot shot;
  const std::uint64_t now_ms = ms_since_start(clock_.steady_now());
  shot.processes.reserve(process_count());
  processes_->extra_readers().read([&] {
    processes_->for_each([&](detail::ProcessCore& core) {
      if (std::optional<ProcessInfo> info = look_at(core, now_ms)) shot.processes.push_back(std::move(*info));
    });
  });
  std::vector<Running> running;
  list_running(running);
  for (const Running& one : running) {
    // The processes are in the order of their slots.
    const auto found =
        std::ranges::lower_bound(shot.processes, detail::index_of(*one.core), std::less<>(),
                                 [](const ProcessInfo& info) { return detail::index_of(*info.pid.core()); });
    if (found != shot.processes.end() && found->pid.core() == one.core) mark_running(*found, one, now_ms);
  }
  shot.edges = edges_->list(now_ms);
  return shot;
}

std::optional<ProcessInfo> RuntimeBase::process_info(Pid pid) const {
  if (!alive(pid) || pid.core()->runtime != this) return std::nullopt;
  const std::uint64_t now_ms = ms_since_start(clock_.steady_now());
  std::optional<ProcessInfo> info;
  processes_->extra_readers().read([&] { info = look_at(*pid.core(), now_ms); });
  if (!info || info->pid != pid) return std::nullopt;
  std::vector<Running> running;
  list_running(running);
  const auto found = std::ranges::find(running, pid.core(), &Running::core);
  if (found != running.end()) mark_running(*info, *found, now_ms);
  return info;
}

void RuntimeBase::mark_running(ProcessInfo& info, const Running& running, std::uint64_t now_ms) {
  const detail::NodeOps* ops = running.core->current_ops.load(std::memory_order_relaxed);
  info.state = ProcessState::running;
  info.handles = ops != nullptr ? ops->name : std::string_view();
  info.in_state = now_ms > running.began_ms ? std::chrono::milliseconds(now_ms - running.began_ms) : Duration::zero();
}

std::uint64_t RuntimeBase::ms_since_start(SteadyTime now) const noexcept {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now - origin_).count());
}

void RuntimeBase::note_time(SteadyTime now) noexcept {
  coarse_ms_.store(ms_since_start(now), std::memory_order_relaxed);
}

void RuntimeBase::list_running(std::vector<Running>& running) const {
  const detail::ProcessCore* self = detail::current_process;
  if (self != nullptr && self->runtime == this) running.push_back({self, coarse_ms_.load(std::memory_order_relaxed)});
}

// ---- as text -------------------------------------------------------------------------------------------------------

std::string_view to_string(ProcessState state) noexcept {
  switch (state) {
    case ProcessState::idle: return "idle";
    case ProcessState::ready: return "ready";
    case ProcessState::running: return "running";
    case ProcessState::waiting: return "waiting";
  }
  return "?";
}

namespace {

/// `1.25 s`, `310 ms`, `45 us`: three digits are enough for a person.
std::string readable(Duration duration) {
  const auto with_fraction = [](std::int64_t thousandths, std::string_view unit) {
    std::string fraction = std::to_string(thousandths % 1000 / 10 + 100).substr(1);
    while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
    return concat(thousandths / 1000, fraction.empty() ? "" : ".", fraction, " ", unit);
  };
  if (duration >= std::chrono::seconds(1)) {
    return with_fraction(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count(), "s");
  }
  if (duration >= std::chrono::milliseconds(1)) {
    return with_fraction(std::chrono::duration_cast<std::chrono::microseconds>(duration).count(), "ms");
  }
  return concat(std::chrono::duration_cast<std::chrono::microseconds>(duration).count(), " us");
}

/// Writes a tree of processes, deepest first, without recursion: a chain of parents may be long.
class TreeText {
 public:
  explicit TreeText(const Snapshot& snapshot) : snapshot_(snapshot) {
    for (const ProcessInfo& info : snapshot.processes) known_.emplace(info.pid.number(), &info);
    for (const ProcessInfo& info : snapshot.processes) {
      const auto parent = known_.find(info.parent.number());
      const bool has_parent = parent != known_.end() && parent->second->pid == info.parent;
      (has_parent ? children_[info.parent.number()] : roots_).push_back(&info);
    }
  }

  [[nodiscard]] std::string write(std::size_t lines_max) {
    std::string text;
    push(roots_, 0);
    std::size_t lines = 0;
    while (!stack_.empty()) {
      const auto [info, depth] = stack_.back();
      stack_.pop_back();
      if (lines == lines_max) {
        return text + concat("… and ", snapshot_.processes.size() - lines, " more processes\n");
      }
      text += std::string(depth * 2, ' ') + to_text(*info) + "\n";
      ++lines;
      if (const auto below = children_.find(info->pid.number()); below != children_.end()) {
        push(below->second, depth + 1);
      }
    }
    return text;
  }

 private:
  using List = std::vector<const ProcessInfo*>;

  void push(const List& list, std::size_t depth) {
    for (const ProcessInfo* info : std::views::reverse(list)) stack_.emplace_back(info, depth);
  }

  const Snapshot& snapshot_;
  std::unordered_map<std::uint64_t, const ProcessInfo*> known_;
  std::unordered_map<std::uint64_t, List> children_;
  List roots_;
  std::vector<std::pair<const ProcessInfo*, std::size_t>> stack_;
};

}  // namespace

const ProcessInfo* Snapshot::find(Pid pid) const noexcept {
  const auto found = std::ranges::find(processes, pid, &ProcessInfo::pid);
  return found != processes.end() ? &*found : nullptr;
}

std::vector<const ProcessInfo*> Snapshot::children_of(Pid parent) const {
  std::vector<const ProcessInfo*> children;
  for (const ProcessInfo& info : processes) {
    if (info.parent == parent) children.push_back(&info);
  }
  return children;
}

std::string to_text(const ProcessInfo& process) {
  std::string text;
  if (!process.child_id.empty()) text += concat(process.child_id, ": ");
  text += concat(process.kind, " #", process.pid.number());
  if (!process.name.empty()) text += concat(" \"", process.name, "\"");
  text += concat(" ", to_string(process.state));
  if (!process.handles.empty()) text += concat(" in ", process.handles);
  if (process.in_state >= std::chrono::milliseconds(1)) text += concat(" for ", readable(process.in_state));
  const auto add_count = [&](std::string_view what, std::uint64_t count) {
    if (count != 0) text += concat(", ", what, " ", count);
  };
  add_count("handled", process.handled);
  add_count("mailbox", process.mailbox_depth);
  add_count("high water", process.mailbox_high_water > 1 ? process.mailbox_high_water : 0);
  add_count("dropped", process.dropped);
  add_count("restarts", process.restarts);
  add_count("links", process.links);
  add_count("monitors", process.monitors);
  add_count("monitored by", process.monitored);
  if (process.busy > Duration::zero()) text += concat(", busy ", readable(process.busy));
  return text;
}

std::string to_text(const Snapshot& snapshot, std::size_t lines_max) {
  TreeText tree(snapshot);
  std::string text = tree.write(lines_max);
  for (const EdgeInfo& edge : snapshot.edges) {
    text += concat(edge.name, ": asked ", edge.asked, ", delivered ", edge.delivered, ", buffered ", edge.buffered,
                   ", dropped ", edge.dropped);
    if (edge.lag != Duration::zero()) text += concat(", lag ", readable(edge.lag));
    if (edge.blocked != Duration::zero()) text += concat(", blocked ", readable(edge.blocked));
    text += '\n';
  }
  return text;
}

}  // namespace dagverk
