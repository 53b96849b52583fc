//! The differences of two JSON values, field by field.

use serde::Serialize;
use serde_json::Value;

use crate::domain::Tier;

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// Names from the outside in, joined by `.`; empty where the values as a whole differ.
    pub path: String,
    /// Null where it comes.
    pub before: Value,
    /// Null where it goes.
    pub after: Value,
}

/// A domain value as JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Value {
    // INVARIANT: domain types hold string keys and finite numbers only, so they always serialise.
    serde_json::to_value(value).unwrap_or_else(|error| panic!("a domain type serialises: {error}"))
}

/// Walks into objects that stand on both sides; everything else differs as a whole.
pub(super) fn differing(before: &Value, after: &Value) -> Vec<Field> {
    let mut fields = Vec::new();
    walk(String::new(), before, after, &mut fields);
    fields
}

fn walk(path: String, before: &Value, after: &Value, fields: &mut Vec<Field>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Value::Object(old), Value::Object(new)) => {
            let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
            for name in names {
                let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let side = |map: &serde_json::Map<_, _>| map.get(name).cloned().unwrap_or(Value::Null);
                walk(inner, &side(old), &side(new), fields);
            }
        }
        (before, after) => {
            fields.push(Field { path, before: before.clone(), after: after.clone() });
        }
    }
}

/// Whether a number grew, or a bound went away.
pub(super) fn grows(before: &Value, after: &Value) -> bool {
    match (before.as_u64(), after.as_u64()) {
        (Some(before), Some(after)) => after > before,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// Whether a tier that is demanded became a weaker one, or is demanded no more.
pub(super) fn weakens(before: &Value, after: &Value) -> bool {
    let place = |tier: &Value| Tier::ALL.iter().position(|one| tier == one.as_str());
    place(after) < place(before)
}

/// Whether a number shrank, or a bound came.
pub(super) fn shrinks(before: &Value, after: &Value) -> bool {
    grows(after, before)
}

/// The items of one list that the other lacks.
pub(super) fn items_added(before: &Value, after: &Value) -> bool {
    let none = Vec::new();
    let before = before.as_array().unwrap_or(&none);
    after.as_array().unwrap_or(&none).iter().any(|item| !before.contains(item))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_differ_by_field_and_lists_as_a_whole() {
        let before = json!({"a": 1, "b": {"c": [1], "d": true}, "e": null});
        let after = json!({"a": 1, "b": {"c": [1, 2], "d": true}, "e": {"f": 1}});
        let paths: Vec<_> = differing(&before, &after).into_iter().map(|field| field.path).collect();
        assert_eq!(paths, ["b.c", "e"]);
        assert!(differing(&before, &before).is_empty());
    }

    #[test]
    fn a_bound_that_goes_away_grows() {
        assert!(grows(&json!(1), &json!(2)) && grows(&json!(1), &Value::Null));
        assert!(!grows(&json!(2), &json!(1)) && !grows(&Value::Null, &json!(1)));
        assert!(shrinks(&json!(2), &json!(1)) && shrinks(&Value::Null, &json!(1)));
    }
}
