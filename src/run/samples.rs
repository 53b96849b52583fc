//! Small valid values that tests of several rooms start from.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{
    AlertLevel, Ceilings, Concurrency, Isolation, Length, OnLimit, Principal, Resources, Retention, Retry,
    Shell, Step, TenantKind, TenantSettings, TenantState, Timestamp, Triggers, Waits, Work, Workflow,
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
