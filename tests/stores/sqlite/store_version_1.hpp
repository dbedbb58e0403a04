#pragma once

namespace dagverk::stores {

/// A store as version 1 of the layout made it, with a job in each state, the running one by a node of another boot. It
/// stands for files of users: it never changes.
inline constexpr const char* store_version_1 = R"sql(
PRAGMA page_size = 4096;
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE dagverk_meta(
  id INTEGER PRIMARY KEY CHECK(id = 1),
  schema_version INTEGER NOT NULL,
  store_id TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  next_id INTEGER NOT NULL DEFAULT 1,
  next_seq INTEGER NOT NULL DEFAULT 1,
  journal_rows INTEGER NOT NULL DEFAULT 0,
  trimmed_seq INTEGER NOT NULL DEFAULT 0,
  dead INTEGER NOT NULL DEFAULT 0,
  queues INTEGER NOT NULL DEFAULT 0,
  duplicates INTEGER NOT NULL DEFAULT 0,
  refused INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE dagverk_queue(
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  ready INTEGER NOT NULL DEFAULT 0,
  scheduled INTEGER NOT NULL DEFAULT 0,
  retrying INTEGER NOT NULL DEFAULT 0,
  running INTEGER NOT NULL DEFAULT 0,
  dead INTEGER NOT NULL DEFAULT 0,
  enqueued INTEGER NOT NULL DEFAULT 0,
  finished INTEGER NOT NULL DEFAULT 0,
  discarded INTEGER NOT NULL DEFAULT 0,
  expired INTEGER NOT NULL DEFAULT 0,
  deleted INTEGER NOT NULL DEFAULT 0,
  trimmed INTEGER NOT NULL DEFAULT 0,
  moved_in INTEGER NOT NULL DEFAULT 0,
  moved_out INTEGER NOT NULL DEFAULT 0,
  retried INTEGER NOT NULL DEFAULT 0,
  died INTEGER NOT NULL DEFAULT 0,
  rescued INTEGER NOT NULL DEFAULT 0,
  quarantined INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE dagverk_node(
  id INTEGER PRIMARY KEY,
  lock_name TEXT NOT NULL,
  name TEXT NOT NULL,
  detail TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  lease_boot_us INTEGER NOT NULL,
  registered_us INTEGER NOT NULL,
  dead INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE dagverk_job(
  id INTEGER PRIMARY KEY,
  state INTEGER NOT NULL,
  queue INTEGER NOT NULL,
  rank INTEGER NOT NULL,
  flags INTEGER NOT NULL,
  node INTEGER,
  execution INTEGER,
  due_us INTEGER,
  enqueued_us INTEGER NOT NULL,
  started_us INTEGER,
  rescues INTEGER NOT NULL DEFAULT 0,
  rescued_us INTEGER,
  rescued_before_us INTEGER,
  jid TEXT NOT NULL,
  class TEXT NOT NULL,
  reason TEXT,
  payload BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX dagverk_job_jid ON dagverk_job(jid);
CREATE INDEX dagverk_job_ready ON dagverk_job(queue, rank) WHERE state = 0;
CREATE INDEX dagverk_job_running ON dagverk_job(node) WHERE state = 3;
CREATE INDEX dagverk_job_due ON dagverk_job(state, due_us) WHERE due_us IS NOT NULL;

CREATE TABLE dagverk_journal(
  seq INTEGER PRIMARY KEY,
  kind INTEGER NOT NULL,
  at_us INTEGER NOT NULL,
  queue INTEGER NOT NULL,
  jid TEXT NOT NULL,
  class TEXT NOT NULL,
  detail TEXT NOT NULL
) STRICT;

PRAGMA application_id = 1145525809;
INSERT INTO dagverk_meta(id, schema_version, store_id, boot_id, next_id, next_seq, journal_rows, dead, queues, duplicates)
  VALUES(1, 1, '00c0ffee00c0ffee', 'a-boot-of-long-ago', 100, 4, 3, 1, 1, 2);
INSERT INTO dagverk_queue(id, name, ready, scheduled, retrying, running, dead, enqueued, finished)
  VALUES(1, 'mail', 1, 1, 1, 1, 1, 9, 4);
INSERT INTO dagverk_node(id, lock_name, name, detail, boot_id, lease_boot_us, registered_us)
  VALUES(7, '0123456789abcdef', 'web-1', 'pid 1', 'a-boot-of-long-ago', 1, 1);
INSERT INTO dagverk_job(id, state, queue, rank, flags, node, execution, due_us, enqueued_us, started_us, jid, class, reason, payload)
  VALUES(11, 0, 1, 1, 1, NULL, NULL, NULL, 1000000, NULL, 'ready', 'Send', NULL, CAST('{"class":"Send","args":[1],"jid":"ready"}' AS BLOB)),
        (12, 1, 1, 1, 1, NULL, NULL, 4000000000000000, 1000000, NULL, 'scheduled', 'Send', NULL, CAST('{"class":"Send","args":[2],"jid":"scheduled"}' AS BLOB)),
        (13, 2, 1, 1, 1, NULL, NULL, 4000000000000000, 1000000, NULL, 'retrying', 'Send', NULL, CAST('{"class":"Send","args":[3],"jid":"retrying"}' AS BLOB)),
        (14, 3, 1, 1, 1, 7, 20, NULL, 1000000, 2000000, 'running', 'Send', NULL, CAST('{"class":"Send","args":[4],"jid":"running"}' AS BLOB)),
        (15, 4, 1, 1, 1, NULL, NULL, 4000000000000000, 1000000, NULL, 'dead', 'Send', 'gave up', CAST('{"class":"Send","args":[5],"jid":"dead"}' AS BLOB));
INSERT INTO dagverk_journal(seq, kind, at_us, queue, jid, class, detail)
  VALUES(1, 1, 1000000, 1, 'ready', 'Send', ''), (2, 1, 1000000, 1, 'dead', 'Send', ''), (3, 1, 1000000, 1, 'running', 'Send', '');
COMMIT;
)sql";

}  // namespace dagverk::stores
