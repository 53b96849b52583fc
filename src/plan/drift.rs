//! Where a tenant stands apart from what Git says of it: what was steered by command since its last apply.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::live;
use crate::domain::{
    ActualState, CommitId, ElevationId, SecretName, TenantId, Timestamp, VersionId, VersionState,
};

/// Where a tenant stands: what a plan made elsewhere has to know of a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Whose.
    pub tenant: TenantId,
    /// The commit of the last apply that changed it; `None` before the first and once it is removed.
    pub applied_commit: Option<CommitId>,
    /// The generation of that apply; 0 before the first.
    pub applied_generation: u64,
    /// Versions that stay revoked, whatever a commit says.
    pub revoked: BTreeMap<SecretName, BTreeSet<VersionId>>,
    /// Elevations that do not return, whatever a commit says.
    pub elevations_ended: BTreeSet<ElevationId>,
    /// Where it differs from its applied commit.
    pub drift: Vec<DriftLine>,
}

/// One difference that no commit explains.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DriftLine {
    /// Whose.
    pub tenant: TenantId,
    /// What it is about.
    pub kind: DriftKind,
    /// Its name: a workflow, `SECRET VERSION`, or the tenant.
    pub object: String,
    /// What the applied commit says.
    pub by_commit: String,
    /// What holds.
    pub holds: String,
    /// Until when; `None` until somebody changes it.
    pub until: Option<Timestamp>,
    /// Why, as given with the command.
    pub reason: Option<String>,
}

/// What a difference is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// Its code is pinned at an older commit.
    Code,
    /// A version of a secret was revoked in haste.
    SecretVersion,
    /// It is suspended.
    Tenant,
    /// A workflow is paused.
    Workflow,
}

/// Says where a tenant stands. What ended by its own time is no drift; nothing is before the first apply.
#[must_use]
pub fn standing(actual: &ActualState, now: Timestamp) -> Standing {
    Standing {
        tenant: actual.tenant.clone(),
        applied_commit: live(actual).map(|applied| applied.commit.clone()),
        applied_generation: actual.generation,
        revoked: actual.revoked.clone(),
        elevations_ended: actual.elevations_ended.clone(),
        drift: drift(actual, now),
    }
}

fn drift(actual: &ActualState, now: Timestamp) -> Vec<DriftLine> {
    let Some(applied) = live(actual) else { return Vec::new() };
    let line =
        |kind, object: String, by_commit: &str, holds: &str, until, reason: Option<&String>| DriftLine {
            tenant: actual.tenant.clone(),
            kind,
            object,
            by_commit: by_commit.to_owned(),
            holds: holds.to_owned(),
            until,
            reason: reason.cloned(),
        };
    let lasts = |until: Option<Timestamp>| until.is_none_or(|until| now < until);
    let mut lines = Vec::new();
    if let Some(pin) = actual.pinned(now).filter(|pin| pin.note.commit != applied.commit) {
        let (stands, holds) = (applied.commit.short(), pin.note.commit.short());
        let until = Some(pin.note.until);
        lines.push(line(
            DriftKind::Code,
            actual.tenant.to_string(),
            stands,
            holds,
            until,
            Some(&pin.note.reason),
        ));
    }
    for secret in applied.state.secrets.values() {
        let haste = secret.versions.iter().filter(|version| {
            version.state != VersionState::Revoked && actual.is_revoked(&secret.name, &version.id)
        });
        lines.extend(haste.map(|version| {
            let object = format!("{} {}", secret.name, version.id);
            line(DriftKind::SecretVersion, object, &version.state.to_string(), "revoked", None, None)
        }));
    }
    if let Some(pause) = actual.suspended.as_ref().filter(|pause| lasts(pause.until))
        && applied.state.settings.suspend.is_none()
    {
        let name = actual.tenant.to_string();
        lines.push(line(DriftKind::Tenant, name, "served", "suspended", pause.until, Some(&pause.reason)));
    }
    for (name, pause) in actual.pauses.iter().filter(|(_, pause)| lasts(pause.until)) {
        if applied.state.workflows.get(name).is_some_and(|workflow| workflow.paused.is_none()) {
            let name = name.to_string();
            lines.push(line(DriftKind::Workflow, name, "runs", "paused", pause.until, Some(&pause.reason)));
        }
    }
    lines.sort();
    lines
}

#[cfg(test)]
mod tests {
    use super::super::fixture::*;
    use super::*;
    use crate::domain::Pause;

    const NOW: Timestamp = Timestamp::from_millis(1_000);
    const LATER: Timestamp = Timestamp::from_millis(2_000);

    #[track_caller]
    fn check(change: impl FnOnce(&mut ActualState), want: &[(DriftKind, &str, &str, &str)]) {
        let mut actual = holding(state());
        change(&mut actual);
        let got = standing(&actual, NOW).drift;
        let got: Vec<_> = got
            .iter()
            .map(|line| (line.kind, line.object.as_str(), line.by_commit.as_str(), line.holds.as_str()))
            .collect();
        assert_eq!(got, want);
    }

    fn pause(until: Option<Timestamp>) -> Pause {
        Pause { reason: "an incident".to_owned(), until }
    }

    #[test]
    fn what_was_steered_by_command_is_drift() {
        check(|_| {}, &[]);
        check(
            |actual| drop(actual.revoked.insert(name("db"), [name("v1")].into())),
            &[(DriftKind::SecretVersion, "db v1", "current", "revoked")],
        );
        check(
            |actual| actual.suspended = Some(pause(None)),
            &[(DriftKind::Tenant, "acme", "served", "suspended")],
        );
        check(
            |actual| drop(actual.pauses.insert(name("report"), pause(Some(LATER)))),
            &[(DriftKind::Workflow, "report", "runs", "paused")],
        );
    }

    #[test]
    fn what_is_over_or_what_git_says_too_is_none() {
        check(|actual| actual.suspended = Some(pause(Some(NOW))), &[]);
        check(|actual| drop(actual.pauses.insert(name("report"), pause(Some(NOW)))), &[]);
        check(|actual| drop(actual.pauses.insert(name("gone"), pause(None))), &[]);
        check(
            |actual| {
                actual.suspended = Some(pause(None));
                actual.applied.as_mut().unwrap().state.settings.suspend = Some(pause(None));
            },
            &[],
        );
        check(
            |actual| {
                actual.suspended = Some(pause(None));
                actual.removed = Some(NOW);
            },
            &[],
        );
    }

    #[test]
    fn where_it_stands_goes_over_the_wire_and_back() {
        let mut actual = holding(state());
        actual.revoked.insert(name("db"), [name("v1")].into());
        let standing = standing(&actual, NOW);
        assert_eq!(standing.applied_commit, actual.applied.map(|applied| applied.commit));
        let text = serde_json::to_string(&standing).unwrap();
        assert_eq!(serde_json::from_str::<Standing>(&text).unwrap(), standing);
    }
}
