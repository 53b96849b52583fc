//! Steps that ask people, against a real daemon: who may answer, what survives a kill, what a rerun does.

use serde_json::Value;

use super::workbench::{Daemon, Workbench, until};

const RELEASE: &str = "\
on: { schedule: \"0 0 1 1 *\" }
steps:
  pull:
    script: tenantry-output --json count 3
    outputs: { count: int }
  check:
    if: steps.pull.outputs.count > 0
    approval: { from: [operator], count: 1, timeout: 24h }
  load: { script: \"echo loading; test ! -e /work/never\" }
";

/// A tenant whose files bob wrote; carol, dan and bob operate it, erin develops.
fn bench() -> Workbench {
    let bench = Workbench::with_acme();
    let people = ["alice", "bob", "carol", "dan", "erin", "olga"];
    let people = people.map(|name| format!("  {name}: {{ email: {name}@bench.example }}\n"));
    bench.write("platform/people.yaml", &format!("users:\n{}", people.concat()));
    bench.write("tenants/acme/roles.yaml", "operator: [bob, carol, dan]\ndeveloper: [erin]\n");
    bench.write("tenants/acme/workflows/release.yaml", RELEASE);
    bench
}

fn serve(bench: &Workbench) -> Daemon {
    let (repo, data) = (bench.repo(), bench.data());
    bench.run(&["server", "init", "--repo", repo.to_str().unwrap(), "--data", data.to_str().unwrap()]).ok();
    up(bench)
}

fn up(bench: &Workbench) -> Daemon {
    let daemon = bench.serve();
    until(60, "the daemon answers", || (bench.run(&["reconcile"]).code == 0).then_some(()));
    until(60, "acme is applied", || (!bench.status("acme")["last_applied_commit"].is_null()).then_some(()));
    daemon
}

fn shown(bench: &Workbench, run: &str) -> Value {
    bench.run(&["show", run, "--as", "carol", "--format", "json"]).ok().json()["run"].clone()
}

/// Starts a run as carol and waits until it asks.
fn asking(bench: &Workbench) -> String {
    let run = bench.run(&["start", "acme/release", "--as", "carol"]).ok().out.trim().to_owned();
    until(60, "people are asked", || {
        let run = shown(bench, &run);
        let asks = run["steps"].as_array().unwrap().iter().any(|step| step["approval"].is_object());
        (asks && run["state"] == "waiting").then_some(())
    });
    run
}

fn outcome(bench: &Workbench, run: &str) -> String {
    until(60, "the run ends", || shown(bench, run)["outcome"].as_str().map(str::to_owned))
}

#[test]
fn a_run_waits_for_people_over_a_kill_and_goes_on_when_they_agree() {
    let bench = bench();
    bench.commit("first");
    let mut daemon = serve(&bench);
    let run = asking(&bench);
    let answer = |who: &str, more: &[&str]| {
        let step = format!("{run}/check");
        bench.run(&[&["approve-step", &step, "--as", who], more].concat())
    };
    answer("carol", &[]).exits(1).says("`carol` started this run").says("count = 3");
    answer("bob", &[]).exits(1).says("`bob` wrote the commit of this run");
    answer("erin", &[]).exits(1).says("this step asks `operator`");
    answer("alice", &[]).exits(1).says("no run");
    answer("dan", &["--shown", "sha256:0"]).exits(1).says("what you were shown");
    answer("dan", &["--reject"]).exits(2).says("--reason");
    bench.run(&["approve-step", &format!("{run}/load"), "--as", "dan"]).exits(1).says("does not ask");
    bench.run(&["approve-step", &run, "--as", "dan"]).exits(2).says("is not RUN/STEP");
    bench.run(&["runs", "acme", "--as", "dan"]).ok().says("step check waits for an approval, 0 of 1");
    bench
        .run(&["runs", "acme", "--open", "--as", "dan"])
        .ok()
        .says("step check waits for an approval, 0 of 1");
    let status = bench.run(&["status", "acme", "--as", "dan"]).ok();
    status.says("acme/release: step check waits for an approval by operator, 0 of 1 until 2");
    let status = bench.run(&["status", "acme", "--as", "dan", "--format", "json"]).ok().json();
    let waiting = &status["tenants"][0]["waiting"];
    assert_eq!(waiting.as_array().unwrap().len(), 1, "{waiting:#}");
    assert_eq!((&waiting[0]["run"], &waiting[0]["step"]), (&run.clone().into(), &"check".into()));

    // Neither a kill nor a restart answers for anybody.
    daemon.kill();
    let mut again = up(&bench);
    let before = shown(&bench, &run);
    assert_eq!((&before["state"], &before["outcome"]), (&"waiting".into(), &Value::Null));
    let digest = before["steps"][1]["approval"]["shown"].as_str().unwrap().to_owned();
    answer("dan", &["--shown", &digest, "--reason", "numbers look right"]).ok().says("approved: step check");
    again.kill();
    let last = up(&bench);
    assert_eq!(outcome(&bench, &run), "success");
    bench
        .run(&["show", &run, "--as", "dan"])
        .ok()
        .says("approved")
        .says("user:dan")
        .says("numbers look right");
    bench.run(&["logs", &run, "--as", "dan"]).ok().says("loading");
    answer("dan", &[]).exits(1).says("over already");
    let audit = bench.run(&["audit", "acme", "--as", "olga"]).ok().out;
    for line in ["step.asked", "step.approved", "numbers look right", "approve-step.denied"] {
        assert!(audit.contains(line), "{line} in {audit}");
    }

    // A rerun asks again, and a no ends it.
    let again = bench.run(&["rerun", &run, "--as", "dan"]).ok().out.trim().to_owned();
    until(60, "people are asked again", || (shown(&bench, &again)["state"] == "waiting").then_some(()));
    until(60, "with its outputs", || shown(&bench, &again)["steps"][1]["approval"].is_object().then_some(()));
    let step = format!("{again}/check");
    bench.run(&["approve-step", &step, "--as", "dan"]).exits(1).says("`dan` started this run");
    let no = bench.run(&[
        "approve-step",
        &step,
        "--reject",
        "--reason",
        "not today",
        "--as",
        "carol",
        "--format",
        "json",
    ]);
    assert_eq!(no.ok().json()["outcome"], "rejected");
    assert_eq!(outcome(&bench, &again), "rejected");
    bench.run(&["show", &again, "--as", "dan"]).ok().says("rejected by `carol`: not today");
    assert_eq!(last.stop(), 0);
}

#[test]
fn whoever_wrote_what_a_merge_brought_in_approves_none_of_it() {
    let bench = bench();
    let first = bench.commit("first");
    let daemon = serve(&bench);
    // dan's change comes in by a merge that carol made; a commit of erin that touches nothing of acme follows.
    let by = |who: &str, args: &[&str]| {
        let (name, mail) = (format!("user.name={who}"), format!("user.email={who}@bench.example"));
        let mut all = vec!["-c", &name, "-c", &mail];
        all.extend(args);
        let author = format!("--author={who} <{who}@bench.example>");
        if args.contains(&"commit") {
            all.push(&author);
        }
        bench.git(&all);
    };
    by("dan", &["checkout", "-q", "-b", "topic"]);
    bench.write("tenants/acme/workflows/release.yaml", &RELEASE.replace("loading", "loaded"));
    by("dan", &["commit", "-q", "-a", "-m", "say it otherwise"]);
    by("carol", &["checkout", "-q", "-"]);
    by("carol", &["merge", "-q", "--no-ff", "-m", "merge topic", "topic"]);
    bench.write("README.md", "changed\n");
    bench.git(&["add", "-A"]);
    by("erin", &["commit", "-q", "-m", "elsewhere"]);
    until(60, "the merge is applied", || {
        (bench.status("acme")["last_applied_commit"] != first.as_str()).then_some(())
    });
    // bob's name stands in each commit as who made it; started by dan, so that only the commit speaks against carol.
    let run = bench.run(&["start", "acme/release", "--as", "bob"]).ok().out.trim().to_owned();
    until(60, "people are asked", || shown(&bench, &run)["steps"][1]["approval"].is_object().then_some(()));
    let step = format!("{run}/check");
    bench.run(&["approve-step", &step, "--as", "dan"]).exits(1).says("`dan` wrote the commit");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn one_pass_lists_what_waits_for_people_and_leaves_it() {
    let bench = bench();
    bench.write(
        "tenants/acme/workflows/release.yaml",
        &RELEASE.replace("{ schedule: \"0 0 1 1 *\" }", "{ commit: { first: true } }"),
    );
    bench.commit("first");
    bench.reconcile().ok().says("waiting").says("step check waits for an approval, 0 of 1");
    bench.run(&["runs", "acme"]).ok().says("approve-step run_");
}

#[test]
fn a_run_of_the_work_tree_names_what_asks_before_it_starts() {
    let bench = bench();
    let repo = bench.repo();
    let run = |more: &[&str]| {
        bench.run(&[&["run", "acme/release", "--repo", repo.to_str().unwrap()], more].concat())
    };
    run(&[]).exits(3).says("step `check` asks for an approval").says("--approve check");
    run(&["--approve", "load"]).exits(3).says("step `load` asks for no approval");
    let done = run(&["--approve", "check"]);
    if !done.err.contains("steps are refused on this machine") {
        done.ok().says("loading");
    }
}

#[test]
fn a_pass_that_waits_leaves_what_waits_for_people_and_says_so() {
    let bench = bench();
    let release = RELEASE
        .replace("on: { schedule: \"0 0 1 1 *\" }", "on: { commit: { first: true } }")
        .replace("timeout: 24h", "timeout: 9m");
    bench.write("tenants/acme/workflows/release.yaml", &release);
    bench.write(
        "tenants/acme/workflows/again.yaml",
        "on: { commit: { first: true } }\nscript: \"exit 1\"\nretry: { attempts: 2, backoff: 1s, jitter: false }\n",
    );
    bench.commit("first");
    let (repo, data) = (bench.repo(), bench.data());
    let (repo, data) = (repo.to_str().unwrap(), data.to_str().unwrap());
    let pass = ["reconcile", "--repo", repo, "--data", data, "--wait", "--limits", "best-effort"];
    let mut child = bench.tenantry(&pass).stdout(std::process::Stdio::piped()).spawn().unwrap();
    // Nobody answers: the pass must not sit there until the nine minutes are over.
    let ended = until(120, "the pass ends", || child.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0), "nothing is wrong with the tenant");
    let said = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
    assert!(said.contains("step check waits for an approval, 0 of 1 until"), "{said}");
    assert!(said.contains("acme/again failure"), "a retry is waited for: {said}");
}
