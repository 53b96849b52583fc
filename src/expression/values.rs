//! JSON to the evaluator's values and back.

use std::collections::HashMap;

use cel::objects::Key;
use serde_json::{Map, Number, Value};

use super::ExpressionError;

/// Whole numbers become `int`, those above its range `uint`, all others `double`.
pub(super) fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(answer) => cel::Value::Bool(*answer),
        Value::Number(number) => number
            .as_i64()
            .map(cel::Value::Int)
            .or_else(|| number.as_u64().map(cel::Value::UInt))
            .unwrap_or_else(|| cel::Value::Float(number.as_f64().unwrap_or(f64::NAN))),
        Value::String(text) => cel::Value::String(text.clone().into()),
        Value::Array(list) => cel::Value::List(list.iter().map(to_cel).collect::<Vec<_>>().into()),
        Value::Object(map) => {
            let map: HashMap<Key, cel::Value> =
                map.iter().map(|(name, value)| (Key::String(name.clone().into()), to_cel(value))).collect();
            cel::Value::Map(map.into())
        }
    }
}

/// # Errors
/// `NotJson` for bytes, types, keys that are no text, and numbers such as infinity.
pub(super) fn to_json(value: &cel::Value) -> Result<Value, ExpressionError> {
    Ok(match value {
        cel::Value::Null => Value::Null,
        cel::Value::Bool(answer) => Value::Bool(*answer),
        cel::Value::Int(number) => (*number).into(),
        cel::Value::UInt(number) => (*number).into(),
        cel::Value::Float(number) => Value::Number(
            Number::from_f64(*number).ok_or(ExpressionError::NotJson("an infinite number or none at all"))?,
        ),
        cel::Value::String(text) => Value::String(text.as_str().to_owned()),
        cel::Value::List(list) => Value::Array(list.iter().map(to_json).collect::<Result<_, _>>()?),
        cel::Value::Map(map) => {
            let mut fields = Map::new();
            for (key, value) in map.map.iter() {
                let Key::String(name) = key else {
                    return Err(ExpressionError::NotJson("a map whose keys are not texts"));
                };
                fields.insert(name.as_str().to_owned(), to_json(value)?);
            }
            Value::Object(fields)
        }
        cel::Value::Bytes(_) => return Err(ExpressionError::NotJson("bytes")),
        _ => return Err(ExpressionError::NotJson("a type")),
    })
}

/// The kind of a value in the words of the documentation.
pub(super) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
