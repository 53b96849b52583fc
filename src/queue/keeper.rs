//! Keeping time: schedules of every tenant, and what comes due in runs that wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::{Enqueued, enqueue_due};
use crate::authz::Permit;
use crate::domain::{Clock, FreshIds, Length, PinNote, TenantId, Timestamp};
use crate::store::{Started, Store, StoreError, TenantHead};

/// The longest sleep: what others do meanwhile may bring an earlier time.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Runs that are looked at in one transaction.
const WAKE_AT_ONCE: u32 = 100;
/// Transactions of that kind in one pass, so that schedules get their turn.
const WAKE_ROUNDS: u32 = 20;
/// Runs that are swept in one transaction.
const SWEEP_AT_ONCE: u32 = 50;
/// Transactions of that kind in one sweep: a database of before is gone through over several.
const SWEEP_ROUNDS: u32 = 40;
/// How often payloads are looked at, and what rows were before is overwritten.
const SWEEP_EVERY: Length = Length::from_secs(5 * 60);

/// What one pass did.
#[derive(Debug, Default)]
pub struct Pass {
    /// Runs that were started, by tenant.
    pub started: Vec<(TenantId, Started)>,
    /// When something is due next; `None` if nothing will be without news.
    pub next: Option<Timestamp>,
}

/// Looks at the time for every tenant. Only one may keep the time of a store.
pub struct Keeper {
    store: Arc<dyn Store>,
    fresh: FreshIds,
    clock: Clock,
    /// What was known of each tenant when its schedules were last looked at, and when they are due next.
    known: BTreeMap<TenantId, (Seen, Option<Timestamp>)>,
    /// When payloads were last looked at.
    swept_at: Option<Timestamp>,
}

/// A tenant whose schedules are the same as long as this is.
#[derive(Clone, PartialEq, Eq)]
struct Seen {
    incarnation: u32,
    generation: u64,
    pinned: Option<PinNote>,
}

impl Keeper {
    /// Takes the store, a source of run ids and the time.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, fresh: FreshIds, clock: Clock) -> Self {
        Self { store, fresh, clock, known: BTreeMap::new(), swept_at: None }
    }

    /// Does what is due: retries, lost leases and timeouts first, then the schedules of tenants whose time has come or
    /// that were applied since. One tenant's failure does not keep the others waiting.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be asked at all.
    pub async fn pass(&mut self) -> Result<Pass, StoreError> {
        let mut pass = Pass { started: Vec::new(), next: self.wake().await? };
        let heads = self.store.tenants().await?;
        self.known.retain(|tenant, _| heads.binary_search_by(|head| head.tenant.cmp(tenant)).is_ok());
        for head in heads.iter().filter(|head| !head.removed) {
            let now = (self.clock)();
            let seen = Seen {
                incarnation: head.incarnation,
                generation: head.status.applied_generation,
                pinned: head.status.pinned.clone(),
            };
            let next = match self.known.get(&head.tenant) {
                Some((known, next)) if *known == seen && next.is_none_or(|next| now < next) => *next,
                _ => match self.look(head, now).await {
                    Ok(enqueued) => {
                        let started = enqueued.started.into_iter();
                        pass.started.extend(started.map(|(_, started)| (head.tenant.clone(), started)));
                        self.known.insert(head.tenant.clone(), (seen, enqueued.next));
                        enqueued.next
                    }
                    Err(cause) => {
                        tracing::warn!(tenant = %head.tenant, %cause, "the schedules of a tenant could not be looked at");
                        self.known.remove(&head.tenant);
                        None
                    }
                },
            };
            pass.next = earlier(pass.next, next);
        }
        Ok(pass)
    }

    /// Passes again and again until `stop` turns true. `workers` are told when there may be work, `changed` tells that
    /// something was applied.
    pub async fn keep(&mut self, workers: &Notify, changed: &Notify, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow_and_update() {
            self.sweep().await;
            let next = match self.pass().await {
                Ok(pass) => {
                    if !pass.started.is_empty() {
                        workers.notify_one();
                    }
                    pass.next
                }
                Err(cause) => {
                    tracing::warn!(%cause, "what is due could not be looked at");
                    None
                }
            };
            let now = (self.clock)();
            let sleep = next.map_or(SLEEP_MAX, |next| next.since(now).to_std().min(SLEEP_MAX));
            tokio::select! {
                () = changed.notified() => {}
                () = tokio::time::sleep(sleep.max(Duration::from_millis(10))) => {}
                ended = stop.changed() => if ended.is_err() { break },
            }
        }
    }

    /// Sees to what runs left, when its time has come: payloads that stood in clear from before, and those whose time
    /// is over; then leaves nothing of what rows were. A failure is tried again by the next sweep.
    pub async fn sweep(&mut self) {
        let now = (self.clock)();
        if self.swept_at.is_some_and(|at| now < at + SWEEP_EVERY) {
            return;
        }
        self.swept_at = Some(now);
        for _ in 0..SWEEP_ROUNDS {
            match self.store.sweep(SWEEP_AT_ONCE, now).await {
                Ok(swept) => {
                    if swept.closed > 0 {
                        tracing::info!(
                            runs = swept.closed,
                            "what ended runs left in clear was encrypted or dropped"
                        );
                    }
                    if !swept.more {
                        break;
                    }
                }
                Err(cause) => {
                    tracing::warn!(%cause, "payloads could not be looked at");
                    return;
                }
            }
        }
        match self.store.overwrite().await {
            Ok(true) => {}
            Ok(false) => {
                tracing::debug!("the write-ahead log is being read, and is emptied by the next sweep")
            }
            Err(cause) => tracing::warn!(%cause, "the write-ahead log could not be emptied"),
        }
    }

    async fn wake(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut next = None;
        for _ in 0..WAKE_ROUNDS {
            let now = (self.clock)();
            next = self.store.wake(WAKE_AT_ONCE, now).await?;
            if next.is_none_or(|next| next > now) {
                break;
            }
        }
        Ok(next)
    }

    async fn look(&self, head: &TenantHead, now: Timestamp) -> Result<Enqueued, StoreError> {
        let permit = Permit::for_schedule(&head.standing(), now)
            .map_err(|refusal| StoreError::Denied(refusal.to_string()))?;
        enqueue_due(&permit, self.store.as_ref(), &self.fresh, now).await
    }
}

fn earlier(left: Option<Timestamp>, right: Option<Timestamp>) -> Option<Timestamp> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (one, None) | (None, one) => one,
    }
}
