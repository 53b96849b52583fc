//! Collects the mistakes of one file while it is decoded.

use crate::desired::rules::{self, Rule};
use crate::domain::{Diagnostic, Edit, Fix, Safety, Span};
use crate::yaml::{Kind, Node};

/// The language of a file, for "YAML read it as".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Everything below `platform/`, `shared/` and `tenants/`.
    Yaml,
    /// `tenantry.toml`.
    Toml,
}

impl Language {
    fn as_str(self) -> &'static str {
        match self {
            Self::Yaml => "YAML",
            Self::Toml => "TOML",
        }
    }
}

/// One file being decoded.
#[derive(Debug)]
pub struct Reader<'a> {
    /// From the root of the repository.
    pub path: &'a str,
    /// Its language.
    pub language: Language,
    /// Everything found so far.
    pub found: &'a mut Vec<Diagnostic>,
    /// Whether what could not be read is left out, where a form is a form without it.
    pub partial: bool,
}

impl Reader<'_> {
    /// Adds a finding.
    pub fn report(&mut self, rule: &Rule, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.found.push(rule.at(self.path, Some(span), message));
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    /// Says how the last finding is cured.
    pub fn cure(&mut self, help: &str) {
        if let Some(found) = self.found.last_mut() {
            found.help = Some(help.to_owned());
        }
    }

    /// Says what was wanted and how the value was read.
    pub fn wrong_type(&mut self, node: &Node, wanted: &str) {
        let language = self.language.as_str();
        let read = match &node.kind {
            Kind::Scalar { text, .. } if node.is_null() => {
                let _ = text;
                "nothing".to_owned()
            }
            // A text of any length could stand here: the place shows it.
            Kind::Scalar { text, .. } if text.chars().count() <= 40 => format!("`{text}` as {}", node.word()),
            _ => node.word().to_owned(),
        };
        let quotable = matches!(&node.kind, Kind::Scalar { .. }) && wanted.starts_with("a text");
        let help = if node.is_null() {
            "write a value, or remove the field".to_owned()
        } else if quotable {
            "put the value in quotes".to_owned()
        } else if wanted == "a list" {
            "put it in brackets: `[…]`".to_owned()
        } else {
            format!("write {wanted}")
        };
        let found =
            self.report(&rules::WRONG_TYPE, node.span, format!("expected {wanted}, {language} read {read}"));
        found.label = format!("expected {wanted}");
        found.help = Some(help);
        if let (true, Some(text)) = (quotable && !node.is_null(), node.scalar()) {
            // A plain scalar holds neither quotes at its ends nor escapes; what it reads as stays as written.
            self.replace(Safety::Safe, "put it in quotes", node.span, quoted(text));
        }
    }

    /// Reports a plain scalar that other readers take for something else; gives whether it did. Where a text is
    /// wanted, quotes keep what it is.
    pub fn ambiguous(&mut self, node: &Node, text_wanted: bool) -> bool {
        let (Some(trap), Some(text)) = (node.ambiguous(), node.scalar()) else { return false };
        let quoted = format!("\"{text}\"");
        self.report(&rules::AMBIGUOUS_SCALAR, node.span, format!("`{text}` {}", trap.reading()));
        self.cure(&format!("write {quoted} if a text is meant"));
        let safety = if text_wanted { Safety::Safe } else { Safety::Suggested };
        self.replace(safety, "put it in quotes", node.span, quoted);
        true
    }

    /// Offers a replacement as the fix of the last finding.
    pub fn replace(&mut self, safety: Safety, title: impl Into<String>, span: Span, text: String) {
        let path = self.path.to_owned();
        if let Some(found) = self.found.last_mut() {
            let edits = vec![Edit { span, text }];
            found.fix = Some(Fix { title: title.into(), safety, path, edits, file: None });
        }
    }
}

/// A text in double quotes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The candidate that is spelled most like `text`, if one is near: at most a third of its letters differ.
pub fn nearest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if text.len() > 128 {
        return None;
    }
    let folded = text.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (distance(&folded, &candidate.to_lowercase()), candidate))
        .filter(|(steps, candidate)| {
            *steps <= (candidate.chars().count().max(text.chars().count()) / 3).max(1)
        })
        .min_by_key(|(steps, _)| *steps)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, remove, replace or swap with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (row, a) in one.iter().enumerate() {
        let mut line = vec![row + 1];
        for (column, b) in other.iter().enumerate() {
            let mut steps =
                (above[column] + usize::from(a != b)).min(above[column + 1] + 1).min(line[column] + 1);
            if row > 0 && column > 0 && *a == other[column - 1] && one[row - 1] == *b {
                steps = steps.min(before[column - 1] + 1);
            }
            line.push(steps);
        }
        before = std::mem::replace(&mut above, line);
    }
    above[other.len()]
}

/// "`a`, `b` and 7 more" for a help line.
pub fn listed<'c>(names: impl IntoIterator<Item = &'c str>) -> String {
    const SHOWN: usize = 12;
    let names: Vec<&str> = names.into_iter().collect();
    let mut text = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let names = ["timeout", "steps", "secrets"];
        assert_eq!(nearest("timout", names), Some("timeout"));
        assert_eq!(nearest("Steps", names), Some("steps"));
        assert_eq!(nearest("secert", names), Some("secrets"));
        assert_eq!(nearest("owner", names), None);
        assert_eq!(distance("fecth", "fetch"), 1, "two letters swapped are one mistake");
    }
}
