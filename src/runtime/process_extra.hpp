#pragma once

#include "monitor_table.hpp"

#include "dagverk/runtime/detail/call.hpp"
#include "dagverk/runtime/detail/exit_hook.hpp"
#include "dagverk/runtime/detail/process_core.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace dagverk::detail {

/// By number, not by address: the order of a hash table is part of what a deterministic runtime replays.
struct PidHash {
  std::size_t operator()(const Pid& pid) const noexcept { return static_cast<std::size_t>(pid.number()); }
};

/// A process that is suspended until we end.
struct ExitWaiter {
  Pid pid;
  std::uint32_t token;
};

/// How long a process waits for a message before its `handle_timeout` runs.
struct IdleLimit {
  Duration after{};
  SteadyTime deadline{};
  TimerSlot timer;  // armed at or before the deadline; left armed when a message comes
};

/// A message to oneself at exact multiples of a period.
struct Interval {
  TimerSlot timer;
  std::uint64_t skipped = 0;
};

struct OwnTimers {
  IdleLimit idle;
  std::unordered_map<std::uint64_t, Interval> intervals;
};

/// A table of its owner whose size others may read at any time.
template <class Table>
class Counted : private Table {
 public:
  using Table::begin;
  using Table::contains;
  using Table::end;
  using Table::find;

  template <class... Args>
  auto insert(Args&&... args) {
    auto result = Table::insert(std::forward<Args>(args)...);
    note_size();
    return result;
  }
  template <class... Args>
  auto emplace(Args&&... args) {
    auto result = Table::emplace(std::forward<Args>(args)...);
    note_size();
    return result;
  }
  template <class What>
  auto erase(const What& what) {
    auto result = Table::erase(what);
    note_size();
    return result;
  }
  [[nodiscard]] std::uint32_t seen_size() const noexcept { return size_.load(std::memory_order_relaxed); }

 private:
  void note_size() noexcept { size_.store(static_cast<std::uint32_t>(Table::size()), std::memory_order_relaxed); }

  std::atomic<std::uint32_t> size_{0};
};

/// Who stands above a process and what it is called: written once, then anybody may read it.
class ProcessFacts {
 public:
  void set_parent(Pid parent, std::string child_id, std::uint64_t restarts) {
    parent_ = parent;
    child_id_ = std::move(child_id);
    restarts_ = restarts;
    has_parent_.store(true, std::memory_order_release);
  }
  void set_name(const std::string& name) {
    if (has_name_.load(std::memory_order_relaxed)) return;  // the first stays
    name_ = name;
    has_name_.store(true, std::memory_order_release);
  }

  [[nodiscard]] bool has_parent() const noexcept { return has_parent_.load(std::memory_order_acquire); }
  [[nodiscard]] bool has_name() const noexcept { return has_name_.load(std::memory_order_acquire); }
  [[nodiscard]] Pid parent() const noexcept { return parent_; }
  [[nodiscard]] const std::string& child_id() const noexcept { return child_id_; }
  [[nodiscard]] std::uint64_t restarts() const noexcept { return restarts_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  Pid parent_;
  std::string child_id_;
  std::uint64_t restarts_ = 0;
  std::string name_;
  std::atomic<bool> has_parent_{false};
  std::atomic<bool> has_name_{false};
};

class Tracer;

/// Which `link` calls have made a link: the latest of ours, and the latest of the other side's that we have heard of.
/// An unlink takes back those it knows of: what the other side has asked for meanwhile stays, on both sides.
struct LinkNumbers {
  std::uint64_t ours = 0;  // 0: none; links from the start count as none
  std::uint64_t theirs = 0;
};

/// What most processes never need: allocated when the first link, monitor, name or exit option appears. The owner's
/// alone, but for its facts and the sizes of its tables, which snapshots read.
struct ProcessExtra {
  ProcessExtra();
  ProcessExtra(const ProcessExtra&) = delete;
  ProcessExtra& operator=(const ProcessExtra&) = delete;
  ~ProcessExtra();

  ProcessFacts facts;
  Counted<std::unordered_map<Pid, LinkNumbers, PidHash>> links;
  MonitorTable monitors;  // whom we monitor, and who monitors us
  std::vector<ExitWaiter> exit_waiters;
  std::vector<std::string> names;
  std::vector<std::unique_ptr<ExitHook>> exit_hooks;
  std::vector<Node*> stop_calls;        // answered when the process has ended
  std::vector<LastReply> last_replies;  // sent when terminate has run
  std::unique_ptr<OwnTimers> timers;
  std::unique_ptr<Tracer> tracer;
  std::unique_ptr<Tracer> former_tracer;  // may be telling of its own end
  ExitReason stop_reason;
  Pid parent;
  const void* value_key = nullptr;  // see set_process_value
  void* value = nullptr;
  bool traps_exits = false;
  bool run_terminate = true;  // for the exit that was requested
};

/// The process ends: its idle time limit and its intervals with it.
void cancel_own_timers(ProcessCore& core) noexcept;

/// Makes the extra of a process and shows it to snapshots.
[[nodiscard]] ProcessExtra& make_extra(ProcessCore& core);

[[nodiscard]] inline ProcessExtra& extra_of(ProcessCore& core) {
  if (core.extra == nullptr) [[unlikely]]
    return make_extra(core);
  return *core.extra;
}

}  // namespace dagverk::detail
