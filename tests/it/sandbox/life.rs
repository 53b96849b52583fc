//! What a step sees, how it starts, how it ends, and what is left of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::crash::{alive, wait_until_alive, wait_until_dead};
use super::harness::*;
use tenantry::domain::{ByteSize, ExitKind, LimitsKind, Mode, Tier};
use tenantry::sandbox::{Executor, LocalExecutor, Program, SecretFile, StepOutput, StepSpec, Stop};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Runs a test in every tier.
fn in_every(test: impl AsyncFn(&LocalExecutor, Tier)) {
    block_on(async {
        for tier in Tier::ALL {
            let executor = open(tier).await;
            if can_sandbox(&executor) {
                test(&executor, tier).await;
            }
        }
    });
}

/// Runs a test in every tier with walls.
fn in_sandbox(test: impl AsyncFn(&LocalExecutor)) {
    block_on(async {
        for tier in Tier::ALL.into_iter().filter(|tier| tier.has_walls()) {
            let executor = open(tier).await;
            if can_sandbox(&executor) {
                println!("in the tier {tier}");
                test(&executor).await;
            }
        }
    });
}

/// Whether whole trees can be limited here.
fn limits_trees(executor: &LocalExecutor) -> bool {
    let enforced = executor.capabilities().limits == LimitsKind::Enforced;
    if !enforced {
        println!("missing: a control group that this user may write");
    }
    enforced
}

fn with(program: Program, args: &[&str]) -> StepSpec {
    StepSpec { program, args: args.iter().map(|one| (*one).to_owned()).collect(), ..spec("") }
}

#[test]
fn a_script_is_started_by_its_first_line_with_its_arguments() {
    in_every(async |executor, tier| {
        let seen = run(executor, with(Program::File("scripts/hello.sh".to_owned()), &["a b", "*"])).await;
        assert_eq!(seen.stdout, "hello a b *\n", "{tier} {}", seen.stderr);
        assert_eq!((seen.ended.exit.kind, seen.ended.exit.code), (ExitKind::Exited, Some(0)));
        assert_eq!((seen.ended.usage.tier, seen.ended.problem), (tier, None));
    });
}

#[test]
fn a_script_without_the_bit_or_the_line_is_started_all_the_same() {
    in_every(async |executor, tier| {
        for (name, mode, content) in [
            ("bit", Mode::File, "#!/bin/sh\necho ok \"$1\"\n"),
            ("line", Mode::Executable, "echo ok \"$1\"\n"),
            ("both", Mode::File, "echo ok \"$1\"\n"),
        ] {
            let mut spec = with(Program::File(name.to_owned()), &["x"]);
            spec.files = vec![file(name, mode, content)];
            let seen = run(executor, spec).await;
            assert_eq!(seen.stdout, "ok x\n", "{tier} {name}: {}", seen.stderr);
        }
    });
}

#[test]
fn a_script_begins_with_every_signal_as_a_shell_would_give_it() {
    in_every(async |executor, tier| {
        // Read by the script's own process: what it is born with, not what a shell makes of it.
        let arguments = ["-E", "^Sig(Blk|Ign)", "/proc/self/status"];
        let seen = run(executor, with(Program::Command("grep".to_owned()), &arguments)).await;
        let masks: Vec<_> = seen.stdout.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(masks, ["0000000000000000"; 2], "{tier}: {}", seen.stdout);
    });
}

#[test]
fn what_cannot_be_started_ends_as_in_a_shell_and_says_why() {
    in_every(async |executor, tier| {
        let mut missing = with(Program::File("a".to_owned()), &[]);
        missing.files = vec![file("a", Mode::Executable, "#!/usr/bin/no-such-reader\n")];
        let seen = run(executor, missing).await;
        assert_eq!(seen.ended.exit.code, Some(127), "{tier}");
        assert!(seen.stderr.contains("`/usr/bin/no-such-reader`, which"), "{}", seen.stderr);
        let seen = run(executor, with(Program::Command("no-such-command".to_owned()), &[])).await;
        assert_eq!(seen.ended.exit.code, Some(127), "{tier}");
        assert!(seen.stderr.contains("`no-such-command` is not installed here"), "{}", seen.stderr);
    });
}

#[test]
fn the_environment_is_what_was_given_and_the_places() {
    in_sandbox(async |executor| {
        let mut spec = with(Program::Command("env".to_owned()), &[]);
        spec.environment.insert("TENANTRY_TENANT".to_owned(), "acme".to_owned());
        spec.environment.insert("PATH".to_owned(), "/nonsense".to_owned());
        let seen = run(executor, spec).await;
        let mut lines: Vec<_> = seen.stdout.lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "HOME=/work",
                "LANG=C.UTF-8",
                "PATH=/opt/tenantry/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TENANTRY_INPUT=/run/tenantry/input.json",
                "TENANTRY_OUTPUT=/run/tenantry/output/output.json",
                "TENANTRY_SOCKET=/run/tenantry/broker.sock",
                "TENANTRY_TENANT=acme",
                "TMPDIR=/tmp",
            ]
        );
    });
}

#[test]
fn a_step_has_its_scripts_its_input_a_place_to_work_and_nothing_else() {
    in_sandbox(async |executor| {
        let mut spec = spec(
            "pwd; find . -type f; cat $TENANTRY_INPUT; id -un; echo; echo x > $HOME/x && cat $HOME/x; ls /",
        );
        spec.files.push(file("lib/deep/er/data.txt", Mode::File, "x"));
        let seen = run(executor, spec).await;
        let mut lines: Vec<_> = seen.stdout.lines().collect();
        lines[1..3].sort_unstable();
        assert_eq!(
            lines[..6],
            ["/repo", "./lib/deep/er/data.txt", "./scripts/hello.sh", "{\"day\":1}step", "", "x"]
        );
        for name in &lines[6..] {
            let known =
                "bin dev etc gnu lib lib32 lib64 libx32 nix opt proc repo root run sbin scratch tmp usr work"
                    .split(' ');
            assert!(known.clone().any(|one| one == *name), "{name}");
        }
    });
}

#[test]
fn a_secret_in_a_file_is_readable_by_the_step_alone() {
    in_every(async |executor, tier| {
        let mut spec =
            spec("stat -c %a $API_KEY; cat $API_KEY; echo; echo x 2>/dev/null > $API_KEY; cat $API_KEY");
        let content = Arc::new(zeroize::Zeroizing::new(b"s3cr3t-value".to_vec()));
        spec.secret_files = vec![SecretFile { variable: "API_KEY".to_owned(), content }];
        assert!(!format!("{spec:?}").contains("s3cr3t"));
        let seen = run(executor, spec).await;
        assert!(seen.stdout.starts_with("400\ns3cr3t-value\n"), "{tier} {seen:?}");
        if tier.has_walls() {
            assert!(seen.stdout.ends_with("s3cr3t-value"), "{seen:?}");
        }
    });
}

/// Whoever lists the machine's processes sees no value: what a step is given is never an argument or a variable of ours.
#[test]
fn no_secret_and_no_input_is_an_argument() {
    in_sandbox(async |executor| {
        let mark = format!("n0body-sees-{}", std::process::id());
        let mut spec = spec("sleep 1; cat $API_KEY");
        let content = Arc::new(zeroize::Zeroizing::new(mark.clone().into_bytes()));
        spec.secret_files = vec![SecretFile { variable: "API_KEY".to_owned(), content }];
        spec.input = format!("{{\"key\":\"{mark}\"}}").into_bytes();
        spec.files.push(file("scripts/data", Mode::File, &mark));
        let started = executor.start(spec).await.unwrap();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            for name in ["cmdline", "environ"] {
                let bytes = std::fs::read(entry.path().join(name)).unwrap_or_default();
                let found = String::from_utf8_lossy(&bytes).contains(&mark);
                assert!(!found, "{} tells it", entry.path().join(name).display());
            }
        }
        assert_eq!(finish(started).await.stdout, mark);
    });
}

#[test]
fn the_brokers_socket_leads_to_the_daemon() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        println!("missing: python3");
        return;
    }
    in_every(async |executor, tier| {
        let mut spec = spec(
            "import os, socket\none = socket.socket(socket.AF_UNIX); one.connect(os.environ['TENANTRY_SOCKET'])\n\
             one.send(b'ping'); print(one.recv(9).decode())",
        );
        if let Program::Inline { interpreter, .. } = &mut spec.program {
            *interpreter = vec!["python3".to_owned()];
        }
        let mut started = executor.start(spec).await.unwrap();
        let (mut caller, _) = started.broker.accept().await.unwrap();
        assert_eq!(caller.peer_cred().unwrap().uid(), started.host_uid, "{tier}");
        assert!(started.peers.admit(&caller), "{tier}");
        let mut asked = [0; 4];
        caller.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"ping");
        caller.write_all(b"pong").await.unwrap();
        let mut said = String::new();
        started.stdout.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "pong\n", "{tier}");
        assert!(started.step.wait().await.exit.succeeded());
    });
}

/// Whoever may look into the sandbox from outside reaches its socket too, and is told apart there.
#[test]
fn a_process_from_outside_is_none_of_the_brokers_peers() {
    in_sandbox(async |executor| {
        let mut started = executor.start(spec("sleep 30")).await.unwrap();
        let first = rustix::net::sockopt::socket_peercred(&started.broker).unwrap().pid;
        let door = format!("/proc/{}/root/run/tenantry/broker.sock", first.as_raw_nonzero());
        match std::os::unix::net::UnixStream::connect(&door) {
            Ok(_outside) => {
                let (caller, _) = started.broker.accept().await.unwrap();
                assert!(!started.peers.admit(&caller));
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{door}"),
        }
        started.step.stop(Stop::Cancelled, Duration::ZERO).await;
        started.step.wait().await;
    });
}

#[test]
fn tenants_run_as_different_users_of_the_host() {
    if !rustix::process::geteuid().is_root() {
        println!("missing: root");
        return;
    }
    in_sandbox(async |executor| {
        let mut users = std::collections::BTreeSet::new();
        for tenant in ["acme", "globex", "acme"] {
            let started =
                executor.start(StepSpec { tenant: tenant.parse().unwrap(), ..spec("id -u") }).await.unwrap();
            users.insert(started.host_uid);
            assert_eq!(finish(started).await.stdout, "1000\n");
        }
        assert_eq!(users.len(), 2, "{users:?}");
        assert!(users.iter().all(|user| *user >= 1000));
    });
}

#[track_caller]
fn check_output(seen: &Seen, want: &str) {
    match &seen.ended.output {
        StepOutput::Refused(why) => assert!(why.contains(want), "{why}"),
        other => panic!("{other:?} instead of a refusal: {want}"),
    }
}

#[test]
fn an_output_is_a_file_and_nothing_else() {
    in_every(async |executor, tier| {
        let seen = run(executor, spec("echo '{\"a\":1}' > $TENANTRY_OUTPUT")).await;
        assert_eq!(seen.ended.output, StepOutput::Bytes(b"{\"a\":1}\n".to_vec()), "{tier}");
        let seen = run(executor, spec("echo x > $HOME/o; mv $HOME/o $TENANTRY_OUTPUT; exit 3")).await;
        assert_eq!(
            seen.ended.output,
            StepOutput::Bytes(b"x\n".to_vec()),
            "{tier} by renaming, after a failure"
        );
        assert_eq!(run(executor, spec("true")).await.ended.output, StepOutput::Nothing, "{tier}");
        check_output(&run(executor, spec("ln -s /etc/passwd $TENANTRY_OUTPUT")).await, "is a link");
        check_output(&run(executor, spec("mkdir $TENANTRY_OUTPUT")).await, "no regular file");
        check_output(&run(executor, spec("mkfifo $TENANTRY_OUTPUT")).await, "no regular file");
        let twice = "echo x > ${TENANTRY_OUTPUT}2; ln ${TENANTRY_OUTPUT}2 $TENANTRY_OUTPUT";
        check_output(&run(executor, spec(twice)).await, "a second name");
        check_output(
            &run(executor, spec("head -c 65537 /dev/zero > $TENANTRY_OUTPUT")).await,
            "larger than 65536",
        );
        let sparse = "dd if=/dev/zero of=$TENANTRY_OUTPUT bs=1 count=1 seek=200M 2>/dev/null";
        check_output(&run(executor, spec(sparse)).await, "larger than 65536");
    });
}

#[test]
fn signals_and_codes_are_told_apart() {
    in_every(async |executor, tier| {
        let exit = |script| async move { run(executor, spec(script)).await.ended.exit };
        assert_eq!(exit("exit 7").await, tenantry::domain::Exit::exited(7), "{tier}");
        let killed = exit("kill -SEGV $$").await;
        assert_eq!((killed.kind, killed.signal), (ExitKind::Signalled, Some(11)), "{tier}");
    });
}

#[test]
fn time_is_limited_politely_first() {
    in_every(async |executor, tier| {
        let mut polite = spec("trap 'echo cleaned; exit 0' TERM; while :; do sleep 0.05; done");
        // Long enough for a busy machine to come as far as the trap.
        polite.limits.timeout = Duration::from_millis(1500);
        let seen = run(executor, polite).await;
        assert_eq!((seen.ended.exit.kind, seen.ended.exit.code), (ExitKind::TimedOut, Some(0)), "{tier}");
        assert_eq!(seen.stdout, "cleaned\n", "{tier}");

        let mut rude = spec("trap '' TERM; while :; do sleep 0.05; done");
        rude.limits.timeout = Duration::from_millis(200);
        rude.limits.grace = Duration::from_millis(200);
        let started = Instant::now();
        let seen = run(executor, rude).await;
        assert_eq!(seen.ended.exit.kind, ExitKind::TimedOut, "{tier}");
        assert!(started.elapsed() < Duration::from_secs(8), "{tier} took {:?}", started.elapsed());
    });
}

#[test]
fn a_cancelled_step_is_over_after_its_grace() {
    in_every(async |executor, tier| {
        let mut started = executor.start(spec("trap '' TERM; while :; do sleep 0.05; done")).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(100), started.step.wait()).await;
        assert!(early.is_err(), "{tier}");
        started.step.stop(Stop::Cancelled, Duration::from_secs(60)).await;
        started.step.stop(Stop::Lost, Duration::from_millis(50)).await; // the first reason, the shorter grace
        let ended = tokio::time::timeout(Duration::from_secs(8), started.step.wait()).await.unwrap();
        assert_eq!(ended.exit.kind, ExitKind::Cancelled, "{tier}");
        assert_eq!(started.step.wait().await, ended, "it answers the same again");
    });
}

#[test]
fn nothing_outlives_its_step() {
    let mark = format!("600.{}", std::process::id());
    // Without tenantry such a process does live on; this is the control of the test itself.
    let script = format!(
        "(setsid sh -c 'sleep {mark}' >/dev/null 2>&1 &) ; (setsid nohup sleep {mark} >/dev/null 2>&1 &)"
    );
    std::process::Command::new("sh").args(["-c", &script]).status().unwrap();
    wait_until_alive(&mark, 2);
    std::process::Command::new("pkill").args(["-f", &format!("sleep {mark}")]).status().unwrap();

    let mark = format!("601.{}", std::process::id());
    in_every(async |executor, tier| {
        let script = format!(
            "(setsid sh -c 'sleep {mark}' >/dev/null 2>&1 &); (setsid nohup sleep {mark} >/dev/null 2>&1 &); sleep 0.2; echo done"
        );
        let seen = run(executor, spec(&script)).await;
        assert_eq!(seen.stdout, "done\n");
        assert_eq!(alive(&mark), 0, "{tier}");
    });
}

#[test]
fn a_dropped_step_is_killed() {
    let mark = format!("602.{}", std::process::id());
    in_every(async |executor, _| {
        let started = executor.start(spec(&format!("sleep {mark}"))).await.unwrap();
        wait_until_alive(&mark, 1);
        drop(started);
        wait_until_dead(&mark);
    });
}

#[test]
fn its_first_process_cannot_be_killed_from_inside() {
    in_sandbox(async |executor| {
        let seen = run(executor, spec("kill -9 1; kill -STOP 1; kill -TERM 1; echo still here")).await;
        assert_eq!(seen.stdout, "still here\n", "{}", seen.stderr);
        assert!(seen.ended.exit.succeeded(), "{:?}", seen.ended);
    });
}

#[test]
fn processes_are_limited() {
    in_sandbox(async |executor| {
        let bomb = "i=0; while [ $i -lt 200 ]; do sleep 5 & i=$((i+1)); done; wait";
        let seen = run(executor, small(spec(bomb))).await;
        assert!(!seen.ended.exit.succeeded(), "{:?}", seen.ended);
        if limits_trees(executor) {
            assert_eq!(seen.ended.exit.kind, ExitKind::PidLimit, "{:?}", seen.ended);
        }
        // And one that never stops by itself: the machine stays usable and the time ends it.
        let mut bomb = small(spec(":(){ :|:& };:; sleep 60"));
        if let Program::Inline { interpreter, text } = &mut bomb.program {
            *interpreter = vec!["bash".to_owned()];
            *text = ":(){ :|:& };:; sleep 60".to_owned();
        }
        bomb.limits.timeout = Duration::from_millis(500);
        bomb.limits.grace = Duration::from_millis(100);
        let started = Instant::now();
        let seen = run(executor, bomb).await;
        assert!(!seen.ended.exit.succeeded());
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    });
}

#[test]
fn memory_is_limited_for_the_whole_tree() {
    in_sandbox(async |executor| {
        let one = "head -c 200000000 /dev/zero | tail -c 190000000 | wc -c";
        let seen =
            run(executor, small(spec(&format!("set -e; {one} > /tmp/n; test $(cat /tmp/n) = 190000000"))))
                .await;
        assert!(!seen.ended.exit.succeeded(), "{:?}", seen.ended);
        if !limits_trees(executor) {
            return;
        }
        assert_eq!(seen.ended.exit.kind, ExitKind::OutOfMemory, "{:?}", seen.ended);
        // Each of these fits alone; together they do not.
        let many = "for i in 1 2 3 4 5 6 7 8; do (head -c 20000000 /dev/zero | tail -c 19000000 | (sleep 2; wc -c)) & done; wait; exit 1";
        let mut many = small(spec(many));
        many.limits.resources.pids = 128;
        let seen = run(executor, many).await;
        assert_eq!(seen.ended.exit.kind, ExitKind::OutOfMemory, "{:?}", seen.ended);
        assert!(seen.ended.usage.memory_bytes_max <= 64 << 20, "{:?}", seen.ended);
    });
}

/// More files than a small step may have.
const MANY_FILES: &str = "i=0; while [ $i -lt 300 ]; do : > /tmp/$i || exit 1; i=$((i+1)); done";

/// `bwrap` sets no bound to the number of files, which is said of the machine; the memory that they take is bounded.
#[test]
fn files_without_end_are_ended_by_memory_in_bubblewrap() {
    block_on(async {
        let executor = open(Tier::Bubblewrap).await;
        if !can_sandbox(&executor) || !limits_trees(&executor) {
            return;
        }
        assert!(executor.capabilities().gaps().iter().any(|gap| gap.contains("files")));
        let script = "i=0; while :; do : > /tmp/$i; i=$((i+1)); done";
        let seen = run(&executor, small(spec(script))).await;
        assert_eq!(seen.ended.exit.kind, ExitKind::OutOfMemory, "{seen:?}");
    });
}

#[test]
fn a_step_that_asks_for_a_stronger_tier_is_refused_before_anything_runs() {
    in_every(async |executor, tier| {
        for asked in [None].into_iter().chain(Tier::ALL.map(Some)) {
            let mut asking = spec("echo ran");
            asking.limits.resources.tier = asked;
            if asked <= Some(tier) {
                assert_eq!(run(executor, asking).await.stdout, "ran\n", "{asked:?} in {tier}");
                continue;
            }
            let Err(error) = executor.start(asking).await else { panic!("{asked:?} was started in {tier}") };
            assert!(!error.is_transient(), "{error}");
            let said = error.to_string();
            assert!(said.contains(&format!("this worker has `{tier}`")), "{said}");
            assert!(said.contains(asked.unwrap().as_str()), "{said}");
        }
    });
}

/// Without walls there is no tenant but those that somebody has named.
#[test]
fn a_tenant_that_nobody_named_runs_nothing_without_walls() {
    block_on(async {
        let executor = open(Tier::UnsafeNone).await;
        let mut other = spec("echo ran");
        assert_eq!(run(&executor, other.clone()).await.stdout, "ran\n");
        other.tenant = "initech".parse().unwrap();
        let Err(error) = executor.start(other).await else { panic!("it was started") };
        assert!(!error.is_transient(), "{error}");
        assert!(error.to_string().contains("`initech` is not among"), "{error}");
    });
}

#[test]
fn more_files_than_bubblewrap_takes_are_refused_with_what_to_do() {
    block_on(async {
        let executor = open(Tier::Bubblewrap).await;
        if !can_sandbox(&executor) {
            return;
        }
        let mut many = spec("ls many | wc -l");
        let more = |count| (0..count).map(|n| file(&format!("many/{n}"), Mode::File, "x"));
        many.files.extend(more(1_499));
        assert_eq!(run(&executor, many.clone()).await.stdout.trim(), "1499");
        many.files.extend((0..2).map(|n| file(&format!("more/{n}"), Mode::File, "x")));
        let Err(error) = executor.start(many).await else { panic!("it was started") };
        let said = error.to_string();
        assert!(said.contains("at most 1500") && said.contains("`files`"), "{said}");
        assert!(run(&executor, spec("true")).await.ended.exit.succeeded());
    });
}

#[test]
fn disk_and_files_are_limited() {
    in_sandbox(async |executor| {
        for script in [
            "head -c 9000000 /dev/zero > /work/x",
            "head -c 5000000 /dev/zero > /work/x && head -c 5000000 /dev/zero > /tmp/x",
            "head -c 5000000 /dev/zero > /work/x && head -c 5000000 /dev/zero > /dev/shm/x",
            "head -c 9000000 /dev/zero > $TENANTRY_OUTPUT",
            MANY_FILES,
        ] {
            if script == MANY_FILES && executor.capabilities().tier == Tier::Bubblewrap {
                continue;
            }
            let seen = run(executor, small(spec(script))).await;
            assert_eq!(seen.ended.exit.kind, ExitKind::DiskLimit, "{script}: {seen:?}");
        }
    });
}

#[test]
fn the_processor_is_shared_out() {
    in_sandbox(async |executor| {
        if !limits_trees(executor) {
            return;
        }
        let mut spec = spec("timeout 1 sh -c 'while :; do :; done'; true");
        spec.limits.resources.cpu_millis = 200;
        let seen = run(executor, spec).await;
        assert!(seen.ended.usage.cpu_ms < 600, "{:?}", seen.ended.usage);
        assert!(seen.ended.usage.wall_ms >= 900, "{:?}", seen.ended.usage);
    });
}

#[test]
fn unread_output_stops_the_script_and_fills_no_memory() {
    in_every(async |executor, tier| {
        let mut started = executor.start(spec("yes")).await.unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(400), started.step.wait()).await;
        assert!(waited.is_err(), "{tier}: it waits for a reader");
        started.step.stop(Stop::OutputLimit, Duration::from_millis(300)).await;
        let ended = started.step.wait().await;
        assert_eq!(ended.exit.kind, ExitKind::OutputLimit, "{tier}");
        assert!(ended.usage.memory_bytes_max < 64 << 20, "{tier} {:?}", ended.usage);
    });
}

#[test]
fn many_attempts_run_at_one_time() {
    in_sandbox(async |executor| {
        let all = (0..12).map(|number| async move {
            run(executor, spec(&format!("sleep 0.1; echo {number}"))).await.stdout
        });
        let mut said = Vec::new();
        let mut tasks: Vec<_> = all.map(Box::pin).collect();
        for task in &mut tasks {
            said.push(task.await);
        }
        assert_eq!(said, (0..12).map(|number| format!("{number}\n")).collect::<Vec<_>>());
    });
}

#[test]
fn a_spec_that_leads_outside_is_refused() {
    in_every(async |executor, _| {
        for path in ["../x", "/etc/x", "a/../../x", "a//b", ""] {
            let mut spec = spec("true");
            spec.files.push(file(path, Mode::File, "x"));
            assert!(executor.start(spec).await.is_err(), "{path:?}");
        }
        let mut linked = spec("true");
        linked.files.push(file("l", Mode::Symlink, "/etc/passwd"));
        assert!(executor.start(linked).await.is_err());
        let mut tiny = spec("true");
        tiny.limits.resources.memory = ByteSize::from_bytes(1);
        assert!(executor.start(tiny).await.is_err());
    });
}

#[test]
fn a_file_beside_a_directory_of_its_name_is_an_error_and_no_escape() {
    in_every(async |executor, _| {
        let mut spec = spec("true");
        spec.files = vec![file("a", Mode::File, "x"), file("a/b", Mode::File, "x")];
        assert!(executor.start(spec).await.is_err());
        // The executor goes on.
        assert!(run(executor, super::harness::spec("true")).await.ended.exit.succeeded());
    });
}

#[test]
fn the_brokers_clients_are_in_the_search_path() {
    in_sandbox(async |executor| {
        let seen =
            run(executor, spec("tenantry-output rows 3 && cat $TENANTRY_OUTPUT; command -v tenantry-secret"))
                .await;
        assert!(seen.ended.exit.succeeded(), "{seen:?}");
        assert!(
            seen.stdout.contains("rows") && seen.stdout.ends_with("/opt/tenantry/bin/tenantry-secret\n"),
            "{seen:?}"
        );
    });
}

/// The sandbox of a step is prepared while the one before it runs: nothing of that one, and nothing of what the
/// helper or other tenants have, may be in it.
#[test]
fn a_sandbox_that_was_prepared_shows_nothing_of_the_step_before() {
    in_sandbox(async |executor| {
        let loud = "
            echo LEFT > /work/LEFT; echo LEFT > /tmp/LEFT; echo LEFT > /dev/shm/LEFT
            echo '{\"LEFT\":1}' > \"$TENANTRY_OUTPUT\"
            (setsid sleep 651.9 &)
            ipcmk -M 4096 >/dev/null; ipcmk -S 1 >/dev/null; ipcmk -Q >/dev/null
            python3 -c 'x = bytearray(150 << 20)'
            i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done
        ";
        let look = "
            find /work /tmp /dev/shm /repo /run -name 'LEFT*'
            ls -d /proc/[0-9]* | wc -l
            ipcs | grep -c '^0x'
            hostname; cat /proc/sys/kernel/domainname
            grep -c . /proc/net/dev
            ls /proc/1/fd 2>&1 | head -1
            ls /proc/self/fd | wc -l
            cat /proc/self/cgroup | grep -v ':/$' | head -1
            cut -d ' ' -f 5 /proc/self/mountinfo
            cat /proc/self/uid_map | tr -s ' '
        ";
        let mut first = None;
        for turn in 0..6 {
            let spent = run(executor, spec(loud)).await;
            assert!(spent.ended.exit.succeeded(), "{spent:?}");
            let tenant = if turn % 2 == 0 { "acme" } else { "globex" };
            let next = StepSpec { tenant: tenant.parse().unwrap(), ..spec(look) };
            let seen = run(executor, next).await;
            assert_eq!(seen.ended.output, StepOutput::Nothing, "{seen:?}");
            assert!(!seen.stdout.contains("LEFT"), "{seen:?}");
            if limits_trees(executor) {
                let (used, before) = (&seen.ended.usage, &spent.ended.usage);
                assert!(before.memory_bytes_max > 150 << 20, "{before:?}");
                assert!(used.memory_bytes_max < 64 << 20, "counted anew: {used:?}");
            }
            // Whatever came before, the same is seen; only the tenant's own ids may differ, and how many processes
            // of the pipe that counts them are there yet.
            let ids = |line: &&str| !line.trim_start().starts_with(['0', '1']);
            let ids_left_out: Vec<&str> = seen.stdout.lines().skip(1).filter(ids).collect();
            let ids_left_out = ids_left_out.join("\n");
            match &first {
                None => first = Some(ids_left_out),
                Some(first) => assert_eq!(*first, ids_left_out, "turn {turn}"),
            }
            let mut lines = seen.stdout.lines();
            // The first process, the shell, and the two of the pipe that counts.
            assert!(lines.next().is_some_and(|count| count.parse::<u32>().unwrap() <= 4), "{}", seen.stdout);
            assert_eq!(lines.next(), Some("0"), "no object of System V: {}", seen.stdout);
            assert_eq!(lines.next(), Some("sandbox"), "{}", seen.stdout);
        }
    });
}
