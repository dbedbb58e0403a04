#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/job_registry.hpp"
#include "dagverk/jobs/job_store.hpp"
#include "dagverk/runtime/runtime_base.hpp"
#include "dagverk/worker/configuration.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

/// `work --look-only`: what a worker would do with the jobs that are there.
namespace dagverk::worker {

/// What would become of a job.
enum class Prospect : std::uint8_t {
  run,        ///< its class is defined here
  unknown,    ///< its class is not: the run would fail, and be retried as the job says
  malformed,  ///< it is no job: to the dead set, byte for byte
};

[[nodiscard]] std::string_view to_string(Prospect prospect) noexcept;

/// One queue that the worker would serve.
struct QueueOutlook {
  std::string queue;
  std::uint64_t ready = 0;    ///< all that wait in it
  std::size_t later = 0;      ///< scheduled and retrying ones that were looked at
  std::size_t looked_at = 0;  ///< these, and ready ones
  bool whole = true;          ///< false: there are more, in some state, than were looked at
  /// How many jobs there are of a class that would fare so. Of malformed ones the class is empty.
  std::map<std::pair<std::string, Prospect>, std::size_t> classes = {};
};

/// At most so many jobs of a queue are looked at, per state.
inline constexpr std::size_t look_jobs_max = 10'000;

struct Outlook {
  std::vector<QueueOutlook> queues;                                   ///< in the configuration's order
  std::vector<std::pair<std::string, std::uint64_t>> left_to_others;  ///< other queues, with the jobs that wait in them
};

/// Looks at the ready, scheduled and retrying jobs of the queues of `configuration`. Changes nothing in the store.
/// Threads: blocks. Errors: the store's.
[[nodiscard]] Result<Outlook> look(RuntimeBase& runtime, jobs::JobStore& store, const Configuration& configuration,
                                   const jobs::JobRegistry& registry);

/// For people: a line per queue, and one per class below it.
[[nodiscard]] std::string outlook_text(const Outlook& outlook);

/// A line of JSON per queue and class.
[[nodiscard]] std::string outlook_json(const Outlook& outlook);

}  // namespace dagverk::worker
