//! Whether a step's turn has come, and with which items.

use std::collections::BTreeSet;

use serde_json::Value;

use super::scope;
use super::{ItemState, RunState};
use crate::domain::{Outcome, Phase, RunPins, Step, Waits, digest_of};
use crate::expression::{Expression, Root, Scope};

/// Items of one `for_each`.
pub const ITEMS_MAX: usize = 500;
/// Bytes of the inputs of one step, all items together, as JSON.
pub const INPUT_BYTES_MAX: usize = 1024 * 1024;

/// Whether a step can begin.
pub(super) enum Readiness {
    /// Not yet.
    Waits,
    /// Now.
    Go,
    /// Never.
    Skip {
        /// Whether what waits for it is skipped too.
        blocks: bool,
        /// Why, for people.
        reason: String,
    },
}

/// Looks at what a step waits for.
///
/// A failure skips all that waits, by name or by order. A step that its own `if` skipped holds nobody up but those
/// that name it.
pub(super) fn readiness(step: &Step, state: &RunState) -> Readiness {
    let by_name = matches!(step.waits, Waits::Needs(_));
    let mut skip = None;
    for id in step.waits.steps() {
        let Some(before) = state.steps.get(id) else { continue };
        if before.phase != Phase::Ended {
            return Readiness::Waits;
        }
        let skipped = before.outcome == Some(Outcome::Skipped);
        if before.blocks {
            let verb = if skipped { "was skipped" } else { "did not succeed" };
            skip = Some(Readiness::Skip { blocks: true, reason: format!("step `{id}` {verb}") });
        } else if skipped && by_name && skip.is_none() {
            skip = Some(Readiness::Skip { blocks: false, reason: format!("step `{id}` was skipped") });
        }
    }
    skip.unwrap_or(Readiness::Go)
}

/// The items of a step whose turn has come, with their inputs rendered; `None` if its `if` is false.
///
/// # Errors
/// What is wrong with an expression, for people: the step fails with it.
pub(super) fn items(pins: &RunPins, state: &RunState, step: &Step) -> Result<Option<Vec<ItemState>>, String> {
    let scope = scope::of(pins, state);
    if !holds(step, &scope)? {
        return Ok(None);
    }
    let Some(each) = &step.for_each else {
        let input = input(pins, step, &scope)?;
        check_size(scope::bytes(&input))?;
        return Ok(Some(vec![ItemState::new(input, String::new())]));
    };
    let found = scope::render(&Value::String(scope::marked(&each.items)), &scope)
        .map_err(|cause| format!("`for_each`: {cause}"))?;
    let Value::Array(found) = found else {
        return Err("`for_each`: not a list".into());
    };
    if found.len() > ITEMS_MAX {
        return Err(format!("`for_each`: {} items, at most {ITEMS_MAX} are allowed", found.len()));
    }
    let mut keys = BTreeSet::new();
    let mut bytes = 0;
    let mut items = Vec::with_capacity(found.len());
    for (place, element) in found.into_iter().enumerate() {
        let at = |problem: String| format!("item {place}: {problem}");
        let digest = digest_of(&element);
        let scope = scope.clone().with(Root::Item, element);
        let key = match &each.item_key {
            Some(written) => scope::text(&scope::marked(written), &scope)
                .map_err(|cause| at(format!("`item_key`: {cause}")))?,
            None => unused(&keys, &digest["sha256:".len()..][..16]),
        };
        if !keys.insert(key.clone()) {
            return Err(at("another item has the same `item_key`".into()));
        }
        let input = input(pins, step, &scope).map_err(at)?;
        bytes += scope::bytes(&input);
        check_size(bytes)?;
        items.push(ItemState::new(input, key));
    }
    Ok(Some(items))
}

/// Whether a step's `if` holds; true without one.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn holds(step: &Step, scope: &Scope) -> Result<bool, String> {
    let Some(condition) = &step.condition else { return Ok(true) };
    let holds = Expression::parse(condition).and_then(|condition| condition.test(scope));
    holds.map_err(|cause| format!("`if`: {cause}"))
}

/// Two items that are equal still differ in their keys: `KEY`, `KEY-2`, `KEY-3`.
fn unused(keys: &BTreeSet<String>, digest: &str) -> String {
    let mut key = digest.to_owned();
    let mut number = 2;
    while keys.contains(&key) {
        key = format!("{digest}-{number}");
        number += 1;
    }
    key
}

fn input(pins: &RunPins, step: &Step, scope: &Scope) -> Result<Value, String> {
    let Some(with) = &step.with else {
        return Ok(scope::inputs(pins));
    };
    let mut rendered = serde_json::Map::new();
    for (name, value) in with {
        let value = scope::render(value, scope).map_err(|cause| format!("`with.{name}`: {cause}"))?;
        rendered.insert(name.as_str().to_owned(), value);
    }
    Ok(Value::Object(rendered))
}

fn check_size(bytes: usize) -> Result<(), String> {
    if bytes > INPUT_BYTES_MAX {
        return Err(format!("the input has more than {INPUT_BYTES_MAX} bytes"));
    }
    Ok(())
}

impl ItemState {
    pub(super) const fn new(input: Value, key: String) -> Self {
        Self {
            phase: Phase::Waiting,
            outcome: None,
            attempt: 0,
            tries: 0,
            lost: 0,
            leased_at: None,
            lease_until: None,
            stopping_since: None,
            retry_at: None,
            reason: None,
            input,
            key,
            outputs: std::collections::BTreeMap::new(),
            outputs_taken: false,
        }
    }
}
