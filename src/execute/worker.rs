//! A worker: slots, heartbeat, drain.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::attempt;
use super::hold::{Ask, Hold};
use super::leases::{LeaseError, Leases};
use crate::broker::Broker;
use crate::domain::{AttemptId, Clock};
use crate::sandbox::Executor;
use crate::source::Contents;
use crate::store::{Lease, Offer, Report};

/// What a worker works with.
#[derive(Clone)]
pub struct Ports {
    /// The queue.
    pub leases: Arc<dyn Leases>,
    /// The sandbox.
    pub executor: Arc<dyn Executor>,
    /// Where script blobs are read.
    pub source: Arc<dyn Contents>,
    /// The door of each attempt.
    pub broker: Broker,
    /// The time.
    pub clock: Clock,
}

/// How a worker works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Attempts at one time.
    pub slots: u32,
    /// How often it looks for work that nobody told it of.
    pub poll: Duration,
    /// How often leases are renewed. Source: design page `store.md`.
    pub heartbeat: Duration,
    /// The time that running attempts have to finish after a shutdown was asked for.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            slots: u32::try_from(processors.saturating_mul(2)).unwrap_or(u32::MAX),
            poll: Duration::from_secs(2),
            heartbeat: Duration::from_secs(10),
            drain: Duration::from_secs(20),
        }
    }
}

/// How often leases are compared with the clock.
const FENCE_EVERY: Duration = Duration::from_secs(1);
/// The wait before a queue that is unavailable is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// The time in which killed attempts are dead.
const KILLED: Duration = Duration::from_secs(10);

/// Runs attempts until it is told to stop.
pub struct Worker {
    ports: Ports,
    settings: Settings,
    held: Arc<Mutex<BTreeMap<AttemptId, Arc<Hold>>>>,
}

impl Worker {
    /// Takes what it works with.
    #[must_use]
    pub fn new(ports: Ports, settings: Settings) -> Self {
        Self { ports, settings, held: Arc::default() }
    }

    /// Attempts that run now.
    #[must_use]
    pub fn active(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Claims and runs attempts until `stop` turns true, then lets running ones finish for the drain time, ends the rest
    /// and gives their leases back. `wake` says that there may be work.
    ///
    /// # Errors
    /// [`LeaseError`] if the leases cannot be given back; they run out by themselves.
    pub async fn serve(&self, wake: &Notify, mut stop: watch::Receiver<bool>) -> Result<(), LeaseError> {
        let heart = self.heart();
        let mut running = JoinSet::new();
        while !*stop.borrow_and_update() {
            let (mut offer, mut pause) = (Offer::known(None), self.settings.poll);
            match self.free(&mut running) {
                0 => {}
                free => match self.ports.leases.offer(free).await {
                    Ok(stands) => offer = stands,
                    Err(cause) => pause = unasked(&cause),
                },
            }
            let mut gone = false;
            tokio::select! {
                found = offer.found() => match found {
                    Ok(leases) => self.spawn(&mut running, leases),
                    Err(cause) => {
                        let pause = unasked(&cause.into());
                        tokio::time::sleep(pause).await;
                    }
                },
                Some(_) = running.join_next(), if !running.is_empty() => {}
                () = wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
                changed = stop.changed() => gone = changed.is_err(),
            }
            // What was leased in this very moment is ours all the same.
            match offer.withdrawn().await {
                Ok(leases) => self.spawn(&mut running, leases.unwrap_or_default()),
                Err(cause) => drop(unasked(&cause.into())),
            }
            if gone {
                break;
            }
        }
        let drained = tokio::time::timeout(self.settings.drain, join_all(&mut running)).await.is_ok();
        if !drained {
            for hold in self.holds() {
                hold.ask(Ask::Lost);
            }
            let _ = tokio::time::timeout(KILLED, join_all(&mut running)).await;
            running.abort_all();
        }
        heart.abort();
        self.ports.leases.abandon().await.map(|_| ())
    }

    /// Claims and runs attempts until none runs and none can be claimed.
    ///
    /// # Errors
    /// [`LeaseError`] if the queue cannot be asked.
    pub async fn until_idle(&self) -> Result<(), LeaseError> {
        let heart = self.heart();
        let mut running = JoinSet::new();
        let result = loop {
            match self.claim_into(&mut running).await {
                Ok(0) if running.is_empty() => break Ok(()),
                Ok(_) => {}
                Err(cause) => {
                    join_all(&mut running).await;
                    break Err(cause);
                }
            }
            running.join_next().await;
        };
        heart.abort();
        result
    }

    /// Fills the free slots; gives the number of new attempts.
    async fn claim_into(&self, running: &mut JoinSet<()>) -> Result<usize, LeaseError> {
        let free = self.free(running);
        if free == 0 {
            return Ok(0);
        }
        let leases = self.ports.leases.claim(free).await?;
        let count = leases.len();
        self.spawn(running, leases);
        Ok(count)
    }

    /// The slots that are free now.
    fn free(&self, running: &mut JoinSet<()>) -> u32 {
        while running.try_join_next().is_some() {}
        let busy = u32::try_from(running.len()).unwrap_or(u32::MAX);
        self.settings.slots.saturating_sub(busy)
    }

    fn spawn(&self, running: &mut JoinSet<()>, leases: Vec<Lease>) {
        for lease in leases {
            let (ports, held) = (self.ports.clone(), Arc::clone(&self.held));
            running.spawn(follow(ports, held, lease));
        }
    }

    fn holds(&self) -> Vec<Arc<Hold>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Renews all leases in one batch, again and again, and gives up the ones that nobody renews.
    fn heart(&self) -> tokio::task::AbortHandle {
        let (ports, held, every) = (self.ports.clone(), Arc::clone(&self.held), self.settings.heartbeat);
        let beat = async move {
            let mut last = tokio::time::Instant::now();
            loop {
                tokio::time::sleep(FENCE_EVERY.min(every)).await;
                let holds: Vec<Arc<Hold>> =
                    held.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
                if !holds.is_empty() && last.elapsed() >= every {
                    let leases: Vec<_> =
                        holds.iter().map(|hold| (hold.permit(), hold.attempt().clone())).collect();
                    match ports.leases.renew(&leases).await {
                        Ok(answers) => {
                            holds.iter().zip(&answers).for_each(|(hold, answer)| hold.renewed(answer));
                            last = tokio::time::Instant::now();
                        }
                        Err(cause) => tracing::warn!(%cause, "leases could not be renewed"),
                    }
                }
                let now = (ports.clock)();
                holds.iter().for_each(|hold| hold.fence(now));
            }
        };
        tokio::spawn(beat).abort_handle()
    }
}

/// Says that the queue does not answer; gives the wait before it is asked again.
fn unasked(cause: &LeaseError) -> Duration {
    tracing::warn!(%cause, "the queue cannot be asked for work");
    RETRY
}

async fn join_all(running: &mut JoinSet<()>) {
    while running.join_next().await.is_some() {}
}

/// Runs an attempt and then what its completion frees, so that a chain of steps needs no claim of its own.
async fn follow(ports: Ports, held: Arc<Mutex<BTreeMap<AttemptId, Arc<Hold>>>>, lease: Lease) {
    let mut next = Some(lease);
    while let Some(lease) = next.take() {
        let hold = Arc::new(Hold::of(&lease));
        let attempt = lease.attempt.clone();
        held.lock().unwrap_or_else(PoisonError::into_inner).insert(attempt.clone(), Arc::clone(&hold));
        let _kept = Kept { held: Arc::clone(&held), attempt };
        if let Some(report) = attempt::execute(&ports, &lease, &hold).await {
            next = complete(&ports, &hold, report).await;
        }
    }
}

/// Takes an attempt off the list when its task ends, however it ends.
struct Kept {
    held: Arc<Mutex<BTreeMap<AttemptId, Arc<Hold>>>>,
    attempt: AttemptId,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.attempt);
    }
}

/// Reports until the queue has taken it or the lease is over: a reply that fails may have been taken.
async fn complete(ports: &Ports, hold: &Arc<Hold>, report: Report) -> Option<Lease> {
    let mut asks = hold.asks();
    loop {
        match ports.leases.complete(&hold.permit(), hold.attempt(), report.clone()).await {
            Ok(next) => return next,
            Err(LeaseError::Over) => {
                tracing::info!(attempt = %hold.attempt(), "the lease was over before its end was reported");
                return None;
            }
            Err(LeaseError::Unavailable(cause)) => {
                tracing::warn!(attempt = %hold.attempt(), cause, "an end could not be reported");
                if *asks.borrow_and_update() == Ask::Lost {
                    return None;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
