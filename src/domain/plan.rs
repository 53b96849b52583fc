//! The ordered actions from actual to desired, and what was skipped and why.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    ChangeKeys, Class, CommitId, Edge, ElevationId, GroupId, Revision, SecretName, TenantId, TenantState,
    UserId, VersionId, VersionState, WorkflowId,
};

/// What a change touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// A workflow.
    Workflow,
    /// A script.
    Script,
    /// A role given.
    Grant,
    /// A role given for a time.
    Elevation,
    /// A secret or version.
    Secret,
    /// Who can decrypt.
    Recipient,
    /// Hosts.
    Egress,
    /// Ceilings.
    Limit,
    /// Guard rails, owners, routes and other settings.
    Policy,
    /// People and groups.
    Person,
    /// A tenant as a whole.
    Tenant,
    /// What binds all tenants.
    Platform,
}

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// It goes.
    Remove,
    /// It becomes another.
    Change,
    /// It comes.
    Add,
}

/// One action of a plan; a secret stands in it by name, version and state only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Whose.
    pub tenant: TenantId,
    /// Who agrees.
    pub class: Class,
    /// What it touches.
    pub kind: ObjectKind,
    /// What happens.
    pub op: Operation,
    /// Its name, for instance `billing`, `billing/pull.timeout`, `operator user:carol`, `stripe_api_key@v3`.
    pub object: String,
    /// As it was; null where it comes.
    pub before: Value,
    /// As it will be; null where it goes.
    pub after: Value,
}

/// A run that an apply starts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlannedRun {
    /// The workflow.
    pub workflow: WorkflowId,
    /// What starts it, always `commit` here.
    pub trigger: super::TriggerKind,
}

/// Why something waits for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldReason {
    /// Somebody has to agree.
    Approval,
    /// Too much would go at once.
    PruneGuard,
    /// History was rewritten.
    Rewritten,
    /// Not merged through a pull request.
    DirectPush,
}

/// One held line, as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldLine {
    /// Why.
    pub reason: HeldReason,
    /// The edge, or what would be removed.
    pub edge: String,
    /// Who or what is missing, with the command that lets it go.
    pub missing: Vec<String>,
}

/// How the lines of a plan came to be agreed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// Nobody has looked yet.
    #[default]
    Unjudged,
    /// Change control is `open`: agreed without proof.
    Open,
}

impl Agreement {
    /// What audit records and reports say of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unjudged => "not judged",
            Self::Open => "agreed without proof: change control is `open`",
        }
    }
}

/// The plan of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Whose.
    pub tenant: TenantId,
    /// From.
    pub base: Option<CommitId>,
    /// To.
    pub head: Revision,
    /// The ids of what was read.
    pub keys: ChangeKeys,
    /// The generation it was made against; an apply is refused if it has moved on.
    pub generation: u64,
    /// What happens, destructive and access changes first.
    pub changes: Vec<Change>,
    /// The security delta, sorted.
    pub edges: Vec<Edge>,
    /// The runs that start.
    pub runs: Vec<PlannedRun>,
    /// Removals that are applied first, in a transaction of their own.
    pub removals: Removals,
    /// What waits; not empty means that only the removals are applied.
    pub held: Vec<HeldLine>,
    /// What was left out and why, a sentence each.
    pub skipped: Vec<String>,
    /// Whether somebody agreed; only `authz::judge` says anything but `unjudged`.
    pub agreement: Agreement,
    /// What will exist; `None` removes the tenant.
    pub next: Option<TenantState>,
    /// Digest of `next`.
    pub digest: Option<String>,
}

/// What only takes away: applied ahead of and apart from the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removals {
    /// Grants that go.
    pub grants: Vec<super::Grant>,
    /// People who leave a group.
    pub members: Vec<(GroupId, UserId)>,
    /// Elevations that end.
    pub elevations: Vec<ElevationId>,
    /// Versions that are revoked.
    pub revoked: Vec<(SecretName, VersionId)>,
}

impl Removals {
    /// Whether nothing is taken away.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
            && self.members.is_empty()
            && self.elevations.is_empty()
            && self.revoked.is_empty()
    }
    /// The state with this taken away and everything else as it was.
    ///
    /// The store applies removals by it; what ended or was revoked is kept beside the state as well, for ever.
    #[must_use]
    pub fn taken_from(&self, state: &TenantState) -> TenantState {
        let mut rest = state.clone();
        for grant in &self.grants {
            rest.grants.remove(grant);
        }
        for (group, user) in &self.members {
            if let Some(members) = rest.groups.get_mut(group) {
                members.remove(user);
            }
        }
        for id in &self.elevations {
            rest.elevations.remove(id);
        }
        for (name, id) in &self.revoked {
            let versions = rest.secrets.get_mut(name).into_iter().flat_map(|secret| &mut secret.versions);
            for version in versions.filter(|version| version.id == *id) {
                version.state = VersionState::Revoked;
            }
        }
        rest
    }
}

impl Plan {
    /// Whether applying it would change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.removals.is_empty()
    }
}
