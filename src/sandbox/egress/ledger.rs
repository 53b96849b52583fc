//! What is kept of an attempt's connections: sums per host, however many there were.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Reach, Target};
use crate::domain::{Contact, ContactDenial, ContactFailure};

/// Hosts that are told apart beyond those that the step declares: a script chooses these names.
const UNDECLARED_MAX: usize = 16;
/// Under what name the rest is counted.
const OTHERS: &str = "others";

/// The sums of one attempt.
pub(super) struct Ledger {
    declared: Vec<(Target, Arc<Sum>)>,
    undeclared: Mutex<BTreeMap<String, BTreeMap<ContactDenial, u64>>>,
}

/// The sums of one declared host.
#[derive(Default)]
pub(super) struct Sum {
    connected: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    misses: Mutex<(BTreeMap<ContactFailure, u64>, BTreeMap<ContactDenial, u64>)>,
}

impl Sum {
    pub(super) fn connected(&self) {
        self.connected.fetch_add(1, Ordering::Relaxed);
    }
    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    pub(super) fn failed(&self, why: ContactFailure) {
        *self.misses.lock().unwrap_or_else(PoisonError::into_inner).0.entry(why).or_default() += 1;
    }
    pub(super) fn denied(&self, why: ContactDenial) {
        *self.misses.lock().unwrap_or_else(PoisonError::into_inner).1.entry(why).or_default() += 1;
    }
}

impl Ledger {
    pub(super) fn of(reach: &[Reach]) -> Self {
        let target = |one: &Reach| Target { host: one.host.host.clone(), port: one.host.port };
        let declared = reach.iter().map(|one| (target(one), Arc::default())).collect();
        Self { declared, undeclared: Mutex::default() }
    }

    /// The sums of a declared host.
    pub(super) fn sum(&self, target: &Target) -> Option<Arc<Sum>> {
        self.declared.iter().find(|(one, _)| one == target).map(|(_, sum)| Arc::clone(sum))
    }

    /// Counts what a client may not, under the name that it gave, if it gave any.
    pub(super) fn denied(&self, target: Option<&Target>, why: ContactDenial) {
        let mut known = self.undeclared.lock().unwrap_or_else(PoisonError::into_inner);
        let mut name = target.map_or_else(|| "proxy".to_owned(), ToString::to_string);
        if !known.contains_key(&name) && known.len() >= UNDECLARED_MAX {
            name = OTHERS.to_owned();
        }
        *known.entry(name).or_default().entry(why).or_default() += 1;
    }

    /// What there was so far; hosts that nobody went to are not in it.
    pub(super) fn contacts(&self) -> Vec<Contact> {
        let declared = self.declared.iter().map(|(target, sum)| {
            let misses = sum.misses.lock().unwrap_or_else(PoisonError::into_inner);
            Contact {
                host: target.to_string(),
                connected: sum.connected.load(Ordering::Relaxed),
                failed: misses.0.clone(),
                denied: misses.1.clone(),
                sent_bytes: sum.sent.load(Ordering::Relaxed),
                received_bytes: sum.received.load(Ordering::Relaxed),
            }
        });
        let undeclared = self.undeclared.lock().unwrap_or_else(PoisonError::into_inner);
        let undeclared = undeclared.iter().map(|(host, denied)| Contact {
            host: host.clone(),
            denied: denied.clone(),
            ..Contact::default()
        });
        declared.chain(undeclared).filter(|one| one.connected > 0 || !one.is_clean()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_script_makes_up_are_bounded() {
        let ledger = Ledger::of(&[]);
        for number in 0..1000 {
            let target = Target { host: format!("h{number:04}"), port: 1 };
            ledger.denied(Some(&target), ContactDenial::Undeclared);
        }
        ledger.denied(None, ContactDenial::Malformed);
        let contacts = ledger.contacts();
        assert_eq!(contacts.len(), UNDECLARED_MAX + 1);
        let others = contacts.iter().find(|one| one.host == OTHERS).unwrap();
        assert_eq!(others.denied[&ContactDenial::Undeclared], 1000 - UNDECLARED_MAX as u64);
        assert_eq!(others.denied[&ContactDenial::Malformed], 1);
    }

    #[test]
    fn a_host_that_nobody_went_to_is_not_told_of() {
        let reach = Reach { host: "a.example:443".parse().unwrap(), private: false };
        let ledger = Ledger::of(&[reach]);
        assert!(ledger.contacts().is_empty());
        let target = Target { host: "a.example".to_owned(), port: 443 };
        ledger.sum(&target).unwrap().connected();
        ledger.sum(&target).unwrap().sent(3);
        assert_eq!((ledger.contacts()[0].connected, ledger.contacts()[0].sent_bytes), (1, 3));
        assert!(ledger.sum(&Target { port: 80, ..target }).is_none());
    }
}
