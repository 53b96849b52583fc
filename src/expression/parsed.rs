//! Expressions that were read before.

use std::collections::BTreeMap;

use super::{Expression, ExpressionError};

/// Expressions that are kept; those of a fleet are mostly the same few.
const KEPT_MAX: usize = 256;

/// Expressions by their text: the same text is read once. Only what could be read is kept, and no more than 256.
#[derive(Clone, Debug, Default)]
pub struct Parsed(BTreeMap<String, Expression>);

impl Parsed {
    /// As [`Expression::parse`].
    ///
    /// # Errors
    /// Those of [`Expression::parse`].
    pub fn expression(&mut self, text: &str) -> Result<Expression, ExpressionError> {
        if let Some(known) = self.0.get(text) {
            return Ok(known.clone());
        }
        let expression = Expression::parse(text)?;
        if self.0.len() < KEPT_MAX {
            self.0.insert(text.to_owned(), expression.clone());
        }
        Ok(expression)
    }
}
