//! Custody of identities, opening with sops.
//!
//! A tenant's file opens with that tenant's identity only, whatever path it came from: another tenant's file
//! does not open. Values are opened on demand and nothing is cached. Deliberately absent: who may ask
//! (authz), what a step declares (broker), the index of versions (desired).

mod at_hand;
mod custody;
mod guard;
mod user;
mod wrap;

use async_trait::async_trait;

use crate::authz::{Expired, Permit, action};
use crate::domain::{Disposition, SecretName, Timestamp, VersionId};
use crate::sops::{IdentityError, Plaintext, SopsError};

pub use at_hand::{AtHand, StandInError, StandIns};
pub use custody::{Custody, FileVault};
pub use guard::guard_memory;
pub use user::{Ask, UserIdentities, words};
pub use wrap::{SealError, edit_fresh, reseal_fresh, seal_fresh};

/// One version of a secret as it lies in Git.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// The secret.
    pub name: &'a SecretName,
    /// The version.
    pub version: &'a VersionId,
    /// The SOPS file's bytes, of the blob that the applied state names.
    pub ciphertext: &'a [u8],
}

/// Opens secrets. Only a worker has one, for the tenants of its cell.
#[async_trait]
pub trait Vault: Send + Sync {
    /// Opens one version with the identity of the permit's tenant; there is no other way to name a tenant.
    ///
    /// # Errors
    /// [`VaultError`]; no message carries plaintext.
    async fn open(
        &self,
        permit: &Permit<action::ReadSecret>,
        sealed: Sealed<'_>,
        now: Timestamp,
    ) -> Result<Plaintext, VaultError>;
}

/// Why a value is not opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The lease behind the permit has ended.
    #[error(transparent)]
    Expired(#[from] Expired),
    /// The tenant's identity is not here, or not fit to be used.
    #[error(transparent)]
    Custody(#[from] CustodyError),
    /// The file does not open.
    #[error(transparent)]
    Sops(#[from] SopsError),
    /// A file stands in for all secrets and has no value for this one.
    #[error("`{place}` has no value for `{name}`")]
    NoStandIn {
        /// Which secret.
        name: SecretName,
        /// The file.
        place: String,
    },
    /// The thread that opened it ended without an answer.
    #[error("opening was interrupted")]
    Interrupted,
}

impl VaultError {
    /// What helps: a new file or identity; for the rest, another try.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Sops(_) | Self::Custody(_) | Self::NoStandIn { .. } => Disposition::NeedsChange,
            Self::Expired(_) | Self::Interrupted => Disposition::Retry,
        }
    }
}

/// Why an identity cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum CustodyError {
    /// There is none.
    #[error("no identity of `{0}` in this place: put it at `{1}`, or run `tenantry secrets init {0}`")]
    Missing(String, String),
    /// There is one already.
    #[error("`{0}` exists: an identity is never overwritten")]
    Exists(String),
    /// Others can read it, it belongs to another user, or it is no plain file.
    #[error("the identity file `{path}` {reason}")]
    Unsafe {
        /// Where.
        path: String,
        /// What is wrong and what to do.
        reason: &'static str,
    },
    /// Its text is no identity.
    #[error("the identity file `{path}`: {source}")]
    Unreadable {
        /// Where.
        path: String,
        /// Why.
        source: IdentityError,
    },
    /// The file system refused.
    #[error("cannot read or write `{path}`")]
    Io {
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}
