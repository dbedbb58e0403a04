#include "dagverk/worker/work_command.hpp"

#include "worker/event_printer.hpp"
#include "worker/limit_keeper.hpp"
#include "worker/look.hpp"
#include "worker/node_socket.hpp"
#include "worker/reload.hpp"
#include "worker/signal_watch.hpp"
#include "worker/worker_log.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/event/serial_event_manager.hpp"
#include "dagverk/event/staged_event_manager.hpp"
#include "dagverk/event/supervised_event_manager.hpp"
#include "dagverk/jobs/event_hub.hpp"
#include "dagverk/jobs/node.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/worker/common_options.hpp"
#include "dagverk/worker/duration_text.hpp"
#include "dagverk/worker/node_client.hpp"
#include "dagverk/worker/open_store.hpp"
#include "dagverk/worker/terminal.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <exception>
#include <memory>
#include <optional>
#include <thread>
#include <unistd.h>
#include <utility>

namespace dagverk::worker {
namespace {

constexpr OptionSyntax options[] = {
    {'q', "queue", "NAME[:N]", "serve this queue, N jobs at once; may be repeated"},
    {'c', "concurrency", "N", "jobs at once of queues that state none (10)"},
    {'\0', "stop-timeout", "TIME", "how long running jobs may go on after SIGTERM (25s)"},
    {'\0', "look-only", {}, "say what would be taken, take and change nothing, and end"},
};

constexpr Duration double_signal = std::chrono::milliseconds(300);
constexpr Duration last_events_limit = std::chrono::seconds(5);  // for handlers to finish what waits for them
constexpr std::string_view printer_name = "printer";

std::vector<FlagValue> work_flags(const ParsedLine& line) {
  std::vector<FlagValue> flags;
  for (std::string& queue : line.values("queue")) flags.push_back({"queue", std::move(queue), "--queue"});
  if (const auto count = line.value("concurrency")) {
    flags.push_back({"concurrency", std::string(*count), "--concurrency"});
  }
  if (const auto limit = line.value("stop-timeout")) {
    flags.push_back({"stop_timeout", std::string(*limit), "--stop-timeout"});
  }
  return flags;
}

ExitCode fail(const WorkProgram& program, const Error& error) {
  say(program.name, as_errors(error.message()));
  return exit_code_of(error);
}

/// A class to try things with: its result is its arguments, of which it takes up to nine.
void define_echo(jobs::JobRegistry& registry) {
  using Any = std::optional<jobs::RawJson>;
  registry.define("echo",
                  [](jobs::JobContext& job, const Any&, const Any&, const Any&, const Any&, const Any&, const Any&,
                     const Any&, const Any&, const Any&) { job.set_result(std::string(job.job().args_json())); });
}

Result<jobs::JobRegistry> make_registry(const WorkProgram& program, const Configuration& configuration) {
  jobs::JobRegistry registry;
  try {
    if (program.define_jobs) program.define_jobs(registry);
  } catch (const std::exception& exception) {
    return Error(ErrorCode::configuration, concat("defining the jobs failed: ", exception.what()));
  }
  if (program.for_development && configuration.find_job("echo") == nullptr) define_echo(registry);
  define_commands(configuration, registry);
  if (auto good = registry.check(); !good) return good.error();
  return registry;
}

std::string queue_list(const Configuration& configuration) {
  std::string list;
  for (const QueueSettings& queue : configuration.queues) {
    list += concat(list.empty() ? "" : ", ", queue.name, ":", queue.concurrency);
  }
  for (const PoolSettings& pool : configuration.pools) {
    list += concat(list.empty() ? "" : ", ", pool.queues.front().name);
    for (auto queue = pool.queues.begin() + 1; queue != pool.queues.end(); ++queue) list += concat("+", queue->name);
    list += concat(":", pool.concurrency);
  }
  return list;
}

void greet(const ParsedLine& line, const WorkProgram& program, const Configuration& configuration,
           std::size_t classes) {
  if (line.has("quiet")) return;
  for (const std::string& warning : configuration.warnings) say(program.name, concat("warning: ", warning));
  say(program.name,
      concat(program.version, program.version.empty() ? "" : ", ", "store ", printable(shown_store(configuration)),
             ", queues ", queue_list(configuration), ", ", classes, classes == 1 ? " job class" : " job classes"));
  if (program.for_development) {
    const std::string store = configuration.store_is_default ? "" : concat(" --store ", shown_store(configuration));
    say(program.name, concat("try, in another terminal: ", program.name, " enqueue echo hello", printable(store)));
  } else if (classes == 0) {
    say(program.name,
        "warning: no job class is defined, so every job will be retried; define commands in dagverk.toml");
  }
  say(program.name, "ready; Ctrl-C stops in order");
}

/// What ends the worker: signals, asked for one after the other, until the node is down.
class Stopper {
 public:
  Stopper(SignalWatch& signals, const ParsedLine& line, const WorkProgram& program, Configuration configuration,
          WorkerLog& log, Logger& logger)
      : signals_(signals),
        line_(line),
        program_(program),
        configuration_(std::move(configuration)),
        log_(log),
        logger_(logger),
        quiet_(line.has("quiet")) {}

  /// Nobody reads the events any more: stop in order. From any thread.
  void output_closed() {
    output_closed_.store(true);
    signals_.wake();
  }

  /// Somebody asks from elsewhere that the node stop: in order. From any thread.
  void stop_asked() {
    stop_asked_.store(true);
    signals_.wake();
  }

  jobs::NodeStopReport wait_and_stop(jobs::Node& node, LimitKeeper& limits) {
    std::optional<jobs::NodeStopReport> report;
    std::jthread stopping;
    std::atomic<bool> stopped = false;
    SteadyTime first_signal{};
    while (!stopped.load()) {
      const int signal = signals_.next();
      if (signal == 0 && !output_closed_.load() && !stop_asked_.exchange(false)) continue;
      if (!ends(signal)) {
        obey(signal, node, limits);
        continue;
      }
      if (stopping.joinable()) {
        // Some senders signal both a process and its group: what comes twice at once was meant once.
        if (signal == 0 || system_clock().steady_now() - first_signal < double_signal) continue;
        say(program_.name, "stopped at once; what was running will be run again");
        ::_exit(128 + signal);
      }
      if (!quiet_) {
        say(program_.name, concat("stopping: running jobs have ", duration_text(configuration_.stop_timeout),
                                  "; once more stops at once"));
      }
      first_signal = system_clock().steady_now();
      stopping = std::jthread([&, timeout = configuration_.stop_timeout] {
        report = node.stop(timeout);
        stopped.store(true);
        signals_.wake();
      });
    }
    stopping.join();
    return *report;
  }

 private:
  /// Of a terminal SIGHUP means that the terminal is gone; a service is told to look at its files again.
  static bool ends(int signal) {
    return signal == 0 || signal == SIGTERM || signal == SIGINT || (signal == SIGHUP && ::isatty(STDIN_FILENO) != 0);
  }

  void obey(int signal, jobs::Node& node, LimitKeeper& limits) {
    if (signal == SIGHUP) {
      log_.reopen();
      reload(node, limits);
    } else if (signal == SIGTTIN) {
      node.dump();
    } else {
      quiet(node);
    }
  }

  /// Reads the configuration again, and says what can change while the worker runs and what cannot.
  void reload(jobs::Node& node, LimitKeeper& limits) {
    const auto fresh = configuration_of(line_, work_flags(line_));
    if (!fresh) {
      logger_.error("configuration.refused", {{"error", fresh.error().message()}});
      say(program_.name, concat("not reloaded:\n", as_errors(fresh.error().message())));
      return;
    }
    const auto report = apply_reload(configuration_, *fresh, node, limits, log_);
    if (!report) {
      logger_.error("configuration.refused", {{"error", report.error().message()}});
      say(program_.name, concat("reloaded in part: ", report.error().message()));
      return;
    }
    for (const std::string& change : report->applied) logger_.info("configuration.applied", {{"change", change}});
    for (const std::string& key : report->needs_restart) {
      logger_.warning("configuration.needs_restart", {{"key", key}});
      say(program_.name, concat("warning: ", key, " has changed; that needs a restart"));
    }
    if (!quiet_) say(program_.name, concat("reloaded: ", report->applied.size(), " changes"));
  }

  void quiet(jobs::Node& node) {
    node.quiet();
    say(program_.name, "takes no more jobs");
  }

  SignalWatch& signals_;
  const ParsedLine& line_;
  const WorkProgram& program_;
  Configuration configuration_;  // as it is in force
  WorkerLog& log_;
  Logger& logger_;
  const bool quiet_;
  std::atomic<bool> stop_asked_ = false;
  std::atomic<bool> output_closed_ = false;
};

void say_goodbye(const WorkProgram& program, const jobs::NodeStopReport& report) {
  const jobs::NodeStats& stats = report.stats;
  say(program.name, concat("stopped: ", stats.finished, " runs finished, ", stats.retried, " to be retried, ",
                           stats.died, " died, ", report.given_back, " given back"));
}

std::unique_ptr<EventManager<jobs::Event>> make_event_manager(Runtime& runtime, EventManagerKind kind) {
  switch (kind) {
    case EventManagerKind::supervised: return std::make_unique<SupervisedEventManager<jobs::Event>>(runtime);
    case EventManagerKind::serial: return std::make_unique<SerialEventManager<jobs::Event>>(runtime);
    case EventManagerKind::staged: break;
  }
  return std::make_unique<StagedEventManager<jobs::Event>>(runtime);
}

/// The printer and the program's own handlers.
Result<void> add_handlers(EventManager<jobs::Event>& events, const ParsedLine& line, const WorkProgram& program,
                          Stopper& stopper) {
  const EventForm form = line.has("json")          ? EventForm::json
                         : program.for_development ? EventForm::lines
                                                   : EventForm::none;
  if (form != EventForm::none) {
    std::function<void()> closed = [&stopper] { stopper.output_closed(); };
    auto added = events.add_handler_blocking(
        event_handler<EventPrinter>(std::string(printer_name), HandlerOptions(), form, std::move(closed)));
    if (!added) return added;
  }
  if (!program.define_handlers) return {};
  try {
    for (HandlerSpec<jobs::Event>& spec : program.define_handlers()) {
      if (auto added = events.add_handler_blocking(std::move(spec)); !added) return added;
    }
  } catch (const std::exception& exception) {
    return Error(ErrorCode::configuration, concat("defining the event handlers failed: ", exception.what()));
  }
  return {};
}

/// Null when there is to be none, or when the default place is not to be had: jobs run without it.
Result<std::unique_ptr<NodeSocket>> open_socket(const Configuration& configuration, EventManager<jobs::Event>& events,
                                                const WorkProgram& program) {
  if (configuration.socket == "none") return std::unique_ptr<NodeSocket>();
  if (configuration.socket != "auto") return NodeSocket::open(configuration.socket, events);
  auto path = fresh_socket_path();
  auto socket = path ? NodeSocket::open(*path, events) : path.error();
  if (socket) return socket;
  say(program.name, concat("warning: no tool can reach this node: ", socket.error().message()));
  return std::unique_ptr<NodeSocket>();
}

/// Lets the handlers finish, and says what was not printed.
void end_events(EventManager<jobs::Event>& events, const WorkProgram& program) {
  const auto last = events.stop_blocking(last_events_limit);
  const HandlerStats* const printer = last ? last->find(printer_name) : nullptr;
  if (printer == nullptr) return;
  const std::uint64_t missed = printer->dropped.total() - printer->dropped.filtered;
  if (missed > 0) say(program.name, concat(missed, " events were not printed: standard output was too slow"));
}

/// What a worker would take, on standard output. No node, no socket, and no store where there is none.
ExitCode look_only(const ParsedLine& line, const WorkProgram& program, const Configuration& configuration,
                   const jobs::JobRegistry& registry) {
  if (configuration.redis_url.empty() && ::access(configuration.store_path.c_str(), F_OK) != 0) {
    return fail(program, Error(ErrorCode::not_found, concat("store ", configuration.store_path, ": does not exist")));
  }
  set_stderr_log_level(configuration.log_level);
  Runtime runtime;
  const auto store = open_store(runtime, configuration, MissingStore::refuse);
  if (!store) return fail(program, store.error());
  const auto outlook = look(runtime, **store, configuration, registry);
  if (!outlook) return fail(program, outlook.error());
  const std::string text = line.has("json") ? outlook_json(*outlook) : outlook_text(*outlook);
  return write_all(STDOUT_FILENO, text) == Written::failed ? ExitCode::failed : ExitCode::done;
}

ExitCode work(const ParsedLine& line, const WorkProgram& program, SignalWatch& signals) {
  const auto configuration = configuration_of(line, work_flags(line));
  if (!configuration) return fail(program, configuration.error());
  auto registry = make_registry(program, *configuration);
  if (!registry) return fail(program, registry.error());
  if (line.has("look-only")) return look_only(line, program, *configuration, *registry);

  set_stderr_log_level(configuration->log_level);
  LoggerRelay logger;
  Runtime runtime({.logger = &logger});
  const auto log = WorkerLog::start(runtime, logger, *configuration);
  if (!log) return fail(program, log.error());
  Stopper stopper(signals, line, program, *configuration, **log, logger);
  auto store = open_store(runtime, *configuration, MissingStore::create);
  if (!store) return fail(program, store.error());
  const std::unique_ptr<EventManager<jobs::Event>> events = make_event_manager(runtime, configuration->event_manager);
  if (auto added = add_handlers(*events, line, program, stopper); !added) return fail(program, added.error());
  const auto socket = open_socket(*configuration, *events, program);
  if (!socket) return fail(program, socket.error());

  jobs::EventHubSink sink(*events);
  jobs::NodeOptions node_options;
  node_options.events = &sink;
  node_options.backoff = configuration->verk_compatible ? jobs::BackOff::verk : jobs::BackOff::sidekiq;
  node_options.unknown_class = configuration->unknown_class;
  node_options.codec.timestamps = configuration->timestamps;
  node_options.detail = node_detail(*socket ? (*socket)->path() : std::string());
  node_options.pools = pools_of(*configuration);
  node_options.stop_timeout = configuration->stop_timeout;
  node_options.heartbeat = configuration->heartbeat;
  node_options.tag = configuration->tag;
  if (!program.version.empty()) node_options.version = concat("dagverk ", program.version);
  node_options.on_stop_signal = [&stopper] { stopper.stop_asked(); };
  LimitKeeper limits(runtime, **store);
  if (auto put = limits.put(*configuration); !put) return fail(program, put.error());
  const std::size_t classes = registry->classes().size();
  auto node = jobs::Node::start(runtime, **store, std::move(*registry), std::move(node_options));
  if (!node) return fail(program, node.error());
  greet(line, program, *configuration, classes);

  const jobs::NodeStopReport report = stopper.wait_and_stop(**node, limits);
  end_events(*events, program);
  if (!line.has("quiet")) say_goodbye(program, report);
  if (report.stuck > 0) {
    say(program.name, concat(report.stuck, " jobs did not return and were left behind; they will be run again"));
    ::_exit(static_cast<int>(ExitCode::done));  // their threads still use what would be destroyed
  }
  return ExitCode::done;
}

}  // namespace

std::span<const OptionSyntax> work_options() noexcept { return options; }

ExitCode run_work(const ParsedLine& line, const WorkProgram& program) {
  SignalWatch signals({SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGTSTP, SIGTTIN});
  return work(line, program, signals);
}

}  // namespace dagverk::worker
