//! Whose process is at the other end of an attempt's socket.
#![expect(clippy::disallowed_methods, reason = "an adapter: asks the kernel about processes")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::{PeerCredentials, PeerPidfd};

/// The processes of one attempt, told from all others by the namespace that its first process counts them in.
///
/// The user id alone does not tell: a daemon of an ordinary user and its steps have the same one.
#[derive(Clone, Debug)]
pub struct Peers(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    /// Kept open: while it is, no other namespace gets the same number.
    namespace: Option<std::fs::File>,
    id: Option<(u64, u64)>,
}

impl Peers {
    /// The processes around the one that listens at a socket. Where the kernel does not tell whose namespace that
    /// is, everybody is one of them: token and user id are looked at besides.
    #[must_use]
    pub fn of(listener: &impl AsFd) -> Self {
        let namespace = namespace_of(listener.as_fd()).ok();
        let id = namespace.as_ref().and_then(|file| id_of(file).ok());
        Self(Arc::new(Inside { namespace, id }))
    }

    /// Whether a process of the attempt made this connection and is still alive.
    #[must_use]
    pub fn admit(&self, connection: &impl AsFd) -> bool {
        if self.0.namespace.is_none() || self.0.id.is_none() {
            return true;
        }
        match namespace_of(connection.as_fd()).and_then(|file| id_of(&file)) {
            Ok(id) => self.0.id == Some(id),
            // The process is gone, or one that we may not look at: none of the attempt's.
            Err(_) => false,
        }
    }
}

/// The process namespace of a socket's other end. The handle says that its process has not been replaced by another
/// one of the same number since.
fn namespace_of(socket: BorrowedFd<'_>) -> io::Result<std::fs::File> {
    let handle: Option<OwnedFd> = getsockopt(&socket, PeerPidfd).ok();
    let pid = getsockopt(&socket, PeerCredentials)?.pid();
    if pid <= 0 {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/pid"))?;
    if let Some(handle) = handle {
        let mut watched = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
        let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        if rustix::event::poll(&mut watched, Some(&at_once))? != 0 {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
    }
    Ok(namespace)
}

fn id_of(namespace: &std::fs::File) -> io::Result<(u64, u64)> {
    let found = rustix::fs::fstat(namespace)?;
    Ok((found.st_dev, found.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_process_of_the_same_namespace_is_admitted() {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        let _client = UnixStream::connect(directory.path().join("socket")).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let peers = Peers::of(&listener);
        assert!(peers.0.id.is_some(), "this kernel tells");
        assert!(peers.admit(&accepted));
    }

    #[test]
    fn a_process_of_another_namespace_or_a_dead_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        let peers = Peers::of(&listener);
        let elsewhere = Inside { namespace: std::fs::File::open("/dev/null").ok(), id: Some((0, 1)) };
        let _client = UnixStream::connect(directory.path().join("socket")).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(!Peers(Arc::new(elsewhere)).admit(&accepted));
        // A child connects and dies; its number may be anybody's by now.
        let mut child = std::process::Command::new("python3")
            .args(["-c", "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])"])
            .arg(directory.path().join("socket"))
            .spawn()
            .unwrap();
        assert!(child.wait().unwrap().success());
        let (accepted, _) = listener.accept().unwrap();
        assert!(!peers.admit(&accepted));
    }
}
