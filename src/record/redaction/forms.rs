//! The shapes in which a value shows up in output.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde::Serialize;
use zeroize::Zeroizing;

use super::broken::BEFORE_BREAK_MIN;
use super::{VALUE_BYTES_MIN, redactable_bytes};

/// One of them; the order decides which one a hit counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// As it is.
    Raw,
    /// Without white space at its ends.
    Trimmed,
    /// One of its lines.
    Line,
    /// A text inside it: a leaf of a JSON value, the password of a URL.
    Part,
    /// Base64 at any of its three alignments.
    Base64,
    /// Base64 with `-` and `_`.
    Base64Url,
    /// Base64 of its base64.
    Base64Twice,
    /// Hexadecimal, lower or upper case.
    Hex,
    /// With `%XX`, as in URLs and forms.
    Percent,
    /// With JSON's escapes.
    Json,
    /// With XML's escapes.
    Xml,
    /// In single quotes of a shell.
    Shell,
    /// UTF-16, little endian.
    Utf16,
}

impl Form {
    /// The word for it in records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Trimmed => "trimmed",
            Self::Line => "line",
            Self::Part => "part",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
            Self::Base64Twice => "base64_twice",
            Self::Hex => "hex",
            Self::Percent => "percent",
            Self::Json => "json",
            Self::Xml => "xml",
            Self::Shell => "shell",
            Self::Utf16 => "utf16",
        }
    }
}

pub(super) type Text = Zeroizing<Vec<u8>>;

/// All forms of a value that are long enough to be looked for, each text once.
pub(super) fn all(value: &[u8]) -> Vec<(Form, Text)> {
    let mut found = Collected::default();
    found.add(Form::Raw, value);
    let trimmed = value.trim_ascii();
    found.add(Form::Trimmed, trimmed);
    found.lines(value);
    let parts = parts(trimmed);
    for part in &parts {
        found.part(part);
        found.lines(part);
    }
    found.encodings(value);
    if trimmed != value {
        found.encodings(trimmed);
    }
    // Whoever encodes a password takes it out of its URL first.
    for part in parts.iter().filter(|part| redactable_bytes(part).is_ok() && part.len() <= PART_BYTES_MAX) {
        found.encodings(part);
    }
    found.texts
}

/// Bytes of the longest part of a value whose encodings are looked for too.
const PART_BYTES_MAX: usize = 2 << 10;

#[derive(Default)]
struct Collected {
    texts: Vec<(Form, Text)>,
}

impl Collected {
    fn add(&mut self, form: Form, text: &[u8]) {
        if text.len() < VALUE_BYTES_MIN {
            return;
        }
        if self.texts.iter().all(|(_, known)| known.as_slice() != text) {
            self.texts.push((form, Zeroizing::new(text.to_vec())));
        }
    }

    /// Tools break these into lines. A break that leaves less of it on the first line than
    /// [`BEFORE_BREAK_MIN`] is not seen as one: the rest is looked for by itself.
    fn breakable(&mut self, form: Form, text: &[u8]) {
        self.add(form, text);
        for without in (1..BEFORE_BREAK_MIN).filter_map(|first| text.get(first..)) {
            self.add(form, without);
        }
    }

    fn part(&mut self, part: &[u8]) {
        if redactable_bytes(part).is_ok() {
            self.add(Form::Part, part);
        }
    }

    /// A line that other texts hold as well, such as the frame of a PEM file, tells nothing and is left.
    fn lines(&mut self, value: &[u8]) {
        if !value.trim_ascii().contains(&b'\n') {
            return;
        }
        for line in value.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            if !line.starts_with(b"-----") && redactable_bytes(line).is_ok() {
                self.add(Form::Line, line);
            }
        }
    }

    fn encodings(&mut self, value: &[u8]) {
        // `echo "$VALUE" | base64` encodes the line break with it.
        let mut with_break = Zeroizing::new(Vec::with_capacity(value.len() + 1));
        with_break.extend_from_slice(value);
        with_break.push(b'\n');
        for text in [value, &with_break] {
            for at in 0..3 {
                let standard = base64_at(text, at, &STANDARD_NO_PAD);
                self.add(Form::Base64, &standard.whole);
                self.breakable(Form::Base64, &standard.inner);
                let url = base64_at(text, at, &URL_SAFE_NO_PAD);
                self.add(Form::Base64Url, &url.whole);
                self.breakable(Form::Base64Url, &url.inner);
                // The encoded text is encoded once more from its beginning; its padding only adds to the end.
                if at == 0 {
                    for again in 0..3 {
                        self.add(
                            Form::Base64Twice,
                            &base64_at(&standard.inner, again, &STANDARD_NO_PAD).inner,
                        );
                    }
                }
            }
        }
        self.breakable(Form::Hex, Zeroizing::new(hex::encode(value)).as_bytes());
        self.breakable(Form::Hex, Zeroizing::new(hex::encode_upper(value)).as_bytes());
        for kept in ["", "/", "!'()*", "/:@!$&'()*+,;="] {
            for upper in [true, false] {
                self.add(Form::Percent, &percent(value, kept, upper, false));
                self.add(Form::Percent, &percent(value, kept, upper, true));
            }
        }
        if let Ok(text) = std::str::from_utf8(value) {
            for style in [JsonStyle::Least, JsonStyle::Slash, JsonStyle::Html, JsonStyle::Ascii] {
                self.add(Form::Json, &json(text, style));
            }
            self.add(Form::Xml, &xml(text, "&apos;"));
            self.add(Form::Xml, &xml(text, "&#39;"));
            self.add(Form::Shell, text.replace('\'', "'\\''").as_bytes());
            self.add(Form::Utf16, &text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>());
        }
    }
}

struct Base64Text {
    /// Up to the last character, as at the end of what was encoded.
    whole: Text,
    /// Only characters that no byte around the value takes part in.
    inner: Text,
}

/// The base64 of a value that begins `at` bytes into what is encoded.
fn base64_at(value: &[u8], at: usize, engine: &impl Engine) -> Base64Text {
    let mut padded = Zeroizing::new(vec![0; at]);
    padded.extend_from_slice(value);
    let encoded = Zeroizing::new(engine.encode(&*padded).into_bytes());
    let first = (8 * at).div_ceil(6);
    let last = 8 * padded.len() / 6;
    let cut = |to: usize| Zeroizing::new(encoded.get(first..to).unwrap_or_default().to_vec());
    Base64Text { whole: cut(encoded.len()), inner: cut(last) }
}

fn percent(value: &[u8], kept: &str, upper: bool, plus: bool) -> Text {
    let digits: &[u8; 16] = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    let mut out = Zeroizing::new(Vec::with_capacity(value.len() * 3));
    for byte in value {
        match byte {
            b' ' if plus => out.push(b'+'),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(*byte),
            byte if kept.as_bytes().contains(byte) => out.push(*byte),
            byte => {
                out.extend([b'%', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
            }
        }
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum JsonStyle {
    /// What has to be escaped.
    Least,
    /// `/` as well.
    Slash,
    /// `<`, `>` and `&` as well, as Go does.
    Html,
    /// All that is not ASCII as well, as Python does.
    Ascii,
}

fn json(text: &str, style: JsonStyle) -> Text {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len() * 6));
    let number = |out: &mut Vec<u8>, unit: u16| {
        let digit = |shift: u16| b"0123456789abcdef"[usize::from(unit >> shift & 15)];
        out.extend([b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
    };
    for c in text.chars() {
        match c {
            '"' => out.extend(b"\\\""),
            '\\' => out.extend(b"\\\\"),
            '\n' => out.extend(b"\\n"),
            '\r' => out.extend(b"\\r"),
            '\t' => out.extend(b"\\t"),
            '\u{8}' => out.extend(b"\\b"),
            '\u{c}' => out.extend(b"\\f"),
            '/' if style == JsonStyle::Slash => out.extend(b"\\/"),
            c if c < ' '
                || (style == JsonStyle::Html && matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}'))
                || (style == JsonStyle::Ascii && !c.is_ascii()) =>
            {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    number(&mut out, *unit);
                }
            }
            c => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}

fn xml(text: &str, apostrophe: &str) -> Text {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len() * 6));
    for c in text.chars() {
        match c {
            '&' => out.extend(b"&amp;"),
            '<' => out.extend(b"&lt;"),
            '>' => out.extend(b"&gt;"),
            '"' => out.extend(b"&quot;"),
            '\'' => out.extend(apostrophe.as_bytes()),
            c => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}

/// What inside a value is a secret by itself.
fn parts(value: &[u8]) -> Vec<Text> {
    let mut found = Vec::new();
    if value.starts_with(b"{") || value.starts_with(b"[") {
        found.extend(json_leaves(value));
    }
    if let Some(password) = url_password(value) {
        found.push(Zeroizing::new(password.to_vec()));
        found.push(unpercent(password));
    }
    found.extend(pem_body(value));
    found
}

/// What stands between the first and the last line of a PEM file, in one line.
fn pem_body(value: &[u8]) -> Option<Text> {
    let rest = value.strip_prefix(b"-----BEGIN ")?;
    let begin = rest.windows(5).position(|five| five == b"-----")? + 5;
    let end = rest.windows(9).position(|nine| nine == b"-----END ")?;
    let body = rest.get(begin..end)?.iter().copied().filter(|byte| !byte.is_ascii_whitespace());
    Some(Zeroizing::new(body.collect()))
}

/// The texts of a JSON value that are no keys. Reads leniently: what is no JSON gives some texts too many.
fn json_leaves(value: &[u8]) -> Vec<Text> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(open) = value[at..].iter().position(|byte| *byte == b'"').map(|open| at + open) {
        let mut close = open + 1;
        while close < value.len() && value[close] != b'"' {
            close += if value[close] == b'\\' { 2 } else { 1 };
        }
        if close >= value.len() {
            return found;
        }
        let is_key = value[close + 1..].trim_ascii_start().starts_with(b":");
        if !is_key {
            // Decoded by the reader that knows all escapes; its text is overwritten when dropped.
            let decoded = serde_json::from_slice::<String>(&value[open..=close]);
            found.extend(decoded.ok().map(|text| Zeroizing::new(text.into_bytes())));
        }
        at = close + 1;
    }
    found
}

/// What stands between the first `:` and the last `@` of a URL's authority.
fn url_password(value: &[u8]) -> Option<&[u8]> {
    let scheme = value.windows(3).position(|three| three == b"://")?;
    let rest = &value[scheme + 3..];
    let authority =
        &rest[..rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len())];
    // A password may hold an unescaped `/`; its `@` then comes later.
    let authority = if authority.contains(&b'@') { authority } else { rest };
    let at = authority.iter().rposition(|byte| *byte == b'@')?;
    let colon = authority[..at].iter().position(|byte| *byte == b':')?;
    Some(&authority[colon + 1..at])
}

fn unpercent(text: &[u8]) -> Text {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut at = 0;
    while at < text.len() {
        let digits = text.get(at + 1..at + 3).filter(|_| text[at] == b'%');
        let byte = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        out.push(byte.unwrap_or(text[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    out
}
