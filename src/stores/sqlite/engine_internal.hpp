#pragma once

#include "stores/sqlite/database.hpp"
#include "stores/sqlite/engine.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <limits>
#include <string>

namespace dagverk::stores {

[[nodiscard]] inline std::int64_t micros_of(WallTime time) noexcept {
  return std::chrono::floor<std::chrono::microseconds>(time.time_since_epoch()).count();
}
[[nodiscard]] inline std::int64_t micros_of(Duration time) noexcept {
  return std::chrono::floor<std::chrono::microseconds>(time).count();
}
/// Numbers read from a file may be anything; one outside the range of `WallTime` becomes its nearest end.
[[nodiscard]] inline std::int64_t sane_micros(std::int64_t micros) noexcept {
  constexpr std::int64_t range = std::numeric_limits<std::int64_t>::max() / 1000;
  return std::clamp(micros, -range, range);
}
[[nodiscard]] inline WallTime wall_of(std::int64_t micros) noexcept {
  return WallTime(std::chrono::microseconds(sane_micros(micros)));
}

/// The order of a job in its queue: lower goes first. Odd as enqueued, even when it was given back and so goes before
/// its equals.
[[nodiscard]] constexpr std::int64_t rank_of(std::int16_t priority) noexcept { return 1 - 2 * std::int64_t{priority}; }
[[nodiscard]] constexpr std::int64_t rank_in_front(std::int64_t rank) noexcept { return rank & ~std::int64_t{1}; }
[[nodiscard]] constexpr std::int64_t rank_in_line(std::int64_t rank) noexcept { return rank | 1; }
[[nodiscard]] constexpr std::int16_t priority_of(std::int64_t rank) noexcept {
  return static_cast<std::int16_t>(-(rank >> 1));
}
static_assert(priority_of(rank_of(7)) == 7 && priority_of(rank_in_front(rank_of(-3))) == -3);
static_assert(rank_in_front(rank_of(1)) < rank_of(1) && rank_of(1) < rank_in_front(rank_of(0)));

inline constexpr std::int64_t flag_journaled = 1;
/// Moved into the schedule because its key was at its limit, and not taken since.
inline constexpr std::int64_t flag_held_back = 2;

/// Processes whose doorbells are rung; more of them look at the WAL only.
inline constexpr std::size_t bell_count_limit = 256;

inline void put_limit_key(Use& use, std::string_view key) {
  if (key.empty()) {
    use.null();
  } else {
    use.text(key);
  }
}

/// Records of jobs kept at most, whatever their age; a heartbeat drops the oldest.
inline constexpr std::size_t record_count_limit = 10'000;

/// Rows a filtered listing or journal reading looks at before it answers with what it has.
inline constexpr std::int64_t scan_limit = 10'000;
/// What passing over a whole block of the journal counts as.
inline constexpr std::int64_t block_scan_cost = 8;

struct Engine::Queue {
  std::int64_t id = 0;
  std::string name;
  bool touched = false;
  std::array<std::int64_t, count_kinds> delta{};
};

/// What finishing a job changes beside its row.
struct Engine::Claim {
  jobs::NodeEpoch node = 0;
  std::uint64_t execution = 0;
  std::int64_t queue = 0;
  bool journaled = false;
  std::string jid;  // of journaled jobs, and of all while any job holds a unique key
  std::string class_name;
  std::string limit_key;
};

/// Claims remembered at most: some hundred bytes each. Whatever is forgotten is looked up.
inline constexpr std::size_t claim_count_limit = 65'536;

/// Where a job goes that is about to be put in.
struct Engine::Admission {
  Queue* queue = nullptr;  // null: nowhere
  bool drops = false;      // one of those that wait there
};

/// A job that is about to be taken, and has a limit key.
struct Engine::KeyedJob {
  std::size_t index = 0;  // in Taking::jobs
  bool waited = false;    // for its limit, before
  std::string key;
};

/// A take under way.
struct Engine::Taking {
  std::vector<jobs::TakenJob> jobs;
  std::size_t size = 0;         // of their payloads
  std::vector<KeyedJob> keyed;  // of the latest jobs read
  std::size_t held_back = 0;

  [[nodiscard]] bool ended() const noexcept {
    return size >= jobs::take_size_limit || held_back >= jobs::limit_moves_limit;
  }
};

/// What decisions about a job need; not its payload.
struct Engine::JobRow {
  std::int64_t id = 0;
  jobs::JobState state = jobs::JobState::ready;
  std::int64_t queue = 0;
  std::int64_t rank = 0;
  std::int64_t flags = 0;
  std::int64_t node = 0;
  std::int64_t execution = 0;
  std::int64_t rescues = 0;
  std::int64_t rescued_us = 0;         // 0: never
  std::int64_t rescued_before_us = 0;  // 0: never
  std::string jid;
  std::string class_name;
  std::string limit_key;

  [[nodiscard]] bool journaled() const noexcept { return (flags & flag_journaled) != 0; }
};

// clang-format off
struct Engine::Statements {
  explicit Statements(Database& d) : db(d) {}
  Database& db;

  Statement begin{db, "BEGIN IMMEDIATE"};
  Statement begin_read{db, "BEGIN"};
  Statement commit{db, "COMMIT"};
  Statement savepoint{db, "SAVEPOINT dagverk"};
  Statement release{db, "RELEASE dagverk"};
  Statement rollback_to{db, "ROLLBACK TO dagverk"};
  Statement data_version{db, "PRAGMA data_version"};
  Statement page_count{db, "PRAGMA page_count"};
  Statement freelist_count{db, "PRAGMA freelist_count"};

  Statement meta{db, "SELECT next_id, next_seq, journal_rows, dead, queues, duplicates, refused, trimmed_seq, "
                     "ready_commits, bell_changes, unique_held, unique_refused, limit_changes FROM dagverk_meta WHERE id = 1"};
  Statement meta_update{db, "UPDATE dagverk_meta SET next_id = ?1, next_seq = ?2, journal_rows = ?3, dead = ?4, queues = ?5, "
                            "duplicates = duplicates + ?6, refused = refused + ?7, ready_commits = ready_commits + ?8, "
                            "unique_held = ?9, unique_refused = unique_refused + ?10 WHERE id = 1"};
  Statement trimmed_seq{db, "UPDATE dagverk_meta SET trimmed_seq = max(trimmed_seq, ?1) WHERE id = 1"};

  Statement bell_list{db, "SELECT name FROM dagverk_bell LIMIT ?1"};
  Statement bell_insert{db, "INSERT OR IGNORE INTO dagverk_bell(name) VALUES(?1)"};
  Statement bell_delete{db, "DELETE FROM dagverk_bell WHERE name = ?1"};
  Statement bell_changed{db, "UPDATE dagverk_meta SET bell_changes = bell_changes + 1 WHERE id = 1"};

  Statement queue_by_name{db, "SELECT id FROM dagverk_queue WHERE name = ?1"};
  Statement queue_by_id{db, "SELECT name FROM dagverk_queue WHERE id = ?1"};
  Statement queue_insert{db, "INSERT INTO dagverk_queue(id, name) VALUES(?1, ?2)"};
  Statement queue_count{db, "UPDATE dagverk_queue SET ready = ready + ?1, scheduled = scheduled + ?2, retrying = retrying + ?3, "
                            "running = running + ?4, dead = dead + ?5, enqueued = enqueued + ?6, finished = finished + ?7, "
                            "discarded = discarded + ?8, expired = expired + ?9, deleted = deleted + ?10, trimmed = trimmed + ?11, "
                            "moved_in = moved_in + ?12, moved_out = moved_out + ?13, retried = retried + ?14, died = died + ?15, "
                            "rescued = rescued + ?16, quarantined = quarantined + ?17, refused = refused + ?18, dropped = dropped + ?19, "
                            "diverted = diverted + ?20 WHERE id = ?21"};
  Statement queue_page{db, "SELECT id, name, ready, scheduled, retrying, running, dead, enqueued, finished, discarded, expired, deleted, "
                           "trimmed, moved_in, moved_out, retried, died, rescued, quarantined, refused, dropped, diverted "
                           "FROM dagverk_queue WHERE name > ?1 ORDER BY name LIMIT ?2"};
  Statement queue_sums{db, "SELECT 0, '', sum(ready), sum(scheduled), sum(retrying), sum(running), sum(dead), sum(enqueued), sum(finished), "
                           "sum(discarded), sum(expired), sum(deleted), sum(trimmed), sum(moved_in), sum(moved_out), sum(retried), "
                           "sum(died), sum(rescued), sum(quarantined), sum(refused), sum(dropped), sum(diverted) FROM dagverk_queue"};
  Statement queue_head{db, "SELECT enqueued_us FROM dagverk_job WHERE state = 0 AND queue = ?1 ORDER BY rank, id LIMIT 1"};

  Statement pause_insert{db, "INSERT INTO dagverk_pause(queue, since_us, paused_by, reason) VALUES(?1, ?2, ?3, ?4) ON CONFLICT(queue) DO NOTHING"};
  Statement pause_delete{db, "DELETE FROM dagverk_pause WHERE queue = ?1"};
  Statement pause_row{db, "SELECT since_us, paused_by, reason FROM dagverk_pause WHERE queue = ?1"};

  Statement cron_state{db, "SELECT version, leader, until_boot_us FROM dagverk_cron_state WHERE id = 1"};
  Statement cron_advance{db, "UPDATE dagverk_cron_state SET version = version + 1 WHERE id = 1"};
  Statement cron_lead{db, "UPDATE dagverk_cron_state SET leader = ?1, until_boot_us = ?2 WHERE id = 1"};
  Statement cron_row{db, "SELECT revision, last_us, paused_us FROM dagverk_cron WHERE name = ?1"};
  Statement cron_count{db, "SELECT count(*) FROM dagverk_cron"};
  // Whether all of an entry is the same, whether its slots are, and its last one.
  Statement cron_same{db, "SELECT schedule = ?2 AND zone = ?3 AND class = ?4 AND queue = ?5 AND missed = ?6 AND origin = ?7 AND "
                          "args = ?8, schedule = ?2 AND zone = ?3, last_us FROM dagverk_cron WHERE name = ?1"};
  Statement cron_put{db, "INSERT INTO dagverk_cron(name, schedule, zone, class, queue, missed, origin, args, last_us, revision) "
                         "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT(name) DO UPDATE SET schedule = ?2, zone = ?3, "
                         "class = ?4, queue = ?5, missed = ?6, origin = ?7, args = ?8, last_us = ?9, revision = ?10"};
  Statement cron_delete{db, "DELETE FROM dagverk_cron WHERE name = ?1"};
  Statement cron_list{db, "SELECT name, schedule, zone, class, queue, missed, origin, args, last_us, revision, paused_us, paused_by, "
                          "pause_reason FROM dagverk_cron ORDER BY name"};
  Statement cron_pause{db, "UPDATE dagverk_cron SET paused_us = ?2, paused_by = ?3, pause_reason = ?4, revision = ?5 WHERE name = ?1"};
  Statement cron_resume{db, "UPDATE dagverk_cron SET paused_us = NULL, paused_by = NULL, pause_reason = NULL, "
                            "last_us = max(last_us, ?2), revision = ?3 WHERE name = ?1"};
  Statement cron_fired{db, "UPDATE dagverk_cron SET last_us = ?2, revision = ?3 WHERE name = ?1"};

  // A key's jobs: those that run, up to ?2; those that wait for it, the first, the last, and all.
  Statement key_running{db, "SELECT count(*) FROM (SELECT 1 FROM dagverk_job WHERE limit_key = ?1 AND state = 3 LIMIT ?2)"};
  Statement key_first{db, "SELECT id, due_us FROM dagverk_job WHERE limit_key = ?1 AND state = 1 AND flags & 2 ORDER BY due_us, id LIMIT 1"};
  Statement key_last{db, "SELECT due_us FROM dagverk_job WHERE limit_key = ?1 AND state = 1 AND flags & 2 ORDER BY due_us DESC LIMIT 1"};
  Statement key_hold{db, "UPDATE dagverk_job SET id = ?1, state = 1, due_us = ?2, flags = flags | 2, enqueued_us = ?3 WHERE id = ?4"};
  Statement key_claim{db, "UPDATE dagverk_job SET state = 3, node = ?1, execution = ?2, started_us = ?3, flags = flags & ~2 WHERE id = ?4"};
  // The keys of a limit: ?1 is its name, ?2 what comes after all of them.
  Statement key_uses{db, "SELECT limit_key, sum(state = 3), sum(state = 1 AND flags & 2 <> 0) AS waiting FROM dagverk_job "
                         "WHERE limit_key >= ?1 AND limit_key < ?2 AND (limit_key = ?1 OR substr(limit_key, length(?1) + 1, 1) = ':') "
                         "GROUP BY limit_key HAVING sum(state = 3) > 0 OR waiting > 0 ORDER BY limit_key LIMIT ?3"};
  Statement key_look_again{db, "UPDATE dagverk_job SET due_us = ?3 WHERE id IN (SELECT id FROM dagverk_job "
                               "WHERE limit_key >= ?1 AND limit_key < ?2 AND state = 1 AND flags & 2 <> 0 AND "
                               "(limit_key = ?1 OR substr(limit_key, length(?1) + 1, 1) = ':') LIMIT 10000)"};
  Statement queue_running{db, "SELECT running FROM dagverk_queue WHERE id = ?1"};
  Statement queue_load{db, "SELECT running, ready, refused, dropped, diverted FROM dagverk_queue WHERE name = ?1"};
  Statement queue_ready{db, "SELECT ready FROM dagverk_queue WHERE id = ?1"};
  Statement limits_changed{db, "UPDATE dagverk_meta SET limit_changes = limit_changes + 1 WHERE id = 1"};
  Statement limit_list{db, "SELECT scope, name, slots, rate_count, rate_per_us, rate_kind, bound, when_full, divert_to FROM dagverk_limit "
                           "ORDER BY scope, name"};
  Statement limit_put{db, "INSERT OR REPLACE INTO dagverk_limit(scope, name, slots, rate_count, rate_per_us, rate_kind, bound, when_full, "
                          "divert_to) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"};
  Statement limit_delete{db, "DELETE FROM dagverk_limit WHERE scope = ?1 AND name = ?2"};
  Statement rate_row{db, "SELECT at_us, used FROM dagverk_rate WHERE scope = ?1 AND key = ?2"};
  Statement rate_put{db, "INSERT OR REPLACE INTO dagverk_rate(scope, key, at_us, used, over_us) VALUES(?1, ?2, ?3, ?4, ?5)"};
  Statement rate_forget{db, "DELETE FROM dagverk_rate WHERE scope = ?1 AND key = ?2"};
  Statement rate_forget_keys{db, "DELETE FROM dagverk_rate WHERE scope = ?1 AND key >= ?2 AND key < ?3"};
  // Those that are as if they had never been used.
  Statement rate_trim{db, "DELETE FROM dagverk_rate WHERE (scope, key) IN (SELECT scope, key FROM dagverk_rate WHERE over_us < ?1 "
                          "ORDER BY over_us LIMIT 1000)"};

  Statement job_insert{db, "INSERT INTO dagverk_job(id, state, queue, rank, flags, due_us, enqueued_us, jid, class, payload, limit_key) "
                           "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT(jid) DO NOTHING"};
  Statement job_restore{db, "INSERT INTO dagverk_job(id, state, queue, rank, flags, due_us, enqueued_us, rescues, jid, class, reason, payload, limit_key) "
                            "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT(jid) DO NOTHING"};
  Statement job_ready{db, "SELECT id, rank, flags, enqueued_us, rescues, jid, class, payload, limit_key FROM dagverk_job "
                          "WHERE state = 0 AND queue = ?1 ORDER BY rank, id LIMIT ?2"};
  Statement job_ready_ids{db, "SELECT id FROM dagverk_job WHERE state = 0 AND queue = ?1 ORDER BY rank, id LIMIT ?2"};
  // Of the lowest priority the one that would be taken next.
  Statement job_oldest{db, "SELECT id FROM dagverk_job WHERE state = 0 AND queue = ?1 AND rank >= "
                           "((SELECT max(rank) FROM dagverk_job WHERE state = 0 AND queue = ?1) & ~1) ORDER BY rank, id LIMIT 1"};
  Statement job_payload{db, "SELECT payload FROM dagverk_job WHERE id = ?1"};
  Statement job_move{db, "UPDATE dagverk_job SET id = ?1, queue = ?2, rank = ?3, payload = ?4 WHERE id = ?5"};
  Statement job_claim{db, "UPDATE dagverk_job SET state = 3, node = ?1, execution = ?2, started_us = ?3 WHERE id = ?4"};
  Statement job_row{db, "SELECT state, queue, rank, flags, node, execution, rescues, rescued_us, rescued_before_us, jid, class, limit_key "
                        "FROM dagverk_job WHERE id = ?1"};
  Statement job_id{db, "SELECT id FROM dagverk_job WHERE jid = ?1"};
  Statement job_delete{db, "DELETE FROM dagverk_job WHERE id = ?1"};
  Statement job_finish{db, "DELETE FROM dagverk_job WHERE id = ?1 AND execution = ?2 AND node = ?3 AND state = 3"};
  // Out of the hands of a node, to wherever.
  Statement job_settle{db, "UPDATE dagverk_job SET state = ?1, queue = ?2, rank = ?3, due_us = ?4, reason = ?5, node = NULL, "
                           "execution = NULL, started_us = NULL WHERE id = ?6"};
  Statement job_settle_payload{db, "UPDATE dagverk_job SET state = ?1, queue = ?2, rank = ?3, due_us = ?4, reason = ?5, node = NULL, "
                                   "execution = NULL, started_us = NULL, payload = ?7 WHERE id = ?6"};
  Statement job_rescue{db, "UPDATE dagverk_job SET state = ?1, rank = ?2, due_us = ?3, reason = ?4, node = NULL, execution = NULL, "
                           "started_us = NULL, rescues = ?5, rescued_us = ?6, rescued_before_us = ?7 WHERE id = ?8"};
  // Into its queue, behind all that is there: with a new id.
  Statement job_promote{db, "UPDATE dagverk_job SET id = ?1, state = 0, rank = ?2, due_us = NULL, reason = NULL, enqueued_us = ?3 "
                            "WHERE id = ?4"};
  Statement job_promote_payload{db, "UPDATE dagverk_job SET id = ?1, state = 0, rank = ?2, due_us = NULL, reason = NULL, "
                                    "enqueued_us = ?3, payload = ?5 WHERE id = ?4"};
  Statement job_scheduled_due{db, "SELECT id, due_us, queue, jid, class, payload FROM dagverk_job "
                                  "WHERE state = 1 AND due_us <= ?1 ORDER BY due_us, id LIMIT ?2"};
  Statement job_retrying_due{db, "SELECT id, due_us, queue, jid, class, payload FROM dagverk_job "
                                 "WHERE state = 2 AND due_us <= ?1 ORDER BY due_us, id LIMIT ?2"};
  Statement job_next_due{db, "SELECT min(due_us) FROM (SELECT * FROM (SELECT due_us FROM dagverk_job WHERE state = 1 AND due_us > ?1 "
                             "ORDER BY due_us LIMIT 1) UNION ALL SELECT * FROM (SELECT due_us FROM dagverk_job WHERE state = 2 AND "
                             "due_us > ?1 ORDER BY due_us LIMIT 1))"};
  Statement job_of_node{db, "SELECT id FROM dagverk_job WHERE state = 3 AND node = ?1 ORDER BY id LIMIT ?2"};
  Statement job_count_of_node{db, "SELECT count(*) FROM dagverk_job WHERE state = 3 AND node = ?1"};
  Statement job_oldest_dead{db, "SELECT id FROM dagverk_job WHERE state = 4 AND due_us <= ?1 ORDER BY due_us, id LIMIT ?2"};

  Statement job_whole{db, "SELECT id, state, queue, rank, flags, node, due_us, enqueued_us, started_us, rescues, jid, class, reason, payload, limit_key "
                          "FROM dagverk_job WHERE id = ?1"};
  Statement job_whole_by_jid{db, "SELECT id, state, queue, rank, flags, node, due_us, enqueued_us, started_us, rescues, jid, class, reason, "
                                 "payload, limit_key FROM dagverk_job WHERE jid = ?1"};

  // Pages: keys only, so that filtering reads no payloads. Columns: three key parts, queue, class. Two statements
  // each: the rest of the equal keys, then the greater ones; SQLite does not seek by a row value that ends in the row's
  // id.
  Statement list_ready_equal{db, "SELECT queue, rank, id, queue, class FROM dagverk_job WHERE state = 0 AND queue = ?1 AND rank = ?2 "
                                 "AND id > ?3 ORDER BY id LIMIT ?4"};
  Statement list_ready{db, "SELECT queue, rank, id, queue, class FROM dagverk_job WHERE state = 0 AND (queue, rank) > (?1, ?2) "
                           "AND queue <= ?3 ORDER BY queue, rank, id LIMIT ?4"};
  Statement list_running_equal{db, "SELECT node, id, 0, queue, class FROM dagverk_job WHERE state = 3 AND node = ?1 AND id > ?2 "
                                   "ORDER BY id LIMIT ?3"};
  Statement list_running{db, "SELECT node, id, 0, queue, class FROM dagverk_job WHERE state = 3 AND node > ?1 ORDER BY node, id LIMIT ?2"};
  Statement list_due_equal{db, "SELECT due_us, id, 0, queue, class FROM dagverk_job WHERE state = ?1 AND due_us = ?2 AND id > ?3 "
                               "ORDER BY id LIMIT ?4"};
  Statement list_due{db, "SELECT due_us, id, 0, queue, class FROM dagverk_job WHERE state = ?1 AND due_us > ?2 ORDER BY due_us, id LIMIT ?3"};

  Statement node_insert{db, "INSERT INTO dagverk_node(id, lock_name, name, detail, boot_id, lease_boot_us, registered_us, identity) "
                            "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"};
  Statement node_row{db, "SELECT boot_id, lease_boot_us, dead, lock_name, identity FROM dagverk_node WHERE id = ?1"};
  Statement node_renew{db, "UPDATE dagverk_node SET lease_boot_us = ?1, info = ?3, quiet = ?4, busy = ?5, resident = ?6, "
                           "round_trip_us = ?7, beat_us = ?8 WHERE id = ?2"};
  Statement node_detail{db, "UPDATE dagverk_node SET detail = ?1 WHERE id = ?2"};
  Statement node_mark{db, "UPDATE dagverk_node SET dead = 1 WHERE id = ?1"};
  Statement node_delete{db, "DELETE FROM dagverk_node WHERE id = ?1"};
  Statement node_list{db, "SELECT id, lock_name, boot_id, lease_boot_us, dead, name, detail, registered_us, identity, info, quiet, busy, "
                          "resident, round_trip_us, beat_us FROM dagverk_node ORDER BY id LIMIT 1000"};
  Statement node_known{db, "SELECT 1 FROM dagverk_node WHERE identity = ?1"};
  Statement node_jobs{db, "SELECT job.execution, queue.name, job.payload, job.started_us FROM dagverk_node AS node "
                          "JOIN dagverk_job AS job ON job.state = 3 AND job.node = node.id "
                          "JOIN dagverk_queue AS queue ON queue.id = job.queue "
                          "WHERE node.identity = ?1 ORDER BY node.id, job.id LIMIT ?2"};

  Statement record_keep{db, "INSERT INTO dagverk_record(jid, execution, updated_us, record) VALUES(?1, ?2, ?3, ?4) "
                            "ON CONFLICT(jid) DO UPDATE SET execution = excluded.execution, "
                            "updated_us = excluded.updated_us, record = excluded.record "
                            "WHERE excluded.execution >= dagverk_record.execution"};
  Statement record_read{db, "SELECT record FROM dagverk_record WHERE jid = ?1 AND updated_us >= ?2"};
  Statement record_trim_age{db, "DELETE FROM dagverk_record WHERE id IN (SELECT id FROM dagverk_record "
                                "WHERE updated_us < ?1 ORDER BY updated_us LIMIT 100)"};
  Statement record_trim_count{db, "DELETE FROM dagverk_record WHERE id IN (SELECT id FROM dagverk_record "
                                  "ORDER BY updated_us DESC LIMIT 1000 OFFSET ?1)"};
  Statement unique_row{db, "SELECT key, jid, until, taken_us, expires_us FROM dagverk_unique WHERE key = ?1"};
  Statement unique_page{db, "SELECT key, jid, until, taken_us, expires_us FROM dagverk_unique WHERE (expires_us, key) > (?1, ?2) "
                            "ORDER BY expires_us, key LIMIT ?3"};
  Statement unique_insert{db, "INSERT INTO dagverk_unique(key, jid, until, taken_us, expires_us) VALUES(?1, ?2, ?3, ?4, ?5)"};
  Statement unique_delete{db, "DELETE FROM dagverk_unique WHERE key = ?1"};
  Statement unique_free{db, "DELETE FROM dagverk_unique WHERE jid = ?1 AND until <= ?2"};
  Statement unique_again{db, "UPDATE dagverk_unique SET taken_us = ?2, expires_us = ?3 WHERE key = ?1"};
  Statement unique_expire{db, "DELETE FROM dagverk_unique WHERE key IN "
                              "(SELECT key FROM dagverk_unique WHERE expires_us <= ?1 ORDER BY expires_us LIMIT ?2)"};
  Statement job_reschedule{db, "UPDATE dagverk_job SET id = ?1, state = ?2, rank = ?3, due_us = ?4, enqueued_us = ?5 WHERE id = ?6"};
  Statement cancel_insert{db, "INSERT INTO dagverk_cancel(id, jid, birth) VALUES(?1, ?2, ?3) "
                              "ON CONFLICT(jid) DO UPDATE SET id = excluded.id, birth = excluded.birth"};
  Statement cancel_delete{db, "DELETE FROM dagverk_cancel WHERE jid = ?1"};
  Statement cancel_list{db, "SELECT jid, birth FROM dagverk_cancel ORDER BY id LIMIT ?1"};
  Statement cancel_newest{db, "SELECT max(id) FROM dagverk_cancel"};
  Statement signal_insert{db, "INSERT INTO dagverk_signal(identity, signal, sent_us) VALUES(?1, ?2, ?3)"};
  Statement signal_expire{db, "DELETE FROM dagverk_signal WHERE sent_us < ?1"};
  // All but the newest ?2 of a node.
  Statement signal_trim{db, "DELETE FROM dagverk_signal WHERE identity = ?1 AND id NOT IN "
                            "(SELECT id FROM dagverk_signal WHERE identity = ?1 ORDER BY id DESC LIMIT ?2)"};
  Statement signal_seen{db, "DELETE FROM dagverk_signal WHERE identity = ?1 AND told <> 0 AND told <= ?2"};
  Statement signal_list{db, "SELECT signal FROM dagverk_signal WHERE identity = ?1 ORDER BY id"};
  Statement signal_told{db, "UPDATE dagverk_signal SET told = ?2 WHERE identity = ?1"};

  Statement journal_insert{db, "INSERT INTO dagverk_journal(seq, kind, at_us, queue, jid, class, detail) "
                               "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)"};
  Statement journal_page{db, "SELECT seq, kind, at_us, queue, jid, class, detail FROM dagverk_journal WHERE seq > ?1 ORDER BY seq LIMIT ?2"};
  Statement journal_next{db, "SELECT seq FROM dagverk_journal WHERE seq > ?1 ORDER BY seq LIMIT 1"};
  Statement journal_jids{db, "SELECT jid FROM dagverk_journal WHERE seq >= ?1 AND seq < ?2"};
  Statement block_insert{db, "INSERT OR REPLACE INTO dagverk_journal_block(block, filter) VALUES(?1, ?2)"};
  Statement block_filter{db, "SELECT filter FROM dagverk_journal_block WHERE block = ?1"};
  Statement block_trim{db, "DELETE FROM dagverk_journal_block WHERE block < ?1"};
  Statement journal_oldest{db, "SELECT at_us FROM dagverk_journal ORDER BY seq LIMIT 1"};
  // The last of the oldest ?1 rows, among those written before ?2.
  Statement journal_cut{db, "SELECT max(seq) FROM (SELECT seq, at_us FROM dagverk_journal ORDER BY seq LIMIT ?1) WHERE at_us < ?2"};
  Statement journal_trim{db, "DELETE FROM dagverk_journal WHERE seq <= ?1"};
};
// clang-format on

}  // namespace dagverk::stores
