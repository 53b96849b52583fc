//! Findings for people, the way rustc shows them.

use std::cell::RefCell;

use annotate_snippets::{
    Annotation, AnnotationKind, Element, Group, Level, Origin, Padding, Renderer, Snippet,
};

use super::{Texts, is_secret_file};
use crate::desired::holds_secret;
use crate::domain::{Diagnostic, Location, Severity};

/// Lines of an excerpt.
const LINES_MAX: usize = 6;
/// Bytes of an excerpt; a longer one is left out.
const BYTES_MAX: usize = 2_000;

/// Shows findings with excerpts, a blank line between two.
///
/// A file that holds a key or a token is not excerpted, by the finding that says so or by its neighbour.
#[must_use]
pub fn human(found: &[Diagnostic], texts: &Texts<'_>, colour: bool) -> String {
    // Findings come in the order of files: each text is fetched and looked through once, not once a finding.
    let last: RefCell<Option<(String, Option<String>)>> = RefCell::new(None);
    let texts = |path: &str| {
        let mut last = last.borrow_mut();
        if last.as_ref().is_none_or(|(known, _)| known != path) {
            let shown = texts(path).filter(|text| !holds_secret(text.as_bytes()));
            *last = Some((path.to_owned(), shown));
        }
        last.as_ref().and_then(|(_, text)| text.clone())
    };
    let texts: &Texts<'_> = &texts;
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for one in found {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&renderer.render(&[group(one, texts)]));
        out.push('\n');
    }
    out
}

fn group<'a>(one: &'a Diagnostic, texts: &Texts<'_>) -> Group<'a> {
    let level = match one.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = level.primary_title(one.message.as_str()).id(one.rule.id).element(place(
        &one.at,
        AnnotationKind::Primary,
        &one.label,
        texts,
    ));
    let (files, places): (Vec<_>, Vec<_>) = one.related.iter().partition(|related| related.at.span.is_none());
    for related in places {
        group = group.element(place(&related.at, AnnotationKind::Context, &related.message, texts));
    }
    if one.help.is_some() || !files.is_empty() {
        group = group.element(Padding);
    }
    for related in files {
        group = group.element(Level::NOTE.message(format!("{}: {}", related.message, related.at.path)));
    }
    if let Some(help) = &one.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    group
}

/// An excerpt where there is one to show, else the bare place.
fn place<'a>(at: &'a Location, kind: AnnotationKind, label: &'a str, texts: &Texts<'_>) -> Element<'a> {
    let excerpt = if is_secret_file(&at.path) { None } else { excerpt(at, texts) };
    if let Some((text, line, range)) = excerpt {
        let mut annotation: Annotation<'_> = kind.span(range);
        if !label.is_empty() {
            annotation = annotation.label(label);
        }
        return Snippet::source(text)
            .line_start(line)
            .path(at.path.as_str())
            .fold(false)
            .annotation(annotation)
            .into();
    }
    let origin = Origin::path(at.path.as_str());
    match at.span {
        Some(span) => origin.line(span.start.line).char_column(span.start.column).into(),
        None => origin.into(),
    }
}

/// The lines of a span, the number of the first, and the span within them.
fn excerpt(at: &Location, texts: &Texts<'_>) -> Option<(String, usize, std::ops::Range<usize>)> {
    let span = at.span?;
    let text = texts(&at.path)?;
    let (start, end) = (span.start.offset, span.end.offset.max(span.start.offset));
    if !text.is_char_boundary(start) || end > text.len() || !text.is_char_boundary(end) {
        return None;
    }
    let first = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let mut last = first;
    for _ in 0..LINES_MAX {
        last = text[last..].find('\n').map_or(text.len(), |newline| last + newline + 1);
        if last >= end {
            break;
        }
    }
    let shown = text[first..last].trim_end_matches(['\n', '\r']);
    if shown.len() > BYTES_MAX {
        return None;
    }
    let to = end.min(first + shown.len()).max(start.min(first + shown.len()));
    Some((shown.to_owned(), span.start.line, start.min(first + shown.len()) - first..to - first))
}
