//! A small process that lets go of the mounts of dead attempts.
//!
//! The last one to hold a mount namespace waits inside the kernel until every processor has seen it go: a
//! millisecond or more, in which neither a step's end is known nor the helper takes an order. So the helper keeps
//! each namespace open over the death of its attempt, and this process is the last to hold it. No process is left
//! in it by then; the files in it are in memory and go with it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Signal, set_parent_process_death_signal};

use super::super::wire;
use super::sys;

/// The helper's end.
pub(super) struct Undertaker(OwnedFd);

impl Undertaker {
    /// Starts the process. It ends with the helper.
    ///
    /// # Errors
    /// What the system says; whoever has no undertaker waits by itself.
    pub(super) fn start() -> io::Result<Self> {
        let (near, far) = wire::pair()?;
        match sys::fork(0, None)? {
            sys::Side::Child => {
                set_parent_process_death_signal(Some(Signal::KILL)).ok();
                if sys::close_all_but(&[far.as_fd()]).is_ok() {
                    // What comes with a message is dropped, and that is all.
                    while let Ok(Some(_)) = wire::receive::<()>(far.as_fd()) {}
                }
                sys::exit(0)
            }
            sys::Side::Parent(..) => {
                // A helper must not wait for it.
                rustix::io::ioctl_fionbio(&near, true)?;
                Ok(Self(near))
            }
        }
    }

    /// Hands a namespace over. The caller lets go of it in any case.
    pub(super) fn take(&self, mounts: &OwnedFd) {
        // With a full socket or without a process there the caller is the last to hold it, which is slower only.
        drop(wire::send(self.0.as_fd(), &(), &[mounts.as_fd()]));
    }
}
