// Jobs inside an application's own transactions, on its own connection to the store's file.

#include "conformance/sqlite_world.hpp"
#include "stores/sqlite/child_process.hpp"
#include "stores/sqlite/engine.hpp"

#include "dagverk/jobs/job_client.hpp"
#include "dagverk/jobs/job_registry.hpp"
#include "dagverk/jobs/node.hpp"
#include "dagverk/stores/sqlite/sqlite_transactional_client.hpp"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <filesystem>
#include <latch>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace dagverk::stores {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace): tests read better
using conformance::ScratchFolder;
using jobs::ItemOutcome;
using jobs::JobState;

/// An application's connection with a table of its own.
class Application {
 public:
  explicit Application(const std::string& path) {
    EXPECT_EQ(sqlite3_open(path.c_str(), &handle_), SQLITE_OK);
    sqlite3_busy_timeout(handle_, 10'000);
  }
  Application(const Application&) = delete;
  Application& operator=(const Application&) = delete;
  ~Application() { sqlite3_close(handle_); }

  int execute(const char* sql) { return sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr); }
  std::string ask(const char* sql) {
    std::string answer;
    const auto row = [](void* out, int count, char** values, char** /*names*/) {
      for (int index = 0; index < count; ++index)
        *static_cast<std::string*>(out) += values[index] != nullptr ? values[index] : "-";
      return 0;
    };
    EXPECT_EQ(sqlite3_exec(handle_, sql, row, &answer, nullptr), SQLITE_OK) << sqlite3_errmsg(handle_);
    return answer;
  }
  [[nodiscard]] sqlite3* handle() const { return handle_; }

 private:
  sqlite3* handle_ = nullptr;
};

SqliteOptions options_for(const std::string& path) {
  SqliteOptions options;
  options.path = path;
  return options;
}

std::unique_ptr<SqliteTransactionalClient> attach(const Application& application) {
  auto client = SqliteTransactionalClient::attach(application.handle());
  EXPECT_TRUE(client) << client.error().message();
  return client ? std::move(*client) : nullptr;
}

class SqliteTransactional : public testing::Test {
 protected:
  SqliteTransactional() { application_.execute("CREATE TABLE orders(id INTEGER PRIMARY KEY, note TEXT)"); }

  /// What the store says: how many jobs are ready, and whether all that is counted adds up.
  std::size_t ready() {
    const auto totals = engine_->run(op::Totals{});
    EXPECT_TRUE(totals && totals->counts.balanced());
    EXPECT_EQ(application_.ask("SELECT journal_rows - (SELECT count(*) FROM dagverk_journal) FROM dagverk_meta"), "0");
    return totals ? totals->counts.ready : 0;
  }
  std::vector<jobs::TakenJob> take() {
    if (node_ == 0) node_ = engine_->run(op::RegisterNode{{"node", ""}}).value();
    auto taken = engine_->run(op::Take{{node_, {"default"}, 10}});
    EXPECT_TRUE(taken);
    return taken ? std::move(*taken) : std::vector<jobs::TakenJob>();
  }

  ScratchFolder folder_;
  std::string path_ = folder_.file("jobs.db");
  std::unique_ptr<Engine> engine_ = Engine::open(options_for(path_)).value();
  jobs::NodeEpoch node_ = 0;
  Application application_{path_};
  std::unique_ptr<SqliteTransactionalClient> client_ = attach(application_);
};

TEST_F(SqliteTransactional, a_job_is_there_when_the_callers_transaction_commits_and_not_before) {
  ASSERT_EQ(application_.execute("BEGIN IMMEDIATE; INSERT INTO orders(id) VALUES(41)"), SQLITE_OK);
  const auto jid = client_->enqueue_class("Receipt", 41, "by mail");
  ASSERT_TRUE(jid) << jid.error().message();
  EXPECT_EQ(sqlite3_last_insert_rowid(application_.handle()), 41) << "the application's own, as it was";
  EXPECT_EQ(ready(), 0U);
  ASSERT_EQ(application_.execute("COMMIT"), SQLITE_OK);
  client_->committed();

  EXPECT_EQ(ready(), 1U);
  const auto taken = take();
  ASSERT_EQ(taken.size(), 1U);
  EXPECT_EQ(taken[0].jid, *jid);
  EXPECT_EQ(taken[0].class_name, "Receipt");
  EXPECT_TRUE(taken[0].payload.contains(R"("args":[41,"by mail"])")) << taken[0].payload;
}

TEST_F(SqliteTransactional, nothing_is_left_of_a_job_whose_transaction_is_rolled_back) {
  ASSERT_EQ(application_.execute("BEGIN IMMEDIATE; INSERT INTO orders(id) VALUES(1)"), SQLITE_OK);
  jobs::NewJob other;
  other.job_class = "Other";
  other.queue = "made-on-the-way";
  ASSERT_TRUE(client_->enqueue(std::move(other)));
  ASSERT_EQ(application_.execute("ROLLBACK"), SQLITE_OK);
  EXPECT_EQ(ready(), 0U);
  EXPECT_EQ(application_.ask("SELECT count(*) FROM dagverk_queue"), "0");

  ASSERT_EQ(application_.execute("BEGIN IMMEDIATE"), SQLITE_OK);
  ASSERT_TRUE(client_->enqueue_class("Kept"));
  ASSERT_EQ(application_.execute("SAVEPOINT perhaps"), SQLITE_OK);
  ASSERT_TRUE(client_->enqueue_class("Dropped"));
  ASSERT_EQ(application_.execute("ROLLBACK TO perhaps; COMMIT"), SQLITE_OK);
  EXPECT_EQ(ready(), 1U);
  EXPECT_EQ(take().at(0).class_name, "Kept");
}

TEST_F(SqliteTransactional, a_call_that_fails_leaves_the_rest_of_the_transaction_as_it_was) {
  EXPECT_EQ(client_->enqueue_class("Early").error().code(), ErrorCode::invalid_argument) << "no transaction is open";

  ASSERT_EQ(application_.execute("BEGIN IMMEDIATE; INSERT INTO orders(id) VALUES(2)"), SQLITE_OK);
  jobs::NewJob job;
  job.job_class = "Twice";
  job.jid = "the-same";
  ASSERT_TRUE(client_->enqueue(job));
  EXPECT_EQ(client_->enqueue(job).error().code(), ErrorCode::already_exists);
  std::vector<jobs::EnqueueRequest> bad(2);
  bad[0].jid = "fine";
  bad[0].queue = "default";
  EXPECT_EQ(client_->enqueue_requests(std::move(bad)).error().code(), ErrorCode::invalid_argument);
  ASSERT_TRUE(client_->enqueue_at({.job_class = "Later"}, system_clock().wall_now() + 1h));
  ASSERT_EQ(application_.execute("COMMIT"), SQLITE_OK);

  EXPECT_EQ(application_.ask("SELECT count(*) FROM orders"), "1");
  EXPECT_EQ(ready(), 1U);
  const auto totals = engine_->run(op::Totals{}).value();
  EXPECT_EQ(totals.counts.scheduled, 1U);
  EXPECT_EQ(totals.duplicates, 1U);
}

TEST_F(SqliteTransactional, a_unique_key_is_taken_and_given_back_with_the_transaction) {
  jobs::NewJob job;
  job.job_class = "Only";
  job.unique = jobs::UniqueLock{};
  ASSERT_EQ(application_.execute("BEGIN IMMEDIATE"), SQLITE_OK);
  const std::string holder = client_->enqueue(job).value();
  const auto refused = client_->enqueue(job);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::refused);
  EXPECT_TRUE(refused.error().message().contains(holder)) << refused.error().message();
  job.unique->conflict = jobs::LockConflict::reschedule;
  EXPECT_EQ(client_->enqueue_at(job, system_clock().wall_now() + 1h).value(), holder);
  ASSERT_EQ(application_.execute("ROLLBACK"), SQLITE_OK);
  EXPECT_EQ(application_.ask("SELECT unique_held + (SELECT count(*) FROM dagverk_unique) FROM dagverk_meta"), "0");

  ASSERT_EQ(application_.execute("BEGIN IMMEDIATE"), SQLITE_OK);
  ASSERT_TRUE(client_->enqueue(job));
  ASSERT_EQ(application_.execute("COMMIT"), SQLITE_OK);
  EXPECT_EQ(application_.ask("SELECT unique_held + (SELECT count(*) FROM dagverk_unique) FROM dagverk_meta"), "2");
  for (const jobs::TakenJob& taken : take())
    ASSERT_TRUE(engine_->run(op::Settle{{jobs::Settlement::finish(taken.token)}}));
  EXPECT_EQ(application_.ask("SELECT unique_held + (SELECT count(*) FROM dagverk_unique) FROM dagverk_meta"), "0");
}

TEST_F(SqliteTransactional, a_queue_at_its_bound_refuses_inside_a_transaction_which_goes_on) {
  jobs::Limit limit{.scope = jobs::LimitScope::queue, .name = "default"};
  limit.bound = jobs::QueueBound{1, jobs::WhenFull::refuse, {}};
  ASSERT_TRUE(engine_->run(op::PutLimit{limit}));
  jobs::NewJob job;
  job.job_class = "Only";
  ASSERT_EQ(application_.execute("BEGIN IMMEDIATE"), SQLITE_OK);
  ASSERT_TRUE(client_->enqueue(job));
  const auto full = client_->enqueue(job);
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code(), ErrorCode::refused);
  EXPECT_TRUE(full.error().message().contains("its bound of 1 waiting jobs is reached")) << full.error().message();
  EXPECT_TRUE(client_->enqueue_at(job, system_clock().wall_now() + 1h)) << "for later there is room";
  ASSERT_EQ(application_.execute("COMMIT"), SQLITE_OK);
  EXPECT_EQ(application_.ask("SELECT ready || ' ' || scheduled || ' ' || refused FROM dagverk_queue"), "1 1 1");
}

TEST_F(SqliteTransactional, a_transaction_that_read_before_others_wrote_must_begin_again) {
  ASSERT_EQ(application_.execute("BEGIN; SELECT * FROM orders"), SQLITE_OK);
  op::Enqueue foreign;
  foreign.jobs.push_back({.jid = "foreign", .queue = "default", .class_name = "Work", .payload = "{}"});
  ASSERT_TRUE(engine_->run(std::move(foreign)));
  EXPECT_EQ(client_->enqueue_class("Late").error().code(), ErrorCode::unavailable);
  ASSERT_EQ(application_.execute("ROLLBACK"), SQLITE_OK);

  Application writer(path_);
  ASSERT_EQ(writer.execute("BEGIN IMMEDIATE"), SQLITE_OK);
  sqlite3_busy_timeout(application_.handle(), 0);
  ASSERT_EQ(application_.execute("BEGIN"), SQLITE_OK);
  const auto held_up = client_->enqueue_class("HeldUp");
  EXPECT_EQ(held_up.error().code(), ErrorCode::unavailable) << held_up.error().message();
  ASSERT_EQ(writer.execute("ROLLBACK"), SQLITE_OK);
  ASSERT_EQ(application_.execute("ROLLBACK; BEGIN IMMEDIATE"), SQLITE_OK);
  const auto at_last = client_->enqueue_class("AtLast");
  ASSERT_TRUE(at_last) << at_last.error().message();
  ASSERT_EQ(application_.execute("COMMIT"), SQLITE_OK);
  EXPECT_EQ(ready(), 2U);
}

TEST_F(SqliteTransactional, a_job_is_completed_with_the_callers_changes_or_not_at_all) {
  ASSERT_EQ(application_.execute("BEGIN IMMEDIATE"), SQLITE_OK);
  ASSERT_TRUE(client_->enqueue_class("Pay", 1));
  ASSERT_TRUE(client_->enqueue_class("Pay", 2));
  ASSERT_EQ(application_.execute("COMMIT"), SQLITE_OK);
  const auto taken = take();
  ASSERT_EQ(taken.size(), 2U);
  const auto finish = [&](const jobs::TakenJob& job) { return std::vector{jobs::Settlement::finish(job.token)}; };

  ASSERT_EQ(application_.execute("BEGIN IMMEDIATE; INSERT INTO orders(note) VALUES('paid')"), SQLITE_OK);
  EXPECT_EQ(client_->settle(finish(taken[0])).value(), std::vector{ItemOutcome::done});
  EXPECT_EQ(client_->settle(finish(taken[0])).value(), std::vector{ItemOutcome::refused}) << "once is all there is";
  ASSERT_EQ(application_.execute("ROLLBACK"), SQLITE_OK);
  EXPECT_EQ(engine_->run(op::Totals{})->counts.running, 2U);

  ASSERT_EQ(application_.execute("BEGIN IMMEDIATE; INSERT INTO orders(note) VALUES('paid')"), SQLITE_OK);
  EXPECT_EQ(client_->settle(finish(taken[0])).value(), std::vector{ItemOutcome::done});
  jobs::TakenJob stranger = taken[1];
  stranger.token.execution += 1000;
  EXPECT_EQ(client_->settle(finish(stranger)).value(), std::vector{ItemOutcome::refused}) << "the token counts";
  ASSERT_EQ(application_.execute("COMMIT"), SQLITE_OK);

  const auto totals = engine_->run(op::Totals{}).value();
  EXPECT_EQ(totals.counts.running, 1U);
  EXPECT_EQ(totals.counts.finished, 1U);
  EXPECT_TRUE(totals.counts.balanced());
  EXPECT_EQ(engine_->run(op::Settle{finish(taken[0])}).value(), std::vector{ItemOutcome::refused});
  EXPECT_EQ(application_.ask("SELECT count(*) FROM orders"), "1");
}

TEST_F(SqliteTransactional, a_process_killed_inside_its_transaction_leaves_nothing_and_after_the_commit_everything) {
  for (const bool commit : {false, true}) {
    Child victim([&](int pipe) {
      Application application(path_);
      auto client = SqliteTransactionalClient::attach(application.handle());
      const bool done = client && application.execute("BEGIN IMMEDIATE; INSERT INTO orders(note) VALUES('x')") == 0 &&
                        (*client)->enqueue_class("Receipt") && (!commit || application.execute("COMMIT") == 0);
      tell(pipe, done ? "ready" : "error");
      static_cast<void>(::pause());
    });
    ASSERT_EQ(victim.read(1), std::vector<std::string>{"ready"});
    victim.kill();
    victim.finish();
    EXPECT_EQ(ready(), commit ? 1U : 0U);
    EXPECT_EQ(application_.ask("SELECT count(*) FROM orders"), commit ? "1" : "0");
    EXPECT_EQ(application_.ask("PRAGMA integrity_check"), "ok");
  }
}

TEST_F(SqliteTransactional, files_without_a_store_and_newer_stores_are_refused) {
  Application empty(folder_.file("other.db"));
  EXPECT_EQ(SqliteTransactionalClient::attach(empty.handle()).error().code(), ErrorCode::not_a_store);
  EXPECT_EQ(empty.ask("SELECT count(*) FROM sqlite_schema"), "0");
  application_.ask("UPDATE dagverk_meta SET schema_version = 99");
  EXPECT_EQ(SqliteTransactionalClient::attach(application_.handle()).error().code(), ErrorCode::store_newer);
}

TEST_F(SqliteTransactional, the_commit_rings_and_a_rollback_does_not) {
  auto bell = Doorbell::create(path_, "0a").value();
  ASSERT_TRUE(engine_->run(op::AddBell{"0a"}).value());
  ASSERT_EQ(application_.execute("BEGIN IMMEDIATE"), SQLITE_OK);
  ASSERT_TRUE(client_->enqueue_class("Receipt"));
  client_->committed();
  EXPECT_FALSE(bell.take_rings()) << "not yet";
  ASSERT_EQ(application_.execute("COMMIT"), SQLITE_OK);
  client_->committed();
  EXPECT_TRUE(bell.take_rings());
  const auto before = engine_->changes().ready;
  EXPECT_TRUE(engine_->look_for_foreign_commits());
  EXPECT_EQ(engine_->changes().ready, before + 1);
}

TEST_F(SqliteTransactional, a_running_job_completes_itself_with_its_own_data_and_counts_as_finished_once) {
  Runtime runtime(RuntimeOptions{.workers = 2});
  auto store = SqliteStore::open(runtime, options_for(path_)).value();
  std::latch ran(3);
  jobs::JobRegistry registry;
  registry.define("Pay", [&](jobs::JobContext& job, const std::string& how) {
    Application own(path_);
    const auto client = attach(own);
    EXPECT_EQ(own.execute("BEGIN IMMEDIATE; INSERT INTO orders(note) VALUES('paid')"), SQLITE_OK);
    EXPECT_TRUE(client->complete(job));
    EXPECT_EQ(own.execute(how == "rolled back" ? "ROLLBACK" : "COMMIT"), SQLITE_OK);
    ran.count_down();
    if (how == "thrown after") throw std::runtime_error("too late to matter");
  });
  jobs::NodeOptions node_options;
  node_options.pools.push_back({.queues = {"default"}, .concurrency = 1});
  auto node = jobs::Node::start(runtime, *store, std::move(registry), std::move(node_options)).value();
  jobs::JobClient client(runtime, *store);
  for (const char* how : {"committed", "rolled back", "thrown after"}) ASSERT_TRUE(client.enqueue_class("Pay", how));
  ran.wait();
  const auto report = node->stop(10s);

  EXPECT_EQ(report.stats.finished, 3U);
  EXPECT_EQ(report.stats.retried, 0U);
  EXPECT_EQ(report.stats.lease_lost, 0U);
  const auto totals = runtime.run(store->totals()).value();
  EXPECT_EQ(totals.counts.finished, 3U);
  EXPECT_EQ(totals.counts.live(), 0U);
  EXPECT_EQ(application_.ask("SELECT count(*) FROM orders"), "2");
}

}  // namespace
}  // namespace dagverk::stores
