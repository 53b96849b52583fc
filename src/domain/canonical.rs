//! Canonical JSON (RFC 8785) and digests over it.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Writes a value as canonical JSON: keys in UTF-16 order, no spaces, shortest escapes and numbers.
///
/// Source: RFC 8785. Numbers beyond 2^53 that are whole keep all their digits, which RFC 8785 leaves to the
/// producer; two equal values give equal text either way.
#[must_use]
pub fn canonical_json(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_text(key, out);
                out.push(':');
                write_value(item, out);
            }
            out.push('}');
        }
    }
}

fn write_number(number: &serde_json::Number, out: &mut String) {
    match number.as_f64() {
        Some(float) if !number.is_i64() && !number.is_u64() => {
            // ECMAScript writes whole floats below 1e21 without a point, and exponents with a sign.
            let text = if float == 0.0 {
                "0".to_owned()
            } else if float.abs() >= 1e21 || float.abs() < 1e-6 {
                let text = format!("{float:e}");
                match text.split_once('e') {
                    Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
                    _ => text,
                }
            } else {
                format!("{float}")
            };
            out.push_str(&text);
        }
        _ => {
            let _ = write!(out, "{number}");
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// SHA-256 over the canonical JSON of a value, as `sha256:` and 64 hex digits.
///
/// # Panics
/// Never for domain types: they hold only string keys and finite numbers.
#[must_use]
pub fn digest_of<T: Serialize>(value: &T) -> String {
    // INVARIANT: domain types serialise; a map with other than string keys would be a mistake of ours.
    let value =
        serde_json::to_value(value).unwrap_or_else(|error| panic!("a domain type serialises: {error}"));
    format!("sha256:{}", hex::encode(Sha256::digest(canonical_json(&value).as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_json_follows_rfc_8785() {
        // The example of RFC 8785, section 3.2.3, its numbers within what serde_json reads exactly.
        let value: Value = serde_json::from_str(
            r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#,
        )
        .unwrap();
        assert_eq!(
            canonical_json(&value),
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#
        );
    }

    #[test]
    fn keys_stand_in_utf_16_order() {
        let value: Value = serde_json::from_str(r#"{"\ufb33":1,"\ud83d\ude00":2,"a":3}"#).unwrap();
        assert_eq!(canonical_json(&value), "{\"a\":3,\"\u{1f600}\":2,\"\u{fb33}\":1}");
    }
}
