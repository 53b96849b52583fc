//! What people change at run time: pauses, suspensions, pins, releases, revocations.

use super::{audit_in, drive, permitted, put_changed, put_tenant, scope_of};
use crate::authz::{Permit, action};
use crate::domain::{
    Actor, ActualState, AppliedCommit, AuditEntry, DaemonPart, OnRevoke, Outcome, Pause, Pin, PinNote, RunId,
    SecretName, Timestamp, VersionId, WorkflowId,
};
use crate::run::{CancelRequest, RunEvent};
use crate::store::rows::{Found, Rows, Scope};
use crate::store::{PinRequest, StoreError, tenant};

pub(in crate::store) async fn set_pause(
    rows: &mut dyn Rows,
    permit: &Permit<action::Steer>,
    workflow: &WorkflowId,
    pause: Option<Pause>,
    audit: AuditEntry,
) -> Found<()> {
    let now = rows.now(audit.at);
    let actual = permitted(rows, permit, now).await?;
    let applied = actual.applied.as_ref().map(|applied| &applied.state.workflows);
    let known = applied.into_iter().chain(actual.workflows(now));
    if !known.into_iter().any(|known| known.contains_key(workflow)) {
        return Err(StoreError::NotFound);
    }
    let mut next = (*actual).clone();
    match pause {
        Some(pause) => next.pauses.insert(workflow.clone(), pause),
        None => next.pauses.remove(workflow),
    };
    put_tenant(rows, next, now).await?;
    audit_in(rows, &scope_of(&actual), [audit]).await
}

pub(in crate::store) async fn set_suspension(
    rows: &mut dyn Rows,
    permit: &Permit<action::Suspend>,
    pause: Option<Pause>,
    audit: AuditEntry,
) -> Found<()> {
    let now = rows.now(audit.at);
    let actual = permitted(rows, permit, now).await?;
    let mut next = (*actual).clone();
    next.suspended = pause;
    put_tenant(rows, next, now).await?;
    audit_in(rows, &scope_of(&actual), [audit]).await
}

/// Commits that a refusal names.
const NAMED_MAX: u32 = 5;

pub(in crate::store) async fn set_pin(
    rows: &mut dyn Rows,
    permit: &Permit<action::Steer>,
    pin: Option<PinRequest>,
    audit: AuditEntry,
) -> Found<PinNote> {
    let now = rows.now(audit.at);
    let actual = permitted(rows, permit, now).await?;
    let scope = scope_of(&actual);
    let Some(PinRequest { to, reason, until }) = pin else {
        let note = unpin(rows, &actual, now).await?;
        let note = note.ok_or_else(|| StoreError::Refused(format!("`{}` is not pinned", scope.tenant)))?;
        audit_in(rows, &scope, [AuditEntry { commit: Some(note.commit.clone()), ..audit }]).await?;
        return Ok(note);
    };
    let commit = applied_commit(rows, &scope, &to).await?;
    let code = rows.code(&scope, &commit).await?.ok_or_else(|| {
        StoreError::Refused(format!(
            "the code of `{}` is not kept any more: `git revert` what came after it",
            commit.short()
        ))
    })?;
    // A schedule that comes back makes up for nothing.
    if let Some(before) = actual.workflows(now) {
        for (workflow, entry) in tenant::schedules_beside(&code.workflows, before) {
            rows.put_cursor(&scope, workflow, entry, now).await?;
        }
    }
    let note = PinNote { commit, reason, by: permit.actor().clone(), since: now, until };
    let entry = AuditEntry {
        resource: format!("commit:{}", note.commit),
        commit: Some(note.commit.clone()),
        ..audit
    };
    put_changed(rows, tenant::pin(&actual, Some(Pin { note: note.clone(), code })), now).await?;
    audit_in(rows, &scope, [entry]).await?;
    Ok(note)
}

/// The one commit that the tenant has applied and whose id begins so.
async fn applied_commit(rows: &mut dyn Rows, scope: &Scope, begins: &str) -> Found<crate::domain::CommitId> {
    let mut found = rows.commits(scope, begins, NAMED_MAX).await?;
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only.commit),
        (Some(last), false) => {
            found.push(last);
            Err(StoreError::Refused(format!(
                "`{begins}` begins more than one commit: {}; write more of it",
                named(&found)
            )))
        }
        (None, _) => {
            let latest = rows.commits(scope, "", NAMED_MAX).await?;
            Err(StoreError::Refused(format!(
                "`{begins}` was never applied in `{}`: pin takes only a commit that was, the latest are {}",
                scope.tenant,
                named(&latest)
            )))
        }
    }
}

fn named(commits: &[AppliedCommit]) -> String {
    let names: Vec<_> = commits.iter().map(|one| format!("`{}` ({})", one.commit.short(), one.at)).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Ends whatever pin there is; the schedules that it held back go on from its end.
async fn unpin(rows: &mut dyn Rows, actual: &ActualState, now: Timestamp) -> Found<Option<PinNote>> {
    let Some(pin) = &actual.pin else { return Ok(None) };
    let end = now.min(pin.note.until);
    if let Some(applied) = &actual.applied {
        for (workflow, entry) in tenant::schedules_beside(&applied.state.workflows, &pin.code.workflows) {
            rows.put_cursor(&scope_of(actual), workflow, entry, end).await?;
        }
    }
    put_changed(rows, tenant::pin(actual, None), now).await?;
    Ok(Some(pin.note.clone()))
}

pub(in crate::store) async fn end_pin(
    rows: &mut dyn Rows,
    permit: &Permit<action::Reconcile>,
    now: Timestamp,
) -> Found<Option<PinNote>> {
    let now = rows.now(now);
    let actual = permitted(rows, permit, now).await?;
    if actual.pin.as_ref().is_none_or(|pin| now < pin.note.until) {
        return Ok(None);
    }
    let Some(note) = unpin(rows, &actual, now).await? else { return Ok(None) };
    let entry = AuditEntry {
        at: now,
        tenant: Some(actual.tenant.clone()),
        actor: Actor::Daemon(DaemonPart::Reconcile),
        action: "tenant.unpinned".to_owned(),
        resource: format!("commit:{}", note.commit),
        allowed: true,
        reason: format!("its time was over at {}", note.until),
        commit: Some(note.commit.clone()),
        run: None,
    };
    audit_in(rows, &scope_of(&actual), [entry]).await?;
    Ok(Some(note))
}

pub(in crate::store) async fn release(
    rows: &mut dyn Rows,
    permit: &Permit<action::Release>,
    audit: AuditEntry,
) -> Found<()> {
    let now = rows.now(audit.at);
    let actual = permitted(rows, permit, now).await?;
    let scope = scope_of(&actual);
    let mut outlook = rows.outlook(&scope).await?.ok_or(StoreError::NotFound)?;
    if outlook.status.held.is_empty() {
        return Err(StoreError::Refused("nothing is held in this tenant".to_owned()));
    }
    outlook.released = true;
    rows.put_outlook(&scope, &outlook).await?;
    audit_in(rows, &scope, [audit]).await
}

/// Gives the runs under way that were made with the version; they are cancelled where the secret says so.
pub(in crate::store) async fn revoke(
    rows: &mut dyn Rows,
    permit: &Permit<action::Revoke>,
    secret: &SecretName,
    version: &VersionId,
    audit: AuditEntry,
) -> Found<Vec<RunId>> {
    let now = rows.now(audit.at);
    let actual = permitted(rows, permit, now).await?;
    let scope = scope_of(&actual);
    let known = actual.applied.as_ref().and_then(|applied| applied.state.secrets.get(secret));
    let on_revoke = match known {
        Some(known) if known.version(version).is_some() => known.on_revoke,
        _ if actual.is_revoked(secret, version) => OnRevoke::Mark,
        _ => return Err(StoreError::NotFound),
    };
    let by = audit.actor.clone();
    put_changed(rows, tenant::revoke(&actual, secret, version), now).await?;
    audit_in(rows, &scope, [audit]).await?;
    let mut using = Vec::new();
    for run in rows.live_runs(&scope, None).await? {
        let pins = rows.pins(&run.key).await?;
        if pins.secret_versions.get(secret) != Some(version) {
            continue;
        }
        using.push(run.key.id.clone());
        if on_revoke == OnRevoke::Cancel {
            let reason = format!("version `{version}` of secret `{secret}` was revoked");
            let request = CancelRequest { by: by.clone(), reason, at: now, outcome: Outcome::Cancelled };
            drive(rows, run, RunEvent::Cancel(request), now).await?;
        }
    }
    Ok(using)
}
