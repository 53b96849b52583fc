//! An open file as text, for the person who may open it: as `sops -d` prints it.
//!
//! The texts are overwritten when dropped and never grow in place, so no copy of a value is left behind.

use zeroize::Zeroizing;

use super::value::{Leaf, LeafKind, Value};
use super::{Format, SopsError, go, store};

/// Documents in a format, byte for byte as sops writes them (comments beside YAML values excepted, which stand
/// above them). JSON, dotenv and INI hold the first document only.
///
/// # Errors
/// The format cannot hold the values: dotenv nothing nested, INI nothing but sections of single values, binary
/// only a `data`.
pub fn print(documents: &[Value], format: Format) -> Result<Zeroizing<Vec<u8>>, SopsError> {
    let mut text = text_for(documents);
    let empty = Value::Map(Vec::new());
    let first = documents.first().unwrap_or(&empty);
    match format {
        Format::Yaml => store::yaml_text::write(documents, &mut text),
        Format::Json => {
            write_json(first, 0, &mut text);
            text.push('\n');
        }
        Format::Dotenv => write_dotenv(first, &mut text)?,
        Format::Ini => write_ini(first, &mut text)?,
        Format::Binary => {
            let data = first.get("data").and_then(|value| match value {
                Value::Leaf(leaf) if matches!(leaf.kind, LeafKind::Text | LeafKind::Bytes) => Some(leaf),
                _ => None,
            });
            let leaf = data.ok_or(SopsError::Unwritable("this is no binary file: it has no text `data`"))?;
            return Ok(Zeroizing::new(leaf.text.expose().to_vec()));
        }
    }
    Ok(Zeroizing::new(std::mem::take(&mut *text).into_bytes()))
}

/// A value as JSON with tabs, as `sops -d --output-type json` writes it; ends with a line break.
#[must_use]
pub fn json(value: &Value) -> Zeroizing<String> {
    let mut text = text_for(std::slice::from_ref(value));
    write_json(value, 0, &mut text);
    text.push('\n');
    text
}

/// Documents as YAML in block style, indented by four as sops does.
#[must_use]
pub fn yaml(documents: &[Value]) -> Zeroizing<String> {
    let mut text = text_for(documents);
    store::yaml_text::write(documents, &mut text);
    text
}

/// Room for the longest spelling of the values, each character escaped and each line indented.
fn text_for(documents: &[Value]) -> Zeroizing<String> {
    fn room(value: &Value, depth: usize) -> usize {
        match value {
            Value::Null => 8,
            Value::Comment(text) => text.len() + (text.matches('\n').count() + 1) * (depth * 4 + 8),
            Value::Leaf(leaf) => {
                let lines = leaf.text.expose().iter().filter(|byte| **byte == b'\n').count();
                // A byte that is no UTF-8 becomes three; a control character becomes six.
                leaf.text.len() * 6 + 24 + (lines + 2) * (depth * 4 + 8)
            }
            Value::List(items) => {
                items.iter().map(|item| room(item, depth + 1) + depth * 4 + 8).sum::<usize>() + depth * 4 + 8
            }
            Value::Map(entries) => {
                // An INI file aligns its keys to the longest.
                let longest = entries.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
                let entry = |(key, value): &(String, Value)| {
                    key.len() * 6 + longest + room(value, depth + 1) + depth * 4 + 16
                };
                entries.iter().map(entry).sum::<usize>() + depth * 4 + 8
            }
        }
    }
    Zeroizing::new(String::with_capacity(documents.iter().map(|value| room(value, 1) + 8).sum()))
}

fn lossy(leaf: &Leaf) -> Zeroizing<String> {
    Zeroizing::new(String::from_utf8_lossy(leaf.text.expose()).into_owned())
}

fn write_json(value: &Value, depth: usize, out: &mut String) {
    let (open, close) = match value {
        Value::Null | Value::Comment(_) => return out.push_str("null"),
        Value::Leaf(leaf) => return json_leaf(leaf, out),
        Value::List(_) => ('[', ']'),
        Value::Map(_) => ('{', '}'),
    };
    out.push(open);
    let mut count = 0;
    let mut begin = |out: &mut String| {
        out.push_str(if count > 0 { ",\n" } else { "\n" });
        count += 1;
        tabs(depth + 1, out);
    };
    match value {
        Value::List(items) => {
            for item in items.iter().filter(|item| !item.is_comment()) {
                begin(out);
                write_json(item, depth + 1, out);
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries.iter().filter(|(_, value)| !value.is_comment()) {
                begin(out);
                quoted(key, out);
                out.push_str(": ");
                write_json(value, depth + 1, out);
            }
        }
        Value::Null | Value::Leaf(_) | Value::Comment(_) => {}
    }
    if count > 0 {
        out.push('\n');
        tabs(depth, out);
    }
    out.push(close);
}

fn json_leaf(leaf: &Leaf, out: &mut String) {
    let text = lossy(leaf);
    match leaf.kind {
        LeafKind::Bool => out.push_str(if text.as_str() == "True" { "true" } else { "false" }),
        LeafKind::Int => out.push_str(&text),
        // JSON has no spelling for what is not a number or infinite.
        LeafKind::Float if text.ends_with(|c: char| c.is_ascii_digit()) => {
            out.push_str(&text.parse().map_or_else(|_| text.to_string(), go::float_json));
        }
        LeafKind::Float | LeafKind::Text | LeafKind::Time | LeafKind::Bytes => quoted(&text, out),
    }
}

/// A string as Go's JSON writer spells it, with its escapes against HTML.
pub(super) fn quoted(text: &str, out: &mut String) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{C}' => out.push_str("\\f"),
            '\0'..='\u{1F}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str("\\u");
                for shift in [12, 8, 4, 0] {
                    // INVARIANT: four bits are below 16, the number of digits.
                    out.push(HEX[(u32::from(c) >> shift & 0xF) as usize]);
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn tabs(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n('\t', depth));
}

/// A single value as the flat stores write one. Go names the types that they do not know.
fn flat(leaf: &Leaf) -> Zeroizing<String> {
    let text = lossy(leaf);
    match leaf.kind {
        LeafKind::Bool => Zeroizing::new(if text.as_str() == "True" { "true" } else { "false" }.to_owned()),
        LeafKind::Text | LeafKind::Int | LeafKind::Float | LeafKind::Time | LeafKind::Bytes => text,
    }
}

fn write_dotenv(document: &Value, out: &mut String) -> Result<(), SopsError> {
    let Value::Map(entries) = document else { return Ok(()) };
    for (key, value) in entries {
        match value {
            Value::Comment(text) => {
                out.push('#');
                out.push_str(text);
            }
            Value::Leaf(leaf) => {
                out.push_str(key);
                out.push('=');
                for (index, line) in flat(leaf).split('\n').enumerate() {
                    out.push_str(if index > 0 { "\\n" } else { "" });
                    out.push_str(line);
                }
            }
            Value::Null => {
                out.push_str(key);
                out.push('=');
            }
            Value::List(_) | Value::Map(_) => {
                return Err(SopsError::Unwritable("a dotenv file holds no lists and no mappings"));
            }
        }
        out.push('\n');
    }
    Ok(())
}

fn write_ini(document: &Value, out: &mut String) -> Result<(), SopsError> {
    const WRONG: SopsError = SopsError::Unwritable("an INI file holds sections of single values only");
    let Value::Map(sections) = document else { return Ok(()) };
    let mut texts = Vec::new();
    for (name, section) in sections {
        let entries = match section {
            Value::Map(entries) => entries,
            Value::Comment(_) => continue,
            Value::Null | Value::Leaf(_) | Value::List(_) => return Err(WRONG),
        };
        let (mut comment, mut keys) = (None, Vec::<(&str, Option<&str>, Zeroizing<String>)>::new());
        for (index, (key, value)) in entries.iter().enumerate() {
            match value {
                Value::Comment(text) if index == 0 => comment = Some(text.as_str()),
                Value::Comment(text) => {
                    if let Some(last) = keys.last_mut() {
                        last.1 = Some(text.as_str());
                    }
                }
                Value::Leaf(leaf) => keys.push((key, None, flat(leaf))),
                Value::Null => keys.push((key, None, Zeroizing::new(String::new()))),
                Value::List(_) | Value::Map(_) => return Err(WRONG),
            }
        }
        texts.push((name.as_str(), comment, keys));
    }
    let written: Vec<store::ini::Written<'_>> = texts
        .iter()
        .map(|(name, comment, keys)| store::ini::Written {
            name,
            comment: *comment,
            keys: keys.iter().map(|(key, comment, value)| (*key, *comment, value.as_str())).collect(),
        })
        .collect();
    store::ini::write(&written, out);
    Ok(())
}
