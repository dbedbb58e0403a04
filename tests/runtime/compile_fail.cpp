// What must not compile, and what the compiler then says first. Each case is one test: `dagverk_add_compile_fail_test`
// defines one of the macros below. Without any this file compiles, which is a test as well.

#include "dagverk/runtime/gen_server.hpp"

#include <memory>
#include <string>

namespace shop {

using dagverk::Async;
using dagverk::GenServer;
using dagverk::Name;
using dagverk::ServerRef;

class Counter : public GenServer<Counter> {
 public:
  struct Add {
    int by;
  };
  struct Total {
    using Reply = int;
  };
  struct Named {
    using Reply = std::string;
    std::string text;
  };
  struct Tick {};
  struct Hidden {};
  struct Unknown {
    using Reply = int;
  };
  struct Odd {};
  struct OddCall {
    using Reply = int;
  };
  struct Silent {
    using Reply = int;
  };
  struct Heavy {
    std::unique_ptr<int> load;
  };

  void init() {
    continue_with(Tick{});
    static_cast<void>(send_every(std::chrono::seconds(1), Tick{}));
#if defined(CASE_CONTINUE)
    continue_with(Unknown{});
#elif defined(CASE_INTERVAL)
    static_cast<void>(send_every(std::chrono::seconds(1), Unknown{}));
#elif defined(CASE_INTERVAL_COPY)
    static_cast<void>(send_every(std::chrono::seconds(1), Heavy{}));
#elif defined(CASE_IDLE)
    idle_timeout(std::chrono::seconds(1));
#elif defined(CASE_TIMER)
    send_after(std::chrono::seconds(1), Unknown{});
#endif
  }
  void handle_cast(Add add) { total_ += add.by; }
  int handle_call(Total /*message*/) const { return total_; }
  static std::string handle_call(Named named) { return named.text; }
  void handle_info(Tick /*tick*/) { ++total_; }
  void handle_info(const Heavy& /*heavy*/) { ++total_; }
  void handle_continue(Tick /*tick*/) { ++total_; }
  int handle_cast(Odd /*odd*/) { return ++total_; }
  static std::unique_ptr<int> handle_call(OddCall /*odd*/) { return nullptr; }
  void handle_call(Silent /*silent*/) { ++total_; }

 private:
  void handle_cast(Hidden /*hidden*/) { ++total_; }

  int total_ = 0;
};

void use(const ServerRef<Counter>& counter, const Name<Counter>& name) {
  counter.cast(Counter::Add{1});
  counter.info(Counter::Tick{});
  static_cast<void>(counter.call_blocking<Counter::Total>());
  static_cast<void>(counter.call_blocking<Counter::Named>("x"));
#if defined(CASE_CAST)
  counter.cast(Counter::Unknown{});
#elif defined(CASE_CALL)
  static_cast<void>(counter.call_blocking<Counter::Unknown>());
#elif defined(CASE_INFO)
  counter.info(Counter::Unknown{});
#elif defined(CASE_NAME)
  name.cast(Counter::Unknown{});
#elif defined(CASE_REPLY)
  static_cast<void>(counter.call_blocking<Counter::Add>(1));
#elif defined(CASE_ARGUMENTS)
  static_cast<void>(counter.call_blocking<Counter::Named>(1, 2, 3));
#elif defined(CASE_PRIVATE)
  counter.cast(Counter::Hidden{});
#elif defined(CASE_ODD_CAST)
  counter.cast(Counter::Odd{});
#elif defined(CASE_ODD_REPLY)
  static_cast<void>(counter.call_blocking<Counter::OddCall>());
#elif defined(CASE_NO_VALUE)
  static_cast<void>(counter.call_blocking<Counter::Silent>());
#endif
  static_cast<void>(name);
}

class OddStart : public GenServer<OddStart> {
 public:
#if defined(CASE_ODD_INIT)
  static std::string init() { return "?"; }
#endif
};

dagverk::Result<ServerRef<OddStart>> start_odd(dagverk::RuntimeBase& runtime) { return runtime.start<OddStart>(); }

}  // namespace shop
