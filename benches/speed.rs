//! What tenantry costs, as ratios to what the same machine needs for the bare work in the same minute.
//!
//! `benches/run` prints the table of the README. Each yardstick is measured next to the thing it is compared
//! with; medians, because a shared machine has bad moments. Passes are measured in this process on the real
//! mirror and the real store; steps, memory and start-up on a daemon of their own.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark, not a room"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tenantry::app::{App, Settings, now};
use tenantry::domain::Timestamp;
use tenantry::source::{FetchSettings, GitSource, Remote, Source};

const STEPS: usize = 50;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let tenants = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--tenants"), Some(count)) => count.parse().expect("--tenants takes a number"),
        _ => 1_000,
    };
    let home = tempfile::tempdir().unwrap();
    println!("| measured | median | against | median | ratio |");
    println!("|---|---:|---|---:|---:|");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(passes(home.path(), tenants));
    idle(home.path(), tenants);
    steps(home.path());
    first_run(home.path());
}

/// A row of the table.
fn row(measured: &str, ours: Duration, against: &str, theirs: Duration) {
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("| {measured} | {} | {against} | {} | {ratio:.2} |", shown(ours), shown(theirs));
}

fn shown(time: Duration) -> String {
    match time.as_micros() {
        ..1_000 => format!("{} µs", time.as_micros()),
        1_000..1_000_000 => format!("{:.2} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn repeat(times: usize, mut work: impl FnMut()) -> Duration {
    let once = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    median((0..times).map(|_| once(&mut work)).collect())
}

// --- passes -------------------------------------------------------------------------------------------------

async fn passes(home: &Path, tenants: usize) {
    let repo = home.join("fleet");
    let data = home.join("fleet-data");
    make_fleet(&repo, tenants);
    std::fs::create_dir_all(&data).unwrap();
    let remote: Remote = repo.to_str().unwrap().parse().unwrap();
    let source = GitSource::open(remote, FetchSettings::branch("main"), &home.join("read.git")).unwrap();
    let mut settings = Settings::new(repo.to_str().unwrap(), &data);
    settings.slots = Some(0); // no worker: nothing starts here
    let app = App::open(settings).await.unwrap();

    // First read: every file of every tenant, against the same blobs from one `git cat-file --batch`.
    let revision = source.fetch().await.unwrap();
    let listing = source.listing(&revision).await.unwrap();
    let start = Instant::now();
    let mut blobs = Vec::new();
    for tenant in listing.tenants.keys() {
        let tree = source.tenant_tree(&revision, tenant).await.unwrap();
        blobs.extend(tree.files.values().map(|entry| entry.id.to_string()));
    }
    let ours = start.elapsed();
    let wanted = blobs.join("\n") + "\n";
    let theirs = repeat(3, || cat_file(&home.join("read.git"), &wanted));
    row(&format!("first read, {tenants} tenants × 10 files"), ours, "`git cat-file --batch`", theirs);

    let start = Instant::now();
    let first = app.pass().await.unwrap();
    let whole = start.elapsed();
    let applied = first.looked_at.iter().filter(|row| row.applied_generation > 0).count();
    assert_eq!(applied, tenants, "the first pass did not apply every tenant");
    row(&format!("first pass: validate, plan and apply {tenants} tenants"), whole, "first read", ours);

    // Nothing changed.
    let mut times = Vec::new();
    for _ in 0..15 {
        let start = Instant::now();
        app.pass().await.unwrap();
        times.push(start.elapsed());
    }
    let theirs = repeat(15, || drop(git(&repo, &["rev-parse", "HEAD"])));
    row(&format!("pass, {tenants} tenants, nothing changed"), median(times), "`git rev-parse`", theirs);

    // One file changed. What fetches it is git, in both columns.
    let mut durable = Durable::new(&data);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for turn in 0..15 {
        let before = git(&repo, &["rev-parse", "HEAD"]);
        let path = "tenants/tenant-0007/tenant.yaml";
        std::fs::create_dir_all(repo.join("tenants/tenant-0007")).unwrap();
        std::fs::write(repo.join(path), format!("owner: alice\nlimits: {{ concurrency: {} }}\n", turn + 5))
            .unwrap();
        git(&repo, &["add", path]);
        git(&repo, &["commit", "--quiet", "--message", "one file"]);
        let after = git(&repo, &["rev-parse", "HEAD"]);
        let start = Instant::now();
        let done = app.pass().await.unwrap();
        ours.push(start.elapsed());
        assert_eq!(done.looked_at.len(), 1, "one tenant changed");
        let start = Instant::now();
        git(&repo, &["diff-tree", "-r", &before, &after]);
        durable.commit();
        theirs.push(start.elapsed());
    }
    let (ours, theirs) = (median(ours), median(theirs));
    row("pass after a one-file commit, fetch included", ours, "`git diff-tree` + one durable commit", theirs);
    app.close().await;
}

/// Tenants of ten files each, written by `git fast-import`.
fn make_fleet(repo: &Path, tenants: usize) {
    std::fs::create_dir_all(repo).unwrap();
    git(repo, &["init", "--quiet"]);
    git(repo, &["symbolic-ref", "HEAD", "refs/heads/main"]);
    let mut stream = String::from(
        "commit refs/heads/main\ncommitter bench <bench@localhost> 1764000000 +0000\ndata 5\nbegin\n",
    );
    let mut file = |mode: &str, path: &str, text: &str| {
        stream.push_str(&format!("M {mode} inline {path}\ndata {}\n{text}\n", text.len()));
    };
    file("100644", "tenantry.toml", TENANTRY_TOML);
    file("100644", "platform/people.yaml", "users:\n  alice: { name: Alice }\n");
    file("100644", "platform/roles.yaml", "admin: [alice]\n");
    for number in 0..tenants {
        let tenant = format!("tenants/tenant-{number:04}");
        file("100644", &format!("{tenant}/tenant.yaml"), "owner: alice\n");
        file("100644", &format!("{tenant}/roles.yaml"), "operator: [alice]\n");
        for workflow in 0..4 {
            file(
                "100644",
                &format!("{tenant}/workflows/job-{workflow}.yaml"),
                &format!(
                    "description: Job {workflow} of {tenant}\nfiles: [scripts/job-{workflow}.sh]\nrun: scripts/job-{workflow}.sh\n"
                ),
            );
            file(
                "100755",
                &format!("{tenant}/scripts/job-{workflow}.sh"),
                &format!("#!/bin/sh\n# {tenant}\nset -eu\necho {workflow}\n"),
            );
        }
    }
    let mut child = Command::new("git")
        .arg("-C")
        .arg(repo)
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    git(repo, &["read-tree", "HEAD"]);
}

const TENANTRY_TOML: &str = "format = 1\nid = \"0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e12\"\nname = \"bench\"\n\n\
                        [reconcile]\nbranch = \"main\"\n\n[change_control]\nmode = \"open\"\n";

fn cat_file(repo: &Path, wanted: &str) {
    let mut child = Command::new("git")
        .arg("-C")
        .arg(repo)
        .args(["cat-file", "--batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(wanted.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// What one durable commit costs on this disk: a page written behind the last one and synchronised.
struct Durable(std::fs::File);

impl Durable {
    fn new(directory: &Path) -> Self {
        Self(std::fs::File::create(directory.join("durable")).unwrap())
    }
    fn commit(&mut self) {
        self.0.write_all(&[7; 4096]).unwrap();
        self.0.sync_data().unwrap();
    }
}

// --- daemons ------------------------------------------------------------------------------------------------

/// A daemon of its own; dropping it kills it.
struct Daemon {
    child: Child,
    data: PathBuf,
}

impl Daemon {
    fn start(repo: &Path, data: &Path, slots: usize) -> Self {
        std::fs::create_dir_all(data).unwrap();
        let errors = std::fs::File::create(data.with_extension("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tenantry"))
            .args(["serve", "--listen", "127.0.0.1:0", "--limits", "best-effort", "--any-region"])
            .args(["--slots", &slots.to_string()])
            .arg("--repo")
            .arg(repo)
            .arg("--data")
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .unwrap();
        Self { child, data: data.to_owned() }
    }

    fn ask(&self, args: &[&str]) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_tenantry"))
            .args(args)
            .args(["--format", "json", "--as", "alice", "--data"])
            .arg(&self.data)
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// All runs of a tenant, once there are `count` and all have ended.
    fn ended(&mut self, tenant: &str, count: usize) -> Vec<Value> {
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            let runs = self.ask(&["runs", tenant])["runs"].as_array().cloned().unwrap_or_default();
            if runs.len() >= count && runs.iter().all(|run| run["state"] == "ended") {
                for run in &runs {
                    assert_eq!(run["outcome"], "success", "{run:#}");
                }
                return runs;
            }
            let gone = self.child.try_wait().unwrap().is_some();
            assert!(!gone && Instant::now() < until, "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default()
    }

    fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Resident memory of a daemon that has nothing to do for its fleet.
fn idle(home: &Path, tenants: usize) {
    let mut daemon = Daemon::start(&home.join("fleet"), &home.join("fleet-data"), 2);
    let until = Instant::now() + Duration::from_secs(60);
    while daemon.ask(&["status"])["tenants"].as_array().is_none_or(|rows| rows.len() < tenants) {
        let gone = daemon.child.try_wait().unwrap().is_some();
        assert!(!gone && Instant::now() < until, "{}", daemon.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_secs(3));
    let mib = daemon.resident_bytes() as f64 / f64::from(1 << 20);
    println!(
        "| resident memory, idle, {tenants} tenants | {mib:.1} MiB | aim | 60 MiB | {:.2} |",
        mib / 60.0
    );
}

/// Steps that do nothing, one after the other in one run, and eight such runs at a time.
fn steps(home: &Path) {
    let repo = home.join("steps");
    std::fs::create_dir_all(&repo).unwrap();
    git(&repo, &["init", "--quiet"]);
    git(&repo, &["symbolic-ref", "HEAD", "refs/heads/main"]);
    write(&repo, "tenantry.toml", TENANTRY_TOML);
    write(&repo, "platform/people.yaml", "users:\n  alice: { name: Alice }\n");
    write(&repo, "platform/roles.yaml", "admin: [alice]\n");
    let mut workflow = String::from("steps:\n");
    for step in 0..STEPS {
        workflow.push_str(&format!("  step_{step}: {{ run: scripts/true.sh }}\n"));
    }
    for tenant in 0..8 {
        write(&repo, &format!("tenants/t{tenant}/tenant.yaml"), "owner: alice\n");
        write(&repo, &format!("tenants/t{tenant}/roles.yaml"), "operator: [alice]\n");
        write(&repo, &format!("tenants/t{tenant}/workflows/chain.yaml"), &workflow);
        write(&repo, &format!("tenants/t{tenant}/scripts/true.sh"), "#!/bin/sh\nexec /bin/true\n");
    }
    git(&repo, &["add", "--all"]);
    git(&repo, &["commit", "--quiet", "--message", "steps"]);
    let data = home.join("steps-data");
    let mut daemon = Daemon::start(&repo, &data, 8);
    let until = Instant::now() + Duration::from_secs(60);
    while daemon.ask(&["status"])["tenants"].as_array().is_none_or(|rows| {
        rows.len() < 8 || rows.iter().any(|row| row["applied_generation"].as_u64().unwrap_or(0) == 0)
    }) {
        assert!(Instant::now() < until, "{}", daemon.log());
        std::thread::sleep(Duration::from_millis(50));
    }

    let mut durable = Durable::new(home);
    let bare = repeat(100, || {
        let status = Command::new("/bin/sh").args(["-c", "exec /bin/true"]).status().unwrap();
        assert!(status.success());
    });
    let commit = repeat(100, || durable.commit());
    let aim = bare + Duration::from_millis(4) + 2 * commit;

    daemon.ask(&["start", "t0/chain"]); // warm
    daemon.ended("t0", 1);
    daemon.ask(&["start", "t0/chain"]);
    let newest = daemon.ended("t0", 2).into_iter().max_by_key(|run| run["id"].to_string()).unwrap();
    let alone = (millis(&newest["ended_at"]) - millis(&newest["created_at"])) / STEPS as f64;
    let alone = Duration::from_secs_f64(alone / 1e3);
    row("a step, from queued to recorded", alone, "bare spawn", bare);
    row("the same", alone, "bare spawn + 4 ms + two durable commits", aim);

    for tenant in 1..8 {
        daemon.ask(&["start", &format!("t{tenant}/chain")]);
    }
    daemon.ask(&["start", "t0/chain"]);
    let mut runs = daemon.ended("t0", 3);
    runs.sort_by_key(|run| run["id"].to_string());
    let mut runs = vec![runs.pop().unwrap()];
    for tenant in 1..8 {
        runs.extend(daemon.ended(&format!("t{tenant}"), 1));
    }
    let from = runs.iter().map(|run| millis(&run["created_at"])).fold(f64::MAX, f64::min);
    let to = runs.iter().map(|run| millis(&run["ended_at"])).fold(0.0, f64::max);
    let each = Duration::from_secs_f64((to - from) / 1e3 / (8 * STEPS) as f64);
    row("a step, eight in flight, time per step", each, "bare spawn", bare);
}

/// From the start of the command on an empty directory until the record of its first run.
fn first_run(home: &Path) {
    let repo = home.join("first");
    std::fs::create_dir_all(&repo).unwrap();
    git(&repo, &["init", "--quiet"]);
    git(&repo, &["symbolic-ref", "HEAD", "refs/heads/main"]);
    write(&repo, "tenantry.toml", TENANTRY_TOML);
    write(&repo, "platform/people.yaml", "users:\n  alice: { name: Alice }\n");
    write(&repo, "platform/roles.yaml", "admin: [alice]\n");
    write(&repo, "tenants/acme/tenant.yaml", "owner: alice\n");
    write(&repo, "tenants/acme/roles.yaml", "operator: [alice]\n");
    write(
        &repo,
        "tenants/acme/workflows/hello.yaml",
        "on: { commit: { first: true } }\nrun: scripts/hello.sh\n",
    );
    write(&repo, "tenants/acme/scripts/hello.sh", "#!/bin/sh\necho hello\n");
    git(&repo, &["add", "--all"]);
    git(&repo, &["commit", "--quiet", "--message", "first"]);
    let mut times = Vec::new();
    for turn in 0..5 {
        let before = now().as_millis();
        let mut daemon = Daemon::start(&repo, &home.join(format!("first-data-{turn}")), 2);
        let runs = daemon.ended("acme", 1);
        times.push(Duration::from_secs_f64((millis(&runs[0]["ended_at"]) - before as f64).max(0.0) / 1e3));
    }
    row("start of the daemon to the end of its first run", median(times), "aim", Duration::from_millis(500));
}

// --- small things -------------------------------------------------------------------------------------------

fn millis(time: &Value) -> f64 {
    let time: Timestamp = time.as_str().unwrap_or_default().parse().unwrap();
    time.as_millis() as f64
}

fn write(repo: &Path, path: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = repo.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn git(repo: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(repo)
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs([("GIT_AUTHOR_NAME", "bench"), ("GIT_AUTHOR_EMAIL", "bench@localhost")])
        .envs([("GIT_COMMITTER_NAME", "bench"), ("GIT_COMMITTER_EMAIL", "bench@localhost")])
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
