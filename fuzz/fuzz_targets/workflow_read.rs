//! A tenant whose only workflow is any bytes is read or refused, never both, and refused with a place in the file.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tenantry::desired;
use tenantry::domain::{Entry, Listing, Mode, ObjectId, Revision, Severity, Tree};

fn tree(files: &[(&str, &[u8])]) -> Tree {
    let files = files.iter().map(|(path, bytes)| {
        let entry = Entry {
            mode: Mode::File,
            id: ObjectId::null(),
            size: bytes.len() as u64,
            content: Some(Arc::from(*bytes)),
        };
        ((*path).to_owned(), entry)
    });
    let revision = Revision { commit: ObjectId::null(), branch: "main".into() };
    Tree { revision, files: files.collect(), misnamed: Vec::new(), truncated: None, pinned: BTreeMap::new() }
}

fuzz_target!(|bytes: &[u8]| {
    let shared = tree(&[
        ("tenantry.toml", b"format = 1\nid = \"0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11\"\nname = \"x\"\n"),
        ("platform/people.yaml", b"users: { alice: {} }\n"),
        ("platform/roles.yaml", b"admin: [alice]\n"),
    ]);
    let Some(platform) = desired::read_platform(&shared).0 else { panic!("the platform is in order") };
    let tree = tree(&[
        ("tenants/acme/tenant.yaml", b"owner: alice\n"),
        ("tenants/acme/roles.yaml", b"operator: [alice]\n"),
        ("tenants/acme/workflows/sync.yaml", bytes),
    ]);
    let listing = Listing {
        revision: tree.revision.clone(),
        root: ObjectId::null(),
        settings: None,
        platform: None,
        shared: BTreeMap::new(),
        tenants: BTreeMap::new(),
        misplaced: Vec::new(),
    };
    let Ok(tenant) = "acme".parse() else { return };
    let (state, found) = desired::read(&platform, &listing, &shared, &tree, &tenant);
    assert_eq!(state.is_none(), found.iter().any(|finding| finding.severity == Severity::Error));
    for span in found.iter().filter_map(|finding| finding.at.span) {
        assert!(span.start.offset <= span.end.offset && span.end.offset <= bytes.len().max(32));
    }
});
