//! A file as it is written: values in order with their places, comments among them, the metadata apart.

use zeroize::Zeroizing;

use super::value::LeafKind;
use super::{Format, SopsError, store};
use crate::domain::Span;
use crate::yaml::Node;

/// A file that was read and not opened yet.
#[derive(Debug)]
pub(super) struct Tree {
    /// A mapping a document, without the metadata.
    pub(super) branches: Vec<Vec<Entry>>,
    /// The metadata as the YAML store writes it; `None` for a file that is not encrypted.
    pub(super) metadata: Option<Node>,
    /// The metadata of every document: sops repeats it.
    pub(super) metadata_nodes: Vec<Node>,
    /// Keys that stand twice in their mapping, which makes the file's meaning the reader's choice.
    pub(super) twice: Option<String>,
}

/// One line of a mapping: a key and its value, or a comment under an empty key.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: Raw,
}

/// A value as it is written.
#[derive(Debug)]
pub(super) enum Raw {
    Null,
    Leaf(RawLeaf),
    Comment(RawComment),
    List(Vec<Raw>),
    Map(Vec<Entry>),
    /// What sops cannot walk over, and why; it matters only once a key is there.
    Bad(Span, &'static str),
}

/// A scalar in Go's text form.
#[derive(Debug)]
pub(super) struct RawLeaf {
    pub(super) kind: LeafKind,
    pub(super) text: Zeroizing<String>,
    /// The scalar with its quotes.
    pub(super) span: Span,
}

/// A comment without its sign.
#[derive(Debug)]
pub(super) struct RawComment {
    pub(super) text: Zeroizing<String>,
}

impl Entry {
    pub(super) fn comment(text: impl Into<String>) -> Self {
        Self { key: String::new(), value: Raw::comment(text) }
    }
}

impl Raw {
    pub(super) fn comment(text: impl Into<String>) -> Self {
        Self::Comment(RawComment { text: Zeroizing::new(text.into()) })
    }

    pub(super) fn text(text: impl Into<String>, span: Span) -> Self {
        Self::Leaf(RawLeaf { kind: LeafKind::Text, text: Zeroizing::new(text.into()), span })
    }
}

impl Tree {
    /// Nothing yet.
    pub(super) fn empty() -> Self {
        Self { branches: Vec::new(), metadata: None, metadata_nodes: Vec::new(), twice: None }
    }

    /// Reads an encrypted file, or a plain one to encrypt.
    pub(super) fn read(bytes: &[u8], format: Format) -> Result<Self, SopsError> {
        let tree = match format {
            Format::Yaml => store::yaml::read(bytes)?,
            Format::Json | Format::Binary => store::json::read(bytes)?,
            Format::Dotenv => store::dotenv::read(bytes)?,
            Format::Ini => store::ini::read(bytes)?,
        };
        let mut tree = tree;
        if tree.metadata_nodes.is_empty() {
            tree.metadata_nodes.extend(tree.metadata.clone());
        }
        match &tree.twice {
            Some(at) => {
                Err(SopsError::Shape { at: at.chars().take(200).collect(), reason: "is written twice" })
            }
            None => Ok(tree),
        }
    }
}
