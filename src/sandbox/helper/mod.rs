//! The helper: a small resident process, `tenantry sandbox-exec`, that makes sandboxes for its daemon.
//!
//! It has one thread, no key and no database, and its own root file system is the template of the sandboxes.
//! One clone of it is one attempt; the one of the next attempt is made while this one runs. Its life hangs on
//! the socket at its standard input: when the daemon goes, so does the helper, and every attempt dies with the
//! helper.
#![expect(clippy::disallowed_methods, reason = "this is the adapter to processes, mounts and control groups")]

mod bubblewrap;
mod filter;
mod first;
mod groups;
mod ids;
mod probe;
mod rootfs;
mod runtime;
mod spare;
mod sys;
mod undertaker;
mod walls;
mod ways;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use self::bubblewrap::Bubblewrap;
use self::filter::Filter;
use self::groups::{Group, Groups};
use self::ids::Ids;
use self::runtime::Kit;
use self::spare::Spare;
use self::undertaker::Undertaker;
use super::wire::{self, Attempt, Down, News, Order, Report};
use crate::domain::{LimitsKind, Tier};

/// The time that an attempt takes to rise and to start its script.
const RISING: Duration = Duration::from_micros(1_500);

/// What a helper has found out about the machine and uses for every attempt.
struct Host {
    tier: Tier,
    limits: LimitsKind,
    instance: String,
    path: String,
    groups: Groups,
    ids: Ids,
    filter: Filter,
    /// The namespaces that a first process is born into (`CLONE_NEW…`).
    namespaces: u64,
    user_namespace: bool,
    cgroup_namespace: bool,
    /// What programs of ours are started with in a root that is not this machine's.
    kit: Kit,
    /// What raises the walls of the tier of that name.
    bubblewrap: Option<Bubblewrap>,
}

impl Host {
    /// Whether control groups limit every tree.
    fn has_groups(&self) -> bool {
        self.limits == LimitsKind::Enforced
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
    /// Its first process, by what was kept of it.
    first: Spare,
    control: OwnedFd,
    directory: Option<PathBuf>,
}

/// Runs the helper on the socket at standard input until the daemon closes it.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(2);
    let answer = match arguments.next() {
        Some(argument) if argument == bubblewrap::INSIDE => bubblewrap::live_inside(arguments),
        _ => serve().map(|()| ExitCode::SUCCESS),
    };
    match answer {
        Ok(code) => code,
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
    // For every child from here on, which would take longer each time.
    sys::default_signals();
    sys::ignore_ends_of_pipes();
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
    if host.tier != Tier::Sandbox {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    }
    let sandboxed = host.tier == Tier::Sandbox && capabilities.refusal().is_none();
    let undertaker = if sandboxed { Undertaker::start().ok() } else { None };
    wire::send(daemon.as_fd(), &Report::Ready(capabilities), &[])?;
    let mut helper = Helper {
        host,
        children: HashMap::new(),
        dying: Vec::new(),
        spare: None,
        shown_more: false,
        spare_due: None,
        undertaker,
        starts: 0,
    };
    let answer = helper.take_orders(daemon.as_fd(), &deaths);
    helper.end();
    answer
}

struct Helper {
    host: Host,
    children: HashMap<Pid, Child>,
    /// Groups that the kernel would not remove yet.
    dying: Vec<Group>,
    /// The sandbox of the next attempt. Made after the first start, so that a helper without work makes none and
    /// a sweep comes first.
    spare: Option<(Pid, Spare)>,
    /// Whether the last attempt was shown something that lies in the helper's root.
    shown_more: bool,
    /// When the next one is made: not while the attempt that took the last one rises, which would wait for a
    /// processor behind it.
    spare_due: Option<Instant>,
    /// Lets go of the mounts of dead attempts, which takes the kernel longer than a step may wait.
    undertaker: Option<Undertaker>,
    /// Counts first processes, which names their control groups.
    starts: u64,
}

impl Helper {
    fn take_orders(&mut self, daemon: BorrowedFd<'_>, deaths: &SignalFd) -> io::Result<()> {
        loop {
            let mut watched =
                [PollFd::new(deaths, PollFlags::IN), PollFd::from_borrowed_fd(daemon, PollFlags::IN)];
            // Wakes by itself only to try again what the kernel would not remove.
            let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            let due = self.spare_due.map(|due| {
                let left = due.saturating_duration_since(Instant::now());
                rustix::event::Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() }
            });
            let wait = due.as_ref().or((!self.dying.is_empty()).then_some(&pause));
            match poll(&mut watched, wait) {
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
            } else if self.spare_due.is_some_and(|due| due <= Instant::now()) {
                self.prepare_spare();
            }
        }
    }

    /// Makes the sandbox of the next attempt. One that cannot be made is tried again when it is needed, where its
    /// failure has somebody to be told to.
    fn prepare_spare(&mut self) {
        self.spare_due = None;
        self.starts += 1;
        self.spare = spare::make(&self.host, self.starts, !self.shown_more, None).ok();
    }

    fn obey(&mut self, order: Order, beside: Vec<OwnedFd>, daemon: BorrowedFd<'_>) -> io::Result<()> {
        match order {
            Order::Configure(_) => Err(io::Error::other("it is configured already")),
            Order::Start(attempt) => {
                let Ok([parcel, stdout, stderr, control]) = <[OwnedFd; 4]>::try_from(beside) else {
                    return Err(io::Error::other("a start came without its four descriptors"));
                };
                let ready = self.spare.take_if(|(_, spare)| spare.serves(&attempt));
                self.starts += 1;
                // The next attempt is most often like this one.
                self.shown_more = attempt.shown_more;
                let due = self.host.tier == Tier::Sandbox && self.spare.is_none();
                self.spare_due = due.then(|| Instant::now() + RISING);
                let streams = [parcel, stdout, stderr];
                match spare::start(&self.host, ready, self.starts, &attempt, streams, control.as_fd()) {
                    Ok((pid, first)) => {
                        let directory =
                            (self.host.tier == Tier::UnsafeNone).then(|| self.host.directory_of(&attempt));
                        let child = Child { id: attempt.id, first, control, directory };
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
        let mut killed = false;
        let left = loop {
            match sys::reap() {
                Ok(Some(dead)) => {
                    killed |= self.host.tier == Tier::Bubblewrap && dead.signal.is_some();
                    self.report(dead);
                }
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        if left && (self.host.tier == Tier::UnsafeNone || killed) {
            // Orphans of a first process, or of a `bwrap`, that was killed come here; nobody else does.
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
        if let Some((_, spare)) = self.spare.take_if(|(pid, _)| *pid == dead.pid) {
            self.dying.extend(spare.group);
            self.spare_due = Some(Instant::now());
        }
        let Some(child) = self.children.remove(&dead.pid) else { return };
        let mut down = Down { used: dead.used(), problem: None };
        // One that ended well has told it itself, where it can read it.
        let told = self.host.tier == Tier::Sandbox && dead.code == Some(0);
        if let Some(group) = child.first.group.as_ref().filter(|_| !told) {
            group.meter().read(&mut down.used);
        }
        // Who ended well had nothing to say.
        if let Some(said) = child.first.said.as_ref().filter(|_| dead.code.is_some_and(|code| code != 0)) {
            down.problem = bubblewrap::read_said(said);
        }
        if let Some(directory) = child.directory
            && let Err(error) = std::fs::remove_dir_all(directory)
            && error.kind() != io::ErrorKind::NotFound
        {
            down.problem = Some(format!("its directory cannot be removed: {error}"));
        }
        drop(wire::send(child.control.as_fd(), &News::Down(down), &[]));
        // Whoever waited for this one may ask for the next.
        self.spare_due = self.spare_due.map(|_| Instant::now());
        // Whatever else is to be taken down is nobody's to wait for.
        if let (Some(undertaker), Some(mounts)) = (&self.undertaker, &child.first.mounts) {
            undertaker.take(mounts);
        }
        if let Some(group) = child.first.group
            && !self.host.groups.remove(&group)
        {
            self.dying.push(group);
        }
    }

    fn sweep(&self) -> Report {
        let living = self.children.values().filter_map(|child| child.first.group.as_ref());
        let spare = self.spare.iter().filter_map(|(_, spare)| spare.group.as_ref());
        let keep: BTreeSet<String> =
            living.chain(spare).chain(&self.dying).map(|group| group.name().to_owned()).collect();
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
                            // A helper that is still dying may be faster.
                            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
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
        self.undertaker = None;
        if let Some((pid, spare)) = self.spare.take() {
            spare.discard(&self.host, pid);
        }
        let patience = Duration::from_millis(2);
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
    rustix::process::pidfd_send_signal(&child.first.handle, rustix::process::Signal::KILL).ok();
}
