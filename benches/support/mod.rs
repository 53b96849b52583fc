//! What the benchmarks share: rows of the table, yardsticks, a daemon, a repository.
#![allow(dead_code, reason = "each benchmark uses its own part")]

pub mod fleet;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tenantry::domain::Timestamp;

/// The head of the table.
pub fn head() {
    println!("| measured | median | against | median | ratio |");
    println!("|---|---:|---|---:|---:|");
}

/// A row of the table.
pub fn row(measured: &str, ours: Duration, against: &str, theirs: Duration) {
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("| {measured} | {} | {against} | {} | {ratio:.2} |", shown(ours), shown(theirs));
}

pub fn shown(time: Duration) -> String {
    match time.as_micros() {
        ..1_000 => format!("{} µs", time.as_micros()),
        1_000..1_000_000 => format!("{:.2} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}

pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

pub fn repeat(times: usize, mut work: impl FnMut()) -> Duration {
    let once = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    median((0..times).map(|_| once(&mut work)).collect())
}

pub const TENANTRY_TOML: &str = "format = 1\nid = \"0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e12\"\nname = \"bench\"\n\n\
                        [reconcile]\nbranch = \"main\"\n\n[change_control]\nmode = \"open\"\n";

/// What one durable commit costs on this disk: a page written behind the last one and synchronised.
pub struct Durable(std::fs::File);

impl Durable {
    pub fn new(directory: &Path) -> Self {
        Self(std::fs::File::create(directory.join("durable")).unwrap())
    }
    pub fn commit(&mut self) {
        self.0.write_all(&[7; 4096]).unwrap();
        self.0.sync_data().unwrap();
    }
}

/// A daemon of its own; dropping it kills it.
pub struct Daemon {
    child: Child,
    data: PathBuf,
}

impl Daemon {
    pub fn start(repo: &Path, data: &Path, slots: usize) -> Self {
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

    pub fn ask(&self, args: &[&str]) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_tenantry"))
            .args(args)
            .args(["--format", "json", "--as", "alice", "--data"])
            .arg(&self.data)
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// All runs of a tenant, once there are `count` and all have ended.
    pub fn ended(&mut self, tenant: &str, count: usize) -> Vec<Value> {
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

    /// Waits until that many tenants are applied.
    pub fn applied(&self, tenants: usize) {
        let until = Instant::now() + Duration::from_secs(60);
        let is_applied = |row: &Value| row["applied_generation"].as_u64().unwrap_or(0) > 0;
        loop {
            let status = self.ask(&["status"]);
            let rows = status["tenants"].as_array().map_or(&[][..], Vec::as_slice);
            if rows.len() == tenants && rows.iter().all(is_applied) {
                return;
            }
            assert!(Instant::now() < until, "{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Processor time that it has used.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default()
    }

    pub fn resident_bytes(&self) -> u64 {
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

pub fn millis(time: &Value) -> f64 {
    let time: Timestamp = time.as_str().unwrap_or_default().parse().unwrap();
    time.as_millis() as f64
}

pub fn write(repo: &Path, path: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = repo.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
}

pub fn git(repo: &Path, args: &[&str]) -> String {
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
