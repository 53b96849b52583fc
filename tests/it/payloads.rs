//! What a run was given and wrote, once it is over, against a real daemon: in no file in clear, said to be sealed or
//! dropped, and opened for a rerun by whoever holds the identity.

use serde_json::Value;

use super::workbench::{Daemon, Workbench, holding, until};

const CANARY: &str = "order-4711-canary";

const FLAKY: &str = "\
on: manual
inputs: { day: { default: monday } }
steps:
  fetch:
    shell: sh
    script: |
      tenantry-output note order-4711-$(printf canary)
      tenantry-output --json list '[1, 2]'
    outputs: { note: string, list: list }
  each:
    for_each: \"${{ steps.fetch.outputs.list }}\"
    with: { one: \"${{ item }}\", note: \"${{ steps.fetch.outputs.note }}\" }
    shell: sh
    script: |
      tenantry-output told \"$INPUT_NOTE\"
      if [ \"$INPUT_ONE\" = 2 ]; then exit 1; fi
";

fn bench() -> Workbench {
    let bench = Workbench::with_acme();
    bench.write("tenants/acme/workflows/flaky.yaml", FLAKY);
    bench.commit("first");
    let (repo, data) = (bench.repo(), bench.data());
    bench.run(&["server", "init", "--repo", repo.to_str().unwrap(), "--data", data.to_str().unwrap()]).ok();
    bench
}

fn with_recipients(bench: &Workbench) {
    let (repo, data) = (bench.repo(), bench.data());
    let (repo, data) = (repo.to_str().unwrap(), data.to_str().unwrap());
    bench.run(&["secrets", "init", "acme", "--repo", repo, "--data", data]).ok();
    bench.commit("recipients");
}

fn serve(bench: &Workbench) -> Daemon {
    let daemon = bench.serve();
    until(60, "acme is applied", || {
        let up = bench.run(&["reconcile"]).code == 0;
        (up && !bench.status("acme")["last_applied_commit"].is_null()).then_some(())
    });
    daemon
}

fn shown(bench: &Workbench, run: &str) -> Value {
    bench.run(&["show", run, "--as", "bob", "--format", "json"]).ok().json()["run"].take()
}

/// Starts a run, or runs one again, and waits for its end.
fn ended(bench: &Workbench, args: &[&str]) -> (String, Value) {
    let run = bench.run(&[args, &["--as", "bob"]].concat()).ok().out.trim().to_owned();
    let record = until(60, "the run ends", || {
        let record = shown(bench, &run);
        record["outcome"].is_string().then_some(record)
    });
    (run, record)
}

#[test]
fn what_a_run_wrote_is_sealed_at_its_end_and_opened_to_keep_it() {
    let bench = bench();
    with_recipients(&bench);
    let daemon = serve(&bench);
    let (run, record) = ended(&bench, &["start", "acme/flaky"]);
    assert_eq!(record["outcome"], "failure", "{record:#}");
    assert!(!record.to_string().contains(CANARY), "{record:#}");
    assert_eq!(record["payload"]["state"], "sealed", "{record:#}");
    assert_eq!(record["steps"][0]["outputs"], serde_json::json!({}));
    bench.run(&["show", &run, "--as", "bob"]).ok().says("payload    sealed until 20");

    let rerun = ["rerun", &run, "--failed"];
    bench.run(&[&rerun[..], &["--dry-run", "--as", "bob"]].concat()).ok().says("fetch: kept, not run again");
    let (again, record) = ended(&bench, &rerun);
    let kept = |step: &str, item: Value| {
        let steps = record["steps"].as_array().unwrap();
        steps.iter().find(|one| one["id"] == step && one["item"] == item).unwrap()["attempt"] == 0
    };
    assert!(kept("fetch", Value::Null) && kept("each", 0.into()) && !kept("each", 1.into()), "{record:#}");
    let audit = bench.run(&["audit", "acme", "--as", "olga"]).ok().out;
    assert!(audit.contains("payload.requested") && audit.contains("payload.opened"), "{audit}");
    assert!(!audit.contains(CANARY), "{audit}");
    // What was kept is kept on.
    ended(&bench, &["rerun", &again, "--failed"]);
    assert_eq!(daemon.stop(), 0);
    assert_eq!(holding(&bench.data(), CANARY), Vec::<String>::new(), "nothing that is stored holds it");

    // A daemon without the identity says so, and that the whole can run all the same.
    let identity = bench.data().join("identities/acme.txt");
    let aside = bench.data().join("aside.txt");
    std::fs::rename(&identity, &aside).unwrap();
    let daemon = serve(&bench);
    bench
        .run(&[&rerun[..], &["--as", "bob"]].concat())
        .exits(1)
        .says("no fit identity of the tenant is here")
        .says("without `--failed` all of it runs again");
    assert_eq!(ended(&bench, &["rerun", &run]).1["outcome"], "failure");
    let audit = bench.run(&["audit", "acme", "--as", "olga"]).ok().out;
    assert!(audit.contains("payload.denied"), "{audit}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn without_a_recipient_it_is_dropped_and_said_so() {
    let bench = bench();
    let daemon = serve(&bench);
    let (run, record) = ended(&bench, &["start", "acme/flaky"]);
    let dropped = serde_json::json!({"state": "dropped", "why": "no_recipient"});
    assert_eq!(record["payload"], dropped, "{record:#}");
    assert!(!record.to_string().contains(CANARY), "{record:#}");
    bench.run(&["show", &run, "--as", "bob"]).ok().says("dropped").says("`tenantry secrets init acme`");
    for args in [&["rerun", &run, "--failed"][..], &["rerun", &run, "--failed", "--dry-run"]] {
        bench
            .run(&[args, &["--as", "bob"]].concat())
            .exits(1)
            .says("cannot keep `fetch`, `each`")
            .says("leave out `--failed`");
    }
    assert_eq!(ended(&bench, &["rerun", &run]).1["outcome"], "failure");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(holding(&bench.data(), CANARY), Vec::<String>::new(), "nothing that is stored holds it");
}
