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

/// Rows a filtered listing or journal reading looks at before it answers with what it has.
inline constexpr std::int64_t scan_limit = 10'000;

struct Engine::Queue {
  std::int64_t id = 0;
  std::string name;
  bool touched = false;
  std::array<std::int64_t, count_kinds> delta{};
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

  [[nodiscard]] bool journaled() const noexcept { return (flags & flag_journaled) != 0; }
};

// clang-format off
struct Engine::Statements {
  explicit Statements(Database& d) : db(d) {}
  Database& db;

  Statement begin{db, "BEGIN IMMEDIATE"};
  Statement begin_read{db, "BEGIN"};
  Statement commit{db, "COMMIT"};
  Statement data_version{db, "PRAGMA data_version"};
  Statement page_count{db, "PRAGMA page_count"};
  Statement freelist_count{db, "PRAGMA freelist_count"};

  Statement meta{db, "SELECT next_id, next_seq, journal_rows, dead, queues, duplicates, refused, trimmed_seq FROM dagverk_meta WHERE id = 1"};
  Statement meta_update{db, "UPDATE dagverk_meta SET next_id = ?1, next_seq = ?2, journal_rows = ?3, dead = ?4, queues = ?5, "
                            "duplicates = duplicates + ?6, refused = refused + ?7 WHERE id = 1"};
  Statement trimmed_seq{db, "UPDATE dagverk_meta SET trimmed_seq = max(trimmed_seq, ?1) WHERE id = 1"};

  Statement queue_by_name{db, "SELECT id FROM dagverk_queue WHERE name = ?1"};
  Statement queue_by_id{db, "SELECT name FROM dagverk_queue WHERE id = ?1"};
  Statement queue_insert{db, "INSERT INTO dagverk_queue(id, name) VALUES(?1, ?2)"};
  Statement queue_count{db, "UPDATE dagverk_queue SET ready = ready + ?1, scheduled = scheduled + ?2, retrying = retrying + ?3, "
                            "running = running + ?4, dead = dead + ?5, enqueued = enqueued + ?6, finished = finished + ?7, "
                            "discarded = discarded + ?8, expired = expired + ?9, deleted = deleted + ?10, trimmed = trimmed + ?11, "
                            "moved_in = moved_in + ?12, moved_out = moved_out + ?13, retried = retried + ?14, died = died + ?15, "
                            "rescued = rescued + ?16, quarantined = quarantined + ?17 WHERE id = ?18"};
  Statement queue_page{db, "SELECT id, name, ready, scheduled, retrying, running, dead, enqueued, finished, discarded, expired, deleted, "
                           "trimmed, moved_in, moved_out, retried, died, rescued, quarantined "
                           "FROM dagverk_queue WHERE name > ?1 ORDER BY name LIMIT ?2"};
  Statement queue_sums{db, "SELECT 0, '', sum(ready), sum(scheduled), sum(retrying), sum(running), sum(dead), sum(enqueued), sum(finished), "
                           "sum(discarded), sum(expired), sum(deleted), sum(trimmed), sum(moved_in), sum(moved_out), sum(retried), "
                           "sum(died), sum(rescued), sum(quarantined) FROM dagverk_queue"};
  Statement queue_head{db, "SELECT enqueued_us FROM dagverk_job WHERE state = 0 AND queue = ?1 ORDER BY rank, id LIMIT 1"};

  Statement job_insert{db, "INSERT INTO dagverk_job(id, state, queue, rank, flags, due_us, enqueued_us, jid, class, payload) "
                           "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT(jid) DO NOTHING"};
  Statement job_ready{db, "SELECT id, rank, flags, enqueued_us, rescues, jid, class, payload FROM dagverk_job "
                          "WHERE state = 0 AND queue = ?1 ORDER BY rank, id LIMIT ?2"};
  Statement job_claim{db, "UPDATE dagverk_job SET state = 3, node = ?1, execution = ?2, started_us = ?3 WHERE id = ?4"};
  Statement job_row{db, "SELECT state, queue, rank, flags, node, execution, rescues, rescued_us, rescued_before_us, jid, class "
                        "FROM dagverk_job WHERE id = ?1"};
  Statement job_id{db, "SELECT id FROM dagverk_job WHERE jid = ?1"};
  Statement job_delete{db, "DELETE FROM dagverk_job WHERE id = ?1"};
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

  Statement job_whole{db, "SELECT id, state, queue, rank, flags, node, due_us, enqueued_us, started_us, rescues, jid, class, reason, payload "
                          "FROM dagverk_job WHERE id = ?1"};
  Statement job_whole_by_jid{db, "SELECT id, state, queue, rank, flags, node, due_us, enqueued_us, started_us, rescues, jid, class, reason, "
                                 "payload FROM dagverk_job WHERE jid = ?1"};

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

  Statement node_insert{db, "INSERT INTO dagverk_node(id, lock_name, name, detail, boot_id, lease_boot_us, registered_us) "
                            "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)"};
  Statement node_row{db, "SELECT boot_id, lease_boot_us, dead, lock_name FROM dagverk_node WHERE id = ?1"};
  Statement node_renew{db, "UPDATE dagverk_node SET lease_boot_us = ?1 WHERE id = ?2"};
  Statement node_detail{db, "UPDATE dagverk_node SET detail = ?1 WHERE id = ?2"};
  Statement node_mark{db, "UPDATE dagverk_node SET dead = 1 WHERE id = ?1"};
  Statement node_delete{db, "DELETE FROM dagverk_node WHERE id = ?1"};
  Statement node_list{db, "SELECT id, lock_name, boot_id, lease_boot_us, dead, name, detail, registered_us FROM dagverk_node "
                          "ORDER BY id LIMIT 1000"};

  Statement journal_insert{db, "INSERT INTO dagverk_journal(seq, kind, at_us, queue, jid, class, detail) "
                               "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)"};
  Statement journal_page{db, "SELECT seq, kind, at_us, queue, jid, class, detail FROM dagverk_journal WHERE seq > ?1 ORDER BY seq LIMIT ?2"};
  Statement journal_oldest{db, "SELECT at_us FROM dagverk_journal ORDER BY seq LIMIT 1"};
  // The last of the oldest ?1 rows, among those written before ?2.
  Statement journal_cut{db, "SELECT max(seq) FROM (SELECT seq, at_us FROM dagverk_journal ORDER BY seq LIMIT ?1) WHERE at_us < ?2"};
  Statement journal_trim{db, "DELETE FROM dagverk_journal WHERE seq <= ?1"};
};
// clang-format on

}  // namespace dagverk::stores
