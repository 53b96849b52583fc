//! Hostile files and unlucky machines: one clear message where the user looks, nobody else affected.

use std::fs;
use std::process::Command;

use super::workbench::{Workbench, until};

const OK: &str = "on: { commit: { first: true } }\nscript: echo fine\n";

/// Two tenants, `acme` with something wrong in it: `acme` is invalid with `message`, `globex` is applied and runs.
#[track_caller]
fn acme_is_invalid(message: &str, spoil: impl FnOnce(&Workbench)) {
    let bench = two_tenants();
    let good = bench.commit("good");
    bench.reconcile().ok();
    bench.write("tenants/globex/workflows/more.yaml", OK);
    spoil(&bench);
    let bad = bench.commit("bad");
    let done = bench.reconcile().exits(1);
    assert!(
        (done.out.clone() + &done.err).contains(message),
        "reconcile does not say {message:?}\n--- out\n{}\n--- err\n{}",
        done.out,
        done.err
    );
    let acme = bench.status("acme");
    assert_eq!(acme["status"], "invalid", "{acme:#}");
    assert_eq!(acme["last_applied_commit"], good.as_str(), "{acme:#}");
    let globex = bench.status("globex");
    assert_eq!(globex["status"], "applied", "{globex:#}");
    assert_eq!(globex["last_applied_commit"], bad.as_str(), "{globex:#}");
    assert!(bench.runs("globex").iter().any(|run| run["workflow"] == "more" && run["outcome"] == "success"));
    // `validate` says the same of the same bytes (DESIGN.md, "What never happens", 8).
    bench.run(&["validate", "--repo", bench.repo().to_str().unwrap()]).exits(1).says(message);
}

fn two_tenants() -> Workbench {
    let bench = Workbench::with_acme();
    bench.write("tenants/acme/workflows/hello.yaml", OK);
    bench.write("tenants/globex/tenant.yaml", "owner: olga\n");
    bench.write("tenants/globex/roles.yaml", "operator: [bob]\n");
    bench.write("tenants/globex/workflows/hello.yaml", OK);
    bench
}

#[test]
fn broken_yaml_stops_its_own_tenant_only() {
    acme_is_invalid("error[Y", |bench| bench.write("tenants/acme/workflows/hello.yaml", "on: {\nrun: [\n"));
}

#[test]
fn a_symlink_is_refused_and_not_followed() {
    acme_is_invalid("link", |bench| {
        std::os::unix::fs::symlink("/etc/passwd", bench.repo().join("tenants/acme/scripts-passwd")).unwrap();
    });
}

#[test]
fn a_submodule_is_refused() {
    acme_is_invalid("submodule", |bench| {
        let head = bench.git(&["rev-parse", "HEAD"]);
        bench.git(&[
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("160000,{head},tenants/acme/scripts/lib"),
        ]);
        fs::create_dir_all(bench.repo().join("tenants/acme/scripts/lib/.git")).unwrap();
        let _ = fs::remove_dir_all(bench.repo().join("tenants/acme/scripts/lib"));
        // A directory of its own repository, as a submodule checkout leaves it.
        Command::new("git")
            .args(["clone", "-q", bench.repo().to_str().unwrap()])
            .arg(bench.repo().join("tenants/acme/scripts/lib"))
            .status()
            .unwrap();
    });
}

#[test]
fn a_file_of_50_mb_is_refused() {
    acme_is_invalid("at most 1 MiB", |bench| {
        bench.write("tenants/acme/workflows/hello.yaml", &"# padding\n".repeat(5_000_000));
    });
}

#[test]
fn a_hundred_thousand_brackets_are_refused() {
    acme_is_invalid("deep", |bench| {
        bench.write("tenants/acme/workflows/hello.yaml", &format!("on: {}\n", "[".repeat(100_000)));
    });
}

#[test]
fn an_alias_bomb_is_refused() {
    acme_is_invalid("alias", |bench| {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..30 {
            let one = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", vec![one; 10].join(", "));
        }
        bench.write("tenants/acme/workflows/hello.yaml", &text);
    });
}

#[test]
fn a_name_that_is_not_utf_8_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    acme_is_invalid("UTF-8", |bench| {
        let name = std::ffi::OsStr::from_bytes(b"tenants/acme/scripts/caf\xe9.sh");
        fs::create_dir_all(bench.repo().join("tenants/acme/scripts")).unwrap();
        fs::write(bench.repo().join(name), "#!/bin/sh\n").unwrap();
    });
}

#[test]
fn a_tenant_that_vanishes_is_disabled_and_returns_as_a_new_one() {
    let bench = two_tenants();
    bench.commit("good");
    bench.reconcile().ok();
    fs::remove_dir_all(bench.repo().join("tenants/acme")).unwrap();
    bench.commit("acme leaves");
    bench.reconcile();
    // What nobody may view does not exist; its audit, which Git never removes, is kept in the store.
    bench.run(&["runs", "acme"]).exits(1).says("no such tenant");
    assert_eq!(bench.status("globex")["status"], "applied");
    // A name that returns is a new tenant, in which nothing of the old one is seen.
    bench.git(&["revert", "--no-edit", "HEAD"]);
    bench.reconcile().ok();
    let runs = bench.runs("acme");
    assert_eq!(runs.len(), 1, "the run of the new tenant's first apply alone: {runs:#?}");
}

#[test]
fn a_listing_that_loses_most_tenants_is_held_until_released() {
    let bench = two_tenants();
    for name in ["initech", "umbrella", "hooli"] {
        bench.write(&format!("tenants/{name}/tenant.yaml"), "owner: olga\n");
        bench.write(&format!("tenants/{name}/roles.yaml"), "operator: [bob]\n");
        bench.write(&format!("tenants/{name}/workflows/hello.yaml"), OK);
    }
    bench.commit("good");
    bench.reconcile().ok();
    for name in ["initech", "umbrella", "hooli"] {
        fs::remove_dir_all(bench.repo().join("tenants").join(name)).unwrap();
    }
    bench.commit("a slip of the finger");
    bench.reconcile().exits(1).says("release");
    assert_eq!(bench.status("hooli")["held"][0]["reason"], "prune_guard", "{:#}", bench.status("hooli"));
}

#[test]
fn rewritten_history_is_held_until_released() {
    let bench = two_tenants();
    let first = bench.commit("good");
    bench.write("tenants/acme/workflows/hello.yaml", "script: echo second\n");
    bench.commit("second");
    bench.reconcile().ok();
    bench.git(&["reset", "-q", "--hard", &first]);
    bench.write("tenants/acme/workflows/hello.yaml", "script: echo rewritten\n");
    bench.commit("rewritten");
    bench.reconcile().exits(1).says("release source");
    let daemon = bench.serve();
    until(20, "the daemon takes the release", || {
        (bench.run(&["release", "source", "--reason", "we squashed"]).code == 0).then_some(())
    });
    let head = bench.git(&["rev-parse", "HEAD"]);
    until(20, "the rewritten head is applied", || {
        (bench.status("acme")["last_applied_commit"] == head.as_str()).then_some(())
    });
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_second_daemon_on_the_same_directory_is_refused() {
    let bench = two_tenants();
    bench.commit("good");
    let daemon = bench.serve();
    until(20, "the daemon answers", || (bench.run(&["status", "acme"]).code == 0).then_some(()));
    let second = bench.run(&[
        "serve",
        "--repo",
        bench.repo().to_str().unwrap(),
        "--data",
        bench.data().to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ]);
    second.exits(3).says("another");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_database_from_a_newer_version_is_refused_and_left_alone() {
    let bench = two_tenants();
    bench.commit("good");
    bench.reconcile().ok();
    let database = bench.data().join("tenantry.db");
    let python = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); \
                  c.execute(\"INSERT INTO schema_version (number, program) VALUES (9999, 'later')\"); c.commit()";
    let done = Command::new("python3")
        .args(["-c", python])
        .arg(&database)
        .output()
        .expect("install the package python3");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    bench.reconcile().exits(3).says("newer");
}

#[test]
fn a_repository_without_the_branch_is_named_with_the_cure() {
    let bench = two_tenants();
    bench.commit("good");
    bench.git(&["branch", "-m", "trunk"]);
    bench.git(&["checkout", "-q", "--detach"]);
    bench.reconcile().exits(3).says("branch");
}

#[test]
fn an_empty_repository_is_named_with_the_cure() {
    let bench = Workbench::new();
    bench.reconcile().exits(3).says("no commit yet");
}

#[test]
fn another_change_control_than_open_is_refused_with_a_sentence() {
    let bench = two_tenants();
    bench.write(
        "tenantry.toml",
        "format = 1\nid = \"0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11\"\nname = \"bench\"\n\n[change_control]\nmode = \"signed\"\n",
    );
    bench.commit("signed");
    bench.reconcile().exits(1).says("open");
    bench.run(&["runs", "acme"]).exits(1).says("no such tenant");
}

#[test]
fn what_trust_toml_demands_no_commit_can_lower() {
    let bench = two_tenants();
    bench.commit("open");
    fs::create_dir_all(bench.data()).unwrap();
    fs::set_permissions(bench.data(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::write(bench.data().join("trust.toml"), "weakest_mode = \"signed\"\n").unwrap();
    fs::set_permissions(bench.data().join("trust.toml"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    bench.reconcile().exits(3).says("demands change control `signed`");
}

#[test]
fn a_relative_data_directory_is_found_by_everything_that_is_started() {
    let bench = two_tenants();
    let commit = bench.commit("good");
    let above = bench.repo().parent().unwrap().to_owned();
    let (repo, data) = (bench.repo(), bench.data());
    let name = |path: &std::path::Path| path.strip_prefix(&above).unwrap().to_str().unwrap().to_owned();
    let (repo, data) = (name(&repo), name(&data));
    let mut command =
        bench.tenantry(&["reconcile", "--limits", "best-effort", "--repo", &repo, "--data", &data]);
    let output = command.current_dir(&above).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(bench.status("acme")["last_applied_commit"], commit.as_str());
}
