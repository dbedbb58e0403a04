// What one can see of a deterministic runtime: snapshots, their text, and traces.

#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/runtime/dynamic_supervisor.hpp"
#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/runtime/snapshot.hpp"
#include "dagverk/runtime/supervisor.hpp"
#include "dagverk/runtime/task.hpp"
#include "dagverk/runtime/trace.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

class Shop : public GenServer<Shop> {
 public:
  struct Open {};
  struct Crash {};
  struct Doze {
    Duration time;
  };
  struct Count {
    using Reply = int;
  };
  struct Watch {
    using Reply = void;
    Pid whom;
    bool link;
  };

  void handle_cast(Open /*message*/) { ++opened_; }
  void handle_cast(Crash /*message*/) { throw std::runtime_error("boom"); }
  Async<void> handle_cast(Doze doze) { co_await this_process::sleep(doze.time); }
  int handle_call(Count /*message*/) { return opened_; }
  void handle_call(Watch watch) {
    if (watch.link) {
      this_process::link(watch.whom);
    } else {
      static_cast<void>(this_process::monitor(watch.whom));
    }
  }
  void handle_info(const Down& /*down*/) {}

 private:
  int opened_ = 0;
};

ChildSpec shop(std::string_view id, bool registered = false) {
  ChildOptions options;
  options.registered = registered;
  return child_spec_with<Shop>(options, id);
}

// ---- snapshots -----------------------------------------------------------------------------------------------------

TEST(Snapshot, shows_the_tree_with_parents_child_ids_names_and_restarts) {
  DeterministicRuntime runtime(DeterministicOptions{.seed = 1});
  std::vector<ChildSpec> inner{shop("till"), shop("shelf", true)};
  SupervisorRef tree =
      start_supervisor(runtime, {.name = "tree"},
                       {shop("door", true), child_spec<Supervisor>("inner", SupervisorOptions(), inner)})
          .value();
  for (int crash = 0; crash < 2; ++crash) {
    Name<Shop>(runtime, "shelf").cast(Shop::Crash{});
    runtime.run_until_idle();
  }
  const Snapshot shot = runtime.snapshot();
  ASSERT_EQ(shot.processes.size(), 5U);
  const ProcessInfo* root = shot.find(tree.pid());
  ASSERT_NE(root, nullptr);
  EXPECT_EQ(root->name, "tree");
  EXPECT_EQ(root->kind, "dagverk::Supervisor");
  EXPECT_FALSE(root->parent);
  EXPECT_EQ(root->links, 2U);
  const std::vector<const ProcessInfo*> children = shot.children_of(tree.pid());
  ASSERT_EQ(children.size(), 2U);
  EXPECT_EQ(children[0]->child_id, "door");
  EXPECT_EQ(children[0]->name, "door");
  EXPECT_EQ(children[0]->restarts, 0U);
  EXPECT_EQ(children[1]->child_id, "inner");
  const ProcessInfo* shelf = shot.find(runtime.whereis("shelf").value());
  ASSERT_NE(shelf, nullptr);
  EXPECT_EQ(shelf->parent, children[1]->pid);
  EXPECT_EQ(shelf->child_id, "shelf");
  EXPECT_EQ(shelf->restarts, 2U);
  EXPECT_EQ(shelf->links, 1U);
  EXPECT_EQ(shot.children_of(Pid()).size(), 1U);
  EXPECT_EQ(shot.find(Pid()), nullptr);
  EXPECT_EQ(runtime.stop_all(), 0U);
  EXPECT_TRUE(runtime.snapshot().processes.empty());
}

TEST(Snapshot, shows_what_each_process_does_since_when_and_what_waits_for_it) {
  DeterministicRuntime runtime(DeterministicOptions{.seed = 2});
  ServerRef<Shop> idle = runtime.start<Shop>().value();
  ServerRef<Shop> busy = runtime.start<Shop>().value();
  ServerRef<Shop> full = runtime.start_with<Shop>(StartOptions{.mailbox_bound = 3}).value();
  busy.cast(Shop::Doze{1h});
  runtime.advance(3s);
  for (int index = 0; index < 5; ++index) full.cast(Shop::Open{});
  const Snapshot shot = runtime.snapshot();
  EXPECT_EQ(shot.find(idle.pid())->state, ProcessState::idle);
  EXPECT_EQ(shot.find(idle.pid())->handles, "");
  EXPECT_EQ(shot.find(idle.pid())->in_state, 3s);
  EXPECT_EQ(shot.find(busy.pid())->state, ProcessState::waiting);
  EXPECT_NE(shot.find(busy.pid())->handles.find("Doze"), std::string_view::npos);
  EXPECT_EQ(shot.find(busy.pid())->in_state, 3s);
  EXPECT_EQ(shot.find(full.pid())->state, ProcessState::ready);
  EXPECT_EQ(shot.find(full.pid())->mailbox_depth, 3U);
  EXPECT_EQ(shot.find(full.pid())->dropped, 2U);
  runtime.run_until_idle();
  const Snapshot later = runtime.snapshot();
  EXPECT_EQ(later.find(full.pid())->mailbox_depth, 0U);
  EXPECT_EQ(later.find(full.pid())->mailbox_high_water, 3U);
  EXPECT_EQ(later.find(full.pid())->handled, 4U);  // its start, too
  EXPECT_EQ(later.find(full.pid())->busy, 0s);     // no time passes in a callback here
}

TEST(Snapshot, a_process_that_takes_one_sees_itself_running) {
  DeterministicRuntime runtime(DeterministicOptions{.seed = 3});
  const auto look = [&]() -> Async<Result<std::string>> {
    const Snapshot shot = runtime.snapshot();
    co_return std::string(to_string(shot.find(this_process::pid())->state));
  };
  EXPECT_EQ(runtime.run(look()), "running");
}

TEST(Snapshot, counts_begin_anew_with_each_process_of_a_slot) {
  DeterministicRuntime runtime(DeterministicOptions{.seed = 4});
  for (int round = 0; round < 600; ++round) {  // more than there are slots in a slab
    ServerRef<Shop> one = runtime.start<Shop>().value();
    for (int index = 0; index < 3; ++index) one.cast(Shop::Open{});
    ASSERT_EQ(one.call_blocking<Shop::Count>(), 3);
    const ProcessInfo info = *runtime.snapshot().find(one.pid());
    ASSERT_EQ(info.handled, 5U);
    ASSERT_EQ(info.links, 0U);
    ASSERT_EQ(info.name, "");
    ASSERT_FALSE(info.parent);
    ASSERT_TRUE(runtime.stop(one.pid()));
  }
}

TEST(Snapshot, counts_links_and_monitors_of_both_ends) {
  DeterministicRuntime runtime(DeterministicOptions{.seed = 5});
  ServerRef<Shop> a = runtime.start<Shop>().value();
  ServerRef<Shop> b = runtime.start<Shop>().value();
  ASSERT_TRUE(a.call_blocking<Shop::Watch>(b.pid(), true));
  ASSERT_TRUE(a.call_blocking<Shop::Watch>(b.pid(), false));
  ASSERT_TRUE(a.call_blocking<Shop::Watch>(b.pid(), false));
  runtime.run_until_idle();
  const Snapshot shot = runtime.snapshot();
  EXPECT_EQ(shot.find(a.pid())->links, 1U);
  EXPECT_EQ(shot.find(a.pid())->monitors, 2U);
  EXPECT_EQ(shot.find(a.pid())->monitored, 0U);
  EXPECT_EQ(shot.find(b.pid())->links, 1U);
  EXPECT_EQ(shot.find(b.pid())->monitored, 2U);
  ASSERT_TRUE(runtime.stop(b.pid()));
  runtime.run_until_idle();
  const ProcessInfo left = *runtime.snapshot().find(a.pid());
  EXPECT_EQ(left.links, 0U);
  EXPECT_EQ(left.monitors, 0U);
}

TEST(Snapshot, a_task_stands_below_its_owner) {
  DeterministicRuntime runtime(DeterministicOptions{.seed = 6});
  const auto work = [&]() -> Async<Result<bool>> {
    Task<int> task = task::async([]() -> Async<int> {
      co_await this_process::sleep(1s);
      co_return 1;
    });
    co_await this_process::sleep(1ms);
    const Snapshot shot = runtime.snapshot();
    const ProcessInfo* info = shot.find(task.pid());
    Result<int> value = co_await task.await();
    co_return info != nullptr && info->kind == "task" && info->parent == this_process::pid();
  };
  EXPECT_EQ(runtime.run(work()), true);
}

TEST(Snapshot, as_text_is_an_indented_tree_with_what_is_worth_saying) {
  DeterministicRuntime runtime(DeterministicOptions{.seed = 7});
  SupervisorRef tree = start_supervisor(runtime, {.name = "tree"}, {shop("door", true), shop("till")}).value();
  ServerRef<Shop> alone = runtime.start<Shop>().value();
  Name<Shop>(runtime, "door").cast(Shop::Doze{1h});
  runtime.advance(1500ms);
  alone.cast(Shop::Open{});
  alone.cast(Shop::Open{});
  std::string text = to_text(runtime.snapshot());
  const std::string type(detail::type_name<Shop>());
  for (std::size_t at = text.find(type); at != std::string::npos; at = text.find(type, at)) {
    text.replace(at, type.size(), "Shop");
  }
  EXPECT_EQ(text,
            "dagverk::Supervisor #1 \"tree\" idle for 1.5 s, handled 3, links 2\n"
            "  door: Shop #2 \"door\" waiting in Shop::Doze for 1.5 s, handled 2, links 1\n"
            "  till: Shop #3 idle for 1.5 s, handled 1, links 1\n"
            "Shop #4 ready for 1.5 s, handled 1, mailbox 2\n");
  const std::string cut = to_text(runtime.snapshot(), 2);
  EXPECT_NE(cut.find("… and 2 more processes\n"), std::string::npos);
  EXPECT_TRUE(tree.stop_blocking());
}

// ---- pids that outlive their runtime -------------------------------------------------------------------------------

TEST(Runtime, what_is_sent_to_a_process_of_a_runtime_that_is_gone_reaches_nobody) {
  ServerRef<Shop> old;
  {
    DeterministicRuntime runtime(DeterministicOptions{.seed = 1});
    old = runtime.start<Shop>().value();
  }
  old.cast(Shop::Open{});
  EXPECT_FALSE(RuntimeBase::alive(old.pid()));
  EXPECT_EQ(old.call_blocking<Shop::Count>().error().code(), ErrorCode::no_process);
  DeterministicRuntime next(DeterministicOptions{.seed = 1});  // takes the same memory over
  ServerRef<Shop> fresh = next.start<Shop>().value();
  old.cast(Shop::Open{});
  EXPECT_EQ(old.try_cast(Shop::Open{}).error().code(), ErrorCode::no_process);
  EXPECT_EQ(fresh.call_blocking<Shop::Count>(), 0);
  EXPECT_EQ(fresh.pid().number(), 1U);  // numbers begin anew, so that a seed replays in one program, too
}

// ---- traces --------------------------------------------------------------------------------------------------------

/// Keeps trace events as text, without the parts that differ between compilers.
class TraceLog {
 public:
  TraceSink sink() {
    return [log = log_](const TraceEvent& event) {
      std::string line(to_string(event.kind));
      if (!event.message.empty()) line += " " + std::string(event.message.substr(event.message.rfind(':') + 1));
      if (event.kind == TraceEvent::Kind::received) line += " " + std::to_string(event.depth);
      if (event.kind == TraceEvent::Kind::handled && event.duration > Duration::zero()) {
        line += " " + std::to_string(event.duration / 1ms) + " ms";
      }
      if (event.failed) line += " failed";
      if (event.kind == TraceEvent::Kind::exited) line += " " + event.reason.to_string();
      log->push_back(line);
    };
  }
  [[nodiscard]] const std::vector<std::string>& lines() const { return *log_; }
  [[nodiscard]] long users() const { return log_.use_count(); }

 private:
  std::shared_ptr<std::vector<std::string>> log_ = std::make_shared<std::vector<std::string>>();  // with the sinks
};

using Lines = std::vector<std::string>;

TEST(Trace, tells_of_every_message_its_wait_and_the_end) {
  DeterministicRuntime runtime(DeterministicOptions{.seed = 1});
  ServerRef<Shop> shop = runtime.start<Shop>().value();
  TraceLog log;
  ASSERT_TRUE(runtime.trace(shop.pid(), log.sink()));
  runtime.run_until_idle();
  shop.cast(Shop::Doze{20ms});
  shop.cast(Shop::Open{});
  runtime.advance(20ms);
  EXPECT_EQ(shop.call_blocking<Shop::Count>(), 1);
  shop.cast(Shop::Crash{});
  runtime.run_until_idle();
  Lines lines = log.lines();
  const auto expected = Lines{
      "received Doze 0",    "received Open 1",    "suspended Doze",       "received WaitTimeout 1",
      "signal WaitTimeout", "handled Doze 20 ms", "handled Open",         "received Count 0",
      "handled Count",      "received Crash 0",   "handled Crash failed", "exited error std::runtime_error: boom"};
  EXPECT_EQ(lines, expected);
  EXPECT_EQ(log.users(), 1);  // the sink went with the process
}

TEST(Trace, tells_of_answers_and_of_signals) {
  DeterministicRuntime runtime(DeterministicOptions{.seed = 2});
  ServerRef<Shop> shop = runtime.start<Shop>().value();
  TraceLog log;
  const auto ask = [&]() -> Async<Result<int>> {
    co_await this_process::sleep(1s);
    Result<int> count = co_await shop.call<Shop::Count>();
    co_await this_process::sleep(1h);
    co_return count;
  };
  const Pid asking = runtime.spawn([&]() -> Async<void> {
    Result<int> count = co_await ask();
    EXPECT_TRUE(count);
  });
  runtime.run_until_idle();
  ASSERT_TRUE(runtime.trace(asking, log.sink()));
  runtime.advance(2s);
  ASSERT_TRUE(shop.call_blocking<Shop::Watch>(asking, true));
  runtime.exit(shop.pid(), ExitReason::custom("enough"));
  runtime.run_until_idle();
  const Lines& lines = log.lines();
  ASSERT_GE(lines.size(), 6U);
  EXPECT_EQ(lines[0], "received WaitTimeout 0");
  EXPECT_NE(std::ranges::find(lines, "resumed Count"), lines.end());
  EXPECT_NE(std::ranges::find(lines, "signal LinkSignal"), lines.end());
  EXPECT_NE(std::ranges::find(lines, "signal ExitSignal"), lines.end());
  EXPECT_EQ(lines.back(), "exited enough");
}

TEST(Trace, a_sink_that_throws_ends_its_trace_and_harms_nobody) {
  DeterministicRuntime runtime(DeterministicOptions{.seed = 3});
  ServerRef<Shop> shop = runtime.start<Shop>().value();
  int told = 0;
  ASSERT_TRUE(runtime.trace(shop.pid(), [&](const TraceEvent&) {
    ++told;
    throw std::runtime_error("a bad sink");
  }));
  for (int index = 0; index < 3; ++index) shop.cast(Shop::Open{});
  EXPECT_EQ(shop.call_blocking<Shop::Count>(), 3);
  EXPECT_EQ(told, 1);
  EXPECT_TRUE(RuntimeBase::alive(shop.pid()));
}

TEST(Trace, a_second_one_replaces_the_first_and_stop_trace_ends_it) {
  DeterministicRuntime runtime(DeterministicOptions{.seed = 4});
  ServerRef<Shop> shop = runtime.start<Shop>().value();
  TraceLog first;
  TraceLog second;
  ASSERT_TRUE(runtime.trace(shop.pid(), first.sink()));
  shop.cast(Shop::Open{});
  runtime.run_until_idle();
  ASSERT_TRUE(runtime.trace(shop.pid(), second.sink()));
  shop.cast(Shop::Open{});
  runtime.run_until_idle();
  runtime.stop_trace(shop.pid());
  shop.cast(Shop::Open{});
  EXPECT_EQ(shop.call_blocking<Shop::Count>(), 3);
  EXPECT_EQ(std::ranges::count(first.lines(), "handled Open"), 1);
  EXPECT_EQ(std::ranges::count(second.lines(), "handled Open"), 1);
  ASSERT_TRUE(runtime.stop(shop.pid()));
  EXPECT_EQ(std::ranges::count(second.lines(), "exited normal"), 0);
}

TEST(Trace, of_a_process_that_has_ended_is_refused_and_one_that_comes_too_late_is_told_so) {
  DeterministicRuntime runtime(DeterministicOptions{.seed = 5});
  ServerRef<Shop> shop = runtime.start<Shop>().value();
  TraceLog late;
  runtime.exit(shop.pid(), ExitReason::kill);
  ASSERT_TRUE(runtime.trace(shop.pid(), late.sink()));  // it has not seen the kill yet
  runtime.run_until_idle();
  EXPECT_EQ(late.lines(), Lines{"exited killed"});
  EXPECT_EQ(runtime.trace(shop.pid(), late.sink()).error().code(), ErrorCode::no_process);
  EXPECT_EQ(late.users(), 1);
}

}  // namespace
}  // namespace dagverk
