//! What a revision says should exist in one tenant.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Ceilings, ChangeKeys, Delivery, Elevation, ElevationId, Grant, GroupId, HostPort, Pause, Principal,
    Retention, Revision, Role, Secret, SecretName, TenantId, UserId, Workflow, WorkflowId,
};

/// One tenant at one revision, valid as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredState {
    /// Whose.
    pub tenant: TenantId,
    /// As of which commit.
    pub revision: Revision,
    /// The ids it was read under.
    pub keys: ChangeKeys,
    /// What should exist.
    pub state: TenantState,
}

/// Everything that exists in a tenant: desired when read from a tree, actual when read from the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantState {
    /// `tenant.yaml`.
    pub settings: TenantSettings,
    /// `roles.yaml` without its elevations, and the owner as a grant of [`Role::Owner`].
    pub grants: BTreeSet<Grant>,
    /// The elevations of `roles.yaml`.
    pub elevations: BTreeMap<ElevationId, Elevation>,
    /// The members of the groups that this tenant names, as of the platform's applied state.
    pub groups: BTreeMap<GroupId, BTreeSet<UserId>>,
    /// `secrets.yaml`.
    pub secrets: BTreeMap<SecretName, Secret>,
    /// `workflows/`.
    pub workflows: BTreeMap<WorkflowId, Workflow>,
}

impl TenantState {
    /// The digest over everything in it; equal digests mean nothing to apply.
    #[must_use]
    pub fn digest(&self) -> String {
        super::digest_of(self)
    }
    /// The principals that hold a role without an end.
    pub fn holders(&self, role: Role) -> impl Iterator<Item = &Principal> {
        self.grants.iter().filter(move |grant| grant.role == role).map(|grant| &grant.principal)
    }
    /// Whether a person is the principal or a member of it.
    #[must_use]
    pub fn includes(&self, principal: &Principal, user: &UserId) -> bool {
        match principal {
            Principal::User(id) => id == user,
            Principal::Group(id) => self.groups.get(id).is_some_and(|members| members.contains(user)),
            Principal::Service(_) => false,
        }
    }
}

/// `tenant.yaml`, defaults filled in and ceilings applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantSettings {
    /// What the tenant stands for.
    pub kind: TenantKind,
    /// Who agrees to changes of access and receives the alerts.
    pub owner: Principal,
    /// For instance `production`.
    pub environment: Option<String>,
    /// Where its runs may go.
    pub region: Option<String>,
    /// An IANA zone; UTC by default.
    pub timezone: String,
    /// Whether it has a cell of its own.
    pub isolation: Isolation,
    /// The age recipients of its secrets, the platform's recovery keys not included.
    pub recipients: Vec<String>,
    /// The recovery recipients of the platform.
    pub recovery: Vec<String>,
    /// How secrets may arrive at its steps.
    pub delivery: BTreeSet<DeliveryKind>,
    /// The most its runs may use, the platform's ceilings applied.
    pub limits: Ceilings,
    /// How long things are kept, the platform's floors applied.
    pub retention: Retention,
    /// The most any of its workflows may ask for.
    pub egress: BTreeSet<HostPort>,
    /// Alert routes as canonical JSON, read by the alert room.
    pub alert_routes: Vec<serde_json::Value>,
    /// Objectives as canonical JSON, read by the alert room.
    pub slo: Option<serde_json::Value>,
    /// Set while Git suspends it.
    pub suspend: Option<Pause>,
}

/// What a tenant stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TenantKind {
    /// A customer.
    #[default]
    Customer,
    /// A business unit.
    Unit,
    /// A region.
    Region,
    /// An environment.
    Environment,
}

/// Whether a tenant shares its cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// The shared cell.
    #[default]
    Soft,
    /// A cell of its own.
    Hard,
}

/// A way a secret may arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryKind {
    /// The broker's socket.
    Socket,
    /// An environment variable.
    Env,
    /// A file.
    File,
}

impl Delivery {
    /// The kind that `tenant.yaml` allows or forbids.
    #[must_use]
    pub fn kind(&self) -> DeliveryKind {
        match self {
            Self::Socket => DeliveryKind::Socket,
            Self::Env(_) => DeliveryKind::Env,
            Self::File(_) => DeliveryKind::File,
        }
    }
}
