#include "command.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/common_options.hpp"
#include "dagverk/worker/duration_text.hpp"
#include "dagverk/worker/limit_words.hpp"

#include <cstdlib>
#include <string>
#include <unistd.h>
#include <vector>

namespace dagverk::app {
namespace {

/// Whether a worker with our PATH would find it.
bool executable(const std::string& name) {
  if (name.find('/') != std::string::npos) return ::access(name.c_str(), X_OK) == 0;
  const char* path = std::getenv("PATH");
  std::string_view left = path == nullptr ? "" : path;
  while (!left.empty()) {
    const std::string_view folder = left.substr(0, left.find(':'));
    if (folder.starts_with('/') && ::access(concat(folder, "/", name).c_str(), X_OK) == 0) return true;
    left.remove_prefix(std::min(left.size(), folder.size() + 1));
  }
  return false;
}

std::string list_json(const std::vector<std::string>& texts) {
  std::vector<std::string> values;
  values.reserve(texts.size());
  for (const std::string& text : texts) values.push_back(json_text(text));
  return json_list(values);
}

std::string queues_json(const worker::Configuration& configuration) {
  std::vector<std::string> queues;
  queues.reserve(configuration.queues.size());
  for (const worker::QueueSettings& queue : configuration.queues) {
    queues.push_back(JsonObject().text("name", queue.name).number("concurrency", queue.concurrency).str());
  }
  return json_list(queues);
}

std::string pools_json(const worker::Configuration& configuration) {
  std::vector<std::string> pools;
  pools.reserve(configuration.pools.size());
  for (const worker::PoolSettings& pool : configuration.pools) {
    std::vector<std::string> queues;
    queues.reserve(pool.queues.size());
    for (const jobs::PoolQueue& queue : pool.queues) {
      queues.push_back(JsonObject().text("name", queue.name).number("weight", queue.weight).str());
    }
    pools.push_back(JsonObject()
                        .text("name", pool.name)
                        .raw("queues", json_list(queues))
                        .number("concurrency", pool.concurrency)
                        .number("threads", pool.threads)
                        .str());
  }
  return json_list(pools);
}

/// `high*3 low*1 25`.
std::string pool_text(const worker::PoolSettings& pool) {
  std::string text = concat(pool.name, ":");
  for (const jobs::PoolQueue& queue : pool.queues) {
    text += concat(" ", queue.name);
    if (queue.weight > 0) text += concat("*", queue.weight);
  }
  return text + concat(" ", pool.concurrency);
}

std::string jobs_json(const worker::Configuration& configuration) {
  std::vector<std::string> all;
  all.reserve(configuration.jobs.size());
  for (const worker::JobSettings& job : configuration.jobs) {
    all.push_back(JsonObject()
                      .text("class", job.name)
                      .text("queue", job.options.queue)
                      .raw("run", list_json(job.command.run))
                      .text("timeout", worker::duration_text(job.options.timeout))
                      .number("retries", job.options.retry.max_retries)
                      .text("place", job.place)
                      .str());
  }
  return json_list(all);
}

std::string crons_json(const worker::Configuration& configuration) {
  std::vector<std::string> all;
  all.reserve(configuration.cron.size());
  for (const worker::CronSettings& cron : configuration.cron) {
    all.push_back(JsonObject()
                      .text("name", cron.spec.name)
                      .text("schedule", cron.spec.schedule)
                      .text("zone", cron.spec.zone)
                      .text("class", cron.class_name)
                      .raw("args", cron.args_json)
                      .text("missed", to_string(cron.spec.missed))
                      .text("place", cron.place)
                      .str());
  }
  return json_list(all);
}

std::string limits_json(const worker::Configuration& configuration) {
  std::vector<std::string> all;
  all.reserve(configuration.limits.size());
  for (const worker::LimitSettings& limit : configuration.limits) {
    JsonObject object;
    object.text("limit", worker::limit_word(limit.limit));
    if (limit.limit.concurrency) object.number("concurrency", static_cast<std::uint64_t>(*limit.limit.concurrency));
    if (limit.limit.rate) object.text("rate", worker::rate_text(*limit.limit.rate));
    if (limit.limit.bound) object.text("bound", worker::bound_text(*limit.limit.bound));
    all.push_back(object.text("place", limit.place).str());
  }
  return json_list(all);
}

/// `queue:mail: 5 at once, 100/1m bucket, waiting 1000 refuse`.
std::string limit_line(const jobs::Limit& limit) {
  std::vector<std::string> parts;
  if (limit.concurrency) parts.push_back(concat(*limit.concurrency, " at once"));
  if (limit.rate) parts.push_back(worker::rate_text(*limit.rate));
  if (limit.bound) parts.push_back(concat("waiting ", worker::bound_text(*limit.bound)));
  std::string text = concat(worker::limit_word(limit), ":");
  for (std::size_t index = 0; index < parts.size(); ++index) text += concat(index == 0 ? " " : ", ", parts[index]);
  return text;
}

std::string origins_json(const worker::Configuration& configuration) {
  JsonObject origins;
  for (const auto& [key, origin] : configuration.origins) {
    origins.raw(key, JsonObject().text("origin", to_string(origin.kind)).text("place", origin.place).str());
  }
  return origins.str();
}

ExitCode refuse(const Error& error, Output& out) {
  if (out.json()) {
    std::vector<std::string> mistakes;
    std::string_view left = error.message();
    while (true) {
      mistakes.emplace_back(left.substr(0, left.find('\n')));
      if (mistakes.back().size() == left.size()) break;
      left.remove_prefix(mistakes.back().size() + 1);
    }
    out.print(JsonObject().boolean("valid", false).raw("mistakes", list_json(mistakes)).str() + "\n");
  }
  return out.fail(error);
}

ExitCode run_config_check(const ParsedLine& line, Output& out) {
  auto configuration = worker::configuration_of(line);
  if (!configuration) return refuse(configuration.error(), out);
  for (const worker::JobSettings& job : configuration->jobs) {
    if (!executable(job.command.run.front())) {
      configuration->warnings.push_back(concat(job.place, ": jobs.", job.name, ".run: \"",
                                               worker::printable(job.command.run.front(), 200),
                                               "\" is not an executable here"));
    }
  }
  if (out.json()) {
    JsonObject object;
    object.boolean("valid", true).text("file", configuration->file).text("store", worker::shown_store(*configuration));
    object.raw("queues", queues_json(*configuration)).raw("jobs", jobs_json(*configuration));
    object.raw("pools", pools_json(*configuration)).raw("cron", crons_json(*configuration));
    object.raw("limits", limits_json(*configuration));
    object.raw("settings", origins_json(*configuration)).raw("warnings", list_json(configuration->warnings));
    out.print(object.str() + "\n");
    return ExitCode::done;
  }
  for (const std::string& warning : configuration->warnings) out.complain(concat("warning: ", warning));
  out.row({"file", configuration->file.empty() ? "none" : configuration->file});
  out.row({"store", worker::shown_store(*configuration)});
  for (const worker::QueueSettings& queue : configuration->queues) {
    out.row({"queue", concat(queue.name, " ", queue.concurrency)});
  }
  for (const worker::PoolSettings& pool : configuration->pools) out.row({"pool", pool_text(pool)});
  for (const worker::JobSettings& job : configuration->jobs) {
    out.row({"job", concat(job.name, " → ", job.command.run.front())});
  }
  for (const worker::CronSettings& cron : configuration->cron) {
    out.row({"cron", concat(cron.spec.name, ": ", cron.spec.schedule, " ", cron.spec.zone, " → ", cron.class_name)});
  }
  for (const worker::LimitSettings& limit : configuration->limits) out.row({"limit", limit_line(limit.limit)});
  out.end_table();
  out.say("the configuration is good");
  return ExitCode::done;
}

}  // namespace

const Command config_check_command{
    {.name = "config check",
     .summary = "Checks the configuration; exit 78 and every mistake when it is wrong.",
     .notes = "Also warns about executables that are not there.",
     .examples = "  dagverk config check\n  dagverk config check --config jobs.toml --json"},
    run_config_check,
    "78 something is wrong",
    "`valid`; then `file`, `store`, `queues`, `jobs`, `pools`, `cron`, `limits`, `settings` (where each came from), "
    "`warnings`, or "
    "`mistakes`",
};

}  // namespace dagverk::app
