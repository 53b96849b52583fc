//! `tenantry secrets` as a person runs it, on a copy of the example repository.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value as Json;
use tempfile::TempDir;

/// A copy of the example repository, a directory for identities and a home without keys.
pub(crate) struct Place {
    directory: TempDir,
}

pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) said: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("example-repo"), &place.path("repo"));
        std::fs::create_dir_all(place.path("home")).unwrap();
        place
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    pub(crate) fn read(&self, relative: &str) -> String {
        std::fs::read_to_string(self.path("repo").join(relative)).unwrap()
    }

    pub(crate) fn run(&self, arguments: &[&str], input: &str, variables: &[(&str, &str)]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tenantry"));
        command.arg("secrets").args(arguments).current_dir(self.path("repo")).env_clear();
        command.env("PATH", "/usr/bin:/bin").env("HOME", self.path("home")).envs(variables.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that refuses early reads nothing.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Ran {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a command that has to succeed.
    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str], input: &str) -> String {
        let ran = self.run(arguments, input, &[]);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.said);
        ran.out
    }

    pub(crate) fn init(&self, tenant: &str) -> String {
        self.done(&["init", tenant, "--data", &self.path("data").display().to_string()], "")
    }

    pub(crate) fn identity(&self, tenant: &str) -> String {
        self.path(&format!("data/identities/{tenant}.txt")).display().to_string()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

const VALUE: &str = "sk_live_51-canary-0123456789";

#[test]
fn a_secret_goes_from_init_to_revocation() {
    let place = Place::new();
    let out = place.init("acme");
    assert!(out.contains("recipient  age1") && out.contains("changed    tenants/acme/tenant.yaml"), "{out}");
    let mode = std::fs::metadata(place.identity("acme")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o400);
    let again = place.init("acme");
    assert!(again.contains("was there") && !again.contains("changed"), "{again}");

    let out = place.done(&["set", "acme/stripe_api_key"], &format!("{VALUE}\n"));
    assert!(out.contains("version    v1 of acme/stripe_api_key is current"), "{out}");
    let file = "tenants/acme/secrets/stripe_api_key.v1.sops.yaml";
    assert!(!place.read(file).contains("canary"));
    assert_eq!(place.read(file).matches("recipient: ").count(), 3, "the old, the new and the recovery key");
    let index = place.read("tenants/acme/secrets.yaml");
    assert!(index.contains("# v3 waits"), "comments stay: {index}");

    place.done(&["set", "acme/stripe_api_key", "--version", "blue"], VALUE);
    let listed: Json = serde_json::from_str(&place.done(&["list", "acme", "--format", "json"], "")).unwrap();
    assert_eq!(listed["schema"], "tenantry.secrets/1");
    let secrets = listed["secrets"].as_array().unwrap();
    let made = secrets.iter().find(|secret| secret["name"] == "stripe_api_key").unwrap();
    let states: Vec<(&str, &str)> = made["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| (version["id"].as_str().unwrap(), version["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("blue", "current"), ("v1", "previous")]);

    place.done(&["revoke", "acme/stripe_api_key", "v1"], "");
    assert!(place.done(&["revoke", "acme/stripe_api_key", "v1"], "").contains("revoked already"));
    let ran = place.run(&["revoke", "acme/stripe_api_key", "blue"], "", &[]);
    assert!(ran.said.contains("has no current version now"), "{}", ran.said);
    let table = place.done(&["list", "acme"], "");
    assert!(
        table.starts_with("SECRET") && table.contains("stripe_api_key") && table.contains("revoked"),
        "{table}"
    );
}

#[test]
fn a_value_that_no_log_could_hide_is_refused() {
    let place = Place::new();
    let before = place.read("tenants/acme/secrets.yaml");
    for (value, why) in [
        ("short", "fewer than 8"),
        ("password", "common"),
        ("", "fewer than 8"),
        (&"x1".repeat(9000), "too long"),
    ] {
        let ran = place.run(&["set", "acme/token"], value, &[]);
        assert_eq!(ran.code, Some(1), "{value:.20}");
        assert!(ran.said.contains(why) && ran.said.contains("`redact: false` at `token`"), "{}", ran.said);
        assert!(value.is_empty() || !ran.said.contains(value), "{}", ran.said);
    }
    assert_eq!(place.read("tenants/acme/secrets.yaml"), before);
    assert!(!place.path("repo/tenants/acme/secrets/token.v1.sops.yaml").exists());
    // The cure that it names is one.
    let index = before.replacen("secrets:\n", "secrets:\n  token: { redact: false, versions: [] }\n", 1);
    std::fs::write(place.path("repo/tenants/acme/secrets.yaml"), index).unwrap();
    place.done(&["set", "acme/token"], "1234");
}

#[test]
fn what_is_there_is_never_overwritten() {
    let place = Place::new();
    let ran = place.run(&["set", "acme/shop_api_token", "--version", "v2"], VALUE, &[]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.said.contains("has a version `v2` already"), "{}", ran.said);
    // A file that lies there without an entry stays as well.
    let stray = place.path("repo/tenants/acme/secrets/token.v1.sops.yaml");
    std::fs::write(&stray, "mine").unwrap();
    let before = place.read("tenants/acme/secrets.yaml");
    assert_eq!(place.run(&["set", "acme/token"], VALUE, &[]).code, Some(3));
    assert_eq!(std::fs::read_to_string(&stray).unwrap(), "mine");
    assert_eq!(place.read("tenants/acme/secrets.yaml"), before);
}

#[test]
fn what_cannot_be_is_said_with_its_cure() {
    let place = Place::new();
    let check = |arguments: &[&str], code: i32, said: &str| {
        let ran = place.run(arguments, VALUE, &[]);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.said);
        assert!(ran.said.contains(said), "{arguments:?}: {}", ran.said);
    };
    check(&["init", "acme"], 2, "--data");
    check(&["list", "initech"], 1, "its tenants: `acme`, `emea`, `finance`");
    check(&["set", "acme"], 2, "TENANT/NAME");
    check(&["set", "acme/../emea"], 2, "name");
    check(&["revoke", "acme/nothing", "v1"], 1, "no secret `nothing`");
    check(&["revoke", "acme/shop_api_token", "v9"], 1, "no version `v9`");
    check(&["list", "acme", "--repo", "/nowhere"], 3, "--repo");
    // The value is no argument: there is no place for one.
    check(&["set", "acme/token", VALUE], 2, "unexpected argument");
}

#[test]
fn decrypt_ends_as_sops_does() {
    let place = Place::new();
    place.init("acme");
    place.done(&["set", "acme/token"], VALUE);
    let file = place.path("repo/tenants/acme/secrets/token.v1.sops.yaml").display().to_string();
    let key = place.identity("acme");
    let with_key = [("SOPS_AGE_KEY_FILE", key.as_str())];
    let run = |arguments: &[&str]| place.run(&[&["decrypt"], arguments].concat(), "", &with_key);

    assert_eq!(run(&[&file, "--format", "raw"]).out, VALUE);
    let json: Json = serde_json::from_str(&run(&[&file, "--format", "json"]).out).unwrap();
    assert_eq!(json["token"]["v1"], VALUE);
    assert_eq!(run(&[&file]).out, format!("token:\n    v1: {VALUE}\n"));

    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sops-vectors/vectors");
    let acme = vectors.join("keys/acme.agekey").display().to_string();
    let check = |name: &str, code: i32| {
        let file = vectors.join(name).display().to_string();
        let ran = place.run(&["decrypt", &file, "--format", "json"], "", &[("SOPS_AGE_KEY_FILE", &acme)]);
        assert_eq!(ran.code, Some(code), "{name}: {}", ran.said);
        assert!(code == 0 || ran.out.is_empty(), "{name} printed something");
        assert!(!ran.said.contains("hunter2"), "{name}: {}", ran.said);
        ran
    };
    check("tampered/values-swapped.sops.yaml", 25);
    check("tampered/plain-key-added.sops.yaml", 25);
    check("tampered/list-swapped.sops.yaml", 51);
    check("tampered/mac-empty.sops.yaml", 51);
    check("tampered/lastmodified.sops.yaml", 51);
    check("tampered/no-metadata.sops.yaml", 1);
    check("enc/ssh.sops.yaml", 128);
    check("nothing.yaml", 100);
    let several: Json = serde_json::from_str(&check("enc/multidoc.sops.yaml", 0).out).unwrap();
    assert_eq!(several, serde_json::json!([{ "a": 1 }, { "b": "two" }]));

    // Without any key: the recipients, what was looked at, and no plaintext.
    let ran = place.run(&["decrypt", &file], "", &[("SOPS_AGE_KEY_FILE", "/nowhere.txt")]);
    assert_eq!(ran.code, Some(128));
    assert!(
        ran.said.contains("age1") && ran.said.contains("/nowhere.txt") && ran.said.contains("help:"),
        "{}",
        ran.said
    );
}

#[test]
fn the_example_holds_what_the_commands_write() {
    let place = Place::new();
    let before = place.read(".sops.yaml");
    let out = place.init("emea");
    assert!(out.contains("changed    .sops.yaml"), "{out}");
    let after = place.read(".sops.yaml");
    let new = out.lines().find_map(|line| line.strip_prefix("recipient  ")).unwrap();
    // The new recipient of one tenant is all that changes.
    assert_eq!(after.replace(&format!("{new},"), ""), before);
}
