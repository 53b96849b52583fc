//! Pins: the code of a pinned commit is kept from gc, and a pin whose time is over is let go.
//!
//! A pin counts and ends by the time alone, wherever code is asked for; here its end is only noted. Source: rule 10.

use std::sync::Arc;

use super::{Failure, Ports};
use crate::authz::Permit;
use crate::domain::Timestamp;
use crate::store::{StoreError, TenantHead};

/// Looks at the pin of every tenant that has one; true if one has ended.
///
/// # Errors
/// Only those of the store as a whole.
pub(super) async fn look(ports: &Ports, heads: &[Arc<TenantHead>], now: Timestamp) -> Result<bool, Failure> {
    let mut ended = false;
    let pinned = heads.iter().filter(|head| !head.removed);
    for (head, pin) in pinned.filter_map(|head| Some((head, head.status.pinned.as_ref()?))) {
        let tenant = &head.tenant;
        if now < pin.until {
            // No tenant's name has a dot, so this is no other tenant's ref.
            if let Err(error) = ports.source.keep(&format!("{tenant}.pin"), &pin.commit).await {
                tracing::warn!(%tenant, commit = %pin.commit, %error, "the pinned commit is not kept from gc");
            }
            continue;
        }
        let permit = Permit::for_reconcile(&head.standing(), now);
        match ports.store.end_pin(&permit, now).await {
            Ok(Some(pin)) => {
                ended = true;
                tracing::info!(%tenant, commit = %pin.commit, "the pin has let itself go");
            }
            Ok(None) => {}
            // Somebody was quicker; the next pass sees what there is then.
            Err(StoreError::Denied(_) | StoreError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(ended)
}
