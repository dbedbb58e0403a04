#include "command.hpp"
#include "limit_text.hpp"
#include "session.hpp"

#include "dagverk/jobs/job_names.hpp"

namespace dagverk::app {
namespace {

ExitCode run_limit_set(const ParsedLine& line, Output& out) {
  const auto limit = limit_of(line, limit_name(line.arguments()[0]));
  if (!limit) return out.fail(limit.error());
  const auto session = Session::open(line, worker::MissingStore::create);
  if (!session) return out.fail(session.error());
  return put_limit(**session, out, *limit);
}

ExitCode run_queue_limit(const ParsedLine& line, Output& out) {
  const std::string& queue = line.arguments()[0];
  if (const auto ok = jobs::check_queue_name(queue); !ok) return out.fail(ok.error());
  const auto limit = limit_of(line, {jobs::LimitScope::queue, queue});
  if (!limit) return out.fail(limit.error());
  const auto session = Session::open(line, worker::MissingStore::create);
  if (!session) return out.fail(session.error());
  return put_limit(**session, out, *limit);
}

}  // namespace

const Command limit_set_command{
    {.name = "limit set",
     .arguments = "NAME",
     .summary = "Limits how many jobs of a key run at once, or begin in a time.",
     .arguments_min = 1,
     .arguments_max = 1,
     .options = limit_options,
     .notes = "Jobs name it by their limit key, NAME or NAME:KEY; each KEY has slots and tokens of\n"
              "its own. queue:NAME limits a queue. What is not named is not limited any more.",
     .examples = "  dagverk limit set api --concurrency 5 --rate 100/1m\n"
                 "  dagverk limit set queue:mail --rate 1000/1h --kind window"},
    run_limit_set,
    "2 a part is out of its range; 4 there are 1000 limits already",
    "`limit`, `outcome`: `set`, `unchanged`",
};

const Command queue_limit_command{
    {.name = "queue limit",
     .arguments = "NAME",
     .summary = "Limits how many jobs of a queue run at once, begin in a time, or wait.",
     .arguments_min = 1,
     .arguments_max = 1,
     .options = limit_options,
     .notes = "The same as limit set queue:NAME; limit remove queue:NAME ends it. It binds all\n"
              "workers of the store together. What is not named is not limited any more.",
     .examples = "  dagverk queue limit mail --concurrency 5 --rate 100/1m\n"
                 "  dagverk queue limit mail --max-waiting 10000 --when-full drop-oldest"},
    run_queue_limit,
    "2 a part is out of its range; 4 there are 1000 limits already, or two queues would divert in a chain",
    "`limit`, `outcome`: `set`, `unchanged`",
};

}  // namespace dagverk::app
