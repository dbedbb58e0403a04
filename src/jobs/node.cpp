#include "dagverk/jobs/node.hpp"

#include "jobs/job_dump.hpp"
#include "jobs/node_env.hpp"
#include "jobs/node_server.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/base/random.hpp"
#include "dagverk/runtime/os_process.hpp"
#include "dagverk/runtime/supervisor.hpp"

#include <unistd.h>
#include <utility>

namespace dagverk::jobs {

namespace {

constexpr Duration answer_slack = std::chrono::seconds(15);  // beyond the deadline: the store's share of stopping
constexpr unsigned nonce_size = 6;
constexpr std::size_t spawner_running_max = 4096;

std::string host_name() {
  char host[256] = "localhost";
  static_cast<void>(::gethostname(host, sizeof host - 1));
  return std::string(std::string_view(host).substr(0, 200));
}

Error wrong(std::string_view field, std::string_view range, const std::string& got) {
  return Error{ErrorCode::configuration, concat(field, " must be ", range, ", got ", got)};
}

Result<void> check_options(const NodeOptions& options, const JobRegistry& registry, const RuntimeBase& runtime) {
  if (auto checked = registry.check(); !checked) return checked.error();
  if (options.name.size() > name_size_limit) return wrong("name", "at most 255 bytes", concat(options.name.size()));
  for (const auto& [field, value] :
       {std::pair("heartbeat", options.heartbeat), std::pair("rescue_interval", options.rescue_interval),
        std::pair("promotion_interval", options.promotion_interval),
        std::pair("poll_interval", options.poll_interval)}) {
    if (value <= Duration::zero()) return wrong(field, "more than 0", concat(value.count(), " ns"));
  }
  if (registry.has_commands() && runtime.deterministic()) {
    return Error{ErrorCode::unsupported, "command jobs need real OS processes, which a deterministic runtime has not"};
  }
  return {};
}

/// The spawner of command jobs, when there are any.
Result<void> open_spawner(NodeEnv& env) {
  env.spawner = env.options.spawner;
  if (env.spawner != nullptr || !env.registry.has_commands()) return {};
  OsProcessSpawnerOptions options;
  options.running_limit = spawner_running_max;
  Result<std::unique_ptr<OsProcessSpawner>> spawner = OsProcessSpawner::create(options, env.runtime.clock());
  if (!spawner) return spawner.error();
  env.own_spawner = std::move(*spawner);
  env.spawner = env.own_spawner.get();
  return {};
}

/// It is started again for as long as the node lives, at growing intervals: a store may be away for long. Not after it
/// has left in order.
ChildOptions server_options(const NodeEnv& env) {
  ChildOptions options;
  options.restart = Restart::transient;
  options.shutdown = Shutdown::after(env.options.stop_timeout + env.options.stop_grace + answer_slack);
  options.backoff = {.initial = std::chrono::milliseconds(20),
                     .max = std::chrono::seconds(5),
                     .reset_after = std::chrono::seconds(30)};
  options.limit = RestartLimit{.max_restarts = 1000, .window = std::chrono::minutes(1)};  // more than the back-off lets
  return options;
}

}  // namespace

struct Node::Parts {
  explicit Parts(NodeEnvPtr env_)
      : env(std::move(env_)), server(env->runtime, concat("dagverk.node ", env->runtime.next_ref())) {}

  NodeEnvPtr env;  // shared with the node's processes, which may outlive a stop that failed
  Name<NodeServer> server;
  SupervisorRef supervisor;  // none when it stands under somebody else's
  bool stopped = false;
  NodeStopReport report;

  [[nodiscard]] Result<void> changed(Result<void> done) const {
    if (done) server.cast(NodeServer::PlanChanged{});
    return done;
  }
};

Node::Node(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Result<std::unique_ptr<Node>> Node::prepare(RuntimeBase& runtime, JobStore& store, JobRegistry registry,
                                            NodeOptions options) {
  if (auto checked = check_options(options, registry, runtime); !checked) return checked.error();
  if (options.seed == 0) options.seed = random_seed();
  auto parts =
      std::make_unique<Parts>(std::make_shared<NodeEnv>(runtime, store, std::move(registry), std::move(options)));
  NodeEnv& env = *parts->env;
  env.host = host_name();
  env.identity = concat(env.host, ":", ::getpid(), ":", random_hex(nonce_size));
  env.name = env.options.name.empty() ? env.identity : env.options.name;
  env.started_at = env.now();
  if (env.options.events != nullptr) env.events = env.options.events;
  if (auto opened = open_spawner(env); !opened) return opened.error();
  std::unique_ptr<Node> node(new Node(std::move(parts)));  // from here on its destructor takes down what was started
  for (const PoolOptions& pool : env.options.pools) {
    if (auto added = env.pools.add(pool); !added) {
      const ErrorCode code = added.error().code();
      return Error{code == ErrorCode::already_exists ? ErrorCode::configuration : code,
                   std::string(added.error().message())};
    }
  }
  return node;
}

Result<std::unique_ptr<Node>> Node::start(RuntimeBase& runtime, JobStore& store, JobRegistry registry,
                                          NodeOptions options) {
  Result<std::unique_ptr<Node>> node = prepare(runtime, store, std::move(registry), std::move(options));
  if (!node) return node.error();
  std::vector<ChildSpec> children;
  children.push_back((*node)->child_spec("node"));
  Result<SupervisorRef> supervisor = start_supervisor(runtime, {}, std::move(children));
  if (!supervisor) return supervisor.error();
  (*node)->parts_->supervisor = *supervisor;
  const NodeEnv& env = *(*node)->parts_->env;
  runtime.logger().info("node.started", {{"node", env.name}, {"pools", env.options.pools.size()}});
  return node;
}

ChildSpec Node::child_spec(std::string_view id) const {
  ChildSpec spec = child_spec_with<NodeServer>(server_options(*parts_->env), id, parts_->env);
  // By this name it is found after restarts; the id is its supervisor's affair.
  spec.start = [start = std::move(spec.start), name = parts_->server.text()](StartOptions options) {
    options.name = name;
    return start(std::move(options));
  };
  return spec;
}

Node::~Node() { stop(Duration::zero()); }

NodeStopReport Node::stop(Duration deadline) {
  Parts& parts = *parts_;
  if (std::exchange(parts.stopped, true)) return parts.report;
  NodeEnv& env = *parts.env;
  env.stopping = true;
  const Duration limit = std::max(deadline, Duration::zero());
  if (const Result<ServerRef<NodeServer>> server = parts.server.resolve()) {
    const Result<NodeServer::Summary> left =
        server->call_blocking_within<NodeServer::Leave>(limit + env.options.stop_grace + answer_slack, limit);
    const Result<void> down = env.runtime.stop(server->pid(), ExitReason::shutdown, answer_slack);
    if (!left || (!down && down.error().code() != ErrorCode::no_process)) {
      const Error& error = left ? down.error() : left.error();
      env.runtime.logger().error("node.not_down", {{"node", env.name}, {"error", error.message()}});
    }
  }
  if (parts.supervisor.pid()) {
    const Result<void> down = parts.supervisor.stop_blocking(ExitReason::shutdown, answer_slack);
    if (!down) env.runtime.logger().error("node.not_down", {{"node", env.name}, {"error", down.error().message()}});
  }
  if (const NodeEpoch epoch = env.epoch; epoch != 0) {  // it could not leave by itself
    const Result<std::size_t> retired = env.runtime.run(env.store.retire_node(epoch), answer_slack);
    if (retired || retired.error().code() == ErrorCode::not_found) env.epoch = 0;
  }
  if (env.own_spawner) env.own_spawner->stop();
  parts.report.stuck = env.pools.stop_threads(env.options.stop_grace);
  parts.report.given_back = env.given_back;
  parts.report.retired = env.epoch == 0;
  parts.report.stats = env.counters.read();
  env.runtime.logger().info("node.stopped", {{"node", env.name},
                                             {"finished", parts.report.stats.finished},
                                             {"given_back", parts.report.given_back},
                                             {"stuck", parts.report.stuck}});
  return parts.report;
}

void Node::dump() { write_dump(parts_->env); }

void Node::quiet() {
  parts_->env->pools.set_quiet();
  parts_->server.cast(NodeServer::PlanChanged{});
}

bool Node::cancel(std::string_view jid) {
  if (!parts_->env->pools.runs_job(jid)) return false;
  NodeServer::CancelRuns cancel;
  cancel.jids.emplace_back(jid);
  parts_->server.cast(std::move(cancel));
  return true;
}

Result<void> Node::add_pool(PoolOptions pool) { return parts_->changed(parts_->env->pools.add(std::move(pool))); }

Result<void> Node::remove_pool(std::string_view pool) { return parts_->changed(parts_->env->pools.remove(pool)); }

Result<void> Node::resize(std::string_view pool, std::size_t concurrency) {
  return parts_->changed(parts_->env->pools.resize(pool, concurrency));
}

Result<void> Node::add_queue(std::string queue, std::size_t concurrency) {
  if (parts_->env->pools.serves(queue)) {
    return Error{ErrorCode::already_exists, concat("queue \"", queue, "\" is served already")};
  }
  PoolOptions pool;
  pool.queues.emplace_back(std::move(queue));
  pool.concurrency = concurrency;
  return add_pool(std::move(pool));
}

Result<void> Node::remove_queue(std::string_view queue) {
  return parts_->changed(parts_->env->pools.remove_queue(queue));
}

bool Node::pause_queue(std::string_view queue) {
  const bool known = parts_->env->pools.set_paused(queue, true);
  if (known) parts_->server.cast(NodeServer::PlanChanged{});
  return known;
}

bool Node::resume_queue(std::string_view queue) {
  const bool known = parts_->env->pools.set_paused(queue, false);
  if (known) parts_->server.cast(NodeServer::PlanChanged{});
  return known;
}

std::vector<QueueStats> Node::queue_stats(std::string_view prefix) const {
  return parts_->env->pools.queue_stats(prefix);
}
std::vector<PoolStats> Node::pools() const { return parts_->env->pools.pool_stats(); }
std::vector<RunningJob> Node::running_jobs(std::string_view queue, std::size_t limit) const {
  return parts_->env->pools.running_jobs(queue, limit);
}
std::size_t Node::busy_count() const { return parts_->env->pools.running_count(); }

NodeStats Node::stats() const noexcept { return parts_->env->counters.read(); }
const std::string& Node::name() const noexcept { return parts_->env->name; }
const std::string& Node::identity() const noexcept { return parts_->env->identity; }
NodeEpoch Node::epoch() const noexcept { return parts_->env->epoch; }

}  // namespace dagverk::jobs
