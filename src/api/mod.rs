//! HTTP for programs.
//!
//! `/api/v1/tenants/{tenant}/…` for what belongs to a tenant, `/api/v1/fleet` for the health of all, the rest for
//! the reserved scope `platform`. Each handler asks `authz::decide` for the one permit it needs and hands it
//! on; a denial is audited and answered without its reason. The command line uses the same router, over the
//! socket of a daemon or, to read while none runs, in its own process. Hooks stand apart: on loopback, for whoever
//! signed them. Deliberately absent: pages (web), tokens and sessions, the worker's endpoints.

mod caller;
mod documents;
mod hooks;
mod listen;
mod payload;
mod problem;
mod read;
mod steer;
mod stream;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::broker::Broker;
use crate::domain::{Clock, FreshIds};
use crate::login::Trust;
use crate::store::{Logs, Store};

pub use caller::{Guard, Peer};
pub use hooks::Hooks;
pub use listen::{Health, ListenError, bind_socket, in_process, loopback, serve_loopback, serve_socket};
pub use problem::Problem;

/// What the handlers work with.
#[derive(Clone)]
pub struct Ports {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The output of steps.
    pub logs: Arc<dyn Logs>,
    /// The clock.
    pub clock: Clock,
    /// Fresh ids.
    pub ids: FreshIds,
    /// What stands outside Git.
    pub trust: Arc<Trust>,
    /// Opens what runs left; `None` where no worker is.
    pub broker: Option<Broker>,
    /// Wakes the loop; `None` where none runs, which also refuses whatever would need one.
    pub wake: Option<Arc<dyn Fn() + Send + Sync>>,
}

/// Everything behind the socket.
pub fn router(ports: Ports) -> Router {
    let tenant = Router::new()
        .route("/status", get(read::status))
        .route("/runs", get(read::runs))
        .route("/runs/{run}", get(read::run))
        .route("/runs/{run}/logs", get(stream::logs))
        .route("/runs/{run}/rerun", post(steer::rerun))
        .route("/runs/{run}/cancel", post(steer::cancel))
        .route("/runs/{run}/steps/{step}/approve", post(steer::approve))
        .route("/runs/{run}/steps/{step}/reject", post(steer::reject))
        .route("/applied", get(read::applied))
        .route("/standing", get(read::standing))
        .route("/workflows", get(read::workflows))
        .route("/workflows/{workflow}/start", post(steer::start))
        .route("/workflows/{workflow}/pause", post(steer::pause))
        .route("/workflows/{workflow}/resume", post(steer::resume))
        .route("/suspend", post(steer::suspend))
        .route("/resume", post(steer::lift))
        .route("/pin", post(steer::pin))
        .route("/unpin", post(steer::unpin))
        .route("/release", post(steer::release))
        .route("/reconcile", post(steer::wake))
        .route("/secrets", get(read::secrets))
        .route("/secrets/{secret}/revoke", post(steer::revoke))
        .route("/audit", get(read::audit));
    Router::new()
        .route("/healthz", get(listen::alive))
        .route("/api/v1/fleet", get(read::fleet))
        .route("/api/v1/runs", get(read::all_runs))
        .route("/api/v1/audit", get(read::platform_audit))
        .route("/api/v1/reconcile", post(steer::wake_all))
        .route("/api/v1/release/{scope}", post(steer::release_scope))
        .nest("/api/v1/tenants/{tenant}", tenant)
        .layer(axum::middleware::from_fn(problem::decide_anew))
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .with_state(Guard::new(ports))
}
