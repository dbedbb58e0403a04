#include "dagverk/jobs/job_codec.hpp"

#include "fuzz_targets.hpp"
#include "stores/redis/element.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/jobs/arguments.hpp"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace dagverk::fuzz {

namespace {

using jobs::Job;
using jobs::JobEdit;
using jobs::OwnedMember;

std::string one_jid() { return "0123456789abcdef01234567"; }

/// What every change of a job must leave as it was.
void expect_same_job(const Job& before, const Result<std::string>& payload) {
  DAGVERK_ASSERT(payload.has_value());
  const Result<Job> after = jobs::decode_job(*payload, before.queue());
  DAGVERK_ASSERT(after.has_value());
  DAGVERK_ASSERT(after->jid() == before.jid());
  DAGVERK_ASSERT(after->job_class() == before.job_class());
  DAGVERK_ASSERT(after->args_json() == before.args_json());
  DAGVERK_ASSERT(after->tags_json() == before.tags_json());
  DAGVERK_ASSERT(after->error_backtrace() == before.error_backtrace());
}

/// The bytes that are not ours: what is left without the members that we write.
std::string others_bytes(std::string_view payload) {
  JobEdit edit;
  for (int member = 0; member <= static_cast<int>(OwnedMember::error_backtrace); ++member) {
    edit.remove(static_cast<OwnedMember>(member));
  }
  const Result<std::string> rest = jobs::edit_job(payload, edit);
  DAGVERK_ASSERT(rest.has_value());
  return *rest;
}

void live(const Job& job) {
  const jobs::JobFailure failure{.error_class = "E", .message = std::string(job.payload()), .failed_at = WallTime{}};
  const Result<std::string> failed = jobs::failed_payload(job, failure);
  expect_same_job(job, failed);
  DAGVERK_ASSERT(others_bytes(*failed) == others_bytes(job.payload()));
  const Job waiting = jobs::decode_job(*failed, job.queue()).value();
  constexpr std::int32_t most_failures = std::numeric_limits<std::int32_t>::max() - 1;  // where the count stays
  DAGVERK_ASSERT(waiting.failure_count() == job.failure_count() + 1 || waiting.retry_count() == most_failures);
  const Result<std::string> promoted = jobs::enqueued_payload(waiting, WallTime{});
  expect_same_job(job, promoted);
  DAGVERK_ASSERT(others_bytes(*promoted) == others_bytes(job.payload()));
  expect_same_job(job, jobs::retried_by_hand_payload(waiting, WallTime{}));
  const auto arguments = jobs::JobArguments::parse(job.args_json(), job.job_class());
  DAGVERK_ASSERT(arguments.has_value());
  for (std::size_t index = 0; index < arguments->size(); ++index) {
    static_cast<void>(arguments->get<std::int64_t>(index).has_value());
    static_cast<void>(arguments->get<std::string>(index).has_value());
    static_cast<void>(arguments->get<std::map<std::string, jobs::RawJson>>(index).has_value());
  }
}

void in_redis(std::string_view bytes) {
  const jobs::CodecOptions codec;
  const stores::redis::Element read = stores::redis::read_element(bytes, {}, {}, codec);
  DAGVERK_ASSERT(!read.jid.empty());
  const stores::redis::Label label{read.jid, read.queue, read.class_name, read.journaled,
                                   read.enqueued_at.value_or(WallTime{})};
  const std::string made = stores::redis::make_element(read.payload, label, codec);
  const stores::redis::Element again = stores::redis::read_element(made, {}, {}, codec);
  DAGVERK_ASSERT(again.payload == read.payload);
  DAGVERK_ASSERT(again.jid == read.jid);
  DAGVERK_ASSERT(again.queue == read.queue);
  DAGVERK_ASSERT(again.class_name == read.class_name);
  DAGVERK_ASSERT(again.journaled == read.journaled);
  const stores::redis::Element apart = stores::redis::read_element(bytes, "low", {}, codec);
  const Result<Job> expected = jobs::decode_job(apart.payload, "low", codec);
  std::optional<Job> job;
  const stores::redis::Element taken = stores::redis::decode_element(std::string(bytes), "low", codec, job);
  DAGVERK_ASSERT(job.has_value() == expected.has_value());
  DAGVERK_ASSERT((job ? job->payload() : taken.payload) == apart.payload);
  DAGVERK_ASSERT(taken.jid == apart.jid && taken.queue == apart.queue && taken.class_name == apart.class_name);
  DAGVERK_ASSERT(taken.enqueued_at == apart.enqueued_at && taken.limit_key == apart.limit_key);
  DAGVERK_ASSERT(taken.journaled == apart.journaled && taken.bare == apart.bare);
  static_cast<void>(stores::redis::read_running(bytes).has_value());
  static_cast<void>(stores::redis::score_time(bytes));
}

}  // namespace

void job_codec(std::string_view bytes) {
  if (const Result<Job> job = jobs::decode_job(bytes)) {
    DAGVERK_ASSERT(job->payload() == bytes);
    live(*job);
  }
  const Result<jobs::PreparedJob> prepared = jobs::prepare_job(bytes, WallTime{}, "default", one_jid);
  if (prepared) {
    DAGVERK_ASSERT(jobs::decode_job(prepared->job.payload()).has_value());
    DAGVERK_ASSERT(!prepared->job.at());
  }
  const Result<Job> made =
      jobs::encode_new_job({.job_class = "Any", .args_json = std::string(bytes)}, WallTime{}, one_jid);
  if (made)
    DAGVERK_ASSERT(made->jid() == one_jid() && made->job_class() == "Any" && made->retry_count() == std::nullopt);
  in_redis(bytes);
}

}  // namespace dagverk::fuzz
