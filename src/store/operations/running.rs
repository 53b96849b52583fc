//! Runs that begin, move and end: the machine's events, and what follows from each in the rows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{audit_in, permitted, scope_of};
use crate::authz::{Permit, action};
use crate::domain::{
    Actor, ActualState, AuditEntry, DaemonPart, OnLimit, Outcome, Overlap, Phase, RunId, RunPins, Timestamp,
    TriggerKind, WorkflowId,
};
use crate::run::{self, CancelRequest, ItemState, Payload, RunEvent, RunState};
use crate::store::rows::{AttemptRow, Document, Found, Held, Job, Place, Rows, RunKey, RunRow, Scope, Turn};
use crate::store::{Fired, Report, Started, StoreError, tenant};

/// An event of a run with what the rows need to know of it beside.
pub(super) struct Move {
    pub(super) run: RunRow,
    pub(super) event: RunEvent,
    /// Who takes the attempt that the event leases.
    pub(super) worker: Option<String>,
    /// What the worker said of the attempt that the event completes.
    pub(super) report: Option<Report>,
}

/// Moves a run one event forward and, where that ends it, the runs that waited for its concurrency key.
pub(super) async fn drive(
    rows: &mut dyn Rows,
    run: RunRow,
    event: RunEvent,
    now: Timestamp,
) -> Found<RunRow> {
    drive_with(rows, Move { run, event, worker: None, report: None }, now).await
}

pub(super) async fn drive_with(rows: &mut dyn Rows, first: Move, now: Timestamp) -> Found<RunRow> {
    let mut queue = VecDeque::from([first]);
    let mut moved = None;
    while let Some(next) = queue.pop_front() {
        let was_over = next.run.is_over();
        let run = advance(rows, next, now).await?;
        if run.is_over() && !was_over {
            for run in admissible(rows, &run).await? {
                queue.push_back(Move { run, event: RunEvent::Admitted, worker: None, report: None });
            }
        }
        moved.get_or_insert(run);
    }
    // INVARIANT: the queue held `first`, so that the loop ran once at least.
    moved.ok_or(StoreError::NotFound)
}

/// The runs that the end of one lets in: oldest first, as many as the key has room for.
async fn admissible(rows: &mut dyn Rows, ended: &RunRow) -> Found<Vec<RunRow>> {
    let Some(key) = &ended.concurrency else { return Ok(Vec::new()) };
    let sharing = rows.sharing(&ended.key.scope, &ended.workflow, key).await?;
    let held = sharing.iter().filter(|run| run.is_admitted()).count();
    let mut let_in = Vec::new();
    for (held, run) in (held..).zip(sharing.into_iter().filter(|run| !run.is_admitted())) {
        let pins = rows.pins(&run.key).await?;
        if held >= room(&pins) {
            break;
        }
        let_in.push(run);
    }
    Ok(let_in)
}

/// How many runs with its key go at one time.
fn room(pins: &RunPins) -> usize {
    let limit = pins.workflow.concurrency.as_ref().map_or(1, |concurrency| concurrency.limit);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Moves one run and writes what follows: jobs, ended attempts, the next tick.
async fn advance(rows: &mut dyn Rows, step: Move, now: Timestamp) -> Found<RunRow> {
    let Move { mut run, event, worker, mut report } = step;
    let pins = rows.pins(&run.key).await?;
    let (before, was_active) = (run.state.clone(), run.is_active());
    let (state, _) = run::advance(&pins, run.state, event, now);
    // The effects are drawn from the two states and not from the list beside them: rows that follow from the
    // state cannot disagree with it, and writing them twice is harmless.
    run.state = state;
    let wake_at =
        run::next_wake(&pins, &run.state).map(|at| at.max(now + crate::domain::Length::from_millis(1)));
    if run.state == before && run.wake_at == wake_at {
        return Ok(run);
    }
    run.wake_at = wake_at;
    // What is over stands in clear in no row that this transaction writes.
    let written = run.state.clone();
    let closed = super::payloads::close(rows, &mut run, &pins, now).await?;
    if closed && let Some(report) = &mut report {
        report.outputs.clear();
    }
    rows.put_run(&run).await?;
    if run.is_active() && !was_active {
        rows.begin_jobs(&run.key).await?;
    }
    let (old, new) = (items(&before), items(&written));
    let mut queued = false;
    for place in old.keys().chain(new.keys().filter(|place| !old.contains_key(*place))) {
        let (old, new) = (old.get(place).copied(), new.get(place).copied());
        queued |= follow(rows, &run, place, (old, new), worker.as_deref(), now).await?;
        end_attempt(rows, &run, place, (old, new), report.as_ref(), now).await?;
    }
    if closed {
        rows.clear_outputs(&run.key).await?;
    }
    let told = super::asking::asked_between(&run, &pins, &before, now);
    if !told.is_empty() {
        audit_in(rows, &run.key.scope, told).await?;
    }
    if queued {
        get_in_line(rows, &run.key.scope).await?;
    }
    Ok(run)
}

fn items(state: &RunState) -> BTreeMap<Place, &ItemState> {
    let places = state.steps.iter().flat_map(|(step, known)| {
        (0_u32..).zip(&known.items).map(|(item, state)| (Place { step: step.clone(), item }, state))
    });
    places.collect()
}

/// Makes the job of an item follow its state; true if it can be leased from now on.
async fn follow(
    rows: &mut dyn Rows,
    run: &RunRow,
    place: &Place,
    (old, new): (Option<&ItemState>, Option<&ItemState>),
    worker: Option<&str>,
    now: Timestamp,
) -> Found<bool> {
    let had_job = old.is_some_and(|item| matches!(item.phase, Phase::Queued | Phase::Running));
    let Some(item) = new.filter(|item| matches!(item.phase, Phase::Queued | Phase::Running)) else {
        if had_job {
            rows.remove_job(&run.key, place).await?;
        }
        return Ok(false);
    };
    let same = old.is_some_and(|old| old.phase == item.phase && old.attempt == item.attempt);
    // One that rested while people were asked gets in line again, as one that has not begun.
    let begun = run.is_active();
    let job = |attempt, held| Job {
        run: run.key.clone(),
        place: place.clone(),
        workflow: run.workflow.clone(),
        attempt,
        queued_at: now,
        begun,
        held,
    };
    match (item.phase, item.lease_until, worker) {
        (Phase::Queued, ..) if !same => {
            rows.put_job(&job(item.attempt + 1, None)).await?;
            return Ok(true);
        }
        (Phase::Running, Some(until), _) if same => {
            let cancel = item.stopping_since.is_some();
            let changed = old.is_some_and(|old| {
                old.lease_until != item.lease_until || old.stopping_since.is_some() != cancel
            });
            if changed {
                rows.hold_job(&run.key, place, until, cancel).await?;
            }
        }
        (Phase::Running, Some(until), Some(worker)) => {
            let cancel = item.stopping_since.is_some();
            let held = Held { worker: worker.to_owned(), until, cancel };
            rows.put_job(&job(item.attempt, Some(held))).await?;
            rows.put_attempt(&AttemptRow {
                run: run.key.clone(),
                place: place.clone(),
                attempt: item.attempt,
                worker: worker.to_owned(),
                leased_at: now,
                ended_at: None,
                outcome: None,
                reason: None,
                outputs: serde_json::Value::Null,
                record: None,
            })
            .await?;
        }
        _ => {}
    }
    Ok(false)
}

/// Writes the end of an attempt that was running and is no more.
async fn end_attempt(
    rows: &mut dyn Rows,
    run: &RunRow,
    place: &Place,
    (old, new): (Option<&ItemState>, Option<&ItemState>),
    report: Option<&Report>,
    now: Timestamp,
) -> Found<()> {
    let Some(old) = old.filter(|item| item.phase == Phase::Running) else { return Ok(()) };
    let goes_on = new.is_some_and(|item| item.phase == Phase::Running && item.attempt == old.attempt);
    if goes_on {
        return Ok(());
    }
    let id = attempt_id(run, place, old.attempt);
    let Some(mut attempt) = rows.attempt(&run.key.scope, &id).await? else { return Ok(()) };
    let lost = new.is_some_and(|item| item.lost > old.lost);
    let report = report.filter(|_| !lost);
    attempt.ended_at = Some(now);
    attempt.outcome =
        new.and_then(|item| item.outcome).or(report.map(|report| report.outcome)).or(Some(Outcome::Error));
    attempt.reason = if lost {
        Some("its worker was lost".to_owned())
    } else {
        new.and_then(|item| item.reason.clone()).or_else(|| report.and_then(|report| report.reason.clone()))
    };
    if let Some(report) = report {
        attempt.record = Some(report.record.clone());
        if attempt.outcome == Some(Outcome::Success) {
            attempt.outputs = serde_json::to_value(&report.outputs)
                .map_err(|error| StoreError::Corrupt { what: "output", message: error.to_string() })?;
        }
    }
    rows.put_attempt(&attempt).await?;
    match report {
        Some(report) if !report.log_end.is_empty() => {
            rows.put_log_end(&run.key.scope, &id, &report.log_end).await
        }
        _ => Ok(()),
    }
}

/// The attempt as rows name it: with the number of its item, also where there is only one.
pub(super) fn attempt_id(run: &RunRow, place: &Place, attempt: u32) -> crate::domain::AttemptId {
    let item = Some(place.item);
    crate::domain::AttemptId { run: run.key.id.clone(), step: place.step.clone(), item, attempt }
}

/// Puts a tenant among those whose turn can come. One that comes back starts where the others are.
async fn get_in_line(rows: &mut dyn Rows, scope: &Scope) -> Found<()> {
    let turn = rows.turn(scope).await?;
    if turn.as_ref().is_some_and(|turn| turn.busy) {
        return Ok(());
    }
    let known = turn.map_or(0, |turn| turn.virtual_time);
    let virtual_time = known.max(served(rows).await?);
    rows.put_turn(&Turn { scope: scope.clone(), virtual_time, busy: true }).await
}

/// The virtual time of the tenant served last: nobody who waits for a turn stands before it.
pub(super) async fn served(rows: &mut dyn Rows) -> Found<u64> {
    let time = rows.document(Document::VirtualTime).await?;
    Ok(time.and_then(|time| time.parse().ok()).unwrap_or(0))
}

/// Makes one run: once per trigger key, and as its concurrency key has room.
pub(super) async fn begin(
    rows: &mut dyn Rows,
    pins: RunPins,
    payload: Option<&Payload>,
    now: Timestamp,
) -> Found<Started> {
    let scope = Scope { tenant: pins.tenant.clone(), incarnation: pins.incarnation };
    let state = match &pins.keeps {
        None => RunState::new(&pins.workflow),
        Some(of) => {
            let before = rows.run(&RunKey { scope: scope.clone(), id: of.clone() }).await?;
            let before = before.ok_or(StoreError::NotFound)?;
            let state = match payload {
                Some(payload) => before.state.with_payload(of, payload),
                None => before.state,
            };
            RunState::resuming(&pins.workflow, of, &state)
                .map_err(|nothing| StoreError::Refused(nothing.to_string()))?
        }
    };
    let run = RunRow {
        key: RunKey { scope, id: pins.id.clone() },
        workflow: pins.workflow.id.clone(),
        trigger: pins.trigger.clone(),
        commit: pins.commit.clone(),
        created_at: pins.created_at,
        concurrency: pins.concurrency_key.clone(),
        wake_at: None,
        state,
    };
    let pins = Arc::new(pins);
    if let Some(known) = rows.add_run(&run, &pins).await? {
        return Ok(Started::Known(known));
    }
    let id = run.key.id.clone();
    let others = match &run.concurrency {
        None => Vec::new(),
        Some(key) => {
            let mut sharing = rows.sharing(&run.key.scope, &run.workflow, key).await?;
            sharing.retain(|other| other.key != run.key && other.state.cancel.is_none());
            sharing
        }
    };
    if others.len() < room(&pins) {
        // Runs whose end is asked for are no hindrance, but keep their place until they are over.
        if let Some(key) = &run.concurrency {
            let holding = rows.sharing(&run.key.scope, &run.workflow, key).await?;
            if holding.iter().filter(|other| other.is_admitted()).count() >= room(&pins) {
                return Ok(Started::Queued(id));
            }
        }
        drive(rows, run, RunEvent::Admitted, now).await?;
        return Ok(Started::Queued(id));
    }
    match pins.workflow.concurrency.as_ref().map_or(OnLimit::Queue, |concurrency| concurrency.on_limit) {
        OnLimit::Queue => {}
        OnLimit::Skip => {
            let reason = "another run with its concurrency key is active".to_owned();
            drive(rows, run, RunEvent::Skipped { reason }, now).await?;
        }
        OnLimit::Cancel => {
            let surplus = others.len() + 1 - room(&pins);
            for other in others.into_iter().take(surplus) {
                end(rows, other, &format!("run `{}` took its concurrency key", id.short()), now).await?;
            }
        }
    }
    Ok(Started::Queued(id))
}

async fn end(rows: &mut dyn Rows, run: RunRow, reason: &str, at: Timestamp) -> Found<RunRow> {
    let by = Actor::Daemon(DaemonPart::Schedule);
    let request = CancelRequest { by, reason: reason.to_owned(), at, outcome: Outcome::Cancelled };
    drive(rows, run, RunEvent::Cancel(request), at).await
}

/// Whether runs of the workflow may be made at all.
fn startable(actual: &ActualState, workflow: &WorkflowId, now: Timestamp) -> Found<()> {
    let known = actual.workflows(now).filter(|_| actual.removed.is_none()).ok_or(StoreError::NotFound)?;
    if known.contains_key(workflow) { Ok(()) } else { Err(StoreError::NotFound) }
}

pub(in crate::store) async fn start(
    rows: &mut dyn Rows,
    permit: &Permit<action::Start>,
    pins: RunPins,
    audit: AuditEntry,
) -> Found<Started> {
    start_by(rows, permit, pins, None, audit).await
}

pub(in crate::store) async fn rerun(
    rows: &mut dyn Rows,
    permit: &Permit<action::Start>,
    pins: RunPins,
    payload: Option<Payload>,
    audit: AuditEntry,
) -> Found<Started> {
    start_by(rows, permit, pins, payload.as_ref(), audit).await
}

pub(in crate::store) async fn receive(
    rows: &mut dyn Rows,
    permit: &Permit<action::Receive>,
    pins: RunPins,
    audit: AuditEntry,
) -> Found<Started> {
    // The door for hooks starts what hooks start, and nothing else.
    if pins.trigger.kind != TriggerKind::Webhook {
        return Err(StoreError::Denied("a hook starts a run of its own kind".to_owned()));
    }
    start_by(rows, permit, pins, None, audit).await
}

async fn start_by<A: crate::authz::Action>(
    rows: &mut dyn Rows,
    permit: &Permit<A>,
    pins: RunPins,
    payload: Option<&Payload>,
    audit: AuditEntry,
) -> Found<Started> {
    let now = rows.now(audit.at);
    let actual = permitted(rows, permit, now).await?;
    let scope = scope_of(&actual);
    if pins.tenant != scope.tenant || pins.incarnation != scope.incarnation {
        return Err(StoreError::NotFound);
    }
    if pins.trigger.kind != TriggerKind::Rerun {
        startable(&actual, &pins.workflow.id, now)?;
    }
    if let Some(pause) = tenant::suspension(&actual, now)
        && matches!(pins.trigger.kind, TriggerKind::Webhook | TriggerKind::Schedule)
    {
        return Ok(Started::Skipped(format!("the tenant is suspended: {}", pause.reason)));
    }
    let started = begin(rows, pins, payload, now).await?;
    if let Started::Queued(id) = &started {
        audit_in(rows, &scope, [AuditEntry { run: Some(id.clone()), ..audit }]).await?;
    }
    Ok(started)
}

pub(in crate::store) async fn fire(
    rows: &mut dyn Rows,
    permit: &Permit<action::Schedule>,
    fired: Vec<Fired>,
    now: Timestamp,
) -> Found<Vec<Started>> {
    let now = rows.now(now);
    let actual = permitted(rows, permit, now).await?;
    let scope = scope_of(&actual);
    let mut answers = Vec::new();
    for one in fired {
        rows.put_cursor(&scope, &one.workflow, &one.entry, one.cursor).await?;
        let Some(pins) = one.pins else {
            answers.push(Started::Skipped("its time was passed over".to_owned()));
            continue;
        };
        let answer = fire_one(rows, &actual, pins, one.overlap, now).await?;
        let mut entry = AuditEntry {
            at: now,
            tenant: Some(scope.tenant.clone()),
            actor: permit.actor().clone(),
            action: "run.started".to_owned(),
            resource: format!("workflow:{}", one.workflow),
            allowed: true,
            reason: format!("schedule {}", one.entry),
            commit: actual.in_force(now).map(|code| code.commit.clone()),
            run: None,
        };
        match &answer {
            Started::Queued(id) => entry.run = Some(id.clone()),
            Started::Skipped(reason) => {
                entry.action = "run.skipped".to_owned();
                entry.reason = format!("schedule {}: {reason}", one.entry);
            }
            Started::Known(_) => {
                answers.push(answer);
                continue;
            }
        }
        audit_in(rows, &scope, [entry]).await?;
        answers.push(answer);
    }
    Ok(answers)
}

async fn fire_one(
    rows: &mut dyn Rows,
    actual: &ActualState,
    mut pins: RunPins,
    overlap: Overlap,
    now: Timestamp,
) -> Found<Started> {
    let scope = scope_of(actual);
    pins.tenant = scope.tenant.clone();
    pins.incarnation = scope.incarnation;
    if startable(actual, &pins.workflow.id, now).is_err() {
        return Ok(Started::Skipped("its workflow is gone".to_owned()));
    }
    if let Some(pause) = tenant::suspension(actual, now) {
        return Ok(Started::Skipped(format!("the tenant is suspended: {}", pause.reason)));
    }
    if rows.has_live(&scope, &pins.workflow.id, TriggerKind::Schedule).await? {
        match overlap {
            Overlap::Skip => {
                return Ok(Started::Skipped("the last run of this schedule is not over".to_owned()));
            }
            Overlap::Cancel => {
                for run in rows.live_runs(&scope, Some(&pins.workflow.id)).await? {
                    if run.trigger.kind == TriggerKind::Schedule {
                        end(rows, run, "the next run of its schedule is due", now).await?;
                    }
                }
            }
            Overlap::Queue => {}
        }
    }
    // One after the other, which is what waiting for the last run means, unless the workflow says how many.
    if overlap != Overlap::Skip && pins.workflow.concurrency.is_none() && pins.concurrency_key.is_none() {
        pins.concurrency_key = Some(SCHEDULE_KEY.to_owned());
    }
    begin(rows, pins, None, now).await
}

/// The concurrency key of scheduled runs that wait for each other; no rendered key has a NUL in it.
const SCHEDULE_KEY: &str = "schedule\0";

pub(in crate::store) async fn cancel(
    rows: &mut dyn Rows,
    permit: &Permit<action::Cancel>,
    id: &RunId,
    request: CancelRequest,
    audit: AuditEntry,
) -> Found<()> {
    let now = rows.now(audit.at);
    let actual = permitted(rows, permit, now).await?;
    let scope = scope_of(&actual);
    let run =
        rows.run(&RunKey { scope: scope.clone(), id: id.clone() }).await?.ok_or(StoreError::NotFound)?;
    if run.is_over() {
        let outcome = run.state.outcome.map_or("over", Outcome::as_str);
        return Err(StoreError::Refused(format!("run `{}` is over already: {outcome}", id.short())));
    }
    drive(rows, run, RunEvent::Cancel(CancelRequest { at: now, ..request }), now).await?;
    audit_in(rows, &scope, [AuditEntry { run: Some(id.clone()), ..audit }]).await
}

/// Runs that one question is answered from; more of them are looked at by the next one.
const LOOKED_AT_MAX: u32 = 10_000;

pub(in crate::store) async fn goes_on(rows: &mut dyn Rows, until: Timestamp) -> Found<Option<Timestamp>> {
    let mut next = None;
    for key in rows.due(until, LOOKED_AT_MAX).await? {
        match rows.run(&key).await {
            Ok(Some(run)) => {
                let pins = rows.pins(&run.key).await?;
                next = [next, run::goes_on(&pins, &run.state)].into_iter().flatten().min();
            }
            // A damaged run goes on for nobody.
            Ok(None) | Err(StoreError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(next)
}

pub(in crate::store) async fn wake(
    rows: &mut dyn Rows,
    limit: u32,
    now: Timestamp,
) -> Found<Option<Timestamp>> {
    let now = rows.now(now);
    for key in rows.due(now, limit).await? {
        let ticked = match rows.run(&key).await {
            Ok(Some(run)) => drive(rows, run, RunEvent::Tick, now).await.map(|_| ()),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        match ticked {
            // A damaged run stays as it is, and stops no other.
            Ok(()) | Err(StoreError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    rows.next_wake().await
}
