//! What a worker needs of whoever has the queue.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::authz::{Permit, action};
use crate::domain::{AttemptId, Clock};
use crate::store::{Lease, LogRecord, Logs, Offer, Renewal, Report, Store, StoreError};

/// The queue as a worker sees it: the store of this machine, or a daemon elsewhere.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Leases up to `slots` attempts.
    ///
    /// # Errors
    /// [`LeaseError::Unavailable`].
    async fn claim(&self, slots: u32) -> Result<Vec<Lease>, LeaseError>;
    /// Claims now; where there is nothing, stands for what comes, if the queue can do so.
    ///
    /// # Errors
    /// [`LeaseError::Unavailable`].
    async fn offer(&self, slots: u32) -> Result<Offer<Vec<Lease>>, LeaseError> {
        let leases = self.claim(slots).await?;
        Ok(Offer::known((!leases.is_empty()).then_some(leases)))
    }
    /// Renews leases in one batch, one answer for each.
    ///
    /// # Errors
    /// [`LeaseError::Unavailable`].
    async fn renew(
        &self,
        leases: &[(Permit<action::Execute>, AttemptId)],
    ) -> Result<Vec<Renewal>, LeaseError>;
    /// Stores pieces of an attempt's output. A piece that is stored already under its number changes nothing.
    ///
    /// # Errors
    /// [`LeaseError::Over`] if the attempt is no longer this worker's.
    async fn append(
        &self,
        permit: &Permit<action::Execute>,
        attempt: &AttemptId,
        records: &[LogRecord],
    ) -> Result<(), LeaseError>;
    /// Completes an attempt; gives the attempt that it freed, leased to this worker.
    ///
    /// # Errors
    /// [`LeaseError::Over`] if the attempt is no longer this worker's: nothing is recorded.
    async fn complete(
        &self,
        permit: &Permit<action::Execute>,
        attempt: &AttemptId,
        report: Report,
    ) -> Result<Option<Lease>, LeaseError>;
    /// Gives back every lease of this worker: its processes are dead.
    ///
    /// # Errors
    /// [`LeaseError::Unavailable`].
    async fn abandon(&self) -> Result<u32, LeaseError>;
    /// The longest that output waits for more before it is appended: shorter where somebody watches it come.
    fn append_wait(&self) -> Duration {
        Duration::from_secs(1)
    }
}

/// Why the queue does not do what a worker asks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// The attempt is another's by now, or its right has ended: stop it and report nothing.
    #[error("the lease is over")]
    Over,
    /// It may go better the next time.
    #[error("{0}")]
    Unavailable(String),
}

impl From<StoreError> for LeaseError {
    fn from(cause: StoreError) -> Self {
        match cause {
            StoreError::Stale(_) | StoreError::Denied(_) | StoreError::NotFound => Self::Over,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// Leases of the store of this machine.
pub struct StoreLeases {
    store: Arc<dyn Store>,
    logs: Arc<dyn Logs>,
    worker: String,
    regions: Option<Vec<String>>,
    clock: Clock,
}

impl StoreLeases {
    /// Takes the store, the logs, the worker's name and the regions it serves (`None` for all).
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        logs: Arc<dyn Logs>,
        worker: impl Into<String>,
        regions: Option<Vec<String>>,
        clock: Clock,
    ) -> Self {
        Self { store, logs, worker: worker.into(), regions, clock }
    }
}

#[async_trait]
impl Leases for StoreLeases {
    async fn claim(&self, slots: u32) -> Result<Vec<Lease>, LeaseError> {
        Ok(self.store.claim(&self.worker, self.regions.as_deref(), slots, (self.clock)()).await?)
    }
    async fn offer(&self, slots: u32) -> Result<Offer<Vec<Lease>>, LeaseError> {
        Ok(self.store.offer(&self.worker, self.regions.as_deref(), slots, (self.clock)()).await?)
    }
    async fn renew(
        &self,
        leases: &[(Permit<action::Execute>, AttemptId)],
    ) -> Result<Vec<Renewal>, LeaseError> {
        Ok(self.store.renew(leases, (self.clock)()).await?)
    }
    async fn append(
        &self,
        permit: &Permit<action::Execute>,
        attempt: &AttemptId,
        records: &[LogRecord],
    ) -> Result<(), LeaseError> {
        // The fence: a worker whose lease has passed adds nothing to what the next one writes.
        self.store.holds(permit, attempt, (self.clock)()).await?;
        Ok(self.logs.append(permit, attempt, records).await?)
    }
    async fn complete(
        &self,
        permit: &Permit<action::Execute>,
        attempt: &AttemptId,
        report: Report,
    ) -> Result<Option<Lease>, LeaseError> {
        Ok(self.store.complete(permit, attempt, report, (self.clock)()).await?)
    }
    async fn abandon(&self) -> Result<u32, LeaseError> {
        Ok(self.store.abandon(&self.worker, (self.clock)()).await?)
    }
}
