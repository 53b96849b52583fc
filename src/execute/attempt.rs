//! One attempt from its lease to its report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::capture::{Capture, Stored};
use super::hold::{Ask, Hold};
use super::masking::Masking;
use super::worker::Ports;
use super::{results, spec};
use crate::broker::{Door, Limits, NotGiven};
use crate::desired::python;
use crate::domain::{Contact, Exit, ExitKind, LimitsKind, Outcome, RunPins, Step, Usage, Work};
use crate::record::AttemptRecord;
use crate::run;
use crate::sandbox::{Ended, Packages, Preparation, Reach, SandboxError, Started, StepFile, Stop};
use crate::sops::Plaintext;
use crate::store::{Lease, Report};

/// The time between asking a step to end and killing it. Source: design page `runs.md`.
const GRACE: Duration = Duration::from_secs(10);
/// The time for the rest of the output once every process is dead.
const DRAIN: Duration = Duration::from_secs(1);

/// Runs one attempt; `None` if it was lost on the way, so that nothing may be reported.
pub(super) async fn execute(ports: &Ports, lease: &Lease, hold: &Arc<Hold>) -> Option<Report> {
    if *hold.asks().borrow() == Ask::Cancel {
        return Some(unstarted(Outcome::Cancelled, ExitKind::Cancelled, None));
    }
    let Some(step) = lease.pins.workflow.step(&lease.attempt.step) else {
        return Some(not_started(Outcome::Error, "the run has no such step".into()));
    };
    let masking = Arc::new(Masking::default());
    let token = match fresh_token(&masking) {
        Ok(token) => token,
        Err(reason) => return Some(not_started(Outcome::Error, reason)),
    };
    let door = ports.broker.open(lease, &token, Arc::<Masking>::clone(&masking));
    hold.give_door(door.clone());
    let started = match start(ports, lease, step, &token, &door, hold).await {
        Ok(started) => started,
        Err(NotStarted::Lost) => return None,
        Err(NotStarted::Because(outcome, reason)) => {
            door.close();
            let mut report = not_started(outcome, masking.redact(&reason));
            report.record.secrets_used = door.used();
            return Some(report);
        }
    };
    let Started { mut step, stdout, stderr, broker: socket, host_uid, peers } = started;
    let limits = Limits { peer_uid: Some(host_uid), peers: Some(peers), ..Limits::default() };
    let serving = door.serve(socket, limits);
    let capture =
        Capture::start(stdout, stderr, &masking, Arc::clone(&ports.leases), Arc::clone(hold), &ports.clock);
    let mut asks = hold.asks();
    let mut flooded = false;
    let ended = loop {
        let ask = *asks.borrow_and_update();
        match ask {
            Ask::GoOn => {}
            Ask::Cancel => step.stop(Stop::Cancelled, GRACE).await,
            Ask::Lost => step.stop(Stop::Lost, Duration::ZERO).await,
        }
        tokio::select! {
            ended = step.wait() => break ended,
            // The hold outlives this function, so its channel stays open.
            _ = asks.changed() => {}
            () = capture.flooded(), if !flooded => {
                flooded = true;
                step.stop(Stop::OutputLimit, Duration::ZERO).await;
            }
        }
    };
    let secrets_used = serving.close();
    let note = note_with_hosts(&ended).map(|note| masking.redact(&note));
    let stored = capture.finish(DRAIN, note).await;
    if *asks.borrow() == Ask::Lost {
        // It has no report to go with. Where the lease is still ours, as at a shutdown, it is kept; else it is refused.
        if !stored.end.is_empty() {
            drop(ports.leases.append(&hold.permit(), hold.attempt(), &stored.end).await);
        }
        return None;
    }
    Some(report(ended, &masking, stored, secrets_used))
}

/// Why an attempt did not start.
enum NotStarted {
    /// It is no longer ours.
    Lost,
    /// What it ends as, and why.
    Because(Outcome, String),
}

async fn start(
    ports: &Ports,
    lease: &Lease,
    step: &Step,
    token: &str,
    door: &Door,
    hold: &Hold,
) -> Result<Started, NotStarted> {
    // Before a secret of somebody who asks for stronger walls is opened here.
    if let Some(why) = ports.executor.capabilities().too_weak(step.resources.tier) {
        return Err(NotStarted::Because(Outcome::Error, format!("steps are refused on this machine: {why}")));
    }
    if let Some(runtime) = &lease.pins.workflow.runtime {
        let has = ports.executor.has_runtime(runtime).await;
        has.map_err(|cause| NotStarted::Because(Outcome::Error, cause.to_string()))?;
    }
    let files = files(ports, &lease.pins).await?;
    let packages = packages(ports, lease, step, &files, hold).await?;
    let delivered = door.deliver().await.map_err(|(name, refusal)| match refusal {
        NotGiven::Stale => NotStarted::Lost,
        // What the tenant's files decide is the step's failure, what this machine lacks is ours.
        NotGiven::Reach(_) | NotGiven::Unredactable(_) | NotGiven::NoText(_) | NotGiven::TooMany => {
            NotStarted::Because(Outcome::Failure, format!("secret `{name}`: {refusal}"))
        }
        NotGiven::AuditUnavailable | NotGiven::Unopened(_) => {
            NotStarted::Because(Outcome::Error, format!("secret `{name}`: {refusal}"))
        }
    })?;
    let lease = &with_sensitive(lease, step, door).await?;
    let spec = spec::of(lease, step, token, files, packages, delivered)
        .map_err(|reason| NotStarted::Because(Outcome::Failure, reason))?;
    ports.executor.start(spec).await.map_err(|cause| NotStarted::Because(Outcome::Error, cause.to_string()))
}

/// The packages of a Python script that carries dependencies, by the lock beside it; `None` for every other step.
///
/// What the commit says was checked when it was read; where packages may come from is asked again, since the platform
/// may have changed its mind.
async fn packages(
    ports: &Ports,
    lease: &Lease,
    step: &Step,
    files: &[StepFile],
    hold: &Hold,
) -> Result<Option<Packages>, NotStarted> {
    let Work::Script { path } = &step.work else { return Ok(None) };
    let file = |path: &str| files.iter().find(|file| file.path == path);
    let Some(script) = file(path) else { return Ok(None) };
    let Some(metadata) = python::metadata(&script.content) else { return Ok(None) };
    if metadata.as_ref().is_ok_and(python::Metadata::is_empty) {
        return Ok(None);
    }
    let lock = file(&python::lock_of(path));
    let hosts = match python::check(&metadata, lock.map(|lock| &*lock.content), &lease.indexes) {
        Ok(hosts) => hosts,
        Err(problems) => {
            let problems: Vec<String> = problems.iter().map(|problem| problem.message(path)).collect();
            return Err(NotStarted::Because(Outcome::Failure, problems.join("; ")));
        }
    };
    let Some(lock) = lock else { return Ok(None) };
    let reach = hosts.into_iter().map(|host| Reach { private: lease.private.contains(&host), host });
    let what = Preparation {
        tenant: lease.pins.tenant.clone(),
        runtime: lease.pins.workflow.runtime.clone(),
        script: script.clone(),
        lock: lock.clone(),
        indexes: lease.indexes.clone(),
        reach: reach.collect(),
    };
    let mut asks = hold.asks();
    let preparing = ports.executor.prepare(what);
    tokio::pin!(preparing);
    loop {
        match *asks.borrow_and_update() {
            Ask::GoOn => {}
            Ask::Cancel => {
                return Err(NotStarted::Because(Outcome::Cancelled, "it was cancelled".to_owned()));
            }
            Ask::Lost => return Err(NotStarted::Lost),
        }
        tokio::select! {
            done = &mut preparing => {
                let failed = |cause: SandboxError| NotStarted::Because(Outcome::Error, cause.to_string());
                return done.map(Some).map_err(failed);
            }
            _ = asks.changed() => {}
        }
    }
}

/// The lease with the sensitive inputs in its input, where its step is given any.
async fn with_sensitive(lease: &Lease, step: &Step, door: &Door) -> Result<Lease, NotStarted> {
    let names = run::sensitive_used(&lease.pins, step);
    if names.is_empty() {
        return Ok(lease.clone());
    }
    let values = door.inputs(&names).await.map_err(|refusal| match refusal {
        NotGiven::Stale => NotStarted::Lost,
        NotGiven::Unredactable(name) => NotStarted::Because(
            Outcome::Failure,
            format!("input `{name}` is sensitive and too short or too common to be masked"),
        ),
        refusal => NotStarted::Because(Outcome::Error, format!("sensitive inputs: {refusal}")),
    })?;
    Ok(Lease { input: run::with_sensitive(step, lease.input.clone(), &values), ..lease.clone() })
}

/// The files of the run's commit that the workflow lists, by the blobs that were pinned.
async fn files(ports: &Ports, pins: &RunPins) -> Result<Vec<StepFile>, NotStarted> {
    let bytes: u64 = pins.workflow.files.values().map(|file| file.size).sum();
    if bytes > spec::FILES_BYTES_MAX {
        let reason = format!("the files that it sees have more than {} bytes", spec::FILES_BYTES_MAX);
        return Err(NotStarted::Because(Outcome::Failure, reason));
    }
    let mut files = Vec::with_capacity(pins.workflow.files.len());
    for (path, file) in &pins.workflow.files {
        let content = ports.source.blob(&file.id).await.map_err(|_| {
            NotStarted::Because(Outcome::Error, format!("`{path}` cannot be read from the repository"))
        })?;
        files.push(StepFile { path: path.clone(), mode: file.mode, content });
    }
    Ok(files)
}

/// 256 random bits that die with the attempt, masked like a secret.
#[expect(clippy::disallowed_methods, reason = "a worker makes the tokens of its attempts")]
fn fresh_token(masking: &Masking) -> Result<Zeroizing<String>, String> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| "this machine gives no random numbers".to_owned())?;
    let token = Zeroizing::new(hex::encode(bytes.as_slice()));
    let name = "token".parse().map_err(|_| "no name for the token".to_owned())?;
    crate::broker::Masks::mask(masking, &name, &Plaintext::new(token.as_bytes().to_vec()))
        .map_err(|_| "the token cannot be masked".to_owned())?;
    Ok(token)
}

/// The last line of the log where the end needs words.
fn note(ended: &Ended) -> Option<String> {
    let said = match ended.exit.kind {
        ExitKind::Exited if ended.exit.code == Some(0) => return None,
        ExitKind::Exited => format!("{}", ended.exit),
        ExitKind::Signalled => format!("ended by a signal that nobody here sent: {}", ended.exit),
        ExitKind::TimedOut => "its time was over".into(),
        ExitKind::Cancelled => "it was cancelled".into(),
        ExitKind::OutOfMemory => "it used up its memory; `resources.memory` gives it more".into(),
        ExitKind::PidLimit => "it used up its processes; `resources.pids` gives it more".into(),
        ExitKind::DiskLimit => "it used up its disk; `resources.disk` gives it more".into(),
        ExitKind::OutputLimit => "it wrote more than anybody reads".into(),
        ExitKind::SandboxError | ExitKind::Lost => {
            ended.problem.clone().unwrap_or_else(|| "the sandbox broke".into())
        }
    };
    Some(format!("[{said}]\n"))
}

/// The last lines of the log: how it ended, and what it could not reach.
fn note_with_hosts(ended: &Ended) -> Option<String> {
    let hosts = ended.contacts.iter().filter_map(|one| Some(format!("[{}: {}]\n", one.host, one.trouble()?)));
    let lines: String = hosts.chain(note(ended)).collect();
    (!lines.is_empty()).then_some(lines)
}

/// What is kept of the hosts. A script can ask for any name, also for one that holds a secret.
fn contacts(seen: &[Contact], masking: &Arc<Masking>) -> Vec<Contact> {
    seen.iter().map(|one| Contact { host: masking.redact(&one.host), ..one.clone() }).collect()
}

fn report(ended: Ended, masking: &Arc<Masking>, stored: Stored, secrets_used: Vec<String>) -> Report {
    let mut outcome = ended.exit.outcome();
    let mut reason = note(&ended).map(|note| note.trim().trim_matches(['[', ']']).to_owned());
    let mut outputs = BTreeMap::new();
    let exit = ended.exit;
    if outcome == Outcome::Success {
        match results::read(ended.output, masking) {
            Ok(read) => outputs = read,
            Err(problem) => (outcome, reason) = (Outcome::Failure, Some(problem)),
        }
    }
    Report {
        outcome,
        reason: reason.map(|reason| masking.redact(&reason)),
        outputs,
        record: AttemptRecord {
            exit: json(&exit),
            usage: json(&ended.usage),
            sandbox: sandbox(&ended.usage),
            secrets_used,
            contacts: contacts(&ended.contacts, masking),
            redactions: masking.hits(),
            log_bytes: stored.bytes,
            log_digest: stored.digest,
        },
        log_end: stored.end,
    }
}

fn sandbox(usage: &Usage) -> String {
    match usage.limits {
        LimitsKind::Enforced => usage.tier.to_string(),
        LimitsKind::BestEffort => format!("{}, limits {}", usage.tier, usage.limits),
    }
}

fn not_started(outcome: Outcome, reason: String) -> Report {
    unstarted(outcome, ExitKind::SandboxError, Some(reason))
}

fn unstarted(outcome: Outcome, kind: ExitKind, reason: Option<String>) -> Report {
    let record = AttemptRecord {
        exit: json(&Exit::of(kind)),
        sandbox: "not started".into(),
        ..AttemptRecord::default()
    };
    Report { outcome, reason, outputs: BTreeMap::new(), record, log_end: Vec::new() }
}

fn json<T: serde::Serialize>(value: &T) -> serde_json::Value {
    // Both are flat structures of words and numbers.
    serde_json::to_value(value).unwrap_or_default()
}
