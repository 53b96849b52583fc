//! What lands later, what waits for work, and what is only remembered: writes that need no durable commit of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tokio::sync::{Notify, oneshot};

use super::rows::Found;
use super::{SourceRow, StoreError};
use crate::domain::Timestamp;

/// A write that was asked for and lands with the next one, at the latest when [`Pending::landed`] is waited for or
/// this is dropped.
#[must_use = "its error is told by `landed` alone"]
pub struct Pending {
    answer: Option<Answer>,
}

enum Answer {
    Known(Found<()>),
    Waits { answer: oneshot::Receiver<Found<()>>, turn: Turn },
}

/// Tells the writer that somebody waits now.
#[derive(Clone, Default)]
pub(super) struct Turn {
    called: Arc<AtomicBool>,
    writer: Arc<Notify>,
}

impl Turn {
    /// One that wakes `writer` once it is called.
    pub(super) fn of(writer: &Arc<Notify>) -> Self {
        Self { called: Arc::default(), writer: Arc::clone(writer) }
    }
    /// Whether it has come.
    pub(super) fn is_called(&self) -> bool {
        self.called.load(Ordering::Acquire)
    }
    fn call(&self) {
        self.called.store(true, Ordering::Release);
        self.writer.notify_one();
    }
}

impl Pending {
    /// One that has landed already.
    pub(super) fn known(result: Found<()>) -> Self {
        Self { answer: Some(Answer::Known(result)) }
    }
    /// One that `answer` will tell of; `turn` is called once somebody waits.
    pub(super) fn of(answer: oneshot::Receiver<Found<()>>, turn: Turn) -> Self {
        Self { answer: Some(Answer::Waits { answer, turn }) }
    }
    /// Waits until it is durable.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn landed(mut self) -> Result<(), StoreError> {
        match self.answer.take() {
            None => Ok(()),
            Some(Answer::Known(result)) => result,
            Some(Answer::Waits { answer, turn }) => {
                turn.call();
                answer.await.map_err(|_| closed())?
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(Answer::Waits { turn, .. }) = &self.answer {
            turn.call();
        }
    }
}

/// A request that finds nothing now and stands until it does: it runs again in the transaction of each write that
/// leaves work, so that what it takes is durable together with what made it.
///
/// What was found and never taken, since this was dropped, is lost to whoever asked: [`Offer::withdrawn`] gives it.
#[must_use = "what it finds is told by `found` and `withdrawn` alone"]
pub struct Offer<T> {
    answer: Stands<T>,
}

enum Stands<T> {
    Known(Found<T>),
    Waits { answer: oneshot::Receiver<Found<Option<T>>>, turn: Turn },
    Nothing,
}

impl<T> Offer<T> {
    /// One that was answered at once; `None` if it will never find anything.
    pub(crate) fn known(found: Option<T>) -> Self {
        Self { answer: found.map_or(Stands::Nothing, |found| Stands::Known(Ok(found))) }
    }
    /// One that `answer` will tell of; `turn` is called when it is withdrawn.
    pub(super) fn of(answer: oneshot::Receiver<Found<Option<T>>>, turn: Turn) -> Self {
        Self { answer: Stands::Waits { answer, turn } }
    }
    /// Waits until it has found something, which it gives once; dropping the wait loses nothing.
    ///
    /// # Errors
    /// Why it stands no more.
    pub async fn found(&mut self) -> Result<T, StoreError> {
        if let Stands::Waits { answer, .. } = &mut self.answer {
            let found = answer.await;
            self.answer = match found {
                Ok(Ok(None)) => Stands::Nothing,
                Ok(Ok(Some(found))) => Stands::Known(Ok(found)),
                Ok(Err(error)) => Stands::Known(Err(error)),
                Err(_) => Stands::Known(Err(closed())),
            };
        }
        match std::mem::replace(&mut self.answer, Stands::Nothing) {
            Stands::Known(found) => found,
            Stands::Waits { .. } | Stands::Nothing => std::future::pending().await,
        }
    }
    /// Ends it after its first look; gives what it has found.
    ///
    /// # Errors
    /// Why it stood no more.
    pub async fn withdrawn(mut self) -> Result<Option<T>, StoreError> {
        match std::mem::replace(&mut self.answer, Stands::Nothing) {
            Stands::Nothing => Ok(None),
            Stands::Known(found) => found.map(Some),
            Stands::Waits { answer, turn } => {
                turn.call();
                answer.await.map_err(|_| closed())?
            }
        }
    }
}

impl<T> Drop for Offer<T> {
    fn drop(&mut self) {
        if let Stands::Waits { answer, turn } = &mut self.answer {
            answer.close();
            turn.call();
        }
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable { message: "the store is closed".into(), source: None }
}

/// When the source was fetched last, where its row says nothing else: a memory that no transaction pays for.
#[derive(Default)]
pub(super) struct LastFetch(AtomicI64);

impl LastFetch {
    pub(super) fn saw(&self, at: Timestamp) {
        self.0.fetch_max(at.as_millis(), Ordering::AcqRel);
    }
    /// The row with the later of both times.
    pub(super) fn over(&self, row: SourceRow) -> SourceRow {
        let seen = self.0.load(Ordering::Acquire);
        let known = row.fetched_at.map_or(0, Timestamp::as_millis);
        let fetched_at = if seen > known { Some(Timestamp::from_millis(seen)) } else { row.fetched_at };
        SourceRow { fetched_at, ..row }
    }
}
