#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/jobs/arguments.hpp"
#include "dagverk/jobs/job_store.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace dagverk::testing_jobs {

/// A job that waits for its first run.
struct EnqueuedJob {
  std::string jid;
  std::string job_class;
  std::string queue;
  std::string args_json;                       ///< empty when the payload is no job
  std::optional<WallTime> due = std::nullopt;  ///< none: in its queue
};

struct EnqueuedFilter {
  std::string job_class = {};  ///< empty: all
  std::string queue = {};      ///< empty: all
};

/// The jobs that wait for their first run: those in queues, as they will be taken, then those in the schedule, by time.
///
/// Threads: blocks; not inside a process. Errors: the store's. Bounds: all of them at once; for tests.
[[nodiscard]] Result<std::vector<EnqueuedJob>> enqueued_jobs(RuntimeBase& runtime, jobs::JobStore& store,
                                                             const EnqueuedFilter& filter = {});

/// Matches whatever stands at its place.
struct AnyArgument {};
inline constexpr AnyArgument any_argument{};
/// Matches a job that has none; without it, and without others, the arguments do not matter.
struct NoArguments {};
inline constexpr NoArguments no_arguments{};

/// What one argument must be.
struct ArgumentMatch {
  std::string text;  ///< for people: the JSON, or what it stands for
  /// Called with the argument's JSON, as spelled; empty: any will do.
  std::function<bool(std::string_view json)> fits = {};
};

/// The argument that has this JSON, whatever its spelling.
[[nodiscard]] ArgumentMatch match_json(const std::string& json);

/// What a test looks for.
struct SoughtJob {
  std::string job_class;
  std::optional<std::vector<ArgumentMatch>> arguments = std::nullopt;  ///< none: any
};

struct SearchReport {
  std::vector<EnqueuedJob> found;
  std::string text;  ///< for people: what was looked for, and all that is enqueued, at most 20 jobs
};

[[nodiscard]] bool fits(const EnqueuedJob& job, const SoughtJob& sought);
/// As `enqueued_jobs`, but a store's error is a text and finds nothing.
[[nodiscard]] SearchReport search_enqueued(RuntimeBase& runtime, jobs::JobStore& store, const SoughtJob& sought);

namespace detail {

template <class T>
[[nodiscard]] ArgumentMatch match_of(const T& value) {
  if constexpr (std::is_same_v<T, AnyArgument>) {
    return {"any"};
  } else if constexpr (std::is_invocable_r_v<bool, const T&, std::string_view>) {
    return {"(a condition)", value};
  } else {
    const Result<std::string> array = jobs::encode_arguments(value);
    if (!array) return {std::string(array.error().message()), [](std::string_view) { return false; }};
    return match_json(array->substr(1, array->size() - 2));
  }
}

}  // namespace detail

/// `seek("Resize", "cat.jpg", any_argument)`: an argument is a value of the types of arguments.hpp, `any_argument`, or
/// a condition on its JSON, called with a std::string_view.
template <class... Arguments>
[[nodiscard]] SoughtJob seek(std::string job_class, const Arguments&... arguments) {
  SoughtJob sought{std::move(job_class)};
  if constexpr ((std::is_same_v<Arguments, NoArguments> || ...)) {
    static_assert(sizeof...(Arguments) == 1, "no_arguments stands alone");
    sought.arguments.emplace();
  } else if constexpr (sizeof...(Arguments) > 0) {
    sought.arguments = std::vector<ArgumentMatch>{detail::match_of(arguments)...};
  }
  return sought;
}

}  // namespace dagverk::testing_jobs
