//! What `init`, `new` and `people add` write: it validates without a warning, and nothing is overwritten.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A directory without any Git settings of the machine.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn repo(&self) -> PathBuf {
        self.0.path().join("own")
    }

    /// Runs the command in `directory`; gives the exit code and both streams as one text.
    fn run(&self, directory: &Path, args: &[&str]) -> (i32, String) {
        let settings = self.0.path().join("gitconfig");
        std::fs::write(&settings, "[user]\nname = Alice Moreau\nemail = alice@northwind.example\n").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_tenantry"))
            .args(args)
            .current_dir(directory)
            .env("GIT_CONFIG_GLOBAL", &settings)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
    }

    #[track_caller]
    fn check(&self, args: &[&str], code: i32, says: &str) {
        let (got, text) = self.run(&self.repo(), args);
        assert_eq!(got, code, "{args:?}: {text}");
        assert!(text.contains(says), "{args:?}: {text}");
    }
}

fn begun() -> Place {
    let place = Place::new();
    let (code, text) = place.run(place.0.path(), &["init", "own", "--yes", "--tenant", "acme"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("tenantry validate"), "no next command: {text}");
    place
}

#[test]
fn a_new_repository_validates_without_a_warning() {
    let place = begun();
    place.check(&["validate", "--deny-warnings"], 0, "");
    let people = std::fs::read_to_string(place.repo().join("platform/people.yaml")).unwrap();
    assert!(people.contains("alice: { name: \"Alice Moreau\""), "{people}");
}

#[test]
fn editors_find_the_schema_of_every_file() {
    let place = begun();
    place.check(&["new", "workflow", "acme/billing"], 0, "");
    let read = |path: &str| std::fs::read_to_string(place.repo().join(path)).unwrap();
    // By the first line of what was written, as a path from the file.
    for path in [
        "platform/people.yaml",
        "platform/roles.yaml",
        "tenants/acme/tenant.yaml",
        "tenants/acme/roles.yaml",
        "tenants/acme/workflows/billing.yaml",
    ] {
        let text = read(path);
        let schema =
            text.lines().next().and_then(|line| line.strip_prefix("# yaml-language-server: $schema="));
        let schema = place
            .repo()
            .join(path)
            .parent()
            .unwrap()
            .join(schema.unwrap_or_else(|| panic!("{path}: {text}")));
        assert!(schema.is_file(), "{path}: no {}", schema.display());
    }
    assert!(read("tenantry.toml").starts_with("#:schema ./schemas/tenantry.schema.json\n"));
    // By the mapping, for files that were written by hand.
    let settings: serde_json::Value = serde_json::from_str(&read(".vscode/settings.json")).unwrap();
    let mapping = settings["yaml.schemas"].as_object().unwrap();
    assert!(mapping.keys().all(|schema| place.repo().join(schema).is_file()), "{mapping:?}");
    assert!(
        mapping["./schemas/workflow.schema.json"]
            .as_array()
            .unwrap()
            .contains(&"tenants/*/workflows/*.yaml".into())
    );
}

#[test]
fn a_second_init_changes_nothing() {
    let place = begun();
    let before = std::fs::read_to_string(place.repo().join("tenantry.toml")).unwrap();
    place.check(&["init", "--yes"], 1, "`tenantry.toml` is there already");
    assert_eq!(std::fs::read_to_string(place.repo().join("tenantry.toml")).unwrap(), before);
}

#[test]
fn what_is_added_validates_too() {
    let place = begun();
    place.check(&["new", "workflow", "acme/billing"], 0, "tenants/acme/scripts/billing.sh");
    place.check(&["new", "tenant", "globex"], 0, "tenants/globex/tenant.yaml");
    place.check(&["new", "tenant", "initech", "--like", "globex"], 0, "tenants/initech/roles.yaml");
    place.check(&["people", "add", "zoe", "--github", "12345", "--name", "Zoë"], 0, "platform/people.yaml");
    place.check(&["validate", "--deny-warnings"], 0, "");
}

#[test]
fn what_cannot_be_added_is_refused_with_a_cure() {
    let place = begun();
    place.check(&["new", "workflow", "acme/hello"], 1, "there already");
    place.check(&["new", "workflow", "globex/hello"], 1, "tenantry new tenant globex");
    place.check(&["new", "workflow", "hello"], 1, "acme/billing");
    place.check(&["new", "tenant", "acme"], 1, "there already");
    place.check(&["new", "tenant", "Acme"], 2, "Acme");
    place.check(&["people", "add", "alice", "--github", "1"], 1, "stands in it already");
    place.check(&["people", "add", "zoe"], 2, "--github");
    let (code, text) = place.run(place.0.path(), &["new", "workflow", "acme/x"]);
    assert!(code == 1 && text.contains("tenantry init"), "{text}");
}
