//! The demo's daemon: `tenantry serve` as a process of its own, asked by the commands that anybody would type.
#![expect(clippy::disallowed_methods, reason = "starts the daemon and its clients and waits for them")]

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::DemoError;
use super::example::THROWAWAY_IDENTITIES;

/// How long the daemon has to come up, and how long a commit has to settle.
const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(40);
/// How long a daemon that was told to end has for it.
const GRACE: Duration = Duration::from_secs(20);

/// Who looks: an auditor of all three tenants. A platform admin could not.
pub const VIEWER: &str = "grace";

/// A running daemon; dropping it ends it.
pub struct Daemon {
    child: Child,
    program: PathBuf,
    data: PathBuf,
    log: PathBuf,
    /// Turns true once somebody wants the demo to end.
    stop: Arc<AtomicBool>,
}

/// What a command answered.
pub struct Answer {
    /// Its exit code.
    pub code: i32,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub said: String,
}

impl Daemon {
    /// Starts a daemon on `repo` with the throwaway identities in its data directory.
    ///
    /// # Errors
    /// When the data directory cannot be made or the daemon does not come up; the end of its log is the reason.
    pub fn start(home: &Path, repo: &Path, listen: &str, allow_unsandboxed: bool) -> Result<Self, DemoError> {
        let program = std::env::current_exe().map_err(DemoError::read(Path::new("/proc/self/exe")))?;
        let data = home.join("data");
        write_identities(&data.join("identities"))?;
        let log = home.join("daemon.log");
        let errors = File::create(&log).map_err(DemoError::write(&log))?;
        let mut command = Command::new(&program);
        command.arg("serve").arg("--repo").arg(repo).arg("--data").arg(&data);
        // The example has a tenant of region `eu`; this machine serves whatever there is.
        command.args(["--any-region", "--limits", "best-effort", "--listen", listen]);
        if allow_unsandboxed {
            let tenants = std::fs::read_dir(repo.join("tenants")).map_err(DemoError::read(repo))?;
            let names = tenants.flatten().filter_map(|tenant| tenant.file_name().into_string().ok());
            command.arg("--allow-unsandboxed").arg(names.collect::<Vec<_>>().join(","));
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .map_err(DemoError::read(&program))?;
        let mut daemon = Self { child, program, data, log, stop: watch_signals() };
        let until = Instant::now() + PATIENCE;
        while !daemon.data.join("tenantry.sock").exists() {
            daemon.check_alive()?;
            if Instant::now() > until {
                return Err(daemon.gone("does not answer"));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(daemon)
    }

    /// Where its data lies.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Runs one command against it.
    ///
    /// # Errors
    /// When the command cannot be started.
    pub fn command(&self, args: &[&str], person: &str) -> Result<Answer, DemoError> {
        let output = Command::new(&self.program)
            .args(args)
            .arg("--data")
            .arg(&self.data)
            .args(["--as", person])
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .map_err(DemoError::read(&self.program))?;
        Ok(Answer {
            code: output.status.code().unwrap_or(-1),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// Runs one command that answers in JSON.
    ///
    /// # Errors
    /// When it cannot be started or answers something else.
    pub fn ask(&self, args: &[&str], person: &str) -> Result<Value, DemoError> {
        let args: Vec<&str> = args.iter().copied().chain(["--format", "json"]).collect();
        let answer = self.command(&args, person)?;
        serde_json::from_str(&answer.output).map_err(|_| DemoError::Command {
            command: args.join(" "),
            said: if answer.said.is_empty() { answer.output } else { answer.said },
        })
    }

    /// Waits until the daemon has looked at `commit` for each tenant of `touched` and nothing runs any more.
    ///
    /// # Errors
    /// When the daemon ends, or when it takes longer than anything here should.
    pub fn settle(&mut self, commit: &str, touched: &[&str]) -> Result<(), DemoError> {
        let until = Instant::now() + PATIENCE;
        loop {
            self.check_alive()?;
            // Before the first apply nobody is known yet, so nobody may look.
            match self.ask(&["status"], VIEWER) {
                Ok(status) => {
                    let looked_at = status["source"]["head"] == commit
                        && touched
                            .iter()
                            .all(|tenant| tenant_of(&status, tenant)["last_attempted_commit"] == commit);
                    if looked_at && self.runs()?.iter().all(|run| run["state"] == "ended") {
                        return Ok(());
                    }
                }
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => {}
            }
            if Instant::now() > until {
                return Err(self.gone("does not come to rest"));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Every run of every tenant, oldest first.
    ///
    /// # Errors
    /// As [`Daemon::ask`].
    pub fn runs(&self) -> Result<Vec<Value>, DemoError> {
        let mut runs = Vec::new();
        for (tenant, _) in THROWAWAY_IDENTITIES {
            let answer = self.ask(&["runs", tenant], VIEWER)?;
            runs.extend(answer["runs"].as_array().into_iter().flatten().cloned());
        }
        // Ids are made in order of time.
        runs.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
        Ok(runs)
    }

    /// Waits until somebody ends the demo or its daemon.
    pub fn wait(mut self) {
        while self.check_alive().is_ok() {
            std::thread::sleep(PAUSE);
        }
    }

    fn check_alive(&mut self) -> Result<(), DemoError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(DemoError::Interrupted);
        }
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(_) => Err(self.gone("has ended")),
        }
    }

    fn gone(&self, what: &'static str) -> DemoError {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(12)..].join("\n");
        DemoError::Daemon { what, log: self.log.clone(), last }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let (Ok(None), Ok(pid)) = (self.child.try_wait(), i32::try_from(self.child.id())) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
            let until = Instant::now() + GRACE;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
                std::thread::sleep(PAUSE);
            }
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Turns true on an interrupt or a request to end, so that no daemon is left behind.
fn watch_signals() -> Arc<AtomicBool> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            seen.store(true, Ordering::Relaxed);
        });
    });
    stop
}

/// The row of one tenant in a status document; null if it has none.
pub fn tenant_of<'a>(status: &'a Value, tenant: &str) -> &'a Value {
    status["tenants"]
        .as_array()
        .and_then(|rows| rows.iter().find(|row| row["tenant"] == tenant))
        .unwrap_or(&Value::Null)
}

/// Puts the published identities where a worker looks for them, closed to others as it demands.
fn write_identities(directory: &Path) -> Result<(), DemoError> {
    use std::io::Write;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(DemoError::write(directory))?;
    for (tenant, identity) in THROWAWAY_IDENTITIES {
        let path = directory.join(format!("{tenant}.txt"));
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(&path)
            .and_then(|mut file| file.write_all(identity.as_bytes()))
            .map_err(DemoError::write(&path))?;
    }
    Ok(())
}

/// What this machine lacks for a sandbox, each with its cure; empty if nothing.
///
/// # Errors
/// When the answer of `tenantry doctor` cannot be read.
pub fn missing_for_sandbox() -> Result<Vec<String>, DemoError> {
    let program = std::env::current_exe().map_err(DemoError::read(Path::new("/proc/self/exe")))?;
    let output = Command::new(&program)
        .args(["doctor", "--format", "json"])
        .stdin(Stdio::null())
        .output()
        .map_err(DemoError::read(&program))?;
    let document: Value = serde_json::from_slice(&output.stdout).map_err(|_| DemoError::Command {
        command: "doctor --format json".to_owned(),
        said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })?;
    let features = find(&document, "features").and_then(Value::as_array).cloned().unwrap_or_default();
    Ok(features
        .iter()
        .filter(|feature| feature["need"] == "required" && feature["state"] != "ok")
        // Limits of the whole tree are wished for here, not demanded: `--limits best-effort`.
        .filter(|feature| !feature["name"].as_str().is_some_and(|name| name.contains("limit")))
        .map(|feature| {
            let text = |key: &str| feature[key].as_str().unwrap_or_default().to_owned();
            format!("{}: {}\n      {}", text("name"), text("why"), text("cure"))
        })
        .collect())
}

/// The value of the first key of that name, at any depth.
fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(key).or_else(|| map.values().find_map(|value| find(value, key))),
        Value::Array(items) => items.iter().find_map(|item| find(item, key)),
        _ => None,
    }
}
