//! What steps wrote, as JSON lines: what is stored so far or, followed, until the run ends.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Bytes, Frame};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::Problem;
use super::caller::Session;
use crate::authz::{Permit, action};
use crate::domain::{AttemptId, Phase, RunId, StepId, TenantId};
use crate::record::{RunRecord, StepRecord};
use crate::store::LogRecord;

/// What of the output is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogsQuery {
    step: Option<String>,
    #[serde(default)]
    follow: bool,
}

/// Pieces that are read at once.
const PIECES: u32 = 256;
/// How often a follower looks again. An end of the reader's right is noticed as soon.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// The output of a run's steps, redacted as it was stored.
pub(super) async fn logs(
    session: Session,
    Path((tenant, run)): Path<(String, String)>,
    Query(query): Query<LogsQuery>,
) -> Result<Response, Problem> {
    let (permit, _) = session.permit::<action::View>(&tenant).await?;
    let missing = || Problem::not_found("there is no such run in this tenant");
    let run: RunId = run.parse().map_err(|_| missing())?;
    let step = match &query.step {
        None => None,
        Some(text) => {
            Some(text.parse::<StepId>().map_err(|_| Problem::malformed(format!("`{text}` can be no step")))?)
        }
    };
    // Said before anything is sent, so that a wrong name is an answer and not an empty stream.
    let record = session.ports().store.run(&permit, &run).await?;
    if let Some(step) = &step
        && !record.steps.iter().any(|one| one.id == *step)
    {
        return Err(Problem::not_found(format!("the run has no step `{step}` so far")));
    }
    session.reads_logs(permit.tenant(), &run).await?;
    let (sender, receiver) = mpsc::channel(16);
    let reader = Reader {
        session,
        tenant: permit.tenant().clone(),
        run,
        step,
        follow: query.follow,
        sent: BTreeMap::new(),
    };
    tokio::spawn(reader.send(sender));
    let body = Body::new(Lines(receiver));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

struct Reader {
    session: Session,
    tenant: TenantId,
    run: RunId,
    step: Option<StepId>,
    follow: bool,
    /// The next piece of each attempt.
    sent: BTreeMap<AttemptId, u64>,
}

impl Reader {
    /// Sends until everything is sent, the reader is gone or his right has ended.
    async fn send(mut self, sender: mpsc::Sender<Bytes>) {
        loop {
            let Ok((permit, record)) = self.look().await else { return };
            let ended = record.state == Phase::Ended;
            for step in &record.steps {
                if self.step.as_ref().is_none_or(|only| *only == step.id)
                    && self.send_attempt(&permit, step, &sender).await.is_err()
                {
                    return;
                }
            }
            if ended || !self.follow || sender.is_closed() {
                return;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The run as it stands, under a right that is decided anew each time.
    async fn look(&mut self) -> Result<(Permit<action::View>, RunRecord), Problem> {
        self.session.now = self.session.guard.now().await?;
        let (permit, _) = self.session.permit::<action::View>(self.tenant.as_str()).await?;
        let record = self.session.ports().store.run(&permit, &self.run).await?;
        Ok((permit, record))
    }

    async fn send_attempt(
        &mut self,
        permit: &Permit<action::View>,
        step: &StepRecord,
        sender: &mpsc::Sender<Bytes>,
    ) -> Result<(), Gone> {
        let attempt = AttemptId {
            run: self.run.clone(),
            step: step.id.clone(),
            item: step.item,
            attempt: step.attempt,
        };
        let next = self.sent.entry(attempt.clone()).or_insert(0);
        // The record said whether it has ended, so that nothing is appended any more by then.
        let ended = step.ended_at.is_some();
        loop {
            let logs = &self.session.ports().logs;
            let mut pieces = logs.read(permit, &attempt, *next, PIECES).await.map_err(|_| Gone)?;
            let full = pieces.len() >= PIECES as usize;
            if ended && !full {
                let store = &self.session.ports().store;
                pieces.extend(store.log_end(permit, &attempt).await.map_err(|_| Gone)?);
            }
            for piece in &pieces {
                if piece.sequence < *next {
                    continue;
                }
                *next = piece.sequence + 1;
                sender.send(line(&attempt, piece)).await.map_err(|_| Gone)?;
            }
            if !full {
                return Ok(());
            }
        }
    }
}

/// Nobody reads any more, or nothing can be read.
struct Gone;

fn line(attempt: &AttemptId, piece: &LogRecord) -> Bytes {
    let mut text = json!({
        "step": attempt.step,
        "item": attempt.item,
        "attempt": attempt.attempt,
        "sequence": piece.sequence,
        "at": piece.at,
        "stream": piece.stream,
        "text": piece.text,
    })
    .to_string();
    text.push('\n');
    Bytes::from(text)
}

/// A body out of a channel.
struct Lines(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
