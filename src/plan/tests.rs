//! The plan as tables, snapshots and properties.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixture::*;
use super::*;
use crate::domain::*;

/// Changes the usual state and expects these lines: `OP CLASS KIND OBJECT`, in order, then the edges
/// without the digests.
#[track_caller]
fn check(change: impl FnOnce(&mut TenantState), lines: &[&str], edges: &[&str]) {
    let mut after = state();
    change(&mut after);
    let plan = plan(&state(), &after);
    let got: Vec<_> = plan
        .changes
        .iter()
        .map(|change| {
            let word = |value: Value| value.as_str().unwrap().to_owned();
            let kind = word(serde_json::to_value(change.kind).unwrap());
            let op = word(serde_json::to_value(change.op).unwrap());
            format!("{op} {} {kind} {}", change.class, change.object)
        })
        .collect();
    assert_eq!(got, lines);
    let words = regex::Regex::new(" ?(none|sha256:[0-9a-f]{64})(->(none|sha256:[0-9a-f]{64}))?").unwrap();
    let got: Vec<_> =
        plan.edges.iter().map(|edge| words.replace(&edge.to_string(), "").into_owned()).collect();
    assert_eq!(got, edges);
}

#[test]
fn each_change_has_its_class_and_its_edge() {
    check(|_| {}, &[], &[]);
    check(
        |state| {
            let _ = state.grants.insert(grant(Role::Operator, "group:ops"));
        },
        &["add grant grant operator group:ops"],
        &["+grant operator group:ops"],
    );
    check(
        |state| {
            let _ = state.grants.remove(&grant(Role::Developer, "bob"));
        },
        &["remove reduce grant developer user:bob"],
        &["-grant developer user:bob"],
    );
    check(
        |state| {
            state.grants.remove(&grant(Role::Owner, "group:owners"));
            state.grants.insert(grant(Role::Owner, "carol"));
            state.settings.owner = name("carol");
        },
        &["remove reduce grant owner group:owners", "add recipients grant owner user:carol"],
        &["+grant owner user:carol", "-grant owner group:owners"],
    );
    check(
        |state| {
            state.elevations.extend([elevation("inc-1")]);
        },
        &["add grant elevation inc-1"],
        &["+elevation inc-1 operator user:bob for 2h ask-until 1970-01-01T00:00:00Z"],
    );
    check(
        |state| {
            let _ = state.groups.get_mut("owners").unwrap().insert(name("mallory"));
        },
        &["add grant person group:owners user:mallory"],
        &["+member group:owners user:mallory"],
    );
    check(
        |state| {
            let _ = state.settings.egress.insert(name("evil.example:443"));
        },
        &["add reach egress evil.example:443"],
        &["+egress evil.example:443"],
    );
    check(
        |state| state.settings.recipients.push("age1bbb".into()),
        &["add recipients recipient age1bbb"],
        &["+recipient age1bbb"],
    );
    check(
        |state| state.settings.retention.logs = Some(Length::from_secs(3600)),
        &["change recipients policy retention.logs"],
        &["~setting retention.logs"],
    );
    check(
        |state| state.settings.isolation = Isolation::Hard,
        &["change tenant policy isolation"],
        &["~setting isolation"],
    );
}

#[test]
fn a_secret_is_told_by_name_version_and_state() {
    check(
        |state| {
            let secret = state.secrets.get_mut("db").unwrap();
            secret.versions[0].state = VersionState::Previous;
            secret.versions.push(version("v2", VersionState::Current));
        },
        &["change secret_value secret db@v1", "add secret_value secret db@v2"],
        &[
            "+secret db@v2 current cccccccccccccccccccccccccccccccccccccccc",
            "~secret db@v1 previous cccccccccccccccccccccccccccccccccccccccc",
        ],
    );
    check(
        |state| state.secrets.get_mut("db").unwrap().versions[0].state = VersionState::Revoked,
        &["change reduce secret db@v1"],
        &["-secret db@v1 revoked cccccccccccccccccccccccccccccccccccccccc"],
    );
    check(
        |state| state.secrets.get_mut("db").unwrap().redact = false,
        &["change recipients secret db.redact"],
        &["~secret db redact"],
    );
    check(|state| drop(state.secrets.remove("db")), &["remove secret_value secret db"], &["-secret db"]);
}

#[test]
fn a_workflow_is_compared_field_by_field() {
    check(
        |state| billing(state).steps[1].timeout = Length::from_secs(60),
        &["change reach limit billing/load.timeout"],
        &["~code workflow:billing"],
    );
    check(
        |state| state.workflows.get_mut("report").unwrap().steps[0].args = vec!["--all".into()],
        &["change code workflow report/main.args"],
        &["~code workflow:report"],
    );
    check(
        |state| state.workflows.get_mut("report").unwrap().steps[0].timeout = Length::from_secs(6000),
        &["change reach limit report/main.timeout"],
        &["+guard workflow:report report/main.timeout", "~code workflow:report"],
    );
    check(
        |state| {
            let secrets = &mut state.workflows.get_mut("report").unwrap().steps[0].secrets;
            secrets.push(SecretUse { name: name("db"), delivery: Delivery::Socket, alias: None });
        },
        &["change reach workflow report/main.secrets"],
        &[
            "+guard workflow:report report/main.secrets",
            "+reads workflow:report step:main secret:db",
            "~code workflow:report",
        ],
    );
    check(
        |state| billing(state).paused = Some(Pause { reason: "later".into(), until: None }),
        &["add reduce workflow billing.paused"],
        &["~code workflow:billing"],
    );
    check(
        |state| billing(state).steps.swap(0, 1),
        &["change reach workflow billing.order"],
        &["~code workflow:billing"],
    );
    check(
        |state| drop(state.workflows.remove("report")),
        &["remove reduce workflow report", "remove code script scripts/main.py"],
        &["-workflow report"],
    );
    check(
        |state| {
            let files = &mut state.workflows.get_mut("report").unwrap().files;
            files.get_mut("scripts/main.py").unwrap().id = blob('b');
        },
        &["change code script scripts/main.py"],
        &["~code workflow:report"],
    );
    check(
        |state| billing(state).files.get_mut("scripts/pull.py").unwrap().id = blob('b'),
        &["change reach script scripts/pull.py"],
        &["~code workflow:billing"],
    );
}

#[test]
fn what_is_destroyed_and_who_gains_access_stand_first() {
    let mut after = state();
    after.workflows.remove("report");
    after.settings.timezone = "Europe/Berlin".into();
    after.grants.insert(grant(Role::Auditor, "eve"));
    after.workflows.get_mut("billing").unwrap().description = Some("nightly".into());
    let plan = plan(&state(), &after);
    let objects: Vec<_> = plan.changes.iter().map(|change| change.object.as_str()).collect();
    assert_eq!(
        objects,
        ["report", "scripts/main.py", "billing.description", "auditor user:eve", "timezone"],
        "the description of a workflow that reads a secret is reach"
    );
}

#[test]
fn a_new_tenant_is_one_class() {
    let plan = between(&desired(state()), &fresh());
    assert!(plan.changes.iter().all(|change| change.class == Class::Tenant), "{:?}", plan.changes);
    assert!(plan.edges.iter().all(|edge| edge.class == Class::Tenant));
    assert!(plan.held.is_empty() && plan.removals.is_empty());
    assert_eq!(plan.base, None);
    let lines: Vec<_> = plan.edges.iter().map(ToString::to_string).collect();
    let mut sorted = lines.clone();
    sorted.sort();
    assert_eq!(lines, sorted, "edges stand in byte order");
    for want in ["+tenant acme", "+reads workflow:billing step:pull secret:db", "+grant operator user:alice"]
    {
        assert!(lines.iter().any(|line| line == want), "{want} is not in {lines:#?}");
    }
}

#[test]
fn the_end_of_a_tenant_is_one_change() {
    let actual = holding(state());
    let plan = removal(&actual, &desired(state()).revision, &ChangeKeys::default());
    assert_eq!(plan.next, None);
    assert_eq!(plan.generation, actual.generation);
    let objects: Vec<_> = plan.changes.iter().map(|c| (c.op, c.object.as_str(), c.class)).collect();
    assert_eq!(objects, [(Operation::Remove, "acme", Class::Tenant)]);
}

#[test]
fn a_name_that_returns_is_a_new_tenant() {
    let mut actual = holding(state());
    actual.removed = Some(Timestamp::from_millis(1));
    actual.revoked = [(name("db"), [name("v1")].into())].into();
    let plan = between(&desired(state()), &actual);
    assert_eq!(plan.base, None);
    assert!(plan.skipped.is_empty(), "{:?}", plan.skipped);
    assert_eq!(plan.changes[0].class, Class::Tenant);
    assert_eq!(plan.next.unwrap(), state());
}

// --- rule 5: which runs start ---

/// The workflows that start when one state follows another.
#[track_caller]
fn starts(before: Option<&TenantState>, after: &TenantState, want: &[&str]) {
    let actual = before.cloned().map_or_else(fresh, holding);
    let plan = between(&desired(after.clone()), &actual);
    let got: Vec<_> = plan.runs.iter().map(|run| run.workflow.as_str()).collect();
    assert_eq!(got, want, "{:?}", plan.changes);
}

#[test]
fn a_commit_trigger_fires_when_its_workflow_changes() {
    let mut before = state();
    let watched = on_commit(workflow("watched", vec![step("main")]), false);
    before.workflows.insert(name("watched"), watched.clone());
    starts(None, &before, &[]);
    starts(Some(&before), &before, &[]);
    starts(Some(&state()), &before, &[]);

    let mut first = before.clone();
    first.workflows.insert(name("watched"), on_commit(watched.clone(), true));
    starts(None, &first, &["watched"]);
    starts(Some(&state()), &first, &["watched"]);

    type Change = fn(&mut TenantState);
    let fires: [Change; 3] = [
        |state| state.workflows.get_mut("watched").unwrap().steps[0].args = vec!["x".into()],
        |state| {
            let files = &mut state.workflows.get_mut("watched").unwrap().files;
            files.get_mut("scripts/main.py").unwrap().id = blob('b');
        },
        |state| {
            let triggers = &mut state.workflows.get_mut("watched").unwrap().triggers;
            triggers.commit.as_mut().unwrap().watched = Some("other".into());
        },
    ];
    for change in fires {
        let mut after = before.clone();
        change(&mut after);
        starts(Some(&before), &after, &["watched"]);
    }
    let silent: [Change; 5] = [
        |state| state.workflows.get_mut("report").unwrap().steps[0].args = vec!["x".into()],
        |state| state.secrets.get_mut("db").unwrap().versions.push(version("v2", VersionState::Pending)),
        |state| {
            let _ = state.grants.insert(grant(Role::Auditor, "eve"));
        },
        |state| {
            let _ = state.groups.get_mut("owners").unwrap().insert(name("new"));
        },
        |state| {
            let pause = Pause { reason: "x".into(), until: None };
            state.workflows.get_mut("watched").unwrap().paused = Some(pause);
        },
    ];
    for change in silent {
        let mut after = before.clone();
        change(&mut after);
        starts(Some(&before), &after, &[]);
        starts(Some(&after), &before, &[]);
    }
}

#[test]
fn a_paused_or_suspended_trigger_says_why_it_does_not_fire() {
    let mut before = state();
    before.workflows.insert(name("watched"), on_commit(workflow("watched", vec![step("main")]), false));
    let mut after = before.clone();
    let watched = after.workflows.get_mut("watched").unwrap();
    watched.steps[0].args = vec!["x".into()];
    watched.paused = Some(Pause { reason: "x".into(), until: None });
    let paused = plan(&before, &after);
    assert!(paused.runs.is_empty());
    assert_eq!(paused.skipped, ["workflow `watched` is paused, so its commit trigger does not fire"]);
    after.workflows.get_mut("watched").unwrap().paused = None;
    after.settings.suspend = Some(Pause { reason: "x".into(), until: None });
    let suspended = plan(&before, &after);
    assert!(suspended.runs.is_empty());
    assert_eq!(suspended.skipped, ["the tenant is suspended, so `watched` does not start"]);
}

// --- rule 3: removals ---

#[test]
fn removals_are_taken_apart() {
    let mut before = state();
    before.elevations.extend([elevation("inc-1")]);
    let mut after = state();
    after.grants.remove(&grant(Role::Developer, "bob"));
    after.groups.get_mut("owners").unwrap().remove(&name::<UserId>("otto"));
    after.secrets.get_mut("db").unwrap().versions[0].state = VersionState::Revoked;
    let plan = plan(&before, &after);
    assert_eq!(plan.removals.grants, [grant(Role::Developer, "bob")]);
    assert_eq!(plan.removals.members, [(name("owners"), name("otto"))]);
    assert_eq!(plan.removals.elevations, [name("inc-1")]);
    assert_eq!(plan.removals.revoked, [(name("db"), name("v1"))]);
    assert_eq!(plan.removals.taken_from(&before), after, "nothing else differed");
}

#[test]
fn no_removal_leaves_a_tenant_without_owner_or_operator() {
    let mut after = state();
    after.grants.remove(&grant(Role::Operator, "alice"));
    after.grants.insert(grant(Role::Operator, "zoe"));
    let replaced = plan(&state(), &after);
    assert!(replaced.removals.grants.is_empty(), "goes with the change that brings the new one");
    let mut two = state();
    two.grants.insert(grant(Role::Operator, "zoe"));
    let one_of_two = plan(&two, &state());
    assert_eq!(one_of_two.removals.grants, [grant(Role::Operator, "zoe")]);
}

#[test]
fn what_ended_or_was_revoked_does_not_return() {
    let mut actual = holding(state());
    actual.revoked = [(name("db"), [name("v1")].into())].into();
    actual.elevations_ended = [name("inc-1")].into();
    let mut again = state();
    again.elevations.extend([elevation("inc-1"), elevation("inc-2")]);
    let plan = between(&desired(again), &actual);
    let next = plan.next.unwrap();
    assert_eq!(next.secrets["db"].versions[0].state, VersionState::Revoked);
    assert_eq!(next.elevations.keys().map(ElevationId::as_str).collect::<Vec<_>>(), ["inc-2"]);
    assert_eq!(
        plan.skipped,
        [
            "elevation `inc-1` has ended and does not return: use a new id",
            "version `v1` of secret `db` stays revoked: write `state: revoked` in secrets.yaml",
        ]
    );
    assert!(plan.removals.revoked.is_empty(), "it is revoked already");
}

#[test]
fn the_platform_takes_people_without_any_file_of_the_tenant() {
    let actual = holding({
        let mut state = state();
        state.elevations.extend([elevation("inc-1")]);
        state
    });
    let person = Person { name: None, email: None, keys: Vec::new(), identities: BTreeMap::new() };
    let users = ["alice", "olga"].map(|id| (name(id), person.clone())).into();
    let groups = [(name("owners"), [name("olga")].into())].into();
    let people = People { users, groups, services: BTreeMap::new() };
    let removals = restricted_by_platform(&actual, &people);
    assert_eq!(removals.members, [(name("owners"), name("otto"))]);
    assert_eq!(removals.grants, [grant(Role::Developer, "bob")]);
    assert_eq!(removals.elevations, [name("inc-1")]);
    let plan = restriction(removals, &actual, &desired(state()).revision, &ChangeKeys::default());
    assert!(plan.changes.iter().all(|change| change.class == Class::Reduce), "{:?}", plan.changes);
    assert_eq!(plan.changes.len(), 3);
}

#[test]
fn a_file_that_cannot_be_read_removes_nothing() {
    let actual = holding(state());
    assert!(restricted_by_files(&actual, None, None).is_empty());
    let grants = [grant(Role::Operator, "alice")].into();
    let revoked = [(name("db"), name("v1")), (name("db"), name("v9"))].into();
    let removals = restricted_by_files(&actual, Some((&grants, &BTreeSet::new())), Some(&revoked));
    assert_eq!(removals.grants, [grant(Role::Developer, "bob")], "the owner stands in another file");
    assert_eq!(removals.revoked.len(), 2);
}

// --- rule 8: the half of a tenant's workflows ---

#[test]
fn losing_half_of_the_workflows_is_held() {
    let with = |count: usize| {
        let mut state = state();
        state.workflows = (0..count)
            .map(|n| workflow(&format!("w{n}"), vec![step("main")]))
            .map(|w| (w.id.clone(), w))
            .collect();
        state
    };
    for (before, after, held) in
        [(2, 1, false), (2, 0, true), (4, 2, true), (5, 3, false), (5, 5, false), (1, 0, false)]
    {
        let plan = plan(&with(before), &with(after));
        assert_eq!(!plan.held.is_empty(), held, "{before} -> {after}");
    }
    let line = &plan(&with(4), &with(1)).held[0];
    assert_eq!(line.reason, HeldReason::PruneGuard);
    assert_eq!(line.edge, "would remove w1, w2, w3");
    assert_eq!(line.missing, ["tenantry release acme --reason …"]);
}

// --- every field counts ---

/// A state in which every field has a value.
fn full() -> TenantState {
    let mut state = state();
    let text = |text: &str| Value::from(text);
    let step = Step {
        condition: Some("true".into()),
        args: vec!["a".into()],
        with: Some([(name("day"), text("x"))].into()),
        outputs: [(name("count"), ValueType::Int)].into(),
        for_each: Some(ForEach { items: "x".into(), item_key: Some("y".into()), max_parallel: 2 }),
        waits: Waits::Above(name("pull")),
        ..step("more")
    };
    let approval = StepApproval {
        from: vec![Approver::Role(Role::Operator)],
        count: 1,
        timeout: Length::from_secs(60),
        on_timeout: OnTimeout::Reject,
    };
    let inline = Work::Inline { shell: Shell::Sh, text: "true\n".into() };
    let billing = billing(&mut state);
    billing.steps.extend([
        step.clone(),
        Step { id: name("agree"), work: Work::Approval(approval), ..step.clone() },
        Step { id: name("inline"), work: inline, ..step.clone() },
    ]);
    billing.on_failure = Some(Box::new(Step { id: name("on_failure"), ..step }));
    billing.description = Some("x".into());
    billing.concurrency = Some(Concurrency { key: "k".into(), limit: 1, on_limit: OnLimit::Queue });
    billing.success_within = Some(Length::from_secs(3600));
    billing.paused = Some(Pause { reason: "x".into(), until: Some(Timestamp::from_millis(0)) });
    billing.runtime = Some(RuntimeDigest::of([7; 32]));
    billing.uses = Some("shared/invoices".into());
    billing.inputs = [(
        name("day"),
        Input {
            value_type: ValueType::String,
            format: Some("date".into()),
            allowed: vec![text("x")],
            default: Some(text("x")),
            required: true,
            sensitive: true,
            description: Some("x".into()),
        },
    )]
    .into();
    let with: BTreeMap<FieldName, Value> = [(name("day"), text("x"))].into();
    billing.triggers = Triggers {
        commit: Some(CommitTrigger {
            paths: vec!["x".into()],
            watched: Some("x".into()),
            first: true,
            each: true,
            with: with.clone(),
        }),
        schedules: vec![ScheduleTrigger {
            entry: "x".into(),
            cron: "0 2 * * *".into(),
            timezone: "UTC".into(),
            catch_up: CatchUp::One,
            overlap: Overlap::Skip,
            exact: true,
            with: with.clone(),
        }],
        webhook: Some(WebhookTrigger { secret: name("db"), with }),
    };
    state.elevations.extend([elevation("inc-1")]);
    state.settings.recovery = vec!["age1rec".into()];
    state.settings.limits = Ceilings {
        concurrency: Some(1),
        memory: Some(ByteSize::from_mib(1)),
        run_timeout: Some(Length::from_secs(1)),
        elevation_max: Some(Length::from_secs(1)),
        tier: Some(Tier::Sandbox),
    };
    let day = Some(Length::from_secs(86_400));
    state.settings.retention = Retention { payloads: day, logs: day, runs: day };
    state.settings.slo = Some(json!({ "success": "99%" }));
    state.settings.suspend = Some(Pause { reason: "x".into(), until: Some(Timestamp::from_millis(0)) });
    let secret = state.secrets.get_mut("db").unwrap();
    secret.rotate_every = Some(Length::from_secs(1));
    secret.leaked_at = Some(Timestamp::from_millis(0));
    secret.versions[0].created = Some(Timestamp::from_millis(0));
    secret.versions[0].accept_until = Some(Timestamp::from_millis(0));
    state
}

/// The paths of all values that are neither list nor object nor null; each field has a value somewhere.
fn leaves(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                leaves(value, format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                leaves(value, format!("{path}/{index}"), found);
            }
        }
        Value::Null => {}
        _ => found.push(path),
    }
}

/// Other values that a field might hold, whatever its type.
fn others(value: &Value) -> Vec<Value> {
    let words = [
        "another",
        "user:another",
        "group:another",
        "auditor",
        "another.example:1",
        "unit",
        "hard",
        "env",
        "previous",
        "webhook",
        "cancel",
        "list",
        "all",
        "queue",
        "page",
        "bash",
        "failure",
        "timed_out",
        "skip",
        "100644",
        "executable",
        "file",
        "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0",
        "2030-01-01T00:00:00Z",
        "bubblewrap",
    ];
    match value {
        Value::Bool(flag) => vec![json!(!flag)],
        Value::Number(number) => vec![json!(number.as_u64().unwrap() + 1)],
        _ => {
            let mut all = words.map(Value::from).to_vec();
            all.extend([json!({ "env": "X" }), json!({ "above": "pull" })]);
            all.push(json!(RuntimeDigest::of([8; 32])));
            all
        }
    }
}

#[test]
fn every_field_of_a_tenant_that_changes_gives_a_line_and_an_edge() {
    let before = full();
    let value = serde_json::to_value(&before).unwrap();
    let mut paths = Vec::new();
    leaves(&value, String::new(), &mut paths);
    assert!(paths.len() > 150, "{}", paths.len());
    let mut unknown = Vec::new();
    for path in paths {
        // A map's key and the name inside are one thing.
        let named = ["/id", "/name", "/keys"].iter().any(|end| path.ends_with(end));
        if named && !path.contains("/versions/") && !path.contains("/files/") {
            continue;
        }
        let changed = others(value.pointer(&path).unwrap()).into_iter().find_map(|other| {
            let mut value = value.clone();
            *value.pointer_mut(&path).unwrap() = other;
            serde_json::from_value::<TenantState>(value).ok().filter(|after| *after != before)
        });
        let Some(after) = changed else {
            unknown.push(path);
            continue;
        };
        let plan = plan(&before, &after);
        assert!(!plan.changes.is_empty(), "no change for {path}");
        assert!(!plan.edges.is_empty(), "no edge for {path}");
        assert!(plan.changes.iter().all(|change| change.class != Class::Platform), "{path} has no class");
    }
    assert!(unknown.is_empty(), "no other value is known for {unknown:#?}");
}

#[test]
fn a_weaker_tier_is_reach_and_a_stronger_one_is_not() {
    let with = |tenant: Option<Tier>, step: Option<Tier>| {
        let mut state = full();
        state.settings.limits.tier = tenant;
        for workflow in state.workflows.values_mut() {
            workflow.steps.iter_mut().for_each(|one| one.resources.tier = step);
        }
        state
    };
    let tiers = [None, Some(Tier::Bubblewrap), Some(Tier::Sandbox)];
    for (before, after) in tiers.into_iter().flat_map(|one| tiers.map(|two| (one, two))) {
        if before == after {
            continue;
        }
        let weaker = after < before;
        let tenants = plan(&with(before, None), &with(after, None));
        assert!(!tenants.changes.is_empty());
        for change in tenants.changes {
            assert_eq!(change.class == Class::Reach, weaker, "{before:?} {after:?}: {change:?}");
        }
        let steps = plan(&with(None, before), &with(None, after));
        assert!(!steps.changes.is_empty());
        let guards = steps.edges.iter().filter(|edge| edge.words.starts_with("guard workflow:"));
        assert_eq!(guards.count() > 0, weaker, "{before:?} {after:?}: {:?}", steps.edges);
    }
}

// --- properties ---

prop_compose! {
    fn any_workflow()(
        steps in prop::sample::subsequence(vec!["a", "b", "c"], 1..=3),
        reads in any::<bool>(),
        timeout in 1u64..3,
        trigger in prop::option::of(any::<bool>()),
        paused in any::<bool>(),
    ) -> Workflow {
        let mut made = workflow("w", steps.into_iter().map(step).collect());
        made.timeout = Length::from_secs(timeout);
        if reads {
            made.steps[0].secrets.push(SecretUse { name: name("db"), delivery: Delivery::Socket, alias: None });
        }
        if let Some(first) = trigger {
            made = on_commit(made, first);
        }
        made.paused = paused.then(|| Pause { reason: "x".into(), until: None });
        made
    }
}

prop_compose! {
    fn any_state()(
        workflows in prop::collection::btree_map("w[0-3]", any_workflow(), 0..4),
        operators in prop::sample::subsequence(vec!["alice", "bob", "group:ops"], 0..=3),
        members in prop::sample::subsequence(vec!["olga", "otto"], 0..=2),
        versions in prop::collection::vec(0usize..4, 0..3),
        elevations in prop::sample::subsequence(vec!["e1", "e2"], 0..=2),
        hosts in prop::sample::subsequence(vec!["a.example:1", "b.example:2"], 0..=2),
        suspended in any::<bool>(),
    ) -> TenantState {
        let states =
            [VersionState::Pending, VersionState::Current, VersionState::Previous, VersionState::Revoked];
        let versions = versions.iter().enumerate();
        let versions = versions.map(|(n, state)| version(&format!("v{n}"), states[*state])).collect();
        let mut state = state();
        state.workflows = workflows
            .into_iter()
            .map(|(id, workflow)| (name(&id), Workflow { id: name(&id), ..workflow }))
            .collect();
        state.grants = operators.into_iter().map(|who| grant(Role::Operator, who)).collect();
        state.grants.insert(grant(Role::Owner, "group:owners"));
        state.groups = [(name("owners"), members.into_iter().map(name).collect())].into();
        state.secrets = [(name("db"), secret("db", versions))].into();
        state.elevations = elevations.into_iter().map(elevation).collect();
        state.settings.egress = hosts.into_iter().map(name).collect();
        state.settings.suspend = suspended.then(|| Pause { reason: "x".into(), until: None });
        state
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn applying_a_plan_then_planning_again_gives_an_empty_plan(
        states in prop::collection::vec((any_state(), any::<bool>(), any::<bool>()), 1..5),
    ) {
        let mut actual = fresh();
        for (state, revoke, end) in states {
            let desired = desired(state);
            let plan = between(&desired, &actual);
            let before = actual.generation;
            actual = applied(&actual, &plan);
            prop_assert_eq!(actual.generation > before, !plan.changes.is_empty());
            let again = between(&desired, &actual);
            prop_assert!(again.is_empty(), "{:#?}", again.changes);
            prop_assert!(again.edges.is_empty() && again.runs.is_empty() && again.held.is_empty());
            // What people end by command stays ended, whatever the next commit says.
            if revoke {
                actual.revoked.entry(name("db")).or_default().insert(name("v0"));
            }
            if end {
                actual.elevations_ended.insert(name("e1"));
            }
        }
    }

    #[test]
    fn a_plan_is_empty_exactly_when_nothing_differs(before in any_state(), after in any_state()) {
        let actual = holding(before);
        let plan = between(&desired(after), &actual);
        let same = actual.applied.as_ref().map(|applied| &applied.digest) == plan.digest.as_ref();
        prop_assert_eq!(plan.changes.is_empty(), same);
        prop_assert_eq!(plan.edges.is_empty(), same);
    }

    #[test]
    fn removals_alone_never_give_anything(before in any_state(), after in any_state()) {
        let actual = holding(before);
        let plan = between(&desired(after), &actual);
        let base = &actual.applied.as_ref().unwrap().state;
        let rest = plan.removals.taken_from(base);
        prop_assert!(rest.grants.is_subset(&base.grants));
        prop_assert!(rest.elevations.keys().all(|id| base.elevations.contains_key(id)));
        prop_assert_eq!(&rest.workflows, &base.workflows);
        prop_assert!(rest.holders(Role::Owner).next().is_some());
        for (id, members) in &rest.groups {
            prop_assert!(members.is_subset(&base.groups[id]));
        }
    }
}
