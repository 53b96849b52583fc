//! What steps wrote, as their workers sent it: redacted already, in numbered pieces.

mod local;

pub use local::{LOG_BYTES_MAX, LocalLogs};

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{LogRecord, StoreError};
use crate::authz::{Permit, action};
use crate::domain::{AttemptId, TenantId};

/// The output of attempts. Lies beside the rows, which hold how much of it there is, its digest, and what came of it with
/// the attempt's report ([`super::Store::log_end`]).
///
/// A permit decides the tenant: an attempt of another one is not found. Whether a lease still counts is asked of the
/// store before ([`super::Store::holds`]).
#[async_trait]
pub trait Logs: Send + Sync {
    /// Adds pieces to an attempt's output. A piece whose number is stored already changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn append(
        &self,
        permit: &Permit<action::Execute>,
        attempt: &AttemptId,
        records: &[LogRecord],
    ) -> Result<(), StoreError>;
    /// The pieces of an attempt's output from number `from` on, at most `limit`; empty where there are none yet, which is
    /// how a reader follows.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn read(
        &self,
        permit: &Permit<action::View>,
        attempt: &AttemptId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<LogRecord>, StoreError>;
}

/// Logs in memory, for a run without a daemon, where nothing is kept, and for tests. A worker bounds what one attempt
/// sends.
#[derive(Default)]
pub struct MemoryLogs(Mutex<BTreeMap<(TenantId, AttemptId), BTreeMap<u64, LogRecord>>>);

#[async_trait]
impl Logs for MemoryLogs {
    async fn append(
        &self,
        permit: &Permit<action::Execute>,
        attempt: &AttemptId,
        records: &[LogRecord],
    ) -> Result<(), StoreError> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let log = all.entry((permit.tenant().clone(), attempt.clone())).or_default();
        for record in records {
            log.entry(record.sequence).or_insert_with(|| record.clone());
        }
        Ok(())
    }
    async fn read(
        &self,
        permit: &Permit<action::View>,
        attempt: &AttemptId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<LogRecord>, StoreError> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let log = all.get(&(permit.tenant().clone(), attempt.clone()));
        Ok(log
            .iter()
            .flat_map(|log| log.range(from..))
            .take(limit)
            .map(|(_, record)| record.clone())
            .collect())
    }
}
