//! HTTP/1.1 over the attempt's socket, within limits that no script can widen.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::door::{Door, Given, NotGiven};
use super::reach::Wanted;
use super::request::{self, Malformed, Request};
use crate::sandbox::Peers;
use crate::sops::Plaintext;

/// What connections of one attempt may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at one time; the next one waits.
    pub connections: usize,
    /// Bytes of a request's line and headers.
    pub head_bytes_max: usize,
    /// Headers of a request.
    pub headers_max: usize,
    /// Bytes of a value to be masked.
    pub body_bytes_max: usize,
    /// The time for the head of a request.
    pub head_timeout: Duration,
    /// The time for a whole connection, which serves one request.
    pub connection_timeout: Duration,
    /// The user that processes of the attempt run as, where it is known. Others are not served.
    pub peer_uid: Option<u32>,
    /// What tells those processes from others, where it is known. Others are not served.
    pub peers: Option<Peers>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16,
            head_bytes_max: 8 << 10,
            headers_max: 32,
            body_bytes_max: 64 << 10,
            head_timeout: Duration::from_secs(5),
            connection_timeout: Duration::from_secs(30),
            peer_uid: None,
            peers: None,
        }
    }
}

/// A served door. Dropping it ends every connection and the attempt's right with them.
pub struct Serving {
    door: Door,
    task: JoinHandle<()>,
}

impl Serving {
    /// Ends serving and gives the versions that were delivered.
    #[must_use]
    pub fn close(self) -> Vec<String> {
        self.door.used()
    }
    /// The door that is served.
    #[must_use]
    pub fn door(&self) -> &Door {
        &self.door
    }
}
impl Drop for Serving {
    fn drop(&mut self) {
        self.door.close();
        self.task.abort();
    }
}

impl Door {
    /// Serves the attempt's socket until the returned value is dropped.
    #[must_use]
    pub fn serve(&self, listener: UnixListener, limits: Limits) -> Serving {
        let door = self.clone();
        Serving { door: self.clone(), task: tokio::spawn(accept(door, listener, limits)) }
    }
}

async fn accept(door: Door, listener: UnixListener, limits: Limits) {
    let room = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        // INVARIANT: the semaphore is never closed, so this always gives a place.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors or the like: others must not starve meanwhile.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (door, limits) = (door.clone(), limits.clone());
        connections.spawn(async move {
            let _place = place;
            let _ = tokio::time::timeout(limits.connection_timeout, connection(door, stream, &limits)).await;
        });
    }
}

async fn connection(door: Door, stream: UnixStream, limits: &Limits) {
    let Ok(peer) = stream.peer_cred() else { return };
    if limits.peer_uid.is_some_and(|uid| uid != peer.uid()) {
        door.refuse_once("peer", &format!("a process of uid {} connected", peer.uid())).await;
        return;
    }
    if limits.peers.as_ref().is_some_and(|peers| !peers.admit(&stream)) {
        door.refuse_once("peer", "a process that is none of the attempt's connected").await;
        return;
    }
    let body_bytes_max = limits.body_bytes_max;
    let service = service_fn(move |request| {
        let door = door.clone();
        async move { Ok::<_, Infallible>(respond(&door, request, body_bytes_max).await) }
    });
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes_max.max(8192))
        .max_headers(limits.headers_max)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(
    door: &Door,
    request: hyper::Request<Incoming>,
    body_bytes_max: usize,
) -> Response<Full<Bytes>> {
    let asked = request::read(&door.0.token, request.method(), request.uri(), request.headers());
    match asked {
        Err(malformed) => refuse(door, malformed).await,
        Ok(Request::List) => match door.list().await {
            Ok(names) => {
                let secrets: Vec<_> = names
                    .into_iter()
                    .map(|(name, versions)| {
                        let versions: Vec<_> = versions
                            .into_iter()
                            .map(|(id, state)| json!({ "version": id, "state": state }))
                            .collect();
                        json!({ "name": name, "versions": versions })
                    })
                    .collect();
                document(StatusCode::OK, &json!({ "schema": "tenantry.secrets/1", "secrets": secrets }))
            }
            Err(refusal) => not_given(&refusal),
        },
        Ok(Request::Get(name, wanted)) => match door.fetch(&name, &wanted).await {
            Ok(given) => values(&wanted, given),
            Err(refusal) => not_given(&refusal),
        },
        Ok(Request::Mask) => match Limited::new(request.into_body(), body_bytes_max).collect().await {
            Ok(body) => match door.mask(&Plaintext::new(body.to_bytes().to_vec())) {
                Ok(()) => answer(StatusCode::NO_CONTENT).body(Full::default()).unwrap_or_default(),
                Err(refusal) => not_given(&refusal),
            },
            Err(_) => problem(413, "too_large", "the value is too large to be masked"),
        },
    }
}

async fn refuse(door: &Door, malformed: Malformed) -> Response<Full<Bytes>> {
    match malformed {
        Malformed::Token => {
            door.refuse_once("unauthorized", "a request without this attempt's token").await;
            problem(
                401,
                "unauthorized",
                "send the attempt's token as `Authorization: Bearer $TENANTRY_TOKEN`",
            )
        }
        Malformed::CrossTenant(what) => {
            door.refuse_once("cross_tenant", what).await;
            problem(403, "cross_tenant", "a request names a secret of its own step and nothing else")
        }
        Malformed::NoSuchPath => problem(404, "not_found", "there is no such path"),
        Malformed::Method => problem(405, "method_not_allowed", "this path has another method"),
        Malformed::Name(reason) => problem(400, "bad_request", &reason),
    }
}

/// Hands a plaintext to the connection without a copy that outlives it.
struct Handed(Plaintext);
impl AsRef<[u8]> for Handed {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

fn values(wanted: &Wanted, given: Vec<Given>) -> Response<Full<Bytes>> {
    if *wanted == Wanted::All {
        use base64::Engine as _;
        let engine = base64::engine::general_purpose::STANDARD;
        let versions: Vec<_> = given
            .iter()
            .map(|one| {
                json!({
                    "version": one.version,
                    "state": one.state,
                    "value_base64": engine.encode(one.value.expose()),
                })
            })
            .collect();
        return document(
            StatusCode::OK,
            &json!({ "schema": "tenantry.secret-versions/1", "versions": versions }),
        );
    }
    let Some(one) = given.into_iter().next() else {
        return problem(404, "not_found", "the secret has no such version");
    };
    answer(StatusCode::OK)
        .header("content-type", "application/octet-stream")
        .header("x-secret-version", one.version.as_str())
        .body(Full::new(Bytes::from_owner(Handed(one.value))))
        .unwrap_or_default()
}

fn not_given(refusal: &NotGiven) -> Response<Full<Bytes>> {
    problem(refusal.status(), refusal.code(), &refusal.to_string())
}

fn problem(status: u16, code: &str, detail: &str) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    document(status, &json!({ "status": status.as_u16(), "code": code, "detail": detail }))
}

fn document(status: StatusCode, value: &serde_json::Value) -> Response<Full<Bytes>> {
    let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
    answer(status)
        .header("content-type", kind)
        .body(Full::new(Bytes::from(value.to_string())))
        .unwrap_or_default()
}

fn answer(status: StatusCode) -> hyper::http::response::Builder {
    Response::builder().status(status).header("cache-control", "no-store")
}
