#pragma once

#include "dagverk/event/detail/staged_hub.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

namespace dagverk::detail {

/// A handler that blocks, as the serial manager has it: in a staged hub of its own, beside the other handlers.
///
/// Semantics: the hub ends with the process that makes this, and is asked to when this is destroyed.
/// Threads:   the serial manager's process.
/// Bounds:    those of the handler's overflow rule; `ingress_max` on the way there.
template <class E>
class BesideHub {
 public:
  using Hub = StagedHub<E>;
  static constexpr std::size_t wait_events_max = 10'000;
  static constexpr std::size_t ingress_max = 100'000;

  /// `gone` is called, in the hub's process, when the handler has gone, before anybody else learns of it.
  BesideHub(RuntimeBase& runtime, std::function<void()> gone)
      : hub_(start_unwaited<Hub>(
            runtime, StartOptions(),
            StagedHubOptions{.wait_events_max = wait_events_max, .front = this_process::pid(), .gone = std::move(gone)},
            std::make_shared<HubShared>(ingress_max))) {}
  BesideHub(const BesideHub&) = delete;
  BesideHub& operator=(const BesideHub&) = delete;
  ~BesideHub() { hub_.cast(typename Hub::StopSoon{Duration::zero()}); }

  [[nodiscard]] ServerRef<Hub> ref() const noexcept { return hub_; }

  /// False when too many are on their way to it: its hub is held up by a rule that is slow.
  [[nodiscard]] bool publish(const E& event) const {
    if (hub_.pid().core()->mailbox_depth() >= ingress_max) return false;
    hub_.cast(typename Hub::PublishOne{E(event)});
    return true;
  }
  /// The hub answers `from`.
  template <class Call>
  void forward(Call call, From<Call> from) const {
    hub_.cast(typename Hub::template Forwarded<Call>{std::move(call), std::move(from)});
  }

 private:
  ServerRef<Hub> hub_;
};

}  // namespace dagverk::detail
