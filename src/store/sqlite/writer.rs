//! The one writer: operations that wait are committed together, and answered only when they are durable.
//!
//! An operation that nobody waits for yet goes into the transaction of the next one that somebody does. One that
//! stands runs at once and again at the end of each transaction that leaves something to lease, until it finds
//! something: a run and the lease of its first step cost one commit.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::connection::{Connection, query};
use super::rows::{Doings, SqliteRows};
use super::shared::{Shared, lock};
use super::statements as sql;
use crate::store::StoreError;
use crate::store::directory::Directory;
use crate::store::failpoint::hit;
use crate::store::ledger::LedgerFile;
use crate::store::pending::Turn;
use crate::store::rows::{Again, Found, Work};

/// Operations that wait for the writer; more wait for room.
pub(super) const QUEUE_MAX: usize = 1_024;
/// Operations that are committed together.
const BATCH_MAX: usize = 128;

/// An operation in the queue: run, then answered once.
pub(super) trait Request: Send {
    /// Whether nobody waits for it yet.
    fn may_wait(&self) -> bool;
    /// Whether it has found nothing and waits for more to come.
    fn stands(&self) -> bool {
        false
    }
    /// Runs the operation and keeps its result; gives whether it may stay.
    fn run<'r>(
        &'r mut self,
        rows: &'r mut SqliteRows<'_>,
    ) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'r>>;
    /// Answers: with the operation's own result, or with the error that undid it.
    fn answer(self: Box<Self>, undone: Option<StoreError>);
}

/// What becomes of an operation's rows.
pub(super) enum Verdict {
    /// It succeeded.
    Keep,
    /// It was refused: its rows are undone, the others' stay.
    Undo,
    /// The engine failed: nothing of the whole batch can be kept.
    Fail(String),
}

/// An operation with whoever waits for it.
pub(super) struct Operation<T> {
    work: Option<Work<T>>,
    result: Option<Found<T>>,
    reply: oneshot::Sender<Found<T>>,
    /// Set where nobody waits before it is called.
    turn: Option<Turn>,
}

impl<T> Operation<T> {
    pub(super) fn new(work: Work<T>, turn: Option<Turn>) -> (Self, oneshot::Receiver<Found<T>>) {
        let (reply, answer) = oneshot::channel();
        (Self { work: Some(work), result: None, reply, turn }, answer)
    }
}

impl<T: Send + 'static> Request for Operation<T> {
    fn may_wait(&self) -> bool {
        self.turn.as_ref().is_some_and(|turn| !turn.is_called())
    }
    fn run<'r>(
        &'r mut self,
        rows: &'r mut SqliteRows<'_>,
    ) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'r>> {
        Box::pin(async move {
            let Some(work) = self.work.take() else { return Verdict::Undo };
            let result = work(rows).await;
            let verdict = verdict_of(&result);
            self.result = Some(result);
            verdict
        })
    }
    fn answer(self: Box<Self>, undone: Option<StoreError>) {
        let result = match (undone, self.result) {
            // What the operation itself was refused for says more than what undid the batch.
            (_, Some(Err(error))) => Err(error),
            (Some(error), _) => Err(error),
            (None, Some(result)) => result,
            (None, None) => Err(gone()),
        };
        // Whoever asked may have gone: what was committed stays committed.
        let _ = self.reply.send(result);
    }
}

/// An operation that stands until it finds something or is withdrawn.
pub(super) struct Offered<T> {
    work: Again<T>,
    found: Option<Found<Option<T>>>,
    reply: oneshot::Sender<Found<Option<T>>>,
    /// Called when it is withdrawn.
    turn: Turn,
}

impl<T> Offered<T> {
    pub(super) fn new(work: Again<T>, turn: Turn) -> (Self, oneshot::Receiver<Found<Option<T>>>) {
        let (reply, answer) = oneshot::channel();
        (Self { work, found: None, reply, turn }, answer)
    }
}

impl<T: Send + 'static> Request for Offered<T> {
    /// It looks at once for what is there already.
    fn may_wait(&self) -> bool {
        false
    }
    fn stands(&self) -> bool {
        !self.turn.is_called() && matches!(self.found, None | Some(Ok(None)))
    }
    fn run<'r>(
        &'r mut self,
        rows: &'r mut SqliteRows<'_>,
    ) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'r>> {
        Box::pin(async move {
            // Nobody would know of what it took.
            if self.reply.is_closed() {
                return Verdict::Undo;
            }
            let found = (self.work)()(rows).await;
            let verdict = verdict_of(&found);
            self.found = Some(found);
            verdict
        })
    }
    fn answer(self: Box<Self>, undone: Option<StoreError>) {
        let found = match (undone, self.found) {
            (_, Some(Err(error))) => Err(error),
            (Some(error), _) => Err(error),
            (None, found) => found.unwrap_or(Ok(None)),
        };
        let _ = self.reply.send(found);
    }
}

fn verdict_of<T>(result: &Found<T>) -> Verdict {
    match result {
        Ok(_) => Verdict::Keep,
        Err(StoreError::Unavailable { message, .. }) => Verdict::Fail(message.clone()),
        Err(_) => Verdict::Undo,
    }
}

/// What is said once the writer takes nothing any more.
pub(super) fn gone() -> StoreError {
    StoreError::Unavailable { message: "the store is closed".to_owned(), source: None }
}

pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
    pub(super) ledger: LedgerFile,
    /// Held as long as anything can be written.
    pub(super) _directory: Directory,
    /// Why nothing more is taken: after an error that leaves unknown what is on the disk.
    pub(super) halted: Option<String>,
}

impl Writer {
    /// Serves the queue until every sender has gone, then closes the database.
    pub(super) async fn serve(mut self, mut queue: mpsc::Receiver<Box<dyn Request>>) {
        let mut batch: Vec<Box<dyn Request>> = Vec::with_capacity(BATCH_MAX);
        let mut standing: Vec<Box<dyn Request>> = Vec::new();
        loop {
            tokio::select! {
                biased;
                more = queue.recv_many(&mut batch, BATCH_MAX) => if more == 0 { break },
                () = self.shared.waited_for.notified(), if !standing.is_empty() => {}
            }
            let withdrawn = standing.extract_if(.., |request| !request.stands());
            withdrawn.for_each(|request| request.answer(None));
            if batch.is_empty() {
                continue;
            }
            while batch.len() < BATCH_MAX && batch.iter().all(|request| request.may_wait()) {
                tokio::select! {
                    biased;
                    more = queue.recv_many(&mut batch, BATCH_MAX) => if more == 0 { break },
                    () = self.shared.waited_for.notified() => {}
                }
            }
            // What stands sees what came with it.
            batch.sort_by_key(|request| request.stands());
            let undone = match &self.halted {
                Some(reason) => Err(reason.clone()),
                None => self.commit(&mut batch, &mut standing).await,
            };
            // Who stands longest is first in line.
            let all = standing.drain(..).chain(batch.drain(..));
            let (waiting, done): (Vec<_>, Vec<_>) = all.partition(|one| undone.is_ok() && one.stands());
            standing = waiting;
            for request in done {
                let error = undone
                    .as_ref()
                    .err()
                    .map(|message| StoreError::Unavailable { message: message.clone(), source: None });
                request.answer(error);
                hit("store-after-reply");
            }
            // Nobody waits for what the database knows as well; see `LedgerFile::write`.
            if let Err(error) = self.ledger.sync() {
                self.halt(after_commit(&error));
            }
        }
        standing.into_iter().for_each(|request| request.answer(None));
        // An error here leaves the write-ahead log, which the next opening reads.
        let _ = self.connection.close();
    }

    /// Runs a batch as one transaction. `Err` says, to all of it, why nothing of it was kept, or that nobody
    /// knows whether it was.
    async fn commit(
        &mut self,
        batch: &mut [Box<dyn Request>],
        standing: &mut [Box<dyn Request>],
    ) -> Result<(), String> {
        self.statement("BEGIN IMMEDIATE")?;
        let doings = match self.run(batch, standing).await {
            Ok(doings) => doings,
            Err(message) => {
                self.roll_back();
                return Err(message);
            }
        };
        if !doings.wrote {
            self.roll_back();
            return Ok(());
        }
        hit("store-before-commit");
        if let Err(message) = self.finish(&doings) {
            self.roll_back();
            return Err(message);
        }
        hit("store-after-commit");
        self.shared.record(doings.recorded);
        lock(&self.shared.heads).touch(doings.touched);
        if !doings.queued.is_empty() {
            self.shared.queued.notify_one();
        }
        lock(&self.shared.documents).touch(&doings.documents);
        self.shared.forget_pins(&doings.repinned);
        if !doings.notes.is_empty()
            && let Err(error) = self.ledger.write(doings.recorded, doings.notes)
        {
            return Err(self.halt(after_commit(&error)));
        }
        hit("store-after-ledger");
        Ok(())
    }

    /// Runs each operation, then those that stand where something is left for them; in a batch of several, behind a
    /// savepoint of its own.
    async fn run(
        &mut self,
        batch: &mut [Box<dyn Request>],
        standing: &mut [Box<dyn Request>],
    ) -> Result<Doings, String> {
        let single = batch.len() == 1;
        let mut all = Doings { recorded: self.shared.recorded(), ..Doings::default() };
        let asked = batch.iter_mut().map(|request| (request, false));
        for (request, stands) in asked.chain(standing.iter_mut().map(|request| (request, true))) {
            if stands && all.queued.is_empty() {
                break;
            }
            let alone = single && !stands;
            if !alone {
                self.statement("SAVEPOINT operation")?;
            }
            let shared = Arc::clone(&self.shared);
            let mut rows = SqliteRows::new(&mut self.connection, &shared);
            rows.doings.recorded = all.recorded;
            let verdict = request.run(&mut rows).await;
            let doings = rows.doings;
            match verdict {
                Verdict::Fail(message) => return Err(self.judge(message)),
                Verdict::Undo if alone => return Ok(Doings::default()),
                Verdict::Undo => {
                    self.statement("ROLLBACK TO operation")?;
                }
                Verdict::Keep => {
                    all.wrote |= doings.wrote;
                    all.notes.extend(doings.notes);
                    all.touched.extend(doings.touched);
                    all.queued.retain(|job| !doings.taken.contains(job));
                    all.queued.extend(doings.queued);
                    all.documents.extend(doings.documents);
                    all.repinned.extend(doings.repinned);
                    all.recorded = doings.recorded;
                }
            }
            if !alone {
                self.statement("RELEASE operation")?;
            }
        }
        Ok(all)
    }

    fn finish(&mut self, doings: &Doings) -> Result<(), String> {
        if doings.recorded > self.shared.recorded() {
            let time = query(sql::RECORD_TIME).bind(doings.recorded.as_millis());
            self.connection.run(time).map_err(|error| self.judge(message_of(&error)))?;
        }
        self.statement("COMMIT")
    }

    fn statement(&mut self, statement: &'static str) -> Result<(), String> {
        match self.connection.run(query(statement)) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.judge(message_of(&error))),
        }
    }

    /// Rolls back, if the engine has not done so by itself.
    fn roll_back(&mut self) {
        // The only error is that there is no transaction any more, which is what is wanted.
        let _ = self.connection.run(query("ROLLBACK"));
    }

    /// A full disk or a busy file leaves everything as it was; after any other error of the engine nobody knows.
    fn judge(&mut self, message: String) -> String {
        if super::passes(&message) { message } else { self.halt(message) }
    }

    fn halt(&mut self, message: String) -> String {
        tracing::error!(reason = %message, "the store takes nothing any more");
        self.halted = Some(message.clone());
        message
    }
}

fn after_commit(error: &StoreError) -> String {
    format!("{error}; restart when it is cured: what was committed is there")
}

fn message_of(error: &StoreError) -> String {
    match error {
        StoreError::Unavailable { message, .. } => message.clone(),
        other => other.to_string(),
    }
}
