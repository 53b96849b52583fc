//! Schedules and verified hooks to queued runs, tenant by tenant.
//!
//! What is due follows from the applied state, the cursors and the time alone; the store starts the runs and moves the
//! cursors together, once per key. Deliberately absent: runs of commits, which land with their apply (apply), runs that
//! people start (api), and whose turn it is among tenants, which is decided where leases are given (store).

mod due;
mod hook;
mod keeper;

pub use due::{DueRuns, NotStarted, due_runs};
pub use hook::{Hook, NotQueued, receive};
pub use keeper::{Keeper, Pass};

use crate::authz::{Permit, action};
use crate::domain::{FreshIds, Timestamp, WorkflowId};
use crate::store::{Started, Store, StoreError};

/// What one look at a tenant's schedules did.
#[derive(Debug, Default)]
pub struct Enqueued {
    /// What became of each time that had come.
    pub started: Vec<(WorkflowId, Started)>,
    /// Times that had come and for which no run could be made.
    pub failed: Vec<NotStarted>,
    /// When to look again; `None` without a schedule.
    pub next: Option<Timestamp>,
}

/// Starts what is due in the permit's tenant.
///
/// Called after each apply and when the time named by the last call has come. Calling it twice starts nothing twice.
///
/// # Errors
/// Those of the store; nothing is started then.
pub async fn enqueue_due(
    permit: &Permit<action::Schedule>,
    store: &dyn Store,
    fresh: &FreshIds,
    now: Timestamp,
) -> Result<Enqueued, StoreError> {
    let actual = store.applied(permit).await?;
    let cursors = store.schedule_cursors(permit).await?;
    let due = due_runs(&actual, &cursors, permit.actor(), fresh, now);
    for failure in &due.failed {
        tracing::warn!(tenant = %permit.tenant(), workflow = %failure.workflow, reason = %failure.reason, "a scheduled run could not be made");
    }
    let workflows: Vec<WorkflowId> = due.fired.iter().map(|fired| fired.workflow.clone()).collect();
    let started = if due.fired.is_empty() { Vec::new() } else { store.fire(permit, due.fired, now).await? };
    Ok(Enqueued { started: workflows.into_iter().zip(started).collect(), failed: due.failed, next: due.next })
}
