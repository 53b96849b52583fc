//! Logs in a directory of this machine.
//!
//! One file for each attempt that wrote more than its report carries, below the data directory:
//! `logs/TENANT/INCARNATION/RUN/STEP.ITEM.ATTEMPT`. A file is a row
//! of chunks: a head of fixed size (what follows, how long, from which number on) and the records as JSON lines,
//! compressed. Heads are skipped through without reading what lies between, so that reading from a number on
//! costs what is read. A chunk is in the hands of the operating system when it is acknowledged: killing this
//! process loses nothing, a power cut may lose the last ones, which the digest in the attempt's record shows.
#![expect(clippy::disallowed_methods, reason = "writes and reads the files of the logs")]

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Logs;
use crate::authz::{Action, Permit, action};
use crate::domain::AttemptId;
use crate::store::directory::failed;
use crate::store::{LogRecord, StoreError};
use async_trait::async_trait;

/// The most text of one attempt. What a worker keeps of a step's output is less.
pub const LOG_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// The most text of one chunk; more is split.
const CHUNK_BYTES: usize = 64 * 1024;
/// The most a chunk can be uncompressed: JSON at most six times its text, and the fields beside it.
const CHUNK_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Text after which a reader has to ask again.
const READ_BYTES: usize = 1024 * 1024;
/// Files whose ends are kept in mind.
const ENDS_MAX: usize = 1_024;
const LEVEL: i32 = 3;
const MAGIC: [u8; 4] = *b"tlg1";
const HEAD_BYTES: usize = 32;

/// What stands before each chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    /// Bytes of the chunk behind it.
    length: u32,
    records: u32,
    /// The number of its first record, and of its last.
    first: u64,
    last: u64,
    /// Bytes of text in it.
    text: u32,
}

impl Head {
    fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.records.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.text.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..].copy_from_slice(&self.last.to_le_bytes());
        bytes
    }
    /// `None` if it is no head: the file ends there.
    fn of(bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let head =
            Self { length: word(4), records: word(8), text: word(12), first: long(16), last: long(24) };
        (bytes[..4] == MAGIC && head.first <= head.last).then_some(head)
    }
}

/// Where the whole chunks of a file end, and what they hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct End {
    bytes: u64,
    text: u64,
    /// The number that the next record has at least.
    next: u64,
}

/// Logs below a data directory.
pub struct LocalLogs {
    root: PathBuf,
    ends: Arc<Mutex<HashMap<PathBuf, End>>>,
}

impl LocalLogs {
    /// Keeps logs below a data directory; nothing is made before the first piece.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { root: data.join("logs"), ends: Arc::default() }
    }
    /// The file of an attempt. The permit names tenant and incarnation, so that no other's can be asked for.
    fn file<A: Action>(&self, permit: &Permit<A>, attempt: &AttemptId) -> PathBuf {
        let incarnation = permit.incarnation().to_string();
        let directory = self.root.join(permit.tenant().as_str()).join(incarnation);
        directory.join(attempt.run.as_str()).join(file_name(attempt))
    }
}

fn file_name(attempt: &AttemptId) -> String {
    let item = attempt.item.map_or_else(|| "-".to_owned(), |item| item.to_string());
    format!("{}.{item}.{}", attempt.step, attempt.attempt)
}

#[async_trait]
impl Logs for LocalLogs {
    async fn append(
        &self,
        permit: &Permit<action::Execute>,
        attempt: &AttemptId,
        records: &[LogRecord],
    ) -> Result<(), StoreError> {
        let path = self.file(permit, attempt);
        let (ends, records) = (Arc::clone(&self.ends), records.to_vec());
        on_its_own_thread(move || {
            let known = ends.lock().unwrap_or_else(PoisonError::into_inner).get(&path).copied();
            // Nobody else writes this file: the fence lets in one worker, which sends one piece after the other.
            let written = append_to(&path, known, &records);
            let mut ends = ends.lock().unwrap_or_else(PoisonError::into_inner);
            if ends.len() >= ENDS_MAX {
                ends.clear();
            }
            match &written {
                Ok(end) => ends.insert(path.clone(), *end),
                // What is in the file now is read anew the next time.
                Err(_) => ends.remove(&path),
            };
            written.map(|_| ())
        })
        .await
    }

    async fn read(
        &self,
        permit: &Permit<action::View>,
        attempt: &AttemptId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<LogRecord>, StoreError> {
        let path = self.file(permit, attempt);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        on_its_own_thread(move || read_from(&path, from, limit)).await
    }
}

async fn on_its_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Unavailable {
        message: "the log could not be read or written".to_owned(),
        source: Some(Box::new(error)),
    })?
}

fn unreadable(path: &Path, error: std::io::Error) -> StoreError {
    failed(format!("the log `{}` cannot be read", path.display()), error)
}

fn unwritable(path: &Path, error: std::io::Error) -> StoreError {
    failed(format!("the log `{}` cannot be written", path.display()), error)
}

/// Writes what is new of the records behind the whole chunks of a file; a torn chunk is written over.
fn append_to(path: &Path, known: Option<End>, records: &[LogRecord]) -> Result<End, StoreError> {
    let fault = |error| unwritable(path, error);
    let mut file = open_to_write(path)?;
    let mut end = match known {
        Some(end) => end,
        None => {
            let end = end_of(&mut file, path)?;
            // Only where something torn is to be cut off: a file that was cut is written to the disk when it is closed.
            if file.metadata().map_err(fault)?.len() > end.bytes {
                file.set_len(end.bytes).map_err(fault)?;
            }
            end
        }
    };
    let new: Vec<&LogRecord> = records.iter().filter(|record| record.sequence >= end.next).collect();
    let mut rest = new.as_slice();
    while !rest.is_empty() {
        let (head, chunk, count) = pack(rest, path)?;
        if end.text + u64::from(head.text) > LOG_BYTES_MAX {
            return Err(StoreError::Refused(format!(
                "the log of one attempt holds {LOG_BYTES_MAX} bytes at most"
            )));
        }
        let mut bytes = head.to_bytes().to_vec();
        bytes.extend(chunk);
        file.seek(SeekFrom::Start(end.bytes)).and_then(|_| file.write_all(&bytes)).map_err(fault)?;
        end = End {
            bytes: end.bytes + bytes.len() as u64,
            text: end.text + u64::from(head.text),
            next: head.last + 1,
        };
        rest = &rest[count..];
    }
    Ok(end)
}

fn open_to_write(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let directory = path.parent().unwrap_or(path);
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.and_then(|()| options.open(path)).map_err(|error| unwritable(path, error))
        }
        opened => opened.map_err(|error| unwritable(path, error)),
    }
}

/// The first chunk of some records: its head, its bytes, and how many records it took.
fn pack(records: &[&LogRecord], path: &Path) -> Result<(Head, Vec<u8>, usize), StoreError> {
    let mut lines = Vec::new();
    let (mut count, mut text) = (0, 0_usize);
    for record in records {
        if count > 0 && text + record.text.len() > CHUNK_BYTES {
            break;
        }
        count += 1;
        text += record.text.len();
        serde_json::to_writer(&mut lines, record)
            .map_err(|error| StoreError::Corrupt { what: "log record", message: error.to_string() })?;
        lines.push(b'\n');
    }
    if lines.len() > CHUNK_BYTES_MAX {
        return Err(StoreError::Refused(format!("a piece of output has more than {CHUNK_BYTES_MAX} bytes")));
    }
    let chunk = compress(&lines).map_err(|error| unwritable(path, error))?;
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    let head = Head {
        length: number(chunk.len()),
        records: number(count),
        first: records[0].sequence,
        last: records[count - 1].sequence,
        text: number(text),
    };
    Ok((head, chunk, count))
}

/// With a checksum, so that damage is told and not shown as what a step wrote.
fn compress(lines: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    compressor.compress(lines)
}

/// Goes from head to head; `each` says whether to read on. Ends at the first chunk that is not whole.
fn scan(
    file: &mut File,
    path: &Path,
    mut each: impl FnMut(&mut File, u64, Head) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let fault = |error| unreadable(path, error);
    let size = file.metadata().map_err(fault)?.len();
    let mut place = 0;
    while place + HEAD_BYTES as u64 <= size {
        let mut bytes = [0; HEAD_BYTES];
        file.seek(SeekFrom::Start(place)).and_then(|_| file.read_exact(&mut bytes)).map_err(fault)?;
        let body = place + HEAD_BYTES as u64;
        let Some(head) = Head::of(&bytes).filter(|head| body + u64::from(head.length) <= size) else {
            return Ok(());
        };
        if !each(file, body, head)? {
            return Ok(());
        }
        place = body + u64::from(head.length);
    }
    Ok(())
}

fn end_of(file: &mut File, path: &Path) -> Result<End, StoreError> {
    let mut end = End::default();
    scan(file, path, |_, body, head| {
        end = End {
            bytes: body + u64::from(head.length),
            text: end.text + u64::from(head.text),
            next: head.last + 1,
        };
        Ok(true)
    })?;
    Ok(end)
}

/// At most `limit` records, and not much more than [`READ_BYTES`] of text.
fn read_from(path: &Path, from: u64, limit: usize) -> Result<Vec<LogRecord>, StoreError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(path, error)),
    };
    let (mut records, mut bytes) = (Vec::new(), 0);
    scan(&mut file, path, |file, body, head| {
        if head.last < from {
            return Ok(true);
        }
        for record in unpack(file, path, body, head)? {
            if record.sequence < from {
                continue;
            }
            if records.len() >= limit || bytes > READ_BYTES {
                return Ok(false);
            }
            bytes += record.text.len();
            records.push(record);
        }
        Ok(true)
    })?;
    Ok(records)
}

fn unpack(file: &mut File, path: &Path, body: u64, head: Head) -> Result<Vec<LogRecord>, StoreError> {
    let damaged = |message: String| StoreError::Corrupt {
        what: "log",
        message: format!("`{}` from record {} on: {message}", path.display(), head.first),
    };
    let mut chunk = vec![0; head.length as usize];
    file.seek(SeekFrom::Start(body))
        .and_then(|_| file.read_exact(&mut chunk))
        .map_err(|error| unreadable(path, error))?;
    let lines =
        zstd::bulk::decompress(&chunk, CHUNK_BYTES_MAX).map_err(|error| damaged(error.to_string()))?;
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|error| damaged(error.to_string()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::action::{Start, View};
    use crate::store::fixture::*;
    use crate::store::{Lease, LogStream, MemoryStore, Store};

    fn record(sequence: u64, text: &str) -> LogRecord {
        LogRecord { sequence, at: START, stream: LogStream::Stdout, text: text.to_owned() }
    }

    struct Running {
        logs: LocalLogs,
        lease: Lease,
        view: Permit<View>,
        directory: tempfile::TempDir,
    }

    /// The right to look into a tenant that is applied with one workflow.
    async fn applied(store: &MemoryStore, name: &str) -> Arc<crate::domain::ActualState> {
        let (tenant, w) = (tenant_id(name), workflow("w", &["main"]));
        let permit = reconcile(&crate::domain::ActualState::empty(tenant.clone()), START);
        let next = application(&tenant, 0, 1, Some(state(&[w])));
        store.apply(&permit, &next, START).await.unwrap();
        store.access(&tenant).await.unwrap().unwrap()
    }

    /// A run whose one step is leased.
    async fn running() -> Running {
        let directory = tempfile::tempdir().unwrap();
        let store = MemoryStore::new();
        let actual = applied(&store, "acme").await;
        let start = right::<Start>("carol", &actual, START);
        let run = pins(&actual.tenant, &workflow("w", &["main"]), 1, START);
        store.start(&start, run, entry("run.started", START)).await.unwrap();
        let lease = store.claim("embedded", None, 1, START).await.unwrap().remove(0);
        let logs = LocalLogs::new(directory.path());
        Running { logs, lease, view: right::<View>("audrey", &actual, START), directory }
    }

    impl Running {
        async fn append(&self, records: &[LogRecord]) {
            self.logs.append(&self.lease.permit, &self.lease.attempt, records).await.unwrap();
        }
        async fn texts(&self, from: u64, limit: u32) -> Vec<String> {
            let read = self.logs.read(&self.view, &self.lease.attempt, from, limit).await.unwrap();
            read.into_iter().map(|record| record.text).collect()
        }
        fn file(&self) -> PathBuf {
            self.logs.file(&self.view, &self.lease.attempt)
        }
    }

    #[tokio::test]
    async fn pieces_are_read_from_any_number_on_and_stored_once() {
        let running = running().await;
        running.append(&[record(0, "a\n"), record(1, "b\n")]).await;
        running.append(&[record(1, "b\n"), record(2, "ü\u{1b}[0m\n")]).await;
        assert_eq!(running.texts(0, 1_000).await, ["a\n", "b\n", "ü\u{1b}[0m\n"]);
        assert_eq!(running.texts(2, 1_000).await, ["ü\u{1b}[0m\n"]);
        assert_eq!(running.texts(3, 1_000).await, [""; 0]);
        assert_eq!(running.texts(0, 1).await, ["a\n"]);
        let file = fs::metadata(running.file()).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777, 0o600);
    }

    #[tokio::test]
    async fn large_output_is_cut_into_chunks() {
        let running = running().await;
        let pieces: Vec<LogRecord> = (0..100).map(|number| record(number, &"x".repeat(10_000))).collect();
        running.append(&pieces).await;
        let mut heads = 0;
        let path = running.file();
        scan(&mut File::open(&path).unwrap(), &path, |_, _, head| {
            heads += 1;
            assert!(head.text as usize <= CHUNK_BYTES);
            Ok(true)
        })
        .unwrap();
        assert_eq!(heads, 17);
        assert_eq!(running.texts(95, 1_000).await.len(), 5);
        assert!(fs::metadata(&path).unwrap().len() < 100_000, "it is compressed");
    }

    #[tokio::test]
    async fn a_torn_chunk_is_written_over() {
        let running = running().await;
        running.append(&[record(0, "whole\n")]).await;
        let whole = fs::read(running.file()).unwrap();
        running.append(&[record(1, "torn\n")]).await;
        let both = fs::read(running.file()).unwrap();
        for cut in whole.len()..both.len() {
            fs::write(running.file(), &both[..cut]).unwrap();
            assert_eq!(running.texts(0, 1_000).await, ["whole\n"], "cut at {cut}");
            let again = LocalLogs::new(running.directory.path());
            let (permit, attempt) = (&running.lease.permit, &running.lease.attempt);
            again.append(permit, attempt, &[record(1, "torn\n")]).await.unwrap();
            assert_eq!(fs::read(running.file()).unwrap(), both);
        }
    }

    #[tokio::test]
    async fn another_tenant_sees_nothing() {
        let running = running().await;
        running.append(&[record(0, "mine\n")]).await;
        let other = applied(&MemoryStore::new(), "globex").await;
        let view = right::<View>("audrey", &other, START);
        assert_eq!(running.logs.read(&view, &running.lease.attempt, 0, 100).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_damaged_chunk_is_told_and_not_left_out() {
        let running = running().await;
        running.append(&[record(0, "a\n")]).await;
        let mut bytes = fs::read(running.file()).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 0xff;
        fs::write(running.file(), bytes).unwrap();
        let read = running.logs.read(&running.view, &running.lease.attempt, 0, 100).await;
        assert_eq!(refusal(&read.unwrap_err()), "corrupt");
    }

    #[tokio::test]
    async fn an_attempt_has_a_bound() {
        let running = running().await;
        let piece = "x".repeat(1024 * 1024);
        let (permit, attempt) = (&running.lease.permit, &running.lease.attempt);
        let pieces: Vec<LogRecord> = (0..33).map(|number| record(number, &piece)).collect();
        let refused = running.logs.append(permit, attempt, &pieces).await;
        assert_eq!(refusal(&refused.unwrap_err()), "refused");
    }
}
