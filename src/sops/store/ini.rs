//! The INI store, read and written as the Go library does it that sops uses: aligned `key = value` below
//! `[section]`, with `` ` `` or `"""` around values that would be misread.

use super::super::SopsError;
use super::super::tree::{Entry, Raw, Tree};
use super::dotenv::text;
use super::{Places, flat};
use crate::domain::Span;

const STORE: &str = "INI";
const DEFAULT: &str = "DEFAULT";

/// Reads a file; its section `sops` is the metadata. Sections may repeat, keys of one may not.
pub fn read(bytes: &[u8]) -> Result<Tree, SopsError> {
    let bytes = bytes.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(bytes);
    let text = text(bytes, STORE)?;
    let mut reader = Reader { text, at: 0, line: 0, places: Places::new(text), comment: String::new() };
    let mut sections = vec![Section { name: DEFAULT.to_owned(), comment: String::new(), keys: Vec::new() }];
    while reader.at < text.len() {
        reader.next(&mut sections)?;
    }
    let mut tree = Tree::empty();
    let mut branch = Vec::new();
    for section in sections {
        let mut seen = std::collections::HashSet::new();
        if let Some(twice) = section.keys.iter().find(|key| !seen.insert(key.name.as_str())) {
            tree.twice.get_or_insert_with(|| format!("{}.{}", section.name, twice.name));
        }
        if section.name == "sops" {
            let fields = section.keys.into_iter().map(|key| (key.name, key.value, key.span)).collect();
            if tree.metadata.is_some() {
                tree.twice = Some(section.name);
                continue;
            }
            tree.metadata = flat::unflatten(fields, STORE)?;
            continue;
        }
        let mut entries = Vec::new();
        if !section.comment.is_empty() {
            entries.push(Entry::comment(bare(&section.comment)));
        }
        for key in section.keys {
            entries.push(Entry { key: key.name, value: Raw::text(key.value, key.span) });
            if !key.comment.is_empty() {
                entries.push(Entry::comment(bare(&key.comment)));
            }
        }
        branch.push(Entry { key: section.name, value: Raw::Map(entries) });
    }
    tree.branches.push(branch);
    Ok(tree)
}

struct Section {
    name: String,
    comment: String,
    keys: Vec<Key>,
}

struct Key {
    name: String,
    value: String,
    comment: String,
    span: Span,
}

/// The first sign and blanks are not the comment's.
fn bare(comment: &str) -> &str {
    match comment.as_bytes().first() {
        Some(b';') => comment.trim_start_matches([';', ' ']),
        Some(b'#') => comment.trim_start_matches(['#', ' ']),
        _ => comment,
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    places: Places<'t>,
    comment: String,
}

impl<'t> Reader<'t> {
    /// A line with its break.
    fn take_line(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        let line = rest.split_inclusive('\n').next().unwrap_or_default();
        self.at += line.len();
        self.line += 1;
        line
    }

    fn wrong(&self, reason: &'static str) -> SopsError {
        SopsError::Text { store: STORE, line: self.line, reason }
    }

    fn take_comment(&mut self) -> String {
        let comment = self.comment.trim().to_owned();
        self.comment.clear();
        comment
    }

    fn next(&mut self, sections: &mut Vec<Section>) -> Result<(), SopsError> {
        let start = self.at;
        let whole = self.take_line();
        let line = whole.trim_start();
        if line.is_empty() {
            return Ok(());
        }
        let start = start + (whole.len() - line.len());
        if line.starts_with(['#', ';']) {
            self.comment.push_str(line);
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix('[') {
            let Some(close) = rest.rfind(']') else {
                return Err(self.wrong("a section's `]` is missing"));
            };
            let name = &rest[..close];
            if name.is_empty() {
                return Err(self.wrong("a section has no name"));
            }
            self.add_comment(&rest[close + 1..]);
            let comment = self.take_comment();
            sections.push(Section { name: name.to_owned(), comment, keys: Vec::new() });
            return Ok(());
        }
        let (name, offset) = self.key_name(line)?;
        let value_at = start + offset;
        let value = self.value(value_at, &line[offset..])?;
        let span = self.places.span(value_at, value_at + line[offset..].trim_end().len());
        let comment = self.take_comment();
        if let Some(section) = sections.last_mut() {
            let name = if name == "-" {
                format!("#{}", 1 + section.keys.iter().filter(|key| key.name.starts_with('#')).count())
            } else {
                name.to_owned()
            };
            section.keys.push(Key { name, value, comment, span });
        }
        Ok(())
    }

    fn add_comment(&mut self, rest: &str) {
        if let Some(at) = rest.find(['#', ';']) {
            self.comment.push_str(&rest[at..]);
        }
    }

    /// The key and where its value begins.
    fn key_name(&self, line: &'t str) -> Result<(&'t str, usize), SopsError> {
        let missing = || self.wrong("a line is neither `key = value` nor a section");
        for quote in ["\"\"\"", "\"", "`"] {
            let Some(rest) = line.strip_prefix(quote) else { continue };
            let close = rest.find(quote).ok_or_else(|| self.wrong("a key's quote is not closed"))?;
            let after = &rest[close + quote.len()..];
            let sign = after.find(['=', ':']).ok_or_else(missing)?;
            return Ok((&rest[..close], quote.len() * 2 + close + sign + 1));
        }
        let sign = line.find(['=', ':']).ok_or_else(missing)?;
        let name = line[..sign].trim();
        if name.is_empty() {
            return Err(self.wrong("a key has no name"));
        }
        Ok((name, sign + 1))
    }

    fn value(&mut self, _at: usize, text: &str) -> Result<String, SopsError> {
        let line = text.trim_start();
        if line.is_empty() {
            return Ok(String::new());
        }
        let quote = if line.len() > 3 && line.starts_with("\"\"\"") {
            "\"\"\""
        } else if line.starts_with('`') {
            "`"
        } else {
            ""
        };
        if !quote.is_empty() {
            let rest = &line[quote.len()..];
            return match rest.rfind(quote) {
                Some(close) => Ok(rest[..close].to_owned()),
                None => self.lines_until(rest, quote),
            };
        }
        let mut line = line.trim();
        if let Some(begun) = line.strip_suffix('\\') {
            return Ok(self.continued(begun));
        }
        if let Some(sign) = line.find(['#', ';']) {
            self.comment.push_str(&line[sign..]);
            line = line[..sign].trim();
        }
        for quote in ['\'', '"'] {
            let inner = line.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
            if let Some(inner) = inner.filter(|inner| !inner.contains(quote)) {
                return Ok(inner.to_owned());
            }
        }
        Ok(line.to_owned())
    }

    fn lines_until(&mut self, begun: &str, quote: &str) -> Result<String, SopsError> {
        let mut value = begun.to_owned();
        loop {
            if self.at >= self.text.len() {
                return Err(self.wrong("a value's quote is not closed"));
            }
            let line = self.take_line();
            if let Some(close) = line.rfind(quote) {
                value.push_str(&line[..close]);
                self.add_comment(&line[close..]);
                return Ok(value);
            }
            value.push_str(line);
        }
    }

    fn continued(&mut self, begun: &str) -> String {
        let mut value = begun.to_owned();
        while self.at < self.text.len() {
            let next = self.take_line().trim();
            if next.is_empty() {
                break;
            }
            value.push_str(next);
            match value.pop() {
                Some('\\') => {}
                Some(other) => {
                    value.push(other);
                    break;
                }
                None => break,
            }
        }
        value
    }
}

/// A section to write: its comment, and its keys with comment and value.
pub struct Written<'v> {
    /// Its name.
    pub name: &'v str,
    /// Without sign.
    pub comment: Option<&'v str>,
    /// Name, comment, value.
    pub keys: Vec<(&'v str, Option<&'v str>, &'v str)>,
}

/// Writes sections; the first one called `DEFAULT` has no head.
pub fn write(sections: &[Written<'_>], out: &mut String) {
    for (index, section) in sections.iter().enumerate() {
        if let Some(comment) = section.comment {
            write_comment(comment, false, out);
        }
        if index > 0 || !section.name.eq_ignore_ascii_case(DEFAULT) {
            out.push('[');
            out.push_str(section.name);
            out.push_str("]\n");
        } else if section.keys.is_empty() {
            continue;
        }
        let width = section.keys.iter().map(|(name, ..)| name.len() + quotes(name).len() * 2).max();
        for (name, comment, value) in &section.keys {
            if let Some(comment) = comment {
                write_comment(comment, true, out);
            }
            let quote = quotes(name);
            // A key that a line began with `-` was given a number.
            let numbered = name.strip_prefix('#').is_some_and(|rest| rest.parse::<usize>().is_ok());
            let (quote, shown) = if numbered { ("", "-") } else { (quote, *name) };
            out.push_str(quote);
            out.push_str(shown);
            out.push_str(quote);
            let used = shown.len() + quote.len() * 2;
            out.extend(std::iter::repeat_n(' ', width.unwrap_or(0).saturating_sub(used)));
            out.push_str(" = ");
            let quote = if value.contains(['\n', '`']) {
                "\"\"\""
            } else if value.contains(['#', ';']) {
                "`"
            } else if value.trim().len() != value.len() {
                "\""
            } else {
                ""
            };
            out.push_str(quote);
            out.push_str(value);
            out.push_str(quote);
            out.push('\n');
        }
        if index + 1 < sections.len() {
            out.push('\n');
        }
    }
}

fn quotes(name: &str) -> &'static str {
    if name.contains(['"', '=', ':']) {
        "`"
    } else if name.contains('`') {
        "\"\"\""
    } else {
        ""
    }
}

fn write_comment(comment: &str, trimmed: bool, out: &mut String) {
    for line in comment.split('\n') {
        match line.chars().next() {
            Some(sign @ ('#' | ';')) => {
                out.push(sign);
                out.push(' ');
                out.push_str(line[1..].trim());
            }
            _ => {
                out.push_str("; ");
                out.push_str(if trimmed { line.trim() } else { line });
            }
        }
        out.push('\n');
    }
}
