//! Every statement, by name. A test prepares them all on a fresh database.

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$doc])* pub(super) const $name: &str = $sql;)*
        /// All of them, for the test.
        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

/// The columns of a run, in the order in which rows are read.
macro_rules! run_columns {
    () => {
        "run_id, workflow, trigger_kind, trigger_key, trigger_time, commit_id, created_at, concurrency, \
         wake_at, state"
    };
}

/// The columns of a job, in the order in which rows are read.
macro_rules! job_columns {
    () => {
        "tenant_id, incarnation, run_id, step, item, workflow, attempt, queued_at, begun, worker, \
         lease_until, cancel"
    };
}

/// The columns of an attempt, in the order in which rows are read.
macro_rules! attempt_columns {
    () => {
        "run_id, step, item, attempt, worker, leased_at, ended_at, outcome, reason, outputs, record"
    };
}

statements! {
    RECORDED = "SELECT at FROM recorded_time WHERE one = 1";
    RECORD_TIME = "UPDATE recorded_time SET at = max(at, ?1) WHERE one = 1";

    TENANT_VERSION = "SELECT incarnation, version FROM tenant WHERE tenant_id = ?1 \
        ORDER BY incarnation DESC LIMIT 1";
    TENANT_STATE = "SELECT state, mac FROM tenant WHERE tenant_id = ?1 AND incarnation = ?2";
    PUT_TENANT = "INSERT INTO tenant (tenant_id, incarnation, authority, removed_at, version, state, mac) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (tenant_id, incarnation) DO UPDATE SET \
        authority = excluded.authority, removed_at = excluded.removed_at, version = excluded.version, \
        state = excluded.state, mac = excluded.mac";
    TENANT_NAMES = "SELECT DISTINCT tenant_id FROM tenant";
    VERSION_MAX = "SELECT coalesce(max(version), 0) FROM tenant";
    HEAD = "SELECT t.incarnation, t.authority, t.removed_at, s.status, s.deadline, s.released \
        FROM tenant t JOIN tenant_status s ON s.tenant_id = t.tenant_id AND s.incarnation = t.incarnation \
        WHERE t.tenant_id = ?1 ORDER BY t.incarnation DESC LIMIT 1";
    OUTLOOK = "SELECT status, deadline, released FROM tenant_status WHERE tenant_id = ?1 AND incarnation = ?2";
    PUT_OUTLOOK = "INSERT INTO tenant_status (tenant_id, incarnation, status, deadline, released) \
        VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (tenant_id, incarnation) DO UPDATE SET \
        status = excluded.status, deadline = excluded.deadline, released = excluded.released";
    PUT_COMMIT = "INSERT INTO tenant_commit (tenant_id, incarnation, commit_id, generation, applied_at, code, \
        mac) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (tenant_id, incarnation, commit_id) DO UPDATE SET \
        generation = excluded.generation, applied_at = excluded.applied_at, code = excluded.code, \
        mac = excluded.mac";
    FORGET_CODE = "UPDATE tenant_commit SET code = NULL, mac = NULL \
        WHERE tenant_id = ?1 AND incarnation = ?2 AND generation = ?3 AND code IS NOT NULL";
    COMMITS = "SELECT commit_id, generation, applied_at FROM tenant_commit \
        WHERE tenant_id = ?1 AND incarnation = ?2 AND substr(commit_id, 1, length(?3)) = ?3 \
        ORDER BY generation DESC, applied_at DESC, commit_id LIMIT ?4";
    CODE = "SELECT code, mac FROM tenant_commit \
        WHERE tenant_id = ?1 AND incarnation = ?2 AND commit_id = ?3 AND code IS NOT NULL";
    DOCUMENT = "SELECT body, mac FROM document WHERE name = ?1";
    PUT_DOCUMENT = "INSERT INTO document (name, body, mac) VALUES (?1, ?2, ?3) \
        ON CONFLICT (name) DO UPDATE SET body = excluded.body, mac = excluded.mac";

    ADD_RUN = "INSERT INTO run (tenant_id, incarnation, run_id, workflow, trigger_kind, trigger_key, \
        trigger_time, commit_id, created_at, concurrency, phase, outcome, begun, wake_at, state) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) \
        ON CONFLICT (tenant_id, incarnation, workflow, trigger_kind, trigger_key) DO NOTHING";
    RUN_OF_TRIGGER = "SELECT run_id FROM run WHERE tenant_id = ?1 AND incarnation = ?2 AND workflow = ?3 \
        AND trigger_kind = ?4 AND trigger_key = ?5";
    ADD_PINS = "INSERT INTO run_pins (tenant_id, incarnation, run_id, pins) VALUES (?1, ?2, ?3, ?4)";
    PINS = "SELECT pins FROM run_pins WHERE tenant_id = ?1 AND incarnation = ?2 AND run_id = ?3";
    RUN = concat!("SELECT ", run_columns!(), " FROM run \
        WHERE tenant_id = ?1 AND incarnation = ?2 AND run_id = ?3");
    PUT_RUN = "UPDATE run SET phase = ?4, outcome = ?5, begun = ?6, wake_at = ?7, state = ?8, closed = ?9 \
        WHERE tenant_id = ?1 AND incarnation = ?2 AND run_id = ?3";
    PUT_PINS = "UPDATE run_pins SET pins = ?4 WHERE tenant_id = ?1 AND incarnation = ?2 AND run_id = ?3";
    UNCLOSED = "SELECT tenant_id, incarnation, run_id FROM run INDEXED BY run_unclosed \
        WHERE phase = 'ended' AND closed = 0 ORDER BY tenant_id, incarnation, run_id LIMIT ?1";
    SET_ASIDE = "UPDATE run SET closed = 1 WHERE tenant_id = ?1 AND incarnation = ?2 AND run_id = ?3";
    CLEAR_OUTPUTS = "UPDATE attempt SET outputs = 'null' WHERE tenant_id = ?1 AND incarnation = ?2 \
        AND run_id = ?3 AND outputs <> 'null'";
    PUT_PAYLOAD = "INSERT INTO run_payload (tenant_id, incarnation, run_id, sealed, kept_until) \
        VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (tenant_id, incarnation, run_id) DO UPDATE SET \
        sealed = excluded.sealed, kept_until = excluded.kept_until";
    PAYLOAD = "SELECT sealed FROM run_payload WHERE tenant_id = ?1 AND incarnation = ?2 AND run_id = ?3";
    REMOVE_PAYLOAD = "DELETE FROM run_payload WHERE tenant_id = ?1 AND incarnation = ?2 AND run_id = ?3";
    OVERDUE_PAYLOADS = "SELECT tenant_id, incarnation, run_id FROM run_payload WHERE kept_until <= ?1 \
        ORDER BY kept_until, tenant_id, incarnation, run_id LIMIT ?2";
    LIVE_RUNS = concat!("SELECT ", run_columns!(), " FROM run WHERE tenant_id = ?1 AND incarnation = ?2 \
        AND phase <> 'ended' AND (?3 IS NULL OR workflow = ?3) ORDER BY created_at, run_id");
    SHARING = concat!("SELECT ", run_columns!(), " FROM run WHERE tenant_id = ?1 AND incarnation = ?2 \
        AND workflow = ?3 AND concurrency = ?4 AND phase <> 'ended' ORDER BY created_at, run_id");
    ACTIVE_COUNT = "SELECT count(*) FROM run WHERE tenant_id = ?1 AND incarnation = ?2 \
        AND phase <> 'ended' AND begun = 1";
    HAS_LIVE = "SELECT 1 FROM run WHERE tenant_id = ?1 AND incarnation = ?2 AND workflow = ?3 \
        AND trigger_kind = ?4 AND phase <> 'ended' LIMIT 1";
    DUE = "SELECT tenant_id, incarnation, run_id FROM run WHERE wake_at <= ?1 \
        ORDER BY wake_at, tenant_id, incarnation, run_id LIMIT ?2";
    NEXT_WAKE = "SELECT min(wake_at) FROM run WHERE wake_at IS NOT NULL";
    LIST = concat!("SELECT ", run_columns!(), " FROM run WHERE tenant_id = ?1 AND incarnation = ?2 \
        AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR commit_id = ?4) \
        AND (?5 = 0 OR outcome IN ('failure', 'error', 'timed_out')) \
        AND (?6 IS NULL OR substr(run_id, -length(?6)) = ?6) AND (?7 IS NULL OR run_id < ?7) \
        ORDER BY run_id DESC LIMIT ?8");
    // The phase is written out, so that the index of runs that are not over answers it.
    LIST_OPEN = concat!("SELECT ", run_columns!(), " FROM run WHERE tenant_id = ?1 AND incarnation = ?2 AND phase <> 'ended' \
        AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR commit_id = ?4) \
        AND (?5 = 0 OR outcome IN ('failure', 'error', 'timed_out')) \
        AND (?6 IS NULL OR substr(run_id, -length(?6)) = ?6) AND (?7 IS NULL OR run_id < ?7) \
        ORDER BY run_id DESC LIMIT ?8");

    PUT_JOB = "INSERT INTO job (tenant_id, incarnation, run_id, step, item, workflow, attempt, queued_at, \
        begun, worker, lease_until, cancel) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
        ON CONFLICT (tenant_id, incarnation, run_id, step, item) DO UPDATE SET attempt = excluded.attempt, \
        queued_at = excluded.queued_at, begun = excluded.begun, worker = excluded.worker, \
        lease_until = excluded.lease_until, cancel = excluded.cancel";
    HOLD_JOB = "UPDATE job SET lease_until = ?6, cancel = ?7 WHERE tenant_id = ?1 AND incarnation = ?2 \
        AND run_id = ?3 AND step = ?4 AND item = ?5 AND worker IS NOT NULL";
    HELD_BY = concat!("SELECT ", job_columns!(), " FROM job WHERE worker = ?1 \
        ORDER BY tenant_id, incarnation, run_id, step, item");
    REMOVE_JOB = "DELETE FROM job WHERE tenant_id = ?1 AND incarnation = ?2 AND run_id = ?3 AND step = ?4 \
        AND item = ?5";
    JOBS = concat!("SELECT ", job_columns!(), " FROM job WHERE tenant_id = ?1 AND incarnation = ?2 \
        AND run_id = ?3 ORDER BY step, item");
    JOB = concat!("SELECT ", job_columns!(), " FROM job WHERE tenant_id = ?1 AND incarnation = ?2 \
        AND run_id = ?3 AND step = ?4 AND item = ?5");
    BEGIN_JOBS = "UPDATE job SET begun = 1 WHERE tenant_id = ?1 AND incarnation = ?2 AND run_id = ?3";
    NEXT_JOB = concat!("SELECT ", job_columns!(), " FROM job WHERE tenant_id = ?1 AND incarnation = ?2 \
        AND worker IS NULL AND (begun = 1 OR (?3 = 0 AND workflow NOT IN (SELECT value FROM json_each(?4)))) \
        ORDER BY begun DESC, queued_at, run_id, step, item LIMIT 1");
    HAS_QUEUED = "SELECT 1 FROM job WHERE tenant_id = ?1 AND incarnation = ?2 AND worker IS NULL LIMIT 1";

    TURNS = "SELECT tenant_id, incarnation, virtual_time, busy FROM turn WHERE busy = 1 \
        ORDER BY tenant_id, incarnation";
    TURN = "SELECT tenant_id, incarnation, virtual_time, busy FROM turn \
        WHERE tenant_id = ?1 AND incarnation = ?2";
    PUT_TURN = "INSERT INTO turn (tenant_id, incarnation, virtual_time, busy) VALUES (?1, ?2, ?3, ?4) \
        ON CONFLICT (tenant_id, incarnation) DO UPDATE SET virtual_time = excluded.virtual_time, \
        busy = excluded.busy";

    PUT_ATTEMPT = "INSERT INTO attempt (tenant_id, incarnation, run_id, step, item, attempt, worker, \
        leased_at, ended_at, outcome, reason, outputs, record) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) \
        ON CONFLICT (tenant_id, incarnation, run_id, step, item, attempt) DO UPDATE SET \
        ended_at = excluded.ended_at, outcome = excluded.outcome, reason = excluded.reason, \
        outputs = excluded.outputs, record = excluded.record";
    ATTEMPT = concat!("SELECT ", attempt_columns!(), " FROM attempt WHERE tenant_id = ?1 \
        AND incarnation = ?2 AND run_id = ?3 AND step = ?4 AND item = ?5 AND attempt = ?6");
    ATTEMPTS = concat!("SELECT ", attempt_columns!(), " FROM attempt WHERE tenant_id = ?1 \
        AND incarnation = ?2 AND run_id IN (SELECT value FROM json_each(?3)) \
        ORDER BY run_id, leased_at, step, item, attempt");

    PUT_LOG_END = "UPDATE attempt SET log_end = ?7 WHERE tenant_id = ?1 AND incarnation = ?2 AND run_id = ?3 \
        AND step = ?4 AND item = ?5 AND attempt = ?6";
    LOG_END = "SELECT log_end FROM attempt WHERE tenant_id = ?1 AND incarnation = ?2 AND run_id = ?3 \
        AND step = ?4 AND item = ?5 AND attempt = ?6";

    CURSORS = "SELECT workflow, entry, at FROM schedule_cursor WHERE tenant_id = ?1 AND incarnation = ?2";
    PUT_CURSOR = "INSERT INTO schedule_cursor (tenant_id, incarnation, workflow, entry, at) \
        VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (tenant_id, incarnation, workflow, entry) \
        DO UPDATE SET at = max(at, excluded.at)";

    CHAIN_HEAD = "SELECT sequence, hash FROM audit WHERE tenant_id = ?1 AND incarnation = ?2 \
        ORDER BY sequence DESC LIMIT 1";
    ADD_AUDIT = "INSERT INTO audit (tenant_id, incarnation, sequence, record, hash) \
        VALUES (?1, ?2, ?3, ?4, ?5)";
    AUDIT = "SELECT record FROM audit WHERE tenant_id = ?1 AND incarnation = ?2 AND sequence > ?3 \
        ORDER BY sequence LIMIT ?4";
}
