//! What an operation reads and writes inside its transaction: rows, without any decision.
//!
//! The operations of the trait [`super::Store`] are written once over this; an engine is an implementation of
//! it and a way to run an operation as one transaction.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::pending::LastFetch;
use super::{LogRecord, Offer, Pending, RunFilter, Sealer, StoreError, TenantHead};
use crate::domain::{
    ActualState, AppliedCommit, AttemptId, AuditRecord, Code, CommitId, Outcome, Phase, RunId, RunPins,
    StatusRow, StepId, TenantId, Timestamp, Trigger, TriggerKind, WorkflowId,
};
use crate::record::{AttemptRecord, LedgerEntry};
use crate::run::RunState;

/// The result of reading or writing rows.
pub(super) type Found<T> = Result<T, StoreError>;

/// One operation, run by an engine as one transaction.
pub(super) type Work<T> =
    Box<dyn for<'r> FnOnce(&'r mut dyn Rows) -> Pin<Box<dyn Future<Output = Found<T>> + Send + 'r>> + Send>;

/// An operation that is tried until it finds something: makes it anew each time.
pub(super) type Again<T> = Box<dyn Fn() -> Work<Option<T>> + Send + Sync>;

/// Says what kind of closure it takes, which the compiler cannot tell from [`Work`] alone.
pub(super) fn work<T, F>(operation: F) -> Work<T>
where
    F: for<'r> FnOnce(&'r mut dyn Rows) -> Pin<Box<dyn Future<Output = Found<T>> + Send + 'r>>
        + Send
        + 'static,
{
    Box::new(operation)
}

/// One tenant of one name: the key that every row leads with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Scope {
    pub(super) tenant: TenantId,
    pub(super) incarnation: u32,
}

/// A run of one scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RunKey {
    pub(super) scope: Scope,
    pub(super) id: RunId,
}

/// Whose chain of the audit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Chain {
    Platform,
    Tenant(Scope),
}

/// What stands once for the whole store, as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Document {
    Platform,
    PlatformStatus,
    Source,
    VirtualTime,
}

impl Document {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::PlatformStatus => "platform_status",
            Self::Source => "source",
            Self::VirtualTime => "virtual_time",
        }
    }
    /// Whether it gives access and therefore carries a MAC.
    pub(super) fn gives_access(self) -> bool {
        self == Self::Platform
    }
}

/// The status of a tenant with what the loop asks for before it looks at it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outlook {
    pub(super) status: StatusRow,
    pub(super) deadline: Option<Timestamp>,
    pub(super) released: bool,
}

/// One run as it stands; what it pins lies beside it and never changes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RunRow {
    pub(super) key: RunKey,
    pub(super) workflow: WorkflowId,
    pub(super) trigger: Trigger,
    pub(super) commit: CommitId,
    pub(super) created_at: Timestamp,
    /// What it shares with the runs that it may not run beside.
    pub(super) concurrency: Option<String>,
    /// When the machine wants its next tick.
    pub(super) wake_at: Option<Timestamp>,
    pub(super) state: RunState,
}

impl RunRow {
    pub(super) fn is_over(&self) -> bool {
        self.state.phase == Phase::Ended
    }
    /// Whether its concurrency key had room, or it has none.
    pub(super) fn is_admitted(&self) -> bool {
        self.state.admitted_at.is_some()
    }
    /// Whether an attempt of it was ever leased.
    pub(super) fn has_begun(&self) -> bool {
        self.state.started_at.is_some()
    }
    /// Counts against the tenant's limit: begun, not over, and not waiting for people alone.
    pub(super) fn is_active(&self) -> bool {
        self.has_begun() && !self.is_over() && !self.state.resting
    }
}

/// The place of an item in a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) step: StepId,
    pub(super) item: u32,
}

/// An item that can be leased, or is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) run: RunKey,
    pub(super) place: Place,
    pub(super) workflow: WorkflowId,
    /// The fencing token of its lease, or of the next one while it is queued.
    pub(super) attempt: u32,
    pub(super) queued_at: Timestamp,
    /// Whether its run has begun, and so goes on whatever is paused.
    pub(super) begun: bool,
    /// `None` while it is queued.
    pub(super) held: Option<Held>,
}

/// A lease as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) worker: String,
    pub(super) until: Timestamp,
    /// Whether the end of the attempt is asked for.
    pub(super) cancel: bool,
}

/// One attempt, from its lease on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AttemptRow {
    pub(super) run: RunKey,
    pub(super) place: Place,
    pub(super) attempt: u32,
    pub(super) worker: String,
    pub(super) leased_at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) outcome: Option<Outcome>,
    pub(super) reason: Option<String>,
    pub(super) outputs: Value,
    pub(super) record: Option<AttemptRecord>,
}

/// A tenant with queued jobs and how much it was given so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) scope: Scope,
    pub(super) virtual_time: u64,
    /// Whether it may have queued jobs; never false while it has.
    pub(super) busy: bool,
}

/// Which queued jobs of a tenant may be leased.
#[derive(Clone, Debug, Default)]
pub(super) struct Eligible {
    /// Only jobs of runs that have begun.
    pub(super) begun_only: bool,
    /// Jobs of these workflows only if their run has begun.
    pub(super) paused: Vec<WorkflowId>,
}

/// The rows of one transaction.
///
/// What does not fit its type any more is [`StoreError::Corrupt`]; what the engine refuses is
/// [`StoreError::Unavailable`]. Lists are ordered as said, so that both engines give the same.
#[async_trait]
pub(super) trait Rows: Send {
    /// The later of `given` and every time recorded before, recorded from now on.
    fn now(&mut self, given: Timestamp) -> Timestamp;
    /// The later of the engine's own clock and every time recorded before.
    fn clock(&mut self) -> Timestamp;
    /// Notes what the ledger must say once this transaction is durable.
    fn note(&mut self, entry: LedgerEntry);

    /// The latest tenant of that name.
    async fn tenant(&mut self, tenant: &TenantId) -> Found<Option<Arc<ActualState>>>;
    /// Writes a tenant; a higher incarnation becomes the latest.
    async fn put_tenant(&mut self, state: Arc<ActualState>) -> Found<()>;
    async fn outlook(&mut self, scope: &Scope) -> Found<Option<Outlook>>;
    async fn put_outlook(&mut self, scope: &Scope, outlook: &Outlook) -> Found<()>;
    /// Remembers that the tenant has applied a commit, and the code it applied with it.
    async fn put_commit(&mut self, scope: &Scope, commit: &AppliedCommit, code: &Code) -> Found<()>;
    /// Forgets the code of the commits of a generation; that they were applied stays known.
    async fn forget_code(&mut self, scope: &Scope, generation: u64) -> Found<()>;
    /// The applied commits whose id begins so, the latest generation first, then the latest time, then by id.
    async fn commits(&mut self, scope: &Scope, begins: &str, limit: u32) -> Found<Vec<AppliedCommit>>;
    /// The code that was applied with a commit; `None` if it was forgotten or the commit never applied.
    async fn code(&mut self, scope: &Scope, commit: &CommitId) -> Found<Option<Code>>;
    async fn document(&mut self, document: Document) -> Found<Option<String>>;
    async fn put_document(&mut self, document: Document, body: &str) -> Found<()>;

    /// Adds a run, unless one has its trigger key already: then that one's id.
    async fn add_run(&mut self, run: &RunRow, pins: &Arc<RunPins>) -> Found<Option<RunId>>;
    async fn run(&mut self, key: &RunKey) -> Found<Option<RunRow>>;
    async fn put_run(&mut self, run: &RunRow) -> Found<()>;
    async fn pins(&mut self, key: &RunKey) -> Found<Arc<RunPins>>;
    /// Writes what a run pins once its payload was taken out of it.
    async fn put_pins(&mut self, key: &RunKey, pins: &Arc<RunPins>) -> Found<()>;
    /// Who encrypts payloads; `None` where they stay as they are.
    fn sealer(&self) -> Option<Sealer>;
    /// Runs that are over and whose payload stands in clear.
    async fn unclosed(&mut self, limit: u32) -> Found<Vec<RunKey>>;
    /// Counts a run that cannot be read among the closed ones, so that nobody comes to it again.
    async fn set_aside(&mut self, key: &RunKey) -> Found<()>;
    /// Takes what the attempts of a run wrote out of their rows.
    async fn clear_outputs(&mut self, run: &RunKey) -> Found<()>;
    async fn put_payload(&mut self, run: &RunKey, text: &str, until: Timestamp) -> Found<()>;
    async fn payload(&mut self, run: &RunKey) -> Found<Option<String>>;
    async fn remove_payload(&mut self, run: &RunKey) -> Found<()>;
    /// Runs whose encrypted payload has had its time, the earliest first.
    async fn overdue_payloads(&mut self, now: Timestamp, limit: u32) -> Found<Vec<RunKey>>;
    /// Runs that are not over, oldest first.
    async fn live_runs(&mut self, scope: &Scope, workflow: Option<&WorkflowId>) -> Found<Vec<RunRow>>;
    /// Runs that are not over and share a concurrency key, oldest first.
    async fn sharing(&mut self, scope: &Scope, workflow: &WorkflowId, key: &str) -> Found<Vec<RunRow>>;
    async fn active_count(&mut self, scope: &Scope) -> Found<u32>;
    /// Whether a run of the workflow that this kind of trigger started is not over.
    async fn has_live(&mut self, scope: &Scope, workflow: &WorkflowId, kind: TriggerKind) -> Found<bool>;
    /// Runs whose tick is due, earliest first.
    async fn due(&mut self, now: Timestamp, limit: u32) -> Found<Vec<RunKey>>;
    async fn next_wake(&mut self) -> Found<Option<Timestamp>>;
    /// Newest first.
    async fn list(&mut self, scope: &Scope, filter: &RunFilter) -> Found<Vec<RunRow>>;

    async fn put_job(&mut self, job: &Job) -> Found<()>;
    /// Writes the end of a lease and whether the end of its attempt is asked for.
    async fn hold_job(&mut self, run: &RunKey, place: &Place, until: Timestamp, cancel: bool) -> Found<()>;
    /// Every job that the worker holds.
    async fn held_by(&mut self, worker: &str) -> Found<Vec<Job>>;
    async fn remove_job(&mut self, run: &RunKey, place: &Place) -> Found<()>;
    /// The jobs of a run in the order of steps and items.
    async fn jobs(&mut self, run: &RunKey) -> Found<Vec<Job>>;
    async fn job(&mut self, run: &RunKey, place: &Place) -> Found<Option<Job>>;
    /// Marks the queued jobs of a run as those of a run that has begun.
    async fn begin_jobs(&mut self, run: &RunKey) -> Found<()>;
    /// The first queued job that may be leased: begun runs first, then in the order of queueing.
    async fn next_job(&mut self, scope: &Scope, eligible: &Eligible) -> Found<Option<Job>>;
    async fn has_queued(&mut self, scope: &Scope) -> Found<bool>;

    /// The busy turns, by name.
    async fn turns(&mut self) -> Found<Vec<Turn>>;
    async fn turn(&mut self, scope: &Scope) -> Found<Option<Turn>>;
    async fn put_turn(&mut self, turn: &Turn) -> Found<()>;

    async fn put_attempt(&mut self, attempt: &AttemptRow) -> Found<()>;
    async fn attempt(&mut self, scope: &Scope, id: &AttemptId) -> Found<Option<AttemptRow>>;
    /// Keeps the last of an attempt's output.
    async fn put_log_end(&mut self, scope: &Scope, id: &AttemptId, end: &[LogRecord]) -> Found<()>;
    /// The last of an attempt's output; `None` if there is no such attempt.
    async fn log_end(&mut self, scope: &Scope, id: &AttemptId) -> Found<Option<Vec<LogRecord>>>;
    /// The attempts of some runs of one scope in the order they were leased.
    async fn attempts(&mut self, scope: &Scope, runs: &[RunId]) -> Found<BTreeMap<RunId, Vec<AttemptRow>>>;

    async fn cursors(&mut self, scope: &Scope) -> Found<BTreeMap<(WorkflowId, String), Timestamp>>;
    async fn put_cursor(
        &mut self,
        scope: &Scope,
        workflow: &WorkflowId,
        entry: &str,
        at: Timestamp,
    ) -> Found<()>;

    /// Sequence and hash of the last record of a chain.
    async fn chain_head(&mut self, chain: &Chain) -> Found<Option<(u64, String)>>;
    async fn add_audit(&mut self, chain: &Chain, record: &AuditRecord) -> Found<()>;
    async fn audit(&mut self, chain: &Chain, after: u64, limit: u32) -> Found<Vec<AuditRecord>>;
}

/// Runs operations as transactions.
#[async_trait]
pub(super) trait Engine: Send + Sync {
    /// Durable when it returns `Ok`; without any effect when it returns `Err`, except that after
    /// [`StoreError::Unavailable`] nobody knows.
    async fn write<T: Send + 'static>(&self, work: Work<T>) -> Found<T>;
    /// As [`Engine::write`], in the transaction of what is written next.
    async fn write_ahead(&self, work: Work<()>) -> Found<Pending>;
    /// As [`Engine::write`], and again with each write that leaves something to lease, until it finds something.
    async fn stand<T: Send + 'static>(&self, work: Again<T>) -> Found<Offer<T>>;
    /// Who encrypts payloads, once that was said.
    fn sealer(&self) -> &OnceLock<Sealer>;
    /// What is remembered of the source beside its row.
    fn last_fetch(&self) -> &LastFetch;
    /// Sees one moment of the store; what it writes is lost.
    async fn read<T: Send + 'static>(&self, work: Work<T>) -> Found<T>;
    async fn heads(&self) -> Found<Arc<[Arc<TenantHead>]>>;
    /// What stands once for the whole store, read.
    async fn document<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
        document: Document,
    ) -> Found<Option<Arc<T>>>;
    /// Brings what the write-ahead log holds into the database and empties it; gives whether it is empty.
    async fn overwritten(&self) -> Found<bool>;
    /// The latest time that was recorded.
    async fn recorded(&self) -> Found<Timestamp>;
}
