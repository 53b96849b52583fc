//! The daemon is killed at random moments: nothing is lost, nothing happens twice, nothing goes on alone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::workbench::{Workbench, processes_with, until};

/// Kills in the suite; `TENANTRY_TEST_KILLS` sets another number, as `tests/long` does.
fn kills() -> u32 {
    std::env::var("TENANTRY_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(50)
}

/// A repeatable spread of waits over 50 to 1,250 ms, which visits all of it evenly: from before the daemon stands to
/// after its runs are over.
fn wait_before(kill: u32) -> Duration {
    Duration::from_millis(50 + (u64::from(kill) * 741) % 1200)
}

#[test]
fn a_daemon_killed_at_any_moment_loses_nothing_and_repeats_nothing() {
    // A length that no other process of this machine sleeps for.
    let nap = format!("0.1{:07}", std::process::id());
    let bench = Workbench::with_acme();
    bench.write(
        "tenants/acme/workflows/tick.yaml",
        "on: { commit: { first: true, each: true } }\nsteps:\n  one: { run: scripts/nap.sh }\n  two: { run: scripts/nap.sh }\n",
    );
    bench.write("tenants/acme/scripts/nap.sh", &format!("#!/bin/sh\nsleep {nap}\n"));
    let mut commits = vec![bench.commit("first")];
    // The first apply makes the base from which every later commit is applied on its own.
    bench.reconcile().ok();
    for kill in 0..kills() {
        bench.write(
            "tenants/acme/scripts/nap.sh",
            &format!("#!/bin/sh\n# {kill}\nsleep {nap}\necho did {kill}\n"),
        );
        commits.push(bench.commit(&format!("change {kill}")));
        let mut daemon = bench.serve();
        std::thread::sleep(wait_before(kill));
        daemon.kill();
        until(5, "no process of a run outlives the daemon", || processes_with(&nap).is_empty().then_some(()));
    }

    let daemon = bench.serve();
    let head = commits.last().unwrap();
    until(60, "head is applied", || {
        (bench.status("acme")["last_applied_commit"] == head.as_str()).then_some(())
    });
    let runs = until(120, "every run has ended", || {
        let runs = bench.runs("acme");
        (!runs.is_empty() && runs.iter().all(|run| run["state"] == "ended")).then_some(runs)
    });
    assert_eq!(daemon.stop(), 0);

    // `each: true`: every commit was applied once, and each apply made one run.
    let mut by_commit: BTreeMap<&str, u32> = BTreeMap::new();
    let mut keys: BTreeMap<String, u32> = BTreeMap::new();
    let mut lost = 0;
    for run in &runs {
        *by_commit.entry(run["commit"].as_str().unwrap()).or_default() += 1;
        *keys.entry(run["trigger"].to_string()).or_default() += 1;
        let succeeded = run["steps"].as_array().unwrap().iter().filter(|s| s["outcome"] == "success").count();
        // A killed daemon loses leases, which are tried again: a script that never fails ends in success, unless
        // four daemons in a row were killed under one step, which is the stated bound of lost leases.
        if run["outcome"] == "error" {
            assert!(run["reason"].as_str().unwrap_or_default().contains("lost"), "{run:#}");
            lost += 1;
        } else {
            assert_eq!(run["outcome"], "success", "{run:#}");
            assert_eq!(succeeded, 2, "each step succeeded once: {run:#}");
        }
    }
    assert!(lost * 5 <= runs.len(), "{lost} of {} runs gave up", runs.len());
    assert!(keys.values().all(|n| *n == 1), "a trigger key made two runs: {keys:?}");
    for commit in &commits {
        assert_eq!(by_commit.get(commit.as_str()), Some(&1), "commit {commit} made one run");
    }
    let export = bench.run(&["audit", "acme", "--export"]).ok().out;
    let records = export.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let applied =
        records.filter(|record| record["action"] == "tenant.created" || record["action"] == "tenant.applied");
    assert_eq!(applied.count(), commits.len(), "one audit entry an apply");
    until(5, "nothing is left alive", || processes_with(&nap).is_empty().then_some(()));
}
