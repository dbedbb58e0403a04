#pragma once

#include "dagverk/runtime/detail/node.hpp"
#include "dagverk/runtime/exit_reason.hpp"

#include <utility>

namespace dagverk::detail {

/// A message that waits for its time inside the process that is to handle it.
///
/// Lifetime: owns the node; one that is never released is discarded.
class HeldNode {
 public:
  explicit HeldNode(Node* node) noexcept : node_(node) {}
  HeldNode(HeldNode&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  HeldNode& operator=(HeldNode&& other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  HeldNode(const HeldNode&) = delete;
  HeldNode& operator=(const HeldNode&) = delete;
  ~HeldNode() {
    if (node_ != nullptr) node_->ops->discard(node_, ExitReason::normal);
  }

  [[nodiscard]] Node* release() noexcept { return std::exchange(node_, nullptr); }

 private:
  Node* node_;
};

}  // namespace dagverk::detail
