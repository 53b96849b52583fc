//! What a run left when it ended, brought back for the run that repeats it.

use std::sync::Arc;

use axum::http::StatusCode;

use super::Problem;
use super::caller::Session;
use crate::authz::{Permit, action};
use crate::domain::{Outcome, PayloadDropped, PayloadState, RunPins, Workflow};
use crate::run::{Payload, RunState};

/// A run as the one that repeats it needs it.
pub(super) struct Before {
    /// What it pinned, with what its hook sent.
    pub(super) pins: Arc<RunPins>,
    /// Where it stood at its end, with what its steps wrote where that is to be kept.
    pub(super) state: RunState,
    /// What was opened for that.
    pub(super) payload: Option<Payload>,
}

/// Brings back as much of a run as is needed: what its steps wrote if what succeeded is kept, what its hook sent if the
/// workflow reads it. Where neither is needed nothing is opened.
pub(super) async fn before(
    session: &Session,
    permit: &Permit<action::Start>,
    pins: Arc<RunPins>,
    keeps: bool,
) -> Result<Before, Problem> {
    let (store, id) = (&session.ports().store, &pins.id);
    let state = store.progress(permit, id).await?;
    let body = state.body_taken && reads_trigger(&pins.workflow);
    let wrote = state.steps.values().flat_map(|step| &step.items);
    let outputs =
        keeps && wrote.into_iter().any(|item| item.outputs_taken && item.outcome == Some(Outcome::Success));
    let run = id.short().to_owned();
    match state.payload {
        _ if !body && !outputs => Ok(Before { pins, state, payload: None }),
        // What is missing of its steps, the run machine says.
        Some(PayloadState::Dropped { .. }) if !body => Ok(Before { pins, state, payload: None }),
        Some(PayloadState::Dropped { why }) => Err(Problem::conflict(format!(
            "run `{run}` cannot run again: its workflow reads what the hook sent, which is no longer kept ({}); have it \
             sent again",
            dropped(why)
        ))),
        Some(PayloadState::Nothing) | None => Ok(Before { pins, state, payload: None }),
        Some(PayloadState::Sealed { .. }) => {
            let hint = if body { "" } else { "; without `--failed` all of it runs again" };
            let unopened = |why: String| {
                Problem::new(
                    StatusCode::CONFLICT,
                    "payload_sealed",
                    format!("what run `{run}` left cannot be opened: {why}{hint}"),
                )
            };
            let broker = session.ports().broker.as_ref();
            let broker = broker.ok_or_else(|| unopened("only a daemon opens it: start one".to_owned()))?;
            let text = store.payload(permit, id).await?;
            let text = text.ok_or_else(|| unopened("its time is over".to_owned()))?;
            let payload = broker.payload(permit, id, &text).await;
            let payload = payload.map_err(|refusal| unopened(refusal.to_string()))?;
            let pins = RunPins { body: payload.body.clone(), ..Arc::unwrap_or_clone(pins) };
            let state = state.with_payload(&pins.id, &payload);
            Ok(Before { pins: Arc::new(pins), state, payload: Some(payload) })
        }
    }
}

fn dropped(why: PayloadDropped) -> &'static str {
    match why {
        PayloadDropped::NoRecipient => "the tenant had no recipient when the run ended",
        PayloadDropped::NotEncrypted => "it could not be encrypted to the tenant's recipients",
        PayloadDropped::Expired => "its retention is over",
    }
}

/// Whether an expression of the workflow may read what started the run. One that only seems to counts too.
fn reads_trigger(workflow: &Workflow) -> bool {
    let text = serde_json::to_string(workflow).unwrap_or_else(|_| "trigger".to_owned());
    text.match_indices("trigger").any(|(at, word)| !text[at + word.len()..].starts_with("s\":"))
}
