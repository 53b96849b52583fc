//! The daemon's side: keeps a helper alive, hands it specs, waits for what it and the attempts say.
#![expect(clippy::disallowed_methods, reason = "this is the adapter that starts the helper process")]

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, UnixDatagram, UnixListener};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use super::egress::{self, Doors, Egress, Proxy};
use super::packages::{Packages, Preparation, Shelf};
use super::runtimes::Runtimes;
use super::wire::{self, Attempt, Configure, Down, MainEnd, News, Order, Report, Signal, Used};
use super::{
    Capabilities, Ended, Executor, LimitsPolicy, Peers, Program, RunningStep, SandboxError, Started,
    StepOutput, StepSpec, Stop,
};
use crate::domain::{Exit, ExitKind, RuntimeDigest, TenantId, Tier, Usage};

/// How long a first process may take to kill its attempt before it is killed itself.
const KILL_TIME_MAX: Duration = Duration::from_secs(3);
/// How long the last news of a killed attempt may take before it counts as lost.
const BURIAL_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a helper may take to stand.
const HELPER_TIME_MAX: Duration = Duration::from_secs(20);

/// What an executor on this machine is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This very program, which is started again as the helper with the argument `sandbox-exec`.
    pub program: PathBuf,
    /// Names what is left if the machine stops, so that the next process with the same name can remove it: 1 to
    /// 40 bytes of `a-z`, `0-9`, `-`. A daemon takes the id of its data directory.
    pub instance: String,
    /// What steps run in.
    pub tier: Tier,
    /// What is done without control groups.
    pub limits: LimitsPolicy,
    /// Whose steps may run in the tier `unsafe-none`; nobody else's do.
    pub unsandboxed: BTreeSet<TenantId>,
    /// Where packages of Python scripts are kept, in a directory that is this executor's alone; `None` prepares none.
    pub packages: Option<PathBuf>,
    /// Where the platform puts root file systems, each in a directory named by its digest; `None` has none.
    pub runtimes: Option<PathBuf>,
}

/// Runs attempts on this machine, in one tier.
pub struct LocalExecutor {
    settings: Settings,
    capabilities: Capabilities,
    helper: Mutex<Arc<Helper>>,
    egress: Egress,
    shelf: Option<Shelf>,
    runtimes: Option<Runtimes>,
    next: AtomicU64,
}

impl LocalExecutor {
    /// Starts the helper, which finds out what the machine can do; what is missing stands in
    /// [`Executor::capabilities`] and is no error here.
    ///
    /// # Errors
    /// If there is no helper at all.
    pub async fn open(settings: Settings) -> Result<Self, SandboxError> {
        let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if settings.instance.is_empty()
            || settings.instance.len() > 40
            || !settings.instance.bytes().all(named)
        {
            return Err(SandboxError::Spec(format!("`{}` cannot name an instance", settings.instance)));
        }
        let shelf = settings
            .packages
            .clone()
            .map(Shelf::open)
            .transpose()
            .map_err(system("opening the packages of steps"))?;
        let runtimes =
            settings.runtimes.clone().map(Runtimes::open).transpose().map_err(SandboxError::Refused)?;
        let (helper, capabilities) = Helper::start(&settings).await?;
        let helper = Mutex::new(Arc::new(helper));
        let egress = Egress::system(Vec::new());
        Ok(Self { settings, capabilities, helper, egress, shelf, runtimes, next: AtomicU64::new(1) })
    }

    /// Opens the first of `tiers` that this machine can give, whatever tier `settings` names. Where it is not the first of
    /// all, the notes say why; where the machine gives none, the gaps are those of the first.
    ///
    /// # Errors
    /// If there is no helper at all.
    pub async fn open_first(settings: Settings, tiers: &[Tier]) -> Result<Self, SandboxError> {
        let of = |tier: Tier| Self::open(Settings { tier, ..settings.clone() });
        let mut refused: Option<(Tier, String)> = None;
        for tier in tiers {
            let mut opened = of(*tier).await?;
            let Some(why) = opened.capabilities.refusal() else {
                if let Some((first, why)) = refused {
                    opened.capabilities.notes.insert(0, format!("not in the tier `{first}`: {why}"));
                }
                return Ok(opened);
            };
            refused = refused.or(Some((*tier, why)));
            // Its helper takes the control groups of this instance with it, so it goes before the next one comes.
            drop(opened);
        }
        match refused {
            Some((first, _)) => of(first).await,
            None => Err(SandboxError::Spec("no tier is named".to_owned())),
        }
    }

    /// Leads steps out by another network than this machine's, or with other bounds.
    #[must_use]
    pub fn with_egress(self, egress: Egress) -> Self {
        Self { egress, ..self }
    }

    /// Serves what the attempt's first process opened for the hosts that it may reach.
    fn proxy(&self, spec: &StepSpec, ways: Vec<OwnedFd>) -> Result<Option<Proxy>, SandboxError> {
        if spec.reach.is_empty() || !self.settings.tier.has_walls() {
            return Ok(None);
        }
        let listener = |way: OwnedFd| TcpListener::from_std(std::net::TcpListener::from(way));
        let ways: io::Result<Vec<TcpListener>> = ways.into_iter().map(listener).collect();
        let mut ways = ways.map_err(system("opening the way to the step's hosts"))?.into_iter();
        match ways.next() {
            Some(proxy) if ways.len() == spec.reach.len() => {
                let doors = Doors { proxy, hosts: ways.collect() };
                Ok(Some(Proxy::start(&self.egress, &spec.reach, doors)))
            }
            _ => Err(SandboxError::Helper("it gave no way to the step's hosts".to_owned())),
        }
    }

    /// The helper, a new one if the last has died.
    async fn helper(&self) -> Result<Arc<Helper>, SandboxError> {
        let mut helper = self.helper.lock().await;
        if !helper.is_alive() {
            tracing::warn!("the sandbox helper has died and is started again");
            *helper = Arc::new(Helper::start(&self.settings).await?.0);
            // What the dead one left is empty, since its steps died with it, but it is still there.
            if let Err(error) = helper.sweep().await {
                tracing::warn!(%error, "control groups of the dead helper are left");
            }
        }
        Ok(Arc::clone(&helper))
    }
}

#[async_trait]
impl Executor for LocalExecutor {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn start(&self, spec: StepSpec) -> Result<Started, SandboxError> {
        if let Some(refusal) = self.capabilities.refusal() {
            return Err(SandboxError::Refused(refusal));
        }
        check(&spec).map_err(SandboxError::Spec)?;
        let tier = self.capabilities.tier;
        if !tier.has_walls() && !self.settings.unsandboxed.contains(&spec.tenant) {
            let why = format!(
                "this worker has no sandbox, and `{}` is not among the tenants of `--allow-unsandboxed`; \
                 `tenantry doctor` says what the sandbox lacks",
                spec.tenant
            );
            return Err(SandboxError::Refused(why));
        }
        if let Some(why) = self.capabilities.too_weak(spec.limits.resources.tier) {
            return Err(SandboxError::Refused(why));
        }
        if let Some(runtime) = &spec.runtime {
            self.has_runtime(runtime).await?;
        }
        let helper = self.helper().await?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (control, far_control) = wire::pair().map_err(system("making a socket"))?;
        let (stdout, far_stdout) = stream()?;
        let (stderr, far_stderr) = stream()?;
        let parcel = wire::pack(&spec).map_err(system("packing the step's files"))?;
        let attempt = attempt(id, &spec);
        helper
            .send(
                &Order::Start(attempt),
                &[parcel.as_fd(), far_stdout.as_fd(), far_stderr.as_fd(), far_control.as_fd()],
            )
            .await
            .map_err(|error| SandboxError::Helper(error.to_string()))?;
        drop((parcel, far_stdout, far_stderr, far_control));
        let control = Channel::new(control)?;
        let first = tokio::time::timeout(HELPER_TIME_MAX, control.receive::<News>()).await;
        let first = first.map_err(|_| SandboxError::Helper("it does not answer".to_owned()))?;
        let broker = match first {
            Ok(Some((News::Up { host_uid }, beside))) => {
                let mut beside = beside.into_iter();
                beside.next().map(|fd| (fd, host_uid, beside.collect::<Vec<_>>()))
            }
            Ok(Some((News::Broken { stage, why }, _))) => {
                return Err(SandboxError::Helper(format!("{stage}: {why}")));
            }
            // The first process can be killed for memory while it writes the step's files.
            Ok(Some((News::Down(down), _))) if down.used.memory_kills > 0 => {
                let text = "its files and input do not fit into its memory limit".to_owned();
                return Err(SandboxError::Spec(text));
            }
            Ok(Some((News::Down(Down { problem: Some(problem), .. }), _))) => {
                return Err(SandboxError::Helper(problem));
            }
            Ok(_) => return Err(SandboxError::Helper("it said nothing about the step".to_owned())),
            Err(error) => return Err(SandboxError::Helper(error.to_string())),
        };
        let (broker, host_uid, ways) =
            broker.ok_or_else(|| SandboxError::Helper("it gave no socket for the broker".to_owned()))?;
        let broker = std::os::unix::net::UnixListener::from(broker);
        let peers = Peers::of(&broker);
        broker.set_nonblocking(true).map_err(system("opening the broker's socket"))?;
        let broker = UnixListener::from_std(broker).map_err(system("opening the broker's socket"))?;
        let proxy = self.proxy(&spec, ways)?;
        let step = LocalStep {
            id,
            proxy,
            _packages: spec.packages.clone(),
            helper,
            control,
            deadline: Instant::now() + spec.limits.timeout,
            grace: spec.limits.grace,
            output_bytes_max: spec.limits.output_bytes_max.as_bytes(),
            stopping: None,
            kills: Kills::None,
            main: None,
            output: None,
            ended: None,
            usage: Usage {
                tier: self.capabilities.tier,
                limits: self.capabilities.limits,
                ..Usage::default()
            },
        };
        Ok(Started {
            step: Box::new(step),
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
            broker,
            host_uid,
            peers,
        })
    }

    async fn prepare(&self, what: Preparation) -> Result<Packages, SandboxError> {
        match &self.shelf {
            Some(shelf) if self.settings.tier.has_walls() => shelf.prepare(self, what).await,
            _ => Err(SandboxError::Refused("packages are prepared in the sandbox alone".to_owned())),
        }
    }

    async fn has_runtime(&self, runtime: &RuntimeDigest) -> Result<(), SandboxError> {
        match &self.runtimes {
            _ if !self.settings.tier.has_walls() => {
                let why = "a runtime is a root file system, which the tier `unsafe-none` has not";
                Err(SandboxError::Refused(why.to_owned()))
            }
            Some(runtimes) => runtimes.check(runtime).await.map_err(SandboxError::Refused),
            None => {
                let why = format!(
                    "{runtime} is not here: this worker was given no directory of runtimes; name one with `--runtimes`"
                );
                Err(SandboxError::Refused(why))
            }
        }
    }

    async fn recover(&self) -> Result<usize, SandboxError> {
        self.helper().await?.sweep().await
    }
}

/// The helper process with its socket.
struct Helper {
    channel: Channel,
    process: std::sync::Mutex<Child>,
    /// Held while an answer is awaited, so that it reaches who asked.
    asking: Mutex<()>,
}

impl Helper {
    async fn start(settings: &Settings) -> Result<(Self, Capabilities), SandboxError> {
        use std::os::unix::process::CommandExt;
        let (near, far) = wire::pair().map_err(system("making a socket"))?;
        let process = Command::new(&settings.program)
            .arg(super::HELPER_ARGUMENT)
            .env_clear()
            .current_dir("/")
            // Its own group, so that an interrupt at the terminal reaches the daemon alone, which then decides.
            .process_group(0)
            .stdin(Stdio::from(far))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(system("starting the sandbox helper"))?;
        let helper = Self {
            channel: Channel::new(near)?,
            process: std::sync::Mutex::new(process),
            asking: Mutex::new(()),
        };
        let configure = Configure {
            instance: settings.instance.clone(),
            tier: settings.tier,
            limits: settings.limits,
            path: std::env::var("PATH").unwrap_or_default(),
            packages: settings.packages.clone(),
            runtimes: settings.runtimes.clone(),
        };
        let broken = |text: &str| SandboxError::Helper(text.to_owned());
        helper
            .send(&Order::Configure(configure), &[])
            .await
            .map_err(|error| SandboxError::Helper(error.to_string()))?;
        let answer = tokio::time::timeout(HELPER_TIME_MAX, helper.channel.receive::<Report>()).await;
        match answer {
            Ok(Ok(Some((Report::Ready(capabilities), _)))) => Ok((helper, capabilities)),
            Ok(Ok(None)) => Err(broken("it ended at once")),
            Ok(Ok(Some(_))) => Err(broken("it answered something else")),
            Ok(Err(error)) => Err(SandboxError::Helper(error.to_string())),
            Err(_) => Err(broken("it does not answer")),
        }
    }

    fn is_alive(&self) -> bool {
        let mut process = self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        matches!(process.try_wait(), Ok(None))
    }

    async fn send(&self, order: &Order, beside: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.channel.send(order, beside).await
    }

    async fn sweep(&self) -> Result<usize, SandboxError> {
        let _asking = self.asking.lock().await;
        let failed = |error: io::Error| SandboxError::Helper(error.to_string());
        self.send(&Order::Sweep, &[]).await.map_err(failed)?;
        match self.channel.receive::<Report>().await.map_err(failed)? {
            Some((Report::Swept { count, problem: None }, _)) => Ok(count),
            Some((Report::Swept { problem: Some(problem), .. }, _)) => Err(SandboxError::Helper(problem)),
            Some(_) => Err(SandboxError::Helper("it answered something else".to_owned())),
            None => Err(SandboxError::Helper("it has died".to_owned())),
        }
    }
}

impl Drop for Helper {
    /// The closed socket ends the helper, which ends its attempts; a moment is left for that.
    fn drop(&mut self) {
        rustix::net::shutdown(self.channel.socket(), rustix::net::Shutdown::Both).ok();
        let process = self.process.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        for _ in 0..1000 {
            if !matches!(process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        drop(process.kill());
        drop(process.wait());
    }
}

/// A socket of messages, waited for without a thread. The runtime knows it as a datagram socket, which has the
/// same readiness.
struct Channel(UnixDatagram);

impl Channel {
    fn new(socket: OwnedFd) -> Result<Self, SandboxError> {
        let made = || -> io::Result<Self> {
            rustix::io::ioctl_fionbio(&socket, true)?;
            Ok(Self(UnixDatagram::from_std(socket.into())?))
        };
        made().map_err(system("making a socket"))
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    async fn send<T: Serialize>(&self, message: &T, beside: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.0.async_io(Interest::WRITABLE, || wire::send(self.socket(), message, beside)).await
    }

    /// Gives `None` once the other end is closed. Loses nothing when it is dropped while it waits.
    async fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        self.0.async_io(Interest::READABLE, || wire::receive(self.socket())).await
    }
}

/// How far the killing of an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kills {
    /// It is not to be killed yet.
    None,
    /// Its first process was asked to.
    Asked,
    /// The helper was ordered to.
    Ordered,
}

/// One attempt while it runs.
struct LocalStep {
    id: u64,
    /// Its way out; gone with its last process.
    proxy: Option<Proxy>,
    /// Kept while it may be read.
    _packages: Option<Packages>,
    helper: Arc<Helper>,
    control: Channel,
    /// When its time is over.
    deadline: Instant,
    grace: Duration,
    output_bytes_max: u64,
    /// Why it is being stopped, and when it is killed.
    stopping: Option<(Stop, Instant)>,
    kills: Kills,
    main: Option<MainEnd>,
    output: Option<OwnedFd>,
    ended: Option<Ended>,
    usage: Usage,
}

#[async_trait]
impl RunningStep for LocalStep {
    async fn wait(&mut self) -> Ended {
        loop {
            if let Some(ended) = &self.ended {
                return ended.clone();
            }
            let wake = match self.stopping {
                None => self.deadline,
                Some((_, kill_at)) => match self.kills {
                    Kills::None => kill_at,
                    Kills::Asked => kill_at + KILL_TIME_MAX,
                    Kills::Ordered => kill_at + KILL_TIME_MAX + BURIAL_TIME_MAX,
                },
            };
            tokio::select! {
                biased;
                news = self.control.receive::<News>() => self.hear(news),
                () = sleep_until(wake) => self.wake().await,
            }
        }
    }

    async fn stop(&mut self, why: Stop, grace: Duration) {
        if self.main.is_some() || self.ended.is_some() {
            return; // the script ended by itself first
        }
        let kill_at = Instant::now() + grace;
        match &mut self.stopping {
            Some((_, earlier)) => *earlier = kill_at.min(*earlier),
            None => {
                self.stopping = Some((why, kill_at));
                // Without anybody at the other end the attempt is dead already.
                drop(self.control.send(&Signal::Terminate, &[]).await);
            }
        }
    }
}

impl LocalStep {
    fn hear(&mut self, news: io::Result<Option<(News, Vec<OwnedFd>)>>) {
        match news {
            Ok(Some((News::Main(mut end), beside))) => {
                let used = end.used.take();
                self.main = Some(end);
                self.output = beside.into_iter().next();
                if let Some(used) = used {
                    self.end(&used, None);
                }
            }
            Ok(Some((News::Down(Down { used, problem }), _))) => self.end(&used, problem),
            Ok(Some((News::Broken { stage, why }, _))) => {
                self.end(&Used::default(), Some(format!("{stage}: {why}")));
            }
            Ok(Some((News::Up { .. } | News::Trial { .. }, _))) => {}
            Ok(None) => self.end(&Used::default(), Some("the sandbox helper died".to_owned())),
            Err(error) => self.end(&Used::default(), Some(error.to_string())),
        }
    }

    async fn wake(&mut self) {
        match self.stopping {
            None => self.stop(Stop::TimedOut, self.grace).await,
            // Whoever cannot be told is dead already, which the next news says.
            Some(_) => match self.kills {
                Kills::None => {
                    self.kills = Kills::Asked;
                    drop(self.control.send(&Signal::Kill, &[]).await);
                }
                Kills::Asked => {
                    self.kills = Kills::Ordered;
                    drop(self.helper.send(&Order::Kill { id: self.id }, &[]).await);
                }
                Kills::Ordered => {
                    let text = "it was killed, and its death was not seen".to_owned();
                    self.end(&Used::default(), Some(text));
                }
            },
        }
    }

    fn end(&mut self, used: &Used, problem: Option<String>) {
        let exit = classify(self.stopping.map(|(why, _)| why), self.main.as_ref(), used, problem.is_some());
        let output = match &self.main {
            Some(MainEnd { output_refused: Some(refused), .. }) => StepOutput::Refused(refused.clone()),
            Some(_) => self
                .output
                .take()
                .map_or(StepOutput::Nothing, |file| read_output(file, self.output_bytes_max)),
            None => StepOutput::Nothing,
        };
        self.usage.wall_ms = self.main.as_ref().map_or(0, |main| main.wall_ms);
        self.usage.cpu_ms = used.cpu_ms;
        self.usage.memory_bytes_max = used.memory_bytes_max;
        let contacts = self.proxy.take().map(|proxy| proxy.contacts()).unwrap_or_default();
        self.ended = Some(Ended { exit, usage: self.usage.clone(), output, contacts, problem });
    }
}

impl Drop for LocalStep {
    /// The closed socket is what its first process ends by; the order to the helper is the second way.
    fn drop(&mut self) {
        if self.ended.is_none() {
            drop(wire::send(self.helper.channel.socket(), &Order::Kill { id: self.id }, &[]));
        }
    }
}

/// Says how an attempt ended, from what was asked of it and what was seen.
fn classify(stopping: Option<Stop>, main: Option<&MainEnd>, used: &Used, broken: bool) -> Exit {
    let (code, signal) = main.map_or((None, None), |main| (main.code, main.signal));
    let exit = |kind| Exit { kind, code, signal };
    match stopping {
        Some(Stop::TimedOut) => return exit(ExitKind::TimedOut),
        Some(Stop::Cancelled) => return exit(ExitKind::Cancelled),
        Some(Stop::OutputLimit) => return exit(ExitKind::OutputLimit),
        Some(Stop::Lost) => return exit(ExitKind::Lost),
        None => {}
    }
    let Some(main) = main else {
        let for_memory = used.memory_kills > 0 && !broken;
        return Exit::of(if for_memory { ExitKind::OutOfMemory } else { ExitKind::SandboxError });
    };
    if main.code == Some(0) {
        return exit(ExitKind::Exited);
    }
    if used.memory_kills > 0 {
        exit(ExitKind::OutOfMemory)
    } else if used.pid_refusals > 0 {
        exit(ExitKind::PidLimit)
    } else if main.disk_full || main.signal == Some(libc::SIGXFSZ) {
        exit(ExitKind::DiskLimit)
    } else if main.signal == Some(libc::SIGXCPU) {
        exit(ExitKind::TimedOut)
    } else if main.signal.is_some() {
        exit(ExitKind::Signalled)
    } else {
        exit(ExitKind::Exited)
    }
}

/// Reads a file that a dead step left, up to a size.
fn read_output(file: OwnedFd, bytes_max: u64) -> StepOutput {
    use std::io::Read;
    let mut bytes = Vec::new();
    match std::fs::File::from(file).take(bytes_max + 1).read_to_end(&mut bytes) {
        Ok(0) => StepOutput::Nothing,
        Ok(count) if count as u64 > bytes_max => {
            StepOutput::Refused(format!("`$TENANTRY_OUTPUT` is larger than {bytes_max} bytes"))
        }
        Ok(_) => StepOutput::Bytes(bytes),
        Err(error) => StepOutput::Refused(format!("`$TENANTRY_OUTPUT` cannot be read: {error}")),
    }
}

/// A pipe: what the daemon reads, what the script writes.
fn stream() -> Result<(pipe::Receiver, OwnedFd), SandboxError> {
    let made = || -> io::Result<(pipe::Receiver, OwnedFd)> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&read, true)?;
        Ok((pipe::Receiver::from_owned_fd(read)?, write))
    };
    made().map_err(system("making a pipe"))
}

fn system(what: &'static str) -> impl Fn(io::Error) -> SandboxError {
    move |source| SandboxError::System { what, source }
}

fn attempt(id: u64, spec: &StepSpec) -> Attempt {
    let resources = &spec.limits.resources;
    let seconds = (spec.limits.timeout + spec.limits.grace).as_secs() + 1;
    Attempt {
        id,
        tenant: spec.tenant.to_string(),
        memory: resources.memory.as_bytes(),
        pids: resources.pids,
        cpu_millis: resources.cpu_millis,
        disk: resources.disk.as_bytes(),
        inodes: spec.limits.inodes,
        shown_more: spec.packages.is_some() || spec.runtime.is_some(),
        cpu_seconds_max: seconds.saturating_mul(u64::from(resources.cpu_millis).div_ceil(1000)),
        trial: false,
    }
}

/// Refuses specs that name places outside the sandbox or cannot be passed to a program.
fn check(spec: &StepSpec) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if spec.name.is_empty() || spec.name.len() > 80 || !spec.name.bytes().all(plain) {
        return Err(format!("`{}` cannot name an attempt", spec.name));
    }
    let mut seen = BTreeSet::new();
    for file in &spec.files {
        if !is_inside(&file.path) {
            return Err(format!("`{}` is no path below the scripts", file.path.escape_debug()));
        }
        if !matches!(file.mode, crate::domain::Mode::File | crate::domain::Mode::Executable) {
            return Err(format!("`{}` is no regular file", file.path));
        }
        if !seen.insert(file.path.as_str()) {
            return Err(format!("`{}` is given twice", file.path));
        }
    }
    for file in &spec.secret_files {
        if !is_variable(&file.variable) {
            return Err(format!("`{}` cannot name a variable", file.variable.escape_debug()));
        }
    }
    let mut hosts = BTreeSet::new();
    if spec.reach.len() > egress::HOSTS_MAX || !spec.reach.iter().all(|one| hosts.insert(&one.host)) {
        return Err(format!("it may reach at most {} hosts, each named once", egress::HOSTS_MAX));
    }
    for (name, value) in &spec.environment {
        if !is_variable(name) {
            return Err(format!("`{}` cannot name a variable", name.escape_debug()));
        }
        if value.contains('\0') {
            return Err(format!("the variable `{name}` holds a zero byte"));
        }
    }
    if spec.args.iter().any(|argument| argument.contains('\0')) {
        return Err("an argument holds a zero byte".to_owned());
    }
    match &spec.program {
        Program::File(path) if !seen.contains(path.as_str()) => {
            Err(format!("its script `{path}` is not among its files"))
        }
        Program::Inline { interpreter, .. } if interpreter.is_empty() => {
            Err("nobody reads its script".to_owned())
        }
        _ if spec.limits.resources.memory.as_bytes() < 4 << 20 => {
            Err("less than 4MiB of memory start nothing".to_owned())
        }
        _ if spec.limits.resources.pids == 0 => Err("it may have no process".to_owned()),
        _ if spec.limits.resources.cpu_millis < 10 => {
            Err("less than a hundredth of a processor starts nothing".to_owned())
        }
        _ => Ok(()),
    }
}

fn is_inside(path: &str) -> bool {
    path.len() <= 4096
        && !path.contains('\0')
        && path.split('/').all(|part| !matches!(part, "" | "." | "..") && part.len() <= 255)
}

fn is_variable(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.len() <= 255
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_exit(stopping: Option<Stop>, main: Option<MainEnd>, used: Used, want: ExitKind) {
        assert_eq!(classify(stopping, main.as_ref(), &used, false).kind, want);
    }

    fn exited(code: i32) -> Option<MainEnd> {
        Some(MainEnd { code: Some(code), ..MainEnd::default() })
    }

    fn killed(signal: i32) -> Option<MainEnd> {
        Some(MainEnd { signal: Some(signal), ..MainEnd::default() })
    }

    #[test]
    fn exits_are_told_apart() {
        let calm = Used::default();
        let memory = Used { memory_kills: 1, ..Used::default() };
        let pids = Used { pid_refusals: 3, ..Used::default() };
        check_exit(None, exited(0), calm.clone(), ExitKind::Exited);
        check_exit(None, exited(3), calm.clone(), ExitKind::Exited);
        check_exit(None, killed(11), calm.clone(), ExitKind::Signalled);
        check_exit(None, killed(9), memory.clone(), ExitKind::OutOfMemory);
        check_exit(None, None, memory.clone(), ExitKind::OutOfMemory);
        // A script that came through all the same has succeeded.
        check_exit(None, exited(0), memory, ExitKind::Exited);
        check_exit(None, exited(0), pids.clone(), ExitKind::Exited);
        check_exit(None, exited(254), pids, ExitKind::PidLimit);
        let full = Some(MainEnd { code: Some(1), disk_full: true, ..MainEnd::default() });
        check_exit(None, full, calm.clone(), ExitKind::DiskLimit);
        check_exit(None, killed(libc::SIGXFSZ), calm.clone(), ExitKind::DiskLimit);
        check_exit(Some(Stop::TimedOut), exited(0), calm.clone(), ExitKind::TimedOut);
        check_exit(Some(Stop::Cancelled), None, calm.clone(), ExitKind::Cancelled);
        check_exit(Some(Stop::OutputLimit), killed(15), calm.clone(), ExitKind::OutputLimit);
        check_exit(Some(Stop::Lost), None, calm.clone(), ExitKind::Lost);
        check_exit(None, None, calm, ExitKind::SandboxError);
    }

    #[test]
    fn a_path_stays_below_the_scripts() {
        for path in ["a", "a/b.sh", "a/.b/..c", "ä/ö"] {
            assert!(is_inside(path), "{path}");
        }
        for path in ["", "/a", "a/", "a//b", "..", "../a", "a/../b", "./a", "a/.", "a\0b"] {
            assert!(!is_inside(path), "{path:?}");
        }
    }

    #[test]
    fn a_variable_is_what_a_shell_can_name() {
        for name in ["A", "_a1", "TENANTRY_RUN_ID"] {
            assert!(is_variable(name), "{name}");
        }
        for name in ["", "1A", "A-B", "A=B", "../x", "A\0"] {
            assert!(!is_variable(name), "{name:?}");
        }
    }
}
