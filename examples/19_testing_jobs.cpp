// How a program's own tests deal with its jobs: look at what was enqueued, run it, move the clock, or run it at once.

#include "dagverk/testing_jobs/test_jobs.hpp"

#include <cstdio>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;
using dagverk::testing_jobs::TestJobs;
using dagverk::testing_jobs::TestMode;
namespace jobs = dagverk::jobs;

// --- the program -----------------------------------------------------------------------------------------------------

bool sign_up(jobs::JobClient& client, const std::string& address) {
  return client.enqueue_class("Welcome", address).has_value();
}

jobs::JobRegistry define_jobs() {
  jobs::JobRegistry registry;
  registry.define("Welcome",
                  [](jobs::JobContext& job, const std::string& address) {
                    if (address.find('@') == std::string::npos) throw std::invalid_argument("no address");
                    if (job.attempt() == 1) throw std::runtime_error("the mail server is busy");
                    std::printf("mail to %s\n", address.c_str());
                  },
                  {.retry = {.max_retries = 3, .delays = {10min}}});
  return registry;
}

// --- its tests -------------------------------------------------------------------------------------------------------

bool a_sign_up_enqueues_a_welcome() {
  TestJobs jobs(define_jobs());
  if (!sign_up(jobs.client(), "ann@example.org")) return false;
  const auto enqueued = jobs.enqueued({.job_class = "Welcome"});
  return enqueued && enqueued->size() == 1 && enqueued->front().args_json == R"(["ann@example.org"])";
}

bool a_welcome_is_tried_again_when_the_server_is_busy() {
  TestJobs jobs(define_jobs());
  if (!sign_up(jobs.client(), "ann@example.org")) return false;
  const auto first = jobs.drain();                // what is due now
  const auto hour = jobs.drain({.through = 1h});  // and what comes due within an hour, which takes no time
  if (!first || !hour) return false;
  std::printf("first %s, then %s\n", first->runs.front().message.c_str(), hour->ok() ? "well" : hour->text().c_str());
  return hour->left == 0 && hour->died.empty();
}

bool an_address_is_checked() {
  TestJobs jobs(define_jobs(), TestMode::immediate);  // enqueueing runs the job, and tells its failure
  const auto enqueued = jobs.client().enqueue_class("Welcome", "nonsense");
  std::printf("%s\n", enqueued ? "accepted" : "refused");
  return !enqueued;
}

int main() {
  return a_sign_up_enqueues_a_welcome() && a_welcome_is_tried_again_when_the_server_is_busy() && an_address_is_checked()
             ? 0
             : 1;
}
