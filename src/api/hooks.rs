//! Incoming hooks: the one place where somebody unknown is heard, by what he signed.
//!
//! Whatever is wrong with a request, its path or its signature gives one answer, after one time: nobody learns here
//! which tenants and workflows there are. Source: design page `interfaces.md`, "HTTP".

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::Problem;
use crate::authz::{
    Facts, HOOK_HEADERS, HOOK_SECRET_BYTES_MIN, HookDelivery, Permit, action, decide, verify_hook,
};
use crate::broker::Broker;
use crate::domain::{Actor, ActualState, Clock, DaemonPart, FreshIds, TenantId, Timestamp, WorkflowId};
use crate::queue::{self, Hook, NotQueued};
use crate::store::{Started, Store};

/// Bytes of a body. Source: design page `interfaces.md`, "HTTP".
pub const HOOK_BYTES_MAX: usize = 256 * 1000;
/// How long whoever is refused waits for it, so that the time tells no more than the words. Longer than it takes to
/// open a few versions of a secret.
const REFUSED_AFTER: Duration = Duration::from_millis(300);
/// Requests for one path that are heard at once; from then on one more each [`REFILL_MS`].
const BURST: u32 = 30;
/// Milliseconds after which a path is heard once more.
const REFILL_MS: u64 = 500;
/// Paths that are counted; beyond, the one that was quiet longest is forgotten.
const PATHS_MAX: usize = 4096;

/// What hooks are answered with.
#[derive(Clone)]
pub struct Hooks(Arc<Inside>);

struct Inside {
    store: Arc<dyn Store>,
    broker: Broker,
    clock: Clock,
    ids: FreshIds,
    heard: Mutex<BTreeMap<(String, String), Heard>>,
}

/// How much of a path's burst is used.
#[derive(Clone, Copy)]
struct Heard {
    used: u32,
    at: Timestamp,
}

impl Hooks {
    /// Takes what it works with.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, broker: Broker, clock: Clock, ids: FreshIds) -> Self {
        Self(Arc::new(Inside { store, broker, clock, ids, heard: Mutex::default() }))
    }

    /// Whether one more request for a path is heard. Unknown paths count as known ones do.
    fn hears(&self, path: (&str, &str), now: Timestamp) -> bool {
        let mut all = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (path.0.to_owned(), path.1.to_owned());
        if !all.contains_key(&key) && all.len() >= PATHS_MAX {
            let oldest = all.iter().min_by_key(|(_, heard)| heard.at).map(|(key, _)| key.clone());
            oldest.map(|oldest| all.remove(&oldest));
        }
        let heard = all.entry(key).or_insert(Heard { used: 0, at: now });
        let refilled = now.since(heard.at).as_millis() / REFILL_MS;
        if refilled > 0 {
            heard.used = heard.used.saturating_sub(u32::try_from(refilled).unwrap_or(u32::MAX));
            heard.at = now;
        }
        let room = heard.used < BURST;
        if room {
            heard.used += 1;
        }
        room
    }
}

/// A hook that may be heard: whose it is, and the right to open its secret.
struct Known {
    permit: Permit<action::Receive>,
    actual: Arc<ActualState>,
    workflow: WorkflowId,
}

/// Takes a hook in.
pub(super) async fn receive(
    State(hooks): State<Hooks>,
    Path((tenant, workflow)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let began = tokio::time::Instant::now();
    let now = (hooks.0.clock)();
    if !hooks.hears((&tenant, &workflow), now) {
        let mut response = Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_requests",
            "too many requests for this hook",
        )
        .into_response();
        response.headers_mut().insert("retry-after", HeaderValue::from_static("1"));
        return response;
    }
    match hooks.take(&tenant, &workflow, &headers, &body).await {
        Ok(answer) => answer,
        Err(Refused) => {
            tokio::time::sleep_until(began + REFUSED_AFTER).await;
            let detail = "there is no such hook, or the request is not signed with its secret";
            Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).into_response()
        }
    }
}

/// The one answer to everything that was not signed.
struct Refused;

impl Hooks {
    async fn take(
        &self,
        tenant: &str,
        workflow: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response, Refused> {
        // Without any signature nothing is looked up, and nothing is written.
        let signed: BTreeMap<&'static str, String> = HOOK_HEADERS
            .iter()
            .filter_map(|name| {
                let mut all = headers.get_all(*name).iter();
                let first = all.next().filter(|_| all.next().is_none())?;
                Some((*name, first.to_str().ok()?.to_owned()))
            })
            .collect();
        if signed.is_empty() {
            return Err(Refused);
        }
        let now = self.0.store.now((self.0.clock)()).await.map_err(|_| Refused)?;
        let known = self.known(tenant, workflow, now).await.ok_or(Refused)?;
        let delivery = self.verified(&known, &signed, body, now).await.ok_or(Refused)?;
        Ok(self.start(&known, &delivery, headers, body, now).await)
    }

    /// The tenant and workflow of a path, if they have a hook and the tenant is live.
    async fn known(&self, tenant: &str, workflow: &str, now: Timestamp) -> Option<Known> {
        let (tenant, workflow): (TenantId, WorkflowId) = (tenant.parse().ok()?, workflow.parse().ok()?);
        let actual = self.0.store.access(&tenant).await.ok()??;
        let actor = Actor::Daemon(DaemonPart::Webhook);
        let permit = decide::<action::Receive>(&actor, &Facts::of(&actual, None), now).ok()?;
        actual.workflows(now)?.get(&workflow)?.triggers.webhook.as_ref()?;
        Some(Known { permit, actual, workflow })
    }

    /// The delivery, if it was signed with an accepted version of the hook's secret.
    async fn verified(
        &self,
        known: &Known,
        signed: &BTreeMap<&'static str, String>,
        body: &[u8],
        now: Timestamp,
    ) -> Option<HookDelivery> {
        let Known { permit, actual, workflow } = known;
        // The lesser of two reaches: what a pin holds back counts only if the applied state still names it.
        let secret = |known: &BTreeMap<WorkflowId, crate::domain::Workflow>| {
            Some(known.get(workflow)?.triggers.webhook.as_ref()?.secret.clone())
        };
        let name = secret(actual.workflows(now)?)?;
        if secret(&actual.applied.as_ref()?.state.workflows)? != name {
            return None;
        }
        let given = match self.0.broker.hook_secret(permit, actual, workflow, &name).await {
            Ok(given) => given,
            Err(error) => {
                tracing::warn!(tenant = %permit.tenant(), %workflow, secret = %name, %error, "a hook cannot be checked");
                return None;
            }
        };
        let values: Vec<&[u8]> = given.iter().map(|one| one.value.expose()).collect();
        if values.iter().all(|value| value.len() < HOOK_SECRET_BYTES_MIN) {
            tracing::warn!(
                tenant = %permit.tenant(), %workflow, secret = %name,
                "a hook is refused: its secret has fewer than {HOOK_SECRET_BYTES_MIN} bytes"
            );
        }
        let delivery = verify_hook(&|name| signed.get(name).map(String::as_str), body, &values, now);
        if delivery.is_none() {
            tracing::info!(tenant = %permit.tenant(), %workflow, "a hook was not signed with its secret");
        }
        delivery
    }

    /// What the sender is told, who has the secret and so may know.
    async fn start(
        &self,
        known: &Known,
        delivery: &HookDelivery,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Response {
        let Known { permit, actual, workflow } = known;
        let is_ping = headers.get("x-github-event").is_some_and(|event| event == "ping");
        if is_ping && delivery.scheme == "github" {
            return Json(json!({ "schema": "tenantry.hook/1", "ping": true, "run": null })).into_response();
        }
        let body: Value = match serde_json::from_slice(body) {
            Ok(body) => body,
            Err(_) if body.is_empty() => Value::Null,
            Err(error) => {
                let detail = format!("the body is no JSON: {error}; let the sender use application/json");
                return Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail).into_response();
            }
        };
        let (store, ids) = (self.0.store.as_ref(), &self.0.ids);
        match queue::receive(permit, store, actual, Hook { workflow, delivery, body: &body }, ids, now).await
        {
            Ok(Started::Queued(run)) => answer(StatusCode::ACCEPTED, &run, false),
            Ok(Started::Known(run)) => answer(StatusCode::OK, &run, true),
            // Why is between the tenant and its owner; the audit says it.
            Ok(Started::Skipped(_)) => {
                Problem::conflict("nothing starts here now: this delivery is recorded as skipped")
                    .into_response()
            }
            Err(NotQueued::Pin(error)) => {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                Problem::new(status, "not_started", format!("no run can be made of it: {error}"))
                    .into_response()
            }
            Err(NotQueued::Store(error)) => {
                tracing::warn!(tenant = %permit.tenant(), %workflow, %error, "a hook could not be stored");
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "try again later")
                    .into_response()
            }
        }
    }
}

fn answer(status: StatusCode, run: &crate::domain::RunId, known: bool) -> Response {
    (status, Json(json!({ "schema": "tenantry.hook/1", "run": run, "known": known }))).into_response()
}
