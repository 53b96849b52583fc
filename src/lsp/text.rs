//! A text as an editor holds it, and the three ways in which editors count columns.

use std::ops::Range;

use gen_lsp_types as lsp;

/// What one column is. Editors count in UTF-16 unless both sides agree on something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Bytes.
    Utf8,
    /// Units of 16 bits: a character beyond the basic plane counts two.
    #[default]
    Utf16,
    /// Characters.
    Utf32,
}

impl Encoding {
    /// How wide a character is.
    fn width(self, c: char) -> usize {
        match self {
            Self::Utf8 => c.len_utf8(),
            Self::Utf16 => c.len_utf16(),
            Self::Utf32 => 1,
        }
    }

    /// The word for it in the protocol.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Utf16 => "utf-16",
            Self::Utf32 => "utf-32",
        }
    }

    /// The first of the editor's own choices that is known; UTF-16 where it names none.
    pub fn choose<'w>(wanted: impl IntoIterator<Item = &'w str>) -> Self {
        let known = [Self::Utf8, Self::Utf16, Self::Utf32];
        wanted
            .into_iter()
            .find_map(|word| known.into_iter().find(|one| one.as_str() == word))
            .unwrap_or_default()
    }
}

/// A text with the places of its lines. A line ends at `\n`, `\r\n` or `\r`, as the protocol says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    content: String,
    /// Byte offset of the first character of each line.
    lines: Vec<usize>,
}

impl Text {
    /// Takes a text.
    #[must_use]
    pub fn new(content: String) -> Self {
        let lines = line_starts(&content);
        Self { content, lines }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.content
    }

    /// Where a byte offset stands. One inside a character counts as its start, one beyond the end as the end.
    #[must_use]
    pub fn position(&self, offset: usize, encoding: Encoding) -> lsp::Position {
        let mut offset = offset.min(self.content.len());
        while !self.content.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.lines.partition_point(|start| *start <= offset).saturating_sub(1);
        let start = self.lines.get(line).copied().unwrap_or(0);
        let column: usize = self.content[start..offset].chars().map(|c| encoding.width(c)).sum();
        lsp::Position { line: small(line), character: small(column) }
    }

    /// The byte offset of a position. A column beyond its line is the line's end, a line beyond the text the
    /// text's end, and a column inside a character that character's start.
    #[must_use]
    pub fn offset(&self, position: lsp::Position, encoding: Encoding) -> usize {
        let line = position.line as usize;
        let Some(start) = self.lines.get(line).copied() else { return self.content.len() };
        let end = self.lines.get(line + 1).copied().unwrap_or(self.content.len());
        let mut left = position.character as usize;
        let mut at = start;
        for c in self.content[start..end].chars() {
            let width = encoding.width(c);
            if matches!(c, '\n' | '\r') || width > left {
                break;
            }
            left -= width;
            at += c.len_utf8();
        }
        at
    }

    /// A range of bytes as the editor counts.
    #[must_use]
    pub fn range(&self, bytes: &Range<usize>, encoding: Encoding) -> lsp::Range {
        lsp::Range { start: self.position(bytes.start, encoding), end: self.position(bytes.end, encoding) }
    }

    /// The bytes of an editor's range; of one that runs backwards, the bytes between its ends.
    #[must_use]
    pub fn bytes(&self, range: &lsp::Range, encoding: Encoding) -> Range<usize> {
        let (one, other) = (self.offset(range.start, encoding), self.offset(range.end, encoding));
        one.min(other)..one.max(other)
    }

    /// The first line without its end, for what is meant of a whole file.
    #[must_use]
    pub fn first_line(&self) -> Range<usize> {
        let end = self.content.find(['\n', '\r']).unwrap_or(self.content.len());
        0..end
    }

    /// Puts another text in place of a range.
    pub fn replace(&mut self, bytes: Range<usize>, with: &str) {
        self.content.replace_range(bytes, with);
        self.lines = line_starts(&self.content);
    }
}

fn line_starts(content: &str) -> Vec<usize> {
    let bytes = content.as_bytes();
    let ends = bytes.iter().enumerate().filter(|(at, byte)| match byte {
        b'\n' => true,
        b'\r' => bytes.get(at + 1) != Some(&b'\n'),
        _ => false,
    });
    std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect()
}

/// Lines and columns of the protocol are 32 bits wide; no text that is read comes near.
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(line: u32, character: u32) -> lsp::Position {
        lsp::Position { line, character }
    }

    #[track_caller]
    fn check(encoding: Encoding, position: lsp::Position, offset: usize) {
        let text = Text::new("a: é\r\nb: 😀 x\rc\n".to_owned());
        assert_eq!(text.offset(position, encoding), offset, "{position:?} as {encoding:?}");
        assert_eq!(text.position(offset, encoding), position, "{offset} as {encoding:?}");
    }

    #[test]
    fn columns_are_counted_as_agreed() {
        check(Encoding::Utf8, at(0, 5), 5);
        check(Encoding::Utf16, at(0, 4), 5);
        check(Encoding::Utf32, at(0, 4), 5);
        // `x` stands behind a character of four bytes, two units, one scalar.
        check(Encoding::Utf8, at(1, 8), 15);
        check(Encoding::Utf16, at(1, 6), 15);
        check(Encoding::Utf32, at(1, 5), 15);
        check(Encoding::Utf16, at(2, 1), 18);
        check(Encoding::Utf16, at(3, 0), 19);
    }

    #[test]
    fn what_lies_outside_is_brought_inside() {
        let text = Text::new("ab\n😀\n".to_owned());
        assert_eq!(text.offset(at(0, 99), Encoding::Utf16), 2, "the end of the line, not of its break");
        assert_eq!(text.offset(at(99, 0), Encoding::Utf16), text.as_str().len());
        assert_eq!(text.offset(at(1, 1), Encoding::Utf16), 3, "half a character is its start");
        assert_eq!(text.position(5, Encoding::Utf16), at(1, 0));
        let backwards = lsp::Range { start: at(1, 2), end: at(0, 1) };
        assert_eq!(text.bytes(&backwards, Encoding::Utf16), 1..7);
    }

    #[test]
    fn the_editor_chooses_the_encoding() {
        assert_eq!(Encoding::choose(["utf-8", "utf-16"]), Encoding::Utf8);
        assert_eq!(Encoding::choose(["utf-7", "utf-32"]), Encoding::Utf32);
        assert_eq!(Encoding::choose([]), Encoding::Utf16);
    }

    proptest! {
        /// Every character's start comes back, in each encoding, whatever ends the lines.
        #[test]
        fn places_come_back(content in "[a\u{e9}\u{20ac}\u{1f600}:\r\n ]{0,40}") {
            let text = Text::new(content.clone());
            for encoding in [Encoding::Utf8, Encoding::Utf16, Encoding::Utf32] {
                for (offset, _) in content.char_indices() {
                    // Between `\r` and `\n` there is no place of its own.
                    if content.as_bytes()[offset] == b'\n' && offset > 0 && content.as_bytes()[offset - 1] == b'\r' {
                        continue;
                    }
                    prop_assert_eq!(text.offset(text.position(offset, encoding), encoding), offset);
                }
            }
        }

        /// No position makes it fail, and an edit by lines and units is the edit that an editor makes.
        #[test]
        fn an_edit_is_what_the_editor_did(
            content in "[a\u{e9}\u{1f600}\n]{0,30}", line in 0u32..6, one in 0u32..9, other in 0u32..9, with in "[b\u{20ac}\n]{0,4}",
        ) {
            let mut text = Text::new(content.clone());
            let range = lsp::Range { start: at(line, one.min(other)), end: at(line, one.max(other)) };
            let bytes = text.bytes(&range, Encoding::Utf16);
            text.replace(bytes, &with);
            prop_assert_eq!(text.as_str(), edited(&content, line as usize, one.min(other) as usize, one.max(other) as usize, &with));
            prop_assert_eq!(text.clone(), Text::new(text.as_str().to_owned()));
        }
    }

    /// The same edit on a list of lines of 16-bit units, as an editor keeps them.
    fn edited(content: &str, line: usize, from: usize, to: usize, with: &str) -> String {
        let mut lines: Vec<Vec<u16>> =
            content.split('\n').map(|line| line.encode_utf16().collect()).collect();
        let Some(units) = lines.get_mut(line) else { return format!("{content}{with}") };
        let whole = |units: &[u16], at: usize| {
            let at = at.min(units.len());
            if at > 0 && (0xD800..0xDC00).contains(&units[at - 1]) { at - 1 } else { at }
        };
        let (from, to) = (whole(units, from), whole(units, to));
        units.splice(from..to, with.encode_utf16());
        lines.iter().map(|line| String::from_utf16(line).unwrap()).collect::<Vec<_>>().join("\n")
    }
}
