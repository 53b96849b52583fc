//! What secrets cost, as ratios to real `sops`, `age`, `cat` and a durable commit on the same machine in the same minute.
//!
//! `cargo bench --bench secrets -- process open broker policy redaction` measures some parts only. `sops` and `age` have
//! to be in the search path for the first.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark, not a room"
)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantry::domain::SecretName;
use tenantry::record::{Patterns, Redactor};
use tenantry::sops::{self, Plaintext};

mod support;
use support::{Daemon, Durable, TENANTRY_TOML, git, head, median, repeat, row, shown, write};

/// Secrets of the policy check: so many tenants, so many each.
const FLEET: (usize, usize) = (10, 100);
/// Bytes that are redacted.
const OUTPUT_BYTES: usize = 256 << 20;
/// Secrets whose forms are looked for meanwhile.
const VALUES: usize = 50;
/// Requests of the broker's round trip.
const REQUESTS: usize = 200;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let want = |part: &str| wanted.is_empty() || wanted.iter().any(|one| one == part);
    let home = tempfile::tempdir().unwrap();
    let place = Place::new(home.path());
    head();
    if want("process") {
        place.process();
    }
    if want("open") {
        place.open();
    }
    if want("broker") {
        place.broker();
    }
    if want("policy") {
        policy(home.path());
    }
    if want("redaction") {
        redaction(home.path());
    }
}

/// A repository with one tenant that has one secret, and its data directory.
struct Place {
    repo: PathBuf,
    data: PathBuf,
    file: PathBuf,
    identity: PathBuf,
}

/// Measures itself: the median of many requests, in nanoseconds, as a line of its log.
const ASKING: &str = "#!/usr/bin/env python3
import sys, time
sys.path.insert(0, '/opt/tenantry/lib')
import tenantry
tenantry.secret('token')
times = []
for _ in range(@REQUESTS@):
    start = time.perf_counter_ns()
    tenantry.secret('token')
    times.append(time.perf_counter_ns() - start)
times.sort()
print('median_ns', times[len(times) // 2])
";

impl Place {
    fn new(home: &Path) -> Self {
        let (repo, data) = (home.join("one"), home.join("one-data"));
        std::fs::create_dir_all(&repo).unwrap();
        std::fs::create_dir_all(&data).unwrap();
        git(&repo, &["init", "--quiet"]);
        git(&repo, &["symbolic-ref", "HEAD", "refs/heads/main"]);
        found_tenants(&repo, &data, 1);
        secrets(&repo, &["set", "tenant-0/token"], "correct-horse-battery-staple");
        write(&repo, "tenants/tenant-0/scripts/ask.py", &ASKING.replace("@REQUESTS@", &REQUESTS.to_string()));
        write(
            &repo,
            "tenants/tenant-0/workflows/ask.yaml",
            "files: [scripts/ask.py]\nrun: scripts/ask.py\nsecrets: [token]\n",
        );
        git(&repo, &["add", "--all"]);
        git(&repo, &["commit", "--quiet", "--message", "one secret"]);
        let file = repo.join("tenants/tenant-0/secrets/token.v1.sops.yaml");
        let identity = data.join("identities/tenant-0.txt");
        Self { repo, data, file, identity }
    }

    /// A process that decrypts a small file, its time and its largest memory.
    fn process(&self) {
        let sealed = self.file.with_extension("age");
        let recipient = std::fs::read_to_string(&self.identity).unwrap();
        let recipient =
            recipient.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
        let mut child = Command::new("age")
            .args(["-r", &recipient, "-o"])
            .arg(&sealed)
            .stdin(Stdio::piped())
            .spawn()
            .expect("`age` in the search path");
        child.stdin.take().unwrap().write_all(b"correct-horse-battery-staple").unwrap();
        assert!(child.wait().unwrap().success());
        let tenantry = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tenantry"));
            command.args(["secrets", "decrypt"]).arg(&self.file);
            command
        };
        let theirs = || {
            let mut command = Command::new("sops");
            command.arg("-d").arg(&self.file);
            command
        };
        let bare = || {
            let mut command = Command::new("age");
            command.args(["-d", "-i"]).arg(&self.identity).arg(&sealed);
            command
        };
        let (mut ours, mut sops, mut age) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..21 {
            ours.push(self.once(tenantry()));
            sops.push(self.once(theirs()));
            age.push(self.once(bare()));
        }
        let time = |all: &[(Duration, u64)]| median(all.iter().map(|(time, _)| *time).collect());
        let memory = |all: &[(Duration, u64)]| {
            let mut all: Vec<u64> = all.iter().map(|(_, bytes)| *bytes).collect();
            all.sort_unstable();
            all[all.len() / 2]
        };
        row("decrypt a small file, as a process", time(&ours), "`sops -d`", time(&sops));
        row("the same", time(&ours), "`age -d`", time(&age));
        for (against, theirs) in [("`sops -d`", memory(&sops)), ("`age -d`", memory(&age))] {
            let (ours, mib) = (memory(&ours), |bytes: u64| bytes as f64 / f64::from(1 << 20));
            let ratio = ours as f64 / theirs as f64;
            println!(
                "| its memory at most | {:.1} MiB | {against} | {:.1} MiB | {ratio:.2} |",
                mib(ours),
                mib(theirs)
            );
        }
    }

    /// Time and largest memory of one command.
    #[expect(unsafe_code, reason = "no library gives what `wait4` tells of one child")]
    #[expect(clippy::zombie_processes, reason = "`wait4` below is the wait")]
    fn once(&self, mut command: Command) -> (Duration, u64) {
        command.env("SOPS_AGE_KEY_FILE", &self.identity).stdout(Stdio::null());
        let start = Instant::now();
        let child = command.spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let mut status = 0;
        // SAFETY: a structure of numbers, for which zeros are a value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both point to places of their own; the child is ours and waited for once.
        let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
        let took = start.elapsed();
        assert!(waited == pid && status == 0, "{command:?}");
        (took, u64::try_from(usage.ru_maxrss).unwrap() * 1024)
    }

    /// In this process: the data key and one value, against the data key alone by the `age` crate.
    fn open(&self) {
        let bytes = std::fs::read(&self.file).unwrap();
        let text = std::fs::read_to_string(&self.identity).unwrap();
        let identities = sops::parse_identities(&text).unwrap();
        let (name, version) = ("token".parse().unwrap(), "v1".parse().unwrap());
        let ours = repeat(501, || {
            let value = sops::open(&bytes, &identities).unwrap().into_secret(&name, &version).unwrap();
            assert_eq!(value.len(), 28);
        });
        let key = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY")).unwrap();
        let key: age::x25519::Identity = key.parse().unwrap();
        let sealed = age::encrypt(&key.to_public(), &[7; 32]).unwrap();
        let theirs = repeat(501, || assert_eq!(age::decrypt(&key, &sealed).unwrap().len(), 32));
        row("data key and one value, in process", ours, "`age` crate, 32 bytes", theirs);
    }

    /// From a script to the broker and back, both audit records included.
    fn broker(&self) {
        let daemon = Daemon::start(&self.repo, &self.data, 2);
        daemon.applied(1);
        let mut durable = Durable::new(&self.data);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let run = Command::new(env!("CARGO_BIN_EXE_tenantry"))
                .args(["start", "tenant-0/ask", "--as", "alice", "--data"])
                .arg(&self.data)
                .output()
                .unwrap();
            let run =
                String::from_utf8_lossy(&run.stdout).lines().next().unwrap_or_default().trim().to_owned();
            let until = Instant::now() + Duration::from_secs(60);
            let nanoseconds = loop {
                let logs = Command::new(env!("CARGO_BIN_EXE_tenantry"))
                    .args(["logs", &run, "--as", "alice", "--data"])
                    .arg(&self.data)
                    .output()
                    .unwrap();
                let logs = String::from_utf8_lossy(&logs.stdout).into_owned();
                let said = logs.split("median_ns ").nth(1).and_then(|rest| rest.split_whitespace().next());
                if let Some(time) = said.and_then(|text| text.parse().ok()) {
                    break time;
                }
                assert!(Instant::now() < until, "{logs} {}", daemon.log());
                std::thread::sleep(Duration::from_millis(50));
            };
            ours.push(Duration::from_nanos(nanoseconds));
            theirs.push(2 * repeat(41, || durable.commit()));
        }
        let (ours, theirs) = (median(ours), median(theirs));
        row("a secret from the broker, with both audit records", ours, "two durable commits", theirs);
        row("the same", ours, "two durable commits + 1 ms", theirs + Duration::from_millis(1));
    }
}

fn found_tenants(repo: &Path, data: &Path, tenants: usize) {
    write(repo, "tenantry.toml", TENANTRY_TOML);
    write(repo, "platform/people.yaml", "users:\n  alice: { name: Alice }\n");
    write(repo, "platform/roles.yaml", "admin: [alice]\n");
    for tenant in 0..tenants {
        write(repo, &format!("tenants/tenant-{tenant}/tenant.yaml"), "owner: alice\n");
        write(repo, &format!("tenants/tenant-{tenant}/roles.yaml"), "operator: [alice]\n");
        secrets(repo, &["init", &format!("tenant-{tenant}"), "--data", &data.display().to_string()], "");
    }
}

fn secrets(repo: &Path, args: &[&str], input: &str) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tenantry"))
        .arg("secrets")
        .args(args)
        .current_dir(repo)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{args:?}");
}

/// All rules over a work tree with many encrypted files.
fn policy(home: &Path) {
    let (tenants, each) = FLEET;
    let (repo, data) = (home.join("fleet"), home.join("fleet-data"));
    std::fs::create_dir_all(&repo).unwrap();
    found_tenants(&repo, &data, tenants);
    let mut values = String::new();
    for number in 0..each {
        writeln!(values, "SECRET_{number}=correct-horse-battery-{number}").unwrap();
    }
    let dotenv = home.join("values.env");
    std::fs::write(&dotenv, values).unwrap();
    for tenant in 0..tenants {
        let tenant = format!("tenant-{tenant}");
        secrets(&repo, &["import", &tenant, &dotenv.display().to_string(), "--input-type", "dotenv"], "");
    }
    let ours = repeat(5, || {
        let done = Command::new(env!("CARGO_BIN_EXE_tenantry")).arg("validate").current_dir(&repo).output();
        let done = done.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    });
    let label = format!("validate {} encrypted files", tenants * each);
    row(&label, ours, "one second", Duration::from_secs(1));
}

/// A log of ordinary lines, in which now and then a value stands, through the forms of many secrets.
fn redaction(home: &Path) {
    let mut seed = 7_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/+";
    let values: Vec<(SecretName, Plaintext)> = (0..VALUES)
        .map(|number| {
            let bytes = (0..40).map(|_| digits[random() % digits.len()]).collect();
            (format!("secret-{number}").parse().unwrap(), Plaintext::new(bytes))
        })
        .collect();
    let mut log = Vec::with_capacity(OUTPUT_BYTES + 256);
    let mut line = 0;
    while log.len() < OUTPUT_BYTES {
        line += 1;
        writeln!(
            log,
            "2026-11-26T10:{:02}:{:02}Z INFO request id={line} path=/api/v1/items/{} took={} ms",
            line / 60 % 60,
            line % 60,
            line * 7919 % 10_007,
            line % 97
        )
        .unwrap();
        if line % 10_000 == 0 {
            log.extend_from_slice(values[line / 10_000 % VALUES].1.expose());
        }
    }
    let made = repeat(21, || drop(Patterns::new(values.iter().map(|(name, value)| (name.clone(), value)))));
    let patterns = Arc::new(Patterns::new(values.iter().map(|(name, value)| (name.clone(), value))).unwrap());
    let ours = repeat(3, || {
        let mut redactor = Redactor::over(Arc::clone(&patterns));
        let mut bytes = 0;
        for chunk in log.chunks(16 << 10) {
            bytes += redactor.push(chunk).len();
        }
        bytes += redactor.finish().len();
        assert_ne!(bytes, log.len(), "values were taken out");
    });
    let file = home.join("log");
    std::fs::write(&file, &log).unwrap();
    let theirs = repeat(3, || {
        let pipe = Command::new("sh").args(["-c", "cat \"$0\" | cat >/dev/null"]).arg(&file).status();
        assert!(pipe.unwrap().success());
    });
    let rate = OUTPUT_BYTES as f64 / f64::from(1 << 20) / ours.as_secs_f64();
    row(
        &format!("redact 256 MiB, {VALUES} secrets in all forms ({rate:.0} MiB/s)"),
        ours,
        "`cat | cat`",
        theirs,
    );
    println!("| making the forms of {VALUES} secrets | {} | | | |", shown(made));
}
