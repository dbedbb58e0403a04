// Registries on the deterministic runtime, over several seeds, and once on threads.

#include "dagverk/runtime/registry.hpp"

#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/runtime/runtime.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <variant>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

/// A process that runs what it is given.
class Holder : public GenServer<Holder> {
 public:
  struct Do {
    using Reply = void;
    std::function<void()> work;
  };
  struct Crash {};

  void handle_call(Do request) { request.work(); }
  void handle_cast(Crash) { throw std::runtime_error("holder crashed"); }
};

class Stranger : public GenServer<Stranger> {};

void in(ServerRef<Holder> holder, std::function<void()> work) {
  const Result<void> done = holder.call_blocking<Holder::Do>(std::move(work));
  EXPECT_TRUE(done) << (done ? "" : done.error().message());
}

ServerRef<Holder> start_holder(RuntimeBase& runtime) { return runtime.start<Holder>().value(); }

using Words = Registry<std::string, int>;

constexpr RegistryOptions duplicate_keys(std::size_t partitions = 16) {
  return {.keys = RegistryKeys::duplicate, .name = {}, .partitions = partitions};
}

std::vector<int> values_of(const Words::Entries& entries) {
  std::vector<int> values;
  for (const Words::Entry& entry : entries) values.push_back(entry.value);
  return values;
}

/// Every test runs under a few orders of everything.
class RegistryTest : public testing::TestWithParam<std::uint64_t> {
 protected:
  DeterministicRuntime runtime{DeterministicOptions{.seed = GetParam()}};
};
INSTANTIATE_TEST_SUITE_P(seeds, RegistryTest, testing::Values(1U, 2U, 3U));

TEST_P(RegistryTest, CC_REG_001_a_unique_key_is_taken_by_the_first_and_refused_to_everybody_after) {
  Words words = Words::create(runtime, {.name = "words"}).value();
  ServerRef<Holder> first = start_holder(runtime);
  ServerRef<Holder> second = start_holder(runtime);
  in(first, [&] {
    EXPECT_TRUE(words.register_self("a", 1));
    EXPECT_EQ(words.register_self("a", 2).error().code(), ErrorCode::already_exists);
  });
  in(second, [&] {
    const Result<void> taken = words.register_self("a", 3);
    EXPECT_EQ(taken.error().message(),
              concat("registry \"words\": the key \"a\" is registered by process ", first.pid().number()));
    EXPECT_TRUE(words.register_self("b", 4));
  });
  EXPECT_EQ(words.whereis("a"), first.pid());
  EXPECT_EQ(values_of(words.lookup("a")), std::vector<int>{1});
  EXPECT_TRUE(words.lookup("c").empty());
  EXPECT_EQ(words.keys(second.pid()), std::vector<std::string>{"b"});
  EXPECT_EQ(words.values("b", second.pid()), std::vector<int>{4});
  EXPECT_TRUE(words.values("b", first.pid()).empty());
}

/// Registers a key as soon as it learns that the process it watches has ended.
class Heir : public GenServer<Heir> {
 public:
  Heir(Words words, Pid watched) : words_(std::move(words)) { static_cast<void>(this_process::monitor(watched)); }
  struct Inherited {
    using Reply = bool;
  };
  void handle_info(Down) {
    inherited_ = words_.lookup("crown").empty() && words_.register_self("crown", 2).has_value();
  }
  bool handle_call(Inherited) { return inherited_; }

 private:
  Words words_;
  bool inherited_ = false;
};

TEST_P(RegistryTest, CC_REG_002_the_key_of_a_dead_holder_is_free_as_soon_as_its_end_can_be_observed) {
  Words words = Words::create(runtime).value();
  ServerRef<Holder> king = start_holder(runtime);
  in(king, [&] { EXPECT_TRUE(words.register_self("crown", 1)); });
  ServerRef<Heir> heir = runtime.start<Heir>(words, king.pid()).value();
  runtime.exit(king.pid(), ExitReason::kill);
  while (RuntimeBase::alive(king.pid())) ASSERT_TRUE(runtime.step());
  EXPECT_EQ(words.whereis("crown"), std::nullopt);  // before the heir has run
  runtime.run_until_idle();
  EXPECT_TRUE(heir.call_blocking<Heir::Inherited>().value());
  EXPECT_EQ(words.whereis("crown"), heir.pid());
}

TEST_P(RegistryTest, CC_REG_004_keys_compare_exactly_so_one_is_not_one_point_zero) {
  using Number = std::variant<int, double>;
  auto numbers = Registry<Number, std::string>::create(runtime).value();
  ServerRef<Holder> holder = start_holder(runtime);
  in(holder, [&] {
    EXPECT_TRUE(numbers.register_self(1, "integer"));
    EXPECT_TRUE(numbers.register_self(1.0, "real"));
    EXPECT_EQ(numbers.register_self(1.0, "again").error().code(), ErrorCode::already_exists);
  });
  EXPECT_EQ(numbers.lookup(1)[0].value, "integer");
  EXPECT_EQ(numbers.lookup(1.0)[0].value, "real");
}

TEST_P(RegistryTest, CC_REG_005_dispatch_shows_every_entry_once_in_the_caller_and_is_silent_for_none) {
  for (const std::size_t partitions : {1U, 8U}) {
    Words words = Words::create(runtime, duplicate_keys(partitions)).value();
    std::vector<ServerRef<Holder>> holders;
    for (int index = 0; index < 6; ++index) {
      holders.push_back(start_holder(runtime));
      in(holders.back(), [&] {
        EXPECT_TRUE(words.register_self("topic", 2 * index));
        EXPECT_TRUE(words.register_self("topic", 2 * index + 1));
        EXPECT_TRUE(words.register_self("other", 100));
      });
    }
    in(holders[0], [&] {
      int calls = 0;
      std::vector<int> seen;
      const std::size_t count = words.dispatch("topic", [&](const Words::Entries& entries) {
        ++calls;
        EXPECT_EQ(this_process::pid(), holders[0].pid());
        seen = values_of(entries);
      });
      EXPECT_EQ(calls, 1);
      EXPECT_EQ(count, 12U);
      EXPECT_EQ(seen, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
      EXPECT_EQ(words.dispatch("nothing", [&](const Words::Entries&) { ++calls; }), 0U);
      EXPECT_EQ(calls, 1);
    });
  }
  Words unique = Words::create(runtime).value();
  ServerRef<Holder> holder = start_holder(runtime);
  in(holder, [&] { EXPECT_TRUE(unique.register_self("one", 7)); });
  EXPECT_EQ(unique.dispatch("one", [](const Words::Entries& entries) { EXPECT_EQ(entries[0].value, 7); }), 1U);
}

TEST_P(RegistryTest, a_snapshot_of_entries_stays_as_it_was_while_the_table_changes) {
  Words words = Words::create(runtime, duplicate_keys()).value();
  ServerRef<Holder> holder = start_holder(runtime);
  in(holder, [&] {
    EXPECT_TRUE(words.register_self("k", 1));
    const Words::Entries before = words.lookup("k");
    EXPECT_TRUE(words.register_self("k", 2));
    words.dispatch("k", [&](const Words::Entries& entries) {
      EXPECT_EQ(words.unregister("k"), 2U);
      EXPECT_EQ(values_of(entries), (std::vector<int>{1, 2}));
    });
    EXPECT_EQ(values_of(before), std::vector<int>{1});
    EXPECT_TRUE(words.lookup("k").empty());
  });
}

TEST_P(RegistryTest, CC_REG_008_unregister_removes_the_callers_own_entries_of_exactly_that_key) {
  Words words = Words::create(runtime, duplicate_keys()).value();
  ServerRef<Holder> holder = start_holder(runtime);
  ServerRef<Holder> other = start_holder(runtime);
  const std::vector<std::string> odd = {"_", "$1", "*", "", "%", ".*"};
  in(holder, [&] {
    EXPECT_EQ(words.unregister("nothing"), 0U);
    for (const std::string& key : odd) EXPECT_TRUE(words.register_self(key, 1));
    EXPECT_TRUE(words.register_self("plain", 2));
    EXPECT_TRUE(words.register_self("plain", 3));
  });
  in(other, [&] {
    EXPECT_TRUE(words.register_self("plain", 4));
    EXPECT_EQ(words.unregister("_"), 0U);  // another's
  });
  in(holder, [&] {
    EXPECT_EQ(words.unregister("*"), 1U);
    EXPECT_EQ(words.unregister("plain"), 2U);
    EXPECT_EQ(words.unregister("plain"), 0U);
  });
  EXPECT_EQ(values_of(words.lookup("plain")), std::vector<int>{4});
  EXPECT_EQ(words.count(), odd.size());
  std::vector<std::string> left = words.keys(holder.pid());
  EXPECT_EQ(std::multiset<std::string>(left.begin(), left.end()),
            (std::multiset<std::string>{"_", "$1", "", "%", ".*"}));
}

using Triple = std::tuple<int, int, int>;

TEST_P(RegistryTest, CC_REG_009_match_and_unregister_match_choose_entries_by_their_values) {
  auto triples = Registry<std::string, Triple>::create(runtime, duplicate_keys()).value();
  ServerRef<Holder> holder = start_holder(runtime);
  ServerRef<Holder> other = start_holder(runtime);
  in(holder, [&] {
    for (const Triple& value : {Triple{1, 2, 2}, Triple{1, 3, 4}, Triple{2, 5, 5}}) {
      EXPECT_TRUE(triples.register_self("t", value));
    }
  });
  in(other, [&] { EXPECT_TRUE(triples.register_self("t", Triple{1, 9, 9})); });
  const auto begins_with_one = [](const Triple& value) { return std::get<0>(value) == 1; };
  const auto ends_in_a_pair = [](const Triple& value) { return std::get<1>(value) == std::get<2>(value); };
  EXPECT_EQ(triples.match("t", begins_with_one).size(), 3U);
  EXPECT_EQ(triples.count_match("t", ends_in_a_pair), 3U);
  EXPECT_TRUE(triples.match("t", [](const Triple& value) { return std::get<0>(value) > 2; }).empty());
  EXPECT_TRUE(triples.match("none", begins_with_one).empty());
  in(holder, [&] {
    EXPECT_EQ(triples.unregister_match("t", begins_with_one), 2U);  // not the other process' entry
    EXPECT_EQ(triples.unregister_match("t", begins_with_one), 0U);
  });
  EXPECT_EQ(triples.lookup("t").size(), 2U);
  EXPECT_EQ(triples.keys(holder.pid()), std::vector<std::string>{"t"});
}

template <class Predicate>
concept CanSelect = requires(const Words& words, Predicate predicate) { words.select(predicate); };

TEST_P(RegistryTest, CC_REG_010_count_and_select_see_all_keys_and_a_predicate_of_another_shape_does_not_compile) {
  static_assert(CanSelect<bool (*)(const std::string&, Pid, const int&)>);
  static_assert(!CanSelect<bool (*)(const std::string&)>);
  static_assert(!CanSelect<void (*)(const std::string&, Pid, const int&)>);
  Words words = Words::create(runtime, duplicate_keys(8)).value();
  ServerRef<Holder> holder = start_holder(runtime);
  ServerRef<Holder> other = start_holder(runtime);
  EXPECT_EQ(words.count(), 0U);
  for (const ServerRef<Holder>& each : {holder, other}) {
    in(each, [&] {
      for (int value = 0; value < 20; ++value) EXPECT_TRUE(words.register_self(concat("k", value % 5), value));
    });
  }
  EXPECT_EQ(words.count(), 40U);
  EXPECT_EQ(words.count_match("k1", [](int value) { return value > 5; }), 6U);
  const auto chosen = words.select([&](const std::string& key, Pid pid, int value) {
    return (key == "k0" && pid == holder.pid() && value >= 10) || value == 3;
  });
  std::multiset<std::tuple<std::string, std::uint64_t, int>> seen;
  for (const auto& record : chosen) seen.emplace(record.key, record.pid.number(), record.value);
  const std::uint64_t first = holder.pid().number();
  EXPECT_EQ(seen, (std::multiset<std::tuple<std::string, std::uint64_t, int>>{
                      {"k0", first, 10}, {"k0", first, 15}, {"k3", first, 3}, {"k3", other.pid().number(), 3}}));
  EXPECT_EQ(words.count_select([](const std::string&, Pid, int value) { return value % 2 == 0; }), 20U);
  EXPECT_EQ(words.keys(other.pid()).size(), 20U);  // a key as often as it was registered
}

TEST_P(RegistryTest, CC_REG_012_update_value_is_for_the_owner_of_a_unique_key) {
  Words words = Words::create(runtime, {.name = "words"}).value();
  Words many = Words::create(runtime, duplicate_keys()).value();
  ServerRef<Holder> owner = start_holder(runtime);
  ServerRef<Holder> other = start_holder(runtime);
  const auto add_ten = [](int value) { return value + 10; };
  in(owner, [&] {
    EXPECT_TRUE(words.register_self("a", 1));
    const Words::Entries before = words.lookup("a");
    const auto updated = words.update_value("a", add_ten);
    ASSERT_TRUE(updated);
    EXPECT_EQ(updated->current, 11);
    EXPECT_EQ(updated->previous, 1);
    EXPECT_EQ(before[0].value, 1);
    EXPECT_EQ(words.update_value("b", add_ten).error().code(), ErrorCode::not_found);
    EXPECT_TRUE(many.register_self("a", 1));
    EXPECT_EQ(many.update_value("a", add_ten).error().code(), ErrorCode::invalid_argument);
    const auto refuse = [](int) -> int { throw std::runtime_error("no"); };
    EXPECT_THROW(EXPECT_FALSE(words.update_value("a", refuse)), std::runtime_error);
  });
  in(other, [&] { EXPECT_EQ(words.update_value("a", add_ten).error().code(), ErrorCode::refused); });
  EXPECT_EQ(values_of(words.lookup("a")), std::vector<int>{11});
}

/// Writes down what it is told of a registry.
class Listener : public GenServer<Listener> {
 public:
  using Log = std::vector<std::string>;
  explicit Listener(Log* log) : log_(log) {}
  void handle_info(RegistryRegistered<std::string, int> event) {
    log_->push_back(concat(event.registry, " +", event.key, " ", event.pid.number(), " ", event.value));
  }
  void handle_info(RegistryUnregistered<std::string> event) {
    log_->push_back(concat(event.registry, " -", event.key, " ", event.pid.number()));
  }

 private:
  Log* log_;
};

TEST_P(RegistryTest, CC_REG_013_listeners_hear_of_explicit_registrations_and_unregistrations) {
  Listener::Log log;
  Words words = Words::create(runtime, {.name = "words"}).value();
  ServerRef<Holder> holder = start_holder(runtime);
  ServerRef<Listener> listener = runtime.start<Listener>(&log).value();
  in(holder, [&] { EXPECT_TRUE(words.register_self("early", 0)); });
  words.add_listener(listener);
  words.add_listener(listener);  // once is enough
  in(holder, [&] {
    EXPECT_TRUE(words.register_self("a", 1));
    EXPECT_FALSE(words.register_self("a", 2));
    EXPECT_EQ(words.unregister("b"), 0U);
    EXPECT_EQ(words.unregister("a"), 1U);
    EXPECT_TRUE(words.register_self("left", 3));
  });
  runtime.exit(holder.pid(), ExitReason::kill);  // what vanishes with its process is not told
  runtime.run_until_idle();
  const std::string who = std::to_string(holder.pid().number());
  EXPECT_EQ(log, (Listener::Log{"words +a " + who + " 1", "words -a " + who, "words +left " + who + " 3"}));
  words.remove_listener(listener.pid());
  in(start_holder(runtime), [&] { EXPECT_TRUE(words.register_self("a", 1)); });
  runtime.run_until_idle();
  EXPECT_EQ(log.size(), 3U);
}

TEST_P(RegistryTest, CC_REG_014_a_process_is_tied_to_the_registry_until_its_last_entry_is_gone) {
  Words words = Words::create(runtime, duplicate_keys()).value();
  ServerRef<Holder> holder = start_holder(runtime);
  in(holder, [&] {
    EXPECT_EQ(detail::exit_hook_count(), 0U);
    EXPECT_TRUE(words.register_self("a", 1));
    EXPECT_TRUE(words.register_self("b", 2));
    EXPECT_TRUE(words.register_self("b", 3));
    EXPECT_EQ(detail::exit_hook_count(), 1U);
    EXPECT_EQ(words.unregister("a"), 1U);
    EXPECT_EQ(words.unregister_match("b", [](int value) { return value == 2; }), 1U);
    EXPECT_EQ(detail::exit_hook_count(), 1U);
    EXPECT_EQ(words.unregister("b"), 1U);
    EXPECT_EQ(detail::exit_hook_count(), 0U);
    EXPECT_TRUE(words.register_self("a", 4));
    EXPECT_EQ(detail::exit_hook_count(), 1U);
  });
  EXPECT_TRUE(runtime.stop(holder.pid()));
  EXPECT_EQ(words.count(), 0U);
}

TEST_P(RegistryTest, CC_REG_016_a_registry_cannot_be_absent_and_misuse_is_an_error_with_a_reason) {
  static_assert(!std::is_default_constructible_v<Words>);  // there is no registry by an unknown name
  EXPECT_EQ(Words::create(runtime, {.partitions = 0}).error().message(), "registry: partitions must be 1..1024, got 0");
  EXPECT_EQ(Words::create(runtime, {.partitions = 2000}).error().code(), ErrorCode::invalid_argument);
  Words words = Words::create(runtime).value();
  EXPECT_EQ(words.register_self("a", 1).error().code(), ErrorCode::wrong_thread);
  EXPECT_EQ(words.unregister("a").error().code(), ErrorCode::wrong_thread);
  EXPECT_TRUE(words.keys(Pid()).empty());
  DeterministicRuntime elsewhere(DeterministicOptions{.seed = 1});
  in(start_holder(elsewhere),
     [&] { EXPECT_EQ(words.register_self("a", 1).error().code(), ErrorCode::invalid_argument); });
  EXPECT_EQ(words.count(), 0U);
}

TEST_P(RegistryTest, CC_REG_017_metadata_is_put_read_and_deleted) {
  Words words = Words::create(runtime).value();
  EXPECT_EQ(words.meta<std::string>("owner").error().code(), ErrorCode::not_found);
  words.put_meta("owner", std::string("billing"));
  EXPECT_EQ(words.meta<std::string>("owner"), "billing");
  EXPECT_EQ(words.meta<int>("owner").error().code(), ErrorCode::wrong_type);
  words.put_meta("owner", 7);
  EXPECT_EQ(words.meta<int>("owner"), 7);
  EXPECT_TRUE(words.delete_meta("owner"));
  EXPECT_FALSE(words.delete_meta("owner"));
  EXPECT_EQ(words.meta<int>("owner").error().code(), ErrorCode::not_found);
}

TEST_P(RegistryTest, CC_REG_018_all_keys_of_a_crashed_process_are_gone_at_once) {
  Words words = Words::create(runtime, duplicate_keys(4)).value();
  ServerRef<Holder> holder = start_holder(runtime);
  ServerRef<Holder> survivor = start_holder(runtime);
  for (const ServerRef<Holder>& each : {holder, survivor}) {
    in(each, [&] {
      for (int key = 0; key < 1'000; ++key) EXPECT_TRUE(words.register_self(std::to_string(key), key));
    });
  }
  holder.cast(Holder::Crash{});
  while (RuntimeBase::alive(holder.pid())) ASSERT_TRUE(runtime.step());
  EXPECT_EQ(words.count(), 1'000U);
  EXPECT_TRUE(words.keys(holder.pid()).empty());
  EXPECT_EQ(words.count_select([&](const std::string&, Pid pid, int) { return pid == holder.pid(); }), 0U);
  EXPECT_EQ(words.whereis("17"), survivor.pid());
}

TEST_P(RegistryTest, CC_REG_020_refused_registrations_leave_nothing_behind) {
  Words words = Words::create(runtime).value();
  ServerRef<Holder> holder = start_holder(runtime);
  ServerRef<Holder> loser = start_holder(runtime);
  in(holder, [&] { EXPECT_TRUE(words.register_self("a", 1)); });
  in(loser, [&] {
    for (int attempt = 0; attempt < 100; ++attempt) EXPECT_FALSE(words.register_self("a", attempt));
    EXPECT_EQ(detail::exit_hook_count(), 0U);
  });
  EXPECT_EQ(words.count(), 1U);
  EXPECT_TRUE(words.keys(loser.pid()).empty());
  EXPECT_TRUE(runtime.stop(loser.pid()));
  EXPECT_EQ(words.whereis("a"), holder.pid());
}

TEST_P(RegistryTest, a_key_resolves_to_a_typed_server) {
  Words words = Words::create(runtime).value();
  ServerRef<Holder> holder = start_holder(runtime);
  in(holder, [&] { EXPECT_TRUE(words.register_self("worker")); });
  EXPECT_EQ(words.resolve<Holder>("worker")->pid(), holder.pid());
  EXPECT_EQ(words.resolve<Stranger>("worker").error().code(), ErrorCode::wrong_type);
  EXPECT_EQ(words.resolve<Holder>("nobody").error().code(), ErrorCode::not_found);
}

/// A key of the program's own.
struct RoomId {
  int floor;
  int door;
  friend bool operator==(const RoomId&, const RoomId&) = default;
};
std::string to_string(const RoomId& room) { return concat(room.floor, "/", room.door); }

}  // namespace
}  // namespace dagverk

template <>
struct std::hash<dagverk::RoomId> {
  std::size_t operator()(const dagverk::RoomId& room) const noexcept {
    return static_cast<std::size_t>(room.floor) * 100 + static_cast<std::size_t>(room.door);
  }
};

namespace dagverk {
namespace {

TEST_P(RegistryTest, an_address_by_a_key_of_any_type_finds_the_holder_of_the_moment) {
  auto rooms = Registry<RoomId>::create(runtime, {.name = "rooms"}).value();
  const auto room = rooms.name_of<Holder>(RoomId{3, 7});
  const auto stranger = rooms.name_of<Stranger>(RoomId{3, 7});
  EXPECT_EQ(room.call_blocking<Holder::Do>([] {}).error().message(),
            "registry \"rooms\": nobody has registered the key 3/7");
  room.cast(Holder::Crash{});  // to nobody
  for (int round = 0; round < 2; ++round) {
    ServerRef<Holder> holder = start_holder(runtime);
    in(holder, [&] { EXPECT_TRUE(rooms.register_self(RoomId{3, 7})); });
    EXPECT_EQ(room.resolve()->pid(), holder.pid());
    EXPECT_TRUE(room.call_blocking<Holder::Do>([] {}));
    EXPECT_EQ(stranger.resolve().error().code(), ErrorCode::wrong_type);
    const auto ask = [&]() -> Async<Result<void>> {
      std::function<void()> nothing = [] {};
      Result<void> answer = co_await room.call<Holder::Do>(std::move(nothing));
      co_return answer;
    };
    EXPECT_TRUE(runtime.run(ask()));
    room.cast(Holder::Crash{});
    runtime.run_until_idle();
    EXPECT_FALSE(RuntimeBase::alive(holder.pid()));
    EXPECT_EQ(runtime.run(ask()).error().code(), ErrorCode::no_process);
  }
}

TEST_P(RegistryTest, a_value_that_uses_the_registry_while_it_is_destroyed_does_no_harm) {
  using Guards = Registry<int, std::shared_ptr<void>>;
  Guards guards = Guards::create(runtime).value();
  ServerRef<Holder> holder = start_holder(runtime);
  std::vector<std::size_t> seen;
  in(holder, [&] {
    const auto look = [&](void*) { seen.push_back(guards.count()); };
    EXPECT_TRUE(guards.register_self(1, std::shared_ptr<void>(nullptr, look)));
    EXPECT_TRUE(guards.register_self(2, std::shared_ptr<void>(nullptr, look)));
    EXPECT_EQ(guards.unregister(1), 1U);
  });
  EXPECT_EQ(seen, std::vector<std::size_t>{1});
  holder.cast(Holder::Crash{});
  runtime.run_until_idle();
  EXPECT_EQ(seen, (std::vector<std::size_t>{1, 0}));
}

TEST_P(RegistryTest, a_registered_process_may_outlive_all_handles_of_its_registry) {
  ServerRef<Holder> holder = start_holder(runtime);
  {
    Words words = Words::create(runtime).value();
    in(holder, [&] { EXPECT_TRUE(words.register_self("a", 1)); });
  }
  EXPECT_TRUE(runtime.stop(holder.pid()));
}

TEST(RegistryThreads, readers_never_meet_an_entry_of_a_process_whose_end_they_have_seen) {
  Runtime runtime(RuntimeOptions{.workers = 2, .logger = &null_logger()});
  RuntimeBase& base = runtime;
  auto numbers = Registry<int, int>::create(runtime, duplicate_keys(4)).value();
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 2; ++reader) {
    readers.emplace_back([&] {
      while (!done.load()) {
        numbers.dispatch(1, [&](const Registry<int, int>::Entries& entries) {
          for (const auto& entry : entries) wrong += entry.value == 1 ? 0 : 1;
        });
        static_cast<void>(numbers.count());
      }
    });
  }
  for (int round = 0; round < 200; ++round) {
    std::vector<ServerRef<Holder>> holders;
    for (int index = 0; index < 4; ++index) holders.push_back(start_holder(runtime));
    for (const ServerRef<Holder>& holder : holders) {
      in(holder, [&] {
        for (int key = 0; key < 4; ++key) EXPECT_TRUE(numbers.register_self(key, key));
        EXPECT_EQ(numbers.unregister(2), 1U);
      });
    }
    holders[0].cast(Holder::Crash{});
    EXPECT_FALSE(holders[0].call_blocking<Holder::Do>([] {}));  // answered because it has ended
    for (std::size_t index = 1; index < holders.size(); ++index) {
      EXPECT_TRUE(base.stop(holders[index].pid()));
      for (const auto& entry : numbers.lookup(1)) EXPECT_NE(entry.pid, holders[index].pid());
    }
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_TRUE(runtime.stop(10s).clean());
  EXPECT_EQ(numbers.count(), 0U);
}

}  // namespace
}  // namespace dagverk
