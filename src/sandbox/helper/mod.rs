//! The helper: a small resident process, `tenantry sandbox-exec`, that makes sandboxes for its daemon.
//!
//! It has one thread, no key and no database, and its own root file system is the template of the sandboxes.
//! One clone of it is one attempt. Its life hangs on the socket at its standard input: when the daemon goes,
//! so does the helper, and every attempt dies with the helper.
#![expect(clippy::disallowed_methods, reason = "this is the adapter to processes, mounts and control groups")]

mod filter;
mod first;
mod groups;
mod ids;
mod probe;
mod rootfs;
mod sys;
mod walls;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use self::filter::Filters;
use self::first::Hands;
use self::groups::{Controller, Group, Groups};
use self::ids::Ids;
use super::wire::{self, Attempt, Down, News, Order, Report};
use crate::domain::{LimitsKind, Tier};

/// What a helper has found out about the machine and uses for every attempt.
struct Host {
    tier: Tier,
    limits: LimitsKind,
    instance: String,
    path: String,
    groups: Groups,
    ids: Ids,
    filters: Filters,
    /// The namespaces that a first process is born into (`CLONE_NEW…`).
    namespaces: u64,
    user_namespace: bool,
    cgroup_namespace: bool,
}

impl Host {
    /// Whether control groups limit every tree.
    fn has_groups(&self) -> bool {
        self.groups.has(Controller::Memory) && self.groups.has(Controller::Pids)
    }
    /// Where an attempt of the tier `unsafe-none` has its files.
    fn directory_of(&self, attempt: &Attempt) -> PathBuf {
        self.directory().join(attempt.id.to_string())
    }
    fn directory(&self) -> PathBuf {
        std::env::temp_dir().join(format!("tenantry-{}", self.instance))
    }
}

/// An attempt that lives.
struct Child {
    id: u64,
    handle: OwnedFd,
    control: OwnedFd,
    group: Option<Group>,
    directory: Option<PathBuf>,
}

/// A first process that has just been started.
struct Born {
    pid: Pid,
    handle: OwnedFd,
    group: Option<Group>,
}

/// Runs the helper on the socket at standard input until the daemon closes it.
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = format!("tenantry: the sandbox helper ends: {error}\n");
            rustix::io::write(rustix::stdio::stderr(), text.as_bytes()).ok();
            ExitCode::from(3)
        }
    }
}

fn serve() -> io::Result<()> {
    let daemon = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    if !matches!(rustix::net::sockopt::socket_type(&daemon), Ok(rustix::net::SocketType::SEQPACKET)) {
        return Err(io::Error::other("it is started by tenantry itself, never by hand"));
    }
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    drop(null);
    // What ends a terminal's programs or a unit's must not end the helper before its daemon.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let deaths = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;

    let Some((Order::Configure(configure), _)) = wire::receive::<Order>(daemon.as_fd())? else {
        return Err(io::Error::other("the first message does not configure it"));
    };
    let (host, capabilities) = probe::find_out(configure);
    if host.tier == Tier::UnsafeNone {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    }
    wire::send(daemon.as_fd(), &Report::Ready(capabilities), &[])?;
    let mut helper = Helper { host, children: HashMap::new(), dying: Vec::new() };
    let answer = helper.take_orders(daemon.as_fd(), &deaths);
    helper.end();
    answer
}

struct Helper {
    host: Host,
    children: HashMap<Pid, Child>,
    /// Groups that the kernel would not remove yet.
    dying: Vec<Group>,
}

impl Helper {
    fn take_orders(&mut self, daemon: BorrowedFd<'_>, deaths: &SignalFd) -> io::Result<()> {
        loop {
            let mut watched =
                [PollFd::new(deaths, PollFlags::IN), PollFd::from_borrowed_fd(daemon, PollFlags::IN)];
            // Wakes by itself only to try again what the kernel would not remove.
            let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            match poll(&mut watched, (!self.dying.is_empty()).then_some(&pause)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ordered = !watched[1].revents().is_empty();
            while let Ok(Some(_)) = deaths.read_signal() {}
            self.bury();
            if ordered {
                match wire::receive::<Order>(daemon)? {
                    None => return Ok(()),
                    Some((order, beside)) => self.obey(order, beside, daemon)?,
                }
            }
        }
    }

    fn obey(&mut self, order: Order, beside: Vec<OwnedFd>, daemon: BorrowedFd<'_>) -> io::Result<()> {
        match order {
            Order::Configure(_) => Err(io::Error::other("it is configured already")),
            Order::Start(attempt) => {
                let Ok([parcel, stdout, stderr, control]) = <[OwnedFd; 4]>::try_from(beside) else {
                    return Err(io::Error::other("a start came without its four descriptors"));
                };
                match start(&self.host, &attempt, [parcel, stdout, stderr], control.as_fd()) {
                    Ok(Born { pid, handle, group }) => {
                        let directory =
                            (self.host.tier == Tier::UnsafeNone).then(|| self.host.directory_of(&attempt));
                        let child = Child { id: attempt.id, handle, control, group, directory };
                        self.children.insert(pid, child);
                    }
                    Err(broken) => {
                        let news =
                            News::Broken { stage: broken.stage.to_owned(), why: broken.error.to_string() };
                        // A daemon that has let go of the attempt need not hear of it.
                        drop(wire::send(control.as_fd(), &news, &[]));
                    }
                }
                Ok(())
            }
            Order::Kill { id } => {
                for child in self.children.values().filter(|child| child.id == id) {
                    kill(child);
                }
                Ok(())
            }
            Order::Sweep => {
                let report = self.sweep();
                wire::send(daemon, &report, &[])
            }
        }
    }

    /// Takes dead first processes off the list and reports each. Gives whether any child is left.
    fn bury(&mut self) -> bool {
        let left = loop {
            match sys::reap() {
                Ok(Some(dead)) => self.report(dead),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        if left && self.host.tier == Tier::UnsafeNone {
            // Orphans of a first process that was killed come here; nobody else does.
            for child in first::children_of_this() {
                if !self.children.contains_key(&child) {
                    rustix::process::kill_process(child, rustix::process::Signal::KILL).ok();
                }
            }
        }
        let groups = &self.host.groups;
        self.dying.retain(|group| !groups.remove(group));
        left
    }

    fn report(&mut self, dead: sys::Reaped) {
        if let Some(child) = self.children.remove(&dead.pid) {
            let mut down =
                Down { cpu_ms: dead.cpu_ms, memory_bytes_max: dead.memory_bytes_max, ..Down::default() };
            if let Some(group) = child.group {
                self.host.groups.read(&group, &mut down);
                if !self.host.groups.remove(&group) {
                    self.dying.push(group);
                }
            }
            if let Some(directory) = child.directory
                && let Err(error) = std::fs::remove_dir_all(directory)
                && error.kind() != io::ErrorKind::NotFound
            {
                down.problem = Some(format!("its directory cannot be removed: {error}"));
            }
            drop(wire::send(child.control.as_fd(), &News::Down(down), &[]));
        }
    }

    fn sweep(&self) -> Report {
        let living = self.children.values().filter_map(|child| child.group.as_ref());
        let keep: BTreeSet<String> = living.chain(&self.dying).map(|group| group.name().to_owned()).collect();
        let mut problems = Vec::new();
        let mut count = self.host.groups.sweep(&keep).unwrap_or_else(|error| {
            problems.push(error.to_string());
            0
        });
        if self.host.tier == Tier::UnsafeNone && self.children.is_empty() {
            match std::fs::read_dir(self.host.directory()) {
                Ok(entries) => {
                    for entry in entries.flatten() {
                        match std::fs::remove_dir_all(entry.path()) {
                            Ok(()) => count += 1,
                            Err(error) => problems.push(format!("`{}`: {error}", entry.path().display())),
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => problems.push(error.to_string()),
            }
        }
        Report::Swept { count, problem: (!problems.is_empty()).then(|| problems.join(" · ")) }
    }

    /// Kills what lives and removes what is ours.
    fn end(&mut self) {
        self.children.values().for_each(kill);
        let patience = std::time::Duration::from_millis(2);
        for _ in 0..2500 {
            if !self.bury() && self.dying.is_empty() {
                break;
            }
            std::thread::sleep(patience);
        }
        self.host.groups.close();
        if self.host.tier == Tier::UnsafeNone {
            drop(std::fs::remove_dir(self.host.directory()));
        }
    }
}

fn kill(child: &Child) {
    rustix::process::pidfd_send_signal(&child.handle, rustix::process::Signal::KILL).ok();
}

/// Starts the first process of an attempt. In the new process it does not return.
fn start(
    host: &Host,
    attempt: &Attempt,
    [parcel, stdout, stderr]: [OwnedFd; 3],
    control: BorrowedFd<'_>,
) -> Result<Born, rootfs::Broken> {
    use rootfs::Stage;
    let group =
        if host.has_groups() { Some(host.groups.create(attempt).stage("control groups")?) } else { None };
    let born = || -> Result<(Pid, OwnedFd), rootfs::Broken> {
        let doors = group.as_ref().map_or(Ok(Vec::new()), |group| host.groups.doors(group));
        let doors = doors.stage("control groups")?;
        let (go, gate) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).stage("the helper")?;
        let birth = group.as_ref().and_then(|group| host.groups.birth(group));
        match sys::fork(host.namespaces, birth).stage("namespaces")? {
            sys::Side::Child => {
                drop(gate);
                first::live(host, attempt, control, Hands { go, doors, parcel, stdout, stderr })
            }
            sys::Side::Parent(pid, handle) => {
                let opened = open_gate(host, attempt, pid, &gate);
                if opened.is_err() {
                    rustix::process::pidfd_send_signal(&handle, rustix::process::Signal::KILL).ok();
                }
                opened.stage("user namespace").map(|()| (pid, handle))
            }
        }
    };
    match born() {
        Ok((pid, handle)) => Ok(Born { pid, handle, group }),
        Err(broken) => {
            if let Some(group) = group {
                host.groups.remove(&group);
            }
            Err(broken)
        }
    }
}

/// Does the helper's part for a newborn and lets it go on.
fn open_gate(host: &Host, attempt: &Attempt, pid: Pid, gate: &OwnedFd) -> io::Result<()> {
    if host.user_namespace {
        host.ids.map(&attempt.tenant, pid)?;
    }
    // When the machine runs out of memory, a step goes before anything that keeps records.
    drop(std::fs::write(format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero()), "500"));
    rustix::io::write(gate, b"g")?;
    Ok(())
}
