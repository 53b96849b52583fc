//! A tenant to plan with: two workflows, a secret, an owner, an operator and a developer.

use std::collections::BTreeMap;

use serde_json::json;

use super::between;
use crate::domain::*;

pub(crate) const COMMIT: &str = "1111111111111111111111111111111111111111";

pub(crate) fn blob(digit: char) -> ObjectId {
    digit.to_string().repeat(40).parse().unwrap()
}

pub(crate) fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}

pub(crate) fn step(id: &str) -> Step {
    Step {
        id: name(id),
        waits: Waits::Nothing,
        condition: None,
        work: Work::Script { path: format!("scripts/{id}.py") },
        args: Vec::new(),
        secrets: Vec::new(),
        with: None,
        network: Vec::new(),
        resources: Resources::default(),
        retry: Retry::default(),
        timeout: Length::from_secs(600),
        outputs: BTreeMap::new(),
        for_each: None,
    }
}

pub(crate) fn workflow(id: &str, steps: Vec<Step>) -> Workflow {
    let files = steps.iter().map(|step| {
        let file = ScriptFile { id: blob('a'), mode: Mode::Executable, size: 10 };
        (format!("scripts/{}.py", step.id), file)
    });
    Workflow {
        id: name(id),
        description: None,
        triggers: Triggers::default(),
        inputs: BTreeMap::new(),
        files: files.collect(),
        concurrency: None,
        timeout: Length::from_secs(1800),
        alert: AlertLevel::Notify,
        success_within: None,
        replay_safe: false,
        paused: None,
        runtime: None,
        uses: None,
        steps,
        on_failure: None,
    }
}

pub(crate) fn on_commit(mut workflow: Workflow, first: bool) -> Workflow {
    workflow.triggers.commit =
        Some(CommitTrigger { paths: Vec::new(), watched: None, first, each: false, with: BTreeMap::new() });
    workflow
}

pub(crate) fn grant(role: Role, principal: &str) -> Grant {
    Grant { role, principal: name(principal) }
}

pub(crate) fn version(id: &str, state: VersionState) -> SecretVersion {
    SecretVersion {
        id: name(id),
        state,
        created: None,
        accept_until: None,
        file: format!("tenants/acme/secrets/db.{id}.sops.yaml"),
        blob: Some(blob('c')),
    }
}

pub(crate) fn secret(id: &str, versions: Vec<SecretVersion>) -> Secret {
    Secret {
        name: name(id),
        owner: name("group:owners"),
        purposes: [SecretPurpose::Step].into(),
        rotate_every: None,
        leaked_at: None,
        redact: true,
        on_revoke: OnRevoke::Mark,
        versions,
    }
}

pub(crate) fn state() -> TenantState {
    let pull = Step {
        secrets: vec![SecretUse { name: name("db"), delivery: Delivery::Socket, alias: None }],
        network: vec![name("db.acme.example:5432")],
        ..step("pull")
    };
    let workflows = [workflow("billing", vec![pull, step("load")]), workflow("report", vec![step("main")])];
    TenantState {
        settings: TenantSettings {
            kind: TenantKind::Customer,
            owner: name("group:owners"),
            environment: Some("production".into()),
            region: Some("eu".into()),
            timezone: "UTC".into(),
            isolation: Isolation::Soft,
            recipients: vec!["age1aaa".into()],
            recovery: Vec::new(),
            delivery: [DeliveryKind::Socket].into(),
            limits: Ceilings { concurrency: Some(4), ..Ceilings::default() },
            retention: Retention { logs: Some(Length::from_secs(86_400)), ..Retention::default() },
            egress: [name("db.acme.example:5432")].into(),
            alert_routes: vec![json!({ "email": "ops@acme.example" })],
            slo: None,
            suspend: None,
        },
        grants: [
            grant(Role::Owner, "group:owners"),
            grant(Role::Operator, "alice"),
            grant(Role::Developer, "bob"),
        ]
        .into(),
        elevations: BTreeMap::new(),
        groups: [(name("owners"), [name("olga"), name("otto")].into())].into(),
        secrets: [(name("db"), secret("db", vec![version("v1", VersionState::Current)]))].into(),
        workflows: workflows.into_iter().map(|workflow| (workflow.id.clone(), workflow)).collect(),
    }
}

pub(crate) fn elevation(id: &str) -> (ElevationId, Elevation) {
    let window = Window::OnApply { length: Length::from_secs(7200), ask_until: Timestamp::from_millis(0) };
    let elevation =
        Elevation { id: name(id), user: name("bob"), role: Role::Operator, window, reason: "stuck".into() };
    (name(id), elevation)
}

pub(crate) fn desired(state: TenantState) -> DesiredState {
    let revision = Revision { commit: name(COMMIT), branch: "main".into() };
    DesiredState { tenant: name("acme"), revision, keys: ChangeKeys::default(), state }
}

pub(crate) fn fresh() -> ActualState {
    ActualState::empty(name("acme"))
}

/// What the store makes of a plan that was applied as a whole.
pub(crate) fn applied(actual: &ActualState, plan: &Plan) -> ActualState {
    let mut actual = actual.clone();
    let next = plan.next.clone().unwrap();
    let digest = plan.digest.clone().unwrap();
    if actual.removed.take().is_some() {
        actual = ActualState { incarnation: actual.incarnation + 1, ..fresh() };
    }
    if actual.applied.as_ref().is_none_or(|applied| applied.digest != digest) {
        actual.generation += 1;
    }
    actual.elevations_ended.extend(plan.removals.elevations.iter().cloned());
    for (name, id) in &plan.removals.revoked {
        actual.revoked.entry(name.clone()).or_default().insert(id.clone());
    }
    let at = Timestamp::from_millis(0);
    actual.applied = Some(Applied {
        commit: name(COMMIT),
        digest,
        keys: plan.keys.clone(),
        at,
        authors: std::collections::BTreeSet::new(),
        state: next,
    });
    actual
}

pub(crate) fn holding(state: TenantState) -> ActualState {
    applied(&fresh(), &between(&desired(state), &fresh()))
}

/// The plan from one state to another.
pub(crate) fn plan(before: &TenantState, after: &TenantState) -> Plan {
    between(&desired(after.clone()), &holding(before.clone()))
}

/// The workflow that reads a secret.
pub(crate) fn billing(state: &mut TenantState) -> &mut Workflow {
    state.workflows.get_mut("billing").unwrap()
}
