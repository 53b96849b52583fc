//! What the daemon, its helper and the first process of each attempt say to each other.
//!
//! Every message is one datagram of JSON on a socket pair that keeps boundaries, with file descriptors beside
//! it. What is long or secret travels as a sealed file in memory (the parcel), never as message text.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Capabilities, LimitsPolicy, Program, StepSpec};
use crate::domain::{HostPort, Mode, RuntimeDigest, Tier};

/// The longest message; file contents are not among them.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// The most descriptors beside one message.
const DESCRIPTORS_MAX: usize = super::egress::HOSTS_MAX + 2;

/// From the daemon to its helper.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// The first message: what the helper is for. Answered with [`Report::Ready`].
    Configure(Configure),
    /// Start an attempt. Beside it: parcel, standard output, standard error, the attempt's own socket.
    Start(Attempt),
    /// Kill an attempt with all its processes.
    Kill {
        /// Its number.
        id: u64,
    },
    /// Remove what earlier helpers of this instance left. Answered with [`Report::Swept`].
    Sweep,
}

/// What a helper is for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Configure {
    /// Names everything that is left if the machine stops: `[a-z0-9-]`.
    pub instance: String,
    /// The tier.
    pub tier: Tier,
    /// What to do without control groups.
    pub limits: LimitsPolicy,
    /// The daemon's `PATH`, where interpreters outside `/usr` are looked up.
    pub path: String,
    /// Where packages are prepared, on the host.
    pub packages: Option<PathBuf>,
    /// Where runtimes lie, on the host.
    pub runtimes: Option<PathBuf>,
}

/// What the helper itself must know about one attempt.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Attempt {
    /// Counts up; never used twice by one daemon.
    pub id: u64,
    /// Chooses the host user ids.
    pub tenant: String,
    /// Bytes.
    pub memory: u64,
    /// Processes of the script, our own first process not counted.
    pub pids: u32,
    /// Thousandths of a processor.
    pub cpu_millis: u32,
    /// Bytes of `/work` and `/tmp` together.
    pub disk: u64,
    /// Files there.
    pub inodes: u32,
    /// Whether it is shown something that lies in the helper's root: packages or a runtime.
    pub shown_more: bool,
    /// Processor seconds, where there is no control group to share the processor.
    pub cpu_seconds_max: u64,
    /// Whether this is the trial of a new helper: checks its walls instead of running anything.
    pub trial: bool,
}

/// From the helper to the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The helper stands; what it can do.
    Ready(Capabilities),
    /// Leftovers are gone, except where `problem` says otherwise.
    Swept {
        /// How many there were.
        count: usize,
        /// What could not be removed.
        problem: Option<String>,
    },
}

/// On an attempt's own socket, to the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum News {
    /// From the first process: the walls stand and the script was started. Beside it: the broker's listener and, for a step
    /// that may reach hosts, the listener of its proxy and one per host.
    Up {
        /// The host's user id of the script.
        host_uid: u32,
    },
    /// From the first process: the script has ended and nothing of it is alive. Beside it, perhaps: its output,
    /// opened for reading.
    Main(MainEnd),
    /// From the first process: a wall could not be raised, so nothing was started.
    Broken {
        /// What was tried, in words.
        stage: String,
        /// The answer.
        why: String,
    },
    /// From the first process of a trial: what does not hold.
    Trial {
        /// Feature and what was seen; empty when everything holds.
        gaps: Vec<(String, String)>,
    },
    /// From the helper, the last message: the first process is dead too. Nobody waits for it who knows already how the
    /// script ended and what it used.
    Down(Down),
}

/// How the script ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct MainEnd {
    /// Its exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether `/work` had no byte or no inode left.
    pub disk_full: bool,
    /// From its start to the death of the last process.
    pub wall_ms: u64,
    /// Why the output beside is not to be read.
    pub output_refused: Option<String>,
    /// What the attempt used, where its first process can tell; the helper tells it otherwise.
    pub used: Option<Used>,
}

/// What the helper saw when an attempt was over.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Down {
    /// What it used.
    pub used: Used,
    /// What went wrong on our side.
    pub problem: Option<String>,
}

/// What an attempt used and what it was refused.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Used {
    /// Processor time.
    pub cpu_ms: u64,
    /// The most memory at one time.
    pub memory_bytes_max: u64,
    /// How often the kernel killed for memory.
    pub memory_kills: u64,
    /// How often the kernel refused a process.
    pub pid_refusals: u64,
}

/// To the first process of an attempt.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Signal {
    /// Send SIGTERM to every process.
    Terminate,
    /// Kill every process and report as usual.
    Kill,
}

/// The part of a parcel before the contents, which follow in the same order without gaps.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// What is run.
    pub program: Program,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment.
    pub environment: Vec<(String, String)>,
    /// Path, whether executable, length.
    pub files: Vec<(String, bool, u64)>,
    /// The length of the input.
    pub input: u64,
    /// The root file system that it runs in.
    pub runtime: Option<RuntimeDigest>,
    /// The name of its packages among those that are prepared.
    pub packages: Option<String>,
    /// The hosts that it may reach.
    pub hosts: Vec<HostPort>,
    /// Variable, length.
    pub secret_files: Vec<(String, u64)>,
}

impl Manifest {
    /// Of a program with nothing beside.
    pub(super) fn of(program: Program) -> Self {
        Self {
            program,
            args: Vec::new(),
            environment: Vec::new(),
            files: Vec::new(),
            input: 0,
            runtime: None,
            packages: None,
            hosts: Vec::new(),
            secret_files: Vec::new(),
        }
    }
}

/// Makes a pair of sockets that keep message boundaries; both are closed on exec.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends one message.
///
/// # Errors
/// `BrokenPipe` when nobody is at the other end; `WouldBlock` on a non-blocking socket that is full.
pub(super) fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    beside: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    if text.len() > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "message too long"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !beside.is_empty() && !control.push(SendAncillaryMessage::ScmRights(beside)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    loop {
        match rustix::net::sendmsg(socket, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one message; `None` once the other end is closed.
///
/// # Errors
/// `InvalidData` for a message that is no `T`; `WouldBlock` on an empty non-blocking socket.
pub(super) fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    // Looked at first, so that no more memory is taken, touched and wiped than it has bytes.
    let length = loop {
        let nothing: &mut [u8] = &mut [];
        match rustix::net::recv(socket, nothing, RecvFlags::PEEK | RecvFlags::TRUNC) {
            Ok((_, length)) => break length,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    };
    let mut text = vec![0u8; length.min(MESSAGE_BYTES_MAX)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let parts = &mut [IoSliceMut::new(&mut text)];
        match rustix::net::recvmsg(socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    };
    let mut beside = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            beside.extend(descriptors);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let message = serde_json::from_slice(&text[..received.bytes])?;
    Ok(Some((message, beside)))
}

/// Writes the long and the secret parts of a spec into a sealed file in memory.
///
/// # Errors
/// Whatever the system says.
pub(super) fn pack(spec: &StepSpec) -> io::Result<OwnedFd> {
    let manifest = Manifest {
        program: spec.program.clone(),
        args: spec.args.clone(),
        environment: spec.environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        files: spec
            .files
            .iter()
            .map(|file| (file.path.clone(), file.mode == Mode::Executable, file.content.len() as u64))
            .collect(),
        input: spec.input.len() as u64,
        runtime: spec.runtime.clone(),
        packages: spec.packages.as_ref().map(|packages| packages.key().to_owned()),
        hosts: spec.reach.iter().map(|reach| reach.host.clone()).collect(),
        secret_files: spec
            .secret_files
            .iter()
            .map(|file| (file.variable.clone(), file.content.len() as u64))
            .collect(),
    };
    let memory = rustix::fs::memfd_create("step", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = io::BufWriter::new(std::fs::File::from(memory));
    let head = zeroize::Zeroizing::new(serde_json::to_vec(&manifest)?);
    file.write_all(&(head.len() as u64).to_le_bytes())?;
    file.write_all(&head)?;
    for content in spec.files.iter().map(|file| &file.content) {
        file.write_all(content)?;
    }
    file.write_all(&spec.input)?;
    for content in spec.secret_files.iter().map(|file| &file.content) {
        file.write_all(content)?;
    }
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    let seals = SealFlags::SEAL | SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

/// Reads a parcel's manifest; gives where the contents begin too.
///
/// # Errors
/// `InvalidData` for anything that [`pack`] did not write.
pub(super) fn unpack(parcel: impl AsFd) -> io::Result<(Manifest, u64)> {
    let mut length = [0u8; 8];
    read_exact_at(&parcel, &mut length, 0)?;
    let length = u64::from_le_bytes(length);
    if length > rustix::fs::fstat(&parcel)?.st_size.cast_unsigned() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "parcel is cut off"));
    }
    let mut head = zeroize::Zeroizing::new(vec![0u8; usize::try_from(length).unwrap_or(usize::MAX)]);
    read_exact_at(&parcel, &mut head, 8)?;
    Ok((serde_json::from_slice(&head)?, 8 + length))
}

/// Fills `buffer` from `offset`.
fn read_exact_at(file: &impl AsFd, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match rustix::io::pread(file, &mut *buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                buffer = &mut buffer[count..];
                offset += count as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (left, right) = pair().unwrap();
        let (sent, _other) = pair().unwrap();
        send(left.as_fd(), &Order::Kill { id: 7 }, &[sent.as_fd(), left.as_fd()]).unwrap();
        let (message, beside) = receive::<Order>(right.as_fd()).unwrap().unwrap();
        assert!(matches!(message, Order::Kill { id: 7 }));
        assert_eq!(beside.len(), 2);
        drop((left, beside));
        assert!(receive::<Order>(right.as_fd()).unwrap().is_none());
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic() {
        let (left, right) = pair().unwrap();
        send(left.as_fd(), &"what", &[]).unwrap();
        assert_eq!(receive::<Order>(right.as_fd()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
