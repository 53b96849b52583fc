//! Offsets of a text to lines and columns.

use crate::domain::{Position, Span};

/// Knows the place of each offset, cheaply for those that grow.
pub struct Places<'t> {
    text: &'t str,
    at: Position,
}

impl<'t> Places<'t> {
    pub fn new(text: &'t str) -> Self {
        Self { text, at: Position { offset: 0, line: 1, column: 1 } }
    }

    fn position(&mut self, offset: usize) -> Position {
        if offset < self.at.offset {
            self.at = Position { offset: 0, line: 1, column: 1 };
        }
        for c in self.text[self.at.offset..offset].chars() {
            if c == '\n' {
                self.at.line += 1;
                self.at.column = 1;
            } else {
                self.at.column += 1;
            }
        }
        self.at.offset = offset;
        self.at
    }

    /// Both ends have to lie between characters.
    pub fn span(&mut self, start: usize, end: usize) -> Span {
        Span { start: self.position(start), end: self.position(end) }
    }
}
