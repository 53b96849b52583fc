//! What a written form is: decoded with all its mistakes, and described by a JSON Schema, from one declaration.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::reader::{Reader, listed, nearest};
use crate::desired::rules;
use crate::domain::{Diagnostic, Safety, Spanned};
use crate::yaml::{Kind, Node};

/// The `$defs` of a JSON Schema, filled while it is made.
pub type Definitions = BTreeMap<String, Value>;

/// Something that users write.
pub trait Written: Sized {
    /// Reads it. `None` means that at least one mistake was added.
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;
    /// Its JSON Schema; forms put themselves into `definitions` and give a reference.
    fn schema(definitions: &mut Definitions) -> Value;
    /// Where it is a form: its fields. A field that is itself a form of this one is found by it.
    const FIELDS: &'static [&'static str] = &[];
}

impl<T: Written> Written for Spanned<T> {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        T::decode(node, reader).map(|value| Spanned::new(value, node.span))
    }
    fn schema(definitions: &mut Definitions) -> Value {
        T::schema(definitions)
    }
}

/// A field of a form: `Spanned<T>` where it is required, `Option<Spanned<T>>` where it may be left out.
pub trait Field: Sized {
    /// Whether it must be there.
    const REQUIRED: bool;
    /// Reads it from what was written for it.
    fn from(node: Option<&Node>, reader: &mut Reader<'_>) -> Option<Self>;
    /// Its schema.
    fn schema(definitions: &mut Definitions) -> Value;
}

impl<T: Written> Field for Spanned<T> {
    const REQUIRED: bool = true;
    fn from(node: Option<&Node>, reader: &mut Reader<'_>) -> Option<Self> {
        Self::decode(node?, reader)
    }
    fn schema(definitions: &mut Definitions) -> Value {
        T::schema(definitions)
    }
}

impl<T: Written> Field for Option<Spanned<T>> {
    const REQUIRED: bool = false;
    fn from(node: Option<&Node>, reader: &mut Reader<'_>) -> Option<Self> {
        match node {
            None => Some(None),
            Some(node) => match Spanned::decode(node, reader) {
                None if !reader.partial => None,
                read => Some(read),
            },
        }
    }
    fn schema(definitions: &mut Definitions) -> Value {
        T::schema(definitions)
    }
}

/// The entries of a mapping whose keys are a closed list.
#[derive(Debug)]
pub struct Fields<'n> {
    node: &'n Node,
    entries: Vec<(&'static str, &'n Node)>,
}

impl<'n> Fields<'n> {
    /// Sorts a mapping's entries by field; unknown and duplicate ones are reported. `None` if it is no mapping.
    pub fn of(node: &'n Node, known: &'static [&'static str], reader: &mut Reader<'_>) -> Option<Self> {
        let Some(entries) = node.as_mapping() else {
            reader.wrong_type(node, &format!("a mapping with {}", listed(known.iter().copied())));
            return None;
        };
        duplicates(entries, reader);
        let mut fields = Self { node, entries: Vec::new() };
        for (key, value) in entries {
            let Some(name) = key.scalar() else {
                reader.wrong_type(key, "the name of a field");
                continue;
            };
            if let Some(name) = known.iter().find(|known| **known == name) {
                fields.entries.push((name, value));
            } else if name == "<<" {
                let found = reader.report(&rules::MERGE_KEY, key.span, "the merge key `<<` is not read");
                found.help = Some("write the fields out".into());
            } else {
                unknown_field(key, name, known, entries, reader);
            }
        }
        Some(fields)
    }

    /// Reads one field; a required one that is missing is reported.
    pub fn take<F: Field>(&self, name: &'static str, reader: &mut Reader<'_>) -> Option<F> {
        let node = self.entries.iter().find(|(field, _)| *field == name).map(|(_, node)| *node);
        if node.is_none() && F::REQUIRED {
            let mut span = self.node.span;
            if span.end.line > span.start.line {
                // The first line is enough to find the mapping.
                span.end = span.start;
            }
            let found = reader.report(&rules::MISSING_FIELD, span, format!("the field `{name}` is missing"));
            found.label = format!("`{name}` is missing here");
            found.help = Some(format!("add `{name}:`"));
        }
        F::from(node, reader)
    }
}

/// Names that drafts of these files and other programs have for a field, where nothing but the name differs.
const RENAMED: [(&str, &str); 26] = [
    ("allowed_hosts", "egress"),
    ("cpus", "cpu"),
    ("delay", "backoff"),
    ("depends_on", "needs"),
    ("dependsOn", "needs"),
    ("desc", "description"),
    ("duration", "for"),
    ("env", "environment"),
    ("expires", "until"),
    ("expires_at", "until"),
    ("foreach", "for_each"),
    ("forEach", "for_each"),
    ("hosts", "network"),
    ("max_attempts", "attempts"),
    ("maxAttempts", "attempts"),
    ("max_delay", "max"),
    ("mem", "memory"),
    ("parameters", "inputs"),
    ("params", "inputs"),
    ("run_time_limit", "run_timeout"),
    ("time_zone", "timezone"),
    ("triggers", "on"),
    ("tz", "timezone"),
    ("valid_until", "until"),
    ("when", "if"),
    ("withItems", "for_each"),
];

/// Reports a field that the form does not have; the nearest one is a fix unless it stands there as well.
fn unknown_field(
    key: &Node,
    name: &str,
    known: &'static [&'static str],
    entries: &[(Node, Node)],
    reader: &mut Reader<'_>,
) {
    let free = |field: &str| !entries.iter().any(|(key, _)| key.scalar() == Some(field));
    let renamed = RENAMED.iter().find(|(old, new)| *old == name && known.contains(new)).map(|(_, new)| *new);
    if let Some(new) = renamed {
        let found =
            reader.report(&rules::RENAMED_FIELD, key.span, format!("the field `{name}` is `{new}` here"));
        found.label = format!("write `{new}`");
        found.help = Some(format!("write `{new}`: it means the same"));
    } else {
        let near = nearest(name, known.iter().copied());
        let found = reader.report(&rules::UNKNOWN_FIELD, key.span, format!("unknown field `{name}`"));
        found.label = "not a field here".into();
        found.help = Some(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("fields here: {}", listed(known.iter().copied())),
        });
    }
    let meant = renamed.or_else(|| nearest(name, known.iter().copied())).filter(|meant| free(meant));
    if let Some(meant) = meant {
        reader.replace(Safety::Safe, format!("write `{meant}`"), key.span, meant.to_owned());
    }
}

/// Reports keys that stand twice, with both places.
pub fn duplicates(entries: &[(Node, Node)], reader: &mut Reader<'_>) {
    let mut seen = BTreeMap::new();
    for (key, _) in entries {
        let Some(name) = key.scalar() else { continue };
        if let Some(first) = seen.insert(name, key.span) {
            seen.insert(name, first);
            let path = reader.path.to_owned();
            let found =
                reader.report(&rules::DUPLICATE_KEY, key.span, format!("the key `{name}` stands twice"));
            found.label = "again here".into();
            found.help = Some("keep one of them".into());
            found.related.push(crate::domain::Related {
                at: crate::domain::Location { path, span: Some(first) },
                message: "first here".into(),
            });
        }
    }
}

/// A mapping with names as keys, in written order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries<K, V>(pub Vec<(Spanned<K>, Spanned<V>)>);

impl<K, V> Default for Entries<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Written, V: Written> Written for Entries<K, V> {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(entries) = node.as_mapping() else {
            reader.wrong_type(node, "a mapping");
            if let Some(name) = name_of_first(node) {
                reader.cure(&format!("write each under its name and not in a list: `{name}:`, without `-`"));
            }
            return None;
        };
        let before = reader.found.len();
        duplicates(entries, reader);
        let mut read = Vec::new();
        for (key, value) in entries {
            if key.scalar() == Some("<<") {
                let found = reader.report(&rules::MERGE_KEY, key.span, "the merge key `<<` is not read");
                found.help = Some("write the entries out".into());
                continue;
            }
            let key = Spanned::<K>::decode(key, reader);
            let value = Spanned::<V>::decode(value, reader);
            read.extend(key.zip(value));
        }
        (reader.partial || reader.found.len() == before).then_some(Self(read))
    }
    fn schema(definitions: &mut Definitions) -> Value {
        let mut schema = json!({ "type": "object", "additionalProperties": V::schema(definitions) });
        let key = K::schema(definitions);
        if key.get("pattern").is_some() {
            schema["propertyNames"] = key;
        }
        schema
    }
}

/// What the first entry is called, where a list stands in place of a mapping by name: how others write steps.
fn name_of_first(node: &Node) -> Option<&str> {
    let first = node.as_sequence()?.first()?.as_mapping()?;
    let named = |(key, _): &&(Node, Node)| matches!(key.scalar(), Some("id" | "name"));
    let name = first.iter().find(named)?.1.scalar()?;
    let plain =
        name.len() <= 63 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    plain.then_some(name)
}

impl<T: Written> Written for Vec<Spanned<T>> {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(items) = node.as_sequence() else {
            reader.wrong_type(node, "a list");
            return None;
        };
        let read: Vec<_> = items.iter().map(|item| Spanned::decode(item, reader)).collect();
        if reader.partial {
            return Some(read.into_iter().flatten().collect());
        }
        read.into_iter().collect()
    }
    fn schema(definitions: &mut Definitions) -> Value {
        json!({ "type": "array", "items": T::schema(definitions) })
    }
}

/// A list, or its only item without brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOrMore<T>(pub Vec<Spanned<T>>);

impl<T: Written> Written for OneOrMore<T> {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Scalar { .. } => Spanned::decode(node, reader).map(|item| Self(vec![item])),
            Kind::Sequence(_) | Kind::Mapping(_) => Vec::decode(node, reader).map(Self),
        }
    }
    fn schema(definitions: &mut Definitions) -> Value {
        let item = T::schema(definitions);
        json!({ "anyOf": [item, { "type": "array", "items": item }] })
    }
}

/// A field as `form!` describes it: name, documentation, examples, whether it is required, schema.
pub type DescribedField<'d> = (&'static str, &'d [&'d str], &'d [&'d str], bool, Value);

/// Makes the schema of a form from its fields; called by `form!`.
pub fn form_schema(
    name: &str,
    about: &[&str],
    fields: Vec<DescribedField<'_>>,
    definitions: &mut Definitions,
) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (field, doc, examples, must, schema) in fields {
        let mut schema = schema;
        if let Value::Object(schema) = &mut schema {
            schema.insert("description".into(), json!(text_of(doc)));
            if !examples.is_empty() {
                schema.insert("examples".into(), json!(examples));
            }
        }
        properties.insert(field.to_owned(), schema);
        if must {
            required.push(field);
        }
    }
    let mut schema = json!({
        "type": "object",
        "description": text_of(about),
        "additionalProperties": false,
        "properties": properties,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    definitions.insert(name.to_owned(), schema);
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn text_of(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// Reads a whole file into a form.
pub fn decode<T: Written>(
    root: &Node,
    path: &str,
    language: super::Language,
    found: &mut Vec<Diagnostic>,
) -> Option<T> {
    let before = found.len();
    let mut reader = Reader { path, language, found, partial: false };
    let read = T::decode(root, &mut reader);
    read.filter(|_| found[before..].iter().all(|found| found.severity == crate::domain::Severity::Warning))
}

/// What can be read of a file that [`decode`] finds mistakes in: what has one is left out. Adds no findings.
pub fn decode_partial<T: Written>(root: &Node, path: &str, language: super::Language) -> Option<T> {
    let mut again = Vec::new();
    T::decode(root, &mut Reader { path, language, found: &mut again, partial: true })
}

/// Declares a form: a struct, how it is decoded, and its JSON Schema, whose descriptions are the doc comments.
///
/// A field is `Spanned<T>` (required) or `Option<Spanned<T>>`; `= "name"` gives the written name where it is a
/// word of Rust; `#[example = "…"]` shows editors how a text is written.
macro_rules! form {
    ($( $(#[doc = $about:literal])+ $name:ident {
        $( $(#[doc = $doc:literal])+ $(#[example = $example:literal])* $field:ident $(= $key:literal)? : $type:ty ),* $(,)?
    } )+) => { $(
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )*
        }
        impl $crate::desired::written::Written for $name {
            const FIELDS: &'static [&'static str] =
                &[$( $crate::desired::written::form::form!(@key $field $($key)?) ),*];
            fn decode(
                node: &$crate::yaml::Node,
                reader: &mut $crate::desired::written::Reader<'_>,
            ) -> Option<Self> {
                let fields = $crate::desired::written::form::Fields::of(node, Self::FIELDS, reader)?;
                let _ = &fields; // a form without fields takes none
                $( let $field: Option<$type> =
                    fields.take($crate::desired::written::form::form!(@key $field $($key)?), reader); )*
                Some(Self { $( $field: $field?, )* })
            }
            fn schema(
                definitions: &mut $crate::desired::written::form::Definitions,
            ) -> serde_json::Value {
                let name = stringify!($name);
                if definitions.contains_key(name) {
                    return serde_json::json!({ "$ref": format!("#/$defs/{name}") });
                }
                // A place holder ends the recursion of a form that holds itself.
                definitions.insert(name.to_owned(), serde_json::Value::Null);
                let fields: Vec<$crate::desired::written::form::DescribedField<'_>> = vec![$( (
                    $crate::desired::written::form::form!(@key $field $($key)?),
                    &[$($doc),+],
                    &[$($example),*],
                    <$type as $crate::desired::written::form::Field>::REQUIRED,
                    <$type as $crate::desired::written::form::Field>::schema(definitions),
                ) ),*];
                $crate::desired::written::form::form_schema(name, &[$($about),+], fields, definitions)
            }
        }
    )+ };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
}
pub(super) use form;

/// Declares the words of a closed list.
macro_rules! words {
    ($( $type:ty: $wanted:literal { $( $word:literal => $value:expr ),+ $(,)? } )+) => { $(
        impl $crate::desired::written::Written for $type {
            fn decode(
                node: &$crate::yaml::Node,
                reader: &mut $crate::desired::written::Reader<'_>,
            ) -> Option<Self> {
                let word = $crate::desired::written::scalar::word(node, $wanted, &[$($word),+], reader)?;
                match word {
                    $( $word => Some($value), )+
                    _ => None,
                }
            }
            fn schema(_: &mut $crate::desired::written::form::Definitions) -> serde_json::Value {
                serde_json::json!({ "enum": [$($word),+] })
            }
        }
    )+ };
}
pub(super) use words;
