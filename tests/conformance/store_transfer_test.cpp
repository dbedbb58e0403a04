// Whole stores: what another store had is where it was, from every store to every other and back.

#include "conformance/job_store_fixture.hpp"
#include "conformance/stores.hpp"

#include "dagverk/jobs/job_export.hpp"

#include <tuple>

namespace dagverk::conformance {
namespace {

jobs::StoredJob stored(std::string jid, JobState state, WallTime at, std::string queue = "default") {
  jobs::StoredJob job;
  job.state = state;
  job.queue = std::move(queue);
  job.class_name = "Resize";
  job.payload =
      concat(R"({"retry":true,"queue":")", job.queue, R"(","class":"Resize","args":[1.50,9007199254740993],"jid":")",
             jid, R"(","created_at":1795219126.25,"enqueued_at":1795219126.5,"x" : {"y":1e400}})");
  job.jid = std::move(jid);
  job.enqueued_at = WallTime(1'795'219'126'500ms);
  if (state != JobState::ready) job.due = at + 90s;
  if (state == JobState::dead) job.reason = "out of attempts\nat last";
  return job;
}

/// Jobs of every state and of the odd kinds.
std::vector<jobs::StoredJob> odd_jobs(WallTime at) {
  std::vector<jobs::StoredJob> jobs;
  for (const JobState state : {JobState::ready, JobState::scheduled, JobState::retrying, JobState::dead}) {
    for (int number = 0; number < 3; ++number) {
      jobs.push_back(stored(concat(to_string(state), number), state, at, number == 2 ? "mail" : "default"));
      jobs.back().journaled = number != 1;
      if (jobs.back().due) *jobs.back().due += number * 1us;
    }
    jobs.push_back(stored(concat("opaque-", to_string(state)), state, at));
    if (jobs.back().due) *jobs.back().due += 9us;  // stores order equal times each in its own way
    jobs.back().payload = std::string("not json {\0\xff\xc3(\t \t", 17);
    jobs.back().rescues = 2;
  }
  return jobs;
}

std::vector<jobs::StoredJob> everything(StoreSession& store) {
  std::vector<jobs::StoredJob> jobs;
  for (const JobState state :
       {JobState::running, JobState::ready, JobState::scheduled, JobState::retrying, JobState::dead}) {
    jobs::ListQuery query;
    query.state = state;
    query.limit = 5;
    do {
      auto page = store.list(query);
      EXPECT_TRUE(page) << page.error().message();
      if (!page) return jobs;
      jobs.insert(jobs.end(), page->jobs.begin(), page->jobs.end());
      query.cursor = page->next;
    } while (!query.cursor.empty());
  }
  return jobs;
}

/// The jobs' lines, and the jobs that those lines stand for.
std::pair<std::vector<std::string>, std::vector<jobs::StoredJob>> exported(StoreSession& store) {
  std::vector<std::string> lines;
  std::vector<jobs::StoredJob> jobs;
  for (const jobs::StoredJob& job : everything(store)) {
    lines.push_back(jobs::export_line(job));
    auto read = jobs::read_export_line(lines.back());
    EXPECT_TRUE(read) << read.error().message();
    if (read) jobs.push_back(std::move(read->job));
  }
  return {lines, jobs};
}

TEST_P(JobStoreConformance, jobs_of_another_store_are_where_they_were) {
  const std::vector<jobs::StoredJob> jobs = odd_jobs(world_->now());
  const auto outcomes = store_->restore(jobs, R"({"from":"there"})");
  ASSERT_TRUE(outcomes) << outcomes.error().message();
  EXPECT_EQ(*outcomes, Outcomes(jobs.size(), ItemOutcome::done));

  for (const jobs::StoredJob& job : jobs) {
    const auto found = store_->find(job.jid);
    ASSERT_TRUE(found && *found) << job.jid;
    EXPECT_EQ((*found)->state, job.state) << job.jid;
    EXPECT_EQ((*found)->payload, job.payload) << job.jid;
    EXPECT_EQ((*found)->queue, job.queue) << job.jid;
    EXPECT_EQ((*found)->class_name, job.class_name) << job.jid;
    EXPECT_EQ((*found)->due, job.due) << job.jid;
    EXPECT_EQ((*found)->enqueued_at, job.enqueued_at) << job.jid;
    EXPECT_EQ((*found)->reason, job.reason) << job.jid;
    EXPECT_EQ((*found)->rescues, job.rescues) << job.jid;
    EXPECT_EQ((*found)->journaled, job.journaled) << job.jid;
    const auto rows = whole_journal(*store_, job.jid);
    ASSERT_EQ(rows.size(), job.journaled ? 1U : 0U) << job.jid;
    if (job.journaled) {
      EXPECT_EQ(state_after(rows[0].kind), job.state) << job.jid;
      EXPECT_EQ(rows[0].detail, R"({"from":"there"})");
    }
  }
  const jobs::QueueCounts counted = counts(*store_);
  EXPECT_TRUE(counted.balanced());
  EXPECT_EQ(counted.enqueued, jobs.size());
  EXPECT_EQ(counted.dead, 4U);

  // A second time nothing happens, and what was restored can be worked on.
  EXPECT_EQ(store_->restore(jobs).value(), Outcomes(jobs.size(), ItemOutcome::duplicate));
  EXPECT_EQ(jids(take(*store_, node(*store_), 10, {"default", "mail"})),
            (std::vector<std::string>{"ready0", "ready1", "opaque-ready", "ready2"}));
  EXPECT_EQ(counts(*store_).running, 4U);
}

TEST_P(JobStoreConformance, a_store_says_whether_it_can_be_backed_up) {
  const auto copied = store_->backup({});  // asked of a store of files, it wants to know which
  EXPECT_EQ(!copied && copied.error().code() == ErrorCode::unsupported, !GetParam().makes_backups);
}

TEST_P(JobStoreConformance, a_running_job_of_another_store_is_ready) {
  ASSERT_TRUE(store_->restore({stored("a", JobState::running, world_->now())}));
  EXPECT_EQ(state_of(*store_, "a"), JobState::ready);
  EXPECT_EQ(counts(*store_).ready, 1U);
}

TEST_P(JobStoreConformance, what_no_store_takes_is_refused_as_a_whole) {
  std::vector<jobs::StoredJob> jobs = odd_jobs(world_->now());
  jobs.back().queue.assign(256, 'q');
  const auto refused = store_->restore(jobs);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(counts(*store_).enqueued, 0U);
  EXPECT_FALSE(store_->restore({}));
}

class StoreTransfer : public testing::TestWithParam<std::tuple<StoreFactory, StoreFactory>> {};

TEST_P(StoreTransfer, from_one_to_the_other_and_back_not_a_byte_changes) {
  // Worlds on the same server begin by emptying it, so that each is done with before the next is made.
  using Content = std::pair<std::vector<std::string>, std::vector<jobs::StoredJob>>;
  const auto content_in = [](const StoreFactory& factory, const std::vector<jobs::StoredJob>& jobs) -> Content {
    const auto world = factory.make();
    const auto store = world->open();
    const auto restored = store->restore(jobs);
    EXPECT_TRUE(restored) << restored.error().message();
    return exported(*store);
  };
  const auto& [first, second] = GetParam();
  if (!first.make() || !second.make()) GTEST_SKIP() << "the server of a store is not installed: ./dev setup";

  const Content before = content_in(first, odd_jobs(first.make()->now()));
  ASSERT_EQ(before.first.size(), 16U);
  const Content there = content_in(second, before.second);
  const auto [ours, theirs] = std::ranges::mismatch(before.first, there.first);
  ASSERT_TRUE(ours == before.first.end() && theirs == there.first.end()) << *ours << "\n" << *theirs;
  EXPECT_TRUE(content_in(first, there.second).first == before.first);
}

INSTANTIATE_TEST_SUITE_P(Pairs, StoreTransfer,
                         testing::Values(std::tuple(all_stores[0], all_stores[2]),
                                         std::tuple(all_stores[2], all_stores[0]),
                                         std::tuple(all_stores[0], all_stores[3]),
                                         std::tuple(all_stores[3], all_stores[2])),
                         [](const testing::TestParamInfo<std::tuple<StoreFactory, StoreFactory>>& tested) {
                           return concat(std::get<0>(tested.param).name, "_", std::get<1>(tested.param).name);
                         });

}  // namespace
}  // namespace dagverk::conformance
