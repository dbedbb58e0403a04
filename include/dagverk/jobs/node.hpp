#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/job_registry.hpp"
#include "dagverk/jobs/job_store.hpp"
#include "dagverk/jobs/node_options.hpp"
#include "dagverk/jobs/queue_stats.hpp"
#include "dagverk/runtime/child_spec.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk::jobs {

/// A worker node: takes jobs from a store, runs them, and keeps the promise that each is run at least once.
///
///   JobRegistry registry;
///   registry.define("Resize", [](const std::string& path, int width) { … });
///   NodeOptions options;
///   options.pools.push_back({.queues = {"default"}, .concurrency = 10});
///   auto node = Node::start(runtime, *store, std::move(registry), std::move(options));
///   …
///   (*node)->stop(25s);
///
/// Semantics: per pool a producer takes jobs by demand, a pool runs each on a thread or, `async` jobs and commands, in
///            a process of its own, an acknowledger stores how they ended, in batches, and never before they have. One
///            lease covers all of it. When any part fails, all of it starts again under a new epoch and what was in
///            hand is run again. Jobs of dead nodes and jobs whose time has come are looked for by every node.
/// Threads:   one per unit of `thread` concurrency, and one for commands. `start` and `stop` block, outside of the
///            runtime's processes, and `stop` is for one thread at a time. Everything else may be called from any
///            thread, jobs and processes included, and does not wait: what it changes is on record when it returns,
///            and is carried out soon, by whatever processes the node has then.
/// Errors:    `start`: `configuration` for options and definitions, else what the store says.
/// Lifetime:  borrows runtime, store, and what the options point to. Goes before them; the destructor stops it with no
///            time to finish.
/// Bounds:    in hand per pool: its concurrency, and 1000 ends that the store has not taken yet.
class Node {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Node>> start(RuntimeBase& runtime, JobStore& store, JobRegistry registry,
                                                           NodeOptions options);

  /// As `start`, but nothing runs yet: put `child_spec` under a supervisor of your own.
  [[nodiscard]] static Result<std::unique_ptr<Node>> prepare(RuntimeBase& runtime, JobStore& store,
                                                             JobRegistry registry, NodeOptions options);
  /// The node as a child in somebody's supervision tree, where it stands once. It is restarted after a failure, at
  /// growing intervals (20 ms to 5 s) and by a limit of its own, with its queues, sizes and pauses as they were; a
  /// supervisor that stops it gives what runs `NodeOptions::stop_timeout`.
  /// Lifetime: the supervisor is stopped, or this node's `stop` called, before this object goes.
  [[nodiscard]] ChildSpec child_spec(std::string_view id) const;

  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  ~Node();

  /// Stops in order: no more jobs are taken, those that run have `deadline` to end, what has not is asked to stop
  /// (commands: SIGTERM, then SIGKILL) and given back, its attempt not counted. May be called twice.
  NodeStopReport stop(Duration deadline);

  /// Takes no more jobs; those in hand go on. There is no way back.
  void quiet();

  /// Writes soon to the log what it runs: a line `node.dump`, and for each job a line `job.dump` with class, jid, since
  /// when, and the stack of its thread where it has one.
  void dump();

  /// Asks the run of that job to stop, if it runs here; `JobClient::cancel` does so for the whole store. What becomes
  /// of it then: see there. False when it does not run here.
  bool cancel(std::string_view jid);

  // --- queues and pools, while it runs ---

  /// Starts another pool. Errors: `configuration`, `already_exists` for its name, `unavailable` without threads.
  [[nodiscard]] Result<void> add_pool(PoolOptions pool);
  /// The pool takes no more jobs; it is gone when those in hand have ended. Errors: `not_found`.
  [[nodiscard]] Result<void> remove_pool(std::string_view pool);
  /// Changes how many jobs a pool runs at once. Those in hand go on. Errors: `not_found`, `configuration`,
  /// `unavailable`.
  [[nodiscard]] Result<void> resize(std::string_view pool, std::size_t concurrency);

  /// Serves one more queue, by a pool of its own name. Errors: `already_exists` when some pool serves it,
  /// `configuration`.
  [[nodiscard]] Result<void> add_queue(std::string queue, std::size_t concurrency = 25);
  /// Serves the queue no more, in any pool; a pool without queues is removed. Errors: `not_found`.
  [[nodiscard]] Result<void> remove_queue(std::string_view queue);

  /// On this node alone no more jobs of the queue are taken; those in hand go on, and when the last has ended
  /// QueuePaused is told. Forgotten with the node. False when no pool serves the queue.
  bool pause_queue(std::string_view queue);
  bool resume_queue(std::string_view queue);

  // --- what it does ---

  /// The queues that it serves, by name; those that begin with `prefix`.
  [[nodiscard]] std::vector<QueueStats> queue_stats(std::string_view prefix = {}) const;
  [[nodiscard]] std::vector<PoolStats> pools() const;
  /// At most `limit` of the jobs that run now, of one queue unless `queue` is empty; the longest running first.
  [[nodiscard]] std::vector<RunningJob> running_jobs(std::string_view queue = {}, std::size_t limit = 100) const;
  [[nodiscard]] std::size_t busy_count() const;

  [[nodiscard]] NodeStats stats() const noexcept;
  [[nodiscard]] const std::string& name() const noexcept;
  /// By which others see and address it: `host:os-pid:nonce`. No two nodes ever have the same one.
  [[nodiscard]] const std::string& identity() const noexcept;
  /// Of the latest registration; 0 when there is none.
  [[nodiscard]] NodeEpoch epoch() const noexcept;

 private:
  struct Parts;
  explicit Node(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace dagverk::jobs
