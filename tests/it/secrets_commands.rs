//! Editing, rotating, verifying, rekeying, importing and proposing secrets, as a person does it.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use tenantry::domain::Timestamp;
use tenantry::secrets::seal_fresh;
use tenantry::sops::{Plaintext, Recipient};

use super::secrets::{Place, Ran};

const VALUE: &str = "sk_live_51-canary-0123456789";
const NEXT: &str = "sk_live_52-canary-9876543210";

/// A place with an identity of acme and one secret, `token`.
fn place() -> Place {
    let place = Place::new();
    place.init("acme");
    place.done(&["set", "acme/token"], VALUE);
    place
}

fn data(place: &Place) -> String {
    place.path("data").display().to_string()
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// An editor as a script, which also writes down what it was given.
fn editor(place: &Place, script: &str) -> String {
    let path = place.path("editor.sh");
    let seen = place.path("seen").display().to_string();
    let text = format!(
        "#!/bin/sh\nstat -c '%a %n' \"$1\" \"$(dirname \"$1\")\" >{seen}\ncat \"$1\" >>{seen}\n{script}\n"
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn edit(place: &Place, script: &str) -> Ran {
    let editor = editor(place, script);
    let data = data(place);
    place.run(&["edit", "acme/token", "--data", &data], "", &[("EDITOR", &editor)])
}

fn seen(place: &Place) -> String {
    std::fs::read_to_string(place.path("seen")).unwrap()
}

fn raw(place: &Place, file: &str) -> String {
    let key = place.identity("acme");
    let file = place.path("repo").join(file).display().to_string();
    let ran = place.run(&["decrypt", &file, "--format", "raw"], "", &[("SOPS_AGE_KEY_FILE", &key)]);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    ran.out
}

const FILE: &str = "tenants/acme/secrets/token.v1.sops.yaml";

#[test]
fn an_edit_changes_the_value_and_leaves_nothing_behind() {
    let place = place();
    let before = place.read(FILE);
    let ran = edit(&place, "sed -i s/51-canary/77-canary/ \"$1\"");
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert_eq!(ran.out, format!("changed    {FILE}\n"));
    let seen = seen(&place);
    let mut lines = seen.lines();
    let (mode, path) = lines.next().unwrap().split_once(' ').unwrap();
    assert_eq!(mode, "600");
    assert!(path.starts_with("/dev/shm/") && path.ends_with("/token.v1.yaml"), "{path}");
    assert!(lines.next().unwrap().starts_with("700 /dev/shm/"));
    assert_eq!(lines.collect::<Vec<_>>(), ["token:", &format!("    v1: {VALUE}")]);
    assert!(!Path::new(path).exists() && !Path::new(path).parent().unwrap().exists());
    let after = place.read(FILE);
    let differing: Vec<_> = before.lines().zip(after.lines()).filter(|(a, b)| a != b).collect();
    // The time is a new one only if a second has passed.
    assert!((2..=3).contains(&differing.len()), "the value, mac and lastmodified: {differing:?}");
    assert_eq!(raw(&place, FILE), VALUE.replace("51", "77"));
}

#[test]
fn an_edit_without_a_change_or_a_valid_end_writes_nothing() {
    let place = place();
    let before = place.read(FILE);
    let check = |script: &str, code: i32, said: &str| {
        let ran = edit(&place, script);
        assert_eq!(ran.code, Some(code), "{script}: {}", ran.said);
        assert!(ran.said.contains(said) || ran.out.contains(said), "{script}: {}{}", ran.out, ran.said);
        assert!(!ran.said.contains("canary"), "{}", ran.said);
        assert_eq!(place.read(FILE), before, "{script}");
        let path = seen(&place).lines().next().unwrap().split_once(' ').unwrap().1.to_owned();
        assert!(!Path::new(&path).parent().unwrap().exists(), "{script}");
    };
    check("true", 0, "unchanged");
    check("touch \"$1\"", 0, "unchanged");
    check("exit 3", 1, "the editor ended with");
    check("echo 'a: [' >\"$1\"", 1, "nothing was changed");
    check("printf 'token: {v1: short}\\n' >\"$1\"", 1, "fewer than 8");
    check("printf 'token: {v1: 0123456789}\\ntoken: {}\\n' >\"$1\"", 1, "written twice");
    check("rm \"$1\"", 3, "cannot be read");
    check("sed -i s/51/52/ \"$1\"; cp \"$1\" \"$(dirname \"$1\")/copy~\"; exit 1", 1, "nothing was changed");
    let ran =
        place.run(&["edit", "acme/token", "--data", &data(&place)], "", &[("EDITOR", "/no/such/editor")]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.said.contains("set EDITOR"), "{}", ran.said);
    // Without a key: the same answer as decrypt gives.
    let ran = place.run(&["edit", "acme/token"], "", &[("EDITOR", "true")]);
    assert_eq!(ran.code, Some(128), "{}", ran.said);
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_edit_that_is_ended_by_a_signal_leaves_nothing() {
    let place = place();
    let before = place.read(FILE);
    for signal in ["TERM", "HUP", "KILL"] {
        let _ = std::fs::remove_file(place.path("seen"));
        let editor = editor(&place, "sed -i s/51/52/ \"$1\"; echo ready >>$(dirname $0)/seen; exec sleep 60");
        let mut child = Command::new(env!("CARGO_BIN_EXE_tenantry"))
            .args(["secrets", "edit", "acme/token", "--data", &data(&place)])
            .current_dir(place.path("repo"))
            .env_clear()
            .envs([("PATH", "/usr/bin:/bin"), ("EDITOR", &editor)])
            .env("HOME", place.path("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ready = || std::fs::read_to_string(place.path("seen")).is_ok_and(|text| text.contains("ready"));
        wait_for("the editor", ready);
        let path = seen(&place).lines().next().unwrap().split_once(' ').unwrap().1.to_owned();
        let directory = PathBuf::from(&path).parent().unwrap().to_owned();
        assert!(directory.exists());
        let id = child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
        let status = child.wait().unwrap();
        assert!(!status.success());
        if signal == "KILL" {
            // Nobody can answer that signal: the next edit sweeps up.
            assert!(edit(&place, "true").code == Some(0));
        }
        assert!(!directory.exists(), "{signal} left {}", directory.display());
        assert_eq!(place.read(FILE), before);
    }
}

#[test]
fn a_rotation_overlaps_or_revokes() {
    let place = place();
    let index = "tenants/acme/secrets.yaml";
    let out = place.done(&["rotate", "acme/token", "--overlap", "12h"], NEXT);
    assert!(
        out.contains("version    v2 of acme/token is current") && out.contains("accepted   v1 until "),
        "{out}"
    );
    let list = json(&place.done(&["list", "acme", "--format", "json"], ""));
    let token = |list: &Json| {
        list["secrets"].as_array().unwrap().iter().find(|secret| secret["name"] == "token").unwrap().clone()
    };
    let versions = token(&list)["versions"].clone();
    assert_eq!((&versions[0]["id"], &versions[0]["state"]), (&"v2".into(), &"current".into()));
    assert_eq!((&versions[1]["id"], &versions[1]["state"]), (&"v1".into(), &"previous".into()));
    assert!(versions[1]["accept_until"].as_str().unwrap().ends_with('Z'));
    assert_eq!(raw(&place, "tenants/acme/secrets/token.v2.sops.yaml"), NEXT);

    place.done(&["set", "acme/token", "--pending"], "a-pending-value-0123");
    assert!(place.read(index).contains("id: v3, state: pending"));
    let out = place.done(&["rotate", "acme/token", "--promote", "v3"], "");
    assert!(out.contains("v3 of acme/token is current"), "{out}");
    let ran = place.run(&["rotate", "acme/token", "--promote", "v1"], "", &[]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.said.contains("only a pending version"), "{}", ran.said);

    let ran = place.run(
        &["rotate", "acme/token", "--leaked", "--reason", "in a screenshot"],
        "fresh-value-0123456",
        &[],
    );
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert!(ran.out.contains("revoked    v3"), "{}", ran.out);
    let list = json(&place.done(&["list", "acme", "--format", "json"], ""));
    let states: Vec<String> = token(&list)["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| format!("{}:{}", version["id"].as_str().unwrap(), version["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, ["v4:current", "v3:revoked", "v2:previous", "v1:previous"]);

    let check = |arguments: &[&str], code: i32, said: &str| {
        let before = place.read(index);
        let ran = place.run(arguments, NEXT, &[]);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.said);
        assert!(ran.said.contains(said), "{arguments:?}: {}", ran.said);
        assert_eq!(place.read(index), before);
    };
    check(&["rotate", "acme/nothing"], 1, "`tenantry secrets set acme/nothing` makes it");
    check(&["rotate", "acme/token", "--leaked"], 2, "--reason");
    check(&["rotate", "acme/token", "--overlap", "7"], 2, "unit");
    check(
        &["rotate", "acme/token", "--leaked", "--reason", "x", "--overlap", "1d"],
        2,
        "cannot be used with",
    );
}

#[test]
fn everything_of_a_tenant_is_revoked_at_a_word() {
    let place = place();
    place.done(&["set", "acme/token"], NEXT);
    let ran = place.run(&["revoke", "acme", "--all"], "", &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert!(
        ran.out.contains("v2 of acme/token is revoked") && ran.out.contains("v1 of acme/token"),
        "{}",
        ran.out
    );
    assert!(ran.said.contains("acme/token has no current version"), "{}", ran.said);
    let index = place.read("tenants/acme/secrets.yaml");
    assert!(!index.contains("state: current") && !index.contains("state: pending"), "{index}");
    assert_eq!(place.done(&["revoke", "acme", "--all"], ""), "every version is revoked already\n");
    let check = |arguments: &[&str], code: i32, said: &str| {
        let ran = place.run(arguments, "", &[]);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.said);
        assert!(ran.said.contains(said), "{arguments:?}: {}", ran.said);
    };
    check(&["revoke", "acme/token", "--all"], 2, "is no tenant");
    check(&["revoke", "acme/token"], 2, "required");
    check(&["revoke", "acme", "v1"], 2, "TENANT/NAME");
}

#[test]
fn a_list_says_who_uses_what() {
    let place = Place::new();
    let list = json(&place.done(&["list", "acme", "--format", "json"], ""));
    let secret = |name: &str| {
        list["secrets"].as_array().unwrap().iter().find(|secret| secret["name"] == name).unwrap().clone()
    };
    assert!(!secret("shop_api_token")["used_by"].as_array().unwrap().is_empty(), "{list:#}");
    assert!(secret("shop_api_token")["versions"][0]["age_s"].as_u64().is_some());
    let table = place.done(&["list", "acme"], "");
    assert!(table.starts_with("SECRET") && table.contains("USED BY"), "{table}");
}

#[test]
fn verify_opens_everything_and_tells_what_does_not() {
    let place = Place::new();
    place.init("emea");
    place.done(&["set", "emea/token"], VALUE);
    let data = data(&place);
    let verify = |format: &str| place.run(&["verify", "emea", "--data", &data, "--format", format], "", &[]);
    let token = |ran: &Ran| {
        let document = json(&ran.out);
        assert_eq!(document["schema"], "tenantry.secrets_verify/1");
        document["versions"].as_array().unwrap().iter().find(|one| one["secret"] == "token").unwrap().clone()
    };
    assert_eq!(token(&verify("json"))["ok"], true);
    let file = "tenants/emea/secrets/token.v1.sops.yaml";
    let sealed = place.read(file);
    let write = |text: &str| std::fs::write(place.path("repo").join(file), text).unwrap();
    write(&sealed.replace("lastmodified: \"20", "lastmodified: \"19"));
    let ran = verify("json");
    assert_eq!(ran.code, Some(1));
    assert!(token(&ran)["problem"].as_str().unwrap().contains("MAC"), "{}", ran.out);
    write(&sealed.replace("token:", "other:"));
    assert!(token(&verify("json"))["problem"].as_str().unwrap().contains("does not open"));
    std::fs::remove_file(place.path("repo").join(file)).unwrap();
    let ran = verify("human");
    assert!(ran.out.contains("cannot be read"), "{}", ran.out);
    assert!(!ran.out.contains("canary") && !ran.said.contains("canary"));
}

#[test]
fn rekey_serves_the_recipients_of_today() {
    let place = Place::new();
    place.init("acme");
    let data = data(&place);
    // The example's own versions are for keys that nobody here has.
    std::fs::write(place.path("repo/tenants/acme/secrets.yaml"), "secrets: {}\n").unwrap();
    place.done(&["set", "acme/token"], VALUE);
    let before = place.read(FILE);
    let settings = place.path("repo/tenants/acme/tenant.yaml");
    let own = place
        .init("acme")
        .lines()
        .find_map(|line| line.strip_prefix("recipient  ").map(str::to_owned))
        .unwrap();
    // The others leave.
    let text = std::fs::read_to_string(&settings).unwrap();
    let alone: String = text
        .lines()
        .map(|line| {
            if line.trim_start().starts_with("recipients:") {
                format!("  recipients: [{own}]\n")
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    std::fs::write(&settings, alone).unwrap();
    let out = place.done(&["rekey", "acme", "--data", &data], "");
    assert!(out.contains(&format!("rekeyed    {FILE}")), "{out}");
    let after = place.read(FILE);
    assert!(after.matches("recipient: ").count() < before.matches("recipient: ").count(), "{after}");
    assert_ne!(before.lines().nth(1), after.lines().nth(1), "the value is encrypted anew");
    assert_eq!(raw(&place, FILE), VALUE);

    // What is revoked follows nobody: its file would be for the wrong recipients from now on.
    let over = "tenants/acme/secrets/over.v1.sops.yaml";
    place.done(&["set", "acme/over"], VALUE);
    place.done(&["revoke", "acme/over", "v1"], "");
    let ran = place.run(&["rekey", "acme", "--leaked", "--data", &data], "", &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert!(ran.out.contains(&format!("removed    {over}")), "{}", ran.out);
    assert!(!place.path("repo").join(over).exists());
    let verified = place.run(&["verify", "acme", "--data", &data], "", &[]);
    assert!(!verified.out.contains(over), "{}{}", verified.out, verified.said);
    assert!(place.done(&["list", "acme"], "").contains("revoked"), "the index keeps it");
    assert!(ran.out.contains("in place of") && ran.out.contains(".sops.yaml"), "{}", ran.out);
    assert!(ran.said.contains("tenantry secrets rotate acme/token --leaked"), "{}", ran.said);
    // Everything is overdue in the index, for whoever looks, until it is newer than the leak.
    let overdue = || {
        let list = json(&place.done(&["list", "acme", "--format", "json"], ""));
        let secrets = list["secrets"].as_array().unwrap().clone();
        let late = secrets.iter().filter(|secret| secret["overdue"] == true);
        late.map(|secret| secret["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(place.read("tenants/acme/secrets.yaml").contains("leaked_at: 20"), "{}", ran.out);
    assert!(overdue().contains(&"token".to_owned()), "{:?}", overdue());
    assert!(place.done(&["list", "acme"], "").contains("overdue"));
    std::thread::sleep(Duration::from_millis(10));
    place.done(&["set", "acme/token"], NEXT);
    assert!(!overdue().contains(&"token".to_owned()), "{:?}", overdue());
    let text = std::fs::read_to_string(&settings).unwrap();
    assert!(!text.contains(&own), "{text}");
    assert!(!place.read(FILE).contains(&own));
    assert_eq!(raw(&place, FILE), VALUE);
    let identity = std::fs::read_to_string(place.identity("acme")).unwrap();
    assert_eq!(identity.matches("AGE-SECRET-KEY-1").count(), 2);
    let mode = std::fs::metadata(place.identity("acme")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o400);

    // An identity that others can read is no identity.
    std::fs::set_permissions(place.identity("acme"), std::fs::Permissions::from_mode(0o440)).unwrap();
    let ran = place.run(&["rekey", "acme", "--data", &data], "", &[]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.said.contains("chmod 0400"), "{}", ran.said);
}

#[test]
fn values_are_imported_all_or_none() {
    let place = Place::new();
    place.init("acme");
    let env = place.path("old.env").display().to_string();
    std::fs::write(&env, format!("# old\nSTRIPE_KEY={VALUE}\nDATABASE_URL=postgres://u:p4ssw0rd@db/x\n"))
        .unwrap();
    let out = place.done(&["import", "acme", &env, "--dry-run"], "");
    assert_eq!(out, "would be   acme/database_url v1\nwould be   acme/stripe_key v1\n");
    let ran = place.run(&["import", "acme", &env], "", &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert!(ran.said.contains("still holds the values in plain"), "{}", ran.said);
    assert_eq!(raw(&place, "tenants/acme/secrets/stripe_key.v1.sops.yaml"), VALUE);
    assert!(place.read("tenants/acme/secrets.yaml").contains("database_url:"));

    // Quotes are how a dotenv file is written, and no part of the value.
    std::fs::write(&env, format!("export QUOTED=\"{VALUE}\"\nSINGLE='{NEXT}' # why\n")).unwrap();
    place.done(&["import", "acme", &env], "");
    assert_eq!(raw(&place, "tenants/acme/secrets/quoted.v1.sops.yaml"), VALUE);
    assert_eq!(raw(&place, "tenants/acme/secrets/single.v1.sops.yaml"), NEXT);

    let before = place.read("tenants/acme/secrets.yaml");
    std::fs::write(&env, format!("STRIPE_KEY={NEXT}\nPIN=1234\n")).unwrap();
    let ran = place.run(&["import", "acme", &env], "", &[]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.said.contains("`pin` has fewer than 8") && ran.said.contains("--only"), "{}", ran.said);
    assert!(!ran.said.contains("1234"), "{}", ran.said);
    assert_eq!(place.read("tenants/acme/secrets.yaml"), before);
    place.done(&["import", "acme", &env, "--only", "stripe_key"], "");
    assert_eq!(raw(&place, "tenants/acme/secrets/stripe_key.v2.sops.yaml"), NEXT);

    // A file of ours is taken over under its secret's name, for another tenant.
    place.init("emea");
    let file = place.path("repo/tenants/acme/secrets/stripe_key.v2.sops.yaml").display().to_string();
    let key = place.identity("acme");
    let ran = place.run(&["import", "emea", &file], "", &[("SOPS_AGE_KEY_FILE", &key)]);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert!(ran.out.contains("tenants/emea/secrets/stripe_key.v1.sops.yaml"), "{}", ran.out);
    let plain = place.path("plain.yaml").display().to_string();
    std::fs::write(&plain, "a: 0123456789\n").unwrap();
    let ran = place.run(&["import", "emea", &plain], "", &[]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.said.contains("of plain files only dotenv"), "{}", ran.said);
}

#[test]
fn sops_config_is_written_checked_and_left_to_its_author() {
    let place = Place::new();
    place.done(&["sops-config"], "");
    place.done(&["sops-config", "--check"], "");
    assert_eq!(place.done(&["sops-config", "--print"], ""), place.read(".sops.yaml"));
    std::fs::write(place.path("repo/.sops.yaml"), "creation_rules: []\n").unwrap();
    let ran = place.run(&["sops-config", "--check"], "", &[]);
    assert_eq!(ran.code, Some(1));
    assert!(place.done(&["sops-config"], "").contains("written by hand"));
    assert_eq!(place.read(".sops.yaml"), "creation_rules: []\n");
    place.done(&["sops-config", "--force"], "");
    place.done(&["sops-config", "--check"], "");
}

#[test]
fn a_change_is_proposed_as_a_branch_with_one_commit() {
    let place = Place::new();
    place.init("acme");
    let ran = place.run(&["set", "acme/token", "--pr"], VALUE, &[]);
    assert_eq!(ran.code, Some(3), "{}", ran.said);
    assert!(ran.said.contains("needs a Git repository"), "{}", ran.said);
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(place.path("repo"))
            .env("HOME", place.path("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    git(&["init", "--quiet", "--initial-branch", "main"]);
    git(&["config", "user.name", "Dana"]);
    git(&["config", "user.email", "dana@example.org"]);
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "-m", "first"]);
    // What else was changed is nobody's business here.
    std::fs::write(place.path("repo/README.md"), "mine\n").unwrap();
    let out = place.done(&["set", "acme/other_token", "--pr"], VALUE);
    assert!(out.contains("branch     secrets/set-acme-other_token-v1"), "{out}");
    assert_eq!(git(&["branch", "--show-current"]), "secrets/set-acme-other_token-v1");
    let files = git(&["show", "--name-only", "--format=%s", "HEAD"]);
    assert_eq!(
        files,
        "secrets: set v1 of acme/other_token\n\ntenants/acme/secrets.yaml\ntenants/acme/secrets/other_token.v1.sops.yaml"
    );
    assert!(git(&["status", "--porcelain"]).contains("README.md"));
    assert!(!git(&["log", "-p"]).contains("canary"));
}

/// `script` gives the command a terminal; what is typed into it must not come back.
#[test]
fn a_passphrase_is_asked_for_without_echo() {
    let place = Place::new();
    let key = place.path("id").display().to_string();
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "correct horse", "-f", &key]).status();
    assert!(made.unwrap().success());
    let public: Recipient = std::fs::read_to_string(format!("{key}.pub")).unwrap().parse().unwrap();
    let (name, version) = ("token".parse().unwrap(), "v1".parse().unwrap());
    let value = Plaintext::new(VALUE.as_bytes().to_vec());
    let sealed = seal_fresh(&name, &version, &value, &[public], Timestamp::from_millis(0)).unwrap();
    let file = place.path("token.sops.yaml");
    std::fs::write(&file, sealed).unwrap();

    // Without a terminal: the reason, and the exit code of sops.
    let ran =
        place.run(&["decrypt", &file.display().to_string()], "", &[("SOPS_AGE_SSH_PRIVATE_KEY_FILE", &key)]);
    assert_eq!(ran.code, Some(128));
    assert!(ran.said.contains("no terminal to ask"), "{}", ran.said);

    let type_in = |passphrase: &str| {
        let command =
            format!("{} secrets decrypt --format raw {}", env!("CARGO_BIN_EXE_tenantry"), file.display());
        let mut child = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command", &command, "/dev/null"])
            .env("SOPS_AGE_SSH_PRIVATE_KEY_FILE", &key)
            .env("HOME", place.path("home"))
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut seen = Vec::new();
        let mut buffer = [0; 256];
        while !String::from_utf8_lossy(&seen).contains(&format!("passphrase of {key}: ")) {
            let count = output.read(&mut buffer).unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..count]);
        }
        // The prompt stands before the echo is off.
        std::thread::sleep(Duration::from_millis(500));
        input.write_all(format!("{passphrase}\n").as_bytes()).unwrap();
        output.read_to_end(&mut seen).unwrap();
        (child.wait().unwrap().code(), String::from_utf8_lossy(&seen).into_owned())
    };
    let (code, seen) = type_in("correct horse");
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains(VALUE) && !seen.contains("correct horse"), "{seen}");
    let (code, seen) = type_in("wrong horse");
    assert_eq!(code, Some(128), "{seen}");
    assert!(seen.contains("the passphrase does not open it") && !seen.contains("wrong horse"), "{seen}");
}
