//! Root file systems by digest: what a step sees in one, what it does not, and which are refused.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tenantry::domain::{ByteSize, Mode, RuntimeDigest, Tier};
use tenantry::sandbox::{
    Executor as _, LocalExecutor, Program, RUNTIME_BYTES_MAX, RuntimeSource, SandboxError, SecretFile,
    Settings, StepSpec, add_runtime, runtime_digest,
};

use super::harness::{block_on, can_sandbox, file, program, run, settings, spec};

/// A root file system with the real busybox, which was linked whole, and where `python` says so the machine's Python with
/// its libraries and nothing else. `None` where busybox is missing, which it says.
pub fn root_file_system(python: bool) -> Option<tempfile::TempDir> {
    let Some(busybox) = tool("busybox") else {
        println!("missing: busybox-static");
        return None;
    };
    let tree = tempfile::Builder::new().prefix("runtime").tempdir_in("/var/tmp").unwrap();
    let script = r#"
set -eu
umask 022
cd "$1"
mkdir -p bin etc opt/tool usr/lib dev/old proc run tmp/old work
chmod 755 .
cp "$2" bin/busybox
for name in $(bin/busybox --list); do [ -e bin/$name ] || ln -s busybox bin/$name; done
echo 'NAME="Bench"' > etc/os-release
echo 'old:x:7:7::/:/bin/sh' > etc/passwd
echo '10.0.0.1 planted.example' > etc/hosts
echo /nowhere.so > etc/ld.so.preload
echo tool > opt/tool/file
echo old > dev/old/file
echo old > tmp/old/file
ln -s ../../opt/tool usr/lib/link
[ -z "$3" ] && exit 0
mkdir -p usr/bin usr/lib
echo 'old:x:7:' > etc/group
rm etc/ld.so.preload
program=$(readlink -f "$3")
cp "$program" usr/bin/python3
version=${program##*python}
cp -r --no-preserve=all /usr/lib/python$version usr/lib/
rm -rf usr/lib/python$version/test usr/lib/python$version/config-*
find usr -name __pycache__ -prune -exec rm -rf {} +
for found in $(ldd "$program" usr/lib/python$version/lib-dynload/*.so | grep -o '/[^ ]*\.so[^ ]*' | sort -u); do
    case $found in */lib-dynload/*) continue ;; esac
    mkdir -p ".$(dirname "$found")"
    cp -L "$found" ".$found"
done
"#;
    let python = if python { "/usr/bin/python3" } else { "" };
    let made = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(tree.path())
        .arg(busybox)
        .arg(python)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(tree)
}

fn tool(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|place| place.join(name))
        .find(|found| found.exists())
}

/// A directory of runtimes with one in it.
pub struct Shelf {
    pub directory: tempfile::TempDir,
    pub digest: RuntimeDigest,
}

impl Shelf {
    pub fn new(python: bool) -> Option<Self> {
        let tree = root_file_system(python)?;
        let directory = tempfile::Builder::new().prefix("shelf").tempdir_in("/var/tmp").unwrap();
        let digest =
            add_runtime(RuntimeSource::Directory(tree.path()), directory.path(), RUNTIME_BYTES_MAX).unwrap();
        Some(Self { directory, digest })
    }

    pub fn settings(&self, tier: Tier) -> Settings {
        Settings { runtimes: Some(self.directory.path().to_owned()), ..settings(tier) }
    }

    pub fn spec(&self, script: &str) -> StepSpec {
        StepSpec { runtime: Some(self.digest.clone()), ..spec(script) }
    }

    fn place(&self) -> PathBuf {
        self.directory.path().join(self.digest.directory())
    }
}

const TIERS: [Tier; 2] = [Tier::Sandbox, Tier::Bubblewrap];

#[test]
fn a_step_sees_the_runtime_and_nothing_of_the_machine() {
    let Some(shelf) = Shelf::new(false) else { return };
    block_on(async {
        for tier in TIERS {
            let executor = LocalExecutor::open(shelf.settings(tier)).await.unwrap();
            if !can_sandbox(&executor) {
                continue;
            }
            let see = async |script: &str| {
                let seen = run(&executor, shelf.spec(script)).await;
                assert_eq!(seen.ended.exit.code, Some(0), "{tier} {script}: {seen:?}");
                seen.stdout
            };
            assert_eq!(see("cat /etc/os-release").await, "NAME=\"Bench\"\n");
            assert_eq!(
                see("echo $(ls /)").await,
                match tier {
                    Tier::Bubblewrap => "bin dev etc opt proc repo run scratch tmp usr work\n",
                    _ => "bin dev etc opt proc repo run tmp usr work\n",
                }
            );
            assert_eq!(
                see("ls /usr /usr/lib; readlink /usr/lib/link; cat /usr/lib/link/file").await,
                "/usr:\nlib\n\n/usr/lib:\nlink\n../../opt/tool\ntool\n"
            );
            // What the sandbox has of its own is not what the runtime has.
            assert_eq!(
                see("ls /dev/old /tmp/old 2>/dev/null; ls /tmp; id -un; grep -c planted /etc/hosts || true")
                    .await,
                "step\n0\n"
            );
            assert_eq!(
                see("scripts/hello.sh you; echo x > /dev/null; cat $TENANTRY_INPUT; pwd").await,
                "hello you\n{\"day\":1}/repo\n"
            );
            assert_eq!(see("for d in / /bin /etc /opt /opt/tool /usr /opt/tenantry /opt/tenantry/host; do touch $d/x 2>/dev/null && echo $d; done; true").await, "");
            // The clients were made for the machine's libraries, of which the runtime has none.
            let seen =
                run(&executor, shelf.spec("tenantry-output greeting hello; command -v tenantry-secret"))
                    .await;
            assert_eq!(seen.ended.exit.code, Some(0), "{tier}: {seen:?}");
            assert_eq!(
                seen.ended.output,
                tenantry::sandbox::StepOutput::Bytes(b"{\"greeting\":\"hello\"}".to_vec()),
                "{tier}"
            );
            // Nothing of the runtime gets into programs of ours, one of which raises walls in the tier bubblewrap.
            assert_eq!(seen.stderr, "", "{tier}");
            assert_eq!(see("ls /etc/ld.so.preload 2>/dev/null; true").await, "", "{tier}");
            // Another interpreter than it has.
            let mut step = shelf.spec("print(1)");
            step.program =
                Program::Inline { interpreter: vec!["python3".to_owned()], text: "print(1)".to_owned() };
            let seen = run(&executor, step).await;
            assert_eq!(
                (seen.ended.exit.code, seen.stderr.as_str()),
                (Some(127), "tenantry: `python3` is not in this runtime\n")
            );
            // One without, on the same worker, sees the machine again.
            let seen = run(
                &executor,
                spec("grep -c Bench /etc/os-release; ls /bin/busybox.no 2>/dev/null; ls -d /usr/share"),
            )
            .await;
            assert_eq!(seen.stdout, "0\n/usr/share\n", "{tier}: {seen:?}");
        }
    });
}

#[test]
fn secrets_files_and_limits_are_those_of_every_sandbox() {
    let Some(shelf) = Shelf::new(false) else { return };
    block_on(async {
        for tier in TIERS {
            let executor = LocalExecutor::open(shelf.settings(tier)).await.unwrap();
            if !can_sandbox(&executor) {
                continue;
            }
            let mut step =
                shelf.spec("cat $TOKEN; dd if=/dev/zero of=/work/x bs=1M count=64 2>/dev/null; exit 3");
            step.secret_files = vec![SecretFile {
                variable: "TOKEN".to_owned(),
                content: std::sync::Arc::new(zeroize::Zeroizing::new(b"s3cret".to_vec())),
            }];
            let seen = run(&executor, super::harness::small(step)).await;
            assert_eq!(seen.stdout, "s3cret", "{tier}: {seen:?}");
            assert_eq!(seen.ended.exit.kind, tenantry::domain::ExitKind::DiskLimit, "{tier}: {seen:?}");
        }
    });
}

#[test]
fn the_machines_python_runs_in_a_runtime_with_its_libraries_alone() {
    let Some(shelf) = Shelf::new(true) else { return };
    block_on(async {
        for tier in TIERS {
            let executor = LocalExecutor::open(shelf.settings(tier)).await.unwrap();
            if !can_sandbox(&executor) {
                continue;
            }
            let text = "#!/usr/bin/env python3\nimport os, pwd, ssl, sys\nsys.path.insert(0, '/opt/tenantry/lib')\nimport tenantry\n\
                        print(sys.executable, pwd.getpwuid(os.getuid()).pw_name, open('/etc/hosts').read().count('planted'), os.path.exists('/usr/share'), sorted(os.listdir('/opt/tenantry/lib')))\n";
            let mut step = shelf.spec("");
            step.program = Program::File("a.py".to_owned());
            step.files = vec![file("a.py", Mode::Executable, text)];
            // busybox has `env` in `/bin` only, as the first line of a script that was written for this runtime would say.
            step.files[0].content = text.replace("/usr/bin/env", "/bin/env").as_bytes().into();
            let seen = run(&executor, step).await;
            assert!(
                seen.stdout.starts_with("/usr/bin/python3 step 0 False ['tenantry.js', "),
                "{tier}: {seen:?}"
            );
        }
    });
}

#[test]
fn what_is_not_here_or_not_what_it_says_is_refused() {
    let Some(shelf) = Shelf::new(false) else { return };
    block_on(async {
        for tier in TIERS {
            let executor = LocalExecutor::open(shelf.settings(tier)).await.unwrap();
            if !can_sandbox(&executor) {
                continue;
            }
            let refusal = async |step: StepSpec| match executor.start(step).await {
                Err(SandboxError::Refused(why)) => why,
                Err(other) => panic!("{other:?}"),
                Ok(_) => panic!("it was started"),
            };
            let mut step = shelf.spec("true");
            step.runtime = Some(RuntimeDigest::of([7; 32]));
            let why = refusal(step.clone()).await;
            assert!(why.contains("is not on this worker: `tenantry runtime add` puts it into"), "{why}");
            // A link is no runtime, wherever it leads.
            let link = shelf.directory.path().join(RuntimeDigest::of([7; 32]).directory());
            std::os::unix::fs::symlink(shelf.place(), &link).unwrap();
            assert!(refusal(step.clone()).await.contains("is not on this worker"));
            std::fs::remove_file(&link).unwrap();
            // Another's content under its name.
            std::fs::create_dir(&link).unwrap();
            std::fs::write(link.join("x"), "x").unwrap();
            let why = refusal(step.clone()).await;
            assert!(why.contains("is not what its name says, its digest is sha256:"), "{why}");
            std::fs::remove_dir_all(&link).unwrap();
            // Closed to the step's user.
            let closed = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(shelf.place(), closed).unwrap();
            let why = refusal(shelf.spec("true")).await;
            assert!(why.contains("give it the permissions 0755"), "{why}");
            std::fs::set_permissions(shelf.place(), std::fs::Permissions::from_mode(0o755)).unwrap();
            assert_eq!(run(&executor, shelf.spec("echo here")).await.stdout, "here\n");
            // Replaced while the worker lives: it is read again.
            let aside = shelf.directory.path().join("aside");
            std::fs::rename(shelf.place(), &aside).unwrap();
            std::fs::create_dir(shelf.place()).unwrap();
            assert!(refusal(shelf.spec("true")).await.contains("is not what its name says"));
            std::fs::remove_dir(shelf.place()).unwrap();
            std::fs::rename(&aside, shelf.place()).unwrap();
            assert_eq!(run(&executor, shelf.spec("echo here")).await.stdout, "here\n");
        }
        // Where there is no directory of runtimes, and where there are no walls.
        let executor = LocalExecutor::open(settings(Tier::Sandbox)).await.unwrap();
        if can_sandbox(&executor) {
            let Err(error) = executor.start(shelf.spec("true")).await else { panic!("it was started") };
            assert!(error.to_string().contains("name one with `--runtimes`"), "{error}");
        }
        let executor = LocalExecutor::open(shelf.settings(Tier::UnsafeNone)).await.unwrap();
        let Err(error) = executor.start(shelf.spec("true")).await else { panic!("it was started") };
        assert!(error.to_string().contains("`unsafe-none` has not"), "{error}");
        let nowhere = Settings { runtimes: Some("/nowhere/at/all".into()), ..settings(Tier::Sandbox) };
        let Err(error) = LocalExecutor::open(nowhere).await else { panic!("it was opened") };
        assert!(error.to_string().contains("`tenantry runtime add` makes it"), "{error}");
    });
}

/// Runs `tar` over a tree.
fn archive(tree: &Path, more: &[&str]) -> Vec<u8> {
    let made = Command::new("tar").args(["-c", "-C"]).arg(tree).args(more).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

fn add(archive: &[u8], shelf: &Path) -> Result<RuntimeDigest, String> {
    add_at_most(archive, shelf, RUNTIME_BYTES_MAX)
}

fn add_at_most(archive: &[u8], shelf: &Path, most: ByteSize) -> Result<RuntimeDigest, String> {
    let mut archive = archive;
    add_runtime(RuntimeSource::Archive(&mut archive), shelf, most).map_err(|error| error.to_string())
}

#[test]
fn what_is_too_large_is_refused_before_it_is_written() {
    let (tree, shelf) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let names = || std::fs::read_dir(shelf.path()).unwrap().count();
    // A terabyte of holes is an archive of some kilobytes.
    let holes = std::fs::File::create(tree.path().join("holes")).unwrap();
    holes.set_len(1 << 40).unwrap();
    let bomb = archive(tree.path(), &["--sparse", "holes"]);
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    let why = add(&bomb, shelf.path()).unwrap_err();
    assert!(why.contains("more than 16GiB together: `--max-size` allows more"), "{why}");
    holes.set_len(3 << 20).unwrap();
    let small = archive(tree.path(), &["--sparse", "holes"]);
    let most = |mib| add_at_most(&small, shelf.path(), ByteSize::from_mib(mib));
    assert!(most(2).is_err(), "the bound is the caller's");
    assert_eq!(names(), 0, "nothing is left");
    let most_of_a_tree = ByteSize::from_mib(2);
    let source = RuntimeSource::Directory(tree.path());
    let why = add_runtime(source, shelf.path(), most_of_a_tree).unwrap_err().to_string();
    assert!(why.contains(tree.path().to_str().unwrap()) && why.contains("more than 2MiB"), "{why}");
    most(3).unwrap();
    assert_eq!(names(), 1);
}

#[test]
fn a_tree_and_its_archive_are_one_runtime() {
    let tree = tempfile::tempdir().unwrap();
    let path = |name: &str| tree.path().join(name);
    std::fs::create_dir_all(path("usr/bin")).unwrap();
    std::fs::create_dir_all(path("etc/closed")).unwrap();
    std::fs::write(path("usr/bin/a"), "a").unwrap();
    std::fs::hard_link(path("usr/bin/a"), path("usr/bin/b")).unwrap();
    std::fs::write(path("etc/closed/file"), "x").unwrap();
    std::os::unix::fs::symlink("usr/bin", path("bin")).unwrap();
    std::os::unix::fs::symlink("/nowhere", path("etc/dangling")).unwrap();
    let mode = |name: &str, mode| {
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("usr/bin/a", 0o4755);
    mode("etc/closed", 0o555);
    let shelf = tempfile::tempdir().unwrap();
    let want = runtime_digest(tree.path()).unwrap();
    let names = || std::fs::read_dir(shelf.path()).unwrap().count();
    assert_eq!(add(&archive(tree.path(), &["."]), shelf.path()).unwrap(), want);
    // A program of the same name as one that the image had: links are followed inside alone.
    assert_eq!(add(&archive(tree.path(), &["etc", "usr", "bin"]), shelf.path()).unwrap(), want);
    assert_eq!(
        add_runtime(RuntimeSource::Directory(tree.path()), shelf.path(), RUNTIME_BYTES_MAX).unwrap(),
        want
    );
    assert_eq!(names(), 1, "nothing is left beside it");
    let added = shelf.path().join(want.directory());
    assert_eq!(std::fs::metadata(added.join("usr/bin/b")).unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(runtime_digest(&added).unwrap(), want);
    mode("etc/closed", 0o755);
}

#[test]
fn archives_that_reach_out_or_hold_devices_leave_nothing() {
    let shelf = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let tree = tempfile::tempdir().unwrap();
    std::fs::write(tree.path().join("x"), "x").unwrap();
    let link = tree.path().join("out");
    std::os::unix::fs::symlink(outside.path(), &link).unwrap();
    // First the link, then a file, and a directory, behind it.
    let mut reaching = archive(tree.path(), &["out"]);
    let end = reaching.len() - reaching.iter().rev().take_while(|byte| **byte == 0).count();
    reaching.truncate(end.next_multiple_of(512));
    for more in ["--transform=s,^x,out/x,", "--transform=s,^x,out/deep/x,"] {
        let both = [reaching.clone(), archive(tree.path(), &[more, "x"])].concat();
        assert!(add(&both, shelf.path()).is_err(), "{more}");
    }
    std::fs::create_dir(tree.path().join("d")).unwrap();
    let both = [reaching, archive(tree.path(), &["--transform=s,^d,out/d,", "d"])].concat();
    assert!(add(&both, shelf.path()).is_err());
    let climbing = archive(tree.path(), &["-P", "--transform=s,^x,../x,", "x"]);
    assert!(add(&climbing, shelf.path()).is_err());
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);

    Command::new("mkfifo").arg(tree.path().join("pipe")).status().unwrap();
    let why = add(&archive(tree.path(), &["pipe"]), shelf.path()).unwrap_err();
    assert!(why.contains("`pipe` is a device or a pipe"), "{why}");
    assert!(runtime_digest(tree.path()).unwrap_err().to_string().contains("is a device or a pipe"));
    let why = add(&[0x1f, 0x8b, 8, 0], shelf.path()).unwrap_err();
    assert!(why.contains("gunzip"), "{why}");
    for broken in [&b""[..], b"x", b"not an archive at all, and no header either"] {
        assert!(add(broken, shelf.path()).is_err(), "{broken:?}");
    }
    assert_eq!(add(&[b'x'; 2048], shelf.path()).unwrap_err(), "`the archive` is no tar archive");
    let mut half = archive(tree.path(), &["x"]);
    half[1024..1536].fill(b'\n');
    assert_eq!(add(&half, shelf.path()).unwrap_err(), "`the archive` is broken behind its entry 1");
    let mut cut = archive(tree.path(), &["x"]);
    cut.truncate(600);
    assert!(add(&cut, shelf.path()).is_err());
    // What was unpacked before the end is removed too, also from directories that are closed for writing.
    std::fs::create_dir(tree.path().join("closed")).unwrap();
    std::fs::write(tree.path().join("closed/x"), "x").unwrap();
    std::fs::set_permissions(tree.path().join("closed"), std::fs::Permissions::from_mode(0o555)).unwrap();
    assert!(add(&archive(tree.path(), &["closed", "pipe"]), shelf.path()).is_err());
    std::fs::set_permissions(tree.path().join("closed"), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(std::fs::read_dir(shelf.path()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn the_command_adds_lists_and_finds_what_was_changed() {
    let Some(tree) = root_file_system(false) else { return };
    let shelf = tempfile::tempdir().unwrap();
    let shelf = shelf.path();
    let runtime = |args: &[&str]| {
        let output = Command::new(program()).arg("runtime").args(args).arg("--runtimes").arg(shelf).output();
        let output = output.unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, out, err) = runtime(&["list"]);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    assert!(err.contains("`tenantry runtime add` puts one there"), "{err}");
    let (code, out, err) = runtime(&["add", tree.path().to_str().unwrap()]);
    assert_eq!(code, Some(0), "{err}");
    let digest: RuntimeDigest = out.trim().parse().unwrap();
    assert_eq!(err, format!("in a workflow: `runtime: {digest}`\n"));
    let (code, out, _) = runtime(&["list"]);
    assert_eq!((code, out), (Some(0), format!("{digest}  ok\n")));
    // A machine that serves has both variables set: the directory that is named for runtimes counts, as for `serve`.
    let both = [("TENANTRY_DATA", Path::new("/nowhere")), ("TENANTRY_RUNTIMES", shelf)];
    let listed = Command::new(program()).args(["runtime", "list"]).envs(both).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&listed.stdout), format!("{digest}  ok\n"), "{listed:?}");
    std::fs::write(shelf.join(digest.directory()).join("etc/os-release"), "NAME=\"Other\"\n").unwrap();
    let (code, out, _) = runtime(&["list", "--format", "json"]);
    assert_eq!(code, Some(1));
    let out: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(out["runtimes"][0]["problem"].as_str().unwrap().starts_with("it is sha256:"), "{out}");
}
