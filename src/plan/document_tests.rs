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
        ..Document::default()
    };
    for plan in plans {
        document.add(plan);
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
        now: Some("2026-11-23T14:00:00Z".parse().unwrap()),
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
    3 tenants: 1 changed, 1 blocked, 1 unchanged; 0 runs started
    change control is open: nobody has to agree, nothing is proven

    removed, and access:
    - acme  workflow report  [reduce]
    - acme  script scripts/main.py  [code]
    ~ acme  workflow billing.triggers.schedules  [reach]
    ~ acme  script scripts/pull.py  [reach]
    + acme  grant operator user:carol  [grant]
    ~ acme  limit billing/load.timeout  [reach]

    acme
    - workflow report
    - script scripts/main.py
    ~ workflow billing.triggers.schedules: none -> 0 2 * * * in Europe/Berlin
        next at 2026-11-24T01:00:00Z (0 2 * * * in Europe/Berlin)
    ~ script scripts/pull.py
         import sys
        -print(1)
        +print(\u{1b}2)
         sys.exit(0)
    + grant operator user:carol
    ~ limit billing/load.timeout: 10m -> 1m

    blocked: globex stays at 77777777

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
    assert!(markdown.contains("lines left out"));
    let fence = markdown.lines().find(|line| line.ends_with("diff")).unwrap().trim_end_matches("diff");
    assert_eq!(markdown.matches(fence).count(), 2, "only the fence itself is as long as {fence}");
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
            "approvals": { "required": 0, "present": [], "missing": [] },
        }])
    );
    assert_eq!(value["blocked"], json!([{ "tenant": "globex", "stays_at": null, "findings": [] }]));
    for key in ["hash", "runs", "drift", "head"] {
        assert!(value.get(key).is_some(), "{key}");
    }
    let signed = Document { mode: ChangeControlMode::Signed, ..document }.to_json();
    let approvals = &signed["changes"][0]["approvals"];
    assert_eq!(approvals, &json!({ "required": 1, "present": [], "missing": ["1 owner of acme"] }));
}
