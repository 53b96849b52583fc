//! The queue's look at a tenant after its apply; a keeper of time looks at all of them (queue).

use super::Ports;
use crate::authz::{Permit, Standing};
use crate::domain::Timestamp;
use crate::queue;

/// Starts what is due in one tenant. The apply has landed, so a failure is logged and left to the keeper.
pub(super) async fn enqueue(ports: &Ports, standing: &Standing, now: Timestamp) {
    let Ok(permit) = Permit::for_schedule(standing, now) else { return };
    if let Err(error) = queue::enqueue_due(&permit, ports.store.as_ref(), &ports.fresh, now).await {
        tracing::warn!(tenant = %standing.tenant(), %error, "schedules could not be looked at");
    }
}
