// Jobs that recur, as every store keeps them.

#include "conformance/job_store_fixture.hpp"

namespace dagverk::conformance {
namespace {

jobs::CronEntry entry(std::string name, WallTime last) {
  jobs::CronEntry entry;
  entry.name = std::move(name);
  entry.schedule = "0 3 * * *";
  entry.zone = "Europe/Berlin";
  entry.class_name = "Report";
  entry.queue = "slow";
  entry.args_json = "[\"a\\nb\",\n1]";
  entry.missed = jobs::MissedRuns::all;
  entry.origin = "dagverk.toml:7";
  entry.last_slot = last;
  return entry;
}

jobs::CronEntry only(StoreSession& store) {
  const auto table = store.list_cron();
  EXPECT_TRUE(table) << table.error().message();
  EXPECT_EQ(table->entries.size(), 1U);
  return table->entries.empty() ? jobs::CronEntry() : table->entries.front();
}

TEST_P(JobStoreConformance, a_cron_entry_comes_back_as_it_was_put_and_changes_as_a_whole) {
  const WallTime start = world_->now();
  EXPECT_TRUE(store_->list_cron()->entries.empty());
  EXPECT_TRUE(store_->put_cron(entry("nightly", start)).value());
  EXPECT_FALSE(store_->put_cron(entry("nightly", start + 1h)).value()) << "it is just so";
  EXPECT_TRUE(store_->put_cron(entry("a: b", start)).value());

  const auto other = world_->open();
  const jobs::CronTable table = other->list_cron().value();
  ASSERT_EQ(table.entries.size(), 2U);
  EXPECT_EQ(table.entries[0].name, "a: b");
  const jobs::CronEntry& read = table.entries[1];
  const jobs::CronEntry put = entry("nightly", start);
  EXPECT_EQ(read.schedule, put.schedule);
  EXPECT_EQ(read.zone, put.zone);
  EXPECT_EQ(read.class_name, put.class_name);
  EXPECT_EQ(read.queue, put.queue);
  EXPECT_EQ(read.args_json, put.args_json);
  EXPECT_EQ(read.missed, put.missed);
  EXPECT_EQ(read.origin, put.origin);
  EXPECT_EQ(read.last_slot, start);
  EXPECT_EQ(read.pause, std::nullopt);
  EXPECT_EQ(table.version, table.entries[0].revision);
  EXPECT_GT(table.version, read.revision);

  EXPECT_TRUE(other->remove_cron("a: b").value());
  EXPECT_FALSE(other->remove_cron("a: b").value());
  EXPECT_GT(store_->list_cron()->version, table.version);

  // Another job leaves its slots as they are; another schedule begins later, never earlier.
  jobs::CronEntry changed = entry("nightly", start + 1h);
  changed.class_name = "Other";
  EXPECT_TRUE(store_->put_cron(changed).value());
  EXPECT_EQ(only(*other).class_name, "Other");
  EXPECT_EQ(only(*other).last_slot, start);
  changed.schedule = "@hourly";
  EXPECT_TRUE(store_->put_cron(changed).value());
  EXPECT_EQ(only(*other).last_slot, start + 1h);
  changed.zone = "UTC";
  changed.last_slot = start;
  EXPECT_TRUE(store_->put_cron(changed).value());
  EXPECT_EQ(only(*other).last_slot, start + 1h);
  EXPECT_GT(only(*other).revision, read.revision);
}

TEST_P(JobStoreConformance, a_slot_is_fired_once_whoever_tries) {
  const WallTime start = world_->now();
  const WallTime slot = start + 1h;
  ASSERT_TRUE(store_->put_cron(entry("nightly", start)).value());
  const auto other = world_->open();
  const std::uint64_t seen = only(*store_).revision;
  const std::uint64_t ready = store_->store().change_count(jobs::ChangeKind::ready);

  jobs::EnqueueRequest first = job("a", "slow");
  first.detail = R"({"cron":"nightly"})";
  const auto fired = store_->fire_cron({"nightly", seen, slot, {first}}).value();
  EXPECT_EQ(fired.outcome, ItemOutcome::done);
  EXPECT_EQ(only(*other).revision, fired.revision);
  EXPECT_EQ(other->list_cron()->version, fired.revision);
  EXPECT_EQ(only(*other).last_slot, slot);
  EXPECT_NE(store_->store().change_count(jobs::ChangeKind::ready), ready);
  EXPECT_EQ(whole_journal(*store_, "a").at(0).detail, first.detail);

  EXPECT_EQ(other->fire_cron({"nightly", seen, slot, {job("b", "slow")}})->outcome, ItemOutcome::refused);
  EXPECT_EQ(other->fire_cron({"nightly", fired.revision, slot, {job("c", "slow")}})->outcome, ItemOutcome::refused);
  EXPECT_EQ(other->fire_cron({"nobody", fired.revision, slot, {job("d", "slow")}})->outcome, ItemOutcome::missing);
  EXPECT_EQ(jids(take(*store_, node(*store_), 10, {"slow"})), std::vector<std::string>{"a"});

  // Several jobs of one step, in order, and none at all.
  const auto second = other->fire_cron({"nightly", fired.revision, slot + 2h, {job("e", "slow"), job("f", "fast")}});
  ASSERT_EQ(second->outcome, ItemOutcome::done);
  EXPECT_EQ(counts(*store_).ready, 2U);
  EXPECT_EQ(counts(*store_).enqueued, 3U);
  const auto third = other->fire_cron({"nightly", second->revision, slot + 3h, {}});
  ASSERT_EQ(third->outcome, ItemOutcome::done);
  EXPECT_EQ(counts(*store_).ready, 2U);
  EXPECT_EQ(only(*store_).last_slot, slot + 3h);

  // An entry that was put anew is another one.
  ASSERT_TRUE(store_->remove_cron("nightly").value());
  ASSERT_TRUE(store_->put_cron(entry("nightly", start)).value());
  EXPECT_EQ(other->fire_cron({"nightly", third->revision, slot + 4h, {job("g", "slow")}})->outcome,
            ItemOutcome::refused);
}

TEST_P(JobStoreConformance, what_cannot_be_enqueued_leaves_a_cron_entry_as_it_was) {
  const WallTime start = world_->now();
  ASSERT_TRUE(store_->put_cron(entry("nightly", start)).value());
  const jobs::CronEntry before = only(*store_);
  jobs::CronFire fire{"nightly", before.revision, start + 1h, {job("a"), job(std::string(256, 'j'))}};
  EXPECT_EQ(store_->fire_cron(fire).error().code(), ErrorCode::invalid_argument);
  fire.jobs = {job("a"), job("big")};
  fire.jobs[1].payload.assign(jobs::payload_size_limit + 1, 'p');
  EXPECT_EQ(store_->fire_cron(fire).error().code(), ErrorCode::too_large);
  EXPECT_EQ(only(*store_).revision, before.revision);
  EXPECT_EQ(counts(*store_).enqueued, 0U);
}

TEST_P(JobStoreConformance, a_paused_cron_entry_is_not_fired_and_misses_nothing) {
  const WallTime start = world_->now();
  ASSERT_TRUE(store_->put_cron(entry("nightly", start)).value());
  EXPECT_TRUE(store_->pause_cron("nightly", "ann", "holidays: two\nweeks").value());
  EXPECT_FALSE(store_->pause_cron("nightly", "bob", "").value());
  const jobs::CronEntry paused = only(*store_);
  EXPECT_EQ(paused.pause, (jobs::QueuePause{"ann", "holidays: two\nweeks", start}));
  EXPECT_EQ(store_->fire_cron({"nightly", paused.revision, start + 1h, {job("a")}})->outcome, ItemOutcome::refused);
  jobs::CronEntry changed = entry("nightly", start);
  changed.schedule = "@daily";
  EXPECT_TRUE(store_->put_cron(changed).value());
  EXPECT_EQ(only(*store_).pause, paused.pause) << "who changes an entry does not resume it";

  world_->advance(5h);
  EXPECT_TRUE(store_->resume_cron("nightly").value());
  EXPECT_FALSE(store_->resume_cron("nightly").value());
  const jobs::CronEntry resumed = only(*store_);
  EXPECT_EQ(resumed.pause, std::nullopt);
  EXPECT_EQ(resumed.last_slot, start + 5h);
  EXPECT_EQ(store_->fire_cron({"nightly", resumed.revision, start + 6h, {job("a")}})->outcome, ItemOutcome::done);
  EXPECT_EQ(store_->pause_cron("nobody").error().code(), ErrorCode::not_found);
  EXPECT_EQ(store_->resume_cron("nobody").error().code(), ErrorCode::not_found);
}

TEST_P(JobStoreConformance, one_leads_until_it_is_not_heard_of_for_its_lease) {
  const auto other = world_->open();
  const auto first = store_->lead_cron("a", 15s).value();
  EXPECT_TRUE(first.leads);
  EXPECT_EQ(first.leader, "a");
  EXPECT_EQ(first.now, world_->now());
  EXPECT_EQ(first.version, store_->list_cron()->version);
  EXPECT_FALSE(other->lead_cron("b", 15s)->leads);
  EXPECT_EQ(other->lead_cron("b", 15s)->leader, "a");
  EXPECT_FALSE(other->lead_cron("b", 0s)->leads) << "gives up what it has not";
  world_->advance(14s);
  EXPECT_TRUE(store_->lead_cron("a", 15s)->leads);
  world_->advance(14s);
  EXPECT_FALSE(other->lead_cron("b", 15s)->leads);
  world_->advance(2s);
  EXPECT_TRUE(other->lead_cron("b", 15s)->leads);
  EXPECT_FALSE(store_->lead_cron("a", 15s)->leads);
  EXPECT_FALSE(other->lead_cron("b", 0s)->leads);
  EXPECT_TRUE(store_->lead_cron("a", 15s)->leads) << "given up";
}

TEST_P(JobStoreConformance, refuses_cron_entries_over_its_bounds) {
  const auto refused = [&](void (*spoil)(jobs::CronEntry&)) {
    jobs::CronEntry wrong = entry("e", world_->now());
    spoil(wrong);
    const auto put = store_->put_cron(std::move(wrong));
    return put ? ErrorCode::internal : put.error().code();
  };
  EXPECT_EQ(refused([](auto& e) { e.name.clear(); }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](auto& e) { e.name = "a\nb"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](auto& e) { e.name.assign(256, 'n'); }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](auto& e) { e.schedule = "a\nb"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](auto& e) { e.zone.clear(); }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](auto& e) { e.class_name = "no class"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](auto& e) { e.queue = "no queue"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](auto& e) { e.origin = "\x1b[2J"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(refused([](auto& e) { e.args_json.assign(jobs::cron_arguments_size_limit + 1, ' '); }),
            ErrorCode::too_large);
  EXPECT_EQ(store_->lead_cron("a", 31s).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(store_->lead_cron("a", -1s).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(store_->lead_cron("", 1s).error().code(), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace dagverk::conformance
