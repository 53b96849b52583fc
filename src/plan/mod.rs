//! Desired state and actual state to a plan: diff, order, guard, render.
//!
//! The daemon's plan and that of `tenantry plan` are the same function. Deliberately absent: who agrees
//! (authz judges the edges), carrying it out (apply), the content of files (a renderer is given them).

mod access;
mod diff;
mod document;
#[cfg(test)]
mod document_tests;
mod drift;
mod facts;
mod fields;
#[cfg(test)]
pub(crate) mod fixture;
mod guard;
#[cfg(test)]
mod guarded_tests;
mod render;
#[cfg(test)]
mod tests;
mod wide;

use std::collections::BTreeSet;

pub use access::{AccessLine, Turn};
pub use document::{Blocked, DOCUMENT_SCHEMA, Document, Line, TenantRun};
pub use drift::{DriftKind, DriftLine, Standing, standing};
pub use facts::{Rename, ScheduleLine, SecretLine, VersionLine};
pub use guard::{Pruned, prune_guard};
pub use render::{MARKER, Rendering};
pub use wide::wide;

use crate::domain::{
    ActualState, Agreement, ChangeKeys, DesiredState, Grant, Operation, People, Plan, PlannedRun, Principal,
    Removals, Revision, Role, TenantState, TriggerKind, VersionState, Workflow, WorkflowId,
};

/// Plans what brings a tenant from its actual to its desired state.
///
/// What ended or was revoked does not come back, whatever the desired state says; `skipped` names it. The
/// plan is empty when there is nothing to do. Source: design page `reconcile.md`, rules 3, 5 and 8.
#[must_use]
pub fn between(desired: &DesiredState, actual: &ActualState) -> Plan {
    let mut skipped = Vec::new();
    let next = without_what_ended(&desired.state, actual, &mut skipped);
    let base = live_state(actual);
    let delta = diff::tenant(&desired.tenant, base, &next);
    let removals = removals_between(base, &next, actual);
    let runs = runs_that_start(base, &next, &mut skipped);
    let held = base.map_or_else(Vec::new, |base| guard::workflows(&desired.tenant, base, &next));
    Plan {
        tenant: desired.tenant.clone(),
        base: live(actual).map(|applied| applied.commit.clone()),
        head: desired.revision.clone(),
        keys: desired.keys.clone(),
        generation: actual.generation,
        changes: delta.changes,
        edges: delta.edges,
        runs,
        removals,
        held,
        skipped,
        agreement: Agreement::Unjudged,
        digest: Some(next.digest()),
        next: Some(next),
    }
}

/// Plans the end of a tenant whose directory a listing no longer has.
#[must_use]
pub fn removal(actual: &ActualState, head: &Revision, keys: &ChangeKeys) -> Plan {
    let delta = diff::removed(&actual.tenant, live_state(actual));
    Plan { changes: delta.changes, edges: delta.edges, ..bare(actual, head, keys) }
}

/// Plans removals alone, for a tenant whose files are broken or held otherwise.
///
/// Its `next` is the applied state: nothing but the removals may be applied from it.
#[must_use]
pub fn restriction(removals: Removals, actual: &ActualState, head: &Revision, keys: &ChangeKeys) -> Plan {
    let next = live_state(actual).map(|base| removals.taken_from(base));
    let delta = match (live_state(actual), &next) {
        (Some(base), Some(next)) => diff::tenant(&actual.tenant, Some(base), next),
        _ => diff::Delta::default(),
    };
    Plan {
        changes: delta.changes,
        edges: delta.edges,
        removals,
        digest: next.as_ref().map(TenantState::digest),
        next,
        ..bare(actual, head, keys)
    }
}

fn bare(actual: &ActualState, head: &Revision, keys: &ChangeKeys) -> Plan {
    Plan {
        tenant: actual.tenant.clone(),
        base: live(actual).map(|applied| applied.commit.clone()),
        head: head.clone(),
        keys: keys.clone(),
        generation: actual.generation,
        changes: Vec::new(),
        edges: Vec::new(),
        runs: Vec::new(),
        removals: Removals::default(),
        held: Vec::new(),
        skipped: Vec::new(),
        agreement: Agreement::Unjudged,
        next: None,
        digest: None,
    }
}

/// What the platform takes from a tenant by itself: people who left a group, and grants to nobody.
///
/// Needs no file of the tenant, so that it binds one that is invalid, held or suspended as well.
#[must_use]
pub fn restricted_by_platform(actual: &ActualState, people: &People) -> Removals {
    let Some(base) = live_state(actual) else { return Removals::default() };
    let members = base.groups.iter().flat_map(|(group, members)| {
        let still = people.groups.get(group);
        members
            .iter()
            .filter(move |user| !still.is_some_and(|still| still.contains(*user)))
            .map(move |user| (group.clone(), user.clone()))
    });
    let grants = base.grants.iter().filter(|grant| !people.knows(&grant.principal)).cloned();
    let elevations = base.elevations.values().filter(|elevation| !people.users.contains_key(&elevation.user));
    Removals {
        members: members.collect(),
        grants: keeping_owner_and_operator(base, grants.collect()),
        elevations: elevations.map(|elevation| elevation.id.clone()).collect(),
        revoked: Vec::new(),
    }
}

/// What the readable files of a tenant take away, while another of its files is broken.
///
/// `grants` and `elevations` are those of its roles file, `revoked` the versions that its index of secrets
/// marks so; `None` stands for a file that is missing or does not parse, and removes nothing.
#[must_use]
pub fn restricted_by_files(
    actual: &ActualState,
    roles: Option<(&BTreeSet<Grant>, &BTreeSet<crate::domain::ElevationId>)>,
    revoked: Option<&BTreeSet<(crate::domain::SecretName, crate::domain::VersionId)>>,
) -> Removals {
    let Some(base) = live_state(actual) else { return Removals::default() };
    let mut removals = Removals::default();
    if let Some((grants, elevations)) = roles {
        // The owner stands in another file, which may be the broken one.
        let gone = base.grants.difference(grants).filter(|grant| grant.role != Role::Owner).cloned();
        removals.grants = keeping_owner_and_operator(base, gone.collect());
        removals.elevations =
            base.elevations.keys().filter(|id| !elevations.contains(*id)).cloned().collect();
    }
    for (name, version) in revoked.into_iter().flatten() {
        if !actual.is_revoked(name, version) {
            removals.revoked.push((name.clone(), version.clone()));
        }
    }
    removals
}

/// The applied state, unless the tenant was removed: a name that returns starts anew.
fn live(actual: &ActualState) -> Option<&crate::domain::Applied> {
    actual.applied.as_ref().filter(|_| actual.removed.is_none())
}

fn live_state(actual: &ActualState) -> Option<&TenantState> {
    live(actual).map(|applied| &applied.state)
}

fn without_what_ended(state: &TenantState, actual: &ActualState, skipped: &mut Vec<String>) -> TenantState {
    let mut next = state.clone();
    if actual.removed.is_some() {
        return next;
    }
    let base = live_state(actual);
    next.elevations.retain(|id, elevation| {
        // One that ended in its place stays written and gives nothing; one that left does not come back.
        let stayed = base.is_some_and(|base| base.elevations.get(id) == Some(elevation));
        let ended = actual.elevations_ended.contains(id) && !stayed;
        if ended {
            skipped.push(format!("elevation `{id}` has ended and does not return: use a new id"));
        }
        !ended
    });
    for secret in next.secrets.values_mut() {
        for version in &mut secret.versions {
            if version.state != VersionState::Revoked && actual.is_revoked(&secret.name, &version.id) {
                skipped.push(format!(
                    "version `{}` of secret `{}` stays revoked: write `state: revoked` in secrets.yaml",
                    version.id, secret.name
                ));
                version.state = VersionState::Revoked;
            }
        }
    }
    next
}

/// Everything that a plan takes away from an actual state, also what was too much to be taken ahead.
///
/// Whoever applies the plan as a whole ends these rights with it.
#[must_use]
pub fn rights_that_end(plan: &Plan, actual: &ActualState) -> Removals {
    match (live_state(actual), &plan.next) {
        (base, Some(next)) => everything_taken(base, next, actual),
        (Some(base), None) => Removals {
            grants: base.grants.iter().cloned().collect(),
            elevations: base.elevations.keys().cloned().collect(),
            ..Removals::default()
        },
        (None, None) => Removals::default(),
    }
}

fn removals_between(base: Option<&TenantState>, next: &TenantState, actual: &ActualState) -> Removals {
    let mut removals = everything_taken(base, next, actual);
    if let Some(base) = base {
        removals.grants = keeping_owner_and_operator(base, removals.grants);
    }
    removals
}

fn everything_taken(base: Option<&TenantState>, next: &TenantState, actual: &ActualState) -> Removals {
    let revoked = next.secrets.values().flat_map(|secret| {
        let revoked = secret.versions.iter().filter(|version| version.state == VersionState::Revoked);
        revoked.map(|version| (secret.name.clone(), version.id.clone()))
    });
    let known = |(name, id): &(_, _)| actual.removed.is_none() && actual.is_revoked(name, id);
    let mut removals =
        Removals { revoked: revoked.filter(|version| !known(version)).collect(), ..Removals::default() };
    let Some(base) = base else { return removals };
    removals.grants = base.grants.difference(&next.grants).cloned().collect();
    removals.elevations =
        base.elevations.keys().filter(|id| !next.elevations.contains_key(*id)).cloned().collect();
    for (group, members) in &base.groups {
        // A group that is no longer named gives nothing any more; its members did not leave it.
        let Some(still) = next.groups.get(group) else { continue };
        removals.members.extend(members.difference(still).map(|user| (group.clone(), user.clone())));
    }
    removals
}

/// Leaves out the removals that alone would leave a tenant without owner or operator.
fn keeping_owner_and_operator(base: &TenantState, gone: Vec<Grant>) -> Vec<Grant> {
    let emptied = |role: Role| {
        let left = base.holders(role).any(|principal| !is_among(&gone, role, principal));
        !left && base.holders(role).next().is_some()
    };
    let (owner, operator) = (emptied(Role::Owner), emptied(Role::Operator));
    gone.into_iter()
        .filter(|grant| match grant.role {
            Role::Owner => !owner,
            Role::Operator => !operator,
            Role::Developer | Role::Auditor => true,
        })
        .collect()
}

fn is_among(grants: &[Grant], role: Role, principal: &Principal) -> bool {
    grants.iter().any(|grant| grant.role == role && grant.principal == *principal)
}

/// The commit triggers that fire if this is applied. Source: design page `reconcile.md`, rule 5.
fn runs_that_start(
    base: Option<&TenantState>,
    next: &TenantState,
    skipped: &mut Vec<String>,
) -> Vec<PlannedRun> {
    let fires = |id: &WorkflowId, workflow: &Workflow| {
        let Some(trigger) = &workflow.triggers.commit else { return false };
        match base.and_then(|base| base.workflows.get(id)) {
            None => trigger.first,
            Some(before) => whether_paused_aside(before) != whether_paused_aside(workflow),
        }
    };
    let mut runs = Vec::new();
    for (id, workflow) in next.workflows.iter().filter(|(id, workflow)| fires(id, workflow)) {
        if workflow.paused.is_some() {
            skipped.push(format!("workflow `{id}` is paused, so its commit trigger does not fire"));
        } else if next.settings.suspend.is_some() {
            skipped.push(format!("the tenant is suspended, so `{id}` does not start"));
        } else {
            runs.push(PlannedRun { workflow: id.clone(), trigger: TriggerKind::Commit });
        }
    }
    runs
}

/// A pause and its end are no change of the workflow.
fn whether_paused_aside(workflow: &Workflow) -> Workflow {
    Workflow { paused: None, ..workflow.clone() }
}

/// Puts what is destroyed and who gains access first, then by kind and name.
fn in_order(changes: &mut [crate::domain::Change]) {
    changes.sort_by(|a, b| {
        let rank = |change: &crate::domain::Change| {
            if change.op == Operation::Remove { 0 } else { u8::from(!is_access(change.class)) + 1 }
        };
        (rank(a), a.kind, &a.object, a.op).cmp(&(rank(b), b.kind, &b.object, b.op))
    });
}

/// Whether a class gives somebody or something more than before.
pub(crate) fn is_access(class: crate::domain::Class) -> bool {
    use crate::domain::Class;
    match class {
        Class::Reduce | Class::Code | Class::Settings | Class::Shared => false,
        Class::Reach
        | Class::SecretValue
        | Class::Grant
        | Class::People
        | Class::Recipients
        | Class::Tenant
        | Class::Platform => true,
    }
}
