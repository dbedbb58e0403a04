#pragma once

#include "dagverk/runtime/detail/chunk.hpp"
#include "dagverk/runtime/pid.hpp"

#include <cstddef>
#include <cstdint>
#include <new>
#include <string_view>
#include <utility>

namespace dagverk {
class ExitReason;
}  // namespace dagverk

namespace dagverk::detail {

struct Node;

/// How a receiver treats a message while it is suspended in a `co_await`.
enum class NodeClass : std::uint8_t {
  message,  ///< waits until the current callback has finished
  notice,   ///< as a message, but no mailbox bound refuses it: Down, Exit
  signal,   ///< seen at once: exit signals, links, monitors, wait timeouts
  kill,     ///< seen at once, and before everything that is queued
  resume,   ///< ends a wait: a reply, an external completion
};

/// What to do with a node whose payload only its sender knows.
struct NodeOps {
  /// Handles the message in the receiver's context. Returns true when the payload is destroyed and the node's memory
  /// may be reused; false when the node has another owner now. When it throws, the payload is still alive (perhaps
  /// moved from) and the activation calls `discard`.
  bool (*run)(Node* node, ProcessCore& receiver);
  /// The message will not be handled: destroys the payload, answers whoever waits, frees the node's memory.
  void (*discard)(Node* node, const ExitReason& reason) noexcept;
  /// The message type's name, for reports.
  std::string_view name;
  NodeClass node_class;
  /// True when the receiver has lost interest meanwhile, so that nobody will see the message. Null: never.
  bool (*unseen)(const Node* node, const ProcessCore& receiver) noexcept = nullptr;
};

/// The head of every message. The payload follows at `payload_offset`.
struct Node {
  Node* next = nullptr;
  const NodeOps* ops = nullptr;
  std::uint32_t generation = 0;  // of the receiver the sender meant
  std::uint32_t size_bytes = 0;  // of the whole allocation
};

// Mailbox heads keep part of the depth in a node address' low bits, so nodes are 16-aligned; so may payloads be.
inline constexpr std::size_t node_alignment = 16;
inline constexpr std::size_t payload_offset = (sizeof(Node) + 7) & ~std::size_t{7};

template <class Payload>
[[nodiscard]] constexpr std::size_t payload_offset_of() noexcept {
  static_assert(alignof(Payload) <= node_alignment, "message types may be aligned to 16 bytes at most");
  return (sizeof(Node) + alignof(Payload) - 1) / alignof(Payload) * alignof(Payload);
}

template <class Payload>
[[nodiscard]] Payload& payload_of(Node* node) noexcept {
  return *std::launder(reinterpret_cast<Payload*>(reinterpret_cast<char*>(node) + payload_offset_of<Payload>()));
}

template <class Payload>
[[nodiscard]] const Payload& payload_of(const Node* node) noexcept {
  return *std::launder(
      reinterpret_cast<const Payload*>(reinterpret_cast<const char*>(node) + payload_offset_of<Payload>()));
}

inline void free_node(Node* node) noexcept { chunk_free(node, node->size_bytes); }

/// Allocates a node with a `Payload` built from `args`.
template <class Payload, class... Args>
[[nodiscard]] Node* make_node(const NodeOps& ops, Args&&... args) {
  constexpr std::size_t size = payload_offset_of<Payload>() + sizeof(Payload);
  void* memory = chunk_allocate(size);
  Node* node = new (memory) Node{nullptr, &ops, 0, static_cast<std::uint32_t>(size)};
  try {
    new (static_cast<char*>(memory) + payload_offset_of<Payload>()) Payload{std::forward<Args>(args)...};
  } catch (...) {
    chunk_free(memory, size);
    throw;
  }
  return node;
}

}  // namespace dagverk::detail
