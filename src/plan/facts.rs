//! What a reviewer asks next: the secrets that a change touches and who uses them, when schedules fire, and
//! what was merely renamed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::json;
use crate::domain::{
    ObjectKind, ScheduleTrigger, Secret, SecretName, Step, TenantId, TenantState, Timestamp, VersionState,
    Workflow, WorkflowId, digest_of,
};
use crate::schedule::{Cron, Zone};

/// Fire times that are named for a schedule.
const NEXT_MAX: usize = 3;

/// A secret that the changes touch: names, versions and states, never a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretLine {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub name: SecretName,
    /// Its versions afterwards, or before where it goes, in written order.
    pub versions: Vec<VersionLine>,
    /// Who can decrypt it: the tenant's recipients and the platform's recovery keys.
    pub recipients: Vec<String>,
    /// The steps and triggers that use it afterwards, or did where it goes.
    pub used_by: Vec<String>,
}

/// One version of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionLine {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: VersionState,
}

/// When a schedule that came or changed fires next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleLine {
    /// Whose.
    pub tenant: TenantId,
    /// Of which workflow.
    pub workflow: WorkflowId,
    /// Five fields.
    pub cron: String,
    /// An IANA zone.
    pub timezone: String,
    /// The next times, in UTC.
    pub next: Vec<Timestamp>,
}

/// Something that left under one name and came under another. Its changes stay a removal and an addition: pauses,
/// history and what was agreed belong to a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rename {
    /// Whose; `None` for a tenant.
    pub tenant: Option<TenantId>,
    /// `workflow`, `script` or `tenant`.
    pub kind: ObjectKind,
    /// Before.
    pub from: String,
    /// After.
    pub to: String,
    /// Whether nothing but the name changed.
    pub identical: bool,
}

/// The digest of a workflow whatever it is called.
pub(super) fn workflow_digest(workflow: &Workflow) -> String {
    digest_of(&nameless(workflow))
}

fn nameless(workflow: &Workflow) -> Value {
    let mut value = json(workflow);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("id");
    }
    value
}

/// The secrets of which a version, a setting or a recipient differs.
pub(super) fn secrets(
    tenant: &TenantId,
    base: Option<&TenantState>,
    next: Option<&TenantState>,
) -> Vec<SecretLine> {
    let recipients = |state: Option<&TenantState>| -> Vec<String> {
        let settings = state.map(|state| &state.settings);
        settings.iter().flat_map(|it| it.recipients.iter().chain(&it.recovery)).cloned().collect()
    };
    let of = |state: Option<&'_ TenantState>, name: &SecretName| -> Option<Secret> {
        state.and_then(|state| state.secrets.get(name)).cloned()
    };
    let same_recipients = recipients(base) == recipients(next);
    let names: BTreeSet<_> = base.iter().chain(&next).flat_map(|state| state.secrets.keys()).collect();
    let mut lines = Vec::new();
    for name in names {
        let (old, new) = (of(base, name), of(next, name));
        if old == new && same_recipients {
            continue;
        }
        let shown = if new.is_some() { next } else { base };
        let Some(secret) = new.or(old) else { continue };
        let versions = secret.versions.iter();
        lines.push(SecretLine {
            tenant: tenant.clone(),
            name: name.clone(),
            versions: versions.map(|v| VersionLine { id: v.id.to_string(), state: v.state }).collect(),
            recipients: recipients(shown),
            used_by: shown.map(|state| users_of(state, name)).unwrap_or_default(),
        });
    }
    lines
}

fn users_of(state: &TenantState, name: &SecretName) -> Vec<String> {
    let mut users = Vec::new();
    for (id, workflow) in &state.workflows {
        let steps = workflow.steps.iter().chain(workflow.on_failure.as_deref());
        let reads = |step: &&Step| step.secrets.iter().any(|secret| secret.name == *name);
        users.extend(steps.filter(reads).map(|step| format!("{id}/{}", step.id)));
        users.extend(
            workflow
                .triggers
                .webhook
                .iter()
                .filter(|hook| hook.secret == *name)
                .map(|_| format!("{id} (webhook)")),
        );
    }
    users
}

/// The schedules that came or changed, a tenant's new zone included.
pub(super) fn schedules(
    tenant: &TenantId,
    base: Option<&TenantState>,
    next: Option<&TenantState>,
    now: Option<Timestamp>,
) -> Vec<ScheduleLine> {
    let (Some(next), Some(now)) = (next, now) else { return Vec::new() };
    let mut lines = Vec::new();
    for (id, workflow) in &next.workflows {
        let before =
            base.and_then(|base| base.workflows.get(id)).map(|old| old.triggers.schedules.as_slice());
        let known = |schedule: &&ScheduleTrigger| before.is_some_and(|before| before.contains(schedule));
        for schedule in workflow.triggers.schedules.iter().filter(|schedule| !known(schedule)) {
            lines.push(ScheduleLine {
                tenant: tenant.clone(),
                workflow: id.clone(),
                cron: schedule.cron.clone(),
                timezone: schedule.timezone.clone(),
                next: next_times(schedule, now),
            });
        }
    }
    lines
}

fn next_times(schedule: &ScheduleTrigger, now: Timestamp) -> Vec<Timestamp> {
    let (Ok(cron), Ok(zone)) = (Cron::parse(&schedule.cron), Zone::parse(&schedule.timezone)) else {
        return Vec::new();
    };
    let mut times = Vec::new();
    let mut after = now;
    while let Some(next) = cron.next_after(&zone, after).filter(|_| times.len() < NEXT_MAX) {
        times.push(next);
        after = next;
    }
    times
}

/// Workflows and scripts that only moved, or moved and changed a little.
pub(super) fn renames(
    tenant: &TenantId,
    base: Option<&TenantState>,
    next: Option<&TenantState>,
) -> Vec<Rename> {
    let (Some(base), Some(next)) = (base, next) else { return Vec::new() };
    let mut found = Vec::new();
    let mut put = |kind, from: &str, to: &str, identical| {
        let (from, to) = (from.to_owned(), to.to_owned());
        found.push(Rename { tenant: Some(tenant.clone()), kind, from, to, identical });
    };
    let gone: Vec<_> = base.workflows.iter().filter(|(id, _)| !next.workflows.contains_key(*id)).collect();
    let mut come: Vec<_> =
        next.workflows.iter().filter(|(id, _)| !base.workflows.contains_key(*id)).collect();
    for (from, old) in gone {
        let likeness = come.iter().map(|(_, new)| alike(old, new)).enumerate();
        // The first of equals, so that the same trees give the same answer.
        let best = likeness.rev().max_by_key(|(_, likeness)| *likeness);
        if let Some((place, likeness)) = best.filter(|(_, likeness)| *likeness >= 50) {
            let (to, _) = come.remove(place);
            put(ObjectKind::Workflow, from.as_str(), to.as_str(), likeness > 100);
        }
    }
    let files = |state: &TenantState| -> BTreeMap<String, String> {
        let own = state.workflows.values().filter(|workflow| workflow.uses.is_none());
        own.flat_map(|workflow| workflow.files.iter().map(|(path, file)| (path.clone(), file.id.to_string())))
            .collect()
    };
    let (before, after) = (files(base), files(next));
    let mut come: Vec<_> = after.iter().filter(|(path, _)| !before.contains_key(*path)).collect();
    for (from, blob) in before.iter().filter(|(path, _)| !after.contains_key(*path)) {
        let file_name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let exact = come.iter().position(|(_, other)| *other == blob);
        let moved = || come.iter().position(|(to, _)| file_name(to) == file_name(from));
        if let Some(place) = exact.or_else(moved) {
            let (to, _) = come.remove(place);
            put(ObjectKind::Script, from, to, exact.is_some());
        }
    }
    found
}

/// How much of the work of two workflows is the same, in percent of both; 101 where all but the name is.
///
/// Fields are mostly defaults, so only scripts and inline texts say that one workflow is the other.
fn alike(one: &Workflow, other: &Workflow) -> usize {
    if nameless(one) == nameless(other) {
        return 101;
    }
    let work = |workflow: &Workflow| -> BTreeSet<String> {
        workflow.steps.iter().map(|step| json(&step.work).to_string()).collect()
    };
    let (one, other) = (work(one), work(other));
    one.intersection(&other).count() * 100 / one.union(&other).count().max(1)
}
