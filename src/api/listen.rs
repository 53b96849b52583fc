//! Where programs come in: the socket in the data directory, and health on loopback.
#![expect(clippy::disallowed_methods, reason = "removes the socket that a dead daemon left")]

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use tokio::net::{TcpListener, UnixListener};

use super::hooks::{self, HOOK_BYTES_MAX, Hooks};
use super::{Peer, Problem};
use crate::domain::{FreshIds, Status};
use crate::store::Store;

/// A place to listen at cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The socket cannot be made.
    #[error("cannot listen at `{}`: is the data directory yours and is its path shorter than 90 bytes?", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The address is taken or not of this machine.
    #[error("cannot listen on `{address}`: choose another with `--listen`")]
    Address {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The address can be reached from outside.
    #[error(
        "`{0}` can be reached from other machines: `--listen` takes loopback addresses such as 127.0.0.1:7878"
    )]
    NotLoopback(SocketAddr),
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        // Without credentials nobody is known: the highest uid is nobody's.
        Self { uid: stream.io().peer_cred().map_or(u32::MAX, |peer| peer.uid()) }
    }
}

/// Makes the socket, for its owner alone. The caller holds the lock of the data directory, so that a socket
/// already there is a dead daemon's.
///
/// # Errors
/// [`ListenError::Socket`].
pub fn bind_socket(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |source| ListenError::Socket { path: path.to_owned(), source };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Serves the socket until `shutdown` is over, then lets answers under way end.
///
/// # Errors
/// [`io::Error`] when the listener breaks.
pub async fn serve_socket(
    listener: UnixListener,
    router: Router,
    ids: FreshIds,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let service = router.layer(axum::middleware::from_fn_with_state(ids, with_request_id));
    axum::serve(listener, service.into_make_service_with_connect_info::<Peer>())
        .with_graceful_shutdown(shutdown)
        .await
}

/// The router as somebody of this machine sees it without a socket: for reading while no daemon runs.
pub fn in_process(router: Router, uid: u32, ids: FreshIds) -> Router {
    router
        .layer(axum::middleware::from_fn_with_state(ids, with_request_id))
        .layer(axum::Extension(ConnectInfo(Peer { uid })))
}

/// Gives each answer an id that stands in the log too.
async fn with_request_id(State(ids): State<FreshIds>, request: Request, next: Next) -> Response {
    let id = ids().to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let status = response.status().as_u16();
    tracing::debug!(request_id = %id, %method, path, status, "answered");
    if let Some(serde_json::Value::Object(mut problem)) = response.extensions_mut().remove() {
        problem.insert("request_id".into(), id.clone().into());
        *response.body_mut() = Body::from(serde_json::Value::Object(problem).to_string());
        response.headers_mut().remove("content-length");
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

/// What health answers from.
#[derive(Clone)]
pub struct Health {
    store: Arc<dyn Store>,
    ready: Arc<AtomicBool>,
}

impl Health {
    /// Takes the store; `ready` is set once the first pass is over and the worker takes steps.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, ready: Arc<AtomicBool>) -> Self {
        Self { store, ready }
    }
}

/// What answers on loopback: health, counts, and hooks for whoever signed them. Being on this machine is no
/// authentication, so nothing else does.
pub fn loopback(health: Health, hooks: Option<Hooks>) -> Router {
    let hooks = hooks.map_or_else(Router::new, |hooks| {
        Router::new()
            .route("/hooks/{tenant}/{workflow}", post(hooks::receive))
            .layer(DefaultBodyLimit::max(HOOK_BYTES_MAX))
            .with_state(hooks)
    });
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(async || {
            Problem::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "only /healthz, /readyz, /metrics and /hooks/ answer here: use the socket in the data directory",
            )
        })
        .with_state(health)
        .merge(hooks)
}

/// Binds and serves a loopback address until `shutdown` is over. Gives the address once it listens, which differs
/// from the one asked for where its port was 0.
///
/// # Errors
/// [`ListenError::NotLoopback`], [`ListenError::Address`].
pub async fn serve_loopback(
    address: SocketAddr,
    health: Health,
    hooks: Option<Hooks>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(SocketAddr, tokio::task::JoinHandle<io::Result<()>>), ListenError> {
    if !address.ip().is_loopback() {
        return Err(ListenError::NotLoopback(address));
    }
    let failed = |source| ListenError::Address { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let serving = axum::serve(listener, loopback(health, hooks)).with_graceful_shutdown(shutdown);
    Ok((bound, tokio::spawn(serving.into_future())))
}

/// The process answers.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

async fn ready(State(health): State<Health>) -> Response {
    if !health.ready.load(Ordering::SeqCst) {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response();
    }
    match health.store.source().await {
        Ok(_) => "ready\n".into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store is unavailable\n").into_response(),
    }
}

/// Counts in the text format of Prometheus; no tenant's name is in it.
async fn metrics(State(health): State<Health>) -> Response {
    let Ok(tenants) = health.store.tenants().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the store is unavailable\n").into_response();
    };
    const STATES: [Status; 10] = [
        Status::Observed,
        Status::Unchanged,
        Status::Validating,
        Status::Invalid,
        Status::Unverified,
        Status::Held,
        Status::Applying,
        Status::Applied,
        Status::Failed,
        Status::Superseded,
    ];
    let mut text = String::from(
        "# HELP tenantry_tenants Tenants by status of their last attempted commit.\n# TYPE tenantry_tenants gauge\n",
    );
    for state in STATES {
        let count = tenants.iter().filter(|head| !head.removed && head.status.status == state).count();
        text.push_str(&format!("tenantry_tenants{{status=\"{}\"}} {count}\n", state.as_str()));
    }
    text.push_str("# HELP tenantry_ready Whether the first pass is over.\n# TYPE tenantry_ready gauge\n");
    text.push_str(&format!("tenantry_ready {}\n", u8::from(health.ready.load(Ordering::SeqCst))));
    ([("content-type", "text/plain; version=0.0.4")], text).into_response()
}
