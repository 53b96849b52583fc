//! The root file system that every sandbox is a copy of.
//!
//! It is built once, in a mount namespace of the helper, out of read-only parts of the host; then the helper
//! itself leaves the host's file system for good, so that no host path is left to hand to a step by mistake.
//! The helper's root then holds `template`, the root of all sandboxes; `proc`, the host's, through which user id
//! maps are written and which the kernel wants to see before it mounts a new one; and the empty place where an
//! attempt assembles its own copy, which it then makes its root.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_change,
    move_mount, open_tree, unmount,
};

use super::super::places::{INSTALLER, SEARCH_PATH};
use super::sys;
use super::ways::HOSTS;

/// Mount attributes of everything that steps only read.
pub(super) const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;

/// Where an attempt assembles its root, in the helper's root.
pub(super) const NEW: &str = "/new";
/// The prepared packages of all tenants, in the helper's root; an attempt shows its script's own at its place.
pub(super) const PACKAGES: &str = "/packages";
/// The runtimes of the platform, in the helper's root; an attempt shows its own at the top.
pub(super) const RUNTIMES: &str = "/runtimes";
/// Where the clients of the broker are called from.
pub(super) const CLIENT_DIRECTORY: &str = "/opt/tenantry/bin";
/// The template, in the helper's root.
pub(super) const TEMPLATE: &str = "/template";

/// Directories of the host that steps can read, where they exist.
const SHARED: [&str; 9] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"];
/// Directories below `/etc` that steps can read: certificates, and the names Debian programs go by.
const SHARED_ETC: [&str; 4] =
    ["/etc/ssl/certs", "/etc/alternatives", "/etc/pki/ca-trust/extracted", "/etc/pki/tls/certs"];
/// The clients of the broker for scripts, each a single file.
const CLIENTS: [(&str, &str); 3] = [
    ("tenantry.py", include_str!("../clients/tenantry.py")),
    ("tenantry.js", include_str!("../clients/tenantry.js")),
    ("tenantry.sh", include_str!("../clients/tenantry.sh")),
];
/// Files below `/etc` that steps can read, as they were when the helper started.
const COPIED_ETC: [&str; 8] = [
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/mime.types",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/openssl.cnf",
    "/etc/os-release",
];
/// The largest file that is copied.
const COPY_BYTES_MAX: u64 = 1 << 20;
/// The devices of a sandbox.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// Interpreters that are looked for outside the shared directories.
const INTERPRETERS: [&str; 3] = ["python3", "node", "bash"];

/// What could not be built, in words, and the system's answer.
pub(super) struct Broken {
    /// What was tried.
    pub(super) stage: &'static str,
    /// The answer.
    pub(super) error: io::Error,
}

/// Names what was tried where it failed.
pub(super) trait Stage<T> {
    /// Adds the name.
    fn stage(self, stage: &'static str) -> Result<T, Broken>;
}
impl<T, E: Into<io::Error>> Stage<T> for Result<T, E> {
    fn stage(self, stage: &'static str) -> Result<T, Broken> {
        self.map_err(|error| Broken { stage, error: error.into() })
    }
}

/// Gives the helper a mount namespace of its own, by right or through a user namespace; `true` for the latter.
pub(super) fn enter_mount_namespace() -> Result<bool, Broken> {
    if unshare(CloneFlags::CLONE_NEWNS).is_ok() {
        return Ok(false);
    }
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).stage("user namespace")?;
    std::fs::write("/proc/self/setgroups", "deny").stage("user namespace")?;
    std::fs::write("/proc/self/uid_map", format!("{user} {user} 1")).stage("user namespace")?;
    std::fs::write("/proc/self/gid_map", format!("{group} {group} 1")).stage("user namespace")?;
    Ok(true)
}

/// Builds the template and makes the helper's root what the module says. `path` is the daemon's search path; `kept` are
/// directories of the host with the places in the helper's root that they stay at. Gives what is worth knowing: host
/// directories outside the system's that steps can read.
pub(super) fn build(path: &str, kept: &[(&Path, &str)]) -> Result<Vec<String>, Broken> {
    let root = Path::new("/");
    mount_change(root, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .stage("mount namespace")?;
    let (parts, notes) = host_parts(path)?;
    let parts = hold(parts)?;
    let proc = clone_tree(Path::new("/proc")).stage("mount namespace")?;
    let kept = kept
        .iter()
        .map(|(from, place)| Ok((read_only_tree(from)?, place.trim_start_matches('/'))))
        .collect::<io::Result<Vec<_>>>()
        .stage("packages and runtimes of steps")?;
    let copies = host_copies(HOSTS);

    let base = Path::new("/tmp");
    let base = if base.is_dir() { base } else { Path::new("/run") };
    mount("tenantry", base, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=755,size=16m")
        .stage("mount namespace")?;
    std::env::set_current_dir(base).stage("mount namespace")?;
    for directory in ["template", "proc", "new"] {
        std::fs::create_dir(directory).stage("mount namespace")?;
    }
    put(&proc, Path::new("proc")).stage("mount namespace")?;
    for (tree, place) in kept {
        std::fs::create_dir(place).and_then(|()| put(&tree, Path::new(place))).stage("mount namespace")?;
    }
    let template = Path::new("template");
    mount("tenantry", template, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=755,size=16m")
        .stage("mount namespace")?;
    furnish(template, parts, &copies).stage("mount namespace")?;

    rustix::process::pivot_root(".", ".").stage("pivot_root")?;
    unmount(".", UnmountFlags::DETACH).stage("pivot_root")?;
    std::env::set_current_dir("/").stage("pivot_root")?;
    Ok(notes)
}

/// A part of the host with its place in the sandbox.
#[derive(Debug)]
pub(super) struct Part {
    /// Where it is seen.
    pub(super) place: PathBuf,
    /// What is seen there.
    pub(super) source: Source,
}

/// Where a part comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// A directory or file of the host, read-only.
    Tree(PathBuf),
    /// A device of the host, as it is.
    Device(PathBuf),
    /// A link to somewhere in the sandbox.
    Link(PathBuf),
}

/// A small file that is written anew in a root.
pub(super) struct Copy {
    /// Where.
    pub(super) place: PathBuf,
    /// Its content.
    pub(super) content: Vec<u8>,
    /// Whether it can be started.
    pub(super) executable: bool,
}

impl Copy {
    /// Its permissions.
    pub(super) fn mode(&self) -> u32 {
        if self.executable { 0o555 } else { 0o444 }
    }
}

/// A part whose source is held, whatever is mounted over its path.
pub(super) enum Held {
    Mounts(OwnedFd),
    Link(PathBuf),
}

/// Holds the source of each part.
pub(super) fn hold(parts: Vec<Part>) -> Result<Vec<(PathBuf, Held)>, Broken> {
    let open = |part: Part| {
        let held = match part.source {
            Source::Tree(path) => Held::Mounts(read_only_tree(&path).stage("mount namespace")?),
            Source::Device(path) => Held::Mounts(clone_tree(&path).stage("devices")?),
            Source::Link(target) => Held::Link(target),
        };
        Ok((part.place, held))
    };
    parts.into_iter().map(open).collect()
}

/// The devices of every sandbox, from this machine's.
pub(super) fn device_parts() -> Vec<Part> {
    let device = |name: &str| {
        let place = Path::new("/dev").join(name);
        Part { place: place.clone(), source: Source::Device(place) }
    };
    let link = |(name, target): (&str, &str)| Part {
        place: Path::new("/dev").join(name),
        source: Source::Link(target.into()),
    };
    let links = [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")];
    DEVICES.into_iter().map(device).chain(links.map(link)).collect()
}

/// What every sandbox has of the host, and what is worth knowing about it. `path` is the daemon's search path.
pub(super) fn host_parts(path: &str) -> Result<(Vec<Part>, Vec<String>), Broken> {
    let (mut parts, mut notes) = (device_parts(), Vec::new());
    let mut add = |place: PathBuf, source| parts.push(Part { place, source });
    for place in SHARED.iter().chain(&SHARED_ETC).map(PathBuf::from) {
        if let Ok(target) = std::fs::read_link(&place) {
            add(place, Source::Link(target));
        } else if place.is_dir() {
            add(place.clone(), Source::Tree(place));
        }
    }
    // The clients of the broker are this very program under other names.
    let clients = Path::new(CLIENT_DIRECTORY);
    // By its path, since the link of this process leads into the mount namespace that was just left.
    let program = std::fs::read_link("/proc/self/exe").and_then(std::fs::canonicalize);
    let program = program.stage("this program, under the path it was started by")?;
    add(clients.join("tenantry"), Source::Tree(program));
    for name in ["tenantry-secret", "tenantry-output"] {
        add(clients.join(name), Source::Link("tenantry".into()));
    }
    // What installs packages is in every sandbox and on no search path; where there is no way out it installs nothing.
    match find_program("uv", path).and_then(|found| std::fs::canonicalize(found).ok()) {
        Some(found) if read_head(&found).is_some_and(|head| &head != b"#!") => {
            add(PathBuf::from(INSTALLER), Source::Tree(found));
        }
        _ => notes.push(
            "Python scripts with dependencies are refused, since `uv` is not installed here".to_owned(),
        ),
    }
    for name in INTERPRETERS {
        if find_program(name, SEARCH_PATH).is_some() {
            continue;
        }
        let Some((prefix, program)) = find_program(name, path).and_then(|found| prefix_of(name, &found))
        else {
            continue;
        };
        if std::fs::read_dir(&prefix).is_err() {
            continue;
        }
        notes.push(format!("steps can read `{}`, where this machine's `{name}` lies", prefix.display()));
        add(prefix.clone(), Source::Tree(prefix));
        add(clients.join(name), Source::Link(program));
    }
    Ok((parts, notes))
}

/// The directory that an interpreter outside the system's needs, and its program in there. Never a directory
/// that holds more than the interpreter: one with a `bin` of its own, below the top two levels.
fn prefix_of(name: &str, found: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut program = std::fs::canonicalize(found).ok()?;
    let is_script = read_head(&program).is_some_and(|head| head.starts_with(b"#!"));
    if is_script && name == "python3" {
        // A shim decides at run time; the interpreter itself knows where it is.
        let ask = "import os, sys; print(os.path.realpath(sys.executable))";
        let answer = std::process::Command::new(found)
            .args(["-I", "-c", ask])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home_of(found)?)
            .stdin(std::process::Stdio::null())
            .output()
            .ok()?;
        program = PathBuf::from(String::from_utf8(answer.stdout).ok()?.trim_end());
    } else if is_script {
        return None;
    }
    let bin = program.parent().filter(|bin| bin.file_name() == Some(OsStr::new("bin")))?;
    let prefix = bin.parent().filter(|prefix| prefix.components().count() > 3)?;
    Some((prefix.to_owned(), program.clone()))
}

/// The home directory that a version manager's shim needs: the parent of the hidden directory it lies in.
fn home_of(shim: &Path) -> Option<PathBuf> {
    let hidden = |part: &Path| part.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
    shim.ancestors().find(|part| hidden(part)).and_then(Path::parent).map(Path::to_owned)
}

fn read_head(path: &Path) -> Option<[u8; 2]> {
    let mut head = [0u8; 2];
    io::Read::read_exact(&mut std::fs::File::open(path).ok()?, &mut head).ok()?;
    Some(head)
}

/// Finds a program as a shell does.
pub(super) fn find_program(name: &str, path: &str) -> Option<PathBuf> {
    path.split(':')
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| Path::new(directory).join(name))
        .find(|program| {
            std::fs::metadata(program)
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
}

/// Small files that are written anew in every template. `hosts` is what `/etc/hosts` says.
pub(super) fn host_copies(hosts: &str) -> Vec<Copy> {
    let copied = COPIED_ETC
        .iter()
        .map(PathBuf::from)
        .filter(|path| std::fs::metadata(path).is_ok_and(|found| found.len() <= COPY_BYTES_MAX))
        .filter_map(|place| std::fs::read(&place).ok().map(|content| (place, content)))
        .map(|(place, content)| Copy { place, content, executable: false });
    copied.chain(own_copies(hosts)).collect()
}

/// Those of them that do not come from the machine.
pub(super) fn own_copies(hosts: &str) -> Vec<Copy> {
    let written = [
        (
            "/etc/passwd",
            "root:x:0:0:root:/:/bin/false\nstep:x:1000:1000:step:/work:/bin/sh\n\
             nobody:x:65534:65534:nobody:/:/bin/false\n",
        ),
        ("/etc/group", "root:x:0:\nstep:x:1000:\nnogroup:x:65534:\n"),
        ("/etc/hosts", hosts),
        ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
        ("/etc/host.conf", "multi on\n"),
    ];
    let clients = CLIENTS.map(|(name, content)| (Path::new("/opt/tenantry/lib").join(name), content));
    let written = written.map(|(place, content)| (PathBuf::from(place), content));
    let copy = |(place, content): (PathBuf, &str)| Copy { place, content: content.into(), executable: false };
    clients.into_iter().chain(written).map(copy).collect()
}

/// Makes every place below `template`, a file system of its own, puts the parts there and closes it for writing.
pub(super) fn furnish(template: &Path, parts: Vec<(PathBuf, Held)>, copies: &[Copy]) -> io::Result<()> {
    let inside = |place: &Path| template.join(place.strip_prefix("/").unwrap_or(place));
    for directory in
        ["/proc", "/dev/shm", "/repo", "/work", "/tmp", "/run/tenantry", "/etc", "/opt/tenantry/packages"]
    {
        std::fs::create_dir_all(inside(Path::new(directory)))?;
    }
    for copy in copies {
        let place = inside(&copy.place);
        make_parent(&place)?;
        std::fs::write(&place, &copy.content)?;
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(copy.mode()))?;
    }
    for (place, held) in parts {
        let place = inside(&place);
        make_parent(&place)?;
        match held {
            Held::Link(target) => std::os::unix::fs::symlink(target, place)?,
            Held::Mounts(tree) => {
                let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode);
                if kind == rustix::fs::FileType::Directory {
                    std::fs::create_dir_all(&place)?;
                } else if !place.exists() {
                    std::fs::write(&place, "")?;
                }
                put(&tree, &place)?;
            }
        }
    }
    sys::restrict_mount(CWD, template, READ_ONLY | libc::MOUNT_ATTR_NODEV, false)
}

fn make_parent(place: &Path) -> io::Result<()> {
    place.parent().map_or(Ok(()), std::fs::create_dir_all)
}

/// The same, for reading alone.
fn read_only_tree(path: &Path) -> io::Result<OwnedFd> {
    let tree = clone_tree(path)?;
    sys::restrict_mount(tree.as_fd(), Path::new(""), READ_ONLY | libc::MOUNT_ATTR_NODEV, true)?;
    Ok(tree)
}

/// A copy of the mounts at `path`, attached nowhere yet.
pub(super) fn clone_tree(path: &Path) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(CWD, path, flags)?)
}

/// Attaches a copy of mounts.
pub(super) fn put(tree: &OwnedFd, place: &Path) -> io::Result<()> {
    Ok(move_mount(tree, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}
