//! Who has which role in one tenant, and until when.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ElevationId, Length, Principal, Timestamp, UserId};

/// What an actor is in one tenant. A platform admin is not among them: it is no role in a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Starts, cancels, reruns, pauses.
    Operator,
    /// Writes workflows and scripts.
    Developer,
    /// Reads.
    Auditor,
    /// Agrees to access; named by `owner` in tenant.yaml, never in roles.yaml.
    Owner,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Operator, Self::Developer, Self::Auditor, Self::Owner];
    /// As written in YAML.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Developer => "developer",
            Self::Auditor => "auditor",
            Self::Owner => "owner",
        }
    }
}
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
/// A text names no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no role")]
pub struct RoleError(pub String);
impl FromStr for Role {
    type Err = RoleError;
    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| RoleError(text.to_owned()))
    }
}

/// A role given to a principal in one tenant without an end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// To whom.
    pub principal: Principal,
}

/// When an elevation counts. Windows are half-open: the end is outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Starts when it is applied, is void when that is not before `ask_until`.
    OnApply {
        /// How long it lasts.
        length: Length,
        /// When asking ends.
        ask_until: Timestamp,
    },
    /// A planned window.
    Planned {
        /// Its start.
        from: Timestamp,
        /// Its end.
        until: Timestamp,
    },
}

/// A grant with an end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Elevation {
    /// Its id; ends once and never returns.
    pub id: ElevationId,
    /// Who is elevated.
    pub user: UserId,
    /// To which role.
    pub role: Role,
    /// When.
    pub window: Window,
    /// Why.
    pub reason: String,
}
