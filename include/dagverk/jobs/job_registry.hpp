#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/jobs/arguments.hpp"
#include "dagverk/jobs/job_context.hpp"
#include "dagverk/jobs/retry_policy.hpp"
#include "dagverk/jobs/run_outcome.hpp"
#include "dagverk/runtime/os_process.hpp"

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
  /// How long one run may take; zero: for ever. A command is ended then. A `thread` job is asked to stop by its token
  /// and has failed once it returns.
  Duration timeout = Duration::zero();
  bool journaled = true;  ///< false: `JobClient::enqueue_class` asks for no journal rows
};

/// An executable that runs the jobs of one class. Never a shell.
///
/// Semantics: the arguments arrive on standard input as one line of JSON. `{0}`, `{1}`, … in `run` stand for one
///            argument each: texts as they are, other values as their JSON. An argument that would make an element
///            begin with `-` is refused unless an element `--` stands before it. Exit code 0 is success. The
///            environment is a list of allowed variables, and DAGVERK_JID, DAGVERK_CLASS, DAGVERK_QUEUE and
///            DAGVERK_ATTEMPT. The command leads a process group of its own and dies with its worker.
struct CommandSpec {
  std::vector<std::string> run = {};   ///< the executable (no placeholder), then its arguments
  std::string working_directory = {};  ///< empty: the worker's
  std::vector<std::string> environment_inherit = OsProcessOptions().environment_inherit;
  std::vector<std::pair<std::string, std::string>> environment_set = {};
  Duration kill_grace = std::chrono::seconds(5);  ///< between SIGTERM and SIGKILL at a timeout
  OsProcessLimits limits = {};
  std::size_t output_kept_bytes = result_text_size_limit;  ///< of standard output, for the journal; at most as much
};

/// A `thread` job's code, its arguments already bound. Called on several threads at once.
using JobFunction = std::function<RunOutcome(JobContext&)>;

/// One class of jobs, as it was defined.
struct JobClass {
  std::string name;
  JobOptions options;
  JobFunction function;                ///< for `thread` jobs
  std::optional<CommandSpec> command;  ///< for `command` jobs
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
    static_assert(std::same_as<R, Result<void>>, "a job's function returns void or Result<void>");
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

}  // namespace detail

/// Which code runs the jobs of which class. A class is found by its exact name, never by anything that a job says.
///
///   registry.define("Resize", [](const std::string& path, int width) { … });
///   registry.define("Report", [](JobContext& job, std::int64_t account) { … }, {.queue = "slow", .timeout = 10min});
///   registry.define_command("Checksum", {.run = {"sha256sum", "--", "{0}"}});
///
/// Semantics: a function fails by throwing (anything) or by returning a failed Result<void>. Its parameters are the
///            job's arguments, of the types that `arguments.hpp` knows; a first parameter `JobContext&` is the run
///            itself.
/// Threads:   defined by one thread, then only read. Functions are called on several threads at once.
/// Errors:    a wrong definition is remembered; `check`, and whoever is given the registry, reports the first one.
class JobRegistry {
 public:
  template <class F>
  JobRegistry& define(std::string name, F function, JobOptions options = {}) {
    using Bind = typename detail::CallableTraits<std::decay_t<F>>::template Apply<detail::BindArguments>;
    return add(JobClass{std::move(name), std::move(options), Bind::bind(std::move(function)), std::nullopt});
  }

  JobRegistry& define_command(std::string name, CommandSpec command, JobOptions options = {}) {
    return add(JobClass{std::move(name), std::move(options), nullptr, std::move(command)});
  }

  /// Errors: `configuration`, about the first wrong definition: a name that is no class name or was used before, a
  ///         queue that is none, a retry policy or a command template out of range.
  [[nodiscard]] Result<void> check() const;

  /// Null when no class has exactly this name. Lifetime: until the registry changes.
  [[nodiscard]] const JobClass* find(std::string_view name) const noexcept;
  /// In order of their names.
  [[nodiscard]] std::vector<const JobClass*> classes() const;
  [[nodiscard]] bool has_commands() const noexcept;

 private:
  JobRegistry& add(JobClass job_class);

  std::map<std::string, JobClass, std::less<>> classes_;
  std::optional<Error> mistake_;
};

}  // namespace dagverk::jobs
