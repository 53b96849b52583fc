//! Control groups, versions 1 and 2: the limits of a whole process tree.
//!
//! Everything lies below `tenantry-INSTANCE` in the group that the daemon itself was put in, never above it.
//! Where both versions are mounted, each controller is taken from the one that has it.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::process::{Pid, Signal};

use super::super::wire::{Attempt, Used};

/// The group of the daemon and its helper in version 2, in which a group that hands controllers down has no process.
const LEAF: &str = "tenantry-daemon";

/// A controller that limits or counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Controller {
    /// Bytes.
    Memory,
    /// Processes and threads.
    Pids,
    /// Time.
    Cpu,
    /// Time, counted only; a controller of its own in version 1.
    CpuAccount,
}

/// Which of the two interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// One mounted hierarchy with controllers that we use.
#[derive(Debug)]
struct Hierarchy {
    version: Version,
    controllers: BTreeSet<Controller>,
    /// The directory of this instance.
    instance: OwnedFd,
}

/// Where a hierarchy is mounted and where the daemon stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    own: PathBuf,
    version: Version,
    controllers: BTreeSet<Controller>,
}

/// The hierarchies of this machine that can be used.
#[derive(Debug, Default)]
pub(super) struct Groups {
    hierarchies: Vec<Hierarchy>,
    /// Why some cannot.
    pub(super) gaps: Vec<(Controller, String)>,
    /// The daemon's own groups, in the same order as `hierarchies`.
    own: Vec<OwnedFd>,
    instance: String,
}

/// The group of one attempt, in every hierarchy.
#[derive(Debug)]
pub(super) struct Group {
    name: String,
    members: Vec<OwnedFd>,
    meter: Meter,
}

/// The files that say what a group used, held open: whoever holds them need not see the group.
#[derive(Debug, Default)]
pub(super) struct Meter(Vec<(Count, OwnedFd)>);

/// One number of a group, by how it is written.
#[derive(Clone, Copy, Debug)]
enum Count {
    MemoryBytesMax,
    MemoryKills,
    PidRefusals,
    CpuMicroseconds,
    CpuNanoseconds,
}

impl Groups {
    /// Finds the hierarchies, makes this instance's directory in each and sees whether limits can be set there.
    pub(super) fn open(instance: &str) -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let found = find(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        let mut groups = Self { instance: format!("tenantry-{instance}"), ..Self::default() };
        for mut hierarchy in found {
            if hierarchy.version == Version::Two {
                hierarchy.controllers = controllers_of_version_two(&hierarchy.own);
            }
            if hierarchy.controllers.is_empty() {
                continue;
            }
            match groups.take(&hierarchy).and_then(|taken| Ok((taken, open_directory(&hierarchy.own)?))) {
                Ok((taken, own)) => {
                    groups.own.push(own);
                    groups.hierarchies.push(taken);
                }
                Err(error) => {
                    let why = format!("`{}`: {error}", hierarchy.own.display());
                    groups.gaps.extend(hierarchy.controllers.iter().map(|one| (*one, why.clone())));
                }
            }
        }
        groups
    }

    fn take(&self, found: &Found) -> io::Result<Hierarchy> {
        if found.version == Version::Two {
            delegate(&found.own, &found.controllers)?;
        }
        let path = found.own.join(&self.instance);
        make_directory(&path)?;
        if found.version == Version::Two {
            std::fs::write(path.join("cgroup.subtree_control"), enable(&found.controllers))?;
        }
        Ok(Hierarchy {
            version: found.version,
            controllers: found.controllers.clone(),
            instance: open_directory(&path)?,
        })
    }

    /// Uses no control group from now on.
    pub(super) fn give_up(&mut self, why: &str) {
        for hierarchy in self.hierarchies.drain(..) {
            self.gaps.extend(hierarchy.controllers.iter().map(|one| (*one, why.to_owned())));
        }
    }

    /// Whether a controller can be used.
    pub(super) fn has(&self, controller: Controller) -> bool {
        self.hierarchies.iter().any(|hierarchy| hierarchy.controllers.contains(&controller))
    }

    /// Makes the group of one attempt, without limits yet.
    ///
    /// # Errors
    /// Whatever the system says; then nothing is left.
    pub(super) fn create(&self, name: String) -> io::Result<Group> {
        let mut group = Group { name, members: Vec::new(), meter: Meter::default() };
        for hierarchy in &self.hierarchies {
            let made = rustix::fs::mkdirat(&hierarchy.instance, &group.name, Mode::from_raw_mode(0o755))
                .map_err(io::Error::from)
                .and_then(|()| open_directory_at(&hierarchy.instance, &group.name));
            match made {
                Ok(member) => {
                    group.meter.add(hierarchy, &member);
                    group.members.push(member);
                }
                Err(error) => {
                    self.remove(&group);
                    return Err(error);
                }
            }
        }
        Ok(group)
    }

    /// Sets the limits of an attempt, before anything of it runs. `own` counts the processes of ours among them, which
    /// the script has besides.
    ///
    /// # Errors
    /// Whatever the system says.
    pub(super) fn limit(&self, group: &Group, attempt: &Attempt, own: u32) -> io::Result<()> {
        for (hierarchy, member) in self.hierarchies.iter().zip(&group.members) {
            limit(hierarchy, member.as_fd(), attempt, own)?;
        }
        Ok(())
    }

    /// The directory that a new process can be born in (version 2).
    pub(super) fn birth<'a>(&self, group: &'a Group) -> Option<BorrowedFd<'a>> {
        let two = self.hierarchies.iter().position(|hierarchy| hierarchy.version == Version::Two)?;
        group.members.get(two).map(AsFd::as_fd)
    }

    /// Files through which a process puts itself into the group (version 1). They are opened here, since the
    /// kernel judges by who opened them.
    ///
    /// # Errors
    /// Whatever the system says.
    pub(super) fn doors(&self, group: &Group) -> io::Result<Vec<OwnedFd>> {
        let ones = self.hierarchies.iter().zip(&group.members).filter(|(h, _)| h.version == Version::One);
        ones.map(|(_, member)| {
            Ok(rustix::fs::openat(member, "tasks", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?)
        })
        .collect()
    }

    /// Removes a group whose processes are dead; `false` if the kernel still holds on to it.
    pub(super) fn remove(&self, group: &Group) -> bool {
        let mut gone = true;
        for hierarchy in &self.hierarchies {
            let answer = rustix::fs::unlinkat(&hierarchy.instance, &group.name, AtFlags::REMOVEDIR);
            gone &= matches!(answer, Ok(()) | Err(rustix::io::Errno::NOENT));
        }
        gone
    }

    /// Kills every process in groups of earlier helpers of this instance and removes the groups. `keep` names
    /// those of this helper.
    ///
    /// # Errors
    /// If something is still there after two seconds.
    pub(super) fn sweep(&self, keep: &BTreeSet<String>) -> io::Result<usize> {
        let mut swept = BTreeSet::new();
        for hierarchy in &self.hierarchies {
            for name in names_in(&hierarchy.instance)? {
                if keep.contains(&name) {
                    continue;
                }
                empty_and_remove(hierarchy, &name)?;
                swept.insert(name);
            }
        }
        Ok(swept.len())
    }

    /// Removes this instance's own directories, which works once they are empty.
    pub(super) fn close(&self) {
        for own in &self.own {
            rustix::fs::unlinkat(own, &self.instance, AtFlags::REMOVEDIR).ok();
        }
    }
}

impl Meter {
    /// Opens what one hierarchy tells of a group. What it lacks is not told.
    fn add(&mut self, hierarchy: &Hierarchy, member: &OwnedFd) {
        let two = hierarchy.version == Version::Two;
        for controller in &hierarchy.controllers {
            let files: &[(Count, &str)] = match controller {
                Controller::Memory if two => {
                    &[(Count::MemoryBytesMax, "memory.peak"), (Count::MemoryKills, "memory.events")]
                }
                Controller::Memory => &[
                    (Count::MemoryBytesMax, "memory.max_usage_in_bytes"),
                    (Count::MemoryKills, "memory.oom_control"),
                ],
                Controller::Pids => &[(Count::PidRefusals, "pids.events")],
                Controller::Cpu if two => &[(Count::CpuMicroseconds, "cpu.stat")],
                Controller::CpuAccount => &[(Count::CpuNanoseconds, "cpuacct.usage")],
                Controller::Cpu => &[],
            };
            for (count, name) in files {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                if let Ok(file) = rustix::fs::openat(member, *name, flags, Mode::empty()) {
                    self.0.push((*count, file));
                }
            }
        }
    }

    /// The descriptors, for whoever closes all others.
    pub(super) fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|(_, file)| file.as_fd())
    }

    /// Puts what the group used, as far as it is told, in the place of what is known of single processes.
    pub(super) fn read(&self, used: &mut Used) {
        for (count, file) in &self.0 {
            let mut text = [0u8; 4096];
            let Ok(length) = rustix::io::pread(file, &mut text, 0) else { continue };
            let text = String::from_utf8_lossy(&text[..length]);
            match count {
                Count::MemoryBytesMax => used.memory_bytes_max = number(&text),
                Count::MemoryKills => used.memory_kills = field(&text, "oom_kill"),
                Count::PidRefusals => used.pid_refusals = field(&text, "max"),
                Count::CpuMicroseconds => used.cpu_ms = field(&text, "usage_usec") / 1000,
                Count::CpuNanoseconds => used.cpu_ms = number(&text) / 1_000_000,
            }
        }
    }
}

impl Group {
    /// Tells what it used.
    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }
    /// Its directory's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// Finds, in the text of `/proc/self/mountinfo` and `/proc/self/cgroup`, the hierarchies and our place in them.
fn find(mounts: &str, memberships: &str) -> Vec<Found> {
    let mut found = Vec::new();
    for line in memberships.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let version = if controllers.is_empty() { Version::Two } else { Version::One };
        let ours: BTreeSet<Controller> = controllers.split(',').filter_map(controller).collect();
        if version == Version::One && ours.is_empty() {
            continue;
        }
        for mount in mounts.lines() {
            let Some((mut own, options)) = place(mount, version, path) else { continue };
            // Where an earlier helper moved the daemon to: the attempts lie beside it, those that it left too.
            if version == Version::Two && own.ends_with(LEAF) {
                own.pop();
            }
            if version == Version::Two
                || controllers.split(',').all(|one| options.split(',').any(|o| o == one))
            {
                found.push(Found { own, version, controllers: ours.clone() });
                break;
            }
        }
    }
    found
}

/// Where `path` of a hierarchy lies under one mount of it, and the mount's options.
fn place<'a>(mount: &'a str, version: Version, path: &str) -> Option<(PathBuf, &'a str)> {
    let (before, after) = mount.split_once(" - ")?;
    let mut after = after.split(' ');
    let kind = after.next()?;
    let options = after.nth(1)?;
    if kind != (if version == Version::Two { "cgroup2" } else { "cgroup" }) {
        return None;
    }
    let mut before = before.split(' ').skip(3);
    let (root, point) = (before.next()?, before.next()?);
    // A container often sees only its own part of the hierarchy mounted.
    let below = Path::new(path).strip_prefix(root).or_else(|_| Path::new(path).strip_prefix("/")).ok()?;
    // Component by component, so that no slash stands at the end of a mount point itself.
    Some((Path::new(point).components().chain(below.components()).collect(), options))
}

fn controller(name: &str) -> Option<Controller> {
    match name {
        "memory" => Some(Controller::Memory),
        "pids" => Some(Controller::Pids),
        "cpu" => Some(Controller::Cpu),
        "cpuacct" => Some(Controller::CpuAccount),
        _ => None,
    }
}

fn controllers_of_version_two(own: &Path) -> BTreeSet<Controller> {
    let text = std::fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
    text.split_whitespace().filter_map(controller).collect()
}

/// What is written into `cgroup.subtree_control` to hand controllers down.
fn enable(controllers: &BTreeSet<Controller>) -> String {
    let names = controllers.iter().filter_map(|one| match one {
        Controller::Memory => Some("+memory"),
        Controller::Pids => Some("+pids"),
        Controller::Cpu => Some("+cpu"),
        Controller::CpuAccount => None,
    });
    names.collect::<Vec<_>>().join(" ")
}

/// Makes our own group of version 2 hand its controllers down. A group with processes may not, so the daemon
/// and this helper move into a leaf beside the attempts, if nobody else is in the group.
fn delegate(own: &Path, controllers: &BTreeSet<Controller>) -> io::Result<()> {
    let control = own.join("cgroup.subtree_control");
    let enabled = std::fs::read_to_string(&control)?;
    let enabled: BTreeSet<Controller> = enabled.split_whitespace().filter_map(controller).collect();
    if controllers.is_subset(&enabled) {
        return Ok(());
    }
    let wanted = enable(controllers);
    match std::fs::write(&control, &wanted) {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
        answer => return answer,
    }
    let this = std::process::id().to_string();
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string()).unwrap_or_default();
    let members = std::fs::read_to_string(own.join("cgroup.procs"))?;
    if members.split_whitespace().any(|member| member != this && member != parent) {
        return Err(io::Error::other("other processes share this group"));
    }
    let leaf = own.join(LEAF);
    make_directory(&leaf)?;
    for member in members.split_whitespace() {
        std::fs::write(leaf.join("cgroup.procs"), member)?;
    }
    std::fs::write(&control, &wanted)
}

fn limit(hierarchy: &Hierarchy, member: BorrowedFd<'_>, attempt: &Attempt, own: u32) -> io::Result<()> {
    let pids = (u64::from(attempt.pids) + u64::from(own)).to_string();
    let memory = attempt.memory.to_string();
    let quota = u64::from(attempt.cpu_millis) * PERIOD_US / 1000;
    let set = |name: &str, value: &str| write_at(member, name, value);
    let two = hierarchy.version == Version::Two;
    for controller in &hierarchy.controllers {
        match controller {
            Controller::Memory if two => {
                set("memory.max", &memory)?;
                unless_absent(set("memory.swap.max", "0"))?;
            }
            Controller::Memory => {
                set("memory.limit_in_bytes", &memory)?;
                unless_absent(set("memory.memsw.limit_in_bytes", &memory))?;
            }
            Controller::Pids => set("pids.max", &pids)?,
            Controller::Cpu if two => set("cpu.max", &format!("{quota} {PERIOD_US}"))?,
            Controller::Cpu => set("cpu.cfs_quota_us", &quota.to_string())?,
            Controller::CpuAccount => {}
        }
    }
    Ok(())
}

/// The period over which processor time is shared out, the kernel's default.
const PERIOD_US: u64 = 100_000;

fn unless_absent(answer: io::Result<()>) -> io::Result<()> {
    answer.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn empty_and_remove(hierarchy: &Hierarchy, name: &str) -> io::Result<()> {
    let member = open_directory_at(&hierarchy.instance, name)?;
    for _ in 0..200 {
        if write_at(&member, "cgroup.kill", "1").is_err() {
            for pid in read_at(&member, "cgroup.procs").unwrap_or_default().split_whitespace() {
                if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                    rustix::process::kill_process(pid, Signal::KILL).ok();
                }
            }
        }
        match rustix::fs::unlinkat(&hierarchy.instance, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
    }
    Err(io::Error::other(format!("the control group `{name}` cannot be removed")))
}

fn make_directory(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        answer => answer,
    }
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn open_directory_at(directory: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}

fn names_in(directory: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type() == rustix::fs::FileType::Directory && name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn read_at(directory: &OwnedFd, name: &str) -> io::Result<String> {
    let file = rustix::fs::openat(directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    io::read_to_string(std::fs::File::from(file))
}

fn write_at(directory: impl AsFd, name: &str, value: &str) -> io::Result<()> {
    let file = rustix::fs::openat(directory, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    io::Write::write_all(&mut std::fs::File::from(file), value.as_bytes())
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

/// The number after `name` in lines of `name number`.
fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mounts: &str, memberships: &str, want: &[(&str, Version, &[Controller])]) {
        let found = find(mounts, memberships);
        let found: Vec<_> = found
            .iter()
            .map(|one| {
                let controllers: Vec<_> = one.controllers.iter().copied().collect();
                (one.own.to_str().unwrap().to_owned(), one.version, controllers)
            })
            .collect();
        let want: Vec<_> = want.iter().map(|(p, v, c)| ((*p).to_owned(), *v, c.to_vec())).collect();
        assert_eq!(found, want);
    }

    #[test]
    fn one_hierarchy_of_version_two() {
        check(
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
            "0::/system.slice/tenantry.service\n",
            &[("/sys/fs/cgroup/system.slice/tenantry.service", Version::Two, &[])],
        );
    }

    #[test]
    fn a_helper_that_follows_another_finds_the_same_place() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let unit = [("/sys/fs/cgroup/system.slice/tenantry.service", Version::Two, &[][..])];
        check(mounts, "0::/system.slice/tenantry.service/tenantry-daemon\n", &unit);
        check(mounts, "0::/tenantry-daemon-2\n", &[("/sys/fs/cgroup/tenantry-daemon-2", Version::Two, &[])]);
    }

    #[test]
    fn several_hierarchies_of_version_one_with_the_daemon_deep_in_one() {
        check(
            "1 2 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             3 2 0:3 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             4 2 0:4 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n",
            "6:freezer:/\n4:memory:/a/b\n2:cpu,cpuacct:/\n",
            &[
                ("/sys/fs/cgroup/memory/a/b", Version::One, &[Controller::Memory]),
                ("/sys/fs/cgroup/cpu,cpuacct", Version::One, &[Controller::Cpu, Controller::CpuAccount]),
            ],
        );
    }

    #[test]
    fn a_container_that_sees_its_own_part_only() {
        check(
            "1 2 0:1 /docker/x /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids\n",
            "4:pids:/docker/x\n",
            &[("/sys/fs/cgroup/pids", Version::One, &[Controller::Pids])],
        );
    }

    #[test]
    fn counters_are_read_by_their_whole_name() {
        let events = "low 0\noom 7\noom_kill 2\noom_group_kill 1\n";
        assert_eq!((field(events, "oom"), field(events, "oom_kill"), field(events, "max")), (7, 2, 0));
    }
}
