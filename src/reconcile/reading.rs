//! Trees to desired states, off the threads that serve others: reading is work, not waiting.

use std::sync::Arc;

use super::Failure;
use crate::desired::{self, Restrictions};
use crate::domain::{DesiredState, Diagnostic, Listing, Platform, TenantId, Tree};
use crate::store::AppliedPlatform;

/// Reads the platform's files.
pub(super) async fn platform(tree: Arc<Tree>) -> Result<(Option<Platform>, Vec<Diagnostic>), Failure> {
    off_thread(move || desired::read_platform(&tree)).await
}

/// One tenant's files, read.
pub(super) struct Read {
    /// `None` as soon as one finding is an error.
    pub desired: Option<DesiredState>,
    /// What is wrong.
    pub found: Vec<Diagnostic>,
    /// What the files that can be read take away, where the whole cannot.
    pub restrictions: Restrictions,
}

/// Reads one tenant's files, with `shared/` of the applied platform.
pub(super) async fn tenant(
    platform: Arc<AppliedPlatform>,
    listing: Arc<Listing>,
    shared: Arc<Tree>,
    tree: Tree,
    tenant: TenantId,
) -> Result<Read, Failure> {
    off_thread(move || {
        let (desired, found) = desired::read(&platform.platform, &listing, &shared, &tree, &tenant);
        let restrictions = match desired {
            Some(_) => Restrictions::default(),
            None => desired::read_restrictions(&tree, &tenant),
        };
        Read { desired, found, restrictions }
    })
    .await
}

/// A panic in a reader is this tenant's failure and nobody else's.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Failure::BrokeOff)
}
