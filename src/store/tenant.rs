//! What operations do to the actual state of a tenant: pure, the same for every engine.

use std::collections::BTreeMap;

use super::Application;
use crate::domain::{
    ActualState, Applied, CommitId, Elevation, Isolation, Pause, Pin, SecretName, TenantState, Timestamp,
    VersionId, VersionState, Window, Workflow, WorkflowId,
};
use crate::record::{LedgerEntry, LedgerTenant};

/// A tenant after an operation, and what of it moves one way only.
pub(super) struct Changed {
    pub(super) state: ActualState,
    /// Whether the generation rose.
    pub(super) rose: bool,
    pub(super) ledger: Vec<LedgerEntry>,
}

/// The tenant that follows one which Git no longer has: a name that returns is a new tenant.
pub(super) fn successor(removed: &ActualState) -> ActualState {
    ActualState { incarnation: removed.incarnation + 1, ..ActualState::empty(removed.tenant.clone()) }
}

/// Applies one tenant. The same application again changes nothing.
pub(super) fn apply(actual: &ActualState, application: &Application, now: Timestamp) -> Changed {
    let mut next = actual.clone();
    let removals = &application.removals;
    let mut ended = !removals.is_empty() && application.removals_only;
    next.elevations_ended.extend(removals.elevations.iter().cloned());
    for (secret, version) in &removals.revoked {
        ended |= tombstone(&mut next, secret, version);
    }
    let mut rose = false;
    if application.removals_only {
        if let Some(applied) = &mut next.applied {
            applied.state = removals.taken_from(&applied.state);
            applied.digest = applied.state.digest();
        }
    } else if let Some(state) = &application.next {
        let before = next.applied.take();
        ended |= before.as_ref().is_some_and(|before| takes_away(&before.state, state));
        if let Some(before) = &before {
            let gone = before.state.elevations.keys().filter(|id| !state.elevations.contains_key(*id));
            next.elevations_ended.extend(gone.cloned());
        }
        let digest = application.digest.clone().unwrap_or_else(|| state.digest());
        next.applied = Some(match before {
            // Read under new ids, but nothing of it changed: the commit of the last change stays.
            Some(before) if before.digest == digest => Applied { keys: application.keys.clone(), ..before },
            _ => {
                rose = true;
                next.generation += 1;
                Applied {
                    commit: application.commit.clone(),
                    digest,
                    keys: application.keys.clone(),
                    at: now,
                    authors: application.authors.clone(),
                    state: state.clone(),
                }
            }
        });
        for secret in state.secrets.values() {
            for version in secret.versions.iter().filter(|version| version.state == VersionState::Revoked) {
                ended |= tombstone(&mut next, &secret.name, &version.id);
            }
        }
        begin_elevations(&mut next, state, now);
        let pinned = next.pin.as_ref().map(|pin| &pin.code.workflows);
        next.pauses.retain(|workflow, _| {
            state.workflows.contains_key(workflow)
                || pinned.is_some_and(|pinned| pinned.contains_key(workflow))
        });
    } else if next.removed.is_none() {
        next.removed = Some(now);
        next.pin = None;
        ended = true;
    }
    if ended {
        next.authority += 1;
    }
    let ledger = one_way(actual, &next, rose.then_some(&application.commit));
    Changed { state: next, rose, ledger }
}

/// Revokes a version by command.
pub(super) fn revoke(actual: &ActualState, secret: &SecretName, version: &VersionId) -> Changed {
    let mut next = actual.clone();
    if tombstone(&mut next, secret, version) {
        next.authority += 1;
    }
    let ledger = one_way(actual, &next, None);
    Changed { state: next, rose: false, ledger }
}

/// Begins or ends a pin. What was decided over the other code counts no more.
pub(super) fn pin(actual: &ActualState, pin: Option<Pin>) -> Changed {
    let next = ActualState { pin, authority: actual.authority + 1, ..actual.clone() };
    let ledger = one_way(actual, &next, None);
    Changed { state: next, rose: false, ledger }
}

/// The schedules among workflows that others do not have.
pub(super) fn schedules_beside<'a>(
    of: &'a BTreeMap<WorkflowId, Workflow>,
    others: &BTreeMap<WorkflowId, Workflow>,
) -> Vec<(&'a WorkflowId, &'a str)> {
    let known = |workflow: &WorkflowId, entry: &str| {
        let other = others.get(workflow);
        other.is_some_and(|other| other.triggers.schedules.iter().any(|schedule| schedule.entry == entry))
    };
    of.iter()
        .flat_map(|(id, workflow)| {
            workflow.triggers.schedules.iter().map(move |one| (id, one.entry.as_str()))
        })
        .filter(|(workflow, entry)| !known(workflow, entry))
        .collect()
}

/// True if the version was not revoked before.
fn tombstone(state: &mut ActualState, secret: &SecretName, version: &VersionId) -> bool {
    state.revoked.entry(secret.clone()).or_default().insert(version.clone())
}

/// Starts elevations that count from their apply, by the store's clock; one that was asked for too late is void.
fn begin_elevations(actual: &mut ActualState, state: &TenantState, now: Timestamp) {
    for (id, elevation) in &state.elevations {
        let known = actual.elevations_started.contains_key(id) || actual.elevations_ended.contains(id);
        match elevation.window {
            Window::OnApply { ask_until, .. } if !known && now < ask_until => {
                actual.elevations_started.insert(id.clone(), now);
            }
            Window::OnApply { .. } if !known => {
                actual.elevations_ended.insert(id.clone());
            }
            Window::OnApply { .. } | Window::Planned { .. } => {}
        }
    }
}

/// Whether anybody may do less afterwards: then permits made before must not count any more.
fn takes_away(before: &TenantState, after: &TenantState) -> bool {
    let grants = !before.grants.is_subset(&after.grants);
    let members = before
        .groups
        .iter()
        .any(|(group, members)| after.groups.get(group).is_none_or(|left| !members.is_subset(left)));
    let elevations =
        before.elevations.iter().any(|(id, elevation)| after.elevations.get(id) != Some(elevation));
    grants || members || elevations
}

/// The lines of the ledger between two states of one tenant; `raised` is the commit that raised the generation,
/// if one did.
fn one_way(before: &ActualState, after: &ActualState, raised: Option<&CommitId>) -> Vec<LedgerEntry> {
    let (tenant, incarnation) = (&after.tenant, after.incarnation);
    let mut lines = Vec::new();
    for (secret, versions) in &after.revoked {
        for version in versions.iter().filter(|version| !before.is_revoked(secret, version)) {
            let (tenant, secret, version) = (tenant.clone(), secret.clone(), version.clone());
            lines.push(LedgerEntry::Revoked { tenant, incarnation, secret, version });
        }
    }
    for (elevation, start) in &after.elevations_started {
        if !before.elevations_started.contains_key(elevation) {
            let (tenant, elevation, start) = (tenant.clone(), elevation.clone(), *start);
            lines.push(LedgerEntry::ElevationStarted { tenant, incarnation, elevation, start });
        }
    }
    for elevation in after.elevations_ended.difference(&before.elevations_ended) {
        let (tenant, elevation) = (tenant.clone(), elevation.clone());
        lines.push(LedgerEntry::ElevationEnded { tenant, incarnation, elevation });
    }
    let authority = after.authority;
    if let Some(commit) = raised {
        lines.push(LedgerEntry::Applied {
            tenant: tenant.clone(),
            incarnation,
            commit: commit.clone(),
            generation: after.generation,
            authority,
        });
    } else if authority != before.authority {
        lines.push(LedgerEntry::Restricted { tenant: tenant.clone(), incarnation, authority });
    }
    if after.removed.is_some() && before.removed.is_none() {
        lines.push(LedgerEntry::Removed { tenant: tenant.clone(), incarnation });
    }
    lines
}

/// Whether a pause still counts. Its end is outside.
fn counts(pause: &Pause, now: Timestamp) -> bool {
    pause.until.is_none_or(|until| now < until)
}

/// Why nothing new runs in the tenant, if so: suspended by Git or by command.
pub(super) fn suspension(actual: &ActualState, now: Timestamp) -> Option<&Pause> {
    let by_git = actual.applied.as_ref().and_then(|applied| applied.state.settings.suspend.as_ref());
    [actual.suspended.as_ref(), by_git].into_iter().flatten().find(|pause| counts(pause, now))
}

/// The workflows that are paused, by Git or by command.
pub(super) fn paused(actual: &ActualState, now: Timestamp) -> Vec<WorkflowId> {
    let applied = actual.applied.iter().flat_map(|applied| applied.state.workflows.values());
    let pinned = actual.pinned(now).into_iter().flat_map(|pin| pin.code.workflows.values());
    let by_git = applied.chain(pinned).filter_map(|workflow| {
        let pause = workflow.paused.as_ref()?;
        counts(pause, now).then(|| workflow.id.clone())
    });
    let by_command =
        actual.pauses.iter().filter(|(_, pause)| counts(pause, now)).map(|(workflow, _)| workflow.clone());
    by_git.chain(by_command).collect()
}

/// Whether a worker that serves `regions` (all, if `None`) may run the tenant's steps.
///
/// A tenant that demands a cell of its own waits until it has one, and says so in its conditions.
pub(super) fn is_served(actual: &ActualState, regions: Option<&[String]>) -> bool {
    let Some(applied) = &actual.applied else { return false };
    let settings = &applied.state.settings;
    let region = match (&settings.region, regions) {
        (Some(region), Some(regions)) => regions.contains(region),
        (None, _) | (_, None) => true,
    };
    region && settings.isolation == Isolation::Soft && actual.removed.is_none()
}

/// The most runs of the tenant at one time.
pub(super) fn runs_max(actual: &ActualState) -> u32 {
    let limit = actual.applied.as_ref().and_then(|applied| applied.state.settings.limits.concurrency);
    limit.unwrap_or(u32::MAX)
}

/// The next time after `now` at which something of the tenant ends or begins by itself.
pub(super) fn deadline(actual: &ActualState, now: Timestamp) -> Option<Timestamp> {
    let mut times: Vec<Timestamp> = Vec::new();
    let mut pause = |pause: Option<&Pause>| times.extend(pause.and_then(|pause| pause.until));
    actual.pauses.values().for_each(|by_command| pause(Some(by_command)));
    pause(actual.suspended.as_ref());
    if let Some(applied) = &actual.applied {
        pause(applied.state.settings.suspend.as_ref());
        applied.state.workflows.values().for_each(|workflow| pause(workflow.paused.as_ref()));
        for elevation in applied.state.elevations.values() {
            times.extend(window(actual, elevation).into_iter().flatten());
        }
        let versions = applied.state.secrets.values().flat_map(|secret| &secret.versions);
        times.extend(versions.filter_map(|version| version.accept_until));
    }
    times.extend(actual.pin.as_ref().map(|pin| pin.note.until));
    times.into_iter().filter(|time| *time > now).min()
}

fn window(actual: &ActualState, elevation: &Elevation) -> Option<[Timestamp; 2]> {
    match elevation.window {
        Window::Planned { from, until } => Some([from, until]),
        Window::OnApply { length, .. } => {
            actual.elevations_started.get(&elevation.id).map(|start| [*start, *start + length])
        }
    }
}

/// The lines that a ledger lacks of a tenant: those of commits that a crash kept from it.
pub(super) fn lacking(known: &LedgerTenant, state: &ActualState) -> Vec<LedgerEntry> {
    let mut before =
        ActualState { incarnation: state.incarnation, ..ActualState::empty(state.tenant.clone()) };
    if known.incarnation == state.incarnation {
        before.generation = known.generation;
        before.authority = known.authority;
        before.revoked = known.revoked.clone();
        before.elevations_started = known.started.clone();
        before.elevations_ended = known.ended.clone();
        before.removed = known.removed;
    }
    let commit = state.applied.as_ref().map(|applied| &applied.commit);
    let raised = commit.filter(|_| before.generation != state.generation);
    one_way(&before, state, raised)
}
