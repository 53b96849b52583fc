//! What the worker of this daemon's cell can do for a tenant: a tenant that nobody can run, or whose secrets nobody
//! can open, is applied all the same, and its conditions say so. Source: design page `reconcile.md`.

use super::status;
use crate::domain::{Condition, ConditionKind, StatusRow, TenantId, TenantState, Timestamp};

/// What a worker can do, as the loop asks it.
pub trait Cell: Send + Sync {
    /// Whether steps of tenants of this region can be leased here; `None` where no worker is asked for, so that
    /// nothing can be said.
    fn serves(&self, region: &str) -> Option<bool>;

    /// Why secrets of the tenant cannot be opened here, with the cure; `None` if they can. The text holds no path: it
    /// is shown to those who see a tenant's health only.
    fn sealed(&self, tenant: &TenantId) -> Option<String>;
}

/// Sets the conditions `Runnable` and `SecretsReadable` of a tenant that has a region or secrets; of any other they
/// would say nothing.
pub(super) fn tell(
    cell: &dyn Cell,
    row: &mut StatusRow,
    tenant: &TenantId,
    state: &TenantState,
    now: Timestamp,
) {
    match state.settings.region.as_deref() {
        None => row.conditions.retain(|condition| condition.kind != ConditionKind::Runnable),
        Some(region) => match cell.serves(region) {
            None => {}
            Some(true) => status::set(&mut row.conditions, ConditionKind::Runnable, true, "Served", "", now),
            Some(false) => {
                let message = format!(
                    "no worker serves the region `{region}`: its runs wait; start one with `--label region={region}`"
                );
                status::set(&mut row.conditions, ConditionKind::Runnable, false, "NoWorker", &message, now);
            }
        },
    }
    if state.secrets.is_empty() {
        row.conditions.retain(|condition| condition.kind != ConditionKind::SecretsReadable);
        return;
    }
    let (holds, reason, message) = match cell.sealed(tenant) {
        None => (true, "Identity", String::new()),
        Some(message) => (false, "NoIdentity", message),
    };
    status::set(&mut row.conditions, ConditionKind::SecretsReadable, holds, reason, &message, now);
}

/// Whether what a row says of secrets no longer holds. Only rows that say that they cannot be read are asked
/// about in every pass, all of them in the `first` pass of a daemon.
pub(super) fn has_changed(cell: &dyn Cell, row: &StatusRow, tenant: &TenantId, first: bool) -> bool {
    let says = |condition: &&Condition| condition.kind == ConditionKind::SecretsReadable;
    row.conditions.iter().find(says).is_some_and(|condition| {
        (first || !condition.status) && condition.status != cell.sealed(tenant).is_none()
    })
}

/// Whether a row says anything of regions, which only the `first` pass of a daemon has to ask about again: it serves
/// the same ones as long as it lives.
pub(super) fn names_region(row: &StatusRow, first: bool) -> bool {
    first && row.conditions.iter().any(|condition| condition.kind == ConditionKind::Runnable)
}
