// Mailbox bounds, what happens to a message that finds a mailbox full, and alarms by depth.

#include "dagverk/base/random.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/runtime/supervisor.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

using Log = std::vector<std::string>;

/// Writes down what it gets, and can be kept from it.
class Keeper : public GenServer<Keeper> {
 public:
  struct Note {
    std::string text;
  };
  struct Ask {
    using Reply = std::string;
    std::string text;
  };
  struct Busy {
    Duration wait;
  };
  struct AskOther {
    ServerRef<Keeper> other;
  };
  struct Watch {
    Pid other;
  };
  struct LinkTo {
    Pid other;
  };
  struct CastTo {
    ServerRef<Keeper> other;
  };
  explicit Keeper(Log* log) : log_(log) { this_process::trap_exits(); }
  void handle_cast(Note note) { log_->push_back(std::move(note.text)); }
  void handle_info(Note note) { log_->push_back("info " + note.text); }
  std::string handle_call(Ask ask) {
    log_->push_back("ask " + ask.text);
    return "answer " + ask.text;
  }
  static Async<void> handle_cast(Busy busy) { co_await this_process::sleep(busy.wait); }
  Async<void> handle_cast(AskOther ask) {
    Result<std::string> answer = co_await ask.other.call<Ask>("from a process");
    log_->push_back(answer ? *answer : std::string(to_string(answer.error().code())));
  }
  void handle_cast(CastTo cast) {
    const Result<void> sent = cast.other.try_cast(Note{"from a process"});
    log_->push_back(sent ? "sent" : std::string(sent.error().message()));
  }
  static void handle_cast(Watch watch) { static_cast<void>(this_process::monitor(watch.other)); }
  static void handle_cast(LinkTo link) { this_process::link(link.other); }
  void handle_info(const Down& /*down*/) { log_->emplace_back("down"); }
  void handle_info(const Exit& exit) { log_->push_back("exit " + exit.reason.to_string()); }

 private:
  Log* log_;
};

struct World {
  Log log;
  DeterministicRuntime runtime;
  ServerRef<Keeper> keeper;

  explicit World(MailboxRule rule, std::uint32_t bound = 3, std::uint32_t alarm = 0, OnMailboxAlarm on_alarm = {},
                 Logger* logger = nullptr)
      : runtime(DeterministicOptions{.logger = logger}) {
    StartOptions options;
    options.name = "keeper";
    options.mailbox_bound = bound;
    options.mailbox_rule = rule;
    options.mailbox_alarm = alarm;
    options.on_mailbox_alarm = std::move(on_alarm);
    keeper = runtime.start_with<Keeper>(std::move(options), &log).value();
    runtime.run_until_idle();
  }
  [[nodiscard]] ProcessInfo info() const {
    for (ProcessInfo& info : runtime.snapshot().processes) {
      if (info.name == "keeper") return std::move(info);
    }
    return {};
  }
  void notes(int from, int to) const {
    for (int number = from; number <= to; ++number) keeper.cast(Keeper::Note{std::to_string(number)});
  }
};

TEST(Mailbox, rejects_what_finds_it_full_and_says_so_to_who_asks) {
  World world(MailboxRule::reject);
  world.notes(1, 5);
  EXPECT_EQ(world.keeper.try_cast(Keeper::Note{"6"}).error().code(), ErrorCode::mailbox_full);
  world.keeper.info(Keeper::Note{"7"});
  EXPECT_EQ(world.keeper.call_blocking<Keeper::Ask>("8").error().code(), ErrorCode::mailbox_full);
  EXPECT_EQ(world.info().mailbox_depth, 3U);
  EXPECT_EQ(world.info().dropped, 5U);
  world.runtime.run_until_idle();
  EXPECT_EQ(world.log, (Log{"1", "2", "3"}));
  EXPECT_EQ(world.keeper.call_blocking<Keeper::Ask>("again"), "answer again");
  EXPECT_TRUE(world.keeper.try_cast(Keeper::Note{"9"}));
}

TEST(Mailbox, drops_the_newest_without_telling_the_sender_of_a_cast_but_answers_calls) {
  World world(MailboxRule::drop_newest);
  world.notes(1, 5);
  EXPECT_TRUE(world.keeper.try_cast(Keeper::Note{"6"}));
  EXPECT_EQ(world.keeper.call_blocking<Keeper::Ask>("7").error().code(), ErrorCode::mailbox_full);
  EXPECT_EQ(world.info().dropped, 4U);
  world.runtime.run_until_idle();
  EXPECT_EQ(world.log, (Log{"1", "2", "3"}));
}

TEST(Mailbox, drops_the_oldest_and_whoever_called_with_it_learns_at_once) {
  World world(MailboxRule::drop_oldest);
  Result<std::string> answer = Error(ErrorCode::internal);
  world.keeper.cast(Keeper::Busy{1s});
  world.runtime.run_until_idle();
  world.runtime.spawn([&]() -> Async<void> { answer = co_await world.keeper.call_within<Keeper::Ask>(0s, "old"); });
  world.runtime.run_until_idle();
  world.notes(1, 5);
  world.runtime.run_until_idle();
  EXPECT_EQ(answer.error().code(), ErrorCode::mailbox_full);
  EXPECT_EQ(world.info().mailbox_depth, 3U);
  EXPECT_EQ(world.info().dropped, 3U);
  world.runtime.advance(1s);
  EXPECT_EQ(world.log, (Log{"3", "4", "5"}));
  EXPECT_EQ(world.keeper.call_blocking<Keeper::Ask>("new"), "answer new");
}

TEST(Mailbox, drops_no_signal_no_down_and_no_answer_and_keeps_their_order) {
  for (const MailboxRule rule : {MailboxRule::reject, MailboxRule::drop_newest, MailboxRule::drop_oldest}) {
    World world(rule, 1);
    const Pid watched = world.runtime.spawn([]() -> Async<void> {
      co_await this_process::sleep(500ms);
      throw std::runtime_error("over");
    });
    world.keeper.cast(Keeper::Watch{watched});
    world.runtime.run_until_idle();
    world.keeper.cast(Keeper::LinkTo{watched});
    world.runtime.run_until_idle();
    world.keeper.cast(Keeper::Busy{1s});
    world.runtime.run_until_idle();
    world.notes(1, 1);  // full
    world.runtime.advance(600ms);
    world.notes(2, 2);
    world.runtime.advance(1s);
    const std::string kept = rule == MailboxRule::drop_oldest ? "2" : "1";
    const std::string ended = "exit error std::runtime_error: over";
    if (rule == MailboxRule::drop_oldest) {
      EXPECT_EQ(world.log, (Log{ended, "down", kept}));
    } else {
      EXPECT_EQ(world.log, (Log{kept, ended, "down"}));
    }
    EXPECT_EQ(world.info().dropped, 1U);
    // Stopping is no message either.
    world.keeper.cast(Keeper::Busy{0s});
    EXPECT_TRUE(world.runtime.stop(world.keeper.pid()));
  }
}

TEST(Mailbox, an_owner_that_waits_behind_a_full_mailbox_gets_its_answers) {
  World world(MailboxRule::drop_oldest, 2);
  Log other_log;
  ServerRef<Keeper> other = world.runtime.start<Keeper>(&other_log).value();
  other.cast(Keeper::Busy{1s});
  world.runtime.run_until_idle();
  world.keeper.cast(Keeper::AskOther{other});
  world.runtime.run_until_idle();
  world.notes(1, 9);
  world.runtime.advance(1s);
  EXPECT_EQ(world.log, (Log{"answer from a process", "8", "9"}));
  EXPECT_EQ(world.info().dropped, 7U);
}

TEST(Mailbox, a_sender_outside_of_processes_waits_for_room_under_rule_wait) {
  World world(MailboxRule::wait);
  world.notes(1, 20);  // the deterministic runtime runs the receiver meanwhile
  world.runtime.run_until_idle();
  ASSERT_EQ(world.log.size(), 20U);
  EXPECT_EQ(world.log.front(), "1");
  EXPECT_EQ(world.log.back(), "20");
  EXPECT_EQ(world.info().dropped, 0U);
}

TEST(Mailbox, waiting_for_room_has_a_limit_and_counts_towards_that_of_a_call) {
  World world(MailboxRule::wait);
  world.keeper.cast(Keeper::Busy{1h});
  world.runtime.run_until_idle();
  world.notes(1, 3);
  const SteadyTime begin = world.runtime.clock().steady_now();
  EXPECT_EQ(world.keeper.try_cast(Keeper::Note{"4"}).error().code(), ErrorCode::mailbox_full);
  EXPECT_EQ(world.runtime.clock().steady_now() - begin, 5s);
  EXPECT_FALSE(world.keeper.call_blocking_within<Keeper::Ask>(1s, "?"));
  EXPECT_EQ(world.runtime.clock().steady_now() - begin, 6s);
  EXPECT_EQ(world.info().dropped, 2U);
}

TEST(Mailbox, inside_a_process_and_for_timers_rule_wait_refuses_and_a_call_gets_its_error) {
  World world(MailboxRule::wait, 1);
  Log other_log;
  ServerRef<Keeper> other = world.runtime.start<Keeper>(&other_log).value();
  world.keeper.cast(Keeper::Busy{1h});
  world.runtime.run_until_idle();
  world.notes(1, 1);
  other.cast(Keeper::CastTo{world.keeper});
  other.cast(Keeper::AskOther{world.keeper});
  world.runtime.spawn([&] { this_process::send_after(1s, world.keeper, Keeper::Note{"timer"}); });
  world.runtime.advance(2s);
  ASSERT_EQ(other_log.size(), 2U);
  EXPECT_NE(other_log[0].find("a process does not wait for room"), std::string::npos) << other_log[0];
  EXPECT_EQ(other_log[1], "mailbox_full");
  EXPECT_EQ(world.info().dropped, 3U);
}

TEST(Mailbox, whoever_waits_for_room_learns_when_the_receiver_has_ended) {
  World world(MailboxRule::wait, 1);
  world.keeper.cast(Keeper::Busy{1h});
  world.runtime.run_until_idle();
  world.notes(1, 1);
  world.runtime.spawn([&]() -> Async<void> {
    co_await this_process::sleep(1s);
    this_process::exit(world.keeper.pid(), ExitReason::kill);
  });
  EXPECT_EQ(world.keeper.call_blocking<Keeper::Ask>("?").error().code(), ErrorCode::no_process);
  EXPECT_FALSE(RuntimeBase::alive(world.keeper.pid()));
}

TEST(Mailbox, what_waits_in_a_bounded_mailbox_when_its_owner_ends_is_told_why) {
  World world(MailboxRule::drop_oldest, 5);
  world.keeper.cast(Keeper::Busy{1h});
  world.runtime.run_until_idle();
  std::vector<std::string> errors;
  for (int caller = 0; caller < 3; ++caller) {
    world.runtime.spawn([&]() -> Async<void> {
      Result<std::string> answer = co_await world.keeper.call_within<Keeper::Ask>(0s, "?");
      errors.emplace_back(answer.error().message());
    });
  }
  world.runtime.run_until_idle();
  world.runtime.exit(world.keeper.pid(), ExitReason::kill);
  world.runtime.run_until_idle();
  ASSERT_EQ(errors.size(), 3U);
  for (const std::string& error : errors) EXPECT_NE(error.find("killed"), std::string::npos) << error;
  // The slot's next process has no bound, and starts with an empty account.
  Log log;
  ServerRef<Keeper> next;
  for (int slot = 0; slot < 10 && next.pid().core() != world.keeper.pid().core(); ++slot) {
    next = world.runtime.start<Keeper>(&log).value();
  }
  ASSERT_EQ(next.pid().core(), world.keeper.pid().core());
  for (int number = 0; number < 10; ++number) next.cast(Keeper::Note{"x"});
  world.runtime.run_until_idle();
  EXPECT_EQ(log.size(), 10U);
  for (const ProcessInfo& info : world.runtime.snapshot().processes) EXPECT_EQ(info.dropped, 0U);
}

class Recorder final : public Logger {
 public:
  void write(LogLevel /*level*/, std::string_view event, std::span<const LogField> fields) noexcept override {
    if (!event.starts_with("process.mailbox")) return;
    std::string line(event);
    for (const LogField& field : fields) {
      if (field.name != "pid") line += " " + std::string(field.name) + "=" + field.value;
    }
    lines.push_back(std::move(line));
  }
  Log lines;
};

TEST(Mailbox, an_alarm_comes_once_until_the_depth_has_fallen_to_half_and_names_the_process) {
  Recorder recorder;
  Log alarms;
  World world(
      MailboxRule::reject, 0, 4,
      [&](const MailboxAlarm& alarm) {
        alarms.push_back(std::string(alarm.name) + (alarm.high ? " high " : " low ") + std::to_string(alarm.depth));
      },
      &recorder);
  world.keeper.cast(Keeper::Busy{1s});
  world.runtime.run_until_idle();
  world.notes(1, 3);
  EXPECT_EQ(alarms, Log{});
  world.notes(4, 9);
  EXPECT_EQ(alarms, Log{"keeper high 4"});
  EXPECT_EQ(recorder.lines, Log{"process.mailbox_high name=keeper depth=4 alarm=4"});
  world.runtime.advance(1s);
  EXPECT_EQ(world.log.size(), 9U);  // an alarm alone bounds nothing
  EXPECT_EQ(alarms, (Log{"keeper high 4", "keeper low 2"}));
  world.keeper.cast(Keeper::Busy{1s});
  world.runtime.run_until_idle();
  world.notes(1, 4);
  EXPECT_EQ(alarms, (Log{"keeper high 4", "keeper low 2", "keeper high 4"}));
  EXPECT_EQ(recorder.lines.size(), 3U);
}

TEST(Mailbox, an_alarm_whose_callback_throws_is_reported_and_hurts_nobody) {
  Recorder recorder;
  World world(MailboxRule::reject, 2, 100, [](const MailboxAlarm&) { throw 1; }, &recorder);
  world.notes(1, 3);  // the alarm is at the bound at most
  EXPECT_EQ(recorder.lines,
            (Log{"process.mailbox_high name=keeper depth=2 alarm=2", "process.mailbox_alarm_failed name=keeper"}));
  world.runtime.run_until_idle();
  EXPECT_EQ(world.log, (Log{"1", "2"}));
}

TEST(Mailbox, a_supervised_child_keeps_its_bound_and_its_rule_over_restarts) {
  Log log;
  DeterministicRuntime runtime;
  const SupervisorRef supervisor = start_supervisor(runtime).value();
  ChildOptions options;
  options.registered = true;
  options.mailbox_bound = 2;
  options.mailbox_rule = MailboxRule::drop_oldest;
  ASSERT_TRUE(supervisor.start_child_blocking(child_spec_with<Keeper>(options, "keeper", &log)));
  const Name<Keeper> keeper(runtime, "keeper");
  for (int life = 0; life < 2; ++life) {
    log.clear();
    for (int number = 1; number <= 5; ++number) keeper.cast(Keeper::Note{std::to_string(number)});
    runtime.run_until_idle();
    EXPECT_EQ(log, (Log{"4", "5"}));
    runtime.exit(keeper.resolve()->pid(), ExitReason::kill);
    runtime.run_until_idle();
  }
}

/// The reference of what a bounded mailbox does: a plain list.
TEST(Mailbox, behaves_as_a_list_of_its_size_would_for_random_senders_and_seeds) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Random random(seed);
    const auto rule = static_cast<MailboxRule>(random.below(3));
    const std::uint32_t bound = 1 + static_cast<std::uint32_t>(random.below(4));
    World world(rule, bound);
    Log list;
    Log expected;
    std::uint32_t dropped = 0;
    int number = 0;
    for (int round = 0; round < 20; ++round) {
      // The owner is kept busy, fed, and then let go.
      world.keeper.cast(Keeper::Busy{1s});
      world.runtime.run_until_idle();
      for (std::uint64_t more = random.below(8); more > 0; --more) {
        const std::string text = std::to_string(++number);
        world.keeper.cast(Keeper::Note{text});
        if (list.size() < bound) {
          list.push_back(text);
          continue;
        }
        ++dropped;
        if (rule != MailboxRule::drop_oldest) continue;
        list.erase(list.begin());
        list.push_back(text);
      }
      world.runtime.advance(1s);
      expected.insert(expected.end(), list.begin(), list.end());
      list.clear();
      ASSERT_EQ(world.log, expected) << "seed " << seed;
      ASSERT_EQ(world.info().dropped, dropped) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace dagverk
