//! Pins, and what a step may reach when its commit and the applied state differ.

use super::*;
use crate::domain::{HostPort, PrivateHost};

fn pin_to(to: &str) -> Option<PinRequest> {
    Some(PinRequest { to: to.to_owned(), reason: "worse since".to_owned(), until: at(900) })
}

pub(super) async fn a_pin_takes_only_an_applied_commit(store: Tested) {
    let (w, v) = (workflow("w", &["main"]), workflow("v", &["main"]));
    let ids = ["a1".repeat(20), "a2".repeat(20), "b3".repeat(20)];
    for (number, (id, flow)) in ids.iter().zip([&w, &v, &w]).enumerate() {
        let tenant = tenant_id("acme");
        let expected = store.access(&tenant).await.unwrap().map_or(0, |actual| actual.generation);
        let mut next = application(&tenant, expected, 1, Some(state(std::slice::from_ref(flow))));
        next.commit = id.parse().unwrap();
        let actual =
            store.access(&tenant).await.unwrap().unwrap_or_else(|| ActualState::empty(tenant).into());
        store.apply(&reconcile(&actual, START), &next, at(u64::try_from(number).unwrap())).await.unwrap();
    }
    let permit = async || right::<Steer>("carol", &now_of(&store, "acme").await, START);
    let said = async |to: &str| {
        let audit = entry("tenant.pinned", at(3));
        store.set_pin(&permit().await, pin_to(to), audit).await.unwrap_err().to_string()
    };
    let unknown = said("abcd").await;
    assert!(
        unknown.contains("`abcd` was never applied in `acme`") && unknown.contains("b3b3b3b3"),
        "{unknown}"
    );
    let short = said("a").await;
    assert!(short.contains("begins more than one commit") && short.contains("a1a1a1a1"), "{short}");
    refused(store.set_pin(&permit().await, None, entry("tenant.unpinned", at(3))).await, "refused");

    let before = now_of(&store, "acme").await;
    let pin = store.set_pin(&permit().await, pin_to("a2a2"), entry("tenant.pinned", at(4))).await.unwrap();
    assert_eq!((pin.commit.as_str(), pin.since, pin.until), (ids[1].as_str(), at(4), at(900)));
    let after = now_of(&store, "acme").await;
    assert_eq!(after.authority, before.authority + 1, "what was decided before counts no more");
    assert_eq!((&after.applied, after.generation), (&before.applied, before.generation));
    assert_eq!(after.workflows(at(5)).unwrap().keys().collect::<Vec<_>>(), [&v.id]);
    assert_eq!(after.workflows(at(900)).unwrap().keys().collect::<Vec<_>>(), [&w.id], "its end is outside");
    let head = store.tenants().await.unwrap()[0].clone();
    assert_eq!((head.deadline, head.status.pinned.as_ref()), (Some(at(900)), Some(&pin)));
    // A pass that began before the pin writes its row after it.
    store
        .set_status(&reconcile(&after, START), &status(&tenant_id("acme"), Status::Invalid, 9), &[])
        .await
        .unwrap();
    assert_eq!(store.tenants().await.unwrap()[0].status.pinned, Some(pin));

    let stale = right::<Start>("carol", &before, START);
    let run = pins(&tenant_id("acme"), &w, 1, at(5));
    refused(store.start(&stale, run.clone(), entry("run.started", at(5))).await, "denied");
    let fresh = right::<Start>("carol", &after, START);
    refused(store.start(&fresh, run, entry("run.started", at(5))).await, "not found");
    let run = pins(&tenant_id("acme"), &v, 2, at(5));
    store.start(&fresh, run, entry("run.started", at(5))).await.unwrap();

    let note = store.set_pin(&permit().await, None, entry("tenant.unpinned", at(6))).await.unwrap();
    assert_eq!(note.commit.as_str(), ids[1]);
    let last = now_of(&store, "acme").await;
    assert_eq!((last.pin, store.tenants().await.unwrap()[0].status.pinned.clone()), (None, None));
    let view = right::<View>("audrey", &now_of(&store, "acme").await, START);
    let known = store.applied_commits(&view, 2).await.unwrap();
    let known: Vec<_> = known.iter().map(|one| (one.commit.as_str(), one.generation, one.at)).collect();
    assert_eq!(known, [(ids[2].as_str(), 3, at(2)), (ids[1].as_str(), 2, at(1))]);
}

pub(super) async fn a_pin_lets_itself_go_once_and_makes_up_for_no_schedule(store: Tested) {
    let scheduled = |id: &str, entry: &str| {
        let mut flow = workflow(id, &["main"]);
        flow.triggers.schedules = vec![crate::domain::ScheduleTrigger {
            entry: entry.to_owned(),
            cron: "* * * * *".to_owned(),
            timezone: "UTC".to_owned(),
            catch_up: crate::domain::CatchUp::All,
            overlap: Overlap::Skip,
            exact: true,
            with: BTreeMap::new(),
        }];
        flow
    };
    apply(&store, "acme", 1, state(&[scheduled("both", "b"), scheduled("old", "o")])).await;
    apply(&store, "acme", 2, state(&[scheduled("both", "b"), scheduled("new", "n")])).await;
    let cursors = async || {
        let permit = schedule(&now_of(&store, "acme").await, at(1_000));
        let cursors = store.schedule_cursors(&permit).await.unwrap();
        let named = cursors.into_iter().map(|((workflow, _), at)| (workflow.to_string(), at));
        named.collect::<BTreeMap<_, _>>()
    };
    let passed = |workflow: &str, entry: &str, cursor| Fired {
        workflow: workflow.parse().unwrap(),
        entry: entry.to_owned(),
        cursor,
        overlap: Overlap::Skip,
        pins: None,
    };
    let fired = vec![passed("both", "b", at(5)), passed("old", "o", at(1)), passed("new", "n", at(5))];
    store.fire(&schedule(&now_of(&store, "acme").await, START), fired, at(5)).await.unwrap();
    let permit = right::<Steer>("carol", &now_of(&store, "acme").await, START);
    store.set_pin(&permit, pin_to(commit(1).as_str()), entry("tenant.pinned", at(60))).await.unwrap();
    assert_eq!(
        cursors().await,
        BTreeMap::from([("both".into(), at(5)), ("old".into(), at(60)), ("new".into(), at(5))])
    );

    let standing = now_of(&store, "acme").await;
    let loop_ = reconcile(&standing, at(899));
    assert_eq!(store.end_pin(&loop_, at(899)).await.unwrap(), None);
    let ended = store.end_pin(&loop_, at(1_000)).await.unwrap().unwrap();
    assert_eq!(ended.commit, commit(1));
    assert_eq!(cursors().await["new"], at(900), "from its end on, not from when that was noted");
    let again = reconcile(&now_of(&store, "acme").await, at(1_001));
    assert_eq!(store.end_pin(&again, at(1_001)).await.unwrap(), None, "once");
    let permit = right::<ViewAccess>("audrey", &now_of(&store, "acme").await, at(1_001));
    let audit = store.audit(&permit, 0, 100).await.unwrap();
    let last = &audit.last().unwrap().entry;
    assert_eq!((last.action.as_str(), last.commit.as_ref()), ("tenant.unpinned", Some(&commit(1))));
}

pub(super) async fn limits_are_the_lesser_of_the_commit_and_the_applied_state(store: Tested) {
    let mut wide = workflow("w", &["main"]);
    wide.steps[0].resources.memory = crate::domain::ByteSize::from_mib(4096);
    wide.steps[0].network = vec!["api.example:443".parse().unwrap()];
    apply(&store, "acme", 1, state(std::slice::from_ref(&wide))).await;
    start(&store, &wide, 1, at(1)).await;
    let lease = claim(&store, 1, at(1)).await.remove(0);
    assert_eq!(lease.pins.workflow, wide);
    complete(&store, &lease, Outcome::Success, at(2)).await;
    start(&store, &wide, 2, at(3)).await;
    apply(&store, "acme", 2, state(&[workflow("w", &["main"])])).await;
    let step = claim(&store, 1, at(4)).await.remove(0).pins.workflow.steps[0].clone();
    assert_eq!((step.resources.memory, step.network), (crate::domain::ByteSize::from_mib(512), vec![]));
}

pub(super) async fn private_ranges_open_as_the_applied_platform_says(store: Tested) {
    let host = |text: &str| -> HostPort { text.parse().unwrap() };
    let mut flow = workflow("w", &["main"]);
    flow.steps[0].network = vec![host("db.example:5432"), host("db.example:22")];
    apply(&store, "acme", 1, state(std::slice::from_ref(&flow))).await;
    let opening =
        |tenant: &str, name: &str, port| PrivateHost { tenant: tenant.into(), host: name.into(), port };
    let all = [
        opening("acme", "db.example", 5432),
        opening("acme", "other.example", 22),
        opening("globex", "db.example", 22),
    ];
    let own = || vec![host("db.example:5432"), host("other.example:22")];
    // Nothing is open before the platform is applied, and nothing once it takes its word back.
    let steps: [(&[PrivateHost], Vec<HostPort>); 4] =
        [(&[], vec![]), (&all, own()), (&all[1..], own()[1..].to_vec()), (&[], vec![])];
    for (number, (private, want)) in (1..).zip(steps) {
        if number > 1 {
            let mut platform = platform();
            platform.settings.private = private.to_vec();
            platform.settings.indexes = vec!["https://pypi.example/simple".to_owned()];
            let applied = AppliedPlatform { commit: commit(1), keys: ChangeKeys::default(), platform };
            let row = StatusRow { tenant: None, ..status(&tenant_id("acme"), Status::Applied, 1) };
            store.apply_platform(&applied, &row, &[]).await.unwrap();
        }
        start(&store, &flow, number, at(1)).await;
        let lease = claim(&store, 1, at(1)).await.remove(0);
        assert_eq!(lease.private.iter().cloned().collect::<Vec<_>>(), want, "{number}");
        assert!(lease.indexes.is_empty(), "a step without a lock needs none");
        complete(&store, &lease, Outcome::Success, at(2)).await;
    }
}
