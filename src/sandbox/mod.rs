//! One attempt under limits: start, stop, output.
//!
//! An [`Executor`] takes a [`StepSpec`] and gives a [`RunningStep`] with two streams to read and a socket to
//! serve. The default tier runs it in fresh namespaces of its own, made by a small resident helper process,
//! so that the daemon never forks itself; the tier `bubblewrap` has the same walls raised by `bwrap`; the tier
//! `unsafe-none` runs the same spec as a plain process.
//! Deliberately absent: what the streams are turned into (execute, record), what the socket answers (broker),
//! why a step runs at all (run, queue). The way out to declared hosts is in [`egress`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;
use tokio::net::UnixListener;

use crate::domain::{ByteSize, Contact, Exit, Mode, Resources, RuntimeDigest, TenantId, Tier, Usage};

mod capabilities;
pub mod egress;
pub mod helper;
mod local;
mod packages;
mod peers;
mod places;
mod runtimes;
mod wire;

pub use capabilities::{Capabilities, Feature, FeatureState, Need};
pub use egress::{Egress, EgressLimits, Outward, Reach};
pub use local::{LocalExecutor, Settings};
pub use packages::{Packages, Preparation};
pub use peers::Peers;
pub use runtimes::{
    RUNTIME_BYTES_MAX, RuntimeError, RuntimeSource, add_runtime, list_runtimes, runtime_digest,
};

/// Runs attempts of steps, each apart from everything else.
#[async_trait]
pub trait Executor: Send + Sync {
    /// What this machine can and cannot do, found out by doing it when the executor was made.
    fn capabilities(&self) -> &Capabilities;

    /// Starts one attempt. Dropping the returned step kills it.
    ///
    /// # Errors
    /// [`SandboxError::Refused`] while a required feature is missing; the others when this attempt could not
    /// be started, which says nothing about the script.
    async fn start(&self, spec: StepSpec) -> Result<Started, SandboxError>;

    /// Makes the packages of a Python script ready, or finds them so. Takes minutes at most; dropping the future ends it.
    ///
    /// # Errors
    /// [`SandboxError::Spec`] with what the installer said; [`SandboxError::Refused`] where this worker cannot.
    async fn prepare(&self, what: Preparation) -> Result<Packages, SandboxError> {
        drop(what);
        Err(SandboxError::Refused("it prepares no packages".to_owned()))
    }

    /// Looks whether this worker has a root file system and whether it is what its digest says.
    ///
    /// # Errors
    /// [`SandboxError::Refused`] with what is missing and its cure.
    async fn has_runtime(&self, runtime: &RuntimeDigest) -> Result<(), SandboxError> {
        Err(SandboxError::Refused(format!("it has no runtimes, so {} is not among them", runtime.short())))
    }

    /// Ends and removes what an earlier process of the same instance left behind. Called once, before the first
    /// start; gives the number of leftovers.
    ///
    /// # Errors
    /// [`SandboxError::Helper`] if something cannot be removed.
    async fn recover(&self) -> Result<usize, SandboxError>;
}

/// The tiers that a daemon takes by itself, the one that it would rather have first.
pub const TIERS_WITH_WALLS: [Tier; 2] = [Tier::Sandbox, Tier::Bubblewrap];

/// Finds out what this machine can and cannot do for steps in the first of `tiers` that it has, by doing it; leaves
/// nothing behind.
///
/// # Errors
/// If the helper process cannot be started at all.
pub async fn probe(settings: Settings, tiers: &[Tier]) -> Result<Capabilities, SandboxError> {
    Ok(LocalExecutor::open_first(settings, tiers).await?.capabilities().clone())
}

/// An attempt that has been started.
pub struct Started {
    /// Waits for it and stops it.
    pub step: Box<dyn RunningStep>,
    /// Its standard output; ends after its last process. Unread output stops the script, never fills memory.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// Its standard error.
    pub stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// Listens at `$TENANTRY_SOCKET`. Only processes of this attempt can connect.
    pub broker: UnixListener,
    /// The host's user id of the attempt's processes, as the broker's socket shows it.
    pub host_uid: u32,
    /// Tells the attempt's processes from others at that socket.
    pub peers: Peers,
}

/// One attempt while it runs.
#[async_trait]
pub trait RunningStep: Send {
    /// Waits until the last process of the attempt is dead, and ends it when its time is over. Dropping the
    /// future and calling again is allowed; after the end it gives the same answer again.
    async fn wait(&mut self) -> Ended;

    /// Asks every process of the attempt to end (SIGTERM) and kills them all once `grace` is over; returns at
    /// once, the end is waited for with [`RunningStep::wait`]. The first reason stays; a shorter grace counts.
    async fn stop(&mut self, why: Stop, grace: Duration);
}

/// Why an attempt is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// Its time is over.
    TimedOut,
    /// Somebody, or the run machine, wants it gone.
    Cancelled,
    /// It writes more than anybody reads.
    OutputLimit,
    /// Its lease is lost: another worker has it.
    Lost,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The way, the code, the signal.
    pub exit: Exit,
    /// What it used.
    pub usage: Usage,
    /// What stands in `$TENANTRY_OUTPUT`.
    pub output: StepOutput,
    /// What it had to do with hosts, by host. Names that it made up stand there as it wrote them.
    pub contacts: Vec<Contact>,
    /// What went wrong in the sandbox, for `sandbox_error` and `lost`.
    pub problem: Option<String>,
}

/// What an attempt left in `$TENANTRY_OUTPUT`, read after its last process was dead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StepOutput {
    /// No file, or an empty one.
    #[default]
    Nothing,
    /// The bytes as they are: not yet parsed, not yet redacted.
    Bytes(Vec<u8>),
    /// Something that is not read: a link, a directory, a device, a file that is too large. In a user's words.
    Refused(String),
}

/// Everything one attempt needs. Nothing else of the daemon reaches it.
#[derive(Clone, Debug)]
pub struct StepSpec {
    /// Names the attempt for people: 1 to 80 bytes of `a-z`, `A-Z`, `0-9`, `-`, `_`, `.`.
    pub name: String,
    /// Whose it is. Tenants have different host user ids where the daemon can give them.
    pub tenant: TenantId,
    /// The root file system that it runs in; this machine's own system files without.
    pub runtime: Option<RuntimeDigest>,
    /// What is run.
    pub program: Program,
    /// The packages that its script was prepared with: it is then run by their interpreter, whatever its first line
    /// says.
    pub packages: Option<Packages>,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment. The sandbox adds what depends on places (see [`PLACE_VARIABLES`]) and nothing else.
    pub environment: BTreeMap<String, String>,
    /// The files at `/repo`, which is the working directory.
    pub files: Vec<StepFile>,
    /// The JSON in `$TENANTRY_INPUT`.
    pub input: Vec<u8>,
    /// The hosts that it may reach, each once and at most [`egress::HOSTS_MAX`]. Without one there is no way out.
    pub reach: Vec<Reach>,
    /// Secrets delivered as files.
    pub secret_files: Vec<SecretFile>,
    /// What it may use.
    pub limits: Limits,
}

/// The argument that turns this program into the sandbox's helper.
const HELPER_ARGUMENT: &str = "sandbox-exec";

/// Whether a command line asks for the sandbox's helper.
#[must_use]
pub fn is_helper(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> bool {
    arguments.nth(1).is_some_and(|first| first == HELPER_ARGUMENT)
}

/// The variables that the sandbox sets itself, since they name places inside it.
pub const PLACE_VARIABLES: [&str; 6] =
    ["PATH", "HOME", "TMPDIR", "TENANTRY_INPUT", "TENANTRY_OUTPUT", "TENANTRY_SOCKET"];

/// The variables that the sandbox sets itself for a step that may reach hosts, for clients that know of proxies.
pub const PROXY_VARIABLES: [&str; 6] =
    ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"];

/// What a step runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// A file of [`StepSpec::files`], started by its shebang. It need not be executable: without the bit it is
    /// handed to the interpreter that its first line names, or to `/bin/sh`.
    File(String),
    /// A text handed to an interpreter, which is looked up in the `PATH` of the sandbox.
    Inline {
        /// `sh`, `bash`, `python3` or `node`, with its options.
        interpreter: Vec<String>,
        /// The script.
        text: String,
    },
    /// A command looked up in the `PATH` of the sandbox; for probes and tests.
    Command(String),
}

/// A file that the step can open and not change.
#[derive(Clone, Debug)]
pub struct StepFile {
    /// Relative, with `/`, without `.`, `..` and empty parts.
    pub path: String,
    /// Whether it is executable.
    pub mode: Mode,
    /// Its content.
    pub content: Arc<[u8]>,
}

/// A secret in a file that only this attempt can open, in memory only.
#[derive(Clone)]
pub struct SecretFile {
    /// The variable that gets the file's path; also the file's name.
    pub variable: String,
    /// Its value; wiped when dropped.
    pub content: Arc<zeroize::Zeroizing<Vec<u8>>>,
}

impl std::fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretFile({}, {} bytes)", self.variable, self.content.len())
    }
}

/// What one attempt may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory, processor, processes, disk. Files in `/work` count as memory too: they lie in it.
    pub resources: Resources,
    /// Files and directories in `/work` and `/tmp` together.
    pub inodes: u32,
    /// The size of `$TENANTRY_OUTPUT`.
    pub output_bytes_max: ByteSize,
    /// The time from start to SIGTERM.
    pub timeout: Duration,
    /// The time from SIGTERM to SIGKILL when the timeout has come.
    pub grace: Duration,
}

impl Default for Limits {
    /// Source: design page `runs.md`, "Defaults".
    fn default() -> Self {
        Self {
            resources: Resources::default(),
            inodes: 16_384,
            output_bytes_max: ByteSize::from_bytes(64 << 10),
            timeout: Duration::from_secs(600),
            grace: Duration::from_secs(10),
        }
    }
}

/// What is done where the machine gives no control group that can be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitsPolicy {
    /// Steps are refused.
    #[default]
    Enforced,
    /// Each process is limited by itself, and the record says so.
    BestEffort,
}

/// Why an attempt could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The machine lacks something required; the text names it and its cure.
    #[error("steps are refused on this machine: {0}")]
    Refused(String),
    /// The spec cannot be carried out.
    #[error("the step cannot be started: {0}")]
    Spec(String),
    /// The helper process is gone or answers nonsense.
    #[error("the sandbox helper failed: {0}")]
    Helper(String),
    /// The operating system refused something.
    #[error("{what} failed")]
    System {
        /// What was tried, in words.
        what: &'static str,
        /// Its answer.
        #[source]
        source: std::io::Error,
    },
}

impl SandboxError {
    /// Whether the same attempt may work later without a change by anybody.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Helper(_) | Self::System { .. })
    }
}
