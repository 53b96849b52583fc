//! `--input NAME=VALUE`, read by the types that the workflow declares.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::desired::written::nearest;
use crate::domain::{FieldName, Input, StepId, ValueType, Workflow};
use crate::run::{GivenOutputs, input_problem};

/// Reads what is given; names everything that is wrong at once, each with its cure. No message holds a value, which may
/// be sensitive.
///
/// # Errors
/// A sentence each: an input that is unknown, given twice, of another type or format, or missing.
pub(super) fn read(
    given: &[(FieldName, String)],
    workflow: &Workflow,
) -> Result<BTreeMap<FieldName, Value>, Vec<String>> {
    let mut inputs = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, text) in given {
        let Some(declared) = workflow.inputs.get(name) else {
            problems.push(unknown(name, workflow));
            continue;
        };
        let value = typed(declared.value_type, text);
        let problem = match &value {
            Some(value) => input_problem(declared, value),
            None => Some(format!("is not of type {}", word(declared.value_type))),
        };
        if let Some(problem) = problem {
            problems.push(format!("input `{name}` {problem}: write {}", example(name, declared)));
        } else if inputs.insert(name.clone(), value.unwrap_or_default()).is_some() {
            problems.push(format!("input `{name}` is given twice: give it once"));
        }
    }
    let missing = workflow.inputs.iter().filter(|(name, declared)| {
        declared.required && declared.default.is_none() && !given.iter().any(|(known, _)| known == *name)
    });
    for (name, declared) in missing {
        let what = declared.description.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
        problems.push(format!("input `{name}`{what} is required: give it by {}", example(name, declared)));
    }
    if problems.is_empty() { Ok(inputs) } else { Err(problems) }
}

/// Reads `--output STEP.NAME=VALUE` by the types that the steps declare.
///
/// # Errors
/// A sentence each: a step or output that there is not, or a value of another type.
pub(super) fn outputs(
    given: &[(StepId, FieldName, String)],
    workflow: &Workflow,
) -> Result<GivenOutputs, Vec<String>> {
    let mut outputs = GivenOutputs::new();
    let mut problems = Vec::new();
    for (id, name, text) in given {
        let declared = workflow.step(id).map(|step| &step.outputs);
        let Some(value_type) = declared.and_then(|outputs| outputs.get(name)) else {
            let known: Vec<_> = workflow
                .steps
                .iter()
                .flat_map(|step| step.outputs.keys().map(|name| format!("`{}.{name}`", step.id)))
                .collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            problems.push(format!("unknown output `{id}.{name}`: the steps declare {known}"));
            continue;
        };
        match typed(*value_type, text).filter(|value| value_type.admits(value)) {
            Some(value) => drop(outputs.entry(id.clone()).or_default().insert(name.clone(), value)),
            None => problems.push(format!("output `{id}.{name}` is not of type {}", word(*value_type))),
        }
    }
    if problems.is_empty() { Ok(outputs) } else { Err(problems) }
}

fn unknown(name: &FieldName, workflow: &Workflow) -> String {
    let known: Vec<&str> = workflow.inputs.keys().map(FieldName::as_str).collect();
    let cure = match (nearest(name.as_str(), known.iter().copied()), known.as_slice()) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, []) => "this workflow takes none".to_owned(),
        (None, known) => format!("this workflow takes `{}`", known.join("`, `")),
    };
    format!("unknown input `{name}`: {cure}")
}

/// The value that a text stands for; `None` if it is none of the type.
fn typed(value_type: ValueType, text: &str) -> Option<Value> {
    match value_type {
        ValueType::String => Some(Value::String(text.to_owned())),
        ValueType::Int => text.trim().parse::<i64>().ok().map(Value::from),
        ValueType::Float => {
            let number = text.trim().parse::<f64>().ok()?;
            serde_json::Number::from_f64(number).map(Value::Number)
        }
        ValueType::Bool => text.trim().parse::<bool>().ok().map(Value::Bool),
        ValueType::List | ValueType::Map => serde_json::from_str(text).ok(),
    }
}

const fn word(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::String => "string",
        ValueType::Int => "int",
        ValueType::Float => "float",
        ValueType::Bool => "bool",
        ValueType::List => "list",
        ValueType::Map => "map",
    }
}

/// How the input could be written: an allowed value, or one of its type and format.
fn example(name: &FieldName, declared: &Input) -> String {
    let value = match (declared.allowed.first(), declared.value_type, declared.format.as_deref()) {
        (Some(Value::String(text)), ..) => text.clone(),
        (Some(value), ..) => format!("'{value}'"),
        (None, ValueType::Int, _) => "3".to_owned(),
        (None, ValueType::Float, _) => "2.5".to_owned(),
        (None, ValueType::Bool, _) => "true".to_owned(),
        (None, ValueType::List, _) => "'[\"a\", \"b\"]'".to_owned(),
        (None, ValueType::Map, _) => "'{\"a\": 1}'".to_owned(),
        (None, ValueType::String, Some("date")) => "2026-11-23".to_owned(),
        (None, ValueType::String, Some("date-time")) => "2026-11-23T14:00:00Z".to_owned(),
        (None, ValueType::String, Some("email")) => "ops@acme.example".to_owned(),
        (None, ValueType::String, Some("uri")) => "https://acme.example/".to_owned(),
        (None, ValueType::String, Some("uuid")) => "0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11".to_owned(),
        (None, ValueType::String, _) => "TEXT".to_owned(),
    };
    format!("`--input {name}={value}`")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workflow() -> Workflow {
        let input = |value_type, format: Option<&str>, allowed: Vec<Value>, required| Input {
            value_type,
            format: format.map(str::to_owned),
            allowed,
            default: None,
            required,
            sensitive: false,
            description: required.then(|| "who asks".to_owned()),
        };
        let mut flow = crate::run::samples::workflow(Vec::new());
        for (name, value_type, format) in [
            ("text", ValueType::String, None),
            ("day", ValueType::String, Some("date")),
            ("count", ValueType::Int, None),
            ("rate", ValueType::Float, None),
            ("dry", ValueType::Bool, None),
            ("ids", ValueType::List, None),
            ("extra", ValueType::Map, None),
        ] {
            flow.inputs.insert(name.parse().unwrap(), input(value_type, format, Vec::new(), false));
        }
        let mode = input(ValueType::String, None, vec![json!("full"), json!("quick")], false);
        flow.inputs.insert("mode".parse().unwrap(), mode);
        flow.inputs.insert("who".parse().unwrap(), input(ValueType::String, None, Vec::new(), true));
        flow
    }

    #[track_caller]
    fn check(given: &[&str], want: Result<Value, &[&str]>) {
        let given: Vec<_> = given.iter().map(|text| super::super::pair(text).unwrap()).collect();
        let got = read(&given, &workflow());
        match want {
            Ok(want) => assert_eq!(serde_json::to_value(got.unwrap()).unwrap(), want),
            Err(want) => assert_eq!(got.unwrap_err(), want),
        }
    }

    #[test]
    fn values_are_read_by_their_type() {
        check(
            &[
                "who=a=b",
                "text=1",
                "day=2026-11-23",
                "count=-3",
                "rate=2",
                "dry=true",
                "ids=[1,\"x\"]",
                "mode=quick",
            ],
            Ok(json!({"who": "a=b", "text": "1", "day": "2026-11-23", "count": -3, "rate": 2.0, "dry": true,
                "ids": [1, "x"], "mode": "quick"})),
        );
        check(&["who=", "extra={\"a\":{}}"], Ok(json!({"who": "", "extra": {"a": {}}})));
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once_with_its_cure() {
        check(
            &["wo=x"],
            Err(&[
                "unknown input `wo`: did you mean `who`?",
                "input `who` (who asks) is required: give it by `--input who=TEXT`",
            ]),
        );
        check(
            &[
                "who=x",
                "count=many",
                "rate=NaN",
                "dry=yes",
                "ids={}",
                "extra=[",
                "day=23.11.2026",
                "mode=slow",
            ],
            Err(&[
                "input `count` is not of type int: write `--input count=3`",
                "input `rate` is not of type float: write `--input rate=2.5`",
                "input `dry` is not of type bool: write `--input dry=true`",
                "input `ids` is not of type list: write `--input ids='[\"a\", \"b\"]'`",
                "input `extra` is not of type map: write `--input extra='{\"a\": 1}'`",
                "input `day` is not of format date: write `--input day=2026-11-23`",
                "input `mode` is not one of `full`, `quick`: write `--input mode=full`",
            ]),
        );
        check(&["who=x", "who=y"], Err(&["input `who` is given twice: give it once"]));
        check(
            &["who=x", "zzz=1"],
            Err(&[
                "unknown input `zzz`: this workflow takes `count`, `day`, `dry`, `extra`, `ids`, `mode`, `rate`, `text`, `who`",
            ]),
        );
    }
}
