//! The index of secrets: names, versions and states, never values.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Length, ObjectId, Principal, SecretName, Timestamp, VersionId};

/// Where a version stands; it only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VersionState {
    /// Given out only when asked for by id.
    Pending,
    /// What a step gets; at most one.
    Current,
    /// Given out by id or with `all`, until its end.
    Previous,
    /// Never given out again.
    Revoked,
}

impl fmt::Display for VersionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Current => "current",
            Self::Previous => "previous",
            Self::Revoked => "revoked",
        })
    }
}

/// One version of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SecretVersion {
    /// Its id.
    pub id: VersionId,
    /// Its state as written; what was revoked at run time stands in the actual state.
    pub state: VersionState,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The end of a previous version.
    pub accept_until: Option<Timestamp>,
    /// The SOPS file, from the root of the repository.
    pub file: String,
    /// Its blob; `None` for a revoked version whose file is gone.
    pub blob: Option<ObjectId>,
}

/// What a secret may be opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretPurpose {
    /// A step that declares it.
    Step,
    /// Checking the signature of a webhook.
    Webhook,
    /// An alert route.
    Alert,
}

/// What happens to a run that fetched a version which is revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnRevoke {
    /// It is listed.
    #[default]
    Mark,
    /// It is cancelled.
    Cancel,
}

/// One secret of the index.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Secret {
    /// Its name.
    pub name: SecretName,
    /// Who answers for it; the tenant's owner by default.
    pub owner: Principal,
    /// What it may be opened for.
    pub purposes: BTreeSet<SecretPurpose>,
    /// How often it should be rotated.
    pub rotate_every: Option<Length>,
    /// When somebody else came to hold what opens it: versions made before are known to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaked_at: Option<Timestamp>,
    /// `false` only for values that the redactor cannot protect and that are known not to need it.
    pub redact: bool,
    /// What a revocation does to runs.
    pub on_revoke: OnRevoke,
    /// Its versions in written order.
    pub versions: Vec<SecretVersion>,
}

impl Secret {
    /// The current version, if there is one.
    #[must_use]
    pub fn current(&self) -> Option<&SecretVersion> {
        self.versions.iter().find(|version| version.state == VersionState::Current)
    }
    /// The version of that id.
    #[must_use]
    pub fn version(&self, id: &VersionId) -> Option<&SecretVersion> {
        self.versions.iter().find(|version| version.id == *id)
    }
}
