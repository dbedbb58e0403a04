#pragma once

// What every store promises. The store's folder is done when this suite passes; a new store is one line in stores.hpp.

#include "conformance/job_store_fixture.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

namespace dagverk::conformance {

// --- enqueue and order ----------------------------------------------------------------------------------------------

TEST_P(JobStoreConformance, a_job_comes_out_as_it_went_in_byte_for_byte) {
  jobs::EnqueueRequest request = job("a");
  request.payload = std::string("not json {\0\xff\xc3(\n", 15);
  std::vector<jobs::EnqueueRequest> batch;
  batch.push_back(request);
  ASSERT_EQ(store_->enqueue(std::move(batch)).value(), Outcomes{ItemOutcome::done});

  const auto taken = take(*store_, node(*store_));

  ASSERT_EQ(taken.size(), 1U);
  EXPECT_EQ(taken[0].payload, request.payload);
  EXPECT_EQ(taken[0].jid, "a");
  EXPECT_EQ(taken[0].queue, "default");
  EXPECT_EQ(taken[0].class_name, "Work");
  EXPECT_EQ(taken[0].enqueued_at, world_->now());
  EXPECT_EQ(taken[0].rescues, 0U);
}

TEST_P(JobStoreConformance, jobs_of_a_queue_are_taken_in_the_order_they_came) {
  enqueue(*store_, {"a", "b"});
  enqueue(*store_, {"c", "d"});
  const auto by = node(*store_);

  EXPECT_EQ(jids(take(*store_, by, 1)), (std::vector<std::string>{"a"}));
  EXPECT_EQ(jids(take(*store_, by, 10)), (std::vector<std::string>{"b", "c", "d"}));
  EXPECT_TRUE(take(*store_, by, 10).empty());
}

TEST_P(JobStoreConformance, queues_are_served_in_the_order_asked_for) {
  enqueue(*store_, {"low"}, "low");
  enqueue(*store_, {"high1", "high2"}, "high");
  const auto by = node(*store_);

  EXPECT_EQ(jids(take(*store_, by, 10, {"high", "none", "low"})), (std::vector<std::string>{"high1", "high2", "low"}));
}

TEST_P(JobStoreConformance, higher_priority_runs_first_within_a_queue) {
  if (!GetParam().knows_priorities) GTEST_SKIP() << "declared: this store takes jobs in the order they came";
  std::vector<jobs::EnqueueRequest> batch = {job("normal"), job("urgent"), job("late")};
  batch[1].priority = 5;
  batch[2].priority = -1000;
  ASSERT_TRUE(store_->enqueue(std::move(batch)));

  EXPECT_EQ(jids(take(*store_, node(*store_))), (std::vector<std::string>{"urgent", "normal", "late"}));
}

TEST_P(JobStoreConformance, a_jid_that_is_in_the_store_is_refused_and_counted_whatever_its_state) {
  enqueue(*store_, {"a"});
  const auto by = node(*store_);

  EXPECT_EQ(store_->enqueue({job("a"), job("b"), job("b")}).value(),
            (Outcomes{ItemOutcome::duplicate, ItemOutcome::done, ItemOutcome::duplicate}));
  const auto taken = take(*store_, by, 1);
  EXPECT_EQ(store_->enqueue({job("a", "other")}).value(), Outcomes{ItemOutcome::duplicate});
  ASSERT_EQ(settle(*store_, Settlement::finish(taken[0].token)), ItemOutcome::done);
  EXPECT_EQ(store_->enqueue({job("a")}).value(), Outcomes{ItemOutcome::done}) << "a finished jid is free again";

  EXPECT_EQ(store_->totals()->duplicates, 3U);
  EXPECT_EQ(counts(*store_).enqueued, 3U);
}

TEST_P(JobStoreConformance, a_batch_with_an_impossible_job_changes_nothing) {
  for (const auto& spoil : std::vector<void (*)(jobs::EnqueueRequest&)>{
           [](jobs::EnqueueRequest& request) { request.jid.clear(); },
           [](jobs::EnqueueRequest& request) { request.queue.clear(); },
           [](jobs::EnqueueRequest& request) { request.queue.assign(256, 'q'); },
           [](jobs::EnqueueRequest& request) { request.class_name.assign(256, 'c'); },
           [](jobs::EnqueueRequest& request) { request.payload.assign(jobs::payload_size_limit + 1, 'p'); },
           [](jobs::EnqueueRequest& request) { request.detail.assign(jobs::detail_size_limit + 1, 'd'); },
           [](jobs::EnqueueRequest& request) { request.priority = 1001; },
       }) {
    std::vector<jobs::EnqueueRequest> batch = {job("good"), job("bad")};
    spoil(batch[1]);
    const auto refused = store_->enqueue(std::move(batch));
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().code() == ErrorCode::invalid_argument ||
                refused.error().code() == ErrorCode::too_large);
  }
  EXPECT_EQ(counts(*store_), jobs::QueueCounts());
  EXPECT_FALSE(store_->enqueue({}));
  EXPECT_FALSE(store_->enqueue(std::vector<jobs::EnqueueRequest>(jobs::batch_count_limit + 1, job("many"))));
}

TEST_P(JobStoreConformance, a_take_ends_early_when_its_payloads_are_large) {
  std::vector<jobs::EnqueueRequest> batch;
  for (int index = 0; index < 6; ++index) {
    batch.push_back(job(concat("large", index)));
    batch.back().payload.assign(jobs::payload_size_limit, 'x');
  }
  ASSERT_TRUE(store_->enqueue(std::move(batch)));
  const auto by = node(*store_);

  EXPECT_EQ(take(*store_, by, 100).size(), jobs::take_size_limit / jobs::payload_size_limit);
  EXPECT_EQ(take(*store_, by, 100).size(), 2U);
}

// --- tokens ---------------------------------------------------------------------------------------------------------

TEST_P(JobStoreConformance, a_job_in_hand_is_nobody_elses) {
  enqueue(*store_, {"a", "b", "c"});
  const auto other = world_->open();
  const auto first = node(*store_, "first");
  const auto second = node(*other, "second");

  const auto one = take(*store_, first, 2);
  const auto two = take(*other, second, 10);

  EXPECT_EQ(jids(one), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(jids(two), (std::vector<std::string>{"c"}));
  const auto found = store_->find("c").value();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->state, JobState::running);
  EXPECT_EQ(found->node, second);
  EXPECT_EQ(found->started_at, world_->now());
}

TEST_P(JobStoreConformance, a_token_settles_once_and_later_uses_are_refused_and_counted) {
  enqueue(*store_, {"a", "b"});
  const auto taken = take(*store_, node(*store_));

  EXPECT_EQ(store_->settle({Settlement::finish(taken[0].token), Settlement::finish(taken[0].token)}).value(),
            (Outcomes{ItemOutcome::done, ItemOutcome::refused}));
  EXPECT_EQ(settle(*store_, Settlement::requeue(taken[0].token)), ItemOutcome::refused);
  jobs::ClaimToken forged = taken[1].token;
  ++forged.execution;
  EXPECT_EQ(settle(*store_, Settlement::finish(forged)), ItemOutcome::refused);

  EXPECT_EQ(store_->totals()->refused, 3U);
  EXPECT_EQ(counts(*store_).finished, 1U);
  EXPECT_EQ(state_of(*store_, "b"), JobState::running);
}

TEST_P(JobStoreConformance, of_settlements_of_one_token_in_a_batch_the_first_counts_however_they_end_it) {
  std::vector<jobs::EnqueueRequest> requests = {job("a"), job("b"), job("c")};
  for (jobs::EnqueueRequest& each : requests) each.journaled = false;
  ASSERT_TRUE(store_->enqueue(std::move(requests)));
  const auto taken = take(*store_, node(*store_));
  ASSERT_EQ(taken.size(), 3U);
  EXPECT_EQ(store_
                ->settle({Settlement::finish(taken[0].token), Settlement::discard(taken[1].token),
                          Settlement::finish(taken[1].token), Settlement::requeue(taken[2].token),
                          Settlement::finish(taken[2].token), Settlement::discard(taken[0].token)})
                .value(),
            (Outcomes{ItemOutcome::done, ItemOutcome::done, ItemOutcome::refused, ItemOutcome::done,
                      ItemOutcome::refused, ItemOutcome::refused}));
  EXPECT_EQ(counts(*store_).finished, 1U);
  EXPECT_EQ(counts(*store_).discarded, 1U);
  EXPECT_EQ(state_of(*store_, "c"), JobState::ready);
  EXPECT_EQ(store_->totals()->refused, 3U);
}

TEST_P(JobStoreConformance, a_job_given_back_goes_first_and_makes_its_old_token_worthless) {
  enqueue(*store_, {"a", "b", "c"});
  const auto by = node(*store_);
  const auto taken = take(*store_, by, 2);

  EXPECT_EQ(store_->settle({Settlement::requeue(taken[1].token), Settlement::requeue(taken[0].token)}).value(),
            (Outcomes{ItemOutcome::done, ItemOutcome::done}));
  const auto again = take(*store_, by);

  EXPECT_EQ(jids(again), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(again[0].payload, taken[0].payload);
  EXPECT_EQ(settle(*store_, Settlement::finish(taken[0].token)), ItemOutcome::refused);
  EXPECT_EQ(settle(*store_, Settlement::finish(again[0].token)), ItemOutcome::done);
}

TEST_P(JobStoreConformance, settlements_of_one_batch_end_each_in_its_own_way) {
  enqueue(*store_, {"finish", "retry", "bury", "discard", "expire", "requeue", "snooze"});
  const auto taken = take(*store_, node(*store_));
  ASSERT_EQ(taken.size(), 7U);

  std::vector<Settlement> batch = {
      Settlement::finish(taken[0].token, R"({"ms":5})"),
      Settlement::retry(taken[1].token, "second bytes", world_->now() + 15s),
      Settlement::bury(taken[2].token, std::nullopt, "not a job"),
      Settlement::discard(taken[3].token),
      Settlement::discard(taken[4].token, {}, JournalKind::expired),
      Settlement::requeue(taken[5].token),
      Settlement::retry(taken[6].token, "later", world_->now() + 1h, {}, JournalKind::snoozed),
  };
  batch[1].queue = "retries";
  ASSERT_EQ(store_->settle(std::move(batch)).value(), Outcomes(7, ItemOutcome::done));

  EXPECT_EQ(state_of(*store_, "finish"), std::nullopt);
  EXPECT_EQ(state_of(*store_, "discard"), std::nullopt);
  EXPECT_EQ(state_of(*store_, "expire"), std::nullopt);
  EXPECT_EQ(state_of(*store_, "requeue"), JobState::ready);
  EXPECT_EQ(state_of(*store_, "snooze"), JobState::retrying);
  const auto retried = store_->find("retry").value().value();
  EXPECT_EQ(retried.state, JobState::retrying);
  EXPECT_EQ(retried.payload, "second bytes");
  EXPECT_EQ(retried.queue, "retries");
  EXPECT_EQ(retried.due, world_->now() + 15s);
  const auto dead = store_->find("bury").value().value();
  EXPECT_EQ(dead.state, JobState::dead);
  EXPECT_EQ(dead.payload, taken[2].payload);
  EXPECT_EQ(dead.reason, "not a job");
  EXPECT_EQ(dead.due, world_->now());

  const auto queues = store_->queues("", 10).value();
  EXPECT_EQ(queues.size(), 2U);
  for (const jobs::QueueInfo& queue : queues) EXPECT_TRUE(queue.counts.balanced()) << queue.name;
  const auto sums = counts(*store_);
  EXPECT_EQ(sums.finished, 1U);
  EXPECT_EQ(sums.discarded, 1U);
  EXPECT_EQ(sums.expired, 1U);
  EXPECT_EQ(sums.retried, 2U);
  EXPECT_EQ(sums.died, 1U);
  EXPECT_EQ(sums.moved_in, 1U);
  EXPECT_EQ(sums.moved_out, 1U);
}

TEST_P(JobStoreConformance, a_settlement_whose_kind_does_not_fit_changes_nothing) {
  enqueue(*store_, {"a"});
  const auto taken = take(*store_, node(*store_));

  const auto refused = store_->settle({Settlement::discard(taken[0].token, {}, JournalKind::finished)});

  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(state_of(*store_, "a"), JobState::running);
}

// --- time -----------------------------------------------------------------------------------------------------------

TEST_P(JobStoreConformance, due_jobs_are_seen_earliest_first_and_promoted_exactly_once) {
  std::vector<jobs::EnqueueRequest> batch = {job("later"), job("second"), job("first")};
  batch[0].due = world_->now() + 1h;
  batch[1].due = world_->now() + 2s;
  batch[2].due = world_->now() + 1s;
  ASSERT_TRUE(store_->enqueue(std::move(batch)));
  EXPECT_TRUE(take(*store_, node(*store_)).empty());
  EXPECT_EQ(store_->peek_due(world_->now(), 10)->jobs.size(), 0U);
  EXPECT_EQ(store_->peek_due(world_->now(), 10)->next_due, world_->now() + 1s);
  const WallTime later = world_->now() + 1h;
  world_->advance(5s);

  const auto due = store_->peek_due(world_->now(), 10).value();
  ASSERT_EQ(due.jobs.size(), 2U);
  EXPECT_EQ(due.jobs[0].jid, "first");
  EXPECT_EQ(due.jobs[1].jid, "second");
  EXPECT_EQ(due.next_due, later);
  const auto other = world_->open();
  EXPECT_EQ(other->promote({{due.jobs[0].handle, "new bytes"}}).value(), Outcomes{ItemOutcome::done});
  EXPECT_EQ(store_->promote({{due.jobs[0].handle, "newer bytes"}, {due.jobs[1].handle}}).value(),
            (Outcomes{ItemOutcome::missing, ItemOutcome::done}));

  const auto taken = take(*store_, node(*store_));
  ASSERT_EQ(jids(taken), (std::vector<std::string>{"first", "second"}));
  EXPECT_EQ(taken[0].payload, "new bytes");
  EXPECT_EQ(taken[1].payload, due.jobs[1].payload);
  EXPECT_EQ(taken[0].enqueued_at, world_->now());
}

TEST_P(JobStoreConformance, a_promoted_job_stands_behind_those_already_waiting) {
  std::vector<jobs::EnqueueRequest> batch = {job("old")};
  batch[0].due = world_->now();
  ASSERT_TRUE(store_->enqueue(std::move(batch)));
  enqueue(*store_, {"waiting"});

  const auto due = store_->peek_due(world_->now(), 10).value();
  ASSERT_EQ(store_->promote({{due.jobs.at(0).handle}}).value(), Outcomes{ItemOutcome::done});

  EXPECT_EQ(jids(take(*store_, node(*store_))), (std::vector<std::string>{"waiting", "old"}));
}

TEST_P(JobStoreConformance, peeking_is_bounded_and_says_when_to_come_back) {
  std::vector<jobs::EnqueueRequest> batch;
  for (int index = 0; index < 5; ++index) {
    batch.push_back(job(concat("s", index)));
    batch.back().due = world_->now() + std::chrono::seconds(index);
  }
  ASSERT_TRUE(store_->enqueue(std::move(batch)));
  const WallTime last = world_->now() + 4s;
  world_->advance(10s);

  const auto page = store_->peek_due(world_->now(), 3).value();

  EXPECT_EQ(page.jobs.size(), 3U);
  EXPECT_LE(page.next_due, last) << "more are due now";
  EXPECT_FALSE(store_->peek_due(world_->now(), 0));
  EXPECT_FALSE(store_->peek_due(world_->now(), jobs::batch_count_limit + 1));
}

// --- nodes ----------------------------------------------------------------------------------------------------------

TEST_P(JobStoreConformance, only_a_registered_node_with_a_valid_lease_takes_jobs) {
  enqueue(*store_, {"a"});
  const auto unknown = store_->take({12345, {"default"}, 1});
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code(), ErrorCode::refused);

  const auto by = node(*store_);
  world_->advance(world_->lease() + 1s);
  EXPECT_EQ(store_->take({by, {"default"}, 1}).error().code(), ErrorCode::refused);
  ASSERT_TRUE(store_->renew_lease(by));
  EXPECT_EQ(take(*store_, by).size(), 1U);
}

TEST_P(JobStoreConformance, jobs_of_a_node_that_stopped_renewing_run_elsewhere_and_its_late_acks_are_refused) {
  enqueue(*store_, {"a", "b"});
  const auto other = world_->open();
  const auto old_owner = node(*store_, "old");
  const auto rescuer = node(*other, "new");
  const auto taken = take(*store_, old_owner);
  world_->advance(world_->lease() / 2);
  ASSERT_TRUE(other->renew_lease(rescuer));
  EXPECT_TRUE(other->rescue_dead_nodes(rescuer, 100)->jobs.empty()) << "its lease is still valid";
  world_->advance(world_->lease() / 2 + 1s);
  ASSERT_TRUE(other->renew_lease(rescuer));

  const auto report = other->rescue_dead_nodes(rescuer, 100).value();
  ASSERT_EQ(report.jobs.size(), 2U);
  EXPECT_EQ(report.nodes, std::vector<jobs::NodeEpoch>{old_owner});
  EXPECT_FALSE(report.more);
  const auto again = take(*other, rescuer);

  ASSERT_EQ(jids(again), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(again[0].rescues, 1U);
  EXPECT_EQ(store_->settle({Settlement::finish(taken[0].token), Settlement::retry(taken[1].token, "x", world_->now())})
                .value(),
            (Outcomes{ItemOutcome::refused, ItemOutcome::refused}));
  EXPECT_EQ(store_->renew_lease(old_owner).error().code(), ErrorCode::refused);
  EXPECT_EQ(store_->take({old_owner, {"default"}, 1}).error().code(), ErrorCode::refused);
  EXPECT_EQ(settle(*other, Settlement::finish(again[0].token)), ItemOutcome::done);
  EXPECT_EQ(store_->totals()->refused, 2U);
  EXPECT_EQ(counts(*store_).rescued, 2U);
}

TEST_P(JobStoreConformance, a_node_that_ended_is_noticed_before_its_lease_runs_out) {
  if (!GetParam().notices_death_at_once) GTEST_SKIP() << "declared: this store knows death by the lease alone";
  enqueue(*store_, {"a"});
  auto other = world_->open();
  const auto victim = node(*other, "victim");
  ASSERT_EQ(take(*other, victim).size(), 1U);
  const auto rescuer = node(*store_);
  EXPECT_TRUE(store_->rescue_dead_nodes(rescuer, 100)->nodes.empty());

  other.reset();
  const auto report = store_->rescue_dead_nodes(rescuer, 100).value();

  EXPECT_EQ(report.nodes, std::vector<jobs::NodeEpoch>{victim});
  ASSERT_EQ(report.jobs.size(), 1U);
  EXPECT_EQ(report.jobs[0].jid, "a");
  EXPECT_EQ(jids(take(*store_, rescuer)), std::vector<std::string>{"a"});
  EXPECT_EQ(store_->list_nodes()->size(), 1U);
}

TEST_P(JobStoreConformance, rescue_goes_in_slices_and_the_dead_stay_dead_between_them) {
  enqueue(*store_, {"a", "b", "c", "d", "e"});
  const auto other = world_->open();
  const auto victim = node(*store_, "victim");
  ASSERT_EQ(take(*store_, victim).size(), 5U);
  world_->advance(world_->lease() + 1s);
  const auto rescuer = node(*other, "rescuer");

  std::size_t rescued = 0;
  const auto first = other->rescue_dead_nodes(rescuer, 2).value();
  rescued += first.jobs.size();
  EXPECT_TRUE(first.more);
  EXPECT_EQ(store_->renew_lease(victim).error().code(), ErrorCode::refused);
  for (int call = 0; call < 5; ++call) rescued += other->rescue_dead_nodes(rescuer, 2)->jobs.size();

  EXPECT_EQ(rescued, 5U);
  EXPECT_EQ(take(*other, rescuer).size(), 5U);
}

TEST_P(JobStoreConformance, the_third_rescue_within_72_hours_quarantines_and_older_ones_do_not_count) {
  enqueue(*store_, {"poison"});
  const auto rescuer_store = world_->open();
  const auto die_with_it = [&] {
    const auto victim = node(*store_, "victim");
    EXPECT_EQ(take(*store_, victim).size(), 1U);
    world_->advance(world_->lease() + 1s);
    return rescuer_store->rescue_dead_nodes(0, 100).value().jobs.at(0);
  };

  EXPECT_FALSE(die_with_it().quarantined);
  world_->advance(71h);
  EXPECT_FALSE(die_with_it().quarantined);
  world_->advance(2h);
  EXPECT_FALSE(die_with_it().quarantined) << "the first was more than 72 hours ago";
  EXPECT_TRUE(die_with_it().quarantined) << "three within 72 hours";

  const auto dead = store_->find("poison").value().value();
  EXPECT_EQ(dead.state, JobState::dead);
  EXPECT_EQ(dead.rescues, 4U);
  EXPECT_NE(dead.reason, "");
  EXPECT_EQ(counts(*store_).quarantined, 1U);
  EXPECT_EQ(whole_journal(*store_, "poison").back().kind, JournalKind::quarantined);
}

TEST_P(JobStoreConformance, a_heartbeat_tells_others_what_a_node_is_and_does) {
  enqueue(*store_, {"a", "b"}, "mail");
  const auto by = store_->register_node({.name = "sorter", .detail = "{}", .identity = "host1:71:0a1b2c"}).value();
  const auto taken = take(*store_, by, 2, {"mail"});
  ASSERT_EQ(taken.size(), 2U);
  EXPECT_FALSE(store_->list_nodes()->at(0).beat_at) << "nothing heard of it yet";
  jobs::Heartbeat beat;
  beat.status.host = "host1 \xff";
  beat.status.os_pid = 71;
  beat.status.started_at = world_->now() - 90s;
  beat.status.tag = "r\"17\"";
  beat.status.labels = {"fast", "gpu"};
  beat.status.version = "3.1";
  beat.status.concurrency = 12;
  beat.status.pools = {{"mail", 10, jobs::QueueMode::weighted, {{"mail", 3}, {"low", 1}}},
                       {"slow", 2, jobs::QueueMode::strict, {{"slow", 0}}}};
  beat.status.busy = 2;
  beat.status.resident_bytes = 7 << 20;
  beat.status.round_trip = 250us;
  for (const jobs::TakenJob& job : taken) {
    beat.jobs.push_back({jobs::worker_name(job.token.execution), "mail", job.payload, world_->now()});
  }

  ASSERT_TRUE(store_->heartbeat(by, beat));
  const auto other = world_->open();
  const auto nodes = other->list_nodes().value();

  ASSERT_EQ(nodes.size(), 1U);
  const jobs::NodeInfo& node = nodes[0];
  EXPECT_EQ(node.epoch, by);
  EXPECT_EQ(node.name, "sorter");
  EXPECT_EQ(node.identity, "host1:71:0a1b2c");
  EXPECT_FALSE(node.foreign);
  EXPECT_EQ(node.beat_at, world_->now());
  EXPECT_EQ(node.running, 2U);
  jobs::NodeStatus expected = beat.status;
  expected.host = "host1 \xef\xbf\xbd";
  EXPECT_EQ(node.status, expected);
  EXPECT_EQ(other->node_jobs("host1:71:0a1b2c").value(), beat.jobs);
  EXPECT_EQ(other->node_jobs("host1:71:0a1b2c", 1)->size(), 1U);
  EXPECT_FALSE(other->node_jobs("host1:71:0a1b2c", 0));
  EXPECT_TRUE(other->node_jobs("host1:71:else")->empty());

  ASSERT_EQ(settle(*store_, Settlement::finish(taken[0].token)), ItemOutcome::done);
  ASSERT_EQ(settle(*store_, Settlement::finish(taken[1].token)), ItemOutcome::done);
  beat.status.quiet = true;
  beat.status.busy = 0;
  beat.jobs.clear();
  beat.detail = R"({"socket":"/s"})";
  ASSERT_TRUE(store_->heartbeat(by, beat));
  const auto later = other->list_nodes().value();
  ASSERT_EQ(later.size(), 1U);
  EXPECT_TRUE(later[0].status.quiet);
  EXPECT_EQ(later[0].detail, R"({"socket":"/s"})");
  EXPECT_TRUE(other->node_jobs("host1:71:0a1b2c")->empty());

  ASSERT_TRUE(store_->retire_node(by));
  EXPECT_TRUE(other->list_nodes()->empty());
  EXPECT_TRUE(other->node_jobs("host1:71:0a1b2c")->empty());
  EXPECT_EQ(store_->heartbeat(by, beat).error().code(), ErrorCode::refused);
  EXPECT_TRUE(other->list_nodes()->empty()) << "a refused heartbeat shows nothing";
}

TEST_P(JobStoreConformance, what_a_heartbeat_may_say_is_bounded) {
  const auto by = node(*store_);
  jobs::Heartbeat beat;
  beat.jobs.resize(jobs::node_jobs_limit + 1);
  EXPECT_EQ(store_->heartbeat(by, beat).error().code(), ErrorCode::invalid_argument);
  beat.jobs.clear();
  beat.detail = std::string(jobs::detail_size_limit + 1, 'x');
  EXPECT_EQ(store_->heartbeat(by, beat).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(store_->register_node({.name = "n", .detail = "", .identity = std::string(256, 'i')}).error().code(),
            ErrorCode::invalid_argument);
  EXPECT_FALSE(store_->list_nodes()->at(0).beat_at);
}

TEST_P(JobStoreConformance, signals_reach_the_node_of_that_identity_until_it_says_that_it_saw_them) {
  using Signals = std::vector<jobs::NodeSignal>;
  const auto other = world_->open();
  const auto by = store_->register_node({.name = "n", .detail = "", .identity = "host1:1:aa"}).value();
  const auto bystander = store_->register_node({.name = "n", .detail = "", .identity = "host1:2:bb"}).value();
  EXPECT_EQ(other->send_signal("host1:3:cc", jobs::NodeSignal::stop).value(), ItemOutcome::missing);
  ASSERT_EQ(other->send_signal("host1:1:aa", jobs::NodeSignal::dump).value(), ItemOutcome::done);
  ASSERT_EQ(other->send_signal("host1:1:aa", jobs::NodeSignal::quiet).value(), ItemOutcome::done);

  const auto first = store_->heartbeat(by, {}).value();
  EXPECT_EQ(first.signals, (Signals{jobs::NodeSignal::dump, jobs::NodeSignal::quiet}));
  EXPECT_TRUE(store_->heartbeat(bystander, {})->signals.empty());
  // The reply was lost, and one more came meanwhile.
  ASSERT_EQ(other->send_signal("host1:1:aa", jobs::NodeSignal::stop).value(), ItemOutcome::done);
  const auto again = store_->heartbeat(by, {}).value();
  EXPECT_EQ(again.signals, (Signals{jobs::NodeSignal::dump, jobs::NodeSignal::quiet, jobs::NodeSignal::stop}));

  jobs::Heartbeat seen;
  seen.signals_seen = again.signals_number;
  EXPECT_TRUE(store_->heartbeat(by, seen)->signals.empty());
  EXPECT_TRUE(store_->heartbeat(by, {})->signals.empty()) << "seen is seen";
  ASSERT_EQ(other->send_signal("host1:1:aa", jobs::NodeSignal::stop).value(), ItemOutcome::done);
  const auto next = store_->heartbeat(by, seen).value();
  EXPECT_EQ(next.signals, Signals{jobs::NodeSignal::stop});
  EXPECT_NE(next.signals_number, again.signals_number);

  ASSERT_TRUE(store_->retire_node(by));
  EXPECT_EQ(other->send_signal("host1:1:aa", jobs::NodeSignal::stop).value(), ItemOutcome::missing);
}

TEST_P(JobStoreConformance, a_node_that_registers_again_keeps_its_identity_and_loses_nothing_with_its_old_epoch) {
  const auto old = store_->register_node({.name = "n", .detail = "", .identity = "host1:1:aa"}).value();
  ASSERT_TRUE(store_->renew_lease(old));
  world_->advance(world_->lease() + 1s);
  const auto now = store_->register_node({.name = "n", .detail = "", .identity = "host1:1:aa"}).value();
  jobs::Heartbeat beat;
  beat.status.os_pid = 5;
  ASSERT_TRUE(store_->heartbeat(now, beat));

  ASSERT_TRUE(store_->rescue_dead_nodes(now, 100));

  const auto nodes = store_->list_nodes().value();
  ASSERT_EQ(nodes.size(), 1U);
  EXPECT_EQ(nodes[0].epoch, now);
  EXPECT_EQ(nodes[0].status.os_pid, 5);
  EXPECT_EQ(store_->send_signal("host1:1:aa", jobs::NodeSignal::quiet).value(), ItemOutcome::done);
}

TEST_P(JobStoreConformance, a_retiring_node_gives_its_jobs_back_unchanged) {
  enqueue(*store_, {"a", "b"});
  const auto leaving = node(*store_, "leaving");
  const auto taken = take(*store_, leaving);
  EXPECT_EQ(store_->list_nodes()->at(0).running, 2U);
  EXPECT_GT(store_->list_nodes()->at(0).lease_left, Duration{0});
  EXPECT_EQ(store_->list_nodes()->at(0).name, "leaving");

  EXPECT_EQ(store_->retire_node(leaving).value(), 2U);

  EXPECT_TRUE(store_->list_nodes()->empty());
  EXPECT_EQ(settle(*store_, Settlement::finish(taken[0].token)), ItemOutcome::refused);
  const auto again = take(*store_, node(*store_));
  EXPECT_EQ(jids(again), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(again[0].rescues, 0U);
  EXPECT_EQ(store_->retire_node(leaving).error().code(), ErrorCode::not_found);
}

TEST_P(JobStoreConformance, two_nodes_of_one_name_are_not_confused) {
  enqueue(*store_, {"a", "b"});
  const auto one = node(*store_, "same");
  const auto two = node(*store_, "same");
  ASSERT_NE(one, two);
  const auto first = take(*store_, one, 1);
  ASSERT_EQ(take(*store_, two, 1).size(), 1U);

  EXPECT_EQ(store_->retire_node(two).value(), 1U);

  EXPECT_EQ(settle(*store_, Settlement::finish(first[0].token)), ItemOutcome::done);
}

// --- what people do --------------------------------------------------------------------------------------------------

TEST_P(JobStoreConformance, retry_now_moves_waiting_and_dead_jobs_into_their_queue) {
  std::vector<jobs::EnqueueRequest> batch = {job("dead"), job("retrying"), job("running"), job("scheduled"),
                                             job("ready")};
  batch[3].due = world_->now() + 1h;
  batch[4].queue = "elsewhere";
  ASSERT_TRUE(store_->enqueue(std::move(batch)));
  const auto by = node(*store_);
  const auto taken = take(*store_, by);
  ASSERT_EQ(taken.size(), 3U);
  ASSERT_TRUE(store_->settle({Settlement::bury(taken[0].token, "dead bytes", "why"),
                              Settlement::retry(taken[1].token, "retry bytes", world_->now() + 1h)}));

  std::vector<jobs::RetryNow> moves = {{"dead"}, {"retrying", "edited"}, {"running"}, {"scheduled"}, {"ready"},
                                       {"none"}};
  EXPECT_EQ(store_->retry_now(std::move(moves)).value(),
            (Outcomes{ItemOutcome::done, ItemOutcome::done, ItemOutcome::running, ItemOutcome::done,
                      ItemOutcome::missing, ItemOutcome::missing}));

  const auto again = take(*store_, by);
  ASSERT_EQ(jids(again), (std::vector<std::string>{"dead", "retrying", "scheduled"}));
  EXPECT_EQ(again[0].payload, "dead bytes");
  EXPECT_EQ(again[1].payload, "edited");
  EXPECT_TRUE(counts(*store_).balanced());
  EXPECT_EQ(counts(*store_).dead, 0U);
}

TEST_P(JobStoreConformance, remove_deletes_what_no_node_is_running) {
  std::vector<jobs::EnqueueRequest> batch = {job("running"), job("ready"), job("scheduled")};
  batch[2].due = world_->now() + 1h;
  ASSERT_TRUE(store_->enqueue(std::move(batch)));
  ASSERT_EQ(take(*store_, node(*store_), 1).size(), 1U);

  EXPECT_EQ(store_->remove({"running", "ready", "scheduled", "none"}).value(),
            (Outcomes{ItemOutcome::running, ItemOutcome::done, ItemOutcome::done, ItemOutcome::missing}));

  EXPECT_EQ(state_of(*store_, "ready"), std::nullopt);
  EXPECT_EQ(state_of(*store_, "scheduled"), std::nullopt);
  EXPECT_EQ(counts(*store_).deleted, 2U);
  EXPECT_TRUE(counts(*store_).balanced());
}

TEST_P(JobStoreConformance, cancel_takes_out_what_waits_and_keeps_the_wish_for_what_runs_until_it_is_forgotten) {
  std::vector<jobs::EnqueueRequest> batch = {job("running"), job("retrying"), job("dead"), job("ready"),
                                             job("scheduled")};
  batch[0].payload = R"({"jid":"running","class":"Work","args":[],"created_at":12.5})";
  batch[4].due = world_->now() + 1h;
  ASSERT_TRUE(store_->enqueue(std::move(batch)));
  const jobs::NodeEpoch by = node(*store_);
  const auto taken = take(*store_, by, 3);
  ASSERT_EQ(jids(taken), (std::vector<std::string>{"running", "retrying", "dead"}));
  const WallTime due = world_->now() + 1h;
  ASSERT_EQ(settle(*store_, Settlement::retry(taken[1].token, taken[1].payload, due)), ItemOutcome::done);
  ASSERT_EQ(settle(*store_, Settlement::bury(taken[2].token, std::nullopt, "no luck")), ItemOutcome::done);
  EXPECT_TRUE(store_->renew_lease(by).value().cancels.empty());
  const std::uint64_t seen = store_->store().change_count(jobs::ChangeKind::asked);

  EXPECT_EQ(store_->cancel({"running", "retrying", "dead", "ready", "scheduled", "none"}, R"({"by":"ann"})").value(),
            (Outcomes{ItemOutcome::running, ItemOutcome::done, ItemOutcome::missing, ItemOutcome::done,
                      ItemOutcome::done, ItemOutcome::missing}));

  for (const char* gone : {"retrying", "ready", "scheduled"}) {
    EXPECT_EQ(state_of(*store_, gone), std::nullopt) << gone;
    const auto rows = whole_journal(*store_, gone);
    EXPECT_EQ(rows.back().kind, JournalKind::cancelled) << gone;
    EXPECT_EQ(rows.back().detail, R"({"by":"ann"})");
  }
  EXPECT_EQ(state_of(*store_, "dead"), JobState::dead);
  EXPECT_EQ(counts(*store_).discarded, 3U);
  EXPECT_TRUE(counts(*store_).balanced());
  EXPECT_NE(store_->store().change_count(jobs::ChangeKind::asked), seen);

  // Every node hears of it, again and again, also through another session.
  const std::vector<jobs::CancelWish> wish = {{"running", "12.5"}};
  EXPECT_EQ(store_->cancel({"running"}).value(), (Outcomes{ItemOutcome::running}));
  EXPECT_EQ(store_->renew_lease(by).value().cancels, wish);
  const auto second = world_->open();
  const jobs::NodeEpoch other = node(*second, "other");
  EXPECT_EQ(second->renew_lease(other).value().cancels, wish);
  EXPECT_EQ(store_->forget_cancels({"running", "none"}).value(), (Outcomes{ItemOutcome::done, ItemOutcome::missing}));
  EXPECT_TRUE(store_->renew_lease(by).value().cancels.empty());

  // A wish outlives the node, and is over with the job.
  EXPECT_EQ(store_->cancel({"running"}).value(), (Outcomes{ItemOutcome::running}));
  ASSERT_TRUE(store_->retire_node(by));
  EXPECT_EQ(second->renew_lease(other).value().cancels, wish);
  EXPECT_EQ(second->cancel({"running"}).value(), (Outcomes{ItemOutcome::done}));
  EXPECT_TRUE(second->renew_lease(other).value().cancels.empty());
  EXPECT_TRUE(counts(*store_).balanced());

  enqueue(*store_, {"told"});
  const auto told = take(*second, other);
  EXPECT_EQ(settle(*second, Settlement::discard(told.at(0).token, {}, JournalKind::cancelled)), ItemOutcome::done);
  EXPECT_EQ(counts(*store_).discarded, 5U);
}

TEST_P(JobStoreConformance, what_runs_say_is_kept_of_the_latest_of_each_jid_and_forgotten_after_a_week) {
  EXPECT_EQ(store_->read_record("a").value(), std::nullopt);
  EXPECT_EQ(store_->keep_records({{"a", 7, "one"}, {"b", 9, std::string("\xc3\xbc\n\"")}}).value(),
            (Outcomes{ItemOutcome::done, ItemOutcome::done}));
  EXPECT_EQ(store_->keep_records({{"a", 7, "two"}, {"b", 8, "late"}}).value(),
            (Outcomes{ItemOutcome::done, ItemOutcome::refused}));
  const auto second = world_->open();
  EXPECT_EQ(second->read_record("a").value(), "two");
  EXPECT_EQ(second->read_record("b").value(), "\xc3\xbc\n\"");
  EXPECT_EQ(second->keep_records({{"a", 100, "three"}}).value(), (Outcomes{ItemOutcome::done}));
  EXPECT_EQ(store_->read_record("a").value(), "three");
  EXPECT_FALSE(store_->keep_records({{"a", 101, std::string(jobs::record_size_limit + 1, 'x')}}));
  EXPECT_FALSE(store_->keep_records({}));
  EXPECT_EQ(store_->read_record("a").value(), "three");
}

TEST_P(JobStoreConformance, pages_list_every_job_once_and_survive_changes_between_them) {
  std::vector<jobs::EnqueueRequest> batch;
  for (int index = 0; index < 25; ++index) {
    batch.push_back(job(concat("r", index), index % 2 == 0 ? "even" : "odd"));
    batch.back().class_name = index % 5 == 0 ? "Rare" : "Often";
    batch.push_back(job(concat("s", index), "even"));
    batch.back().due = world_->now() + 10s;  // all at one instant: the page's key must not rest on time alone
  }
  ASSERT_TRUE(store_->enqueue(std::move(batch)));
  const auto all = [&](jobs::ListQuery query) {
    std::vector<std::string> names;
    for (int pages = 0; pages < 100; ++pages) {
      const auto page = store_->list(query);
      EXPECT_TRUE(page) << page.error().message();
      if (!page) break;
      EXPECT_LE(page->jobs.size(), query.limit);
      for (const std::string& jid : jids(*page)) names.push_back(jid);
      if (page->next.empty()) break;
      query.cursor = page->next;
    }
    return names;
  };

  const auto ready = all({.state = JobState::ready, .limit = 4});
  EXPECT_EQ(ready.size(), 25U);
  EXPECT_EQ(std::set<std::string>(ready.begin(), ready.end()).size(), 25U);
  EXPECT_EQ(all({.state = JobState::scheduled, .limit = 4}).size(), 25U);
  EXPECT_EQ(all({.state = JobState::ready, .queue = "odd", .limit = 5}).size(), 12U);
  EXPECT_EQ(all({.state = JobState::ready, .queue = "odd", .limit = 5}).front(), "r1");
  EXPECT_EQ(all({.state = JobState::ready, .class_name = "Rare", .limit = 2}).size(), 5U);
  EXPECT_EQ(all({.state = JobState::scheduled, .queue = "odd", .limit = 2}).size(), 0U);
  EXPECT_EQ(all({.state = JobState::ready, .queue = "nowhere"}).size(), 0U);
  EXPECT_EQ(all({.state = JobState::dead}).size(), 0U);

  auto page = store_->list({.state = JobState::scheduled, .limit = 10}).value();
  std::vector<std::string> seen = jids(page);
  ASSERT_TRUE(store_->remove({seen[9], "s24"}));
  page = store_->list({.state = JobState::scheduled, .cursor = page.next, .limit = 100}).value();
  EXPECT_EQ(page.jobs.size(), 14U);
  EXPECT_TRUE(page.next.empty());

  EXPECT_EQ(store_->list({.state = JobState::ready, .cursor = "nonsense"}).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(store_->list({.state = JobState::ready, .limit = 0}).error().code(), ErrorCode::invalid_argument);
  ASSERT_EQ(take(*store_, node(*store_), 7, {"even"}).size(), 7U);
  EXPECT_EQ(all({.state = JobState::running, .limit = 3}).size(), 7U);
}

TEST_P(JobStoreConformance, queues_tell_sizes_and_the_age_of_the_next_job) {
  enqueue(*store_, {"a"}, "alpha");
  const WallTime first = world_->now();
  world_->advance(3s);
  enqueue(*store_, {"b"}, "alpha");
  enqueue(*store_, {"c"}, "beta");
  ASSERT_EQ(take(*store_, node(*store_), 1, {"beta"}).size(), 1U);

  const auto queues = store_->queues("", 10).value();

  ASSERT_EQ(queues.size(), 2U);
  EXPECT_EQ(queues[0].name, "alpha");
  EXPECT_EQ(queues[0].counts.ready, 2U);
  EXPECT_EQ(queues[0].next_enqueued_at, first);
  EXPECT_EQ(queues[1].counts.running, 1U);
  EXPECT_EQ(queues[1].next_enqueued_at, std::nullopt);
  EXPECT_EQ(store_->queues("alpha", 10)->size(), 1U);
  EXPECT_EQ(store_->queues("", 1)->size(), 1U);
  EXPECT_EQ(store_->totals()->queues, 2U);
}

TEST_P(JobStoreConformance, the_dead_set_keeps_to_its_limits_and_counts_what_it_drops) {
  StoreLimits limits;
  limits.dead_count_limit = 3;
  limits.dead_age_limit = 24h;
  const auto store = world_->open(limits);
  const auto bury = [&](const std::string& jid) {
    enqueue(*store, {jid});
    const auto by = node(*store);
    const auto taken = take(*store, by);
    EXPECT_EQ(settle(*store, Settlement::bury(taken.at(0).token, std::nullopt, "why")), ItemOutcome::done);
  };
  for (const char* jid : {"a", "b", "c", "d"}) {
    bury(jid);
    world_->advance(1s);
  }

  EXPECT_EQ(jids(*store->list({.state = JobState::dead})), (std::vector<std::string>{"b", "c", "d"}));
  EXPECT_EQ(counts(*store).trimmed, 1U);
  EXPECT_EQ(kinds(whole_journal(*store, "a")).back(), JournalKind::trimmed);

  world_->advance(25h);
  const auto by = node(*store);
  ASSERT_TRUE(store->renew_lease(by));
  EXPECT_EQ(counts(*store).dead, 0U);
  EXPECT_EQ(counts(*store).trimmed, 4U);
  EXPECT_TRUE(counts(*store).balanced());
}

// --- the journal -----------------------------------------------------------------------------------------------------

TEST_P(JobStoreConformance, the_journal_tells_a_jobs_life_in_order_with_what_the_caller_said) {
  std::vector<jobs::EnqueueRequest> batch = {job("a")};
  batch[0].due = world_->now() + 1s;
  batch[0].detail = R"({"by":"client"})";
  ASSERT_TRUE(store_->enqueue(std::move(batch)));
  world_->advance(1s);
  const auto due = store_->peek_due(world_->now(), 1).value();
  ASSERT_TRUE(store_->promote({{due.jobs.at(0).handle, std::nullopt, R"({"by":"poller"})"}}));
  const auto by = node(*store_);
  auto taken = take(*store_, by);
  ASSERT_EQ(settle(*store_, Settlement::retry(taken.at(0).token, "2", world_->now(), R"({"error":"E"})")),
            ItemOutcome::done);
  ASSERT_TRUE(store_->retry_now({{"a"}}));
  taken = take(*store_, by);
  ASSERT_EQ(settle(*store_, Settlement::finish(taken.at(0).token, R"({"ms":1})")), ItemOutcome::done);

  const auto rows = whole_journal(*store_, {}, 2);

  EXPECT_EQ(kinds(rows), (std::vector<JournalKind>{JournalKind::scheduled, JournalKind::promoted, JournalKind::started,
                                                   JournalKind::retried, JournalKind::retried_now, JournalKind::started,
                                                   JournalKind::finished}));
  EXPECT_EQ(rows[0].detail, R"({"by":"client"})");
  EXPECT_EQ(rows[1].detail, R"({"by":"poller"})");
  EXPECT_EQ(rows[3].detail, R"({"error":"E"})");
  EXPECT_EQ(rows[3].queue, "default");
  EXPECT_EQ(rows[3].class_name, "Work");
  EXPECT_EQ(rows[3].at, world_->now());
  EXPECT_TRUE(std::ranges::is_sorted(rows, {}, &jobs::JournalRow::cursor));
  EXPECT_EQ(rows.back().cursor, store_->journal_end().value());
  EXPECT_EQ(store_->totals()->journal_rows, rows.size());
}

TEST_P(JobStoreConformance, a_journal_cursor_resumes_in_another_session) {
  enqueue(*store_, {"a", "b", "c"});
  const auto first = store_->read_journal({0, 2, {}}).value();
  ASSERT_EQ(first.rows.size(), 2U);
  EXPECT_FALSE(first.at_end);

  const auto other = world_->open();
  const auto rest = other->read_journal({first.next, 10, {}}).value();

  ASSERT_EQ(rest.rows.size(), 1U);
  EXPECT_EQ(rest.rows[0].jid, "c");
  EXPECT_TRUE(rest.at_end);
  EXPECT_FALSE(rest.gap);
  EXPECT_EQ(rest.next, other->journal_end().value());
  const auto none = other->read_journal({rest.next, 10, {}}).value();
  EXPECT_TRUE(none.rows.empty());
  EXPECT_EQ(none.next, rest.next);
}

TEST_P(JobStoreConformance, jobs_that_are_not_journaled_leave_no_rows_and_are_counted_all_the_same) {
  std::vector<jobs::EnqueueRequest> batch = {job("silent"), job("told")};
  batch[0].journaled = false;
  ASSERT_TRUE(store_->enqueue(std::move(batch)));
  const auto taken = take(*store_, node(*store_));
  EXPECT_FALSE(taken.at(0).journaled);
  EXPECT_TRUE(taken.at(1).journaled);
  ASSERT_TRUE(store_->settle({Settlement::finish(taken[0].token), Settlement::finish(taken[1].token)}));

  EXPECT_TRUE(whole_journal(*store_, "silent").empty());
  EXPECT_EQ(whole_journal(*store_, "told").size(), 3U);
  EXPECT_EQ(counts(*store_).finished, 2U);

  StoreLimits limits;
  limits.journal = false;
  const auto off = world_->open(limits);
  enqueue(*off, {"unseen"});
  EXPECT_TRUE(whole_journal(*off, "unseen").empty());
}

TEST_P(JobStoreConformance, the_journal_keeps_to_its_limits_and_says_what_a_reader_missed) {
  StoreLimits limits;
  limits.journal_rows_limit = 500;
  limits.journal_age_limit = 1h;
  const auto store = world_->open(limits);
  const auto fill = [&](int batches, const std::string& prefix) {
    for (int index = 0; index < batches; ++index) {
      std::vector<std::string> names;
      for (int item = 0; item < 100; ++item) names.push_back(concat(prefix, index, "_", item));
      enqueue(*store, std::move(names));
    }
  };
  fill(3, "early");
  const auto early = store->read_journal({0, 100, {}}).value();

  fill(20, "flood");

  EXPECT_LE(store->totals()->journal_rows, 500U + 256U + 100U);
  EXPECT_GE(store->totals()->journal_rows, 500U);
  const auto late = store->read_journal({early.next, 100, {}}).value();
  EXPECT_TRUE(late.gap);
  EXPECT_EQ(late.rows.size(), 100U);
  EXPECT_EQ(whole_journal(*store).size(), store->totals()->journal_rows);
  EXPECT_FALSE(store->read_journal({late.next, 100, {}})->gap);

  world_->advance(2h);
  const auto by = node(*store);
  for (int beat = 0; beat < 3; ++beat) ASSERT_TRUE(store->renew_lease(by));
  EXPECT_EQ(store->totals()->journal_rows, 0U);
  EXPECT_EQ(store->read_journal({late.next, 100, {}})->next, late.next);
}

// --- waiting for changes --------------------------------------------------------------------------------------------

TEST_P(JobStoreConformance, a_wait_for_change_that_has_already_happened_returns_at_once) {
  const std::uint64_t ready = store_->store().change_count(jobs::ChangeKind::ready);
  const std::uint64_t journal = store_->store().change_count(jobs::ChangeKind::journal);
  enqueue(*store_, {"a"});

  const auto seen = store_->runtime().run(store_->store().wait_for_change(jobs::ChangeKind::ready, ready, 1h));
  ASSERT_TRUE(seen) << seen.error().message();
  EXPECT_NE(*seen, ready);
  EXPECT_EQ(*seen, store_->store().change_count(jobs::ChangeKind::ready));
  EXPECT_NE(store_->store().change_count(jobs::ChangeKind::journal), journal);
}

TEST_P(JobStoreConformance, a_wait_for_change_ends_when_jobs_come_into_a_queue) {
  const auto other = world_->open();
  for (StoreSession* origin : {store_.get(), other.get()}) {
    std::vector<std::uint64_t> woken;
    const std::uint64_t before = store_->store().change_count(jobs::ChangeKind::ready);
    jobs::JobStore& waiting = store_->store();
    jobs::JobStore& changing = origin->store();
    const std::string jid = origin == store_.get() ? "own" : "foreign";
    const Pid enqueuer = store_->runtime().spawn([&changing, jid]() -> Async<void> {
      std::vector<jobs::EnqueueRequest> batch;
      batch.push_back(job(jid));
      const auto outcomes = co_await changing.enqueue(std::move(batch));
      EXPECT_TRUE(outcomes);
    });
    const auto changed = store_->runtime().run(waiting.wait_for_change(jobs::ChangeKind::ready, before, 1h));
    ASSERT_TRUE(changed) << changed.error().message();
    EXPECT_NE(*changed, before) << jid;
    EXPECT_EQ(state_of(*store_, jid), JobState::ready);
    static_cast<void>(enqueuer);
  }
}

// --- queues, by hand ------------------------------------------------------------------------------------------------

TEST_P(JobStoreConformance, nothing_is_taken_from_a_paused_queue_by_anybody_until_it_is_resumed) {
  enqueue(*store_, {"a", "b"});
  enqueue(*store_, {"c"}, "other");
  const auto other = world_->open();
  const auto here = node(*store_);
  const auto there = node(*other);
  const auto running = take(*store_, here, 1);

  EXPECT_TRUE(other->pause_queue("default", "ann", "the disk is full").value());
  EXPECT_FALSE(store_->pause_queue("default", "bob", "lunch").value());

  EXPECT_TRUE(take(*store_, here, 10, {"default"}).empty());
  EXPECT_EQ(jids(take(*store_, here, 10, {"default", "other"})), std::vector<std::string>{"c"});
  EXPECT_TRUE(take(*other, there, 10, {"default", "other"}).empty());
  enqueue(*store_, {"d"});
  EXPECT_EQ(settle(*store_, Settlement::requeue(running.at(0).token)), ItemOutcome::done) << "what runs goes on";
  EXPECT_TRUE(take(*other, there).empty());
  const auto queues = store_->queues("", 10).value();
  ASSERT_EQ(queues.size(), 2U);
  ASSERT_TRUE(queues[0].pause);
  EXPECT_EQ(*queues[0].pause, (jobs::QueuePause{"ann", "the disk is full", world_->now()})) << "the first one counts";
  EXPECT_EQ(queues[1].pause, std::nullopt);

  EXPECT_TRUE(store_->resume_queue("default").value());
  EXPECT_FALSE(store_->resume_queue("default").value());
  EXPECT_FALSE(store_->resume_queue("never seen").value());
  EXPECT_EQ(jids(take(*other, there)), (std::vector<std::string>{"a", "b", "d"}));
  EXPECT_EQ(store_->queues("", 10)->front().pause, std::nullopt);
}

TEST_P(JobStoreConformance, a_queue_can_be_paused_before_it_has_jobs) {
  EXPECT_TRUE(store_->pause_queue("new").value());
  const auto queues = store_->queues("", 10).value();
  ASSERT_EQ(queues.size(), 1U);
  EXPECT_EQ(queues[0].name, "new");
  EXPECT_TRUE(queues[0].pause);
  enqueue(*store_, {"a"}, "new");
  EXPECT_TRUE(take(*store_, node(*store_), 10, {"new"}).empty());
  EXPECT_EQ(store_->pause_queue("").error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(store_->pause_queue("new", std::string(256, 'b')).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(store_->resume_queue("").error().code(), ErrorCode::invalid_argument);
}

TEST_P(JobStoreConformance, a_resume_wakes_those_who_wait_for_jobs) {
  const auto other = world_->open();
  for (StoreSession* origin : {store_.get(), other.get()}) {
    enqueue(*store_, {origin == store_.get() ? "own" : "foreign"});
    ASSERT_TRUE(store_->pause_queue("default").value());
    const auto by = node(*store_);
    ASSERT_TRUE(take(*store_, by).empty());
    const std::uint64_t before = store_->store().change_count(jobs::ChangeKind::ready);
    jobs::JobStore& resuming = origin->store();
    std::atomic<bool> ended{false};
    store_->runtime().spawn([&resuming, &ended]() -> Async<void> {
      const auto resumed = co_await resuming.resume_queue("default");
      EXPECT_TRUE(resumed.value_or(false));
      ended = true;
    });
    std::vector<jobs::TakenJob> taken;
    std::uint64_t seen = before;
    for (int wakes = 0; taken.empty() && wakes < 100; ++wakes) {  // waking without cause is allowed
      seen = store_->runtime().run(store_->store().wait_for_change(jobs::ChangeKind::ready, seen, 1h)).value();
      taken = take(*store_, by);
    }
    ASSERT_EQ(taken.size(), 1U);
    EXPECT_EQ(settle(*store_, Settlement::finish(taken[0].token)), ItemOutcome::done);
    while (!ended) ASSERT_TRUE(store_->totals());
  }
}

TEST_P(JobStoreConformance, clearing_a_queue_deletes_what_waits_in_it_slice_by_slice_and_nothing_else) {
  enqueue(*store_, {"running"});
  const auto taken = take(*store_, node(*store_));
  std::vector<std::string> names;
  for (int index = 0; index < 700; ++index) names.push_back(concat("w", 1000 + index));
  enqueue(*store_, names);
  enqueue(*store_, {"elsewhere"}, "other");
  std::vector<jobs::EnqueueRequest> batch = {job("later")};
  batch[0].due = world_->now() + 1h;
  ASSERT_TRUE(store_->enqueue(std::move(batch)));

  EXPECT_EQ(store_->clear_queue("default", 300).value(), 300U);
  EXPECT_EQ(state_of(*store_, "w1299"), std::nullopt) << "those that would have been taken next";
  EXPECT_EQ(state_of(*store_, "w1300"), JobState::ready);
  EXPECT_EQ(kinds(whole_journal(*store_, "w1000")), (std::vector{JournalKind::enqueued, JournalKind::deleted}));
  EXPECT_EQ(store_->clear_queue("default", 1000).value(), 400U);
  EXPECT_EQ(store_->clear_queue("default", 1000).value(), 0U);
  EXPECT_EQ(store_->clear_queue("never seen", 1000).value(), 0U);

  EXPECT_EQ(state_of(*store_, "running"), JobState::running);
  EXPECT_EQ(state_of(*store_, "elsewhere"), JobState::ready);
  EXPECT_EQ(state_of(*store_, "later"), JobState::scheduled);
  EXPECT_EQ(counts(*store_).deleted, 700U);
  const std::vector<jobs::QueueInfo> queues = store_->queues("", 10).value();
  for (const jobs::QueueInfo& queue : queues) EXPECT_TRUE(queue.counts.balanced()) << queue.name;
  enqueue(*store_, {"w1000"});  // a deleted jid is free again
  EXPECT_EQ(store_->clear_queue("default", 0).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(store_->clear_queue("", 1).error().code(), ErrorCode::invalid_argument);
}

TEST_P(JobStoreConformance, a_job_moves_to_another_queue_from_wherever_it_waits_and_stays_what_it_was) {
  const auto named = [](const std::string& jid) {
    return concat(R"({ "retry":true,"queue" :"default","args":[ 1.50,{"queue":"default"}],"class":"Work",)",
                  R"("jid":")", jid, R"(","created_at":1795219126.25,"unknown" : {"x":1e400}})");
  };
  std::vector<jobs::EnqueueRequest> batch;
  for (const char* jid : {"retrying", "dead", "running", "ready", "scheduled"}) {
    batch.push_back(job(jid));
    batch.back().payload = named(jid);
  }
  batch.back().due = world_->now() + 1h;
  batch.push_back(job("opaque"));
  batch.back().payload = std::string("not json \0", 10);
  ASSERT_TRUE(store_->enqueue(std::move(batch)));
  enqueue(*store_, {"before"}, "other");
  const auto by = node(*store_);
  const auto taken = take(*store_, by, 3);
  ASSERT_EQ(taken.size(), 3U);
  Settlement retry = Settlement::retry(taken[0].token, {}, world_->now() + 1min);
  retry.payload.reset();
  ASSERT_EQ(settle(*store_, std::move(retry)), ItemOutcome::done);
  ASSERT_EQ(settle(*store_, Settlement::bury(taken[1].token, std::nullopt, "why")), ItemOutcome::done);

  const char* const all[] = {"retrying", "dead", "running", "ready", "scheduled", "opaque", "none", "before"};
  std::vector<jobs::MoveJob> moves;
  for (const char* jid : all) moves.push_back({jid, "other", R"({"by":"ann"})"});
  EXPECT_EQ(store_->move(moves).value(),
            (Outcomes{ItemOutcome::done, ItemOutcome::done, ItemOutcome::running, ItemOutcome::done, ItemOutcome::done,
                      ItemOutcome::done, ItemOutcome::missing, ItemOutcome::done}));

  const std::map<std::string, JobState> expected = {{"retrying", JobState::retrying},
                                                    {"dead", JobState::dead},
                                                    {"ready", JobState::ready},
                                                    {"scheduled", JobState::scheduled}};
  for (const auto& [jid, state] : expected) {
    const auto found = store_->find(jid).value();
    ASSERT_TRUE(found) << jid;
    EXPECT_EQ(found->state, state) << jid;
    EXPECT_EQ(found->queue, "other") << jid;
    std::string moved = named(jid);
    moved.replace(moved.find(R"("default")"), 9, R"("other")");
    EXPECT_EQ(found->payload, moved) << "no other byte changes";
    const auto rows = whole_journal(*store_, jid);
    ASSERT_FALSE(rows.empty());
    EXPECT_EQ(rows.back().kind, JournalKind::moved);
    EXPECT_EQ(rows.back().queue, "other");
    EXPECT_EQ(rows.back().detail, R"({"by":"ann"})");
  }
  EXPECT_EQ(store_->find("dead")->value().reason, "why");
  EXPECT_EQ(store_->find("retrying")->value().due, world_->now() + 1min);
  EXPECT_EQ(store_->find("opaque")->value().payload, std::string("not json \0", 10));
  EXPECT_EQ(store_->move(moves)->at(0), ItemOutcome::done) << "repeating is safe";

  const auto queues = store_->queues("", 10).value();
  ASSERT_EQ(queues.size(), 2U);
  EXPECT_EQ(queues[0].counts.moved_out, 5U);
  EXPECT_EQ(queues[0].counts.running, 1U);
  EXPECT_EQ(queues[1].counts.moved_in, 5U);
  EXPECT_EQ(queues[1].counts.ready, 3U);
  EXPECT_EQ(queues[1].counts.scheduled, 1U);
  EXPECT_EQ(queues[1].counts.retrying, 1U);
  EXPECT_EQ(queues[1].counts.dead, 1U);
  for (const jobs::QueueInfo& queue : queues) EXPECT_TRUE(queue.counts.balanced()) << queue.name;
  EXPECT_EQ(jids(take(*store_, by, 10, {"other"})), (std::vector<std::string>{"before", "ready", "opaque"}));
  EXPECT_EQ(store_->move({{"ready", "a b"}}).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(store_->move({}).error().code(), ErrorCode::invalid_argument);
}

// --- all of it together ----------------------------------------------------------------------------------------------

/// Does random operations through two sessions and compares the store with a model after each.
class RandomLife {
 public:
  RandomLife(StoreWorld& world, std::uint64_t seed, bool journal) : world_(world), random_(seed), journal_(journal) {
    for (auto& session : sessions_) session = world_.open({.journal = journal});
    for (std::size_t index = 0; index < nodes_.size(); ++index) nodes_[index] = new_node(index);
  }

  void step() {
    StoreSession& store = *sessions_[random_.below(sessions_.size())];
    switch (random_.below(12)) {
      case 0:
      case 1:
      case 2: return enqueue(store);
      case 3:
      case 4: return take();
      case 5:
      case 6:
      case 7: return settle(store);
      case 8: return promote(store);
      case 9: return move_or_remove(store);
      case 10: return renew_or_rescue(store);
      default: return replace_a_node(store);
    }
  }

  void check() {
    StoreSession& store = *sessions_[random_.below(sessions_.size())];
    const auto totals = store.totals();
    ASSERT_TRUE(totals) << totals.error().message();
    std::map<JobState, std::uint64_t> expected;
    for (const auto& [jid, state] : states_) ++expected[state];
    EXPECT_EQ(totals->counts.ready, expected[JobState::ready]);
    EXPECT_EQ(totals->counts.scheduled, expected[JobState::scheduled]);
    EXPECT_EQ(totals->counts.retrying, expected[JobState::retrying]);
    EXPECT_EQ(totals->counts.running, expected[JobState::running]);
    EXPECT_EQ(totals->counts.dead, expected[JobState::dead]);
    EXPECT_EQ(totals->counts.enqueued, enqueued_);
    EXPECT_EQ(totals->duplicates, duplicates_);
    const auto queues = store.queues("", 100);
    ASSERT_TRUE(queues);
    for (const jobs::QueueInfo& queue : *queues) EXPECT_TRUE(queue.counts.balanced()) << queue.name;
  }

  /// Every job is where the model says, and where folding its journal says.
  void check_every_job() {
    StoreSession& store = *sessions_[0];
    std::map<std::string, std::optional<JobState>> folded;
    jobs::JournalCursor after = 0;
    while (true) {
      const auto page = store.read_journal({after, 1000, {}});
      ASSERT_TRUE(page) << page.error().message();
      for (const jobs::JournalRow& row : page->rows) {
        std::optional<JobState>& state = folded[row.jid];
        state = state_after(row.kind, state);
      }
      after = page->next;
      if (page->at_end) break;
    }
    std::size_t live = 0;
    for (const auto& [jid, state] : folded) {
      const auto known = states_.find(jid);
      if (known == states_.end()) {
        EXPECT_EQ(state, std::nullopt) << jid;
      } else {
        EXPECT_EQ(state, known->second) << jid;
        ++live;
      }
    }
    EXPECT_EQ(live, journal_ ? states_.size() : 0);
    const auto findings = store.check();
    ASSERT_TRUE(findings) << findings.error().message();
    for (const jobs::StoreFinding& finding : *findings) {
      EXPECT_NE(finding.level, jobs::StoreFinding::Level::damage) << finding.text;
    }
    for (const auto& [jid, state] : states_) {
      const auto found = store.find(jid);
      ASSERT_TRUE(found && *found) << jid;
      EXPECT_EQ((*found)->state, state) << jid;
      EXPECT_EQ((*found)->payload, payloads_.at(jid)) << jid << ": not a byte changes that is not ours";
    }
    for (const JobState state :
         {JobState::ready, JobState::scheduled, JobState::retrying, JobState::running, JobState::dead}) {
      jobs::ListQuery query{.state = state, .limit = 7};
      std::size_t listed = 0;
      while (true) {
        const auto page = store.list(query);
        ASSERT_TRUE(page) << page.error().message();
        for (const jobs::StoredJob& job : page->jobs) {
          EXPECT_EQ(states_.at(job.jid), state);
          ++listed;
        }
        if (page->next.empty()) break;
        query.cursor = page->next;
      }
      EXPECT_EQ(listed, std::ranges::count_if(states_, [&](const auto& known) { return known.second == state; }));
    }
  }

 private:
  struct Node {
    jobs::NodeEpoch epoch = 0;
    std::size_t session = 0;
  };
  struct Held {
    jobs::ClaimToken token;
    std::string jid;
    bool valid = true;
  };

  Node new_node(std::size_t index) {
    const std::size_t session = index % sessions_.size();
    const auto epoch = sessions_[session]->register_node({concat("n", index), "{}"});
    EXPECT_TRUE(epoch) << epoch.error().message();
    return {epoch.value_or(0), session};
  }

  /// No job, so that a move leaves it as it is.
  std::string random_bytes() {
    std::string bytes(random_.below(300), 'x');
    for (char& byte : bytes) byte = static_cast<char>(random_.below(256));
    return bytes;
  }

  void enqueue(StoreSession& store) {
    std::vector<jobs::EnqueueRequest> batch;
    std::vector<ItemOutcome> expected;
    for (std::uint64_t left = 1 + random_.below(5); left > 0; --left) {
      jobs::EnqueueRequest request;
      request.jid = concat("j", random_.below(120));
      request.queue = concat("q", random_.below(3));
      request.class_name = "C";
      request.payload = random_bytes();
      request.priority = static_cast<std::int16_t>(random_.below(3));
      const bool later = random_.below(3) == 0;
      if (later) request.due = world_.now() + std::chrono::seconds(random_.below(60));
      if (states_.contains(request.jid)) {
        expected.push_back(ItemOutcome::duplicate);
        ++duplicates_;
      } else {
        expected.push_back(ItemOutcome::done);
        states_[request.jid] = later ? JobState::scheduled : JobState::ready;
        payloads_[request.jid] = request.payload;
        ++enqueued_;
      }
      batch.push_back(std::move(request));
    }
    const auto outcomes = store.enqueue(std::move(batch));
    ASSERT_TRUE(outcomes) << outcomes.error().message();
    EXPECT_EQ(*outcomes, expected);
  }

  void take() {
    const Node& node = nodes_[random_.below(nodes_.size())];
    const auto taken = sessions_[node.session]->take({node.epoch, {"q1", "q0", "q2"}, 1 + random_.below(6)});
    if (!taken) {
      EXPECT_EQ(taken.error().code(), ErrorCode::refused) << taken.error().message();
      return;
    }
    for (const jobs::TakenJob& job : *taken) {
      EXPECT_EQ(states_.at(job.jid), JobState::ready) << job.jid;
      EXPECT_EQ(job.payload, payloads_.at(job.jid)) << job.jid;
      states_[job.jid] = JobState::running;
      held_.push_back({job.token, job.jid, true});
    }
  }

  void settle(StoreSession& store) {
    if (held_.empty()) return;
    std::vector<Settlement> batch;
    std::vector<ItemOutcome> expected;
    for (std::uint64_t left = 1 + random_.below(4); left > 0 && !held_.empty(); --left) {
      const std::size_t chosen = random_.below(held_.size());
      Held& held = held_[chosen];
      expected.push_back(held.valid ? ItemOutcome::done : ItemOutcome::refused);
      const std::uint64_t way = random_.below(5);
      std::optional<JobState> next;
      switch (way) {
        case 0: batch.push_back(Settlement::finish(held.token)); break;
        case 1:
          batch.push_back(
              Settlement::retry(held.token, random_bytes(), world_.now() + std::chrono::seconds(random_.below(30))));
          if (held.valid) payloads_[held.jid] = *batch.back().payload;
          if (random_.below(2) == 0) batch.back().queue = concat("q", random_.below(3));
          next = JobState::retrying;
          break;
        case 2:
          batch.push_back(Settlement::bury(held.token, std::nullopt, "why"));
          next = JobState::dead;
          break;
        case 3: batch.push_back(Settlement::discard(held.token)); break;
        default:
          batch.push_back(Settlement::requeue(held.token));
          next = JobState::ready;
          break;
      }
      if (held.valid && next) states_[held.jid] = *next;
      if (held.valid && !next) states_.erase(held.jid);
      held.valid = false;
      if (random_.below(2) == 0)
        held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(chosen));  // the others try again later
    }
    const auto outcomes = store.settle(std::move(batch));
    ASSERT_TRUE(outcomes) << outcomes.error().message();
    EXPECT_EQ(*outcomes, expected);
  }

  void promote(StoreSession& store) {
    world_.advance(std::chrono::seconds(random_.below(5)));
    const auto due = store.peek_due(world_.now(), 1 + random_.below(10));
    ASSERT_TRUE(due) << due.error().message();
    std::vector<jobs::Promotion> batch;
    for (const jobs::DueJob& job : due->jobs) {
      EXPECT_EQ(states_.at(job.jid), job.state);
      EXPECT_LE(job.due, world_.now());
      batch.push_back({job.handle});
      states_[job.jid] = JobState::ready;
    }
    if (batch.empty()) return;
    const auto outcomes = sessions_[random_.below(sessions_.size())]->promote(std::move(batch));
    ASSERT_TRUE(outcomes) << outcomes.error().message();
    for (const ItemOutcome outcome : *outcomes) EXPECT_EQ(outcome, ItemOutcome::done);
  }

  void move_or_remove(StoreSession& store) {
    const std::string jid = concat("j", random_.below(120));
    const auto known = states_.find(jid);
    if (random_.below(3) == 0) return move_elsewhere(store, jid, known);
    const bool move = random_.below(2) == 0;
    ItemOutcome expected = ItemOutcome::done;
    if (known == states_.end() || (move && known->second == JobState::ready)) {
      expected = ItemOutcome::missing;
    } else if (known->second == JobState::running) {
      expected = ItemOutcome::running;
    } else if (move) {
      known->second = JobState::ready;
    } else {
      states_.erase(known);
    }
    const auto outcomes = move ? store.retry_now({{jid}}) : store.remove({jid});
    ASSERT_TRUE(outcomes) << outcomes.error().message();
    EXPECT_EQ(outcomes->front(), expected) << jid;
  }

  void move_elsewhere(StoreSession& store, const std::string& jid, std::map<std::string, JobState>::iterator known) {
    ItemOutcome expected = ItemOutcome::done;
    if (known == states_.end()) {
      expected = ItemOutcome::missing;
    } else if (known->second == JobState::running) {
      expected = ItemOutcome::running;
    }
    const auto outcomes = store.move({{jid, concat("q", random_.below(3))}});
    ASSERT_TRUE(outcomes) << outcomes.error().message();
    EXPECT_EQ(outcomes->front(), expected) << jid;
  }

  void renew_or_rescue(StoreSession& store) {
    if (random_.below(3) != 0) {
      for (const Node& node : nodes_) {
        if (random_.below(4) != 0) {
          const auto renewed = sessions_[node.session]->renew_lease(node.epoch);
          EXPECT_TRUE(renewed || renewed.error().code() == ErrorCode::refused);
        }
      }
      return;
    }
    world_.advance(world_.lease() / 3);
    const auto report = store.rescue_dead_nodes(0, 1 + random_.below(8));
    ASSERT_TRUE(report) << report.error().message();
    for (const jobs::RescuedJob& job : report->jobs) {
      EXPECT_EQ(states_.at(job.jid), JobState::running) << job.jid;
      states_[job.jid] = job.quarantined ? JobState::dead : JobState::ready;
      for (Held& held : held_) {
        if (held.jid == job.jid && held.token.node == job.node) held.valid = false;
      }
    }
  }

  void replace_a_node(StoreSession& store) {
    if (random_.below(4) != 0) return;
    const std::size_t index = random_.below(nodes_.size());
    const auto given_back = store.retire_node(nodes_[index].epoch);
    if (given_back) {
      for (Held& held : held_) {
        if (held.valid && held.token.node == nodes_[index].epoch) {
          states_[held.jid] = JobState::ready;
          held.valid = false;
        }
      }
    } else {
      EXPECT_EQ(given_back.error().code(), ErrorCode::not_found);
    }
    nodes_[index] = new_node(index);
  }

  StoreWorld& world_;
  Random random_;
  bool journal_;
  std::array<std::unique_ptr<StoreSession>, 2> sessions_;
  std::array<Node, 3> nodes_;
  std::map<std::string, JobState> states_;
  std::map<std::string, std::string> payloads_;  // of the jobs that are there, and of some that were
  std::vector<Held> held_;
  std::uint64_t enqueued_ = 0;
  std::uint64_t duplicates_ = 0;
};

TEST_P(JobStoreConformance, after_random_operations_every_job_is_in_one_state_and_all_counts_add_up) {
  const char* const given = std::getenv("DAGVERK_SEED");
  const std::uint64_t first = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed() % 1'000'000'000;
  const int lives = given != nullptr ? 1 : 8;
  for (int life = 0; life < lives; ++life) {
    const std::uint64_t seed = first + static_cast<std::uint64_t>(life);
    SCOPED_TRACE(concat("replay with DAGVERK_SEED=", seed));
    const auto world = GetParam().make();
    RandomLife random_life(*world, seed, seed % 2 == 0);
    for (int step = 0; step < 300; ++step) {
      random_life.step();
      random_life.check();
      if (HasFailure()) return;
    }
    random_life.check_every_job();
    if (HasFailure()) return;
  }
}

}  // namespace dagverk::conformance
