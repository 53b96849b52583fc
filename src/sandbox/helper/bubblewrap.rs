//! The tier `bubblewrap`: the same walls from the same specification, raised by the program `bwrap`.
//!
//! It is for machines on which only that program may make user namespaces, and on which a process that it starts has no
//! capability, not even inside. So everything that takes one is among the arguments: namespaces, mounts, devices, and
//! every file that the step is given, as a descriptor of a file in memory; no content is an argument. What `bwrap`
//! starts is this very program, which puts the layers around itself that take no capability (Landlock, seccomp, limits),
//! opens the sockets, and is the first process as in the default tier.
//!
//! Two things differ. The number of files in `/work` has no bound but the memory limit, since `bwrap` cannot set one;
//! and there is no sandbox that stands ready, since what a step is given is an argument.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, MemfdFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Resource, Rlimit, Signal};

use super::super::HELPER_ARGUMENT;
use super::super::places::{INSTALLER, Places, STEP_ID};
use super::super::wire::{self, Attempt, Manifest};
use super::filter::Filter;
use super::groups::Groups;
use super::ids::Ids;
use super::rootfs::{self, Broken, CLIENT_DIRECTORY, Copy, Part, Source, Stage, find_program};
use super::runtime::{self, Kit, Sources};
use super::walls::{MASKED, SCRATCH_DIRECTORIES, become_user, pour};
use super::{Host, first, sys, ways};
use crate::domain::{LimitsKind, Tier};

/// The second argument of this program where it is the first process that `bwrap` starts.
pub(super) const INSIDE: &str = "inside";
/// The file system that all of a step's writable places are in, inside.
const SCRATCH: &str = "/scratch";
/// The directory there that the broker's socket is in: Landlock keeps it from the step.
const DOOR: &str = "door";
/// How many files a step is given in this tier. `bwrap` takes 9,000 arguments, five for a file.
const FILES_MAX: usize = 1_500;
/// Processes of ours in an attempt's control group: `bwrap` and the first process.
pub(super) const OWN_PROCESSES: u32 = 2;
/// How much of what `bwrap` says is repeated.
const SAID_BYTES_MAX: u64 = 2 << 10;

/// What this machine's `bwrap` is told for every attempt.
pub(super) struct Bubblewrap {
    program: PathBuf,
    parts: Vec<Part>,
    packages: Option<PathBuf>,
    runtimes: Option<PathBuf>,
    /// Files of `/proc` that are covered.
    masked: Vec<&'static str>,
}

/// Where the first process opens the broker's socket.
pub(super) fn door() -> PathBuf {
    Path::new(SCRATCH).join(DOOR).join("broker.sock")
}

impl Bubblewrap {
    /// Finds the program and what every sandbox has of the host; gives what is worth knowing about that too. A root
    /// whose tenants have user ids of their own keeps what those could not reach by its path in a mount namespace of
    /// the helper.
    ///
    /// # Errors
    /// Under the name of a feature.
    pub(super) fn find(
        path: &str,
        mut packages: Option<PathBuf>,
        mut runtimes: Option<PathBuf>,
        ids: Ids,
    ) -> Result<(Self, Vec<String>), Broken> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "`bwrap` is not installed here");
        let program = find_program("bwrap", path).ok_or_else(missing).stage("bubblewrap")?;
        let (mut parts, notes) = rootfs::host_parts(path)?;
        if matches!(ids, Ids::Range { .. }) {
            let beside = parts.iter_mut().filter_map(|part| match &mut part.source {
                Source::Tree(path) if !path.starts_with("/usr") && !path.starts_with("/etc") => Some(path),
                _ => None,
            });
            bring_near(beside.chain(packages.as_mut()).chain(runtimes.as_mut())).stage("mount namespace")?;
        }
        let masked = MASKED.into_iter().filter(|name| Path::new("/proc").join(name).exists()).collect();
        Ok((Self { program, parts, packages, runtimes, masked }, notes))
    }

    /// Becomes `bwrap` in a fresh fork of the helper; gives back why it could not. What goes wrong later is written into
    /// `said`.
    pub(super) fn start(
        &self,
        host: &Host,
        attempt: &Attempt,
        parcel: &OwnedFd,
        ear: &OwnedFd,
        said: &OwnedFd,
    ) -> Result<std::convert::Infallible, Broken> {
        let (manifest, contents) = wire::unpack(parcel).stage("files of the step")?;
        // Each file is a descriptor of this process. What the step may open is limited later.
        let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
        rustix::process::setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).ok();
        let mut files = Files::default();
        let options = self.options(host, attempt, &manifest, parcel, contents, &mut files)?;
        let mut text = Vec::new();
        for option in options {
            text.extend_from_slice(option.as_bytes());
            text.push(0);
        }
        let text = files.keep(|file| file.write_all(&text)).stage("bubblewrap")?;
        rustix::io::fcntl_setfd(ear, rustix::io::FdFlags::empty()).stage("bubblewrap")?;
        let limits = host.limits.as_str().to_owned();
        let uid = host.ids.uid_of(&attempt.tenant, Tier::Bubblewrap).to_string();
        let mut arguments = ["bwrap", "--args", &text, "--"].map(str::to_owned).to_vec();
        arguments.extend(match &manifest.runtime {
            Some(_) => host.kit.command("tenantry"),
            None => vec![format!("{CLIENT_DIRECTORY}/tenantry")],
        });
        let ear_number = ear.as_raw_fd().to_string();
        arguments.extend([HELPER_ARGUMENT, INSIDE, &ear_number, &limits, &uid].map(str::to_owned));
        rustix::stdio::dup2_stderr(said).stage("bubblewrap")?;
        rustix::process::setsid().stage("bubblewrap")?;
        // When the machine runs out of memory, a step goes before anything that keeps records.
        drop(std::fs::write("/proc/self/oom_score_adj", "500"));
        sys::default_signals();
        if let Some(pair) = host.ids.of(&attempt.tenant) {
            become_user(pair.step, true).stage("own user ids for tenants")?;
        }
        // After the change of user, which takes it away. Whoever died before has closed its end of the ear.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).stage("bubblewrap")?;
        let program = CString::new(self.program.as_os_str().as_bytes()).stage("bubblewrap")?;
        let arguments: Vec<CString> =
            arguments.into_iter().map(CString::new).collect::<Result<_, _>>().stage("bubblewrap")?;
        nix::unistd::execve(&program, &arguments, &[] as &[&std::ffi::CStr]).stage("bubblewrap")
    }

    /// Everything that `bwrap` is told. Contents go into `files`.
    fn options(
        &self,
        host: &Host,
        attempt: &Attempt,
        manifest: &Manifest,
        parcel: &OwnedFd,
        contents: u64,
        files: &mut Files,
    ) -> Result<Vec<OsString>, Broken> {
        let mut options = Options::default();
        options.add(["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net"]);
        if host.cgroup_namespace {
            options.add(["--unshare-cgroup"]);
        }
        let id = STEP_ID.to_string();
        options.add(["--uid", &id, "--gid", &id, "--hostname", "sandbox", "--chdir", "/", "--clearenv"]);
        options.add(["--as-pid-1", "--die-with-parent"]);
        if manifest.hosts.iter().any(|host| host.port < 1024) {
            // For the listeners of its hosts alone: the first process gives it up before it starts the script.
            options.add(["--cap-add", "CAP_NET_BIND_SERVICE"]);
        }
        let parts = self.parts(host, manifest).stage("runtime of the step")?;
        self.add_parts(parts.as_ref().unwrap_or(&self.parts), manifest, &mut options);
        add_scratch(attempt, &mut options);
        let hosts = ways::names(&manifest.hosts);
        let copies = if manifest.runtime.is_some() {
            let mut copies = rootfs::own_copies(&hosts);
            copies.extend(runtime::copies(&host.kit, self.source_of(INSTALLER).is_some()));
            copies
        } else {
            rootfs::host_copies(&hosts)
        };
        add_given(manifest, &copies, parcel, contents, files, &mut options)?;
        // The root is a file system in memory that belongs to the step's user. This makes it read-only, and with it
        // everything that is written in it above.
        options.add(["--remount-ro", "/"]);
        Ok(options.0)
    }

    /// What of this machine is seen at a place.
    fn source_of(&self, place: &str) -> Option<&Path> {
        self.parts.iter().find_map(|part| match &part.source {
            Source::Tree(path) if part.place == Path::new(place) => Some(path.as_path()),
            _ => None,
        })
    }

    /// What the root of a step with a runtime is made of; `None` for every other step.
    fn parts(&self, host: &Host, manifest: &Manifest) -> io::Result<Option<Vec<Part>>> {
        let Some(digest) = &manifest.runtime else { return Ok(None) };
        let missing = || io::Error::new(io::ErrorKind::NotFound, "it was not looked for");
        let tree = self.runtimes.as_deref().ok_or_else(missing)?.join(digest.directory());
        let program = self.source_of(&format!("{CLIENT_DIRECTORY}/tenantry")).ok_or_else(missing)?;
        let sources =
            Sources { program, installer: self.source_of(INSTALLER), machine: Path::new("/"), etc: None };
        runtime::parts(&tree, &host.kit, &sources).map(Some)
    }

    fn add_parts(&self, parts: &[Part], manifest: &Manifest, options: &mut Options) {
        for Part { place, source } in parts {
            let (option, from) = match source {
                Source::Tree(path) => ("--ro-bind", path),
                Source::Device(path) => ("--dev-bind", path),
                Source::Link(target) => ("--symlink", target),
            };
            options.add([OsStr::new(option), from.as_os_str(), place.as_os_str()]);
        }
        if let (Some(packages), Some(key)) = (&self.packages, &manifest.packages) {
            let places = Places::below("/");
            options.add([
                OsStr::new("--ro-bind"),
                packages.join(key).as_os_str(),
                places.packages().as_os_str(),
            ]);
        }
        options.add(["--proc", "/proc"]);
        for name in &self.masked {
            options.add(["--ro-bind", "/dev/null", &format!("/proc/{name}")]);
        }
    }
}

/// The writable places: one file system, so that they share its size, and a link to it at each place.
fn add_scratch(attempt: &Attempt, options: &mut Options) {
    options.add(["--perms", "0755", "--size", &attempt.disk.to_string(), "--tmpfs", SCRATCH]);
    for (name, mode, place) in SCRATCH_DIRECTORIES {
        let directory = format!("{SCRATCH}/{name}");
        options.add(["--perms", &format!("{mode:04o}"), "--dir", &directory]);
        options.add(["--symlink", &from_root(place, &directory), &format!("/{place}")]);
    }
    options.add(["--perms", "0700", "--dir", &format!("{SCRATCH}/{DOOR}")]);
}

/// The step's files, its input, its secrets, and the link to the broker's socket.
fn add_given(
    manifest: &Manifest,
    copies: &[Copy],
    parcel: &OwnedFd,
    contents: u64,
    files: &mut Files,
    options: &mut Options,
) -> Result<(), Broken> {
    let places = Places::below("/");
    let count = manifest.files.len() + manifest.secret_files.len();
    if count > FILES_MAX {
        let text = format!(
            "{count} files, and at most {FILES_MAX} in the tier bubblewrap: name the step's own with `files`"
        );
        return Err(Broken { stage: "files of the step", error: io::Error::other(text) });
    }
    let mut offset = contents;
    options.add([OsStr::new("--dir"), places.repo().as_os_str()]);
    let mut add = |place: &Path, mode: &str, options: &mut Options, write: Write<'_>| -> Result<(), Broken> {
        let number = files.keep(write).stage("files of the step")?;
        options.add(["--perms", mode, "--file", &number].map(OsStr::new));
        options.add([place.as_os_str()]);
        Ok(())
    };
    for (path, executable, length) in &manifest.files {
        let mode = if *executable { "0555" } else { "0444" };
        add(&places.repo().join(path), mode, options, &mut |file| pour(parcel, &mut offset, *length, file))?;
    }
    add(&places.input(), "0444", options, &mut |file| pour(parcel, &mut offset, manifest.input, file))?;
    if let super::super::Program::Inline { text, .. } = &manifest.program {
        add(&places.script(), "0444", options, &mut |file| file.write_all(text.as_bytes()))?;
    }
    for (variable, length) in &manifest.secret_files {
        // Made first: of a file's parents only those are made that its own permissions give to others.
        let place = places.secrets().join(variable);
        options.add([OsStr::new("--dir"), places.secrets().as_os_str()]);
        add(&place, "0400", options, &mut |file| pour(parcel, &mut offset, *length, file))?;
    }
    for copy in copies {
        let mode = format!("{:04o}", copy.mode());
        add(&copy.place, &mode, options, &mut |file| file.write_all(&copy.content))?;
    }
    let socket = places.socket().display().to_string();
    options.add([
        "--symlink",
        &from_root(socket.trim_start_matches('/'), &door().display().to_string()),
        &socket,
    ]);
    Ok(())
}

/// A link at `place` that leads to `target`, both below the root, whatever the root is called for whoever follows it.
fn from_root(place: &str, target: &str) -> String {
    format!("{}{}", "../".repeat(place.matches('/').count()), target.trim_start_matches('/'))
}

/// The arguments, in order.
#[derive(Default)]
struct Options(Vec<OsString>);

impl Options {
    fn add<T: AsRef<OsStr>, const N: usize>(&mut self, more: [T; N]) {
        self.0.extend(more.iter().map(|one| one.as_ref().to_owned()));
    }
}

/// Fills a file in memory.
type Write<'a> = &'a mut dyn FnMut(&mut std::fs::File) -> io::Result<()>;

/// Files in memory that `bwrap` reads by the numbers of their descriptors.
#[derive(Default)]
struct Files(Vec<OwnedFd>);

impl Files {
    /// Makes one, which stays open over the change of program; gives its number.
    fn keep(&mut self, write: impl FnOnce(&mut std::fs::File) -> io::Result<()>) -> io::Result<String> {
        let mut file = std::fs::File::from(rustix::fs::memfd_create("given", MemfdFlags::empty())?);
        write(&mut file)?;
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
        let number = file.as_raw_fd().to_string();
        self.0.push(file.into());
        Ok(number)
    }
}

/// Shows each source at a short path that every user can walk, in a mount namespace of this process, and puts that path
/// in its place.
fn bring_near<'a>(sources: impl Iterator<Item = &'a mut PathBuf>) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    // Held before anything is mounted, which may cover where they lie.
    let held = sources
        .map(|source| rootfs::clone_tree(source).map(|tree| (source, tree)))
        .collect::<io::Result<Vec<_>>>()?;
    let base = Path::new(if Path::new("/run").is_dir() { "/run" } else { "/tmp" });
    mount("tenantry", base, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=755,size=1m")?;
    for (number, (source, tree)) in held.into_iter().enumerate() {
        let place = base.join(number.to_string());
        if rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode).is_dir() {
            std::fs::create_dir(&place)?;
        } else {
            std::fs::write(&place, "")?;
        }
        rootfs::put(&tree, &place)?;
        *source = place;
    }
    sys::restrict_mount(CWD, base, libc::MOUNT_ATTR_RDONLY, false)
}

/// Makes the file that `bwrap` and the first process complain into before the script starts.
pub(super) fn said() -> io::Result<OwnedFd> {
    Ok(rustix::fs::memfd_create("said", MemfdFlags::CLOEXEC)?)
}

/// What stands in it, on one line; `None` if that is nothing.
pub(super) fn read_said(said: &OwnedFd) -> Option<String> {
    let mut bytes = vec![0; usize::try_from(SAID_BYTES_MAX).unwrap_or(0)];
    let count = rustix::io::pread(said, &mut bytes, 0).ok()?;
    let text = String::from_utf8_lossy(&bytes[..count]);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    (!lines.is_empty()).then(|| lines.join(" · "))
}

/// The feature that something which `bwrap` said is about.
pub(super) fn feature_of(said: &str) -> &'static str {
    let about = |word: &str| said.contains(word);
    if about("namespace") || about("uid map") || about("setuid") {
        "user namespace"
    } else if about("proc on") {
        "proc of its own"
    } else if about("pivot_root") {
        "pivot_root"
    } else {
        "bubblewrap"
    }
}

/// What this program does where `bwrap` has started it: it is the first process of one attempt, and comes back only where
/// it was started by somebody else.
pub(super) fn live_inside(mut arguments: impl Iterator<Item = OsString>) -> io::Result<ExitCode> {
    let nobody = || io::Error::other("it is started by tenantry itself, never by hand");
    let mut next = || arguments.next().and_then(|one| one.into_string().ok()).ok_or_else(nobody);
    let (ear, limits, uid) = (next()?, next()?, next()?);
    let ear = take_descriptor(ear.parse().map_err(|_| nobody())?).ok_or_else(nobody)?;
    if rustix::process::getpid() != rustix::process::Pid::INIT {
        return Err(nobody());
    }
    let user = uid.parse().map_err(|_| nobody())?;
    let limits =
        if limits == LimitsKind::Enforced.as_str() { LimitsKind::Enforced } else { LimitsKind::BestEffort };
    let host = Host {
        tier: Tier::Bubblewrap,
        limits,
        instance: String::new(),
        path: String::new(),
        groups: Groups::default(),
        ids: Ids::Own { user, group: user },
        filter: Filter::compile().map_err(io::Error::other)?,
        namespaces: 0,
        user_namespace: true,
        cgroup_namespace: true,
        kit: Kit::default(),
        bubblewrap: None,
    };
    first::live(&host, ear, &[], None, false)
}

/// Takes over a descriptor that this process was started with, if it is a socket of messages.
#[expect(unsafe_code, reason = "nobody else in this process knows of a descriptor that it was born with")]
fn take_descriptor(number: i32) -> Option<OwnedFd> {
    let found = std::fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
    if number < 3 || !found.to_string_lossy().starts_with("socket:") {
        return None;
    }
    // SAFETY: it is open, as the link says, and this process has one thread and has opened nothing under this number.
    let taken = unsafe { OwnedFd::from_raw_fd(number) };
    let is_ours = matches!(rustix::net::sockopt::socket_type(&taken), Ok(rustix::net::SocketType::SEQPACKET));
    is_ours.then_some(taken)
}
