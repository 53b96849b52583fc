//! Quick fixes: the changes that findings carry, and all safe ones of a file at once.

use std::ops::Range;
use std::sync::Arc;

use gen_lsp_types as lsp;

use super::board::Finding;
use super::library::Library;
use crate::domain::{FileChange, Fix, Safety};

/// The kind of the action that makes every safe edit of a file.
pub const FIX_ALL: &str = "source.fixAll.tenantry";

/// One action.
#[derive(Clone, Debug)]
pub struct Action {
    /// What it does.
    pub title: String,
    /// Of the protocol.
    pub kind: lsp::CodeActionKind,
    /// Whether it is what somebody most likely wants.
    pub preferred: bool,
    /// What it cures, for the editor to strike out.
    pub cures: Vec<lsp::Diagnostic>,
    /// The file it changes, from the repository's root.
    pub path: String,
    /// What it writes.
    pub edits: Vec<lsp::TextEdit>,
    /// Where the file goes.
    pub rename: Option<String>,
}

/// The actions for a range of a file whose text is the one that was judged.
///
/// `only` are the kinds that the editor asks for; none means all. An executable bit is nothing that the protocol
/// can set; `validate --fix` does.
#[must_use]
pub fn actions(
    library: &Library<'_>,
    found: &[Arc<Finding>],
    at: &lsp::Range,
    only: &[String],
) -> Vec<Action> {
    let wanted = |kind: &str| {
        only.is_empty() || only.iter().any(|one| kind == one || kind.starts_with(&format!("{one}.")))
    };
    let mut actions = Vec::new();
    if wanted("quickfix") {
        for finding in found.iter().filter(|finding| touches(&finding.shown.range, at)) {
            actions.extend(finding.diagnostic.fix.as_ref().and_then(|fix| quick(library, finding, fix)));
        }
    }
    if wanted(FIX_ALL) {
        actions.extend(every(library, found));
    }
    actions
}

fn quick(library: &Library<'_>, finding: &Finding, fix: &Fix) -> Option<Action> {
    let rename = match &fix.file {
        Some(FileChange::MakeExecutable) => return None,
        Some(FileChange::Rename { to }) => Some(to.clone()),
        None => None,
    };
    let edits = edits_of(library, fix)?;
    Some(Action {
        title: fix.title.clone(),
        kind: lsp::CodeActionKind::QuickFix,
        preferred: fix.safety == Safety::Safe,
        cures: vec![finding.shown.clone()],
        path: fix.path.clone(),
        edits,
        rename,
    })
}

/// Every safe edit of the file itself. Two that would spoil each other are not both made: the second comes with
/// the next round.
fn every(library: &Library<'_>, found: &[Arc<Finding>]) -> Option<Action> {
    let mut taken: Vec<Range<usize>> = Vec::new();
    let (mut edits, mut cures) = (Vec::new(), Vec::new());
    for finding in found {
        let Some(fix) = &finding.diagnostic.fix else { continue };
        if fix.safety != Safety::Safe || fix.path != library.path || fix.file.is_some() {
            continue;
        }
        let ranges: Vec<Range<usize>> =
            fix.edits.iter().map(|edit| edit.span.start.offset..edit.span.end.offset).collect();
        let spoils =
            |range: &Range<usize>| taken.iter().any(|one| range.start <= one.end && one.start <= range.end);
        if ranges.is_empty() || ranges.iter().any(spoils) {
            continue;
        }
        edits.extend(edits_of(library, fix)?);
        taken.extend(ranges);
        cures.push(finding.shown.clone());
    }
    if cures.is_empty() {
        return None;
    }
    Some(Action {
        title: format!("make every safe fix of this file ({})", cures.len()),
        kind: FIX_ALL.to_owned().into(),
        preferred: false,
        cures,
        path: library.path.to_owned(),
        edits,
        rename: None,
    })
}

/// A fix's replacements in the columns of the editor; `None` where the file they belong to cannot be read.
fn edits_of(library: &Library<'_>, fix: &Fix) -> Option<Vec<lsp::TextEdit>> {
    if fix.edits.is_empty() {
        return Some(Vec::new());
    }
    let text = library.text_of(&fix.path)?;
    let edits = fix.edits.iter().map(|edit| lsp::TextEdit {
        range: text.range(&(edit.span.start.offset..edit.span.end.offset), library.encoding),
        new_text: edit.text.clone(),
    });
    Some(edits.collect())
}

fn touches(one: &lsp::Range, other: &lsp::Range) -> bool {
    one.start <= other.end && other.start <= one.end
}
