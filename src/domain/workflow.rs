//! A workflow as it runs: defaults filled in, short forms expanded, steps in an order they can run in.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    FieldName, Length, Mode, ObjectId, Principal, Resources, Role, RuntimeDigest, SecretName, StepId,
    Timestamp, WorkflowId,
};

/// One automation of a tenant: a DAG of steps and what starts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workflow {
    /// Its id, the file's name.
    pub id: WorkflowId,
    /// What it is for.
    pub description: Option<String>,
    /// What starts it.
    pub triggers: Triggers,
    /// What it takes.
    pub inputs: BTreeMap<FieldName, Input>,
    /// The files its steps see at `/repo`: path below the scripts' root to blob and mode. Content-addressed,
    /// so that a changed script is a changed workflow.
    pub files: BTreeMap<String, ScriptFile>,
    /// How many of its runs go at one time.
    pub concurrency: Option<Concurrency>,
    /// The time of a run, waiting in the queue or for an approval left out.
    pub timeout: Length,
    /// Who is told of failures.
    pub alert: AlertLevel,
    /// How often it should succeed.
    pub success_within: Option<Length>,
    /// Whether it may be run again to find a cause.
    pub replay_safe: bool,
    /// Set while Git pauses it.
    pub paused: Option<Pause>,
    /// The root file system that its steps run in; the worker's own system files without.
    pub runtime: Option<RuntimeDigest>,
    /// The shared workflow it was expanded from.
    pub uses: Option<String>,
    /// Its steps, in an order they can run in; at least one.
    pub steps: Vec<Step>,
    /// Runs after a failure; its id is `on_failure`.
    pub on_failure: Option<Box<Step>>,
}

impl Workflow {
    /// The step of that id, `on_failure` included.
    #[must_use]
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps.iter().chain(self.on_failure.as_deref()).find(|step| step.id == *id)
    }

    /// What people are asked at a step; `None` for one that runs something.
    #[must_use]
    pub fn approval(&self, id: &StepId) -> Option<&StepApproval> {
        match &self.step(id)?.work {
            Work::Approval(asked) => Some(asked),
            Work::Script { .. } | Work::Inline { .. } => None,
        }
    }
}

/// A file that steps can open.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScriptFile {
    /// Its blob.
    pub id: ObjectId,
    /// Whether it is executable.
    pub mode: Mode,
    /// Bytes.
    pub size: u64,
}

/// What starts a workflow. People can start every workflow whose inputs they can give.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Triggers {
    /// An apply that changes it.
    pub commit: Option<CommitTrigger>,
    /// Times.
    pub schedules: Vec<ScheduleTrigger>,
    /// An incoming hook.
    pub webhook: Option<WebhookTrigger>,
}

/// Fires when an apply raises the generation and changes the workflow, a file it can open or a watched path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitTrigger {
    /// Globs from the tenant's directory, with the digest of what they match.
    pub paths: Vec<String>,
    /// Digest (SHA-256, hex) over path, mode and blob of every file that `paths` match; `None` without `paths`.
    pub watched: Option<String>,
    /// Whether the first apply of the workflow fires too.
    pub first: bool,
    /// Whether each commit is applied and fires on its own.
    pub each: bool,
    /// Inputs it gives.
    pub with: BTreeMap<FieldName, Value>,
}

/// One entry of `on.schedule`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleTrigger {
    /// Names the entry in trigger keys: its cron text and zone.
    pub entry: String,
    /// Five fields.
    pub cron: String,
    /// An IANA zone.
    pub timezone: String,
    /// What is made up for after downtime.
    pub catch_up: CatchUp,
    /// What happens while its last run is active.
    pub overlap: Overlap,
    /// Whether jitter is left out.
    pub exact: bool,
    /// Inputs it gives.
    pub with: BTreeMap<FieldName, Value>,
}

/// The incoming hook of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookTrigger {
    /// The secret that signs it.
    pub secret: SecretName,
    /// Inputs it gives.
    pub with: BTreeMap<FieldName, Value>,
}

/// What a schedule makes up for after downtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// Nothing.
    None,
    /// The latest missed time.
    #[default]
    One,
    /// Every missed time, capped.
    All,
}

/// What a schedule does while its last run is active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// Records the time as skipped.
    #[default]
    Skip,
    /// Waits.
    Queue,
    /// Cancels the active run.
    Cancel,
}

/// The type of an input or output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    /// Text.
    #[default]
    String,
    /// A whole number of 64 bits.
    Int,
    /// A finite number.
    Float,
    /// `true` or `false`.
    Bool,
    /// A list of anything.
    List,
    /// An object.
    Map,
}

impl ValueType {
    /// Whether a JSON value is of this type.
    #[must_use]
    pub fn admits(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Int => value.is_i64(),
            Self::Float => value.is_number(),
            Self::Bool => value.is_boolean(),
            Self::List => value.is_array(),
            Self::Map => value.is_object(),
        }
    }
}

/// One declared input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Its type.
    pub value_type: ValueType,
    /// `date`, `date-time`, `email`, `uri` or `uuid`, for text.
    pub format: Option<String>,
    /// The values it may take, if listed.
    pub allowed: Vec<Value>,
    /// Used when nothing is given; text may hold `${{ }}` over `trigger` and `tenant`.
    pub default: Option<Value>,
    /// Whether a run cannot start without it.
    pub required: bool,
    /// Masked everywhere.
    pub sensitive: bool,
    /// What it is for.
    pub description: Option<String>,
}

/// How many runs with one key go at one time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Concurrency {
    /// Text that may hold `${{ }}` over `inputs`, `trigger` and `tenant`; empty is one key for the workflow.
    pub key: String,
    /// At least 1.
    pub limit: u32,
    /// What the next one does.
    pub on_limit: OnLimit,
}

/// What a run does when its key is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLimit {
    /// Waits for its turn.
    #[default]
    Queue,
    /// Ends as skipped.
    Skip,
    /// Cancels the oldest active one and takes its place.
    Cancel,
}

/// Who is told of failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertLevel {
    /// Somebody is woken.
    Page,
    /// The owner is told.
    #[default]
    Notify,
    /// In the daily digest.
    Digest,
    /// Nobody.
    Off,
}

/// A pause, from Git or from a command.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pause {
    /// Why.
    pub reason: String,
    /// When it lets itself go; `None` stays.
    pub until: Option<Timestamp>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its id, unique in the workflow; `main` for the one of a short form.
    pub id: StepId,
    /// What it waits for.
    pub waits: Waits,
    /// A CEL condition; skipped where it is false.
    pub condition: Option<String>,
    /// What it does.
    pub work: Work,
    /// Arguments of the script.
    pub args: Vec<String>,
    /// The secrets it may ask for; nothing else.
    pub secrets: Vec<SecretUse>,
    /// Its input as JSON; text may hold `${{ }}`.
    pub with: Option<BTreeMap<FieldName, Value>>,
    /// The hosts it may reach.
    pub network: Vec<HostPort>,
    /// What one attempt may use.
    pub resources: Resources,
    /// How failures are tried again.
    pub retry: Retry,
    /// The time of one attempt.
    pub timeout: Length,
    /// What it promises to write.
    pub outputs: BTreeMap<FieldName, ValueType>,
    /// One attempt an item.
    pub for_each: Option<ForEach>,
}

/// What a step waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waits {
    /// Nothing: the first step, or `needs: []`.
    Nothing,
    /// The step written above it. A predecessor skipped by its own `if` lets it go on.
    Above(StepId),
    /// The steps it names; any of them skipped skips it.
    Needs(Vec<StepId>),
}

impl Waits {
    /// The steps waited for.
    #[must_use]
    pub fn steps(&self) -> &[StepId] {
        match self {
            Self::Nothing => &[],
            Self::Above(step) => std::slice::from_ref(step),
            Self::Needs(steps) => steps,
        }
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// A script of the repository, started by its shebang.
    Script {
        /// A key of [`Workflow::files`].
        path: String,
    },
    /// A script written in the workflow.
    Inline {
        /// Who reads it.
        shell: Shell,
        /// The script.
        text: String,
    },
    /// People agree.
    Approval(StepApproval),
}

/// Who reads an inline script.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shell {
    /// `/bin/sh`
    #[default]
    Sh,
    /// `bash`
    Bash,
    /// `python3`
    Python,
    /// `node`
    Node,
}

/// Who agrees to go on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StepApproval {
    /// Roles or principals.
    pub from: Vec<Approver>,
    /// How many people.
    pub count: u32,
    /// How long it waits.
    pub timeout: Length,
    /// Always a rejection: nothing times out into approval.
    pub on_timeout: OnTimeout,
}

/// Who may approve a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approver {
    /// Everybody with this role.
    Role(Role),
    /// A person or the members of a group.
    Principal(Principal),
}

impl fmt::Display for Approver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(role) => write!(f, "{role}"),
            Self::Principal(principal) => write!(f, "{principal}"),
        }
    }
}

/// What the end of an approval's time does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnTimeout {
    /// Rejects.
    #[default]
    Reject,
    /// Skips.
    Skip,
}

/// A secret that a step declares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretUse {
    /// Its name.
    pub name: SecretName,
    /// How it arrives.
    pub delivery: Delivery,
    /// The name that the script asks for it by: that of the shared workflow, where the tenant's is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<SecretName>,
}

impl SecretUse {
    /// The name that the script knows it by.
    #[must_use]
    pub fn asked(&self) -> &SecretName {
        self.alias.as_ref().unwrap_or(&self.name)
    }
}

/// How a secret arrives at a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Asked for at the broker's socket.
    Socket,
    /// In an environment variable of that name.
    Env(String),
    /// In a file whose path stands in the environment variable of that name.
    File(String),
}

/// A host and a port: `api.stripe.com:443`. No wildcards: every host is known from the commit alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort {
    /// Lower-case DNS name or IPv4 address.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

/// The most hosts of one step: each takes a descriptor of the worker.
pub const HOSTS_MAX: usize = 64;

impl HostPort {
    /// Whether the host is an address in any spelling that a resolver takes for one: its last label is a number.
    /// Source: the WHATWG URL standard, "ends in a number".
    #[must_use]
    pub fn is_address(&self) -> bool {
        let last = self.host.rsplit('.').next().unwrap_or_default();
        let hexadecimal =
            last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
        hexadecimal || last.bytes().all(|b| b.is_ascii_digit())
    }
    /// Whether the host is by its name the machine that asks. Source: RFC 6761, 6.3.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let is_localhost =
            |label: &str| matches!(label, "localhost" | "localhost6" | "ip6-localhost" | "ip6-loopback");
        is_localhost(self.host.rsplit('.').next().unwrap_or_default()) || self.host == "localhost.localdomain"
    }
    /// Whether the host is a name that somebody else answers for.
    #[must_use]
    pub fn is_name(&self) -> bool {
        !self.is_address() && !self.is_local()
    }
}

/// Why a text is no host with a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPortError {
    /// There is no `:PORT`.
    #[error("`{0}` has no port; write for instance `{0}:443`")]
    NoPort(String),
    /// Anything else.
    #[error("`{0}` is not HOST:PORT such as api.stripe.com:443")]
    Malformed(String),
}

impl FromStr for HostPort {
    type Err = HostPortError;
    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let malformed = || HostPortError::Malformed(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(|| HostPortError::NoPort(text.to_owned()))?;
        let port: u16 = port.parse().ok().filter(|p| *p > 0).ok_or_else(malformed)?;
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        };
        if host.is_empty() || host.len() > 253 || !host.split('.').all(label) {
            return Err(malformed());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}
impl TryFrom<String> for HostPort {
    type Error = HostPortError;
    fn try_from(text: String) -> Result<Self, HostPortError> {
        text.parse()
    }
}
impl From<HostPort> for String {
    fn from(host: HostPort) -> String {
        host.to_string()
    }
}
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// How failures are tried again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// The wait after the first failure; doubled after each further one.
    pub backoff: Length,
    /// The longest wait.
    pub max: Length,
    /// Whether the wait is spread.
    pub jitter: bool,
    /// What is tried again.
    pub on: Vec<RetryOn>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 1,
            backoff: Length::from_secs(10),
            max: Length::from_secs(120),
            jitter: true,
            on: vec![RetryOn::Failure, RetryOn::Error, RetryOn::TimedOut],
        }
    }
}

/// A result that is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// The script's.
    Failure,
    /// Ours.
    Error,
    /// Too slow.
    TimedOut,
}

/// One attempt an item of a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ForEach {
    /// CEL, a list.
    pub items: String,
    /// CEL over `item`; names the item in idempotency keys.
    pub item_key: Option<String>,
    /// Items at one time, at least 1.
    pub max_parallel: u32,
}
