//! What every engine must do, run on each: the meaning of the trait, one test a sentence.

mod approvals;
mod payloads;
mod pins;

use std::sync::Arc;

use serde_json::json;

use super::fixture::*;
use super::*;
use crate::authz::action::{Cancel, Release, Revoke, Start, Steer, Suspend, View, ViewAccess, ViewHealth};
use crate::domain::{
    Actor, Elevation, Grant, HeldLine, HeldReason, OnLimit, OnRevoke, Outcome, Overlap, Phase, Principal,
    Role, Secret, SecretVersion, Status, TriggerKind, VersionState, Window, Workflow,
};
use crate::record::Verifier;
use crate::run::CancelRequest;
use approvals::{
    a_run_that_waits_for_people_holds_no_slot, an_answer_is_recorded_once_and_counts_for_what_was_shown,
    nobody_answers_in_time,
};
use payloads::{
    a_payload_goes_when_its_time_is_over, a_rerun_keeps_what_its_payload_brings_back,
    a_run_that_ends_leaves_nothing_in_clear, what_ended_before_is_closed_by_a_sweep,
    without_a_recipient_it_is_dropped,
};
use pins::{
    a_pin_lets_itself_go_once_and_makes_up_for_no_schedule, a_pin_takes_only_an_applied_commit,
    limits_are_the_lesser_of_the_commit_and_the_applied_state,
    private_ranges_open_as_the_applied_platform_says,
};

/// Runs every case on every engine.
macro_rules! conformance {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(Arc::new(super::MemoryStore::new())).await;
                }
            )*
            use std::sync::Arc;
        }
        mod sqlite {
            $(
                #[tokio::test]
                async fn $case() {
                    let directory = tempfile::tempdir().unwrap();
                    let clock: crate::domain::Clock = Arc::new(|| super::START);
                    let store = super::SqliteStore::open(directory.path(), clock).await.unwrap();
                    let store = Arc::new(store);
                    super::$case(Arc::clone(&store) as super::Tested).await;
                    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
                    store.close().await;
                }
            )*
            use std::sync::Arc;
        }
    };
}

conformance!(
    a_tenant_is_applied_once_and_seen_by_who_may,
    an_apply_is_refused_if_the_state_moved_on,
    an_apply_whose_audit_or_runs_are_part_of_it_lands_whole,
    removals_alone_leave_the_rest_and_raise_the_authority,
    what_was_revoked_or_ended_never_returns,
    an_elevation_counts_from_its_apply_and_is_void_when_asked_too_late,
    a_removed_tenant_is_disabled_and_its_name_is_another_tenant,
    a_permit_counts_in_its_tenant_until_its_end_and_while_no_right_ended,
    a_run_is_made_once_per_trigger_key,
    a_run_goes_from_queue_to_record,
    a_completed_step_leases_the_next_to_the_same_worker,
    a_repeated_completion_gives_the_same_answer,
    the_end_of_an_output_comes_with_the_report,
    a_lease_that_is_over_can_write_nothing,
    a_dead_workers_leases_are_given_up_at_once,
    a_renewed_lease_lasts_and_says_when_its_end_is_asked_for,
    waiting_tenants_take_turns,
    the_limit_of_a_tenant_counts_runs,
    paused_and_suspended_work_waits_while_what_has_begun_goes_on,
    a_hard_tenant_and_one_of_another_region_wait,
    an_offer_gives_what_a_claim_would,
    a_concurrency_key_queues_skips_or_cancels,
    a_schedule_fires_once_and_moves_its_cursor,
    a_schedule_meets_its_last_run,
    cancelling_ends_what_waits_and_stops_what_runs,
    an_answer_is_recorded_once_and_counts_for_what_was_shown,
    a_run_that_waits_for_people_holds_no_slot,
    nobody_answers_in_time,
    revoking_names_the_runs_and_ends_them_where_it_says_so,
    a_pin_takes_only_an_applied_commit,
    a_pin_lets_itself_go_once_and_makes_up_for_no_schedule,
    limits_are_the_lesser_of_the_commit_and_the_applied_state,
    private_ranges_open_as_the_applied_platform_says,
    release_lets_go_what_is_held_until_the_next_pass,
    the_platform_and_the_source_are_kept,
    audit_chains_are_whole_and_apart,
    runs_are_listed_newest_first_and_found_by_their_end,
    time_never_goes_back,
    a_refused_operation_leaves_nothing_behind,
    a_run_that_ends_leaves_nothing_in_clear,
    without_a_recipient_it_is_dropped,
    what_ended_before_is_closed_by_a_sweep,
    a_payload_goes_when_its_time_is_over,
    a_rerun_keeps_what_its_payload_brings_back,
);

type Tested = Arc<dyn Store>;

const WORKER: &str = "embedded";

async fn now_of(store: &Tested, name: &str) -> ActualState {
    Arc::unwrap_or_clone(store.access(&tenant_id(name)).await.unwrap().unwrap())
}

/// Applies a tenant with these workflows at the commit of a number.
async fn apply(store: &Tested, name: &str, number: u64, next: TenantState) -> AppliedAt {
    let tenant = tenant_id(name);
    let actual =
        store.access(&tenant).await.unwrap().unwrap_or_else(|| ActualState::empty(tenant.clone()).into());
    let permit = reconcile(&actual, START);
    let expected = store.actual(&permit).await.unwrap().generation;
    store.apply(&permit, &application(&tenant, expected, number, Some(next)), START).await.unwrap()
}

async fn start(store: &Tested, workflow: &Workflow, number: u64, now: Timestamp) -> Started {
    start_in(store, "acme", workflow, number, now).await
}

async fn start_in(store: &Tested, name: &str, workflow: &Workflow, number: u64, now: Timestamp) -> Started {
    let actual = now_of(store, name).await;
    let permit = right::<Start>("carol", &actual, now);
    let pins = pins(&tenant_id(name), workflow, number, now);
    store.start(&permit, pins, entry("run.started", now)).await.unwrap()
}

async fn claim(store: &Tested, slots: u32, now: Timestamp) -> Vec<Lease> {
    store.claim(WORKER, None, slots, now).await.unwrap()
}

async fn complete(store: &Tested, lease: &Lease, outcome: Outcome, now: Timestamp) -> Option<Lease> {
    store.complete(&lease.permit, &lease.attempt, report(outcome), now).await.unwrap()
}

async fn show(store: &Tested, number: u64, now: Timestamp) -> crate::record::RunRecord {
    let permit = right::<View>("audrey", &now_of(store, "acme").await, now);
    store.run(&permit, &run_id(number)).await.unwrap()
}

/// How the run of a number ended.
async fn outcome(store: &Tested, number: u64) -> Option<Outcome> {
    show(store, number, START).await.outcome
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>, want: &str) {
    match result {
        Ok(value) => panic!("not refused: {value:?}"),
        Err(error) => assert_eq!(refusal(&error), want, "{error}"),
    }
}

async fn a_tenant_is_applied_once_and_seen_by_who_may(store: Tested) {
    let next = state(&[workflow("w", &["main"])]);
    let first = apply(&store, "acme", 1, next.clone()).await;
    assert_eq!((first.generation, first.changed), (1, true));
    let again = apply(&store, "acme", 2, next.clone()).await;
    assert_eq!((again.generation, again.changed), (1, false), "an equal state changes nothing");
    let actual = now_of(&store, "acme").await;
    let applied = actual.applied.clone().unwrap();
    assert_eq!((applied.commit, applied.digest), (commit(1), next.digest()));
    let heads = store.tenants().await.unwrap();
    assert_eq!(heads.len(), 1);
    assert_eq!((heads[0].authority, heads[0].status.status), (0, Status::Applied));
    let permit = right::<ViewHealth>("audrey", &actual, START);
    assert_eq!(store.status(&permit).await.unwrap().applied_generation, 1);
    assert_eq!(*store.view(&right::<View>("audrey", &actual, START)).await.unwrap(), actual);
    let changed = apply(&store, "acme", 3, state(&[workflow("w", &["main", "more"])])).await;
    assert_eq!((changed.generation, changed.changed), (2, true));
    assert_eq!(store.tenants().await.unwrap()[0].status.applied_generation, 2);
}

async fn an_apply_is_refused_if_the_state_moved_on(store: Tested) {
    apply(&store, "acme", 1, state(&[])).await;
    let permit = reconcile(&now_of(&store, "acme").await, START);
    let late = application(&tenant_id("acme"), 0, 2, Some(state(&[workflow("w", &["main"])])));
    refused(store.apply(&permit, &late, START).await, "moved");
    assert_eq!(now_of(&store, "acme").await.generation, 1);
}

async fn an_apply_whose_audit_or_runs_are_part_of_it_lands_whole(store: Tested) {
    let tenant = tenant_id("acme");
    let w = workflow("w", &["main"]);
    let permit = reconcile(&ActualState::empty(tenant.clone()), START);
    let mut first = application(&tenant, 0, 1, Some(state(std::slice::from_ref(&w))));
    let mut run = pins(&tenant, &w, 1, START);
    run.trigger.kind = TriggerKind::Commit;
    first.runs = vec![run.clone()];
    let done = store.apply(&permit, &first, START).await.unwrap();
    assert_eq!(done.queued, [run_id(1)]);
    assert_eq!(show(&store, 1, START).await.trigger.key, "1", "the key is the generation the apply made");
    // The same again: the generation stays, and so does the run.
    first.expected_generation = 1;
    first.runs = vec![RunPins { id: run_id(2), ..run }];
    let again = store.apply(&permit, &first, START).await.unwrap();
    assert_eq!((again.queued, again.changed), (vec![], false));
    let audit =
        store.audit(&right::<ViewAccess>("audrey", &now_of(&store, "acme").await, START), 0, 10).await;
    assert_eq!(audit.unwrap().len(), 2);
}

async fn removals_alone_leave_the_rest_and_raise_the_authority(store: Tested) {
    let tenant = tenant_id("acme");
    apply(&store, "acme", 1, state(&[workflow("w", &["main"])])).await;
    let actual = now_of(&store, "acme").await;
    let carol = Grant { role: Role::Operator, principal: Principal::User("carol".parse().unwrap()) };
    let mut restricted = application(&tenant, 1, 2, None);
    restricted.removals_only = true;
    restricted.removals.grants = vec![carol.clone()];
    let done = store.apply(&reconcile(&actual, START), &restricted, START).await.unwrap();
    assert_eq!((done.generation, done.changed), (1, false));
    let after = now_of(&store, "acme").await;
    let applied = after.applied.unwrap();
    assert!(!applied.state.grants.contains(&carol) && applied.state.workflows.contains_key("w"));
    assert_eq!((applied.commit, applied.digest), (commit(1), applied.state.digest()));
    assert_eq!(after.authority, actual.authority + 1);
}

async fn what_was_revoked_or_ended_never_returns(store: Tested) {
    let mut with = state(&[]);
    let elevation = Elevation {
        id: "inc-1".parse().unwrap(),
        user: "carol".parse().unwrap(),
        role: Role::Operator,
        window: Window::Planned { from: START, until: at(3_600) },
        reason: "incident".to_owned(),
    };
    with.elevations.insert(elevation.id.clone(), elevation);
    with.secrets.insert("token".parse().unwrap(), secret(OnRevoke::Mark));
    apply(&store, "acme", 1, with.clone()).await;
    let actual = now_of(&store, "acme").await;
    let permit = right::<Revoke>("carol", &actual, START);
    let version = "v1".parse().unwrap();
    store.revoke(&permit, &"token".parse().unwrap(), &version, entry("secret.revoked", START)).await.unwrap();
    apply(&store, "acme", 2, state(&[])).await;
    apply(&store, "acme", 3, with).await;
    let after = now_of(&store, "acme").await;
    assert!(after.elevations_ended.contains("inc-1"));
    assert!(after.is_revoked(&"token".parse().unwrap(), &version));
    assert!(after.authority >= 2);
}

fn secret(on_revoke: OnRevoke) -> Secret {
    Secret {
        name: "token".parse().unwrap(),
        owner: Principal::User("olga".parse().unwrap()),
        purposes: Default::default(),
        rotate_every: None,
        leaked_at: None,
        redact: true,
        on_revoke,
        versions: vec![SecretVersion {
            id: "v1".parse().unwrap(),
            state: VersionState::Current,
            created: None,
            accept_until: None,
            file: "tenants/acme/secrets/token.yaml".to_owned(),
            blob: None,
        }],
    }
}

async fn an_elevation_counts_from_its_apply_and_is_void_when_asked_too_late(store: Tested) {
    let elevation = |id: &str, ask_until| Elevation {
        id: id.parse().unwrap(),
        user: "audrey".parse().unwrap(),
        role: Role::Operator,
        window: Window::OnApply { length: Length::from_secs(600), ask_until },
        reason: "incident".to_owned(),
    };
    let mut next = state(&[]);
    for one in [elevation("in-time", at(60)), elevation("too-late", START)] {
        next.elevations.insert(one.id.clone(), one);
    }
    apply(&store, "acme", 1, next).await;
    let actual = now_of(&store, "acme").await;
    assert_eq!(actual.elevations_started.get("in-time"), Some(&START));
    assert!(actual.elevations_ended.contains("too-late"));
    assert_eq!(store.tenants().await.unwrap()[0].deadline, Some(at(600)), "the loop looks again at its end");
}

async fn a_removed_tenant_is_disabled_and_its_name_is_another_tenant(store: Tested) {
    let w = workflow("w", &["main"]);
    apply(&store, "acme", 1, state(std::slice::from_ref(&w))).await;
    start(&store, &w, 1, START).await;
    start(&store, &w, 2, START).await;
    let lease = claim(&store, 1, START).await.remove(0);
    let before = now_of(&store, "acme").await;
    let old = right::<View>("audrey", &before, START);
    let gone = application(&tenant_id("acme"), 1, 2, None);
    let permit = reconcile(&before, START);
    assert!(store.apply(&permit, &gone, at(1)).await.unwrap().changed);
    assert!(!store.apply(&permit, &gone, at(2)).await.unwrap().changed, "removing twice changes nothing");
    let removed = now_of(&store, "acme").await;
    assert_eq!((removed.removed, removed.authority), (Some(at(1)), before.authority + 1));
    refused(store.view(&old).await, "denied");
    assert_eq!(claim(&store, 8, at(2)).await.len(), 0);
    let renewed = store.renew(&[(lease.permit.clone(), lease.attempt.clone())], at(2)).await.unwrap();
    assert!(
        matches!(renewed[0], Renewal::Until { cancel: true, .. }),
        "what runs is asked to end: {renewed:?}"
    );
    assert!(store.tenants().await.unwrap()[0].removed);

    // The name returns: another tenant, in which nothing of the old one is seen.
    apply(&store, "acme", 3, state(&[w])).await;
    let returned = now_of(&store, "acme").await;
    assert_eq!((returned.incarnation, returned.generation, returned.removed), (2, 1, None));
    let permit = right::<View>("audrey", &returned, at(3));
    assert_eq!(store.runs(&permit, &RunFilter { limit: 10, ..RunFilter::default() }).await.unwrap(), []);
    refused(store.run(&permit, &run_id(1)).await, "not found");
    let audit = store.audit(&right::<ViewAccess>("audrey", &returned, at(3)), 0, 10).await.unwrap();
    assert_eq!(audit.len(), 1);
    refused(store.view(&old).await, "not found");
}

async fn a_permit_counts_in_its_tenant_until_its_end_and_while_no_right_ended(store: Tested) {
    apply(&store, "acme", 1, state(&[workflow("w", &["main"])])).await;
    apply(&store, "globex", 1, state(&[workflow("w", &["main"])])).await;
    let actual = now_of(&store, "acme").await;
    let permit = right::<Start>("carol", &actual, START);
    let others = pins(&tenant_id("globex"), &workflow("w", &["main"]), 1, START);
    refused(store.start(&permit, others, entry("run.started", START)).await, "not found");
    let own = pins(&tenant_id("acme"), &workflow("w", &["main"]), 1, START);
    let late = entry("run.started", at(3_600));
    let view = right::<View>("audrey", &actual, START);
    apply(&store, "acme", 2, {
        let mut less = state(&[]);
        less.grants.clear();
        less
    })
    .await;
    refused(store.view(&view).await, "denied");
    refused(store.start(&permit, own.clone(), entry("run.started", START)).await, "denied");
    refused(store.start(&permit, own, late).await, "denied");
}

async fn a_run_is_made_once_per_trigger_key(store: Tested) {
    let w = workflow("w", &["main"]);
    apply(&store, "acme", 1, state(std::slice::from_ref(&w))).await;
    assert_eq!(start(&store, &w, 1, START).await, Started::Queued(run_id(1)));
    let permit = right::<Start>("carol", &now_of(&store, "acme").await, START);
    let mut same = pins(&tenant_id("acme"), &w, 1, START);
    same.id = run_id(2);
    let again = store.start(&permit, same, entry("run.started", START)).await.unwrap();
    assert_eq!(again, Started::Known(run_id(1)));
    let unknown = pins(&tenant_id("acme"), &workflow("other", &["main"]), 3, START);
    refused(store.start(&permit, unknown, entry("run.started", START)).await, "not found");
    assert_eq!(claim(&store, 8, START).await.len(), 1);
}

async fn a_run_goes_from_queue_to_record(store: Tested) {
    let w = workflow("w", &["main"]);
    apply(&store, "acme", 1, state(std::slice::from_ref(&w))).await;
    start(&store, &w, 1, START).await;
    assert_eq!(show(&store, 1, START).await.state, Phase::Queued);
    let lease = claim(&store, 1, at(5)).await.remove(0);
    assert_eq!((lease.attempt.attempt, lease.attempt.item, lease.until), (1, None, at(5) + LEASE));
    assert_eq!(lease.pins.id, run_id(1));
    assert!(lease.idempotency_key.contains(run_id(1).as_str()));
    assert_eq!(claim(&store, 1, at(5)).await.len(), 0, "leased once");
    assert_eq!(show(&store, 1, at(5)).await.state, Phase::Running);
    let mut said = report(Outcome::Success);
    said.outputs = [("rows".parse().unwrap(), json!(3))].into();
    said.record.secrets_used = vec!["tenants/acme/token@v1".to_owned()];
    let next = store.complete(&lease.permit, &lease.attempt, said, at(9)).await.unwrap();
    assert!(next.is_none());
    let record = show(&store, 1, at(9)).await;
    assert_eq!((record.state, record.outcome), (Phase::Ended, Some(Outcome::Success)), "{:?}", record.reason);
    assert_eq!((record.started_at, record.ended_at), (Some(at(5)), Some(at(9))));
    assert_eq!(record.secrets_used, ["tenants/acme/token@v1"]);
    assert_eq!(record.steps.len(), 1);
    let step = &record.steps[0];
    assert_eq!((step.attempt, step.log_bytes, step.ended_at), (1, 7, Some(at(9))));
    assert_eq!(step.outputs.get("rows"), Some(&json!(3)));
}

async fn a_completed_step_leases_the_next_to_the_same_worker(store: Tested) {
    let w = workflow("w", &["one", "two", "three"]);
    apply(&store, "acme", 1, state(std::slice::from_ref(&w))).await;
    start(&store, &w, 1, START).await;
    let mut lease = Some(claim(&store, 4, START).await.remove(0));
    let mut steps = Vec::new();
    while let Some(held) = lease {
        steps.push(held.attempt.step.as_str().to_owned());
        lease = complete(&store, &held, Outcome::Success, at(1)).await;
    }
    assert_eq!(steps, ["one", "two", "three"]);
    assert_eq!(outcome(&store, 1).await, Some(Outcome::Success));
}

async fn a_repeated_completion_gives_the_same_answer(store: Tested) {
    let w = workflow("w", &["one", "two"]);
    apply(&store, "acme", 1, state(std::slice::from_ref(&w))).await;
    start(&store, &w, 1, START).await;
    let lease = claim(&store, 1, START).await.remove(0);
    let first = complete(&store, &lease, Outcome::Success, at(1)).await.unwrap();
    let again = complete(&store, &lease, Outcome::Success, at(2)).await.unwrap();
    assert_eq!((first.attempt, first.until), (again.attempt, again.until));
    let mut other = report(Outcome::Failure);
    other.record.log_bytes = 8;
    refused(store.complete(&lease.permit, &lease.attempt, other, at(2)).await, "stale");
    let audit =
        store.audit(&right::<ViewAccess>("audrey", &now_of(&store, "acme").await, START), 0, 99).await;
    let ended = audit.unwrap().into_iter().filter(|record| record.entry.action == "attempt.ended").count();
    assert_eq!(ended, 1, "recorded once");
}

async fn the_end_of_an_output_comes_with_the_report(store: Tested) {
    let w = workflow("w", &["main"]);
    apply(&store, "acme", 1, state(std::slice::from_ref(&w))).await;
    apply(&store, "globex", 2, state(std::slice::from_ref(&w))).await;
    start(&store, &w, 1, START).await;
    let lease = claim(&store, 1, START).await.remove(0);
    let view = right::<View>("audrey", &now_of(&store, "acme").await, at(2));
    assert_eq!(store.log_end(&view, &lease.attempt).await.unwrap(), [], "it runs");
    let piece = |sequence, text: String| LogRecord { sequence, at: START, stream: LogStream::Stderr, text };
    let said = |text: String| Report { log_end: vec![piece(3, text)], ..report(Outcome::Success) };
    let long = said("x".repeat(LOG_END_BYTES_MAX + 1));
    refused(store.complete(&lease.permit, &lease.attempt, long, at(1)).await, "refused");
    assert_eq!(show(&store, 1, at(1)).await.state, Phase::Running, "nothing was recorded");
    let whole = "\u{1F980}".repeat(LOG_END_BYTES_MAX / 4);
    store.complete(&lease.permit, &lease.attempt, said(whole.clone()), at(1)).await.unwrap();
    assert_eq!(store.log_end(&view, &lease.attempt).await.unwrap(), [piece(3, whole.clone())]);
    // Said again, since the reply was lost: it stands there once.
    store.complete(&lease.permit, &lease.attempt, said(whole.clone()), at(2)).await.unwrap();
    assert_eq!(store.log_end(&view, &lease.attempt).await.unwrap(), [piece(3, whole)]);
    let other = AttemptId { attempt: 2, ..lease.attempt.clone() };
    refused(store.log_end(&view, &other).await, "not found");
    let stranger = right::<View>("audrey", &now_of(&store, "globex").await, at(2));
    refused(store.log_end(&stranger, &lease.attempt).await, "not found");
}

async fn a_lease_that_is_over_can_write_nothing(store: Tested) {
    let w = workflow("w", &["main"]);
    apply(&store, "acme", 1, state(std::slice::from_ref(&w))).await;
    start(&store, &w, 1, START).await;
    let lost = claim(&store, 1, START).await.remove(0);
    store.holds(&lost.permit, &lost.attempt, at(60)).await.unwrap();
    refused(store.holds(&lost.permit, &lost.attempt, at(61)).await, "stale");
    assert!(store.goes_on(at(600)).await.unwrap().is_some(), "a lease runs out by itself");
    assert_eq!(store.goes_on(at(59)).await.unwrap(), None, "and not before its time");
    let next_wake = store.wake(10, at(61)).await.unwrap();
    assert_eq!(next_wake, None, "what is queued waits for no time");
    assert_eq!(store.goes_on(at(600)).await.unwrap(), None, "what is queued waits for a worker");
    let again = claim(&store, 1, at(61)).await.remove(0);
    assert_eq!(again.attempt.attempt, 2);
    refused(store.complete(&lost.permit, &lost.attempt, report(Outcome::Failure), at(62)).await, "stale");
    refused(store.reach(&lost.permit.read_secret(), &lost.attempt, at(62)).await, "stale");
    let asked = entry("secret.requested", at(62));
    refused(store.audit_attempt(&lost.permit.read_secret(), &lost.attempt, asked).await, "stale");
    let renewed = store.renew(&[(lost.permit.clone(), lost.attempt.clone())], at(62)).await.unwrap();
    assert_eq!(renewed, [Renewal::Lost]);
    complete(&store, &again, Outcome::Success, at(63)).await;
    let record = show(&store, 1, at(63)).await;
    let attempts: Vec<_> = record.steps.iter().map(|step| (step.attempt, step.outcome)).collect();
    assert_eq!(attempts, [(1, Some(Outcome::Error)), (2, Some(Outcome::Success))]);
}

async fn a_dead_workers_leases_are_given_up_at_once(store: Tested) {
    let w = workflow("w", &["main"]);
    apply(&store, "acme", 1, state(std::slice::from_ref(&w))).await;
    start(&store, &w, 1, START).await;
    let lost = claim(&store, 1, START).await.remove(0);
    assert_eq!(store.abandon("another", at(1)).await.unwrap(), 0);
    assert_eq!(store.abandon(WORKER, at(1)).await.unwrap(), 1);
    let again = claim(&store, 1, at(1)).await.remove(0);
    assert_eq!(again.attempt.attempt, lost.attempt.attempt + 1);
    refused(store.complete(&lost.permit, &lost.attempt, report(Outcome::Success), at(2)).await, "stale");
}

async fn a_renewed_lease_lasts_and_says_when_its_end_is_asked_for(store: Tested) {
    let w = workflow("w", &["main"]);
    apply(&store, "acme", 1, state(std::slice::from_ref(&w))).await;
    start(&store, &w, 1, START).await;
    let lease = claim(&store, 1, START).await.remove(0);
    let held = [(lease.permit.clone(), lease.attempt.clone())];
    let renewed = store.renew(&held, at(30)).await.unwrap();
    assert_eq!(renewed, [Renewal::Until { until: at(90), cancel: false }]);
    store.wake(10, at(70)).await.unwrap();
    store.holds(&lease.permit, &lease.attempt, at(90)).await.unwrap();
    let actual = now_of(&store, "acme").await;
    let request = CancelRequest {
        by: Actor::User("carol".parse().unwrap()),
        reason: "enough".to_owned(),
        at: at(80),
        outcome: Outcome::Cancelled,
    };
    let permit = right::<Cancel>("carol", &actual, at(80));
    store.cancel(&permit, &run_id(1), request, entry("run.cancelled", at(80))).await.unwrap();
    let renewed = store.renew(&held, at(81)).await.unwrap();
    assert_eq!(renewed, [Renewal::Until { until: at(141), cancel: true }]);
}

async fn waiting_tenants_take_turns(store: Tested) {
    let w = workflow("w", &["main"]);
    for name in ["acme", "globex", "initech"] {
        apply(&store, name, 1, state(std::slice::from_ref(&w))).await;
    }
    for number in 0..30 {
        start_in(&store, "acme", &w, number, START).await;
    }
    // A noisy tenant has been served alone for a while before the others come.
    assert_eq!(claim(&store, 10, START).await.len(), 10);
    for number in 100..105 {
        start_in(&store, "globex", &w, number, START).await;
        start_in(&store, "initech", &w, number + 100, START).await;
    }
    let mut order = Vec::new();
    for _ in 0..15 {
        let lease = claim(&store, 1, at(1)).await.remove(0);
        order.push(lease.permit.tenant().as_str().to_owned());
    }
    for name in ["acme", "globex", "initech"] {
        let turns = order.iter().filter(|turn| *turn == name).count();
        assert!((4..=6).contains(&turns), "{name} had {turns} of 15: {order:?}");
    }
    assert!(order[..4].contains(&"globex".to_owned()) && order[..4].contains(&"initech".to_owned()));
}

async fn the_limit_of_a_tenant_counts_runs(store: Tested) {
    let w = workflow("w", &["one", "two"]);
    let mut next = state(std::slice::from_ref(&w));
    next.settings.limits.concurrency = Some(2);
    apply(&store, "acme", 1, next).await;
    for number in 1..=4 {
        start(&store, &w, number, START).await;
    }
    let leases = claim(&store, 8, START).await;
    assert_eq!(leases.len(), 2);
    let next = complete(&store, &leases[0], Outcome::Success, at(1)).await.unwrap();
    assert_eq!(claim(&store, 8, at(1)).await.len(), 0, "a run counts between its steps");
    complete(&store, &next, Outcome::Success, at(2)).await;
    assert_eq!(claim(&store, 8, at(2)).await.len(), 1);
}

async fn paused_and_suspended_work_waits_while_what_has_begun_goes_on(store: Tested) {
    let (w, v) = (workflow("w", &["one", "two"]), workflow("v", &["main"]));
    apply(&store, "acme", 1, state(&[w.clone(), v.clone()])).await;
    start(&store, &w, 1, START).await;
    let begun = claim(&store, 1, START).await.remove(0);
    start(&store, &w, 2, START).await;
    start(&store, &v, 3, at(1)).await;
    let actual = now_of(&store, "acme").await;
    let pause = Pause { reason: "look first".to_owned(), until: Some(at(100)) };
    let steer = right::<Steer>("carol", &actual, START);
    store.set_pause(&steer, &w.id, Some(pause.clone()), entry("workflow.paused", at(1))).await.unwrap();
    refused(
        store.set_pause(&steer, &"none".parse().unwrap(), None, entry("workflow.resumed", at(1))).await,
        "not found",
    );
    assert_eq!(store.tenants().await.unwrap()[0].deadline, Some(at(100)));
    let other = claim(&store, 8, at(2)).await;
    assert_eq!(other.len(), 1);
    assert_eq!(other[0].attempt.run, run_id(3), "another workflow goes on");
    let second = complete(&store, &begun, Outcome::Success, at(2)).await;
    assert!(second.is_some(), "a run that has begun goes on");
    assert_eq!(claim(&store, 8, at(99)).await.len(), 0);

    let suspend = right::<Suspend>("carol", &actual, START);
    store.set_suspension(&suspend, Some(pause), entry("tenant.suspended", at(3))).await.unwrap();
    start(&store, &v, 4, at(4)).await;
    assert_eq!(claim(&store, 8, at(99)).await.len(), 0);
    let by_hook = RunPins {
        trigger: crate::domain::Trigger { kind: TriggerKind::Webhook, key: "d".to_owned(), time: at(4) },
        ..pins(&tenant_id("acme"), &v, 5, at(4))
    };
    let permit = right::<Start>("carol", &now_of(&store, "acme").await, at(4));
    let hooked = store.start(&permit, by_hook, entry("run.started", at(4))).await.unwrap();
    assert_eq!(hooked, Started::Skipped("the tenant is suspended: look first".to_owned()));
    let after: Vec<_> = claim(&store, 8, at(100)).await.into_iter().map(|lease| lease.attempt.run).collect();
    assert_eq!(after, [run_id(2), run_id(4)], "both end by themselves");
}

async fn a_hard_tenant_and_one_of_another_region_wait(store: Tested) {
    let w = workflow("w", &["main"]);
    let mut hard = state(std::slice::from_ref(&w));
    hard.settings.isolation = crate::domain::Isolation::Hard;
    apply(&store, "acme", 1, hard).await;
    let mut far = state(std::slice::from_ref(&w));
    far.settings.region = Some("eu-2".to_owned());
    apply(&store, "globex", 1, far).await;
    start_in(&store, "acme", &w, 1, START).await;
    start_in(&store, "globex", &w, 2, START).await;
    let served = store.claim(WORKER, Some(&["eu-1".to_owned()]), 8, START).await.unwrap();
    assert_eq!(served.len(), 0);
    let served = store.claim(WORKER, Some(&["eu-2".to_owned()]), 8, START).await.unwrap();
    assert_eq!(served.len(), 1);
    assert_eq!(served[0].permit.tenant().as_str(), "globex");
}

async fn an_offer_gives_what_a_claim_would(store: Tested) {
    let w = workflow("w", &["main"]);
    apply(&store, "acme", 1, state(std::slice::from_ref(&w))).await;
    let none = store.offer(WORKER, None, 8, START).await.unwrap();
    assert!(none.withdrawn().await.unwrap().is_none());
    for number in 1..4 {
        start(&store, &w, number, START).await;
    }
    let far = store.offer(WORKER, Some(&["eu-2".to_owned()]), 8, START).await.unwrap();
    assert!(far.withdrawn().await.unwrap().is_some(), "a tenant without a region is everybody's");
    for number in 4..7 {
        start(&store, &w, number, START).await;
    }
    let mut offer = store.offer(WORKER, None, 2, START).await.unwrap();
    let leases = offer.found().await.unwrap();
    assert_eq!(leases.len(), 2, "no more than its slots");
    for lease in &leases {
        complete(&store, lease, Outcome::Success, START).await;
    }
    assert_eq!(claim(&store, 8, START).await.len(), 1);
}

async fn a_concurrency_key_queues_skips_or_cancels(store: Tested) {
    let (queue, skip, cancel) = (
        exclusive("queue", OnLimit::Queue),
        exclusive("skip", OnLimit::Skip),
        exclusive("cancel", OnLimit::Cancel),
    );
    apply(&store, "acme", 1, state(&[queue.clone(), skip.clone(), cancel.clone()])).await;
    for (place, workflow) in [&queue, &skip, &cancel].into_iter().enumerate() {
        let first = 10 * (place as u64 + 1);
        for number in first..first + 3 {
            start(&store, workflow, number, at(number)).await;
        }
    }
    assert_eq!(show(&store, 11, at(60)).await.state, Phase::Waiting);
    assert_eq!(outcome(&store, 21).await, Some(Outcome::Skipped));
    assert_eq!(outcome(&store, 22).await, Some(Outcome::Skipped));
    assert_eq!(outcome(&store, 30).await, Some(Outcome::Cancelled));
    assert_eq!(outcome(&store, 31).await, Some(Outcome::Cancelled));
    let mut leases = claim(&store, 9, at(60)).await;
    leases.sort_by_key(|lease| lease.attempt.run.clone());
    let runs: Vec<_> = leases.iter().map(|lease| lease.attempt.run.clone()).collect();
    assert_eq!(runs, [run_id(10), run_id(20), run_id(32)], "one of each key at a time");
    complete(&store, &leases[0], Outcome::Failure, at(61)).await;
    let next = claim(&store, 9, at(61)).await;
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].attempt.run, run_id(11), "the end of one lets the oldest in");

    // One that runs is asked to end, and the new one waits until it has.
    start(&store, &cancel, 33, at(62)).await;
    assert_eq!(show(&store, 33, at(62)).await.state, Phase::Waiting);
    assert_eq!(claim(&store, 9, at(62)).await.len(), 0);
    complete(&store, &leases[2], Outcome::Cancelled, at(63)).await;
    assert_eq!(claim(&store, 9, at(63)).await[0].attempt.run, run_id(33));
}

fn fired(workflow: &Workflow, number: u64, overlap: Overlap) -> Fired {
    let mut run = pins(&tenant_id("acme"), workflow, number, at(number));
    run.trigger.kind = TriggerKind::Schedule;
    run.trigger.key = format!("daily/{number}");
    Fired {
        workflow: workflow.id.clone(),
        entry: "daily".to_owned(),
        cursor: at(number),
        overlap,
        pins: Some(run),
    }
}

async fn a_schedule_fires_once_and_moves_its_cursor(store: Tested) {
    let w = workflow("w", &["main"]);
    apply(&store, "acme", 1, state(std::slice::from_ref(&w))).await;
    let permit = schedule(&now_of(&store, "acme").await, START);
    let due = fired(&w, 5, Overlap::Queue);
    let passed = Fired { pins: None, cursor: at(4), ..fired(&w, 4, Overlap::Queue) };
    let answers = store.fire(&permit, vec![passed, due.clone()], at(6)).await.unwrap();
    assert_eq!(answers[1], Started::Queued(run_id(5)));
    assert!(matches!(answers[0], Started::Skipped(_)));
    let again = store.fire(&permit, vec![due], at(6)).await.unwrap();
    assert_eq!(again, [Started::Known(run_id(5))]);
    let cursors = store.schedule_cursors(&permit).await.unwrap();
    assert_eq!(cursors, [((w.id.clone(), "daily".to_owned()), at(5))].into());
    assert_eq!(store.applied(&permit).await.unwrap().generation, 1);
}

async fn a_schedule_meets_its_last_run(store: Tested) {
    let (skip, queue, cancel) =
        (workflow("skip", &["main"]), workflow("queue", &["main"]), workflow("cancel", &["main"]));
    apply(&store, "acme", 1, state(&[skip.clone(), queue.clone(), cancel.clone()])).await;
    let permit = schedule(&now_of(&store, "acme").await, START);
    let fire = async |fired| store.fire(&permit, vec![fired], at(30)).await.unwrap().remove(0);
    fire(fired(&skip, 1, Overlap::Skip)).await;
    assert!(matches!(fire(fired(&skip, 2, Overlap::Skip)).await, Started::Skipped(_)));
    fire(fired(&queue, 11, Overlap::Queue)).await;
    fire(fired(&queue, 12, Overlap::Queue)).await;
    fire(fired(&cancel, 21, Overlap::Cancel)).await;
    fire(fired(&cancel, 22, Overlap::Cancel)).await;
    assert_eq!(outcome(&store, 21).await, Some(Outcome::Cancelled));
    let mut leases = claim(&store, 9, at(31)).await;
    leases.sort_by_key(|lease| lease.attempt.run.clone());
    let runs: Vec<_> = leases.iter().map(|lease| lease.attempt.run.clone()).collect();
    assert_eq!(runs, [run_id(1), run_id(11), run_id(22)]);
    complete(&store, &leases[1], Outcome::Success, at(32)).await;
    assert_eq!(claim(&store, 9, at(32)).await[0].attempt.run, run_id(12));
    let permit = right::<ViewAccess>("audrey", &now_of(&store, "acme").await, START);
    let skipped = store.audit(&permit, 0, 99).await.unwrap();
    assert!(skipped.iter().any(|record| record.entry.action == "run.skipped"), "a skip is on record");
}

async fn cancelling_ends_what_waits_and_stops_what_runs(store: Tested) {
    let w = workflow("w", &["main"]);
    apply(&store, "acme", 1, state(std::slice::from_ref(&w))).await;
    start(&store, &w, 1, START).await;
    start(&store, &w, 2, at(1)).await;
    let lease = claim(&store, 1, at(2)).await.remove(0);
    let permit = right::<Cancel>("carol", &now_of(&store, "acme").await, START);
    let request = || CancelRequest {
        by: Actor::User("carol".parse().unwrap()),
        reason: "enough".to_owned(),
        at: at(3),
        outcome: Outcome::Cancelled,
    };
    for number in [1, 2] {
        store.cancel(&permit, &run_id(number), request(), entry("run.cancelled", at(3))).await.unwrap();
    }
    assert_eq!(outcome(&store, 2).await, Some(Outcome::Cancelled));
    assert_eq!(outcome(&store, 1).await, None, "it has the grace to end by itself");
    assert_eq!(claim(&store, 9, at(3)).await.len(), 0);
    complete(&store, &lease, Outcome::Cancelled, at(4)).await;
    assert_eq!(outcome(&store, 1).await, Some(Outcome::Cancelled));
    let over = store.cancel(&permit, &run_id(1), request(), entry("run.cancelled", at(5))).await;
    refused(over, "refused");
    let unknown = store.cancel(&permit, &run_id(9), request(), entry("run.cancelled", at(5))).await;
    refused(unknown, "not found");
}

async fn revoking_names_the_runs_and_ends_them_where_it_says_so(store: Tested) {
    for (name, on_revoke, ends) in [("acme", OnRevoke::Mark, false), ("globex", OnRevoke::Cancel, true)] {
        let w = workflow("w", &["main"]);
        let mut next = state(std::slice::from_ref(&w));
        next.secrets.insert("token".parse().unwrap(), secret(on_revoke));
        apply(&store, name, 1, next).await;
        let actual = now_of(&store, name).await;
        let number = if ends { 2 } else { 1 };
        let mut run = pins(&tenant_id(name), &w, number, START);
        run.secret_versions = [("token".parse().unwrap(), "v1".parse().unwrap())].into();
        let permit = right::<Start>("carol", &actual, START);
        store.start(&permit, run, entry("run.started", START)).await.unwrap();
        let permit = right::<Revoke>("carol", &actual, START);
        let (token, version) = ("token".parse().unwrap(), "v1".parse().unwrap());
        let using = store.revoke(&permit, &token, &version, entry("secret.revoked", at(1))).await.unwrap();
        assert_eq!(using, [run_id(number)]);
        let after = now_of(&store, name).await;
        assert_eq!(after.authority, actual.authority + 1);
        let view = right::<View>("audrey", &after, at(1));
        let ended = store.run(&view, &run_id(number)).await.unwrap().outcome;
        assert_eq!(ended, ends.then_some(Outcome::Cancelled));
        refused(store.revoke(&permit, &token, &version, entry("secret.revoked", at(1))).await, "denied");
        let permit = right::<Revoke>("carol", &after, at(1));
        let unknown = "v9".parse().unwrap();
        refused(store.revoke(&permit, &token, &unknown, entry("secret.revoked", at(1))).await, "not found");
    }
}

async fn release_lets_go_what_is_held_until_the_next_pass(store: Tested) {
    apply(&store, "acme", 1, state(&[])).await;
    let actual = now_of(&store, "acme").await;
    let permit = right::<Release>("carol", &actual, START);
    refused(store.release(&permit, entry("tenant.released", START)).await, "refused");
    let mut held = status(&tenant_id("acme"), Status::Held, 2);
    held.held = vec![HeldLine {
        reason: HeldReason::PruneGuard,
        edge: "-workflow w".to_owned(),
        missing: vec!["tenantry release acme".to_owned()],
    }];
    store.set_status(&reconcile(&actual, START), &held, &[]).await.unwrap();
    store.release(&permit, entry("tenant.released", START)).await.unwrap();
    assert!(store.tenants().await.unwrap()[0].released);
    let failed = status(&tenant_id("acme"), Status::Failed, 2);
    store.set_status(&reconcile(&actual, START), &failed, &[]).await.unwrap();
    assert!(store.tenants().await.unwrap()[0].released, "a pass that could not try uses nothing up");
    apply(&store, "acme", 2, state(&[workflow("w", &["main"])])).await;
    assert!(!store.tenants().await.unwrap()[0].released);
}

async fn the_platform_and_the_source_are_kept(store: Tested) {
    assert_eq!(store.platform().await.unwrap(), None);
    assert_eq!(store.source().await.unwrap(), SourceRow::default());
    let applied = AppliedPlatform { commit: commit(1), keys: ChangeKeys::default(), platform: platform() };
    let mut row = status(&tenant_id("acme"), Status::Applied, 1);
    row.tenant = None;
    store.apply_platform(&applied, &row, &[entry("platform.applied", START)]).await.unwrap();
    assert_eq!(store.platform().await.unwrap().as_deref(), Some(&applied));
    assert_eq!(store.platform_status().await.unwrap(), Some(row.clone()));
    row.status = Status::Invalid;
    store.set_platform_status(&row, &[]).await.unwrap();
    assert_eq!(store.platform_status().await.unwrap(), Some(row));
    let source = SourceRow { head: Some(commit(1)), state: "current".to_owned(), ..SourceRow::default() };
    store.set_source(&source, &[entry("source.read", START)]).await.unwrap();
    assert_eq!(store.source().await.unwrap(), source);
    assert_eq!(store.platform_audit(0, 10).await.unwrap().len(), 2);
    // A row may land with what is written next, or as soon as somebody waits for it.
    let moved = |number| SourceRow { head: Some(commit(number)), ..source.clone() };
    let pending = store.set_source_ahead(&moved(2), &[entry("source.read", START)]).await.unwrap();
    apply(&store, "acme", 1, state(&[])).await;
    assert_eq!(store.source().await.unwrap(), moved(2));
    pending.landed().await.unwrap();
    store.set_source_ahead(&moved(3), &[]).await.unwrap().landed().await.unwrap();
    assert_eq!(store.source().await.unwrap(), moved(3));
    assert_eq!(store.platform_audit(0, 10).await.unwrap().len(), 3);
    // Seen again as it is: a later time counts, an earlier one does not.
    store.saw_source(at(60));
    store.saw_source(at(30));
    assert_eq!(store.source().await.unwrap(), SourceRow { fetched_at: Some(at(60)), ..moved(3) });
}

async fn audit_chains_are_whole_and_apart(store: Tested) {
    apply(&store, "acme", 1, state(&[])).await;
    apply(&store, "globex", 1, state(&[])).await;
    for (name, known) in [("acme", true), ("globex", true), ("nobody", false)] {
        for _ in 0..3 {
            let denied = AuditEntry { tenant: Some(tenant_id(name)), ..entry("view", at(1)) };
            store.append_audit(denied).await.unwrap();
        }
        if !known {
            continue;
        }
        let permit = right::<ViewAccess>("audrey", &now_of(&store, name).await, START);
        let records = store.audit(&permit, 0, 100).await.unwrap();
        assert_eq!(records.len(), 4, "its own and no other's");
        let mut verifier = Verifier::default();
        records.iter().for_each(|record| verifier.push(&serde_json::to_value(record).unwrap()));
        assert_eq!(verifier.finish(None), []);
        assert_eq!(store.audit(&permit, 2, 1).await.unwrap(), records[2..3]);
    }
    assert_eq!(store.platform_audit(0, 100).await.unwrap().len(), 3, "made-up names have no chain");
}

async fn runs_are_listed_newest_first_and_found_by_their_end(store: Tested) {
    let (w, v) = (workflow("w", &["main"]), workflow("v", &["main"]));
    apply(&store, "acme", 1, state(&[w.clone(), v.clone()])).await;
    for number in 1..=4 {
        start(&store, if number == 2 { &v } else { &w }, number, at(number)).await;
    }
    let lease = claim(&store, 1, at(5)).await.remove(0);
    complete(&store, &lease, Outcome::Failure, at(6)).await;
    let permit = right::<View>("audrey", &now_of(&store, "acme").await, START);
    let list = async |filter: RunFilter| -> Vec<RunId> {
        store.runs(&permit, &filter).await.unwrap().into_iter().map(|record| record.id).collect()
    };
    let all = || RunFilter { limit: 100, ..RunFilter::default() };
    assert_eq!(list(all()).await, [run_id(4), run_id(3), run_id(2), run_id(1)]);
    assert_eq!(list(RunFilter { limit: 2, ..all() }).await, [run_id(4), run_id(3)]);
    assert_eq!(list(RunFilter { before: Some(run_id(3)), ..all() }).await, [run_id(2), run_id(1)]);
    assert_eq!(list(RunFilter { workflow: Some(v.id.clone()), ..all() }).await, [run_id(2)]);
    assert_eq!(list(RunFilter { failed: true, ..all() }).await, [run_id(1)]);
    assert_eq!(list(RunFilter { open: true, ..all() }).await, [run_id(4), run_id(3), run_id(2)]);
    assert_eq!(list(RunFilter { open: true, limit: 1, ..all() }).await, [run_id(4)]);
    assert_eq!(list(RunFilter { open: true, workflow: Some(v.id.clone()), ..all() }).await, [run_id(2)]);
    assert_eq!(list(RunFilter { commit: Some(commit(9)), ..all() }).await, []);
    let suffix = run_id(3).short().to_owned();
    assert_eq!(list(RunFilter { suffix: Some(suffix), ..all() }).await, [run_id(3)]);
    let permit = right::<Start>("carol", &now_of(&store, "acme").await, START);
    assert_eq!(store.pins(&permit, &run_id(3)).await.unwrap().workflow.id, w.id);
    refused(store.pins(&permit, &run_id(9)).await, "not found");
}

async fn time_never_goes_back(store: Tested) {
    apply(&store, "acme", 1, state(&[])).await;
    store.append_audit(entry("view", at(100))).await.unwrap();
    store.append_audit(entry("view", at(50))).await.unwrap();
    assert_eq!(store.now(at(20)).await.unwrap(), at(100));
    assert_eq!(store.now(at(200)).await.unwrap(), at(200));
    let records = store.platform_audit(0, 10).await.unwrap();
    assert_eq!(records[1].entry.at, at(100));
}

async fn a_refused_operation_leaves_nothing_behind(store: Tested) {
    let w = workflow("w", &["main"]);
    apply(&store, "acme", 1, state(std::slice::from_ref(&w))).await;
    let permit = right::<Revoke>("carol", &now_of(&store, "acme").await, START);
    let before = store.platform_audit(0, 99).await.unwrap();
    let actual = now_of(&store, "acme").await;
    let token = "token".parse().unwrap();
    refused(
        store.revoke(&permit, &token, &"v1".parse().unwrap(), entry("secret.revoked", at(900))).await,
        "denied",
    );
    assert_eq!(now_of(&store, "acme").await, actual);
    assert_eq!(store.platform_audit(0, 99).await.unwrap(), before);
    assert_eq!(store.now(START).await.unwrap(), START, "nor does its time count");
}
