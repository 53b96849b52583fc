//! The functions an expression may call: CEL's own, `matches` with bounds, and `day`.

use cel::common::ast::operators;
use cel::common::types::{CelBool, CelInt, CelString, INT_TYPE, STRING_TYPE};
use cel::common::value::CowVal;
use cel::{DeclarationError, Env, ExecutionError};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp, civil};

use super::ExpressionError;

/// What may be called, for messages and for the check of names. The loops (`all`, `map`, …) are macros of the parser.
pub(super) const NAMES: [&str; 21] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "bytes",
    "type",
    "dyn",
    "has",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
    "day",
    "in",
];

/// Bytes a compiled regular expression may take.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// True for an operator or a name of [`NAMES`].
pub(super) fn known(name: &str) -> bool {
    const OPERATORS: [&str; 18] = [
        operators::CONDITIONAL,
        operators::LOGICAL_AND,
        operators::LOGICAL_OR,
        operators::LOGICAL_NOT,
        operators::SUBSTRACT,
        operators::ADD,
        operators::MULTIPLY,
        operators::DIVIDE,
        operators::MODULO,
        operators::EQUALS,
        operators::NOT_EQUALS,
        operators::GREATER_EQUALS,
        operators::LESS_EQUALS,
        operators::GREATER,
        operators::LESS,
        operators::NEGATE,
        operators::INDEX,
        operators::IN,
    ];
    NAMES.contains(&name) || OPERATORS.contains(&name) || name == operators::NOT_STRICTLY_FALSE
}

/// `_+_` as its reader wrote it: `+`.
pub(super) fn shown(function: &str) -> String {
    match function {
        operators::CONDITIONAL => "? :".into(),
        operators::INDEX => "[ ]".into(),
        operators::IN => "in".into(),
        "add" => "+".into(),
        "sub" => "-".into(),
        "mul" => "*".into(),
        "div" => "/".into(),
        "rem" => "%".into(),
        name if name.starts_with('_') || name.ends_with('_') => name.replace('_', ""),
        name => name.to_owned(),
    }
}

/// What went wrong inside a function, without what it was given.
pub(super) fn failure(function: &str) -> ExpressionError {
    ExpressionError::Evaluation(match function {
        "day" => {
            "`day` takes a time such as 2026-11-23T14:00:00Z or a day such as 2026-11-23, a number of days, and may take a zone"
        }
        "matches" => "`matches` takes a regular expression, and a small one",
        "int" | "uint" | "double" | "bool" => "a text or number could not be converted",
        _ => "a function could not take its values",
    })
}

/// Declares `day` and `matches`.
pub(super) fn declare(environment: &mut Env) -> Result<(), DeclarationError> {
    environment.add_overload("day", "day_utc", vec![STRING_TYPE, INT_TYPE], day)?;
    environment.add_overload("day", "day_zone", vec![STRING_TYPE, INT_TYPE, STRING_TYPE], day)?;
    environment.add_overload("matches", "matches_text", vec![STRING_TYPE, STRING_TYPE], matches)?;
    environment.add_member_overload("matches", "text_matches", STRING_TYPE, vec![STRING_TYPE], matches)
}

/// `day(time, offset)`: the day of `time` in UTC, or in the zone given third, moved by `offset` days, as `2026-11-23`.
fn day<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let wrong = || ExecutionError::function_error("day", "not a time, an offset and a zone");
    let text =
        |place: usize| args.get(place).and_then(|arg| arg.downcast_ref::<CelString>()).map(CelString::inner);
    let time = text(0).ok_or_else(wrong)?;
    let offset = args.get(1).and_then(|arg| arg.downcast_ref::<CelInt>()).ok_or_else(wrong)?;
    let zone = match text(2) {
        // Rules from the crate: the same commit means the same day on every host.
        Some(name) => TimeZoneDatabase::bundled().get(name).map_err(|_| wrong())?,
        None => TimeZone::UTC,
    };
    let day = if time.contains('T') {
        time.parse::<Timestamp>().map_err(|_| wrong())?.to_zoned(zone).date()
    } else {
        time.parse::<civil::Date>().map_err(|_| wrong())?
    };
    let span = Span::new().try_days(*offset.inner()).map_err(|_| wrong())?;
    let moved = day.checked_add(span).map_err(|_| wrong())?;
    Ok(CowVal::owned(CelString::from(moved.to_string())))
}

/// `text.matches(pattern)`: true if the pattern is found anywhere in the text. Linear in both.
fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let wrong = || ExecutionError::function_error("matches", "not a pattern");
    let text =
        |place: usize| args.get(place).and_then(|arg| arg.downcast_ref::<CelString>()).map(CelString::inner);
    let (text, pattern) = (text(0).ok_or_else(wrong)?, text(1).ok_or_else(wrong)?);
    let found = regex::RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX)
        .nest_limit(32)
        .build()
        .map_err(|_| wrong())?
        .is_match(text);
    Ok(CowVal::owned(CelBool::from(found)))
}
