#include "bounded_inbox.hpp"

#include "outside_gate.hpp"
#include "signals.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/never_destroyed.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace dagverk::detail {

namespace {

/// Tells the owner to look into its inbox. Part of the inbox: nobody frees it.
struct BellNode {
  static bool run(Node* /*node*/, ProcessCore& /*core*/) { return false; }
  static void discard(Node* /*node*/, const ExitReason& /*reason*/) noexcept {}
  static constexpr NodeOps ops{&run, &discard, "bell", NodeClass::notice};
};

/// Tells a thread that there is room.
struct RoomNode {
  static bool run(Node* /*node*/, ProcessCore& /*core*/) { return true; }
  static void discard(Node* node, const ExitReason& /*reason*/) noexcept { free_node(node); }
  static constexpr NodeOps ops{&run, &discard, "room", NodeClass::resume};
};

bool counts(const Node* node) noexcept { return node->ops->node_class == NodeClass::message; }

}  // namespace

const ExitReason& mailbox_full_reason() noexcept {
  // Other threads still read it during exit().
  static NeverDestroyed<const ExitReason> reason(ExitReason::custom("mailbox full"));
  return *reason;
}

/// A crossing of the alarm, to be reported without the lock.
struct BoundedInbox::Crossing {
  bool up = false;
  bool down = false;
  std::uint32_t depth = 0;
  std::uint32_t alarm = 0;
  Pid owner;
  std::shared_ptr<const MailboxWatch> watch;
};

void BoundedInbox::open(Pid owner, const StartOptions& options, std::string_view kind) {
  constexpr std::uint32_t bound_max = 1'000'000;
  auto watch = std::make_shared<MailboxWatch>();
  watch->name = options.name.empty() ? std::string(kind) : options.name;
  watch->callback = options.on_mailbox_alarm;
  MutexLock lock(mutex_);
  DAGVERK_ASSERT(first_ == nullptr);
  owner_ = owner;
  bound_ = std::min(options.mailbox_bound, bound_max);
  rule_ = options.mailbox_rule;
  wait_max_ = options.mailbox_wait;
  alarm_ = bound_ != 0 ? std::min(options.mailbox_alarm, bound_) : options.mailbox_alarm;
  alarmed_ = false;
  bell_rung_ = false;
  watch_ = std::move(watch);
}

// ---- the list ------------------------------------------------------------------------------------------------------

void BoundedInbox::append(Node* node) noexcept {
  node->next = nullptr;
  if (last_ == nullptr) {
    first_ = node;
  } else {
    last_->next = node;
  }
  last_ = node;
  if (counts(node)) ++messages_;
  count_.store(count_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

void BoundedInbox::unlink(Node* before, Node* node) noexcept {
  if (before == nullptr) {
    first_ = node->next;
  } else {
    before->next = node->next;
  }
  if (last_ == node) last_ = before;
  if (no_message_to_ == node) no_message_to_ = before;
  if (no_signal_to_ == node) no_signal_to_ = before;
  if (counts(node)) --messages_;
  count_.store(count_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
}

Node* BoundedInbox::take_oldest_message() noexcept {
  Node* before = no_message_to_;
  Node* node = before != nullptr ? before->next : first_;
  while (!counts(node)) {  // there is one: the inbox is full of them
    before = node;
    node = node->next;
  }
  no_message_to_ = before;
  unlink(before, node);
  return node;
}

Node* BoundedInbox::take_urgent(ProcessCore& core) noexcept {
  Node* before = no_signal_to_;
  for (Node* node = before != nullptr ? before->next : first_; node != nullptr; before = node, node = node->next) {
    if (node->ops->node_class <= NodeClass::notice || stays_as_message(core, node)) continue;
    no_signal_to_ = before;
    unlink(before, node);
    return node;
  }
  no_signal_to_ = before;
  return nullptr;
}

void BoundedInbox::look_at_depth(Crossing& crossing) noexcept {
  if (alarm_ == 0) return;
  if (!alarmed_ && messages_ >= alarm_) {
    crossing.up = alarmed_ = true;
  } else if (alarmed_ && messages_ <= alarm_ / 2) {
    alarmed_ = false;
    crossing.down = true;
  } else {
    return;
  }
  crossing.depth = messages_;
  crossing.alarm = alarm_;
  crossing.owner = owner_;
  crossing.watch = watch_;
}

// ---- sending -------------------------------------------------------------------------------------------------------

BoundedInbox::Verdict BoundedInbox::offer(Pid pid, Node* node, bool may_wait, Node*& oldest, Crossing& crossing) {
  if (owner_ != pid) return Verdict::gone;
  if (bound_ != 0 && counts(node) && messages_ >= bound_) {
    switch (rule_) {
      case MailboxRule::reject: return Verdict::refused;
      case MailboxRule::drop_newest: return Verdict::dropped;
      case MailboxRule::wait: return may_wait ? Verdict::wait : Verdict::refused;
      case MailboxRule::drop_oldest: oldest = take_oldest_message(); break;
    }
  }
  node->generation = pid.generation();
  append(node);
  look_at_depth(crossing);
  return Verdict::taken;
}

bool BoundedInbox::send(Pid pid, Node* node, Duration wait_limit) noexcept {
  ProcessCore& core = *pid.core();
  RuntimeBase& runtime = *core.runtime;
  const bool outside = current_process == nullptr && !firing_timers;
  if (outside && !runtime.outside().enter()) {  // it may wait here: the runtime is not freed under it
    node->ops->discard(node, ExitReason::noproc);
    return false;
  }
  struct Inside {
    OutsideGate* gate;
    ~Inside() {
      if (gate != nullptr) gate->leave();
    }
  } const inside{outside ? &runtime.outside() : nullptr};
  bool may_wait = outside && !runtime.stopped();
  SteadyTime deadline = SteadyTime::max();
  for (bool first_look = true;; first_look = false) {
    Node* oldest = nullptr;
    Crossing crossing;
    Verdict verdict = Verdict::gone;
    bool wake_owner = false;
    BlockingWaiter* waiter = nullptr;
    Duration wait_max{};
    {
      MutexLock lock(mutex_);
      verdict = offer(pid, node, may_wait, oldest, crossing);
      if (verdict == Verdict::taken && !bell_rung_) {
        bell_rung_ = true;
        bell_.ops = &BellNode::ops;
        bell_.generation = pid.generation();
        wake_owner = core.mailbox.push(&bell_);
      } else if (verdict == Verdict::wait) {
        wait_max = wait_max_;
        waiter = new (std::nothrow) BlockingWaiter;
        if (waiter == nullptr) {
          verdict = Verdict::refused;
        } else {
          waiter->add_owner();  // the list's
          waiters_.push_back(waiter);
        }
      }
    }
    if (wake_owner) runtime.make_ready(core);
    if (crossing.up) report(runtime, crossing);
    if (oldest != nullptr) {  // users' destructors run outside of the lock
      core.dropped_count.fetch_add(1, std::memory_order_relaxed);
      oldest->ops->discard(oldest, mailbox_full_reason());
    }
    switch (verdict) {
      case Verdict::taken: return true;
      case Verdict::gone: node->ops->discard(node, ExitReason::noproc); return false;
      case Verdict::refused:
      case Verdict::dropped:
        core.dropped_count.fetch_add(1, std::memory_order_relaxed);
        node->ops->discard(node, mailbox_full_reason());
        return verdict == Verdict::dropped;
      case Verdict::wait: break;
    }
    const SteadyTime now = runtime.clock().steady_now();
    if (first_look) {
      const Duration limit = wait_limit > Duration::zero() ? std::min(wait_limit, wait_max) : wait_max;
      deadline = limit > SteadyTime::max() - now ? SteadyTime::max() : now + limit;
    }
    if (!wait_for_room(runtime, waiter, deadline == SteadyTime::max() ? Duration::max() : deadline - now)) {
      may_wait = false;  // one last look
    }
  }
}

bool BoundedInbox::wait_for_room(RuntimeBase& runtime, BlockingWaiter* waiter, Duration limit) noexcept {
  const bool in_time = limit > Duration::zero() && runtime.block_on(*waiter, limit).has_value();
  const bool woken = in_time || waiter->ready();
  {
    MutexLock lock(mutex_);
    const auto mine = std::ranges::find(waiters_, waiter);
    if (mine != waiters_.end()) {
      waiters_.erase(mine);
      waiter->drop_owner();
    }
  }
  waiter->drop_owner();
  return woken;
}

void BoundedInbox::wake(Waiters& waiters) noexcept {
  for (BlockingWaiter* waiter : waiters) {
    waiter->deliver(make_node<char>(RoomNode::ops));
    waiter->drop_owner();
  }
}

// ---- the owner's side ----------------------------------------------------------------------------------------------

Node* BoundedInbox::take(ProcessCore& core, Node*& arrived) noexcept {
  Node* node = nullptr;
  Crossing crossing;
  Waiters waiters;
  arrived = nullptr;
  {
    MutexLock lock(mutex_);
    // Under the lock, so that the bell is in the mailbox exactly when `bell_rung_` says so.
    Node* newest = core.mailbox.grab();
    bell_rung_ = false;
    Node** end = &arrived;
    for (; newest != nullptr; newest = newest->next) {
      if (newest == &bell_) continue;
      *end = newest;
      end = &newest->next;
    }
    *end = nullptr;
    if (core.suspended()) {
      node = take_urgent(core);
    } else if (first_ != nullptr && core.pending_first == nullptr && arrived == nullptr) {
      node = first_;
      unlink(nullptr, node);
    }
    look_at_depth(crossing);
    if (messages_ < bound_) waiters.swap(waiters_);
  }
  if (node != nullptr) node->next = nullptr;
  wake(waiters);
  if (crossing.down) report(*core.runtime, crossing);
  return node;
}

Node* BoundedInbox::close() noexcept {
  Waiters waiters;
  Node* left = nullptr;
  std::shared_ptr<const MailboxWatch> watch;
  {
    MutexLock lock(mutex_);
    owner_ = Pid();
    left = std::exchange(first_, nullptr);
    last_ = nullptr;
    no_message_to_ = nullptr;
    no_signal_to_ = nullptr;
    messages_ = 0;
    count_.store(0, std::memory_order_relaxed);
    waiters.swap(waiters_);
    watch.swap(watch_);
  }
  wake(waiters);
  return left;
}

// ---- alarms --------------------------------------------------------------------------------------------------------

void BoundedInbox::report(RuntimeBase& runtime, const Crossing& crossing) noexcept {
  const MailboxWatch& watch = *crossing.watch;
  if (crossing.up) {
    runtime.logger().warning(
        "process.mailbox_high",
        {{"pid", crossing.owner.number()}, {"name", watch.name}, {"depth", crossing.depth}, {"alarm", crossing.alarm}});
  } else {
    runtime.logger().info("process.mailbox_low",
                          {{"pid", crossing.owner.number()}, {"name", watch.name}, {"depth", crossing.depth}});
  }
  if (!watch.callback) return;
  try {
    watch.callback(MailboxAlarm{crossing.owner, watch.name, crossing.depth, crossing.up});
  } catch (...) {
    runtime.logger().error("process.mailbox_alarm_failed", {{"pid", crossing.owner.number()}, {"name", watch.name}});
  }
}

// ---- the pool ------------------------------------------------------------------------------------------------------

BoundedInbox& InboxPool::take() {
  MutexLock lock(mutex_);
  if (spare_.empty()) return *all_.emplace_back(std::make_unique<BoundedInbox>());
  BoundedInbox& inbox = *spare_.back();
  spare_.pop_back();
  return inbox;
}

void InboxPool::give(BoundedInbox& inbox) {
  MutexLock lock(mutex_);
  spare_.push_back(&inbox);
}

}  // namespace dagverk::detail
