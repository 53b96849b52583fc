//! The operations of the trait, each written once over [`Rows`] and run by an engine as one transaction.

mod asking;
mod leasing;
mod payloads;
mod reading;
mod reconciling;
mod running;
mod steering;

pub(super) use asking::*;
pub(super) use leasing::*;
pub(super) use payloads::*;
pub(super) use reading::*;
pub(super) use reconciling::*;
pub(super) use running::*;
pub(super) use steering::*;

use std::sync::Arc;

use super::StoreError;
use super::rows::{Chain, Found, Outlook, Rows, Scope};
use super::tenant;
use crate::authz::{Action, Permit};
use crate::domain::{ActualState, AuditEntry, StatusRow, Timestamp};
use crate::record;

/// What the permit's tenant is, if the permit still counts.
///
/// Checks the end of the permit, that it was decided for this tenant of the name, and that no right has ended
/// since.
async fn permitted<A: Action>(
    rows: &mut dyn Rows,
    permit: &Permit<A>,
    now: Timestamp,
) -> Found<Arc<ActualState>> {
    unexpired(permit, now)?;
    let actual = rows.tenant(permit.tenant()).await?.ok_or(StoreError::NotFound)?;
    if actual.incarnation != permit.incarnation() {
        return Err(StoreError::NotFound);
    }
    if permit.authority() < actual.authority {
        return Err(StoreError::Denied(
            "a right in this tenant ended since it was decided: ask again".into(),
        ));
    }
    Ok(actual)
}

fn unexpired<A: Action>(permit: &Permit<A>, now: Timestamp) -> Found<()> {
    permit.tenant_at(now).map(|_| ()).map_err(|expired| StoreError::Denied(expired.to_string()))
}

fn scope_of(actual: &ActualState) -> Scope {
    Scope { tenant: actual.tenant.clone(), incarnation: actual.incarnation }
}

/// Puts entries into the chain of the tenant they are about.
async fn audit_in(
    rows: &mut dyn Rows,
    scope: &Scope,
    entries: impl IntoIterator<Item = AuditEntry> + Send,
) -> Found<()>
where
    <Vec<AuditEntry> as IntoIterator>::IntoIter: Send,
{
    let chain = Chain::Tenant(scope.clone());
    let entries: Vec<AuditEntry> = entries.into_iter().collect();
    for mut entry in entries {
        entry.tenant = Some(scope.tenant.clone());
        link(rows, &chain, entry).await?;
    }
    Ok(())
}

/// Puts entries into the platform's chain.
async fn audit_platform(rows: &mut dyn Rows, entries: &[AuditEntry]) -> Found<()> {
    for entry in entries {
        link(rows, &Chain::Platform, entry.clone()).await?;
    }
    Ok(())
}

async fn link(rows: &mut dyn Rows, chain: &Chain, mut entry: AuditEntry) -> Found<()> {
    entry.at = rows.now(entry.at);
    let head = rows.chain_head(chain).await?;
    let record = record::link(head.as_ref().map(|(sequence, hash)| (*sequence, hash.as_str())), entry);
    rows.add_audit(chain, &record).await
}

/// Writes a tenant with what follows from it: the ledger's lines, and when the loop must look at it again.
async fn put_changed(
    rows: &mut dyn Rows,
    changed: tenant::Changed,
    now: Timestamp,
) -> Found<Arc<ActualState>> {
    for entry in changed.ledger {
        rows.note(entry);
    }
    put_tenant(rows, changed.state, now).await
}

async fn put_tenant(rows: &mut dyn Rows, state: ActualState, now: Timestamp) -> Found<Arc<ActualState>> {
    let scope = scope_of(&state);
    let state = Arc::new(state);
    rows.put_tenant(Arc::clone(&state)).await?;
    if let Some(mut outlook) = rows.outlook(&scope).await? {
        outlook.deadline = tenant::deadline(&state, now);
        outlook.status.pinned = state.pin.as_ref().map(|pin| pin.note.clone());
        rows.put_outlook(&scope, &outlook).await?;
    }
    Ok(state)
}

async fn put_status(
    rows: &mut dyn Rows,
    actual: &ActualState,
    status: StatusRow,
    released: bool,
    now: Timestamp,
) -> Found<()> {
    // A pass reads its row before it writes it: what a person pinned in between stays.
    let status = StatusRow { pinned: actual.pin.as_ref().map(|pin| pin.note.clone()), ..status };
    let outlook = Outlook { status, deadline: tenant::deadline(actual, now), released };
    rows.put_outlook(&scope_of(actual), &outlook).await
}
