//! A process that works on a store is killed at any moment: nothing that it was told is done is lost, nothing is
//! there twice.
//!
//! The process is this test program again, told by its environment to be the one that dies.
#![expect(clippy::disallowed_methods, reason = "starts itself as the process that is killed")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::fixture::*;
use super::*;
use crate::authz::action::{Start, View, ViewAccess};
use crate::domain::{Outcome, Workflow};
use crate::run::Verdict;

const DIRECTORY: &str = "TENANTRY_CRASH_DIRECTORY";
const FIRST: &str = "TENANTRY_CRASH_FIRST";
const WORKER: &str = "embedded";
/// Runs that one process makes at most.
const RUNS: u64 = 1_000;

/// Two steps, and people who are asked between them.
fn two_steps() -> Workflow {
    asking("w")
}

async fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory, Arc::new(|| START)).await.unwrap()
}

/// Says, where the parent reads it whatever happens next, that something was acknowledged.
fn acknowledged(what: &str) {
    println!("done {what}");
    std::io::stdout().flush().unwrap();
}

/// Applies, starts, leases and completes until it is killed.
#[tokio::test]
async fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let store = open(Path::new(&directory)).await;
    let mut now = store.now(START).await.unwrap();
    store.abandon(WORKER, now).await.unwrap();
    let tenant = tenant_id("acme");
    for number in first..first + RUNS {
        now = now + Length::from_millis(10);
        let actual =
            store.access(&tenant).await.unwrap().unwrap_or_else(|| ActualState::empty(tenant.clone()).into());
        if actual.generation == 0 || number % 5 == 0 {
            let mut next = state(&[two_steps()]);
            next.settings.environment = Some(format!("e{number}"));
            let next = application(&tenant, actual.generation, number, Some(next));
            let done = store.apply(&reconcile(&actual, now), &next, now).await.unwrap();
            acknowledged(&format!("applied {}", done.generation));
        }
        let actual = store.access(&tenant).await.unwrap().unwrap();
        let permit = right::<Start>("carol", &actual, now);
        let run = pins(&tenant, &two_steps(), number, now);
        store.start(&permit, run, entry("run.started", now)).await.unwrap();
        acknowledged(&format!("queued {number}"));
        for lease in store.claim(WORKER, None, 2, now).await.unwrap() {
            let mut held = Some(lease);
            while let Some(lease) = held {
                let (permit, attempt) = (&lease.permit, &lease.attempt);
                let next = store.complete(permit, attempt, report(Outcome::Success), now).await.unwrap();
                acknowledged(&format!("completed {attempt}"));
                held = next;
            }
        }
        let view = right::<View>("audrey", &actual, now);
        let record = store.run(&view, &run_id(number)).await.unwrap();
        // Sometimes nobody answers, and it still asks when all is over.
        let asked = record.steps.iter().find_map(|step| step.approval.clone()).filter(|_| number % 3 != 0);
        if let Some(asked) = asked {
            let said = answer("audrey", Verdict::Approve, &asked.shown);
            let permit = answer_right("audrey", &actual, now).unwrap();
            store.decide_step(&permit, &record.id, said, entry("step.approved", now)).await.unwrap();
            acknowledged(&format!("approved {number}"));
        }
    }
}

/// What processes were told is done.
#[derive(Default)]
struct Told {
    generation: u64,
    queued: BTreeSet<u64>,
    completed: BTreeSet<String>,
    approved: BTreeSet<u64>,
}

/// Starts the process, and kills it after a while unless it kills itself.
fn run_and_kill(directory: &Path, first: u64, failpoint: Option<&str>, after: Duration, told: &mut Told) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "store::crash::child", "--nocapture", "--test-threads=1"]);
    command.env(DIRECTORY, directory).env(FIRST, first.to_string());
    if let Some(point) = failpoint {
        command.env("TENANTRY_FAILPOINT", point);
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let output = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        BufReader::new(output).lines().map_while(Result::ok).collect::<Vec<String>>()
    });
    if failpoint.is_none() {
        std::thread::sleep(after);
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    assert!(!status.success(), "it was to die, at {failpoint:?}");
    for line in reader.join().unwrap() {
        // The test harness writes in front of the first line.
        let Some((_, done)) = line.split_once("done ") else { continue };
        match done.split_once(' ').unwrap() {
            ("applied", generation) => told.generation = generation.parse().unwrap(),
            ("queued", number) => assert!(told.queued.insert(number.parse().unwrap())),
            ("approved", number) => assert!(told.approved.insert(number.parse().unwrap())),
            ("completed", attempt) => assert!(told.completed.insert(attempt.to_owned()), "{attempt} twice"),
            other => panic!("{other:?}"),
        }
    }
}

/// Opens what is left and compares it with what was told.
async fn check(directory: &Path, told: &Told) {
    let store = open(directory).await;
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    let Some(actual) = store.access(&tenant_id("acme")).await.unwrap() else {
        assert_eq!((told.generation, told.queued.len()), (0, 0), "the tenant was lost");
        return store.close().await;
    };
    // One more may have been committed that nobody was told of.
    assert!(actual.generation >= told.generation, "{} lost", told.generation);
    let view = right::<View>("audrey", &actual, START);
    let mut before = None;
    let mut runs = BTreeMap::new();
    loop {
        let page = RunFilter { limit: 1_000, before: before.clone(), ..RunFilter::default() };
        let records = store.runs(&view, &page).await.unwrap();
        before = match records.last() {
            Some(last) => Some(last.id.clone()),
            None => break,
        };
        runs.extend(records.into_iter().map(|record| (record.id.clone(), record)));
    }
    for number in &told.queued {
        assert!(runs.contains_key(&run_id(*number)), "run {number} was lost");
    }
    for number in &told.approved {
        let steps = &runs[&run_id(*number)].steps;
        let agreed = steps.iter().find(|step| step.approval.is_some()).expect("it was asked");
        assert_eq!(agreed.outcome, Some(Outcome::Success), "the answer to run {number} was lost");
    }
    for record in runs.values() {
        // Whatever went past people was agreed to.
        let agreed = record
            .steps
            .iter()
            .any(|step| step.approval.as_ref().is_some_and(|asked| !asked.given.is_empty()));
        let past = record.steps.iter().any(|step| step.id.as_str() == "two" && step.attempt > 0);
        assert!(agreed || !past, "{} went on by itself", record.id);
    }
    let mut ended = BTreeSet::new();
    for record in runs.values() {
        let attempts = record.steps.iter().filter(|step| step.approval.is_none());
        for step in attempts.filter(|step| step.outcome == Some(Outcome::Success)) {
            assert!(ended.insert(format!("{}/{}#{}", record.id, step.id, step.attempt)));
        }
        let successes = |id: &str| {
            let of_step = record.steps.iter().filter(|step| step.id.as_str() == id);
            of_step.filter(|step| step.outcome == Some(Outcome::Success)).count()
        };
        assert!(successes("one") <= 1 && successes("two") <= 1, "{} went twice", record.id);
    }
    let lost: Vec<_> = told.completed.difference(&ended).collect();
    assert!(lost.is_empty(), "{lost:?}");

    let permit = right::<ViewAccess>("audrey", &actual, START);
    let (mut after, mut recorded) = (0, BTreeMap::<String, u32>::new());
    let mut verifier = crate::record::Verifier::default();
    loop {
        let page = store.audit(&permit, after, 1_000).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.sequence;
        for record in &page {
            verifier.push(&serde_json::to_value(record).unwrap());
            if record.entry.action == "attempt.ended" {
                *recorded.entry(record.entry.resource.clone()).or_default() += 1;
            }
        }
    }
    assert_eq!(verifier.finish(None), []);
    assert_eq!(recorded.len(), ended.len());
    assert!(recorded.values().all(|times| *times == 1), "recorded twice");
    store.close().await;
}

#[tokio::test]
async fn a_killed_process_loses_nothing_it_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    // Any spread will do; a fixed one makes a failure come back.
    let mut seed = 7_u64;
    for round in 0..20 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let after = Duration::from_millis(60 + (seed >> 33) % 240);
        run_and_kill(directory.path(), round * RUNS, None, after, &mut told);
    }
    check(directory.path(), &told).await;
    assert!(told.completed.len() > 20, "too little was done to say anything: {}", told.completed.len());
}

#[tokio::test]
async fn a_process_that_dies_between_two_statements_loses_nothing_it_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    let mut round = 0;
    for point in FAILPOINTS {
        for nth in [1, 2, 3, 8] {
            let point = format!("{point}:{nth}");
            run_and_kill(directory.path(), round * RUNS, Some(&point), Duration::ZERO, &mut told);
            check(directory.path(), &told).await;
            round += 1;
        }
    }
}
