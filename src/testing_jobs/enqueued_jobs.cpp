#include "dagverk/testing_jobs/enqueued_jobs.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_codec.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>

namespace dagverk::testing_jobs {

namespace {

constexpr std::size_t shown_count_limit = 20;

EnqueuedJob enqueued_job(jobs::StoredJob stored) {
  EnqueuedJob job;
  if (const Result<jobs::Job> decoded = jobs::decode_job(stored.payload, stored.queue)) {
    job.args_json = decoded->args_json();
  }
  job.jid = std::move(stored.jid);
  job.job_class = std::move(stored.class_name);
  job.queue = std::move(stored.queue);
  job.due = stored.due;
  return job;
}

std::optional<boost::json::value> parse(std::string_view json) {
  boost::system::error_code error;
  boost::json::value value = boost::json::parse(json, error);
  if (error) return std::nullopt;
  return value;
}

std::string text_of(const SoughtJob& sought) {
  if (!sought.arguments) return concat(sought.job_class, " with any arguments");
  std::string text = concat(sought.job_class, " [");
  for (const ArgumentMatch& match : *sought.arguments) {
    if (!text.ends_with('[')) text += ',';
    text += match.text;
  }
  return text + ']';
}

}  // namespace

Result<std::vector<EnqueuedJob>> enqueued_jobs(RuntimeBase& runtime, jobs::JobStore& store,
                                               const EnqueuedFilter& filter) {
  std::vector<EnqueuedJob> enqueued;
  for (const jobs::JobState state : {jobs::JobState::ready, jobs::JobState::scheduled}) {
    jobs::ListQuery query;
    query.state = state;
    query.queue = filter.queue;
    query.class_name = filter.job_class;
    do {
      Result<jobs::JobPage> page = runtime.run(store.list(query));
      if (!page) return page.error();
      for (jobs::StoredJob& job : page->jobs) enqueued.push_back(enqueued_job(std::move(job)));
      query.cursor = std::move(page->next);
    } while (!query.cursor.empty());
  }
  return enqueued;
}

ArgumentMatch match_json(const std::string& json) {
  const std::optional<boost::json::value> wanted = parse(json);
  return {json, [json, wanted](std::string_view argument) {
            // What the parser does not take, such as a number that is too large for it, must be spelled alike.
            const std::optional<boost::json::value> value = parse(argument);
            return wanted && value ? *wanted == *value : json == argument;
          }};
}

bool fits(const EnqueuedJob& job, const SoughtJob& sought) {
  if (job.job_class != sought.job_class) return false;
  if (!sought.arguments) return true;
  // Argument by argument as spelled, so that numbers keep their digits.
  const Result<jobs::JobArguments> arguments = jobs::JobArguments::parse(job.args_json, job.job_class);
  if (!arguments || arguments->size() != sought.arguments->size()) return false;
  for (std::size_t index = 0; index < arguments->size(); ++index) {
    const ArgumentMatch& match = (*sought.arguments)[index];
    if (match.fits && !match.fits(arguments->raw(index))) return false;
  }
  return true;
}

SearchReport search_enqueued(RuntimeBase& runtime, jobs::JobStore& store, const SoughtJob& sought) {
  SearchReport report;
  const Result<std::vector<EnqueuedJob>> enqueued = enqueued_jobs(runtime, store);
  if (!enqueued) {
    report.text = concat("the store failed: ", enqueued.error().message());
    return report;
  }
  report.text = concat("sought: ", text_of(sought), "; ", enqueued->empty() ? "no job is enqueued" : "enqueued:");
  std::size_t shown = 0;
  for (const EnqueuedJob& job : *enqueued) {
    if (fits(job, sought)) report.found.push_back(job);
    if (++shown > shown_count_limit) continue;
    report.text += concat("\n  ", job.job_class, ' ', job.args_json, " in ", job.queue);
    if (job.due) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(*job.due - runtime.clock().wall_now());
      report.text += concat(", due in ", left.count(), " ms");
    }
  }
  if (shown > shown_count_limit) report.text += concat("\n  and ", shown - shown_count_limit, " more");
  return report;
}

}  // namespace dagverk::testing_jobs
