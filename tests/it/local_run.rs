//! `tenantry run` as a developer types it: the real binary on copies of the example and on a small repository, in the
//! real sandbox, with nothing left behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::workbench::{TENANTRY, Workbench, processes_with, until};

/// Whether this user may have a sandbox on this machine; says so where not.
fn can_sandbox() -> bool {
    let output = Command::new(TENANTRY).args(["doctor", "--format", "json"]).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let missing = document["features"].as_array().unwrap().iter().find(|feature| {
        feature["need"] == "required"
            && feature["state"] != "ok"
            && !feature["name"].as_str().unwrap().contains("limit")
    });
    if let Some(missing) = missing {
        println!("missing: user namespaces ({missing})");
    }
    missing.is_none()
}

/// A repository outside or under Git, with a home and a directory for temporary files that have to stay empty.
struct Desk {
    root: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { root: tempfile::tempdir().unwrap() };
        for directory in ["repo", "home", "tmp"] {
            fs::create_dir(desk.path(directory)).unwrap();
        }
        desk
    }

    /// A copy of the example, committed.
    fn with_example() -> Self {
        let desk = Self::new();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("example-repo/.");
        let copied = Command::new("cp").arg("-r").arg(example).arg(desk.path("repo")).status().unwrap();
        assert!(copied.success());
        desk.commit();
        desk
    }

    /// One tenant with a workflow, outside Git.
    fn with(workflow: &str) -> Self {
        let desk = Self::new();
        desk.write(
            "tenantry.toml",
            "format = 1\nid = \"0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11\"\nname = \"desk\"\n",
        );
        desk.write("platform/people.yaml", "users:\n  alice: {}\n  bob: {}\n");
        desk.write("platform/roles.yaml", "admin: [alice]\n");
        desk.write("tenants/acme/tenant.yaml", "owner: bob\n");
        desk.write("tenants/acme/roles.yaml", "operator: [bob]\n");
        desk.write("tenants/acme/workflows/try.yaml", workflow);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, path: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path("repo").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn git(&self, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=bob", "-c", "user.email=bob@desk.example"]).args(args);
        command.current_dir(self.path("repo")).env("HOME", self.path("home")).env("GIT_CONFIG_NOSYSTEM", "1");
        let output = command.output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self) -> String {
        self.git(&["init", "-q", "-b", "main"]);
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "all of it"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(TENANTRY);
        command.arg("run").args(args).current_dir(self.path("repo")).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path("home")).env("TMPDIR", self.path("tmp"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs to the end, and looks that nothing was stored.
    #[track_caller]
    fn run(&self, args: &[&str], variables: &[(&str, &str)]) -> Ran {
        let before = self.everything();
        let output = self.command(args).envs(variables.iter().copied()).output().unwrap();
        self.is_as(&before);
        Ran::of(output)
    }

    /// Every file with its size and time, Git's own included. Objects of Git have no time: looking for one makes
    /// libgit2 mark it as fresh.
    fn everything(&self) -> BTreeSet<String> {
        let output = Command::new("find").arg(self.root.path()).args(["-printf", "%p %y %s %T@\n"]).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        // What is made for a run and removed after it leaves the time of its directory alone behind.
        let tmp = self.path("tmp").display().to_string();
        let line = |line: &str| match line.rsplit_once(' ') {
            Some((start, _)) if line.contains("/.git/objects/") => start.to_owned(),
            Some((start, _)) if start.split(' ').next() == Some(&tmp) => start.to_owned(),
            _ => line.to_owned(),
        };
        text.lines().map(line).collect()
    }

    #[track_caller]
    fn is_as(&self, before: &BTreeSet<String>) {
        let now = self.everything();
        let differ: Vec<_> = now.symmetric_difference(before).collect();
        assert!(differ.is_empty(), "files were left or changed: {differ:#?}");
    }

    fn start(&self, args: &[&str]) -> Running {
        Running::of(self.command(args).spawn().unwrap())
    }
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
    #[track_caller]
    fn ends(self, code: i32, says: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "--- out\n{}\n--- err\n{}", self.out, self.err);
        for text in says {
            let found = self.out.contains(text) || self.err.contains(text);
            assert!(found, "no {text:?}\n--- out\n{}\n--- err\n{}", self.out, self.err);
        }
        self
    }
    #[track_caller]
    fn keeps_quiet_about(&self, text: &str) {
        assert!(!self.out.contains(text) && !self.err.contains(text), "{}\n{}", self.out, self.err);
    }
}

/// A run under way, read as it goes; killed when dropped.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: String,
}

impl Running {
    fn of(mut child: Child) -> Self {
        let (sender, lines) = mpsc::channel();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let other = sender.clone();
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)))
        });
        std::thread::spawn(move || {
            BufReader::new(err).lines().map_while(Result::ok).for_each(|line| drop(other.send(line)))
        });
        Self { child, lines, seen: String::new() }
    }
    /// Waits for a line that holds a text; forgets what came before it.
    #[track_caller]
    fn until(&mut self, text: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return self.seen.clear(),
                Ok(line) => self.seen.push_str(&format!("{line}\n")),
                Err(_) => panic!("no {text:?}, but\n{}", self.seen),
            }
        }
    }
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }
    #[track_caller]
    fn code(&mut self) -> Option<i32> {
        until(30, "the command ends", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn key(tenant: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/keys")
        .join(format!("{tenant}.txt"))
        .display()
        .to_string()
}

#[test]
fn a_workflow_runs_from_the_work_tree_with_its_retries_and_nothing_is_stored() {
    if !can_sandbox() {
        return;
    }
    let desk = Desk::with_example();
    let ran = desk.run(&["acme/stock-levels"], &[]);
    let ran = ran.ends(0, &["as in commit", "main | ── attempt 2", "success in", "code 75"]);
    assert!(ran.out.contains("main | stock levels"), "what scripts write is the answer: {}", ran.out);
    let document = desk.run(&["acme/stock-levels", "--format", "json"], &[]).ends(0, &["main | "]).out;
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["schema"], "tenantry.run/1");
    assert_eq!(document["run"]["outcome"], "success");
    assert_eq!(document["run"]["steps"].as_array().unwrap().len(), 2, "{document:#}");
    // From elsewhere, with a change that is not committed.
    let repo = desk.path("repo");
    let script = repo.join("tenants/emea/scripts/price-check.sh");
    let text = fs::read_to_string(&script).unwrap();
    fs::write(&script, format!("{text}\necho not committed\n")).unwrap();
    let mut command = desk.command(&["emea/price-check", "--repo", repo.to_str().unwrap()]);
    let ran = Ran::of(command.current_dir("/").output().unwrap());
    ran.ends(0, &["with changes", "main | not committed"]);
}

#[test]
fn a_failure_is_told_by_the_exit_code_and_starts_what_a_failure_starts() {
    if !can_sandbox() {
        return;
    }
    let desk = Desk::with_example();
    desk.run(&["finance/trial-balance"], &[]).ends(1, &["on_failure | ", "finance/trial-balance: failure"]);
    let desk = Desk::with(
        "steps:\n  a: { script: 'exit 3' }\n  b: { script: 'echo b' }\n  c: { needs: [], script: 'sleep 60', timeout: 1s }\n",
    );
    let ran = desk.run(&["acme/try"], &[]).ends(1, &["failure", "code 3", "skipped", "timed_out"]);
    ran.keeps_quiet_about("b | b");
}

#[test]
fn a_secret_is_opened_with_ones_own_identity_and_masked() {
    if !can_sandbox() {
        return;
    }
    let desk = Desk::with_example();
    let mine = key("acme");
    let ran = desk.run(&["acme/orders-import"], &[("SOPS_AGE_KEY_FILE", &mine)]);
    ran.ends(0, &["[redacted:shop_api_token]", "secrets used: shop_api_token@v2", "publish   | 5 orders"]);
    let text = fs::read_to_string(&mine).unwrap();
    desk.run(&["acme/warehouse-load"], &[("SOPS_AGE_KEY", &text)]).ends(0, &["warehouse_url@v1"]);
    let command = format!("cat '{mine}'");
    desk.run(&["acme/warehouse-load"], &[("SOPS_AGE_KEY_CMD", &command)]).ends(0, &["warehouse_url@v1"]);

    let ran = desk.run(&["acme/orders-import"], &[]);
    let ran = ran.ends(3, &["secret `shop_api_token`", "you have none", "--secrets-file"]);
    ran.keeps_quiet_about("fetch");
    let other = key("emea");
    let ran = desk.run(&["acme/orders-import"], &[("SOPS_AGE_KEY_FILE", &other)]);
    let ran = ran.ends(3, &["secret `shop_api_token`", "yours are others"]);
    ran.keeps_quiet_about("AGE-SECRET-KEY");
    // A workflow without secrets asks nobody for a key.
    let ran = desk.run(&["acme/stock-levels"], &[("SOPS_AGE_KEY_CMD", "sh -c 'echo asked >&2'")]);
    ran.ends(0, &[]).keeps_quiet_about("asked");
}

#[test]
fn values_of_a_file_stand_in_for_secrets_and_are_masked_too() {
    if !can_sandbox() {
        return;
    }
    let desk = Desk::with_example();
    let file = desk.path("repo").join(".env.local");
    let value = "stand-in-of-the-shop";
    fs::write(&file, format!("# mine\nexport SHOP_API_TOKEN='{value}'\n")).unwrap();
    let run = ["acme/orders-import", "--secrets-file", ".env.local"];
    let ran = desk.run(&run, &[("SOPS_AGE_KEY_FILE", &key("acme"))]);
    let ran = ran.ends(0, &["[redacted:shop_api_token]", "stand-ins used: shop_api_token\n"]);
    ran.keeps_quiet_about(value);
    // The file alone counts: no secret is opened where a value is missing, even if it could be.
    fs::write(&file, "other=1\n").unwrap();
    let ran = desk.run(&run, &[("SOPS_AGE_KEY_FILE", &key("acme"))]);
    ran.ends(3, &["secret `shop_api_token` has no value in `.env.local`"]).keeps_quiet_about("fetch");
    fs::write(&file, "shop_api_token=short\n").unwrap();
    desk.run(&run, &[]).ends(3, &["secret `shop_api_token` has a value that"]).keeps_quiet_about("short\n");
    fs::write(&file, format!("a=1\n{value}\n")).unwrap();
    desk.run(&run, &[]).ends(3, &[".env.local:2: a value is written NAME=VALUE"]).keeps_quiet_about(value);
    desk.run(&["acme/orders-import", "--secrets-file", "nowhere"], &[]).ends(3, &["`nowhere`"]);
}

const INPUTS: &str = "\
inputs:
  day: { type: string, format: date }
  count: { type: int, default: 2 }
  dry: { type: bool, default: false }
  mode: { type: string, enum: [full, quick], default: full }
  ids: { type: list, required: false }
  extra: { type: map, required: false }
script: |
  echo \"day $INPUT_DAY count $INPUT_COUNT dry $INPUT_DRY mode $INPUT_MODE\"
  cat \"$TENANTRY_INPUT\"
";

#[test]
fn inputs_are_typed_and_a_wrong_one_is_named_before_the_first_step() {
    if !can_sandbox() {
        return;
    }
    let desk = Desk::with(INPUTS);
    let mut all = vec!["acme/try"];
    for input in ["day=2026-11-23", "count=7", "dry=true", "mode=quick", "ids=[1,\"b\"]", "extra={\"k\":[]}"]
    {
        all.extend(["--input", input]);
    }
    let ran = desk.run(&all, &[]).ends(0, &["day 2026-11-23 count 7 dry true mode quick"]);
    assert!(ran.out.contains(r#""ids":[1,"b"]"#) && ran.out.contains(r#""extra":{"k":[]}"#), "{}", ran.out);
    desk.run(&["acme/try", "--input", "day=2026-11-23"], &[]).ends(0, &["count 2 dry false mode full"]);

    let wrong = |inputs: &[&str], says: &[&str]| {
        let mut args = vec!["acme/try"];
        inputs.iter().for_each(|input| args.extend(["--input", *input]));
        desk.run(&args, &[]).ends(3, says).keeps_quiet_about("main |");
    };
    wrong(&[], &["input `day` is required", "--input day=2026-11-23"]);
    wrong(&["day=today", "count=few"], &["`day` is not of format date", "`count` is not of type int"]);
    wrong(&["day=2026-11-23", "mode=slow"], &["input `mode` is not one of `full`, `quick`"]);
    wrong(&["day=2026-11-23", "cuont=1"], &["unknown input `cuont`: did you mean `count`?"]);
    desk.run(&["acme/try", "--input", "day"], &[]).ends(2, &["NAME=VALUE"]);
}

#[test]
fn what_is_not_there_is_named_and_the_exit_code_says_that_nothing_started() {
    let desk = Desk::with_example();
    desk.run(&["acme/stock-level"], &[])
        .ends(3, &["no workflow `stock-level`: did you mean `stock-levels`?"]);
    desk.run(&["akme/stock-levels"], &[]).ends(3, &["no tenant `akme`: did you mean `acme`?"]);
    desk.run(&["acme/orders-import", "--step", "fetsch"], &[]).ends(3, &["no step `fetsch`", "`fetch`"]);
    desk.run(&["acme"], &[]).ends(2, &["TENANT/WORKFLOW"]);
    desk.run(&["acme/x", "--frobnicate"], &[]).ends(2, &["--frobnicate"]);
    desk.run(&["acme/x", "--repo", "/nowhere"], &[]).ends(3, &["/nowhere"]);
    desk.git(&["clone", "-q", "--bare", ".", "../tmp/bare.git"]);
    let bare = desk.path("tmp/bare.git");
    desk.run(&["acme/x", "--repo", bare.to_str().unwrap()], &[]).ends(3, &["is bare: run it in a clone"]);
    let empty = Desk::new();
    empty.run(&["acme/x"], &[]).ends(3, &["nothing to run"]);
}

#[test]
fn an_invalid_tenant_starts_nothing_and_anothers_mistake_does_not_matter() {
    if !can_sandbox() {
        return;
    }
    let desk = Desk::with_example();
    desk.write("tenants/emea/workflows/broken.yaml", "run: [\n");
    desk.write("tenants/finance/tenant.yaml", "owner: nobody-known\n");
    desk.run(&["acme/stock-levels"], &[]).ends(0, &[]).keeps_quiet_about("broken.yaml");
    let ran = desk.run(&["emea/price-check"], &[]);
    ran.ends(3, &["error[Y", "tenants/emea/workflows/broken.yaml:", "not started: 1 error"]);
    desk.write("tenantry.toml", "format = 2\n");
    desk.run(&["acme/stock-levels"], &[]).ends(3, &["tenantry.toml", "not started"]);
}

#[test]
fn warnings_of_the_workflow_are_shown_and_others_counted() {
    if !can_sandbox() {
        return;
    }
    let desk = Desk::with("on: { schedule: \"30 2 * * *\" }\nscript: echo on\n");
    desk.write("tenants/acme/tenant.yaml", "owner: bob\ntimezone: Europe/Berlin\n");
    desk.write("tenants/acme/workflows/other.yaml", "on: { schedule: \"30 2 * * *\" }\nscript: echo on\n");
    let ran = desk.run(&["acme/try"], &[]);
    let ran = ran.ends(0, &["warning[W", "workflows/try.yaml:1", "note: 1 warning beside this workflow"]);
    ran.keeps_quiet_about("other.yaml");
}

#[test]
fn a_step_runs_alone() {
    if !can_sandbox() {
        return;
    }
    let desk = Desk::with_example();
    let ran = desk.run(&["acme/orders-import", "--step", "customers"], &[]);
    ran.ends(0, &["customers | 4 customers", "success"]).keeps_quiet_about("revenue");
    // Only what the step declares is opened: the others' secrets are not asked for.
    let ran = desk.run(&["acme/orders-import", "--step", "publish"], &[]);
    ran.ends(3, &["`--output fetch.rows=VALUE`", "`--output revenue.cents=VALUE`"]);
    let mut args = vec!["acme/orders-import", "--step", "publish"];
    for output in ["fetch.rows=3", "customers.customers=2", "revenue.cents=12345"] {
        args.extend(["--output", output]);
    }
    let ran = desk.run(&args, &[]);
    ran.ends(0, &["publish   | 3 orders of 2 customers, 123.45 EUR", "given, not run"])
        .keeps_quiet_about("fetch |");
    args[4] = "fetch.rows=few";
    desk.run(&args, &[]).ends(3, &["output `fetch.rows` is not of type int"]);
    args[4] = "fetch.raws=3";
    desk.run(&args, &[]).ends(3, &["unknown output `fetch.raws`", "`fetch.rows`"]);
    desk.run(&["acme/orders-import", "--output", "fetch.rows=3"], &[]).ends(2, &["--step"]);
    desk.run(&["finance/trial-balance", "--step", "on_failure"], &[]).ends(0, &["on_failure | "]);
}

#[test]
fn the_work_tree_is_read_as_git_would_add_it() {
    if !can_sandbox() {
        return;
    }
    let script =
        "script: |\n  echo \"$TENANTRY_COMMIT by $TENANTRY_WORKFLOW#$TENANTRY_ATTEMPT\"\n  ls scripts\n";
    let desk = Desk::with(script);
    desk.write("tenants/acme/scripts/lib.sh", "#!/bin/sh\n");
    let zeros = "0".repeat(40);
    desk.run(&["acme/try"], &[]).ends(0, &["outside Git", &format!("{zeros} by try#1"), "lib.sh"]);
    desk.git(&["init", "-q", "-b", "main"]);
    desk.run(&["acme/try"], &[]).ends(0, &["before its first commit", &zeros]);
    desk.write(".gitignore", "*.local.sh\n");
    let commit = desk.commit();
    desk.write("tenants/acme/scripts/more.sh", "#!/bin/sh\n");
    desk.write("tenants/acme/scripts/mine.local.sh", "#!/bin/sh\n");
    let ran = desk.run(&["acme/try"], &[]);
    ran.ends(0, &[&format!("{commit} by try"), "more.sh", "with changes"]).keeps_quiet_about("mine.local.sh");
}

#[test]
fn a_pause_holds_the_daemon_and_not_the_developer() {
    if !can_sandbox() {
        return;
    }
    let desk = Desk::with("paused: { reason: month end }\nscript: echo on\n");
    desk.run(&["acme/try"], &[]).ends(0, &["paused in Git (month end)", "main | on"]);
    desk.write("tenants/acme/tenant.yaml", "owner: bob\nregion: mars\nsuspend: { reason: over }\n");
    desk.run(&["acme/try"], &[]).ends(0, &["main | on"]);
}

#[test]
fn output_comes_as_it_is_written() {
    if !can_sandbox() {
        return;
    }
    let desk = Desk::with("steps:\n  one: { script: \"echo begun; sleep 3; printf 'no newline'\" }\n");
    let mut running = desk.start(&["acme/try"]);
    running.until("one | begun");
    let begun = Instant::now();
    running.until("one | no newline");
    assert!(begun.elapsed() > Duration::from_secs(2), "the first line came while the step ran");
    assert_eq!(running.code(), Some(0));
}

#[test]
fn an_interrupt_gives_the_steps_their_grace_and_leaves_nothing() {
    if !can_sandbox() {
        return;
    }
    let desk = Desk::with(
        "steps:\n  stay:\n    script: |\n      trap 'echo told; exit 1' TERM\n      sleep 47113 &\n      echo up\n      wait\n  next: { script: 'echo next' }\n",
    );
    let before = desk.everything();
    let mut running = desk.start(&["acme/try"]);
    running.until("stay | up");
    assert!(!processes_with("sleep\u{0}47113").is_empty(), "it can be seen while it runs");
    running.signal(Signal::SIGINT);
    running.until("stay | told");
    running.until("cancelled");
    assert_eq!(running.code(), Some(130));
    assert_eq!(processes_with("sleep\u{0}47113"), Vec::<u32>::new());
    desk.is_as(&before);
}

#[test]
fn a_second_interrupt_waits_for_nobody() {
    if !can_sandbox() {
        return;
    }
    let desk = Desk::with("script: |\n  trap '' TERM\n  echo up\n  sleep 47114\n");
    let mut running = desk.start(&["acme/try"]);
    running.until("main | up");
    running.signal(Signal::SIGTERM);
    running.until("interrupted");
    let asked = Instant::now();
    running.signal(Signal::SIGINT);
    assert_eq!(running.code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    until(5, "its processes are gone", || processes_with("sleep\u{0}47114").is_empty().then_some(()));
}

#[test]
fn watching_runs_again_when_files_of_the_tenant_change() {
    if !can_sandbox() {
        return;
    }
    let desk = Desk::with("run: scripts/try.sh\n");
    desk.write("tenants/acme/scripts/try.sh", "#!/bin/sh\necho first\n");
    let mut running = desk.start(&["acme/try", "--watch"]);
    running.until("main | first");
    running.until("waiting for a change");
    // The same content is no change.
    desk.write("tenants/acme/scripts/try.sh", "#!/bin/sh\necho first\n");
    desk.write("README.md", "nothing of acme\n");
    std::thread::sleep(Duration::from_secs(1));
    desk.write("tenants/acme/scripts/try.sh", "#!/bin/sh\necho second\nsleep 47115\n");
    running.until("acme/try again at");
    running.until("main | second");
    assert!(!running.seen.contains("first"), "{}", running.seen);
    // What runs is cancelled; the next state is invalid and told, not run.
    desk.write("tenants/acme/workflows/try.yaml", "run: scripts/try.sh\nretries: 3\n");
    running.until("files changed: cancelling");
    running.until("error[S");
    running.until("waiting for a change");
    assert_eq!(processes_with("sleep\u{0}47115"), Vec::<u32>::new());
    desk.write("tenants/acme/scripts/try.sh", "#!/bin/sh\necho third\n");
    desk.write("tenants/acme/workflows/try.yaml", "run: scripts/try.sh\n");
    running.until("main | third");
    running.until("waiting for a change");
    running.signal(Signal::SIGINT);
    assert_eq!(running.code(), Some(130));
}

/// Started as root, the same is tried by a user who may do nothing special.
#[test]
fn an_ordinary_user_runs_it_too() {
    use std::os::unix::process::CommandExt as _;
    const NOBODY: u32 = 65_534;
    if !nix::unistd::geteuid().is_root() {
        println!("missing: root, to become another user; the other tests have run as an ordinary user");
        return;
    }
    let desk = Desk::with("script: |\n  echo \"by $(id -u)\"\n");
    let program = desk.path("tenantry");
    fs::copy(TENANTRY, &program).unwrap();
    let owned =
        Command::new("chown").args(["-R", &format!("{NOBODY}:{NOBODY}")]).arg(desk.root.path()).status();
    assert!(owned.unwrap().success());
    let as_nobody = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.args(args).current_dir(desk.path("repo")).env_clear().uid(NOBODY).gid(NOBODY);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", desk.path("home")).env("TMPDIR", desk.path("tmp")).stdin(Stdio::null());
        Ran::of(command.output().unwrap())
    };
    let before = desk.everything();
    let ran = as_nobody(&["run", "acme/try"]);
    match ran.code {
        // The machine gives namespaces to root only: refused, with the cure.
        Some(3) => drop(ran.ends(3, &["steps are refused on this machine", "tenantry doctor"])),
        _ => drop(ran.ends(0, &["main | by 1000", "success"])),
    }
    desk.is_as(&before);
}

/// A workbench of the other tests is under Git and has a data directory that nothing may be put into.
#[test]
fn a_data_directory_is_not_touched() {
    if !can_sandbox() {
        return;
    }
    let bench = Workbench::with_acme();
    bench.write("tenants/acme/workflows/greet.yaml", "script: echo hello\n");
    let repo = bench.repo();
    bench.run(&["run", "acme/greet", "--repo", repo.to_str().unwrap()]).ok().says("main | hello");
    assert!(!bench.data().exists());
}

/// The machine's own network, in a namespace that has nothing but what the test puts there: no way of the product is
/// bent for it.
fn in_a_network(desk: &Desk, before: &str, inside: &str) -> Ran {
    let tenantry = TENANTRY;
    let script = format!(
        "set -e
         ip link set lo up; ip address add 10.20.30.40/32 dev lo; ip address add 93.184.216.34/32 dev lo
         mount --bind ../names /etc/hosts
         for at in 10.20.30.40:8080 93.184.216.34:80 127.0.0.1:8081; do
             python3 -m http.server ${{at#*:}} --bind ${{at%:*}} --directory ../served >/dev/null 2>&1 &
             started=\"$started $!\"
         done
         trap 'kill $started' EXIT
         for at in 10.20.30.40:8080 93.184.216.34:80 127.0.0.1:8081; do
             n=0; until curl -s -o /dev/null http://$at/; do n=$((n + 1)); test $n -lt 100; sleep 0.1; done
         done
         {before}
         {tenantry} run acme/try --repo . {inside}"
    );
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "bash", "-c", &script]).current_dir(desk.path("repo")).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", desk.path("home")).env("TMPDIR", desk.path("tmp"));
    Ran::of(command.stdin(Stdio::null()).output().unwrap())
}

/// The whole way from the files to the wire, in the network of the machine: what the tenant declares and the platform
/// opens is reached, and nothing else is.
#[test]
fn a_step_reaches_what_its_files_declare() {
    for tool in ["ip", "curl", "unshare"] {
        if !std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|place| place.join(tool).exists()) {
            return println!("missing: {tool}");
        }
    }
    if !can_sandbox() {
        return;
    }
    let hosts =
        "network: [\"db.acme.example:8080\", \"api.example:80\", \"me.example:8081\", \"old.example:8080\"]";
    let desk = Desk::with(&format!(
        "shell: bash\nscript: |\n  for url in http://db.acme.example:8080/a http://api.example/a http://me.example:8081/a http://old.example:8080/a http://other.example/a; do\n    \
         echo \"$url $(curl -sS --max-time 9 $url 2>&1 | tail -n1)\"\n  done\n  test \"$INPUT_END\" = good\n\
         inputs: {{ end: {{ default: good }} }}\n{hosts}\n"
    ));
    let egress = hosts.replace("network", "egress");
    desk.write("tenants/acme/tenant.yaml", &format!("owner: bob\n{egress}\n"));
    let settings = fs::read_to_string(desk.path("repo/tenantry.toml")).unwrap();
    let opened = "[network]\nprivate = [{ tenant = \"acme\", host = \"db.acme.example\", port = 8080 }, { tenant = \"acme\", host = \"me.example\", port = 8081 }]\n";
    desk.write("tenantry.toml", &format!("{settings}{opened}"));
    fs::create_dir(desk.path("served")).unwrap();
    fs::write(desk.path("served/a"), "it answers\n").unwrap();
    let names = "127.0.0.1 localhost me.example\n10.20.30.40 db.acme.example old.example\n93.184.216.34 api.example other.example\n";
    fs::write(desk.path("names"), names).unwrap();

    let ran = in_a_network(&desk, "", "");
    if ran.err.contains("Operation not permitted") {
        return println!("missing: a network namespace ({})", ran.err);
    }
    let closed = "denied: its address is in a private range that `[network] private` does not open";
    ran.ends(
        0,
        &[
            "http://db.acme.example:8080/a it answers",
            "http://api.example/a it answers",
            "http://me.example:8081/a tenantry: `me.example:8081`: denied: its address is the machine itself",
            &format!("http://old.example:8080/a tenantry: `old.example:8080`: {closed}"),
            "http://other.example/a tenantry: `other.example:80` is not among the hosts that this step may reach",
            "HOST",
            "RECEIVED BYTES",
            "[other.example:80: not among the hosts that the step may reach]",
        ],
    );
    let ran = in_a_network(&desk, "", "--format json --input end=bad").ends(1, &[]);
    let document: Value = serde_json::from_str(&ran.out).unwrap();
    let contacts = &document["run"]["steps"][0]["record"]["contacts"];
    let of = |host: &str| {
        let found = contacts.as_array().unwrap().iter().find(|one| one["host"] == host);
        found.unwrap_or_else(|| panic!("{host}: {document:#}"))
    };
    assert_eq!(of("db.acme.example:8080")["connected"], 1);
    assert_eq!(of("me.example:8081")["denied"]["loopback"], 1);
    assert_eq!(of("old.example:8080")["denied"]["private"], 1);
    assert_eq!(of("other.example:80")["denied"]["undeclared"], 1);
}

/// From a script with its metadata to its packages: locked as a developer locks, prepared from the index that the
/// platform lists, and run; nothing is left afterwards.
#[test]
fn a_python_script_gets_the_packages_of_its_lock() {
    for tool in ["ip", "curl", "unshare", "uv"] {
        if !std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|place| place.join(tool).exists()) {
            return println!("missing: {tool}");
        }
    }
    if !can_sandbox() {
        return;
    }
    let desk = Desk::with("run: scripts/x.py\n");
    let script = "#!/usr/bin/env -S uv run --script\n# /// script\n# requires-python = \">=3.8\"\n# dependencies = [\"tiny\"]\n# ///\nimport tiny\nprint(tiny.greet())\n";
    desk.write("tenants/acme/scripts/x.py", script);
    let settings = fs::read_to_string(desk.path("repo/tenantry.toml")).unwrap();
    desk.write("tenantry.toml", &format!("{settings}[python]\nindexes = [\"http://index.example/simple\", \"http://index.example/files\"]\n"));
    let made = Command::new("python3")
        .args(["-c", super::sandbox::packages::MAKE])
        .arg(desk.path("served"))
        .status();
    assert!(made.unwrap().success());
    fs::write(desk.path("names"), "127.0.0.1 localhost\n93.184.216.34 index.example\n").unwrap();
    // Without a lock nothing starts.
    desk.run(&["acme/try"], &[]).ends(3, &["W240", "uv lock --script tenants/acme/scripts/x.py"]);
    let lock = "UV_CACHE_DIR=../cache uv lock --quiet --no-config --no-python-downloads --default-index http://index.example/simple --script tenants/acme/scripts/x.py";
    let ran = in_a_network(&desk, lock, "");
    if ran.err.contains("Operation not permitted") {
        return println!("missing: a network namespace ({})", ran.err);
    }
    ran.ends(0, &["main | hello from a wheel"]);
    assert_eq!(fs::read_dir(desk.path("tmp")).unwrap().count(), 0, "nothing is left");
    // The index is gone: the record says what was not reached.
    fs::write(desk.path("names"), "127.0.0.1 localhost index.example\n").unwrap();
    let ran =
        in_a_network(&desk, "", "").ends(1, &["index.example:80: denied: its address is the machine itself"]);
    ran.keeps_quiet_about("hello from a wheel");
}
