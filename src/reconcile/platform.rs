//! The platform's scope: judged and applied first; while it is wrong or held, tenants go on against the last
//! applied one.

use std::sync::Arc;

use super::status::{self, Outcome};
use super::{Failure, Ports, reading};
use crate::authz::Unjudged;
use crate::domain::{
    Actor, AuditEntry, ChangeControlMode, ChangeKeys, DaemonPart, HeldLine, HeldReason, Listing, Platform,
    Revision, StatusRow, Timestamp,
};
use crate::store::AppliedPlatform;

/// What the tenants of this pass are read against.
pub(super) struct Scope {
    /// The applied platform; `None` before the first, and then no tenant can be read.
    pub applied: Option<Arc<AppliedPlatform>>,
    /// Its row.
    pub status: StatusRow,
}

/// Brings the platform to a revision, if its ids changed.
pub(super) async fn reconcile(
    ports: &Ports,
    listing: &Listing,
    released: bool,
    now: Timestamp,
) -> Result<Scope, Failure> {
    let applied = ports.store.platform().await?;
    let before = ports.store.platform_status().await?.unwrap_or_else(|| status::first(None, now));
    let keys = ChangeKeys {
        tenant: None,
        platform: listing.platform.clone(),
        settings: listing.settings.clone(),
        shared: listing.shared.clone(),
    };
    let due = before.retry_at.is_some_and(|at| at <= now);
    let waiting = released && !before.held.is_empty();
    if before.observed_commit.is_some() && before.keys == keys && !due && !waiting {
        return Ok(Scope { applied, status: before });
    }
    let revision = &listing.revision;
    let tree = Arc::new(ports.source.platform_tree(revision).await?);
    let (read, found) = reading::platform(tree).await?;
    let row = |outcome| StatusRow {
        findings: status::findings(&found),
        keys: keys.clone(),
        ..status::after(&before, revision, outcome, now)
    };
    let Some(platform) = read else {
        return stay(ports, applied, &before, row(Outcome::Invalid)).await;
    };
    if let Some(line) = refusal(applied.as_deref(), &platform, revision) {
        return stay(ports, applied, &before, row(Outcome::Held(vec![line]))).await;
    }
    let same = applied.as_ref().filter(|old| old.platform == platform && old.keys.shared == keys.shared);
    if same.is_some() {
        return stay(ports, applied, &before, row(Outcome::Unchanged)).await;
    }
    let next = AppliedPlatform { commit: revision.commit.clone(), keys: keys.clone(), platform };
    let status = StatusRow {
        last_applied_commit: Some(revision.commit.clone()),
        applied_generation: before.applied_generation + 1,
        ..row(Outcome::Applied)
    };
    ports.source.keep("platform", &revision.commit).await?;
    ports.store.apply_platform(&next, &status, &[entry(&next, applied.as_deref(), now)]).await?;
    tracing::info!(commit = %revision.commit, "the platform was applied");
    Ok(Scope { applied: Some(Arc::new(next)), status })
}

/// Writes the row if it says anything new; what is applied stays.
async fn stay(
    ports: &Ports,
    applied: Option<Arc<AppliedPlatform>>,
    before: &StatusRow,
    status: StatusRow,
) -> Result<Scope, Failure> {
    if !status::says_the_same(before, &status) {
        ports.store.set_platform_status(&status, &[]).await?;
    }
    Ok(Scope { applied, status })
}

/// Why a platform that reads well is not applied.
fn refusal(applied: Option<&AppliedPlatform>, next: &Platform, revision: &Revision) -> Option<HeldLine> {
    let line = |edge: String, cure: String| {
        Some(HeldLine { reason: HeldReason::Approval, edge, missing: vec![cure] })
    };
    if let Some(old) = applied.filter(|old| old.platform.settings.id != next.settings.id) {
        let (ours, theirs) = (&old.platform.settings.id, &next.settings.id);
        return line(
            format!("this data directory serves repository `{ours}`, the commit is of `{theirs}`"),
            "another data directory for another repository".to_owned(),
        );
    }
    if next.settings.branch != revision.branch && !revision.branch.is_empty() {
        let (wants, is) = (&next.settings.branch, &revision.branch);
        return line(
            format!("`reconcile.branch` is `{wants}`, this daemon follows `{is}`"),
            format!("start with branch `{wants}`, or set `reconcile.branch = \"{is}\"`"),
        );
    }
    // Judged by the applied mode; and a mode that nothing could be judged by afterwards is not entered.
    for mode in applied.map(|old| old.platform.settings.mode).into_iter().chain([next.settings.mode]) {
        if mode != ChangeControlMode::Open {
            return line(Unjudged { mode }.to_string(), "`change_control.mode = \"open\"`".to_owned());
        }
    }
    None
}

fn entry(next: &AppliedPlatform, before: Option<&AppliedPlatform>, now: Timestamp) -> AuditEntry {
    let people = |platform: &AppliedPlatform| platform.platform.people.users.len();
    let admins = |platform: &AppliedPlatform| platform.platform.admins.len();
    let reason = format!(
        "{} people, {} admins (before: {}, {}); change control is `{}`",
        people(next),
        admins(next),
        before.map_or(0, people),
        before.map_or(0, admins),
        next.platform.settings.mode.as_str(),
    );
    AuditEntry {
        at: now,
        tenant: None,
        actor: Actor::Daemon(DaemonPart::Reconcile),
        action: "platform.applied".to_owned(),
        resource: "platform".to_owned(),
        allowed: true,
        reason,
        commit: Some(next.commit.clone()),
        run: None,
    }
}
