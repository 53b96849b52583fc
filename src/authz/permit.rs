//! Permits: proof that a decision was made, for one action in one tenant until an end.

use std::fmt;
use std::marker::PhantomData;

use super::action::{self, Action};
use super::decide::{Denied, Refusal};
use crate::domain::{Actor, ActualState, DaemonPart, Length, TenantId, Timestamp, UserId};

/// Proof that `A` was decided for one actor in one tenant. Made by this room only.
///
/// It names the tenant, so that whoever takes one needs no tenant beside it and cannot be asked for another's.
#[derive(Clone, PartialEq, Eq)]
pub struct Permit<A: Action> {
    actor: Actor,
    tenant: TenantId,
    incarnation: u32,
    authority: u64,
    expires: Timestamp,
    _action: PhantomData<fn() -> A>,
}

/// A permit has run out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the right to {action} in this tenant ended at {at}")]
pub struct Expired {
    /// What was permitted.
    pub action: &'static str,
    /// When it ended.
    pub at: Timestamp,
}

/// What every decision rests on: which tenant of that name, under which authority number, and whether it lives.
///
/// Read from the store; nothing else makes one (`tests/it/permits.rs` looks for it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    tenant: TenantId,
    incarnation: u32,
    authority: u64,
    live: bool,
}

impl Standing {
    /// As it stands in the store's row of a tenant.
    #[must_use]
    pub fn stored(tenant: TenantId, incarnation: u32, authority: u64, removed: bool) -> Self {
        Self { tenant, incarnation, authority, live: !removed }
    }
    /// Of a tenant that the store has never seen.
    #[must_use]
    pub fn unseen(tenant: TenantId) -> Self {
        Self::of(&ActualState::empty(tenant))
    }
    /// As it follows from a whole actual state.
    #[must_use]
    pub fn of(actual: &ActualState) -> Self {
        Self {
            tenant: actual.tenant.clone(),
            incarnation: actual.incarnation,
            authority: actual.authority,
            live: actual.removed.is_none(),
        }
    }
    /// Whose.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    /// Whether Git has the tenant.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }
}

impl<A: Action> Permit<A> {
    /// The only constructor; private to the room.
    pub(super) fn new(actor: Actor, standing: &Standing, expires: Timestamp) -> Self {
        Self {
            actor,
            tenant: standing.tenant.clone(),
            incarnation: standing.incarnation,
            authority: standing.authority,
            expires,
            _action: PhantomData,
        }
    }
    /// The tenant, whether or not the permit still counts; for messages and paths.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    /// The tenant, if the permit still counts.
    ///
    /// # Errors
    /// [`Expired`] from the instant of its end on.
    pub fn tenant_at(&self, now: Timestamp) -> Result<&TenantId, Expired> {
        if now < self.expires { Ok(&self.tenant) } else { Err(Expired { action: A::NAME, at: self.expires }) }
    }
    /// Who may.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }
    /// Which tenant of that name.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }
    /// The authority number it was decided under; the store refuses an older one than its own.
    #[must_use]
    pub fn authority(&self) -> u64 {
        self.authority
    }
    /// When it ends.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.expires
    }
    /// The same decision for another action; private to the room.
    fn turned<B: Action>(&self, expires: Timestamp) -> Permit<B> {
        Permit {
            actor: self.actor.clone(),
            tenant: self.tenant.clone(),
            incarnation: self.incarnation,
            authority: self.authority,
            expires,
            _action: PhantomData,
        }
    }
}

impl<A: Action> fmt::Debug for Permit<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit<{}>({} in {} until {})", A::NAME, self.actor, self.tenant, self.expires)
    }
}

/// How long a permit counts that rests on nothing with an end: long enough for one pass or one request, short
/// enough that nobody can live on an old one.
pub(super) const PERMIT_LENGTH: Length = Length::from_secs(15 * 60);

impl Permit<action::Reconcile> {
    /// The fixed right of `daemon:reconcile`: in a live tenant, and in one that comes, goes or returns.
    #[must_use]
    pub fn for_reconcile(standing: &Standing, now: Timestamp) -> Self {
        Self::new(Actor::Daemon(DaemonPart::Reconcile), standing, now + PERMIT_LENGTH)
    }
}

impl Permit<action::Schedule> {
    /// The fixed right of `daemon:schedule` in a live tenant.
    ///
    /// # Errors
    /// [`Refusal`] in a tenant that Git no longer has.
    pub fn for_schedule(standing: &Standing, now: Timestamp) -> Result<Self, Refusal> {
        if standing.live {
            Ok(Self::new(Actor::Daemon(DaemonPart::Schedule), standing, now + PERMIT_LENGTH))
        } else {
            Err(Refusal::new(Denied::NotFound, action::Schedule::KIND, "the tenant is not live"))
        }
    }
}

impl Permit<action::Cancel> {
    /// The right of the person at the terminal to end the run of a work tree, in a store that lives in this process
    /// and holds that run alone. In a store that others share nobody has it but by a role.
    #[must_use]
    pub fn for_work_tree(uid: u32, standing: &Standing, now: Timestamp) -> Self {
        Self::new(Actor::Local(uid), standing, now + PERMIT_LENGTH)
    }
}

impl Permit<action::ApproveStep> {
    /// The right of the person at the terminal to answer what the run of a work tree asks, under the same conditions.
    #[must_use]
    pub fn for_work_tree(person: UserId, standing: &Standing, now: Timestamp) -> Self {
        Self::new(Actor::User(person), standing, now + PERMIT_LENGTH)
    }
}

impl Permit<action::Receive> {
    /// The right to open the secret that signs the hook, which ends with this one.
    #[must_use]
    pub fn read_secret(&self) -> Permit<action::ReadSecret> {
        self.turned(self.expires)
    }
}

impl Permit<action::Alert> {
    /// The right to open the secret that a route is called with, which ends with this one.
    #[must_use]
    pub fn read_secret(&self) -> Permit<action::ReadSecret> {
        self.turned(self.expires)
    }
}

impl Permit<action::Start> {
    /// The right to open what a run of this tenant left, to run it again, which ends with this one.
    #[must_use]
    pub fn read_payload(&self) -> Permit<action::ReadSecret> {
        self.turned(self.expires)
    }
}

impl Permit<action::Execute> {
    /// The fixed right of a worker over one attempt that the store leased to it, until the lease ends.
    #[must_use]
    pub fn for_lease(worker: &str, standing: &Standing, lease_until: Timestamp) -> Self {
        Self::new(Actor::Worker(worker.to_owned()), standing, lease_until)
    }
    /// The right to open the secrets that the leased step declares, which ends with the lease.
    #[must_use]
    pub fn read_secret(&self) -> Permit<action::ReadSecret> {
        self.turned(self.expires)
    }
    /// The same right until the end of a renewed lease. The store compares it with its own row each time.
    #[must_use]
    pub fn renewed(&self, lease_until: Timestamp) -> Self {
        self.turned(lease_until)
    }
}
