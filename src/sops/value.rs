//! What a SOPS file holds once it is open.

use std::fmt;

use zeroize::Zeroizing;

use super::Plaintext;

/// What sops says a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafKind {
    /// A text.
    Text,
    /// A whole number of 64 bits.
    Int,
    /// A number with a fraction.
    Float,
    /// `True` or `False`, so spelled.
    Bool,
    /// An instant in RFC 3339.
    Time,
    /// Bytes.
    Bytes,
}

/// One value.
#[derive(Debug)]
pub struct Leaf {
    /// What it is.
    pub kind: LeafKind,
    /// Its text as Go writes it, which is what the MAC is made from.
    pub text: Plaintext,
    /// Whether it stood encrypted in the file. Names of plaintext keys are outside the MAC: never trust them.
    pub encrypted: bool,
}

/// A value, a list or a mapping.
pub enum Value {
    /// Nothing; never encrypted.
    Null,
    /// A value.
    Leaf(Leaf),
    /// A list, comments among its items.
    List(Vec<Value>),
    /// Keys and values in written order, comments among them under an empty key. Each key stands once, but for
    /// repeated sections of an INI file.
    Map(Vec<(String, Value)>),
    /// A comment without its sign. It may hold what its author took for a secret.
    Comment(Zeroizing<String>),
}

impl Value {
    /// A text that stands in plain.
    #[must_use]
    pub fn text(text: impl Into<Vec<u8>>) -> Self {
        Self::Leaf(Leaf { kind: LeafKind::Text, text: Plaintext::new(text.into()), encrypted: false })
    }

    /// The value under a key; `None` also where this is no mapping.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Map(entries) => {
                let own = |(name, value): &&(String, Value)| name == key && !value.is_comment();
                entries.iter().find(own).map(|(_, value)| value)
            }
            Self::Null | Self::Leaf(_) | Self::List(_) | Self::Comment(_) => None,
        }
    }

    /// Whether this is no value.
    #[must_use]
    pub fn is_comment(&self) -> bool {
        matches!(self, Self::Comment(_))
    }

    /// The value that follows `path`, list items by their number, comments not counted.
    #[must_use]
    pub fn at<'p>(&self, path: impl IntoIterator<Item = &'p str>) -> Option<&Value> {
        path.into_iter().try_fold(self, |value, key| match value {
            Self::List(items) => items.iter().filter(|item| !item.is_comment()).nth(key.parse().ok()?),
            Self::Map(_) => value.get(key),
            Self::Null | Self::Leaf(_) | Self::Comment(_) => None,
        })
    }

    /// Every value that is no list and no mapping, with the keys above it; list items are numbered.
    pub fn leaves<'v>(&'v self, visit: &mut impl FnMut(&[String], &'v Leaf)) {
        fn walk<'v>(value: &'v Value, path: &mut Vec<String>, visit: &mut impl FnMut(&[String], &'v Leaf)) {
            match value {
                Value::Null | Value::Comment(_) => {}
                Value::Leaf(leaf) => visit(path, leaf),
                Value::List(items) => {
                    for (index, item) in items.iter().filter(|item| !item.is_comment()).enumerate() {
                        path.push(index.to_string());
                        walk(item, path, visit);
                        path.pop();
                    }
                }
                Value::Map(entries) => {
                    for (key, value) in entries {
                        path.push(key.clone());
                        walk(value, path, visit);
                        path.pop();
                    }
                }
            }
        }
        walk(self, &mut Vec::new(), visit);
    }
}

impl fmt::Debug for Value {
    /// Shows the shape, no value: keys of a SOPS file are not secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Leaf(leaf) => write!(f, "{:?}({} bytes)", leaf.kind, leaf.text.len()),
            Self::List(items) => f.debug_list().entries(items).finish(),
            Self::Map(entries) => {
                f.debug_map().entries(entries.iter().map(|(key, value)| (key, value))).finish()
            }
            Self::Comment(text) => write!(f, "comment({} bytes)", text.len()),
        }
    }
}
