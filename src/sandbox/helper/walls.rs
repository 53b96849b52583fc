//! The first process of an attempt raises its walls around itself, then gives up every right to change them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, Mode};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, unmount};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::super::places::{INSTALLER, Places, STEP_ID};
use super::super::wire::{Attempt, Manifest};
use super::rootfs::{self, Broken, CLIENT_DIRECTORY, NEW, PACKAGES, RUNTIMES, Stage, TEMPLATE};
use super::runtime::{self, Sources};
use super::ways::{self, Ways};
use super::{Host, bubblewrap, sys};
use crate::domain::RuntimeDigest;

/// Files of a new `/proc` that tell about the machine or were never meant for a step.
pub(super) const MASKED: [&str; 9] =
    ["cmdline", "config.gz", "kallsyms", "kcore", "key-users", "keys", "kmsg", "sysrq-trigger", "timer_list"];

/// Inodes of the scratch file system that the step did not make.
const OWN_INODES: u64 = 8;

/// Directories of the scratch file system: name, permissions, and the place in the sandbox that leads there.
pub(super) const SCRATCH_DIRECTORIES: [(&str, u32, &str); 4] = [
    ("work", 0o700, "work"),
    ("tmp", 0o1777, "tmp"),
    ("shm", 0o1777, "dev/shm"),
    ("output", 0o700, "run/tenantry/output"),
];

/// What stands around a step when all is done.
pub(super) struct Raised {
    /// Where things lie for the step.
    pub(super) places: Places,
    /// Listens at the broker's socket.
    pub(super) listener: UnixListener,
    /// Where a step that may reach hosts connects.
    pub(super) ways: Ways,
    /// The directory of the output, opened before the step could change what stands there.
    pub(super) output: OwnedFd,
    /// How much of Landlock holds.
    pub(super) landlock: bool,
}

/// Raises the walls of the tier `sandbox` that are the same for every attempt, before there is one. With `leave` it lets go
/// of the helper's root too, which takes the kernel a moment.
///
/// Its user ids are not mapped yet, so that nothing can be written into a file system that belongs to it.
pub(super) fn stand(host: &Host, leave: bool) -> Result<(), Broken> {
    if host.cgroup_namespace {
        unshare(CloneFlags::CLONE_NEWCGROUP).stage("cgroup namespace")?;
    }
    mount_bind_recursive(TEMPLATE, NEW).stage("mount namespace")?;
    mount_proc().stage("proc of its own")?;
    rustix::system::sethostname(b"sandbox").stage("uts namespace")?;
    rustix::system::setdomainname(b"(none)").stage("uts namespace")?;
    sys::loopback_up().stage("network namespace")?;
    drop_bounds().stage("capabilities")?;
    if leave { enter(Path::new(NEW)) } else { Ok(()) }
}

/// Makes a directory the root and lets go of the one before.
fn enter(root: &Path) -> Result<(), Broken> {
    std::env::set_current_dir(root).stage("pivot_root")?;
    rustix::process::pivot_root(".", ".").stage("pivot_root")?;
    unmount(".", UnmountFlags::DETACH).stage("pivot_root")?;
    std::env::set_current_dir("/").stage("pivot_root")
}

/// Raises the walls of one attempt, with what it is given between them. `left` says whether this process has let go of the
/// helper's root before.
///
/// Two file systems in memory are mounted at `/tmp` and `/run`, and shown in parts at the places in which a step looks for
/// them; then the part that belongs there covers each of the two, so that no path leads to the whole.
pub(super) fn raise(
    host: &Host,
    attempt: &Attempt,
    manifest: &Manifest,
    parcel: &OwnedFd,
    contents: u64,
    left: bool,
) -> Result<Raised, Broken> {
    let root = Path::new(if left { "/" } else { NEW });
    let pair = host.ids.of(&attempt.tenant);
    // Inside, the setup is done by a root that owns what the step is only given, where there is such an id.
    let (owner, step) = match pair {
        Some(_) if host.user_namespace => (0, STEP_ID),
        Some(pair) => (0, pair.step),
        None => (STEP_ID, STEP_ID),
    };
    if pair.is_some() {
        become_user(owner, true).stage("user namespace")?;
    }
    rustix::process::umask(Mode::empty());
    if let Some(runtime) = &manifest.runtime {
        lay_runtime(host, runtime)?;
    }

    let new = Places::below(root);
    let scratch = root.join("tmp");
    let size = format!("mode=755,size={},nr_inodes={}", attempt.disk, u64::from(attempt.inodes) + OWN_INODES);
    mount_tmpfs(&scratch, &size).stage("mount namespace")?;
    for (name, mode, place) in SCRATCH_DIRECTORIES {
        let directory = scratch.join(name);
        make_directory(&directory, mode).stage("mount namespace")?;
        if owner != step {
            std::os::unix::fs::chown(&directory, Some(step), Some(step)).stage("mount namespace")?;
        }
        // The output's place lies in what the step is given, which is not there yet; the other one covers the whole.
        if !["output", "tmp"].contains(&name) {
            bind(&directory, &root.join(place), 0).stage("mount namespace")?;
        }
    }

    // What the step is given: written while this directory can be, then shown read-only.
    let whole = root.join("run");
    let given = Places::below(&whole);
    mount_tmpfs(&whole, &format!("mode=755,size={}", size_of_contents(manifest))).stage("mount namespace")?;
    let listener =
        give(&given, manifest, parcel, contents, step, owner != step).stage("files of the step")?;
    let ways = if manifest.hosts.is_empty() {
        Ways::default()
    } else {
        lay_ways(manifest, &whole.join("hosts"), root).stage("network of the step")?
    };
    bind(&given.repo(), &new.repo(), libc::MOUNT_ATTR_RDONLY).stage("mount namespace")?;
    bind(&whole.join("run"), &whole, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOEXEC)
        .stage("mount namespace")?;
    bind(&scratch.join("output"), &new.output_directory(), libc::MOUNT_ATTR_NOEXEC)
        .stage("mount namespace")?;
    bind(&scratch.join("tmp"), &scratch, 0).stage("mount namespace")?;

    if let Some(packages) = &manifest.packages {
        bind(&Path::new(PACKAGES).join(packages), &new.packages(), libc::MOUNT_ATTR_RDONLY)
            .stage("packages of the step")?;
    }
    if !left {
        enter(root)?;
    }

    let places = Places::below("/");
    let output = open_output_directory(&places).stage("mount namespace")?;
    drop_rights(pair.map(|_| step)).stage("capabilities")?;
    close_walls(host, &places).map(|landlock| Raised { places, listener, ways, output, landlock })
}

/// Puts a root made of a runtime over the one that stands ready.
fn lay_runtime(host: &Host, runtime: &RuntimeDigest) -> Result<(), Broken> {
    const STAGE: &str = "runtime of the step";
    let (tree, template) = (Path::new(RUNTIMES).join(runtime.directory()), Path::new(TEMPLATE));
    let inside = |place: &str| template.join(place.trim_start_matches('/'));
    let (program, installer) = (inside(CLIENT_DIRECTORY).join("tenantry"), inside(INSTALLER));
    let installer = installer.exists().then_some(installer.as_path());
    let etc = inside("/etc");
    let sources = Sources { program: &program, installer, machine: template, etc: Some(&etc) };
    let parts = runtime::parts(&tree, &host.kit, &sources).stage(STAGE)?;
    let mut copies = rootfs::own_copies(ways::HOSTS);
    copies.extend(runtime::copies(&host.kit, installer.is_some()));
    mount_tmpfs(Path::new(NEW), "mode=755,size=4m").stage(STAGE)?;
    rootfs::furnish(Path::new(NEW), rootfs::hold(parts)?, &copies).stage(STAGE)?;
    mount_proc().stage("proc of its own")
}

/// Finishes the walls of the tier `bubblewrap`, which `bwrap` has raised around this process with what the step is
/// given: the socket, the ways out, and the layers that a process puts around itself.
pub(super) fn settle(host: &Host, manifest: &Manifest) -> Result<Raised, Broken> {
    let places = Places::below("/");
    rustix::process::umask(Mode::empty());
    let door = bubblewrap::door();
    let listener = UnixListener::bind(&door).stage("files of the step")?;
    set_mode(&door, 0o600).stage("files of the step")?;
    let ways = if manifest.hosts.is_empty() {
        Ways::default()
    } else {
        ways::open(&manifest.hosts).stage("network of the step")?
    };
    let output = open_output_directory(&places).stage("files of the step")?;
    rustix::thread::clear_ambient_capability_set().stage("capabilities")?;
    drop_rights(None).stage("capabilities")?;
    close_walls(host, &places).map(|landlock| Raised { places, listener, ways, output, landlock })
}

/// The layers that a process puts around itself, the last of all; gives whether Landlock is among them.
fn close_walls(host: &Host, places: &Places) -> Result<bool, Broken> {
    let landlock = restrict_files(places).unwrap_or(false);
    rustix::thread::set_no_new_privs(true).stage("no-new-privileges")?;
    host.filter.apply().map_err(io::Error::other).stage("seccomp")?;
    Ok(landlock)
}

/// Lays out the directories of the tier `unsafe-none`, which has no walls.
pub(super) fn lay_out(
    root: &Path,
    manifest: &Manifest,
    parcel: &OwnedFd,
    contents: u64,
) -> Result<Raised, Broken> {
    let places = Places::below(root);
    rustix::process::umask(Mode::from_raw_mode(0o077));
    std::fs::create_dir_all(root).stage("files of the step")?;
    for directory in [places.work(), places.tmp()] {
        std::fs::create_dir(directory).stage("files of the step")?;
    }
    let own = rustix::process::geteuid().as_raw();
    let listener = give(&places, manifest, parcel, contents, own, false).stage("files of the step")?;
    let output = open_output_directory(&places).stage("files of the step")?;
    Ok(Raised { places, listener, ways: Ways::default(), output, landlock: false })
}

/// Opens the ways out and gives the hosts their names, in a file that is seen below `root`.
fn lay_ways(manifest: &Manifest, names: &Path, root: &Path) -> io::Result<Ways> {
    std::fs::write(names, ways::names(&manifest.hosts))?;
    set_mode(names, 0o444)?;
    bind(names, &root.join("etc/hosts"), libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOEXEC)?;
    ways::open(&manifest.hosts)
}

/// Becomes a user and a group of one number, with no group beside.
pub(super) fn become_user(id: u32, with_groups: bool) -> io::Result<()> {
    let (user, group) = (rustix::fs::Uid::from_raw(id), rustix::fs::Gid::from_raw(id));
    if with_groups {
        rustix::thread::set_thread_groups(&[])?;
    }
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    Ok(())
}

/// Gives up every capability for whatever is started later.
fn drop_bounds() -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    for number in 0..64u32 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => break, // the kernel knows no more
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Gives up every capability that is left and becomes the step's user.
fn drop_rights(step: Option<u32>) -> io::Result<()> {
    if let Some(step) = step {
        become_user(step, false)?;
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets)?;
    // Not to be looked into by the step, which has the same user, and dead as soon as the helper is: both are
    // reset by a change of user, so they come after it.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// The second layer: the same walls once more, by another mechanism. `false` where the kernel lacks it.
fn restrict_files(places: &Places) -> Result<bool, landlock::RulesetError> {
    let known = ABI::V6;
    let shared_memory = PathBuf::from("/dev/shm");
    let writable =
        [places.work(), places.tmp(), places.output_directory(), PathBuf::from("/dev"), shared_memory];
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(known))?
        .scope(Scope::from_all(known))?
        .create()?
        .add_rules(path_beneath_rules(["/"], AccessFs::from_read(known)))?
        .add_rules(path_beneath_rules(writable, AccessFs::from_all(known)))?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

fn mount_proc() -> io::Result<()> {
    let proc = Path::new(NEW).join("proc");
    mount("proc", &proc, "proc", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)?;
    let null = Path::new(NEW).join("dev/null");
    for name in MASKED {
        match mount_bind(&null, proc.join(name)) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bind(&proc.join("sys"), &proc.join("sys"), libc::MOUNT_ATTR_RDONLY)
}

fn mount_tmpfs(place: &Path, options: &str) -> io::Result<()> {
    let options = std::ffi::CString::new(options)?;
    Ok(mount("tenantry", place, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())?)
}

/// Shows a part of a file system that was mounted here at a second place, with its restrictions and further ones.
fn bind(from: &Path, to: &Path, attributes: u64) -> io::Result<()> {
    mount_bind(from, to)?;
    if attributes == 0 {
        return Ok(());
    }
    sys::restrict_mount(CWD, to, attributes | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV, false)
}

fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::mkdir(path, Mode::from_raw_mode(mode))?)
}

fn open_output_directory(places: &Places) -> io::Result<OwnedFd> {
    let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::PATH;
    Ok(rustix::fs::open(places.output_directory(), flags, Mode::empty())?)
}

/// Room for the contents of a parcel in a file system in memory, with what its pages and names take.
fn size_of_contents(manifest: &Manifest) -> u64 {
    const PAGE: u64 = 4096;
    let files = manifest.files.iter().map(|(_, _, length)| *length);
    let secrets = manifest.secret_files.iter().map(|(_, length)| *length);
    let script = match &manifest.program {
        super::super::Program::Inline { text, .. } => text.len() as u64,
        _ => 0,
    };
    let pages = |length: u64| length.div_ceil(PAGE) + 2;
    (files.chain(secrets).chain([manifest.input, script]).map(pages).sum::<u64>() + 64) * PAGE
}

/// Writes what the step is given and opens the broker's socket.
fn give(
    places: &Places,
    manifest: &Manifest,
    parcel: &OwnedFd,
    contents: u64,
    step: u32,
    hand_over: bool,
) -> io::Result<UnixListener> {
    let mut offset = contents;
    let repo = places.repo();
    make_directory(&repo, 0o755)?;
    let mut made = std::collections::BTreeSet::new();
    for (path, executable, length) in &manifest.files {
        let mut directory = repo.clone();
        let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
        for part in parents.split('/').filter(|part| !part.is_empty()) {
            directory.push(part);
            if !made.contains(&directory) {
                make_directory(&directory, 0o755)?;
                made.insert(directory.clone());
            }
        }
        let mode = if *executable { 0o555 } else { 0o444 };
        copy(parcel, &mut offset, *length, &directory.join(name), mode)?;
    }
    for directory in [places.root().join("run"), places.given()] {
        make_directory(&directory, 0o755)?;
    }
    make_directory(&places.output_directory(), 0o755)?;
    copy(parcel, &mut offset, manifest.input, &places.input(), 0o444)?;
    if let super::super::Program::Inline { text, .. } = &manifest.program {
        std::fs::write(places.script(), text)?;
        set_mode(&places.script(), 0o444)?;
    }
    if !manifest.secret_files.is_empty() {
        let secrets = places.secrets();
        make_directory(&secrets, 0o755)?;
        for (variable, length) in &manifest.secret_files {
            let file = secrets.join(variable);
            copy(parcel, &mut offset, *length, &file, 0o400)?;
            if hand_over {
                std::os::unix::fs::chown(&file, Some(step), Some(step))?;
            }
        }
    }
    let listener = UnixListener::bind(places.socket())?;
    set_mode(&places.socket(), 0o666)?;
    Ok(listener)
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(mode))?)
}

/// Writes the next `length` bytes of the parcel into a new file.
fn copy(parcel: &OwnedFd, offset: &mut u64, length: u64, to: &Path, mode: u32) -> io::Result<()> {
    use rustix::fs::OFlags;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    pour(parcel, offset, length, &rustix::fs::open(to, flags, Mode::from_raw_mode(mode))?)
}

/// Writes the next `length` bytes of the parcel into a file.
pub(super) fn pour(parcel: &OwnedFd, offset: &mut u64, length: u64, file: &impl AsFd) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::sendfile(file, parcel.as_fd(), Some(offset), count)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            written => left -= written as u64,
        }
    }
    Ok(())
}

/// Sets the limits that every process of the step has by itself. `group` says whether a control group limits
/// the tree, without which these are all there is.
pub(super) fn limit_each_process(attempt: &Attempt, group: bool, own_user: bool) {
    let set = |resource, value: u64| {
        let limit = Rlimit { current: Some(value), maximum: Some(value) };
        // Where a lower limit is already in force, that one stays.
        rustix::process::setrlimit(resource, limit).ok();
    };
    set(Resource::Core, 0);
    set(Resource::Nofile, 4096);
    set(Resource::Memlock, 64 << 10);
    set(Resource::Fsize, attempt.disk + 4096);
    if !group {
        set(Resource::Data, attempt.memory);
        set(Resource::Cpu, attempt.cpu_seconds_max);
        if own_user {
            // Counted by user namespace, so it counts this attempt alone.
            set(Resource::Nproc, u64::from(attempt.pids) + 1);
        }
    }
}
