//! A text to a spanned tree, within budgets.
//!
//! One tree serves every YAML file, SOPS files included: it keeps position, order, duplicates, scalar style
//! and, beside the tree, comments. It decides nothing about meaning: a duplicate key is two entries here, a
//! merge key is a key, and whether that is a mistake is the caller's. Deliberately absent: typed decoding
//! (desired), tags other than YAML's own, writing of anything but a name.

mod parse;
mod place;
mod plain;

pub use parse::{Problem, ProblemKind, parse};
pub use plain::{Ambiguity, CoreType, written};

use crate::domain::Span;

/// What a text may cost before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of the text, and again of all that its aliases stand for.
    pub bytes_max: usize,
    /// Nodes, each anchor and each alias counted as what it stands for.
    pub nodes_max: usize,
    /// Nesting.
    pub depth_max: usize,
    /// Aliases in the whole text.
    pub aliases_max: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { bytes_max: 1 << 20, nodes_max: 100_000, depth_max: 64, aliases_max: 100 }
    }
}

/// One document of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its only node; an empty plain scalar where the document is empty.
    pub root: Node,
    /// Its comments in written order.
    pub comments: Vec<Comment>,
}

/// A comment and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// From its `#` to the end of its line.
    pub span: Span,
    /// What follows the `#`, untrimmed but for the line's end.
    pub text: String,
}

/// How a scalar was written: only a plain one can be a number, a boolean or null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// In `'…'`.
    Single,
    /// In `"…"`.
    Double,
    /// After `|`.
    Literal,
    /// After `>`.
    Folded,
}

/// A node and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// From its first to one past its last character. Quotes and the `|` or `>` belong to a scalar, brackets
    /// to a list or mapping; where a value is left out, the empty place behind its `:` or `-`; for an alias,
    /// its `*name`, while the nodes inside it keep the places where they were written.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A scalar as text; an empty plain one stands where a value is left out.
    Scalar {
        /// Its value after unescaping and folding.
        text: String,
        /// How it was written.
        style: Style,
        /// A core-schema tag such as `str`, where one was written.
        tag: Option<String>,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in written order, duplicates kept.
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    /// Its keys and values, if it is a mapping.
    #[must_use]
    pub fn as_mapping(&self) -> Option<&[(Node, Node)]> {
        match &self.kind {
            Kind::Mapping(entries) => Some(entries),
            Kind::Scalar { .. } | Kind::Sequence(_) => None,
        }
    }

    /// Its items, if it is a list.
    #[must_use]
    pub fn as_sequence(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::Sequence(items) => Some(items),
            Kind::Scalar { .. } | Kind::Mapping(_) => None,
        }
    }

    /// Its text, if it is a scalar.
    #[must_use]
    pub fn scalar(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            Kind::Sequence(_) | Kind::Mapping(_) => None,
        }
    }

    /// The value of the first entry whose key reads `key`; `None` also where this is no mapping.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        let entries = self.as_mapping()?;
        entries.iter().find(|(name, _)| name.scalar() == Some(key)).map(|(_, value)| value)
    }

    /// What the core schema makes of it; `None` for a list or mapping.
    #[must_use]
    pub fn core_type(&self) -> Option<CoreType> {
        match &self.kind {
            Kind::Scalar { tag: Some(tag), .. } => Some(match tag.as_str() {
                "null" => CoreType::Null,
                "bool" => CoreType::Bool,
                "int" => CoreType::Int,
                "float" => CoreType::Float,
                _ => CoreType::String,
            }),
            Kind::Scalar { text, style: Style::Plain, tag: None } => Some(plain::core_type(text)),
            Kind::Scalar { .. } => Some(CoreType::String),
            Kind::Sequence(_) | Kind::Mapping(_) => None,
        }
    }

    /// Whether it is a scalar that the core schema reads as null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.core_type() == Some(CoreType::Null)
    }

    /// Why its plain spelling is a trap; `None` for quoted and tagged scalars.
    #[must_use]
    pub fn ambiguous(&self) -> Option<Ambiguity> {
        match &self.kind {
            Kind::Scalar { text, style: Style::Plain, tag: None } => plain::ambiguous(text),
            Kind::Scalar { .. } | Kind::Sequence(_) | Kind::Mapping(_) => None,
        }
    }

    /// The word for what it is in messages: `a list`, `a mapping`, `a text`, `an integer`, …
    #[must_use]
    pub fn word(&self) -> &'static str {
        match &self.kind {
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
            Kind::Scalar { .. } => self.core_type().map_or("a text", CoreType::word),
        }
    }
}
