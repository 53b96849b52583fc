//! What `git add -A` would stage of a work tree, in memory; a large one by two threads.
#![expect(clippy::disallowed_methods, reason = "an adapter: lists the directory it is given")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use git2::{Index, IndexAddOption, IndexEntry, Oid, Repository};

use super::SourceError;
use super::objects::unreadable;
use super::work_tree::{FILE_BYTES_MAX, PLACES, large_entry};
use crate::domain::Entry;

/// Higher than the priorities of libgit2's own backends, so that new objects go to memory.
pub(super) const IN_MEMORY: i32 = 1000;
/// Directories below `tenants/` from which on two threads stage them.
const HALVED_FROM: usize = 64;
/// Bytes of new contents that one thread hands to the other.
const HANDED_BYTES_MAX: usize = 64 << 20;
/// The mode of a submodule.
const SUBMODULE: u32 = 0o160_000;

/// Opens a repository whose new objects stay in memory.
pub(super) fn in_memory(path: &Path) -> Result<Repository, git2::Error> {
    let repository = Repository::open(path)?;
    repository.odb()?.add_new_mempack_backend(IN_MEMORY)?;
    Ok(repository)
}

/// Stages what `git add -A` would of the directory `prefix` of a work tree, in the memory of `repository`; gives the
/// tree it would commit, and the files that are too large to be read by their paths from `directory`.
pub(super) fn stage(
    repository: &Repository,
    prefix: &str,
    directory: &Path,
) -> Result<(Oid, BTreeMap<String, Entry>), SourceError> {
    stage_halved_from(HALVED_FROM, repository, prefix, directory)
}

/// [`stage`] with another bound for the second thread.
pub(super) fn stage_halved_from(
    halved_from: usize,
    repository: &Repository,
    prefix: &str,
    directory: &Path,
) -> Result<(Oid, BTreeMap<String, Entry>), SourceError> {
    let what = || format!("the work tree `{}`", directory.display());
    let Some(top) = repository.workdir().map(Path::to_owned) else {
        let source = git2::Error::from_str("it is bare: name a commit with --rev");
        return Err(SourceError::Unreadable { what: what(), source });
    };
    let mut index = repository.index().map_err(unreadable(what()))?;
    let halves = Halves::of(repository, &index, prefix, &top, halved_from);
    let skipped = match halves.and_then(|halves| halves.stage(repository, &mut index, &top)) {
        Some(skipped) => skipped,
        None => {
            // Whatever two threads left behind: from the start.
            index.read(true).map_err(unreadable(what()))?;
            let places = PLACES.map(|place| PathBuf::from(format!("{prefix}{place}")));
            add(&mut index, &places, &top).map_err(unreadable(what()))?
        }
    };
    let mut large = BTreeMap::new();
    for path in skipped {
        // Its older, smaller content must not stand in for it.
        index.remove_path(&path).map_err(unreadable(what()))?;
        let inside = path.to_string_lossy();
        let inside = inside.strip_prefix(prefix).unwrap_or(&inside).to_owned();
        large.insert(inside, large_entry(&top.join(&path))?);
    }
    // Conflicts elsewhere in the repository are not ours to mind and would keep a tree from being written.
    let unmerged: Vec<_> = index
        .conflicts()
        .map_err(unreadable(what()))?
        .flatten()
        .flat_map(|conflict| [conflict.ancestor, conflict.our, conflict.their])
        .flatten()
        .map(|entry| PathBuf::from(OsString::from_vec(entry.path)))
        .collect();
    for path in unmerged {
        index.conflict_remove(&path).map_err(unreadable(what()))?;
    }
    let tree = index.write_tree_to(repository).map_err(unreadable(what()))?;
    Ok((tree, large))
}

/// Stages what lies at or below some places; gives what was left out because it is too large.
fn add(index: &mut Index, places: &[PathBuf], top: &Path) -> Result<Vec<PathBuf>, git2::Error> {
    let mut skipped: Vec<PathBuf> = Vec::new();
    let mut choose = |path: &Path, _: &[u8]| {
        let found = top.join(path).symlink_metadata();
        if found.is_ok_and(|found| found.is_file() && found.len() > FILE_BYTES_MAX) {
            skipped.push(path.to_owned());
            return 1;
        }
        0
    };
    let literal = IndexAddOption::DEFAULT | IndexAddOption::DISABLE_PATHSPEC_MATCH;
    index.add_all(places, literal, Some(&mut choose))?;
    Ok(skipped)
}

/// The places of a work tree in two shares: each tenant is in one of them, whether it lies on the disk, in the index
/// or in both.
struct Halves {
    first: Vec<PathBuf>,
    second: Vec<PathBuf>,
    /// The names below `tenants/` that the second share has.
    names: HashSet<Vec<u8>>,
    /// From the top of the work tree to the tenants, with `/` at its end.
    tenants: Vec<u8>,
}

/// What one thread staged that the index on the disk does not have.
struct Changes {
    /// Entries with the contents they name.
    put: Vec<(IndexEntry, Vec<u8>)>,
    removed: Vec<Vec<u8>>,
    skipped: Vec<PathBuf>,
}

impl Halves {
    /// `None` where one thread is to do it all: little to do, or something unusual about the repository.
    fn of(
        repository: &Repository,
        index: &Index,
        prefix: &str,
        top: &Path,
        halved_from: usize,
    ) -> Option<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let folds = repository.config().ok()?.get_bool("core.ignorecase").unwrap_or(false);
        if threads < 2 || folds || index.has_conflicts() {
            return None;
        }
        let tenants = format!("{prefix}tenants/").into_bytes();
        let directory = top.join(prefix).join("tenants");
        if !directory.symlink_metadata().ok()?.is_dir() {
            return None;
        }
        let mut names: HashSet<Vec<u8>> = HashSet::new();
        for entry in std::fs::read_dir(&directory).ok()? {
            names.insert(entry.ok()?.file_name().as_bytes().to_vec());
        }
        names.extend(index.iter().filter_map(|entry| below(&entry.path, &tenants).map(<[u8]>::to_vec)));
        if names.len() < halved_from || names.contains(&b".git"[..]) {
            return None;
        }
        let mut sorted: Vec<Vec<u8>> = names.into_iter().collect();
        sorted.sort();
        let second = sorted.split_off(sorted.len() / 2);
        let place = |name: &Vec<u8>| {
            PathBuf::from(OsString::from_vec([tenants.as_slice(), name.as_slice()].concat()))
        };
        let others = PLACES.iter().filter(|place| **place != "tenants");
        let others = others.map(|place| PathBuf::from(format!("{prefix}{place}")));
        let first = others.chain(sorted.iter().map(place)).collect();
        Some(Self {
            first,
            second: second.iter().map(place).collect(),
            names: second.into_iter().collect(),
            tenants,
        })
    }

    /// Stages both shares at once and brings them together in `index`; gives what was left out. `None` if anything
    /// went wrong or is unusual: then nothing is certain of `index`.
    fn stage(&self, repository: &Repository, index: &mut Index, top: &Path) -> Option<Vec<PathBuf>> {
        let path = repository.path();
        let (skipped, changes) = std::thread::scope(|scope| {
            let second = std::thread::Builder::new().spawn_scoped(scope, || self.second(path, top)).ok()?;
            let skipped = add(index, &self.first, top).ok();
            let changes = second.join().ok()??;
            Some((skipped?, changes))
        })?;
        for (entry, content) in &changes.put {
            if repository.blob(content).ok()? != entry.id {
                return None;
            }
            index.add(entry).ok()?;
        }
        for path in &changes.removed {
            index.remove(Path::new(std::ffi::OsStr::from_bytes(path)), 0).ok()?;
        }
        Some(skipped.into_iter().chain(changes.skipped).collect())
    }

    fn second(&self, path: &Path, top: &Path) -> Option<Changes> {
        let repository = in_memory(path).ok()?;
        let mut index = repository.index().ok()?;
        let mine = |entry: &IndexEntry| {
            below(&entry.path, &self.tenants).is_some_and(|name| self.names.contains(name))
        };
        let mut before: HashMap<Vec<u8>, (u32, Oid)> = HashMap::new();
        before.extend(index.iter().filter(mine).map(|entry| (entry.path, (entry.mode, entry.id))));
        let skipped = add(&mut index, &self.second, top).ok()?;
        let (mut put, mut bytes) = (Vec::new(), 0);
        for entry in index.iter().filter(mine) {
            let is_new = before.remove(&entry.path) != Some((entry.mode, entry.id));
            if !is_new {
                continue;
            }
            if entry.mode == SUBMODULE {
                return None;
            }
            let content = repository.find_blob(entry.id).ok()?.content().to_vec();
            bytes += content.len();
            if bytes > HANDED_BYTES_MAX {
                return None;
            }
            put.push((entry, content));
        }
        Some(Changes { put, removed: before.into_keys().collect(), skipped })
    }
}

/// The name below `tenants/` that a path of the index begins with.
fn below<'a>(path: &'a [u8], tenants: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(tenants)?;
    rest.split(|byte| *byte == b'/').next()
}
