//! The plan of a whole revision as people and scripts read it.

use std::collections::BTreeMap;

use serde_json::json;

use super::fixture::*;
use super::*;
use crate::domain::*;

fn document(plans: &[Plan]) -> Document {
    let mut document = Document {
        base: Some(name(COMMIT)),
        head: Some(blob('9')),
        mode: ChangeControlMode::Open,
        now: Some("2026-11-23T14:00:00Z".parse().unwrap()),
        ..Document::default()
    };
    for plan in plans {
        let actual = ActualState { tenant: plan.tenant.clone(), ..holding(state()) };
        document.add(plan, &actual);
    }
    document
}

fn rendering() -> Rendering<'static> {
    Rendering {
        content: &|id| match id.as_str().as_bytes()[0] {
            b'a' => Some(b"import sys\nprint(1)\nsys.exit(0)\n".as_slice().into()),
            b'b' => Some(b"import sys\nprint(\x1b2)\nsys.exit(0)\n".as_slice().into()),
            _ => None,
        },
    }
}

#[test]
fn a_plan_is_read_by_people() {
    let mut after = state();
    after.workflows.remove("report");
    after.grants.insert(grant(Role::Operator, "carol"));
    let billing = billing(&mut after);
    billing.steps[1].timeout = Length::from_secs(60);
    billing.files.get_mut("scripts/pull.py").unwrap().id = blob('b');
    billing.triggers.schedules = vec![ScheduleTrigger {
        entry: "x".into(),
        cron: "0 2 * * *".into(),
        timezone: "Europe/Berlin".into(),
        catch_up: CatchUp::One,
        overlap: Overlap::Skip,
        exact: false,
        with: BTreeMap::new(),
    }];
    let mut plan = plan(&state(), &after);
    plan.skipped.push("version `v1` stays".into());
    let mut document = document(&[plan]);
    document.block(Blocked { tenant: Some(name("globex")), stays_at: Some(blob('7')), findings: Vec::new() });
    document.pass_over();
    let text = document.human(&rendering()).replace(&document.hash(), "HASH");
    insta::assert_snapshot!(text, @r#"
    plan 11111111 -> 99999999  HASH
    3 tenants: 1 changed, 1 blocked, 1 unchanged; 0 runs will start
    change control is open: nobody has to agree, nothing is proven

    who gains and loses:
    + carol gains operator on acme, by a grant of their own

    removed, and access:
    - acme  workflow report  [reduce]
    - acme  script scripts/main.py  [code]
    ~ acme  workflow billing.triggers.schedules  [reach]
    ~ acme  script scripts/pull.py  [reach]
    + acme  grant operator user:carol  [grant]
    ~ acme  limit billing/load.timeout  [reach]

    blocked: globex stays at 77777777
      its files are not valid

    acme
    - workflow report
    - script scripts/main.py
    ~ workflow billing.triggers.schedules: none -> 0 2 * * * in Europe/Berlin
        next at 2026-11-24T01:00:00Z, 2026-11-25T01:00:00Z, 2026-11-26T01:00:00Z (0 2 * * * in Europe/Berlin)
    ~ script scripts/pull.py
         import sys
        -print(1)
        +print(\u{1b}2)
         sys.exit(0)
    + grant operator user:carol
    ~ limit billing/load.timeout: 10m -> 1m

    left out:
      acme  version `v1` stays
    "#);
}

#[test]
fn equal_changes_of_many_tenants_stand_once() {
    let mut after = state();
    after.settings.timezone = "Europe/Berlin".into();
    let one = plan(&state(), &after);
    let plans: Vec<_> = (0..12)
        .map(|n| {
            let tenant: TenantId = name(&format!("t{n:02}"));
            let changes =
                one.changes.iter().map(|c| Change { tenant: tenant.clone(), ..c.clone() }).collect();
            Plan { tenant: tenant.clone(), changes, ..one.clone() }
        })
        .collect();
    let text = document(&plans).human(&rendering());
    let group = text.lines().find(|line| line.contains("same change")).unwrap();
    assert_eq!(
        group,
        "12 tenants: same change (t00, t01, t02, t03, t04, t05, t06, t07, t08, t09 and 2 more)"
    );
    assert_eq!(text.matches("Europe/Berlin").count(), 1);
}

#[test]
fn markdown_cannot_be_broken_out_of_and_fits_a_comment() {
    let mut after = state();
    let main = &mut after.workflows.get_mut("report").unwrap().steps[0];
    main.args = vec!["```\n# owned @everyone".into()];
    for n in 0..3_000 {
        after.settings.egress.insert(name(&format!("host{n}.example:443")));
    }
    let markdown = document(&[plan(&state(), &after)]).markdown(&rendering());
    assert!(markdown.chars().count() < 60_000, "{}", markdown.chars().count());
    assert!(markdown.contains("lines of the middle are left out"));
    assert!(markdown.starts_with(MARKER));
    let fence = markdown.lines().find(|line| line.ends_with("diff")).unwrap().trim_end_matches("diff");
    let outside = markdown.lines().scan(false, |inside, line| {
        let mark = line.trim_end_matches("diff") == fence;
        *inside ^= mark;
        Some((*inside || mark, line))
    });
    let outside: Vec<_> = outside.filter(|(inside, _)| !inside).map(|(_, line)| line).collect();
    assert!(!outside.iter().any(|line| line.contains("owned") || line.contains("host")), "{outside:#?}");
}

#[test]
fn the_hash_survives_a_squash() {
    let mut after = state();
    after.grants.insert(grant(Role::Operator, "carol"));
    let one = document(&[plan(&state(), &after)]);
    let other =
        Document { base: None, head: Some(blob('8')), mode: ChangeControlMode::Signed, ..one.clone() };
    assert_eq!(one.hash(), other.hash());
    assert_ne!(one.hash(), document(&[]).hash());
}

#[test]
fn the_json_has_what_scripts_rely_on() {
    let mut after = state();
    after.grants.insert(grant(Role::Operator, "carol"));
    let mut document = document(&[plan(&state(), &after)]);
    document.block(Blocked { tenant: Some(name("globex")), stays_at: None, findings: Vec::new() });
    let value = document.to_json();
    assert_eq!(value["schema"], "tenantry.plan/1");
    assert_eq!(value["base"], COMMIT);
    assert_eq!(value["summary"], json!({ "tenants": 2, "changed": 1, "blocked": 1, "unchanged": 0 }));
    assert_eq!(
        value["changes"],
        json!([{
            "tenant": "acme", "class": "grant", "kind": "grant", "op": "add", "object": "operator user:carol",
            "before": null, "after": { "role": "operator", "principal": "user:carol" },
            "approvals": { "required": 0, "present": [], "missing": [], "state": "none_needed" },
        }])
    );
    assert_eq!(value["blocked"], json!([{ "tenant": "globex", "stays_at": null, "findings": [] }]));
    for key in ["hash", "runs", "drift", "head"] {
        assert!(value.get(key).is_some(), "{key}");
    }
    let signed = Document { mode: ChangeControlMode::Signed, ..document }.to_json();
    let approvals = &signed["changes"][0]["approvals"];
    assert_eq!(
        approvals,
        &json!({ "required": 1, "present": [], "missing": ["1 owner of acme (olga, otto)"], "state": "unknown" })
    );
    assert_eq!(
        signed["access"],
        json!([{
            "tenant": "acme", "who": "carol", "turn": "gains", "role": "operator",
            "by": ["a grant of their own"], "window": null,
        }])
    );
}

/// The sentences about who gains and loses in one change of the usual state.
#[track_caller]
fn check_access(before: impl FnOnce(&mut TenantState), after: impl FnOnce(&mut TenantState), want: &[&str]) {
    let (mut old, mut new) = (state(), state());
    before(&mut old);
    after(&mut new);
    let mut document = Document { mode: ChangeControlMode::Open, ..Document::default() };
    document.add(&plan(&old, &new), &holding(old));
    let text = document.human(&rendering());
    let section = text.split("who gains and loses:\n").nth(1).unwrap_or_default();
    let lines: Vec<_> = section.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(lines, want);
}

#[test]
fn access_is_said_in_sentences_with_groups_expanded() {
    check_access(
        |_| {},
        |state| {
            state.groups.get_mut("owners").unwrap().insert(name("mallory"));
            state.groups.get_mut("owners").unwrap().remove(&name::<UserId>("otto"));
        },
        &[
            "+ mallory gains owner on acme, by group:owners",
            "- otto loses owner on acme (had it by group:owners)",
        ],
    );
    check_access(
        |_| {},
        |state| state.elevations.extend([elevation("inc-1")]),
        &[
            "+ bob gains operator on acme for 2h from the apply on, if that is before 1970-01-01T00:00:00Z, by elevation inc-1",
        ],
    );
    check_access(
        |state| state.elevations.extend([elevation("inc-1")]),
        |state| {
            let _ = state.grants.insert(grant(Role::Operator, "bob"));
        },
        &["~ bob keeps operator on acme, now by a grant of their own"],
    );
    check_access(
        |_| {},
        |state| {
            state.groups.insert(name("empty"), [].into());
            state.grants.insert(grant(Role::Auditor, "group:empty"));
        },
        &["+ group:empty gains auditor on acme, by its name, without members"],
    );
    check_access(
        |_| {},
        |state| {
            let report = state.workflows.get_mut("report").unwrap();
            report.steps[0].secrets.push(SecretUse {
                name: name("db"),
                delivery: Delivery::Socket,
                alias: None,
            });
            billing(state).steps[0].network.clear();
        },
        &[
            "+ report/main can read secret db on acme",
            "- billing/pull can no longer reach db.acme.example:5432 on acme",
        ],
    );
}

#[test]
fn a_renamed_workflow_stays_a_removal_and_an_addition_and_is_shown_as_one() {
    let mut after = state();
    let mut report = after.workflows.remove("report").unwrap();
    report.id = name("digest");
    after.workflows.insert(name("digest"), report.clone());
    let renamed = |after: &TenantState| {
        let mut document = Document { mode: ChangeControlMode::Open, ..Document::default() };
        document.add(&plan(&state(), after), &holding(state()));
        document
    };
    let document = renamed(&after);
    let ops: Vec<_> = document.changes.iter().map(|line| (line.op, line.object.as_str())).collect();
    assert_eq!(ops, [(Operation::Remove, "report"), (Operation::Add, "digest")]);
    assert_eq!(document.renames.len(), 1);
    assert!(document.renames[0].identical && document.is_destructive());
    let text = document.human(&rendering());
    assert!(text.contains("> workflow report -> digest: nothing but the name changes"), "{text}");
    assert!(text.contains("- acme  workflow report (becomes digest)  [reduce]"), "{text}");

    report.alert = AlertLevel::Page;
    after.workflows.insert(name("digest"), report);
    let text = renamed(&after).human(&rendering());
    assert!(text.contains("> workflow report -> digest: and changes"), "{text}");
    assert!(text.contains("    alert: notify -> page"), "{text}");

    after.workflows.remove("digest");
    after.workflows.insert(name("other"), workflow("other", vec![step("elsewhere")]));
    let renames = renamed(&after).renames;
    assert!(
        renames.iter().all(|rename| rename.kind == ObjectKind::Script),
        "another script is another workflow"
    );
}

#[test]
fn a_moved_script_is_shown_as_moved() {
    let mut after = state();
    let files = &mut billing(&mut after).files;
    let file = files.remove("scripts/pull.py").unwrap();
    files.insert("scripts/lib/pull.py".into(), file);
    let mut document = Document { mode: ChangeControlMode::Open, ..Document::default() };
    document.add(&plan(&state(), &after), &holding(state()));
    let text = document.human(&rendering());
    assert!(text.contains("> script scripts/pull.py -> scripts/lib/pull.py: nothing but the name"), "{text}");
}

#[test]
fn a_renamed_tenant_is_said_to_be_a_new_one() {
    let mut document = Document { mode: ChangeControlMode::Open, ..Document::default() };
    let old = holding(state());
    document.add(&removal(&old, &desired(state()).revision, &ChangeKeys::default()), &old);
    let new = DesiredState { tenant: name("acme-eu"), ..desired(state()) };
    let fresh = ActualState::empty(name("acme-eu"));
    document.add(&between(&new, &fresh), &fresh);
    document.recognise_tenants();
    let text = document.human(&rendering());
    assert!(text.contains("- acme  tenant acme (becomes acme-eu)  [tenant]"), "{text}");
    assert!(text.contains("> tenant acme -> acme-eu: nothing but the name changes"), "{text}");
}

#[test]
fn a_touched_secret_is_told_with_its_users_and_recipients() {
    let mut after = state();
    let secret = after.secrets.get_mut("db").unwrap();
    secret.versions[0].state = VersionState::Previous;
    secret.versions.push(version("v2", VersionState::Current));
    let document = document(&[plan(&state(), &after)]);
    let text = document.human(&rendering());
    let want = "  acme  db: v1 previous, v2 current; used by billing/pull; decrypted by age1aaa";
    assert!(text.contains(want), "{text}");
    assert!(text.contains("    state: current -> previous"), "{text}");
    assert_eq!(document.to_json()["secrets"][0]["used_by"], json!(["billing/pull"]));
}

proptest::proptest! {
    /// What is hashed are changes and blocked tenants alone: no commit, no time, no count.
    #[test]
    fn the_hash_follows_from_changes_and_blocked_alone(
        base in "[0-9a-f]{40}", head in "[0-9a-f]{40}", now in 0i64..2_000_000_000_000, carol in proptest::bool::ANY,
    ) {
        let mut after = state();
        after.grants.insert(grant(Role::Operator, if carol { "carol" } else { "dave" }));
        let one = document(&[plan(&state(), &after)]);
        let mut other = Document {
            base: Some(name(&base)),
            head: Some(name(&head)),
            now: Some(Timestamp::from_millis(now)),
            mode: ChangeControlMode::Signed,
            tenants: 7,
            ..one.clone()
        };
        proptest::prop_assert_eq!(one.hash(), other.hash());
        // From the JSON that people get, as design page `repository.md` says it.
        let json = other.to_json();
        let changes: Vec<_> = json["changes"].as_array().unwrap().iter().map(|change| {
            let mut change = change.clone();
            change.as_object_mut().unwrap().remove("approvals");
            change
        }).collect();
        proptest::prop_assert_eq!(digest_of(&json!({ "blocked": [], "changes": changes })), one.hash());
        other.block(Blocked { tenant: Some(name("globex")), stays_at: Some(name(&base)), findings: Vec::new() });
        proptest::prop_assert_ne!(one.hash(), other.hash());
        let elsewhere = Blocked { tenant: Some(name("globex")), stays_at: None, findings: Vec::new() };
        let again = Document { blocked: vec![elsewhere], ..one };
        proptest::prop_assert_eq!(again.hash(), other.hash());
    }
}
