//! Runs one script in one tier and gives everything that can be seen of it from outside.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tenantry::domain::{ByteSize, Mode, Tier};
use tenantry::sandbox::{
    Ended, Executor, Limits, LimitsPolicy, LocalExecutor, Program, Settings, Started, StepFile, StepSpec,
};
use tokio::io::AsyncReadExt;

use super::runtimes::Shelf;

/// What a script did.
#[derive(Debug)]
pub struct Seen {
    pub ended: Ended,
    pub stdout: String,
    pub stderr: String,
}

/// The real program, which is its own helper.
pub fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_tenantry"))
}

/// Settings under a name that nobody else uses.
pub fn settings(tier: Tier) -> Settings {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Settings {
        program: program(),
        instance: format!("test-{}-{count}", std::process::id()),
        tier,
        limits: LimitsPolicy::BestEffort,
        unsandboxed: ["acme", "globex"].map(|tenant| tenant.parse().unwrap()).into(),
        packages: None,
        runtimes: None,
    }
}

pub fn spec(script: &str) -> StepSpec {
    StepSpec {
        name: "attempt".to_owned(),
        tenant: "acme".parse().unwrap(),
        program: Program::Inline { interpreter: vec!["sh".to_owned()], text: script.to_owned() },
        runtime: None,
        packages: None,
        args: Vec::new(),
        environment: BTreeMap::from([("LANG".to_owned(), "C.UTF-8".to_owned())]),
        files: vec![file("scripts/hello.sh", Mode::Executable, "#!/bin/sh\necho hello \"$@\"\n")],
        input: b"{\"day\":1}".to_vec(),
        reach: Vec::new(),
        secret_files: Vec::new(),
        limits: Limits { timeout: Duration::from_secs(60), ..Limits::default() },
    }
}

pub fn file(path: &str, mode: Mode, content: &str) -> StepFile {
    StepFile { path: path.to_owned(), mode, content: Arc::from(content.as_bytes()) }
}

/// A smaller share for scripts that use up what they get.
pub fn small(mut spec: StepSpec) -> StepSpec {
    spec.limits.resources.memory = ByteSize::from_mib(64);
    spec.limits.resources.disk = ByteSize::from_mib(8);
    spec.limits.resources.pids = 24;
    spec.limits.inodes = 200;
    spec
}

/// The tier of suites that run once for each: `sandbox`, or what `TENANTRY_TEST_TIER` says.
pub fn tier_of_this_run() -> Tier {
    let named = std::env::var("TENANTRY_TEST_TIER");
    named.map_or(Tier::Sandbox, |name| {
        Tier::ALL.into_iter().find(|tier| tier.as_str() == name).expect("a tier's name")
    })
}

pub async fn open(tier: Tier) -> LocalExecutor {
    LocalExecutor::open(settings(tier)).await.unwrap()
}

/// Waits for a started attempt and reads what it writes, up to a megabyte each.
pub async fn finish(started: Started) -> Seen {
    let Started { mut step, stdout, stderr, broker, .. } = started;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (mut stdout, mut stderr) = (stdout.take(1 << 20), stderr.take(1 << 20));
    let all = async { tokio::join!(step.wait(), stdout.read_to_end(&mut out), stderr.read_to_end(&mut err)) };
    let ended = tokio::time::timeout(Duration::from_secs(60), all).await.expect("a step that never ends").0;
    drop(broker);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Seen { ended, stdout: text(out), stderr: text(err) }
}

pub async fn run(executor: &LocalExecutor, spec: StepSpec) -> Seen {
    finish(executor.start(spec).await.unwrap()).await
}

/// Runs a future on a runtime of its own.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Whether this machine lets this user have a sandbox; says so where it does not.
pub fn can_sandbox(executor: &LocalExecutor) -> bool {
    let refusal = executor.capabilities().refusal();
    if let Some(refusal) = &refusal {
        println!("missing: what steps need ({refusal})");
    }
    refusal.is_none()
}

/// What the machine has outside the sandbox for a script to look for.
pub struct Outside {
    runtime: tokio::runtime::Runtime,
    sandbox: LocalExecutor,
    bubblewrap: LocalExecutor,
    none: LocalExecutor,
    /// A root file system with busybox and Python; none where busybox is missing.
    shelf: Option<Shelf>,
    directory: tempfile::TempDir,
    port: u16,
    abstract_name: String,
    sleeper: std::process::Child,
}

/// The one of this test process: executors of every tier, things of the host, and listeners that greet.
pub fn outside() -> &'static Outside {
    use std::io::Write;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    static OUTSIDE: std::sync::OnceLock<Outside> = std::sync::OnceLock::new();
    OUTSIDE.get_or_init(|| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let directory = tempfile::Builder::new().prefix("outside").tempdir_in("/var/tmp").unwrap();
        std::fs::write(directory.path().join("file"), "REACHED\n").unwrap();
        let shelf = Shelf::new(true);
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let number = port.local_addr().unwrap().port();
        std::thread::spawn(move || {
            port.incoming().flatten().for_each(|mut one| drop(one.write_all(b"REACHED\n")))
        });
        let abstract_name = format!("tenantry-test-{}", std::process::id());
        let named = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        for unix in [
            UnixListener::bind_addr(&named).unwrap(),
            UnixListener::bind(directory.path().join("socket")).unwrap(),
        ] {
            std::thread::spawn(move || {
                unix.incoming().flatten().for_each(|mut one| drop(one.write_all(b"REACHED\n")))
            });
        }
        // Lives as long as this test process, and takes the directory away after it.
        let sleeper = std::process::Command::new("sh")
            .args(["-c", "read line; rm -rf \"$@\"", "sh"])
            .arg(directory.path())
            .args(shelf.iter().map(|shelf| shelf.directory.path()))
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // A descriptor that a careless daemon might hand on: it is not closed on exec.
        let leaked = rustix::fs::open(directory.path().join("file"), rustix::fs::OFlags::RDONLY, 0.into());
        std::mem::forget(leaked);
        let open = async |tier| {
            let settings = shelf.as_ref().map_or_else(|| settings(tier), |shelf| shelf.settings(tier));
            LocalExecutor::open(settings).await.unwrap()
        };
        let (sandbox, bubblewrap, none) = runtime.block_on(async {
            (open(Tier::Sandbox).await, open(Tier::Bubblewrap).await, open(Tier::UnsafeNone).await)
        });
        Outside { runtime, sandbox, bubblewrap, none, shelf, directory, port: number, abstract_name, sleeper }
    })
}

impl Outside {
    /// Where the host keeps what no step should see.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }
    /// Runs a script that prints `REACHED` where it got what it wanted; `None` where the tier, or with `in_runtime` a root
    /// file system of its own, is not to be had.
    pub fn attack(&self, tier: Tier, in_runtime: bool, interpreter: &str, script: &str) -> Option<Seen> {
        let executor = match tier {
            Tier::Sandbox => &self.sandbox,
            Tier::Bubblewrap => &self.bubblewrap,
            Tier::UnsafeNone => &self.none,
        };
        if !can_sandbox(executor) {
            return None;
        }
        let script = script
            .replace("@DIR@", &self.directory.path().display().to_string())
            .replace("@PORT@", &self.port.to_string())
            .replace("@ABSTRACT@", &self.abstract_name)
            .replace("@SLEEPER@", &self.sleeper.id().to_string())
            .replace("@DAEMON@", &std::process::id().to_string());
        let mut attempt = small(spec(&script));
        if let Program::Inline { interpreter: reader, .. } = &mut attempt.program {
            *reader = vec![interpreter.to_owned()];
        }
        if in_runtime {
            attempt.runtime = Some(self.shelf.as_ref()?.digest.clone());
        }
        Some(self.runtime.block_on(run(executor, attempt)))
    }
}
