//! One tenant: read, plan, judge, apply, queue.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{OnceCell, Semaphore};

use super::reading::{self, Read};
use super::status::{self, Outcome};
use super::{Failure, Ports, backoff, cell, schedule};
use crate::apply::{self, Means};
use crate::authz::{self, Permit, Standing};
use crate::domain::{
    ActualState, ChangeKeys, ConditionKind, DesiredState, Diagnostic, Disposition, HeldLine, HeldReason,
    Listing, Plan, Removals, Revision, Status, StatusRow, TenantId, Timestamp, Tree, UserId, Work,
};
use crate::plan;
use crate::source::SourceError;
use crate::store::{AppliedPlatform, TenantHead};

/// Times that a tenant is planned anew because another transaction came first.
const OVERTAKEN_MAX: u32 = 3;
/// Commits that are taken one by one in one pass, the latest ones.
const COMMITS_MAX: usize = 1_000;

/// What one pass saw, the same for all tenants.
#[derive(Clone)]
pub(super) struct Seen {
    /// The revision and what it has.
    pub listing: Arc<Listing>,
    /// The applied platform, which binds them all.
    pub platform: Arc<AppliedPlatform>,
    /// The files of `shared/`, as of the applied platform; read by the first tenant that is looked at.
    pub shared: Arc<OnceCell<Arc<Tree>>>,
    /// Set while too many tenants are gone at once: none of them is removed.
    pub prune: Option<HeldLine>,
    /// Whether somebody let go what the prune guard holds at this revision.
    pub released: bool,
    /// Who the commit says wrote it.
    pub author: Arc<str>,
    /// Room for the files of a few tenants.
    pub places: Arc<Semaphore>,
    /// The store's time.
    pub now: Timestamp,
}

impl Seen {
    pub fn revision(&self) -> &Revision {
        &self.listing.revision
    }

    async fn shared(&self, ports: &Ports) -> Result<Arc<Tree>, Failure> {
        let commit = self.platform.commit.clone();
        let applied = Revision { commit, branch: self.revision().branch.clone() };
        let read = || async { Ok::<_, Failure>(Arc::new(ports.source.platform_tree(&applied).await?)) };
        Ok(Arc::clone(self.shared.get_or_try_init(read).await?))
    }

    /// The tenant's keys, were it to use these shared directories.
    ///
    /// Platform and `shared/` count as applied: a platform that is held changes nothing for anybody.
    pub fn keys<'a>(&self, tenant: &TenantId, shared: impl IntoIterator<Item = &'a str>) -> ChangeKeys {
        let scope = &self.platform.keys;
        ChangeKeys {
            tenant: self.listing.tenants.get(tenant).cloned(),
            platform: scope.platform.clone(),
            settings: scope.settings.clone(),
            shared: shared
                .into_iter()
                .filter_map(|name| scope.shared.get(name).map(|id| (name.to_owned(), id.clone())))
                .collect(),
        }
    }

    /// Whether the tenant was last looked at under the keys that it has now.
    fn is_unchanged(&self, head: &TenantHead) -> bool {
        let (scope, known) = (&self.platform.keys, &head.status.keys);
        known.tenant.as_ref() == self.listing.tenants.get(&head.tenant)
            && known.platform == scope.platform
            && known.settings == scope.settings
            && known.shared.iter().all(|(name, id)| scope.shared.get(name) == Some(id))
    }

    /// Whether the tenant has to be looked at in this pass.
    pub fn concerns(&self, head: &TenantHead) -> bool {
        let row = &head.status;
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= self.now);
        let underway = matches!(row.status, Status::Observed | Status::Validating | Status::Applying);
        let free = head.released || self.released || (self.prune.is_none() && held_by_guard(row).is_none());
        !self.is_unchanged(head)
            || (head.released && row.status == Status::Held)
            || (is_gone(&self.listing, &head.tenant) && free)
            || due(row.retry_at)
            || underway
    }
}

/// Looks at one tenant and says where it stands afterwards. A failure is its row's, not the pass's.
///
/// A tenant with a workflow that asks for `each` is taken through every commit that changed it; one that is
/// invalid or held is recorded and passed over.
///
/// # Errors
/// Only if not even the row can be written.
pub(super) async fn look(
    ports: &Ports,
    seen: &Seen,
    tenant: &TenantId,
    head: Option<&TenantHead>,
) -> Result<StatusRow, Failure> {
    let first = || status::first(Some(tenant.clone()), seen.now);
    let mut row = head.map_or_else(first, |head| head.status.clone());
    let released = head.is_some_and(|head| head.released);
    let begun = async {
        let actual = actual(ports, tenant, seen.now).await?;
        Ok((commit_by_commit(ports, seen, tenant, &row, &actual).await?, actual))
    };
    let (between, actual) = match begun.await {
        Ok(begun) => begun,
        Err(failure) => return fail(ports, seen, tenant, &row, &failure).await,
    };
    let mut actual = Some(actual);
    for seen in between.iter().chain([seen]) {
        row = until_not_overtaken(ports, seen, tenant, &row, released, actual.take()).await?;
        if row.status == Status::Failed {
            break;
        }
    }
    Ok(row)
}

/// The commits before the head that changed the tenant, where it wants them one by one.
async fn commit_by_commit(
    ports: &Ports,
    seen: &Seen,
    tenant: &TenantId,
    row: &StatusRow,
    actual: &ActualState,
) -> Result<Vec<Seen>, Failure> {
    let workflows = actual.applied.iter().flat_map(|applied| applied.state.workflows.values());
    let mut commits = workflows.filter_map(|workflow| workflow.triggers.commit.as_ref());
    // A failed commit is tried again, not passed over.
    let last =
        if row.status == Status::Failed { &row.last_applied_commit } else { &row.last_attempted_commit };
    let Some(last) = last.as_ref().filter(|_| commits.any(|commit| commit.each)) else {
        return Ok(Vec::new());
    };
    let mut range = match ports.source.first_parent_range(last, &seen.revision().commit).await {
        Ok(range) => range,
        Err(error @ SourceError::TooLarge { .. }) => {
            tracing::warn!(%tenant, %error, "too many commits to take one by one: only the head is applied");
            return Ok(Vec::new());
        }
        Err(error) => return Err(error.into()),
    };
    range.pop();
    let mut steps = Vec::new();
    let mut tree = row.keys.tenant.clone();
    for commit in range.into_iter().rev().take(COMMITS_MAX).rev() {
        let revision = Revision { commit, branch: seen.revision().branch.clone() };
        let listing = ports.source.listing(&revision).await?;
        let changed = listing.tenants.get(tenant).filter(|id| Some(*id) != tree.as_ref()).cloned();
        if changed.is_some() {
            tree = changed;
            steps.push(Seen { listing, ..seen.clone() });
        }
    }
    Ok(steps)
}

async fn until_not_overtaken(
    ports: &Ports,
    seen: &Seen,
    tenant: &TenantId,
    before: &StatusRow,
    released: bool,
    mut actual: Option<Arc<ActualState>>,
) -> Result<StatusRow, Failure> {
    let mut overtaken = 0;
    loop {
        match once(ports, seen, tenant, before, released, actual.take()).await {
            Ok(row) => return Ok(row),
            Err(failure) if failure.was_overtaken() && overtaken < OVERTAKEN_MAX => overtaken += 1,
            Err(failure) => return fail(ports, seen, tenant, before, &failure).await,
        }
    }
}

/// Writes the row of a look that failed. A retry comes by its time; what needs a change comes back with one.
async fn fail(
    ports: &Ports,
    seen: &Seen,
    tenant: &TenantId,
    before: &StatusRow,
    failure: &Failure,
) -> Result<StatusRow, Failure> {
    tracing::warn!(%tenant, commit = %seen.revision().commit, %failure, "the tenant could not be reconciled");
    let message = failure.to_string();
    let outcome = match failure.disposition() {
        Disposition::Retry | Disposition::Wait => {
            Outcome::Failed { message, again: backoff::wait(before.failures + 1, tenant.as_str()) }
        }
        Disposition::NeedsChange => Outcome::Broken { message },
    };
    let keys = seen.keys(tenant, before.keys.shared.keys().map(String::as_str));
    let row = StatusRow { keys, ..status::after(before, seen.revision(), outcome, seen.now) };
    write(ports, &*actual(ports, tenant, seen.now).await?, &row, seen.now).await?;
    Ok(row)
}

async fn once(
    ports: &Ports,
    seen: &Seen,
    tenant: &TenantId,
    before: &StatusRow,
    released: bool,
    actual: Option<Arc<ActualState>>,
) -> Result<StatusRow, Failure> {
    let actual = match actual {
        Some(actual) => actual,
        None => self::actual(ports, tenant, seen.now).await?,
    };
    let mut looking = Looking { ports, seen, tenant, before: before.clone(), released };
    if is_gone(&seen.listing, tenant) {
        return looking.remove(&actual).await;
    }
    // What the platform takes away binds every tenant at once, whatever its own files say.
    let taken = plan::restricted_by_platform(&actual, &seen.platform.platform.people);
    let actual = looking.restrict(actual, taken).await?;
    let (platform, shared) = (Arc::clone(&seen.platform), seen.shared(ports).await?);
    let read = {
        // INVARIANT: nobody closes the semaphore, so a place always comes.
        let _place = seen.places.acquire().await;
        let tree = ports.source.tenant_tree(seen.revision(), tenant).await?;
        reading::tenant(platform, Arc::clone(&seen.listing), shared, tree, tenant.clone()).await?
    };
    match read.desired {
        Some(desired) => looking.reconcile(desired, &read.found, actual).await,
        None => looking.stay_invalid(&read, actual).await,
    }
}

/// The line by which the prune guard holds the end of a tenant. It holds until somebody lets it go, also when
/// later commits make the loss look smaller.
pub(super) fn held_by_guard(row: &StatusRow) -> Option<&HeldLine> {
    let mut lines = row.held.iter().filter(|line| line.reason == HeldReason::PruneGuard);
    lines.next().filter(|_| row.status == Status::Held)
}

/// A tenant in whose place something else lies is broken, not gone.
pub(super) fn is_gone(listing: &Listing, tenant: &TenantId) -> bool {
    !listing.tenants.contains_key(tenant) && !listing.misplaced.contains(&format!("tenants/{tenant}"))
}

/// The actual state to plan against; for a tenant that was removed, that of the one which takes its name.
async fn actual(ports: &Ports, tenant: &TenantId, now: Timestamp) -> Result<Arc<ActualState>, Failure> {
    let standing = match ports.store.access(tenant).await? {
        Some(known) => Standing::of(&known),
        None => Standing::unseen(tenant.clone()),
    };
    let permit = Permit::for_reconcile(&standing, now);
    Ok(ports.store.actual(&permit).await?)
}

/// Writes a row that belongs to no apply.
async fn write(ports: &Ports, actual: &ActualState, row: &StatusRow, now: Timestamp) -> Result<(), Failure> {
    let permit = Permit::for_reconcile(&Standing::of(actual), now);
    ports.store.set_status(&permit, row, &[]).await?;
    Ok(())
}

/// One look at one tenant.
struct Looking<'a> {
    ports: &'a Ports,
    seen: &'a Seen,
    tenant: &'a TenantId,
    before: StatusRow,
    released: bool,
}

impl Looking<'_> {
    fn means<'m>(&'m self, authors: &'m BTreeSet<UserId>) -> Means<'m> {
        let (store, fresh) = (self.ports.store.as_ref(), &self.ports.fresh);
        Means { store, fresh, now: self.seen.now, author: &self.seen.author, authors }
    }

    /// The people who wrote what comes in, where a step will ask for an approval: none of them may give it.
    async fn authors(
        &self,
        desired: &DesiredState,
        actual: &ActualState,
    ) -> Result<BTreeSet<UserId>, Failure> {
        let mut steps = desired.state.workflows.values().flat_map(|workflow| &workflow.steps);
        if !steps.any(|step| matches!(step.work, Work::Approval(_))) {
            return Ok(BTreeSet::new());
        }
        let before = actual.applied.as_ref().filter(|_| actual.removed.is_none()).map(|before| &before.keys);
        let own = before.and_then(|keys| keys.tenant.clone());
        let mut below = vec![(format!("tenants/{}", self.tenant), own)];
        below.extend(desired.keys.shared.keys().map(|name| {
            let known = before.and_then(|keys| keys.shared.get(name).cloned());
            (format!("shared/{name}"), known)
        }));
        let signers = self.ports.source.authors(&self.seen.revision().commit, below).await?;
        Ok(authz::people_named(&signers, &self.seen.platform.platform.people))
    }

    fn row(&self, outcome: Outcome, keys: ChangeKeys, found: &[Diagnostic]) -> StatusRow {
        let row = status::after(&self.before, self.seen.revision(), outcome, self.seen.now);
        StatusRow { keys, findings: status::findings(found), ..row }
    }

    /// Brings the tenant to what its files say.
    async fn reconcile(
        &mut self,
        mut desired: DesiredState,
        found: &[Diagnostic],
        actual: Arc<ActualState>,
    ) -> Result<StatusRow, Failure> {
        let used: Vec<_> = shared_used(&desired).collect();
        desired.keys = self.seen.keys(self.tenant, used.iter().map(String::as_str));
        let keys = desired.keys.clone();
        let mut plan = plan::between(&desired, &actual);
        if self.released {
            plan.held.retain(|line| line.reason != HeldReason::PruneGuard);
        }
        let plan = match authz::judge(plan, self.seen.platform.platform.settings.mode) {
            Ok(plan) => plan,
            Err(unjudged) => {
                let line = HeldLine {
                    reason: HeldReason::Approval,
                    edge: unjudged.to_string(),
                    missing: vec!["`change_control.mode = \"open\"`".to_owned()],
                };
                return self.stay(&actual, self.row(Outcome::Held(vec![line]), keys, found)).await;
            }
        };
        if !plan.held.is_empty() {
            let held = plan.held.clone();
            let actual = self.restrict(actual, plan.removals.clone()).await?;
            return self.stay(&actual, self.row(Outcome::Held(held), keys, found)).await;
        }
        let unchanged = apply::changes_nothing(&plan, &actual);
        let outcome = if unchanged { Outcome::Unchanged } else { Outcome::Applied };
        let mut row = self.row(outcome, keys, found);
        self.tell_suspension(&mut row, &desired, &actual);
        cell::tell(self.ports.cell.as_ref(), &mut row, self.tenant, &desired.state, self.seen.now);
        if !unchanged {
            self.ports.source.keep(self.tenant.as_str(), &desired.revision.commit).await?;
        }
        let authors = if unchanged { BTreeSet::new() } else { self.authors(&desired, &actual).await? };
        let done = apply::apply(&plan, &actual, &row, &self.means(&authors)).await?;
        self.log(&plan, &done);
        if desired.state.workflows.values().all(|workflow| workflow.triggers.schedules.is_empty()) {
            return Ok(done.status);
        }
        let actual = self::actual(self.ports, self.tenant, self.seen.now).await?;
        schedule::enqueue(self.ports, &Standing::of(&actual), self.seen.now).await;
        Ok(done.status)
    }

    /// Leaves the tenant where it is; what its readable files take away is taken all the same.
    async fn stay_invalid(&mut self, read: &Read, actual: Arc<ActualState>) -> Result<StatusRow, Failure> {
        let roles = read.restrictions.roles.as_ref().map(|(grants, elevations)| (grants, elevations));
        let taken = plan::restricted_by_files(&actual, roles, read.restrictions.revoked.as_ref());
        let actual = self.restrict(actual, taken).await?;
        let all = self.seen.platform.keys.shared.keys().map(String::as_str);
        let keys = self.seen.keys(self.tenant, all);
        self.stay(&actual, self.row(Outcome::Invalid, keys, &read.found)).await
    }

    /// Ends a tenant that the listing no longer has, unless too many went at once.
    async fn remove(&self, actual: &ActualState) -> Result<StatusRow, Failure> {
        let keys = self.seen.keys(self.tenant, []);
        if actual.removed.is_some() {
            return Ok(self.before.clone());
        }
        let guarded = self.seen.prune.as_ref().or(held_by_guard(&self.before));
        if let Some(line) = guarded.filter(|_| !self.released && !self.seen.released) {
            return self.stay(actual, self.row(Outcome::Held(vec![line.clone()]), keys, &[])).await;
        }
        let plan = plan::removal(actual, self.seen.revision(), &keys);
        let plan = match authz::judge(plan, self.seen.platform.platform.settings.mode) {
            Ok(plan) => plan,
            Err(unjudged) => {
                let line = HeldLine {
                    reason: HeldReason::Approval,
                    edge: unjudged.to_string(),
                    missing: Vec::new(),
                };
                return self.stay(actual, self.row(Outcome::Held(vec![line]), keys, &[])).await;
            }
        };
        let row = self.row(Outcome::Removed, keys, &[]);
        let done = apply::apply(&plan, actual, &row, &self.means(&BTreeSet::new())).await?;
        tracing::info!(tenant = %self.tenant, commit = %self.seen.revision().commit, "the tenant was removed");
        Ok(done.status)
    }

    /// Applies removals alone and gives the actual state after them.
    async fn restrict(
        &mut self,
        actual: Arc<ActualState>,
        removals: Removals,
    ) -> Result<Arc<ActualState>, Failure> {
        if removals.is_empty() || actual.applied.is_none() || actual.removed.is_some() {
            return Ok(actual);
        }
        let applied_keys = actual.applied.as_ref().map(|applied| applied.keys.clone()).unwrap_or_default();
        let plan = plan::restriction(removals, &actual, self.seen.revision(), &applied_keys);
        let Ok(plan) = authz::judge(plan, self.seen.platform.platform.settings.mode) else {
            return Ok(actual);
        };
        let row = StatusRow { status: Status::Applying, at: self.seen.now, ..self.before.clone() };
        let row = StatusRow { keys: ChangeKeys::default(), ..row };
        apply::restrict(&plan, &actual, &row, &self.means(&BTreeSet::new())).await?;
        self.before.restricted_commit = Some(self.seen.revision().commit.clone());
        tracing::info!(tenant = %self.tenant, commit = %self.seen.revision().commit, "removals were applied");
        self::actual(self.ports, self.tenant, self.seen.now).await
    }

    async fn stay(&self, actual: &ActualState, row: StatusRow) -> Result<StatusRow, Failure> {
        write(self.ports, actual, &row, self.seen.now).await?;
        Ok(row)
    }

    fn tell_suspension(&self, row: &mut StatusRow, desired: &DesiredState, actual: &ActualState) {
        let by_git = desired.state.settings.suspend.as_ref().map(|pause| ("ByGit", pause));
        let by_command = actual.suspended.as_ref().map(|pause| ("ByCommand", pause));
        let (status, reason, message) = match by_git.or(by_command) {
            Some((by, pause)) => (true, by, pause.reason.as_str()),
            None => (false, "NotSuspended", ""),
        };
        status::set(&mut row.conditions, ConditionKind::Suspended, status, reason, message, self.seen.now);
    }

    fn log(&self, plan: &Plan, done: &apply::Done) {
        for reason in plan.skipped.iter().chain(&done.not_started) {
            tracing::warn!(tenant = %self.tenant, commit = %plan.head.commit, "{reason}");
        }
        if done.applied.changed {
            tracing::info!(
                tenant = %self.tenant,
                commit = %plan.head.commit,
                generation = done.applied.generation,
                changes = plan.changes.len(),
                runs = done.applied.queued.len(),
                "the tenant was applied"
            );
        }
    }
}

/// The names of the directories below `shared/` that the tenant's workflows are expanded from.
fn shared_used(desired: &DesiredState) -> impl Iterator<Item = String> + '_ {
    let uses = desired.state.workflows.values().filter_map(|workflow| workflow.uses.as_deref());
    // What is pinned does not change with the directory.
    uses.filter(|uses| !uses.contains('@')).filter_map(|uses| {
        let name = uses.strip_prefix("shared/").unwrap_or(uses);
        name.split('/').next().map(str::to_owned)
    })
}
