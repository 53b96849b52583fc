//! Actual state, queue, leases, records, behind one trait of whole operations in domain words.
//!
//! SQLite is the default engine; the model in memory is what the tests compare with, and where a run without a daemon
//! keeps nothing. No daemon is built on it.
//! The run machine is advanced inside these operations, in the transaction that stores its new state.
//! Deliberately absent: deciding (authz), diffing (plan), anything of Git. The ledger lies beside the store.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod differential;
mod directory;
mod failpoint;
#[cfg(test)]
mod fixture;
mod ledger;
mod logs;
mod memory;
mod operations;
mod pending;
mod records;
mod rows;
mod sqlite;
mod tenant;
mod transactional;

pub use failpoint::FAILPOINTS;
pub use logs::{LOG_BYTES_MAX, LocalLogs, Logs, MemoryLogs};
pub use memory::MemoryStore;
pub use pending::{Offer, Pending};
pub use sqlite::SqliteStore;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::authz::{Permit, Standing, action};
use crate::domain::{
    ActualState, AppliedCommit, AttemptId, AuditEntry, AuditRecord, ChangeKeys, CommitId, Disposition,
    HostPort, Length, Pause, PinNote, Platform, Removals, RunId, RunPins, SecretName, StatusRow, TenantId,
    TenantState, Timestamp, UserId, VersionId, WorkflowId,
};

/// One tenant brought to a revision: everything of it lands in one transaction or nothing does.
#[derive(Clone, Debug)]
pub struct Application {
    /// The generation that the plan was made against.
    pub expected_generation: u64,
    /// The commit.
    pub commit: CommitId,
    /// The ids it was read under.
    pub keys: ChangeKeys,
    /// What exists from now on; `None` removes the tenant.
    pub next: Option<TenantState>,
    /// Digest of `next`; the generation rises only when it differs from the applied one.
    pub digest: Option<String>,
    /// Who wrote what comes in with it, as far as known.
    pub authors: BTreeSet<UserId>,
    /// What is taken away; raises the authority number.
    pub removals: Removals,
    /// Whether only the removals are applied (`restricted_commit`), the rest staying as it is.
    pub removals_only: bool,
    /// The runs that start; their `generation` is the one this apply makes.
    pub runs: Vec<RunPins>,
    /// What the audit says of it.
    pub audit: Vec<AuditEntry>,
    /// The tenant's status row after it.
    pub status: StatusRow,
}

/// What an apply did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedAt {
    /// The generation from now on.
    pub generation: u64,
    /// Whether it rose.
    pub changed: bool,
    /// The runs that were queued; one already known under its key is not among them.
    pub queued: Vec<RunId>,
}

/// A run asked for: started once per (tenant, workflow, trigger kind, trigger key).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// A new run.
    Queued(RunId),
    /// The run that has this key already.
    Known(RunId),
    /// Not made, with the reason: the schedule's last run is active, the tenant is suspended.
    Skipped(String),
}

/// An attempt given to a worker for a time, with the right to execute it.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Which attempt; its number is the fencing token.
    pub attempt: AttemptId,
    /// The right, which ends with the lease.
    pub permit: Permit<action::Execute>,
    /// When the lease ends unless it is renewed.
    pub until: Timestamp,
    /// What the run pins.
    pub pins: Arc<RunPins>,
    /// The step's input as JSON, expressions rendered.
    pub input: Value,
    /// What the platform, as it is applied, opens to its tenant in private ranges.
    pub private: BTreeSet<HostPort>,
    /// Where the platform, as it is applied, lets Python packages come from.
    pub indexes: Vec<String>,
    /// Names the step over attempts and reruns.
    pub idempotency_key: String,
    /// Whether somebody asked for the end already.
    pub cancel: bool,
}

/// Which runs to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Only of this workflow.
    pub workflow: Option<WorkflowId>,
    /// Only of this commit.
    pub commit: Option<CommitId>,
    /// Only failed ones (failure, error, timed_out).
    pub failed: bool,
    /// Only those that are not over.
    pub open: bool,
    /// Only those whose id ends so: how a shortened id is found again.
    pub suffix: Option<String>,
    /// Only what was made before this run, for paging.
    pub before: Option<RunId>,
    /// At most this many, 1 to 1,000.
    pub limit: u32,
}

/// A line or piece of output.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogRecord {
    /// Place in the attempt's output, from 0.
    pub sequence: u64,
    /// When it was read.
    pub at: Timestamp,
    /// Which pipe.
    pub stream: LogStream,
    /// Redacted bytes, as text with invalid UTF-8 replaced.
    pub text: String,
}

/// Which pipe of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Said by tenantry: limits, marks, where output was cut.
    System,
}

/// A store refuses or cannot.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The actual state has moved on since the plan was made.
    #[error("the actual state moved on: generation {actual}, planned against {expected}")]
    Moved {
        /// What the plan was made against.
        expected: u64,
        /// What the store has.
        actual: u64,
    },
    /// The permit has ended, or a right ended since it was made.
    #[error("the permit no longer counts: {0}")]
    Denied(String),
    /// The attempt is no longer this worker's.
    #[error("the lease of {0} is over")]
    Stale(AttemptId),
    /// What was asked for contradicts what is stored; says what to do instead.
    #[error("{0}")]
    Refused(String),
    /// There is no such run, log or tenant in the permit's tenant.
    #[error("not found")]
    NotFound,
    /// The store cannot be read or written now: busy, full disk, I/O error.
    #[error("the store is unavailable: {message}")]
    Unavailable {
        /// What is wrong and the cure.
        message: String,
        /// The engine's error.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The database was written by a newer version.
    #[error(
        "the database has schema {found}, this program knows up to {known}: run the newer program, or restore the backup made before its migration"
    )]
    Newer {
        /// Of the database.
        found: i64,
        /// Of this program.
        known: i64,
    },
    /// A row does not hold what it must: damage or a mistake of ours.
    #[error("a stored {what} cannot be read: {message}")]
    Corrupt {
        /// What.
        what: &'static str,
        /// Why.
        message: String,
    },
}

impl StoreError {
    /// What has to happen before it is worth trying again.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Moved { .. } | Self::Unavailable { .. } => Disposition::Retry,
            Self::Denied(_)
            | Self::Stale(_)
            | Self::Refused(_)
            | Self::NotFound
            | Self::Newer { .. }
            | Self::Corrupt { .. } => Disposition::NeedsChange,
        }
    }
}

/// How an attempt ended, as its worker reports it.
#[derive(Clone, Debug)]
pub struct Report {
    /// How.
    pub outcome: crate::domain::Outcome,
    /// Why, for people.
    pub reason: Option<String>,
    /// What it wrote, redacted, at most 64 KiB.
    pub outputs: BTreeMap<crate::domain::FieldName, Value>,
    /// What the record keeps of it: exit, usage, versions delivered, redaction hits, sandbox tier.
    pub record: crate::record::AttemptRecord,
    /// The last of its output, where it was not appended before: at most [`LOG_END_BYTES_MAX`] of text. It stands in the
    /// attempt's row, written with its end, so that a step of few words costs no file.
    pub log_end: Vec<LogRecord>,
}

/// Actual state, queue, leases and records. Every method is one transaction and takes its own time from `now`.
///
/// Methods with a permit work in the permit's tenant only, and refuse one that has ended or whose authority
/// number is older than the tenant's.
#[async_trait]
pub trait Store: Send + Sync {
    // --- reconcile ---

    /// The actual state of the permit's tenant; empty for one never seen.
    async fn actual(&self, permit: &Permit<action::Reconcile>) -> Result<Arc<ActualState>, StoreError>;
    /// Applies one tenant: state, inventory, audit, status and runs land together or not at all.
    ///
    /// # Errors
    /// [`StoreError::Moved`] if the generation is not the expected one.
    async fn apply(
        &self,
        permit: &Permit<action::Reconcile>,
        application: &Application,
        now: Timestamp,
    ) -> Result<AppliedAt, StoreError>;
    /// Writes the status row of a tenant that was looked at and not applied.
    async fn set_status(
        &self,
        permit: &Permit<action::Reconcile>,
        row: &StatusRow,
        audit: &[AuditEntry],
    ) -> Result<(), StoreError>;
    /// What every tenant was last looked at under: its keys, status, retry time, incarnation and authority number.
    ///
    /// Shared, since each pass asks for it and most passes change none of it. In the order of names; the
    /// latest tenant of each name.
    async fn tenants(&self) -> Result<Arc<[Arc<TenantHead>]>, StoreError>;
    /// The last applied platform, with its commit and keys; `None` before the first.
    async fn platform(&self) -> Result<Option<Arc<AppliedPlatform>>, StoreError>;
    /// Applies the platform's scope.
    async fn apply_platform(
        &self,
        platform: &AppliedPlatform,
        status: &StatusRow,
        audit: &[AuditEntry],
    ) -> Result<(), StoreError>;
    /// Writes the platform's status row.
    async fn set_platform_status(&self, status: &StatusRow, audit: &[AuditEntry]) -> Result<(), StoreError>;
    /// The platform's status row.
    async fn platform_status(&self) -> Result<Option<StatusRow>, StoreError>;
    /// The source as last seen: head, when fetched, state, and what holds it.
    async fn source(&self) -> Result<SourceRow, StoreError>;
    /// Writes the source's row.
    async fn set_source(&self, row: &SourceRow, audit: &[AuditEntry]) -> Result<(), StoreError>;
    /// Writes the source's row in the transaction of what is written next, or in one of its own as soon as the answer
    /// is waited for: what comes from a commit never lands before the row that follows it, and needs no second
    /// durable commit for that.
    async fn set_source_ahead(&self, row: &SourceRow, audit: &[AuditEntry]) -> Result<Pending, StoreError>;
    /// Says that the source was fetched again and is as its row says. Kept in memory until the store is closed, so
    /// that looking costs no durable commit.
    fn saw_source(&self, at: Timestamp);

    // --- steering ---

    /// Pauses (`Some`) or resumes (`None`) one workflow.
    async fn set_pause(
        &self,
        permit: &Permit<action::Steer>,
        workflow: &WorkflowId,
        pause: Option<Pause>,
        audit: AuditEntry,
    ) -> Result<(), StoreError>;
    /// Suspends or resumes the tenant.
    async fn set_suspension(
        &self,
        permit: &Permit<action::Suspend>,
        pause: Option<Pause>,
        audit: AuditEntry,
    ) -> Result<(), StoreError>;
    /// Holds the tenant's code as it was applied with an older commit (`Some`), or lets it follow again (`None`);
    /// gives the pin that began or ended.
    ///
    /// Counts at once, raises the authority number so that nothing decided before starts anything after it, and
    /// fires nothing: what the schedules of the other code missed is not made up for.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a commit that the tenant has not applied, or that is told apart by more digits.
    async fn set_pin(
        &self,
        permit: &Permit<action::Steer>,
        pin: Option<PinRequest>,
        audit: AuditEntry,
    ) -> Result<PinNote, StoreError>;
    /// Notes that a pin has let itself go, once; `None` if there is none whose time is over.
    async fn end_pin(
        &self,
        permit: &Permit<action::Reconcile>,
        now: Timestamp,
    ) -> Result<Option<PinNote>, StoreError>;
    /// Lets go what is held in a tenant: the next pass applies it.
    async fn release(&self, permit: &Permit<action::Release>, audit: AuditEntry) -> Result<(), StoreError>;
    /// Revokes a version for ever; raises the authority number.
    async fn revoke(
        &self,
        permit: &Permit<action::Revoke>,
        secret: &SecretName,
        version: &VersionId,
        audit: AuditEntry,
    ) -> Result<Vec<RunId>, StoreError>;

    // --- runs ---

    /// Starts one run; a key already used gives the run that has it.
    async fn start(
        &self,
        permit: &Permit<action::Start>,
        pins: RunPins,
        audit: AuditEntry,
    ) -> Result<Started, StoreError>;
    /// As [`Store::start`] for a run that repeats another: `payload` is the other's, where what it wrote is kept.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if nothing of the other failed, or if what is to be kept is no longer there.
    async fn rerun(
        &self,
        permit: &Permit<action::Start>,
        pins: RunPins,
        payload: Option<crate::run::Payload>,
        audit: AuditEntry,
    ) -> Result<Started, StoreError>;
    /// Starts the run of a hook that came in, once per delivery.
    async fn receive(
        &self,
        permit: &Permit<action::Receive>,
        pins: RunPins,
        audit: AuditEntry,
    ) -> Result<Started, StoreError>;
    /// Starts the runs of schedules that are due and moves their cursors, together; one answer for each of `fired`.
    async fn fire(
        &self,
        permit: &Permit<action::Schedule>,
        fired: Vec<Fired>,
        now: Timestamp,
    ) -> Result<Vec<Started>, StoreError>;
    /// Where each schedule of a tenant stands: entry to the last time that was looked at.
    async fn schedule_cursors(
        &self,
        permit: &Permit<action::Schedule>,
    ) -> Result<BTreeMap<(WorkflowId, String), Timestamp>, StoreError>;
    /// What the tenant has applied, for the scheduler and for starts.
    async fn applied(&self, permit: &Permit<action::Schedule>) -> Result<Arc<ActualState>, StoreError>;
    /// Leases up to `slots` attempts, fair among tenants; the one method without a tenant.
    async fn claim(
        &self,
        worker: &str,
        regions: Option<&[String]>,
        slots: u32,
        now: Timestamp,
    ) -> Result<Vec<Lease>, StoreError>;
    /// As [`Store::claim`] where there is something now; else it stands, and leases what the next write leaves in that
    /// very transaction, by the store's own clock.
    async fn offer(
        &self,
        worker: &str,
        regions: Option<&[String]>,
        slots: u32,
        now: Timestamp,
    ) -> Result<Offer<Vec<Lease>>, StoreError>;
    /// Gives up every lease of a worker whose process is known to be dead, as a lost lease; gives their number.
    ///
    /// Called once at start for the embedded worker by whoever holds the directory's lock, so that a restart
    /// does not wait for the end of leases that nobody serves.
    async fn abandon(&self, worker: &str, now: Timestamp) -> Result<u32, StoreError>;
    /// Renews leases in one batch; gives back, per attempt, the new end and whether its end is asked for.
    async fn renew(
        &self,
        leases: &[(Permit<action::Execute>, AttemptId)],
        now: Timestamp,
    ) -> Result<Vec<Renewal>, StoreError>;
    /// Completes an attempt and leases what it frees to the same worker, in one transaction.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the lease is another's by now: nothing is recorded.
    async fn complete(
        &self,
        permit: &Permit<action::Execute>,
        attempt: &AttemptId,
        report: Report,
        now: Timestamp,
    ) -> Result<Option<Lease>, StoreError>;
    /// The last of an attempt's output, as it came with its report; what came before is in the logs. Empty for an attempt that
    /// has not ended or whose whole output was appended.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such attempt in the permit's tenant.
    async fn log_end(
        &self,
        permit: &Permit<action::View>,
        attempt: &AttemptId,
    ) -> Result<Vec<LogRecord>, StoreError>;
    /// Says whether the attempt is still this worker's: the fence of log appends.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it is not.
    async fn holds(
        &self,
        permit: &Permit<action::Execute>,
        attempt: &AttemptId,
        now: Timestamp,
    ) -> Result<(), StoreError>;
    /// Asks for the end of a run.
    async fn cancel(
        &self,
        permit: &Permit<action::Cancel>,
        run: &RunId,
        request: crate::run::CancelRequest,
        audit: AuditEntry,
    ) -> Result<(), StoreError>;
    /// Puts an answer to an approval into a run, with its record; gives whether it changed anything, which saying the
    /// same again does not.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with why it does not count; [`StoreError::NotFound`] without such a run.
    async fn decide_step(
        &self,
        permit: &Permit<action::ApproveStep>,
        run: &RunId,
        decision: crate::run::Decision,
        audit: AuditEntry,
    ) -> Result<bool, StoreError>;
    /// Ticks every run whose time has come, at most `limit`; gives the next time one will.
    async fn wake(&self, limit: u32, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;
    /// The next time up to `until` at which a run goes on whether people answer or not.
    async fn goes_on(&self, until: Timestamp) -> Result<Option<Timestamp>, StoreError>;
    /// The applied state against which the broker narrows a step's reach, read under its lease.
    async fn reach(
        &self,
        permit: &Permit<action::ReadSecret>,
        attempt: &AttemptId,
        now: Timestamp,
    ) -> Result<Arc<ActualState>, StoreError>;
    /// Writes an audit entry of an attempt and is durable when it returns; used before a secret is opened.
    async fn audit_attempt(
        &self,
        permit: &Permit<action::ReadSecret>,
        attempt: &AttemptId,
        entry: AuditEntry,
    ) -> Result<(), StoreError>;

    // --- what runs leave ---

    /// Has payloads of runs that end encrypted from now on; whoever says it first counts. Before that they stay in
    /// clear, which is so in the store of a run without a daemon.
    fn seal_with(&self, sealer: Sealer);
    /// Closes runs that ended before the store encrypted what they leave, and drops what has had its time, at most
    /// `limit` of each.
    async fn sweep(&self, limit: u32, now: Timestamp) -> Result<Swept, StoreError>;
    /// Leaves no row in any file as it was before; gives whether that could be done now. Waits for the disk.
    async fn overwrite(&self) -> Result<bool, StoreError>;
    /// The encrypted payload of a run; `None` where there is none, or none any more.
    async fn payload(
        &self,
        permit: &Permit<action::Start>,
        run: &RunId,
    ) -> Result<Option<String>, StoreError>;

    // --- reading ---

    /// What a run pinned, for running it again.
    async fn pins(&self, permit: &Permit<action::Start>, run: &RunId) -> Result<Arc<RunPins>, StoreError>;
    /// Where a run stands: what a rerun of it would keep.
    async fn progress(
        &self,
        permit: &Permit<action::Start>,
        run: &RunId,
    ) -> Result<crate::run::RunState, StoreError>;
    /// Whom a step of a run asks, and who has agreed so far; `None` if it asks nobody.
    async fn asked(
        &self,
        permit: &Permit<action::View>,
        run: &RunId,
        step: &crate::domain::StepId,
    ) -> Result<Option<Asked>, StoreError>;
    /// One run as its record.
    async fn run(
        &self,
        permit: &Permit<action::View>,
        run: &RunId,
    ) -> Result<crate::record::RunRecord, StoreError>;
    /// Runs, newest first.
    async fn runs(
        &self,
        permit: &Permit<action::View>,
        filter: &RunFilter,
    ) -> Result<Vec<crate::record::RunRecord>, StoreError>;
    /// The status row of the permit's tenant.
    async fn status(&self, permit: &Permit<action::ViewHealth>) -> Result<StatusRow, StoreError>;
    /// The commits that the tenant has applied, newest first.
    async fn applied_commits(
        &self,
        permit: &Permit<action::View>,
        limit: u32,
    ) -> Result<Vec<AppliedCommit>, StoreError>;
    /// The actual state, for people who may look.
    async fn view(&self, permit: &Permit<action::View>) -> Result<Arc<ActualState>, StoreError>;
    /// The tenant's audit chain from `after` on, at most `limit` records.
    async fn audit(
        &self,
        permit: &Permit<action::ViewAccess>,
        after: u64,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError>;
    /// The platform's audit chain from `after` on, at most `limit` records; who may read it is the caller's to ask.
    async fn platform_audit(&self, after: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError>;
    /// Who may do what in a tenant: the state that `authz::decide` takes; `None` for one never seen.
    async fn access(&self, tenant: &TenantId) -> Result<Option<Arc<ActualState>>, StoreError>;
    /// Writes an entry that belongs to no other operation, such as a denial.
    async fn append_audit(&self, entry: AuditEntry) -> Result<(), StoreError>;
    /// Now, never earlier than the last recorded time.
    async fn now(&self, clock: Timestamp) -> Result<Timestamp, StoreError>;
}

/// Encrypts the payload of a run to the recipients of its tenant; `None` if it cannot. Called while a run is written, so
/// it waits for nothing.
pub type Sealer = Arc<dyn Fn(&[String], Vec<u8>, Timestamp) -> Option<String> + Send + Sync>;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Runs whose payload stood in clear although they were over.
    pub closed: u32,
    /// Payloads whose time was over.
    pub expired: u32,
    /// Whether there may be more.
    pub more: bool,
}

/// Whom a step asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who may give it.
    pub from: Vec<crate::domain::Approver>,
    /// Who has given it so far.
    pub given: BTreeSet<UserId>,
}

/// Which code a tenant is to be held at.
#[derive(Clone, Debug)]
pub struct PinRequest {
    /// The commit's id, or its first digits, lower case; none is any other commit that the tenant has applied.
    pub to: String,
    /// Why.
    pub reason: String,
    /// When it lets itself go.
    pub until: Timestamp,
}

/// What the loop knows of a tenant before it looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantHead {
    /// Whose.
    pub tenant: TenantId,
    /// Which tenant of that name.
    pub incarnation: u32,
    /// Its authority number.
    pub authority: u64,
    /// Its status row.
    pub status: StatusRow,
    /// Whether Git no longer has it.
    pub removed: bool,
    /// Names of the shared directories it uses.
    pub shared: Vec<String>,
    /// The next time something of it ends or begins: elevation, version, pause, pin.
    pub deadline: Option<Timestamp>,
    /// Set by `release`: held lines are let go at the next pass.
    pub released: bool,
}

impl TenantHead {
    /// As it follows from the rows of a tenant.
    fn of(state: &ActualState, outlook: &rows::Outlook) -> Self {
        Self {
            tenant: state.tenant.clone(),
            incarnation: state.incarnation,
            authority: state.authority,
            status: outlook.status.clone(),
            removed: state.removed.is_some(),
            shared: outlook.status.keys.shared.keys().cloned().collect(),
            deadline: outlook.deadline,
            released: outlook.released,
        }
    }
    /// What decisions about the tenant rest on.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::stored(self.tenant.clone(), self.incarnation, self.authority, self.removed)
    }
}

/// The platform as applied.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AppliedPlatform {
    /// The commit.
    pub commit: CommitId,
    /// The ids it was read under.
    pub keys: ChangeKeys,
    /// What binds all tenants.
    pub platform: Platform,
}

/// The source as last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SourceRow {
    /// The head that was last read.
    pub head: Option<CommitId>,
    /// When it was last fetched.
    pub fetched_at: Option<Timestamp>,
    /// `current`, `stale`, `rewritten` or `unreachable`.
    pub state: String,
    /// What is wrong, for people.
    pub message: Option<String>,
    /// The rewritten head that waits for a release.
    pub held: Option<CommitId>,
    /// A rewritten head that was released.
    pub released: Option<CommitId>,
}

/// A schedule whose time has come, or has been passed over.
#[derive(Clone, Debug)]
pub struct Fired {
    /// The workflow.
    pub workflow: WorkflowId,
    /// The schedule's entry.
    pub entry: String,
    /// The cursor from now on.
    pub cursor: Timestamp,
    /// What happens while its last run is active.
    pub overlap: crate::domain::Overlap,
    /// The run, or `None` where the time is only passed over.
    pub pins: Option<RunPins>,
}

/// The answer to a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease goes on.
    Until {
        /// Its new end.
        until: Timestamp,
        /// Whether the end of the attempt is asked for.
        cancel: bool,
    },
    /// The lease is another's or over: the attempt must be stopped and reports nothing.
    Lost,
}

/// The length of a lease. Source: design page `store.md`.
pub const LEASE: Length = Length::from_secs(60);

/// The most text of an output's end that comes with a report and stands in a row. Source: design page `runs.md`.
pub const LOG_END_BYTES_MAX: usize = 16 * 1024;
