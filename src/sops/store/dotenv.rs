//! The dotenv store: `KEY=value` a line, nothing quoted, `\n` for a line break, `#` before a comment.

use super::super::tree::{Entry, Raw, Tree};
use super::super::{BUDGET, SopsError};
use super::{Places, flat};
use crate::domain::Span;
use crate::yaml::{Kind, Node, Style};

const PREFIX: &str = "sops_";

/// Reads a file; keys that begin with `sops_` are its metadata.
pub fn read(bytes: &[u8]) -> Result<Tree, SopsError> {
    let text = text(bytes, "dotenv")?;
    let mut places = Places::new(text);
    let mut tree = Tree::empty();
    let (mut branch, mut metadata) = (Vec::new(), Vec::new());
    let mut seen = std::collections::HashSet::new();
    let mut start = 0;
    for (number, line) in text.split('\n').enumerate() {
        let end = start + line.len();
        if let Some(comment) = line.strip_prefix('#') {
            branch.push(Entry::comment(comment));
        } else if !line.is_empty() {
            let Some((key, value)) = line.split_once('=') else {
                let reason = "a line is neither `KEY=value` nor a comment";
                return Err(SopsError::Text { store: "dotenv", line: number + 1, reason });
            };
            if !seen.insert(key) && tree.twice.is_none() {
                tree.twice = Some(key.to_owned());
            }
            let span = places.span(end - value.len(), end);
            let value = value.replace("\\n", "\n");
            match key.strip_prefix(PREFIX) {
                Some(field) => metadata.push((field.to_owned(), value, span)),
                None => branch.push(Entry { key: key.to_owned(), value: Raw::text(value, span) }),
            }
        }
        start = end + 1;
    }
    tree.metadata = flat::unflatten(metadata, "dotenv")?;
    tree.branches.push(branch);
    Ok(tree)
}

/// The text within its budget.
pub fn text<'b>(bytes: &'b [u8], store: &'static str) -> Result<&'b str, SopsError> {
    if bytes.len() > BUDGET.bytes_max {
        return Err(SopsError::Text { store, line: 1, reason: "the file is too large" });
    }
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    if lines > BUDGET.nodes_max {
        return Err(SopsError::Text { store, line: lines, reason: "the file has too many lines" });
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        SopsError::Text { store, line, reason: "the file is not UTF-8" }
    })
}

/// A scalar that was quoted, so to speak: never a number.
pub fn scalar(text: String, span: Span) -> Node {
    Node { span, kind: Kind::Scalar { text, style: Style::Double, tag: None } }
}
