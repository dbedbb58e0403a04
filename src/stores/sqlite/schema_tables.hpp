#pragma once

namespace dagverk::stores {

// Every table has our prefix: the file may one day be shared with an application's own tables, so the version lives in
// a table of ours and not in `user_version`, which belongs to whoever made the file.
//
// dagverk_job.state: 0 ready, 1 scheduled, 2 retrying, 3 running, 4 dead. flags: bit 0 = journaled, bit 1 = held back
// by the limit of its key.
// rank: order within a queue, lower first: -2 x priority + 1, one less when the job was given back.
// Times are microseconds: `_us` since the Unix epoch, `_boot_us` since the boot named beside it.
//
// A new file gets these; an older one gets there by the steps of migrations.cpp. A table that a version brings has one
// text for both; a column that it adds to a table of before is here at the end of that table, and in the step.

/// The tables that version 1 had, with all that was added to them since.
inline constexpr const char* tables_of_version_1 = R"sql(
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
  refused INTEGER NOT NULL DEFAULT 0,
  ready_commits INTEGER NOT NULL DEFAULT 0,
  bell_changes INTEGER NOT NULL DEFAULT 0,
  unique_held INTEGER NOT NULL DEFAULT 0,
  unique_refused INTEGER NOT NULL DEFAULT 0,
  limit_changes INTEGER NOT NULL DEFAULT 0
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
  quarantined INTEGER NOT NULL DEFAULT 0,
  refused INTEGER NOT NULL DEFAULT 0,
  dropped INTEGER NOT NULL DEFAULT 0,
  diverted INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE dagverk_node(
  id INTEGER PRIMARY KEY,
  lock_name TEXT NOT NULL,
  name TEXT NOT NULL,
  detail TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  lease_boot_us INTEGER NOT NULL,
  registered_us INTEGER NOT NULL,
  dead INTEGER NOT NULL DEFAULT 0,
  identity TEXT NOT NULL DEFAULT '',
  info TEXT NOT NULL DEFAULT '',
  quiet INTEGER NOT NULL DEFAULT 0,
  busy INTEGER NOT NULL DEFAULT 0,
  resident INTEGER NOT NULL DEFAULT 0,
  round_trip_us INTEGER NOT NULL DEFAULT 0,
  beat_us INTEGER
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
  payload BLOB NOT NULL,
  limit_key TEXT
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
)sql";

/// The tables that version 2 brought.
inline constexpr const char* tables_of_version_2 = R"sql(
CREATE TABLE dagverk_pause(
  queue INTEGER PRIMARY KEY,
  since_us INTEGER NOT NULL,
  paused_by TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;

CREATE TABLE dagverk_signal(
  id INTEGER PRIMARY KEY,
  identity TEXT NOT NULL,
  signal INTEGER NOT NULL,
  sent_us INTEGER NOT NULL,
  told INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE dagverk_cancel(
  id INTEGER PRIMARY KEY,
  jid TEXT NOT NULL UNIQUE,
  birth TEXT NOT NULL
) STRICT;

CREATE TABLE dagverk_cron(
  name TEXT PRIMARY KEY,
  schedule TEXT NOT NULL,
  zone TEXT NOT NULL,
  class TEXT NOT NULL,
  queue TEXT NOT NULL,
  missed INTEGER NOT NULL,
  origin TEXT NOT NULL,
  args BLOB NOT NULL,
  last_us INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  paused_us INTEGER,
  paused_by TEXT,
  pause_reason TEXT
) STRICT;

CREATE TABLE dagverk_cron_state(
  id INTEGER PRIMARY KEY CHECK(id = 1),
  version INTEGER NOT NULL DEFAULT 0,
  leader TEXT NOT NULL DEFAULT '',
  until_boot_us INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO dagverk_cron_state(id) VALUES(1);

CREATE TABLE dagverk_record(
  id INTEGER PRIMARY KEY,
  jid TEXT NOT NULL UNIQUE,
  execution INTEGER NOT NULL,
  updated_us INTEGER NOT NULL,
  record TEXT NOT NULL
) STRICT;
CREATE INDEX dagverk_record_updated ON dagverk_record(updated_us);

CREATE TABLE dagverk_unique(
  key TEXT PRIMARY KEY,
  jid TEXT NOT NULL,
  until INTEGER NOT NULL,
  taken_us INTEGER NOT NULL,
  expires_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX dagverk_unique_jid ON dagverk_unique(jid);
CREATE INDEX dagverk_unique_expires ON dagverk_unique(expires_us);

CREATE TABLE dagverk_bell(
  name TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE dagverk_journal_block(
  block INTEGER PRIMARY KEY,
  filter BLOB NOT NULL
) STRICT;
)sql";

/// The tables that version 3 brought.
inline constexpr const char* tables_of_version_3 = R"sql(
CREATE TABLE dagverk_limit(
  scope INTEGER NOT NULL,
  name TEXT NOT NULL,
  slots INTEGER,
  rate_count INTEGER,
  rate_per_us INTEGER,
  rate_kind INTEGER,
  bound INTEGER,
  when_full INTEGER,
  divert_to TEXT,
  PRIMARY KEY(scope, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE dagverk_rate(
  scope INTEGER NOT NULL,
  key TEXT NOT NULL,
  at_us INTEGER NOT NULL,
  used INTEGER NOT NULL,
  over_us INTEGER NOT NULL,
  PRIMARY KEY(scope, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX dagverk_rate_over ON dagverk_rate(over_us);

CREATE INDEX dagverk_job_limit ON dagverk_job(limit_key, state, due_us) WHERE limit_key IS NOT NULL;
)sql";

}  // namespace dagverk::stores
