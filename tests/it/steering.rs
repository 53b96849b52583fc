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

const FLAKY: &str = "\
on: manual
steps:
  fetch:
    shell: sh
    script: |
      echo fetched $TENANTRY_IDEMPOTENCY_KEY
      tenantry-output --json rows 3
    outputs: { rows: int }
  load:
    with: { rows: \"${{ steps.fetch.outputs.rows }}\" }
    shell: sh
    script: |
      echo loading $INPUT_ROWS $TENANTRY_IDEMPOTENCY_KEY
      exit 1
";

#[test]
fn a_rerun_keeps_what_succeeded_and_says_which_code_it_takes() {
    let bench = bench();
    bench.write("tenants/acme/workflows/flaky.yaml", FLAKY);
    bench.commit("flaky");
    // What a run wrote is kept for its rerun where there is somebody to encrypt it to.
    let (repo, data) = (bench.repo(), bench.data());
    bench
        .run(&["secrets", "init", "acme", "--repo", repo.to_str().unwrap(), "--data", data.to_str().unwrap()])
        .ok();
    let first = bench.commit("recipients");
    let daemon = serve(&bench);
    applied(&bench, &first);
    let ended = |run: &str| {
        until(60, "the run ends", || {
            let shown = bench.run(&["show", run, "--as", "bob", "--format", "json"]).ok().json();
            shown["run"]["outcome"].is_string().then(|| shown["run"].clone())
        })
    };
    let logs = |run: &str| bench.run(&["logs", run, "--as", "bob"]).ok().out;
    let rerun = |args: &[&str]| {
        let mut all = vec!["rerun"];
        all.extend(args);
        all.extend(["--as", "bob"]);
        bench.run(&all)
    };
    let run = bench.run(&["start", "acme/flaky", "--as", "bob"]).ok().out.trim().to_owned();
    assert_eq!(ended(&run)["outcome"], "failure");
    let key = format!("{run}/load");
    assert!(logs(&run).contains(&key));

    rerun(&[&run, "--failed", "--dry-run"]).ok().says("fetch: kept, not run again").says("step     load");
    let again = rerun(&[&run, "--failed"]).ok();
    assert!(!again.err.contains("note:"), "the code is the same: {}", again.err);
    let again = again.out.trim().to_owned();
    let record = ended(&again);
    let steps = record["steps"].as_array().unwrap();
    let kept = steps.iter().find(|step| step["id"] == "fetch").unwrap();
    assert_eq!((&kept["attempt"], &kept["outcome"]), (&0.into(), &"success".into()), "{record:#}");
    assert!(kept["reason"].as_str().unwrap().contains(&run));
    let said = logs(&again);
    assert!(said.contains("loading 3") && said.contains(&key) && !said.contains("fetched"), "{said}");
    let anew = rerun(&[&run, "--new-key"]).ok().out.trim().to_owned();
    ended(&anew);
    assert!(logs(&anew).contains(&format!("{anew}/load")), "{}", logs(&anew));

    bench.write("tenants/acme/workflows/flaky.yaml", &FLAKY.replace("exit 1", "exit 0"));
    let second = bench.commit("mended");
    applied(&bench, &second);
    rerun(&["acme/flaky", "--dry-run"]).ok().says("`--at applied` takes it");
    let mended = rerun(&["acme/flaky", "--failed", "--at", "applied"]).ok().says("takes the code in force");
    let record = ended(mended.out.trim());
    assert_eq!((&record["outcome"], &record["commit"]), (&"success".into(), &second.as_str().into()));
    rerun(&[mended.out.trim(), "--failed"]).exits(1).says("nothing of run").says("without `--failed`");

    let before = bench.run(&["runs", "acme", "--as", "bob", "--format", "json"]).ok().json();
    bench.run(&["pause", "acme/flaky", "--reason", "a look", "--as", "bob"]).ok();
    bench.run(&["start", "acme/flaky", "--dry-run", "--as", "bob"]).ok().says("step     load").says("a look");
    let document =
        bench.run(&["start", "acme/flaky", "--dry-run", "--as", "bob", "--format", "json"]).ok().json();
    assert_eq!((&document["dry_run"], &document["steps"][0]["does"]), (&true.into(), &"run".into()));
    let after = bench.run(&["runs", "acme", "--as", "bob", "--format", "json"]).ok().json();
    assert_eq!(before["runs"], after["runs"], "looking starts nothing");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_tenant_is_shown_from_its_files_without_a_daemon() {
    let bench = bench();
    bench.write(
        "tenants/acme/workflows/nightly.yaml",
        "description: Counts the day\non:\n  schedule:\n    - { cron: \"30 2 * * *\", exact: true }\ninputs:\n  day: { type: string, default: today }\nshell: sh\nscript: echo night\n",
    );
    let commit = bench.commit("nightly");
    let repo = bench.repo();
    let repo = repo.to_str().unwrap();
    let show = |args: &[&str]| {
        let mut all = vec!["show", "tenant"];
        all.extend(args);
        bench.run(&all)
    };
    show(&["acme", "--repo", repo]).ok().says("user:olga").says("30 2 * * * in UTC, next 20").says("inline");
    let document = show(&["acme", "--repo", repo, "--rev", "HEAD", "--format", "json"]).ok().json();
    assert_eq!(
        (&document["schema"], &document["revision"]),
        (&"tenantry.tenant/1".into(), &commit.as_str().into())
    );
    let grants = document["grants"].as_array().unwrap();
    assert!(
        grants.iter().any(|grant| grant["role"] == "operator" && grant["principal"] == "user:bob"),
        "{grants:?}"
    );
    let nightly = &document["workflows"][1];
    assert_eq!(nightly["workflow"], "nightly", "{document:#}");
    let next = nightly["on"]["schedule"][0]["next"].as_array().unwrap();
    assert_eq!((next.len(), &next[0].as_str().unwrap()[11..]), (3, "02:30:00Z"));
    show(&["initech", "--repo", repo]).exits(1).says("its tenants: acme");
    show(&["--repo", repo]).exits(2).says("which one?");
    bench.run(&["show", "acme/greet", "acme"]).exits(2).says("show tenant TENANT");
    bench.write("tenants/acme/roles.yaml", "operator: [nobody]\n");
    show(&["acme", "--repo", repo]).exits(1).says("1 mistake").says("validate --tenant acme");
    show(&["acme", "--repo", repo, "--rev", "HEAD"]).ok();
}

#[test]
fn settings_come_from_flags_the_environment_a_file_and_defaults() {
    let bench = bench();
    let file = bench.repo().with_file_name("serve.toml");
    std::fs::write(&file, "repo = \"/srv/from-file\"\npoll = \"5s\"\nslots = 3\n").unwrap();
    let file = file.to_str().unwrap();
    let command = |flags: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tenantry"));
        command.env_clear().env("TENANTRY_POLL", "7s").env("TENANTRY_CONFIG", file).arg("serve").args(flags);
        command.output().unwrap()
    };
    let shown = command(&["--print-config", "--slots", "9"]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.status.code(), Some(0), "{text}");
    let line = |key: &str| {
        let line = text.lines().find(|line| line.trim_start_matches("# ").starts_with(key)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("repo"), format!("repo = \"/srv/from-file\" # {file}:1"));
    assert_eq!(line("poll"), "poll = \"7s\" # TENANTRY_POLL");
    assert_eq!(line("slots"), "slots = 9 # --slots");
    assert_eq!(line("listen"), "listen = \"127.0.0.1:7878\" # default");
    let lacking = command(&[]);
    assert_eq!(lacking.status.code(), Some(2));
    let said = String::from_utf8(lacking.stderr).unwrap();
    assert!(said.contains("`serve` needs `--data`, TENANTRY_DATA or `data`"), "{said}");
}

#[test]
fn a_plan_begins_where_the_daemon_stands_and_shows_what_was_steered() {
    let bench = bench();
    let good = bench.commit("good");
    let daemon = serve(&bench);
    applied(&bench, &good);
    let (repo, data) = (bench.repo(), bench.data());
    let plan = |range: &str, more: &[&str]| {
        let place = ["plan", range, "--repo", repo.to_str().unwrap(), "--data", data.to_str().unwrap()];
        bench.run(&[&place[..], &["--as", "bob"], more].concat())
    };
    plan("HEAD..HEAD", &[]).exits(0).says("0 changed");
    let admin = ["plan", "HEAD..HEAD", "--repo", repo.to_str().unwrap(), "--data", data.to_str().unwrap()];
    bench.run(&admin).exits(0).says("shows nothing of 1 of the tenants");
    bench.run(&["pause", "acme/greet", "--reason", "an incident", "--as", "bob"]).ok();
    plan("HEAD..HEAD", &[]).exits(0).says("workflow greet: paused, by its commit runs").says("an incident");
    let document = plan("HEAD..HEAD", &["--format", "json"]).exits(0).json();
    let drift = &document["drift"][0];
    assert_eq!((&drift["tenant"], &drift["kind"]), (&"acme".into(), &"workflow".into()), "{document:#}");
    plan("HEAD..HEAD", &["--format", "markdown"]).exits(0).says("paused, by its commit runs");

    // Not reconciled any more: the daemon stays behind the base.
    assert_eq!(daemon.stop(), 0);
    bench.write("tenants/acme/roles.yaml", "operator: [bob, alice]\n");
    let base = bench.commit("alice");
    bench.write("tenants/acme/tenant.yaml", "owner: alice\n");
    let head = bench.commit("another owner");
    let range = format!("{base}..{head}");
    let alone = bench.run(&["plan", &range, "--repo", repo.to_str().unwrap()]).exits(2);
    assert!(!alone.out.contains("alice gains operator"), "{}", alone.out);
    plan(&range, &[]).exits(2).says("alice gains operator on acme").says("no daemon runs");

    // A tenant that stands at a commit of which this clone knows nothing.
    let elsewhere = bench.repo().with_file_name("elsewhere");
    let clone = ["clone", "--quiet", "--depth", "1", "--no-local", repo.to_str().unwrap()];
    bench.git(&[&clone[..], &[elsewhere.to_str().unwrap()]].concat());
    let args = ["plan", "HEAD", "--repo", elsewhere.to_str().unwrap(), "--data", data.to_str().unwrap()];
    bench.run(&[&args[..], &["--as", "bob"]].concat()).exits(3).says("not in this clone").says("git fetch");
}
