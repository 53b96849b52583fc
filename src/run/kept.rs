//! `rerun --failed`: what the run before did well is taken over, step by step and item by item.
//!
//! Nothing is taken over ahead of its turn: a step whose `if` is false now is skipped, one that is blocked stays so,
//! and an item counts as done only if the list has one of its key again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::payload::stored_key;
use super::{ItemState, RunState, scope};
use crate::domain::{FieldName, Outcome, RunId, StepId, Workflow};

/// What an item wrote.
type Outputs = BTreeMap<FieldName, Value>;

/// The successes of an earlier run that a rerun has not come to yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Whose.
    pub of: RunId,
    /// By step and by the key of its items, empty for a step without `for_each`.
    pub steps: BTreeMap<StepId, BTreeMap<String, Outputs>>,
}

/// Why there is nothing to run again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NothingToKeep {
    /// It may still succeed.
    #[error("run `{0}` is not over: wait for its end, or `tenantry cancel` it")]
    NotOver(String),
    /// All of it did.
    #[error("nothing of run `{0}` failed: without `--failed` all of it runs again")]
    Succeeded(String),
    /// What its steps wrote is needed and no longer there.
    #[error(
        "run `{run}` cannot keep {steps}: what they wrote is no longer kept; leave out `--failed`, and all of it runs \
         again under the same idempotency keys"
    )]
    Gone {
        /// Which run.
        run: String,
        /// The steps that succeeded, each in backticks.
        steps: String,
    },
}

impl Kept {
    /// The items that need not run, with what they wrote.
    pub(super) fn take<'i>(
        &mut self,
        step: &StepId,
        items: &'i mut [ItemState],
    ) -> Vec<(&'i mut ItemState, Outputs)> {
        let mut known = self.steps.remove(step).unwrap_or_default();
        let kept = items.iter_mut().filter_map(|item| {
            // As it stood while the run went on, or once it was over.
            let found = known.remove(&item.key).or_else(|| known.remove(&stored_key(&item.key)));
            found.map(|outputs| (item, outputs))
        });
        kept.collect()
    }
    pub(super) fn reason(&self) -> String {
        format!("kept from run `{}`", self.of)
    }
}

impl RunState {
    /// A run that waits to be admitted and keeps what succeeded in an earlier one.
    ///
    /// The workflow may be another than that of the earlier run: a step is kept by its id if what it wrote is still
    /// what it has to write. `on_failure` is never kept.
    ///
    /// # Errors
    /// [`NothingToKeep`] if the earlier run is under way or succeeded, or if what its steps wrote is gone.
    pub fn resuming(workflow: &Workflow, of: &RunId, before: &Self) -> Result<Self, NothingToKeep> {
        match before.outcome {
            None => return Err(NothingToKeep::NotOver(of.short().to_owned())),
            Some(Outcome::Success | Outcome::Skipped) => {
                return Err(NothingToKeep::Succeeded(of.short().to_owned()));
            }
            Some(_) => {}
        }
        let wrote = |step: &&StepId| {
            let items = before.steps.get(*step).into_iter().flat_map(|known| &known.items);
            items.into_iter().any(|item| item.outcome == Some(Outcome::Success) && item.outputs_taken)
        };
        let gone: Vec<_> = workflow.steps.iter().map(|step| &step.id).filter(wrote).collect();
        if !gone.is_empty() {
            let steps = gone.iter().map(|step| format!("`{step}`")).collect::<Vec<_>>().join(", ");
            return Err(NothingToKeep::Gone { run: of.short().to_owned(), steps });
        }
        let mut steps = BTreeMap::new();
        for step in &workflow.steps {
            let items = before.steps.get(&step.id).into_iter().flat_map(|known| &known.items);
            let well = items
                .filter(|item| item.outcome == Some(Outcome::Success))
                .filter(|item| scope::output_problem(step, &item.outputs).is_none())
                .map(|item| (item.key.clone(), item.outputs.clone()));
            let well: BTreeMap<_, _> = well.collect();
            if !well.is_empty() {
                steps.insert(step.id.clone(), well);
            }
        }
        Ok(Self { kept: Some(Kept { of: of.clone(), steps }), ..Self::new(workflow) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ForEach, Phase, RunPins, Step, Timestamp, ValueType, Waits};
    use crate::run::samples::{at, pins, step, workflow};
    use crate::run::{RunEvent, advance};

    /// Runs everything that gets queued, failing the attempts whose step and item are named; gives the state and
    /// what ran.
    fn play(pins: &RunPins, mut state: RunState, fails: &[(&str, u32)]) -> (RunState, Vec<String>) {
        let mut ran = Vec::new();
        let now = |ran: &Vec<String>| at(i64::try_from(ran.len()).unwrap());
        (state, _) = advance(pins, state, RunEvent::Admitted, at(0));
        while let Some((step, item)) = next(&state) {
            let time: Timestamp = now(&ran);
            let attempt = state.item(&step, item).unwrap().attempt + 1;
            let until = time + crate::domain::Length::from_secs(60);
            let leased = RunEvent::Leased { step: step.clone(), item, attempt, until };
            (state, _) = advance(pins, state, leased, time);
            ran.push(format!("{step}[{item}]"));
            let well = !fails.contains(&(step.as_str(), item));
            let done = RunEvent::Completed {
                step: step.clone(),
                item,
                attempt,
                outcome: if well { Outcome::Success } else { Outcome::Failure },
                reason: None,
                outputs: [("n".parse().unwrap(), Value::from(item))].into(),
            };
            (state, _) = advance(pins, state, done, time);
        }
        (state, ran)
    }

    fn next(state: &RunState) -> Option<(StepId, u32)> {
        state.steps.iter().find_map(|(id, step)| {
            let place = step.items.iter().position(|item| item.phase == Phase::Queued)?;
            Some((id.clone(), u32::try_from(place).unwrap()))
        })
    }

    fn flow() -> Vec<Step> {
        let mut first = step("a_first", Waits::Nothing);
        first.outputs = [("n".parse().unwrap(), ValueType::Int)].into();
        let mut each = step("b_each", Waits::Above(first.id.clone()));
        each.for_each = Some(ForEach { items: "[1, 2, 3]".into(), item_key: None, max_parallel: 3 });
        let last = step("c_last", Waits::Above(each.id.clone()));
        vec![first, each, last]
    }

    #[test]
    fn only_what_failed_runs_again_single_items_too() {
        let pins = pins(workflow(flow()));
        let (failed, ran) = play(&pins, RunState::new(&pins.workflow), &[("b_each", 1)]);
        assert_eq!(failed.outcome, Some(Outcome::Failure));
        assert_eq!(ran, ["a_first[0]", "b_each[0]", "b_each[1]", "b_each[2]"]);
        let resumed = RunState::resuming(&pins.workflow, &pins.id, &failed).unwrap();
        let (state, ran) = play(&pins, resumed, &[]);
        assert_eq!(
            (state.outcome, ran),
            (Some(Outcome::Success), vec!["b_each[1]".into(), "c_last[0]".into()])
        );
        let kept = state.item(&"b_each".parse().unwrap(), 2).unwrap();
        assert_eq!((kept.attempt, kept.outputs["n"].clone()), (0, Value::from(2)), "with what it wrote");
        assert!(kept.reason.as_ref().unwrap().starts_with("kept from run `run_"));
        assert_eq!(state.kept, None);

        // And again: what a rerun kept is kept by the next.
        let resumed = RunState::resuming(&pins.workflow, &pins.id, &failed).unwrap();
        let (again, _) = play(&pins, resumed, &[("c_last", 0)]);
        let resumed = RunState::resuming(&pins.workflow, &pins.id, &again).unwrap();
        assert_eq!(play(&pins, resumed, &[]).1, ["c_last[0]"]);
    }

    #[test]
    fn newer_code_runs_what_it_asks_more_of() {
        let old = pins(workflow(flow()));
        let (failed, _) = play(&old, RunState::new(&old.workflow), &[("b_each", 1)]);
        let mut steps = flow();
        steps[0].outputs.insert("more".parse().unwrap(), ValueType::Int);
        steps[1].for_each = Some(ForEach { items: "[3, 4]".into(), item_key: None, max_parallel: 3 });
        let new = pins(workflow(steps.clone()));
        let resumed = RunState::resuming(&new.workflow, &old.id, &failed).unwrap();
        let (_, ran) = play(&new, resumed, &[]);
        assert_eq!(ran, ["a_first[0]"], "its output is promised now and missing, so it runs, and fails");
        steps[0].outputs.clear();
        let new = pins(workflow(steps));
        let resumed = RunState::resuming(&new.workflow, &old.id, &failed).unwrap();
        let (state, ran) = play(&new, resumed, &[]);
        assert_eq!(ran, ["b_each[1]", "c_last[0]"], "3 was done, 4 is new");
        assert_eq!(state.outcome, Some(Outcome::Success));
    }

    #[test]
    fn what_succeeded_or_goes_on_has_nothing_to_run_again() {
        let pins = pins(workflow(flow()));
        let (well, _) = play(&pins, RunState::new(&pins.workflow), &[]);
        let refused =
            |state: &RunState| RunState::resuming(&pins.workflow, &pins.id, state).unwrap_err().to_string();
        assert!(refused(&well).contains("failed: without `--failed`"));
        assert!(refused(&RunState::new(&pins.workflow)).contains("is not over"));
    }
}
