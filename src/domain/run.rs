//! One execution of a workflow, bound to its revision.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    CommitId, FieldName, ObjectId, RunId, SecretName, ServiceId, StepId, TenantId, Timestamp, UserId,
    VersionId, WorkflowId,
};

/// What started a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TriggerKind {
    /// An apply.
    Commit,
    /// A time.
    Schedule,
    /// An incoming hook.
    Webhook,
    /// A person.
    Manual,
    /// A person, again.
    Rerun,
    /// `why --probe`.
    Probe,
}

impl TriggerKind {
    /// As in JSON and trigger keys.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Schedule => "schedule",
            Self::Webhook => "webhook",
            Self::Manual => "manual",
            Self::Rerun => "rerun",
            Self::Probe => "probe",
        }
    }
}
impl fmt::Display for TriggerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What started a run, and the key under which it is started once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Trigger {
    /// Its kind.
    pub kind: TriggerKind,
    /// commit: generation · schedule: entry and fire time · webhook: delivery id or body digest · manual, rerun: request id.
    pub key: String,
    /// The time it stands for, which is the fire time of a schedule.
    pub time: Timestamp,
}

/// Who does something: a person, a machine, a run, or a part of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Actor {
    /// A person of `people.yaml`.
    User(UserId),
    /// A service of `people.yaml`.
    Service(ServiceId),
    /// Somebody known only by a uid of this machine: may diagnose, back up, revoke and suspend.
    Local(u32),
    /// A part of the daemon.
    Daemon(DaemonPart),
    /// A worker.
    Worker(String),
    /// A run.
    Run(RunId),
}

/// A part of the daemon, an actor with fixed rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DaemonPart {
    /// The reconcile loop.
    Reconcile,
    /// The scheduler.
    Schedule,
    /// The alerter.
    Alert,
    /// The door for incoming hooks.
    Webhook,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::Service(id) => write!(f, "service:{id}"),
            Self::Local(uid) => write!(f, "local:{uid}"),
            Self::Daemon(DaemonPart::Reconcile) => f.write_str("daemon:reconcile"),
            Self::Daemon(DaemonPart::Schedule) => f.write_str("daemon:schedule"),
            Self::Daemon(DaemonPart::Alert) => f.write_str("daemon:alert"),
            Self::Daemon(DaemonPart::Webhook) => f.write_str("daemon:webhook"),
            Self::Worker(id) => write!(f, "worker:{id}"),
            Self::Run(id) => write!(f, "run:{id}"),
        }
    }
}
/// A text names no actor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no actor")]
pub struct ActorError(pub String);
impl FromStr for Actor {
    type Err = ActorError;
    fn from_str(text: &str) -> Result<Self, ActorError> {
        let error = || ActorError(text.to_owned());
        let (kind, name) = text.split_once(':').ok_or_else(error)?;
        match (kind, name) {
            ("user", name) => name.parse().map(Self::User).map_err(|_| error()),
            ("service", name) => name.parse().map(Self::Service).map_err(|_| error()),
            ("local", uid) => uid.parse().map(Self::Local).map_err(|_| error()),
            ("daemon", "reconcile") => Ok(Self::Daemon(DaemonPart::Reconcile)),
            ("daemon", "schedule") => Ok(Self::Daemon(DaemonPart::Schedule)),
            ("daemon", "alert") => Ok(Self::Daemon(DaemonPart::Alert)),
            ("daemon", "webhook") => Ok(Self::Daemon(DaemonPart::Webhook)),
            ("worker", name) => Ok(Self::Worker(name.to_owned())),
            ("run", id) => id.parse().map(Self::Run).map_err(|_| error()),
            _ => Err(error()),
        }
    }
}
impl TryFrom<String> for Actor {
    type Error = ActorError;
    fn try_from(text: String) -> Result<Self, ActorError> {
        text.parse()
    }
}
impl From<Actor> for String {
    fn from(actor: Actor) -> String {
        actor.to_string()
    }
}

/// How a run, step or attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As hoped.
    Success,
    /// The script's failure.
    Failure,
    /// Our failure: worker, lease, sandbox.
    Error,
    /// Too slow.
    TimedOut,
    /// Ended by somebody.
    Cancelled,
    /// People said no, or nobody answered.
    Rejected,
    /// Not done, with a reason.
    Skipped,
}

impl Outcome {
    /// As in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Error => "error",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
            Self::Skipped => "skipped",
        }
    }
}
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a run or step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Ready, not yet leased.
    Queued,
    /// Waits for a time, a key, an approval or another step.
    Waiting,
    /// Leased.
    Running,
    /// Over.
    Ended,
}

impl Phase {
    /// As in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Ended => "ended",
        }
    }
}
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where the payload of a run, what it was given and wrote, is once it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum PayloadState {
    /// It was given and wrote nothing.
    Nothing,
    /// Encrypted to the tenant's recipients, until then.
    Sealed {
        /// When it is dropped.
        until: Timestamp,
    },
    /// Kept nowhere.
    Dropped {
        /// Why.
        why: PayloadDropped,
    },
}

/// Why a payload is kept nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayloadDropped {
    /// The tenant had nobody to encrypt it to when the run ended.
    NoRecipient,
    /// It could not be encrypted to the tenant's recipients.
    NotEncrypted,
    /// Its time is over.
    Expired,
}

/// Everything a run pins when it is made, so that it can be repeated and explained. Never changed later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPins {
    /// Its id.
    pub id: RunId,
    /// Whose.
    pub tenant: TenantId,
    /// Which tenant of that name.
    pub incarnation: u32,
    /// The workflow as of `commit`: steps, script blobs and all.
    pub workflow: super::Workflow,
    /// The tenant's environment.
    pub environment: Option<String>,
    /// The commit.
    pub commit: CommitId,
    /// The tree of the tenant's directory.
    pub tree: ObjectId,
    /// The apply generation it was made under.
    pub generation: u64,
    /// What started it.
    pub trigger: Trigger,
    /// Who started it.
    pub actor: Actor,
    /// Who wrote its commit, as far as the commit names people of `people.yaml`: they approve no step of it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub authors: BTreeSet<UserId>,
    /// What a webhook sent, `trigger.body` to expressions; null for whatever else started it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub body: Value,
    /// Its inputs, typed and complete.
    pub inputs: BTreeMap<FieldName, Value>,
    /// Its sensitive inputs, which are not among `inputs`: a SOPS file for the tenant's recipients, opened by a worker
    /// only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
    /// SHA-256 over the canonical JSON of `inputs`.
    pub inputs_digest: String,
    /// The current version of each declared secret when it was made; what was delivered stands in the record.
    pub secret_versions: BTreeMap<SecretName, VersionId>,
    /// The rendered concurrency key.
    pub concurrency_key: Option<String>,
    /// The run that this one repeats, the first of its chain.
    pub rerun_of: Option<RunId>,
    /// The run that names its steps to the outside world, where that is not the first of its chain: `--new-key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named_by: Option<RunId>,
    /// The run whose successes it keeps instead of doing them again: `--failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeps: Option<RunId>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl RunPins {
    /// The workflow's id.
    #[must_use]
    pub fn workflow_id(&self) -> &WorkflowId {
        &self.workflow.id
    }
}

/// One attempt: the unit that is queued, leased and fenced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepId,
    /// The item of a `for_each`, from 0.
    pub item: Option<u32>,
    /// The fencing token: counts every lease of this step and item, from 1.
    pub attempt: u32,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.step)?;
        if let Some(item) = self.item {
            write!(f, "[{item}]")?;
        }
        write!(f, "#{}", self.attempt)
    }
}
