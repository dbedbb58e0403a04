#pragma once

#include "jobs/node_env.hpp"

#include "dagverk/runtime/gen_server.hpp"

namespace dagverk::jobs {

/// Brings what runs say about themselves into the store, twice a second.
class Recorder : public GenServer<Recorder> {
 public:
  static constexpr Duration interval = std::chrono::milliseconds(500);
  static constexpr std::size_t batch_limit = 100;  // a record has up to 64 KiB

  struct Tick {};
  /// Answers when the store has everything; false: it does not take it now.
  struct Drain {
    using Reply = bool;
  };

  explicit Recorder(NodeEnvPtr env) : env_(std::move(env)) {}

  void init() { send_after(interval, Tick{}); }
  Async<void> handle_info(Tick tick);
  Async<bool> handle_call(Drain drain);

 private:
  [[nodiscard]] Async<bool> flush();

  NodeEnvPtr env_;
};

}  // namespace dagverk::jobs
