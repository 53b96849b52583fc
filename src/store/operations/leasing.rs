//! Attempts given to workers, for a time, and taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::audit_in;
use super::running::{Move, attempt_id, drive, drive_with, served};
use crate::authz::{Permit, Standing, action};
use crate::domain::{
    Actor, ActualState, AttemptId, AuditEntry, HostPort, RunPins, Step, TenantId, Timestamp, Work,
};
use crate::run::{self, RunEvent};
use crate::store::rows::{Document, Eligible, Found, Job, Place, Rows, RunKey, RunRow, Scope, Turn};
use crate::store::{AppliedPlatform, LEASE, LOG_END_BYTES_MAX, Lease, Renewal, Report, StoreError, tenant};

/// What one lease costs a tenant in virtual time.
const TURN_COST: u64 = 1_000;

pub(in crate::store) async fn claim(
    rows: &mut dyn Rows,
    worker: &str,
    regions: Option<&[String]>,
    slots: u32,
    now: Timestamp,
) -> Found<Vec<Lease>> {
    let now = rows.now(now);
    let slots = usize::try_from(slots).unwrap_or(usize::MAX);
    let mut served = served(rows).await?;
    let started_at = served;
    // A tenant that could not be served while others were has no claim on the time that went by.
    let mut line: BTreeMap<(u64, TenantId), Turn> = BTreeMap::new();
    for turn in rows.turns().await? {
        line.insert((turn.virtual_time.max(served), turn.scope.tenant.clone()), turn);
    }
    let mut leases = Vec::new();
    while leases.len() < slots {
        let Some(((time, name), mut turn)) = line.pop_first() else { break };
        let leased = match servable(rows, &turn.scope, regions, now).await? {
            Some((actual, eligible)) => match rows.next_job(&turn.scope, &eligible).await? {
                Some(job) => match rows.run(&job.run).await? {
                    Some(run) => lease(rows, &actual, run, job, worker, now).await?,
                    None => None,
                },
                None => None,
            },
            None => None,
        };
        match leased {
            Some(lease) => {
                leases.push(lease);
                served = time;
                turn.virtual_time = time + TURN_COST;
                rows.put_turn(&turn).await?;
                line.insert((turn.virtual_time, name), turn);
            }
            None if !rows.has_queued(&turn.scope).await? => {
                turn.busy = false;
                rows.put_turn(&turn).await?;
            }
            None => {}
        }
    }
    if served != started_at {
        rows.put_document(Document::VirtualTime, &served.to_string()).await?;
    }
    Ok(leases)
}

/// Claims by the store's own clock, never before `now`; `None` if there is nothing to lease.
pub(in crate::store) async fn offer(
    rows: &mut dyn Rows,
    worker: &str,
    regions: Option<&[String]>,
    slots: u32,
    now: Timestamp,
) -> Found<Option<Vec<Lease>>> {
    let now = rows.clock().max(now);
    let leases = claim(rows, worker, regions, slots, now).await?;
    Ok((!leases.is_empty()).then_some(leases))
}

/// What of a tenant may be leased now; `None` if nothing.
async fn servable(
    rows: &mut dyn Rows,
    scope: &Scope,
    regions: Option<&[String]>,
    now: Timestamp,
) -> Found<Option<(Arc<ActualState>, Eligible)>> {
    let actual = match rows.tenant(&scope.tenant).await {
        Ok(Some(actual)) => actual,
        // A row that cannot be trusted gives no access, and stops nobody else.
        Ok(None) | Err(StoreError::Corrupt { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    if actual.incarnation != scope.incarnation || !tenant::is_served(&actual, regions) {
        return Ok(None);
    }
    let limit = tenant::runs_max(&actual);
    let full = limit != u32::MAX && rows.active_count(scope).await? >= limit;
    let begun_only = full || tenant::suspension(&actual, now).is_some();
    let paused = tenant::paused(&actual, now);
    Ok(Some((actual, Eligible { begun_only, paused })))
}

/// Leases one queued job of a run; `None` if the run no longer has it queued.
async fn lease(
    rows: &mut dyn Rows,
    actual: &ActualState,
    run: RunRow,
    job: Job,
    worker: &str,
    now: Timestamp,
) -> Found<Option<Lease>> {
    let until = now + LEASE;
    let Place { step, item } = job.place.clone();
    let event = RunEvent::Leased { step: step.clone(), item, attempt: job.attempt, until };
    let run =
        drive_with(rows, Move { run, event, worker: Some(worker.to_owned()), report: None }, now).await?;
    if !run.state.holds(&step, item, job.attempt) {
        return Ok(None);
    }
    lent(rows, actual, &run, &job.place, worker).await
}

/// A lease as its worker gets it.
async fn lent(
    rows: &mut dyn Rows,
    actual: &ActualState,
    run: &RunRow,
    place: &Place,
    worker: &str,
) -> Found<Option<Lease>> {
    let pins = within_reach(rows.pins(&run.key).await?, place, actual);
    let Some(item) = run.state.item(&place.step, place.item) else { return Ok(None) };
    let Some(until) = item.lease_until else { return Ok(None) };
    let step = pins.workflow.step(&place.step);
    let fan_out = step.is_some_and(|step| step.for_each.is_some());
    let (private, indexes) = match step {
        Some(step) => opened(rows, &run.key.scope.tenant, &pins, step).await?,
        None => Default::default(),
    };
    let attempt = AttemptId { item: fan_out.then_some(place.item), ..attempt_id(run, place, item.attempt) };
    Ok(Some(Lease {
        attempt,
        permit: Permit::for_lease(worker, &Standing::of(actual), until),
        until,
        private,
        indexes,
        input: item.input.clone(),
        idempotency_key: run::idempotency_key(&pins, &place.step, &item.key),
        cancel: item.stopping_since.is_some(),
        pins,
    }))
}

/// The pins with the step narrowed to what the applied state leaves of its limits and hosts.
fn within_reach(pins: Arc<RunPins>, place: &Place, actual: &ActualState) -> Arc<RunPins> {
    let Some(applied) = &actual.applied else { return pins };
    let narrowed =
        pins.workflow.step(&place.step).and_then(|step| run::narrowed(&pins.workflow, step, &applied.state));
    let Some(narrowed) = narrowed else { return pins };
    let mut pins = Arc::unwrap_or_clone(pins);
    let steps = pins.workflow.steps.iter_mut().chain(pins.workflow.on_failure.as_deref_mut());
    if let Some(step) = steps.into_iter().find(|step| step.id == narrowed.id) {
        *step = narrowed;
    }
    Arc::new(pins)
}

/// What the platform, as it is applied, opens to a step of a tenant: private ranges, and where packages come from.
/// Asked for where a step could use it only.
async fn opened(
    rows: &mut dyn Rows,
    tenant: &TenantId,
    pins: &RunPins,
    step: &Step,
) -> Found<(BTreeSet<HostPort>, Vec<String>)> {
    let locked = match &step.work {
        Work::Script { path } => pins.workflow.files.contains_key(&format!("{path}.lock")),
        Work::Inline { .. } | Work::Approval(_) => false,
    };
    if step.network.is_empty() && !locked {
        return Ok(Default::default());
    }
    let platform: Option<AppliedPlatform> = super::reconciling::document(rows, Document::Platform).await?;
    let Some(AppliedPlatform { platform, .. }) = platform else { return Ok(Default::default()) };
    let openings = platform.settings.private.iter().filter(|one| one.tenant == tenant.as_str());
    // One that is an address opens nothing to steps, which go by names.
    let private = openings.filter_map(|one| format!("{}:{}", one.host, one.port).parse().ok()).collect();
    Ok((private, if locked { platform.settings.indexes } else { Vec::new() }))
}

fn place_of(attempt: &AttemptId) -> Place {
    Place { step: attempt.step.clone(), item: attempt.item.unwrap_or(0) }
}

/// The job of an attempt, if it is still leased to the permit's worker: the fence.
///
/// Compares with the row and not with the permit's end, which a renewal has moved. The authority number is not
/// asked for: a right that ends takes nothing from an attempt under way; what it may still open is looked up
/// each time.
async fn fenced<A: crate::authz::Action>(
    rows: &mut dyn Rows,
    permit: &Permit<A>,
    attempt: &AttemptId,
    now: Timestamp,
) -> Found<Job> {
    let stale = || StoreError::Stale(attempt.clone());
    let Actor::Worker(worker) = permit.actor() else { return Err(stale()) };
    let scope = Scope { tenant: permit.tenant().clone(), incarnation: permit.incarnation() };
    let key = RunKey { scope, id: attempt.run.clone() };
    let job = rows.job(&key, &place_of(attempt)).await?.ok_or_else(stale)?;
    let held = job.held.as_ref().is_some_and(|held| held.worker == *worker && now <= held.until);
    if held && job.attempt == attempt.attempt { Ok(job) } else { Err(stale()) }
}

pub(in crate::store) async fn holds(
    rows: &mut dyn Rows,
    permit: &Permit<action::Execute>,
    attempt: &AttemptId,
    now: Timestamp,
) -> Found<()> {
    let now = rows.now(now);
    fenced(rows, permit, attempt, now).await.map(|_| ())
}

pub(in crate::store) async fn renew(
    rows: &mut dyn Rows,
    leases: &[(Permit<action::Execute>, AttemptId)],
    now: Timestamp,
) -> Found<Vec<Renewal>> {
    let now = rows.now(now);
    let mut answers = Vec::with_capacity(leases.len());
    for (permit, attempt) in leases {
        let job = match fenced(rows, permit, attempt, now).await {
            Ok(job) => job,
            Err(StoreError::Stale(_)) => {
                answers.push(Renewal::Lost);
                continue;
            }
            Err(error) => return Err(error),
        };
        let run = rows.run(&job.run).await?.ok_or(StoreError::NotFound)?;
        let until = now + LEASE;
        let Place { step, item } = job.place;
        let event = RunEvent::Renewed { step: step.clone(), item, attempt: job.attempt, until };
        let run = drive(rows, run, event, now).await?;
        answers.push(if run.state.holds(&step, item, job.attempt) {
            Renewal::Until { until, cancel: run.state.is_stopping(&step, item) }
        } else {
            Renewal::Lost
        });
    }
    Ok(answers)
}

pub(in crate::store) async fn complete(
    rows: &mut dyn Rows,
    permit: &Permit<action::Execute>,
    attempt: &AttemptId,
    report: Report,
    now: Timestamp,
) -> Found<Option<Lease>> {
    let now = rows.now(now);
    let job = match fenced(rows, permit, attempt, now).await {
        Ok(job) => job,
        Err(StoreError::Stale(stale)) => {
            return match answered_before(rows, permit, attempt, &report).await? {
                Some(answer) => Ok(answer),
                None => Err(StoreError::Stale(stale)),
            };
        }
        Err(error) => return Err(error),
    };
    let said: usize = report.log_end.iter().map(|record| record.text.len()).sum();
    if said > LOG_END_BYTES_MAX {
        let why =
            format!("the output that comes with a report has {LOG_END_BYTES_MAX} bytes at most: append it");
        return Err(StoreError::Refused(why));
    }
    let run = rows.run(&job.run).await?.ok_or(StoreError::NotFound)?;
    let event = RunEvent::Completed {
        step: job.place.step.clone(),
        item: job.place.item,
        attempt: job.attempt,
        outcome: report.outcome,
        reason: report.reason.clone(),
        outputs: report.outputs.clone(),
    };
    let entry = ended_entry(permit, attempt, &report, &run, now);
    let run = drive_with(rows, Move { run, event, worker: None, report: Some(report) }, now).await?;
    audit_in(rows, &job.run.scope, [entry]).await?;
    if run.is_over() {
        return Ok(None);
    }
    // What this frees goes to the same worker in the same transaction: a sequence costs one commit a step.
    let Some(actual) = rows.tenant(&job.run.scope.tenant).await? else { return Ok(None) };
    let Actor::Worker(worker) = permit.actor() else { return Ok(None) };
    let next = rows.jobs(&run.key).await?.into_iter().find(|job| job.held.is_none());
    let Some(next) = next.filter(|_| actual.incarnation == run.key.scope.incarnation) else {
        return Ok(None);
    };
    let scope = run.key.scope.clone();
    let next = lease(rows, &actual, run, next, worker, now).await?;
    if next.is_some()
        && let Some(mut turn) = rows.turn(&scope).await?
    {
        turn.virtual_time += TURN_COST;
        rows.put_turn(&turn).await?;
    }
    Ok(next)
}

/// The answer to a completion whose reply was lost: the same worker says the same of the same attempt again.
async fn answered_before(
    rows: &mut dyn Rows,
    permit: &Permit<action::Execute>,
    attempt: &AttemptId,
    report: &Report,
) -> Found<Option<Option<Lease>>> {
    let scope = Scope { tenant: permit.tenant().clone(), incarnation: permit.incarnation() };
    let Actor::Worker(worker) = permit.actor() else { return Ok(None) };
    let id = AttemptId { item: Some(attempt.item.unwrap_or(0)), ..attempt.clone() };
    let Some(known) = rows.attempt(&scope, &id).await? else { return Ok(None) };
    let (Some(ended_at), true) = (known.ended_at, known.worker == *worker) else { return Ok(None) };
    if known.record.as_ref() != Some(&report.record) {
        return Ok(None);
    }
    let key = RunKey { scope: scope.clone(), id: attempt.run.clone() };
    let (Some(run), Some(actual)) = (rows.run(&key).await?, rows.tenant(&scope.tenant).await?) else {
        return Ok(Some(None));
    };
    for job in rows.jobs(&key).await? {
        if job.held.as_ref().is_none_or(|held| held.worker != *worker) {
            continue;
        }
        let next = rows.attempt(&scope, &attempt_id(&run, &job.place, job.attempt)).await?;
        if next.is_some_and(|next| next.leased_at == ended_at) {
            return Ok(Some(lent(rows, &actual, &run, &job.place, worker).await?));
        }
    }
    Ok(Some(None))
}

fn ended_entry(
    permit: &Permit<action::Execute>,
    attempt: &AttemptId,
    report: &Report,
    run: &RunRow,
    now: Timestamp,
) -> AuditEntry {
    let digest = report.record.log_digest.as_deref().unwrap_or("none");
    AuditEntry {
        at: now,
        tenant: Some(permit.tenant().clone()),
        actor: permit.actor().clone(),
        action: "attempt.ended".to_owned(),
        resource: format!("attempt:{attempt}"),
        allowed: true,
        reason: format!("{}, log of {} bytes, {digest}", report.outcome, report.record.log_bytes),
        commit: Some(run.commit.clone()),
        run: Some(attempt.run.clone()),
    }
}

pub(in crate::store) async fn abandon(rows: &mut dyn Rows, worker: &str, now: Timestamp) -> Found<u32> {
    let now = rows.now(now);
    let mut lost = 0;
    for job in rows.held_by(worker).await? {
        let Some(run) = rows.run(&job.run).await? else { continue };
        let Place { step, item } = job.place;
        drive(rows, run, RunEvent::Lost { step, item, attempt: job.attempt }, now).await?;
        lost += 1;
    }
    Ok(lost)
}

pub(in crate::store) async fn reach(
    rows: &mut dyn Rows,
    permit: &Permit<action::ReadSecret>,
    attempt: &AttemptId,
    now: Timestamp,
) -> Found<Arc<ActualState>> {
    let now = rows.now(now);
    fenced(rows, permit, attempt, now).await?;
    let actual = rows.tenant(permit.tenant()).await?.ok_or(StoreError::NotFound)?;
    if actual.incarnation == permit.incarnation() && actual.removed.is_none() {
        Ok(actual)
    } else {
        Err(StoreError::Denied("the tenant is no longer there".to_owned()))
    }
}

pub(in crate::store) async fn audit_attempt(
    rows: &mut dyn Rows,
    permit: &Permit<action::ReadSecret>,
    attempt: &AttemptId,
    entry: AuditEntry,
) -> Found<()> {
    let now = rows.now(entry.at);
    let job = fenced(rows, permit, attempt, now).await?;
    audit_in(rows, &job.run.scope, [AuditEntry { run: Some(attempt.run.clone()), ..entry }]).await
}
