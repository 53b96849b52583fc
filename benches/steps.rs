//! What a sandboxed step costs, as ratios to the bare work on the same machine in the same minute.
//!
//! `benches/run` prints the table of the README; `cargo bench --bench steps -- alone recorded` measures some parts
//! only. Yardsticks are measured next to what they are compared with; medians, because a shared machine has bad
//! moments, except where a record's times have whole milliseconds: there the mean of many is exact.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark, not a room"
)]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tenantry::client::{Client, Question};
use tenantry::domain::{ExitKind, Tier};
use tenantry::sandbox::{
    Executor, Limits, LimitsPolicy, LocalExecutor, Program, RUNTIME_BYTES_MAX, RuntimeSource, Settings,
    Started, StepSpec, add_runtime,
};
use tokio::io::AsyncReadExt as _;
use tokio::runtime::Runtime;

mod support;
use support::fleet::Fleet;
use support::{Daemon, Durable, TENANTRY_TOML, git, head, median, millis, repeat, row, shown, write};

/// Steps of the long sequence of `/bin/true`, and one-step runs one at a time.
const STEPS: usize = 50;
/// One-step runs with eight in flight.
const FLIGHT: usize = 500;
/// Sequential steps of Python.
const FIBONACCI: usize = 40;
/// How often it is asked whether a run has ended. Its times are those of its record, so that asking more often would show
/// nothing more, and would take a processor from what is measured.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Bytes that the loud step writes.
const OUTPUT_BYTES: u64 = 200_000_000;
/// Tenants and workflows of each, all with a schedule.
const SCHEDULES: (usize, usize) = (500, 20);

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let all = wanted.is_empty();
    let want = |part: &str| all || wanted.iter().any(|one| one == part);
    let home = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    head();
    if want("alone") {
        runtime.block_on(alone(false));
    }
    if want("bubblewrap") {
        runtime.block_on(alone_in_bubblewrap());
    }
    if want("runtime") {
        runtime.block_on(alone_in_a_runtime(home.path()));
    }
    if want("large") {
        runtime.block_on(alone(true));
    }
    if ["recorded", "flight", "python", "output"].iter().any(|part| want(part)) {
        let bench = Bench::start(home.path(), runtime);
        if want("recorded") {
            bench.recorded(home.path());
        }
        if want("flight") {
            bench.flight();
        }
        if want("python") {
            bench.python(home.path());
        }
        if want("output") {
            bench.output();
        }
    }
    if want("schedules") {
        schedules(home.path());
    }
}

fn bare() -> Duration {
    let start = Instant::now();
    assert!(Command::new("/bin/true").status().unwrap().success());
    start.elapsed()
}

// --- the sandbox alone --------------------------------------------------------------------------------------

fn spec(turn: usize) -> StepSpec {
    StepSpec {
        name: format!("bench.{turn}"),
        tenant: "acme".parse().unwrap(),
        program: Program::Command("true".to_owned()),
        runtime: None,
        packages: None,
        args: Vec::new(),
        environment: BTreeMap::new(),
        files: Vec::new(),
        input: b"{}".to_vec(),
        reach: Vec::new(),
        secret_files: Vec::new(),
        limits: Limits::default(),
    }
}

/// Starts, reads both streams to their end, waits for the last process: what a worker does with a step.
async fn one(executor: &LocalExecutor, turn: usize) -> Duration {
    play(executor, spec(turn)).await
}

async fn play(executor: &LocalExecutor, spec: StepSpec) -> Duration {
    let start = Instant::now();
    let Started { mut step, mut stdout, mut stderr, broker, .. } = executor.start(spec).await.unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (ended, ..) = tokio::join!(step.wait(), stdout.read_to_end(&mut out), stderr.read_to_end(&mut err));
    drop(broker);
    let took = start.elapsed();
    assert_eq!(ended.exit.kind, ExitKind::Exited, "{ended:?}");
    took
}

/// The tier `bubblewrap` against `bwrap` itself with the same walls and nothing of ours, turn by turn.
async fn alone_in_bubblewrap() {
    let executor = executor(Tier::Bubblewrap).await;
    if let Some(refusal) = executor.capabilities().refusal() {
        eprintln!("the tier bubblewrap is not to be had here: {refusal}");
        return;
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for turn in 0..100 {
        ours.push(one(&executor, turn).await);
        let start = Instant::now();
        let program = format!("exec {}", bwrap("/bin/true"));
        assert!(Command::new("sh").args(["-c", &program]).status().unwrap().success());
        theirs.push(start.elapsed());
    }
    row(
        "the tier `bubblewrap` alone, `/bin/true`",
        median(ours),
        "a shell that becomes `bwrap`",
        median(theirs),
    );
}

/// A root file system by digest against the machine's own, turn by turn: as many entries at its top and in its `/etc` as
/// the image of a distribution has, and the machine's busybox.
async fn alone_in_a_runtime(home: &Path) {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).map(|path| path.join("busybox")).find(|path| path.exists());
    let Some(busybox) = found else {
        eprintln!("`busybox` is not here: install the package busybox-static");
        return;
    };
    let (tree, shelf) = (home.join("tree"), home.join("shelf"));
    let directories = "boot home lib lib64 media mnt opt root sbin srv usr var etc/apt etc/cron.d etc/default etc/init.d \
                       etc/ld.so.conf.d etc/opt etc/pam.d etc/profile.d etc/rc.d etc/security etc/selinux etc/skel etc/ssl \
                       etc/systemd etc/terminfo etc/update-motd.d bin";
    for directory in directories.split_whitespace() {
        std::fs::create_dir_all(tree.join(directory)).unwrap();
    }
    for number in 0..45 {
        std::fs::write(tree.join(format!("etc/file-{number}.conf")), "x").unwrap();
    }
    for name in ["passwd", "group", "hosts"] {
        std::fs::write(tree.join("etc").join(name), "x").unwrap();
    }
    std::fs::copy(busybox, tree.join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", tree.join("bin/true")).unwrap();
    let digest = add_runtime(RuntimeSource::Directory(&tree), &shelf, RUNTIME_BYTES_MAX).unwrap();
    let executor = open(Tier::Sandbox, Some(shelf)).await;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    // Ten of a kind, since a sandbox of the kind of the last one stands ready for the next.
    for turn in 0..400 {
        if turn / 10 % 2 == 0 {
            with.push(play(&executor, StepSpec { runtime: Some(digest.clone()), ..spec(turn) }).await);
        } else {
            without.push(one(&executor, turn).await);
        }
    }
    row("in a runtime, `/bin/true`", median(with), "without one", median(without));
}

async fn executor(tier: Tier) -> Arc<LocalExecutor> {
    open(tier, None).await
}

async fn open(tier: Tier, runtimes: Option<PathBuf>) -> Arc<LocalExecutor> {
    let settings = Settings {
        program: env!("CARGO_BIN_EXE_tenantry").into(),
        instance: format!("bench-{}", std::process::id()),
        tier,
        limits: LimitsPolicy::BestEffort,
        unsandboxed: std::collections::BTreeSet::new(),
        runtimes,
        packages: None,
    };
    let executor = Arc::new(LocalExecutor::open(settings).await.unwrap());
    executor.recover().await.unwrap();
    executor
}

/// The sandbox against the bare spawn, turn by turn; with a gigabyte in this process, against itself without.
async fn alone(large: bool) {
    let executor = executor(Tier::Sandbox).await;
    for turn in 0..10 {
        one(&executor, turn).await;
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for turn in 0..200 {
        ours.push(one(&executor, turn).await);
        theirs.push(bare());
    }
    let (ours, theirs) = (median(ours), median(theirs));
    if !large {
        row("the sandbox alone, `/bin/true`", ours, "bare spawn", theirs);
        row("the same", ours, "bare spawn + 3 ms", theirs + Duration::from_millis(3));
        return;
    }
    let ballast = vec![1_u8; 1 << 30];
    let mut heavy = Vec::new();
    for turn in 0..200 {
        heavy.push(one(&executor, turn).await);
    }
    assert_eq!(std::hint::black_box(&ballast)[4096], 1);
    row("the sandbox alone, daemon with 1 GiB resident", median(heavy), "the same in a small one", ours);
}

// --- a daemon -----------------------------------------------------------------------------------------------

struct Bench {
    daemon: Daemon,
    client: Client,
    runtime: Runtime,
}

const FIBO: &str = "#!/usr/bin/env python3\nimport sys\n\ndef fibo(n):\n    return n if n < 2 else fibo(n - 1) + fibo(n - 2)\n\nprint(fibo(int(sys.argv[1])))\n";

/// A workflow of steps one after the other.
fn sequence(steps: usize, command: &str) -> String {
    let steps: String = (0..steps).map(|step| format!("  step_{step}: {{ {command} }}\n")).collect();
    format!("steps:\n{steps}")
}

impl Bench {
    fn start(home: &Path, runtime: Runtime) -> Self {
        let repo = home.join("steps");
        std::fs::create_dir_all(&repo).unwrap();
        git(&repo, &["init", "--quiet"]);
        git(&repo, &["symbolic-ref", "HEAD", "refs/heads/main"]);
        write(&repo, "tenantry.toml", TENANTRY_TOML);
        write(&repo, "platform/people.yaml", "users:\n  alice: { name: Alice }\n");
        write(&repo, "platform/roles.yaml", "admin: [alice]\n");
        write(&repo, "tenants/acme/tenant.yaml", "owner: alice\n");
        write(&repo, "tenants/acme/roles.yaml", "operator: [alice]\n");
        write(&repo, "tenants/acme/scripts/true", "#!/bin/true\n");
        write(&repo, "tenants/acme/scripts/fibo.py", FIBO);
        let loud = format!("#!/bin/sh\nhead -c {OUTPUT_BYTES} /dev/zero | tr '\\0' '\\n'\n");
        write(&repo, "tenants/acme/scripts/loud.sh", &loud);
        let workflow = |name: &str, text: &str| {
            write(&repo, &format!("tenants/acme/workflows/{name}.yaml"), text);
        };
        workflow("one", "files: [scripts/true]\nrun: scripts/true\n");
        workflow("chain", &format!("files: [scripts/true]\n{}", sequence(STEPS, "run: scripts/true")));
        let fibo = |steps, n| {
            format!(
                "files: [scripts/fibo.py]\n{}",
                sequence(steps, &format!("run: scripts/fibo.py, args: [\"{n}\"]"))
            )
        };
        workflow("fibo-10", &fibo(FIBONACCI, 10));
        workflow("fibo-33", &fibo(10, 33));
        workflow("loud", "files: [scripts/loud.sh]\nrun: scripts/loud.sh\n");
        git(&repo, &["add", "--all"]);
        git(&repo, &["commit", "--quiet", "--message", "steps"]);
        let data = home.join("steps-data");
        let daemon = Daemon::start(&repo, &data, 8);
        daemon.applied(1);
        let bench = Self { daemon, client: Client::at(&data), runtime };
        bench.run("chain"); // warm
        bench
    }

    async fn ask(&self, question: Question) -> Value {
        let question = Question { wanted: Some("alice".parse().unwrap()), ..question };
        self.client.ask(&question).await.unwrap().document().await.unwrap()
    }

    async fn begin(&self, workflow: &str) -> String {
        let target = format!("/api/v1/tenants/acme/workflows/{workflow}/start");
        let started = self.ask(Question::post(target, json!({}))).await;
        started["run"].as_str().unwrap().to_owned()
    }

    /// The record of a run, once it has ended.
    async fn end(&self, run: &str, every: Duration) -> Value {
        let target = format!("/api/v1/tenants/acme/runs/{run}");
        loop {
            let record = self.ask(Question::get(&target)).await;
            if record["run"]["state"] == "ended" {
                assert_eq!(record["run"]["outcome"], "success", "{record:#} {}", self.daemon.log());
                return record["run"].clone();
            }
            tokio::time::sleep(every).await;
        }
    }

    /// Runs a workflow; gives the time from queued to recorded, in milliseconds.
    fn run(&self, workflow: &str) -> f64 {
        let record = self.runtime.block_on(async {
            let run = self.begin(workflow).await;
            self.end(&run, LOOK_AGAIN).await
        });
        millis(&record["ended_at"]) - millis(&record["created_at"])
    }

    /// `/bin/true` from queued to durably recorded: as a run of its own, and in a sequence.
    ///
    /// A run notes its end before the commit that makes the end durable: one more commit is added for it.
    fn recorded(&self, home: &Path) {
        let mut durable = Durable::new(home);
        let (mut single, mut bares, mut commits) = (0.0, Vec::new(), Vec::new());
        for _ in 0..100 {
            single += self.run("one") / 100.0;
            bares.push(bare());
            let start = Instant::now();
            durable.commit();
            commits.push(start.elapsed());
        }
        let (bare, commit) = (median(bares), median(commits));
        let aim = bare + Duration::from_millis(4) + 2 * commit;
        let single = Duration::from_secs_f64(single / 1e3) + commit;
        let step = (0..3).map(|_| self.run("chain")).fold(f64::MAX, f64::min) / STEPS as f64;
        row("a run of one step, from queued to durably recorded", single, "bare spawn", bare);
        row("the same", single, "bare spawn + 4 ms + two durable commits", aim);
        row(
            "a step in a sequence, from queued to durably recorded",
            Duration::from_secs_f64(step / 1e3),
            "the same",
            aim,
        );
    }

    /// Many runs of one step, eight in flight, against as many sandboxes of `bwrap`: from the first start to the last
    /// recorded end.
    fn flight(&self) {
        let since_the_epoch = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let start = since_the_epoch().as_secs_f64() * 1e3;
        let mut last = start;
        self.runtime.block_on(async {
            let lanes = (0..8).map(|lane| async move {
                let mut runs = Vec::new();
                for _ in (lane..FLIGHT).step_by(8) {
                    runs.push(self.begin("one").await);
                }
                runs
            });
            let mut runs = futures(lanes).await.concat();
            // The youngest first: when it has ended, so have nearly all, and looking takes nothing from them.
            runs.sort();
            for run in runs.iter().rev() {
                last = last.max(millis(&self.end(run, LOOK_AGAIN).await["ended_at"]));
            }
        });
        let last = Duration::from_secs_f64((last - start) / 1e3);
        let Some(theirs) = bubblewrap() else {
            eprintln!("`bwrap` is not here: install the package bubblewrap");
            return;
        };
        row(&format!("{FLIGHT} runs of one step, eight in flight"), last, "`xargs -P8` over `bwrap`", theirs);
    }

    /// Sequential steps of Python against a shell's loop over the same processes, and what each costs the engine.
    fn python(&self, home: &Path) {
        let script = home.join("steps/tenants/acme/scripts/fibo.py");
        // The interpreter that steps get: the system's, where it has one.
        let python = if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
        for (steps, n) in [(FIBONACCI, "10"), (10, "33")] {
            let workflow = format!("fibo-{n}");
            let program =
                format!("for i in $(seq {steps}); do /usr/bin/env {python} {} {n}; done", script.display());
            let mut theirs = Vec::new();
            let mut ours = Vec::new();
            for _ in 0..3 {
                theirs.push(repeat(1, || {
                    let mut shell = Command::new("bash");
                    assert!(shell.args(["-c", &program]).stdout(Stdio::null()).status().unwrap().success());
                }));
                ours.push(Duration::from_secs_f64(self.run(&workflow) / 1e3));
            }
            let (ours, theirs) = (median(ours), median(theirs));
            row(
                &format!("{steps} sequential Python steps, fibo({n})"),
                ours,
                "the same in a `bash` loop",
                theirs,
            );
            if steps == FIBONACCI {
                let engine = ours.saturating_sub(theirs) / u32::try_from(steps).unwrap();
                row("engine time for each of these steps", engine, "aim", Duration::from_millis(3));
                self.commits(&workflow, steps);
            }
        }
    }

    /// Counts what a sequential step makes durable, by `strace`.
    fn commits(&self, workflow: &str, steps: usize) {
        let mut strace = Command::new("strace");
        strace.args([
            "-f",
            "-e",
            "trace=fdatasync,fsync,msync,sync_file_range",
            "-p",
            &self.daemon.id().to_string(),
        ]);
        let Ok(mut tracer) = strace.stdout(Stdio::null()).stderr(Stdio::piped()).spawn() else {
            eprintln!("`strace` is not here: install the package strace");
            return;
        };
        std::thread::sleep(Duration::from_millis(500));
        self.run(workflow);
        assert!(Command::new("kill").args(["-INT", &tracer.id().to_string()]).status().unwrap().success());
        let mut text = String::new();
        tracer.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        tracer.wait().unwrap();
        let calls = text.lines().filter(|line| line.contains("sync(") && !line.contains("resumed")).count();
        let each = calls as f64 / steps as f64;
        println!(
            "| `fdatasync` for each of these steps, by `strace` | {each:.2} | aim | 2 | {:.2} |",
            each / 2.0
        );
    }

    /// A step that writes 200 MB, all of it read, redacted and cut.
    fn output(&self) {
        let ours = Duration::from_secs_f64((0..3).map(|_| self.run("loud")).fold(f64::MAX, f64::min) / 1e3);
        let theirs = repeat(3, || {
            let program = format!("head -c {OUTPUT_BYTES} /dev/zero | tr '\\0' '\\n' | cat > /dev/null");
            assert!(Command::new("sh").args(["-c", &program]).status().unwrap().success());
        });
        let rate = |time: Duration| OUTPUT_BYTES as f64 / f64::from(1 << 20) / time.as_secs_f64();
        println!(
            "| 200 MB of output ({}) | {:.0} MiB/s | `cat` | {:.0} MiB/s | {:.2} |",
            shown(ours),
            rate(ours),
            rate(theirs),
            rate(ours) / rate(theirs)
        );
    }
}

/// Waits for all of some futures at once.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = all.map(|one| (Some(Box::pin(one)), None)).collect();
    std::future::poll_fn(|context| {
        let mut done = true;
        for (future, result) in &mut waiting {
            if let Some(pinned) = future {
                match pinned.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => {
                        *result = Some(value);
                        *future = None;
                    }
                    std::task::Poll::Pending => done = false,
                }
            }
        }
        if done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, result)| result).collect()
}

/// The time of as many sandboxes of `bwrap`, with the same namespaces and a root of the same parts.
fn bubblewrap() -> Option<Duration> {
    Command::new("bwrap").arg("--version").stdout(Stdio::null()).status().ok()?;
    let program = format!("seq {FLIGHT} | xargs -P8 -I_ {}", bwrap("/bin/true"));
    let start = Instant::now();
    assert!(Command::new("sh").args(["-c", &program]).status().unwrap().success());
    Some(start.elapsed())
}

/// A command line of `bwrap` around a program, with the namespaces and a root of the parts that ours has.
fn bwrap(program: &str) -> String {
    let links = ["/bin", "/lib", "/lib64", "/sbin"].iter().map(|path| match std::fs::read_link(path) {
        Ok(target) => format!("--symlink {} {path}", target.display()),
        Err(_) => format!("--ro-bind-try {path} {path}"),
    });
    format!(
        "bwrap --unshare-all --die-with-parent --new-session --clearenv \
         --ro-bind /usr /usr {} --proc /proc --dev /dev --tmpfs /work --tmpfs /tmp --chdir /work {program}",
        links.collect::<Vec<_>>().join(" ")
    )
}

// --- schedules ----------------------------------------------------------------------------------------------

/// What a daemon uses of one processor while ten thousand schedules wait for a day that is far away.
fn schedules(home: &Path) {
    let repo = home.join("schedules");
    let (tenants, workflows) = SCHEDULES;
    let mut fleet = Fleet::new(TENANTRY_TOML);
    for number in 0..tenants {
        let tenant = format!("tenants/tenant-{number:04}");
        fleet
            .file(&format!("{tenant}/tenant.yaml"), "owner: alice\n")
            .file(&format!("{tenant}/roles.yaml"), "operator: [alice]\n")
            .file(&format!("{tenant}/scripts/true.sh"), "#!/bin/sh\n");
        for workflow in 0..workflows {
            let text = format!(
                "on:\n  schedule:\n    - {{ cron: \"{} 3 29 2 *\", timezone: Europe/Rome }}\nrun: scripts/true.sh\n",
                workflow % 60
            );
            fleet.file(&format!("{tenant}/workflows/job-{workflow:02}.yaml"), &text);
        }
    }
    fleet.commit(&repo, false);
    let daemon = Daemon::start(&repo, &home.join("schedules-data"), 2);
    daemon.applied(tenants);
    std::thread::sleep(Duration::from_secs(5));
    let before = daemon.cpu();
    std::thread::sleep(Duration::from_secs(20));
    let share = (daemon.cpu() - before).as_secs_f64() / 20.0 * 100.0;
    println!(
        "| idle with {} schedules, of one processor | {share:.2} % | aim | 1 % | {share:.2} |",
        tenants * workflows
    );
}
