//! What the audit says of an apply: one entry for it, one for each right that comes or goes, one for each run.

use super::Means;
use crate::domain::{Actor, ActualState, AuditEntry, Class, DaemonPart, Edge, EdgeSign, Plan, RunPins};

/// Entries for single edges; a larger delta is counted.
const EDGES_MAX: usize = 500;

fn entry(plan: &Plan, action: &str, resource: String, reason: String, means: &Means<'_>) -> AuditEntry {
    AuditEntry {
        at: means.now,
        tenant: Some(plan.tenant.clone()),
        actor: Actor::Daemon(DaemonPart::Reconcile),
        action: action.to_owned(),
        resource,
        allowed: true,
        reason,
        commit: Some(plan.head.commit.clone()),
        run: None,
    }
}

/// For a whole apply.
pub(super) fn applied(plan: &Plan, actual: &ActualState, means: &Means<'_>) -> Vec<AuditEntry> {
    let action = match (&plan.next, &plan.base) {
        (None, _) => "tenant.removed",
        (Some(_), None) => "tenant.created",
        (Some(_), Some(_)) => "tenant.applied",
    };
    let reason = format!(
        "{} over generation {}; {}; author according to the commit: {}",
        counted(plan.changes.len(), "change"),
        actual.generation,
        plan.agreement.as_str(),
        means.author,
    );
    let mut entries = vec![entry(plan, action, format!("tenant:{}", plan.tenant), reason, means)];
    entries.extend(rights(plan, means, |_| true));
    entries
}

/// For an apply of the removals alone.
pub(super) fn restricted(plan: &Plan, means: &Means<'_>) -> Vec<AuditEntry> {
    let reason = format!(
        "removals first; {}; author according to the commit: {}",
        plan.agreement.as_str(),
        means.author
    );
    let resource = format!("tenant:{}", plan.tenant);
    let mut entries = vec![entry(plan, "tenant.restricted", resource, reason, means)];
    entries.extend(rights(plan, means, |edge| edge.class == Class::Reduce));
    entries
}

/// For a run that starts.
pub(super) fn queued(run: &RunPins, means: &Means<'_>) -> AuditEntry {
    AuditEntry {
        at: means.now,
        tenant: Some(run.tenant.clone()),
        actor: run.actor.clone(),
        action: "run.queued".to_owned(),
        resource: format!("workflow:{}", run.workflow_id()),
        allowed: true,
        reason: format!("{} trigger, key {}", run.trigger.kind, run.trigger.key),
        commit: Some(run.commit.clone()),
        run: Some(run.id.clone()),
    }
}

/// For a run that could not be made.
pub(super) fn not_started(plan: &Plan, reason: &str, means: &Means<'_>) -> AuditEntry {
    let resource = format!("tenant:{}", plan.tenant);
    AuditEntry { allowed: false, ..entry(plan, "run.not_started", resource, reason.to_owned(), means) }
}

fn rights(plan: &Plan, means: &Means<'_>, wanted: impl Fn(&Edge) -> bool) -> Vec<AuditEntry> {
    let tells =
        |edge: &&Edge| wanted(edge) && (edge.class == Class::Reduce || crate::plan::is_access(edge.class));
    let edges: Vec<_> = plan.edges.iter().filter(tells).collect();
    let mut entries: Vec<_> = edges
        .iter()
        .take(EDGES_MAX)
        .map(|edge| {
            let action = match edge.sign {
                EdgeSign::Add => "access.added",
                EdgeSign::Remove => "access.ended",
                EdgeSign::Change => "access.changed",
            };
            entry(plan, action, edge.words.clone(), format!("class {}", edge.class), means)
        })
        .collect();
    if edges.len() > EDGES_MAX {
        let reason = format!("{} more, as in the plan of this commit", edges.len() - EDGES_MAX);
        entries.push(entry(plan, "access.changed", format!("tenant:{}", plan.tenant), reason, means));
    }
    entries
}

fn counted(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
