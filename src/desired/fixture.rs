//! Trees from texts, for the tests of this room.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::domain::{
    ChangeKeys, DesiredState, Diagnostic, Entry, Listing, Mode, ObjectId, Platform, Revision, Tree,
};

pub const SETTINGS: &str = "format = 1\nid = \"0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11\"\nname = \"northwind\"\n\
    [change_control]\nmode = \"open\"\n[limits]\nrun_timeout = \"6h\"\nmemory = \"2GiB\"\n[retention]\nlogs = \"7d\"\n";
pub const PEOPLE: &str = "users: { alice: {}, bob: {} }\nservices: { ci-bot: { owner: alice } }\n\
    groups: { ops: [alice], nobody: [] }\n";
pub const TENANT: &str = "owner: alice\ntimezone: Europe/Berlin\nlimits: { run_timeout: 1h, memory: 512MiB }\n\
    egress: [api.example:443]\n";

pub fn revision() -> Revision {
    Revision { commit: ObjectId::null(), branch: "main".into() }
}

/// Scripts are executable; everything else is not.
pub fn entry(path: &str, bytes: &[u8]) -> Entry {
    let id = hex::encode(&Sha256::digest(bytes)[..20]).parse().unwrap();
    let mode = if path.contains("/scripts/") { Mode::Executable } else { Mode::File };
    Entry { mode, id, size: bytes.len() as u64, content: Some(Arc::from(bytes)), searched: None }
}

pub fn tree(files: &[(&str, &str)]) -> Tree {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), entry(path, text.as_bytes()))).collect();
    Tree { revision: revision(), files, misnamed: Vec::new(), truncated: None, pinned: BTreeMap::new() }
}

pub fn platform_tree(more: &[(&str, &str)]) -> Tree {
    let mut files = BTreeMap::from([
        ("tenantry.toml", SETTINGS),
        ("platform/people.yaml", PEOPLE),
        ("platform/roles.yaml", "admin: [alice]\n"),
    ]);
    files.extend(more.iter().copied());
    tree(&files.into_iter().collect::<Vec<_>>())
}

pub fn platform() -> Platform {
    let (platform, found) = super::read_platform(&platform_tree(&[]));
    platform.unwrap_or_else(|| panic!("{found:?}"))
}

pub fn listing() -> Listing {
    let keys = ChangeKeys::default();
    Listing {
        revision: revision(),
        root: ObjectId::null(),
        settings: keys.settings,
        platform: keys.platform,
        shared: BTreeMap::new(),
        tenants: BTreeMap::new(),
        misplaced: Vec::new(),
    }
}

/// A tenant that is in order, with these files in place of or beside its own.
pub fn tenant_tree(more: &[(&str, &str)]) -> Tree {
    let mut files = BTreeMap::from([
        ("tenants/acme/tenant.yaml".to_owned(), TENANT),
        ("tenants/acme/roles.yaml".to_owned(), "operator: [bob]\n"),
        ("tenants/acme/scripts/a.sh".to_owned(), "#!/bin/sh\necho a\n"),
    ]);
    files.extend(more.iter().map(|(path, text)| (format!("tenants/acme/{path}"), *text)));
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    tree(&files)
}

pub fn read(tree: &Tree, shared: &[(&str, &str)]) -> (Option<DesiredState>, Vec<Diagnostic>) {
    let tenant = "acme".parse().unwrap();
    super::read(&platform(), &listing(), &platform_tree(shared), tree, &tenant)
}

/// The tenant with these files, which must be in order.
#[track_caller]
pub fn valid(more: &[(&str, &str)]) -> DesiredState {
    let (state, found) = read(&tenant_tree(more), &[]);
    assert_eq!(found, [], "no findings");
    state.unwrap()
}

/// Checks that these files have exactly one finding: its rule, and the text that it points to (empty for a file).
#[track_caller]
pub fn check(files: &[(&str, &str)], rule: &str, at: &str) {
    check_tree(&tenant_tree(files), rule, at);
}

/// As [`check`], for a workflow.
#[track_caller]
pub fn check_workflow(text: &str, rule: &str, at: &str) {
    check(&[("workflows/sync.yaml", text)], rule, at);
}

#[track_caller]
pub fn check_tree(tree: &Tree, rule: &str, at: &str) {
    let (state, found) = read(tree, &[]);
    told_once(tree, &found, rule, at);
    assert_eq!(
        state.is_none(),
        found[0].severity == crate::domain::Severity::Error,
        "only errors take the state"
    );
}

/// As [`check`], for the platform's files.
#[track_caller]
pub fn check_platform(files: &[(&str, &str)], rule: &str, at: &str) {
    let tree = platform_tree(files);
    told_once(&tree, &super::read_platform(&tree).1, rule, at);
}

#[track_caller]
fn told_once(tree: &Tree, found: &[Diagnostic], rule: &str, at: &str) {
    let rules: Vec<_> = found.iter().map(|finding| (finding.rule.id, &finding.message)).collect();
    assert!(found.len() == 1 && found[0].rule.id == rule, "wanted {rule}, found {rules:?}");
    let text = found[0].at.span.map_or("", |span| {
        let text = tree.get(&found[0].at.path).and_then(|entry| entry.content.as_deref());
        std::str::from_utf8(&text.unwrap_or_default()[span.start.offset..span.end.offset]).unwrap_or_default()
    });
    assert_eq!(text, at, "{rule} points to another place");
    let message = &found[0].message;
    assert!(!message.ends_with('.') && !message.starts_with(char::is_uppercase), "{message}");
    assert!(found[0].help.is_some() || rule == "Y001" || rule == "W218", "{rule} says no cure: {message}");
}

/// `RULE LINE:COLUMN message` of every finding in a workflow.
pub fn of_workflow(text: &str) -> Vec<String> {
    read(&tenant_tree(&[("workflows/sync.yaml", text)]), &[])
        .1
        .iter()
        .map(|finding| {
            let start = finding.at.span.unwrap_or_default().start;
            format!("{} {}:{} {}", finding.rule.id, start.line, start.column, finding.message)
        })
        .collect()
}
