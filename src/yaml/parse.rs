//! The scanner's events to a tree, with every limit kept before it can hurt.

use std::collections::HashMap;
use std::fmt;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use super::place::Places;
use super::{Budget, Comment, Document, Kind, Node, Style};
use crate::domain::{Position, Span};

/// Why a text is no tree, and where. Handed on in a box: it is larger than what it replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub kind: ProblemKind,
    /// Where it was found.
    pub span: Span,
    /// Another place that belongs to it, such as the start of what is not closed.
    pub related: Option<Span>,
}

/// What is wrong with a text. The message quotes nothing of it but a tag's name and a control character's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// A byte sequence is no UTF-8.
    NotUtf8,
    /// The text starts with U+FEFF.
    ByteOrderMark,
    /// A NUL character.
    Nul,
    /// A control character other than tab and line ends (YAML 1.2.2, section 5.1, forbids them).
    Control(char),
    /// A character that makes a reader see another order than a parser (U+202A–U+202E, U+2066–U+2069).
    BidiControl(char),
    /// A tab in the indentation.
    Tab,
    /// Against the grammar; the reason in lower case, without a period.
    Syntax(String),
    /// A line that Git leaves in a file with an unresolved merge.
    ConflictMarker,
    /// A tag that is not YAML's own, as written.
    CustomTag(String),
    /// The text, or what its aliases stand for, is longer.
    TooManyBytes {
        /// Bytes allowed.
        max: usize,
    },
    /// More nodes, aliases expanded.
    TooManyNodes {
        /// Nodes allowed.
        max: usize,
    },
    /// Deeper nesting, aliases expanded.
    TooDeep {
        /// Levels allowed.
        max: usize,
    },
    /// More aliases.
    TooManyAliases {
        /// Aliases allowed.
        max: usize,
    },
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("the file is not UTF-8"),
            Self::ByteOrderMark => f.write_str("the file starts with a byte order mark"),
            Self::Nul => f.write_str("the file holds a NUL character"),
            Self::Control(found) => {
                write!(f, "the file holds the control character U+{:04X}", u32::from(*found))
            }
            Self::BidiControl(found) => {
                let number = u32::from(*found);
                write!(f, "the file holds U+{number:04X}, which shows text in another order than it is read")
            }
            Self::Tab => f.write_str("a tab cannot indent"),
            Self::Syntax(reason) => f.write_str(reason),
            Self::ConflictMarker => f.write_str("a merge conflict is not resolved"),
            Self::CustomTag(tag) => write!(f, "the tag `{tag}` is not one of YAML's own"),
            Self::TooManyBytes { max } => {
                write!(f, "the file, its aliases expanded, has more than {max} bytes")
            }
            Self::TooManyNodes { max } => {
                write!(f, "the file, its aliases expanded, has more than {max} values")
            }
            Self::TooDeep { max } => write!(f, "the file nests deeper than {max} levels"),
            Self::TooManyAliases { max } => write!(f, "the file has more than {max} aliases"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column, .. } = self.span.start;
        write!(f, "{} at line {line}, column {column}", self.kind)
    }
}

impl std::error::Error for Problem {}

/// Reads all documents of a text; none where there is nothing but white space and comments.
///
/// # Errors
/// The first problem found: the text's bytes before its grammar, its grammar in written order.
pub fn parse(bytes: &[u8], budget: &Budget) -> Result<Vec<Document>, Box<Problem>> {
    if bytes.len() > budget.bytes_max {
        let start = Position { offset: 0, line: 1, column: 1 };
        return Err(problem(ProblemKind::TooManyBytes { max: budget.bytes_max }, Span { start, end: start }));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        // INVARIANT: `valid_up_to` bytes are valid by definition; an empty text would only misplace the caret.
        let valid = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
        let end = Places::new(valid).position(valid.len());
        problem(ProblemKind::NotUtf8, Span { start: end, end })
    })?;
    let places = Places::new(text);
    check_characters(&places)?;
    check_conflicts(&places)?;
    Builder::new(&places, budget).run()
}

fn problem(kind: ProblemKind, span: Span) -> Box<Problem> {
    Box::new(Problem { kind, span, related: None })
}

fn check_characters(places: &Places<'_>) -> Result<(), Box<Problem>> {
    let text = places.text();
    // Plain ASCII without controls is the common case and is checked by bytes.
    let suspicious = |byte: u8| matches!(byte, 0..=8 | 11 | 12 | 14..=31 | 127..);
    let Some(first) = text.bytes().position(suspicious) else { return Ok(()) };
    let found = text[first..].char_indices().find_map(|(offset, c)| {
        let kind = match c {
            '\u{FEFF}' if first + offset == 0 => ProblemKind::ByteOrderMark,
            '\0' => ProblemKind::Nul,
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => ProblemKind::BidiControl(c),
            '\t' | '\n' | '\r' | '\u{85}' => return None,
            c if c.is_control() => ProblemKind::Control(c),
            _ => return None,
        };
        Some((first + offset, c.len_utf8(), kind))
    });
    match found {
        Some((start, len, kind)) => Err(problem(kind, places.span(start, start + len))),
        None => Ok(()),
    }
}

/// Git's markers stand at the start of a line, where no value of a mapping can.
fn check_conflicts(places: &Places<'_>) -> Result<(), Box<Problem>> {
    let mut offset = 0;
    for line in places.text().split_inclusive('\n') {
        let marker = ["<<<<<<<", ">>>>>>>", "|||||||"].iter().any(|marker| {
            line.strip_prefix(marker)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\n', '\r']))
        });
        if marker {
            return Err(problem(ProblemKind::ConflictMarker, places.span(offset, offset + 7)));
        }
        offset += line.len();
    }
    Ok(())
}

/// A list or mapping that has begun and not ended.
struct Frame {
    start: usize,
    anchor: usize,
    /// `None` for a list; for a mapping, the key that waits for its value.
    key: Option<Option<Node>>,
    items: Vec<Node>,
    entries: Vec<(Node, Node)>,
    /// Nodes counted before it began.
    nodes_before: usize,
    /// Levels below it, so far.
    height: usize,
}

/// What an anchor stands for, and what each alias of it costs.
struct Anchored {
    node: Node,
    nodes: usize,
    bytes: usize,
    height: usize,
}

struct Builder<'p, 't> {
    places: &'p Places<'t>,
    budget: &'p Budget,
    stack: Vec<Frame>,
    root: Option<Node>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    alias_bytes: usize,
    aliases: usize,
    /// End of the event before, in bytes: where a left-out value or a block scalar's header is looked for.
    previous: usize,
    /// Byte ranges in which a `#` is no comment, in written order.
    opaque: Vec<(usize, usize)>,
    documents: Vec<Document>,
    /// Where the comments of the document being read begin.
    document_start: usize,
}

impl<'p, 't> Builder<'p, 't> {
    fn new(places: &'p Places<'t>, budget: &'p Budget) -> Self {
        Self {
            places,
            budget,
            stack: Vec::new(),
            root: None,
            anchors: HashMap::new(),
            nodes: 0,
            alias_bytes: 0,
            aliases: 0,
            previous: 0,
            opaque: Vec::new(),
            documents: Vec::new(),
            document_start: 0,
        }
    }

    fn run(mut self) -> Result<Vec<Document>, Box<Problem>> {
        let mut parser = Parser::new_from_str(self.places.text());
        while let Some(next) = parser.next_event() {
            let (event, at) = next.map_err(|error| self.scan_problem(&error))?;
            let (start, end) = (self.places.offset(at.start.index()), self.places.offset(at.end.index()));
            self.event(event, start, end.max(start))?;
        }
        if let Some(last) = self.documents.last_mut() {
            let from = self.document_start;
            comments(self.places, &self.opaque, from, self.places.text().len(), &mut last.comments);
        }
        Ok(self.documents)
    }

    fn event(&mut self, event: Event<'_>, start: usize, end: usize) -> Result<(), Box<Problem>> {
        let mut reached = end;
        match event {
            Event::DocumentStart(explicit) => {
                // An implicit start spans the first token, which has still to come.
                reached = if explicit { end } else { 0 };
                // The scanner keeps anchors from one document to the next; YAML does not.
                self.anchors.clear();
            }
            Event::DocumentEnd => self.end_document(start),
            Event::Alias(id) => self.alias(id, start, end)?,
            Event::Scalar(text, style, anchor, tag) => {
                reached = self.scalar(text.into_owned(), style, anchor, tag.as_deref(), start, end)?;
            }
            Event::SequenceStart(anchor, tag) => self.open(start, end, anchor, tag.as_deref(), None)?,
            Event::MappingStart(anchor, tag) => self.open(start, end, anchor, tag.as_deref(), Some(None))?,
            Event::SequenceEnd | Event::MappingEnd => self.close(start, end)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd => return Ok(()),
        }
        self.previous = self.previous.max(reached);
        Ok(())
    }

    fn open(
        &mut self,
        start: usize,
        end: usize,
        anchor: usize,
        tag: Option<&Tag>,
        key: Option<Option<Node>>,
    ) -> Result<(), Box<Problem>> {
        let own = if key.is_some() { "map" } else { "seq" };
        if let Some(tag) = tag
            && own_tag(tag) != Some(own)
            && !is_non_specific(tag)
        {
            return Err(self.custom_tag(tag, start, end));
        }
        self.count(1, start, end)?;
        if self.stack.len() >= self.budget.depth_max {
            return Err(self.too_deep(start, end));
        }
        let (items, entries) = (Vec::new(), Vec::new());
        let nodes_before = self.nodes - 1;
        self.stack.push(Frame { start, anchor, key, items, entries, nodes_before, height: 1 });
        Ok(())
    }

    fn close(&mut self, start: usize, end: usize) -> Result<(), Box<Problem>> {
        // INVARIANT: the scanner's events are balanced; an end without a start would be its fault.
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let bracket = matches!(self.places.text().as_bytes().get(start), Some(b']' | b'}')) && end > start;
        let last = frame.items.last().or(frame.entries.last().map(|(_, value)| value));
        let end = match last {
            // The scanner's end may lie behind comments that follow the bracket.
            _ if bracket => start + 1,
            // The end of a block is noticed only at the next token; it lies where its last value ends.
            Some(last) => last.span.end.offset,
            None => end.max(frame.start),
        };
        let kind =
            if frame.key.is_some() { Kind::Mapping(frame.entries) } else { Kind::Sequence(frame.items) };
        let node = Node { span: self.places.span(frame.start, end), kind };
        self.place(node, frame.anchor, self.nodes - frame.nodes_before, frame.height)
    }

    /// Gives the byte at which the scalar ends.
    fn scalar(
        &mut self,
        text: String,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        start: usize,
        end: usize,
    ) -> Result<usize, Box<Problem>> {
        self.count(1, start, end)?;
        let tag = match tag {
            None => None,
            Some(tag) if is_non_specific(tag) => Some("str".to_owned()),
            Some(tag) => match own_tag(tag).filter(|suffix| is_scalar_tag(suffix)) {
                Some(suffix) => Some(suffix.to_owned()),
                None => return Err(self.custom_tag(tag, start, end)),
            },
        };
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::Single,
            ScalarStyle::DoubleQuoted => Style::Double,
            ScalarStyle::Literal => Style::Literal,
            ScalarStyle::Folded => Style::Folded,
        };
        let (start, end) = self.scalar_range(&text, style, start, end, anchor != 0 || tag.is_some());
        let span = self.places.span(start, end);
        self.place(Node { span, kind: Kind::Scalar { text, style, tag } }, anchor, 1, 0)?;
        Ok(end)
    }

    /// The exact bytes of a scalar: the scanner's span may start at its anchor or tag, behind its `|`, or
    /// end behind the white space and comments that follow it.
    fn scalar_range(
        &mut self,
        text: &str,
        style: Style,
        start: usize,
        end: usize,
        properties: bool,
    ) -> (usize, usize) {
        let source = self.places.text();
        let value = if properties { skip_properties(source, start, end) } else { start };
        let (from, to) = match style {
            Style::Plain if text.is_empty() && !properties => {
                let at = self.left_out(start);
                (at, at)
            }
            Style::Plain => (value.min(end), end),
            Style::Single | Style::Double => (value, quoted_end(source, value).unwrap_or(end)),
            Style::Literal | Style::Folded => {
                let begin = if properties { value } else { self.previous.min(start) };
                let header = block_header(source, begin, end).unwrap_or(start);
                let line_end = source[header..].find('\n').map_or(source.len(), |at| header + at);
                let trimmed = source[..end].trim_end().len().max(header + 1);
                // The header's own comment is one; what looks like one below it is text.
                if line_end < trimmed {
                    self.opaque.push((line_end, trimmed));
                }
                return (header, trimmed);
            }
        };
        if to > from {
            self.opaque.push((from, to));
        }
        (from, to)
    }

    /// Where a value stands that was left out.
    fn left_out(&self, start: usize) -> usize {
        let source = self.places.text();
        match self.stack.last() {
            None => self.previous.min(start),
            // The scanner gives the end of the key; the place is behind the colon.
            Some(Frame { key: Some(Some(_)), .. }) if source[start..].starts_with(':') => start + 1,
            Some(_) => start,
        }
    }

    fn alias(&mut self, id: usize, start: usize, end: usize) -> Result<(), Box<Problem>> {
        self.aliases += 1;
        let max = self.budget.aliases_max;
        if self.aliases > max {
            return Err(problem(ProblemKind::TooManyAliases { max }, self.places.span(start, end)));
        }
        let Some(anchored) = self.anchors.get(&id) else {
            // A name of another document, or one that is still being defined: `&a [*a]`.
            let reason = "an alias stands for nothing that was written before it".to_owned();
            return Err(problem(ProblemKind::Syntax(reason), self.places.span(start, end)));
        };
        let (nodes, bytes, height) = (anchored.nodes, anchored.bytes, anchored.height);
        self.count(nodes, start, end)?;
        self.count_bytes(bytes, start, end)?;
        if self.stack.len() + height > self.budget.depth_max {
            return Err(self.too_deep(start, end));
        }
        let Some(anchored) = self.anchors.get(&id) else { return Ok(()) };
        let node = Node { span: self.places.span(start, end), kind: anchored.node.kind.clone() };
        self.place(node, 0, nodes, height)
    }

    /// Puts a finished node where it belongs and remembers it if it has an anchor.
    fn place(&mut self, node: Node, anchor: usize, nodes: usize, height: usize) -> Result<(), Box<Problem>> {
        if anchor != 0 {
            let (start, end) = (node.span.start.offset, node.span.end.offset);
            // The copy that aliases are made from counts as well: anchors inside anchors add up.
            self.count(nodes, start, end)?;
            let bytes = text_bytes(&node);
            self.count_bytes(bytes, start, end)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes, bytes, height });
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.height = frame.height.max(height + 1);
        match &mut frame.key {
            None => frame.items.push(node),
            Some(waiting) => match waiting.take() {
                None => *waiting = Some(node),
                Some(key) => frame.entries.push((key, node)),
            },
        }
        Ok(())
    }

    fn end_document(&mut self, at: usize) {
        let Some(root) = self.root.take() else { return };
        let mut found = Vec::new();
        let end = at.max(root.span.end.offset);
        comments(self.places, &self.opaque, self.document_start, end, &mut found);
        self.opaque.clear();
        self.document_start = end;
        self.documents.push(Document { root, comments: found });
    }

    fn count(&mut self, nodes: usize, start: usize, end: usize) -> Result<(), Box<Problem>> {
        self.nodes = self.nodes.saturating_add(nodes);
        let max = self.budget.nodes_max;
        if self.nodes > max {
            return Err(problem(ProblemKind::TooManyNodes { max }, self.places.span(start, end)));
        }
        Ok(())
    }

    fn count_bytes(&mut self, bytes: usize, start: usize, end: usize) -> Result<(), Box<Problem>> {
        self.alias_bytes = self.alias_bytes.saturating_add(bytes);
        let max = self.budget.bytes_max;
        if self.alias_bytes > max {
            return Err(problem(ProblemKind::TooManyBytes { max }, self.places.span(start, end)));
        }
        Ok(())
    }

    fn too_deep(&self, start: usize, end: usize) -> Box<Problem> {
        problem(ProblemKind::TooDeep { max: self.budget.depth_max }, self.places.span(start, end))
    }

    fn custom_tag(&self, tag: &Tag, start: usize, end: usize) -> Box<Problem> {
        let source = self.places.text();
        // As written, where it can be found; an anchor may stand before it.
        let range = source[start..end.max(start)].find('!').map_or((start, end), |at| {
            let from = start + at;
            let len = source[from..].find(char::is_whitespace).unwrap_or(source.len() - from);
            (from, from + len)
        });
        let written = source.get(range.0..range.1).filter(|written| written.starts_with('!'));
        let name = written.map_or_else(|| tag.to_string(), str::to_owned);
        let name = name.chars().take(100).collect();
        problem(ProblemKind::CustomTag(name), self.places.span(range.0, range.1))
    }

    fn scan_problem(&self, error: &ScanError) -> Box<Problem> {
        let offset = self.places.offset(error.marker().index());
        let source = self.places.text();
        let line_start = source[..offset].rfind('\n').map_or(0, |at| at + 1);
        let line = &source[line_start..];
        let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
        // A plain text that goes on in the next line fails there, at its own end.
        let later =
            || source[offset..].find('\t').filter(|_| error.info().contains("tab")).map(|at| offset + at);
        if let Some(at) = line[..indentation].find('\t').map(|at| line_start + at).or_else(later) {
            return problem(ProblemKind::Tab, self.places.span(at, at + 1));
        }
        // The scanner has a bound of its own on `[` and `{`, above any sensible budget.
        if error.info().contains("recursion limit") {
            return self.too_deep(offset, offset);
        }
        let end = source[offset..].chars().next().filter(|c| *c != '\n').map_or(0, char::len_utf8);
        let mut found =
            problem(ProblemKind::Syntax(reason(error.info())), self.places.span(offset, offset + end));
        found.related = self.stack.last().map(|frame| self.places.span(frame.start, frame.start));
        found
    }
}

/// The scanner's words where they are clear, ours where they are not.
fn reason(info: &str) -> String {
    const OURS: [(&str, &str); 7] = [
        (
            "mapping values are not allowed",
            "a `:` cannot stand here: is a quote missing, or is the line indented wrongly?",
        ),
        ("did not find expected key", "a key is expected here: is the line indented wrongly?"),
        ("did not find expected '-' indicator", "a `-` is expected here: is the line indented wrongly?"),
        ("simple key expect", "a `:` is missing after the key"),
        ("unknown anchor", "an alias stands for nothing that was written before it"),
        ("did not find expected ',' or ']'", "a `]` is missing"),
        ("did not find expected ',' or '}'", "a `}` is missing"),
    ];
    let ours = OURS.iter().find(|(theirs, _)| info.contains(theirs)).map(|(_, ours)| (*ours).to_owned());
    ours.unwrap_or_else(|| info.trim_end_matches('.').to_lowercase())
}

/// What follows `tag:yaml.org,2002:` in a tag, written as `!!str` or in full as `!<tag:yaml.org,2002:str>`.
fn own_tag(tag: &Tag) -> Option<&str> {
    if tag.is_yaml_core_schema() {
        return Some(&tag.suffix);
    }
    tag.suffix.strip_prefix("tag:yaml.org,2002:").filter(|_| tag.handle.is_empty())
}

/// The tag `!` alone: "as its kind is, without looking at the text" (YAML 1.2.2, section 6.9.1).
fn is_non_specific(tag: &Tag) -> bool {
    (tag.handle.is_empty() && tag.suffix == "!") || (tag.handle == "!" && tag.suffix.is_empty())
}

fn is_scalar_tag(suffix: &str) -> bool {
    matches!(suffix, "str" | "int" | "float" | "bool" | "null" | "timestamp" | "binary")
}

fn text_bytes(node: &Node) -> usize {
    match &node.kind {
        Kind::Scalar { text, .. } => text.len(),
        Kind::Sequence(items) => items.iter().map(text_bytes).sum(),
        Kind::Mapping(entries) => {
            entries.iter().map(|(key, value)| text_bytes(key) + text_bytes(value)).sum()
        }
    }
}

/// Skips anchors and tags, and the white space and comments behind them.
fn skip_properties(source: &str, start: usize, end: usize) -> usize {
    let mut at = start;
    while at < end {
        let rest = &source[at..end];
        match rest.chars().next() {
            Some('&' | '!') => at += rest.find(char::is_whitespace).unwrap_or(rest.len()),
            Some('#') => at += rest.find('\n').unwrap_or(rest.len()),
            Some(c) if c.is_whitespace() => at += c.len_utf8(),
            Some(_) | None => return at,
        }
    }
    // Nothing but properties: they are all there is to point at.
    start
}

/// One past the closing quote of the quoted scalar that begins at `start`.
fn quoted_end(source: &str, start: usize) -> Option<usize> {
    let bytes = source.as_bytes();
    let quote = *bytes.get(start).filter(|byte| matches!(byte, b'"' | b'\''))?;
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote == b'"' => at += 2,
            b'\'' if quote == b'\'' && bytes.get(at + 1) == Some(&b'\'') => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

/// The `|` or `>` of the block scalar whose text ends at `end`, looked for from the token before it.
fn block_header(source: &str, from: usize, end: usize) -> Option<usize> {
    let bytes = source.as_bytes();
    let mut at = from;
    while at < end {
        let starts = at == 0 || bytes[at - 1].is_ascii_whitespace();
        match bytes[at] {
            b'#' if starts => at += source[at..].find('\n')?,
            b'|' | b'>' if starts || at == from => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// Adds the comments between `from` and `to`, leaving out the ranges in which `#` is text.
fn comments(
    places: &Places<'_>,
    opaque: &[(usize, usize)],
    from: usize,
    to: usize,
    found: &mut Vec<Comment>,
) {
    let bytes = places.text().as_bytes();
    let mut at = from;
    let mut ranges = opaque.iter().copied().skip_while(|(_, end)| *end <= from).peekable();
    while at < to {
        if let Some((start, end)) = ranges.peek().copied()
            && at >= start
        {
            at = at.max(end);
            ranges.next();
            continue;
        }
        if bytes[at] == b'#' && (at == 0 || bytes[at - 1].is_ascii_whitespace()) {
            let line = &places.text()[at..];
            // A carriage return alone ends a line too: section 5.4 of YAML 1.2.
            let line = &line[..line.find(['\n', '\r']).unwrap_or(line.len())];
            found.push(Comment { span: places.span(at, at + line.len()), text: line[1..].to_owned() });
            at += line.len();
        } else {
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests;
