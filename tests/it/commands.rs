//! The commands that people type, against a daemon and without one: what they answer, to whom, with which code.

use super::workbench::{Workbench, until};

const GREET: &str = "\
on:
  commit: { first: true }
inputs:
  name: { type: string, default: world }
shell: sh
script: |
  echo \"hello $TENANTRY_ATTEMPT\"
  test \"$TENANTRY_ATTEMPT\" -ge 2
retry: { attempts: 3, backoff: 1s, jitter: false }
";

fn bench() -> Workbench {
    let bench = Workbench::with_acme();
    bench.write("tenants/acme/workflows/greet.yaml", GREET);
    bench.commit("greet");
    bench
}

#[test]
fn a_pass_that_waits_sees_retries_through_and_reading_needs_no_daemon() {
    let bench = bench();
    bench.reconcile().ok();
    let runs = bench.runs("acme");
    assert_eq!((runs.len(), &runs[0]["outcome"]), (1, &"success".into()), "{runs:#?}");
    let id = runs[0]["id"].as_str().unwrap();
    bench.run(&["status"]).ok().says("no daemon runs").says("applied");
    let shown = bench.run(&["show", &id[id.len() - 6..], "--format", "json"]).ok().json();
    assert_eq!(shown["run"]["steps"].as_array().unwrap().len(), 2, "{shown:#}");
    bench.run(&["show", "acme/greet"]).ok().says(id);
    bench.run(&["logs", id]).ok().says("hello 1").says("hello 2");
    bench.run(&["audit", "acme"]).ok().says("logs.read");
    bench.run(&["logs", "acme/nothing"]).exits(1).says("no run of `acme/nothing`");
    bench.run(&["logs", "what"]).exits(2);
    bench.run(&["start", "acme/greet"]).exits(3).says("no daemon runs");
    bench.run(&["status", "--data", "/nowhere"]).exits(3);
}

#[test]
fn rights_are_those_of_the_applied_state_and_a_denial_is_an_answer() {
    let bench = bench();
    let (repo, data) = (bench.repo(), bench.data());
    let init = ["server", "init", "--repo", repo.to_str().unwrap(), "--data", data.to_str().unwrap()];
    bench.run(&init).ok().says("is alice").says("identity").says("recovery key");
    let before = std::fs::read(data.join("trust.toml")).unwrap();
    let again = bench.run(&init).ok().says("left as it is");
    assert!(!again.out.contains("AGE-SECRET-KEY"), "the recovery key is shown once");
    assert_eq!(std::fs::read(data.join("trust.toml")).unwrap(), before);

    let daemon = bench.serve();
    until(60, "the first run ends", || {
        let runs = bench.run(&["runs", "acme", "--as", "bob", "--format", "json"]);
        (runs.code == 0 && runs.json()["runs"][0]["outcome"] == "success").then_some(())
    });
    // This uid is alice, the platform admin: she sees that acme is well, and nothing of its runs.
    bench.run(&["status", "acme"]).ok().says("applied");
    bench.run(&["runs", "acme"]).exits(1).says("a platform admin has no role in a tenant");
    bench.run(&["start", "acme/greet"]).exits(1).says("no role in a tenant");
    bench.run(&["start", "nowhere/greet"]).exits(1).says("there is no such tenant");
    bench.run(&["start", "acme/greet", "--as", "mallory"]).exits(1).says("no person `mallory`");
    // olga owns acme and may look, not start.
    bench.run(&["start", "acme/greet", "--as", "olga"]).exits(1).says("it takes the role `operator`");
    bench
        .run(&["start", "acme/greet", "--as", "bob", "--input", "nam=x"])
        .exits(2)
        .says("unknown input `nam`");
    bench.run(&["start", "acme/greet", "--as", "bob", "--dry-run"]).ok().says("would start");
    let start = ["start", "acme/greet", "--as", "bob", "--key", "once", "--input", "name=you"];
    let first = bench.run(&start).ok().out;
    assert_eq!(bench.run(&start).ok().says("has started that run before").out, first);
    bench.run(&["logs", first.trim(), "--as", "bob", "--follow"]).ok().says("hello 2");
    bench.run(&["rerun", first.trim(), "--as", "bob"]).ok().says("run_");
    bench.run(&["pause", "acme/greet", "--reason", "a look", "--as", "bob"]).ok().says("paused until");
    let waiting = bench.run(&["start", "acme/greet", "--as", "bob"]).ok().out;
    bench.run(&["cancel", waiting.trim(), "--as", "bob"]).ok();
    until(30, "the cancelled run ends", || {
        let run = bench.run(&["show", waiting.trim(), "--as", "bob", "--format", "json"]).ok().json();
        (run["run"]["outcome"] == "cancelled").then_some(())
    });
    bench.run(&["resume", "acme/greet", "--as", "bob"]).ok();
    bench.run(&["release", "acme", "--reason", "r", "--as", "bob"]).exits(1).says("nothing is held");
    bench.run(&["reconcile"]).ok();
    bench.run(&["audit", "acme", "--as", "olga"]).ok().says("by --as").says("start.denied");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_plan_says_what_a_merge_would_do_by_its_exit_code() {
    let bench = bench();
    let repo = bench.repo();
    let plan = |args: &[&str]| {
        let mut all = vec!["plan", "--repo", repo.to_str().unwrap()];
        all.extend(args);
        bench.run(&all)
    };
    plan(&[]).ok();
    bench.write("tenants/acme/roles.yaml", "operator: [bob, alice]\n");
    let document = plan(&["--format", "json"]).exits(2).json();
    assert_eq!(document["schema"], "tenantry.plan/1");
    assert_eq!(document["changes"][0]["class"], "grant", "{document:#}");
    plan(&["--fail-on", "access"]).exits(4);
    plan(&["--fail-on", "destructive"]).ok();
    plan(&["--fail-on", "none"]).ok();
    bench.write("tenants/acme/workflows/greet.yaml", "run: [\n");
    plan(&[]).exits(2).says("blocked: acme");
    plan(&["--fail-on", "blocked"]).exits(4);
    plan(&["nonsense..HEAD"]).exits(1);
    plan(&["--format", "xml"]).exits(1);
    bench.run(&["plan", "--repo", "/nowhere"]).exits(3);
}
