#pragma once

#include "log/log_chunk.hpp"
#include "log/log_core.hpp"

#include "dagverk/runtime/gen_server.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace dagverk::detail {

/// Brings lines from threads' buffers to the backends' queues, merged by time.
///
/// Semantics: takes lines stamped before it began to look; a line that another one caused is stamped after that one was
///            committed, so it is never handed on before it.
/// Threads:   a GenServer with a thread of its own: callers' buffers must be emptied whatever the workers do.
class LogCollector : public GenServer<LogCollector> {
 public:
  static constexpr bool blocking = true;

  struct Drain {};  ///< a line has come
  struct More {};
  struct Poll {
    std::uint64_t number;
  };
  struct Flush {
    using Reply = void;
    bool only_sync;            ///< wait for backends whose rule makes callers wait, alone
    const BackendState* only;  ///< wait for this one alone; null: for all
  };
  struct BackendKilled {
    std::string name;
    Duration restart_after;
  };
  struct RestartDue {
    std::string name;
  };

  explicit LogCollector(std::shared_ptr<LogCore> core) : core_(std::move(core)) {}

  void init();
  void handle_cast(Drain drain);
  void handle_cast(More more);
  void handle_info(Poll poll);
  void handle_call(Flush flush, From<Flush> from);
  void handle_cast(BackendKilled killed);
  void handle_info(const RestartDue& due);

 private:
  struct Cursor {
    std::uint64_t at;
    std::uint64_t end;
    const char* record;  ///< at `at`; null when nothing is left that is old enough
    std::uint64_t lines = 0;
  };

  void work();
  /// One round over all buffers, at most some blocks. Lines that were handed on.
  std::size_t drain(std::size_t chunks_max);
  [[nodiscard]] bool fill_chunk(LogChunk& chunk, const StampScale& scale);
  void advance(std::size_t index, std::int64_t stamp_max);
  void hand_on(const std::shared_ptr<const LogChunk>& chunk, SteadyTime now);
  void report_full_buffers(SteadyTime now);
  void refresh();
  void sleep_or_poll(std::size_t lines);

  std::shared_ptr<LogCore> core_;
  std::vector<std::shared_ptr<ThreadRing>> rings_;
  std::vector<std::shared_ptr<BackendState>> backends_;
  std::vector<Cursor> cursors_;  // one per ring while drain runs
  std::uint64_t rings_generation_ = 0;
  std::uint64_t backends_generation_ = 0;
  std::uint64_t poll_number_ = 0;
  SteadyTime last_line_{};
  SteadyTime last_look_{};
  std::uint64_t full_told_ = 0;
};

}  // namespace dagverk::detail
