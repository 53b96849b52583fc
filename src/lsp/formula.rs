//! The expression around a place: which part of a chain such as `steps.pull.outputs.count` is meant.

use std::ops::Range;

use super::meaning::Meaning;

/// The names that lead up to a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The names before the one at the place.
    pub before: Vec<String>,
    /// The bytes of the name at the place, empty where none is there yet.
    pub range: Range<usize>,
}

/// The chain at an offset of a text; `None` where no expression stands. `value` are the bytes of the scalar.
#[must_use]
pub fn chain(text: &str, value: &Range<usize>, offset: usize, meaning: Meaning) -> Option<Chain> {
    let written = text.get(value.clone())?;
    let at = offset.checked_sub(value.start).filter(|at| *at <= written.len())?;
    let before = written.get(..at)?;
    let start = match (before.rfind("${{"), meaning) {
        (Some(open), _) if !before[open..].contains("}}") => open + 3,
        (_, Meaning::Expression) if !written.contains("${{") => 0,
        _ => return None,
    };
    let inside = &before[start..];
    // In a text of the expression itself nothing is a name.
    if inside.matches('\'').count() % 2 == 1 {
        return None;
    }
    let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begin = inside
        .rfind(|c: char| !named(c) && c != '.')
        .map_or(0, |odd| odd + inside[odd..].chars().next().map_or(1, char::len_utf8));
    let mut names: Vec<String> = inside[begin..].split('.').map(str::to_owned).collect();
    let last = names.pop()?;
    let from = value.start + at - last.len();
    let rest = written[at..].find(|c: char| !named(c)).unwrap_or(written.len() - at);
    Some(Chain { before: names, range: from..value.start + at + rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(marked: &str, meaning: Meaning, want: Option<&str>) {
        let at = marked.find('¦').unwrap();
        let text = marked.replacen('¦', "", 1);
        let got = chain(&text, &(0..text.len()), at, meaning)
            .map(|chain| format!("{}|{}", chain.before.join("."), &text[chain.range.clone()]));
        assert_eq!(got.as_deref(), want, "{marked}");
    }

    #[test]
    fn the_names_before_a_place() {
        check("${{ ¦ }}", Meaning::Template, Some("|"));
        check("${{ inp¦uts.day }}", Meaning::Template, Some("|inputs"));
        check("${{ inputs.d¦ay }}", Meaning::Template, Some("inputs|day"));
        check("${{ size(steps.pull.outputs.¦", Meaning::Template, Some("steps.pull.outputs|"));
        check("a ${{ x }} ¦ b", Meaning::Template, None);
        check("plain ¦", Meaning::Template, None);
        check("steps.pull.¦ > 0", Meaning::Expression, Some("steps.pull|"));
        check("inputs.kind == 'a¦'", Meaning::Expression, None);
        check("é > item¦", Meaning::Expression, Some("|item"));
    }
}
