//! Shared workflows: taken in, mapped, pinned, and whose mistake is whose.

use std::collections::BTreeMap;

use super::super::fixture::*;
use crate::domain::{Pinned, Tree};

const COMMIT: &str = "1111111111111111111111111111111111111111";
const BODY: &str = "inputs: { region: { type: string } }\nrun: pull.py\nsecrets: [db_url]\n";
const SHARED: [(&str, &str); 2] =
    [("shared/invoices/workflow.yaml", BODY), ("shared/invoices/pull.py", "#!/bin/sh\n")];

fn shared_files(body: &str) -> Tree {
    let mut tree =
        tree(&[("shared/invoices/workflow.yaml", body), ("shared/invoices/pull.py", "#!/bin/sh\n")]);
    tree.files.get_mut("shared/invoices/pull.py").unwrap().mode = crate::domain::Mode::Executable;
    tree
}

/// The rules and messages of a tenant that uses the shared workflow with these lines beside `uses`.
fn found(beside: &str, body: &str, pinned: Option<Pinned>) -> Vec<String> {
    let at = if pinned.is_some() { format!("@{COMMIT}") } else { String::new() };
    let mut tree = tenant_tree(&[("workflows/bills.yaml", &format!("uses: shared/invoices{at}\n{beside}"))]);
    tree.pinned = pinned.map(|pinned| (format!("shared/invoices@{COMMIT}"), pinned)).into_iter().collect();
    let mut shared = platform_tree(&[]);
    shared.files.extend(shared_files(body).files);
    let tenant = "acme".parse().unwrap();
    let (state, found) = super::super::read(&platform(), &listing(), &shared, &tree, &tenant);
    if let Some(state) = &state {
        let workflow = &state.state.workflows["bills"];
        assert_eq!(workflow.uses.as_deref(), Some(format!("shared/invoices{at}").as_str()));
        assert_eq!(workflow.files.keys().collect::<Vec<_>>(), ["pull.py"]);
    }
    found
        .iter()
        .map(|finding| {
            let line = finding.at.span.map_or(0, |span| span.start.line);
            format!("{} {}:{line} {}", finding.rule.id, finding.at.path, finding.message)
        })
        .collect()
}

/// A body that reads no secret, so that the tenant needs none.
const PLAIN: &str = "inputs: { region: { type: string, required: false } }\nrun: pull.py\n";

#[test]
fn a_use_is_taken_in_with_what_stands_beside_it() {
    assert_eq!(found("with: { region: us }\ntimeout: 10m\nalert: page\n", PLAIN, None), [""; 0]);
    assert_eq!(found("on: { schedule: \"0 7 * * *\" }\nconcurrency: { key: a }\n", PLAIN, None), [""; 0]);
    let refused = found("steps: { a: { run: pull.py } }\n", PLAIN, None);
    assert_eq!(refused, ["S109 tenants/acme/workflows/bills.yaml:2 `steps` cannot stand beside `uses`"]);
}

#[test]
fn globs_beside_a_use_are_written_from_the_tenants_directory() {
    assert_eq!(found("on: { commit: { paths: [scripts/a.sh] } }\n", PLAIN, None), [""; 0]);
}

#[test]
fn what_a_shared_workflow_needs_and_a_tenant_does_not_give_is_that_tenants_mistake() {
    let lacks = found("with: { region: us }\n", BODY, None);
    let mine = "W226 tenants/acme/workflows/bills.yaml:1 the shared workflow asks for the secret `db_url`, which this tenant does not give";
    assert!(lacks.iter().any(|line| line == mine), "{lacks:?}");
    let gone = found("", "run: gone.py\n", None);
    assert_eq!(gone, ["W208 shared/invoices/workflow.yaml:1 there is no script `gone.py`"]);
}

#[test]
fn a_secret_keeps_the_name_that_the_shared_script_asks_for() {
    let body = "run: pull.py\nsecrets: [db_url, motd, { name: hook, env: HOOK }]\n";
    let uses = "uses: shared/invoices\nsecrets: { db_url: db, motd: motd, hook: db }\n";
    let version = "{ id: v1, state: revoked }";
    let index =
        format!("secrets: {{ db: {{ versions: [{version}] }}, motd: {{ versions: [{version}] }} }}\n");
    let key = super::secret_files::OTHER_KEY;
    let tree = tenant_tree(&[
        ("tenant.yaml", &format!("owner: alice\nsecrets: {{ recipients: [{key}] }}\n")),
        ("workflows/bills.yaml", uses),
        ("secrets.yaml", &index),
    ]);
    let mut shared = platform_tree(&[]);
    shared.files.extend(shared_files(body).files);
    let tenant = "acme".parse().unwrap();
    let (state, found) = super::super::read(&platform(), &listing(), &shared, &tree, &tenant);
    let state = state.unwrap_or_else(|| panic!("{found:?}"));
    let secrets = &state.state.workflows["bills"].steps[0].secrets;
    let names: Vec<_> = secrets.iter().map(|used| (used.asked().as_str(), used.name.as_str())).collect();
    assert_eq!(names, [("db_url", "db"), ("motd", "motd"), ("hook", "db")]);
    assert_eq!(secrets[1].alias, None, "no other name, none to tell");
}

#[test]
fn a_pin_is_read_as_of_its_commit() {
    let old = || Some(Pinned::Files(Box::new(shared_files(PLAIN))));
    assert_eq!(
        found("with: { region: us }\n", "run: gone.py\n", old()),
        [""; 0],
        "the head's body does not matter"
    );
    let broken = found("", PLAIN, Some(Pinned::Files(Box::new(shared_files("run: gone.py\n")))));
    assert_eq!(
        broken,
        [
            "W208 tenants/acme/workflows/bills.yaml:1 there is no script `gone.py` (`shared/invoices/workflow.yaml`:1 as of 11111111)"
        ]
    );
}

#[test]
fn a_pin_that_leads_nowhere_is_refused() {
    let empty = Tree { files: BTreeMap::new(), ..shared_files(PLAIN) };
    let refused = |pinned| found("", PLAIN, Some(pinned));
    let at = "W226 tenants/acme/workflows/bills.yaml:1";
    assert_eq!(
        refused(Pinned::NoAncestor),
        [format!("{at} 11111111 is no commit that comes before this one")]
    );
    assert_eq!(
        refused(Pinned::Files(Box::new(empty))),
        [format!("{at} there was no shared workflow `invoices` at 11111111")]
    );
    assert_eq!(refused(Pinned::TooMany), [format!("{at} this tenant pins more commits than are read")]);
    for uses in ["shared/invoices@main", "shared/invoices@1111111", "shared/invoices@", "invoices@1"] {
        let (state, found) =
            read(&tenant_tree(&[("workflows/bills.yaml", &format!("uses: {uses}\n"))]), &SHARED);
        assert!(state.is_none() && found[0].rule.id == "S108", "{uses}: {found:?}");
    }
}

#[test]
fn pins_are_found_without_the_rest_being_right() {
    let tree = tenant_tree(&[
        ("workflows/a.yaml", &format!("uses: shared/invoices@{COMMIT}\nnonsense: 1\n")),
        ("workflows/b.yaml", "uses: shared/invoices@main\n"),
        ("workflows/c.yaml", "uses: shared/invoices\n"),
        ("workflows/d.yaml", "uses: [\n"),
    ]);
    let tenant = "acme".parse().unwrap();
    let pins: Vec<_> = super::super::pins_used(&tree, &tenant).into_iter().collect();
    assert_eq!(pins, [("invoices".to_owned(), COMMIT.parse().unwrap())]);
    let used: Vec<_> = super::super::shared_used(&tree, &tenant).into_iter().collect();
    assert_eq!(used, ["invoices"], "what is pinned does not follow the directory");
}
