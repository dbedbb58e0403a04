#pragma once

#include "process_extra.hpp"
#include "process_table.hpp"

#include "dagverk/runtime/detail/process_core.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace dagverk::detail {

/// Gives back the memory of handled messages, those of one chunk in one step.
class FreedNodes {
 public:
  FreedNodes() = default;
  FreedNodes(const FreedNodes&) = delete;
  FreedNodes& operator=(const FreedNodes&) = delete;
  ~FreedNodes() { flush(); }

  void add(detail::Node* node) noexcept {
#if defined(DAGVERK_PLAIN_ALLOCATION)
    detail::free_node(node);
#else
    if (node->size_bytes > detail::chunk_block_max) {
      detail::free_node(node);
      return;
    }
    if (count_ != 0 && !detail::same_chunk(block_, node)) flush();
    block_ = node;
    ++count_;
#endif
  }

 private:
  void flush() noexcept {
    if (count_ != 0) detail::chunk_free_run(block_, std::exchange(count_, 0));
  }

  void* block_ = nullptr;
  std::uint32_t count_ = 0;
};

/// Running and ending processes: the part of RuntimeBase that looks inside of them.
struct ProcessLife {
  using Outcome = RuntimeBase::RunOutcome;

  /// Puts one message behind the pending ones. Threads: the owner, or whoever has claimed the idle mailbox.
  static void append_new(ProcessCore& core, Node* node) noexcept;

  // --- running: process_life.cpp -------------------------------------------------------------------------------------
  static Outcome run(RuntimeBase& runtime, ProcessCore& core, const RuntimeBase::RunLimits& limits,
                     std::uint32_t& handled, FreedNodes& freed);
  static void charge(const RuntimeBase& runtime, ProcessCore& core, const RuntimeBase::RunLimits& limits) noexcept;
  /// Writes down what a turn has cost, while the process is still ours.
  static void settle_turn(const RuntimeBase& runtime, ProcessCore& core, const RuntimeBase::RunLimits& limits,
                          std::uint32_t handled) noexcept;
  /// True when a callback that threw is to be followed by a terminate that is a coroutine.
  static bool terminates_later(const ProcessCore& core) noexcept;

  // --- ending: process_end.cpp ---------------------------------------------------------------------------------------
  /// Ends the process. `failure` is the exception's reason, or null when the exit was requested.
  static void finish(RuntimeBase& runtime, ProcessCore& core, const ExitReason* failure,
                     bool may_terminate = true) noexcept;
  /// Discards what is pending and what is still in the mailbox, oldest first.
  static void take_discarded(ProcessCore& core, const ExitReason& reason, std::uint32_t generation) noexcept;

 private:
  static void append(ProcessCore& core, Node* first, Node* last) noexcept {
    if (core.pending_last == nullptr) {
      core.pending_first = first;
    } else {
      core.pending_last->next = first;
    }
    core.pending_last = last;
  }
  static void set_pending_count(ProcessCore& core, std::uint32_t count) noexcept {
    core.pending_count.store(count, std::memory_order_relaxed);
  }
  static std::uint32_t pending_count(const ProcessCore& core) noexcept {
    return core.pending_count.load(std::memory_order_relaxed);
  }
  static void note_depth(ProcessCore& core, std::uint32_t depth) noexcept;
  /// Moves what has arrived behind the pending messages, oldest first. False when nothing has.
  static bool take_new(ProcessCore& core) noexcept;
  /// Moves a list, newest first and not empty, behind the pending messages. True.
  static bool take_list(ProcessCore& core, Node* newest) noexcept;
  static Node* pop(ProcessCore& core) noexcept;
  /// Takes the oldest pending signal or reply out of the line; null when there is none.
  static Node* pop_urgent(ProcessCore& core) noexcept;
  /// `generation` is the process'.
  static void handle(ProcessCore& core, Node* node, std::uint32_t generation, FreedNodes& freed);
  /// Lets the behaviour do what it has put off until now. True when it did anything, which may have been a message to
  /// itself.
  static bool before_leaving(ProcessCore& core);
  /// Any message ends an idle time limit; signals do not.
  static void see_next(ProcessCore& core) noexcept;
  /// Starts a terminate callback that is a coroutine; the process ends when it has. False when there is none.
  static bool begin_terminate(ProcessCore& core);

  /// `reason` is that of the process of `generation`; what was meant for an earlier one of the slot finds nobody.
  static void discard_list(Node* node, const ExitReason& reason, std::uint32_t generation) noexcept;
  /// Runs the first half of the exit hooks and returns them for the second. A hook may destroy user's objects, which
  /// may still use the process.
  static std::vector<std::unique_ptr<ExitHook>> run_exit_hooks(ProcessCore& core);
};

/// The reason for the exception that is being handled.
[[nodiscard]] ExitReason reason_of_current_exception() noexcept;
/// Answers whoever has called `RuntimeBase::stop` and waits for the end, which has come.
void answer_stop_calls(ProcessExtra& extra, const ExitReason& reason) noexcept;

}  // namespace dagverk::detail
