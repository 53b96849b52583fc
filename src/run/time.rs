//! What time does to a run: how much of it counts, what is due, when to look again.

use sha2::{Digest, Sha256};

use super::{ItemState, RunState};
use crate::domain::{Length, Phase, Retry, RunPins, Step, Timestamp};

/// The worker ends an attempt at its timeout; this much later the machine does, whatever the worker says.
const TIMEOUT_SLACK: Length = Length::from_secs(60);
/// The time a worker has to end an attempt when asked: the grace of the sandbox, and as much again for reporting.
const STOP_MAX: Length = Length::from_secs(120);

/// Why an item needs a look.
pub(super) enum Due {
    /// Its wait is over.
    Retry,
    /// Its lease is.
    Lost,
    /// It was asked to end and did not.
    Unstopped,
    /// Its timeout has passed and its worker renews all the same.
    TooLong,
}

/// What is due for an item, the first in the order of the variants.
pub(super) fn due(item: &ItemState, step: &Step, now: Timestamp) -> Option<Due> {
    match item.phase {
        Phase::Waiting => item.retry_at.filter(|at| now >= *at).map(|_| Due::Retry),
        Phase::Running => {
            if item.lease_until.is_none_or(|until| now > until) {
                Some(Due::Lost)
            } else if item.stopping_since.is_some_and(|since| now >= since + STOP_MAX) {
                Some(Due::Unstopped)
            } else if item.leased_at.is_some_and(|at| now >= at + step.timeout + TIMEOUT_SLACK) {
                Some(Due::TooLong)
            } else {
                None
            }
        }
        Phase::Queued | Phase::Ended => None,
    }
}

/// When the run's own time is over, if it is running: its `timeout` less what it has used.
pub(super) fn run_ends(pins: &RunPins, state: &RunState) -> Option<Timestamp> {
    let left = pins.workflow.timeout.as_millis().saturating_sub(state.used_millis);
    state.counting_since.map(|since| since + Length::from_millis(left))
}

/// Starts and stops the count: time counts while an attempt of a main step runs, not while all of them wait.
pub(super) fn count(pins: &RunPins, state: &mut RunState, now: Timestamp) {
    let running = pins
        .workflow
        .steps
        .iter()
        .filter_map(|step| state.steps.get(&step.id))
        .any(|step| step.items.iter().any(|item| item.phase == Phase::Running));
    match (state.counting_since, running) {
        (None, true) => state.counting_since = Some(now),
        (Some(since), false) => {
            state.used_millis = state.used_millis.saturating_add(now.since(since).as_millis());
            state.counting_since = None;
        }
        (None, false) | (Some(_), true) => {}
    }
}

/// The next time at which [`super::RunEvent::Tick`] may change something; `None` if only news can.
#[must_use]
pub fn next_wake(pins: &RunPins, state: &RunState) -> Option<Timestamp> {
    let asked = state.steps.values().filter_map(super::approval::open).map(|open| open.until);
    let asked = if state.outcome.is_none() { asked.min() } else { None };
    asked.into_iter().chain(goes_on(pins, state)).min()
}

/// The next time at which a run goes on whether people answer or not: an attempt again, a lease that ran out, the end
/// of the run's time. `None` if it waits for people or for nothing.
#[must_use]
pub fn goes_on(pins: &RunPins, state: &RunState) -> Option<Timestamp> {
    if state.outcome.is_some() {
        return None;
    }
    let items = state
        .steps
        .iter()
        .filter_map(|(id, step)| Some((pins.workflow.step(id)?, step)))
        .flat_map(|(declared, step)| step.items.iter().filter_map(move |item| wake_of(item, declared)));
    let run = if state.cancel.is_none() { run_ends(pins, state) } else { None };
    items.chain(run).min()
}

fn wake_of(item: &ItemState, step: &Step) -> Option<Timestamp> {
    match item.phase {
        Phase::Waiting => item.retry_at,
        Phase::Running => {
            let lost = item.lease_until.map(|until| until + Length::from_millis(1));
            let unstopped = item.stopping_since.map(|since| since + STOP_MAX);
            let too_long = item.leased_at.map(|at| at + step.timeout + TIMEOUT_SLACK);
            [lost, unstopped, too_long].into_iter().flatten().min()
        }
        Phase::Queued | Phase::Ended => None,
    }
}

/// The wait after the `tries`-th failure: doubled each time up to `max`, and with jitter between half of it and all of
/// it. The same `seed` and number of tries give the same wait, so that a replay is a replay.
pub(super) fn backoff(retry: &Retry, tries: u32, seed: &str) -> Length {
    let doubled = 1_u64.checked_shl(tries.saturating_sub(1)).unwrap_or(u64::MAX);
    let wait = retry.backoff.as_millis().saturating_mul(doubled).min(retry.max.as_millis());
    if !retry.jitter {
        return Length::from_millis(wait);
    }
    let digest = Sha256::digest(format!("{seed}/{tries}").as_bytes());
    let number = digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    Length::from_millis(wait / 2 + number % (wait / 2 + 1))
}
