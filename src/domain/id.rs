//! Ids that machines choose: Git objects and runs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The id of a Git object: 40 hex digits (SHA-1) or 64 (SHA-256), lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectId(String);

/// A commit; the same spelling as any object.
pub type CommitId = ObjectId;

/// A text is not the full id of a Git object or of a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a full id")]
pub struct IdError(pub String);

impl ObjectId {
    /// Forty zeros: stands for files that lie in a work tree and in no commit.
    #[must_use]
    pub fn null() -> Self {
        Self("0".repeat(40))
    }
    /// Whether it stands for a work tree.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.0.bytes().all(|digit| digit == b'0')
    }
    /// The full id in lower-case hex.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The first 8 digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..8]
    }
}
impl FromStr for ObjectId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex && (text.len() == 40 || text.len() == 64) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError(text.to_owned()))
        }
    }
}
impl TryFrom<String> for ObjectId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}
impl From<ObjectId> for String {
    fn from(id: ObjectId) -> String {
        id.0
    }
}
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A run: `run_` and a UUIDv7, for instance `run_0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl RunId {
    /// Wraps a fresh UUIDv7; randomness and time are the caller's.
    #[must_use]
    pub fn from_uuid(uuid: uuid::Uuid) -> Self {
        Self(format!("run_{uuid}"))
    }
    /// The full id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The last 6 characters, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[self.0.len() - 6..]
    }
}
impl FromStr for RunId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let uuid = text.strip_prefix("run_").and_then(|u| uuid::Uuid::try_parse(u).ok());
        match uuid {
            Some(uuid) if text.len() == 40 => Ok(Self::from_uuid(uuid)),
            _ => Err(IdError(text.to_owned())),
        }
    }
}
impl TryFrom<String> for RunId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}
impl From<RunId> for String {
    fn from(id: RunId) -> String {
        id.0
    }
}
impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The digest of a root file system that steps run in: `sha256:` and 64 hex digits, lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RuntimeDigest(String);

/// A text is not the digest of a runtime.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the digest of a runtime, `sha256:` and 64 hex digits")]
pub struct RuntimeDigestError(pub String);

impl RuntimeDigest {
    /// Wraps what a hash gave.
    #[must_use]
    pub fn of(sha256: [u8; 32]) -> Self {
        Self(format!("{RUNTIME_PREFIX}{}", hex::encode(sha256)))
    }
    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// Its first digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..RUNTIME_PREFIX.len() + 12]
    }
    /// The name of its directory on a worker: `sha256-` and the digits.
    #[must_use]
    pub fn directory(&self) -> String {
        self.0.replacen(':', "-", 1)
    }
    /// The digest that a directory of a worker is named by.
    #[must_use]
    pub fn of_directory(name: &str) -> Option<Self> {
        name.strip_prefix("sha256-").and_then(|digits| format!("{RUNTIME_PREFIX}{digits}").parse().ok())
    }
}

/// What the digest of a runtime begins with.
const RUNTIME_PREFIX: &str = "sha256:";

impl FromStr for RuntimeDigest {
    type Err = RuntimeDigestError;
    fn from_str(text: &str) -> Result<Self, RuntimeDigestError> {
        let digits = text.strip_prefix(RUNTIME_PREFIX).unwrap_or_default();
        let hex = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex && digits.len() == 64 {
            Ok(Self(text.to_owned()))
        } else {
            Err(RuntimeDigestError(text.to_owned()))
        }
    }
}
impl TryFrom<String> for RuntimeDigest {
    type Error = RuntimeDigestError;
    fn try_from(text: String) -> Result<Self, RuntimeDigestError> {
        text.parse()
    }
}
impl From<RuntimeDigest> for String {
    fn from(digest: RuntimeDigest) -> String {
        digest.0
    }
}
impl fmt::Display for RuntimeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl fmt::Debug for RuntimeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where desired state was read: a commit and the branch it was the head of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Revision {
    /// The full commit id.
    pub commit: CommitId,
    /// The branch, without `refs/heads/`.
    pub branch: String,
}

/// Makes fresh UUIDv7s: given to whoever needs them by `app.rs`, counted ones by tests.
pub type FreshIds = std::sync::Arc<dyn Fn() -> uuid::Uuid + Send + Sync>;
