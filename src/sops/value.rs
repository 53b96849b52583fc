//! What a SOPS file holds once it is open.

use std::fmt;

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
    /// A list, comments left out.
    List(Vec<Value>),
    /// Keys and values in written order, each key once.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// The value under a key; `None` also where this is no mapping.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            Self::Null | Self::Leaf(_) | Self::List(_) => None,
        }
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
        }
    }
}
