// What a message costs the heap once everything is warm: nothing. This program counts every `operator new`, the ones
// for the runtime's own chunks included.

#include "support/count_allocations.hpp"

#include "dagverk/runtime/detail/chunk.hpp"
#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/runtime/runtime.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

class Sum : public GenServer<Sum> {
 public:
  struct Add {
    std::uint64_t by;
  };
  struct Total {
    using Reply = std::uint64_t;
  };
  void handle_cast(Add add) { total_ += add.by; }
  std::uint64_t handle_call(Total /*total*/) { return total_; }

 private:
  std::uint64_t total_ = 0;
};

/// Casts in bursts, each followed by a call, so that no mailbox grows; each burst in a coroutine of its own.
class Sender : public GenServer<Sender> {
 public:
  struct Go {
    using Reply = std::uint64_t;
    ServerRef<Sum> sum;
    int bursts;
  };
  Async<std::uint64_t> handle_call(Go go) {
    std::uint64_t last = 0;
    for (int index = 0; index < go.bursts; ++index) last = co_await burst(go.sum);
    co_return last;
  }

 private:
  static Async<std::uint64_t> burst(ServerRef<Sum> sum) {
    for (int cast = 0; cast < 100; ++cast) sum.cast(Sum::Add{1});
    Result<std::uint64_t> total = co_await sum.call<Sum::Total>();
    co_return total.value_or(0);
  }
};

class WarmPath : public ::testing::Test {
 protected:
  void SetUp() override {
#if defined(DAGVERK_PLAIN_ALLOCATION)
    GTEST_SKIP() << "under a sanitizer each message is an allocation of its own, so that it sees them";
#endif
  }
  /// How often the heap was asked while `work` ran, which has run before.
  template <class Work>
  static std::uint64_t count(Work&& work) {
    work();
    const std::uint64_t before = allocation_count();
    work();
    return allocation_count() - before;
  }
};

TEST_F(WarmPath, on_one_worker_casts_calls_and_coroutines_allocate_nothing) {
  Runtime runtime(RuntimeOptions{.workers = 1});
  ServerRef<Sum> sum = runtime.start<Sum>().value();
  ServerRef<Sender> sender = runtime.start<Sender>().value();
  std::uint64_t expected = 0;
  const std::uint64_t counted = count([&] {
    expected += 1'000 * 100;
    EXPECT_EQ(sender.call_blocking_within<Sender::Go>(60s, sum, 1'000), expected);
  });
  EXPECT_EQ(counted, 0U);
}

TEST_F(WarmPath, on_two_workers_chunks_that_travel_are_allocated_once_for_thousands_of_messages) {
  Runtime runtime(RuntimeOptions{.workers = 2});
  ServerRef<Sum> sum = runtime.start<Sum>().value();
  ServerRef<Sender> first = runtime.start<Sender>().value();
  ServerRef<Sender> second = runtime.start<Sender>().value();
  const std::uint64_t counted = count([&] {
    std::thread other([&] { EXPECT_TRUE(first.call_blocking_within<Sender::Go>(60s, sum, 1'000)); });
    EXPECT_TRUE(second.call_blocking_within<Sender::Go>(60s, sum, 1'000));
    other.join();
  });
  // 200,000 casts. A thread may still grow its store of spare chunks, 64 at a time; and the other thread is one.
  EXPECT_LE(counted, 20U);
}

TEST_F(WarmPath, from_a_thread_outside_casts_and_blocking_calls_allocate_nothing) {
  Runtime runtime(RuntimeOptions{.workers = 1});
  ServerRef<Sum> sum = runtime.start<Sum>().value();
  std::uint64_t expected = 0;
  const std::uint64_t counted = count([&] {
    for (int burst = 0; burst < 1'000; ++burst) {
      for (int cast = 0; cast < 100; ++cast) sum.cast(Sum::Add{1});
      expected += 100;
      ASSERT_EQ(sum.call_blocking_within<Sum::Total>(60s), expected);
    }
  });
  // 100,000 casts, whose chunks go from this thread to the worker and back by way of the reserve.
  EXPECT_LE(counted, 4U);
}

}  // namespace
}  // namespace dagverk
