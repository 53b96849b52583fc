//! A plan to one store transaction, refused if the actual state has moved on.
//!
//! What only takes away goes first, in a transaction of its own, so that nothing can hold it up (rule 3 of
//! design page `reconcile.md`); the rest follows whole or not at all. Deliberately absent: making the plan,
//! agreeing to it, what a tenant's status row says.

mod audit;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::authz::{Permit, Standing};
use crate::domain::{
    Actor, ActualState, Agreement, ChangeKeys, DaemonPart, Disposition, FreshIds, Plan, Removals, RunId,
    RunPins, Status, StatusRow, TenantState, Timestamp, Trigger, TriggerKind, UserId,
};
use crate::plan;
use crate::run::{self, Ask};
use crate::store::{Application, AppliedAt, Store, StoreError};

/// Why a plan was not applied. Nothing of it is in the store then, its removals perhaps apart.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Nobody judged the plan.
    #[error("the plan of `{0}` was not judged")]
    Unjudged(crate::domain::TenantId),
    /// Lines of the plan wait for somebody.
    #[error("the plan of `{0}` is held")]
    Held(crate::domain::TenantId),
    /// The store refused or could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ApplyError {
    /// What has to happen before it is worth trying again.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Unjudged(_) | Self::Held(_) => Disposition::NeedsChange,
            Self::Store(error) => error.disposition(),
        }
    }
}

/// What applying needs beside the plan.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// Where to.
    pub store: &'a dyn Store,
    /// Ids of new runs.
    pub fresh: &'a FreshIds,
    /// The store's time.
    pub now: Timestamp,
    /// Who the commit says wrote it; proves nothing.
    pub author: &'a str,
    /// The people among those who wrote what comes in, where a step asks for an approval.
    pub authors: &'a BTreeSet<UserId>,
}

/// What applying did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The generation, and the runs that were queued.
    pub applied: AppliedAt,
    /// Runs that should have started and could not be made, a sentence each.
    pub not_started: Vec<String>,
    /// The tenant's row as it was written.
    pub status: StatusRow,
}

/// Applies a judged plan: its removals, then everything.
///
/// `status` is the tenant's row as it will be; generation and last applied commit are filled in here. Applying the same plan twice
/// changes nothing the second time.
///
/// # Errors
/// [`StoreError::Moved`] if the actual state is no longer the one planned against: plan again.
pub async fn apply(
    plan: &Plan,
    actual: &ActualState,
    status: &StatusRow,
    means: &Means<'_>,
) -> Result<Done, ApplyError> {
    if !plan.held.is_empty() {
        return Err(ApplyError::Held(plan.tenant.clone()));
    }
    let (mut restricted, mut actual, mut status) = (None, actual, status.clone());
    if plan.next.is_some() && is_live(actual) && !plan.removals.is_empty() {
        let underway = StatusRow {
            status: Status::Applying,
            // Equal to no revision's keys: after a crash here the tenant is looked at again.
            keys: ChangeKeys::default(),
            ..status.clone()
        };
        restrict(plan, actual, &underway, means).await?;
        status.restricted_commit = Some(plan.head.commit.clone());
        let reread = means.store.access(&plan.tenant).await?;
        actual = restricted.insert(reread.ok_or(StoreError::NotFound)?);
    }
    let (application, not_started) = whole(plan, actual, &status, means)?;
    let permit = Permit::for_reconcile(&Standing::of(actual), means.now);
    let applied = means.store.apply(&permit, &application, means.now).await?;
    Ok(Done { applied, not_started, status: application.status })
}

/// Applies the removals of a judged plan and nothing else; the tenant stays at its last applied commit.
///
/// # Errors
/// As [`apply`].
pub async fn restrict(
    plan: &Plan,
    actual: &ActualState,
    status: &StatusRow,
    means: &Means<'_>,
) -> Result<AppliedAt, ApplyError> {
    check_judged(plan)?;
    let permit = Permit::for_reconcile(&Standing::of(actual), means.now);
    let rest = actual.applied.as_ref().map(|applied| plan.removals.taken_from(&applied.state));
    let digest = rest.as_ref().map(TenantState::digest);
    let status = StatusRow {
        restricted_commit: Some(plan.head.commit.clone()),
        last_applied_commit: last_applied(actual),
        applied_generation: actual.generation,
        ..status.clone()
    };
    let application = Application {
        expected_generation: actual.generation,
        commit: plan.head.commit.clone(),
        keys: plan.keys.clone(),
        next: rest,
        digest,
        authors: BTreeSet::new(),
        removals: plan.removals.clone(),
        removals_only: true,
        runs: Vec::new(),
        audit: audit::restricted(plan, means),
        status,
    };
    Ok(means.store.apply(&permit, &application, means.now).await?)
}

fn check_judged(plan: &Plan) -> Result<(), ApplyError> {
    match plan.agreement {
        Agreement::Unjudged => Err(ApplyError::Unjudged(plan.tenant.clone())),
        Agreement::Open => Ok(()),
    }
}

fn is_live(actual: &ActualState) -> bool {
    actual.applied.is_some() && actual.removed.is_none()
}

fn last_applied(actual: &ActualState) -> Option<crate::domain::CommitId> {
    actual.applied.as_ref().map(|applied| applied.commit.clone())
}

/// The generation that applying a state with this digest makes.
fn generation_after(actual: &ActualState, digest: Option<&String>) -> u64 {
    if digest.is_none() {
        return actual.generation;
    }
    let same = is_live(actual) && actual.applied.as_ref().map(|applied| &applied.digest) == digest;
    if same { actual.generation } else { actual.generation + 1 }
}

fn whole(
    plan: &Plan,
    actual: &ActualState,
    status: &StatusRow,
    means: &Means<'_>,
) -> Result<(Application, Vec<String>), ApplyError> {
    check_judged(plan)?;
    let generation = generation_after(actual, plan.digest.as_ref());
    let mut not_started = Vec::new();
    let runs = match &plan.next {
        // The code in force stays what it is, so nothing of it has changed; nor does anything start at the pin's end.
        Some(_) if generation > actual.generation && actual.pinned(means.now).is_some() => {
            let held = actual.pinned(means.now).map_or("", |pin| pin.note.commit.short());
            not_started.extend(plan.runs.iter().map(|planned| {
                format!("`{}` did not start: the tenant's code is pinned at `{held}`", planned.workflow)
            }));
            Vec::new()
        }
        // Equal digests change nothing, so nothing starts either.
        Some(next) if generation > actual.generation => {
            pinned(plan, next, actual, generation, means, &mut not_started)
        }
        _ => Vec::new(),
    };
    let mut audit = audit::applied(plan, actual, means);
    audit.extend(runs.iter().map(|run| audit::queued(run, means)));
    audit.extend(not_started.iter().map(|reason| audit::not_started(plan, reason, means)));
    let application = Application {
        expected_generation: actual.generation,
        commit: plan.head.commit.clone(),
        keys: plan.keys.clone(),
        next: plan.next.clone(),
        digest: plan.digest.clone(),
        authors: means.authors.clone(),
        removals: plan::rights_that_end(plan, actual),
        removals_only: false,
        runs,
        audit,
        status: StatusRow {
            last_applied_commit: match generation > actual.generation {
                true => Some(plan.head.commit.clone()),
                false => last_applied(actual),
            },
            applied_generation: generation,
            ..status.clone()
        },
    };
    Ok((application, not_started))
}

/// Makes the runs of the plan; one that cannot be made is told and stops no other.
fn pinned(
    plan: &Plan,
    next: &TenantState,
    actual: &ActualState,
    generation: u64,
    means: &Means<'_>,
    not_started: &mut Vec<String>,
) -> Vec<RunPins> {
    let Some(tree) = &plan.keys.tenant else { return Vec::new() };
    let actor = Actor::Daemon(DaemonPart::Reconcile);
    let trigger = Trigger { kind: TriggerKind::Commit, key: generation.to_string(), time: means.now };
    // A name that returns is a new tenant; the store gives it the next number.
    let incarnation = actual.incarnation + u32::from(actual.removed.is_some());
    let nothing_given = BTreeMap::new();
    let mut pins = Vec::new();
    for planned in &plan.runs {
        let given = next
            .workflows
            .get(&planned.workflow)
            .and_then(|workflow| workflow.triggers.commit.as_ref())
            .map_or(&nothing_given, |trigger| &trigger.with);
        let ask = Ask {
            tenant: &plan.tenant,
            incarnation,
            state: next,
            revoked: &actual.revoked,
            commit: &plan.head.commit,
            authors: means.authors,
            tree,
            generation,
            workflow: &planned.workflow,
            trigger: &trigger,
            actor: &actor,
            body: &serde_json::Value::Null,
            given,
        };
        match run::pin(&ask, RunId::from_uuid((means.fresh)()), means.now) {
            Ok(run) => pins.push(run),
            Err(error) => not_started.push(format!("`{}` did not start: {error}", planned.workflow)),
        }
    }
    pins
}

/// Whether there is nothing that an apply of this plan would write about the tenant's state.
#[must_use]
pub fn changes_nothing(plan: &Plan, actual: &ActualState) -> bool {
    plan.removals == Removals::default()
        && is_live(actual)
        && plan.next.is_some()
        && generation_after(actual, plan.digest.as_ref()) == actual.generation
}
