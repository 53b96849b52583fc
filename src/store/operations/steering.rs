//! What people change at run time: pauses, suspensions, pins, releases, revocations.

use super::{audit_in, drive, permitted, put_changed, put_tenant, scope_of};
use crate::authz::{Permit, action};
use crate::domain::{AuditEntry, OnRevoke, Outcome, Pause, Pin, RunId, SecretName, VersionId, WorkflowId};
use crate::run::{CancelRequest, RunEvent};
use crate::store::rows::{Found, Rows};
use crate::store::{StoreError, tenant};

pub(in crate::store) async fn set_pause(
    rows: &mut dyn Rows,
    permit: &Permit<action::Steer>,
    workflow: &WorkflowId,
    pause: Option<Pause>,
    audit: AuditEntry,
) -> Found<()> {
    let now = rows.now(audit.at);
    let actual = permitted(rows, permit, now).await?;
    let known = actual.applied.as_ref().is_some_and(|applied| applied.state.workflows.contains_key(workflow));
    if !known {
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

pub(in crate::store) async fn set_pin(
    rows: &mut dyn Rows,
    permit: &Permit<action::Steer>,
    pin: Option<Pin>,
    audit: AuditEntry,
) -> Found<()> {
    let now = rows.now(audit.at);
    let actual = permitted(rows, permit, now).await?;
    let scope = scope_of(&actual);
    if let Some(pin) = &pin
        && !rows.has_commit(&scope, &pin.commit).await?
    {
        return Err(StoreError::Refused(format!(
            "`{}` was never applied for this tenant: pin takes only a commit that was, see `history`",
            pin.commit.short()
        )));
    }
    let mut next = (*actual).clone();
    next.pin = pin;
    put_tenant(rows, next, now).await?;
    audit_in(rows, &scope, [audit]).await
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
