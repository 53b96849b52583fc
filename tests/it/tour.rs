//! The README's tour, as a reader would type it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The ```` ```sh ```` blocks of one section, one after the other.
fn script(page: &str, heading: &str) -> String {
    let section = page.split(heading).nth(1).unwrap_or_else(|| panic!("no section `{heading}`"));
    let section = section.split("\n## ").next().unwrap_or_default();
    section
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// What stands behind `#>`, in order: each has to appear in the output after the one before.
fn promised(script: &str) -> Vec<&str> {
    script.lines().filter_map(|line| line.split_once("#>")).map(|(_, text)| text.trim()).collect()
}

/// The first promise that the output does not keep.
fn broken<'p>(output: &str, promises: &[&'p str]) -> Option<&'p str> {
    let mut rest = output;
    for promise in promises {
        match rest.split_once(promise) {
            Some((_, after)) => rest = after,
            None => return Some(promise),
        }
    }
    None
}

#[test]
fn the_tour_does_what_it_says() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("README.md")).unwrap();
    let script = script(&page, "## A five-minute tour");
    let promises = promised(&script);
    assert!(promises.len() >= 8, "the tour promises only {promises:?}");

    let home = tempfile::tempdir().unwrap();
    let settings = home.path().join("gitconfig");
    std::fs::write(&settings, "[user]\nname = Alice Moreau\nemail = alice@northwind.example\n").unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_tenantry")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("timeout")
        .args(["180", "sh", "-euc", &format!("exec 2>&1\n{script}")])
        .current_dir(&root)
        .env("PATH", path)
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .env("GIT_CONFIG_GLOBAL", &settings)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env_remove("TENANTRY_DATA")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "the tour ends with {}:\n{text}", output.status);
    assert_eq!(broken(&text, &promises), None, "{text}");
}

#[test]
fn the_reader_of_the_tour_can_fail() {
    let page = "# x\n## Tour\n```sh\na #> one\nb\n```\ntext\n```sh\nc #> two\n```\n## Next\n```sh\nd\n```\n";
    let script = script(page, "## Tour");
    assert_eq!(script, "a #> one\nb\n\nc #> two\n");
    let promises = promised(&script);
    assert_eq!(promises, ["one", "two"]);
    assert_eq!(broken("one, then two", &promises), None);
    assert_eq!(broken("two, then one", &promises), Some("two"));
}
