//! The same random list of operations on SQLite and on the model gives the same answers and the same state, and
//! neither ever breaks what a queue promises.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixture::*;
use super::*;
use crate::authz::action::{Cancel, Start, Steer, Suspend, View, ViewAccess};
use crate::domain::{Actor, OnLimit, Outcome, Overlap, TriggerKind, Workflow};
use crate::run::{CancelRequest, Verdict};

/// One operation; numbers choose among what there is.
#[derive(Clone, Debug)]
enum Act {
    Apply { tenant: u8, shape: u8 },
    Remove { tenant: u8 },
    Start { tenant: u8, workflow: u8, key: u8 },
    Fire { tenant: u8, workflow: u8, overlap: u8 },
    Claim { worker: u8, slots: u8 },
    Complete { lease: u8, well: bool, again: bool },
    Renew { lease: u8 },
    Cancel { tenant: u8, run: u8 },
    Answer { tenant: u8, run: u8, yes: bool, right: bool },
    Pause { tenant: u8, workflow: u8, on: bool },
    Suspend { tenant: u8, on: bool },
    Pin { tenant: u8, shape: u8, on: bool },
    EndPin { tenant: u8 },
    Abandon { worker: u8 },
    Wake,
    Pass { seconds: u8 },
}

fn act() -> impl Strategy<Value = Act> {
    let tenant = 0..2_u8;
    let workflow = 0..5_u8;
    prop_oneof![
        2 => (tenant.clone(), 0..5_u8).prop_map(|(tenant, shape)| Act::Apply { tenant, shape }),
        1 => tenant.clone().prop_map(|tenant| Act::Remove { tenant }),
        6 => (tenant.clone(), workflow.clone(), 0..12_u8)
            .prop_map(|(tenant, workflow, key)| Act::Start { tenant, workflow, key }),
        2 => (tenant.clone(), workflow.clone(), 0..3_u8)
            .prop_map(|(tenant, workflow, overlap)| Act::Fire { tenant, workflow, overlap }),
        6 => (0..2_u8, 1..4_u8).prop_map(|(worker, slots)| Act::Claim { worker, slots }),
        6 => (0..8_u8, any::<bool>(), any::<bool>())
            .prop_map(|(lease, well, again)| Act::Complete { lease, well, again }),
        2 => (0..8_u8).prop_map(|lease| Act::Renew { lease }),
        2 => (tenant.clone(), 0..8_u8).prop_map(|(tenant, run)| Act::Cancel { tenant, run }),
        3 => (tenant.clone(), 0..8_u8, prop::bool::weighted(0.7), prop::bool::weighted(0.9))
            .prop_map(|(tenant, run, yes, right)| Act::Answer { tenant, run, yes, right }),
        1 => (tenant.clone(), workflow, any::<bool>())
            .prop_map(|(tenant, workflow, on)| Act::Pause { tenant, workflow, on }),
        1 => (tenant, any::<bool>()).prop_map(|(tenant, on)| Act::Suspend { tenant, on }),
        2 => (0..2_u8, 0..5_u8, prop::bool::weighted(0.8))
            .prop_map(|(tenant, shape, on)| Act::Pin { tenant, shape, on }),
        1 => (0..2_u8).prop_map(|tenant| Act::EndPin { tenant }),
        1 => (0..2_u8).prop_map(|worker| Act::Abandon { worker }),
        2 => Just(Act::Wake),
        2 => (1..50_u8).prop_map(|seconds| Act::Pass { seconds }),
    ]
}

fn workflows(shape: u8) -> Vec<Workflow> {
    let mut all = vec![
        asking("asks"),
        workflow("plain", &["one", "two"]),
        exclusive("queue", OnLimit::Queue),
        exclusive("skip", OnLimit::Skip),
        exclusive("cancel", OnLimit::Cancel),
    ];
    all.truncate(usize::from(shape) + 1);
    all
}

fn name(tenant: u8) -> &'static str {
    if tenant == 0 { "acme" } else { "globex" }
}

/// One engine under test: what it was given and what it answered.
struct Play {
    store: Arc<dyn Store>,
    now: Timestamp,
    runs: u64,
    leases: Vec<(Lease, String)>,
    /// Fencing tokens handed out, each once.
    tokens: BTreeSet<String>,
    said: Vec<Value>,
}

impl Play {
    fn new(store: Arc<dyn Store>) -> Self {
        Self { store, now: START, runs: 0, leases: Vec::new(), tokens: BTreeSet::new(), said: Vec::new() }
    }
    async fn actual(&self, tenant: u8) -> Option<Arc<ActualState>> {
        self.store.access(&tenant_id(name(tenant))).await.unwrap()
    }
    /// The tenant, if it is there for people.
    async fn live(&self, tenant: u8) -> Option<Arc<ActualState>> {
        self.actual(tenant).await.filter(|actual| actual.removed.is_none())
    }
    fn say<T: std::fmt::Debug>(&mut self, what: &str, answer: Result<T, StoreError>) -> Option<T> {
        match answer {
            Ok(value) => {
                self.said.push(json!([what, format!("{value:?}")]));
                Some(value)
            }
            Err(error) => {
                self.said.push(json!([what, refusal(&error)]));
                None
            }
        }
    }
    fn pins(&mut self, actual: &ActualState, workflow: u8) -> Option<RunPins> {
        let known = actual.workflows(self.now)?;
        let chosen = known.values().nth(usize::from(workflow) % known.len())?;
        self.runs += 1;
        let mut pins = pins(&actual.tenant, chosen, self.runs, self.now);
        pins.incarnation = actual.incarnation;
        Some(pins)
    }
    fn take(&mut self, leases: Vec<Lease>, worker: &str) {
        for lease in leases {
            assert!(self.tokens.insert(lease.attempt.to_string()), "{} was handed out twice", lease.attempt);
            self.leases.push((lease, worker.to_owned()));
        }
    }

    async fn act(&mut self, act: &Act) {
        let (store, now) = (Arc::clone(&self.store), self.now);
        match act {
            Act::Apply { tenant, shape } => {
                let id = tenant_id(name(*tenant));
                let actual =
                    self.actual(*tenant).await.unwrap_or_else(|| ActualState::empty(id.clone()).into());
                let permit = reconcile(&actual, now);
                let expected = store.actual(&permit).await.unwrap().generation;
                let next = application(&id, expected, u64::from(*shape), Some(state(&workflows(*shape))));
                let done = store.apply(&permit, &next, now).await;
                self.say("apply", done);
            }
            Act::Remove { tenant } => {
                let Some(actual) = self.actual(*tenant).await else { return };
                let next = application(&actual.tenant, actual.generation, 9, None);
                let done = store.apply(&reconcile(&actual, now), &next, now).await;
                self.say("remove", done);
            }
            Act::Start { tenant, workflow, key } => {
                let Some(actual) = self.live(*tenant).await else { return };
                let Some(mut pins) = self.pins(&actual, *workflow) else { return };
                pins.trigger.key = format!("request-{key}");
                let permit = right::<Start>("carol", &actual, now);
                let done = store.start(&permit, pins, entry("run.started", now)).await;
                self.say("start", done);
            }
            Act::Fire { tenant, workflow, overlap } => {
                let Some(actual) = self.live(*tenant).await else { return };
                let Some(mut pins) = self.pins(&actual, *workflow) else { return };
                pins.trigger.kind = TriggerKind::Schedule;
                pins.trigger.key = now.to_string();
                let overlap = [Overlap::Skip, Overlap::Queue, Overlap::Cancel][usize::from(*overlap)];
                let fired = Fired {
                    workflow: pins.workflow.id.clone(),
                    entry: "daily".to_owned(),
                    cursor: now,
                    overlap,
                    pins: Some(pins),
                };
                let done = store.fire(&schedule(&actual, now), vec![fired], now).await;
                self.say("fire", done);
            }
            Act::Claim { worker, slots } => {
                let worker = format!("worker-{worker}");
                let leases = store.claim(&worker, None, u32::from(*slots), now).await.unwrap();
                self.said
                    .push(json!(leases.iter().map(|lease| lease.attempt.to_string()).collect::<Vec<_>>()));
                self.take(leases, &worker);
            }
            Act::Complete { lease, well, again } => {
                if self.leases.is_empty() {
                    return;
                }
                let chosen = usize::from(*lease) % self.leases.len();
                let (lease, worker) = self.leases[chosen].clone();
                let outcome = if *well { Outcome::Success } else { Outcome::Failure };
                let text = format!("{} said something\n", lease.attempt);
                let end = LogRecord { sequence: 1, at: now, stream: LogStream::Stdout, text };
                // A lease that completes again must say the same, so what it says depends on nothing else.
                let log_end =
                    if chosen.is_multiple_of(2) { vec![LogRecord { at: START, ..end }] } else { Vec::new() };
                let said = Report { log_end, ..report(outcome) };
                let done = store.complete(&lease.permit, &lease.attempt, said, now).await;
                let done = done.map(|next| {
                    let said = next.as_ref().map(|next| next.attempt.to_string());
                    (said, next)
                });
                match done {
                    Ok((said, next)) => {
                        self.said.push(json!(said));
                        if !next.as_ref().is_some_and(|next| self.tokens.contains(&next.attempt.to_string()))
                        {
                            self.take(next.into_iter().collect(), &worker);
                        }
                    }
                    Err(error) => self.said.push(json!(refusal(&error))),
                }
                // Sometimes the reply is lost, and the worker says it again.
                if !again {
                    self.leases.remove(chosen);
                }
            }
            Act::Renew { lease } => {
                if self.leases.is_empty() {
                    return;
                }
                let (lease, _) = &self.leases[usize::from(*lease) % self.leases.len()];
                let done = store.renew(&[(lease.permit.clone(), lease.attempt.clone())], now).await;
                self.say("renew", done);
            }
            Act::Cancel { tenant, run } => {
                let Some(actual) = self.live(*tenant).await else { return };
                let by = Actor::User("carol".parse().unwrap());
                let request =
                    CancelRequest { by, reason: "enough".to_owned(), at: now, outcome: Outcome::Cancelled };
                let permit = right::<Cancel>("carol", &actual, now);
                let id = run_id(u64::from(*run));
                let done = store.cancel(&permit, &id, request, entry("run.cancelled", now)).await;
                self.say("cancel", done);
            }
            Act::Answer { tenant, run, yes, right: eligible } => {
                let Some(actual) = self.live(*tenant).await else { return };
                let view = right::<View>("audrey", &actual, now);
                let id = run_id(u64::from(*run));
                let record = store.run(&view, &id).await.ok();
                let asked = record.iter().flat_map(|run| &run.steps).find_map(|step| step.approval.clone());
                let who = if *eligible { "audrey" } else { "carol" };
                let verdict = if *yes { Verdict::Approve } else { Verdict::Reject };
                let shown = asked.map(|asked| asked.shown).unwrap_or_default();
                match answer_right(who, &actual, now) {
                    Ok(permit) => {
                        let said = answer(who, verdict, &shown);
                        let done = store.decide_step(&permit, &id, said, entry("step.approved", now)).await;
                        self.say("answer", done);
                    }
                    Err(refusal) => self.said.push(json!(refusal.to_string())),
                }
            }
            Act::Pause { tenant, workflow, on } => {
                let Some(actual) = self.live(*tenant).await else { return };
                let known = workflows(4)[usize::from(*workflow)].id.clone();
                let pause = on.then(|| Pause { reason: "look".to_owned(), until: Some(now + LEASE) });
                let permit = right::<Steer>("carol", &actual, now);
                let done = store.set_pause(&permit, &known, pause, entry("workflow.paused", now)).await;
                self.say("pause", done);
            }
            Act::Suspend { tenant, on } => {
                let Some(actual) = self.live(*tenant).await else { return };
                let pause = on.then(|| Pause { reason: "look".to_owned(), until: None });
                let permit = right::<Suspend>("carol", &actual, now);
                let done = store.set_suspension(&permit, pause, entry("tenant.suspended", now)).await;
                self.say("suspend", done);
            }
            Act::Pin { tenant, shape, on } => {
                let Some(actual) = self.live(*tenant).await else { return };
                let to = commit(u64::from(*shape)).to_string();
                let until = now + LEASE;
                let pin = on.then(|| PinRequest { to, reason: "worse since".to_owned(), until });
                let permit = right::<Steer>("carol", &actual, now);
                let done = store.set_pin(&permit, pin, entry("tenant.pinned", now)).await;
                self.say("pin", done);
            }
            Act::EndPin { tenant } => {
                let Some(actual) = self.live(*tenant).await else { return };
                let done = store.end_pin(&reconcile(&actual, now), now).await;
                self.say("end pin", done);
            }
            Act::Abandon { worker } => {
                let done = store.abandon(&format!("worker-{worker}"), now).await;
                self.say("abandon", done);
            }
            Act::Wake => {
                let done = store.wake(100, now).await;
                self.say("wake", done);
            }
            Act::Pass { seconds } => self.now = now + Length::from_secs(u64::from(*seconds)),
        }
    }

    /// Everything that can be seen of it, and what must hold whatever was done.
    async fn seen(&self) -> Value {
        let mut tenants = BTreeMap::new();
        for tenant in 0..2 {
            let Some(actual) = self.actual(tenant).await else { continue };
            let (mut runs, mut ends) = (Vec::new(), Vec::new());
            let mut audit = Vec::new();
            if actual.removed.is_none() {
                let all = RunFilter { limit: 1_000, ..RunFilter::default() };
                runs = self.store.runs(&right::<View>("audrey", &actual, self.now), &all).await.unwrap();
                let view = right::<View>("audrey", &actual, self.now);
                for (run, step) in runs.iter().flat_map(|run| run.steps.iter().map(move |step| (run, step))) {
                    let (run, attempt) = (run.id.clone(), step.attempt);
                    let id = AttemptId { run, step: step.id.clone(), item: step.item, attempt };
                    ends.push(match self.store.log_end(&view, &id).await {
                        Ok(end) => json!(end),
                        Err(error) => json!(refusal(&error)),
                    });
                }
                let permit = right::<ViewAccess>("audrey", &actual, self.now);
                audit = self.store.audit(&permit, 0, 10_000).await.unwrap();
            }
            let mut holders: BTreeMap<String, usize> = BTreeMap::new();
            for run in &runs {
                let exclusive = ["queue", "skip", "cancel"].contains(&run.workflow.as_str());
                if exclusive && run.started_at.is_some() && run.ended_at.is_none() {
                    *holders.entry(run.workflow.to_string()).or_default() += 1;
                }
                for step in run.steps.iter().filter(|step| step.ended_at.is_some()) {
                    assert!(step.outcome.is_some(), "{} ended somehow", run.id);
                }
            }
            assert!(holders.values().all(|count| *count <= 1), "one of each key at a time: {holders:?}");
            let mut verifier = crate::record::Verifier::default();
            audit.iter().for_each(|record| verifier.push(&serde_json::to_value(record).unwrap()));
            assert_eq!(verifier.finish(None), []);
            tenants.insert(
                name(tenant),
                json!({ "actual": *actual, "runs": runs, "ends": ends, "audit": audit }),
            );
        }
        let heads = format!("{:?}", self.store.tenants().await.unwrap());
        json!({ "tenants": tenants, "heads": heads, "said": self.said })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn both_engines_are_one_store(acts in proptest::collection::vec(act(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let clock: crate::domain::Clock = Arc::new(|| START);
            let sqlite = Arc::new(SqliteStore::open(directory.path(), clock.clone()).await.unwrap());
            let mut model = Play::new(Arc::new(MemoryStore::new()));
            let mut tested = Play::new(Arc::clone(&sqlite) as Arc<dyn Store>);
            for act in &acts {
                model.act(act).await;
                tested.act(act).await;
                assert_eq!(model.said.last(), tested.said.last(), "after {act:?}");
            }
            let wanted = model.seen().await;
            assert_eq!(wanted, tested.seen().await);
            assert_eq!(sqlite.check().await.unwrap(), Vec::<String>::new());
            sqlite.close().await;
            // And nothing of it lives in memory only.
            let again = Arc::new(SqliteStore::open(directory.path(), clock).await.unwrap());
            tested.store = Arc::clone(&again) as Arc<dyn Store>;
            assert_eq!(wanted, tested.seen().await);
            again.close().await;
        });
    }
}
