#include "dagverk/jobs/node.hpp"

#include "jobs/job_threads.hpp"
#include "jobs/node_env.hpp"
#include "jobs/node_server.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/base/random.hpp"
#include "dagverk/jobs/job_names.hpp"
#include "dagverk/runtime/os_process.hpp"
#include "dagverk/runtime/supervisor.hpp"

#include <set>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace dagverk::jobs {

namespace {

constexpr Duration answer_slack = std::chrono::seconds(15);  // beyond the deadline: the store's share of stopping
constexpr unsigned nonce_size = 6;
constexpr std::size_t spawner_running_max = 4096;

std::string unique_name() {
  char host[256] = "localhost";
  static_cast<void>(::gethostname(host, sizeof host - 1));
  return concat(std::string_view(host).substr(0, 200), ":", ::getpid(), ":", random_hex(nonce_size));
}

Error wrong(std::string_view field, std::string_view range, const std::string& got) {
  return Error{ErrorCode::configuration, concat(field, " must be ", range, ", got ", got)};
}

Result<void> check_pool(PoolOptions& pool, std::set<std::string>& names) {
  if (pool.queues.empty()) return Error{ErrorCode::configuration, "a pool must serve at least one queue"};
  for (const std::string& queue : pool.queues) {
    if (auto checked = check_queue_name(queue); !checked) {
      return Error{ErrorCode::configuration, std::string(checked.error().message())};
    }
  }
  if (pool.name.empty()) pool.name = pool.queues.front();
  if (!names.insert(pool.name).second) {
    return Error{ErrorCode::configuration, concat("pool \"", pool.name, "\" is there twice")};
  }
  if (pool.concurrency < 1 || pool.concurrency > pool_concurrency_max) {
    return wrong(concat("queue \"", pool.name, "\": concurrency"), concat("1..", pool_concurrency_max),
                 concat(pool.concurrency));
  }
  return {};
}

Result<void> check_options(NodeOptions& options, const JobRegistry& registry, const RuntimeBase& runtime) {
  if (auto checked = registry.check(); !checked) return checked.error();
  if (options.pools.empty()) return Error{ErrorCode::configuration, "a node needs at least one pool"};
  std::set<std::string> names;
  for (PoolOptions& pool : options.pools) {
    if (auto checked = check_pool(pool, names); !checked) return checked.error();
  }
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
  options.running_limit = 0;
  for (const PoolOptions& pool : env.options.pools) options.running_limit += pool.concurrency;
  options.running_limit = std::min<std::size_t>(options.running_limit, spawner_running_max);
  Result<std::unique_ptr<OsProcessSpawner>> spawner = OsProcessSpawner::create(options, env.runtime.clock());
  if (!spawner) return spawner.error();
  env.own_spawner = std::move(*spawner);
  env.spawner = env.own_spawner.get();
  return {};
}

/// It is started again for as long as the node lives, at growing intervals: a store may be away for long.
ChildOptions server_options(const NodeEnv& env) {
  ChildOptions options;
  options.registered = true;
  options.shutdown = Shutdown::after(env.options.stop_grace + answer_slack);
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
  SupervisorRef supervisor;
  bool stopped = false;
  NodeStopReport report;
};

Node::Node(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Result<std::unique_ptr<Node>> Node::start(RuntimeBase& runtime, JobStore& store, JobRegistry registry,
                                          NodeOptions options) {
  if (auto checked = check_options(options, registry, runtime); !checked) return checked.error();
  if (options.seed == 0) options.seed = random_seed();
  auto parts =
      std::make_unique<Parts>(std::make_shared<NodeEnv>(runtime, store, std::move(registry), std::move(options)));
  NodeEnv& env = *parts->env;
  env.name = env.options.name.empty() ? unique_name() : env.options.name;
  if (env.options.events != nullptr) env.events = env.options.events;
  if (auto opened = open_spawner(env); !opened) return opened.error();
  std::unique_ptr<Node> node(new Node(std::move(parts)));  // from here on its destructor takes down what was started
  try {
    for (const PoolOptions& pool : env.options.pools) {
      env.threads.push_back(JobThreads::open(runtime, pool.concurrency));
    }
  } catch (const std::system_error& failed) {
    return Error{ErrorCode::unavailable, concat("starting the pools' threads: ", failed.what())};
  }
  std::vector<ChildSpec> children;
  children.push_back(child_spec_with<NodeServer>(server_options(env), node->parts_->server.text(), node->parts_->env));
  Result<SupervisorRef> supervisor = start_supervisor(runtime, {}, std::move(children));
  if (!supervisor) return supervisor.error();
  node->parts_->supervisor = *supervisor;
  runtime.logger().info("node.started", {{"node", env.name}, {"pools", env.options.pools.size()}});
  return node;
}

Node::~Node() { stop(Duration::zero()); }

NodeStopReport Node::stop(Duration deadline) {
  Parts& parts = *parts_;
  if (std::exchange(parts.stopped, true)) return parts.report;
  NodeEnv& env = *parts.env;
  const Duration limit = std::max(deadline, Duration::zero());
  const Result<ServerRef<NodeServer>> server = parts.server.resolve();
  if (server) {
    const Result<NodeServer::Summary> summary =
        server->call_blocking_within<NodeServer::Leave>(limit + env.options.stop_grace + answer_slack, limit);
    if (summary) {
      parts.report.given_back = summary->given_back;
      parts.report.retired = summary->retired;
    }
  }
  if (parts.supervisor.pid()) {
    const Result<void> down = parts.supervisor.stop_blocking(ExitReason::shutdown, answer_slack);
    if (!down) env.runtime.logger().error("node.not_down", {{"node", env.name}, {"error", down.error().message()}});
  }
  if (const NodeEpoch left = env.epoch; left != 0) {  // it could not leave by itself
    const Result<std::size_t> retired = env.runtime.run(env.store.retire_node(left), answer_slack);
    parts.report.retired = retired.has_value() || retired.error().code() == ErrorCode::not_found;
  }
  if (env.own_spawner) env.own_spawner->stop();
  for (const std::shared_ptr<JobThreads>& threads : env.threads) {
    parts.report.stuck += threads->stop(env.options.stop_grace);
  }
  parts.report.stats = env.counters.read();
  env.runtime.logger().info("node.stopped", {{"node", env.name},
                                             {"finished", parts.report.stats.finished},
                                             {"given_back", parts.report.given_back},
                                             {"stuck", parts.report.stuck}});
  return parts.report;
}

Result<void> Node::quiet() {
  const Result<bool> quiet = parts_->server.call_blocking<NodeServer::GoQuiet>();
  if (!quiet) return quiet.error();
  return {};
}

Result<void> Node::resize(std::string_view pool, std::size_t concurrency) {
  if (concurrency < 1 || concurrency > pool_concurrency_max) {
    return wrong(concat("queue \"", pool, "\": concurrency"), concat("1..", pool_concurrency_max), concat(concurrency));
  }
  const std::vector<PoolOptions>& pools = parts_->env->options.pools;
  for (std::size_t index = 0; index < pools.size(); ++index) {
    if (pools[index].name != pool) continue;
    const Result<bool> resized = parts_->server.call_blocking<NodeServer::Resize>(index, concurrency);
    if (!resized) return resized.error();
    return {};
  }
  return Error{ErrorCode::not_found, concat("no pool \"", pool, "\"")};
}

NodeStats Node::stats() const noexcept { return parts_->env->counters.read(); }
const std::string& Node::name() const noexcept { return parts_->env->name; }
NodeEpoch Node::epoch() const noexcept { return parts_->env->epoch; }

}  // namespace dagverk::jobs
