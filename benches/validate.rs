//! What checking a repository costs: `validate`, `validate --watch` and `plan` as the commands people run, as ratios to
//! others' checks of the same files in the same minute.
//!
//! `benches/run` prints the table of the README; `cargo bench --bench validate -- shape plan` measures some parts only.
//! `ajv` (npm `ajv-cli`) and `check-jsonschema` (PyPI) check the bare shape of the workflows with our own schema; they
//! are installed below `target/` by the part that needs them.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark, not a room"
)]

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tenantry::secrets::seal_fresh;
use tenantry::sops::{Plaintext, Recipient};

mod support;
use support::fleet::{Fleet, cat_file};
use support::{TENANTRY_TOML, git, head, median, repeat, row, shown};

/// Workflows of a tenant, each with a script of its own.
const WORKFLOWS: usize = 5;
/// Tenants of the fleet that is compared with others' checks.
const TENANTS: usize = 1_000;
/// Tenants of the large fleet.
const TENANTS_MAX: usize = 10_000;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let want = |part: &str| wanted.is_empty() || wanted.iter().any(|one| one == part);
    let home = tempfile::tempdir().unwrap();
    head();
    let repo = home.path().join("fleet");
    if ["shape", "watch"].iter().any(|part| want(part)) {
        make_fleet(&repo, TENANTS, true);
    }
    if want("shape") {
        shape(&repo);
    }
    if want("watch") {
        watch(&repo);
    }
    if want("large") {
        large(&home.path().join("large"));
    }
    if want("plan") {
        plan(home.path());
    }
}

/// Tenants of twelve files each, or fourteen with a secret; every file is one that `validate` has nothing against.
fn make_fleet(repo: &Path, tenants: usize, with_secrets: bool) {
    let recovery = age::x25519::Identity::generate().to_public().to_string();
    let settings = format!("{TENANTRY_TOML}\n[secrets]\nrecovery = [\"{recovery}\"]\n");
    let mut fleet = Fleet::new(if with_secrets { &settings } else { TENANTRY_TOML });
    for number in 0..tenants {
        let tenant = format!("tenants/tenant-{number:05}");
        let mut about = String::from("owner: alice\ntimezone: Europe/Rome\n");
        if with_secrets {
            let own = age::x25519::Identity::generate().to_public().to_string();
            about.push_str(&format!("secrets:\n  recipients: [{own}]\n"));
            let index = "secrets:\n  api_token:\n    versions:\n      - { id: v1, state: current, created: 2026-11-01T10:00:00Z }\n";
            fleet
                .file(&format!("{tenant}/secrets.yaml"), index)
                .file(&format!("{tenant}/secrets/api_token.v1.sops.yaml"), &sealed(&[&own, &recovery]));
        }
        fleet
            .file(&format!("{tenant}/tenant.yaml"), &about)
            .file(&format!("{tenant}/roles.yaml"), "operator: [alice]\n");
        for job in 0..WORKFLOWS {
            fleet
                .file(&format!("{tenant}/workflows/job-{job}.yaml"), &workflow(job, number, with_secrets))
                .file(
                    &format!("{tenant}/scripts/job-{job}.sh"),
                    &format!("#!/bin/sh\n# {tenant}\nset -eu\necho {job}\n"),
                );
        }
    }
    fleet.commit(repo, true);
}

fn workflow(job: usize, number: usize, with_secrets: bool) -> String {
    let secrets = if with_secrets { "    secrets: [api_token]\n" } else { "" };
    format!(
        "description: Job {job}\n\
         on:\n  schedule:\n    - {{ cron: \"{minute} 3 * * *\", timezone: Europe/Rome }}\n\
         inputs:\n  day: {{ type: string, default: today }}\n\
         timeout: 20m\n\
         steps:\n\
         \x20 pull:\n    run: scripts/job-{job}.sh\n{secrets}    retry: {{ attempts: 3, backoff: 10s }}\n\
         \x20 load:\n    needs: [pull]\n    run: scripts/job-{job}.sh\n    with: {{ day: \"${{{{ inputs.day }}}}\" }}\n\
         \x20 tell:\n    needs: [load]\n    if: \"${{{{ inputs.day != 'never' }}}}\"\n    run: scripts/job-{job}.sh\n",
        minute = number % 60,
    )
}

/// A file of one secret, made from public keys alone.
fn sealed(recipients: &[&str]) -> String {
    let recipients: Vec<Recipient> = recipients.iter().map(|one| one.parse().unwrap()).collect();
    seal_fresh(
        &"api_token".parse().unwrap(),
        &"v1".parse().unwrap(),
        &Plaintext::new(b"a value of some length".to_vec()),
        &recipients,
        "2026-11-01T10:00:00Z".parse().unwrap(),
    )
    .unwrap()
}

fn tenantry(arguments: &[&str], repo: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenantry"));
    command.args(arguments).arg("--repo").arg(repo).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Runs a command that must end well; gives its time.
fn timed(command: &mut Command) -> Duration {
    let start = Instant::now();
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let took = start.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}", said.chars().take(2_000).collect::<String>());
    took
}

fn times(count: usize, mut command: impl FnMut() -> Command) -> Duration {
    median((0..count).map(|_| timed(&mut command())).collect())
}

// --- against others -----------------------------------------------------------------------------------------

/// Every rule over every file against the bare shape of the workflows, and against reading the same blobs.
fn shape(repo: &Path) {
    let files = git(repo, &["ls-files", "--stage"]);
    let count = files.lines().count();
    let blobs: Vec<&str> = files.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    let ours = times(5, || tenantry(&["validate"], repo));
    let measured = format!("`validate`, every rule, {count} files of {TENANTS} tenants");
    let wanted = blobs.join("\n") + "\n";
    row(&measured, ours, "`git cat-file --batch` of them", repeat(5, || cat_file(repo, &wanted)));
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/workflow.schema.json");
    let workflows = format!("the shape of {} workflows", TENANTS * WORKFLOWS);
    if let Some(ajv) = ajv() {
        let theirs = times(3, || {
            let mut command = Command::new(&ajv);
            command.args([
                "validate",
                "--spec=draft2020",
                "--strict=false",
                "--validate-formats=false",
                "-s",
            ]);
            command.arg(&schema).arg("-d").arg(repo.join("tenants/*/workflows/*.yaml"));
            command.stdout(Stdio::null());
            command
        });
        row(&measured, ours, &format!("`ajv`: {workflows}"), theirs);
    }
    if let Some(check) = check_jsonschema() {
        let of_workflows = git(repo, &["ls-files", "tenants/*/workflows/*.yaml"]);
        let theirs = times(1, || {
            let mut command = Command::new(&check);
            command.current_dir(repo).arg("--schemafile").arg(&schema).args(of_workflows.lines());
            command.stdout(Stdio::null());
            command
        });
        row(&measured, ours, &format!("`check-jsonschema`: {workflows}"), theirs);
    }
}

/// A directory of the build for others' tools.
fn tools() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-tools");
    std::fs::create_dir_all(&tools).unwrap();
    tools
}

fn ajv() -> Option<PathBuf> {
    let tools = tools();
    let ajv = tools.join("node_modules/.bin/ajv");
    if !ajv.exists() {
        let _ =
            Command::new("npm").args(["install", "--silent", "--prefix"]).arg(&tools).arg("ajv-cli").status();
    }
    let found = ajv.exists();
    if !found {
        eprintln!("ajv-cli cannot be installed: its row is left out");
    }
    found.then_some(ajv)
}

fn check_jsonschema() -> Option<PathBuf> {
    let home = tools().join("python");
    let check = home.join("bin/check-jsonschema");
    if !check.exists() {
        let _ = Command::new("python3").args(["-m", "venv"]).arg(&home).status();
        let _ = Command::new(home.join("bin/pip")).args(["install", "--quiet", "check-jsonschema"]).status();
    }
    let found = check.exists();
    if !found {
        eprintln!("check-jsonschema cannot be installed: its row is left out");
    }
    found.then_some(check)
}

// --- watching -----------------------------------------------------------------------------------------------

/// From the save of one file to the result, with the whole fleet watched.
fn watch(repo: &Path) {
    let mut command = tenantry(&["validate", "--watch"], repo);
    let mut child = command.stderr(Stdio::piped()).process_group(0).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut result = || lines.by_ref().map(Result::unwrap).find(|line| line.contains("watching")).unwrap();
    result();
    let path = repo.join("tenants/tenant-00007/workflows/job-3.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut taken = Vec::new();
    for turn in 0..15 {
        std::thread::sleep(Duration::from_millis(200));
        let start = Instant::now();
        std::fs::write(&path, text.replace("Job 3", &format!("Job 3, edit {turn}"))).unwrap();
        result();
        taken.push(start.elapsed());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::write(&path, text).unwrap();
    let measured = format!("`validate --watch`: save to result, {TENANTS} tenants");
    row(&measured, median(taken), "aim", Duration::from_millis(100));
}

// --- large --------------------------------------------------------------------------------------------------

/// Ten times the tenants: time and memory, and whether both grow with the files and no faster.
fn large(home: &Path) {
    let (tenth, whole) = (home.join("tenth"), home.join("whole"));
    make_fleet(&tenth, TENANTS_MAX / 10, false);
    make_fleet(&whole, TENANTS_MAX, false);
    let small = times(3, || tenantry(&["validate"], &tenth));
    let mut peaks = Vec::new();
    let large = median((0..3).map(|_| peak(&whole, &mut peaks)).collect());
    row(
        &format!("`validate`, {TENANTS_MAX} tenants × {WORKFLOWS} workflows"),
        large,
        "ten times a tenth of them",
        small * 10,
    );
    row(&format!("`validate`, {TENANTS_MAX} tenants"), large, "aim", Duration::from_secs(8));
    let mib = peaks.iter().max().copied().unwrap_or(0) as f64 / 1024.0;
    println!("| its peak of memory | {mib:.0} MiB | aim | 477 MiB | {:.2} |", mib / 477.0);
}

/// Runs `validate`; notes its peak of resident memory in KiB.
fn peak(repo: &Path, peaks: &mut Vec<u64>) -> Duration {
    let start = Instant::now();
    let mut child = tenantry(&["validate"], repo).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut highest = 0;
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
        highest = highest.max(line.trim().trim_end_matches(" kB").parse().unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(ended.success());
    peaks.push(highest);
    start.elapsed()
}

// --- plan ---------------------------------------------------------------------------------------------------

/// A one-file commit among more and more tenants that it does not touch.
fn plan(home: &Path) {
    let mut first = None;
    for tenants in [TENANTS_MAX / 100, TENANTS_MAX / 10, TENANTS_MAX] {
        let repo = home.join(format!("plan-{tenants}"));
        make_fleet(&repo, tenants, false);
        let path = "tenants/tenant-00007/workflows/job-3.yaml";
        let text = std::fs::read_to_string(repo.join(path)).unwrap().replace("timeout: 20m", "timeout: 30m");
        std::fs::write(repo.join(path), text).unwrap();
        git(&repo, &["commit", "--quiet", "--all", "--message", "one file"]);
        let ours = times(7, || tenantry(&["plan", "HEAD~1..HEAD", "--fail-on", "none"], &repo));
        let listing = repeat(7, || drop(git(&repo, &["ls-tree", "HEAD:tenants"])));
        let measured = format!("`plan` of a one-file commit, {tenants} tenants");
        row(&measured, ours, "`git ls-tree` of the tenants", listing);
        match first {
            None => first = Some(ours),
            Some(first) => println!(
                "| … | {} | the same among 100 | {} | {:.2} |",
                shown(ours),
                shown(first),
                ours.as_secs_f64() / first.as_secs_f64()
            ),
        }
    }
}
