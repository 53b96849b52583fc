//! Root file systems that the platform put on this worker, each in a directory that is named by its digest.
//!
//! A digest counts everything of a tree that a step can see: kinds, permissions, contents and links, in one order.
//! What is looked at here was chosen by whoever operates the worker, never by a tenant, who can only name it.
#![expect(clippy::disallowed_methods, reason = "this is the adapter to the directory of runtimes")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::domain::{ByteSize, RuntimeDigest};

/// Names at the top of a root file system that a sandbox has its own of. What lies there is never seen, so it does not
/// count.
pub(super) const COVERED: [&str; 7] = ["dev", "proc", "sys", "run", "tmp", "work", "repo"];
/// The place below the root that is the sandbox's own too.
pub(super) const OWN: &str = "opt/tenantry";
/// Directories in each other. No system comes near; it bounds this process's stack.
const DEPTH_MAX: usize = 128;
/// The most bytes that the files of a runtime have together where nobody says: several times what large images have.
pub const RUNTIME_BYTES_MAX: ByteSize = ByteSize::from_mib(16 << 10);
/// The most entries of an archive: an image of a whole system has some hundred thousand.
const ENTRIES_MAX: usize = 2_000_000;
/// Permissions that count: bits that make a program somebody else's do nothing in a sandbox.
const PERMISSIONS: u32 = 0o777;
/// The beginning of the name of what is not complete.
const UNFINISHED: &str = ".adding-";

/// Why a tree is no runtime.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The operating system refused something.
    #[error("`{path}`: {source}")]
    System {
        /// Where.
        path: String,
        /// Its answer.
        #[source]
        source: io::Error,
    },
    /// It holds what a runtime cannot have.
    #[error("`{path}` {what}")]
    Refused {
        /// Where.
        path: String,
        /// What it is, and what to do.
        what: String,
    },
}

fn system(path: &Path) -> impl FnOnce(io::Error) -> RuntimeError {
    let path = path.display().to_string();
    move |source| RuntimeError::System { path, source }
}

fn refused(path: &Path, what: &str) -> RuntimeError {
    RuntimeError::Refused { path: path.display().to_string(), what: what.to_owned() }
}

/// The digest of the root file system below `tree`. Reads all of it.
///
/// It is SHA-256 over one record for each entry, directories before what is in them, names in byte order: `d MODE`,
/// `f MODE SHA256` or `l TARGET`, a zero byte, the path from the root, a zero byte. `MODE` is four octal digits of the
/// permissions; the root itself, owners, times and what a sandbox covers do not count.
///
/// # Errors
/// [`RuntimeError::Refused`] for a device, a pipe or a socket; [`RuntimeError::System`] for what cannot be read.
pub fn runtime_digest(tree: &Path) -> Result<RuntimeDigest, RuntimeError> {
    let found = std::fs::symlink_metadata(tree).map_err(system(tree))?;
    if !found.is_dir() {
        return Err(refused(tree, "is no directory"));
    }
    let mut digest = Sha256::new();
    count(tree, Path::new(""), 0, &mut digest)?;
    Ok(RuntimeDigest::of(digest.finalize().into()))
}

/// Counts what is in one directory.
fn count(directory: &Path, place: &Path, depth: usize, digest: &mut Sha256) -> Result<(), RuntimeError> {
    if depth > DEPTH_MAX {
        return Err(refused(directory, "lies too deep"));
    }
    let entries = std::fs::read_dir(directory).map_err(system(directory))?;
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(system(directory))?;
    names.sort_unstable_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
    for name in names {
        let (path, place) = (directory.join(&name), place.join(&name));
        if is_covered(&place) {
            continue;
        }
        let found = std::fs::symlink_metadata(&path).map_err(system(&path))?;
        let mut record = |kind: &[u8]| {
            digest.update(kind);
            digest.update([0]);
            digest.update(place.as_os_str().as_bytes());
            digest.update([0]);
        };
        if found.is_dir() {
            record(format!("d {:04o}", permissions(&found)).as_bytes());
            count(&path, &place, depth + 1, digest)?;
        } else if found.is_file() {
            let content = content(&path).map_err(system(&path))?;
            record(format!("f {:04o} {content}", permissions(&found)).as_bytes());
        } else if found.is_symlink() {
            let target = std::fs::read_link(&path).map_err(system(&path))?;
            record(&[b"l ", target.as_os_str().as_bytes()].concat());
        } else {
            let what = if found.file_type().is_socket() { "a socket" } else { "a device or a pipe" };
            return Err(refused(&path, &format!("is {what}, which a runtime cannot have: remove it")));
        }
    }
    Ok(())
}

/// Whether the sandbox has its own of this place.
fn is_covered(place: &Path) -> bool {
    place == Path::new(OWN) || COVERED.iter().any(|name| place.as_os_str() == OsStr::new(name))
}

fn permissions(found: &Metadata) -> u32 {
    found.permissions().mode() & PERMISSIONS
}

fn content(path: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut file = std::fs::File::open(path)?;
    let mut part = vec![0; 64 << 10];
    loop {
        match file.read(&mut part)? {
            0 => break,
            count => digest.update(&part[..count]),
        }
    }
    Ok(hex::encode(digest.finalize()))
}

/// Unpacks a tar archive, or copies a directory, into `shelf` under its digest; one that is there already stays as it
/// is. The shelf is made if need be. Its files may have `most` bytes together.
///
/// Owners are not kept, nor is what a sandbox covers. Files keep their permissions, and whoever added them can read all.
///
/// # Errors
/// [`RuntimeError`]; nothing is left then.
pub fn add_runtime(
    source: RuntimeSource<'_>,
    shelf: &Path,
    most: ByteSize,
) -> Result<RuntimeDigest, RuntimeError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(shelf).map_err(system(shelf))?;
    let unfinished = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(shelf).map_err(system(shelf))?;
    let made = fill(source, unfinished.path(), shelf, most);
    match &made {
        Ok((_, true)) => drop(unfinished.keep()),
        // A directory that is closed for writing would keep its files.
        Ok((_, false)) | Err(_) => open_up(unfinished.path()),
    }
    made.map(|(digest, _)| digest)
}

/// Fills an empty directory and moves it to its place; gives whether it was moved, or lay there before.
fn fill(
    source: RuntimeSource<'_>,
    tree: &Path,
    shelf: &Path,
    most: ByteSize,
) -> Result<(RuntimeDigest, bool), RuntimeError> {
    match source {
        RuntimeSource::Archive(archive) => unpack(Path::new("the archive"), archive, tree, most)?,
        RuntimeSource::Directory(directory) => copy(directory, tree, most)?,
    }
    let digest = runtime_digest(tree)?;
    let place = shelf.join(digest.directory());
    // Steps have another user: the tree's top must be open to all, whatever the archive says.
    std::fs::set_permissions(tree, std::fs::Permissions::from_mode(0o755)).map_err(system(tree))?;
    match std::fs::rename(tree, &place) {
        Ok(()) => Ok((digest, true)),
        Err(_) if place.is_dir() => Ok((digest, false)),
        Err(error) => Err(system(&place)(error)),
    }
}

/// Lets this user write into each directory of a tree that is to be removed. What cannot be opened stays.
fn open_up(directory: &Path) {
    allow(directory, 0o700).ok();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// What a runtime is made of.
pub enum RuntimeSource<'a> {
    /// A tar archive, such as `docker export` writes.
    Archive(&'a mut (dyn Read + Send)),
    /// A tree.
    Directory(&'a Path),
}

fn copy(from: &Path, to: &Path, most: ByteSize) -> Result<(), RuntimeError> {
    let (mut archive, into) = io::pipe().map_err(system(from))?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(|| -> io::Result<()> {
            let mut builder = tar::Builder::new(io::BufWriter::new(into));
            builder.follow_symlinks(false);
            builder.append_dir_all(".", from)?;
            builder.into_inner()?.flush()
        });
        let unpacked = unpack(from, &mut archive, to, most);
        if unpacked.is_ok() {
            // The end of an archive is not the end of what is written.
            drop(io::copy(&mut archive, &mut io::sink()));
        }
        // Whoever still writes must not wait for a reader.
        drop(archive);
        let packed = packing.join().unwrap_or_else(|_| Err(io::Error::other("it could not be read")));
        unpacked.and(packed.map_err(system(from)))
    })
}

/// `called` is what an error calls the archive.
fn unpack(
    called: &Path,
    archive: &mut (dyn Read + Send),
    to: &Path,
    most: ByteSize,
) -> Result<(), RuntimeError> {
    let wrong = |source: io::Error| RuntimeError::System { path: called.display().to_string(), source };
    let mut head = [0u8; 2];
    archive.read_exact(&mut head).map_err(wrong)?;
    if head == [0x1f, 0x8b] {
        return Err(refused(called, "is compressed: unpack it with `gunzip -c`, and name `-`"));
    }
    let mut archive = tar::Archive::new(head.as_slice().chain(io::BufReader::new(archive)));
    // Directories come last: one that cannot be written would keep out what belongs into it.
    let mut directories = Vec::new();
    let mut left = most.as_bytes();
    for (number, entry) in archive.entries().map_err(wrong)?.enumerate() {
        // What the library says of a header repeats what stands there, which may be anything.
        let broken = |_| match number {
            0 => refused(called, "is no tar archive"),
            _ => refused(called, &format!("is broken behind its entry {number}")),
        };
        let mut entry = entry.map_err(broken)?;
        // What it will take, holes and all, before anything of it is written.
        left = match left.checked_sub(entry.size()) {
            Some(left) if number < ENTRIES_MAX => left,
            Some(_) => return Err(refused(called, "has more entries than any system")),
            None => {
                let what = format!("has files of more than {most} together: `--max-size` allows more");
                return Err(refused(called, &what));
            }
        };
        let path = entry.path().map_err(wrong)?.into_owned();
        let place: PathBuf =
            path.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect();
        if place.ancestors().any(is_covered) {
            continue;
        }
        let mode = entry.header().mode().map_err(wrong)? & PERMISSIONS;
        match entry.header().entry_type() {
            tar::EntryType::Block | tar::EntryType::Char | tar::EntryType::Fifo => {
                return Err(refused(
                    &path,
                    "is a device or a pipe, which a runtime cannot have: leave it out",
                ));
            }
            kind => {
                // The library's: it follows no link out of `to`.
                if !entry.unpack_in(to).map_err(system(&path))? {
                    return Err(refused(&path, "lies outside of the archive's own root"));
                }
                match kind {
                    tar::EntryType::Directory => {
                        allow(&to.join(&place), 0o700)?;
                        directories.push((place, mode | 0o500));
                    }
                    tar::EntryType::Link | tar::EntryType::Symlink => {}
                    _ => allow(&to.join(&place), mode | 0o400)?,
                }
            }
        }
    }
    // What is inside first.
    directories.sort();
    for (place, mode) in directories.into_iter().rev() {
        allow(&to.join(place), mode)?;
    }
    Ok(())
}

/// Sets permissions, never of what a link leads to.
fn allow(place: &Path, mode: u32) -> Result<(), RuntimeError> {
    let found = std::fs::symlink_metadata(place).map_err(system(place))?;
    if found.is_symlink() {
        return Ok(());
    }
    std::fs::set_permissions(place, std::fs::Permissions::from_mode(mode)).map_err(system(place))
}

/// The runtimes of a shelf by what their directories are called; none where there is no shelf.
///
/// # Errors
/// [`RuntimeError::System`] if it cannot be read.
pub fn list_runtimes(shelf: &Path) -> Result<Vec<RuntimeDigest>, RuntimeError> {
    let entries = match std::fs::read_dir(shelf) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(system(shelf)(error)),
    };
    let named = |entry: std::fs::DirEntry| RuntimeDigest::of_directory(entry.file_name().to_str()?);
    let mut found: Vec<RuntimeDigest> = entries.flatten().filter_map(named).collect();
    found.sort();
    Ok(found)
}

/// Which directory was looked at: device and inode.
type Seen = (u64, u64);

/// The runtimes of this worker. Each is read once in the life of this process before a step sees it.
pub(super) struct Runtimes {
    root: PathBuf,
    /// One reading of a runtime at a time: who comes second waits for what the first one finds.
    checked: Mutex<BTreeMap<RuntimeDigest, Arc<tokio::sync::Mutex<Option<Seen>>>>>,
}

impl Runtimes {
    /// Takes a directory, which must be there.
    ///
    /// # Errors
    /// Why it is none, with the cure.
    pub(super) fn open(root: PathBuf) -> Result<Self, String> {
        match std::fs::metadata(&root) {
            Ok(found) if found.is_dir() => Ok(Self { root, checked: Mutex::default() }),
            Ok(_) => Err(format!("`{}`, where runtimes should lie, is no directory", root.display())),
            Err(error) => Err(format!(
                "the directory of runtimes `{}`: {error}; `tenantry runtime add` makes it",
                root.display()
            )),
        }
    }

    /// Looks whether a runtime is here and is what its digest says.
    ///
    /// # Errors
    /// What is missing, with the cure.
    pub(super) async fn check(&self, runtime: &RuntimeDigest) -> Result<(), String> {
        let place = self.root.join(runtime.directory());
        let found = match std::fs::symlink_metadata(&place) {
            Ok(found) if found.is_dir() => found,
            _ => {
                return Err(format!(
                    "the runtime {runtime} is not on this worker: `tenantry runtime add` puts it into `{}`",
                    self.root.display()
                ));
            }
        };
        let now = (found.dev(), found.ino());
        if found.permissions().mode() & 0o005 != 0o005 {
            return Err(format!("steps cannot read `{}`: give it the permissions 0755", place.display()));
        }
        let turn = {
            let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
            // Names of runtimes come from tenants; those that are not here never get so far.
            Arc::clone(checked.entry(runtime.clone()).or_default())
        };
        let mut seen = turn.lock().await;
        if *seen == Some(now) {
            return Ok(());
        }
        let (wanted, tree) = (runtime.clone(), place.clone());
        let digest = tokio::task::spawn_blocking(move || runtime_digest(&tree)).await;
        match digest {
            Ok(Ok(digest)) if digest == wanted => {
                *seen = Some(now);
                Ok(())
            }
            Ok(Ok(digest)) => Err(format!(
                "`{}` is not what its name says, its digest is {digest}: remove it and add the runtime again",
                place.display()
            )),
            Ok(Err(error)) => Err(format!("the runtime {} cannot be read: {error}", wanted.short())),
            Err(error) => Err(format!("the runtime {} cannot be read: {error}", wanted.short())),
        }
    }
}
