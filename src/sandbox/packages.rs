//! Packages of Python scripts: prepared once in a sandbox that reaches their index alone, kept, and shown read-only.
//!
//! What a preparation gives is a stream of files, which this room unpacks into a directory of its own: no program that
//! a tenant chose writes outside its sandbox. The environment around the files (an interpreter's link and its
//! settings) is written here. A directory is complete or not there; which one a script gets is said by a digest of all
//! that decides about it.
#![expect(clippy::disallowed_methods, reason = "this is the adapter to the directory of prepared packages")]

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::places::INSTALLER;
use super::{Executor, Limits, LocalExecutor, Program, Reach, SandboxError, Started, StepFile, StepSpec};
use crate::domain::{ByteSize, ExitKind, Mode, Resources, RuntimeDigest, TenantId};

/// Environments that are kept; the one that was used longest ago goes first.
const KEPT_MAX: usize = 64;
/// Bytes of one environment.
const BYTES_MAX: u64 = 512 << 20;
/// Files and directories of one.
const FILES_MAX: u64 = 50_000;
/// Bytes that are kept of what the installer says.
const SAID_BYTES_MAX: u64 = 4 << 10;
/// The time of one preparation.
const TIMEOUT: Duration = Duration::from_secs(300);

/// What is to be prepared.
#[derive(Clone, Debug)]
pub struct Preparation {
    /// Whose: nothing that is prepared for one tenant is shown to another.
    pub tenant: TenantId,
    /// The root file system that the script runs in, and that its interpreter is of.
    pub runtime: Option<RuntimeDigest>,
    /// The script with its metadata.
    pub script: StepFile,
    /// The lock, which lies beside the script.
    pub lock: StepFile,
    /// Where packages may come from, as the platform says.
    pub indexes: Vec<String>,
    /// The hosts of the lock's files, which are all that the preparation reaches.
    pub reach: Vec<Reach>,
}

/// Prepared packages; they stay while this is held.
#[derive(Clone, Debug)]
pub struct Packages(Arc<String>);

impl Packages {
    /// The name of their directory.
    pub(super) fn key(&self) -> &str {
        &self.0
    }
}

/// Where prepared packages are kept.
pub(super) struct Shelf {
    root: PathBuf,
    held: Mutex<BTreeMap<String, Weak<String>>>,
    /// One preparation of a kind at a time: who comes second finds what the first one made.
    making: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// The interpreter of this machine under `None`, and that of each runtime.
    interpreters: Mutex<BTreeMap<Option<RuntimeDigest>, Arc<tokio::sync::OnceCell<Interpreter>>>>,
}

/// The interpreter of this machine, as a step sees it.
struct Interpreter {
    /// The program itself, behind all links.
    program: PathBuf,
    /// `3.11`
    version: String,
    /// Everything that it, and the installer, say about themselves.
    described: String,
}

/// Asks the interpreter who it is.
const ASK: &str = "import os, sys, sysconfig; print(os.path.realpath(sys.executable)); \
                   print('%d.%d' % sys.version_info[:2]); print(sys.version.replace('\\n', ' '), sysconfig.get_platform(), os.uname().machine)";

/// Installs what the lock says, by its hashes and without running any of it, and gives the files.
const INSTALL: &str = r#"set -eu
export UV_CACHE_DIR=/work/cache UV_NO_CONFIG=1 UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 UV_SYSTEM_CERTS=1 NO_COLOR=1
trusted=/opt/tenantry/host/certificates.pem
if [ -e "$trusted" ]; then export SSL_CERT_FILE="$trusted"; fi
python=$(python3 -I -c 'import os, sys; print(os.path.realpath(sys.executable))')
"$installer" venv --quiet --python "$python" /work/env >&2
VIRTUAL_ENV=/work/env "$installer" sync --quiet --active --frozen --no-build --script "$1" >&2
cd /work/env/lib/python3*/site-packages
rm -f _virtualenv.py _virtualenv.pth
exec "$python" -I -S -c '
import sys, tarfile
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", dereference=True, format=tarfile.GNU_FORMAT) as files:
    files.add(".")
'
"#;

impl Shelf {
    /// Opens the directory, which may have to be made, and clears away what an earlier process left unfinished.
    pub(super) fn open(root: PathBuf) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&root)?;
        for entry in std::fs::read_dir(&root)?.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                remove(&entry.path())?;
            }
        }
        Ok(Self { root, held: Mutex::default(), making: Mutex::default(), interpreters: Mutex::default() })
    }

    /// Finds the packages of a script, or makes them.
    pub(super) async fn prepare(
        &self,
        executor: &LocalExecutor,
        what: Preparation,
    ) -> Result<Packages, SandboxError> {
        let known = {
            let mut interpreters = self.interpreters.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(interpreters.entry(what.runtime.clone()).or_default())
        };
        let interpreter = known.get_or_try_init(|| ask(executor, &what)).await?;
        let key = key(&what, interpreter);
        let turn = {
            let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
            making.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(making.entry(key.clone()).or_default())
        };
        let _turn = turn.lock().await;
        let packages = self.hold(&key);
        let place = self.root.join(&key);
        if place.is_dir() {
            // Its time says when it was used last.
            drop(
                std::fs::File::open(&place)
                    .and_then(|place| place.set_modified(std::time::SystemTime::now())),
            );
            return Ok(packages);
        }
        self.make_room();
        let files = self.install(executor, &what, &key).await?;
        let unfinished = self.root.join(format!(".{key}"));
        let (program, version) = (interpreter.program.clone(), interpreter.version.clone());
        let done = tokio::task::spawn_blocking(move || {
            let made = unpack(files.path(), &unfinished, &program, &version)
                .and_then(|()| std::fs::rename(&unfinished, &place));
            if made.is_err() {
                drop(remove(&unfinished));
            }
            made
        });
        done.await
            .map_err(|error| SandboxError::Spec(error.to_string()))?
            .map_err(|error| SandboxError::Spec(format!("its packages cannot be unpacked: {error}")))?;
        Ok(packages)
    }

    fn hold(&self, key: &str) -> Packages {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, packages| packages.strong_count() > 0);
        let known = held.get(key).and_then(Weak::upgrade);
        Packages(known.unwrap_or_else(|| {
            let fresh = Arc::new(key.to_owned());
            held.insert(key.to_owned(), Arc::downgrade(&fresh));
            fresh
        }))
    }

    /// Removes what nobody holds and was not used for the longest time, until there is room for one more.
    fn make_room(&self) {
        let Ok(entries) = std::fs::read_dir(&self.root) else { return };
        let mut kept: Vec<(i64, PathBuf, String)> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok().filter(|name| !name.starts_with('.'))?;
                Some((entry.metadata().ok()?.mtime(), entry.path(), name))
            })
            .collect();
        kept.sort();
        let beyond = (kept.len() + 1).saturating_sub(KEPT_MAX);
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let unused =
            kept.iter().filter(|(_, _, name)| held.get(name).is_none_or(|one| one.strong_count() == 0));
        for (_, path, _) in unused.take(beyond) {
            if let Err(error) = remove(path) {
                tracing::warn!(%error, "prepared packages cannot be removed");
            }
        }
    }

    /// Runs the installer; gives the file with what it installed.
    async fn install(
        &self,
        executor: &LocalExecutor,
        what: &Preparation,
        key: &str,
    ) -> Result<tempfile::NamedTempFile, SandboxError> {
        let text = format!("installer={INSTALLER}\n{INSTALL}");
        let program = Program::Inline { interpreter: vec!["sh".to_owned()], text };
        let spec = StepSpec {
            program,
            args: vec![what.script.path.clone()],
            files: vec![
                StepFile { mode: Mode::File, ..what.script.clone() },
                StepFile { mode: Mode::File, ..what.lock.clone() },
            ],
            reach: what.reach.clone(),
            ..spec(what, &format!("prepare.{}", &key[..16]))
        };
        let directory = self.root.clone();
        let files = tempfile::Builder::new().prefix(".").tempfile_in(directory);
        let files = files.map_err(spooling)?;
        let mut to = tokio::fs::File::from_std(files.reopen().map_err(spooling)?);
        let (ended, said) = run(executor, spec, &mut to).await?;
        to.flush().await.map_err(spooling)?;
        match ended.exit.kind {
            ExitKind::Exited if ended.exit.code == Some(0) => Ok(files),
            _ => {
                let reached: Vec<String> = ended
                    .contacts
                    .iter()
                    .filter_map(|one| Some(format!("{}: {}", one.host, one.trouble()?)))
                    .collect();
                let why = [vec![said.trim().to_owned(), ended.exit.to_string()], reached].concat();
                let why: Vec<String> = why.into_iter().filter(|text| !text.is_empty()).collect();
                Err(SandboxError::Spec(format!("its packages cannot be prepared: {}", why.join("; "))))
            }
        }
    }
}

fn spooling(source: io::Error) -> SandboxError {
    SandboxError::System { what: "keeping the packages of a step", source }
}

/// A step of ours that has no secret, no file and no way out.
fn spec(what: &Preparation, name: &str) -> StepSpec {
    let resources = Resources {
        tier: None,
        memory: ByteSize::from_mib(2048),
        cpu_millis: 2000,
        pids: 256,
        disk: ByteSize::from_bytes(3 * BYTES_MAX),
    };
    StepSpec {
        name: name.to_owned(),
        tenant: what.tenant.clone(),
        runtime: what.runtime.clone(),
        program: Program::Command("true".to_owned()),
        packages: None,
        args: Vec::new(),
        environment: BTreeMap::from([("LANG".to_owned(), "C.UTF-8".to_owned())]),
        files: Vec::new(),
        input: b"{}".to_vec(),
        reach: Vec::new(),
        secret_files: Vec::new(),
        limits: Limits { resources, inodes: 200_000, timeout: TIMEOUT, ..Limits::default() },
    }
}

/// Runs a step of ours to its end; its output goes to `to`, and the end of what it says is given.
async fn run(
    executor: &LocalExecutor,
    spec: StepSpec,
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
) -> Result<(super::Ended, String), SandboxError> {
    let Started { mut step, stdout, mut stderr, .. } = executor.start(spec).await?;
    // One byte more than there may be tells a large environment from one that is too large.
    let mut stdout = stdout.take(BYTES_MAX + 1);
    let copy = async {
        let copied = tokio::io::copy(&mut stdout, to).await;
        drop(stdout);
        copied
    };
    let listen = async {
        let mut said = Vec::new();
        let mut part = [0u8; 1024];
        while let Ok(count @ 1..) = stderr.read(&mut part).await {
            said.extend_from_slice(&part[..count]);
            let beyond = said.len().saturating_sub(SAID_BYTES_MAX as usize);
            said.drain(..beyond);
        }
        String::from_utf8_lossy(&said).into_owned()
    };
    let (ended, copied, said) = tokio::join!(step.wait(), copy, listen);
    match copied {
        Ok(bytes) if bytes > BYTES_MAX => {
            Err(SandboxError::Spec(format!("its packages have more than {BYTES_MAX} bytes")))
        }
        Ok(_) => Ok((ended, said)),
        Err(error) => Err(spooling(error)),
    }
}

/// Asks the interpreter and the installer who they are.
async fn ask(executor: &LocalExecutor, what: &Preparation) -> Result<Interpreter, SandboxError> {
    let text = format!("set -eu\npython3 -I -c \"{ASK}\"\n{INSTALLER} --version");
    let program = Program::Inline { interpreter: vec!["sh".to_owned()], text };
    let mut answer = Vec::new();
    let (ended, said) = run(executor, StepSpec { program, ..spec(what, "prepare") }, &mut answer).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let mut lines = answer.lines();
    let (program, version) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    if !ended.exit.succeeded() || !program.starts_with('/') || !is_version(version) {
        let why = match &what.runtime {
            None => "Python scripts with dependencies need `python3` and `uv` on the worker",
            Some(_) => {
                "Python scripts with dependencies need `uv` on the worker and `python3` and `sh` in the runtime"
            }
        };
        return Err(SandboxError::Refused(format!("{why}: {}", said.trim())));
    }
    Ok(Interpreter { program: program.into(), version: version.to_owned(), described: answer })
}

fn is_version(text: &str) -> bool {
    let number =
        |part: &str| !part.is_empty() && part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('.').is_some_and(|(major, minor)| number(major) && number(minor))
}

/// Names what decides about an environment: tenant, script and lock, indexes, interpreter and platform.
fn key(what: &Preparation, interpreter: &Interpreter) -> String {
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    };
    add(what.tenant.as_str().as_bytes());
    add(&what.script.content);
    add(&what.lock.content);
    what.indexes.iter().for_each(|index| add(index.as_bytes()));
    add(interpreter.described.as_bytes());
    if let Some(runtime) = &what.runtime {
        add(runtime.as_str().as_bytes());
    // An interpreter that was replaced since has another time.
    } else if let Ok(found) = std::fs::metadata(&interpreter.program) {
        add(format!("{} {} {}", found.ino(), found.size(), found.mtime()).as_bytes());
    }
    hex::encode(digest.finalize())
}

/// Unpacks regular files and directories below `to`, which does not exist yet, as an environment around `program`.
fn unpack(archive: &Path, to: &Path, program: &Path, version: &str) -> io::Result<()> {
    drop(remove(to));
    let directory = |path: &Path| std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
    let site = to.join("lib").join(format!("python{version}")).join("site-packages");
    directory(&site)?;
    directory(&to.join("bin"))?;
    for name in ["python", "python3"] {
        std::os::unix::fs::symlink(program, to.join("bin").join(name))?;
    }
    let home = program.parent().unwrap_or(Path::new("/"));
    let settings =
        format!("home = {}\ninclude-system-site-packages = false\nversion = {version}\n", home.display());
    std::fs::write(to.join("pyvenv.cfg"), settings)?;
    std::fs::set_permissions(to.join("pyvenv.cfg"), std::fs::Permissions::from_mode(0o444))?;

    let refused = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
    let (mut bytes, mut count) = (0u64, 0u64);
    let mut archive = tar::Archive::new(io::BufReader::new(std::fs::File::open(archive)?));
    for entry in archive.entries()? {
        let mut entry = entry?;
        count += 1;
        bytes = bytes.saturating_add(entry.size());
        if count > FILES_MAX || bytes > BYTES_MAX {
            return Err(refused("there is too much of it"));
        }
        let path = entry.path()?.into_owned();
        let mut place = site.clone();
        for part in path.components() {
            match part {
                Component::CurDir => {}
                Component::Normal(name) => place.push(name),
                _ => return Err(refused("a file lies outside")),
            }
        }
        match entry.header().entry_type() {
            tar::EntryType::Directory => directory(&place)?,
            tar::EntryType::Regular => {
                directory(place.parent().unwrap_or(&site))?;
                let executable = entry.header().mode()? & 0o111 != 0;
                let mode = if executable { 0o555 } else { 0o444 };
                // Nothing but this function writes here, and it makes no link below: a new file is where it says.
                let mut file =
                    std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&place)?;
                let size = entry.size();
                if io::copy(&mut entry.by_ref().take(size), &mut file)? != size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            _ => return Err(refused("it holds something that is neither a file nor a directory")),
        }
    }
    Ok(())
}

/// Removes a file or a whole directory.
fn remove(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> tempfile::NamedTempFile {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), builder.into_inner().unwrap()).unwrap();
        file
    }

    fn header(kind: tar::EntryType, path: &str, content: &str, link: &str) -> tar::Header {
        let mut header = tar::Header::new_old();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o777);
        // As a hostile writer would, without the checks of the library.
        let old = header.as_old_mut();
        old.name[..path.len()].copy_from_slice(path.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        header
    }

    #[test]
    fn files_become_an_environment() {
        let archive = archive(|to| {
            to.append(&header(tar::EntryType::Directory, "./tiny/", "", ""), io::empty()).unwrap();
            to.append(&header(tar::EntryType::Regular, "./tiny/a.py", "x = 1\n", ""), &b"x = 1\n"[..])
                .unwrap();
        });
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("key");
        unpack(archive.path(), &place, Path::new("/usr/bin/python3.11"), "3.11").unwrap();
        let file = place.join("lib/python3.11/site-packages/tiny/a.py");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "x = 1\n");
        assert_eq!(std::fs::read_link(place.join("bin/python3")).unwrap(), Path::new("/usr/bin/python3.11"));
        let settings = std::fs::read_to_string(place.join("pyvenv.cfg")).unwrap();
        assert_eq!(settings, "home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11\n");
    }

    #[test]
    fn nothing_is_unpacked_anywhere_else() {
        let outside = tempfile::tempdir().unwrap();
        let file = outside.path().join("file").display().to_string();
        for (kind, path, link) in [
            (tar::EntryType::Regular, "../../../../x", ""),
            (tar::EntryType::Regular, "a/../../x", ""),
            (tar::EntryType::Regular, file.as_str(), ""),
            (tar::EntryType::Symlink, "link", "/etc"),
            (tar::EntryType::Link, "link", "/etc/passwd"),
            (tar::EntryType::Char, "null", ""),
            (tar::EntryType::Fifo, "fifo", ""),
        ] {
            let archive = archive(|to| to.append(&header(kind, path, "", link), io::empty()).unwrap());
            let root = tempfile::tempdir().unwrap();
            let got = unpack(archive.path(), &root.path().join("key"), Path::new("/usr/bin/python3"), "3.11");
            assert!(got.is_err(), "{kind:?} {path}");
            assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1, "{kind:?} {path}");
            assert!(!Path::new(&file).exists());
        }
        // A file twice, or one that is cut off.
        let twice = archive(|to| {
            for _ in 0..2 {
                to.append(&header(tar::EntryType::Regular, "a", "", ""), io::empty()).unwrap();
            }
        });
        let root = tempfile::tempdir().unwrap();
        assert!(
            unpack(twice.path(), &root.path().join("key"), Path::new("/usr/bin/python3"), "3.11").is_err()
        );
    }

    #[test]
    fn what_is_held_stays_and_the_rest_makes_room() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(root.path().to_owned()).unwrap();
        for number in 0..KEPT_MAX {
            std::fs::create_dir(root.path().join(format!("{number:02}"))).unwrap();
        }
        let place = |name: &str| root.path().join(name);
        let at = |seconds| std::time::UNIX_EPOCH + Duration::from_secs(seconds);
        for (name, seconds) in [("07", 1), ("08", 2), ("09", 3)] {
            std::fs::File::open(place(name)).unwrap().set_modified(at(seconds)).unwrap();
        }
        let held = shelf.hold("07");
        shelf.make_room();
        assert!(place("07").exists() && !place("08").exists() && place("09").exists());
        drop(held);
        std::fs::create_dir(place("08")).unwrap();
        shelf.make_room();
        assert!(!place("07").exists() && place("09").exists());
        std::fs::create_dir(place(".half")).unwrap();
        drop(Shelf::open(root.path().to_owned()).unwrap());
        assert!(!place(".half").exists());
    }
}
