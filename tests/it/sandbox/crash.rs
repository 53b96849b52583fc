//! What is left when a process of ours is killed: nothing that runs, and nothing that stays.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::harness::*;
use tenantry::domain::{ExitKind, Tier};
use tenantry::sandbox::{Executor, LocalExecutor, Settings, Started, Stop};

/// A process of this test binary that starts steps which never end, then says so and waits to be killed.
const DAEMON_VARIABLE: &str = "TENANTRY_TEST_SANDBOX_DAEMON";

fn daemon(instance: &str, tier: Tier, mark: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["sandbox::crash::lives_as_a_daemon", "--exact", "--nocapture"])
        .env(DAEMON_VARIABLE, format!("{instance} {tier} {mark}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while !lines.next().expect("the daemon starts its steps").unwrap().contains("STEPS RUN") {}
    child
}

/// Does nothing by itself: the tests below start it again as the process that they kill.
#[test]
fn lives_as_a_daemon() {
    let Ok(told) = std::env::var(DAEMON_VARIABLE) else { return };
    let mut told = told.split(' ');
    let (instance, tier, mark) = (told.next().unwrap(), told.next().unwrap(), told.next().unwrap());
    let tier = Tier::ALL.into_iter().find(|one| one.as_str() == tier).unwrap();
    block_on(async {
        let settings = Settings { instance: instance.to_owned(), ..settings(tier) };
        let executor = LocalExecutor::open(settings).await.unwrap();
        let mut steps = Vec::new();
        for _ in 0..3 {
            let script = format!("trap '' TERM; (setsid sleep {mark} &); sleep {mark}");
            steps.push(executor.start(spec(&script)).await.unwrap());
        }
        while alive(mark) < 6 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("STEPS RUN");
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
}

/// Processes with this mark in their command line, shells that only carry it in a script left out.
pub(super) fn alive(mark: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line == format!("sleep\0{mark}\0").as_bytes()
        })
        .count()
}

#[track_caller]
pub(super) fn wait_until_dead(mark: &str) {
    let started = Instant::now();
    while alive(mark) > 0 {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{} processes outlive their daemon",
            alive(mark)
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
pub(super) fn wait_until_alive(mark: &str, count: usize) {
    let started = Instant::now();
    while alive(mark) < count {
        assert!(started.elapsed() < Duration::from_secs(10), "{} processes have begun", alive(mark));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Removes what a killed process left, as the next daemon does.
fn sweep(instance: &str, tier: Tier) {
    block_on(async {
        let settings = Settings { instance: instance.to_owned(), ..settings(tier) };
        LocalExecutor::open(settings).await.unwrap().recover().await.unwrap();
    });
    assert_eq!(groups_of(instance), "");
}

/// The control groups of an instance.
pub(super) fn groups_of(instance: &str) -> String {
    let name = format!("tenantry-{instance}");
    let found = Command::new("find").args(["/sys/fs/cgroup", "-name", &name]).output().unwrap();
    String::from_utf8_lossy(&found.stdout).into_owned()
}

/// Ids of the processes that are children of `parent`.
fn children_of(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.rsplit_once(") ").map(|(_, after)| after.to_owned()).unwrap_or_default();
        after.split(' ').nth(1) == Some(&parent.to_string())
    })
    .collect()
}

fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

fn signal(pid: u32, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

fn can(tier: Tier) -> bool {
    block_on(async { can_sandbox(&open(tier).await) })
}

#[test]
fn a_killed_daemon_takes_its_steps_with_it() {
    for (number, tier) in Tier::ALL.into_iter().enumerate() {
        if !can(tier) {
            continue;
        }
        let mark = format!("61{number}.{}", std::process::id());
        let instance = format!("crash-{number}-{}", std::process::id());
        let mut daemon = daemon(&instance, tier, &mark);
        assert_eq!(alive(&mark), 6);
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        wait_until_dead(&mark);
        sweep(&instance, tier);
    }
}

#[test]
fn a_killed_helper_takes_its_steps_with_it() {
    for (number, tier) in Tier::ALL.into_iter().enumerate() {
        if !can(tier) {
            continue;
        }
        let mark = format!("62{number}.{}", std::process::id());
        let instance = format!("helper-{number}-{}", std::process::id());
        let mut daemon = daemon(&instance, tier, &mark);
        for helper in children_of(daemon.id()) {
            kill(helper);
        }
        wait_until_dead(&mark);
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        sweep(&instance, tier);
    }
}

#[test]
fn both_killed_at_once_leave_nothing_and_the_next_daemon_removes_the_rest() {
    both_killed_at_once(Tier::Sandbox);
}

#[test]
fn both_killed_at_once_leave_nothing_of_bubblewrap() {
    both_killed_at_once(Tier::Bubblewrap);
}

fn both_killed_at_once(tier: Tier) {
    if !can(tier) {
        return;
    }
    let mark = format!("63{}.{}", tier as u8, std::process::id());
    let instance = format!("both-{}-{}", tier as u8, std::process::id());
    let mut daemon = daemon(&instance, tier, &mark);
    let helpers = children_of(daemon.id());
    // A helper that outlives its daemon by a moment sees it and takes everything down: at once means that it
    // does not run any more when the daemon dies.
    helpers.iter().for_each(|helper| signal(*helper, Signal::STOP));
    daemon.kill().unwrap();
    helpers.into_iter().for_each(kill);
    daemon.wait().unwrap();
    wait_until_dead(&mark);
    block_on(async {
        let settings = Settings { instance: instance.clone(), ..settings(tier) };
        let executor = LocalExecutor::open(settings).await.unwrap();
        let enforced = executor.capabilities().limits == tenantry::domain::LimitsKind::Enforced;
        let swept = executor.recover().await.unwrap();
        // The sandbox that stood ready for a fourth step may be among them.
        let most = if enforced { 4 } else { 0 };
        assert!((most.min(3)..=most).contains(&swept), "{swept} were swept");
        assert_eq!(executor.recover().await.unwrap(), 0, "a second time there is nothing");
        assert!(run(&executor, spec("true")).await.ended.exit.succeeded());
    });
    assert_eq!(groups_of(&instance), "", "its control groups are gone with it");
}

#[test]
fn a_step_whose_helper_dies_is_told_and_the_next_one_gets_a_new_helper() {
    if !can(Tier::Sandbox) {
        return;
    }
    block_on(async {
        let executor = open(Tier::Sandbox).await;
        let mark = format!("640.{}", std::process::id());
        let started = executor.start(spec(&format!("sleep {mark}"))).await.unwrap();
        let helper = helper_of(&mark).await;
        kill(helper);
        let seen = finish(started).await;
        assert_eq!(seen.ended.exit.kind, ExitKind::SandboxError);
        assert!(seen.ended.problem.unwrap().contains("helper"));
        wait_until_dead(&mark);
        assert!(run(&executor, spec("true")).await.ended.exit.succeeded());
    });
}

#[test]
fn a_sandbox_that_stands_ready_can_be_killed_without_harm() {
    if !can(Tier::Sandbox) {
        return;
    }
    block_on(async {
        let executor = open(Tier::Sandbox).await;
        for turn in 0..4 {
            let mark = format!("65{turn}.{}", std::process::id());
            let started = executor.start(spec(&format!("sleep {mark} & wait"))).await.unwrap();
            let helper = helper_of(&mark).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            // What the helper keeps beside the step: the sandbox of the next one, and who buries the last.
            let beside: Vec<u32> =
                children_of(helper).into_iter().filter(|child| !is_above(*child, &mark)).collect();
            assert!(!beside.is_empty());
            beside.iter().copied().for_each(kill);
            // Seen by the helper, which has buried them then, and not.
            let killed_at = Instant::now();
            while turn % 2 == 0 && children_of(helper).iter().any(|child| beside.contains(child)) {
                assert!(killed_at.elapsed() < Duration::from_secs(10), "the helper does not bury them");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let next = executor.start(spec("true")).await;
            match next {
                Ok(next) => assert!(finish(next).await.ended.exit.succeeded(), "turn {turn}"),
                // Killed in the hands of the helper: told, as for every step whose sandbox breaks.
                Err(error) => assert!(error.is_transient() && turn % 2 == 1, "turn {turn}: {error}"),
            }
            let Started { mut step, .. } = started;
            step.stop(Stop::Cancelled, Duration::ZERO).await;
            assert_eq!(step.wait().await.exit.kind, ExitKind::Cancelled);
            assert!(run(&executor, spec("true")).await.ended.exit.succeeded(), "turn {turn}");
        }
    });
}

/// Whether the process with this mark is below another.
fn is_above(pid: u32, mark: &str) -> bool {
    let below: Vec<u32> = children_of(pid).into_iter().flat_map(children_of).collect();
    below.into_iter().any(|pid| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains(mark)
    })
}

/// The helper of the step with this mark.
async fn helper_of(mark: &str) -> u32 {
    let started_at = Instant::now();
    loop {
        let helpers = children_of(std::process::id());
        // The helper whose first process, whose shell, has the marked sleep below it.
        if let Some(helper) = helpers
            .into_iter()
            .find(|child| children_of(*child).into_iter().any(|first| is_above(first, mark)))
        {
            return helper;
        }
        assert!(started_at.elapsed() < Duration::from_secs(10), "the helper is not found");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn the_helper_is_not_for_people() {
    let output = Command::new(program()).arg("sandbox-exec").stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("started by tenantry itself"));
}

#[test]
fn doctor_says_what_the_executor_found() {
    let mut child =
        Command::new(program()).args(["doctor", "--format", "json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["schema"], "tenantry.doctor/1");
    let accepted = document["steps"] == "accepted";
    assert_eq!(child.wait().unwrap().code(), Some(if accepted { 0 } else { 1 }));
    for feature in document["features"].as_array().unwrap() {
        let gap = feature["state"] == "missing";
        assert_eq!(feature["cure"].is_string(), gap, "{feature}");
    }
}

/// A machine whose `bwrap` leaves no capability to what it starts, as with the AppArmor profile that Ubuntu ships for it.
#[test]
fn a_bwrap_that_leaves_no_capability_is_enough() {
    use std::os::unix::fs::PermissionsExt as _;
    if !can(Tier::Bubblewrap) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = std::env::var("PATH").unwrap();
    let found =
        path.split(':').map(|one| format!("{one}/bwrap")).find(|one| std::path::Path::new(one).exists());
    let program = directory.path().join("bwrap");
    let script = format!(
        "#!/bin/sh\na=$1 b=$2; shift 2\nexec {} \"$a\" \"$b\" --cap-drop ALL \"$@\"\n",
        found.unwrap()
    );
    std::fs::write(&program, script).unwrap();
    for open in [directory.path(), program.as_path()] {
        std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = Command::new(crate::sandbox::harness::program())
        .args(["doctor", "--tier", "bubblewrap", "--format", "json"])
        .env("PATH", format!("{}:{path}", directory.path().display()))
        .output()
        .unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let features = document["features"].as_array().unwrap();
    let state = |name: &str| features.iter().find(|one| one["name"] == name).unwrap()["state"].clone();
    assert_eq!(state("hosts at ports below 1024"), "missing", "{document}");
    for name in ["bubblewrap", "capabilities", "seccomp", "pivot_root", "network namespace"] {
        assert_eq!(state(name), "ok", "{document}");
    }
}

#[test]
fn doctor_names_the_cure_where_bwrap_is_missing() {
    let output = Command::new(program())
        .args(["doctor", "--tier", "bubblewrap"])
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("steps are refused"), "{said}");
    assert!(said.contains("`bwrap` is not installed here") && said.contains("install bubblewrap"), "{said}");
}

/// Does nothing by itself: the test below starts it again where no `bwrap` is found.
#[test]
fn takes_the_next_tier() {
    if std::env::var_os(NO_BWRAP_VARIABLE).is_none() {
        return;
    }
    block_on(async {
        let tiers = [Tier::Bubblewrap, Tier::Sandbox];
        let executor = LocalExecutor::open_first(settings(Tier::Bubblewrap), &tiers).await.unwrap();
        assert_eq!(executor.capabilities().tier, Tier::Sandbox);
        let note = &executor.capabilities().notes[0];
        assert!(note.contains("not in the tier `bubblewrap`") && note.contains("not installed"), "{note}");
        for _ in 0..3 {
            let seen = run(&executor, spec("echo runs")).await;
            assert_eq!(seen.stdout, "runs\n", "{seen:?}");
        }
        // Where there is none at all, the first says what it lacks.
        let executor = LocalExecutor::open_first(settings(Tier::Sandbox), &[Tier::Bubblewrap]).await.unwrap();
        assert!(executor.capabilities().refusal().unwrap().contains("install bubblewrap"));
        println!("TOOK THE NEXT");
    });
}

const NO_BWRAP_VARIABLE: &str = "TENANTRY_TEST_NO_BWRAP";

#[test]
fn a_machine_without_the_first_tier_takes_the_next() {
    if !can(Tier::Sandbox) {
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["sandbox::crash::takes_the_next_tier", "--exact", "--nocapture"])
        .env(NO_BWRAP_VARIABLE, "1")
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("TOOK THE NEXT"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
