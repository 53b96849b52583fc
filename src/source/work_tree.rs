//! A repository on somebody's own disk, for `validate` and `plan` without a daemon: its commits, and its
//! work tree as `git add -A` would commit it. Writes nothing: new objects live in memory.
#![expect(clippy::disallowed_methods, reason = "an adapter: reads the directory it is given")]

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use git2::{ErrorCode, Index, IndexEntry, IndexTime, ObjectType, Odb, Oid, Repository};

use super::objects::{self, Root, object_id, oid, unreadable};
use super::pinned;
use super::searching;
use super::staging;
use super::{CommitInfo, Contents, SourceError, remote};
use crate::domain::{CommitId, Entry, Listing, Mode, ObjectId, Revision, TenantId, Tree};

/// Bytes of a file that is read; a larger one is listed without content.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;
/// Files and directories below the places that are read.
const ENTRIES_MAX: usize = 500_000;
/// What of a repository is read at all.
pub(super) const PLACES: [&str; 4] = ["tenantry.toml", "platform", "shared", "tenants"];

/// A directory with a tenantry repository in it, under Git or not.
pub struct LocalRepository {
    pub(super) directory: PathBuf,
    /// `None` outside Git.
    pub(super) repository: Option<Repository>,
    /// From the repository's root to `directory`, with `/` at its end; empty where they are one.
    pub(super) prefix: String,
}

/// One state of a local repository: a commit, or the work tree.
pub struct Snapshot {
    repository: Repository,
    root: Option<Root>,
    revision: Revision,
    large: BTreeMap<String, Entry>,
    /// What it has, once somebody has asked: each tenant is found in it without reading all their names again.
    listed: OnceLock<Listing>,
}

impl LocalRepository {
    /// Opens the directory, or the nearest one above it that has a `tenantry.toml`.
    ///
    /// # Errors
    /// [`SourceError::File`] if there is no such directory, [`SourceError::NotOwned`] if Git does not trust it.
    pub fn open(directory: &Path) -> Result<Self, SourceError> {
        let refused = |source| SourceError::File { path: directory.to_owned(), source };
        let given = directory.canonicalize().map_err(refused)?;
        if !given.is_dir() {
            return Err(refused(std::io::ErrorKind::NotADirectory.into()));
        }
        let repository = match Repository::discover(&given) {
            Ok(repository) => Some(repository),
            Err(error) if error.code() == ErrorCode::NotFound => None,
            Err(error) if error.code() == ErrorCode::Owner => {
                return Err(SourceError::NotOwned { owner: remote::owner(&given), path: given });
            }
            Err(error) => return Err(unreadable(format!("repository `{}`", given.display()))(error)),
        };
        let top = match &repository {
            Some(found) => match found.workdir().map(Path::canonicalize) {
                Some(top) => Some(top.map_err(refused)?),
                // A bare repository has commits and no work tree.
                None => return Ok(Self { directory: given, repository, prefix: String::new() }),
            },
            None => None,
        };
        let within = |candidate: &&Path| top.as_ref().is_none_or(|top| candidate.starts_with(top));
        let root = given.ancestors().take_while(within).find(|at| at.join("tenantry.toml").is_file());
        let directory = root.unwrap_or(&given).to_owned();
        let below = top.as_ref().and_then(|top| directory.strip_prefix(top).ok());
        let prefix = match below.map(Path::to_string_lossy) {
            Some(path) if !path.is_empty() => format!("{path}/"),
            _ => String::new(),
        };
        Ok(Self { directory, repository, prefix })
    }

    /// The directory that is taken for the repository's root.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the directory is under Git.
    #[must_use]
    pub fn is_under_git(&self) -> bool {
        self.repository.is_some()
    }

    /// Whether Git leaves out what lies at a path from the repository's root: `git add -A` would not commit it.
    #[must_use]
    pub fn ignores(&self, path: &str) -> bool {
        let whole = format!("{}{path}", self.prefix);
        self.repository.as_ref().is_some_and(|git| git.is_path_ignored(Path::new(&whole)).unwrap_or(false))
    }

    /// Whether it has commits and no work tree.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.repository.as_ref().is_some_and(Repository::is_bare)
    }

    /// Whether history ends early here, because the clone was made so.
    #[must_use]
    pub fn is_shallow(&self) -> bool {
        self.repository.as_ref().is_some_and(Repository::is_shallow)
    }

    /// Whether there is a remote named `origin`.
    #[must_use]
    pub fn has_origin(&self) -> bool {
        self.repository.as_ref().is_some_and(|repository| repository.find_remote("origin").is_ok())
    }

    /// The commit that a branch, tag, id or expression names.
    ///
    /// # Errors
    /// [`SourceError::NoSuchRevision`].
    pub fn resolve(&self, name: &str) -> Result<CommitId, SourceError> {
        let missing = || SourceError::NoSuchRevision(name.to_owned());
        let repository = self.repository.as_ref().ok_or_else(missing)?;
        let object = repository.revparse_single(name).map_err(|_| missing())?;
        Ok(object_id(object.peel(ObjectType::Commit).map_err(|_| missing())?.id()))
    }

    /// The best common ancestor of two commits; `None` where their histories have nothing in common.
    ///
    /// # Errors
    /// [`SourceError::Unreadable`].
    pub fn merge_base(&self, one: &CommitId, other: &CommitId) -> Result<Option<CommitId>, SourceError> {
        let Some(repository) = &self.repository else { return Ok(None) };
        match repository.merge_base(oid(one)?, oid(other)?) {
            Ok(id) => Ok(Some(object_id(id))),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(unreadable(format!("the history of `{other}`"))(error)),
        }
    }

    /// What a commit says of itself.
    ///
    /// # Errors
    /// [`SourceError::NoSuchRevision`], [`SourceError::Unreadable`].
    pub fn commit_info(&self, id: &CommitId) -> Result<CommitInfo, SourceError> {
        match &self.repository {
            Some(repository) => objects::commit_info(repository, id),
            None => Err(SourceError::NoSuchRevision(id.to_string())),
        }
    }

    /// The state at a commit.
    ///
    /// # Errors
    /// [`SourceError::NoSuchRevision`], [`SourceError::Unreadable`].
    pub fn at(&self, commit: &CommitId) -> Result<Snapshot, SourceError> {
        let repository = self.again()?.ok_or_else(|| SourceError::NoSuchRevision(commit.to_string()))?;
        let revision = Revision { commit: commit.clone(), branch: branch(&repository) };
        let whole = objects::root_of(&repository, &revision)?;
        let root = self.beneath(&repository, whole)?;
        Ok(Snapshot { repository, root, revision, large: BTreeMap::new(), listed: OnceLock::new() })
    }

    /// The work tree as `git add -A` would commit it; outside Git, the directory as it lies.
    ///
    /// Its revision names the commit it lies on, zeros where there is none.
    ///
    /// # Errors
    /// [`SourceError::File`], [`SourceError::Unreadable`], [`SourceError::TooLarge`].
    pub fn work_tree(&self) -> Result<Snapshot, SourceError> {
        let mut large = BTreeMap::new();
        let under_git = self.again()?;
        let (repository, tree) = match under_git {
            Some(repository) => {
                let (tree, listed) = staging::stage(&repository, &self.prefix, &self.directory)?;
                large = listed;
                (repository, tree)
            }
            None => as_it_lies(&self.directory, &mut large)?,
        };
        let commit = repository.head().ok().and_then(|head| head.peel_to_commit().ok());
        let commit = commit.map_or(Oid::ZERO_SHA1, |commit| commit.id());
        let revision = Revision { commit: object_id(commit), branch: branch(&repository) };
        let root =
            self.beneath(&repository, Root { revision: revision.clone(), tree, below: String::new() })?;
        Ok(Snapshot { repository, root, revision, large, listed: OnceLock::new() })
    }

    /// A second handle on the repository, whose new objects stay in memory.
    fn again(&self) -> Result<Option<Repository>, SourceError> {
        let Some(repository) = &self.repository else { return Ok(None) };
        let what = || format!("repository `{}`", self.directory.display());
        staging::in_memory(repository.path()).map(Some).map_err(unreadable(what()))
    }

    fn beneath(&self, repository: &Repository, whole: Root) -> Result<Option<Root>, SourceError> {
        if self.prefix.is_empty() {
            return Ok(Some(whole));
        }
        let what = || format!("directory `{}`", self.prefix);
        let tree = repository.find_tree(whole.tree).map_err(unreadable(what()))?;
        match tree.get_path(Path::new(self.prefix.trim_end_matches('/'))) {
            Ok(entry) => Ok(Some(Root { tree: entry.id(), below: self.prefix.clone(), ..whole })),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(unreadable(what())(error)),
        }
    }
}

#[async_trait]
impl Contents for Mutex<Snapshot> {
    /// Reads from memory or this machine's disk; whoever asks next waits.
    async fn blob(&self, id: &ObjectId) -> Result<Arc<[u8]>, SourceError> {
        self.lock().unwrap_or_else(PoisonError::into_inner).blob(id)
    }
}

fn branch(repository: &Repository) -> String {
    let head = repository.head().ok();
    let name = head.as_ref().and_then(|head| head.shorthand().ok());
    name.filter(|name| *name != "HEAD").unwrap_or_default().to_owned()
}

pub(super) fn large_entry(path: &Path) -> Result<Entry, SourceError> {
    let refused = |source| SourceError::File { path: path.to_owned(), source };
    let found = path.metadata().map_err(refused)?;
    let id =
        Oid::hash_file(ObjectType::Blob, path).map_err(unreadable(format!("file `{}`", path.display())))?;
    let searched = searching::of_file(path, found.len()).map_err(refused)?;
    Ok(Entry { mode: mode(&found), id: object_id(id), size: found.len(), content: None, searched })
}

fn mode(found: &std::fs::Metadata) -> Mode {
    if found.permissions().mode() & 0o100 != 0 { Mode::Executable } else { Mode::File }
}

/// Reads a directory outside Git into a repository in memory. Links are not followed; what is neither file,
/// directory nor link is left out, as Git does.
fn as_it_lies(
    directory: &Path,
    large: &mut BTreeMap<String, Entry>,
) -> Result<(Repository, Oid), SourceError> {
    let what = || format!("directory `{}`", directory.display());
    let odb = Odb::new().map_err(unreadable(what()))?;
    odb.add_new_mempack_backend(staging::IN_MEMORY).map_err(unreadable(what()))?;
    let repository = Repository::from_odb(odb).map_err(unreadable(what()))?;
    let mut index = Index::new().map_err(unreadable(what()))?;
    let mut todo: Vec<PathBuf> = PLACES.iter().map(|place| directory.join(place)).collect();
    let mut entries = 0;
    while let Some(path) = todo.pop() {
        let refused = |source| SourceError::File { path: path.clone(), source };
        let found = match path.symlink_metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(refused(error)),
        };
        entries += 1;
        if entries > ENTRIES_MAX {
            return Err(SourceError::TooLarge { what: what(), limit: format!("{ENTRIES_MAX} files") });
        }
        let (content, mode) = if found.is_dir() {
            for entry in std::fs::read_dir(&path).map_err(refused)? {
                todo.push(entry.map_err(refused)?.path());
            }
            continue;
        } else if found.is_symlink() {
            (std::fs::read_link(&path).map_err(refused)?.as_os_str().as_bytes().to_vec(), Mode::Symlink)
        } else if found.is_file() && found.len() > FILE_BYTES_MAX {
            let inside = path.strip_prefix(directory).unwrap_or(&path).to_string_lossy().into_owned();
            large.insert(inside, large_entry(&path)?);
            continue;
        } else if found.is_file() {
            (std::fs::read(&path).map_err(refused)?, mode(&found))
        } else {
            continue;
        };
        let name = path.strip_prefix(directory).unwrap_or(&path).as_os_str().as_bytes().to_vec();
        let id = repository.blob(&content).map_err(unreadable(what()))?;
        index.add(&index_entry(name, id, mode)).map_err(unreadable(format!("file `{}`", path.display())))?;
    }
    let tree = index.write_tree_to(&repository).map_err(unreadable(what()))?;
    Ok((repository, tree))
}

fn index_entry(path: Vec<u8>, id: Oid, mode: Mode) -> IndexEntry {
    let mode = match mode {
        Mode::File => 0o100_644,
        Mode::Executable => 0o100_755,
        Mode::Symlink => 0o120_000,
        Mode::Submodule => 0o160_000,
    };
    let never = IndexTime::new(0, 0);
    IndexEntry {
        ctime: never,
        mtime: never,
        dev: 0,
        ino: 0,
        mode,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path,
    }
}

impl Snapshot {
    /// The revision, for a work tree the one it lies on.
    #[must_use]
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    /// What it has.
    ///
    /// # Errors
    /// [`SourceError::Unreadable`].
    pub fn listing(&self) -> Result<Listing, SourceError> {
        if let Some(listing) = self.listed.get() {
            return Ok(listing.clone());
        }
        let listing = match &self.root {
            Some(root) => objects::listing(&self.repository, root)?,
            None => Listing {
                revision: self.revision.clone(),
                root: object_id(Oid::ZERO_SHA1),
                settings: None,
                platform: None,
                shared: BTreeMap::new(),
                tenants: BTreeMap::new(),
                misplaced: Vec::new(),
            },
        };
        Ok(self.listed.get_or_init(|| listing).clone())
    }

    /// The files below `tenants/T`.
    ///
    /// # Errors
    /// [`SourceError::Unreadable`].
    pub fn tenant_tree(&self, tenant: &TenantId) -> Result<Tree, SourceError> {
        let prefix = format!("tenants/{tenant}/");
        self.with_large(
            |root| {
                let listed = self.listed.get();
                let listed = listed
                    .map(|one| objects::tenant_tree_as_listed(&self.repository, one, &root.below, tenant));
                match listed.transpose()?.flatten() {
                    Some(tree) => Ok(tree),
                    None => objects::tenant_tree(&self.repository, root, tenant),
                }
            },
            |path| path.starts_with(&prefix),
        )
    }

    /// The same with one file of another content, as if it had been written.
    ///
    /// # Errors
    /// [`SourceError::Unreadable`].
    pub fn tenant_tree_with(&self, tenant: &TenantId, path: &str, text: &[u8]) -> Result<Tree, SourceError> {
        let mut tree = self.tenant_tree(tenant)?;
        let id = Oid::hash_object(ObjectType::Blob, text).map_err(unreadable(format!("file `{path}`")))?;
        let (id, size) = (object_id(id), text.len() as u64);
        let entry = Entry { mode: Mode::File, id, size, content: Some(Arc::from(text)), searched: None };
        tree.files.insert(path.to_owned(), entry);
        self.read_pins(tenant, &mut tree)?;
        Ok(tree)
    }

    /// Reads what the workflows of a changed tree pin.
    ///
    /// # Errors
    /// [`SourceError::Unreadable`].
    pub fn read_pins(&self, tenant: &TenantId, tree: &mut Tree) -> Result<(), SourceError> {
        tree.pinned.clear();
        match &self.root {
            Some(root) => pinned::read(&self.repository, &root.revision, &root.below, tenant, tree),
            None => Ok(()),
        }
    }

    /// `tenantry.toml` and the files below `platform/` and `shared/`.
    ///
    /// # Errors
    /// [`SourceError::Unreadable`].
    pub fn platform_tree(&self) -> Result<Tree, SourceError> {
        self.with_large(
            |root| objects::platform_tree(&self.repository, root),
            |path| !path.starts_with("tenants/"),
        )
    }

    /// The bytes of one blob, at most 16 MiB.
    ///
    /// # Errors
    /// [`SourceError::Unreadable`], [`SourceError::TooLarge`].
    pub fn blob(&self, id: &ObjectId) -> Result<Arc<[u8]>, SourceError> {
        objects::blob(&self.repository, id)
    }

    fn with_large(
        &self,
        read: impl FnOnce(&Root) -> Result<Tree, SourceError>,
        belongs: impl Fn(&str) -> bool,
    ) -> Result<Tree, SourceError> {
        let mut tree = match &self.root {
            Some(root) => read(root)?,
            None => Tree {
                revision: self.revision.clone(),
                files: BTreeMap::new(),
                misnamed: Vec::new(),
                truncated: None,
                pinned: BTreeMap::new(),
            },
        };
        let large = self.large.iter().filter(|(path, _)| belongs(path));
        tree.files.extend(large.map(|(path, entry)| (path.clone(), entry.clone())));
        Ok(tree)
    }
}
