#include "dagverk/worker/event_filter.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/command_line.hpp"

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <variant>

namespace dagverk::worker {
namespace {

/// The queue that the event is about; empty for nodes.
std::string_view queue_of(const jobs::Event& event) noexcept {
  return std::visit(
      [](const auto& kind) -> std::string_view {
        if constexpr (requires { kind.job.queue; }) {
          return kind.job.queue;
        } else if constexpr (requires { kind.queue; }) {
          return kind.queue;
        } else {
          return {};
        }
      },
      event);
}

}  // namespace

bool EventFilter::fits(const jobs::Event& event) const noexcept {
  if (!queue.empty() && queue_of(event) != queue) return false;
  if (job_class.empty() && jid.empty()) return true;
  const jobs::JobIdentity* const job = jobs::job_of(event);
  return job != nullptr && (job_class.empty() || job->job_class == job_class) && (jid.empty() || job->jid == jid);
}

Result<EventKinds> event_kinds(const EventFilter& filter) {
  if (filter.kinds.empty()) return EventKinds::all();
  std::uint64_t word = 0;
  const std::span<const std::string_view> names = jobs::kind_names();
  for (const std::string& kind : filter.kinds) {
    const auto found = std::ranges::find(names, kind);
    if (found == names.end()) {
      const auto near = nearest_word(kind, names);
      return Error(ErrorCode::invalid_argument, concat("no event is called \"", printable(kind, 60), "\"",
                                                       near ? concat("; did you mean ", *near, "?")
                                                            : std::string("; one is JobFailed, for example")));
    }
    word |= std::uint64_t{1} << static_cast<unsigned>(found - names.begin());
  }
  return EventKinds::from_word(word);
}

}  // namespace dagverk::worker
