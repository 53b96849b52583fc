//! The model: the same trait over maps in memory. What the tests compare with, and the store of a run without
//! a daemon, where nothing is kept; never a daemon's.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use serde::de::DeserializeOwned;

use super::operations as op;
use super::pending::LastFetch;
use super::rows::{
    Again, AttemptRow, Chain, Document, Eligible, Engine, Found, Held, Job, Outlook, Place, Rows, RunKey,
    RunRow, Scope, Turn, Work,
};
use super::{LogRecord, Offer, Pending, RunFilter, Sealer, StoreError, TenantHead};
use crate::domain::{
    ActualState, AppliedCommit, AttemptId, AuditRecord, Code, CommitId, Outcome, RunId, RunPins, TenantId,
    Timestamp, TriggerKind, WorkflowId,
};
use crate::record::LedgerEntry;

/// A store in memory. Everything is gone with it; a failed operation leaves it as it was.
#[derive(Default)]
pub struct MemoryStore {
    rows: tokio::sync::Mutex<MemoryRows>,
    last_fetch: LastFetch,
    sealer: OnceLock<Sealer>,
    /// Set by tests: writing fails as on a full disk, reading goes on.
    #[cfg(test)]
    full: std::sync::atomic::AtomicBool,
}

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Lets every write fail from now on, or no more.
    #[cfg(test)]
    pub(crate) fn fill_up(&self, full: bool) {
        self.full.store(full, std::sync::atomic::Ordering::SeqCst);
    }
    /// Everything that its operations noted for a ledger, in order.
    pub async fn noted(&self) -> Vec<LedgerEntry> {
        self.rows.lock().await.ledger.clone()
    }
}

/// What makes a run the only one of its trigger.
type TriggerKey = (Scope, WorkflowId, TriggerKind, String);

/// An attempt by its number, with that of its item.
fn attempt_key(scope: &Scope, id: &AttemptId) -> (RunKey, Place, u32) {
    let run = RunKey { scope: scope.clone(), id: id.run.clone() };
    (run, Place { step: id.step.clone(), item: id.item.unwrap_or(0) }, id.attempt)
}

#[derive(Clone, Default)]
struct MemoryRows {
    sealer: Option<Sealer>,
    payloads: BTreeMap<RunKey, (String, Timestamp)>,
    recorded: Timestamp,
    ledger: Vec<LedgerEntry>,
    tenants: BTreeMap<Scope, Arc<ActualState>>,
    outlooks: BTreeMap<Scope, Outlook>,
    commits: BTreeMap<(Scope, CommitId), (AppliedCommit, Option<Code>)>,
    documents: BTreeMap<Document, String>,
    runs: BTreeMap<RunKey, (RunRow, Arc<RunPins>)>,
    triggers: BTreeMap<TriggerKey, RunId>,
    jobs: BTreeMap<(RunKey, Place), Job>,
    turns: BTreeMap<Scope, Turn>,
    attempts: BTreeMap<(RunKey, Place, u32), AttemptRow>,
    log_ends: BTreeMap<(RunKey, Place, u32), Vec<LogRecord>>,
    cursors: BTreeMap<Scope, BTreeMap<(WorkflowId, String), Timestamp>>,
    audit: BTreeMap<Chain, Vec<AuditRecord>>,
}

#[async_trait]
impl Engine for MemoryStore {
    async fn write<T: Send + 'static>(&self, work: Work<T>) -> Found<T> {
        #[cfg(test)]
        if self.full.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(StoreError::Unavailable { message: "the disk is full".to_owned(), source: None });
        }
        let mut rows = self.rows.lock().await;
        let mut next = rows.clone();
        next.sealer = self.sealer.get().cloned();
        let result = work(&mut next).await?;
        *rows = next;
        Ok(result)
    }
    async fn write_ahead(&self, work: Work<()>) -> Found<Pending> {
        Ok(Pending::known(self.write(work).await))
    }
    /// Looks once: nothing here runs anything without asking again.
    async fn stand<T: Send + 'static>(&self, work: Again<T>) -> Found<Offer<T>> {
        self.write(work()).await.map(Offer::known)
    }
    fn sealer(&self) -> &OnceLock<Sealer> {
        &self.sealer
    }
    fn last_fetch(&self) -> &LastFetch {
        &self.last_fetch
    }
    async fn read<T: Send + 'static>(&self, work: Work<T>) -> Found<T> {
        let mut rows = self.rows.lock().await.clone();
        work(&mut rows).await
    }
    async fn heads(&self) -> Found<Arc<[Arc<TenantHead>]>> {
        let rows = self.rows.lock().await;
        let latest: BTreeMap<&TenantId, &Arc<ActualState>> =
            rows.tenants.values().map(|state| (&state.tenant, state)).collect();
        let head = |state: &Arc<ActualState>| {
            let scope = Scope { tenant: state.tenant.clone(), incarnation: state.incarnation };
            rows.outlooks.get(&scope).map(|outlook| Arc::new(TenantHead::of(state, outlook)))
        };
        Ok(latest.into_values().filter_map(head).collect())
    }
    async fn document<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
        document: Document,
    ) -> Found<Option<Arc<T>>> {
        let found: Option<T> = op::document(&mut *self.rows.lock().await, document).await?;
        Ok(found.map(Arc::new))
    }
    async fn overwritten(&self) -> Found<bool> {
        Ok(true)
    }
    async fn recorded(&self) -> Found<Timestamp> {
        Ok(self.rows.lock().await.recorded)
    }
}

impl MemoryRows {
    fn of_scope<'a>(&'a self, scope: &'a Scope) -> impl DoubleEndedIterator<Item = &'a RunRow> {
        self.runs.values().map(|(run, _)| run).filter(move |run| run.key.scope == *scope)
    }
    fn oldest_first<'a>(runs: impl Iterator<Item = &'a RunRow>) -> Vec<RunRow> {
        let mut runs: Vec<RunRow> = runs.cloned().collect();
        runs.sort_by(|a, b| (a.created_at, &a.key.id).cmp(&(b.created_at, &b.key.id)));
        runs
    }
}

#[async_trait]
impl Rows for MemoryRows {
    fn now(&mut self, given: Timestamp) -> Timestamp {
        self.recorded = self.recorded.max(given);
        self.recorded
    }
    fn clock(&mut self) -> Timestamp {
        self.recorded
    }
    fn note(&mut self, entry: LedgerEntry) {
        self.ledger.push(entry);
    }

    async fn tenant(&mut self, tenant: &TenantId) -> Found<Option<Arc<ActualState>>> {
        Ok(self.tenants.values().rfind(|state| state.tenant == *tenant).cloned())
    }
    async fn put_tenant(&mut self, state: Arc<ActualState>) -> Found<()> {
        let scope = Scope { tenant: state.tenant.clone(), incarnation: state.incarnation };
        self.tenants.insert(scope, state);
        Ok(())
    }
    async fn outlook(&mut self, scope: &Scope) -> Found<Option<Outlook>> {
        Ok(self.outlooks.get(scope).cloned())
    }
    async fn put_outlook(&mut self, scope: &Scope, outlook: &Outlook) -> Found<()> {
        self.outlooks.insert(scope.clone(), outlook.clone());
        Ok(())
    }
    async fn put_commit(&mut self, scope: &Scope, commit: &AppliedCommit, code: &Code) -> Found<()> {
        let key = (scope.clone(), commit.commit.clone());
        self.commits.insert(key, (commit.clone(), Some(code.clone())));
        Ok(())
    }
    async fn forget_code(&mut self, scope: &Scope, generation: u64) -> Found<()> {
        for ((of, _), (commit, code)) in &mut self.commits {
            if of == scope && commit.generation == generation {
                *code = None;
            }
        }
        Ok(())
    }
    async fn commits(&mut self, scope: &Scope, begins: &str, limit: u32) -> Found<Vec<AppliedCommit>> {
        let known =
            self.commits.iter().filter(|((of, id), _)| of == scope && id.as_str().starts_with(begins));
        let mut found: Vec<AppliedCommit> = known.map(|(_, (commit, _))| commit.clone()).collect();
        found.sort_by(|a, b| (b.generation, b.at, &a.commit).cmp(&(a.generation, a.at, &b.commit)));
        found.truncate(limit as usize);
        Ok(found)
    }
    async fn code(&mut self, scope: &Scope, commit: &CommitId) -> Found<Option<Code>> {
        Ok(self.commits.get(&(scope.clone(), commit.clone())).and_then(|(_, code)| code.clone()))
    }
    async fn document(&mut self, document: Document) -> Found<Option<String>> {
        Ok(self.documents.get(&document).cloned())
    }
    async fn put_document(&mut self, document: Document, body: &str) -> Found<()> {
        self.documents.insert(document, body.to_owned());
        Ok(())
    }

    async fn add_run(&mut self, run: &RunRow, pins: &Arc<RunPins>) -> Found<Option<RunId>> {
        let trigger = &run.trigger;
        let key = (run.key.scope.clone(), run.workflow.clone(), trigger.kind, trigger.key.clone());
        if let Some(known) = self.triggers.get(&key) {
            return Ok(Some(known.clone()));
        }
        self.triggers.insert(key, run.key.id.clone());
        self.runs.insert(run.key.clone(), (run.clone(), Arc::clone(pins)));
        Ok(None)
    }
    async fn run(&mut self, key: &RunKey) -> Found<Option<RunRow>> {
        Ok(self.runs.get(key).map(|(run, _)| run.clone()))
    }
    async fn put_run(&mut self, run: &RunRow) -> Found<()> {
        let (known, _) = self.runs.get_mut(&run.key).ok_or(StoreError::NotFound)?;
        *known = run.clone();
        Ok(())
    }
    async fn pins(&mut self, key: &RunKey) -> Found<Arc<RunPins>> {
        self.runs.get(key).map(|(_, pins)| Arc::clone(pins)).ok_or(StoreError::NotFound)
    }
    async fn put_pins(&mut self, key: &RunKey, pins: &Arc<RunPins>) -> Found<()> {
        let (_, known) = self.runs.get_mut(key).ok_or(StoreError::NotFound)?;
        *known = Arc::clone(pins);
        Ok(())
    }
    fn sealer(&self) -> Option<Sealer> {
        self.sealer.clone()
    }
    async fn unclosed(&mut self, limit: u32) -> Found<Vec<RunKey>> {
        let runs = self.runs.values().map(|(run, _)| run);
        let unclosed = runs.filter(|run| run.is_over() && run.state.payload.is_none());
        Ok(unclosed.map(|run| run.key.clone()).take(limit as usize).collect())
    }
    /// Nothing here is ever damaged.
    async fn set_aside(&mut self, _: &RunKey) -> Found<()> {
        Ok(())
    }
    async fn clear_outputs(&mut self, run: &RunKey) -> Found<()> {
        let attempts = self.attempts.values_mut().filter(|attempt| attempt.run == *run);
        attempts.for_each(|attempt| attempt.outputs = serde_json::Value::Null);
        Ok(())
    }
    async fn put_payload(&mut self, run: &RunKey, text: &str, until: Timestamp) -> Found<()> {
        self.payloads.insert(run.clone(), (text.to_owned(), until));
        Ok(())
    }
    async fn payload(&mut self, run: &RunKey) -> Found<Option<String>> {
        Ok(self.payloads.get(run).map(|(text, _)| text.clone()))
    }
    async fn remove_payload(&mut self, run: &RunKey) -> Found<()> {
        self.payloads.remove(run);
        Ok(())
    }
    async fn overdue_payloads(&mut self, now: Timestamp, limit: u32) -> Found<Vec<RunKey>> {
        let mut due: Vec<_> = self
            .payloads
            .iter()
            .filter(|(_, (_, until))| *until <= now)
            .map(|(key, (_, at))| (*at, key.clone()))
            .collect();
        due.sort();
        Ok(due.into_iter().map(|(_, key)| key).take(limit as usize).collect())
    }
    async fn live_runs(&mut self, scope: &Scope, workflow: Option<&WorkflowId>) -> Found<Vec<RunRow>> {
        let live = self.of_scope(scope).filter(|run| !run.is_over());
        Ok(Self::oldest_first(live.filter(|run| workflow.is_none_or(|wanted| run.workflow == *wanted))))
    }
    async fn sharing(&mut self, scope: &Scope, workflow: &WorkflowId, key: &str) -> Found<Vec<RunRow>> {
        let live = self.of_scope(scope).filter(|run| !run.is_over() && run.workflow == *workflow);
        Ok(Self::oldest_first(live.filter(|run| run.concurrency.as_deref() == Some(key))))
    }
    async fn active_count(&mut self, scope: &Scope) -> Found<u32> {
        let count = self.of_scope(scope).filter(|run| run.is_active()).count();
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }
    async fn has_live(&mut self, scope: &Scope, workflow: &WorkflowId, kind: TriggerKind) -> Found<bool> {
        let of_kind = |run: &&RunRow| run.workflow == *workflow && run.trigger.kind == kind;
        Ok(self.of_scope(scope).filter(of_kind).any(|run| !run.is_over()))
    }
    async fn due(&mut self, now: Timestamp, limit: u32) -> Found<Vec<RunKey>> {
        let mut due: Vec<(Timestamp, &RunKey)> = self
            .runs
            .values()
            .filter_map(|(run, _)| Some((run.wake_at.filter(|at| *at <= now)?, &run.key)))
            .collect();
        due.sort();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(due.into_iter().take(limit).map(|(_, key)| key.clone()).collect())
    }
    async fn next_wake(&mut self) -> Found<Option<Timestamp>> {
        Ok(self.runs.values().filter_map(|(run, _)| run.wake_at).min())
    }
    async fn list(&mut self, scope: &Scope, filter: &RunFilter) -> Found<Vec<RunRow>> {
        let failed = |run: &RunRow| {
            matches!(run.state.outcome, Some(Outcome::Failure | Outcome::Error | Outcome::TimedOut))
        };
        let wanted = |run: &&RunRow| {
            filter.workflow.as_ref().is_none_or(|workflow| run.workflow == *workflow)
                && filter.commit.as_ref().is_none_or(|commit| run.commit == *commit)
                && (!filter.failed || failed(run))
                && (!filter.open || !run.is_over())
                && filter.suffix.as_ref().is_none_or(|suffix| run.key.id.as_str().ends_with(suffix))
                && filter.before.as_ref().is_none_or(|before| run.key.id < *before)
        };
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        Ok(self.of_scope(scope).rev().filter(wanted).take(limit).cloned().collect())
    }

    async fn put_job(&mut self, job: &Job) -> Found<()> {
        self.jobs.insert((job.run.clone(), job.place.clone()), job.clone());
        Ok(())
    }
    async fn hold_job(&mut self, run: &RunKey, place: &Place, until: Timestamp, cancel: bool) -> Found<()> {
        if let Some(job) = self.jobs.get_mut(&(run.clone(), place.clone()))
            && let Some(held) = &mut job.held
        {
            *held = Held { worker: held.worker.clone(), until, cancel };
        }
        Ok(())
    }
    async fn held_by(&mut self, worker: &str) -> Found<Vec<Job>> {
        let held = |job: &&Job| job.held.as_ref().is_some_and(|held| held.worker == worker);
        Ok(self.jobs.values().filter(held).cloned().collect())
    }
    async fn remove_job(&mut self, run: &RunKey, place: &Place) -> Found<()> {
        self.jobs.remove(&(run.clone(), place.clone()));
        Ok(())
    }
    async fn jobs(&mut self, run: &RunKey) -> Found<Vec<Job>> {
        Ok(self.jobs.values().filter(|job| job.run == *run).cloned().collect())
    }
    async fn job(&mut self, run: &RunKey, place: &Place) -> Found<Option<Job>> {
        Ok(self.jobs.get(&(run.clone(), place.clone())).cloned())
    }
    async fn begin_jobs(&mut self, run: &RunKey) -> Found<()> {
        self.jobs.values_mut().filter(|job| job.run == *run).for_each(|job| job.begun = true);
        Ok(())
    }
    async fn next_job(&mut self, scope: &Scope, eligible: &Eligible) -> Found<Option<Job>> {
        let may = |job: &&Job| {
            job.run.scope == *scope
                && job.held.is_none()
                && (job.begun || (!eligible.begun_only && !eligible.paused.contains(&job.workflow)))
        };
        let first = self.jobs.values().filter(may).min_by(|a, b| {
            let key = |job: &Job| (!job.begun, job.queued_at, job.run.id.clone(), job.place.clone());
            key(a).cmp(&key(b))
        });
        Ok(first.cloned())
    }
    async fn has_queued(&mut self, scope: &Scope) -> Found<bool> {
        Ok(self.jobs.values().any(|job| job.run.scope == *scope && job.held.is_none()))
    }

    async fn turns(&mut self) -> Found<Vec<Turn>> {
        Ok(self.turns.values().filter(|turn| turn.busy).cloned().collect())
    }
    async fn turn(&mut self, scope: &Scope) -> Found<Option<Turn>> {
        Ok(self.turns.get(scope).cloned())
    }
    async fn put_turn(&mut self, turn: &Turn) -> Found<()> {
        self.turns.insert(turn.scope.clone(), turn.clone());
        Ok(())
    }

    async fn put_attempt(&mut self, attempt: &AttemptRow) -> Found<()> {
        let key = (attempt.run.clone(), attempt.place.clone(), attempt.attempt);
        self.attempts.insert(key, attempt.clone());
        Ok(())
    }
    async fn attempt(&mut self, scope: &Scope, id: &AttemptId) -> Found<Option<AttemptRow>> {
        Ok(self.attempts.get(&attempt_key(scope, id)).cloned())
    }
    async fn put_log_end(&mut self, scope: &Scope, id: &AttemptId, end: &[LogRecord]) -> Found<()> {
        self.log_ends.insert(attempt_key(scope, id), end.to_vec());
        Ok(())
    }
    async fn log_end(&mut self, scope: &Scope, id: &AttemptId) -> Found<Option<Vec<LogRecord>>> {
        let key = attempt_key(scope, id);
        let known = self.attempts.contains_key(&key);
        Ok(known.then(|| self.log_ends.get(&key).cloned().unwrap_or_default()))
    }
    async fn attempts(&mut self, scope: &Scope, runs: &[RunId]) -> Found<BTreeMap<RunId, Vec<AttemptRow>>> {
        let mut found: BTreeMap<RunId, Vec<AttemptRow>> = BTreeMap::new();
        for attempt in self.attempts.values() {
            if attempt.run.scope == *scope && runs.contains(&attempt.run.id) {
                found.entry(attempt.run.id.clone()).or_default().push(attempt.clone());
            }
        }
        for attempts in found.values_mut() {
            attempts.sort_by_key(|attempt| attempt.leased_at);
        }
        Ok(found)
    }

    async fn cursors(&mut self, scope: &Scope) -> Found<BTreeMap<(WorkflowId, String), Timestamp>> {
        Ok(self.cursors.get(scope).cloned().unwrap_or_default())
    }
    async fn put_cursor(
        &mut self,
        scope: &Scope,
        workflow: &WorkflowId,
        entry: &str,
        at: Timestamp,
    ) -> Found<()> {
        let cursors = self.cursors.entry(scope.clone()).or_default();
        let cursor = cursors.entry((workflow.clone(), entry.to_owned())).or_insert(at);
        *cursor = (*cursor).max(at);
        Ok(())
    }

    async fn chain_head(&mut self, chain: &Chain) -> Found<Option<(u64, String)>> {
        let last = self.audit.get(chain).and_then(|records| records.last());
        Ok(last.map(|record| (record.sequence, record.hash.clone())))
    }
    async fn add_audit(&mut self, chain: &Chain, record: &AuditRecord) -> Found<()> {
        self.audit.entry(chain.clone()).or_default().push(record.clone());
        Ok(())
    }
    async fn audit(&mut self, chain: &Chain, after: u64, limit: u32) -> Found<Vec<AuditRecord>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let records = self.audit.get(chain).map(Vec::as_slice).unwrap_or_default();
        Ok(records.iter().filter(|record| record.sequence > after).take(limit).cloned().collect())
    }
}
