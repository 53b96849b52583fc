//! `validate --since BASE`: the rules that compare with a base. What they say of a change is what holds it when it
//! is applied, as far as a repository alone can tell; only tenants that the change touches are read.

use std::collections::BTreeSet;

use super::{Ending, now};
use crate::authz;
use crate::desired::{self, Author, Side, Signature, TenantChange};
use crate::domain::{
    ActualState, Applied, Class, CommitId, DesiredState, Diagnostic, Listing, Platform, TenantId, Tree,
};
use crate::plan;
use crate::source::{LocalRepository, Snapshot, Written};

/// One end of the change.
struct End<'s> {
    snapshot: &'s Snapshot,
    listing: Listing,
    shared: Tree,
    platform: Option<Platform>,
}

impl<'s> End<'s> {
    fn of(snapshot: &'s Snapshot) -> Result<Self, Ending> {
        let listing = snapshot.listing().map_err(Ending::could_not)?;
        let shared = snapshot.platform_tree().map_err(Ending::could_not)?;
        let (platform, _) = desired::read_platform(&shared);
        Ok(Self { snapshot, listing, shared, platform })
    }

    /// A tenant's files and what they mean; `None` where it is no tenant at this end.
    fn read(
        &self,
        platform: &Platform,
        tenant: &TenantId,
    ) -> Result<Option<(Tree, Option<DesiredState>)>, Ending> {
        if !self.listing.tenants.contains_key(tenant) {
            return Ok(None);
        }
        let tree = self.snapshot.tenant_tree(tenant).map_err(Ending::could_not)?;
        let (state, _) = desired::read(platform, &self.listing, &self.shared, &tree, tenant);
        Ok(Some((tree, state)))
    }
}

/// The commit that a change begins at: where `head` left `base`, else `base` itself.
pub(super) fn start(
    repository: &LocalRepository,
    name: &str,
    head: Option<&CommitId>,
) -> Result<CommitId, Ending> {
    let base = repository.resolve(name).map_err(|error| {
        Ending::CouldNot(format!(
            "cannot compare with `{name}`: {error}; in CI the clone may lack it: fetch the whole history"
        ))
    })?;
    let head = match head {
        Some(head) => Some(head.clone()),
        None => repository.resolve("HEAD").ok(),
    };
    let Some(head) = head else { return Ok(base) };
    Ok(repository.merge_base(&base, &head).map_err(Ending::could_not)?.unwrap_or(base))
}

/// What the change from `base` to `snapshot` lets the change rules find.
///
/// # Errors
/// `CouldNot` if an end cannot be read, or the platform of the base is invalid: nobody could be asked then.
pub(super) fn check(
    repository: &LocalRepository,
    base: &CommitId,
    head: Option<&CommitId>,
    snapshot: &Snapshot,
    only: &[TenantId],
) -> Result<Vec<Diagnostic>, Ending> {
    let before = repository.at(base).map_err(Ending::could_not)?;
    let (before, after) = (End::of(&before)?, End::of(snapshot)?);
    let Some(platform) = before.platform.as_ref().or(after.platform.as_ref()) else {
        return Ok(Vec::new());
    };
    let own = after.platform.as_ref().unwrap_or(platform);
    let commits = commits(repository, base, head)?;
    let uncommitted = uncommitted(repository, head, &after)?;
    let everybody: Vec<Author> = commits.iter().map(author).collect();
    let mut found = desired::check_signatures(platform, &everybody);
    let tenants: BTreeSet<&TenantId> =
        before.listing.tenants.keys().chain(after.listing.tenants.keys()).collect();
    let touched = tenants.into_iter().filter(|tenant| {
        (only.is_empty() || only.contains(tenant))
            && before.listing.tenants.get(*tenant) != after.listing.tenants.get(*tenant)
    });
    for tenant in touched {
        let old = before.read(platform, tenant)?;
        let new = after.read(own, tenant)?;
        let mut authors: Vec<Author> =
            commits.iter().filter(|commit| commit.tenants.contains(tenant)).map(author).collect();
        if let Some((listing, email)) = &uncommitted
            && listing.tenants.get(tenant) != after.listing.tenants.get(tenant)
        {
            authors.push(Author { commit: None, email: email.clone(), signature: Signature::Missing });
        }
        let old_state = old.as_ref().and_then(|(_, state)| state.as_ref());
        let classes = classes(old_state, new.as_ref().and_then(|(_, state)| state.as_ref()));
        let requirements = desired::requirements(
            &before.shared,
            old_state.and_then(|state| state.state.settings.environment.as_deref()),
        );
        let change = TenantChange {
            tenant,
            before: side(old.as_ref()),
            after: side(new.as_ref()),
            classes: &classes,
            authors: &authors,
        };
        found.extend(desired::check_change(&change, platform, &requirements));
    }
    Ok(found)
}

fn side(read: Option<&(Tree, Option<DesiredState>)>) -> Option<Side<'_>> {
    read.map(|(tree, state)| Side { tree, state: state.as_ref() })
}

fn author(written: &Written) -> Author {
    let short: String = written.commit.as_str().chars().take(10).collect();
    let signature = match &written.signature {
        None => Signature::Missing,
        Some(signature) => match authz::commit_signer(&signature.armour, &signature.payload) {
            Some(key) => Signature::By(key),
            None => Signature::Unverified,
        },
    };
    Author { commit: Some(short), email: written.email.clone(), signature }
}

fn commits(
    repository: &LocalRepository,
    base: &CommitId,
    head: Option<&CommitId>,
) -> Result<Vec<Written>, Ending> {
    let head = match head {
        Some(head) => head.clone(),
        None => repository.resolve("HEAD").map_err(Ending::could_not)?,
    };
    repository.written_between(base, &head).map_err(Ending::could_not)
}

/// What HEAD has, and the address of whoever would commit what the work tree has beside it.
fn uncommitted(
    repository: &LocalRepository,
    head: Option<&CommitId>,
    after: &End<'_>,
) -> Result<Option<(Listing, String)>, Ending> {
    if head.is_some() {
        return Ok(None);
    }
    let head = repository.resolve("HEAD").map_err(Ending::could_not)?;
    let listing = repository.at(&head).and_then(|head| head.listing()).map_err(Ending::could_not)?;
    let changed = listing.root != after.listing.root;
    Ok(changed.then(|| (listing, repository.user_email().unwrap_or_default())))
}

/// The classes of a change, as its plan names them.
fn classes(before: Option<&DesiredState>, after: Option<&DesiredState>) -> BTreeSet<Class> {
    let Some(after) = after else { return BTreeSet::new() };
    let actual = match before {
        None => ActualState::empty(after.tenant.clone()),
        Some(before) => ActualState {
            generation: 1,
            applied: Some(Applied {
                commit: before.revision.commit.clone(),
                digest: before.state.digest(),
                keys: before.keys.clone(),
                at: now(),
                authors: BTreeSet::new(),
                state: before.state.clone(),
            }),
            ..ActualState::empty(before.tenant.clone())
        },
    };
    plan::between(after, &actual).edges.iter().map(|edge| edge.class).collect()
}
