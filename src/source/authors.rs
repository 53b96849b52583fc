//! Who wrote what came in since a directory was last as it is known: the addresses and keys that commits name.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use git2::{Commit, Oid, Repository, Tree};

use super::SourceError;
use super::objects::{oid, unreadable};
use crate::domain::{CommitId, ObjectId};

/// Commits that are looked at: further back nobody is looked for.
const COMMITS_MAX: usize = 1_000;

/// A directory, and the tree it had when it was looked at last; `None` if there was none.
pub type Known = (String, Option<ObjectId>);

/// The addresses (`mail:…`, lower case) and SSH keys (`ssh:…`, base64) of everybody who wrote or made a commit that
/// changed one of the directories, from `head` back to where all of them were as known. The head's own are always
/// among them.
///
/// Follows first parents; where a merge changed a directory, the commits it brought in are looked at too.
pub(super) fn written(
    repository: &Repository,
    head: &CommitId,
    below: &[Known],
) -> Result<BTreeSet<String>, SourceError> {
    let what = || format!("the history of `{head}`");
    let find = |id: Oid| repository.find_commit(id).map_err(unreadable(what()));
    let known: Vec<Option<Oid>> =
        below.iter().map(|(_, id)| id.as_ref().map(oid).transpose()).collect::<Result<_, _>>()?;
    let now = |commit: &Commit<'_>| -> Result<Vec<Option<Oid>>, SourceError> {
        let tree = commit.tree().map_err(unreadable(what()))?;
        Ok(below.iter().map(|(path, _)| tree_at(&tree, path)).collect())
    };
    let mut signers = BTreeSet::new();
    let mut commit = find(oid(head)?)?;
    name(repository, &commit, &mut signers);
    let mut left = COMMITS_MAX;
    let mut own = now(&commit)?;
    while own != known && left > 0 {
        left -= 1;
        let parents: Vec<Oid> = commit.parent_ids().collect();
        let Some(first) = parents.first() else { break };
        let parent = find(*first)?;
        let before = now(&parent)?;
        if before != own {
            name(repository, &commit, &mut signers);
            if parents.len() > 1 {
                let mut walk = repository.revwalk().map_err(unreadable(what()))?;
                for other in &parents[1..] {
                    walk.push(*other).map_err(unreadable(what()))?;
                }
                walk.hide(*first).map_err(unreadable(what()))?;
                for id in walk.take(left) {
                    left -= 1;
                    let brought = find(id.map_err(unreadable(what()))?)?;
                    let its = now(&brought)?;
                    let changed = match brought.parent(0) {
                        Ok(parent) => now(&parent)? != its,
                        Err(_) => true,
                    };
                    if changed {
                        name(repository, &brought, &mut signers);
                    }
                }
            }
        }
        (commit, own) = (parent, before);
    }
    Ok(signers)
}

fn tree_at(tree: &Tree<'_>, path: &str) -> Option<Oid> {
    tree.get_path(std::path::Path::new(path)).ok().map(|entry| entry.id())
}

fn name(repository: &Repository, commit: &Commit<'_>, signers: &mut BTreeSet<String>) {
    for signature in [commit.author(), commit.committer()] {
        let mail = String::from_utf8_lossy(signature.email_bytes()).trim().to_lowercase();
        if !mail.is_empty() {
            signers.insert(format!("mail:{mail}"));
        }
    }
    if let Some(key) = signing_key(repository, commit.id()) {
        signers.insert(format!("ssh:{key}"));
    }
}

/// The public key that an SSH signature names, unverified: it only takes a right away. Source: OpenSSH,
/// `PROTOCOL.sshsig`.
fn signing_key(repository: &Repository, commit: Oid) -> Option<String> {
    let (signature, _) = repository.extract_signature(&commit, None).ok()?;
    let text = std::str::from_utf8(&signature).ok()?;
    let body: String = text.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    let bytes = STANDARD.decode(body).ok()?;
    let rest = bytes.strip_prefix(b"SSHSIG")?.get(4..)?;
    let length = usize::try_from(u32::from_be_bytes(rest.get(..4)?.try_into().ok()?)).ok()?;
    Some(STANDARD.encode(rest.get(4..4 + length)?))
}
