//! Edges: the lines of a security delta, and the classes that say who agrees to them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The class of a change. Source: design page `access.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Removals only.
    Reduce,
    /// A workflow or script that touches no secret.
    Code,
    /// A secret edge, code that reads a secret, egress, a guard loosened.
    Reach,
    /// A new secret or version, changed ciphertext.
    SecretValue,
    /// tenant.yaml below the ceilings.
    Settings,
    /// A grant, a longer end, an elevation.
    Grant,
    /// A new person, key or identity.
    People,
    /// Recipients, owners, region, retention.
    Recipients,
    /// `shared/**`
    Shared,
    /// A tenant created or removed.
    Tenant,
    /// Whatever binds all tenants, and anything unnamed.
    Platform,
}

impl Class {
    /// As written in `tenantry.toml` and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reduce => "reduce",
            Self::Code => "code",
            Self::Reach => "reach",
            Self::SecretValue => "secret_value",
            Self::Settings => "settings",
            Self::Grant => "grant",
            Self::People => "people",
            Self::Recipients => "recipients",
            Self::Shared => "shared",
            Self::Tenant => "tenant",
            Self::Platform => "platform",
        }
    }
}
impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a line of a security delta does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EdgeSign {
    /// Lets somebody or something do, see or keep more.
    Add,
    /// Takes away.
    Remove,
    /// Replaces content.
    Change,
}

/// One line of a security delta, for instance `+grant operator user:carol until 2026-12-10T00:00:00Z`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Edge {
    /// Its direction.
    pub sign: EdgeSign,
    /// The words behind the sign: names, digests, hosts and times, never free text.
    pub words: String,
    /// Who agrees.
    pub class: Class,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.sign {
            EdgeSign::Add => '+',
            EdgeSign::Remove => '-',
            EdgeSign::Change => '~',
        };
        write!(f, "{sign}{}", self.words)
    }
}
