//! `show tenant T`: what is understood of a tenant from its files alone, without a daemon.

use std::path::Path;

use serde_json::{Value, json};

use super::page::{self, Format, columns, shown, text};
use super::{Ending, now};
use crate::desired;
use crate::domain::{
    DesiredState, Elevation, ScheduleTrigger, Secret, Severity, Step, TenantId, TenantState, Timestamp,
    Window, Work, Workflow,
};
use crate::schedule::{Cron, Zone};
use crate::source::LocalRepository;

/// Fire times of a schedule that are shown.
const NEXT_MAX: usize = 3;

/// Shows a tenant of a repository as `validate` understands it: of a revision, or of the work tree.
///
/// # Errors
/// [`Ending::No`] for a tenant that is not there or is not valid.
pub fn show(tenant: &TenantId, repo: &Path, rev: Option<&str>, format: Format) -> Result<(), Ending> {
    let repository = LocalRepository::open(repo).map_err(Ending::could_not)?;
    let snapshot = match rev {
        Some(name) => {
            let commit = repository.resolve(name).map_err(|error| Ending::No(error.to_string()))?;
            repository.at(&commit)
        }
        None => repository.work_tree(),
    };
    let snapshot = snapshot.map_err(Ending::could_not)?;
    let listing = snapshot.listing().map_err(Ending::could_not)?;
    if !listing.tenants.contains_key(tenant) {
        let names: Vec<_> = listing.tenants.keys().map(ToString::to_string).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(Ending::No(format!("no tenant `{tenant}` in this repository; its tenants: {names}")));
    }
    let shared = snapshot.platform_tree().map_err(Ending::could_not)?;
    let (platform, found) = desired::read_platform(&shared);
    let platform = platform.ok_or_else(|| {
        Ending::No(format!("{} in the platform's files: `tenantry validate` shows them", mistakes(&found)))
    })?;
    let tree = snapshot.tenant_tree(tenant).map_err(Ending::could_not)?;
    let (state, found) = desired::read(&platform, &listing, &shared, &tree, tenant);
    let Some(state) = state else {
        let message = format!("{}: `tenantry validate --tenant {tenant}` shows them", mistakes(&found));
        return Err(Ending::No(message));
    };
    let document = document(&state, rev.is_some(), now());
    match format {
        Format::Json => page::json(&document),
        Format::Human => human(&document),
    }
    Ok(())
}

fn mistakes(found: &[crate::domain::Diagnostic]) -> String {
    match found.iter().filter(|one| one.severity == Severity::Error).count() {
        1 => "1 mistake".to_owned(),
        count => format!("{count} mistakes"),
    }
}

/// `tenantry.tenant/1`. `revision` is null for a work tree.
fn document(desired: &DesiredState, committed: bool, now: Timestamp) -> Value {
    let DesiredState { tenant, state, revision, .. } = desired;
    let settings = &state.settings;
    json!({
        "schema": "tenantry.tenant/1",
        "tenant": tenant,
        "revision": committed.then_some(&revision.commit),
        "settings": {
            "kind": settings.kind,
            "owner": settings.owner,
            "environment": settings.environment,
            "region": settings.region,
            "timezone": settings.timezone,
            "isolation": settings.isolation,
            "delivery": settings.delivery,
            "egress": settings.egress,
            "limits": {
                "concurrency": settings.limits.concurrency,
                "memory_bytes": settings.limits.memory.map(crate::domain::ByteSize::as_bytes),
                "run_timeout_ms": settings.limits.run_timeout.map(crate::domain::Length::as_millis),
                "elevation_max_ms": settings.limits.elevation_max.map(crate::domain::Length::as_millis),
                "tier": settings.limits.tier,
            },
            "suspend": settings.suspend,
        },
        "grants": state.grants.iter().map(|grant| json!({
            "role": grant.role,
            "principal": grant.principal,
            "members": members(state, &grant.principal),
        })).collect::<Vec<_>>(),
        "elevations": state.elevations.values().map(elevation).collect::<Vec<_>>(),
        "secrets": state.secrets.values().map(secret).collect::<Vec<_>>(),
        "workflows": state.workflows.values().map(|one| workflow(tenant, one, now)).collect::<Vec<_>>(),
    })
}

/// The people of a group; null for a person or a service.
fn members(state: &TenantState, principal: &crate::domain::Principal) -> Value {
    match principal {
        crate::domain::Principal::Group(group) => json!(state.groups.get(group)),
        crate::domain::Principal::User(_) | crate::domain::Principal::Service(_) => Value::Null,
    }
}

fn elevation(one: &Elevation) -> Value {
    let window = match one.window {
        Window::OnApply { length, ask_until } => {
            json!({ "for_ms": length.as_millis(), "ask_until": ask_until })
        }
        Window::Planned { from, until } => json!({ "from": from, "until": until }),
    };
    json!({ "id": one.id, "user": one.user, "role": one.role, "window": window, "reason": one.reason })
}

fn secret(one: &Secret) -> Value {
    let versions: Vec<_> = one
        .versions
        .iter()
        .map(|version| {
            json!({
                "id": version.id,
                "state": version.state,
                "created": version.created,
                "accept_until": version.accept_until,
                "file": version.file,
            })
        })
        .collect();
    json!({
        "name": one.name,
        "owner": one.owner,
        "use": one.purposes,
        "rotate_every_ms": one.rotate_every.map(crate::domain::Length::as_millis),
        "leaked_at": one.leaked_at,
        "versions": versions,
    })
}

fn workflow(tenant: &TenantId, one: &Workflow, now: Timestamp) -> Value {
    let triggers = &one.triggers;
    json!({
        "workflow": one.id,
        "description": one.description,
        "uses": one.uses,
        "paused": one.paused,
        "timeout_ms": one.timeout.as_millis(),
        "on": {
            "commit": triggers.commit.as_ref().map(|commit| json!({
                "paths": commit.paths,
                "first": commit.first,
                "each": commit.each,
            })),
            "schedule": triggers.schedules.iter().map(|entry| schedule(tenant, one, entry, now)).collect::<Vec<_>>(),
            "webhook": triggers.webhook.as_ref().map(|hook| json!({ "secret": hook.secret })),
        },
        "inputs": one.inputs.iter().map(|(name, input)| json!({
            "name": name,
            "type": input.value_type,
            "required": input.required,
            "sensitive": input.sensitive,
            "description": input.description,
        })).collect::<Vec<_>>(),
        "files": one.files.keys().collect::<Vec<_>>(),
        "steps": one.steps.iter().chain(one.on_failure.as_deref()).map(step).collect::<Vec<_>>(),
    })
}

/// With the times it fires at next; jitter comes on top of them.
fn schedule(tenant: &TenantId, workflow: &Workflow, entry: &ScheduleTrigger, now: Timestamp) -> Value {
    let mut next = Vec::new();
    let mut jitter = crate::domain::Length::default();
    if let (Ok(cron), Ok(zone)) = (Cron::parse(&entry.cron), Zone::parse(&entry.timezone)) {
        let times = std::iter::successors(cron.next_after(&zone, now), |last| cron.next_after(&zone, *last));
        next.extend(times.take(NEXT_MAX));
        if !entry.exact {
            jitter = cron.jitter(&format!("{tenant}/{}/{}", workflow.id, entry.entry));
        }
    }
    json!({
        "cron": entry.cron,
        "timezone": entry.timezone,
        "catch_up": entry.catch_up,
        "overlap": entry.overlap,
        "jitter_ms": jitter.as_millis(),
        "next": next,
    })
}

fn step(one: &Step) -> Value {
    let runs = match &one.work {
        Work::Script { path } => path.clone(),
        Work::Inline { .. } => "inline".to_owned(),
        Work::Approval(_) => "approval".to_owned(),
    };
    json!({
        "id": one.id,
        "after": one.waits.steps(),
        "if": one.condition,
        "for_each": one.for_each.as_ref().map(|each| &each.items),
        "runs": runs,
        "secrets": one.secrets.iter().map(|used| &used.name).collect::<Vec<_>>(),
        "network": one.network,
        "timeout_ms": one.timeout.as_millis(),
        "attempts": one.retry.attempts,
        "memory_bytes": one.resources.memory.as_bytes(),
    })
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

fn names(value: &Value, field: &str) -> String {
    let names: Vec<_> = list(value, field).filter_map(Value::as_str).map(shown).collect();
    names.join(", ")
}

fn human(document: &Value) {
    let settings = &document["settings"];
    let fact = |name: &str, value: &str| page::line(&format!("{name:<12} {}", shown(value)));
    fact("tenant", text(document, "tenant"));
    fact("revision", document["revision"].as_str().unwrap_or("the work tree"));
    for field in ["kind", "owner", "environment", "region", "timezone", "isolation"] {
        if let Some(value) = settings[field].as_str() {
            fact(field, value);
        }
    }
    if let Some(reason) = settings["suspend"]["reason"].as_str() {
        fact("suspended", reason);
    }
    for grant in list(document, "grants") {
        let members = names(grant, "members");
        let members = if members.is_empty() { members } else { format!(" ({members})") };
        fact(text(grant, "role"), &format!("{}{members}", text(grant, "principal")));
    }
    for one in list(document, "elevations") {
        let window = &one["window"];
        let when = match window["until"].as_str() {
            Some(until) => format!("from {} until {until}", text(window, "from")),
            None => format!(
                "for {}s once applied, before {}",
                window["for_ms"].as_u64().unwrap_or_default() / 1000,
                text(window, "ask_until")
            ),
        };
        let (id, user, role) = (text(one, "id"), text(one, "user"), text(one, "role"));
        fact("elevation", &format!("{id}: {user} is {role} {when}: {}", text(one, "reason")));
    }
    for secret in list(document, "secrets") {
        let versions: Vec<_> = list(secret, "versions")
            .map(|version| format!("{} {}", text(version, "id"), text(version, "state")))
            .collect();
        fact("secret", &format!("{} ({})", text(secret, "name"), versions.join(", ")));
    }
    for workflow in list(document, "workflows") {
        human_workflow(workflow);
    }
}

fn human_workflow(workflow: &Value) {
    page::line("");
    let description = workflow["description"].as_str().map(|text| format!(": {}", shown(text)));
    page::line(&format!("workflow {}{}", text(workflow, "workflow"), description.unwrap_or_default()));
    let on = &workflow["on"];
    let fact = |name: &str, value: &str| page::line(&format!("  {name:<10} {}", shown(value)));
    if let Some(uses) = workflow["uses"].as_str() {
        fact("uses", uses);
    }
    if let Some(reason) = workflow["paused"]["reason"].as_str() {
        fact("paused", reason);
    }
    if on["commit"].is_object() {
        let paths = names(&on["commit"], "paths");
        fact("on commit", if paths.is_empty() { "that changes it" } else { &paths });
    }
    for schedule in list(on, "schedule") {
        let next = schedule["next"][0].as_str().unwrap_or("never");
        let jitter = schedule["jitter_ms"].as_u64().unwrap_or_default() / 1000;
        let jitter = if jitter == 0 { String::new() } else { format!(" and {jitter}s of jitter") };
        let (cron, zone) = (text(schedule, "cron"), text(schedule, "timezone"));
        fact("on time", &format!("{cron} in {zone}, next {next}{jitter}"));
    }
    if let Some(secret) = on["webhook"]["secret"].as_str() {
        fact("on webhook", &format!("signed with {secret}"));
    }
    for input in list(workflow, "inputs") {
        let required = if input["required"] == true { ", required" } else { "" };
        fact("input", &format!("{} ({}{required})", text(input, "name"), text(input, "type")));
    }
    let rows: Vec<Vec<String>> = list(workflow, "steps")
        .map(|step| {
            vec![
                format!("  {}", text(step, "id")),
                names(step, "after"),
                shown(text(step, "runs")),
                names(step, "secrets"),
            ]
        })
        .collect();
    page::line(&columns(&["  STEP", "AFTER", "RUNS", "SECRETS"], &rows));
}
