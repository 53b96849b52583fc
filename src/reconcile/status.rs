//! Status rows: where a tenant stands with a commit, and its conditions.

use crate::domain::{
    Condition, ConditionKind, Diagnostic, Finding, HeldLine, Length, Revision, Status, StatusRow, TenantId,
    Timestamp,
};

/// Findings that a row keeps; more are counted by `validate`.
const FINDINGS_MAX: usize = 200;

/// A row from which the next one is made.
pub(super) fn first(tenant: Option<TenantId>, now: Timestamp) -> StatusRow {
    StatusRow {
        tenant,
        status: Status::Observed,
        observed_commit: None,
        last_attempted_commit: None,
        last_applied_commit: None,
        restricted_commit: None,
        applied_generation: 0,
        retry_at: None,
        failures: 0,
        held: Vec::new(),
        findings: Vec::new(),
        pinned: None,
        conditions: Vec::new(),
        keys: crate::domain::ChangeKeys::default(),
        at: now,
    }
}

/// What came of looking at a scope.
pub(super) enum Outcome {
    /// Applied; it changed something.
    Applied,
    /// Nothing to do.
    Unchanged,
    /// Its files are wrong.
    Invalid,
    /// Waits for somebody.
    Held(Vec<HeldLine>),
    /// Transient: tried again after this long.
    Failed { message: String, again: Length },
    /// Not tried again before something changes.
    Broken { message: String },
    /// Git no longer has it.
    Removed,
}

/// The row after a look at `revision`. Keys, findings and suspension are the caller's to set.
pub(super) fn after(before: &StatusRow, revision: &Revision, outcome: Outcome, now: Timestamp) -> StatusRow {
    let commit = revision.commit.clone();
    let status = match &outcome {
        Outcome::Applied | Outcome::Removed => Status::Applied,
        Outcome::Unchanged => Status::Unchanged,
        Outcome::Invalid => Status::Invalid,
        Outcome::Held(_) => Status::Held,
        Outcome::Failed { .. } | Outcome::Broken { .. } => Status::Failed,
    };
    let failed = status == Status::Failed;
    let retry_at = match &outcome {
        Outcome::Failed { again, .. } => Some(now + *again),
        _ => None,
    };
    let conditions = conditions(&before.conditions, &outcome, revision, now);
    let held = if let Outcome::Held(lines) = outcome { lines } else { Vec::new() };
    StatusRow {
        status,
        observed_commit: Some(commit.clone()),
        last_attempted_commit: Some(commit),
        retry_at,
        failures: if failed { before.failures.saturating_add(1) } else { 0 },
        held,
        findings: Vec::new(),
        conditions,
        at: now,
        ..before.clone()
    }
}

/// The findings of a row, the first ones if there are too many.
pub(super) fn findings(found: &[Diagnostic]) -> Vec<Finding> {
    found.iter().take(FINDINGS_MAX).map(Finding::from).collect()
}

fn conditions(
    before: &[Condition],
    outcome: &Outcome,
    revision: &Revision,
    now: Timestamp,
) -> Vec<Condition> {
    let at = revision.commit.short();
    let (ready, stalled, reason, message) = match outcome {
        Outcome::Applied | Outcome::Unchanged => (true, false, "Applied", format!("as of `{at}`")),
        Outcome::Removed => (false, false, "Removed", format!("`{at}` no longer has it")),
        Outcome::Invalid => {
            (false, true, "Invalid", format!("the files at `{at}` are wrong: push a commit that mends them"))
        }
        Outcome::Held(lines) => {
            let lines: Vec<_> = lines.iter().map(|line| line.edge.as_str()).collect();
            (false, true, "Held", format!("`{at}` waits for somebody: {}", lines.join("; ")))
        }
        Outcome::Failed { message, .. } => (false, false, "Failed", message.clone()),
        Outcome::Broken { message } => (false, true, "Failed", message.clone()),
    };
    let reconciling = matches!(outcome, Outcome::Failed { .. });
    let mut all: Vec<Condition> = before.to_vec();
    for (kind, status) in [
        (ConditionKind::Ready, ready),
        (ConditionKind::Reconciling, reconciling),
        (ConditionKind::Stalled, stalled),
    ] {
        set(&mut all, kind, status, reason, &message, now);
    }
    all
}

/// Sets one condition; its `since` moves only if it changes or for another reason.
pub(super) fn set(
    conditions: &mut Vec<Condition>,
    kind: ConditionKind,
    status: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let old = conditions.iter().find(|condition| condition.kind == kind);
    let since = match old {
        Some(old) if old.status == status && old.reason == reason => old.since,
        _ => now,
    };
    conditions.retain(|condition| condition.kind != kind);
    let (reason, message) = (reason.to_owned(), message.to_owned());
    conditions.push(Condition { kind, status, reason, message, since });
    conditions.sort_by_key(|condition| condition.kind);
}

/// Whether two rows say the same, whenever they were written.
pub(super) fn says_the_same(one: &StatusRow, other: &StatusRow) -> bool {
    StatusRow { at: one.at, ..other.clone() } == *one
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn condition(row: &StatusRow, kind: ConditionKind) -> (bool, &str, Timestamp) {
        let found = row.conditions.iter().find(|condition| condition.kind == kind).unwrap();
        (found.status, &found.reason, found.since)
    }

    #[test]
    fn since_moves_only_with_the_condition() {
        let revision = Revision { commit: "1".repeat(40).parse().unwrap(), branch: "main".into() };
        let row = after(&first(None, at(0)), &revision, Outcome::Applied, at(1));
        assert_eq!(condition(&row, ConditionKind::Ready), (true, "Applied", at(1)));
        let row = after(&row, &revision, Outcome::Unchanged, at(2));
        assert_eq!(condition(&row, ConditionKind::Ready), (true, "Applied", at(1)));
        let row = after(&row, &revision, Outcome::Invalid, at(3));
        assert_eq!(condition(&row, ConditionKind::Ready), (false, "Invalid", at(3)));
        assert_eq!(condition(&row, ConditionKind::Stalled), (true, "Invalid", at(3)));
    }

    #[test]
    fn failures_count_in_a_row() {
        let revision = Revision { commit: "1".repeat(40).parse().unwrap(), branch: "main".into() };
        let failed = || Outcome::Failed { message: "busy".into(), again: Length::from_secs(5) };
        let row = after(&first(None, at(0)), &revision, failed(), at(1));
        assert_eq!((row.status, row.failures, row.retry_at), (Status::Failed, 1, Some(at(6))));
        let row = after(&row, &revision, failed(), at(7));
        assert_eq!(row.failures, 2);
        let row = after(&row, &revision, Outcome::Unchanged, at(8));
        assert_eq!((row.failures, row.retry_at), (0, None));
    }
}
