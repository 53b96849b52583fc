//! What the loop does to the store.

use std::sync::Arc;

use super::{
    audit_in, audit_platform, begin, drive, permitted, put_changed, put_status, put_tenant, scope_of,
    unexpired,
};
use crate::authz::{Permit, action};
use crate::domain::{
    Actor, ActualState, AppliedCommit, AuditEntry, Code, CommitId, DaemonPart, Outcome, RunPins, Status,
    StatusRow, Timestamp, TriggerKind, WorkflowId,
};
use crate::record::LedgerEntry;
use crate::run::{CancelRequest, RunEvent};
use crate::store::rows::{Document, Found, Rows};
use crate::store::{Application, AppliedAt, AppliedPlatform, SourceRow, Started, StoreError, tenant};

/// The tenant that a pass of the loop works on: the one there is, its successor after it was removed, or a new one.
async fn subject(
    rows: &mut dyn Rows,
    permit: &Permit<action::Reconcile>,
    now: Timestamp,
) -> Found<Arc<ActualState>> {
    unexpired(permit, now)?;
    match rows.tenant(permit.tenant()).await? {
        None => Ok(Arc::new(ActualState::empty(permit.tenant().clone()))),
        Some(actual) if actual.removed.is_some() => Ok(Arc::new(tenant::successor(&actual))),
        Some(_) => permitted(rows, permit, now).await,
    }
}

pub(in crate::store) async fn actual(
    rows: &mut dyn Rows,
    permit: &Permit<action::Reconcile>,
) -> Found<Arc<ActualState>> {
    let now = rows.clock();
    subject(rows, permit, now).await
}

pub(in crate::store) async fn apply(
    rows: &mut dyn Rows,
    permit: &Permit<action::Reconcile>,
    application: Application,
    now: Timestamp,
) -> Found<AppliedAt> {
    let now = rows.now(now);
    if application.next.is_none() && !application.removals_only {
        return remove(rows, permit, application, now).await;
    }
    let actual = subject(rows, permit, now).await?;
    if actual.generation != application.expected_generation {
        let (expected, actual) = (application.expected_generation, actual.generation);
        return Err(StoreError::Moved { expected, actual });
    }
    let changed = tenant::apply(&actual, &application, now);
    let rose = changed.rose;
    let state = put_changed(rows, changed, now).await?;
    let scope = scope_of(&state);
    if !application.removals_only {
        remember(rows, &actual, &state, application.commit, rose, now).await?;
        end_orphans(rows, &state, now).await?;
    }
    audit_in(rows, &scope, application.audit).await?;
    let mut queued = Vec::new();
    for pins in application.runs {
        let pins = as_applied(pins, &state);
        if let Started::Queued(id) = begin(rows, pins, None, now).await? {
            queued.push(id);
        }
    }
    let released = if application.removals_only {
        rows.outlook(&scope).await?.is_some_and(|outlook| outlook.released)
    } else {
        false
    };
    let status = StatusRow { applied_generation: state.generation, ..application.status };
    put_status(rows, &state, status, released, now).await?;
    Ok(AppliedAt { generation: state.generation, changed: rose, queued })
}

/// Applies whose code is kept for pins.
const CODES_MAX: u64 = 200;

/// Keeps what a pin can go back to. A schedule that comes back after it was gone makes up for nothing.
async fn remember(
    rows: &mut dyn Rows,
    before: &ActualState,
    state: &ActualState,
    commit: CommitId,
    rose: bool,
    now: Timestamp,
) -> Found<()> {
    let Some(applied) = &state.applied else { return Ok(()) };
    let scope = scope_of(state);
    let code = Code {
        tree: applied.keys.tenant.clone(),
        authors: applied.authors.clone(),
        workflows: applied.state.workflows.clone(),
    };
    rows.put_commit(&scope, &AppliedCommit { commit, generation: state.generation, at: now }, &code).await?;
    if !rose {
        return Ok(());
    }
    if let Some(old) = state.generation.checked_sub(CODES_MAX).filter(|old| *old > 0) {
        rows.forget_code(&scope, old).await?;
    }
    if let Some(before) = &before.applied {
        let (now_there, known) = (&applied.state.workflows, &before.state.workflows);
        for (workflow, entry) in tenant::schedules_beside(now_there, known) {
            rows.put_cursor(&scope, workflow, entry, now).await?;
        }
    }
    Ok(())
}

/// A run that an apply starts belongs to the generation that the apply made.
fn as_applied(mut pins: RunPins, state: &ActualState) -> RunPins {
    pins.incarnation = state.incarnation;
    pins.generation = state.generation;
    if pins.trigger.kind == TriggerKind::Commit {
        pins.trigger.key = state.generation.to_string();
    }
    pins
}

/// Git no longer has the tenant: it is disabled at once, what waits is cancelled, what runs is asked to end.
async fn remove(
    rows: &mut dyn Rows,
    permit: &Permit<action::Reconcile>,
    application: Application,
    now: Timestamp,
) -> Found<AppliedAt> {
    unexpired(permit, now)?;
    let actual = rows.tenant(permit.tenant()).await?.ok_or(StoreError::NotFound)?;
    let generation = actual.generation;
    if actual.removed.is_some() {
        return Ok(AppliedAt { generation, changed: false, queued: Vec::new() });
    }
    let actual = permitted(rows, permit, now).await?;
    if generation != application.expected_generation {
        return Err(StoreError::Moved { expected: application.expected_generation, actual: generation });
    }
    let state = put_changed(rows, tenant::apply(&actual, &application, now), now).await?;
    let scope = scope_of(&state);
    for run in rows.live_runs(&scope, None).await? {
        let event = cancelled("the tenant was removed from the repository", now);
        drive(rows, run, event, now).await?;
    }
    audit_in(rows, &scope, application.audit).await?;
    put_status(rows, &state, application.status, false, now).await?;
    Ok(AppliedAt { generation, changed: true, queued: Vec::new() })
}

/// Cancels what waits of workflows that are gone; what has begun goes on.
async fn end_orphans(rows: &mut dyn Rows, state: &ActualState, now: Timestamp) -> Found<()> {
    let Some(applied) = &state.applied else { return Ok(()) };
    let pinned = state.pinned(now).map(|pin| &pin.code.workflows);
    let known = |workflow: &WorkflowId| {
        applied.state.workflows.contains_key(workflow)
            || pinned.is_some_and(|pinned| pinned.contains_key(workflow))
    };
    for run in rows.live_runs(&scope_of(state), None).await? {
        if !known(&run.workflow) && !run.has_begun() {
            drive(rows, run, cancelled("its workflow was removed from the repository", now), now).await?;
        }
    }
    Ok(())
}

fn cancelled(reason: &str, at: Timestamp) -> RunEvent {
    let by = Actor::Daemon(DaemonPart::Reconcile);
    RunEvent::Cancel(CancelRequest { by, reason: reason.to_owned(), at, outcome: Outcome::Cancelled })
}

pub(in crate::store) async fn set_status(
    rows: &mut dyn Rows,
    permit: &Permit<action::Reconcile>,
    row: StatusRow,
    audit: Vec<AuditEntry>,
) -> Found<()> {
    let now = rows.now(row.at);
    unexpired(permit, now)?;
    let actual = match rows.tenant(permit.tenant()).await? {
        Some(actual) if actual.removed.is_some() => actual,
        Some(_) => permitted(rows, permit, now).await?,
        None => put_tenant(rows, ActualState::empty(permit.tenant().clone()), now).await?,
    };
    let scope = scope_of(&actual);
    let before = rows.outlook(&scope).await?;
    // A pass that could not even try leaves a release for the next one.
    let released = row.status == Status::Failed && before.is_some_and(|outlook| outlook.released);
    put_status(rows, &actual, row, released, now).await?;
    audit_in(rows, &scope, audit).await
}

pub(in crate::store) async fn apply_platform(
    rows: &mut dyn Rows,
    platform: AppliedPlatform,
    status: StatusRow,
    audit: Vec<AuditEntry>,
) -> Found<()> {
    let before = rows.document(Document::Platform).await?;
    let body = to_json(&platform)?;
    if before.as_deref() != Some(body.as_str()) {
        rows.put_document(Document::Platform, &body).await?;
        rows.note(LedgerEntry::PlatformApplied { commit: platform.commit });
    }
    set_platform_status(rows, status, audit).await
}

pub(in crate::store) async fn set_platform_status(
    rows: &mut dyn Rows,
    status: StatusRow,
    audit: Vec<AuditEntry>,
) -> Found<()> {
    rows.now(status.at);
    rows.put_document(Document::PlatformStatus, &to_json(&status)?).await?;
    audit_platform(rows, &audit).await
}

pub(in crate::store) async fn set_source(
    rows: &mut dyn Rows,
    mut row: SourceRow,
    audit: Vec<AuditEntry>,
) -> Found<()> {
    // A release that came while a pass was under way outlives the row which that pass writes.
    let before: Option<SourceRow> = document(rows, Document::Source).await?;
    let released = before.and_then(|before| before.released);
    if row.released.is_none() && row.held.is_some() && row.held == released {
        row.released = released;
    }
    rows.put_document(Document::Source, &to_json(&row)?).await?;
    audit_platform(rows, &audit).await
}

/// Reads what stands once for the whole store.
pub(in crate::store) async fn document<T: serde::de::DeserializeOwned>(
    rows: &mut dyn Rows,
    document: Document,
) -> Found<Option<T>> {
    let Some(body) = rows.document(document).await? else { return Ok(None) };
    serde_json::from_str(&body)
        .map(Some)
        .map_err(|error| StoreError::Corrupt { what: document.as_str(), message: error.to_string() })
}

fn to_json<T: serde::Serialize>(value: &T) -> Found<String> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Corrupt { what: "document", message: error.to_string() })
}
