//! The loop: source, desired, plan, judge, apply, queue; tenant by tenant.
//!
//! It takes no input: whatever wakes it, it reads the head itself. `serve` and `tenantry reconcile` are the
//! same [`pass`]. One tenant's mistake never stops another; cost follows what changed. The rules are those of
//! design page `reconcile.md`. Deliberately absent: results at a forge, change
//! control other than `open`, which is refused with a sentence.

mod backoff;
mod cell;
mod follow;
mod note;
mod pass;
mod pins;
mod platform;
mod reading;
mod schedule;
mod serve;
mod status;
mod tenant;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use cell::Cell;
pub use pass::{Pass, pass};
pub use serve::serve;

use crate::apply::ApplyError;
use crate::domain::{Clock, Disposition, FreshIds};
use crate::source::{Source, SourceError};
use crate::store::{Store, StoreError};

/// What the loop works with.
#[derive(Clone)]
pub struct Ports {
    /// Where commits come from.
    pub source: Arc<dyn Source>,
    /// Where actual state is.
    pub store: Arc<dyn Store>,
    /// The clock of this machine; the store makes it run forward only.
    pub clock: Clock,
    /// Ids of new runs.
    pub fresh: FreshIds,
    /// What the worker here can do.
    pub cell: Arc<dyn Cell>,
    /// Whether a pass has gone through, so that what may have changed while no daemon ran is known.
    pub looked: Arc<AtomicBool>,
}

/// Why a pass, or the part of it for one tenant, did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Objects could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store refused or could not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A plan could not be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Reading a tenant's files ended in a mistake of ours.
    #[error("reading the files of this tenant broke off: please report it with the commit")]
    BrokeOff,
}

impl Failure {
    /// What has to happen before it is worth trying again.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Source(error) => error.disposition(),
            Self::Store(error) => error.disposition(),
            Self::Apply(error) => error.disposition(),
            Self::BrokeOff => Disposition::NeedsChange,
        }
    }

    /// Whether another transaction came first, so that it is worth planning anew at once.
    fn was_overtaken(&self) -> bool {
        let (Self::Store(error) | Self::Apply(ApplyError::Store(error))) = self else { return false };
        matches!(error, StoreError::Moved { .. } | StoreError::Denied(_))
    }
}
