//! The JSON store, and the binary one, which is a JSON file with one key, `data`.

use zeroize::Zeroizing;

use super::super::tree::{Entry, Raw, RawLeaf, Tree};
use super::super::value::LeafKind;
use super::super::{BUDGET, SopsError, go};
use super::Places;
use crate::domain::Span;
use crate::yaml::{Kind, Node, Style};

/// Reads a JSON file of any depth within the budget. Strings are read as Go reads them: what is no UTF-16 becomes
/// a replacement character.
pub fn read(bytes: &[u8]) -> Result<Tree, SopsError> {
    let root = parse(bytes)?;
    let Kind::Mapping(entries) = root.kind else {
        return Err(SopsError::Shape { at: "the file".to_owned(), reason: "has to be a JSON object" });
    };
    let mut tree = Tree::empty();
    let mut branch = Vec::with_capacity(entries.len());
    super::yaml::find_twice(&entries, &mut Vec::new(), &mut tree.twice);
    for (key, value) in entries {
        let Kind::Scalar { text: key, .. } = key.kind else { continue };
        if key == "sops" {
            tree.metadata = Some(value);
        } else {
            branch.push(Entry { key, value: raw(value) });
        }
    }
    tree.branches.push(branch);
    Ok(tree)
}

/// Whether a text reads as JSON from its first to its last byte.
pub fn is_json(bytes: &[u8]) -> bool {
    parse(bytes).is_ok()
}

/// sops 3.11 takes every number for a floating one, and so does the MAC.
fn raw(node: Node) -> Raw {
    let span = node.span;
    match node.kind {
        Kind::Sequence(items) => Raw::List(items.into_iter().map(raw).collect()),
        Kind::Mapping(entries) => Raw::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry {
                    key: key.scalar().unwrap_or_default().to_owned(),
                    value: raw(value),
                })
                .collect(),
        ),
        Kind::Scalar { text, style: Style::Plain, .. } => {
            let leaf =
                |kind, text: &str| Raw::Leaf(RawLeaf { kind, text: Zeroizing::new(text.to_owned()), span });
            match text.as_str() {
                "null" => Raw::Null,
                "true" => leaf(LeafKind::Bool, "True"),
                "false" => leaf(LeafKind::Bool, "False"),
                number => match number.parse::<f64>() {
                    Ok(number) => leaf(LeafKind::Float, &go::float(number)),
                    Err(_) => Raw::Bad(span, "is not a number"),
                },
            }
        }
        Kind::Scalar { text, .. } => Raw::text(text, span),
    }
}

fn parse(bytes: &[u8]) -> Result<Node, SopsError> {
    let told = |line, reason| SopsError::Text { store: "JSON", line, reason };
    if bytes.len() > BUDGET.bytes_max {
        return Err(told(1, "the file is too large"));
    }
    // Go reads text that is no UTF-8 as well; a secret file has no reason to be such a text.
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        told(1 + before.iter().filter(|byte| **byte == b'\n').count(), "the file is not UTF-8")
    })?;
    let mut reader = Reader { text, at: 0, places: Places::new(text), nodes: 0 };
    let read = reader.value(0).and_then(|node| {
        reader.blanks();
        if reader.at == text.len() { Ok(node) } else { Err("something follows the value") }
    });
    read.map_err(|reason| {
        let at = text.floor_char_boundary(reader.at);
        told(1 + text[..at].bytes().filter(|byte| *byte == b'\n').count(), reason)
    })
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    places: Places<'t>,
    nodes: usize,
}

impl Reader<'_> {
    fn blanks(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        self.blanks();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn span(&mut self, start: usize) -> Span {
        self.places.span(start, self.at)
    }

    fn value(&mut self, depth: usize) -> Result<Node, &'static str> {
        self.blanks();
        self.nodes += 1;
        if depth > BUDGET.depth_max {
            return Err("the file is nested too deep");
        }
        if self.nodes > BUDGET.nodes_max {
            return Err("the file has too many values");
        }
        let start = self.at;
        match self.peek() {
            Some(b'{') => {
                self.at += 1;
                let mut entries = Vec::new();
                let mut more = !self.take(b'}');
                while more {
                    self.blanks();
                    let key = self.string()?;
                    if !self.take(b':') {
                        return Err("a `:` is missing after a key");
                    }
                    entries.push((key, self.value(depth + 1)?));
                    more = self.take(b',');
                    if !more && !self.take(b'}') {
                        return Err("a `,` or `}` is missing");
                    }
                }
                Ok(Node { span: self.span(start), kind: Kind::Mapping(entries) })
            }
            Some(b'[') => {
                self.at += 1;
                let mut items = Vec::new();
                let mut more = !self.take(b']');
                while more {
                    items.push(self.value(depth + 1)?);
                    more = self.take(b',');
                    if !more && !self.take(b']') {
                        return Err("a `,` or `]` is missing");
                    }
                }
                Ok(Node { span: self.span(start), kind: Kind::Sequence(items) })
            }
            Some(b'"') => self.string(),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<Node, &'static str> {
        let start = self.at;
        let len = self.text[start..]
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.'))
            .count();
        let word = &self.text[start..start + len];
        if !matches!(word, "true" | "false" | "null") {
            if !is_number(word) {
                return Err("this is no JSON value");
            }
            if word.parse::<f64>().is_ok_and(f64::is_infinite) {
                return Err("a number is too large");
            }
        }
        self.at += len;
        let kind = Kind::Scalar { text: word.to_owned(), style: Style::Plain, tag: None };
        Ok(Node { span: self.span(start), kind })
    }

    fn string(&mut self) -> Result<Node, &'static str> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err("a `\"` is missing");
        }
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain =
                rest.bytes().take_while(|byte| *byte >= b' ' && *byte != b'"' && *byte != b'\\').count();
            text.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => text.push(self.escape()?),
                Some(_) => return Err("a control character stands in a string"),
                None => return Err("a string is not closed"),
            }
        }
        self.at += 1;
        let kind = Kind::Scalar { text, style: Style::Double, tag: None };
        Ok(Node { span: self.span(start), kind })
    }

    fn escape(&mut self) -> Result<char, &'static str> {
        const WRONG: &str = "an escape is not one of JSON's";
        let sign = self.text.as_bytes().get(self.at + 1).ok_or(WRONG)?;
        let simple = match sign {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.unit(self.at).ok_or(WRONG)?;
                self.at += 6;
                if let Some(c) = char::from_u32(first) {
                    return Ok(c);
                }
                let second = self.unit(self.at).filter(|low| (0xDC00..0xE000).contains(low));
                let pair = second.filter(|_| first < 0xDC00);
                let Some(low) = pair else { return Ok('\u{FFFD}') };
                self.at += 6;
                let joined = 0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00);
                return Ok(char::from_u32(joined).unwrap_or('\u{FFFD}'));
            }
            _ => return Err(WRONG),
        };
        self.at += 2;
        Ok(simple)
    }

    /// The four digits of `\uXXXX` at a place.
    fn unit(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
        let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    }
}

/// RFC 8259, section 6.
fn is_number(word: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut rest = word.strip_prefix('-').unwrap_or(word);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest.starts_with('0')) {
        return false;
    }
    rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = &fraction[count..];
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let count = digits(exponent);
        return count > 0 && count == exponent.len();
    }
    rest.is_empty()
}
