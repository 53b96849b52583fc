//! The plan as one sticky comment of a pull request.
//!
//! Whatever comes from the repository stands in a fence longer than any run of backticks in it. A forge neither
//! notifies, nor links, nor renders, nor obeys what stands there; a backslash would not keep `@name` from it.

use std::fmt::Write as _;

use super::super::document::Document;
use super::text::{capped, counted};
use super::{Rendering, Section};
use crate::domain::ChangeControlMode;

/// What the comment begins with, so that whoever posts it finds the one to replace.
pub const MARKER: &str = "<!-- tenantry-plan -->";
/// UTF-16 units of the whole, of which no forge counts more characters than 60,000.
const UNITS_MAX: usize = 59_000;
/// Characters of one line.
const LINE_CHARS_MAX: usize = 400;

impl Document {
    /// The plan as a comment: summary first, under 60,000 characters; a longer one loses its middle.
    #[must_use]
    pub fn markdown(&self, rendering: &Rendering<'_>) -> String {
        let mut out = format!("{MARKER}\n### tenantry plan\n\n");
        let _ = writeln!(
            out,
            "**{}**: {} changed, {} blocked, {} unchanged; {} will start\n",
            counted(self.tenants, "tenant"),
            self.changed().len(),
            self.blocked_tenants(),
            self.unchanged(),
            counted(self.runs.len(), "run"),
        );
        let id = |id: &Option<crate::domain::CommitId>, none: &str| {
            id.as_ref().map_or_else(|| none.to_owned(), |id| format!("`{}`", id.short()))
        };
        let (base, head) = (id(&self.base, "nothing"), id(&self.head, "the work tree"));
        let _ = writeln!(out, "{base} → {head}, `{}`\n", self.hash());
        if self.mode == ChangeControlMode::Open {
            out.push_str("Change control is open: nobody has to agree, nothing is proven.\n\n");
        }
        if self.is_empty() {
            out.push_str("Nothing changes.\n");
            if self.drift.is_empty() {
                return out;
            }
            out.push('\n');
        }
        out.push_str(&body(&self.sections(rendering), UNITS_MAX - units(&out)));
        out
    }
}

fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The sections in fences, within a number of UTF-16 units.
fn body(sections: &[Section], units_max: usize) -> String {
    let lines: Vec<(usize, String)> = sections
        .iter()
        .enumerate()
        .flat_map(|(place, section)| {
            let title = std::iter::once(section.title.as_str());
            let lines = section.lines.iter().map(String::as_str);
            title.chain(lines).map(move |line| (place, capped(line.to_owned(), LINE_CHARS_MAX)))
        })
        .collect();
    let longest = lines.iter().flat_map(|(_, line)| line.split(|c| c != '`').map(str::len)).max();
    let fence = "`".repeat(longest.unwrap_or(0).max(2) + 1);
    let around = units(&fence) * 2 + "diff\n\n\n".len();
    let total: usize = lines.iter().map(|(_, line)| units(line) + 1).sum::<usize>() + around * sections.len();
    let kept = if total <= units_max { None } else { Some(cut(&lines, around, units_max)) };
    let mut out = String::new();
    let mut open = None;
    for (at, (place, line)) in lines.iter().enumerate() {
        if let Some((from, to)) = kept {
            if at == from {
                let _ = writeln!(out, "{}", left_out(to - from, &fence, &mut open));
            }
            if (from..to).contains(&at) {
                continue;
            }
        }
        if open != Some(*place) {
            if open.is_some() {
                let _ = writeln!(out, "{fence}\n");
            }
            let _ = writeln!(out, "{fence}diff");
            open = Some(*place);
        }
        out.push_str(line);
        out.push('\n');
    }
    if open.is_some() {
        let _ = writeln!(out, "{fence}");
    }
    out
}

/// Ends an open fence and says how much is missing.
fn left_out(count: usize, fence: &str, open: &mut Option<usize>) -> String {
    let end = if open.take().is_some() { format!("{fence}\n\n") } else { String::new() };
    format!(
        "{end}**{} of the middle are left out here, because a comment has room for no more: run `tenantry plan` to read them.**\n",
        counted(count, "line")
    )
}

/// The range of lines to leave out: two lines of the start for one of the end, since what matters most comes first.
fn cut(lines: &[(usize, String)], around: usize, units_max: usize) -> (usize, usize) {
    let mut room = units_max.saturating_sub(around * 4 + 300);
    let (mut from, mut to) = (0, lines.len());
    while from < to {
        let take_end = (from + lines.len() - to) % 3 == 2;
        let at = if take_end { to - 1 } else { from };
        let beside = if take_end { lines.get(to) } else { from.checked_sub(1).and_then(|at| lines.get(at)) };
        let fences = if beside.is_none_or(|(place, _)| *place != lines[at].0) { around } else { 0 };
        let cost = units(&lines[at].1) + 1 + fences;
        if cost > room {
            break;
        }
        room -= cost;
        if take_end { to -= 1 } else { from += 1 }
    }
    (from, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sections(lines: Vec<Vec<String>>) -> Vec<Section> {
        lines.into_iter().map(|lines| Section { title: "acme".into(), lines }).collect()
    }

    /// Whether every fence that is opened is closed, and the sentence about the cut stands outside of them.
    #[track_caller]
    fn sound(text: &str) {
        let fence =
            text.lines().find_map(|line| line.strip_suffix("diff").filter(|it| it.chars().all(|c| c == '`')));
        let mut inside = false;
        for line in text.lines() {
            match fence {
                Some(fence) if line == fence || line == format!("{fence}diff") => {
                    inside = line.ends_with("diff")
                }
                _ => assert!(inside || line.is_empty() || line.starts_with("**"), "{line:?} stands outside"),
            }
        }
        assert!(!inside, "a fence stays open");
    }

    #[test]
    fn a_long_body_loses_its_middle_and_says_so() {
        let many = (0..3_000).map(|n| format!("+ line {n}")).collect();
        let text = body(&sections(vec![vec!["first".into()], many, vec!["last".into()]]), 5_000);
        assert!(units(&text) <= 5_000, "{}", units(&text));
        assert!(
            text.contains("first")
                && text.contains("last")
                && text.contains("lines of the middle are left out")
        );
        sound(&text);
    }

    proptest! {
        #[test]
        fn it_never_grows_beyond_its_room_and_no_text_gets_out(
            lines in prop::collection::vec(prop::collection::vec("[a-z`@#<>*\\[\\]🦀 ]{0,600}", 0..30), 0..8),
            room in 3_000usize..8_000,
        ) {
            let text = body(&sections(lines), room);
            prop_assert!(units(&text) <= room, "{} > {room}", units(&text));
            sound(&text);
        }
    }
}
