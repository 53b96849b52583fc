//! An attempt in hand: its right, until when, and whether its end is asked for.

use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::sync::watch;

use crate::authz::{Permit, action};
use crate::broker::Door;
use crate::domain::{AttemptId, Length, Timestamp};
use crate::store::{Lease, Renewal};

/// A worker ends an attempt by itself this long before its lease does, when nobody renews it: two of them must never
/// run at one time. Source: design page `store.md`.
pub(super) const FENCE: Length = Length::from_secs(15);

/// What is asked of a running attempt. Later variants win over earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ask {
    /// To go on.
    GoOn,
    /// To end, with the cancel grace, and to report.
    Cancel,
    /// To end at once and to report nothing.
    Lost,
}

/// One attempt that this worker has.
pub(super) struct Hold {
    attempt: AttemptId,
    permit: Mutex<(Permit<action::Execute>, Timestamp)>,
    door: OnceLock<Door>,
    ask: watch::Sender<Ask>,
}

impl Hold {
    pub(super) fn of(lease: &Lease) -> Self {
        let ask = watch::Sender::new(if lease.cancel { Ask::Cancel } else { Ask::GoOn });
        let permit = Mutex::new((lease.permit.clone(), lease.until));
        Self { attempt: lease.attempt.clone(), permit, door: OnceLock::new(), ask }
    }

    pub(super) const fn attempt(&self) -> &AttemptId {
        &self.attempt
    }

    /// The right as last renewed.
    pub(super) fn permit(&self) -> Permit<action::Execute> {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// The door is renewed with the lease from now on.
    pub(super) fn give_door(&self, door: Door) {
        door.renew(&self.permit());
        let _ = self.door.set(door);
    }

    pub(super) fn asks(&self) -> watch::Receiver<Ask> {
        self.ask.subscribe()
    }

    /// Asks for an end; a lesser wish does not take back a greater one.
    pub(super) fn ask(&self, ask: Ask) {
        self.ask.send_if_modified(|known| {
            let greater = ask > *known;
            if greater {
                *known = ask;
            }
            greater
        });
    }

    /// Takes the answer to a renewal in.
    pub(super) fn renewed(&self, answer: &Renewal) {
        match answer {
            Renewal::Until { until, cancel } => {
                let permit = {
                    let mut held = self.permit.lock().unwrap_or_else(PoisonError::into_inner);
                    *held = (held.0.renewed(*until), *until);
                    held.0.clone()
                };
                if let Some(door) = self.door.get() {
                    door.renew(&permit);
                }
                if *cancel {
                    self.ask(Ask::Cancel);
                }
            }
            Renewal::Lost => self.ask(Ask::Lost),
        }
    }

    /// Gives the attempt up if its lease is about to end without having been renewed.
    pub(super) fn fence(&self, now: Timestamp) {
        let until = self.permit.lock().unwrap_or_else(PoisonError::into_inner).1;
        if now >= until - FENCE {
            self.ask(Ask::Lost);
        }
    }
}
