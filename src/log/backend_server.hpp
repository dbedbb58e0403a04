#pragma once

#include "log/backend_state.hpp"
#include "log/log_core.hpp"

#include "dagverk/runtime/gen_server.hpp"

#include <cstdint>
#include <memory>
#include <utility>

namespace dagverk::detail {

/// A backend's process: takes from its queue and has the backend write.
///
/// Threads: a GenServer with a thread of its own: backends block.
class BackendServer : public GenServer<BackendServer> {
 public:
  static constexpr bool blocking = true;

  struct Work {};
  struct Reopen {};
  struct Idle {};
  struct Tick {};
  struct PeriodicCheck {};

  BackendServer(std::shared_ptr<LogCore> core, std::shared_ptr<BackendState> state)
      : core_(std::move(core)), state_(std::move(state)) {}

  InitResult init();
  void handle_cast(Work work);
  void handle_cast(Reopen reopen);
  void handle_info(Idle idle);
  void handle_info(Tick tick);
  void handle_info(PeriodicCheck check);
  void terminate(const ExitReason& reason);

 private:
  void write_entry(const QueueEntry& entry);
  /// False when the backend did not take it.
  bool write_notice(const QueueNotice& notice);
  void end_overloaded(const std::string& why);
  void go_on_or_rest(bool found);
  void update_gate_if_changed();

  std::shared_ptr<LogCore> core_;
  std::shared_ptr<BackendState> state_;
  std::unique_ptr<LogBackend> backend_;
  std::uint64_t incarnation_ = 0;
  bool idle_armed_ = false;
  SteadyTime last_work_{};
};

}  // namespace dagverk::detail
