//! Sensitive inputs: what a person gives is stored by nobody in clear, shown by nobody, and reaches the step that
//! names it.

use super::workbench::{Daemon, Workbench, holding, until};

const CANARY: &str = "canary-7f3a@acme.example";

const MAIL: &str = "\
on: manual
inputs:
  email: { sensitive: true, format: email }
  day: { default: monday }
steps:
  tell:
    with: { to: [\"${{ inputs.email }}\"], day: \"${{ inputs.day }}\" }
    script: |
      cat \"$TENANTRY_INPUT\"
      grep -q '@acme' \"$TENANTRY_INPUT\"
      if env | grep -q '@'; then echo leaked; exit 1; fi
      tenantry-output said \"$(cat \"$TENANTRY_INPUT\")\"
  other:
    with: { day: \"${{ inputs.day }}\" }
    script: |
      if grep -q @ \"$TENANTRY_INPUT\"; then echo leaked; exit 1; fi
";

fn bench() -> Workbench {
    let bench = Workbench::with_acme();
    bench.write("tenants/acme/workflows/mail.yaml", MAIL);
    bench.commit("first");
    let (repo, data) = (bench.repo(), bench.data());
    bench.run(&["server", "init", "--repo", repo.to_str().unwrap(), "--data", data.to_str().unwrap()]).ok();
    bench
}

fn serve(bench: &Workbench) -> Daemon {
    let daemon = bench.serve();
    until(60, "acme is applied", || {
        let up = bench.run(&["reconcile"]).code == 0;
        (up && !bench.status("acme")["last_applied_commit"].is_null()).then_some(())
    });
    daemon
}

#[test]
fn a_sensitive_input_reaches_its_step_and_nothing_else() {
    let bench = bench();
    let (repo, data) = (bench.repo(), bench.data());
    bench
        .run(&["secrets", "init", "acme", "--repo", repo.to_str().unwrap(), "--data", data.to_str().unwrap()])
        .ok();
    bench.commit("recipients");
    let daemon = serve(&bench);
    let given = format!("email={CANARY}");
    let run = bench.run(&["start", "acme/mail", "--input", &given, "--as", "bob"]).ok().out.trim().to_owned();
    let logs = bench.run(&["logs", &run, "--follow", "--as", "bob"]).ok();
    assert!(!logs.out.contains("canary"), "{}", logs.out);
    assert!(logs.out.contains("[redacted:email]") && logs.out.contains("monday"), "{}", logs.out);
    let shown = bench.run(&["show", &run, "--as", "bob", "--format", "json"]).ok();
    assert_eq!(shown.json()["run"]["outcome"], "success", "{}", shown.out);
    // A rerun has it too, and the audit says who was given it.
    let again = bench.run(&["rerun", &run, "--as", "bob"]).ok().out.trim().to_owned();
    let logs = bench.run(&["logs", &again, "--follow", "--as", "bob"]).ok();
    assert!(logs.out.contains("[redacted:email]"), "{}", logs.out);
    bench.run(&["rerun", &run, "--at", "applied", "--as", "bob"]).exits(1).says("sensitive inputs");
    let audit = bench.run(&["audit", "acme", "--as", "olga"]).ok().out;
    assert!(audit.contains("input.requested") && audit.contains("input.delivered"), "{audit}");
    let short = bench.run(&["start", "acme/mail", "--input", "email=a@b.c", "--as", "bob"]);
    short.exits(2).says("cannot be masked");
    assert_eq!(daemon.stop(), 0);
    assert!(!shown.out.contains("canary") && !audit.contains("canary"));
    assert_eq!(holding(&data, "canary"), Vec::<String>::new(), "nothing that is stored holds it");
    assert!(
        !std::fs::read_to_string(bench.data().parent().unwrap().join("serve.log"))
            .unwrap()
            .contains("canary")
    );
}

#[test]
fn without_a_recipient_it_is_refused_with_the_cure() {
    let bench = bench();
    let daemon = serve(&bench);
    let given = format!("email={CANARY}");
    bench
        .run(&["start", "acme/mail", "--input", &given, "--as", "bob"])
        .exits(1)
        .says("has no recipient to encrypt it to")
        .says("tenantry secrets init acme");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(holding(&bench.data(), "canary"), Vec::<String>::new());
}

#[test]
fn a_run_of_the_work_tree_masks_it_too() {
    let bench = bench();
    let (repo, given) = (bench.repo(), format!("email={CANARY}"));
    let done = bench.run(&["run", "acme/mail", "--repo", repo.to_str().unwrap(), "--input", &given]);
    assert!(!done.out.contains("canary"), "{}", done.out);
    if !done.err.contains("steps are refused on this machine") {
        done.ok().says("[redacted:email]");
    }
}
