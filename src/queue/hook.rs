//! A hook that was verified to a queued run: once per delivery.

use serde_json::Value;

use crate::authz::{HookDelivery, Permit, action};
use crate::domain::{ActualState, AuditEntry, FreshIds, RunId, Timestamp, Trigger, TriggerKind, WorkflowId};
use crate::run::{Ask, PinError, pin};
use crate::store::{Started, Store, StoreError};

/// Why a verified hook started nothing.
#[derive(Debug, thiserror::Error)]
pub enum NotQueued {
    /// No run can be made of it; names inputs and fields, never values.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The store refused or could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A hook whose signature was verified.
#[derive(Clone, Copy, Debug)]
pub struct Hook<'a> {
    /// Which workflow it is for.
    pub workflow: &'a WorkflowId,
    /// How it was signed, and what names it.
    pub delivery: &'a HookDelivery,
    /// What it sent.
    pub body: &'a Value,
}

/// Starts the run of a hook with the body that came in. The same delivery again gives the same run.
///
/// # Errors
/// [`NotQueued`]; nothing is started then.
pub async fn receive(
    permit: &Permit<action::Receive>,
    store: &dyn Store,
    actual: &ActualState,
    hook: Hook<'_>,
    fresh: &FreshIds,
    now: Timestamp,
) -> Result<Started, NotQueued> {
    let Hook { workflow, delivery, body } = hook;
    let gone = || PinError::NoWorkflow(workflow.clone());
    let code = actual.in_force(now).ok_or_else(gone)?;
    let hook = code.state.workflows.get(workflow).and_then(|known| known.triggers.webhook.as_ref());
    let trigger = Trigger { kind: TriggerKind::Webhook, key: delivery.key.clone(), time: now };
    let ask = Ask {
        tenant: &actual.tenant,
        incarnation: actual.incarnation,
        state: &code.state,
        revoked: &actual.revoked,
        commit: code.commit,
        authors: code.authors,
        tree: code.tree.ok_or_else(gone)?,
        generation: actual.generation,
        workflow,
        trigger: &trigger,
        actor: permit.actor(),
        body,
        given: &hook.ok_or_else(gone)?.with,
    };
    let entry = |action: &str, reason: String| AuditEntry {
        at: now,
        tenant: Some(permit.tenant().clone()),
        actor: permit.actor().clone(),
        action: action.to_owned(),
        resource: format!("workflow:{workflow}"),
        allowed: true,
        reason,
        commit: Some(code.commit.clone()),
        run: None,
    };
    let how = format!("webhook {}, delivery {}", delivery.scheme, delivery.key);
    let pins = match pin(&ask, RunId::from_uuid(fresh()), now) {
        Ok(pins) => pins,
        Err(error) => {
            store.append_audit(entry("run.not_started", format!("{how}: {error}"))).await?;
            return Err(error.into());
        }
    };
    let started = store.receive(permit, pins, entry("run.started", how.clone())).await?;
    if let Started::Skipped(reason) = &started {
        store.append_audit(entry("run.skipped", format!("{how}: {reason}"))).await?;
    }
    Ok(started)
}
