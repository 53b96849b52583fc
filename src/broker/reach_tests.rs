use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::domain::{
    Actor, Applied, ChangeKeys, DaemonPart, Delivery, Length, ObjectId, OnRevoke, Resources, Retry,
    SecretUse, Step, TenantSettings, TenantState, Trigger, TriggerKind, Waits, Work, Workflow,
};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const SECOND: Length = Length::from_secs(1);

fn step(secrets: &[&str]) -> Step {
    let secrets = secrets
        .iter()
        .map(|name| SecretUse { name: name.parse().unwrap(), delivery: Delivery::Socket, alias: None })
        .collect();
    Step {
        id: "main".parse().unwrap(),
        waits: Waits::Nothing,
        condition: None,
        work: Work::Inline { shell: Default::default(), text: "true".into() },
        args: vec![],
        secrets,
        with: None,
        network: vec![],
        resources: Resources::default(),
        retry: Retry::default(),
        timeout: SECOND,
        outputs: BTreeMap::new(),
        for_each: None,
    }
}

fn version(id: &str, state: VersionState, accept_until: Option<Timestamp>) -> SecretVersion {
    SecretVersion {
        id: id.parse().unwrap(),
        state,
        created: None,
        accept_until,
        file: format!("tenants/acme/secrets/token.{id}.sops.yaml"),
        blob: Some("0123456789012345678901234567890123456789".parse().unwrap()),
    }
}

/// `token` has a pending v5, a current v4, previous v3 (until in a second) and v2 (over), a revoked v1.
fn token() -> Secret {
    Secret {
        name: "token".parse().unwrap(),
        owner: "owen".parse().unwrap(),
        purposes: BTreeSet::from([SecretPurpose::Step]),
        rotate_every: None,
        leaked_at: None,
        redact: true,
        on_revoke: OnRevoke::Mark,
        versions: vec![
            version("v5", VersionState::Pending, None),
            version("v4", VersionState::Current, None),
            version("v3", VersionState::Previous, Some(NOW + SECOND)),
            version("v2", VersionState::Previous, Some(NOW)),
            version("v1", VersionState::Revoked, None),
        ],
    }
}

fn workflow(secrets: &[&str]) -> Workflow {
    Workflow {
        id: "billing".parse().unwrap(),
        description: None,
        triggers: Default::default(),
        inputs: BTreeMap::new(),
        files: BTreeMap::new(),
        concurrency: None,
        timeout: SECOND,
        alert: Default::default(),
        success_within: None,
        replay_safe: false,
        paused: None,
        runtime: None,
        uses: None,
        steps: vec![step(secrets)],
        on_failure: None,
    }
}

fn pins(secrets: &[&str]) -> RunPins {
    RunPins {
        id: "run_0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11".parse().unwrap(),
        tenant: "acme".parse().unwrap(),
        incarnation: 1,
        workflow: workflow(secrets),
        environment: None,
        commit: ObjectId::null(),
        tree: ObjectId::null(),
        generation: 1,
        trigger: Trigger { kind: TriggerKind::Manual, key: "k".into(), time: NOW },
        actor: Actor::Daemon(DaemonPart::Schedule),
        authors: BTreeSet::new(),
        body: serde_json::Value::Null,
        inputs: BTreeMap::new(),
        inputs_digest: String::new(),
        sealed: None,
        secret_versions: BTreeMap::new(),
        concurrency_key: None,
        rerun_of: None,
        named_by: None,
        keeps: None,
        created_at: NOW,
    }
}

fn applied(secrets: &[&str], index: Vec<Secret>) -> ActualState {
    let state = TenantState {
        settings: TenantSettings {
            kind: Default::default(),
            owner: "owen".parse().unwrap(),
            environment: None,
            region: None,
            timezone: "UTC".into(),
            isolation: Default::default(),
            recipients: vec![],
            recovery: vec![],
            delivery: BTreeSet::from([DeliveryKind::Socket]),
            limits: Default::default(),
            retention: Default::default(),
            egress: BTreeSet::new(),
            alert_routes: vec![],
            slo: None,
            suspend: None,
        },
        grants: BTreeSet::new(),
        elevations: BTreeMap::new(),
        groups: BTreeMap::new(),
        secrets: index.into_iter().map(|secret| (secret.name.clone(), secret)).collect(),
        workflows: BTreeMap::from([("billing".parse().unwrap(), workflow(secrets))]),
    };
    let applied = Applied {
        commit: ObjectId::null(),
        digest: String::new(),
        keys: ChangeKeys::default(),
        at: NOW,
        authors: BTreeSet::new(),
        state,
    };
    ActualState { applied: Some(applied), ..ActualState::empty("acme".parse().unwrap()) }
}

fn ask(
    pins: &RunPins,
    actual: &ActualState,
    wanted: &str,
    delivery: DeliveryKind,
) -> Result<Vec<String>, OutOfReach> {
    let wanted = match wanted {
        "current" => Wanted::Current,
        "all" => Wanted::All,
        id => Wanted::Version(id.parse().unwrap()),
    };
    let (step, name) = ("main".parse().unwrap(), "token".parse().unwrap());
    offered(pins, &step, actual, &name, &wanted, delivery, NOW)
        .map(|(_, versions)| versions.iter().map(|version| version.id.to_string()).collect())
}

#[track_caller]
fn check(wanted: &str, want: Result<&[&str], OutOfReach>) {
    let got = ask(&pins(&["token"]), &applied(&["token"], vec![token()]), wanted, DeliveryKind::Socket);
    assert_eq!(got, want.map(|ids| ids.iter().map(ToString::to_string).collect()), "{wanted}");
}

#[test]
fn version_states_decide_what_is_given_out() {
    check("current", Ok(&["v4"]));
    check("all", Ok(&["v4", "v3"]));
    check("v5", Ok(&["v5"]));
    check("v4", Ok(&["v4"]));
    check("v3", Ok(&["v3"]));
    check("v2", Err(OutOfReach::Gone("the time of this previous version is over")));
    check("v1", Err(OutOfReach::Gone("the version is revoked")));
    check("v9", Err(OutOfReach::Unknown("the secret has no such version")));
}

#[test]
fn a_secret_counts_only_if_the_step_had_it_then_and_has_it_now() {
    let now = |secrets: &[&str]| applied(secrets, vec![token()]);
    let socket = DeliveryKind::Socket;
    assert_eq!(ask(&pins(&["token"]), &now(&["token"]), "current", socket), Ok(vec!["v4".into()]));
    for (then, applied) in
        [(pins(&["other"]), now(&["token"])), (pins(&["token"]), now(&["other"])), (pins(&[]), now(&[]))]
    {
        assert!(matches!(ask(&then, &applied, "current", socket), Err(OutOfReach::NotDeclared(_))));
    }
    let mut gone = now(&["token"]);
    gone.applied.as_mut().unwrap().state.workflows.clear();
    assert!(matches!(ask(&pins(&["token"]), &gone, "current", socket), Err(OutOfReach::NotDeclared(_))));
}

#[test]
fn another_tenant_or_another_tenant_of_that_name_gives_nothing() {
    let mut globex = applied(&["token"], vec![token()]);
    globex.tenant = "globex".parse().unwrap();
    let mut returned = applied(&["token"], vec![token()]);
    returned.incarnation = 2;
    let mut removed = applied(&["token"], vec![token()]);
    removed.removed = Some(NOW);
    for actual in [globex, returned, removed, ActualState::empty("acme".parse().unwrap())] {
        assert_eq!(
            ask(&pins(&["token"]), &actual, "current", DeliveryKind::Socket),
            Err(OutOfReach::NotDeclared("the tenant is no longer there"))
        );
    }
}

#[test]
fn what_a_command_revoked_stays_revoked_whatever_the_index_says() {
    let mut actual = applied(&["token"], vec![token()]);
    actual.revoked.insert("token".parse().unwrap(), BTreeSet::from(["v4".parse().unwrap()]));
    let ask = |wanted| ask(&pins(&["token"]), &actual, wanted, DeliveryKind::Socket);
    assert_eq!(ask("current"), Err(OutOfReach::Gone("the version is revoked")));
    assert_eq!(ask("v4"), Err(OutOfReach::Gone("the version is revoked")));
    assert_eq!(ask("all"), Ok(vec!["v3".into()]));
}

#[test]
fn purpose_and_way_of_delivery_are_walls_too() {
    let actual = applied(&["token"], vec![token()]);
    assert_eq!(
        ask(&pins(&["token"]), &actual, "current", DeliveryKind::Env),
        Err(OutOfReach::NotDeclared("the tenant forbids this way of delivery"))
    );
    let webhook = Secret { purposes: BTreeSet::from([SecretPurpose::Webhook]), ..token() };
    assert_eq!(
        ask(&pins(&["token"]), &applied(&["token"], vec![webhook]), "current", DeliveryKind::Socket),
        Err(OutOfReach::NotDeclared("the secret's `use` does not name steps"))
    );
    assert_eq!(
        ask(&pins(&["token"]), &applied(&["token"], vec![]), "current", DeliveryKind::Socket),
        Err(OutOfReach::Unknown("the index has no such secret"))
    );
}

#[test]
fn without_a_current_version_the_answer_says_which_kind_of_nothing_it_is() {
    let only = |state| Secret { versions: vec![version("v1", state, None)], ..token() };
    let ask = |secret, wanted| {
        ask(&pins(&["token"]), &applied(&["token"], vec![secret]), wanted, DeliveryKind::Socket)
    };
    assert_eq!(
        ask(only(VersionState::Revoked), "current"),
        Err(OutOfReach::Gone("every version that was current is revoked"))
    );
    assert_eq!(
        ask(only(VersionState::Pending), "current"),
        Err(OutOfReach::Unknown("the secret has no current version"))
    );
    assert_eq!(
        ask(only(VersionState::Pending), "all"),
        Err(OutOfReach::Gone("no version is accepted any more"))
    );
    let mut missing = token();
    missing.versions[1].blob = None;
    assert_eq!(ask(missing, "current"), Err(OutOfReach::Unknown("the version's file is missing")));
}
