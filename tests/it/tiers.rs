//! What a daemon's steps run in, and who may ask for more: with a real daemon.

use super::workbench::{Workbench, until};

/// Starts a workflow as bob and gives its record.
fn run(bench: &Workbench, workflow: &str) -> serde_json::Value {
    let run = bench.run(&["start", workflow, "--as", "bob"]).ok().out.trim().to_owned();
    bench.run(&["logs", &run, "--follow", "--as", "bob"]).ok();
    bench.run(&["show", &run, "--as", "bob", "--format", "json"]).ok().json()
}

/// Every string of a document.
fn text_of(document: &serde_json::Value) -> String {
    serde_json::to_string(document).unwrap()
}

#[test]
fn a_daemon_with_a_weaker_tier_than_a_step_asks_for_runs_nothing_of_it() {
    let bench = Workbench::with_acme();
    let workflow = |tier: &str| format!("on:\n  commit: {{}}\nscript: echo ran-here\n{tier}");
    bench.write("tenants/acme/workflows/any.yaml", &workflow(""));
    bench.write("tenants/acme/workflows/strict.yaml", &workflow("resources: { tier: sandbox }\n"));
    bench.commit("two workflows");
    let (repo, data) = (bench.repo(), bench.data());
    bench.run(&["server", "init", "--repo", repo.to_str().unwrap(), "--data", data.to_str().unwrap()]).ok();
    let _daemon = bench.serve_with(&["--tier", "bubblewrap"]);
    until(60, "the daemon answers", || (bench.run(&["reconcile"]).code == 0).then_some(()));

    let any = run(&bench, "acme/any");
    assert_eq!(any["run"]["outcome"], "success", "{any:#}");
    assert!(text_of(&any).contains("\"tier\":\"bubblewrap\""), "{any:#}");
    let strict = run(&bench, "acme/strict");
    assert_eq!(strict["run"]["outcome"], "error", "{strict:#}");
    let said = text_of(&strict);
    assert!(
        said.contains("this worker has `bubblewrap`") && said.contains("doctor --tier sandbox"),
        "{strict:#}"
    );
    assert!(!said.contains("ran-here"), "{strict:#}");

    // The tenant asks for all its steps: what ran before is refused now, by the settings that are applied.
    bench.write("tenants/acme/tenant.yaml", "owner: olga\nlimits: { tier: sandbox }\n");
    bench.commit("stricter");
    bench.run(&["reconcile", "--wait"]);
    let any = run(&bench, "acme/any");
    assert_eq!(any["run"]["outcome"], "error", "{any:#}");
}
