//! What a step writes, on its way to the logs: redacted, bounded, numbered.
//!
//! Each stream has a reader that hands redacted pieces to one collector through a short channel. When the logs are slow,
//! the channel fills, the reader stops and with it the script: memory never grows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::hold::Hold;
use super::leases::{LeaseError, Leases};
use super::masking::{Masked, Masking};
use crate::domain::{Clock, Timestamp};
use crate::store::{LOG_END_BYTES_MAX, LogRecord, LogStream};

/// Bytes of output that are stored as they come.
const HEAD_BYTES_MAX: usize = 9 * 1024 * 1024;
/// Bytes of the end of a longer output; what lies between is left out.
const TAIL_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of output after which a step is ended: it writes more than anybody reads.
const FLOOD_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Bytes of one piece, and of what is sent to the logs at once.
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// Bytes that are left for what tenantry says last.
const NOTE_BYTES: usize = 2 * 1024;
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// The wait before logs that are unavailable are tried again.
const RETRY: Duration = Duration::from_millis(500);

/// What there is of an attempt's output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    /// Bytes.
    pub(super) bytes: u64,
    /// SHA-256 over the texts in order, hex; `None` without any.
    pub(super) digest: Option<String>,
    /// The last of it, which is not appended but goes with the report.
    pub(super) end: Vec<LogRecord>,
}

/// The readers and the collector of one attempt.
pub(super) struct Capture {
    readers: Vec<JoinHandle<()>>,
    collector: JoinHandle<Stored>,
    note: oneshot::Sender<Piece>,
    flooded: Arc<Notify>,
    clock: Clock,
}

struct Piece {
    at: Timestamp,
    stream: LogStream,
    text: String,
}

impl Capture {
    /// Starts reading both streams.
    pub(super) fn start(
        stdout: impl AsyncRead + Send + Unpin + 'static,
        stderr: impl AsyncRead + Send + Unpin + 'static,
        masking: &Arc<Masking>,
        leases: Arc<dyn Leases>,
        hold: Arc<Hold>,
        clock: &Clock,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(8);
        let flooded = Arc::new(Notify::new());
        let total = Arc::new(AtomicU64::new(0));
        let reader = |stream: LogStream| Reader {
            stream,
            masked: Masked::new(Arc::clone(masking)),
            sender: sender.clone(),
            total: Arc::clone(&total),
            flooded: Arc::clone(&flooded),
            clock: Clock::clone(clock),
        };
        let readers = vec![
            tokio::spawn(reader(LogStream::Stdout).read(stdout)),
            tokio::spawn(reader(LogStream::Stderr).read(stderr)),
        ];
        let collector = Collector {
            leases,
            hold,
            pending: Vec::new(),
            pending_bytes: 0,
            tail: Tail::default(),
            next: 0,
            head: 0,
            stored: 0,
            digest: Sha256::new(),
        };
        // Only the readers have senders now: when both have ended, more than a report can carry is stored while the
        // sandbox is still being taken down.
        drop(sender);
        let (note, last) = oneshot::channel();
        let collector = tokio::spawn(collector.collect(receiver, last));
        Self { readers, collector, note, flooded, clock: Clock::clone(clock) }
    }

    /// Returns once the step has written more than anybody reads.
    pub(super) async fn flooded(&self) {
        self.flooded.notified().await;
    }

    /// Waits for the end of the streams, at most `drain`: what keeps them open is dead or unreachable. Then gives or stores
    /// what is left and, last, what tenantry says about the attempt.
    pub(super) async fn finish(self, drain: Duration, note: Option<String>) -> Stored {
        let end = Instant::now() + drain;
        for mut reader in self.readers {
            if tokio::time::timeout_at(end, &mut reader).await.is_err() {
                reader.abort();
            }
        }
        match note {
            // A collector that has gone lost the attempt, which its result says.
            Some(text) => drop(self.note.send(Piece { at: (self.clock)(), stream: LogStream::System, text })),
            None => drop(self.note),
        }
        self.collector.await.unwrap_or_default()
    }
}

struct Reader {
    stream: LogStream,
    masked: Masked,
    sender: mpsc::Sender<Piece>,
    total: Arc<AtomicU64>,
    flooded: Arc<Notify>,
    clock: Clock,
}

impl Reader {
    async fn read(mut self, mut from: impl AsyncRead + Unpin) {
        let mut buffer = vec![0_u8; READ_BYTES];
        let mut carried = Vec::new();
        loop {
            let count = match from.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            let total = self.total.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
            if total > FLOOD_BYTES_MAX {
                self.flooded.notify_one();
            }
            let shown = self.masked.push(&buffer[..count]);
            if !self.send(text_of(&mut carried, &shown, false)).await {
                return;
            }
        }
        let rest = self.masked.finish();
        self.send(text_of(&mut carried, &rest, true)).await;
    }

    async fn send(&self, text: String) -> bool {
        if text.is_empty() {
            return true;
        }
        self.sender.send(Piece { at: (self.clock)(), stream: self.stream, text }).await.is_ok()
    }
}

/// Bytes as text, with what is not UTF-8 replaced. A character that is cut at the end waits for its rest in `carried`.
fn text_of(carried: &mut Vec<u8>, bytes: &[u8], last: bool) -> String {
    carried.extend_from_slice(bytes);
    let mut keep = 0;
    if !last {
        // A character has at most four bytes: look for a start among the last three that wants more than is there.
        for back in 1..=carried.len().min(3) {
            let byte = carried[carried.len() - back];
            let wanted = match byte {
                0xC2..=0xDF => 2,
                0xE0..=0xEF => 3,
                0xF0..=0xF4 => 4,
                0x80..=0xBF => continue,
                _ => 1,
            };
            keep = if wanted > back { back } else { 0 };
            break;
        }
    }
    let rest = carried.split_off(carried.len() - keep);
    let text = String::from_utf8_lossy(carried).into_owned();
    *carried = rest;
    text
}

/// The last records of a long output, and how much was left out before them.
#[derive(Default)]
struct Tail {
    records: VecDeque<Piece>,
    bytes: usize,
    left_out: u64,
}

struct Collector {
    leases: Arc<dyn Leases>,
    hold: Arc<Hold>,
    pending: Vec<LogRecord>,
    pending_bytes: usize,
    tail: Tail,
    next: u64,
    head: usize,
    stored: u64,
    digest: Sha256,
}

impl Collector {
    /// Stores pieces until every reader has ended, then, last, the note, if there is one.
    async fn collect(mut self, mut pieces: mpsc::Receiver<Piece>, note: oneshot::Receiver<Piece>) -> Stored {
        let mut due: Option<Instant> = None;
        loop {
            let piece = match due {
                None => pieces.recv().await,
                Some(due_at) => match tokio::time::timeout_at(due_at, pieces.recv()).await {
                    Ok(piece) => piece,
                    Err(_) => {
                        due = None;
                        if !self.flush().await {
                            return self.result();
                        }
                        continue;
                    }
                },
            };
            let Some(piece) = piece else { break };
            self.take(piece);
            if self.pending_bytes >= PIECE_BYTES_MAX {
                due = None;
                if !self.flush().await {
                    return self.result();
                }
            } else if due.is_none() && !self.pending.is_empty() {
                due = Some(Instant::now() + self.leases.append_wait());
            }
        }
        self.take_tail();
        if self.pending_bytes > LOG_END_BYTES_MAX - NOTE_BYTES && !self.flush().await {
            return self.result();
        }
        if let Ok(note) = note.await {
            self.keep(note);
        }
        if self.pending_bytes > LOG_END_BYTES_MAX {
            self.flush().await;
        }
        self.result()
    }

    /// Puts a piece into the head, or into the tail once the head is full.
    fn take(&mut self, piece: Piece) {
        if self.head + piece.text.len() <= HEAD_BYTES_MAX && self.tail.records.is_empty() {
            self.head += piece.text.len();
            self.keep(piece);
            return;
        }
        self.tail.bytes += piece.text.len();
        self.tail.records.push_back(piece);
        while self.tail.bytes > TAIL_BYTES_MAX {
            let Some(first) = self.tail.records.pop_front() else { break };
            self.tail.bytes -= first.text.len();
            self.tail.left_out += first.text.len() as u64;
        }
    }

    fn take_tail(&mut self) {
        let tail = std::mem::take(&mut self.tail);
        if tail.left_out > 0 {
            let at = tail.records.front().map_or_else(Timestamp::default, |piece| piece.at);
            let text = format!("[{} bytes of output were left out here]\n", tail.left_out);
            self.keep(Piece { at, stream: LogStream::System, text });
        }
        for piece in tail.records {
            self.keep(piece);
        }
    }

    /// Adds a piece to what is sent next; joins it to the record before if both are of one stream.
    fn keep(&mut self, piece: Piece) {
        self.pending_bytes += piece.text.len();
        if let Some(last) = self.pending.last_mut()
            && last.stream == piece.stream
            && last.text.len() + piece.text.len() <= PIECE_BYTES_MAX
        {
            last.text.push_str(&piece.text);
            return;
        }
        let sequence = self.next;
        self.next += 1;
        self.pending.push(LogRecord { sequence, at: piece.at, stream: piece.stream, text: piece.text });
    }

    /// Stores what is pending; waits for logs that are unavailable. False once the attempt is no longer ours.
    async fn flush(&mut self) -> bool {
        if self.pending.is_empty() {
            return true;
        }
        let records = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let mut asks = self.hold.asks();
        loop {
            match self.leases.append(&self.hold.permit(), self.hold.attempt(), &records).await {
                Ok(()) => break,
                Err(LeaseError::Over) => {
                    self.hold.ask(super::hold::Ask::Lost);
                    return false;
                }
                Err(LeaseError::Unavailable(_)) => {
                    if *asks.borrow_and_update() == super::hold::Ask::Lost {
                        return false;
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        self.count(&records);
        true
    }

    fn count(&mut self, records: &[LogRecord]) {
        for record in records {
            self.stored += record.text.len() as u64;
            self.digest.update(record.text.as_bytes());
        }
    }

    /// What was stored, with what is still pending, which goes with the report.
    fn result(mut self) -> Stored {
        let end = std::mem::take(&mut self.pending);
        self.count(&end);
        let digest = (self.stored > 0).then(|| hex::encode(self.digest.finalize()));
        Stored { bytes: self.stored, digest, end }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_is_the_same_however_it_is_cut(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xE2), Just(0x82), Just(0xAC), Just(b'a')], 0..40), cut in prop::collection::vec(0..7_usize, 0..40)) {
            let mut carried = Vec::new();
            let mut text = String::new();
            let mut at = 0;
            for length in cut {
                let end = (at + length).min(bytes.len());
                text.push_str(&text_of(&mut carried, &bytes[at..end], false));
                prop_assert!(carried.len() <= 3);
                at = end;
            }
            text.push_str(&text_of(&mut carried, &bytes[at..], true));
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}
