//! How sops, a Go program, reads a plain scalar and writes a value back to text. The MAC is made from these texts.

use super::value::LeafKind;
use crate::yaml::{Node, Style};

/// A plaintext scalar as sops reads it.
pub(super) enum Scalar {
    Null,
    /// Its kind and its text in Go's form.
    Leaf(LeafKind, String),
}

/// Reads a scalar by the rules of YAML 1.2 with Go's remains of 1.1: `014` is octal, a date is an instant.
///
/// # Errors
/// What is wrong, as the end of a sentence.
pub(super) fn read(text: &str, style: Style, tag: Option<&str>) -> Result<Scalar, &'static str> {
    match (style, tag) {
        (_, Some("str")) | (Style::Single | Style::Double | Style::Literal | Style::Folded, None) => {
            Ok(Scalar::Leaf(LeafKind::Text, text.to_owned()))
        }
        (Style::Plain, None) => plain(text),
        (_, Some(wanted)) => {
            let found = plain(text)?;
            let fits = match &found {
                Scalar::Null => wanted == "null",
                Scalar::Leaf(LeafKind::Int, _) => matches!(wanted, "int" | "float"),
                Scalar::Leaf(LeafKind::Float, _) => wanted == "float",
                Scalar::Leaf(LeafKind::Bool, _) => wanted == "bool",
                Scalar::Leaf(LeafKind::Time, _) => wanted == "timestamp",
                Scalar::Leaf(LeafKind::Text | LeafKind::Bytes, _) => false,
            };
            if fits { Ok(found) } else { Err("has a tag that its text does not fit") }
        }
    }
}

fn plain(text: &str) -> Result<Scalar, &'static str> {
    let leaf = |kind, text: String| Ok(Scalar::Leaf(kind, text));
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Scalar::Null),
        "true" | "True" | "TRUE" => return leaf(LeafKind::Bool, "True".to_owned()),
        "false" | "False" | "FALSE" => return leaf(LeafKind::Bool, "False".to_owned()),
        ".nan" | ".NaN" | ".NAN" => return leaf(LeafKind::Float, "NaN".to_owned()),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return leaf(LeafKind::Float, "+Inf".to_owned());
        }
        "-.inf" | "-.Inf" | "-.INF" => return leaf(LeafKind::Float, "-Inf".to_owned()),
        _ => {}
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    if numeric {
        if let Some(time) = timestamp(text) {
            return leaf(LeafKind::Time, time);
        }
        let digits = if text.starts_with('.') { text.to_owned() } else { text.replace('_', "") };
        match integer(&digits) {
            Some(Ok(number)) => return leaf(LeafKind::Int, number.to_string()),
            Some(Err(())) => return Err("is a whole number that sops cannot hold"),
            None => {}
        }
        if let Some(number) = decimal(&digits) {
            return leaf(LeafKind::Float, float(number));
        }
    }
    leaf(LeafKind::Text, text.to_owned())
}

/// `None` for no integer, `Err` for one between 63 and 64 bits, which sops refuses to walk over.
fn integer(text: &str) -> Option<Result<i64, ()>> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = rest.to_ascii_lowercase();
    let (radix, digits) = if let Some(hex) = lower.strip_prefix("0x") {
        (16, hex)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        (8, octal)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        (2, binary)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let number = u64::from_str_radix(digits, radix).ok()?;
    match (negative, i64::try_from(number)) {
        (false, Ok(number)) => Some(Ok(number)),
        (false, Err(_)) => Some(Err(())),
        (true, _) => 0_i64.checked_sub_unsigned(number).map(Ok),
    }
}

fn decimal(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let shaped =
        unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
            && unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && unsigned.bytes().any(|b| b.is_ascii_digit());
    // What is left to refuse (two points, an exponent without digits), Rust refuses as Go does.
    let number: f64 = text.parse().ok().filter(|_| shaped)?;
    number.is_finite().then_some(number)
}

/// The shortest digits that read back as the same number, without an exponent.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        number.to_string()
    }
}

/// A number as YAML files of sops show it: the shortest digits, with an exponent from a million on.
pub(super) fn float_short(number: f64) -> String {
    exponent(number, |power| !(-4..6).contains(&power))
}

/// A number as JSON files of sops show it.
pub(super) fn float_json(number: f64) -> String {
    let (text, size) = (exponent(number, |_| true), number.abs());
    if number != 0.0 && !(1e-6..1e21).contains(&size) {
        // Go leaves the zero out of `e-09`, but for positive exponents, which have two digits anyway.
        return text.replace("e-0", "e-");
    }
    float(number)
}

/// `1.5e+21` where `wanted` says so of the exponent, else without one.
fn exponent(number: f64, wanted: impl FnOnce(i32) -> bool) -> String {
    let scientific = format!("{number:e}");
    let Some((digits, power)) = scientific.split_once('e') else { return float(number) };
    let power: i32 = power.parse().unwrap_or(0);
    if number == 0.0 || !wanted(power) {
        return float(number);
    }
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.abs())
}

/// Reads what sops decrypted and writes it back in Go's form.
pub(super) fn normalize(kind: LeafKind, text: &str) -> Result<String, &'static str> {
    match kind {
        LeafKind::Text | LeafKind::Bytes => Ok(text.to_owned()),
        LeafKind::Int => text
            .parse::<i64>()
            .map(|number| number.to_string())
            .map_err(|_| "is not the integer it claims to be"),
        LeafKind::Float => text.parse::<f64>().map(float).map_err(|_| "is not the number it claims to be"),
        LeafKind::Bool => match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok("True".to_owned()),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok("False".to_owned()),
            _ => Err("is not the boolean it claims to be"),
        },
        LeafKind::Time => instant(text).map(|time| time.text(true)).ok_or("is not the time it claims to be"),
    }
}

/// The additional data of the MAC: `lastmodified` to the second. `None` if it is no RFC 3339 time.
pub(super) fn last_modified(text: &str) -> Option<String> {
    instant(text).map(|time| time.text(false))
}

struct Instant<'t> {
    date: String,
    time: String,
    fraction: &'t str,
    /// `+02:00`, or `Z` for any spelling of none.
    zone: &'t str,
}

impl Instant<'_> {
    fn text(&self, with_fraction: bool) -> String {
        let fraction = self.fraction.trim_end_matches('0');
        let point = if with_fraction && !fraction.is_empty() { "." } else { "" };
        let fraction = if with_fraction { fraction } else { "" };
        format!("{}T{}{point}{fraction}{}", self.date, self.time, self.zone)
    }
}

/// Reads RFC 3339.
fn instant(text: &str) -> Option<Instant<'_>> {
    let (date, rest) = text.split_once('T')?;
    let zone_at = rest.find(['Z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone_at);
    let (time, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let strict = date.len() == 10 && time.len() == 8 && !clock.ends_with('.');
    let instant = checked(date, time, fraction, zone)?;
    strict.then_some(instant)
}

/// Reads the timestamps that Go's YAML reader takes: digits may be single, the zone or the whole time missing.
fn timestamp(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    if bytes.len() < 8 || !bytes[..4].iter().all(u8::is_ascii_digit) || bytes[4] != b'-' {
        return None;
    }
    let instant = if let Some((date, rest)) = text.split_once(['T', 't']) {
        let zone_at = rest.find(['Z', '+', '-'])?;
        let (clock, zone) = rest.split_at(zone_at);
        let (time, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        checked(date, time, fraction, zone)?
    } else if let Some((date, clock)) = text.split_once(' ') {
        let (time, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        checked(date, time, fraction, "Z")?
    } else {
        checked(text, "00:00:00", "", "Z")?
    };
    Some(instant.text(true))
}

fn checked<'t>(date: &str, time: &str, fraction: &'t str, zone: &'t str) -> Option<Instant<'t>> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let number = |part: &str, len: usize| -> Option<u32> {
        (digits(part) && part.len() <= len).then(|| part.parse().ok()).flatten()
    };
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    if parts.next().is_some() || year.len() != 4 || !digits(year) {
        return None;
    }
    let year: u32 = year.parse().ok()?;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month_days = *days.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    let mut parts = time.split(':');
    let (hour, minute, second) =
        (number(parts.next()?, 2)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let fits = parts.next().is_none()
        && (1..=month_days).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && (fraction.is_empty() || (digits(fraction) && fraction.len() <= 9));
    let zone = match zone {
        "Z" | "+00:00" | "-00:00" => "Z",
        zone => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let fits = zone.len() == 6 && number(hours, 2)? < 24 && number(minutes, 2)? < 60;
            fits.then_some(zone)?
        }
    };
    fits.then(|| Instant {
        date: format!("{year:04}-{month:02}-{day:02}"),
        time: format!("{hour:02}:{minute:02}:{second:02}"),
        fraction,
        zone,
    })
}

/// The key as sops takes it: only texts.
pub(super) fn key(node: &Node) -> Option<&str> {
    let crate::yaml::Kind::Scalar { text, style, tag } = &node.kind else { return None };
    match read(text, *style, tag.as_deref()) {
        Ok(Scalar::Leaf(LeafKind::Text, _)) => Some(text),
        Ok(Scalar::Null | Scalar::Leaf(..)) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, kind: LeafKind, want: &str) {
        match read(text, Style::Plain, None) {
            Ok(Scalar::Leaf(found, got)) => assert_eq!((found, got.as_str()), (kind, want), "{text:?}"),
            Ok(Scalar::Null) => panic!("{text:?} reads as null"),
            Err(reason) => panic!("{text:?} {reason}"),
        }
    }

    #[test]
    fn plain_scalars_read_as_go_reads_them() {
        use LeafKind::{Bool, Float, Int, Text, Time};
        check("TRUE", Bool, "True");
        check("yes", Text, "yes");
        check("014", Int, "12");
        check("0o14", Int, "12");
        check("0x1F", Int, "31");
        check("0b101", Int, "5");
        check("-0b101", Int, "-5");
        check("1_000", Int, "1000");
        check("+7", Int, "7");
        check("-9223372036854775808", Int, "-9223372036854775808");
        check("99999999999999999999", Float, "100000000000000000000");
        check("09", Float, "9");
        check("1.50", Float, "1.5");
        check("2.0", Float, "2");
        check("1e3", Float, "1000");
        check(".5", Float, "0.5");
        check("5.", Float, "5");
        check("-.INF", Float, "-Inf");
        check("1e400", Text, "1e400");
        check("1.2.3", Text, "1.2.3");
        check(".", Text, ".");
        check("-", Text, "-");
        check("22:22", Text, "22:22");
        check("2024-05-06", Time, "2024-05-06T00:00:00Z");
        check("2024-5-6", Time, "2024-05-06T00:00:00Z");
        check("2024-05-06T07:08:09.500+02:00", Time, "2024-05-06T07:08:09.5+02:00");
        check("2024-05-06 07:08:09", Time, "2024-05-06T07:08:09Z");
        check("2024-05-06t07:08:09+00:00", Time, "2024-05-06T07:08:09Z");
        check("2024-02-30", Text, "2024-02-30");
        check("2024-05-06T07:08:09", Text, "2024-05-06T07:08:09");
        check("0x", Text, "0x");
        assert!(matches!(read("~", Style::Plain, None), Ok(Scalar::Null)));
        assert!(matches!(read("5", Style::Double, None), Ok(Scalar::Leaf(Text, _))));
        assert!(read("18446744073709551615", Style::Plain, None).is_err());
        assert!(read("x", Style::Plain, Some("int")).is_err());
    }

    #[test]
    fn decrypted_values_are_written_back_in_go_form() {
        assert_eq!(normalize(LeafKind::Int, "+5").as_deref(), Ok("5"));
        assert_eq!(normalize(LeafKind::Float, "2.50").as_deref(), Ok("2.5"));
        assert_eq!(normalize(LeafKind::Bool, "t").as_deref(), Ok("True"));
        assert_eq!(
            normalize(LeafKind::Time, "2024-05-06T07:08:09.50-00:00").as_deref(),
            Ok("2024-05-06T07:08:09.5Z")
        );
        assert!(normalize(LeafKind::Time, "2024-5-6T07:08:09Z").is_err());
        assert!(normalize(LeafKind::Int, "secret").is_err());
        assert_eq!(last_modified("2026-11-23T19:15:37.9Z").as_deref(), Some("2026-11-23T19:15:37Z"));
        assert_eq!(last_modified("2026-11-23"), None);
    }
}
