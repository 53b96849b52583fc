//! `validate --fix`: makes the fixes that keep what is meant, and says each.
//!
//! A file that is no longer as it was checked is left alone. Links are never followed, nothing is made outside
//! of the repository, and a file is replaced as a whole or not at all.
#![expect(clippy::disallowed_methods, reason = "the command line changes the work tree it was asked to")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::domain::{Diagnostic, Edit, FileChange, Fix, Safety};

/// What was done, a line each, in the order of paths.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Fixes that were made.
    pub(super) made: Vec<String>,
    /// Fixes that were not, with the reason.
    pub(super) left: Vec<String>,
}

/// Makes every safe fix of `found`. `checked` gives the bytes that the findings are about.
pub(super) fn apply(root: &Path, found: &[Diagnostic], checked: &dyn Fn(&str) -> Option<Vec<u8>>) -> Done {
    let mut by_path: BTreeMap<&str, Vec<(&Diagnostic, &Fix)>> = BTreeMap::new();
    for one in found {
        let safe = |fix: &&Fix| fix.safety == Safety::Safe && !one.rule.id.starts_with(['K', 'R', 'G']);
        if let Some(fix) = one.fix.as_ref().filter(safe) {
            by_path.entry(&fix.path).or_default().push((one, fix));
        }
    }
    let mut done = Done::default();
    for (path, fixes) in by_path {
        let made = match inside(root, path) {
            Some(full) => fix_file(root, &full, path, &fixes, checked),
            None => Err("it does not lie in the repository, or a link leads there".to_owned()),
        };
        match made {
            Ok(()) => done.made.extend(fixes.iter().map(|(one, fix)| {
                let line = one.at.span.map_or(String::new(), |span| format!(":{}", span.start.line));
                format!("fixed {path}{line}: {} ({})", fix.title, one.rule.id)
            })),
            Err(reason) => done.left.push(format!("left {path} as it is: {reason}")),
        }
    }
    done.made.dedup();
    done
}

/// The place of a path on disk, if every part of it is what it says: a directory, at last a file, never a link.
fn inside(root: &Path, path: &str) -> Option<PathBuf> {
    let mut full = root.to_owned();
    let parts: Vec<&str> = path.split('/').collect();
    for (index, part) in parts.iter().enumerate() {
        if matches!(*part, "" | "." | ".." | ".git") {
            return None;
        }
        full.push(part);
        let found = full.symlink_metadata().ok()?;
        let fits = if index + 1 == parts.len() { found.is_file() } else { found.is_dir() };
        if !fits {
            return None;
        }
    }
    Some(full)
}

fn fix_file(
    root: &Path,
    full: &Path,
    path: &str,
    fixes: &[(&Diagnostic, &Fix)],
    checked: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    let edits: Vec<&Edit> = fixes.iter().flat_map(|(_, fix)| &fix.edits).collect();
    if !edits.is_empty() {
        let old = checked(path).ok_or("its content is not known")?;
        if std::fs::read(full).map_err(said)? != old {
            return Err("it changed while it was checked".to_owned());
        }
        let new = edited(&old, edits).ok_or("its fixes overlap")?;
        replace(full, &old, &new)?;
    }
    let mut changes: Vec<&FileChange> = fixes.iter().filter_map(|(_, fix)| fix.file.as_ref()).collect();
    changes.dedup();
    for change in changes {
        match change {
            FileChange::MakeExecutable => {
                let mut permissions = full.metadata().map_err(said)?.permissions();
                let mode = permissions.mode();
                // Whoever may read it may run it, as Git writes 755 for 644.
                permissions.set_mode(mode | ((mode & 0o444) >> 2));
                std::fs::set_permissions(full, permissions).map_err(said)?;
            }
            FileChange::Rename { to } => {
                let place = to.rsplit_once('/').map_or("", |(directory, _)| directory);
                let target = root.join(to);
                if !path.starts_with(place) || target.parent() != full.parent() {
                    return Err("its new name lies elsewhere".to_owned());
                }
                // A link is made only where nothing is: no file is ever written over.
                std::fs::hard_link(full, &target)
                    .map_err(|error| format!("cannot name it `{to}`: {error}"))?;
                std::fs::remove_file(full).map_err(said)?;
            }
        }
    }
    Ok(())
}

/// A text with its edits, byte for byte the same elsewhere; `None` if they overlap or leave the text.
fn edited(old: &[u8], mut edits: Vec<&Edit>) -> Option<Vec<u8>> {
    edits.sort_by_key(|edit| (edit.span.start.offset, edit.span.end.offset));
    edits.dedup();
    let mut new = Vec::with_capacity(old.len() + 64);
    let mut from = 0;
    for edit in edits {
        let (start, end) = (edit.span.start.offset, edit.span.end.offset);
        if start < from {
            return None;
        }
        new.extend_from_slice(old.get(from..start)?);
        old.get(start..end)?;
        new.extend_from_slice(edit.text.as_bytes());
        from = end;
    }
    new.extend_from_slice(old.get(from..)?);
    Some(new)
}

/// Puts a new text in the place of the old one: whole, with its mode, and only if the old one still stands there.
fn replace(full: &Path, old: &[u8], new: &[u8]) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    let name = full.file_name().ok_or("it has no name")?.to_string_lossy().into_owned();
    let beside = full.with_file_name(format!(".{name}.tenantry-fix"));
    let made = (|| {
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).open(&beside).map_err(said)?;
        file.write_all(new).and_then(|()| file.sync_all()).map_err(said)?;
        std::fs::set_permissions(&beside, full.metadata().map_err(said)?.permissions()).map_err(said)?;
        if std::fs::read(full).map_err(said)? != old {
            return Err("it changed while it was fixed".to_owned());
        }
        std::fs::rename(&beside, full).map_err(said)
    })();
    if made.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Position, Span};

    fn edit(start: usize, end: usize, text: &str) -> Edit {
        let at = |offset| Position { offset, line: 1, column: 1 };
        Edit { span: Span { start: at(start), end: at(end) }, text: text.into() }
    }

    #[test]
    fn an_edit_changes_its_place_alone() {
        let of = |edits: &[Edit]| edited(b"a: b\xff\r\n", edits.iter().collect());
        assert_eq!(of(&[edit(0, 1, "key")]).unwrap(), b"key: b\xff\r\n");
        assert_eq!(of(&[edit(3, 4, "c"), edit(0, 1, "k")]).unwrap(), b"k: c\xff\r\n");
        assert_eq!(
            of(&[edit(0, 1, "k"), edit(0, 1, "k")]).unwrap(),
            b"k: b\xff\r\n",
            "the same fix twice is one"
        );
        assert_eq!(of(&[edit(0, 3, "k"), edit(2, 4, "k")]), None);
        assert_eq!(of(&[edit(3, 90, "k")]), None);
    }

    proptest::proptest! {
        /// Whatever the edits, what lies between them is what was there.
        #[test]
        fn bytes_outside_of_edits_stay(old in proptest::collection::vec(0u8..=255, 0..60), cuts in proptest::collection::vec((0usize..60, 0usize..6, "[a-z]{0,4}"), 0..6)) {
            let edits: Vec<Edit> = cuts.iter().map(|(start, length, text)| edit(*start, start + length, text)).collect();
            if let Some(new) = edited(&old, edits.iter().collect()) {
                let mut sorted: Vec<&Edit> = edits.iter().collect();
                sorted.sort_by_key(|edit| (edit.span.start.offset, edit.span.end.offset));
                sorted.dedup();
                let grown: usize = sorted.iter().map(|edit| edit.text.len()).sum();
                let cut: usize = sorted.iter().map(|edit| edit.span.end.offset - edit.span.start.offset).sum();
                proptest::prop_assert_eq!(new.len() + cut, old.len() + grown);
                let first = sorted.first().map_or(old.len(), |edit| edit.span.start.offset);
                proptest::prop_assert_eq!(&new[..first], &old[..first]);
                let last = sorted.iter().map(|edit| edit.span.end.offset).max().unwrap_or(0);
                proptest::prop_assert!(new.ends_with(&old[last..]));
            }
        }
    }
}
