//! The repository as a bare mirror of our own: objects by libgit2, fetch by the system `git`.
#![expect(clippy::disallowed_methods, reason = "an adapter: makes and cleans the mirror's directory")]

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use git2::{ErrorCode, ObjectType, Repository, RepositoryInitMode, RepositoryInitOptions, Signature, Time};

use super::blobs::Blobs;
use super::nearby::{self, Nearby, Objects};
use super::objects::{self, object_id, oid, unreadable};
use super::plain;
use super::remote::{self, FetchSettings, HEAD_REF, Remote};
use super::{CommitInfo, Contents, Known, Source, SourceError, authors};
use crate::domain::{CommitId, Listing, ObjectId, Revision, TenantId, Timestamp, Tree};

/// Bytes of a note.
const NOTE_BYTES_MAX: usize = 64 * 1024;
/// Listings that are kept: the head's, and that of the commit before it while both are looked at.
const LISTINGS_MAX: usize = 2;

/// A mirror of one branch of one repository.
///
/// One process at a time: the caller holds the lock of the data directory.
pub struct GitSource {
    remote: Remote,
    settings: FetchSettings,
    mirror: PathBuf,
    repository: Arc<Mutex<Repository>>,
    /// What was listed last. A commit never changes what it has.
    listings: Arc<Mutex<VecDeque<Arc<Listing>>>>,
    blobs: Mutex<Blobs>,
}

impl GitSource {
    /// Opens the mirror, or makes it, and clears what a killed fetch left behind.
    ///
    /// # Errors
    /// [`SourceError::Mirror`] if the directory is no bare repository or borrows objects from elsewhere.
    pub fn open(remote: Remote, settings: FetchSettings, mirror: &Path) -> Result<Self, SourceError> {
        let broken = |reason: String| SourceError::Mirror { path: mirror.to_owned(), reason };
        let repository = if mirror.exists() {
            Repository::open_bare(mirror)
        } else {
            let mut options = RepositoryInitOptions::new();
            // Without a template there are no hooks, not even samples.
            options.bare(true).no_reinit(true).mkpath(true).external_template(false);
            options.mode(RepositoryInitMode::from_bits_retain(0o700));
            Repository::init_opts(mirror, &options)
        }
        .map_err(|error| broken(error.message().to_owned()))?;
        // Each of these would let something other than the fetched objects say what a commit holds.
        for name in ["objects/info/alternates", "info/grafts", "shallow"] {
            if mirror.join(name).exists() {
                return Err(broken(format!("it has a file `{name}`")));
            }
        }
        clear_leftovers(mirror);
        Ok(Self {
            remote,
            settings,
            mirror: mirror.to_owned(),
            repository: Arc::new(Mutex::new(repository)),
            listings: Arc::default(),
            blobs: Mutex::default(),
        })
    }

    /// Fetches from a directory on this machine where that is plain; `None` leaves it to `git`.
    async fn fetch_nearby(&self, directory: &Path) -> Option<Revision> {
        let known = self.reading(|mirror| Ok(nearby::known(mirror))).await.ok()??;
        let (directory, branch, from) = (directory.to_owned(), self.settings.branch.clone(), known.clone());
        // Not under the lock of the mirror: a file system that hangs must not hold up who reads what is here.
        let look = tokio::task::spawn_blocking(move || nearby::look(&directory, &branch, &from));
        match tokio::time::timeout(self.settings.time_max, look).await.ok()?.ok()?? {
            Nearby::Same => {}
            Nearby::Moved { head, objects } => {
                let plain = match objects {
                    Objects::Plain(plain) => plain,
                    Objects::Pack(pack) => {
                        remote::unpack(&self.remote, &self.settings, &self.mirror, pack).await.ok()?;
                        Vec::new()
                    }
                };
                let moved = move |mirror: &Repository| {
                    if plain::store(mirror, &plain).is_none() {
                        return Ok(false);
                    }
                    let moved = mirror.reference_matching(HEAD_REF, head, true, known.head, "fetched");
                    moved.map(|_| true).map_err(unreadable("the head of the mirror"))
                };
                if !self.reading(moved).await.ok()? {
                    return None;
                }
            }
        }
        self.head().await.ok()?
    }

    fn listed(&self, revision: &Revision) -> Option<Arc<Listing>> {
        let listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        listings.iter().find(|listing| listing.revision == *revision).map(Arc::clone)
    }

    /// Runs a read on a thread that may block.
    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Repository) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let repository = Arc::clone(&self.repository);
        tokio::task::spawn_blocking(move || {
            // A panic in another read leaves nothing half done here: reads change nothing.
            read(&repository.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await
        .map_err(|_| SourceError::CutOff)?
    }
}

/// Removes lock files and half packs. Nobody else works here: the data directory is locked.
fn clear_leftovers(mirror: &Path) {
    let mut directories = vec![mirror.to_owned(), mirror.join("objects"), mirror.join("objects/pack")];
    let mut refs = vec![mirror.join("refs")];
    while let Some(directory) = refs.pop() {
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        refs.extend(entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()));
        directories.push(directory);
    }
    for directory in directories {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".lock") || name.starts_with("tmp_") {
                // One that stays is named by the next fetch.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

fn head_of(repository: &Repository, branch: &str) -> Result<Option<Revision>, SourceError> {
    let id = match repository.refname_to_id(HEAD_REF) {
        Ok(id) => id,
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
        Err(error) => return Err(unreadable("the head of the mirror")(error)),
    };
    let object = repository.find_object(id, None).map_err(unreadable(format!("commit `{id}`")))?;
    if object.kind() != Some(ObjectType::Commit) {
        return Err(SourceError::NotACommit { branch: branch.to_owned() });
    }
    Ok(Some(Revision { commit: object_id(id), branch: branch.to_owned() }))
}

#[async_trait]
impl Contents for GitSource {
    async fn blob(&self, id: &ObjectId) -> Result<Arc<[u8]>, SourceError> {
        let id = id.clone();
        let blobs = || self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = blobs().get(&id) {
            return Ok(known);
        }
        let wanted = id.clone();
        let content = self.reading(move |repository| objects::blob(repository, &wanted)).await?;
        blobs().keep(&id, &content);
        Ok(content)
    }
}

#[async_trait]
impl Source for GitSource {
    fn address(&self) -> String {
        self.remote.to_string()
    }

    async fn fetch(&self) -> Result<Revision, SourceError> {
        if let Some(directory) = self.remote.directory()
            && let Some(head) = self.fetch_nearby(directory).await
        {
            return Ok(head);
        }
        let fetched = remote::fetch(&self.remote, &self.settings, &self.mirror).await;
        if let Err(error) = fetched {
            clear_leftovers(&self.mirror);
            return Err(error);
        }
        self.head().await?.ok_or_else(|| SourceError::Empty { remote: self.remote.to_string() })
    }

    async fn head(&self) -> Result<Option<Revision>, SourceError> {
        let branch = self.settings.branch.clone();
        self.reading(move |repository| head_of(repository, &branch)).await
    }

    async fn listing(&self, revision: &Revision) -> Result<Arc<Listing>, SourceError> {
        if let Some(listing) = self.listed(revision) {
            return Ok(listing);
        }
        let (revision, listings) = (revision.clone(), Arc::clone(&self.listings));
        self.reading(move |repository| {
            let listing = Arc::new(objects::listing(repository, &objects::root_of(repository, &revision)?)?);
            let mut listings = listings.lock().unwrap_or_else(PoisonError::into_inner);
            listings.push_front(Arc::clone(&listing));
            listings.truncate(LISTINGS_MAX);
            Ok(listing)
        })
        .await
    }

    async fn tenant_tree(&self, revision: &Revision, tenant: &TenantId) -> Result<Tree, SourceError> {
        let listing = self.listed(revision);
        let (revision, tenant) = (revision.clone(), tenant.clone());
        self.reading(move |repository| {
            // What is listed as a directory of that name is the tenant's; a file or link is not read as one.
            let listed = listing.map(|one| objects::tenant_tree_as_listed(repository, &one, "", &tenant));
            if let Some(tree) = listed.transpose()?.flatten() {
                return Ok(tree);
            }
            objects::tenant_tree(repository, &objects::root_of(repository, &revision)?, &tenant)
        })
        .await
    }

    async fn platform_tree(&self, revision: &Revision) -> Result<Tree, SourceError> {
        let revision = revision.clone();
        self.reading(move |repository| {
            objects::platform_tree(repository, &objects::root_of(repository, &revision)?)
        })
        .await
    }

    async fn is_ancestor(&self, ancestor: &CommitId, descendant: &CommitId) -> Result<bool, SourceError> {
        let (ancestor, descendant) = (ancestor.clone(), descendant.clone());
        self.reading(move |repository| objects::is_ancestor(repository, &ancestor, &descendant)).await
    }

    async fn first_parent_range(
        &self,
        base: &CommitId,
        head: &CommitId,
    ) -> Result<Vec<CommitId>, SourceError> {
        let (base, head) = (base.clone(), head.clone());
        self.reading(move |repository| objects::first_parent_range(repository, &base, &head)).await
    }

    async fn commit_info(&self, id: &CommitId) -> Result<CommitInfo, SourceError> {
        let id = id.clone();
        self.reading(move |repository| objects::commit_info(repository, &id)).await
    }

    async fn authors(&self, head: &CommitId, below: Vec<Known>) -> Result<BTreeSet<String>, SourceError> {
        let head = head.clone();
        self.reading(move |repository| authors::written(repository, &head, &below)).await
    }

    async fn keep(&self, scope: &str, commit: &CommitId) -> Result<(), SourceError> {
        let (name, commit) = (format!("refs/tenantry/applied/{scope}"), commit.clone());
        self.reading(move |repository| {
            let what = || format!("commit `{commit}`");
            let found = repository.find_commit(oid(&commit)?).map_err(unreadable(what()))?;
            repository
                .reference(&name, found.id(), true, "applied")
                .map(|_| ())
                .map_err(unreadable(format!("ref `{name}`")))
        })
        .await
    }

    async fn annotate(&self, commit: &CommitId, text: &str, now: Timestamp) -> Result<(), SourceError> {
        let commit = commit.clone();
        let end = (0..=text.len().min(NOTE_BYTES_MAX)).rev().find(|end| text.is_char_boundary(*end));
        let text = text[..end.unwrap_or_default()].to_owned();
        self.reading(move |repository| {
            let what = || format!("the note of `{commit}`");
            let time = Time::new(now.as_millis().div_euclid(1000), 0);
            let us = Signature::new("tenantry", "tenantry@localhost", &time).map_err(unreadable(what()))?;
            repository
                .note(&us, &us, Some("refs/notes/tenantry"), oid(&commit)?, &text, true)
                .map(|_| ())
                .map_err(unreadable(what()))
        })
        .await
    }
}
