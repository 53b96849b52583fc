//! From the scanner's counted characters to bytes, lines and columns, without walking the text each time.

use crate::domain::{Position, Span};

/// Characters between two remembered offsets: a look-up walks at most this many.
const STRIDE: usize = 64;

/// A text with enough marks to place any of its characters quickly.
pub(super) struct Places<'t> {
    text: &'t str,
    /// Byte offset of every `STRIDE`th character; empty for ASCII, where a character is a byte.
    marks: Vec<usize>,
    /// Byte offset of the first character of each line.
    lines: Vec<usize>,
}

impl<'t> Places<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let marks = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().step_by(STRIDE).map(|(offset, _)| offset).collect()
        };
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(breaks.map(|(offset, _)| offset + 1)).collect();
        Self { text, marks, lines }
    }

    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    /// The byte offset of the character numbered `index` from 0; the text's end beyond its last.
    pub(super) fn offset(&self, index: usize) -> usize {
        if self.marks.is_empty() {
            return index.min(self.text.len());
        }
        let Some(&mark) = self.marks.get(index / STRIDE) else { return self.text.len() };
        let rest = &self.text[mark..];
        rest.char_indices().nth(index % STRIDE).map_or(self.text.len(), |(offset, _)| mark + offset)
    }

    /// Where the byte offset stands. A line ends at `\n` only, as in Git and most editors.
    pub(super) fn position(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines[line - 1]; // the first line starts at 0, so one always precedes
        Position { offset, line, column: 1 + self.index(offset) - self.index(start) }
    }

    /// How many characters begin before the byte offset. A line may be as long as the text, so it is not walked.
    fn index(&self, offset: usize) -> usize {
        if self.marks.is_empty() {
            return offset;
        }
        let mark = self.marks.partition_point(|mark| *mark <= offset).saturating_sub(1);
        let rest = &self.text.as_bytes()[self.marks[mark]..offset]; // the first mark is 0, so one always precedes
        // Every byte that does not continue a character begins one.
        mark * STRIDE + rest.iter().filter(|byte| (**byte & 0xC0) != 0x80).count()
    }

    pub(super) fn span(&self, start: usize, end: usize) -> Span {
        Span { start: self.position(start), end: self.position(end.max(start)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_characters_after_many_bytes() {
        let text = format!("{}é\n日本: x", "ä".repeat(200));
        let places = Places::new(&text);
        for (index, (offset, _)) in text.char_indices().enumerate() {
            assert_eq!(places.offset(index), offset, "character {index}");
        }
        assert_eq!(places.offset(10_000), text.len());
        let x = text.rfind('x').unwrap();
        assert_eq!(places.position(x), Position { offset: x, line: 2, column: 5 });
        assert_eq!(places.position(0), Position { offset: 0, line: 1, column: 1 });
    }
}
