//! Paths, globs and the scripts that steps run.

use std::collections::BTreeMap;

use globset::{GlobBuilder, GlobMatcher};
use sha2::{Digest as _, Sha256};

use super::file::Found;
use crate::desired::python::{self, Metadata, Problem};
use crate::desired::rules;
use crate::desired::written::nearest;
use crate::domain::{Entry, FileChange, Mode, ScriptFile, Spanned, Tree};

/// Globs of one list.
const GLOBS_MAX: usize = 100;
/// Bytes of one glob.
const GLOB_BYTES_MAX: usize = 512;

/// Reports a path that leaves its directory; gives whether it stays.
pub(super) fn check_path(path: &str, written: &Spanned<String>, found: &mut Found) -> bool {
    let text = &written.value;
    let escapes = text.starts_with('/')
        || text.split('/').any(|part| part == ".." || part == ".")
        || text.contains('\\');
    if escapes || text.is_empty() {
        let finding = rules::PATH_ESCAPE
            .at(path, Some(written.span), format!("`{text}` is not a path inside the tenant's directory"))
            .help("write it from the tenant's directory, without `..` and without `/` in front");
        found.push(finding);
    }
    !escapes && !text.is_empty()
}

/// The globs of one list, compiled; what cannot be one is reported.
fn compile(
    path: &str,
    written: &[Spanned<String>],
    found: &mut Found,
) -> Vec<(GlobMatcher, crate::domain::Span)> {
    let mut globs = Vec::new();
    for glob in written.iter().take(GLOBS_MAX) {
        if !check_path(path, glob, found) {
            continue;
        }
        let compiled = (glob.value.len() <= GLOB_BYTES_MAX)
            .then(|| {
                GlobBuilder::new(&glob.value).literal_separator(true).backslash_escape(false).build().ok()
            })
            .flatten();
        match compiled {
            Some(compiled) => globs.push((compiled.compile_matcher(), glob.span)),
            None => {
                let finding =
                    rules::BAD_VALUE.at(path, Some(glob.span), format!("`{}` is not a glob", glob.value));
                found.push(finding.help("write for instance `scripts/**` or `scripts/*.py`"));
            }
        }
    }
    if let Some(beyond) = written.get(GLOBS_MAX) {
        let message = format!("a list has at most {GLOBS_MAX} globs");
        found.push(
            rules::BAD_VALUE.at(path, Some(beyond.span), message).help("write `**` for a whole directory"),
        );
    }
    globs
}

/// The files below `root` that match, by path from `root`.
fn matching<'t>(
    path: &str,
    root: &'t str,
    tree: &'t Tree,
    written: &[Spanned<String>],
    found: &mut Found,
) -> BTreeMap<&'t str, &'t Entry> {
    let globs = compile(path, written, found);
    let mut hits = vec![false; globs.len()];
    let mut files = BTreeMap::new();
    for (full, entry) in tree.below(root) {
        let below = &full[root.len()..];
        for (hit, (glob, _)) in hits.iter_mut().zip(&globs) {
            if glob.is_match(below) {
                *hit = true;
                files.insert(below, entry);
            }
        }
    }
    for (_, (_, span)) in hits.iter().zip(&globs).filter(|(hit, _)| !**hit) {
        let finding = rules::NOTHING_MATCHES.at(path, Some(*span), "this glob matches no file");
        found.push(finding.help("globs are written from the tenant's directory, such as `scripts/**`"));
    }
    files
}

/// What steps see at `/repo`. `None` as `written` takes the default.
pub(super) fn visible(
    path: &str,
    root: &str,
    tree: &Tree,
    written: Option<&[Spanned<String>]>,
    found: &mut Found,
) -> BTreeMap<String, ScriptFile> {
    let shared = root.starts_with("shared/");
    let keep = |below: &str| {
        // Configuration and ciphertext are never mounted, whatever a glob says.
        if shared { below != "workflow.yaml" } else { below.starts_with("scripts/") }
    };
    let files = match written {
        Some(globs) => matching(path, root, tree, globs, found),
        None => tree.below(root).map(|(full, entry)| (&full[root.len()..], entry)).collect(),
    };
    files
        .into_iter()
        .filter(|(below, entry)| keep(below) && matches!(entry.mode, Mode::File | Mode::Executable))
        .map(|(below, entry)| {
            (below.to_owned(), ScriptFile { id: entry.id.clone(), mode: entry.mode, size: entry.size })
        })
        .collect()
}

/// SHA-256 over mode, path and blob of every file that matches, in byte order of paths.
pub(super) fn watched(
    path: &str,
    root: &str,
    tree: &Tree,
    globs: &[Spanned<String>],
    found: &mut Found,
) -> String {
    let mut digest = Sha256::new();
    for (below, entry) in matching(path, root, tree, globs, found) {
        digest.update(format!("{} {below} {}\n", entry.mode.octal(), entry.id));
    }
    hex::encode(digest.finalize())
}

/// What of the repository a step's script is looked for in.
pub(super) struct Sight<'a> {
    /// The workflow's file.
    pub(super) path: &'a str,
    /// The directory that scripts are written from.
    pub(super) root: &'a str,
    pub(super) tree: &'a Tree,
    /// What steps see.
    pub(super) files: &'a BTreeMap<String, ScriptFile>,
    /// Where packages of Python may come from; `None` where that is not known.
    pub(super) indexes: Option<&'a [String]>,
}

/// Checks the script of a step: that it is there, can be seen by the step and be started.
pub(super) fn check_script(place: &Sight<'_>, run: &Spanned<String>, found: &mut Found) {
    let Sight { path, root, tree, files, .. } = *place;
    let name = &run.value;
    let at = |rule: &rules::Rule, message: String| rule.at(path, Some(run.span), message);
    if name.contains(char::is_whitespace) || name.contains(['|', ';', '&', '<', '>', '$', '(']) {
        let first = name.split_whitespace().next().unwrap_or_default();
        let help = if tree.get(&format!("{root}{first}")).is_some() {
            format!("write `run: {first}` and the rest as a list in `args`")
        } else {
            "a line of shell is a `script:`".to_owned()
        };
        found.push(
            at(&rules::COMMAND_LINE_IN_RUN, "`run` names one script, not a command line".into()).help(help),
        );
        return;
    }
    if !check_path(path, run, found) {
        return;
    }
    let full = format!("{root}{name}");
    let Some(entry) = tree.get(&full) else {
        let names: Vec<&str> = tree.below(root).map(|(full, _)| &full[root.len()..]).collect();
        let help = if let Some(other) = names.iter().find(|other| other.eq_ignore_ascii_case(name)) {
            format!("did you mean `{other}`? letters of another case are another file")
        } else if let Some(near) = nearest(name, names.iter().copied()) {
            format!("did you mean `{near}`?")
        } else {
            format!("add it at `{full}`, and to Git")
        };
        let finding = at(&rules::SCRIPT_MISSING, format!("there is no script `{name}`")).help(help);
        found.push(finding.label("no such file").related(&full, None, "it would lie here"));
        return;
    };
    if matches!(entry.mode, Mode::Symlink | Mode::Submodule) {
        return; // reported where the tree is looked over
    }
    if !files.contains_key(name.as_str()) {
        let (message, help) = if root.starts_with("tenants/") && !name.starts_with("scripts/") {
            (format!("`{name}` does not lie in `scripts/`"), "move it there: steps see nothing else")
        } else {
            (format!("`files` leaves `{name}` out"), "add it to `files`")
        };
        found.push(at(&rules::SCRIPT_MISSING, message).help(help));
        return;
    }
    if entry.mode != Mode::Executable {
        let finding = at(&rules::SCRIPT_NOT_EXECUTABLE, format!("`{name}` is not executable"));
        let finding = finding.help(format!("git update-index --chmod=+x {full}"));
        found.push(finding.fix_file("set its executable bit", &full, FileChange::MakeExecutable));
    }
    check_shebang(&full, run, path, entry, found);
    check_packages(place, &full, run, entry, found);
}

fn check_shebang(full: &str, run: &Spanned<String>, path: &str, entry: &Entry, found: &mut Found) {
    let Some(bytes) = &entry.content else { return };
    if bytes.starts_with(b"\x7fELF") {
        return;
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = &line[..line.len().min(256)];
    let problem = if !line.starts_with(b"#!") {
        Some(("does not start with `#!`", "begin it with a line such as `#!/bin/sh`"))
    } else if line.ends_with(b"\r") {
        Some((
            "has CRLF line ends",
            "save it with LF line ends: the interpreter's name would end in an invisible character",
        ))
    } else if !line[2..].trim_ascii_start().starts_with(b"/") {
        Some(("names an interpreter without a path", "write a path, such as `#!/usr/bin/env python3`"))
    } else {
        None
    };
    if let Some((problem, help)) = problem {
        let finding = rules::UNKNOWN_SHEBANG
            .at(path, Some(run.span), format!("`{}` {problem}", run.value))
            .help(help)
            .related(full, None, "the script");
        found.push(finding);
    }
}

/// Checks what a Python script needs beyond the interpreter (PEP 723), and the lock beside it.
fn check_packages(place: &Sight<'_>, full: &str, run: &Spanned<String>, entry: &Entry, found: &mut Found) {
    let Some(metadata) = entry.content.as_deref().and_then(python::metadata) else { return };
    if metadata.as_ref().is_ok_and(Metadata::is_empty) {
        return;
    }
    let beside = python::lock_of(full);
    let lock = python::lock_of(&run.value);
    let seen = place.files.contains_key(&lock).then(|| place.tree.get(&beside)).flatten();
    let content = seen.map(|entry| entry.content.as_deref());
    let problems = match content {
        // A lock that is too large to be read.
        Some(None) => vec![Problem::Stale("the lock is too large".to_owned())],
        content => python::check(&metadata, content.flatten(), place.indexes.unwrap_or_default())
            .err()
            .unwrap_or_default(),
    };
    for problem in problems {
        let (rule, help) = match &problem {
            Problem::Missing if place.tree.get(&beside).is_some() => {
                (&rules::PYTHON_LOCK_MISSING, format!("add `{lock}` to `files`"))
            }
            Problem::Missing => (&rules::PYTHON_LOCK_MISSING, format!("uv lock --script {full}")),
            Problem::Stale(_) => (&rules::PYTHON_LOCK_STALE, format!("uv lock --script {full}")),
            Problem::NoWheel(_) => (
                &rules::PYTHON_NO_WHEEL,
                "take a version that an index has a wheel of, or leave the package out".to_owned(),
            ),
            // A shared workflow that is looked at alone is nobody's yet.
            Problem::Unlisted(_) if place.indexes.is_none() => continue,
            Problem::Unlisted(_) => (
                &rules::PYTHON_INDEX,
                "let a platform admin add where it comes from, and where its files lie, to `[python] indexes` of \
                 tenantry.toml"
                    .to_owned(),
            ),
        };
        let finding = rule.at(place.path, Some(run.span), problem.message(&run.value)).help(help);
        found.push(finding.related(full, None, "the script"));
    }
}
