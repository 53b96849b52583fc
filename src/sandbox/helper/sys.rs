//! The system calls that no library wraps safely, each in a function that cannot be misused.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::path::Arg;
use rustix::process::Pid;

use super::super::wire::Used;

/// Which side of a fork this is.
pub(super) enum Side {
    /// The new process.
    Child,
    /// The old one, with the new one's id and a descriptor that signals reach it by.
    Parent(Pid, OwnedFd),
}

/// `CLONE_INTO_CGROUP`, which does not fit into the type that libc gives it.
const INTO_GROUP: u64 = 0x2_0000_0000;

/// Forks this process into the namespaces of `flags` (`CLONE_NEW…`) and, given its directory, into a control
/// group of version 2.
///
/// The caller must have one thread only, which makes everything allowed in the child that is allowed here.
///
/// # Errors
/// What the kernel says; `EPERM` where namespaces are forbidden.
pub(super) fn fork(flags: u64, group: Option<BorrowedFd<'_>>) -> io::Result<Side> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all-zero is a valid `clone_args`, a struct of integers.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    let pidfd_flag = libc::CLONE_PIDFD.cast_unsigned();
    arguments.flags = flags | u64::from(pidfd_flag);
    arguments.pidfd = (&raw mut pidfd) as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    if let Some(group) = group {
        arguments.flags |= INTO_GROUP;
        arguments.cgroup = group.as_raw_fd() as u64;
    }
    // SAFETY: no memory is shared and no stack is given, so this is a fork; the process has one thread, so no
    // lock is held by somebody who is not copied; `arguments` and `pidfd` outlive the call.
    let mut answer =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    if answer == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS) && group.is_none() {
        let flags = flags | u64::from(pidfd_flag) | libc::SIGCHLD as u64;
        // SAFETY: as above, by the older call, which puts the descriptor where the parent's thread id goes.
        answer = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    }
    match answer {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        child => {
            let Some(pid) = i32::try_from(child).ok().and_then(Pid::from_raw) else {
                return Err(io::Error::other("the kernel gave no process id"));
            };
            // SAFETY: the kernel opened this descriptor for us and nobody else has it.
            Ok(Side::Parent(pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
        }
    }
}

/// Starts a process that becomes another program at once, by `turn`, which comes back only where that fails, with the
/// code to end with.
///
/// Until then it shares this process's memory, on a stack of its own, and this process stands still: nothing has to be
/// copied for it. Descriptors, signals, limits and directories are its own.
///
/// # Errors
/// Whatever the system says.
pub(super) fn spawn(turn: &mut dyn FnMut() -> i32) -> io::Result<Pid> {
    let mut stack = Stack::map()?;
    let flags = nix::sched::CloneFlags::CLONE_VM | nix::sched::CloneFlags::CLONE_VFORK;
    let turn = Box::new(move || isize::try_from(turn()).unwrap_or(isize::MAX));
    // SAFETY: this process has one thread and runs again only when the new one has another program or is dead, so
    // nothing is used by both at a time and the stack outlives its use; a new process that comes back ends at once.
    let made = unsafe { nix::sched::clone(turn, stack.bytes(), flags, Some(libc::SIGCHLD)) };
    let pid = made.map_err(io::Error::from)?.as_raw();
    Pid::from_raw(pid).ok_or_else(|| io::Error::other("the kernel gave no process id"))
}

/// A stack for another process. Only what is used of it is ever in memory, which memory from the allocator would be as a
/// whole once it is wiped.
struct Stack(std::ptr::NonNull<std::ffi::c_void>);

impl Stack {
    const BYTES: usize = 256 << 10;

    fn map() -> io::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses a place where nothing is.
        let place = unsafe { mmap_anonymous(std::ptr::null_mut(), Self::BYTES, access, MapFlags::PRIVATE) }?;
        std::ptr::NonNull::new(place).map(Self).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `BYTES` bytes were mapped here, zero all of them, and nobody else has them.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_ptr().cast(), Self::BYTES) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: it was mapped by `map`, and `bytes` lends it no longer than it lives.
        unsafe { rustix::mm::munmap(self.0.as_ptr(), Self::BYTES) }.ok();
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reaped {
    /// Who.
    pub pid: Pid,
    /// Its code, if it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it and all it waited for used.
    used: libc::rusage,
}

impl Reaped {
    /// Processor time of it and of all it waited for, and the most memory of the largest of them.
    pub(super) fn used(&self) -> Used {
        used(&self.used)
    }
}

fn used(seen: &libc::rusage) -> Used {
    let milliseconds =
        |time: libc::timeval| time.tv_sec.cast_unsigned() * 1000 + time.tv_usec.cast_unsigned() / 1000;
    Used {
        cpu_ms: milliseconds(seen.ru_utime) + milliseconds(seen.ru_stime),
        memory_bytes_max: seen.ru_maxrss.cast_unsigned() << 10,
        ..Used::default()
    }
}

/// The same of all dead children of this process together.
pub(super) fn used_by_children() -> Used {
    // SAFETY: all-zero is a valid `rusage`, a struct of integers.
    let mut seen: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live value of the right type.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut seen) };
    used(&seen)
}

/// Takes one dead child off the list, without waiting; `None` if there is none.
///
/// # Errors
/// `ECHILD` if there is no child at all.
pub(super) fn reap() -> io::Result<Option<Reaped>> {
    let mut status: libc::c_int = 0;
    // SAFETY: all-zero is a valid `rusage`, a struct of integers.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right types.
    let answer = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut used) };
    if answer == -1 {
        return Err(io::Error::last_os_error());
    }
    let Some(pid) = Pid::from_raw(answer) else { return Ok(None) };
    Ok(Some(Reaped {
        pid,
        code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
        used,
    }))
}

/// Adds restrictions (`MOUNT_ATTR_…`) to the mount at `path` below `directory`, or at `directory` itself when
/// `path` is empty, and to everything mounted beneath when `recursive`.
///
/// # Errors
/// `ENOSYS` before Linux 5.12.
pub(super) fn restrict_mount(
    directory: BorrowedFd<'_>,
    path: &Path,
    attributes: u64,
    recursive: bool,
) -> io::Result<()> {
    // SAFETY: all-zero is a valid `mount_attr`, a struct of integers.
    let mut wanted: libc::mount_attr = unsafe { std::mem::zeroed() };
    wanted.attr_set = attributes;
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    let path = path.into_c_str()?;
    // SAFETY: the path ends in a zero byte, the struct lives through the call and its size is given.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const wanted,
            size_of::<libc::mount_attr>(),
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Marks every descriptor from 3 on to be closed when this process becomes another program.
///
/// # Errors
/// `EINVAL` before Linux 5.11.
pub(super) fn close_on_exec() -> io::Result<()> {
    // SAFETY: no descriptor is closed here, only marked.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Brings up the loopback interface of this network namespace.
///
/// # Errors
/// `EPERM` without the right to administer it.
pub(super) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: all-zero is a valid `ifreq`: an empty name and a union of integers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l'.cast_signed();
    request.ifr_name[1] = b'o'.cast_signed();
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(i16::MAX);
    // SAFETY: this request reads an `ifreq` and `request` is one, with its flags set.
    let answer = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets every signal back to what it does by default and lets every signal through, as a program expects that
/// is started from a shell.
pub(super) fn default_signals() {
    (1..=64).for_each(|signal| dispose(signal, DEFAULT));
    let_signals_through();
}

/// The same in a child of a process that did so and has since ignored the end of pipes alone.
pub(super) fn default_signals_again() {
    dispose(libc::SIGPIPE, DEFAULT);
    let_signals_through();
}

/// Lets a write to a pipe that nobody reads fail, instead of ending this process.
pub(super) fn ignore_ends_of_pipes() {
    dispose(libc::SIGPIPE, IGNORE);
}

const DEFAULT: u64 = libc::SIG_DFL as u64;
const IGNORE: u64 = libc::SIG_IGN as u64;

fn dispose(signal: libc::c_int, to: u64) {
    // What is done, and no flags. The kernel is asked itself, since the C library keeps two signals to itself and leaves
    // them ignored in what it spawned.
    let action = [to, 0, 0, 0];
    // SAFETY: neither runs code of ours, `action` is as long as the kernel's `sigaction` and outlives the call; signals
    // that cannot be set are refused, which is harmless.
    unsafe {
        let nothing = std::ptr::null_mut::<u64>();
        libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), nothing, 8usize);
    }
}

fn let_signals_through() {
    // SAFETY: the set is made by `sigemptyset` before it is used.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Closes every descriptor from 3 on but those given.
///
/// # Errors
/// `ENOSYS` before Linux 5.9.
pub(super) fn close_all_but(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept.iter().map(|one| one.as_raw_fd().cast_unsigned()).collect();
    kept.sort_unstable();
    let mut first = 3u32;
    for one in kept.into_iter().chain([u32::MAX]) {
        if one > first {
            // SAFETY: called in a fresh fork that never returns to its caller's frames and never drops what
            // they own, so no descriptor is closed twice.
            let answer = unsafe { libc::syscall(libc::SYS_close_range, first, one - 1, 0) };
            if answer != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        first = first.max(one.saturating_add(1));
    }
    Ok(())
}

/// Ends this process at once: no destructor, no exit handler, which belong to the process it was forked from.
pub(super) fn exit(code: i32) -> ! {
    // SAFETY: always sound; nothing of this process runs after it.
    unsafe { libc::_exit(code) }
}

/// The files that this process is made of beside its program: the loader and the libraries, as the loader found them.
/// None for a program that was linked whole.
pub(super) fn loaded_objects() -> Vec<PathBuf> {
    unsafe extern "C" fn note(
        object: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        found: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: the loader gives an object that lives through the call, and `found` is the list below.
        let (object, found) = unsafe { (&*object, &mut *found.cast::<Vec<PathBuf>>()) };
        if !object.dlpi_name.is_null() {
            // SAFETY: a name of the loader's is a text that ends in a zero byte.
            let name = unsafe { std::ffi::CStr::from_ptr(object.dlpi_name) };
            let path = PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes()));
            if path.is_absolute() {
                found.push(path);
            }
        }
        0
    }
    let mut found: Vec<PathBuf> = Vec::new();
    // SAFETY: `note` has the type that is asked for and `found` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut found).cast()) };
    found
}
