// Jobs that recur, fired by nodes: what is due, who fires it, and that no slot is fired twice or forgotten.

#include "jobs/cron_firer.hpp"

#include "jobs/cron_slots.hpp"
#include "support/seed_count.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/base/random.hpp"
#include "dagverk/jobs/node.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/testing_jobs/faulty_store.hpp"
#include "dagverk/testing_jobs/memory_job_store.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::jobs {
namespace {

using namespace std::chrono_literals;
using testing_jobs::FaultyStore;
using testing_jobs::MemoryJobStore;
using testing_jobs::StoreFault;
using testing_jobs::StoreOperation;

// ---- what is due ----

std::vector<int> minutes(const std::vector<WallTime>& slots, WallTime start) {
  std::vector<int> all;
  for (const WallTime slot : slots) all.push_back(static_cast<int>((slot - start) / 1min));
  return all;
}

TEST(CronSlots, late_slots_are_fired_and_missed_ones_as_the_rule_says) {
  const WallTime start(std::chrono::seconds(1'767'225'600));
  const CronSchedule schedule = CronSchedule::parse("* * * * *").value();
  const auto due = [&](MissedRuns rule, Duration now) { return due_slots(schedule, rule, start, start + now).value(); };
  for (const MissedRuns rule : {MissedRuns::skip, MissedRuns::once, MissedRuns::all}) {
    EXPECT_FALSE(due_slots(schedule, rule, start, start + 59s)) << to_string(rule);
    EXPECT_FALSE(due_slots(schedule, rule, start, start - 1h)) << to_string(rule);
    const DueSlots on_time = due(rule, 60s);
    EXPECT_EQ(minutes(on_time.fire, start), std::vector<int>{1}) << to_string(rule);
    EXPECT_EQ(on_time.until, start + 1min);
    EXPECT_EQ(on_time.missed, std::nullopt);
    EXPECT_EQ(minutes(due(rule, 120s).fire, start), (std::vector<int>{1, 2})) << "one is late: " << to_string(rule);
  }
  const DueSlots once = due(MissedRuns::once, 5min + 30s);
  EXPECT_EQ(minutes(once.fire, start), std::vector<int>{5});
  EXPECT_EQ(once.until, start + 5min);
  EXPECT_EQ(once.missed, start + 1min);
  const DueSlots skip = due(MissedRuns::skip, 5min + 30s);
  EXPECT_EQ(minutes(skip.fire, start), std::vector<int>{5});
  EXPECT_EQ(skip.missed, start + 1min);
  EXPECT_EQ(minutes(due(MissedRuns::all, 5min + 30s).fire, start), (std::vector<int>{1, 2, 3, 4, 5}));
  EXPECT_EQ(due(MissedRuns::all, 5min + 30s).missed, std::nullopt);
  const DueSlots many = due(MissedRuns::all, 24h);
  ASSERT_EQ(many.fire.size(), cron_missed_limit);
  EXPECT_EQ(many.fire.back(), start + 24h);
  EXPECT_EQ(many.until, start + 24h);
  EXPECT_EQ(many.missed, start + 1min);

  const CronSchedule daily = CronSchedule::parse("0 3 * * *").value();
  const DueSlots nothing = due_slots(daily, MissedRuns::skip, start, start + 10h).value();
  EXPECT_TRUE(nothing.fire.empty());
  EXPECT_EQ(nothing.until, start + 3h);
  EXPECT_EQ(due_slots(daily, MissedRuns::once, start, start + 50h)->fire, std::vector<WallTime>{start + 27h});
}

// ---- nodes ----

/// Jobs in memory under virtual time, and what was fired.
class CronWorld {
 public:
  explicit CronWorld(std::optional<std::uint64_t> seed = {}) : runtime({.seed = seed}) {}

  [[nodiscard]] std::unique_ptr<Node> start(JobRegistry registry) {
    return Node::start(runtime, faulty, std::move(registry), NodeOptions()).value();
  }
  /// What a node has for jobs that recur, and nothing else of it.
  [[nodiscard]] NodeEnvPtr make_env(std::string identity = "node") {
    auto env = std::make_shared<NodeEnv>(runtime, faulty, JobRegistry(), NodeOptions());
    env->identity = std::move(identity);
    return env;
  }
  void start_firer() { static_cast<void>(runtime.start<CronFirer>(make_env()).value()); }
  void put(std::string name, std::string schedule, MissedRuns missed = MissedRuns::once) {
    CronEntry entry;
    entry.name = std::move(name);
    entry.schedule = std::move(schedule);
    entry.class_name = "Work";
    entry.missed = missed;
    entry.last_slot = runtime.clock().wall_now();
    ASSERT_TRUE(runtime.run(store.put_cron(std::move(entry))).value());
  }
  /// `NAME` and its slot, in seconds after the start, in order of the firings.
  [[nodiscard]] std::vector<std::pair<std::string, std::int64_t>> fired() {
    std::vector<std::pair<std::string, std::int64_t>> all;
    for (JournalCursor after = 0;;) {
      const JournalPage page = runtime.run(store.read_journal({after, 1000, {}})).value();
      for (const JournalRow& row : page.rows) {
        if (row.kind != JournalKind::enqueued) continue;
        const std::string_view detail = row.detail;
        const std::size_t name = detail.find(":\"") + 2;
        const std::size_t slot = detail.find("\"slot\":") + 7;
        if (slot < 7) continue;
        const double second = std::stod(std::string(detail.substr(slot)));
        all.emplace_back(detail.substr(name, detail.find('"', name) - name),
                         static_cast<std::int64_t>(second) - start_second);
      }
      if (page.at_end) return all;
      after = page.next;
    }
  }
  [[nodiscard]] std::vector<std::int64_t> fired(const std::string& name) {
    std::vector<std::int64_t> slots;
    for (const auto& [entry, slot] : fired()) {
      if (entry == name) slots.push_back(slot);
    }
    return slots;
  }

  static constexpr std::int64_t start_second = 1'767'225'600;  // where a ManualClock starts: a midnight
  DeterministicRuntime runtime;
  MemoryJobStore store{runtime};
  FaultyStore faulty{store};
};

using Slots = std::vector<std::int64_t>;

TEST(CronFirer, a_program_says_what_recurs_and_one_of_its_nodes_enqueues_it) {
  CronWorld world;
  const auto registry = [] {
    JobRegistry made;
    made.cron("nightly", "1 0 * * *", "Report", "all", 7);
    made.cron({.name = "often", .schedule = "*/20 * * * * *", .queue = "fast"}, "Tick");
    made.define_command("Report", {.run = {"true"}}, {.queue = "slow"});
    return made;
  };
  EXPECT_EQ(registry().cron_entries().at(0).queue, "slow");
  JobRegistry plain;
  for (const CronEntry& entry : registry().cron_entries()) {
    plain.cron_json({.name = entry.name, .schedule = entry.schedule, .queue = entry.queue}, entry.class_name,
                    entry.args_json, "program");
  }
  const auto first = world.start(plain);
  const auto second = world.start(plain);
  world.runtime.advance(61s);
  EXPECT_EQ(world.fired("often"), (Slots{20, 40, 60}));
  EXPECT_EQ(world.fired("nightly"), Slots{60});
  const JobPage page = world.runtime.run(world.store.list({.state = JobState::ready, .queue = "slow"})).value();
  ASSERT_EQ(page.jobs.size(), 1U);
  const Job job = decode_job(page.jobs[0].payload).value();
  EXPECT_EQ(job.job_class(), "Report");
  EXPECT_EQ(job.args_json(), R"(["all",7])");
  EXPECT_EQ(job.queue(), "slow");
}

TEST(CronFirer, a_wrong_entry_keeps_a_node_from_starting_and_says_what_to_type) {
  CronWorld world;
  const auto message = [&](JobRegistry registry) {
    return std::string(Node::start(world.runtime, world.store, std::move(registry), {}).error().message());
  };
  EXPECT_EQ(
      message(JobRegistry().cron("e", "0 0 31 2 *", "Work")),
      R"(cron entry "e": schedule "0 0 31 2 *": never comes: FEB has no day 31; type a day up to 29, or other months)");
  EXPECT_NE(message(JobRegistry().cron({.name = "e", .schedule = "@daily", .zone = "Nowhere/At_All"}, "Work"))
                .find("type UTC, or a place as in Europe/Berlin"),
            std::string::npos);
  EXPECT_EQ(message(JobRegistry().cron("e", "@daily", "Work").cron("e", "@hourly", "Work")),
            R"(cron entry "e" is defined twice)");
  EXPECT_NE(message(JobRegistry().cron("e", "@daily", "Work", std::string("\xff"))).find("argument 1"),
            std::string::npos);
}

TEST(CronFirer, entries_are_added_paused_resumed_and_removed_while_nodes_run) {
  CronWorld world;
  world.start_firer();
  world.runtime.advance(7s);
  world.put("ten", "*/10 * * * * *");
  world.runtime.advance(24s);  // 31
  EXPECT_EQ(world.fired("ten"), (Slots{10, 20, 30}));
  ASSERT_TRUE(world.runtime.run(world.store.pause_cron("ten", "ann", "")).value());
  world.runtime.advance(60s);  // 91
  ASSERT_TRUE(world.runtime.run(world.store.resume_cron("ten")).value());
  world.runtime.advance(10s);  // 101
  EXPECT_EQ(world.fired("ten"), (Slots{10, 20, 30, 100})) << "what a pause left out was not missed";
  world.put("five", "5 * * * * *");
  ASSERT_TRUE(world.runtime.run(world.store.remove_cron("ten")).value());
  world.runtime.advance(60s);  // 161
  EXPECT_EQ(world.fired("ten"), (Slots{10, 20, 30, 100}));
  EXPECT_EQ(world.fired("five"), Slots{125});
}

TEST(CronFirer, what_cannot_be_read_hinders_no_other_entry) {
  CronWorld world;
  world.put("good", "*/30 * * * * *");
  for (const auto& [name, schedule, zone, args] :
       {std::tuple("a", "whenever", "UTC", "[]"), std::tuple("b", "* * * * *", "Nowhere", "[]"),
        std::tuple("c", "* * * * *", "UTC", "no json")}) {
    CronEntry entry;
    entry.name = name;
    entry.schedule = schedule;
    entry.zone = zone;
    entry.class_name = "Work";
    entry.args_json = args;
    entry.last_slot = world.runtime.clock().wall_now();
    ASSERT_TRUE(world.runtime.run(world.store.put_cron(std::move(entry))).value());
  }
  world.start_firer();
  world.runtime.advance(91s);
  EXPECT_EQ(world.fired(),
            (std::vector<std::pair<std::string, std::int64_t>>{{"good", 30}, {"good", 60}, {"good", 90}}));
}

TEST(CronFirer, another_node_fires_when_the_one_that_did_is_gone) {
  CronWorld world;
  world.put("ten", "*/10 * * * * *", MissedRuns::all);
  auto first = world.start({});
  world.runtime.advance(2s);
  const auto second = world.start({});
  world.runtime.advance(10s);
  first->stop(0s);
  world.runtime.advance(20s);  // 32
  EXPECT_EQ(world.fired("ten"), (Slots{10, 20, 30})) << "left in order: nobody waits for a lease";
  EXPECT_TRUE(world.runtime.run(world.store.lead_cron(second->identity(), 15s))->leads);
}

TEST(CronFirer, clocks_that_jump_make_no_flood_and_fire_nothing_twice) {
  CronWorld world;
  world.put("once", "* * * * *", MissedRuns::once);
  world.put("skip", "30 * * * * *", MissedRuns::skip);
  world.put("all", "0 * * * *", MissedRuns::all);
  world.start_firer();
  world.runtime.advance(100s);
  EXPECT_EQ(world.fired("once"), Slots{60});
  EXPECT_EQ(world.fired("skip"), (Slots{30, 90}));
  world.runtime.manual_clock().jump_wall(world.runtime.clock().wall_now() + 3h);  // 100 s after three
  world.runtime.advance(10s);
  EXPECT_EQ(world.fired("once"), (Slots{60, 3 * 3600 + 60}));
  EXPECT_EQ(world.fired("skip"), (Slots{30, 90, 3 * 3600 + 90}));
  EXPECT_EQ(world.fired("all"), (Slots{3600, 2 * 3600, 3 * 3600}));
  const auto before = world.fired();
  world.runtime.manual_clock().jump_wall(world.runtime.clock().wall_now() - 1h);
  world.runtime.advance(59min);
  EXPECT_EQ(world.fired(), before);
  world.runtime.advance(2min);
  EXPECT_EQ(world.fired("once"), (Slots{60, 3 * 3600 + 60, 3 * 3600 + 120}));
}

TEST(CronFirer, a_store_that_is_away_or_loses_answers_makes_no_slot_fire_twice) {
  for (const StoreFault fault : {StoreFault::before, StoreFault::after}) {
    CronWorld world;
    world.put("ten", "*/10 * * * * *");
    world.faulty.set_rule(StoreOperation::fire_cron,
                          [&](std::size_t call) { return call % 2 == 1 ? fault : StoreFault::none; });
    world.start_firer();
    world.runtime.advance(65s);
    EXPECT_EQ(world.fired("ten"), (Slots{10, 20, 30, 40, 50, 60}));
  }
}

// ---- the property ----

struct Nodes {
  struct One {
    NodeEnvPtr env;
    std::optional<Pid> pid;
    std::vector<std::pair<std::int64_t, std::int64_t>> lives;  // seconds after the start
  };
  std::vector<One> all;
};

/// Whether some node lived from before the slot, long enough to have taken over, until it had time to.
bool must_fire(const Nodes& nodes, std::int64_t slot, std::int64_t end) {
  constexpr std::int64_t takeover = 22;
  if (slot + takeover > end) return false;
  return std::ranges::any_of(nodes.all, [&](const Nodes::One& node) {
    return std::ranges::any_of(
        node.lives, [&](const auto& life) { return life.first <= slot - takeover && life.second >= slot + takeover; });
  });
}

TEST(CronFirer, no_slot_is_fired_twice_and_none_forgotten_in_which_a_node_lived_whoever_crashes) {
  constexpr std::int64_t end = 150;
  const std::uint64_t first_seed = DeterministicRuntime().seed() % 1'000'000;
  for (std::uint64_t seed = first_seed; seed < first_seed + seed_count(2000); ++seed) {
    CronWorld world(seed);
    Random random(seed);
    world.put("skip", "*/15 * * * * *", MissedRuns::skip);
    world.put("once", "7-59/20 * * * * *", MissedRuns::once);
    world.put("all", "*/30 * * * * *", MissedRuns::all);
    world.faulty.set_rule(StoreOperation::fire_cron, [&](std::size_t) {
      const std::uint64_t drawn = random.below(8);
      return drawn == 0 ? StoreFault::before : drawn == 1 ? StoreFault::after : StoreFault::none;
    });
    Nodes nodes;
    for (int index = 0; index < 2; ++index) {
      nodes.all.push_back({world.make_env(concat("node", index)), std::nullopt, {}});
    }
    for (std::int64_t now = 0; now < end;) {
      Nodes::One& node = nodes.all[random.below(nodes.all.size())];
      if (node.pid) {
        world.runtime.exit(*node.pid, ExitReason::kill);
        node.pid.reset();
        node.lives.back().second = now;
      } else {
        node.pid = world.runtime.start<CronFirer>(node.env).value().pid();
        node.lives.emplace_back(now, end);
      }
      const std::int64_t wait = std::min<std::int64_t>(end - now, 1 + static_cast<std::int64_t>(random.below(40)));
      world.runtime.advance(std::chrono::seconds(wait));
      now += wait;
    }
    std::map<std::pair<std::string, std::int64_t>, int> times;
    for (const auto& slot : world.fired()) ++times[slot];
    for (const auto& [slot, count] : times)
      ASSERT_EQ(count, 1) << slot.first << " at " << slot.second << ", seed " << seed;
    for (const auto& [name, from, step] :
         {std::tuple("skip", 15, 15), std::tuple("once", 7, 20), std::tuple("all", 30, 30)}) {
      for (std::int64_t slot = from; slot <= end; slot += step) {
        const bool happened = times.contains({name, slot});
        if (must_fire(nodes, slot, end)) {
          ASSERT_TRUE(happened) << name << " at " << slot << ", seed " << seed;
        }
      }
    }
    if (std::ranges::any_of(nodes.all,
                            [&](const Nodes::One& node) { return node.pid && node.lives.back().first <= end - 22; })) {
      for (std::int64_t slot = 30; slot <= end - 22; slot += 30) {
        ASSERT_TRUE(times.contains({"all", slot})) << "nobody forgets a slot: " << slot << ", seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace dagverk::jobs
