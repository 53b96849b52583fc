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
    Entry { mode, id, size: bytes.len() as u64, content: Some(Arc::from(bytes)) }
}

pub fn tree(files: &[(&str, &str)]) -> Tree {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), entry(path, text.as_bytes()))).collect();
    Tree { revision: revision(), files, misnamed: Vec::new(), truncated: None }
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

/// `RULE LINE:COLUMN message` of every finding.
pub fn told(found: &[Diagnostic]) -> Vec<String> {
    found
        .iter()
        .map(|finding| {
            let start = finding.at.span.unwrap_or_default().start;
            format!("{} {}:{} {}", finding.rule.id, start.line, start.column, finding.message)
        })
        .collect()
}

/// What is found with these files.
pub fn findings(more: &[(&str, &str)]) -> Vec<String> {
    told(&read(&tenant_tree(more), &[]).1)
}

/// What is found in a workflow.
pub fn of_workflow(text: &str) -> Vec<String> {
    findings(&[("workflows/sync.yaml", text)])
}
