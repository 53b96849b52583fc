//! Steps at which people are asked: what they are shown, and whether an answer counts.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::scope;
use super::{ApprovalState, Decision, RunState, StepState, Verdict};
use crate::domain::{Actor, Outcome, Phase, RunPins, Step, StepId, Timestamp, UserId};

/// Why an answer does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The run has no such step, or it asks nobody.
    #[error("step `{0}` asks nobody for an approval")]
    NothingAsked(StepId),
    /// Its turn has not come.
    #[error("step `{0}` does not ask yet: what stands before it is not over")]
    NotYet(StepId),
    /// It is over.
    #[error("step `{step}` is over already: {outcome}")]
    Over {
        /// The step.
        step: StepId,
        /// How it ended.
        outcome: Outcome,
    },
    /// Its time has passed.
    #[error("the time to approve step `{0}` is over")]
    Late(StepId),
    /// What was looked at is not what is asked.
    #[error("what you were shown is not what step `{0}` asks: look at it again, then answer")]
    OtherOutputs(StepId),
    /// Whoever started the run agrees to nothing in it.
    #[error("`{0}` started this run: somebody else has to approve it")]
    Starter(UserId),
    /// Whoever wrote the run's commit agrees to nothing in it.
    #[error("`{0}` wrote the commit of this run: somebody else has to approve it")]
    Author(UserId),
    /// He has agreed before: nothing changes by saying it again.
    #[error("`{0}` has approved it already")]
    Again(UserId),
}

/// Why an answer does not count; `None` if it does. The machine asks the same.
///
/// A no is heard from whoever may answer; a yes never from the starter or an author of the run's commit.
#[must_use]
pub fn refused(pins: &RunPins, state: &RunState, decision: &Decision, now: Timestamp) -> Option<Refused> {
    let step = &decision.step;
    if pins.workflow.approval(step).is_none() {
        return Some(Refused::NothingAsked(step.clone()));
    }
    let known = state.steps.get(step);
    if let Some(outcome) = known.and_then(|known| known.outcome) {
        return Some(Refused::Over { step: step.clone(), outcome });
    }
    let Some(asked) = known.and_then(open) else { return Some(Refused::NotYet(step.clone())) };
    if now >= asked.until {
        return Some(Refused::Late(step.clone()));
    }
    if asked.shown != decision.shown {
        return Some(Refused::OtherOutputs(step.clone()));
    }
    let by = &decision.by;
    match decision.verdict {
        Verdict::Reject => None,
        Verdict::Approve if pins.actor == Actor::User(by.clone()) => Some(Refused::Starter(by.clone())),
        Verdict::Approve if pins.authors.contains(by) => Some(Refused::Author(by.clone())),
        Verdict::Approve if asked.given.contains_key(by) => Some(Refused::Again(by.clone())),
        Verdict::Approve => None,
    }
}

/// The approval that a step waits for; `None` once it is over, and before its turn.
#[must_use]
pub fn open(step: &StepState) -> Option<&ApprovalState> {
    step.approval.as_ref().filter(|_| step.phase != Phase::Ended)
}

/// What people are shown at a step: how all steps before it ended and what they wrote. An answer counts for this
/// alone: its digest names it, with the run and the step.
#[must_use]
pub fn shown(pins: &RunPins, state: &RunState, step: &Step) -> Value {
    let mut before = BTreeSet::new();
    let mut ahead: Vec<&StepId> = step.waits.steps().iter().collect();
    while let Some(id) = ahead.pop() {
        if before.insert(id) {
            ahead.extend(pins.workflow.step(id).iter().flat_map(|step| step.waits.steps()));
        }
    }
    let all = scope::steps(pins, state);
    let steps = all.into_iter().filter(|(id, _)| before.iter().any(|known| known.as_str() == id));
    json!({
        "run": pins.id.as_str(),
        "step": step.id.as_str(),
        "steps": steps.collect::<serde_json::Map<_, _>>(),
    })
}

/// Whether nothing of a run can go on before people have answered.
pub(super) fn rests(state: &RunState) -> bool {
    let busy = |step: &StepState| {
        step.items.iter().any(|item| match item.phase {
            Phase::Queued | Phase::Running => true,
            Phase::Waiting => item.retry_at.is_some(),
            Phase::Ended => false,
        })
    };
    state.outcome.is_none()
        && state.steps.values().any(|step| open(step).is_some())
        && !state.steps.values().any(busy)
}
