CREATE TABLE schema_version (
  number INTEGER PRIMARY KEY,
  program TEXT NOT NULL
) STRICT;

-- What stands once for the whole store.
CREATE TABLE document (
  name TEXT PRIMARY KEY,
  body TEXT NOT NULL,
  mac BLOB NOT NULL
) STRICT;

-- The latest time that was recorded; the clock never goes back behind it.
CREATE TABLE recorded_time (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  at INTEGER NOT NULL
) STRICT;
INSERT INTO recorded_time (one, at) VALUES (1, 0);

CREATE TABLE tenant (
  tenant_id TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  authority INTEGER NOT NULL,
  removed_at INTEGER,
  version INTEGER NOT NULL,
  state TEXT NOT NULL,
  mac BLOB NOT NULL,
  PRIMARY KEY (tenant_id, incarnation)
) STRICT;

CREATE TABLE tenant_status (
  tenant_id TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  status TEXT NOT NULL,
  deadline INTEGER,
  released INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, incarnation),
  FOREIGN KEY (tenant_id, incarnation) REFERENCES tenant (tenant_id, incarnation)
) STRICT;

CREATE TABLE tenant_commit (
  tenant_id TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  commit_id TEXT NOT NULL,
  generation INTEGER NOT NULL,
  applied_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, incarnation, commit_id),
  FOREIGN KEY (tenant_id, incarnation) REFERENCES tenant (tenant_id, incarnation)
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
  tenant_id TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  run_id TEXT NOT NULL,
  workflow TEXT NOT NULL,
  trigger_kind TEXT NOT NULL,
  trigger_key TEXT NOT NULL,
  trigger_time INTEGER NOT NULL,
  commit_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  concurrency TEXT,
  phase TEXT NOT NULL,
  outcome TEXT,
  begun INTEGER NOT NULL,
  wake_at INTEGER,
  state TEXT NOT NULL,
  PRIMARY KEY (tenant_id, incarnation, run_id),
  UNIQUE (tenant_id, incarnation, workflow, trigger_kind, trigger_key),
  FOREIGN KEY (tenant_id, incarnation) REFERENCES tenant (tenant_id, incarnation)
) STRICT;
CREATE INDEX run_live ON run (tenant_id, incarnation, workflow, created_at, run_id) WHERE phase <> 'ended';
CREATE INDEX run_active ON run (tenant_id, incarnation) WHERE phase <> 'ended' AND begun = 1;
-- The one index that leads with a time: the clock ticks for all tenants.
CREATE INDEX run_wake ON run (wake_at, tenant_id, incarnation, run_id) WHERE wake_at IS NOT NULL;

CREATE TABLE run_pins (
  tenant_id TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  run_id TEXT NOT NULL,
  pins TEXT NOT NULL,
  PRIMARY KEY (tenant_id, incarnation, run_id),
  FOREIGN KEY (tenant_id, incarnation, run_id) REFERENCES run (tenant_id, incarnation, run_id)
) STRICT;

-- Thin, and short-lived: a row goes when its attempt ends.
CREATE TABLE job (
  tenant_id TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  run_id TEXT NOT NULL,
  step TEXT NOT NULL,
  item INTEGER NOT NULL,
  workflow TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  queued_at INTEGER NOT NULL,
  begun INTEGER NOT NULL,
  worker TEXT,
  lease_until INTEGER,
  cancel INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, incarnation, run_id, step, item),
  FOREIGN KEY (tenant_id, incarnation, run_id) REFERENCES run (tenant_id, incarnation, run_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_queued ON job (tenant_id, incarnation, begun DESC, queued_at, run_id, step, item, workflow)
  WHERE worker IS NULL;
CREATE INDEX job_held ON job (worker, tenant_id, incarnation, run_id, step, item) WHERE worker IS NOT NULL;

CREATE TABLE turn (
  tenant_id TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  virtual_time INTEGER NOT NULL,
  busy INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, incarnation),
  FOREIGN KEY (tenant_id, incarnation) REFERENCES tenant (tenant_id, incarnation)
) STRICT, WITHOUT ROWID;
CREATE INDEX turn_busy ON turn (tenant_id, incarnation, virtual_time) WHERE busy = 1;

CREATE TABLE attempt (
  tenant_id TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  run_id TEXT NOT NULL,
  step TEXT NOT NULL,
  item INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  worker TEXT NOT NULL,
  leased_at INTEGER NOT NULL,
  ended_at INTEGER,
  outcome TEXT,
  reason TEXT,
  outputs TEXT NOT NULL,
  record TEXT,
  PRIMARY KEY (tenant_id, incarnation, run_id, step, item, attempt),
  FOREIGN KEY (tenant_id, incarnation, run_id) REFERENCES run (tenant_id, incarnation, run_id)
) STRICT;

CREATE TABLE schedule_cursor (
  tenant_id TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  workflow TEXT NOT NULL,
  entry TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, incarnation, workflow, entry),
  FOREIGN KEY (tenant_id, incarnation) REFERENCES tenant (tenant_id, incarnation)
) STRICT, WITHOUT ROWID;

-- No foreign key: the platform has a chain of its own under the reserved name `platform`.
CREATE TABLE audit (
  tenant_id TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  record TEXT NOT NULL,
  hash TEXT NOT NULL,
  PRIMARY KEY (tenant_id, incarnation, sequence)
) STRICT;
