#pragma once

#include "dagverk/runtime/detail/node.hpp"

#include <atomic>
#include <cstdint>

namespace dagverk::detail {

/// The sending side of a mailbox: a push list that the owner grabs whole and reverses.
///
/// Semantics: one word holds the newest node's address, how many nodes are in the list, and whether the owner runs:
///            `idle` (nobody will look: the pusher must make the process ready), `active` (empty, the owner will look
///            again), or a list.
/// Threads:   `push` and `depth` from any thread; the rest from the owner only.
/// Bounds:    the count saturates at `depth_max`; mailbox bounds are below it.
class MailboxHead {
 public:
  static constexpr std::uint64_t depth_max = (1U << 20U) - 1;

  /// Adds `node`. Returns true when the process was idle: the caller must make it ready, exactly once.
  [[nodiscard]] bool push(Node* node) noexcept {
    std::uint64_t old = word_.load(std::memory_order_relaxed);
    for (;;) {
      Node* const newest = address(old);
      node->next = newest == active_mark() ? nullptr : newest;
      const std::uint64_t count = depth(old) + (depth(old) < depth_max ? 1 : 0);
      // Release publishes the node to grab(); acquire takes over the owner's state from the last become_idle() when we
      // are the one to make the process ready.
      if (word_.compare_exchange_weak(old, encode(node, count), std::memory_order_acq_rel, std::memory_order_relaxed)) {
        return old == idle;
      }
    }
  }

  /// Takes over a mailbox that is idle, leaving it active: until it makes the process ready, the caller owns what only
  /// the owner touches, and may put messages there. False when it was not idle.
  [[nodiscard]] bool claim_idle() noexcept {
    std::uint64_t expected = idle;
    if (word_.load(std::memory_order_relaxed) != idle) return false;
    // Acquire takes over the owner's state from the last become_idle(). Who makes the process ready publishes ours.
    return word_.compare_exchange_strong(expected, active, std::memory_order_acquire, std::memory_order_relaxed);
  }

  /// Takes the whole list, newest first; null when empty. The mailbox stays active.
  [[nodiscard]] Node* grab() noexcept {
    if (word_.load(std::memory_order_relaxed) == active) return nullptr;
    Node* const newest = address(word_.exchange(active, std::memory_order_acquire));
    return newest == active_mark() ? nullptr : newest;
  }

  /// True when something has arrived since the last grab.
  [[nodiscard]] bool has_new() const noexcept { return word_.load(std::memory_order_relaxed) != active; }

  /// Declares that the owner will not look again; false when something arrived meanwhile.
  [[nodiscard]] bool become_idle() noexcept {
    std::uint64_t expected = active;
    // Release hands the owner's state to the next pusher that makes the process ready.
    return word_.compare_exchange_strong(expected, idle, std::memory_order_release, std::memory_order_relaxed);
  }

  /// The newest node, or null: for leak checkers, which cannot read the word.
  [[nodiscard]] Node* newest() const noexcept {
    Node* const node = address(word_.load(std::memory_order_relaxed));
    return node == active_mark() ? nullptr : node;
  }

  [[nodiscard]] std::uint64_t depth() const noexcept { return depth(word_.load(std::memory_order_relaxed)); }
  /// True while the owner neither runs nor is about to.
  [[nodiscard]] bool is_idle() const noexcept { return word_.load(std::memory_order_relaxed) == idle; }

 private:
  static constexpr std::uint64_t idle = 0;
  static constexpr std::uint64_t active = node_alignment;  // an address no node has
  static constexpr std::uint64_t low_bits = node_alignment - 1;
  static constexpr std::uint64_t address_bits = ((std::uint64_t{1} << 48U) - 1) & ~low_bits;

  static Node* active_mark() noexcept { return reinterpret_cast<Node*>(active); }
  static Node* address(std::uint64_t word) noexcept { return reinterpret_cast<Node*>(word & address_bits); }
  static std::uint64_t depth(std::uint64_t word) noexcept { return ((word >> 48U) << 4U) | (word & low_bits); }
  static std::uint64_t encode(Node* node, std::uint64_t count) noexcept {
    return reinterpret_cast<std::uint64_t>(node) | ((count >> 4U) << 48U) | (count & low_bits);
  }

  std::atomic<std::uint64_t> word_{idle};
};

static_assert(sizeof(void*) == 8, "the mailbox keeps counts in the unused bits of 64-bit addresses");

}  // namespace dagverk::detail
