//! A run as everybody sees it, from what its rows hold: pure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::rows::AttemptRow;
use crate::domain::{Actor, Outcome, Phase, RunPins, StepId, UserId};
use crate::record::{AnswerRecord, ApprovalRecord, RunRecord, StepRecord};
use crate::run::{self, ApprovalState, ItemState, RunState, Said};

/// Puts a run's record together; `attempts` stand in the order they were leased.
pub(super) fn run_record(pins: &RunPins, state: &RunState, attempts: Vec<AttemptRow>) -> RunRecord {
    let mut steps: Vec<StepRecord> = Vec::new();
    let mut shown: BTreeSet<_> = attempts.iter().map(|attempt| attempt.place.step.clone()).collect();
    let used: BTreeSet<String> = attempts
        .iter()
        .flat_map(|attempt| attempt.record.iter().flat_map(|r| r.secrets_used.clone()))
        .collect();
    for attempt in attempts {
        let step = pins.workflow.step(&attempt.place.step);
        let outputs = serde_json::from_value(attempt.outputs).unwrap_or_default();
        steps.push(StepRecord {
            item: step.and_then(|step| step.for_each.as_ref()).map(|_| attempt.place.item),
            id: attempt.place.step,
            attempt: attempt.attempt,
            state: if attempt.ended_at.is_some() { Phase::Ended } else { Phase::Running },
            outcome: attempt.outcome,
            reason: attempt.reason,
            exit: attempt.record.as_ref().map_or(Value::Null, |record| record.exit.clone()),
            started_at: Some(attempt.leased_at),
            ended_at: attempt.ended_at,
            log_bytes: attempt.record.as_ref().map_or(0, |record| record.log_bytes),
            approval: None,
            outputs,
            record: attempt.record,
        });
    }
    // What was kept from the run before has no attempt here.
    for step in &pins.workflow.steps {
        let Some(known) = state.steps.get(&step.id) else { continue };
        let kept = |item: &&ItemState| item.attempt == 0 && item.outcome == Some(Outcome::Success);
        for (place, item) in (0_u32..).zip(&known.items).filter(|(_, item)| kept(item)) {
            steps.push(StepRecord {
                id: step.id.clone(),
                item: step.for_each.as_ref().map(|_| place),
                attempt: 0,
                state: Phase::Ended,
                outcome: item.outcome,
                reason: item.reason.clone(),
                exit: Value::Null,
                started_at: None,
                ended_at: known.ended_at,
                log_bytes: 0,
                approval: None,
                outputs: item.outputs.clone(),
                record: None,
            });
            shown.insert(step.id.clone());
        }
    }
    let order = pins.workflow.steps.iter().chain(pins.workflow.on_failure.as_deref());
    for id in order.map(|step| &step.id).filter(|id| !shown.contains(*id)) {
        let Some(step) = state.steps.get(id) else { continue };
        steps.push(StepRecord {
            id: id.clone(),
            item: None,
            attempt: 0,
            state: step.items.first().map_or(step.phase, |item| item.phase),
            outcome: step.outcome,
            reason: step.reason.clone(),
            exit: Value::Null,
            started_at: None,
            ended_at: step.ended_at,
            log_bytes: 0,
            approval: step.approval.as_ref().and_then(|asked| approval_record(pins, state, id, asked)),
            outputs: Default::default(),
            record: None,
        });
    }
    RunRecord {
        id: pins.id.clone(),
        tenant: pins.tenant.clone(),
        workflow: pins.workflow.id.clone(),
        environment: pins.environment.clone(),
        commit: pins.commit.clone(),
        tree: pins.tree.clone(),
        trigger: pins.trigger.clone(),
        actor: pins.actor.clone(),
        state: state.phase,
        outcome: state.outcome,
        reason: state.reason.clone(),
        created_at: pins.created_at,
        started_at: state.started_at,
        ended_at: state.ended_at,
        steps,
        secrets_used: used.into_iter().collect(),
        scripts: pins.workflow.files.iter().map(|(path, file)| (path.clone(), file.id.clone())).collect(),
        runtime: pins.workflow.runtime.clone(),
        inputs_digest: pins.inputs_digest.clone(),
        rerun_of: pins.rerun_of.clone(),
        payload: state.payload,
    }
}

fn approval_record(
    pins: &RunPins,
    state: &RunState,
    id: &StepId,
    asked: &ApprovalState,
) -> Option<ApprovalRecord> {
    let written = pins.workflow.approval(id)?;
    let mut shown = run::shown_to_approvers(pins, state, pins.workflow.step(id)?);
    let answer = |(by, said): (&UserId, &Said)| AnswerRecord {
        by: Actor::User(by.clone()),
        at: said.at,
        reason: said.reason.clone(),
    };
    Some(ApprovalRecord {
        from: written.from.iter().map(ToString::to_string).collect(),
        count: written.count,
        asked_at: asked.asked_at,
        until: asked.until,
        shown: asked.shown.clone(),
        steps: shown["steps"].take(),
        given: asked.given.iter().map(answer).collect(),
        rejected: asked.rejected.as_ref().map(|(by, said)| answer((by, said))),
    })
}
