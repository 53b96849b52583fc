//! A repository, a data directory and the real command on them, thrown away at the end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The command under test.
pub const TENANTRY: &str = env!("CARGO_BIN_EXE_tenantry");

/// A fresh repository and data directory below one temporary directory.
pub struct Workbench {
    root: tempfile::TempDir,
}

impl Workbench {
    /// An empty Git repository on branch `main`.
    pub fn new() -> Self {
        let bench = Self { root: tempfile::tempdir().unwrap() };
        fs::create_dir(bench.repo()).unwrap();
        bench.git(&["init", "-q", "-b", "main"]);
        bench
    }

    /// One tenant `acme` in mode `open`, not yet committed.
    pub fn with_acme() -> Self {
        let bench = Self::new();
        bench.write(
            "tenantry.toml",
            "format = 1\nid = \"0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11\"\nname = \"bench\"\n\n[change_control]\nmode = \"open\"\n",
        );
        bench.write("platform/people.yaml", "users:\n  alice: {}\n  bob: {}\n  olga: {}\n");
        bench.write("platform/roles.yaml", "admin: [alice]\n");
        bench.write("tenants/acme/tenant.yaml", "owner: olga\n");
        bench.write("tenants/acme/roles.yaml", "operator: [bob]\n");
        bench
    }

    /// The repository.
    pub fn repo(&self) -> PathBuf {
        self.root.path().join("repo")
    }
    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// Writes a file of the work tree; one that starts with `#!` becomes executable.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.repo().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Commits everything and gives the full id.
    pub fn commit(&self, subject: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", subject]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs git in the work tree, apart from the machine's configuration.
    #[track_caller]
    pub fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .current_dir(self.repo())
            .args(args)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .envs([("GIT_AUTHOR_NAME", "bob"), ("GIT_AUTHOR_EMAIL", "bob@bench.example")])
            .envs([("GIT_COMMITTER_NAME", "bob"), ("GIT_COMMITTER_EMAIL", "bob@bench.example")])
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Prepares the command; the environment is empty but for the path.
    pub fn tenantry(&self, args: &[&str]) -> Command {
        let mut command = Command::new(TENANTRY);
        command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.root.path()).env("TENANTRY_DATA", self.data()).stdin(Stdio::null());
        command
    }

    /// Runs the command to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Done {
        Done::new(args, self.tenantry(args).output().unwrap())
    }

    /// Gives a secret, `TENANT/NAME`, a value; the tenant's identity is made if need be.
    #[track_caller]
    pub fn secret(&self, name: &str, value: &str) {
        let (repo, data) = (self.repo(), self.data());
        let (repo, data) = (repo.to_str().unwrap(), data.to_str().unwrap());
        let tenant = name.split('/').next().unwrap();
        self.run(&["secrets", "init", tenant, "--repo", repo, "--data", data]).ok();
        let mut set = self.tenantry(&["secrets", "set", name, "--repo", repo]);
        let set = set.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = set.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), value.as_bytes()).unwrap();
        Done::new(&["secrets", "set", name], child.wait_with_output().unwrap()).ok();
    }

    /// One pass of the loop, everything due run to its end.
    #[track_caller]
    pub fn reconcile(&self) -> Done {
        let repo = self.repo();
        let data = self.data();
        self.run(&[
            "reconcile",
            "--repo",
            repo.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
            "--wait",
            "--limits",
            "best-effort",
        ])
    }

    /// Starts the daemon.
    pub fn serve(&self) -> Daemon {
        self.serve_with(&[])
    }

    /// Starts the daemon with further options.
    pub fn serve_with(&self, more: &[&str]) -> Daemon {
        let log =
            fs::File::options().create(true).append(true).open(self.root.path().join("serve.log")).unwrap();
        let child = self
            .tenantry(&["serve", "--limits", "best-effort", "--listen", "127.0.0.1:0", "--repo"])
            .arg(self.repo())
            .arg("--data")
            .arg(self.data())
            .args(more)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Daemon { child, log: self.root.path().join("serve.log") }
    }

    /// The runs of a tenant, newest first.
    #[track_caller]
    pub fn runs(&self, tenant: &str) -> Vec<Value> {
        let document = self.run(&["runs", tenant, "--format", "json", "--limit", "1000"]).ok().json();
        document["runs"].as_array().cloned().unwrap_or_default()
    }

    /// The status row of a tenant; null where nobody answers.
    pub fn status(&self, tenant: &str) -> Value {
        let answer = self.run(&["status", tenant, "--format", "json"]);
        let document: Value = serde_json::from_str(&answer.out).unwrap_or_default();
        document["tenants"].as_array().and_then(|rows| rows.first().cloned()).unwrap_or(Value::Null)
    }

    /// Waits until a daemon has applied a commit for a tenant.
    #[track_caller]
    pub fn until_applied(&self, tenant: &str, commit: &str) {
        until(60, "the commit is applied", || {
            self.run(&["reconcile"]);
            (self.status(tenant)["last_applied_commit"] == commit).then_some(())
        });
    }
}

/// A finished command.
pub struct Done {
    args: String,
    /// Its exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Done {
    fn new(args: &[&str], output: Output) -> Self {
        Self {
            args: args.join(" "),
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
    /// Asserts exit code 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }
    /// Asserts an exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "tenantry {}\n--- out\n{}\n--- err\n{}", self.args, self.out, self.err);
        self
    }
    /// Its output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| {
            panic!("tenantry {}: {e}\n--- out\n{}\n--- err\n{}", self.args, self.out, self.err)
        })
    }
    /// Asserts that a text stands in what was written to either stream.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.out.contains(text) || self.err.contains(text),
            "tenantry {} does not say {text:?}\n--- out\n{}\n--- err\n{}",
            self.args,
            self.out,
            self.err
        );
        self
    }
}

/// A daemon under test; killed when dropped.
pub struct Daemon {
    /// Its process.
    pub child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
    /// Asks it to end and gives its exit code.
    #[track_caller]
    pub fn stop(mut self) -> i32 {
        let pid = i32::try_from(self.child.id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the daemon does not end\n{}", self.log());
    }
    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `done` gives something, at most `seconds`.
#[track_caller]
pub fn until<T>(seconds: u64, what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(seconds), "after {seconds} s still not: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// Process ids whose command line holds a text.
pub fn processes_with(text: &str) -> Vec<u32> {
    let own = std::process::id();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(text))
        })
        .collect()
}

/// Files below a directory that hold a text.
pub fn holding(directory: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if let Ok(bytes) = fs::read(&path)
            && bytes.windows(text.len()).any(|part| part == text.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}
