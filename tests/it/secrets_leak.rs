//! A value leaks: what a real daemon does at once, what it says, and how the way back looks.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use super::workbench::{Workbench, until};

const OLD: &str = "old-value-0123456789";
const NEW: &str = "new-value-9876543210";

/// Runs `tenantry secrets` in the work tree with something at standard input; gives both streams.
#[track_caller]
fn secrets(bench: &Workbench, args: &[&str], input: &str) -> (String, String) {
    let mut child = bench
        .tenantry(&[&["secrets"], args].concat())
        .current_dir(bench.repo())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{args:?}: {out}{said}");
    for value in [OLD, NEW] {
        assert!(!out.contains(value) && !said.contains(value), "{args:?}: {out}{said}");
    }
    (out, said)
}

fn applied(bench: &Workbench, commit: &str) {
    until(60, "the commit is applied", || {
        (bench.status("acme")["last_applied_commit"] == commit).then_some(())
    });
}

/// Starts a workflow and gives the run once it has ended.
#[track_caller]
fn run(bench: &Workbench, workflow: &str) -> Value {
    let id = start(bench, workflow);
    until(60, "the run has ended", || {
        let shown = bench.run(&["show", &id, "--as", "bob", "--format", "json"]).ok().json();
        (shown["run"]["state"] == "ended" || !shown["run"]["outcome"].is_null()).then(|| shown["run"].clone())
    })
}

fn start(bench: &Workbench, workflow: &str) -> String {
    bench.run(&["start", workflow, "--as", "bob"]).ok().out.trim().to_owned()
}

#[test]
fn a_leaked_value_is_withdrawn_at_once_and_replaced_by_a_merge() {
    let bench = Workbench::with_acme();
    let data = bench.data().display().to_string();
    std::fs::create_dir_all(bench.data()).unwrap();
    bench.write(
        "tenants/acme/workflows/pull.yaml",
        "script: |\n  tenantry-secret get token | sha256sum\nsecrets: [token]\n",
    );
    bench.write(
        "tenants/acme/workflows/hold.yaml",
        "script: |\n  tenantry-secret get token | sha256sum\n  echo held; sleep 300\nsecrets: [token]\n",
    );
    bench.write("tenants/acme/workflows/other.yaml", "script: echo fine\n");
    secrets(&bench, &["init", "acme", "--data", &data], "");
    secrets(&bench, &["set", "acme/token"], OLD);
    let index = "tenants/acme/secrets.yaml";
    let text = std::fs::read_to_string(bench.repo().join(index)).unwrap();
    bench.write(index, &text.replacen("    versions:", "    on_revoke: cancel\n    versions:", 1));
    let commit = bench.commit("a token");
    bench.run(&["server", "init", "--repo", bench.repo().to_str().unwrap(), "--data", &data]).ok();
    let _daemon = bench.serve();
    applied(&bench, &commit);

    let pulled = run(&bench, "acme/pull");
    if pulled["outcome"] != "success" {
        let said = pulled.to_string();
        assert!(said.contains("steps are refused"), "{pulled:#}");
        println!("missing: user namespaces");
        return;
    }
    let held = start(&bench, "acme/hold");
    until(60, "the step holds the value", || {
        bench.run(&["logs", &held, "--as", "bob"]).out.contains("held").then_some(())
    });
    // Last used, by which run, at which commit, how often: what the daemon knows.
    let (listed, _) =
        secrets(&bench, &["list", "acme", "--data", &data, "--as", "bob", "--format", "json"], "");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let version = &listed["secrets"][0]["versions"][0];
    assert_eq!(
        (&version["last_run"], &version["last_commit"]),
        (&pulled["id"], &Value::from(commit.as_str()))
    );
    assert!(version["last_used"].as_str().is_some_and(|time| time.ends_with('Z')), "{version:#}");
    assert_eq!(version["uses"], 1, "{version:#}");
    let (table, _) = secrets(&bench, &["list", "acme", "--data", &data, "--as", "bob"], "");
    assert!(table.contains(&format!("at {} (1 run)", &commit[..8])), "{table}");

    let leaked =
        ["rotate", "acme/token", "--leaked", "--reason", "in a screenshot", "--data", &data, "--as", "bob"];
    let (out, said) = secrets(&bench, &leaked, NEW);
    assert!(out.contains(&format!("runs under way with it: {held}\n")), "{out}");
    let had = out.lines().find(|line| line.starts_with("runs that fetched it:")).unwrap_or_default();
    assert!(had.contains(pulled["id"].as_str().unwrap()), "{out}");
    assert!(out.contains("v2 of acme/token is current") && out.contains("revoked    v1"), "{out}");
    assert!(out.contains("used by    hold, pull"), "{out}");
    assert!(said.contains("runs that ask for acme/token fail until this change is merged"), "{said}");

    // `on_revoke: cancel` ends who still has it; who asks gets nothing, who does not ask is not disturbed.
    let ended = until(60, "the run that holds the value ends", || {
        let shown = bench.run(&["show", &held, "--as", "bob", "--format", "json"]).ok().json();
        (!shown["run"]["outcome"].is_null()).then(|| shown["run"].clone())
    });
    assert_eq!(ended["outcome"], "cancelled", "{ended:#}");
    let refused = start(&bench, "acme/pull");
    bench.run(&["logs", &refused, "--follow", "--as", "bob"]).says("410 revoked");
    assert_eq!(run(&bench, "acme/other")["outcome"], "success");

    let merged = bench.commit("rotate the token");
    applied(&bench, &merged);
    let again = run(&bench, "acme/pull");
    assert_eq!(again["outcome"], "success", "{again:#}");
    assert_eq!(again["secrets_used"], serde_json::json!(["tenants/acme/token@v2"]));
    // No commit brings the old one back.
    let text = std::fs::read_to_string(bench.repo().join(index)).unwrap();
    bench.write(index, &text.replace("id: v1, state: revoked", "id: v1, state: pending"));
    bench.commit("bring it back");
    let shown = run(&bench, "acme/pull");
    assert_eq!(shown["secrets_used"], serde_json::json!(["tenants/acme/token@v2"]), "{shown:#}");
}
