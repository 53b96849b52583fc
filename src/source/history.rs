//! What the history of a local repository says of a change: its commits, who wrote them, which tenants each of
//! them touches. And one tenant's directory as it lies on disk, for a watch that reads no more than what moved.
#![expect(clippy::disallowed_methods, reason = "an adapter: reads the directory it is given")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use git2::{ObjectType, Oid};

use super::objects::{object_id, oid, unreadable};
use super::searching;
use super::work_tree::{FILE_BYTES_MAX, LocalRepository};
use super::{SourceError, pinned};
use crate::domain::{CommitId, Entry, Listing, Mode, Revision, TenantId, Tree};

/// Commits of one change.
const RANGE_MAX: usize = 2_000;
/// Files of one tenant that a watch reads.
const FILES_MAX: usize = 20_000;
/// Directories below one another.
const DEPTH_MAX: usize = 32;

/// A signature as a commit carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitSignature {
    /// The armoured signature.
    pub armour: Vec<u8>,
    /// The commit without it: what was signed.
    pub payload: Vec<u8>,
}

/// One commit of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Which.
    pub commit: CommitId,
    /// The address of its author.
    pub email: String,
    /// Its signature, unverified; `None` without one.
    pub signature: Option<CommitSignature>,
    /// The tenants whose directories it changes against each of its parents.
    pub tenants: BTreeSet<TenantId>,
}

impl LocalRepository {
    /// The commits that `head` has and `base` has not, oldest first.
    ///
    /// # Errors
    /// [`SourceError::Unreadable`]; [`SourceError::TooLarge`] beyond 2,000 commits.
    pub fn written_between(&self, base: &CommitId, head: &CommitId) -> Result<Vec<Written>, SourceError> {
        let Some(repository) = &self.repository else { return Ok(Vec::new()) };
        let what = || format!("the history of `{head}`");
        let mut walk = repository.revwalk().map_err(unreadable(what()))?;
        walk.set_sorting(git2::Sort::TOPOLOGICAL | git2::Sort::REVERSE).map_err(unreadable(what()))?;
        walk.push(oid(head)?).map_err(unreadable(what()))?;
        walk.hide(oid(base)?).map_err(unreadable(what()))?;
        let mut listings: BTreeMap<CommitId, Listing> = BTreeMap::new();
        let mut written = Vec::new();
        for id in walk {
            let commit = object_id(id.map_err(unreadable(what()))?);
            if written.len() >= RANGE_MAX {
                return Err(SourceError::TooLarge { what: what(), limit: format!("{RANGE_MAX} commits") });
            }
            let info = self.commit_info(&commit)?;
            for id in info.parents.iter().chain([&commit]) {
                if !listings.contains_key(id) {
                    listings.insert(id.clone(), self.at(id)?.listing()?);
                }
            }
            written.push(Written {
                tenants: touched(&listings, &commit, &info.parents),
                signature: signature(repository, &commit),
                email: info.author.email,
                commit,
            });
        }
        Ok(written)
    }

    /// The address that the next commit would name.
    #[must_use]
    pub fn user_email(&self) -> Option<String> {
        let config = self.repository.as_ref()?.config().ok()?;
        config.get_string("user.email").ok()
    }

    /// One tenant's directory as it lies on disk, ignored files left out, without looking at anything else.
    ///
    /// # Errors
    /// [`SourceError::File`].
    pub fn tenant_as_it_lies(&self, tenant: &TenantId, revision: &Revision) -> Result<Tree, SourceError> {
        let mut tree = Tree {
            revision: revision.clone(),
            files: BTreeMap::new(),
            misnamed: Vec::new(),
            truncated: None,
            pinned: BTreeMap::new(),
        };
        let root = format!("tenants/{tenant}");
        self.take(&root, 0, &mut tree)?;
        if let Some(repository) = &self.repository {
            pinned::read(repository, revision, &self.prefix, tenant, &mut tree)?;
        }
        Ok(tree)
    }

    fn take(&self, below: &str, depth: usize, tree: &mut Tree) -> Result<(), SourceError> {
        let directory = self.directory.join(below);
        let refused = |path: &Path| {
            let path = path.to_owned();
            move |source| SourceError::File { path, source }
        };
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(refused(&directory)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(refused(&directory))?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                tree.misnamed.push(format!("{below}/{}", entry.file_name().to_string_lossy()));
                continue;
            };
            let inside = format!("{below}/{name}");
            if name == ".git" || self.is_left_out(&inside) {
                continue;
            }
            let path = entry.path();
            // A file may go while it is read: then it is as if it had gone before.
            let Ok(found) = path.symlink_metadata() else { continue };
            if tree.files.len() >= FILES_MAX || depth > DEPTH_MAX {
                tree.truncated = Some(format!("more than {FILES_MAX} files or {DEPTH_MAX} levels"));
                return Ok(());
            }
            if found.is_dir() {
                self.take(&inside, depth + 1, tree)?;
            } else if let Some(entry) = read_entry(&path, &found)? {
                tree.files.insert(inside, entry);
            }
        }
        Ok(())
    }

    /// Whether Git would not add a path: it is ignored and not tracked.
    fn is_left_out(&self, inside: &str) -> bool {
        let Some(repository) = &self.repository else { return false };
        let path = format!("{}{inside}", self.prefix);
        let ignored = repository.is_path_ignored(Path::new(&path)).unwrap_or(false);
        ignored && !repository.index().is_ok_and(|index| index.get_path(Path::new(&path), 0).is_some())
    }
}

fn read_entry(path: &Path, found: &std::fs::Metadata) -> Result<Option<Entry>, SourceError> {
    let refused = |source| SourceError::File { path: path.to_owned(), source };
    let (mode, bytes) = if found.is_symlink() {
        let target = std::fs::read_link(path).map_err(refused)?;
        (Mode::Symlink, Some(target.into_os_string().into_encoded_bytes()))
    } else if found.is_file() {
        let mode = if found.permissions().mode() & 0o100 != 0 { Mode::Executable } else { Mode::File };
        let small = found.len() <= FILE_BYTES_MAX;
        (mode, small.then(|| std::fs::read(path)).transpose().map_err(refused)?)
    } else {
        return Ok(None);
    };
    let id = match &bytes {
        Some(bytes) => Oid::hash_object(ObjectType::Blob, bytes),
        None => Oid::hash_file(ObjectType::Blob, path),
    };
    let id = object_id(id.map_err(unreadable(format!("file `{}`", path.display())))?);
    let large = bytes.is_none();
    let searched = if large { searching::of_file(path, found.len()).map_err(refused)? } else { None };
    Ok(Some(Entry { mode, id, size: found.len(), content: bytes.map(Arc::from), searched }))
}

/// The tenants that a commit changes against each of its parents.
fn touched(
    listings: &BTreeMap<CommitId, Listing>,
    commit: &CommitId,
    parents: &[CommitId],
) -> BTreeSet<TenantId> {
    let Some(own) = listings.get(commit) else { return BTreeSet::new() };
    let parents: Vec<&Listing> = parents.iter().filter_map(|parent| listings.get(parent)).collect();
    let names = own.tenants.keys().chain(parents.iter().flat_map(|parent| parent.tenants.keys()));
    names
        .filter(|tenant| parents.iter().all(|parent| parent.tenants.get(*tenant) != own.tenants.get(*tenant)))
        .cloned()
        .collect()
}

/// The public key inside an SSH signature. Source: OpenSSH, `PROTOCOL.sshsig`.
fn signature(repository: &git2::Repository, commit: &CommitId) -> Option<CommitSignature> {
    let (armour, payload) = repository.extract_signature(&oid(commit).ok()?, None).ok()?;
    Some(CommitSignature { armour: armour.to_vec(), payload: payload.to_vec() })
}
