//! Who is calling, and the one way from a caller to a permit: decided, and audited where it is denied.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::{Ports, Problem};
use crate::authz::{
    Action, Denied, Facts, Permit, PlatformAction, Refusal, action, decide, decide_platform, decide_step,
};
use crate::domain::{
    Actor, ActualState, Approver, AuditEntry, Length, Platform, RunId, StepId, TenantId, Timestamp, UserId,
};
use crate::login::{Caller, identify};
use crate::store::AppliedPlatform;

/// The uid at the other end of the socket, as the kernel tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The uid.
    pub uid: u32,
}

/// What every handler has: the ports, and what is remembered so that the audit does not drown.
#[derive(Clone)]
pub struct Guard(Arc<Inside>);

struct Inside {
    ports: Ports,
    seen: Mutex<BTreeMap<Seen, (Timestamp, u64)>>,
}

/// Names what is recorded once in a while: a denial, or the reading of a run's output.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    actor: Actor,
    scope: String,
    action: &'static str,
}

/// Entries that are remembered; beyond, the oldest is forgotten and recorded again.
const SEEN_MAX: usize = 4096;
/// How long a denial is counted instead of stored again.
const DENIALS_WITHIN: Length = Length::from_secs(60);
/// How long reading one run's output counts as one reading.
const READS_WITHIN: Length = Length::from_secs(3600);

impl Guard {
    /// Takes the ports.
    #[must_use]
    pub fn new(ports: Ports) -> Self {
        Self(Arc::new(Inside { ports, seen: Mutex::new(BTreeMap::new()) }))
    }
    pub(super) fn ports(&self) -> &Ports {
        &self.0.ports
    }
    pub(super) async fn now(&self) -> Result<Timestamp, Problem> {
        Ok(self.0.ports.store.now((self.0.ports.clock)()).await?)
    }

    /// How often this was seen since it was last recorded, if it is to be recorded now.
    fn record(&self, seen: Seen, within: Length, now: Timestamp) -> Option<u64> {
        let mut all = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, more)) = all.get_mut(&seen) {
            if now.since(*since) < within {
                *more += 1;
                return None;
            }
            let missed = *more;
            (*since, *more) = (now, 0);
            return Some(missed);
        }
        if all.len() >= SEEN_MAX {
            let oldest = all.iter().min_by_key(|(_, (since, _))| *since).map(|(seen, _)| seen.clone());
            oldest.map(|oldest| all.remove(&oldest));
        }
        all.insert(seen, (now, 0));
        Some(0)
    }
}

/// One request of somebody known.
pub(super) struct Session {
    pub(super) guard: Guard,
    pub(super) caller: Caller,
    pub(super) platform: Option<Arc<AppliedPlatform>>,
    pub(super) now: Timestamp,
}

/// The header by which `--as` travels.
pub(super) const AS_HEADER: &str = "x-tenantry-as";

impl FromRequestParts<Guard> for Session {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, guard: &Guard) -> Result<Self, Problem> {
        let Some(ConnectInfo(peer)) = parts.extensions.get::<ConnectInfo<Peer>>().copied() else {
            return Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "nobody is known here: use the socket in the data directory",
            ));
        };
        let wanted: Option<UserId> = match parts.headers.get(AS_HEADER) {
            None => None,
            Some(name) => {
                let name = name.to_str().ok().and_then(|name| name.parse().ok());
                Some(name.ok_or_else(|| Problem::malformed("`--as` takes the name of a person"))?)
            }
        };
        let platform = guard.ports().store.platform().await?;
        let caller = identify(
            peer.uid,
            wanted.as_ref(),
            &guard.ports().trust,
            platform.as_ref().map(|applied| &applied.platform),
        )?;
        let now = guard.now().await?;
        Ok(Self { guard: guard.clone(), caller, platform, now })
    }
}

impl Session {
    pub(super) fn ports(&self) -> &Ports {
        self.guard.ports()
    }
    pub(super) fn platform(&self) -> Option<&Platform> {
        self.platform.as_ref().map(|applied| &applied.platform)
    }

    /// Decides `A` in a tenant; a denial is audited. A name that can be no tenant and one that is none read alike.
    pub(super) async fn permit<A: Action>(
        &self,
        tenant: &str,
    ) -> Result<(Permit<A>, Arc<ActualState>), Problem> {
        let hidden = || Refusal {
            denied: Denied::NotFound,
            action: A::NAME,
            reason: "there is no such tenant".to_owned(),
            hint: None,
        };
        let Ok(id) = tenant.parse::<TenantId>() else { return Err(hidden().into()) };
        let Some(actual) = self.ports().store.access(&id).await? else {
            self.denied(None, &format!("tenant:{id}"), &hidden()).await?;
            return Err(hidden().into());
        };
        match self.decide::<A>(&actual) {
            Ok(permit) => Ok((permit, actual)),
            Err(refusal) => {
                self.denied(Some(&id), &format!("tenant:{id}"), &refusal).await?;
                Err(refusal.into())
            }
        }
    }

    /// Decides `A` over a state that was just read; says nothing to the audit.
    pub(super) fn decide<A: Action>(&self, actual: &ActualState) -> Result<Permit<A>, Refusal> {
        decide::<A>(&self.caller.actor, &Facts::of(actual, self.platform()), self.now)
    }

    /// Decides whether this caller may answer an approval; a denial is audited.
    pub(super) async fn decide_step(
        &self,
        actual: &ActualState,
        from: &[Approver],
        run: &RunId,
        step: &StepId,
    ) -> Result<Permit<action::ApproveStep>, Problem> {
        match decide_step(&self.caller.actor, &Facts::of(actual, self.platform()), from, self.now) {
            Ok(permit) => Ok(permit),
            Err(refusal) => {
                self.denied(Some(&actual.tenant), &format!("step:{run}/{step}"), &refusal).await?;
                Err(refusal.into())
            }
        }
    }

    /// Whether a person could answer an approval now.
    pub(super) fn could_answer(&self, person: &UserId, actual: &ActualState, from: &[Approver]) -> bool {
        let actor = Actor::User(person.clone());
        decide_step(&actor, &Facts::of(actual, self.platform()), from, self.now).is_ok()
    }

    /// Decides about the health of a tenant out of many, without its grants where they do not matter.
    pub(super) async fn health(
        &self,
        head: &crate::store::TenantHead,
    ) -> Result<Option<Permit<action::ViewHealth>>, Problem> {
        let light = Facts::without_grants(head.standing(), self.platform());
        if let Ok(permit) = decide(&self.caller.actor, &light, self.now) {
            return Ok(Some(permit));
        }
        let Some(actual) = self.ports().store.access(&head.tenant).await? else { return Ok(None) };
        Ok(self.decide(&actual).ok())
    }

    /// Decides what belongs to no tenant.
    pub(super) async fn platform_action(&self, action: PlatformAction) -> Result<(), Problem> {
        match decide_platform(&self.caller.actor, action, self.platform()) {
            Ok(()) => Ok(()),
            Err(refusal) => {
                self.denied(None, "platform", &refusal).await?;
                Err(refusal.into())
            }
        }
    }

    /// An entry about what this caller does in a tenant.
    pub(super) fn entry(
        &self,
        tenant: Option<&TenantId>,
        action: &str,
        resource: impl Into<String>,
        reason: &str,
    ) -> AuditEntry {
        let proof = &self.caller.proof;
        AuditEntry {
            at: self.now,
            tenant: tenant.cloned(),
            actor: self.caller.actor.clone(),
            action: action.to_owned(),
            resource: resource.into(),
            allowed: true,
            reason: if reason.is_empty() { proof.clone() } else { format!("{reason} ({proof})") },
            commit: None,
            run: None,
        }
    }

    async fn denied(
        &self,
        tenant: Option<&TenantId>,
        resource: &str,
        refusal: &Refusal,
    ) -> Result<(), Problem> {
        // Guesses at names that no tenant has count as one thing, or a list of words would fill the audit.
        let scope = tenant.map_or_else(String::new, ToString::to_string);
        let seen = Seen { actor: self.caller.actor.clone(), scope, action: refusal.action };
        let Some(missed) = self.guard.record(seen, DENIALS_WITHIN, self.now) else { return Ok(()) };
        let mut reason = refusal.reason.clone();
        if missed > 0 {
            reason = format!("{reason}; {missed} more like it before");
        }
        let entry = self.entry(tenant, &format!("{}.denied", refusal.action), resource, &reason);
        // A no needs no record to be a no: where none can be written, it stands in the log alone.
        if let Err(error) = self.ports().store.append_audit(AuditEntry { allowed: false, ..entry }).await {
            tracing::warn!(%error, action = refusal.action, "a denial could not be recorded");
        }
        Ok(())
    }

    /// Records that somebody reads a run's output, once per person, run and hour, before the first byte.
    pub(super) async fn reads_logs(&self, tenant: &TenantId, run: &RunId) -> Result<(), Problem> {
        let seen = Seen { actor: self.caller.actor.clone(), scope: run.to_string(), action: "logs.read" };
        if self.guard.record(seen, READS_WITHIN, self.now).is_none() {
            return Ok(());
        }
        let entry = self.entry(Some(tenant), "logs.read", format!("run:{run}"), "");
        Ok(self.ports().store.append_audit(AuditEntry { run: Some(run.clone()), ..entry }).await?)
    }
}
