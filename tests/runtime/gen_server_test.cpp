// Servers on the deterministic runtime: calls, casts, infos, starts, ends.

#include "dagverk/runtime/gen_server.hpp"

#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

class Counter : public GenServer<Counter> {
 public:
  struct Add {
    int by;
  };
  struct Total {
    using Reply = int;
  };
  struct Crash {};

  void handle_cast(Add add) { total_ += add.by; }
  void handle_cast(Crash) { throw std::runtime_error("disk on fire"); }
  int handle_call(Total) { return total_; }

 private:
  int total_ = 0;
};

TEST(GenServer, CC_SRV_003_casts_and_calls_are_handled_in_the_order_they_were_sent) {
  DeterministicRuntime runtime;
  ServerRef<Counter> counter = runtime.start<Counter>().value();
  counter.cast(Counter::Add{2});
  counter.cast(Counter::Add{3});
  EXPECT_EQ(counter.call_blocking<Counter::Total>(), 5);
  counter.cast(Counter::Add{4});
  EXPECT_EQ(counter.call_blocking<Counter::Total>(), 9);
}

TEST(GenServer, CC_SRV_009_an_exception_ends_the_server_and_its_caller_learns_why) {
  DeterministicRuntime runtime;
  ServerRef<Counter> counter = runtime.start<Counter>().value();
  counter.cast(Counter::Crash{});
  Result<int> total = counter.call_blocking<Counter::Total>();
  ASSERT_FALSE(total);
  EXPECT_EQ(total.error().code(), ErrorCode::exited);
  EXPECT_NE(total.error().message().find("disk on fire"), std::string::npos);
  ASSERT_TRUE(runtime.exit_reason(counter));
  EXPECT_EQ(*runtime.exit_reason(counter), ExitReason::error("std::runtime_error", "disk on fire"));
  EXPECT_EQ(counter.call_blocking<Counter::Total>().error().code(), ErrorCode::no_process);
}

/// Answers after a while, by a coroutine, or never.
class Slow : public GenServer<Slow> {
 public:
  struct Ask {
    using Reply = std::string;
    Duration delay;
  };
  struct Never {
    using Reply = int;
  };
  struct Forget {
    using Reply = int;
  };
  struct Note {
    std::string text;
  };
  struct Notes {
    using Reply = std::vector<std::string>;
  };

  Async<std::string> handle_call(Ask ask) {
    co_await this_process::sleep(ask.delay);
    notes_.emplace_back("answered");
    co_return "slept";
  }
  void handle_call(Never, From<Never> from) { kept_ = std::move(from); }
  void handle_call(Forget, From<Forget> from) { From<Forget> dropped = std::move(from); }
  void handle_cast(Note note) { notes_.push_back(std::move(note.text)); }
  std::vector<std::string> handle_call(Notes) { return notes_; }

 private:
  From<Never> kept_;
  std::vector<std::string> notes_;
};

TEST(GenServer, a_coroutine_callback_suspends_the_server_not_the_thread_and_other_messages_wait) {
  DeterministicRuntime runtime;
  ServerRef<Slow> slow = runtime.start<Slow>().value();
  const SteadyTime begin = runtime.clock().steady_now();
  std::vector<std::string> seen;
  Result<std::string> answer = Error(ErrorCode::internal);
  runtime.spawn([&, slow]() -> Async<void> { answer = co_await slow.call<Slow::Ask>(2s); });
  runtime.run_until_idle();
  slow.cast(Slow::Note{"later"});
  runtime.run_until_idle();
  EXPECT_FALSE(answer);
  runtime.advance(2s);
  EXPECT_EQ(answer, "slept");
  EXPECT_EQ(runtime.clock().steady_now() - begin, 2s);
  EXPECT_EQ(slow.call_blocking<Slow::Notes>(), (std::vector<std::string>{"answered", "later"}));
}

TEST(GenServer, CC_SRV_005_a_call_times_out_and_its_late_reply_is_dropped) {
  DeterministicRuntime runtime;
  ServerRef<Slow> slow = runtime.start<Slow>().value();
  std::vector<ErrorCode> codes;
  std::string second;
  runtime.spawn([&, slow]() -> Async<void> {
    Result<std::string> first = co_await slow.call_within<Slow::Ask>(1s, Duration(2s));
    codes.push_back(first.error().code());
    Result<std::string> again = co_await slow.call<Slow::Ask>(1s);
    second = again.value();
  });
  runtime.advance(1s);
  EXPECT_EQ(codes, std::vector<ErrorCode>{ErrorCode::timeout});
  EXPECT_EQ(second, "");
  runtime.advance(1s);  // the late answer to the first call comes here
  EXPECT_EQ(second, "");
  runtime.advance(1s);
  EXPECT_EQ(second, "slept");
}

TEST(GenServer, a_call_that_is_never_answered_fails_when_the_server_forgets_it_or_ends) {
  DeterministicRuntime runtime;
  ServerRef<Slow> slow = runtime.start<Slow>().value();
  EXPECT_EQ(slow.call_blocking<Slow::Forget>().error().code(), ErrorCode::exited);
  EXPECT_EQ(slow.call_blocking<Slow::Never>().error().code(), ErrorCode::timeout);
  Result<int> never = 0;
  runtime.spawn([&, slow]() -> Async<void> { never = co_await slow.call_within<Slow::Never>(0s); });
  runtime.run_until_idle();
  runtime.exit(slow.pid(), ExitReason::custom("enough"));
  runtime.run_until_idle();
  EXPECT_EQ(never.error().code(), ErrorCode::exited);
}

TEST(GenServer, an_exit_signal_destroys_the_suspended_frame) {
  DeterministicRuntime runtime;
  auto witness = std::make_shared<int>(0);
  Pid sleeper = runtime.spawn([witness]() -> Async<void> {
    std::shared_ptr<int> held = witness;
    co_await this_process::sleep(24h);
    *held = 1;
  });
  runtime.run_until_idle();
  EXPECT_GT(witness.use_count(), 1);
  runtime.exit(sleeper, ExitReason::shutdown);
  runtime.run_until_idle();
  EXPECT_FALSE(RuntimeBase::alive(sleeper));
  EXPECT_EQ(witness.use_count(), 1);
  EXPECT_EQ(runtime.exit_reason(sleeper), ExitReason::shutdown);
}

TEST(GenServer, a_process_that_calls_itself_gets_an_error_at_once) {
  class Selfish : public GenServer<Selfish> {
   public:
    struct Go {
      using Reply = ErrorCode;
    };
    struct Inner {
      using Reply = int;
    };
    Async<ErrorCode> handle_call(Go) {
      Result<int> answer = co_await self().call<Inner>();
      co_return answer.error().code();
    }
    int handle_call(Inner) { return 1; }
  };
  DeterministicRuntime runtime;
  EXPECT_EQ(runtime.start<Selfish>()->call_blocking<Selfish::Go>(), ErrorCode::calling_self);
}

class Fussy : public GenServer<Fussy> {
 public:
  enum class Mode { ok, ignore, stop, raise, raise_in_constructor, wait };
  struct Ping {
    using Reply = std::vector<std::string>;
  };
  struct First {};

  explicit Fussy(Mode mode) : mode_(mode) {
    if (mode == Mode::raise_in_constructor) throw std::logic_error("constructor");
  }
  Async<InitResult> init() {
    if (mode_ == Mode::raise) throw std::logic_error("init");
    if (mode_ == Mode::wait) co_await this_process::sleep(1s);
    if (mode_ == Mode::ignore) co_return InitResult::ignore();
    if (mode_ == Mode::stop) co_return InitResult::stop(ExitReason::custom("no licence"));
    continue_with(First{});
    co_return InitResult::ok();
  }
  void handle_continue(First) { log_.emplace_back("continue"); }
  std::vector<std::string> handle_call(Ping) {
    log_.emplace_back("call");
    return log_;
  }

 private:
  Mode mode_;
  std::vector<std::string> log_;
};

TEST(GenServer, CC_SRV_001_start_reports_what_init_decided) {
  DeterministicRuntime runtime;
  EXPECT_TRUE(runtime.start<Fussy>(Fussy::Mode::ok));
  EXPECT_TRUE(runtime.start<Fussy>(Fussy::Mode::wait));
  EXPECT_EQ(runtime.start<Fussy>(Fussy::Mode::ignore).error().code(), ErrorCode::ignored);
  Result<ServerRef<Fussy>> stopped = runtime.start<Fussy>(Fussy::Mode::stop);
  EXPECT_EQ(stopped.error().code(), ErrorCode::exited);
  EXPECT_NE(stopped.error().message().find("no licence"), std::string::npos);
  Result<ServerRef<Fussy>> raised = runtime.start<Fussy>(Fussy::Mode::raise);
  EXPECT_EQ(raised.error().code(), ErrorCode::exited);
  EXPECT_NE(raised.error().message().find("std::logic_error: init"), std::string::npos);
  EXPECT_EQ(runtime.start<Fussy>(Fussy::Mode::raise_in_constructor).error().code(), ErrorCode::exited);
  runtime.run_until_idle();
  EXPECT_EQ(runtime.process_count(), 2U);
}

TEST(GenServer, CC_SRV_007_continue_runs_before_the_first_message) {
  DeterministicRuntime runtime;
  ServerRef<Fussy> server = runtime.start<Fussy>(Fussy::Mode::ok).value();
  EXPECT_EQ(server.call_blocking<Fussy::Ping>(), (std::vector<std::string>{"continue", "call"}));
}

TEST(GenServer, CC_SRV_002_a_name_belongs_to_one_live_server_and_is_free_after_its_end) {
  DeterministicRuntime runtime;
  Name<Counter> name(runtime, "counter");
  EXPECT_EQ(name.call_blocking<Counter::Total>().error().code(), ErrorCode::no_process);
  name.cast(Counter::Add{1});
  ServerRef<Counter> first = runtime.start_with<Counter>(StartOptions{.name = "counter"}).value();
  Result<ServerRef<Counter>> second = runtime.start_with<Counter>(StartOptions{.name = "counter"});
  EXPECT_EQ(second.error().code(), ErrorCode::already_exists);
  EXPECT_EQ(name.resolve()->pid(), first.pid());
  EXPECT_EQ(Name<Slow>(runtime, "counter").resolve().error().code(), ErrorCode::wrong_type);
  ASSERT_TRUE(runtime.stop(first.pid()));
  EXPECT_EQ(runtime.whereis("counter"), std::nullopt);
  ServerRef<Counter> third = runtime.start_with<Counter>(StartOptions{.name = "counter"}).value();
  name.cast(Counter::Add{7});
  EXPECT_EQ(name.call_blocking<Counter::Total>(), 7);
  EXPECT_NE(first.pid(), third.pid());
}

/// Ends in many ways and tells what it saw.
class Terminal : public GenServer<Terminal> {
 public:
  struct Stop {
    using Reply = int;
  };
  explicit Terminal(std::vector<std::string>& log, bool trap) : log_(log) { this_process::trap_exits(trap); }
  int handle_call(Stop) {
    stop(ExitReason::shutdown);
    return 7;
  }
  void handle_info(Exit exit) { log_.push_back("exit " + exit.reason.to_string()); }
  void terminate(const ExitReason& reason) { log_.push_back("terminate " + reason.to_string()); }

 private:
  std::vector<std::string>& log_;
};

TEST(GenServer, terminate_runs_on_stop_and_not_on_kill_or_an_untrapped_signal) {
  DeterministicRuntime runtime;
  std::vector<std::string> log;
  ServerRef<Terminal> stopped = runtime.start<Terminal>(std::ref(log), false).value();
  EXPECT_TRUE(runtime.stop(stopped.pid()));
  EXPECT_EQ(runtime.stop(stopped.pid()).error().code(), ErrorCode::no_process);
  ServerRef<Terminal> itself = runtime.start<Terminal>(std::ref(log), false).value();
  EXPECT_EQ(itself.call_blocking<Terminal::Stop>(), 7);
  runtime.run_until_idle();
  ServerRef<Terminal> signalled = runtime.start<Terminal>(std::ref(log), false).value();
  runtime.exit(signalled.pid(), ExitReason::custom("out"));
  ServerRef<Terminal> killed = runtime.start<Terminal>(std::ref(log), true).value();
  runtime.exit(killed.pid(), ExitReason::shutdown);  // trapped, from a stranger
  runtime.run_until_idle();
  runtime.exit(killed.pid(), ExitReason::kill);
  runtime.run_until_idle();
  EXPECT_EQ(log, (std::vector<std::string>{"terminate normal", "terminate shutdown", "exit shutdown"}));
  EXPECT_EQ(runtime.exit_reason(killed), ExitReason::killed);
  EXPECT_EQ(runtime.process_count(), 0U);
}

TEST(GenServer, a_terminate_that_is_a_coroutine_may_wait) {
  class Lingering : public GenServer<Lingering> {
   public:
    explicit Lingering(bool& done) : done_(done) {}
    Async<void> terminate(const ExitReason&) {
      co_await this_process::sleep(3s);
      done_ = true;
    }

   private:
    bool& done_;
  };
  DeterministicRuntime runtime;
  bool done = false;
  ServerRef<Lingering> server = runtime.start<Lingering>(std::ref(done)).value();
  EXPECT_TRUE(runtime.stop(server.pid()));
  EXPECT_TRUE(done);
}

TEST(GenServer, timers_come_as_infos_and_can_be_cancelled) {
  class Timed : public GenServer<Timed> {
   public:
    struct Tick {
      int number;
    };
    struct Ticks {
      using Reply = std::vector<int>;
    };
    void init() {
      send_after(3s, Tick{3});
      send_after(1s, Tick{1});
      TimerRef second = send_after(2s, Tick{2});
      left_ = this_process::cancel_timer(second).value_or(0s);
      cancelled_twice_ = this_process::cancel_timer(second).has_value();
    }
    void handle_info(Tick tick) { ticks_.push_back(tick.number); }
    std::vector<int> handle_call(Ticks) {
      EXPECT_EQ(left_, 2s);
      EXPECT_FALSE(cancelled_twice_);
      return ticks_;
    }

   private:
    std::vector<int> ticks_;
    Duration left_{};
    bool cancelled_twice_ = true;
  };
  DeterministicRuntime runtime;
  ServerRef<Timed> timed = runtime.start<Timed>().value();
  runtime.advance(999ms);
  EXPECT_EQ(timed.call_blocking<Timed::Ticks>(), std::vector<int>{});
  runtime.advance(1ms);
  EXPECT_EQ(timed.call_blocking<Timed::Ticks>(), std::vector<int>{1});
  runtime.advance(10s);
  EXPECT_EQ(timed.call_blocking<Timed::Ticks>(), (std::vector<int>{1, 3}));
}

TEST(Completion, resumes_its_owner_whether_it_was_completed_before_or_after_the_await) {
  DeterministicRuntime runtime;
  std::vector<std::string> log;
  Completer<Result<int>> late;
  runtime.spawn([&]() -> Async<void> {
    auto [completion, completer] = make_completion<Result<int>>();
    completer.complete(1);
    Result<int> early_value = co_await std::move(completion);
    log.push_back("early " + std::to_string(early_value.value()));
    auto [completion2, completer2] = make_completion<Result<int>>();
    late = std::move(completer2);
    Result<int> late_value = co_await std::move(completion2);
    log.push_back("late " + std::to_string(late_value.value()));
    auto [completion3, completer3] = make_completion<Result<int>>();
    {
      Completer<Result<int>> dropped = std::move(completer3);
    }
    Result<int> cancelled = co_await std::move(completion3);
    log.emplace_back(to_string(cancelled.error().code()));
    auto [completion4, completer4] = make_completion<Result<int>>();
    Result<int> timed_out = co_await std::move(completion4).within(1s);
    log.emplace_back(to_string(timed_out.error().code()));
  });
  runtime.run_until_idle();
  EXPECT_EQ(log, std::vector<std::string>{"early 1"});
  late.complete(2);
  runtime.advance(2s);
  EXPECT_EQ(log, (std::vector<std::string>{"early 1", "late 2", "cancelled", "timeout"}));
}

TEST(RuntimeBase, a_start_that_is_refused_or_never_awaited_leaves_no_process_behind) {
  DeterministicRuntime runtime;
  ErrorCode refused = ErrorCode::internal;
  runtime.spawn([&] {
    refused = runtime.start<Counter>().error().code();
    auto forgotten = this_process::start_link<Counter>();
    static_cast<void>(forgotten);
  });
  runtime.run_until_idle();
  EXPECT_EQ(refused, ErrorCode::wrong_thread);
  EXPECT_EQ(runtime.process_count(), 0U);
}

TEST(RuntimeBase, run_awaits_on_a_process_of_its_own_and_brings_back_values_errors_and_exceptions) {
  DeterministicRuntime runtime;
  const auto work = [](int mode) -> Async<Result<int>> {
    co_await this_process::sleep(1s);
    if (mode == 1) co_return Error(ErrorCode::io, "no disk");
    if (mode == 2) throw std::runtime_error("oops");
    co_return 5;
  };
  EXPECT_EQ(runtime.run(work(0)), 5);
  EXPECT_EQ(runtime.run(work(1)).error().code(), ErrorCode::io);
  EXPECT_EQ(runtime.run(work(2)).error().code(), ErrorCode::exited);
  runtime.run_until_idle();
  EXPECT_EQ(runtime.process_count(), 0U);
}

}  // namespace
}  // namespace dagverk
