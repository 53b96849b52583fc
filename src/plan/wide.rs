//! What changes for all tenants: `tenantry.toml`, `platform/` and `shared/`, file by file and field by field.
//!
//! Total by construction: the files are compared as they are written, so that a field nobody thought of has a line
//! too, of class `platform`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::document::Line;
use super::fields::{Field, differing};
use crate::domain::{Class, Entry, ObjectKind, Operation, Tree};

/// The lines between two trees that hold `tenantry.toml`, `platform/` and `shared/`.
///
/// `before` and `after` are the platform's files as [`crate::desired::platform_facts`] gives them.
#[must_use]
pub fn wide(
    before: &BTreeMap<String, Value>,
    after: &BTreeMap<String, Value>,
    base: Option<&Tree>,
    next: &Tree,
) -> Vec<Line> {
    let mut lines = Vec::new();
    for file in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let empty = json!({});
        let (old, new) = (before.get(file).unwrap_or(&empty), after.get(file).unwrap_or(&empty));
        for field in differing(old, new) {
            fields(file, &field, &mut lines);
        }
    }
    shared(base, next, &mut lines);
    lines.sort_by(|a, b| {
        let rank = |line: &Line| {
            if line.op == Operation::Remove { 0 } else { u8::from(!super::is_access(line.class)) + 1 }
        };
        (rank(a), a.kind, &a.object, a.op).cmp(&(rank(b), b.kind, &b.object, b.op))
    });
    lines
}

fn operation(before: &Value, after: &Value) -> Operation {
    match (before.is_null(), after.is_null()) {
        (true, false) => Operation::Add,
        (false, true) => Operation::Remove,
        _ => Operation::Change,
    }
}

/// One line for a field; one for each item where a list of plain values changed.
fn fields(file: &str, field: &Field, lines: &mut Vec<Line>) {
    let Field { path, before, after } = field;
    let mut put = |object: String, before: Value, after: Value| {
        let op = operation(&before, &after);
        let (kind, class) = placed(file, path, op);
        lines.push(Line { tenant: None, class, kind, op, object, before, after });
    };
    let plain = |value: &Value| match value {
        Value::Null => Some(Vec::new()),
        Value::Array(items) if items.iter().all(Value::is_string) => Some(items.clone()),
        _ => None,
    };
    let object = if path.is_empty() { file.to_owned() } else { format!("{file}: {path}") };
    match (plain(before), plain(after)) {
        (Some(old), Some(new))
            if old.iter().any(|item| !new.contains(item)) || new.iter().any(|item| !old.contains(item)) =>
        {
            for item in old.iter().filter(|item| !new.contains(item)) {
                put(format!("{object} {}", item.as_str().unwrap_or_default()), item.clone(), Value::Null);
            }
            for item in new.iter().filter(|item| !old.contains(item)) {
                put(format!("{object} {}", item.as_str().unwrap_or_default()), Value::Null, item.clone());
            }
        }
        _ => put(object, before.clone(), after.clone()),
    }
}

/// What a field of a platform file is, and who agrees to its change. What no class names is `platform`.
fn placed(file: &str, path: &str, op: Operation) -> (ObjectKind, Class) {
    let mut parts = path.split('.');
    let (first, field) = (parts.next().unwrap_or_default(), parts.nth(1));
    match (file, first) {
        ("platform/people.yaml", "users") if op == Operation::Remove && field != Some("keys") => {
            (ObjectKind::Person, Class::Reduce)
        }
        ("platform/people.yaml", "users" | "services") => (ObjectKind::Person, Class::People),
        ("platform/people.yaml", "groups") if op == Operation::Remove => (ObjectKind::Person, Class::Reduce),
        ("platform/people.yaml", "groups") => (ObjectKind::Person, Class::Grant),
        ("tenantry.toml", "secrets") => (ObjectKind::Recipient, Class::Recipients),
        ("tenantry.toml", "limits") => (ObjectKind::Limit, Class::Platform),
        ("tenantry.toml", "network") => (ObjectKind::Egress, Class::Platform),
        _ => (ObjectKind::Platform, Class::Platform),
    }
}

/// One line for each file below `shared/` that differs, whoever uses it.
fn shared(base: Option<&Tree>, next: &Tree, lines: &mut Vec<Line>) {
    fn below(tree: Option<&Tree>) -> BTreeMap<&str, &Entry> {
        tree.into_iter().flat_map(|tree| tree.below("shared/")).collect()
    }
    let (before, after) = (below(base), below(Some(next)));
    let shown = |entry: &&Entry| json!({ "mode": entry.mode.octal(), "blob": entry.id, "bytes": entry.size });
    for path in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let side = |side: &BTreeMap<&str, &Entry>| side.get(path).map_or(Value::Null, shown);
        let (old, new) = (side(&before), side(&after));
        if old == new {
            continue;
        }
        let kind = if path.ends_with("/workflow.yaml") { ObjectKind::Workflow } else { ObjectKind::Script };
        let op = operation(&old, &new);
        let object = (*path).to_owned();
        lines.push(Line { tenant: None, class: Class::Shared, kind, op, object, before: old, after: new });
    }
}
