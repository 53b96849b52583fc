//! Steering by hand: pins, reruns, dry starts, against a real daemon.

use super::workbench::{Daemon, Workbench, until};

fn version(said: &str) -> String {
    format!("on:\n  commit: {{}}\nshell: sh\nscript: |\n  echo {said}\n")
}

fn bench() -> Workbench {
    let bench = Workbench::with_acme();
    bench.write("tenants/acme/workflows/greet.yaml", &version("good"));
    bench
}

fn applied(bench: &Workbench, commit: &str) {
    until(60, "the commit is applied", || {
        (bench.status("acme")["last_applied_commit"] == commit).then_some(())
    });
}

/// Makes the caller known as alice, so that `--as` is allowed, and starts the daemon.
fn serve(bench: &Workbench) -> Daemon {
    let (repo, data) = (bench.repo(), bench.data());
    bench.run(&["server", "init", "--repo", repo.to_str().unwrap(), "--data", data.to_str().unwrap()]).ok();
    up(bench)
}

/// Starts the daemon and waits until it answers.
fn up(bench: &Workbench) -> Daemon {
    let daemon = bench.serve();
    until(60, "the daemon answers", || (bench.run(&["reconcile"]).code == 0).then_some(()));
    daemon
}

/// Starts `acme/greet` as bob and gives what it wrote, and the commit it ran.
fn greet(bench: &Workbench) -> (String, String) {
    let run = bench.run(&["start", "acme/greet", "--as", "bob"]).ok().out.trim().to_owned();
    let said = bench.run(&["logs", &run, "--follow", "--as", "bob"]).ok().out;
    let shown = bench.run(&["show", &run, "--as", "bob", "--format", "json"]).ok().json();
    (said, shown["run"]["commit"].as_str().unwrap().to_owned())
}

#[test]
fn a_pin_brings_older_code_back_at_once_and_survives_a_kill() {
    let bench = bench();
    let good = bench.commit("good");
    let mut daemon = serve(&bench);
    applied(&bench, &good);
    bench.write("tenants/acme/workflows/greet.yaml", &version("bad"));
    let bad = bench.commit("bad");
    applied(&bench, &bad);
    let (said, commit) = greet(&bench);
    assert!(said.contains("bad") && commit == bad, "{said} {commit}");

    let pin = |args: &[&str]| {
        let mut all = vec!["pin", "acme"];
        all.extend(args);
        bench.run(&all)
    };
    let why = ["--reason", "wrong totals", "--as", "bob"];
    pin(&["--to", &good[..8], "--reason", "r"]).exits(1).says("no role in a tenant");
    pin(&[&["--to", "0123abcd"], &why[..]].concat())
        .exits(1)
        .says("was never applied in `acme`")
        .says(&bad[..8]);
    pin(&[&["--to", "HEAD~1"], &why[..]].concat()).exits(2).says("a commit's id");
    pin(&["--to", &good]).exits(2).says("--reason");
    pin(&["--off", "--as", "bob"]).exits(1).says("`acme` is not pinned");
    pin(&[&["--to", &good[..8]], &why[..]].concat()).ok().says(&good[..8]).says("--off");

    bench.run(&["status"]).ok().says("pinned at").says("wrong totals");
    let row = bench.status("acme");
    assert_eq!((&row["pinned"]["commit"], &row["pinned"]["by"]), (&good.as_str().into(), &"user:bob".into()));
    assert_eq!(row["last_applied_commit"], bad.as_str(), "the applied state stays");
    let conditions = row["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|one| one["type"] == "Pinned" && one["status"] == true), "{row:#}");
    let (said, commit) = greet(&bench);
    assert!(said.contains("good") && commit == good, "{said} {commit}");

    daemon.kill();
    let again = up(&bench);
    let (said, _) = greet(&bench);
    assert!(said.contains("good"), "{said}");
    let runs = bench.run(&["runs", "acme", "--as", "bob", "--format", "json"]).ok().json();
    let count = runs["runs"].as_array().unwrap().len();

    pin(&["--off", "--as", "bob"]).ok().says("follows Git again");
    assert!(bench.status("acme")["pinned"].is_null());
    let (said, commit) = greet(&bench);
    assert!(said.contains("bad") && commit == bad, "{said} {commit}");
    let runs = bench.run(&["runs", "acme", "--as", "bob", "--format", "json"]).ok().json();
    assert_eq!(runs["runs"].as_array().unwrap().len(), count + 1, "neither pin nor its end starts anything");

    let document =
        pin(&[&["--to", &good, "--until", "2s", "--format", "json"], &why[..]].concat()).ok().json();
    assert_eq!(document["schema"], "tenantry.pinned/1");
    until(30, "the pin lets itself go and that is written down", || {
        let audit = bench.run(&["audit", "acme", "--as", "olga"]).ok();
        audit.out.contains("its time was over").then_some(())
    });
    let (said, _) = greet(&bench);
    assert!(said.contains("bad"), "{said}");
    bench.run(&["audit", "acme", "--as", "olga"]).ok().says("tenant.pinned").says("wrong totals; until");
    assert_eq!(again.stop(), 0);
}
