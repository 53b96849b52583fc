//! What a daemon's steps run in, and who may ask for more: with a real daemon.

use super::workbench::Workbench;

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
    let strict = "resources: { tier: sandbox }\nsecrets: [{ name: token, env: TOKEN }]\n";
    bench.write("tenants/acme/workflows/strict.yaml", &workflow(strict));
    let (repo, data) = (bench.repo(), bench.data());
    let (repo, data) = (repo.to_str().unwrap(), data.to_str().unwrap());
    bench.secret("acme/token", "a value of its own");
    let first = bench.commit("two workflows");
    bench.run(&["server", "init", "--repo", repo, "--data", data]).ok();
    let _daemon = bench.serve_with(&["--tier", "bubblewrap"]);
    bench.until_applied("acme", &first);

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
    let opened = strict["run"]["secrets_used"].as_array().unwrap();
    assert!(opened.is_empty(), "it is refused before its secrets are opened: {strict:#}");

    // The tenant asks for all its steps: what ran before is refused now, by the settings that are applied.
    let settings = std::fs::read_to_string(bench.repo().join("tenants/acme/tenant.yaml")).unwrap();
    bench.write("tenants/acme/tenant.yaml", &format!("{settings}limits: {{ tier: sandbox }}\n"));
    let stricter = bench.commit("stricter");
    bench.until_applied("acme", &stricter);
    let any = run(&bench, "acme/any");
    assert_eq!(any["run"]["outcome"], "error", "{any:#}");
}
