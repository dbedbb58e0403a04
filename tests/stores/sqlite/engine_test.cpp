// What is SQLite's own: batches, syncs, faults of the disk, files that are not stores, several OS processes, kills.

#include "stores/sqlite/engine.hpp"

#include "conformance/sqlite_world.hpp"
#include "stores/sqlite/child_process.hpp"
#include "stores/sqlite/disk_faults.hpp"
#include "stores/sqlite/doorbell.hpp"
#include "stores/sqlite/store_version_1.hpp"

#include "dagverk/stores/sqlite/sqlite_migration.hpp"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace dagverk::stores {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace): tests read better
using conformance::HandClock;
using conformance::ScratchFolder;
using jobs::ItemOutcome;
using jobs::JobState;
using jobs::Settlement;
using Outcomes = std::vector<ItemOutcome>;

/// For calls that must return, and may return anything.
template <class T>
void returns(const Result<T>& /*result*/) {}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

jobs::EnqueueRequest job(std::string jid, std::size_t size = 100) {
  jobs::EnqueueRequest request;
  request.jid = std::move(jid);
  request.queue = "default";
  request.class_name = "Work";
  request.payload.assign(size, 'x');
  return request;
}

op::Enqueue enqueue_of(std::string jid, std::size_t size = 100) {
  op::Enqueue operation;
  operation.jobs.push_back(job(std::move(jid), size));
  return operation;
}

op::Settle finish_of(const std::vector<jobs::TakenJob>& taken) {
  op::Settle operation;
  for (const jobs::TakenJob& held : taken) operation.settlements.push_back(Settlement::finish(held.token));
  return operation;
}

/// Runs SQL on a connection of its own, as a person with the sqlite3 command would.
std::string ask(const std::string& path, const std::string& sql) {
  sqlite3* database = nullptr;
  std::string answer;
  EXPECT_EQ(sqlite3_open(path.c_str(), &database), SQLITE_OK);
  sqlite3_busy_timeout(database, 10'000);
  const auto row = [](void* out, int count, char** values, char** /*names*/) {
    for (int index = 0; index < count; ++index)
      *static_cast<std::string*>(out) += values[index] != nullptr ? values[index] : "-";
    return 0;
  };
  char* message = nullptr;
  EXPECT_EQ(sqlite3_exec(database, sql.c_str(), row, &answer, &message), SQLITE_OK)
      << (message != nullptr ? message : "");
  sqlite3_free(message);
  sqlite3_close(database);
  return answer;
}

/// Nothing is damaged, and what is counted is what is there.
void expect_sound(const std::string& path) {
  EXPECT_EQ(ask(path, "PRAGMA integrity_check"), "ok");
  EXPECT_EQ(ask(path,
                "SELECT count(*) FROM dagverk_queue WHERE enqueued + moved_in <> finished + discarded + expired + "
                "deleted + trimmed + "
                "moved_out + ready + scheduled + retrying + running + dead"),
            "0");
  EXPECT_EQ(ask(path,
                "SELECT count(*) FROM dagverk_queue q WHERE "
                "ready <> (SELECT count(*) FROM dagverk_job WHERE queue = q.id AND state = 0) OR "
                "scheduled <> (SELECT count(*) FROM dagverk_job WHERE queue = q.id AND state = 1) OR "
                "retrying <> (SELECT count(*) FROM dagverk_job WHERE queue = q.id AND state = 2) OR "
                "running <> (SELECT count(*) FROM dagverk_job WHERE queue = q.id AND state = 3) OR "
                "dead <> (SELECT count(*) FROM dagverk_job WHERE queue = q.id AND state = 4)"),
            "0");
  EXPECT_EQ(ask(path, "SELECT journal_rows - (SELECT count(*) FROM dagverk_journal) FROM dagverk_meta"), "0");
  EXPECT_EQ(ask(path, "SELECT count(*) FROM dagverk_job WHERE state = 3 AND node NOT IN (SELECT id FROM dagverk_node)"),
            "0");
}

SqliteOptions real_options(const std::string& path) {
  SqliteOptions made;
  made.path = path;
  return made;
}

class SqliteEngine : public testing::Test {
 protected:
  void SetUp() override { disk_faults::reset(); }
  void TearDown() override { disk_faults::reset(); }

  SqliteOptions options() {
    SqliteOptions made;
    made.path = path_;
    made.clock = &clock_;
    made.boot_clock = &clock_;
    return made;
  }
  std::unique_ptr<Engine> open() { return open(options()); }
  static std::unique_ptr<Engine> open(SqliteOptions with) {
    auto engine = Engine::open(std::move(with));
    EXPECT_TRUE(engine) << engine.error().message();
    return engine ? std::move(*engine) : nullptr;
  }
  static jobs::NodeEpoch node(Engine& engine) { return engine.run(op::RegisterNode{{"node", ""}}).value(); }
  static std::vector<jobs::TakenJob> take(Engine& engine, jobs::NodeEpoch by, std::size_t max = 100) {
    auto taken = engine.run(op::Take{{by, {"default"}, max}});
    EXPECT_TRUE(taken) << taken.error().message();
    return taken ? std::move(*taken) : std::vector<jobs::TakenJob>();
  }

  ScratchFolder folder_;
  HandClock clock_;
  std::string path_ = folder_.file("jobs.db");
};

// --- batches and syncs ----------------------------------------------------------------------------------------------

TEST_F(SqliteEngine, one_bad_operation_does_not_fail_the_others_of_its_batch) {
  const auto engine = open();
  OperationRequest<op::Enqueue> good(enqueue_of("good"));
  OperationRequest<op::Enqueue> bad(enqueue_of(""));
  OperationRequest<op::Totals> reading(op::Totals{});
  OperationRequest<op::Enqueue> last(enqueue_of("last"));
  Request* const batch[] = {&good, &bad, &reading, &last};

  engine->execute(batch);

  EXPECT_EQ(good.result().value(), Outcomes{ItemOutcome::done});
  EXPECT_EQ(bad.result().error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(last.result().value(), Outcomes{ItemOutcome::done});
  EXPECT_EQ(reading.result()->counts.ready, 2U) << "readings see all changes of their batch";
}

TEST_F(SqliteEngine, a_lone_job_costs_two_syncs_and_its_claim_none) {
  const auto engine = open();
  const auto by = node(*engine);
  ASSERT_TRUE(engine->run(enqueue_of("warm")));

  disk_faults::reset();
  ASSERT_TRUE(engine->run(enqueue_of("a")));
  EXPECT_EQ(disk_faults::syncs, 1U);
  const auto taken = take(*engine, by);
  ASSERT_TRUE(engine->run(op::Beat{by, {}}));
  EXPECT_EQ(disk_faults::syncs, 1U) << "neither claims nor renewals wait for the disk";
  ASSERT_TRUE(engine->run(finish_of(taken)));
  EXPECT_EQ(disk_faults::syncs, 2U);
  ASSERT_TRUE(take(*engine, by).empty());
  EXPECT_EQ(disk_faults::syncs, 2U);
}

TEST_F(SqliteEngine, a_batch_is_synced_once) {
  const auto engine = open();
  ASSERT_TRUE(engine->run(enqueue_of("warm")));
  std::vector<std::unique_ptr<Request>> requests;
  std::vector<Request*> batch;
  for (int index = 0; index < 50; ++index) {
    requests.push_back(std::make_unique<OperationRequest<op::Enqueue>>(enqueue_of(concat("j", index))));
    batch.push_back(requests.back().get());
  }

  disk_faults::reset();
  engine->execute(batch);

  EXPECT_EQ(disk_faults::syncs, 1U);
  EXPECT_EQ(engine->run(op::Totals{})->counts.ready, 51U);
}

TEST_F(SqliteEngine, an_idle_take_writes_nothing) {
  const auto engine = open();
  const auto by = node(*engine);
  disk_faults::reset();

  for (int call = 0; call < 10; ++call) EXPECT_TRUE(take(*engine, by).empty());

  EXPECT_EQ(disk_faults::writes, 0U);
}

// --- a full and a failing disk ---------------------------------------------------------------------------------------

TEST_F(SqliteEngine, at_its_size_limit_enqueues_fail_and_settlements_of_the_same_batch_do_not) {
  SqliteOptions limited = options();
  limited.size_limit = 1 << 20;
  limited.journal = false;
  const auto engine = open(limited);
  const auto by = node(*engine);
  std::size_t stored = 0;
  while (true) {
    const auto outcome = engine->run(enqueue_of(concat("j", stored), 10'000));
    if (!outcome) {
      EXPECT_EQ(outcome.error().code(), ErrorCode::store_full) << outcome.error().message();
      break;
    }
    ++stored;
    ASSERT_LT(stored, 1000U);
  }
  ASSERT_GT(stored, 10U);
  auto taken = take(*engine, by, 5);
  ASSERT_EQ(taken.size(), 5U);

  OperationRequest<op::Settle> settle(finish_of(taken));
  OperationRequest<op::Enqueue> large(enqueue_of("large", 500'000));
  Request* const batch[] = {&large, &settle};
  engine->execute(batch);

  EXPECT_EQ(large.result().error().code(), ErrorCode::store_full);
  EXPECT_EQ(settle.result().value(), Outcomes(5, ItemOutcome::done));
  EXPECT_TRUE(engine->run(enqueue_of("again", 10'000))) << "room is free again";
  EXPECT_EQ(engine->run(op::Totals{})->counts.ready, stored - 5 + 1);
  expect_sound(path_);
}

/// A short history of one store, noting what it was told. Faults may strike anywhere in it.
class History {
 public:
  void live(Engine& engine) {
    const auto by = engine.run(op::RegisterNode{{"node", ""}});
    for (int round = 0; round < 6; ++round) {
      for (int item = 0; item < 3; ++item) {
        const std::string jid = concat("j", round, "_", item);
        const auto outcome = engine.run(enqueue_of(jid, 700));
        if (outcome) {
          enqueued.insert(jid);
        } else if (outcome.error().code() == ErrorCode::outcome_unknown) {
          unknown.insert(jid);
        }
      }
      if (!by) continue;
      const auto taken = engine.run(op::Take{{*by, {"default"}, 2}});
      if (!taken) continue;
      const auto settled = engine.run(finish_of(*taken));
      for (const jobs::TakenJob& held : *taken) {
        if (settled) {
          finished.insert(held.jid);
        } else if (settled.error().code() == ErrorCode::outcome_unknown) {
          unknown.insert(held.jid);
        }
      }
      engine.checkpoint_if_due();
    }
  }

  /// Everything that was told is true.
  void expect_kept(Engine& engine) const {
    for (const std::string& jid : enqueued) {
      const auto found = engine.run(op::Find{jid});
      ASSERT_TRUE(found) << found.error().message();
      if (unknown.contains(jid)) continue;
      EXPECT_EQ(found->has_value(), !finished.contains(jid)) << jid;
    }
  }

  std::set<std::string> enqueued;
  std::set<std::string> finished;
  std::set<std::string> unknown;  // neither promised nor denied
};

TEST_F(SqliteEngine, a_disk_that_is_full_from_any_write_on_loses_nothing_that_was_promised) {
  disk_faults::reset();
  {
    const auto engine = open();
    History().live(*engine);
  }
  const std::uint64_t writes = disk_faults::writes;
  ASSERT_GT(writes, 20U);
  for (const int error : {ENOSPC, EIO}) {
    for (std::uint64_t strike = 1; strike <= writes; strike += 1 + writes / 60) {
      SCOPED_TRACE(concat("errno ", error, " from write ", strike, " on"));
      path_ = folder_.file(concat("full", error, "_", strike, ".db"));
      disk_faults::reset();
      disk_faults::write_error = error;
      disk_faults::fail_write_at = strike;
      History history;
      {
        auto engine = Engine::open(options());
        if (engine) history.live(**engine);
        disk_faults::reset();
        if (engine) {
          EXPECT_TRUE((*engine)->run(enqueue_of("afterwards"))) << "the same engine goes on once there is room";
          history.expect_kept(**engine);
        }
      }
      const auto engine = open();
      ASSERT_NE(engine, nullptr);
      history.expect_kept(*engine);
      expect_sound(path_);
      if (HasFailure()) return;
    }
  }
}

TEST_F(SqliteEngine, a_sync_that_fails_once_is_never_taken_for_a_success) {
  disk_faults::reset();
  {
    const auto engine = open();
    History().live(*engine);
  }
  const std::uint64_t syncs = disk_faults::syncs;
  ASSERT_GT(syncs, 20U);
  std::size_t unknown = 0;
  for (std::uint64_t strike = 1; strike <= syncs; ++strike) {
    SCOPED_TRACE(concat("sync ", strike, " fails"));
    path_ = folder_.file(concat("sync", strike, ".db"));
    disk_faults::reset();
    disk_faults::fail_sync_at = strike;
    History history;
    {
      auto engine = Engine::open(options());
      if (engine) {
        history.live(**engine);
        history.expect_kept(**engine);
      }
    }
    unknown += history.unknown.size();
    disk_faults::reset();
    const auto engine = open();
    ASSERT_NE(engine, nullptr);
    history.expect_kept(*engine);
    expect_sound(path_);
    if (HasFailure()) return;
  }
  EXPECT_GT(unknown, 0U) << "a commit whose sync failed must not pretend to know";
}

TEST_F(SqliteEngine, after_a_failed_sync_the_log_begins_afresh_before_anything_is_promised) {
  const auto engine = open();
  for (int index = 0; index < 20; ++index) ASSERT_TRUE(engine->run(enqueue_of(concat("j", index), 3000)));
  const std::size_t log_before = contents(path_ + "-wal").size();
  disk_faults::reset();
  disk_faults::fail_sync_at = 1;
  EXPECT_EQ(engine->run(enqueue_of("unknown")).error().code(), ErrorCode::outcome_unknown);
  disk_faults::reset();

  EXPECT_TRUE(engine->run(enqueue_of("afterwards")));

  EXPECT_LT(contents(path_ + "-wal").size(), log_before / 2) << "only the new commit is in the log";
  EXPECT_GE(disk_faults::syncs, 3U) << "the old log, the database, the new commit";
  EXPECT_GE(engine->run(op::Totals{})->counts.ready, 21U);
}

// --- files that are no stores ----------------------------------------------------------------------------------------

TEST_F(SqliteEngine, files_that_are_not_ours_are_refused_and_left_alone) {
  std::ofstream(path_)
      << "This is not a database, but it is long enough to have a header of one hundred bytes, and then some more.";
  const std::string garbage = contents(path_);
  EXPECT_EQ(Engine::open(options()).error().code(), ErrorCode::not_a_store);
  EXPECT_EQ(contents(path_), garbage);

  path_ = folder_.file("other.db");
  ask(path_, "CREATE TABLE customers(name TEXT); INSERT INTO customers VALUES('Ada')");
  const std::string foreign = contents(path_);
  const auto refused = Engine::open(options());
  EXPECT_EQ(refused.error().code(), ErrorCode::not_a_store);
  EXPECT_NE(refused.error().message().find(path_), std::string_view::npos);
  EXPECT_EQ(contents(path_), foreign);

  path_ = folder_.file("newer.db");
  ASSERT_NE(open(), nullptr);
  ask(path_, "UPDATE dagverk_meta SET schema_version = 99");
  const std::string newer = contents(path_);
  EXPECT_EQ(Engine::open(options()).error().code(), ErrorCode::store_newer);
  EXPECT_EQ(contents(path_), newer);
}

// --- files of older versions -----------------------------------------------------------------------------------------

/// What the tables of `path` look like: of each column what can be said about it, and all indices.
std::string layout_of(const std::string& path) {
  return ask(path,
             "SELECT group_concat(line, char(10)) FROM (SELECT s.name || ' ' || c.name || ' ' || c.type || ' ' || "
             "c.\"notnull\" || ' ' || coalesce(c.dflt_value, '-') || ' ' || c.pk AS line FROM sqlite_schema AS s JOIN "
             "pragma_table_info(s.name) AS c WHERE s.type = 'table' UNION ALL SELECT name || ' ' || coalesce(sql, '-') "
             "FROM sqlite_schema WHERE type = 'index' ORDER BY 1)");
}

std::string jobs_of(const std::string& path) {
  return ask(path,
             "SELECT group_concat(jid || state || queue || rank || coalesce(due_us, '') || payload, ' ') FROM "
             "(SELECT * FROM dagverk_job ORDER BY id)");
}

TEST_F(SqliteEngine, a_store_of_version_1_is_refused_with_what_to_do_and_migrates_to_the_layout_of_a_new_one) {
  ask(path_, store_version_1);
  const std::string old_layout = layout_of(path_);
  const std::string jobs = jobs_of(path_);
  ASSERT_NE(jobs, "");
  const auto refused = Engine::open(options());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::unsupported);
  EXPECT_NE(refused.error().message().find(concat("dagverk store migrate --store sqlite:", path_)), std::string::npos)
      << refused.error().message();

  const auto dry = migrate_sqlite_store({.path = path_, .dry_run = true});
  ASSERT_TRUE(dry) << dry.error().message();
  EXPECT_FALSE(dry->migrated);
  EXPECT_EQ(dry->backup, "");
  EXPECT_EQ(layout_of(path_), old_layout);

  const auto done = migrate_sqlite_store({.path = path_});
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_TRUE(done->migrated);
  EXPECT_EQ(done->from, 1);
  EXPECT_EQ(done->backup, path_ + ".schema-1");
  EXPECT_EQ(layout_of(done->backup), old_layout);
  EXPECT_EQ(jobs_of(done->backup), jobs);
  EXPECT_EQ(jobs_of(path_), jobs);
  expect_sound(path_);
  const std::string fresh = folder_.file("fresh.db");
  ASSERT_TRUE(Engine::open(real_options(fresh)));
  EXPECT_EQ(layout_of(path_), layout_of(fresh)) << "whatever a new store has, the steps make too";

  const auto engine = open();
  ASSERT_NE(engine, nullptr);
  const jobs::NodeEpoch worker = node(*engine);
  EXPECT_EQ(engine->run(op::Rescue{worker, 100})->jobs.size(), 1U) << "of the node that was there before";
  EXPECT_EQ(engine->run(op::Take{{worker, {"mail"}, 100}})->size(), 2U);
  EXPECT_EQ(engine->run(op::ReadJournal{{.limit = 100}})->rows.size(), 6U);
  const auto again = migrate_sqlite_store({.path = path_});
  ASSERT_TRUE(again) << "open elsewhere or not, there is nothing to be done";
  EXPECT_FALSE(again->migrated);
}

TEST_F(SqliteEngine, a_migration_that_fails_at_any_write_or_dies_in_the_middle_leaves_the_store_of_version_1) {
  ask(path_, store_version_1);
  const std::string old_layout = layout_of(path_);
  const std::string jobs = jobs_of(path_);
  std::uint64_t strike = 1;
  for (;; ++strike) {
    SCOPED_TRACE(concat("from write ", strike, " on"));
    disk_faults::reset();
    disk_faults::write_error = strike % 2 == 0 ? ENOSPC : EIO;
    disk_faults::fail_write_at = strike;
    const auto failed = migrate_sqlite_store({.path = path_, .backup = false});
    const bool struck = disk_faults::writes >= strike;
    disk_faults::reset();
    if (!struck) break;
    if (failed) continue;  // it is done, and struck was what came after the commit
    EXPECT_EQ(layout_of(path_), old_layout);
    EXPECT_EQ(jobs_of(path_), jobs);
    if (HasFailure()) return;
  }
  EXPECT_GT(strike, 10U);
  EXPECT_EQ(ask(path_, "SELECT schema_version FROM dagverk_meta"), "3");
  EXPECT_EQ(jobs_of(path_), jobs);

  const std::string other = folder_.file("killed.db");
  ask(other, store_version_1);
  disk_faults::kill_write_at = strike / 2;
  Child child([&](int pipe) {
    disk_faults::writes = 0;
    tell(pipe, migrate_sqlite_store({.path = other, .backup = false}) ? "done" : "failed");
  });
  EXPECT_TRUE(child.read().empty());
  EXPECT_TRUE(WIFSIGNALED(child.finish()));
  disk_faults::reset();
  EXPECT_EQ(layout_of(other), old_layout);
  EXPECT_TRUE(migrate_sqlite_store({.path = other})) << "and it can be tried again";
}

TEST_F(SqliteEngine, a_store_that_is_open_newer_missing_or_none_is_not_migrated) {
  ask(path_, store_version_1);
  {
    auto user = Database::open(path_, clock_, 10s);
    ASSERT_TRUE(user);
    EXPECT_EQ((*user)->number("SELECT schema_version FROM dagverk_meta"), 1);
    const auto refused = migrate_sqlite_store({.path = path_});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::refused) << refused.error().message();
    EXPECT_EQ((*user)->number("SELECT schema_version FROM dagverk_meta"), 1);
  }
  std::ofstream(path_ + ".schema-1") << "somebody's";
  EXPECT_EQ(migrate_sqlite_store({.path = path_}).error().code(), ErrorCode::already_exists);
  EXPECT_EQ(contents(path_ + ".schema-1"), "somebody's");
  ask(path_, "UPDATE dagverk_meta SET schema_version = 99");
  EXPECT_EQ(migrate_sqlite_store({.path = path_}).error().code(), ErrorCode::store_newer);
  EXPECT_EQ(migrate_sqlite_store({.path = folder_.file("none.db")}).error().code(), ErrorCode::not_found);
  EXPECT_FALSE(std::filesystem::exists(folder_.file("none.db")));
  const std::string other = folder_.file("other.db");
  ask(other, "CREATE TABLE customers(name TEXT)");
  EXPECT_EQ(migrate_sqlite_store({.path = other}).error().code(), ErrorCode::not_a_store);
}

TEST_F(SqliteEngine, places_where_no_store_can_be_are_named) {
  path_ = folder_.file("missing/jobs.db");
  EXPECT_EQ(Engine::open(options()).error().code(), ErrorCode::not_found);

  path_ = folder_.file("folder.db");
  ASSERT_EQ(::mkdir(path_.c_str(), 0700), 0);
  EXPECT_EQ(Engine::open(options()).error().code(), ErrorCode::io);

  path_ = folder_.file("readonly.db");
  ASSERT_NE(open(), nullptr);
  ASSERT_EQ(::chmod(path_.c_str(), 0444), 0);
  // Root may write anywhere, so the question is asked by somebody else.
  const pid_t child = ::fork();
  if (child == 0) {
    const bool plain = ::geteuid() != 0 || ::setuid(65534) == 0;
    const auto refused = Engine::open(options());
    ::_exit(plain && !refused && refused.error().code() == ErrorCode::permission ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(SqliteEngine, the_store_is_private_to_its_user) {
  const auto engine = open();
  node(*engine);
  struct ::stat file{};
  ASSERT_EQ(::stat(path_.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777U, 0600U);
  ASSERT_EQ(::stat((path_ + "-wal").c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777U, 0600U);
  ASSERT_EQ(::stat((path_ + ".nodes").c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777U, 0700U);
}

TEST_F(SqliteEngine, rows_that_make_no_sense_cost_themselves_only) {
  const auto engine = open();
  const auto by = node(*engine);
  for (const char* jid : {"a", "b", "c"}) ASSERT_TRUE(engine->run(enqueue_of(jid)));
  ask(path_, "UPDATE dagverk_job SET queue = 999 WHERE jid = 'a'");
  ask(path_,
      "UPDATE dagverk_job SET rank = -9223372036854775808, enqueued_us = 9223372036854775807, class = '' WHERE jid = "
      "'b'");
  ask(path_,
      "INSERT INTO dagverk_node(id, lock_name, name, detail, boot_id, lease_boot_us, registered_us, identity) "
      "VALUES(77, '../../jobs.db', 'hostile', '', 'boot-1', -9223372036854775808, 0, '../..')");

  const auto taken = take(*engine, by);
  ASSERT_EQ(taken.size(), 2U);
  EXPECT_EQ(engine->run(op::Find{"a"}).error().code(), ErrorCode::malformed);
  EXPECT_TRUE(engine->run(finish_of(taken)));
  const auto report = engine->run(op::Rescue{by, 10});
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->nodes.size(), 1U);
  EXPECT_EQ(contents(path_).size() > 0, true) << "a hostile lock name leads nowhere";
  EXPECT_TRUE(engine->run(op::ListNodes{}));
}

TEST_F(SqliteEngine, flipped_bits_give_errors_and_no_crash) {
  SqliteOptions quiet = options();
  {
    const auto engine = open();
    for (int index = 0; index < 50; ++index) ASSERT_TRUE(engine->run(enqueue_of(concat("j", index), 300)));
  }
  const std::string whole = contents(path_);
  ASSERT_GT(whole.size(), 10'000U);
  const std::uint64_t seed = random_seed() % 1'000'000'000;
  SCOPED_TRACE(concat("seed ", seed));
  Random random(seed);
  for (int round = 0; round < 60; ++round) {
    std::string damaged = whole;
    for (std::uint64_t flips = 1 + random.below(20); flips > 0; --flips) {
      damaged[random.below(damaged.size())] ^= static_cast<char>(1U << random.below(8));
    }
    quiet.path = folder_.file(concat("flipped", round, ".db"));
    std::ofstream(quiet.path, std::ios::binary) << damaged;
    auto engine = Engine::open(quiet);
    if (!engine) continue;
    // Nothing to expect but that each call returns.
    const auto by = (*engine)->run(op::RegisterNode{{"node", ""}});
    const auto taken = (*engine)->run(op::Take{{by.value_or(1), {"default"}, 20}});
    if (taken && !taken->empty()) returns((*engine)->run(finish_of(*taken)));
    returns((*engine)->run(op::List{{.state = JobState::ready, .limit = 1000}}));
    returns((*engine)->run(op::ReadJournal{{0, 1000, {}}}));
    returns((*engine)->run(op::Queues{"", 100}));
    returns((*engine)->run(op::Totals{}));
    returns((*engine)->run(op::PeekDue{clock_.wall_now(), 100}));
    returns((*engine)->run(op::Rescue{0, 100}));
  }
}

// --- time and nodes
// ---------------------------------------------------------------------------------------------------

TEST_F(SqliteEngine, jumps_of_the_wall_clock_expire_no_lease) {
  const auto engine = open();
  const auto other = open();
  const auto by = node(*engine);
  ASSERT_TRUE(engine->run(enqueue_of("a")));
  ASSERT_EQ(take(*engine, by).size(), 1U);

  clock_.move_wall(1h);
  EXPECT_TRUE(other->run(op::Rescue{0, 10})->nodes.empty());
  clock_.move_wall(-2h);
  EXPECT_TRUE(other->run(op::Rescue{0, 10})->nodes.empty());
}

TEST_F(SqliteEngine, after_a_reboot_nodes_are_dead_and_ids_of_lost_commits_are_not_used_again) {
  jobs::JournalCursor end = 0;
  jobs::NodeEpoch old_node = 0;
  {
    const auto engine = open();
    old_node = node(*engine);
    ASSERT_TRUE(engine->run(enqueue_of("a")));
    ASSERT_EQ(take(*engine, old_node).size(), 1U);
    end = engine->run(op::JournalEnd{}).value();
  }
  clock_.reboot("boot-2");

  const auto engine = open();
  const auto report = engine->run(op::Rescue{0, 10}).value();
  EXPECT_EQ(report.nodes, std::vector<jobs::NodeEpoch>{old_node});
  EXPECT_EQ(report.jobs.size(), 1U);
  EXPECT_GT(node(*engine), old_node + 1'000'000);
  EXPECT_GT(engine->run(op::JournalEnd{}).value(), end + 1'000'000);
  EXPECT_FALSE(engine->run(op::ReadJournal{{end, 10, {}}})->gap) << "skipped numbers are not missing rows";
}

TEST_F(SqliteEngine, lock_files_go_with_their_nodes_and_a_lost_folder_leaves_the_lease_in_charge) {
  const auto count_locks = [&] {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path_ + ".nodes")) ++count;
    return count;
  };
  const auto engine = open();
  auto other = open();
  const auto first = node(*engine);
  node(*other);
  EXPECT_EQ(count_locks(), 2U);
  ASSERT_TRUE(engine->run(op::RetireNode{first}));
  EXPECT_EQ(count_locks(), 1U);
  other.reset();
  EXPECT_EQ(engine->run(op::Rescue{0, 10})->nodes.size(), 1U);
  EXPECT_EQ(count_locks(), 0U);

  other = open();
  const auto alive = node(*other);
  std::filesystem::remove_all(path_ + ".nodes");
  EXPECT_TRUE(engine->run(op::Rescue{0, 10})->nodes.empty());
  clock_.advance(options().lease + 1s);
  EXPECT_EQ(engine->run(op::Rescue{0, 10})->nodes, std::vector<jobs::NodeEpoch>{alive});
}

// --- one job's history -----------------------------------------------------------------------------------------------

TEST_F(SqliteEngine, one_jobs_history_is_found_among_many_without_reading_them_all) {
  SqliteOptions small = options();
  small.journal_rows_limit = 6000;
  auto engine = open();
  const auto by = node(*engine);
  constexpr int batches = 5;
  for (int batch = 0; batch < batches; ++batch) {
    op::Enqueue operation;
    for (int index = 0; index < 1000; ++index) operation.jobs.push_back(job(concat("j", batch * 1000 + index), 1));
    ASSERT_TRUE(engine->run(std::move(operation)));
    ASSERT_TRUE(engine->run(finish_of(take(*engine, by, 1000))));
  }
  const auto kinds = [](const jobs::JournalPage& page) {
    std::vector<jobs::JournalKind> all;
    for (const jobs::JournalRow& row : page.rows) all.push_back(row.kind);
    return all;
  };
  const std::vector whole{jobs::JournalKind::enqueued, jobs::JournalKind::started, jobs::JournalKind::finished};
  for (const char* jid : {"j0", "j1023", "j2500", "j4999"}) {
    const auto page = engine->run(op::ReadJournal{{0, 100, jid}}).value();
    EXPECT_EQ(kinds(page), whole) << jid;
    EXPECT_TRUE(page.at_end) << "15,000 rows, and one call was enough";
  }
  EXPECT_TRUE(engine->run(op::ReadJournal{{0, 100, "nobody"}})->at_end);
  const auto first = engine->run(op::ReadJournal{{0, 1, "j2500"}}).value();
  ASSERT_EQ(kinds(first), std::vector{jobs::JournalKind::enqueued});
  const auto rest = engine->run(op::ReadJournal{{first.next, 100, "j2500"}}).value();
  EXPECT_EQ(kinds(rest), (std::vector{jobs::JournalKind::started, jobs::JournalKind::finished}));

  // What a filter says is believed only if it is one.
  EXPECT_EQ(ask(path_, "UPDATE dagverk_journal_block SET filter = x'00'; SELECT count(*) FROM dagverk_journal_block"),
            "14");
  jobs::JournalPage found;
  for (jobs::JournalPage page; !page.at_end || page.next == 0;) {
    page = engine->run(op::ReadJournal{{found.next, 100, "j2500"}}).value();
    found.next = page.next;
    found.rows.insert(found.rows.end(), page.rows.begin(), page.rows.end());
    if (page.at_end) break;
  }
  EXPECT_EQ(kinds(found), whole);

  engine.reset();
  engine = open(small);
  ASSERT_TRUE(engine->run(enqueue_of("trims")));
  for (int round = 0; round < 12; ++round) ASSERT_TRUE(engine->run(op::Beat{by, {}}));
  EXPECT_EQ(ask(path_, "SELECT count(*) FROM dagverk_journal"), "6000");
  EXPECT_EQ(ask(path_, "SELECT min(block) - (SELECT min(seq) >> 10 FROM dagverk_journal) FROM dagverk_journal_block"),
            "0")
      << "filters go with their rows";
}

// --- several connections and OS processes ----------------------------------------------------------------------------

TEST_F(SqliteEngine, commits_of_others_are_noticed_and_own_ones_are_not_taken_for_theirs) {
  const auto engine = open();
  const auto other = open();
  engine->look_for_foreign_commits();
  const auto before = engine->changes();
  engine->look_for_foreign_commits();
  EXPECT_EQ(engine->changes().ready, before.ready);

  ASSERT_TRUE(engine->run(enqueue_of("own")));
  const auto own = engine->changes();
  EXPECT_EQ(own.ready, before.ready + 1);
  EXPECT_EQ(own.journal, before.journal + 1);
  engine->look_for_foreign_commits();
  EXPECT_EQ(engine->changes().ready, own.ready);

  ASSERT_TRUE(other->run(enqueue_of("foreign")));
  engine->look_for_foreign_commits();
  EXPECT_EQ(engine->changes().ready, own.ready + 1);
  EXPECT_EQ(engine->changes().journal, own.journal + 1);
}

TEST_F(SqliteEngine, commits_that_make_no_job_ready_are_no_reason_to_look_for_jobs) {
  const auto engine = open();
  const auto other = open();
  ASSERT_TRUE(other->run(enqueue_of("a")));
  const auto by = node(*other);
  const auto taken = take(*other, by);
  ASSERT_TRUE(engine->look_for_foreign_commits());
  const auto before = engine->changes();

  ASSERT_TRUE(other->run(finish_of(taken)));
  EXPECT_TRUE(engine->look_for_foreign_commits());
  EXPECT_EQ(engine->changes().ready, before.ready);
  EXPECT_EQ(engine->changes().journal, before.journal + 1);

  ASSERT_TRUE(other->run(enqueue_of("b")));
  ASSERT_TRUE(engine->run(op::Beat{node(*engine), {}}));
  EXPECT_EQ(engine->changes().ready, before.ready + 1) << "a transaction sees what came before it without a look";
}

TEST_F(SqliteEngine, a_commit_that_makes_jobs_ready_rings_the_doorbells_of_others) {
  const auto waiting = open();
  auto bell = Doorbell::create(path_, "0a").value();
  ASSERT_TRUE(waiting->run(op::AddBell{"0a"}).value());
  const auto other = open();

  ASSERT_TRUE(other->run(enqueue_of("a")));
  EXPECT_TRUE(bell.take_rings());
  EXPECT_FALSE(bell.take_rings());
  const auto by = node(*other);
  ASSERT_TRUE(other->run(finish_of(take(*other, by))));
  EXPECT_FALSE(bell.take_rings()) << "nothing became ready";
  ASSERT_TRUE(waiting->run(enqueue_of("b")));
  EXPECT_FALSE(bell.take_rings()) << "nobody rings at his own door";

  for (int index = 0; index < 1000; ++index) ASSERT_TRUE(other->run(enqueue_of(concat("c", index))));
  EXPECT_TRUE(bell.take_rings()) << "a bell that nobody hears holds nobody up";

  ASSERT_TRUE(waiting->run(op::RemoveBell{"0a"}).value());
  ASSERT_TRUE(other->run(enqueue_of("d")));
  EXPECT_FALSE(bell.take_rings());
}

TEST_F(SqliteEngine, doorbells_of_killed_processes_are_struck_out_and_names_lead_nowhere) {
  const auto engine = open();
  {
    Child victim([&](int pipe) {
      auto store = Engine::open(real_options(path_));
      auto bell = Doorbell::create(path_, "0b");
      tell(pipe, store && bell && (*store)->run(op::AddBell{"0b"}) ? "ready" : "error");
      static_cast<void>(::pause());
    });
    ASSERT_EQ(victim.read(1), std::vector<std::string>{"ready"});
    victim.kill();
    victim.finish();
  }
  ask(path_, "INSERT INTO dagverk_bell VALUES('0c'), ('../../etc/passwd'); UPDATE dagverk_meta SET bell_changes = 77");
  ASSERT_TRUE(std::filesystem::exists(path_ + ".nodes/0b.bell"));

  ASSERT_TRUE(engine->run(enqueue_of("rings")));
  ASSERT_TRUE(engine->run(enqueue_of("strikes")));

  EXPECT_EQ(ask(path_, "SELECT count(*) FROM dagverk_bell"), "0");
  EXPECT_FALSE(std::filesystem::exists(path_ + ".nodes/0b.bell"));
}

TEST_F(SqliteEngine, a_doorbell_far_down_the_file_system_rings_too) {
  const std::string deep = folder_.file(std::string(100, 'a'));
  std::filesystem::create_directory(deep);
  const std::string path = concat(deep, "/jobs.db");
  auto bell = Doorbell::create(path, "0d");
  ASSERT_TRUE(bell) << bell.error().message();
  BellRinger ringer(path);
  EXPECT_TRUE(ringer.ring("0d"));
  EXPECT_TRUE(bell->take_rings());
  EXPECT_FALSE(ringer.ring("0e"));
}

TEST_F(SqliteEngine, waiting_for_another_writer_is_bounded_and_says_so) {
  SqliteOptions impatient = options();
  impatient.lock_wait = 0ms;
  const auto engine = open(impatient);
  sqlite3* holder = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &holder), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(holder, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);

  const auto refused = engine->run(enqueue_of("a"));
  EXPECT_EQ(refused.error().code(), ErrorCode::unavailable);
  EXPECT_TRUE(engine->run(op::Totals{})) << "readers never wait";

  sqlite3_close(holder);
  EXPECT_TRUE(engine->run(enqueue_of("a")));
}

TEST_F(SqliteEngine, several_processes_may_create_the_store_at_once) {
  for (int round = 0; round < 5; ++round) {
    const std::string path = folder_.file(concat("race", round, ".db"));
    std::vector<std::unique_ptr<Child>> children;
    for (int index = 0; index < 4; ++index) {
      children.push_back(std::make_unique<Child>([&](int pipe) {
        auto engine = Engine::open(real_options(path));
        if (!engine) tell(pipe, std::string(engine.error().message()));
        if (engine && !(*engine)->run(enqueue_of(concat("j", index)))) tell(pipe, "cannot enqueue");
      }));
    }
    for (const auto& child : children) {
      EXPECT_EQ(child->read(), std::vector<std::string>());
      EXPECT_EQ(child->finish(), 0);
    }
    EXPECT_EQ(ask(path, "SELECT count(*) FROM dagverk_job"), "4");
    expect_sound(path);
  }
}

TEST_F(SqliteEngine, processes_that_enqueue_and_take_at_once_run_every_job_exactly_once) {
  constexpr int jobs_each = 300;
  const auto work = [&](int number, int pipe) {
    auto engine = Engine::open(real_options(path_));
    if (!engine) return tell(pipe, std::string("error: ").append(engine.error().message()));
    const auto by = (*engine)->run(op::RegisterNode{{"child", ""}});
    if (!by) return tell(pipe, std::string("error: ").append(by.error().message()));
    int enqueued = 0;
    int idle = 0;
    while (enqueued < jobs_each || idle < 3) {
      if (enqueued < jobs_each) {
        op::Enqueue operation;
        for (int item = 0; item < 3; ++item) operation.jobs.push_back(job(concat("p", number, "_", enqueued++)));
        const auto done = (*engine)->run(std::move(operation));
        if (!done) return tell(pipe, std::string("error: ").append(done.error().message()));
      }
      const auto taken = (*engine)->run(op::Take{{*by, {"default"}, 4}});
      if (!taken) return tell(pipe, std::string("error: ").append(taken.error().message()));
      idle = taken->empty() ? idle + 1 : 0;
      if (taken->empty()) continue;
      const auto settled = (*engine)->run(finish_of(*taken));
      if (!settled) return tell(pipe, std::string("error: ").append(settled.error().message()));
      for (std::size_t index = 0; index < taken->size(); ++index) {
        tell(pipe, (*settled)[index] == ItemOutcome::done ? (*taken)[index].jid : "error: an ack was refused");
      }
    }
    if (const auto left = (*engine)->run(op::RetireNode{*by}); !left) tell(pipe, "error: cannot retire");
  };
  Child first([&](int pipe) { work(1, pipe); });
  Child second([&](int pipe) { work(2, pipe); });

  std::map<std::string, int> runs;
  for (Child* child : {&first, &second}) {
    for (const std::string& jid : child->read()) ++runs[jid];
    EXPECT_EQ(child->finish(), 0);
  }

  for (const auto& [jid, count] : runs) EXPECT_EQ(count, 1) << jid;
  EXPECT_EQ(runs.size(), 2U * jobs_each) << "the last to leave has drained the queue";
  EXPECT_EQ(ask(path_, "SELECT sum(finished) FROM dagverk_queue"), concat(2 * jobs_each));
  expect_sound(path_);
}

/// Kills a working child again and again; whatever it said before it died must be true.
void kill_rounds(const std::string& path, int rounds) {
  const char* const given = std::getenv("DAGVERK_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_seed() % 1'000'000'000;
  SCOPED_TRACE(concat("replay with DAGVERK_SEED=", seed));
  Random random(seed);
  std::set<std::string> enqueued;
  std::map<std::string, int> finished;
  for (int round = 0; round < rounds; ++round) {
    Child child([&](int pipe) {
      auto engine = Engine::open(real_options(path));
      if (!engine) return tell(pipe, std::string("error ").append(engine.error().message()));
      const auto by = (*engine)->run(op::RegisterNode{{"victim", ""}});
      if (!by) return tell(pipe, std::string("error ").append(by.error().message()));
      const auto rescued = (*engine)->run(op::Rescue{*by, 1000});
      if (!rescued) return tell(pipe, std::string("error ").append(rescued.error().message()));
      tell(pipe, concat("rescued ", rescued->nodes.size()));
      for (int number = 0;; ++number) {
        const std::string jid = concat("k", round, "_", number);
        auto operation = enqueue_of(jid, 50 + static_cast<std::size_t>(number) % 5000);
        if (number % 7 == 0) operation.jobs[0].due = system_clock().wall_now();
        if ((*engine)->run(std::move(operation))) tell(pipe, concat("enqueued ", jid));
        const auto due = (*engine)->run(op::PeekDue{system_clock().wall_now(), 10});
        if (due && !due->jobs.empty()) returns((*engine)->run(op::Promote{{{due->jobs[0].handle}}}));
        const auto taken = (*engine)->run(op::Take{{*by, {"default"}, 3}});
        if (!taken || taken->empty()) continue;
        auto settle = finish_of(*taken);
        const bool retry = number % 5 == 0;
        if (retry) settle.settlements[0] = Settlement::retry((*taken)[0].token, "again", system_clock().wall_now());
        const auto settled = (*engine)->run(std::move(settle));
        for (std::size_t index = retry ? 1 : 0; settled && index < taken->size(); ++index) {
          if ((*settled)[index] == ItemOutcome::done) tell(pipe, concat("finished ", (*taken)[index].jid));
        }
        (*engine)->checkpoint_if_due();
      }
    });
    auto told = child.read(1 + random.below(120));
    child.kill();
    for (std::string& line : child.read()) told.push_back(std::move(line));
    child.finish();
    ASSERT_FALSE(told.empty());
    EXPECT_EQ(told[0], concat("rescued ", round == 0 ? 0 : 1)) << "the one killed before is noticed at once";
    for (const std::string& line : told) {
      const std::size_t space = line.find(' ');
      const std::string word = line.substr(0, space);
      if (word == "enqueued") enqueued.insert(line.substr(space + 1));
      if (word == "finished") ++finished[line.substr(space + 1)];
      EXPECT_NE(word, "error") << line;
    }
    expect_sound(path);
    if (testing::Test::HasFailure()) return;
  }
  // Nobody is left. What was promised is there or finished, and nothing that was acknowledged ran again.
  for (const auto& [jid, count] : finished) EXPECT_EQ(count, 1) << jid;
  auto engine = Engine::open(real_options(path));
  ASSERT_TRUE(engine);
  std::size_t gone = 0;
  for (const std::string& jid : enqueued) {
    const bool there = (*engine)->run(op::Find{jid}).value().has_value();
    EXPECT_FALSE(there && finished.contains(jid)) << jid;
    gone += there ? 0U : 1U;
  }
  const auto totals = (*engine)->run(op::Totals{}).value();
  EXPECT_LE(gone, totals.counts.finished) << "a job that is gone was finished";
  EXPECT_LE(totals.counts.finished, finished.size() + 3U * static_cast<std::size_t>(rounds))
      << "at most the batch in hand was acknowledged without being told";
  EXPECT_GE(totals.counts.enqueued, enqueued.size());
}

TEST_F(SqliteEngine, a_process_killed_at_any_moment_loses_nothing) { kill_rounds(path_, 30); }

}  // namespace
}  // namespace dagverk::stores
