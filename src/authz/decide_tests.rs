use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::action;
use super::*;
use crate::domain::{
    Applied, Ceilings, ChangeKeys, Grant, GroupId, Isolation, ObjectId, OnRewrite, People, Person, Service,
    Settings, TenantId, TenantKind, TenantSettings, TenantState,
};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const HOUR: Length = Length::from_secs(3600);

fn platform() -> Platform {
    let person = || Person { name: None, email: None, keys: vec![], identities: BTreeMap::new() };
    let users = ["olga", "dana", "audrey", "owen", "pat", "nina", "greta", "elena"];
    Platform {
        settings: Settings {
            id: "0192f1c2-0000-7000-8000-000000000000".into(),
            name: "test".into(),
            branch: "main".into(),
            on_rewrite: OnRewrite::Hold,
            mode: ChangeControlMode::Open,
            policy: String::new(),
            limits: Ceilings::default(),
            retention: Default::default(),
            recovery: vec![],
            private: vec![],
            indexes: vec![],
            mail: false,
        },
        people: People {
            users: users.into_iter().map(|name| (name.parse().unwrap(), person())).collect(),
            services: BTreeMap::from([(
                "bot".parse().unwrap(),
                Service { owner: "pat".parse().unwrap(), identities: BTreeMap::new() },
            )]),
            groups: BTreeMap::from([("ops".parse().unwrap(), BTreeSet::from(["greta".parse().unwrap()]))]),
        },
        admins: BTreeSet::from(["pat".parse().unwrap()]),
        maintainers: BTreeMap::new(),
    }
}

/// The people of `acme`: olga operates, dana develops, audrey audits, owen owns, greta operates by a group,
/// the service bot operates. Pat is platform admin, nina nobody.
fn actual(tenant: &str, grants: &[(Role, &str)]) -> ActualState {
    let grants = grants
        .iter()
        .map(|(role, principal)| Grant { role: *role, principal: principal.parse().unwrap() })
        .collect();
    let groups: BTreeMap<GroupId, BTreeSet<UserId>> =
        BTreeMap::from([("ops".parse().unwrap(), BTreeSet::from(["greta".parse().unwrap()]))]);
    let state = TenantState {
        settings: TenantSettings {
            kind: TenantKind::Customer,
            owner: "owen".parse().unwrap(),
            environment: None,
            region: None,
            timezone: "UTC".into(),
            isolation: Isolation::Soft,
            recipients: vec![],
            recovery: vec![],
            delivery: BTreeSet::new(),
            limits: Ceilings::default(),
            retention: Default::default(),
            egress: BTreeSet::new(),
            alert_routes: vec![],
            slo: None,
            suspend: None,
        },
        grants,
        elevations: BTreeMap::new(),
        groups,
        secrets: BTreeMap::new(),
        workflows: BTreeMap::new(),
    };
    let applied = Applied {
        commit: ObjectId::null(),
        digest: state.digest(),
        keys: ChangeKeys::default(),
        at: NOW,
        authors: BTreeSet::new(),
        state,
    };
    ActualState {
        applied: Some(applied),
        generation: 1,
        authority: 7,
        ..ActualState::empty(tenant.parse().unwrap())
    }
}

fn acme() -> ActualState {
    actual(
        "acme",
        &[
            (Role::Operator, "olga"),
            (Role::Developer, "dana"),
            (Role::Auditor, "audrey"),
            (Role::Owner, "owen"),
            (Role::Operator, "group:ops"),
            (Role::Operator, "service:bot"),
        ],
    )
}

/// The answer of the one door, whatever type the action has.
fn ask(actor: &Actor, facts: &Facts<'_>, kind: ActionKind) -> Result<Timestamp, Denied> {
    macro_rules! by_type {
        ($($type:ident),*) => {
            match kind {
                $(ActionKind::$type => decide::<action::$type>(actor, facts, NOW).map(|permit| {
                    assert_eq!(permit.tenant(), facts.standing.tenant(), "a permit names the tenant of its facts");
                    assert_eq!(permit.authority(), 7);
                    permit.expires()
                }),)*
            }
        };
    }
    by_type!(
        View,
        ViewHealth,
        ViewMetadata,
        ViewAccess,
        Start,
        Cancel,
        ApproveStep,
        Steer,
        Probe,
        Suspend,
        Wake,
        Release,
        ShowRaw,
        WriteCode,
        WriteSettings,
        WriteSecret,
        Revoke,
        ApproveAccess,
        ReadSecret,
        Execute,
        Reconcile,
        Schedule,
        Receive,
        Alert
    )
    .map_err(|refusal| refusal.denied)
}

fn actor(text: &str) -> Actor {
    text.parse().unwrap()
}

/// The table of design page `access.md`, written out by hand: one row an action, one column an actor.
/// `y` may, `f` is told that he may not, `n` is told that there is no such tenant, `r` that he has no role.
const COLUMNS: [&str; 13] = [
    "user:olga",
    "user:dana",
    "user:audrey",
    "user:owen",
    "user:pat",
    "user:nina",
    "user:greta",
    "service:bot",
    "local:1000",
    "daemon:reconcile",
    "daemon:schedule",
    "daemon:alert",
    "worker:w1",
];
const TABLE: [(ActionKind, &str); 24] = [
    //                            olga dana audrey owen pat nina greta bot local recon sched alert worker
    (ActionKind::View, "          y    y    y      y    r   n    y     y   y     f     f     f     n"),
    (ActionKind::ViewHealth, "    y    y    y      y    y   n    y     y   y     f     f     y     n"),
    (ActionKind::ViewMetadata, "  y    y    y      y    r   n    y     y   y     f     f     f     n"),
    (ActionKind::ViewAccess, "    y    f    y      y    r   n    y     y   y     f     f     f     n"),
    (ActionKind::Start, "         y    f    f      f    r   n    y     y   f     f     f     f     n"),
    (ActionKind::Cancel, "        y    f    f      f    r   n    y     y   f     f     f     f     n"),
    (ActionKind::ApproveStep, "   y    f    f      f    r   n    y     f   f     f     f     f     n"),
    (ActionKind::Steer, "         y    f    f      f    r   n    y     y   f     f     f     f     n"),
    (ActionKind::Probe, "         y    f    f      f    r   n    y     y   f     f     f     f     n"),
    (ActionKind::Suspend, "       y    f    f      f    y   n    y     y   y     f     f     f     n"),
    (ActionKind::Wake, "          y    f    f      f    r   n    y     y   y     f     f     f     n"),
    (ActionKind::Release, "       y    f    f      f    r   n    y     y   y     f     f     f     n"),
    (ActionKind::ShowRaw, "       y    f    f      f    r   n    y     y   f     f     f     f     n"),
    (ActionKind::WriteCode, "     f    y    f      f    r   n    f     f   f     f     f     f     n"),
    (ActionKind::WriteSettings, " f    y    f      f    r   n    f     f   f     f     f     f     n"),
    (ActionKind::WriteSecret, "   y    y    f      f    r   n    y     y   f     f     f     f     n"),
    (ActionKind::Revoke, "        y    f    f      y    r   n    y     y   y     f     f     f     n"),
    (ActionKind::ApproveAccess, " f    f    f      y    r   n    f     f   f     f     f     f     n"),
    (ActionKind::ReadSecret, "    f    f    f      f    r   n    f     f   f     f     f     f     n"),
    (ActionKind::Execute, "       f    f    f      f    r   n    f     f   f     f     f     f     n"),
    (ActionKind::Reconcile, "     f    f    f      f    r   n    f     f   f     y     f     f     n"),
    (ActionKind::Schedule, "      f    f    f      f    r   n    f     f   f     f     y     f     n"),
    (ActionKind::Receive, "       f    f    f      f    r   n    f     f   f     f     f     f     n"),
    (ActionKind::Alert, "         f    f    f      f    r   n    f     f   f     f     f     y     n"),
];

#[track_caller]
fn check(who: &str, kind: ActionKind, facts: &Facts<'_>, want: &str) {
    let got = match ask(&actor(who), facts, kind) {
        Ok(_) => "y",
        Err(Denied::Forbidden) => "f",
        Err(Denied::NotFound) => "n",
        Err(Denied::NoRoleHere) => "r",
    };
    assert_eq!(got, want, "{who} {} in {}", kind.as_str(), facts.standing.tenant());
}

#[test]
fn every_actor_and_action_in_his_own_tenant() {
    let (acme, platform) = (acme(), platform());
    let rows: BTreeSet<ActionKind> = TABLE.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(rows, ActionKind::ALL.iter().copied().collect(), "the table has a row for every action");
    for (kind, row) in TABLE {
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells.len(), COLUMNS.len(), "{}", kind.as_str());
        for (who, want) in COLUMNS.into_iter().zip(cells) {
            check(who, kind, &Facts::of(&acme, Some(&platform)), want);
        }
    }
}

#[test]
fn a_role_ends_at_its_tenant() {
    let (globex, platform) = (actual("globex", &[(Role::Owner, "elena")]), platform());
    let facts = Facts::of(&globex, Some(&platform));
    for kind in ActionKind::ALL.iter().copied() {
        for who in ["user:olga", "user:dana", "user:audrey", "user:owen", "user:greta", "service:bot"] {
            check(who, kind, &facts, "n");
        }
    }
}

#[test]
fn nobody_may_anything_in_a_tenant_that_git_no_longer_has() {
    let platform = platform();
    let gone = ActualState { removed: Some(NOW), ..acme() };
    for who in COLUMNS {
        for kind in ActionKind::ALL.iter().copied() {
            check(who, kind, &Facts::of(&gone, Some(&platform)), "n");
        }
    }
    assert!(Permit::for_schedule(&Standing::of(&gone), NOW).is_err());
}

#[test]
fn without_an_applied_platform_nobody_is_known() {
    let acme = acme();
    check("user:olga", ActionKind::View, &Facts::of(&acme, None), "n");
    check("user:pat", ActionKind::ViewHealth, &Facts::of(&acme, None), "n");
    check("local:0", ActionKind::View, &Facts::of(&acme, None), "y");
    check("local:0", ActionKind::Release, &Facts::of(&acme, None), "f");
}

#[test]
fn who_left_the_platform_or_a_group_holds_nothing_though_the_tenant_still_names_him() {
    let acme = acme();
    let mut platform = platform();
    platform.people.users.remove("olga");
    platform.people.groups.get_mut("ops").unwrap().clear();
    platform.people.services.clear();
    for who in ["user:olga", "user:greta", "service:bot"] {
        check(who, ActionKind::View, &Facts::of(&acme, Some(&platform)), "n");
    }
}

#[test]
fn without_grants_only_what_needs_no_role_is_decided() {
    let platform = platform();
    let facts =
        Facts::without_grants(Standing::stored("acme".parse().unwrap(), 1, 7, false), Some(&platform));
    check("user:pat", ActionKind::ViewHealth, &facts, "y");
    check("local:1", ActionKind::ViewHealth, &facts, "y");
    check("user:olga", ActionKind::ViewHealth, &facts, "n");
}

fn elevated(window: Window, started: Option<Timestamp>, role: Role) -> ActualState {
    let mut acme = acme();
    let id: crate::domain::ElevationId = "inc-42".parse().unwrap();
    let elevation =
        Elevation { id: id.clone(), user: "nina".parse().unwrap(), role, window, reason: "INC-42".into() };
    acme.applied.as_mut().unwrap().state.elevations.insert(id.clone(), elevation);
    acme.elevations_started.extend(started.map(|at| (id, at)));
    acme
}

/// Asks whether nina, elevated to operator, may start; the answer is how long her permit counts.
#[track_caller]
fn check_elevation(window: Window, started: Option<Timestamp>, want: Result<Length, Denied>) {
    let platform = platform();
    let acme = elevated(window, started, Role::Operator);
    let got = ask(&actor("user:nina"), &Facts::of(&acme, Some(&platform)), ActionKind::Start);
    assert_eq!(got.map(|until| until.since(NOW)), want);
}

#[test]
fn an_elevation_counts_in_its_half_open_window_and_its_end_ends_the_permit() {
    let second = Length::from_secs(1);
    let planned = |from, until| Window::Planned { from, until };
    check_elevation(planned(NOW, NOW + second), None, Ok(second));
    check_elevation(planned(NOW - HOUR, NOW), None, Err(Denied::NotFound));
    check_elevation(planned(NOW + second, NOW + HOUR), None, Err(Denied::NotFound));
    check_elevation(planned(NOW - second, NOW + HOUR), None, Ok(PERMIT_LENGTH));
    // No window is longer than the ceiling, whatever it says.
    check_elevation(planned(NOW - ELEVATION_MAX, NOW + HOUR), None, Err(Denied::NotFound));

    let asked = |length, ask_until| Window::OnApply { length, ask_until };
    check_elevation(asked(HOUR, NOW + HOUR), Some(NOW), Ok(PERMIT_LENGTH));
    check_elevation(asked(HOUR, NOW + HOUR), Some(NOW - HOUR), Err(Denied::NotFound));
    check_elevation(asked(HOUR, NOW + HOUR), Some(NOW - HOUR + second), Ok(second));
    check_elevation(asked(HOUR, NOW), Some(NOW), Err(Denied::NotFound));
    // A store that knows of no start, for instance a rebuilt one, gives nothing back.
    check_elevation(asked(HOUR, NOW + HOUR), None, Err(Denied::NotFound));
}

#[test]
fn an_ended_elevation_never_counts_again() {
    let platform = platform();
    let mut acme =
        elevated(Window::Planned { from: NOW - HOUR, until: NOW + HOUR }, Some(NOW - HOUR), Role::Operator);
    acme.elevations_ended.insert("inc-42".parse().unwrap());
    check("user:nina", ActionKind::Start, &Facts::of(&acme, Some(&platform)), "n");
}

#[test]
fn the_end_of_an_elevation_does_not_end_the_grant_beside_it() {
    let platform = platform();
    let mut acme = elevated(
        Window::Planned { from: NOW - HOUR, until: NOW + Length::from_secs(1) },
        None,
        Role::Operator,
    );
    acme.applied
        .as_mut()
        .unwrap()
        .state
        .grants
        .insert(Grant { role: Role::Operator, principal: "nina".parse().unwrap() });
    let until = ask(&actor("user:nina"), &Facts::of(&acme, Some(&platform)), ActionKind::Start).unwrap();
    assert_eq!(until, NOW + PERMIT_LENGTH);
}

#[test]
fn a_role_held_for_a_time_agrees_to_no_change_of_access() {
    let platform = platform();
    let acme = elevated(Window::Planned { from: NOW - HOUR, until: NOW + HOUR }, None, Role::Owner);
    let facts = Facts::of(&acme, Some(&platform));
    check("user:nina", ActionKind::Revoke, &facts, "y");
    check("user:nina", ActionKind::ApproveAccess, &facts, "f");
}

#[test]
fn a_permit_counts_until_its_end_and_not_at_it() {
    let standing = Standing::unseen("acme".parse().unwrap());
    let permit = Permit::for_lease("w1", &standing, NOW);
    assert!(permit.tenant_at(NOW - Length::from_millis(1)).is_ok());
    assert_eq!(
        permit.tenant_at(NOW).unwrap_err().to_string(),
        "the right to execute in this tenant ended at 2027-01-15T08:00:00Z"
    );
    assert_eq!(permit.read_secret().expires(), NOW);
    assert_eq!(permit.renewed(NOW + HOUR).expires(), NOW + HOUR);
}

#[test]
fn the_reason_is_for_the_audit_and_the_text_for_the_caller() {
    let (acme, platform) = (acme(), platform());
    let facts = Facts::of(&acme, Some(&platform));
    let refusal = |who: &str| decide::<action::Start>(&actor(who), &facts, NOW).unwrap_err();
    assert_eq!(refusal("user:dana").to_string(), "you may not `start` here: it takes the role `operator`");
    assert_eq!(refusal("user:dana").reason, "holds developer here, none of which allows it");
    assert_eq!(refusal("user:nina").to_string(), "there is no such tenant, or you may not view it");
    assert_eq!(
        refusal("user:pat").to_string(),
        "a platform admin has no role in a tenant: ask its owner for a grant or an elevation"
    );
    assert_eq!(
        refusal("local:0").to_string(),
        "you may not `start` here: name the person of this uid under `[local]` in trust.toml, or, in mode `open`, use `--as PERSON`"
    );
    let gone = ActualState { removed: Some(NOW), ..acme.clone() };
    let told =
        decide::<action::View>(&actor("user:olga"), &Facts::of(&gone, Some(&platform)), NOW).unwrap_err();
    assert_eq!(told.to_string(), refusal("user:nina").to_string(), "gone and hidden read the same");
}

#[track_caller]
fn check_platform(who: &str, action: PlatformAction, mode: ChangeControlMode, want: bool) {
    let mut platform = platform();
    platform.settings.mode = mode;
    let got = decide_platform(&actor(who), action, Some(&platform));
    assert_eq!(got.is_ok(), want, "{who} {}: {got:?}", action.as_str());
}

#[test]
fn what_belongs_to_no_tenant_is_the_platform_admins() {
    use ChangeControlMode::{Open, PullRequest};
    use PlatformAction::{Release, View, Wake};
    for (who, view, release, wake) in [
        ("user:pat", true, true, true),
        ("user:olga", false, false, true),
        ("user:mallory", false, false, false),
        ("service:bot", false, false, true),
        ("service:unknown", false, false, false),
        ("local:0", true, true, true),
        ("daemon:alert", false, false, false),
        ("worker:w1", false, false, false),
    ] {
        check_platform(who, View, Open, view);
        check_platform(who, Release, Open, release);
        check_platform(who, Wake, Open, wake);
    }
    check_platform("local:0", Release, PullRequest, false);
    check_platform("user:pat", Release, PullRequest, true);
}

proptest! {
    /// Whatever is granted in acme, by role, group, service or elevation, nothing of it counts in globex.
    #[test]
    fn no_grants_in_one_tenant_give_a_permit_in_another(
        grants in proptest::collection::vec((0usize..4, 0usize..10), 0..20),
        elevations in proptest::collection::vec((0usize..4, 0usize..8, -10i64..10, 1i64..20), 0..6),
        action in 0..ActionKind::ALL.len(),
    ) {
        const PRINCIPALS: [&str; 10] = [
            "olga", "dana", "audrey", "owen", "nina", "greta", "elena", "pat", "group:ops", "service:bot",
        ];
        let platform = platform();
        let granted: Vec<(Role, &str)> =
            grants.iter().map(|(role, who)| (Role::ALL[*role], PRINCIPALS[*who])).collect();
        let mut acme = actual("acme", &granted);
        for (index, (role, who, from, hours)) in elevations.iter().enumerate() {
            let id: crate::domain::ElevationId = format!("e{index}").parse().unwrap();
            let from = Timestamp::from_millis(NOW.as_millis() + from * 3_600_000);
            let until = Timestamp::from_millis(from.as_millis() + hours * 3_600_000);
            let window = Window::Planned { from, until };
            let user = PRINCIPALS[*who].parse().unwrap();
            acme.applied.as_mut().unwrap().state.elevations.insert(
                id.clone(),
                Elevation { id, user, role: Role::ALL[*role], window, reason: String::new() },
            );
        }
        let globex = actual("globex", &[]);
        let kind = ActionKind::ALL[action];
        for who in PRINCIPALS {
            let actor = match who.parse::<Principal>().unwrap() {
                Principal::User(user) => Actor::User(user),
                Principal::Service(service) => Actor::Service(service),
                Principal::Group(_) => continue,
            };
            let here = ask(&actor, &Facts::of(&globex, Some(&platform)), kind);
            let admin = who == "pat" && admin_may(kind);
            prop_assert_eq!(here.is_ok(), admin, "{} {}", who, kind.as_str());
            // And what counts in acme names acme and ends in time (ask looks at the tenant).
            if let Ok(until) = ask(&actor, &Facts::of(&acme, Some(&platform)), kind) {
                prop_assert!(NOW < until && until <= NOW + PERMIT_LENGTH);
            }
        }
    }

    #[test]
    fn tenant_names_never_mix(name in "[a-z0-9][a-z0-9-]{0,20}") {
        prop_assume!(name.parse::<TenantId>().is_ok());
        let platform = platform();
        let there = actual(&name, &[(Role::Operator, "olga")]);
        let permit = decide::<action::Start>(&actor("user:olga"), &Facts::of(&there, Some(&platform)), NOW).unwrap();
        prop_assert_eq!(permit.tenant().as_str(), name);
    }
}

/// Whom a step asks, and who of the same thirteen may answer it.
const STEPS: [(&[&str], &str); 11] = [
    //                           olga dana audrey owen pat nina greta bot local recon sched alert worker
    (&["operator"], "            y    f    f      f    r   n    y     f   f     f     f     f     n"),
    (&["developer"], "           f    y    f      f    r   n    f     f   f     f     f     f     n"),
    (&["auditor", "owner"], "    f    f    y      y    r   n    f     f   f     f     f     f     n"),
    (&["user:dana"], "           f    y    f      f    r   n    f     f   f     f     f     f     n"),
    (&["group:ops"], "           f    f    f      f    r   n    y     f   f     f     f     f     n"),
    (&["group:none"], "          f    f    f      f    r   n    f     f   f     f     f     f     n"),
    // Who holds no role here may not look at what he would agree to, whoever names him.
    (&["user:nina"], "           f    f    f      f    r   n    f     f   f     f     f     f     n"),
    (&["user:pat"], "            f    f    f      f    r   n    f     f   f     f     f     f     n"),
    // A service never approves.
    (&["service:bot"], "         f    f    f      f    r   n    f     f   f     f     f     f     n"),
    (&["operator", "dana"], "    y    y    f      f    r   n    y     f   f     f     f     f     n"),
    (&[], "                      f    f    f      f    r   n    f     f   f     f     f     f     n"),
];

#[test]
fn a_step_is_answered_by_those_it_asks() {
    let (platform, acme, globex) = (platform(), acme(), actual("globex", &[(Role::Operator, "nina")]));
    for (from, row) in STEPS {
        let approver = |text: &&str| match text.parse::<Role>() {
            Ok(role) => Approver::Role(role),
            Err(_) => Approver::Principal(text.parse().unwrap()),
        };
        let from: Vec<Approver> = from.iter().map(approver).collect();
        for (name, want) in COLUMNS.iter().zip(row.split_whitespace()) {
            let may = |facts: &Facts<'_>| decide_step(&actor(name), facts, &from, NOW);
            let got = match may(&Facts::of(&acme, Some(&platform))) {
                Ok(permit) => {
                    assert_eq!((permit.tenant().as_str(), permit.authority()), ("acme", 7));
                    "y"
                }
                Err(refusal) => match refusal.denied {
                    Denied::Forbidden => "f",
                    Denied::NotFound => "n",
                    Denied::NoRoleHere => "r",
                },
            };
            assert_eq!(got, want, "{name} of {from:?}");
            // In the other tenant nobody of these holds a role but nina, an operator there.
            let elsewhere = may(&Facts::of(&globex, Some(&platform))).is_ok();
            let asked = from.contains(&Approver::Role(Role::Operator)) || from == [approver(&"user:nina")];
            assert_eq!(elsewhere, *name == "user:nina" && asked, "{name} of {from:?} in globex");
            assert!(may(&Facts::of(&acme, None)).is_err(), "without a platform nobody is a known person");
        }
    }
}

#[test]
fn an_answer_ends_with_the_role_that_gives_it() {
    let platform = platform();
    let mut acme = acme();
    let until = NOW + Length::from_secs(60);
    let elevation = Elevation {
        id: "inc-1".parse().unwrap(),
        user: "elena".parse().unwrap(),
        role: Role::Operator,
        window: Window::Planned { from: NOW, until },
        reason: "incident".into(),
    };
    let state = &mut acme.applied.as_mut().unwrap().state;
    state.elevations.insert(elevation.id.clone(), elevation);
    let from = [Approver::Role(Role::Operator)];
    let at = |now| decide_step(&actor("user:elena"), &Facts::of(&acme, Some(&platform)), &from, now);
    assert_eq!(at(NOW).unwrap().expires(), until);
    assert_eq!(at(until).unwrap_err().denied, Denied::NotFound);
    let mut gone = acme.clone();
    gone.removed = Some(NOW);
    let facts = Facts::of(&gone, Some(&platform));
    assert_eq!(decide_step(&actor("user:olga"), &facts, &from, NOW).unwrap_err().denied, Denied::NotFound);
}

#[test]
fn the_door_for_hooks_receives_them_and_may_nothing_else() {
    let (acme, mut gone) = (acme(), acme());
    gone.removed = Some(NOW);
    for kind in ActionKind::ALL {
        let want = if *kind == ActionKind::Receive { Ok(()) } else { Err(Denied::Forbidden) };
        let got = ask(&actor("daemon:webhook"), &Facts::of(&acme, Some(&platform())), *kind);
        assert_eq!(got.map(|_| ()), want, "{kind:?}");
        let got = ask(&actor("daemon:webhook"), &Facts::of(&gone, Some(&platform())), *kind);
        assert_eq!(got.map(|_| ()), Err(Denied::NotFound), "{kind:?}");
    }
}
