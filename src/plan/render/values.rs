//! Values as people read them: units on numbers, lists joined, long ones cut.

use serde_json::Value;

use super::super::fields::differing;
use super::text::{capped, visible};
use crate::domain::{ByteSize, Length};

/// Characters of a value that are shown on one line.
const VALUE_CHARS_MAX: usize = 200;

/// A value with the units that its field has.
pub(super) fn shown(object: &str, value: &Value) -> String {
    capped(visible(&plain(object, value)), VALUE_CHARS_MAX)
}

fn plain(object: &str, value: &Value) -> String {
    let field = object.rsplit('.').next().unwrap_or_default();
    match (field, value) {
        (_, Value::Null) => "none".to_owned(),
        (_, Value::Array(items)) if items.is_empty() => "none".to_owned(),
        ("schedules", Value::Array(items)) => {
            let word = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
            let shown = |item| format!("{} in {}", word(item, "cron"), word(item, "timezone"));
            items.iter().map(shown).collect::<Vec<_>>().join("; ")
        }
        (_, Value::Array(items)) => items.iter().map(|item| plain("", item)).collect::<Vec<_>>().join(", "),
        (
            "timeout" | "run_timeout" | "elevation_max" | "success_within" | "rotate_every" | "backoff"
            | "max" | "payloads" | "logs" | "runs" | "length",
            Value::Number(millis),
        ) => Length::from_millis(millis.as_u64().unwrap_or_default()).to_string(),
        ("memory" | "disk", Value::Number(bytes)) => {
            ByteSize::from_bytes(bytes.as_u64().unwrap_or_default()).to_string()
        }
        (_, Value::String(text)) => text.clone(),
        (_, Value::Object(map)) => {
            let said = map.iter().filter(|(_, value)| says_something(value));
            let each: Vec<_> = said.map(|(key, value)| format!("{key} {}", plain(key, value))).collect();
            each.join(", ")
        }
        (_, value) => value.to_string(),
    }
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    }
}

/// Lines for the fields in which two objects differ; steps are told apart by their ids.
pub(super) fn field_lines(before: &Value, after: &Value) -> Vec<String> {
    let fields = differing(&by_step(before), &by_step(after));
    fields
        .iter()
        .map(|field| {
            let (before, after) = (shown(&field.path, &field.before), shown(&field.path, &field.after));
            format!("    {}: {before} -> {after}", visible(&field.path))
        })
        .collect()
}

fn by_step(workflow: &Value) -> Value {
    let mut value = workflow.clone();
    let Some(fields) = value.as_object_mut() else { return value };
    if let Some(Value::Array(steps)) = fields.get("steps") {
        let named = |step: &Value| Some((step["id"].as_str()?.to_owned(), step.clone()));
        let steps: serde_json::Map<_, _> = steps.iter().filter_map(named).collect();
        fields.insert("steps".to_owned(), Value::Object(steps));
        fields.remove("id");
    }
    value
}
