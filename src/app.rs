//! Wiring: settings to adapters to services; start order, shutdown order.
//!
//! The only place that names an implementation of a floor-2 trait.

#![expect(
    clippy::disallowed_methods,
    reason = "the one place where clock, ids and places of the process are read"
)]

mod local;

pub use local::{LocalAsk, LocalSandbox, Told};

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::api::{self, Health, ListenError};
use crate::authz::{self, Facts, action};
use crate::broker::{Broker, sealed_payload};
use crate::desired;
use crate::domain::{
    Actor, ChangeControlMode, Clock, FreshIds, Length, Platform, Revision, TenantId, Tier, Timestamp,
    digest_of,
};
use crate::execute::{self, LeaseError, StoreLeases, Worker};
use crate::login::{Trust, TrustError};
use crate::queue::Keeper;
use crate::reconcile;
use crate::record::RunRecord;
use crate::sandbox::{self, Executor, LimitsPolicy, LocalExecutor, SandboxError};
use crate::secrets::{Custody, CustodyError, FileVault, Vault};
use crate::source::{
    Contents as _, FetchSettings, GitSource, Remote, RemoteError, Source, SourceError, Watch, default_branch,
};
use crate::store::{LocalLogs, Logs, RunFilter, SqliteStore, Store, StoreError};

/// The directory of runtimes in a data directory.
pub const RUNTIMES: &str = "runtimes";

/// Everything a daemon, or one pass of it, is told from outside.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The repository: a path or an address without a password.
    pub repo: String,
    /// The data directory, made if it is not there.
    pub data: PathBuf,
    /// Where age identities lie; `identities/` of the data directory by default.
    pub identities: Option<PathBuf>,
    /// Where runtimes lie; `runtimes/` of the data directory by default, which is made then.
    pub runtimes: Option<PathBuf>,
    /// Which tenants the embedded worker takes.
    pub regions: Regions,
    /// Attempts at one time; twice the processors by default, 0 for no worker.
    pub slots: Option<u32>,
    /// Goes on where memory and process limits of a whole tree cannot be set, and says so on every record.
    pub limits_best_effort: bool,
    /// Whose steps run as plain processes where the sandbox is missing, which every record says.
    pub allow_unsandboxed: BTreeSet<TenantId>,
    /// The one tier with walls that steps run in; the first that the machine has by default.
    pub tier: Option<Tier>,
    /// How often the repository is looked at when nothing wakes the loop.
    pub poll: Length,
    /// Where health and metrics are served; `None` serves the socket only.
    pub listen: Option<SocketAddr>,
}

impl Settings {
    /// The defaults of `serve` for a repository and a data directory.
    #[must_use]
    pub fn new(repo: impl Into<String>, data: impl Into<PathBuf>) -> Self {
        Self {
            repo: repo.into(),
            data: data.into(),
            identities: None,
            runtimes: None,
            regions: Regions::Unnamed,
            slots: None,
            limits_best_effort: false,
            allow_unsandboxed: BTreeSet::new(),
            tier: None,
            poll: Length::from_secs(60),
            listen: None,
        }
    }
}

/// Which tenants a worker takes: a tenant with a region runs only where that region is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Regions {
    /// Only tenants that name no region.
    Unnamed,
    /// Tenants of these regions, and those that name none.
    Named(Vec<String>),
    /// All; said at start and by `doctor`.
    Any,
}

impl Regions {
    /// As the store's claim takes it: `None` for all.
    #[must_use]
    pub fn claimed(&self) -> Option<&[String]> {
        match self {
            Self::Unnamed => Some(&[]),
            Self::Named(regions) => Some(regions),
            Self::Any => None,
        }
    }
}

/// What the worker inside the daemon can do.
struct Embedded {
    custody: Custody,
    /// `None` where no worker runs.
    regions: Option<Regions>,
}

impl reconcile::Cell for Embedded {
    fn serves(&self, region: &str) -> Option<bool> {
        let claimed = self.regions.as_ref()?.claimed();
        Some(claimed.is_none_or(|regions| regions.iter().any(|served| served == region)))
    }

    fn sealed(&self, tenant: &TenantId) -> Option<String> {
        let why = match self.custody.identities(tenant) {
            Ok(_) => return None,
            Err(CustodyError::Missing(..)) => "is missing: put it among the identities of this daemon",
            Err(CustodyError::Unsafe { .. }) => {
                "can be read by others, or is no plain file: make it mode 0400"
            }
            Err(error) => {
                tracing::warn!(%tenant, %error, "the identity cannot be read");
                "cannot be read: the daemon's log says why"
            }
        };
        Some(format!("the identity of `{tenant}` {why}; steps that ask for a secret end as an error"))
    }
}

/// Why a daemon, or one pass of it, does not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The address of the repository cannot be used.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The repository cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// trust.toml cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// There is no place to listen at.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The sandbox's helper does not start.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A pass ended early.
    #[error(transparent)]
    Pass(#[from] reconcile::Failure),
    /// The queue cannot be asked.
    #[error(transparent)]
    Leases(#[from] LeaseError),
    /// The data directory belongs to another repository.
    #[error(
        "the data directory `{data}` serves `{known}`, not `{asked}`: give that one, or another data directory"
    )]
    OtherRepository {
        /// The directory.
        data: String,
        /// The repository it was made for.
        known: String,
        /// The one asked for.
        asked: String,
    },
    /// trust.toml demands a change control that is not judged yet: nothing is applied instead of applied unjudged.
    #[error(
        "trust.toml demands change control `{}`, and only `open` is carried out yet: nothing is applied here",
        .0.as_str()
    )]
    Unjudged(ChangeControlMode),
    /// The operating system refused something.
    #[error("{what}")]
    System {
        /// What was tried and the cure, in words.
        what: String,
        /// Its answer.
        #[source]
        source: std::io::Error,
    },
}

/// Everything that runs, wired together.
pub struct App {
    settings: Settings,
    remote: Remote,
    store: Arc<SqliteStore>,
    executor: Option<Arc<dyn Executor>>,
    loop_ports: reconcile::Ports,
    leases: Arc<dyn execute::Leases>,
    logs: Arc<dyn Logs>,
    broker: Broker,
    trust: Arc<Trust>,
    clock: Clock,
    fresh: FreshIds,
    /// Keeps the time for passes that somebody asks for one by one.
    time: tokio::sync::Mutex<Keeper>,
}

/// The name of the worker inside the daemon.
const EMBEDDED_WORKER: &str = "embedded";
/// How often the embedded worker looks for work that nobody told it of, such as a retry that has come due.
const WORKER_POLL: Duration = Duration::from_millis(250);
/// The longest time that `reconcile --wait` waits for a retry.
const RETRY_WAIT_MAX: Length = Length::from_secs(10 * 60);

impl App {
    /// Takes the data directory, opens everything and gives up the leases of a daemon that died here.
    ///
    /// # Errors
    /// [`AppError`], each with its cure; nothing was changed but what makes the directory usable.
    pub async fn open(mut settings: Settings) -> Result<Self, AppError> {
        // What is started here, git above all, has another working directory.
        settings.data = std::path::absolute(&settings.data).map_err(|source| AppError::System {
            what: format!("`{}` is no path of a data directory", settings.data.display()),
            source,
        })?;
        let clock: Clock = Arc::new(now);
        let fresh: FreshIds = Arc::new(fresh_id);
        let remote: Remote = settings.repo.parse()?;
        make_private(&settings.data)?;
        let store = Arc::new(SqliteStore::open(&settings.data, Arc::clone(&clock)).await?);
        remember_repository(&settings.data, &remote)?;
        let trust = Arc::new(Trust::read(&settings.data)?);
        match trust.mode(ChangeControlMode::Open) {
            ChangeControlMode::Open => {}
            demanded => return Err(AppError::Unjudged(demanded)),
        }
        let source: Arc<dyn Source> = Arc::new(open_source(&settings, &remote, store.as_ref()).await?);
        let identities = settings.identities.clone().unwrap_or_else(|| settings.data.join("identities"));
        let cell = Arc::new(Embedded {
            custody: Custody::new(&identities),
            regions: (settings.slots != Some(0)).then(|| settings.regions.clone()),
        });
        let vault: Arc<dyn Vault> = Arc::new(FileVault::new(Custody::new(identities)));
        let executor = open_executor(&settings).await?;
        let shared: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
        store.seal_with(Arc::new(sealed_payload));
        store.abandon(EMBEDDED_WORKER, clock()).await?;
        let logs: Arc<dyn Logs> = Arc::new(LocalLogs::new(&settings.data));
        Ok(Self {
            broker: Broker::new(
                Arc::clone(&shared),
                Arc::<dyn Source>::clone(&source),
                vault,
                Arc::clone(&clock),
            ),
            leases: Arc::new(StoreLeases::new(
                Arc::clone(&shared),
                Arc::clone(&logs),
                EMBEDDED_WORKER,
                settings.regions.claimed().map(<[String]>::to_vec),
                Arc::clone(&clock),
            )),
            time: tokio::sync::Mutex::new(Keeper::new(
                Arc::clone(&shared),
                Arc::clone(&fresh),
                Arc::clone(&clock),
            )),
            loop_ports: reconcile::Ports {
                source,
                store: shared,
                clock: Arc::clone(&clock),
                fresh: Arc::clone(&fresh),
                cell,
                looked: Arc::default(),
            },
            logs,
            settings,
            remote,
            store,
            executor,
            trust,
            clock,
            fresh,
        })
    }

    /// What the sandbox lacks here, with the cure; `None` where steps run, or where no worker was asked for.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        self.executor.as_ref().and_then(|executor| executor.capabilities().refusal())
    }

    /// The store, for reading what a pass came to.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.loop_ports.store)
    }

    /// The runs that were made since an instant in every live tenant, oldest first, at most 1,000 a tenant: what the
    /// owner of the data directory may look at.
    ///
    /// # Errors
    /// [`AppError::Store`].
    pub async fn runs_since(&self, since: Timestamp) -> Result<Vec<RunRecord>, AppError> {
        let actor = Actor::Local(rustix::process::getuid().as_raw());
        let platform = self.store.platform().await?;
        let mut runs = Vec::new();
        for head in self.store.tenants().await?.iter().filter(|head| !head.removed) {
            let facts = Facts::without_grants(head.standing(), platform.as_deref().map(|one| &one.platform));
            let Ok(permit) = authz::decide::<action::View>(&actor, &facts, (self.clock)()) else { continue };
            let filter = RunFilter { limit: 1000, ..RunFilter::default() };
            let made = self.store.runs(&permit, &filter).await?;
            runs.extend(made.into_iter().take_while(|run| run.created_at >= since));
        }
        runs.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(runs)
    }

    /// Lets go of the data directory once everything acknowledged is on disk.
    pub async fn close(self) {
        self.store.close().await;
    }

    /// One pass of the loop, schedules included.
    ///
    /// # Errors
    /// What concerns everybody; a tenant's own failure stands in its row.
    pub async fn pass(&self) -> Result<reconcile::Pass, AppError> {
        let pass = reconcile::pass(&self.loop_ports).await?;
        self.time.lock().await.pass().await?;
        Ok(pass)
    }

    /// Runs what can be run here until nothing runs and nothing is due soon.
    ///
    /// # Errors
    /// [`AppError::Leases`], [`AppError::Store`].
    pub async fn work_until_idle(&self) -> Result<(), AppError> {
        let Some(worker) = self.worker() else { return Ok(()) };
        let mut keeper = self.keeper();
        let mut quiet = false;
        loop {
            let started = keeper.pass().await?.started;
            worker.until_idle().await?;
            let now = (self.clock)();
            self.store.wake(100, now).await?;
            match self.store.goes_on(now + RETRY_WAIT_MAX).await? {
                // A retry or a timeout of a run that goes on; schedules of later and people are left.
                Some(next) => {
                    quiet = false;
                    tokio::time::sleep(next.since(now).to_std().max(Duration::from_millis(10))).await;
                }
                // What this look at the clock has just queued is run by the next turn.
                _ if quiet && started.is_empty() => {
                    keeper.sweep().await;
                    return Ok(());
                }
                _ => quiet = true,
            }
        }
    }

    /// Serves until `stop` turns true: loop, clock, worker, socket and loopback. `listening` is told the address once
    /// everything answers.
    ///
    /// Shutting down, nothing new is accepted, claimed or begun; running steps have the drain time, then are
    /// given back; the store closes last.
    ///
    /// # Errors
    /// [`AppError::Listen`] before anything has started.
    pub async fn serve(
        self,
        stop: watch::Receiver<bool>,
        listening: impl FnOnce(Option<SocketAddr>),
    ) -> Result<(), AppError> {
        // A step starts when it is queued and not when somebody looks: by hand, by a commit, a schedule or a step.
        let workers = self.store.queued();
        let changed = Arc::new(Notify::new());
        let ready = Arc::new(AtomicBool::new(false));
        let wake = Watch::new(self.remote.directory(), self.settings.poll.to_std());

        let socket = api::bind_socket(&self.settings.data.join("tenantry.sock"))?;
        let mut address = None;
        let mut serving = JoinSet::new();
        if let Some(listen) = self.settings.listen {
            let health = Health::new(self.store(), Arc::clone(&ready));
            let (clock, ids) = (Arc::clone(&self.clock), Arc::clone(&self.fresh));
            let hooks = api::Hooks::new(self.store(), self.broker.clone(), clock, ids);
            let (bound, task) =
                api::serve_loopback(listen, health, Some(hooks), stopped(stop.clone())).await?;
            address = Some(bound);
            serving.spawn(async move { drop(task.await) });
        }
        let router = api::router(self.api_ports(&wake, &workers, &changed));
        let ids = Arc::clone(&self.fresh);
        let until = stopped(stop.clone());
        serving.spawn(async move {
            if let Err(error) = api::serve_socket(socket, router, ids, until).await {
                tracing::error!(%error, "the socket does not answer any more");
            }
        });
        if let Some(worker) = self.worker() {
            let (wake, stop) = (Arc::clone(&workers), stop.clone());
            serving.spawn(async move {
                if let Err(error) = worker.serve(&wake, stop).await {
                    tracing::warn!(%error, "leases could not be given back and run out by themselves");
                }
            });
        }
        let mut keeper = self.keeper();
        let (keeper_workers, keeper_changed, keeper_stop) =
            (Arc::clone(&workers), Arc::clone(&changed), stop.clone());
        serving.spawn(async move { keeper.keep(&keeper_workers, &keeper_changed, keeper_stop).await });
        listening(address);
        reconcile::serve(&self.loop_ports, wake, stop, |passed| {
            ready.store(passed.is_ok(), Ordering::SeqCst);
            changed.notify_one();
            workers.notify_one();
        })
        .await;
        while serving.join_next().await.is_some() {}
        self.store.close().await;
        Ok(())
    }

    fn keeper(&self) -> Keeper {
        Keeper::new(self.store(), Arc::clone(&self.fresh), Arc::clone(&self.clock))
    }

    fn worker(&self) -> Option<Worker> {
        let executor = self.executor.clone()?;
        let defaults = execute::Settings::default();
        let slots = self.settings.slots.unwrap_or(defaults.slots);
        (slots > 0).then(|| {
            Worker::new(
                execute::Ports {
                    leases: Arc::clone(&self.leases),
                    executor,
                    source: Arc::<dyn Source>::clone(&self.loop_ports.source),
                    broker: self.broker.clone(),
                    clock: Arc::clone(&self.clock),
                },
                execute::Settings { slots, poll: WORKER_POLL, ..defaults },
            )
        })
    }

    fn api_ports(&self, wake: &Watch, workers: &Arc<Notify>, changed: &Arc<Notify>) -> api::Ports {
        let waker = wake.waker();
        let (workers, changed) = (Arc::clone(workers), Arc::clone(changed));
        api::Ports {
            store: self.store(),
            logs: Arc::clone(&self.logs),
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.fresh),
            trust: Arc::clone(&self.trust),
            broker: Some(self.broker.clone()),
            wake: Some(Arc::new(move || {
                waker.wake();
                workers.notify_one();
                changed.notify_one();
            })),
        }
    }
}

/// What looks at a data directory while no daemon runs there. Nothing that needs the loop is done.
///
/// `audited` takes the directory for as long as it is looked at, since what scripts wrote is shown only once that is
/// recorded; where somebody else has it, that is refused. Everything else leaves the directory to a daemon that starts
/// meanwhile.
///
/// # Errors
/// [`AppError::Store`] if there is no database, or one that has to be migrated first.
pub async fn look(data: &Path, audited: bool) -> Result<api::Ports, AppError> {
    let clock: Clock = Arc::new(now);
    let reading = SqliteStore::open_to_read(data, Arc::clone(&clock)).await?;
    let store: Arc<dyn Store> = match audited {
        true => {
            reading.close().await;
            Arc::new(SqliteStore::open(data, Arc::clone(&clock)).await?)
        }
        false => Arc::new(reading),
    };
    Ok(api::Ports {
        store,
        logs: Arc::new(LocalLogs::new(data)),
        clock,
        ids: Arc::new(fresh_id),
        trust: Arc::new(Trust::read(data)?),
        broker: None,
        wake: None,
    })
}

/// What a repository has, as a machine sees it that is to serve it.
pub struct Survey {
    /// The address.
    pub address: String,
    /// The head of its branch.
    pub revision: Revision,
    /// What binds all tenants; `None` where it does not pass validation.
    pub platform: Option<Platform>,
    /// Its tenants, with the recipients that each valid one names.
    pub tenants: BTreeMap<TenantId, Vec<String>>,
}

/// Makes the data directory of a repository and reads its head.
///
/// # Errors
/// [`AppError`].
pub async fn survey(repo: &str, data: &Path) -> Result<Survey, AppError> {
    let remote: Remote = repo.parse()?;
    make_private(data)?;
    remember_repository(data, &remote)?;
    let credential = Some(data.join("credentials/git")).filter(|path| path.exists());
    let on = |branch: &str| FetchSettings { credential: credential.clone(), ..FetchSettings::branch(branch) };
    let branch = default_branch(&remote, &on("main")).await?.unwrap_or_else(|| "main".to_owned());
    let source = GitSource::open(remote.clone(), on(&branch), &data.join("mirror.git"))?;
    let revision = source.fetch().await?;
    let listing = source.listing(&revision).await?;
    let shared = source.platform_tree(&revision).await?;
    let (platform, _) = desired::read_platform(&shared);
    let mut tenants = BTreeMap::new();
    for tenant in listing.tenants.keys() {
        let tree = source.tenant_tree(&revision, tenant).await?;
        let state = platform
            .as_ref()
            .and_then(|platform| desired::read(platform, &listing, &shared, &tree, tenant).0);
        let recipients = state.map(|desired| desired.state.settings.recipients).unwrap_or_default();
        tenants.insert(tenant.clone(), recipients);
    }
    Ok(Survey { address: remote.as_str().to_owned(), revision, platform, tenants })
}

/// The time of this machine; the store makes it run forward only.
#[must_use]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A fresh UUIDv7.
#[must_use]
pub fn fresh_id() -> uuid::Uuid {
    uuid::Uuid::now_v7()
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Makes the data directory, for its owner alone.
fn make_private(data: &Path) -> Result<(), AppError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(|source| AppError::System {
        what: format!(
            "cannot make the data directory `{}`: choose one that this user can write",
            data.display()
        ),
        source,
    })
}

/// Refuses a data directory that was made for another repository; a fresh one remembers this one.
fn remember_repository(data: &Path, remote: &Remote) -> Result<(), AppError> {
    let path = data.join("repository");
    let failed = |source| AppError::System { what: format!("cannot use `{}`", path.display()), source };
    let asked = remote.as_str();
    match std::fs::read_to_string(&path) {
        Ok(known) if known.trim() == asked => Ok(()),
        Ok(known) => Err(AppError::OtherRepository {
            data: data.display().to_string(),
            known: known.trim().to_owned(),
            asked: asked.to_owned(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::write(&path, format!("{asked}\n")).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Opens the mirror on the branch that `reconcile.branch` names.
///
/// The branch stands in the repository itself, so it is read from the branch that was followed last, else from
/// the remote's default one; where neither can be read, `main` is taken and the loop says what is wrong.
async fn open_source(
    settings: &Settings,
    remote: &Remote,
    store: &SqliteStore,
) -> Result<GitSource, AppError> {
    let mirror = settings.data.join("mirror.git");
    let credential = Some(settings.data.join("credentials/git")).filter(|path| path.exists());
    let on = |branch: &str| FetchSettings { credential: credential.clone(), ..FetchSettings::branch(branch) };
    let known = store.platform().await?.map(|applied| applied.platform.settings.branch.clone());
    let first = match known {
        Some(branch) => return Ok(GitSource::open(remote.clone(), on(&branch), &mirror)?),
        None => default_branch(remote, &on("main")).await.ok().flatten().unwrap_or_else(|| "main".into()),
    };
    let source = GitSource::open(remote.clone(), on(&first), &mirror)?;
    let named = named_branch(&source).await.unwrap_or_else(|| "main".into());
    if named == first { Ok(source) } else { Ok(GitSource::open(remote.clone(), on(&named), &mirror)?) }
}

/// What `reconcile.branch` says at the head of the branch that `source` follows; `main` where it says nothing.
async fn named_branch(source: &GitSource) -> Option<String> {
    let revision = source.fetch().await.ok()?;
    let listing = source.listing(&revision).await.ok()?;
    let text = source.blob(listing.settings.as_ref()?).await.ok()?;
    let table: toml::Table = std::str::from_utf8(&text).ok()?.parse().ok()?;
    Some(table.get("reconcile")?.get("branch")?.as_str()?.to_owned())
}

/// Opens the sandbox, or, where it was allowed, what runs steps as plain processes.
async fn open_executor(settings: &Settings) -> Result<Option<Arc<dyn Executor>>, AppError> {
    if settings.slots == Some(0) {
        return Ok(None);
    }
    let program = std::env::current_exe()
        .map_err(|source| AppError::System { what: "cannot find this program's own file".into(), source })?;
    let packages = settings.data.join("packages");
    let packages = std::path::absolute(&packages).unwrap_or(packages);
    let mut tiers = settings.tier.map_or_else(|| sandbox::TIERS_WITH_WALLS.to_vec(), |tier| vec![tier]);
    if !settings.allow_unsandboxed.is_empty() {
        tiers.push(Tier::UnsafeNone);
    }
    let of = sandbox::Settings {
        program,
        instance: instance(&settings.data),
        tier: Tier::default(),
        limits: if settings.limits_best_effort { LimitsPolicy::BestEffort } else { LimitsPolicy::Enforced },
        unsandboxed: settings.allow_unsandboxed.clone(),
        packages: Some(packages),
        runtimes: Some(runtimes(settings)?),
    };
    let executor = LocalExecutor::open_first(of, &tiers).await?;
    for note in &executor.capabilities().notes {
        tracing::info!(tier = %executor.capabilities().tier, "{note}");
    }
    let left = executor.recover().await?;
    if left > 0 {
        tracing::warn!(left, "removed what an earlier daemon left behind");
    }
    // Where the daemon listens is no host of anybody's, whatever a name resolves to.
    let own = settings.listen.into_iter().collect();
    Ok(Some(Arc::new(executor.with_egress(sandbox::Egress::system(own)))))
}

/// The directory of runtimes. Only the one that nobody named is made.
fn runtimes(settings: &Settings) -> Result<PathBuf, AppError> {
    let place = settings.runtimes.clone().unwrap_or_else(|| settings.data.join(RUNTIMES));
    if settings.runtimes.is_none() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&place);
        made.map_err(|source| AppError::System {
            what: "cannot make the directory of runtimes".into(),
            source,
        })?;
    }
    Ok(std::path::absolute(&place).unwrap_or(place))
}

/// Names the data directory in control groups: the same at every start.
fn instance(data: &Path) -> String {
    let path = std::fs::canonicalize(data).unwrap_or_else(|_| data.to_owned());
    digest_of(&path.display().to_string()).trim_start_matches("sha256:").chars().take(12).collect()
}
