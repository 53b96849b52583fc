//! What `validate` passes is what the daemon applies: the example repository is damaged in any way, and both are
//! asked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::workbench::Workbench;

/// Words that mean something somewhere.
const WORDS: &[&str] = &[
    "run",
    "needs",
    "steps",
    "secrets",
    "group:nobody",
    "group:acme-ops",
    "owner",
    "5",
    "5m",
    "no",
    "null",
    "[]",
    "{}",
    "*a",
    "&a x",
    "<<",
    "0 2 30 2 *",
    "Europe/Nowhere",
    "${{ inputs.x }}",
    "${{ secrets.x }}",
    "\t",
    "\u{feff}",
    "\u{202e}",
    "\u{0}",
    "---",
    "...",
    "!tag",
    "# tenantry: ignore[W221] x",
    "scripts/../x",
    "/etc/passwd",
    "1e3",
    "current",
    "revoked",
    "v1",
    "admin",
    "*",
    "uses: shared/x",
    "paused: { reason: x }",
    "timeout: 900h",
];

/// One way to damage a file.
#[derive(Clone, Debug)]
enum Damage {
    DropLine(usize),
    TwiceLine(usize),
    Word { line: usize, word: usize, with: usize },
    Insert { line: usize, with: usize },
    CutAt(usize),
    Executable(bool),
    Remove,
    Rename(&'static str),
}

fn damage() -> impl Strategy<Value = (usize, Damage)> {
    let word = 0..WORDS.len();
    let kind = prop_oneof![
        3 => (0usize..40).prop_map(Damage::DropLine),
        2 => (0usize..40).prop_map(Damage::TwiceLine),
        4 => (0usize..40, 0usize..8, word.clone()).prop_map(|(line, word, with)| Damage::Word { line, word, with }),
        3 => (0usize..40, word).prop_map(|(line, with)| Damage::Insert { line, with }),
        1 => (0usize..400).prop_map(Damage::CutAt),
        1 => any::<bool>().prop_map(Damage::Executable),
        1 => Just(Damage::Remove),
        1 => prop::sample::select(vec!["x.yaml", "X.yaml", "x.yml", "notes.md", "x y.yaml"]).prop_map(Damage::Rename),
    ];
    (any::<prop::sample::Index>().prop_map(|index| index.index(10_000)), kind)
}

fn files(root: &Path, below: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![root.join(below)];
    while let Some(directory) = todo.pop() {
        for path in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { todo.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn apply(path: &Path, damage: &Damage) {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let place = |at: &usize| at % lines.len().max(1);
    match damage {
        Damage::DropLine(at) if !lines.is_empty() => drop(lines.remove(place(at))),
        Damage::TwiceLine(at) if !lines.is_empty() => {
            let at = place(at);
            lines.insert(at, lines[at].clone());
        }
        Damage::Word { line, word, with } if !lines.is_empty() => {
            let at = place(line);
            let words: Vec<&str> = lines[at].split_whitespace().collect();
            if let Some(old) = words.get(word % words.len().max(1)) {
                lines[at] = lines[at].replacen(old, WORDS[*with], 1);
            }
        }
        Damage::Insert { line, with } => lines.insert(place(line), WORDS[*with].to_owned()),
        Damage::CutAt(at) => {
            let end =
                (0..=(at % (text.len() + 1))).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            return std::fs::write(path, &text[..end]).unwrap();
        }
        Damage::Executable(executable) => {
            let mode = if *executable { 0o755 } else { 0o644 };
            return std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        Damage::Remove => return std::fs::remove_file(path).unwrap(),
        Damage::Rename(name) => return std::fs::rename(path, path.with_file_name(name)).unwrap(),
        Damage::DropLine(_) | Damage::TwiceLine(_) | Damage::Word { .. } => return,
    }
    std::fs::write(path, lines.join("\n") + "\n").unwrap();
}

/// The tenants that `validate` calls broken, and whether the platform is.
fn validated(bench: &Workbench) -> (BTreeSet<String>, bool, Value) {
    let repo = bench.repo();
    let done =
        bench.run(&["validate", "--repo", repo.to_str().unwrap(), "--rev", "HEAD", "--format", "json"]);
    assert!(matches!(done.code, 0 | 1), "{}\n{}", done.out, done.err);
    let document = done.json();
    let errors: Vec<_> =
        document["findings"].as_array().unwrap().iter().filter(|it| it["severity"] == "error").collect();
    let tenants = errors.iter().filter_map(|it| it["tenant"].as_str().map(str::to_owned)).collect();
    let platform = errors
        .iter()
        .any(|it| it["tenant"].is_null() && !it["path"].as_str().unwrap().starts_with("tenants/"));
    (tenants, platform, document)
}

/// The same as the daemon says it after one pass.
fn reconciled(bench: &Workbench) -> (BTreeSet<String>, bool, Value) {
    let (repo, data) = (bench.repo(), bench.data());
    bench.run(&[
        "reconcile",
        "--repo",
        repo.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
        "--any-region",
    ]);
    let document = bench.run(&["status", "--format", "json"]).ok().json();
    let rows = document["tenants"].as_array().unwrap();
    let tenants = rows
        .iter()
        .filter(|row| row["status"] == "invalid")
        .map(|row| row["tenant"].as_str().unwrap().to_owned());
    (tenants.collect(), document["platform"]["status"] == "invalid", document.clone())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_tenant_is_broken_for_validate_exactly_when_it_is_invalid_for_the_daemon(
        tenants in prop::collection::vec(damage(), 3),
        platform in prop::option::weighted(0.15, damage()),
    ) {
        let bench = Workbench::new();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("example-repo/.");
        let copied = std::process::Command::new("cp").arg("-r").arg(example).arg(bench.repo()).status().unwrap();
        prop_assert!(copied.success());
        let mut places: Vec<_> = ["acme", "emea", "finance"].iter().map(|tenant| format!("tenants/{tenant}")).collect();
        places.push("platform".into());
        for (place, (file, damage)) in places.iter().zip(tenants.iter().chain(&platform)) {
            let files = files(&bench.repo(), place);
            apply(&files[file % files.len()], damage);
        }
        bench.commit("damaged");
        let (broken, platform_broken, findings) = validated(&bench);
        let (invalid, platform_invalid, status) = reconciled(&bench);
        prop_assert_eq!(platform_broken, platform_invalid, "{:#} {:#}", findings, status);
        // Without a platform nobody is judged.
        if !platform_broken {
            prop_assert_eq!(broken, invalid, "{:#} {:#}", findings, status);
        }
    }
}
