#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/jobs/arguments.hpp"
#include "dagverk/jobs/command_spec.hpp"
#include "dagverk/jobs/cron_entry.hpp"
#include "dagverk/jobs/job_context.hpp"
#include "dagverk/jobs/retry_policy.hpp"
#include "dagverk/jobs/run_outcome.hpp"
#include "dagverk/jobs/unique_lock.hpp"
#include "dagverk/runtime/async.hpp"

#include <chrono>
#include <concepts>
#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace dagverk::jobs {

/// What holds for every job of one class.
struct JobOptions {
  std::string queue = "default";  ///< where `JobClient::enqueue_class` puts it
  RetryPolicy retry = {};
  /// How long one run may take; zero: for ever. A command's process group is ended then: SIGTERM, after its kill_grace
  /// SIGKILL. A `thread` or `async` job is asked to stop by its token and has failed once it returns; an `async` one is
  /// ended when it has not within the node's `stop_grace`. A thread cannot be ended: a `thread` job that does not
  /// return is told of as overdue (JobOverdue, `RunningJob::stop_requested`) and keeps its place until it does.
  /// What a job itself says (`NewJob::timeout`) wins.
  Duration timeout = Duration::zero();
  /// A job that has waited in its queue for longer than this is dropped instead of run; zero: never. What a job itself
  /// says (`NewJob::expires_in`) wins.
  Duration expires_in = Duration::zero();
  /// The key limit that its jobs are kept to, unless a job names one itself (`NewJob::limit_key`); empty: none.
  std::string limit = {};
  /// Which argument, counted from 0, is the key, so that each value has slots and tokens of its own; unset: all share.
  std::optional<std::size_t> limit_argument = {};
  bool journaled = true;  ///< false: `JobClient::enqueue_class` asks for no journal rows
  /// Set: a client that knows this registry enqueues each job of the class with this lock. Without a key: one job at a
  /// time for the same arguments. What a job itself says (`NewJob::unique`) wins. Jobs of cron slots have none.
  std::optional<UniqueLock> unique = std::nullopt;
};

/// When and how a job recurs; see CronSchedule and MissedRuns.
struct CronSpec {
  std::string name;          ///< unique in the store
  std::string schedule;      ///< `0 3 * * *`
  std::string zone = "UTC";  ///< as in `Europe/Berlin`
  std::string queue = {};    ///< empty: the class'
  MissedRuns missed = MissedRuns::once;
};

/// A `thread` job's code, its arguments already bound. Called on several threads at once.
using JobFunction = std::function<RunOutcome(JobContext&)>;

/// An `async` job's code: a coroutine that runs in a process of its own. Called by several processes at once.
using AsyncJobFunction = std::function<Async<RunOutcome>(AsyncJobContext&)>;

/// One class of jobs, as it was defined: of exactly one kind.
struct JobClass {
  std::string name;
  JobOptions options;
  JobFunction function = nullptr;                     ///< for `thread` jobs
  AsyncJobFunction async_function = nullptr;          ///< for `async` jobs
  std::optional<CommandSpec> command = std::nullopt;  ///< for `command` jobs
};

namespace detail {

template <class F>
struct CallableTraits : CallableTraits<decltype(&F::operator())> {};
template <class R, class... Parameters>
struct CallableTraits<R (*)(Parameters...)> {
  template <template <class, class...> class To>
  using Apply = To<R, Parameters...>;
};
template <class R, class... Parameters>
struct CallableTraits<R (*)(Parameters...) noexcept> : CallableTraits<R (*)(Parameters...)> {};
template <class R, class C, class... Parameters>
struct CallableTraits<R (C::*)(Parameters...)> : CallableTraits<R (*)(Parameters...)> {};
template <class R, class C, class... Parameters>
struct CallableTraits<R (C::*)(Parameters...) const> : CallableTraits<R (*)(Parameters...)> {};
template <class R, class C, class... Parameters>
struct CallableTraits<R (C::*)(Parameters...) noexcept> : CallableTraits<R (*)(Parameters...)> {};
template <class R, class C, class... Parameters>
struct CallableTraits<R (C::*)(Parameters...) const noexcept> : CallableTraits<R (*)(Parameters...)> {};

[[nodiscard]] RunOutcome outcome_of(const Result<void>& result);
[[nodiscard]] inline RunOutcome outcome_of(RunOutcome outcome) { return outcome; }

template <class T>
concept JobReturn = std::same_as<T, Result<void>> || std::same_as<T, RunOutcome>;

/// Reads the arguments as `Ts` and calls `function(leading…, arguments…)`.
template <class... Ts, class F, class... Leading>
RunOutcome call_with_arguments(F& function, const JobContext& context, Leading&... leading) {
  auto arguments = parse_arguments<Ts...>(context.job().args_json(), context.job_class());
  if (!arguments) return RunOutcome::failed(error_class::arguments, std::string(arguments.error().message()));
  const auto call = [&](Ts&... values) -> decltype(auto) { return function(leading..., std::move(values)...); };
  using R = decltype(std::apply(call, *arguments));
  if constexpr (std::is_void_v<R>) {
    std::apply(call, *arguments);
    return RunOutcome::finished();
  } else {
    static_assert(JobReturn<R>, "a job's function returns void, Result<void> or RunOutcome");
    return outcome_of(std::apply(call, *arguments));
  }
}

template <class R, class... Parameters>
struct BindArguments {
  template <class F>
  static JobFunction bind(F function) {
    return [function = std::move(function)](JobContext& context) mutable {
      return call_with_arguments<std::decay_t<Parameters>...>(function, context);
    };
  }
};
template <class R, class... Parameters>
struct BindArguments<R, JobContext&, Parameters...> {
  template <class F>
  static JobFunction bind(F function) {
    return [function = std::move(function)](JobContext& context) mutable {
      return call_with_arguments<std::decay_t<Parameters>...>(function, context, context);
    };
  }
};

template <class A>
struct AsyncValue;
template <class T>
struct AsyncValue<Async<T>> {
  using Type = T;
};

/// As call_with_arguments, for a function that is a coroutine. The arguments live until it has ended, so that its
/// parameters may refer to them.
template <class... Ts, class F, class... Leading>
Async<RunOutcome> await_with_arguments(F& function, const JobContext& context, Leading&... leading) {
  auto arguments = parse_arguments<Ts...>(context.job().args_json(), context.job_class());
  if (!arguments) co_return RunOutcome::failed(error_class::arguments, std::string(arguments.error().message()));
  auto call = [&](Ts&... values) { return function(leading..., std::move(values)...); };
  auto running = std::apply(call, *arguments);
  if constexpr (std::same_as<decltype(running), Async<void>>) {
    co_await running;
    co_return RunOutcome::finished();
  } else {
    using R = typename AsyncValue<decltype(running)>::Type;
    static_assert(JobReturn<R>, "a job's coroutine returns Async<void>, Async<Result<void>> or Async<RunOutcome>");
    R result = co_await running;
    co_return outcome_of(std::move(result));
  }
}

template <class T, class... Parameters>
struct BindArguments<Async<T>, Parameters...> {
  template <class F>
  static AsyncJobFunction bind(F function) {
    return [function = std::move(function)](AsyncJobContext& context) mutable {
      return await_with_arguments<std::decay_t<Parameters>...>(function, context);
    };
  }
};
template <class T, class... Parameters>
struct BindArguments<Async<T>, JobContext&, Parameters...> {
  template <class F>
  static AsyncJobFunction bind(F function) {
    return [function = std::move(function)](AsyncJobContext& context) mutable {
      return await_with_arguments<std::decay_t<Parameters>...>(function, context, context);
    };
  }
};
template <class T, class... Parameters>
struct BindArguments<Async<T>, AsyncJobContext&, Parameters...> : BindArguments<Async<T>, JobContext&, Parameters...> {
};

}  // namespace detail

/// Which code runs the jobs of which class. A class is found by its exact name, never by anything that a job says.
///
///   registry.define("Resize", [](const std::string& path, int width) { … });
///   registry.define("Report", [](JobContext& job, std::int64_t account) { … }, {.queue = "slow", .timeout = 10min});
///   registry.define("Fetch", [](AsyncJobContext& job, std::string url) -> Async<void> { … co_await … });
///   registry.define_command("Checksum", {.run = {"sha256sum", "--", "{0}"}});
///
/// Semantics: a function fails by throwing (anything) or by returning a failed Result<void>; one that returns a
///            RunOutcome may also say that its job is to be snoozed, discarded or buried. Its parameters are the
///            job's arguments, of the types that `arguments.hpp` knows; a first parameter `JobContext&` (of a
///            coroutine: `AsyncJobContext&`) is the run itself. A function that returns an Async is an `async` job: it
///            runs in a process of its own on the runtime's threads, which it must not block; any other is a `thread`
///            job.
/// Threads:   defined by one thread, then only read. Functions are called on several threads at once.
/// Errors:    a wrong definition is remembered; `check`, and whoever is given the registry, reports the first one.
class JobRegistry {
 public:
  template <class F>
  JobRegistry& define(std::string name, F function, JobOptions options = {}) {
    using Bind = typename detail::CallableTraits<std::decay_t<F>>::template Apply<detail::BindArguments>;
    JobClass job_class{std::move(name), std::move(options)};
    auto bound = Bind::bind(std::move(function));
    if constexpr (std::same_as<decltype(bound), AsyncJobFunction>) {
      job_class.async_function = std::move(bound);
    } else {
      job_class.function = std::move(bound);
    }
    return add(std::move(job_class));
  }

  JobRegistry& define_command(std::string name, CommandSpec command, JobOptions options = {}) {
    return add(JobClass{.name = std::move(name), .options = std::move(options), .command = std::move(command)});
  }

  /// Has jobs of `job_class` enqueued, with these arguments, whenever the schedule says so: every node that is given
  /// this registry puts the entry into its store, where it stays until somebody removes it.
  ///
  ///   registry.cron("nightly", "0 3 * * *", "Report", "all");
  template <class... Arguments>
  JobRegistry& cron(std::string name, std::string schedule, std::string job_class, const Arguments&... arguments) {
    return cron(CronSpec{.name = std::move(name), .schedule = std::move(schedule)}, std::move(job_class), arguments...);
  }
  template <class... Arguments>
  JobRegistry& cron(CronSpec spec, std::string job_class, const Arguments&... arguments) {
    return add_cron(std::move(spec), std::move(job_class), encode_arguments(arguments...), "program");
  }
  /// The same with arguments that are encoded already; `origin` tells people whose wish it is.
  JobRegistry& cron_json(CronSpec spec, std::string job_class, std::string args_json, std::string origin) {
    return add_cron(std::move(spec), std::move(job_class), std::move(args_json), std::move(origin));
  }

  /// Errors: `configuration`, about the first wrong definition: a name that is no class name or was used before, a
  ///         queue that is none, a retry policy or a command template out of range, a schedule that never comes, a
  ///         zone that is none.
  [[nodiscard]] Result<void> check() const;

  /// Null when no class has exactly this name. Lifetime: until the registry changes.
  [[nodiscard]] const JobClass* find(std::string_view name) const noexcept;
  /// In order of their names.
  [[nodiscard]] std::vector<const JobClass*> classes() const;
  /// In order of their names, each with the queue of its class where it names none.
  [[nodiscard]] std::vector<CronEntry> cron_entries() const;
  [[nodiscard]] bool has_commands() const noexcept;
  /// Whether any class is a `thread` job.
  [[nodiscard]] bool has_functions() const noexcept;

 private:
  JobRegistry& add(JobClass job_class);
  JobRegistry& add_cron(CronSpec spec, std::string job_class, Result<std::string> args_json, std::string origin);

  std::map<std::string, JobClass, std::less<>> classes_;
  std::map<std::string, CronEntry, std::less<>> cron_;  // an empty queue: its class'
  std::optional<Error> mistake_;
};

}  // namespace dagverk::jobs
