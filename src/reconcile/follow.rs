//! Which commit a pass goes by: the head, unless history was rewritten and nobody has let it go.
//!
//! Source: rules 6 and 7.

use super::{Failure, Ports};
use crate::domain::{Actor, AuditEntry, CommitId, DaemonPart, Revision, Timestamp};
use crate::source::{Source, SourceError};
use crate::store::SourceRow;

/// Commits that a note of passing over is written for, newest first.
const PASSED_OVER_MAX: usize = 100;

/// The source's states as `status` names them.
pub(super) mod state {
    pub(crate) const CURRENT: &str = "current";
    pub(crate) const REWRITTEN: &str = "rewritten";
    pub(crate) const UNREACHABLE: &str = "unreachable";
}

/// What a fetch led to.
pub(super) struct Followed {
    /// The row as it was.
    pub before: SourceRow,
    /// The row as it will be.
    pub row: SourceRow,
    /// What this pass goes by; `None` before the first fetch that works.
    pub revision: Option<Revision>,
    /// What the audit says of it.
    pub audit: Vec<AuditEntry>,
}

/// Fetches, and decides which commit to go by. What is old and known beats what is new and doubtful.
pub(super) async fn follow(ports: &Ports, rewrites: bool, now: Timestamp) -> Result<Followed, Failure> {
    let before = ports.store.source().await?;
    let head = match ports.source.fetch().await {
        Ok(head) => head,
        Err(error) => {
            tracing::warn!(address = %ports.source.address(), %error, "the source could not be read");
            let row = SourceRow {
                state: state::UNREACHABLE.to_owned(),
                message: Some(error.to_string()),
                ..before.clone()
            };
            let revision = known(ports.source.as_ref(), &before).await?;
            return Ok(Followed { before, row, revision, audit: Vec::new() });
        }
    };
    let current = SourceRow {
        head: Some(head.commit.clone()),
        fetched_at: Some(now),
        state: state::CURRENT.to_owned(),
        message: None,
        held: None,
        released: before.released.clone().filter(|released| *released == head.commit),
    };
    let Some(old) = before.head.clone().filter(|old| *old != head.commit) else {
        return Ok(Followed { before, row: current, revision: Some(head), audit: Vec::new() });
    };
    if ports.source.is_ancestor(&old, &head.commit).await? {
        let audit = passed_over(ports.source.as_ref(), &old, &head.commit, now).await?;
        return Ok(Followed { before, row: current, revision: Some(head), audit });
    }
    if rewrites || before.released.as_ref() == Some(&head.commit) {
        let reason = if rewrites { "`on_rewrite = \"follow\"`" } else { "released" };
        tracing::warn!(%old, new = %head.commit, "history was rewritten and is followed");
        let entry = entry("source.rewrite_followed", &head.commit, format!("{reason}; before: {old}"), now);
        return Ok(Followed { before, row: current, revision: Some(head), audit: vec![entry] });
    }
    let message = format!(
        "history was rewritten: `{}` does not come after `{}`, which stays in force; look at it, then \
         `tenantry release source --reason …`",
        head.commit.short(),
        old.short()
    );
    let first = before.held.as_ref() != Some(&head.commit);
    let audit = first.then(|| entry("source.rewritten", &head.commit, message.clone(), now));
    let row = SourceRow {
        head: Some(old),
        state: state::REWRITTEN.to_owned(),
        message: Some(message),
        held: Some(head.commit),
        released: None,
        ..current
    };
    let revision = known(ports.source.as_ref(), &row).await?;
    Ok(Followed { before, row, revision, audit: audit.into_iter().collect() })
}

/// The commit that was followed last, on the branch of the mirror.
async fn known(source: &dyn Source, row: &SourceRow) -> Result<Option<Revision>, Failure> {
    let Some(commit) = row.head.clone() else { return Ok(None) };
    let branch = source.head().await?.map(|head| head.branch).unwrap_or_default();
    Ok(Some(Revision { commit, branch }))
}

/// Entries for the commits between two heads, which a later one overtook.
async fn passed_over(
    source: &dyn Source,
    old: &CommitId,
    new: &CommitId,
    now: Timestamp,
) -> Result<Vec<AuditEntry>, Failure> {
    let mut between = match source.first_parent_range(old, new).await {
        Ok(between) => between,
        Err(error @ SourceError::TooLarge { .. }) => {
            return Ok(vec![entry("commit.superseded", old, format!("all after this one: {error}"), now)]);
        }
        Err(error) => return Err(error.into()),
    };
    between.pop();
    let reason = |commit: &CommitId| format!("`{}` came first", commit.short());
    let entries = between.iter().rev().take(PASSED_OVER_MAX);
    let mut entries: Vec<_> =
        entries.map(|commit| entry("commit.superseded", commit, reason(new), now)).collect();
    if between.len() > PASSED_OVER_MAX {
        let more = between.len() - PASSED_OVER_MAX;
        entries.push(entry("commit.superseded", old, format!("and {more} more after this one"), now));
    }
    Ok(entries)
}

fn entry(action: &str, commit: &CommitId, reason: String, now: Timestamp) -> AuditEntry {
    AuditEntry {
        at: now,
        tenant: None,
        actor: Actor::Daemon(DaemonPart::Reconcile),
        action: action.to_owned(),
        resource: format!("commit:{commit}"),
        allowed: true,
        reason,
        commit: Some(commit.clone()),
        run: None,
    }
}
