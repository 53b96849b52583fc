//! How YAML reads a scalar: the core schema of YAML 1.2, and where older readers disagree with it.

/// What a scalar is by the core schema (YAML 1.2.2, section 10.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoreType {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`, also capitalised or in capitals.
    Bool,
    /// Decimal, `0o` octal or `0x` hexadecimal digits.
    Int,
    /// A decimal fraction, an exponent, `.inf` or `.nan`.
    Float,
    /// Everything else, and everything in quotes.
    String,
}

impl CoreType {
    /// The word for it in messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Int => "an integer",
            Self::Float => "a fraction",
            Self::String => "a text",
        }
    }
}

/// Why a plain scalar means one thing here and may mean another elsewhere, or to its writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambiguity {
    /// `no`, `yes`, `on`, `off`: a text here, a boolean in YAML 1.1.
    OldBoolean,
    /// `014`: fourteen here, octal twelve in YAML 1.1.
    LeadingZero,
    /// `22:22`: a text here, a number to base 60 in YAML 1.1.
    Sexagesimal,
    /// `3.10`: a fraction that loses its last zero.
    TrailingZero,
    /// `1e3`: a fraction here, a text in YAML 1.1.
    Exponent,
    /// `1_000`, `0b11`: a text here, a number in YAML 1.1.
    OldNumber,
}

impl Ambiguity {
    /// How the scalar reads, for a message after "`3.10`".
    #[must_use]
    pub fn reading(self) -> &'static str {
        match self {
            Self::OldBoolean => "is a text here and a boolean to older YAML readers",
            Self::LeadingZero => "is decimal here and octal to older YAML readers",
            Self::Sexagesimal => "is a text here and a number to base 60 to older YAML readers",
            Self::TrailingZero => "is a fraction, which has no trailing zero",
            Self::Exponent => "is a fraction here and a text to older YAML readers",
            Self::OldNumber => "is a text here and a number to older YAML readers",
        }
    }
}

/// A name of letters, digits, `-` and `_` as it has to be written for every reader to take it for a text: in
/// quotes where it could be a number, a date, a boolean or null.
#[must_use]
pub fn written(name: &str) -> String {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = starts && !word.iter().any(|word| name.eq_ignore_ascii_case(word));
    if plain { name.to_owned() } else { format!("\"{name}\"") }
}

/// Reads a plain scalar by the core schema.
pub(super) fn core_type(text: &str) -> CoreType {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => CoreType::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => CoreType::Bool,
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" => {
            CoreType::Float
        }
        ".nan" | ".NaN" | ".NAN" => CoreType::Float,
        _ if is_int(text) => CoreType::Int,
        _ if is_float(text) => CoreType::Float,
        _ => CoreType::String,
    }
}

/// Says whether a plain scalar is one of the well-known traps.
pub(super) fn ambiguous(text: &str) -> Option<Ambiguity> {
    const BOOLEANS: [&str; 4] = ["yes", "no", "on", "off"];
    if BOOLEANS.iter().any(|word| cased(text, word)) {
        return Some(Ambiguity::OldBoolean);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if unsigned.len() > 1 && unsigned.starts_with('0') && digits(unsigned) {
        return Some(Ambiguity::LeadingZero);
    }
    if let Some((first, rest)) = unsigned.split_once(':') {
        let sixty = |part: &str| digits(part) && part.len() <= 2 && part.as_bytes()[0] < b'6';
        let parts: Vec<&str> = rest.split(':').collect();
        let last_fraction = parts.last().and_then(|last| last.split_once('.')).map(|(whole, _)| whole);
        let (last, middle) = parts.split_last().map_or(("", &[][..]), |(last, middle)| (*last, middle));
        let base60 = digits(first)
            && middle.iter().all(|part| sixty(part))
            && (sixty(last) || last_fraction.is_some_and(sixty));
        return base60.then_some(Ambiguity::Sexagesimal);
    }
    if unsigned.contains('_') || unsigned.starts_with("0b") {
        let plain = unsigned.replace('_', "");
        let binary = plain
            .strip_prefix("0b")
            .is_some_and(|bits| !bits.is_empty() && bits.bytes().all(|b| b == b'0' || b == b'1'));
        let starts = unsigned.starts_with(|c: char| c.is_ascii_digit());
        return (starts && (binary || is_int(&plain) || is_float(&plain))).then_some(Ambiguity::OldNumber);
    }
    if is_int(text) || !is_float(text) {
        return None;
    }
    if text.contains(['e', 'E']) {
        return Some(Ambiguity::Exponent);
    }
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    (fraction.len() > 1 && fraction.ends_with('0')).then_some(Ambiguity::TrailingZero)
}

/// Whether `text` is `word` in lower case, in capitals, or with one capital.
fn cased(text: &str, word: &str) -> bool {
    text.eq_ignore_ascii_case(word) && {
        let rest = &text[1..];
        let (lower, upper) = (|b: u8| b.is_ascii_lowercase(), |b: u8| b.is_ascii_uppercase());
        rest.bytes().all(lower) || text.bytes().all(upper)
    }
}

fn is_int(text: &str) -> bool {
    if let Some(octal) = text.strip_prefix("0o") {
        return !octal.is_empty() && octal.bytes().all(|b| (b'0'..=b'7').contains(&b));
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (number, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    let number_fits = match number.split_once('.') {
        Some((whole, fraction)) => {
            digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty())
        }
        None => !number.is_empty() && digits(number),
    };
    exponent_fits && number_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: CoreType, trap: Option<Ambiguity>) {
        assert_eq!((core_type(text), ambiguous(text)), (want, trap), "{text:?}");
    }

    #[test]
    fn the_core_schema_decides() {
        use CoreType::{Bool, Float, Int, Null, String};
        for text in ["", "~", "null", "Null", "NULL"] {
            check(text, Null, None);
        }
        for text in ["true", "True", "TRUE", "false", "False", "FALSE"] {
            check(text, Bool, None);
        }
        for text in ["0", "7", "-19", "+3", "0o14", "0xFf", "123456789012345678901234567890"] {
            check(text, Int, None);
        }
        for text in ["1.5", "-0.1", ".5", "5.", "1.0", ".inf", "-.INF", ".nan"] {
            check(text, Float, None);
        }
        for text in ["abc", "nULL", "tRUE", "0o8", "0x", "1.2.3", ".", "-", "+", "e3", "1e", "10m", "+.nan"] {
            check(text, String, None);
        }
    }

    #[test]
    fn the_traps_are_named() {
        use Ambiguity::{Exponent, LeadingZero, OldBoolean, OldNumber, Sexagesimal, TrailingZero};
        for text in ["no", "No", "NO", "yes", "on", "OFF", "Off"] {
            check(text, CoreType::String, Some(OldBoolean));
        }
        for text in ["nO", "oN", "note", "y"] {
            check(text, CoreType::String, None);
        }
        check("014", CoreType::Int, Some(LeadingZero));
        check("-007", CoreType::Int, Some(LeadingZero));
        for text in ["22:22", "1:00:59", "190:20:30.15", "-1:30"] {
            check(text, CoreType::String, Some(Sexagesimal));
        }
        for text in ["22:60", "22:", ":22", "a:22", "127.0.0.1:80", "host:443", "2024-05-06T07:08:09Z"] {
            check(text, CoreType::String, None);
        }
        check("3.10", CoreType::Float, Some(TrailingZero));
        check("1.00", CoreType::Float, Some(TrailingZero));
        check("1e3", CoreType::Float, Some(Exponent));
        check("12e03", CoreType::Float, Some(Exponent));
        check("1.5E+10", CoreType::Float, Some(Exponent));
        check("1_000", CoreType::String, Some(OldNumber));
        check("0b11", CoreType::String, Some(OldNumber));
        check("0b12", CoreType::String, None);
        check("snake_case", CoreType::String, None);
    }
}
