//! Metadata of the flat stores: `age__list_0__map_enc` for a field of the first entry of `age`.

use std::collections::BTreeMap;

use super::super::SopsError;
use super::dotenv::scalar;
use crate::domain::Span;
use crate::yaml::{Kind, Node};

const LIST: &str = "__list_";
const MAP: &str = "__map_";

enum Step {
    Key(String),
    Item(usize),
}

enum Part {
    Value(Node),
    Map(BTreeMap<String, Part>),
    List(BTreeMap<usize, Part>),
}

/// Entries a list may have: a file for a thousand recipients is read, an index that asks for memory is not.
const ITEMS_MAX: usize = 100_000;

/// Makes the tree of what `(key, value, place)` spell; `None` without any.
pub fn unflatten(
    fields: Vec<(String, String, Span)>,
    store: &'static str,
) -> Result<Option<Node>, SopsError> {
    let Some((.., whole)) = fields.first() else { return Ok(None) };
    let whole = *whole;
    let mut root = BTreeMap::new();
    for (key, value, span) in fields {
        let wrong = |reason| SopsError::Text { store, line: span.start.line, reason };
        let steps = steps(&key).ok_or_else(|| wrong("a metadata key is malformed"))?;
        place(&mut root, &steps, scalar(value.replace("\\n", "\n"), span))
            .ok_or_else(|| wrong("a metadata key contradicts another"))?;
    }
    Ok(Some(Node { span: whole, kind: mapping(root, whole) }))
}

fn steps(key: &str) -> Option<Vec<Step>> {
    let mut found = Vec::new();
    let mut rest = key;
    let mut list = false;
    loop {
        let next = [rest.find(LIST), rest.find(MAP)].into_iter().flatten().min().unwrap_or(rest.len());
        let word = &rest[..next];
        if list {
            found.push(Step::Item(word.parse().ok().filter(|index| *index < ITEMS_MAX)?));
        } else {
            found.push(Step::Key(word.to_owned()));
        }
        rest = &rest[next..];
        if rest.is_empty() {
            return Some(found);
        }
        list = rest.starts_with(LIST);
        rest = rest.strip_prefix(LIST).or_else(|| rest.strip_prefix(MAP))?;
    }
}

/// `None` where two keys want different things of one place.
fn place(map: &mut BTreeMap<String, Part>, steps: &[Step], value: Node) -> Option<()> {
    let (Step::Key(key), rest) = steps.split_first()? else { return None };
    if rest.is_empty() {
        return map.insert(key.clone(), Part::Value(value)).is_none().then_some(());
    }
    let part = map.entry(key.clone()).or_insert_with(|| empty(rest));
    descend(part, rest, value)
}

fn empty(rest: &[Step]) -> Part {
    if matches!(rest.first(), Some(Step::Item(_))) {
        Part::List(BTreeMap::new())
    } else {
        Part::Map(BTreeMap::new())
    }
}

fn descend(part: &mut Part, steps: &[Step], value: Node) -> Option<()> {
    match (part, steps.split_first()?) {
        (Part::Map(map), (Step::Key(_), _)) => place(map, steps, value),
        (Part::List(items), (Step::Item(index), rest)) => {
            if rest.is_empty() {
                return items.insert(*index, Part::Value(value)).is_none().then_some(());
            }
            descend(items.entry(*index).or_insert_with(|| empty(rest)), rest, value)
        }
        _ => None,
    }
}

fn mapping(map: BTreeMap<String, Part>, span: Span) -> Kind {
    Kind::Mapping(map.into_iter().map(|(key, part)| (scalar(key, span), node(part, span))).collect())
}

fn node(part: Part, span: Span) -> Node {
    match part {
        Part::Value(node) => node,
        Part::Map(map) => Node { span, kind: mapping(map, span) },
        Part::List(items) => {
            Node { span, kind: Kind::Sequence(items.into_values().map(|part| node(part, span)).collect()) }
        }
    }
}

/// Spells metadata flat: the keys of `node`, each with its text.
pub fn flatten(node: &Node) -> Vec<(String, String)> {
    fn walk(node: &Node, key: &str, out: &mut Vec<(String, String)>) {
        match &node.kind {
            Kind::Scalar { text, .. } => out.push((key.to_owned(), text.replace('\n', "\\n"))),
            Kind::Sequence(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(index, item)| walk(item, &format!("{key}{LIST}{index}"), out));
            }
            Kind::Mapping(entries) => entries.iter().for_each(|(name, value)| {
                let name = name.scalar().unwrap_or_default();
                let separator = if key.is_empty() { "" } else { MAP };
                walk(value, &format!("{key}{separator}{name}"), out);
            }),
        }
    }
    let mut out = Vec::new();
    walk(node, "", &mut out);
    out.sort();
    out
}
