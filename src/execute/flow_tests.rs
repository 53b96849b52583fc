//! The whole way of a run, from its trigger to its record: real queue, machine and worker over the model of the store,
//! with a sandbox that does as it is told and a clock that is moved by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use super::{Leases as _, Ports, Settings, StoreLeases, Worker};
use crate::authz::{Action, Facts, Permit, Standing, action, decide};
use crate::broker::Broker;
use crate::domain::{
    Actor, AttemptId, AuditEntry, Ceilings, ChangeControlMode, ChangeKeys, Clock, CommitId, Exit, ExitKind,
    FreshIds, Grant, Length, ObjectId, OnRewrite, Outcome, People, Person, Phase, Platform, Removals,
    Retention, Retry, Role, RunId, ScheduleTrigger, Shell, Status, StatusRow, Step, TenantId, Timestamp,
    Trigger, TriggerKind, Usage, Waits, Work, Workflow,
};
use crate::queue::Keeper;
use crate::record::RunRecord;
use crate::run::{Ask, CancelRequest, pin, samples};
use crate::sandbox::{
    Capabilities, Ended, Executor, Program, RunningStep, SandboxError, Started, StepOutput, StepSpec, Stop,
};
use crate::secrets::{Sealed, Vault, VaultError};
use crate::sops::Plaintext;
use crate::source::{Contents, SourceError};
use crate::store::{Application, Logs as _, MemoryLogs, MemoryStore, RunFilter, Store as _};

const NOON: i64 = 1_795_435_200_000;

/// A sandbox that reads its orders from the script, a line each: `print TEXT`, `write JSON`, `fail TIMES`, `hang`.
struct Puppet {
    directory: tempfile::TempDir,
    count: AtomicU64,
    capabilities: Capabilities,
    seen: Mutex<Vec<BTreeMap<String, String>>>,
}

struct PuppetStep {
    exit: Exit,
    output: StepOutput,
    hangs: bool,
    stopped: Option<Stop>,
}

#[async_trait]
impl Executor for Puppet {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    async fn start(&self, spec: StepSpec) -> Result<Started, SandboxError> {
        let Program::Inline { text, .. } = &spec.program else { panic!("only inline scripts") };
        let mut step =
            PuppetStep { exit: Exit::exited(0), output: StepOutput::Nothing, hangs: false, stopped: None };
        let mut printed = Vec::new();
        let attempt: u32 = spec.environment["TENANTRY_ATTEMPT"].parse().expect("a number");
        for line in text.lines() {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("print", words) => printed.extend_from_slice(format!("{words}\n").as_bytes()),
                ("write", json) => step.output = StepOutput::Bytes(json.as_bytes().to_vec()),
                ("fail", times) if attempt <= times.parse().expect("a number") => step.exit = Exit::exited(7),
                ("fail", _) => {}
                ("hang", _) => step.hangs = true,
                _ => return Err(SandboxError::Refused("no such order".into())),
            }
        }
        self.seen.lock().expect("whole").push(spec.environment.clone());
        let path = self.directory.path().join(self.count.fetch_add(1, Ordering::Relaxed).to_string());
        let broker = tokio::net::UnixListener::bind(path).expect("bound");
        Ok(Started {
            peers: crate::sandbox::Peers::of(&broker),
            step: Box::new(step),
            stdout: Box::new(std::io::Cursor::new(printed)),
            stderr: Box::new(std::io::Cursor::new(Vec::new())),
            broker,
            host_uid: 0,
        })
    }
    async fn recover(&self) -> Result<usize, SandboxError> {
        Ok(0)
    }
}

#[async_trait]
impl RunningStep for PuppetStep {
    async fn wait(&mut self) -> Ended {
        let exit = match self.stopped {
            None if self.hangs => std::future::pending().await,
            None => self.exit,
            Some(Stop::Cancelled) => Exit::of(ExitKind::Cancelled),
            Some(_) => Exit::of(ExitKind::Lost),
        };
        Ended {
            exit,
            usage: Usage::default(),
            output: self.output.clone(),
            contacts: Vec::new(),
            problem: None,
        }
    }
    async fn stop(&mut self, why: Stop, _grace: Duration) {
        self.stopped.get_or_insert(why);
    }
}

/// Neither files nor secrets stand in these workflows.
struct Nothing;

#[async_trait]
impl Contents for Nothing {
    async fn blob(&self, _: &ObjectId) -> Result<Arc<[u8]>, SourceError> {
        unreachable!("nobody asks")
    }
}

#[async_trait]
impl Vault for Nothing {
    async fn open(
        &self,
        _: &Permit<action::ReadSecret>,
        _: Sealed<'_>,
        _: Timestamp,
    ) -> Result<Plaintext, VaultError> {
        unreachable!("nobody asks")
    }
}

struct House {
    store: Arc<MemoryStore>,
    logs: Arc<MemoryLogs>,
    leases: Arc<StoreLeases>,
    puppet: Arc<Puppet>,
    worker: Arc<Worker>,
    keeper: Keeper,
    time: Arc<AtomicI64>,
    fresh: FreshIds,
}

fn commit() -> CommitId {
    "a".repeat(40).parse().expect("an id")
}

fn alice() -> Actor {
    Actor::User("alice".parse().expect("a name"))
}

impl House {
    /// A tenant with one workflow, applied at noon.
    async fn with(workflow: Workflow) -> Self {
        let time = Arc::new(AtomicI64::new(NOON));
        let clock: Clock = {
            let time = Arc::clone(&time);
            // A millisecond passes at each look, so that what comes later is later.
            Arc::new(move || Timestamp::from_millis(time.fetch_add(1, Ordering::SeqCst)))
        };
        let ids = Arc::new(AtomicU64::new(1));
        let fresh: FreshIds =
            Arc::new(move || uuid::Uuid::from_u128(u128::from(ids.fetch_add(1, Ordering::SeqCst)) << 80));
        let store = Arc::new(MemoryStore::new());
        let logs = Arc::new(MemoryLogs::default());
        let leases = Arc::new(StoreLeases::new(
            Arc::<MemoryStore>::clone(&store),
            Arc::<MemoryLogs>::clone(&logs),
            "here",
            None,
            Arc::clone(&clock),
        ));
        let puppet = Arc::new(Puppet {
            directory: tempfile::tempdir().expect("a directory"),
            count: AtomicU64::new(0),
            capabilities: Capabilities {
                tier: Default::default(),
                limits: Default::default(),
                features: Vec::new(),
                notes: Vec::new(),
            },
            seen: Mutex::default(),
        });
        let broker = Broker::new(
            Arc::<MemoryStore>::clone(&store),
            Arc::new(Nothing),
            Arc::new(Nothing),
            Arc::clone(&clock),
        );
        let ports = Ports {
            leases: Arc::<StoreLeases>::clone(&leases),
            executor: Arc::<Puppet>::clone(&puppet),
            source: Arc::new(Nothing),
            broker,
            clock: Arc::clone(&clock),
        };
        let settings = Settings {
            slots: 4,
            poll: Duration::from_millis(20),
            heartbeat: Duration::from_millis(20),
            drain: Duration::from_millis(50),
        };
        let keeper = Keeper::new(Arc::<MemoryStore>::clone(&store), Arc::clone(&fresh), Arc::clone(&clock));
        let worker = Arc::new(Worker::new(ports, settings));
        let house = Self { store, logs, leases, puppet, worker, keeper, time, fresh };
        house.apply(workflow).await;
        house
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.time.load(Ordering::SeqCst))
    }

    fn later(&self, secs: i64) {
        self.time.fetch_add(secs * 1000, Ordering::SeqCst);
    }

    async fn apply(&self, workflow: Workflow) {
        let tenant: TenantId = "acme".parse().expect("a name");
        let mut state = samples::tenant_state();
        state.grants =
            BTreeSet::from([Grant { role: Role::Operator, principal: "alice".parse().expect("a name") }]);
        state.workflows = BTreeMap::from([(workflow.id.clone(), workflow)]);
        let keys =
            ChangeKeys { tenant: Some("b".repeat(40).parse().expect("an id")), ..ChangeKeys::default() };
        let status = StatusRow {
            tenant: Some(tenant.clone()),
            status: Status::Applied,
            observed_commit: Some(commit()),
            last_attempted_commit: Some(commit()),
            last_applied_commit: Some(commit()),
            restricted_commit: None,
            applied_generation: 1,
            retry_at: None,
            failures: 0,
            held: Vec::new(),
            findings: Vec::new(),
            pinned: None,
            conditions: Vec::new(),
            keys: keys.clone(),
            at: self.now(),
        };
        let application = Application {
            expected_generation: 0,
            commit: commit(),
            keys,
            digest: Some(state.digest()),
            next: Some(state),
            authors: BTreeSet::new(),
            removals: Removals::default(),
            removals_only: false,
            runs: Vec::new(),
            audit: Vec::new(),
            status,
        };
        let permit = Permit::for_reconcile(&Standing::unseen(tenant), self.now());
        self.store.apply(&permit, &application, self.now()).await.expect("applied");
    }

    async fn permit<A: Action>(&self) -> Permit<A> {
        let actual =
            self.store.access(&"acme".parse().expect("a name")).await.expect("readable").expect("there");
        let person = Person { name: None, email: None, keys: Vec::new(), identities: BTreeMap::new() };
        let platform = Platform {
            settings: crate::domain::Settings {
                id: "0192f1c2-0000-7000-8000-000000000000".into(),
                name: "test".into(),
                branch: "main".into(),
                on_rewrite: OnRewrite::Hold,
                mode: ChangeControlMode::Open,
                policy: String::new(),
                limits: Ceilings::default(),
                retention: Retention::default(),
                recovery: Vec::new(),
                private: Vec::new(),
                indexes: Vec::new(),
                mail: false,
            },
            people: People {
                users: BTreeMap::from([("alice".parse().expect("a name"), person)]),
                ..People::default()
            },
            admins: BTreeSet::new(),
            maintainers: BTreeMap::new(),
        };
        decide(&alice(), &Facts::of(&actual, Some(&platform)), self.now()).expect("permitted")
    }

    fn entry(&self, word: &str) -> AuditEntry {
        AuditEntry {
            at: self.now(),
            tenant: Some("acme".parse().expect("a name")),
            actor: alice(),
            action: word.into(),
            resource: "workflow:sync".into(),
            allowed: true,
            reason: "a test".into(),
            commit: None,
            run: None,
        }
    }

    /// Alice starts the workflow.
    async fn start(&self) -> RunId {
        let actual =
            self.store.access(&"acme".parse().expect("a name")).await.expect("readable").expect("there");
        let applied = actual.applied.as_ref().expect("applied");
        let id = RunId::from_uuid((self.fresh)());
        let trigger = Trigger { kind: TriggerKind::Manual, key: id.to_string(), time: self.now() };
        let ask = Ask {
            tenant: &actual.tenant,
            incarnation: actual.incarnation,
            state: &applied.state,
            revoked: &actual.revoked,
            commit: &applied.commit,
            authors: &BTreeSet::new(),
            tree: applied.keys.tenant.as_ref().expect("a tree"),
            generation: actual.generation,
            workflow: &"sync".parse().expect("a name"),
            trigger: &trigger,
            actor: &alice(),
            body: &Value::Null,
            given: &BTreeMap::new(),
        };
        let pins = pin(&ask, id.clone(), self.now()).expect("can be made");
        let permit = self.permit::<action::Start>().await;
        self.store.start(&permit, pins, self.entry("run.started")).await.expect("started");
        id
    }

    async fn record(&self, run: &RunId) -> RunRecord {
        self.store.run(&self.permit::<action::View>().await, run).await.expect("there")
    }

    async fn attempts(&self, run: &RunId) -> Vec<(String, u32, Option<Outcome>)> {
        let record = self.record(run).await;
        record.steps.iter().map(|step| (step.id.to_string(), step.attempt, step.outcome)).collect()
    }

    /// Everything that was written, the oldest run first.
    async fn logged(&self) -> String {
        let permit = self.permit::<action::View>().await;
        let filter = RunFilter { limit: 100, ..RunFilter::default() };
        let runs = self.store.runs(&permit, &filter).await.expect("listed");
        let mut text = String::new();
        for run in runs.iter().rev() {
            for step in &run.steps {
                let id = AttemptId {
                    run: run.id.clone(),
                    step: step.id.clone(),
                    item: step.item,
                    attempt: step.attempt,
                };
                let mut records = self.logs.read(&permit, &id, 0, 1000).await.expect("readable");
                records.extend(self.store.log_end(&permit, &id).await.expect("readable"));
                records.iter().for_each(|record| text.push_str(&record.text));
            }
        }
        text
    }

    /// Serves until `done` says so, then stops the worker.
    async fn serve_until<F: Future<Output = bool>>(&self, done: impl Fn() -> F) {
        let (stop, stopped) = watch::channel(false);
        let worker = Arc::clone(&self.worker);
        let task = tokio::spawn(async move { worker.serve(&Notify::new(), stopped).await });
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            while !done().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.expect("in time");
        stop.send_replace(true);
        task.await.expect("ends").expect("gives back");
    }
}

fn step(name: &str, waits: Waits, script: &str) -> Step {
    let mut step = samples::step(name, waits);
    step.work = Work::Inline { shell: Shell::Sh, text: script.into() };
    step
}

fn with(step: Step, fields: &Value) -> Step {
    let fields = fields.as_object().into_iter().flatten();
    let with = fields.map(|(name, value)| (name.parse().expect("a name"), value.clone())).collect();
    Step { with: Some(with), ..step }
}

fn above(name: &str) -> Waits {
    Waits::Above(name.parse().expect("a name"))
}

#[tokio::test]
async fn steps_run_one_after_the_other_and_hand_their_outputs_on() {
    let pull = step("pull", Waits::Nothing, "print pulling\nwrite {\"count\": 2}");
    let load =
        with(step("load", above("pull"), "print loading"), &json!({"n": "${{ steps.pull.outputs.count }}"}));
    let house = House::with(samples::workflow(vec![pull, load])).await;
    let run = house.start().await;
    house.worker.until_idle().await.expect("idle");
    let record = house.record(&run).await;
    assert_eq!((record.state, record.outcome), (Phase::Ended, Some(Outcome::Success)), "{:?}", record.reason);
    assert_eq!(house.logged().await, "pulling\nloading\n");
    assert_eq!(record.steps[0].log_bytes, 8);
    let seen = house.puppet.seen.lock().expect("whole");
    assert_eq!(seen[1].get("INPUT_N").map(String::as_str), Some("2"));
    assert_eq!(house.worker.active(), 0);
}

#[tokio::test]
async fn a_failure_is_tried_again_when_its_time_has_come() {
    let mut flaky = step("flaky", Waits::Nothing, "fail 1");
    flaky.retry = Retry { attempts: 2, ..Retry::default() };
    let mut house = House::with(samples::workflow(vec![flaky])).await;
    let run = house.start().await;
    house.worker.until_idle().await.expect("idle");
    assert_eq!(house.record(&run).await.state, Phase::Waiting);
    house.keeper.pass().await.expect("passes");
    house.worker.until_idle().await.expect("idle");
    assert_eq!(house.record(&run).await.state, Phase::Waiting, "not before its time");
    house.later(11);
    house.keeper.pass().await.expect("passes");
    house.worker.until_idle().await.expect("idle");
    assert_eq!(house.record(&run).await.outcome, Some(Outcome::Success));
    let want = [("flaky".into(), 1, Some(Outcome::Failure)), ("flaky".into(), 2, Some(Outcome::Success))];
    assert_eq!(house.attempts(&run).await, want);
}

#[tokio::test]
async fn a_failure_names_its_exit() {
    let house = House::with(samples::workflow(vec![step("main", Waits::Nothing, "fail 9")])).await;
    let run = house.start().await;
    house.worker.until_idle().await.expect("idle");
    let record = house.record(&run).await;
    assert_eq!(
        (record.outcome, record.steps[0].exit.clone()),
        (Some(Outcome::Failure), json!({"kind": "exited", "code": 7, "signal": null}))
    );
    assert_eq!(house.logged().await, "[exited with code 7]\n");
    assert_eq!(record.reason.as_deref(), Some("step `main`: exited with code 7"));
}

#[tokio::test]
async fn a_step_that_the_sandbox_refuses_is_our_error() {
    let house = House::with(samples::workflow(vec![step("main", Waits::Nothing, "dance")])).await;
    let run = house.start().await;
    house.worker.until_idle().await.expect("idle");
    let record = house.record(&run).await;
    assert_eq!(record.outcome, Some(Outcome::Error));
    assert_eq!(
        record.reason.as_deref(),
        Some("step `main`: steps are refused on this machine: no such order")
    );
}

#[tokio::test]
async fn a_cancel_reaches_what_runs() {
    let house = House::with(samples::workflow(vec![step("main", Waits::Nothing, "hang")])).await;
    let run = house.start().await;
    let (asked, house) = (std::sync::atomic::AtomicBool::new(false), &house);
    house
        .serve_until(|| async {
            if house.worker.active() == 1 && !asked.swap(true, Ordering::SeqCst) {
                let by = alice();
                let request = CancelRequest {
                    by,
                    reason: "wrong day".into(),
                    at: house.now(),
                    outcome: Outcome::Cancelled,
                };
                let permit = house.permit::<action::Cancel>().await;
                house
                    .store
                    .cancel(&permit, &run, request, house.entry("run.cancelled"))
                    .await
                    .expect("asked");
            }
            house.record(&run).await.state == Phase::Ended
        })
        .await;
    let record = house.record(&run).await;
    assert_eq!((record.outcome, record.reason.as_deref()), (Some(Outcome::Cancelled), Some("wrong day")));
    assert_eq!(house.logged().await, "[it was cancelled]\n");
}

#[tokio::test]
async fn a_worker_that_cannot_renew_gives_up_before_another_begins() {
    let mut house = House::with(samples::workflow(vec![step("main", Waits::Nothing, "hang")])).await;
    let run = house.start().await;
    {
        let house = &house;
        let moved = std::sync::atomic::AtomicBool::new(false);
        house
            .serve_until(|| async {
                if house.worker.active() == 1 && !moved.swap(true, Ordering::SeqCst) {
                    // The clock passes the lease at once: a suspended machine, say.
                    house.later(61);
                }
                moved.load(Ordering::SeqCst) && house.worker.active() == 0
            })
            .await;
    }
    assert_eq!(house.record(&run).await.outcome, None, "nothing was reported");
    house.keeper.pass().await.expect("passes");
    let lease = house.leases.claim(1).await.expect("claims");
    assert_eq!(lease[0].attempt.attempt, 2);
}

#[tokio::test]
async fn a_shutdown_hands_back_what_does_not_end_in_time() {
    let script = "print last words\nhang";
    let house = House::with(samples::workflow(vec![step("main", Waits::Nothing, script)])).await;
    let run = house.start().await;
    {
        let house = &house;
        house.serve_until(|| async { house.worker.active() == 1 }).await;
    }
    assert_eq!(house.worker.active(), 0);
    let record = house.record(&run).await;
    assert_eq!((record.state, record.outcome), (Phase::Queued, None), "at once, not when the lease ends");
    assert!(
        house.logged().await.starts_with("last words\n"),
        "what it had said is kept: {}",
        house.logged().await
    );
    assert_eq!(house.leases.claim(1).await.expect("claims")[0].attempt.attempt, 2);
}

#[tokio::test]
async fn a_schedule_runs_at_its_time_and_once() {
    let mut flow = samples::workflow(vec![step("main", Waits::Nothing, "print hourly")]);
    flow.triggers.schedules = vec![ScheduleTrigger {
        entry: "0 * * * * UTC".into(),
        cron: "0 * * * *".into(),
        timezone: "UTC".into(),
        catch_up: Default::default(),
        overlap: Default::default(),
        exact: true,
        with: BTreeMap::new(),
    }];
    let mut house = House::with(flow).await;
    let pass = house.keeper.pass().await.expect("passes");
    let next = Timestamp::from_millis(NOON) + Length::from_secs(3600);
    assert_eq!(pass.next, Some(next), "noon is past");
    house.later(3600);
    for _ in 0..3 {
        house.keeper.pass().await.expect("passes");
        house.worker.until_idle().await.expect("idle");
    }
    assert_eq!(house.logged().await, "hourly\n");
    house.later(3 * 3600);
    house.keeper.pass().await.expect("passes");
    house.worker.until_idle().await.expect("idle");
    assert_eq!(house.logged().await, "hourly\nhourly\n", "catch_up: one");
}
