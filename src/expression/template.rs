//! A text with `${{ … }}` in it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::values::kind;
use super::{Expression, ExpressionError, Kind, Kinds, Parsed, RESULT_BYTES_MAX, References, Scope};

/// Bytes of the longest template.
pub const TEMPLATE_BYTES_MAX: usize = 64 * 1024;
/// Expressions one template may hold.
pub const TEMPLATE_EXPRESSIONS_MAX: usize = 64;

/// A text whose `${{ … }}` are replaced by values. One that is nothing but one `${{ … }}` keeps its type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Expression(Expression),
}

/// Why a text is no template, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `${{` without `}}`.
    #[error("`${{{{` is never closed by `}}}}`")]
    Unclosed {
        /// Bytes before the `${{`.
        offset: usize,
    },
    /// What stands between is no expression.
    #[error("{cause}")]
    Expression {
        /// Bytes before the place, in the whole text.
        offset: usize,
        /// Why.
        #[source]
        cause: ExpressionError,
    },
    /// Longer than 64 KiB or with more than 64 expressions.
    #[error(
        "a text with expressions has at most {TEMPLATE_BYTES_MAX} bytes and {TEMPLATE_EXPRESSIONS_MAX} expressions"
    )]
    TooLong,
}

impl TemplateError {
    /// Bytes before the place in the whole text.
    #[must_use]
    pub const fn offset(&self) -> usize {
        match self {
            Self::Unclosed { offset } | Self::Expression { offset, .. } => *offset,
            Self::TooLong => 0,
        }
    }
}

impl Template {
    /// True if the text holds the mark of an expression.
    #[must_use]
    pub fn is_marked(text: &str) -> bool {
        text.contains("${{")
    }

    /// Reads a text; one without `${{` stands for itself.
    ///
    /// # Errors
    /// The first expression that is not closed or not one.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        Self::parse_with(text, &mut Parsed::default())
    }

    /// The same with expressions that were read before.
    ///
    /// # Errors
    /// As [`Template::parse`].
    pub fn parse_with(text: &str, parsed: &mut Parsed) -> Result<Self, TemplateError> {
        if !Self::is_marked(text) {
            return Ok(Self { text: text.to_owned(), parts: vec![Part::Text(text.to_owned())] });
        }
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::TooLong);
        }
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(found) = text[at..].find("${{") {
            let start = at + found;
            let inside = start + 3;
            let length = closing(&text[inside..]).ok_or(TemplateError::Unclosed { offset: start })?;
            if start > at {
                parts.push(Part::Text(text[at..start].to_owned()));
            }
            let written = &text[inside..inside + length];
            let trimmed = written.trim();
            let indent = written.len() - written.trim_start().len();
            let expression = parsed.expression(trimmed).map_err(|cause| TemplateError::Expression {
                offset: inside + indent + cause.offset().unwrap_or(0),
                cause,
            })?;
            parts.push(Part::Expression(expression));
            if parts.len() > 2 * TEMPLATE_EXPRESSIONS_MAX {
                return Err(TemplateError::TooLong);
            }
            at = inside + length + 2;
        }
        if at < text.len() {
            parts.push(Part::Text(text[at..].to_owned()));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// As written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True if nothing is to be evaluated.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        !self.parts.iter().any(|part| matches!(part, Part::Expression(_)))
    }

    /// The names that its expressions read.
    #[must_use]
    pub fn references(&self) -> References {
        let mut all = References::default();
        for part in &self.parts {
            if let Part::Expression(expression) = part {
                all.merge(expression.references());
            }
        }
        all
    }

    /// Finds what can never have a value, or never stand in a text, whatever the values are.
    ///
    /// # Errors
    /// The first mistake of types.
    pub fn check_kinds(&self, kinds: &Kinds) -> Result<(), ExpressionError> {
        let alone = self.parts.len() == 1;
        for part in &self.parts {
            let Part::Expression(expression) = part else { continue };
            match expression.kind(kinds)? {
                Kind::List if !alone => return Err(ExpressionError::NotScalar("a list")),
                Kind::Map if !alone => return Err(ExpressionError::NotScalar("a map")),
                _ => {}
            }
        }
        Ok(())
    }

    /// Replaces the expressions by their values.
    ///
    /// # Errors
    /// Those of [`Expression::evaluate`]; `NotScalar` for a list, a map or null inside a text.
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, ExpressionError> {
        if let [Part::Expression(only)] = self.parts.as_slice() {
            return only.evaluate(scope);
        }
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Expression(expression) => match expression.evaluate(scope)? {
                    Value::String(value) => text.push_str(&value),
                    Value::Bool(value) => text.push_str(if value { "true" } else { "false" }),
                    Value::Number(value) => text.push_str(&value.to_string()),
                    other => return Err(ExpressionError::NotScalar(kind(&other))),
                },
            }
            if text.len() > RESULT_BYTES_MAX {
                return Err(ExpressionError::TooLarge);
            }
        }
        Ok(Value::String(text))
    }
}

impl TryFrom<String> for Template {
    type Error = TemplateError;
    fn try_from(text: String) -> Result<Self, TemplateError> {
        Self::parse(&text)
    }
}
impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.text
    }
}

/// Bytes before the `}}` that closes: one that stands in no text literal and closes no map.
fn closing(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut quote: Option<u8> = None;
    let mut open = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(_), b'\\') => at += 1,
            (Some(mark), found) if mark == found => quote = None,
            (None, mark @ (b'\'' | b'"')) => quote = Some(mark),
            (None, b'{') => open += 1,
            (None, b'}') if open > 0 => open -= 1,
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            (None | Some(_), _) => {}
        }
        at += 1;
    }
    None
}

/// The input that a text is, where it is `${{ inputs.NAME }}` and nothing else.
#[must_use]
pub fn whole_input(text: &str) -> Option<&str> {
    text.trim().strip_prefix("${{")?.strip_suffix("}}")?.trim().strip_prefix("inputs.")
}
