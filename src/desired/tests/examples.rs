//! The examples of every rule's page are run: the wrong one is found by its rule and no other, the right one by
//! none. What they print as text, JSON and SARIF is kept in `tests/rules/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::secret_files::{FILE, OTHER_KEY, RECOVERY_KEY, TENANT_KEY, with_hidden_stanza};
use crate::desired::rules::{self, Kind, Rule};
use crate::desired::{self, Author, Requirements, Side, Signature, TenantChange, fixture, report};
use crate::domain::{
    Class, DesiredState, Diagnostic, Entry, Listing, Mode, ObjectId, Severity, TenantId, Tree,
};

/// The clock of the examples.
const NOW: &str = "2026-01-15T12:00:00Z";
/// Rules that an example cannot do without finding as well, each for a reason.
const ALSO: [(&str, &str); 3] = [
    // Policies are not read yet.
    ("R413", "S111"),
    // Without recipients every one of a file is one too many; so is one that retired.
    ("K318", "K305"),
    ("K326", "K305"),
];

const SETTINGS: &str = "format = 1\nid = \"0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11\"\nname = \"northwind\"\n\
    [change_control]\nmode = \"open\"\n[limits]\nrun_timeout = \"6h\"\nelevation_max = \"8h\"\nmemory = \"2GiB\"\n\
    [retention]\nruns = \"90d\"\nlogs = \"7d\"\n[secrets]\nrecovery = [\"age1recovery…\"]\n";
const PEOPLE: &str = "users:\n  alice: { email: alice@northwind.example }\n  bob: { email: bob@northwind.example }\n  \
    carol: { email: carol@northwind.example }\n  dave: { email: dave@northwind.example }\nservices: { ci-bot: { owner: alice } }\n\
    groups: { acme-owners: [alice], acme-ops: [alice, bob], compliance: [carol] }\n";

/// A repository that is in order, with the secret `warehouse_url` or without secrets.
fn base(secret: bool, change: bool) -> BTreeMap<String, (Mode, Vec<u8>)> {
    let file = |text: &str| (Mode::File, unfolded(text));
    let script = |text: &str| (Mode::Executable, text.as_bytes().to_vec());
    let recipients = if secret { "secrets: { recipients: [age1acme…] }\n" } else { "" };
    let tenant = format!(
        "owner: group:acme-owners\ntimezone: Europe/Berlin\nlimits: {{ run_timeout: 1h, memory: 512MiB }}\n\
         egress: [api.stripe.com:443]\n{recipients}"
    );
    let settings =
        if change { SETTINGS.replace("\"open\"", "\"pull-request\"") } else { SETTINGS.to_owned() };
    let mut files = BTreeMap::from([
        ("tenantry.toml", file(&settings)),
        ("platform/people.yaml", file(PEOPLE)),
        ("platform/roles.yaml", file("admin: [alice]\n")),
        ("tenants/acme/tenant.yaml", file(&tenant)),
        (
            "tenants/acme/roles.yaml",
            file("operator: [group:acme-ops]\ndeveloper: [bob, carol]\nauditor: [group:compliance]\n"),
        ),
        ("tenants/acme/scripts/pull.py", script("#!/usr/bin/env python3\n")),
        ("tenants/acme/scripts/load.sh", script("#!/bin/sh\n")),
    ]);
    if secret {
        files.extend([
            (
                "tenants/acme/secrets.yaml",
                file("secrets: { warehouse_url: { versions: [{ id: v1, state: current }] } }\n"),
            ),
            ("tenants/acme/secrets/warehouse_url.v1.sops.yaml", file(FILE)),
            ("tenants/acme/workflows/billing.yaml", file("run: scripts/pull.py\nsecrets: [warehouse_url]\n")),
        ]);
    }
    files.into_iter().map(|(path, file)| (path.to_owned(), file)).collect()
}

/// The abbreviations of the pages, written out.
fn unfolded(text: &str) -> Vec<u8> {
    let armour = |file: &str, at: usize| {
        let block = file.split("-----BEGIN AGE").nth(at).unwrap();
        let block = block.split("-----END AGE ENCRYPTED FILE-----").next().unwrap();
        let lines: Vec<&str> = block.lines().map(str::trim).collect();
        format!("-----BEGIN AGE {}-----END AGE ENCRYPTED FILE-----\\n", lines.join("\\n"))
    };
    let value = FILE.lines().find(|line| line.trim_start().starts_with("v1: ")).unwrap();
    let mac = FILE.lines().find(|line| line.trim_start().starts_with("mac: ")).unwrap();
    let signing = "AAAAC3NzaC1lZDI1NTE5AAAAIETaPnS76G0jWa8hSBd2r31ObuzgjbwZ1eyecX2jEVc0";
    let text = text
        .replace("age1acme…", TENANT_KEY)
        .replace("age1recovery…", RECOVERY_KEY)
        .replace("age1other…", OTHER_KEY)
        .replace("…for acme and somebody else…", &armour(&with_hidden_stanza(), 1))
        .replace("…for acme…", &armour(FILE, 1))
        .replace("…for recovery…", &armour(FILE, 2))
        .replace("…for other…", &armour(FILE, 2))
        .replace("ENC[…mac…]", mac.trim_start().strip_prefix("mac: ").unwrap())
        .replace("ENC[…]", value.trim_start().strip_prefix("v1: ").unwrap())
        .replace("AAAA…of-alice", signing)
        .replace("AGE-SECRET-KEY-1…", &format!("AGE-SECRET-KEY-1{}", "Q".repeat(58)))
        .replace("ghp_…", &format!("ghp_{}", "0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX"))
        .replace("…password…", "h7fQx2");
    unescaped(&text)
}

/// `\u{202e}`, `\xe9` and `\r`, as a page shows what cannot be seen.
fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        if let Some((number, after)) = escape.strip_prefix("u{").and_then(|rest| rest.split_once('}')) {
            let c = char::from_u32(u32::from_str_radix(number, 16).unwrap()).unwrap();
            out.extend_from_slice(c.to_string().as_bytes());
            rest = after;
        } else if let Some(after) = escape.strip_prefix('x') {
            out.push(u8::from_str_radix(&after[..2], 16).unwrap());
            rest = &after[2..];
        } else if let Some(after) = escape.strip_prefix('r') {
            out.push(b'\r');
            rest = after;
        } else {
            out.push(b'\\');
            rest = escape;
        }
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// One file of an example: its header, and what stands in it.
struct Part {
    before: bool,
    path: String,
    how: String,
    body: String,
}

/// A header is a comment that is a path, and may say more behind a comma; without one the text is a workflow.
fn parts(text: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for line in text.lines() {
        let header = line.strip_prefix("# ").map(|header| match header.strip_prefix("before: ") {
            Some(header) => (true, header),
            None => (false, header),
        });
        let named = header.filter(|(_, header)| {
            ["tenants/", "platform/", "shared/"].iter().any(|place| header.starts_with(place))
                || header.split(',').next() == Some("tenantry.toml")
        });
        if let Some((before, header)) = named {
            let (path, how) = header.split_once(", ").unwrap_or((header, ""));
            parts.push(Part { before, path: path.into(), how: how.into(), body: String::new() });
            continue;
        }
        if parts.is_empty() {
            let path = "tenants/acme/workflows/sync.yaml".to_owned();
            parts.push(Part { before: false, path, how: String::new(), body: String::new() });
        }
        let part = parts.last_mut().unwrap();
        part.body.push_str(line);
        part.body.push('\n');
    }
    parts
}

/// A whole repository.
#[derive(Default)]
struct Repository {
    files: BTreeMap<String, (Mode, Vec<u8>)>,
    /// Those of 20 MiB, which nobody holds.
    large: BTreeSet<String>,
    misnamed: Vec<String>,
    truncated: Option<String>,
}

impl Repository {
    fn of(example: &str, change: bool, before: bool) -> Self {
        let files = base(example.contains("warehouse_url"), change);
        let mut repository = Self { files, ..Self::default() };
        for part in parts(example).iter().filter(|part| part.before || !before) {
            repository.put(part);
        }
        repository
    }

    fn put(&mut self, part: &Part) {
        let path = part.path.clone();
        if path.contains('\\') {
            self.misnamed.push(path);
            return;
        }
        let mut body = part.body.clone();
        if part.how == "as sops writes it" {
            let version = path.rsplit('/').next().and_then(|name| name.split('.').nth(1)).unwrap();
            body = FILE.replace("    v1:", &format!("    {version}:"));
        }
        if let Some(times) = part.how.strip_prefix("last line ").and_then(|rest| rest.strip_suffix(" times"))
        {
            let last = format!("{}\n", body.lines().last().unwrap());
            body.push_str(&last.repeat(times.parse::<usize>().unwrap() - 1));
        }
        let mode = match part.how.as_str() {
            "executable" => Mode::Executable,
            "a link" => Mode::Symlink,
            "20 MiB of data" => {
                self.large.insert(path.clone());
                Mode::File
            }
            "removed" => {
                self.files.remove(&path);
                return;
            }
            "more files than are read" => {
                self.truncated = Some("more than 10,000 files".into());
                return;
            }
            _ => Mode::File,
        };
        self.files.insert(path, (mode, unfolded(&body)));
    }

    /// The files that `belongs` takes.
    fn tree(&self, belongs: impl Fn(&str) -> bool) -> Tree {
        let entry = |mode: Mode, bytes: &[u8]| Entry { mode, ..fixture::entry("", bytes) };
        Tree {
            revision: fixture::revision(),
            files: self
                .files
                .iter()
                .filter(|(path, _)| belongs(path))
                .map(|(path, (mode, bytes))| {
                    let held = entry(*mode, bytes);
                    let large = Entry { content: None, size: 20 << 20, ..held.clone() };
                    (path.clone(), if self.large.contains(path) { large } else { held })
                })
                .collect(),
            misnamed: self.misnamed.iter().filter(|path| belongs(path)).cloned().collect(),
            truncated: self.truncated.clone().filter(|_| belongs("tenants/acme/")),
            pinned: BTreeMap::new(),
        }
    }

    fn listing(&self) -> Listing {
        let names: BTreeSet<&str> =
            self.files.keys().filter_map(|path| path.strip_prefix("tenants/")?.split('/').next()).collect();
        let tenants = names.into_iter().filter_map(|name| Some((name.parse().ok()?, ObjectId::null())));
        Listing { tenants: tenants.collect(), ..fixture::listing() }
    }

    /// Everything that `validate` finds, in its order.
    fn found(&self) -> Vec<Diagnostic> {
        let shared = self.tree(|path| !path.starts_with("tenants/"));
        let listing = self.listing();
        let (platform, mut found) = desired::read_platform(&shared);
        found.extend(desired::check_listing(&listing));
        found.extend(desired::check_shared(&shared));
        let mut recipients: Vec<(&TenantId, Vec<String>)> = Vec::new();
        for tenant in listing.tenants.keys().filter(|_| platform.is_some()) {
            let root = format!("tenants/{tenant}/");
            let tree = self.tree(|path| path.starts_with(&root));
            let (state, own) = desired::read(platform.as_ref().unwrap(), &listing, &shared, &tree, tenant);
            recipients.extend(state.map(|state| (tenant, state.state.settings.recipients)));
            found.extend(own);
            found.extend(desired::check_clock(&tree, tenant, NOW.parse().unwrap()));
        }
        let texts = |path: &str| self.files.get(path).map(|(_, bytes)| Arc::from(bytes.as_slice()));
        found.extend(desired::check_fleet(
            recipients.iter().map(|(tenant, keys)| (*tenant, keys.as_slice())),
            &texts,
        ));
        report::sort(&mut found);
        found.dedup();
        found
    }

    fn text(&self, path: &str) -> Option<String> {
        self.files.get(path).and_then(|(_, bytes)| String::from_utf8(bytes.clone()).ok())
    }
}

fn found(rule: &Rule, example: &str) -> (Repository, Vec<Diagnostic>) {
    let change = rule.kind == Kind::Change;
    let repository = Repository::of(example, change, false);
    let mut found = repository.found();
    if change {
        found.extend(found_in_change(&Repository::of(example, change, true), &repository, example));
        report::sort(&mut found);
    }
    (repository, found)
}

type Read = Option<(Tree, Option<DesiredState>)>;

fn side(read: &Read) -> Option<Side<'_>> {
    read.as_ref().map(|(tree, state)| Side { tree, state: state.as_ref() })
}

fn author(part: &Part) -> Option<Author> {
    let who = part.how.strip_prefix("by ")?;
    let name = if who == "an unsigned commit" { "bob" } else { who };
    let email = format!("{name}@northwind.example");
    Some(Author { commit: Some("0123456789".into()), email, signature: Signature::Missing })
}

/// What the change rules find between two repositories; who wrote a file stands in its header.
fn found_in_change(before: &Repository, after: &Repository, example: &str) -> Vec<Diagnostic> {
    let shared = |repository: &Repository| repository.tree(|path| !path.starts_with("tenants/"));
    let (old_shared, new_shared) = (shared(before), shared(after));
    let platform = desired::read_platform(&old_shared).0.unwrap();
    let written = parts(example);
    let written: Vec<&Part> = written.iter().filter(|part| !part.before).collect();
    let everybody: Vec<Author> = written.iter().filter_map(|part| author(part)).collect();
    let mut found = desired::check_signatures(&platform, &everybody);
    let names: BTreeSet<TenantId> =
        before.listing().tenants.keys().chain(after.listing().tenants.keys()).cloned().collect();
    for tenant in names {
        let root = format!("tenants/{tenant}/");
        let read = |repository: &Repository, shared: &Tree| -> Read {
            let tree = repository.tree(|path| path.starts_with(&root));
            let listing = repository.listing();
            let state = desired::read(&platform, &listing, shared, &tree, &tenant).0;
            listing.tenants.contains_key(&tenant).then_some((tree, state))
        };
        let (old, new) = (read(before, &old_shared), read(after, &new_shared));
        let files = |read: &Read| read.as_ref().map(|(tree, _)| tree.files.clone());
        if files(&old) == files(&new) {
            continue;
        }
        let own: Vec<&&Part> = written.iter().filter(|part| part.path.starts_with(&root)).collect();
        // The plan names the classes of a change; here they go by the file.
        let classes = own.iter().map(|part| match part.path.rsplit('/').next().unwrap() {
            "roles.yaml" => Class::Grant,
            "tenant.yaml" => Class::Reach,
            _ => Class::Code,
        });
        let classes: BTreeSet<Class> = classes.collect();
        let authors: Vec<Author> = own.iter().filter_map(|part| author(part)).collect();
        let change = TenantChange {
            tenant: &tenant,
            before: side(&old),
            after: side(&new),
            classes: &classes,
            authors: &authors,
        };
        found.extend(desired::check_change(&change, &platform, &Requirements::default()));
    }
    found
}

#[test]
fn the_base_of_the_examples_is_in_order() {
    for example in ["", "# tenants/acme/x.md\nwarehouse_url"] {
        for change in [false, true] {
            assert_eq!(Repository::of(example, change, false).found(), [], "{example}");
        }
    }
}

#[test]
fn a_wrong_example_is_found_by_its_rule_alone() {
    let mut odd = String::new();
    for rule in rules::all() {
        let (_, found) = found(rule, rule.wrong);
        let others: Vec<_> = found
            .iter()
            .filter(|one| one.rule.id != rule.id && !ALSO.contains(&(rule.id, one.rule.id)))
            .map(|one| format!("{} {:?}: {}", one.rule.id, one.at, one.message))
            .collect();
        let own = found.iter().any(|one| one.rule.id == rule.id);
        if !own || !others.is_empty() {
            let _ = writeln!(odd, "{}: own {own}, others {others:#?}", rule.id);
        }
    }
    assert!(odd.is_empty(), "{odd}");
}

#[test]
fn a_right_example_has_no_finding() {
    let mut odd = String::new();
    for rule in rules::all() {
        let (_, found) = found(rule, rule.right);
        if !found.is_empty() {
            let ids: Vec<_> = found.iter().map(|one| format!("{} {}", one.rule.id, one.message)).collect();
            let _ = writeln!(odd, "{}: {ids:?}", rule.id);
        }
    }
    assert!(odd.is_empty(), "{odd}");
}

/// What holds for every finding, whatever its rule.
#[test]
fn a_finding_says_where_and_how_it_is_cured() {
    let mut odd = String::new();
    // A reader of a grammar knows what is wrong there, not what was meant.
    let no_cure = ["Y001", "W218"];
    // Nothing in the file is the mistake: the file itself is, or what is not there.
    let whole_file = [
        "Y006", "Y013", "Y016", "Y017", "S106", "S110", "W209", "G501", "G502", "G505", "G506", "G507",
        "K303", "K308", "K306", "K315", "K318", "R407", "S111", "R415", "G509", "G510", "G511", "K331",
    ];
    for rule in rules::all() {
        let (repository, found) = found(rule, rule.wrong);
        for one in found.iter().filter(|one| one.rule.id == rule.id) {
            let mut odd = |what: &str| {
                let _ = writeln!(odd, "{}: {what}: {one:?}", rule.id);
            };
            if one.help.as_deref().is_none_or(str::is_empty) && !no_cure.contains(&rule.id) {
                odd("no cure");
            }
            if one.message.ends_with('.') || one.message.starts_with(char::is_uppercase) {
                odd("not written as messages are");
            }
            match one.at.span {
                None if !whole_file.contains(&rule.id) => odd("no place"),
                Some(span) => {
                    let text = repository.files.get(&one.at.path).map(|(_, bytes)| bytes.len()).unwrap_or(0);
                    if span.start.offset > span.end.offset || span.end.offset > text {
                        odd("a place outside of the file");
                    }
                }
                None => {}
            }
            if let Some(fix) = one.fix.as_ref().filter(|_| "KRG".contains(&rule.id[..1])) {
                odd(&format!("a fix for what a person has to decide: {fix:?}"));
            }
        }
    }
    assert!(odd.is_empty(), "{odd}");
}

/// A safe fix of a wrong example leaves nothing of that rule.
#[test]
fn a_fix_is_offered_where_a_page_promises_one() {
    for id in ["S101", "S103", "S105", "S112", "Y004", "Y016", "W209"] {
        let rule = rules::find(id).unwrap();
        let (_, found) = found(rule, rule.wrong);
        assert!(found.iter().all(|one| one.fix.is_some()), "{id}: {found:#?}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "reviewed outputs are files")]
fn outputs_of_every_rule_are_as_reviewed() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/schemas/sarif-schema-2.1.0.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
    let mut stale = Vec::new();
    for rule in rules::all() {
        let (repository, found) = found(rule, rule.wrong);
        let broken = usize::from(found.iter().any(|one| one.severity == Severity::Error));
        let texts = |path: &str| repository.text(path);
        let sarif = report::sarif(&found, "0.0.0");
        let errors: Vec<_> = schema.iter_errors(&sarif).map(|error| error.to_string()).collect();
        assert_eq!(errors, [""; 0], "{}: against the schema of SARIF", rule.id);
        let json = report::json(&found, None, report::Checked { checked: 1, clean: 1 - broken, broken });
        let pretty = |value: &serde_json::Value| serde_json::to_string_pretty(value).unwrap();
        let shown = format!(
            "{}\n{}\n{}\n",
            report::human(&found, &texts, false),
            pretty(&json["findings"]),
            pretty(&sarif["runs"][0]["results"])
        );
        let path = directory.join(format!("{}.txt", rule.id));
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(path, shown).unwrap();
        } else if std::fs::read_to_string(path).ok().as_deref() != Some(&shown) {
            stale.push(rule.id);
        }
    }
    assert_eq!(stale, [""; 0], "read what changed after UPDATE_GENERATED=1");
}

/// `docs/rules/` holds the page of every rule and no other.
#[test]
#[expect(clippy::disallowed_methods, reason = "pages are files")]
fn the_pages_of_rules_are_current() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/rules");
    let mut stale = Vec::new();
    for rule in rules::all() {
        let path = directory.join(format!("{}.md", rule.id));
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            std::fs::write(path, rule.page()).unwrap();
        } else if std::fs::read_to_string(path).ok().as_deref() != Some(&rule.page()) {
            stale.push(rule.id);
        }
    }
    assert_eq!(stale, [""; 0], "run the tests with UPDATE_GENERATED=1");
    let names = |directory: &PathBuf, end: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap().replace(end, "")).collect()
    };
    let want: BTreeSet<String> = rules::all().map(|rule| rule.id.to_owned()).collect();
    assert_eq!(names(&directory, ".md"), want, "pages of rules that do not exist");
    let outputs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
    assert_eq!(names(&outputs, ".txt"), want, "outputs of rules that do not exist");
}

const CANARY: &str = "CANARY";

/// Files that hold what nobody may see, in every way that a file can be wrong.
fn leaks() -> Vec<(String, String)> {
    let key = format!("{}{CANARY}2345678{}", "AGE-SECRET-KEY-1", "Q".repeat(45));
    let token = format!("{}{CANARY}0b1c2d3e4f5g6h7i8j9k0l1m2n3o4p", "ghp_");
    let pem =
        format!("-----BEGIN {} KEY-----\n{CANARY}abc\n-----END {} KEY-----\n", "RSA PRIVATE", "RSA PRIVATE");
    let encrypted = [
        format!("{CANARY}\n"),
        format!("a: {{ v1: {CANARY} }}\n"),
        format!("{CANARY}: {{ v1: x }}\n"),
        format!("a: !{CANARY} x\n"),
        format!("a: [{CANARY}\n"),
        format!("a: {CANARY}: {CANARY}: x\n"),
        format!("a: \"{CANARY}\n"),
        format!("{CANARY}: 1\n{CANARY}: 2\n{FILE}"),
        format!("*{CANARY}\n"),
        format!("\t{CANARY}: x\n"),
        format!("<<<<<<< {CANARY}\n"),
        format!("{CANARY}\u{202e}\n"),
        format!("# {CANARY}\n{FILE}"),
        format!("{FILE}---\n{CANARY}: x\n"),
        FILE.replacen("ENC[", CANARY, 1),
        FILE.replace("warehouse_url:", &format!("{CANARY}:")),
        FILE.replace(TENANT_KEY, CANARY),
        FILE.replace(TENANT_KEY, &key),
        FILE.replace("    age:", &format!("    {CANARY}: x\n    age:")),
        FILE.replace("    mac: ENC", &format!("    mac: {CANARY}")),
        FILE.replace("lastmodified: ", &format!("lastmodified: {CANARY}")),
        FILE.replace("unencrypted_suffix: _unencrypted", &format!("encrypted_regex: \"({CANARY}\"")),
        pem.clone(),
        token.clone(),
    ];
    let mut files: Vec<(String, String)> = encrypted
        .into_iter()
        .enumerate()
        .map(|(index, text)| (format!("tenants/acme/secrets/leak.v{index}.sops.yaml"), text))
        .collect();
    let plain = [
        ("scripts/key.txt", key.clone()),
        ("scripts/id_rsa", pem),
        ("scripts/load.sh", format!("#!/bin/sh\n# {token}\n")),
        ("workflows/leak-a.yaml", format!("run: {token}\nargs: [{key}, 8080]\ntimout: 5m\n")),
        ("workflows/leak-b.yaml", format!("run: {key}\nargs: [[[{key}\n")),
        ("workflows/leak-c.yaml", format!("run: scripts/{token}\nnetwork: [\"{token}\"]\nneeds: {key}\n")),
        (
            "workflows/leak-d.yaml",
            format!("run: \"curl https://u:{CANARY}pw@x.example/\"\nalert: {CANARY}\n"),
        ),
        (
            "workflows/leak-e.yaml",
            format!("steps: {{ {key}: {{ run: {token} }} }}\n{token}: 1\n{token}: 2\n"),
        ),
        ("workflows/leak-f.yaml", format!("run: !{CANARY} {key}\n")),
        (
            "workflows/leak-g.yaml",
            format!("on: {key}\ninputs: {{ a: {{ type: {token} }} }}\nwith: {{ a: \"${{{{ {key} }}}}\" }}\n"),
        ),
    ];
    files.extend(plain.into_iter().map(|(path, text)| (format!("tenants/acme/{path}"), text)));
    files.push(("platform/daemon.yaml".into(), format!("keys: {{ checkpoint: {key} }}\nfield: {token}\n")));
    files.push(("shared/leak/workflow.yaml".into(), format!("run: {token}\nsecret: {key}\n")));
    files
}

/// Whatever else is wrong with a repository, no format of any finding shows a secret, nor does a fix carry one.
#[test]
fn no_rule_and_no_format_shows_what_nobody_may_see() {
    let leaks = leaks();
    for rule in rules::all() {
        let mut repository = Repository::of(rule.wrong, false, false);
        for (path, text) in &leaks {
            repository.files.insert(path.clone(), (Mode::File, text.as_bytes().to_vec()));
        }
        let found = repository.found();
        let texts = |path: &str| repository.text(path);
        let shown = [
            report::human(&found, &texts, false),
            report::human(&found, &texts, true),
            report::json(&found, None, report::Checked::default()).to_string(),
            report::sarif(&found, "0").to_string(),
            report::github(&found),
            report::gitlab(&found).to_string(),
            report::junit(&found, &["acme".into()]),
        ];
        for text in shown {
            let line = text.lines().find(|line| line.to_uppercase().contains(CANARY));
            assert_eq!(line, None, "with the example of {}", rule.id);
        }
        let fixes = found.iter().filter_map(|one| one.fix.as_ref());
        for fix in fixes {
            assert!(!format!("{fix:?}").contains(CANARY), "with the example of {}: {fix:?}", rule.id);
        }
    }
}

#[test]
fn findings_come_in_the_order_of_files_and_are_the_same_every_time() {
    let mut repository = Repository::of("", false, false);
    for rule in rules::all() {
        for (path, file) in Repository::of(rule.wrong, false, false).files {
            repository.files.entry(path).or_insert(file);
        }
    }
    let found = repository.found();
    assert_eq!(found, repository.found());
    assert!(found.len() > 5 && found.is_sorted_by_key(|one| one.at.clone()), "{found:#?}");
}
