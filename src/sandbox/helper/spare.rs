//! A sandbox that stands ready before anybody has asked for it.
//!
//! Most of the walls are the same for every attempt: namespaces, an empty control group, the system's files, a
//! `/proc` of its own. They are raised around a first process beforehand, which then waits for its attempt. Nothing
//! of a tenant is in them, no script has ever run between them, and each serves one attempt and dies with it: a
//! sandbox is prepared early, never used again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, WaitOptions};

use super::super::wire::{self, Attempt};
use super::groups::Group;
use super::rootfs::{Broken, Stage};
use super::{Host, bubblewrap, first, sys};
use crate::domain::Tier;

/// A first process that waits for its attempt, or has just got it.
pub(super) struct Spare {
    /// Signals reach it by this.
    pub(super) handle: OwnedFd,
    /// Its control group, without limits until it is employed.
    pub(super) group: Option<Group>,
    /// Keeps its mounts when it is dead, so that its death need not wait until they are taken down.
    pub(super) mounts: Option<OwnedFd>,
    /// What `bwrap` complained of, in the tier of that name.
    pub(super) said: Option<OwnedFd>,
    /// Whether it has let go of the helper's root, so that it shows nothing more of that.
    left: bool,
    /// Takes the attempt. Kept open while it lives: by its end it knows that the helper has gone.
    orders: OwnedFd,
}

/// Starts a first process, which raises the walls that are the same for everybody and waits. `number` names its
/// control group and is never used twice by one helper; `leave` says whether it lets go of the helper's root beforehand,
/// after which it can show neither packages nor a runtime. In the new process it does not return. `bwrap` raises no walls
/// without what is to be between them: the attempt with its parcel.
pub(super) fn make(
    host: &Host,
    number: u64,
    leave: bool,
    given: Option<(&Attempt, &OwnedFd)>,
) -> Result<(Pid, Spare), Broken> {
    let name = format!("{}-{number}", rustix::process::getpid().as_raw_nonzero());
    let group =
        if host.has_groups() { Some(host.groups.create(name).stage("control groups")?) } else { None };
    let said = host.bubblewrap.as_ref().map(|_| bubblewrap::said()).transpose().stage("bubblewrap")?;
    let born = || -> Result<(Pid, OwnedFd, OwnedFd), Broken> {
        let doors = group.as_ref().map_or(Ok(Vec::new()), |group| host.groups.doors(group));
        let doors = doors.stage("control groups")?;
        let (orders, ear) = wire::pair().stage("the helper")?;
        let birth = group.as_ref().and_then(|group| host.groups.birth(group));
        match sys::fork(host.namespaces, birth).stage("namespaces")? {
            sys::Side::Child => match (&host.bubblewrap, given, &said) {
                (Some(bubblewrap), Some((attempt, parcel)), Some(said)) => {
                    let Err(broken) =
                        first::enter_groups(&doors, &[ear.as_fd(), parcel.as_fd(), said.as_fd()])
                            .and_then(|()| bubblewrap.start(host, attempt, parcel, &ear, said));
                    let text = format!("{}: {}\n", broken.stage, broken.error);
                    rustix::io::write(said, text.as_bytes()).ok();
                    sys::exit(first::FAILED)
                }
                _ => first::live(host, ear, &doors, group.as_ref().map(Group::meter), leave),
            },
            sys::Side::Parent(pid, handle) => Ok((pid, handle, orders)),
        }
    };
    match born() {
        Ok((pid, handle, orders)) => {
            let directory = format!("/proc/{}", pid.as_raw_nonzero());
            // When the machine runs out of memory, a step goes before anything that keeps records.
            drop(std::fs::write(format!("{directory}/oom_score_adj"), "500"));
            let mounts = format!("{directory}/ns/mnt");
            let mounts = match host.tier {
                Tier::Sandbox => {
                    rustix::fs::open(mounts, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
                }
                Tier::Bubblewrap | Tier::UnsafeNone => None,
            };
            Ok((pid, Spare { handle, group, mounts, said, left: leave, orders }))
        }
        Err(broken) => {
            if let Some(group) = group {
                host.groups.remove(&group);
            }
            Err(broken)
        }
    }
}

impl Spare {
    /// Whether it can be given this attempt.
    pub(super) fn serves(&self, attempt: &Attempt) -> bool {
        !(self.left && attempt.shown_more)
    }

    /// Gives a waiting first process its attempt: limits, user ids, and what is run.
    ///
    /// # Errors
    /// What the system says; the process is to be discarded then.
    pub(super) fn employ(
        &self,
        host: &Host,
        pid: Pid,
        attempt: &Attempt,
        [parcel, stdout, stderr]: [OwnedFd; 3],
        control: BorrowedFd<'_>,
    ) -> Result<(), Broken> {
        if let Some(group) = &self.group {
            let own = if host.tier == Tier::Bubblewrap { bubblewrap::OWN_PROCESSES } else { 1 };
            host.groups.limit(group, attempt, own).stage("control groups")?;
        }
        if host.user_namespace && host.tier == Tier::Sandbox {
            host.ids.map(&attempt.tenant, pid).stage("user namespace")?;
        }
        let beside = [parcel.as_fd(), stdout.as_fd(), stderr.as_fd(), control];
        wire::send(self.orders.as_fd(), attempt, &beside).stage("the helper")
    }

    /// Kills a process that will have no attempt, or not this one, and removes its group.
    pub(super) fn discard(self, host: &Host, pid: Pid) {
        rustix::process::pidfd_send_signal(&self.handle, Signal::KILL).ok();
        rustix::process::waitpid(Some(pid), WaitOptions::empty()).ok();
        if let Some(group) = self.group {
            remove(host, &group);
        }
    }
}

/// Removes the group of a dead process, which the kernel may hold for a moment.
pub(super) fn remove(host: &Host, group: &Group) {
    for _ in 0..100 {
        if host.groups.remove(group) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Starts the first process of one attempt and gives it that attempt.
///
/// # Errors
/// What could not be done; nothing is left then.
pub(super) fn start(
    host: &Host,
    ready: Option<(Pid, Spare)>,
    number: u64,
    attempt: &Attempt,
    streams: [OwnedFd; 3],
    control: BorrowedFd<'_>,
) -> Result<(Pid, Spare), Broken> {
    let (pid, spare) =
        ready.map_or_else(|| make(host, number, !attempt.shown_more, Some((attempt, &streams[0]))), Ok)?;
    match spare.employ(host, pid, attempt, streams, control) {
        Ok(()) => Ok((pid, spare)),
        Err(broken) => {
            spare.discard(host, pid);
            Err(broken)
        }
    }
}

/// What a waiting first process was given.
pub(super) struct Given {
    pub(super) attempt: Attempt,
    pub(super) parcel: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// Waits for the attempt, in the first process; gives its socket to the daemon too. `None` if the helper has gone.
pub(super) fn wait(ear: &OwnedFd) -> io::Result<Option<(Given, OwnedFd)>> {
    let Some((attempt, beside)) = wire::receive::<Attempt>(ear.as_fd())? else { return Ok(None) };
    let Ok([parcel, stdout, stderr, control]) = <[OwnedFd; 4]>::try_from(beside) else {
        return Err(io::Error::other("an attempt came without its four descriptors"));
    };
    Ok(Some((Given { attempt, parcel, stdout, stderr }, control)))
}
