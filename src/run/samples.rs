//! Small valid values that tests of several rooms start from.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::domain::{
    Actor, AlertLevel, Ceilings, Concurrency, Isolation, Length, OnLimit, Principal, Resources, Retention,
    Retry, RunPins, Shell, Step, TenantKind, TenantSettings, TenantState, Timestamp, Trigger, TriggerKind,
    Triggers, Waits, Work, Workflow,
};

pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + secs * 1000)
}

pub(crate) fn step(name: &str, waits: Waits) -> Step {
    Step {
        id: name.parse().expect("a name"),
        waits,
        condition: None,
        work: Work::Inline { shell: Shell::Sh, text: "true".into() },
        args: Vec::new(),
        secrets: Vec::new(),
        with: None,
        network: Vec::new(),
        resources: Resources::default(),
        retry: Retry { jitter: false, ..Retry::default() },
        timeout: Length::from_secs(600),
        outputs: BTreeMap::new(),
        for_each: None,
    }
}

pub(crate) fn workflow(steps: Vec<Step>) -> Workflow {
    Workflow {
        id: "sync".parse().expect("a name"),
        description: None,
        triggers: Triggers::default(),
        inputs: BTreeMap::new(),
        files: BTreeMap::new(),
        concurrency: Some(Concurrency { key: String::new(), limit: 1, on_limit: OnLimit::Queue }),
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

pub(crate) fn settings() -> TenantSettings {
    TenantSettings {
        kind: TenantKind::Customer,
        owner: Principal::User("alice".parse().expect("a name")),
        environment: Some("production".into()),
        region: None,
        timezone: "UTC".into(),
        isolation: Isolation::Soft,
        recipients: Vec::new(),
        recovery: Vec::new(),
        delivery: BTreeSet::new(),
        limits: Ceilings::default(),
        retention: Retention::default(),
        egress: BTreeSet::new(),
        alert_routes: Vec::new(),
        slo: None,
        suspend: None,
    }
}

pub(crate) fn tenant_state() -> TenantState {
    TenantState {
        settings: settings(),
        grants: BTreeSet::new(),
        elevations: BTreeMap::new(),
        groups: BTreeMap::new(),
        secrets: BTreeMap::new(),
        workflows: BTreeMap::new(),
    }
}

pub(crate) fn pins(workflow: Workflow) -> RunPins {
    RunPins {
        id: "run_0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11".parse().expect("an id"),
        tenant: "acme".parse().expect("a name"),
        incarnation: 1,
        workflow,
        environment: Some("production".into()),
        commit: "a".repeat(40).parse().expect("an id"),
        tree: "b".repeat(40).parse().expect("an id"),
        generation: 1,
        trigger: Trigger { kind: TriggerKind::Manual, key: "1".into(), time: at(0) },
        actor: Actor::User("alice".parse().expect("a name")),
        authors: BTreeSet::new(),
        body: serde_json::Value::Null,
        sealed: None,
        inputs: BTreeMap::from([("day".parse().expect("a name"), json!("2026-11-23"))]),
        inputs_digest: "sha256:0".into(),
        secret_versions: BTreeMap::new(),
        concurrency_key: None,
        rerun_of: None,
        named_by: None,
        keeps: None,
        created_at: at(0),
    }
}
