//! Where files lie: known places, links, names that collide.

use std::collections::BTreeMap;

use super::{Tenancy, content};
use crate::desired::lower::file::Found;
use crate::desired::rules;
use crate::domain::{Diagnostic, Entry, FileChange, Mode, Position, Span, Tree, WorkflowId};

/// Looks over one tenant's directory. False where the tree is not whole: nothing may be concluded from it.
pub(super) fn check_tenant(tenancy: &Tenancy<'_>, found: &mut Found) -> bool {
    if !check_below(&tenancy.root, tenancy.tree, found) {
        return false;
    }
    for (path, entry) in tenancy.tree.below(&tenancy.root) {
        let place = &path[tenancy.root.len()..];
        check_place(path, place, tenancy.tree, found);
        content::check(path, entry, found);
        let data = !place.starts_with("scripts/");
        if data && entry.mode == Mode::Executable {
            let finding = rules::EXECUTABLE_DATA
                .at(path, None, "a file of configuration is executable")
                .help(format!("git update-index --chmod=-x {path}"));
            found.push(finding);
        }
    }
    true
}

/// What no file below a directory may be. False where the tree is not whole.
pub(super) fn check_below(root: &str, tree: &Tree, found: &mut Found) -> bool {
    if let Some(reason) = &tree.truncated {
        let finding = rules::TREE_TRUNCATED
            .at(root.trim_end_matches('/'), None, format!("the directory was not read in full: {reason}"))
            .help("remove what its workflows do not need; nothing of it is applied until then");
        found.push(finding);
        return false;
    }
    for path in tree.misnamed.iter().filter(|path| path.starts_with(root)) {
        found.push(
            rules::PATH_NOT_UTF8.at(path, None, "the name of this file is not UTF-8").help("rename it"),
        );
    }
    let mut folded: BTreeMap<String, &str> = BTreeMap::new();
    for (path, entry) in tree.below(root) {
        check_entry(path, entry, found);
        // A directory collides as its files do, and once is enough.
        let mut end = root.len();
        while let Some(next) =
            path[end..].find('/').map(|at| end + at).or((end < path.len()).then_some(path.len()))
        {
            let part = &path[..next];
            match folded.get(&part.to_lowercase()) {
                Some(first) if *first != part => {
                    let finding = rules::CASE_COLLISION
                        .at(path, None, format!("`{part}` and `{first}` differ only in the case of letters"))
                        .help("rename one of them")
                        .related(first, None, "the other one");
                    found.push(finding);
                    break;
                }
                Some(_) => {}
                None => {
                    folded.insert(part.to_lowercase(), part);
                }
            }
            if next == path.len() {
                break;
            }
            end = next + 1;
        }
    }
    true
}

fn check_entry(path: &str, entry: &Entry, found: &mut Found) {
    let what = match entry.mode {
        Mode::File | Mode::Executable => return,
        Mode::Symlink => "a symbolic link",
        Mode::Submodule => "a submodule",
    };
    let finding = rules::LINK
        .at(path, None, format!("{what} is not read"))
        .help("commit the files themselves in its place");
    found.push(finding);
}

/// Whether something is read at this place of a tenant's directory.
fn check_place(path: &str, place: &str, tree: &Tree, found: &mut Found) {
    if place.ends_with(".md") || place.starts_with("scripts/") {
        return;
    }
    if place.ends_with(".yml") {
        found.push(yml(path, tree));
        return;
    }
    if place.starts_with("policies/") && place.ends_with(".cedar") {
        found.list.extend(permit_in_policy(path, tree));
        let finding = rules::NOT_SUPPORTED
            .at(path, None, "policies are not supported yet")
            .help("remove the file: it would guard nothing");
        found.push(finding);
        return;
    }
    if let Some(name) = place.strip_prefix("workflows/").and_then(|name| name.strip_suffix(".yaml")) {
        if name.contains('/') {
            unknown(path, "workflows lie directly in `workflows/`", found);
        } else if let Err(error) = name.parse::<WorkflowId>() {
            let message = format!("`{}` cannot name a workflow: {error}", name.escape_debug());
            found.push(
                rules::BAD_NAME
                    .at(path, None, message)
                    .help("rename the file: its name is the workflow's id"),
            );
        }
        return;
    }
    match place {
        "tenant.yaml" | "roles.yaml" | "secrets.yaml" => {}
        // Judged against the index.
        _ if place.starts_with("secrets/") => {}
        _ => {
            let known = [
                "tenant.yaml",
                "roles.yaml",
                "secrets.yaml",
                "secrets/",
                "workflows/",
                "scripts/",
                "policies/",
            ];
            let first = place.split_inclusive('/').next().unwrap_or(place);
            let help = match crate::desired::written::nearest(first, known) {
                Some(near) if near != first => format!("did you mean `{near}`?"),
                _ => format!("a tenant has {}", crate::desired::written::listed(known)),
            };
            unknown(path, &help, found);
        }
    }
}

/// A file that ends in `.yml`; renaming it is a fix unless the other name is taken.
pub(super) fn yml(path: &str, tree: &Tree) -> Diagnostic {
    let stem = path.strip_suffix(".yml").unwrap_or(path);
    let (to, name) = (format!("{stem}.yaml"), stem.rsplit('/').next().unwrap_or(stem));
    let finding = rules::YML_EXTENSION.at(path, None, "a file that ends in `.yml` is not read");
    if tree.get(&to).is_some() {
        return finding
            .help(format!("remove it, or merge it into `{name}.yaml`, which stands beside it"))
            .related(&to, None, "this one is read");
    }
    finding.help(format!("rename it to `{name}.yaml`")).fix_file(
        format!("rename it to `{name}.yaml`"),
        path,
        FileChange::Rename { to },
    )
}

/// A `permit` of a policy, comments aside: policies may only forbid.
pub(super) fn permit_in_policy(path: &str, tree: &Tree) -> Option<Diagnostic> {
    let text = std::str::from_utf8(tree.get(path)?.content.as_deref()?).ok()?;
    let (mut offset, mut line) = (0, 0);
    for written in text.split_inclusive('\n') {
        line += 1;
        let code = written.split("//").next().unwrap_or(written);
        let words = code.match_indices("permit").find(|(at, word)| {
            let name = |c: char| c.is_alphanumeric() || c == '_';
            !code[..*at].ends_with(name) && !code[at + word.len()..].starts_with(name)
        });
        if let Some((at, word)) = words {
            let column = 1 + code[..at].chars().count();
            let start = Position { offset: offset + at, line, column };
            let end =
                Position { offset: start.offset + word.len(), line, column: column + word.chars().count() };
            let finding = rules::POLICY_PERMITS.at(path, Some(Span { start, end }), "a policy cannot permit");
            return Some(finding.help("write `forbid`; what somebody may do stands in roles.yaml"));
        }
        offset += written.len();
    }
    None
}

fn unknown(path: &str, help: &str, found: &mut Found) {
    found.push(rules::UNKNOWN_PLACE.at(path, None, "nothing is read at this place").help(help));
}
