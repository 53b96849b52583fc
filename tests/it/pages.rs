//! The pages of the repository: what they point to exists, and what they promise to run is there.

use std::path::{Path, PathBuf};

const PAGES: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "docs/editors.md",
    "docs/local-run.md",
    "docs/pull-request.md",
    "docs/secrets.md",
    "docs/workflows.md",
    "example-repo/README.md",
    "tests/keys/README.md",
    "tests/sops-vectors/README.md",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Relative targets of Markdown links, and paths in backticks that begin with a directory of the repository.
fn pointed_to(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in text.split("](").skip(1) {
        let target = part.split([')', '#']).next().unwrap_or_default();
        if !target.is_empty() && !target.contains("://") {
            found.push(target.to_owned());
        }
    }
    let mut in_code = false;
    for part in text.split('`') {
        let inside =
            ["src/", "tests/", "benches/", "fuzz/", ".ci/"].iter().any(|start| part.starts_with(start));
        if in_code && inside && !part.contains(['*', ' ', '\n']) && !part.contains("NAME") {
            found.push(part.to_owned());
        }
        in_code = !in_code;
    }
    found
}

#[test]
fn links_lead_somewhere() {
    let mut dead = Vec::new();
    for page in PAGES {
        let path = root().join(page);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"));
        for target in pointed_to(&text) {
            let beside = path.parent().unwrap_or(Path::new("/")).join(&target);
            if !beside.exists() && !root().join(&target).exists() {
                dead.push(format!("{page} points to {target}"));
            }
        }
    }
    assert!(dead.is_empty(), "\n{}", dead.join("\n"));
}

#[test]
fn the_reader_of_links_finds_them() {
    let text =
        "see [a](src/lib.rs), [b](https://x.example/y), [c](other.md#part) and `src/plan/` or `cargo test`";
    assert_eq!(pointed_to(text), ["src/lib.rs", "other.md", "src/plan/"]);
}

#[test]
fn no_page_knows_the_machine_it_was_written_on() {
    for page in PAGES {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        for place in ["/home/", "/root/", "/Users/"] {
            assert!(!text.contains(place), "{page} names {place}");
        }
    }
}
