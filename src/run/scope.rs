//! What expressions of a run see, and what becomes of them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::RunState;
use crate::domain::{
    CommitId, FieldName, Input, Phase, RunId, RunPins, Step, StepId, Trigger, ValueType, WorkflowId,
};
use crate::expression::{ExpressionError, Root, Scope, Template};

/// The values of a run: its inputs, the steps that are over, what started it, itself and its tenant.
pub(super) fn of(pins: &RunPins, state: &RunState) -> Scope {
    Scope::default()
        .with(Root::Inputs, inputs(pins))
        .with(Root::Steps, Value::Object(steps(pins, state)))
        .with(Root::Trigger, trigger(&pins.trigger, &pins.commit, &pins.body))
        .with(Root::Run, run(&pins.id, &pins.workflow.id, &pins.commit))
        .with(Root::Tenant, json!({ "id": pins.tenant.as_str(), "environment": pins.environment }))
}

/// How each step that is over ended, and what it wrote.
pub(super) fn steps(pins: &RunPins, state: &RunState) -> Map<String, Value> {
    let mut steps = Map::new();
    for step in &pins.workflow.steps {
        let Some(known) = state.steps.get(&step.id).filter(|known| known.phase == Phase::Ended) else {
            continue;
        };
        let outputs = match (&step.for_each, known.items.as_slice()) {
            (Some(_), items) => Value::Array(items.iter().map(|item| object(&item.outputs)).collect()),
            (None, [item]) => object(&item.outputs),
            (None, _) => Value::Object(Map::new()),
        };
        let status = known.outcome.map_or("", |outcome| outcome.as_str());
        steps.insert(step.id.as_str().to_owned(), json!({ "status": status, "outputs": outputs }));
    }
    steps
}

/// What started a run.
pub(super) fn trigger(trigger: &Trigger, commit: &CommitId, body: &Value) -> Value {
    json!({
        "kind": trigger.kind.as_str(),
        "time": trigger.time.to_string(),
        "commit": commit.as_str(),
        "body": body,
    })
}

/// The run itself.
pub(super) fn run(id: &RunId, workflow: &WorkflowId, commit: &CommitId) -> Value {
    json!({ "id": id.as_str(), "workflow": workflow.as_str(), "commit": commit.as_str() })
}

/// The run's inputs as one object. An optional one that was not given is null, so that it can be asked for.
pub(super) fn inputs(pins: &RunPins) -> Value {
    let mut all = object(&inputs_as_declared(&pins.workflow.inputs, &pins.inputs));
    if let Value::Object(all) = &mut all {
        for (name, input) in &pins.workflow.inputs {
            if input.sensitive {
                // Whatever is rendered is stored; a worker puts the value in.
                all.insert(name.as_str().to_owned(), Value::Null);
            } else {
                all.entry(name.as_str()).or_insert(Value::Null);
            }
        }
    }
    all
}

/// Gives numbers the type they are declared with: a `float` that was written `2` is 2.0, since CEL keeps them apart.
#[must_use]
pub fn inputs_as_declared(
    declared: &BTreeMap<FieldName, Input>,
    given: &BTreeMap<FieldName, Value>,
) -> BTreeMap<FieldName, Value> {
    let float =
        |name: &FieldName| declared.get(name).is_some_and(|input| input.value_type == ValueType::Float);
    given
        .iter()
        .map(|(name, value)| {
            let value = match value.as_f64() {
                Some(number) if float(name) && value.is_number() => json!(number),
                _ => value.clone(),
            };
            (name.clone(), value)
        })
        .collect()
}

/// Renders every text inside a value; all else stays as it is.
///
/// # Errors
/// Why the first expression that fails has no value.
pub fn render(value: &Value, scope: &Scope) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) if Template::is_marked(text) => {
            let template = Template::parse(text).map_err(|cause| cause.to_string())?;
            template.evaluate(scope).map_err(|cause| cause.to_string())?
        }
        Value::Array(list) => {
            Value::Array(list.iter().map(|value| render(value, scope)).collect::<Result<_, _>>()?)
        }
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(name, value)| Ok((name.clone(), render(value, scope)?)))
                .collect::<Result<_, String>>()?,
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    })
}

/// Renders a text to a text; only scalars may stand in it.
pub(super) fn text(written: &str, scope: &Scope) -> Result<String, String> {
    match render(&Value::String(written.to_owned()), scope)? {
        Value::String(text) => Ok(text),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(ExpressionError::NotScalar("a list, a map or null").to_string())
        }
    }
}

/// `for_each` and `item_key` are expressions; written bare or in `${{ }}`, they mean the same.
pub(super) fn marked(written: &str) -> String {
    if Template::is_marked(written) { written.trim().to_owned() } else { format!("${{{{ {written} }}}}") }
}

/// What is wrong with the outputs of an attempt that succeeded: a promised one is missing or of another type.
pub(super) fn output_problem(step: &Step, outputs: &BTreeMap<FieldName, Value>) -> Option<String> {
    step.outputs.iter().find_map(|(name, value_type)| match outputs.get(name) {
        None => Some(format!("it wrote no output `{name}`")),
        Some(value) if !value_type.admits(value) => {
            Some(format!("its output `{name}` is not of type {}", type_name(*value_type)))
        }
        Some(_) => None,
    })
}

/// A type as its writer spells it.
pub(super) const fn type_name(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::String => "string",
        ValueType::Int => "int",
        ValueType::Float => "float",
        ValueType::Bool => "bool",
        ValueType::List => "list",
        ValueType::Map => "map",
    }
}

/// Names a step and item over attempts and reruns: `TENANTRY_IDEMPOTENCY_KEY`.
///
/// The first run of the chain of reruns, or the one that took a new key; the step and, for a `for_each`, the item's
/// key.
#[must_use]
pub fn idempotency_key(pins: &RunPins, step: &StepId, item_key: &str) -> String {
    let run = pins.named_by.as_ref().or(pins.rerun_of.as_ref()).unwrap_or(&pins.id);
    if item_key.is_empty() { format!("{run}/{step}") } else { format!("{run}/{step}/{item_key}") }
}

/// Bytes of a value as JSON.
pub(super) fn bytes<T: Serialize>(value: &T) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX / 2, |json| json.len())
}

fn object(fields: &BTreeMap<FieldName, Value>) -> Value {
    Value::Object(fields.iter().map(|(name, value)| (name.as_str().to_owned(), value.clone())).collect())
}
