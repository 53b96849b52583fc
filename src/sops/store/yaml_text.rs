//! A tree as YAML text, in the layout and quoting of sops: block style, four blanks, no line folded.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::go;
use super::super::value::{Leaf, LeafKind, Value};
use crate::yaml::Style;

const STEP: usize = 4;
/// Longer keys stand behind a `? `.
const SIMPLE_KEY_MAX: usize = 128;

/// Writes documents; an empty one is `{}`.
pub fn write(documents: &[Value], out: &mut String) {
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            out.push_str("---\n");
        }
        match document {
            Value::Map(entries) if entries.iter().any(|(_, value)| !value.is_comment()) => {
                map(entries, 0, None, out);
            }
            Value::Map(entries) => {
                entries.iter().for_each(|(_, value)| comment(value, 0, &mut None, out));
                out.push_str("{}\n");
            }
            Value::Null | Value::Leaf(_) | Value::List(_) | Value::Comment(_) => {}
        }
    }
}

/// `open` says that the first line was begun already; it is used up.
fn comment(value: &Value, indent: usize, open: &mut Option<()>, out: &mut String) {
    if let Value::Comment(text) = value {
        for line in text.split('\n') {
            if open.take().is_none() {
                pad(indent, out);
            }
            out.push('#');
            out.push_str(line);
            out.push('\n');
        }
    }
}

/// The indent of what stands below `indent`.
fn deeper(indent: usize, in_list: bool) -> usize {
    if in_list { indent + 2 } else { STEP * ((indent + STEP) / STEP) }
}

/// `open` says that the first line was begun already, behind the `- ` of a list.
fn map(entries: &[(String, Value)], indent: usize, mut open: Option<()>, out: &mut String) {
    for (key, value) in entries {
        if value.is_comment() {
            comment(value, indent, &mut open, out);
            continue;
        }
        if open.take().is_none() {
            pad(indent, out);
        }
        if key.len() > SIMPLE_KEY_MAX || key.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
            out.push_str("? ");
            text(key, deeper(indent, false), true, out);
            out.push('\n');
            pad(indent, out);
            out.push(':');
        } else {
            text(key, indent, false, out);
            out.push(':');
        }
        below(value, indent, false, out);
    }
}

/// What follows a `:` or a `-`, to the end of its line or lines.
fn below(value: &Value, indent: usize, in_list: bool, out: &mut String) {
    match value {
        Value::Null => out.push_str(" null\n"),
        Value::Comment(_) => {}
        Value::Leaf(leaf) => {
            out.push(' ');
            scalar(leaf, deeper(indent, in_list), out);
            if !out.ends_with('\n') {
                out.push('\n');
            }
        }
        Value::List(items) if items.iter().all(Value::is_comment) => {
            out.push_str(" []\n");
            items.iter().for_each(|item| comment(item, deeper(indent, in_list), &mut None, out));
        }
        Value::Map(entries) if entries.iter().all(|(_, value)| value.is_comment()) => {
            out.push_str(" {}\n");
            entries.iter().for_each(|(_, value)| comment(value, deeper(indent, in_list), &mut None, out));
        }
        Value::Map(entries) => {
            out.push('\n');
            map(entries, deeper(indent, in_list), None, out);
        }
        Value::List(items) => {
            out.push('\n');
            list(items, deeper(indent, in_list), None, out);
        }
    }
}

fn list(items: &[Value], indent: usize, mut open: Option<()>, out: &mut String) {
    for item in items {
        if item.is_comment() {
            comment(item, indent, &mut open, out);
            continue;
        }
        // Comments at the head of a mapping that the dash begins stand above the dash.
        let mut begun = None;
        if let Value::Map(entries) = item
            && let Some(count) = entries.iter().position(|(_, value)| !value.is_comment())
        {
            let (head, rest) = entries.split_at(count);
            head.iter().for_each(|(_, value)| comment(value, indent, &mut open, out));
            begun = Some(rest);
        }
        if open.take().is_none() {
            pad(indent, out);
        }
        out.push('-');
        match (begun, item) {
            (Some(entries), _) => {
                out.push(' ');
                map(entries, indent + 2, Some(()), out);
            }
            (None, Value::List(items)) if !items.iter().all(Value::is_comment) => {
                out.push(' ');
                list(items, indent + 2, Some(()), out);
            }
            (None, _) => below(item, indent, true, out),
        }
    }
}

fn scalar(leaf: &Leaf, indent: usize, out: &mut String) {
    let bytes = leaf.text.expose();
    let Ok(plain) = std::str::from_utf8(bytes) else {
        out.push_str("!!binary ");
        return STANDARD.encode_string(bytes, out);
    };
    match leaf.kind {
        LeafKind::Text | LeafKind::Bytes => text(plain, indent, true, out),
        LeafKind::Bool => out.push_str(if plain == "True" { "true" } else { "false" }),
        LeafKind::Float => match plain {
            "NaN" => out.push_str(".nan"),
            "+Inf" => out.push_str(".inf"),
            "-Inf" => out.push_str("-.inf"),
            number => out.push_str(&number.parse().map_or_else(|_| number.to_owned(), go::float_short)),
        },
        LeafKind::Int | LeafKind::Time => out.push_str(plain),
    }
}

/// How a text may be written: what the analysis of its characters leaves.
struct Allowed {
    plain: bool,
    single: bool,
    block: bool,
}

fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{A0}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}') && c != '\u{FEFF}'
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Which styles keep the text, as libyaml's emitter decides it.
fn analyze(text: &str) -> Allowed {
    if text.is_empty() {
        return Allowed { plain: true, single: true, block: false };
    }
    let mut indicators = text.starts_with("---") || text.starts_with("...");
    let (mut special, mut tabs, mut breaks) = (false, false, false);
    let (mut edge, mut trailing_space, mut break_space, mut space_break) = (false, false, false, false);
    let (mut after_blank, mut after_space, mut after_break) = (true, false, false);
    let mut characters = text.chars().peekable();
    let mut first = true;
    while let Some(c) = characters.next() {
        let next = characters.peek();
        let blank_follows = next.is_none_or(|next| matches!(next, ' ' | '\t') || is_break(*next));
        indicators |= match c {
            '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
            | '`'
                if first =>
            {
                true
            }
            '?' | '-' if first => blank_follows,
            ':' => blank_follows,
            '#' => after_blank,
            _ => false,
        };
        if c == '\t' {
            tabs = true;
        } else if !is_printable(c) {
            special = true;
        }
        let last = next.is_none();
        if c == ' ' {
            edge |= first || last;
            trailing_space |= last;
            break_space |= after_break;
            (after_space, after_break) = (true, false);
        } else if is_break(c) {
            breaks = true;
            edge |= first || last;
            space_break |= after_space;
            (after_space, after_break) = (false, true);
        } else {
            (after_space, after_break) = (false, false);
        }
        after_blank = matches!(c, ' ' | '\t') || is_break(c);
        first = false;
    }
    Allowed {
        plain: !(indicators || edge || break_space || space_break || tabs || special || breaks),
        single: !(break_space || space_break || tabs || special),
        block: !(trailing_space || space_break || special),
    }
}

/// Whether a text would be read as a text without quotes, also by readers of YAML 1.1.
fn reads_as_text(text: &str) -> bool {
    const OLD: [&str; 16] =
        ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off", "OFF"];
    let text_only = matches!(go::read(text, Style::Plain, None), Ok(go::Scalar::Leaf(LeafKind::Text, _)));
    text_only && text != "<<" && !OLD.contains(&text) && !is_base60(text)
}

/// `22:22`, a number to the base of 60 in YAML 1.1.
fn is_base60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let mut parts = whole.split(':');
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let head =
        parts.next().is_some_and(|head| head.starts_with(|c: char| c.is_ascii_digit()) && digits(head));
    let rest: Vec<&str> = parts.collect();
    let sixty = |part: &&str| {
        let bytes = part.as_bytes();
        matches!(bytes, [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9'])
    };
    head && !rest.is_empty() && rest.iter().all(sixty) && digits(fraction)
}

/// A text in the style that sops would choose; `block` where lines of its own may follow.
fn text(text: &str, indent: usize, block: bool, out: &mut String) {
    let allowed = analyze(text);
    if block && text.contains('\n') && allowed.block {
        return literal(text, indent, out);
    }
    if text.contains('\n') || !reads_as_text(text) {
        return double(text, out);
    }
    if allowed.plain {
        out.push_str(text);
    } else if allowed.single {
        out.push('\'');
        for c in text.chars() {
            out.push(c);
            if c == '\'' {
                out.push('\'');
            }
        }
        out.push('\'');
    } else {
        double(text, out);
    }
}

fn literal(text: &str, indent: usize, out: &mut String) {
    out.push('|');
    if text.starts_with(' ') || text.starts_with(is_break) {
        out.push('4');
    }
    let body = text.trim_end_matches('\n');
    match text.len() - body.len() {
        0 => out.push('-'),
        1 if !body.is_empty() => {}
        _ => out.push('+'),
    }
    out.push('\n');
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if !line.is_empty() {
            pad(indent, out);
            out.push_str(line);
        }
        out.push('\n');
    }
}

/// A text in double quotes, on one line.
pub fn double(text: &str, out: &mut String) {
    // sops's writer escapes every character of a text that begins with a byte order mark.
    let all = text.starts_with('\u{FEFF}');
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{B}' => out.push_str("\\v"),
            '\u{C}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\u{1B}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{A0}' if all => out.push_str("\\_"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            c if is_printable(c) && !reorders(c) && !all => out.push(c),
            c => {
                let number = u32::from(c);
                let (sign, digits) = match number {
                    0..=0xFF => ('x', 2),
                    0x100..=0xFFFF => ('u', 4),
                    _ => ('U', 8),
                };
                out.push('\\');
                out.push(sign);
                for shift in (0..digits).rev() {
                    let digit = char::from_digit(number >> (shift * 4) & 0xF, 16).unwrap_or('0');
                    out.push(digit.to_ascii_uppercase());
                }
            }
        }
    }
    out.push('"');
}

/// Characters that change what a person sees, in quotes at least.
fn reorders(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}
