#include "worker/look.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/worker/command_line.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <string_view>

namespace dagverk::worker {
namespace {

constexpr std::size_t page_limit = 500;
constexpr std::size_t pages_max = 1000;  // in the sets, a page may be of other queues altogether
constexpr std::size_t names_shown_max = 60;

void count(const jobs::StoredJob& stored, const jobs::JobRegistry& registry, QueueOutlook& into) {
  ++into.looked_at;
  const Result<jobs::Job> job = jobs::decode_job(stored.payload, stored.queue);
  if (!job) {
    ++into.classes[{std::string(), Prospect::malformed}];
    return;
  }
  const Prospect prospect = registry.find(job->job_class()) != nullptr ? Prospect::run : Prospect::unknown;
  ++into.classes[{std::string(job->job_class()), prospect}];
}

Result<void> look_at(RuntimeBase& runtime, jobs::JobStore& store, jobs::JobState state,
                     const jobs::JobRegistry& registry, QueueOutlook& into) {
  std::size_t seen = 0;
  std::size_t pages = 0;
  std::string cursor;
  do {
    jobs::ListQuery query{.state = state, .queue = into.queue, .cursor = std::move(cursor), .limit = page_limit};
    Result<jobs::JobPage> page = runtime.run(store.list(std::move(query)));
    if (!page) return page.error();
    for (const jobs::StoredJob& job : page->jobs) count(job, registry, into);
    seen += page->jobs.size();
    if (state != jobs::JobState::ready) into.later += page->jobs.size();
    cursor = std::move(page->next);
    if (!cursor.empty() && (seen >= look_jobs_max || ++pages == pages_max)) {
      into.whole = false;
      return {};
    }
  } while (!cursor.empty());
  return {};
}

std::string plural(std::uint64_t number, std::string_view noun) {
  return concat(number, ' ', noun, number == 1 ? "" : "s");
}

std::string_view meaning(Prospect prospect) {
  switch (prospect) {
    case Prospect::run: return "would run";
    case Prospect::unknown: return "not defined here: would fail, and be retried";
    case Prospect::malformed: return "no jobs: would go to the dead set as they are";
  }
  return {};
}

}  // namespace

std::string_view to_string(Prospect prospect) noexcept {
  switch (prospect) {
    case Prospect::run: return "run";
    case Prospect::unknown: return "fail_unknown_class";
    case Prospect::malformed: return "bury_malformed";
  }
  return {};
}

Result<Outlook> look(RuntimeBase& runtime, jobs::JobStore& store, const Configuration& configuration,
                     const jobs::JobRegistry& registry) {
  Outlook outlook;
  for (const jobs::PoolOptions& pool : pools_of(configuration)) {
    for (const jobs::PoolQueue& queue : pool.queues) {
      if (std::ranges::find(outlook.queues, queue.name, &QueueOutlook::queue) == outlook.queues.end()) {
        outlook.queues.push_back({.queue = queue.name});
      }
    }
  }
  std::string after;
  for (;;) {
    const auto page = runtime.run(store.queues(after, jobs::batch_count_limit));
    if (!page) return page.error();
    for (const jobs::QueueInfo& info : *page) {
      const auto served = std::ranges::find(outlook.queues, info.name, &QueueOutlook::queue);
      if (served != outlook.queues.end()) {
        served->ready = info.counts.ready;
      } else {
        outlook.left_to_others.emplace_back(info.name, info.counts.ready);
      }
    }
    if (page->size() < jobs::batch_count_limit) break;
    after = page->back().name;
  }
  for (QueueOutlook& queue : outlook.queues) {
    for (const jobs::JobState state : {jobs::JobState::ready, jobs::JobState::scheduled, jobs::JobState::retrying}) {
      if (const auto looked = look_at(runtime, store, state, registry, queue); !looked) return looked.error();
    }
  }
  return outlook;
}

std::string outlook_text(const Outlook& outlook) {
  std::string text;
  for (const QueueOutlook& queue : outlook.queues) {
    text += concat("queue ", printable(queue.queue), ": ", plural(queue.ready, "job"), " ready, ", queue.later,
                   queue.whole ? "" : " or more", " scheduled or retrying",
                   queue.whole ? "" : concat("; the first ", queue.looked_at, " are"), "\n");
    for (const auto& [key, number] : queue.classes) {
      const auto& [name, prospect] = key;
      text += concat("  ", name.empty() ? "(malformed)" : printable(name, names_shown_max), "  ", number, "  ",
                     meaning(prospect), "\n");
    }
  }
  for (const auto& [name, ready] : outlook.left_to_others) {
    text += concat("queue ", printable(name, names_shown_max), ": ", plural(ready, "job"), " ready; not served here\n");
  }
  return text + "nothing was taken or changed\n";
}

std::string outlook_json(const Outlook& outlook) {
  std::string text;
  const auto line = [&](const boost::json::object& object) { text += boost::json::serialize(object) + "\n"; };
  for (const QueueOutlook& queue : outlook.queues) {
    line({{"queue", queue.queue},
          {"served", true},
          {"ready", queue.ready},
          {"later", queue.later},
          {"looked_at", queue.looked_at},
          {"whole", queue.whole}});
    for (const auto& [key, number] : queue.classes) {
      line({{"queue", queue.queue}, {"class", key.first}, {"jobs", number}, {"would", to_string(key.second)}});
    }
  }
  for (const auto& [name, ready] : outlook.left_to_others) {
    line({{"queue", name}, {"served", false}, {"ready", ready}});
  }
  return text;
}

}  // namespace dagverk::worker
