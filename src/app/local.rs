//! A run without a daemon: the queue, machine, worker, broker and redactor of production over a store in memory that
//! holds one tenant and one run and is gone with them.
//!
//! In memory and not in a directory that is removed afterwards: what is never written can be left behind by nothing,
//! a power cut included. The model keeps to the same trait as SQLite, by the same conformance suite and a test that
//! compares them operation by operation; what it lacks is durability, which nobody asks of this run.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc, watch};

use super::AppError;
use crate::authz::{self, Facts, Permit, Standing, action};
use crate::broker::Broker;
use crate::domain::{
    Actor, AttemptId, AuditEntry, ChangeKeys, Clock, CommitId, LimitsKind, Outcome, Platform, Removals,
    RunId, RunPins, Status, StatusRow, TenantId, TenantState, Tier, Timestamp, UserId,
};
use crate::execute::{self, LeaseError, Leases, StoreLeases, Worker};
use crate::record::{AttemptRecord, RunRecord};
use crate::run::{CancelRequest, Decision, GivenOutputs, Verdict};
use crate::sandbox::{self, Executor, LimitsPolicy, LocalExecutor};
use crate::secrets::Vault;
use crate::source::Contents;
use crate::store::{
    Application, AppliedPlatform, Lease, LogRecord, Logs, MemoryStore, Renewal, Report, Store, StoreError,
};

/// The name of the worker in records.
const WORKER: &str = "work-tree";
/// Who answers what steps ask, in records.
const AT_THE_TERMINAL: &str = "at-the-terminal";
/// How often leases are renewed, which is how soon a running step learns that it is to end.
const HEARTBEAT: Duration = Duration::from_millis(200);
/// The longest that output waits for more before it is shown.
const APPEND_WAIT: Duration = Duration::from_millis(50);
/// How often the clock is looked at where nothing says when.
const POLL: Duration = Duration::from_secs(1);

/// The sandbox of this process, for one run after the other.
pub struct LocalSandbox {
    executor: Arc<dyn Executor>,
    /// Packages of Python scripts, for as long as this process looks at the work tree.
    _packages: tempfile::TempDir,
}

impl LocalSandbox {
    /// Finds out what this machine can do; `runtimes` is where root file systems lie, if there are any. Limits of a whole process tree are wished for, not demanded.
    ///
    /// # Errors
    /// [`AppError::Sandbox`] if there is no helper at all.
    pub async fn open(runtimes: Option<PathBuf>) -> Result<Self, AppError> {
        let program = std::env::current_exe().map_err(|source| AppError::System {
            what: "cannot find this program's own file".into(),
            source,
        })?;
        let packages = tempfile::Builder::new().prefix("tenantry-packages").tempdir();
        let packages = packages.map_err(|source| AppError::System {
            what: "cannot make a directory for packages".into(),
            source,
        })?;
        let settings = sandbox::Settings {
            program,
            instance: format!("run-{}", std::process::id()),
            tier: Tier::default(),
            limits: LimitsPolicy::BestEffort,
            unsandboxed: BTreeSet::new(),
            packages: Some(packages.path().to_owned()),
            runtimes,
        };
        let executor = LocalExecutor::open_first(settings, &sandbox::TIERS_WITH_WALLS).await?;
        Ok(Self { executor: Arc::new(executor), _packages: packages })
    }

    /// What is missing for steps to run, each with its cure; `None` if nothing is.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        self.executor.capabilities().refusal()
    }

    /// Why limits hold for single processes only; `None` where they hold for a whole step.
    #[must_use]
    pub fn limits_gap(&self) -> Option<String> {
        let capabilities = self.executor.capabilities();
        (capabilities.limits == LimitsKind::BestEffort).then(|| {
            "memory and processes are limited for each process alone, since no control group can be written here"
                .to_owned()
        })
    }

    /// Runs one workflow to its end and gives its record. What happens is told as it does; `cancel` asks for the end,
    /// which the steps have the grace for.
    ///
    /// # Errors
    /// [`AppError::Store`], [`AppError::Leases`].
    pub async fn run(
        &self,
        ask: LocalAsk,
        told: mpsc::Sender<Told>,
        cancel: watch::Receiver<Option<String>>,
    ) -> Result<RunRecord, AppError> {
        let clock: Clock = Arc::new(super::now);
        let store = Arc::new(MemoryStore::new());
        let (workers, changed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let leases: Arc<dyn Leases> = Arc::new(ToldLeases {
            inner: StoreLeases::new(
                Arc::<MemoryStore>::clone(&store),
                Arc::new(Unkept),
                WORKER,
                None,
                Arc::clone(&clock),
            ),
            told,
            given: ask.given.clone(),
            workers: Arc::clone(&workers),
            changed: Arc::clone(&changed),
        });
        let broker = Broker::new(
            Arc::<MemoryStore>::clone(&store),
            Arc::clone(&ask.contents),
            Arc::clone(&ask.vault),
            Arc::clone(&clock),
        );
        let ports = execute::Ports {
            leases,
            executor: Arc::clone(&self.executor),
            source: Arc::clone(&ask.contents),
            broker,
            clock,
        };
        let settings = execute::Settings { heartbeat: HEARTBEAT, ..execute::Settings::default() };
        let worker = Worker::new(ports, settings);
        let (end, stop) = watch::channel(false);
        let run = begin(store.as_ref(), ask).await?;
        let working = async {
            let worked = worker.serve(&workers, stop).await;
            worked.map_err(AppError::from)
        };
        let following = async {
            let record = follow(store.as_ref(), &run, &workers, &changed, cancel).await;
            // The worker has nothing left, or is no longer wanted.
            let _ = end.send(true);
            record
        };
        let (worked, record) = tokio::join!(working, following);
        worked?;
        record
    }
}

/// What is run.
pub struct LocalAsk {
    /// Whose.
    pub tenant: TenantId,
    /// What the work tree says should exist.
    pub state: TenantState,
    /// The ids it was read under.
    pub keys: ChangeKeys,
    /// The commit that it lies on.
    pub commit: CommitId,
    /// What binds all tenants, as the work tree says.
    pub platform: Platform,
    /// The run. Each approval that it asks for is given, by one person: its caller has said so.
    pub pins: RunPins,
    /// Where its scripts and sealed secrets are read.
    pub contents: Arc<dyn Contents>,
    /// What opens its secrets.
    pub vault: Arc<dyn Vault>,
    /// Steps that are answered with these outputs and not run.
    pub given: GivenOutputs,
}

/// What happens in a run, as it does.
#[derive(Clone, Debug)]
pub enum Told {
    /// An attempt begins.
    Began(AttemptId),
    /// It wrote something, redacted.
    Wrote(AttemptId, Vec<LogRecord>),
    /// It ended.
    Ended(AttemptId, Outcome),
}

/// A run in a store that holds nothing else.
struct LocalRun {
    id: RunId,
    tenant: TenantId,
    uid: u32,
}

/// Applies the work tree as a commit would be and queues the run with it.
async fn begin(store: &MemoryStore, ask: LocalAsk) -> Result<LocalRun, AppError> {
    let LocalAsk { tenant, state, keys, commit, platform, pins, contents: _, vault: _, given: _ } = ask;
    let now = super::now();
    let status = StatusRow {
        tenant: Some(tenant.clone()),
        status: Status::Applied,
        observed_commit: Some(commit.clone()),
        last_attempted_commit: Some(commit.clone()),
        last_applied_commit: Some(commit.clone()),
        restricted_commit: None,
        applied_generation: 0,
        retry_at: None,
        failures: 0,
        held: Vec::new(),
        findings: Vec::new(),
        pinned: None,
        conditions: Vec::new(),
        keys: keys.clone(),
        at: now,
    };
    let platform = AppliedPlatform { commit: commit.clone(), keys: keys.clone(), platform };
    store.apply_platform(&platform, &StatusRow { tenant: None, ..status.clone() }, &[]).await?;
    let id = pins.id.clone();
    let application = Application {
        expected_generation: 0,
        commit,
        keys,
        digest: Some(state.digest()),
        next: Some(state),
        authors: BTreeSet::new(),
        removals: Removals::default(),
        removals_only: false,
        runs: vec![pins],
        audit: Vec::new(),
        status,
    };
    let permit = Permit::for_reconcile(&Standing::unseen(tenant.clone()), now);
    store.apply(&permit, &application, now).await?;
    Ok(LocalRun { id, tenant, uid: rustix::process::getuid().as_raw() })
}

/// Lets time pass for a run until it has ended.
async fn follow(
    store: &MemoryStore,
    run: &LocalRun,
    workers: &Notify,
    changed: &Notify,
    mut cancel: watch::Receiver<Option<String>>,
) -> Result<RunRecord, AppError> {
    let mut cancelled = false;
    loop {
        let now = super::now();
        let next = store.wake(1, now).await?;
        // What has just come due, such as a retry, can be claimed.
        workers.notify_one();
        let record = run.record(store, now).await?;
        if record.outcome.is_some() {
            return Ok(record);
        }
        if run.answer(store, &record, now).await? {
            continue;
        }
        let wanted = cancel.borrow_and_update().clone();
        if let Some(reason) = wanted.filter(|_| !cancelled) {
            cancelled = true;
            run.cancel(store, reason, now).await?;
            continue;
        }
        let wait = next.map_or(POLL, |next| next.since(now).to_std().min(POLL));
        tokio::select! {
            () = changed.notified() => {}
            () = tokio::time::sleep(wait.max(Duration::from_millis(1))) => {}
            asked = cancel.changed(), if !cancelled => if asked.is_err() { cancelled = true },
        }
    }
}

impl LocalRun {
    async fn standing(&self, store: &MemoryStore) -> Result<Standing, AppError> {
        let actual = store.access(&self.tenant).await?.ok_or(StoreError::NotFound)?;
        Ok(Standing::of(&actual))
    }

    async fn record(&self, store: &MemoryStore, now: Timestamp) -> Result<RunRecord, AppError> {
        let standing = self.standing(store).await?;
        let facts = Facts::without_grants(standing, None);
        let permit = authz::decide::<action::View>(&Actor::Local(self.uid), &facts, now)
            .map_err(|refusal| StoreError::Denied(refusal.to_string()))?;
        Ok(store.run(&permit, &self.id).await?)
    }

    /// Agrees to what steps ask, which whoever began this run has said beforehand; true if one did.
    async fn answer(
        &self,
        store: &MemoryStore,
        record: &RunRecord,
        now: Timestamp,
    ) -> Result<bool, AppError> {
        let mut open = record.steps.iter().filter(|step| step.outcome.is_none());
        let Some((step, asked)) = open.find_map(|step| Some((&step.id, step.approval.as_ref()?))) else {
            return Ok(false);
        };
        // INVARIANT: the name is spelled as a person's is.
        let Ok(person) = AT_THE_TERMINAL.parse::<UserId>() else { return Ok(false) };
        let permit =
            Permit::<action::ApproveStep>::for_work_tree(person.clone(), &self.standing(store).await?, now);
        let reason = Some("--approve".to_owned());
        let decision = Decision {
            step: step.clone(),
            by: person,
            verdict: Verdict::Approve,
            shown: asked.shown.clone(),
            reason,
            lapsed: BTreeSet::new(),
        };
        let entry = AuditEntry {
            at: now,
            tenant: Some(self.tenant.clone()),
            actor: permit.actor().clone(),
            action: "step.approved".to_owned(),
            resource: format!("step:{}/{step}", self.id),
            allowed: true,
            reason: "--approve".to_owned(),
            commit: None,
            run: Some(self.id.clone()),
        };
        Ok(store.decide_step(&permit, &self.id, decision, entry).await?)
    }

    async fn cancel(&self, store: &MemoryStore, reason: String, now: Timestamp) -> Result<(), AppError> {
        let permit = Permit::<action::Cancel>::for_work_tree(self.uid, &self.standing(store).await?, now);
        let by = permit.actor().clone();
        let entry = AuditEntry {
            at: now,
            tenant: Some(self.tenant.clone()),
            actor: by.clone(),
            action: "run.cancelled".to_owned(),
            resource: format!("run:{}", self.id),
            allowed: true,
            reason: reason.clone(),
            commit: None,
            run: Some(self.id.clone()),
        };
        let request = CancelRequest { by, reason, at: now, outcome: Outcome::Cancelled };
        match store.cancel(&permit, &self.id, request, entry).await {
            // It ended by itself meanwhile.
            Ok(()) | Err(StoreError::Refused(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Output is shown as it comes and kept nowhere: a run may write much.
struct Unkept;

#[async_trait]
impl Logs for Unkept {
    async fn append(
        &self,
        _: &Permit<action::Execute>,
        _: &AttemptId,
        _: &[LogRecord],
    ) -> Result<(), StoreError> {
        Ok(())
    }
    async fn read(
        &self,
        _: &Permit<action::View>,
        _: &AttemptId,
        _: u64,
        _: u32,
    ) -> Result<Vec<LogRecord>, StoreError> {
        Ok(Vec::new())
    }
}

/// The store's leases, whose news are told as they come. Whoever is slow to listen slows the scripts, not the memory.
struct ToldLeases {
    inner: StoreLeases,
    told: mpsc::Sender<Told>,
    given: GivenOutputs,
    workers: Arc<Notify>,
    changed: Arc<Notify>,
}

impl ToldLeases {
    async fn tell(&self, told: Told) {
        // Nobody listens any more: the run goes on all the same.
        let _ = self.told.send(told).await;
    }

    /// Completes attempts that are answered from what is given; gives the one that the worker has to run, if any.
    async fn answer(&self, lease: Option<Lease>) -> Result<Option<Lease>, LeaseError> {
        let mut next = lease;
        while let Some(lease) = next.take() {
            let Some(outputs) = self.given.get(&lease.attempt.step).cloned() else {
                self.tell(Told::Began(lease.attempt.clone())).await;
                return Ok(Some(lease));
            };
            let report = Report {
                outcome: Outcome::Success,
                reason: Some("given, not run".to_owned()),
                outputs,
                record: AttemptRecord { sandbox: "not started".to_owned(), ..AttemptRecord::default() },
                log_end: Vec::new(),
            };
            next = self.inner.complete(&lease.permit, &lease.attempt, report).await?;
        }
        self.workers.notify_one();
        self.changed.notify_one();
        Ok(None)
    }
}

#[async_trait]
impl Leases for ToldLeases {
    async fn claim(&self, slots: u32) -> Result<Vec<Lease>, LeaseError> {
        let mut leases = Vec::new();
        for lease in self.inner.claim(slots).await? {
            leases.extend(self.answer(Some(lease)).await?);
        }
        Ok(leases)
    }
    async fn renew(
        &self,
        leases: &[(Permit<action::Execute>, AttemptId)],
    ) -> Result<Vec<Renewal>, LeaseError> {
        self.inner.renew(leases).await
    }
    async fn append(
        &self,
        permit: &Permit<action::Execute>,
        attempt: &AttemptId,
        records: &[LogRecord],
    ) -> Result<(), LeaseError> {
        self.inner.append(permit, attempt, records).await?;
        self.tell(Told::Wrote(attempt.clone(), records.to_vec())).await;
        Ok(())
    }
    async fn complete(
        &self,
        permit: &Permit<action::Execute>,
        attempt: &AttemptId,
        report: Report,
    ) -> Result<Option<Lease>, LeaseError> {
        let (outcome, log_end) = (report.outcome, report.log_end.clone());
        let next = self.inner.complete(permit, attempt, report).await?;
        if !log_end.is_empty() {
            self.tell(Told::Wrote(attempt.clone(), log_end)).await;
        }
        self.tell(Told::Ended(attempt.clone(), outcome)).await;
        let next = self.answer(next).await?;
        // Another step may be free, or the run over.
        self.workers.notify_one();
        self.changed.notify_one();
        Ok(next)
    }
    async fn abandon(&self) -> Result<u32, LeaseError> {
        self.inner.abandon().await
    }
    fn append_wait(&self) -> Duration {
        APPEND_WAIT
    }
}
