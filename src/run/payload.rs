//! What a run was given and wrote, taken out of its state when it is over, and put back to run it again.
//!
//! Nothing after the end reads any of it but people and a rerun, so that it need not stand in clear. Encrypting it, and
//! dropping it once its time is over, is no business of this room.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RunState;
use crate::domain::{FieldName, RunId, RunPins, StepId, digest_of};

/// The payload of one run that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Payload {
    /// Whose: another run's does not stand in for it.
    pub run: RunId,
    /// What its hook sent; null otherwise.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub body: Value,
    /// By step, an entry for each of its items.
    pub steps: BTreeMap<StepId, Vec<ItemPayload>>,
}

/// What one item was given and wrote.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ItemPayload {
    /// Its input, expressions rendered; sensitive inputs are null in it.
    pub input: Value,
    /// Its outputs, redacted.
    pub outputs: BTreeMap<FieldName, Value>,
}

impl Payload {
    /// Whether there is nothing in it that anybody could want kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let empty = |item: &ItemPayload| {
            item.outputs.is_empty() && matches!(&item.input, Value::Null)
                || item.outputs.is_empty() && item.input.as_object().is_some_and(serde_json::Map::is_empty)
        };
        self.body.is_null() && self.steps.values().flatten().all(empty)
    }
}

/// Takes the payload out of a run that is over.
///
/// Of an item's key, which may be made of what another step wrote, its digest stays: a rerun finds it by that.
pub fn take_payload(pins: &RunPins, state: &mut RunState) -> Payload {
    let mut payload = Payload { run: pins.id.clone(), body: pins.body.clone(), steps: BTreeMap::new() };
    state.body_taken = !pins.body.is_null();
    state.kept = None;
    for (id, step) in &mut state.steps {
        let items = step.items.iter_mut().map(|item| {
            item.outputs_taken = !item.outputs.is_empty();
            item.key = stored_key(&item.key);
            ItemPayload { input: item.input.take(), outputs: std::mem::take(&mut item.outputs) }
        });
        let items: Vec<_> = items.collect();
        if !items.is_empty() {
            payload.steps.insert(id.clone(), items);
        }
    }
    payload
}

/// The key of an item as it stands once its run is over.
pub(super) fn stored_key(key: &str) -> String {
    if key.is_empty() { String::new() } else { digest_of(&key) }
}

impl RunState {
    /// The state with its payload back in place; as it is if the payload is another run's.
    #[must_use]
    pub fn with_payload(mut self, of: &RunId, payload: &Payload) -> Self {
        if payload.run != *of {
            return self;
        }
        for (id, items) in &payload.steps {
            let known = self.steps.get_mut(id).into_iter().flat_map(|step| &mut step.items);
            for (item, kept) in known.zip(items) {
                item.input.clone_from(&kept.input);
                item.outputs.clone_from(&kept.outputs);
                item.outputs_taken = false;
            }
        }
        self.body_taken = false;
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{ForEach, Outcome, Step, Timestamp, ValueType, Waits};
    use crate::run::samples::{at, pins, step, workflow};
    use crate::run::{NothingToKeep, RunEvent, advance};

    fn id(text: &str) -> StepId {
        text.parse().expect("a name")
    }

    /// A run whose first step wrote a canary, whose second is given it, item by item, and fails on the last.
    fn failed() -> (RunPins, RunState) {
        let mut first = step("a_first", Waits::Nothing);
        first.outputs = [("list".parse().expect("a name"), ValueType::List)].into();
        let mut each: Step = step("b_each", Waits::Above(first.id.clone()));
        each.for_each = Some(ForEach {
            items: "${{ steps.a_first.outputs.list }}".into(),
            item_key: Some("item".into()),
            max_parallel: 1,
        });
        let mut pins = pins(workflow(vec![first, each]));
        pins.body = json!({"order": "canary-body"});
        let mut state = RunState::new(&pins.workflow);
        let mut event = |event| state = advance(&pins, state.clone(), event, at(0)).0;
        event(RunEvent::Admitted);
        let until = |time: Timestamp| time + crate::domain::Length::from_secs(60);
        let outputs = [("list".parse().expect("a name"), json!(["canary-1", "canary-2"]))];
        for (name, item, outcome, outputs) in [
            ("a_first", 0, Outcome::Success, outputs.into()),
            ("b_each", 0, Outcome::Success, BTreeMap::new()),
            ("b_each", 1, Outcome::Failure, BTreeMap::new()),
        ] {
            event(RunEvent::Leased { step: id(name), item, attempt: 1, until: until(at(0)) });
            let step = id(name);
            event(RunEvent::Completed { step, item, attempt: 1, outcome, reason: None, outputs });
        }
        assert_eq!(state.outcome, Some(Outcome::Failure));
        (pins, state)
    }

    #[test]
    fn what_is_left_of_a_run_holds_nothing_of_its_payload() {
        let (pins, mut state) = failed();
        assert!(serde_json::to_string(&state).expect("text").contains("canary-1"));
        let payload = take_payload(&pins, &mut state);
        assert!(!serde_json::to_string(&state).expect("text").contains("canary"), "{state:?}");
        let text = serde_json::to_string(&payload).expect("text");
        for canary in ["canary-1", "canary-2", "canary-body"] {
            assert!(text.contains(canary), "{canary}");
        }
        assert!(!payload.is_empty());
        assert!(state.body_taken && state.item(&id("a_first"), 0).expect("an item").outputs_taken);
    }

    #[test]
    fn a_rerun_keeps_what_the_payload_brings_back_and_refuses_without_it() {
        let (pins, state) = failed();
        let want = RunState::resuming(&pins.workflow, &pins.id, &state).expect("something failed");
        let mut taken = state.clone();
        let payload = take_payload(&pins, &mut taken);
        let refused = RunState::resuming(&pins.workflow, &pins.id, &taken).expect_err("its outputs are gone");
        assert!(matches!(refused, NothingToKeep::Gone { .. }), "{refused}");
        assert!(refused.to_string().contains("`a_first`"), "{refused}");
        assert!(refused.to_string().contains("leave out `--failed`"), "{refused}");

        let back = taken.clone().with_payload(&pins.id, &payload);
        let got = RunState::resuming(&pins.workflow, &pins.id, &back).expect("something failed");
        let counts = |state: &RunState| {
            let kept = state.kept.clone().expect("it keeps something").steps;
            kept.into_iter().map(|(step, items)| (step, items.len())).collect::<Vec<_>>()
        };
        assert_eq!(counts(&got), counts(&want));

        let other = Payload { run: RunId::from_uuid(uuid::Uuid::from_u128(255)), ..payload };
        let still = taken.with_payload(&pins.id, &other);
        assert!(RunState::resuming(&pins.workflow, &pins.id, &still).is_err(), "another run's is not taken");
    }

    #[test]
    fn an_item_is_found_again_by_the_digest_of_its_key() {
        let (pins, mut state) = failed();
        let payload = take_payload(&pins, &mut state);
        let back = state.with_payload(&pins.id, &payload);
        let mut again = RunState::resuming(&pins.workflow, &pins.id, &back).expect("something failed");
        again = advance(&pins, again, RunEvent::Admitted, at(1)).0;
        let item = |place| again.item(&id("b_each"), place).expect("an item").clone();
        assert_eq!(item(0).outcome, Some(Outcome::Success), "it was kept");
        assert_eq!(item(1).outcome, None, "it runs again");
        assert_eq!(item(1).key, "canary-2", "what names it to the outside stays as it was");
    }

    #[test]
    fn a_run_that_was_given_and_wrote_nothing_leaves_nothing() {
        let pins = pins(workflow(vec![step("only", Waits::Nothing)]));
        let mut state = RunState::new(&pins.workflow);
        assert!(take_payload(&pins, &mut state).is_empty());
    }
}
