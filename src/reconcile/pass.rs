//! One pass: fetch, follow, platform, then each tenant that has to be looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::follow::{self, Followed};
use super::tenant::{self, Seen};
use super::{Failure, Ports, cell, note, pins, platform};
use crate::domain::{ChangeControlMode, Listing, OnRewrite, Revision, StatusRow, TenantId, Timestamp};
use crate::plan;
use crate::store::{Pending, SourceRow, TenantHead};

/// Tenants that are looked at side by side: what they write meanwhile is committed together.
const SIDE_BY_SIDE: usize = 64;
/// Tenants whose files are in memory at the same time: a slow one must not hold up the others.
const READ_SIDE_BY_SIDE: usize = 8;

/// What a pass came to.
#[derive(Clone, Debug)]
pub struct Pass {
    /// The source as it stands.
    pub source: SourceRow,
    /// What was gone by; `None` before the first fetch that works.
    pub revision: Option<Revision>,
    /// The platform's row, where there is a revision.
    pub platform: Option<StatusRow>,
    /// The rows of the tenants that were looked at, in the order of names.
    pub looked_at: Vec<StatusRow>,
    /// When the next pass is due, if nothing wakes it before.
    pub next: Option<Timestamp>,
}

/// Brings everything to the head, as far as it can.
///
/// # Errors
/// Only what concerns everybody: the store, or a commit whose listing cannot be read. A tenant's own failure
/// stands in its row.
pub async fn pass(ports: &Ports) -> Result<Pass, Failure> {
    let now = ports.store.now((ports.clock)()).await?;
    let followed = follow::follow(ports, follows_rewrites(ports).await?, now).await?;
    let Some(revision) = followed.revision.clone() else {
        if let Some(written) = write_ahead(ports, &followed).await? {
            written.landed().await?;
        }
        let source = followed.row;
        return Ok(Pass { source, revision: None, platform: None, looked_at: Vec::new(), next: None });
    };
    let listing = ports.source.listing(&revision).await?;
    let mut heads = ports.store.tenants().await?;
    if pins::look(ports, &heads, now).await? {
        heads = ports.store.tenants().await?;
    }
    let (source, pruned) = guarded(followed, &listing, &heads);
    let released = source.row.released.as_ref() == Some(&revision.commit);
    let written = write_ahead(ports, &source).await?;
    let scope = platform::reconcile(ports, &listing, released, now).await?;
    let mut looked_at = Vec::new();
    if let Some(applied) = scope.applied {
        let seen = Seen {
            shared: Arc::default(),
            platform: applied,
            prune: pruned,
            released,
            author: Arc::default(),
            places: Arc::new(Semaphore::new(READ_SIDE_BY_SIDE)),
            listing,
            now,
        };
        looked_at = look_at_tenants(ports, seen, &heads).await?;
    }
    if !looked_at.is_empty() || scope.status.at == now {
        let text = note::text(&source.row, Some(&scope.status), &looked_at);
        if let Err(error) = ports.source.annotate(&revision.commit, &text, now).await {
            tracing::warn!(commit = %revision.commit, %error, "the note could not be written");
        }
    }
    if let Some(written) = written {
        written.landed().await?;
    }
    let next = next_deadline(&ports.store.tenants().await?, &scope.status, now);
    Ok(Pass { source: source.row, revision: Some(revision), platform: Some(scope.status), looked_at, next })
}

/// Writes the source's row if it says anything new, together with what the pass writes next: nothing of a commit lands
/// before the row that follows it.
async fn write_ahead(ports: &Ports, followed: &Followed) -> Result<Option<Pending>, Failure> {
    let Followed { before, row, audit, .. } = followed;
    let same = SourceRow { fetched_at: row.fetched_at, ..before.clone() };
    if audit.is_empty() && same == *row && before.fetched_at.is_some() {
        ports.store.saw_source(row.fetched_at.unwrap_or_default());
        return Ok(None);
    }
    Ok(Some(ports.store.set_source_ahead(row, audit).await?))
}

/// Whether the applied platform lets a force-push pass; only mode `open` can.
async fn follows_rewrites(ports: &Ports) -> Result<bool, Failure> {
    let applied = ports.store.platform().await?;
    Ok(applied.is_some_and(|applied| {
        let settings = &applied.platform.settings;
        settings.on_rewrite == OnRewrite::Follow && settings.mode == ChangeControlMode::Open
    }))
}

/// Adds what the prune guard says to the source's row.
fn guarded(
    mut followed: Followed,
    listing: &Listing,
    heads: &[Arc<TenantHead>],
) -> (Followed, Option<crate::domain::HeldLine>) {
    // Most listings have everybody, and then there is nothing to guard.
    if heads.iter().all(|head| head.removed || listing.tenants.contains_key(&head.tenant)) {
        return (followed, None);
    }
    let known: BTreeSet<_> =
        heads.iter().filter(|head| !head.removed).map(|head| head.tenant.clone()).collect();
    let pruned = plan::prune_guard(&known, listing);
    let commit = &listing.revision.commit;
    let still_held = heads
        .iter()
        .filter(|head| !head.removed && tenant::is_gone(listing, &head.tenant))
        .find_map(|head| tenant::held_by_guard(&head.status));
    if let Some(line) = pruned.held.as_ref().or(still_held)
        && followed.row.released.as_ref() != Some(commit)
        && followed.row.held.is_none()
    {
        followed.row.held = Some(commit.clone());
        followed.row.message = Some(format!("{}; needs {}", line.edge, line.missing.join(", ")));
    }
    (followed, pruned.held)
}

async fn author(ports: &Ports, revision: &Revision) -> Arc<str> {
    match ports.source.commit_info(&revision.commit).await {
        Ok(info) => format!("{} <{}>", info.author.name, info.author.email).into(),
        Err(_) => "unknown".into(),
    }
}

/// Looks at every tenant that the pass concerns, several side by side; rows in the order of names.
async fn look_at_tenants(
    ports: &Ports,
    mut seen: Seen,
    heads: &[Arc<TenantHead>],
) -> Result<Vec<StatusRow>, Failure> {
    let known: BTreeMap<&TenantId, &Arc<TenantHead>> =
        heads.iter().map(|head| (&head.tenant, head)).collect();
    let comes_back =
        |tenant: &TenantId, head: &TenantHead| head.removed && seen.listing.tenants.contains_key(tenant);
    let first = !ports.looked.swap(true, Ordering::Relaxed);
    let mut concerned: Vec<(TenantId, Option<Arc<TenantHead>>)> = seen
        .listing
        .tenants
        .keys()
        .filter(|tenant| !known.contains_key(tenant))
        .map(|tenant| (tenant.clone(), None))
        .collect();
    concerned.extend(
        known
            .into_iter()
            .filter(|(tenant, head)| {
                let row = &head.status;
                let cell_changed = || {
                    cell::names_region(row, first)
                        || cell::has_changed(ports.cell.as_ref(), row, tenant, first)
                };
                comes_back(tenant, head) || (!head.removed && (seen.concerns(head) || cell_changed()))
            })
            .map(|(tenant, head)| (tenant.clone(), Some(Arc::clone(head)))),
    );
    if concerned.is_empty() {
        return Ok(Vec::new());
    }
    seen.author = author(ports, seen.revision()).await;
    let places = Arc::new(Semaphore::new(SIDE_BY_SIDE));
    let mut looks = JoinSet::new();
    for (tenant, head) in concerned {
        let (ports, seen, places) = (ports.clone(), seen.clone(), Arc::clone(&places));
        looks.spawn(async move {
            // INVARIANT: nobody closes the semaphore, so a place always comes.
            let _place = places.acquire_owned().await;
            let row = tenant::look(&ports, &seen, &tenant, head.as_deref()).await;
            (tenant, row)
        });
    }
    let mut rows = BTreeMap::new();
    let mut failed = None;
    while let Some(looked) = looks.join_next().await {
        match looked {
            Ok((tenant, Ok(row))) => drop(rows.insert(tenant, row)),
            Ok((tenant, Err(failure))) => {
                tracing::error!(%tenant, %failure, "the tenant's status could not be written");
                failed = Some(failure);
            }
            Err(_) => failed = Some(Failure::BrokeOff),
        }
    }
    match failed {
        Some(failure) => Err(failure),
        None => Ok(rows.into_values().collect()),
    }
}

fn next_deadline(heads: &[Arc<TenantHead>], platform: &StatusRow, now: Timestamp) -> Option<Timestamp> {
    let tenants = heads.iter().filter(|head| !head.removed);
    let pins = |head: &TenantHead| head.status.pinned.as_ref().map(|pin| pin.until);
    let times = tenants.flat_map(|head| [head.status.retry_at, pins(head)]).chain([platform.retry_at]);
    times.flatten().filter(|at| *at > now).min()
}
