//! Reading trees and commits from an object database; the same for the mirror and for a work tree in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use git2::{ErrorCode, ObjectType, Odb, Oid, Repository, TreeEntry};

use super::{CommitInfo, Signer, SourceError, searching};
use crate::domain::{
    CommitId, Entry, Listing, Mode, ObjectId, Revision, SEARCH_BYTES_MAX, Seen, TenantId, Timestamp, Tree,
};

/// What reading one tree may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Files and directories.
    pub entries_max: usize,
    /// Bytes of contents together.
    pub bytes_max: u64,
    /// Bytes of one content; a larger file is listed without it.
    pub file_bytes_max: u64,
    /// Nesting of directories.
    pub depth_max: usize,
}

impl Budget {
    /// For one tenant, and for the platform's files.
    pub(super) const TREE: Self =
        Self { entries_max: 20_000, bytes_max: 64 << 20, file_bytes_max: 1 << 20, depth_max: 32 };
}

/// Bytes of one tree object; Git itself writes about 40 bytes an entry.
const TREE_OBJECT_BYTES_MAX: usize = 32 << 20;
/// Bytes of a blob that is asked for by its id.
const BLOB_BYTES_MAX: usize = 16 << 20;
/// Bytes of files that are searched and not held, of one tree: four times what is asked about, since that goes by paths
/// and this by the order of reading.
const SEARCHED_BYTES_MAX: u64 = 256 << 20;
/// Commits of a first-parent range.
const RANGE_MAX: usize = 10_000;
/// Characters of a commit's first line that are kept.
const SUBJECT_CHARS_MAX: usize = 300;

const SETTINGS: &str = "tenantry.toml";

pub(super) fn unreadable(what: impl Into<String>) -> impl FnOnce(git2::Error) -> SourceError {
    let what = what.into();
    move |source| SourceError::Unreadable { what, source }
}

/// Our spelling of a libgit2 id.
pub(super) fn object_id(id: Oid) -> ObjectId {
    // INVARIANT: libgit2 writes ids as 40 lower-case hex digits.
    id.to_string().parse().unwrap_or_else(|error| panic!("an id of libgit2 is an id: {error}"))
}

/// The libgit2 spelling of an id.
pub(super) fn oid(id: &ObjectId) -> Result<Oid, SourceError> {
    Oid::from_str(id.as_str()).map_err(unreadable(format!("object `{id}`")))
}

/// A commit or a tree in memory, with the directory in it that is taken for the root.
#[derive(Clone, Debug)]
pub(super) struct Root {
    /// As of.
    pub revision: Revision,
    /// The tree.
    pub tree: Oid,
    /// From the root of the commit's tree to the directory that is taken for the root, with `/` at its end.
    pub below: String,
}

/// The root tree of a commit.
pub(super) fn root_of(repository: &Repository, revision: &Revision) -> Result<Root, SourceError> {
    let commit = repository
        .find_commit(oid(&revision.commit)?)
        .map_err(unreadable(format!("commit `{}`", revision.commit)))?;
    Ok(Root { revision: revision.clone(), tree: commit.tree_id(), below: String::new() })
}

/// One entry of a tree object.
struct Child {
    name: Vec<u8>,
    kind: ChildKind,
    id: Oid,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ChildKind {
    Directory,
    File(Mode),
}

impl Child {
    fn of(entry: &TreeEntry<'_>) -> Self {
        Self {
            name: entry.name_bytes().to_vec(),
            kind: match entry.filemode_raw() & 0o170_000 {
                0o040_000 => ChildKind::Directory,
                0o120_000 => ChildKind::File(Mode::Symlink),
                0o160_000 => ChildKind::File(Mode::Submodule),
                _ if entry.filemode_raw() & 0o111 != 0 => ChildKind::File(Mode::Executable),
                _ => ChildKind::File(Mode::File),
            },
            id: entry.id(),
        }
    }
}

fn children(repository: &Repository, odb: &Odb<'_>, id: Oid, path: &str) -> Result<Vec<Child>, SourceError> {
    let tree = directory(repository, odb, id, path)?;
    Ok(tree.iter().map(|entry| Child::of(&entry)).collect())
}

fn directory<'r>(
    repository: &'r Repository,
    odb: &Odb<'_>,
    id: Oid,
    path: &str,
) -> Result<git2::Tree<'r>, SourceError> {
    let what = || if path.is_empty() { format!("tree `{id}`") } else { format!("directory `{path}`") };
    let (bytes, _) = odb.read_header(id).map_err(unreadable(what()))?;
    if bytes > TREE_OBJECT_BYTES_MAX {
        return Err(SourceError::TooLarge { what: what(), limit: "32 MiB of names".to_owned() });
    }
    repository.find_tree(id).map_err(unreadable(what()))
}

/// The name as text, or with its odd bytes shown; a name that would be a path is odd as a whole.
fn spell(name: &[u8]) -> Result<&str, String> {
    match std::str::from_utf8(name) {
        Ok(text) if !matches!(text, "" | "." | "..") && !text.contains(['/', '\0']) => Ok(text),
        _ => Err(name
            .iter()
            .map(|byte| match byte {
                b' '..=b'~' if *byte != b'\\' => char::from(*byte).to_string(),
                byte => format!("\\x{byte:02x}"),
            })
            .collect()),
    }
}

/// What the root has, from its own entries and those of `shared` and `tenants`.
pub(super) fn listing(repository: &Repository, root: &Root) -> Result<Listing, SourceError> {
    let odb = repository.odb().map_err(unreadable("the object database"))?;
    let mut listing = Listing {
        revision: root.revision.clone(),
        root: object_id(root.tree),
        settings: None,
        platform: None,
        shared: BTreeMap::new(),
        tenants: BTreeMap::new(),
        misplaced: Vec::new(),
    };
    for child in children(repository, &odb, root.tree, "")? {
        match (child.name.as_slice(), child.kind) {
            (b"tenantry.toml", ChildKind::File(_)) => listing.settings = Some(object_id(child.id)),
            (b"platform", ChildKind::Directory) => listing.platform = Some(object_id(child.id)),
            (b"shared", ChildKind::Directory) => {
                for child in children(repository, &odb, child.id, "shared")? {
                    match (spell(&child.name), child.kind) {
                        (Ok(name), ChildKind::Directory) => {
                            listing.shared.insert(name.to_owned(), object_id(child.id));
                        }
                        // A file beside the directories is the platform's to report: its tree has it.
                        _ => continue,
                    }
                }
            }
            (b"tenants", ChildKind::Directory) => {
                for child in children(repository, &odb, child.id, "tenants")? {
                    list_tenant(&child, &mut listing);
                }
            }
            (b"tenants", ChildKind::File(_)) => listing.misplaced.push("tenants".to_owned()),
            _ => {}
        }
    }
    Ok(listing)
}

fn list_tenant(child: &Child, listing: &mut Listing) {
    match (spell(&child.name), child.kind) {
        (Ok(name), ChildKind::Directory) => match name.parse::<TenantId>() {
            Ok(tenant) => {
                listing.tenants.insert(tenant, object_id(child.id));
            }
            Err(_) => listing.misplaced.push(format!("tenants/{name}")),
        },
        (Ok(name), ChildKind::File(Mode::File | Mode::Executable)) if name.ends_with(".md") => {}
        (Ok(name), ChildKind::File(_)) => listing.misplaced.push(format!("tenants/{name}")),
        (Err(shown), _) => listing.misplaced.push(format!("tenants/{shown}")),
    }
}

/// Reads `tenantry.toml`, `platform/` and `shared/`.
pub(super) fn platform_tree(repository: &Repository, root: &Root) -> Result<Tree, SourceError> {
    read(repository, root, &[SETTINGS, "platform", "shared"], Budget::TREE)
}

/// Reads one tenant's directory, and what its workflows pin.
pub(super) fn tenant_tree(
    repository: &Repository,
    root: &Root,
    tenant: &TenantId,
) -> Result<Tree, SourceError> {
    let mut tree = read(repository, root, &[&format!("tenants/{tenant}")], Budget::TREE)?;
    super::pinned::read(repository, &root.revision, &root.below, tenant, &mut tree)?;
    Ok(tree)
}

/// Reads one tenant's directory as a listing has it: `tree` is what stands there under its name, `None` if nothing
/// does. Saves looking for it among all of them. What its workflows pin is read as well.
///
/// `below` leads from the root of the commit's tree to the directory that is taken for the root. `None` if the
/// listing has something else than a directory under that name: then it is looked for.
pub(super) fn tenant_tree_as_listed(
    repository: &Repository,
    listing: &Listing,
    below: &str,
    tenant: &TenantId,
) -> Result<Option<Tree>, SourceError> {
    let (revision, path) = (&listing.revision, format!("tenants/{tenant}"));
    if listing.misplaced.contains(&path) {
        return Ok(None);
    }
    let mut reader = Reader::new(repository, revision, Budget::TREE)?;
    if let Some(tree) = listing.tenants.get(tenant) {
        let child = Child { name: Vec::new(), kind: ChildKind::Directory, id: oid(tree)? };
        reader.take(&child, &path, 1)?;
    }
    let mut tree = reader.ended();
    super::pinned::read(repository, revision, below, tenant, &mut tree)?;
    Ok(Some(tree))
}

/// Reads the files at or below some paths.
pub(super) fn read(
    repository: &Repository,
    root: &Root,
    paths: &[&str],
    budget: Budget,
) -> Result<Tree, SourceError> {
    let mut reader = Reader::new(repository, &root.revision, budget)?;
    for path in paths {
        if let Some(child) = reader.find(root.tree, path)? {
            reader.take(&child, path, 1)?;
        }
    }
    Ok(reader.ended())
}

struct Reader<'a> {
    repository: &'a Repository,
    odb: Odb<'a>,
    budget: Budget,
    entries: usize,
    bytes: u64,
    searched_bytes: u64,
    tree: Tree,
}

impl<'a> Reader<'a> {
    fn new(repository: &'a Repository, revision: &Revision, budget: Budget) -> Result<Self, SourceError> {
        let odb = repository.odb().map_err(unreadable("the object database"))?;
        let tree = Tree {
            revision: revision.clone(),
            files: BTreeMap::new(),
            misnamed: Vec::new(),
            truncated: None,
            pinned: BTreeMap::new(),
        };
        Ok(Self { repository, odb, budget, entries: 0, bytes: 0, searched_bytes: 0, tree })
    }

    fn ended(mut self) -> Tree {
        self.tree.misnamed.sort();
        self.tree
    }

    /// The entry at a path, `None` where there is none. A directory that cannot be read is an error.
    fn find(&self, root: Oid, path: &str) -> Result<Option<Child>, SourceError> {
        let mut found = Child { name: Vec::new(), kind: ChildKind::Directory, id: root };
        let mut walked = String::new();
        for part in path.split('/') {
            if found.kind != ChildKind::Directory {
                return Ok(None);
            }
            let tree = directory(self.repository, &self.odb, found.id, &walked)?;
            match tree.iter().find(|entry| entry.name_bytes() == part.as_bytes()) {
                Some(entry) => found = Child::of(&entry),
                None => return Ok(None),
            }
            walked = joined(&walked, part);
        }
        Ok(Some(found))
    }

    fn take(&mut self, child: &Child, path: &str, depth: usize) -> Result<(), SourceError> {
        if self.tree.truncated.is_some() {
            return Ok(());
        }
        self.entries += 1;
        if self.entries > self.budget.entries_max {
            self.tree.truncated =
                Some(format!("more than {} files and directories", self.budget.entries_max));
            return Ok(());
        }
        match child.kind {
            ChildKind::Directory if depth > self.budget.depth_max => {
                self.tree.truncated =
                    Some(format!("directories nested deeper than {}", self.budget.depth_max));
            }
            ChildKind::Directory => {
                for child in children(self.repository, &self.odb, child.id, path)? {
                    match spell(&child.name) {
                        Ok(name) => self.take(&child, &joined(path, name), depth + 1)?,
                        Err(shown) if self.tree.misnamed.len() < self.budget.entries_max => {
                            self.tree.misnamed.push(joined(path, &shown));
                        }
                        Err(_) => {}
                    }
                }
            }
            ChildKind::File(mode) => {
                if let Some(entry) = self.entry(child.id, mode, path)? {
                    self.tree.files.insert(path.to_owned(), entry);
                }
            }
        }
        Ok(())
    }

    /// Searches a file that is not held, one at a time; `None` where it is too large for that too, or the tree has more
    /// of them than anybody counts.
    fn searched(
        &mut self,
        id: Oid,
        mode: Mode,
        size: u64,
        path: &str,
    ) -> Result<Option<Arc<[Seen]>>, SourceError> {
        let is_file = matches!(mode, Mode::File | Mode::Executable);
        if !is_file || size > SEARCH_BYTES_MAX || self.searched_bytes + size > SEARCHED_BYTES_MAX {
            return Ok(None);
        }
        self.searched_bytes += size;
        let object = self.odb.read(id).map_err(unreadable(format!("file `{path}`")))?;
        Ok(searching::of_bytes(true, object.data()))
    }

    /// The file with its content; `None` once the budget is used up.
    fn entry(&mut self, id: Oid, mode: Mode, path: &str) -> Result<Option<Entry>, SourceError> {
        let bare = |size, content| Entry { mode, id: object_id(id), size, content, searched: None };
        if mode == Mode::Submodule {
            return Ok(Some(bare(0, None)));
        }
        let what = || format!("file `{path}`");
        let (size, _) = self.odb.read_header(id).map_err(unreadable(what()))?;
        let size = size as u64;
        if size > self.budget.file_bytes_max {
            return Ok(Some(Entry { searched: self.searched(id, mode, size, path)?, ..bare(size, None) }));
        }
        self.bytes += size;
        if self.bytes > self.budget.bytes_max {
            self.tree.truncated = Some(format!("more than {} MiB of files", self.budget.bytes_max >> 20));
            return Ok(None);
        }
        let object = self.odb.read(id).map_err(unreadable(what()))?;
        Ok(Some(bare(size, Some(Arc::from(object.data())))))
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

/// The bytes of a blob.
pub(super) fn blob(repository: &Repository, id: &ObjectId) -> Result<Arc<[u8]>, SourceError> {
    let what = || format!("blob `{id}`");
    let odb = repository.odb().map_err(unreadable("the object database"))?;
    let (size, kind) = odb.read_header(oid(id)?).map_err(unreadable(what()))?;
    if kind != ObjectType::Blob {
        let source = git2::Error::from_str("it is no file");
        return Err(SourceError::Unreadable { what: what(), source });
    }
    if size > BLOB_BYTES_MAX {
        return Err(SourceError::TooLarge { what: what(), limit: "16 MiB".to_owned() });
    }
    let object = odb.read(oid(id)?).map_err(unreadable(what()))?;
    Ok(Arc::from(object.data()))
}

/// Whether one commit is the other or comes before it.
pub(super) fn is_ancestor(
    repository: &Repository,
    ancestor: &CommitId,
    descendant: &CommitId,
) -> Result<bool, SourceError> {
    let what = || format!("the history of `{descendant}`");
    let (ancestor, descendant) = (oid(ancestor)?, oid(descendant)?);
    repository.find_commit(descendant).map_err(unreadable(what()))?;
    match repository.find_commit(ancestor) {
        Ok(_) if ancestor == descendant => Ok(true),
        Ok(_) => repository.graph_descendant_of(descendant, ancestor).map_err(unreadable(what())),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(false),
        Err(error) => Err(unreadable(what())(error)),
    }
}

/// The first-parent line of `head` without what `base` has, oldest first.
pub(super) fn first_parent_range(
    repository: &Repository,
    base: &CommitId,
    head: &CommitId,
) -> Result<Vec<CommitId>, SourceError> {
    let what = || format!("the history of `{head}`");
    let walk = || -> Result<_, git2::Error> {
        let mut walk = repository.revwalk()?;
        walk.simplify_first_parent()?;
        Ok(walk)
    };
    let mut walk = walk().map_err(unreadable(what()))?;
    walk.push(oid(head)?).map_err(unreadable(what()))?;
    walk.hide(oid(base)?).map_err(unreadable(what()))?;
    let mut commits = Vec::new();
    for id in walk {
        commits.push(object_id(id.map_err(unreadable(what()))?));
        if commits.len() > RANGE_MAX {
            return Err(SourceError::TooLarge { what: what(), limit: format!("{RANGE_MAX} commits") });
        }
    }
    commits.reverse();
    Ok(commits)
}

/// What a commit says of itself.
pub(super) fn commit_info(repository: &Repository, id: &CommitId) -> Result<CommitInfo, SourceError> {
    let commit = repository.find_commit(oid(id)?).map_err(unreadable(format!("commit `{id}`")))?;
    let subject = commit.summary_bytes().unwrap_or_default();
    Ok(CommitInfo {
        id: id.clone(),
        parents: commit.parent_ids().map(object_id).collect(),
        author: signer(&commit.author()),
        committer: signer(&commit.committer()),
        subject: plain(subject),
    })
}

fn signer(signature: &git2::Signature<'_>) -> Signer {
    Signer {
        name: plain(signature.name_bytes()),
        email: plain(signature.email_bytes()),
        at: Timestamp::from_millis(signature.when().seconds().saturating_mul(1000)),
    }
}

fn plain(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .take(SUBJECT_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_text_or_would_be_a_path_is_shown_not_followed() {
        assert_eq!(spell(b"pull.py"), Ok("pull.py"));
        assert_eq!(spell("é".as_bytes()), Ok("é"));
        assert_eq!(spell(b"a\xff"), Err("a\\xff".to_owned()));
        assert_eq!(spell(b".."), Err("..".to_owned()));
        assert_eq!(spell(b"../x"), Err("../x".to_owned()));
    }
}
