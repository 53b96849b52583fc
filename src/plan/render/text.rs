//! Text from the repository, made harmless for a terminal and for a comment at a forge.

/// Whether a character would move the cursor, change the reading direction, take no room or look like a space that
/// it is not.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Writes such characters out as `\u{…}`.
pub(super) fn visible(text: &str) -> String {
    if !text.contains(hidden) {
        return text.to_owned();
    }
    text.chars().map(|c| if hidden(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// The start of a text, with `…` where more follows.
pub(super) fn capped(text: String, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A count with its word.
pub(super) fn counted(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_made_visible() {
        assert_eq!(visible("plain ü 漢 👩"), "plain ü 漢 👩");
        assert_eq!(visible("a\u{1b}[31m\u{202e}b"), "a\\u{1b}[31m\\u{202e}b");
        assert_eq!(visible("a\u{e0041}\u{2028}\u{3164}\rb"), "a\\u{e0041}\\u{2028}\\u{3164}\\u{d}b");
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        assert_eq!(capped("ü漢x".into(), 2), "ü漢…");
        assert_eq!(capped("ü漢".into(), 2), "ü漢");
    }
}
