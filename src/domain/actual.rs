//! What the store holds of one tenant: what was applied, and what ended since.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Actor, ChangeKeys, CommitId, ElevationId, HeldLine, ObjectId, Pause, SecretName, TenantId, TenantState,
    Timestamp, UserId, VersionId, Workflow, WorkflowId,
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
    /// Who wrote what came in with it, as far as its commits name people of `people.yaml`. Known only where a
    /// step asks for an approval, since nothing else asks for it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub authors: BTreeSet<UserId>,
    /// What was applied.
    pub state: TenantState,
}

/// What runs of a tenant are made of: its workflows, with the blobs of the scripts they can open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// The tree of the tenant's directory that it was read from.
    pub tree: Option<ObjectId>,
    /// See [`Applied::authors`].
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub authors: BTreeSet<UserId>,
    /// As they were applied.
    pub workflows: BTreeMap<WorkflowId, Workflow>,
}

/// Code held at an older commit in haste; moves no grant, owner, policy or secret. Source: rule 10 of design
/// page `reconcile.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// What people see of it.
    pub note: PinNote,
    /// The code that was applied with its commit.
    pub code: Code,
}

/// What people see of a pin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinNote {
    /// A commit that this tenant has applied.
    pub commit: CommitId,
    /// Why.
    pub reason: String,
    /// Who asked for it.
    pub by: Actor,
    /// When it began.
    pub since: Timestamp,
    /// When it lets itself go; itself outside.
    pub until: Timestamp,
}

/// A commit that a tenant has applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedCommit {
    /// The commit.
    pub commit: CommitId,
    /// The generation it made or found.
    pub generation: u64,
    /// When it was applied last.
    pub at: Timestamp,
}

/// What runs are made of at one time: the applied state, its code held back where a pin says so.
#[derive(Clone, Debug)]
pub struct InForce<'a> {
    /// The commit of the code.
    pub commit: &'a CommitId,
    /// The tree of the tenant's directory at that commit.
    pub tree: Option<&'a ObjectId>,
    /// Who wrote that commit, as far as known.
    pub authors: &'a BTreeSet<UserId>,
    /// The applied state with the workflows in force.
    pub state: Cow<'a, TenantState>,
    /// The pin that holds it back, if one does.
    pub pin: Option<&'a PinNote>,
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
    /// The pin, while it counts.
    #[must_use]
    pub fn pinned(&self, now: Timestamp) -> Option<&Pin> {
        self.pin.as_ref().filter(|pin| now < pin.note.until && self.removed.is_none())
    }
    /// The workflows that new runs are made of; `None` before the first apply.
    #[must_use]
    pub fn workflows(&self, now: Timestamp) -> Option<&BTreeMap<WorkflowId, Workflow>> {
        let applied = self.applied.as_ref()?;
        Some(self.pinned(now).map_or(&applied.state.workflows, |pin| &pin.code.workflows))
    }
    /// What runs are made of now; `None` before the first apply.
    ///
    /// A workflow that Git pauses at either commit is paused: a pin lets nothing go.
    #[must_use]
    pub fn in_force(&self, now: Timestamp) -> Option<InForce<'_>> {
        let applied = self.applied.as_ref()?;
        let Some(pin) = self.pinned(now) else {
            let (tree, state) = (applied.keys.tenant.as_ref(), Cow::Borrowed(&applied.state));
            return Some(InForce {
                commit: &applied.commit,
                tree,
                authors: &applied.authors,
                state,
                pin: None,
            });
        };
        let mut workflows = pin.code.workflows.clone();
        for workflow in workflows.values_mut() {
            let by_head = applied.state.workflows.get(&workflow.id).and_then(|head| head.paused.clone());
            workflow.paused = longer(by_head, workflow.paused.take());
        }
        let state = TenantState { workflows, ..applied.state.clone() };
        let (commit, tree, authors) = (&pin.note.commit, pin.code.tree.as_ref(), &pin.code.authors);
        Some(InForce { commit, tree, authors, state: Cow::Owned(state), pin: Some(&pin.note) })
    }
    /// Whether a version may never be given out again, by Git or by command.
    #[must_use]
    pub fn is_revoked(&self, secret: &SecretName, version: &VersionId) -> bool {
        self.revoked.get(secret).is_some_and(|versions| versions.contains(version))
    }
}

/// The pause that lasts longer; one without an end lasts longest.
fn longer(one: Option<Pause>, other: Option<Pause>) -> Option<Pause> {
    match (one, other) {
        (Some(one), Some(other)) => {
            let outlasts = other.until.is_none() || one.until.is_some_and(|until| other.until > Some(until));
            Some(if outlasts { other } else { one })
        }
        (one, other) => one.or(other),
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
    /// Its code is held at an older commit.
    Pinned,
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
    /// The pin that holds its code, kept by the store as the tenant has it; it may be over by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<PinNote>,
    /// The keys it was last looked at under; equal keys are not looked at again.
    pub keys: ChangeKeys,
    /// When it was last written.
    pub at: Timestamp,
}
