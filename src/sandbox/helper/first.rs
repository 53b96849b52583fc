//! The first process of an attempt: raises the walls, starts the script, reaps, reports, takes everything down.
//!
//! In the sandbox it is process 1 of its own pid namespace, so that its end is the end of every process there,
//! whatever they did to get away. It is a fork of the helper and never leaves this file again.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::process::{Pid, Signal as Kill};

use super::super::Program;
use super::super::places::{OUTPUT_NAME, Places, SEARCH_PATH};
use super::super::wire::{self, Attempt, MainEnd, Manifest, News, Signal, Used};
use super::groups::Meter;
use super::rootfs::{Broken, Stage, find_program};
use super::spare::{self, Given};
use super::walls::{self, Raised};
use super::{Host, probe, sys, ways};
use crate::domain::Tier;

/// How a process of ours ends when it could not do its work.
pub(super) const FAILED: i32 = 125;

/// Lives the life of the first process: raises what it can, waits for its attempt at `ear`, runs it. `meter` tells what its
/// control group used; with `leave` it lets go of the helper's root before there is an attempt.
pub(super) fn live(host: &Host, ear: OwnedFd, doors: &[OwnedFd], meter: Option<&Meter>, leave: bool) -> ! {
    let stands = stand(host, &ear, doors, meter, leave);
    let Ok(Some((given, control))) = spare::wait(&ear) else { sys::exit(FAILED) };
    let control = control.as_fd();
    let broken =
        |broken: Broken| News::Broken { stage: broken.stage.to_owned(), why: broken.error.to_string() };
    let news = match stands.and_then(|()| prepare(host, &given, ear, leave)) {
        Ok((raised, _)) if given.attempt.trial => News::Trial { gaps: probe::inspect(&raised) },
        Ok((raised, manifest)) => match run(host, given, control, &raised, &manifest, meter) {
            Ok((end, output)) => {
                let beside: Vec<BorrowedFd<'_>> = output.iter().map(AsFd::as_fd).collect();
                end_after(wire::send(control, &News::Main(end), &beside));
            }
            Err(error) => broken(error),
        },
        Err(error) => broken(error),
    };
    end_after(wire::send(control, &news, &[]))
}

/// Ends this process without running anything that the helper had registered.
fn end_after(sent: io::Result<()>) -> ! {
    sys::exit(if sent.is_ok() { 0 } else { FAILED })
}

/// Does what is the same for every attempt, before there is one.
fn stand(
    host: &Host,
    ear: &OwnedFd,
    doors: &[OwnedFd],
    meter: Option<&Meter>,
    leave: bool,
) -> Result<(), Broken> {
    rehearse();
    let kept: Vec<BorrowedFd<'_>> =
        [ear.as_fd()].into_iter().chain(meter.into_iter().flat_map(Meter::files)).collect();
    enter_groups(doors, &kept)?;
    match host.tier {
        Tier::Sandbox => walls::stand(host, leave),
        // What stands around this process was raised before it became this program.
        Tier::Bubblewrap => Ok(()),
        Tier::UnsafeNone => {
            rustix::process::set_child_subreaper(Some(rustix::process::getpid())).stage("the helper")?;
            rustix::process::set_parent_process_death_signal(Some(Kill::TERM)).stage("the helper")
        }
    }
}

/// Goes once through what is read and said of an attempt, so that this code is in memory when a script is waited for.
fn rehearse() {
    let attempt =
        serde_json::to_vec(&Attempt::default()).and_then(|text| serde_json::from_slice::<Attempt>(&text));
    let manifest = Manifest::of(Program::File("script".to_owned()));
    let manifest = serde_json::to_vec(&manifest).and_then(|text| serde_json::from_slice::<Manifest>(&text));
    let end = MainEnd { used: Some(Used::default()), ..MainEnd::default() };
    let said = [News::Up { host_uid: 0 }, News::Main(end)].map(|news| serde_json::to_vec(&news).is_ok());
    std::hint::black_box((attempt.is_ok(), manifest.is_ok(), said));
}

/// Puts this process into its control groups and closes every descriptor but `kept`.
pub(super) fn enter_groups(doors: &[OwnedFd], kept: &[BorrowedFd<'_>]) -> Result<(), Broken> {
    let all: Vec<BorrowedFd<'_>> = doors.iter().map(AsFd::as_fd).chain(kept.iter().copied()).collect();
    sys::close_all_but(&all).stage("closing descriptors")?;
    for door in doors {
        // Zero means the writer itself, which the kernel does without stopping every other fork for it.
        rustix::io::write(door, b"0").stage("control groups")?;
    }
    sys::close_all_but(kept).stage("closing descriptors")
}

fn prepare(host: &Host, given: &Given, ear: OwnedFd, left: bool) -> Result<(Raised, Manifest), Broken> {
    let (manifest, contents) = wire::unpack(&given.parcel).stage("files of the step")?;
    let raised = match host.tier {
        Tier::Sandbox => walls::raise(host, &given.attempt, &manifest, &given.parcel, contents, left)?,
        Tier::Bubblewrap => walls::settle(host, &manifest)?,
        Tier::UnsafeNone => {
            walls::lay_out(&host.directory_of(&given.attempt), &manifest, &given.parcel, contents)?
        }
    };
    // From here on the kernel tells of the helper's death. One that died before has closed its end.
    let mut watched = [PollFd::new(&ear, PollFlags::IN)];
    let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut watched, Some(&at_once)).stage("the helper")? > 0 {
        return Err(Broken { stage: "the helper", error: io::ErrorKind::BrokenPipe.into() });
    }
    Ok((raised, manifest))
}

fn run(
    host: &Host,
    given: Given,
    control: BorrowedFd<'_>,
    raised: &Raised,
    manifest: &Manifest,
    meter: Option<&Meter>,
) -> Result<(MainEnd, Option<OwnedFd>), Broken> {
    let signals = signal_file(host.tier).stage("signals")?;
    let host_uid = host.ids.uid_of(&given.attempt.tenant, host.tier);
    let listeners: Vec<BorrowedFd<'_>> =
        [raised.listener.as_fd()].into_iter().chain(raised.ways.listeners.iter().map(AsFd::as_fd)).collect();
    let started = Instant::now();
    let main = sys::spawn(&mut || {
        let refused = become_script(host, &given, &raised.places, manifest);
        let text = format!("tenantry: {}\n", refused.text);
        rustix::io::write(rustix::stdio::stderr(), text.as_bytes()).ok();
        refused.code
    });
    let main = main.stage("starting the script")?;
    // After it, since who is told may take this processor. What the script asks of the daemon meanwhile waits at the
    // listeners, which are open.
    wire::send(control, &News::Up { host_uid }, &listeners).stage("the daemon")?;
    // The daemon's readers must see an end when the last writer is gone, and that is never this process.
    drop(given);
    let mut end = wait_for(host.tier, main, &signals, control);
    end.disk_full = host.tier.has_walls() && is_full(&raised.places);
    kill_all(host.tier);
    end.wall_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    // Everything is dead and counted. The end of this process, which takes the kernel some time, is nothing to wait for.
    end.used = (host.tier == Tier::Sandbox).then(|| {
        let mut used = sys::used_by_children();
        meter.into_iter().for_each(|meter| meter.read(&mut used));
        used
    });
    let output = match open_output(&raised.output) {
        Ok(output) => output,
        Err(refused) => {
            end.output_refused = Some(refused);
            None
        }
    };
    Ok((end, output))
}

/// Deaths of children and, without a namespace that ends with this process, the helper's death, which the kernel
/// tells by SIGTERM.
fn signal_file(tier: Tier) -> io::Result<SignalFd> {
    let mut set = nix::sys::signal::SigSet::empty();
    set.add(nix::sys::signal::Signal::SIGCHLD);
    if !tier.has_walls() {
        set.add(nix::sys::signal::Signal::SIGTERM);
    }
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Reaps until the script itself has ended, and passes the daemon's signals on.
fn wait_for(tier: Tier, main: Pid, signals: &SignalFd, control: BorrowedFd<'_>) -> MainEnd {
    loop {
        while let Ok(Some(dead)) = sys::reap() {
            if dead.pid == main {
                return MainEnd { code: dead.code, signal: dead.signal, ..MainEnd::default() };
            }
        }
        let mut watched =
            [PollFd::new(signals, PollFlags::IN), PollFd::from_borrowed_fd(control, PollFlags::IN)];
        if poll(&mut watched, None).is_err() {
            continue;
        }
        while let Ok(Some(signal)) = signals.read_signal() {
            if signal.ssi_signo == libc::SIGTERM.cast_unsigned() {
                abandon(tier);
            }
        }
        if !watched[1].revents().is_empty() {
            match wire::receive::<Signal>(control) {
                Ok(Some((Signal::Terminate, _))) => terminate(tier, main),
                Ok(Some((Signal::Kill, _))) => kill_once(tier),
                Ok(None) | Err(_) => abandon(tier),
            }
        }
    }
}

/// Ends everything when nobody is left to report to.
fn abandon(tier: Tier) -> ! {
    kill_all(tier);
    sys::exit(FAILED)
}

fn terminate(tier: Tier, main: Pid) {
    drop(match tier {
        Tier::Sandbox | Tier::Bubblewrap => kill_everybody(Kill::TERM),
        Tier::UnsafeNone => rustix::process::kill_process_group(main, Kill::TERM).map_err(Into::into),
    });
}

/// Signals every other process of the pid namespace. Only for process 1 of one.
fn kill_everybody(signal: Kill) -> io::Result<()> {
    if rustix::process::getpid() != Pid::INIT {
        return Err(io::Error::other("not the first process of a namespace"));
    }
    let signal = nix::sys::signal::Signal::try_from(signal.as_raw())?;
    Ok(nix::sys::signal::kill(nix::unistd::Pid::from_raw(-1), signal)?)
}

/// Kills every process of the attempt but this one and waits for their deaths.
fn kill_all(tier: Tier) {
    loop {
        kill_once(tier);
        match sys::reap() {
            Err(_) => return,
            Ok(Some(_)) => {}
            Ok(None) => std::thread::sleep(std::time::Duration::from_micros(200)),
        }
    }
}

/// Kills every process of the attempt that can be reached now. Without a namespace those are the children of this
/// process; their orphans come to it, so the next call reaches them.
fn kill_once(tier: Tier) {
    match tier {
        Tier::Sandbox | Tier::Bubblewrap => drop(kill_everybody(Kill::KILL)),
        Tier::UnsafeNone => children_of_this().into_iter().for_each(|child| {
            rustix::process::kill_process(child, Kill::KILL).ok();
        }),
    }
}

/// The living children of this process, by what `/proc` says.
pub(super) fn children_of_this() -> Vec<Pid> {
    let this = rustix::process::getpid().as_raw_nonzero().to_string();
    let parent = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold anything.
        Some(stat.rsplit_once(") ")?.1.split(' ').nth(1)? == this)
    };
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let pid = Pid::from_raw(name.parse().ok()?)?;
        parent(&name)?.then_some(pid)
    });
    pids.collect()
}

fn is_full(places: &Places) -> bool {
    rustix::fs::statvfs(places.work()).is_ok_and(|now| now.f_bavail == 0 || now.f_favail == 0)
}

/// Opens what the step left as its output: a file, beneath its directory, by no link. The step is dead.
fn open_output(directory: &OwnedFd) -> Result<Option<OwnedFd>, String> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::openat2(directory, OUTPUT_NAME, flags, Mode::empty(), resolve) {
        Ok(file) => match rustix::fs::fstat(&file) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile => {
                Err("`$TENANTRY_OUTPUT` is no regular file".to_owned())
            }
            Ok(found) if found.st_nlink > 1 => {
                Err("`$TENANTRY_OUTPUT` is a file with a second name".to_owned())
            }
            Ok(_) => Ok(Some(file)),
            Err(error) => Err(format!("`$TENANTRY_OUTPUT` cannot be read: {error}")),
        },
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(rustix::io::Errno::LOOP) => Err("`$TENANTRY_OUTPUT` is a link".to_owned()),
        Err(error) => Err(format!("`$TENANTRY_OUTPUT` cannot be read: {error}")),
    }
}

/// Why the script could not be started, as a shell would say it.
struct Refused {
    code: i32,
    text: String,
}

impl Refused {
    fn not_found(text: String) -> Self {
        Self { code: 127, text }
    }
    fn not_started(what: &Path, error: &io::Error) -> Self {
        Self { code: 126, text: format!("cannot start `{}`: {error}", what.display()) }
    }
}

/// Turns this process into the script; comes back only if that fails.
fn become_script(host: &Host, given: &Given, places: &Places, manifest: &Manifest) -> Refused {
    let failed = |error: io::Error| Refused { code: FAILED, text: error.to_string() };
    let ready = || -> io::Result<()> {
        rustix::process::setsid()?;
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY, Mode::empty())?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&given.stdout)?;
        rustix::stdio::dup2_stderr(&given.stderr)?;
        sys::close_on_exec()?;
        walls::limit_each_process(&given.attempt, host.has_groups(), host.user_namespace);
        sys::default_signals_again();
        rustix::process::umask(Mode::from_raw_mode(0o077));
        std::env::set_current_dir(places.repo())
    };
    if let Err(error) = ready() {
        return failed(error);
    }
    let search = match host.tier {
        Tier::Sandbox | Tier::Bubblewrap => SEARCH_PATH,
        Tier::UnsafeNone => &host.path,
    };
    let (program, mut arguments) = match command(places, manifest, search) {
        Ok(command) => command,
        Err(refused) => return refused,
    };
    arguments.extend(manifest.args.iter().cloned());
    let environment = environment(host.tier, places, manifest, search);
    let error = execute(&program, &arguments, &environment);
    if error.raw_os_error() == Some(libc::ENOEXEC) {
        // A text without a first line that names its reader is the shell's, as in every shell.
        let shell = Path::new("/bin/sh");
        arguments.splice(0..1, ["sh".to_owned(), program.display().to_string()]);
        return Refused::not_started(shell, &execute(shell, &arguments, &environment));
    }
    match (error.kind(), interpreter_of(&program)) {
        (io::ErrorKind::NotFound, Some((interpreter, _))) => Refused::not_found(format!(
            "`{interpreter}`, which `{}` asks for, is not here",
            program.display()
        )),
        _ => Refused::not_started(&program, &error),
    }
}

/// The program to execute and its first arguments, its own name included.
fn command(places: &Places, manifest: &Manifest, search: &str) -> Result<(PathBuf, Vec<String>), Refused> {
    let here = if manifest.runtime.is_some() { "in this runtime" } else { "installed here" };
    let look_up = |name: &str| {
        find_program(name, search).ok_or_else(|| Refused::not_found(format!("`{name}` is not {here}")))
    };
    match &manifest.program {
        Program::Command(name) => Ok((look_up(name)?, vec![name.clone()])),
        Program::Inline { interpreter, .. } => {
            let name = interpreter.first().map_or("sh", String::as_str);
            let mut arguments = interpreter.clone();
            arguments.push(places.script().display().to_string());
            Ok((look_up(name)?, arguments))
        }
        Program::File(path) => {
            let file = places.repo().join(path);
            let shown = file.display().to_string();
            if manifest.packages.is_some() {
                let python = places.packages().join("bin/python3");
                let name = python.display().to_string();
                return Ok((python, vec![name, shown]));
            }
            if manifest.files.iter().any(|(one, executable, _)| one == path && *executable) {
                return Ok((file, vec![shown]));
            }
            let (interpreter, option) = interpreter_of(&file).unwrap_or_else(|| ("/bin/sh".to_owned(), None));
            let arguments = [Some(interpreter.clone()), option, Some(shown)];
            Ok((PathBuf::from(interpreter), arguments.into_iter().flatten().collect()))
        }
    }
}

/// The interpreter that a script's first line names, and its one argument.
fn interpreter_of(file: &Path) -> Option<(String, Option<String>)> {
    let file = rustix::fs::open(file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut head = [0u8; 256];
    let length = rustix::io::read(&file, &mut head).ok()?;
    first_line(&head[..length])
}

fn first_line(head: &[u8]) -> Option<(String, Option<String>)> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.trim();
    let (interpreter, option) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let option = option.trim();
    (!interpreter.is_empty())
        .then(|| (interpreter.to_owned(), (!option.is_empty()).then(|| option.to_owned())))
}

fn environment(tier: Tier, places: &Places, manifest: &Manifest, search: &str) -> Vec<(String, String)> {
    let place = |path: PathBuf| path.display().to_string();
    let packages = manifest.packages.as_ref().map(|_| place(places.packages()));
    let path =
        packages.as_ref().map_or_else(|| search.to_owned(), |packages| format!("{packages}/bin:{search}"));
    let mut all: std::collections::BTreeMap<String, String> = manifest.environment.iter().cloned().collect();
    for (variable, _) in &manifest.secret_files {
        all.insert(variable.clone(), place(places.secrets().join(variable)));
    }
    all.extend([
        ("PATH".to_owned(), path),
        ("HOME".to_owned(), place(places.work())),
        ("TMPDIR".to_owned(), place(places.tmp())),
        ("TENANTRY_INPUT".to_owned(), place(places.input())),
        ("TENANTRY_OUTPUT".to_owned(), place(places.output())),
        ("TENANTRY_SOCKET".to_owned(), place(places.socket())),
    ]);
    if let Some(packages) = packages {
        all.insert("VIRTUAL_ENV".to_owned(), packages);
    }
    if tier.has_walls() && !manifest.hosts.is_empty() {
        all.extend(ways::variables());
    }
    all.into_iter().collect()
}

fn execute(program: &Path, arguments: &[String], environment: &[(String, String)]) -> io::Error {
    let attempt = || -> Result<std::convert::Infallible, io::Error> {
        use std::os::unix::ffi::OsStrExt;
        let program = CString::new(program.as_os_str().as_bytes())?;
        let arguments: Vec<CString> =
            arguments.iter().map(|one| CString::new(one.as_str())).collect::<Result<_, _>>()?;
        let environment: Vec<CString> = environment
            .iter()
            .map(|(name, value)| CString::new(format!("{name}={value}")))
            .collect::<Result<_, _>>()?;
        Ok(nix::unistd::execve(&program, &arguments, &environment)?)
    };
    match attempt() {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &str, want: Option<(&str, Option<&str>)>) {
        let want = want.map(|(one, two)| (one.to_owned(), two.map(str::to_owned)));
        assert_eq!(first_line(head.as_bytes()), want, "{head:?}");
    }

    #[test]
    fn a_first_line_names_the_interpreter_as_the_kernel_reads_it() {
        check("#!/bin/sh\necho", Some(("/bin/sh", None)));
        check("#! /usr/bin/env python3 -u\n", Some(("/usr/bin/env", Some("python3 -u"))));
        check("#!/bin/sh", Some(("/bin/sh", None)));
        check("echo hello\n", None);
        check("#!\n", None);
        check("", None);
    }
}
