//! Shared workflows that a tenant pins to an older commit: their files as of that commit.

use git2::{ErrorCode, Oid, Repository};

use super::SourceError;
use super::objects::{self, Budget, Root, oid, unreadable};
use crate::desired;
use crate::domain::{CommitId, Mode, Pinned, Revision, TenantId, Tree};

/// Pins of one tenant that are read.
const PINS_MAX: usize = 100;

/// Adds to a tenant's tree what its workflows pin. `below` leads from the root of a commit's tree to the directory that
/// is taken for the root.
pub(super) fn read(
    repository: &Repository,
    revision: &Revision,
    below: &str,
    tenant: &TenantId,
    tree: &mut Tree,
) -> Result<(), SourceError> {
    let workflows = format!("tenants/{tenant}/workflows/");
    let may_pin = |bytes: &[u8]| bytes.windows(7).any(|word| word == b"shared/") && bytes.contains(&b'@');
    let any = tree.below(&workflows).any(|(_, entry)| {
        let file = matches!(entry.mode, Mode::File | Mode::Executable);
        file && entry.content.as_deref().is_some_and(may_pin)
    });
    if !any {
        return Ok(());
    }
    // All pins of a tenant together cost no more than its directory may.
    let mut budget = Budget::TREE;
    for (count, (name, commit)) in desired::pins_used(tree, tenant).into_iter().enumerate() {
        let pinned = match count < PINS_MAX {
            true => one(repository, revision, below, &name, &commit, budget)?,
            false => Pinned::TooMany,
        };
        if let Pinned::Files(files) = &pinned {
            let bytes: u64 = files.files.values().map(|entry| entry.size.min(budget.file_bytes_max)).sum();
            budget.bytes_max = budget.bytes_max.saturating_sub(bytes);
            budget.entries_max = budget.entries_max.saturating_sub(files.files.len());
        }
        tree.pinned.insert(format!("shared/{name}@{commit}"), pinned);
    }
    Ok(())
}

fn one(
    repository: &Repository,
    revision: &Revision,
    below: &str,
    name: &str,
    commit: &CommitId,
    budget: Budget,
) -> Result<Pinned, SourceError> {
    let head = oid(&revision.commit)?;
    match repository.find_commit(oid(commit)?) {
        Ok(_) => {}
        Err(error) if error.code() == ErrorCode::NotFound => {
            if repository.is_shallow() {
                // It may well come before: nobody can say here.
                let remote = repository.path().display().to_string();
                return Err(SourceError::Shallow { remote });
            }
            return Ok(Pinned::NoAncestor);
        }
        Err(error) => return Err(unreadable(format!("commit `{commit}`"))(error)),
    }
    if head == Oid::ZERO_SHA1 || !objects::is_ancestor(repository, commit, &revision.commit)? {
        return Ok(Pinned::NoAncestor);
    }
    let pinned = Revision { commit: commit.clone(), branch: revision.branch.clone() };
    let at = Root { below: below.to_owned(), ..objects::root_of(repository, &pinned)? };
    let path = format!("{}shared/{name}", at.below);
    let mut files = objects::read(repository, &at, &[&path], budget)?;
    if !at.below.is_empty() {
        // Paths are written from the directory that is taken for the root.
        let inner = |path: String| path.strip_prefix(&at.below).map_or_else(|| path.clone(), str::to_owned);
        files.files = files.files.into_iter().map(|(path, entry)| (inner(path), entry)).collect();
        files.misnamed = files.misnamed.into_iter().map(inner).collect();
    }
    Ok(Pinned::Files(Box::new(files)))
}
