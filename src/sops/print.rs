//! An open file as text, for the person who may open it. Comments are left out.
//!
//! Both texts are overwritten when dropped and never grow in place, so no copy of a value is left behind.

use zeroize::Zeroizing;

use super::go;
use super::value::{Leaf, LeafKind, Value};
use crate::yaml::Style;

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
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            text.push_str("---\n");
        }
        match document {
            Value::Map(entries) if entries.is_empty() => text.push_str("{}\n"),
            document => write_yaml(document, 0, &mut text),
        }
    }
    text
}

/// Room for the longest spelling of the values, each character escaped and each line indented.
fn text_for(documents: &[Value]) -> Zeroizing<String> {
    fn room(value: &Value, depth: usize) -> usize {
        match value {
            Value::Null => 8,
            Value::Leaf(leaf) => {
                let lines = leaf.text.expose().iter().filter(|byte| **byte == b'\n').count();
                // A byte that is no UTF-8 becomes three; a control character becomes six.
                leaf.text.len() * 6 + (lines + 2) * (depth * 4 + 8)
            }
            Value::List(items) => {
                items.iter().map(|item| room(item, depth + 1) + depth * 4 + 8).sum::<usize>() + depth * 4 + 8
            }
            Value::Map(entries) => {
                let entry =
                    |(key, value): &(String, Value)| key.len() * 6 + room(value, depth + 1) + depth * 4 + 12;
                entries.iter().map(entry).sum::<usize>() + depth * 4 + 8
            }
        }
    }
    Zeroizing::new(String::with_capacity(documents.iter().map(|value| room(value, 1) + 8).sum()))
}

fn write_json(value: &Value, depth: usize, out: &mut String) {
    let (open, close, count) = match value {
        Value::Null => return out.push_str("null"),
        Value::Leaf(leaf) => return json_leaf(leaf, out),
        Value::List(items) => ('[', ']', items.len()),
        Value::Map(entries) => ('{', '}', entries.len()),
    };
    out.push(open);
    for index in 0..count {
        out.push_str(if index > 0 { ",\n" } else { "\n" });
        indent(depth + 1, "\t", out);
        match value {
            Value::List(items) => write_json(&items[index], depth + 1, out),
            Value::Map(entries) => {
                quoted(&entries[index].0, out);
                out.push_str(": ");
                write_json(&entries[index].1, depth + 1, out);
            }
            Value::Null | Value::Leaf(_) => {}
        }
    }
    if count > 0 {
        out.push('\n');
        indent(depth, "\t", out);
    }
    out.push(close);
}

fn json_leaf(leaf: &Leaf, out: &mut String) {
    let text = Zeroizing::new(String::from_utf8_lossy(leaf.text.expose()).into_owned());
    match leaf.kind {
        LeafKind::Bool => out.push_str(if text.as_str() == "True" { "true" } else { "false" }),
        LeafKind::Int => out.push_str(&text),
        // JSON has no spelling for what is not a number or infinite.
        LeafKind::Float if text.ends_with(|c: char| c.is_ascii_digit()) => out.push_str(&text),
        LeafKind::Float | LeafKind::Text | LeafKind::Time | LeafKind::Bytes => quoted(&text, out),
    }
}

fn write_yaml(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Null | Value::Leaf(_) => {}
        Value::List(items) => {
            for item in items {
                indent(depth, "    ", out);
                out.push('-');
                yaml_item(item, depth, true, out);
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                indent(depth, "    ", out);
                yaml_text(key, depth, false, out);
                out.push(':');
                yaml_item(value, depth, false, out);
            }
        }
    }
}

/// What follows a `-` or a `:`, up to the end of its line or lines.
fn yaml_item(value: &Value, depth: usize, in_list: bool, out: &mut String) {
    match value {
        Value::Null => out.push_str(" null\n"),
        Value::Leaf(leaf) => {
            out.push(' ');
            let text = Zeroizing::new(String::from_utf8_lossy(leaf.text.expose()).into_owned());
            match leaf.kind {
                LeafKind::Text | LeafKind::Bytes => yaml_text(&text, depth, true, out),
                LeafKind::Bool => out.push_str(if text.as_str() == "True" { "true" } else { "false" }),
                LeafKind::Float if !text.ends_with(|c: char| c.is_ascii_digit()) => {
                    out.push_str(match text.as_str() {
                        "NaN" => ".nan",
                        "-Inf" => "-.inf",
                        _ => "+.inf",
                    });
                }
                LeafKind::Int | LeafKind::Float | LeafKind::Time => out.push_str(&text),
            }
            if !out.ends_with('\n') {
                out.push('\n');
            }
        }
        Value::List(items) if items.is_empty() => out.push_str(" []\n"),
        Value::Map(entries) if entries.is_empty() => out.push_str(" {}\n"),
        // The first key of a mapping in a list stands behind the dash.
        Value::Map(entries) if in_list => {
            for (index, (key, value)) in entries.iter().enumerate() {
                if index == 0 {
                    out.push_str("   ");
                } else {
                    indent(depth + 1, "    ", out);
                }
                yaml_text(key, depth + 1, false, out);
                out.push(':');
                yaml_item(value, depth + 1, false, out);
            }
        }
        Value::List(_) | Value::Map(_) => {
            out.push('\n');
            write_yaml(value, depth + 1, out);
        }
    }
}

/// A text in the simplest style that reads back as the same text.
fn yaml_text(text: &str, depth: usize, block: bool, out: &mut String) {
    let reads_as_text = matches!(go::read(text, Style::Plain, None), Ok(go::Scalar::Leaf(LeafKind::Text, _)));
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '@' | '+' | '=' | ' ');
    let edges =
        text.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '/') && !text.ends_with(' ');
    let old_word = ["y", "n", "yes", "no", "on", "off"].iter().any(|word| text.eq_ignore_ascii_case(word));
    if reads_as_text && edges && !old_word && text.chars().all(plain) {
        return out.push_str(text);
    }
    let lines = block && text.contains('\n') && !text.starts_with([' ', '\n', '\t']);
    if lines && !text.chars().any(|c| c != '\n' && escaped(c)) {
        let trailing = text.len() - text.trim_end_matches('\n').len();
        out.push_str(match trailing {
            0 => "|-\n",
            1 => "|\n",
            _ => "|+\n",
        });
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            if !line.is_empty() {
                indent(depth + 1, "    ", out);
                out.push_str(line);
            }
            out.push('\n');
        }
        return;
    }
    quoted(text, out);
}

/// Whether a character is written by its number: it would break a line, a reader, or what a person sees.
fn escaped(c: char) -> bool {
    let breaks = matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}');
    let reorders = matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    c.is_control() || breaks || reorders
}

/// In double quotes, with escapes that JSON and YAML share.
fn quoted(text: &str, out: &mut String) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if escaped(c) => {
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

fn indent(depth: usize, unit: &str, out: &mut String) {
    for _ in 0..depth {
        out.push_str(unit);
    }
}
