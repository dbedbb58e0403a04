// The node's socket: what tools may ask, what wrong requests cost, and that one who does not read costs nobody else.
#include "worker/node_socket.hpp"

#include "support/temporary_folder.hpp"
#include "worker/node_protocol.hpp"

#include "dagverk/event/staged_event_manager.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/worker/node_client.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

namespace dagverk::worker {
namespace {

using namespace std::chrono_literals;

class Counter : public EventHandler<jobs::Event> {
 public:
  void handle_event(const jobs::Event& /*event*/) {}
};

class Throwing : public EventHandler<jobs::Event> {
 public:
  void handle_event(const jobs::Event& /*event*/) { throw std::runtime_error("cannot \x01 take it"); }
};

jobs::Event event_of(std::string jid, std::string queue = "mail", std::string text = {}) {
  return jobs::JobFailed{.job = {.jid = std::move(jid), .job_class = "Send", .queue = std::move(queue)},
                         .started_at = {},
                         .failed_at = {},
                         .exception = "E",
                         .message = std::move(text),
                         .stacktrace = {}};
}

class NodeSocketTest : public testing::Test {
 protected:
  void SetUp() override {
    auto socket = NodeSocket::open(path_, events_);
    ASSERT_TRUE(socket) << socket.error().message();
    socket_ = std::move(*socket);
  }
  void TearDown() override {
    socket_.reset();
    EXPECT_FALSE(std::filesystem::exists(path_));
  }

  [[nodiscard]] NodeClient client() const { return std::move(NodeClient::connect(path_).value()); }
  /// The handler's figures once they satisfy `enough`.
  template <class Enough>
  HandlerStats await(const std::string& handler, Enough enough) {
    const SteadyTime begin = system_clock().steady_now();
    while (true) {
      const EventStats stats = events_.stats_blocking().value();
      const HandlerStats* const found = stats.find(handler);
      if (found != nullptr && enough(*found)) return *found;
      if (system_clock().steady_now() - begin > 60s) {
        ADD_FAILURE() << handler << " does not get there";
        return {};
      }
      std::this_thread::yield();
    }
  }
  void await_absence(const std::string& handler) {
    const SteadyTime begin = system_clock().steady_now();
    while (events_.stats_blocking().value().find(handler) != nullptr) {
      ASSERT_LT(system_clock().steady_now() - begin, 60s);
      std::this_thread::yield();
    }
  }

  Runtime runtime_{RuntimeOptions{.workers = 2, .logger = &null_logger()}};
  StagedEventManager<jobs::Event> events_{runtime_};
  TemporaryFolder temporary_;
  const std::filesystem::path folder_ = temporary_.path();
  const std::string path_ = temporary_.file("node.sock");
  std::unique_ptr<NodeSocket> socket_;
};

TEST_F(NodeSocketTest, tools_see_every_figure_and_control_handlers) {
  ASSERT_TRUE(events_.add_handler_blocking(event_handler<Counter>("counter")));
  HandlerOptions temporary{.restart_type = HandlerRestart::temporary};
  ASSERT_TRUE(events_.add_handler_blocking(event_handler<Throwing>("throwing", temporary)));
  events_.notify(event_of("j1"));
  const HandlerStats failed =
      await("throwing", [](const HandlerStats& handler) { return handler.state == HandlerState::failed; });
  await("counter", [](const HandlerStats& handler) { return handler.delivered == 1; });

  NodeClient tool = client();
  const EventStats stats = tool.handlers().value();
  EXPECT_EQ(stats.published, 1U);
  ASSERT_EQ(stats.handlers.size(), 2U);
  const HandlerStats& seen = stats.handlers[1];
  EXPECT_EQ(seen.name, "throwing");
  EXPECT_EQ(seen.state, HandlerState::failed);
  EXPECT_EQ(seen.overflow, "keep_newest(10000)");
  EXPECT_EQ(seen.dropped, failed.dropped);
  EXPECT_EQ(seen.published, 1U);
  EXPECT_TRUE(seen.balanced());
  EXPECT_NE(seen.last_error.find("cannot \\x01 take it"), std::string::npos) << "as it may be printed";

  EXPECT_TRUE(tool.start_handler("throwing"));
  EXPECT_TRUE(tool.stop_handler("throwing"));
  EXPECT_EQ(tool.handlers()->find("throwing")->state, HandlerState::stopped);
  EXPECT_TRUE(tool.start_handler("counter")) << "it runs, and goes on";
  EXPECT_EQ(tool.handlers()->find("counter")->restarts, 0U);
  EXPECT_TRUE(tool.restart_handler("counter"));
  EXPECT_EQ(tool.handlers()->find("counter")->restarts, 1U);
  for (const auto& done : {tool.start_handler("nobody"), tool.stop_handler("nobody"), tool.restart_handler("")}) {
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), ErrorCode::not_found);
  }
}

TEST_F(NodeSocketTest, wrong_requests_are_answered_and_cost_nobody_else_anything) {
  LineSocket raw = std::move(LineSocket::connect(path_).value());
  const std::pair<std::string, std::string> rows[] = {
      {"nope", "malformed"},
      {"[]", "malformed"},
      {R"({"request":"fly"})", "unsupported"},
      {R"({"request":7})", "unsupported"},
      {R"({"request":"events.tail","events":[7]})", "malformed"},
      {std::string(200, '{'), "malformed"},
  };
  for (const auto& [request, code] : rows) {
    ASSERT_TRUE(raw.write(request + "\n", 10s));
    const std::string answer = raw.read_line(10s).value().value_or("closed");
    EXPECT_TRUE(answer.starts_with(R"({"error":{"code":")" + code)) << request << "\n" << answer;
  }
  ASSERT_TRUE(raw.write(R"({"request":"events.tail","events":["JobFialed"]})"
                        "\n",
                        10s));
  EXPECT_NE(raw.read_line(10s).value().value_or("").find("did you mean JobFailed?"), std::string::npos);
  EXPECT_FALSE(raw.read_line(10s).value().has_value()) << "a follower that is refused is hung up on";
  LineSocket endless = std::move(LineSocket::connect(path_).value());
  static_cast<void>(endless.write(std::string(3 << 20U, 'x'), 10s).has_value());  // it may be hung up on before its end
  const auto refused = endless.read_line(10s);
  EXPECT_FALSE(refused && refused->has_value());
  EXPECT_TRUE(client().handlers());
}

TEST_F(NodeSocketTest, a_follower_gets_what_its_filter_lets_through_in_order) {
  NodeClient tool = client();
  ASSERT_TRUE(tool.follow({.kinds = {"JobFailed"}, .queue = "mail"}));
  await("tail-1", [](const HandlerStats& handler) { return handler.state == HandlerState::running; });
  EXPECT_FALSE(events_.wants<jobs::JobStarted>()) << "what nobody wants is not built";
  for (int index = 0; index < 100; ++index) {
    events_.notify(event_of("j" + std::to_string(index), index % 2 == 0 ? "mail" : "other"));
  }
  for (int index = 0; index < 100; index += 2) {
    const std::string line = tool.next_event().value().value();
    const jobs::Event event = jobs::event_from_json_line(line).value();
    EXPECT_EQ(jobs::job_of(event)->jid, "j" + std::to_string(index));
  }
  EXPECT_EQ(events_.stop_blocking().value().find("tail-1")->dropped.filtered, 50U);
  socket_.reset();
  EXPECT_FALSE(tool.next_event().value().has_value());
}

TEST_F(NodeSocketTest, a_follower_that_does_not_read_is_told_what_it_missed_and_hurts_nobody) {
  LineSocket tool = std::move(LineSocket::connect(path_).value());
  ASSERT_TRUE(tool.write(to_json(NodeRequest{.kind = NodeRequest::Kind::tail}), 10s));
  ASSERT_EQ(tool.read_line(10s).value(), R"({"ok":true})");
  ASSERT_TRUE(events_.add_handler_blocking(event_handler<Counter>("counter")));
  await("tail-1", [](const HandlerStats& handler) { return handler.state == HandlerState::running; });
  const std::string text(5'000, 'x');
  constexpr std::uint64_t published = 30'000;
  for (std::uint64_t index = 0; index < published; ++index) events_.notify(event_of("j", "mail", text));
  await("counter", [](const HandlerStats& handler) { return handler.published == published && handler.buffered == 0; });
  const HandlerStats hung = await("tail-1", [](const HandlerStats& handler) { return handler.dropped.overflow > 0; });
  EXPECT_TRUE(hung.balanced());
  EXPECT_LE(hung.buffered, 10'000U);

  std::uint64_t seen = 0;
  std::uint64_t missed = 0;
  while (seen + missed < published) {
    const auto line = tool.read_line(60s);
    ASSERT_TRUE(line && line->has_value());
    if (const auto told = missed_from_json(**line)) {
      missed = *told;
    } else {
      ++seen;
    }
  }
  EXPECT_EQ(seen + missed, published);
}

TEST_F(NodeSocketTest, a_follower_that_goes_is_removed_and_a_tool_too_many_is_refused) {
  {
    NodeClient tool = client();
    ASSERT_TRUE(tool.follow({}));
    await("tail-1", [](const HandlerStats& handler) { return handler.state == HandlerState::running; });
  }
  await_absence("tail-1");
  std::vector<NodeClient> tools;
  for (std::size_t index = 0; index < NodeSocket::connections_max; ++index) {
    tools.push_back(client());
    ASSERT_TRUE(tools.back().handlers());
  }
  const auto refused = client().handlers();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::refused);
  tools.clear();
  const SteadyTime begin = system_clock().steady_now();
  while (!client().handlers()) ASSERT_LT(system_clock().steady_now() - begin, 60s);
}

TEST_F(NodeSocketTest, a_place_that_is_taken_is_refused_and_a_dead_socket_is_replaced) {
  const auto second = NodeSocket::open(path_, events_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::already_exists);
  const std::string file = folder_ / "file";
  std::ofstream(file) << "precious";
  EXPECT_EQ(NodeSocket::open(file, events_).error().code(), ErrorCode::configuration);
  EXPECT_EQ(NodeSocket::open(folder_ / "missing" / "a.sock", events_).error().code(), ErrorCode::configuration);
  EXPECT_EQ(NodeClient::connect(folder_ / "missing").error().code(), ErrorCode::unavailable);

  const std::string dead = folder_ / "dead.sock";
  {
    auto listener = LocalListener::open(dead);
    ASSERT_TRUE(listener);
    std::filesystem::create_hard_link(dead, folder_ / "kept");  // the listener removes its name when it goes
  }
  std::filesystem::rename(folder_ / "kept", dead);
  const auto again = NodeSocket::open(dead, events_);
  ASSERT_TRUE(again) << again.error().message();
  struct stat status{};
  ASSERT_EQ(::stat(dead.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
}

TEST_F(NodeSocketTest, sockets_get_a_folder_that_is_the_users_alone_and_dead_ones_are_swept) {
  ::setenv("XDG_RUNTIME_DIR", folder_.c_str(), 1);
  const std::string fresh = fresh_socket_path().value();
  const std::filesystem::path folder = folder_ / "dagverk";
  EXPECT_TRUE(fresh.starts_with(folder.native() + "/" + std::to_string(::getpid()) + "-")) << fresh;
  auto live = NodeSocket::open(fresh, events_);
  ASSERT_TRUE(live);
  {
    auto listener = LocalListener::open(folder / "dead.sock");
    ASSERT_TRUE(listener);
    std::filesystem::create_hard_link(folder / "dead.sock", folder / "killed.sock");
  }
  ASSERT_TRUE(std::filesystem::exists(folder / "killed.sock"));
  EXPECT_TRUE(fresh_socket_path());
  EXPECT_FALSE(std::filesystem::exists(folder / "killed.sock"));
  EXPECT_TRUE(std::filesystem::exists(fresh));
  ::chmod(folder.c_str(), 0755);
  const auto refused = fresh_socket_path();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::permission);
}

TEST(NodeRecord, names_the_socket_for_tools_of_the_same_machine) {
  EXPECT_EQ(socket_of_node(node_detail("/run/a.sock")), "/run/a.sock");
  EXPECT_EQ(socket_of_node(node_detail("")), "");
  for (const char* odd : {"", "nope", "[]", "{}", R"({"socket":7})", R"({"socket":"/a","host":"another machine"})"}) {
    EXPECT_EQ(socket_of_node(odd), "") << odd;
  }
}

}  // namespace
}  // namespace dagverk::worker
