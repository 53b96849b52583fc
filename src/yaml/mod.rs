//! A text to a spanned tree, within budgets.
//!
//! One tree serves every YAML file, SOPS files included: it keeps position, order, duplicates, scalar style
//! and comments' absence. It decides nothing about meaning: a duplicate key is two entries here, and
//! whether that is a mistake is the caller's. Deliberately absent: typed decoding (desired), tags other
//! than YAML's own.

use crate::domain::Span;

/// What a text may cost before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of the text.
    pub bytes_max: usize,
    /// Nodes, each alias counted as what it stands for.
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
    /// From its first to one past its last character.
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
