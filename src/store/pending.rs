//! What lands later, and what is only remembered: writes that need no durable commit of their own.

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
                let closed =
                    || StoreError::Unavailable { message: "the store is closed".into(), source: None };
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
