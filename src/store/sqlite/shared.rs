//! What the writer and the readers share: the key of the MACs, the clock, and what was read before.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::sync::Notify;

use crate::domain::{ActualState, Clock, RunPins, TenantId, Timestamp};
use crate::store::pending::LastFetch;
use crate::store::rows::{Document, Found, RunKey, Scope};
use crate::store::{Sealer, StoreError, TenantHead};

/// The most states of tenants that are kept.
const STATES_MAX: usize = 512;
/// The most pins of runs that are kept.
const PINS_MAX: usize = 1_024;

pub(super) struct Shared {
    pub(super) clock: Clock,
    key: Vec<u8>,
    recorded: AtomicI64,
    /// Numbers versions of tenants' rows. Never given twice while this process holds the directory, so that a
    /// version that was rolled back is not taken for another.
    version: AtomicI64,
    states: Mutex<HashMap<Scope, (i64, Arc<ActualState>)>>,
    pins: Mutex<HashMap<RunKey, Arc<RunPins>>>,
    pub(super) heads: Mutex<Heads>,
    pub(super) documents: Mutex<Documents>,
    /// Told when somebody begins to wait for an operation that nobody waited for.
    pub(super) waited_for: Arc<Notify>,
    pub(super) last_fetch: LastFetch,
    /// Who encrypts what a run leaves; set once, by whoever opens the store for a daemon.
    pub(super) sealer: OnceLock<Sealer>,
    /// Told after each commit that left something to lease.
    pub(super) queued: Arc<Notify>,
    /// Held by whoever brings the heads up to date, so that an older reading never comes after a newer one.
    pub(super) refresh: tokio::sync::Mutex<()>,
}

/// The list of tenants as last read, and what of it has changed since.
#[derive(Default)]
pub(super) struct Heads {
    pub(super) known: BTreeMap<TenantId, Arc<TenantHead>>,
    /// What has changed, each with the number of its last change.
    pub(super) stale: BTreeMap<TenantId, u64>,
    changes: u64,
    pub(super) list: Option<Arc<[Arc<TenantHead>]>>,
    pub(super) loaded: bool,
}

impl Heads {
    /// Notes that tenants have changed.
    pub(super) fn touch(&mut self, tenants: BTreeSet<TenantId>) {
        for tenant in tenants {
            self.changes += 1;
            self.stale.insert(tenant, self.changes);
            self.list = None;
        }
    }
    /// Forgets changes that were read, unless another came since.
    pub(super) fn settle(&mut self, read: &BTreeMap<TenantId, u64>) {
        self.stale.retain(|tenant, change| read.get(tenant) != Some(change));
    }
}

type Known = Option<Arc<dyn Any + Send + Sync>>;

/// What stands once for the whole store, as last read.
#[derive(Default)]
pub(super) struct Documents {
    known: BTreeMap<Document, Known>,
    /// Counts what was written, so that a reading from before it is not remembered after it.
    changes: u64,
}

impl Documents {
    /// What is known, or a number to [`Documents::learn`] it under.
    pub(super) fn known(&self, document: Document) -> Result<Known, u64> {
        self.known.get(&document).cloned().ok_or(self.changes)
    }
    pub(super) fn learn(&mut self, document: Document, before: u64, found: Known) {
        if before == self.changes {
            self.known.insert(document, found);
        }
    }
    /// Forgets what was written.
    pub(super) fn touch(&mut self, written: &BTreeSet<Document>) {
        if !written.is_empty() {
            self.changes += 1;
            self.known.retain(|document, _| !written.contains(document));
        }
    }
}

/// What a poisoned lock guards is whole: nothing here panics while it is half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(clock: Clock, key: Vec<u8>, recorded: Timestamp, version: i64) -> Self {
        Self {
            clock,
            key,
            queued: Arc::default(),
            recorded: AtomicI64::new(recorded.as_millis()),
            version: AtomicI64::new(version),
            states: Mutex::default(),
            pins: Mutex::default(),
            heads: Mutex::default(),
            documents: Mutex::default(),
            waited_for: Arc::default(),
            last_fetch: LastFetch::default(),
            sealer: OnceLock::new(),
            refresh: tokio::sync::Mutex::default(),
        }
    }
    /// The latest time that a transaction recorded.
    pub(super) fn recorded(&self) -> Timestamp {
        Timestamp::from_millis(self.recorded.load(Ordering::Acquire))
    }
    pub(super) fn record(&self, time: Timestamp) {
        self.recorded.fetch_max(time.as_millis(), Ordering::AcqRel);
    }
    pub(super) fn fresh_version(&self) -> i64 {
        self.version.fetch_add(1, Ordering::Relaxed) + 1
    }
    pub(super) fn known_state(&self, scope: &Scope, version: i64) -> Option<Arc<ActualState>> {
        let states = lock(&self.states);
        states.get(scope).filter(|(known, _)| *known == version).map(|(_, state)| Arc::clone(state))
    }
    pub(super) fn learn_state(&self, scope: Scope, version: i64, state: &Arc<ActualState>) {
        let mut states = lock(&self.states);
        make_room(&mut states, STATES_MAX);
        states.insert(scope, (version, Arc::clone(state)));
    }
    pub(super) fn known_pins(&self, run: &RunKey) -> Option<Arc<RunPins>> {
        lock(&self.pins).get(run).map(Arc::clone)
    }
    pub(super) fn learn_pins(&self, run: RunKey, pins: &Arc<RunPins>) {
        let mut known = lock(&self.pins);
        make_room(&mut known, PINS_MAX);
        known.insert(run, Arc::clone(pins));
    }
    /// Forgets pins that were written anew.
    pub(super) fn forget_pins(&self, runs: &[RunKey]) {
        if !runs.is_empty() {
            lock(&self.pins).retain(|run, _| !runs.contains(run));
        }
    }
    /// The MAC over what a row says; the parts are separated so that none can grow into the next.
    pub(super) fn mac(&self, kind: &str, parts: &[&str]) -> Vec<u8> {
        self.hashed(kind, parts).finalize().into_bytes().to_vec()
    }
    /// # Errors
    /// [`StoreError::Corrupt`] if the row was not written by a holder of the key: it gives no access.
    pub(super) fn check_mac(&self, kind: &'static str, parts: &[&str], mac: &[u8]) -> Found<()> {
        self.hashed(kind, parts).verify_slice(mac).map_err(|_| StoreError::Corrupt {
            what: kind,
            message: "it was changed by somebody without the key in `keys/store`: it gives no access; \
                      restore a backup, or delete the database and reconcile"
                .to_owned(),
        })
    }
    fn hashed(&self, kind: &str, parts: &[&str]) -> Hmac<Sha256> {
        // INVARIANT: HMAC takes keys of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).unwrap_or_else(|_| unreachable!());
        for part in std::iter::once(&kind).chain(parts) {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac
    }
}

/// Drops half of a full map: it is a memory of what the database has, and any half will do.
fn make_room<K: Clone + Eq + Hash, V>(map: &mut HashMap<K, V>, max: usize) {
    if map.len() >= max {
        let mut keep = false;
        map.retain(|_, _| {
            keep = !keep;
            keep
        });
    }
}
