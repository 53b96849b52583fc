//! What the store holds of one tenant: what was applied, and what ended since.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    ChangeKeys, CommitId, ElevationId, HeldLine, Pause, SecretName, TenantId, TenantState, Timestamp,
    VersionId, WorkflowId,
};

/// The actual state of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActualState {
    /// Whose.
    pub tenant: TenantId,
    /// Which tenant of that name: a name that returns is a new tenant. From 1.
    pub incarnation: u32,
    /// Rises with every apply that changes the digest; 0 before the first.
    pub generation: u64,
    /// Rises whenever a right ends; the store refuses permits with an older one.
    pub authority: u64,
    /// The last apply that changed the tenant; `None` before the first.
    pub applied: Option<Applied>,
    /// Starts of elevations, by the store's clock.
    pub elevations_started: BTreeMap<ElevationId, Timestamp>,
    /// Elevations that ended, for ever.
    pub elevations_ended: BTreeSet<ElevationId>,
    /// Versions that were revoked, for ever.
    pub revoked: BTreeMap<SecretName, BTreeSet<VersionId>>,
    /// Pauses by command.
    pub pauses: BTreeMap<WorkflowId, Pause>,
    /// A suspension by command, or a pause of all workflows.
    pub suspended: Option<Pause>,
    /// A pin by command.
    pub pin: Option<Pin>,
    /// Set once Git no longer has the tenant: disabled at once, runs and audit stay.
    pub removed: Option<Timestamp>,
}

/// One apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The commit.
    pub commit: CommitId,
    /// Digest of `state`.
    pub digest: String,
    /// The ids it was read under.
    pub keys: ChangeKeys,
    /// When.
    pub at: Timestamp,
    /// What was applied.
    pub state: TenantState,
}

/// Code held at an older commit in haste; moves no grant, owner, policy or secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// A commit that this tenant has applied.
    pub commit: CommitId,
    /// Why.
    pub reason: String,
    /// When it lets itself go.
    pub until: Timestamp,
}

impl ActualState {
    /// A tenant that nothing is known of.
    #[must_use]
    pub fn empty(tenant: TenantId) -> Self {
        Self {
            tenant,
            incarnation: 1,
            generation: 0,
            authority: 0,
            applied: None,
            elevations_started: BTreeMap::new(),
            elevations_ended: BTreeSet::new(),
            revoked: BTreeMap::new(),
            pauses: BTreeMap::new(),
            suspended: None,
            pin: None,
            removed: None,
        }
    }
    /// Whether a version may never be given out again, by Git or by command.
    #[must_use]
    pub fn is_revoked(&self, secret: &SecretName, version: &VersionId) -> bool {
        self.revoked.get(secret).is_some_and(|versions| versions.contains(version))
    }
}

/// Where a tenant stands with a commit. Source: design page `reconcile.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Seen, not yet looked at.
    Observed,
    /// Nothing to do.
    Unchanged,
    /// Being read.
    Validating,
    /// Its files are wrong; it stays at its last good commit.
    Invalid,
    /// Who wrote it is unknown.
    Unverified,
    /// Waits for somebody.
    Held,
    /// Being applied.
    Applying,
    /// Applied.
    Applied,
    /// Could not, will try again.
    Failed,
    /// A later commit came first.
    Superseded,
}

impl Status {
    /// As in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Unchanged => "unchanged",
            Self::Validating => "validating",
            Self::Invalid => "invalid",
            Self::Unverified => "unverified",
            Self::Held => "held",
            Self::Applying => "applying",
            Self::Applied => "applied",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
        }
    }
}

/// A condition of a tenant or of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Which.
    #[serde(rename = "type")]
    pub kind: ConditionKind,
    /// Whether it holds.
    pub status: bool,
    /// One word for machines.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// The conditions that a status row keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConditionKind {
    /// Applied and able to run.
    Ready,
    /// Work under way.
    Reconciling,
    /// Nothing more will happen without somebody.
    Stalled,
    /// Runs wait.
    Suspended,
    /// The store differs from what was applied.
    Drifted,
    /// The repository could not be read lately.
    SourceStale,
    /// A worker serves it.
    Runnable,
    /// A worker holds its identity.
    SecretsReadable,
}

/// The status row of one tenant, or of the platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRow {
    /// `None` for the platform.
    pub tenant: Option<TenantId>,
    /// Where it stands.
    pub status: Status,
    /// The head last seen.
    pub observed_commit: Option<CommitId>,
    /// The commit last tried.
    pub last_attempted_commit: Option<CommitId>,
    /// The commit of the last apply that changed it.
    pub last_applied_commit: Option<CommitId>,
    /// The commit whose removals were applied ahead of the rest.
    pub restricted_commit: Option<CommitId>,
    /// The generation of the last apply.
    pub applied_generation: u64,
    /// When a transient failure is tried again.
    pub retry_at: Option<Timestamp>,
    /// Transient failures in a row.
    pub failures: u32,
    /// What waits for somebody.
    pub held: Vec<HeldLine>,
    /// What is wrong with its files, as found at the last attempt.
    pub findings: Vec<super::Finding>,
    /// Its conditions.
    pub conditions: Vec<Condition>,
    /// The keys it was last looked at under; equal keys are not looked at again.
    pub keys: ChangeKeys,
    /// When it was last written.
    pub at: Timestamp,
}
