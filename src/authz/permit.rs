//! Permits: proof that a decision was made, for one action in one tenant until an end.

use std::fmt;
use std::marker::PhantomData;

use crate::domain::{Actor, TenantId, Timestamp};

/// An action that can be permitted. The types that implement it stand in [`action`]; no others can.
pub trait Action: sealed::Sealed + Send + Sync + 'static {
    /// Its name as in audit records and messages.
    const NAME: &'static str;
}

mod sealed {
    pub trait Sealed {}
}

/// The actions, one type each.
pub mod action {
    use super::{Action, sealed};

    macro_rules! actions {
        ($($(#[$doc:meta])* $type:ident = $name:literal;)*) => {
            $(
                $(#[$doc])*
                #[derive(Clone, Copy, Debug, PartialEq, Eq)]
                pub struct $type;
                impl sealed::Sealed for $type {}
                impl Action for $type {
                    const NAME: &'static str = $name;
                }
            )*
        };
    }

    actions! {
        /// Reads tenant, workflows, runs and redacted logs.
        View = "view";
        /// Reads state, since, counts, cause class and owner.
        ViewHealth = "view-health";
        /// Reads secret metadata, access and audit.
        ViewAccess = "view-access";
        /// Starts or reruns a workflow.
        Start = "start";
        /// Cancels a run.
        Cancel = "cancel";
        /// Pauses, resumes, pins, suspends.
        Steer = "steer";
        /// Brings a tenant to a revision.
        Reconcile = "reconcile";
        /// Makes runs whose time has come.
        Schedule = "schedule";
        /// Executes one leased attempt.
        Execute = "execute";
        /// Opens secrets for one leased attempt.
        ReadSecret = "read-secret";
        /// Revokes a version.
        Revoke = "revoke";
        /// Releases what is held.
        Release = "release";
    }
}

/// Proof that `A` was decided for one actor in one tenant. Made by this room only.
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

impl<A: Action> Permit<A> {
    /// The only constructor; private to the room.
    pub(super) fn new(
        actor: Actor,
        tenant: TenantId,
        incarnation: u32,
        authority: u64,
        expires: Timestamp,
    ) -> Self {
        Self { actor, tenant, incarnation, authority, expires, _action: PhantomData }
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
}

impl<A: Action> fmt::Debug for Permit<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit<{}>({} in {} until {})", A::NAME, self.actor, self.tenant, self.expires)
    }
}

/// How long a permit of the daemon's own parts counts: long enough for one pass, short enough to matter.
const DAEMON_PERMIT: crate::domain::Length = crate::domain::Length::from_secs(15 * 60);

impl Permit<action::Reconcile> {
    /// The fixed right of `daemon:reconcile` in a live tenant, or in one about to become live.
    #[must_use]
    pub fn for_reconcile(tenant: TenantId, incarnation: u32, authority: u64, now: Timestamp) -> Self {
        Self::new(
            Actor::Daemon(crate::domain::DaemonPart::Reconcile),
            tenant,
            incarnation,
            authority,
            now + DAEMON_PERMIT,
        )
    }
}

impl Permit<action::Schedule> {
    /// The fixed right of `daemon:schedule` in a live tenant.
    #[must_use]
    pub fn for_schedule(tenant: TenantId, incarnation: u32, authority: u64, now: Timestamp) -> Self {
        Self::new(
            Actor::Daemon(crate::domain::DaemonPart::Schedule),
            tenant,
            incarnation,
            authority,
            now + DAEMON_PERMIT,
        )
    }
}

impl Permit<action::Execute> {
    /// The fixed right of a worker over one attempt that the store leased to it, until the lease ends.
    #[must_use]
    pub fn for_lease(
        worker: &str,
        tenant: TenantId,
        incarnation: u32,
        authority: u64,
        lease_until: Timestamp,
    ) -> Self {
        Self::new(Actor::Worker(worker.to_owned()), tenant, incarnation, authority, lease_until)
    }
    /// The right to open the secrets that the leased step declares, which ends with the lease.
    #[must_use]
    pub fn read_secret(&self) -> Permit<action::ReadSecret> {
        Permit::new(self.actor.clone(), self.tenant.clone(), self.incarnation, self.authority, self.expires)
    }
    /// The same right until the end of a renewed lease.
    #[must_use]
    pub fn renewed(&self, lease_until: Timestamp) -> Self {
        Self::new(self.actor.clone(), self.tenant.clone(), self.incarnation, self.authority, lease_until)
    }
}
