//! Packages of Python scripts, from a real lock to a running script: an index of the test's own on loopback, the real
//! uv in the sandbox, and a wheel that the test makes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tenantry::domain::Mode;
use tenantry::sandbox::{
    Egress, EgressLimits, Executor as _, LocalExecutor, Outward, Preparation, Program, Reach, SandboxError,
    Settings, StepSpec,
};

use super::egress::{PUBLIC, World};
use super::harness::{Seen, block_on, can_sandbox, file, run, settings, spec, tier_of_this_run};
use super::runtimes::Shelf;

/// Makes wheels and the pages of an index, as an index of its own would serve them.
pub const MAKE: &str = r#"
import base64, hashlib, os, sys, zipfile
root = sys.argv[1]
def wheel(name, version, files, requires=()):
    file = f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    files = dict(files)
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(f"Requires-Dist: {one}\n" for one in requires)
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    digest = lambda text: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    files[f"{info}/RECORD"] = "".join(f"{path},sha256={digest(text)},{len(text)}\n" for path, text in files.items()) + f"{info}/RECORD,,\n"
    os.makedirs(f"{root}/files", exist_ok=True); os.makedirs(f"{root}/simple/{name}", exist_ok=True)
    with zipfile.ZipFile(f"{root}/files/{file}", "w") as archive:
        for path, text in files.items(): archive.writestr(path, text)
    whole = hashlib.sha256(open(f"{root}/files/{file}", "rb").read()).hexdigest()
    with open(f"{root}/simple/{name}/index.html", "w") as page:
        page.write(f'<!DOCTYPE html><html><body><a href="../../files/{file}#sha256={whole}">{file}</a></body></html>')
wheel("tiny", "1.0", {"tiny/__init__.py": "from tinier import greet\n"}, ["tinier>=2"])
wheel("tinier", "2.0", {"tinier.py": "def greet(): return 'hello from a wheel'\n"})
"#;

/// A script, its lock, and the index that it was locked with.
struct Bench {
    directory: tempfile::TempDir,
    at: SocketAddr,
    _web: Web,
}

struct Web(Child);
impl Drop for Web {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

const SCRIPT: &str = "#!/usr/bin/env -S uv run --script\n# /// script\n# requires-python = \">=3.8\"\n# dependencies = [\"tiny>=1\"]\n# ///\n\
    import os, sys, tiny\nprint(tiny.greet(), sys.argv[1:], sys.prefix)\n";

fn tool(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|place| place.join(name))
        .find(|found| found.exists())
}

impl Bench {
    fn new() -> Option<Self> {
        if tool("uv").is_none() {
            println!("missing: uv");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let index = directory.path().join("index");
        assert!(Command::new("python3").args(["-c", MAKE]).arg(&index).status().unwrap().success());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let web = Command::new("python3")
            .args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string(), "--directory"])
            .arg(&index)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let web = Web(web);
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let at = SocketAddr::from(([127, 0, 0, 1], port));
        let bench = Self { directory, at, _web: web };
        std::fs::write(bench.path("x.py"), SCRIPT).unwrap();
        let locked = Command::new("uv")
            .args(["lock", "--quiet", "--no-config", "--no-python-downloads", "--default-index"])
            .arg(format!("http://127.0.0.1:{port}/simple"))
            .args(["--script", "x.py"])
            .current_dir(bench.directory.path())
            .env("HOME", bench.directory.path())
            .env("UV_CACHE_DIR", bench.path("cache"))
            .status()
            .unwrap();
        assert!(locked.success(), "uv lock");
        // To the lock the index is a public one; the test's network leads there.
        let lock = std::fs::read_to_string(bench.path("x.py.lock")).unwrap();
        let lock = lock.replace(&format!("127.0.0.1:{port}"), "index.example");
        std::fs::write(bench.path("x.py.lock"), lock).unwrap();
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn lock(&self) -> String {
        std::fs::read_to_string(self.path("x.py.lock")).unwrap()
    }

    fn world(&self) -> Arc<World> {
        Arc::new(World::default().named("index.example", &[PUBLIC]).place("93.184.216.34:80", self.at))
    }

    fn preparation(&self, tenant: &str, lock: &str) -> Preparation {
        Preparation {
            tenant: tenant.parse().unwrap(),
            runtime: None,
            script: file("scripts/x.py", Mode::Executable, SCRIPT),
            lock: file("scripts/x.py.lock", Mode::File, lock),
            indexes: vec!["http://index.example".to_owned()],
            reach: vec![Reach { host: "index.example:80".parse().unwrap(), private: false }],
        }
    }
}

async fn executor(packages: &Path, world: &Arc<World>) -> LocalExecutor {
    executor_with(settings(tier_of_this_run()), packages, world).await
}

async fn executor_with(settings: Settings, packages: &Path, world: &Arc<World>) -> LocalExecutor {
    let outward: Arc<dyn Outward> = Arc::<World>::clone(world);
    let settings = Settings { packages: Some(packages.to_owned()), ..settings };
    let executor = LocalExecutor::open(settings).await.unwrap();
    executor.with_egress(Egress::over(outward, Vec::new(), EgressLimits::default()))
}

/// Prepares the script's packages and runs it without a way out.
async fn play(executor: &LocalExecutor, preparation: Preparation) -> Result<Seen, SandboxError> {
    let packages = executor.prepare(preparation.clone()).await?;
    let step = StepSpec {
        tenant: preparation.tenant,
        runtime: preparation.runtime,
        program: Program::File("scripts/x.py".to_owned()),
        packages: Some(packages),
        args: vec!["one".to_owned()],
        files: vec![preparation.script, preparation.lock],
        ..spec("")
    };
    Ok(run(executor, step).await)
}

#[test]
fn a_script_gets_the_packages_of_its_lock_once_and_runs_offline() {
    let Some(bench) = Bench::new() else { return };
    block_on(async {
        let world = bench.world();
        let shelf = bench.path("shelf");
        let executor = executor(&shelf, &world).await;
        if !can_sandbox(&executor) {
            return;
        }
        let seen = play(&executor, bench.preparation("acme", &bench.lock())).await.unwrap();
        assert_eq!(seen.stdout, "hello from a wheel ['one'] /opt/tenantry/packages\n", "{seen:?}");
        let fetched = world.went().len();
        assert!(
            fetched >= 1 && world.went().iter().all(|place| place == "93.184.216.34:80"),
            "{:?}",
            world.went()
        );
        // The second time nothing is fetched, also by a worker that was started anew.
        play(&executor, bench.preparation("acme", &bench.lock())).await.unwrap();
        drop(executor);
        let executor = self::executor(&shelf, &world).await;
        let seen = play(&executor, bench.preparation("acme", &bench.lock())).await.unwrap();
        assert!(seen.stdout.starts_with("hello from a wheel"), "{seen:?}");
        assert_eq!(world.went().len(), fetched);
        // Another tenant has its own.
        play(&executor, bench.preparation("globex", &bench.lock())).await.unwrap();
        assert!(world.went().len() > fetched);
        assert_eq!(std::fs::read_dir(&shelf).unwrap().count(), 2);
    });
}

/// The interpreter that packages are prepared with is the one that runs them: the runtime's.
#[test]
fn a_script_in_a_runtime_gets_packages_for_its_python() {
    let (Some(bench), Some(shelf)) = (Bench::new(), Shelf::new(true)) else { return };
    block_on(async {
        let world = bench.world();
        let kept = bench.path("shelf");
        let executor = executor_with(shelf.settings(tier_of_this_run()), &kept, &world).await;
        if !can_sandbox(&executor) {
            return;
        }
        let mut preparation = bench.preparation("acme", &bench.lock());
        preparation.runtime = Some(shelf.digest.clone());
        let seen = play(&executor, preparation.clone()).await.unwrap();
        assert_eq!(seen.stdout, "hello from a wheel ['one'] /opt/tenantry/packages\n", "{seen:?}");
        let fetched = world.went().len();
        play(&executor, preparation.clone()).await.unwrap();
        assert_eq!(world.went().len(), fetched, "the second time nothing is fetched");
        play(&executor, bench.preparation("acme", &bench.lock())).await.unwrap();
        assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 2, "the machine's Python has its own");
        // A runtime without Python has none to prepare for.
        let bare = Shelf::new(false).unwrap();
        std::fs::rename(
            bare.directory.path().join(bare.digest.directory()),
            shelf.directory.path().join(bare.digest.directory()),
        )
        .unwrap();
        preparation.runtime = Some(bare.digest);
        let why = play(&executor, preparation).await.unwrap_err().to_string();
        assert!(why.contains("`python3` and `sh` in the runtime"), "{why}");
    });
}

#[test]
fn two_at_one_time_prepare_once() {
    let Some(bench) = Bench::new() else { return };
    block_on(async {
        let world = bench.world();
        let executor = executor(&bench.path("shelf"), &world).await;
        if !can_sandbox(&executor) {
            return;
        }
        let once = || executor.prepare(bench.preparation("acme", &bench.lock()));
        let (one, two, three) = tokio::join!(once(), once(), once());
        assert!(one.is_ok() && two.is_ok() && three.is_ok(), "{one:?} {two:?} {three:?}");
        let alone = world.went().len();
        executor.prepare(bench.preparation("globex", &bench.lock())).await.unwrap();
        assert_eq!(world.went().len(), alone * 2);
    });
}

/// What is locked is what is installed, or nothing is.
#[test]
fn a_file_that_is_not_the_locked_one_is_refused() {
    let Some(bench) = Bench::new() else { return };
    // The lock means another file than the index has.
    let lock = bench.lock();
    let hash = lock.split("tinier-2.0-py3-none-any.whl\", hash = \"sha256:").nth(1).unwrap()[..64].to_owned();
    let other = lock.replace(&hash, &"0".repeat(64));
    block_on(async {
        let executor = executor(&bench.path("shelf"), &bench.world()).await;
        if !can_sandbox(&executor) {
            return;
        }
        let error = play(&executor, bench.preparation("acme", &other)).await.unwrap_err().to_string();
        assert!(
            error.contains("its packages cannot be prepared") && error.contains("Hash mismatch"),
            "{error}"
        );
        assert_eq!(std::fs::read_dir(bench.path("shelf")).unwrap().count(), 0, "nothing half-made is left");
    });
}

#[test]
fn an_index_that_is_down_is_said_so() {
    let Some(bench) = Bench::new() else { return };
    block_on(async {
        let world = Arc::new(World::default().named("index.example", &["127.0.0.1"]));
        let executor = executor(&bench.path("shelf"), &world).await;
        if !can_sandbox(&executor) {
            return;
        }
        let error = play(&executor, bench.preparation("acme", &bench.lock())).await.unwrap_err().to_string();
        assert!(error.contains("index.example:80: denied: its address is the machine itself"), "{error}");
        assert!(world.went().is_empty());
    });
}

/// A step sees its own packages alone, and cannot change them.
#[test]
fn packages_are_nobody_elses_and_read_only() {
    let Some(bench) = Bench::new() else { return };
    block_on(async {
        let world = bench.world();
        let executor = executor(&bench.path("shelf"), &world).await;
        if !can_sandbox(&executor) {
            return;
        }
        for tenant in ["acme", "globex"] {
            executor.prepare(bench.preparation(tenant, &bench.lock())).await.unwrap();
        }
        let packages = executor.prepare(bench.preparation("acme", &bench.lock())).await.unwrap();
        let script = "cd /opt/tenantry/packages; ls | tr '\\n' ' '; for f in . bin lib lib/python3*/site-packages; do touch $f/x 2>/dev/null && echo REACHED; done
            chmod -R u+w . 2>/dev/null && echo REACHED; ls -d /packages /opt/tenantry/packages/../* 2>/dev/null | tr '\\n' ' '";
        let seen = run(&executor, StepSpec { packages: Some(packages), ..spec(script) }).await;
        assert_eq!(
            seen.stdout,
            "bin lib pyvenv.cfg /opt/tenantry/packages/../bin /opt/tenantry/packages/../lib /opt/tenantry/packages/../packages ",
            "{seen:?}"
        );
        let seen =
            run(&executor, spec("ls /opt/tenantry/packages | wc -l; ls /packages 2>&1 | grep -c 'No such'"))
                .await;
        assert_eq!(seen.stdout, "0\n1\n", "a step without packages has none: {seen:?}");
    });
}
