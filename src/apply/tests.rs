//! Applying against the model of the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::authz::{self, Facts, action};
use crate::domain::{
    AuditRecord, Class, CommitTrigger, DesiredState, Grant, HeldLine, HeldReason, Input, Principal, Role,
    TenantId, ValueType, VersionState,
};
use crate::plan::fixture::{blob, desired, fresh as unseen, grant, name, on_commit, state, step, workflow};
use crate::store::{MemoryStore, RunFilter};

static NOBODY: BTreeSet<UserId> = BTreeSet::new();

/// A store and what applying to it needs.
struct Bench {
    store: MemoryStore,
    fresh: FreshIds,
}

impl Bench {
    fn new() -> Self {
        let count = AtomicU64::new(1);
        let fresh: FreshIds = Arc::new(move || {
            uuid::Uuid::from_u64_pair(0x0192_f1c2_7c1e_7d3a, count.fetch_add(1, Ordering::Relaxed))
        });
        Self { store: MemoryStore::new(), fresh }
    }

    fn means(&self) -> Means<'_> {
        let (author, authors) = ("Dana <dana@acme.example>", &NOBODY);
        Means { store: &self.store, fresh: &self.fresh, now: at(1_000), author, authors }
    }

    async fn actual(&self) -> ActualState {
        let standing = match self.store.access(&acme()).await.unwrap() {
            Some(actual) => Standing::of(&actual),
            None => Standing::unseen(acme()),
        };
        Arc::unwrap_or_clone(self.store.actual(&Permit::for_reconcile(&standing, at(1_000))).await.unwrap())
    }

    /// Plans and applies a state, as the loop does.
    async fn bring(&self, desired: &DesiredState) -> Result<Done, ApplyError> {
        let actual = self.actual().await;
        let plan = judged(plan::between(desired, &actual));
        apply(&plan, &actual, &row(), &self.means()).await
    }

    async fn audit(&self) -> Vec<AuditRecord> {
        let actual = self.store.access(&acme()).await.unwrap().unwrap();
        let permit: Permit<action::ViewAccess> =
            authz::decide(&Actor::Local(0), &Facts::of(&actual, None), at(1_000)).unwrap();
        self.store.audit(&permit, 0, 1_000).await.unwrap()
    }

    async fn actions(&self) -> Vec<String> {
        self.audit().await.into_iter().map(|record| record.entry.action).collect()
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn acme() -> TenantId {
    name("acme")
}

fn judged(plan: Plan) -> Plan {
    authz::judge(plan, crate::domain::ChangeControlMode::Open).unwrap()
}

fn row() -> StatusRow {
    StatusRow {
        tenant: Some(acme()),
        status: Status::Applied,
        observed_commit: None,
        last_attempted_commit: None,
        last_applied_commit: None,
        restricted_commit: None,
        applied_generation: 0,
        retry_at: None,
        failures: 0,
        held: Vec::new(),
        findings: Vec::new(),
        pinned: None,
        conditions: Vec::new(),
        keys: ChangeKeys { tenant: Some(blob('7')), ..ChangeKeys::default() },
        at: at(1_000),
    }
}

/// The usual tenant at a commit made of one digit.
fn at_commit(digit: char, state: TenantState) -> DesiredState {
    let mut desired = desired(state);
    desired.revision.commit = blob(digit);
    desired.keys.tenant = Some(blob('7'));
    desired
}

fn with_trigger() -> TenantState {
    let mut state = state();
    state.workflows.insert(name("watched"), on_commit(workflow("watched", vec![step("main")]), true));
    state
}

#[tokio::test]
async fn an_apply_lands_with_its_runs_and_its_audit() {
    let bench = Bench::new();
    let done = bench.bring(&at_commit('1', with_trigger())).await.unwrap();
    assert_eq!((done.applied.generation, done.applied.changed, done.applied.queued.len()), (1, true, 1));
    assert_eq!(done.status.last_applied_commit, Some(blob('1')));
    assert_eq!(done.status.applied_generation, 1);
    let actual = bench.actual().await;
    assert_eq!(actual.applied.as_ref().unwrap().state, with_trigger());
    let permit: Permit<action::View> =
        authz::decide(&Actor::Local(0), &Facts::of(&actual, None), at(1_000)).unwrap();
    let runs = bench.store.runs(&permit, &RunFilter { limit: 10, ..RunFilter::default() }).await.unwrap();
    assert_eq!(runs.len(), 1);
    let actions = bench.actions().await;
    for want in ["tenant.created", "access.added", "run.queued"] {
        assert!(actions.iter().any(|action| action == want), "{want} is not in {actions:?}");
    }
    let audit = bench.audit().await;
    assert!(audit[0].entry.reason.contains("agreed without proof"), "{:?}", audit[0].entry);
    assert!(audit[0].entry.reason.contains("dana@acme.example"));
}

#[tokio::test]
async fn the_same_commit_again_changes_nothing() {
    let bench = Bench::new();
    let desired = at_commit('1', with_trigger());
    bench.bring(&desired).await.unwrap();
    let actual = bench.actual().await;
    let plan = judged(plan::between(&desired, &actual));
    assert!(changes_nothing(&plan, &actual));
    let done = apply(&plan, &actual, &row(), &bench.means()).await.unwrap();
    assert!(!done.applied.changed && done.applied.queued.is_empty());
    assert_eq!(bench.actual().await.generation, 1);
}

#[tokio::test]
async fn a_plan_of_yesterday_is_refused() {
    let bench = Bench::new();
    bench.bring(&at_commit('1', state())).await.unwrap();
    let before = bench.actual().await;
    let mut other = state();
    other.settings.timezone = "Europe/Berlin".into();
    let late = judged(plan::between(&at_commit('3', other), &before));
    bench.bring(&at_commit('2', with_trigger())).await.unwrap();
    let refused = apply(&late, &before, &row(), &bench.means()).await;
    assert!(
        matches!(refused, Err(ApplyError::Store(StoreError::Moved { expected: 1, actual: 2 }))),
        "{refused:?}"
    );
    assert_eq!(bench.actual().await.applied.unwrap().commit, blob('2'));
}

#[tokio::test]
async fn removals_land_first_and_apart() {
    let bench = Bench::new();
    bench.bring(&at_commit('1', state())).await.unwrap();
    let mut less = with_trigger();
    less.grants.remove(&grant(Role::Developer, "bob"));
    less.secrets.get_mut("db").unwrap().versions[0].state = VersionState::Revoked;
    let done = bench.bring(&at_commit('2', less.clone())).await.unwrap();
    assert_eq!(done.status.restricted_commit, Some(blob('2')));
    assert_eq!(done.applied.generation, 2);
    let actual = bench.actual().await;
    assert_eq!(actual.applied.as_ref().unwrap().state, less);
    assert!(actual.is_revoked(&name("db"), &name("v1")));
    assert!(actual.authority > 0, "permits made before do not count any more");
    let actions = bench.actions().await;
    let place = |want: &str| actions.iter().position(|action| action == want).unwrap();
    assert!(place("tenant.restricted") < place("tenant.applied"), "{actions:?}");
}

#[tokio::test]
async fn a_commit_of_removals_alone_is_done_with_them() {
    let bench = Bench::new();
    bench.bring(&at_commit('1', state())).await.unwrap();
    let mut less = state();
    less.grants.remove(&grant(Role::Developer, "bob"));
    let done = bench.bring(&at_commit('2', less.clone())).await.unwrap();
    assert_eq!(done.status.restricted_commit, Some(blob('2')));
    assert_eq!(bench.actual().await.applied.unwrap().state, less);
    let actual = bench.actual().await;
    assert!(changes_nothing(&judged(plan::between(&at_commit('2', less), &actual)), &actual));
}

#[tokio::test]
async fn a_held_tenant_loses_what_was_taken_and_gains_nothing() {
    let bench = Bench::new();
    bench.bring(&at_commit('1', state())).await.unwrap();
    let given = bench.actions().await.iter().filter(|action| *action == "access.added").count();
    let actual = bench.actual().await;
    let mut next = with_trigger();
    next.grants.remove(&grant(Role::Developer, "bob"));
    next.grants.insert(grant(Role::Operator, "mallory"));
    let mut plan = judged(plan::between(&at_commit('2', next), &actual));
    plan.held = vec![HeldLine { reason: HeldReason::Approval, edge: "+grant".into(), missing: vec![] }];
    assert!(matches!(apply(&plan, &actual, &row(), &bench.means()).await, Err(ApplyError::Held(_))));
    restrict(&plan, &actual, &row(), &bench.means()).await.unwrap();
    let mut want = state();
    want.grants.remove(&grant(Role::Developer, "bob"));
    let after = bench.actual().await.applied.unwrap();
    assert_eq!(after.state, want);
    assert_eq!(after.commit, blob('1'), "the tenant stays at its commit");
    let added = bench.actions().await.iter().filter(|action| *action == "access.added").count();
    assert_eq!(added, given, "nothing more than when the tenant came");
}

#[tokio::test]
async fn what_nobody_judged_is_refused() {
    let bench = Bench::new();
    let plan = plan::between(&at_commit('1', state()), &unseen());
    assert!(matches!(apply(&plan, &unseen(), &row(), &bench.means()).await, Err(ApplyError::Unjudged(_))));
    assert!(matches!(restrict(&plan, &unseen(), &row(), &bench.means()).await, Err(ApplyError::Unjudged(_))));
    assert!(bench.store.access(&acme()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_run_that_cannot_be_made_stops_nothing() {
    let bench = Bench::new();
    let mut state = with_trigger();
    let required = Input {
        value_type: ValueType::String,
        format: None,
        allowed: Vec::new(),
        default: None,
        required: true,
        sensitive: false,
        description: None,
    };
    let mut needy = on_commit(workflow("needy", vec![step("main")]), true);
    needy.inputs = [(name("day"), required)].into();
    state.workflows.insert(name("needy"), needy);
    let done = bench.bring(&at_commit('1', state)).await.unwrap();
    assert_eq!(done.not_started, ["`needy` did not start: input `day` is required"]);
    assert_eq!(done.applied.queued.len(), 1);
    assert!(
        bench
            .audit()
            .await
            .iter()
            .any(|record| record.entry.action == "run.not_started" && !record.entry.allowed)
    );
}

#[tokio::test]
async fn a_trigger_gives_its_inputs() {
    let bench = Bench::new();
    let mut state = state();
    let mut watched = on_commit(workflow("watched", vec![step("main")]), true);
    watched.triggers.commit = Some(CommitTrigger {
        with: [(name("nowhere"), "x".into())].into(),
        ..watched.triggers.commit.take().unwrap()
    });
    state.workflows.insert(name("watched"), watched);
    let done = bench.bring(&at_commit('1', state)).await.unwrap();
    assert_eq!(
        done.not_started,
        ["`watched` did not start: unknown input `nowhere`; this workflow takes none"]
    );
}

#[tokio::test]
async fn a_removed_tenant_returns_as_another() {
    let bench = Bench::new();
    bench.bring(&at_commit('1', with_trigger())).await.unwrap();
    let actual = bench.actual().await;
    let revision = at_commit('2', state()).revision;
    let plan = judged(plan::removal(&actual, &revision, &ChangeKeys::default()));
    assert_eq!(plan.changes[0].class, Class::Tenant);
    apply(&plan, &actual, &row(), &bench.means()).await.unwrap();
    assert!(bench.store.access(&acme()).await.unwrap().unwrap().removed.is_some());
    bench.bring(&at_commit('3', with_trigger())).await.unwrap();
    let actual = bench.actual().await;
    assert_eq!((actual.incarnation, actual.generation, actual.removed), (2, 1, None));
}

#[tokio::test]
async fn the_last_operator_goes_only_with_the_next_one() {
    let bench = Bench::new();
    bench.bring(&at_commit('1', state())).await.unwrap();
    let mut other = state();
    other.grants.remove(&grant(Role::Operator, "alice"));
    other.grants.insert(grant(Role::Operator, "zoe"));
    let done = bench.bring(&at_commit('2', other)).await.unwrap();
    assert_eq!(done.status.restricted_commit, None);
    let actual = bench.actual().await;
    let operators: Vec<&Principal> = actual.applied.as_ref().unwrap().state.holders(Role::Operator).collect();
    assert_eq!(operators, [&name::<Principal>("zoe")]);
    assert!(actual.authority > 0);
    assert!(
        !actual
            .applied
            .unwrap()
            .state
            .grants
            .contains(&Grant { role: Role::Operator, principal: name("alice") })
    );
}
