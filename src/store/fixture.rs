//! Tenants, runs and permits as the tests of this room need them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Application, Report, StoreError};
use crate::authz::{Action, Facts, Permit, Standing, action, decide, decide_step};
use crate::domain::{
    Actor, ActualState, Approver, AuditEntry, Ceilings, ChangeControlMode, ChangeKeys, CommitId, Concurrency,
    Grant, Isolation, Length, OnLimit, OnTimeout, Outcome, Platform, Principal, Removals, Resources, Retry,
    Role, RunId, RunPins, Shell, Status, StatusRow, Step, StepApproval, TenantId, TenantKind, TenantSettings,
    TenantState, Timestamp, Trigger, TriggerKind, Triggers, Waits, Work, Workflow,
};
use crate::record::AttemptRecord;
use crate::run::{Decision, Verdict};

/// When every test begins.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_764_000_000_000);

pub(crate) fn at(seconds: u64) -> Timestamp {
    START + Length::from_secs(seconds)
}

pub(crate) fn commit(number: u64) -> CommitId {
    format!("{number:040x}").parse().unwrap()
}

pub(crate) fn tenant_id(name: &str) -> TenantId {
    name.parse().unwrap()
}

pub(crate) fn run_id(number: u64) -> RunId {
    RunId::from_uuid(uuid::Uuid::from_u128(u128::from(number)))
}

fn step(id: &str) -> Step {
    Step {
        id: id.parse().unwrap(),
        waits: Waits::Nothing,
        condition: None,
        work: Work::Inline { shell: Shell::Sh, text: "true".to_owned() },
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

/// A workflow whose steps run one after the other.
pub(crate) fn workflow(id: &str, steps: &[&str]) -> Workflow {
    let mut all: Vec<Step> = Vec::new();
    for name in steps {
        let mut next = step(name);
        next.waits = match all.last() {
            Some(last) => Waits::Above(last.id.clone()),
            None => Waits::Nothing,
        };
        all.push(next);
    }
    Workflow {
        id: id.parse().unwrap(),
        description: None,
        triggers: Triggers::default(),
        inputs: BTreeMap::new(),
        files: BTreeMap::new(),
        concurrency: None,
        timeout: Length::from_secs(3_600),
        alert: Default::default(),
        success_within: None,
        replay_safe: false,
        paused: None,
        runtime: None,
        uses: None,
        steps: all,
        on_failure: None,
    }
}

/// A workflow that asks the auditor between two steps, for an hour.
pub(crate) fn asking(id: &str) -> Workflow {
    let mut flow = workflow(id, &["one", "agree", "two"]);
    flow.steps[1].work = Work::Approval(StepApproval {
        from: vec![Approver::Role(Role::Auditor)],
        count: 1,
        timeout: Length::from_secs(3_600),
        on_timeout: OnTimeout::Reject,
    });
    flow
}

/// The right of a person to answer what [`asking`] asks.
pub(crate) fn answer_right(
    who: &str,
    actual: &ActualState,
    now: Timestamp,
) -> Result<Permit<action::ApproveStep>, crate::authz::Refusal> {
    let platform = platform();
    let facts = Facts::of(actual, Some(&platform));
    decide_step(&Actor::User(who.parse().unwrap()), &facts, &[Approver::Role(Role::Auditor)], now)
}

/// The answer of a person to the step `agree` of a run.
pub(crate) fn answer(who: &str, verdict: Verdict, shown: &str) -> Decision {
    Decision {
        step: "agree".parse().unwrap(),
        by: who.parse().unwrap(),
        verdict,
        shown: shown.to_owned(),
        reason: None,
        lapsed: BTreeSet::new(),
    }
}

/// A workflow of one step that shares a concurrency key.
pub(crate) fn exclusive(id: &str, on_limit: OnLimit) -> Workflow {
    Workflow {
        concurrency: Some(Concurrency { key: "one".to_owned(), limit: 1, on_limit }),
        ..workflow(id, &["main"])
    }
}

/// A tenant with carol as operator, olga as owner, and the named workflows of one step.
pub(crate) fn state(workflows: &[Workflow]) -> TenantState {
    let user = |name: &str| Principal::User(name.parse().unwrap());
    TenantState {
        settings: TenantSettings {
            kind: TenantKind::Customer,
            owner: user("olga"),
            environment: None,
            region: None,
            timezone: "UTC".to_owned(),
            isolation: Isolation::Soft,
            recipients: Vec::new(),
            recovery: Vec::new(),
            delivery: BTreeSet::new(),
            limits: Ceilings::default(),
            retention: Default::default(),
            egress: BTreeSet::new(),
            alert_routes: Vec::new(),
            slo: None,
            suspend: None,
        },
        grants: [
            Grant { role: Role::Operator, principal: user("carol") },
            Grant { role: Role::Owner, principal: user("olga") },
            Grant { role: Role::Auditor, principal: user("audrey") },
        ]
        .into(),
        elevations: BTreeMap::new(),
        groups: BTreeMap::new(),
        secrets: BTreeMap::new(),
        workflows: workflows.iter().map(|workflow| (workflow.id.clone(), workflow.clone())).collect(),
    }
}

pub(crate) fn status(tenant: &TenantId, status: Status, number: u64) -> StatusRow {
    StatusRow {
        tenant: Some(tenant.clone()),
        status,
        observed_commit: Some(commit(number)),
        last_attempted_commit: Some(commit(number)),
        last_applied_commit: None,
        restricted_commit: None,
        applied_generation: 0,
        retry_at: None,
        failures: 0,
        held: Vec::new(),
        findings: Vec::new(),
        pinned: None,
        conditions: Vec::new(),
        keys: ChangeKeys::default(),
        at: START,
    }
}

pub(crate) fn entry(action: &str, at: Timestamp) -> AuditEntry {
    AuditEntry {
        at,
        tenant: None,
        actor: Actor::User("carol".parse().unwrap()),
        action: action.to_owned(),
        resource: "workflow:w".to_owned(),
        allowed: true,
        reason: "asked".to_owned(),
        commit: None,
        run: None,
    }
}

/// The application of a state at the commit of a number.
pub(crate) fn application(
    tenant: &TenantId,
    expected: u64,
    number: u64,
    next: Option<TenantState>,
) -> Application {
    Application {
        expected_generation: expected,
        commit: commit(number),
        keys: ChangeKeys::default(),
        digest: next.as_ref().map(TenantState::digest),
        next,
        authors: BTreeSet::new(),
        removals: Removals::default(),
        removals_only: false,
        runs: Vec::new(),
        audit: vec![entry("tenant.applied", START)],
        status: status(tenant, Status::Applied, number),
    }
}

pub(crate) fn pins(tenant: &TenantId, workflow: &Workflow, number: u64, now: Timestamp) -> RunPins {
    RunPins {
        id: run_id(number),
        tenant: tenant.clone(),
        incarnation: 1,
        workflow: workflow.clone(),
        environment: None,
        commit: commit(1),
        tree: commit(2),
        generation: 1,
        trigger: Trigger { kind: TriggerKind::Manual, key: format!("request-{number}"), time: now },
        actor: Actor::User("carol".parse().unwrap()),
        authors: BTreeSet::new(),
        body: Value::Null,
        inputs: BTreeMap::new(),
        inputs_digest: "none".to_owned(),
        sealed: None,
        secret_versions: BTreeMap::new(),
        concurrency_key: workflow.concurrency.as_ref().map(|concurrency| concurrency.key.clone()),
        rerun_of: None,
        named_by: None,
        keeps: None,
        created_at: now,
    }
}

/// The platform that people and no admin stand in.
pub(crate) fn platform() -> Platform {
    let person =
        crate::domain::Person { name: None, email: None, keys: Vec::new(), identities: BTreeMap::new() };
    let users = ["carol", "olga", "audrey"].map(|name| (name.parse().unwrap(), person.clone()));
    Platform {
        settings: crate::domain::Settings {
            id: "0192f1c2-0000-7000-8000-000000000000".to_owned(),
            name: "test".to_owned(),
            branch: "main".to_owned(),
            on_rewrite: Default::default(),
            mode: ChangeControlMode::Open,
            policy: "none".to_owned(),
            limits: Ceilings::default(),
            retention: Default::default(),
            recovery: Vec::new(),
            private: Vec::new(),
            indexes: Vec::new(),
            mail: false,
        },
        people: crate::domain::People { users: users.into(), ..Default::default() },
        admins: BTreeSet::new(),
        maintainers: BTreeMap::new(),
    }
}

/// The right of a person as the store's state gives it now.
pub(crate) fn right<A: Action>(who: &str, actual: &ActualState, now: Timestamp) -> Permit<A> {
    let platform = platform();
    let facts = Facts::of(actual, Some(&platform));
    decide::<A>(&Actor::User(who.parse().unwrap()), &facts, now)
        .unwrap_or_else(|refusal| panic!("{who} may not {}: {}", A::NAME, refusal.reason))
}

pub(crate) fn reconcile(actual: &ActualState, now: Timestamp) -> Permit<action::Reconcile> {
    Permit::for_reconcile(&Standing::of(actual), now)
}

pub(crate) fn schedule(actual: &ActualState, now: Timestamp) -> Permit<action::Schedule> {
    Permit::for_schedule(&Standing::of(actual), now).unwrap()
}

pub(crate) fn report(outcome: Outcome) -> Report {
    Report {
        outcome,
        reason: (outcome != Outcome::Success).then(|| "exited with code 1".to_owned()),
        outputs: BTreeMap::new(),
        record: AttemptRecord { exit: Value::Null, log_bytes: 7, ..AttemptRecord::default() },
        log_end: Vec::new(),
    }
}

/// What an operation was refused for, in one word.
pub(crate) fn refusal(error: &StoreError) -> &'static str {
    match error {
        StoreError::Moved { .. } => "moved",
        StoreError::Denied(_) => "denied",
        StoreError::Stale(_) => "stale",
        StoreError::Refused(_) => "refused",
        StoreError::NotFound => "not found",
        StoreError::Unavailable { .. } => "unavailable",
        StoreError::Newer { .. } => "newer",
        StoreError::Corrupt { .. } => "corrupt",
    }
}
