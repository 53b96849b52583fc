//! The ledger's file: JSON lines beside the database, written durably behind each commit that moves one way.
#![expect(clippy::disallowed_methods, reason = "reads and appends to the ledger's file")]

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::directory::failed;
use crate::domain::Timestamp;
use crate::record::{Ledger, LedgerEntry};

/// The longest line: an entry is a few names and hashes.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// The open ledger: what it adds up to, and its file, at whose end lines are added.
pub(super) struct LedgerFile {
    path: PathBuf,
    file: File,
    ledger: Ledger,
    /// Bytes of whole lines: what stands behind them was never acknowledged.
    length: u64,
    /// Whether lines were written that are not known to be on the disk.
    behind: bool,
}

impl LedgerFile {
    /// Opens the ledger, or begins one; a last line that a crash left torn is cut off.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if a line before the last was edited, lost or damaged.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let shown = path.display();
        let fault = |error| failed(format!("the ledger `{shown}` cannot be read"), error);
        let file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(fault)?;
        let (ledger, length) = read(&file, path)?;
        if file.metadata().map_err(fault)?.len() > length {
            file.set_len(length).and_then(|()| file.sync_all()).map_err(fault)?;
        }
        let directory = path.parent().unwrap_or(Path::new("."));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(fault)?;
        Ok(Self { path: path.to_owned(), file, ledger, length, behind: false })
    }
    /// What its lines add up to.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }
    /// Adds lines, durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; then nobody knows how much of them is in the file, and it must be opened
    /// anew.
    pub(super) fn append(&mut self, at: Timestamp, entries: Vec<LedgerEntry>) -> Result<(), StoreError> {
        self.write(at, entries)?;
        self.sync()
    }

    /// Adds lines that a process which dies cannot lose any more, while a machine that does still can: those that take
    /// something away are durable when it returns, the others after [`LedgerFile::sync`].
    ///
    /// A database knows its own applies, and the ledger takes them from it at the next start; what only the ledger
    /// keeps from coming back never waits.
    ///
    /// # Errors
    /// As [`LedgerFile::append`].
    pub(super) fn write(&mut self, at: Timestamp, entries: Vec<LedgerEntry>) -> Result<(), StoreError> {
        let mut text = String::new();
        let mut urgent = false;
        for entry in entries {
            urgent |= self.ledger.is_taken_away_by(&entry);
            let line = self.ledger.line(at, entry);
            let json = serde_json::to_string(&line)
                .map_err(|error| StoreError::Corrupt { what: "ledger line", message: error.to_string() })?;
            text.push_str(&json);
            text.push('\n');
            self.ledger.take(line);
        }
        let written =
            self.file.seek(SeekFrom::Start(self.length)).and_then(|_| self.file.write_all(text.as_bytes()));
        written.map_err(|error| self.fault(error))?;
        self.length += u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.behind = true;
        if urgent { self.sync() } else { Ok(()) }
    }

    /// Makes every line durable.
    ///
    /// # Errors
    /// As [`LedgerFile::append`].
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        if self.behind {
            self.file.sync_data().map_err(|error| self.fault(error))?;
            self.behind = false;
        }
        Ok(())
    }

    fn fault(&self, error: std::io::Error) -> StoreError {
        failed(format!("the ledger `{}` cannot be written", self.path.display()), error)
    }
}

/// Reads whole lines; gives what they add up to and how many bytes they take.
fn read(file: &File, path: &Path) -> Result<(Ledger, u64), StoreError> {
    let shown = path.display();
    let mut reader = BufReader::new(file);
    let (mut ledger, mut length) = (Ledger::default(), 0_u64);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = std::io::Read::take(&mut reader, LINE_BYTES_MAX);
        let count = bounded
            .read_until(b'\n', &mut line)
            .map_err(|error| failed(format!("the ledger `{shown}` cannot be read"), error))?;
        if line.pop() != Some(b'\n') {
            // The end, or a line that a crash cut off; one that is too long ends the reading as well, and is
            // damage if anything stands behind it.
            let rest = u64::try_from(count).unwrap_or(u64::MAX) == LINE_BYTES_MAX;
            return if rest { Err(damaged(path, "a line is too long")) } else { Ok((ledger, length)) };
        }
        let text = std::str::from_utf8(&line).map_err(|error| damaged(path, &error.to_string()))?;
        ledger.read_line(text).map_err(|error| damaged(path, &error.to_string()))?;
        length += u64::try_from(count).unwrap_or(u64::MAX);
    }
}

fn damaged(path: &Path, message: &str) -> StoreError {
    StoreError::Corrupt {
        what: "ledger",
        message: format!("`{}`: {message}: restore it from a backup", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_764_000_000_000);

    fn removed(incarnation: u32) -> LedgerEntry {
        LedgerEntry::Removed { tenant: "acme".parse().unwrap(), incarnation }
    }

    #[test]
    fn lines_are_there_when_it_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let mut file = LedgerFile::open(&path).unwrap();
        file.append(AT, vec![removed(1), removed(2)]).unwrap();
        file.append(AT, vec![removed(3)]).unwrap();
        let again = LedgerFile::open(&path).unwrap();
        assert_eq!(again.ledger(), file.ledger());
        assert_eq!(again.ledger().sequence, 3);
    }

    #[test]
    fn a_torn_last_line_is_cut_off_at_every_byte() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let mut file = LedgerFile::open(&path).unwrap();
        file.append(AT, vec![removed(1)]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        file.append(AT, vec![removed(2)]).unwrap();
        let both = std::fs::read(&path).unwrap();
        for cut in whole.len()..both.len() {
            std::fs::write(&path, &both[..cut]).unwrap();
            let mut repaired = LedgerFile::open(&path).unwrap();
            assert_eq!(repaired.ledger().sequence, 1, "cut at {cut}");
            repaired.append(AT, vec![removed(2)]).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), both);
        }
    }

    #[test]
    fn damage_before_the_end_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        LedgerFile::open(&path).unwrap().append(AT, vec![removed(1), removed(2)]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("acme", "acmf", 1)).unwrap();
        let error = LedgerFile::open(&path).err().unwrap().to_string();
        assert!(error.contains("line 1 was edited"), "{error}");
        let lines: Vec<&str> = text.lines().collect();
        std::fs::write(&path, format!("{}\n", lines[1])).unwrap();
        assert!(LedgerFile::open(&path).is_err(), "a missing first line");
    }
}
