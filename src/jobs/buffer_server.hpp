#pragma once

#include "jobs/buffer_file.hpp"
#include "jobs/node_env.hpp"

#include "dagverk/base/mutex.hpp"
#include "dagverk/jobs/enqueue_buffer.hpp"
#include "dagverk/runtime/gen_server.hpp"

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

namespace dagverk::jobs {

/// What outlives a restart of a buffer's server. The jobs and the file are touched by the server alone, or by the
/// buffer when no server runs.
struct BufferCore {
  BufferCore(RuntimeBase& runtime_, JobStore& store_, EnqueueBufferOptions options_)
      : runtime(runtime_), store(store_), options(std::move(options_)) {}

  RuntimeBase& runtime;
  JobStore& store;
  const EnqueueBufferOptions options;
  std::optional<BufferFile> file;
  std::deque<EnqueueRequest> jobs;  // oldest first
  std::atomic<std::uint64_t> waiting{0};
  mutable Mutex mutex;
  EnqueueBufferStats stats DAGVERK_GUARDED_BY(mutex);  // `waiting` stands above
};
using BufferCorePtr = std::shared_ptr<BufferCore>;  // attempts may outlive the buffer

/// Holds the jobs of a buffer, and has one process at a time try to bring the oldest ones to the store.
class BufferServer : public GenServer<BufferServer> {
 public:
  static constexpr bool blocking = true;  // for the disk
  static constexpr std::size_t batch_limit = 100;

  struct Keep {
    using Reply = void;
    std::vector<EnqueueRequest> jobs;
  };
  /// Answers when nothing waits any more.
  struct Drain {
    using Reply = bool;
  };
  struct Try {
    std::uint64_t round;
  };
  struct Tried {
    std::uint64_t round;
    Result<std::vector<ItemOutcome>> outcomes;
  };

  explicit BufferServer(BufferCorePtr core) : core_(std::move(core)) {}

  void init();
  Result<void> handle_call(Keep keep);
  void handle_call(Drain drain, From<Drain> from);
  void handle_cast(Tried tried);
  void handle_info(Try again);
  void handle_info(const Down& down);

 private:
  [[nodiscard]] Result<void> room_for(const std::vector<EnqueueRequest>& jobs, std::uint64_t bytes) const;
  void try_after(Duration delay);
  void attempt();
  void take_out(const std::vector<ItemOutcome>& outcomes);
  void tell_stored(const EnqueueRequest& job) const;
  void refuse(const EnqueueRequest& job, std::string_view why);
  void failed(const Error& error);

  BufferCorePtr core_;
  std::uint64_t bytes_ = 0;
  std::uint64_t round_ = 0;          // older attempts and wake-ups are void
  bool busy_ = false;                // an attempt is under way, or will be
  std::optional<MonitorRef> tries_;  // set while an attempt is under way
  std::size_t tried_ = 0;            // jobs of that attempt
  std::size_t one_by_one_ = 0;       // jobs of a batch that was refused as a whole
  bool told_ = false;                // that the store is away
  Backoff backoff_;
  std::vector<From<Drain>> drains_;
};

}  // namespace dagverk::jobs
