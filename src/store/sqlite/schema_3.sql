-- What a run was given and wrote stands in clear only while it lives. Once it is over its rows hold none of it: it is
-- encrypted to the tenant's recipients here, or kept nowhere. `closed` says that this was done.
ALTER TABLE run ADD COLUMN closed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX run_unclosed ON run (tenant_id, incarnation, run_id) WHERE phase = 'ended' AND closed = 0;

CREATE TABLE run_payload (
  tenant_id TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  run_id TEXT NOT NULL,
  sealed TEXT NOT NULL,
  kept_until INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, incarnation, run_id),
  FOREIGN KEY (tenant_id, incarnation, run_id) REFERENCES run (tenant_id, incarnation, run_id)
) STRICT;
CREATE INDEX run_payload_until ON run_payload (kept_until, tenant_id, incarnation, run_id);
