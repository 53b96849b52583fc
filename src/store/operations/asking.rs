//! Approvals of steps: who is asked, what was answered, and what the audit says of it.

use super::running::drive;
use super::{audit_in, permitted, scope_of};
use crate::authz::{Permit, action};
use crate::domain::{Actor, AuditEntry, DaemonPart, Outcome, Phase, RunId, RunPins, StepId, Timestamp};
use crate::run::{self, Decision, Refused, RunEvent, RunState};
use crate::store::rows::{Found, Rows, RunKey, RunRow};
use crate::store::{Asked, StoreError};

pub(in crate::store) async fn asked(
    rows: &mut dyn Rows,
    permit: &Permit<action::View>,
    id: &RunId,
    step: &StepId,
) -> Found<Option<Asked>> {
    let now = rows.clock();
    let scope = scope_of(&*permitted(rows, permit, now).await?);
    let run = rows.run(&RunKey { scope, id: id.clone() }).await?.ok_or(StoreError::NotFound)?;
    let pins = rows.pins(&run.key).await?;
    let known = run.state.steps.get(step).and_then(|step| step.approval.as_ref());
    Ok(pins.workflow.approval(step).map(|asked| Asked {
        from: asked.from.clone(),
        given: known.into_iter().flat_map(|known| known.given.keys().cloned()).collect(),
    }))
}

pub(in crate::store) async fn decide_step(
    rows: &mut dyn Rows,
    permit: &Permit<action::ApproveStep>,
    id: &RunId,
    decision: Decision,
    audit: AuditEntry,
) -> Found<bool> {
    let now = rows.now(audit.at);
    let actual = permitted(rows, permit, now).await?;
    // The answer is the permit's holder's, whatever stands beside it.
    if *permit.actor() != Actor::User(decision.by.clone()) {
        return Err(StoreError::Denied("an answer is given by whoever may give it".to_owned()));
    }
    let scope = scope_of(&actual);
    let run =
        rows.run(&RunKey { scope: scope.clone(), id: id.clone() }).await?.ok_or(StoreError::NotFound)?;
    let pins = rows.pins(&run.key).await?;
    match run::refused(&pins, &run.state, &decision, now) {
        None => {}
        Some(Refused::Again(_)) => return Ok(false),
        Some(refused) => return Err(StoreError::Refused(refused.to_string())),
    }
    drive(rows, run, RunEvent::Decided(decision), now).await?;
    audit_in(
        rows,
        &scope,
        [AuditEntry { run: Some(id.clone()), commit: Some(pins.commit.clone()), ..audit }],
    )
    .await?;
    Ok(true)
}

/// What the audit says of approvals that were asked for, or whose time ran out, between two states of a run. What
/// people answered stands in the record of their request.
pub(super) fn asked_between(
    run: &RunRow,
    pins: &RunPins,
    before: &RunState,
    now: Timestamp,
) -> Vec<AuditEntry> {
    let mut entries = Vec::new();
    for step in &pins.workflow.steps {
        let (Some(asked), Some(new)) = (pins.workflow.approval(&step.id), run.state.steps.get(&step.id))
        else {
            continue;
        };
        let Some(approval) = &new.approval else { continue };
        let old = before.steps.get(&step.id);
        let mut tell = |action: &str, reason: String| {
            entries.push(AuditEntry {
                at: now,
                tenant: Some(pins.tenant.clone()),
                actor: Actor::Daemon(DaemonPart::Schedule),
                action: action.to_owned(),
                resource: format!("step:{}/{}", pins.id, step.id),
                allowed: true,
                reason,
                commit: Some(pins.commit.clone()),
                run: Some(pins.id.clone()),
            });
        };
        if old.is_none_or(|old| old.approval.is_none()) {
            let from: Vec<_> = asked.from.iter().map(ToString::to_string).collect();
            let said = format!(
                "{} of {} until {}, shown {}",
                asked.count,
                from.join(", "),
                approval.until,
                approval.shown
            );
            tell("step.asked", said);
        }
        let ended = new.phase == Phase::Ended && old.is_none_or(|old| old.phase != Phase::Ended);
        let by_time =
            matches!(new.outcome, Some(Outcome::Rejected | Outcome::Skipped)) && approval.rejected.is_none();
        if ended && by_time {
            tell("step.timed_out", new.reason.clone().unwrap_or_default());
        }
    }
    entries
}
