//! Entries of the audit: who did what, where, and why it was allowed or not. Identifiers, never values.

use serde::{Deserialize, Serialize};

use super::{Actor, CommitId, RunId, TenantId, Timestamp};

/// What happened, before it has a place in a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// In which tenant; `None` in the scope `platform`.
    pub tenant: Option<TenantId>,
    /// Who.
    pub actor: Actor,
    /// What, as one word with a dot: `tenant.applied`, `run.started`, `secret.requested`, `secret.delivered`.
    pub action: String,
    /// To what, for instance `workflow:billing` or `secret:stripe_api_key@v3`.
    pub resource: String,
    /// Whether it was allowed.
    pub allowed: bool,
    /// Why, a sentence without values.
    pub reason: String,
    /// The commit it belongs to.
    pub commit: Option<CommitId>,
    /// The run it belongs to.
    pub run: Option<RunId>,
}

/// An entry in its chain. `hash = SHA-256(prev ‖ canonical JSON of the record)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Place in the tenant's chain, from 1.
    pub sequence: u64,
    /// What happened.
    #[serde(flatten)]
    pub entry: AuditEntry,
    /// Hash of the record before, 64 hex digits; zeros before the first.
    pub previous: String,
    /// Hash of this record.
    pub hash: String,
}
