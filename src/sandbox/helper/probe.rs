//! Finds out what the machine can do by doing it.
//!
//! The helper builds its template and then starts one trial attempt like any other, whose first process looks
//! at its own walls from inside instead of running a script. Only when that fails are the parts tried one by
//! one, to name the one that is missing.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::thread::CapabilitySet;

use super::super::wire::{self, Attempt, Configure, News};
use super::super::{Capabilities, Feature, FeatureState, LimitsPolicy, Need, Program, Reach, StepSpec};
use super::bubblewrap::{self, Bubblewrap};
use super::filter::Filter;
use super::groups::{Controller, Groups};
use super::ids::Ids;
use super::runtime::Kit;
use super::walls::Raised;
use super::{Host, rootfs, spare, sys};
use crate::domain::{LimitsKind, Tier};

/// A namespace with its name and flag.
const NAMESPACES: [(&str, libc::c_int); 5] = [
    ("mount namespace", libc::CLONE_NEWNS),
    ("pid namespace", libc::CLONE_NEWPID),
    ("ipc namespace", libc::CLONE_NEWIPC),
    ("uts namespace", libc::CLONE_NEWUTS),
    ("network namespace", libc::CLONE_NEWNET),
];

/// The features of the sandbox in the order of a walk inwards, and whether steps are refused without them.
const FEATURES: [(&str, Need); 18] = [
    ("bubblewrap", Need::Required),
    ("mount namespace", Need::Required),
    ("pid namespace", Need::Required),
    ("ipc namespace", Need::Required),
    ("uts namespace", Need::Required),
    ("network namespace", Need::Required),
    ("user namespace", Need::Recorded),
    ("cgroup namespace", Need::Recorded),
    ("pivot_root", Need::Required),
    ("proc of its own", Need::Required),
    ("devices", Need::Required),
    ("capabilities", Need::Required),
    ("no-new-privileges", Need::Required),
    ("seccomp", Need::Required),
    ("landlock", Need::Recorded),
    ("own user ids for tenants", Need::Recorded),
    ("limit of files in `/work`", Need::Recorded),
    ("hosts at ports below 1024", Need::Recorded),
];

/// A host that nobody ever connects to, at a port that takes a right.
const TRIAL_HOST: &str = "trial.invalid:443";

/// Gaps found so far: feature and what the machine answered.
type Gaps = Vec<(String, String)>;

/// Prepares the helper for its daemon and says what it can do.
pub(super) fn find_out(configure: Configure) -> (Host, Capabilities) {
    let Configure { instance, tier, limits, path, packages, runtimes } = configure;
    let mut gaps = Gaps::new();
    let mut notes = Vec::new();
    let groups = Groups::open(&instance);
    let enforced = groups.has(Controller::Memory) && groups.has(Controller::Pids);
    let kind = if enforced { LimitsKind::Enforced } else { LimitsKind::BestEffort };

    let root = rustix::process::geteuid().is_root();
    let uid_map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let filter = Filter::compile().unwrap_or_else(|error| {
        gaps.push(("seccomp".to_owned(), error.to_string()));
        Filter::none()
    });
    let mut host = Host {
        tier,
        limits: kind,
        instance,
        path: path.clone(),
        groups,
        ids: Ids::choose(root, &uid_map, user, group),
        filter,
        namespaces: 0,
        user_namespace: false,
        cgroup_namespace: false,
        kit: Kit::default(),
        bubblewrap: None,
    };
    if tier == Tier::UnsafeNone {
        return with_limits(host, Vec::new(), notes, limits);
    }
    match enter(&mut host, &path, packages, runtimes, &mut notes) {
        Ok(()) => try_out(&mut host, &mut gaps),
        Err(broken) => stop_for(broken.stage, broken.error.to_string(), &mut gaps),
    }
    if matches!(host.ids, Ids::Own { .. }) {
        let why = "only root can give each tenant a user id of its own".to_owned();
        gaps.push(("own user ids for tenants".to_owned(), why));
    }
    if tier == Tier::Bubblewrap {
        let why = "`bwrap` cannot set one, so the memory limit is what bounds them".to_owned();
        gaps.push(("limit of files in `/work`".to_owned(), why));
    }
    let asked = FEATURES.iter().filter(|(name, _)| tier == Tier::Bubblewrap || *name != "bubblewrap");
    let features = asked.map(|(name, need)| feature(name, *need, &gaps)).collect();
    with_limits(host, features, notes, limits)
}

/// Builds the template and chooses the namespaces.
fn enter(
    host: &mut Host,
    path: &str,
    packages: Option<PathBuf>,
    runtimes: Option<PathBuf>,
    notes: &mut Vec<String>,
) -> Result<(), rootfs::Broken> {
    host.kit = if runtimes.is_some() { Kit::of_this_program() } else { Kit::default() };
    if host.tier == Tier::Bubblewrap {
        let (bubblewrap, found) = Bubblewrap::find(path, packages, runtimes, host.ids)?;
        host.bubblewrap = Some(bubblewrap);
        host.user_namespace = true;
        host.cgroup_namespace = true;
        notes.extend(found);
        return Ok(());
    }
    let nested = rootfs::enter_mount_namespace()?;
    let kept = [(&packages, rootfs::PACKAGES), (&runtimes, rootfs::RUNTIMES)];
    let kept: Vec<(&Path, &str)> =
        kept.iter().filter_map(|(from, place)| Some((from.as_deref()?, *place))).collect();
    notes.extend(rootfs::build(path, &kept)?);
    let flags = NAMESPACES.iter().fold(0, |all, (_, flag)| all | flag);
    host.namespaces = u64::from(flags.cast_unsigned());
    host.cgroup_namespace = true;
    host.user_namespace = nested || can_fork(libc::CLONE_NEWUSER).is_ok();
    if host.user_namespace {
        host.namespaces |= u64::from(libc::CLONE_NEWUSER.cast_unsigned());
    }
    Ok(())
}

/// Starts trial attempts until one stands, giving up what may be missing; names what is.
fn try_out(host: &mut Host, gaps: &mut Gaps) {
    loop {
        match trial(host) {
            Ok(found) => {
                if !host.user_namespace {
                    let why = "the kernel makes none, so the sandbox is made by root's rights".to_owned();
                    gaps.push(("user namespace".to_owned(), why));
                }
                if !host.cgroup_namespace {
                    let why = "the kernel makes none".to_owned();
                    gaps.push(("cgroup namespace".to_owned(), why));
                }
                gaps.extend(found);
                return;
            }
            Err((stage, _)) if stage == "cgroup namespace" && host.cgroup_namespace => {
                host.cgroup_namespace = false;
            }
            Err((stage, why)) if stage == "namespaces" => {
                let missing = NAMESPACES.iter().filter_map(|(name, flag)| {
                    let flags = *flag | if host.user_namespace { libc::CLONE_NEWUSER } else { 0 };
                    Some(((*name).to_owned(), can_fork(flags).err()?.to_string()))
                });
                let before = gaps.len();
                gaps.extend(missing);
                if gaps.len() == before {
                    gaps.push(("mount namespace".to_owned(), why));
                }
                return;
            }
            Err((stage, why)) if stage == "control groups" && host.has_groups() => {
                host.groups.give_up(&why);
                host.limits = LimitsKind::BestEffort;
            }
            Err((stage, why)) => return stop_for(&stage, why, gaps),
        }
    }
}

/// Adds a gap that no sandbox can be made with, under the name of a feature that refuses steps.
fn stop_for(stage: &str, why: String, gaps: &mut Gaps) {
    let named = FEATURES.iter().any(|(name, _)| *name == stage);
    let required = FEATURES.iter().any(|(name, need)| *name == stage && *need == Need::Required);
    if !required {
        gaps.push(("mount namespace".to_owned(), format!("{stage}: {why}")));
    }
    if named {
        gaps.push((stage.to_owned(), why));
    }
}

/// Whether a process can be born with these flags.
fn can_fork(flags: libc::c_int) -> io::Result<()> {
    match sys::fork(u64::from(flags.cast_unsigned()), None)? {
        sys::Side::Child => sys::exit(0),
        sys::Side::Parent(pid, _) => {
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).ok();
            Ok(())
        }
    }
}

/// Starts one trial and hears what its first process saw.
fn trial(host: &Host) -> Result<Gaps, (String, String)> {
    let ours = |error: io::Error| ("mount namespace".to_owned(), error.to_string());
    let (daemon, control) = wire::pair().map_err(ours)?;
    let parcel = wire::pack(&spec_of_trial()?).map_err(ours)?;
    // The helper's own standard streams are `/dev/null`, which its new root does not have.
    let stream =
        || -> io::Result<OwnedFd> { Ok(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?) };
    let (stdout, stderr) = (stream().map_err(ours)?, stream().map_err(ours)?);
    let attempt = Attempt {
        id: 0,
        tenant: "trial".to_owned(),
        memory: 64 << 20,
        pids: 8,
        cpu_millis: 1000,
        disk: 1 << 20,
        inodes: 16,
        shown_more: false,
        cpu_seconds_max: 10,
        trial: true,
    };
    let told = |broken: rootfs::Broken| (broken.stage.to_owned(), broken.error.to_string());
    let (pid, first) =
        spare::start(host, None, 0, &attempt, [parcel, stdout, stderr], control.as_fd()).map_err(told)?;
    drop(control);
    let news = wire::receive::<News>(daemon.as_fd());
    rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).ok();
    if let Some(group) = &first.group {
        spare::remove(host, group);
    }
    let said = first.said.as_ref().and_then(bubblewrap::read_said);
    match news {
        Ok(Some((News::Trial { gaps }, _))) => Ok(gaps),
        Ok(Some((News::Broken { stage, why }, _))) => Err((stage, why)),
        Ok(_) => Err(match said {
            Some(said) => (bubblewrap::feature_of(&said).to_owned(), said),
            None => ("mount namespace".to_owned(), "the trial ended without a word".to_owned()),
        }),
        Err(error) => Err(ours(error)),
    }
}

fn spec_of_trial() -> Result<StepSpec, (String, String)> {
    let ours = |error: String| ("mount namespace".to_owned(), error);
    let tenant = "trial".parse().map_err(|error| ours(format!("{error}")))?;
    Ok(StepSpec {
        name: "trial".to_owned(),
        tenant,
        program: Program::Command("true".to_owned()),
        runtime: None,
        packages: None,
        args: Vec::new(),
        environment: std::collections::BTreeMap::new(),
        files: Vec::new(),
        input: Vec::new(),
        reach: vec![Reach {
            host: TRIAL_HOST.parse().map_err(|error| ours(format!("{error}")))?,
            private: false,
        }],
        secret_files: Vec::new(),
        limits: super::super::Limits::default(),
    })
}

/// Looks at the walls from inside, in the first process of a trial.
pub(super) fn inspect(raised: &Raised) -> Gaps {
    let mut gaps = Gaps::new();
    let mut expect = |holds: bool, feature: &str, seen: &str| {
        if !holds {
            gaps.push((feature.to_owned(), seen.to_owned()));
        }
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let has = |line: &str| status.lines().any(|one| one.split_whitespace().eq(line.split(' ')));
    expect(has("NoNewPrivs: 1"), "no-new-privileges", "the flag is not set");
    expect(has("Seccomp: 2"), "seccomp", "no filter is in force");
    let refused = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER);
    expect(refused == Err(nix::errno::Errno::EPERM), "seccomp", "a refused call went through");
    let packet = rustix::net::socket(rustix::net::AddressFamily::PACKET, rustix::net::SocketType::RAW, None);
    expect(
        packet.err() == Some(rustix::io::Errno::AFNOSUPPORT),
        "seccomp",
        "a refused socket family went through",
    );
    let none = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.permitted.is_empty() && sets.effective.is_empty());
    expect(none, "capabilities", "some are left");
    let bounded = rustix::thread::capability_is_in_bounding_set(CapabilitySet::SYS_ADMIN);
    expect(bounded == Ok(false), "capabilities", "some can come back");
    let user = rustix::process::geteuid().as_raw();
    expect(user != 0, "capabilities", "the step would run as root");
    expect(
        rustix::process::getpid() == rustix::process::Pid::INIT,
        "pid namespace",
        "its first process has another id",
    );
    let processes = std::fs::read_dir("/proc").map(|entries| {
        entries.flatten().filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()).count()
    });
    expect(matches!(processes, Ok(1)), "proc of its own", "other processes can be seen");
    let interfaces = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let interfaces = interfaces.lines().skip(2).map(|line| line.trim_start()).collect::<Vec<_>>();
    expect(
        interfaces.iter().any(|line| line.starts_with("lo:")),
        "network namespace",
        "its loopback interface is missing",
    );
    let written = std::fs::write("/usr/tenantry-trial", "");
    expect(written.is_err(), "pivot_root", "the system's files can be written");
    expect(
        std::fs::write(raised.places.work().join("trial"), "x").is_ok(),
        "mount namespace",
        "`/work` cannot be written",
    );
    expect(std::fs::write("/dev/null", "x").is_ok(), "devices", "`/dev/null` cannot be written");
    expect(
        !raised.ways.by_proxy_alone,
        "hosts at ports below 1024",
        "what `bwrap` starts has no capability here, so they are reached through `HTTPS_PROXY` alone",
    );
    expect(raised.landlock, "landlock", "the kernel does not have it, or it is switched off");
    gaps
}

/// Adds what control groups can do.
fn with_limits(
    host: Host,
    mut features: Vec<Feature>,
    notes: Vec<String>,
    policy: LimitsPolicy,
) -> (Host, Capabilities) {
    let need = if policy == LimitsPolicy::Enforced { Need::Required } else { Need::Recorded };
    for (name, controller, need) in [
        ("memory limit of the tree", Controller::Memory, need),
        ("process limit of the tree", Controller::Pids, need),
        ("processor limit of the tree", Controller::Cpu, Need::Recorded),
    ] {
        let answered = host.groups.gaps.iter().find(|(one, _)| *one == controller);
        let why = match answered {
            Some((_, why)) => why.clone(),
            None => "no control group hierarchy has this controller".to_owned(),
        };
        let gaps = if host.groups.has(controller) { Vec::new() } else { vec![(name.to_owned(), why)] };
        features.push(feature(name, need, &gaps));
    }
    let capabilities = Capabilities { tier: host.tier, limits: host.limits, features, notes };
    (host, capabilities)
}

fn feature(name: &str, need: Need, gaps: &Gaps) -> Feature {
    let state = match gaps.iter().find(|(one, _)| one == name) {
        None => FeatureState::Ok,
        Some((_, why)) => FeatureState::Missing { why: why.clone(), cure: cure(name).to_owned() },
    };
    Feature { name: name.to_owned(), need, state }
}

/// What an administrator can do about a gap.
fn cure(feature: &str) -> &'static str {
    match feature {
        "user namespace" | "mount namespace" | "pid namespace" | "ipc namespace" | "uts namespace"
        | "network namespace" => {
            "run as root, or allow user namespaces: `sysctl user.max_user_namespaces=15000`, on Ubuntu also the AppArmor \
             profile in `docs/apparmor/` or `sysctl kernel.apparmor_restrict_unprivileged_userns=0`; in a container, \
             start it with CAP_SYS_ADMIN and without its seccomp profile"
        }
        "cgroup namespace" => "use Linux 4.6 or later",
        "bubblewrap" => {
            "install bubblewrap 0.8 or later (`apt-get install bubblewrap`), not as a program that becomes root by itself \
             (setuid), or use the tier `sandbox`"
        }
        "limit of files in `/work`" | "hosts at ports below 1024" => "use the tier `sandbox`",
        "pivot_root" => "use Linux 5.12 or later, started from a disk rather than from its initramfs",
        "proc of its own" => {
            "in a container, start it with `/proc` unmasked (`--security-opt systempaths=unconfined`)"
        }
        "devices" => "provide null, zero, full, random and urandom in `/dev`",
        "capabilities" => "give the container more user ids, or run as an ordinary user",
        "no-new-privileges" | "seccomp" => "use a kernel with CONFIG_SECCOMP_FILTER, on x86_64 or aarch64",
        "landlock" => "use Linux 5.13 or later with `landlock` among its `lsm=` modules",
        "own user ids for tenants" => "run the daemon as root",
        "processor limit of the tree" | "memory limit of the tree" | "process limit of the tree" => {
            "give the daemon a control group of its own that it may write: under systemd `Delegate=yes` and \
             `DelegateSubgroup=daemon` in the unit, by hand `systemd-run --scope -p Delegate=yes`; or accept \
             limits of single processes with `--limits best-effort`"
        }
        _ => "see `tenantry doctor`",
    }
}
