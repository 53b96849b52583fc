//! Payloads of runs that are over: encrypted in the transaction that ends the run, or dropped, and dropped in any case
//! once their time is over.

use std::sync::Arc;

use super::{permitted, scope_of};
use crate::authz::{Permit, action};
use crate::domain::{
    ActualState, Length, PAYLOADS_KEPT, PayloadDropped, PayloadState, RunId, RunPins, Timestamp,
};
use crate::run::{self, Payload};
use crate::store::rows::{Found, Rows, RunKey, RunRow};
use crate::store::{StoreError, Swept};

/// Takes the payload out of a run that is over; the caller writes the run. Nothing where the store has nobody who
/// encrypts, which is so in a store of tests and of a run without a daemon.
pub(super) async fn close(
    rows: &mut dyn Rows,
    run: &mut RunRow,
    pins: &Arc<RunPins>,
    now: Timestamp,
) -> Found<bool> {
    if !run.is_over() || run.state.payload.is_some() {
        return Ok(false);
    }
    let Some(sealer) = rows.sealer() else { return Ok(false) };
    let payload = run::take_payload(pins, &mut run.state);
    let actual = match rows.tenant(&run.key.scope.tenant).await {
        Ok(actual) => actual.filter(|actual| actual.incarnation == run.key.scope.incarnation),
        // A row that cannot be trusted names nobody to encrypt to.
        Err(StoreError::Corrupt { .. }) => None,
        Err(error) => return Err(error),
    };
    let (state, text) = match actual.as_deref() {
        _ if payload.is_empty() => (PayloadState::Nothing, None),
        None => (PayloadState::Dropped { why: PayloadDropped::NoRecipient }, None),
        Some(actual) => sealed(&sealer, actual, &payload, now)?,
    };
    run.state.payload = Some(state);
    if let (PayloadState::Sealed { until }, Some(text)) = (state, text) {
        rows.put_payload(&run.key, &text, until).await?;
    }
    if !pins.body.is_null() {
        let bare = RunPins { body: serde_json::Value::Null, ..(**pins).clone() };
        rows.put_pins(&run.key, &Arc::new(bare)).await?;
    }
    Ok(true)
}

fn sealed(
    sealer: &crate::store::Sealer,
    actual: &ActualState,
    payload: &Payload,
    now: Timestamp,
) -> Found<(PayloadState, Option<String>)> {
    let settings = actual.applied.as_ref().map(|applied| &applied.state.settings);
    let Some(settings) = settings.filter(|settings| !settings.recipients.is_empty()) else {
        return Ok((PayloadState::Dropped { why: PayloadDropped::NoRecipient }, None));
    };
    let kept: Length = settings.retention.payloads.unwrap_or(PAYLOADS_KEPT);
    let text = serde_json::to_vec(payload)
        .map_err(|error| StoreError::Corrupt { what: "payload", message: error.to_string() })?;
    Ok(match sealer(&settings.recipients, text, now) {
        Some(text) => (PayloadState::Sealed { until: now + kept }, Some(text)),
        None => (PayloadState::Dropped { why: PayloadDropped::NotEncrypted }, None),
    })
}

pub(in crate::store) async fn sweep(rows: &mut dyn Rows, limit: u32, now: Timestamp) -> Found<Swept> {
    let now = rows.now(now);
    let mut swept = Swept::default();
    if rows.sealer().is_some() {
        for key in rows.unclosed(limit).await? {
            swept.more = true;
            let (run, pins) = match (rows.run(&key).await, rows.pins(&key).await) {
                (Ok(Some(run)), Ok(pins)) => (run, pins),
                // A damaged run stays as it is, and stops no other.
                (Ok(None), _)
                | (Err(StoreError::Corrupt { .. }), _)
                | (_, Err(StoreError::Corrupt { .. })) => {
                    rows.set_aside(&key).await?;
                    continue;
                }
                (Err(error), _) | (_, Err(error)) => return Err(error),
            };
            let mut run: RunRow = run;
            close(rows, &mut run, &pins, now).await?;
            rows.put_run(&run).await?;
            rows.clear_outputs(&run.key).await?;
            swept.closed += 1;
        }
    }
    for key in rows.overdue_payloads(now, limit).await? {
        swept.more = true;
        rows.remove_payload(&key).await?;
        if let Ok(Some(mut run)) = rows.run(&key).await {
            run.state.payload = Some(PayloadState::Dropped { why: PayloadDropped::Expired });
            rows.put_run(&run).await?;
        }
        swept.expired += 1;
    }
    Ok(swept)
}

pub(in crate::store) async fn payload(
    rows: &mut dyn Rows,
    permit: &Permit<action::Start>,
    id: &RunId,
) -> Found<Option<String>> {
    let now = rows.clock();
    let scope = scope_of(&*permitted(rows, permit, now).await?);
    let key = RunKey { scope, id: id.clone() };
    rows.run(&key).await?.ok_or(StoreError::NotFound)?;
    rows.payload(&key).await
}
