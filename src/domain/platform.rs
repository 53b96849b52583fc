//! What binds all tenants: `tenantry.toml`, people, platform roles.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Ceilings, GroupId, Length, Principal, Retention, ServiceId, Timestamp, UserId};

/// The platform's desired state at one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `tenantry.toml`.
    pub settings: Settings,
    /// `platform/people.yaml`.
    pub people: People,
    /// `admin` of `platform/roles.yaml`.
    pub admins: BTreeSet<Principal>,
    /// `shared` of `platform/roles.yaml`: who maintains which shared workflow.
    pub maintainers: BTreeMap<String, BTreeSet<Principal>>,
}

/// `tenantry.toml`, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The repository's id, a UUID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The branch that is applied.
    pub branch: String,
    /// What a force-push does.
    pub on_rewrite: OnRewrite,
    /// How changes are agreed to.
    pub mode: ChangeControlMode,
    /// Digest of the `[change_control]` section.
    pub policy: String,
    /// Ceilings no tenant can raise.
    pub limits: Ceilings,
    /// Floors no tenant can lower.
    pub retention: Retention,
    /// Platform recovery recipients, added to every tenant's.
    pub recovery: Vec<String>,
    /// Private addresses that a tenant may reach: tenant, host, port.
    pub private: Vec<PrivateHost>,
    /// Beginnings of URLs where Python packages may come from.
    #[serde(default)]
    pub indexes: Vec<String>,
    /// Whether mail can leave: there is an `[smtp]` section.
    #[serde(default)]
    pub mail: bool,
}

/// An opening into a private range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PrivateHost {
    /// Whose.
    pub tenant: String,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// What a force-push does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnRewrite {
    /// Holds the source until it is released.
    #[default]
    Hold,
    /// Goes on; only in mode `open`.
    Follow,
}

/// How changes are agreed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeControlMode {
    /// Reviews at the forge.
    #[default]
    PullRequest,
    /// SSH signatures.
    Signed,
    /// No proof; everything is marked so.
    Open,
}

impl ChangeControlMode {
    /// As written in `tenantry.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PullRequest => "pull-request",
            Self::Signed => "signed",
            Self::Open => "open",
        }
    }
}

/// `platform/people.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct People {
    /// Persons.
    pub users: BTreeMap<UserId, Person>,
    /// Machines.
    pub services: BTreeMap<ServiceId, Service>,
    /// Groups of persons.
    pub groups: BTreeMap<GroupId, BTreeSet<UserId>>,
}

impl People {
    /// Whether the principal stands in the file.
    #[must_use]
    pub fn knows(&self, principal: &Principal) -> bool {
        match principal {
            Principal::User(id) => self.users.contains_key(id),
            Principal::Group(id) => self.groups.contains_key(id),
            Principal::Service(id) => self.services.contains_key(id),
        }
    }
}

/// One person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Full name.
    pub name: Option<String>,
    /// Where to write to.
    pub email: Option<String>,
    /// Public keys.
    pub keys: Vec<PersonKey>,
    /// Accounts elsewhere, by provider, as canonical JSON values.
    pub identities: BTreeMap<String, serde_json::Value>,
}

/// One public key of a person.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PersonKey {
    /// In OpenSSH form.
    pub ssh: String,
    /// `commit`, `approval`, `login`, `break-glass`.
    pub purposes: BTreeSet<String>,
    /// Once it no longer counts.
    pub revoked_at: Option<Timestamp>,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Who answers for it.
    pub owner: Principal,
    /// Accounts elsewhere.
    pub identities: BTreeMap<String, serde_json::Value>,
}

impl Settings {
    /// The longest an elevation may last: the platform's ceiling or 8 hours.
    #[must_use]
    pub fn elevation_max(&self) -> Length {
        self.limits.elevation_max.unwrap_or(Length::from_secs(8 * 3600))
    }
}
