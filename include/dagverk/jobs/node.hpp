#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/job_registry.hpp"
#include "dagverk/jobs/job_store.hpp"
#include "dagverk/jobs/node_options.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <memory>
#include <string>
#include <string_view>

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
/// Semantics: per pool a producer takes jobs by demand, a pool runs each in a process of its own, an acknowledger
///            stores how they ended, in batches, and never before they have. One lease covers all of it. When any part
///            fails, all of it starts again under a new epoch and what was in hand is run again. Jobs of dead nodes and
///            jobs whose time has come are looked for by every node.
/// Threads:   one per unit of `thread` concurrency, and one for commands. Operations from any thread outside of the
///            runtime's processes; all but `stats`, `name` and `epoch` block, and `stop` is for one thread at a time.
/// Errors:    `start`: `configuration` for options and definitions, else what the store says.
/// Lifetime:  borrows runtime, store, and what the options point to. Goes before them; the destructor stops it with no
///            time to finish.
/// Bounds:    in hand per pool: its concurrency, and 1000 ends that the store has not taken yet.
class Node {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Node>> start(RuntimeBase& runtime, JobStore& store, JobRegistry registry,
                                                           NodeOptions options);
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  ~Node();

  /// Stops in order: no more jobs are taken, those that run have `deadline` to end, what has not is asked to stop
  /// (commands: SIGTERM, then SIGKILL) and given back, its attempt not counted. May be called twice.
  NodeStopReport stop(Duration deadline);

  /// Takes no more jobs; those in hand go on. There is no way back.
  [[nodiscard]] Result<void> quiet();

  /// Changes how many jobs a pool runs at once. Errors: `not_found`, `configuration`.
  [[nodiscard]] Result<void> resize(std::string_view pool, std::size_t concurrency);

  [[nodiscard]] NodeStats stats() const noexcept;
  [[nodiscard]] const std::string& name() const noexcept;
  /// Of the latest registration; 0 when there is none.
  [[nodiscard]] NodeEpoch epoch() const noexcept;

 private:
  struct Parts;
  explicit Node(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace dagverk::jobs
