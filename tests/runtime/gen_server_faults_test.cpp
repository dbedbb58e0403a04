// What goes wrong in servers and around them: exceptions of any type out of any callback, answers that come late,
// twice, from elsewhere or never, and ends in the middle of a call.

#include "dagverk/runtime/child_spec.hpp"
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

// ---- ends in the middle of a call ----------------------------------------------------------------------------------

/// Stops in the middle of its calls.
class Leaver : public GenServer<Leaver> {
 public:
  struct Leave {
    using Reply = std::string;
    ExitReason reason;
  };
  struct LeaveLater {
    using Reply = std::string;
  };
  struct LeaveSilently {
    using Reply = void;
  };
  struct Linger {
    Duration wait;
  };
  explicit Leaver(Log* log) : log_(log) {}
  std::string handle_call(Leave leave) {
    stop(std::move(leave.reason));
    return "bye";
  }
  Async<std::string> handle_call(LeaveLater /*leave*/) {
    co_await this_process::sleep(1s);
    stop(ExitReason::shutdown);
    co_return "bye, later";
  }
  static void handle_call(LeaveSilently /*leave*/) { stop(ExitReason::shutdown); }
  void handle_cast(Linger linger) { linger_ = linger.wait; }
  Async<void> terminate(const ExitReason& reason) {
    log_->push_back("terminate " + reason.to_string());
    co_await this_process::sleep(linger_);
    log_->emplace_back("terminated");
  }

 private:
  Log* log_;
  Duration linger_{};
};

TEST(GenServer, CC_SRV_006_a_call_that_stops_with_a_reply_terminates_first) {
  DeterministicRuntime runtime;
  Log log;
  ServerRef<Leaver> leaver = runtime.start_with<Leaver>(StartOptions{.name = "leaver"}, &log).value();
  leaver.cast(Leaver::Linger{3s});
  runtime.spawn([&, leaver]() -> Async<void> {
    Result<std::string> answer = co_await leaver.call<Leaver::Leave>(ExitReason::shutdown);
    log.push_back(answer.value());
    // Its name is free by then.
    log.emplace_back(runtime.whereis("leaver") ? "taken" : "free");
  });
  runtime.run_until_idle();
  EXPECT_EQ(log, Log{"terminate shutdown"});
  runtime.advance(3s);
  EXPECT_EQ(log, (Log{"terminate shutdown", "terminated", "bye", "free"}));
  EXPECT_EQ(runtime.exit_reason(leaver), ExitReason::shutdown);
}

TEST(GenServer, a_coroutine_and_a_call_without_a_value_stop_with_a_reply_too) {
  DeterministicRuntime runtime;
  Log log;
  EXPECT_EQ(runtime.start<Leaver>(&log)->call_blocking<Leaver::LeaveLater>(), "bye, later");
  EXPECT_EQ(log, (Log{"terminate shutdown", "terminated"}));
  EXPECT_TRUE(runtime.start<Leaver>(&log)->call_blocking<Leaver::LeaveSilently>());
}

TEST(GenServer, a_reply_that_waited_for_terminate_is_not_given_when_the_server_is_killed_meanwhile) {
  DeterministicRuntime runtime;
  Log log;
  ServerRef<Leaver> leaver = runtime.start<Leaver>(&log).value();
  leaver.cast(Leaver::Linger{1h});
  Result<std::string> answer = Error(ErrorCode::internal);
  runtime.spawn(
      [&, leaver]() -> Async<void> { answer = co_await leaver.call_within<Leaver::Leave>(0s, ExitReason::normal); });
  runtime.run_until_idle();
  runtime.exit(leaver.pid(), ExitReason::kill);
  runtime.run_until_idle();
  EXPECT_EQ(answer.error().code(), ErrorCode::exited);
  EXPECT_NE(answer.error().message().find("killed"), std::string::npos);
}

// ---- answers -------------------------------------------------------------------------------------------------------

/// Answers through `From`, in every way one can.
class Desk : public GenServer<Desk> {
 public:
  struct Ask {
    using Reply = int;
  };
  struct Twice {
    using Reply = int;
  };
  struct Keep {
    using Reply = int;
  };
  struct ThrowAway {
    using Reply = int;
  };
  struct ThrowKeeping {
    using Reply = int;
  };
  struct ThrowAfterAnswer {
    using Reply = int;
  };
  struct CrashLater {};
  struct Drop {};

  explicit Desk(bool* second = nullptr) : second_(second) {}
  static void handle_call(Ask /*ask*/, From<Ask> from) {
    // A process of its own answers.
    runtime().spawn([from = std::move(from)]() mutable -> Async<void> {
      co_await this_process::sleep(1s);
      from.reply(42);
    });
  }
  void handle_call(Twice /*ask*/, From<Twice> from) const {
    from.reply(1);
    *second_ = from.reply(2);
  }
  void handle_call(Keep /*ask*/, From<Keep> from) { kept_.push_back(std::move(from)); }
  static void handle_call(ThrowAway /*ask*/, From<ThrowAway> from) {
    const From<ThrowAway> mine = std::move(from);
    throw std::runtime_error("ink");
  }
  void handle_call(ThrowKeeping /*ask*/, From<ThrowKeeping> from) {
    thrown_ = std::move(from);
    throw std::runtime_error("blots");
  }
  static void handle_call(ThrowAfterAnswer /*ask*/, From<ThrowAfterAnswer> from) {
    from.reply(7);
    throw std::runtime_error("pen");
  }
  static void handle_cast(CrashLater /*message*/) { throw std::runtime_error("fire"); }
  void handle_cast(Drop /*message*/) { kept_.clear(); }

 private:
  bool* second_;
  std::vector<From<Keep>> kept_;
  From<ThrowKeeping> thrown_;
};

TEST(GenServer, CC_SRV_010_a_reply_from_another_process_reaches_the_caller) {
  DeterministicRuntime runtime;
  ServerRef<Desk> desk = runtime.start<Desk>().value();
  EXPECT_EQ(desk.call_blocking<Desk::Ask>(), 42);
  Result<int> inside = 0;
  runtime.spawn([&, desk]() -> Async<void> { inside = co_await desk.call<Desk::Ask>(); });
  // The server is free meanwhile, and may even end: the right to answer has left it.
  runtime.run_until_idle();
  runtime.exit(desk.pid(), ExitReason::kill);
  runtime.advance(1s);
  EXPECT_EQ(inside, 42);
}

TEST(GenServer, a_second_reply_is_refused) {
  DeterministicRuntime runtime;
  bool second = true;
  ServerRef<Desk> desk = runtime.start<Desk>(&second).value();
  EXPECT_EQ(desk.call_blocking<Desk::Twice>(), 1);
  EXPECT_FALSE(second);
}

TEST(GenServer, a_call_whose_handler_throws_tells_its_caller_the_exception_whatever_became_of_its_from) {
  // The caller used to learn that the call was not answered, which was the consequence.
  const auto ask = []<class Message>(Message /*message*/) {
    DeterministicRuntime runtime;
    return runtime.start<Desk>()->call_blocking<Message>();
  };
  const Result<int> away = ask(Desk::ThrowAway{});
  EXPECT_EQ(away.error().code(), ErrorCode::exited);
  EXPECT_NE(away.error().message().find("ink"), std::string::npos);
  const Result<int> kept = ask(Desk::ThrowKeeping{});
  EXPECT_NE(kept.error().message().find("blots"), std::string::npos);
  EXPECT_EQ(ask(Desk::ThrowAfterAnswer{}), 7);
}

TEST(GenServer, calls_that_a_server_keeps_fail_with_its_reason_when_it_crashes_and_as_unanswered_when_it_drops_them) {
  DeterministicRuntime runtime;
  std::vector<std::string> errors;
  for (const bool crashes : {true, false}) {
    ServerRef<Desk> desk = runtime.start<Desk>().value();
    runtime.spawn([&, desk]() -> Async<void> {
      Result<int> answer = co_await desk.call<Desk::Keep>();
      errors.emplace_back(answer.error().message());
    });
    runtime.run_until_idle();
    if (crashes) {
      desk.cast(Desk::CrashLater{});
    } else {
      desk.cast(Desk::Drop{});
    }
    runtime.run_until_idle();
  }
  ASSERT_EQ(errors.size(), 2U);
  EXPECT_NE(errors[0].find("std::runtime_error: fire"), std::string::npos) << errors[0];
  EXPECT_NE(errors[1].find("not answered"), std::string::npos) << errors[1];
}

// ---- exceptions of any type ----------------------------------------------------------------------------------------

struct Odd {
  int code;
};
/// An exception without a text.
class Mute : public std::exception {
 public:
  [[nodiscard]] const char* what() const noexcept override { return nullptr; }
};

enum class Place { nowhere, constructor, init, cast, call, info, next, terminate, down, later };
enum class What { number, text, odd, mute };

/// Throws what it is told where it is told.
class Thrower : public GenServer<Thrower> {
 public:
  struct Go {};
  struct Ask {
    using Reply = int;
  };
  struct Tell {};
  struct Next {};
  struct Later {};
  struct Watch {};
  Thrower(Place place, What what) : place_(place), what_(what) { at(Place::constructor); }
  void init() const { at(Place::init); }
  void handle_cast(Go /*go*/) {
    at(Place::cast);
    if (place_ == Place::next) continue_with(Next{});
    if (place_ == Place::terminate) stop();
    if (place_ == Place::down) static_cast<void>(this_process::monitor(Pid()));
  }
  Async<void> handle_cast(Later /*go*/) const {
    co_await this_process::sleep(1s);
    at(Place::later);
  }
  int handle_call(Ask /*ask*/) const {
    at(Place::call);
    return 1;
  }
  void handle_info(Tell /*tell*/) const { at(Place::info); }
  void handle_info(const Down& /*down*/) const { at(Place::down); }
  void handle_continue(Next /*next*/) const { at(Place::next); }
  void terminate(const ExitReason& /*reason*/) const { at(Place::terminate); }

 private:
  void at(Place place) const {
    if (place != place_) return;
    switch (what_) {
      case What::number: throw 42;
      case What::text: throw "text";
      case What::odd: throw Odd{7};
      case What::mute: throw Mute();
    }
  }

  Place place_;
  What what_;
};

TEST(GenServer, an_exception_of_any_type_out_of_any_callback_ends_that_process_alone_and_names_the_type) {
  const auto type_of = [](What what) -> std::string {
    switch (what) {
      case What::number: return "int";
      case What::text: return "char const*";
      case What::odd: return "dagverk::(anonymous namespace)::Odd";
      case What::mute: return "dagverk::(anonymous namespace)::Mute";
    }
    return {};
  };
  DeterministicRuntime runtime;
  ServerRef<Thrower> bystander = runtime.start<Thrower>(Place::nowhere, What::number).value();
  for (const What what : {What::number, What::text, What::odd, What::mute}) {
    for (const Place place : {Place::constructor, Place::init}) {
      Result<ServerRef<Thrower>> refused = runtime.start<Thrower>(place, what);
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().code(), ErrorCode::exited);
      EXPECT_NE(refused.error().message().find(type_of(what)), std::string::npos) << refused.error().message();
    }
    for (const Place place :
         {Place::cast, Place::call, Place::info, Place::next, Place::terminate, Place::down, Place::later}) {
      ServerRef<Thrower> thrower = runtime.start<Thrower>(place, what).value();
      thrower.cast(Thrower::Later{});
      runtime.advance(1s);
      thrower.info(Thrower::Tell{});
      thrower.cast(Thrower::Go{});
      [[maybe_unused]] const Result<int> answer = thrower.call_blocking<Thrower::Ask>();
      runtime.run_until_idle();
      ASSERT_TRUE(runtime.exit_reason(thrower)) << static_cast<int>(place);
      EXPECT_EQ(*runtime.exit_reason(thrower), ExitReason::error(type_of(what), "")) << static_cast<int>(place);
    }
  }
  EXPECT_EQ(bystander.call_blocking<Thrower::Ask>(), 1);
  EXPECT_EQ(runtime.process_count(), 1U);
}

/// A message whose destructor throws, wherever it dies.
struct Grenade {
  using Reply = int;
  explicit Grenade(int* pulled) : pin(pulled) {}
  Grenade(Grenade&& other) noexcept : pin(std::exchange(other.pin, nullptr)) {}
  Grenade(const Grenade&) = delete;
  Grenade& operator=(const Grenade&) = delete;
  ~Grenade() noexcept(false) {
    if (pin == nullptr) return;
    ++*pin;
    throw std::runtime_error("bang");
  }
  int* pin;
};

class Bunker : public GenServer<Bunker> {
 public:
  struct Ping {
    using Reply = int;
  };
  void handle_cast(const Grenade& /*grenade*/) { ++handled_; }
  Async<void> handle_info(Grenade grenade) {
    const Grenade mine = std::move(grenade);  // in the frame
    co_await this_process::sleep(1s);
    ++handled_;
  }
  int handle_call(const Grenade& /*grenade*/) { return ++handled_; }
  int handle_call(Ping /*ping*/) const { return handled_; }

 private:
  int handled_ = 0;
};

class CountingLogger final : public Logger {
 public:
  void write(LogLevel /*level*/, std::string_view event, std::span<const LogField> fields) noexcept override {
    if (event == "process.cleanup_failed") ++cleanups;
    if (event == "process.exited") {
      for (const LogField& field : fields) exited += std::string(field.name) + "=" + field.value + " ";
    }
  }
  int cleanups = 0;
  std::string exited;
};

TEST(GenServer, a_message_whose_destructor_throws_is_reported_and_hurts_nobody_handled_or_not) {
  CountingLogger logger;
  int pulled = 0;
  {
    DeterministicRuntime runtime(DeterministicOptions{.logger = &logger});
    ServerRef<Bunker> bunker = runtime.start<Bunker>().value();
    bunker.cast_of<Grenade>(&pulled);
    EXPECT_EQ(bunker.call_blocking<Grenade>(&pulled), 2);
    runtime.run_until_idle();
    EXPECT_EQ(pulled, 2);
    EXPECT_EQ(logger.cleanups, 2);
    EXPECT_EQ(bunker.call_blocking<Bunker::Ping>(), 2);
    bunker.cast_of<Grenade>(&pulled);  // never handled
    runtime.exit(bunker.pid(), ExitReason::kill);
    runtime.run_until_idle();
    EXPECT_FALSE(RuntimeBase::alive(bunker.pid()));
    EXPECT_EQ(pulled, 3);
    bunker.cast_of<Grenade>(&pulled);  // for nobody
    EXPECT_EQ(pulled, 4);
    ServerRef<Bunker> last = runtime.start<Bunker>().value();
    last.cast_of<Grenade>(&pulled);  // left over when the runtime ends
  }
  EXPECT_EQ(pulled, 5);
}

TEST(GenServer, the_report_of_an_abnormal_end_names_the_process_what_it_handled_last_and_why) {
  CountingLogger logger;
  DeterministicRuntime runtime(DeterministicOptions{.logger = &logger});
  ServerRef<Desk> desk = runtime.start<Desk>().value();
  desk.cast(Desk::CrashLater{});
  runtime.run_until_idle();
  EXPECT_NE(logger.exited.find("Desk"), std::string::npos) << logger.exited;
  EXPECT_NE(logger.exited.find("CrashLater"), std::string::npos) << logger.exited;
  EXPECT_NE(logger.exited.find("std::runtime_error: fire"), std::string::npos) << logger.exited;
}

// ---- names, links and specs ----------------------------------------------------------------------------------------

class Echo : public GenServer<Echo> {
 public:
  struct Say {
    std::string text;
  };
  struct Heard {
    using Reply = Log;
  };
  struct Crash {};
  struct CallByName {
    using Reply = std::string;
    std::string name;
  };
  explicit Echo(std::string greeting = {}) {
    if (!greeting.empty()) heard_.push_back(std::move(greeting));
  }
  void handle_cast(Say say) { heard_.push_back(std::move(say.text)); }
  static void handle_cast(Crash /*crash*/) { throw std::runtime_error("crash"); }
  void handle_info(Say say) { heard_.push_back("info " + say.text); }
  Log handle_call(Heard /*heard*/) { return heard_; }
  static Async<std::string> handle_call(CallByName call) {
    const Name<Echo> name(runtime(), call.name);
    Result<Log> heard = co_await name.call<Heard>();
    co_return heard ? std::string("answered") : std::string(to_string(heard.error().code()));
  }

 private:
  Log heard_;
};

TEST(GenServer, CC_SRV_011_a_cast_to_an_unknown_name_is_dropped_and_a_call_to_it_says_no_process) {
  DeterministicRuntime runtime;
  const Name<Echo> nobody(runtime, "nobody");
  nobody.cast(Echo::Say{"hello"});
  nobody.info(Echo::Say{"hello"});
  EXPECT_EQ(nobody.try_cast(Echo::Say{"hello"}).error().code(), ErrorCode::no_process);
  const Result<Log> answer = nobody.call_blocking<Echo::Heard>();
  EXPECT_EQ(answer.error().code(), ErrorCode::no_process);
  EXPECT_NE(answer.error().message().find("\"nobody\""), std::string::npos) << answer.error().message();
  ServerRef<Echo> other = runtime.start<Echo>().value();
  EXPECT_EQ(other.call_blocking<Echo::CallByName>("nobody"), "no_process");
}

TEST(GenServer, a_name_reaches_whoever_holds_it_now_and_nobody_of_another_kind) {
  DeterministicRuntime runtime;
  ServerRef<Echo> asker = runtime.start_with<Echo>(StartOptions{.name = "echo"}).value();
  static_cast<void>(runtime.start_with<Desk>(StartOptions{.name = "desk"}).value());
  EXPECT_EQ(asker.call_blocking<Echo::CallByName>("desk"), "wrong_type");
  EXPECT_EQ(asker.call_blocking<Echo::CallByName>("echo"), "calling_self");
  const Name<Echo> desk(runtime, "desk");
  EXPECT_EQ(desk.try_cast(Echo::Say{"?"}).error().code(), ErrorCode::wrong_type);
  EXPECT_EQ(desk.call_blocking_within<Echo::Heard>(1s).error().code(), ErrorCode::wrong_type);
}

TEST(GenServer, a_name_survives_the_restart_of_its_holder) {
  DeterministicRuntime runtime;
  const SupervisorRef supervisor = start_supervisor(runtime).value();
  ASSERT_TRUE(
      supervisor.start_child_blocking(child_spec_with<Echo>(ChildOptions{.registered = true}, "echo", "fresh")));
  const Name<Echo> echo(runtime, "echo");
  const Pid before = echo.resolve()->pid();
  echo.cast(Echo::Say{"one"});
  echo.info(Echo::Say{"two"});
  EXPECT_EQ(echo.call_blocking<Echo::Heard>(), (Log{"fresh", "one", "info two"}));
  echo.cast(Echo::Crash{});
  runtime.run_until_idle();
  EXPECT_NE(echo.resolve()->pid(), before);
  EXPECT_EQ(echo.call_blocking<Echo::Heard>(), Log{"fresh"});
}

/// Traps exits and tells what came.
class Trapper : public GenServer<Trapper> {
 public:
  struct LinkTo {
    Pid other;
  };
  explicit Trapper(Log* log) : log_(log) {}
  static void init() { this_process::trap_exits(); }
  static void handle_cast(LinkTo link) { this_process::link(link.other); }
  void handle_info(const Exit& exit) { log_->push_back("exit " + exit.reason.to_string()); }
  void terminate(const ExitReason& reason) { log_->push_back("terminate " + reason.to_string()); }

 private:
  Log* log_;
};

TEST(GenServer, CC_SRV_014_an_exit_signal_of_another_linked_process_comes_to_handle_info_of_a_server_that_traps) {
  DeterministicRuntime runtime;
  Log log;
  ServerRef<Trapper> trapper = runtime.start<Trapper>(&log).value();
  ServerRef<Echo> friend_of = runtime.start<Echo>().value();
  ServerRef<Echo> quiet = runtime.start<Echo>().value();
  trapper.cast(Trapper::LinkTo{friend_of.pid()});
  trapper.cast(Trapper::LinkTo{quiet.pid()});
  runtime.run_until_idle();
  friend_of.cast(Echo::Crash{});
  runtime.run_until_idle();
  EXPECT_TRUE(runtime.stop(quiet.pid()));
  runtime.run_until_idle();
  EXPECT_EQ(log, (Log{"exit error std::runtime_error: crash", "exit normal"}));
  EXPECT_TRUE(RuntimeBase::alive(trapper.pid()));
}

TEST(GenServer, CC_SRV_015_a_child_spec_has_the_defaults_of_its_kind_and_takes_overrides) {
  const ChildSpecOf<Echo> plain = child_spec<Echo>("echo", "hello");
  EXPECT_EQ(plain.id, "echo");
  EXPECT_EQ(plain.type, ChildType::worker);
  EXPECT_EQ(plain.restart, Restart::permanent);
  EXPECT_FALSE(plain.shutdown);  // 5 s for a worker
  EXPECT_FALSE(plain.significant);
  EXPECT_FALSE(plain.registered);
  EXPECT_TRUE(check(plain));
  ChildOptions options;
  options.restart = Restart::transient;
  options.shutdown = Shutdown::after(1s);
  options.significant = true;
  const ChildSpecOf<Echo> other = child_spec_with<Echo>(options, "other", "hello");
  EXPECT_EQ(other.id, "other");
  EXPECT_EQ(other.restart, Restart::transient);
  EXPECT_EQ(other.shutdown->limit(), Duration(1s));
  EXPECT_TRUE(other.significant);
  EXPECT_EQ(child_spec<Supervisor>("tree", SupervisorOptions{}, std::vector<ChildSpec>{}).type, ChildType::supervisor);
  // What it starts is the server it names, with its arguments, each time.
  DeterministicRuntime runtime;
  const SupervisorRef supervisor = start_supervisor(runtime).value();
  ServerRef<Echo> echo = supervisor.start_child_blocking(plain).value();
  EXPECT_EQ(echo.call_blocking<Echo::Heard>(), Log{"hello"});
}

}  // namespace
}  // namespace dagverk
