//! The JSON that other people's scripts rely on. Fields may be added, never renamed.

use serde_json::{Value, json};

use crate::authz::Permit;
use crate::authz::action;
use crate::domain::{
    ActualState, AppliedCommit, AuditRecord, Condition, ConditionKind, InForce, Pause, PinNote, RunPins,
    Secret, SecretName, StatusRow, StepId, TenantId, Timestamp, VersionState,
};
use crate::record::RunRecord;
use crate::run::Kept;
use crate::store::SourceRow;

/// `tenantry.status/1`.
pub(super) fn status(
    source: &SourceRow,
    platform: Option<&StatusRow>,
    mut tenants: Vec<Value>,
    now: Timestamp,
) -> Value {
    let mut platform = platform.map(|row| status_row("platform", row, true, now));
    if let Some(stale) = stale_condition(source, now) {
        let all = tenants.iter_mut().chain(&mut platform);
        for conditions in all.filter_map(|tenant| tenant["conditions"].as_array_mut()) {
            conditions.push(json!(stale));
        }
    }
    json!({
        "schema": "tenantry.status/1",
        "source": {
            "head": source.head,
            "fetched_at": source.fetched_at,
            "state": source.state,
            "message": source.message,
            "held": source.held,
        },
        "platform": platform,
        "tenants": tenants,
    })
}

/// One tenant of it. What is wrong with its files is for those who may view it.
pub(super) fn status_row(tenant: &str, row: &StatusRow, findings: bool, now: Timestamp) -> Value {
    // A pin ends by the time alone, whether or not the loop has noted it.
    let pinned = row.pinned.as_ref().filter(|pin| now < pin.until);
    let mut conditions = row.conditions.clone();
    conditions.extend(pinned.map(pinned_condition));
    conditions.sort_by_key(|condition| condition.kind);
    let mut value = json!({
        "tenant": tenant,
        "status": row.status.as_str(),
        "observed_commit": row.observed_commit,
        "last_attempted_commit": row.last_attempted_commit,
        "last_applied_commit": row.last_applied_commit,
        "restricted_commit": row.restricted_commit,
        "applied_generation": row.applied_generation,
        "retry_at": row.retry_at,
        "failures": row.failures,
        "held": row.held,
        "pinned": pinned,
        "conditions": conditions,
        "at": row.at,
    });
    if findings {
        value["findings"] = json!(row.findings);
    }
    value
}

/// The steps at which runs wait for people: who may answer, how many have, until when.
pub(super) fn waiting(open: &[RunRecord]) -> Value {
    let asked = open.iter().flat_map(|run| {
        let steps = run.steps.iter().filter(|step| step.outcome.is_none());
        steps.filter_map(move |step| Some((run, &step.id, step.approval.as_ref()?)))
    });
    let told = asked.map(|(run, step, asked)| {
        json!({
            "run": run.id,
            "workflow": run.workflow,
            "step": step,
            "from": asked.from,
            "count": asked.count,
            "given": asked.given.len(),
            "asked_at": asked.asked_at,
            "until": asked.until,
        })
    });
    told.collect()
}

/// What a source that is not read, or not followed, means for every tenant: the row below is as of an older head.
fn stale_condition(source: &SourceRow, now: Timestamp) -> Option<Condition> {
    let reason = match source.state.as_str() {
        "current" => return None,
        "rewritten" => "Rewritten",
        "unreachable" => "Unreachable",
        _ => "Stale",
    };
    let message =
        source.message.clone().unwrap_or_else(|| "the repository was not read for a while".to_owned());
    let since = source.fetched_at.unwrap_or(now);
    Some(Condition {
        kind: ConditionKind::SourceStale,
        status: true,
        reason: reason.to_owned(),
        message,
        since,
    })
}

fn pinned_condition(pin: &PinNote) -> Condition {
    Condition {
        kind: ConditionKind::Pinned,
        status: true,
        reason: "ByCommand".to_owned(),
        message: format!("pinned at `{}` until {}: {}", pin.commit.short(), pin.until, pin.reason),
        since: pin.since,
    }
}

/// `tenantry.applied/1`: the commits that a tenant has applied, and which of them its code stands at.
pub(super) fn applied(actual: &ActualState, commits: &[AppliedCommit], now: Timestamp) -> Value {
    let code = actual.in_force(now);
    json!({
        "schema": "tenantry.applied/1",
        "tenant": actual.tenant,
        "in_force": code.as_ref().map(|code| code.commit),
        "pinned": code.and_then(|code| code.pin),
        "commits": commits,
    })
}

/// `tenantry.standing/1`: the applied commit of a tenant, and what holds in its place.
pub(super) fn standing(
    _permit: &Permit<action::ViewMetadata>,
    actual: &ActualState,
    now: Timestamp,
) -> Value {
    let mut document = json!(crate::plan::standing(actual, now));
    document["schema"] = json!("tenantry.standing/1");
    document
}

/// What a pin answers.
pub(super) fn pinned(tenant: &TenantId, pin: &PinNote) -> Value {
    json!({ "schema": "tenantry.pinned/1", "tenant": tenant, "pinned": pin })
}

/// Whether a run's code is the one in force, for whoever runs it again.
pub(super) fn code(run: &RunPins, code: &InForce<'_>) -> Value {
    let known = code.state.workflows.get(run.workflow_id());
    json!({
        "run": run.commit,
        "in_force": code.commit,
        "differs": known != Some(&run.workflow),
        "gone": known.is_none(),
    })
}

/// `tenantry.started/1` of a start that is only looked at: what would run, with what, and what it would wait for.
pub(super) fn would_start(
    pins: &RunPins,
    actual: &ActualState,
    kept: Option<&Kept>,
    now: Timestamp,
) -> Value {
    let steps: Vec<_> = pins
        .workflow
        .steps
        .iter()
        .map(|step| {
            let kept =
                kept.and_then(|kept| kept.steps.get(&step.id)).map_or(0, std::collections::BTreeMap::len);
            let does = match (kept, &step.for_each) {
                (0, _) => "run",
                (_, None) => "keep",
                (_, Some(_)) => "run_rest",
            };
            json!({ "id": step.id, "does": does, "items_kept": kept })
        })
        .collect();
    let secrets: Vec<_> =
        pins.secret_versions.iter().map(|(name, version)| format!("{name}@{version}")).collect();
    json!({
        "schema": "tenantry.started/1",
        "dry_run": true,
        "workflow": pins.workflow.id,
        "commit": pins.commit,
        "inputs": pins.inputs.keys().collect::<Vec<_>>(),
        "secrets": secrets,
        "steps": steps,
        "waits": waits(pins, actual, now),
    })
}

/// Why a run that is made now would not start at once, as far as it is somebody's wish.
fn waits(pins: &RunPins, actual: &ActualState, now: Timestamp) -> Vec<String> {
    let by_git = actual.applied.as_ref().and_then(|applied| applied.state.settings.suspend.as_ref());
    let tenant = [actual.suspended.as_ref(), by_git].map(|pause| ("the tenant is suspended", pause));
    let in_force = actual.in_force(now);
    let written =
        in_force.as_ref().and_then(|code| code.state.workflows.get(pins.workflow_id())?.paused.as_ref());
    let workflow =
        [actual.pauses.get(pins.workflow_id()), written].map(|pause| ("the workflow is paused", pause));
    let told = |(what, pause): (&str, Option<&Pause>)| {
        let pause = pause.filter(|pause| pause.until.is_none_or(|until| now < until))?;
        let until = pause.until.map(|until| format!(" until {until}")).unwrap_or_default();
        Some(format!("{what}{until}: {}", pause.reason))
    };
    tenant.into_iter().chain(workflow).filter_map(told).collect()
}

/// `tenantry.runs/1`. `next` is the cursor of the next page, `null` on the last.
pub(super) fn runs(runs: &[RunRecord], limit: u32) -> Value {
    let full = runs.len() >= limit as usize;
    let next = runs.last().filter(|_| full).map(|run| &run.id);
    json!({ "schema": "tenantry.runs/1", "runs": runs, "next": next })
}

/// `tenantry.run/1`.
pub(super) fn run(run: &RunRecord) -> Value {
    json!({ "schema": "tenantry.run/1", "run": run })
}

/// `tenantry.decided/1`: what an answer to an approval came to.
pub(super) fn decided(run: &RunRecord, step: &StepId, done: &str, new: bool) -> Value {
    let known = run.steps.iter().find(|known| known.id == *step);
    json!({
        "schema": "tenantry.decided/1",
        "done": done,
        "known": !new,
        "run": run.id,
        "step": step,
        "state": known.map(|step| step.state),
        "outcome": known.and_then(|step| step.outcome),
        "approval": known.and_then(|step| step.approval.as_ref()),
    })
}

/// `tenantry.audit/1`. `next` is the sequence to go on after, `null` on the last page.
pub(super) fn audit(records: &[AuditRecord], limit: u32) -> Value {
    let full = records.len() >= limit as usize;
    let next = records.last().filter(|_| full).map(|record| record.sequence);
    json!({ "schema": "tenantry.audit/1", "records": records, "next": next })
}

/// `tenantry.workflows/1`, as in force.
pub(super) fn workflows(actual: &ActualState, now: Timestamp) -> Value {
    let code = actual.in_force(now);
    let workflows: Vec<_> = code
        .iter()
        .flat_map(|code| code.state.workflows.values())
        .map(|workflow| {
            json!({
                "workflow": workflow.id,
                "description": workflow.description,
                "inputs": workflow.inputs,
                "schedules": workflow.triggers.schedules.iter().map(|one| &one.cron).collect::<Vec<_>>(),
                "steps": workflow.steps.iter().map(|step| &step.id).collect::<Vec<_>>(),
                "paused": workflow.paused.is_some() || actual.pauses.contains_key(&workflow.id),
            })
        })
        .collect();
    json!({ "schema": "tenantry.workflows/1", "tenant": actual.tenant, "workflows": workflows })
}

/// `tenantry.secrets/1`: names, versions and states. The permit is what makes them visible.
pub(super) fn secrets(_: &Permit<action::ViewMetadata>, actual: &ActualState) -> Value {
    let index: Vec<_> = actual
        .applied
        .iter()
        .flat_map(|applied| applied.state.secrets.values())
        .map(|secret| one_secret(&actual.tenant, secret, actual))
        .collect();
    json!({ "schema": "tenantry.secrets/1", "secrets": index })
}

fn one_secret(tenant: &TenantId, secret: &Secret, actual: &ActualState) -> Value {
    let versions: Vec<_> = secret
        .versions
        .iter()
        .map(|version| {
            let by_command = actual.is_revoked(&secret.name, &version.id);
            json!({
                "id": version.id,
                "state": if by_command { VersionState::Revoked } else { version.state },
                "written_state": version.state,
                "created": version.created,
                "accept_until": version.accept_until,
            })
        })
        .collect();
    json!({
        "tenant": tenant,
        "name": secret.name,
        "owner": secret.owner,
        "use": secret.purposes,
        "rotate_every_ms": secret.rotate_every.map(crate::domain::Length::as_millis),
        "leaked_at": secret.leaked_at,
        "versions": versions,
    })
}

/// What a revocation answers: the runs that had the version.
pub(super) fn revoked(secret: &SecretName, version: &str, runs: &[crate::domain::RunId]) -> Value {
    json!({ "schema": "tenantry.revoked/1", "secret": secret, "version": version, "runs": runs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_not_current_is_a_condition_of_everybody() {
        let now = Timestamp::from_millis(1_793_527_200_000);
        let source = |state: &str| SourceRow {
            head: None,
            fetched_at: Some(now),
            state: state.to_owned(),
            message: Some("the remote does not answer".to_owned()),
            held: None,
            released: None,
        };
        let conditions = |state: &str| {
            let tenant = json!({ "tenant": "acme", "conditions": [] });
            status(&source(state), None, vec![tenant], now)["tenants"][0]["conditions"].clone()
        };
        assert_eq!(conditions("current"), json!([]));
        assert_eq!(
            conditions("unreachable"),
            json!([{
                "type": "SourceStale",
                "status": true,
                "reason": "Unreachable",
                "message": "the remote does not answer",
                "since": now,
            }])
        );
    }
}
