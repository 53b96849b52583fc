//! The data directory: one daemon at a time, and the key that is not in the database.
#![expect(clippy::disallowed_methods, reason = "makes, locks and reads the files of the data directory")]

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::StoreError;

/// Bytes of the key of the MACs.
const KEY_BYTES: usize = 32;

/// The name of the database in the data directory.
const DATABASE: &str = "tenantry.db";
/// The ledger, beside the database.
const LEDGER: &str = "ledger";

/// The data directory, held by this process as long as this lives.
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

/// Times that a lock is asked for, and how long to wait between: half a second. A program that this process is just
/// starting holds a copy of the lock's descriptor until it runs, and a daemon that ends needs a moment.
const LOCK_TRIES: u32 = 25;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

fn lock_soon(file: &File) -> Result<(), rustix::io::Errno> {
    let mut tries = 1;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if tries < LOCK_TRIES => {
                tries += 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            answer => return answer,
        }
    }
}

impl Directory {
    /// Makes the directory where it is missing, and takes it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if another process has it, by name where it is known.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let shown = path.display();
        make(path).map_err(|error| failed(format!("`{shown}` cannot be made"), error))?;
        let lock = path.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock)
            .map_err(|error| failed(format!("`{}` cannot be opened", lock.display()), error))?;
        if let Err(error) = lock_soon(&file) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(failed(format!("`{}` cannot be locked", lock.display()), error.into()));
            }
            let mut holder = String::new();
            // Only for the message: whoever holds the lock may just be writing its number.
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim();
            let who = if holder.is_empty() { String::new() } else { format!(" (process {holder})") };
            return Err(StoreError::Unavailable {
                message: format!(
                    "another tenantry{who} works in `{shown}`: stop it, or name another directory with `--data`"
                ),
                source: None,
            });
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
        written.map_err(|error| failed(format!("`{}` cannot be written", lock.display()), error))?;
        Ok(Self { path: path.to_owned(), _lock: file })
    }
    pub(super) fn ledger(&self) -> PathBuf {
        self.path.join(LEDGER)
    }
    /// Where the copies made before migrations lie.
    pub(super) fn backups(&self) -> Result<PathBuf, StoreError> {
        let path = self.path.join("backups");
        make(&path).map_err(|error| failed(format!("`{}` cannot be made", path.display()), error))?;
        Ok(path)
    }
    /// The key under which rows that give access carry a MAC; made at first use.
    pub(super) fn key(&self) -> Result<Vec<u8>, StoreError> {
        let directory = self.path.join("keys");
        make(&directory)
            .map_err(|error| failed(format!("`{}` cannot be made", directory.display()), error))?;
        let path = directory.join("store");
        if !path.exists() {
            let mut key = [0_u8; KEY_BYTES];
            getrandom::fill(&mut key).map_err(|error| StoreError::Unavailable {
                message: "this machine gives no random numbers".to_owned(),
                source: Some(Box::new(error)),
            })?;
            write_durably(&directory, &path, hex::encode(key).as_bytes())
                .map_err(|error| failed(format!("`{}` cannot be written", path.display()), error))?;
        }
        read_key(&path)
    }
}

/// The database below a data directory.
pub(super) fn database(directory: &Path) -> PathBuf {
    directory.join(DATABASE)
}

/// The key of a directory that is only read.
pub(super) fn existing_key(directory: &Path) -> Result<Vec<u8>, StoreError> {
    read_key(&directory.join("keys").join("store"))
}

fn read_key(path: &Path) -> Result<Vec<u8>, StoreError> {
    let shown = path.display();
    let text =
        fs::read_to_string(path).map_err(|error| failed(format!("`{shown}` cannot be read"), error))?;
    match hex::decode(text.trim()) {
        Ok(key) if key.len() == KEY_BYTES => Ok(key),
        _ => Err(StoreError::Unavailable {
            message: format!("`{shown}` holds no key of {KEY_BYTES} bytes in hex: restore it from a backup"),
            source: None,
        }),
    }
}

fn make(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a new file whole or not at all, also over a crash.
fn write_durably(directory: &Path, path: &Path, content: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(directory)?.sync_all()
}

/// What a failed file operation says: what, the system's reason, and what to look at.
pub(super) fn failed(what: String, error: std::io::Error) -> StoreError {
    let cure = match error.kind() {
        std::io::ErrorKind::PermissionDenied => ": check who owns it, or run as its owner",
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ": free space on its disk",
        _ => "",
    };
    StoreError::Unavailable { message: format!("{what}: {error}{cure}"), source: Some(Box::new(error)) }
}
