//! The YAML store. Aliases are followed; comments become entries of the mapping or list they stand in.

use zeroize::Zeroizing;

use super::super::tree::{Entry, Raw, RawLeaf, Tree};
use super::super::{BUDGET, SopsError, go};
use crate::domain::Span;
use crate::yaml::{self, Comment, Document, Kind, Node};

/// Reads all documents; the metadata stands in the first.
pub fn read(bytes: &[u8]) -> Result<Tree, SopsError> {
    let bytes = bytes.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(bytes);
    let documents = yaml::parse(bytes, &BUDGET)?;
    let mut tree = Tree::empty();
    let metadata = documents.first().and_then(|document| document.root.get("sops"));
    tree.metadata = metadata.filter(|node| !node.is_null()).cloned();
    for document in documents {
        match &document.root.kind {
            Kind::Mapping(entries) => find_twice(entries, &mut Vec::new(), &mut tree.twice),
            Kind::Scalar { .. } if document.root.is_null() => {}
            Kind::Scalar { .. } | Kind::Sequence(_) => {
                let reason = "of a SOPS file has to be a mapping";
                return Err(SopsError::Shape { at: "a document".to_owned(), reason });
            }
        }
        tree.metadata_nodes.extend(document.root.get("sops").filter(|node| !node.is_null()).cloned());
        tree.branches.push(branch(&document, bytes));
    }
    Ok(tree)
}

/// Names the first key that stands twice in its mapping.
pub fn find_twice<'n>(entries: &'n [(Node, Node)], path: &mut Vec<&'n str>, found: &mut Option<String>) {
    let mut seen = std::collections::HashSet::with_capacity(entries.len());
    for (key, value) in entries {
        let name = key.scalar().unwrap_or_default();
        path.push(name);
        if key.scalar().is_some() && !seen.insert(name) && found.is_none() {
            *found = Some(path.join("."));
        }
        find_below(value, path, found);
        path.pop();
    }
}

fn find_below<'n>(node: &'n Node, path: &mut Vec<&'n str>, found: &mut Option<String>) {
    match &node.kind {
        Kind::Scalar { .. } => {}
        Kind::Sequence(items) => items.iter().for_each(|item| find_below(item, path, found)),
        Kind::Mapping(entries) => find_twice(entries, path, found),
    }
}

fn branch(document: &Document, bytes: &[u8]) -> Vec<Entry> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let mut comments = Comments { text, waiting: &document.comments, until: usize::MAX };
    let mut entries = match &document.root.kind {
        Kind::Mapping(entries) => comments.mapping(entries, &document.root, true),
        Kind::Scalar { .. } | Kind::Sequence(_) => Vec::new(),
    };
    entries.extend(comments.waiting.iter().map(|comment| Entry::comment(comment.text.as_str())));
    entries
}

/// Hands out comments in written order while the tree is walked.
struct Comments<'d> {
    text: &'d str,
    waiting: &'d [Comment],
    /// Where the next key or item begins, beyond which nothing belongs to what is read now.
    until: usize,
}

impl<'d> Comments<'d> {
    fn next_if(&mut self, wanted: impl FnOnce(&'d Comment) -> bool) -> Option<&'d str> {
        let (first, rest) = self.waiting.split_first()?;
        if !wanted(first) {
            return None;
        }
        self.waiting = rest;
        Some(first.text.as_str())
    }

    /// Those before `offset`: of a key, of an item.
    fn before(&mut self, offset: usize) -> Option<&'d str> {
        self.next_if(|comment| comment.span.start.offset < offset)
    }

    /// Those behind a value: on its line, or on lines of their own that are indented as its collection is.
    fn behind(&mut self, line: usize, column: usize) -> Option<&'d str> {
        let (text, until) = (self.text, self.until);
        self.next_if(|comment| {
            let here = comment.span.start.line == line
                || (comment.span.start.column >= column && own_line(text, comment.span));
            here && comment.span.start.offset < until
        })
    }

    fn mapping(&mut self, entries: &'d [(Node, Node)], node: &Node, top: bool) -> Vec<Entry> {
        let flow = self.is_flow(node.span);
        let column = entries.first().map_or(node.span.start.column, |(key, _)| key.span.start.column);
        let mut found: Vec<Entry> = Vec::with_capacity(entries.len());
        for (index, (key, value)) in entries.iter().enumerate() {
            // Of the metadata nothing is kept, neither before it nor inside it: sops writes none there.
            let metadata = top && key.scalar() == Some("sops");
            while let Some(comment) = self.before(key.span.start.offset) {
                found.push(Entry::comment(comment));
            }
            let text = key_text(key);
            let outer = self.until;
            self.until = entries.get(index + 1).map_or(outer, |(next, _)| next.span.start.offset.min(outer));
            let (comments, inside) = self.value(value, Some(key.span.start.line));
            self.until = outer;
            found.extend(comments.into_iter().map(Entry::comment));
            if !metadata {
                found.push(match text {
                    Some(text) => Entry { key: text.to_owned(), value: inside },
                    None => Entry {
                        key: key.scalar().unwrap_or_default().to_owned(),
                        value: Raw::Bad(key.span, "has a key that is not a text"),
                    },
                });
            }
            if !flow && index + 1 == entries.len() {
                let line = value.span.end.line;
                while let Some(comment) = self.behind(line, column) {
                    found.push(Entry::comment(comment));
                }
            }
        }
        found
    }

    /// A value, and the comments that sops puts before it: those on the line of a scalar, or of a collection's key.
    fn value(&mut self, node: &'d Node, line: Option<usize>) -> (Vec<&'d str>, Raw) {
        let mut before = Vec::new();
        match &node.kind {
            Kind::Scalar { text, style, tag } => {
                let end = node.span.end.line;
                let literal = matches!(style, yaml::Style::Literal | yaml::Style::Folded);
                // A block scalar's comment stands behind its sign.
                let line = if literal { node.span.start.line } else { end };
                while let Some(comment) = self.next_if(|comment| comment.span.start.line == line) {
                    before.push(comment);
                }
                let raw = match go::read(text, *style, tag.as_deref()) {
                    Ok(go::Scalar::Null) => Raw::Null,
                    Ok(go::Scalar::Leaf(kind, text)) => {
                        Raw::Leaf(RawLeaf { kind, text: Zeroizing::new(text), span: node.span })
                    }
                    Err(reason) => Raw::Bad(node.span, reason),
                };
                (before, raw)
            }
            Kind::Mapping(entries) => {
                if let Some(line) = line {
                    while let Some(comment) = self.next_if(|comment| comment.span.start.line == line) {
                        before.push(comment);
                    }
                }
                (before, Raw::Map(self.mapping(entries, node, false)))
            }
            Kind::Sequence(items) => {
                if let Some(line) = line {
                    while let Some(comment) = self.next_if(|comment| {
                        comment.span.start.line == line && comment.span.start.offset < node.span.end.offset
                    }) {
                        before.push(comment);
                    }
                }
                (before, Raw::List(self.list(items, node)))
            }
        }
    }

    fn list(&mut self, items: &'d [Node], node: &Node) -> Vec<Raw> {
        let flow = self.is_flow(node.span);
        let mut found = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            while let Some(comment) = self.before(item.span.start.offset) {
                found.push(Raw::comment(comment));
            }
            let outer = self.until;
            self.until = items.get(index + 1).map_or(outer, |next| next.span.start.offset.min(outer));
            let (comments, value) = self.value(item, None);
            self.until = outer;
            found.extend(comments.into_iter().map(Raw::comment));
            found.push(value);
            if !flow && index + 1 == items.len() {
                let line = item.span.end.line;
                while let Some(comment) = self.behind(line, node.span.start.column.max(1)) {
                    found.push(Raw::comment(comment));
                }
            }
        }
        found
    }

    fn is_flow(&self, span: Span) -> bool {
        self.text.get(span.start.offset..).is_some_and(|text| text.starts_with(['{', '[']))
    }
}

/// Whether nothing but blanks stands before it.
fn own_line(text: &str, span: Span) -> bool {
    let before = text.get(..span.start.offset).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    line.bytes().all(|byte| byte == b' ' || byte == b'\t')
}

/// The key as sops takes it: only texts.
fn key_text(node: &Node) -> Option<&str> {
    go::key(node)
}
